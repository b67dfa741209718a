"""A few masks, strokes, boxes or tags -> the outline of such things in other pictures, of several classes at once.

The maps of all stages of the encoder say what a small part of a picture looks like; whitened by how parts of the user's
pictures differ, which needs no marks, they are given to a learner of learners/ that tells the thing from the rest. What it
says follows the picture's own edges and colours after that: a random walk whose prior it is (Grady 2005, "Multilabel random
walker image segmentation using prior models"), in turns with histograms of the colours inside and outside (as GrabCut, Rother
et al. 2004). Strokes and boxes become masks of their own pictures in the same way. Tags need no place at all: a learner tells
the means of whole pictures' maps apart, and being linear says what each part adds to that (class activation, Zhou et al. 2016,
arXiv 1512.04150).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from scipy import sparse
from scipy.ndimage import gaussian_filter
from scipy.sparse.linalg import splu
from torch import Tensor, nn

from byolmeta.dense import stage_maps
from byolmeta.detect import Basis, main_directions
from byolmeta.encoder import Encoder
from byolmeta.errors import InputError
from byolmeta.learners import Ridge, Support

Maps = Callable[[Tensor, int], Tensor]  # of a picture uint8 (3, H, W) and a longer side: features (D, h, w)
Point = tuple[float, float]  # x, y in pixels of the upright picture
Progress = Callable[[int, int], None]  # done, of


@dataclass(frozen=True, eq=False)
class Mark:
    """What was shown on a picture, of one class: exactly one of a mask, a stroke, a box and a tag.

    Places are in pixels of the upright picture.
    """

    row: int  # of the picture
    label: int = 0
    mask: Tensor | None = None  # bool (H, W): the thing; all else is not
    front: tuple[Point, ...] = ()  # a stroke on the thing: its corners, or one point for a click
    back: tuple[Point, ...] = ()  # a stroke on what is not it
    radius: float = 4.0  # of a stroke
    box: tuple[float, float, float, float] | None = (
        None  # left, top, right, bottom around a thing; it is in no other place but in such boxes
    )
    has: bool | None = None  # whether the thing is in the picture at all

    @property
    def strokes(self) -> bool:
        return bool(self.front or self.back)


class Outline(NamedTuple):
    """Where the things of each class are in a picture, in its own pixels."""

    probability: Tensor  # float32 (classes, H, W), 0..1
    labels: Tensor  # int64 (H, W): 0 where nothing is, else 1 + the class


@dataclass(frozen=True)
class Settings:
    """How things are outlined. Chosen on the training part of weizmann_horse."""

    side: int = 512  # pixels of the longer side at which the encoder looks
    fine: int = 128  # and at which edges are followed
    damping: float = 20.0  # of the covariance of the features, in mean variances
    cells: int = 2400  # of the marked pictures that a learner sees, at most
    penalty: float = 0.003  # of the ridge regression, for each cell
    prior: float = -0.5  # added to its scores, which take things and the rest to be as frequent
    edges: float = 2.0  # how much a step of the mean size in colour holds the walk back
    hold: float = 0.003  # weight of the prior at each point of the walk, beside that of a step in even colour
    turns: int = 1  # of colours and walk
    colours: float = 0.5  # weight of the colours, as of logarithms of chances
    inside: float = 2.0  # log-odds of the thing within a box, before its colours are known
    bins: int = 12  # of the histograms, for each channel


class Picture:
    """A picture, and what was worked out of it: kept, so that it answers at once when it is asked again."""

    def __init__(self, maps: Maps, image: Tensor):
        self.image, self.height, self.width = image, image.shape[1], image.shape[2]
        self._maps, self._kept = maps, {}

    def features(self, settings: Settings) -> Tensor:
        """float16 (D, h, w)."""
        return self._once(("features", settings.side), lambda: self._maps(self.image, settings.side).half())

    def colours(self, settings: Settings) -> np.ndarray:
        """Lightness and two colour differences at the size at which edges are followed, float64 (h, w, 3)."""
        return self._once(("colours", settings.fine), lambda: _colours(self.image, settings.fine))

    def walk(self, settings: Settings):
        """Solves the walk without seeds: priors (h w,) to chances (h w,)."""

        def solver():
            steps = walk_matrix(self.colours(settings), settings.edges)
            return splu((steps + settings.hold * sparse.identity(steps.shape[0])).tocsc()).solve

        return self._once(("walk", settings.fine, settings.edges, settings.hold), solver)

    def _once(self, key, make):
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def _colours(image: Tensor, side: int) -> np.ndarray:
    """A picture uint8 (3, H, W), shrunk, as luma and chroma (ITU-R 601), (h, w, 3)."""
    scale = min(1.0, side / max(image.shape[1:]))
    size = [max(1, round(length * scale)) for length in image.shape[1:]]
    small = F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)[0].double()
    red, green, blue = small
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, 0.564 * (blue - luma), 0.713 * (red - luma)], 2).numpy()


def walk_matrix(colours: np.ndarray, edges: float) -> sparse.csr_matrix:
    """The Laplacian (h w, h w) of the grid of points (h, w, 3): steps weigh exp(-edges d^2 / mean d^2), d their colours' distance."""
    height, width = colours.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    first = np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()])
    second = np.concatenate([number[:, 1:].ravel(), number[1:].ravel()])
    flat = colours.reshape(-1, colours.shape[2])
    distance = np.square(flat[first] - flat[second]).sum(1)
    weight = np.exp(-edges * distance / max(distance.mean(), 1e-9) if len(distance) else distance) + 1e-4
    one_way = sparse.coo_matrix((weight, (first, second)), shape=(number.size, number.size))
    both = (one_way + one_way.T).tocsr()
    return (sparse.diags(np.asarray(both.sum(1)).ravel()) - both).tocsr()


