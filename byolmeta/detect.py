"""A few boxes drawn around a thing -> boxes around such things in other pictures, each with how sure it is.

Windows are seen as windows.py has it; a learner of learners/ tells the examples from the rest of their pictures. What the
examples say of size, shape and place is added as the logarithm of a normal density.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou, nms

from byolmeta.boxes import MOST, clipped, geometry, windows
from byolmeta.dense import patch_maps
from byolmeta.encoder import Encoder
from byolmeta.errors import InputError
from byolmeta.learners import Ridge, Support
from byolmeta.windows import Ground, Maps, Progress, Settings, View, learn_ground

NONE = -1  # label of a box around what is none of the classes
SMALLEST = 4  # pixels of a drawn box
PART = 2048  # windows at once: their vectors stay small


@dataclass(frozen=True)
class Example:
    """A box that was drawn around a thing, or around what is none."""

    row: int  # of the picture
    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels of the picture
    label: int = 0  # its class; of what is none: the class that it is not, NONE for none of all


class Found(NamedTuple):
    """What was found in a picture, the surest first."""

    boxes: Tensor  # float32 (K, 4)
    scores: Tensor  # float32 (K,), 0..1
    labels: Tensor  # int64 (K,)


@dataclass(frozen=True)
class Shapes:
    """What examples say of place, size and shape: the posterior predictive density of a normal one of `geometry`, whose usual
    spread counts as some examples; that is Student's t (Murphy 2007, "Conjugate Bayesian analysis of the Gaussian")."""

    mean: Tensor  # (4,)
    deviation: Tensor  # (4,)
    freedom: float

    @classmethod
    def of(cls, examples: Tensor, settings: Settings) -> "Shapes":
        """Of the geometry (n, 4) of examples. The usual middle is that of the picture; size and shape have no usual mean."""
        strength, usual, count = settings.strength, torch.tensor(settings.spread), len(examples)
        mean = examples.mean(0)
        mean[:2] += strength / (count + strength) * (0.5 - mean[:2])
        variance = (strength * usual**2 + (examples - mean).square().sum(0)) / (strength + count)
        return cls(mean, (variance * (1 + 1 / count)).sqrt(), strength + count)

    def __call__(self, boxes: Tensor, view: View) -> Tensor:
        """Logarithm of the density at boxes (N, 4), 0 at its highest: (N,)."""
        squares = ((geometry(boxes, view.width, view.height) - self.mean) / self.deviation).square()
        return -(self.freedom + 1) / 2 * (squares / self.freedom).log1p().sum(1)

    def windows(self, view: View, settings: Settings) -> Tensor:
        """Windows of the sizes and shapes within reach, (N, 4)."""
        reach = settings.reach * self.deviation
        sizes = _spaced(self.mean[2] - reach[2], self.mean[2] + reach[2], math.log(settings.step))
        aspects = _spaced(self.mean[3] - reach[3], self.mean[3] + reach[3], math.log(2))
        sizes = [math.exp(min(size, 0.0)) for size in sizes]
        return windows(view.width, view.height, sorted(set(sizes)), [math.exp(aspect) for aspect in aspects])


def _spaced(low: Tensor, high: Tensor, step: float) -> list[float]:
    """Numbers from low to high, at most a step apart."""
    return torch.linspace(float(low), float(high), 1 + math.ceil(float(high - low) / step)).tolist()


@dataclass(frozen=True, eq=False)
class Finder:
    """What was taught of one class."""

    ground: Ground
    shapes: Shapes
    predict: Callable[[Tensor], Tensor]  # vectors (N, kept) to scores (N, 2): background, the thing

    def scores(self, view: View, boxes: Tensor) -> Tensor:
        """How much boxes look like the class, (N,)."""
        vectors = (nn.functional.normalize(self.ground.vectors(view, part), dim=1) for part in boxes.split(PART))
        found = [self.predict(part) for part in vectors]
        logits = torch.cat(found)
        return logits[:, 1] - logits[:, 0] + self.ground.settings.prior * self.shapes(boxes, view)

    @torch.no_grad()
    def __call__(self, view: View) -> tuple[Tensor, Tensor]:
        """Boxes (K, 4) and their scores (K,), the surest first."""
        settings = self.ground.settings
        boxes = self.shapes.windows(view, settings)
        if not len(boxes):  # nothing of the examples' shape fits into this picture
            return boxes, torch.zeros(0)
        boxes, scores = _best(boxes, self.scores(view, boxes), settings.overlap)
        front, back = slice(None, settings.moved), slice(settings.moved, None)
        for round in range(settings.rounds):
            found = self._moved(view, boxes[front], scores[front], 0.5**round)
            boxes, scores = torch.cat([found[0], boxes[back]]), torch.cat([found[1], scores[back]])
        return _best(boxes, scores, settings.overlap)

    def _moved(self, view: View, boxes: Tensor, scores: Tensor, step: float) -> tuple[Tensor, Tensor]:
        """Each box at the best of the places and shapes around it: sides moved by up to an eighth of a step."""
        moves = step / 8 * torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 2)
        shifts = torch.cat([torch.cat([moves, moves], 1), torch.cat([moves, -moves], 1)])
        sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        tried = clipped((boxes[:, None] + shifts * sides[:, None]).flatten(0, 1), view.width, view.height)
        found = self.scores(view, tried).view(len(boxes), -1)
        best, place = found.max(1)
        tried = tried.view(len(boxes), -1, 4)[torch.arange(len(boxes)), place]
        better = best > scores
        return torch.where(better[:, None], tried, boxes), torch.where(better, best, scores)


