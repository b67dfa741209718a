"""classifier.py: a task's answers apart from its folder, as a table, and as copies in class folders."""

import dataclasses
import os
import zipfile

import numpy as np
import pytest
import torch
from conftest import draw_pictures

from byolmeta.adapt import Answer, sort_pictures
from byolmeta.classifier import folders_of, rows_of, sorted_folder, sorted_zip, teach
from byolmeta.errors import InputError
from byolmeta.learners import LEARNERS, learner
from byolmeta.scan import index_images

NAMES = ("disc", "square", "bar")


@pytest.fixture
def task():
    """Vectors of 60 pictures of three kinds and of none, and three examples a kind: vectors, support, labels."""
    random = np.random.default_rng(0)
    kinds = np.arange(60) % 4
    vectors = random.normal(size=(4, 12))[kinds] * 2 + random.normal(size=(60, 12))
    support = np.array([0, 1, 2, 4, 5, 6, 8, 9, 10])
    return torch.from_numpy(vectors).float(), support, kinds[support]


def answers(sure, label) -> Answer:
    zeros = np.zeros(len(sure), np.float32)
    return Answer(np.array(label), zeros + 0.25, np.array(sure, np.uint8), zeros, np.array(label), zeros)


@pytest.mark.parametrize("name", LEARNERS)
def test_it_says_what_the_page_says(task, name):
    vectors, support, labels = task
    copies = np.arange(60)
    copies[1] = copies[5]
    found = teach(learner(name), vectors, support, labels, NAMES, copies).sort(vectors)
    wanted = sort_pictures(learner(name), vectors, support, labels, 3, copies)
    for field in dataclasses.fields(Answer):
        mine, theirs = getattr(found, field.name), getattr(wanted, field.name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, atol=1e-6, err_msg=field.name)
    assert len(set(found.sure)) > 1  # else nothing was compared


def test_answers_do_not_depend_on_the_others_that_are_asked(task):
    vectors, support, labels = task
    classifier = teach(learner("anil"), vectors, support, labels, NAMES)
    whole, alone = classifier.sort(vectors), classifier.sort(vectors[40:43])
    np.testing.assert_allclose(whole.score[40:43], alone.score, atol=1e-6)
    assert whole.sure[40:43].tolist() == alone.sure.tolist()


def test_a_class_without_examples_is_never_the_answer(task):
    vectors, support, labels = task
    found = teach(learner("prototype"), vectors, support, labels, (*NAMES, "empty")).sort(vectors)
    assert 3 not in found.label


def test_vectors_of_another_encoder_and_a_single_class_are_refused(task):
    vectors, support, labels = task
    with pytest.raises(InputError, match="vectors of 5 numbers and the examples of 12"):
        teach(learner("anil"), vectors, support, labels, NAMES).sort(vectors[:, :5])
    with pytest.raises(InputError, match="a second box"):
        teach(learner("anil"), vectors, support[:1], labels[:1], NAMES)


def test_rows_tell_where_pictures_go_and_where_the_user_put_them():
    rows = rows_of(["a.png", "b\udcff.png"], answers([0, 0], [1, 1]), NAMES, {1: 2})
    assert rows == [
        {"path": "a.png", "label": "square", "score": 0.25, "none_of_these": True},
        {"path": "b\ufffd.png", "label": "bar", "score": 1.0, "none_of_these": False},
    ]


@pytest.fixture
def index(tmp_path):
    return index_images(draw_pictures(tmp_path / "mine", each=2))  # bar/0, bar/1, disc/0 ...


def test_copies_go_to_their_class_folders_and_the_originals_stay(index, tmp_path):
    before = {path: (index.source / path).stat() for path in index.paths}
    answer = answers([3, 2, 1, 0, 3, 1], [0, 0, 0, 0, 1, 1])
    given = {5: 2}
    wanted = {"disc/0.png", "disc/1.png", "unsure/0.png", "none of these/1.png", "square/0.png", "bar/1.png"}
    assert sorted_zip(index, answer, NAMES, tmp_path / "sorted.zip", given) == 6
    with zipfile.ZipFile(tmp_path / "sorted.zip") as made:
        assert set(made.namelist()) == wanted
        assert made.read("bar/1.png") == (index.source / index.paths[5]).read_bytes()
    assert sorted_folder(index, answer, NAMES, tmp_path / "out" / "sorted", given) == 6
    found = [p for p in (tmp_path / "out" / "sorted").rglob("*") if p.is_file()]
    assert {p.relative_to(tmp_path / "out" / "sorted").as_posix() for p in found} == wanted
    assert (tmp_path / "out/sorted/unsure/0.png").read_bytes() == (index.source / index.paths[2]).read_bytes()
    after = {path: (index.source / path).stat() for path in index.paths}
    assert all((before[p].st_mtime_ns, before[p].st_size) == (after[p].st_mtime_ns, after[p].st_size) for p in before)


def test_pictures_of_one_name_get_numbers(index, tmp_path):
    answer = answers([3] * 6, [0] * 6)
    sorted_folder(index, answer, NAMES, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out" / "disc")) == sorted(
        f"{n}{extra}.png" for n in (0, 1) for extra in ("", " (2)", " (3)")
    )


def test_names_of_boxes_cannot_leave_the_folder_or_meet(index):
    names = ("../../up", "a/b", "Unsure", "unsure", "..", "")
    found = folders_of(index, answers([3, 3, 3, 3, 3, 1], [0, 1, 2, 3, 4, 5]), names)
    folders = [found[path] for path in index.paths]
    assert folders == [".._.._up", "a_b", "Unsure", "unsure (2)", "picture", "unsure (3)"]


def test_a_folder_that_is_full_or_among_the_pictures_is_left_alone(index, tmp_path):
    answer = answers([3] * 6, [0] * 6)
    with pytest.raises(InputError, match="only read"):
        sorted_folder(index, answer, NAMES, index.source / "new")
    assert not (index.source / "new").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        sorted_folder(index, answer, NAMES, tmp_path / "full")
    assert os.listdir(tmp_path / "full") == ["mine.txt"]


def test_a_picture_that_is_gone_leaves_no_half_copy(index, tmp_path):
    (index.source / index.paths[4]).unlink()
    answer = answers([3] * 6, [0] * 6)
    with pytest.raises(InputError, match="Open the pictures again"):
        sorted_folder(index, answer, NAMES, tmp_path / "out")
    with pytest.raises(InputError, match="Open the pictures again"):
        sorted_zip(index, answer, NAMES, tmp_path / "out.zip")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.zip").exists()
