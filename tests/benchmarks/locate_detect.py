"""The part `detect` of locate.py: average precision of boxes found from 1 to 10 drawn ones."""

import copy
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from byolmeta.boxes import COCO, average_precision
from byolmeta.decode import Limits, squares
from byolmeta.dense import patch_grid
from byolmeta.detect import Detector, Example, Finder, maps_of, teach_detector
from byolmeta.encoder import load_encoder
from byolmeta.features import untrained_for
from byolmeta.fewshot import mean_and_interval
from byolmeta.locate import SIDE, larger, upright
from byolmeta.windows import View, learn_ground

KEYS = ("set", "examples", "arm")
ENCODER = "photos-small"
SHEET = "bccd sheets"  # 16 pictures on one of 2,560 x 1,920 pixels: small things on large pictures
ARMS = (ENCODER, "without tiles", "untrained", "raw pixels", "colour histogram", "shape and place alone", "centre")
TASKS = {"raccoon": (1, 5, 10), "bccd": (5,), "coco128": (5,), SHEET: (5,)}
GROUND = 20  # pictures of the training part, without their boxes
DRAWN = 16  # pixels that a box has at least each way to be drawn as an example
PICTURES = 10  # that must show a class of coco128
WITH, WITHOUT = (
    15,
    10,
)  # pictures of coco128 that are asked for each draw: that show the class, at most, and that do not


