"""search.py and located.py: what marks teach, what corrections do, and files that other programs read."""

import json
import zipfile

import numpy as np
import pytest
import torch
from conftest import scene
from PIL import Image
from torchvision.ops import box_iou

from byolmeta import detect, segment
from byolmeta.detect import Found
from byolmeta.encoder import load_encoder
from byolmeta.errors import InputError
from byolmeta.located import Located, coco, painted, png_of, rows_of, run_lengths, write_masks, write_yolo
from byolmeta.search import Mark, Sight, as_said, boxes_around, learn, learn_usual

RING, CROSS = 0, 1


@pytest.fixture(scope="module")
def seen():
    """Eight pictures of a ring and a cross as an encoder sees them, their true boxes, the maps, and what is usual."""
    encoder = load_encoder("photos-small")
    maps = detect.maps_of(encoder), segment.maps_of(encoder)
    made = [scene(seed, "ring cross") for seed in range(8)]
    sights = [Sight(*maps, torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()) for image, _ in made]
    return SimpleSeen(maps, sights, [boxes for _, boxes in made], learn_usual(sights))


class SimpleSeen:
    def __init__(self, maps, sights, truth, usual):
        self.maps, self.sights, self.truth, self.usual = maps, sights, truth, usual

    def learned(self, *marks: Mark, way: int = 2):
        return learn(self.maps, dict(enumerate(self.sights)), marks, way, self.usual)

    def overlap(self, search, row: int, label: int) -> float:
        """Of the surest box of a class with the true one."""
        found = search(self.sights[row], row).found
        mine = found.boxes[found.labels == label]
        best = found.scores[found.labels == label].argsort(descending=True)[:1]
        return float(box_iou(mine[best], torch.tensor([self.truth[row][label]]).float()).sum())


def box(seen, row: int, label: int, **more) -> Mark:
    return Mark(row, label, box=tuple(float(v) for v in seen.truth[row][label]), **more)


def ring_stroke(seen, row: int, **more) -> Mark:
    """Along the left and upper rim of a ring."""
    left, top, right, bottom = seen.truth[row][RING]
    turn = np.linspace(np.pi, 1.6 * np.pi, 12)
    x = (left + right) / 2 + ((right - left) / 2 - 4) * np.cos(turn)
    y = (top + bottom) / 2 + ((bottom - top) / 2 - 4) * np.sin(turn)
    return Mark(row, RING, points=tuple(zip(x.tolist(), y.tolist(), strict=True)), radius=3, **more)


def test_boxes_of_two_things_find_both_elsewhere(seen):
    search = seen.learned(*(box(seen, row, label) for row in (0, 1) for label in (RING, CROSS)))
    hits = [[seen.overlap(search, row, label) > 0.5 for row in range(2, 8)] for label in (RING, CROSS)]
    assert sum(hits[RING]) >= 5 and sum(hits[CROSS]) >= 4, hits
    outlines = search(seen.sights[3]).outlines
    assert outlines.shape == (2, 120, 160) and 0 <= float(outlines.min()) and float(outlines.max()) <= 1


def test_outlines_lie_on_the_thing(seen):
    search = seen.learned(box(seen, 0, RING), box(seen, 1, RING), way=1)
    for row in (3, 4):
        chance = search(seen.sights[row]).outlines[0]
        left, top, right, bottom = seen.truth[row][RING]
        inside = torch.zeros_like(chance, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        assert chance[inside].mean() > 3 * chance[~inside].mean()


def test_paint_alone_finds_things(seen):
    search = seen.learned(ring_stroke(seen, 0), ring_stroke(seen, 1), way=1)
    assert search.boxed == (RING,), "the painted rings became boxes"
    assert sum(seen.overlap(search, row, RING) > 0.4 for row in range(2, 8)) >= 3


def test_a_box_that_is_none_of_it_is_not_found_there_any_more(seen):
    examples = box(seen, 0, RING), box(seen, 1, RING)
    before = seen.learned(*examples, way=1)(seen.sights[2], 2).found
    wrong = Mark(2, RING, no=True, box=tuple(before.boxes[0].tolist()))
    after = seen.learned(*examples, wrong, way=1)(seen.sights[2], 2).found
    assert float(box_iou(before.boxes[:1], after.boxes).max()) < 0.5


def test_a_tag_says_that_nothing_is_there(seen):
    search = seen.learned(box(seen, 0, RING), Mark(2, RING, no=True), way=1)
    answer = search(seen.sights[2], 2)
    assert len(answer.found.scores) == 0 and float(answer.outlines.max()) == 0
    assert len(search(seen.sights[3], 3).found.scores) > 0


def test_what_is_found_on_a_picture_without_the_thing_is_learned_as_wrong(seen):
    before = seen.learned(box(seen, 0, RING), way=1).detector(seen.sights[2].view)
    after = seen.learned(box(seen, 0, RING), Mark(2, RING, no=True), way=1).detector(seen.sights[2].view)
    assert after.scores[0] < before.scores[0] - 0.02


def test_a_class_alone_keeps_its_number(seen):
    search = seen.learned(box(seen, 0, CROSS), box(seen, 1, CROSS))
    answer = search(seen.sights[3], 3)
    assert set(answer.found.labels.tolist()) == {CROSS} and float(answer.outlines[RING].max()) == 0


def test_tags_alone_give_boxes_around_outlines(seen):
    blank = Sight(*seen.maps, torch.full((3, 120, 160), 120, dtype=torch.uint8))
    sights = {0: seen.sights[0], 1: seen.sights[1], 8: blank}
    search = learn(seen.maps, sights, [Mark(0, RING), Mark(1, RING), Mark(8, RING, no=True)], 1, seen.usual)
    assert search.detector is None and len(search(seen.sights[2]).found.scores) > 0


def test_what_was_drawn_wins_over_a_word_that_it_is_not_there(seen):
    alone = seen.learned(box(seen, 0, RING), box(seen, 1, RING), way=1)
    both = seen.learned(box(seen, 0, RING), box(seen, 1, RING), Mark(0, RING, no=True), way=1)
    for row in (0, 3):
        first, second = alone(seen.sights[row], row), both(seen.sights[row], row)
        assert torch.equal(first.outlines, second.outlines) and torch.equal(first.found.boxes, second.found.boxes)


def test_tags_that_all_say_the_same_are_refused_with_a_sentence(seen):
    with pytest.raises(InputError, match="all say the same"):
        seen.learned(Mark(0, RING), Mark(1, RING), way=1)


def test_drawn_boxes_are_certain_and_replace_what_was_found():
    found = Found(torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]]), torch.tensor([0.9, 0.4]), torch.tensor([0, 1]))
    said = as_said(found, [Mark(0, 0, box=(1, 0, 10, 10)), Mark(0, 0, no=True, box=(50, 50, 60, 60))])
    assert said.scores.tolist() == pytest.approx([1, 0.4]) and said.labels.tolist() == [0, 1]
    assert said.boxes[0].tolist() == [1, 0, 10, 10]  # the other box is of another class, which nobody denied
    assert len(as_said(found, [Mark(0, 1, no=True)]).scores) == 1