def _best(boxes: Tensor, scores: Tensor, overlap: float) -> tuple[Tensor, Tensor]:
    """The surest boxes, of those that overlap only the surest; at most MOST."""
    first = scores.topk(
        min(20 * MOST, len(scores))
    ).indices  # no others come that far, and comparing them all takes long
    boxes, scores = boxes[first], scores[first]
    kept = nms(boxes, scores, overlap)[:MOST]
    return boxes[kept], scores[kept]


def teach_class(
    ground: Ground,
    views: Mapping[int, View],
    examples: Sequence[Example],
    negatives: Sequence[Example],
    learner=None,
    seed: int = 0,
) -> Finder:
    """Teaches one class by its examples; what is around them in their pictures, and the negatives, are background."""
    settings, generator = ground.settings, torch.Generator().manual_seed(seed)
    shown, wrong = _by_row(examples), _by_row(negatives)
    shapes = Shapes.of(
        torch.cat([geometry(boxes, views[row].width, views[row].height) for row, boxes in shown.items()]), settings
    )
    things, rest = [], []
    sides = [side for row in shown for side in _both_sides(views[row], shown[row])]
    for view, boxes in sides:
        near, far = _around(view, boxes, shapes, settings, settings.most // len(sides), generator)
        things += [ground.vectors(view, part) for part in (boxes.repeat(settings.weight, 1), near)]
        rest.append(ground.vectors(view, far))
    for row, boxes in wrong.items():
        rest.append(
            ground.vectors(views[row], boxes).repeat(max(1, round(settings.wrong * settings.most / len(negatives))), 1)
        )
    vectors = nn.functional.normalize(torch.cat(things + rest), dim=1)
    labels = torch.zeros(len(vectors), dtype=torch.long)
    labels[: sum(map(len, things))] = 1
    learner = learner or Ridge(penalty=settings.penalty * len(vectors))
    for step in learner.adapt(nn.Identity(), Support(vectors, labels, 2)):
        pass
    return Finder(ground, shapes, step.predict)


def _both_sides(view: View, boxes: Tensor) -> list[tuple[View, Tensor]]:
    """A picture with its boxes (n, 4), and both mirrored: twice the examples."""
    left, top, right, bottom = boxes.T
    return [(view, boxes), (view.mirrored(), torch.stack([view.width - right, top, view.width - left, bottom], 1))]


def _by_row(examples: Sequence[Example]) -> dict[int, Tensor]:
    """The boxes of each picture, (n, 4)."""
    rows = sorted({example.row for example in examples})
    return {row: torch.tensor([e.box for e in examples if e.row == row], dtype=torch.float32) for row in rows}


def _around(
    view: View, boxes: Tensor, shapes: Shapes, settings: Settings, most: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Windows of a picture that count as its examples, boxes (n, 4), and at most `most` that are background.

    Up to half of the background meets an example: that tells where a thing ends, and is hardly ever a thing itself.
    """
    made = torch.cat([shapes.windows(view, settings), _jittered(boxes, view, generator)])
    overlap = box_iou(made, boxes).amax(1)
    beside = made[(overlap > 0.1) & (overlap < settings.far)]
    away = made[overlap <= 0.1]
    parts = [part[torch.randperm(len(part), generator=generator)[: most // 2]] for part in (beside, away)]
    return made[overlap > settings.near], torch.cat(parts)


def _jittered(boxes: Tensor, view: View, generator: torch.Generator, count: int = 100) -> Tensor:
    """Each box (n, 4) moved, grown and shrunk by chance by up to a third of its sides, (n * count, 4)."""
    draw = (torch.rand(len(boxes), count, 4, generator=generator) - 0.5) * 0.6
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
    middle = ((boxes[:, 2:] + boxes[:, :2]) / 2)[:, None] + draw[..., :2] * sides
    half = sides * (1.4 * draw[..., 2:]).exp() / 2
    return clipped(torch.cat([middle - half, middle + half], 2).flatten(0, 1), view.width, view.height)


@dataclass(frozen=True, eq=False)
class Detector:
    """What was taught of all classes. Other pictures are asked by calling it."""

    maps: Maps
    ground: Ground
    finders: tuple[Finder, ...]  # one a class

    @torch.no_grad()
    def __call__(self, picture: Tensor | View, threshold: float = 0.0) -> Found:
        """What is found in a picture uint8 (3, H, W), or in a view of one, with at least this score. The surest first."""
        view = picture if isinstance(picture, View) else View(self.maps, picture)
        found = [finder(view) for finder in self.finders]
        boxes, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        labels = torch.arange(len(found)).repeat_interleave(torch.tensor([len(part[1]) for part in found]))
        chances = chance_of(scores, self.ground.settings)
        order = torch.argsort(chances, descending=True, stable=True)[:MOST]
        order = order[chances[order] >= threshold]
        return Found(boxes[order], chances[order], labels[order])


def chance_of(scores: Tensor, settings: Settings) -> Tensor:
    """The chance that a found box is right, 0..1, of its score."""
    return torch.sigmoid((scores - settings.even) * settings.slope)


def maps_of(encoder: Encoder, device: str = "cpu") -> Maps:
    """The maps of an encoder, for views."""
    return partial(patch_maps, encoder, device=device)


def teach_detector(
    encoder: Encoder | Maps,
    images: Mapping[int, Tensor | View] | Sequence[Tensor | View],
    examples: Sequence[Example],
    negatives: Sequence[Example] = (),
    *,
    others: Sequence[Tensor | View] = (),
    ground: Ground | None = None,
    learner=None,
    settings: Settings = Settings(),
    progress: Progress | None = None,
    seed: int = 0,
) -> Detector:
    """Learns to find what the examples show. `images`: their pictures by row, uint8 (3, H, W) or views; `others`: more of the
    user's pictures, without boxes, to tell what is usual (20 are enough).

    `negatives` are boxes around what is none of the classes, or not of the one they name. After a correction, the `ground` of the detector before spares
    most of the work, and so do views, which keep what the encoder saw.
    """
    if not examples:
        raise InputError("There is no example yet. Draw a box around one thing to find.")
    maps = maps_of(encoder) if isinstance(encoder, Encoder) else encoder
    rows = sorted({example.row for example in (*examples, *negatives)})
    views = {row: _view(maps, images[row]) for row in rows}
    for example in (*examples, *negatives):
        check_box(example, views[example.row])
    if ground is None:
        ground = learn_ground([*views.values(), *(_view(maps, other) for other in others)], settings, progress, seed)
    labels = range(max(example.label for example in examples) + 1)
    return Detector(
        maps, ground, tuple(_taught(ground, views, examples, negatives, label, learner, seed) for label in labels)
    )


def _taught(ground: Ground, views: Mapping[int, View], examples, negatives, label: int, learner, seed: int) -> Finder:
    """The finder of one class. Examples of the others are negatives, but where they lie on its own (a rider and a horse)."""
    own = [example for example in examples if example.label == label]
    if not own:
        raise InputError(f"Class {label} has no example. Draw a box around one, or take the class away.")
    boxes = _by_row(own)
    apart = [
        other
        for other in examples
        if other.label != label
        and (other.row not in boxes or box_iou(torch.tensor([other.box]), boxes[other.row]).max() < ground.settings.far)
    ]
    wrong = [negative for negative in negatives if negative.label in (NONE, label)]
    return teach_class(ground, views, own, [*wrong, *apart], learner, seed)


def _view(maps: Maps, picture: Tensor | View) -> View:
    return picture if isinstance(picture, View) else View(maps, picture)


def check_box(example: Example, view: View) -> None:
    """Raises InputError for a box that is not inside of its picture, or too small to see anything in."""
    left, top, right, bottom = example.box
    if not (0 <= left < right <= view.width and 0 <= top < bottom <= view.height):
        raise InputError(
            f"The box from {left:g}, {top:g} to {right:g}, {bottom:g} is not inside of its picture, which has "
            f"{view.width} x {view.height} pixels. Draw it inside."
        )
    if min(right - left, bottom - top) < SMALLEST:
        raise InputError(
            f"The box is {right - left:g} x {bottom - top:g} pixels; {SMALLEST} or more each way are needed. "
            "Draw a larger one, or use a larger picture."
        )
