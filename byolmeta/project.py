"""The project file NAME.byolmeta: what was taught, in one file that opens on another machine with the same answers.

It is a zip of JSON, safetensors and pictures, so nothing in it can run code:

    project.json         what it is, the learner and its settings, the boxes and the names of their examples
    encoder.safetensors  the encoder
    task.safetensors     the examples' vectors, what the folder said of scores and strangers, places on the map
    pictures/N.png       each example at the encoder's size, as it was decoded
    thumbs/N.jpg         each example to look at
"""

import dataclasses
import io
import json
import math
import os
import platform
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load, save

from byolmeta import __version__
from byolmeta.adapt import Familiarity
from byolmeta.classifier import Classifier
from byolmeta.decode import Limits, in_sentences, read_entry
from byolmeta.encoder import load_encoder
from byolmeta.errors import InputError
from byolmeta.files import file_fingerprint, find_encoder, replace_file
from byolmeta.learners import LEARNERS, learner
from byolmeta.scan import zip_reason

ENDING = ".byolmeta"
FORMAT = 1
MOST = 2000  # examples in all boxes
BYTES = {"project.json": 32 << 20, "encoder.safetensors": 1 << 28, "task.safetensors": 64 << 20}  # at most, unpacked
PICTURE = re.compile(r"(pictures/(0|[1-9]\d{0,3})\.png|thumbs/(0|[1-9]\d{0,3})\.jpg)")
PICTURE_BYTES = 4 << 20
THUMB = 256  # pixels, at most, of the side of a thumbnail
COLOUR = re.compile(r"(#[0-9a-fA-F]{6})?")
OTHER = "Choose a .byolmeta file that this app saved, or another copy of it."


@dataclass(frozen=True, eq=False)
class Project:
    """What a project file holds. Examples are in the order of `classifier.labels`."""

    encoder: Path  # a file of its own
    classifier: Classifier
    colours: tuple[str, ...]  # of the boxes, '#rrggbb' or ''
    paths: tuple[str, ...]  # of the examples in the folder they came from: text, not places to read
    pixels: np.ndarray  # uint8 (n, 3, S, S), of the examples, as decoded for the encoder
    thumbs: np.ndarray | None = None  # uint8 (n, 3, T, T)
    places: np.ndarray | None = None  # float32 (M, 2), of the folder's pictures on the map
    place_paths: tuple[str, ...] = ()  # (M), which pictures those are
    about: dict = dataclasses.field(default_factory=dict)  # versions that wrote it


