"""Runs learners on a task and records every step: accuracy, its range, and who goes where."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from byolmeta.fewshot import Z95
from byolmeta.learners import LinearHead, Support
from byolmeta.learners.protocol import EMPTY, inverse_root

STRANGE = 0.4  # chance of being of any class below which a picture is of none
LEVELS = (0.6, 0.85)  # chance of being right from which an answer is fairly sure, and sure
SPREAD = 0.4  # of the logarithm of the factor on a learner's scores, before the examples are asked
ASKED = 60  # examples that are hidden to learn how near pictures of the classes are
# what is usual of nearness to the classes, on the sets that tests/benchmarks/teach.py does not report on, and how many
# examples it counts for
FAR, HELD_FAR = 0.12, 20  # mean of pictures that are of no class
GAP, HELD_GAP = 0.5, 6  # by how much pictures of the classes are nearer
WIDTH, SHARE, HELD = 0.5, 0.75, 40  # standard deviation of either, and share of pictures that are of the classes
SHY = 1.6  # over the number of classes: by how much whole classes that are hidden seem farther than strangers are
FOLDS = 30  # hiding each example in turn is done one by one up to here, in this many folds beyond
FEWEST = 5  # folds of many examples
WORK = 1e7  # folds x examples^2 x classes of a batched check: some tens of milliseconds on one core
AT_ONCE = 1e6  # numbers in a batch of products: they stay in a core's cache


@dataclass(frozen=True)
class Accuracy:
    """Right answers out of a number of checks on other pictures, with a 95 % range (Wilson 1927)."""

    right: int
    of: int

    @property
    def value(self) -> float | None:
        return self.right / self.of if self.of else None

    @property
    def range(self) -> tuple[float, float]:
        """Where the accuracy on all pictures of these classes lies; (0, 1) without checks."""
        return wilson(self.value, self.of) if self.of else (0.0, 1.0)


@dataclass(frozen=True)
class HiddenAccuracy(Accuracy):
    """Right answers among examples that were hidden in turn; its range speaks for the learner that sees all of them."""

    kept: float = 1.0  # of the examples of a checked one's box, the share that stayed
    unasked: float = 0.0  # of the boxes, the share that cannot be checked: hidden, they are empty

    @property
    def range(self) -> tuple[float, float]:
        """Wider than Wilson's for three reasons. (0, 1) without checks.

        The checks share their examples, so each counts for half a check: the variance of Nadeau and Bengio (2003,
        "Inference for the generalization error"), (1 / J + tests / trained) for J folds, is twice 1 / J. The whole
        learner has seen more: its errors are at best fewer in proportion. And boxes that cannot be checked may be
        answered half as often rightly. How often it holds is in tests/benchmarks/results/teach.json.
        """
        if not self.of:
            return 0.0, 1.0
        low, high = wilson(self.value, self.of / 2)
        return low * (1 - self.unasked / 2), 1 - (1 - high) * self.kept


def wilson(share: float, of: float) -> tuple[float, float]:
    """Score interval of a share of `of` independent checks."""
    centre = (share + Z95**2 / (2 * of)) / (1 + Z95**2 / of)
    half = Z95 / (1 + Z95**2 / of) * math.sqrt(share * (1 - share) / of + Z95**2 / (4 * of * of))
    return max(0.0, centre - half), min(1.0, centre + half)


def check_trace(
    learner, vectors: Tensor, support: np.ndarray, labels: np.ndarray, way: int, checks: np.ndarray, truth: np.ndarray
):
    """Yields Accuracy after every inner step, on pictures whose class is known (`checks`, `truth`)."""
    y = torch.from_numpy(truth)
    for scores in _steps(learner, vectors, support, labels, way, vectors[checks]):
        yield Accuracy(int((scores.argmax(1) == y).sum()), len(y))


def label_trace(learner, vectors: Tensor, support: np.ndarray, labels: np.ndarray, way: int) -> Iterator[np.ndarray]:
    """Yields after every inner step the class of every picture, int64 (N,); the last are those of `sort_pictures`."""
    for scores in _steps(learner, vectors, support, labels, way, vectors):
        yield scores.argmax(1).numpy()


@torch.no_grad()
def _steps(
    learner, vectors: Tensor, support: np.ndarray, labels: np.ndarray, way: int, asked: Tensor
) -> Iterator[Tensor]:
    """Yields after every inner step the scores (m, way) of vectors `asked`; classes without examples have -inf."""
    examples, task = vectors[support], torch.from_numpy(labels)
    if isinstance(learner, LinearHead):  # their products with the examples are made once; the common part cancels badly
        common = examples.mean(0)
        for _, scores in learner.solve((examples - common)[None], task[None], (asked - common)[None], way):
            yield _known(scores[0], labels)
        return
    for step in learner.adapt(nn.Identity(), Support(examples, task, way)):
        yield _known(step.predict(asked), labels)


def hide_trace(
    learner, vectors: Tensor, support: np.ndarray, labels: np.ndarray, way: int, copies: np.ndarray
) -> Iterator[HiddenAccuracy]:
    """Yields the accuracy after every inner step by hiding each example in turn (leave-one-out; many of them in folds).

    Copies of the hidden picture (`copies`: same number) are hidden with it. An example whose class would be empty
    without it cannot be checked and is not counted.
    """
    folds, counts = _folds_of(learner, support, labels, way, copies), np.bincount(labels, minlength=way)
    left = np.zeros(len(labels))  # share of each example's class that stays while it is hidden
    for hidden in folds:
        left[hidden] = (1 - np.bincount(labels[hidden], minlength=way) / np.maximum(counts, 1))[labels[hidden]]
    for scores in _hidden(learner, vectors, support, labels, way, folds):
        asked = ~scores.isnan().any(1).numpy()
        right = int((scores.argmax(1).numpy() == labels)[asked].sum())
        unasked = 1 - len(np.unique(labels[asked])) / len(np.unique(labels))
        yield HiddenAccuracy(right, int(asked.sum()), float(left[asked].mean()), unasked)


def hide(learner, vectors: Tensor, support: np.ndarray, labels: np.ndarray, way: int, copies: np.ndarray) -> np.ndarray:
    """Last scores of each example while it is hidden, float32 (n, way); NaN in the rows that cannot be checked."""
    scores = torch.full((len(support), way), math.nan)
    for scores in _hidden(learner, vectors, support, labels, way, _folds_of(learner, support, labels, way, copies)):
        pass
    return scores.numpy()


def _folds_of(learner, support: np.ndarray, labels: np.ndarray, way: int, copies: np.ndarray) -> list[np.ndarray]:
    """Places in `support` that are hidden together: of all folds, those that leave two classes or more."""
    many = max(FEWEST, int(WORK / (len(support) ** 2 * way))) if isinstance(learner, LinearHead) else FOLDS
    folds = _folds(labels, copies[support], min(FOLDS, many))
    return [hidden for hidden in folds if len(np.unique(np.delete(labels, hidden))) > 1]


def _hidden(
    learner, vectors: Tensor, support: np.ndarray, labels: np.ndarray, way: int, folds: list[np.ndarray]
) -> Iterator[Tensor]:
    """Yields after every inner step the scores (n, way) of the examples, each fold hidden in turn.

    Classes without examples left have -inf; rows that cannot be checked are NaN. Yields nothing where all are so.
    """
    cannot = np.ones(len(support), bool)
    for hidden in folds:
        cannot[hidden] = ~np.isin(labels[hidden], np.delete(labels, hidden))
    if cannot.all():
        return
    solve = _batched if isinstance(learner, LinearHead) else _one_by_one
    for scores in solve(learner, vectors[support], labels, way, folds):
        for hidden in folds:
            scores[hidden] = _known(scores[hidden], np.delete(labels, hidden))
        scores[cannot] = math.nan
        yield scores


def _one_by_one(learner, x: Tensor, labels: np.ndarray, way: int, folds: list[np.ndarray]) -> Iterator[Tensor]:
    """Scores (n, way) after every inner step, by adapting to what each fold leaves of the examples x (n, D)."""
    tasks, last = [], [None] * len(folds)
    for hidden in folds:
        kept = np.delete(np.arange(len(labels)), hidden)
        tasks.append(learner.adapt(nn.Identity(), Support(x[kept], torch.from_numpy(labels[kept]), way)))
    while any(news := [next(task, None) for task in tasks]):
        scores = x.new_zeros(len(x), way)
        for place, hidden in enumerate(folds):
            last[place] = news[place] or last[place]  # a learner that chooses its steps may be done sooner on some
            scores[hidden] = last[place].predict(x[hidden]).to(x.dtype)
        yield scores


@torch.no_grad()
def _batched(learner: LinearHead, x: Tensor, labels: np.ndarray, way: int, folds: list[np.ndarray]) -> Iterator[Tensor]:
    """As _one_by_one, all folds at once: each of their tasks follows from the products of the examples x (n, D)."""
    inner, steps = _Products(learner, x), []
    for size in {len(hidden) for hidden in folds}:
        hidden = np.stack([fold for fold in folds if len(fold) == size])
        kept = np.stack([np.delete(np.arange(len(x)), fold) for fold in hidden])
        for rows in np.array_split(np.arange(len(kept)), math.ceil(len(kept) * len(x) ** 2 / AT_ONCE)):
            for number, scores in enumerate(inner.solve(kept[rows], hidden[rows], torch.from_numpy(labels), way)):
                if number == len(steps):
                    steps.append(x.new_zeros(len(x), way))
                steps[number][hidden[rows]] = scores
    yield from steps


class _Products:
    """The products of some vectors x (n, D), from which those of any task among them follow without the vectors."""

    def __init__(self, learner: LinearHead, x: Tensor):
        x, factors = x.double(), learner.factors()  # in double: vectors share a large part, which cancels
        self.common = x.mean(0).square().sum()
        x = x - x.mean(0)
        self.learner, self.gram = learner, x @ x.T
        self.counted = self.gram if factors is None else (x * factors.to(x)) @ x.T
        self.few = self.counted.float()

    def solve(self, support: np.ndarray, query: np.ndarray, labels: Tensor, way: int) -> Iterator[Tensor]:
        """As LinearHead.solve for B tasks that are rows of x, support (B, k) and query (B, m): yields scores (B, m, way)."""
        support, query = torch.from_numpy(support), torch.from_numpy(query)
        goal = nn.functional.one_hot(labels[support], way).double()
        counts = goal.sum(1, keepdim=True)
        weights = (goal / counts.clamp_min(1)).sum(2) / (counts > 0).sum(2)
        inside = self.gram.new_zeros(len(support), len(self.gram)).scatter_(1, support, weights)  # makes the centre c
        to_centre = inside @ self.gram  # (B, n): x c
        square = (to_centre * inside).sum(1, keepdim=True)  # c c
        scale = torch.ones_like(to_centre)
        if self.learner.unit:
            length = self.gram.diagonal() - 2 * to_centre + square
            rounding = (8 * torch.finfo(torch.float32).eps) ** 2 * (square + self.common)
            usual = length.gather(1, support).mean(1, keepdim=True)
            scale = inverse_root(length, (EMPTY * usual + rounding).clamp_min(1e-30))
        to_centre = inside @ self.counted
        shift = to_centre - (to_centre * inside).sum(1, keepdim=True) / 2
        shift, scale, goal, weights = (each.float() for each in (shift, scale, goal, weights))
        rows, asked = (self._between(each, support, shift, scale) for each in (support, query))
        for a, bias in self.learner.coefficients(rows, goal, weights):
            yield asked @ a + bias

    def _between(self, left: Tensor, right: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Products (B, m, k) of rows left (B, m) and right (B, k), once all are moved and scaled."""
        found = self.few[left[:, :, None], right[:, None]]
        found -= shift.gather(1, left)[:, :, None]
        found -= shift.gather(1, right)[:, None]
        found *= scale.gather(1, left)[:, :, None]
        found *= scale.gather(1, right)[:, None]
        return found


