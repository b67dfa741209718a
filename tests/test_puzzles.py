"""puzzles.py: tasks from class folders, clusters and twins, with nothing of one side on the other."""

import numpy as np
import pytest

from byolmeta import puzzles
from byolmeta.errors import InputError
from byolmeta.puzzles import Puzzles


def groups(classes=6, each=20, dim=16, noise=0.2, seed=0):
    """Vectors in groups, and the group of each."""
    random = np.random.default_rng(seed)
    labels = np.arange(classes).repeat(each)
    centres = random.normal(size=(classes, dim))
    return (centres[labels] + noise * random.normal(size=(len(labels), dim))).astype(np.float32), labels


def test_tasks_keep_support_and_query_apart_and_classes_together():
    _, labels = groups()
    source = Puzzles([puzzles.of_labels(labels, np.arange(6))], np.arange(len(labels)))
    tasks = source.draw(np.random.default_rng(0), 50, 4, 3, 5)
    assert tasks.support.shape == (50, 12) and tasks.query.shape == (50, 20) and tasks.way == 4
    for i in range(50):
        assert not set(tasks.support[i]) & set(tasks.query[i])
        names = {}
        for rows, said in ((tasks.support[i], tasks.support_labels[i]), (tasks.query[i], tasks.query_labels[i])):
            assert len(set(rows)) == len(rows)
            for row, number in zip(rows, said, strict=True):
                assert names.setdefault(number, labels[row]) == labels[row]
        assert len(set(names.values())) == 4
    first = [labels[tasks.support[i, 0]] for i in range(50)]
    assert len(set(first)) == 6  # classes get their numbers anew in every task


def test_near_copies_stay_on_one_side():
    labels = np.zeros(10, int).repeat(2) % 2
    labels = np.arange(2).repeat(10)
    copies = np.arange(20) // 2 * 2  # every picture has one copy
    source = Puzzles([puzzles.of_labels(labels, np.arange(2))], copies)
    assert (source.classes(5), source.classes(6)) == (2, 0)
    tasks = source.draw(np.random.default_rng(1), 40, 2, 2, 3)
    for support, query in zip(tasks.support, tasks.query, strict=True):
        both = copies[np.concatenate([support, query])]
        assert len(set(both)) == len(both)
    with pytest.raises(InputError, match="at most 0 classes"):
        source.draw(np.random.default_rng(0), 1, 2, 3, 3)


def test_every_partition_is_drawn_from_and_small_ones_are_left_out():
    rows = np.arange(60)
    partitions = [tuple(rows[:30].reshape(3, 10)), tuple(rows[30:].reshape(3, 10)), (rows[:10], rows[10:20])]
    source = Puzzles(partitions, rows)
    tasks = source.draw(np.random.default_rng(0), 60, 3, 1, 2)
    low = (tasks.support < 30).all(1)
    assert 10 < low.sum() < 50 and ((tasks.query < 30).all(1) == low).all()  # no task mixes two partitions


def test_classes_are_parted_by_name_and_none_is_in_two_parts():
    labels = np.concatenate([np.arange(20).repeat(3), [-1, -1]])
    parts = puzzles.split_classes(labels, seed=3)
    assert sorted(np.concatenate(parts)) == list(range(20)) and [len(p) for p in parts] == [12, 4, 4]
    assert [list(a) for a in puzzles.split_classes(labels, 3)] == [list(a) for a in parts]
    assert any(list(a) != list(b) for a, b in zip(puzzles.split_classes(labels, 4), parts, strict=True))
    assert [len(p) for p in puzzles.split_classes(np.arange(6), 0)] == [2, 2, 2]
    assert [len(p) for p in puzzles.split_classes(np.arange(964), 0)] == [764, 100, 100]
    with pytest.raises(InputError, match="at least 6 .* found 5"):
        puzzles.split_classes(np.arange(5), 0)


@pytest.mark.parametrize("count", [30, 65, 400])
def test_pictures_are_parted_between_clusters(count):
    vectors, labels = groups(classes=max(4, count // 20), each=20)
    vectors, labels = vectors[:count], labels[:count]
    parts = puzzles.split_pictures(vectors, np.arange(count), 0)
    assert sorted(np.concatenate(parts)) == list(range(count)) and all(len(p) for p in parts)
    if count == 400:  # well separated groups stay whole
        homes = [{p for p in range(3) if np.isin(np.flatnonzero(labels == c), parts[p]).any()} for c in range(20)]
        assert all(len(home) == 1 for home in homes)


def test_a_picture_in_two_classes_takes_no_part():
    labels, copies = np.array([0, 0, 1, 1, 2, -1]), np.array([0, 1, 2, 0, 4, 5])
    assert puzzles.of_one_class(labels, copies).tolist() == [-1, 0, 1, -1, 2, -1]
    assert puzzles.of_one_class(labels, np.array([0, 0, 2, 3, 4, 4])).tolist() == [0, 0, 1, 1, -1, -1]


def test_too_few_pictures_make_no_puzzles():
    with pytest.raises(InputError, match="at least 30 pictures; here are 29"):
        puzzles.split_pictures(np.zeros((29, 4), np.float32), np.arange(29), 0)


def test_near_copies_are_never_parted():
    vectors, _ = groups(classes=10, each=20)
    copies = np.arange(200)
    copies[100:] = np.arange(100)  # every picture of the second half is a copy of one in the first
    parts = puzzles.split_pictures(vectors, copies, 0)
    assert sorted(np.concatenate(parts)) == list(range(200))
    assert not any(
        set(copies[a]) & set(copies[b]) for a, b in ((parts[0], parts[1]), (parts[0], parts[2]), (parts[1], parts[2]))
    )


def test_clusters_are_found_several_times_in_different_sizes():
    vectors, labels = groups(classes=8, each=25)
    ids = np.flatnonzero(labels < 6)
    found = puzzles.of_clusters(vectors, ids, seed=0)
    assert len(found) == puzzles.CLUSTERINGS
    for clustering in found:
        assert sorted(np.concatenate(clustering)) == sorted(ids)  # nothing of the pictures held back
    assert len({len(c) for c in found}) > 5
    pure = [len(set(labels[rows])) == 1 for clustering in found for rows in clustering if len(rows)]
    assert np.mean(pure) > 0.8
    again = puzzles.of_clusters(vectors, ids, seed=0)
    assert all(np.array_equal(a, b) for x, y in zip(found, again, strict=True) for a, b in zip(x, y, strict=True))


def test_twins_are_views_of_one_picture_and_copies_take_part_once():
    copies = np.array([0, 1, 2, 1, 4])
    found = puzzles.of_twins(np.array([1, 2, 3]), copies, pictures=5, views=3)
    assert [list(rows) for rows in found] == [[6, 11, 16], [7, 12, 17]]
