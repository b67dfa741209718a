"""Any encoder with any learner on the same tasks: what the verb `fewshot` and the Measure panel stand on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from byolmeta.copies import copies_group_ids
from byolmeta.encoder import Vectors
from byolmeta.episodes import Tasks, draw_episodes, stack
from byolmeta.features import encode, encoder_bank, open_encoder, prepare
from byolmeta.fewshot import episode_answers, picture_answers
from byolmeta.files import HISTOGRAM, PIXELS, UNTRAINED, find_encoder, practice_in_force, read_card
from byolmeta.learners import ON_PICTURES, Support, learner


@dataclass(frozen=True)
class Measured:
    """A learner's answers to some tasks."""

    answers: np.ndarray  # int64 (B, m), classes 0..way-1
    right: np.ndarray  # float (B,), share of right answers
    about: dict  # practised, transductive, studied, saw_labels: as in Candidate


@dataclass(frozen=True)
class Candidate:
    """An encoder with a learner, ready for tasks drawn from a store."""

    learner: object  # with the settings that are in force
    answers: Callable[..., np.ndarray]  # of (tasks, progress=None): int64 (B, m)
    scores: Callable[..., np.ndarray]  # of (one task, pictures uint8 (P, 3, S, S)): float32 (P, way), logits
    practised: bool  # its settings are those that the encoder's practice found
    transductive: bool  # its batch norm has seen all pictures, without labels
    studied: bool  # it, or one that it went on from, learned from these very pictures
    saw_labels: bool  # it, or one that it went on from, practised with the class folders of these very pictures

    @property
    def about(self) -> dict:
        """What has to be said beside its figures."""
        return {k: getattr(self, k) for k in ("practised", "transductive", "studied", "saw_labels")}


def draw_tasks(
    store, way: int, shot: int, query: int, episodes: int, seed: int, copies: np.ndarray | None = None
) -> tuple[Tasks, int]:
    """Tasks from a store's class folders, and their queries of each class; a query of 0: 15, or what the smallest class
    leaves. The same for every encoder, whatever its picture size. `copies` (N,): of the store, where they are known.
    Raises InputError when the classes are too few."""
    copies = copies_group_ids(store) if copies is None else copies
    if not query:
        sizes = [len(np.unique(copies[store.labels == c])) for c in range(len(store.class_names))]
        usable = [size for size in sizes if size > shot]
        query = min(15, min(usable) - shot) if len(usable) >= max(way, 1) else 1
    return stack(draw_episodes(store.labels, way, shot, query, episodes, seed, copies, store.class_names)), query


def candidate(encoder: str, name: str, store, home: Path, progress=None) -> Candidate:
    """A learner, with the settings that the encoder's practice found, on a store's pictures; `progress` of its vectors.

    maml and finetune adapt the network to the pictures of each task; all others work on the store's vectors.
    """
    baseline = encoder.split(":")[0] in (PIXELS, HISTOGRAM, UNTRAINED)
    card = {} if baseline else read_card(find_encoder(encoder))
    method = learner(name, card)
    if name in ON_PICTURES and encoder not in (PIXELS, HISTOGRAM):
        network = open_encoder(encoder, store)
        body = Vectors(network).eval()

        def inputs(pictures: np.ndarray) -> Tensor:
            return prepare(pictures, network.image_size)

        def answers(tasks: Tasks, progress=None) -> np.ndarray:
            return picture_answers(method, body, lambda rows: inputs(store.pixels[rows]), tasks, progress)
    else:
        vectors = torch.from_numpy(encoder_bank(encoder, store, home / "banks", progress).vectors)
        centre, body = vectors.mean(0), nn.Identity()
        centred = vectors - centre  # the same; numbers near 0 are more exact

        def inputs(pictures: np.ndarray) -> Tensor:
            return torch.from_numpy(encode(encoder, store, pictures)) - centre

        def answers(tasks: Tasks, progress=None) -> np.ndarray:
            return episode_answers(method, centred, tasks)

    def scores(task: Tasks, pictures: np.ndarray) -> np.ndarray:
        support = Support(inputs(store.pixels[task.support[0]]), torch.from_numpy(task.support_labels[0]), task.way)
        for step in method.adapt(body, support):
            pass
        return step.predict(inputs(pictures)).detach().numpy()

    practised, transductive = name in practised_learners(card), encoder.split(":")[0] == UNTRAINED
    studied = any(
        one.get("store") == store.fingerprint and one.get("tasks") != "labels" and one.get("in_force", True)
        for one in past(card)
    )
    return Candidate(method, answers, scores, practised, transductive, studied, saw_labels(card, store))


def measure(encoder: str, name: str, store, tasks: Tasks, home: Path, progress=None) -> Measured:
    """What a learner answers to tasks drawn from a store; the rest as `candidate`."""
    one = candidate(encoder, name, store, home)
    answers = one.answers(tasks, progress)
    return Measured(answers, (answers == tasks.query_labels).mean(1), one.about)


def practised_learners(card: dict) -> list[str]:
    """Names of the learners for which an encoder's practice found settings that are in force."""
    found = practice_in_force(card).get("learners")
    return list(found) if isinstance(found, dict) else []


def past(card: dict) -> Iterator[dict]:
    """The card of an encoder, what it practised on, and those of the encoders it went on from."""
    for _ in range(100):  # a card from elsewhere may be anything
        yield card
        practices = card.get("practices")
        practices = practices if isinstance(practices, list) else []
        yield from (one for one in [card.get("practice"), *practices] if isinstance(one, dict))
        card = card.get("parent")
        if not isinstance(card, dict):
            return


def saw_labels(card: dict, store) -> bool:
    """Whether an encoder, or one that it went on from, practised with the class folders of a store."""
    return any(
        one.get("store") == store.fingerprint and one.get("tasks") == "labels" and one.get("in_force") is True
        for one in past(card)
    )
