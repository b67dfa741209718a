"""ui/zero.py: studies on GPUs that are lent a minute at a time, against a stand-in for the package `spaces`."""

import contextvars
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import threading
from importlib.util import find_spec

import gradio as gr
import pytest
import torch
from browser import App, open_page, until
from gradio.context import LocalContext
from test_line import WORDS
from test_pretrain import config, losses, same, weights

from byolmeta import jobs
from byolmeta.devices import choose_device
from byolmeta.learners import learner
from byolmeta.learners.protocol import Support
from byolmeta.pretrain import pretrain
from byolmeta.runs import ACTIVE, Run, alone
from byolmeta.settings import MetatrainConfig
from byolmeta.ui import measuring, zero
from byolmeta.ui.sentences import said
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="ZeroGPU forks")
A, B = "a" * 32, "b" * 32
QUOTA = "You have exceeded your free ZeroGPU quota (60s requested vs. 20s left). Try again in 3:12:05. "


class Lender:
    """Lends what `spaces` lends, but no GPU: each call runs in a forked process, in a thread there; arguments and answers are
    pickled. It refuses when `left` loans have been had, and kills the process that logs the step `fatal`."""

    def __init__(self):
        self.left, self.fatal, self.loans, self.requests = 1000, None, 0, []
        self.meanwhile = self.between = lambda loans: None
        self.context = multiprocessing.get_context("fork")

    def lend(self, task):
        def call(*values):
            if self.loans == self.left:
                raise gr.Error(QUOTA, title="ZeroGPU quota exceeded", print_exception=False)
            self.requests.append(LocalContext.request.get(None))
            assert LocalContext.event_id.get(None) is None
            ours, theirs = self.context.Pipe()
            process = self.context.Process(target=self.work, args=(task, pickle.dumps(values), theirs), daemon=True)
            process.start()
            theirs.close()
            self.loans += 1
            self.meanwhile(self.loans)
            try:
                problem, value = pickle.loads(ours.recv_bytes())
            except EOFError:
                raise gr.Error("GPU task aborted", title="ZeroGPU worker error", print_exception=False) from None
            finally:
                process.join(20)
            if problem:
                raise gr.Error(problem, title="ZeroGPU worker error", print_exception=False)
            self.between(self.loans)
            return value

        return call

    def work(self, task, values, answers):
        append = Run.append

        def fatal(run, line):
            append(run, line)
            if "loss" in line and line["step"] == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)

        def run_task():
            try:
                answer = None, task(*pickle.loads(values))
            except Exception as problem:  # whichever it is, who called is told, as by `spaces`
                answer = type(problem).__name__, None
            answers.send_bytes(pickle.dumps(answer))

        Run.append = fatal
        thread = threading.Thread(target=run_task)
        thread.start()
        thread.join()


@pytest.fixture
def lender(monkeypatch):
    lender = Lender()
    monkeypatch.setattr(zero, "study", lender.lend(zero.study))
    monkeypatch.setattr(zero, "LESSON", 0)  # a step each
    return lender


@pytest.fixture
def work(tmp_path, pictures, store):
    work = Workspace(tmp_path / "home", public=True)
    work.line.start, work.pictures_folder = zero.start, pictures
    yield work
    for run in jobs.list_runs(work.home / "runs"):
        run.ask("stop")
        jobs.end(run)


def join(work, who, epochs=2, name="study", settings=None, **more):
    """Puts a visitor's study in the line, and returns it; three steps are an epoch."""
    run = Run(work.home / "runs" / f"{name}-{who[0]}")
    told = {"folder": str(work.pictures_folder), "home": str(work.home), "visitor": who} | more
    work.line.join(run, who, WORDS, lambda: run.create(settings or config(epochs=epochs), **told))
    return run


def over(work, run):
    until(lambda: run.status()["state"] not in (*ACTIVE, "waiting"), f"{run.status()} is over", 60)
    return run.status()


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """The same study of 6 steps, never interrupted."""
    run = Run(tmp_path_factory.mktemp("whole") / "run")
    run.create(config(epochs=2))
    pretrain(store, config(epochs=2), run)
    return run


