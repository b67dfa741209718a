"""film.py: frames are kept, thinned and read whole, maps follow each other gently, and the GIF shows them."""

import numpy as np
import pytest
from PIL import Image

from byolmeta import film
from byolmeta.errors import InputError
from byolmeta.features import unit
from byolmeta.film import add_frame, between, colour_of, frames, gif, jumps, layouts, shortened
from byolmeta.image_map import umap_layout

IDS = np.array([3, 5, 8, 9, 12, 20])


def vectors(seed, n=len(IDS), dim=40):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def steps(folder):
    return [frame.step for frame in frames(folder)]


# Frames


def test_a_frame_comes_back_with_its_cosines(tmp_path):
    given = vectors(0, 50, 24)
    add_frame(tmp_path / "film", 7, np.arange(50), given)
    (frame,) = frames(tmp_path / "film")
    assert frame.step == 7 and frame.ids.dtype == np.int64 and frame.vectors.dtype == np.float32
    np.testing.assert_array_equal(frame.ids, np.arange(50))
    np.testing.assert_allclose(frame.vectors @ frame.vectors.T, unit(given) @ unit(given).T, atol=5e-3)


def test_wide_vectors_keep_their_main_directions():
    given = vectors(0, 200, 30) @ vectors(1, 30, 300) + 0.05 * vectors(2, 200, 300) + 3  # 31 directions and some noise
    short = shortened(given)
    assert short.shape == (200, 32)
    np.testing.assert_allclose(short @ short.T, unit(given) @ unit(given).T, atol=5e-3)
    assert shortened(vectors(0, 4, 300)).shape == (4, 32)


def test_frames_are_small(tmp_path):
    add_frame(tmp_path, 1, np.arange(2000), vectors(0, 2000, 384))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 140_000  # 2,000 * 32 * 2 bytes, and the ids


def test_of_many_frames_every_second_one_is_dropped_but_not_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "MOST", 8)
    for number in range(30):
        add_frame(tmp_path, 10 * number, IDS, vectors(number))
        found = steps(tmp_path)
        assert found[0] == 0 and found[-1] == 10 * number and len(found) <= 8
        assert len(found) >= min(number + 1, 5)


def test_a_resumed_run_replaces_the_frames_that_it_does_again(tmp_path):
    for step in (0, 10, 20, 30):
        add_frame(tmp_path, step, IDS, vectors(step))
    add_frame(tmp_path, 20, IDS, vectors(99))
    assert steps(tmp_path) == [0, 10, 20]
    np.testing.assert_allclose(frames(tmp_path)[-1].vectors, shortened(vectors(99)), atol=1e-3)


def test_other_pictures_begin_a_film_of_their_own(tmp_path):
    add_frame(tmp_path, 0, IDS, vectors(0))
    add_frame(tmp_path, 10, IDS + 1, vectors(1))
    assert steps(tmp_path) == [10] and len(list(tmp_path.iterdir())) == 1


def test_damaged_frames_are_left_out(tmp_path):
    for step in range(5):
        add_frame(tmp_path, step, IDS, vectors(step))
    whole = (tmp_path / "frame-000000001.npz").read_bytes()
    (tmp_path / "frame-000000001.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "frame-000000002.npz").write_bytes(b"")
    with open(tmp_path / "frame-000000003.npz", "wb") as file:
        np.savez(file, step=3, ids=IDS, vectors=np.full((len(IDS), 4), np.nan))
    (tmp_path / "frame-x.npz").write_bytes(b"what is this")
    assert steps(tmp_path) == [0, 4] and frames(tmp_path / "none") == []
    add_frame(tmp_path, 5, IDS, vectors(5))
    assert steps(tmp_path) == [0, 4, 5]


# Places


class Layout:
    """Turns and shifts the first two numbers of the vectors, and notes where it was asked to begin."""

    def __init__(self):
        self.starts = []

    def __call__(self, given, start):
        self.starts.append(start)
        angle = len(self.starts)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return given[:, :2] @ turn + 5 * angle


@pytest.fixture
def study(tmp_path):
    """A folder with four frames in which pictures move a little each time."""
    first, towards = vectors(0, dim=6), vectors(1, dim=6)
    for number in range(4):
        add_frame(tmp_path, 10 * number, IDS, first + 0.05 * number * towards)
    return tmp_path


def test_each_map_begins_at_the_one_before_and_does_not_spin(study):
    layout = Layout()
    places = layouts(frames(study), layout)
    assert places.shape == (4, 6, 2) and places.dtype == np.float32
    assert layout.starts[0] is None
    for start, before in zip(layout.starts[1:], places, strict=False):
        np.testing.assert_array_equal(start, before)
    assert jumps(places).max() < 0.1  # it turned by a radian and moved by five, each time
    begin = places[2] + 100
    moved = layouts(frames(study), Layout(), start=begin)
    np.testing.assert_allclose(moved[0].mean(0), begin.mean(0), atol=1e-3)


def test_what_is_laid_out_is_not_laid_out_again(study):
    places = layouts(frames(study), Layout(), folder=study)
    layout = Layout()
    np.testing.assert_array_equal(layouts(frames(study), layout, folder=study), places)
    assert not layout.starts
    add_frame(study, 40, IDS, vectors(0, dim=6))
    more = layouts(frames(study), layout, folder=study)
    assert len(layout.starts) == 1 and len(more) == 5
    np.testing.assert_array_equal(more[:4], places)
    (study / "frame-000000010.npz").unlink()  # thinned
    layouts(frames(study), layout, folder=study)
    assert len(layout.starts) == 1
    add_frame(study, 40, IDS, vectors(7, dim=6))  # the same step again, of a resumed run
    layouts(frames(study), layout, folder=study)
    assert len(layout.starts) == 2


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:100], lambda data: b"{}"])
def test_damaged_places_are_made_again(study, damage):
    places = layouts(frames(study), Layout(), folder=study)
    path = study / film.PLACES
    path.write_bytes(damage(path.read_bytes()))
    np.testing.assert_array_equal(layouts(frames(study), Layout(), folder=study), places)


