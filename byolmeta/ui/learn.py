"""Step 2, Learn: starts a run as its own process and shows its folder as it grows."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np

from byolmeta import jobs
from byolmeta.errors import InputError
from byolmeta.runs import ACTIVE, Run
from byolmeta.ui import figures, thumbs
from byolmeta.ui.chart import Chart
from byolmeta.ui.html import safe, tile
from byolmeta.ui.workspace import Session, Workspace

LENGTHS = {"quick": 2, "good": 10, "long": 45}  # minutes
PUBLIC_MINUTES = 5
SCRATCH = "scratch"
moving: dict[str, dict] = {}  # the moving map of each visitor: the step shown, and points ready to be shown


def layout(work: Workspace, words: dict[str, str]) -> SimpleNamespace:
    """Lays the step out; `live` are the outputs that follow a run."""
    gr.HTML(f"<p class='line'>{safe(words['study_line'])}</p>")
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            choices = [(words[f"length_{k}"].format(m=m), k) for k, m in LENGTHS.items()]
            choices = choices[:1] if work.public else choices
            length = gr.Radio(choices, value="quick", label=words["length"], info=words["length_note"], elem_id="length")
            begin_at = gr.Radio(
                [(words["from_current"], "current"), (words["from_scratch"], SCRATCH)], value="current", label=words["from"]
            )
            with gr.Accordion(words["more_settings"], open=False):
                settings = _settings()
            button = gr.Button(words["study"], variant="primary", size="lg", elem_id="study")
            with gr.Row():
                pause = gr.Button(words["pause"], visible="hidden", elem_id="pause", size="sm")
                resume = gr.Button(words["resume"], visible="hidden", elem_id="resume", size="sm")
                stop = gr.Button(words["stop"], visible="hidden", elem_id="stop", size="sm")
            progress = gr.HTML(f"<p class='quiet'>{safe(words['idle'])}</p>", elem_id="progress")
            views_panel = gr.HTML(elem_id="views")
        with gr.Column(scale=3, min_width=320):
            gr.Markdown(f"### {words['chart_quality']}")
            quality = Chart(label=words["chart_quality"], empty=words["idle"], elem_id="quality")
            health = gr.HTML(elem_id="health")
            near = gr.HTML(elem_id="alike")
            with gr.Accordion(words["chart_loss"], open=False):
                loss = Chart(label=words["loss"], empty=words["idle"], elem_id="loss")
    timer = gr.Timer(1.0, active=False)
    done = gr.Textbox(visible="hidden", elem_id="done")
    live = [progress, quality, loss, health, near, button, pause, resume, stop, timer]
    return SimpleNamespace(
        button=button, pause=pause, resume=resume, stop=stop, timer=timer, live=live, views=views_panel, done=done,
        form=[length, begin_at, *settings.values()],
    )  # fmt: skip


def _settings() -> dict[str, gr.components.Component]:
    """The fields of the settings record, in its order, as inputs; what each is for comes from the record's comments."""
    from byolmeta.ui.forms import pretrain_fields

    return pretrain_fields()


def begin(work: Workspace, words: dict[str, str], session: Session, length: str, start: str, *form) -> list:
    """Starts studying the session's pictures in a process of its own; returns the outputs of `attach`."""
    from byolmeta import samples
    from byolmeta.pretrain import PretrainConfig
    from byolmeta.ui.forms import pretrain_values

    if jobs.active_run(work.home / "runs"):
        raise InputError(words["busy"])
    source = Path(session.source) if session.source else samples.sample_folder("creatures", work.home)
    encoder = work.encoder(session)
    init = "" if start == SCRATCH or encoder == "untrained" else encoder
    values = pretrain_values(form)
    if not (values.get("epochs") or values.get("minutes")):
        values["minutes"] = LENGTHS[length if length in LENGTHS else "quick"]
    if work.public:
        values = {"minutes": min(values.get("minutes") or PUBLIC_MINUTES, PUBLIC_MINUTES)}
    config = PretrainConfig(**values | {"init": init})
    if len(work.pictures(session).store) < 4:
        raise InputError("Studying needs at least 4 pictures, and gets useful from about 100. Add pictures first.")
    run = jobs.new_run(work.home / "runs", Path(session.label or "creatures").stem)
    run.create(config, folder=str(source), home=str(work.home.resolve()))
    jobs.start(run)
    session.run, session.judged = str(run.folder), ""
    work.save(session)
    return attach(work, words, session)


