"""The pictures of each step, from a store in memory, on disk or on the device."""

import functools
import mmap
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from byolmeta.devices import free_memory


class Loader:
    """A new order every epoch, and no picture left over (the last batch wraps around).

    A store that fits is held by the GPU; any other batch is read one step ahead by a thread, so that the step never
    waits for the disk. What a step gets depends on the seed and its number alone.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        ids: np.ndarray,
        batch_size: int,
        seed: int,
        device: str = "cpu",
        share: slice = slice(None),
    ):
        """`pixels` uint8 (N, 3, S, S), perhaps memory-mapped; `ids` those to train on; `share`: rows of each batch."""
        self.pixels, self.ids, self.batch_size, self.seed, self.device, self.share = (
            pixels,
            ids,
            batch_size,
            seed,
            device,
            share,
        )
        self.steps_per_epoch = -(-len(ids) // batch_size)
        self.order = functools.lru_cache(maxsize=2)(self._order)
        self.held: torch.Tensor | None = None
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self.ahead: tuple[int, Future] | None = None
        if device.startswith("cuda") and pixels.nbytes < 0.25 * free_memory(device):
            self.held = torch.from_numpy(np.array(pixels)).to(device)
        elif pixels.nbytes > 0.5 * free_memory("cpu") and hasattr(getattr(pixels, "_mmap", None), "madvise"):
            pixels._mmap.madvise(mmap.MADV_RANDOM)  # rows come in random order: reading ahead would be for nothing

    def _order(self, epoch: int) -> np.ndarray:
        return self.ids[np.random.default_rng((self.seed, epoch)).permutation(len(self.ids))]

    def rows(self, step: int) -> np.ndarray:
        """Store rows of this rank's share of a step's batch, ascending."""
        epoch, place = divmod(step, self.steps_per_epoch)
        start = place * self.batch_size
        return np.sort(np.take(self.order(epoch), range(start, start + self.batch_size), mode="wrap"))[self.share]

    def batch(self, step: int) -> torch.Tensor:
        """uint8 (B, 3, S, S) on the device."""
        if self.held is not None:
            return self.held[torch.from_numpy(self.rows(step)).to(self.device, non_blocking=True)]
        images = self.ahead[1].result() if self.ahead and self.ahead[0] == step else self._read(step)
        self.ahead = step + 1, self.reader.submit(self._read, step + 1)
        return images.to(self.device, non_blocking=True)

    def _read(self, step: int) -> torch.Tensor:
        images = torch.from_numpy(self.pixels[self.rows(step)])
        return images.pin_memory() if self.device.startswith("cuda") else images

    def close(self) -> None:
        """Lets go of the thread and of the memory on the device."""
        self.reader.shutdown(wait=False, cancel_futures=True)
        self.held = self.ahead = None
