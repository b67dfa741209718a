"""The part `segment` of locate.py: overlap (IoU) of outlines learned from masks, strokes, boxes or tags with the true ones."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from locate_detect import ENCODER
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from byolmeta.decode import Limits, squares
from byolmeta.dense import patch_grid
from byolmeta.encoder import load_encoder
from byolmeta.features import untrained_for
from byolmeta.fewshot import mean_and_interval
from byolmeta.learners import Ridge, Support
from byolmeta.locate import upright
from byolmeta.segment import Mark, Picture, Settings, learn_basis, maps_of, teach_segmenter
from byolmeta.windows import Basis, main_directions

KEYS = ("set", "examples", "arm")
ARMS = (
    ENCODER,
    "class activation alone",
    "without edges and colours",
    "untrained",
    "raw pixels",
    "place alone",
    "centre",
    "GrabCut from true boxes",
)
TASKS = {
    "weizmann_horse": ("1 mask", "5 masks", "10 masks", "5 scribbles", "5 boxes", "20 tags"),
    "coco128": ("tags",),
}
SEEN = 96  # pixels of the longer side at which class activation looks
USUAL = 20  # pictures of the training part, without their masks
CLASS = 5  # pictures of coco128 that must show a class
TAGGED, ASKED = (
    20,
    5,
)  # of a class of coco128: pictures that are tagged, half of them with it; and that are asked, at most
PLAIN = Settings(turns=0, hold=1e6)  # the walk stays where it began


class Part:
    """The pictures of a set's part and their masks."""

    def __init__(self, images: Path, masks: Path):
        self.bytes, self.masks = [], []
        for path in sorted(images.glob("*.jpg")):
            mask = masks / f"{path.stem}.png"
            if mask.exists():
                self.bytes.append(path.read_bytes())
                self.masks.append(torch.from_numpy(np.array(Image.open(mask)).astype(np.int64)))

    def pictures(self, maps) -> list[Picture]:
        return [Picture(maps, upright(data)[0]) for data in self.bytes]

    def squares(self) -> np.ndarray:
        """As a store has them, uint8 (N, 3, 64, 64)."""
        return np.stack([squares(data, [64], Limits())[0] for data in self.bytes])


def overlap(found: Tensor, truth: Tensor) -> float:
    """Intersection over union of two masks, bool (H, W); 1 where both are empty."""
    union = (found | truth).sum()
    return float((found & truth).sum() / union) if union else 1.0


def rows(flags) -> Iterator[dict]:
    """One row for each set, kind of examples and arm."""
    arms = [arm for arm in ARMS if not flags.arms or arm in flags.arms.split(";")]
    coco = Part(flags.data / "coco128" / "images", flags.data / "coco128" / "semantic_masks")
    for name in TASKS:
        if flags.sets and name not in flags.sets.split(","):
            continue
        if name == "weizmann_horse":
            yield from horses(flags, arms, coco)
        else:
            yield from tagged(flags, [arm for arm in arms if arm in (*ARMS[:2], *ARMS[3:5])], coco)


def horses(flags, arms: Sequence[str], coco: Part) -> Iterator[dict]:
    """Horses: examples of the training part, overlap on the validation part; the mean over its pictures, then over draws."""
    shown, asked = (
        Part(flags.data / "weizmann_horse" / part / "images", flags.data / "weizmann_horse" / part / "masks")
        for part in ("train", "val")
    )
    names = json.loads((flags.data / "coco128" / "semantic_classes.json").read_text())
    horse = int(next(key for key, value in names.items() if value == "horse"))
    without = [row for row, mask in enumerate(coco.masks) if not (mask == horse).any()]
    yield from measured_horses(
        "weizmann_horse",
        shown,
        asked,
        coco,
        without,
        arms,
        flags.draws,
        [task for task in flags.tasks.split(";") if task],
    )


