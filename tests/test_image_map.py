"""image_map.py: places in the plane that keep neighbours, repeat, and do not jump."""

from pathlib import Path

import numpy as np
import pytest

from byolmeta.features import unit
from byolmeta.image_map import MapWorker, align, pca_layout, trustworthiness, umap_layout

pytestmark = pytest.mark.filterwarnings("ignore:precomputed_knn", "ignore:n_jobs", "ignore:n_neighbors")


def clusters(n=120, groups=6, dim=12, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(n) % groups
    return (2 * random.normal(size=(groups, dim))[labels] + 0.4 * random.normal(size=(n, dim))).astype(
        np.float32
    ), labels


@pytest.fixture(scope="module")
def made():
    """Vectors of six clusters and their map with seed 0."""
    vectors, labels = clusters()
    return vectors, labels, umap_layout(vectors, seed=0)


def test_pca_equals_scikit_learn_up_to_sign_and_scale():
    from sklearn.decomposition import PCA

    vectors, _ = clusters()
    ours, theirs = pca_layout(vectors), PCA(2).fit_transform(unit(vectors))
    assert ours.shape == (120, 2) and ours.dtype == np.float32 and np.abs(ours).max() == pytest.approx(10, rel=1e-4)
    for axis in (0, 1):
        assert abs(np.corrcoef(ours[:, axis], theirs[:, axis])[0, 1]) > 0.999
    np.testing.assert_allclose(ours.mean(0), 0, atol=1e-3)
    np.testing.assert_array_equal(ours, pca_layout(vectors))


@pytest.mark.parametrize(
    "vectors", [np.ones((1, 4)), np.eye(2, 4), np.ones((7, 4)), np.zeros((7, 4)), np.eye(4)[:3, :1]]
)
def test_pca_of_few_or_equal_pictures_is_finite(vectors):
    places = pca_layout(vectors.astype(np.float32))
    assert places.shape == (len(vectors), 2) and np.isfinite(places).all()


def test_umap_keeps_neighbours_at_least_as_well_as_pca(made):
    vectors, labels, places = made
    assert places.shape == (120, 2) and places.dtype == np.float32 and np.isfinite(places).all()
    good, plain = trustworthiness(vectors, places, k=8), trustworthiness(vectors, pca_layout(vectors), k=8)
    assert good >= plain and good > 0.9
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(1)] == labels).mean() > 0.95


def test_a_seed_repeats_the_map(made):
    vectors, _, places = made
    np.testing.assert_array_equal(umap_layout(vectors, seed=0), places)
    assert np.abs(umap_layout(vectors, seed=1) - places).max() > 1e-3


def test_a_map_that_starts_from_another_does_not_jump_far():
    vectors, _ = clusters(300)
    places = umap_layout(vectors, seed=0)
    turned = places @ np.array([[0, -1], [1, 0]], np.float32) + 30
    again = umap_layout(
        vectors + 0.02 * np.random.default_rng(1).normal(size=vectors.shape).astype(np.float32), turned, 0
    )
    jump = np.linalg.norm(again - turned, axis=1).mean()
    assert jump < 0.5 * np.linalg.norm(turned - turned.mean(0), axis=1).mean()
    assert trustworthiness(vectors, again, k=8) > 0.9


@pytest.mark.parametrize("n", (1, 2, 4))
def test_fewer_than_five_pictures_stay_where_pca_puts_them(n):
    vectors = clusters()[0][:n]
    np.testing.assert_array_equal(umap_layout(vectors), pca_layout(vectors))


@pytest.mark.parametrize("n", (5, 6, 16))
def test_few_pictures_make_a_map(n):
    places = umap_layout(clusters()[0][:n], seed=0)
    assert places.shape == (n, 2) and np.isfinite(places).all()


def test_equal_pictures_stay_finite():
    for vectors in (np.ones((20, 8), np.float32), np.zeros((20, 8), np.float32)):
        assert np.isfinite(umap_layout(vectors, seed=0)).all()


def test_align_turns_mirrors_and_moves_only():
    random = np.random.default_rng(0)
    onto = random.normal(size=(30, 2)).astype(np.float32) * (3, 1) + (5, -2)
    angle = 1.1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, -1])
    np.testing.assert_allclose(align(onto @ turn + 7, onto), onto, atol=1e-4)
    other = random.normal(size=(30, 2))
    found = align(other, onto)
    np.testing.assert_allclose(np.linalg.norm(found[0] - found[1:], axis=1), np.linalg.norm(other[0] - other[1:], axis=1), rtol=1e-4)  # fmt: skip


def test_trustworthiness_is_one_for_the_truth_and_low_for_chance():
    random = np.random.default_rng(0)
    angle = random.uniform(0, 2 * np.pi, 200)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    assert trustworthiness(ring, ring) > 0.999
    assert trustworthiness(ring, random.normal(size=(200, 2))) < 0.6
    assert trustworthiness(ring[:2], ring[:2]) == 1.0


def test_worker_makes_maps_reports_errors_and_lives_on(tmp_path, monkeypatch):
    vectors, _ = clusters(40)
    monkeypatch.chdir(tmp_path)
    worker = MapWorker()
    try:
        places = worker.layout(vectors, None, tmp_path / "exchange", seed=0)
        assert places.shape == (40, 2) and np.isfinite(places).all()
        process = worker.process
        with pytest.raises(RuntimeError, match="map process failed"):
            worker.layout(vectors, places[:7], tmp_path / "exchange")  # a start of another size
        again = worker.layout(vectors, places, Path("relative"), seed=0)
        assert again.shape == (40, 2) and worker.process is process
    finally:
        worker.close()
    assert worker.process.poll() is not None
