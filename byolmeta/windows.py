"""Windows of a picture as vectors: maps at several sizes, local features on a grid, whitened by how windows differ.

A picture is seen at several sizes, so that every window meets the network at the scale it learned at; a large one in tiles
where windows are small. A window's vector holds
the local features of a grid over it and its rim (RoIAlign, He et al. 2017, arXiv 1703.06870). Vectors are whitened by how
windows of the user's pictures differ, which needs no boxes and makes one example worth much (Hariharan et al. 2012,
"Discriminative decorrelation").
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import roi_align

Maps = Callable[[Tensor, int], Tensor]  # of a picture uint8 (3, H, W) and a longer side: features (D, h, w)
Progress = Callable[[int, int], None]  # done, of
HALO = (
    192  # pixels by which tiles reach over each other, as the network sees them: about half a small window with its rim
)


@dataclass(frozen=True)
class Settings:
    """How things are looked for. Chosen on the training parts of raccoon and bccd."""

    side: int = 128  # pixels that a window has, about, where its vector is taken
    largest: int = 1024  # pixels of the longer side of a picture that is enlarged for small windows
    grid: int = 5  # rows and columns of a window's vector, with its rim
    enlarge: float = 1.25  # of a window with its rim: half a row of the grid on each side
    channels: int = 32  # of the features, their main directions
    kept: int = 300  # main directions of the windows' vectors
    damping: float = 10.0  # of the windows' covariance, in mean variances
    smallest: float = 0.05  # share of the picture's side that windows have at least, where the ground is learned
    near: float = 0.7  # overlap (IoU) with an example from which a window counts as one
    far: float = 0.5  # overlap up to which a window counts as background
    most: int = 2400  # windows of background that a learner sees
    weight: int = 3  # windows that a drawn box counts as
    wrong: float = 0.1  # windows that all negatives together count as, as a share of `most`
    penalty: float = 0.005  # of the ridge regression, for each window
    prior: float = 1.0  # weight of what size, shape and place say
    strength: float = 2.0  # examples that the usual spread of size, shape and place counts as
    spread: tuple[float, float, float, float] = (0.12, 0.12, 0.35, 0.35)  # usual, of `geometry`
    reach: float = 2.0  # deviations of size and shape up to which windows are made
    step: float = 2**0.5  # from one size of windows to the next
    overlap: float = 0.4  # overlap (IoU) from which the surer of two boxes is kept alone
    rounds: int = 4  # of moving the found boxes to better places
    moved: int = 50  # boxes that are
    even: float = 2.25  # score of a box that is right as often as wrong; this and the next differ much between tasks
    slope: float = 0.5  # of the logistic curve from scores to chances


class Larger(NamedTuple):
    """The same picture with more pixels, read when they are needed and not kept."""

    read: Callable[[], Tensor]  # uint8 (3, H, W)
    side: int  # pixels of its longer side

    def mirrored(self) -> "Larger":
        """The picture with left and right exchanged."""
        return Larger(lambda: self.read().flip(2), self.side)


class View:
    """A picture uint8 (3, H, W) and its maps at the sizes that were asked for."""

    def __init__(self, maps: Maps, image: Tensor, larger: Larger | None = None):
        self.image, self.height, self.width = image, image.shape[1], image.shape[2]
        self.larger, self._maps, self._levels = larger, maps, {}
        self._basis, self._projected = None, {}
        self._mirrored = None

    def mirrored(self) -> "View":
        """The picture with left and right exchanged."""
        if self._mirrored is None:
            self._mirrored = View(self._maps, self.image.flip(2), self.larger and self.larger.mirrored())
        return self._mirrored

    def projected(self, number: int, basis: "Basis", settings: Settings) -> Tensor:
        """A level in the main directions of the features, (C, h, w); kept for the basis that was asked for last."""
        return self._once(number, basis, lambda: basis(self.level(number, settings).float()))

    def tiles(self, number: int, middle: Tensor, basis: "Basis", settings: Settings) -> Iterator[tuple]:
        """The parts of a level below 0, kept as `projected`: which of the middles (N, 2) lie there, the place of the part's
        upper left corner and its size in pixels of this picture, and its maps (C, h, w)."""
        sides = torch.tensor([self.width, self.height])
        scale = settings.largest * math.sqrt(2) ** -number / max(self.width, self.height)  # of the level
        counts = (sides * scale / settings.largest).ceil().long()
        of = (middle / sides * counts).long().clamp_min(0).minimum(counts - 1)
        image = None
        for place in of.unique(dim=0):
            low = (place * sides / counts - HALO / scale).clamp_min(0)
            high = ((place + 1) * sides / counts + HALO / scale).minimum(sides)
            key = number, *place.tolist()
            if image is None and (basis is not self._basis or key not in self._projected):
                image = self.larger.read()
            maps = self._once(key, basis, partial(self._part, image, low, high, scale, basis))
            yield (of == place).all(1).nonzero()[:, 0], low, high - low, maps

    def _part(self, image: Tensor, low: Tensor, high: Tensor, scale: float, basis: "Basis") -> Tensor:
        """The maps of a part of a picture of more pixels, (C, h, w); `scale` enlarges from this picture's pixels."""
        share = image.shape[2] / self.width
        (left, top), (right, bottom) = ((corner * share).round().int().tolist() for corner in (low, high))
        part = image[:, top:bottom, left:right]
        return basis(self._maps(part, round(max(part.shape[1:]) / share * scale)).half().float())

    def _once(self, key, basis: "Basis", make: Callable[[], Tensor]) -> Tensor:
        if basis is not self._basis:
            self._basis, self._projected = basis, {}
        if key not in self._projected:
            self._projected[key] = make()
        return self._projected[key]

    def level(self, number: int, settings: Settings) -> Tensor:
        """The maps with the longer side at `largest` / sqrt(2)^number, float16 (D, h, w)."""
        if number not in self._levels:
            self._levels[number] = self._maps(self.image, round(settings.largest / math.sqrt(2) ** number)).half()
        return self._levels[number]

    def level_of(self, boxes: Tensor, settings: Settings, tiles: bool = True) -> Tensor:
        """The level at which each box (N, 4) has about `side` pixels, int64 (N,); below 0 only as far as the picture has them."""
        share = (boxes[:, 2:] - boxes[:, :2]).clamp_min(1).prod(1).sqrt() / max(self.width, self.height)
        lowest = 0
        if tiles and self.larger is not None:
            lowest = -max(0, math.floor(2 * math.log2(self.larger.side / settings.largest) + 1e-6))
        return (2 * (settings.largest * share / settings.side).log2()).round().long().clamp_min(lowest)

    def cells(self, boxes: Tensor, basis: "Basis", settings: Settings, tiles: bool = True) -> Tensor:
        """The features on a grid over each box and its rim, (N, channels * grid^2)."""
        middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * settings.enlarge
        rims, levels = torch.cat([middle - half, middle + half], 1), self.level_of(boxes, settings, tiles)
        found = torch.empty(len(boxes), basis.axes.shape[1] * settings.grid**2)
        for number in levels.unique().tolist():
            rows = (levels == number).nonzero()[:, 0]
            if number < 0:
                parts = self.tiles(number, middle[rows], basis, settings)
            else:
                sides = torch.tensor([self.width, self.height])
                parts = [(slice(None), 0 * sides, sides, self.projected(number, basis, settings))]
            for own, corner, sides, maps in parts:
                scale = torch.tensor([maps.shape[2], maps.shape[1]]) / sides
                placed = (rims[rows[own]] - corner.repeat(2)) * scale.repeat(2)
                grids = roi_align(maps[None], [placed], settings.grid, sampling_ratio=1, aligned=True)
                found[rows[own]] = grids.flatten(1)
        return found


