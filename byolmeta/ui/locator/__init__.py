"""The locator: things are boxed, painted or tagged on a few pictures, and what was found on the others is shown.

The script draws it and owns the marks while the page is open; this file is its Python face. What a browser sends goes
through `check_marks` before anything else reads it. state.js says the shapes of all props and events.

    locator = Locator(pictures=..., marked=..., elem_id="locator")
    locator.mark(search, [...], locator, show_progress="hidden")        # evt.rev, evt.classes, evt.marks
"""

import re
from pathlib import Path
from typing import Any

from byolmeta.errors import InputError
from byolmeta.ui.component import KIT, Component

MAX_CLASSES = 8
MAX_MARKS = 500
MAX_POINTS = 500  # of a stroke
MAX_NAME = 80  # characters
MAX_REV = 2**53  # the largest whole number that JavaScript counts to
COLOURS = 8  # that a class can have

WORDS = {
    "title": "Find and outline things",
    "classes": "What to find",
    "class_name": "Thing {n}",
    "class_new": "One more thing",
    "class_rename": "Rename it",
    "class_delete": "Delete {name} and its marks",
    "tools": "How to point at it",
    "tool_box": "Box",
    "tool_brush": "Brush",
    "tool_not": "Not this",
    "not_this": "not this",
    "zoom_in": "Closer",
    "zoom_out": "Further away",
    "zoom_fit": "The whole picture",
    "undo": "Undo",
    "redo": "Redo",
    "stage": (
        "The picture to point on. Arrow keys move a cross, Enter begins and ends a box or answers for what was found there, "
        "Delete takes a mark away, plus and minus zoom, B is the box, P the brush, N says not this."
    ),
    "stage_empty": "Choose a picture below.",
    "no_pictures": "No pictures yet. Choose some under Pictures.",
    "ask": "What is this?",
    "yes_this": "Yes, right",
    "no_this": "Not this",
    "close": "Close",
    "remove_mark": "Take this mark away",
    "tag_has": "{name} is in it",
    "tag_not": "{name} is not in it",
    "clear_picture": "Take the marks off this picture",
    "from_teach": "Take the examples of Teach",
    "search": "Find by name",
    "strip": "Pictures to choose from",
    "strip_more": "More",
    "no_match": "No picture has such a name.",
    "picture": "Picture {n}",
    "found": "Found",
    "sure": "At least this sure",
    "card": "{name}: {sure}",
    "hint_start": "Draw a box around the thing on one picture, or paint on it. The computer then finds it on the others.",
    "starting": "Learning from your marks…",
    "learning": "Looking at the pictures: {done} of {total}",
    "looking": "Looking for it: {done} of {total} pictures",
    "nothing": (
        "Nothing on the {n} pictures looked through is {sure} sure. Move the slider to the left, or mark one more example."
    ),
    "found_line": "On {n} of {of} pictures, at least {sure} sure.",
    "left": "{n} more can be looked through.",
    "stopped": "Stopped.",
    "stopped_at": "Stopped after {done} of {total}; what is shown on the others is from before.",
    "stop": "Stop",
    "more": "Look through more",
    "show_all": "Show all",
    "keep": "Save as",
    "keep_coco": "COCO",
    "keep_yolo": "YOLO",
    "keep_masks": "Masks",
    "keep_csv": "Table",
    "keep_overlays": "Pictures",
    "say_boxed": "A box around {name}.",
    "say_painted": "Painted: this is {name}.",
    "say_not_this": "Said: this is not {name}.",
    "say_not_there": "Painted: this is not {name}.",
    "say_here": "Said: this is {name}.",
    "say_tag_has": "{name} is in this picture.",
    "say_tag_not": "{name} is not in this picture.",
    "say_removed": "The mark is taken away.",
    "say_cleared": "All marks of this picture are taken away.",
    "say_class_gone": "{name} and its marks are deleted.",
    "say_undone": "Undone.",
    "say_redone": "Redone.",
    "say_no_undo": "Nothing to undo.",
    "say_no_redo": "Nothing to redo.",
    "say_drag": "Drag a box around the thing, from corner to corner. To click or paint on it, take the brush.",
    "say_corner": "The box begins here. Move the cross to the other corner and press Enter.",
    "say_small": "That box is too small. Drag a larger one.",
}

# Static on purpose: Gradio evaluates templates, so every word and name arrives as text in the script only.
TEMPLATE = '<section class="bm-locator"></section>'

HERE = Path(__file__).parent
STYLE = (HERE / "locator.css").read_text(encoding="utf-8")
FILES = ("state", "overlay", "stage", "results", "locator")  # one script, in this order
SCRIPT = KIT + "\n".join((HERE / f"{name}.js").read_text(encoding="utf-8") for name in FILES)


