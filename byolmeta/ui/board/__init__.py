"""The board: a tray of pictures and 2 to 20 class boxes, sorted by drag, tap, keys or a menu.

The script draws it and owns its state while the page is open; this file is its Python face. What a browser
sends goes through `check_boxes` before anything else reads it.

    board = Board(pictures=..., boxes=empty_boxes(["Cats", "Dogs"]), elem_id="board")
    board.change(sort, [...], board, queue=False, show_progress="hidden")       # evt.rev, evt.boxes
    board.dropfiles(add, [...], board, show_progress="hidden")                  # evt.box, evt.rev, evt.files
    board.why(explain, [...], [...], show_progress="hidden")                    # evt.id: why is it guessed so?

Two fast changes may reach Python in the wrong order: keep the state with the highest rev.

A box may say `"off": True` (it stays on the board and takes no part in the task), `"colour": 0..7` (else its place
chooses), and `"muted": [ids]`, examples of its own that do not count.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from byolmeta.errors import InputError
from byolmeta.ui.component import KIT, Component

MAX_BOXES = 20
MAX_NAME = 80  # characters
MAX_REV = 2**53  # the largest whole number that JavaScript counts to
COLOURS = 8  # that a box can have
ABLE = ("why", "mute", "off", "colour")  # what a board offers beside sorting

WORDS = {
    "boxes_title": "Boxes",
    "tray_title": "Pictures",
    "hint_start": "Drag a picture or two into each box. The computer then sorts the others.",
    "hint_start_touch": "Tap a picture, then tap a box. The computer then sorts the others.",
    "hint_second": "Good. Now put a different picture in another box.",
    "hint_waiting": "The computer is looking at your examples…",
    "hint_answers": "The coloured corners are guesses; no corner means none of these. Is one wrong? Drag that picture to its box.",
    "box_empty": "Drag a picture here",
    "box_empty_keys": "or pick one and press {number}",
    "box_empty_touch": "or tap one, then tap here",
    "box_label": "Box {number}, {name}, {count}",
    "box_name": "Name of box {number}",
    "box_items": "Examples in {name}",
    "box_delete": "Delete {name}; its pictures go back",
    "box_menu": "Colour and more of {name}",
    "box_off": "Left out",
    "box_use": "Use this box",
    "box_remove": "Delete this box",
    "colours": "Colour",
    "colour_blue": "blue",
    "colour_orange": "orange",
    "colour_green": "green",
    "colour_pink": "pink",
    "colour_sky": "light blue",
    "colour_red": "red",
    "colour_yellow": "yellow",
    "colour_grey": "grey",
    "box_more": "{count} more",
    "box_new": "New box",
    "box_new_name": "Box {number}",
    "box_full": "A board has at most {count} boxes.",
    "example_none": "no examples yet",
    "example_one": "1 example",
    "example_many": "{count} examples",
    "example_muted": "{count} of them not counted",
    "muted": "not counted",
    "mute": "Not because of this",
    "unmute": "Count it again",
    "why": "Why?",
    "picture_one": "1 picture",
    "picture_many": "{count} pictures",
    "undo": "Undo",
    "redo": "Redo",
    "search": "Find by name",
    "size": "Picture size",
    "filters": "Show",
    "filter_all": "In no box",
    "filter_box": "Guess: {name}",
    "filter_unsure": "Unsure",
    "filter_none": "None of these",
    "filter_changed": "Changed",
    "tray_help": (
        "Arrow keys walk, Space selects, 1 to 9 move into a box, 0 or Backspace take out, the menu key lists all boxes. "
        "W asks why a picture is guessed so, and M leaves an example out of count."
    ),
    "tray_none": "No pictures yet. Choose some under Pictures.",
    "tray_done": "Every picture is in a box. Well done.",
    "tray_no_match": "No picture here. Choose another filter or another word.",
    "tray_drop": "Let go to put back",
    "picture": "Picture {number}",
    "guess_sure": "guess: {name}, sure",
    "guess_fair": "guess: {name}, fairly sure",
    "guess_unsure": "guess: {name}, unsure",
    "guess_none": "guess: none of these",
    "selected": "{count} selected",
    "move_to": "Move to…",
    "move_out": "Back to the pictures",
    "clear": "Clear",
    "say_moved": "{what} moved to {name}, which now has {count}.",
    "say_out": "{what} put back.",
    "say_next": "Next: {name}.",
    "say_no_box": "There is no box {number}.",
    "say_not_in_box": "Not in a box.",
    "say_added": "Added {name}.",
    "say_deleted": "Deleted {name}. Its pictures are back.",
    "say_renamed": "Box {number} is now {name}.",
    "say_off": "{name} is left out.",
    "say_used": "{name} takes part again.",
    "say_coloured": "{name} is now {colour}.",
    "say_muted": "{what} does not count any more.",
    "say_unmuted": "{what} counts again.",
    "say_no_guess": "There is no guess yet.",
    "say_undone": "Undone.",
    "say_redone": "Redone.",
    "say_nothing_to_undo": "Nothing to undo.",
    "say_nothing_to_redo": "Nothing to redo.",
    "say_selected": "{count} selected.",
    "say_cleared": "Selection cleared.",
    "say_caught_up": "The connection is back. What you did meanwhile counts.",
    "say_cancelled": "Nothing was moved.",
    "files_drop": "Let go to add",
    "files_sending": "Adding {what}…",
    "files_sent": "{what} added.",
    "files_failed": "{what} could not be read. The others were added.",
    "files_not_pictures": "Only pictures can be dropped here: JPG, PNG, WebP, BMP, GIF or TIFF.",
}

_HERE = Path(__file__).parent
_CSS = (_HERE / "board.css").read_text(encoding="utf-8")
_TEMPLATE = '<div class="bm-board"></div>'
_FILES = ("state", "changes", "drawing", "playing", "pointer", "menus", "keys", "board")  # one script, in this order
_JS = KIT + "\n".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in _FILES)


class Board(Component):
    """A board of pictures. Every prop that Python may update is an argument here; state.js says its shape.

    `able`: which of ABLE it offers, all where nothing is said. `shared`: all windows of a browser show one and the
    same state, and tell each other what changes.
    """

    TRIGGERS = EACH = ("dropfiles", "ready", "why")

    def __init__(
        self,
        value: Any = None,
        *,
        pictures: dict | None = None,
        boxes: dict | None = None,
        answers: dict | None = None,
        extras: list | None = None,
        able: Sequence[str] | None = None,
        words: dict | None = None,
        shared: bool = False,
        **looks: Any,
    ):
        words = WORDS | (words or {})
        constants = {"CSS": _CSS, "DEFAULT_WORDS": words, "SHARED": shared}
        props = {"pictures": pictures, "answers": answers, "extras": extras or [], "words": words}
        props["able"] = list(ABLE if able is None else able)
        # Styles go in by script, once: a css_template is compiled again with each update of a prop.
        super().__init__(_TEMPLATE, "", _JS, constants, value, **props, boxes=boxes or empty_boxes(["", ""]), **looks)
        # Gradio would hold back or drop an event while another one runs, and a change would be lost.
        self.change = partial(self.change, trigger_mode="multiple")


def empty_boxes(names: Sequence[str]) -> dict:
    """A board's first state: one empty box for each name ("" shows as *Box 1*, *Box 2*...)."""
    boxes = [{"id": f"b{i + 1}", "name": name or f"Box {i + 1}", "items": []} for i, name in enumerate(names)]
    return {"rev": 0, "boxes": boxes}