class Basis(NamedTuple):
    """Main directions of the features of patches, each scaled to a variance of about 1."""

    mean: Tensor  # (D,)
    axes: Tensor  # (D, C)

    def __call__(self, maps: Tensor) -> Tensor:
        """(D, h, w) to (C, h, w)."""
        return torch.einsum("dhw,dc->chw", maps - self.mean[:, None, None], self.axes)


@dataclass(frozen=True, eq=False)
class Ground:
    """How patches and windows of the user's pictures differ, whatever they show."""

    settings: Settings
    basis: Basis
    mean: Tensor  # (C grid^2,)
    axes: Tensor  # (C grid^2, kept)

    def vectors(self, view: View, boxes: Tensor) -> Tensor:
        """Whitened vectors (N, kept) of boxes (N, 4)."""
        return (view.cells(boxes, self.basis, self.settings) - self.mean) @ self.axes


def main_directions(vectors: Tensor, count: int, damping: float) -> tuple[Tensor, Tensor]:
    """Mean (D,) and main directions (D, count) of vectors (N, D), scaled by 1 / sqrt(variance + damping * mean variance)."""
    mean = vectors.mean(0)
    values, axes = torch.linalg.eigh(torch.cov(vectors.T))
    values, axes = values.flip(0).clamp_min(0), axes.flip(1)
    return mean, (axes * (values + damping * values.mean()).clamp_min(1e-12).rsqrt())[:, :count]


def learn_ground(
    views: Sequence[View], settings: Settings = Settings(), progress: Progress | None = None, seed: int = 0
) -> Ground:
    """The ground of some pictures; no boxes needed."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [random_boxes(view, max(60, 4000 // len(views)), settings.smallest, generator) for view in views]
    patches, vectors = [], []
    for view, boxes in zip(views, drawn, strict=True):
        for number in view.level_of(boxes, settings, tiles=False).unique().tolist():
            maps = view.level(number, settings).float().flatten(1)
            patches.append(maps[:, torch.randperm(maps.shape[1], generator=generator)[:40]].T)
    basis = Basis(*main_directions(torch.cat(patches), settings.channels, damping=10))
    for done, (view, boxes) in enumerate(zip(views, drawn, strict=True), 1):
        vectors.append(view.cells(boxes, basis, settings, tiles=False))  # what is usual needs no tiles, which take long
        if progress:
            progress(done, len(views))
    return Ground(settings, basis, *main_directions(torch.cat(vectors), settings.kept, settings.damping))


def random_boxes(view: View, count: int, smallest: float, generator: torch.Generator) -> Tensor:
    """Boxes inside of a picture, (count, 4): logarithms of size and shape and then the place evenly distributed."""
    draw = torch.rand(count, 4, generator=generator)
    size = math.sqrt(view.width * view.height) * smallest ** draw[:, 0]
    aspect = 3 ** (draw[:, 1] - 0.5)
    sides = torch.stack(
        [(size * aspect.sqrt()).clamp_max(view.width), (size / aspect.sqrt()).clamp_max(view.height)], 1
    )
    corner = draw[:, 2:] * (torch.tensor([view.width, view.height]) - sides)
    return torch.cat([corner, corner + sides], 1)
