"""What to do next with a few examples: which picture to ask about, how many more are needed, and what looks wrong."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from byolmeta.adapt import STRANGE, Answer, hide
from byolmeta.fewshot import Z95
from byolmeta.learners import LinearHead

# The next question

REACH = 0.4  # of 1 - cosine, over which an example speaks for the pictures around it
CANDIDATES = 400  # pictures that are looked at
AROUND = 1000  # pictures that they may speak for
CLOSE = 0.2  # lead of one class over the next below which a picture is said to lie between the two


@dataclass(frozen=True)
class Question:
    """The picture whose answer helps most, and why."""

    row: int
    reason: str  # unlike_all, unsure_between or typical_of_many
    classes: tuple[int, ...]  # none for unlike_all; the two for unsure_between; the likeliest for typical_of_many
    many: int  # how many pictures, about, it would speak for better than any example does now


def next_question(
    answer: Answer,
    vectors: Tensor,
    support: np.ndarray,
    copies: np.ndarray | None = None,
    skip: np.ndarray | tuple = (),
    seed: int = 0,
) -> Question | None:
    """The picture to ask about next, given where all of them go; None where none is left.

    Of a sample, the one that speaks best for the unsure pictures that no example is near: by how much the closeness
    exp((cosine - 1) / REACH) of each picture to its nearest example would grow, times how unsure its answer is. Coverage
    as in facility location (Krause and Golovin 2014) and ProbCover (arXiv 2205.11320); to ask what is typical
    beats asking what is unsure while examples are few (TypiClust, arXiv 2202.02794). `copies`: same number for copies of
    a picture; those of examples are not asked. `skip`: rows that were asked and are of no class; they are not asked
    again, nor is what lies around them.
    """
    copies = np.arange(len(vectors)) if copies is None else copies
    free = ~np.isin(copies, copies[support])
    around = np.flatnonzero(free)
    skip = np.asarray(skip, np.int64)
    free[skip] = False
    rows, random = np.flatnonzero(free), np.random.default_rng(seed)
    if not len(rows):
        return None
    rows = np.sort(random.permutation(rows)[:CANDIDATES])
    around = np.sort(random.permutation(around)[:AROUND])
    centre = vectors.mean(0)
    asked, others, known = (
        torch.nn.functional.normalize(vectors[each] - centre, dim=1)
        for each in (rows, around, np.concatenate([support, skip]))
    )
    covered = _closeness(others, known).amax(1)
    gain = (_closeness(others, asked) - covered[:, None]).clamp_min(0)
    unsure = torch.from_numpy((1 - answer.lead[around]) * np.sqrt(answer.member[around]))
    best = int((unsure @ gain).argmax())
    row = int(rows[best])
    many = round(float((gain[:, best] > 0).float().mean()) * int((~np.isin(copies, copies[support])).sum()))
    return Question(row, *_reason(answer, row), many)


def _closeness(first: Tensor, second: Tensor) -> Tensor:
    """(n, m), at most 1, of unit vectors (n, D) and (m, D)."""
    return ((first @ second.T - 1) / REACH).exp()


def _reason(answer: Answer, row: int) -> tuple[str, tuple[int, ...]]:
    label, second = int(answer.label[row]), int(answer.second[row])
    if answer.member[row] < STRANGE:
        return "unlike_all", ()
    if answer.lead[row] < CLOSE and second != label:
        return "unsure_between", (label, second)
    return "typical_of_many", (label,)


# How many more

DRAWS = 60  # times that the examples are dealt anew
DECAY, LOOSE = 0.28, 0.12  # exponent of the error in the number of examples: usual, and its standard deviation
LUCK = 0.03  # standard deviation of what the very next examples bring, in accuracy


@dataclass(frozen=True)
class Forecast:
    """What `more` examples in each box would bring: about so many points of accuracy (0..1), with a range that held what came in 85 to 95 % of tasks."""

    more: int
    gain: float
    low: float
    high: float


def forecast(
    learner,
    vectors: Tensor,
    support: np.ndarray,
    labels: np.ndarray,
    way: int,
    copies: np.ndarray | None = None,
    checks: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    seed: int = 0,
) -> Forecast | None:
    """What twice the examples would bring, from how those that are there helped so far.

    The examples are dealt into smaller tasks of 1, 2, ... a box, which are asked about `checks` (rows of known box
    `truth`), or about the examples that they leave. The error falls as a power of their number: the inverse power law of
    Figueroa et al. 2012 ("Predicting sample size required for classification performance"), fitted by weighted least
    squares, its exponent held near DECAY. How many examples a given accuracy takes is not said: with exponents near a
    quarter, five points of 40 % errors take 1.7 times the examples, and so does a mistake of five points in today's
    accuracy. How often what is said comes true is in tests/benchmarks/results/teach.json. None for boxes
    of one or two examples, where nothing was wrong, and for learners that adapt to one task after another.
    """
    copies = np.arange(len(vectors)) if copies is None else copies
    boxes = [_singles(support[labels == box], copies) for box in np.unique(labels)]
    least, usual = min(map(len, boxes)), float(np.mean([len(box) for box in boxes]))
    if not isinstance(learner, LinearHead) or len(boxes) < 2 or least < (2 if checks is not None else 3):
        return None
    sizes = range(1, least + (checks is not None))
    errors = np.array([_error(learner, vectors, boxes, size, checks, _places(truth, labels), seed) for size in sizes])
    asked = len(checks) if checks is not None else sum(map(len, boxes)) / 2  # hidden examples count for half a check
    if not errors[-1]:
        return None
    level, decay, doubt = _power_law(np.array(sizes), errors, asked)
    more = round(usual)
    now, fewer = min(level * usual**-decay, 1 - 1 / len(boxes)), usual / (usual + more)
    gain = now * (1 - fewer**decay)
    half = Z95 * float(np.hypot(now * fewer**decay * np.log(1 / fewer) * doubt, LUCK))
    return Forecast(more, float(gain), float(gain - half), float(gain + half))


def _singles(rows: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """One of each group of copies."""
    return rows[np.unique(copies[rows], return_index=True)[1]]


def _places(truth: np.ndarray | None, labels: np.ndarray) -> np.ndarray | None:
    """Boxes as places among those that have examples."""
    return None if truth is None else np.searchsorted(np.unique(labels), truth)


def _error(learner, vectors: Tensor, boxes: list, size: int, checks, truth, seed: int) -> float:
    """Share of wrong answers of tasks with `size` examples a box, over many deals."""
    random, way = np.random.default_rng(seed), len(boxes)
    spare = 0 if checks is not None else min(map(len, boxes)) - size
    deals = [
        [random.permutation(box)[: size + spare] for box in boxes]
        for _ in range(DRAWS if checks is None else DRAWS // 6)
    ]
    dealt = torch.from_numpy(np.array(deals))  # (deals, way, size + spare)
    support, own = dealt[..., :size].flatten(1), torch.arange(way).repeat_interleave(size)
    query = torch.from_numpy(checks).expand(len(dealt), -1) if checks is not None else dealt[..., size:].flatten(1)
    goal = torch.from_numpy(truth) if checks is not None else torch.arange(way).repeat_interleave(spare)
    with torch.no_grad():
        scores = learner.answer(vectors[support], own.expand(len(dealt), -1), vectors[query], way)
    return float((scores.argmax(2) != goal).float().mean())


def _power_law(sizes: np.ndarray, errors: np.ndarray, asked: float) -> tuple[float, float, float]:
    """a and b of error = a n^-b, and b's standard deviation: least squares of logarithms, weighted by what `asked` checks tell."""
    kept = errors > 0
    x, y, error = np.log(sizes[kept]), np.log(errors[kept]), errors[kept]
    weight = asked * error / (1 - error + 1 / asked) / len(x)  # 1 / variance of log(error); sizes share their checks
    rows = np.stack([np.ones_like(x), -x], 1) * np.sqrt(weight)[:, None]
    rows, goal = np.vstack([rows, [0, 1 / LOOSE]]), np.append(y * np.sqrt(weight), DECAY / LOOSE)
    level, decay = np.linalg.lstsq(rows, goal, rcond=None)[0]
    return float(np.exp(level)), float(decay), float(np.sqrt(np.linalg.pinv(rows.T @ rows)[1, 1]))


