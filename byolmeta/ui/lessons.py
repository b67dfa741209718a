"""Lessons for a talk: `?lesson=NAME&step=N` opens the page with a sample, boxes and a view, beside the visitor's own things.

The address alone says which lesson a page shows. Gradio sends it with every event, so each lesson has a session of its
own, and nothing of the visitor's own session is touched. What a lesson says is in ui/words.py, what a speaker may say
to it in assets/lessons/NAME.md.
"""

from dataclasses import dataclass, field

import gradio as gr
from gradio.context import LocalContext  # the request of the event that runs; handlers deep inside have no other way

from byolmeta import samples
from byolmeta.files import UNTRAINED
from byolmeta.ui.board import check_boxes
from byolmeta.ui.html import safe
from byolmeta.ui.paint import FOLDER, numbers
from byolmeta.ui.workspace import Session, Workspace

PARTS = {  # what a step may show of the page, as CSS; whatever is not named here is always there
    "encoder": "#nouns",
    "own": "#try, #use-mine, #drop, #by-path, #samples, #problem",
    "study": "*:has(~ #practice)",
    "practice": "#practice",
    "preview": "#arrive > .column:has(#preview)",
    "compare": "#map-tools",
    "tools": "#colour-by, #group-count, #replay, #find, #map-save",
    "tidy": "#tidy",
    "fill": "#fill",
    "camera": "#camera",
    "ask": "#ask-one, #question",
    "details": "#details",
    "carry": "#carry",
    "elsewhere": "#headline, #lessons, #guide, #steps > .tab-wrapper",
}
STARTER, DRAWINGS = "photos-small", "drawings-conv4"
SAMPLE_WORDS = {"creatures": "", "digits": "sample_digits"}  # what the header calls them


@dataclass(frozen=True)
class Step:
    """One view of a lesson: how the page is set when it is come to."""

    tab: str
    shows: tuple[str, ...] = ()  # of PARTS
    boxes: dict[str, list[str]] = field(default_factory=dict)  # name: paths of its examples in the sample
    sample: str = "creatures"
    encoder: str | None = STARTER  # None: as the step before left it
    learner: str = "anil"


def first(count: int, *kinds: str) -> dict[str, list[str]]:
    """A box for each kind of the creatures, with its first `count` pictures."""
    return {kind.capitalize(): [f"{kind}/{number:02d}.webp" for number in range(count)] for kind in kinds}


EASY, HARD = ("boat", "octopus", "mushroom"), ("bird", "fish", "snail")
LESSONS = {
    "labels": (
        Step("pictures"),
        Step("map", encoder=UNTRAINED),
        Step("map"),
        Step("map", ("compare",)),
        Step("map", ("tidy",)),
        Step("map", ("compare",), sample="digits", encoder=DRAWINGS),
    ),
    "three": (
        Step("teach", boxes=first(1, *EASY)),
        Step("teach", boxes=first(3, *EASY)),
        Step("teach", boxes=first(3, *EASY) | {"Boat": [*first(3, "boat")["Boat"], "octopus/03.webp"]}),
        Step("teach", ("ask",), boxes=first(2, *EASY)),
        Step("teach", ("ask",), boxes=first(3, *HARD)),
    ),
    "learning": (
        Step("teach", ("details",), boxes=first(10, *HARD), learner="prototype"),
        Step("teach", ("details",), boxes=first(10, *HARD)),
        Step("learn", ("practice",), boxes=first(10, *HARD)),
        Step("teach", ("details",), boxes=first(1, *HARD), encoder=None),
        Step("teach", ("details",), boxes=first(10, *HARD), encoder=None),
        Step("learn", ("practice",), boxes=first(10, *HARD)),
    ),
}


def shown(words: dict[str, str]) -> dict[str, dict]:
    """The lessons as the bar takes them."""
    found = {}
    for name, steps in LESSONS.items():
        text = words["lessons"][name]
        says = zip(text["steps"], steps, strict=True)
        found[name] = {"title": text["title"], "steps": [{"say": say, "shows": list(step.shows)} for say, step in says]}
    return found


def asked() -> tuple[str, int]:
    """What the page in front of the visitor shows: the name of a lesson, "" for none, and its step from 0."""
    request = LocalContext.request.get(None)
    query = getattr(request, "query_params", None) or {}
    name, step = query.get("lesson", ""), query.get("step", "")
    if name not in LESSONS:
        return "", 0
    number = int(step) if step.isascii() and step.isdigit() and len(step) < 4 else 1
    return name, min(max(number, 1), len(LESSONS[name])) - 1


def place_of(who: str) -> str:
    """The name of the session that a visitor's page works in."""
    name, _ = asked()
    return f"{who}-lesson-{name}" if name else who


def places_of(who: str) -> list[str]:
    """The names of all sessions that a visitor may have."""
    return [who, *(f"{who}-lesson-{name}" for name in LESSONS)]


def view() -> list:
    """[tabs, colour of the map] of the step that the address names."""
    name, step = asked()
    return [gr.Tabs(selected=LESSONS[name][step].tab), gr.update(value=FOLDER)] if name else [gr.skip(), gr.skip()]


def begin(work: Workspace, words: dict[str, str], who: str) -> dict:
    """Sets a page that was opened by the link of a lesson; what earlier runs left in it is not shown again. Returns the bar."""
    name, step = asked()
    if name:
        session = work.session(who)
        if LESSONS[name][step].encoder is not None:
            session.run = session.practice = ""
        prepare(work, words, session, LESSONS[name][step])
    return gr.update(ready=next(numbers))


def go(work: Workspace, words: dict[str, str], who: str) -> list:
    """Sets the page to the step that was gone to; returns [tabs, colour of the map, bar]."""
    name, step = asked()
    if name:
        prepare(work, words, work.session(who), LESSONS[name][step])
    return [*view(), gr.update(ready=next(numbers))]


def prepare(work: Workspace, words: dict[str, str], session: Session, step: Step) -> None:
    """Gives a session the pictures, encoder, learner and boxes of a step."""
    before = session.encoder
    own, label = SAMPLE_WORDS[step.sample] == "", SAMPLE_WORDS[step.sample]
    source = "" if own else samples.sample_folder(step.sample, work.home)
    work.choose(session, source, words[label] if label else "")
    session.encoder = before if step.encoder is None else step.encoder
    session.learner = step.learner
    rows = {path: row for row, path in enumerate(work.pictures(session).store.index.paths)}
    boxes = [
        {"id": f"b{number}", "name": name, "items": [rows[path] for path in paths]}
        for number, (name, paths) in enumerate(
            (step.boxes or {words["box_name"].format(n=n): [] for n in (1, 2)}).items(), 1
        )
    ]
    session.boxes = check_boxes({"rev": session.boxes["rev"] + 1, "boxes": boxes}, len(rows))
    session.kept = {}
    with work.lock:
        work.shown.pop(session.name, None)
    work.save(session)


def links(words: dict[str, str], public: bool) -> str:
    """The line of links to all lessons; on a shared page they open beside it, where a visitor's pictures live with the page."""
    aside = " target='_blank'" if public else ""
    found = [f"<a href='?lesson={name}'{aside}>{safe(words['lessons'][name]['title'])}</a>" for name in LESSONS]
    return f"<p class='quiet'>{safe(words['lessons_line'])} {' · '.join(found)}</p>"
