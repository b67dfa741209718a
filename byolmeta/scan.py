"""A folder, a zip or a list of files -> `ImageIndex`: which pictures there are, and their classes. Nothing is decoded."""

import hashlib
import json
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

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


def index_images(source: Path | str | Sequence[Path | str], limits: Limits = Limits()) -> ImageIndex:
    """The pictures of a folder, a zip or a list of files by name; nothing is decoded."""
    return scan(source, limits).index()


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
            self.is_zip
            or str(self.source),  # a zip's checksums tell its pictures; elsewhere names and times could agree
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
    try:
        source = Path(os.path.abspath(Path(source).expanduser()))
        mode = source.stat().st_mode
    except (OSError, ValueError, RuntimeError) as error:
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
                try:
                    add_file(found, prefix + entry.name, entry.stat(follow_symlinks=False), limits)
                except OSError:
                    found.skipped.append(Skipped(prefix + entry.name, "The file is not there."))
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
        add(found, path, path, status.st_size, f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}", limits)


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


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
