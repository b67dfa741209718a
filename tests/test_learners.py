"""learners/: one set of tests over every learner in the table, then what each one promises."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from byolmeta.encoder import Encoder
from byolmeta.errors import InputError
from byolmeta.learners import LEARNERS, Support, learner
from byolmeta.learners.anil import Anil
from byolmeta.learners.linear import Linear
from byolmeta.learners.protocol import balanced_weights, centred, class_means
from byolmeta.learners.prototype import Prototype

every = pytest.mark.parametrize("method", [make() for make in LEARNERS.values()], ids=list(LEARNERS))


def blobs(counts=(5, 5, 5), dim=6, noise=0.15, seed=0, queries=20, shift=0.0):
    """Support and queries around well separated centres: (Support, queries, truth)."""
    random = torch.Generator().manual_seed(seed)
    centres = 2 * torch.eye(dim)[: len(counts)] + shift

    def around(numbers):
        y = torch.cat([torch.full((n,), c) for c, n in enumerate(numbers)])
        return centres[y] + noise * torch.randn(len(y), dim, generator=random), y

    x, y = around(counts)
    q, truth = around([queries] * len(counts))
    return Support(x, y, len(counts)), q, truth


def last(method, embed, support, **more):
    for step in method.adapt(embed, support, **more):
        pass
    return step


@every
def test_protocol(method):
    assert dataclasses.is_dataclass(method)
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.scale = 1
    support, queries, _ = blobs()
    steps = list(method.adapt(nn.Identity(), support))
    assert [step.number for step in steps] == list(range(len(steps)))
    for step in steps:
        assert step.support_loss.ndim == 0 and step.support_loss.isfinite() and not step.support_loss.requires_grad
        scores = step.predict(queries)
        assert scores.shape == (60, 3) and scores.isfinite().all() and not scores.requires_grad
    assert steps[-1].support_loss <= steps[0].support_loss


@every
def test_separable_blobs_are_told_apart(method):
    for shift in (0.0, 5.0):  # a common part of all vectors says nothing about classes
        support, queries, truth = blobs(shift=shift)
        assert (last(method, nn.Identity(), support).predict(queries).argmax(1) == truth).all()


@every
@pytest.mark.parametrize("counts", [(1, 1), (1, 9, 3), (20, 1), (1, 1, 1, 1, 1)])
def test_uneven_and_single_examples(method, counts):
    support, queries, truth = blobs(counts)
    assert (last(method, nn.Identity(), support).predict(queries).argmax(1) == truth).all()


@every
def test_a_class_without_examples_disturbs_nothing(method):
    support, queries, truth = blobs((3, 3))
    wide = last(method, nn.Identity(), support._replace(way=4)).predict(queries)
    assert wide.shape == (40, 4) and wide.isfinite().all()
    assert (wide[:, :2].argmax(1) == truth).all()


@every
def test_predicting_twice_and_later_gives_the_same(method):
    support, queries, _ = blobs()
    steps, firsts = [], []
    for step in method.adapt(nn.Identity(), support):
        steps.append(step)
        firsts.append(step.predict(queries))
        assert torch.equal(step.predict(queries), firsts[-1])
    for step, first in zip(steps, firsts, strict=True):  # also after later steps
        assert torch.equal(step.predict(queries), first)
    again = [step.predict(queries) for step in method.adapt(nn.Identity(), support)]
    assert all(torch.equal(a, b) for a, b in zip(firsts, again, strict=True))


@every
def test_an_answer_does_not_depend_on_the_other_queries(method):
    support, queries, _ = blobs()
    step = last(method, nn.Identity(), support)
    whole = step.predict(queries)
    torch.testing.assert_close(step.predict(queries[7:8]), whole[7:8])
    torch.testing.assert_close(step.predict(torch.cat([queries[:5], 100 * queries]))[:5], whole[:5])


@every
def test_the_encoder_is_left_as_it_was(method):
    net = Encoder("conv4", 16).initial(0).eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    random = torch.Generator().manual_seed(0)
    support = Support(torch.rand(6, 3, 16, 16, generator=random), torch.tensor([0, 0, 1, 1, 2, 2]), 3)
    for step in method.adapt(net, support):
        step.predict(torch.rand(4, 3, 16, 16, generator=random))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters()) and not net.training
    assert support.inputs.grad is None


@every
@pytest.mark.parametrize("outside", (True, False))
def test_the_generator_does_not_leak_its_gradient_mode(method, outside):
    support, queries, _ = blobs()
    with torch.set_grad_enabled(outside):
        for step in method.adapt(nn.Identity(), support):
            assert torch.is_grad_enabled() == outside
            step.predict(queries)
            assert torch.is_grad_enabled() == outside
            break
        assert torch.is_grad_enabled() == outside


@every
def test_learners_work_under_inference_of_the_caller(method):
    support, queries, truth = blobs()
    with torch.no_grad():
        assert (last(method, nn.Identity(), support).predict(queries).argmax(1) == truth).all()


def test_unknown_learners_are_refused():
    assert isinstance(learner("anil"), Anil)
    with pytest.raises(InputError, match="prototype"):
        learner("maml")


def test_class_means_weights_and_centre_by_hand():
    x, y = torch.tensor([[1.0, 0], [3, 0], [0, 4]]), torch.tensor([0, 0, 2])
    assert class_means(x, y, 3).tolist() == [[2, 0], [0, 0], [0, 4]]
    assert balanced_weights(y, 3).tolist() == [0.25, 0.25, 0.5]
    placed, place = centred(x, y, 3)  # the centre is the mean of the two class means, (1, 2)
    torch.testing.assert_close(placed, nn.functional.normalize(x - torch.tensor([1.0, 2.0])))
    torch.testing.assert_close(place(torch.tensor([[1.0, 7.0]])), torch.tensor([[0.0, 1.0]]))


def test_prototype_by_hand():
    support = Support(torch.tensor([[2.0, 0], [0, 2.0]]), torch.tensor([0, 1]), 2)  # centre (1, 1)
    scores = last(Prototype(), nn.Identity(), support).predict(torch.tensor([[3.0, -1.0], [1.0, 5.0]]))
    half = 10 * 0.5**0.5
    torch.testing.assert_close(scores, torch.tensor([[10.0, -10.0], [-half, half]]))


def test_anil_one_step_by_hand():
    """Two examples at +-e after centring; at zero the softmax is 1/2, so the gradient is known."""
    support = Support(torch.tensor([[3.0, 0], [1.0, 0]]), torch.tensor([0, 1]), 2)
    first, second = Anil(steps=1, rate=0.3, scale=2.0).adapt(nn.Identity(), support)
    query = torch.tensor([[5.0, 0.0]])  # placed at (1, 0), seen as (2, 0)
    assert first.predict(query).tolist() == [[0, 0]] and first.support_loss == pytest.approx(np.log(2))
    # head_0 = 0.3 * way 2 * [weight 1/2 * (1 - 1/2) * 2 - weight 1/2 * 1/2 * (-2)] = 0.6 * 1 along the first axis
    torch.testing.assert_close(second.predict(query), torch.tensor([[1.2, -1.2]]))
    assert second.support_loss.item() == pytest.approx(np.log(1 + np.exp(-2.4)))


def test_anil_closed_form_gradient_equals_autograd():
    method = Anil(steps=4)
    support, queries, _ = blobs((1, 4, 2), dim=5, noise=0.8)
    support = support._replace(inputs=support.inputs.double())
    x, place = centred(support.inputs, support.labels, 3)
    x = torch.cat([4 * x, torch.ones(len(x), 1)], 1)
    head, weights = torch.zeros(3, 6, dtype=torch.float64), balanced_weights(support.labels, 3)
    for step in method.adapt(nn.Identity(), support):
        head.requires_grad_(True)
        loss = (weights * nn.functional.cross_entropy(x @ head.T, support.labels, reduction="none")).sum()
        torch.testing.assert_close(step.support_loss, loss.detach())
        seen = torch.cat([4 * place(queries.double()), torch.ones(len(queries), 1)], 1)
        torch.testing.assert_close(step.predict(queries.double()), (seen @ head.T).detach())
        head = head.detach() - method.rate * 3 * torch.autograd.grad(loss, head)[0]


@pytest.mark.parametrize("method", [Anil(steps=5, rate=0.5), Prototype()], ids=("anil", "prototype"))
def test_second_order_gradient_equals_finite_differences(method):
    """The outer gradient passes through all inner steps, and through the support set's embedding."""
    support, queries, truth = blobs((2, 3), dim=4, noise=1.0, queries=3)
    support, queries = support._replace(inputs=support.inputs.double()), queries.double()
    embed = nn.Linear(4, 3, bias=False).double()
    with torch.no_grad():
        embed.weight.copy_(torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64))

    def outer():
        return nn.functional.cross_entropy(last(method, embed, support, keep_graph=True).predict(queries), truth)

    outer().backward()
    found, expected, tiny = embed.weight.grad.clone(), torch.zeros(3, 4, dtype=torch.float64), 1e-6
    with torch.no_grad():
        for i in range(3):
            for j in range(4):
                embed.weight[i, j] += tiny
                above = outer()
                embed.weight[i, j] -= 2 * tiny
                below = outer()
                embed.weight[i, j] += tiny
                expected[i, j] = (above - below) / (2 * tiny)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-5)
    assert expected.abs().max() > 1e-2
    embed.weight.grad = None
    first_order = nn.functional.cross_entropy(
        last(method, lambda v: embed(v) if v is queries else embed(v).detach(), support, keep_graph=True).predict(
            queries
        ),
        truth,
    )
    first_order.backward()  # what dropping the graph of the inner steps would give is something else
    assert (embed.weight.grad - expected).abs().max() > 1e-3


def test_linear_cannot_be_meta_trained():
    with pytest.raises(InputError, match="anil"):
        next(Linear().adapt(nn.Identity(), blobs()[0], keep_graph=True))


@pytest.mark.parametrize("counts", [(8, 8, 8), (3, 12, 5)])
def test_linear_equals_scikit_learn(counts):
    from sklearn.linear_model import LogisticRegression

    support, queries, _ = blobs(counts, noise=1.2, queries=60)
    method = Linear(steps=60)
    step = last(method, nn.Identity(), support)
    x, place = centred(support.inputs, support.labels, 3)
    weights = balanced_weights(support.labels, 3)
    model = LogisticRegression(C=1 / method.penalty, tol=1e-8, max_iter=1000)
    model.fit((4 * x).numpy(), support.labels.numpy(), sample_weight=weights.numpy())
    seen = (4 * place(queries)).numpy()
    np.testing.assert_allclose(step.predict(queries).softmax(1).numpy(), model.predict_proba(seen), atol=5e-3)
    default = last(Linear(), nn.Identity(), support).predict(queries).argmax(1).numpy()
    assert (default == model.predict(seen)).mean() > 0.97  # the usual 15 iterations are nearly there
