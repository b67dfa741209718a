"""MAML's inner loop on the head alone: a few gradient steps on the support set from a start made for them.

ANIL, Raghu et al. 2020 (arXiv 1909.09157); MAML, Finn et al. 2017. The head starts at zero or at a multiple of the class
means (Proto-MAML, Triantafillou et al. 2020, arXiv 1903.03096), so it does not depend on the number of classes. Its softmax
gradient is written out, so every step is plain tensor arithmetic, and the outer gradient passes through all inner steps
(second order). Rates, start and scale can be meta-learned.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from byolmeta.errors import InputError
from byolmeta.learners.protocol import LinearHead


@dataclass(frozen=True)
class Anil(LinearHead):
    """Settings of the inner loop."""

    LEARNED: ClassVar = ("rate", "scale", "start")

    steps: int = 20  # gradient steps
    rate: float | tuple[float, ...] = 0.15  # of the inner loop; or one a step, the last of which goes on
    scale: float = 4.0  # length of the vectors the head sees
    start: float = 0.0  # the head begins as this times the class means

    def __post_init__(self):
        if isinstance(self.rate, tuple) and not self.rate:
            raise InputError("The inner loop has no rate; it needs one number, or one for each step.")

    def coefficients(self, products: Tensor, goal: Tensor, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the head before the first step (from a start of 0 it knows nothing) and after each."""
        weights, area = weights[..., None], self.scale**2
        a = self.start * goal / goal.sum(1, keepdim=True).clamp_min(1)
        bias = torch.zeros_like(a[:, :1])
        for number in range(self.steps + 1):
            yield area * a, bias
            if number < self.steps:
                scores = area * (products @ a) + bias
                # the softmax is taken over the middle axis, where it is several times as fast as over a last one of few classes
                change = self._rate(number) * goal.shape[2] * weights * (scores.mT.softmax(1).mT - goal)
                a, bias = a - change, bias - change.sum(1, keepdim=True)

    def _rate(self, number: int):
        """The rate of a step."""
        if isinstance(self.rate, (tuple, list)) or (torch.is_tensor(self.rate) and self.rate.ndim):
            return self.rate[min(number, len(self.rate) - 1)]
        return self.rate
