"""`ImageIndex` -> `ImageStore`: the pictures of a folder, a zip or a list of files, decoded and kept on disk.

Decoding happens once: `stores/<signature>-<size>/` holds `index.json` and `pixels.npy`, where the signature is made
of names, sizes and times, so a changed folder gets a new store. The source is only read.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from byolmeta import decode
from byolmeta.decode import Limits
from byolmeta.errors import InputError
from byolmeta.scan import ImageIndex, Scan, Skipped, classes, digest, scan


@dataclass(frozen=True, eq=False)
class ImageStore:
    """The pictures that could be decoded, as squares."""

    index: ImageIndex
    pixels: np.ndarray  # uint8 (N, 3, S, S), memory-mapped, read-only

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        return self.pixels.shape[-1]

    @property
    def labels(self) -> np.ndarray:
        return self.index.labels

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.index.class_names

    @property
    def fingerprint(self) -> str:
        return self.index.fingerprint


def open_store(
    source: Path | str | Sequence[Path | str],
    stores: Path,
    size: int = 64,
    *,
    also: Sequence[int] = (),
    limits: Limits = Limits(),
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageStore:
    """The decoded pictures of a source at `size` pixels, from the cache in `stores` where they are there.

    Sizes in `also` are decoded in the same pass, to be opened later. `progress(done, total)` is called from this
    thread; raising in it stops the work and leaves nothing behind.
    """
    for side in (size, *also):
        check_side(side, limits)
    found = scan(source, limits)
    stores = Path(stores)
    stores.mkdir(parents=True, exist_ok=True)
    folders = {s: stores / f"{found.signature}-{s}" for s in dict.fromkeys((size, *also))}
    missing = {s: folder for s, folder in folders.items() if not (folder / "index.json").exists()}
    if missing:
        build(found, missing, stores, limits, workers, progress)
    try:
        return load(folders[size], found.source)
    except (OSError, ValueError, KeyError, TypeError, EOFError):  # somebody damaged it
        remove(folders[size])
        build(found, {size: folders[size]}, stores, limits, workers, progress)
        return load(folders[size], found.source)


def check_side(side: int, limits: Limits) -> None:
    """Raises InputError for pictures that are too small or too large, once they are decoded."""
    if not 4 <= side <= limits.side:
        raise InputError(f"The picture size is {side}; it must be 4 to {limits.side} pixels.")


def read_image(picture: Path | str | bytes | Image.Image, size: int, limits: Limits = Limits()) -> np.ndarray:
    """One picture as the store would hold it: uint8 (3, size, size). InputError with a sentence if unreadable."""
    if isinstance(picture, (str, os.PathLike)):
        picture = decode.read_file(picture, limits.file_bytes, follow=True)
    return decode.squares(picture, [size], limits)[0]


# Stores


def build(
    found: Scan,
    folders: dict[int, Path],
    stores: Path,
    limits: Limits,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Decodes into a temporary folder and renames it, so a store is there whole or not at all."""
    sweep(stores)
    count = len(found.pictures)
    needed = sum(3 * size * size for size in folders) * count
    free = shutil.disk_usage(stores).free
    if needed > 0.95 * free:
        raise InputError(
            f"{count:,} decoded pictures need {needed / 1e9:,.1f} GB and {stores} has "
            f"{free / 1e9:,.1f} GB free. Make room, or use fewer pictures."
        )
    with tempfile.TemporaryDirectory(prefix=".building-", dir=stores, ignore_cleanup_errors=True) as temporary:
        files = {size: Path(temporary, str(size), "pixels.npy") for size in folders}
        for size, file in files.items():
            file.parent.mkdir()
            offset = np.lib.format.open_memmap(file, "w+", np.uint8, (count, 3, size, size)).offset
        answers = decode.decode_into(
            files,
            offset,
            found.source,
            found.is_zip,
            [place for _, place, _ in found.pictures],
            limits,
            workers,
            progress,
        )
        rows = [row for row, (digests, _) in enumerate(answers) if digests]
        paths = [found.pictures[row][0] for row in rows]
        failed = [Skipped(found.pictures[row][0], reason) for row, (_, reason) in enumerate(answers) if reason]
        if not rows:
            raise InputError(f"None of the {count:,} pictures could be read. {failed[0].name}: {failed[0].reason}")
        for number, (size, folder) in enumerate(folders.items()):
            prints = digest(
                json.dumps([size, [(path, answers[row][0][number]) for path, row in zip(paths, rows, strict=True)]])
            )
            record = {
                "fingerprint": prints,
                "paths": paths,
                "singles": found.singles,
                "skipped": [asdict(s) for s in [*failed, *found.skipped]],
            }
            finish(files[size], rows, record, folder)


def finish(file: Path, rows: list[int], record: dict, folder: Path) -> None:
    """Leaves out the rows that failed, adds the index, and puts the folder in its place."""
    pixels = np.load(file, mmap_mode="r")  # deleted before any rename: Windows moves no file that is mapped
    if len(rows) == len(pixels):
        del pixels
    else:
        dense = np.lib.format.open_memmap(file.with_name("dense.npy"), "w+", np.uint8, (len(rows), *pixels.shape[1:]))
        for start in range(0, len(rows), 1024):
            dense[start : start + 1024] = pixels[rows[start : start + 1024]]
        del dense, pixels
        os.replace(file.with_name("dense.npy"), file)
    file.with_name("index.json").write_text(json.dumps(record), encoding="ascii")  # surrogates survive as \\udcXX
    try:
        os.replace(file.parent, folder)
    except OSError:
        if not (folder / "index.json").exists():  # else another process was first, with the same pictures
            remove(folder)  # a store is put in place whole, so this one was damaged later
            os.replace(file.parent, folder)


def remove(place: Path) -> None:
    """Removes a store, or a file that stands in its place."""
    shutil.rmtree(place, ignore_errors=True)
    if place.is_file():
        place.unlink()


def load(folder: Path, source: Path) -> ImageStore:
    record = json.loads((folder / "index.json").read_text(encoding="ascii"))
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    paths = tuple(record["paths"])
    if len(paths) != len(pixels):
        raise ValueError("the index does not fit the pixels")
    labels, names = classes(paths, record["singles"])
    skipped = tuple(Skipped(**s) for s in record["skipped"])
    os.utime(folder / "index.json")  # the time of last use, for trim_stores
    return ImageStore(ImageIndex(source, paths, labels, names, skipped, record["fingerprint"]), pixels)


def trim_stores(stores: Path, max_bytes: int) -> None:
    """Removes the stores that were not used for longest until the rest fits into `max_bytes`."""
    sweep(stores)
    used = sorted(Path(stores).glob("*/index.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    total = 0
    for file in used:
        total += sum(part.stat().st_size for part in file.parent.iterdir())
        if total > max_bytes:
            shutil.rmtree(file.parent, ignore_errors=True)


def sweep(stores: Path) -> None:
    """Removes what killed processes left behind: building folders older than a day."""
    for folder in Path(stores).glob(".building-*"):
        if time.time() - folder.stat().st_mtime > 86_400:
            shutil.rmtree(folder, ignore_errors=True)
