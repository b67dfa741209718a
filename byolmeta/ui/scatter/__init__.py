"""The map of pictures as a Gradio component: pictures at their positions, to look at, zoom and select.

Points and pictures travel by URL; only small descriptors go through Gradio (see `Scatter`).
"""

from pathlib import Path

from byolmeta.ui.component import Component

WORDS = {
    "map_label": "Map of pictures",
    "map_help": "Plus and minus zoom, zero shows everything, arrows move. Enter picks the picture in the"
    " middle; then arrows walk from picture to picture, space selects, Escape lets go. Slash searches by name."
    " The same pictures can be read as a list.",
    "caution": "Close together = looks alike to the model. How wide the gaps and how big the groups are means little.",
    "caution_spread": "Spread out, so that no picture covers another: neighbours stay near each other, but how far"
    " apart two pictures lie means nothing now.",
    "waiting": "The map appears here in a moment.",
    "no_pictures": "Choose pictures, and their map appears here.",
    "load_failed": "The map could not be loaded.",
    "retry": "Try again",
    "stage_pca": "a first sketch",
    "stage_umap": "map ready",
    "stage_learning": "as the study sees it",
    "stage_film": "film of the study",
    "stage_compare": "two maps compared",
    "stage_spread": "spread out",
    "pan": "Move the map",
    "lasso": "Select with a lasso (or drag with shift)",
    "box": "Select with a box",
    "zoom_in": "Closer",
    "zoom_out": "Farther",
    "reset": "Show everything",
    "full": "Full screen",
    "full_leave": "Leave full screen (Escape)",
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
    "undo": "Back to the selection before (Ctrl+Z)",
    "search": "Search by name (/)",
    "search_for": "name or folder",
    "search_close": "End the search",
    "match_before": "Go to the match before",
    "match_after": "Go to the next match",
    "found_one": "1 found",
    "found_many": "{n} found",
    "found_none": "no picture has that name",
    "lit_close": "Stop showing: {name}",
    "new_picture": "new here",
    "new_one": "1 new picture",
    "new_many": "{n} new pictures",
    "new_gone": "Take it off the map (Delete)",
    "new_close": "Take the new pictures off the map",
    "landed": "{name} is on the map, beside {near}.",
    "similar": "more like these",
    "save": "save …",
    "save_csv": "list (CSV)",
    "save_zip": "copies (zip)",
    "aside": "set aside",
    "was_set_aside": "{n} set aside",
    "undo_act": "Undo",
    "film_play": "Play",
    "film_pause": "Pause",
    "film_step": "Next moment",
    "film_when": "Moment of the film",
    "film_speed": "Speed",
    "film_close": "Back to the present map",
    "compare_slider": "From {first} to {second}",
    "compare_part": "{part} % of the way to {name}",
    "compare_close": "Back to one map",
    "side_by_side": "side by side",
    "as_list": "Show as a list",
    "view": "How pictures are shown",
    "size": "Size",
    "size_fits": "as fits",
    "dots_only": "dots only",
    "spread": "spread out",
    "spread_most": "spread out (up to {n} pictures)",
    "enlarge": "Show it large (V)",
    "large_close": "Close",
    "page_title": "Map of {n} pictures",
    "large_before": "Back to the picture before",
    "large_after": "On to the picture most like it",
    "list_name": "Name",
    "list_group": "Class or folder",
    "list_range": "{range} of {n}",
    "list_close": "Close the list",
    "page_before": "The 100 before",
    "page_after": "The next 100",
}

