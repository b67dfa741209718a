"""Why a taught classifier answers a picture as it does: the examples it is most like, and the parts they have in common.

Parts are found by hiding them (see occlusion.py), so what is shown is what the answer depends on, whatever the encoder.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from byolmeta.classifier import Classifier
from byolmeta.occlusion import Occlusion, covers_of, heat_of, read_covers

OWN, OTHERS = 3, 2  # examples that are shown of the class that was said, and of the one that comes next


@dataclass(frozen=True)
class Match:
    """An example that a picture is like, and by which parts of either."""

    place: int  # among the classifier's examples
    label: int
    near: float  # cosine of the two vectors, both from the folder's mean
    here: np.ndarray  # float32 (CELLS, CELLS): by how much hiding a part of the picture takes from `near`
    there: np.ndarray  # float32 (CELLS, CELLS): the same of the example's parts
    without: float | None  # share of the answer if this example did not count; None where that would be all of a class


@dataclass(frozen=True)
class Why:
    """Why a picture is answered so. Shares are among the classes, whether or not it is of one of them."""

    answer: Occlusion
    matches: list[Match]  # those of the class that was said first, the nearest first


def nearest(classifier: Classifier, vector: Tensor, said: int, against: int) -> list[int]:
    """Places of the examples that a picture, (D,), is most like: OWN of the class said, OTHERS of the one against."""
    near = _cosines(classifier, vector[None], classifier.vectors)[0].numpy()
    found = []
    for label, count in ((said, OWN), (against, OTHERS)):
        places = np.flatnonzero(classifier.labels == label)
        found += places[np.argsort(-near[places], kind="stable")][:count].tolist()
    return found


def explain(
    classifier: Classifier,
    vectors_of: Callable[[np.ndarray], Tensor],
    picture: np.ndarray,
    examples: np.ndarray,
    retaught: Callable[[int], Classifier] | None = None,
    truth: int | None = None,
) -> Why:
    """Why the classifier answers a picture, uint8 (3, S, S), as it does.

    `vectors_of` turns pictures (P, 3, S, S) into vectors (P, D); `examples` (n, 3, S, S) are those it was taught with.
    `retaught` teaches without the example in a place. Against the class `truth`; where that was said or is not known,
    the next best.
    """
    covered, cells = covers_of(picture)
    seen = vectors_of(np.concatenate([picture[None], covered]))
    with torch.no_grad():
        found = read_covers(classifier.chances(seen)[0].clamp_min(1e-30).log().numpy(), cells, truth)
    matches = []
    for place in nearest(classifier, seen[0], found.said, found.against):
        hidden, where = covers_of(examples[place])
        shown = vectors_of(np.concatenate([examples[place][None], hidden]))
        here = _cosines(classifier, seen, classifier.vectors[place][None])[:, 0]
        there = _cosines(classifier, seen[:1], shown)[0]
        without = None
        if retaught and (classifier.labels == classifier.labels[place]).sum() > 1:
            with torch.no_grad():
                without = float(retaught(place).chances(seen[:1])[0][0, found.said])
        maps = heat_of(here.numpy(), cells), heat_of(there.numpy(), where)
        matches.append(Match(place, int(classifier.labels[place]), float(here[0]), *maps, without))
    return Why(found, matches)


def _cosines(classifier: Classifier, first: Tensor, second: Tensor) -> Tensor:
    """Cosines (A, B) of vectors (A, D) and (B, D), from the folder's mean."""
    centre = classifier.member.centre
    first, second = (nn.functional.normalize(each - centre, dim=1) for each in (first, second))
    return first @ second.T
