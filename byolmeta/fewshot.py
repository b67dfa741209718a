"""Learners on many tasks at once: who is answered how, accuracy with its interval, and pairs of columns compared."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from byolmeta.episodes import Tasks
from byolmeta.learners import LinearHead, Support

Z95 = 1.959964  # two-sided 95 % of the normal distribution
CHUNK = 32  # tasks at once: their vectors stay in a core's cache


def episode_answers(learner, vectors: Tensor, tasks: Tasks) -> np.ndarray:
    """The class that the last step gives each query, int64 (B, m); `vectors` (N, D) are those of the whole store."""
    if not isinstance(learner, LinearHead):
        return picture_answers(learner, nn.Identity(), lambda rows: vectors[rows], tasks)
    found = []
    with torch.no_grad():
        for part, *task in _parts(vectors, tasks):
            found.append(learner.answer(*task).argmax(2).numpy())
    return np.concatenate(found)


def picture_answers(
    learner, embed: nn.Module, pictures: Callable[[np.ndarray], Tensor], tasks: Tasks, progress=None
) -> np.ndarray:
    """As episode_answers, one task after another, on what `pictures` gives for rows and `embed` turns into vectors."""
    found = np.empty_like(tasks.query_labels)
    for i in range(len(found)):
        examples = pictures(tasks.support[i])
        support = Support(examples, torch.from_numpy(tasks.support_labels[i]).to(examples.device), tasks.way)
        for step in learner.adapt(embed, support):
            pass
        found[i] = step.predict(pictures(tasks.query[i])).argmax(1).cpu().numpy()
        if progress:
            progress(i + 1, len(found))
    return found


def episode_accuracies(learner, vectors: Tensor, tasks: Tasks) -> np.ndarray:
    """Share of right answers in each task, (B,)."""
    return (episode_answers(learner, vectors, tasks) == tasks.query_labels).mean(1)


def inner_curve(learner: LinearHead, vectors: Tensor, tasks: Tasks) -> list[dict]:
    """What the inner loop does: mean loss and accuracy on the queries before the first step and after each."""
    sums, count = [], len(tasks.query)
    with torch.no_grad():
        for part, *task in _parts(vectors, tasks):
            truth = torch.from_numpy(part.query_labels)
            for number, (_, scores) in enumerate(learner.solve(*task)):
                loss = nn.functional.cross_entropy(scores.flatten(0, 1), truth.flatten())
                right = (scores.argmax(2) == truth).float().mean()
                if number == len(sums):
                    sums.append(np.zeros(2))
                sums[number] += np.array([loss.item(), right.item()]) * len(truth) / count
    return [{"loss": float(loss), "accuracy": float(right)} for loss, right in sums]


def _parts(vectors: Tensor, tasks: Tasks):
    """Yields some of the tasks, with what LinearHead.solve takes of them, until all had their turn."""
    for start in range(0, len(tasks.query), CHUNK):
        part = tasks.part(slice(start, start + CHUNK))
        support, labels, query = map(torch.from_numpy, (part.support, part.support_labels, part.query))
        yield part, vectors[support], labels, vectors[query], part.way


def mean_and_interval(values) -> tuple[float, float]:
    """Mean over episodes and the half width of its 95 % interval (not a number for a single one)."""
    array = np.asarray(values, float)
    spread = array.std(ddof=1) if len(array) > 1 else math.nan
    return float(array.mean()), float(Z95 * spread / math.sqrt(len(array)))


def paired(first, second) -> tuple[float, float]:
    """How much higher the second is on the same episodes, and half its 95 % interval: far narrower than the two apart."""
    return mean_and_interval(np.asarray(second, float) - np.asarray(first, float))


def said_classes(answers: np.ndarray, tasks: Tasks, labels: np.ndarray) -> np.ndarray:
    """The class (of `labels`, by row) behind each answer, int64 (B, m)."""
    names = np.zeros((len(tasks.query), tasks.way), np.int64)  # the true class behind each of a task's numbers
    np.put_along_axis(names, tasks.support_labels, labels[tasks.support], 1)
    return np.take_along_axis(names, answers, 1)


def first_failure(answers: np.ndarray, tasks: Tasks, labels: np.ndarray, row: int, taken_for: int) -> int | None:
    """The first task in which a picture was taken for a class (of `labels`, by row); None where it never was."""
    hits = (tasks.query == row) & (said_classes(answers, tasks, labels) == taken_for)
    return int(hits.any(1).argmax()) if hits.any() else None


def by_picture(rows: np.ndarray, gains: np.ndarray) -> float:
    """Half the 95 % interval of the mean of `gains` (K,), one for each time that a picture, `rows` (K,), was asked.

    Many tasks from few pictures are not independent: they ask the same pictures again and again. So each picture counts
    once, with its mean (Student's t over pictures). Infinite for a single picture.
    """
    from scipy.stats import t

    pictures, members = np.unique(rows, return_inverse=True)
    if len(pictures) < 2:
        return math.inf
    means = np.bincount(members, gains) / np.bincount(members)
    return float(t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / math.sqrt(len(means)))


def failures(answers: np.ndarray, tasks: Tasks, labels: np.ndarray) -> list[dict]:
    """Pictures that were answered wrongly, most often first: row, times asked, times wrong, and the class (of `labels`,
    by row) they were mostly taken for."""
    asked, wrong, taken = {}, {}, {}
    said = said_classes(answers, tasks, labels)
    for row, right, name in zip(
        tasks.query.ravel(), (answers == tasks.query_labels).ravel(), said.ravel(), strict=True
    ):
        asked[row] = asked.get(row, 0) + 1
        if not right:
            wrong[row] = wrong.get(row, 0) + 1
            taken.setdefault(row, []).append(name)
    rows = sorted(wrong, key=lambda row: (-wrong[row] / asked[row], -asked[row], row))
    return [
        {"row": int(r), "asked": asked[r], "wrong": wrong[r], "taken_for": int(np.bincount(taken[r]).argmax())}
        for r in rows
    ]
