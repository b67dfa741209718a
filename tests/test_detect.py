"""detect.py and locate.py: things are found where they are, corrections count at once, files are read and written as COCO's."""

import json

import numpy as np
import pytest
import torch
from conftest import scene, shared_data
from PIL import Image
from torchvision.ops import box_iou

from byolmeta.boxes import average_precision
from byolmeta.detect import Example, Shapes, maps_of, teach_detector
from byolmeta.encoder import Encoder, load_encoder
from byolmeta.errors import InputError
from byolmeta.locate import detect, read_boxes, upright
from byolmeta.windows import Settings, View, learn_ground

QUICK = Settings(largest=256)  # small pictures need no more


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("photos-small")


@pytest.fixture(scope="module")
def taught(encoder):
    """A detector of rings (0) and crosses (1) from two examples each; the views and examples it was taught with."""
    views, examples = {}, []
    for row in range(2):
        image, boxes = scene(row, "ring cross")
        views[row] = View(maps_of(encoder), pixels(image))
        examples += [Example(row, box, label) for label, box in enumerate(boxes)]
    others = [pixels(scene(50 + seed, "ring cross")[0]) for seed in range(4)]
    return teach_detector(encoder, views, examples, others=others, settings=QUICK), views, examples


def test_things_are_found_where_they_are(taught):
    detector = taught[0]
    for label, name in enumerate(("ring", "cross")):
        hits = 0
        for seed in range(10, 18):
            image, boxes = scene(seed, f"{name} other" if label == 0 else f"ring {name}")
            found = detector(pixels(image))
            mine = found.labels == label
            hits += float(box_iou(found.boxes[mine][:1], torch.tensor([boxes[label]]).float())) > 0.5
        assert hits >= 6, name


def test_what_is_found_is_in_order_and_in_range(taught):
    found = taught[0](pixels(scene(20, "ring cross")[0]))
    assert (
        found.boxes.shape == (len(found.scores), 4)
        and found.labels.dtype == torch.int64
        and 0 < len(found.scores) <= 100
    )
    assert (found.scores.diff() <= 0).all() and found.scores.min() >= 0 and found.scores.max() <= 1
    assert (found.boxes[:, :2] >= 0).all() and (found.boxes[:, 2] <= 160).all() and (found.boxes[:, 3] <= 120).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    bound = float(found.scores[0])
    assert (
        len(taught[0](pixels(scene(20, "ring cross")[0]), bound).scores)
        == int((found.scores >= bound).sum())
        < len(found.scores)
    )


def test_the_same_answer_every_time(taught, encoder):
    detector, views, examples = taught
    image = pixels(scene(21, "ring cross")[0])
    again = teach_detector(encoder, views, examples, ground=detector.ground)
    for first, second in zip(detector(image), again(View(maps_of(encoder), image)), strict=True):
        assert torch.equal(first, second)


def test_not_this_counts_at_once(taught, encoder):
    """What was taken for a ring is said to be none: there, and on another picture of the kind, it is less sure."""
    detector, views, examples = taught
    rings = [example for example in examples if example.label == 0]
    (image, boxes), (other, others) = scene(22, "cross"), scene(24, "cross")
    asked, unseen = View(maps_of(encoder), pixels(image)), View(maps_of(encoder), pixels(other))
    before = teach_detector(encoder, views, rings, ground=detector.ground)
    after = teach_detector(encoder, views | {9: asked}, rings, [Example(9, boxes[0])], ground=detector.ground)
    assert after.ground is detector.ground
    for view, box in ((asked, boxes), (unseen, others)):
        scores = [float(each.finders[0].scores(view, torch.tensor(box).float())) for each in (before, after)]
        assert scores[1] < scores[0] - 0.5
    sure = [float(each.finders[0].scores(views[0], torch.tensor([rings[0].box]).float())) for each in (before, after)]
    assert sure[1] > sure[0] - 2  # and rings are rings


