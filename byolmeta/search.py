"""What marks on a few pictures teach, and what that finds on others: boxes with how sure they are.

Marks are boxes and strokes on a thing, or on what is none, and tags of whole pictures. Places are pixels of the upright
picture, or of its view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from byolmeta.detect import Detector, Example, Found, Ground, Maps, View, teach_detector

SAME = 0.5  # overlap (IoU) from which a found box is the one that a person drew
DOUBTS = 3  # boxes of a picture without the thing that are learned from as wrong


@dataclass(frozen=True)
class Mark:
    """What a person said of a place on a picture: a box, a stroke (one point: a click), or, with neither, of the whole picture."""

    row: int
    label: int
    no: bool = False  # this is not it
    box: tuple[float, float, float, float] | None = None  # left, top, right, bottom
    points: tuple[tuple[float, float], ...] = ()
    radius: float = 0.0

    @property
    def is_tag(self) -> bool:
        return self.box is None and not self.points


class Answer(NamedTuple):
    """What was found on a picture."""

    found: Found
    outlines: Tensor | None = None  # float32 (classes, H, W), 0..1: how sure each point belongs to the class


@dataclass(frozen=True, eq=False)
class Search:
    """What the marks taught."""

    marks: tuple[Mark, ...]
    detector: Detector | None
    boxed: tuple[int, ...]  # the classes of the detector's labels

    @torch.no_grad()
    def __call__(self, view: View, row: int = -1) -> Answer:
        """What is on a picture; `row`: its own marks count as said."""
        found = Found(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
        if self.detector:
            found = self.detector(view)
            found = found._replace(labels=torch.tensor(self.boxed)[found.labels])
        return Answer(as_said(found, [mark for mark in self.marks if mark.row == row]))


def as_said(found: Found, marks: Sequence[Mark]) -> Found:
    """What was found on a picture, and what its marks say: drawn boxes are certain, and what is none of a class is not found."""
    keep = torch.ones(len(found.scores), dtype=torch.bool)
    for mark in marks:
        if mark.box is not None:
            keep &= (found.labels != mark.label) | (box_iou(found.boxes, torch.tensor([mark.box]))[:, 0] < SAME)
        elif mark.is_tag and mark.no:
            keep &= found.labels != mark.label
    drawn = [mark for mark in marks if mark.box is not None and not mark.no]
    boxes = torch.tensor([mark.box for mark in drawn], dtype=torch.float32).view(-1, 4)
    labels = torch.tensor([mark.label for mark in drawn], dtype=torch.long)
    return Found(
        torch.cat([boxes, found.boxes[keep]]),
        torch.cat([torch.ones(len(drawn)), found.scores[keep]]),
        torch.cat([labels, found.labels[keep]]),
    )


def learn(maps: Maps, views: Mapping[int, View], marks: Sequence[Mark], ground: Ground) -> Search:
    """Learns from marks; `views` are those of the marked pictures, by row."""
    boxed = tuple(sorted({mark.label for mark in marks if mark.box is not None and not mark.no}))
    return Search(tuple(marks), _detector(maps, views, marks, boxed, ground) if boxed else None, boxed)


def _detector(maps: Maps, views: Mapping[int, View], marks: Sequence[Mark], boxed: tuple[int, ...], ground: Ground):
    """The detector of the classes that have boxes. What it finds on pictures that are said to be without a class is wrong."""
    of = {label: number for number, label in enumerate(boxed)}
    known = [mark for mark in marks if mark.box is not None and mark.label in of]
    examples = [Example(mark.row, mark.box, of[mark.label]) for mark in known if not mark.no]
    wrong = [Example(mark.row, mark.box, of[mark.label]) for mark in known if mark.no]
    detector = teach_detector(maps, views, examples, wrong, ground=ground)
    without = [mark for mark in marks if mark.is_tag and mark.no and mark.label in of]
    if not without:
        return detector
    for mark in without:
        found = detector(views[mark.row])
        own = found.boxes[found.labels == of[mark.label]][:DOUBTS]
        wrong += [Example(mark.row, tuple(box), of[mark.label]) for box in own.tolist()]
    return teach_detector(maps, views, examples, wrong, ground=ground)
