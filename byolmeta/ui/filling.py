"""Under the board of Teach: boxes that start from the class folders, from the groups on the map, or from a text of names."""

import re
import unicodedata
from types import SimpleNamespace

import gradio as gr
import numpy as np

from byolmeta.errors import InputError
from byolmeta.ui import paint
from byolmeta.ui.board import MAX_BOXES, MAX_NAME
from byolmeta.ui.html import safe
from byolmeta.ui.thumbs import text as plain
from byolmeta.ui.workspace import Session, Workspace

EACH, MOST_EACH = 3, 10  # examples that a box starts with
FEW_GROUPS = 6  # that become boxes where nobody chose how many


def layout(words: dict[str, str]) -> SimpleNamespace:
    """Lays it out: `fills` are (button, its input beside the number of examples, what it does)."""
    with gr.Accordion(words["fill"], open=False, elem_id="fill"):
        with gr.Row(elem_id="fill-pictures"):
            each = gr.Slider(
                1, MOST_EACH, EACH, step=1, label=words["fill_each"], elem_id="fill-each", min_width=180, scale=2
            )
            small = {"size": "sm", "min_width": 150}
            classes = gr.Button(words["fill_classes"], elem_id="fill-classes", **small)
            groups = gr.Button(words["fill_groups"], elem_id="fill-groups", **small)
        with gr.Row(elem_id="fill-texts"):
            texts = gr.Textbox(
                label=words["fill_names"], placeholder=words["fill_names_hint"], lines=2, max_lines=8, min_width=220,
                scale=4, elem_id="fill-text",
            )  # fmt: skip
            names = gr.Button(words["fill_names_go"], elem_id="fill-names", size="sm", min_width=110, scale=1)
        gr.Markdown(words["fill_line"])
    fills = [(classes, each, from_classes), (groups, each, from_groups), (names, texts, from_names)]
    return SimpleNamespace(fills=fills)


# Each returns an update of the board, or raises InputError and changes nothing.


def from_classes(work: Workspace, words: dict[str, str], session: Session, each) -> dict:
    """A box for each class folder, with some of its pictures drawn at random; once more draws others."""
    store, free = work.pictures(session).store, _free(work, session)
    each, chance = _count(each), np.random.default_rng(session.boxes["rev"])
    wanted = []
    for label, name in enumerate(store.class_names):
        own = np.flatnonzero((store.labels == label) & free)
        if len(own):
            wanted.append((plain(name), chance.permutation(own)))
    if not wanted:
        raise InputError(words["fill_no_classes"])
    return _fill(work, words, session, wanted, each)


def from_groups(work: Workspace, words: dict[str, str], session: Session, each) -> dict:
    """A box for each group that the pictures fall into, with those that are most like the whole group."""
    from byolmeta.features import unit

    count, free = len(work.pictures(session).store), _free(work, session)
    asked = work.seen(session).get("count", 0)  # by the slider of the map
    found = paint.groups_of(work, session, asked)
    if not asked and found.count > FEW_GROUPS:
        found = paint.groups_of(work, session, FEW_GROUPS)
    vectors = unit(paint.vectors_of(work, session)[:count])
    labels, wanted = found.labels[:count], []
    for group in range(found.count):
        own = np.flatnonzero((labels == group) & free)
        if len(own):
            near = vectors[own] @ vectors[labels == group].mean(0)
            wanted.append((words["group_name"].format(n=group + 1), own[np.argsort(-near, kind="stable")]))
    if len(wanted) < 2:
        raise InputError(words["fill_no_groups"])
    before = {i for box in session.boxes["boxes"] for i in box["items"]}
    board = _fill(work, words, session, wanted, _count(each))
    session.grouped = [i for box in session.boxes["boxes"] for i in box["items"] if i not in before]
    work.save(session)
    return board


def from_names(work: Workspace, words: dict[str, str], session: Session, text) -> dict:
    """An empty box for each name: one in a line, or several with commas between."""
    names = [name.strip() for name in re.split(r"[\n,;，、；]", text if isinstance(text, str) else "")]
    names = [name for name in dict.fromkeys(names) if name]
    if not names:
        raise InputError(words["fill_no_names"])
    for name in names:
        if len(name) > MAX_NAME:
            raise InputError(words["fill_long_name"].format(start=name[:30], n=len(name), most=MAX_NAME))
        if name != box_name(name):
            raise InputError(words["fill_odd_name"])
    return _fill(work, words, session, [(name, []) for name in names], 0)


def _fill(work, words, session: Session, wanted: list[tuple[str, np.ndarray]], each: int) -> dict:
    """Adds boxes (name, pictures in order of preference): empty ones make room, those with examples stay as they are.

    Copies of a picture do not come into boxes twice, and a name that is there already is left out.
    """
    copies = work.pictures(session).copies
    with work.board(session):
        boxes = _filled(words, session, wanted, each, copies)
        session.boxes = session.boxes | {"boxes": boxes, "rev": session.boxes["rev"] + 1}
        work.save(session)
    return gr.update(boxes=session.boxes | {"force": True})


def _filled(words, session: Session, wanted: list[tuple[str, np.ndarray]], each: int, copies: np.ndarray) -> list[dict]:
    """The boxes with the new ones."""
    boxes = [box for box in session.boxes["boxes"] if box["items"]]
    taken = {int(copies[i]) for box in boxes for i in box["items"] if i < len(copies)}
    there = {box["name"] for box in boxes}
    wanted = {box_name(name): ids for name, ids in reversed(wanted)}  # of names that are cut to the same, the first
    wanted = [(name, ids) for name, ids in reversed(wanted.items()) if name not in there]
    if not wanted:
        raise InputError(words["fill_all_there"])
    room = MAX_BOXES - len(boxes)
    if len(wanted) > room:
        gr.Warning(safe(words["fill_room"].format(n=len(wanted) - room, most=MAX_BOXES)))
    for name, ids in wanted[:room]:
        items = []
        for i in map(int, ids):
            if len(items) < each and int(copies[i]) not in taken:
                taken.add(int(copies[i]))
                items.append(i)
        boxes.append({"id": fresh_id(boxes), "name": name, "items": items})
    while len(boxes) < 2:
        boxes.append({"id": fresh_id(boxes), "name": words["box_name"].format(n=len(boxes) + 1), "items": []})
    return boxes


def box_name(name: str) -> str:
    """A name as a box may have it: plain text, not too long."""
    return "".join(sign for sign in name if unicodedata.category(sign) not in ("Cc", "Cs"))[:MAX_NAME].strip() or "?"


def fresh_id(boxes: list[dict]) -> str:
    """An id that no box has."""
    taken = {box["id"] for box in boxes}
    return next(f"b{n}" for n in range(1, 1000) if f"b{n}" not in taken)


def _free(work: Workspace, session: Session) -> np.ndarray:
    """(N,) which pictures of the folder are in no box."""
    free = np.ones(len(work.pictures(session).store), bool)
    free[[i for box in session.boxes["boxes"] for i in box["items"] if i < len(free)]] = False
    return free


def _count(each) -> int:
    return min(max(int(each), 1), MOST_EACH) if isinstance(each, (int, float)) and each == each else EACH
