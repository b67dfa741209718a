"""segment.py and outline.py: things are outlined where they are, marks hold, corrections count, files are read and written."""

import csv
import json

import numpy as np
import pytest
import torch
from conftest import scene, shared_data
from PIL import Image, ImageDraw
from scipy import sparse

from byolmeta.dense import stage_maps
from byolmeta.encoder import Encoder, load_encoder
from byolmeta.errors import InputError
from byolmeta.outline import read_masks, read_tags, segment
from byolmeta.segment import (
    Mark,
    Picture,
    Settings,
    colour_odds,
    drawn,
    learn_basis,
    maps_of,
    place_of,
    refined,
    seeds_of,
    sure_cells,
    teach_segmenter,
    walk_matrix,
)

QUICK = Settings(side=256, fine=80)


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def discs(seed: int, things: str = "disc box") -> tuple[Image.Image, list[torch.Tensor]]:
    """A picture of noise with filled things on it, and the mask of each in the order of the words."""
    image, boxes = scene(seed, " ".join("ring" for _ in things.split()))
    random = np.random.default_rng(seed)
    noise = random.integers(90, 150, (30, 40, 3), dtype=np.uint8)
    image, masks = Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC), []
    for thing, box in zip(things.split(), boxes, strict=True):
        mask = Image.new("1", image.size)
        for canvas, fill in ((image, (220, 200, 40) if thing == "disc" else (40, 60, 220)), (mask, 1)):
            draw = ImageDraw.Draw(canvas)
            (draw.ellipse if thing == "disc" else draw.rectangle)(box, fill=fill)
        masks.append(torch.from_numpy(np.array(mask)))
    return image, masks


def overlap(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found & truth).sum() / (found | truth).sum())


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("photos-small")


@pytest.fixture(scope="module")
def shown(encoder):
    """Pictures by row, kept, with the masks of their discs and boxes; what is usual in them."""
    made = [discs(seed) for seed in range(6)]
    pictures = {row: Picture(maps_of(encoder), pixels(image)) for row, (image, _) in enumerate(made)}
    basis = learn_basis(list(pictures.values()), QUICK)
    return pictures, [masks for _, masks in made], basis


def taught(shown, marks):
    pictures, _, basis = shown
    return teach_segmenter(None, pictures, marks, basis=basis, settings=QUICK)


def box_of(mask: torch.Tensor) -> tuple[float, float, float, float]:
    y, x = mask.nonzero(as_tuple=True)
    return float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)


def middle_of(mask: torch.Tensor) -> tuple[float, float]:
    left, top, right, bottom = box_of(mask)
    return (left + right) / 2, (top + bottom) / 2


def test_two_classes_are_outlined_on_other_pictures_from_two_masks(shown):
    masks = shown[1]
    segmenter = taught(shown, [Mark(row, label, mask=masks[row][label]) for row in range(2) for label in range(2)])
    found = []
    for row in (2, 3, 4):
        outline = segmenter(shown[0][row])
        assert outline.probability.shape == (2, 120, 160) and outline.probability.dtype == torch.float32
        assert 0 <= outline.probability.min() and outline.probability.max() <= 1
        assert outline.labels.shape == (120, 160) and outline.labels.dtype == torch.int64
        found.append([overlap(outline.labels == label + 1, masks[row][label]) for label in range(2)])
    assert np.mean(found, 0).min() > 0.7, found


def test_a_class_is_not_found_where_it_is_not(shown, encoder):
    segmenter = taught(shown, [Mark(0, 0, mask=shown[1][0][0]), Mark(1, 0, mask=shown[1][1][0])])
    empty = segmenter(Picture(maps_of(encoder), pixels(discs(40, "box")[0])))
    assert (empty.labels > 0).float().mean() < 0.08


@pytest.mark.parametrize("kind", ["strokes", "box", "click"])
def test_less_than_a_mask_is_enough(shown, kind):
    pictures, masks, _ = shown
    marks = []
    for row in range(2):
        x, y = middle_of(masks[row][0])
        if kind == "strokes":
            marks += [Mark(row, front=((x - 8, y), (x + 8, y)), radius=3), Mark(row, back=((3, 3), (157, 3)), radius=3)]
        elif kind == "click":
            marks.append(Mark(row, front=((x, y),), radius=4))
        else:
            marks.append(Mark(row, box=box_of(masks[row][0])))
    segmenter = taught(shown, marks)
    found = [overlap(segmenter(pictures[row]).labels == 1, masks[row][0]) for row in (2, 3, 4)]
    assert np.mean(found) > (0.35 if kind == "click" else 0.5), found
    assert overlap(segmenter(pictures[0], 0).labels == 1, masks[0][0]) > 0.5


