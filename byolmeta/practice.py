"""What practice learns and from what: the learner's values with a turn of the vectors or a network, and pictures as rows."""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byolmeta.augment import make_view, two_views
from byolmeta.devices import autocast
from byolmeta.encoder import Vectors
from byolmeta.episodes import Tasks
from byolmeta.features import prepare
from byolmeta.images import ImageStore
from byolmeta.learners import LinearHead, Support
from byolmeta.settings import MetatrainConfig

QUICK = 0.01  # outer rate of a learner's own settings


class Material:
    """The pictures of a store as rows: picture i, and its views i + N, i + 2 N ..., drawn by chance but always the same."""

    def __init__(self, store: ImageStore, vectors: np.ndarray, seed: int, kind: str, size: int):
        self.store, self.known, self.seed, self.size = store, vectors, seed, size
        self.views = two_views(size, kind)

    def pictures(self, rows: np.ndarray) -> Tensor:
        """Float (len(rows), 3, S, S) in 0..1."""
        numbers, ids = np.divmod(rows, len(self.store))
        found = torch.empty(len(rows), 3, self.size, self.size)
        for number in np.unique(numbers):
            at = np.flatnonzero(numbers == number)
            pixels, generator = self.store.pixels[ids[at]], self._generator(int(number))
            found[torch.from_numpy(at)] = (
                self._view(pixels, number, generator) if number else prepare(pixels, self.size)
            )
        return found

    def fresh(self, rows: np.ndarray, step: int) -> Tensor:
        """New views (len(rows), 3, S, S) for a step, for a network that learns from pictures."""
        return self._view(self.store.pixels[rows % len(self.store)], 1, self._generator(-1 - step))

    @torch.no_grad()
    def vectors(self, network: Vectors, rows: np.ndarray, known: bool = False) -> Tensor:
        """Of rows (sorted), (len(rows), V); `known`: those of pictures are the ones that were brought along."""
        device = next(network.parameters()).device
        network.eval()
        own = rows < len(self.store) if known else np.zeros(len(rows), bool)
        parts = [torch.from_numpy(self.known[rows[own]])] if own.any() else []
        parts += [network(self.pictures(part).to(device)).cpu() for part in _chunks(rows[~own])]
        return torch.cat(parts)

    def _view(self, pixels: np.ndarray, number: int, generator: torch.Generator) -> Tensor:
        return make_view(torch.from_numpy(np.array(pixels)), self.size, self.views[int(number) % 2], generator)

    def _generator(self, number: int) -> torch.Generator:
        seeds = np.random.SeedSequence((self.seed, number % 2**32)).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(seeds[0] >> np.uint64(1)))


class Practice(nn.Module):
    """What practice learns, as one module: `values` of the learner, and a `turn` of the vectors or a `network`."""

    def __init__(self, method, config: MetatrainConfig, network: Vectors, width: int):
        super().__init__()
        self.method, self.config, self.values = method, config, nn.ParameterDict()
        for name in method.LEARNED:
            usual = torch.as_tensor(getattr(method, name), dtype=torch.float32)
            if name == "directions":
                usual = usual if len(usual) == width else torch.ones(width)
            elif name == "rate" and isinstance(
                method, LinearHead
            ):  # one a step; the last of an earlier practice goes on
                usual = usual.reshape(-1)[torch.arange(method.steps).clamp_max(usual.numel() - 1)]
            self.values[name] = nn.Parameter(usual.clone() if name == "start" else usual.log())
        if config.through == "vectors":
            self.turn = nn.Parameter(torch.zeros(width, width))
        else:
            self.network = network.requires_grad_(False)
            (network.last_stage() if config.through == "last" else network.encoder.trunk).requires_grad_(True)

    def learner(self):
        """The learner with its values as they are now; gradients reach them."""
        values = {name: value if name == "start" else value.exp() for name, value in self.values.items()}
        return dataclasses.replace(self.method, **values)

    def settled(self):
        """The learner with plain numbers, as a card holds them."""
        values = {k: v.tolist() for k, v in vars(self.learner()).items() if torch.is_tensor(v)}
        return dataclasses.replace(
            self.method, **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        )

    def turned(self, vectors: Tensor) -> Tensor:
        """Vectors (..., V) as practice sees them."""
        return vectors + vectors @ self.turn

    def optimizer(self, rate: float) -> torch.optim.Optimizer:
        rest = [p for name, p in self.named_parameters() if p.requires_grad and not name.startswith("values.")]
        decay = self.config.weight_decay if self.config.through == "vectors" else 0.0
        groups = [{"params": [*self.values.values()], "lr": QUICK, "weight_decay": 0.0}]
        return torch.optim.AdamW([*groups, {"params": rest, "lr": rate, "weight_decay": decay}])


def learn_from(
    practice: Practice,
    tasks: Tasks,
    bank: Tensor | None,
    material: Material,
    rows: np.ndarray,
    step: int,
    untrained: bool,
) -> Tensor:
    """One step of the outer loop: leaves the gradients, and returns the loss, a scalar."""
    learner, way, device = practice.learner(), tasks.way, next(practice.parameters()).device
    labels, truth = (torch.from_numpy(x).to(device) for x in (tasks.support_labels, tasks.query_labels))
    if bank is None:
        practice.network.train(untrained and isinstance(learner, LinearHead))
        asked = rows[np.concatenate([tasks.support, tasks.query], 1)]
        pictures = material.fresh(asked.ravel(), step).to(device, memory_format=torch.channels_last)
    if not isinstance(learner, LinearHead):
        return _learn_apart(practice, pictures.unflatten(0, asked.shape), labels, truth, way)
    if bank is not None:
        support, query = (practice.turned(bank[torch.from_numpy(x)]) for x in (tasks.support, tasks.query))
    else:
        with autocast(device.type, "auto")():
            found = practice.network(pictures)
        found = found.float().unflatten(0, asked.shape)
        support, query = found[:, : labels.shape[1]], found[:, labels.shape[1] :]
    loss = F.cross_entropy(learner.answer(support, labels, query, way).mT, truth)
    loss.backward()
    return loss.detach()


def _learn_apart(practice: Practice, pictures: Tensor, labels: Tensor, truth: Tensor, way: int) -> Tensor:
    """`_learn` for learners that change the network: one task after another, so that one graph is held at a time."""
    total = torch.zeros((), device=pictures.device)
    for number, (one, known) in enumerate(zip(pictures, labels, strict=True)):
        learner = practice.learner()  # each task's graph begins at the values
        for found in learner.adapt(practice.network, Support(one[: len(known)], known, way), keep_graph=True):
            pass
        loss = F.cross_entropy(found.predict(one[len(known) :]), truth[number]) / len(labels)
        loss.backward()
        total += loss.detach()
    return total


def _chunks(ids: np.ndarray, size: int = 256) -> list[np.ndarray]:
    return np.array_split(ids, max(1, -(-len(ids) // size)))