def attach(work: Workspace, words: dict[str, str], session: Session) -> list:
    """What the page shows of the session's run, or of one that a terminal started in the same home."""
    if not session.run or not Path(session.run).exists():
        found = None if work.public else jobs.active_run(work.home / "runs")
        session.run = str(found.folder) if found else ""
    if not session.run:
        return [f"<p class='quiet'>{safe(words['idle'])}</p>"] + [gr.skip()] * 4 + _buttons("idle") + [gr.Timer(active=False)]
    run = Run(session.run)
    status, metrics = run.status(), run.metrics()
    active = status["state"] in ACTIVE
    checks = [m["check"] for m in metrics if "check" in m]
    return [
        progress_line(status, checks, words),
        gr.update(figure=figures.quality_figure(metrics, words) if checks else None),
        gr.update(figure=figures.loss_figure(metrics, words) if any("loss" in m for m in metrics) else None),
        health_line(checks[-1], words) if checks else "",
        alike(work, words, session, run),
        *_buttons(status["state"]),
        gr.Timer(active=active),
    ]


def poll(work: Workspace, words: dict[str, str], session: Session) -> list:
    """`attach`, the moving map, and the name of a run that has just ended (which makes the page look with it)."""
    live = attach(work, words, session)
    points = _moving_points(work, session)
    ended = gr.skip()
    if session.run and session.judged != session.run:
        run = Run(session.run)
        if run.status()["state"] in ("done", "stopped", "failed"):
            session.judged = session.run
            if run.encoder.exists() and verdict([m["check"] for m in run.metrics() if "check" in m]) != "worse":
                session.encoder = session.run
            work.save(session)
            ended = f"{session.run} {time.time()}"
    return [*live, gr.update(points=points) if points else gr.skip(), ended]


def ask(work: Workspace, words: dict[str, str], session: Session, what: str) -> list:
    """Pauses, resumes or stops the session's run; a run that ended in between is continued from its checkpoint."""
    run = Run(session.run)
    if what == "resume":
        if run.status()["state"] in ACTIVE:
            run.withdraw("pause")
        else:
            session.judged = ""
            jobs.start(run, resume=True)
            run.set_status("starting", step=run.status().get("step", 0))
    else:
        run.ask(what)
        if what == "stop":
            run.withdraw("pause")
    time.sleep(0.3)
    return attach(work, words, session)[:-1] + [gr.Timer(active=True)]


def _buttons(state: str) -> list:
    """[study, pause, resume, stop] for a state of the run."""
    active = state in ACTIVE
    return [
        gr.update(interactive=not active),
        gr.update(visible=True if state == "running" else "hidden"),
        gr.update(visible=True if state in ("paused", "failed") else "hidden"),
        gr.update(visible=True if active else "hidden"),
    ]


def progress_line(status: dict, checks: list[dict], words: dict[str, str]) -> str:
    """State, bar, speed, time left; at the end the verdict."""
    state, step, steps = status["state"], status.get("step", 0), status.get("steps", 0)
    values = {"step": f"{step:,}", "steps": f"{steps:,}", "speed": round(status.get("images_per_second", 0)), "left": ""}
    if state == "running" and step:
        left = status["seconds"] / step * (steps - step)
        values["left"] = f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
    text = safe(words.get(f"state_{state}", state).format(**values))
    share = 100 * step / steps if steps else 0
    parts = [f"<p class='state'>{text}</p><div class='bar'><i style='width:{share:.1f}%'></i></div>"]
    if state in ACTIVE:
        parts.append(f"<p class='quiet'>{safe(words['page_note'])}</p>")
    elif len(checks) > 1:
        parts.append(f"<p class='verdict'>{safe(verdict_line(checks, words))}</p>")
    if status.get("message"):
        parts.append(f"<p class='quiet'>{safe(status['message'])}</p>")
    return "".join(parts)