def measured_horses(
    name: str, shown: Part, asked: Part, coco: Part, without, arms, draws: int, tasks=None
) -> Iterator[dict]:
    """The rows of one set with a class; `without` are rows of coco128 that do not show it."""
    truths = [mask > 0 for mask in asked.masks]
    if ARMS[-1] in arms:
        found = [overlap(grabcut(data, truth), truth) for data, truth in zip(asked.bytes, truths, strict=True)]
        yield {"set": name, "examples": "true boxes of the asked pictures", "arm": ARMS[-1]} | figure([found])
    for arm in arms:
        if arm == ARMS[-1]:
            continue
        maps = maps_for(arm, shown)
        own, others, rest = shown.pictures(maps), asked.pictures(maps), coco.pictures(maps)
        settings = PLAIN if arm == "without edges and colours" else Settings()
        usual = np.linspace(0, len(own) - 1, USUAL).astype(int)
        basis = learn_basis([own[row] for row in usual], settings)
        for task in tasks or TASKS["weizmann_horse"]:
            if arm == "class activation alone" and "tag" not in task:
                continue
            found, seconds = [], []
            for draw in range(draws):
                marks, pictures = drawn(task, shown, own, rest, without, draw)
                segmenter = taught(arm, pictures, marks, basis, settings)
                answers = []
                for picture, truth in zip(others, truths, strict=True):
                    start = time.perf_counter()
                    answer = segmenter(picture)
                    seconds.append(time.perf_counter() - start)
                    answers.append(overlap(answer.labels == 1, truth))
                found.append(answers)
            speed = {"seconds_asked_again": round(float(np.median(seconds)), 4)}
            yield {"set": name, "examples": task, "arm": arm} | figure(found) | speed


def figure(found: Sequence[Sequence[float]]) -> dict:
    """Mean overlap over pictures and then draws (draws, pictures), with its 95 % interval over draws."""
    means = np.array(found).mean(1)
    mean, interval = mean_and_interval(means) if len(means) > 1 else (float(means[0]), None)
    return {"iou": round(mean, 4), "iou_ci95": None if interval is None else round(interval, 4)}


