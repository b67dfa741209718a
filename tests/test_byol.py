"""byol.py: the loss by hand, who learns and who follows, and the schedules."""

import copy
import math

import pytest
import torch
from torch import nn

from byolmeta.byol import (
    BYOL,
    WHITENING_DAMPING,
    Whitening,
    head,
    learning_rate,
    start_momentum,
    target_momentum,
    view_loss,
)
from byolmeta.encoder import Encoder
from byolmeta.optimizers import parameter_groups


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BYOL(Encoder("conv4", 16), hidden=12, dim=6).train()


def views(n=6, seed=0):
    return torch.rand(2, n, 3, 16, 16, generator=torch.Generator().manual_seed(seed)).unbind(0)


def test_view_loss_by_hand():
    a = torch.tensor([[3.0, 4.0], [1.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    b = torch.tensor([[6.0, 8.0], [-5.0, 0.0], [0.0, 7.0], [1.0, 1.0]])
    expected = torch.tensor([0.0, 4.0, 2.0, 2 - math.sqrt(2)])
    torch.testing.assert_close(view_loss(a, b), expected, atol=1e-6, rtol=0)


def test_view_loss_is_the_squared_distance_of_unit_vectors_in_float32():
    a, b = torch.randn(2, 9, 7, generator=torch.Generator().manual_seed(0)).unbind(0)
    unit = [v / v.norm(dim=1, keepdim=True) for v in (a, b)]
    torch.testing.assert_close(view_loss(a, b), (unit[0] - unit[1]).square().sum(1))
    half = view_loss(a.bfloat16(), b.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, view_loss(a.bfloat16().float(), b.bfloat16().float()))


def by_hand(model, first, second):
    """The loss from the parts, pairs crossed."""
    model = copy.deepcopy(model)
    online = [model.predictor(model.projector(model.encoder(v))) for v in (first, second)]
    target = [model.target(v) for v in (first, second)]
    return [[view_loss(o, t).mean() for t in target] for o in online]


def test_forward_predicts_the_other_view_in_both_directions(model):
    first, second = views()
    pairs = by_hand(model, first, second)
    loss = model(first, second)
    torch.testing.assert_close(loss, pairs[0][1] + pairs[1][0])
    for wrong in (pairs[0][0] + pairs[1][1], 2 * pairs[0][1], 2 * pairs[1][0]):
        assert abs(loss - wrong) > 1e-3
    torch.testing.assert_close(model(second, first), loss)  # symmetrised


def test_each_view_has_its_own_batch_statistics(model):
    first, second = views()
    both = torch.cat([first, second * 0.3])
    apart, together = model.encoder(first), model.encoder(both)[: len(first)]
    assert (apart - together).abs().max() > 1e-3  # the two ways differ at all ...
    torch.testing.assert_close(by_hand(model, first, second * 0.3)[0][1] + by_hand(model, first, second * 0.3)[1][0],
                               model(first, second * 0.3))  # fmt: skip


def test_target_starts_as_a_copy_and_never_learns(model):
    start = [p.clone() for p in model.target.parameters()]
    online = [*model.encoder.parameters(), *model.projector.parameters()]
    assert all(torch.equal(a, b) and a is not b for a, b in zip(start, online, strict=True))
    optimizer = torch.optim.SGD(parameter_groups(model.online_parameters(), 0.1), lr=0.1)
    for seed in range(2):
        model(*views(seed=seed)).backward()
        optimizer.step()
    assert all(p.grad is None and not p.requires_grad for p in model.target.parameters())
    assert all(torch.equal(a, b) for a, b in zip(start, model.target.parameters(), strict=True))
    assert all(p.grad is not None for _, p in model.online_parameters())
    assert any(not torch.equal(a, b) for a, b in zip(start, online, strict=True))


def test_optimizer_holds_every_online_parameter_once_and_no_target(model):
    groups = parameter_groups(model.online_parameters(), 0.1)
    held = [id(p) for group in groups for p in group["params"]]
    online = [p for part in (model.encoder, model.projector, model.predictor) for p in part.parameters()]
    assert sorted(held) == sorted(map(id, online))
    assert not set(held) & set(map(id, model.target.parameters()))


def test_target_follows_as_a_float64_reference(model):
    online = [*model.encoder.parameters(), *model.projector.parameters()]
    reference = [p.detach().double() for p in model.target.parameters()]
    for step, momentum in enumerate((0.9, 0.99, 0.5, 0.999)):
        with torch.no_grad():
            for p in online:
                p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
        model.update_target(momentum)
        reference = [
            momentum * r + (1 - momentum) * p.detach().double() for r, p in zip(reference, online, strict=True)
        ]
    for p, r in zip(model.target.parameters(), reference, strict=True):
        torch.testing.assert_close(p.double(), r, atol=1e-6, rtol=1e-5)


def test_momentum_one_changes_nothing_and_zero_copies(model):
    with torch.no_grad():
        for p in model.encoder.parameters():
            p += 1
    before = [p.clone() for p in model.target.parameters()]
    model.update_target(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.target.parameters(), strict=True))
    model.update_target(0.0)
    assert all(torch.equal(a, b) for a, b in zip(model.encoder.parameters(), model.target[0].parameters(), strict=True))


def test_running_statistics_of_the_target_are_its_own(model):
    before = [b.clone() for b in model.target.buffers()]
    for norm in (m for m in model.encoder.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean += 5
    model.update_target(0.5)
    assert all(torch.equal(a, b) for a, b in zip(before, model.target.buffers(), strict=True))


def test_target_works_in_train_mode_on_its_own_batch(model):
    assert all(m.training for m in model.target.modules())
    norm = next(m for m in model.target.modules() if isinstance(m, nn.BatchNorm2d))
    before = norm.running_mean.clone()
    pairs = by_hand(model, *views())
    assert torch.equal(norm.running_mean, before)
    model(*views())
    assert not torch.equal(norm.running_mean, before)
    model.eval()
    assert abs(model(*views()) - pairs[0][1] - pairs[1][0]) > 1e-4  # an eval-mode target would be another method


def test_heads_have_norm_and_relu_inside_and_nothing_after():
    layers = list(head(4, 8, 2))
    assert [type(m) for m in layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert (layers[0].in_features, layers[0].out_features, layers[3].out_features) == (4, 8, 2)


def test_learning_rate_rises_and_falls_to_zero():
    rate = [learning_rate(step, 110, 10, 2.0) for step in range(111)]
    assert rate[0] == pytest.approx(0.2) and rate[4] == pytest.approx(1.0) and rate[9] == rate[10] == 2.0
    assert rate[60] == pytest.approx(1.0) and rate[110] == pytest.approx(0)
    assert rate[35] == pytest.approx(1 + math.sqrt(0.5))
    assert all(a >= b for a, b in zip(rate[10:], rate[11:], strict=False))
    assert learning_rate(0, 1, 0, 2.0) == 2.0 and learning_rate(0, 1, 1, 2.0) == 2.0


def test_target_momentum_rises_by_a_cosine_to_one():
    assert target_momentum(0, 100, 0.96) == pytest.approx(0.96)
    assert target_momentum(50, 100, 0.96) == pytest.approx(0.98)
    assert target_momentum(25, 100, 0.96) == pytest.approx(1 - 0.04 * (math.sqrt(0.5) + 1) / 2)
    assert target_momentum(100, 100, 0.96) == 1


def test_start_momentum_by_the_length_of_the_run():
    assert start_momentum(1) == start_momentum(0) == start_momentum(30_000) == 0.99
    assert start_momentum(75_000) == pytest.approx(0.995) and start_momentum(10**7) == 0.996


def narrow(n, seed=0):
    """Projections whose directions differ a thousandfold, around a mean far from 0."""
    z = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return z * torch.tensor([10.0, 1.0, 0.1, 0.01]) @ torch.linalg.qr(torch.arange(16.0).view(4, 4).sin())[0] + 3


def test_whitening_by_hand():
    """The first views pass as they are; then mean and damped covariance are those of all views of the step."""
    whitening, (a, b) = Whitening(4).train(), narrow(80).split(40)
    for seen, z in zip(whitening(a, b), (a, b), strict=True):
        torch.testing.assert_close(seen, z)
    whitening.update()
    both = torch.cat([a, b]).double()
    covariance = torch.cov(both.T, correction=0)
    damped = covariance + (WHITENING_DAMPING + 4 / 80) * covariance.diagonal().mean() * torch.eye(4)
    factor = torch.linalg.cholesky(damped)
    torch.testing.assert_close(whitening.matrix.double() @ factor, torch.eye(4).double(), rtol=1e-3, atol=1e-3)
    expected = torch.linalg.solve(factor, (a.double() - both.mean(0)).T).T
    torch.testing.assert_close(whitening(a)[0].double(), expected, rtol=1e-3, atol=1e-2)


def test_whitening_gives_every_direction_its_say_and_follows():
    whitening = Whitening(4).train()

    def spectrum(z):
        return torch.linalg.eigvalsh(torch.cov(whitening.eval()(z)[0].T))

    for moved in (1.0, 7.0):  # the projections grow, as they do in training
        for step in range(400):
            whitening.train().start()
            whitening(moved * narrow(64, step))
            whitening.update()
        values = spectrum(moved * narrow(4000, 1000))
        assert values[2] > 0.8 and values[3] < 1.2  # without: a hundredfold
        assert 0.2 < values[1] < 0.5 and values[0] < 0.02  # what is fainter than the damping stays faint
    assert whitening.seen == 2 * 400 * 64


def test_whitened_targets_are_learned_without_gradients_of_their_own():
    torch.manual_seed(0)
    model = BYOL(Encoder("conv4", 16), hidden=12, dim=6, whiten=True).train()
    model(*views()).backward()
    assert all(b.grad is None and not b.requires_grad for b in model.whitening.buffers())
    assert not [name for name, _ in model.online_parameters() if "whitening" in name]
    model.update_target(0.9)
    before = {k: b.clone() for k, b in model.whitening.named_buffers() if k != "moments"}
    first, second = views()
    (a, s), (b, t) = model.look(first), model.look(second)
    s, t = ((z - model.whitening.mean) @ model.whitening.matrix.T for z in (s, t))
    torch.testing.assert_close(model(first, second), (view_loss(a, t) + view_loss(b, s)).mean())
    for key, value in before.items():
        torch.testing.assert_close(dict(model.whitening.named_buffers())[key], value)  # until the step is done


def test_whitening_survives_projections_that_do_not_differ():
    whitening = Whitening(4).train()
    for z in (torch.ones(8, 4), torch.full((8, 4), torch.nan)):
        whitening.start()
        whitening(z)
        whitening.update()
        assert whitening.matrix.isfinite().all()


def test_plain_byol_has_no_whitening(model):
    assert model.whitening is None and not any("whitening" in key for key in model.state_dict())