def test_here_too_counts_at_once(taught, encoder):
    detector, views, examples = taught
    image, boxes = scene(23, "cross")
    asked, box = View(maps_of(encoder), pixels(image)), torch.tensor(boxes).float()
    rings = [example for example in examples if example.label == 0]
    after = [*rings, Example(9, boxes[0])]  # a cross counts as well
    scores = [
        float(teach_detector(encoder, views | {9: asked}, shown, ground=detector.ground).finders[0].scores(asked, box))
        for shown in (rings, after)
    ]
    assert scores[1] > scores[0] + 2


@pytest.mark.parametrize("width, height", [(300, 40), (33, 200), (24, 24)])
def test_pictures_of_every_shape_are_asked(taught, width, height):
    image = torch.full((3, height, width), 130, dtype=torch.uint8)
    found = taught[0](image)
    assert found.scores.isfinite().all() and found.boxes.shape == (len(found.scores), 4)


def test_one_example_in_one_picture_teaches(encoder):
    image, boxes = scene(3)
    detector = teach_detector(encoder, [pixels(image)], [Example(0, boxes[0])], settings=QUICK)
    found = detector(pixels(image))
    assert float(box_iou(found.boxes[:1], torch.tensor(boxes).float())) > 0.7


def test_any_encoder_can_be_used(tiny_encoder):
    image, boxes = scene(4)
    detector = teach_detector(load_encoder(tiny_encoder), [pixels(image)], [Example(0, boxes[0])], settings=QUICK)
    assert len(detector(pixels(scene(5)[0])).scores)


@pytest.mark.parametrize(
    "examples, said",
    [
        ([], "no example yet"),
        ([Example(0, (10, 10, 50, 130))], "not inside"),
        ([Example(0, (50, 10, 10, 40))], "not inside"),
        ([Example(0, (10, 10, 12, 40))], "larger one"),
        ([Example(0, (10, 10, 50, 50), 1)], "Class 0 has no example"),
        ([Example(0, (float("nan"), 10, 50, 50))], "not inside"),
    ],
)
def test_boxes_that_cannot_teach_are_said(encoder, examples, said):
    with pytest.raises(InputError, match=said):
        teach_detector(encoder, [pixels(scene(0)[0])], examples, settings=QUICK)


def test_what_examples_say_of_shape():
    settings = Settings(strength=2, spread=(0.1, 0.1, 0.3, 0.3))
    one = Shapes.of(torch.tensor([[0.2, 0.8, -1.0, 0.5]]), settings)
    assert one.mean.tolist() == pytest.approx([0.4, 0.6, -1, 0.5])  # the middle counts as two examples
    assert one.deviation[2:].tolist() == pytest.approx([0.3 * (2 / 3 * 2) ** 0.5] * 2) and one.freedom == 3
    many = Shapes.of(torch.tensor([[0.2, 0.8, -1.0, 0.5]] * 1000), settings)
    assert many.mean.tolist() == pytest.approx([0.2, 0.8, -1, 0.5], abs=0.01) and (many.deviation < one.deviation).all()
    view = View(None, torch.zeros(3, 100, 100, dtype=torch.uint8))
    sure = one(torch.tensor([[22.0, 46, 57, 74], [0, 0, 10, 10]]), view)
    assert sure[0] > sure[1]


