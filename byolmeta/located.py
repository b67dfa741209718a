"""What was found, as files that other programs read: COCO, YOLO, masks, a table, and pictures with it drawn on them."""

import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from byolmeta.tidy import safe_name, unique

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")  # Okabe and Ito's


@dataclass(frozen=True, eq=False)
class Located:
    """What was found on one picture. Places are in its own pixels, upright."""

    path: str
    image: Image.Image  # RGB, of any size
    width: int
    height: int
    boxes: np.ndarray  # (K, 4) left, top, right, bottom
    scores: np.ndarray  # (K,) 0..1
    labels: np.ndarray  # (K,) from 0
    mask: np.ndarray  # uint8 (height, width): 0, or 1 + the class


def coco(found: Iterable[Located], names: Sequence[str]) -> dict:
    """A COCO dataset: images, annotations with bbox, score and the outline within it as run lengths, categories from 1."""
    images, notes = [], []
    for number, one in enumerate(found, 1):
        images.append({"id": number, "file_name": one.path, "width": one.width, "height": one.height})
        for box, score, label in zip(one.boxes.tolist(), one.scores.tolist(), one.labels.tolist(), strict=True):
            left, top, right, bottom = box
            inside = np.zeros((one.height, one.width), bool)
            rows, columns = slice(int(top), int(np.ceil(bottom))), slice(int(left), int(np.ceil(right)))
            inside[rows, columns] = one.mask[rows, columns] == label + 1
            note = {
                "id": len(notes) + 1,
                "image_id": number,
                "category_id": label + 1,
                "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
                "area": int(inside.sum()) or round((right - left) * (bottom - top), 2),
                "iscrowd": 0,
                "score": round(score, 4),
            }
            if inside.any():
                note["segmentation"] = {"size": [one.height, one.width], "counts": run_lengths(inside)}
            notes.append(note)
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    return {"images": images, "annotations": notes, "categories": categories}


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run lengths of a mask (H, W): column by column, zeros first."""
    flat = np.concatenate([[False], mask.T.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()


def write_coco(found: Iterable[Located], names: Sequence[str], path: Path) -> None:
    path.write_text(json.dumps(coco(found, names)) + "\n", encoding="utf-8")


def write_yolo(found: Iterable[Located], names: Sequence[str], path: Path) -> None:
    """A zip of labels/NAME.txt with lines `class x y width height`, the middle and sides as shares, and data.yaml."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        listed = "".join(f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for number, name in enumerate(names))
        made.writestr("data.yaml", f"path: .\ntrain: images\nval: images\nnames:\n{listed}")
        taken: set[str] = set()
        for one in found:
            sides = np.array([one.width, one.height, one.width, one.height])
            left, top, right, bottom = (one.boxes / sides).T
            rows = np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], 1)
            text = "".join(
                f"{label} {' '.join(f'{v:.6f}' for v in row)}\n" for label, row in zip(one.labels, rows, strict=True)
            )
            made.writestr(unique(f"labels/{_stem(one.path)}.txt", taken), text)


def write_masks(found: Iterable[Located], names: Sequence[str], path: Path) -> None:
    """A zip of masks/NAME.png of the pictures' own sizes: 0, or 1 + the class, with a palette; classes.txt names them."""
    with zipfile.ZipFile(path, "w") as made:  # stored: PNG is packed already
        made.writestr("classes.txt", "".join(f"{number}\t{name}\n" for number, name in enumerate(names, 1)))
        taken: set[str] = set()
        for one in found:
            made.writestr(unique(f"masks/{_stem(one.path)}.png", taken), png_of(one.mask))


def png_of(mask: np.ndarray) -> bytes:
    """A mask uint8 (H, W) as a PNG with a palette: black, then the classes' colours."""
    image = Image.fromarray(mask)
    shades = [(0, 0, 0), *((_rgb(COLOURS[number % len(COLOURS)])) for number in range(255))]
    image.putpalette([value for shade in shades for value in shade])
    packed = io.BytesIO()
    image.save(packed, "PNG")
    return packed.getvalue()


def write_pictures(found: Iterable[Located], names: Sequence[str], path: Path) -> None:
    """A zip of JPEGs with frames, scores and outlines drawn on them."""
    with zipfile.ZipFile(path, "w") as made:
        taken: set[str] = set()
        for one in found:
            packed = io.BytesIO()
            painted(one, names).save(packed, "JPEG", quality=90)
            made.writestr(unique(f"{_stem(one.path)}.jpg", taken), packed.getvalue())


def painted(one: Located, names: Sequence[str]) -> Image.Image:
    """The picture with its outlines tinted and framed and its boxes drawn."""
    pixels = np.asarray(one.image.convert("RGB"), np.float32).copy()
    mask = np.asarray(Image.fromarray(one.mask).resize(one.image.size, Image.Resampling.NEAREST))
    for label in range(len(names)):
        inside = mask == label + 1
        rim = inside & ~_all_around(inside)
        shade = np.array(_rgb(COLOURS[label % len(COLOURS)]), np.float32)
        pixels[inside] = 0.65 * pixels[inside] + 0.35 * shade
        pixels[rim] = shade
    image = Image.fromarray(pixels.round().astype(np.uint8))
    draw, scale = ImageDraw.Draw(image), image.width / one.width
    thick = max(2, round(max(image.size) / 300))
    for box, score, label in zip(one.boxes * scale, one.scores, one.labels, strict=True):
        shade = COLOURS[label % len(COLOURS)]
        draw.rectangle([*box], outline="black", width=thick + 2)
        draw.rectangle([*box], outline=shade, width=thick)
        said = f"{names[label]} {100 * score:.0f} %"
        place = box[0], max(0, box[1] - 6 * thick)
        draw.text(place, said, fill="white", stroke_width=max(1, thick // 2), stroke_fill="black", font_size=5 * thick)
    return image


def _all_around(inside: np.ndarray) -> np.ndarray:
    """Points of a mask whose four neighbours are inside too."""
    wide = np.pad(inside, 1)
    return wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]


def rows_of(found: Iterable[Located], names: Sequence[str]) -> list[dict]:
    """One row for each box: path, class, score, place in pixels, and the share of the picture that the class covers."""
    rows = []
    for one in found:
        for (left, top, right, bottom), score, label in zip(one.boxes, one.scores, one.labels, strict=True):
            row = {"path": one.path, "class": names[label], "score": round(float(score), 4)}
            row |= {"left": round(float(left), 1), "top": round(float(top), 1)}
            row |= {"width": round(float(right - left), 1), "height": round(float(bottom - top), 1)}
            rows.append(row | {"outlined": round(float((one.mask == label + 1).mean()), 4)})
    return rows


def _stem(path: str) -> str:
    """A name in a zip without its ending."""
    return str(Path(safe_name(path)).with_suffix(""))


def _rgb(shade: str) -> tuple[int, int, int]:
    return int(shade[1:3], 16), int(shade[3:5], 16), int(shade[5:7], 16)
