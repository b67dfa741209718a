"""Two random views of each image, made for a whole batch on its device.

The views of BYOL (Grill et al. 2020, appendix B): crop and flip, colour jitter in random order, grey, blur,
solarise. Every picture has its own draw for every operation, in each view.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow and torchvision


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


def two_views(size: int) -> tuple[ViewConfig, ViewConfig]:
    """The asymmetric pair of the paper; pictures below 64 px are not blurred (solo-learn's CIFAR recipe)."""
    first, second = (1.0, 0.1) if size >= 64 else (0.0, 0.0)
    return ViewConfig(blur=first), ViewConfig(blur=second, solarise=0.2)


COLUMNS = (
    *("left", "top", "width", "height", "flip"),
    *("brightness", "contrast", "saturation", "hue"),
    *("first", "second", "third", "fourth"),  # which jitter operator comes when: 0..3, or -1 for none
    *("grey", "sigma", "solarise"),
)


def make_view(images: Tensor, size: int, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """One view per image: uint8 (B, 3, H, W) -> float (B, 3, size, size) in 0..1. Draws come from `generator` (CPU)."""
    return render(images, size, draw_view(len(images), size, config, generator))


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
    return torch.cat([boxes, flipped[:, None], changes, torch.where(jittered, order, -1), rest], 1)


def render(images: Tensor, size: int, draw: Tensor) -> Tensor:
    """The views that `draw` (B, len(COLUMNS)) describes: uint8 (B, 3, H, W) -> float (B, 3, size, size) in 0..1."""
    column = dict(zip(COLUMNS, draw.unbind(1), strict=True))
    view = crop_and_flip(images, size, draw[:, :4], column["flip"] > 0)
    for place in ("first", "second", "third", "fourth"):
        for number, (name, operator) in enumerate(
            (("brightness", brightness), ("contrast", contrast), ("saturation", saturation), ("hue", hue))
        ):
            view = _some(view, column[place] == number, operator, column[name])
    view = _some(view, column["grey"] > 0, lambda x: grey(x).expand_as(x))
    taps = max(3, size // 10 | 1)
    view = _some(view, column["sigma"] > 0, lambda x, s: gaussian_blur(x, s, taps), column["sigma"])
    return _some(view, column["solarise"] > 0, solarise)


def draw_crops(n: int, config: ViewConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Boxes (n, 4) as left, top, width, height in shares of the picture, and who is flipped (n,) bool.

    As torchvision's RandomResizedCrop: area uniform, log of the ratio uniform, redrawn (here: up to ten
    candidates, the first that fits) when the box does not fit; else the whole picture.
    """
    area = torch.empty(10, n).uniform_(*config.crop, generator=generator)
    low, high = torch.tensor(config.ratio).log().tolist()
    ratio = torch.empty(10, n).uniform_(low, high, generator=generator).exp()
    width, height = (area * ratio).sqrt(), (area / ratio).sqrt()
    fits = (width <= 1) & (height <= 1)
    first = fits.float().argmax(0)
    pick = first[None]
    width, height = width.gather(0, pick)[0], height.gather(0, pick)[0]
    width, height = (torch.where(fits.any(0), side, torch.ones(())) for side in (width, height))
    left, top = torch.rand(2, n, generator=generator) * torch.stack([1 - width, 1 - height])
    return torch.stack([left, top, width, height], 1), torch.rand(n, generator=generator) < config.flip


def crop_and_flip(images: Tensor, size: int, boxes: Tensor, flipped: Tensor) -> Tensor:
    """Bilinear crop of each image's own box, (B, 3, size, size) in 0..1; one pass over the pixels."""
    images = images.float().div_(255) if images.dtype == torch.uint8 else images
    left, top, width, height = boxes.to(images.device).unbind(1)
    mirror = torch.where(flipped.to(images.device), -1.0, 1.0)
    centre = (torch.arange(size, device=images.device) + 0.5) / size * 2 - 1
    x = (2 * left + width - 1)[:, None] + centre * (width * mirror)[:, None]
    y = (2 * top + height - 1)[:, None] + centre * height[:, None]
    grid = torch.stack([x[:, None].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _some(view: Tensor, chosen: Tensor, operator, *parameters: Tensor) -> Tensor:
    """Applies `operator` in place to the chosen pictures only, each with its own parameters."""
    rows = chosen.nonzero()[:, 0]
    if len(rows):
        values = (p[rows].to(view.device).view(-1, 1, 1, 1) for p in parameters)
        rows = rows.to(view.device)
        view[rows] = operator(view[rows], *values)
    return view


def grey(x: Tensor) -> Tensor:
    """Luma, (B, 1, H, W)."""
    return (x * x.new_tensor(GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)


def brightness(x: Tensor, change: Tensor) -> Tensor:
    return (x * (1 + change)).clamp_(0, 1)


def contrast(x: Tensor, change: Tensor) -> Tensor:
    middle = grey(x).mean(dim=(2, 3), keepdim=True)
    return torch.lerp(middle, x, 1 + change).clamp_(0, 1)


def saturation(x: Tensor, change: Tensor) -> Tensor:
    return torch.lerp(grey(x), x, 1 + change).clamp_(0, 1)


def hue(x: Tensor, turn: Tensor) -> Tensor:
    """Turns the hue by `turn` of a full circle, through HSV: 0 changes nothing, 1/3 makes red green."""
    value, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = value - low
    r, g, b = x.unbind(1)
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))[:, 0]
    v = value[:, 0]
    sector = torch.where(v == r, (g - b) / safe, torch.where(v == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    sector = sector[:, None] + 6 * turn
    shift = torch.tensor([5.0, 3.0, 1.0], device=x.device).view(1, 3, 1, 1)
    k = (sector + shift) % 6  # Smith 1978, in the form f(n) = V - C max(0, min(k, 4 - k, 1))
    return value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1)


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