def _known(scores: Tensor, labels: np.ndarray) -> Tensor:
    """Scores with the classes that have no examples ruled out."""
    empty = torch.ones(scores.shape[1], dtype=torch.bool)
    empty[np.unique(labels)] = False
    return scores.masked_fill(empty, -math.inf)


def _folds(labels: np.ndarray, copies: np.ndarray, most: int) -> list[np.ndarray]:
    """Places among the examples that are hidden together, never separating copies; every fold takes of every class."""
    groups = [np.flatnonzero(copies == c) for c in np.unique(copies)]
    groups.sort(key=lambda group: labels[group[0]])
    if len(groups) <= most:
        return groups
    return [np.concatenate(groups[first::most]) for first in range(most)]


@dataclass(frozen=True)
class Answer:
    """Where pictures go: class, how likely that is right, and how sure (3 sure, 2 fairly, 1 unsure, 0 none of these)."""

    label: np.ndarray  # int64 (N,)
    score: np.ndarray  # float32 (N,): the chance that the picture is of this class, and not of none
    sure: np.ndarray  # uint8 (N,)
    member: np.ndarray  # float32 (N,): the chance that the picture is of one of the classes
    second: np.ndarray  # int64 (N,): the class that comes next
    lead: np.ndarray  # float32 (N,): by how much the first is likelier than the second, if it is of one of the classes


