"""boxes.py: windows, shapes of boxes, and COCO's average precision against pycocotools."""

import contextlib
import io
import math

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from byolmeta.boxes import COCO, STRIDE, average_precision, clipped, geometry, windows


def test_windows_lie_inside_and_reach_every_edge():
    made = windows(300, 200, [0.2, 0.5], [0.5, 1, 2])
    assert (made[:, :2] >= -1e-3).all() and (made[:, 2] <= 300.01).all() and (made[:, 3] <= 200.01).all()
    sides = made[:, 2:] - made[:, :2]
    sizes = (sides.prod(1) / 60_000).sqrt()
    assert set(sizes.mul(10).round().tolist()) == {2, 5}
    for size in (0.2, 0.5):
        own = made[(sizes - size).abs() < 0.01]
        assert own[:, 0].min() == 0 and own[:, 2].max() == pytest.approx(300, abs=0.01)
        assert own[:, 1].min() == 0 and own[:, 3].max() == pytest.approx(200, abs=0.01)


def test_every_box_of_a_size_has_a_window_on_it():
    made = windows(300, 200, [0.3], [1])
    side = 0.3 * math.sqrt(60_000)
    corners = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * (torch.tensor([300, 200]) - side)
    overlap = box_iou(torch.cat([corners, corners + side], 1), made).amax(1)
    off = 1 - STRIDE / 2
    assert overlap.min() >= off**2 / (2 - off**2) - 1e-3


def test_what_would_stick_out_is_cut_or_left_out():
    assert windows(100, 100, [1], [1]).tolist() == [[0, 0, 100, 100]]
    assert (
        windows(100, 100, [1], [1.3]).tolist() == [[0, pytest.approx(6.15, abs=0.01), 100, 100]]
        or len(windows(100, 100, [1], [1.3])) == 2
    )
    assert len(windows(100, 100, [1], [2])) == 0 and windows(100, 100, [], [1]).shape == (0, 4)


def test_geometry_of_a_box():
    found = geometry(torch.tensor([[10.0, 20, 50, 60], [0, 0, 200, 100]]), 200, 100)
    assert found[0].tolist() == pytest.approx([0.15, 0.4, math.log(math.sqrt(1600 / 20_000)), 0])
    assert found[1].tolist() == pytest.approx([0.5, 0.5, 0, math.log(2)])


def test_boxes_are_cut_to_their_picture():
    assert clipped(torch.tensor([[-5.0, 3, 120, 90]]), 100, 80).tolist() == [[0, 3, 100, 80]]


TRUE = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40]])


def test_average_precision_by_hand():
    sure = torch.tensor([0.9, 0.8])
    assert average_precision([(TRUE, sure)], [TRUE]).tolist() == [1] * 10
    assert average_precision([(TRUE[:1], sure[:1])], [TRUE], [0.5])[0] == pytest.approx(
        51 / 101
    )  # recall 0.5 is reached
    wrong_first = torch.cat([torch.tensor([[60.0, 60, 70, 70]]), TRUE])
    found = average_precision([(wrong_first, torch.tensor([0.9, 0.8, 0.7]))], [TRUE], [0.5])
    assert found[0] == pytest.approx(2 / 3)  # precision 1/2, then 2/3, made to fall with recall
    twice = average_precision([(TRUE[[0, 0]], sure)], [TRUE[:1]], [0.5])
    assert twice[0] == 1  # the second box on the same thing is wrong, but comes after full recall
    assert average_precision([(torch.zeros(0, 4), torch.zeros(0))], [TRUE], [0.5])[0] == 0
    assert np.isnan(average_precision([(TRUE, sure)], [torch.zeros(0, 4)], [0.5])[0])


def test_a_box_overlaps_enough_or_not():
    half = torch.tensor([[0.0, 0, 10, 5]])  # IoU 0.5 with the first
    assert average_precision([(half, torch.ones(1))], [TRUE[:1]], [0.5, 0.55]).tolist() == [1, 0]


def hand_made(kind: int, random: np.random.Generator):
    """Pictures with true and found boxes: moved copies, wrong ones, several on one thing; of kind 0 few, of kind 2 over 100."""
    truth, found = [], []
    for _ in range(6):
        count = int(random.integers(0, 5))
        corner = random.uniform(0, 300, (count, 2))
        real = np.concatenate([corner, corner + random.uniform(20, 90, (count, 2))], 1)
        copies = np.repeat(real, (1, 2, 3)[kind], 0)
        copies = copies + random.normal(0, 6, copies.shape)
        stray = random.uniform(0, 300, ((2, 5, 120)[kind], 2))
        boxes = np.concatenate([copies, np.concatenate([stray, stray + 40], 1)])
        truth.append(torch.from_numpy(real.round(1)).float())
        found.append(
            (torch.from_numpy(boxes.round(1)).float(), torch.from_numpy(random.permutation(len(boxes)) / 1000).float())
        )
    return found, truth


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(kind, seed):
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools, of tests/requirements.txt, is not installed")
    from pycocotools.cocoeval import COCOeval

    found, truth = hand_made(kind, np.random.default_rng(seed))

    def sides(boxes):
        return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).double().tolist()

    notes = [
        {
            "id": 1 + len(truth) * n + row,
            "image_id": row,
            "category_id": 1,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        for row, boxes in enumerate(truth)
        for n, box in enumerate(sides(boxes))
    ]
    results = [
        {"image_id": row, "category_id": 1, "bbox": box, "score": float(score)}
        for row, (boxes, scores) in enumerate(found)
        for box, score in zip(sides(boxes), scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        true = coco.COCO()
        true.dataset = {
            "images": [{"id": row} for row in range(len(truth))],
            "annotations": notes,
            "categories": [{"id": 1}],
        }
        true.createIndex()
        judge = COCOeval(true, true.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
    theirs = judge.eval["precision"][:, :, 0, 0, 2].mean(1)
    assert average_precision(found, truth, COCO) == pytest.approx(theirs, abs=1e-9)
    assert 0 < theirs[0] < 1
