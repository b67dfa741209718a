"""What marks on a few pictures teach, and what that finds on others: boxes with how sure they are, and outlines.

Marks are boxes and strokes on a thing, or on what is none, and tags of whole pictures. Places are pixels of the upright
picture, or of its view. Boxes come from boxes (detect.py) where a class has some, and else from the outlines; outlines come
from all marks (segment.py). On its own picture a painted thing gets the box of its outline, which then is an example too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import find_objects
from scipy.ndimage import label as parts_of
from torch import Tensor
from torchvision.ops import box_iou

from byolmeta import segment
from byolmeta.detect import SMALLEST, Detector, Example, Found, teach_detector
from byolmeta.errors import InputError
from byolmeta.windows import Ground, Larger, Maps, View, learn_ground

SAME = 0.5  # overlap (IoU) from which a found box is the one that a person drew
DOUBTS = 3  # boxes of a picture without the thing that are learned from as wrong
MARGIN = 0.15  # of a found box's sides, in which its outline may still lie
LEAST = 0.002  # share of a picture that a part of an outline has at least, to get a box


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


class Sight:
    """A picture as both ways of looking see it; what was seen is kept."""

    def __init__(self, detect_maps: Maps, segment_maps: Maps, image: Tensor, larger: Larger | None = None):
        self.view, self.picture = View(detect_maps, image, larger), segment.Picture(segment_maps, image)
        self.image, self.width, self.height = image, image.shape[2], image.shape[1]


class Usual(NamedTuple):
    """What is usual in the user's pictures, whatever they show."""

    ground: Ground
    basis: segment.Basis


class Answer(NamedTuple):
    """What was found on a picture."""

    found: Found
    outlines: Tensor  # float32 (classes, H, W), 0..1: how sure each point belongs to the class


def within_boxes(answer: Answer, kept: Tensor) -> Tensor:
    """The outlines (classes, H, W) as far as they lie in the kept boxes of their class; found ones are widened by MARGIN of
    their sides, drawn ones hold."""
    inside = torch.zeros_like(answer.outlines)
    high, wide = inside.shape[1:]
    for box, score, label in zip(*(part[kept] for part in answer.found), strict=True):
        margin = (box[2:] - box[:2]) * (0 if score == 1 else MARGIN)
        left, top = (box[:2] - margin).clamp_min(0).round().int().tolist()
        right, bottom = (box[2:] + margin).round().int().tolist()
        inside[label, top : min(bottom, high), left : min(right, wide)] = 1
    return answer.outlines * inside


def learn_usual(sights: Sequence[Sight], progress: Callable[[int, int], None] | None = None) -> Usual:
    """What is usual in some pictures; no marks needed."""
    ground = learn_ground([sight.view for sight in sights], progress=progress)
    return Usual(ground, segment.learn_basis([sight.picture for sight in sights], segment.Settings()))


@dataclass(frozen=True, eq=False)
class Search:
    """What the marks taught."""

    way: int  # classes
    marks: tuple[Mark, ...]
    detector: Detector | None
    boxed: tuple[int, ...]  # the classes of the detector's labels
    segmenter: segment.Segmenter | None
    outlined: tuple[int, ...]  # those of the segmenter's
    problems: Mapping[int, InputError]  # by class: what its marks lack

    @torch.no_grad()
    def __call__(self, sight: Sight, row: int = -1) -> Answer:
        """What is on a picture; `row`: its own marks count as said."""
        found = Found(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
        outlines = torch.zeros(self.way, sight.height, sight.width)
        if self.segmenter:
            outlines[list(self.outlined)] = self.segmenter(sight.picture, row).probability
        if self.detector:
            found = self.detector(sight.view)
            found = found._replace(labels=torch.tensor(self.boxed)[found.labels])
        for label in set(self.outlined) - set(self.boxed):
            boxes, scores = boxes_around(outlines[label])
            more = Found(boxes, scores, torch.full((len(boxes),), label))
            found = Found(*(torch.cat(pair) for pair in zip(found, more, strict=True)))
        own = [mark for mark in self.marks if mark.row == row]
        for mark in own:
            if mark.is_tag and mark.no:
                outlines[mark.label] = 0
        return Answer(as_said(found, own), outlines)


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
        torch.cat([torch.ones(len(drawn)), found.scores[keep].clamp_max(0.999)]),
        torch.cat([labels, found.labels[keep]]),
    )