def test_the_ground_reports_and_can_be_stopped(encoder):
    views = [View(maps_of(encoder), pixels(scene(seed)[0])) for seed in range(3)]
    seen = []
    learn_ground(views, QUICK, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_ground(views, QUICK, stop)


def test_raccoons_are_found_better_than_by_chance(encoder):
    """Five examples; a sign of life on 12 pictures, not the figure (tests/benchmarks/locate.py)."""
    folder = shared_data("raccoon")
    found = json.loads((folder / "train.json").read_text())
    names = {image["id"]: folder / image["file_name"] for image in found["images"]}
    boxes = {}
    for note in found["annotations"]:
        left, top, width, height = note["bbox"]
        boxes.setdefault(note["image_id"], []).append((left, top, left + width, top + height))
    ids = sorted(boxes)[::6][:17]
    images = {row: upright(names[row].read_bytes())[0] for row in ids}
    detector = teach_detector(
        encoder, images, [Example(row, boxes[row][0]) for row in ids[:5]], settings=Settings(largest=512)
    )
    answers = [detector(images[row]) for row in ids[5:]]
    truth = [torch.tensor(boxes[row]) for row in ids[5:]]
    assert average_precision([answer[:2] for answer in answers], truth, [0.5])[0] > 0.25


# Files


def coco(folder, things=("ring",), seeds=(0, 1), **more) -> dict:
    """Pictures with boxes as COCO has them, written into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    notes, images = [], []
    for row, seed in enumerate(seeds):
        image, boxes = scene(seed, " ".join(things))
        image.save(folder / f"{row}.png")
        images.append({"id": row + 1, "file_name": f"{row}.png"})
        notes += [
            {"id": len(notes) + n, "image_id": row + 1, "category_id": 7 + n, "bbox": [x, y, right - x, bottom - y]}
            for n, (x, y, right, bottom) in enumerate(boxes)
        ]
    kinds = [{"id": 7 + n, "name": name} for n, name in enumerate(things)]
    found = {"images": images, "annotations": notes, "categories": kinds} | more
    (folder / "boxes.json").write_text(json.dumps(found))
    return found


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))


def test_the_verb_writes_results_as_coco_has_them(tmp_path, home, capsys):
    coco(tmp_path / "examples", ("ring", "cross"))
    (tmp_path / "asked" / "deep").mkdir(parents=True)
    image, boxes = scene(30, "ring cross")
    image.save(tmp_path / "asked" / "deep" / "a.png")
    (tmp_path / "asked" / "broken.png").write_bytes(b"no picture")
    done = detect("photos-small", tmp_path / "examples" / "boxes.json", tmp_path / "asked", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert done["boxes"] == len(found) > 0 and done["images"] == 2 and done["skipped"] == 1 and done["seconds"] > 0
    assert "'broken.png' was left out" in capsys.readouterr().err
    assert all(set(one) == {"file_name", "category_id", "bbox", "score"} for one in found)
    assert {one["file_name"] for one in found} == {"deep/a.png"} and {one["category_id"] for one in found} == {7, 8}
    for label, box in enumerate(boxes):
        x, y, width, height = max(
            (one for one in found if one["category_id"] == 7 + label), key=lambda one: one["score"]
        )["bbox"]
        assert float(box_iou(torch.tensor([[x, y, x + width, y + height]]), torch.tensor([box]).float())) > 0.4
    fewer = detect(
        "photos-small", tmp_path / "examples" / "boxes.json", tmp_path / "asked", tmp_path / "few.json", threshold=1.0
    )
    assert fewer["boxes"] == 0 and "Nothing was found" in capsys.readouterr().err


def test_turned_pictures_get_boxes_of_the_turned_picture(tmp_path, home):
    coco(tmp_path / "examples")
    image, _ = scene(31, width=120, height=160)
    plain, turned = tmp_path / "plain", tmp_path / "turned"
    plain.mkdir(), turned.mkdir()
    image.save(plain / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(turned / "a.png", exif=exif)
    found = []
    for folder in (plain, turned):
        detect("photos-small", tmp_path / "examples" / "boxes.json", folder, tmp_path / "found.json")
        found.append(json.loads((tmp_path / "found.json").read_text()))
    assert found[0] == found[1] and found[0]


def test_large_pictures_are_shrunk_and_boxes_are_in_their_own_pixels(tmp_path):
    image = scene(0)[0].resize((2000, 1500))
    image.save(tmp_path / "large.png")
    seen, scale = upright((tmp_path / "large.png").read_bytes())
    assert seen.shape == (3, 768, 1024) and scale == pytest.approx((2000 / 1024, 1500 / 768))
    small, scale = upright((tmp_path / "large.png").read_bytes(), 5000)
    assert small.shape == (3, 1500, 2000) and scale == (1, 1)
    image.resize((1920, 1081)).save(tmp_path / "uneven.png")
    seen, (across, down) = upright((tmp_path / "uneven.png").read_bytes())
    assert (round(seen.shape[2] * across), round(seen.shape[1] * down)) == (1920, 1081)


def test_boxes_are_read_with_negatives_and_without_crowds(tmp_path):
    found = coco(tmp_path, ("ring", "cross"))
    found["annotations"][1] |= {"negative": True}
    found["annotations"][3] |= {"iscrowd": 1}
    found["categories"].insert(0, {"id": 3, "name": "unused"})
    (tmp_path / "boxes.json").write_text(json.dumps(found))
    marked = read_boxes(tmp_path / "boxes.json")
    assert [(e.row, e.label) for e in marked.examples] == [(0, 0), (1, 0)] and marked.names == ("ring",)
    assert marked.categories == (7,) and [e.row for e in marked.negatives] == [0]
    x, y, width, height = found["annotations"][0]["bbox"]
    assert marked.examples[0].box == (x, y, x + width, y + height) and marked.paths[0] == tmp_path / "0.png"


BOX = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 1, 20, 20]}


@pytest.mark.parametrize(
    "more, said",
    [
        ({"annotations": []}, "no boxes of things"),
        ({"annotations": None}, "no list of annotations"),
        ({"images": [7]}, "no list of images"),
        ({"annotations": [BOX | {"bbox": [1, 1, 0, 5]}]}, "above 0"),
        ({"annotations": [BOX | {"bbox": [1, 1, 5]}]}, "must be \\[left"),
        ({"annotations": [BOX | {"bbox": [1, 1, "5", 5]}]}, "must be \\[left"),
        ({"annotations": [BOX | {"bbox": [1, 1, float("inf"), 5]}]}, "must be \\[left"),
        ({"annotations": [BOX | {"image_id": 99}]}, "image 99, which is not under images"),
        ({"annotations": [BOX | {"category_id": 99}]}, "category 99, which is not"),
        ({"annotations": [BOX | {"category_id": None}]}, "whole number"),
        ({"images": [{"id": 1}]}, "no file_name"),
        ({"images": [{"id": 1, "file_name": "absent.png"}], "annotations": [BOX]}, "absent.png.*could not be read"),
        ({"annotations": [BOX | {"bbox": [1, 1, 500, 20]}]}, "160 x 120 pixels"),
    ],
)
def test_files_that_cannot_be_used_are_said(tmp_path, home, more, said):
    coco(tmp_path / "examples", **more)
    with pytest.raises(InputError, match=said):
        detect("photos-small", tmp_path / "examples" / "boxes.json", tmp_path / "examples", tmp_path / "found.json")
    assert not (tmp_path / "found.json").exists()


def test_no_json_and_no_file_are_said(tmp_path, home):
    (tmp_path / "boxes.json").write_text("no json")
    with pytest.raises(InputError, match="is not JSON"):
        read_boxes(tmp_path / "boxes.json")
    with pytest.raises(InputError, match="could not be read"):
        read_boxes(tmp_path / "absent.json")
    coco(tmp_path / "examples")
    with pytest.raises(InputError, match="threshold is 2"):
        detect(
            "photos-small",
            tmp_path / "examples" / "boxes.json",
            tmp_path / "examples",
            tmp_path / "f.json",
            threshold=2,
        )


def test_pictures_too_narrow_for_what_was_shown_have_nothing_found(taught):
    for height, width in ((20, 900), (900, 20), (3, 4)):
        found = taught[0](torch.full((3, height, width), 255, dtype=torch.uint8))
        assert found.boxes.shape == (len(found.scores), 4)
    whole = teach_detector(taught[0].maps, taught[1], [Example(0, (1, 1, 159, 119))], ground=taught[0].ground)
    assert len(whole(torch.zeros(3, 100, 2400, dtype=torch.uint8)).scores) == 0