def colour_odds(chance: np.ndarray, colours: np.ndarray, bins: int) -> np.ndarray:
    """Logarithm of how much likelier each point's colour is inside than outside, (h, w), by soft histograms."""
    low, high = colours.reshape(-1, 3).min(0), colours.reshape(-1, 3).max(0)
    place = ((colours - low) / np.maximum(high - low, 1e-9) * bins).astype(int).clip(0, bins - 1)
    cell = np.ravel_multi_index(tuple(place.transpose(2, 0, 1)), (bins,) * 3)
    shares = []
    for weight in (chance, 1 - chance):
        counts = np.bincount(cell.ravel(), weight.ravel(), bins**3).reshape((bins,) * 3)
        shares.append(gaussian_filter(counts, 1.0) / max(counts.sum(), 1e-9) + 1 / bins**3)
    return np.log(shares[0] / shares[1]).ravel()[cell]


def refined(picture: Picture, odds: np.ndarray, settings: Settings, seeds: np.ndarray | None = None) -> np.ndarray:
    """Chances (h, w) along the picture's own edges and colours, of log-odds (h, w) at the size of `picture.colours`.

    `seeds` (h, w): 1 where the thing was drawn, 0 where what is not it, -1 elsewhere. They hold.
    """
    colours = picture.colours(settings)
    known = None if seeds is None or (seeds < 0).all() else seeds.ravel() >= 0
    if known is None:
        solve = picture.walk(settings)
    else:
        steps = walk_matrix(colours, settings.edges)
        solve = splu((steps + sparse.diags(np.where(known, 1e3, settings.hold))).tocsc()).solve

    def walked(values: np.ndarray) -> np.ndarray:
        prior = settings.hold / (1 + np.exp(-values.ravel()))
        if known is not None:
            prior = np.where(known, 1e3 * seeds.ravel(), prior)
        return solve(prior).reshape(values.shape).clip(0, 1)

    chance = walked(odds)
    for _ in range(settings.turns):
        chance = walked(odds + settings.colours * colour_odds(chance, colours, settings.bins))
    return chance


def drawn(points: Sequence[Point], radius: float, height: int, width: int) -> np.ndarray:
    """The pixels under a stroke, bool (height, width)."""
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    if len(points) > 1:
        draw.line([tuple(point) for point in points], fill=1, width=max(1, round(2 * radius)))
    for x, y in points:
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1)
    return np.asarray(canvas)


def seeds_of(marks: Sequence[Mark], picture: Picture, settings: Settings) -> np.ndarray:
    """What strokes, and boxes by what is outside of them, say of points for sure: int8 (h, w), as `refined` takes them.

    Later marks win over earlier ones. Strokes thinner than a point still count.
    """
    height, width = picture.colours(settings).shape[:2]
    across, down = width / picture.width, height / picture.height
    seeds = np.full((height, width), -1, np.int8)
    boxes = [mark.box for mark in marks if mark.box is not None]
    if boxes:
        seeds[np.all([_outside(box, picture, height, width) for box in boxes], 0)] = 0
    for mark in marks:
        for points, value in ((mark.front, 1), (mark.back, 0)):
            if points:
                placed = [(x * across - 0.5, y * down - 0.5) for x, y in points]
                seeds[drawn(placed, max(mark.radius * across, 0.7), height, width)] = value
    return seeds


def _outside(box, picture: Picture, height: int, width: int) -> np.ndarray:
    """The points of a grid whose middle lies outside of a box in pixels, bool (height, width)."""
    left, top, right, bottom = box
    x = (np.arange(width) + 0.5) * picture.width / width
    y = (np.arange(height) + 0.5) * picture.height / height
    return ~(((y >= top) & (y <= bottom))[:, None] & ((x >= left) & (x <= right))[None])


