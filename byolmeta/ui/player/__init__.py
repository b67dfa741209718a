"""The player below the curve: play, pause, step and speed of an adaptation, and slow motion that shows what changes.

It draws the curve up to a step (ui/chart), and tells the page what each step says of all pictures: the event
`byolmeta-step` on the window, with detail {step, of, rev, labels, box_ids, flipped}, or null when the final answers count
again. step is 1 to of; labels is an Int8Array with the place in box_ids of each picture's box, -1 for examples; flipped
are the ids of pictures whose box differs from the step before.

    player = Player(chart="curve", elem_id="player")            # chart: the elem_id of the curve
    gr.update(moves=encode_moves(steps, ...), rev=rev, boxes=box_chips(session), pictures=sheets, extras=extras)
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from byolmeta.ui.component import KIT, Component

WORDS = {
    "title": "Play the learning",
    "play": "Play",
    "pause": "Pause",
    "back": "One step back",
    "forward": "One step on",
    "step": "Step of learning",
    "speed": "Speed",
    "times": "{n}×",
    "slow": "Slow motion",
    "slow_about": "Slow motion: show what changes",
    "at": "Step {step} of {of}",
    "at_right": "Step {step} of {of}: {right}",
    "at_once": "This way of learning takes one step, so there is nothing to play.",
    "before": "before the first step",
    "first": "the first guesses",
    "changed_none": "no picture changed its box",
    "changed_one": "1 picture changed its box",
    "changed_many": "{n} pictures changed their box",
    "say": "Step {step}: {what}",
    "flipped": "Pictures that changed their box",
    "picture": "Picture {n}",
    "from_to": "{picture}: {old} → {new}",
}

# Static on purpose: Gradio evaluates templates, so words and names arrive as text in player.js only.
TEMPLATE = '<section class="bm-player" hidden></section>'

HERE = Path(__file__).parent
STYLE = (HERE / "player.css").read_text(encoding="utf-8")
SCRIPT = KIT + (HERE / "player.js").read_text(encoding="utf-8")


class Player(Component):
    """The player. Every prop that Python may update is an argument here.

    moves: of `encode_moves`; {"waiting": True} while new ones are made, {} for none. rev: of the boxes they are about.
    boxes: [{"id", "name", "colour"}]. pictures and extras: as the board has them.
    """

    TRIGGERS = ("ready",)

    def __init__(
        self,
        moves: dict | None = None,
        rev: int = 0,
        boxes: list | None = None,
        pictures: dict | None = None,
        extras: list | None = None,
        chart: str = "",
        words: dict[str, str] | None = None,
        **looks,
    ):
        constants = {"CSS": STYLE, "WORDS": WORDS | (words or {}), "CHART": chart}
        props = {"moves": moves or {}, "rev": rev, "boxes": boxes or [], "pictures": pictures, "extras": extras or []}
        # Styles go in by script, once: a css_template is compiled again with each update of a prop.
        super().__init__(TEMPLATE, "", SCRIPT, constants, **props, **looks)


def encode_moves(
    steps: Sequence[np.ndarray], right: Sequence[str] = (), *, support: np.ndarray, box_ids: Sequence[str], seq: int
) -> dict:
    """The `moves` prop of an adaptation.

    steps: the class (N,) of every picture, index into `box_ids`, before the first inner step and after each; a single
    one of a learner without inner steps. right: the accuracy of each in words. support: ids of the examples. seq: a
    number that no other adaptation has.
    """
    steps = [np.asarray(step, np.int8).copy() for step in steps]
    for step in steps:
        step[support] = -1
    steps, right = steps[1:] or steps, list(right[1:] or right)
    changes = []
    for before, after in zip(steps, steps[1:], strict=False):
        ids = np.flatnonzero(before != after)
        changes.append([ids.tolist(), after[ids].tolist()])
    return {
        "seq": seq,
        "of": len(steps),
        "first": base64.b64encode(steps[0].tobytes()).decode(),
        "changes": changes,
        "box_ids": list(box_ids),
        "right": [right[min(number, len(right) - 1)] for number in range(len(steps))] if right else [],
    }
