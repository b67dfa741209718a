"""The two views of a step on a CPU, side by side, each with half of the cores to itself.

An operation of a small network is too short to be worth sharing among cores, and most of them wait. But the views meet
only in their losses, where what the target says is a constant: each has a forward and a backward pass of its own, here
in a thread of its own. Gradients and running statistics are kept apart and added at the end, so that timing changes no
number.
"""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from byolmeta.byol import BYOL, view_loss


class Lanes:
    """Calls itself with the functions that make the views and adds the gradients of BYOL's loss to those of the model."""

    def __init__(self, model: BYOL, cast):
        twin = _twin(model)
        self.models, self.cast = (model, twin), cast
        self.weights = [
            (p, other) for p, other in zip(model.parameters(), twin.parameters(), strict=True) if p.requires_grad
        ]
        self.norms = [(a, b) for a, b in zip(_norms(model), _norms(twin), strict=True) if a.training]
        self.cores = torch.get_num_threads()
        self.half = max(1, self.cores // 2)
        self.thread = None
        if self.cores > 1:
            self.thread = ThreadPoolExecutor(1, "lane", initializer=torch.set_num_threads, initargs=(self.half,))

    def __call__(self, first: Callable[[], Tensor], second: Callable[[], Tensor], weight: float = 1.0) -> Tensor:
        """weight * BYOL.forward of the views, detached; `first` and `second` each make one, (B, 3, S, S) in 0..1."""
        for _, norm in self.norms:
            norm.running_mean.zero_()
            norm.running_var.zero_()
        for _, p in self.weights:
            p.grad = None
        (online_first, target_first), (online_second, target_second) = self._both(self._look, (first,), (second,))
        target_first, target_second = self.models[0].whiten(target_first, target_second)
        losses = self._both(self._learn, (online_first, target_second, weight), (online_second, target_first, weight))
        self._gather()
        return losses[0] + losses[1]

    def _both(self, work: Callable, first: tuple, second: tuple) -> tuple:
        """What `work` gives on each lane. Should one fail, only when the other has ended too."""
        if not self.thread:
            return work(0, *first), work(1, *second)
        other = self.thread.submit(work, 1, *second)
        torch.set_num_threads(self.half)
        try:
            mine = work(0, *first)
        finally:
            other.exception()  # waits for it
            torch.set_num_threads(self.cores)
        return mine, other.result()

    def _look(self, lane: int, make_view: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        view = make_view()
        with self.cast():
            torch.set_autocast_cache_enabled(False)  # both lanes would share it, and a lane uses each weight once
            return self.models[lane].look(view)

    def _learn(self, lane: int, online: Tensor, target: Tensor, weight: float) -> Tensor:
        loss = view_loss(online, target).mean() * weight
        loss.backward()
        return loss.detach()

    @torch.no_grad()
    def _gather(self) -> None:
        """The twin's share joins the model's, as if its view had come second."""
        torch._foreach_add_([p.grad for p, _ in self.weights], [other.grad for _, other in self.weights])
        for norm, other in self.norms:
            for mine, its in ((norm.running_mean, other.running_mean), (norm.running_var, other.running_var)):
                mine.mul_(1 - norm.momentum).add_(its)
            norm.num_batches_tracked += 1


def _twin(model: BYOL) -> BYOL:
    """The same weights in the same memory, but gradients and, where norms are in training, running statistics of its own."""
    shared = {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()}
    twin = copy.deepcopy(model, shared | {id(b): b for b in model.buffers()})
    for norm in _norms(twin):
        if norm.training:
            for name, value in list(norm._buffers.items()):
                norm._buffers[name] = value.clone()
    return twin


def _norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
