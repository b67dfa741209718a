"""A few masks, strokes, boxes or tags -> the outline of such things in other pictures, of several classes at once.

The maps of all stages of the encoder say what a small part of a picture looks like; whitened by how parts of the user's
pictures differ, which needs no marks, they are given to a learner of learners/ that tells the thing from the rest. What it
says follows the picture's own edges and colours after that: a random walk whose prior it is (Grady 2005, "Multilabel random
walker image segmentation using prior models"), in turns with histograms of the colours inside and outside (as GrabCut, Rother
et al. 2004). Strokes and boxes become masks of their own pictures in the same way. Tags need no place at all: a learner takes
every part of a picture for what its tag says (multiple instances, Ray and Craven 2005, "Supervised versus multiple instance
learning"), and what it then says of each part, with the middle of a picture before its rim, is where the walk begins.
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
from byolmeta.encoder import Encoder
from byolmeta.errors import InputError
from byolmeta.learners import Ridge, Support
from byolmeta.windows import Basis, main_directions

Maps = Callable[[Tensor, int], Tensor]  # of a picture uint8 (3, H, W) and a longer side: features (D, h, w)
Point = tuple[float, float]  # x, y in pixels of the upright picture
Progress = Callable[[int, int], None]  # done, of
PLACES = 32  # rows and columns of a map of where things lie
FAST = 1e3  # weight of what was drawn
SURE = 0.8  # chance from which a learner takes a point for the thing, and below 1 minus it for none
THIN = 0.01  # share of a cell that a stroke covers at least
REPEAT = 20  # times that a cell counts at most


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
    box: tuple[float, float, float, float] | None = None  # left, top, right, bottom; it lies in such boxes alone
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
    usual: int = 200  # cells of each picture that tell what is usual
    channels: int = 200  # of the features, their main directions
    damping: float = 20.0  # of the covariance of the features, in mean variances
    cells: int = 1200  # that a learner sees, at most
    penalty: float = 0.002  # of the ridge regression, for each cell
    prior: float = -1.2  # added to its scores, which take the thing and the rest to be as frequent
    placed: float = 1.0  # weight of where in pictures the thing lies
    blur: float = 0.05  # of that, as a share of the picture
    anywhere: float = 0.2  # pictures in which it is anywhere, added to the marked ones
    edges: float = 2.0  # how much a step of the mean size in colour holds the walk back
    hold: float = 0.003  # weight of the prior at each point of the walk, beside that of a step in even colour
    hold_drawn: float = 0.0003  # the same where strokes tell both the thing and what is not it
    turns: int = 3  # of colours and walk
    colours: float = 2.0  # weight of the colours, as of logarithms of chances
    bins: int = 12  # of the histograms, for each channel
    glances: tuple[int, ...] = (
        96,
        192,
    )  # pixels of the longer side at which tags are told apart: the encoder learned with 64
    middle: float = 2.0  # log-odds by which the middle of a side is likelier to be tagged than its end
    shown: float = 0.25  # share of a picture that what it was tagged for takes, at first
    least: float = 0.05  # share of the cells that a learner sees that come from each picture with marks


class Picture:
    """A picture, and what was worked out of it: kept, so that it answers at once when it is asked again."""

    def __init__(self, maps: Maps, image: Tensor):
        self.image, self.height, self.width = image, image.shape[1], image.shape[2]
        self._maps, self._kept = maps, {}

    def features(self, settings: Settings, side: int | None = None) -> Tensor:
        """float16 (D, h, w), with the longer side at `settings.side` or another."""
        side = side or settings.side
        return self._once(("features", side), lambda: self._maps(self.image, side).half())

    def cells(self, basis: Basis, settings: Settings) -> Tensor:
        """The features in the main directions, float32 (C, h, w)."""
        return basis(self.features(settings).float())

    def colours(self, settings: Settings) -> np.ndarray:
        """Lightness and two colour differences at the size at which edges are followed, float64 (h, w, 3)."""
        return self._once(("colours", settings.fine), lambda: _colours(self.image, settings.fine))

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


def walker(steps: sparse.csr_matrix, weights: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Solves the walk for what each point (h w,) is held at by its weight: its LU parts, which a symmetric order keeps small."""
    symmetric = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0, "options": {"SymmetricMode": True}}
    return splu((steps + sparse.diags(weights)).tocsc(), **symmetric).solve


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


