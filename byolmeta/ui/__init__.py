"""The page: builds the steps, connects them, and serves them with the rules of DESIGN section 6."""

import functools
import inspect
import itertools
import logging
import os
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import gradio as gr
from gradio.context import Context, LocalContext

from byolmeta.errors import InputError
from byolmeta.images import trim_stores
from byolmeta.ui import (
    advice,
    carry,
    endpoints,
    explore,
    filling,
    learn,
    lessons,
    locate,
    measure,
    measuring,
    pictures,
    practise,
    teach,
    tidying,
    why,
)
from byolmeta.ui import live as camera_step
from byolmeta.ui import map as map_step
from byolmeta.ui.board import Board
from byolmeta.ui.chart import chart_paths
from byolmeta.ui.guard import COOKIE, PAGES, Guard
from byolmeta.ui.guide import Guide
from byolmeta.ui.html import safe
from byolmeta.ui.languages import Draft, Language, Page, Spoken, numbered, speaking, switch
from byolmeta.ui.lesson import Bar
from byolmeta.ui.map import sent
from byolmeta.ui.sentences import said
from byolmeta.ui.workspace import Session, Workspace

# Gradio opens a list again when Tab has left it; its signs of waiting turn for ever, also where less motion is wished.
HEAD = """<style>@media (prefers-reduced-motion: reduce) {
  *, *::before, *::after { animation: none !important; transition: none !important; scroll-behavior: auto !important; }
}</style>
<script>document.addEventListener("keydown", (event) => {
  if (event.key === "Tab" && event.target.getAttribute?.("role") === "combobox") event.stopImmediatePropagation();
}, true)</script>"""
ALOUD = (Path(__file__).parent / "aloud.js").read_text(encoding="utf-8")
# On a phone the progress is far below the button.
SHOW = """(...values) => {
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
  setTimeout(() => document.querySelector("#PART")?.scrollIntoView({ behavior, block: "nearest" }), 600);
  return values;
}"""
# what the hints of a first visit are about, and on which side of it they stand where there is room
POINTED = (
    ("#drop", "right"),
    ("#learn-tab-button", "below"),
    ("#map-tab-button", "below"),
    ("#teach-tab-button", "below"),
    ("#locate-tab-button", "below"),
)
MOST_EVENTS = 10_000  # that wait for their turn; on a Space with ZeroGPU, Gradio would take 1
TIDY_SECONDS = 300  # between two looks for visitors who have left a shared machine
STORES_BYTES = 20 << 30  # decoded pictures kept on disk; those not used for longest go first
CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def launch(
    *,
    public: bool,
    language: str | None,
    port: int | None,
    share: bool,
    browser: bool,
    auth: tuple[str, str] | None = None,
    mcp: bool = False,
) -> None:
    """Serves the page until it is ended. Local mode listens on 127.0.0.1 and refuses foreign Host headers.

    `language`: of the page, None for what the browser asks for. `mcp`: also as a server of MCP tools, which are what ui/endpoints.py offers.
    """
    from byolmeta.workplace import home

    if mcp and find_spec("mcp") is None:
        raise InputError("MCP tools need a library that is not installed. Install it: pip install 'mcp>=1.21,<2'")

    logging.getLogger("uvicorn.error").addFilter(_worth_telling)
    work = Workspace(home(), public)
    demo = build(work, Spoken(language))
    if mcp:
        endpoints.only_reading(demo)
    threading.Thread(target=warm, args=(work,), daemon=True).start()
    if public:
        threading.Thread(target=tend, args=(work, demo), daemon=True).start()
    try:
        demo.queue(default_concurrency_limit=8, max_size=MOST_EVENTS).launch(
            **launch_options(work, port, share, language), auth=auth, mcp_server=mcp, inbrowser=browser and not public
        )
    except OSError as problem:
        raise InputError(f"The page cannot be served ({problem}) Choose another port with --port.") from None


