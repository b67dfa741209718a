"""ui/carry.py: what was taught, as files that the browser fetches, gives the page's own answers."""

import csv
import io
import json
import zipfile

import numpy as np
import pytest
import torch

pytest.importorskip("gradio")

from byolmeta import adapt, commands
from byolmeta.errors import InputError
from byolmeta.ui import carry, teach
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

WORDS = table("en")


@pytest.fixture
def work(tmp_path):
    return Workspace(tmp_path / "home")


@pytest.fixture
def session(work, pictures, tiny_encoder):
    session = work.session("carrying")
    work.choose(session, pictures, "shapes")
    session.encoder = str(tiny_encoder)
    session.boxes["boxes"][0]["items"], session.boxes["boxes"][1]["items"] = [0, 1, 2], [12, 13]
    session.boxes["boxes"][0]["name"] = "bars"
    return session


def taken(work, session, kind):
    found = json.loads(carry.saved(work, WORDS, session, kind))
    return next((work.home / "thumbs" / "exports").glob(f"*/{found['name']}"))


def page_answers(work, session):
    support, labels = np.array([0, 1, 2, 12, 13]), np.array([0, 0, 0, 1, 1])
    method = teach.learner_of(work, session, work.encoder(session))
    copies = work.copies(session)
    return adapt.sort_pictures(method, torch.from_numpy(work.bank(session)), support, labels, 2, copies)


def test_the_list_says_what_the_page_says(work, session):
    rows = list(csv.DictReader(io.StringIO(taken(work, session, "csv").read_text("utf-8-sig"))))
    answer, names = page_answers(work, session), ["bars", "Box 2"]
    assert len(rows) == 36 and rows[0]["label"] == "bars" and rows[12]["label"] == "Box 2"
    for row in (5, 20, 30):
        assert rows[row]["label"] == names[answer.label[row]]
        assert float(rows[row]["score"]) == pytest.approx(answer.score[row], abs=1e-4)
        assert (rows[row]["none_of_these"] == "True") == (answer.sure[row] == 0)


def test_copies_lie_in_class_folders(work, session, pictures):
    with zipfile.ZipFile(taken(work, session, "zip")) as made:
        names = made.namelist()
        assert len(names) == 36 and {name.split("/")[0] for name in names} <= {
            "bars",
            "Box 2",
            "unsure",
            "none of these",
        }
        path = work.pictures(session).store.index.paths[0]
        assert made.read(f"bars/{path.split('/')[-1]}") == (pictures / path).read_bytes()


def test_a_project_gives_the_same_answers_elsewhere(work, session, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "other"))
    found = commands.classify(str(taken(work, session, "project")), images=pictures)["images"]
    answer, names = page_answers(work, session), ["bars", "Box 2"]
    assert [one["label"] for one in found] == [names[label] for label in answer.label]
    np.testing.assert_allclose([one["score"] for one in found], answer.score, atol=2e-4)


def test_nothing_to_take_along_says_so(work, session):
    session.boxes["boxes"][1]["items"] = []
    for kind in carry.KINDS:
        with pytest.raises(InputError, match="each of two boxes"):
            carry.saved(work, WORDS, session, kind)
    session.boxes["boxes"][1]["items"], session.encoder = [12], "untrained"
    with pytest.raises(InputError, match="untrained"):
        carry.saved(work, WORDS, session, "project")


# ---- copies in a folder of this computer


def test_copies_go_into_a_folder_of_this_computer(work, session, pictures, tmp_path):
    from byolmeta.tidy import originals

    before = {path: path.read_bytes() for path in sorted(pictures.rglob("*.png"))}
    said = carry.copied(work, WORDS, session, f' "{tmp_path / "sorted"}" ')
    assert "36 copies lie in" in said["value"] and said["visible"] is True
    copies = list((tmp_path / "sorted").glob("*/*"))
    assert len(copies) == 36 and {path: path.read_bytes() for path in sorted(pictures.rglob("*.png"))} == before
    assert sorted(path.read_bytes() for path in copies) == sorted(before.values())
    with originals(work.pictures(session).store.index) as read:
        first = work.pictures(session).store.index.paths[0]
        assert read(first) in [path.read_bytes() for path in (tmp_path / "sorted" / "bars").iterdir()]


