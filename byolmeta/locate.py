"""Pictures with boxes drawn on them in, boxes on other pictures out: what the verb `detect` does.

Boxes are read and written as COCO has them: [left, top, width, height] in pixels of the upright picture.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from byolmeta.decode import Limits, read_file, whole
from byolmeta.detect import NONE, Example, maps_of, teach_detector
from byolmeta.encoder import load_encoder
from byolmeta.errors import InputError
from byolmeta.files import replace_file
from byolmeta.scan import index_images
from byolmeta.tidy import originals
from byolmeta.windows import Larger, View
from byolmeta.workplace import TOLD, bar, local, text, writable

SIDE = 1024  # pixels of the longer side at which pictures are looked at; larger ones are shrunk
FINE = 2048  # the same where the things are small, in tiles
OTHERS = 20  # pictures that are asked and, without boxes, tell beforehand what is usual
JSON_BYTES = 200 << 20
FAR = 1e9  # pixels that no picture has
Scale = tuple[float, float]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Marked:
    """Pictures with boxes drawn on them."""

    paths: tuple[Path, ...]
    examples: tuple[Example, ...]  # rows of `paths`, labels of `categories`; pixels of the upright picture
    negatives: tuple[Example, ...]  # boxes around what is none of the classes
    categories: tuple[int, ...]  # their ids in the file
    names: tuple[str, ...]


def upright(data: bytes, side: int = SIDE) -> tuple[Tensor, Scale]:
    """A picture as uint8 (3, H, W), turned by EXIF, and how many of its own pixels one of these is, across and down.

    The longer side is at most `side`. InputError with a sentence where it cannot be read.
    """
    image, size = whole(data, side, Limits())
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return pixels, (size[0] / image.width, size[1] / image.height)


def larger(read: Callable[[], bytes], pixels: Tensor, scale: Scale) -> Larger | None:
    """What `upright` left away of a picture whose bytes are read again where it is needed; None where that was nothing."""
    side = min(FINE, round(max(pixels.shape[2] * scale[0], pixels.shape[1] * scale[1])))
    return Larger(lambda: upright(read(), FINE)[0], side) if side > SIDE else None


def read_boxes(path: Path) -> Marked:
    """The boxes of a COCO-style file. Files are named relative to it, or absolutely. InputError where something is wrong.

    An annotation with `"negative": true` is a box around what is none of the classes; crowds are left out.
    """
    path = Path(path)
    try:
        found = json.loads(read_file(path, JSON_BYTES, follow=True))
    except InputError as problem:
        raise InputError(f"The examples '{path}' could not be read. {problem} Give a COCO-style JSON file.") from None
    except (ValueError, RecursionError):
        raise InputError(
            f"'{path.name}' is not JSON. Give a COCO-style file with images, annotations and categories."
        ) from None
    images, notes, kinds = (_table(found, key, path.name) for key in ("images", "annotations", "categories"))
    categories = {_number(kind, "id", "category", path.name): str(kind.get("name", kind["id"])) for kind in kinds}
    if len(categories) < len(kinds):
        raise InputError(f"Two categories in '{path.name}' have the same id. Give each its own.")
    rows, paths, order = {}, [], list(categories)
    for image in images:
        if not isinstance(image.get("file_name"), str):
            raise InputError(f"An image in '{path.name}' has no file_name. Each needs id and file_name.")
        if _number(image, "id", "image", path.name) in rows:
            raise InputError(f"Two images in '{path.name}' have the id {image['id']}. Give each its own.")
        rows[image["id"]] = len(paths)
        paths.append(path.parent / image["file_name"])
    examples, negatives = [], []
    for note in notes:
        if note.get("iscrowd"):
            continue
        row, negative = rows.get(_number(note, "image_id", "box", path.name)), note.get("negative") is True
        if row is None:
            raise InputError(
                f"A box in '{path.name}' is of image {note['image_id']}, which is not under images. Add it there."
            )
        kind = None if negative else _number(note, "category_id", "box", path.name)
        if not negative and kind not in categories:
            raise InputError(
                f"A box in '{path.name}' is of category {kind}, which is not under categories. Add it there."
            )
        box = _corners(note.get("bbox"), paths[row].name, path.name)
        if negative:
            negatives.append(Example(row, box, NONE))
        else:
            examples.append(Example(row, box, order.index(kind)))
    if not examples:
        raise InputError(
            f"'{path.name}' has no boxes of things to find. Draw one or more and save them under annotations."
        )
    shown = sorted({example.label for example in examples})  # categories without a box teach nothing
    examples = tuple(Example(e.row, e.box, shown.index(e.label)) for e in examples)
    names = tuple(categories[order[label]] for label in shown)
    return Marked(tuple(paths), examples, tuple(negatives), tuple(order[label] for label in shown), names)


def _table(found, key: str, name: str) -> list[dict]:
    """A list of objects in a COCO-style file."""
    table = found.get(key) if isinstance(found, dict) else None
    if not isinstance(table, list) or not all(isinstance(one, dict) for one in table):
        raise InputError(f"'{name}' has no list of {key}. A COCO-style file has images, annotations and categories.")
    return table


def _number(one: dict, key: str, what: str, name: str) -> int:
    if type(one.get(key)) is not int:
        raise InputError(f"A {what} in '{name}' has the {key} {str(one.get(key))[:40]!r}; a whole number is needed.")
    return one[key]


def _corners(box, picture: str, name: str) -> tuple[float, float, float, float]:
    """[left, top, width, height] as left, top, right, bottom."""
    fits = isinstance(box, list) and len(box) == 4 and all(type(v) in (int, float) and abs(v) < FAR for v in box)
    if not fits or min(box[2:]) <= 0:
        raise InputError(
            f"A box of '{picture}' in '{name}' is {str(box)[:80]}; it must be [left, top, width, height] in pixels, "
            "with a width and a height above 0."
        )
    return float(box[0]), float(box[1]), float(box[0] + box[2]), float(box[1] + box[3])


def detect_folder(
    encoder: str,
    examples: Path,
    images: Path,
    threshold: float = 0.0,
    progress: Progress | None = None,
    seed: int = 0,
) -> tuple[list[dict], dict]:
    """COCO results of a folder or zip of pictures, the surest of each picture first, and what is said of the run.

    Only boxes of at least the score `threshold`. Pictures that cannot be read are under `skipped`, with the reason.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"The threshold is {threshold}; it must be from 0 (all boxes) to 1 (none but certain ones).")
    start, marked = time.perf_counter(), read_boxes(examples)
    network = load_encoder(encoder)
    views, shown, negatives = _views(marked, maps_of(network))
    index = index_images(images)
    found, skipped = [], {one.name: one.reason for one in index.skipped}
    with originals(index) as read:
        others = [picture for _, picture, _ in itertools.islice(readable(index.paths, read, {}), OTHERS)]
        detector = teach_detector(network, views, shown, negatives, others=others, seed=seed)
        for done, (path, picture, scale) in enumerate(readable(index.paths, read, skipped), 1):
            view = View(detector.maps, picture, larger(partial(read, path), picture, scale))
            answer = detector(view, threshold)
            found += [
                _result(path, marked.categories[label], box, score)
                for box, score, label in zip(
                    answer.boxes * torch.tensor(scale * 2), answer.scores, answer.labels, strict=True
                )
            ]
            if progress:
                progress(done, len(index.paths))
    about = {
        "images": len(index.paths),
        "boxes": len(found),
        "skipped": skipped,
        "categories": dict(zip(marked.categories, marked.names, strict=True)),
    }
    return found, about | {"seconds": round(time.perf_counter() - start, 2)}