def drawn(task: str, part: Part, pictures, rest, without, seed: int) -> tuple[list[Mark], dict[int, Picture]]:
    """The marks of a draw and the pictures of their rows. Tags are half of pictures that have it, half of ones that do not."""
    random = np.random.default_rng(seed)
    count = int(task.split()[0])
    if "tag" in task:
        have = random.permutation(len(pictures))[: count // 2].tolist()
        lack = random.permutation(without)[: count - count // 2].tolist()
        marks = [Mark(row, has=True) for row in have] + [Mark(len(pictures) + row, has=False) for row in lack]
        return marks, {row: pictures[row] for row in have} | {len(pictures) + row: rest[row] for row in lack}
    rows, marks = random.permutation(len(pictures))[:count].tolist(), []
    for row in rows:
        mask = part.masks[row] > 0
        if "mask" in task:
            marks.append(Mark(row, mask=mask))
        elif "box" in task:
            marks.append(Mark(row, box=box_of(mask)))
        else:
            marks += scribbles(row, mask)
    return marks, {row: pictures[row] for row in rows}


def box_of(mask: Tensor) -> tuple[float, float, float, float]:
    """The smallest box around a mask: left, top, right, bottom."""
    y, x = mask.nonzero(as_tuple=True)
    return float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)


def scribbles(row: int, mask: Tensor, radius: float = 2.0) -> list[Mark]:
    """One stroke on the thing and up to two beside it, as a hand would draw them from a mask: three points each, joined where
    the line between two does not leave the side it is on.

    The points lie as deep as can be inside the side they are on, in columns at 20, 50 and 80 % of the thing's width, or of the
    picture's for the strokes above and below it.
    """
    inside = mask.numpy().astype(bool)
    left, _, right, _ = box_of(mask)
    depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    found = [
        Mark(row, front=part, radius=radius)
        for part in joined(deepest(depth, left + (right - left) * np.array([0.2, 0.5, 0.8])), inside)
    ]
    depth, half = distance_transform_edt(~inside), len(inside) // 2
    columns = inside.shape[1] * np.array([0.2, 0.5, 0.8])
    for rows in (slice(0, half), slice(half, None)):
        part = np.zeros_like(depth)
        part[rows] = depth[rows]
        found += [Mark(row, back=points, radius=radius) for points in joined(deepest(part, columns), ~inside)]
    return found


def deepest(depth: np.ndarray, columns: np.ndarray) -> list[tuple[float, float]]:
    """The deepest point of each column (x, y); columns of depth 0 give none."""
    points = []
    for x in columns.astype(int).clip(0, depth.shape[1] - 1).tolist():
        y = int(depth[:, x].argmax())
        if depth[y, x] > 0:
            points.append((x + 0.5, y + 0.5))
    return points


def joined(points: list[tuple[float, float]], side: np.ndarray) -> list[tuple[tuple[float, float], ...]]:
    """Strokes of points in a row, split where the straight line between two leaves its side, bool (H, W)."""
    strokes = [[points[0]]] if points else []
    for before, after in zip(points, points[1:], strict=False):
        line = np.linspace(before, after, 50).astype(int)
        if side[line[:, 1], line[:, 0]].all():
            strokes[-1].append(after)
        else:
            strokes.append([after])
    return [tuple(stroke) for stroke in strokes]


def taught(arm: str, pictures: dict[int, Picture], marks: list[Mark], basis, settings: Settings):
    """The segmenter of an arm."""
    if arm == "centre":
        return centre_of(marks, pictures)
    if arm == "class activation alone":
        return activated(pictures, marks)
    segmenter = teach_segmenter(None, pictures, marks, basis=basis, settings=settings)
    if arm == "place alone":
        finders = tuple(
            replace(one, predict=lambda vectors: vectors.new_zeros(len(vectors), 2)) for one in segmenter.finders
        )
        return replace(segmenter, finders=finders, settings=replace(settings, turns=0))
    return segmenter


def activated(pictures: dict[int, Picture], marks: Sequence[Mark]):
    """Class activation (Zhou et al. 2016, arXiv 1512.04150): a ridge tells the means of the tagged pictures' maps apart, and
    the parts for which it speaks most, a share of each picture, are the thing; no edges, colours, place or second look."""
    settings = Settings()
    features = {mark.row: pictures[mark.row].features(settings, SEEN).float() for mark in marks}
    cells = torch.cat([each.flatten(1).T for each in features.values()])
    basis = Basis(*main_directions(cells, cells.shape[1], settings.damping))
    means = torch.stack([basis(features[mark.row]).mean((1, 2)) for mark in marks])
    labels = torch.tensor([int(mark.has) for mark in marks])
    for step in Ridge(penalty=settings.penalty * len(marks)).adapt(nn.Identity(), Support(means, labels, 2)):
        pass

    def outlined(picture: Picture) -> SimpleNamespace:
        cells = basis(picture.features(settings, SEEN).float())
        scores = step.predict(cells.flatten(1).T)
        active = (scores[:, 1] - scores[:, 0]).reshape(1, 1, *cells.shape[1:])
        active = F.interpolate(active, size=(picture.height, picture.width), mode="bilinear", antialias=True)[0, 0]
        return SimpleNamespace(labels=(active > active.flatten().quantile(1 - settings.shown)).long())

    return outlined


def centre_of(marks: Sequence[Mark], pictures: dict[int, Picture]):
    """An ellipse in the middle of every picture, of the shape of the picture and of the examples' mean size; of tags, a half."""
    shares = [float(mark.mask.float().mean()) for mark in marks if mark.mask is not None] or [
        (m.box[2] - m.box[0]) * (m.box[3] - m.box[1]) / pictures[m.row].width / pictures[m.row].height * np.pi / 4
        for m in marks if m.box is not None
    ] or [0.5]  # fmt: skip
    reach = float(np.mean(shares)) * 4 / np.pi

    def found(picture: Picture) -> SimpleNamespace:
        y, x = np.ogrid[: picture.height, : picture.width]
        away = ((x + 0.5) / picture.width * 2 - 1) ** 2 + ((y + 0.5) / picture.height * 2 - 1) ** 2
        return SimpleNamespace(labels=torch.from_numpy((away <= reach).astype(np.int64)))

    return found


def grabcut(data: bytes, truth: Tensor) -> Tensor:
    """OpenCV's GrabCut, 5 turns, from the smallest box around the true mask, bool (H, W)."""
    import cv2

    image = np.ascontiguousarray(upright(data)[0].permute(1, 2, 0).numpy()[..., ::-1])
    left, top, right, bottom = (int(value) for value in box_of(truth))
    mask = np.full(truth.shape, cv2.GC_BGD, np.uint8)
    mask[top:bottom, left:right] = cv2.GC_PR_FGD
    cv2.setRNGSeed(0)
    cv2.grabCut(image, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    return torch.from_numpy((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD))


def tagged(flags, arms: Sequence[str], part: Part) -> Iterator[dict]:
    """Classes of coco128 from tags alone. The overlap of a class is that of all asked pictures, which have it, together."""
    names = json.loads((flags.data / "coco128" / "semantic_classes.json").read_text())
    shows = {c: [row for row, mask in enumerate(part.masks) if (mask == c).any()] for c in map(int, names) if c}
    shows = {c: rows for c, rows in shows.items() if len(rows) >= CLASS}
    for arm in arms:
        maps = maps_for(arm, part)
        pictures = part.pictures(maps)
        settings = Settings()
        basis = learn_basis(pictures, settings)
        found = np.array([
            [tagged_class(part, pictures, rows, c, basis, settings, draw, arm) for c, rows in shows.items()]
            for draw in range(flags.draws)
        ])  # fmt: skip
        by_class = {names[str(c)]: round(float(value), 4) for c, value in zip(shows, found.mean(0), strict=True)}
        yield {"set": "coco128", "examples": "tags", "arm": arm} | figure(found) | {"iou_by_class": by_class}


def tagged_class(
    part: Part, pictures, rows: Sequence[int], c: int, basis, settings: Settings, seed: int, arm: str
) -> float:
    """The overlap of one class in one draw."""
    random = np.random.default_rng(seed)
    have = random.permutation(rows).tolist()
    lack = random.permutation([row for row in range(len(pictures)) if row not in set(rows)])[: TAGGED // 2].tolist()
    asked = min(ASKED, len(have) // 2)
    marks = [Mark(row, has=True) for row in have[asked:][: TAGGED // 2]] + [Mark(row, has=False) for row in lack]
    segmenter = taught(arm, pictures, marks, basis, settings)
    both = either = 0
    for row in have[:asked]:
        answer, truth = segmenter(pictures[row]).labels == 1, part.masks[row] == c
        both, either = both + int((answer & truth).sum()), either + int((answer | truth).sum())
    return both / either


def maps_for(arm: str, shown: Part):
    """The features of an arm."""
    if arm == "raw pixels":
        return pixel_maps
    if arm == "untrained":
        return maps_of(untrained_for(f"untrained:{ENCODER}", SimpleNamespace(pixels=shown.squares(), size=64)))
    return maps_of(load_encoder(ENCODER))


def pixel_maps(image: Tensor, side: int, patch: int = 8) -> Tensor:
    """Patches of 24 x 24 pixels around each cell of 8, shrunk to 6 x 6, (108, h, w)."""
    h, w = patch_grid(*image.shape[1:], side, patch)
    small = F.interpolate(image[None].float() / 255, size=(2 * h, 2 * w), mode="bilinear", antialias=True)
    return F.unfold(small, 6, padding=2, stride=2).reshape(108, h, w)
