"""episodes.py: tasks that never mix support and query."""

import numpy as np
import pytest

from byolmeta.episodes import deal, draw_distinct, draw_episodes, stack
from byolmeta.errors import InputError

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(8), [12, 9, 9, 10, 30, 9, 3, 12]))


def draw(labels=LABELS, way=5, shot=2, query=6, episodes=40, **more):
    return list(draw_episodes(labels, way, shot, query, episodes, **more))


def test_support_and_query_are_disjoint_and_right():
    for task in draw():
        assert len(task.support) == 10 and len(task.query) == 30 and task.way == 5
        assert not set(task.support) & set(task.query)
        assert len(set(task.support)) == 10 and len(set(task.query)) == 30
        classes = [LABELS[task.support[task.support_labels == c]] for c in range(5)]
        assert all(len(c) == 2 and len(set(c)) == 1 for c in classes) and len({c[0] for c in classes}) == 5
        for c in range(5):
            asked = LABELS[task.query[task.query_labels == c]]
            assert len(asked) == 6 and set(asked) == set(classes[c])


def test_classes_are_dealt_new_numbers_in_each_task():
    numbers = {}
    for task in draw(episodes=100):
        for c in range(5):
            numbers.setdefault(int(LABELS[task.support[task.support_labels == c][0]]), set()).add(c)
    assert 6 not in numbers  # too few pictures for 2 + 6
    assert len(numbers) == 7 and all(len(seen) == 5 for seen in numbers.values())


def test_every_picture_takes_part_and_in_both_roles():
    tasks = draw(episodes=300)
    for part in ("support", "query"):
        assert set(np.concatenate([getattr(t, part) for t in tasks])) == set(np.flatnonzero(LABELS != 6))


def test_one_seed_gives_the_same_tasks():
    one, same, other = (draw(seed=seed) for seed in (1, 1, 2))
    key = [(t.support.tolist(), t.query.tolist()) for t in one]
    assert key == [(t.support.tolist(), t.query.tolist()) for t in same]
    assert key != [(t.support.tolist(), t.query.tolist()) for t in other]
    assert key[:5] == [(t.support.tolist(), t.query.tolist()) for t in draw(seed=1, episodes=5)]


def test_copies_stay_on_one_side():
    labels = np.repeat([0, 1, 2], 12)
    copies = np.arange(36) // 3  # three copies of every picture, four different ones a class
    for task in draw(labels, 3, 1, 3, 50, copies=copies):
        everything = copies[np.concatenate([task.support, task.query])]
        assert len(set(everything)) == 12
    seen = np.concatenate([t.support for t in draw(labels, 3, 1, 3, 200, copies=copies)])
    assert len(set(seen)) == 36  # any of the copies may stand for its group
    with pytest.raises(InputError, match="different pictures"):
        draw(labels, 3, 1, 4, copies=copies)


def test_unlabelled_pictures_take_no_part():
    labels = np.where(np.arange(len(LABELS)) % 4 == 0, -1, LABELS)
    tasks = draw(labels, 3, 1, 2)
    assert all(labels[t.support].min() >= 0 and labels[t.query].min() >= 0 for t in tasks)


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(InputError, match=r"8-way.*need 8 classes of at least 8.*7 of the 8.*smallest is 'g' with 3"):
        draw(way=8, names=tuple("abcdefgh"))
    for labels in (np.full(9, -1), np.zeros(0, np.int64)):
        with pytest.raises(InputError, match="from class folders, .* here are none"):
            draw(labels)
    for wrong in (dict(way=1), dict(shot=0), dict(query=0), dict(episodes=0)):
        ((name, value),) = wrong.items()
        with pytest.raises(InputError, match=f"^{name} is {value}; it must be"):
            draw(**wrong)


def test_stacked_tasks_are_the_episodes_and_a_part_is_some_of_them():
    episodes = draw(episodes=5)
    tasks = stack(iter(episodes))
    assert tasks.way == 5 and tasks.support.shape == (5, 10) and tasks.query.shape == (5, 30)
    for number, one in enumerate(episodes):
        for name in ("support", "support_labels", "query", "query_labels"):
            assert getattr(tasks, name)[number].tolist() == getattr(one, name).tolist()
    part = tasks.part(slice(1, 3))
    assert part.way == 5 and part.query.tolist() == tasks.query[1:3].tolist() and len(part.support_labels) == 2


def test_tasks_among_some_rows_are_the_same_pictures():
    labels = np.where(np.isin(LABELS, [0, 3, 4]), LABELS, -1)
    tasks, rows = stack(draw(labels, 3, 1, 2, 6)), np.flatnonzero(labels >= 0)
    inside = tasks.among(rows)
    assert rows[inside.support].tolist() == tasks.support.tolist()
    assert rows[inside.query].tolist() == tasks.query.tolist()
    assert inside.query.max() < len(rows) and inside.query_labels is tasks.query_labels and inside.way == 3


def test_dealing_by_hand():
    task = deal([np.array([7, 3, 5]), np.array([1, 2, 9])], shot=2)
    assert task.support.tolist() == [7, 3, 1, 2] and task.support_labels.tolist() == [0, 0, 1, 1]
    assert task.query.tolist() == [5, 9] and task.query_labels.tolist() == [0, 1] and task.way == 2


def test_distinct_rows_are_no_copies_and_any_of_a_group_may_come():
    rows, copies = np.array([2, 3, 5, 8, 9, 11]), np.arange(12) // 2  # 2 and 3 are copies, 8 and 9 too
    random, seen = np.random.default_rng(0), set()
    for _ in range(60):
        drawn = draw_distinct(rows, copies, 3, random)
        assert len(set(copies[drawn])) == 3 and set(drawn) <= set(rows)
        seen |= set(drawn.tolist())
    assert seen == set(rows)
    plain = draw_distinct(rows, np.arange(12), 4, np.random.default_rng(5), unlike=True)
    assert plain.tolist() == draw_distinct(rows, np.arange(12), 4, np.random.default_rng(5)).tolist()
