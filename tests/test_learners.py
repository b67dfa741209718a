"""learners/: one set of tests over every learner in the table, then what each one promises."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from byolmeta.encoder import Encoder, Vectors
from byolmeta.errors import InputError
from byolmeta.learners import LEARNERS, Support, finetune, learner, maml
from byolmeta.learners.anil import Anil
from byolmeta.learners.auto import FOLDS, Auto
from byolmeta.learners.finetune import Finetune
from byolmeta.learners.linear import Linear
from byolmeta.learners.maml import Maml
from byolmeta.learners.metasgd import MetaSGD
from byolmeta.learners.protocol import balanced_weights, centred, class_means
from byolmeta.learners.prototype import Prototype
from byolmeta.learners.ridge import Ridge

every = pytest.mark.parametrize("method", [make() for make in LEARNERS.values()], ids=list(LEARNERS))
HEADS = {
    "cosine": Prototype(),
    "euclidean": Prototype(metric="euclidean", scale=0.3),
    "ridge": Ridge(penalty=0.7),
    "anil": Anil(steps=4, rate=(0.1, 0.4, 0.2), start=0.6),  # the last rate goes on
    "metasgd": MetaSGD(steps=3, start=0.5, directions=(0.5, 2.0, 1.0, 0.1, 1.5, 3.0)),
}
heads = pytest.mark.parametrize("method", HEADS.values(), ids=list(HEADS))


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
        learner("reptile")


def test_class_means_weights_and_centre_by_hand():
    x, y = torch.tensor([[1.0, 0], [3, 0], [0, 4]]), torch.tensor([0, 0, 2])
    assert class_means(x, y, 3).tolist() == [[2, 0], [0, 0], [0, 4]]
    assert balanced_weights(y, 3).tolist() == [0.25, 0.25, 0.5]
    placed, place = centred(x, y, 3)  # the centre is the mean of the two class means, (1, 2)
    torch.testing.assert_close(placed, F.normalize(x - torch.tensor([1.0, 2.0])))
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
        loss = (weights * F.cross_entropy(x @ head.T, support.labels, reduction="none")).sum()
        torch.testing.assert_close(step.support_loss, loss.detach())
        seen = torch.cat([4 * place(queries.double()), torch.ones(len(queries), 1)], 1)
        torch.testing.assert_close(step.predict(queries.double()), (seen @ head.T).detach())
        head = head.detach() - method.rate * 3 * torch.autograd.grad(loss, head)[0]


# One task and many


def tasks(counts=((2, 2, 2), (1, 2, 3), (3, 0, 3)), dim=6, noise=0.8, shift=0.0, queries=4):
    """Tasks of one size, with equal and with uneven shots and with a class without examples, in double precision."""
    found = [blobs(c, dim, noise, seed, queries, shift) for seed, c in enumerate(counts)]
    support, labels = (torch.stack([getattr(task[0], name) for task in found]) for name in ("inputs", "labels"))
    return support.double(), labels, torch.stack([q for _, q, _ in found]).double(), len(counts[0])


@heads
def test_many_tasks_at_once_are_as_each_alone(method):
    support, labels, query, way = tasks()
    many = list(method.solve(support, labels, query, way))
    for i in range(len(support)):
        alone = list(method.adapt(nn.Identity(), Support(support[i], labels[i], way)))
        for (loss, scores), step in zip(many, alone, strict=True):
            torch.testing.assert_close(scores[i], step.predict(query[i]), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(loss[i], step.support_loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(method.answer(support, labels, query, way), many[-1][1], rtol=0, atol=0)
    assert scores.std() > 0.1


@heads
def test_gradients_of_many_tasks_are_those_of_each_alone(method):
    support, labels, query, way = tasks()
    support.requires_grad_(), query.requires_grad_()
    truth = torch.randint(way, query.shape[:2], generator=torch.Generator().manual_seed(0))
    F.cross_entropy(method.answer(support, labels, query, way).mT, truth, reduction="sum").backward()
    for i in range(len(support)):
        x, q = (each[i].detach().clone().requires_grad_() for each in (support, query))
        scores = last(method, nn.Identity(), Support(x, labels[i], way), keep_graph=True).predict(q)
        F.cross_entropy(scores, truth[i], reduction="sum").backward()
        torch.testing.assert_close(support.grad[i], x.grad, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(query.grad[i], q.grad, rtol=1e-5, atol=1e-6)


@heads
@pytest.mark.parametrize("shift", [30.0, 1000.0])
def test_a_large_common_part_drowns_nothing(method, shift):
    """Single precision, with all vectors far from zero, against double."""
    support, labels, query, way = tasks(shift=shift)
    exact = method.answer(support, labels, query, way)
    found = method.answer(support.float(), labels, query.float(), way)
    near = 2e-6 * shift * exact.abs().max()
    assert (found - exact).abs().max() < near
    for i in range(len(support)):
        alone = last(method, nn.Identity(), Support(support[i].float(), labels[i], way)).predict(query[i].float())
        assert (alone - exact[i]).abs().max() < near


@heads
@pytest.mark.parametrize("size", [0.1, 1234.567])
def test_identical_vectors_have_no_direction(method, size):
    """Their distance from the centre is rounding, which says nothing, not even in the gradient."""
    random = torch.Generator().manual_seed(0)
    x = (size * torch.rand(1, 6, generator=random)).expand(6, -1).clone().requires_grad_()
    labels, query = torch.tensor([0, 0, 1, 1, 2, 2]), size * torch.rand(4, 6, generator=random)
    alone = last(method, nn.Identity(), Support(x, labels, 3), keep_graph=True).predict(query)
    many = method.answer(x[None], labels[None], query[None], 3)[0]
    for scores in (alone, many):
        assert scores.abs().max() < (1e-5 if method.unit else 1e-5 * size**2)
        (slope,) = torch.autograd.grad(F.cross_entropy(scores, torch.tensor([0, 1, 2, 0])), x, retain_graph=True)
        assert slope.isfinite().all() and slope.abs().max() < 100 * max(1, size)


@every
def test_identical_vectors_do_not_break_a_learner(method):
    x = torch.full((6, 5), 0.1)
    step = last(method, nn.Identity(), Support(x, torch.tensor([0, 0, 0, 1, 1, 2]), 3))
    assert step.predict(torch.cat([x[:1], torch.eye(5)])).isfinite().all() and step.support_loss.isfinite()


def test_examples_that_cancel_out_have_no_mean():
    """Two classes of opposite examples: their means are rounding, which must not be blown up to a prototype."""
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))[0]
    x, labels = torch.stack([turn[0], -turn[0], turn[1], -turn[1]]), torch.tensor([0, 0, 1, 1])
    for scores in (
        last(Prototype(), nn.Identity(), Support(x, labels, 2)).predict(turn),
        Prototype().answer(x[None], labels[None], turn[None], 2)[0],
    ):
        assert scores.abs().max() < 1e-3


# Gradients of the outer loop

SMALL = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()
DIFFERENTIABLE = {
    "cosine": (Prototype(scale=3.0), 1),
    "euclidean": (Prototype(scale=0.2, metric="euclidean"), 1),
    "ridge": (Ridge(penalty=0.5, scale=4.0), 1),
    "anil": (Anil(steps=3, rate=(0.5, 0.3, 0.8), scale=2.0, start=0.4), 1),
    "metasgd": (MetaSGD(steps=3, rate=(0.5, 0.3, 0.8), scale=2.0, start=0.4, directions=(0.5, 2.0, 1.2)), 1),
    "maml": (Maml(steps=2, rate=0.3, head_rate=0.4, scale=2.0, start=0.4), 3),
}  # and how many layers of the network they meet


def practised(name):
    """A differentiable learner whose learned settings are tensors, a network, and a task, all in double precision."""
    method, layers = DIFFERENTIABLE[name]
    random = torch.Generator().manual_seed(3)
    embed = nn.Sequential(*[type(m)(*((m.in_features, 3) if isinstance(m, nn.Linear) else ())) for m in SMALL[:layers]])
    for p in embed.double().parameters():
        p.data = torch.randn(p.shape, generator=random, dtype=torch.float64)
    values = {k: torch.tensor(getattr(method, k), dtype=torch.float64, requires_grad=True) for k in method.LEARNED}
    support, queries, truth = blobs((2, 3), dim=4, noise=1.0, queries=3)
    support = support._replace(inputs=support.inputs.double())
    return dataclasses.replace(method, **values), embed, values, support, queries.double(), truth


def outer_loss(method, embed, support, queries, truth):
    return F.cross_entropy(last(method, embed, support, keep_graph=True).predict(queries), truth)


def finite_differences(value_of, tensors, tiny=1e-6):
    """Slopes of a scalar along every number in the tensors, by stepping to both sides."""
    found = []
    for tensor in tensors:
        flat, slopes = tensor.data.view(-1), []
        for i in range(len(flat)):
            before = flat[i].item()
            sides = []
            for side in (tiny, -tiny):
                flat[i] = before + side
                sides.append(value_of().item())
            flat[i] = before
            slopes.append((sides[0] - sides[1]) / (2 * tiny))
        found.append(torch.tensor(slopes, dtype=torch.float64).view(tensor.shape))
    return found


def assert_same(found, expected, rtol=1e-5, atol=1e-7):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_second_order_gradients_equal_finite_differences(name):
    """Of the network and of every learned setting: through all inner steps, and through the support set's embedding."""
    method, embed, values, support, queries, truth = practised(name)
    changed = [*embed.parameters(), *values.values()]
    found = torch.autograd.grad(outer_loss(method, embed, support, queries, truth), changed, allow_unused=True)
    found = [torch.zeros_like(p) if g is None else g for g, p in zip(found, changed, strict=True)]
    expected = finite_differences(lambda: outer_loss(method, embed, support, queries, truth), changed)
    assert_same(found, expected)
    assert expected[0].abs().max() > 1e-2 and all(g.abs().max() > 1e-4 for g in expected[-len(values) :])


