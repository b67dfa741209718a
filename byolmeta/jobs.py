"""Starts, watches and stops a training process. The run folder is all that both sides share."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from byolmeta.errors import InputError
from byolmeta.runs import ACTIVE, Run

ROOT = Path(__file__).parent.parent


def start(run: Run, *, resume: bool = False) -> None:
    """Starts `python -m byolmeta train RUN` as a process that outlives the app. The run's config.json says what.

    The status names the new process at once, so that one that dies while it loads is seen.
    """
    status = run.status()
    run.withdraw("stop")
    run.withdraw("pause")
    command = [sys.executable, "-m", "byolmeta", "train", str(run.folder.resolve())] + (["--resume"] if resume else [])
    with open(run.log, "ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, **_detached())
    run.set_status("starting", pid=process.pid, **{k: v for k, v in status.items() if k in ("step", "steps")})


def end(run: Run) -> None:
    """Ends a run's process at once, if it lives; what it saved last stays.

    Of one that this very process answers for (ui/zero.py) it is only said that it ended.
    """
    status = run.status()
    if status["state"] in ACTIVE and status["pid"] != os.getpid():
        with contextlib.suppress(OSError):
            os.kill(status["pid"], signal.SIGTERM)
    elif status["state"] in ACTIVE:
        reached = {k: status[k] for k in ("step", "steps") if k in status}
        run.set_status("failed", message="It did not end when it was asked to, so it was given up.", **reached)


def _detached() -> dict:
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def list_runs(runs: Path) -> list[Run]:
    """Run folders below `runs`, newest first; those that a terminal started too."""
    found = [path.parent for path in Path(runs).glob("*/config.json")]
    return [Run(folder) for folder in sorted(found, key=lambda f: (f / "config.json").stat().st_mtime, reverse=True)]


def active_run(runs: Path) -> Run | None:
    """The run that is training now, if any."""
    return next((run for run in list_runs(runs) if run.status()["state"] in ACTIVE), None)


def new_run(runs: Path, name: str) -> Run:
    """A new run folder, made here so that nobody who asks at the same time gets it too: name, or name-2, name-3 ..."""
    clean = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:40].strip("-") or "run"
    for number in range(1, 10_000):
        folder = Path(runs) / (clean if number == 1 else f"{clean}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as problem:
            raise InputError(
                f"The run folder '{folder}' cannot be written ({problem.strerror}). Choose another place."
            ) from None
        return Run(folder)
    raise InputError(f"There are too many runs called '{clean}' in '{runs}'. Remove some.")
