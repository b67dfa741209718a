"""Exact and near copies among the pictures of a store."""

import hashlib
from collections.abc import Iterator

import numpy as np

from byolmeta.images import ImageStore


def near_copies(store: ImageStore, threshold: float = 0.95, vectors: np.ndarray | None = None) -> list[list[int]]:
    """Groups (two or more ids, sorted) of exact copies and of the same picture re-encoded, brightened or resized.

    Near copies have a cosine of `threshold` or more between their descriptors. Up to 20,000 pictures every pair is
    compared; above, pairs that share one of eight hash buckets. `vectors` (N, 256): the descriptors, where they are known.
    """
    leader = np.arange(len(store))
    first: dict[bytes, int] = {}
    for row, picture in enumerate(store.pixels):
        key = hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
        leader[row] = first.setdefault(key, row)
    vectors = descriptors(store.pixels) if vectors is None else vectors
    for rows in buckets(vectors):
        for start in range(0, len(rows), 2048):
            block = rows[start : start + 2048]
            near = vectors[block] @ vectors[rows[start:]].T >= threshold
            for a, b in np.argwhere(near):
                if a < b:
                    a, b = find(leader, block[a]), find(leader, rows[start + b])
                    leader[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for row in range(len(store)):
        groups.setdefault(find(leader, row), []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def copies_group_ids(store: ImageStore, vectors: np.ndarray | None = None) -> np.ndarray:
    """int64 (N,): the same number for pictures that are copies of each other, its own for every other picture.

    `vectors` (N, 256): the descriptors, where they are known.
    """
    ids = np.arange(len(store), dtype=np.int64)
    for group in near_copies(store, vectors=vectors):
        ids[group] = group[0]
    return ids


def with_more(ids: np.ndarray, vectors: np.ndarray, more: np.ndarray, threshold: float = 0.95) -> np.ndarray:
    """`copies_group_ids` (N,) of pictures, continued for more of them, int64 (N + M,); descriptors (N, 256) and (M, 256).

    Of pictures that are copies of several groups the numbers of all those become one.
    """
    whole = np.concatenate([ids, len(ids) + np.arange(len(more))])
    known = np.concatenate([vectors, more])
    for row in range(len(ids), len(whole)):
        near = np.flatnonzero(known[:row] @ known[row] >= threshold)
        groups = np.append(whole[near], whole[row])
        whole[np.isin(whole, groups)] = groups.min()
    return whole


def descriptors(pixels: np.ndarray) -> np.ndarray:
    """Unit vectors float32 (N, 256): the local contrasts of the grey picture at 16 x 16; flat pictures are 0."""
    pool = pooling(pixels.shape[-1], 16)
    result = np.zeros((len(pixels), 256), np.float32)
    for start in range(0, len(pixels), 1024):
        red, green, blue = pixels[start : start + 1024].transpose(1, 0, 2, 3)
        grey = pool @ (0.299 * red + 0.587 * green + 0.114 * blue).astype(np.float32) @ pool.T
        edges = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
        mean = sum(edges[:, y : y + 16, x : x + 16] for y in range(3) for x in range(3)) / 9
        contrast = (grey - mean).reshape(len(grey), -1)
        contrast -= contrast.mean(1, keepdims=True)
        length = np.linalg.norm(contrast, axis=1, keepdims=True)
        result[start : start + 1024] = np.where(length > 4, contrast / np.maximum(length, 1), 0)  # 4: rounding noise
    return result


def pooling(size: int, parts: int) -> np.ndarray:
    """float32 (parts, size): averages `size` values over `parts` equal stretches, sharing values at their ends."""
    ends = np.arange(parts + 1) * size / parts
    left, right = ends[:-1, None], ends[1:, None]
    cell = np.arange(size)
    return (np.clip(np.minimum(right, cell + 1) - np.maximum(left, cell), 0, None) * parts / size).astype(np.float32)


def buckets(vectors: np.ndarray, whole: int = 20_000) -> Iterator[np.ndarray]:
    """Sets of rows in which near vectors lie together: everything, or by 12 signs of random projections, 8 times."""
    if len(vectors) <= whole:
        yield np.arange(len(vectors))
        return
    random = np.random.default_rng(0)
    for _ in range(8):
        values = vectors @ random.standard_normal((vectors.shape[1], 12), np.float32)
        keys = (values > np.median(values, 0)) @ (1 << np.arange(12))
        order = np.argsort(keys, kind="stable")
        yield from np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)


def find(leader: np.ndarray, row: int) -> int:
    """The first row of the group of `row` (union-find with path halving)."""
    while leader[row] != row:
        leader[row] = row = leader[leader[row]]
    return int(row)
