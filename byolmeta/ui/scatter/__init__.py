"""The map of pictures as a Gradio component: pictures at their positions, to look at, zoom and select.

Points and pictures travel by URL; only small descriptors go through Gradio (see `Scatter`).
"""

from pathlib import Path

from byolmeta.ui.component import Component

WORDS = {
    "map_label": "Map of pictures",
    "map_help": "Plus and minus zoom, zero shows everything, arrows move. Enter picks the picture in the"
    " middle; then arrows walk from picture to picture, space selects, Escape lets go.",
    "caution": "Close together = looks alike to the model. How wide the gaps and how big the groups are means little.",
    "waiting": "The map appears here in a moment.",
    "no_pictures": "Choose pictures, and their map appears here.",
    "load_failed": "The map could not be loaded.",
    "retry": "Try again",
    "stage_pca": "a first sketch",
    "stage_umap": "map ready",
    "stage_learning": "as the study sees it",
    "pan": "Move the map",
    "lasso": "Select with a lasso (or drag with shift)",
    "box": "Select with a box",
    "zoom_in": "Closer",
    "zoom_out": "Farther",
    "reset": "Show everything",
    "legend": "Colours",
    "show_all": "Show all",
    "no_group": "no class",
    "nearest": "Most alike to the model",
    "picture": "Picture {n}",
    "picture_one": "1 picture",
    "picture_many": "{n} pictures",
    "selected_one": "1 selected",
    "selected_many": "{n} selected",
    "put_into": "Put into",
    "new_box": "new box",
    "clear": "Clear the selection",
    "moved": "{n} put into {box}",
    "lasso_hint": "Draw around the pictures you want.",
    "box_hint": "Drag a box around the pictures you want.",
}

# Static on purpose: Gradio evaluates templates, so words and names arrive as text in scatter.js only.
TEMPLATE = """
<div class="scatter">
  <div class="stage">
    <canvas class="ground"></canvas>
    <canvas class="overlay" tabindex="0" role="application"></canvas>
    <div class="badge" hidden><i></i><span class="count"></span><span class="stage-name"></span></div>
    <div class="tools" role="toolbar" hidden>
      <button type="button" data-tool="pan"><svg viewBox="0 0 20 20"><path d="M10 2v16M2 10h16M10 2L7.6
        4.4M10 2l2.4 2.4M10 18l-2.4-2.4M10 18l2.4-2.4M2 10l2.4-2.4M2 10l2.4 2.4M18 10l-2.4-2.4M18 10l-2.4
        2.4"/></svg></button>
      <button type="button" data-tool="lasso"><svg viewBox="0 0 20 20"><path d="M6.2 13.2C3.9 12.2 2.5 10.6
        2.5 8.6 2.5 5.6 5.9 3 10 3s7.5 2.6 7.5 5.6-3.4 5.6-7.5 5.6c-.7 0-1.3-.1-1.9-.2"/><circle cx="6.6"
        cy="14" r="1.7"/><path d="M5.8 15.6c.2 1 0 1.7-.8 2.4"/></svg></button>
      <button type="button" data-tool="box"><svg viewBox="0 0 20 20"><rect x="3" y="3" width="14" height="14"
        rx="1.5" stroke-dasharray="3.2 2.4"/></svg></button>
      <span class="rule"></span>
      <button type="button" data-zoom="in"><svg viewBox="0 0 20 20"><path d="M10
        4v12M4 10h12"/></svg></button>
      <button type="button" data-zoom="out"><svg viewBox="0 0 20 20"><path d="M4 10h12"/></svg></button>
      <button type="button" data-zoom="reset"><svg viewBox="0 0 20 20"><path d="M3 7.5V3h4.5M12.5
        3H17v4.5M17
        12.5V17h-4.5M7.5 17H3v-4.5"/></svg></button>
    </div>
    <div class="card" hidden>
      <div class="picture"></div>
      <div class="facts">
        <div class="name"></div>
        <div class="group"><i></i><span></span></div>
        <div class="folder"></div>
        <div class="alike"><span></span><div class="row"></div></div>
      </div>
    </div>
    <div class="bar" role="group" hidden>
      <span class="count"></span>
      <span class="put"></span>
      <span class="boxes"></span>
      <button type="button" class="clear"><svg viewBox="0 0 20 20"><path d="M5 5l10
        10M15 5L5 15"/></svg></button>
    </div>
    <div class="hint" hidden></div>
    <div class="empty"><div class="ghosts"></div><p></p>
      <button type="button" class="retry" hidden></button></div>
    <div class="live" role="status" aria-live="polite"></div>
    <div class="help"></div>
  </div>
  <div class="side">
    <div class="legend" hidden><div class="head"><span></span><button type="button" hidden></button></div>
      <div class="groups"></div></div>
    <p class="caution"></p>
  </div>
</div>
"""

HERE = Path(__file__).parent
STYLE = (HERE / "scatter.css").read_text(encoding="utf-8")
FILES = ("painters", "map", "selection", "panels", "hands", "scatter")
SCRIPT = "\n".join((HERE / f"{name}.js").read_text(encoding="utf-8") for name in FILES)


class Scatter(Component):
    """A map of pictures.

    pictures: {"key", "n", "tile", "columns", "per_sheet", "sheets": [url], "about": url} or None.
    points: {"url", "seq", "n", "key", "stage": "pca" | "umap" | "learning", "ids", "neighbours", "k",
        "note"} or None. Row p of the neighbours' file belongs to point p and holds picture ids.
    colours: {"seq", "codes": base64 of one uint8 per point (255 = grey), "names", "colours"} or None,
        which colours by the labels in `about`.
    boxes: [{"id", "name", "colour"}] to put a selection into; None hides that part.
    In an update, {} stands for None, which Gradio does not deliver.
    words: replaces some of WORDS. compact: a small preview to look at, without tools.

    Events: select (indices, count, truncated, key) and assign (indices, count, truncated, box, key);
    indices are picture ids, the first 20,000 of them.
    """

    TRIGGERS = ("select", "assign", "ready")

    def __init__(
        self,
        pictures: dict | None = None,
        points: dict | None = None,
        colours: dict | None = None,
        boxes: list[dict] | None = None,
        words: dict[str, str] | None = None,
        compact: bool = False,
        **looks,
    ):
        first = {"compact": compact, "words": words, "boxes": boxes}
        props = {"pictures": pictures, "points": points, "colours": colours} | first
        super().__init__(TEMPLATE, STYLE, SCRIPT, {"DEFAULT_WORDS": WORDS, "FIRST": first}, **props, **looks)