def sort_pictures(
    learner,
    vectors: Tensor,
    support: np.ndarray,
    labels: np.ndarray,
    way: int,
    copies: np.ndarray | None = None,
) -> Answer:
    """Sorts all pictures by the last step of the learner, and says how sure that is.

    `copies`: same number for copies of a picture; they are hidden together where hidden examples are asked. How often
    each level is right on sets that nothing was chosen on is in tests/benchmarks/results/teach.json.
    """
    for step in learner.adapt(nn.Identity(), Support(vectors[support], torch.from_numpy(labels), way)):
        pass
    sharp = sharpness(learner, vectors, support, labels, way, np.arange(len(vectors)) if copies is None else copies)
    chances = (sharp * _known(step.predict(vectors), labels)).softmax(1)
    return answer_of(chances, familiarity(vectors, support, labels)(vectors))


def answer_of(chances: Tensor, member: Tensor) -> Answer:
    """The answer from the chance of each class if a picture is of one, (N, way), and that it is of one, (N,)."""
    top = chances.topk(min(2, chances.shape[1]), 1)
    chance, label = top.values[:, 0], top.indices[:, 0]
    score = chance * member
    sure = torch.bucketize(score, score.new_tensor(LEVELS), right=True) + 1
    sure[member < STRANGE] = 0
    second, lead = top.indices[:, -1], chance - top.values[:, 1:].sum(1)
    return Answer(*(each.numpy() for each in (label, score, sure.to(torch.uint8), member, second, lead)))


