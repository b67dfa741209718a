"""groups.py: groups that are there are found, numbered by size, and the same every time."""

import numpy as np
import pytest

from byolmeta import groups
from byolmeta.features import unit
from byolmeta.groups import Groups, found_groups, main_class


def blobs(sizes, dim=24, noise=0.5, seed=0):
    """Vectors in groups of these sizes, shuffled, with the group of each."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    middles = random.normal(size=(len(sizes), dim))
    return (middles[labels] + noise * random.normal(size=(len(labels), dim))).astype(np.float32), labels


def agree(found, labels):
    """Share of pictures that belong to the class most frequent in their group."""
    return sum(np.bincount(labels[found == group]).max() for group in np.unique(found)) / len(labels)


@pytest.mark.parametrize("sizes", [(70, 50), (60, 50, 40), (50, 45, 40, 35, 30, 25), (40,) * 12])
def test_clear_groups_are_counted_found_and_numbered_by_size(sizes):
    vectors, labels = blobs(sizes)
    found = found_groups(vectors)
    assert found.count == len(sizes) and found.labels.dtype == found.representatives.dtype == np.int64
    assert found.sizes.tolist() == list(sizes) and agree(found.labels, labels) > 0.99
    np.testing.assert_array_equal(found.labels[found.representatives], np.arange(found.count))


def test_length_does_not_count():
    vectors, _ = blobs((60, 50, 40))
    stretched = vectors * np.random.default_rng(1).uniform(0.1, 9, (150, 1)).astype(np.float32)
    np.testing.assert_array_equal(found_groups(stretched).labels, found_groups(vectors).labels)


def test_the_representative_is_the_nearest_to_the_middle():
    vectors, _ = blobs((60, 50, 40))
    found, x = found_groups(vectors), unit(vectors)
    for group, row in enumerate(found.representatives):
        own = np.flatnonzero(found.labels == group)
        middle = unit(x[own].mean(0, keepdims=True))[0]
        assert row == own[np.argmax(x[own] @ middle)]


def test_the_same_call_gives_the_same_groups():
    vectors = np.random.default_rng(0).normal(size=(500, 16))  # no groups in it: many answers are as good
    for count in (0, 7):
        a, b = found_groups(vectors, count), found_groups(vectors.copy(), count)
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(a.representatives, b.representatives)
    assert (found_groups(vectors, 7, seed=1).labels != a.labels).any()


def test_an_asked_count_is_kept():
    vectors, _ = blobs((60, 50, 40))
    assert [found_groups(vectors, count).count for count in (1, 2, 5, 30)] == [1, 2, 5, 30]


def test_where_nothing_is_clear_more_groups_are_shown_than_light_and_dark(monkeypatch):
    vectors, labels = blobs((60,) * 12, dim=16, noise=0.7)
    vectors[:, 0] += np.where(np.random.default_rng(0).random(len(labels)) < 0.5, 3, -3)
    found = found_groups(vectors)
    assert found.count >= 12 and agree(found.labels, labels) > 0.8
    monkeypatch.setattr(groups, "CLEAR", 0)  # the best silhouette alone
    assert found_groups(vectors).count == 2


def test_a_picture_or_two_are_no_group():
    vectors, _ = blobs((2,) * 20, noise=1.3)  # of few pictures, silhouettes rise with the count
    assert 3 <= found_groups(vectors).count <= 10


@pytest.mark.parametrize(
    "vectors, count",
    [
        (np.ones((1, 4)), 1),
        (np.zeros((1, 4)), 1),
        (np.ones((9, 4)), 1),
        (np.zeros((9, 4)), 1),
        (np.eye(2, 4), 2),
        (np.repeat(np.eye(3, 4), 5, axis=0), 3),
    ],
)
def test_few_or_equal_pictures(vectors, count):
    assert found_groups(vectors).count == count
    found = found_groups(vectors, 8)
    assert found.count == count and found.sizes.sum() == len(vectors)
    assert all((found.labels[i] == found.labels[j]) == (vectors[i] == vectors[j]).all() for i in range(len(vectors)) for j in range(i))  # fmt: skip


def test_many_pictures_join_the_groups_of_a_part(monkeypatch):
    vectors, labels = blobs((300, 200, 100))
    monkeypatch.setattr(groups, "SAMPLE", 60)
    monkeypatch.setattr(groups, "FIT", 120)
    found = found_groups(vectors, 3)
    assert found.sizes.tolist() == [300, 200, 100] and agree(found.labels, labels) == 1


def test_the_class_that_a_group_mostly_holds():
    made = Groups(np.array([0, 0, 0, 0, 1, 1, 1, 2, 2]), np.array([0, 4, 7]))
    labels = np.array([3, 3, 3, 1, -1, -1, 2, 1, 2])
    assert main_class(made, labels).tolist() == [3, -1, -1]
    assert main_class(made, np.full(9, -1)).tolist() == [-1, -1, -1]