def test_a_caller_that_gives_up_keeps_what_was_made(study):
    def progress(done, total):
        assert total == 4
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        layouts(frames(study), Layout(), folder=study, progress=progress)
    layout = Layout()
    layouts(frames(study), layout, folder=study)
    assert len(layout.starts) == 2


def test_no_frames_no_places(tmp_path):
    assert layouts([], Layout(), folder=tmp_path).shape == (0, 0, 2) and not list(tmp_path.iterdir())


def test_jumps_are_shares_of_the_radius():
    ring = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
    np.testing.assert_allclose(jumps(np.stack([5 * ring, 5 * ring, 5 * ring + [3, 4]])), [0, 1])


def test_maps_of_a_study_follow_each_other_gently(tmp_path):
    random = np.random.default_rng(0)
    labels = np.arange(240) % 6
    middles, own = random.normal(size=(6, 24)), random.normal(size=(240, 24))
    for number, share in enumerate(np.linspace(0.5, 1, 8)):
        add_frame(tmp_path, number, np.arange(240), share * middles[labels] + 0.7 * own)
    found = frames(tmp_path)
    gentle = jumps(layouts(found, umap_layout))
    alone = jumps(layouts(found, lambda given, start: umap_layout(given)))
    assert gentle.mean() < 0.3 and gentle.max() < 0.45
    assert gentle.mean() < 0.7 * alone.mean()  # each made by itself, turned as well as can be


# The moving picture


def drawn(path):
    with Image.open(path) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append((np.asarray(image.convert("RGB")).astype(int), image.info["duration"]))
    return [picture for picture, _ in found], [duration for _, duration in found]


def near(picture, colour):
    """Rows and columns of the points of about this colour, above the line."""
    return np.argwhere(np.abs(picture[:-4] - colour).max(2) < 12)


TWO = np.array([[[-1, 0], [1, 0.5]], [[0, 1], [1, 0.5]], [[1, 1], [1, -0.5]]], np.float32)


@pytest.mark.parametrize("dark", (False, True))
def test_a_gif_shows_dots_where_they_are(tmp_path, dark):
    gif(tmp_path / "film.gif", TWO, np.array([0, -1]), size=120, seconds=1, dark=dark)
    pictures, durations = drawn(tmp_path / "film.gif")
    assert len(pictures) == 20 and set(durations[:-1]) == {50} and durations[-1] == 1200
    assert all(picture.shape == (120, 120, 3) for picture in pictures)
    ground = pictures[0][2, 60]
    assert ground.tolist() == list(film.DARK if dark else film.PAPER)
    columns = [near(picture, colour_of(0))[:, 1].mean() for picture in pictures]
    assert columns[0] < 12 and columns[-1] > 108 and all(np.diff(columns) > -2)  # from the left to the right
    rows = [near(picture, colour_of(0))[:, 0].mean() for picture in pictures]
    assert rows[0] > rows[-1] + 20  # up, as y grows
    assert len(near(pictures[0], film.GREY)) > 20 and [path.name for path in tmp_path.iterdir()] == ["film.gif"]


def test_the_line_tells_how_far_the_film_is(tmp_path):
    gif(tmp_path / "film.gif", TWO, size=100, seconds=1)
    grey = [(np.abs(picture[-1] - film.GREY).max(1) < 12).sum() for picture in drawn(tmp_path / "film.gif")[0]]
    assert grey[0] <= 1 and 40 < grey[10] < 60 and grey[-1] == 100 and grey == sorted(grey)