def sharpness(learner, vectors: Tensor, support: np.ndarray, labels: np.ndarray, way: int, copies: np.ndarray) -> float:
    """The factor on the scores with which the hidden examples are likeliest: an inverse temperature (Guo et al. 2017).

    Near 1 where they are few. Hidden examples are answered worse than other pictures will be, most so in small boxes, and
    count for less there. 1 for learners that adapt to one task after another, where hiding takes too long.
    """
    if not isinstance(learner, LinearHead):
        return 1.0
    scores = torch.from_numpy(hide(learner, vectors, support, labels, way, copies)).double()
    asked = ~scores.isnan().any(1)
    scores, y = scores[asked], torch.from_numpy(labels)[asked]
    weight = (1 - 1 / torch.bincount(y, minlength=way)[y].double()) / 2
    best, least = 1.0, math.inf
    for factor in torch.linspace(-1.5, 1.5, 31).exp().tolist():
        wrong = nn.functional.cross_entropy(factor * scores, y, reduction="none")
        cost = float((weight * wrong).sum()) + (math.log(factor) / SPREAD) ** 2 / 2
        best, least = (factor, cost) if cost < least else (best, least)
    return best


@dataclass(frozen=True)
class Familiarity:
    """The chance that a picture is of one of the classes: vectors (N, D) -> float32 (N,)."""

    centre: Tensor  # (D,), of the folder
    towards: Tensor  # (D, P): unit vectors from there to the mean of each class that has examples
    mean: Tensor  # (P,), of the folder's cosines with those
    spread: Tensor  # (P,), their standard deviation
    slope: float = 1.0  # of the chance's log-odds in the nearness
    offset: float = 0.0

    def near(self, vectors: Tensor) -> Tensor:
        """How near the classes pictures are, (N, P), in standard deviations of the folder's pictures."""
        cosine = nn.functional.normalize(vectors - self.centre, dim=1) @ self.towards
        return (cosine - self.mean) / self.spread

    def __call__(self, vectors: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * _nearness(self.near(vectors)) + self.offset)