@dataclass(frozen=True, eq=False)
class Segmenter:
    """What was taught of all classes. Other pictures are asked by calling it."""

    maps: Maps
    basis: Basis
    settings: Settings
    predictors: tuple[Callable[[Tensor], Tensor], ...]  # of each class: features (n, C) to scores (n, 2)
    marks: tuple[Mark, ...]

    def picture(self, image: Tensor) -> Picture:
        """An image uint8 (3, H, W) as a picture that keeps what is worked out of it."""
        return Picture(self.maps, image)

    @torch.no_grad()
    def __call__(self, picture: Tensor | Picture, row: int | None = None) -> Outline:
        """The outlines in a picture, or image uint8 (3, H, W); of the one in this row of the marks, whose strokes then hold.

        Chances go from the small grid to the pixels by bilinear resizing (align_corners=False).
        """
        picture = _picture(self.maps, picture)
        own = [mark for mark in self.marks if mark.row == row]
        chances = []
        for label, predict in enumerate(self.predictors):
            seeds = seeds_of([mark for mark in own if mark.label == label and mark.strokes], picture, self.settings)
            odds = odds_of(predict, picture, self.basis, self.settings)
            chances.append(refined(picture, odds, self.settings, seeds))
        chance = torch.from_numpy(np.stack(chances)).float()[None]
        chance = F.interpolate(chance, size=(picture.height, picture.width), mode="bilinear")[0].clamp_(0, 1)
        surest = chance.max(0)
        return Outline(chance, torch.where(surest.values > 0.5, surest.indices + 1, 0))


def odds_of(predict, picture: Picture, basis: Basis, settings: Settings) -> np.ndarray:
    """Log-odds of the thing at each point where edges are followed, (h, w), by the features alone."""
    cells = basis(picture.features(settings).float())
    scores = predict(cells.flatten(1).T)
    odds = (scores[:, 1] - scores[:, 0] + settings.prior).reshape(1, 1, *cells.shape[1:])
    size = picture.colours(settings).shape[:2]
    return F.interpolate(odds, size=size, mode="bilinear", antialias=True)[0, 0].double().numpy()


def teach_segmenter(
    encoder: Encoder | Maps,
    images: Mapping[int, Tensor | Picture] | Sequence[Tensor | Picture],
    marks: Sequence[Mark],
    *,
    others: Sequence[Tensor | Picture] = (),
    basis: Basis | None = None,
    learner=None,
    settings: Settings = Settings(),
    progress: Progress | None = None,
) -> Segmenter:
    """Learns to outline what the marks show. `images`: their pictures by row, uint8 (3, H, W) or `Picture`; `others`: more of
    the user's pictures, without marks, to tell what is usual (20 are enough).

    After a correction, the `basis` of the segmenter before spares most of the work, and so do pictures, which keep what the
    encoder saw. A correction is one more mark: a stroke, or a click, on the thing or on what is not it.
    """
    if not marks:
        raise InputError("There is no example yet. Draw on one thing to outline, or say which pictures have it.")
    maps = maps_of(encoder) if isinstance(encoder, Encoder) else encoder
    rows = sorted({mark.row for mark in marks})
    pictures = {row: _picture(maps, images[row]) for row in rows}
    for mark in marks:
        check_mark(mark, pictures[mark.row])
    if basis is None:
        basis = learn_basis([*pictures.values(), *(_picture(maps, other) for other in others)], settings, progress)
    labels = range(max(mark.label for mark in marks) + 1)
    predictors = tuple(_taught(pictures, marks, label, basis, learner, settings) for label in labels)
    return Segmenter(maps, basis, settings, predictors, tuple(marks))


def maps_of(encoder: Encoder, device: str = "cpu") -> Maps:
    """The maps of an encoder, for pictures."""
    return partial(stage_maps, encoder, device=device)


def learn_basis(
    pictures: Sequence[Picture], settings: Settings, progress: Progress | None = None, seed: int = 0
) -> Basis:
    """How small parts of the user's pictures differ, whatever they show."""
    generator, cells = torch.Generator().manual_seed(seed), []
    for done, picture in enumerate(pictures, 1):
        found = picture.features(settings).float().flatten(1)
        cells.append(found[:, torch.randperm(found.shape[1], generator=generator)[:1000]].T)
        if progress:
            progress(done, len(pictures))
    vectors = torch.cat(cells)
    return Basis(*main_directions(vectors, vectors.shape[1], settings.damping))


def _picture(maps: Maps, picture: Tensor | Picture) -> Picture:
    return picture if isinstance(picture, Picture) else Picture(maps, picture)


