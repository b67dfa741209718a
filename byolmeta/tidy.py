"""Tidying a folder without touching it: copies, odd ones out and misplaced pictures as ranked lists, and what the
user decided about them. The user's files are only read; decisions are a list in the project folder."""

import contextlib
import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from byolmeta.copies import descriptors, near_copies
from byolmeta.decode import Limits, read_entry, read_file
from byolmeta.errors import InputError
from byolmeta.features import neighbours
from byolmeta.files import replace_file
from byolmeta.images import ImageStore
from byolmeta.scan import ImageIndex, scan_zip

COPY, ODD, MISPLACED = "copy", "odd", "misplaced"  # why a picture is listed
NEAREST = 10  # neighbours that are asked
LONELIER = 1.3  # than its neighbours: from here on a picture is listed as odd
CLEARLY = 0.5  # of all votes: by how much another class has to lead
TEMPERATURE = 0.1  # of a vote, as in features.knn_predict
FILE = "decisions.json"


@dataclass(frozen=True)
class Finding:
    """A picture that is worth a look."""

    row: int
    score: float  # 0..1; a list is ranked by it, largest first
    reason: str  # COPY, ODD or MISPLACED
    others: tuple[int, ...]  # rows to show beside it: the copy that stays, or the nearest pictures
    label: int = -1  # the class that it sits among, for MISPLACED


# Lists


def copies(store: ImageStore) -> list[Finding]:
    """Every picture that an earlier one is a near copy of; `others` begins with that earlier one, which stays.

    The score is the likeness to it. Copies of one picture follow each other, the groups with the likest copy first.
    """
    groups = []
    for rows in near_copies(store):
        vectors = descriptors(store.pixels[rows])
        likeness = vectors[1:] @ vectors[0]
        equal = (store.pixels[rows[1:]] == store.pixels[rows[0]]).all((1, 2, 3))  # flat pictures have no descriptor
        likeness = np.where(equal, 1, np.clip(likeness, 0, 1))
        found = [
            Finding(row, float(score), COPY, tuple(other for other in rows if other != row))
            for row, score in zip(rows[1:], likeness, strict=True)
        ]
        groups.append(sorted(found, key=lambda finding: -finding.score))
    groups.sort(key=lambda found: -found[0].score)
    return [finding for found in groups for finding in found]


def odd_ones(vectors: np.ndarray, k: int = NEAREST) -> np.ndarray:
    """How much lonelier each picture is than its neighbours, float32 (N,); about 1 is ordinary, larger is odder.

    The local outlier factor (Breunig et al. 2000) with cosine distances to the k nearest others. Reaches below a tenth
    of the usual count as that: else whatever lies near a heap of copies would be endlessly odd.
    """
    return _outlier_factors(*neighbours(vectors, k)) if len(vectors) > 2 else np.ones(len(vectors), np.float32)


def _outlier_factors(ids: np.ndarray, distances: np.ndarray) -> np.ndarray:
    reach = np.maximum(distances[:, -1][ids], distances).mean(1)
    density = 1 / np.maximum(reach, max(np.median(reach) / 10, 1e-6))
    return (density[ids].mean(1) / density).astype(np.float32)


def oddness(scores: np.ndarray) -> np.ndarray:
    """The share of pictures that are less odd, 0..1, float32 (N,): for colours, and to say 'odder than 99 of 100'."""
    less = np.searchsorted(np.sort(scores), scores, side="left")
    return (less / max(len(scores), 1)).astype(np.float32)