def explicit_head(method, embed, support, queries):
    """Anil and MetaSGD written out: an explicit head, centring by hand, autograd through every step."""
    x, y, way = embed(support.inputs), support.labels, support.way
    centre = torch.stack([x[y == c].mean(0) for c in range(way)]).mean(0)
    x, q = ((v - centre) / (v - centre).norm(dim=1, keepdim=True) * method.scale for v in (x, embed(queries)))
    factors = method.directions if isinstance(method, MetaSGD) else torch.ones(x.shape[1], dtype=x.dtype)
    head = method.start * torch.stack([x[y == c].mean(0) for c in range(way)]) * factors
    bias = torch.zeros(way, dtype=x.dtype, requires_grad=True)
    for rate in method.rate:
        losses = F.cross_entropy(x @ head.T + bias, y, reduction="none")
        loss = torch.stack([losses[y == c].mean() for c in range(way)]).mean()
        slope, bias_slope = torch.autograd.grad(loss, (head, bias), create_graph=True)
        head, bias = head - way * rate * factors * slope, bias - way * rate * bias_slope
    return q @ head.T + bias


def explicit_maml(method, weights, support, queries):
    """Maml on two layers written out: explicit weights, centring by hand, autograd through every step."""
    y, way = support.labels, support.way

    def network(inputs, w):
        return torch.tanh(inputs @ w[0].T + w[1]) @ w[2].T + w[3]

    def means(x):
        return torch.stack([x[y == c].mean(0) for c in range(way)])

    def scores_of(inputs, w):
        x = network(support.inputs, w)
        moved = network(inputs, w) - means(x).mean(0)
        return method.scale * moved / moved.norm(dim=1, keepdim=True) @ w[4].T + w[5]

    x = network(support.inputs, weights)
    moved = x - means(x).mean(0)
    head = method.start * method.scale * means(moved / moved.norm(dim=1, keepdim=True))
    weights = [*weights, head, torch.zeros(way, dtype=x.dtype, requires_grad=True)]
    rates = [method.rate] * 4 + [method.head_rate] * 2
    for _ in range(method.steps):
        losses = F.cross_entropy(scores_of(support.inputs, weights), y, reduction="none")
        slopes = torch.autograd.grad(means(losses).mean(), weights, create_graph=True)
        slopes = [g.detach() for g in slopes] if method.first_order else slopes
        weights = [w - rate * g for w, g, rate in zip(weights, slopes, rates, strict=True)]
    return scores_of(queries, weights)


