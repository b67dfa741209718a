"""Nearest class mean: nothing is trained, so it answers at once and is hard to beat with few examples.

Prototypical Networks, Snell et al. 2017 (arXiv 1703.05175): by squared Euclidean distance; or, the usual here, by cosine of
centred unit vectors (SimpleShot, Wang et al. 2019, arXiv 1911.04623). The temperature can be meta-learned.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from byolmeta.errors import InputError
from byolmeta.learners.protocol import LinearHead, inverse_root

METRICS = ("cosine", "euclidean")
SHORT = 1e-6  # squared length of a mean of unit vectors below which they cancel out, but for rounding


@dataclass(frozen=True)
class Prototype(LinearHead):
    """Settings of the nearest class mean."""

    LEARNED: ClassVar = ("scale",)  # what practice may change

    scale: float = 10.0  # inverse temperature: scores are this times the cosine, or minus the squared distance
    metric: str = "cosine"  # or euclidean, of the vectors as they are

    def __post_init__(self):
        if self.metric not in METRICS:
            raise InputError(f"There is no metric '{self.metric}'. Choose one of: {', '.join(METRICS)}.")

    @property
    def unit(self) -> bool:
        return self.metric == "cosine"

    def coefficients(self, products: Tensor, goal: Tensor, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields once: the class means."""
        mean = goal / goal.sum(1, keepdim=True).clamp_min(1)
        length = (mean * (products @ mean)).sum(1, keepdim=True).clamp_min(0)  # squared, (B, 1, way)
        if self.unit:
            yield self.scale * mean * inverse_root(length, SHORT), 0 * length
        else:
            yield 2 * self.scale * mean, -self.scale * length
