"""The Teach step as a person uses it: boxes that start by themselves, why, cells, projects, copies in a folder."""

import pytest

pytest.importorskip("gradio")

from browser import App, open_page, overflow, until
from test_app import boxes, step, verdict


@pytest.fixture(scope="module")
def one_page(app, browser):
    page = open_page(browser, app.address)
    page.wait_for_selector("#report .tile")
    step(page, "Teach")
    yield page
    page.context.close()


@pytest.fixture
def page(one_page, app):
    yield one_page
    problems, one_page.problems[:] = one_page.problems[:], []
    assert problems == [] and "Traceback" not in app.output(), app.output()[-3000:]


def names(page) -> list[str]:
    return page.locator("#board .bm-box .bm-name").evaluate_all("all => all.map(one => one.value ?? one.textContent)")


def unfold(page, part: str) -> None:
    if not page.locator(f"#{part} .md, #{part} textarea, #{part} .plot").first.is_visible():
        page.locator(f"#{part} button").first.click()


def answered(page) -> None:
    until(lambda: "checked on" in verdict(page), "there is a verdict", 60)


def test_boxes_start_from_names_from_groups_and_from_class_folders(page):
    unfold(page, "fill")
    page.locator("#fill-text textarea").fill("cats, dogs\nneither")
    page.locator("#fill-names").click()
    until(lambda: names(page) == ["cats", "dogs", "neither"], f"boxes have the names: {names(page)}")
    page.locator("#fill-groups").click()
    until(lambda: names(page)[:2] == ["Group 1", "Group 2"], "groups became boxes", 60)
    assert all(len(items) == 3 for items in boxes(page))
    undo = page.locator("#board .bm-head button").first
    undo.click()
    until(lambda: names(page) == ["cats", "dogs", "neither"], "undo takes it back")
    page.locator("#fill-classes").click()
    until(lambda: len(names(page)) == 14, "class folders became boxes")
    assert names(page)[:2] == ["bird", "boat"] and all(len(items) == 3 for items in boxes(page))
    answered(page)


def test_why_by_the_corner_and_by_key(page):
    answered(page)
    card = page.locator("#board .bm-card").nth(3)
    card.locator(".bm-tag").click()
    page.locator("#why .because").wait_for()
    assert page.locator("#why .because").get_attribute("data-id") == card.get_attribute("data-id")
    assert page.locator("#why li").count() == 5 and page.locator("#why img").count() == 12
    assert "among these boxes" in page.locator("#why").inner_text()
    page.locator("#why [data-act=close]").click()
    until(lambda: page.locator("#why .because").count() == 0, "it closes")
    other = page.locator("#board .bm-card").nth(1)
    other.focus()
    page.keyboard.press("w")
    page.locator("#why .because").wait_for()
    assert page.locator("#why .because").get_attribute("data-id") == other.get_attribute("data-id")


def test_not_because_of_this(page):
    """What it said would be without an example is what it says without it."""
    first = page.locator("#why li").first
    example = first.locator("[data-act=mute]").get_attribute("data-id")
    promised = first.locator("span").inner_text().rsplit(": ", 1)[1].rstrip(".").rsplit(" ", 2)
    thumb = page.locator(f'#board .bm-thumb[data-id="{example}"]')
    assert "bm-muted" not in (thumb.get_attribute("class") or "")
    first.locator("[data-act=mute]").click()
    until(lambda: "bm-muted" in (thumb.get_attribute("class") or ""), "the board shows that it does not count")
    name, share, _ = promised

    def kept() -> bool:
        said = page.locator("#why .pair").inner_text()
        return f"with {share} % among" in said if f"Goes to {name}," in said else int(share) <= 50

    until(
        lambda: page.locator(f'#why [data-act=mute][data-id="{example}"]').count() == 0 and kept(),
        f"{name} has {share} % now, or less than another box: {page.locator('#why .pair').inner_text()}",
    )
    page.locator("#board .bm-head button").first.click()
    until(lambda: "bm-muted" not in (thumb.get_attribute("class") or ""), "undo counts it again")


def test_a_cell_of_the_confusion_opens_its_pictures(page):
    answered(page)
    unfold(page, "details")
    plot = page.locator("#confusion .plot")
    plot.locator(".heatmaplayer").wait_for()
    plot.scroll_into_view_if_needed()
    at = page.evaluate(
        """() => {
          const plot = document.querySelector("#confusion .js-plotly-plot"), size = plot._fullLayout;
          const area = plot.getBoundingClientRect();
          return [area.x + size._size.l + size.xaxis.d2p(0), area.y + size._size.t + size.yaxis.d2p(0),
                  plot.data[0].z[0][0]];
        }"""
    )

    def opened() -> bool:
        """Asked again where what an adaptation had left to say took the pictures of the cell away."""
        page.mouse.click(at[0], at[1])
        page.wait_for_timeout(1500)
        told = f"bird, answered right: {at[2]}." in page.locator("#cell").inner_text()
        return told and page.locator("#cell [data-act=why]").count() == at[2]

    until(opened, "the cell says what it holds, and shows it", 60)
    first = page.locator("#cell [data-act=why]").first
    assert page.locator("#cell [data-act=why]").count() == at[2] > 0
    wanted = first.get_attribute("data-id")
    first.click()
    until(lambda: page.locator(f'#why .because[data-id="{wanted}"]').count() == 1, "why it was answered so")


def test_a_project_goes_to_another_computer(page, browser, tmp_path):
    unfold(page, "carry")
    with page.expect_download() as download:
        page.locator("#carry-project").click()
    file = tmp_path / "mine.byolmeta"
    download.value.save_as(file)
    other = App(tmp_path / "home")
    there = open_page(browser, other.address)
    there.wait_for_selector("#report .tile")
    step(there, "Teach")
    unfold(there, "carry")
    with there.expect_file_chooser() as chooser:
        there.locator("#carry-open").click()
    chooser.value.set_files(str(file))
    until(lambda: names(there) == names(page), f"its boxes are there: {names(there)}", 60)
    assert boxes(there) == boxes(page)
    answered(there)
    assert verdict(there).splitlines()[0] == verdict(page).splitlines()[0]
    assert there.problems == []
    there.context.close()
    other.end()


def test_copies_go_into_a_folder(page, tmp_path):
    unfold(page, "carry")
    page.locator("#carry-folder textarea, #carry-folder input").fill(str(tmp_path / "sorted"))
    page.wait_for_timeout(200)
    page.locator("#carry-copy").click()
    until(lambda: "350 copies lie in" in page.locator("#carry-note").inner_text(), "it says where they lie", 30)
    assert len(list((tmp_path / "sorted").glob("*/*"))) == 350


def test_it_fits_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 800})
    for part in ("fill", "carry", "details"):
        unfold(page, part)
    assert overflow(page) <= 0
    page.set_viewport_size({"width": 1440, "height": 900})
