"""Groups of pictures that look alike to the encoder: spherical k-means on its vectors, with a count chosen by itself."""

import warnings
from dataclasses import dataclass

import numpy as np

from byolmeta.features import one_blas_thread, unit

COUNTS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20)  # tried when none is asked for
DIRECTIONS = 32  # principal components in which groups are looked for
SAMPLE = 2_000  # pictures on which counts are compared and good starts are looked for
FIT = 20_000  # pictures on which the groups are made; further ones join the nearest
CLEAR = 0.5  # silhouette from which a structure counts as reasonable, below as weak (Kaufman and Rousseeuw 1990)
NEARLY = 0.9  # share of the best silhouette that another count has to reach
EACH = 4  # pictures that a group has on average at least, where there are more than three groups


@dataclass(frozen=True, eq=False)
class Groups:
    """Which group each picture is in; group 0 is the largest."""

    labels: np.ndarray  # int64 (N,), 0..count-1
    representatives: np.ndarray  # int64 (count,): the picture nearest to the middle of each group

    @property
    def count(self) -> int:
        return len(self.representatives)

    @property
    def sizes(self) -> np.ndarray:
        """Pictures in each group, int64 (count,), falling."""
        return np.bincount(self.labels, minlength=self.count)


def found_groups(vectors: np.ndarray, count: int = 0, seed: int = 0) -> Groups:
    """Groups of the pictures with these vectors (N, D); `count` 0 finds how many. Never more than different vectors.

    k-means on the unit vectors, so that nearness is cosine. The same vectors, count and seed give the same groups:
    scikit-learn is kept to one thread, as sums of several come in any order.
    """
    x = unit(np.asarray(vectors, np.float32))
    different = len({row.tobytes() for row in x})
    if different < 2 or count == 1:
        return _numbered(x, np.zeros(len(x), np.int64))
    with one_blas_thread(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # "distinct clusters fewer than n_clusters": rows equal but for rounding
        z = principal(x)
        count = min(count or best_count(z, seed), different)
        model = _fitted(z[_spread(len(z), max(SAMPLE, 10 * count))], count, seed, tries=10)
        if len(z) > SAMPLE:
            model = _fitted(z[_spread(len(z), FIT)], count, seed, start=model.cluster_centers_)
        return _numbered(x, model.predict(z))


def best_count(points: np.ndarray, seed: int = 0) -> int:
    """How many groups to show, 2 to 20, from silhouettes (Rousseeuw 1987) of at most 2,000 points (N, d).

    Where the best silhouette is clear, its count. Vectors of real pictures rarely have such gaps: silhouettes of
    many counts are then close, and two groups often win by one direction alone (light and dark). So the largest
    count of three or more that nearly reaches the best of them: small groups are easier to name than large ones,
    but a picture or two are no group.
    """
    from scipy.spatial.distance import cdist
    from sklearn.metrics import silhouette_score

    points = points[_spread(len(points), SAMPLE)]
    distances = cdist(points, points)
    scores = {}
    for count in COUNTS:
        if count < len(points) and (count <= 3 or EACH * count <= len(points)):
            labels = _fitted(points, count, seed, tries=2).labels_
            if len(np.unique(labels)) == count:
                scores[count] = silhouette_score(distances, labels, metric="precomputed")
    best = max(scores, key=scores.get, default=min(2, len(points)))
    several = {count: score for count, score in scores.items() if count > 2}
    if not several or scores[best] >= CLEAR:
        return best
    return max(count for count, score in several.items() if score >= NEARLY * max(several.values()))


def main_class(groups: Groups, labels: np.ndarray) -> np.ndarray:
    """The class that more than half of each group's pictures lie in, int64 (count,); -1 where there is none."""
    found = np.full(groups.count, -1, np.int64)
    for group, size in enumerate(groups.sizes):
        own = labels[groups.labels == group]
        counts = np.bincount(own[own >= 0], minlength=1)
        if counts.max() > size / 2:
            found[group] = counts.argmax()
    return found


def principal(x: np.ndarray) -> np.ndarray:
    """The first 32 principal components of rows (N, D), float32: faster, and without the noise of the rest."""
    centred = x - x.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return np.ascontiguousarray(centred @ axes[:, ::-1][:, :DIRECTIONS])


def _fitted(points: np.ndarray, count: int, seed: int, tries: int = 1, start: np.ndarray | str = "k-means++"):
    """The best of some runs of k-means, each from a random start; or one from the centres given."""
    from sklearn.cluster import KMeans

    return KMeans(count, init=start, n_init=tries, random_state=seed).fit(points)


def _spread(n: int, most: int) -> np.ndarray:
    """At most `most` of n rows, evenly apart: of sorted folders, a fair share each."""
    return np.linspace(0, n - 1, min(n, most)).astype(int)


def _numbered(x: np.ndarray, labels: np.ndarray) -> Groups:
    """Groups of unit vectors numbered by size, largest first, then by their first picture; empty ones are left out."""
    _, first, labels, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort([first, -sizes])
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    labels = place[labels]
    nearest = []
    for group in range(len(order)):
        rows = np.flatnonzero(labels == group)
        nearest.append(rows[(x[rows] @ x[rows].mean(0)).argmax()])
    return Groups(labels, np.array(nearest, np.int64))
