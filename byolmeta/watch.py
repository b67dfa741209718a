"""Whether learning works: figures, vectors for the map, and the best encoder, kept while a run goes on."""

import time

import numpy as np
import torch

from byolmeta import features, film
from byolmeta.byol import BYOL
from byolmeta.encoder import Readout, save_encoder
from byolmeta.images import ImageStore
from byolmeta.runs import Run, collapse_floor
from byolmeta.settings import PretrainConfig


class Watch:
    """The figures that say whether learning works, made at intervals that cost a small share of the time."""

    def __init__(self, run: Run, store: ImageStore, held_ids: np.ndarray, device: str, config: PretrainConfig):
        self.run, self.store, self.device, self.share = run, store, device, config.check_share
        self.held = store.pixels[np.sort(held_ids)]
        rows = np.linspace(0, len(store) - 1, min(len(store), 2000)).astype(int)
        self.ids, self.mark = np.unique(rows), film.mark_of(store)
        self.next, self.best, self.last = 0.0, 0.0, {}
        self.step = self.kept = -1
        self.earlier: Readout | None = None  # of the encoder that the run goes on from
        checks = [line["check"] for line in run.metrics() if isinstance(line.get("check"), dict)]
        before = next(
            (c for c in checks if isinstance(c.get("spread"), float) and isinstance(c.get("twin"), float)), None
        )
        self.floor = collapse_floor(before["spread"]) if before else 0.0
        self.twin_before = before["twin"] if before else None  # at the first check

    def due(self) -> bool:
        return time.monotonic() >= self.next

    @property
    def collapsed(self) -> bool:
        return self.last["spread"] < self.floor

    def check(self, model: BYOL, step: int) -> None:
        """Writes a line with twin, spread, rank and kNN, and the vectors for the map.

        Raises FloatingPointError when the network's answers are no usable numbers.
        """
        start = time.monotonic()
        pooled = features.embed(model.encoder, self.store.pixels[self.ids], device=self.device, pooled=True)
        if not np.abs(pooled).max() < 1e15:  # also nan; squares have to fit into float32
            raise FloatingPointError
        model.encoder.fit_readout(torch.from_numpy(pooled).to(self.device), self.earlier)
        vectors = model.encoder.read(torch.from_numpy(pooled).to(self.device)).cpu().numpy()
        representation = pooled[:, -model.encoder.dim :]  # what BYOL trains: whitened vectors cannot look collapsed
        self.last = {
            "twin": features.twin_score(model.encoder, self.held, device=self.device),
            "twin_of": len(self.held),
            "spread": features.spread(representation),
            "effective_rank": features.effective_rank(representation),
            "knn": features.knn_accuracy(vectors, self.store.labels[self.ids]),
        }
        if self.step < 0 and step == 0:
            self.floor, self.twin_before = collapse_floor(self.last["spread"]), self.last["twin"]
        self.step = step
        self.run.write(features.save_vectors, self.run.vectors, self.ids, vectors, step)
        self.run.write(film.add_frame, self.run.film, step, self.ids, vectors, self.mark)
        cost = time.monotonic() - start
        self.run.write(self.run.append, {"step": step, "check": self.last | {"seconds": cost}})
        self.next = time.monotonic() + cost / self.share

    def keep(self, model: BYOL, details: dict) -> None:
        """Saves the encoder unless it fell clearly behind the best seen: the file always holds a good one.

        Clearly is more than chance makes of few held pictures: a tenth and two standard errors, at p = 1/2.
        """
        behind = self.last["twin"] < self.best - 0.1 - len(self.held) ** -0.5
        if self.collapsed or (behind and self.run.encoder.exists()):
            return
        self.best, self.kept = max(self.best, self.last["twin"]), self.step
        card = details | {"figures": self.last}
        self.run.write(save_encoder, model.encoder, self.run.encoder, card, model.heads())
