"""The map: vectors to places in the plane. PCA at once, then UMAP (McInnes et al. 2018) from there.

The neighbours are exact, by matrix product, and PCA or an earlier map is the start. The walk that UMAP makes from there
is written here, in numba: it repeats, needs a second to compile instead of umap-learn's many, keeps what it compiled
on disk, and is several times faster (tests/benchmarks/map_speed.py compares both). umap-learn's own walk, from the same
neighbours and start, is there for whoever asks for it.
`MapWorker` keeps what takes seconds to load in a process of its own.
"""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import torch

from byolmeta.devices import has_cuda
from byolmeta.features import neighbours, one_blas_thread, top, unit
from byolmeta.files import replace_file

NEIGHBOURS = 15  # as UMAP counts them, with the point itself
TEN = 10.0  # UMAP's own scale of a start
CURVE = 0.5  # a of 1 / (1 + a d^2b), how alike two places count; see `_walk`
NEGATIVES = 5  # points that are pushed away for each that is drawn near
EPOCHS = 200  # a multiple of 20
# Of the usual step, from an earlier map. On 2,000 photos whose vectors had changed a little the mean jump was 0.11 of the
# map's radius; a map of its own, turned onto the first, jumped by 0.29, at a trustworthiness of 0.88 to 0.89 both.
GENTLE = 0.3
ROOM = 8.0  # root mean square distance from the middle; fresh maps of photos have 6, of parts that lie apart up to 10
GATHER = 0.75  # how far around a place on the map its neighbours are counted by `place`
Near = tuple[np.ndarray, np.ndarray]  # ids and distances, as features.neighbours gives them
Progress = Callable[[int, int], None]  # done, of all


def pca_layout(vectors: np.ndarray) -> np.ndarray:
    """First two principal components of the unit vectors, (N, 2) float32, centred, largest side about 20."""
    x = unit(vectors.astype(np.float32))
    mean = x.mean(0)
    sample = x[np.linspace(0, len(x) - 1, min(len(x), 5000)).astype(int)] - mean
    places = np.zeros((len(x), 2), np.float32)
    with one_blas_thread():
        axes = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :2].T
        axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]  # eigh leaves the sign open
        places[:, : len(axes)] = x @ axes.T - mean @ axes.T
    return places / max(np.abs(places).max(), 1e-12) * TEN


def nearest(vectors: np.ndarray, k: int = NEIGHBOURS - 1, progress: Progress | None = None) -> Near:
    """ids and distances of the k true neighbours, by the GPU where there is one with room for them."""
    if has_cuda():
        with contextlib.suppress(torch.OutOfMemoryError):
            return neighbours(vectors, k, device="cuda", block=1024, progress=progress)
    return neighbours(vectors, k, progress=progress)