def refined(
    picture: Picture,
    odds: np.ndarray,
    settings: Settings,
    seeds: np.ndarray | None = None,
    hold: float | None = None,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Chances (h, w) along the picture's own edges and colours, of log-odds (h, w) at the size of `picture.colours`.

    `seeds` (h, w): 1 where the thing was drawn, 0 where what is not it, -1 elsewhere. They hold. `hold`: of the
    prior beside them, if another than usual. `start` (h, w): the chances whose colours count first; usually a walk's.
    """
    if seeds is not None and (seeds >= 0).all():
        return seeds.astype(float)
    colours = picture.colours(settings)
    known = np.zeros(odds.size, bool) if seeds is None else seeds.ravel() >= 0
    hold = settings.hold if hold is None or not known.any() else hold
    solve = walker(walk_matrix(colours, settings.edges), np.where(known, FAST, hold))

    def walked(values: np.ndarray) -> np.ndarray:
        prior = hold / (1 + np.exp(-values.ravel()))
        if seeds is not None:
            prior = np.where(known, FAST * seeds.ravel(), prior)
        return solve(prior).reshape(values.shape).clip(0, 1)

    chance = walked(odds) if start is None else start
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
    return np.array(canvas)


def seeds_of(marks: Sequence[Mark], label: int, picture: Picture, settings: Settings) -> np.ndarray:
    """What the marks of a picture say of points for sure, for one class: int8 (h, w), as `refined` takes them.

    Things of other classes are none of it. Strokes win over masks, boxes and tags, and later ones over earlier ones; those
    thinner than a point still count.
    """
    height, width = picture.colours(settings).shape[:2]
    across, down = width / picture.width, height / picture.height
    seeds = np.full((height, width), -1, np.int8)
    boxes = [mark.box for mark in marks if mark.label == label and mark.box is not None]
    if boxes:
        seeds[np.all([_outside(box, picture, height, width) for box in boxes], 0)] = 0
    inside = {own: _inside([m for m in marks if (m.label == label) == own], height, width) for own in (False, True)}
    if inside[False] is not None:
        seeds[inside[False]] = 0
    if inside[True] is not None:
        seeds = inside[True].astype(np.int8)
    if any(mark.has is False and mark.label == label for mark in marks):
        seeds[:] = 0
    for mark in marks:
        own = mark.label == label
        for points, value in ((mark.front, int(own)), (mark.back if own else (), 0)):
            if points:
                placed = [(x * across - 0.5, y * down - 0.5) for x, y in points]
                seeds[drawn(placed, max(mark.radius * across, 0.7), height, width)] = value
    return seeds


def _inside(marks: Sequence[Mark], height: int, width: int) -> np.ndarray | None:
    """The points that masks cover, bool (height, width); None without masks."""
    masks = [torch.as_tensor(mark.mask)[None].float() for mark in marks if mark.mask is not None]
    if not masks:
        return None
    return (F.interpolate(torch.stack(masks), size=(height, width), mode="area") > 0.5).any(0)[0].numpy()


def _outside(box, picture: Picture, height: int, width: int) -> np.ndarray:
    """The points of a grid whose middle lies outside of a box in pixels, bool (height, width)."""
    left, top, right, bottom = box
    x = (np.arange(width) + 0.5) * picture.width / width
    y = (np.arange(height) + 0.5) * picture.height / height
    return ~(((y >= top) & (y <= bottom))[:, None] & ((x >= left) & (x <= right))[None])


@dataclass(frozen=True, eq=False)
class Finder:
    """What was taught of one class."""

    predict: Callable[[Tensor], Tensor]  # features (n, C) to scores (n, 2): the rest, the thing
    place: Tensor | None = None  # log-odds (PLACES, PLACES) of where in pictures it lies; None: not known yet

    def odds(self, picture: Picture, basis: Basis, settings: Settings) -> np.ndarray:
        """Log-odds of the thing at each point where edges are followed, (h, w), by features and place alone."""
        cells = picture.cells(basis, settings)
        scores = self.predict(cells.flatten(1).T)
        odds = (scores[:, 1] - scores[:, 0] + settings.prior).reshape(cells.shape[1:])
        size = picture.colours(settings).shape[:2]
        odds = _resized(odds, size)
        if self.place is not None:
            odds = odds + settings.placed * _resized(self.place, size)
        return odds.double().numpy()


def _resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    """(h, w) to another size, bilinear (align_corners=False)."""
    return F.interpolate(values[None, None].float(), size=size, mode="bilinear", antialias=True)[0, 0]


@dataclass(frozen=True, eq=False)
class Segmenter:
    """What was taught of all classes. Other pictures are asked by calling it."""

    maps: Maps
    basis: Basis
    settings: Settings
    finders: tuple[Finder, ...]  # one a class
    marks: tuple[Mark, ...]

    def picture(self, image: Tensor) -> Picture:
        """An image uint8 (3, H, W) as a picture that keeps what is worked out of it."""
        return Picture(self.maps, image)

    @torch.no_grad()
    def __call__(self, picture: Tensor | Picture, row: int | None = None) -> Outline:
        """The outlines in a picture, or image uint8 (3, H, W). In that of a `row` of the marks, its own marks hold.

        Chances go from the small grid to the pixels by bilinear resizing (align_corners=False).
        """
        picture = _picture(self.maps, picture)
        own = [mark for mark in self.marks if mark.row == row]
        chances = []
        for label, finder in enumerate(self.finders):
            seeds = seeds_of(own, label, picture, self.settings)
            chances.append(refined(picture, finder.odds(picture, self.basis, self.settings), self.settings, seeds))
        chance = torch.from_numpy(np.stack(chances)).float()[None]
        chance = F.interpolate(chance, size=(picture.height, picture.width), mode="bilinear")[0].clamp_(0, 1)
        surest = chance.max(0)
        return Outline(chance, torch.where(surest.values > 0.5, surest.indices + 1, 0))


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
    finders = tuple(_taught(pictures, marks, label, basis, learner, settings) for label in labels)
    return Segmenter(maps, basis, settings, finders, tuple(marks))


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
        cells.append(found[:, torch.randperm(found.shape[1], generator=generator)[: settings.usual]].T)
        if progress:
            progress(done, len(pictures))
    vectors = torch.cat(cells)
    return Basis(*main_directions(vectors, settings.channels, settings.damping))


def _picture(maps: Maps, picture: Tensor | Picture) -> Picture:
    return picture if isinstance(picture, Picture) else Picture(maps, picture)


def _taught(pictures: Mapping[int, Picture], marks, label: int, basis: Basis, learner, settings: Settings) -> Finder:
    """The finder of one class: first from the cells that its marks are sure of, then from what that outlines in their
    pictures, where strokes, boxes and tags left it open."""
    by_row = {row: [mark for mark in marks if mark.row == row] for row in pictures}
    own = {row: [mark for mark in mine if mark.label == label] for row, mine in by_row.items()}
    shown = [row for row, mine in own.items() if any(map(_shows, mine))]
    if not shown:
        raise InputError(f"Class {label} has no example. Draw on one, or take the class away.")
    seeds = {row: seeds_of(mine, label, pictures[row], settings) for row, mine in by_row.items()}
    known = {row: known_cells(own[row], seeds[row], pictures[row], settings) for row in pictures}
    if any((cells == 1).any() for cells in known.values()):
        together = _of_cells(pictures, _with_background(known), basis, learner, settings)
    else:
        together = activation(pictures, own, settings)
    chances = {
        row: _filled(own[row], pictures[row], seeds[row], known[row], together, basis, learner, settings)
        for row in shown
    }
    sure = dict(known)
    for row in shown:
        if (seeds[row] < 0).any():
            sure[row] = sure_cells(chances[row], known[row].shape)
    together = _of_cells(pictures, _with_background(sure), basis, learner, settings)
    return Finder(together.predict, place_of(list(chances.values()), settings))


def _filled(
    marks, picture: Picture, seeds, known: Tensor, together, basis: Basis, learner, settings: Settings
) -> Tensor:
    """Where the thing is in a picture by its own marks of a class, chances (h, w): whatever they leave open is filled in.

    From boxes by the colours inside against those outside; from strokes on both sides by what they tell apart, learned
    twice; from others by what was learned from all pictures `together`.
    """
    if (seeds >= 0).all():
        return torch.from_numpy(seeds).float()
    if any(mark.box is not None for mark in marks):
        even, start = np.zeros(seeds.shape), (seeds != 0).astype(float)
        return torch.from_numpy(refined(picture, even, settings, seeds, start=start)).float()
    if not ((known == 0).any() and (known == 1).any()):
        return torch.from_numpy(refined(picture, together.odds(picture, basis, settings), settings, seeds)).float()
    cells = known
    for _ in range(2):
        finder = _of_cells({0: picture}, {0: cells}, basis, learner, settings)
        chance = torch.from_numpy(
            refined(picture, finder.odds(picture, basis, settings), settings, seeds, settings.hold_drawn)
        ).float()
        cells = sure_cells(chance, known.shape)
    return chance


def _with_background(known: dict[int, Tensor]) -> dict[int, Tensor]:
    """Where nothing was marked as background, all that was not marked is taken for it at first: most of it is."""
    if any((cells == 0).any() for cells in known.values()):
        return known
    return {row: torch.where(cells < 0, 0, cells) if (cells == 1).any() else cells for row, cells in known.items()}


def known_cells(marks: Sequence[Mark], seeds: np.ndarray, picture: Picture, settings: Settings) -> Tensor:
    """What the seeds of a class and its marks say of the features' cells: int64 (h, w), 1 the thing, 0 not, -1 not said."""
    size = picture.features(settings).shape[1:]
    parts = torch.from_numpy(np.stack([seeds == 0, seeds == 1]))[None].float()
    others, inside = F.interpolate(parts, size=size, mode="area")[0]
    enough = THIN if (seeds < 0).any() else SURE  # of a cell: strokes are thin, and masks end within cells
    cells = torch.full(size, -1)
    cells[(others > enough) & (others >= inside)] = 0
    cells[(inside > enough) & (inside > others)] = 1
    if not (cells == 1).any():
        for mark in marks:
            if mark.box is not None:  # at first all that is inside
                cells[(cells < 0) & torch.from_numpy(~_outside(mark.box, picture, *size))] = 1
    return cells


def _of_cells(pictures: Mapping[int, Picture], known: Mapping[int, Tensor], basis, learner, settings) -> Finder:
    """A finder by what is known of cells. Those of a picture with few, as of a correction, count more than once."""
    inputs, labels = [], []
    for row, cells in known.items():
        sure = (cells.flatten() >= 0).nonzero()[:, 0]
        times = round(settings.least * settings.cells / max(1, len(sure)))
        sure = sure.repeat(min(max(1, times), REPEAT))
        inputs.append(pictures[row].cells(basis, settings).flatten(1).T[sure])
        labels.append(cells.flatten()[sure])
    return Finder(_last(learner, torch.cat(inputs), torch.cat(labels), settings))


def _last(learner, inputs: Tensor, labels: Tensor, settings: Settings, seed: int = 0):
    """What a learner predicts by at its last step, from some of the examples: as many of each of the two kinds, if there are."""
    generator, chosen = torch.Generator().manual_seed(seed), []
    for label in (0, 1):
        rows = (labels == label).nonzero()[:, 0]
        chosen.append(rows[torch.randperm(len(rows), generator=generator)[: settings.cells // 2]])
    rows = torch.cat(chosen)
    learner = learner or Ridge(penalty=settings.penalty * len(rows))
    for step in learner.adapt(nn.Identity(), Support(inputs[rows], labels[rows], 2)):
        pass
    return step.predict


def _shows(mark: Mark) -> bool:
    """Whether a mark says that its thing is in the picture."""
    return bool(mark.front or mark.box or mark.has or (mark.mask is not None and mark.mask.any()))


def sure_cells(chance: Tensor, size: tuple[int, int]) -> Tensor:
    """Cells as `known_cells` has them, of chances (h, w) where these are sure; the thing is there, so the surest ones are it."""
    shown = F.interpolate(chance[None, None], size=size, mode="area")[0, 0]
    return torch.where(shown >= min(SURE, float(shown.max())), 1, torch.where(shown < 1 - SURE, 0, -1))


def place_of(chances: Sequence[Tensor], settings: Settings) -> Tensor:
    """Where in pictures the thing lies, by chances (h, w) in some of them: log-odds (PLACES, PLACES), 0 where as often as anywhere.

    Left and right count alike. Some pictures where it is anywhere are added, so that few do not say too much.
    """
    maps = [F.interpolate(each[None, None], size=(PLACES, PLACES), mode="area")[0, 0] for each in chances]
    mean = torch.stack(maps).mean(0)
    share = mean.mean().clamp(0.01, 0.9)
    mean = (len(maps) * (mean + mean.flip(1)) / 2 + settings.anywhere * share) / (len(maps) + settings.anywhere)
    blurred = gaussian_filter(mean.numpy(), settings.blur * PLACES, mode="nearest")
    return torch.from_numpy(blurred).clamp(0.02, 0.9).logit() - share.logit()


class Glance(NamedTuple):
    """What tells parts of pictures that have the thing from parts of those that do not, at one size."""

    side: int  # pixels of the longer side
    basis: Basis
    predict: Callable[[Tensor], Tensor]  # as in `Finder`


@dataclass(frozen=True, eq=False)
class Activation:
    """Where in a picture that has the thing it is, as far as tags tell: glances at several sizes together."""

    glances: tuple[Glance, ...]

    def odds(self, picture: Picture, basis: Basis, settings: Settings) -> np.ndarray:
        """Log-odds (h, w), as of `Finder`, in a picture that has the thing: it takes the share `shown` of it, where it is
        activated most and towards the middle, as things that pictures are taken of mostly lie there."""
        size, active = picture.colours(settings).shape[:2], 0
        for side, own, predict in self.glances:
            cells = own(picture.features(settings, side).float())
            scores = predict(cells.flatten(1).T)
            found = _resized((scores[:, 1] - scores[:, 0]).reshape(cells.shape[1:]), size)
            active = active + (found - found.mean()) / found.std(correction=0).clamp_min(1e-6) / len(self.glances)
        y, x = (torch.linspace(-1, 1, length) for length in size)
        odds = active - settings.middle * (y[:, None].square() + x.square())
        return (odds - odds.flatten().quantile(1 - settings.shown)).double().numpy()


def activation(pictures: Mapping[int, Picture], marks: Mapping[int, Sequence[Mark]], settings: Settings) -> Activation:
    """Taught with tags: each part of a picture is taken for what the picture's tag says."""
    tags = {row: mark.has for row, mine in marks.items() for mark in mine if mark.has is not None}
    if len(set(tags.values())) < 2:
        raise InputError(
            "The tags all say the same. Tag a picture that has the thing and one that has it not, or draw on one."
        )
    glances = []
    for side in settings.glances:
        maps = {row: pictures[row].features(settings, side).float() for row in tags}
        basis = Basis(
            *main_directions(
                torch.cat([each.flatten(1).T for each in maps.values()]), settings.channels, settings.damping
            )
        )
        cells = [basis(each).flatten(1).T for each in maps.values()]
        labels = [torch.full((len(each),), int(has)) for each, has in zip(cells, tags.values(), strict=True)]
        glances.append(Glance(side, basis, _last(None, torch.cat(cells), torch.cat(labels), settings)))
    return Activation(tuple(glances))


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
