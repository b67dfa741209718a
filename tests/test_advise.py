"""advise.py: the next question, what more examples would bring, and what looks wrong in the boxes."""

import numpy as np
import pytest
import torch

from byolmeta.adapt import sort_pictures
from byolmeta.advise import Concern, _power_law, concerns, forecast, next_question
from byolmeta.learners import LEARNERS

anil = LEARNERS["anil"]()


def cloud(n=200, ways=4, dim=12, noise=0.5, seed=0):
    """Vectors of n pictures around class centres: (vectors, labels)."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % ways
    vectors = 2 * np.eye(dim)[labels] + noise * random.normal(size=(n, dim))
    return torch.from_numpy(vectors.astype(np.float32)), labels


def ask(vectors, labels, support, **more):
    support = np.asarray(support)
    answer = sort_pictures(anil, vectors, support, labels[support], int(labels[support].max()) + 1)
    return next_question(answer, vectors, support, **more)


# The next question


def test_the_question_is_about_the_heap_that_no_example_is_near():
    """Two kinds in each box, of which one has no example yet; an outlier far from all is no help."""
    vectors, kinds = cloud(200, noise=0.3)
    vectors = torch.cat([vectors, torch.full((1, 12), -9.0)])
    boxes = np.append(kinds % 2, 0)  # kinds 0 and 2 in box 0; 1 and 3 in box 1
    found = ask(vectors, boxes, [0, 1])
    assert kinds[found.row] in (2, 3) and found.many > 20
    again = ask(vectors, boxes, [0, 1, found.row])
    assert kinds[again.row] in (2, 3) and kinds[again.row] != kinds[found.row]


def test_neither_examples_nor_their_copies_nor_what_was_skipped_is_asked():
    vectors, labels = cloud(12)
    copies = np.arange(12)
    copies[8:] = copies[0]  # all copies of the first example
    asked = set()
    while (found := ask(vectors, labels, [0, 1, 2, 3], copies=copies, skip=sorted(asked))) is not None:
        asked.add(found.row)
    assert asked == {4, 5, 6, 7}


def test_the_same_question_twice_and_what_lies_around_a_skipped_one_is_let_be():
    vectors, kinds = cloud(200, noise=0.3)
    boxes = kinds % 2
    first = ask(vectors, boxes, [0, 1])
    assert first == ask(vectors, boxes, [0, 1])
    assert kinds[ask(vectors, boxes, [0, 1], skip=[first.row]).row] != kinds[first.row]


def test_the_reason_of_a_question():
    reasons = {}
    for seed in range(8):
        for noise in (0.2, 0.6, 1.2):
            vectors, labels = cloud(80, ways=4, noise=noise, seed=seed)
            known = np.flatnonzero(labels < 3)[: 3 * 4]
            found = ask(vectors, labels, known)
            reasons.setdefault(found.reason, []).append((found, labels[found.row]))
    assert set(reasons) <= {"unlike_all", "unsure_between", "typical_of_many"} and len(reasons) > 1
    for reason, size in (("unlike_all", 0), ("unsure_between", 2), ("typical_of_many", 1)):
        assert all(len(set(found.classes)) == size for found, _ in reasons.get(reason, []))


def test_answers_to_questions_teach_more_than_those_to_pictures_at_random():
    """Classes of three heaps each, one example a class: after six questions the heaps are found."""
    gains = []
    for seed in range(6):
        vectors, heaps = cloud(270, ways=9, dim=16, noise=0.4, seed=seed)
        labels, support, random = heaps % 3, [0, 1, 2], np.random.default_rng(seed)
        luck = [0, 1, 2, *random.permutation(np.arange(3, 270))[:6]]
        for _ in range(6):
            support.append(ask(vectors, labels, support).row)
        right = [
            (sort_pictures(anil, vectors, np.array(s), labels[s], 3).label == labels).mean() for s in (support, luck)
        ]
        gains.append(right[0] - right[1])
    assert np.mean(gains) > 0.03


# What more would bring


def test_a_power_law_is_found():
    sizes = np.arange(1, 8)
    level, decay, doubt = _power_law(sizes, 0.4 * sizes**-0.5, 1e6)
    assert (level, decay) == (pytest.approx(0.4, rel=0.01), pytest.approx(0.5, abs=0.01)) and doubt < 0.01
    vague = _power_law(sizes, 0.4 * sizes**-0.5, 2)
    assert 0.28 < vague[1] < 0.4 and 0.1 < vague[2] < 0.125  # few checks: what is usual counts more


def test_the_forecast_is_what_then_happens():
    """Over several boards of a noisy cloud: the mean gain of twice the examples, foretold and found."""
    foretold, found = [], []
    for seed in range(12):
        vectors, labels = cloud(800, ways=4, dim=30, noise=1.3, seed=seed)
        checks = np.arange(400, 600)
        few, many = np.arange(16), np.arange(32)
        forecast_ = forecast(anil, vectors, few, labels[few], 4, checks=checks, truth=labels[checks])
        right = [sort_pictures(anil, vectors, s, labels[s], 4).label[600:] == labels[600:] for s in (few, many)]
        foretold.append(forecast_)
        found.append(right[1].mean() - right[0].mean())
    assert all(each.more == 4 and each.low < each.gain < each.high for each in foretold)
    assert np.mean([each.gain for each in foretold]) == pytest.approx(np.mean(found), abs=0.04)
    assert np.mean([e.low <= f <= e.high for e, f in zip(foretold, found, strict=True)]) > 0.7


def test_where_nothing_can_be_told_nothing_is():
    vectors, labels = cloud(80, noise=1.5)
    few = np.arange(8)  # two a box
    assert forecast(anil, vectors, few, labels[few], 4) is None
    assert forecast(anil, vectors, few, labels[few], 4, checks=np.arange(40, 80), truth=labels[40:]) is not None
    copies = np.arange(80) % 8  # the third of each box is a copy of the first
    assert forecast(anil, vectors, np.arange(12), labels[:12], 4, copies) is None
    clear, labels = cloud(80, noise=0.01)
    assert forecast(anil, clear, np.arange(40), labels[:40], 4) is None  # nothing was wrong
    assert forecast(LEARNERS["linear"](), vectors, np.arange(40), labels[:40], 4) is None


def test_boxes_without_examples_do_not_shift_the_checks():
    vectors, labels = cloud(120, noise=1.2)
    few = np.arange(16)
    plain = forecast(anil, vectors, few, labels[few], 4, checks=np.arange(40, 120), truth=labels[40:])
    apart = forecast(anil, vectors, few, 2 * labels[few], 9, checks=np.arange(40, 120), truth=2 * labels[40:])
    assert plain == apart


# What looks wrong


def test_a_tidy_board_is_no_concern():
    vectors, labels = cloud(24, noise=0.3)
    assert concerns(anil, vectors, np.arange(24), labels, 4) == []


def test_single_pictures_and_copies_apart():
    vectors, labels = cloud(9, noise=0.2)
    copies = np.array([0, 1, 2, 3, 0, 5, 6, 7, 3])
    support, boxes = np.array([0, 4, 1, 5, 3, 8, 2]), np.array([0, 0, 1, 1, 2, 1, 3])
    found = concerns(anil, vectors, support, boxes, 4, copies)
    assert Concern("single_picture", (0,), (0, 4)) in found  # twice the same picture is one
    assert Concern("single_picture", (3,), (2,)) in found and Concern("single_picture", (2,), (3,)) in found
    assert Concern("copies_apart", (1, 2), (3, 8)) in found
    assert not any(each.kind == "single_picture" and each.boxes == (1,) for each in found)


def test_boxes_of_one_class_overlap_and_others_do_not():
    vectors, labels = cloud(80, noise=0.5)
    boxes = np.where(labels == 3, 4, labels)  # box 3 is empty
    mixed = np.flatnonzero(labels == 0)[::2]
    boxes[mixed] = 5
    found = [each for each in concerns(anil, vectors, np.arange(80), boxes, 6) if each.kind == "overlap"]
    assert [each.boxes for each in found] == [(0, 5)]
    assert set(labels[list(found[0].rows)]) == {0}


def test_an_example_in_the_wrong_box_looks_misplaced():
    vectors, labels = cloud(60, noise=0.3)
    boxes = labels.copy()
    boxes[8] = 2  # of class 0
    found = concerns(anil, vectors, np.arange(60), boxes, 4)
    assert found == [Concern("misplaced", (2, 0), (8,))]
    hidden = np.full((60, 4), -9.0, np.float32)
    hidden[np.arange(60), boxes] = 9
    assert concerns(anil, vectors, np.arange(60), boxes, 4, hidden=hidden) == []  # what is known already is taken
