"""Picture files -> square pixels, in worker processes that may hang or die without harm.

The parent (`decode_into`) hands out rows; each worker (`python -m byolmeta.decode`) reads the file or zip entry,
decodes it, writes the pixels at its row and answers one JSON line. Workers are plain subprocesses: a fork beside
threads is unsafe, and multiprocessing would import the app's main module again.
"""

import collections
import contextlib
import hashlib
import io
import json
import math
import os
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from byolmeta.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # what may be decoded, whatever the ending says
TURNS = dict(zip(range(2, 9), (Image.Transpose(t) for t in (0, 3, 1, 5, 4, 6, 2)), strict=True))  # EXIF values
SIDEWAYS = {TURNS[value] for value in (5, 6, 7, 8)}
SCANS = 64  # that a JPEG may have: about ten are usual, and each costs a walk over all of its pixels
MEMORY = 4 << 30  # bytes of address space for a worker, where the system can limit it
START_SECONDS = 120  # a worker that has not imported Pillow by then will not


@dataclass(frozen=True)
class Limits:
    """What one source of pictures may cost."""

    images: int = 200_000  # pictures
    file_bytes: int = 200 << 20  # per picture
    pixels: int = 100_000_000  # per picture
    total_bytes: int = 20 << 30  # all pictures of a zip, unpacked
    seconds: float = 20  # per picture
    side: int = 1024  # pixels at which an encoder may see them


SHARED = Limits(5_000, 50_000_000, 40_000_000, 1_000_000_000, 10, 256)  # those of one visitor of a shared machine

# One picture


def squares(picture: bytes | Image.Image, sizes: Sequence[int], limits: Limits) -> list[np.ndarray]:
    """The upright middle square at each size: uint8 (3, size, size). InputError with a sentence if it cannot."""
    with in_sentences(limits):
        image, turn = opened(picture, max(sizes), limits)
        return [square(image, size, turn) for size in sizes]