def boxes_around(chance: Tensor, sure: float = 0.5) -> tuple[Tensor, Tensor]:
    """Boxes (K, 4) around the connected parts of an outline, chances (H, W), and the mean chance in each, (K,)."""
    inside, values = chance.numpy() > sure, chance.numpy()
    numbered, _ = parts_of(inside)
    boxes, scores = [], []
    for number, (rows, columns) in enumerate(find_objects(numbered), 1):
        part = numbered[rows, columns] == number
        if part.sum() >= max(16, LEAST * inside.size):
            boxes.append([columns.start, rows.start, columns.stop, rows.stop])
            scores.append(values[rows, columns][part].mean())
    return torch.tensor(boxes, dtype=torch.float32).view(-1, 4), torch.tensor(np.array(scores, np.float32))


def learn(
    maps: tuple[Maps, Maps], sights: Mapping[int, Sight], marks: Sequence[Mark], way: int, usual: Usual
) -> Search:
    """Learns from marks. `maps`: of detect.py and segment.py; `sights`: of the marked pictures, by row; `way`: classes.

    Raises InputError where the marks do not say enough: tags that all say the same.
    """
    marks = agreed(marks)
    shown = {mark.label for mark in marks if not mark.no}
    segmenter, outlined, problems = _segmenter(maps[1], sights, marks, shown, usual.basis)
    marked = [mark for mark in marks if not _tiny(mark)]
    boxes = [*marked, *_boxes_of_strokes(segmenter, outlined, sights, marks)]
    boxed = tuple(sorted({mark.label for mark in boxes if mark.box is not None and not mark.no}))
    detector = _detector(maps[0], sights, boxes, boxed, usual.ground) if boxed else None
    problems = {label: problem for label, problem in problems.items() if label not in boxed}
    if detector is None and segmenter is None:
        raise next(iter(problems.values()), InputError("The marks say only what is not it. Draw on one thing to find."))
    return Search(way, tuple(marks), detector, boxed, segmenter, outlined, problems)


def agreed(marks: Sequence[Mark]) -> list[Mark]:
    """The marks without words that a thing is not in a picture on which it was drawn."""
    drawn = {(mark.row, mark.label) for mark in marks if not mark.no and not mark.is_tag}
    return [mark for mark in marks if not (mark.is_tag and mark.no and (mark.row, mark.label) in drawn)]


def _tiny(mark: Mark) -> bool:
    """Whether a box is too small to see anything in."""
    return mark.box is not None and min(mark.box[2] - mark.box[0], mark.box[3] - mark.box[1]) < SMALLEST


def _segmenter(maps: Maps, sights: Mapping[int, Sight], marks: Sequence[Mark], shown: set[int], basis):
    """The segmenter, the classes of its labels, and what was wrong with the marks of others, by class."""
    pictures = {row: sight.picture for row, sight in sights.items()}

    def taught(labels: Sequence[int]):
        of = {label: number for number, label in enumerate(labels)}
        hints = [hint for mark in marks if mark.label in of for hint in _hints(mark, of[mark.label], marks)]
        return segment.teach_segmenter(maps, pictures, hints, basis=basis)

    def lacking(label: int) -> InputError | None:
        try:
            taught([label])
        except InputError as problem:
            return problem

    labels, problems = tuple(sorted(shown)), {}
    while labels:
        try:
            return taught(labels), labels, problems
        except InputError:  # one class says too little: the others need not wait for it
            found = {label: problem for label in labels if (problem := lacking(label))}
            if not found:
                raise
            problems |= found
            labels = tuple(label for label in labels if label not in found)
    return None, (), problems