def odd_list(vectors: np.ndarray, most: int = 60, k: int = NEAREST) -> list[Finding]:
    """The pictures that are clearly odder than most, at most `most` and a tenth of all, each with its three nearest. The score is `oddness`."""
    if len(vectors) < 10:
        return []
    ids, distances = neighbours(vectors, k)
    scores = _outlier_factors(ids, distances)
    rows, share = np.argsort(-scores, kind="stable")[: min(most, len(scores) // 10)], oddness(scores)
    return [Finding(int(row), float(share[row]), ODD, tuple(ids[row, :3].tolist())) for row in rows if scores[row] > 1]


def misplaced(vectors: np.ndarray, labels: np.ndarray, k: int = NEAREST) -> list[Finding]:
    """Pictures that sit clearly among another class than their own; labels (N,), -1 without a class.

    The score is the lead of that class over their own in the votes of the k nearest others, 0.5 or more. Of
    scikit-learn's digits as raw pixels, 5 % put into a wrong class at random, it lists 99 % of those, and 92 % of the
    list are those. Beside each are its three nearest of the other class.
    """
    known = np.flatnonzero(labels >= 0)
    votes, ids = _votes(vectors[known], labels[known], k)
    if not votes.size:
        return []
    rows, own = np.arange(len(known)), labels[known]
    best = votes.argmax(1)
    lead = votes[rows, best] - votes[rows, own]
    found = []
    for row in np.argsort(-lead, kind="stable"):
        if lead[row] < CLEARLY:
            break
        near = ids[row][own[ids[row]] == best[row]][:3]
        found.append(Finding(int(known[row]), float(lead[row]), MISPLACED, tuple(known[near].tolist()), int(best[row])))
    return found


def _votes(vectors: np.ndarray, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Votes (N, classes) of each picture's k nearest others, rows of sum 1 (or 0), and who they are, ids (N, k).

    exp(cos / t), as Wu et al. 2018. Of a class of s pictures only the 2 (s - 1) nearest are asked, so that a small
    class can hold half of the votes; the only picture of a class is not judged.
    """
    if len(labels) < 2:
        return np.empty((0, 0), np.float32), np.empty((0, 0), np.int64)
    ids, distances = neighbours(vectors, k)
    asked = 2 * (np.bincount(labels)[labels] - 1)
    weights = np.exp(-distances / TEMPERATURE) * (np.arange(ids.shape[1]) < asked[:, None])
    votes = np.zeros((len(labels), labels.max() + 1), np.float32)
    np.add.at(votes, (np.arange(len(labels))[:, None], labels[ids]), weights)
    return votes / np.maximum(votes.sum(1, keepdims=True), 1e-12), ids


# Decisions


@dataclass(frozen=True)
class Decisions:
    """What the user decided, by the paths of an index. Never changed in place, so an earlier one undoes a step."""

    not_a_mistake: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by the reason of the finding
    moved: Mapping[str, str] = field(default_factory=dict)  # path to name of class
    aside: frozenset[str] = frozenset()

    def keep(self, path: str, reason: str) -> "Decisions":
        """With a picture that is right as it is, so that the list of this reason leaves it out."""
        kept = self.not_a_mistake.get(reason, frozenset()) | {path}
        return replace(self, not_a_mistake={**self.not_a_mistake, reason: kept})

    def move(self, path: str, name: str) -> "Decisions":
        """With a picture that belongs to the class `name`."""
        return replace(self, moved={**self.moved, path: name}, aside=self.aside - {path})

    def set_aside(self, *paths: str) -> "Decisions":
        """With pictures that are to be left out."""
        aside = self.aside.union(paths)
        return replace(self, moved={path: name for path, name in self.moved.items() if path not in aside}, aside=aside)

    def forget(self, path: str) -> "Decisions":
        """Without anything decided about a picture."""
        kept = {reason: paths - {path} for reason, paths in self.not_a_mistake.items()}
        moved = {other: name for other, name in self.moved.items() if other != path}
        return Decisions(kept, moved, self.aside - {path})


def load_decisions(folder: Path) -> Decisions:
    """The decisions in a project folder; none if there is no file. A damaged file is kept beside, as .bad."""
    path = Path(folder) / FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kept, moved, aside = record["not_a_mistake"], record["moved"], record["aside"]
        if not all(isinstance(text, str) for text in (*moved, *moved.values(), *aside, *(p for v in kept.values() for p in v))):  # fmt: skip
            raise ValueError("a path is no text")
        return Decisions({reason: frozenset(paths) for reason, paths in kept.items()}, moved, frozenset(aside))
    except FileNotFoundError:
        return Decisions()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        os.replace(path, path.with_name(f"{FILE}.bad"))
        return Decisions()
    except OSError as problem:
        raise InputError(
            f"Your list '{path}' could not be read ({problem.strerror}). Make it readable, then open the pictures again."
        ) from None


def save_decisions(folder: Path, decisions: Decisions) -> None:
    """Writes the decisions into a project folder, whole or not at all."""
    record = {
        "not_a_mistake": {reason: sorted(paths) for reason, paths in decisions.not_a_mistake.items()},
        "moved": dict(decisions.moved),
        "aside": sorted(decisions.aside),
    }
    text = json.dumps(record, indent=1)  # in ASCII: odd names of files survive as \\udcXX
    Path(folder).mkdir(parents=True, exist_ok=True)
    replace_file(Path(folder) / FILE, lambda path: path.write_text(text, encoding="ascii"))


def undecided(findings: Iterable[Finding], paths: tuple[str, ...], decisions: Decisions) -> list[Finding]:
    """The findings that the user still has to look at: not set aside, not said to be right, not moved already."""
    kept, aside = decisions.not_a_mistake, decisions.aside

    def alone(finding: Finding) -> bool:
        """Whether no picture that it would be a copy of is left."""
        return (
            finding.reason == COPY and bool(finding.others) and all(paths[other] in aside for other in finding.others)
        )

    return [
        finding
        for finding in findings
        if (path := paths[finding.row]) not in aside
        and not alone(finding)
        and path not in kept.get(finding.reason, ())
        and not (finding.reason == MISPLACED and path in decisions.moved)
    ]


def labels_after(index: ImageIndex, decisions: Decisions) -> np.ndarray:
    """Labels int64 (N,) as the user has them: moved pictures with their new class, -1 for those set aside.

    A class that is none of the folders' is -1 too.
    """
    labels = index.labels.copy()
    number = {name: label for label, name in enumerate(index.class_names)}
    for row, path in enumerate(index.paths):
        if path in decisions.aside:
            labels[row] = -1
        elif path in decisions.moved:
            labels[row] = number.get(decisions.moved[path], -1)
    return labels


def decision_rows(index: ImageIndex, decisions: Decisions) -> list[dict[str, str]]:
    """A table of what was decided, in the order of the pictures: path, class, decision, new_class."""
    kept = frozenset().union(*decisions.not_a_mistake.values())
    rows = []
    for path, label in zip(index.paths, index.labels, strict=True):
        decision = "aside" if path in decisions.aside else "moved" if path in decisions.moved else "kept"
        if decision == "kept" and path not in kept:
            continue
        name = index.class_names[label] if label >= 0 else ""
        rows.append({"path": path, "class": name, "decision": decision, "new_class": decisions.moved.get(path, "")})
    return rows


def folders_after(index: ImageIndex, decisions: Decisions) -> dict[str, str]:
    """The folder that each moved picture belongs in: its own, with the new class in place of the old one."""
    label = dict(zip(index.paths, index.labels.tolist(), strict=True))
    found = {}
    for path, name in decisions.moved.items():
        if path in label:
            parts = path.split("/")[:-1]
            own = index.class_names[label[path]] if label[path] >= 0 else None
            at = parts.index(own) if own in parts else len(parts)
            found[path] = "/".join([*parts[:at], name, *parts[at + 1 :]])
    return found


# Copies of the originals


@contextlib.contextmanager
def originals(index: ImageIndex):
    """Gives a function of a path of the index that returns the bytes of that file. It raises InputError where one is gone."""
    limits, zipped = Limits(), index.source.is_file()
    numbers = {path: number for path, number, _ in scan_zip(index.source, limits).pictures} if zipped else {}
    archive = zipfile.ZipFile(index.source) if zipped else None

    def read(path: str) -> bytes:
        try:
            if archive is None:
                return read_file(index.source / path, limits.file_bytes)
            if path not in numbers:
                raise InputError("The zip does not hold it any more.")
            return read_entry(archive, numbers[path], limits.file_bytes)
        except InputError as problem:
            raise InputError(f"'{path}' could not be read. {problem} Open the pictures again.") from None

    try:
        yield read
    finally:
        if archive:
            archive.close()


def zip_of(index: ImageIndex, rows: Iterable[int], target: Path, folders: Mapping[str, str] | None = None) -> int:
    """Writes a zip with copies of the original files of some pictures; returns how many.

    They keep the names of their folders, or get those of `folders` (path to folder). Raises InputError, and writes
    nothing, when one of them is gone.
    """
    paths = [index.paths[row] for row in rows]
    if not paths:
        raise InputError("No pictures are chosen. Choose some first.")
    taken = set()

    def write(place: Path) -> None:
        with originals(index) as read, zipfile.ZipFile(place, "w") as made:  # stored: pictures are packed already
            for path in paths:
                folder = (folders or {}).get(path)
                name = path if folder is None else f"{folder}/{path.rpartition('/')[2]}"
                made.writestr(unique(safe_name(name), taken), read(path))

    replace_file(Path(target), write)
    return len(paths)


def safe_name(path: str) -> str:
    """A name for a zip that stays inside the folder it is unpacked in, on any system."""
    text = path.encode("utf-8", "replace").decode()  # names of files may hold what is no text
    parts = [re.sub(r'[\x00-\x1f\\:*?"<>|]', "_", part).strip(" ") for part in text.split("/")]
    return "/".join(part for part in parts if part.strip(".")) or "picture"


def unique(name: str, taken: set[str]) -> str:
    """The name, or with (2), (3) ... before its ending where it is `taken`, whatever the case; adds it to them."""
    place, number, found = PurePosixPath(name), 1, name
    while found.casefold() in taken:
        number += 1
        found = str(place.with_name(f"{place.stem} ({number}){place.suffix}"))
    taken.add(found.casefold())
    return found
