"""Ridge regression onto the classes in closed form: the best linear head under a quadratic penalty, in one step.

R2D2, Bertinetto et al. 2019 (arXiv 1805.08136), eq. 5: by the products of the examples, whose number is small. Penalty
and temperature can be meta-learned.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from byolmeta.errors import InputError
from byolmeta.learners.protocol import LinearHead


@dataclass(frozen=True)
class Ridge(LinearHead):
    """Settings of the regression."""

    LEARNED: ClassVar = ("penalty", "scale")

    penalty: float = 1.0  # times the squared weights, beside the squared errors of unit vectors
    scale: float = 10.0  # inverse temperature of the scores

    def __post_init__(self):
        if not self.penalty > 0:
            raise InputError(f"The penalty of the ridge regression is {self.penalty}; it must be above 0.")

    def coefficients(self, products: Tensor, goal: Tensor, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields once. Every class counts alike, however many examples it has."""
        share = weights * weights.shape[1]  # 1 on average
        penalty = torch.diag_embed(self.penalty / share.clamp_min(1e-6))
        present = (goal.sum(1, keepdim=True) > 0).to(goal.dtype)
        goal = (goal - 1 / present.sum(2, keepdim=True)) * present
        a = torch.linalg.solve(products + penalty, goal)
        yield self.scale * a, torch.zeros_like(a[:, :1])
