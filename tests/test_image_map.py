"""image_map.py: places in the plane that keep neighbours, repeat, and do not jump; new pictures; a worker that is left."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
import pytest

from byolmeta import image_map
from byolmeta.features import neighbours, unit
from byolmeta.image_map import (
    MapWorker,
    agreement,
    align,
    doubtful,
    graph,
    memberships,
    pca_layout,
    place,
    trustworthiness,
    umap_layout,
    umap_learn_layout,
)


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


def test_neighbours_that_the_caller_has_make_the_same_map(made):
    vectors, _, places = made
    seen = []
    near = neighbours(vectors, 20)  # more than are needed
    again = umap_layout(vectors, seed=0, near=near, progress=lambda done, of: seen.append((done, of)))
    np.testing.assert_array_equal(again, places)
    umap_layout(vectors, progress=lambda done, of: seen.append((done, of)))
    shares = [done for done, of in seen]
    assert min(shares) == 50 and max(shares) < 100 and all(of == 100 for _, of in seen)


def test_memberships_sum_as_umap_asks_and_the_nearest_counts_whole():
    distances = np.sort(np.random.default_rng(0).uniform(0.1, 1, (50, 14)), axis=1)
    found = memberships(distances)
    np.testing.assert_allclose(found.sum(1), np.log2(15), rtol=1e-3)
    np.testing.assert_allclose(found[:, 0], 1)
    assert (np.diff(found, axis=1) <= 0).all()
    np.testing.assert_allclose(memberships(np.zeros((2, 14))), 1)  # copies belong wholly
    copy = memberships(np.array([[0, 0.2, 0.4, 0.6]]))  # a copy does not narrow the rest
    assert copy[0, 0] == copy[0, 1] == 1 > copy[0, 2] > copy[0, 3] > 0


def test_graph_is_the_fuzzy_union_of_both_directions():
    vectors, _ = clusters(60)
    ids, distances = neighbours(vectors, 14)
    one_way = np.zeros((60, 60))
    np.put_along_axis(one_way, ids, memberships(distances), 1)
    union = one_way + one_way.T - one_way * one_way.T
    heads, tails, every = graph(ids, distances, 200)
    found = np.zeros((60, 60))
    found[heads, tails] = union.max() / every
    np.testing.assert_allclose(found, np.where(union >= union.max() / 200, union, 0), atol=1e-5)


@pytest.mark.long
def test_the_graph_is_that_of_umap_learn():
    umap = pytest.importorskip("umap")
    vectors, _ = clusters(200)
    ids, distances = neighbours(vectors, 14)
    every_one = np.column_stack([np.arange(200), ids]), np.column_stack([np.zeros(200), distances]).astype(np.float32)
    theirs = umap.umap_.fuzzy_simplicial_set(
        vectors, 15, np.random.RandomState(0), "cosine", knn_indices=every_one[0], knn_dists=every_one[1]
    )[0].toarray()
    heads, tails, every = graph(ids, distances, 200)
    ours = np.zeros((200, 200))
    ours[heads, tails] = theirs.max() / every
    kept = theirs >= theirs.max() / 200
    np.testing.assert_allclose(ours[kept], theirs[kept], atol=0.02)
    assert (ours[~kept] < 0.02).all() and kept.sum() > 2000


def test_umap_learn_makes_the_map_where_it_is_asked_for(made):
    pytest.importorskip("umap")
    vectors, labels, places = made
    theirs = umap_learn_layout(vectors)
    np.testing.assert_array_equal(theirs, umap_learn_layout(vectors, near=neighbours(vectors, 20)))
    assert trustworthiness(vectors, places, k=8) > trustworthiness(vectors, theirs, k=8) - 0.02
    assert trustworthiness(vectors, theirs, k=8) > 0.9
    again = umap_learn_layout(vectors, theirs + 30)
    radius = np.linalg.norm(theirs - theirs.mean(0), axis=1).mean()
    assert np.linalg.norm(again - theirs - 30, axis=1).mean() < 0.3 * radius
    np.testing.assert_array_equal(umap_learn_layout(vectors[:3]), pca_layout(vectors[:3]))


def test_the_walk_draws_neighbours_near_and_pushes_others_away():
    places = np.array([[0, 0], [6, 0], [0, 1], [6, 1]], np.float32)
    heads, tails = np.array([0, 1], np.int32), np.array([1, 0], np.int32)
    every = np.ones(2, np.float32)
    image_map._walk(places, heads, tails, every, every.copy(), 0, 200, 200, np.float32(0.1), np.uint64(1))
    near = np.linalg.norm(places[0] - places[1])
    assert near < 3 and np.linalg.norm(places[0] - places[2]) > near
    np.testing.assert_array_equal(places[2:], [[0, 1], [6, 1]])  # no edge pulls them, and only heads are pushed


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


def test_many_maps_one_after_another_stay_in_the_room(monkeypatch):
    vectors, _ = clusters(120)

    def widths(count=40) -> list[float]:
        places, found = umap_layout(vectors), []
        for _ in range(count):
            places = umap_layout(vectors, places)
            found.append(np.sqrt(((places - places.mean(0)) ** 2).sum(1).mean()))
        assert trustworthiness(vectors, places, k=8) > 0.9
        return found

    drawn_in = widths()
    monkeypatch.setattr(image_map, "ROOM", np.inf)
    assert max(drawn_in[20:]) < 1.1 * max(drawn_in[:20]) and drawn_in[-1] < 0.75 * widths()[-1]


def test_a_second_map_of_other_vectors_moves_less_than_one_of_its_own():
    vectors, _ = clusters(300)
    other = vectors[:, :8] + 0.3 * np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32)
    onto = umap_layout(vectors)
    second, own = umap_layout(other, onto), align(umap_layout(other), onto)
    jump, jump_own = (np.linalg.norm(places - onto, axis=1).mean() for places in (second, own))
    assert jump < jump_own
    assert trustworthiness(other, second, k=8) > trustworthiness(other, onto, k=8)


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


def test_new_pictures_land_among_their_neighbours():
    vectors, labels = clusters(400)
    places = umap_layout(vectors[:300])
    spots, ids = place(vectors[300:], vectors[:300], places, k=8)
    assert spots.shape == (100, 2) and spots.dtype == np.float32 and ids.shape == (100, 8)
    cosine = unit(vectors[300:]) @ unit(vectors[:300]).T
    np.testing.assert_array_equal(ids, np.argsort(-cosine, axis=1)[:, :8])
    beside = np.linalg.norm(spots[:, None] - places[None], axis=2).argmin(1)
    assert (labels[:300][beside] == labels[300:]).mean() > 0.95


def test_a_picture_between_two_groups_lands_in_the_greater_one_and_not_in_the_gap():
    vectors = np.array([[1, 0.1], [1, 0.2], [1, 0.3], [0.1, 1], [0.2, 1]], np.float32)
    places = np.array([[0, 0], [0.2, 0], [0, 0.2], [10, 0], [10, 0.2]], np.float32)
    spots, _ = place(np.array([[1, 0.95]], np.float32), vectors, places)
    assert np.linalg.norm(spots[0] - places[:3].mean(0)) < 0.5


def test_a_copy_lands_on_its_original_and_few_pictures_are_enough():
    vectors, _ = clusters(40)
    places = umap_layout(vectors)
    spots, ids = place(3 * vectors[[7, 21]], vectors, places)  # length does not count
    np.testing.assert_array_equal(spots, places[[7, 21]])
    assert ids[:, 0].tolist() == [7, 21]
    for n in (1, 2):
        spots, ids = place(vectors[30:33], vectors[:n], places[:n])
        assert ids.shape == (3, n) and np.isfinite(spots).all()
    assert place(vectors[:0], vectors, places)[0].shape == (0, 2)


def test_agreement_is_one_for_the_same_neighbours_and_small_for_chance():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(400, 16)).astype(np.float32)
    turn = np.linalg.qr(random.normal(size=(16, 16)))[0].astype(np.float32)
    assert agreement(vectors, 2 * vectors @ turn) > 0.99
    assert agreement(vectors, vectors @ turn, sample=50) > 0.98
    assert agreement(vectors, random.normal(size=(400, 9)).astype(np.float32)) == pytest.approx(15 / 399, abs=0.02)
    first = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    second = first[[0, 2, 1, 3]]  # 0 and 1 no longer beside each other
    assert agreement(first, second, k=1) == 0
    assert agreement(first[:1], second[:1]) == 1


def test_points_beside_strangers_are_doubtful():
    vectors, labels = clusters()
    places = umap_layout(vectors)
    good = doubtful(vectors, places, k=8)
    assert good.shape == (120,) and good.dtype == np.float32 and good.max() < 0.5
    moved = places.copy()
    stranger = np.flatnonzero(labels == 1)[0]
    moved[0] = places[stranger]  # exactly on top of it
    found = doubtful(vectors, moved, k=8, near=neighbours(vectors, 20))
    assert found.argmax() == 0 and found[0] > 0.9
    assert doubtful(vectors, np.random.default_rng(0).normal(size=(120, 2)), k=8).mean() > 0.7


@pytest.mark.parametrize("n", (1, 2, 30))
def test_nothing_is_doubtful_where_all_is_equal(n):
    vectors, places = np.ones((n, 4), np.float32), np.zeros((n, 2), np.float32)
    np.testing.assert_allclose(doubtful(vectors, places), 0, atol=1e-3)


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


@pytest.fixture(scope="module")
def worker():
    worker = MapWorker()
    worker.start()
    yield worker
    worker.close()
    assert worker.process.poll() is not None


def test_worker_makes_maps_reports_errors_and_lives_on(worker, tmp_path, monkeypatch):
    vectors, _ = clusters(40)
    monkeypatch.chdir(tmp_path)
    shares = []
    places = worker.layout(vectors, None, tmp_path / "exchange", progress=lambda done, of: shares.append(done))
    np.testing.assert_array_equal(places, umap_layout(vectors))
    assert shares == sorted(shares) and len(shares) > 5
    process = worker.process
    with pytest.raises(RuntimeError, match="map process failed"):
        worker.layout(vectors, places[:7], tmp_path / "exchange")  # a start of another size
    near = neighbours(vectors, 14)
    again = worker.layout(vectors, places, Path("relative"), near=near)
    np.testing.assert_array_equal(again, umap_layout(vectors, places))
    assert worker.process is process and not list(tmp_path.rglob("*.np*"))


def test_a_killed_worker_is_told_and_the_next_call_starts_another(worker, tmp_path):
    vectors, _ = clusters(40)
    worker.layout(vectors, None, tmp_path)
    worker.process.kill()
    worker.process.wait()
    assert worker.layout(vectors, None, tmp_path).shape == (40, 2)  # it was seen before the question
    many, _ = clusters(1500)  # so that it is at work for a while after its first word
    with pytest.raises(RuntimeError, match="it ended"):
        worker.layout(many, None, tmp_path, progress=lambda done, of: worker.process.kill())
    assert worker.layout(vectors, None, tmp_path).shape == (40, 2)


def test_a_caller_that_gives_up_leaves_no_late_answer(worker, tmp_path):
    vectors, _ = clusters(40)

    def give_up(done: int, of: int) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        worker.layout(vectors, None, tmp_path, progress=give_up)
    assert worker.layout(vectors[:30], None, tmp_path).shape == (30, 2)
    assert not list(tmp_path.iterdir())


def test_two_apps_and_many_threads_share_a_folder(worker, tmp_path):
    other, found = MapWorker(), {}
    vectors, _ = clusters(60)

    def ask(who: MapWorker, n: int) -> None:
        found[n] = who.layout(vectors[:n], None, tmp_path)

    try:
        threads = [threading.Thread(target=ask, args=(who, n)) for n, who in enumerate([worker, other] * 3, 20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        other.close()
    assert sorted(found) == list(range(20, 26))
    for n, places in found.items():
        np.testing.assert_array_equal(places, umap_layout(vectors[:n]))


def test_the_walk_works_where_nothing_compiled_can_be_kept(monkeypatch):
    from numba.core.caching import FunctionCache

    monkeypatch.setattr(FunctionCache._impl_class, "_locator_classes", [])
    with pytest.raises(RuntimeError):
        numba.njit(cache=True)(lambda x: x)
    assert image_map._compiled(lambda x: x + 1)(1) == 2


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_damaged_cache_of_compiled_code_does_not_end_the_map(tmp_path, content):
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(image_map.__file__).parents[1])}
    code = "import numpy as np; from byolmeta.image_map import umap_layout; print(umap_layout(np.eye(30, 8, dtype=np.float32)).shape)"

    def run():
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)

    assert "(30, 2)" in run().stdout
    files = [path for path in tmp_path.rglob("*.nb?")]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    done = run()
    assert "(30, 2)" in done.stdout, done.stderr[-2000:]
