"""Pictures to begin with: creatures and things that this file draws, and scikit-learn's handwritten digits.

`python -m byolmeta.samples` writes `assets/creatures.zip`. Colour, pose, place and background are drawn at random
and do not depend on the kind, so the shape is all there is to learn.
"""

import colorsys
import io
import math
import os
import random
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from byolmeta.errors import InputError

ASSETS = Path(__file__).resolve().parents[1] / "assets"
SIZE = 128  # pixels
FINE = 4  # drawn this much larger, then shrunk: smooth edges
EACH = 25  # pictures of a kind
INK = (52, 42, 58)
WHITE = (255, 255, 255)


def sample_sources() -> dict[str, str]:
    """The names of the sample sets, with a line about each."""
    return {
        "creatures": f"{EACH * len(KINDS)} drawn creatures and things of {len(KINDS)} kinds",
        "digits": "1,797 handwritten digits",
    }


def sample_folder(name: str, home: Path) -> Path:
    """The zip of a sample set; written into `home/samples` at the first call if it is not shipped."""
    if name not in sample_sources():
        raise InputError(f"There is no sample set {name!r}. Choose one of: {', '.join(sample_sources())}.")
    if name == "creatures" and (ASSETS / "creatures.zip").exists():
        return ASSETS / "creatures.zip"
    file = Path(home) / "samples" / f"{name}.zip"
    if not file.exists():
        write_zip(file, draw_creatures() if name == "creatures" else digits(), "WEBP" if name == "creatures" else "PNG")
    return file


def digits() -> Iterator[tuple[str, Image.Image]]:
    """scikit-learn's 8 x 8 digits at 32 px, bright ink on dark: (path without ending, picture)."""
    from sklearn.datasets import load_digits  # slow to import

    data = load_digits()
    for number, (values, label) in enumerate(zip(data.images, data.target, strict=True)):
        picture = Image.fromarray(np.rint(values * (255 / 16)).astype(np.uint8))
        yield f"{label}/{number:04d}", picture.resize((32, 32), Image.Resampling.BICUBIC)