def save_project(
    path: Path,
    encoder: str | Path,
    classifier: Classifier,
    paths: Sequence[str],
    pixels: np.ndarray,
    *,
    colours: Sequence[str] = (),
    thumbs: np.ndarray | None = None,
    places: np.ndarray | None = None,
    place_paths: Sequence[str] = (),
) -> dict:
    """Writes a project file, whole or not at all; the rest as in Project. Returns {path, bytes, examples}."""
    if len(classifier.labels) > MOST:
        raise InputError(f"A project file holds {MOST:,} examples and the boxes have {len(classifier.labels):,}.")
    task = {"vectors": classifier.vectors, "labels": torch.from_numpy(classifier.labels)}
    task |= {"copies": torch.from_numpy(classifier.copies)}
    if places is not None:
        task["places"] = torch.from_numpy(np.ascontiguousarray(places, np.float32))
    member = {}
    for field in dataclasses.fields(Familiarity):
        value = getattr(classifier.member, field.name)
        if torch.is_tensor(value):
            task[f"member.{field.name}"] = value
        else:
            member[field.name] = value
    record = {
        "format": FORMAT,
        "versions": {"byolmeta": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "learner": {"name": name_of(classifier.learner), "settings": _settings_of(classifier.learner)},
        "sharp": classifier.sharp,
        "member": member,
        "names": list(classifier.names),
        "colours": list(colours) or [""] * len(classifier.names),
        "paths": list(paths),
        "size": pixels.shape[-1],
        "thumbs": 0 if thumbs is None else thumbs.shape[-1],
        "place_paths": list(place_paths),
    }

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as made:
            made.writestr("project.json", json.dumps(record), zipfile.ZIP_DEFLATED)
            made.write(find_encoder(encoder), "encoder.safetensors")
            made.writestr("task.safetensors", save({key: value.contiguous() for key, value in task.items()}))
            for number, picture in enumerate(pixels):
                made.writestr(f"pictures/{number}.png", _encoded(picture, "PNG"))
            for number, picture in enumerate([] if thumbs is None else thumbs):
                made.writestr(f"thumbs/{number}.jpg", _encoded(picture, "JPEG", quality=90))

    replace_file(Path(path), write)
    return {"path": str(path), "bytes": Path(path).stat().st_size, "examples": len(paths)}


def _encoded(picture: np.ndarray, kind: str, **settings) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(data, kind, **settings)
    return data.getvalue()


def name_of(method) -> str:
    return next(name for name, kind in LEARNERS.items() if type(method) is kind)


def _settings_of(method) -> dict:
    """The settings that are not the usual ones."""
    values = {field.name: (getattr(method, field.name), field.default) for field in dataclasses.fields(method)}
    return {name: value for name, (value, usual) in values.items() if value != usual}


def is_project(path: str | Path) -> bool:
    """Whether a name is that of a project file, by its ending."""
    return str(path).lower().endswith(ENDING)


def open_project(path: str | Path, encoders: Path) -> Project:
    """What a project file holds, checked throughout; its encoder is put into the folder `encoders`.

    Raises InputError for anything that save_project would not write.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path.name, _Entries(archive, path.name), Path(encoders))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"There is no project file at '{path}'.") from None
    except Exception as problem:  # zipfile raises nearly anything on damaged files
        raise InputError(f"'{path.name}' is not a project file that can be read ({problem}). {OTHER}") from None


class _Entries:
    """The entries of a project file by name; none is larger than it may be."""

    def __init__(self, archive: zipfile.ZipFile, source: str):
        self.archive, self.source, self.numbers = archive, source, {}
        if len(archive.infolist()) > len(BYTES) + 2 * MOST:
            raise InputError(f"'{source}' holds {len(archive.infolist()):,} parts, which is too many. {OTHER}")
        for number, entry in enumerate(archive.infolist()):
            name, limit = entry.filename, BYTES.get(entry.filename, PICTURE_BYTES)
            if not (name in BYTES or PICTURE.fullmatch(name)) or zip_reason(entry, name) or name in self.numbers:
                raise InputError(f"'{source}' holds a part that no project has ('{_short(name)}'). {OTHER}")
            if entry.file_size > limit:
                raise InputError(f"The part '{name}' of '{source}' is larger than {limit >> 20:,} MB. {OTHER}")
            self.numbers[name] = number

    def read(self, name: str) -> bytes:
        if name not in self.numbers:
            raise InputError(f"'{self.source}' lacks its part '{name}'. {OTHER}")
        try:
            return read_entry(self.archive, self.numbers[name], BYTES.get(name, PICTURE_BYTES))
        except InputError as problem:
            raise InputError(f"The part '{name}' of '{self.source}' could not be read. {problem} {OTHER}") from None

    def picture(self, name: str, size: int) -> np.ndarray:
        """The picture of an entry, uint8 (3, size, size)."""
        data = self.read(name)
        try:
            with in_sentences(Limits(pixels=size * size)):
                image = Image.open(io.BytesIO(data), formats=("PNG" if name.endswith(".png") else "JPEG",))
                if image.size != (size, size) or image.mode != "RGB":  # before anything is unpacked
                    raise InputError(f"It has {image.width} x {image.height} pixels, mode {image.mode}.")
                return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
        except InputError as problem:
            raise InputError(f"The picture '{name}' of '{self.source}' does not fit. {problem} {OTHER}") from None


def _short(text) -> str:
    return str(text)[:60].encode("ascii", "replace").decode()


def _read(source: str, entries: _Entries, encoders: Path) -> Project:
    record = _record(source, entries.read("project.json"))
    count, way = len(record["paths"]), len(record["names"])
    task = _tensors(source, entries.read("task.safetensors"), count, way, len(record["place_paths"]))
    thumbs = [entries.picture(f"thumbs/{n}.jpg", record["thumbs"]) for n in range(count if record["thumbs"] else 0)]
    pixels = np.stack([entries.picture(f"pictures/{n}.png", record["size"]) for n in range(count)])
    encoder = _unpacked(source, entries.read("encoder.safetensors"), encoders, task["vectors"].shape[1])
    member = {key.partition(".")[2]: value for key, value in task.items() if key.startswith("member.")}
    classifier = Classifier(
        _learner_of(record["learner"]),
        task["vectors"],
        task["labels"].numpy(),
        tuple(record["names"]),
        task["copies"].numpy(),
        float(record["sharp"]),
        Familiarity(**member, **record["member"]),
    )
    if not np.isfinite(classifier.sort(classifier.vectors).score).all():
        raise InputError(f"What '{source}' was taught gives no answers. {OTHER}")
    return Project(
        encoder,
        classifier,
        tuple(record["colours"]),
        tuple(record["paths"]),
        pixels,
        np.stack(thumbs) if thumbs else None,
        task["places"].numpy() if "places" in task else None,
        tuple(record["place_paths"]),
        record["versions"],
    )


def _record(source: str, data: bytes) -> dict:
    """project.json with every field of its type, and lists that fit each other."""
    try:
        record = json.loads(data)
        version = record["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"'{source}' does not say what it holds. {OTHER}") from None
    if type(version) is not int or version > FORMAT:
        raise InputError(f"'{source}' was written by a newer byolmeta. Please update this one.")
    scalars = [name for name, is_tensor in _member_fields().items() if not is_tensor]
    checks = {
        "names": lambda v: _texts(v) and 2 <= len(v) <= 1000,
        "colours": lambda v: _texts(v) and len(v) == len(record["names"]) and all(map(COLOUR.fullmatch, v)),
        "paths": lambda v: _texts(v) and 2 <= len(v) <= MOST,
        "place_paths": _texts,
        "size": lambda v: type(v) is int and 4 <= v <= 1024,
        "thumbs": lambda v: type(v) is int and 0 <= v <= THUMB,
        "sharp": lambda v: _number(v) and v > 0,
        "member": lambda v: isinstance(v, dict) and sorted(v) == sorted(scalars) and all(map(_number, v.values())),
        "learner": lambda v: isinstance(v, dict) and v.keys() == {"name", "settings"} and _texts([v["name"]]),
        "versions": lambda v: isinstance(v, dict) and _texts(list(v.values())),
    }
    for key, fits in checks.items():
        if not (key in record and fits(record[key])):
            raise InputError(f"'{key}' in '{source}' is not what a project has. {OTHER}")
    return record


def _texts(value) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and len(text) < 5000 for text in value)


def _number(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e9


def _member_fields() -> dict[str, bool]:
    """Fields of what tells strangers: whether each is a tensor."""
    return {field.name: field.type in (torch.Tensor, "Tensor") for field in dataclasses.fields(Familiarity)}


def _learner_of(record: dict):
    """A learner with its settings, by the checks for those that the card of an encoder brings."""
    name, settings = record["name"], record.get("settings", {})
    try:
        return learner(name, {"practice": {"in_force": True, "learners": {name: settings}}})
    except InputError as problem:
        if name not in LEARNERS:
            raise
        raise InputError(f"The settings of the learner '{name}' are not such as it takes. {OTHER}") from problem


def _tensors(source: str, data: bytes, count: int, way: int, places: int) -> dict[str, torch.Tensor]:
    """task.safetensors with exactly the tensors that a task has, in their shapes, all numbers finite."""
    try:
        found = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as problem:
        raise InputError(f"The examples' numbers in '{source}' cannot be read ({problem}). {OTHER}") from None
    members = {f"member.{name}" for name, is_tensor in _member_fields().items() if is_tensor}
    wanted = {"vectors", "labels", "copies", *members, *(["places"] if places else [])}
    wrong = wanted ^ found.keys()
    for key in () if wrong else wanted:
        value, whole = found[key], key in ("labels", "copies")
        fits = value.dtype == (torch.int64 if whole else torch.float32) and value.layout == torch.strided
        if not (fits and value.numel() and value.isfinite().all()):
            wrong.add(key)
    if not wrong:
        vectors, labels = found["vectors"], found["labels"]
        shapes = {"labels": (count,), "copies": (count,), "places": (places, 2)}
        wrong |= {key for key, shape in shapes.items() if key in found and found[key].shape != shape}
        if vectors.ndim != 2 or len(vectors) != count:
            wrong.add("vectors")
        elif labels.min() < 0 or labels.max() >= way or len(labels.unique()) < 2:
            wrong.add("labels")
    if wrong:
        raise InputError(f"'{min(wrong)}' in '{source}' does not fit its examples. {OTHER}")
    return found


def _unpacked(source: str, data: bytes, encoders: Path, width: int) -> Path:
    """The encoder as a file named for its content, if it is one and gives vectors of this width."""
    encoders.mkdir(parents=True, exist_ok=True)
    temporary = encoders / f".{os.getpid()}-{os.urandom(4).hex()}.safetensors"
    try:
        temporary.write_bytes(data)
        try:
            network = load_encoder(temporary)
        except InputError as problem:
            raise InputError(f"The encoder in '{source}' cannot be used. {problem}") from None
        with torch.no_grad():
            found = network.vectors(torch.zeros(1, 3, network.image_size, network.image_size)).shape[1]
        if found != width:
            raise InputError(
                f"The encoder in '{source}' gives vectors of {found} numbers and its examples have {width}. {OTHER}"
            )
        path = encoders / f"project-{file_fingerprint(temporary)}.safetensors"
        os.replace(temporary, path)
        return path
    finally:
        temporary.unlink(missing_ok=True)