# Static on purpose: Gradio evaluates templates, so words and names arrive as text in scatter.js only.
TEMPLATE = """
<div class="scatter">
  <div class="stage">
    <canvas class="ground"></canvas>
    <canvas class="overlay" tabindex="0" role="application"></canvas>
    <div class="hint" hidden><span></span><button type="button" hidden></button></div>
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
      <button type="button" data-act="full" aria-pressed="false"><svg viewBox="0 0 20 20"><path d="M12 3h5v5M17
        3l-5.5 5.5M8 17H3v-5M3 17l5.5-5.5"/></svg></button>
      <span class="rule"></span>
      <button type="button" data-act="search" aria-expanded="false"><svg viewBox="0 0 20 20"><circle cx="8.7"
        cy="8.7" r="5.4"/><path d="M12.8 12.8L17 17"/></svg></button>
      <button type="button" data-act="view" aria-expanded="false"><svg viewBox="0 0 20 20"><rect x="3" y="3"
        width="8.5" height="8.5" rx="1.5"/><rect x="14" y="3" width="3" height="3" rx=".8"/><rect x="14" y="8.5"
        width="3" height="3" rx=".8"/><path d="M3 16h14M8 14.2v3.6"/></svg></button>
      <button type="button" data-act="list" aria-pressed="false"><svg viewBox="0 0 20 20"><path d="M7.5
        5H17M7.5 10H17M7.5 15H17M3.2 5h.6M3.2 10h.6M3.2 15h.6"/></svg></button>
      <button type="button" data-act="undo" disabled><svg viewBox="0 0 20 20"><path d="M7 4L3 8l4
        4M3.4 8H12a4.5 4.5 0 0 1 0 9H8"/></svg></button>
    </div>
    <div class="search" role="search" hidden>
      <input type="search" autocomplete="off" autocapitalize="off" spellcheck="false">
      <span class="found"></span>
      <button type="button" class="before"><svg viewBox="0 0 20 20"><path d="M5 12l5-5 5 5"/></svg></button>
      <button type="button" class="after"><svg viewBox="0 0 20 20"><path d="M5 8l5 5 5-5"/></svg></button>
      <button type="button" class="close"><svg viewBox="0 0 20 20"><path d="M5 5l10
        10M15 5L5 15"/></svg></button>
    </div>
    <div class="view" role="group" hidden>
      <label class="size"><span></span><input type="range" min="28" max="96" step="1"></label>
      <button type="button"></button>
      <label class="dots"><input type="checkbox"><span></span></label>
      <label class="spread"><input type="checkbox"><span></span></label>
    </div>
    <div class="chips">
      <button type="button" class="lit" hidden><span></span><svg viewBox="0 0 20 20"><path d="M5 5l10
        10M15 5L5 15"/></svg></button>
      <button type="button" class="new-here" hidden><span></span><svg viewBox="0 0 20 20"><path d="M5 5l10
        10M15 5L5 15"/></svg></button>
    </div>
    <canvas class="mini" hidden aria-hidden="true"></canvas>
    <div class="card" hidden>
      <div class="picture"></div>
      <button type="button" class="enlarge"><svg viewBox="0 0 20 20"><path d="M12 3.5h4.5V8M16.5 3.5l-5.3 5.3M8
        16.5H3.5V12M3.5 16.5l5.3-5.3"/></svg></button>
      <button type="button" class="gone" hidden><svg viewBox="0 0 20 20"><path d="M5 5l10
        10M15 5L5 15"/></svg></button>
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
      <button type="button" class="similar" hidden></button>
      <span class="keep" hidden><button type="button" class="save" aria-expanded="false"></button>
        <span class="saving" role="group" hidden><button type="button" data-kind="csv"></button>
          <button type="button" data-kind="zip"></button></span></span>
      <button type="button" class="aside" hidden></button>
      <button type="button" class="clear"><svg viewBox="0 0 20 20"><path d="M5 5l10
        10M15 5L5 15"/></svg></button>
    </div>
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
  <div class="under">
    <div class="player" role="group" hidden>
      <button type="button" class="play"><svg viewBox="0 0 20 20"><path d="M6 4l10 6-10 6z"/><path d="M7
        4v12M13 4v12"/><path d="M5 4l7 6-7 6zM15 4v12"/></svg></button>
      <input type="range" min="0" max="1" step="any" value="0">
      <output></output>
      <button type="button" class="speed"></button>
      <button type="button" class="leave"><svg viewBox="0 0 20 20"><path d="M5 5l10
        10M15 5L5 15"/></svg></button>
    </div>
    <div class="compare" role="group" hidden>
      <div class="first"><button type="button"></button><span></span></div>
      <div class="between"><input type="range" min="0" max="1" step="0.01" value="0"><span
        class="middle"></span></div>
      <div class="second"><button type="button"></button><span></span></div>
      <button type="button" class="swap" aria-pressed="false"></button>
      <button type="button" class="leave"><svg viewBox="0 0 20 20"><path d="M5 5l10
        10M15 5L5 15"/></svg></button>
    </div>
  </div>
  <section class="list" tabindex="-1" hidden>
    <div class="head"><span class="range"></span>
      <button type="button" class="before"><svg viewBox="0 0 20 20"><path d="M12 5l-5 5 5 5"/></svg></button>
      <button type="button" class="after"><svg viewBox="0 0 20 20"><path d="M8 5l5 5-5 5"/></svg></button>
      <button type="button" class="close"><svg viewBox="0 0 20 20"><path d="M5 5l10
        10M15 5L5 15"/></svg></button></div>
    <div class="rows"><table><caption></caption><thead><tr></tr></thead><tbody></tbody></table></div>
  </section>
  <dialog class="large">
    <div class="tile"></div>
    <img alt="" hidden>
    <div class="told">
      <button type="button" class="before"><svg viewBox="0 0 20 20"><path d="M12 5l-5 5 5 5"/></svg></button>
      <div class="words" aria-live="polite"><div class="name"></div><ul class="facts"></ul></div>
      <button type="button" class="after" autofocus><svg viewBox="0 0 20 20"><path d="M8 5l5 5-5
        5"/></svg></button>
    </div>
    <button type="button" class="close"><svg viewBox="0 0 20 20"><path d="M5 5l10 10M15 5L5 15"/></svg></button>
  </dialog>
</div>
"""

