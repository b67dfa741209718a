"""occlusion.py: covers hide what they say, parts that were planted are found, every learner is asked as it answered."""

import numpy as np
import pytest
from PIL import Image

from byolmeta import commands, fewshot
from byolmeta.episodes import Tasks
from byolmeta.errors import InputError
from byolmeta.images import open_store
from byolmeta.learners import LEARNERS
from byolmeta.measure import candidate, draw_tasks
from byolmeta.occlusion import BLUE, CELLS, COVER, ORANGE, covers_of, occlusion, panels

SIZE = 32
LEFT, RIGHT = np.s_[:, 2:10, 2:10], np.s_[:, 22:30, 22:30]  # where the two classes have their spot


def pictures_of(*spots) -> np.ndarray:
    """Grey noise with a white spot in each of the places, uint8 (3, SIZE, SIZE)."""
    picture = np.random.default_rng(len(spots)).integers(90, 110, (3, SIZE, SIZE), dtype=np.uint8)
    for spot, light in spots:
        picture[spot] = light
    return picture


@pytest.fixture
def planted(tmp_path):
    """A store of two classes, told apart by a spot; row 2 is of the left one and shows both spots, the right one brighter."""
    shown = {"left/0": [(LEFT, 240)], "left/1": [(LEFT, 250)], "left/2": [(LEFT, 190), (RIGHT, 250)]}
    for name, spots in (shown | {"right/0": [(RIGHT, 240)], "right/1": [(RIGHT, 250)]}).items():
        path = tmp_path / "planted" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures_of(*spots).transpose(1, 2, 0)).save(path)
    return open_store(tmp_path / "planted", tmp_path / "stores", SIZE)


TASK = Tasks(np.array([[0, 3]]), np.array([[0, 1]]), np.array([[2, 1]]), np.array([[0, 0]]), 2)


def test_covers_hide_every_cell_as_often_and_nothing_else():
    picture = np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8)
    covered, cells = covers_of(picture)
    assert len(covered) == len(cells) == (CELLS + COVER - 1) ** 2 and (cells.sum(0) == COVER**2).all()
    number = next(i for i in range(len(cells)) if cells[i].sum() == COVER**2)
    changed = (covered[number] != picture).any(0)
    hidden = np.repeat(np.repeat(cells[number], 8, 0), 8, 1)
    assert changed[hidden].mean() > 0.9
    far = np.ones_like(hidden)
    far[:40, :40] = False  # the first whole cover lies at the top left, its soft edge reaches some points beyond
    assert not changed[far].any()
    assert covered[number][:, 4:20, 4:20].std() < picture[:, 4:20, 4:20].std() / 4  # blurred


@pytest.mark.parametrize("name", ["prototype", "ridge", "anil", "linear"])
def test_the_part_that_misleads_is_found(planted, tmp_path, name):
    one = candidate("pixels", name, planted, tmp_path)
    found = occlusion(one, planted, TASK, 0, 2)
    assert (found.said, found.against) == (1, 0) and found.scores.argmax() == 1
    assert found.scores.sum() == pytest.approx(1, abs=1e-5)
    assert found.heat[5:, 5:].mean() > 0 > found.heat[:3, :3].mean()
    assert np.unravel_index(found.heat.argmax(), found.heat.shape) >= (5, 5)
    assert max(np.unravel_index(found.heat.argmin(), found.heat.shape)) <= 2
    assert 0 < found.turned < found.covers == 100


def test_a_right_answer_is_told_from_the_next_best(planted, tmp_path):
    found = occlusion(candidate("pixels", "anil", planted, tmp_path), planted, TASK, 0, 1)
    assert (found.said, found.against) == (0, 1) and np.unravel_index(found.heat.argmax(), found.heat.shape) <= (2, 2)


@pytest.mark.parametrize("name", sorted(LEARNERS))
@pytest.mark.parametrize("encoder", ["pixels", "untrained:conv4"])
def test_scores_are_those_of_the_answers(pictures, tmp_path, encoder, name):
    store = open_store(pictures, tmp_path / "stores", 16)
    tasks, _ = draw_tasks(store, 3, 2, 3, 2, 0)
    one = candidate(encoder, name, store, tmp_path)
    answers = one.answers(tasks)
    for number in range(2):
        scores = one.scores(tasks.part(slice(number, number + 1)), store.pixels[tasks.query[number]])
        assert scores.shape == (9, 3) and (scores.argmax(1) == answers[number]).all()


def test_panels_show_the_picture_and_both_colours():
    heat = np.zeros((CELLS, CELLS), np.float32)
    heat[:3, :3], heat[5:, 5:] = 1, -1
    both = np.asarray(panels(np.full((3, SIZE, SIZE), 200, np.uint8), heat, 64)).astype(int)
    assert both.shape == (64, 128, 3) and (both[:, :64] == 200).all()
    toward = [np.abs(both[8, 64 + 8] - colour).sum() for colour in (ORANGE, BLUE)]
    away = [np.abs(both[56, 64 + 56] - colour).sum() for colour in (ORANGE, BLUE)]
    assert toward[0] < toward[1] and away[1] < away[0]
    assert np.ptp(both[32, 64 + 32]) < 12  # no heat, no colour
    assert np.isfinite(np.asarray(panels(np.zeros((3, 16, 16), np.uint8), heat * 0, 32))).all()


def test_the_first_task_in_which_it_failed():
    labels = np.array([0, 1, 2, 0, 1, 2])
    tasks = Tasks(
        np.array([[0, 1], [0, 2]]),
        np.array([[0, 1], [1, 0]]),
        np.array([[3, 4], [3, 5]]),
        np.array([[0, 1], [1, 0]]),
        2,
    )
    answers = np.array([[1, 1], [0, 1]])  # 3 is taken for class 1, then for class 2; 5 for class 0
    assert fewshot.first_failure(answers, tasks, labels, 3, 1) == 0
    assert fewshot.first_failure(answers, tasks, labels, 3, 2) == 1
    assert fewshot.first_failure(answers, tasks, labels, 5, 0) == 1
    assert fewshot.first_failure(answers, tasks, labels, 5, 1) is None


def test_the_verb_paints_what_fails(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))
    asked = {"way": 3, "episodes": 20, "learner": "ridge"}
    found = commands.fewshot("pixels", pictures, out=tmp_path / "wrong.csv", why=tmp_path / "why", **asked)
    files = sorted((tmp_path / "why").iterdir())
    rows = (tmp_path / "wrong.csv").read_text("utf-8-sig").splitlines()[1:]
    assert found["painted"] == len(files) == min(20, len(rows)) > 0
    assert files[0].name.startswith("01-") and Image.open(files[0]).size == (512, 256)
    with pytest.raises(InputError, match="not empty"):
        commands.fewshot("pixels", pictures, why=tmp_path / "why", **asked)
    with pytest.raises(InputError, match="only read"):
        commands.fewshot("pixels", pictures, why=pictures / "why", **asked)
    assert not (pictures / "why").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be made"):
        commands.fewshot("pixels", pictures, why=tmp_path / "file" / "why", **asked)
