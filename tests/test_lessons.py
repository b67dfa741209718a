"""Lessons by link and the hints of a first visit: what they set, what they hide, and that nothing of the visitor's changes."""

import dataclasses
import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")
from browser import App, open_page, overflow, until
from gradio.context import LocalContext

from byolmeta.ui import POINTED, _worth_telling, lessons
from byolmeta.ui.lessons import LESSONS, PARTS, SAMPLE_WORDS
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

WORDS = table()
NOTES = Path(__file__).parents[1] / "assets" / "lessons"
TABS = ("pictures", "learn", "map", "teach")
SHOWN = {"pictures": "#report", "learn": "#practise", "map": "#map canvas", "teach": "#board"}
TOKEN = "0" * 32
# Gradio's words for what was under way when a page was left
CUT = ("AbortError", "Unexpected error Connection errored out", "Unexpected error 404")


# ---- what a lesson is


@pytest.fixture
def work(tmp_path):
    work = Workspace(tmp_path / "home")
    work.place_of = lessons.place_of
    return work


@pytest.fixture
def at():
    """Sets the address of the page that the handlers are called by."""
    tokens = []

    def set_address(**query) -> None:
        tokens.append(LocalContext.request.set(SimpleNamespace(query_params=query)))

    yield set_address
    for token in reversed(tokens):
        LocalContext.request.reset(token)


def steps():
    return [(name, number, step) for name, found in LESSONS.items() for number, step in enumerate(found)]


@pytest.mark.parametrize("name, number, step", steps(), ids=lambda value: str(value)[:12])
def test_a_step_names_what_is_there(work, at, name, number, step):
    assert step.tab in TABS and set(step.shows) <= set(PARTS) and step.sample in SAMPLE_WORDS
    at(lesson=name, step=str(number + 1))
    lessons.begin(work, WORDS, "local")
    session = work.session("local")
    paths, boxes = work.pictures(session).store.index.paths, session.boxes["boxes"]
    filled = {box["name"]: [paths[i] for i in box["items"]] for box in boxes if box["items"]}
    assert filled == step.boxes
    assert session.learner == step.learner
    if step.encoder:
        assert work.encoder(session) == step.encoder


def test_every_step_has_its_sentence():
    shown = lessons.shown(WORDS)
    assert list(shown) == list(LESSONS)
    for name, found in shown.items():
        assert found["title"] and len(found["steps"]) == len(LESSONS[name])
        assert all(step["say"].endswith((".", "?")) for step in found["steps"])


@pytest.mark.parametrize(
    "query, expected",
    [
        ({}, ("", 0)),
        ({"lesson": "nothing"}, ("", 0)),
        ({"lesson": "three"}, ("three", 0)),
        ({"lesson": "three", "step": "2"}, ("three", 1)),
        ({"lesson": "three", "step": "99"}, ("three", 4)),
        ({"lesson": "three", "step": "0"}, ("three", 0)),
        ({"lesson": "three", "step": "-1"}, ("three", 0)),
        ({"lesson": "three", "step": "²"}, ("three", 0)),
        ({"lesson": "three", "step": "9" * 9}, ("three", 0)),
        ({"lesson": "../three"}, ("", 0)),
    ],
)
def test_an_address_is_read_or_taken_for_the_page_itself(at, query, expected):
    at(**query)
    assert lessons.asked() == expected


def test_without_a_page_in_front_there_is_no_lesson():
    assert lessons.asked() == ("", 0) and lessons.place_of("local") == "local"


def test_a_lesson_leaves_the_visitors_own_session_alone(work, at):
    own = work.session("local")
    work.pictures(own)
    own.boxes["boxes"][0]["items"] = [1, 2]
    own.encoder, own.learner = "untrained", "ridge"
    work.save(own)
    before, saved = dataclasses.asdict(own), (work.home / "projects" / "local.json").read_bytes()
    for name, found in LESSONS.items():
        at(lesson=name)
        lessons.begin(work, WORDS, "local")
        assert work.session("local") is not own
        at(lesson=name, step=str(len(found)))
        lessons.go(work, WORDS, "local")
    at()
    assert work.session("local") is own
    assert dataclasses.asdict(own) == before and (work.home / "projects" / "local.json").read_bytes() == saved


