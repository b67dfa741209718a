"""windows.py: large pictures in tiles."""

import io

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.ops import roi_align

from byolmeta.dense import patch_grid
from byolmeta.locate import larger, upright
from byolmeta.windows import Basis, Larger, Settings, View


def shrunk_maps(image: torch.Tensor, side: int) -> torch.Tensor:
    """Plain means over cells of 8 pixels as features, (3, h, w)."""
    size = patch_grid(*image.shape[1:], side, 8)
    return F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)[0]


@pytest.fixture(scope="module")
def large():
    """A smooth picture (3, 1536, 2048), and shrunk to half."""
    random = torch.rand(1, 3, 36, 48, generator=torch.Generator().manual_seed(0))
    fine = (255 * F.interpolate(random, size=(1536, 2048), mode="bicubic").clamp(0, 1)).byte()[0]
    return fine, F.interpolate(fine[None].float(), size=(768, 1024), mode="area")[0].byte()


def test_small_windows_of_a_large_picture_are_seen_in_tiles_as_in_one_piece(large):
    fine, half = large
    settings, reads = Settings(), []
    view = View(shrunk_maps, half, Larger(lambda: reads.append(1) or fine, 2048))
    corner = torch.rand(200, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([1024 - 60, 768 - 60])
    boxes = torch.cat([corner, corner + 50], 1)
    assert view.level_of(boxes, settings).unique().tolist() == [-2]
    plain = Basis(torch.zeros(3), torch.eye(3))
    tiled = view.cells(boxes, plain, settings)
    whole = shrunk_maps(fine, 2048)
    middle, reach = (boxes[:, :2] + boxes[:, 2:]) / 2, 25 * settings.enlarge
    rims = torch.cat([middle - reach, middle + reach], 1) * whole.shape[2] / 1024
    inside = ((rims > 0) & (rims < torch.tensor([256, 192, 256, 192]))).all(1)
    seen = roi_align(whole[None], [rims], settings.grid, sampling_ratio=1, aligned=True).flatten(1)
    assert (tiled - seen)[
        inside
    ].abs().max() < 8 and inside.sum() > 150  # of 255: the places of cells differ by parts of one
    coarse = view.cells(boxes, plain, settings, tiles=False)
    assert (tiled - seen)[inside].abs().mean() < 0.5 * (coarse - seen)[inside].abs().mean(), "one sees more in tiles"
    assert len(reads) == 1 and torch.equal(view.cells(boxes, plain, settings), tiled) and len(reads) == 1, (
        "parts are kept"
    )


def test_tiles_are_only_where_the_picture_has_the_pixels(large, tmp_path):
    fine, half = large
    small = torch.tensor([[10.0, 10.0, 40.0, 40.0]])
    assert View(shrunk_maps, half).level_of(small, Settings()).tolist() == [0]
    assert View(shrunk_maps, half, Larger(lambda: fine, 1450)).level_of(small, Settings()).tolist() == [-1]
    assert View(shrunk_maps, half, Larger(lambda: fine, 1030)).level_of(small, Settings()).tolist() == [0]
    data = io.BytesIO()
    Image.fromarray(fine.permute(1, 2, 0).numpy()).save(data, "PNG")
    pixels, scale = upright(data.getvalue())
    more = larger(data.getvalue, pixels, scale)
    assert more.side == 2048 and more.read().shape == (3, 1536, 2048)
    assert torch.equal(more.mirrored().read(), more.read().flip(2))
    assert larger(data.getvalue, pixels, (1.0, 1.0)) is None