HERE = Path(__file__).parent
STYLE = (HERE / "scatter.css").read_text(encoding="utf-8")
FILES = (
    "painters", "map", "fit", "find", "selection", "guests", "steps", "minimap", "scenes", "view", "panels", "large",
    "list", "hands", "scatter",
)  # fmt: skip
SCRIPT = "\n".join((HERE / f"{name}.js").read_text(encoding="utf-8") for name in FILES)


class Scatter(Component):
    """A map of pictures.

    pictures: {"key", "n", "tile", "columns", "per_sheet", "sheets": [url], "about": url} or None.
    points: {"url", "seq", "n", "key", "stage": "pca" | "umap" | "learning", "ids", "neighbours", "k",
        "note"} or None. Row p of the neighbours' file belongs to point p and holds picture ids.
    colours: {"seq", "codes": base64 of one uint8 per picture (255 = grey), "names", "colours", "pictures", "boxes"} or
        None, which colours by the labels in `about`; {"none": True} leaves all grey, without a legend. `pictures`: an id
        for each name, shown beside it in the legend. `boxes`: where codes stand for class boxes, the id of each; then
        the colours follow an adaptation that is played (the event `byolmeta-step`, see ui/player).
    boxes: [{"id", "name", "colour"}] to put a selection into; None hides that part.
    tools: what the bar of a selection offers besides, names among "similar", "export" and "aside".
    lit: {"ids", "name", "seq"}: pictures that light up while the others fade, until the visitor closes the name
        above the map; a new seq lights them again. None ends it.
    landed: [{"url", "x", "y", "near", "name"}]: new pictures on the map. url is of the picture, x and y are in the
        coordinates of the points' file, near holds picture ids. The view flies there when they change.
    selection: {"ids", "seq"}: with a new seq, these pictures are selected (no select event answers that).
    film: {"url", "ids", "frames", "n", "labels", "key", "seq"}: float32 little-endian (frames, n, 2), played in one
        scale with a label for each frame; ids is the URL of uint32 (n) picture ids, None for 0 to n - 1. A new seq
        opens it, also again after the visitor left it; None brings the present map back.
    compare: {"url", "names", "facts", "neighbours", "k", "middle", "key", "seq"}: the positions of a second layout
        of the points, float32 (n, 2), to slide to or to see side by side. names and facts are two texts each, first
        for the present layout; neighbours are those of the second, as in `points`, or None; middle is a text
        between the two. seq works as in film; of the two, the one that came last is shown.
    large: {"id", "url", "name", "facts": [text], "seq"}: the picture that the event `enlarge` asked for, shown in its
        dialog while that is about this picture; facts are lines below its name.
    In an update, {} stands for None, which Gradio does not deliver.
    words: replaces some of WORDS. compact: a small preview to look at, without tools.

    Events: select, similar and aside send {"indices", "count", "truncated", "key"}; assign sends "box" besides (None
    is a new one) and export "kind" ("csv" or "zip"). indices are picture ids, the first 20,000 of them.
    undone takes an assign or aside back: what that sent, and "what" ("assign" or "aside"). left tells that the visitor
    closed a comparison or a film: "kind" ("compare" or "film"). enlarge asks for a picture in full: {"id", "key"}.
    """

    TRIGGERS = ("select", "assign", "similar", "export", "aside", "undone", "left", "enlarge", "ready")

    def __init__(
        self,
        pictures: dict | None = None,
        points: dict | None = None,
        colours: dict | None = None,
        boxes: list[dict] | None = None,
        tools: list[str] | None = None,
        lit: dict | None = None,
        landed: list[dict] | None = None,
        selection: dict | None = None,
        film: dict | None = None,
        compare: dict | None = None,
        large: dict | None = None,
        words: dict[str, str] | None = None,
        compact: bool = False,
        **looks,
    ):
        first = {"compact": compact, "words": None, "boxes": boxes, "tools": tools}
        props = {"pictures": pictures, "points": points, "colours": colours, "lit": lit, "landed": landed} | first
        props |= {"selection": selection, "film": film, "compare": compare, "large": large}
        super().__init__(
            TEMPLATE, STYLE, SCRIPT, {"DEFAULT_WORDS": WORDS | (words or {}), "FIRST": first}, **props, **looks
        )