def test_a_step_that_keeps_the_encoder_keeps_it_and_the_next_one_does_not(work, at):
    at(lesson="learning", step="3")
    lessons.begin(work, WORDS, "local")
    work.session("local").encoder = "drawings-conv4"  # stands for what practice left
    at(lesson="learning", step="4")
    lessons.go(work, WORDS, "local")
    assert work.session("local").encoder == "drawings-conv4"
    at(lesson="learning", step="6")
    lessons.go(work, WORDS, "local")
    assert work.session("local").encoder == lessons.STARTER


def test_a_shared_page_forgets_lessons_with_their_visitor(tmp_path, at):
    work = Workspace(tmp_path / "home", public=True)
    work.place_of = lessons.place_of
    at(lesson="three")
    lessons.begin(work, WORDS, TOKEN)
    saved = work.home / "projects" / f"{TOKEN}-lesson-three.json"
    assert saved.exists()
    assert Workspace(tmp_path / "home", public=True) and not saved.exists()  # swept by a new process
    work.save(work.session(TOKEN))
    at()
    for place in lessons.places_of(TOKEN):
        work.forget(place)
    assert not saved.exists() and not work.sessions


# ---- what is said of them


def test_each_lesson_has_notes_and_the_notes_name_no_other():
    assert {path.stem for path in NOTES.glob("*.md")} == set(LESSONS)
    for path in NOTES.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"\?lesson=(\w+)", text)) == {path.stem}
        assert text.splitlines()[0] == f"# {WORDS['lessons'][path.stem]['title']}"
        told = {int(number) for number in re.findall(r"^\*\*\d:\d\d, step (\d+)\.\*\*", text, re.MULTILINE)}
        assert told == set(range(1, len(LESSONS[path.stem]) + 1))


def code_of(name: str) -> str:
    """The Python of some notes, without the call that prints."""
    found = re.search(r"```python\n(.*?)```", (NOTES / f"{name}.md").read_text(encoding="utf-8"), re.DOTALL)
    return found[1].rsplit("print(", 1)[0]


def rows_of(name: str, columns: int) -> list[list[str]]:
    text = (NOTES / f"{name}.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if len(row) == columns and row[-1].isdigit()]


def test_the_figures_of_the_notes_are_what_their_code_gives(tmp_path, monkeypatch):
    """Within two points: the last digits differ between machines."""
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))
    names: dict = {}
    exec(code_of("three"), names)
    rows = rows_of("three", 5) + rows_of("learning", 5)
    assert len(rows) == 9
    for boxes, count, learner, once, mean in rows:
        kinds, count = boxes.split(", "), int(count)
        assert abs(100 * names["right"](kinds, count, learner) - int(once)) <= 2
        chance = np.random.default_rng(0)
        drawn = np.mean([names["right"](kinds, count, learner, chance) for _ in range(100)])
        assert abs(100 * drawn - int(mean)) <= 2, (boxes, count, learner)
    names = {}
    exec(code_of("labels"), names)
    from byolmeta.files import image_size_of

    rows = rows_of("labels", 3)
    assert len(rows) == 5
    for sample, encoder, share in rows:
        size = image_size_of(lessons.STARTER if sample == "creatures" else lessons.DRAWINGS)
        assert abs(100 * names["right"](sample, encoder, size) - int(share)) <= 2, (sample, encoder)


# ---- in the browser


@pytest.fixture
def opened(browser, app):
    """Opens pages of the app, each with a profile of its own, and closes them; nothing may go wrong in them."""
    pages = []

    def open_it(query: str = "", **options):
        page = open_page(browser, f"{app.address}/{query}", **options)
        pages.append(page)
        page.wait_for_selector("#lesson", state="attached")
        return page

    yield open_it
    problems = [problem for page in pages for problem in page.problems if not problem.startswith(CUT)]
    for page in pages:
        page.context.close()
    assert problems == []


