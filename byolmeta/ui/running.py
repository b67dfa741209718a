"""A run as the page follows it, be it a study or practice: which one, its bar and buttons, and what is asked of it."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

import gradio as gr

from byolmeta import jobs
from byolmeta.errors import InputError
from byolmeta.files import image_size_of
from byolmeta.runs import ACTIVE, Run, alone
from byolmeta.ui.html import safe
from byolmeta.ui.line import GOING, WAITING
from byolmeta.ui.workspace import Session, Workspace

PUBLIC_SIDE = 96  # pixels of a picture in a study on a shared machine
JUDGED = {
    "run": "judged",
    "practice": "practice_judged",
}  # fields of a session: its study or practice, and whether acted on


def is_practice(run: Run) -> bool:
    """Whether a run practises (meta-training) and does not study."""
    try:
        return bool(run.config().get("encoder_file"))
    except InputError:
        return False


def follow(work: Workspace, session: Session, kind: str) -> Run | None:
    """The study ("run") or "practice" to show: the session's while it is active, else one that a terminal started in the
    same home, else the session's as it ended."""
    where = getattr(session, kind)
    run = Run(where) if where and Path(where).exists() else None
    if not work.public and not (run and run.status()["state"] in ACTIVE):
        others = (other for other in jobs.list_runs(work.home / "runs") if is_practice(other) == (kind == "practice"))
        run = next((other for other in others if other.status()["state"] in ACTIVE), run)
    setattr(session, kind, str(run.folder) if run else "")
    return run


def begun_by(work: Workspace, session: Session) -> dict[str, str]:
    """What the config.json of a run says of whose it is on a shared machine, so that it leaves with them."""
    return {"visitor": session.name} if work.public else {}


def ask(work: Workspace, words: dict[str, str], session: Session, kind: str, what: str) -> None:
    """Pauses, resumes or stops a session's run; one that ended in between is continued from its checkpoint."""
    if what not in ("pause", "resume", "stop"):
        raise InputError(words["ask_wrong"])
    where = getattr(session, kind)
    if not where or not Path(where).is_dir():
        raise InputError(words[f"no_{kind}"])
    run = Run(where)
    if work.public and what == "pause":
        raise InputError(words["public_no_pause"])
    if what == "resume":
        state = run.status()["state"]
        if state in ACTIVE:
            run.withdraw("pause")
        elif work.public and state != WAITING:
            work.line.join(run, session.name, words)
        elif state != WAITING:
            with alone(work.home / "runs"):
                if jobs.active_run(work.home / "runs"):
                    raise InputError(words["busy"])
                jobs.start(run, resume=True)
        if state not in GOING:
            setattr(session, JUDGED[kind], "")
            work.save(session)
    elif not (work.public and work.line.leave(run)):
        run.ask(what)
        if what == "stop":
            run.withdraw("pause")
    time.sleep(0.3)


def begin(work: Workspace, words: dict[str, str], run: Run, config, **more) -> None:
    """Makes a run in its new folder and starts it; on a shared machine when its turn comes. One that may not begin leaves
    no folder."""
    try:
        if work.public:
            _check_init(config)
            return work.line.join(run, more["visitor"], words, lambda: run.create(config, **more))
        with alone(work.home / "runs"):
            if jobs.active_run(work.home / "runs"):
                raise InputError(words["busy"])
            run.create(config, **more)
            jobs.start(run)
    except InputError:
        with contextlib.suppress(OSError):
            run.folder.rmdir()
        raise


def _check_init(config) -> None:
    """Raises InputError where a study would go on from an encoder whose steps take more memory than one visitor may have."""
    init = getattr(config, "init", "")
    if init and (side := image_size_of(init)) > PUBLIC_SIDE:
        raise InputError(
            f"This encoder takes pictures of {side} pixels; a shared computer studies those of {PUBLIC_SIDE} at most. "
            "Go on from another one, or on your own computer."
        )


def status_of(work: Workspace, run: Run) -> dict:
    """The status of a run; on a shared machine with its place in the line."""
    return run.status() | ({"public": True} | work.line.about(run) if work.public else {})


def waits(status: dict, words: dict[str, str]) -> str:
    """How long a run waits for its turn; "" for one that does not."""
    if status["state"] != WAITING:
        return ""
    minutes = max(1, round(status.get("seconds", 0) / 60))
    return words["state_waiting"].format(place=status.get("place", 1), minutes=minutes)


def timer(session: Session, kind: str, state: str) -> gr.Timer:
    """Ticks while a run is active, and until it has been acted on once it ended."""
    return gr.Timer(active=state in GOING or getattr(session, JUDGED[kind]) != getattr(session, kind))


def buttons(state: str, public: bool = False) -> list:
    """Updates of [pause, resume, stop] for a state of the run; on a shared machine others wait, and nothing pauses."""
    shown = (state == "running" and not public, state in ("paused", "failed"), state in GOING)
    return [gr.update(visible=True if each else "hidden") for each in shown]


def shared(words: dict[str, str], session: Session, able: bool) -> list:
    """Updates of [study, practise, tab]: no run can begin beside another, and the tab says how far one is, so that it is
    seen from the other steps too. `able`: there is an encoder to practise with."""
    found = [Run(where).status() for kind in JUDGED if (where := getattr(session, kind))]
    active = [status for status in found if status["state"] in GOING]
    free = not active
    name = tab_name(active[0], words) if active else words["step_learn"]
    return [gr.update(interactive=free), gr.update(interactive=free and able), gr.Tab(label=name)]


def tab_name(status: dict, words: dict[str, str]) -> str:
    """The name of the step with how far a run is."""
    key = "learn_paused" if status["state"] == "paused" else "learn_active"
    return words[key].format(share=share_of(status))


def share_of(status: dict) -> int:
    """How much of a run is done, in per cent of the steps it may take."""
    return round(100 * status.get("step", 0) / max(1, status.get("steps", 0)))


def time_left(status: dict, words: Mapping) -> str:
    """Until all steps are done; "" where that cannot be told yet: the first steps are slow."""
    if status["state"] != "running" or status.get("step", 0) <= 4:
        return ""
    left = status["seconds"] / status["step"] * (status.get("steps", 0) - status["step"])
    key, unit = ("minutes_left", 60) if left > 90 else ("seconds_left", 1)
    return words[key].format(n=round(left / unit))


def bar(text: str, share: float, over: bool) -> str:
    """How far a run is; read aloud once it is `over`, or rests."""
    aloud = " data-aloud" if over else ""
    return f"<p class='state'{aloud}>{safe(text)}</p><div class='bar'><i style='width:{share:.1f}%'></i></div>"


def page_note(status: dict, words: dict[str, str]) -> str:
    """That the page may be closed, while a run is active; one that waits for the disk has its own message. On a shared
    machine, how to keep what was learned."""
    if status.get("public") and status["state"] in ("done", "stopped"):
        return f"<p class='quiet'>{safe(words['study_keep'])}</p>"
    if status["state"] not in GOING or status.get("full"):
        return ""
    key = "page_note_public" if status.get("public") else "page_note"
    return f"<p class='quiet'>{safe(words['page_note_paused' if status['state'] == 'paused' else key])}</p>"
