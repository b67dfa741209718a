"""ui/: what the steps do to a session, called as functions; the page itself is in test_app.py."""

import json
import os
import shutil
import threading

import gradio as gr
import numpy as np
import pytest
from conftest import draw_pictures
from safetensors.torch import load_file, save_file

from byolmeta import files, jobs, samples, ui
from byolmeta.adapt import Accuracy
from byolmeta.encoder import Encoder, save_encoder
from byolmeta.errors import InputError
from byolmeta.files import read_card
from byolmeta.settings import PretrainConfig
from byolmeta.ui import forms, learn, pictures, teach
from byolmeta.ui import map as map_step
from byolmeta.ui.html import safe
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

WORDS = table("en")


@pytest.fixture
def work(tmp_path):
    return Workspace(tmp_path / "home")


@pytest.fixture
def session(work, tmp_path):
    """Three kinds, untrained network, two examples of two kinds in boxes."""
    session = work.session("local")
    session.encoder = "untrained"
    work.choose(session, draw_pictures(tmp_path / "mine", each=6), "mine")
    work.pictures(session)
    session.boxes["boxes"][0]["items"], session.boxes["boxes"][1]["items"] = [0, 3], [6, 8]
    work.save(session)
    return session


def test_boxes_follow_their_pictures_when_the_folder_changes_between_two_visits(work, session, tmp_path):
    store = work.pictures(session).store
    before = [[store.index.paths[i] for i in box["items"]] for box in session.boxes["boxes"]]
    (tmp_path / "mine" / before[0][1]).unlink()
    shutil.copy(tmp_path / "mine" / before[0][0], tmp_path / "mine" / "aaa.png")
    later = Workspace(work.home)
    session = later.session("local")
    paths = later.pictures(session).store.index.paths
    assert [[paths[i] for i in box["items"]] for box in session.boxes["boxes"]] == [before[0][:1], before[1]]
    assert session.boxes["rev"] > 0 and Workspace(work.home).session("local").boxes == session.boxes


def test_extras_keep_their_place_when_the_folder_grows(work, session, tmp_path):
    some = next((tmp_path / "mine").rglob("*.png"))
    session.boxes["boxes"][0]["items"].append(work.add_extra(session, str(some)))
    work.save(session)
    shutil.copy(some, tmp_path / "mine" / "zzz.png")
    later = Workspace(work.home)
    session = later.session("local")
    count = len(later.pictures(session).store)
    assert session.boxes["boxes"][0]["items"][-1] == count == 19


