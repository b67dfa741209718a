"""N-way K-shot tasks as lists of image ids, drawn from labelled images."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

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


class Tasks(NamedTuple):
    """B tasks of one size, as rows of a bank of vectors or pictures."""

    support: np.ndarray  # int64 (B, n)
    support_labels: np.ndarray  # int64 (B, n), 0..way-1
    query: np.ndarray  # int64 (B, m)
    query_labels: np.ndarray  # int64 (B, m)
    way: int

    def part(self, rows: slice) -> "Tasks":
        """Some of the tasks."""
        return Tasks(*(each[rows] for each in self[:-1]), self.way)

    def among(self, rows: np.ndarray) -> "Tasks":
        """The same tasks, counted in `rows` (sorted): the bank that holds those alone."""
        return self._replace(support=np.searchsorted(rows, self.support), query=np.searchsorted(rows, self.query))


def stack(episodes: Iterable[Episode]) -> Tasks:
    """Episodes of one size as arrays."""
    found = list(episodes)
    names = ("support", "support_labels", "query", "query_labels")
    return Tasks(*(np.stack([getattr(one, name) for one in found]) for name in names), found[0].way)


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
    for name, value, least in (("way", way, 2), ("shot", shot, 1), ("query", query, 1), ("episodes", episodes, 1)):
        if value < least:
            raise InputError(f"{name} is {value}; it must be {least} or more.")
    if labels.max(initial=-1) < 0:
        raise InputError(
            "Tasks are drawn from class folders, one for each class, and here are none. Sort some pictures into folders."
        )
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
    unlike = [len(np.unique(copies[ids])) == len(ids) for ids in big]
    for _ in range(episodes):
        chosen = random.choice(len(big), way, replace=False)
        yield deal([draw_distinct(big[c], copies, shot + query, random, unlike[c]) for c in chosen], shot)


def deal(picked: list[np.ndarray], shot: int) -> Episode:
    """The task whose classes these rows are, as many of each: the first `shot` are its examples."""
    way, rows = len(picked), np.stack(picked)
    labels = np.arange(way)
    query = rows.shape[1] - shot
    return Episode(rows[:, :shot].ravel(), labels.repeat(shot), rows[:, shot:].ravel(), labels.repeat(query), way)


def draw_distinct(
    rows: np.ndarray, copies: np.ndarray, count: int, random: np.random.Generator, unlike: bool = False
) -> np.ndarray:
    """`count` rows in random order, none a copy of another (`unlike`: it is known that none is)."""
    order = random.permutation(rows)
    if unlike:
        return order[:count]
    first = np.unique(copies[order], return_index=True)[1]
    return order[np.sort(first)[:count]]