def launch_options(work: Workspace, port: int | None = None, share: bool = False, language: str | None = None) -> dict:
    """Arguments of Gradio's launch that both the app and the tests use."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    gr.set_static_paths(chart_paths())
    guard = Middleware(Guard, work=work, files=chart_paths(), most_bytes=pictures.PUBLIC_BYTES, usual=language)
    theme = gr.themes.Default(
        primary_hue="blue", neutral_hue="slate", radius_size="lg", font=["system-ui", "sans-serif"]
    )
    options = {
        "server_port": port,
        "share": share,
        "css": CSS,
        "theme": theme.set(
            button_primary_background_fill="*primary_600",
            button_primary_background_fill_hover="*primary_700",
            button_primary_background_fill_dark="*primary_600",
            body_text_color_subdued="*neutral_500",  # 4.5 : 1 on white, which small text needs
            block_info_text_color="*body_text_color_subdued",
        ),
        "allowed_paths": [str((work.home / "thumbs").resolve())],
        "show_error": not work.public,  # else what a bug said: sentences for visitors are shown in any case
        "enable_monitoring": False,
        "ssr_mode": False,  # its server would stand before the guard
        "run_history": False,  # else Gradio writes every answer into the browser's storage: 100 ms a drop
        "footer_links": [],
        "head": f"{HEAD}<script>{ALOUD}</script>",
        "app_kwargs": {"middleware": [guard, Middleware(Language, usual=language)]},
        "max_file_size": pictures.PUBLIC_FILE_BYTES if work.public else None,
        "state_session_capacity": PAGES if work.public else 10_000,
    }
    if not work.public:
        hosts = ["127.0.0.1", "localhost"]
        options["app_kwargs"]["middleware"].insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=hosts))
        options["server_name"] = "127.0.0.1"
    elif not os.environ.get("GRADIO_SERVER_NAME"):
        options["server_name"] = "0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1"
    return options


def _worth_telling(record: logging.LogRecord) -> bool:
    """False for what Gradio raises when a page that waited for answers was reloaded or left: nobody asks for them any more."""
    problem = record.exc_info[1] if record.exc_info else None
    gone = getattr(problem, "__cause__", None)
    frames = traceback.extract_tb(problem.__traceback__) if problem else []
    twice = isinstance(problem, KeyError) and frames and frames[-1].name == "sse_stream"  # it forgets the page twice
    return not (twice or isinstance(problem, RuntimeError) and getattr(gone, "status_code", None) == 404)


def tend(work: Workspace, demo: gr.Blocks) -> None:
    """What a shared machine does again and again: whose turn it is to train; visitors whom Gradio keeps no longer go."""
    for second in itertools.count(1):
        time.sleep(1)
        try:
            work.line.step()
            if second % TIDY_SECONDS == 0:
                work.leave(names_kept(work, demo))
                work.visitors.tidy(set(demo.state_holder.session_data))
        except Exception:  # a bug must not end it for all others
            traceback.print_exc()


def names_kept(work: Workspace, demo: gr.Blocks) -> set[str]:
    """The visitors of whom Gradio keeps a page: open, or closed for less than an hour."""
    pages = list(demo.state_holder.session_data.values())
    return {name for page in pages if (name := page.state_data.get(work.state_of_who))}


def warm(work: Workspace) -> None:
    """Loads torch and the map's process behind the page, and prepares the pictures that will be asked for first."""
    from byolmeta.image_map import MapWorker

    trim_stores(work.home / "stores", STORES_BYTES)
    work.layouts = work.layouts or MapWorker()
    first = Session("warm") if work.public else work.session("local")
    try:
        for where in teach.compared_with(work, first).values():
            work.bank(first, where)
    except InputError:
        pass  # the page says so when it is asked
    work.layouts.start()


