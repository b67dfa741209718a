"""Pictures that come one by one, decoded in a process of their own that stays: what crashes a decoder costs that picture.

The pictures of a folder or zip are decoded like that anyway (decode.py). A shared machine needs it for single ones too.
"""

import collections
import functools
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path

import numpy as np

from byolmeta.decode import Feeder, Limits, read_file
from byolmeta.errors import InputError

CHECKED = 512  # side at which a picture is tried that is then read at another one


class Apart:
    """One decoding process for one picture side; it is started when first needed, and again where it died."""

    def __init__(self, size: int, limits: Limits):
        self.size, self.limits, self.lock = size, limits, threading.Lock()
        self.folder = tempfile.TemporaryDirectory(prefix="byolmeta-apart-")
        self.picture, self.pixels = Path(self.folder.name, "picture"), Path(self.folder.name, "pixels")
        self.pixels.write_bytes(bytes(3 * size * size))
        setup = {"source": self.folder.name, "zip": False, "offset": 0, "limits": asdict(limits)}
        setup["files"] = {size: str(self.pixels)}
        self.feeder = Feeder(setup, collections.deque(), {}, limits.seconds)

    def square(self, picture: bytes) -> np.ndarray:
        """As decode.squares for one side: uint8 (3, size, size). Raises InputError, for a hang or a crash too."""
        with self.lock:
            feeder = self.feeder
            for known in (feeder.answers, feeder.late, feeder.tried):
                known.clear()
            over = threading.Event()
            threading.Thread(target=_watch, args=(feeder, over), daemon=True).start()
            try:
                self.picture.write_bytes(picture)
                batch = [[0, self.picture.name]]
                while batch:
                    batch = feeder.decode(batch)
            finally:
                over.set()
                self.picture.unlink(missing_ok=True)
            _, reason = feeder.answers[0]
            if reason:
                raise InputError(reason)
            return np.frombuffer(self.pixels.read_bytes(), np.uint8).reshape(3, self.size, self.size).copy()


def _watch(feeder: Feeder, over: threading.Event) -> None:
    """Looks again and again: a process that has to start first is too late later than one that is there."""
    while not over.wait(0.1):
        feeder.watch()


@functools.lru_cache(maxsize=8)
def _process(size: int, limits: Limits) -> Apart:
    return Apart(size, limits)


def square(picture: Path | str | bytes, size: int, limits: Limits) -> np.ndarray:
    """The upright middle square of one picture, uint8 (3, size, size). InputError with a sentence if it cannot be read."""
    if not isinstance(picture, bytes):
        picture = read_file(picture, limits.file_bytes, follow=True)
    return _process(size, limits).square(picture)


def check(picture: Path | str | bytes, limits: Limits) -> None:
    """Raises InputError for a picture that cannot be read, or would end the process that reads it."""
    square(picture, CHECKED, limits)
