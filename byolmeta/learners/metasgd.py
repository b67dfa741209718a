"""ANIL whose inner loop has a learned rate for each direction of the vectors, beside one for each step.

Meta-SGD, Li et al. 2017 (arXiv 1707.09835). A direction's rate is the same for all classes, so that it does not depend on
their number. Unpractised, all rates are alike and this is ANIL.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from byolmeta.learners.anil import Anil


@dataclass(frozen=True)
class MetaSGD(Anil):
    """Settings of the inner loop."""

    LEARNED: ClassVar = ("rate", "scale", "start", "directions")

    directions: tuple[float, ...] = ()  # a factor on the rate for each direction; none: 1 for all

    def factors(self) -> Tensor | None:
        """The head's steps are scaled by direction, and so is every product that they make."""
        found = torch.as_tensor(self.directions)
        return found if found.numel() else None
