"""Step 2, Learn: starts a run as its own process and shows its folder as it grows."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np

from byolmeta import jobs
from byolmeta.errors import InputError
from byolmeta.files import UNTRAINED
from byolmeta.runs import Run, collapse_floor
from byolmeta.settings import PRESETS, PretrainConfig
from byolmeta.ui import figures, running, thumbs
from byolmeta.ui.chart import Chart
from byolmeta.ui.forms import pretrain_fields, pretrain_values
from byolmeta.ui.html import safe, tile
from byolmeta.ui.line import GOING
from byolmeta.ui.scatter import Scatter
from byolmeta.ui.sentences import said
from byolmeta.ui.workspace import Session, Workspace

LENGTHS = {name: round(values["minutes"]) for name, values in PRESETS.items()}
PUBLIC_MINUTES = 2
SCRATCH = "scratch"
moving: dict[str, dict] = {}  # the moving map of each visitor: the step shown, and points ready to be shown


def layout(work: Workspace, words: dict[str, str]) -> SimpleNamespace:
    """Lays studying out; `live` are the outputs that follow a run."""
    gr.HTML(f"<p class='line'>{safe(words['study_line'])}</p>", padding=False)
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            choices = [(words[f"length_{k}"].format(m=m), k) for k, m in LENGTHS.items()]
            if work.public:
                choices = [(words["length_quick"].format(m=LENGTHS["quick"]), "quick")]
            length = gr.Radio(
                choices, value="quick", label=words["length"], info=words["length_note"], elem_id="length"
            )
            begin_at = gr.Radio([(words["from_current"], "current"), (words["from_scratch"], SCRATCH)], value="current",
                                label=words["from"], elem_id="from")  # fmt: skip
            with gr.Accordion(words["more_settings"], open=False, elem_id="more", visible=not work.public):
                settings = pretrain_fields(words)
            button = gr.Button(words["study"], variant="primary", size="lg", elem_id="study")
            views_panel = gr.HTML(elem_id="views", padding=False)
        with gr.Column(scale=3, min_width=320):
            progress = gr.HTML(elem_id="progress", visible="hidden", padding=False)
            onward = gr.Button(words["go_teach"], visible="hidden", elem_id="onward", variant="primary")
            with gr.Row(elem_id="asks"):
                pause = gr.Button(words["pause"], visible="hidden", elem_id="pause", size="sm", min_width=120, scale=0)
                resume = gr.Button(
                    words["resume"], visible="hidden", elem_id="resume", size="sm", min_width=120, scale=0
                )
                stop = gr.Button(words["stop"], visible="hidden", elem_id="stop", size="sm", min_width=120, scale=0)
            gr.HTML(f"<h3>{safe(words['chart_quality'])}</h3>", padding=False)
            gr.HTML(f"<p class='quiet'>{safe(words['quality_line'])}</p>", padding=False)
            quality = Chart(
                words=words.get("of_chart"),
                label=words["chart_quality"],
                empty=words["idle"],
                height=240,
                elem_id="quality",
            )
            health = gr.HTML(elem_id="health", visible="hidden", padding=False)
            with gr.Row(elem_id="seen"):
                with gr.Column(scale=1, min_width=300):
                    scatter = Scatter(compact=True, words=words.get("of_scatter"), elem_id="moving")
                with gr.Column(scale=1, min_width=300):
                    near = gr.HTML(elem_id="alike", visible="hidden", padding=False)
            with gr.Accordion(words["chart_loss"], open=False):
                loss = Chart(
                    words=words.get("of_chart"), label=words["loss"], empty=words["idle"], height=220, elem_id="loss"
                )
    timer = gr.Timer(1.0, active=False, render=False)
    done = gr.Textbox(visible="hidden", elem_id="done")
    live = [progress, quality, loss, health, near, onward, pause, resume, stop, timer]
    return SimpleNamespace(
        button=button, onward=onward, pause=pause, resume=resume, stop=stop, timer=timer, live=live, views=views_panel, done=done,
        scatter=scatter, quality=quality, form=[length, begin_at, *settings.values()],
    )  # fmt: skip


def begin(work: Workspace, words: dict[str, str], session: Session, length: str, start: str, *form) -> list:
    """Starts studying the session's pictures in a process of its own; returns the outputs of `attach`."""
    encoder = work.encoder(session)
    init = "" if start == SCRATCH or encoder == "untrained" else encoder
    values = {"minutes": PUBLIC_MINUTES} if work.public else pretrain_values(form)
    if not (values.get("epochs") or values.get("minutes")):
        values["preset"] = length if length in PRESETS else "quick"
    config = PretrainConfig(
        **values | {"init": init, "kind": work.encoder_kind(session) if init else work.kind(session)}
    )
    if len(work.pictures(session).store) < 4:
        raise InputError("Studying needs at least 4 pictures, and gets useful from about 100. Add pictures first.")
    run = jobs.new_run(work.home / "runs", Path(session.label or "creatures").stem)
    own = str(work.own(session).resolve())
    running.begin(
        work, words, run, config, folder=str(work.source(session)), home=own, **running.begun_by(work, session)
    )
    session.run, session.judged = str(run.folder), ""
    work.save(session)
    return attach(work, words, session)


