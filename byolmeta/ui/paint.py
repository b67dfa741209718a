"""The colours of the map: which group each picture is in, by folder, by likeness, by the task in hand, by oddness."""

import base64
import itertools
from pathlib import Path

import numpy as np

from byolmeta.ui.thumbs import text as plain
from byolmeta.ui.workspace import Session, Workspace

BOX_COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#999999",
)  # as state.js of the board has them
FOLDER, GROUPS, TASK, SURE, ODD, DOUBT = WAYS = ("folder", "groups", "task", "sure", "odd", "doubt")
GREY = 255  # the code of a picture without a group
RAMP = ("#D55E00", "#E69F00", "#8FA9BF", "#C9D3DC")  # what asks for a look stands out
ODDER = (0.98, 0.9, 0.5)  # shares of pictures that are less odd
DOUBTFUL = (0.8, 0.5, 0.2)  # 0: its neighbours on the map are as alike as its true ones, 1: as any by chance
numbers = itertools.count(1)


def colours(work: Workspace, words: dict[str, str], session: Session, by: str, count: int = 0) -> dict:
    """The `colours` prop of the map, for all pictures; {} stands for folders, "none" for what cannot be
    told yet.

    `count`: groups, 0 for as many as seem right.
    """
    found = {GROUPS: _groups, TASK: _task, SURE: _sure, ODD: _odd, DOUBT: _doubt}.get(by)
    made = found(work, words, session, count) if found else None
    if made is None:
        return {"none": True} if found else {}
    codes, names, shades, examples = made
    codes = codes[: len(work.pictures(session).store)]
    return {
        "seq": next(numbers),
        "key": work.pictures(session).sheets["key"],
        "codes": base64.b64encode(codes.astype(np.uint8).tobytes()).decode(),
        "names": names,
        "colours": shades,
        "pictures": examples,
        "boxes": [box["id"] for box in session.boxes["boxes"]] if by == TASK else [],  # whose steps it follows
    }


def groups_of(work: Workspace, session: Session, count: int = 0):
    """The groups that the encoder's vectors fall into, made once for each count."""
    from byolmeta.groups import found_groups

    vectors, kept = vectors_of(work, session), work.seen(session).setdefault("groups", {})
    if kept.get("of") is not vectors:
        kept.clear()
        kept["of"] = vectors
    if count not in kept:
        kept[count] = found_groups(vectors, count)
    return kept[count]


def vectors_of(work: Workspace, session: Session) -> np.ndarray:
    """The vectors of the pictures of the folder, without those that were dropped on the board."""
    whole, found = work.bank(session), work.pictures(session)
    cut = work.seen(session)
    if cut.get("whole") is not whole:  # one and the same array as long as they are the same
        cut["whole"], cut["vectors"] = whole, whole[: len(found.store)]
    return cut["vectors"]


def _groups(work, words, session, count):
    from byolmeta.groups import main_class

    store, found = work.pictures(session).store, groups_of(work, session, count)
    names = []
    for group, label in enumerate(main_class(found, store.labels)):
        key = "group_mostly" if label >= 0 else "group_name"
        names.append(words[key].format(n=group + 1, name=plain(store.class_names[label]) if label >= 0 else ""))
    return found.labels, names, [], found.representatives.tolist()


def _answers(work: Workspace, session: Session) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
    """Box and certainty of each picture as the board has them, and the boxes' ids; None before there are two boxes."""
    answers = work.seen(session).get("answers")
    if not answers:
        return None
    label, sure = (
        np.frombuffer(base64.b64decode(answers[key]), kind).copy()
        for key, kind in (("label", np.int8), ("sure", np.uint8))
    )
    return label, sure, answers["box_ids"]


def _task(work, words, session, count):
    found = _answers(work, session)
    if found is None:
        return None
    label, sure, filled = found
    boxes = session.boxes["boxes"]
    place = {box["id"]: number for number, box in enumerate(boxes)}
    codes = np.array([place.get(box_id, GREY) for box_id in filled])[label]
    codes[sure == 0] = GREY  # none of these
    for number, box in enumerate(boxes):
        codes[[i for i in box["items"] if i < len(codes)]] = GREY if box.get("off") else number
    return codes, [box["name"] for box in boxes], colours_of(boxes), []


def colours_of(boxes: list[dict]) -> list[str]:
    """The colours of class boxes: chosen, else by their places."""
    return [BOX_COLOURS[box.get("colour", place) % len(BOX_COLOURS)] for place, box in enumerate(boxes)]


def _sure(work, words, session, count):
    found = _answers(work, session)
    if found is None:
        return None
    return found[1], [words[f"sure_{level}"] for level in range(4)], list(RAMP), []


def _odd(work, words, session, count):
    from byolmeta import tidy

    vectors, kept = vectors_of(work, session), work.seen(session).get("odd", (None, None))
    if kept[0] is not vectors:
        kept = work.seen(session)["odd"] = vectors, tidy.oddness(tidy.odd_ones(vectors))
    share = kept[1]
    names = [words["odd_more"].format(n=round(100 * least)) for least in ODDER] + [words["odd_usual"]]
    return _binned(share, ODDER), names, list(RAMP), []


def _doubt(work, words, session, count):
    from byolmeta.image_map import doubtful

    key, places = work.places.get(session.name, ("", None))
    if key != work.pictures(session).sheets["key"]:
        return None  # the map is still a sketch
    vectors, (of, near) = vectors_of(work, session), work.seen(session).get("nearest", (None, None))
    doubt = doubtful(vectors, places, near=near if of is vectors else None)
    return _binned(doubt, DOUBTFUL), [words[f"doubt_{level}"] for level in range(4)], list(RAMP), []


def _binned(share: np.ndarray, least: tuple[float, ...]) -> np.ndarray:
    """0 for shares from the first bound on, 1 from the second ..., and the number of bounds below them all."""
    return (share[:, None] < np.array(least)).sum(1)


def file_name(text: str) -> str:
    """A short name for a file that the browser keeps."""
    kept = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(plain(text)).stem).strip("-")
    return kept[:40] or "pictures"