def _taught(pictures: Mapping[int, Picture], marks, label: int, basis: Basis, learner, settings: Settings):
    """What tells the cells of a class from the rest: features (n, C) to scores (n, 2)."""
    own = [mark for mark in marks if mark.label == label]
    if not any(_shows(mark) for mark in own):
        raise InputError(f"Class {label} has no example. Draw on one, or take the class away.")
    predict = None
    places = {mark.row for mark in own if mark.has is None}
    if not any(_shows(mark) for mark in own if mark.row in places):  # nothing but tags says where it is
        predict = activation(pictures, own, basis, settings)
    inputs, labels = [], []
    for row in sorted({mark.row for mark in own}):
        chance = truth_of([mark for mark in own if mark.row == row], pictures[row], predict, basis, settings)
        if chance is None:
            continue
        cells = basis(pictures[row].features(settings).float())
        shown = F.interpolate(torch.from_numpy(chance)[None, None], size=cells.shape[1:], mode="area").flatten()
        sure = (shown < 0.2) | (shown > 0.8)
        inputs.append(cells.flatten(1).T[sure])
        labels.append((shown[sure] > 0.5).long())
    return _last(learner, torch.cat(inputs), torch.cat(labels), settings)


def _last(learner, inputs: Tensor, labels: Tensor, settings: Settings, seed: int = 0):
    """What a learner predicts by at its last step, from some of the examples."""
    chosen = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))[: settings.cells]
    learner = learner or Ridge(penalty=settings.penalty * len(chosen))
    for step in learner.adapt(nn.Identity(), Support(inputs[chosen], labels[chosen], 2)):
        pass
    return step.predict


def _shows(mark: Mark) -> bool:
    """Whether a mark says that its thing is in the picture."""
    return bool(mark.front or mark.box or mark.has or (mark.mask is not None and mark.mask.any()))


def truth_of(marks: Sequence[Mark], picture: Picture, predict, basis: Basis, settings: Settings) -> np.ndarray | None:
    """Where the thing is in a picture by its marks, float32 chances (h, w); None where nothing is known but that it is there.

    A mask says so itself. The others become one along edges and colours; tags start from what `predict` says.
    """
    for mark in reversed(marks):
        if mark.mask is not None:
            return torch.as_tensor(mark.mask).float().numpy()
    if any(mark.has is False for mark in marks):
        return np.zeros((picture.height, picture.width), np.float32)
    seeds = seeds_of(marks, picture, settings)
    tag = not any(mark.box is not None or mark.strokes for mark in marks)
    if tag and predict is None:
        return None
    if any(mark.box is not None for mark in marks):
        odds = np.full(seeds.shape, settings.inside)
    else:
        odds = odds_of(predict, picture, basis, settings) if predict else np.zeros(seeds.shape)
    return refined(picture, odds, settings, seeds).astype(np.float32)


def activation(pictures: Mapping[int, Picture], marks: Sequence[Mark], basis: Basis, settings: Settings):
    """Class activation: what tells the pictures that have the thing from those that do not, of each part of them."""
    tagged = [mark for mark in marks if mark.has is not None]
    if len({mark.has for mark in tagged}) < 2:
        raise InputError(
            "The tags all say the same. Tag a picture that has the thing and one that has it not, or draw on one."
        )
    means = torch.stack([basis(pictures[m.row].features(settings).float()).mean((1, 2)) for m in tagged])
    labels = torch.tensor([int(mark.has) for mark in tagged])
    return _last(None, means, labels, settings)


def check_mark(mark: Mark, picture: Picture) -> None:
    """Raises InputError for a mark that says nothing, or more than one thing, or does not fit its picture."""
    size = f"{picture.width} x {picture.height} pixels"
    kinds = sum([mark.mask is not None, mark.strokes, mark.box is not None, mark.has is not None])
    if kinds != 1:
        raise InputError(f"A mark has {kinds} kinds of hints; one is needed: a mask, a stroke, a box or a tag.")
    if mark.mask is not None and tuple(mark.mask.shape) != (picture.height, picture.width):
        height, width = mark.mask.shape
        raise InputError(f"A mask has {width} x {height} pixels and its picture has {size}. Give one of the same size.")
    for x, y in (*mark.front, *mark.back):
        if not (math.isfinite(x) and math.isfinite(y) and 0 <= x <= picture.width and 0 <= y <= picture.height):
            raise InputError(
                f"A stroke goes through {x:g}, {y:g}, outside of its picture, which has {size}. Draw inside."
            )
    if mark.strokes and not mark.radius > 0:
        raise InputError(f"The radius of a stroke is {mark.radius:g}; it must be above 0 pixels.")
    if mark.box is not None:
        left, top, right, bottom = mark.box
        if not (0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height):
            raise InputError(
                f"The box from {left:g}, {top:g} to {right:g}, {bottom:g} is not inside of its picture, which has {size}. "
                "Draw it inside."
            )