def test_a_correction_holds_on_its_picture_and_changes_others(shown):
    pictures, masks, _ = shown
    marks = [Mark(0, mask=masks[0][0] | masks[0][1])]  # at first both things are meant
    before = taught(shown, marks)(pictures[2]).probability[0]
    x, y = middle_of(masks[2][1])
    corrected = taught(shown, [*marks, Mark(2, back=((x, y),), radius=6)])
    near = drawn([(x, y)], 4, 120, 160)
    assert before[near].min() > 0.5  # it was taken for the thing
    assert corrected(pictures[2], 2).probability[0][near].max() < 0.1
    there = masks[3][1]
    after = corrected(pictures[3]).probability[0][there].mean()
    assert after < taught(shown, marks)(pictures[3]).probability[0][there].mean()


def test_a_stroke_in_a_box_takes_its_place_away(shown):
    pictures, masks, _ = shown
    left, top, right, bottom = box_of(masks[0][0] | masks[0][1])
    x, y = middle_of(masks[0][1])
    marks = [Mark(0, box=(left, top, right, bottom)), Mark(0, back=((x - 9, y), (x + 9, y)), radius=4)]
    found = taught(shown, marks)(pictures[0], 0).labels == 1
    assert overlap(found, masks[0][0]) > 0.5 and not found[drawn([(x, y)], 4, 120, 160)].any()


def test_several_masks_on_a_picture_add_up(shown):
    pictures, masks, _ = shown
    seeds = seeds_of([Mark(0, mask=mask) for mask in masks[0]], 0, pictures[0], Settings(fine=160))
    assert torch.equal(torch.from_numpy(seeds == 1), masks[0][0] | masks[0][1])


def test_a_mask_is_its_pictures_answer(shown):
    segmenter = taught(shown, [Mark(0, mask=shown[1][0][0])])
    assert overlap(segmenter(shown[0][0], 0).labels == 1, shown[1][0][0]) > 0.9


def test_tags_alone_outline_what_only_tagged_pictures_have(encoder):
    made = [discs(seed, "disc" if seed < 5 else "box") for seed in range(10)]
    pictures = {row: Picture(maps_of(encoder), pixels(image)) for row, (image, _) in enumerate(made)}
    marks = [Mark(row, has=row < 5) for row in (*range(4), *range(5, 9))]
    answer = teach_segmenter(None, pictures, marks, settings=QUICK)(pictures[4])
    chance, truth = answer.probability[0], made[4][1][0]
    assert chance[truth].mean() > 2 * chance[~truth].mean()


def test_an_example_of_one_class_is_none_of_another(shown):
    pictures, masks, _ = shown
    marks = [Mark(0, 0, mask=masks[0][0]), Mark(0, 1, front=(middle_of(masks[0][1]),), radius=4)]
    seeds = seeds_of(marks, 0, pictures[0], QUICK)
    assert (seeds >= 0).all()  # the mask says all of its own class
    seeds = seeds_of(marks, 1, pictures[0], QUICK)
    assert seeds.max() == 1 and (seeds == 0).sum() > 50 and (seeds == -1).any()


@pytest.mark.parametrize("marks, said", [
    ([], "no example yet"),
    ([Mark(0)], "0 kinds"),
    ([Mark(0, has=True, box=(1, 1, 9, 9))], "2 kinds"),
    ([Mark(0, mask=torch.ones(5, 7, dtype=torch.bool))], "7 x 5 pixels"),
    ([Mark(0, front=((500.0, 3.0),))], "outside of its picture"),
    ([Mark(0, front=((float("nan"), 3.0),))], "outside of its picture"),
    ([Mark(0, front=((3.0, 3.0),), radius=0)], "radius"),
    ([Mark(0, box=(9, 1, 3, 9))], "not inside"),
    ([Mark(0, back=((3.0, 3.0),))], "no example"),
    ([Mark(0, 1, has=True)], "Class 0 has no example"),
    ([Mark(0, has=True), Mark(1, has=True)], "all say the same"),
    ([Mark(0, mask=torch.zeros(120, 160, dtype=torch.bool))], "no example"),
])  # fmt: skip
def test_marks_that_say_nothing_get_a_sentence(shown, marks, said):
    with pytest.raises(InputError, match=said):
        taught(shown, marks)