def test_of_many_presses_at_once_one_starts_a_study(work, session, monkeypatch):
    started = []

    def start(run, **_):
        run.set_status("running")
        started.append(run)

    monkeypatch.setattr(jobs, "start", start)
    form = [field.value for field in learn.pretrain_fields().values()]
    refused = []

    def press():
        try:
            learn.begin(work, WORDS, session, "quick", "scratch", *form)
        except InputError as problem:
            refused.append(str(problem))

    threads = [threading.Thread(target=press) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1 and refused == [WORDS["busy"]] * 5


@pytest.mark.parametrize("what", ["pause", "resume", "stop"])
def test_nothing_is_asked_of_a_study_that_is_not_there(work, session, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    with pytest.raises(InputError, match="no study"):
        learn.ask(work, WORDS, session, what)
    assert set(tmp_path.iterdir()) == before


def test_a_board_that_counts_too_far_is_refused_and_the_next_one_is_not(work, session):
    ahead = session.boxes | {"rev": 2**50}
    with pytest.raises(InputError, match="Reload"):
        list(teach.changed(work, WORDS, session, ahead))
    list(teach.changed(work, WORDS, session, session.boxes | {"rev": session.boxes["rev"] + 1}))


def test_the_verdict_says_how_it_was_checked():
    shown = {key: [Accuracy(6, 10)] for key in ("yours", "pixels", "untrained")}
    names = dict.fromkeys(shown, "x")
    others, hidden = (teach.verdict_of(shown, names, WORDS, hidden, 0.2) for hidden in (False, True))
    assert WORDS["checked_others"].format(of=10) in others and WORDS["checked_hidden"].format(of=10) in hidden
    told = teach.verdict_of(shown, names, WORDS, False, 0.2, True, ": bird, house. More")
    assert "class folder is known: bird, house. More" in told
    sure = {"yours": [Accuracy(99, 100)], "unpractised": [Accuracy(10, 100)]}
    for flattered in (False, True):
        told = teach.verdict_of(sure, dict.fromkeys(sure, "x"), WORDS, False, 0.2, flattered)
        assert ("very class names" in told) == flattered and "Clearly better than the same without practice" in told
    own = teach.verdict_of(sure, dict.fromkeys(sure, "x"), WORDS, True, 0.2, circular=True)
    assert "Agrees with itself" in own and "better" not in own and "right" not in own.split("</b>")[0]
    assert "6 of 10" in others and "60" not in others.split("<b>")[1].split("</b>")[0]


def test_the_verdict_names_the_folders_that_it_asked_about(tmp_path):
    work = Workspace(tmp_path / "home")
    found = work.pictures(work.session("local"))
    names = found.store.class_names
    assert teach.checked_on(found, [0, 1], WORDS) == (
        f": {names[0]}, {names[1]}. Pictures of the other class folders (12) are not checked"
    )
    many = teach.checked_on(found, list(range(8)), WORDS)
    assert "and 2 more" in many and names[7] not in many


def test_folders_tell_what_boxes_stand_for(tmp_path):
    """A few examples in a wrong box change neither what is asked nor what is right; a box may hold two classes."""
    work = Workspace(tmp_path / "home")
    found = work.pictures(work.session("local"))
    of = [np.flatnonzero(found.store.labels == label) for label in range(4)]

    def told(*boxes):
        support = np.concatenate(boxes)
        labels = np.repeat(np.arange(len(boxes)), [len(box) for box in boxes])
        checks = teach.checks_of(found, support, labels, np.arange(len(found.store) + 9))
        return teach.classes_of(found, support, labels), teach.strays_of(found, support, labels), checks

    classes, strays, (ids, truth) = told(of[0][:3], of[1][:3])
    assert classes == {0: 0, 1: 1} and strays == [] and (truth == found.store.labels[ids]).all()
    assert not set(ids.tolist()) & {*of[0][:3].tolist(), *of[1][:3].tolist()}
    swapped = told([*of[0][:4], of[1][9]], [*of[1][:4], of[0][9]])
    assert swapped[0] == {0: 0, 1: 1} and swapped[1] == [(of[1][9], 0, 1), (of[0][9], 1, 0)]
    foreign = told([*of[0][:4], of[2][0]], of[1][:4])
    assert foreign[0] == {0: 0, 1: 1} and foreign[1] == [(of[2][0], 0, 2)]
    assert not set(found.store.labels[foreign[2][0]]) & {2, 3}
    both = told([*of[0][:2], *of[2][:2]], of[1][:2])
    assert both[0] == {0: 0, 2: 0, 1: 1} and both[1] == []
    assert set(both[2][1][np.isin(found.store.labels[both[2][0]], [0, 2])]) == {0}
    count = len(found.store)
    assert told([*of[0][:2], count], of[1][:2])[0] == {0: 0, 1: 1}  # one of the desktop belongs to no folder
    for cannot in ((of[0][:2], of[0][2:4]), ([of[0][0], count, count + 1], of[1][:2]), ([count], of[1][:2])):
        assert told(*map(np.array, cannot)) == ({}, [], None)


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x", "a\0b", "x" * 5000])
def test_impossible_paths_get_a_sentence(work, session, path):
    with pytest.raises(InputError):
        pictures.choose_path(work, WORDS, session, path, None)
    assert session.label == "mine" and np.isin(0, session.boxes["boxes"][0]["items"])


def test_boxes_come_back_with_their_pictures(work, session, tmp_path):
    items = [box["items"] for box in session.boxes["boxes"]]
    work.choose(session, draw_pictures(tmp_path / "others", each=3, seed=5), "others")
    assert [box["items"] for box in session.boxes["boxes"]] == [[], []]
    work.choose(session, tmp_path / "mine", "mine")
    assert [box["items"] for box in session.boxes["boxes"]] == items


def test_pictures_that_are_gone_are_said_and_their_boxes_kept(work, session, tmp_path):
    items = [box["items"] for box in session.boxes["boxes"]]
    (tmp_path / "mine").rename(tmp_path / "away")
    work.leave_gone(session)
    assert session.source == "" and session.gone == str(tmp_path / "mine")
    (tmp_path / "away").rename(tmp_path / "mine")
    work.choose(session, tmp_path / "mine", "mine")
    assert [box["items"] for box in session.boxes["boxes"]] == items


def test_pictures_dropped_at_once_get_ids_of_their_own(work, session, tmp_path):
    some, ids = str(next((tmp_path / "mine").rglob("*.png"))), []
    threads = [threading.Thread(target=lambda: ids.append(work.add_extra(session, some))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids) == list(range(18, 26)) and len(work.extras(session)) == 8


def test_lost_extras_and_damaged_sheets_and_maps_do_not_break_the_page(work, session, tmp_path):
    some = str(next((tmp_path / "mine").rglob("*.png")))
    for _ in range(3):
        work.add_extra(session, some)
    next((work.home / "projects").rglob("1.png")).unlink()
    sheet = next((work.home / "thumbs").rglob("sheet-0.webp"))
    sheet.unlink()
    later = Workspace(work.home)
    assert len(later.extras(later.session("local"))) == 1 and sheet.exists()
    list(map_step.layouts(later, WORDS, later.session("local")))
    banks = work.home / "banks"
    (banks / "x-map.npy").write_bytes(b"\x93NUMPY")
    assert map_step._read(banks / "x-map.npy", 18) is None and map_step._read(banks / "none.npy", 18) is None


def test_a_window_that_is_behind_is_shown_the_boxes_as_they_are(work, session):
    session.boxes["rev"] = 9
    (update,) = teach.changed(work, WORDS, session, {"rev": 5, "boxes": []})
    assert update[0]["boxes"] == session.boxes and session.boxes["rev"] == 9


def test_a_visitor_who_left_a_shared_machine_leaves_nothing(tmp_path):
    work = Workspace(tmp_path / "home", public=True)
    before = {p for p in work.home.rglob("*") if p.is_file()}
    session = work.session("abc")
    session.encoder = "untrained"
    sent = [(str(p), p.name) for p in draw_pictures(tmp_path / "mine", each=3).rglob("0.png")]
    work.choose(session, work.receive(session, sent), "mine")
    work.add_extra(session, sent[0][0])
    map_step.whole_map(work, session), list(map_step.layouts(work, WORDS, session)), learn.views(work, WORDS, session)
    run = jobs.new_run(work.home / "runs", "mine")
    session.run = str(run.folder)
    work.save(session)
    assert len({p for p in work.home.rglob("*") if p.is_file()} - before) > 8
    work.forget("abc")
    assert {p for p in work.home.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "init, page, twins, taken",
    [
        ("some", "photos-small", (0.2, 0.6), True),
        ("some", "photos-small", (0.5, 0.5), False),
        ("some", "photos-small", (0.6, 0.2), False),
        ("", "photos-small", (0.2, 0.6), False),  # better than nothing, perhaps not than the starter
        ("", "untrained", (0.2, 0.6), True),
    ],
)
def test_a_study_is_taken_over_only_when_it_helped(work, session, tiny_encoder, init, page, twins, taken):
    run = jobs.new_run(work.home / "runs", "mine")
    run.create(PretrainConfig(init=init))
    shutil.copy(tiny_encoder, run.encoder)
    for step, twin in enumerate(twins):
        check = {"twin": twin, "twin_of": 100, "spread": 0.5, "effective_rank": 9.0, "knn": None}
        run.append({"step": step, "check": check})
    run.set_status("done", step=1, steps=1)
    session.run, session.encoder = str(run.folder), page
    learn.judge(work, session)
    assert (session.encoder == session.run) == taken and session.judged == session.run
    checks = [line["check"] for line in run.metrics()]
    other = "" if taken else work.encoder_name(session)
    line = learn.verdict_line(checks, WORDS, other)
    assert (WORDS["now_using"] in line) == taken
    assert f"of 200 crops, {200 * twins[0]:g} → {200 * twins[1]:g} find" in line


def test_messages_are_text_and_a_bug_folds_out_its_details(capsys):
    def wrong(problem):
        raise problem

    ask = ui._sentences(wrong, WORDS)
    with pytest.raises(gr.Error) as said:
        list(ask(InputError("<img src=x> is no picture")))
    assert said.value.message == "&lt;img src=x&gt; is no picture"
    with pytest.raises(gr.Error) as said:
        list(ask(IndexError("<b>7</b>")))
    assert said.value.message.startswith(safe(WORDS["bug"]) + "<details>") and "&lt;b&gt;7" in said.value.message
    assert "Traceback" in capsys.readouterr().err


def test_a_run_that_waits_for_the_disk_does_not_ask_for_a_press_of_go_on():
    words = table()
    full = {"state": "paused", "step": 3, "steps": 9, "full": True, "message": "The disk is full (x). Make room."}
    asked = full | {"full": False, "message": ""}
    said = [learn.progress_line(status, [], words) for status in (full, asked)]
    assert (
        "disk is full" in said[0] and words["page_note_paused"] not in said[0] and words["page_note_paused"] in said[1]
    )


def test_the_starter_follows_the_pictures_and_the_page_says_why(work):
    """The sample of digits is ink on plain paper; what a visitor chose by hand for some pictures stays with them."""
    session = work.session("local")
    assert (work.kind(session), work.encoder(session)) == ("photos", "photos-small")
    assert "photos-small" in pictures.why(work, WORDS, session)
    work.choose(session, samples.sample_folder("digits", work.home), "digits")
    assert (work.kind(session), work.encoder(session)) == ("drawings", "drawings-conv4")
    assert work.image_size(session) == 28 and work.pictures(session).store.size == 28
    why = pictures.why(work, WORDS, session)
    assert "ink on plain paper" in why and "drawings-conv4" in why
    assert teach.compared_with(work, session)["untrained"] == "untrained:drawings-conv4"
    map_step.choose_encoder(work, session, "photos-small")
    assert work.image_size(session) == 64 and pictures.why(work, WORDS, session) == ""
    work.choose(session, "", "")
    assert work.encoder(session) == "photos-small" and session.encoder == ""


def test_a_source_that_is_gone_counts_as_photos(work, session, tmp_path):
    session.encoder = ""
    shutil.rmtree(tmp_path / "mine")
    assert work.kind(session) == "photos" and work.encoder(session) == "photos-small"


def test_thumbnails_are_those_of_the_pictures_that_are_opened(work, session, tmp_path):
    """A change deep in the folder is not seen by its date; whoever opens the pictures at another size sees both anew."""
    shutil.copy(tmp_path / "mine" / "disc" / "1.png", tmp_path / "mine" / "disc" / "aaa.png")
    session.encoder = "drawings-conv4"
    found = work.pictures(session)
    assert found.store.size == 28 and len(found.store) == 19
    assert found.store.index.paths == found.thumbnails.index.paths and len(found.copies) == 19


def test_nothing_of_a_visitor_stays_decoded(tmp_path):
    work = Workspace(tmp_path / "home", public=True)
    draw_pictures(tmp_path / "home" / "uploads" / "v1" / "1", each=4)
    session = work.session("v1")
    work.choose(session, tmp_path / "home" / "uploads" / "v1" / "1", "theirs")
    work.pictures(session)
    stores = work.home / "visitors" / "v1" / "stores"
    assert len(list(stores.iterdir())) == 3  # thumbnails, and the sizes of both starters
    work.forget("v1")
    assert not stores.exists() and not work.small and not work.opened and not list((work.home / "stores").iterdir())


@pytest.mark.parametrize("card", [None, {"image_size": 10**9}, {"kind": []}])
def test_one_damaged_starter_does_not_close_the_page(work, tmp_path, monkeypatch, card):
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for name in ("photos-small", "drawings-conv4"):
        shutil.copy(files.PRETRAINED / f"{name}.safetensors", shipped)
    damaged = shipped / "drawings-conv4.safetensors"
    if card is None:
        damaged.write_bytes(damaged.read_bytes()[:1000])
    else:
        save_file(load_file(damaged), damaged, metadata={"card": json.dumps(read_card(damaged) | card)})
    monkeypatch.setattr(files, "PRETRAINED", shipped)
    session = work.session("local")
    assert len(work.pictures(session).store) == 350 and work.encoder(session) == "photos-small"


def test_what_is_shown_and_studied_is_of_the_encoder_that_goes_on(work, monkeypatch):
    session = work.session("local")
    work.choose(session, samples.sample_folder("digits", work.home), "digits")
    assert work.encoder_kind(session) == "drawings"
    map_step.choose_encoder(work, session, "photos-small")
    assert work.encoder_kind(session) == "photos"
    begun = []

    def done(run, **_):
        begun.append(run.config()["kind"])
        run.set_status("stopped")

    monkeypatch.setattr(jobs, "start", done)
    for start in ("current", learn.SCRATCH):
        learn.begin(work, WORDS, session, "quick", start, *[field.default for field in forms._asked()])
    assert begun == ["photos", "drawings"]


def test_an_untrained_twin_follows_the_encoder_behind_its_name(work, session, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    widths = []
    for number, name in enumerate(("conv4", "small")):
        save_encoder(Encoder(name, 64), run / "encoder.safetensors")
        os.utime(run / "encoder.safetensors", ns=(number, number))
        widths.append(work.bank(session, f"untrained:{run}").shape[1])
    assert widths == [128, 384]


def test_a_deleted_run_leaves_the_page_with_the_starter(work, session, tmp_path):
    session.encoder = str(tmp_path / "gone")
    assert work.encoder(session) == "photos-small"
    work.choose(session, draw_pictures(tmp_path / "others", each=4), "others")
    assert len(work.pictures(session).store) == 12


# ---- more windows than one


def states(work, session, *boxes, page, known):
    """A board's change as a window sends it."""
    now = [box | {"items": list(items)} for box, items in zip(session.boxes["boxes"], boxes, strict=True)]
    key = work.pictures(session).sheets["key"]
    return {"rev": known + 1, "boxes": now, "page": page, "known": known, "key": key}


@pytest.fixture
def taught(work, pictures, tiny_encoder):
    session = work.session("taught")
    work.choose(session, pictures, "shapes")
    session.encoder = str(tiny_encoder)
    rev = session.boxes["rev"]
    list(teach.changed(work, WORDS, session, states(work, session, [0, 1], [12, 13], page="p", known=rev)))
    return session


def items_of(session):
    return [box["items"] for box in session.boxes["boxes"]]


def test_a_window_that_missed_a_change_does_not_undo_it(work, taught):
    rev = taught.boxes["rev"]
    list(teach.changed(work, WORDS, taught, states(work, taught, [0, 1, 2], [12, 13], page="q", known=rev)))
    for late in (rev, rev - 1):  # p did not hear of q's change; with one more change of its own its rev is even higher
        state = states(work, taught, [0, 1], [12, 13, 14], page="p", known=late) | {"rev": rev + 2}
        (told,) = teach.changed(work, WORDS, taught, state)
        assert items_of(taught) == [[0, 1, 2], [12, 13]]
        assert told[0]["boxes"]["force"] is True and told[0]["boxes"]["boxes"] == taught.boxes["boxes"]
    informed = states(work, taught, [0, 1, 2], [12, 13, 14], page="p", known=rev + 1)
    list(teach.changed(work, WORDS, taught, informed))
    assert items_of(taught) == [[0, 1, 2], [12, 13, 14]]


def test_a_window_may_be_ahead_of_what_it_heard(work, taught):
    """Its own changes come one after the other before anything is answered, and in any order."""
    rev = taught.boxes["rev"]
    for ahead, items in ((3, [0, 1, 4]), (2, [0, 1, 3]), (5, [0, 1, 5])):
        state = states(work, taught, items, [12, 13], page="p", known=rev) | {"rev": rev + ahead}
        list(teach.changed(work, WORDS, taught, state))
    assert items_of(taught) == [[0, 1, 5], [12, 13]]


def test_a_window_with_other_pictures_is_told_of_these(work, taught, tmp_path):
    stale = states(work, taught, [0, 1, 20], [12, 13], page="p", known=taught.boxes["rev"] + 1)
    work.choose(taught, "", "")
    before = items_of(taught)
    (told,) = teach.changed(work, WORDS, taught, stale)
    assert items_of(taught) == before and told[0]["pictures"]["n"] == 350 and told[0]["boxes"]["force"] is True


def test_a_renamed_box_does_not_pass_old_answers_off_as_new(work, taught):
    rev, seen = taught.boxes["rev"], work.seen(taught)
    old = seen["answers"]["label"]
    moved = teach.changed(work, WORDS, taught, states(work, taught, [0, 1], [12, 13, 30, 31], page="p", known=rev))
    teach.latest["taught"] = teach.latest.get("taught", 0) + 1  # it is under way and will be overtaken
    taught.boxes = states(work, taught, [0, 1], [12, 13, 30, 31], page="p", known=rev)
    renamed = states(work, taught, [0, 1], [12, 13, 30, 31], page="p", known=rev + 1)
    renamed["boxes"][0] = renamed["boxes"][0] | {"name": "new"}
    teach.writers["taught"] = ("p", rev + 1)
    list(teach.changed(work, WORDS, taught, renamed))
    moved.close()
    assert seen["answers"]["rev"] == rev + 2 and seen["answers"]["label"] != old
    again = states(work, taught, [0, 1], [12, 13, 30, 31], page="p", known=rev + 2)
    again["boxes"][0] = again["boxes"][0] | {"name": "newer"}
    (told,) = teach.changed(work, WORDS, taught, again)  # nothing new to learn from
    assert told[0]["answers"]["rev"] == rev + 3 and told[0]["answers"]["label"] == seen["answers"]["label"]


def test_copies_are_found_among_a_visitors_own_pictures(work, taught):
    from PIL import Image

    store = work.pictures(taught).store
    shown = Image.fromarray(np.array(store.pixels[5]).transpose(1, 2, 0))
    other = Image.fromarray(np.random.default_rng(5).integers(0, 255, (64, 64, 3), np.uint8))
    for picture in (other, shown, other):
        work.add_extra(taught, picture)
    copies, count = work.copies(taught), len(store)
    assert len(copies) == count + 3 and copies[count] == copies[count + 2]
    assert copies[count] not in copies[:count] and copies[count + 1] == copies[5]


def test_copies_among_the_checks_are_asked_once(work, taught):
    found = work.pictures(taught)
    support, labels = np.array([0, 1, 12, 13]), np.array([0, 0, 1, 1])
    ids, _ = teach.checks_of(found, support, labels, found.copies)
    same = found.copies.copy()
    same[2:8] = 2  # six copies of one picture, none of them an example
    fewer, _ = teach.checks_of(found, support, labels, same)
    assert set(ids) - set(fewer) == {3, 4, 5, 6, 7}


def test_vectors_of_many_visitors_stay_in_memory_and_large_ones_do_not(tmp_path):
    """Twenty visitors with three banks each: made anew at every move, they cost two cores all they had."""
    work = Workspace(tmp_path / "home", public=True)
    for number in range(60):
        work._remember((number,), np.zeros((30, 512), np.float32))
    assert list(work.vectors) == [(number,) for number in reversed(range(60))]
    huge = np.broadcast_to(np.float32(0), (100_000, 512))  # counts as 200 MB, and takes none
    for number in range(30):
        work._remember((number, "huge"), huge)
    assert list(work.vectors) == [(number, "huge") for number in reversed(range(17, 30))]
