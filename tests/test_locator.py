"""ui/locate.py without a browser: what is accepted, searched, stopped and kept."""

import csv
import json
import os

import numpy as np
import pytest

pytest.importorskip("gradio")

from types import SimpleNamespace

from conftest import scene

from byolmeta.errors import InputError
from byolmeta.ui import locate
from byolmeta.ui.locator import check_marks
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

WORDS = table("en")
CLASS = {"id": "c1", "name": "ring", "colour": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    for seed in range(6):
        scene(seed, "ring cross")[0].save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def there(tmp_path, folder):
    """(workspace, session) with six pictures of a ring and a cross, the step opened."""
    work = Workspace(tmp_path / "home")
    session = work.session("local")
    work.choose(session, folder, "scenes")
    list(locate.arrive(work, WORDS, session))
    return work, session


def box(seed: int, number: int = 0, **more) -> dict:
    image, boxes = scene(seed, "ring cross")
    left, top, right, bottom = boxes[number]
    at = [left / image.width, top / image.height, right / image.width, bottom / image.height]
    return {"id": f"m{seed}{number}", "row": seed, "cls": "c1", "kind": "box", "at": at} | more


def sent(work, session, marks, classes=(CLASS,), **more):
    rev = session.marks["rev"] + 1
    state = {
        "rev": rev,
        "base": rev - 1,
        "classes": list(classes),
        "marks": marks,
        "key": work.pictures(session).sheets["key"],
    } | more
    return SimpleNamespace(_data=state)


def search(work, session, marks, **more) -> list[dict]:
    """All states of `found` that the page is shown."""
    return [
        update["found"]
        for update in locate.marked(work, WORDS, session, sent(work, session, marks, **more))
        if "found" in update
    ]


BAD = [
    None, [], "x", {"rev": "1"}, {"rev": 1, "classes": [], "marks": []}, {"rev": -1, "classes": [CLASS], "marks": []},
    {"rev": 1, "classes": [CLASS] * 2, "marks": []}, {"rev": 1, "classes": [CLASS | {"colour": 9}], "marks": []},
    {"rev": 1, "classes": [CLASS | {"name": 3}], "marks": []}, {"rev": 1, "classes": [CLASS] * 9, "marks": []},
]  # fmt: skip
BAD_MARKS = [
    {"cls": []}, {"cls": {}}, {"id": "c²"}, {"at": [0, 0, 10**400, 1]},
    {"row": 6}, {"row": -1}, {"row": True}, {"cls": "c2"}, {"id": "<b>"}, {"kind": "blob"}, {"at": [0, 0, 1]}, {"at": [0.5, 0, 0.5, 1]},
    {"at": [0, 0, 1, 1.1]}, {"at": [0, 0, float("nan"), 1]}, {"at": ["0", 0, 1, 1]}, {"kind": "stroke"},
    {"kind": "stroke", "points": [[0.5, 2]], "radius": 0.1}, {"kind": "stroke", "points": [[0.5, 0.5]] * 501, "radius": 0.1},
]  # fmt: skip


@pytest.mark.parametrize("state", BAD, ids=range(len(BAD)))
def test_what_is_no_state_is_refused_with_a_sentence(state):
    with pytest.raises(InputError, match=r"\.$"):
        check_marks(state, 6)


@pytest.mark.parametrize("wrong", BAD_MARKS, ids=range(len(BAD_MARKS)))
def test_what_is_no_mark_is_refused_with_a_sentence(wrong):
    mark = {"id": "m1", "row": 0, "cls": "c1", "kind": "box", "at": [0, 0, 1, 1]}
    assert check_marks({"rev": 1, "classes": [CLASS], "marks": [mark]}, 6)["marks"] == [mark]
    with pytest.raises(InputError, match=r"\.$"):
        check_marks({"rev": 1, "classes": [CLASS], "marks": [mark | wrong]}, 6)


def test_names_are_kept_as_text_without_what_cannot_be_seen():
    state = check_marks({"rev": 1, "classes": [CLASS | {"name": "<b>\u202e\n" + 200 * "x"}], "marks": []}, 6)
    assert state["classes"][0]["name"] == "<b>" + 77 * "x"


def test_a_search_goes_on_to_all_pictures_and_is_kept(there):
    work, session = there
    shown = search(work, session, [box(0)])
    assert shown[-1]["state"] == "done" and sorted(one["row"] for one in shown[-1]["rows"]) == list(range(6))
    again = list(locate.arrive(work, WORDS, session))
    assert len(again) == 1 and again[0]["found"]["rows"], "nothing is looked for twice"
    assert Workspace(work.home).session("local").marks["marks"] == [box(0)], "marks outlive the app"


def test_stop_keeps_the_answers_there_were(there, monkeypatch):
    work, session = there
    before = search(work, session, [box(0)])[-1]["rows"]
    monkeypatch.setattr(locate, "EVERY", 0)
    run = locate.marked(work, WORDS, session, sent(work, session, [box(0), box(1)]))
    for update in run:
        if update.get("found", {}).get("done") == 2 and update["found"]["total"] == 6:
            locate.stopped(work, WORDS, session, None)
    assert update["found"]["state"] == "stopped" and len(update["found"]["rows"]) == len(before) == 6


def test_a_page_that_was_left_while_it_looked_searches_again(there, monkeypatch):
    work, session = there
    monkeypatch.setattr(locate, "EVERY", 0)
    run = locate.marked(work, WORDS, session, sent(work, session, [box(0)]))
    next(run)
    run.close()
    *_, last = locate.arrive(work, WORDS, session)
    assert last["found"]["state"] == "done" and len(last["found"]["rows"]) == 6
    run = locate.marked(work, WORDS, session, sent(work, session, [box(0), box(1)]))
    next(run)
    locate.stopped(work, WORDS, session, None)
    *_, last = run
    assert last["found"]["state"] == "stopped" and len(last["found"]["rows"]) == 6, "what was found before stays"


def test_files_are_of_the_search_that_is_shown(there, monkeypatch):
    work, session = there
    cross = {"id": "c2", "name": "cross", "colour": 1}
    search(work, session, [box(0), box(0, 1, cls="c2")], classes=(CLASS, cross))
    saving = locate.kept(work, WORDS, session, SimpleNamespace(_data={"kind": "csv", "sure": 0.3}))
    next(saving)
    taught = work.seen(session)["taught"]
    search(work, session, [box(0, 1, cls="c2")], classes=(cross,))
    *_, (_, file) = saving
    path = next((work.home / "thumbs" / "exports").glob(f"*/{json.loads(file)['name']}"))
    rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    assert {row["class"] for row in rows} == {"ring", "cross"} and taught.names == ["ring", "cross"]
    assert [row["class"] for row in rows if row["path"] == "0.png" and float(row["left"]) > 80] == ["cross"]


def test_one_class_that_says_too_little_is_named_and_the_other_found(there):
    work, session = there
    cross = {"id": "c2", "name": "cross", "colour": 1}
    tag = {"id": "m9", "row": 1, "cls": "c2", "kind": "tag"}
    last = search(work, session, [box(0), tag], classes=(CLASS, cross))[-1]
    assert last["note"].startswith("cross: ") and {found[5] for one in last["rows"] for found in one["boxes"]} == {0}


def test_not_this_beside_a_drawn_thing_does_not_end_the_search(there):
    work, session = there
    left, top, right, bottom = box(0)["at"]
    around = box(0, id="m77", no=True, at=[left, top, min(1, right + 0.2), min(1, bottom + 0.2)])
    tag = {"id": "m78", "row": 0, "cls": "c1", "kind": "tag", "no": True}
    assert search(work, session, [box(0), around])[-1]["rows"] and search(work, session, [box(0), tag])[-1]["rows"]


def test_a_late_state_of_another_window_is_told(there):
    work, session = there
    search(work, session, [box(0)])
    late = SimpleNamespace(_data={"rev": 1, "classes": [CLASS], "marks": [box(1)]})
    (update,) = locate.marked(work, WORDS, session, late)
    assert update["marked"]["marks"] == [box(0)] and update["found"]["rows"]


def test_who_did_not_see_the_last_change_is_late_however_far_it_counted(there, monkeypatch):
    work, session = there
    monkeypatch.setattr(locate, "look", lambda *_: iter(()))

    def change(marks, rev, **more):
        event = SimpleNamespace(_data={"rev": rev, "classes": [CLASS], "marks": marks} | more)
        return [one for one in locate.marked(work, WORDS, session, event) if "marked" in one]

    assert change([box(0)], 1, window="A", base=0) == []
    assert change([box(0), box(1)], 2, window="A", base=0) == [], "its own changes follow each other"
    (told,) = change([box(3)], 9, window="B", base=0)
    assert told["marked"]["over"] and session.marks["marks"] == [box(0), box(1)]
    assert change([box(0)], 1, window="A", base=0) == [] and len(session.marks["marks"]) == 2, "overtaken on its way"
    assert change([box(0), box(1), box(3)], 3, window="B", base=2) == [] and len(session.marks["marks"]) == 3
    (told,) = change([], 9, window="A", base=0)
    assert told["marked"]["rev"] == 3


def test_another_name_is_no_other_search(there, monkeypatch):
    work, session = there
    before = search(work, session, [box(0)])[-1]
    monkeypatch.setattr(locate, "look", lambda *_: pytest.fail("it searched again"))
    (after,) = search(work, session, [box(0)], classes=[CLASS | {"name": "<b>hoop"}])
    assert after == before | {"rev": before["rev"] + 1} and work.seen(session)["taught"].names == ["<b>hoop"]


def test_a_second_window_follows_the_search_of_the_first(there):
    work, session = there
    first = locate.marked(work, WORDS, session, sent(work, session, [box(0)]))
    next(first)
    second = locate.anew(work, WORDS, session)
    next(second)
    assert next(second)["found"]["state"] == "looking"
    list(first)
    assert [one["found"]["state"] for one in second] == ["done"]


def test_another_encoder_searches_again(there):
    work, session = there
    search(work, session, [box(0)])
    session.encoder = "untrained"
    *_, last = locate.anew(work, WORDS, session)
    assert last["found"]["state"] == "done" and len(last["found"]["rows"]) == 6
    assert all(key[2] == "untrained" for key in work.sights), "maps of the other encoder are gone"


def test_marks_follow_their_pictures_when_the_folder_changes(there, tmp_path):
    work, session = there
    copy = tmp_path / "copy"
    copy.mkdir()
    for seed in range(1, 6):
        scene(seed, "ring cross")[0].save(copy / f"{seed}.png")
    work.choose(session, copy, "copy")
    list(locate.anew(work, WORDS, session))
    search(work, session, [box(1) | {"row": 0}])
    scene(0, "ring cross")[0].save(copy / "0.png")
    os.utime(copy, ns=(1, 1))
    work.pictures(session)
    assert [mark["row"] for mark in session.marks["marks"]] == [1]
    work.choose(session, tmp_path / "copy" / "..", "all")
    assert session.marks == {} or not session.marks["marks"]


def test_a_picture_that_cannot_be_read_is_left_out(there, monkeypatch):
    work, session = there
    whole = locate.sight_of

    def sight_of(work, session, row):
        if row == 5:
            raise InputError("It is damaged.")
        return whole(work, session, row)

    monkeypatch.setattr(locate, "sight_of", sight_of)
    last = search(work, session, [box(0)])[-1]
    assert sorted(one["row"] for one in last["rows"]) == [0, 1, 2, 3, 4] and last["left"] == 0


def test_tags_alone_are_no_surer_than_that_the_thing_is_there(there):
    work, session = there
    tag = {"cls": "c1", "kind": "tag"}
    marks = [tag | {"id": "m1", "row": 0}, tag | {"id": "m2", "row": 1, "no": True}]
    rows = search(work, session, marks)[-1]["rows"]
    chances = work.seen(session)["taught"].tagged[0]
    assert chances.shape == (6,) and ((0 <= chances) & (chances <= 1)).all()
    for one in rows:
        assert all(found[4] <= chances[one["row"]] + 1e-3 for found in one["boxes"])
    (same,) = [update["note"] for update in search(work, session, marks[:1])[-1:]]
    assert "all say the same" in same


def test_the_bound_that_promises_most():
    answers = [{"boxes": [[0, 0, 1, 1, score, 0]]} for score in (0.9, 0.8, 0.1, 0.05, 1)]
    assert locate.suggested(answers) == pytest.approx(0.8, abs=0.02)
    assert locate.suggested([{"boxes": []}]) == 0.5
    scores = np.linspace(0.02, 0.98, 40)
    assert 0.2 < locate.suggested([{"boxes": [[0, 0, 1, 1, float(score), 0]]} for score in scores]) < 0.6