def test_a_study_on_loans_ends_as_one_never_interrupted(work, lender, whole):
    def between(loans):
        if loans < 6:
            status = run.status()
            assert status["state"] == "running" and status["step"] == loans and status["pid"] == os.getpid()
            assert jobs.active_run(work.home / "runs").folder == run.folder
            work.line.step()

    lender.between = between
    run = Run(work.home / "runs" / "study-a")
    join(work, A)
    status = over(work, run)
    assert status["state"] == "done" and status["message"] == "" and lender.loans == 6
    assert losses(run) == losses(whole) and len(losses(run)) == 6
    assert same(weights(run), weights(whole)) and status["result"]["steps"] == 6
    assert status["result"]["twin_before"] == whole.status()["result"]["twin_before"]


@pytest.mark.parametrize("left", (0, 2))
def test_where_no_gpu_is_lent_the_study_goes_on_without(work, lender, whole, left):
    lender.left = left
    run = join(work, A)
    status = over(work, run)
    assert status["state"] == "done" and lender.loans == left and losses(run) == losses(whole)
    assert status["message"] == f"Without a GPU from step {left} on: {QUOTA.strip()}"
    assert said(table("zh"), status["message"]).startswith(f"从第 {left} 步起没有 GPU：你的 free ZeroGPU 配额")
    assert status["pid"] != os.getpid() and same(weights(run), weights(whole))


def test_a_loan_that_is_taken_back_costs_what_was_not_saved(work, lender, whole, monkeypatch):
    monkeypatch.setattr(zero, "LESSON", 60)
    lender.fatal = 4
    run = join(work, A, settings=config(epochs=2, checkpoint_seconds=0))
    status = over(work, run)
    assert status["state"] == "done" and lender.loans == 1 and losses(run) == losses(whole)
    assert "on: GPU task aborted." in status["message"] and "GPU 任务被中止" in said(table("zh"), status["message"])


@pytest.mark.parametrize("left", (1000, 2))
def test_a_study_that_is_asked_to_stop_between_two_loans_stops(work, lender, left):
    def between(loans):
        if loans == 2:
            Run(work.home / "runs" / "study-a").ask("stop")

    lender.between, lender.left = between, left
    run = join(work, A)
    status = over(work, run)
    assert status["state"] == "stopped" and status["step"] == 3 and not run.asked("stop")
    assert status["result"]["steps"] == 3 and "Stopped when asked" in status["message"]
    assert ("Without a GPU" in status["message"]) == (left == 2)


def test_who_leaves_during_a_loan_leaves_nothing(work, lender, monkeypatch):
    monkeypatch.setattr(zero, "LESSON", 60)
    ended = threading.Event()

    def meanwhile(loans):
        until(lambda: len(losses(run)) > 2, "it learns", 60)
        work.forget(A)
        ended.set()

    lender.meanwhile = meanwhile
    run = Run(work.home / "runs" / "study-a")
    join(work, A, epochs=100_000)
    assert ended.wait(60)
    until(lambda: not [each for each in threading.enumerate() if each.name == zero.NAME], "the loan is given back", 120)
    assert lender.loans == 1 and not run.folder.exists() and jobs.active_run(work.home / "runs") is None


def test_each_visitor_borrows_for_themselves_when_their_turn_comes(work, lender):
    def asked(who, run):
        context = contextvars.copy_context()
        context.run(LocalContext.request.set, who)
        context.run(LocalContext.event_id.set, "an event")
        context.run(join, work, who, epochs=1)
        return Run(work.home / "runs" / run)

    lender.between = lambda loans: work.line.step()
    first, second = asked(A, "study-a"), asked(B, "study-b")
    assert second.status()["state"] == "waiting"
    over(work, first)
    work.line.step()
    over(work, second)
    assert lender.requests == [A] * 3 + [B] * 3


def test_a_study_that_fails_says_why_and_borrows_no_more(work, lender):
    run = join(work, A, settings=config(epochs=2, base_lr=1e30, warmup=0))
    status = over(work, run)
    assert status["state"] == "failed" and "Try half the learning rate" in status["message"]
    assert "Without a GPU" not in status["message"]


def test_pictures_that_change_between_two_loans_end_the_study_with_a_sentence(work, lender, pictures, tmp_path):
    mine = work.pictures_folder = shutil.copytree(pictures, tmp_path / "mine")
    lender.between = lambda loans: (mine / "disc" / "0.png").unlink(missing_ok=True)
    status = over(work, join(work, A))
    assert status["state"] == "failed" and "not the ones this run began with" in status["message"]
    assert lender.loans == 2


