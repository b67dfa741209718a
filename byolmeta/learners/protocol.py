"""What every learner takes and gives.

A learner is a frozen dataclass of its settings with one generator:

    adapt(embed, support, *, keep_graph=False) -> Iterator[Step]

`embed` turns inputs into vectors (the encoder, or nn.Identity() for saved vectors and for patches). Learners whose head is
linear inherit `adapt` from LinearHead, and `solve`, which does the same for many tasks at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

EMPTY = 1e-10  # squared length, as a share of the usual one, below which a vector is taken for the centre itself


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


class LinearHead(ABC):
    """A head W on centred unit vectors x, with scores x W + b, that never leaves the span of the support set: W = X^T A.

    Gradient steps from zero or from class means stay in that span, and so do closed forms. So a learner only says how
    the coefficients A follow from the products of support vectors with each other, `products` (B, n, n): computed once a
    task, they make every inner step small, and many tasks one batch. The results, and gradients of any order, are
    exactly those of the head itself.
    """

    unit = True  # vectors are brought to length 1 around their centre

    def factors(self) -> Tensor | None:
        """How much each direction of the vectors counts in every product, (D,); None: all alike."""
        return None

    @abstractmethod
    def coefficients(self, products: Tensor, goal: Tensor, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields A (B, n, way) and the bias (B, 1, way) before the first step and after each.

        products (B, n, n); goal (B, n, way): one-hot classes; weights (B, n): sum to 1, classes count alike.
        """

    @torch.enable_grad()
    def adapt(self, embed, support: Support, *, keep_graph: bool = False) -> Iterator[Step]:
        """Yields the head before the first step (number 0) and after each, for one task."""
        vectors = embed(support.inputs)
        vectors = vectors if keep_graph else vectors.detach()
        x, place = centred(vectors, support.labels, support.way, self.unit)
        factors = self.factors()
        weighted = x if factors is None else x * factors.to(x)
        products = (weighted @ x.T)[None]
        goal = F.one_hot(support.labels, support.way).to(x.dtype)
        weights = balanced_weights(support.labels, support.way).to(x.dtype)
        for number, (a, bias) in enumerate(self.coefficients(products, goal[None], weights[None])):
            head = weighted.T @ a[0]

            def predict(inputs, head=head, bias=bias[0]):
                with torch.set_grad_enabled(keep_graph):
                    return place(embed(inputs)) @ head + bias

            yield Step(number, task_losses(products @ a + bias, goal[None], weights[None])[0], predict)

    def solve(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Iterator[tuple[Tensor, Tensor]]:
        """`adapt` for B tasks of the same size at once: support (B, n, D), labels (B, n), query (B, m, D), all vectors.

        Yields the support loss (B,) and the scores of the queries (B, m, way) before the first step and after each.
        """
        ss, qs, goal, weights = self._tasks(support, labels, query, way)
        for a, bias in self.coefficients(ss, goal, weights):
            yield task_losses(ss @ a + bias, goal, weights), qs @ a + bias

    def answer(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """The scores that `solve` yields last, sooner: a step of meta-training needs no others."""
        ss, qs, goal, weights = self._tasks(support, labels, query, way)
        for a, bias in self.coefficients(ss, goal, weights):
            pass
        return qs @ a + bias

    def _tasks(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Products of support with support and of query with support, one-hot classes, and weights."""
        goal = F.one_hot(labels, way).to(support.dtype)
        counts = goal.sum(1, keepdim=True)  # (B, 1, way)
        weights = (goal / counts.clamp_min(1)).sum(2) / (counts > 0).sum(2)
        return *products_of(support, query, weights, self.unit, self.factors()), goal, weights


def products_of(
    support: Tensor, query: Tensor, weights: Tensor, unit: bool = True, factors: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Products of support (B, n, D) with support and of query (B, m, D) with support, once all are `centred`.

    weights (B, n) make the centre c. The products of queries, q s - c s, spare a pass over their many numbers.
    Returns (B, n, n) and (B, m, n).
    """
    centre = weights[:, None] @ support
    support = support - centre
    if unit:
        length = squared_length(support)
        least = least_length(length, centre)
        support = support * inverse_root(length, least)
    counted = support if factors is None else support * factors.to(support)
    ss, qs = counted @ support.mT, query @ counted.mT - centre @ counted.mT
    return ss, qs * inverse_root(squared_length(query - centre), least) if unit else qs


def squared_length(vectors: Tensor) -> Tensor:
    """(..., 1). By the norm, whose gradient takes one pass over the vectors; that of a square takes several, and slow ones."""
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).square()


def least_length(lengths: Tensor, centre: Tensor) -> Tensor:
    """Squared length below which a vector is the centre itself but for rounding: of lengths (..., n, 1) around it (..., 1, D)."""
    rounding = (8 * torch.finfo(centre.dtype).eps) ** 2 * squared_length(centre)
    return (EMPTY * lengths.mean(-2, keepdim=True) + rounding).detach().clamp_min(1e-30)


def inverse_root(length: Tensor, least: Tensor | float) -> Tensor:
    """1 / sqrt(length), and 0 where that is not above `least`: what lies in the centre has no direction."""
    return torch.where(length > least, length.clamp_min(least).rsqrt(), torch.zeros_like(length))


def task_losses(scores: Tensor, goal: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy of each task, (B,): scores and goal (B, n, way), weights (B, n)."""
    return -(weights[..., None] * goal * scores.log_softmax(2)).sum((1, 2))


def class_means(vectors: Tensor, labels: Tensor, way: int) -> Tensor:
    """(way, D); a class without examples gets the zero vector."""
    member = F.one_hot(labels, way).to(vectors.dtype)
    return (member.T @ vectors) / member.sum(0).clamp_min(1)[:, None]


def centred(vectors: Tensor, labels: Tensor, way: int, unit: bool = True) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Support vectors as unit vectors around the mean of the class means, and the same map for later inputs.

    Vectors of one encoder share a large common part, which says nothing about classes; the support set alone
    tells where it is, so a query's answer does not depend on other queries (inductive). Without `unit`, only centred.
    """
    present = torch.unique(labels)
    centre = class_means(vectors, labels, way)[present].mean(0, keepdim=True)
    least = least_length(squared_length(vectors - centre), centre)

    def place(others: Tensor) -> Tensor:
        moved = others - centre
        return moved * inverse_root(squared_length(moved), least) if unit else moved

    return place(vectors), place


def balanced_weights(labels: Tensor, way: int) -> Tensor:
    """(n,), sums to 1, every class that has examples counts the same."""
    counts = torch.bincount(labels, minlength=way).clamp_min(1)
    weights = 1.0 / counts[labels]
    return weights / weights.sum()
