"""ui/advice.py: concerns and forecast as sentences, and questions whose answers go into the boxes."""

from types import SimpleNamespace

import pytest

pytest.importorskip("gradio")

from byolmeta.errors import InputError
from byolmeta.ui import advice
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

WORDS = table("en")


@pytest.fixture
def work(tmp_path):
    return Workspace(tmp_path / "home")


@pytest.fixture
def session(work, pictures, tiny_encoder):
    """36 shapes, twelve of each class, and two boxes."""
    session = work.session("advised")
    work.choose(session, pictures, "shapes")
    session.encoder = str(tiny_encoder)
    return session


def fill(session, *boxes):
    for box, items in zip(session.boxes["boxes"], boxes, strict=False):
        box["items"] = list(items)


def turned(work, session, act, row=-1):
    return advice.turned(work, WORDS, session, SimpleNamespace(act=act, id=row, box=None))


def test_nothing_is_advised_before_two_boxes_have_a_picture(work, session):
    assert advice.advise(work, WORDS, session) == ["", ""]
    fill(session, [0])
    assert advice.advise(work, WORDS, session) == ["", ""]


def test_boxes_with_one_picture_are_told(work, session):
    fill(session, [0], [12, 13, 14])
    text, question = advice.advise(work, WORDS, session)
    assert "Box 1 has one picture only" in text and "Box 2 has" not in text
    assert "data-act='ask'" in question and "data-act='put'" not in question


def test_names_are_text(work, session):
    fill(session, [0], [12])
    session.boxes["boxes"][0]["name"] = "<b>&"
    assert "&lt;b&gt;&amp; has one picture only" in advice.advise(work, WORDS, session)[0]
    question = turned(work, session, "ask")[1]
    assert "<b>&" not in question and "&lt;b&gt;" in question


def test_a_question_is_answered_skipped_and_ended(work, session):
    fill(session, [0, 1], [12, 13])
    _, question = turned(work, session, "ask")
    asked = work.seen(session)["question"]
    assert f"data-id='{asked}'" in question and "data-act='ask'" not in question and asked not in (0, 1, 12, 13)
    second = session.boxes["boxes"][1]["id"]
    board = advice.answered(work, WORDS, session, SimpleNamespace(act="put", id=asked, box=second))
    assert asked in session.boxes["boxes"][1]["items"] and board["boxes"]["force"] is True
    advice.advise(work, WORDS, session)
    following = work.seen(session)["question"]
    assert following != asked
    turned(work, session, "skip", following)
    assert work.seen(session)["question"] not in (asked, following)
    for wrong in (
        ("put", asked, second),
        ("put", None, second),
        ("put", work.seen(session)["question"], "b99"),
    ):
        with pytest.raises(InputError, match="out of date"):
            advice.answered(
                work, WORDS, session, SimpleNamespace(**dict(zip(("act", "id", "box"), wrong, strict=True)))
            )
    for act, row in (("eat", 0), ("skip", asked), ("skip", None)):
        with pytest.raises(InputError, match="out of date"):
            turned(work, session, act, row)
    turned(work, session, "close")
    assert advice.advise(work, WORDS, session)[1].count("data-act='ask'") == 1


def test_when_no_picture_is_left_it_says_so(work, session):
    fill(session, range(0, 18), range(18, 36))
    assert "No picture is left" in turned(work, session, "ask")[1]


def test_a_forecast_keeps_its_range(work, session):
    line = advice.forecast_line(SimpleNamespace(more=3, gain=0.08, low=0.02, high=0.14), WORDS)
    assert "About 3 more" in line and "8 points (between 2 and 14)" in line
    assert "or nothing (up to 14)" in advice.forecast_line(
        SimpleNamespace(more=3, gain=0.08, low=-0.02, high=0.14), WORDS
    )


def test_an_example_that_lies_in_another_folder_is_named_with_its_picture(work, session):
    fill(session, [0, 1, 2, 3, 20], [12, 13, 14, 15])
    text = advice.advise(work, WORDS, session)[0]
    store = work.pictures(session).store
    assert f"A picture in Box 1 lies in the folder {store.class_names[store.labels[20]]}: <span" in text
    fill(session, [0, 1, 2, 3], [12, 13, 14, 15])
    assert "lies in the folder" not in advice.advise(work, WORDS, session)[0]