def attach(work: Workspace, words: dict[str, str], session: Session) -> list:
    """What the page shows of the session's study, or of one that a terminal started in the same home: `live`, and
    `shared`."""
    run = running.follow(work, session, "run")
    if run is None:
        return [*[gr.skip()] * 6, *running.buttons("idle"), gr.Timer(active=False), *shared(work, words, session)]
    status, metrics = running.status_of(work, run), run.metrics()
    checks = [m["check"] for m in metrics if "check" in m]
    other = "" if session.encoder == session.run else work.encoder_name(session)
    empty = words["soon" if status["state"] in GOING else "idle"]
    return [
        gr.update(visible=True, value=progress_line(status, checks, words, other)),
        gr.update(figure=figures.quality_figure(metrics, status.get("steps", 0), words) if checks else {}, empty=empty),
        gr.update(figure=figures.loss_figure(metrics, words) if any("loss" in m for m in metrics) else {}, empty=empty),
        _block(health_line(checks, words) if checks else ""),
        _block(alike(work, words, session, run)),
        gr.update(visible=True if status["state"] in ("done", "stopped") else "hidden"),
        *running.buttons(status["state"], work.public),
        running.timer(session, "run", status["state"]),
        *shared(work, words, session),
    ]


def shared(work: Workspace, words: dict[str, str], session: Session) -> list:
    """What studying and practice share: the updates of [study, practise, tab]."""
    return running.shared(words, session, work.encoder(session) != UNTRAINED)


def _block(html: str) -> dict:
    """An update of a gr.HTML that takes no room while it is empty."""
    return gr.update(visible=True if html else "hidden", value=html)


def poll(work: Workspace, words: dict[str, str], session: Session) -> list:
    """`attach`, the moving map, and the name of a run that has just ended (which makes the page look with it)."""
    points, ended = _moving_points(work, session), gr.skip()
    if session.run and Run(session.run).status()["state"] not in GOING:
        judge(work, session)
        ended = f"{session.run} {time.time()}"
    points = gr.update(points=points) if points else gr.skip()
    return [*attach(work, words, session), points, points, ended]


def judge(work: Workspace, session: Session) -> None:
    """Once after a run has ended: the page looks with its encoder if that got better than the one it began with.

    One that began from nothing is better than nothing; it replaces no other encoder by itself.
    """
    if session.judged == session.run:
        return
    run = Run(session.run)
    checks = [m["check"] for m in run.metrics() if "check" in m]
    ended = run.status()["state"] != "failed" and run.encoder.exists() and checks
    went_on = run.config().get("init") or work.encoder(session) == UNTRAINED
    if ended and went_on and verdict(checks) == "better":
        session.encoder = session.run
    session.judged = session.run
    work.save(session)


def ask(work: Workspace, words: dict[str, str], session: Session, what: str) -> list:
    """Pauses, resumes or stops the session's study; returns the outputs of `attach`."""
    running.ask(work, words, session, "run", what)
    return attach(work, words, session)


def progress_line(status: dict, checks: list[dict], words: dict[str, str], looks_with: str = "") -> str:
    """State, bar, speed, time left; at the end the verdict, and what the page `looks_with` ("": this encoder)."""
    state, left = status["state"], running.time_left(status, words)
    values = {
        "share": running.share_of(status),
        "speed": round(status.get("images_per_second", 0)),
        "left": words["time_left"].format(left=left) if left else "",
    }
    line = running.waits(status, words) or words.get(f"state_{state}", state).format(**values)
    parts = [running.bar(line, values["share"], state == "paused" or state not in GOING)]
    parts.append(running.page_note(status, words))
    if state not in (*GOING, "failed") and len(checks) > 1:
        parts.append(f"<p class='verdict' data-aloud>{safe(verdict_line(checks, words, looks_with))}</p>")
    if status.get("message"):
        parts.append(f"<p class='quiet'>{safe(said(words, status['message']))}</p>")
    return "".join(parts)


def verdict(checks: list[dict]) -> str:
    """'better', 'same' or 'worse': first check against last, by twins and (with class folders) k-NN.

    A change counts beyond two standard errors of the twins found, or beyond 3 points of k-NN.
    """
    first, last = checks[0], checks[-1]
    if last["spread"] < collapse_floor(first["spread"]):
        return "worse"
    n = last["twin_of"]
    changes = [(last["twin"] - first["twin"]) / max(0.02, 2 * np.sqrt(0.25 / n))]
    if last["knn"] is not None:
        changes.append((last["knn"] - first["knn"]) / 0.03)
    if min(changes) < -1:
        return "worse"
    return "better" if max(changes) > 1 else "same"


