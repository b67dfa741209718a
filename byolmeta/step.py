"""One step of BYOL: two views of a batch, loss, gradients, optimiser and target, within the memory there is."""

import contextlib
import functools
import warnings

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from byolmeta.augment import ViewConfig, draw_view, render, two_views
from byolmeta.byol import BYOL
from byolmeta.devices import out_of_memory
from byolmeta.errors import InputError
from byolmeta.lanes import Lanes
from byolmeta.ranks import Ranks

WARM_UPS = 3  # steps before a CUDA graph is recorded, as torch asks for


class Step:
    """Calls itself with (images, seed, rate, momentum) and changes the model by one optimiser step.

    The batch is computed in `parts` one after another whose gradients add up: what does not fit in memory at once is
    halved, and schedules and target go by optimiser steps all the same. On one GPU, views, forward and backward are
    recorded once as a CUDA graph and replayed; on a CPU, the two views go side by side (lanes.py).
    """

    def __init__(self, model: BYOL, optimizer: torch.optim.Optimizer, cast, device: str, ranks: Ranks = Ranks()):
        self.model, self.optimizer, self.cast, self.device, self.ranks = model, optimizer, cast, device, ranks
        self.size = model.encoder.image_size
        self.views = two_views(self.size, model.encoder.kind)
        self.parts, self.graph, self.lanes = 1, None, None
        self.network: nn.Module = model
        if ranks.world > 1:
            with warnings.catch_warnings():  # the argument has another name in torch 2.15
                warnings.simplefilter("ignore", FutureWarning)
                self.network = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)

    def __call__(self, images: Tensor, seed: int, rate: float, momentum: float) -> Tensor:
        """Loss before the step, mean over the batch of all ranks; images uint8 (B, 3, S, S) are this rank's share.

        Raises InputError when not even two pictures fit in memory.
        """
        generator = torch.Generator().manual_seed(seed)
        count = len(images) * self.ranks.world
        draws = [draw_view(count, self.size, view, generator)[self.ranks.rows(count)] for view in self.views]
        if self.device.startswith("cuda"):
            draws = [draw.pin_memory() for draw in draws]
        draws = [draw.to(self.device, non_blocking=True) for draw in draws]
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        while True:
            try:
                loss = self._gradients(images, draws)
                break
            except RuntimeError as problem:
                if not out_of_memory(problem):
                    raise
                if self.ranks.world > 1 or not self._halve(len(images)):
                    raise self._too_large(len(images)) from None
        self.optimizer.step()
        if self.model.whitening is not None:
            self.ranks.sum(self.model.whitening.moments)
        self.model.update_target(momentum)
        return loss

    def forget(self) -> None:
        """Lets go of what is held between steps: the graph and the gradients."""
        self.graph = None
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _gradients(self, images: Tensor, draws: list[Tensor]) -> Tensor:
        if not self.device.startswith("cuda") or self.ranks.world > 1:
            return self.ranks.mean(self._accumulate(images, draws))
        if self.graph is None or len(images) != len(self.graph.images):
            self.graph = Graph(self, images, draws)
        return self.graph(images, draws)

    def _accumulate(self, images: Tensor, draws: list[Tensor]) -> Tensor:
        """Gradients of the mean loss over the batch, part by part; returns that loss, detached."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.model.whitening is not None:
            self.model.whitening.start()
        total = 0.0
        for number in range(self.parts):
            rows = slice(number, None, self.parts)  # every n-th: a batch lies sorted, often by class
            views = [
                functools.partial(self._view, images[rows], draw[rows], view)
                for view, draw in zip(self.views, draws, strict=True)
            ]
            weight = len(images[rows]) / len(images)
            if self.device == "cpu" and self.ranks.world == 1 and not self.model._compiled_call_impl:
                self.lanes = self.lanes or Lanes(self.model, self.cast)
                total = total + self.lanes(*views, weight)
                continue
            last = self.ranks.world == 1 or number == self.parts - 1
            with contextlib.nullcontext() if last else self.network.no_sync():
                with self.cast():
                    loss = self.network(*(make() for make in views)) * weight
                loss.backward()
            total = total + loss.detach()
        return total

    def _view(self, images: Tensor, draw: Tensor, view: ViewConfig) -> Tensor:
        return render(images, self.size, draw, view).contiguous(memory_format=torch.channels_last)

    def _halve(self, count: int) -> bool:
        """Twice as many parts; False when they would have fewer than two pictures."""
        if count // (2 * self.parts) < 2:
            return False
        self.forget()
        self.parts *= 2
        return True

    def _too_large(self, count: int) -> InputError:
        return InputError(
            f"{count // self.parts} pictures at once do not fit in the memory of {self.device}. "
            "Choose a smaller batch, smaller pictures or a smaller network."
        )


class Graph:
    """The gradients of a step as a CUDA graph: one launch instead of thousands, so that Python never holds up the GPU."""

    def __init__(self, step: Step, images: Tensor, draws: list[Tensor]):
        self.images, self.draws = images.clone(), [draw.clone() for draw in draws]
        before = [(b, b.clone()) for b in step.model.buffers()]
        side = torch.cuda.Stream(images.device)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                step._accumulate(self.images, self.draws)
        torch.cuda.current_stream().wait_stream(side)
        with torch.no_grad():
            for buffer, value in before:  # the running statistics have not seen the warm-up
                buffer.copy_(value)
        self.graph = torch.cuda.CUDAGraph()
        step.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(self.graph):
            self.loss = step._accumulate(self.images, self.draws)

    def __call__(self, images: Tensor, draws: list[Tensor]) -> Tensor:
        self.images.copy_(images, non_blocking=True)
        for kept, draw in zip(self.draws, draws, strict=True):
            kept.copy_(draw, non_blocking=True)
        self.graph.replay()
        return self.loss


def activation_bytes(model: BYOL, cast, device: str) -> int:
    """Bytes that the backward pass needs to keep for each picture of a batch, counted on a forward pass of few."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def kept(count: int) -> int:
        seen = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                seen[storage.data_ptr()] = storage.nbytes()
            return tensor

        views = torch.zeros(2, count, 3, model.encoder.image_size, model.encoder.image_size, device=device)
        with saved_tensors_hooks(pack, lambda tensor: tensor), cast():
            loss = model(*views)  # held, so that no address is used twice
        return sum(seen.values()) if loss is not None else 0

    before = {k: v.clone() for k, v in model.state_dict().items()}
    few, more = kept(2), kept(4)
    model.load_state_dict(before)
    return (more - few) // 2