def boxes(page) -> list[int]:
    """How many pictures each box shows."""
    return page.evaluate(
        """() => [...document.querySelectorAll('#board .bm-box')].map(box => box.querySelectorAll('.bm-thumb').length)"""
    )


def is_set(page) -> None:
    page.wait_for_selector("html[data-lesson]:not([data-setting])", state="attached")


def visible(page, selector: str) -> bool:
    return page.locator(selector).first.is_visible()


@pytest.mark.parametrize("name", ["three", *(pytest.param(n, marks=pytest.mark.long) for n in LESSONS if n != "three")])
def test_a_lesson_opens_by_its_link_and_its_steps_walk(opened, name):
    page = opened(f"?lesson={name}")
    for number, step in enumerate(LESSONS[name], 1):
        is_set(page)
        until(lambda s=step: visible(page, SHOWN[s.tab]), f"step {number} shows {step.tab}")
        assert page.inner_text("#lesson .walk span") == f"{number} of {len(LESSONS[name])}"
        assert page.inner_text("#lesson .say") == WORDS["lessons"][name]["steps"][number - 1]
        if step.tab == "teach":
            wanted = [len(paths) for paths in step.boxes.values()]
            until(lambda w=wanted: boxes(page) == w, f"the boxes of step {number} hold {wanted}, not {boxes(page)}")
        for part in set(PARTS) - set(step.shows):
            for selector in PARTS[part].split(", "):
                found = page.locator(selector)
                assert not any(one.is_visible() for one in found.all()), f"{part} in step {number}"
        if step.tab == "map" and step.shows:
            assert all(visible(page, PARTS[part].split(", ")[0]) for part in step.shows)
        if number < len(LESSONS[name]):
            page.click("#lesson .next")
    assert page.locator("#lesson .next").inner_text() == "Finish"
    page.click("#lesson .back")
    is_set(page)
    assert page.inner_text("#lesson .walk span").startswith(f"{len(LESSONS[name]) - 1} of")
    assert page.url.endswith(f"step={len(LESSONS[name]) - 1}")


def test_a_step_can_be_linked_and_a_reload_stays_in_it(opened):
    page = opened("?lesson=three&step=2")
    for _ in range(2):
        is_set(page)
        until(lambda: boxes(page) == [3, 3, 3], "three in each box")
        until(lambda: "91 %" in page.inner_text("#verdict"), "the accuracy that the notes say")
        page.reload()


def test_leaving_gives_the_page_back_as_it_was(opened):
    page = opened()
    page.click("#teach-tab-button")
    page.wait_for_selector("#board .bm-card")
    for key in "12":
        page.locator("#board .bm-card").first.focus()
        page.keyboard.press(key)
    until(lambda: boxes(page) == [1, 1], "a picture in each box")
    mine = page.evaluate("[...document.querySelectorAll('#board .bm-thumb')].map(thumb => thumb.dataset.id)")
    page.get_by_role("tab", name="Pictures").click()
    page.click("#lessons a >> nth=1")
    is_set(page)
    until(lambda: boxes(page) == [1, 1, 1], "the boxes of the lesson")
    page.locator("#board .bm-card").first.focus()
    page.keyboard.press("1")
    until(lambda: boxes(page) == [2, 1, 1], "a change in the lesson")
    page.click("#lesson .leave")
    page.wait_for_selector("#report .tile")
    assert "lesson" not in page.url and not visible(page, "#lesson") and visible(page, "#steps [role=tab]")
    page.click("#teach-tab-button")
    until(lambda: boxes(page) == [1, 1], "the visitor's own boxes")
    assert page.evaluate("[...document.querySelectorAll('#board .bm-thumb')].map(thumb => thumb.dataset.id)") == mine