def check_boxes(value: Any, n: int) -> dict:
    """The state that a browser sent, checked and copied. `n`: how many pictures exist, extras included."""
    if not isinstance(value, dict) or not isinstance(value.get("boxes"), (list, tuple)):
        raise InputError("The board sent something that is not a list of boxes. Reload the page.")
    if not _whole(value.get("rev"), MAX_REV):
        raise InputError("The board sent no revision number. Reload the page.")
    if len(value["boxes"]) > MAX_BOXES:
        raise InputError(f"There are {len(value['boxes'])} boxes, at most {MAX_BOXES} are possible. Delete some.")
    boxes = [_check_box(box, n) for box in value["boxes"]]
    if len({box["id"] for box in boxes}) < len(boxes):
        raise InputError("Two boxes have the same id. Reload the page.")
    items = [i for box in boxes for i in box["items"]]
    if len(set(items)) < len(items):
        raise InputError("A picture lies in two boxes. Take it out of one of them.")
    return {"rev": value["rev"], "boxes": boxes}


def encode_answers(
    label: Sequence[int],
    sure: Sequence[int],
    *,
    rev: int,
    box_ids: Sequence[str],
    box_notes: Sequence[str] | None = None,
) -> dict:
    """The `answers` prop. label (N,): index into `box_ids` or -1; sure (N,): 0 none of these .. 3 sure."""
    answers = {
        "rev": rev,
        "label": base64.b64encode(np.asarray(label, np.int8).tobytes()).decode(),
        "sure": base64.b64encode(np.asarray(sure, np.uint8).tobytes()).decode(),
        "box_ids": list(box_ids),
    }
    return answers | ({"box_notes": list(box_notes)} if box_notes else {})


def _check_box(box: Any, n: int) -> dict:
    if not isinstance(box, dict):
        raise InputError("The board sent something that is not a box. Reload the page.")
    box_id, name, items = box.get("id"), box.get("name"), box.get("items")
    if not isinstance(box_id, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", box_id):
        raise InputError("A box has no proper id. Reload the page.")
    if not isinstance(name, str) or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise InputError("The name of a box is not plain text. Type another one.")
    if not name.strip() or len(name) > MAX_NAME:
        raise InputError(f"The name of a box has {len(name)} characters, it needs 1 to {MAX_NAME}.")
    if not isinstance(items, (list, tuple)) or len(items) > n or not all(_whole(i, n - 1) for i in items):
        raise InputError(f"A box holds a picture that is not among these {n}. Reload the page.")
    return {"id": box_id, "name": name.strip(), "items": list(items)} | _settings(box)


def _settings(box: dict) -> dict:
    """What a box may say beside its name and examples; left out where it says the usual."""
    off, colour, muted, items = box.get("off", False), box.get("colour"), box.get("muted", []), set(box["items"])
    if type(off) is not bool:
        raise InputError("The board did not say whether a box takes part. Reload the page.")
    if colour is not None and not _whole(colour, COLOURS - 1):
        raise InputError(f"A box has a colour that is not one of the {COLOURS}. Choose one from its menu.")
    if not isinstance(muted, (list, tuple)) or not all(type(i) is int and i in items for i in muted):
        raise InputError("A box does not count a picture that is not among its examples. Reload the page.")
    found = {"off": True} if off else {}
    if colour is not None:
        found["colour"] = colour
    if muted:
        found["muted"] = list(dict.fromkeys(muted))
    return found


def _whole(value: Any, largest: int) -> bool:
    return type(value) is int and 0 <= value <= largest
