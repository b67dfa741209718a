"""What every learner takes and gives.

A learner is a frozen dataclass of its settings with one generator:

    adapt(embed, support, *, keep_graph=False) -> Iterator[Step]

`embed` turns inputs into vectors (the encoder, or nn.Identity() for saved vectors and for patches).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Support(NamedTuple):
    """The examples of a task; classes may have different numbers of them."""

    inputs: Tensor  # (n, ...) whatever `embed` takes
    labels: Tensor  # int64 (n,), 0..way-1
    way: int


class Step(NamedTuple):
    """A learner after some inner steps. Asking `predict` twice gives the same answer."""

    number: int
    support_loss: Tensor  # scalar
    predict: Callable[[Tensor], Tensor]  # inputs -> scores (m, way), higher is likelier


def class_means(vectors: Tensor, labels: Tensor, way: int) -> Tensor:
    """(way, D); a class without examples gets the zero vector."""
    member = F.one_hot(labels, way).to(vectors.dtype)
    return (member.T @ vectors) / member.sum(0).clamp_min(1)[:, None]


def centred(vectors: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Support vectors as unit vectors around the mean of the class means, and the same map for later inputs.

    Vectors of one encoder share a large common part, which says nothing about classes; the support set alone
    tells where it is, so a query's answer does not depend on other queries (inductive).
    """
    present = torch.unique(labels)
    centre = class_means(vectors, labels, way)[present].mean(0)

    def place(others: Tensor) -> Tensor:
        return F.normalize(others - centre, dim=1)

    return place(vectors), place


def balanced_weights(labels: Tensor, way: int) -> Tensor:
    """(n,), sums to 1, every class that has examples counts the same."""
    counts = torch.bincount(labels, minlength=way).clamp_min(1)
    weights = 1.0 / counts[labels]
    return weights / weights.sum()
