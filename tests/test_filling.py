"""ui/filling.py: boxes from class folders, groups and names; what holds examples stays, copies never come twice."""

import numpy as np
import pytest

pytest.importorskip("gradio")

from byolmeta.errors import InputError
from byolmeta.ui import filling
from byolmeta.ui.board import MAX_BOXES, check_boxes
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

WORDS = table("en")


@pytest.fixture
def work(tmp_path):
    return Workspace(tmp_path / "home")


@pytest.fixture
def session(work, pictures, tiny_encoder):
    """36 shapes, twelve of each class, and two empty boxes."""
    session = work.session("filled")
    work.choose(session, pictures, "shapes")
    session.encoder = str(tiny_encoder)
    return session


def names_of(session) -> list[str]:
    return [box["name"] for box in session.boxes["boxes"]]


def examples_of(session) -> list[list[int]]:
    return [box["items"] for box in session.boxes["boxes"]]


def test_class_folders_become_boxes_of_their_own_pictures(work, session):
    rev = session.boxes["rev"]
    update = filling.from_classes(work, WORDS, session, 3)
    store = work.pictures(session).store
    assert names_of(session) == list(store.class_names) and update["boxes"]["force"] is True
    assert session.boxes["rev"] == rev + 1
    for name, items in zip(names_of(session), examples_of(session), strict=True):
        assert len(set(items)) == 3 and {store.class_names[store.labels[i]] for i in items} == {name}
    assert check_boxes(session.boxes, len(store))["boxes"] == session.boxes["boxes"]


def test_once_more_draws_others_and_the_same_board_the_same(work, session):
    drawn = []
    for rev in (3, 3, 8):
        session.boxes = {"rev": rev, "boxes": session.boxes["boxes"][:0]}
        filling.from_classes(work, WORDS, session, 3)
        drawn.append(examples_of(session))
    assert drawn[0] == drawn[1] != drawn[2]


def test_boxes_with_examples_stay_and_their_pictures_are_not_taken(work, session):
    store = work.pictures(session).store
    own = np.flatnonzero(store.labels == 1)[:11].tolist()  # all but one of the second class
    session.boxes["boxes"][1] |= {"name": "mine", "items": own, "colour": 5}
    filling.from_classes(work, WORDS, session, 3)
    assert names_of(session) == ["mine", *store.class_names]
    assert session.boxes["boxes"][0]["items"] == own and session.boxes["boxes"][0]["colour"] == 5
    items = [i for box in examples_of(session) for i in box]
    assert len(items) == len(set(items)) and len(session.boxes["boxes"][2]["items"]) == 1
    with pytest.raises(InputError, match="already"):
        filling.from_classes(work, WORDS, session, 3)


def test_copies_do_not_come_into_boxes_twice(work, session):
    found = work.pictures(session)
    found._copies = np.where(np.arange(36) < 34, 7, np.arange(36))  # all but two are copies of each other
    filling.from_classes(work, WORDS, session, 5)
    copies = [int(found.copies[i]) for items in examples_of(session) for i in items]
    assert len(copies) == len(set(copies)) and copies.count(7) == 1


def test_groups_become_boxes_of_what_is_most_like_them(work, session):
    from byolmeta.ui import paint

    filling.from_groups(work, WORDS, session, 2)
    found = paint.groups_of(work, session, len(session.boxes["boxes"]))
    assert len(session.boxes["boxes"]) <= filling.FEW_GROUPS
    assert sorted(session.grouped) == sorted(i for items in examples_of(session) for i in items)
    assert len(session.boxes["boxes"]) == found.count
    for group, items in enumerate(examples_of(session)):
        assert len(items) == min(2, found.sizes[group]) and set(found.labels[items]) == {group}


def test_groups_are_those_that_the_map_shows(work, session):
    work.seen(session)["count"] = 5
    filling.from_groups(work, WORDS, session, 1)
    assert len(session.boxes["boxes"]) == 5


def test_names_become_empty_boxes(work, session):
    filling.from_names(work, WORDS, session, "cats, dogs\n\n  neither of them ;cats")
    assert names_of(session) == ["cats", "dogs", "neither of them"] and examples_of(session) == [[], [], []]
    session.boxes["boxes"][1]["items"] = [4]
    filling.from_names(work, WORDS, session, "birds")
    assert names_of(session) == ["dogs", "birds"]
    assert len({box["id"] for box in session.boxes["boxes"]}) == 2


def test_one_name_alone_gets_a_second_box(work, session):
    filling.from_names(work, WORDS, session, "cats")
    assert names_of(session) == ["cats", "Box 2"]


def test_what_cannot_be_said_changes_nothing(work, session):
    before = str(session.boxes)
    for text, said in (
        ("  ,\n", "No names"),
        ("x" * 81, "81 characters"),
        ("a\x07b", "plain text"),
        (None, "No names"),
    ):
        with pytest.raises(InputError, match=said):
            filling.from_names(work, WORDS, session, text)
    assert str(session.boxes) == before


def test_a_board_has_no_more_than_its_boxes(work, session):
    session.boxes["boxes"][0]["items"] = [1]
    filling.from_names(work, WORDS, session, ",".join(f"name {n}" for n in range(30)))
    assert len(session.boxes["boxes"]) == MAX_BOXES and names_of(session)[-1] == f"name {MAX_BOXES - 2}"


def test_pictures_without_class_folders_are_told(work, session, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(work.source(session).rglob("*.png"))[:12]):
        (flat / f"{number}.png").write_bytes(path.read_bytes())
    work.choose(session, flat, "flat")
    with pytest.raises(InputError, match="no class folders"):
        filling.from_classes(work, WORDS, session, 3)
