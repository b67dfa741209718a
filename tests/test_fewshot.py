"""fewshot.py: many tasks at once equal one after another; intervals, pairs and failures by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from byolmeta import fewshot
from byolmeta.episodes import Tasks, draw_episodes, stack
from byolmeta.fewshot import (
    CHUNK,
    Z95,
    episode_accuracies,
    episode_answers,
    failures,
    inner_curve,
    mean_and_interval,
    paired,
    picture_answers,
    said_classes,
)
from byolmeta.learners import LEARNERS, LinearHead

every = pytest.mark.parametrize("method", [make() for make in LEARNERS.values()], ids=list(LEARNERS))
linear = pytest.mark.parametrize(
    "method", [m for make in LEARNERS.values() if isinstance(m := make(), LinearHead)], ids=lambda m: type(m).__name__
)


def cloud(n=90, ways=3, dim=8, noise=1.0, seed=0):
    """Vectors of n pictures around class centres: (vectors, labels)."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(n) % ways)
    vectors = 2 * np.eye(dim)[labels] + noise * random.normal(size=(n, dim))
    return torch.from_numpy(vectors.astype(np.float32)), labels


def tasks_of(labels, episodes=8, shot=2) -> Tasks:
    return stack(draw_episodes(labels, 3, shot, 5, episodes))


@linear
def test_many_tasks_at_once_are_answered_like_one_after_another(method):
    vectors, labels = cloud(noise=1.3)
    tasks = tasks_of(labels, CHUNK + 5)
    singly = picture_answers(method, nn.Identity(), lambda rows: vectors[rows], tasks)
    at_once = episode_answers(method, vectors, tasks)
    assert at_once.shape == tasks.query.shape and at_once.dtype == np.int64
    assert (at_once == singly).mean() > 0.998  # sums in another order may turn a tie


@every
def test_accuracy_is_that_of_the_last_step(method):
    vectors, labels = cloud(noise=0.05)
    assert episode_accuracies(method, vectors, tasks_of(labels, 3, 1)).tolist() == [1, 1, 1]
    vectors, labels = cloud(noise=1.5)
    tasks = tasks_of(labels, 4)
    expected = (episode_answers(method, vectors, tasks) == tasks.query_labels).mean(1)
    assert episode_accuracies(method, vectors, tasks).tolist() == expected.tolist() and expected.mean() < 1


def test_progress_counts_tasks():
    vectors, labels = cloud()
    seen = []
    picture_answers(
        LEARNERS["prototype"](),
        nn.Identity(),
        lambda rows: vectors[rows],
        tasks_of(labels, 3),
        lambda *n: seen.append(n),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


@linear
def test_the_inner_curve_ends_at_the_accuracy(method):
    vectors, labels = cloud(noise=1.3)
    tasks = tasks_of(labels, CHUNK + 7)
    curve = inner_curve(method, vectors, tasks)
    assert curve[-1]["accuracy"] == pytest.approx(episode_accuracies(method, vectors, tasks).mean(), abs=1e-6)
    assert all(point["loss"] > 0 and 0 <= point["accuracy"] <= 1 for point in curve)
    assert len(curve) == 1 or curve[-1]["accuracy"] > curve[0]["accuracy"] + 0.1


def test_mean_and_interval_are_over_episodes():
    mean, half = mean_and_interval([0.5, 0.7, 0.6, 0.8])
    assert mean == pytest.approx(0.65) and half == pytest.approx(1.96 * np.std([5, 7, 6, 8], ddof=1) / 10 / 2, rel=1e-4)
    mean, half = mean_and_interval([0.5])
    assert mean == 0.5 and math.isnan(half)


def test_a_pair_is_compared_task_by_task():
    first, second = [0.2, 0.6, 0.4, 0.8], [0.3, 0.7, 0.6, 0.8]  # differences 0.1, 0.1, 0.2, 0: deviation sqrt(0.02 / 3)
    gain, half = paired(first, second)
    assert gain == pytest.approx(0.1) and half == pytest.approx(Z95 * math.sqrt(0.02 / 3) / 2)
    back, same = paired(second, first)
    assert back == pytest.approx(-gain) and same == pytest.approx(half)
    assert half < mean_and_interval(first)[1] / 2  # what is hard for one is hard for both
    assert paired(first, first) == (0, 0) and math.isnan(paired([0.1], [0.2])[1])


def by_hand() -> tuple[np.ndarray, Tasks, np.ndarray]:
    """Three tasks of two classes: rows 0..2 are class 5, rows 3..5 class 7, rows 6 and 7 class 2."""
    labels = np.array([5, 5, 5, 7, 7, 7, 2, 2])
    support = np.array([[0, 3], [4, 1], [6, 0]])  # 5 and 7, then 7 and 5, then 2 and 5
    query = np.array([[1, 4], [3, 2], [7, 1]])
    numbers = np.tile([0, 1], (3, 1))
    answers = np.array([[1, 1], [1, 0], [0, 0]])
    return answers, Tasks(support, numbers, query, numbers, 2), labels


def test_the_class_behind_an_answer():
    assert said_classes(*by_hand()).tolist() == [[7, 7], [5, 7], [2, 2]]


def test_failures_by_hand():
    assert failures(*by_hand()) == [
        {"row": 1, "asked": 2, "wrong": 2, "taken_for": 2},  # once for 7, once for 2: the lower of equals
        {"row": 2, "asked": 1, "wrong": 1, "taken_for": 7},
        {"row": 3, "asked": 1, "wrong": 1, "taken_for": 5},
    ]
    answers, tasks, labels = by_hand()
    assert failures(tasks.query_labels, tasks, labels) == []


def test_an_interval_over_pictures_counts_each_once():
    rows, gains = np.array([4, 4, 4, 9, 7, 7]), np.array([1.0, 1, 1, 0, -1, 0])
    means = np.array([1.0, -0.5, 0.0])
    expected = 4.30265 * means.std(ddof=1) / np.sqrt(3)  # Student's t, two degrees of freedom
    assert fewshot.by_picture(rows, gains) == pytest.approx(expected, rel=1e-4)
    assert fewshot.by_picture(rows, np.ones(6)) == 0 and fewshot.by_picture(rows[:3], gains[:3]) == np.inf