def umap_layout(
    vectors: np.ndarray,
    start: np.ndarray | None = None,
    seed: int = 0,
    *,
    near: Near | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """UMAP positions (N, 2) float32 from exact cosine neighbours, starting at `start` (else PCA). A seed repeats them.

    With a start, drawn in a little where it is very wide, the walk is gentle, and turned and moved onto it, so that pictures do
    not jump. `near`: the 14 or more
    true neighbours, where the caller has them. Fewer than 5 pictures stay where PCA puts them.
    `progress` hears hundredths of the work.
    """
    n = len(vectors)
    begin = pca_layout(vectors) if start is None else start.astype(np.float32)
    if len(begin) != n:
        raise ValueError(f"The start has {len(begin)} places for {n} vectors.")
    if n < 5:
        return begin
    if near is None:
        near = nearest(vectors, progress=progress and (lambda done, of: progress(50 * done // of, 100)))
    random = np.random.default_rng(seed)
    centred = begin - begin.mean(0)
    if start is None:
        centred *= TEN / 2 / np.maximum(np.abs(centred).max(0), 1e-12)
    else:  # parts that lie apart push each other away, in every map a little more
        centred *= np.clip(ROOM / max(float(np.sqrt((centred**2).sum(1).mean())), 1e-12), 0.95, 1.0)
    noise = random.normal(scale=1e-3, size=begin.shape)  # splits equal points
    places = np.ascontiguousarray(centred + noise, np.float32)
    heads, tails, every = graph(*near, EPOCHS)
    due, state = every.copy(), np.uint64(random.integers(2**63))
    rate = np.float32(1.0 if start is None else GENTLE)
    for first in range(0, EPOCHS, 20):
        if progress:
            progress(50 + 50 * first // EPOCHS, 100)
        state = np.uint64(_walked(places, heads, tails, every, due, first, first + 20, EPOCHS, rate, state))
    if not np.isfinite(places).all():
        return begin
    return places if start is None else align(places, begin)


def umap_learn_layout(
    vectors: np.ndarray, start: np.ndarray | None = None, seed: int = 0, *, near: Near | None = None
) -> np.ndarray:
    """`umap_layout` by umap-learn's own walk and curve, for whoever wants exactly those; several times slower."""
    import umap

    n = len(vectors)
    begin = pca_layout(vectors) if start is None else start.astype(np.float32)
    if n < 5:
        return begin
    ids, distances = nearest(vectors) if near is None else near
    k = min(NEIGHBOURS - 1, ids.shape[1])
    own = np.arange(n)[:, None], np.zeros((n, 1), np.float32)  # umap-learn counts a point as its own first neighbour
    noise = np.random.default_rng(seed).normal(scale=1e-3, size=begin.shape)
    centred = begin - begin.mean(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one thread repeats; no new points are placed by this model
        model = umap.UMAP(
            n_neighbors=k + 1,
            precomputed_knn=(np.hstack([own[0], ids[:, :k]]), np.hstack([own[1], distances[:, :k]])),
            force_approximation_algorithm=True,
            init=(centred / max(np.abs(centred).max(), 1e-12) * TEN + noise).astype(np.float32),
            n_epochs=300 if n <= 5_000 else 200,
            learning_rate=1.0 if start is None else 0.1,
            random_state=seed,
            n_jobs=1,
        )
        places = np.asarray(model.fit_transform(unit(vectors)), np.float32)
    if not np.isfinite(places).all():
        return begin
    if start is None:
        return places
    places *= begin.std() / max(places.std(), 1e-12)  # umap-learn stretches any start to its own scale
    return align(places, begin)


ENGINES = {"own": umap_layout, "umap-learn": umap_learn_layout}


def graph(ids: np.ndarray, distances: np.ndarray, epochs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """UMAP's fuzzy graph, both directions of each edge: heads and tails int32 (E,), and every how many epochs it pulls.

    Edges that would not pull within `epochs` are left out.
    """
    from scipy.sparse import csr_array

    n, k = len(ids), min(ids.shape[1], NEIGHBOURS - 1)
    rows = np.arange(0, n * k + 1, k)
    one_way = csr_array((memberships(distances[:, :k]).ravel(), ids[:, :k].ravel(), rows), shape=(n, n))
    both = one_way + one_way.T - one_way * one_way.T
    both = both.tocoo()
    every = both.data.max() / np.maximum(both.data, 1e-12)
    kept = every <= epochs
    heads, tails = (side[kept].astype(np.int32) for side in both.coords)
    return heads, tails, every[kept].astype(np.float32)


def memberships(distances: np.ndarray) -> np.ndarray:
    """How much each neighbour belongs to a point, (N, k) in 0..1: 1 for its nearest, falling by exp(-gap / width).

    The width is found by halving, so that the row sums to log2(k + 1) (UMAP, algorithm 3).
    """
    distances = distances.astype(np.float32)
    k = distances.shape[1]
    first = np.where(distances > 0, distances, np.inf).min(1, keepdims=True)
    gaps = np.maximum(distances - np.where(np.isfinite(first), first, 0), 0)
    low, high = np.zeros((len(gaps), 1), np.float32), 10 * gaps.max(1, keepdims=True) + np.float32(1e-12)
    for _ in range(30):
        width = (low + high) / 2
        wide = np.exp(-gaps / width).sum(1, keepdims=True) > np.log2(k + 1)
        low, high = np.where(wide, low, width), np.where(wide, width, high)
    least = 1e-3 * distances.mean(1, keepdims=True) * k / (k + 1)  # umap-learn's floor, of a mean with the point itself
    return np.exp(-gaps / np.maximum(width, least + np.float32(1e-12)))


def _compiled(function: Callable) -> Callable:
    """By numba, kept on disk for the next process where there is a folder for it."""
    try:
        return numba.njit(fastmath=True, cache=True)(function)
    except RuntimeError:  # neither this folder nor the user's own can be written
        return numba.njit(fastmath=True)(function)


@_compiled
def _walk(places, heads, tails, every, due, first, last, epochs, rate, state):
    """Epochs `first` to `last` of UMAP's walk, in place: edges pull when they are due, and chance points push.

    How alike two places count is 1 / (1 + a d^2b) with b = 3/4, which needs roots instead of powers. umap-learn's own b
    is 0.9, or 0.79 without a minimal distance. On 10,000 photos this keeps 0.19 of the true neighbours and umap-learn as
    it comes 0.12 (tests/benchmarks/results/map_speed.json). All pushes of a pull are taken from the same place, so that they can be computed side by side.
    The step falls with the square of what is left. Returns the state of the random numbers (Knuth's MMIX).
    """
    one, bound, a, twice_b = np.float32(1), np.float32(4), np.float32(CURVE), np.float32(2 * 0.75)
    tiny, close = np.float32(1e-12), np.float32(1e-3)
    for epoch in range(first, last):
        step = rate * (one - np.float32(epoch) / np.float32(epochs)) ** 2
        for edge in range(len(heads)):
            if due[edge] > epoch:
                continue
            due[edge] += every[edge]
            i, j = heads[edge], tails[edge]
            x, y = places[i, 0], places[i, 1]
            dx, dy = x - places[j, 0], y - places[j, 1]
            square = max(dx * dx + dy * dy, tiny)
            root = np.sqrt(square)
            power = a * root * np.sqrt(root)
            pull = -twice_b * power / (square * (one + power))
            move_x, move_y = min(max(pull * dx, -bound), bound), min(max(pull * dy, -bound), bound)
            places[j, 0] -= step * move_x
            places[j, 1] -= step * move_y
            for _ in range(NEGATIVES):
                state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
                other = np.int64((state >> np.uint64(32)) * np.uint64(len(places)) >> np.uint64(32))
                dx, dy = x - places[other, 0], y - places[other, 1]
                square = dx * dx + dy * dy
                root = np.sqrt(square)
                push = twice_b / ((close + square) * (one + a * root * np.sqrt(root)))
                move_x += min(max(push * dx, -bound), bound)
                move_y += min(max(push * dy, -bound), bound)
            places[i, 0] = x + step * move_x
            places[i, 1] = y + step * move_y
    return state


def _walked(*given):
    """`_walk`, compiled anew where what was kept of it on disk is damaged."""
    global _walk
    try:
        return _walk(*given)
    except (EOFError, OSError, ValueError, AttributeError, ImportError, pickle.UnpicklingError):
        _walk = numba.njit(fastmath=True)(_walk.py_func)
        return _walk(*given)


def align(places: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Turns, mirrors and moves `places` onto `onto` (orthogonal Procrustes); distances stay as they are."""
    a, b = places - places.mean(0), onto - onto.mean(0)
    left, _, right = np.linalg.svd(a.T @ b)
    return (a @ (left @ right) + onto.mean(0)).astype(np.float32)


def place(new: np.ndarray, vectors: np.ndarray, places: np.ndarray, k: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """Where new pictures land on a map that stays as it is: places (M, 2) float32 and their true neighbours, ids (M, k).

    Each lands where most of its k neighbours gather: on the one with most of the others around it, then moved to the
    weighted mean of those that are close (mean shift). A plain mean would fall into the gaps between groups. A copy
    lands on its original.
    """
    bank, queries = torch.from_numpy(unit(vectors.astype(np.float32))), torch.from_numpy(unit(new.astype(np.float32)))
    k = min(k, len(bank))
    found = [top(part @ bank.T, k) for part in queries.split(256)]
    ids = torch.cat([where for _, where in found]).numpy()
    distances = (1 - torch.cat([best for best, _ in found])).clamp_(0).numpy()
    around, weight = places[ids], memberships(distances)
    apart = ((around[:, :, None] - around[:, None]) ** 2).sum(3)
    crowd = (weight[:, None] / (1 + apart / GATHER**2)).sum(2)
    spots = around[np.arange(len(around)), crowd.argmax(1)]
    for _ in range(10):
        far = ((around - spots[:, None]) ** 2).sum(2)
        pull = weight / (1 + far / GATHER**2) ** 2
        spots = (pull[:, :, None] * around).sum(1) / pull.sum(1, keepdims=True)
    copies = distances[:, 0] < 1e-5
    spots[copies] = around[copies, 0]
    return spots.astype(np.float32), ids


def agreement(first: np.ndarray, second: np.ndarray, k: int = 15, sample: int = 2000) -> float:
    """Mean share, 0..1, of a picture's k nearest neighbours that two encoders' vectors have in common.

    Of at most `sample` pictures, each among all. Chance is k / (N - 1).
    """
    rows = np.sort(np.random.default_rng(0).permutation(len(first))[:sample])
    one, other = (neighbours(vectors, k, rows=rows)[0] for vectors in (first, second))
    return float((one[:, :, None] == other[:, None]).any(2).mean()) if one.size else 1.0


def doubtful(
    vectors: np.ndarray, places: np.ndarray, k: int = NEIGHBOURS - 1, *, near: Near | None = None
) -> np.ndarray:
    """How little a point's neighbours on the map say of its picture, (N,) float32 in 0..1.

    1 - (m - a) / (t - a), where m is the mean cosine with its k neighbours on the map, t that with its k true ones, and
    a that with all others. At 0 those beside it on the map are as alike as any can be, at 1 no more alike than chance.
    `near`: the true neighbours where the caller has them; k is not more than it has.
    """
    from scipy.spatial import cKDTree

    n = len(vectors)
    k = min(k, n - 1)
    if k < 1:
        return np.zeros(n, np.float32)
    near = nearest(vectors, k) if near is None else near
    k = min(k, near[1].shape[1])
    x = unit(vectors.astype(np.float32))
    found = cKDTree(places).query(places, k + 1)[1]
    beside = found != np.arange(n)[:, None]
    beside[beside.all(1), -1] = False  # of points at one place, which need not find themselves
    beside = found[beside].reshape(n, k)
    beside_cosine = np.stack([np.einsum("nd,nd->n", x, x[column]) for column in beside.T], 1).mean(1)
    true_cosine = 1 - near[1][:, :k].mean(1)
    usual = (x @ x.sum(0) - np.einsum("nd,nd->n", x, x)) / (n - 1)
    lost = (true_cosine - beside_cosine) / np.maximum(true_cosine - usual, 1e-6)
    return np.clip(lost, 0, 1).astype(np.float32)


def trustworthiness(vectors: np.ndarray, places: np.ndarray, k: int = 15, sample: int = 2000) -> float:
    """Share of map neighbours that are true ones, weighted by rank (Venna and Kaski 2001), on at most `sample` pictures."""
    from sklearn.manifold import trustworthiness as measure

    rows = np.random.default_rng(0).permutation(len(vectors))[:sample]
    k = min(k, (len(rows) - 1) // 2)
    return float(measure(vectors[rows], places[rows], n_neighbors=k, metric="cosine")) if k >= 1 else 1.0


class MapWorker:
    """A process that has torch and numba loaded and compiled, and makes one map at a time. Call it from any thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.process = None
        self.name = uuid.uuid4().hex  # of its exchange files: apps may share a home

    def start(self) -> None:
        """Starts loading and compiling now, without waiting for it."""
        with self.lock:
            self._start()

    def _start(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "byolmeta.image_map"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=Path(__file__).parent.parent,
                # beside a training, threads that wait by spinning take several times as long
                env={"OMP_WAIT_POLICY": "PASSIVE"} | os.environ,
            )

    def layout(
        self,
        vectors: np.ndarray,
        start: np.ndarray | None,
        folder: Path,
        seed: int = 0,
        *,
        near: Near | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """`umap_layout` made in the worker; `folder` holds the exchange files meanwhile.

        Raises RuntimeError if the worker dies or refuses; the next call starts another one. What `progress` raises ends
        the worker's task and comes out here: so a caller gives up.
        """
        arrays = {"vectors": vectors, "start": start} | ({} if near is None else {"ids": near[0], "distances": near[1]})
        with self.lock:
            self._start()
            folder = folder.resolve()  # the worker has another working folder
            folder.mkdir(parents=True, exist_ok=True)
            source, out = folder / f"{self.name}-in.npz", folder / f"{self.name}-out.npy"
            try:
                np.savez(source, **{name: array for name, array in arrays.items() if array is not None})
                answer = self._ask({"in": str(source), "out": str(out), "seed": seed}, progress)
                if "error" in answer:
                    raise RuntimeError(f"The map process failed: {answer['error']}")
                return np.load(out)
            finally:
                source.unlink(missing_ok=True)
                out.unlink(missing_ok=True)

    def _ask(self, task: dict, progress: Progress | None) -> dict:
        """The worker's last word on a task. Where the caller gives up, the worker ends, so that no late answer is left."""
        try:
            print(json.dumps(task), file=self.process.stdin, flush=True)
            for line in self.process.stdout:
                answer = json.loads(line)
                if "done" not in answer:
                    return answer
                if progress:
                    progress(answer["done"], 100)
        except BrokenPipeError:  # it died before it could be asked
            pass
        except BaseException:
            self.close()
            raise
        self.close()
        return {"error": "it ended"}

    def close(self) -> None:
        """Ends the process, also from another thread in the middle of a map."""
        if self.process:
            self.process.kill()
            self.process.wait()


def _serve() -> None:
    umap_layout(np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32))  # compiles while the user sees PCA
    for line in sys.stdin:
        task = json.loads(line)
        try:
            with np.load(task["in"]) as file:
                arrays = dict(file)
            near = (arrays["ids"], arrays["distances"]) if "ids" in arrays else None
            places = umap_layout(arrays["vectors"], arrays.get("start"), task["seed"], near=near, progress=_say)
            replace_file(Path(task["out"]), lambda path, places=places: _save(path, places))
            answer = {"points": len(places)}
        except Exception as problem:  # the worker lives on; the caller shows it
            answer = {"error": repr(problem)}
        print(json.dumps(answer), flush=True)


def _say(done: int, of: int) -> None:
    print(json.dumps({"done": done}), flush=True)


def _save(path: Path, places: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, places)


if __name__ == "__main__":
    _serve()
