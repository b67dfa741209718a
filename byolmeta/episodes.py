"""N-way K-shot tasks as lists of image ids, drawn from labelled images."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from byolmeta.errors import InputError


@dataclass(frozen=True)
class Episode:
    """One task: ids of its support and query images with labels 0..way-1, dealt anew in each episode."""

    support: np.ndarray  # int64 (way * shot,)
    support_labels: np.ndarray
    query: np.ndarray  # int64 (way * query,)
    query_labels: np.ndarray
    way: int


def draw_episodes(
    labels: np.ndarray,
    way: int,
    shot: int,
    query: int,
    episodes: int,
    seed: int = 0,
    copies: np.ndarray | None = None,
    names: tuple[str, ...] = (),
) -> Iterator[Episode]:
    """Draws `episodes` tasks; support and query of a class come from one permutation, so they never overlap.

    `copies` (N,) gives near copies the same number: of each group a class takes one picture per episode, so no copy
    of a support image of the same class is asked. Classes with too few pictures are left out. Raises InputError when fewer than `way`
    classes remain.
    """
    if way < 2 or shot < 1 or query < 1 or episodes < 1:
        raise InputError("A task needs at least 2 classes, 1 shot, 1 query and 1 episode.")
    copies = np.arange(len(labels)) if copies is None else copies
    classes = [np.flatnonzero(labels == c) for c in range(labels.max(initial=-1) + 1)]
    big = [ids for ids in classes if len(np.unique(copies[ids])) >= shot + query]
    if len(big) < way:
        sizes = {names[c] if names else str(c): len(ids) for c, ids in enumerate(classes)}
        small = min(sizes, key=sizes.get) if sizes else "none"
        raise InputError(
            f"{way}-way tasks with {shot} examples and {query} queries need {way} classes of at least {shot + query} "
            f"different pictures; {len(big)} of the {len(classes)} class folders have them (the smallest is "
            f"'{small}' with {sizes.get(small, 0)}). Ask for fewer classes, examples or queries."
        )
    random = np.random.default_rng(seed)
    for _ in range(episodes):
        chosen = random.choice(len(big), way, replace=False)
        picked = np.stack([_distinct(random.permutation(big[c]), copies, shot + query) for c in chosen])
        yield Episode(
            picked[:, :shot].ravel(),
            np.repeat(np.arange(way), shot),
            picked[:, shot:].ravel(),
            np.repeat(np.arange(way), query),
            way,
        )


def _distinct(ids: np.ndarray, copies: np.ndarray, count: int) -> np.ndarray:
    """The first `count` ids that are no copies of an earlier one."""
    first = np.unique(copies[ids], return_index=True)[1]
    return ids[np.sort(first)[:count]]
