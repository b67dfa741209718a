"""A picture of any shape -> one vector for each of its patches, in the space of the vectors of whole pictures.

`Encoder.vectors` reads the means of the last two stages' maps by a linear map, so what a patch adds to them is the same
reading of the maps at that patch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from byolmeta.encoder import Encoder

SIDE = 384  # pixels of the longer side that a picture is brought to, unless told


def patch_size(encoder: Encoder) -> int:
    """Pixels from one patch to the next: the stride of the last stage but one."""
    return encoder.stride // 2


def patch_grid(height: int, width: int, side: int, patch: int) -> tuple[int, int]:
    """Patches (h, w) of a picture whose longer side becomes `side` pixels: whole ones, at least 1."""
    scale = side / max(height, width) / patch
    return max(1, round(height * scale)), max(1, round(width * scale))


@torch.no_grad()
def patch_maps(encoder: Encoder, image: Tensor, side: int = SIDE, device: str = "cpu") -> Tensor:
    """Whitened local features, float32 (D, h, w), of a picture uint8 (3, H, W) brought to `side` pixels.

    The h x w patches cover the picture exactly: patch (i, j) is centred on (i + 0.5) H / h, (j + 0.5) W / w, so that maps go
    back to pixels by plain bilinear resizing (align_corners=False). The mean over all patches is the picture's vector,
    but for its square cut, its size and its rim.
    """
    was_training = encoder.training
    encoder.eval().to(device)
    patch = patch_size(encoder)
    h, w = patch_grid(*image.shape[1:], side, patch)
    pixels = image.to(device)[None].float() / 255
    pixels = F.interpolate(pixels, size=(h * patch, w * patch), mode="bilinear", antialias=True).clamp_(0, 1)
    early, late = _two_stages(encoder, pixels)
    if encoder.readout_mean is None:
        found = late[0].flatten(1).T
    else:
        found = encoder.read(torch.cat([early, late], 1)[0].flatten(1).T)
    found = found if encoder.practice is None else found @ encoder.practice
    encoder.train(was_training)
    return found.T.reshape(-1, h, w).float()


def _two_stages(encoder: Encoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of the last two stages, (1, C, h, w) each, of pixels (1, 3, h P, w P).

    A patch of the last stage is taken to lie on the block of 2 x 2 of the stage before. The strided layers of a residual
    network would centre it on the block's upper left corner; trained ones have learned to look from its middle, as
    tests/test_dense.py finds by changing small parts of a picture.
    """
    early = encoder.trunk[: -encoder.last](encoder.normalised(pixels))
    late = F.interpolate(encoder.trunk[-encoder.last :](early), scale_factor=2, mode="bilinear")
    return early, late[..., : early.shape[2], : early.shape[3]]


@torch.no_grad()
def stage_maps(encoder: Encoder, image: Tensor, side: int = SIDE, device: str = "cpu") -> Tensor:
    """The maps of all stages beside each other, float32 (C, h, w): what tells where exactly a thing ends.

    Of a picture uint8 (3, H, W) brought to `side` pixels. Stages are what the network made last at each resolution, from
    a quarter of the picture's on; they are brought to the grid of half a patch by bilinear resizing, early ones after
    a mean over its cells. The cells cover the picture exactly, as in `patch_maps`. No readout.
    """
    was_training = encoder.training
    encoder.eval().to(device)
    patch = patch_size(encoder)
    h, w = (max(2, count) for count in patch_grid(*image.shape[1:], side, patch))  # so that all stages differ in size
    pixels = image.to(device)[None].float() / 255
    pixels = F.interpolate(pixels, size=(h * patch, w * patch), mode="bilinear", antialias=True).clamp_(0, 1)
    stages, maps = {}, encoder.normalised(pixels)
    for module in encoder.trunk:
        maps = module(maps)
        stages[maps.shape[2:]] = maps  # the last one of each resolution stays
    size = (2 * h, 2 * w)
    kept = [stage for (rows, _), stage in stages.items() if 4 * rows <= h * patch] or [maps]
    found = [F.interpolate(stage, size=size, mode="bilinear", antialias=True) for stage in kept]
    encoder.train(was_training)
    return torch.cat(found, 1)[0].float()
