"""What goes wrong while the page is open: the connection, the app. Nothing is lost, and the page catches up by itself."""

import json
import os
import signal

import pytest
from browser import App, open_page, until

pytest.importorskip("playwright")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("faults") / "home"


@pytest.fixture
def app(place):
    app = App(place)
    yield app
    app.end()


def open_teach(page):
    page.locator("#teach-tab-button").click()
    page.locator("#board .bm-card").first.wait_for(timeout=60_000)


def give(page, box: str) -> None:
    """The first picture of the tray goes into a box."""
    page.locator("#board .bm-card").first.focus()
    page.keyboard.press(box)


def saved(app) -> list[int]:
    """How many pictures each box has on the disk."""
    try:
        return [
            len(box["items"])
            for box in json.loads((app.home / "projects" / "local.json").read_text())["boxes"]["boxes"]
        ]
    except (OSError, ValueError):
        return []


def said(page) -> str:
    return " ".join(page.locator(".toast-body").all_inner_texts())


def shown(page) -> list[str]:
    if page.locator("#teach-tab-button").get_attribute("aria-selected") != "true":  # Gradio loads the page anew
        page.locator("#teach-tab-button").click()
    return page.locator("#board .bm-box-count").all_inner_texts()


def test_what_is_done_without_a_connection_counts_when_it_is_back(app, browser):
    page = open_page(browser, app.address)
    page.wait_for_selector("#report .tile", timeout=60_000)
    open_teach(page)
    give(page, "1")
    until(lambda: saved(app) == [1, 0], "the first one is kept")
    page.context.set_offline(True)
    until(lambda: "Connection to the server was lost" in said(page), "the page says so", 40)
    give(page, "2"), give(page, "2")
    assert shown(page) == ["1", "2"] and saved(app) == [1, 0]
    page.context.set_offline(False)
    page.locator("#teach-tab-button[aria-selected=false]").wait_for(timeout=60_000)  # Gradio has loaded the page anew
    until(lambda: shown(page) == ["1", "2"], "what was done meanwhile is shown", 60)
    until(lambda: saved(app) == [1, 2], "and is kept", 40)
    page.context.close()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_an_app_that_is_killed_and_started_again_is_caught_up_with(app, browser):
    before = until(lambda: saved(app), "the boxes of before")
    page = open_page(browser, app.address)
    page.wait_for_selector("#report .tile", timeout=60_000)
    open_teach(page)
    until(lambda: shown(page) == [str(n) for n in before], "they are shown", 40)
    os.kill(app.process.pid, signal.SIGKILL)
    app.process.wait()
    give(page, "1")
    until(lambda: "lost" in said(page) or "errored out" in said(page), "the page says so", 40)
    later = App(app.home, port=app.port)
    try:
        page.locator("#teach-tab-button[aria-selected=false]").wait_for(timeout=60_000)
        until(lambda: shown(page) == [str(before[0] + 1), str(before[1])], "what was done meanwhile is shown", 60)
        until(lambda: saved(later) == [before[0] + 1, before[1]], "and is kept", 40)
    finally:
        page.context.close()
        later.end()
