"""The page: builds the steps, connects them, and serves them with the rules of DESIGN section 6."""

import os
import secrets
import threading
from pathlib import Path

import gradio as gr

from byolmeta.errors import InputError
from byolmeta.ui import learn, pictures, teach
from byolmeta.ui import map as map_step
from byolmeta.ui.board import Board
from byolmeta.ui.chart import chart_paths
from byolmeta.ui.html import safe
from byolmeta.ui.scatter import Scatter
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Session, Workspace

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#666666")


def launch(*, public: bool, language: str, port: int | None, share: bool, browser: bool) -> None:
    """Serves the page until it is ended. Local mode listens on 127.0.0.1 and refuses foreign Host headers."""
    from byolmeta.commands import home

    work = Workspace(home(), public)
    demo = build(work, table(language))
    threading.Thread(target=warm, args=(work,), daemon=True).start()
    demo.queue(default_concurrency_limit=8).launch(**launch_options(work, port, share), inbrowser=browser and not public)


def launch_options(work: Workspace, port: int | None = None, share: bool = False) -> dict:
    """Arguments of Gradio's launch that both the app and the tests use."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    gr.set_static_paths(chart_paths())
    options = {
        "server_port": port,
        "share": share,
        "css": CSS,
        "theme": gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=["system-ui", "sans-serif"]),
        "allowed_paths": [str((work.home / "thumbs").resolve())],
        "show_error": True,
        "run_history": False,  # else Gradio writes every answer into the browser's storage: 100 ms a drop
        "footer_links": [],
        "max_file_size": "200mb" if work.public else None,
    }
    if not work.public:
        hosts = ["127.0.0.1", "localhost"]
        options["app_kwargs"] = {"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=hosts)]}
        options["server_name"] = "127.0.0.1"
    elif not os.environ.get("GRADIO_SERVER_NAME"):
        options["server_name"] = "0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1"
    return options


def warm(work: Workspace) -> None:
    """Loads torch and umap behind the page, and prepares the sample."""
    from byolmeta.image_map import MapWorker

    try:
        for where in (None, "pixels", "untrained"):
            work.bank(Session("warm"), where)
    except InputError:
        pass  # the page says so when it is asked
    work.layouts = work.layouts or MapWorker()
    work.layouts.start()


def build(work: Workspace, words: dict[str, str]) -> gr.Blocks:
    """Lays out the header and the steps, and connects them."""
    with gr.Blocks(title="byolmeta", analytics_enabled=False, fill_width=True) as demo:
        who = gr.State(lambda: secrets.token_hex(16) if work.public else "local")
        gr.HTML(_headline(words, work.public), elem_id="headline")
        with gr.Row(elem_id="nouns", equal_height=True):
            header = gr.HTML(elem_id="header", scale=3)
            encoder = gr.Dropdown([], label=words["encoder"], elem_id="encoder", scale=1, min_width=200, interactive=True)
        with gr.Tabs(elem_id="steps") as tabs:
            with gr.Tab(words["step_pictures"], id="pictures", render_children=True):  # else props sent before the first visit are lost
                pick = pictures.layout(work, words)
            with gr.Tab(words["step_learn"], id="learn", render_children=True):
                study = learn.layout(work, words)
            with gr.Tab(words["step_map"], id="map", render_children=True):
                scatter = Scatter(elem_id="map")
            with gr.Tab(words["step_teach"], id="teach", render_children=True):
                task = teach.layout(words)
        everything = [header, encoder, pick.report, pick.preview, study.views, scatter, task.board]

        def show(who: str):
            """Yields what changes on the page while the pictures of a visitor are read, embedded and mapped."""
            yield from map_step.arrive(work, words, work.session(who))

        def again(who: str):
            yield from teach.begin(work, words, work.session(who))

        def with_errors(function):
            def guarded(*values):
                try:
                    result = function(*values)
                except InputError as problem:
                    raise gr.Error(str(problem), title=words["error_what"], duration=12) from None
                return result

            return guarded

        options = {"show_progress": "hidden", "api_visibility": "private"}
        private = {"api_visibility": "private"}

        def refresh(event):
            """After a change of pictures or encoder: everything that shows them, then the answers."""
            shown = event.then(show, who, everything, **options)
            return shown.then(again, who, task.outputs, **options)

        refresh(demo.load(lambda who: learn.attach(work, words, work.session(who)), who, study.live, **options))
        pick.try_these.click(lambda: gr.Tabs(selected="teach"), None, tabs, **options)
        for event, function in pick.sources:
            chosen = event(with_errors(lambda value, who, f=function: f(work, work.session(who), value)),
                           [pick.inputs[function], who], pick.status, show_progress="minimal", **private)  # fmt: skip
            refresh(chosen)
        refresh(encoder.input(with_errors(lambda value, who: map_step.choose_encoder(work, work.session(who), value)),
                              [encoder, who], None, **options))  # fmt: skip

        def adapt(event: gr.EventData, who: str):
            yield from teach.changed(work, words, work.session(who), {"rev": event.rev, "boxes": event.boxes})

        def dropped(event: gr.EventData, who: str):
            return teach.dropped(work, words, work.session(who), event.box, event.files)

        def assigned(event: gr.EventData, who: str):
            return teach.assigned(work, words, work.session(who), event.indices, event.box, event.key)

        for part, whole in ((task.board, map_step.whole_board), (scatter, map_step.whole_map), (pick.preview, map_step.whole_map)):
            part.ready(lambda who, w=whole: w(work, work.session(who)), who, part, **options)
        task.board.change(adapt, who, task.outputs, concurrency_limit=8, **options)
        task.board.dropfiles(with_errors(dropped), who, [task.board], **options).then(again, who, task.outputs, **options)
        scatter.assign(with_errors(assigned), who, [task.board, scatter], **options).then(again, who, task.outputs, **options)
        task.method.change(lambda value, who: teach.choose_method(work, work.session(who), value), [task.method, who], None, **options
                           ).then(again, who, task.outputs, **options)  # fmt: skip

        study.button.click(with_errors(lambda who, *form: learn.begin(work, words, work.session(who), *form)),
                                     [who, *study.form], study.live, **options)  # fmt: skip
        for button, what in ((study.pause, "pause"), (study.resume, "resume"), (study.stop, "stop")):
            button.click(with_errors(lambda who, w=what: learn.ask(work, words, work.session(who), w)), who, study.live, **options)
        study.timer.tick(lambda who: learn.poll(work, words, work.session(who)), who, [*study.live, scatter, study.done],
                                concurrency_limit=4, **options)  # fmt: skip
        refresh(study.done.change(lambda: None, None, None, **options))
        tabs.select(lambda who: learn.views(work, work.session(who)), who, study.views, **options)
    return demo


def _headline(words: dict[str, str], public: bool) -> str:
    line = words["line_public"] if public else words["line_local"]
    return f"<h1>{safe(words['title'])}</h1><p>{safe(line)}</p>"


__all__ = ["Board", "build", "launch", "launch_options", "warm"]
