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
    copies = teach.copies_of(work.pictures(session), session.extras)
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