def verdict_line(checks: list[dict], words: dict[str, str], looks_with: str) -> str:
    first, last = checks[0], checks[-1]
    n = last["twin_of"]
    found = [round(2 * n * check["twin"]) for check in (first, last)]
    what = words["verdict_twin"].format(a=found[0], b=found[1], of=2 * n)
    if last["knn"] is not None:
        what += words["comma"] + words["verdict_knn"].format(a=round(100 * first["knn"]), b=round(100 * last["knn"]))
    return (
        words[f"verdict_{verdict(checks)}"].format(what=what)
        + words["next_sentence"]
        + words["not_using" if looks_with else "now_using"].format(name=looks_with)
    )


def health_line(checks: list[dict], words: dict[str, str]) -> str:
    """Whether pictures stay apart. A network that begins from nothing has little spread, and is not yet judged."""
    last = checks[-1]
    collapsing = last["spread"] < 2 * collapse_floor(checks[0]["spread"])
    key = "collapse_bad" if collapsing else "collapse_ok"
    text = words[key].format(spread=round(100 * last["spread"]), rank=round(last["effective_rank"]))
    return f"<p class='{key}'>{safe(text)}</p>"


def alike(work: Workspace, words: dict[str, str], session: Session, run: Run) -> str:
    """Four pictures, each with the five that look most alike to the run's network at its last check."""
    from byolmeta import features

    seen = features.read_vectors(run.vectors)
    sheets = work.pictures(session).sheets
    if seen is None or run.config().get("folder") != str(work.source(session)) or seen[0].max() >= sheets["n"]:
        return ""
    ids, vectors, _ = seen
    rows = np.linspace(0, len(ids) - 1, 6).astype(int)[1:-1]
    unit = features.unit(vectors)
    lines = []
    for row in rows:
        order = np.argsort(-(unit @ unit[row]))
        near = "".join(tile(sheets, int(ids[i]), 56) for i in order[order != row][:5])
        lines.append(f"<div class='alike'>{tile(sheets, int(ids[row]), 56)}<b>→</b>{near}</div>")
    return f"<p class='quiet'>{safe(words['neighbours_title'])}</p>{''.join(lines)}"


def _moving_points(work: Workspace, session: Session) -> dict | None:
    """New positions when the run has saved new vectors; they are made in a thread, each from the last ones."""
    from byolmeta import features

    if not session.run:
        return None
    state = moving.setdefault(session.name, {"run": "", "step": -1, "places": None, "ready": None, "busy": False})
    if state["run"] != session.run:
        state |= {"run": session.run, "step": -1, "places": None, "ready": None}
    run = Run(session.run)
    seen = features.read_vectors(run.vectors)
    count, key = (work.pictures(session).sheets[name] for name in ("n", "key"))
    fits = seen is not None and seen[0].max() < count and run.config().get("folder") == str(work.source(session))
    if fits and seen[2] != state["step"] and not state["busy"] and work.layouts:
        state |= {"step": seen[2], "busy": True}

        def make() -> None:
            try:
                earlier = work.places.get(session.name, ("", None))
                start = state["places"]
                if start is None and earlier[0] == key:
                    start = earlier[1][seen[0]]
                places = work.layouts.layout(seen[1], start, work.home / "projects" / f"{session.name}-exchange")
                near = seen[0][features.neighbours(seen[1], 3)[0]]
                state["places"], state["ready"] = places, work.points(session, key, places, "learning", near, seen[0])
            finally:
                state["busy"] = False

        threading.Thread(target=make, daemon=True).start()
    ready, state["ready"] = state["ready"], None
    return ready


def views(work: Workspace, words: dict[str, str], session: Session) -> str:
    """Two augmented views of a few pictures, exactly as the networks will see them."""
    import torch

    from byolmeta.augment import make_view, two_views

    store = work.pictures(session).store
    rows = np.linspace(0, len(store) - 1, min(6, len(store))).astype(int)
    images = torch.from_numpy(store.pixels[rows])
    generator = torch.Generator().manual_seed(0)
    pairs = [
        (make_view(images, store.size, config, generator) * 255).byte().numpy()
        for config in two_views(store.size, work.encoder_kind(session))
    ]
    folder = work.home / "thumbs"
    columns = [
        "".join(
            f"<img alt='' src='{safe(thumbs.one(picture[i], folder, session.name))}'>"
            for picture in (store.pixels[rows], *pairs)
        )
        for i in range(len(rows))
    ]
    cells = "".join(f"<div>{column}</div>" for column in columns)
    return f"<p class='quiet'>{safe(words['views_title'])}</p><div class='views'>{cells}</div>"
