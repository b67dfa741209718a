"""A folder, a zip or a list of files -> `ImageIndex` (names and classes) -> `ImageStore` (decoded pixels on disk).

Decoding happens once: `stores/<signature>-<size>/` holds `index.json` and `pixels.npy`, where the signature is made
of names, sizes and times, so a changed folder gets a new store. The source is only read.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from byolmeta import decode
from byolmeta.decode import Limits
from byolmeta.errors import InputError

FORMAT = 1  # of the store; also raise it when decoding changes
ENDINGS = frozenset(".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm".split())
KINDS = "JPG, PNG, WebP, BMP, GIF or TIFF"
ARCHIVES = frozenset(".zip .7z .rar .tar .gz .tgz .bz2 .xz".split())
SPLITS = frozenset("train training val valid validation test testing images masks labels annotations".split())
LISTED = 20  # files that are not pictures are listed one by one up to here


@dataclass(frozen=True)
class Skipped:
    name: str
    reason: str  # a plain sentence for the user


@dataclass(frozen=True, eq=False)
class ImageIndex:
    """Which pictures there are. Names are text as found on disk: never HTML, perhaps with surrogates."""

    source: Path  # the folder, the zip, or the common parent of a list
    paths: tuple[str, ...]  # relative to the source, "/" between parts, in natural order, unique
    labels: np.ndarray  # int64 (N,), -1 where a picture has no class
    class_names: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    fingerprint: str  # hex; of a store: of its names and decoded pixels

    def __len__(self) -> int:
        return len(self.paths)


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


def index_images(source: Path | str | Sequence[Path | str], limits: Limits = Limits()) -> ImageIndex:
    """The pictures of a folder, a zip or a list of files by name; nothing is decoded."""
    return scan(source, limits).index()


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
    if not all(4 <= s <= 1024 for s in (size, *also)):
        raise InputError(f"The picture size is {size}; it must be 4 to 1024 pixels.")
    found = scan(source, limits)
    stores = Path(stores)
    stores.mkdir(parents=True, exist_ok=True)
    folders = {s: stores / f"{found.signature}-{s}" for s in dict.fromkeys((size, *also))}
    missing = {s: folder for s, folder in folders.items() if not (folder / "index.json").exists()}
    if missing:
        build(found, missing, stores, limits, workers, progress)
    try:
        return load(folders[size], found.source)
    except (OSError, ValueError, KeyError, TypeError):  # somebody damaged it
        shutil.rmtree(folders[size], ignore_errors=True)
        build(found, {size: folders[size]}, stores, limits, workers, progress)
        return load(folders[size], found.source)


def read_image(picture: Path | str | bytes | Image.Image, size: int, limits: Limits = Limits()) -> np.ndarray:
    """One picture as the store would hold it: uint8 (3, size, size). InputError with a sentence if unreadable."""
    if isinstance(picture, (str, os.PathLike)):
        picture = decode.read_file(picture, limits.file_bytes, follow=True)
    return decode.squares(picture, [size], limits)[0]


# Finding pictures


@dataclass
class Scan:
    """What a source holds: per picture its path, the place where a worker finds it, and a stamp of its state."""

    source: Path
    is_zip: bool
    pictures: list[tuple[str, str | int, str]]
    skipped: list[Skipped]
    signature: str = ""
    singles: bool = True  # whether classes of one picture each are believed

    def close(self, limits: Limits) -> "Scan":
        self.pictures.sort(key=lambda picture: natural(picture[0]))
        if not self.pictures:
            others = "; ".join(f"{s.name}: {s.reason}" for s in self.skipped[:3])
            raise InputError(
                f"{self.source.name} has no pictures. Needed are {KINDS} files, in it or in folders "
                f"inside it. {others}".strip()
            )
        known = [
            FORMAT,
            self.is_zip,
            limits.pixels,
            limits.file_bytes,
            limits.seconds,
            [(path, stamp) for path, _, stamp in self.pictures],
        ]
        self.signature = digest(json.dumps(known))
        self.skipped = summary(self.skipped)
        return self

    def index(self) -> ImageIndex:
        paths = tuple(path for path, _, _ in self.pictures)
        labels, names = classes(paths, self.singles)
        return ImageIndex(self.source, paths, labels, names, tuple(self.skipped), self.signature)


def scan(source: Path | str | Sequence[Path | str], limits: Limits) -> Scan:
    if not isinstance(source, (str, os.PathLike)):
        return scan_files([Path(path) for path in source], limits)
    if not str(source).strip():
        raise InputError("No folder is given. Give the path of a folder or a zip with pictures.")
    source = Path(os.path.abspath(Path(source).expanduser()))
    try:
        mode = source.stat().st_mode
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a possible path"
        raise InputError(f"{source} could not be opened ({why}). Check the path.") from None
    if stat.S_ISDIR(mode):
        return scan_folder(source, limits)
    if stat.S_ISREG(mode) and source.suffix.lower() in ENDINGS:
        return scan_files([source], limits)
    if stat.S_ISREG(mode):
        return scan_zip(source, limits)
    raise InputError(f"{source} is neither a folder nor a file. Give a folder or a zip with pictures.")


def scan_folder(root: Path, limits: Limits) -> Scan:
    found = Scan(root, False, [], [])
    folders, seen = [""], 0
    while folders:
        prefix = folders.pop()
        try:
            entries = list(os.scandir(root / prefix))
        except OSError as error:
            found.skipped.append(Skipped(prefix or root.name, f"The folder could not be opened ({error.strerror})."))
            continue
        seen += len(entries)
        if seen > 10 * limits.images:
            raise InputError(f"{root} has more than {10 * limits.images:,} files. Choose a smaller folder.")
        for entry in entries:
            if ignored(entry.name) or entry.is_symlink() or getattr(entry, "is_junction", bool)():
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{prefix}{entry.name}/")
            else:
                add_file(found, prefix + entry.name, entry.stat(follow_symlinks=False), limits)
    return found.close(limits)


def scan_files(files: list[Path], limits: Limits) -> Scan:
    if not files:
        raise InputError("No pictures are given. Choose a folder, a zip or some picture files.")
    if len(files) == 1 and (files[0].is_dir() or files[0].suffix.lower() == ".zip"):
        return scan(files[0], limits)
    files = list(dict.fromkeys(Path(os.path.abspath(file)) for file in files))
    try:
        root = Path(os.path.commonpath([file.parent for file in files]))
    except ValueError:  # two drives on Windows
        raise InputError("The pictures lie on different drives. Copy them into one folder.") from None
    found = Scan(root, False, [], [], singles=False)  # uploads lie in a folder of their own each
    for file in files:
        path = file.relative_to(root).as_posix()
        try:
            add_file(found, path, file.lstat(), limits)
        except (OSError, ValueError):
            found.skipped.append(Skipped(path, "The file is not there."))
    return found.close(limits)


def add_file(found: Scan, path: str, status: os.stat_result, limits: Limits) -> None:
    if not stat.S_ISREG(status.st_mode):
        found.skipped.append(Skipped(path, "Not an ordinary file."))
    else:
        add(found, path, path, status.st_size, f"{status.st_size} {status.st_mtime_ns}", limits)


def scan_zip(source: Path, limits: Limits) -> Scan:
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
    except Exception as error:  # zipfile raises nearly anything on damaged files
        raise InputError(
            f"{source.name} is not a zip that can be read ({error}). Needed is a folder, a zip or "
            f"{KINDS} files. Unpack other archives first."
        ) from None
    found = Scan(source, True, [], [])
    names, total = set(), 0
    for number, entry in enumerate(entries):
        name = entry.filename.replace("\\", "/")
        path = "/".join(part for part in name.split("/") if part not in ("", "."))
        if entry.is_dir() or name.endswith("/") or any(map(ignored, path.split("/"))):
            continue
        reason = zip_reason(entry, name) or ("The zip has two files of this name." if path in names else "")
        names.add(path)
        if reason:
            found.skipped.append(Skipped(name, reason))
        elif add(found, path, number, entry.file_size, f"{entry.file_size} {entry.CRC}", limits):
            total += entry.file_size
        if total > limits.total_bytes:
            raise InputError(
                f"{source.name} unpacks to more than {limits.total_bytes / 1e9:,.1f} GB of pictures, "
                f"which is the limit. Use a part of them."
            )
    return found.close(limits)


def zip_reason(entry: zipfile.ZipInfo, name: str) -> str:
    """Why an entry is not opened; empty if it may be."""
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/"):
        return "Its name points outside of the zip."
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "It is a link, not a picture."
    if entry.flag_bits & 1:
        return "It is locked with a password. Unpack the zip first."
    return ""


def add(found: Scan, path: str, place: str | int, size: int, stamp: str, limits: Limits) -> bool:
    """Takes a file into the pictures, or into the skipped."""
    ending = PurePosixPath(path).suffix.lower()
    if ending in (".heic", ".heif", ".avif"):
        reason = f"{ending[1:].upper()} pictures cannot be read. Save it as JPG."
    elif ending in ARCHIVES:
        reason = "It is an archive inside. Unpack it first."
    elif ending not in ENDINGS:
        reason = f"Not a picture ({ending})." if ending else "Not a picture (no ending)."
    elif size == 0:
        reason = "The file is empty."
    elif size > limits.file_bytes:
        reason = f"It has {size / 1e6:,.1f} MB; the limit is {limits.file_bytes / 1e6:,.1f} MB for one picture."
    else:
        found.pictures.append((path, place, stamp))
        if len(found.pictures) > limits.images:
            raise InputError(
                f"{found.source.name} has more than {limits.images:,} pictures, which is the limit. "
                f"Choose a smaller folder."
            )
        return True
    found.skipped.append(Skipped(path, reason))
    return False


def summary(skipped: list[Skipped]) -> list[Skipped]:
    """At most `LISTED` of the files that are no pictures; the rest in one line."""
    others = [s for s in skipped if s.reason.startswith("Not a picture")]
    kept = [s for s in skipped if not s.reason.startswith("Not a picture")] + others[:LISTED]
    if len(others) > LISTED:
        kept.append(Skipped(f"{len(others) - LISTED:,} more files", "Not pictures."))
    return kept


def ignored(name: str) -> bool:
    return name.startswith(".") and name != ".." or name.casefold() in ("__macosx", "thumbs.db", "desktop.ini")


def natural(path: str) -> list:
    """Sort key: 2.jpg before 10.jpg, folders together."""
    parts = re.split("([0-9]+)", path.replace("/", "\0").casefold())
    parts[1::2] = [(len(number.lstrip("0")), number.lstrip("0")) for number in parts[1::2]]
    return [parts, path]


def classes(paths: Sequence[str], singles: bool = True) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (N,) and class names from folders: the first level with two or more of them.

    A level of only train, test, val, images ... says nothing about classes, so the one below counts.
    """
    folders = [path.split("/")[:-1] for path in paths]
    for level in range(max(map(len, folders), default=0)):
        names = [parts[level] if len(parts) > level else None for parts in folders]
        counts = Counter(name for name in names if name is not None)
        if len(counts) < 2 or all(name.lower() in SPLITS for name in counts):
            continue
        if not singles and len(counts) == len(paths):
            break
        order = {name: label for label, name in enumerate(sorted(counts, key=natural))}
        return np.array([order.get(name, -1) for name in names], np.int64), tuple(order)
    return np.full(len(paths), -1, np.int64), ()


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
            raise


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


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# Copies


