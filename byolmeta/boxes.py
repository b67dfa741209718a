"""Boxes: where to look for things, what shape they have, and how well found ones agree with true ones.

A box is [left, top, right, bottom] in pixels of its picture, float32; a table of them is (N, 4).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

STRIDE = 1 / 3  # steps of a window, as a share of its width and height
MOST = 100  # boxes of a picture that count, the surest first, as COCO has it
RECALLS = np.linspace(0, 1, 101)  # at which COCO reads precision
COCO = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())  # overlaps (IoU) that AP is the mean over


def windows(width: int, height: int, sizes: Sequence[float], aspects: Sequence[float]) -> Tensor:
    """Windows of every size and aspect all over a picture, (N, 4).

    A size is the root of the area as a share of the picture's own; an aspect is width / height. What would stick out is cut
    to the picture's width or height, and left out where that changes it by more than a sixth.
    """
    root, found = math.sqrt(width * height), [torch.zeros(0, 4)]
    for size in sizes:
        for aspect in aspects:
            w, h = size * root * math.sqrt(aspect), size * root / math.sqrt(aspect)
            if w > 1.2 * width or h > 1.2 * height:
                continue
            w, h = min(w, width), min(h, height)
            left, top = _places(width, w), _places(height, h)
            corners = torch.cartesian_prod(left, top)
            found.append(torch.cat([corners, corners + torch.tensor([w, h])], 1))
    return torch.cat(found)


def _places(length: float, part: float) -> Tensor:
    """Where parts of a length begin, evenly from end to end, at most STRIDE of a part from one to the next."""
    return torch.linspace(0, length - part, 1 + math.ceil((length - part) / (STRIDE * part) - 1e-6))


def geometry(boxes: Tensor, width: int, height: int) -> Tensor:
    """Where boxes lie and how large they are, (N, 4): middle as shares of width and height, logarithms of the root of the
    area as a share of the picture's, and of width / height."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp_min(1e-3)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 / boxes.new_tensor([width, height])
    size = (sides.prod(1) / (width * height)).log() / 2
    return torch.cat([middle, size[:, None], (sides[:, :1] / sides[:, 1:]).log()], 1)


def clipped(boxes: Tensor, width: int, height: int) -> Tensor:
    """Boxes cut to their picture."""
    return torch.minimum(boxes.clamp_min(0), boxes.new_tensor([width, height, width, height]))


def average_precision(
    found: Sequence[tuple[Tensor, Tensor]], truth: Sequence[Tensor], overlaps: Sequence[float] = COCO
) -> np.ndarray:
    """COCO's average precision of one class at each overlap (IoU), float (len(overlaps),).

    found: boxes (K, 4) and scores (K,) of each picture; truth: boxes (G, 4) of each. The surest box takes first, of the true
    ones still free, the one that it overlaps most. Precision is made to fall with recall and read at 101 recalls. NaN where
    there is no true box.
    """
    count = sum(map(len, truth))
    if not count:
        return np.full(len(overlaps), np.nan)
    scores, right = [np.zeros(0)], [np.zeros((len(overlaps), 0), bool)]
    for (boxes, sure), real in zip(found, truth, strict=True):
        order = torch.argsort(sure, descending=True, stable=True)[:MOST]
        scores.append(sure[order].double().numpy())
        right.append(_matches(box_iou(boxes[order].double(), real.double()).numpy(), overlaps))
    scores, right = np.concatenate(scores), np.concatenate(right, 1)
    right = right[:, np.argsort(-scores, kind="stable")]
    hits = right.cumsum(1)
    recall, precision = hits / count, hits / np.arange(1, hits.shape[1] + 1)
    precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    read = np.zeros((len(overlaps), len(RECALLS)))
    for row in range(len(overlaps)):
        place = np.searchsorted(recall[row], RECALLS, side="left")
        reached = place < hits.shape[1]
        read[row, reached] = precision[row, place[reached]]
    return read.mean(1)


def _matches(overlap: np.ndarray, least: Sequence[float]) -> np.ndarray:
    """Which boxes, surest first, take a true one: bool (len(least), K), of their overlaps (K, G)."""
    taken = np.zeros((len(least), len(overlap)), bool)
    for row, bound in enumerate(least):
        free = overlap.copy()
        for box in range(len(overlap)) if overlap.shape[1] else ():
            best = free[box].argmax()
            if free[box, best] >= bound:
                taken[row, box] = True
                free[:, best] = -1
    return taken
