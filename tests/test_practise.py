"""ui/practise.py and what Teach makes of practice: figures, and callbacks with a real run; the page is in test_app.py."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("gradio")
from conftest import draw_pictures

from byolmeta import jobs
from byolmeta.errors import InputError
from byolmeta.files import find_encoder
from byolmeta.runs import Run
from byolmeta.settings import MetatrainConfig, PretrainConfig
from byolmeta.ui import figures, learn, practise, running, teach
from byolmeta.ui import map as map_step
from byolmeta.ui.html import safe
from byolmeta.ui.words import table
from byolmeta.ui.workspace import UNPRACTISED, Workspace

WORDS = table("en")
SHORT = {"steps": 40, "check_every": 8, "judge": 200}


def check_of(accuracy: float, steps: int = 20, inner: bool = True) -> dict:
    scratch = [{"loss": 1.0, "accuracy": 0.2 + 0.4 * (n > 0)} for n in range(steps + 1)]
    practised = [{"loss": 1.0 - accuracy, "accuracy": accuracy} for _ in range(steps + 1)]
    check = {"accuracy": accuracy, "ci95": 0.02, "plain": 0.6, "difference": accuracy - 0.6, "difference_ci95": 0.01}
    return check | {"puzzles": 400, "inner": {"practised": practised, "scratch": scratch} if inner else None}


CHECKS = [(step, check_of(accuracy)) for step, accuracy in ((0, 0.6), (5, 0.65), (10, 0.75), (15, 0.7))]
RESULT = {"before": 0.61, "after": 0.66, "difference": 0.041, "ci95": 0.012, "gain": True, "learner": "anil"}
RESULT |= {"by_shot": [{"way": 5, "shot": 1, "before": 0.5, "after": 0.6}], "judged_by": "classes", "puzzles": 1200}
RESULT |= {"best_step": 10, "episodes": 320}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def work(tmp_path):
    return Workspace(tmp_path / "home")


@pytest.fixture
def session(work):
    """The sample creatures, 14 class folders, seen by the starter."""
    return work.session("local")


def ended(work, session, gain: bool = True, **more) -> Run:
    """A practice run as one that has ended leaves it; its encoder is the starter's."""
    run = jobs.new_run(work.home / "runs", "creatures-practised")
    file = str(find_encoder("photos-small").resolve())
    run.create(MetatrainConfig(tasks="labels"), **{"folder": str(work.source(session)), "encoder_file": file} | more)
    run.encoder.write_bytes(find_encoder("photos-small").read_bytes())
    for step, check in CHECKS:
        run.append({"step": step, "check": check})
    run.set_status("done", step=15, steps=600, result=RESULT | {"gain": gain})
    session.practice = str(run.folder)
    return run


# ---- figures


def test_the_curve_of_practice_has_its_band_its_level_line_and_what_was_kept():
    figure = figures.practice_figure(CHECKS, 10, 15, WORDS)
    band, level, line, kept = figure["data"]
    assert line["x"] == [0, 5, 10, 15] and line["y"] == [60, 65, 75, 70]
    assert band["y"] == [62, 67, 77, 72, 68, 73, 63, 58] and level["y"] == [60, 60]
    assert (kept["x"], kept["y"]) == ([10], [75])
    for step, place in ((0, "top right"), (10, "top center"), (15, "top left")):  # no edge cuts its text
        assert figures.practice_figure(CHECKS, step, 15, WORDS)["data"][-1]["textposition"] == place
    low, high = figure["layout"]["yaxis"]["range"]
    assert low < 58 and high > 77 and high - low >= 20
    assert len(figures.practice_figure(CHECKS, None, 200, WORDS)["data"]) == 3


def test_little_change_is_not_drawn_as_a_climb():
    flat = [(step, check_of(0.6)) for step in (0, 5)]
    low, high = figures.practice_figure(flat, None, 200, WORDS)["layout"]["yaxis"]["range"]
    assert high - low >= 20