def build(work: Workspace, words: Mapping) -> gr.Blocks:
    """Lays out the header and the steps, and connects them."""

    def forget(name: str) -> None:
        if [page.state_data.get(who._id) for page in list(demo.state_holder.session_data.values())].count(name) > 1:
            return  # another page of the same browser
        for place in lessons.places_of(name):
            measuring.forget(place)
            locate.forget(place)
            work.forget(place)

    work.place_of, work.forget_all = lessons.place_of, forget
    cache = (3600, 3600) if work.public else None  # seconds between two looks, and that a file sent by a browser stays
    first, laid = Context.id, {}
    for language in words.tables.keys() - {"en"} if isinstance(words, Spoken) else ():
        with numbered(first), speaking(language), Draft() as draft:
            _layout(work, words)
            laid[language] = draft.props()
    with (
        speaking("en"),
        Page(title="byolmeta", analytics_enabled=False, fill_width=True, delete_cache=cache) as demo,
    ):
        demo.laid = laid
        page = _layout(work, words, forget if work.public else None)
        who, bar, tabs, header, encoder = page.who, page.bar, page.tabs, page.header, page.encoder
        pick, study, practice, atlas, tidy = page.pick, page.study, page.practice, page.atlas, page.tidy
        task, place, gauge = page.task, page.place, page.gauge
        learn_tab, map_tab, locate_tab, measure_tab = page.learn_tab, page.map_tab, page.locate_tab, page.measure_tab
        map_status, scatter = atlas.status, atlas.scatter
        work.state_of_who = who._id
        both = [study.button, practice.button, learn_tab]  # follow a study as they follow practice
        on_arrival = [pick.status, header, encoder, pick.report, pick.try_these]
        on_arrival += [pick.preview, scatter, study.scatter, task.board]

        # Handlers. `who` names the visitor; each turns what the page sent into calls of a step.

        def arrive(who: str):
            yield from map_step.arrive(work, words, work.session(who))

        def known(who: str) -> str:
            """The visitor's name; on a shared machine that of the same browser's other pages."""
            request = LocalContext.request.get(None) if work.public else None
            cookie = request.request.cookies.get(COOKIE, "") if request and request.request else ""
            return work.visitors.known(cookie, who, names_kept(work, demo)) if cookie else who

        def begin_page(who: str) -> list:
            _ = words["language"]  # asked first here, and kept for all that this page does
            return [lessons.begin(work, words, who), who]

        def look(who: str):
            yield from map_step.look(work, words, work.session(who))

        def sort(who: str):
            yield from teach.begin(work, words, work.session(who))

        def source(function):
            def choose(value, who: str):
                yield from pictures.chosen(work, words, work.session(who), function, value)

            return choose

        def received(event: gr.EventData, who: str):
            yield from pictures.chosen(work, words, work.session(who), pictures.choose_upload, sent(event, "files"))

        def adapt(event: gr.EventData, who: str):
            if event._data:  # Gradio's own "change", after an update of props, carries nothing
                yield from teach.changed(work, words, work.session(who), _whole(event))

        def dropped(event: gr.EventData, who: str):
            return teach.dropped(work, words, work.session(who), sent(event, "box"), sent(event, "files"))

        def look_live(event: gr.EventData, who: str):
            return gr.update(answers=camera_step.guess(work, work.session(who), _whole(event), words))

        def recorded(event: gr.EventData, who: str):
            return camera_step.record(work, work.session(who), _whole(event), words)

        def chips(event: gr.EventData, who: str):
            if not event._data:
                return gr.skip()
            return camera_step.chips(work, work.session(who), {key: sent(event, key) for key in ("rev", "boxes")})

        def camera(who: str):
            return camera_step.whole(work, work.session(who))

        def assigned(event: gr.EventData, who: str):
            found = (sent(event, name) for name in ("indices", "box", "key"))
            return teach.assigned(work, words, work.session(who), *found)

        def filled(function):
            return lambda value, who: function(work, words, work.session(who), value)

        def undone(event: gr.EventData, who: str):
            session = work.session(who)
            if sent(event, "what") != "assign":
                return [gr.skip(), gr.skip()]
            return teach.taken_back(work, session, map_step.chosen_ids(work, session, event))

        def begin(who: str, *form):
            return learn.begin(work, words, work.session(who), *form)

        def begin_practice(who: str, *form):
            return practise.begin(work, words, work.session(who), *form)

        def choose(value: str, who: str):
            session = work.session(who)
            if value == work.encoder(session):
                return gr.skip()  # Gradio sends this also when the list is only left
            map_step.choose_encoder(work, session, value)
            return f"{value} {time.time()}"

        def chosen(who: str):
            """What practice can be made of, and the learner of Teach, once pictures and encoder are there."""
            session = work.session(who)
            learner = gr.update(value=session.learner)
            return [*practise.choices(work, words, session), learner, *practise.attach(work, words, session)]

        def method(value: str, who: str):
            teach.choose_method(work, work.session(who), value)

        options = {"show_progress": "hidden", "api_visibility": "private"}
        often = options | {"concurrency_limit": 8, "trigger_mode": "multiple"}

        def in_words(function):
            return _sentences(function, words)

        repaint = explore.connect(work, words, atlas, map_tab, who, in_words)
        retidy = tidying.connect(work, words, tidy, scatter, who, in_words)

        def advise(who: str):
            session = work.session(who)
            return [*advice.advise(work, words, session), why.card(work, words, session), ""]

        def advised(event):
            """After an adaptation: what looks wrong in the boxes, the next question, and why, where that was asked."""
            return event.then(_sentences(advise, words), who, [*task.advice.outputs, task.why, task.cell], **often)

        def placed(who: str):
            yield from locate.anew(work, words, work.session(who))

        def because(event: gr.EventData, who: str):
            return why.asked(work, words, work.session(who), sent(event, "id"))

        def uncounted(event: gr.EventData, who: str):
            return why.pressed(work, words, work.session(who), event)

        def cell(event: gr.EventData, who: str):
            return why.cell(work, words, work.session(who), sent(event, "x"), sent(event, "y"))

        def asked(event: gr.EventData, who: str):
            return advice.answered(work, words, work.session(who), event)

        def turned(event: gr.EventData, who: str):
            return advice.turned(work, words, work.session(who), event)

        def refresh(event):
            """After a change of pictures or encoder: what shows them; then answers and, beside them, the map."""
            shown = event.then(_sentences(arrive, words), who, on_arrival, **often)
            shown.then(_sentences(camera, words), who, task.camera, **options)
            advised(shown.then(_sentences(sort, words), who, task.outputs, **often))
            shown.then(
                _sentences(look, words), who, [pick.status, map_status, pick.preview, scatter, study.scatter], **often
            ).then(*repaint, **options).then(*retidy, **options)
            shown.then(lambda who: learn.views(work, words, work.session(who)), who, study.views, **options)
            shown.then(_sentences(placed, words), who, place.locator, **often)
            shown.then(chosen, who, [*practice.choices, task.method, *practice.live, *both], **options)

        # `who` goes out as it came in: Gradio calls back only for a state that an event has set
        begun = _sentences(lambda who: begin_page(known(who)), words)
        opened = demo.load(begun, who, [bar, who], **options)
        refresh(
            opened.then(lambda who: learn.attach(work, words, work.session(who)), who, [*study.live, *both], **options)
        )
        demo.load(lessons.view, None, [tabs, atlas.by], **options)
        stepped = _sentences(lambda who: lessons.go(work, words, who), words)
        refresh(bar.go(stepped, who, [tabs, atlas.by, bar], **options | {"concurrency_limit": 1}))
        demo.load(lambda who: practise.attach(work, words, work.session(who)), who, [*practice.live, *both], **options)
        for button in (pick.try_these, study.onward, practice.onward):
            button.click(lambda: gr.Tabs(selected="teach"), None, tabs, **options)
        for event, value, function in pick.sources:
            refresh(event(source(function), [value, who], pick.chosen, **options))
        refresh(pick.drop.received(received, who, pick.chosen, **options))
        encoder.input(_sentences(choose, words), [encoder, who], study.done, **options)

        maps = [(pick.preview, map_step.whole_map), (study.scatter, map_step.whole_map), (scatter, map_step.great_map)]
        for part, whole in [(task.board, map_step.whole_board), *maps]:
            part.ready(lambda who, w=whole: w(work, work.session(who)), who, part, **options)
        task.curve.ready(lambda who: teach.again(work, words, work.session(who)), who, task.outputs, **options)
        task.player.ready(lambda who: teach.again(work, words, work.session(who))[-1], who, task.player, **options)
        for step, chart, live in ((learn, study.quality, study.live), (practise, practice.outer, practice.live)):
            chart.ready(lambda who, s=step: s.attach(work, words, work.session(who)), who, [*live, *both], **options)

        def taught(event):
            """After other examples: the answers, then the advice."""
            return advised(event.then(_sentences(sort, words), who, task.outputs, **often))

        advised(task.board.change(_sentences(adapt, words), who, task.outputs, **often))
        task.board.change(_sentences(chips, words), who, task.camera, **often)
        task.advice.question.submit(_sentences(turned, words), who, task.advice.outputs, **options)
        taught(task.advice.question.click(_sentences(asked, words), who, task.board, **options))
        for event in (task.board.why, task.cell.click):
            event(_sentences(because, words), who, task.why, **options).then(None, None, None, js=why.SHOW, **options)
        taught(task.why.click(_sentences(uncounted, words), who, [task.board, task.why], **options))
        task.confusion.pick(_sentences(cell, words), who, task.cell, **options)
        carry.connect(work, words, task.carry, who, in_words)
        refresh(
            task.carry.project.upload(
                _sentences(lambda file, who: carry.opened(work, words, work.session(who), file), words),
                [task.carry.project, who],
                None,
                **options,
            )
        )
        task.camera.frame(_sentences(look_live, words), who, task.camera, **often)
        taught(task.camera.record(_sentences(recorded, words), who, [task.board, task.camera], **often))
        for event in (task.camera.ready, task.camera.started):
            event(_sentences(camera, words), who, task.camera, **options)
        task.camera.stopped(lambda who: camera_step.stopped(work, work.session(who)), who, None, **options)
        for put in (
            task.board.dropfiles(_sentences(dropped, words), who, task.board, **options),
            scatter.assign(_sentences(assigned, words), who, [task.board, scatter], **options),
            scatter.undone(_sentences(undone, words), who, [task.board, scatter], **options),
            *(
                button.click(_sentences(filled(function), words), [value, who], task.board, **options)
                for button, value, function in task.fill.fills
            ),
        ):
            put.then(_sentences(camera, words), who, task.camera, **options)
            taught(put)
        taught(task.method.input(method, [task.method, who], None, **options))

        practice.tasks.input(
            lambda tasks, who: practise.puzzle(work, words, work.session(who), tasks),
            [practice.tasks, who],
            practice.example,
            **options,
        )
        for step, part, start, name in (
            (learn, study, begin, "progress"),
            (practise, practice, begin_practice, "practice-progress"),
        ):
            live = [*part.live, *both]
            part.button.click(
                _sentences(start, words), [who, *part.form], live, **options, js=SHOW.replace("PART", name)
            )
            for button, what in ((part.pause, "pause"), (part.resume, "resume"), (part.stop, "stop")):
                ask = _sentences(lambda who, s=step, w=what: s.ask(work, words, work.session(who), w), words)
                button.click(ask, who, live, **options)
        study.timer.tick(lambda who: learn.poll(work, words, work.session(who)), who,
                         [*study.live, *both, study.scatter, scatter, study.done], **often)  # fmt: skip
        practice.timer.tick(lambda who: practise.poll(work, words, work.session(who)), who,
                            [*practice.live, *both, study.done], **often)  # fmt: skip
        refresh(study.done.change(lambda: None, None, None, **options))
        measure.connect(work, words, gauge, measure_tab, who, in_words)
        locate.connect(work, words, place, locate_tab, who, in_words)
        endpoints.connect(work)
    for event in demo.fns.values():
        if event.fn is not None and event.name == "<lambda>":  # by which Gradio fills `who`, open to programs
            event.api_visibility = "private"
    return demo


