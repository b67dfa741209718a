"""What all verbs stand on: where work is kept, pictures and vectors opened there, progress shown on standard error."""

import csv
import os
import sys
import tempfile
import time
from pathlib import Path

from byolmeta.decode import SHARED, Limits
from byolmeta.errors import InputError
from byolmeta.files import UNTRAINED, image_size_of

FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # with which spreadsheets, also those of wide letters, begin one
PUBLIC = "BYOLMETA_PUBLIC"  # set in the environment of what a shared machine does for others
TOLD = 10  # files that could not be read are named up to here


def home() -> Path:
    """Where decoded pictures, vectors and runs are kept: BYOLMETA_HOME, else ~/.byolmeta. InputError if not writable."""
    folder = Path(os.environ.get("BYOLMETA_HOME") or "~/.byolmeta").expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise InputError(
            f"'{folder}' cannot be written ({problem.strerror}). Give another folder with --home (BYOLMETA_HOME)."
        ) from None
    return folder


def local(encoder: str) -> str:
    """The encoder's name, or the file that was fetched for torchvision:, timm: and hub: names."""
    if str(encoder).startswith(f"{UNTRAINED}:"):  # its shape is that of another
        return f"{UNTRAINED}:{local(str(encoder).partition(':')[2])}"
    if not str(encoder).startswith(("torchvision:", "timm:", "hub:")):
        return str(encoder)
    from byolmeta.hub import fetch

    return str(fetch(str(encoder), home() / "encoders"))


def vectors_of(encoder: str, folder: Path, beside=None, plain: bool = False):
    """The store of a folder at the encoder's picture size, and its vectors (N, D); the rest as in encoder_bank."""
    from byolmeta.features import encoder_bank

    encoder = local(encoder)
    store = store_of(folder, encoder, home())
    return store, encoder_bank(encoder, store, home() / "banks", bar("Vectors"), beside, plain).vectors


def store_of(folder: Path, size: int | str, where: Path, shared: bool = False):
    """The decoded pictures of a folder, at a size or at that of an encoder; `shared`: for a visitor of a shared machine."""
    from byolmeta.images import open_store

    size = size if isinstance(size, int) else image_size_of(size)
    limits = SHARED if shared or os.environ.get(PUBLIC) else Limits()
    store = open_store(folder, where / "stores", size, limits=limits, progress=bar("Pictures"))
    if skipped := store.index.skipped:
        print(f"{len(skipped):,} files of '{folder}' were left out:", file=sys.stderr)
        for one in skipped[:TOLD]:
            print(f"  {text(one.name)!r}: {one.reason}", file=sys.stderr)
    return store


def bar(what: str):
    """A progress bar on standard error; quiet where that is a file, save for a line every ten seconds."""
    terminal, last = sys.stderr.isatty(), [0.0]

    def show(done: int, total: int, line: dict | None = None) -> None:
        now = time.monotonic()
        if rank():
            return
        if now - last[0] < (0.1 if terminal else 10) and done < total:
            return
        last[0] = now
        said = ""
        if line:  # of training
            left = line["seconds"] / max(done, 1) * (total - done)
            speed = f"{line['images_per_second']:.0f} pictures/s" if "images_per_second" in line else ""
            speed = speed or f"{line['episodes_per_second']:.0f} puzzles/s"
            said = f"  loss {line['loss']:.3f}  {speed}  {left // 60:.0f}:{left % 60:02.0f} left"
        filled = "#" * (30 * done // max(total, 1))
        print(
            f"\r{what} [{filled:<30}] {done}/{total}{said}",
            end="" if terminal and done < total else "\n",
            file=sys.stderr,
            flush=True,
        )

    return show


def writable(path: Path) -> None:
    """Makes the folder of a file to be written. Raises InputError, before any work, where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.exists()
        with open(path, "ab"):
            pass
        if not there:
            path.unlink()
    except OSError as problem:
        raise InputError(f"'{path}' cannot be written ({problem.strerror}). Choose another place for --out.") from None


def text(name: str) -> str:
    """A name as valid text; bytes that are not UTF-8 become a replacement sign."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def rank() -> int:
    """Number of this process among those that torchrun started for one run; 0 without it."""
    return int(os.environ.get("RANK", 0))


def write_csv(path: Path, rows: list[dict]) -> None:
    """A CSV that is safe to open in a spreadsheet: text that would be a formula gets an apostrophe in front."""
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        fields = rows[0].keys() if rows else ["path"]
        writer = csv.DictWriter(file, fields, quoting=csv.QUOTE_NONNUMERIC)  # else "a;=1" is two cells where ; divides
        writer.writeheader()
        writer.writerows(
            {k: f"'{v}" if isinstance(v, str) and v.startswith(FORMULA) else v for k, v in row.items()} for row in rows
        )