def test_the_inner_loop_is_drawn_at_the_newest_look_and_at_the_kept_one_in_the_end():
    for kept, last, faint in ((None, 70, 2), (10, 75, 1)):
        drawn = figures.inner_figures(CHECKS, kept, WORDS)
        lines = {trace["name"]: trace for trace in drawn["accuracy"]["data"] if "name" in trace}
        assert lines[WORDS["with_practice"]]["y"][-1] == last and lines[WORDS["without_practice"]]["y"][:2] == [20, 60]
        assert sum("opacity" in trace for trace in drawn["accuracy"]["data"]) == faint
        assert len(lines[WORDS["with_practice"]]["x"]) == 21
        cues = {(line["line"]["color"], line["line"]["dash"]) for line in lines.values()}
        assert len({colour for colour, _ in cues}) == len({dash for _, dash in cues}) == 3
        assert lines[WORDS["chance"]]["y"] == [20, 20]  # as the start without practice
    loss = figures.inner_figures(CHECKS, 10, WORDS)["loss"]
    assert next(t for t in loss["data"] if t.get("name") == WORDS["with_practice"])["y"][0] == pytest.approx(0.25)


def test_many_looks_stay_a_few_faint_lines_and_a_small_figure():
    many = [(5 * n, check_of(0.6 + n / 1000)) for n in range(120)]
    figure = figures.inner_figures(many, None, WORDS)["accuracy"]
    assert sum("opacity" in trace for trace in figure["data"]) <= figures.FAINT
    assert (
        len(json.dumps(figure)) < 50_000 and len(json.dumps(figures.practice_figure(many, None, 600, WORDS))) < 50_000
    )


def test_a_learner_that_solves_at_once_has_no_inner_loop():
    checks = [(0, check_of(0.6, inner=False))]
    assert figures.inner_figures(checks, None, WORDS) == {} and practise.inner_line(checks, None, WORDS) == ""


def test_the_sentence_says_what_the_lines_show():
    said = practise.inner_line(CHECKS, None, WORDS)
    assert "Right at once: 70 %, steps change little" in said and said.count("at once") == 1
    assert "Without practice, it begins by guessing: 60 % after one step, 60 % after 20" in said
    assert "75 %" in practise.inner_line(CHECKS, 10, WORDS)
    assert "begins by guessing: 60 %" in practise.inner_line(CHECKS[:1], None, WORDS)
    climbing = check_of(0.7)
    climbing["inner"]["practised"][0]["accuracy"] = 0.6
    said = practise.inner_line([(5, climbing)], None, WORDS)
    assert "nearly right at once" in said and "70 % right with practice, 60 % without practice" in said
    climbing["inner"]["practised"][0]["accuracy"] = 0.2
    assert "at once" not in practise.inner_line([(5, climbing)], None, WORDS)


def test_practice_that_was_rejected_is_not_drawn_as_a_success(work, session):
    said = practise.inner_line(CHECKS, 10, WORDS, rejected=True)
    assert "%" not in said and "at once" not in said and WORDS["inner_rejected"] in said
    assert WORDS["practice_rejected"] in practise.outer_line(CHECKS, 10, WORDS, rejected=True)
    ahead = [(0, check_of(0.7))]  # of the plain learner that is compared with, before any practice
    assert WORDS["practice_never_better"] in practise.outer_line(ahead, 0, WORDS, rejected=True)
    assert practise.outer_line(CHECKS, 10, WORDS, rejected=False) == WORDS["practice_about"]
    for gain, mark in ((True, "kept"), (False, "best_here")):
        ended(work, session, gain)
        updates = practise.attach(work, WORDS, session)
        assert updates[4]["figure"]["data"][-1]["text"] == [WORDS[mark]]
        assert (safe(WORDS["practice_rejected"]) in updates[6]) != gain and safe(WORDS["practice_about"]) in updates[6]


def test_a_second_practice_is_compared_with_before_this_practice(work, session, monkeypatch):
    ended(work, session)
    monkeypatch.setattr(work, "practised", lambda where: {"in_force": True})
    updates = practise.attach(work, WORDS, session)
    for at in (3, 4):
        names = {trace.get("name") for trace in updates[at]["figure"]["data"]}
        assert WORDS["before_practice"] in names and WORDS["without_practice"] not in names
    assert "efore this practice" in updates[2]


