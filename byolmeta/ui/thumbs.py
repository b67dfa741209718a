"""Re-encoded thumbnails: the only files the page may serve. Sprite sheets of a store, and single pictures."""

import hashlib
import json
import os
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from byolmeta.files import replace_file
from byolmeta.images import ImageStore

TILE, COLUMNS, PER_SHEET = 96, 16, 256
SINGLES = 500


def url_of(path: Path) -> str:
    """Where the page finds a file of thumbs/; its time in the query makes the browser fetch a changed one."""
    return f"/gradio_api/file={quote(str(path.resolve()))}?t={os.stat(path).st_mtime_ns}"


def sheets(store: ImageStore, thumbs: Path) -> dict:
    """The `pictures` descriptor of a store of TILE-sized pictures; its sheets are drawn once."""
    folder = thumbs / store.fingerprint[:24]
    about = folder / "about.json"
    count = -(-len(store) // PER_SHEET)
    files = [folder / f"sheet-{number}.webp" for number in range(count)]
    if not all(file.exists() for file in (about, *files)):
        folder.mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(files):
            _sheet(store.pixels[number * PER_SHEET : (number + 1) * PER_SHEET], file)
        names = [text(path) for path in store.index.paths]
        labels = store.labels.tolist()
        content = json.dumps({"names": names, "labels": labels, "class_names": [text(n) for n in store.class_names]})
        replace_file(about, lambda path: path.write_text(content, encoding="utf-8"))
    return {
        "key": store.fingerprint[:24],
        "n": len(store),
        "tile": TILE,
        "columns": COLUMNS,
        "per_sheet": PER_SHEET,
        "sheets": [url_of(file) for file in files],
        "about": url_of(about),
        "mixed": bool(store.class_names),
    }


def _sheet(pixels: np.ndarray, path: Path) -> None:
    canvas = Image.new("RGB", (COLUMNS * TILE, -(-len(pixels) // COLUMNS) * TILE))
    for number, picture in enumerate(pixels):
        place = (number % COLUMNS * TILE, number // COLUMNS * TILE)
        canvas.paste(Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))), place)
    replace_file(path, lambda p: canvas.save(p, "WEBP", quality=82, method=2))


def one(pixels: np.ndarray, thumbs: Path, owner: str) -> str:
    """URL of a single picture, uint8 (3, S, S), of a visitor, whose newest SINGLES are kept."""
    path = thumbs / "single" / f"{owner}-{hashlib.sha256(pixels.tobytes()).hexdigest()[:24]}.webp"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        older = sorted(path.parent.glob(f"{owner}-*"), key=lambda p: p.stat().st_mtime)
        for old in older[: len(older) - SINGLES + 1]:
            old.unlink(missing_ok=True)
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        replace_file(path, lambda p: image.save(p, "WEBP", quality=88))
    return url_of(path)


def large(image: Image.Image, name: str, thumbs: Path) -> str:
    """URL of a picture shown large; the same name is used again."""
    path = thumbs / "large" / f"{name}.webp"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda p: image.save(p, "WEBP", quality=88))
    return url_of(path)


def binary(array: np.ndarray, thumbs: Path, name: str) -> str:
    """URL of a little-endian file of an array, for components that fetch positions."""
    path = thumbs / "maps" / f"{name}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda p: p.write_bytes(array.astype(array.dtype.newbyteorder("<")).tobytes()))
    return url_of(path)


def text(name: str) -> str:
    """A file's name as valid text; bytes that are not UTF-8 become a replacement sign."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
