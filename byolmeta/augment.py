"""Two random views of each image, made for a whole batch on its device.

The views of BYOL (Grill et al. 2020, appendix B): crop and flip, colour jitter in random order, grey, blur,
solarise. Every picture has its own draw for every operation, in each view.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from byolmeta.encoder import GREY


@dataclass(frozen=True)
class ViewConfig:
    """How one view is drawn; probabilities in 0..1."""

    crop: tuple[float, float] = (0.08, 1.0)  # area of the crop, share of the picture
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width over height of the crop
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4  # factor drawn in 1 - b .. 1 + b
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1  # turn of the colour circle, -h .. h
    grey: float = 0.2
    blur: float = 0.0
    solarise: float = 0.0
    turn: float = 0.0  # degrees, drawn in -t .. t
    shear: float = 0.0  # sideways by this share of the height, -s .. s
    shift: float = 0.0  # how far the crop's centre is off at most; 0: the crop lies anywhere within the picture


def two_views(size: int, kind: str = "photos") -> tuple[ViewConfig, ViewConfig]:
    """The asymmetric pair of the paper; pictures below 64 px are not blurred (solo-learn's CIFAR recipe).

    Drawings have no colours to change, and a mirrored letter is another one: theirs are turned, sheared, stretched and
    moved.
    """
    if kind == "drawings":
        return (DRAWN, DRAWN)
    first, second = (1.0, 0.1) if size >= 64 else (0.0, 0.0)
    return ViewConfig(blur=first), ViewConfig(blur=second, solarise=0.2)


# Chosen on five alphabets of omniglot's background, after 10 epochs on the others: stronger changes were worse.
DRAWN = ViewConfig(crop=(0.6, 1.3), ratio=(2 / 3, 3 / 2), flip=0, jitter=0, grey=0, turn=12, shear=0.2, shift=0.1)
COLUMNS = (
    *("left", "top", "width", "height", "flip"),
    *("brightness", "contrast", "saturation", "hue"),
    *("first", "second", "third", "fourth"),  # which jitter operator comes when: 0..3, or -1 for none
    *("grey", "sigma", "solarise"),
    *("turn", "shear"),  # radians; share of the height
)
CHANGES, FIRST, GREY_ROW, SIGMA, SOLARISE, TURN = map(
    COLUMNS.index, ("brightness", "first", "grey", "sigma", "solarise", "turn")
)
STEEP = 1e30
CHUNK = 2_000_000  # bytes of a view that are worked on at once: what a core's cache holds


def make_view(images: Tensor, size: int, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """One view per image: uint8 (B, 3, H, W) -> float (B, 3, size, size) in 0..1. Draws come from `generator` (CPU)."""
    draw = draw_view(len(images), size, config, generator)
    return render(images, size, draw.to(images.device), config)


def draw_view(n: int, size: int, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """All draws of one view, a row per picture: float32 (n, len(COLUMNS)) on the CPU."""
    boxes, flipped = draw_crops(n, config, generator)
    jittered = torch.rand(n, 1, generator=generator) < config.jitter
    order = torch.rand(n, 4, generator=generator).argsort(1)
    strength = torch.tensor([config.brightness, config.contrast, config.saturation, config.hue])
    changes = (torch.rand(n, 4, generator=generator) * 2 - 1) * strength
    greyed = torch.rand(n, generator=generator) < config.grey
    blurred = torch.rand(n, generator=generator) < config.blur
    sigma = torch.empty(n).uniform_(0.1, 2.0, generator=generator) * size / 224  # the paper's range, at this size
    solarised = torch.rand(n, generator=generator) < config.solarise
    rest = torch.stack([greyed, sigma * blurred, solarised], 1)
    bend = torch.zeros(n, 2)
    if _bends(config):
        most = torch.tensor([math.radians(config.turn), config.shear])
        bend = (torch.rand(n, 2, generator=generator) * 2 - 1) * most
    return torch.cat([boxes, flipped[:, None], changes, torch.where(jittered, order, -1), rest, bend], 1)


def _bends(config: ViewConfig) -> bool:
    return config.turn > 0 or config.shear > 0


def render(images: Tensor, size: int, draw: Tensor, config: ViewConfig) -> Tensor:
    """The views that `draw` (B, len(COLUMNS)) describes: uint8 (B, 3, H, W) -> float (B, 3, size, size) in 0..1.

    On a GPU every operator runs on every picture and `where` chooses, so that nothing waits for the draws and a CUDA
    graph can hold it; `config` says what the view can do at all. A CPU does what was drawn and no more.
    """
    if images.device.type != "cpu":
        return _render_masked(images, size, draw, config)
    view = torch.empty(len(images), 3, size, size)
    parts = -(-12 * size * size * len(images) // CHUNK)
    parts = min(max(1, parts), max(1, len(images) // 8))
    spare = [torch.empty(-(-len(images) // parts), 3, size, size) for _ in range(2)]
    for part in torch.arange(len(images)).tensor_split(parts):
        if len(part):
            rows = slice(int(part[0]), int(part[-1]) + 1)
            parted = images[rows], size, draw[rows], config
            _render_chosen(*parted, view[rows], [each[: len(part)] for each in spare])
    return view


def _render_chosen(
    images: Tensor, size: int, draw: Tensor, config: ViewConfig, out: Tensor, spare: list[Tensor]
) -> None:
    """Pictures lie sorted by what is done to them next, so that each operator works in place on one slice."""
    at = draw[:, FIRST].argsort(stable=True)  # at[i]: which picture lies in row i
    view = _crop(images[at], size, draw[at], config)
    for place in range(4):
        if place:
            order = draw[at, FIRST + place].argsort(stable=True)
            at = at[order]
            view = torch.index_select(view, 0, order, out=spare[place % 2])
        values = draw[at]
        ends = torch.searchsorted(values[:, FIRST + place].contiguous(), torch.arange(5.0)).tolist()
        for number, operator in enumerate((brightness, contrast, saturation, hue)):
            rows = slice(ends[number], ends[number + 1])
            if rows.start < rows.stop:
                operator(view[rows], values[rows, CHANGES + number].view(-1, 1, 1, 1))
    torch.index_select(view, 0, at.argsort(), out=out)
    taps = max(3, size // 10 | 1)
    _some(out, draw[:, GREY_ROW] > 0, lambda x: grey(x).expand_as(x))
    _some(out, draw[:, SIGMA] > 0, lambda x, s: gaussian_blur(x, s, taps), draw[:, SIGMA])
    _some(out, draw[:, SOLARISE] > 0, solarise)


def _render_masked(images: Tensor, size: int, draw: Tensor, config: ViewConfig) -> Tensor:
    column = dict(zip(COLUMNS, draw.view(len(draw), -1, 1, 1, 1).unbind(1), strict=True))
    view = _crop(images, size, draw, config)
    for place in ("first", "second", "third", "fourth"):
        for number, operator in enumerate((brightness, contrast, saturation, hue)):
            change = column[COLUMNS[CHANGES + number]]
            view = torch.where(column[place] == number, operator(view.clone(), change), view)
    view = torch.where(column["grey"] > 0, grey(view), view)
    if config.blur:
        sharp = column["sigma"] <= 0
        blurred = gaussian_blur(view, torch.where(sharp, 1.0, column["sigma"]), taps=max(3, size // 10 | 1))
        view = torch.where(sharp, view, blurred)
    return torch.where(column["solarise"] > 0, solarise(view), view)


def draw_crops(n: int, config: ViewConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Boxes (n, 4) as left, top, width, height in shares of the picture, and who is flipped (n,) bool.

    As torchvision's RandomResizedCrop: area uniform, log of the ratio uniform, redrawn (here: up to ten
    candidates, the first that fits) when the box does not fit; else the whole picture.
    """
    area = torch.empty(10, n).uniform_(*config.crop, generator=generator)
    low, high = torch.tensor(config.ratio).log().tolist()
    ratio = torch.empty(10, n).uniform_(low, high, generator=generator).exp()
    width, height = (area * ratio).sqrt(), (area / ratio).sqrt()
    fits = (width <= 1) & (height <= 1) if not config.shift else torch.ones(10, n, dtype=torch.bool)
    first = fits.float().argmax(0)
    pick = first[None]
    width, height = width.gather(0, pick)[0], height.gather(0, pick)[0]
    width, height = (torch.where(fits.any(0), side, torch.ones(())) for side in (width, height))
    room = torch.stack([1 - width, 1 - height])
    left, top = torch.rand(2, n, generator=generator) * room
    if config.shift:
        left, top = room / 2 + (torch.rand(2, n, generator=generator) * 2 - 1) * config.shift
    return torch.stack([left, top, width, height], 1), torch.rand(n, generator=generator) < config.flip


def _crop(images: Tensor, size: int, draw: Tensor, config: ViewConfig) -> Tensor:
    return crop_and_flip(images, size, draw[:, :4], draw[:, 4] > 0, draw[:, TURN:] if _bends(config) else None)


def crop_and_flip(images: Tensor, size: int, boxes: Tensor, flipped: Tensor, bend: Tensor | None = None) -> Tensor:
    """Bilinear crop of each image's own box, (B, 3, size, size) in 0..1; one pass over the pixels.

    `bend` (B, 2): the box is sheared sideways by a share of its height and then turned clockwise, by radians, about its
    centre. What lies outside of the picture looks like its border.
    """
    images = images.float().div_(255) if images.dtype == torch.uint8 else images
    left, top, width, height = boxes.to(images.device).unbind(1)
    mirror = torch.where(flipped.to(images.device), -1.0, 1.0)
    centre = (torch.arange(size, device=images.device) + 0.5) / size * 2 - 1
    x = (2 * left + width - 1)[:, None] + centre * (width * mirror)[:, None]
    y = (2 * top + height - 1)[:, None] + centre * height[:, None]
    grid = torch.stack([x[:, None].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)
    if bend is not None:
        grid = _bent(grid, bend.to(images.device))
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _bent(grid: Tensor, bend: Tensor) -> Tensor:
    """A grid (B, S, S, 2) of places sheared and turned about its middle."""
    turn, shear = bend.view(-1, 2, 1, 1).unbind(1)
    middle = grid.mean((1, 2), keepdim=True)
    x, y = (grid - middle).unbind(-1)
    x = x + shear * y
    turned = torch.stack([turn.cos() * x - turn.sin() * y, turn.sin() * x + turn.cos() * y], -1)
    return middle + turned


def _some(view: Tensor, chosen: Tensor, operator, *parameters: Tensor) -> None:
    """Replaces the chosen pictures by what `operator` makes of them, each with its own parameters."""
    rows = chosen.nonzero()[:, 0]
    if len(rows) == len(view):
        view.copy_(operator(view, *(p.view(-1, 1, 1, 1) for p in parameters)))
    elif len(rows):
        values = (p[rows].view(-1, 1, 1, 1) for p in parameters)
        view.index_copy_(0, rows, operator(view.index_select(0, rows), *values))


def grey(x: Tensor) -> Tensor:
    """Luma, (B, 1, H, W)."""
    red, green, blue = x.split(1, dim=1)
    return torch.mul(red, GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])


# The four operators of the jitter change `x` in place and return it; `change` is (B, 1, 1, 1).


def brightness(x: Tensor, change: Tensor) -> Tensor:
    return x.mul_(1 + change).clamp_(0, 1)


def contrast(x: Tensor, change: Tensor) -> Tensor:
    red, green, blue = x.mean(dim=(2, 3), keepdim=True).split(1, dim=1)
    middle = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    return x.mul_(1 + change).sub_(middle * change).clamp_(0, 1)


def saturation(x: Tensor, change: Tensor) -> Tensor:
    middle = grey(x).mul_(-change)
    return x.mul_(1 + change).add_(middle).clamp_(0, 1)


def hue(x: Tensor, turn: Tensor) -> Tensor:
    """Turns the hue by `turn` of a full circle, through HSV: 0 changes nothing, 1/3 makes red green.

    In Smith's (1978) form, channel n is V - C max(0, min(k, 4 - k, 1)) with k = (n + hue) mod 6 and n = 5, 3, 1. Here
    k - 2 is written d, and 2 - |d| for min(k, 4 - k): for d in -3..9 its distance to the next multiple of 6 is ||d - 3| - 3|.
    """
    red, green, blue = x.unbind(1)
    other = torch.maximum(green, blue)
    value, chroma = torch.maximum(red, other), torch.minimum(green, blue).minimum(red)
    chroma = torch.sub(value, chroma, out=chroma)
    is_red = torch.sub(red, other, out=other).mul_(STEEP).clamp_(0, 1)  # 0 or 1; faster than comparing and choosing
    of_red = green - blue
    is_green = (of_red * STEEP).clamp_(0, 1)  # rather than blue; the branches agree where two channels are equal
    angle = torch.sub(red, green).add_(chroma, alpha=4)
    angle.lerp_(torch.sub(blue, red).add_(chroma, alpha=2), is_green).lerp_(of_red, is_red)
    angle.div_(chroma + 1e-20).add_(6 * turn[:, 0])  # sixths of the circle; 0 where there is no colour
    angle.sub_(torch.mul(angle, 1 / 6, out=of_red).round_(), alpha=6)  # -3..3
    base = value.sub_(chroma, alpha=2)
    for channel, phase in ((red, 0.0), (green, -2.0), (blue, 2.0)):  # d - 3, with d = angle + 3, 1 and 5
        distance = torch.add(angle, phase, out=of_red).abs_().sub_(3).abs_().clamp_(1, 2)
        torch.addcmul(base, chroma, distance, out=channel)
    return x


def gaussian_blur(x: Tensor, sigma: Tensor, taps: int) -> Tensor:
    """Separable blur with each picture's own sigma in pixels, (B, 1, 1, 1), `taps` odd; edges are mirrored."""
    half = taps // 2
    offsets = torch.arange(-half, half + 1, device=x.device)
    weights = torch.exp(-0.5 * (offsets / sigma.view(-1, 1)) ** 2)
    weights = (weights / weights.sum(1, keepdim=True))[:, :, None, None, None]
    for dim, pad in ((2, (0, 0, half, half)), (3, (half, half, 0, 0))):
        padded, side = F.pad(x, pad, mode="reflect"), x.shape[dim]
        x = weights[:, 0] * padded.narrow(dim, 0, side)
        for tap in range(1, taps):
            x = x.addcmul_(weights[:, tap], padded.narrow(dim, tap, side))
    return x


def solarise(x: Tensor) -> Tensor:
    """Inverts what is at or above half brightness."""
    return torch.where(x >= 0.5, 1 - x, x)
