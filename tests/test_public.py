"""The page of a shared machine in a browser: pictures arrive and are seen, and what waits is said."""

import pytest
from browser import App, open_page, until
from hostile import png
from test_line import WORDS

from byolmeta.runs import Run
from byolmeta.settings import PretrainConfig
from byolmeta.ui import pictures as step
from byolmeta.ui.workspace import Workspace

pytest.importorskip("playwright")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    app = App(tmp_path_factory.mktemp("shared") / "home", "--public")
    yield app
    app.end()


def test_pictures_are_sent_seen_and_taught_on_a_shared_page(app, browser):
    page = open_page(browser, app.address)
    page.wait_for_selector("#report .tile", timeout=60_000)
    assert page.locator("#limits").inner_text() == step.limits_line(
        Workspace(app.home.parent / "x", public=True), WORDS
    )
    assert not page.locator("#by-path").is_visible()
    sent = [{"name": f"{n}.png", "mimeType": "image/png", "buffer": png(n)} for n in range(6)]
    page.locator("#drop .pick-files").set_input_files(sent)
    until(lambda: "6 pictures ready" in page.locator("#report").inner_text(), "the pictures are there", 60)
    page.locator("#teach-tab-button").click()
    cards = page.locator("#board .bm-card")
    until(lambda: cards.count() == 6, "they are on the board")
    assert "keeps nothing for long" in page.locator("#carry-keep").inner_text()
    assert page.locator("#carry-project").is_visible()
    sheet = page.evaluate("performance.getEntriesByType('resource').map(r => r.name).filter(n => n.includes('sheet-'))")
    assert sheet and all(page.request.get(url).status == 200 for url in sheet)
    stranger = browser.new_context()
    assert [stranger.request.get(url).status for url in sheet] == [404] * len(sheet)
    assert page.problems == []
    stranger.close(), page.context.close()


def test_a_study_that_waits_says_its_place(app, browser):
    other = Run(app.home / "runs" / "of-another")
    other.create(PretrainConfig(minutes=2), visitor="f" * 32)
    page = open_page(browser, app.address)
    page.wait_for_selector("#report .tile", timeout=60_000)
    page.locator("#learn-tab-button").click()
    page.locator("#study").click()
    state = page.locator("#progress .state")
    until(lambda: state.count() and "number 1 in line" in state.inner_text(), "the page says its place", 60)
    assert page.locator("#stop").is_visible() and not page.locator("#pause").is_visible()
    page.locator("#stop").click()
    until(lambda: "Stopped" in state.inner_text(), "it left the line", 30)
    assert page.problems == []
    page.context.close()