def _hints(mark: Mark, label: int, marks: Sequence[Mark]) -> list[segment.Mark]:
    """A mark as segment.py takes it. A box around what is none is painted over, unless a thing that was drawn lies there, too."""
    drawn = [one for one in marks if (one.row, one.label) == (mark.row, mark.label) and not one.no and not one.is_tag]
    if mark.no and mark.box is not None and any(_meet(mark.box, one) for one in drawn):
        return []
    if mark.is_tag:
        return [segment.Mark(mark.row, label, has=not mark.no)]
    if mark.box is not None and not mark.no:
        return [segment.Mark(mark.row, label, box=mark.box)]
    if mark.box is not None:
        left, top, right, bottom = mark.box
        radius, middle = min(right - left, bottom - top) / 2, ((left + right) / 2, (top + bottom) / 2)
        ends = ((left + radius, top + radius), middle, (right - radius, bottom - radius))
        return [segment.Mark(mark.row, label, back=ends, radius=radius)]
    place = {"back" if mark.no else "front": mark.points}
    return [segment.Mark(mark.row, label, radius=max(mark.radius, 1e-3), **place)]


def _meet(box: tuple[float, float, float, float], mark: Mark) -> bool:
    """Whether a box and a drawn mark share a place."""
    points = mark.points or ((mark.box[0], mark.box[1]), (mark.box[2], mark.box[3]))
    x, y = zip(*points, strict=True)
    return min(x) < box[2] and max(x) > box[0] and min(y) < box[3] and max(y) > box[1]


def _boxes_of_strokes(
    segmenter, outlined: tuple[int, ...], sights: Mapping[int, Sight], marks: Sequence[Mark]
) -> list[Mark]:
    """A box for each painted part of a thing, around its outline there, where no box was drawn on that picture."""
    found = []
    boxed = {(mark.row, mark.label) for mark in marks if mark.box is not None and not mark.no}
    painted = {
        (mark.row, mark.label) for mark in marks if mark.points and not mark.no and mark.label in outlined
    } - boxed
    for row, label in sorted(painted):
        sight = sights[row]
        chance = segmenter(sight.picture, row).probability[outlined.index(label)]
        boxes, _ = boxes_around(chance)
        strokes = [mark for mark in marks if (mark.row, mark.label) == (row, label) and mark.points and not mark.no]
        points = torch.tensor([point for mark in strokes for point in mark.points])
        inside = (points[:, None] >= boxes[None, :, :2]).all(2) & (points[:, None] <= boxes[None, :, 2:]).all(2)
        found += [Mark(row, label, box=tuple(box)) for box in boxes[inside.any(0)].tolist()]
    return [mark for mark in found if not _tiny(mark)]


def _detector(maps: Maps, sights: Mapping[int, Sight], marks: Sequence[Mark], boxed: tuple[int, ...], ground: Ground):
    """The detector of the classes that have boxes. What it finds on pictures that are said to be without a class is wrong."""
    of = {label: number for number, label in enumerate(boxed)}
    known = [mark for mark in marks if mark.box is not None and mark.label in of]
    examples = [Example(mark.row, mark.box, of[mark.label]) for mark in known if not mark.no]
    wrong = [Example(mark.row, mark.box, of[mark.label]) for mark in known if mark.no]
    views = {row: sight.view for row, sight in sights.items()}
    detector = teach_detector(maps, views, examples, wrong, ground=ground)
    without = [mark for mark in marks if mark.is_tag and mark.no and mark.label in of]
    if not without:
        return detector
    for mark in without:
        found = detector(views[mark.row])
        own = found.boxes[found.labels == of[mark.label]][:DOUBTS]
        wrong += [Example(mark.row, tuple(box), of[mark.label]) for box in own.tolist()]
    return teach_detector(maps, views, examples, wrong, ground=ground)
