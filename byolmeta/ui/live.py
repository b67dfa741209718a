"""The camera in Teach: a guess for each of its frames, and frames that become examples. Of the others nothing is kept."""

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass

import gradio as gr
import numpy as np
from PIL import Image

from byolmeta.decode import Limits
from byolmeta.errors import InputError
from byolmeta.ui.board import check_boxes
from byolmeta.ui.map import box_chips, chips_of
from byolmeta.ui.sentences import said
from byolmeta.ui.teach import classifier_of, learner_of, task_of
from byolmeta.ui.words import ENGLISH
from byolmeta.ui.workspace import KEPT, Session, Workspace

SIDE = 512  # pixels of a frame's side, at most
LIMITS = Limits(file_bytes=400_000, pixels=SIDE * SIDE)  # of one frame
AT_ONCE = 12  # frames that a visitor of a shared machine may send in a second; the page sends half as many
MAX_SEQ = 2**53  # the largest whole number that JavaScript counts to
clock = time.monotonic


@dataclass(frozen=True, eq=False)
class Head:
    """What was adapted to the boxes once, for as long as they stay as they are."""

    filled: list  # (id, pictures) of each box that has some
    bank: np.ndarray  # the vectors that it was made with
    learner: object
    classifier: object  # what the boxes teach


def whole(work: Workspace, session: Session) -> dict:
    """All that the camera has to know, in one update: the boxes in their colours and the size of its frames."""
    return gr.update(boxes=box_chips(session), side=min(2 * work.image_size(session), SIDE))


def chips(work: Workspace, session: Session, state: dict) -> dict:
    """The boxes alone, in an update, as the board has just sent them; they may not be saved yet."""
    sent = check_boxes(state, len(work.pictures(session).store) + session.extras)["boxes"]
    return gr.update(boxes=chips_of(sent))


def guess(work: Workspace, session: Session, frame: dict, words: Mapping = ENGLISH) -> dict:
    """The `answers` of the camera to a frame {data, seq}, which is forgotten; a problem is one of its sentences.

    Frames do not wait for each other: while one is answered, which may take long before the pictures are looked at,
    the others are told so.
    """
    seq, turn = _number(frame), work.alone("camera", session.name)
    if not turn.acquire(blocking=False):
        return {"seq": seq, "busy": True}
    try:
        _check_pace(work, session)
        pixels = picture_of(work, frame.get("data"), work.image_size(session))
        where = work.encoder(session)  # once: it may be changed meanwhile
        head = _head(work, session, where)
        return {"seq": seq} | (_answer(head, work.eye(session, where), pixels) if head else {"few": True})
    except InputError as problem:
        return {"seq": seq, "problem": said(words, str(problem))}
    finally:
        turn.release()


def record(work: Workspace, session: Session, frame: dict, words: Mapping = ENGLISH) -> list:
    """Keeps a frame {box, data, seq} as an example of that box. Returns updates [of the board, of the camera]."""
    seq, box = _number(frame), frame.get("box")
    try:
        _check_pace(work, session)
        work.room_for_extras(session, 1)
        pixels = picture_of(work, frame.get("data"), KEPT)
        _box(session, box)  # before anything is kept
        number = work.add_extra(session, Image.fromarray(pixels.transpose(1, 2, 0)))
        with work.board(session):
            _box(session, box)["items"].append(number)  # the board may have sent a new state meanwhile
            session.boxes["rev"] += 1
            work.save(session)
    except InputError as problem:
        return [gr.skip(), gr.update(recorded={"seq": seq, "problem": said(words, str(problem))})]
    board = gr.update(extras=work.extras(session), boxes=session.boxes | {"force": True})
    return [board, gr.update(recorded={"seq": seq})]


def stopped(work: Workspace, session: Session) -> None:
    """The camera was turned off: what was adapted leaves the memory."""
    work.seen(session).pop("camera", None)


def picture_of(work: Workspace, data: str, size: int) -> np.ndarray:
    """uint8 (3, size, size) of a frame as the page sends it, the base64 text of a picture file."""
    if not isinstance(data, str) or not data:
        raise InputError("The camera sent no picture. Turn it off and on again.")
    if len(data) > LIMITS.file_bytes * 4 // 3 + 4:
        raise InputError(
            f"The camera sent a picture of {len(data) * 3 // 4 / 1e6:.1f} MB; {LIMITS.file_bytes / 1e6:.1f} MB are "
            "possible. Reload the page."
        )
    try:
        return work.read(base64.b64decode(data, validate=True), size, LIMITS)
    except ValueError:  # letters that are not base64
        raise InputError("The camera sent something that is not a picture. Reload the page.") from None
    except InputError as problem:
        raise InputError(f"The camera's picture cannot be used. {problem} Reload the page.") from None


def _head(work: Workspace, session: Session, where: str) -> Head | None:
    """The session's boxes as they are now, adapted to once. None below two boxes with examples."""
    boxes, support, labels = task_of(session)
    filled = [(box["id"], support[labels == place].tolist()) for place, box in enumerate(boxes)]
    if len(filled) < 2:
        return None
    import torch

    bank, learner = work.bank(session, where), learner_of(work, session, where)
    seen = work.seen(session)
    head = seen.get("camera")
    if not (head and head.bank is bank and head.filled == filled and head.learner == learner):
        torch.set_num_threads(1)  # small tensors: two threads that wait for each other beside a training are slower
        head = seen["camera"] = Head(filled, bank, learner, classifier_of(work, session, where))
    return head


def _answer(head: Head, encoder, pixels: np.ndarray) -> dict:
    """The chance of each box that has examples, and whether the picture is of none of them."""
    import torch

    from byolmeta.features import embed

    scores, none = head.classifier.answers(torch.from_numpy(embed(encoder, pixels[None])))
    chances = scores[0].tolist()
    return {
        "boxes": [box for box, _ in head.filled],
        "scores": [round(chance, 4) for chance in chances],
        "other": round(1 - sum(chances), 4),
        "none": bool(none[0]),
    }


def _check_pace(work: Workspace, session: Session) -> None:
    """On a shared machine nobody sends more than AT_ONCE frames in a second."""
    if not work.public:
        return
    times, now = work.seen(session).setdefault("camera_times", []), clock()
    times[:] = [then for then in times if now - then < 1]
    if len(times) >= AT_ONCE:
        raise InputError(f"The camera sent more than {AT_ONCE} pictures in a second, too many for a shared computer.")
    times.append(now)


def _box(session: Session, box: str) -> dict:
    found = next((each for each in session.boxes["boxes"] if each["id"] == box), None)
    if found is None:
        raise InputError("This box is not there any more. Choose another one.")
    return found


def _number(frame: dict) -> int:
    """The number that a frame came with, by which the page knows its answer."""
    seq = frame.get("seq")
    return seq if type(seq) is int and 0 <= seq <= MAX_SEQ else 0
