"""The camera: a live picture, a bar for each class box, and buttons that record examples while they are held.

Frames leave the page one at a time: the next goes when the last was answered. ui/live.py is what answers.

    camera = Camera(boxes=[{"id": "b1", "name": "Cats", "colour": "#0072B2"}], side=128, elem_id="camera")
    camera.frame(look, [...], camera, show_progress="hidden")      # evt.data (base64 of a JPEG file), evt.seq
    camera.record(keep, [...], [board, camera], ...)               # evt.box, evt.data, evt.seq
"""

from __future__ import annotations

from pathlib import Path

from byolmeta.ui.component import KIT, Component

WORDS = {
    "on": "Use the camera",
    "about": "It guesses what the camera sees. Pictures are looked at and forgotten; only what you record is kept.",
    "asking": "Allow the camera in your browser…",
    "off": "Turn off",
    "switch": "Other camera",
    "picture": "What the camera sees",
    "guesses": "Guesses for each box",
    "hold": "Hold to record",
    "hold_for": "Hold to record examples of {name}",
    "holding": "Recording {n}",
    "recorded": "{n} recorded",
    "say_recorded": "{n} recorded for {name}.",
    "full": "That were {n}, the most at once. Let go, and hold again for more.",
    "none": "None of these",
    "few": "Record examples for two boxes, then it guesses.",
    "no_examples": "empty",
    "waiting": "The computer is looking…",
    "slow": "The computer takes long to answer. Is the app still running?",
    "say_guess": "{name}, {share}.",
    "share": "{n} %",
    "say_on": "The camera is on.",
    "say_off": "The camera is off.",
    "left": "The camera was turned off because you left this page.",
    "lost": "The camera was unplugged or taken by another program.",
    "refused": "The camera was not allowed. Allow it in the browser's address bar, then press the button again.",
    "missing": "No camera was found. Plug one in, then press the button again.",
    "busy": "The camera is used by another program. Close that one, then press the button again.",
    "insecure": "Browsers give the camera only to addresses with https, and to localhost. Open this page by such a one.",
    "unsupported": "This browser has no access to cameras. Try a newer one.",
    "failed": "The camera did not start. Press the button again, or try another browser.",
}

# Static on purpose: Gradio evaluates templates, so words and names arrive as text in camera.js only.
TEMPLATE = '<section class="bm-camera"></section>'

HERE = Path(__file__).parent
STYLE = (HERE / "camera.css").read_text(encoding="utf-8")
SCRIPT = KIT + (HERE / "camera.js").read_text(encoding="utf-8")


class Camera(Component):
    """The camera's picture and guesses. Every prop that Python may update is an argument here.

    boxes: [{"id", "name", "colour"}]. side: pixels of a frame's side.
    answers: to the frame `seq`: {"seq", "boxes": ids, "scores": 0..1 each, "other": what is left, "none": bool}, or
        {"seq", "few": True} below two boxes with examples, {"seq", "busy": True} while an earlier frame is answered,
        or {"seq", "problem": a sentence}.
    recorded: to a recorded frame: {"seq"}, or {"seq", "problem"}.
    """

    TRIGGERS = EACH = ("frame", "record", "started", "stopped", "ready")

    def __init__(
        self,
        boxes: list | None = None,
        side: int = 128,
        answers: dict | None = None,
        recorded: dict | None = None,
        words: dict[str, str] | None = None,
        **looks,
    ):
        constants = {"CSS": STYLE, "WORDS": WORDS | (words or {})}
        props = {"boxes": boxes or [], "side": side, "answers": answers, "recorded": recorded}
        # Styles go in by script, once: a css_template is compiled again with each update of a prop.
        super().__init__(TEMPLATE, "", SCRIPT, constants, **props, **looks)