def whole(picture: bytes, size: int, limits: Limits) -> tuple[Image.Image, tuple[int, int]]:
    """The whole picture, upright, RGB on white, at most `size` wide and high, and its own width and height. As `squares`."""
    with in_sentences(limits):
        own = Image.open(io.BytesIO(picture), formats=FORMATS).size
        image, turn = opened(picture, size, limits)
        image.thumbnail((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0)
        if image.mode == "RGBA":
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        if turn is not None:
            image = image.transpose(turn)
        return image.convert("RGB"), own[::-1] if turn in SIDEWAYS else own


def opened(picture: bytes | Image.Image, size: int, limits: Limits) -> tuple[Image.Image, Image.Transpose | None]:
    """A picture in mode L, RGB or RGBA, with the turn that brings it upright; it will be needed at `size`."""
    image = picture
    if isinstance(picture, bytes):
        image = Image.open(io.BytesIO(picture), formats=FORMATS)
    if math.prod(image.size) > limits.pixels:
        raise InputError(too_many_pixels(math.prod(image.size), limits))
    if isinstance(picture, bytes):
        if image.format == "JPEG" and picture.count(b"\xff\xda") > SCANS:
            raise InputError(f"It is packed in {picture.count(bytes((255, 218))):,} layers; the limit is {SCANS}.")
        image.draft("RGB", (2 * size, 2 * size))  # JPEG only: decodes at 1/2, 1/4 or 1/8 of the size
    turn = TURNS.get(orientation(image))
    return plain(image), turn


@contextlib.contextmanager
def in_sentences(limits: Limits):
    """Turns what decoders raise into InputError with a sentence."""
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError("The content is not a picture that can be read.") from None
    except Image.DecompressionBombError:
        raise InputError(f"It has too many pixels; the limit is {limits.pixels / 1e6:,.0f} million.") from None
    except MemoryError:
        raise InputError("It needs more memory than one picture may use.") from None
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise InputError(f"The file is damaged or cut off ({type(error).__name__}).") from None


def too_many_pixels(count: int, limits: Limits) -> str:
    return f"It has {count / 1e6:,.1f} million pixels; the limit is {limits.pixels / 1e6:,.1f} million."


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 where there is none or it cannot be read."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # broken EXIF is no reason to lose the picture
        return 1


def plain(image: Image.Image) -> Image.Image:
    """The same picture in mode L, RGB or RGBA."""
    if image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return scaled(image)
    if image.mode == "LAB":
        from PIL import ImageCms

        return ImageCms.profileToProfile(
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    if image.mode == "La":
        image = image.convert("LA")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def scaled(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float pictures: the picture's own darkest value becomes black, its brightest white.

    Its own range, because cameras store 10 to 14 bits in 16: divided by 65535 those would be nearly black.
    A picture of one value becomes mid grey; NaN counts as darkest.
    """
    if image.mode == "I;16N":
        image = image.convert("I")
    values = np.array(image, np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    if low == high:
        return Image.new("L", image.size, 128)
    np.nan_to_num(values, copy=False, nan=low, posinf=high, neginf=low)
    values -= low
    values *= 255 / (high - low)
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))


def square(image: Image.Image, size: int, turn: Image.Transpose | None) -> np.ndarray:
    """The middle square of an L, RGB or RGBA picture, antialiased, on white: uint8 (3, size, size)."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    image = image.resize((size, size), Image.Resampling.BICUBIC, box, reducing_gap=2.0)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if turn is not None:  # a centred square may be turned last: less work, same result
        image = image.transpose(turn)
    return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def read_file(path: str | Path, limit: int, follow: bool = False) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; never waits on a pipe or device."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise InputError("It is not an ordinary file.")
            return bounded(file.read(limit + 1), limit)
    except OSError as error:
        raise InputError(f"The file could not be opened ({error.strerror}).") from None


def read_entry(archive: zipfile.ZipFile, number: int, limit: int) -> bytes:
    """The bytes of entry `number` of a zip; reads no more than `limit`, whatever the zip declares."""
    try:
        with archive.open(archive.infolist()[number]) as file:
            return bounded(file.read(limit + 1), limit)
    except InputError:
        raise
    except Exception as error:  # zlib.error, BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError ...
        raise InputError(f"This part of the zip is damaged or packed in an unknown way ({error}).") from None


def bounded(data: bytes, limit: int) -> bytes:
    if not data:
        raise InputError("The file is empty.")
    if len(data) > limit:
        raise InputError(f"It is larger than the limit of {limit / 1e6:,.1f} MB for one picture.")
    return data


# The worker


def main() -> None:
    """Reads the setup and then batches [[row, where], ...] from stdin until it closes.

    `where` is a path below the source or the number of a zip entry. Answers [row, digests, reason, fatal].
    """
    limit_memory()
    setup = json.loads(sys.stdin.readline())
    limits = Limits(**setup["limits"])
    Image.MAX_IMAGE_PIXELS = limits.pixels
    archive = zipfile.ZipFile(setup["source"]) if setup["zip"] else None
    files = {int(size): open(path, "r+b", buffering=0) for size, path in setup["files"].items()}
    say("ready")
    for line in sys.stdin:
        for row, where in json.loads(line):
            try:
                data = (
                    read_entry(archive, where, limits.file_bytes)
                    if archive
                    else read_file(os.path.join(setup["source"], where), limits.file_bytes)
                )
                pixels = squares(data, list(files), limits)
            except InputError as error:
                say([row, None, str(error), None])
                continue
            except MemoryError:
                say([row, None, "It needs more memory than one picture may use.", None])
                continue
            try:
                say([row, write(files, setup["offset"], row, pixels), None, None])
            except OSError as error:
                say([row, None, None, f"The decoded pictures could not be written ({error.strerror})."])


def write(files: dict[int, io.RawIOBase], offset: int, row: int, pixels: list[np.ndarray]) -> list[str]:
    """Puts the pixels at their row of each file; a digest of each. Not a memmap: a full disk would be a SIGBUS."""
    digests = []
    for file, array in zip(files.values(), pixels, strict=True):
        data = memoryview(array.tobytes())
        digests.append(hashlib.blake2b(data, digest_size=16).hexdigest())
        file.seek(offset + row * len(data))
        while data:
            data = data[file.write(data) :]
    return digests


def say(answer) -> None:
    print(json.dumps(answer), flush=True)


def limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, OSError, ValueError):
        pass  # Windows has no such limit, macOS refuses it


# The parent


def decode_into(
    files: dict[int, Path],
    offset: int,
    source: Path,
    is_zip: bool,
    places: Sequence[str | int],
    limits: Limits,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[list[str] | None, str | None]]:
    """Decodes every place into its row of `files` (size -> file whose pixels begin at byte `offset`).

    Returns per place (digest per size, None) or (None, the reason why it could not be read).
    """
    setup = {
        "source": str(source),
        "zip": is_zip,
        "offset": offset,
        "limits": asdict(limits),
        "files": {size: str(path) for size, path in files.items()},
    }
    workers = max(1, min(workers or cores(), math.ceil(len(places) / 8)))
    step = max(1, min(32, len(places) // (4 * workers)))
    rows = list(enumerate(places))
    batches = collections.deque(rows[i : i + step] for i in range(0, len(rows), step))
    answers: dict[int, tuple] = {}
    feeders = [Feeder(setup, batches, answers, limits.seconds) for _ in range(workers)]
    try:
        for feeder in feeders:
            feeder.start()
        while any(feeder.is_alive() for feeder in feeders):
            next(feeder for feeder in [*filter(Feeder.is_alive, feeders), feeders[0]]).join(0.05)
            for feeder in feeders:
                feeder.watch()
            if progress:
                progress(len(answers), len(places))
    finally:  # also when `progress` raises, which is how a caller stops the work
        batches.clear()
        for feeder in feeders:
            feeder.end()
    for feeder in feeders:
        if feeder.error:
            raise feeder.error
    return [answers[row] for row in range(len(places))]


def cores() -> int:
    """Cores this process may use, at most 16."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, count)


class Feeder(threading.Thread):
    """Keeps one worker busy: a worker that dies or is too late is replaced, and its picture is listed."""

    def __init__(self, setup: dict, batches: collections.deque, answers: dict, seconds: float):
        super().__init__(daemon=True)
        self.setup, self.batches, self.answers, self.seconds = setup, batches, answers, seconds
        self.process: subprocess.Popen | None = None
        self.waiting: tuple[int, float] | None = None  # row and the time when it is too late
        self.late, self.tried = set(), set()  # rows
        self.ended, self.error = False, None

    def run(self) -> None:
        try:
            while self.batches and not self.ended:
                batch = self.batches.popleft()
                while batch and not self.ended:
                    batch = self.decode(batch)
        except IndexError:
            pass  # another feeder took the last batch
        except Exception as error:
            if not self.ended:
                self.error = error
            self.batches.clear()
        finally:
            self.stop()

    def decode(self, batch: list) -> list:
        """Sends a batch and collects its answers. Returns what is left to do after the worker died."""
        process = self.process or self.launch()
        try:
            process.stdin.write(json.dumps(batch) + "\n")
            process.stdin.flush()
        except OSError:
            pass  # it died: the first read below tells
        for position, (row, _) in enumerate(batch):
            self.waiting = (row, time.monotonic() + self.seconds)
            line = process.stdout.readline()
            self.waiting = None
            if not line.endswith("\n"):
                self.stop()
                return batch[position + self.blame(row) :]
            _, digests, reason, fatal = json.loads(line)
            if fatal:
                raise InputError(f"{fatal} Make room on the disk and try again.")
            self.answers[row] = (digests, reason)
        return []

    def blame(self, row: int) -> bool:
        """True once the picture at `row` is listed as the cause; a crash gets a second try in a fresh worker."""
        if row in self.late:
            self.answers[row] = (None, f"It took longer than {self.seconds:g} seconds to decode.")
        elif row in self.tried:
            self.answers[row] = (None, "The picture decoder crashed on it.")
        self.tried.add(row)
        return row in self.answers

    def launch(self) -> subprocess.Popen:
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "byolmeta.decode"],
            cwd=root,  # -m puts the working directory first on the path: it must not be the user's folder
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self.waiting = (-1, time.monotonic() + START_SECONDS)
        try:
            self.process.stdin.write(json.dumps(self.setup) + "\n")
            self.process.stdin.flush()
            ready = self.process.stdout.readline()
        except OSError:
            ready = ""
        self.waiting = None
        if not ready and not self.ended:
            raise RuntimeError("A decoding process did not start: run `python -m byolmeta.decode` to see why.")
        return self.process

    def watch(self) -> None:
        """Called by the parent's loop: ends the worker if its picture is too late."""
        waiting = self.waiting
        if waiting and time.monotonic() > waiting[1]:
            self.late.add(waiting[0])
            self.kill()

    def kill(self) -> None:
        process = self.process  # once: the thread may set it to None meanwhile
        if process:
            process.kill()

    def stop(self) -> None:
        if self.process:
            process, self.process = self.process, None
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                try:
                    pipe.close()
                except OSError:
                    pass  # closing flushes, and the reader may be gone

    def end(self) -> None:
        """Ends the thread and its worker, wherever they are."""
        self.ended = True
        while self.is_alive():
            self.kill()
            self.join(0.05)


if __name__ == "__main__":
    main()