def near_copies(store: ImageStore, threshold: float = 0.95) -> list[list[int]]:
    """Groups (two or more ids, sorted) of exact copies and of the same picture re-encoded, brightened or resized.

    Near copies have a cosine of `threshold` or more between their descriptors. Up to 20,000 pictures every pair is
    compared; above, pairs that share one of eight hash buckets.
    """
    leader = np.arange(len(store))
    first: dict[bytes, int] = {}
    for row, picture in enumerate(store.pixels):
        key = hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
        leader[row] = first.setdefault(key, row)
    vectors = descriptors(store.pixels)
    for rows in buckets(vectors):
        for start in range(0, len(rows), 2048):
            block = rows[start : start + 2048]
            near = vectors[block] @ vectors[rows[start:]].T >= threshold
            for a, b in np.argwhere(near):
                if a < b:
                    a, b = find(leader, block[a]), find(leader, rows[start + b])
                    leader[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for row in range(len(store)):
        groups.setdefault(find(leader, row), []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def copies_group_ids(store: ImageStore) -> np.ndarray:
    """int64 (N,): the same number for pictures that are copies of each other, its own for every other picture."""
    ids = np.arange(len(store), dtype=np.int64)
    for group in near_copies(store):
        ids[group] = group[0]
    return ids


def descriptors(pixels: np.ndarray) -> np.ndarray:
    """Unit vectors float32 (N, 256): the local contrasts of the grey picture at 16 x 16; flat pictures are 0."""
    pool = pooling(pixels.shape[-1], 16)
    result = np.zeros((len(pixels), 256), np.float32)
    for start in range(0, len(pixels), 1024):
        red, green, blue = pixels[start : start + 1024].transpose(1, 0, 2, 3)
        grey = pool @ (0.299 * red + 0.587 * green + 0.114 * blue).astype(np.float32) @ pool.T
        edges = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
        mean = sum(edges[:, y : y + 16, x : x + 16] for y in range(3) for x in range(3)) / 9
        contrast = (grey - mean).reshape(len(grey), -1)
        contrast -= contrast.mean(1, keepdims=True)
        length = np.linalg.norm(contrast, axis=1, keepdims=True)
        result[start : start + 1024] = np.where(length > 4, contrast / np.maximum(length, 1), 0)  # 4: rounding noise
    return result


def pooling(size: int, parts: int) -> np.ndarray:
    """float32 (parts, size): averages `size` values over `parts` equal stretches, sharing values at their ends."""
    ends = np.arange(parts + 1) * size / parts
    left, right = ends[:-1, None], ends[1:, None]
    cell = np.arange(size)
    return (np.clip(np.minimum(right, cell + 1) - np.maximum(left, cell), 0, None) * parts / size).astype(np.float32)


def buckets(vectors: np.ndarray, whole: int = 20_000) -> Iterator[np.ndarray]:
    """Sets of rows in which near vectors lie together: everything, or by 12 signs of random projections, 8 times."""
    if len(vectors) <= whole:
        yield np.arange(len(vectors))
        return
    random = np.random.default_rng(0)
    for _ in range(8):
        values = vectors @ random.standard_normal((vectors.shape[1], 12), np.float32)
        keys = (values > np.median(values, 0)) @ (1 << np.arange(12))
        order = np.argsort(keys, kind="stable")
        yield from np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)


def find(leader: np.ndarray, row: int) -> int:
    """The first row of the group of `row` (union-find with path halving)."""
    while leader[row] != row:
        leader[row] = row = leader[leader[row]]
    return int(row)
