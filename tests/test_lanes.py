"""lanes.py: two views side by side are the step of BYOL.forward, whatever the timing and the number of cores."""

import contextlib
import copy
import time

import pytest
import torch

from byolmeta.byol import BYOL
from byolmeta.encoder import Encoder
from byolmeta.lanes import Lanes


@pytest.fixture(params=(1, 2, 4))
def threads(request):
    """So many threads of torch, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def made(whiten=False):
    torch.manual_seed(0)
    return BYOL(Encoder("conv4", 16), 16, 8, whiten).train()


def views(n=6):
    return torch.rand(2, n, 3, 16, 16, generator=torch.Generator().manual_seed(0)).unbind(0)


def run(model, weight=1.0, lanes=None):
    """The loss, and what the lanes leave behind."""
    first, second = views()
    loss = (lanes or Lanes(model, contextlib.nullcontext))(lambda: first, lambda: second, weight)
    return loss, {k: p.grad for k, p in model.named_parameters() if p.requires_grad}, dict(model.named_buffers())


@pytest.mark.parametrize("whiten", (False, True))
def test_loss_gradients_and_running_statistics_are_those_of_forward(threads, whiten):
    model, other = made(whiten), made(whiten)
    loss, gradients, buffers = run(model)
    expected = other(*views())
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    assert not loss.requires_grad
    for name, p in other.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(gradients[name], p.grad)
        else:
            assert p.grad is None
    for name, b in other.named_buffers():
        torch.testing.assert_close(buffers[name], b)


def test_gradients_add_up_over_calls_and_by_weight():
    model = made()
    lanes = Lanes(model, contextlib.nullcontext)
    _, once, _ = run(model, 0.25, lanes)
    once = {k: g.clone() for k, g in once.items()}
    _, twice, _ = run(model, 0.5, lanes)
    for name, g in once.items():
        torch.testing.assert_close(twice[name], 3 * g, rtol=1e-4, atol=1e-7)


def test_weights_changed_in_place_count_on_both_lanes():
    model, other = made(), made()
    lanes = Lanes(model, contextlib.nullcontext)
    for changed in (model, other):
        with torch.no_grad():
            for p in changed.parameters():
                p.mul_(0.5)
    loss, _, _ = run(model, lanes=lanes)
    torch.testing.assert_close(loss, other(*views()).detach())


def test_a_late_lane_changes_no_number(threads, monkeypatch):
    """The same bits, whichever lane is late; one and two threads give the same, too."""
    real, found = BYOL.look, []
    for late in (None, 0, 1):
        lanes = Lanes(made(), contextlib.nullcontext)
        assert bool(lanes.thread) == (threads > 1)

        def look(self, view, late=late, lanes=lanes):
            if late is not None and self is lanes.models[late]:
                time.sleep(0.05)
            assert torch.get_num_threads() == max(1, threads // 2)
            return real(self, view)

        monkeypatch.setattr(BYOL, "look", look)
        loss, gradients, buffers = run(lanes.models[0], lanes=lanes)
        assert torch.get_num_threads() == threads
        found.append([loss, *gradients.values(), *buffers.values()])
    if threads == 2:
        torch.set_num_threads(1)
        monkeypatch.setattr(BYOL, "look", real)
        loss, gradients, buffers = run(made())
        found.append([loss, *gradients.values(), *buffers.values()])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("lane", [0, 1])
def test_when_one_lane_fails_the_other_has_ended(lane, threads, monkeypatch):
    model, ended = made(), []
    lanes = Lanes(model, contextlib.nullcontext)
    real = BYOL.look

    def look(self, view):
        if self is lanes.models[lane]:
            raise torch.OutOfMemoryError("out")
        time.sleep(0.05)
        found = real(self, view)
        ended.append(1)
        return found

    monkeypatch.setattr(BYOL, "look", look)
    with pytest.raises(torch.OutOfMemoryError):
        run(model, lanes=lanes)
    assert bool(ended) == (threads > 1 or lane == 1) and torch.get_num_threads() == threads
    monkeypatch.setattr(BYOL, "look", real)
    again = run(model, lanes=lanes)[0]
    torch.testing.assert_close(again, made()(*views()).detach())


def test_frozen_norms_keep_and_use_their_statistics():
    model = made()
    model(*views())
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    other = copy.deepcopy(model)
    loss, _, buffers = run(model)
    torch.testing.assert_close(loss, other(*views()).detach())
    assert all(torch.equal(buffers[k], b) for k, b in other.named_buffers())


def test_bf16_too():
    model = made()
    first, second = views()
    cast = lambda: torch.autocast("cpu", torch.bfloat16)  # noqa: E731
    loss = Lanes(model, cast)(lambda: first, lambda: second)
    torch.testing.assert_close(loss, made()(first, second).detach(), rtol=0.05, atol=0.05)
    assert loss.dtype == torch.float32 and all(p.grad.dtype == torch.float32 for p in model.predictor.parameters())
