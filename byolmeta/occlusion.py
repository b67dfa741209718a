"""Which parts of a picture speak for an answer: occlusion sensitivity (Zeiler and Fergus 2014, arXiv 1311.2901).

A part is hidden behind its own blur, the learner is asked again, and the change of its scores says what the part said.
Nothing of the learner or the encoder is looked into, so it holds for all of them, baselines and adapted networks alike.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from byolmeta.episodes import Tasks
from byolmeta.measure import Candidate

CELLS = 8  # of the heat map, a side
COVER = 3  # cells that a cover hides, a side
ORANGE, BLUE = (213, 94, 0), (0, 114, 178)  # Okabe and Ito's


@dataclass(frozen=True)
class Occlusion:
    """What the parts of a picture say in one task; classes are the task's numbers."""

    said: int  # the class that the picture is answered with
    against: int  # the true one; where that was said, the next best
    scores: np.ndarray  # float32 (way,), shares that sum to 1
    heat: np.ndarray  # float32 (CELLS, CELLS), log-odds: above 0 a part speaks for `said`, below for `against`
    covers: int  # that were tried
    turned: int  # those with which the answer became `against`


def covers_of(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture, uint8 (3, S, S), under each cover, uint8 (P, 3, S, S), and which cells each hides, bool (P, CELLS, CELLS).

    Covers overhang, so every cell is hidden as often. They blur with soft edges, which would be parts of their own.
    """
    size = picture.shape[-1]
    image = _image(picture)
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(size / 5)), np.float32)
    sharp, ends = np.asarray(image, np.float32), np.linspace(0, size, CELLS + 1).round().astype(int)
    found, cells = [], []
    for top, left in itertools.product(range(1 - COVER, CELLS), repeat=2):
        hidden = np.zeros((CELLS, CELLS), bool)
        hidden[max(0, top) : top + COVER, max(0, left) : left + COVER] = True
        mask = np.repeat(np.repeat(hidden, np.diff(ends), 0), np.diff(ends), 1)
        soft = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(size / 64)))
        mixed = sharp + (blurred - sharp) * (soft[..., None] / np.float32(255))
        found.append(mixed.round().astype(np.uint8).transpose(2, 0, 1))
        cells.append(hidden)
    return np.stack(found), np.stack(cells)


def occlusion(one: Candidate, store, tasks: Tasks, number: int, row: int) -> Occlusion:
    """What the parts of the picture in a row of the store say in task `number`, which asks for it."""
    task = tasks.part(slice(number, number + 1))
    truth = int(task.query_labels[0, np.flatnonzero(task.query[0] == row)[0]])
    return occluded(np.array(store.pixels[row]), lambda pictures: one.scores(task, pictures), truth)


def occluded(picture: np.ndarray, scores_of: Callable[[np.ndarray], np.ndarray], truth: int | None = None) -> Occlusion:
    """What the parts of a picture, uint8 (3, S, S), say; `scores_of` pictures (P, 3, S, S) are logits (P, way).

    Without a `truth` the answer is told from the next best.
    """
    covered, cells = covers_of(picture)
    return read_covers(scores_of(np.concatenate([picture[None], covered])), cells, truth)


def read_covers(scores: np.ndarray, cells: np.ndarray, truth: int | None = None) -> Occlusion:
    """What the parts say, from logits of the picture and of its covered ones, (1 + P, way); `cells` as `covers_of` has them."""
    scores = scores.astype(np.float64)
    order = np.argsort(-scores[0], kind="stable")
    said = int(order[0])
    against = int(order[1]) if truth in (None, said) else truth
    lead = scores[:, said] - scores[:, against]  # log-odds, as the scores are logits
    shares = np.exp(scores[0] - scores[0].max())
    turned = int((scores[1:].argmax(1) == against).sum())
    shares = (shares / shares.sum()).astype(np.float32)
    return Occlusion(said, against, shares, heat_of(lead, cells), len(cells), turned)


def heat_of(values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """By how much a value (1 + P,), that of the whole picture first, falls where parts are hidden: float32 (CELLS, CELLS)."""
    return (((values[0] - values[1:])[:, None, None] * cells).sum(0) / cells.sum(0)).astype(np.float32)


def panels(picture: np.ndarray, heat: np.ndarray, side: int = 256) -> Image.Image:
    """A picture, uint8 (3, S, S), and beside it the same in grey under its heat: orange speaks for the answer, blue against."""
    both = Image.new("RGB", (2 * side, side))
    both.paste(_image(picture).resize((side, side), Image.BICUBIC), (0, 0))
    both.paste(under_heat(picture, heat, side), (side, 0))
    return both


def under_heat(
    picture: np.ndarray, heat: np.ndarray, side: int, above: tuple = ORANGE, below: tuple = BLUE
) -> Image.Image:
    """A picture, uint8 (3, S, S), in grey under its heat: in one colour above 0, in another below."""
    plain = _image(picture).resize((side, side), Image.BICUBIC)
    smooth = Image.fromarray(heat / max(float(np.abs(heat).max()), 1e-12)).resize((side, side), Image.BICUBIC)
    amount = np.asarray(smooth)[..., None].clip(-1, 1)
    pale = 90 + np.asarray(plain.convert("L"), np.float32)[..., None] * (165 / 255)  # so that both colours show
    colour = np.where(amount > 0, np.array(above, np.float32), np.array(below, np.float32))
    return Image.fromarray((pale + (colour - pale) * np.abs(amount) * 0.72).round().astype(np.uint8))


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