def _layout(work: Workspace, words: Mapping, forget: Callable | None = None) -> SimpleNamespace:
    """Lays the header and all steps out; `forget` is called with the visitor's name an hour after the page was closed."""
    who = gr.State(lambda: secrets.token_hex(16) if work.public else "local", delete_callback=forget)
    who.load_event_to_attach = None  # it would name the visitor anew while the first events are under way
    bar = Bar(lessons.shown(words), lessons.PARTS, words.get("of_lesson"), elem_id="lesson", padding=False)
    with gr.Row(elem_id="top"):
        gr.HTML(_headline(words, work.public), elem_id="headline", min_width=320, padding=False)
        with gr.Row(elem_id="nouns"):
            header = gr.HTML(elem_id="header", min_width=120, padding=False)
            look = {"container": False, "scale": 0, "min_width": 200}
            encoder = gr.Dropdown([], label=words["encoder"], elem_id="encoder", interactive=True, **look)
        hints = [(*pointed, hint) for pointed, hint in zip(POINTED, words["hints"], strict=True)]
        if isinstance(words, Spoken):
            gr.HTML(switch(words), elem_id="language", min_width=40, padding=False)
        Guide(hints, words.get("of_guide"), elem_id="guide", min_width=40, padding=False)
    with gr.Tabs(elem_id="steps") as tabs:
        with gr.Tab(
            words["step_pictures"], id="pictures", render_children=True
        ):  # else props sent before the first visit are lost
            pick = pictures.layout(work, words)
            gr.HTML(lessons.links(words, work.public), elem_id="lessons", padding=False)
        with gr.Tab(words["step_learn"], id="learn", render_children=True, elem_id="learn-tab") as learn_tab:
            study, practice = learn.layout(work, words), practise.layout(words)
        with gr.Tab(words["step_map"], id="map", render_children=True, elem_id="map-tab") as map_tab:
            atlas = explore.layout(work, words)
            tidy = tidying.layout(words)
        with gr.Tab(words["step_teach"], id="teach", render_children=True, elem_id="teach-tab"):
            beside = {"why": why.layout, "cell": why.cell_layout, "fill": lambda: filling.layout(words)}
            beside |= {"advice": lambda: advice.layout(words), "carry": lambda: carry.layout(work, words)}
            task = teach.layout(words, SimpleNamespace(**beside), shared=not work.public)
        with gr.Tab(words["step_locate"], id="locate", render_children=True, elem_id="locate-tab") as locate_tab:
            place = locate.layout(words)
        with gr.Tab(words["step_measure"], id="measure", render_children=True, elem_id="measure-tab") as measure_tab:
            gauge = measure.layout(work, words)
    study.timer.render()  # here, so that they tick whatever step is open
    practice.timer.render()
    return SimpleNamespace(
        who=who, bar=bar, tabs=tabs, header=header, encoder=encoder, pick=pick, study=study, practice=practice, atlas=atlas,
        tidy=tidy, task=task, place=place, gauge=gauge, learn_tab=learn_tab, map_tab=map_tab, locate_tab=locate_tab,
        measure_tab=measure_tab,
    )  # fmt: skip


