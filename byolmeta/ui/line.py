"""The line of a shared machine: studies and practice wait their turn, one trains at a time, and none for ever."""

import contextvars
import functools
import threading
import time
from collections.abc import Callable
from pathlib import Path

from byolmeta import jobs
from byolmeta.errors import InputError
from byolmeta.runs import ACTIVE, Run, alone

WAITING = "waiting"  # the state of a run in the line
GOING = (*ACTIVE, WAITING)  # of one that is not over
MOST = 20  # runs in the line
GRACE = 180  # seconds beside its minutes that a run may take to read pictures, begin and save
LAST_WORD = 30  # seconds that a run which is asked to stop has for it


class Line:
    """Whose turn it is. `step` is called every second by the app, and whenever a run joins or ends its waiting.

    `start` begins a run as jobs.start does, in the context of the event with which its visitor asked for it.
    """

    def __init__(self, runs: Path, clock=time.monotonic, start: Callable[..., None] | None = None):
        self.runs, self.clock, self.lock = runs, clock, threading.RLock()
        self.start = start or (lambda run, resume: jobs.start(run, resume=resume))
        self.waiting: list[tuple[Run, Callable[[], None]]] = []  # and what begins it, or goes on from where it ended
        self.began: dict[Path, float] = {}

    def join(self, run: Run, visitor: str, words: dict[str, str], create: Callable[[], None] | None = None) -> None:
        """Makes a visitor's run with `create` and puts it at the end of the line; without, one that goes on.

        Raises InputError where the visitor has one already, or the line is too long.
        """
        with self.lock:
            if any(other.config().get("visitor", "")[:32] == visitor[:32] for other in self._going()):
                raise InputError(words["busy_yours"])
            if len(self.waiting) >= MOST:
                raise InputError(words["busy_many"].format(n=len(self.waiting)))
            reached = {} if create else {k: v for k, v in run.status().items() if k in ("step", "steps")}
            if create:
                create()
            run.set_status(WAITING, **{"step": 0} | reached)
            begin = functools.partial(contextvars.copy_context().run, self.start, run, resume=create is None)
            self.waiting.append((run, begin))
        self.step()

    def _going(self) -> list[Run]:
        return [run for run in jobs.list_runs(self.runs) if run.status()["state"] in GOING]

    def leave(self, run: Run) -> bool:
        """Takes a run out of the line; says whether it was in there."""
        with self.lock:
            left = [each for each in self.waiting if each[0].folder != run.folder]
            gone, self.waiting = len(left) < len(self.waiting), left
        if gone:
            run.set_status("stopped", step=run.status().get("step", 0))
        return gone

    def about(self, run: Run) -> dict:
        """{place, seconds}: how many are to begin up to this one, and in about how long; empty for one that does not wait."""
        with self.lock:
            folders = [each.folder for each, _ in self.waiting]
            if run.folder not in folders:
                return {}
            place = folders.index(run.folder)
            ahead = [each for each, _ in self.waiting[:place]]
            now = jobs.active_run(self.runs)
            left = max(0.0, _seconds(now) + self.began.get(now.folder, self.clock()) - self.clock()) if now else 0.0
            return {"place": place + 1, "seconds": left + sum(map(_seconds, ahead))}

    def step(self) -> None:
        """Starts the next run where none trains, and ends one that has had its time."""
        with self.lock, alone(self.runs):
            now = jobs.active_run(self.runs)
            if now:
                self._hurry(now)
                return
            self.began.clear()
            while self.waiting:
                run, begin = self.waiting.pop(0)
                if run.folder.is_dir():  # its visitor may have left
                    self.began[run.folder] = self.clock()
                    begin()
                    return

    def _hurry(self, run: Run) -> None:
        over = self.clock() - self.began.setdefault(run.folder, self.clock()) - _seconds(run) - GRACE
        if over > LAST_WORD:
            jobs.end(run)
        elif over > 0:
            run.ask("stop")
            run.withdraw("pause")


def _seconds(run: Run) -> float:
    """How long a run may train."""
    try:
        minutes = run.config().get("minutes")
    except InputError:
        minutes = 0
    return 60.0 * minutes if type(minutes) in (int, float) else 0.0
