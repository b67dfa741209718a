"""Runs learners on a task and records every step: accuracy, its range, and who goes where."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from byolmeta.fewshot import Z95
from byolmeta.learners import Support

STRANGE = 0.35  # share of all pictures that may lie so far from a class that they cannot belong to it
FOLDS = 30  # hiding each example in turn is done one by one up to here, in this many folds beyond


@dataclass(frozen=True)
class Accuracy:
    """Right answers out of a number of checks, with a 95 % range (Wilson 1927)."""

    right: int
    of: int

    @property
    def value(self) -> float | None:
        return self.right / self.of if self.of else None

    @property
    def range(self) -> tuple[float, float]:
        """Wilson score interval; (0, 1) without checks."""
        if not self.of:
            return 0.0, 1.0
        p, n = self.right / self.of, self.of
        centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
        half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)


def check_trace(
    learner, vectors: Tensor, support: np.ndarray, labels: np.ndarray, way: int, checks: np.ndarray, truth: np.ndarray
):
    """Yields Accuracy after every inner step, on pictures whose class is known (`checks`, `truth`)."""
    task = Support(vectors[support], torch.from_numpy(labels), way)
    x, y = vectors[checks], torch.from_numpy(truth)
    for step in learner.adapt(nn.Identity(), task):
        yield Accuracy(int((_known(step.predict(x), labels).argmax(1) == y).sum()), len(y))


def hide_trace(
    learner, vectors: Tensor, support: np.ndarray, labels: np.ndarray, way: int, copies: np.ndarray
) -> Iterator[Accuracy]:
    """Yields Accuracy after every inner step by hiding each example in turn (leave-one-out; folds beyond FOLDS).

    Copies of the hidden picture (`copies`: same number) are hidden with it. An example whose class would be empty
    without it cannot be checked and is not counted.
    """
    folds, tasks = _folds(support, labels, copies), []
    for hidden in folds:
        kept = ~np.isin(copies[support], copies[support[hidden]])
        asked = hidden[np.isin(labels[hidden], labels[kept])]
        if len(asked) and len(np.unique(labels[kept])) > 1:
            task = Support(vectors[support[kept]], torch.from_numpy(labels[kept]), way)
            tasks.append((learner.adapt(nn.Identity(), task), vectors[support[asked]], labels[asked], labels[kept]))
    of = sum(len(y) for _, _, y, _ in tasks)
    last = [None] * len(tasks)
    while any(news := [next(steps, None) for steps, *_ in tasks]):
        right = 0
        for place, (_, x, y, known) in enumerate(tasks):
            last[place] = news[place] or last[place]  # a learner that chooses its steps may be done sooner on some
            right += int((_known(last[place].predict(x), known).argmax(1).numpy() == y).sum())
        yield Accuracy(right, of)


def _known(scores: Tensor, labels: np.ndarray) -> Tensor:
    """Scores with the classes that have no examples ruled out."""
    empty = torch.ones(scores.shape[1], dtype=torch.bool)
    empty[np.unique(labels)] = False
    return scores.masked_fill(empty, -math.inf)


def _folds(support: np.ndarray, labels: np.ndarray, copies: np.ndarray) -> list[np.ndarray]:
    """Places in `support` that are hidden together, never separating copies."""
    groups = [np.flatnonzero(copies[support] == c) for c in np.unique(copies[support])]
    if len(groups) <= FOLDS:
        return groups
    order = np.random.default_rng(0).permutation(len(groups))
    return [np.concatenate([groups[g] for g in part]) for part in np.array_split(order, FOLDS)]


@dataclass(frozen=True)
class Answer:
    """Where pictures go: class, its probability, and how sure (3 sure, 2 fairly, 1 unsure, 0 none of these)."""

    label: np.ndarray  # int64 (N,)
    score: np.ndarray  # float32 (N,), softmax of the winner
    sure: np.ndarray  # uint8 (N,)


def sort_pictures(learner, vectors: Tensor, support: np.ndarray, labels: np.ndarray, way: int) -> Answer:
    """Sorts all pictures by the last step of the learner.

    'None of these': its class's nearest example is farther than it is for most pictures of the folder, by cosine
    around their mean. 'Sure' goes by the probability.
    """
    for step in learner.adapt(nn.Identity(), Support(vectors[support], torch.from_numpy(labels), way)):
        pass
    probability = _known(step.predict(vectors), labels).softmax(1)
    score, label = probability.max(1)
    present = len(np.unique(labels))
    margin = (score - 1 / present) / (1 - 1 / present)  # 0: no better than guessing, 1: certain
    sure = 1 + (margin > 0.35).int() + (margin > 0.7).int()
    sure[_strangers(vectors, support, labels, label)] = 0
    return Answer(label.numpy(), score.numpy(), sure.numpy().astype(np.uint8))


def _strangers(vectors: Tensor, support: np.ndarray, labels: np.ndarray, label: Tensor) -> Tensor:
    """Pictures that lie farther from their class's nearest example than most pictures of the folder do.

    A weak sign (of the strangers among drawn creatures and photos it finds about one in seven with two classes of two
    examples), set so that few pictures of a class are taken for strangers (one in fifty to one in ten).
    """
    x = nn.functional.normalize(vectors - vectors.mean(0), dim=1)
    cosine = x @ x[support].T
    near = torch.full((len(x), max(int(label.max()), int(labels.max())) + 1), -2.0)  # no picture may go to the last class
    for kind in np.unique(labels):
        near[:, kind] = cosine[:, labels == kind].amax(1)
    usual = near.quantile(STRANGE, dim=0)
    return near.gather(1, label[:, None])[:, 0] < usual[label]