# ---- the verdict


@pytest.mark.parametrize(
    "difference, ci95, gain, said",
    [
        (0.041, 0.012, True, "Practice helped: 61 → 66 of 100"),
        (0.005, 0.012, False, "no clear difference"),
        (-0.03, 0.012, False, "did not help"),
    ],
)
def test_the_verdict_claims_no_more_than_the_interval(difference, ci95, gain, said):
    result = RESULT | {"difference": difference, "ci95": ci95, "gain": gain}
    line = practise.verdict(result, WORDS, "" if gain else "photos-small")
    assert said in line and f"{100 * difference:+.1f} ± 1.2" in line
    assert ("photos-small" in line) != gain and "5 boxes (guessing: 20 %): 50 → 60 with 1 example in each box" in line


def test_a_difference_that_too_few_pictures_judge_is_no_gain():
    line = practise.verdict(RESULT | {"gain": False, "pictures": 12}, WORDS, "photos-small")
    assert "Not known yet" in line and "only 12 pictures" in line and "photos-small" in line
    none = practise.verdict(RESULT | {"gain": False, "steps": 0, "message": "No time."}, WORDS, "photos-small")
    assert "No time." in none


def test_what_judged_is_said():
    said = [practise.verdict(RESULT | {"tasks": tasks}, WORDS, "") for tasks in ("labels", "pseudo")]
    assert "not practised on" in said[0] and "names practice has not seen" in said[1]


def test_a_verdict_stays_with_its_pictures(work, session, tmp_path):
    ended(work, session)
    assert "Practice helped" in practise.attach(work, WORDS, session)[0]["value"]
    work.choose(session, draw_pictures(tmp_path / "few", each=4), "few")
    assert practise.attach(work, WORDS, session)[0] == {"visible": "hidden", "__type__": "update"}
    work.choose(session, "", "")
    assert "Practice helped" in practise.attach(work, WORDS, session)[0]["value"]


def test_a_pause_says_how_many_puzzles_are_done():
    assert "Paused after 160 puzzles" in practise.progress_line(
        {"state": "paused", "step": 10, "steps": 20}, WORDS, "", 16
    )


def test_without_class_folders_the_verdict_says_that_puzzles_were_made_up():
    line = practise.verdict(RESULT | {"judged_by": "puzzles"}, WORDS, "")
    assert "made-up puzzles" in line and "Teach" in line


@pytest.mark.parametrize("gain", [True, False])
def test_practice_is_taken_over_only_with_a_gain(work, session, gain):
    run = ended(work, session, gain)
    *_, done = practise.poll(work, WORDS, session)
    assert (session.encoder == str(run.folder)) == gain and session.practice_judged == session.practice
    assert done.startswith(str(run.folder))
    line = practise.attach(work, WORDS, session)[0]["value"]
    assert (WORDS["now_practised"] in line) == gain and ("photos-small" in line) != gain


def test_practice_is_not_taken_to_other_pictures_or_from_another_encoder(work, session, tmp_path):
    ended(work, session, folder=str(tmp_path / "others"))
    practise.judge(work, session)
    assert work.encoder(session) == "photos-small"
    ended(work, session, encoder_file=str(find_encoder("drawings-conv4").resolve()))
    practise.judge(work, session)
    assert work.encoder(session) == "photos-small" and session.practice_judged == session.practice


def test_practice_in_vain_is_no_choice_of_encoder(work, session, monkeypatch):
    for gain in (False, True):
        run = ended(work, session, gain)
        monkeypatch.setattr(
            work, "practised", lambda where: {"in_force": True}
        )  # an earlier one stays so without a gain
        assert (str(run.folder) in [where for _, where in work.encoders(session)]) == gain


# ---- beginning


