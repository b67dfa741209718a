"""The map: vectors to places in the plane. PCA at once, then UMAP (McInnes et al. 2018) from there.

The neighbours are exact, by matrix product, and handed to umap-learn with PCA (or the earlier map) as the start:
several times faster than its own search at equal trustworthiness, and mostly without its compiling.
umap and numba take seconds to load, so `MapWorker` keeps them in a process of its own.
"""

import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np

from byolmeta.features import neighbours, unit
from byolmeta.files import replace_file

NEIGHBOURS = 15
TEN = 10.0  # UMAP's own scale of a start


def pca_layout(vectors: np.ndarray) -> np.ndarray:
    """First two principal components of the unit vectors, (N, 2) float32, centred, largest side about 20."""
    x = unit(vectors.astype(np.float32))
    x = x - x.mean(0)
    sample = x[np.linspace(0, len(x) - 1, min(len(x), 5000)).astype(int)]
    axes = np.linalg.svd(sample, full_matrices=False)[2][:2]
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]  # svd leaves the sign open
    places = np.zeros((len(x), 2), np.float32)
    places[:, : len(axes)] = x @ axes.T
    return places / max(np.abs(places).max(), 1e-12) * TEN


def umap_layout(vectors: np.ndarray, start: np.ndarray | None = None, seed: int | None = None) -> np.ndarray:
    """UMAP positions (N, 2) float32 from exact cosine neighbours, starting at `start` (else PCA).

    With a start the result is turned and moved onto it, so that pictures do not jump. A seed makes it repeatable
    and slower (umap-learn then uses one thread). Fewer than 5 pictures stay where PCA puts them.
    """
    n = len(vectors)
    begin = pca_layout(vectors) if start is None else start.astype(np.float32)
    if len(begin) != n:  # umap-learn would read beyond its memory
        raise ValueError(f"The start has {len(begin)} places for {n} vectors.")
    if n < 5:
        return begin
    centred = begin - begin.mean(0)
    import umap

    warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)  # no new points are placed by this model

    k = min(NEIGHBOURS, n - 1)
    ids, distances = neighbours(vectors, k - 1 if k > 2 else k)
    ids = np.column_stack([np.arange(n), ids])  # umap-learn counts a point as its own first neighbour
    distances = np.column_stack([np.zeros(n, np.float32), distances])
    noise = np.random.default_rng(0).normal(scale=1e-3, size=begin.shape).astype(np.float32)  # splits equal points
    model = umap.UMAP(
        n_neighbors=ids.shape[1],
        precomputed_knn=(ids, distances),
        force_approximation_algorithm=True,
        init=centred / max(np.abs(centred).max(), 1e-12) * TEN + noise,
        # From an earlier map: short and gentle. On 600 photos before and after a study the mean jump was 0.28 of the
        # map's radius instead of 0.44 with a full run, at a trustworthiness of 0.942 instead of 0.949 (unmoved: 0.900).
        n_epochs=80 if start is not None else 300 if n <= 5000 else 200,
        learning_rate=0.1 if start is not None else 1.0,
        min_dist=0.1,
        random_state=seed,
        n_jobs=1 if seed is not None else -1,
    )
    places = np.asarray(model.fit_transform(unit(vectors)), np.float32)
    if not np.isfinite(places).all():
        return begin
    if start is None:
        return places
    places *= begin.std() / max(places.std(), 1e-12)  # umap-learn stretches any start to its own scale
    return align(places, begin)


def align(places: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Turns, mirrors and moves `places` onto `onto` (orthogonal Procrustes); distances stay as they are."""
    a, b = places - places.mean(0), onto - onto.mean(0)
    left, _, right = np.linalg.svd(a.T @ b)
    return (a @ (left @ right) + onto.mean(0)).astype(np.float32)


def trustworthiness(vectors: np.ndarray, places: np.ndarray, k: int = 15, sample: int = 2000) -> float:
    """Share of map neighbours that are true ones, weighted by rank (Venna and Kaski 2001), on at most `sample` pictures."""
    from sklearn.manifold import trustworthiness as measure

    rows = np.random.default_rng(0).permutation(len(vectors))[:sample]
    k = min(k, (len(rows) - 1) // 2)
    return float(measure(vectors[rows], places[rows], n_neighbors=k, metric="cosine")) if k >= 1 else 1.0


class MapWorker:
    """A process that has umap loaded and compiled, and makes one map at a time. Call `layout` from any thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.process = None

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
            )

    def layout(
        self, vectors: np.ndarray, start: np.ndarray | None, folder: Path, seed: int | None = None
    ) -> np.ndarray:
        """UMAP positions made in the worker; `folder` holds the exchange files. Raises RuntimeError if it dies."""
        with self.lock:
            self._start()
            folder = folder.resolve()  # the worker has another working folder
            source, out = (
                folder / f"{os.getpid()}-in.npz",
                folder / f"{os.getpid()}-out.npy",
            )  # two apps may share a home
            folder.mkdir(parents=True, exist_ok=True)
            arrays = {"vectors": vectors} | ({} if start is None else {"start": start})
            np.savez(source, **arrays)
            try:
                print(
                    json.dumps({"in": str(source), "out": str(out), "seed": seed}), file=self.process.stdin, flush=True
                )
                answer = self.process.stdout.readline()
            except BrokenPipeError:
                answer = ""
            if not answer:
                self.close()  # the next call starts another one
            if not answer or "error" in json.loads(answer):
                raise RuntimeError(f"The map process failed: {answer or 'it ended'}")
            return np.load(out)

    def close(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


def _serve() -> None:
    umap_layout(
        np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    )  # compiles while the user looks at PCA
    for line in sys.stdin:
        task = json.loads(line)
        try:
            with np.load(task["in"]) as file:
                places = umap_layout(file["vectors"], file["start"] if "start" in file else None, task["seed"])
            replace_file(Path(task["out"]), lambda path, places=places: _save(path, places))
            answer = {"points": len(places)}
        except Exception as problem:  # the worker lives on; the caller shows it
            answer = {"error": repr(problem)}
        print(json.dumps(answer), flush=True)


def _save(path: Path, places: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, places)


if __name__ == "__main__":
    _serve()