def _nearness(near: Tensor) -> Tensor:
    """One number from those of the classes (N, P): the log of the mean of their exponentials (Liu et al. 2020, energy)."""
    return near.logsumexp(1) - math.log(near.shape[1])


def familiarity(vectors: Tensor, support: np.ndarray, labels: np.ndarray) -> Familiarity:
    """Who is of the classes and who of none, learned from the folder's own pictures, `vectors` (N, D).

    Examples that are hidden in turn say how near pictures of the classes are; examples whose whole class is hidden, how
    near those of other classes. The folder is a mixture of both, whose share is estimated (expectation maximisation).
    """
    x, y = vectors - vectors.mean(0), torch.from_numpy(np.unique(labels, return_inverse=True)[1])
    x = nn.functional.normalize(x, dim=1)
    examples, counts = x[support], torch.bincount(y)
    sums = x.new_zeros(len(counts), x.shape[1]).index_add_(0, y, examples)
    towards = nn.functional.normalize(sums, dim=1)
    cosine = x @ towards.T
    mean, spread = cosine.mean(0), cosine.std(0, correction=0).clamp_min(1e-6)
    near = (cosine - mean) / spread
    asked = torch.from_numpy(np.unique(np.linspace(0, len(y) - 1, min(len(y), ASKED)).astype(int)))
    own = y[asked]
    without = nn.functional.normalize(sums[own] - examples[asked], dim=1)
    cosine = x @ without.T  # (N, asked): each picture, and the class of each asked example without it
    hidden = (cosine[support[asked], torch.arange(len(asked))] - cosine.mean(0)) / cosine.std(
        0, correction=0
    ).clamp_min(1e-6)
    others = near[support[asked]]
    inside = _nearness(others.scatter(1, own[:, None], hidden[:, None]))[counts[own] > 1]
    outside = _nearness(others.masked_fill(nn.functional.one_hot(own, len(counts)).bool(), -math.inf))
    outside = outside[outside.isfinite()]  # a single class has no others
    found = _mixture(_nearness(near).double(), inside.double(), outside.double(), len(counts))
    return Familiarity(vectors.mean(0), towards.T, mean, spread, *found)


def _mixture(folder: Tensor, inside: Tensor, outside: Tensor, classes: int) -> tuple[float, float]:
    """Slope and offset of the log-odds of being of a class, in the nearness: two normal distributions of one width.

    Their means are those of hidden examples, `inside` and `outside` the classes, held near what is usual (GAP, FAR,
    WIDTH) where these are few; their shares those that make the `folder` likeliest, from 3 in 4 inside.
    """
    low = (HELD_FAR * FAR + (outside + SHY / classes).sum()) / (
        HELD_FAR + len(outside)
    )  # one class fewer attracts less
    high = (HELD_GAP * (low + GAP) + inside.sum()) / (HELD_GAP + len(inside))
    high = torch.maximum(high, low + GAP / 2)
    errors = (inside - high).square().sum() + (outside - outside.mean()).square().sum()
    variance = (HELD * WIDTH**2 + errors) / (HELD + len(inside) + len(outside))
    slope, share = (high - low) / variance, torch.tensor(SHARE)
    for _ in range(30):
        offset = share.logit() - slope * (high + low) / 2
        share = (SHARE * HELD + torch.sigmoid(slope * folder + offset).sum()) / (HELD + len(folder))
    return float(slope), float(offset)
