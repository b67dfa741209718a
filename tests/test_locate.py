"""The Locate step as a person uses it: marks by mouse, keys and touch, what is found, corrections, tags, files."""

import csv
import io
import json
import zipfile

import numpy as np
import pytest

pytest.importorskip("gradio")

from browser import open_page, overflow, until
from conftest import scene
from PIL import Image
from test_app import step

TURNED = 5  # the number of the picture that EXIF turns


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve pictures of a ring and a cross, the ring to the left; one lies on its side and says so."""
    folder = tmp_path_factory.mktemp("scenes")
    for seed in range(12):
        image, _ = scene(seed, "ring cross")
        exif = Image.Exif()
        if seed == TURNED:
            image, exif[0x0112] = image.transpose(Image.Transpose.ROTATE_90), 6
        image.save(folder / f"{seed:02}{' <b>&{{7*7}}' if seed == 3 else ''}.png", exif=exif)
    return folder


@pytest.fixture(scope="module")
def one_page(app, browser, folder):
    page = open_page(browser, app.address)
    page.wait_for_selector("#report .tile")
    page.locator("#by-path input").first.fill(str(folder))
    page.keyboard.press("Enter")
    until(lambda: "12" in page.locator("#header").inner_text(), "the pictures are there", 60)
    step(page, "Locate")
    until(lambda: state(page)["drawn"], "a picture is on the stage", 60)
    yield page
    page.context.close()


@pytest.fixture
def page(one_page, app):
    yield one_page
    problems, one_page.problems[:] = one_page.problems[:], []
    assert problems == [] and "Traceback" not in app.output(), app.output()[-3000:]


def state(page) -> dict:
    return page.evaluate("document.querySelector('.bm-locator').__locator.state()")


def look_at(page, row: int) -> None:
    page.locator(f".bm-loc-strip [data-row='{row}']").click()
    until(lambda: state(page)["row"] == row and state(page)["drawn"], f"picture {row} is on the stage")


def on_stage(page, x: float, y: float) -> tuple[float, float]:
    """A place of the picture, in shares, as the mouse has it."""
    page.locator(".bm-loc-canvas").scroll_into_view_if_needed()
    edge, rect = page.locator(".bm-loc-canvas").bounding_box(), state(page)["rect"]
    return edge["x"] + rect["x"] + x * rect["w"], edge["y"] + rect["y"] + y * rect["h"]


def drag(page, at: tuple[float, float, float, float]) -> None:
    page.mouse.move(*on_stage(page, at[0], at[1]))
    page.mouse.down()
    page.mouse.move(*on_stage(page, *((np.add(at[:2], at[2:]) / 2).tolist())))
    page.mouse.move(*on_stage(page, at[2], at[3]), steps=3)
    page.mouse.up()


def shares(seed: int, number: int, rim: int = 4) -> tuple[float, float, float, float]:
    """Where a thing of a scene lies, as shares of the picture."""
    image, boxes = scene(seed, "ring cross")
    left, top, right, bottom = boxes[number]
    return (
        (left - rim) / image.width,
        (top - rim) / image.height,
        (right + rim) / image.width,
        (bottom + rim) / image.height,
    )


def found(page) -> dict:
    return page.evaluate("window.byolmetaLocators.locator.props.found")


def searched(page, seconds: float = 120) -> list[dict]:
    """What was found, once a search for the marks of now is over."""
    rev = state(page)["rev"]
    until(
        lambda: found(page).get("rev") == rev and found(page)["state"] == "done",
        f"the search is over: {found(page)}",
        seconds,
    )
    return found(page)["rows"]


def overlap(a, b) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, wide) * max(0, high)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def best(rows: list[dict], row: int, cls: int) -> list[float]:
    return max(
        (box for one in rows if one["row"] == row for box in one["boxes"] if box[5] == cls), key=lambda box: box[4]
    )


def clear(page) -> None:
    while state(page)["marks"]:
        look_at(page, state(page)["marks"][0]["row"])
        page.get_by_role("button", name="Take the marks off this picture").click()


def download(page, name: str) -> bytes:
    with page.expect_download(timeout=60_000) as waiting:
        page.get_by_role("button", name=name, exact=True).click()
    return waiting.value.path().read_bytes()


def test_a_box_on_one_picture_finds_the_thing_on_the_others(page):
    look_at(page, 0)
    drag(page, shares(0, 0))
    (mark,) = state(page)["marks"]
    assert overlap(mark["at"], shares(0, 0)) > 0.95 and mark["kind"] == "box"
    rows = searched(page)
    assert sorted(one["row"] for one in rows) == list(range(12))
    right = [overlap(best(rows, row, 0), shares(row, 0, rim=2)) > 0.5 for row in range(1, 12)]
    assert sum(right) >= 9, right
    assert overlap(best(rows, TURNED, 0), shares(TURNED, 0, rim=2)) > 0.5, "boxes fit the picture that EXIF turns"
    assert page.locator(".bm-loc-grid li").count() >= 9 and "On " in page.locator(".bm-loc-line").inner_text()


def test_not_this_and_here_too_change_the_answer_at_once(page):
    look_at(page, 1)
    at = next(one for one in found(page)["rows"] if one["row"] == 1)["boxes"][0]
    page.mouse.click(*on_stage(page, (at[0] + at[2]) / 2, (at[1] + at[3]) / 2))
    page.get_by_role("button", name="Not this", exact=True).last.click()
    assert state(page)["marks"][-1]["no"] is True
    rows = searched(page)
    assert all(overlap(box, at) < 0.5 for one in rows if one["row"] == 1 for box in one["boxes"])
    page.get_by_role("button", name="Undo").click()
    rows = searched(page)
    assert overlap(best(rows, 1, 0), at) > 0.9
    page.mouse.click(*on_stage(page, (at[0] + at[2]) / 2, (at[1] + at[3]) / 2))
    page.get_by_role("button", name="Yes, right").click()
    rows = searched(page)
    assert best(rows, 1, 0)[4] == 1 and len(state(page)["marks"]) == 2


def test_a_second_thing_by_keys_alone(page):
    page.get_by_role("button", name="One more thing").click()
    page.keyboard.type("cross <b>")
    page.keyboard.press("Enter")
    until(
        lambda: [one["name"] for one in state(page)["classes"]] == ["Thing 1", "cross <b>"],
        "the second thing has a name",
    )
    assert page.locator(".bm-loc-classes input").count() == 0, "Enter ends the naming"
    look_at(page, 2)
    page.locator(".bm-loc-canvas").focus()
    page.keyboard.press("b")
    goal = shares(2, 1)
    page.keyboard.press("ArrowRight")  # the cross begins at 0.5, 0.5
    x, y = 0.51, 0.5

    def to(right: float, below: float) -> None:
        nonlocal x, y
        for share, forth, back in ((right - x, "ArrowRight", "ArrowLeft"), (below - y, "ArrowDown", "ArrowUp")):
            for _ in range(round(abs(share) / 0.01)):
                page.keyboard.press(forth if share > 0 else back)
        x, y = x + 0.01 * round((right - x) / 0.01), y + 0.01 * round((below - y) / 0.01)

    to(goal[0], goal[1])
    page.keyboard.press("Enter")
    to(goal[2], goal[3])
    page.keyboard.press("Enter")
    mark = state(page)["marks"][-1]
    assert mark["cls"] == "c2" and overlap(mark["at"], goal) > 0.85, mark
    rows = searched(page)
    right = [overlap(best(rows, row, 1), shares(row, 1, rim=2)) > 0.5 for row in range(12) if row != 2]
    assert sum(right) >= 8, right
    page.keyboard.press("Delete")
    until(lambda: len(state(page)["marks"]) == 2, "the mark is taken away")
    page.keyboard.press("Control+z")
    until(lambda: len(state(page)["marks"]) == 3, "and back again")
    searched(page)


def test_files_of_what_was_found(page):
    page.locator(".bm-loc-sure").fill("0.3")
    told = json.loads(download(page, "COCO"))
    sizes = {one["file_name"]: (one["width"], one["height"]) for one in told["images"]}
    assert len(sizes) == 12 and sizes[f"{TURNED:02}.png"] == (160, 120)
    assert [one["name"] for one in told["categories"]] == ["Thing 1", "cross <b>"]
    assert told["annotations"] and all(one["score"] >= 0.3 for one in told["annotations"])
    first = [one for one in told["annotations"] if one["image_id"] == 1 and one["category_id"] == 1]
    x, y, w, h = max(first, key=lambda one: one["score"])["bbox"]
    left, top, right, bottom = shares(0, 0)
    assert overlap((x, y, x + w, y + h), (160 * left, 120 * top, 160 * right, 120 * bottom)) > 0.95
    table = list(csv.DictReader(download(page, "Table").decode("utf-8-sig").splitlines()))
    assert list(table[0]) == ["path", "class", "score", "left", "top", "width", "height", "outlined"]
    assert len(table) == len(told["annotations"])
    with zipfile.ZipFile(io.BytesIO(download(page, "Masks"))) as masks:
        mask = np.asarray(Image.open(masks.open(f"masks/{TURNED:02}.png")))
        assert mask.shape == (120, 160) and set(np.unique(mask)) <= {0, 1, 2} and mask.any()
    with zipfile.ZipFile(io.BytesIO(download(page, "YOLO"))) as yolo:
        lines = yolo.read("labels/00.txt").decode().split("\n")[:-1]
        assert lines and all(len(line.split()) == 5 for line in lines)
    with zipfile.ZipFile(io.BytesIO(download(page, "Pictures"))) as drawn:
        assert len(drawn.namelist()) == 12


def test_a_reload_finds_everything_again(page):
    before = state(page)
    page.reload()
    page.wait_for_selector("#report .tile")
    step(page, "Locate")
    until(lambda: state(page)["drawn"], "a picture is on the stage", 60)
    after = state(page)
    assert after["marks"] == before["marks"] and after["classes"] == before["classes"]
    until(lambda: page.locator(".bm-loc-grid li").count(), "what was found is there again")


def test_paint_alone_finds_and_outlines(page):
    clear(page)
    page.locator(".bm-loc-classes [data-id='c1']").click()
    page.get_by_role("button", name="Brush").click()
    for row in (0, 1):
        look_at(page, row)
        left, top, right, bottom = shares(row, 0, rim=-4)
        for at in (
            (left, (top + bottom) / 2, left, top + 0.3 * (bottom - top)),
            ((left + right) / 2, top, right, (top + bottom) / 2),
        ):
            drag(page, at)
    rows = searched(page)
    assert all(mark["kind"] == "stroke" for mark in state(page)["marks"])
    right = [
        any(overlap(box, shares(row, 0, rim=2)) > 0.4 for box in one["boxes"])
        for one in rows
        if (row := one["row"]) > 1
    ]
    assert sum(right) >= 5, right
    assert all(one["masks"] for one in rows[:2])
    clear(page)
    page.get_by_role("button", name="Box", exact=True).click()


def test_the_examples_of_teach_become_tags(page):
    with_things = page.get_by_role("button", name="Take the examples of Teach")
    with_things.click()
    until(lambda: page.get_by_text("hold no pictures of this folder").count(), "it says what is missing")
    page.get_by_text("hold no pictures of this folder").wait_for(state="hidden", timeout=30_000)


def test_a_second_window_that_missed_a_change_shows_what_counts(page, app, browser):
    other = open_page(browser, app.address)
    other.wait_for_selector("#report .tile")
    step(other, "Locate")
    until(lambda: state(other)["drawn"], "a picture is on the other stage", 60)
    before = len(state(page)["marks"])
    look_at(page, 0)
    drag(page, shares(0, 0))
    searched(page)
    look_at(other, 0)
    # it counts further than the first window, and still does not know what that did
    other.locator(".bm-loc-tags button").first.evaluate("button => [1, 2, 3].forEach(() => button.click())")
    until(lambda: other.get_by_text("Another window had changed the marks").count(), "it is told")
    until(lambda: state(other)["marks"] == state(page)["marks"], "both show the same")
    assert len(state(other)["marks"]) == before + 1, "nothing that counted is gone"
    assert other.problems == []
    other.context.close()
    page.get_by_role("button", name="Undo").click()
    until(lambda: len(state(page)["marks"]) == before, "undone")


def test_nothing_found_is_a_sentence(page):
    clear(page)
    look_at(page, 0)
    drag(page, shares(0, 1))
    searched(page)
    page.locator(".bm-loc-sure").fill("0.98")
    page.get_by_role("button", name="Take the marks off this picture").click()
    until(lambda: "Draw a box" in page.locator(".bm-loc-line").inner_text(), "it says what to do")


@pytest.mark.parametrize("width", [1024, 390])
def test_no_sideways_scrolling(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    assert overflow(page) == 0
    page.set_viewport_size({"width": 1440, "height": 900})


def test_touch_draws_a_box(app, browser):
    page = open_page(browser, app.address, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page.wait_for_selector("#report .tile")
    step(page, "Locate")
    until(lambda: state(page)["drawn"], "a picture is on the stage", 60)
    before = len(state(page)["marks"])
    page.evaluate("document.querySelector('.bm-loc-canvas').scrollIntoView({ block: 'center' })")
    client = page.context.new_cdp_session(page)
    for kind, place in (
        ("touchStart", (0.2, 0.2)),
        ("touchMove", (0.4, 0.4)),
        ("touchMove", (0.6, 0.7)),
        ("touchEnd", None),
    ):
        points = [] if place is None else [dict(zip("xy", on_stage(page, *place), strict=True))]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    until(lambda: len(state(page)["marks"]) == before + 1, "the box is there")
    assert overlap(state(page)["marks"][-1]["at"], (0.2, 0.2, 0.6, 0.7)) > 0.9
    page.get_by_role("button", name="Undo").click()
    assert page.problems == []
    page.context.close()
