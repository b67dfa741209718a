"""augment.py: every operator against torchvision, and who gets which draw."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from byolmeta import augment
from byolmeta.augment import (
    COLUMNS,
    FIRST,
    ViewConfig,
    _render_masked,
    crop_and_flip,
    draw_crops,
    draw_view,
    make_view,
    render,
    two_views,
)

OFF = dict(crop=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter=0.0, grey=0.0, blur=0.0, solarise=0.0)


def textures(n=6, side=24, seed=0):
    """Random smooth pictures, float 0..1; of several, the first is grey and the second has black and white parts."""
    noise = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    x = torch.nn.functional.interpolate(noise, size=side, mode="bilinear").clamp(0, 1)
    if n > 1:
        x[0], x[1, :, :5], x[1, :, 5:9] = x[0, :1].clone(), 0, 1
    return x


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def each(values):
    return torch.tensor(values).view(-1, 1, 1, 1)


@pytest.mark.parametrize(
    "ours, theirs, changes",
    [
        (augment.brightness, lambda x, c: tv.adjust_brightness(x, 1 + c), (-0.4, -0.1, 0.0, 0.2, 0.4, 0.35)),
        (augment.contrast, lambda x, c: tv.adjust_contrast(x, 1 + c), (-0.4, -0.1, 0.0, 0.2, 0.4, 0.35)),
        (augment.saturation, lambda x, c: tv.adjust_saturation(x, 1 + c), (-0.2, -0.1, 0.0, 0.1, 0.2, 0.15)),
        (augment.hue, tv.adjust_hue, (-0.1, -0.03, 0.0, 0.05, 0.1, 0.5)),
    ],
    ids=("brightness", "contrast", "saturation", "hue"),
)
def test_colour_operators_equal_torchvision(ours, theirs, changes):
    x = textures()
    expected = torch.stack([theirs(picture, c) for picture, c in zip(x, changes, strict=True)])
    torch.testing.assert_close(ours(x.clone(), each(changes)), expected, atol=2e-5, rtol=0)
    assert (expected - x).abs().amax((1, 2, 3)).gt(0.01).sum() >= 4  # the comparison compares something


def test_hue_turns_red_into_green_by_a_third():
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).repeat(1, 1, 2, 2)
    green = torch.tensor([0, 1.0, 0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(augment.hue(red, each([1 / 3])), green, atol=1e-5, rtol=0)


def test_grey_and_solarise_equal_torchvision():
    x = textures()
    torch.testing.assert_close(augment.grey(x), tv.rgb_to_grayscale(x, 1), atol=2e-4, rtol=0)  # theirs: 3 digits
    x[2, 0, 0, 0] = 0.5
    torch.testing.assert_close(augment.solarise(x), tv.solarize(x, 0.5))


def test_blur_equals_torchvision_for_each_pictures_own_sigma():
    x, sigmas = textures(), (0.1, 0.3, 0.57, 1.0, 2.0, 0.03)
    for taps in (3, 7):
        expected = torch.stack([tv.gaussian_blur(p, taps, [s]) for p, s in zip(x, sigmas, strict=True)])
        before = x.clone()
        torch.testing.assert_close(augment.gaussian_blur(x, each(sigmas), taps), expected, atol=1e-5, rtol=0)
        assert torch.equal(x, before)


def test_crop_equals_resized_crop_inside():
    x = (textures(4, 32) * 255).to(torch.uint8)
    boxes = [(1, 0, 24, 20), (3, 5, 16, 12), (10, 2, 8, 20), (20, 20, 12, 12)]  # left, top, width, height
    flipped = torch.tensor([False, True, False, True])
    inside = slice(3, -3)  # at the rim theirs repeats the crop's edge, ours sees the picture beyond it
    found = crop_and_flip(x, 24, torch.tensor(boxes) / 32, flipped)
    for picture, (left, top, width, height), flip, ours in zip(x.float() / 255, boxes, flipped, found, strict=True):
        theirs = tv.resized_crop(picture, top, left, height, width, [24, 24], antialias=False)
        theirs = tv.horizontal_flip(theirs) if flip else theirs
        torch.testing.assert_close(ours[:, inside, inside], theirs[:, inside, inside], atol=1e-5, rtol=0)


def test_whole_crop_at_the_same_size_is_the_picture():
    x = (textures(3, 24) * 255).to(torch.uint8)
    whole = torch.tensor([[0.0, 0, 1, 1]]).repeat(3, 1)
    straight = crop_and_flip(x, 24, whole, torch.zeros(3, dtype=torch.bool))
    torch.testing.assert_close(straight, x.float() / 255, atol=2e-5, rtol=0)
    mirrored = crop_and_flip(x, 24, whole, torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(mirrored, x.flip(3).float() / 255, atol=2e-5, rtol=0)


@pytest.mark.parametrize("turn, shear", [(0.4, 0.0), (-0.9, 0.0), (0.0, 0.3), (0.0, -0.2)])
def test_a_bent_crop_equals_torchvision_away_from_the_rim(turn, shear):
    x, whole = textures(2, 41), torch.tensor([[0.0, 0, 1, 1]]).repeat(2, 1)
    found = crop_and_flip(x, 41, whole, torch.zeros(2, dtype=torch.bool), torch.tensor([[turn, shear]]).repeat(2, 1))
    slant = [math.degrees(math.atan(shear)), 0.0]
    how = {"interpolation": v2.InterpolationMode.BILINEAR}
    theirs = tv.rotate(x, math.degrees(turn), **how) if turn else tv.affine(x, 0, [0, 0], 1, slant, **how)
    middle = slice(12, -12)
    torch.testing.assert_close(found[..., middle, middle], theirs[..., middle, middle], atol=2e-3, rtol=0)


def test_beyond_the_picture_a_drawing_goes_on_like_its_border():
    paper = torch.full((1, 3, 20, 20), 255, dtype=torch.uint8)
    paper[..., 8:12, 8:12] = 0
    box = torch.tensor([[-0.5, -0.5, 2.0, 2.0]])
    view = crop_and_flip(paper, 20, box, torch.zeros(1, dtype=torch.bool), torch.tensor([[0.3, 0.2]]))
    assert view[..., :4, :].min() == 1 and view[..., :4].min() == 1 and view.min() < 0.3


def test_views_of_drawings_fill_their_ranges_and_keep_the_colours():
    config = two_views(28, "drawings")[0]
    draw = draw_view(4000, 28, config, seeded())
    column = dict(zip(COLUMNS, draw.T, strict=True))
    area = column["width"] * column["height"]
    centre = torch.stack([column["left"] + column["width"] / 2, column["top"] + column["height"] / 2])
    for values, low, high in (
        (area, *config.crop),
        (column["turn"], -math.radians(config.turn), math.radians(config.turn)),
        (column["shear"], -config.shear, config.shear),
        (centre, 0.5 - config.shift, 0.5 + config.shift),
    ):
        room = 0.02 * (high - low)
        assert low - 1e-6 <= values.min() < low + room and high - room < values.max() <= high + 1e-6
    assert (column["flip"] == 0).all() and (draw[:, FIRST : FIRST + 4] == -1).all()
    assert not draw[:, [COLUMNS.index(name) for name in ("grey", "sigma", "solarise")]].any()


def test_crops_are_drawn_as_by_torchvision():
    n = 4000
    boxes, flipped = draw_crops(n, ViewConfig(), seeded())
    left, top, width, height = boxes.numpy().T
    assert (boxes >= 0).all() and (left + width <= 1 + 1e-6).all() and (top + height <= 1 + 1e-6).all()
    area, ratio = width * height, width / height
    assert area.min() >= 0.08 - 1e-6 and area.max() <= 1 + 1e-6
    assert ratio.min() >= 3 / 4 - 1e-5 and ratio.max() <= 4 / 3 + 1e-5
    torch.manual_seed(0)
    image = torch.zeros(3, 1000, 1000)  # large, so that their whole pixels do not matter
    crop = v2.RandomResizedCrop(10)
    drawn = [crop.make_params([image]) for _ in range(n)]
    theirs = np.array([(p["left"], p["top"], p["width"], p["height"]) for p in drawn]) / 1000
    other = theirs[:, 2] * theirs[:, 3]
    assert area.mean() == pytest.approx(other.mean(), abs=0.02)
    levels = (0.1, 0.25, 0.5, 0.75, 0.9)
    np.testing.assert_allclose(np.quantile(area, levels), np.quantile(other, levels), atol=0.04)
    np.testing.assert_allclose(np.quantile(np.log(ratio), levels), np.quantile(np.log(theirs[:, 2] / theirs[:, 3]), levels), atol=0.03)  # fmt: skip
    np.testing.assert_allclose(np.quantile(left, levels), np.quantile(theirs[:, 0], levels), atol=0.03)
    np.testing.assert_allclose(np.quantile(top, levels), np.quantile(theirs[:, 1], levels), atol=0.03)
    assert flipped.float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_one_seed_gives_the_same_views_and_another_seed_others():
    x = (textures(5) * 255).to(torch.uint8)
    config = two_views(64)[1]
    one, same, other = (make_view(x, 64, config, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_two_copies_in_a_batch_get_different_views_and_the_source_stays():
    x = (textures(1, seed=2) * 255).to(torch.uint8).repeat(8, 1, 1, 1)
    before = x.clone()
    views = make_view(x, 24, two_views(24)[0], seeded())
    assert all((views[i] - views[j]).abs().max() > 0.01 for i in range(8) for j in range(i))
    assert torch.equal(x, before)


@pytest.mark.parametrize("size", (16, 64))
def test_views_are_float_in_0_to_1_of_the_asked_size(size):
    x = (textures(16, 40) * 255).to(torch.uint8)
    for config in two_views(size):
        view = make_view(x, size, config, seeded(1))
        assert view.shape == (16, 3, size, size) and view.dtype == torch.float32
        assert view.min() >= 0 and view.max() <= 1 + 1e-6


def test_the_pair_is_asymmetric_and_small_pictures_are_not_blurred():
    first, second = two_views(64)
    assert (first.blur, second.blur, first.solarise, second.solarise) == (1.0, 0.1, 0.0, 0.2)
    for small in two_views(63):
        assert small.blur == 0
    assert two_views(32)[1].solarise == 0.2


def test_no_blur_is_drawn_below_64_px(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("blurred")

    monkeypatch.setattr(augment, "gaussian_blur", fail)
    x = (textures(32) * 255).to(torch.uint8)
    for config in two_views(32):
        make_view(x, 32, config, seeded())
    with pytest.raises(AssertionError):
        make_view(x, 64, two_views(64)[0], seeded())


def only(**more):
    return ViewConfig(**OFF | more)


def share_changed(config, n=3000):
    """Share of pictures that an otherwise idle view changes, and the views."""
    x = (textures(1, 8, seed=5)[:1] * 255).to(torch.uint8)
    colour = torch.tensor([200, 90, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    x = (x // 2 + colour // 2).repeat(n, 1, 1, 1)
    view = make_view(x, 8, config, seeded(7))
    return (view - x.float() / 255).abs().amax((1, 2, 3)).gt(1e-3).float().mean().item(), view


def test_nothing_happens_when_everything_is_off():
    assert share_changed(only())[0] == 0


def test_grey_and_solarise_come_as_often_as_asked():
    for config in two_views(32):
        share, view = share_changed(only(grey=config.grey))
        assert share == pytest.approx(0.2, abs=0.03)
        assert (view.amax(1) - view.amin(1)).amax((1, 2)).lt(1e-5).float().mean().item() == pytest.approx(share)
    assert share_changed(only(solarise=two_views(32)[0].solarise))[0] == 0
    assert share_changed(only(solarise=two_views(32)[1].solarise))[0] == pytest.approx(0.2, abs=0.03)
    assert share_changed(only(jitter=0.8))[0] == pytest.approx(0.8, abs=0.03)


def test_jitter_orders_the_operators_per_picture(monkeypatch):
    calls = []

    def recorder(name, operator):
        return lambda x, c: calls.append(name) or operator(x, c)

    for name in ("brightness", "contrast", "saturation", "hue"):
        monkeypatch.setattr(augment, name, recorder(name, getattr(augment, name)))
    x = (textures(1) * 255).to(torch.uint8)
    orders = set()
    for seed in range(60):
        calls.clear()
        make_view(x, 16, only(jitter=1.0), seeded(seed))
        assert sorted(calls) == ["brightness", "contrast", "hue", "saturation"]
        orders.add(tuple(calls))
    assert len(orders) > 12  # of 24


def test_draws_of_the_jitter_fill_their_ranges(monkeypatch):
    seen = {}
    for name in ("brightness", "contrast", "saturation", "hue"):
        monkeypatch.setattr(augment, name, lambda x, c, name=name: seen.setdefault(name, []).append(c.flatten()) or x)
    x = torch.zeros(4000, 3, 4, 4, dtype=torch.uint8)
    make_view(x, 4, only(jitter=1.0), seeded())
    for name, limit in (("brightness", 0.4), ("contrast", 0.4), ("saturation", 0.2), ("hue", 0.1)):
        values = torch.cat(seen[name])
        assert len(values) == 4000 and values.abs().max() <= limit
        assert values.max() > 0.98 * limit and values.min() < -0.98 * limit and values.mean().abs() < 0.05 * limit


def composed(picture, row, size):
    """One view by torchvision's functional operators, from one row of draws."""
    drawn = dict(zip(COLUMNS, row.tolist(), strict=True))
    box = torch.tensor([[drawn[k] for k in ("left", "top", "width", "height")]])
    x = crop_and_flip(picture[None], size, box, torch.tensor([drawn["flip"] > 0]))[0]  # compared above
    for place in ("first", "second", "third", "fourth"):
        x = {
            -1: lambda x: x,
            0: lambda x: tv.adjust_brightness(x, 1 + drawn["brightness"]),
            1: lambda x: tv.adjust_contrast(x, 1 + drawn["contrast"]),
            2: lambda x: tv.adjust_saturation(x, 1 + drawn["saturation"]),
            3: lambda x: tv.adjust_hue(x, drawn["hue"]),
        }[int(drawn[place])](x)
    if drawn["grey"]:
        x = tv.rgb_to_grayscale(x, 3)
    if drawn["sigma"]:
        x = tv.gaussian_blur(x, max(3, size // 10 | 1), [drawn["sigma"]])
    return tv.solarize(x, 0.5) if drawn["solarise"] else x


@pytest.mark.parametrize("size", (32, 64))
def test_whole_views_equal_torchvision_with_the_same_draws(size):
    """Every operator with its drawn parameter, in the drawn order; 99.9 % of the values to 1e-3 (a rounding at the
    threshold of solarise turns a value over)."""
    x = (textures(60, size) * 255).to(torch.uint8)
    for config in two_views(size):
        draw = draw_view(60, size, config, seeded(3))
        assert len({tuple(row[FIRST : FIRST + 4].tolist()) for row in draw}) > 15
        expected = torch.stack([composed(p, row, size) for p, row in zip(x, draw, strict=True)])
        off = (render(x, size, draw, config) - expected).abs()
        assert off.quantile(0.999) < 1e-3 and off.median() < 1e-5, off.quantile(0.999)


@pytest.mark.parametrize("kind", ("photos", "drawings"))
@pytest.mark.parametrize("size", (32, 64))
def test_the_way_of_a_gpu_gives_the_same_views(size, kind):
    x = (textures(40, size) * 255).to(torch.uint8)
    for config in two_views(size, kind):
        draw = draw_view(40, size, config, seeded(5))
        off = (render(x, size, draw, config) - _render_masked(x, size, draw, config)).abs()
        assert off.quantile(0.999) < 1e-4


def test_a_view_depends_on_its_picture_and_its_draws_alone():
    x = (textures(50, 32) * 255).to(torch.uint8)
    config = two_views(32)[1]
    draw = draw_view(50, 32, config, seeded(6))
    whole = render(x, 32, draw, config)
    for rows in (slice(0, 25), slice(25, 50), slice(7, 8)):
        torch.testing.assert_close(render(x[rows], 32, draw[rows], config), whole[rows], atol=1e-6, rtol=0)
    many = render(x.repeat(9, 1, 1, 1), 32, draw.repeat(9, 1), config)  # worked on in several chunks
    torch.testing.assert_close(many, whole.repeat(9, 1, 1, 1), atol=1e-6, rtol=0)
    assert render(x[:0], 32, draw[:0], config).shape == (0, 3, 32, 32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_views_on_a_gpu_equal_those_of_the_cpu():
    x = (textures(64, 64) * 255).to(torch.uint8)
    for config in two_views(64):
        draw = draw_view(64, 64, config, seeded(5))
        off = (render(x.cuda(), 64, draw.cuda(), config).cpu() - render(x, 64, draw, config)).abs()
        assert off.quantile(0.999) < 1e-3