def test_strokes_cover_their_pixels():
    assert drawn([(5, 5)], 2, 10, 10).sum() in range(12, 30) and drawn([(5, 5)], 2, 10, 10)[5, 5]
    line = drawn([(1, 5), (9, 5)], 1, 11, 11)
    assert line[5, 1:10].all() and not line[:3].any() and not line[8:].any()


def test_the_walk_is_the_random_walk_of_a_chain():
    """Five points in a row of one colour, the ends drawn: the chances between fall evenly (Grady 2006)."""
    image = torch.full((3, 1, 5), 100, dtype=torch.uint8)
    picture = Picture(None, image)
    seeds = np.array([[1, -1, -1, -1, 0]])
    plain = Settings(fine=5, turns=0, hold=1e-9)
    found = refined(picture, np.zeros((1, 5)), plain, seeds)
    np.testing.assert_allclose(found, [[1, 0.75, 0.5, 0.25, 0]], atol=2e-3)
    matrix = walk_matrix(picture.colours(plain), 2.0)
    assert sparse.issparse(matrix) and abs(matrix.sum(1)).max() < 1e-12 and (matrix != matrix.T).nnz == 0


def test_the_walk_stops_at_edges():
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    image[:, :, 4:] = 200
    seeds = np.full((8, 8), -1)
    seeds[4, 1], seeds[4, 6] = 1, 0
    found = refined(Picture(None, image), np.zeros((8, 8)), Settings(fine=8, turns=0), seeds)
    assert found[:, :4].min() > 0.9 and found[:, 4:].max() < 0.1


def test_colours_of_the_inside_speak_for_it():
    colours = np.zeros((2, 4, 3))
    colours[:, 2:] = 100.0
    odds = colour_odds(np.array([[0.9, 0.9, 0.1, 0.1]] * 2), colours, 8)
    assert (odds[:, :2] > 0.5).all() and (odds[:, 2:] < -0.5).all()


def test_places_are_where_things_were():
    chance = torch.zeros(20, 30)
    chance[12:18, 2:8] = 1
    place = place_of([chance], Settings())
    assert place.shape == (32, 32) and place[24, 5] > 1 and place[24, 26] > 1  # left and right alike
    assert place[4, 16] < 0


@pytest.mark.parametrize("height, width", [(40, 64), (1, 1), (33, 200), (200, 7)])
@pytest.mark.parametrize("architecture", ["small", "conv4"])
def test_stages_cover_pictures_of_every_shape(architecture, height, width):
    maps = stage_maps(Encoder(architecture, 64).eval(), torch.zeros(3, height, width, dtype=torch.uint8), 128)
    assert maps.isfinite().all() and min(maps.shape[1:]) >= 4
    assert len(maps) == len(stage_maps(Encoder(architecture, 64).eval(), torch.zeros(3, 64, 64, dtype=torch.uint8), 64))