def verdict(checks: list[dict]) -> str:
    """'better', 'same' or 'worse': first check against last, by twins and (with class folders) k-NN.

    A change counts when it is beyond two standard errors of the figure itself.
    """
    first, last = checks[0], checks[-1]
    if last["spread"] < 0.05:
        return "worse"
    n = last["twin_of"]
    changes = [(last["twin"] - first["twin"]) / max(0.02, 2 * np.sqrt(0.25 / n))]
    if last["knn"] is not None:
        changes.append((last["knn"] - first["knn"]) / 0.03)
    if min(changes) < -1:
        return "worse"
    return "better" if max(changes) > 1 else "same"


def verdict_line(checks: list[dict], words: dict[str, str]) -> str:
    first, last = checks[0], checks[-1]
    n = last["twin_of"]
    what = words["verdict_twin"].format(a=round(first["twin"] * n), b=round(last["twin"] * n), of=n)
    if last["knn"] is not None:
        what += ", " + words["verdict_knn"].format(a=round(100 * first["knn"]), b=round(100 * last["knn"]))
    result = verdict(checks)
    return words[f"verdict_{result}"].format(what=what) + ("" if result == "worse" else f" {words['now_using']}")


def health_line(check: dict, words: dict[str, str]) -> str:
    key = "collapse_bad" if check["spread"] < 0.15 else "collapse_ok"
    text = words[key].format(spread=round(100 * check["spread"]), rank=round(check["effective_rank"]))
    return f"<p class='{key}'>{safe(text)}</p>"


def alike(work: Workspace, words: dict[str, str], session: Session, run: Run) -> str:
    """Four pictures, each with the five that look most alike to the run's network at its last check."""
    from byolmeta import features

    seen = features.read_vectors(run.vectors)
    sheets = work.pictures(session).sheets
    if seen is None or run.config().get("folder") != str(_source(work, session)) or seen[0].max() >= sheets["n"]:
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


def _source(work: Workspace, session: Session) -> Path:
    from byolmeta import samples

    return Path(session.source) if session.source else samples.sample_folder("creatures", work.home)


def _moving_points(work: Workspace, session: Session) -> dict | None:
    """New positions when the run has saved new vectors; they are made in a thread, each from the last ones."""
    from byolmeta import features, image_map

    if not session.run:
        return None
    state = moving.setdefault(session.name, {"run": "", "step": -1, "places": None, "ready": None, "busy": False})
    if state["run"] != session.run:
        state |= {"run": session.run, "step": -1, "places": None, "ready": None}
    run = Run(session.run)
    seen = features.read_vectors(run.vectors)
    count = work.pictures(session).sheets["n"]
    fits = seen is not None and seen[0].max() < count and run.config().get("folder") == str(_source(work, session))
    if fits and seen[2] != state["step"] and not state["busy"] and work.layouts:
        state |= {"step": seen[2], "busy": True}

        def make() -> None:
            try:
                start = state["places"] if state["places"] is not None else image_map.pca_layout(seen[1])
                places = work.layouts.layout(seen[1], start, work.home / "projects" / f"{session.name}-exchange")
                near = seen[0][features.neighbours(seen[1], 3)[0]]
                state["places"], state["ready"] = places, work.points(session, places, "learning", near, seen[0])
            finally:
                state["busy"] = False

        threading.Thread(target=make, daemon=True).start()
    ready, state["ready"] = state["ready"], None
    return ready


def views(work: Workspace, session: Session) -> str:
    """Two augmented views of a few pictures, exactly as the networks will see them."""
    import torch

    from byolmeta.augment import make_view, two_views
    from byolmeta.ui.words import ENGLISH

    store = work.pictures(session).store
    rows = np.linspace(0, len(store) - 1, min(6, len(store))).astype(int)
    images = torch.from_numpy(store.pixels[rows])
    generator = torch.Generator().manual_seed(0)
    pairs = [(make_view(images, store.size, config, generator) * 255).byte().numpy() for config in two_views(store.size)]
    folder = work.home / "thumbs"
    columns = [
        "".join(f"<img alt='' src='{safe(thumbs.one(picture[i], folder))}'>" for picture in (store.pixels[rows], *pairs))
        for i in range(len(rows))
    ]
    cells = "".join(f"<div>{column}</div>" for column in columns)
    return f"<p class='quiet'>{safe(ENGLISH['views_title'])}</p><div class='views'>{cells}</div>"
