"""adapt.py: honest accuracies from few pictures, and who goes where."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from byolmeta.adapt import (
    FOLDS,
    STRANGE,
    Accuracy,
    HiddenAccuracy,
    _folds_of,
    _one_by_one,
    check_trace,
    familiarity,
    hide,
    hide_trace,
    label_trace,
    sharpness,
    sort_pictures,
)
from byolmeta.learners import LEARNERS, LinearHead, Step, Support

every = pytest.mark.parametrize("method", [make() for make in LEARNERS.values()], ids=list(LEARNERS))


def cloud(n=60, ways=3, dim=8, noise=0.7, seed=0):
    """Vectors of n pictures around class centres: (vectors, labels)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, ways, n)
    vectors = 2 * np.eye(dim)[labels] + noise * random.normal(size=(n, dim))
    return torch.from_numpy(vectors.astype(np.float32)), labels


@pytest.mark.parametrize(
    "right, of, low, high",
    [
        (7, 8, 0.529, 0.978),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson_range(right, of, low, high):
    """The last row is in Newcombe 1998, table I."""
    accuracy = Accuracy(right, of)
    assert accuracy.value == right / of
    assert accuracy.range == (pytest.approx(low, abs=6e-4), pytest.approx(high, abs=6e-4))
    assert accuracy.range[0] - 1e-9 <= accuracy.value <= accuracy.range[1] + 1e-9


def test_without_checks_nothing_is_claimed():
    for kind in (Accuracy, HiddenAccuracy):
        assert kind(0, 0).value is None and kind(0, 0).range == (0.0, 1.0)


def test_the_range_of_hidden_examples_is_that_of_half_as_many_checks():
    """And then, by hand: errors fall with the examples that were missing, unasked boxes may be half as good."""
    low, high = Accuracy(5, 10).range
    assert HiddenAccuracy(10, 20).range == (low, high)
    assert HiddenAccuracy(10, 20, kept=0.5).range == (low, pytest.approx(1 - (1 - high) / 2))
    assert HiddenAccuracy(10, 20, unasked=0.5).range == (pytest.approx(0.75 * low), high)


def test_hidden_examples_know_what_was_kept_and_who_was_not_asked():
    vectors, _ = cloud()
    support, labels = np.arange(7), np.array([0, 0, 1, 1, 1, 1, 2])
    found = list(hide_trace(LEARNERS["prototype"](), vectors, support, labels, 5, np.arange(60)))[-1]
    assert found.of == 6 and found.kept == pytest.approx((2 * 1 / 2 + 4 * 3 / 4) / 6)
    assert found.unasked == pytest.approx(1 / 3)  # box 2 is empty without its only example; boxes 3 and 4 hold nothing


def predictions(method, vectors, support, labels, way, asked):
    for step in method.adapt(nn.Identity(), Support(vectors[support], torch.from_numpy(labels), way)):
        yield step.predict(vectors[asked])


def naive(method, vectors, support, labels, way, copies):
    """Leave-one-out in the plainest way: totals per inner step."""
    counts = []
    for place in range(len(support)):
        kept = np.array([i for i in range(len(support)) if copies[support[i]] != copies[support[place]]], int)
        if labels[place] not in labels[kept] or len(set(labels[kept])) < 2:
            continue
        empty = [c for c in range(way) if c not in labels[kept]]
        hits = []
        for scores in predictions(method, vectors, support[kept], labels[kept], way, support[[place]]):
            scores[:, empty] = -math.inf
            hits.append(int(scores.argmax() == labels[place]))
        counts.append(hits)
    steps = max(map(len, counts), default=0)  # who is done sooner goes on saying the last
    return [(sum(hits[min(i, len(hits) - 1)] for hits in counts), len(counts)) for i in range(steps)]


@every
@pytest.mark.parametrize("seed", range(3))
def test_hiding_equals_plain_leave_one_out(method, seed):
    vectors, truth = cloud(noise=1.5, seed=seed)
    support = np.random.default_rng(seed).permutation(60)[:11]
    labels = truth[support]
    labels[0] = 3  # the only example of its class cannot be checked
    copies = np.arange(60)
    found = [(a.right, a.of) for a in hide_trace(method, vectors, support, labels, 5, copies)]
    assert found == naive(method, vectors, support, labels, 5, copies)
    assert 8 <= found[0][1] <= 10
    if not isinstance(method, LEARNERS["auto"]):  # which takes the steps of whom it chooses
        assert len(found) == len(list(predictions(method, vectors, support, labels, 5, [0])))


@every
def test_copies_are_hidden_together(method):
    """Random vectors, each example there twice: with its copy in sight every example would be found."""
    random = np.random.default_rng(0)
    vectors = torch.from_numpy(random.normal(size=(8, 6)).astype(np.float32)).repeat_interleave(2, 0)
    labels, support = np.array([0, 0, 1, 1] * 4), np.arange(16)
    apart = [a.right for a in hide_trace(method, vectors, support, labels, 2, np.arange(16))][-1]
    found = [(a.right, a.of) for a in hide_trace(method, vectors, support, labels, 2, np.arange(16) // 2)]
    assert found == naive(method, vectors, support, labels, 2, np.arange(16) // 2)
    assert found[-1][1] == 16 and found[-1][0] < apart


def test_a_class_that_is_hidden_as_a_whole_cannot_win():
    """A copy in another class hides that class too; its empty column must not beat scores below zero."""
    vectors = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [-1.0, 0, 0], [-1.0, 0.1, 0], [0.0, 0, 1.0]])
    labels, copies = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 2, 3, 0])
    for make in LEARNERS.values():
        found = [(a.right, a.of) for a in hide_trace(make(), vectors, np.arange(5), labels, 3, copies)]
        assert found == naive(make(), vectors, np.arange(5), labels, 3, copies)


def test_a_box_without_examples_is_never_the_answer():
    class Eager:
        """Likes the last box best, whatever it holds."""

        def adapt(self, embed, support):
            scores = torch.arange(support.way)[None]
            yield Step(0, torch.zeros(()), lambda inputs: scores.float().expand(len(inputs), -1))

    vectors, _ = cloud(6)
    support, labels = np.arange(6), np.array([0, 0, 1, 1, 1, 2])
    (found,) = hide_trace(Eager(), vectors, support, labels, 5, np.arange(6))
    assert (found.right, found.of) == (0, 5)  # box 2 is the last one that holds something, and it is not asked
    (found,) = hide_trace(Eager(), vectors, support, labels, 5, np.array([0, 1, 2, 3, 5, 5]))
    assert (found.right, found.of) == (1, 5)  # the copy in box 2 is hidden with its twin, so box 1 is the last
    (found,) = check_trace(Eager(), vectors, support, labels, 5, np.arange(6), np.full(6, 2))
    assert found.right == 6
    assert set(sort_pictures(Eager(), vectors, support, labels, 5).label) == {2}


def test_many_examples_are_hidden_in_folds_each_once():
    vectors, labels = cloud(200, noise=0.2)
    (found,) = hide_trace(LEARNERS["prototype"](), vectors, np.arange(200), labels, 3, np.arange(200))
    assert (found.right, found.of) == (200, 200) and found.kept == pytest.approx(1 - 1 / FOLDS, abs=0.01)
    calls = []

    class Counting:
        def adapt(self, embed, support):
            calls.append(len(support.inputs))
            return LEARNERS["prototype"]().adapt(embed, support)

    list(hide_trace(Counting(), vectors, np.arange(200), labels, 3, np.arange(200) // 4))
    assert len(calls) == FOLDS and sum(200 - n for n in calls) == 200 and all((200 - n) % 4 == 0 for n in calls)


linear = pytest.mark.parametrize("name", [n for n, make in LEARNERS.items() if issubclass(make, LinearHead)])


@linear
@pytest.mark.parametrize("common", [0.0, 30.0])
def test_hidden_together_or_one_after_another_the_scores_are_the_same(name, common):
    """Whatever large part the vectors share; with copies, a picture that is there twice, an uneven board, few and many."""
    vectors, truth = cloud(400, ways=4, noise=1.5)
    vectors[7] = vectors[3]
    method = LEARNERS[name](directions=tuple(np.linspace(0.5, 2, 8))) if name == "metasgd" else LEARNERS[name]()
    for n in (3, 9, 40, 400):
        labels, copies = np.minimum(truth[:n], 3), np.arange(400) // (1 + (np.arange(400) < 12))
        found = hide(method, vectors + common, np.arange(n), labels, 6, copies)
        task, folds = vectors[:n] + common, _folds_of(method, np.arange(n), labels, 6, copies)
        for scores in _one_by_one(method, task, labels, 6, folds):
            pass
        seen = np.isfinite(found)
        assert seen.any() and np.allclose(found[seen], scores.numpy()[seen], atol=2e-3 if common else 1e-4)


def test_copies_alone_leave_no_direction():
    """Equal pictures in two boxes: the centre is the picture itself, so no score differs from another."""
    vectors = torch.tensor([[3.0, 1.0]]).repeat(4, 1)
    for make in (LEARNERS["anil"], LEARNERS["prototype"]):
        scores = hide(make(), vectors, np.arange(4), np.array([0, 0, 1, 1]), 2, np.arange(4))
        assert np.allclose(scores, scores[:, :1], atol=1e-5)


def test_nothing_to_check_yields_nothing():
    vectors, _ = cloud()
    for labels in ([0, 1], [0, 0], [0]):
        support = np.arange(len(labels))
        assert list(hide_trace(LEARNERS["anil"](), vectors, support, np.array(labels), 2, np.arange(60))) == []


@every
def test_check_trace_counts_right_answers_after_every_step(method):
    vectors, truth = cloud(noise=1.2)
    support, checks = np.arange(9), np.arange(9, 60)
    found = list(check_trace(method, vectors, support, truth[:9], 3, checks, truth[9:]))
    expected = [
        int((scores.argmax(1).numpy() == truth[9:]).sum())
        for scores in predictions(method, vectors, support, truth[:9], 3, checks)
    ]
    assert [a.right for a in found] == expected and {a.of for a in found} == {51}
    wide = list(check_trace(method, vectors, support, truth[:9], 7, checks, truth[9:]))
    assert wide[-1].right >= 0.9 * found[-1].right  # empty boxes win nothing


@every
@pytest.mark.parametrize("common", [0, 30])
def test_label_trace_ends_as_the_answers_and_is_as_right_as_the_curve(method, common):
    vectors, truth = cloud(noise=1.2)
    vectors = vectors + common  # what all pictures share, as vectors of an encoder do
    support, checks = np.arange(9), np.arange(9, 60)
    found = list(label_trace(method, vectors, support, truth[:9], 4))  # box 3 is empty
    assert {labels.shape for labels in found} == {(60,)} and max(labels.max() for labels in found) < 3
    assert found[-1].tolist() == sort_pictures(method, vectors, support, truth[:9], 4).label.tolist()
    right = [int((labels[checks] == truth[checks]).sum()) for labels in found]
    assert right == [a.right for a in check_trace(method, vectors, support, truth[:9], 4, checks, truth[checks])]
    if isinstance(method, LEARNERS["anil"]):
        assert len(found) == method.steps + 1 and not np.array_equal(found[1], found[-1])


@every
def test_sorting_puts_pictures_where_they_belong(method):
    vectors, labels = cloud(120, noise=0.15)
    support = np.concatenate([np.flatnonzero(labels == c)[:2] for c in range(3)])
    answer = sort_pictures(method, vectors, support, labels[support], 4)  # box 3 is empty
    assert answer.label.tolist() == labels.tolist()
    assert answer.score.dtype == np.float32 and (answer.score > 1 / 3).all() and (answer.score <= 1).all()
    assert set(answer.sure) <= {0, 1, 2, 3} and (answer.sure > 0).mean() > 0.95
    again = sort_pictures(method, vectors, support, labels[support], 4)
    assert all(np.array_equal(getattr(answer, k), getattr(again, k)) for k in ("label", "score", "sure"))


@every
def test_what_is_like_no_example_is_none_of_these(method):
    vectors, labels = cloud(200, ways=4, noise=0.15)
    support = np.concatenate([np.flatnonzero(labels == c)[:3] for c in range(2)])  # classes 2 and 3 have no box
    answer = sort_pictures(method, vectors, support, labels[support], 2)
    known = labels < 2
    assert (answer.sure[known] == 0).mean() < 0.02 and (answer.sure[~known] == 0).mean() > 0.5
    assert answer.sure[known].mean() > answer.sure[~known].mean() + 0.5
    assert (answer.label[known] == labels[known]).all() and (answer.sure[support] > 0).all()


def test_an_answer_without_conviction_is_unsure():
    """Between two examples exactly, no class is likelier."""
    vectors = torch.tensor([[1.0, 0], [-1.0, 0], [0, 1.0], [0.9, 0.1], [-0.9, 0.1]])
    answer = sort_pictures(LEARNERS["prototype"](), vectors, np.array([0, 1]), np.array([0, 1]), 2)
    assert answer.score[2] / answer.member[2] == pytest.approx(0.5, abs=0.01) and answer.sure[2] in (0, 1)
    assert answer.sure[0] > answer.sure[2] < answer.sure[1]


@pytest.mark.parametrize("scale, too", [(0.5, "shy"), (1000.0, "bold")])
def test_hidden_examples_mend_how_sure_a_learner_is(scale, too):
    vectors, labels = cloud(60, noise=0.9 if too == "shy" else 1.6)
    method = LEARNERS["prototype"](scale=scale)
    factor = sharpness(method, vectors, np.arange(30), labels[:30], 3, np.arange(60))
    assert factor > 1.3 if too == "shy" else factor < 0.7
    single = sharpness(method, vectors, np.array([0, 1, 2]), np.arange(3), 3, np.arange(60))
    assert single == 1  # nothing can be hidden


def test_who_is_of_the_boxes_is_learned_from_the_folder():
    """With strangers about and without; a picture that comes later is judged by what the folder taught."""
    vectors, labels = cloud(300, ways=6, noise=0.25)
    support = np.concatenate([np.flatnonzero(labels == c)[:4] for c in range(3)])
    mixed = familiarity(vectors, support, labels[support])
    known = torch.from_numpy(labels < 3)
    assert (mixed(vectors)[known] > 0.5).float().mean() > 0.95 and (mixed(vectors)[~known] < 0.5).float().mean() > 0.95
    assert torch.allclose(mixed(vectors[17:18]), mixed(vectors)[17:18], atol=1e-6)
    vectors, labels = vectors[known], labels[labels < 3]
    support = np.concatenate([np.flatnonzero(labels == c)[:4] for c in range(3)])
    pure = familiarity(vectors, support, labels[support])
    assert (pure(vectors) < STRANGE).float().mean() < 0.05


def test_a_single_class_or_equal_pictures_are_no_reason_to_fail():
    for vectors, labels in ((torch.ones(6, 3), [0, 1]), (cloud(6)[0], [0, 0]), (cloud(6)[0], [0, 1])):
        chance = familiarity(vectors, np.arange(2), np.array(labels))(vectors)
        assert chance.isfinite().all() and (chance >= 0).all() and (chance <= 1).all()