def test_folders_that_cannot_take_copies_are_told(work, session, pictures, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    for folder, said in (
        ("", "No folder"),
        (None, "No folder"),
        (str(tmp_path / "full"), "not empty"),
        (str(pictures / "new"), "only read"),
        ("\0", "not a path"),
    ):
        with pytest.raises(InputError, match=said):
            carry.copied(work, WORDS, session, folder)
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep" and not (pictures / "new").exists()
    with pytest.raises(InputError, match="no folder|path"):
        carry.copied(Workspace(tmp_path / "other", public=True), WORDS, session, str(tmp_path / "sorted"))


# ---- a project file comes back


def answers_of(work, session):
    made = teach.classifier_of(work, session, work.encoder(session))
    return made.sort(torch.from_numpy(work.bank(session)[: len(work.pictures(session).store)]))


def test_a_project_opens_on_another_machine_with_the_same_answers(work, session, pictures, tmp_path):
    session.boxes["boxes"][1]["colour"] = 6
    session.learner = "ridge"
    file, before = taken(work, session, "project"), answers_of(work, session)
    other = Workspace(tmp_path / "elsewhere")
    theirs = other.session("local")
    other.choose(theirs, pictures, "shapes")
    carry.opened(other, WORDS, theirs, str(file))
    assert other.encoder(theirs).startswith(str(other.home)) and theirs.learner == "ridge" and theirs.extras == 0
    boxes = theirs.boxes["boxes"]
    assert [(box["name"], box["items"]) for box in boxes] == [("bars", [0, 1, 2]), ("Box 2", [12, 13])]
    assert boxes[1]["colour"] == 6
    after = answers_of(other, theirs)
    assert (after.label == before.label).all() and (after.sure == before.sure).all()
    assert after.score == pytest.approx(before.score, abs=1e-4)
    assert other.encoder(theirs) in [where for _, where in other.encoders(theirs)]


def test_examples_that_are_not_among_the_pictures_are_added(work, session, pictures, tmp_path, monkeypatch):
    file = taken(work, session, "project")
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(pictures.rglob("*.png"))[20:32]:
        (few / path.name).write_bytes(path.read_bytes())
    other = Workspace(tmp_path / "elsewhere")
    theirs = other.session("local")
    other.choose(theirs, few, "few")
    told = []
    monkeypatch.setattr(carry.gr, "Info", lambda text, **_: told.append(text))
    for _ in range(2):  # the second time they are there already, but not among the pictures
        carry.opened(other, WORDS, theirs, str(file))
    assert len(told) == 2 and all("0 of its examples are among them, 5" in text for text in told)
    assert theirs.extras == 5 and sorted(i for box in theirs.boxes["boxes"] for i in box["items"]) == list(
        range(12, 17)
    )
    support = [0, 1, 2, 12, 13]
    was, now = work.pixels(session, np.array(support)), other.pixels(theirs, np.arange(12, 17))
    assert (was == now).all()  # so that the same encoder sees the same
    assert other.bank(theirs)[12:] == pytest.approx(work.bank(session)[support], abs=1e-4)


def test_pictures_are_known_by_their_content_whatever_their_names(work, session, pictures, tmp_path):
    file = taken(work, session, "project")
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, path in enumerate(reversed(work.pictures(session).store.index.paths)):
        (renamed / f"{number:02}.png").write_bytes((pictures / path).read_bytes())
    (renamed / "99.png").write_bytes((renamed / "35.png").read_bytes())  # a copy of the first example
    other = Workspace(tmp_path / "elsewhere")
    theirs = other.session("local")
    other.choose(theirs, renamed, "renamed")
    carry.opened(other, WORDS, theirs, str(file))
    assert [box["items"] for box in theirs.boxes["boxes"]] == [[35, 34, 33], [23, 22]] and theirs.extras == 0


def test_a_starter_in_a_project_is_that_starter(work, pictures, tmp_path):
    from byolmeta.files import starters

    session = work.session("starter")
    work.choose(session, pictures, "shapes")
    session.encoder = starters()[0]
    session.boxes["boxes"][0]["items"], session.boxes["boxes"][1]["items"] = [0, 1], [12, 13]
    file = taken(work, session, "project")
    theirs = work.session("again")
    work.choose(theirs, pictures, "shapes")
    carry.opened(work, WORDS, theirs, str(file))
    assert theirs.encoder == starters()[0]


def test_a_file_that_is_no_project_changes_nothing(work, session, tmp_path):
    before = str(session)
    wrong = tmp_path / "wrong.byolmeta"
    wrong.write_bytes(b"PK nothing")
    for path in (str(wrong), str(tmp_path / "none.byolmeta"), None, ""):
        with pytest.raises(InputError):
            carry.opened(work, WORDS, session, path)
    assert str(session) == before


def test_a_visitors_encoder_is_theirs_and_leaves_with_them(work, session, pictures, tmp_path):
    file = taken(work, session, "project")
    public = Workspace(tmp_path / "public", public=True)
    one, two = public.session("a" * 32), public.session("b" * 32)
    for each in (one, two):
        public.choose(each, pictures, "shapes")
    carry.opened(public, WORDS, one, str(file))
    assert public.encoder(one) in [where for _, where in public.encoders(one)]
    assert public.encoder(one) not in [where for _, where in public.encoders(two)]
    place = public.imported(one)
    assert list(place.glob("*.safetensors"))
    public.forget(one.name)
    assert not place.exists()