def test_boxes_around_the_parts_of_an_outline():
    chance = torch.zeros(40, 60)
    chance[5:15, 10:30], chance[20:40, 40:60], chance[0, 0] = 0.8, 0.6, 0.9  # the last is too small
    boxes, scores = boxes_around(chance)
    assert boxes.tolist() == [[10, 5, 30, 15], [40, 20, 60, 40]] and scores.tolist() == pytest.approx([0.8, 0.6])
    assert boxes_around(torch.zeros(4, 4))[0].shape == (0, 4)


@pytest.fixture
def found():
    mask = np.zeros((30, 40), np.uint8)
    mask[5:15, 10:20], mask[20:25, 30:38] = 1, 2
    boxes, scores = np.array([[10.0, 5, 20, 15], [28, 18, 40, 27]]), np.array([0.75, 0.5])
    return [Located("a/=b.png", Image.new("RGB", (80, 60), "grey"), 40, 30, boxes, scores, np.array([0, 1]), mask)]


def test_coco_is_read_by_pycocotools(found, tmp_path):
    tools = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    path = tmp_path / "found.json"
    path.write_text(json.dumps(coco(found, ["one", "two"])))
    read = tools.COCO(str(path))
    first, second = read.loadAnns(read.getAnnIds())
    assert first["bbox"] == [10, 5, 10, 10] and second["category_id"] == 2
    assert (read.annToMask(first) == (found[0].mask == 1)).all() and (
        read.annToMask(second) == (found[0].mask == 2)
    ).all()
    assert read.loadImgs(1)[0] | {"id": 0} == {"id": 0, "file_name": "a/=b.png", "width": 40, "height": 30}


def test_run_lengths_go_down_the_columns_and_begin_with_zeros():
    assert run_lengths(np.array([[1, 0], [1, 1]], bool)) == [0, 2, 1, 1]
    assert run_lengths(np.zeros((2, 2), bool)) == [4]


def test_yolo_and_masks(found, tmp_path):
    write_yolo(found, ["one", 'tw"o'], tmp_path / "yolo.zip")
    with zipfile.ZipFile(tmp_path / "yolo.zip") as made:
        assert made.read("labels/a/=b.txt").decode().split("\n")[0] == "0 0.375000 0.333333 0.250000 0.333333"
        assert '  1: "tw\\"o"' in made.read("data.yaml").decode()
    write_masks(found, ["one", "two"], tmp_path / "masks.zip")
    with zipfile.ZipFile(tmp_path / "masks.zip") as made, made.open("masks/a/=b.png") as file:
        image = Image.open(file)
        assert image.mode == "P" and (np.asarray(image) == found[0].mask).all()
        assert image.convert("RGB").getpixel((12, 7)) == (0, 0x72, 0xB2)
    assert len(png_of(np.zeros((1, 1), np.uint8))) > 0


def test_a_table_and_a_drawn_picture(found):
    rows = rows_of(found, ["one", "two"])
    assert rows[0] == {"path": "a/=b.png", "class": "one", "score": 0.75, "left": 10.0, "top": 5.0, "width": 10.0, "height": 10.0,
                       "outlined": round(100 / 1200, 4)}  # fmt: skip
    image = painted(found[0], ["one", "two"])
    assert (
        image.size == (80, 60) and image.getpixel((30, 20)) != (128, 128, 128) and image.getpixel((2, 58)) == (128,) * 3
    )