def test_two_lessons_at_once_do_not_mix(opened):
    one, other = opened("?lesson=three"), opened("?lesson=learning")
    for page in (one, other):
        is_set(page)
    until(lambda: boxes(other) == [10, 10, 10], "the boxes of one lesson")
    one.locator("#board .bm-card").first.focus()
    one.keyboard.press("1")
    until(lambda: boxes(one) == [2, 1, 1], "the boxes of the other")
    other.reload()
    is_set(other)
    until(lambda: boxes(other) == [10, 10, 10], "the same after a change in the other")
    assert boxes(one) == [2, 1, 1]


def test_an_unknown_lesson_is_said_and_the_page_is_as_ever(opened):
    page = opened("?lesson=%3Cimg src=x onerror=window.hacked=1%3E&step=3")
    page.wait_for_selector("#report .tile")
    assert "no lesson of this name" in page.inner_text("#lesson .say")
    assert page.locator("#lesson .others a").count() == len(LESSONS)
    assert visible(page, "#drop") and page.evaluate("window.hacked") is None
    page.click("#lesson .others a >> nth=1")
    is_set(page)
    assert page.inner_text("#lesson h2") == WORDS["lessons"]["three"]["title"]


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_the_bar_fits(opened, width):
    page = opened("?lesson=three", viewport={"width": width, "height": 800})
    is_set(page)
    assert overflow(page) <= 0
    assert page.locator("#lesson .leave").bounding_box()["x"] >= 0


def test_on_a_shared_page_a_lesson_leaves_the_page_that_it_came_from(browser, tmp_path):
    app = App(tmp_path / "home", "--public")
    try:
        page = open_page(browser, app.address)
        page.wait_for_selector("#report .tile")
        page.click("#teach-tab-button")
        page.wait_for_selector("#board .bm-card")
        page.locator("#board .bm-card").first.focus()
        page.keyboard.press("1")
        until(lambda: boxes(page) == [1, 0], "a picture in the box")
        page.get_by_role("tab", name="Pictures").click()
        with page.context.expect_page() as lesson:
            page.click("#lessons a >> nth=1")
        is_set(lesson.value)
        until(lambda: boxes(lesson.value) == [1, 1, 1], "the boxes of the lesson")
        other = open_page(browser, f"{app.address}/?lesson=three&step=2")
        until(lambda: boxes(other) == [3, 3, 3], "those of another visitor")
        assert boxes(lesson.value) == [1, 1, 1] and boxes(page) == [1, 0]
        kept = {path.name: json.loads(path.read_text()) for path in (app.home / "projects").glob("*.json")}
        lessons = [one for name, one in kept.items() if name.endswith("-lesson-three.json")]
        filled = [one for one in lessons if any(box["items"] for box in one["boxes"]["boxes"])]
        assert len(filled) == 2  # one of each visitor; a name that a page had before its cookie was read holds nothing
        assert not [name for name in kept if "local" in name]
        assert page.problems == [] and other.problems == []
    finally:
        app.end()
    assert "Traceback" not in app.output()


def sse_stream(what: Exception) -> None:
    """Named as the function of Gradio that forgets a page."""
    raise what


@pytest.mark.parametrize("raised, told", [(KeyError("page"), False), (ValueError("bug"), True), (None, True)])
def test_a_page_that_is_left_leaves_no_trace_in_the_terminal(raised, told):
    found = None
    try:
        if raised:
            sse_stream(raised)
    except Exception as problem:
        found = (type(problem), problem, problem.__traceback__)
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "", (), found)
    assert _worth_telling(record) == told
    elsewhere = KeyError("a bug")
    assert _worth_telling(logging.LogRecord("", 0, "", 0, "", (), (KeyError, elsewhere, None)))


# ---- the hints


def card(page):
    return page.locator(".bm-guide")


