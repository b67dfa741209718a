"""Our map against umap-learn as it comes: seconds, memory and how well true neighbours are kept; and new pictures.

    python -m byolmeta embed photos-small PICTURES.zip --out VECTORS.npz
    python tests/benchmarks/map_speed.py VECTORS.npz [MORE.npz ...]

Files follow each other, and a size takes that many vectors from their beginning. Plain is `umap.UMAP(metric="cosine").fit`.
Arms take turns, each time in a process of its own, which makes the map twice. `cold` counts from the start of the process,
with what earlier processes compiled and kept on disk (umap-learn keeps some as well); `first`, of ours only, without it;
`warm` is the second map. Processor seconds are of all threads: others on the machine disturb them less than those of the clock.
How neighbours are kept is taken over some pictures, each among all: trustworthiness (Venna and Kaski 2001) and the share
of the 15 nearest on the map that are true ones.

New pictures: as many as are held out land on a map of the others, by ours, by the weighted mean and by umap-learn's transform
on its own map; and how far from where they lie, by the map's mean radius, in a map of all that is turned onto it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
import numpy as np
from machine import about

RESULT = Path(__file__).parent / "results" / "map_speed.json"
K = 15
ROWS = 1000  # pictures that the figures of quality are taken over
PACKAGES = ("numpy", "scipy", "torch", "numba", "umap-learn", "pynndescent")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path, nargs="+", help="npz files of `byolmeta embed`")
    parser.add_argument("--sizes", default="2000,10000,50000")
    parser.add_argument("--rounds", default="5,3,1", help="of each size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--new", type=int, default=500, help="pictures that are held out")
    parser.add_argument("--out", type=Path, default=RESULT)
    flags = parser.parse_args()
    found = about(PACKAGES) | {
        "threads": flags.threads,
        "rows_of_quality": ROWS,
        "k": K,
        "vectors": [path.stem for path in flags.vectors],
    }
    found |= {"maps": [], "ours_by_part": [], "new_pictures": []}
    vectors = np.concatenate([np.load(path)["vectors"].astype(np.float32) for path in flags.vectors])
    for size, rounds in zip(map(int, flags.sizes.split(",")), map(int, flags.rounds.split(",")), strict=True):
        if size + flags.new > len(vectors) and size > len(vectors):
            sys.exit(f"There are {len(vectors):,} vectors, {size:,} are asked for. Name more files, or other --sizes.")
        found["maps"] += compared(vectors[:size], rounds, flags.threads)
        found["ours_by_part"].append(by_part(vectors[:size]))
        if size + flags.new <= len(vectors) and size <= 10_000:
            found["new_pictures"].append(new_pictures(vectors[:size], vectors[size : size + flags.new]))
        found["load_after"] = round(os.getloadavg()[0], 2)
        flags.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def compared(vectors: np.ndarray, rounds: int, threads: int) -> list[dict]:
    """A row for each arm and kind of start."""
    runs = {"ours": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "vectors.npy", vectors)
        first = child("ours", Path(folder), threads, NUMBA_CACHE_DIR=str(Path(folder) / "cache"))
        child("ours", Path(folder), threads)  # so that what can be kept on disk is there
        for _ in range(rounds):
            for arm, each in runs.items():
                each.append(child(arm, Path(folder), threads) | quality(vectors, np.load(Path(folder) / "places.npy")))
    rows = [{"pictures": len(vectors), "arm": "ours", "start": "first", "seconds": first["cold"],
             "processor_seconds": first["cold_processor"]}]  # fmt: skip
    for start in ("cold", "warm"):
        for arm, each in runs.items():
            rows.append({"pictures": len(vectors), "arm": arm, "start": start, "rounds": rounds,
                         **middle("seconds", [run[start] for run in each]),
                         **middle("processor_seconds", [run[f"{start}_processor"] for run in each]),
                         **{name: round(statistics.median(run[name] for run in each), 4) for name in
                            ("trustworthiness", "neighbours_kept", "peak_gib")}})  # fmt: skip
            if arm == "plain":
                for unit, key in (("ours_is_times", start), ("ours_is_times_by_processor", f"{start}_processor")):
                    ratios = [theirs[key] / ours[key] for ours, theirs in zip(*runs.values(), strict=True)]
                    rows[-1] |= middle(unit, ratios)
    for row in rows:
        print(row, flush=True)
    return rows


def middle(name: str, values: list[float]) -> dict:
    """Median and spread."""
    return {name: round(statistics.median(values), 2), f"{name}_spread": [round(min(values), 2), round(max(values), 2)]}


def child(arm: str, folder: Path, threads: int, **settings: str) -> dict:
    """Seconds of a new process that makes two maps."""
    counts = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    counts["OMP_WAIT_POLICY"] = "PASSIVE"  # as MapWorker has it
    code = f"import sys; sys.path[:0] = {[str(ROOT), str(Path(__file__).parent)]}; import map_speed; map_speed.work()"
    words = [sys.executable, "-c", code, arm, str(folder), str(time.time())]
    done = subprocess.run(words, env=os.environ | counts | settings, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def work() -> None:
    """In the process of an arm: two maps of FOLDER/vectors.npy, the seconds of both, and the peak of memory."""
    arm, folder, begun = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    vectors = np.load(folder / "vectors.npy")
    if arm == "ours":
        from byolmeta.image_map import umap_layout as layout
    else:
        layout = plain
    found = {}
    layout(vectors)
    found["cold"], found["cold_processor"] = time.time() - begun, time.process_time()
    clock, processor = time.perf_counter(), time.process_time()
    places = layout(vectors)
    found["warm"], found["warm_processor"] = time.perf_counter() - clock, time.process_time() - processor
    status = Path("/proc/self/status").read_text().split()
    found["peak_gib"] = int(status[status.index("VmHWM:") + 1]) / 2**20
    np.save(folder / "places.npy", places)
    print(json.dumps(found))


def plain(vectors: np.ndarray) -> np.ndarray:
    import umap

    warnings.simplefilter("ignore")
    return umap.UMAP(metric="cosine").fit(vectors).embedding_


def quality(vectors: np.ndarray, places: np.ndarray) -> dict:
    """How well a map keeps neighbours: of some pictures, each among all."""
    rows = np.random.default_rng(0).permutation(len(vectors))[:ROWS]
    beside = nearest_places(places, places[rows], K + 1)
    own = beside == rows[:, None]
    own[~own.any(1), -1] = True  # of points at one place, which need not find themselves
    return ranked(vectors, vectors[rows], beside[~own].reshape(-1, K), rows)


def nearest_places(places: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    from scipy.spatial import cKDTree

    return cKDTree(places).query(queries, k)[1]


def ranked(vectors: np.ndarray, queries: np.ndarray, beside: np.ndarray, rows: np.ndarray | None = None) -> dict:
    """Figures of the K pictures beside each query on a map, (Q, K), by their true ranks among all vectors."""
    from byolmeta.features import unit

    cosine = unit(queries) @ unit(vectors).T
    if rows is not None:
        cosine[np.arange(len(rows)), rows] = -2
    found = np.take_along_axis(cosine, beside, 1)
    ranks = 1 + np.stack([(cosine > column[:, None]).sum(1) for column in found.T], 1)
    n = len(vectors)
    lost = np.maximum(ranks - K, 0).sum() * 2 / (len(queries) * K * (2 * n - 3 * K - 1))
    return {"trustworthiness": round(float(1 - lost), 4), "neighbours_kept": round(float((ranks <= K).mean()), 4)}


def seconds_of(task, times: int = 5) -> tuple[dict, object]:
    """Median seconds of the clock and of the processor, and what the task answers; once before, to warm up."""
    answer, clocks, processors = task(), [], []
    for _ in range(times):
        clock, processor = time.perf_counter(), time.process_time()
        task()
        clocks.append(time.perf_counter() - clock)
        processors.append(time.process_time() - processor)
    return {"seconds": round(statistics.median(clocks), 4),
            "processor_seconds": round(statistics.median(processors), 4)}, answer  # fmt: skip


def by_part(vectors: np.ndarray) -> dict:
    """Where the seconds of ours go, warm, on one thread."""
    import torch

    from byolmeta import image_map

    torch.set_num_threads(1)
    image_map.umap_layout(vectors[:100])
    times = 5 if len(vectors) <= 10_000 else 1
    row = {"pictures": len(vectors)}
    row["first_positions"], places = seconds_of(lambda: image_map.pca_layout(vectors), 5)
    row["neighbours"], near = seconds_of(lambda: image_map.nearest(vectors), times)
    row["graph"], _ = seconds_of(lambda: image_map.graph(*near, image_map.EPOCHS), times)
    row["positions_and_graph_and_walk"], places = seconds_of(lambda: image_map.umap_layout(vectors, near=near), times)
    row["doubtful_points"], _ = seconds_of(lambda: image_map.doubtful(vectors, places, near=near), times)
    row["hundred_new_pictures"], _ = seconds_of(lambda: image_map.place(vectors[:100], vectors, places))
    print(row, flush=True)
    return row


def new_pictures(vectors: np.ndarray, new: np.ndarray) -> dict:
    """Where held-out pictures land, three ways."""
    import umap

    from byolmeta import image_map

    warnings.simplefilter("ignore")
    places, joint = image_map.umap_layout(vectors), image_map.umap_layout(np.concatenate([vectors, new]))
    model = umap.UMAP(metric="cosine").fit(vectors)
    theirs_joint = plain(np.concatenate([vectors, new]))
    spots, ids = image_map.place(new, vectors, places, K)
    cosine = image_map.unit(new) @ image_map.unit(vectors).T
    weight = image_map.memberships(1 - np.take_along_axis(cosine, ids, 1))[:, :, None]
    mean = (weight * places[ids]).sum(1) / weight.sum(1)
    arms = {"ours": (spots, places, joint, lambda: image_map.place(new[:100], vectors, places)),
            "weighted mean": (mean, places, joint, None),
            "umap-learn's transform": (model.transform(new), model.embedding_, theirs_joint,
                                       lambda: model.transform(new[:100]))}  # fmt: skip
    rows = []
    for name, (found, base, together, task) in arms.items():
        row = {"arm": name, **ranked(vectors, new, nearest_places(base, found, K)), **from_joint(found, base, together)}
        rows.append(row | ({"hundred": seconds_of(task)[0]} if task else {}))
        print(rows[-1], flush=True)
    return {"pictures": len(vectors), "held_out": len(new), "rows": rows}


def from_joint(found: np.ndarray, base: np.ndarray, together: np.ndarray) -> dict:
    """How far, by the map's mean radius, new pictures lie from where a map of all has them, and old ones from there.

    That map is turned onto the base by the old pictures.
    """
    old = together[: len(base)]
    a, b = old - old.mean(0), base - base.mean(0)
    left, _, right = np.linalg.svd(a.T @ b)
    there = (together - old.mean(0)) @ (left @ right) + base.mean(0)
    moved = np.linalg.norm(np.concatenate([base, found]) - there, axis=1) / np.linalg.norm(b, axis=1).mean()
    return {"from_joint_map": round(float(moved[len(base) :].mean()), 3),
            "old_from_joint_map": round(float(moved[: len(base)].mean()), 3)}  # fmt: skip


if __name__ == "__main__":
    main()