@pytest.mark.parametrize("name", ["anil", "metasgd"])
def test_heads_in_the_span_equal_an_explicit_head(name):
    method, embed, values, support, queries, truth = practised(name)
    changed = [*embed.parameters(), *values.values()]
    expected = explicit_head(method, embed, support, queries)
    found = last(method, embed, support, keep_graph=True).predict(queries)
    many = method.answer(embed(support.inputs)[None], support.labels[None], embed(queries)[None], support.way)[0]
    losses = [F.cross_entropy(scores, truth) for scores in (found, many, expected)]
    slopes = [torch.autograd.grad(loss, changed, allow_unused=True) for loss in losses]
    for scores, own in ((found, slopes[0]), (many, slopes[1])):
        torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-6)
        assert_same([g for g in own if g is not None], [g for g in slopes[2] if g is not None], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first_order", [False, True])
def test_maml_equals_its_written_out_form(first_order):
    method, embed, values, support, queries, truth = practised("maml")
    method = dataclasses.replace(method, first_order=first_order)
    changed = [*embed.parameters(), *values.values()]
    found = last(method, embed, support, keep_graph=True).predict(queries)
    expected = explicit_maml(method, list(embed.parameters()), support, queries)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    slopes = [torch.autograd.grad(F.cross_entropy(s, truth), changed, allow_unused=True) for s in (found, expected)]
    assert_same(*([torch.zeros(()) if g is None else g for g in each] for each in slopes), rtol=1e-5, atol=1e-6)


def test_first_order_is_something_else():
    method, embed, _, support, queries, truth = practised("maml")
    weights, first = list(embed.parameters()), dataclasses.replace(method, first_order=True)
    losses = [outer_loss(m, embed, support, queries, truth) for m in (method, first)]
    slopes = [torch.autograd.grad(loss, weights[0])[0] for loss in losses]
    assert (slopes[0] - slopes[1]).abs().max() > 1e-2 * slopes[0].abs().max()
    answers = [last(m, embed, support, keep_graph=True).predict(queries) for m in (method, first)]
    torch.testing.assert_close(*answers)  # the inner loop itself is the same


@pytest.mark.parametrize("start", [0.0, 0.7])
def test_maml_of_saved_vectors_is_anil(start):
    support, queries, _ = blobs((1, 4, 2), noise=0.8)
    there = Maml(steps=6, head_rate=0.3, scale=3.0, start=start).adapt(nn.Identity(), support)
    here = Anil(steps=6, rate=0.1, scale=3.0, start=start).adapt(nn.Identity(), support)  # its rate is times the way
    for one, other in zip(there, here, strict=True):
        torch.testing.assert_close(one.predict(queries), other.predict(queries), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.support_loss, other.support_loss, rtol=1e-4, atol=1e-5)


# By hand


def test_euclidean_prototype_by_hand():
    """Class means (1, 0) and (0, 3); of (1, 1) the squared distances are 1 and 5."""
    support = Support(torch.tensor([[0.0, 0], [2.0, 0], [0, 3.0]]), torch.tensor([0, 0, 1]), 2)
    method = Prototype(scale=0.5, metric="euclidean")
    scores = last(method, nn.Identity(), support).predict(torch.tensor([[1.0, 1.0], [0.0, 3.0]]))
    expected = -0.5 * torch.tensor([[1.0, 5.0], [10.0, 0.0]])
    torch.testing.assert_close(scores.softmax(1), expected.softmax(1))
    torch.testing.assert_close(scores[:, 0] - scores[:, 1], expected[:, 0] - expected[:, 1])


def test_ridge_equals_its_primal_form():
    """Weighted least squares in all directions, solved as a textbook does, by numpy."""
    support, queries, _ = blobs((1, 4, 2), dim=5, noise=0.8)
    scores = last(Ridge(penalty=0.4, scale=2.0), nn.Identity(), support).predict(queries).numpy()
    x, place = centred(support.inputs, support.labels, 3)
    x, q = x.double().numpy(), place(queries).double().numpy()
    shares = np.diag(7 / 3 / np.array([1, 4, 2])[support.labels])
    goal = np.eye(3)[support.labels] - 1 / 3
    weights = np.linalg.solve(x.T @ shares @ x + 0.4 * np.eye(5), x.T @ shares @ goal)
    np.testing.assert_allclose(scores, 2 * q @ weights, rtol=1e-4, atol=1e-5)


class Stretch(nn.Module):
    """A network of one number: stretches the second axis."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.8, dtype=torch.float64))

    def forward(self, x):
        return x * torch.stack([torch.ones_like(self.w), self.w])


def test_maml_one_step_by_hand():
    """One number and a head of six: slopes by small differences, everything else in plain numpy."""
    x, y = np.array([[2.0, 1.0], [0.5, -1.0], [-1.0, 0.3]]), np.array([0, 0, 1])
    queries, method = np.array([[1.0, 0.5], [-0.4, 1.0]]), Maml(steps=1, rate=0.5, head_rate=0.25, scale=2.0, start=0.7)

    def placed(w, points):
        stretch = np.array([1, w])
        centre = ((x[0] + x[1]) / 2 + x[2]) / 2 * stretch
        moved = points * stretch - centre
        return moved / np.linalg.norm(moved, axis=1, keepdims=True)

    def scores(w, head, points):
        return 2 * placed(w, points) @ head[:, :2].T + head[:, 2]

    def loss(w, head):
        found = scores(w, head, x)
        losses = np.log(np.exp(found).sum(1)) - found[np.arange(3), y]
        return ((losses[0] + losses[1]) / 2 + losses[2]) / 2

    u = placed(0.8, x)
    head = np.column_stack([0.7 * 2 * np.stack([(u[0] + u[1]) / 2, u[2]]), np.zeros(2)])
    slope = (loss(0.8 + 1e-6, head) - loss(0.8 - 1e-6, head)) / 2e-6
    head_slope = np.zeros((2, 3))
    for place in np.ndindex(2, 3):
        step = np.zeros((2, 3))
        step[place] = 1e-6
        head_slope[place] = (loss(0.8, head + step) - loss(0.8, head - step)) / 2e-6
    expected = scores(0.8 - 0.5 * slope, head - 0.25 * head_slope, queries)
    support = Support(torch.from_numpy(x), torch.from_numpy(y), 2)
    before, after = method.adapt(Stretch(), support)
    assert before.support_loss.item() == pytest.approx(loss(0.8, head)) and abs(slope) > 0.01
    np.testing.assert_allclose(after.predict(torch.from_numpy(queries)).numpy(), expected, atol=1e-8)


# Learners that change the network

NETWORKS = {
    "maml": Maml(steps=2),
    "maml support": Maml(steps=2, norm="support"),
    "maml last": Maml(steps=2, stages="last"),
    "finetune": Finetune(steps=2, rate=1e-2),
    "finetune all": Finetune(steps=2, rate=1e-2, stages="all"),
}
networks = pytest.mark.parametrize("method", NETWORKS.values(), ids=list(NETWORKS))


def conv_net(kind="photos", readout=False):
    """A small network with batch norm whose statistics are not those of a new one, and pictures: a task and queries."""
    random = torch.Generator().manual_seed(0)
    encoder = Encoder("conv4", 16, {"kind": kind}).initial(0).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=random)
            module.running_var.uniform_(0.5, 2, generator=random)
    pictures, queries = torch.rand(6, 3, 16, 16, generator=random), torch.rand(5, 3, 16, 16, generator=random)
    if readout:
        with torch.no_grad():
            encoder.fit_readout(encoder.pooled(torch.rand(40, 3, 16, 16, generator=random)))
    return Vectors(encoder), Support(pictures, torch.tensor([0, 0, 1, 1, 2, 2]), 3), queries


def looks(net):
    """All that a learner must leave as it was, in a form that can be compared."""
    return {
        "values": {k: v.numpy().tobytes() for k, v in net.state_dict().items()},
        "tensors": [id(p) for p in net.parameters()],
        "gradients": [p.grad is None for p in net.parameters()],
        "wanted": [p.requires_grad for p in net.parameters()],
        "modes": [m.training for m in net.modules()],
        "own": [sorted(m.__dict__) for m in net.modules()],  # a forward of its own among them
    }


class Fails(nn.Module):
    """A network that breaks in its last layer once it, or a copy, was asked often enough."""

    def __init__(self, net, times):
        super().__init__()
        self.net, self.times = net, times

    def forward(self, x):
        found, self.times = self.net(x), self.times - 1
        if self.times < 0:
            raise RuntimeError("broken")
        return found


@networks
@pytest.mark.parametrize("training", [False, True])
def test_networks_are_left_as_they_were(method, training):
    net, support, queries = conv_net()
    net.train(training)
    before = looks(net)
    for step in method.adapt(net, support):
        step.predict(queries)
        assert looks(net) == before
    assert looks(net) == before
    half = method.adapt(net, support)
    next(half), next(half)
    half.close()
    assert looks(net) == before
    with pytest.raises(RuntimeError):
        step.predict(torch.zeros(2, 5, 16, 16))
    for times in (0, 1, 3):  # breaks in the first pass, in a later one, or when asked
        broken = Fails(net, times)
        with pytest.raises(RuntimeError, match="broken"):
            for step in method.adapt(broken, support):
                step.predict(queries)
        assert looks(net) == before


@pytest.mark.parametrize("norm", maml.NORMS)
def test_practice_leaves_the_network_as_it_was_but_for_gradients(norm):
    net, support, queries = conv_net()
    before, method = looks(net), Maml(steps=2, norm=norm)
    for times in (0, 2, 4):
        with pytest.raises(RuntimeError, match="broken"):
            for step in method.adapt(Fails(net, times), support, keep_graph=True):
                step.predict(queries)
    half = method.adapt(net, support, keep_graph=True)
    next(half)
    half.close()
    assert looks(net) == before
    outer_loss(method, net, support, queries, torch.tensor([0, 1, 2, 0, 1])).backward()
    after = looks(net)
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert {k: v for k, v in after.items() if k != "gradients"} == {k: v for k, v in before.items() if k != "gradients"}


@networks
def test_networks_answer_the_same_again_and_alone(method):
    """Twice, after later steps, and whatever else is asked: batch norm looks at no other query."""
    net, support, queries = conv_net()
    steps, firsts = [], []
    for step in method.adapt(net, support):
        steps.append(step)
        firsts.append(step.predict(queries))
        assert torch.equal(step.predict(queries), firsts[-1])
    for step, first in zip(steps, firsts, strict=True):
        assert torch.equal(step.predict(queries), first)
        torch.testing.assert_close(step.predict(queries[2:3]), first[2:3], rtol=1e-4, atol=1e-4)
        crowd = torch.cat([queries, 1 - queries, torch.zeros_like(queries)])
        torch.testing.assert_close(step.predict(crowd)[:5], first, rtol=1e-4, atol=1e-4)
    assert (firsts[0] - firsts[-1]).abs().max() > 1e-2


def test_support_statistics_are_those_of_the_support_set():
    """A layer, its batch norm by hand; the running statistics play no part."""
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
    nn.init.uniform_(net[1].weight, 0.5, 2), nn.init.normal_(net[1].bias)
    support, queries, _ = blobs((2, 3), dim=4, noise=1.0, queries=3)
    support, queries = support._replace(inputs=support.inputs.double()), queries.double()
    scores = next(Maml(norm="support", start=1.0, scale=2.0).adapt(net, support)).predict(queries)
    with torch.no_grad():
        hidden, asked = net[0](support.inputs), net[0](queries)
        mean, root = hidden.mean(0), (hidden.var(0, correction=0) + net[1].eps).sqrt()
        x, q = ((v - mean) / root * net[1].weight + net[1].bias for v in (hidden, asked))
    expected = next(Maml(start=1.0, scale=2.0).adapt(nn.Identity(), support._replace(inputs=x))).predict(q)
    torch.testing.assert_close(scores, expected)


def test_gradients_flow_through_the_support_statistics(monkeypatch):
    """Second order through batch norm, against finite differences; kept statistics cut off would give something else."""
    random = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double().eval()
    for p in net.parameters():
        p.data = 0.7 * torch.randn(p.shape, generator=random, dtype=torch.float64)
    pictures = torch.randn(5, 1, 4, 4, generator=random, dtype=torch.float64)
    support, truth = Support(pictures, torch.tensor([0, 0, 1, 1, 1]), 2), torch.tensor([0, 1, 1])
    queries = torch.randn(3, 1, 4, 4, generator=random, dtype=torch.float64)
    method = Maml(steps=2, rate=0.2, head_rate=0.3, scale=2.0, norm="support")

    def slopes():
        loss = outer_loss(method, net, support, queries, truth)
        return torch.autograd.grad(loss, list(net.parameters()))

    found = slopes()
    expected = finite_differences(lambda: outer_loss(method, net, support, queries, truth), net.parameters())
    assert_same(found, expected, rtol=1e-4, atol=1e-6)
    known = maml._known_statistics
    monkeypatch.setattr(
        maml, "_known_statistics", lambda kept, norm, x: known({norm: [v.detach() for v in kept[norm]]}, norm, x)
    )
    assert (slopes()[0] - expected[0]).abs().max() > 1e-3


def changed_parts(step, net):
    """Names of what differs between the network behind a step and the one it came from."""
    now = next(v for v in step.predict.__defaults__ if isinstance(v, nn.Module)).state_dict()
    return {name for name, value in net.state_dict().items() if not torch.equal(value, now[name])}


@pytest.mark.parametrize("kind", ["photos", "drawings"])
@pytest.mark.parametrize("readout", [False, True])
def test_finetune_changes_the_stages_it_says(kind, readout, monkeypatch):
    net, support, queries = conv_net(kind, readout)
    weights = {name for name, _ in net.named_parameters()}
    stage = {f"encoder.trunk.{i}.{part}" for i in (12, 13) for part in ("weight", "bias")}
    matrix = net.encoder.readout_matrix
    drawn, make_view = [], finetune.make_view
    monkeypatch.setattr(finetune, "make_view", lambda *given: drawn.append(given[2]) or make_view(*given))
    for stages, expected in (("last", stage), ("all", weights)):
        steps = list(Finetune(steps=3, stages=stages).adapt(net, support))
        assert changed_parts(steps[0], net) == set() and changed_parts(steps[-1], net) == expected
        assert steps[-1].predict(queries).shape == (5, 3) and net.encoder.readout_matrix is matrix
    assert drawn == 6 * [finetune.INK if kind == "drawings" else finetune.GENTLE]


def test_finetune_repeats_itself_by_its_seed_and_learns_without_views():
    net, support, queries = conv_net()
    one, same, other, still = (
        last(Finetune(steps=4, **more), net, support).predict(queries)
        for more in ({}, {}, {"seed": 1}, {"views": False})
    )
    assert torch.equal(one, same) and not torch.equal(one, other) and not torch.equal(one, still)


def test_maml_changes_the_stages_it_says():
    """Seen by what the layer before the last stage answers, to the step before and to the one after."""
    for stages in ("last", "all"):
        net, support, queries = conv_net()
        answers = []
        net.encoder.trunk[11].register_forward_hook(lambda *given, answers=answers: answers.append(given[-1].clone()))
        first, *_, final = Maml(steps=2, rate=0.5, stages=stages).adapt(net, support)
        answers.clear()
        one, other = first.predict(queries), final.predict(queries)
        assert torch.equal(*answers) == (stages == "last") and not torch.equal(one, other)


@pytest.mark.parametrize("method", [Finetune(), Linear()], ids=("finetune", "linear"))
def test_what_cannot_be_meta_trained_says_so(method):
    with pytest.raises(InputError, match="maml|anil"):
        next(method.adapt(nn.Identity(), blobs()[0], keep_graph=True))


@pytest.mark.parametrize("make", [Maml, Finetune])
def test_stages_and_norms_that_are_not_there_are_refused(make):
    with pytest.raises(InputError, match="last, all"):
        make(stages="first")
    with pytest.raises(InputError, match="running, support"):
        Maml(norm="batch")
    with pytest.raises(InputError, match="cosine, euclidean"):
        Prototype(metric="manhattan")


# Auto


def narrow(seed):
    """Two classes of four examples that differ by little in one direction and vary much in the others."""
    y = torch.arange(2).repeat_interleave(4)
    x = torch.randn(len(y), 3, generator=torch.Generator().manual_seed(seed))
    x[:, 0] = 0.1 * (2 * y - 1)
    return x, y


def hidden_each(method, x, y):
    """Right answers when each example is hidden in turn, counted plainly."""
    right = 0
    for i in range(len(y)):
        others = torch.arange(len(y)) != i
        scores = last(method, nn.Identity(), Support(x[others], y[others], 2)).predict(x[i : i + 1])
        right += int(scores.argmax() == y[i])
    return right


def test_auto_takes_class_means_for_single_examples_and_the_least_adaptation_for_ties():
    auto = Auto()
    for counts in ((1, 1), (1, 1, 1, 1)):
        support = blobs(counts)[0]
        assert auto.choose(support.inputs, support.labels, support.way) is auto.none
    support, queries, _ = blobs((5, 5, 5))  # all are right about all
    assert auto.choose(support.inputs, support.labels, 3) is auto.none
    torch.testing.assert_close(
        last(auto, nn.Identity(), support).predict(queries), last(auto.none, nn.Identity(), support).predict(queries)
    )


def test_auto_takes_the_one_with_most_right_answers():
    auto, chosen = Auto(), set()
    for seed in (0, 1, 4):
        x, y = narrow(seed)
        right = [hidden_each(method, x, y) for method in (auto.none, auto.gentle, auto.strong)]
        expected = (auto.none, auto.gentle, auto.strong)[right.index(max(right))]
        assert auto.choose(x, y, 2) is expected
        chosen.add(expected)
    assert len(chosen) == 3
    x, y = narrow(0)
    steps = list(auto.adapt(nn.Identity(), Support(x, y, 2)))
    assert auto.choose(x, y, 2) is auto.strong and len(steps) == auto.strong.steps + 1


@dataclasses.dataclass(frozen=True)
class Watched(Prototype):
    """Keeps which examples it saw."""

    seen: tuple = ()

    def adapt(self, embed, support, **more):
        self.seen[0].append(support)
        return super().adapt(embed, support, **more)


def test_auto_hides_every_example_once_and_no_class_whole():
    """Beyond 20 examples in folds, also when they come class by class."""
    counts, saw = (40, 6, 3), []
    support = blobs(counts)[0]
    x = support.inputs
    Auto(none=Watched(seen=(saw,))).choose(x, support.labels, 3)
    assert len(saw) == FOLDS and all(len(one.labels.unique()) == 3 for one in saw)
    assert sum(len(x) - len(one.labels) for one in saw) == len(x)
    kept = torch.stack([(x[:, None] == one.inputs[None]).all(2).any(1) for one in saw])
    assert (kept.sum(0) == FOLDS - 1).all()


# Settings from an encoder's card


def card(learners, in_force=True):
    return {"practice": {"in_force": in_force, "learners": learners}}


def test_settings_of_practice_are_taken_where_they_are_in_force():
    found = {"anil": {"rate": [0.3, 0.2], "scale": 5, "start": -0.5, "steps": 3}, "prototype": {"metric": "euclidean"}}
    assert learner("anil", card(found)) == Anil(rate=(0.3, 0.2), scale=5, start=-0.5, steps=3)
    assert learner("prototype", card(found)) == Prototype(metric="euclidean")
    assert learner("ridge", card(found)) == Ridge()
    assert learner("maml", card({"maml": {"first_order": True, "norm": "support"}})) == Maml(
        first_order=True, norm="support"
    )
    assert learner("metasgd", card({"metasgd": {"directions": [1.0, 2.0]}})).directions == (1.0, 2.0)
    assert learner("finetune", card({"finetune": {"views": False, "stages": "all"}})) == Finetune(
        views=False, stages="all"
    )
    idle = [None, {}, {"practice": None}, {"practice": "much"}, {"practice": []}, {"practice": {"in_force": True}}]
    idle += [card(found, in_force) for in_force in (False, None, 0, 1, "yes", [True])] + [
        {"practice": {"learners": found}}
    ]
    for given in idle:
        assert learner("anil", given) == Anil()


@pytest.mark.parametrize("name", LEARNERS)
def test_settings_survive_the_card(name):
    method = LEARNERS[name]()
    if name == "auto":  # has none that practice finds
        return
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(method).items()}
    assert learner(name, card({name: values})) == method


GARBAGE = (
    math.nan,
    math.inf,
    -math.inf,
    1e300,
    10**400,
    "0.1",
    "x" * 10**5,
    True,
    None,
    {},
    {"a": 1},
    [],
    [math.nan],
    ["1"],
)
GARBAGE += ([[0.1]], [None], [True], [0.1, 1e9])


@pytest.mark.parametrize("name", LEARNERS)
def test_settings_that_do_not_fit_are_refused(name):
    whole = [None, 1, "rate", [], [["rate", 0.1]], {"nothing": 1.0}, {"": 1}, {"__class__": 1}, {"LEARNED": ["steps"]}]
    values = [{field.name: value} for field in dataclasses.fields(LEARNERS[name]) for value in GARBAGE]
    taken = [{"rate": [0.1]}, {"directions": []}, {"first_order": True}, {"views": True}]  # the only ones that fit
    for found in whole + values:
        if found in taken:
            continue
        with pytest.raises(InputError):
            learner(name, card({name: found}))
    for known in (None, [], "anil", 3, [name]):
        with pytest.raises(InputError):
            learner(name, card(known))


@pytest.mark.parametrize("found", [{"steps": -1}, {"steps": 10**9}, {"steps": 2.0}, {"steps": True}, {"rate": []}])
def test_steps_of_the_inner_loop_are_counted(found):
    with pytest.raises(InputError):
        learner("anil", card({"anil": found}))
    with pytest.raises(InputError):
        Ridge(penalty=0.0)


# Logistic regression


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