def test_hints_come_once_and_can_be_called_again(opened):
    page = opened()
    card(page).wait_for()
    said = []
    for number in range(len(WORDS["hints"])):
        said.append(page.inner_text(".bm-guide .say"))
        assert (
            page.locator(".bm-guide .dots").get_attribute("aria-label") == f"Hint {number + 1} of {len(WORDS['hints'])}"
        )
        until(lambda: page.locator("[data-bm-pointed]").count() == 1, "a control is pointed at")
        page.click(".bm-guide .next")
    assert said == WORDS["hints"]
    assert not card(page).is_visible() and page.locator("[data-bm-pointed]").count() == 0
    page.reload()
    page.wait_for_selector("#report .tile")
    assert not card(page).is_visible()
    page.click(".bm-again")
    assert card(page).is_visible()
    page.click(".bm-guide .skip")
    assert not card(page).is_visible()


def test_hints_by_keyboard(opened):
    page = opened()
    card(page).wait_for()
    assert page.evaluate("document.activeElement === document.body")  # they take nobody's focus
    page.keyboard.press("Escape")
    assert not card(page).is_visible()
    page.focus(".bm-again")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "dialog"
    assert page.locator("[role=dialog]").get_attribute("aria-modal") == "false"
    assert page.locator("#bm-guide-say").get_attribute("aria-live") == "polite"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.inner_text(".bm-guide .say") == WORDS["hints"][1]
    page.keyboard.press("Escape")
    assert not card(page).is_visible() and page.evaluate("document.activeElement.className") == "bm-again"


def test_hints_do_not_block_the_page(opened):
    page = opened(viewport={"width": 390, "height": 800})
    page.wait_for_selector("#report .tile")
    card(page).wait_for()
    assert overflow(page) <= 0
    area = page.locator(".bm-guide .say").bounding_box()
    below = page.evaluate(
        "([x, y]) => !document.elementFromPoint(x, y).closest('.bm-guide')", [area["x"] + 5, area["y"] + 5]
    )
    assert below  # a press on its text goes to the page
    page.click("#teach-tab-button")
    page.wait_for_selector("#board .bm-card")
    assert not card(page).is_visible()  # who opens a step has begun


def test_the_first_hint_is_over_when_pictures_are_sent(opened, tmp_path):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    page = opened()
    page.wait_for_selector("#report .tile")
    page.set_input_files("#drop input[type=file] >> nth=0", tmp_path / "red.png")
    until(lambda: page.inner_text(".bm-guide .say") == WORDS["hints"][1], "the next hint is shown")


def test_hints_follow_what_they_point_at(opened):
    page = opened()
    page.wait_for_selector("#report .tile")
    page.click(".bm-guide .next")
    for width in (1440, 1024, 700):
        page.set_viewport_size({"width": width, "height": 900})

        def near(width=width) -> bool:
            mine, its = card(page).bounding_box(), page.locator("#learn-tab-button").bounding_box()
            inside = mine["x"] >= 0 and mine["x"] + mine["width"] <= width
            return inside and abs(mine["y"] - its["y"] - its["height"]) < 20

        until(near, f"the card stands below its control at {width} pixels", 5)


def test_hints_follow_what_moves_on_a_page_that_stays_as_high(opened):
    page = opened(viewport={"width": 1440, "height": 2000})
    page.wait_for_selector("#report .tile")

    def apart() -> float:
        return abs(card(page).bounding_box()["y"] - page.locator("#drop").bounding_box()["y"])

    until(lambda: apart() < 20, "the card stands beside its control")
    page.evaluate("document.querySelector('#use-mine').style.marginTop = '200px'")
    until(lambda: apart() < 20, "it follows", 5)


def test_a_lesson_has_no_hints(opened):
    page = opened("?lesson=three")
    is_set(page)
    assert not card(page).is_visible() and not visible(page, ".bm-again")


def test_the_hints_name_controls_that_are_there(opened):
    page = opened()
    page.wait_for_selector("#report .tile")
    for selector, _ in POINTED:
        assert visible(page, selector)
