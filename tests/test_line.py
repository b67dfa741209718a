"""ui/line.py: on a shared machine runs wait their turn, and none trains for ever."""

import json

import pytest

from byolmeta import jobs
from byolmeta.encoder import Encoder, save_encoder
from byolmeta.errors import InputError
from byolmeta.runs import Run
from byolmeta.settings import PretrainConfig
from byolmeta.ui import learn, line, running
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

WORDS = table("en")
A, B, C = ("a" * 32, "b" * 32, "c" * 32)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("line") / "home"


@pytest.fixture
def work(home, monkeypatch):
    """A shared machine whose clock is `work.now`; what it starts stands as running, by this process."""
    work = Workspace(home, public=True)  # without what the test before left
    work.now, work.started = 0.0, []
    work.line.clock = lambda: work.now

    def start(run, resume=False):
        work.started.append((run.folder.name, resume))
        run.set_status("running", step=1, steps=10, seconds=1)

    monkeypatch.setattr(jobs, "start", start)
    return work


def begin(work, who):
    learn.begin(work, WORDS, work.session(who), "quick", "scratch")
    return Run(work.session(who).run)


def said(work, who) -> str:
    return learn.attach(work, WORDS, work.session(who))[0]["value"]


def test_studies_of_several_visitors_take_turns_and_the_page_says_when(work):
    first, second, third = (begin(work, who) for who in (A, B, C))
    assert [name for name, _ in work.started] == [first.folder.name]
    assert [run.status()["state"] for run in (first, second, third)] == ["running", "waiting", "waiting"]
    work.now = 60.0  # of the first one's 120 seconds
    assert "number 1 in line" in said(work, B) and "about 1 min" in said(work, B)
    assert "number 2 in line" in said(work, C) and "about 3 min" in said(work, C)
    pause, resume, stop = running.buttons("waiting", True)
    assert (pause["visible"], resume["visible"], stop["visible"]) == ("hidden", "hidden", True)
    first.set_status("done")
    work.line.step()
    assert second.status()["state"] == "running" and "number 1 in line" in said(work, C)
    assert WORDS["study_keep"] in said(work, A) and WORDS["study_keep"] not in said(work, B)
    learn.ask(work, WORDS, work.session(C), "stop")
    assert third.status()["state"] == "stopped" and not work.line.waiting


def test_a_visitor_has_one_run_at_a_time_and_the_line_an_end(work, monkeypatch):
    begin(work, A), begin(work, B)
    for who in (A, B):
        with pytest.raises(InputError, match="already have"):
            begin(work, who)
    assert len([path for path in (work.home / "runs").iterdir() if path.is_dir()]) == 2
    monkeypatch.setattr(line, "MOST", 1)
    with pytest.raises(InputError, match="waiting for their turn"):
        begin(work, C)


def test_a_study_from_an_encoder_for_large_pictures_is_refused(work, tmp_path):
    """Of an encoder that a visitor brought: its steps would take all memory of the machine."""
    save_encoder(Encoder("conv4", 128), tmp_path / "large.safetensors")
    run = jobs.new_run(work.home / "runs", "large")
    with pytest.raises(InputError, match="pictures of 128 pixels"):
        running.begin(work, WORDS, run, PretrainConfig(init=str(tmp_path / "large.safetensors")), visitor=A)
    assert not run.folder.exists() and not work.line.waiting


def test_one_that_does_not_end_is_ended(work, monkeypatch):
    ended = []
    monkeypatch.setattr(jobs, "end", ended.append)
    run = begin(work, A)
    work.now = 120 + line.GRACE - 1
    work.line.step()
    assert not run.asked("stop")
    work.now += 2
    work.line.step()
    assert run.asked("stop") and not ended
    work.now += line.LAST_WORD
    work.line.step()
    assert [each.folder for each in ended] == [run.folder]


def test_nothing_pauses_and_what_ended_goes_on_in_its_turn(work):
    first, second = begin(work, A), begin(work, B)
    with pytest.raises(InputError, match="nothing can be paused"):
        learn.ask(work, WORDS, work.session(A), "pause")
    first.set_status("failed", step=5, steps=10)
    learn.ask(work, WORDS, work.session(A), "resume")
    assert work.started[1:] == [(second.folder.name, False)] and first.status()["state"] == "waiting"
    second.set_status("done")
    work.line.step()
    assert work.started[2:] == [(first.folder.name, True)]


def test_who_leaves_makes_room(work):
    begin(work, A), begin(work, B), begin(work, C)
    work.forget(B)
    assert [run.config()["visitor"] for run, _ in work.line.waiting] == [C]
    later = Workspace(work.home, public=True)  # a new process finds no visitors
    assert not list(later.home.glob("runs/*/config.json"))


def test_the_form_of_a_shared_page_cannot_ask_for_more(work):
    form = [json.dumps(value) for value in range(40)]
    learn.begin(work, WORDS, work.session(A), "thorough", "scratch", *form)
    config = Run(work.session(A).run).config()
    assert config["minutes"] == learn.PUBLIC_MINUTES
    assert {k: v for k, v in config.items() if k in ("epochs", "encoder", "batch_size")} == {
        k: getattr(PretrainConfig(), k) for k in ("epochs", "encoder", "batch_size")
    }