# What looks wrong

USUAL = 0.1  # share of two boxes' examples that may be taken for the other's, at least
RISK = 0.05  # of saying once on a board that boxes overlap which do not
CLEARLY = 0.8  # chance of another box from which an example looks misplaced
FEW = 3  # examples of a box below which none of them is said to be misplaced


@dataclass(frozen=True)
class Concern:
    """Something to look at: single_picture, overlap, copies_apart or misplaced."""

    kind: str
    boxes: tuple[int, ...]  # the box, or the two; for misplaced the one it is in and the one it looks like
    rows: tuple[int, ...]  # the pictures


def concerns(
    learner,
    vectors: Tensor,
    support: np.ndarray,
    labels: np.ndarray,
    way: int,
    copies: np.ndarray | None = None,
    hidden: np.ndarray | None = None,
) -> list[Concern]:
    """What is worth a look in the boxes: copies of one picture in two, single pictures, boxes that overlap, odd examples.

    Two boxes overlap where their hidden examples are taken for the other's more often than chance explains, if that
    happened as often as between all boxes, or in one of ten (binomial test, Bonferroni's correction for all pairs). An
    example looks misplaced where hiding it gives it to another box with a chance of CLEARLY or more, and the two do not
    overlap. `hidden`: what adapt.hide found for these examples, where it is known already.
    """
    copies = np.arange(len(vectors)) if copies is None else copies
    found = _copies_apart(support, labels, copies)
    boxes, counts = np.unique(labels, return_counts=True)
    for box in boxes:
        rows = support[labels == box]
        if len(_singles(rows, copies)) == 1:
            found.append(Concern("single_picture", (int(box),), tuple(map(int, rows))))
    scores = hide(learner, vectors, support, labels, way, copies) if hidden is None else hidden
    asked = ~np.isnan(scores).any(1)
    if not asked.any():
        return found
    said = np.where(asked, np.nan_to_num(scores, nan=-np.inf).argmax(1), labels)
    overlapping = []
    for a, b, crossed in _overlaps(labels, said, asked):
        overlapping.append({a, b})
        found.append(Concern("overlap", (a, b), tuple(support[crossed].tolist())))
    chance = torch.from_numpy(scores).softmax(1).amax(1).numpy()
    for place in np.flatnonzero((said != labels) & (chance >= CLEARLY)):
        own, other = int(labels[place]), int(said[place])
        if (labels == own).sum() >= FEW and {own, other} not in overlapping:
            found.append(Concern("misplaced", (own, other), (int(support[place]),)))
    return found


def _copies_apart(support: np.ndarray, labels: np.ndarray, copies: np.ndarray) -> list[Concern]:
    """Groups of copies that are in more boxes than one."""
    groups = [np.flatnonzero(copies[support] == group) for group in np.unique(copies[support])]
    return [
        Concern("copies_apart", tuple(np.unique(labels[group]).tolist()), tuple(support[group].tolist()))
        for group in groups
        if len(np.unique(labels[group])) > 1
    ]


def _overlaps(labels: np.ndarray, said: np.ndarray, asked: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields the two boxes and which examples (bool) were taken for the other's."""
    from scipy.stats import binom

    pairs = list(itertools.combinations(np.unique(labels).tolist(), 2))
    crossed = [((labels == a) & (said == b)) | ((labels == b) & (said == a)) for a, b in pairs]
    checks = np.array([(asked & np.isin(labels, pair)).sum() for pair in pairs])
    times = np.array([each.sum() for each in crossed])
    for place, (a, b) in enumerate(pairs):
        others = np.arange(len(pairs)) != place
        usual = max(USUAL, times[others].sum() / max(checks[others].sum(), 1))
        if checks[place] and binom.sf(times[place] - 1, checks[place], usual) < RISK / len(pairs):
            yield a, b, crossed[place]
