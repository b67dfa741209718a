"""Where practice gets its tasks from: classes that folders name, or pretend classes that need no labels.

Pretend classes are clusters of the vectors, several clusterings at once (CACTUs, Hsu et al. 2019, arXiv 1810.02334), and
single pictures whose random views stand for their examples (UMTRA, Khodadadeh et al. 2019, arXiv 1811.11819). Each is a way
to part rows of a bank into classes, so one drawing of tasks serves all of them.
"""

import numpy as np

from byolmeta.episodes import Tasks, deal, draw_distinct, stack
from byolmeta.errors import InputError
from byolmeta.features import unit

CLUSTERINGS = 24
SIZES = 8, 40  # pictures in a cluster, on average: fewest and most of the clusterings
PARTS = 0.6, 0.2  # shares to practise on and to choose by; the rest judges
ENOUGH = 100  # classes to choose or to judge by: with many, the others are better practised on
COARSE = 30  # clusters that are kept whole when pictures are parted


class Puzzles:
    """Ways to part rows into classes; every task takes one of them."""

    def __init__(self, partitions: list[tuple[np.ndarray, ...]], copies: np.ndarray):
        self.partitions = partitions  # each: the rows of its classes
        self.copies = copies  # by row, the same number for near copies
        self._large: dict[int, list] = {}

    def classes(self, size: int) -> int:
        """How many classes of at least `size` different pictures the richest partition has."""
        return max(map(len, self._of(size)), default=0)

    def draw(self, random: np.random.Generator, tasks: int, way: int, shot: int, query: int) -> Tasks:
        """Tasks of one size. Classes get their numbers by chance, and no picture is a copy of another of its class.

        Raises InputError when no partition has `way` classes of shot + query different pictures.
        """
        partitions = [p for p in self._of(shot + query) if len(p) >= way]
        if not partitions:
            raise InputError(
                f"Puzzles of {way} classes with {shot} examples and {query} questions each cannot be made of these pictures: at "
                f"most {self.classes(shot + query)} classes are large enough. Add pictures, or ask for fewer."
            )
        made = []
        for _ in range(tasks):
            classes = partitions[random.integers(len(partitions))]
            chosen = random.choice(len(classes), way, replace=False)
            made.append(deal([draw_distinct(classes[c], self.copies, shot + query, random) for c in chosen], shot))
        return stack(made)

    def _of(self, size: int) -> list[list[np.ndarray]]:
        """The partitions, without classes of fewer different pictures."""
        if size not in self._large:
            self._large[size] = [
                [rows for rows in p if len(rows) >= size and len(np.unique(self.copies[rows])) >= size]
                for p in self.partitions
            ]
        return self._large[size]


def of_labels(labels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, ...]:
    """The partition that folders name, for some of the classes."""
    return tuple(np.flatnonzero(labels == c) for c in classes)


def split_classes(labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """Classes to practise on, to choose by and to judge by: no class is in two. InputError for fewer than six."""
    classes = np.unique(labels[labels >= 0])
    if len(classes) < 6:
        raise InputError(
            f"Practice on class folders needs at least 6 of them, two each to practise on, to choose by and to judge by; "
            f"here are {len(classes)}. Practise without labels instead (--tasks pseudo)."
        )
    order = np.random.default_rng(seed).permutation(classes)
    held = min(ENOUGH, max(2, round(PARTS[1] * len(order))))
    return [order[: -2 * held], order[-2 * held : -held], order[-held:]]


def split_pictures(vectors: np.ndarray, copies: np.ndarray, seed: int) -> list[np.ndarray]:
    """Ids to practise on, to choose by and to judge by, parted between clusters: pretend classes held back are new.

    Near copies (the same number in `copies`) are in one part. Some parts are empty when hardly any pictures differ.
    """
    clusters = _kmeans(unit(vectors), min(COARSE, max(3, len(vectors) // 20)), seed)
    if len(np.unique(clusters)) < 3:  # pictures that are nearly all alike
        clusters = np.arange(len(vectors))
    order = np.random.default_rng(seed).permutation(np.unique(clusters))
    reached = np.cumsum([(clusters == c).mean() for c in order])
    first = int(np.clip(np.searchsorted(reached, PARTS[0]) + 1, 1, len(order) - 2))
    second = int(np.clip(np.searchsorted(reached, sum(PARTS)) + 1, first + 1, len(order) - 1))
    part = np.empty(len(vectors), int)
    for number, chosen in enumerate(np.split(order, [first, second])):
        part[np.isin(clusters, chosen)] = number
    leaders, members = np.unique(copies, return_index=True, return_inverse=True)[1:]
    part = part[leaders][members]
    return [np.flatnonzero(part == number) for number in range(3)]


def of_clusters(vectors: np.ndarray, ids: np.ndarray, seed: int, count: int = CLUSTERINGS) -> list[tuple[np.ndarray, ...]]:
    """`count` partitions of some pictures by k-means, each in its own random stretching of the space and of its own size."""
    random, x = np.random.default_rng(seed), unit(vectors[ids])
    found = []
    for size in np.geomspace(*SIZES, count if len(ids) else 0):
        k = int(np.clip(len(ids) / size, 2, 1000))
        stretched = x * random.uniform(0.0, 1.0, x.shape[1]).astype(np.float32)
        clusters = _kmeans(stretched, min(k, len(ids)), int(random.integers(2**31)))
        found.append(tuple(ids[clusters == c] for c in range(clusters.max() + 1)))
    return found


def of_twins(ids: np.ndarray, copies: np.ndarray, pictures: int, views: int) -> tuple[np.ndarray, ...]:
    """The partition whose classes are single pictures: the rows of their views, id + pictures * 1 .. views. Of near copies
    one picture takes part."""
    ids = ids[np.unique(copies[ids], return_index=True)[1]]
    return tuple(i + pictures * np.arange(1, views + 1) for i in ids)


def _kmeans(x: np.ndarray, k: int, seed: int) -> np.ndarray:
    """The cluster of each row, int (N,)."""
    from sklearn.cluster import MiniBatchKMeans

    return MiniBatchKMeans(k, batch_size=1024, n_init=1, max_iter=30, random_state=seed % 2**32).fit_predict(x)