def example_folder(folder, values=(1, 2), suffix=".png", count=2):
    """images/ and masks/ with discs and boxes."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for seed in range(count):
        image, masks = discs(seed)
        image.save(folder / "images" / f"p{seed}.jpg", quality=95)
        made = np.zeros((120, 160), np.uint8)
        for mask, value in zip(masks, values, strict=True):
            made[mask.numpy()] = value
        Image.fromarray(made).save(folder / "masks" / f"p{seed}{suffix}")
    return folder


def test_the_command_outlines_a_folder(tmp_path):
    examples = example_folder(tmp_path / "examples", (7, 9))
    asked = tmp_path / "asked" / "sub"
    asked.mkdir(parents=True)
    image, masks = discs(20)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.transpose(Image.Transpose.ROTATE_90).save(asked / "turned.jpg", quality=95, exif=exif)
    (asked / "broken.png").write_bytes(b"no picture")
    said = segment("photos-small", examples, tmp_path / "asked", tmp_path / "out", overlays=True)
    assert said["images"] == 1 and said["skipped"] == 1 and said["classes"] == {"7": 7, "9": 9} and said["seconds"] > 0
    found = np.array(Image.open(tmp_path / "out" / "masks" / "sub" / "turned.png"))
    assert found.shape == (120, 160) and set(np.unique(found)) <= {0, 7, 9}
    assert overlap(torch.from_numpy(found == 7), masks[0]) > 0.5
    assert Image.open(tmp_path / "out" / "pictures" / "sub" / "turned.png").size == (160, 120)
    with open(tmp_path / "out" / "outlines.csv", encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["path", "mask", "class", "value", "share"] and len(lines) == 2
    assert float(lines[0]["share"]) == pytest.approx((found == 7).mean(), abs=1e-5)
    assert json.dumps(said)


def test_masks_are_read_in_every_form(tmp_path):
    black_white = read_masks(example_folder(tmp_path / "a", (255, 255)))
    assert black_white.names == ("255",) and black_white.values == (255,)
    void = read_masks(example_folder(tmp_path / "b", (1, 255)))
    assert void.names == ("1",)
    folder = example_folder(tmp_path / "c")
    for path in (folder / "masks").iterdir():
        grey = np.array(Image.open(path))
        Image.fromarray(np.stack([grey * 100, 0 * grey, 0 * grey], 2)).save(path)
    colours = read_masks(folder)
    assert colours.names == ("#640000", "#c80000") and colours.values == (1, 2)
    assert len(colours.marks) == 4 and len(colours.pictures) == 2
    truth = discs(0)[1]
    assert torch.equal(colours.marks[0].mask, truth[0]) and torch.equal(colours.marks[1].mask, truth[1])


def test_folders_that_teach_nothing_get_a_sentence(tmp_path):
    def wrong(name: str, change, said: str, read=read_masks):
        folder = example_folder(tmp_path / name)
        change(folder)
        with pytest.raises(InputError, match=said):
            read(folder)

    def each(change):
        return lambda folder: [change(path) for path in sorted((folder / "masks").iterdir())]

    wrong("a", lambda folder: (folder / "masks").rename(folder / "other"), "no folder 'masks'")
    wrong("b", each(lambda path: path.rename(path.with_name(f"x{path.name}"))), "No picture in 'b' has a mask")
    wrong("c", each(lambda path: path.write_bytes(b"nothing")), "could not be read")
    wrong(
        "d",
        each(lambda path: Image.new("L", (30, 20), 1).save(path)),
        "30 x 20 pixels and its upright picture 160 x 120",
    )
    wrong("e", each(lambda path: Image.new("L", (160, 120)).save(path)), "all background")
    noise = np.random.default_rng(0).integers(0, 255, (120, 160), dtype=np.uint8)
    wrong("f", each(lambda path: Image.fromarray(noise).save(path)), "without smoothing")
    wrong("g", each(lambda path: path.unlink()), "no class folders|alone", read_tags)


def test_tags_are_folders(tmp_path):
    for name, things in (("disc", "disc"), ("none", "box")):
        (tmp_path / "tags" / name).mkdir(parents=True)
        for seed in range(3):
            discs(seed, things)[0].save(tmp_path / "tags" / name / f"{seed}.png")
    found = read_tags(tmp_path / "tags")
    assert found.names == ("disc",) and [mark.has for mark in found.marks] == [True] * 3 + [False] * 3
    said = segment("photos-small", tmp_path / "tags", tmp_path / "tags" / "disc", tmp_path / "out", tags=True)
    assert said["images"] == 3 and said["classes"] == {"disc": 1}
    for path in (tmp_path / "tags" / "none").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="alone|no class folders"):
        read_tags(tmp_path / "tags")


def test_horses_are_outlined_from_five_masks(encoder):
    """Far above the middle of every picture and all of it (0.25): the benchmark has the figures."""
    folder = shared_data("weizmann_horse") / "train"
    paths = sorted((folder / "images").glob("*.jpg"))[::25][:10]
    images = [pixels(Image.open(path).convert("RGB")) for path in paths]
    masks = [torch.from_numpy(np.array(Image.open(folder / "masks" / f"{path.stem}.png"))) > 0 for path in paths]
    marks = [Mark(row, mask=masks[row]) for row in range(5)]
    segmenter = teach_segmenter(encoder, images, marks, others=images[5:])
    found = [overlap(segmenter(images[row]).labels == 1, masks[row]) for row in range(5, 10)]
    assert np.mean(found) > 0.5


def test_the_surest_cells_of_a_picture_are_its_thing():
    chance = torch.tensor([[0.3, 0.1], [0.25, 0.15]])
    assert sure_cells(chance, (2, 2)).tolist() == [[1, 0], [-1, 0]]
    assert sure_cells(torch.tensor([[0.9, 0.85], [0.5, 0.1]]), (2, 2)).tolist() == [[1, 1], [-1, 0]]
