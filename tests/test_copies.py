"""copies.py: exact and near copies are grouped, other pictures left alone."""

import io

import numpy as np
import pytest
from PIL import Image
from test_images import SHARED, encoded, photo

from byolmeta import copies
from byolmeta.copies import copies_group_ids, near_copies
from byolmeta.images import ImageStore, open_store, read_image


def store_of(pictures: list[np.ndarray]) -> ImageStore:
    return ImageStore(None, np.stack(pictures))


@pytest.mark.parametrize("size", [32, 50, 64])
def test_copies_are_grouped_and_others_left_alone(size):
    base = [photo(seed, (160, 120)) for seed in range(40)]
    changed = {
        "exact": base[0],
        "jpeg": Image.open(io.BytesIO(encoded(base[1], "JPEG", quality=40))),
        "brighter": base[2].point(lambda v: min(255, round(v * 1.15))),
        "half": base[3].resize((80, 60)),
        "darker jpeg": Image.open(io.BytesIO(encoded(base[3].point(lambda v: round(v * 0.7)), "JPEG"))),
        "grey": base[4].convert("L"),
    }
    store = store_of([read_image(image, size) for image in [*base, *changed.values()]])
    assert near_copies(store) == [[0, 40], [1, 41], [2, 42], [3, 43, 44], [4, 45]]
    ids = copies_group_ids(store)
    assert ids.dtype == np.int64 and ids[44] == ids[43] == ids[3] and len(set(ids.tolist())) == 40


def test_flat_pictures_are_copies_only_when_equal():
    flat = [np.full((3, 32, 32), value, np.uint8) for value in (0, 100, 200, 100)]
    noise = np.random.default_rng(0).integers(99, 102, (6, 3, 32, 32)).astype(np.uint8)
    assert near_copies(store_of([*flat, *noise])) == [[1, 3]]


def test_buckets_find_what_all_pairs_find(monkeypatch):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (300, 3, 16, 16)).astype(np.uint8)
    noisy = np.clip(base[:60] + rng.normal(0, 6, base[:60].shape), 0, 255).astype(np.uint8)
    store = store_of([*base, *noisy])
    exact = near_copies(store)
    assert exact == [[i, 300 + i] for i in range(60)]
    whole = copies.buckets
    monkeypatch.setattr(copies, "buckets", lambda vectors: whole(vectors, 10))
    assert len([group for group in near_copies(store) if group in exact]) >= 57


@pytest.mark.skipif(not SHARED.exists(), reason="shared/data is not there")
def test_real_photos_have_few_copies(tmp_path):
    store = open_store(SHARED / "caltech20/train", tmp_path, 64, workers=2)
    assert len(store) == 600 and len(store.class_names) == 20 and not store.index.skipped
    groups = [[store.index.paths[row] for row in group] for group in near_copies(store)]
    assert groups == [["lotus/0023.jpg", "lotus/0033.jpg"], ["yin_yang/0005.jpg", "yin_yang/0017.jpg"]]


def test_further_pictures_join_their_copies():
    from byolmeta.copies import descriptors, with_more

    random = np.random.default_rng(3)
    pictures = random.integers(0, 255, (6, 3, 64, 64), np.uint8)
    pictures[3] = pictures[2]
    ids = np.array([0, 1, 2, 2, 4, 5])
    near = (pictures.astype(int) + random.integers(-3, 4, pictures.shape)).clip(0, 255).astype(np.uint8)
    new = random.integers(0, 255, (2, 3, 64, 64), np.uint8)
    more = np.stack([near[1], new[0], near[3], new[0], new[1]])
    whole = with_more(ids, descriptors(pictures), descriptors(more))
    assert whole.tolist() == [0, 1, 2, 2, 4, 5, 1, 7, 2, 7, 10]
