"""Which shipped encoder suits which pictures."""

import contextlib

import numpy as np

from byolmeta.errors import InputError
from byolmeta.files import find_encoder, read_card, starters

LOOKED_AT = 64  # pictures
GREY = 0.04  # mean difference of a picture's brightest and darkest channel, up to which it has no colours
NEAR = 0.12  # difference of brightness up to which a point is bare paper
BARE = 0.35  # share of a drawing that is bare paper, at least
DRAWN = 0.8  # share of the pictures that are drawings, at least


def kind_of(pixels: np.ndarray) -> str:
    """'drawings' when nearly all of some pictures, uint8 (N, 3, S, S), are ink on the same plain paper, else 'photos'.

    Paper is the brightest or darkest tone of a picture, what more of it has. Grey photos have plain grounds too, but
    each its own.
    """
    rows = np.unique(np.linspace(0, len(pixels) - 1, min(len(pixels), LOOKED_AT)).astype(int))
    x = np.asarray(pixels[rows], np.float32) / 255
    grey, chroma = x.mean(1), (x.max(1) - x.min(1)).mean((1, 2))
    ends = np.quantile(grey, (0.02, 0.98), axis=(1, 2))  # (2, N)
    shares = np.stack([(np.abs(grey - end[:, None, None]) < NEAR).mean((1, 2)) for end in ends])
    paper = np.where(shares[0] > shares[1], *ends)
    same = np.abs(paper - np.median(paper)) < NEAR
    return "drawings" if (same & (chroma < GREY) & (shares.max(0) > BARE)).mean() >= DRAWN else "photos"


def suggest(kind: str) -> str | None:
    """Name of the starter for a kind of pictures: the smallest made for it, with a GPU the largest.

    Where none is made for it, one for photos, which are the more varied; None where nothing is shipped.
    """
    found = {}
    for name in starters():
        path = find_encoder(name)
        with contextlib.suppress(InputError):  # a damaged file
            found.setdefault(read_card(path).get("kind", "photos"), []).append((path.stat().st_size, name))
    fitting = sorted(found.get(kind) or found.get("photos") or [])
    if len(fitting) < 2:
        return fitting[0][1] if fitting else None
    from byolmeta.devices import choose_device  # torch is slow to import, and mostly there is no choice

    return fitting[0 if choose_device("auto") == "cpu" else -1][1]