def test_folders_are_offered_where_they_name_enough_classes(work, session, tmp_path):
    tasks, why, example = practise.choices(work, WORDS, session)
    assert [name for _, name in tasks["choices"]] == ["pseudo", "labels"] and tasks["value"] == "labels"
    assert why["visible"] == "hidden" and example.count("class='box") == 4
    drawn = practise.puzzle(work, WORDS, session, "pseudo")
    assert "<img" in drawn and safe(WORDS["names_used"]) not in drawn and safe(WORDS["names_used"]) in example
    work.choose(session, draw_pictures(tmp_path / "few", each=4), "few")
    session.encoder = "untrained"
    tasks, why, _ = practise.choices(work, WORDS, session)
    assert [name for _, name in tasks["choices"]] == ["pseudo"] and WORDS["practise_untrained"] in why["value"]
    for asked, sentence in ((("labels", "anil", 0), "learned nothing"), (("pseudo", "anil", 0), "learned nothing")):
        with pytest.raises(InputError, match=sentence):
            practise.begin(work, WORDS, session, *asked)
    session.encoder = ""
    for asked in (("labels", "anil", 0), ("pseudo", "maml", 0), ("twins?", "anil", 0)):
        with pytest.raises(InputError):
            practise.begin(work, WORDS, session, *asked)
    for seed in (-1, 0.5, 2**32, float("nan"), float("inf"), "abc", "9" * 5000, 10**5000, True, [1]):
        with pytest.raises(InputError, match="The seed is .{1,60}Give a whole number"):
            practise.begin(work, WORDS, session, "pseudo", "anil", seed)
    assert not list((work.home / "runs").glob("*/"))


def test_one_run_at_a_time_be_it_a_study_or_practice(work, session, monkeypatch):
    started = []

    def start(run, **_):
        run.set_status("running", step=0, steps=10)
        started.append(run)

    monkeypatch.setattr(jobs, "start", start)
    study, practice, tab = practise.begin(work, WORDS, session, "labels", "metasgd", 3.0)[-3:]
    config = started[0].config()
    assert (config["learner"], config["tasks"], config["seed"]) == ("metasgd", "labels", 3)
    assert config["encoder_file"].endswith("photos-small.safetensors") and config["minutes"] == 0
    assert not study["interactive"] and not practice["interactive"] and tab.label != WORDS["step_learn"]
    with pytest.raises(InputError, match="another study or practice|Another study or practice"):
        practise.begin(work, WORDS, session, "labels", "anil", 0)
    with pytest.raises(InputError, match="Another study or practice"):
        learn.begin(work, WORDS, session, "quick", "scratch", *[f.value for f in learn.pretrain_fields().values()])
    assert len(started) == 1


def test_practice_on_a_shared_machine_is_bounded(tmp_path, monkeypatch):
    work, kept = Workspace(tmp_path / "home", public=True), []
    monkeypatch.setattr(jobs, "start", lambda run, **_: kept.append(run))
    session = work.session("abc")
    practise.begin(work, WORDS, session, "labels", "anil", 0)
    assert 0 < kept[0].config()["minutes"] <= 2
    assert practise.attach(work, WORDS, work.session("other"))[0]["visible"] == "hidden"
    kept[0].set_status("done")
    work.forget("abc")
    assert not kept[0].folder.exists()


def test_a_study_and_practice_that_a_terminal_started_are_told_apart(work, session):
    study, practice = (jobs.new_run(work.home / "runs", name) for name in ("a", "b"))
    study.create(PretrainConfig())
    practice.create(MetatrainConfig(), folder=str(work.source(session)), encoder_file="x")
    for run in (study, practice):
        run.set_status("running", step=1, steps=9)
    assert running.follow(work, session, "run").folder == study.folder
    assert running.follow(work, session, "practice").folder == practice.folder
    assert (session.run, session.practice) == (str(study.folder), str(practice.folder))
    for what in ("config.json", "../x", None):
        with pytest.raises(InputError, match="nothing else"):
            practise.ask(work, WORDS, session, what)
    with pytest.raises(InputError, match="no practice"):
        practise.ask(work, WORDS, work.session("other"), "stop")


