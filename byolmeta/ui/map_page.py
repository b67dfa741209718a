"""The map as one file: the page's own map, its pictures and places inside, which opens by a double click and needs no network."""

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from byolmeta.ui.html import safe
from byolmeta.ui.scatter import SCRIPT, STYLE, TEMPLATE, WORDS
from byolmeta.ui.thumbs import text
from byolmeta.ui.words import TAGS

PICTURES = 20_000  # with more, the page has dots only
TILES = ((1_500, 96), (5_000, 64), (PICTURES, 40))  # up to so many pictures: side of a thumbnail
PER_SHEET, COLUMNS = 256, 16
LOOK = (Path(__file__).parent / "map_page.css").read_text(encoding="utf-8")
# What Gradio gives the component's script on the page.
FRAME = """<!doctype html>
<html lang="%(language)s"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>%(title)s</title><style>%(look)s%(style)s</style></head>
<body><h1>%(title)s</h1><div id="map"><div>%(template)s</div></div>
<script type="application/json" id="data">%(data)s</script>
<script>
const shade = matchMedia("(prefers-color-scheme: dark)");
const dress = () => document.body.classList.toggle("dark", shade.matches);
shade.addEventListener("change", dress);
dress();
const FIRST = {}, DEFAULT_WORDS = JSON.parse(%(words)s);
(function (element, trigger, props, watch) {
%(script)s
})(document.querySelector("#map > div"), () => {}, JSON.parse(document.querySelector("#data").textContent), () => {});
</script></body></html>
"""


def map_page(
    places: np.ndarray,
    store,
    rows: np.ndarray | None = None,
    *,
    near: np.ndarray | None = None,
    colours: dict | None = None,
    film: tuple[np.ndarray, np.ndarray, list[str]] | None = None,
    dots: bool = False,
    title: str = "",
    words: Mapping | None = None,
) -> str:
    """One page with the pictures `rows` of a store (None: all) at their places (n, 2). `words`: of its language, else English.

    near (n, k): ids of their true neighbours. colours: as the map component has them, else by folder. film: places
    (F, m, 2), ids (m,) and labels (F,) of a study. Without `thumbnails` there are dots and names only; None: with them
    up to 20,000 pictures.
    """
    count = len(store)
    names = [text(path) for path in store.index.paths]
    about = {"names": names, "labels": store.labels.tolist(), "class_names": [text(name) for name in store.class_names]}
    side = min(next((side for most, side in TILES if count <= most), TILES[-1][1]), max(32, store.size))
    drawn = range(0, 0 if dots or count > PICTURES else count, PER_SHEET)
    sheets = [_sheet(store.pixels[i : i + PER_SHEET], side) for i in drawn]
    key = "page"
    points = {
        "url": _data(places.astype("<f4").tobytes()), "seq": 1, "n": len(places), "key": key, "stage": "umap",
        "ids": None if rows is None else _data(np.asarray(rows).astype("<u4").tobytes()),
        "neighbours": None if near is None else _data(near.astype("<u4").tobytes()),
        "k": 0 if near is None else near.shape[1],
    }  # fmt: skip
    props = {
        "pictures": {
            "key": key, "n": count, "tile": side, "columns": COLUMNS, "per_sheet": PER_SHEET, "sheets": sheets,
            "about": _data(json.dumps(about).encode(), "application/json"),
        },
        "points": points,
        "colours": colours or {},
    }  # fmt: skip
    if film:
        frames, ids, labels = film
        props["film"] = {
            "url": _data(frames.astype("<f4").tobytes()), "ids": _data(ids.astype("<u4").tobytes()), "frames": len(frames),
            "n": frames.shape[1], "labels": labels, "key": key, "seq": 1,
        }  # fmt: skip
    words = words or {}
    own = WORDS | words.get("of_scatter", {})
    return FRAME % {
        "language": TAGS[words.get("language", "en")],
        "title": safe(title or own["page_title"].format(n=f"{count:,}")),
        "look": LOOK,
        "style": STYLE,
        "template": TEMPLATE,
        "data": _inside(json.dumps(props)),
        "words": _inside(json.dumps(json.dumps(own))),
        "script": SCRIPT,
    }


def _inside(code: str) -> str:
    """JSON as it can stand in a script: nothing in it ends that."""
    return code.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _data(content: bytes, kind: str = "application/octet-stream") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _sheet(pixels: np.ndarray, side: int) -> str:
    """Pictures, uint8 (n, 3, S, S), side by side as a data URL."""
    canvas = Image.new("RGB", (COLUMNS * side, -(-len(pixels) // COLUMNS) * side))
    for number, picture in enumerate(pixels):
        image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
        canvas.paste(image.resize((side, side), Image.LANCZOS), (number % COLUMNS * side, number // COLUMNS * side))
    made = io.BytesIO()
    canvas.save(made, "WEBP", quality=80, method=2)
    return _data(made.getvalue(), "image/webp")
