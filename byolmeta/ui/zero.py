"""Studies on a Space with ZeroGPU, whose package `spaces` lends a GPU for a minute at a time to a process that it forks.

A study goes on from one loan to the next by its run folder: each saves before its time is up. The page's process answers
for the run all the while. Where no GPU is to be had, or one is taken back, an ordinary process goes on without.
"""

import contextlib
import contextvars
import importlib
import os
import shutil
import threading
import time
from importlib.util import find_spec

from gradio.context import LocalContext

from byolmeta import jobs
from byolmeta.errors import InputError
from byolmeta.runs import ACTIVE, Run

LOAN = 60  # seconds that a GPU is asked for
# What a study imports: one that is forked while another thread imports it would wait for that thread, which it has not.
USED = ("byolmeta.pretrain", "byolmeta.train", "torch._dynamo", "torch.utils.serialization.config", "numpy.ctypeslib")
NAME = "lessons"  # of the threads that borrow
LESSON = 40  # of them until a study saves; the others are for reading, beginning and saving


def present() -> bool:
    """Whether this is a Space with ZeroGPU."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true") and find_spec("spaces") is not None


def study(folder: str, resume: bool, keeper: int) -> bool:
    """One loan's share of the study in a run folder, in a forked process; says whether there is more to do.

    `keeper`: the page's process. Sentences for people are in the run's status, not raised.
    """
    import torch

    from byolmeta.train import train

    torch.set_num_threads(1)  # the threads of the process that was forked are not here
    run = Run(folder, keeper)
    run.until = time.monotonic() + LESSON
    try:
        with open(run.log, "a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            return "unfinished" in train(run, resume=resume)
    except (InputError, OSError):  # the second: its visitor has left, and the folder with them
        return False


if present():
    import spaces  # before torch, which it changes

    study = spaces.GPU(study, duration=LOAN)


def start(run: Run, *, resume: bool = False) -> None:
    """Begins a study on GPUs that are lent to the visitor in whose context this is called. Practice gets a process of its
    own, as anywhere: it works on vectors, for which a GPU is too large."""
    if run.config().get("encoder_file"):
        return jobs.start(run, resume=resume)
    status = run.status()
    run.withdraw("stop")
    run.withdraw("pause")
    run.set_status("starting", **_reached(status))
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(_lessons, run, resume), name=NAME, daemon=True).start()


def _lessons(run: Run, resume: bool) -> None:
    """Borrows GPUs until the study is over."""
    for name in USED:
        importlib.import_module(name)
    LocalContext.event_id.set(None)  # the event is over: what `spaces` has to say to the visitor's page goes to the log
    try:
        while _there(run) and study(str(run.folder), resume, os.getpid()):
            resume = True
    except Exception as problem:  # no GPU is free, the visitor had their share, or it took too long
        _without(run, problem)
    if not _there(run):  # its visitor left, and the study wrote meanwhile
        shutil.rmtree(run.folder, ignore_errors=True)


def _there(run: Run) -> bool:
    return (run.folder / "config.json").exists()


def _without(run: Run, problem: Exception) -> None:
    """Goes on with a study in an ordinary process, which says since when there is no GPU, and why not."""
    status, stop = run.status(), run.asked("stop")
    if status["state"] not in ACTIVE:
        return
    reason = str(getattr(problem, "message", problem)).strip().rstrip(".") or type(problem).__name__
    run.told = f"Without a GPU from step {status.get('step', 0)} on: {reason}."
    jobs.start(run, resume=True)
    if stop:
        run.ask("stop")


def _reached(status: dict) -> dict:
    return {k: status[k] for k in ("step", "steps") if k in status}