def test_a_run_that_cannot_practise_says_why(work, session):
    run = jobs.new_run(work.home / "runs", "a")
    run.create(MetatrainConfig(), folder=str(work.source(session)), encoder_file="x")
    run.set_status("failed", message="Puzzles <cannot> be made.")
    session.practice = str(run.folder)
    updates = practise.attach(work, WORDS, session)
    assert WORDS["practice_failed"] in updates[0]["value"] and "&lt;cannot&gt;" in updates[0]["value"]
    assert [update["visible"] for update in updates[-7:-4]] == ["hidden"] * 3  # nothing to go on from


# ---- a real run, and Teach with it


@pytest.fixture(scope="module")
def practised(home):
    """A workspace whose session has practised on the creatures, from beginning to verdict."""
    work = Workspace(home)
    session = work.session("local")
    begun = {}

    def here(run, **_):
        """In this process, and shorter than the page asks for."""
        torch.set_num_threads(1)  # a bank that was made before takes all
        begun["config"] = run.config()
        run._write_json("config.json", run.config() | SHORT)
        from byolmeta.train import train

        train(run)

    before, jobs.start = jobs.start, here
    try:
        practise.begin(work, WORDS, session, "labels", "anil", 0)
    finally:
        jobs.start = before
    return work, session


def test_a_practice_from_beginning_to_verdict(practised):
    work, session = practised
    run = Run(session.practice)
    status = run.status()
    assert status["state"] == "done" and running.is_practice(run)
    updates = practise.poll(work, WORDS, session)
    assert len(updates) == 11 + 3 + 1 and "Practice helped" in updates[0]["value"]
    assert session.encoder == session.practice and updates[1]["visible"] is True
    assert updates[3]["figure"]["data"] and updates[4]["figure"]["data"] and updates[5]["figure"]["data"]
    assert "begins from the middle of the examples" in updates[2] and "step" in updates[2]
    names = dict((where, name) for name, where in map_step.encoder_choice(work, WORDS, session)["choices"])
    assert names[session.encoder] == "creatures-practised (photos-small)"
    assert Workspace(work.home).session("local").practice == session.practice


def test_teach_learns_with_what_practice_found_beside_the_same_without(practised):
    work, session = practised
    practise.judge(work, session)
    wheres = teach.compared_with(work, session)
    assert list(wheres) == ["pixels", "untrained", "unpractised", "yours"]  # its starter is the one without practice
    plain, mine = (teach.learner_of(work, session, wheres[key]) for key in ("unpractised", "yours"))
    assert plain.start == 0 and plain.rate == 0.15 and mine.start > 0 and len(mine.rate) == 20
    banks = {key: work.bank(session, wheres[key]) for key in ("unpractised", "yours")}
    starter = work.bank(session, "photos-small")
    assert np.allclose(banks["unpractised"], starter, atol=1e-5) and not np.allclose(banks["yours"], starter, atol=0.01)
    work.add_extra(session, str(next(iter(_some_picture(work)))))
    assert len(work.bank(session, wheres["unpractised"])) == len(starter) + 1
    session.boxes["boxes"][0]["items"], session.boxes["boxes"][1]["items"] = [0, 1], [25, 26]
    *_, (_, verdict, curve, _, _) = teach.begin(work, WORDS, session)
    assert {WORDS["line_unpractised"], "creatures-practised"} <= {
        trace.get("name") for trace in curve["figure"]["data"]
    }
    assert WORDS["than_unpractised"] in verdict and WORDS["checked_seen"] in verdict
    assert wheres["unpractised"].startswith(UNPRACTISED)


def _some_picture(work):
    return sorted(p for p in (work.home / "thumbs").rglob("sheet-0.webp"))


def test_other_pictures_are_not_called_seen(practised, tmp_path):
    work, session = practised
    practise.judge(work, session)
    other = Workspace(work.home).session("other")
    other.encoder = session.encoder
    assert teach.has_seen_classes(work, other, work.pictures(other))
    work.choose(other, draw_pictures(tmp_path / "shapes", each=4), "shapes")
    other.encoder = session.encoder
    assert not teach.has_seen_classes(work, other, work.pictures(other))