def _views(marked: Marked, maps) -> tuple[dict[int, View], list[Example], list[Example]]:
    """The pictures that have boxes, by row, and the examples and negatives in the pixels of those views."""
    views, scales = {}, {}
    for row in sorted({example.row for example in (*marked.examples, *marked.negatives)}):
        path = marked.paths[row]
        try:
            read = partial(read_file, path, Limits().file_bytes, follow=True)
            pixels, scales[row] = upright(read())
        except (InputError, ValueError) as problem:  # ValueError: a name that no file can have
            raise InputError(f"The picture {str(path)!r} of an example could not be read. {problem}") from None
        views[row] = View(maps, pixels, larger(read, pixels, scales[row]))

    def placed(examples: Sequence[Example]) -> list[Example]:
        return [
            _scaled(example, views[example.row], scales[example.row], marked.paths[example.row].name)
            for example in examples
        ]

    return views, placed(marked.examples), placed(marked.negatives)


def _scaled(example: Example, view: View, scale: Scale, name: str) -> Example:
    """An example in pixels of its view; up to a pixel beyond the picture is rounding. InputError where it lies outside."""
    left, top, right, bottom = example.box
    (across, down), width, height = scale, round(view.width * scale[0]), round(view.height * scale[1])
    if left < -1 or top < -1 or right > width + 1 or bottom > height + 1:
        raise InputError(
            f"A box of '{name}' reaches from {left:g}, {top:g} to {right:g}, {bottom:g}, and the upright picture has "
            f"{width} x {height} pixels. Give boxes in pixels of the upright picture."
        )
    inside = (
        max(left, 0) / across, max(top, 0) / down, min(right / across, view.width), min(bottom / down, view.height)
    )  # fmt: skip
    return Example(example.row, inside, example.label)


def readable(paths: Sequence[str], read, skipped: dict[str, str]) -> Iterator[tuple[str, Tensor, Scale]]:
    """Path, pixels and scale (as `upright`) of the pictures that can be read; the reason of others goes to `skipped`."""
    for path in paths:
        try:
            yield path, *upright(read(path))
        except InputError as problem:
            skipped[path] = str(problem)


def _result(path: str, category: int, box: Tensor, score: Tensor) -> dict:
    """A found box, [left, top, right, bottom], as COCO has results."""
    left, top, right, bottom = box.tolist()
    sides = [round(value, 2) for value in (left, top, right - left, bottom - top)]
    return {"file_name": text(path), "category_id": category, "bbox": sides, "score": round(float(score), 4)}


def listed(found: Sequence[dict]) -> str:
    """JSON, one result a line."""
    return "[\n" + ",\n".join(json.dumps(one) for one in found) + "\n]\n"


def detect(
    encoder: str,
    examples: Path,
    images: Path,
    out: Path,
    threshold: float = 0.0,
    seed: int = 0,
) -> dict:
    """The verb `detect`, as commands.py describes it."""
    writable(out)
    found, about = detect_folder(local(encoder), examples, images, threshold, bar("Pictures"), seed)
    replace_file(out, lambda path: path.write_text(listed(found), encoding="utf-8"))
    for name, reason in itertools.islice(about["skipped"].items(), TOLD):
        print(f"  {text(name)!r} was left out: {reason}", file=sys.stderr)
    if not found:
        print("Nothing was found that is sure enough. Draw one more example, or lower --threshold.", file=sys.stderr)
    return {
        "images": about["images"],
        "boxes": about["boxes"],
        "skipped": len(about["skipped"]),
        "seconds": about["seconds"],
        "out": str(out),
    }