def write_zip(file: Path, pictures: Iterable[tuple[str, Image.Image]], form: str) -> None:
    """Pictures into a stored zip; same pictures, same bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    with zipfile.ZipFile(part, "w") as archive:
        for path, picture in pictures:
            data = io.BytesIO()
            picture.save(data, form, quality=82, method=6)
            archive.writestr(zipfile.ZipInfo(f"{path}.{form.lower()}"), data.getvalue())
    os.replace(part, file)


def draw_creatures(seed: int = 0, each: int = EACH) -> Iterator[tuple[str, Image.Image]]:
    """(path without ending, RGB picture of 128 px), `each` of every kind."""
    for kind, draw in KINDS.items():
        for number in range(each):
            yield f"{kind}/{number:02d}", picture(draw, random.Random(f"{seed} {kind} {number}"))


def picture(draw: Callable, rng: random.Random) -> Image.Image:
    """One thing in a random pose on a random background."""
    scene = rng.choice(SCENES)(rng)
    pen = Pen(rng)
    draw(pen, rng)
    thing = pen.image if rng.random() < 0.5 else pen.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    thing = thing.rotate(rng.uniform(-22, 22), Image.Resampling.BICUBIC)
    scale = rng.uniform(0.8, 1.0) * SIZE
    thing = thing.resize((round(scale * rng.uniform(0.9, 1.1)), round(scale)), Image.Resampling.LANCZOS)
    free = [SIZE - side for side in thing.size]
    place = tuple(round(space * rng.uniform(0.1, 0.9)) for space in free)
    layer = Image.new("RGBA", scene.size)
    layer.paste(thing, place)
    alpha = layer.getchannel("A")
    shadow = alpha.filter(ImageFilter.GaussianBlur(3)).point(lambda v: v * 0.45)
    scene.paste(INK, (2, 3), shadow)
    if rng.random() < 0.45:  # like a sticker
        scene.paste(WHITE, (0, 0), alpha.filter(ImageFilter.MaxFilter(5)).filter(ImageFilter.GaussianBlur(0.6)))
    scene.paste(layer, (0, 0), alpha)
    return scene


def colour(rng: random.Random, saturation=(0.45, 0.85), value=(0.72, 1.0)) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return round(255 * red), round(255 * green), round(255 * blue)


class Pen:
    """Draws filled, outlined shapes in coordinates from -1 to 1 (y down) on a clear layer."""

    def __init__(self, rng: random.Random):
        self.image = Image.new("RGBA", (SIZE * FINE, SIZE * FINE))
        self.canvas = ImageDraw.Draw(self.image)
        self.a, self.b, self.c = (colour(rng) for _ in range(3))  # body, second and accent colour
        self.light = colour(rng, (0.1, 0.3), (0.92, 1.0))

    def at(self, x: float, y: float) -> tuple[float, float]:
        half = SIZE * FINE / 2
        return half + x * half * 0.84, half + y * half * 0.84

    def shape(self, points, fill, edge=0.035) -> None:
        points = [self.at(*point) for point in points]
        self.canvas.polygon(points, fill)
        if edge:
            self.canvas.line([*points, *points[:2]], INK, round(edge * SIZE * FINE / 2), joint="curve")

    def oval(self, x, y, rx, ry, fill, angle=0.0, edge=0.035, span=(0.0, 360.0)) -> None:
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        points = []
        for step in range(61):
            turn = math.radians(span[0] + (span[1] - span[0]) * step / 60)
            u, v = rx * math.cos(turn), ry * math.sin(turn)
            points.append((x + u * cos - v * sin, y + u * sin + v * cos))
        self.shape(points, fill, edge)

    def dome(self, x, y, rx, ry, fill) -> None:
        self.oval(x, y, rx, ry, fill, span=(180, 360))

    def box(self, x0, y0, x1, y1, fill, edge=0.035) -> None:
        self.shape([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, edge)

    def line(self, points, width=0.04, fill=INK) -> None:
        """A stroke with round ends."""
        points = [self.at(*point) for point in points]
        thick = width * SIZE * FINE / 2
        self.canvas.line(points, fill, round(thick), joint="curve")
        for x, y in (points[0], points[-1]):
            self.canvas.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill)

    def limb(self, points, width, fill) -> None:
        """A thick stroke with an outline."""
        self.line(points, width + 0.07)
        self.line(points, width, fill)

    def eye(self, x, y, size=0.1) -> None:
        self.oval(x, y, size, size * 1.1, WHITE, edge=0.025)
        self.oval(x + size * 0.2, y, size * 0.55, size * 0.6, INK, edge=0)
        self.oval(x + size * 0.35, y - size * 0.25, size * 0.2, size * 0.2, WHITE, edge=0)

    def smile(self, x, y, size=0.1) -> None:
        self.line([(x + size * math.cos(t), y + 0.6 * size * math.sin(t)) for t in np.linspace(0.3, 2.84, 9)], 0.035)

    def dots(self, rng, x, y, rx, ry, fill, most=7, size=0.07) -> None:
        for _ in range(rng.randint(0, most)):
            turn, far = rng.uniform(0, 6.28), rng.uniform(0, 0.75)
            radius = size * rng.uniform(0.6, 1.2)
            self.oval(x + rx * far * math.cos(turn), y + ry * far * math.sin(turn), radius, radius, fill, edge=0)


def curve(start, bend, end, steps=14) -> list[tuple[float, float]]:
    """A quadratic Bezier curve."""
    return [
        tuple((1 - t) ** 2 * p + 2 * t * (1 - t) * q + t * t * r for p, q, r in zip(start, bend, end, strict=True))
        for t in np.linspace(0, 1, steps)
    ]


# The kinds


def fish(pen, rng):
    swing, tall = rng.uniform(-0.18, 0.18), rng.uniform(0.36, 0.52)
    pen.shape([(-0.5, 0), (-0.95, -0.4 + swing), (-0.8, swing), (-0.95, 0.4 + swing)], pen.b)
    pen.shape([(-0.3, -tall * 0.8), (rng.uniform(-0.3, 0), -tall - 0.3), (0.3, -tall * 0.8)], pen.b)
    pen.oval(0.08, 0, 0.72, tall, pen.a)
    for stripe in range(rng.randint(0, 3)):
        pen.oval(-0.3 + 0.22 * stripe, 0, 0.055, tall * 0.72, pen.c, edge=0)
    pen.dots(rng, 0, 0.05, 0.4, tall, pen.light, 5, 0.05)
    pen.oval(0.05, 0.16, 0.2, 0.1, pen.b, rng.uniform(10, 50))
    pen.eye(0.48, -0.1, 0.12)
    pen.smile(0.62, 0.12, 0.1)
    for _ in range(rng.randint(0, 3)):
        pen.oval(rng.uniform(0.75, 0.95), rng.uniform(-0.8, -0.2), 0.06, 0.06, pen.light, edge=0.02)


def bird(pen, rng):
    flap, head = rng.uniform(-60, 20), rng.uniform(-0.05, 0.08)
    for x in (-0.1, 0.15):
        pen.line([(x, 0.4), (x + rng.uniform(-0.1, 0.1), 0.88), (x + 0.16, 0.9)], 0.06)
    pen.shape([(-0.4, 0.1), (-0.98, rng.uniform(-0.3, 0.1)), (-0.9, 0.3), (-0.4, 0.4)], pen.b)
    pen.shape([(0.65, -0.5 + head), (0.98, -0.36 + head), (0.65, -0.25 + head)], pen.c)
    pen.oval(0, 0.12, 0.58, 0.44, pen.a, -18)
    pen.oval(0.4, -0.38 + head, 0.34, 0.32, pen.a)
    pen.oval(0.1, 0.3, 0.32, 0.18, pen.light, -15, edge=0)
    pen.oval(-0.15, 0.05 + flap * 0.004, 0.42, 0.2, pen.b, flap * 0.9 + 20)
    for tuft in range(rng.randint(0, 3)):
        pen.line([(0.34, -0.68 + head), (0.2 + 0.12 * tuft, -0.88 + head)], 0.05)
    pen.eye(0.48, -0.42 + head, 0.1)


def cat(pen, rng):
    lift, tilt = rng.uniform(-0.6, 0.3), rng.uniform(-0.08, 0.08)
    pen.limb(curve((0.3, 0.75), (0.95, 0.8), (rng.uniform(0.6, 0.9), lift)), 0.13, pen.a)
    pen.oval(0, 0.45, 0.42, 0.48, pen.a)
    pen.oval(0, 0.52, 0.24, 0.32, pen.light, edge=0)
    for x in (-0.2, 0.2):
        pen.oval(x, 0.86, 0.17, 0.1, pen.a)
    for side in (-1, 1):
        pen.shape([(tilt + side * 0.42, -0.35), (tilt + side * 0.44, -0.92), (tilt + side * 0.08, -0.62)], pen.a)
        pen.shape([(tilt + side * 0.36, -0.5), (tilt + side * 0.38, -0.76), (tilt + side * 0.2, -0.62)], pen.c, 0)
    pen.oval(tilt, -0.28, 0.48, 0.4, pen.a)
    for stripe in range(rng.randint(0, 3)):
        pen.line([(tilt - 0.12 + 0.12 * stripe, -0.64), (tilt - 0.12 + 0.12 * stripe, -0.5)], 0.06, pen.b)
    for side in (-1, 1):
        pen.eye(tilt + side * 0.2, -0.32, 0.1)
        for y in (-0.16, -0.08):
            pen.line([(tilt + side * 0.24, -0.12), (tilt + side * 0.62, y + rng.uniform(-0.08, 0.04))], 0.02)
    pen.shape([(tilt - 0.06, -0.18), (tilt + 0.06, -0.18), (tilt, -0.1)], pen.c, 0.02)
    pen.smile(tilt, -0.08, 0.1)


def snail(pen, rng):
    up, round_ = rng.uniform(-0.25, 0.1), rng.uniform(0.42, 0.52)
    for x in (0.62, 0.82):
        tip = (x + rng.uniform(-0.06, 0.14), -0.35 + up)
        pen.limb([(x - 0.04, 0.2), tip], 0.05, pen.a)
        pen.eye(*tip, 0.08)
    pen.shape(
        [
            *curve((-0.98, 0.72), (-0.4, 0.35), (0.3, 0.45)),
            *curve((0.45, 0.4), (0.5, 0.0), (0.75, 0.02)),
            *curve((0.98, 0.1), (1.0, 0.75), (0.6, 0.75)),
        ],
        pen.a,
    )
    pen.oval(-0.12, 0.05, round_, round_, pen.b)
    turns, spin = rng.uniform(1.8, 2.8), rng.uniform(0, 6.28)
    pen.line(
        [
            (
                -0.12 + round_ * 0.85 * t * math.cos(spin + turns * 6.28 * t),
                0.05 + round_ * 0.85 * t * math.sin(spin + turns * 6.28 * t),
            )
            for t in np.linspace(0.05, 1, 60)
        ],
        0.075,
        pen.c,
    )
    pen.smile(0.78, 0.26, 0.1)


def butterfly(pen, rng):
    fold, drop = rng.uniform(0.75, 1.1), rng.uniform(-12, 14)
    for side in (-1, 1):
        pen.oval(side * 0.38 * fold, 0.4, 0.36 * fold, 0.26, pen.b, side * (48 + drop))
        pen.oval(side * 0.48 * fold, -0.24, 0.5 * fold, 0.34, pen.a, side * (-38 + drop))
        pen.oval(side * 0.52 * fold, -0.28, 0.24 * fold, 0.16, pen.c, side * (-38 + drop), edge=0)
        pen.oval(side * 0.4 * fold, 0.44, 0.13, 0.1, pen.light, edge=0)
        for dot in range(rng.randint(0, 3)):
            pen.oval(side * (0.62 - 0.12 * dot) * fold, -0.52 + 0.05 * dot, 0.045, 0.045, pen.light, edge=0)
        pen.line(curve((0, -0.4), (side * 0.05, -0.75), (side * rng.uniform(0.2, 0.34), -0.88)), 0.035)
    pen.oval(0, 0.08, 0.09, 0.46, INK, edge=0)
    pen.oval(0, -0.4, 0.13, 0.13, INK, edge=0)
    for side in (-1, 1):
        pen.oval(side * 0.05, -0.42, 0.04, 0.045, WHITE, edge=0)


def turtle(pen, rng):
    neck, tall = rng.uniform(-0.28, 0.12), rng.uniform(0.62, 0.8)
    pen.shape([(-0.6, 0.3), (-0.98, 0.42), (-0.6, 0.48)], pen.b)
    for x in (-0.45, -0.15, 0.2, 0.45):
        pen.limb([(x, 0.35), (x + rng.uniform(-0.12, 0.12), 0.66)], 0.16, pen.b)
    pen.limb([(0.45, 0.3), (0.74, 0.1 + neck)], 0.2, pen.b)
    pen.oval(0.77, 0.04 + neck, 0.21, 0.18, pen.b)
    pen.dome(-0.05, 0.38, 0.68, tall, pen.a)
    for x, y, size in ((-0.05, -0.1, 0.17), (-0.38, 0.1, 0.13), (0.28, 0.1, 0.13), (-0.05, 0.2, 0.1)):
        angle = rng.uniform(0, 60)
        pen.shape(
            [
                (x + size * math.cos(math.radians(angle + t)), y + size * math.sin(math.radians(angle + t)))
                for t in range(0, 360, 60)
            ],
            pen.c,
            0.02,
        )
    pen.limb([(-0.7, 0.4), (0.6, 0.4)], 0.08, pen.light)
    pen.eye(0.82, 0.0 + neck, 0.07)
    pen.smile(0.84, 0.1 + neck, 0.07)


def octopus(pen, rng):
    arms = rng.randint(5, 7)
    for arm in range(arms):
        x = -0.45 + 0.9 * arm / (arms - 1)
        out = x * rng.uniform(1.6, 2.1)
        pen.limb(
            [
                *curve((x * 0.8, 0.1), (x * 0.6, 0.7), (out * 0.8, 0.7 + rng.uniform(-0.1, 0.2)), 9),
                *curve((out * 0.85, 0.7), (out, 0.7), (out, rng.uniform(0.3, 0.6)), 6),
            ],
            0.13,
            pen.a,
        )
    pen.oval(0, -0.25, 0.56, rng.uniform(0.55, 0.68), pen.a)
    pen.dots(rng, 0, -0.55, 0.4, 0.25, pen.b, 6, 0.07)
    for side in (-1, 1):
        pen.eye(side * 0.2, -0.12, 0.13)
        pen.oval(side * 0.38, 0.08, 0.08, 0.05, pen.c, edge=0)
    pen.smile(0, 0.08, 0.13)


def robot(pen, rng):
    left, right = rng.uniform(-0.35, 0.5), rng.uniform(-0.35, 0.5)
    pen.line([(0, -0.6), (0, -0.88)], 0.05)
    pen.oval(0, -0.88, 0.09, 0.09, pen.c)
    for side, lift in ((-1, left), (1, right)):
        pen.limb([(side * 0.38, 0.1), (side * 0.66, 0.15 + lift * 0.4), (side * 0.78, 0.1 + lift)], 0.1, pen.b)
        pen.oval(side * 0.78, 0.1 + lift, 0.11, 0.11, pen.c)
        pen.limb([(side * 0.2, 0.5), (side * (0.2 + rng.uniform(0, 0.1)), 0.8)], 0.13, pen.b)
        pen.box(side * 0.26 - 0.16, 0.8, side * 0.26 + 0.16, 0.94, pen.c)
        pen.box(side * 0.5 - 0.08, -0.45, side * 0.5 + 0.08, -0.22, pen.c)
    pen.box(-0.4, -0.02, 0.4, 0.58, pen.a)
    pen.box(-0.47, -0.68, 0.47, -0.04, pen.a)
    pen.box(-0.36, -0.58, 0.36, -0.26, pen.light)
    for side in (-1, 1):
        pen.eye(side * 0.17, -0.42, 0.11)
    pen.line([(-0.2, -0.15), (0.2, -0.15)], 0.06)
    for button in range(rng.randint(1, 4)):
        pen.oval(-0.26 + 0.17 * button, 0.14, 0.06, 0.06, pen.c, edge=0.02)
    pen.box(-0.28, 0.28, rng.uniform(-0.1, 0.28), 0.42, pen.light, 0.025)


def house(pen, rng):
    tall, peak = rng.uniform(-0.2, 0.05), rng.uniform(-0.12, 0.12)
    side = rng.choice((-1, 1))
    pen.box(side * 0.42 - 0.1, -0.8, side * 0.42 + 0.1, -0.1, pen.c)
    for puff in range(rng.randint(0, 3)):
        pen.oval(side * (0.42 + 0.12 * puff), -0.86 - 0.05 * puff, 0.09 + 0.02 * puff, 0.08, WHITE, edge=0.02)
    pen.box(-0.62, tall, 0.62, 0.85, pen.a)
    pen.shape([(-0.82, tall + 0.04), (peak, -0.85), (0.82, tall + 0.04)], pen.b)
    door = rng.choice((-0.3, 0.0, 0.3))
    pen.box(door - 0.15, 0.32, door + 0.15, 0.85, pen.c)
    pen.oval(door + 0.08, 0.6, 0.03, 0.03, INK, edge=0)
    for x in (-0.36, 0.0, 0.36):
        if abs(x - door) > 0.32:
            pen.box(x - 0.14, 0.18, x + 0.14, 0.46, pen.light)
            pen.line([(x, 0.18), (x, 0.46)], 0.025)
            pen.line([(x - 0.14, 0.32), (x + 0.14, 0.32)], 0.025)
    pen.oval(peak * 0.7, -0.35, 0.12, 0.12, pen.light)


def boat(pen, rng):
    wind, lean = rng.uniform(0.35, 0.75), rng.uniform(-0.08, 0.08)
    pen.line([(0, 0.4), (lean, -0.85)], 0.07)
    pen.shape(
        [(0.06 + lean, -0.72), *curve((0.06 + lean, -0.72), (wind + 0.2, -0.2), (wind, 0.25)), (0.05, 0.25)], pen.b
    )
    if rng.random() < 0.75:
        pen.shape(
            [(-0.06 + lean, -0.55), *curve((-0.06 + lean, -0.55), (-0.5, -0.1), (-0.55, 0.25)), (-0.05, 0.25)],
            pen.light,
        )
    pen.shape([(lean, -0.92), (lean + rng.choice((-1, 1)) * 0.28, -0.82), (lean, -0.74)], pen.c)
    pen.shape([(-0.88, 0.34), (0.88, 0.34), (0.62, 0.76), (-0.58, 0.76)], pen.a)
    pen.line([(-0.74, 0.47), (0.74, 0.47)], 0.07, pen.c)
    for hole in range(rng.randint(0, 4)):
        pen.oval(-0.4 + 0.26 * hole, 0.6, 0.07, 0.07, pen.light, edge=0.02)
    pen.line([(x, 0.84 + 0.06 * math.sin(9 * x + 20 * lean)) for x in np.linspace(-0.95, 0.95, 40)], 0.07, WHITE)


def car(pen, rng):
    roof, back, front = rng.uniform(-0.5, -0.32), rng.uniform(-0.7, -0.5), rng.uniform(0.3, 0.5)
    pen.shape([(back, 0.05), (back + 0.16, roof), (front - 0.18, roof), (front + 0.1, 0.05)], pen.a)
    pen.shape([(back + 0.12, 0.02), (back + 0.23, roof + 0.1), (-0.12, roof + 0.1), (-0.12, 0.02)], pen.light, 0.025)
    pen.shape([(-0.04, 0.02), (-0.04, roof + 0.1), (front - 0.23, roof + 0.1), (front - 0.04, 0.02)], pen.light, 0.025)
    pen.shape(
        [
            (-0.92, 0.1),
            (-0.8, 0),
            (0.65, 0),
            *curve((0.65, 0.02), (0.95, 0.06), (0.95, 0.3)),
            (0.95, 0.46),
            (-0.92, 0.46),
        ],
        pen.a,
    )
    if rng.random() < 0.6:
        pen.line([(-0.85, 0.26), (0.9, 0.26)], 0.07, pen.b)
    pen.oval(0.84, 0.18, 0.07, 0.08, WHITE, edge=0.02)
    pen.box(-0.93, 0.12, -0.84, 0.24, pen.c, 0.02)
    pen.line([(-0.02, 0.14), (0.1, 0.14)], 0.04)
    for x in (-0.5, 0.52):
        size = rng.uniform(0.2, 0.24)
        pen.oval(x, 0.5, size, size, INK)
        pen.oval(x, 0.5, size * 0.5, size * 0.5, pen.c, edge=0)


def mushroom(pen, rng):
    lean, wide, low = rng.uniform(-0.12, 0.12), rng.uniform(0.7, 0.9), rng.uniform(0.0, 0.15)
    pen.shape(
        [
            *curve((-0.2, low), (-0.16, 0.5), (-0.32 + lean, 0.85)),
            *curve((-0.1, 0.95), (0.1, 0.95), (0.32 + lean, 0.85)),
            *curve((0.32 + lean, 0.85), (0.16, 0.5), (0.2, low)),
        ],
        pen.light,
    )
    pen.oval(0, low, wide * 0.94, 0.15, pen.b)
    pen.dome(0, low, wide, rng.uniform(0.75, 0.95), pen.a)
    for _ in range(rng.randint(3, 7)):
        x = rng.uniform(-0.6, 0.6) * wide
        size = rng.uniform(0.06, 0.13)
        pen.oval(x, low - 0.16 - rng.uniform(0, 0.5) * (1 - abs(x)), size, size * 0.85, WHITE, edge=0)
    for side in (-1, 1):
        pen.oval(side * 0.1 + lean * 0.5, 0.42, 0.04, 0.055, INK, edge=0)
    pen.smile(lean * 0.5, 0.52, 0.08)
    for _ in range(rng.randint(0, 4)):
        x = rng.uniform(-0.7, 0.7)
        pen.line([(x, 0.92), (x + rng.uniform(-0.1, 0.1), 0.74)], 0.05, pen.c)


def cactus(pen, rng):
    top = rng.uniform(-0.75, -0.5)
    for side in rng.choice(((-1, 1), (-1, 1), (-1,))):
        y = rng.uniform(-0.2, 0.2)
        pen.limb(
            [
                (0, y + 0.15),
                (side * 0.5, y + 0.12),
                (side * 0.55, y - 0.05),
                (side * 0.55, y - rng.uniform(0.25, 0.45)),
            ],
            0.2,
            pen.a,
        )
    pen.limb([(0, 0.6), (0, top)], 0.44, pen.a)
    for _ in range(rng.randint(5, 12)):
        x, y = rng.uniform(-0.16, 0.16), rng.uniform(top, 0.4)
        pen.line([(x - 0.035, y - 0.03), (x, y), (x + 0.035, y - 0.03)], 0.025)
    for turn in range(5):
        angle = 1.2566 * turn + 0.3
        pen.oval(0.12 * math.cos(angle), top - 0.2 + 0.1 * math.sin(angle), 0.07, 0.07, pen.c, edge=0.02)
    pen.shape([(-0.4, 0.52), (0.4, 0.52), (0.3, 0.95), (-0.3, 0.95)], pen.b)
    pen.box(-0.46, 0.42, 0.46, 0.58, pen.b)
    pen.dots(rng, 0, 0.75, 0.28, 0.14, pen.light, 4, 0.05)


def flower(pen, rng):
    petals, long, spin = rng.randint(5, 9), rng.uniform(0.26, 0.34), rng.uniform(0, 360)
    bend = rng.uniform(-0.3, 0.3)
    pen.limb(curve((0, -0.3), (bend, 0.3), (bend * 0.5, 0.92)), 0.08, pen.b)
    for side in rng.choice(((-1, 1), (-1,), (1,))):
        pen.oval(bend * 0.5 + side * 0.26, rng.uniform(0.4, 0.65), 0.26, 0.11, pen.b, side * rng.uniform(-50, -15))
    for petal in range(petals):
        angle = spin + 360 * petal / petals
        x, y = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        pen.oval(0.33 * x, -0.36 + 0.33 * y, long, 0.95 / petals + 0.03, pen.a, angle)
    pen.oval(0, -0.36, 0.24, 0.24, pen.c)
    for side in (-1, 1):
        pen.oval(side * 0.08, -0.4, 0.032, 0.045, INK, edge=0)
    pen.smile(0, -0.33, 0.08)


KINDS = {
    draw.__name__: draw
    for draw in (fish, bird, cat, snail, butterfly, turtle, octopus, robot, house, boat, car, mushroom, cactus, flower)
}


# Backgrounds: RGB pictures of 128 px


def blend(first, second, amount: np.ndarray) -> Image.Image:
    """Between two colours by `amount` (128, 128) in 0..1."""
    first, second = np.array(first, float), np.array(second, float)
    return Image.fromarray((first + (second - first) * amount[..., None]).astype(np.uint8))


def pair(rng: random.Random):
    """Two background colours: soft, dark or bold."""
    tone = rng.choice((((0.12, 0.4), (0.85, 1.0)), ((0.3, 0.6), (0.3, 0.55)), ((0.35, 0.6), (0.65, 0.95))))
    return colour(rng, *tone), colour(rng, *tone)


def ramp(rng: random.Random) -> np.ndarray:
    """(128, 128): the way along a random direction, 0 to 1."""
    turn = rng.uniform(0, 6.28)
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    return (x * math.cos(turn) + y * math.sin(turn)) / 2.83 + 0.5


def gradient(rng):
    return blend(*pair(rng), ramp(rng))


def clouds(rng):
    noise = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (rng.choice((5, 9, 17)),) * 2, np.uint8)
    smooth = Image.fromarray(noise).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return blend(*pair(rng), np.asarray(smooth) / 255)


def landscape(rng):
    scene = blend(*pair(rng), ramp(rng)).resize((SIZE * 2, SIZE * 2))
    pen = ImageDraw.Draw(scene)
    x, y, radius = rng.uniform(20, 236), rng.uniform(20, 100), rng.uniform(14, 34)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), colour(rng, (0.1, 0.5), (0.9, 1.0)))
    for level in (150, 190, 225):
        wave, shift, height = rng.uniform(0.01, 0.035), rng.uniform(0, 6), rng.uniform(8, 26)
        level += rng.uniform(-15, 15)
        hill = [(x, level + height * math.sin(wave * x + shift)) for x in range(0, 260, 4)]
        pen.polygon([*hill, (256, 256), (0, 256)], colour(rng, (0.25, 0.6), (0.45, 0.95)))
    return scene.resize((SIZE, SIZE), Image.Resampling.BOX)


SCENES = (gradient, gradient, clouds, landscape)


if __name__ == "__main__":
    write_zip(ASSETS / "creatures.zip", draw_creatures(), "WEBP")
    print(f"{ASSETS / 'creatures.zip'}: {(ASSETS / 'creatures.zip').stat().st_size:,} bytes")
