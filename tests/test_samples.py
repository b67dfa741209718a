"""samples.py: the drawn creatures and the digits."""

import random
import zipfile
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from byolmeta import samples
from byolmeta.copies import near_copies
from byolmeta.errors import InputError
from byolmeta.images import open_store, read_image


@pytest.fixture(scope="module")
def creatures(tmp_path_factory):
    return open_store(
        samples.sample_folder("creatures", tmp_path_factory.mktemp("home")),
        tmp_path_factory.mktemp("stores"),
        64,
        workers=2,
    )


def test_the_shipped_zip_has_every_kind_and_is_small(creatures):
    assert (samples.ASSETS / "creatures.zip").stat().st_size < 2.5e6
    assert len(creatures.class_names) >= 12 and not creatures.index.skipped
    assert set(creatures.class_names) == set(samples.KINDS)
    assert set(Counter(creatures.labels.tolist()).values()) == {samples.EACH}
    assert near_copies(creatures) == []


def test_the_shipped_zip_is_what_the_program_draws(creatures):
    """Loosely: another Pillow may round edges and compress otherwise."""
    assert set(creatures.index.paths) == {f"{kind}/{n:02d}.webp" for kind in samples.KINDS for n in range(samples.EACH)}
    rows = {path: row for row, path in enumerate(creatures.index.paths)}
    for path, picture in samples.draw_creatures(each=2):
        drawn = read_image(picture, 64).astype(int)
        assert np.abs(drawn - creatures.pixels[rows[path + ".webp"]]).mean() < 6


@pytest.mark.parametrize("kind", samples.KINDS)
def test_a_seed_repeats_a_picture_and_another_changes_it(kind):
    first, again, other = (samples.picture(samples.KINDS[kind], random.Random(seed)) for seed in ("a", "a", "b"))
    assert first.size == (128, 128) and first.mode == "RGB"
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_raw_pixels_do_not_give_the_kinds_away(creatures):
    """5 kinds, 5 examples each, nearest mean of 16 x 16 pixels: chance is 20 %."""
    pixels = np.stack(
        [
            np.asarray(
                Image.fromarray(picture.transpose(1, 2, 0)).resize((16, 16), Image.Resampling.BOX), np.float32
            ).ravel()
            for picture in creatures.pixels
        ]
    )
    rng, right = np.random.default_rng(0), []
    for _ in range(300):
        kinds = rng.choice(len(creatures.class_names), 5, replace=False)
        rows = np.stack([rng.permutation(np.flatnonzero(creatures.labels == kind)) for kind in kinds])
        means = pixels[rows[:, :5]].mean(1)
        far = ((pixels[rows[:, 5:20].ravel()][:, None] - means[None]) ** 2).sum(-1)
        right.append((far.argmin(1) == np.repeat(np.arange(5), 15)).mean())
    print(f"nearest mean on raw pixels: {np.mean(right):.3f}")
    assert np.mean(right) < 0.45


def test_digits_are_written_once(tmp_path):
    path = samples.sample_folder("digits", tmp_path)
    assert path == tmp_path / "samples" / "digits.zip"
    stamp = path.stat().st_mtime_ns
    assert samples.sample_folder("digits", tmp_path) == path and path.stat().st_mtime_ns == stamp
    store = open_store(path, tmp_path / "stores", 32, workers=2)
    assert len(store) == 1797 and store.class_names == tuple("0123456789")
    zero = store.pixels[store.labels == 0].mean((0, 1))
    assert zero[12:20, 14:18].mean() < 0.5 * zero[12:20, 8:12].mean()  # bright ring, dark middle
    assert zero[:, 0].max() < 20


def test_the_same_pictures_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        samples.write_zip(tmp_path / name, islice(samples.draw_creatures(), 3), "WEBP")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as archive:
        assert archive.namelist() == ["fish/00.webp", "fish/01.webp", "fish/02.webp"]


def test_creatures_are_drawn_where_the_zip_is_not_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "ASSETS", tmp_path / "none")
    monkeypatch.setattr(samples, "KINDS", {"fish": samples.fish, "cat": samples.cat})
    path = samples.sample_folder("creatures", tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 2 * samples.EACH


def test_an_unknown_set_gets_a_sentence(tmp_path):
    assert set(samples.sample_sources()) == {"creatures", "digits"}
    with pytest.raises(InputError, match="creatures"):
        samples.sample_folder("../x", tmp_path)