def test_a_gif_shows_the_pictures_when_they_are_few(tmp_path):
    red, green = ([np.full((8, 8), value, np.uint8) for value in colour] for colour in ((210, 30, 20), (20, 160, 40)))
    gif(tmp_path / "film.gif", TWO, None, np.array([red, green]), size=160, seconds=1)
    pictures, _ = drawn(tmp_path / "film.gif")
    assert len(near(pictures[0], (210, 30, 20))) == pytest.approx(64 * 64, rel=0.05)
    assert pictures[0][2, 2].tolist() == list(film.PAPER)
    gif(tmp_path / "film.gif", TWO, np.array([1, 0]), np.array([red, green]), size=160, seconds=1)
    pictures, _ = drawn(tmp_path / "film.gif")
    assert len(near(pictures[0], colour_of(1))) > 200 and len(near(pictures[0], (210, 30, 20))) > 3000  # with a border


@pytest.mark.parametrize("dark", (False, True))
def test_the_ground_stays_pure_beside_pictures_of_nearly_its_colour(tmp_path, dark):
    low, high = (10, 30) if dark else (235, 255)
    pixels = np.random.default_rng(0).integers(low, high, (2, 3, 8, 8)).astype(np.uint8)
    gif(tmp_path / "film.gif", TWO, None, pixels, size=160, seconds=1, dark=dark)
    for picture in drawn(tmp_path / "film.gif")[0]:
        assert picture[2, 2].tolist() == list(film.DARK if dark else film.PAPER)


def test_more_pictures_than_have_room_are_dots(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "MOST_PICTURES", 1)
    gif(tmp_path / "film.gif", TWO, None, np.full((2, 3, 8, 8), 40, np.uint8), size=160, seconds=1)
    picture = drawn(tmp_path / "film.gif")[0][0]
    assert not len(near(picture, (40, 40, 40))) and len(near(picture, film.GREY)) > 20


def test_two_thousand_dots_stay_below_six_megabytes(tmp_path):
    random = np.random.default_rng(0)
    places = random.normal(size=(1, 2000, 2)) + 0.1 * random.normal(size=(12, 2000, 2)).cumsum(0)
    gif(tmp_path / "film.gif", places.astype(np.float32), np.arange(2000) % 24)
    assert 100_000 < (tmp_path / "film.gif").stat().st_size < 6e6


def test_one_frame_is_a_still_and_none_is_said(tmp_path):
    gif(tmp_path / "film.gif", TWO[:1], size=100)
    assert len(drawn(tmp_path / "film.gif")[0]) == 1
    gif(tmp_path / "film.gif", np.zeros((3, 1, 2), np.float32), size=100, seconds=1)
    assert near(drawn(tmp_path / "film.gif")[0][0], film.GREY).mean(0) == pytest.approx([50, 50], abs=1)
    with pytest.raises(InputError, match="no film yet"):
        gif(tmp_path / "other.gif", layouts([], Layout()))
    assert not (tmp_path / "other.gif").exists()


def test_moments_between_frames():
    places = vectors(0, 5, 6).reshape(5, 3, 2)
    for number in range(5):
        np.testing.assert_allclose(between(places, number), places[number], atol=1e-6)
    line = np.arange(5, dtype=float)[:, None, None] * [[1.0, 2.0]]
    np.testing.assert_allclose(between(line, 1.25), [[1.25, 2.5]])  # even motion stays even
    early, late = between(places, 2 - 1e-4), between(places, 2 + 1e-4)
    np.testing.assert_allclose(places[2] - early, late - places[2], atol=1e-5)  # no corner at a frame


def test_colours_are_those_of_the_page():
    from pathlib import Path

    script = (Path(film.__file__).parent / "ui/scatter/map.js").read_text(encoding="utf-8")
    assert all(f'"{colour}"' in script for colour in film.PALETTE)
    assert colour_of(0) == (0, 114, 178) and colour_of(-1) == film.GREY
    assert colour_of(8) == (115, 177, 213) and colour_of(16) == (0, 74, 116) and colour_of(24) == colour_of(0)


def test_damaged_frames_and_places_are_left_out(study):
    whole = frames(study)
    place = next(study.glob("frame-*.npz"))
    for arrays in (
        {"step": 1, "ids": np.empty(0, np.int32), "vectors": np.empty((0, 4), np.float16)},
        {"step": 1, "ids": np.array([[1]]), "vectors": np.ones((1, 4), np.float16)},
        {"step": 1, "ids": np.array([-1]), "vectors": np.ones((1, 4), np.float16)},
    ):
        np.savez(place, **arrays)
        assert len(frames(study)) == len(whole) - 1
    place.write_bytes(np.random.default_rng(0).bytes(3000))
    assert len(frames(study)) == len(whole) - 1
    found = frames(study)
    np.savez(study / "film.npz", keys=np.array([f.key for f in found]), places=np.zeros((len(found), 5, 2), np.float32))
    assert layouts(found, Layout(), folder=study).shape == (len(found), len(found[0].ids), 2)
    np.savez(study / "film.npz", keys=np.zeros((2, 2)), places=np.zeros((2, 5, 2), np.float32))
    assert len(layouts(found, Layout(), folder=study)) == len(found)