def test_a_lock_that_was_held_when_a_loan_began_is_let_go(tmp_path):
    context, got = multiprocessing.get_context("fork"), threading.Event()
    process = context.Process(target=signal.pause, daemon=True)

    def again():
        with alone(tmp_path):
            got.set()

    with alone(tmp_path):
        process.start()
    try:
        threading.Thread(target=again, daemon=True).start()
        assert got.wait(20)
    finally:
        process.kill()


def test_practice_borrows_nothing(work, lender, monkeypatch):
    started = []
    monkeypatch.setattr(jobs, "start", lambda run, resume=False: started.append(run.folder.name))
    join(work, A, settings=MetatrainConfig(), encoder_file="photos-small")
    assert started == ["study-a"] and not lender.loans


def test_the_page_itself_is_never_ended(work, lender):
    run = Run(work.home / "runs" / "hung")
    run.create(config())
    run.set_status("running", step=3, steps=9)
    jobs.end(run)
    status = run.status()
    assert (status["state"], status["step"]) == ("failed", 3) and "given up" in status["message"]


def test_torch_in_the_place_of_which_spaces_answers_has_no_gpu(monkeypatch):
    def available():
        return True

    available.__module__ = "spaces.zero.torch.patching"
    monkeypatch.setattr("torch.cuda.is_available", available)
    assert choose_device("auto") != "cuda"
    available.__module__ = "torch.cuda"
    assert choose_device("auto") == "cuda"


def test_elsewhere_nothing_is_borrowed(tmp_path, monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert not zero.present()
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(zero, "find_spec", lambda name: None)
    assert not zero.present() and Workspace(tmp_path, public=True).line.start is not zero.start
    monkeypatch.setattr(zero, "find_spec", lambda name: name)
    assert zero.present() and Workspace(tmp_path, public=True).line.start is zero.start


@pytest.mark.parametrize("name", measuring.PUBLIC.learners)
def test_no_learner_of_a_shared_page_wakes_autograd(name, monkeypatch):
    """It counts the GPUs once for all, those of the page's process: no process that is forked from it could use one."""
    monkeypatch.setattr("torch.autograd.backward", None)
    monkeypatch.setattr("torch.autograd.grad", None)
    vectors, labels = torch.randn(12, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    steps = list(learner(name).adapt(torch.nn.Identity(), Support(vectors, labels, 3)))
    assert steps[-1].predict(vectors).shape == (12, 3)


@pytest.mark.long
@pytest.mark.skipif(find_spec("spaces") is None, reason="the package spaces is not installed")
@pytest.mark.skipif(torch.version.cuda is None, reason="spaces needs a torch that knows CUDA")
def test_the_page_with_the_real_package_and_no_gpu(tmp_path, browser):
    """Two loans and a refusal, as tests/zero_space.py gives them."""
    asked = tmp_path / "asked"
    app = App(tmp_path / "home", "--public", program=("tests/zero_space.py", str(asked)))
    try:
        page = open_page(browser, app.address, extra_http_headers={"X-IP-Token": "of.this.visitor"})
        page.wait_for_selector("#report .tile", timeout=60_000)
        page.locator("#learn-tab-button").click()
        page.locator("#study").click()
        progress = page.locator("#progress")
        until(lambda: progress.is_visible() and "Finished" in progress.inner_text(), "the study is over", 300)
        assert "You have exceeded your ZeroGPU quota (60s requested vs. 20s left)" in progress.inner_text()
        assert page.problems == []
        page.context.close()
    finally:
        app.end()
        calls = [json.loads(line) for line in asked.read_text().splitlines()] if asked.exists() else []
        for pid in {int(c["pid"]) for c in calls if c["path"] == "/allow"}:  # they outlive the app
            os.kill(pid, signal.SIGKILL)
    assert "Traceback" not in app.output(), app.output()[-4000:]
    assert [c["path"] for c in calls].count("/startup-report") == 1
    wanted = [(c["token"], c["durationSeconds"], c["ready"]) for c in calls if c["path"] == "/schedule"]
    assert wanted == [("of.this.visitor", "60", True)] * 3
    released = [(c["allowToken"], c["fail"]) for c in calls if c["path"] == "/release"]
    assert released == [("loan 1", "false"), ("loan 2", "false")]
    (run,) = jobs.list_runs(app.home / "runs")
    assert run.status()["state"] == "done" and run.status()["step"] == 4
    assert "Without a GPU from step 2 on: " in run.status()["message"]
