"""dense.py: maps of a picture of any shape lie where the picture's parts do, and add up to its vector."""

import pytest
import torch

from byolmeta.dense import patch_grid, patch_maps, patch_size
from byolmeta.encoder import Encoder, load_encoder
from byolmeta.files import starters


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize("name", starters())
@pytest.mark.parametrize("height, width", [(64, 64), (50, 97), (200, 33), (1, 1)])
def test_every_shape_has_its_patches(name, height, width):
    encoder = load_encoder(name)
    maps = patch_maps(encoder, picture(height, width), 128)
    assert maps.dtype == torch.float32 and maps.isfinite().all()
    assert maps.shape[1:] == patch_grid(height, width, 128, patch_size(encoder))
    assert len(maps) == encoder.vectors(torch.zeros(1, 3, 64, 64)).shape[1]


def test_the_grid_keeps_the_shape():
    assert patch_grid(480, 640, 640, 16) == (30, 40) and patch_grid(640, 480, 320, 16) == (20, 15)
    assert patch_grid(10, 1000, 160, 16) == (1, 10)  # never less than one


@pytest.mark.parametrize("name", starters())
def test_patches_add_up_to_the_vector_of_the_picture(name):
    """Even numbers of patches: the last stage's maps, made finer, keep their mean but for the rim."""
    encoder = load_encoder(name)
    side = encoder.image_size if encoder.architecture != "conv4" else 32
    image = picture(side, side)
    whole = encoder.vectors(image[None].float() / 255)[0]
    maps = patch_maps(encoder, image, side)
    black = encoder.vectors(torch.zeros(1, 3, side, side))[0]
    assert (maps.mean((1, 2)) - whole).norm() < 0.2 * (whole - black).norm()


def test_an_encoder_without_readout_gives_its_own_maps():
    encoder = Encoder("small", 64).eval()
    image = picture(64, 128)
    maps = patch_maps(encoder, image, 128)
    late = encoder.dense(image[None].float() / 255)[0]
    assert maps.shape == (256, 4, 8)
    torch.testing.assert_close(maps.mean((1, 2)), late.mean((1, 2)), rtol=0.2, atol=0.05)
    torch.testing.assert_close(maps[:, 0, 0], late[:, 0, 0])  # beyond the middle of the outermost patch nothing changes


@pytest.mark.parametrize("name, patches", [("photos-small", 12), ("drawings-conv4", 12)])
def test_a_patch_sees_its_own_place(name, patches):
    """What changes in a part of a picture changes the maps around that part: on average nowhere else, by a third of a patch.

    Half a patch (a network's output on the corner of its block) or a whole one would be seen.
    """
    encoder = load_encoder(name)
    size, random = patch_size(encoder), torch.Generator().manual_seed(0)
    off = []
    for seed in range(16):
        coarse = picture(patches, patches, seed)[None].float()
        plain = (
            torch.nn.functional.interpolate(coarse, size=(patches * size,) * 2, mode="bicubic").clamp(0, 255).byte()[0]
        )
        row, column = torch.randint(4, 8, (2,), generator=random).tolist()
        changed = plain.clone()
        changed[:, size * row : size * (row + 1), size * column : size * (column + 1)] = 128
        difference = patch_maps(encoder, changed, patches * size) - patch_maps(encoder, plain, patches * size)
        weights = difference.square().sum(0) / difference.square().sum()
        places = torch.arange(patches)
        off.append([float((weights.sum(1) * places).sum()) - row, float((weights.sum(0) * places).sum()) - column])
    assert torch.tensor(off).mean(0).abs().max() < 1 / 3


def test_the_encoder_is_left_as_it_was():
    encoder = load_encoder("photos-small").train()
    before = [value.clone() for value in encoder.state_dict().values()]
    patch_maps(encoder, picture(64, 64), 64)
    assert encoder.training
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.state_dict().values(), strict=True))