class Part:
    """The pictures of a set's part with their true boxes."""

    def __init__(self, data: Path, name: str, part: str):
        found = json.loads((data / name / ("boxes_coco.json" if name == "coco128" else f"{part}.json")).read_text())
        folder = data / name / ("images" if name == "coco128" else "")
        place = {image["id"]: row for row, image in enumerate(found["images"])}
        self.names = [kind["name"] for kind in found["categories"]]
        ids = [kind["id"] for kind in found["categories"]]
        self.bytes = [(folder / image["file_name"]).read_bytes() for image in found["images"]]
        self.boxes: list[list[Tensor]] = [[torch.zeros(0, 4) for _ in ids] for _ in place]  # of each picture and class
        for note in found["annotations"]:
            left, top, width, height = note["bbox"]
            box = torch.tensor([[left, top, left + width, top + height]])
            own = self.boxes[place[note["image_id"]]]
            own[ids.index(note["category_id"])] = torch.cat([own[ids.index(note["category_id"])], box])

    def views(self, maps, tiles: bool = True) -> list[View]:
        found = []
        for data in self.bytes:
            pixels, scale = upright(data)
            found.append(View(maps, pixels, larger(lambda data=data: data, pixels, scale) if tiles else None))
        return found

    def sheets(self, columns: int = 4, width: int = 640, height: int = 480) -> "Part":
        """So many rows and columns of pictures as one; boxes in pixels of what `upright` makes of it."""
        part, each = copy.copy(self), columns * columns
        part.bytes, part.boxes = [], []
        for first in range(0, len(self.bytes) - each + 1, each):
            sheet, boxes = Image.new("RGB", (columns * width, columns * height)), [[] for _ in self.names]
            for place, data in enumerate(self.bytes[first : first + each]):
                image = Image.open(io.BytesIO(data)).convert("RGB")
                corner = (width * (place % columns), height * (place // columns))
                sheet.paste(image.resize((width, height)), corner)
                scale = torch.tensor([width / image.width, height / image.height]).repeat(2)
                for own, found in zip(boxes, self.boxes[first + place], strict=True):
                    own.append((found * scale + torch.tensor(corner).repeat(2)) * SIDE / (columns * width))
            file = io.BytesIO()
            sheet.save(file, "JPEG", quality=92)
            part.bytes.append(file.getvalue())
            part.boxes.append([torch.cat(own) for own in boxes])
        return part

    def squares(self) -> np.ndarray:
        """As a store has them, uint8 (N, 3, 64, 64)."""
        return np.stack([squares(data, [64], Limits())[0] for data in self.bytes])


def rows(flags) -> Iterator[dict]:
    """One row for each set, number of examples and arm."""
    for name, shots in TASKS.items():
        if flags.sets and name not in flags.sets.split(","):
            continue
        shown = Part(flags.data, name.split()[0], "train")
        asked = shown if name == "coco128" else Part(flags.data, name.split()[0], "test")
        if name == SHEET:
            shown, asked = shown.sheets(), asked.sheets()
        arms = [arm for arm in ARMS if not flags.arms or arm in flags.arms.split(";")]
        arms = [arm for arm in arms if (arm in ARMS[:2] if name == SHEET else arm != ARMS[1])]
        for arm in arms:
            maps = maps_for(ENCODER if arm in (ARMS[1], *ARMS[-2:]) else arm, shown)
            views = shown.views(maps, arm != ARMS[1])
            ground = learn_ground([views[row] for row in np.linspace(0, len(views) - 1, GROUND).astype(int)])
            others = views if asked is shown else asked.views(maps, arm != ARMS[1])
            for shot in shots:
                yield measured(arm, name, shot, flags.draws, shown, asked, views, others, ground)


def measured(arm: str, name: str, shot: int, draws: int, shown: Part, asked: Part, views, others, ground) -> dict:
    """AP50 and AP of every class, means over draws with their 95 % intervals."""
    classes = [
        c
        for c in range(len(shown.names))
        if sum(len(drawable(own[c])) > 0 for own in shown.boxes) >= min(PICTURES, len(shown.boxes) // 2)
    ]
    found, seconds = [], []
    for draw in range(draws):
        figures = []
        if name == "coco128":  # classes one by one: 5 boxes of each of many would leave few pictures
            for c in classes:
                examples = drawn(shown, [c], shot, draw)
                rows = asked_for(asked, c, {example.row for example in examples}, draw)
                figures += figures_of(arm, examples, [c], asked, views, others, rows, ground, seconds)
        else:
            examples = drawn(shown, classes, shot, draw)
            figures = figures_of(arm, examples, classes, asked, views, others, range(len(others)), ground, seconds)
        found.append(figures)
    found = np.array(found)  # draws, classes, overlaps
    ap50, ap = mean_and_interval(found[:, :, 0].mean(1)), mean_and_interval(found.mean((1, 2)))
    by_class = {shown.names[c]: round(float(v), 4) for c, v in zip(classes, found[:, :, 0].mean(0), strict=True)}
    return {
        "set": name, "examples": shot, "arm": arm, "ap50": round(ap50[0], 4), "ap50_ci95": round(ap50[1], 4),
        "ap": round(ap[0], 4), "ap_ci95": round(ap[1], 4), "ap50_by_class": by_class,
        "seconds_asked_again": round(float(np.median(seconds)), 4),
    }  # fmt: skip


def asked_for(part: Part, c: int, shown: set[int], seed: int) -> list[int]:
    """Rows, by chance, of WITH pictures that have the class (or all there are) and of WITHOUT that do not; none was shown."""
    rows = [row for row in np.random.default_rng(1000 + seed).permutation(len(part.boxes)).tolist() if row not in shown]
    return [row for row in rows if len(part.boxes[row][c])][:WITH] + [
        row for row in rows if not len(part.boxes[row][c])
    ][:WITHOUT]


def drawn(part: Part, classes: list[int], shot: int, seed: int) -> list[Example]:
    """Boxes of `shot` different pictures for each class, one a picture, by chance, of those large enough to draw."""
    random, found = np.random.default_rng(seed), []
    for label, c in enumerate(classes):
        boxes = {row: fit for row, own in enumerate(part.boxes) if len(fit := drawable(own[c]))}
        rows = random.permutation(list(boxes))[:shot].tolist()
        found += [Example(row, tuple(random.choice(boxes[row].numpy()).tolist()), label) for row in rows]
    return found


def drawable(boxes: Tensor) -> Tensor:
    return boxes[(boxes[:, 2:] - boxes[:, :2]).amin(1) >= DRAWN]


def figures_of(arm, examples, classes, asked: Part, views, others, rows, ground, seconds: list) -> list[np.ndarray]:
    """Average precision (10 overlaps) of each class on the pictures in some rows."""
    detector = centre_of(examples, views) if arm == "centre" else teach_detector(None, views, examples, ground=ground)
    if arm == "shape and place alone":
        detector = Detector(None, ground, tuple(shape_alone(finder) for finder in detector.finders))
    answers = []
    for row in rows:
        start = time.perf_counter()
        answers.append(detector(others[row]))
        seconds.append(time.perf_counter() - start)
    found = []
    for label, c in enumerate(classes):
        own = [(one.boxes[one.labels == label], one.scores[one.labels == label]) for one in answers]
        truth = [asked.boxes[row][c] for row in rows]
        figures = average_precision(own, truth, COCO)
        found.append(np.zeros(len(COCO)) if np.isnan(figures).any() else figures)
    return found


def shape_alone(finder: Finder) -> Finder:
    """A finder that looks at nothing: boxes where examples usually lie."""
    blind = SimpleNamespace(settings=finder.ground.settings, vectors=lambda view, boxes: torch.zeros(len(boxes), 1))
    return Finder(blind, finder.shapes, lambda vectors: vectors.new_zeros(len(vectors), 2))


def centre_of(examples, views):
    """One box a class in the middle of every picture, of the examples' mean width and height as shares of the picture's."""
    labels = sorted({example.label for example in examples})
    shares = []
    for label in labels:
        own = [example for example in examples if example.label == label]
        sides = [((e.box[2] - e.box[0]) / views[e.row].width, (e.box[3] - e.box[1]) / views[e.row].height) for e in own]
        shares.append(torch.tensor(sides).mean(0))

    def found(view: View):
        size = torch.tensor([view.width, view.height]).float()
        boxes = torch.stack([torch.cat([size * (1 - share) / 2, size * (1 + share) / 2]) for share in shares])
        return SimpleNamespace(boxes=boxes, scores=torch.ones(len(labels)), labels=torch.tensor(labels))

    return found


def maps_for(arm: str, shown: Part):
    """The features of an arm."""
    if arm == "raw pixels":
        return pixel_maps
    if arm == "colour histogram":
        return histogram_maps
    if arm == "untrained":
        return maps_of(untrained_for(f"untrained:{ENCODER}", SimpleNamespace(pixels=shown.squares(), size=64)))
    return maps_of(load_encoder(ENCODER))


def pixel_maps(image: Tensor, side: int, patch: int = 16) -> Tensor:
    """Patches shrunk to 4 x 4, (48, h, w)."""
    h, w = patch_grid(*image.shape[1:], side, patch)
    small = F.interpolate(image[None].float() / 255, size=(4 * h, 4 * w), mode="bilinear", antialias=True)
    return F.pixel_unshuffle(small, 4)[0]


def histogram_maps(image: Tensor, side: int, patch: int = 16, bins: int = 4) -> Tensor:
    """Root of the share of a patch's points in each cell of colour space, (64, h, w)."""
    h, w = patch_grid(*image.shape[1:], side, patch)
    points = F.interpolate(image[None].float(), size=(8 * h, 8 * w), mode="bilinear", antialias=True)[0]
    red, green, blue = (points.clamp(0, 255) * bins / 256).long()
    cells = F.one_hot((red * bins + green) * bins + blue, bins**3).permute(2, 0, 1).float()
    return F.avg_pool2d(cells[None], 8)[0].sqrt()