def _sentences(function, words: Mapping):
    """The function, or generator, with InputError shown on the page as what it says, and a bug as one, with details.

    Gradio shows messages as HTML, and theirs may hold names of files.
    """

    @functools.wraps(function)  # Gradio finds EventData in the signature
    def shown(*values):
        try:
            result = function(*values)
            if inspect.isgenerator(result):
                yield from result
            else:
                yield result
        except InputError as problem:
            raise gr.Error(
                safe(said(words, str(problem))), title=words["error_what"], duration=12, print_exception=False
            ) from None
        except Exception as bug:  # its trace goes to the terminal
            traceback.print_exc()
            details = f"<details><summary>{safe(words['details'])}</summary>{safe(repr(bug))}</details>"
            raise gr.Error(
                safe(words["bug"]) + details, title=words["error_what"], duration=12, print_exception=False
            ) from None

    return shown


def _whole(event: gr.EventData) -> dict:
    """All that the page sent with an event; empty for anything but named values."""
    return event._data if isinstance(event._data, dict) else {}


def _headline(words: Mapping, public: bool) -> str:
    line, space = words["line_public"] if public else words["line_local"], os.environ.get("SPACE_ID")
    copy = f"https://huggingface.co/spaces/{quote(space)}?duplicate=true" if space else ""
    link = copy and f' <a href="{copy}" target="_blank" rel="noopener">{safe(words["copy_space"])}</a>'
    return f"<h1>{safe(words['title'])}</h1><p>{safe(line)}{link}</p>"


__all__ = ["Board", "build", "launch", "launch_options", "warm"]
