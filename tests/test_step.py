"""step.py: parts of a batch add up, memory that runs out halves them, and what a picture's activations weigh."""

import contextlib

import pytest
import torch

from byolmeta import step as step_module
from byolmeta.byol import BYOL
from byolmeta.encoder import Encoder
from byolmeta.errors import InputError
from byolmeta.lanes import Lanes
from byolmeta.optimizers import make_optimizer
from byolmeta.step import Step, activation_bytes


def made(parts=1, optimizer="sgd", frozen=False, whiten=False):
    """A step on a small model; with `frozen` norms, parts of a batch do not see each other anyway."""
    torch.manual_seed(0)
    model = BYOL(Encoder("conv4", 16), 16, 8, whiten).train()
    if frozen:
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
    step = Step(
        model, make_optimizer(model.online_parameters(), optimizer, 0.1, -1, "cpu"), contextlib.nullcontext, "cpu"
    )
    step.parts = parts
    return step


def pictures(n=12, seed=0):
    return torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def weights(step):
    return {k: v.clone() for k, v in step.model.state_dict().items()}


@pytest.mark.parametrize("whiten", (False, True))
def test_parts_add_up_to_the_whole_batch(whiten):
    """Without batch statistics, a step in 1, 2 and 3 parts is the same step: loss, weights, target."""
    results = []
    for parts in (1, 2, 3):
        step = made(parts, frozen=True, whiten=whiten)
        found = [step(pictures(seed=s), s, 0.1, 0.9).item() for s in range(3)]
        results.append((found, weights(step)))
    for found, state in results[1:]:
        assert found == pytest.approx(results[0][0], rel=1e-3 if whiten else 1e-5)
        for key, value in results[0][1].items():
            if key == "whitening.matrix":  # follows from the covariance, and magnifies rounding
                continue
            torch.testing.assert_close(state[key], value, atol=1e-3 if whiten else 1e-5, rtol=1e-3 if whiten else 1e-4)


def test_the_target_moves_once_a_step_however_many_parts(monkeypatch):
    moves, steps = [], []
    for parts in (1, 4):
        step = made(parts)
        monkeypatch.setattr(step.model, "update_target", moves.append)
        real = step.optimizer.step
        monkeypatch.setattr(step.optimizer, "step", lambda real=real: steps.append(1) or real())
        step(pictures(), 0, 0.1, 0.97)
    assert moves == [0.97, 0.97] and len(steps) == 2


def test_uneven_parts_weigh_by_their_pictures():
    step, whole = made(4, frozen=True), made(1, frozen=True)
    assert step(pictures(10), 0, 0.1, 0.9).item() == pytest.approx(whole(pictures(10), 0, 0.1, 0.9).item(), rel=1e-5)


def test_parts_of_a_sorted_batch_are_alike(monkeypatch):
    """A batch comes sorted by place in the store, so often by class: each part takes every n-th picture."""
    seen = []

    def render(images, size, draw, view):
        seen.append(images[:, 0, 0, 0].tolist())
        return torch.rand(len(images), 3, size, size)

    monkeypatch.setattr(step_module, "render", render)
    made(3)(torch.arange(12, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 16, 16), 0, 0.1, 0.9)
    assert seen == [each for part in ([0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]) for each in (part, part)]


def test_the_rate_of_the_step_is_in_force():
    step = made()
    step(pictures(), 0, 0.123, 0.9)
    assert [group["lr"] for group in step.optimizer.param_groups] == [0.123, 0.123]
    before = weights(step)
    step(pictures(), 1, 0.0, 1.0)
    after = weights(step)
    assert all(torch.equal(before[k], after[k]) for k in before if "running" not in k and "num_batches" not in k)


def scarce(step, room, error=torch.OutOfMemoryError("out")):
    """Lets the first lane fail for more than `room` pictures at once; returns the sizes it was asked for."""
    step.lanes = Lanes(step.model, step.cast)
    real, asked = step.model.look, []

    def look(view):
        asked.append(len(view))
        if len(view) > room:
            raise error
        return real(view)

    step.model.look = look
    return asked


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_memory_that_runs_out_halves_the_batch_and_goes_on(error):
    step, other = made(), made(4)
    asked = scarce(step, 3, error)
    loss = step(pictures(), 0, 0.1, 0.9)
    assert asked == [12, 6, 3, 3, 3, 3] and step.parts == 4
    step(pictures(), 1, 0.1, 0.9)
    assert asked[6:] == [3, 3, 3, 3]
    torch.testing.assert_close(loss, other(pictures(), 0, 0.1, 0.9))


def test_a_gradient_of_a_failed_try_is_not_kept():
    step, other = made(2, frozen=True), made(4, frozen=True)
    step.lanes = Lanes(step.model, step.cast)
    real, calls = step.model.look, []

    def second_part_fails(view):
        calls.append(len(view))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("out")
        return real(view)

    step.model.look = second_part_fails
    step(pictures(), 0, 0.1, 0.9)
    other(pictures(), 0, 0.1, 0.9)
    a, b = weights(step), weights(other)
    assert calls == [6, 6, 3, 3, 3, 3] and all(torch.equal(a[k], b[k]) for k in a)


def test_two_pictures_that_do_not_fit_are_told():
    step = made()
    scarce(step, 1)
    with pytest.raises(InputError, match="do not fit in the memory of cpu.*smaller"):
        step(pictures(), 0, 0.1, 0.9)


def test_other_errors_are_raised_as_they_are():
    step = made()
    scarce(step, 0, RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        step(pictures(), 0, 0.1, 0.9)


def test_activation_bytes_count_what_a_picture_needs():
    """A bound by hand: conv4 keeps at least its four maps of online views, and far less than fifty times that."""
    model = made().model.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = activation_bytes(model.train(), contextlib.nullcontext, "cpu")
    maps = 2 * 4 * 64 * (16 * 16 + 8 * 8 + 4 * 4 + 2 * 2)  # two views, float32, one map a block
    assert maps < found < 8 * maps
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    larger = BYOL(Encoder("conv4", 32), 16, 8).train()
    assert activation_bytes(larger, contextlib.nullcontext, "cpu") == pytest.approx(4 * found, rel=0.2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_the_recorded_graph_does_what_the_eager_step_does():
    results = []
    for graph in (True, False):
        torch.manual_seed(0)
        model = BYOL(Encoder("small", 32), 64, 16).train().cuda()
        optimizer = make_optimizer(model.online_parameters(), "sgd", 0.1, -1, "cuda")
        step = Step(model, optimizer, contextlib.nullcontext, "cuda")
        if not graph:
            step._gradients = step._accumulate
        images = torch.randint(
            0, 256, (6, 32, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
        found = [step(images[s].cuda(), s, 0.05, 0.9).item() for s in range(6)]
        results.append((found, weights(step)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-3)
    for key, value in results[0][1].items():
        torch.testing.assert_close(value, results[1][1][key], atol=1e-2, rtol=1e-2)
