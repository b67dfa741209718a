"""evaluate.py: the protocols against scikit-learn."""

import copy

import numpy as np
import pytest
import torch
from conftest import draw_pictures
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from byolmeta import evaluate
from byolmeta.encoder import Encoder
from byolmeta.errors import InputError
from byolmeta.evaluate import PENALTIES, finetune, knn, linear_probe, shared_classes
from byolmeta.images import open_store


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
    """Each penalty gives scikit-learn's answers, and the penalty is the one that does best on the held fifth."""
    train, labels, test, truth = data
    mean, scale = train.mean(0), np.sqrt(((train - train.mean(0)) ** 2).mean())
    x, q = (train - mean) / scale, (test - mean) / scale
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).numpy()
    held, kept = order[: len(x) // 5], order[len(x) // 5 :]

    def score(rows, penalty, inputs, answers) -> float:
        model = LogisticRegression(C=1 / (len(rows) * penalty), max_iter=2000).fit(x[rows], labels[rows])
        return model.score(inputs, answers)

    on_held = [score(kept, p, x[held], labels[held]) for p in PENALTIES]
    best = PENALTIES[int(np.argmax(on_held))]
    found = linear_probe(train, labels, test, truth)
    assert found == pytest.approx(score(order, best, q, truth), abs=0.006) and found > 0.7
    assert max(on_held) - min(on_held) > 0.05  # the choice matters here


def test_linear_probe_repeats_whatever_the_size_of_the_vectors(data):
    train, labels, test, truth = data
    train, labels = train[:80], labels[:80]
    first = linear_probe(train, labels, test, truth)
    assert first == linear_probe(train, labels, test, truth)
    for size in (1e-3, 1e3):
        assert linear_probe(train * size + size, labels, test * size + size, truth) == pytest.approx(first, abs=0.02)


def test_linear_probe_of_few_pictures_is_not_lost_in_faint_directions(data):
    """200 directions of noise, a hundredth as large as the ten that count: standardising each would drown those."""
    train, labels, test, truth = data
    random = np.random.default_rng(1)
    wide = [np.hstack([x, 0.01 * random.normal(size=(len(x), 200))]).astype(np.float32) for x in (train[:60], test)]
    assert (
        linear_probe(wide[0], labels[:60], wide[1], truth) > linear_probe(train[:60], labels[:60], test, truth) - 0.03
    )


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


def test_knn_by_hand():
    """Two votes at cosine 0.6 against one at 1: at temperature 0.1 the near one wins, with equal votes it would lose."""
    train = np.array([[1.0, 0], [0.6, 0.8], [0.6, -0.8]], np.float32)
    labels, asked = np.array([0, 1, 1]), np.array([[2.0, 0]], np.float32)
    assert knn(train, labels, asked, np.array([0]), 3) == 1.0  # e^10 against 2 e^6
    close = np.array([[1.0, 0], [0.98, 0.199], [0.98, -0.199]], np.float32)
    assert knn(close, labels, asked, np.array([1]), 3) == 1.0  # e^10 against 2 e^9.8


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """60 drawn shapes to train on and 60 to test on."""
    place = tmp_path_factory.mktemp("tuned")
    store = open_store(draw_pictures(place / "shapes", each=40, seed=3), place / "stores", 16, workers=1)
    order = np.random.default_rng(0).permutation(len(store))
    return store.pixels[order[:60]], store.labels[order[:60]], store.pixels[order[60:]], store.labels[order[60:]]


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(evaluate, "FEWEST_STEPS", 60)
    torch.manual_seed(0)
    return Encoder("conv4", 16)


def test_fine_tuning_learns_and_leaves_the_encoder_as_it_was(shapes, network, monkeypatch):
    monkeypatch.setattr(evaluate, "RATES", (0.03, 0.1))
    before, seen = copy.deepcopy(network.state_dict()), []
    found = finetune(network, *shapes, progress=lambda done, total: seen.append((done, total)))
    assert found > 0.6  # a third is chance
    assert all(torch.equal(a, b) for a, b in zip(before.values(), network.state_dict().values(), strict=True))
    assert seen[-1][0] == seen[-1][1] == len(seen)
    assert found == finetune(network, *shapes)  # one seed repeats it


def test_the_rate_of_fine_tuning_is_not_chosen_on_the_test_pictures(shapes, network, monkeypatch):
    chosen, real = [], evaluate._tuned
    monkeypatch.setattr(evaluate, "FEWEST_STEPS", 4)
    monkeypatch.setattr(evaluate, "_tuned", lambda *a: chosen.append((a[5], len(a[4]))) or real(*a))
    train, labels, test, truth = shapes
    for answers in (truth, (truth + 1) % 3):
        finetune(network, train, labels, test, answers, epochs=2)
    assert chosen[:4] == chosen[4:] and [n for _, n in chosen[:4]] == [48, 48, 48, 60]


def test_fine_tuning_answers_only_what_it_is_asked(shapes, network, monkeypatch):
    """Each test picture is answered by itself: alone or among others, the same."""
    monkeypatch.setattr(evaluate, "FEWEST_STEPS", 4)
    train, labels, test, truth = shapes
    parts = [finetune(network, train, labels, test[i : i + 4], truth[i : i + 4], epochs=2) for i in (0, 4, 8)]
    assert np.mean(parts) == pytest.approx(finetune(network, train, labels, test[:12], truth[:12], epochs=2))
