"""Where practice gets its tasks from: classes that folders name, or pretend classes that need no labels.

Pretend classes are clusters of the vectors, several clusterings at once (CACTUs, Hsu et al. 2019, arXiv 1810.02334), and
single pictures whose random views stand for their examples (UMTRA, Khodadadeh et al. 2019, arXiv 1811.11819). Each is a way
to part rows of a bank into classes, so one drawing of tasks serves all of them.
"""

from dataclasses import dataclass

import numpy as np

from byolmeta.episodes import Tasks, deal, draw_distinct, stack
from byolmeta.errors import InputError
from byolmeta.features import unit
from byolmeta.images import ImageStore
from byolmeta.settings import MetatrainConfig

CLUSTERINGS = 24
SIZES = 8, 40  # pictures in a cluster, on average: fewest and most of the clusterings
PARTS = 0.6, 0.2  # shares to practise on and to choose by; the rest judges
FEWEST = 30  # pictures to make puzzles of without labels
ENOUGH = 100  # classes to choose or to judge by: with many, the others are better practised on
SHOTS = 1, 5  # examples of each class at which puzzles are judged when no number is asked for
LOOKED = 200  # puzzles of each number of examples that choose when to end
SLOW = 5  # so many times fewer for maml, which adapts the whole network to each
TWINS = 1500, 300  # pictures whose views make puzzles: to practise on, and to choose or judge by
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


@dataclass(frozen=True)
class Judges:
    """Puzzles of each number of examples to choose or to judge by, the same at every look; their tasks count in `rows`."""

    rows: np.ndarray  # int64, sorted
    tasks: dict[int, Tasks]  # by examples of each class

    def accuracies(self, answers) -> np.ndarray:
        """Of every puzzle, those of fewer examples first; answers(tasks) are the classes said, (B, m)."""
        return np.concatenate([(answers(one) == one.query_labels).mean(1) for one in self.tasks.values()])


class Pupils:
    """Puzzles to practise on."""

    def __init__(self, source: Puzzles, config: MetatrainConfig):
        way = config.train_way or config.way
        shots = [config.shot] if config.shot else range(SHOTS[0], SHOTS[1] + 1)
        self.source = source
        self.sizes = [s for s in (_size(source, way, shot, config.query) for shot in shots) if s]
        if not self.sizes:
            source.draw(np.random.default_rng(0), 1, 2, shots[0], 1)  # says what is missing
        self.rows = np.unique(np.concatenate([rows for p in source.partitions for rows in p]))

    def draw(self, random: np.random.Generator, config: MetatrainConfig) -> Tasks:
        """Tasks of one size, which count in `rows`."""
        return self.source.draw(random, config.batch, *self.sizes[random.integers(len(self.sizes))]).among(self.rows)


def of_labels(labels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, ...]:
    """The partition that folders name, for some of the classes."""
    return tuple(np.flatnonzero(labels == c) for c in classes)


