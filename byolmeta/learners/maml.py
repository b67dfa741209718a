"""MAML: a few gradient steps on the support set change the whole network, from a start made for them.

Finn et al. 2017 (arXiv 1703.03400). With keep_graph the outer gradient passes through the inner steps (second order), or
with `first_order` around them. On saved vectors there is no network left to change: it is then ANIL. Batch norm takes the
statistics that the network brings (`running`, in eval mode), or those of the support set alone, for the queries too
(`support`): either way no answer depends on other queries.
"""

import contextlib
import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from byolmeta.errors import InputError
from byolmeta.learners.protocol import Step, Support, balanced_weights, centred, class_means, task_losses

NORMS = ("running", "support")
STAGES = ("last", "all")


@dataclass(frozen=True)
class Maml:
    """Settings of the inner loop."""

    LEARNED: ClassVar = ("rate", "head_rate", "scale", "start")

    steps: int = 5  # gradient steps
    rate: float = 0.05  # of the network
    head_rate: float = 0.15  # of the head
    scale: float = 4.0  # length of the vectors the head sees
    start: float = 1.0  # the head begins as this times the class means; from 0 the first step leaves the network alone
    first_order: bool = False  # outer gradients leave out how the inner ones change
    norm: str = "running"  # statistics of batch norm: running, or support
    stages: str = "all"  # of the network that change: last or all

    def __post_init__(self):
        if self.norm not in NORMS:
            raise InputError(f"There is no norm '{self.norm}'. Choose one of: {', '.join(NORMS)}.")
        if self.stages not in STAGES:
            raise InputError(f"There are no stages '{self.stages}'. Choose one of: {', '.join(STAGES)}.")

    @torch.enable_grad()
    def adapt(self, embed, support: Support, *, keep_graph: bool = False) -> Iterator[Step]:
        """Yields network and head before the first step and after each. `embed` itself is left as it is."""
        embed = embed if keep_graph else copy.deepcopy(embed).eval()  # others may use it between steps, and beside them
        part = embed.last_stage() if self.stages == "last" and hasattr(embed, "last_stage") else embed
        chosen = {id(p) for p in part.parameters()}
        weights = {
            name: p if keep_graph else p.detach().requires_grad_()
            for name, p in embed.named_parameters()
            if id(p) in chosen
        }
        norms = [m for m in embed.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        norms = norms if self.norm == "support" else []
        goal = F.one_hot(support.labels, support.way)
        shares = balanced_weights(support.labels, support.way)
        head = None
        for number in range(self.steps + 1):
            statistics: dict[nn.Module, tuple[Tensor, Tensor]] = {}
            with _batch_norm(norms, functools.partial(_learn_statistics, statistics)):
                vectors = functional_call(embed, weights, (support.inputs,))
            x, place = centred(vectors, support.labels, support.way)
            if head is None:
                means = self.start * class_means(x, support.labels, support.way)
                head = torch.cat([self.scale * means, x.new_zeros(support.way, 1)], 1)
                head = head if keep_graph else head.detach()
                head.requires_grad_()
            goal, shares = goal.to(x.dtype), shares.to(x.dtype)
            scores = self.scale * x @ head[:, :-1].T + head[:, -1]
            loss = task_losses(scores[None], goal[None], shares[None])[0]

            def predict(inputs, weights=weights, head=head, place=place, statistics=statistics):
                with (
                    torch.set_grad_enabled(keep_graph),
                    _batch_norm(norms, functools.partial(_known_statistics, statistics)),
                ):
                    vectors = place(functional_call(embed, weights, (inputs,)))
                    return self.scale * vectors @ head[:, :-1].T + head[:, -1]

            yield Step(number, loss if keep_graph else loss.detach(), predict)
            if number == self.steps:
                return
            whole = keep_graph and not self.first_order
            inner = [*weights.values(), head]
            slopes = torch.autograd.grad(loss, inner, create_graph=whole, retain_graph=keep_graph, allow_unused=True)
            *changed, head = (
                p if g is None else p - rate * g
                for p, g, rate in zip(inner, slopes, [self.rate] * len(weights) + [self.head_rate], strict=True)
            )
            weights = dict(zip(weights, changed, strict=True))
            if not keep_graph:
                weights = {name: p.detach().requires_grad_() for name, p in weights.items()}
                head = head.detach().requires_grad_()


@contextlib.contextmanager
def _batch_norm(norms: list[nn.Module], rule) -> Iterator[None]:
    """While it lasts, these layers do as `rule(layer, x)` says."""
    try:
        for norm in norms:
            norm.forward = functools.partial(rule, norm)
        yield
    finally:
        for norm in norms:
            norm.__dict__.pop("forward", None)


def _learn_statistics(statistics: dict, norm: nn.Module, x: Tensor) -> Tensor:
    """Normalises by the batch's own mean and variance, and keeps them, with the graph that made them."""
    places = [0, *range(2, x.ndim)]
    variance, mean = torch.var_mean(x, places, correction=0)
    statistics[norm] = mean, variance
    return F.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)


def _known_statistics(statistics: dict, norm: nn.Module, x: Tensor) -> Tensor:
    """Normalises by statistics that were kept."""
    mean, variance = statistics[norm]
    scale = norm.weight * (variance + norm.eps).rsqrt()
    shape = (1, -1, *[1] * (x.ndim - 2))
    return x * scale.view(shape) + (norm.bias - mean * scale).view(shape)
