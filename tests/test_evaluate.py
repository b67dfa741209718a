"""evaluate.py: the protocols against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from byolmeta.errors import InputError
from byolmeta.evaluate import PENALTIES, knn, linear_probe, shared_classes


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    centres, labels = random.normal(size=(4, 10)), random.integers(0, 4, 500)
    x = (centres[labels] + 1.1 * random.normal(size=(500, 10)) + 3).astype(np.float32)
    return x[:300], labels[:300], x[300:], labels[300:]


@pytest.mark.parametrize("k", (1, 20, 200))
def test_knn_equals_scikit_learn(data, k):
    train, labels, test, truth = data
    model = KNeighborsClassifier(k, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.1)).fit(train, labels)
    assert knn(train, labels, test, truth, k) == pytest.approx(model.score(test, truth), abs=0.006)


def test_knn_takes_all_when_there_are_fewer_than_k(data):
    train, labels, test, truth = data
    assert knn(train[:50], labels[:50], test, truth, 200) == knn(train[:50], labels[:50], test, truth, 50)


def test_linear_probe_equals_scikit_learn(data):
    train, labels, test, truth = data
    mean, std = train.mean(0), train.std(0)
    scores = [
        LogisticRegression(C=1 / (len(train) * p), max_iter=2000).fit((train - mean) / std, labels).score((test - mean) / std, truth)
        for p in PENALTIES
    ]  # fmt: skip
    found = linear_probe(train, labels, test, truth)
    assert min(scores) - 0.006 <= found <= max(scores) + 0.006 and found > 0.7


def test_linear_probe_repeats_and_standardises(data):
    train, labels, test, truth = data
    train, labels = train[:80], labels[:80]
    first = linear_probe(train, labels, test, truth)
    assert first == linear_probe(train, labels, test, truth)
    scale = np.geomspace(1e-3, 1e3, 10).astype(np.float32)
    assert linear_probe(train * scale, labels, test * scale, truth) == pytest.approx(first, abs=0.02)


def test_linear_probe_never_sees_the_test_vectors_in_its_choice(data):
    """Shuffled truth leaves the model as it is: the answers to one test picture stay."""
    train, labels, test, truth = data
    train, labels = train[:60], labels[:60]
    parts = [linear_probe(train, labels, test[i : i + 4], truth[i : i + 4]) for i in (0, 4, 8)]
    assert np.mean(parts) == pytest.approx(linear_probe(train, labels, test[:12], truth[:12]))


def test_linear_probe_of_few_pictures():
    x = np.array([[0.0, 1], [1, 0], [0, 2]], np.float32)
    assert linear_probe(x, np.array([0, 1, 0]), x, np.array([0, 1, 0])) == 1.0


def test_classes_are_matched_by_name():
    labels, rows = shared_classes(
        ("cat", "dog", "owl"), np.array([0, 1, 2]), ("ant", "dog", "cat"), np.array([0, 1, 2, -1])
    )
    assert labels.tolist() == [-1, 1, 0, -1] and rows.tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    "train, test",
    [((("cat",), [0]), (("dog",), [0])), (((), [-1]), (("dog",), [0])), ((("cat",), [0]), ((), [-1, -1]))],
)
def test_folders_without_a_common_class_are_refused(train, test):
    with pytest.raises(InputError, match="share no class folder"):
        shared_classes(train[0], np.array(train[1]), test[0], np.array(test[1]))