class Locator(Component):
    """The locator. Every prop that Python may update is an argument here."""

    TRIGGERS = ("mark", "open", "stop", "more", "tags", "keep", "ready")
    EACH = ("mark", "open", "stop")

    def __init__(
        self,
        pictures: dict | None = None,
        marked: dict | None = None,
        order: list | None = None,
        shown: dict | None = None,
        found: dict | None = None,
        words: dict[str, str] | None = None,
        **looks,
    ):
        constants = {"CSS": STYLE, "WORDS": WORDS | (words or {})}
        props = {
            "pictures": pictures,
            "marked": marked,
            "order": order or [],
            "shown": shown or {},
            "found": found or {},
        }
        # Styles go in by script, once: a css_template is compiled again with each update of a prop.
        super().__init__(TEMPLATE, "", SCRIPT, constants, **props, **looks)


def no_marks(name: str) -> dict:
    """The state at first: one class to find, no mark."""
    return {"rev": 0, "classes": [{"id": "c1", "name": name, "colour": 0}], "marks": []}


def check_marks(value: Any, n: int) -> dict:
    """The state that a browser sent, checked and copied. `n`: how many pictures there are. InputError where it is wrong."""
    value = value if isinstance(value, dict) else {}
    classes, marks, rev = (value.get(key) for key in ("classes", "marks", "rev"))
    if type(rev) is not int or not 0 <= rev <= MAX_REV or not isinstance(classes, list) or not isinstance(marks, list):
        raise InputError("The page sent something that is not a list of marks. Reload the page.")
    if not 0 < len(classes) <= MAX_CLASSES or len(marks) > MAX_MARKS:
        raise InputError(
            f"There are {len(classes)} things to find and {len(marks)} marks; 1 to {MAX_CLASSES} and up to {MAX_MARKS} are "
            "possible. Take some away."
        )
    classes = [_check_class(one) for one in classes]
    ids = {one["id"] for one in classes}
    marks = [_check_mark(mark, ids, n) for mark in marks]
    if len(ids) < len(classes) or len({mark["id"] for mark in marks}) < len(marks):
        raise InputError("Two things or two marks have the same id. Reload the page.")
    return {"rev": rev, "classes": classes, "marks": marks}


def _check_class(one: Any) -> dict:
    one = one if isinstance(one, dict) else {}
    ident, name, colour = (one.get(key) for key in ("id", "name", "colour"))
    if not _ident(ident) or not isinstance(name, str) or type(colour) is not int or not 0 <= colour < COLOURS:
        raise InputError("The page sent a thing to find without a name. Reload the page.")
    name = "".join(sign for sign in name if sign.isprintable())[:MAX_NAME].strip()
    return {"id": ident, "name": name or ident, "colour": colour}


def _check_mark(mark: Any, classes: set[str], n: int) -> dict:
    mark = mark if isinstance(mark, dict) else {}
    ident, row, cls, kind = (mark.get(key) for key in ("id", "row", "cls", "kind"))
    if not _ident(ident) or not isinstance(cls, str) or cls not in classes:
        raise InputError("The page sent a mark of a thing that is not there. Reload the page.")
    if type(row) is not int or not 0 <= row < n:
        raise InputError("A mark is on a picture that is not there any more. Reload the page.")
    checked = {"id": ident, "row": row, "cls": cls, "kind": kind} | ({"no": True} if mark.get("no") is True else {})
    if kind == "tag":
        return checked
    if kind == "box":
        at = mark.get("at")
        if not _shares(at, 4) or not (at[0] < at[2] and at[1] < at[3]):
            raise InputError("A box lies outside of its picture. Draw it again.")
        return checked | {"at": [float(v) for v in at]}
    points, radius = mark.get("points"), mark.get("radius")
    fits = isinstance(points, list) and 0 < len(points) <= MAX_POINTS and all(_shares(point, 2) for point in points)
    if kind != "stroke" or not fits or not _shares([radius], 1):
        raise InputError("A mark is neither a box nor a stroke on its picture. Draw it again.")
    return checked | {"points": [[float(x), float(y)] for x, y in points], "radius": float(radius)}


def _ident(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[A-Za-z0-9]{1,20}", value) is not None


def _shares(value: Any, count: int) -> bool:
    """Whether it is so many numbers from 0 to 1."""
    numbers = isinstance(value, list) and len(value) == count and all(type(v) in (int, float) for v in value)
    return numbers and all(0 <= v <= 1 for v in value)