def of_one_class(labels: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """The labels (N,), without (-1) those of pictures that have a near copy in another class."""
    members = np.unique(copies, return_inverse=True)[1]
    lowest, highest = (np.full(members.max(initial=-1) + 1, start) for start in (np.iinfo(np.int64).max, -1))
    np.minimum.at(lowest, members, labels)
    np.maximum.at(highest, members, labels)
    return np.where((lowest == highest)[members], labels, -1)


def split_classes(labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """Classes to practise on, to choose by and to judge by: no class is in two. InputError for fewer than six."""
    classes = np.unique(labels[labels >= 0])
    if len(classes) < 6:
        raise InputError(
            f"Practice on class folders needs at least 6 of them (2 to practise on, 2 to choose by, 2 to judge by); found "
            f"{len(classes)}. Practise on the pictures alone instead (--tasks pseudo)."
        )
    order = np.random.default_rng(seed).permutation(classes)
    held = min(ENOUGH, max(2, round(PARTS[1] * len(order))))
    return [order[: -2 * held], order[-2 * held : -held], order[-held:]]


def split_pictures(vectors: np.ndarray, copies: np.ndarray, seed: int) -> list[np.ndarray]:
    """Ids to practise on, to choose by and to judge by, parted between clusters: pretend classes held back are new.

    Near copies (the same number in `copies`) are in one part. Some parts are empty when hardly any pictures differ.
    Raises InputError for fewer than FEWEST.
    """
    if len(vectors) < FEWEST:
        raise InputError(f"Puzzles need at least {FEWEST} pictures; here are {len(vectors)}. Add pictures.")
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


def of_clusters(
    vectors: np.ndarray, ids: np.ndarray, seed: int, count: int = CLUSTERINGS
) -> list[tuple[np.ndarray, ...]]:
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


def parts_of(
    store: ImageStore, vectors: np.ndarray, copies: np.ndarray, config: MetatrainConfig
) -> tuple[Pupils, Judges, Judges, str]:
    """Puzzles to practise on, to choose by and to judge by, of different classes or pictures; and what judges.

    Without labels the judges are the folders' classes all the same where there are any: practice has not seen them.
    """
    most, labels = config.shot or SHOTS[1], of_one_class(store.labels, copies)
    if config.tasks == "labels":
        sources = [Puzzles([of_labels(labels, part)], copies) for part in split_classes(labels, config.seed)]
        judged_by = "classes"
    else:
        views, sources = most + config.query, []
        everything = np.tile(copies, 1 + views)  # a view is no copy of another, nor of its picture
        everything[len(copies) :] = len(copies) + np.arange(len(everything) - len(copies))
        for number, ids in enumerate(split_pictures(vectors, copies, config.seed)):
            partitions = []
            if config.tasks != "twins":
                partitions += of_clusters(vectors, ids, config.seed + number)
            if config.tasks != "clusters":
                chosen = np.random.default_rng((config.seed, number)).permutation(ids)[: TWINS[min(number, 1)]]
                twins = of_twins(np.sort(chosen), copies, len(store), views)
                partitions += [twins] * max(1, len(partitions) // 4)  # a fifth of the puzzles
            sources.append(Puzzles(partitions, everything))
        judged_by = "puzzles"
        classes = Puzzles([of_labels(labels, np.unique(labels[labels >= 0]))], copies)
        if _size(classes, 2, 1, 1):
            sources[2], judged_by = classes, "classes"
    seeds, looked = [(config.seed, number) for number in (1, 2)], LOOKED // (SLOW if config.learner == "maml" else 1)
    looks, judges = (
        _judges(source, config, count, seed)
        for source, count, seed in zip(sources[1:], (looked, config.judge), seeds, strict=True)
    )
    return Pupils(sources[0], config), looks, judges, judged_by


def _judges(source: Puzzles, config: MetatrainConfig, count: int, seed: tuple) -> Judges:
    shots = [config.shot] if config.shot else SHOTS
    sizes = [s for s in (_size(source, config.way, shot, max(config.query, 10)) for shot in shots) if s]
    random = np.random.default_rng(seed)
    if not sizes:
        source.draw(random, 1, 2, shots[0], 1)  # says what is missing
    tasks = {size[1]: source.draw(random, count, *size) for size in sizes}
    rows = np.unique(np.concatenate([x.ravel() for one in tasks.values() for x in (one.support, one.query)]))
    return Judges(rows, {shot: one.among(rows) for shot, one in tasks.items()})


def _size(source: Puzzles, way: int, shot: int, query: int) -> tuple[int, int, int] | None:
    """(way, shot, query) that these pictures allow: fewer questions first, then fewer classes. None: not even two of one."""
    for asked in range(query, 0, -1):
        if source.classes(shot + asked) >= way:
            return way, shot, asked
    few = source.classes(shot + 1)
    return (few, shot, 1) if few >= 2 else None
