"""The board: what a browser sends is checked, and people can sort pictures by mouse, touch and keys."""

import io
import json
import os
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import numpy as np
import pytest

from byolmeta.errors import InputError

pytest.importorskip("gradio")
import gradio as gr
from browser import centre, drag, open_page, until
from PIL import Image, ImageDraw

from byolmeta.ui import board as package
from byolmeta.ui.board import WORDS, Board, check_boxes, empty_boxes, encode_answers

N = 5000
TILE, COLUMNS, PER_SHEET = 48, 16, 256
HOSTILE = "<img src=x onerror=window.hacked=1>${1+1}{{x}}"


# ---- what a browser sends


def state(*items, rev=1):
    return {
        "rev": rev,
        "boxes": [{"id": f"b{i}", "name": f"Box {i}", "items": list(x)} for i, x in enumerate(items)],
    }


def test_a_good_state_comes_back_as_a_copy():
    sent = state([3, 1], [], [9])
    assert check_boxes(sent, 10) == sent
    assert check_boxes(sent, 10) is not sent
    assert check_boxes(sent | {"force": True, "more": 1}, 10) == sent


@pytest.mark.parametrize(
    "sent",
    [
        None, [], "boxes", {}, {"rev": 1}, {"rev": 1, "boxes": "b"}, {"rev": 1, "boxes": [1]},
        state([0], rev=-1), state([0], rev=True), state([0], rev=1.0), state([0], rev="1"),
        state([0], rev=2**60),
        state([10]), state([-1]), state([True]), state([1.0]), state(["1"]), state([None]), state([1, 1]),
        state([1], [1]), state(*[[]] * 21), state(range(11)),
        {"rev": 1, "boxes": [{"id": "b", "name": "x", "items": {}}]},
        {"rev": 1, "boxes": [{"id": "b", "name": "x" * 81, "items": []}]},
        {"rev": 1, "boxes": [{"id": "b", "name": "  ", "items": []}]},
        {"rev": 1, "boxes": [{"id": "b", "name": "a\0b", "items": []}]},
        {"rev": 1, "boxes": [{"id": "b", "name": "\ud800", "items": []}]},
        {"rev": 1, "boxes": [{"id": "b", "name": 5, "items": []}]},
        {"rev": 1, "boxes": [{"id": "../b", "name": "x", "items": []}]},
        {"rev": 1, "boxes": [{"id": "b", "name": "x", "items": []}] * 2},
        *({"rev": 1, "boxes": [{"id": "b", "name": "x", "items": [1, 2]} | more]} for more in (
            {"off": 1}, {"off": None}, {"off": "true"}, {"colour": 8}, {"colour": -1}, {"colour": True},
            {"colour": "0"}, {"colour": 1.0}, {"muted": [3]}, {"muted": [True]}, {"muted": 1}, {"muted": ["1"]},
            {"muted": [[1]]}, {"muted": None},
        )),
    ],
)  # fmt: skip
def test_a_bad_state_is_refused(sent):
    with pytest.raises(InputError):
        check_boxes(sent, 10)


def test_what_a_box_says_of_itself_is_kept_and_the_usual_is_left_out():
    said = {"off": True, "colour": 7, "muted": [2]}
    sent = state([1, 2], [3])
    sent["boxes"][0] |= said
    assert check_boxes(sent, 10) == sent
    sent["boxes"][1] |= {"off": False, "colour": None, "muted": [], "more": 1}
    assert check_boxes(sent, 10)["boxes"] == [sent["boxes"][0], state([1, 2], [3])["boxes"][1]]


def test_names_are_only_text():
    sent = empty_boxes([HOSTILE, "猫 👩‍👩‍👧"])
    assert [box["name"] for box in check_boxes(sent, 0)["boxes"]] == [HOSTILE, "猫 👩‍👩‍👧"]


def test_only_the_events_of_the_board_look_like_attributes():
    board = Board(boxes=empty_boxes(["a", "b"]), render=False)
    assert callable(board.change) and callable(board.dropfiles)
    assert not hasattr(board, "boxes") and not hasattr(board, "answers")


# ---- a small app: tiles of three colours, and a computer that sorts by colour


def draw_sheets(folder, n=N):
    colours = [(214, 96, 77), (67, 147, 195), (90, 174, 97)]
    for at in range(-(-n // PER_SHEET)):
        sheet = Image.new("RGB", (TILE * COLUMNS, TILE * COLUMNS))
        draw = ImageDraw.Draw(sheet)
        for k in range(min(PER_SHEET, n - at * PER_SHEET)):
            i = at * PER_SHEET + k
            x, y = k % COLUMNS * TILE, k // COLUMNS * TILE
            draw.rectangle([x, y, x + TILE, y + TILE], fill=tuple(c + i * 7 % 37 for c in colours[i % 3]))
            shape = [draw.ellipse, draw.rectangle, draw.pieslice][i % 3]
            box = [x + 10 + i % 5, y + 10, x + 34 + i % 5, y + 34]
            shape(box, fill="white", **({"start": 20, "end": 250} if i % 3 == 2 else {}))
        sheet.save(folder / f"sheet_{at}.webp", quality=80, method=0)
    names = [f"{['red', 'blue', 'green'][i % 3]}_{i}.png" for i in range(n)]
    about = {"names": names, "labels": [i % 3 for i in range(n)], "class_names": ["red", "blue", "green"]}
    (folder / "about.json").write_text(json.dumps(about))


def sort(boxes, n):
    """Each picture goes to the box that holds one of its colour; every ninth is unsure, every 20th none."""
    ids = np.arange(n)
    label = np.full(n, -1, np.int8)
    for at, box in enumerate(boxes["boxes"]):
        for item in box["items"]:
            label[ids % 3 == item % 3] = at
    sure = np.where(ids % 9 == 0, 1, np.where(ids % 4 == 0, 2, 3)).astype(np.uint8)
    sure[(label < 0) | (ids % 20 == 0)] = 0
    box_ids = [box["id"] for box in boxes["boxes"]]
    notes = [f"right for {len(box['items'])} of {len(box['items'])}" for box in boxes["boxes"]]
    return encode_answers(label, sure, rev=boxes["rev"], box_ids=box_ids, box_notes=notes)


class App:
    """What the server saw: the newest state, and the files dropped."""

    def __init__(self, folder, n=N, names=("Red ones", "Blue ones", "Green ones")):
        self.folder, self.n, self.names = folder, n, names
        self.reset()
        pictures = {"key": "tiles", "n": n, "tile": TILE, "columns": COLUMNS, "per_sheet": PER_SHEET}
        pictures["sheets"] = [self.url(f"sheet_{k}.webp") for k in range(-(-n // PER_SHEET))]
        pictures["about"] = self.url("about.json")
        with gr.Blocks(title="board") as self.demo:
            board = Board(pictures=pictures, boxes=self.boxes, elem_id="board", shared=True)
            load = gr.Button("Load", elem_id="load")
            fewer = gr.Button("Fewer", elem_id="fewer")
            plain = gr.Button("Plain", elem_id="plain")
            holder_off, holder_on = gr.Button("Hide", elem_id="hide"), gr.Button("Show", elem_id="show")
            with gr.Column(visible=True) as holder:
                other = Board(pictures=pictures, boxes=empty_boxes(["X", "Y"]), elem_id="other", visible=False)
            board.change(self.changed, None, board, queue=False, show_progress="hidden")
            board.dropfiles(self.dropped, None, board, queue=False, show_progress="hidden")
            few = pictures | {"key": "few", "n": 300}
            fewer.click(lambda: gr.update(pictures=few), None, board, queue=False)
            board.why(self.why, None, None, queue=False, show_progress="hidden")
            plain.click(lambda: gr.update(able=[]), None, board, queue=False)
            load.click(self.load, None, board, queue=False)
            holder_off.click(lambda: gr.update(visible=False), None, board, queue=False)
            holder_on.click(lambda: gr.update(visible=True), None, board, queue=False)
            self.demo.load(self.saved, None, board, queue=False, show_progress="hidden")
            assert holder and other
        _, self.address, _ = self.demo.launch(
            prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, allowed_paths=[str(folder)],
            footer_links=[], run_history=False,
        )  # fmt: skip

    def url(self, name):
        return f"/gradio_api/file={self.folder / name}"

    def reset(self):
        self.boxes, self.files, self.extras, self.asked = empty_boxes(self.names), [], [], []

    def changed(self, evt: gr.EventData):
        sent = check_boxes(evt._data, self.n + len(self.extras))
        if sent["rev"] < self.boxes["rev"]:
            return gr.skip()
        self.boxes = sent
        filled = sum(bool(box["items"]) for box in self.boxes["boxes"])
        return gr.update(answers=sort(self.boxes, self.n + len(self.extras)) if filled > 1 else None)

    def why(self, evt: gr.EventData):
        self.asked.append(evt.id)

    def dropped(self, evt: gr.EventData):
        for file in evt.files:
            self.files.append(file | {"box": evt.box})
            name = f"extra_{len(self.extras)}.webp"
            Image.open(file["path"]).convert("RGB").save(self.folder / name)
            self.extras.append({"id": self.n + len(self.extras), "url": self.url(name), "name": file["name"]})
            for box in self.boxes["boxes"]:
                if box["id"] == evt.box:
                    box["items"].append(self.extras[-1]["id"])
        self.boxes["rev"] = evt.rev + 1
        return gr.update(extras=self.extras, boxes=self.boxes | {"force": True}, answers=sort(self.boxes, self.n))

    def load(self):
        self.boxes = state([100, 103], [101], [102, 105, 108], rev=self.boxes["rev"] + 1)
        return gr.update(boxes=self.boxes | {"force": True}, answers=sort(self.boxes, self.n))

    def saved(self):
        return gr.update(boxes=self.boxes, extras=self.extras)

    def said(self, at, key):
        return self.boxes["boxes"][at].get(key)

    def items(self):
        return [box["items"] for box in self.boxes["boxes"]]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    draw_sheets(folder)
    app = App(folder)
    yield app
    app.demo.close()


def open_board(browser, app, **options):
    page = open_page(browser, app.address, **({"viewport": {"width": 1280, "height": 900}} | options))
    page.wait_for_selector("#board .bm-card")
    return page


@pytest.fixture
def page(browser, app):
    app.reset()
    page = open_board(browser, app)
    yield page
    page.context.close()
    assert page.problems == []


@pytest.fixture
def phone(browser, app):
    app.reset()
    page = open_board(browser, app, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    yield page
    page.context.close()
    assert page.problems == []


def card(page, i):
    return page.locator(f'#board .bm-card[data-id="{i}"]')


def thumb(page, i):
    return page.locator(f'#board .bm-thumb[data-id="{i}"]')


def box(page, at):
    return page.locator("#board .bm-box").nth(at)


def items_are(app, page, *wanted):
    wanted = [list(x) for x in wanted]
    until(lambda: (page.evaluate("0"), app.items() == wanted)[1], f"{app.items()} is not {wanted}")


def menu_button(page, at):
    return box(page, at).locator(".bm-menu-button")


def in_menu(page, text):
    return page.locator("#board .bm-menu").get_by_text(text, exact=True)


def teach(page, *wanted):
    """The first pictures of the tray go into the boxes by keys: ids of each box."""
    for at, ids in enumerate(wanted):
        for i in ids:
            card(page, i).focus()
            page.keyboard.press(str(at + 1))


def saw(app, page, check, what):
    until(lambda: (page.evaluate("0"), check())[1], what)


# ---- by mouse


def test_mouse_drags_between_tray_and_boxes(app, page):
    drag(page, card(page, 0), box(page, 0))
    items_are(app, page, [0], [], [])
    assert card(page, 0).count() == 0 and box(page, 0).locator(".bm-box-count").text_content() == "1"
    drag(page, card(page, 1), box(page, 1))
    items_are(app, page, [0], [1], [])
    drag(page, thumb(page, 0), box(page, 2))
    items_are(app, page, [], [1], [0])
    drag(page, thumb(page, 0), page.locator("#board .bm-frame"))
    items_are(app, page, [], [1], [])
    assert card(page, 0).count() == 1
    page.wait_for_selector("#board .bm-ghost", state="detached")


def test_many_at_once_and_undo(app, page):
    card(page, 0).click()
    card(page, 2).click(modifiers=["Shift"])
    card(page, 5).click(modifiers=["ControlOrMeta"])
    assert page.locator("#board .bm-picked-count").text_content() == "4 selected"
    drag(page, card(page, 1), box(page, 1))
    items_are(app, page, [], [0, 1, 2, 5], [])
    card(page, 3).click()
    page.keyboard.press("Escape")
    assert page.locator('#board .bm-card[aria-selected="true"]').count() == 0
    page.keyboard.press("ControlOrMeta+z")
    items_are(app, page, [], [], [])
    page.keyboard.press("ControlOrMeta+Shift+z")
    items_are(app, page, [], [0, 1, 2, 5], [])
    page.locator("#board .bm-icon").first.click()
    items_are(app, page, [], [], [])


def test_a_drag_that_ends_nowhere_or_is_cancelled_changes_nothing(app, page):
    drag(page, card(page, 0), page.locator("#board .bm-hint"))
    x, y = centre(card(page, 1))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(*centre(box(page, 0)), steps=3)
    page.keyboard.press("Escape")
    page.mouse.up()
    page.wait_for_timeout(60)
    assert app.boxes["rev"] == 0 and page.locator("#board .bm-thumb").count() == 0


def test_right_click_opens_the_menu_of_boxes(app, page):
    card(page, 4).click(button="right")
    page.get_by_role("menuitem", name="Blue ones").click()
    items_are(app, page, [], [4], [])
    card(page, 6).click(button="right")
    page.get_by_role("menuitem", name="New box").click()
    items_are(app, page, [], [4], [], [6])


# ---- by keys


def test_keys_do_everything(app, page):
    card(page, 0).focus()
    page.keyboard.press("1")
    items_are(app, page, [0], [], [])
    assert page.evaluate("document.activeElement.dataset.id") == "1"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("3")
    items_are(app, page, [0], [], [2, 3])
    assert "moved to Green ones" in page.locator("#board .bm-live[role=status]").text_content()
    thumb(page, 2).focus()
    page.keyboard.press("2")
    items_are(app, page, [0], [2], [3])
    assert page.evaluate("document.activeElement.dataset.id") == "3"
    page.keyboard.press("Backspace")
    items_are(app, page, [0], [2], [])
    thumb(page, 0).focus()
    page.keyboard.press("0")
    items_are(app, page, [], [2], [])
    card(page, 0).focus()
    page.keyboard.press("Shift+F10")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    items_are(app, page, [], [2, 0], [])
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.id") == str(N - 1)
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.dataset.id") == "1"


# ---- boxes


def test_a_box_is_added_renamed_and_deleted(app, page):
    page.locator("#board .bm-add").click()
    page.keyboard.type(HOSTILE)
    page.keyboard.press("Enter")
    until(lambda: (page.evaluate("0"), app.boxes["boxes"][-1]["name"] == HOSTILE)[1], "the name has come")
    drag(page, card(page, 7), box(page, 3))
    drag(page, card(page, 8), box(page, 2))
    items_are(app, page, [], [], [8], [7])
    assert HOSTILE in page.locator("#board .bm-chip").nth(4).text_content()  # in a filter, as text
    name = box(page, 3).locator(".bm-name")
    name.click()
    page.keyboard.type("other")
    page.keyboard.press("Escape")
    assert name.input_value() == HOSTILE
    box(page, 3).locator(".bm-remove").click()
    items_are(app, page, [], [], [8])
    assert card(page, 7).count() == 1
    page.keyboard.press("Escape")
    page.locator("#board .bm-icon").first.click()
    items_are(app, page, [], [], [8], [7])
    assert page.evaluate("window.hacked") is None


def test_a_box_is_left_out_and_used_again(app, page):
    teach(page, [0], [1], [2])
    items_are(app, page, [0], [1], [2])
    menu_button(page, 1).click()
    switch = page.get_by_role("menuitemcheckbox", name=WORDS["box_use"])
    assert switch.get_attribute("aria-checked") == "true"
    switch.click()
    saw(app, page, lambda: app.said(1, "off") is True, "the box is off")
    assert app.items() == [[0], [1], [2]] and thumb(page, 1).count() == 1
    assert box(page, 1).locator(".bm-note").text_content() == WORDS["box_off"]
    assert page.locator("#board .bm-chip", has_text="Blue ones").count() == 0
    assert page.evaluate("document.activeElement.className").endswith("bm-menu-button")
    page.reload()
    page.wait_for_selector("#board .bm-off")
    menu_button(page, 1).focus()
    page.keyboard.press("Enter")
    assert switch.get_attribute("aria-checked") == "false"
    page.keyboard.press("Space")
    saw(app, page, lambda: app.said(1, "off") is None, "the box is on again")
    page.keyboard.press("ControlOrMeta+z")
    saw(app, page, lambda: app.said(1, "off") is True, "undo leaves it out again")


def test_a_box_takes_another_colour(app, page):
    hue = "x => x.style.getPropertyValue('--hue')"
    blue, orange = (box(page, at).evaluate(hue) for at in (0, 1))
    menu_button(page, 0).click()
    swatches = page.get_by_role("menuitemradio")
    assert swatches.count() == 8 and swatches.nth(0).get_attribute("aria-checked") == "true"
    page.keyboard.press("ArrowDown")  # from the switch to the colour it has
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    saw(app, page, lambda: app.said(0, "colour") == 1, "the colour has come")
    assert box(page, 0).evaluate(hue) == orange != blue
    assert "Red ones is now orange." in page.locator("#board .bm-live[role=status]").text_content()
    teach(page, [0], [1])
    page.wait_for_selector('#board .bm-board[data-answered="3"]')
    assert card(page, 3).evaluate(hue) == orange
    page.reload()
    page.wait_for_selector("#board .bm-thumb")
    assert box(page, 0).evaluate(hue) == orange


def test_twenty_boxes_fit_in_menus_and_page(app, page):
    for _ in range(17):
        page.locator("#board .bm-add").click()
    assert page.locator("#board .bm-box").count() == 20 and page.locator("#board .bm-add").is_hidden()
    card(page, 0).click(button="right")
    menu = page.locator("#board .bm-menu")
    area = menu.bounding_box()
    assert area["y"] >= 0 and area["y"] + area["height"] <= 900 and area["x"] + area["width"] <= 1280
    badges = menu.locator(".bm-badge").evaluate_all(
        "all => all.map(x => x.textContent + x.style.getPropertyValue('--hue'))"
    )
    assert len(set(badges)) == 20 and all("#" in badge for badge in badges)
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    saw(app, page, lambda: app.items()[19] == [0], "the last box is reached")
    thumb(page, 0).click(button="right")
    page.keyboard.press("3")  # the third box, though its own one is not listed
    saw(app, page, lambda: app.items()[2] == [0], "the number chooses its box")
    thumb(page, 0).click(button="right")
    page.keyboard.press("4")
    saw(app, page, lambda: app.items()[3] == [0], "and so it does for boxes behind the one it is in")
    assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0


# ---- answers


def test_guesses_are_shown_and_corrected(app, page):
    for i, at in [(0, 0), (1, 1), (2, 2)]:
        card(page, i).focus()
        page.keyboard.press(str(at + 1))
    page.wait_for_selector('#board .bm-board[data-answered="3"]')
    assert card(page, 3).get_attribute("data-sure") == "3"
    assert card(page, 3).locator(".bm-tag").text_content() == "1"
    assert card(page, 9).locator(".bm-tag").text_content() == "?"
    assert card(page, 20).get_attribute("data-sure") == "0"
    assert "Red ones, sure" in card(page, 3).get_attribute("aria-label")
    assert box(page, 0).locator(".bm-note").text_content() == "right for 1 of 1"
    page.locator("#board .bm-chip", has_text="Blue ones").click()
    shown = page.locator("#board .bm-card").evaluate_all("all => all.map(x => [x.dataset.id % 3, x.dataset.sure])")
    assert {kind for kind, _ in shown} == {1} and {sure for _, sure in shown} == {"3"}
    drag(page, card(page, 7), box(page, 0))  # a wrong guess goes to the right box
    items_are(app, page, [0, 7], [1], [2])
    page.locator("#board .bm-chip", has_text="Unsure").click()
    sure = page.locator("#board .bm-card").evaluate_all("all => all.map(x => x.dataset.sure)")
    assert set(sure) == {"1"}


def test_why_is_asked_by_corner_key_and_menu(app, page):
    card(page, 5).focus()
    page.keyboard.press("w")
    assert "no guess" in page.locator("#board .bm-live[role=status]").text_content()
    teach(page, [0], [1], [2])
    page.wait_for_selector('#board .bm-board[data-answered="3"]')
    card(page, 3).locator(".bm-tag").click()
    saw(app, page, lambda: app.asked == [3], "the corner asks")
    assert page.locator('#board .bm-card[aria-selected="true"]').count() == 0
    card(page, 20).focus()  # none of these: no corner, and a question all the same
    page.keyboard.press("w")
    saw(app, page, lambda: app.asked == [3, 20], "the key asks")
    card(page, 6).click(button="right")
    in_menu(page, WORDS["why"]).click()
    saw(app, page, lambda: app.asked == [3, 20, 6], "the menu asks")
    drag(page, card(page, 7).locator(".bm-tag"), box(page, 1))  # the corner is part of the picture
    items_are(app, page, [0], [1, 7], [2])
    assert app.asked == [3, 20, 6]


def test_what_the_board_is_not_able_to_do_is_not_offered(app, page):
    teach(page, [0], [1], [2])
    page.wait_for_selector('#board .bm-board[data-answered="3"]')
    page.locator("#plain").click()
    page.wait_for_selector("#board .bm-board:not(.bm-asks)")
    card(page, 3).locator(".bm-tag").click(force=True)
    card(page, 3).focus()
    page.keyboard.press("w")
    thumb(page, 0).focus()
    page.keyboard.press("m")
    thumb(page, 0).click(button="right")
    assert in_menu(page, WORDS["move_out"]).count() == 1 and in_menu(page, WORDS["mute"]).count() == 0
    page.keyboard.press("Escape")
    menu_button(page, 0).click()
    assert page.locator("#board .bm-menu button").all_text_contents() == [WORDS["box_remove"]]
    page.wait_for_timeout(60)
    assert app.asked == [] and app.boxes["rev"] == 3


def test_an_example_is_muted_and_counts_again(app, page):
    teach(page, [0, 3], [1], [2])
    items_are(app, page, [0, 3], [1], [2])
    thumb(page, 3).focus()
    page.keyboard.press("m")
    saw(app, page, lambda: app.said(0, "muted") == [3], "the example is muted")
    assert "bm-muted" in thumb(page, 3).get_attribute("class")
    assert WORDS["muted"] in thumb(page, 3).get_attribute("aria-label")
    assert box(page, 0).locator(".bm-box-count").text_content() == "1/2"
    assert page.evaluate("document.activeElement.dataset.id") == "3"
    page.reload()
    page.wait_for_selector("#board .bm-muted")
    thumb(page, 3).click(button="right")
    in_menu(page, WORDS["unmute"]).click()
    saw(app, page, lambda: app.said(0, "muted") is None, "it counts again")
    thumb(page, 0).click(button="right")
    in_menu(page, WORDS["mute"]).click()
    saw(app, page, lambda: app.said(0, "muted") == [0], "the other is muted")
    page.evaluate("scrollTo(0, 0)")
    drag(page, thumb(page, 0), box(page, 1))  # what was said about it in its box goes
    items_are(app, page, [3], [1, 0], [2])
    assert app.said(0, "muted") is None and app.said(1, "muted") is None
    page.locator("#board .bm-icon").first.click()
    saw(app, page, lambda: app.said(0, "muted") == [0], "undo mutes it again")


# ---- the adaptation, played step by step

STEP = """detail => {
  if (detail) detail.labels = Int8Array.from(detail.labels);
  window.dispatchEvent(new CustomEvent("byolmeta-step", { detail }));
}"""


def play(page, labels, flipped, step):
    """Shows a step in which the pictures from 0 on have these labels, and all others the last one."""
    labels = labels + [labels[-1]] * (N - len(labels))
    ids = [f"b{k + 1}" for k in range(3)]
    detail = {"step": step, "of": 5, "rev": 3, "labels": labels, "box_ids": ids, "flipped": flipped}
    page.evaluate(STEP, detail)


def test_a_step_that_is_played_shows_its_guesses_and_what_changed(app, page):
    teach(page, [0], [1], [2])
    page.wait_for_selector('#board .bm-board[data-answered="3"]')
    play(page, [-1, -1, -1, 1, 1, 0, 0], [], 1)
    assert page.locator("#board .bm-playing").count() == 1
    assert [card(page, i).locator(".bm-tag").text_content() for i in (3, 5)] == ["2", "1"]
    assert {card(page, i).get_attribute("data-sure") for i in (3, 9, 20)} == {"2"}
    chips = page.locator("#board .bm-chip")
    assert chips.count() == 6 and chips.nth(4).get_attribute("aria-disabled") == "true"
    play(page, [-1, -1, -1, 0, 1, 2, 0], [3, 5], 2)
    lit = "all => all.filter(x => x.getAnimations().length).map(x => Number(x.dataset.id))"
    assert page.locator("#board .bm-card").evaluate_all(lit) == [3, 5]
    assert chips.nth(6).locator("span, b").all_text_contents() == [WORDS["filter_changed"], "2"]
    chips.nth(6).click()
    assert page.locator("#board .bm-card").evaluate_all("all => all.map(x => Number(x.dataset.id))") == [3, 5]
    play(page, [-1, -1, -1, 0, 0, 2, 0], [4], 3)
    assert page.locator("#board .bm-card").evaluate_all("all => all.map(x => Number(x.dataset.id))") == [4]
    page.evaluate(STEP, None)
    assert page.locator("#board .bm-playing").count() == 0 and chips.count() == 6
    assert card(page, 9).get_attribute("data-sure") == "1" and chips.first.get_attribute("aria-pressed") == "true"


def test_a_step_waits_while_a_picture_is_held_and_a_remount_listens_once(app, page):
    teach(page, [0], [1], [2])
    page.wait_for_selector('#board .bm-board[data-answered="3"]')
    page.mouse.move(*centre(card(page, 5)))
    page.mouse.down()
    page.mouse.move(*centre(box(page, 0)), steps=3)
    play(page, [-1, -1, -1, 2], [3], 2)
    assert card(page, 3).locator(".bm-tag").text_content() == "1"
    page.mouse.move(*centre(page.locator("#board .bm-hint")))
    page.mouse.up()
    assert card(page, 3).locator(".bm-tag").text_content() == "3"
    page.locator("#hide").click()
    page.wait_for_selector("#board .bm-card", state="detached")
    page.locator("#show").click()
    page.wait_for_selector("#board .bm-card")
    assert page.locator("#board .bm-playing").count() == 0
    play(page, [-1, -1, -1, 1], [3], 3)
    assert card(page, 3).locator(".bm-tag").text_content() == "2"
    assert card(page, 3).evaluate("x => x.getAnimations().length") == 1


def test_changed_pictures_are_outlined_where_motion_is_not_wanted(app, browser):
    app.reset()
    page = open_board(browser, app, reduced_motion="reduce")
    teach(page, [0], [1], [2])
    page.wait_for_selector('#board .bm-board[data-answered="3"]')
    play(page, [-1, -1, -1, 1], [3], 2)
    look = "x => [getComputedStyle(x).outlineStyle, x.getAnimations().length]"
    assert card(page, 3).evaluate(look) == ["solid", 0] and card(page, 4).evaluate(look) == ["none", 0]
    page.context.close()
    assert page.problems == []


def test_search_by_name(app, page):
    page.locator("#board .bm-search").fill("GREEN_49")
    page.wait_for_function("document.querySelector('#board .bm-count').textContent === '36'")
    names = page.locator("#board .bm-card").evaluate_all("all => all.map(x => x.ariaLabel)")
    assert all("green_49" in name for name in names)


# ---- state


def test_reload_and_remount_restore_the_board(app, page):
    drag(page, card(page, 0), box(page, 0))
    drag(page, card(page, 1), box(page, 1))
    items_are(app, page, [0], [1], [])
    page.locator("#hide").click()
    page.wait_for_selector("#board .bm-card", state="detached")
    page.locator("#show").click()
    page.wait_for_selector("#board .bm-thumb")
    assert thumb(page, 0).count() == 1 and thumb(page, 1).count() == 1
    card(page, 2).focus()
    page.keyboard.press("1")
    items_are(app, page, [0, 2], [1], [])
    page.reload()
    page.wait_for_selector("#board .bm-thumb")
    assert thumb(page, 0).count() == thumb(page, 2).count() == 1
    drag(page, thumb(page, 2), box(page, 2))
    items_are(app, page, [0], [1], [2])


def test_other_pictures_start_with_empty_boxes(app, page):
    drag(page, card(page, 10), box(page, 0))
    items_are(app, page, [10], [], [])
    page.locator("#fewer").click()
    page.wait_for_function("document.querySelector('#board .bm-count').textContent === '300'")
    items_are(app, page, [], [], [])
    assert page.locator("#board .bm-thumb").count() == 0
    page.keyboard.press("ControlOrMeta+z")
    page.wait_for_timeout(60)
    assert app.items() == [[], [], []]  # what was done with the old pictures cannot come back


def test_python_loads_another_state_and_undo_brings_it_back(app, page):
    drag(page, card(page, 0), box(page, 0))
    items_are(app, page, [0], [], [])
    page.locator("#load").click()
    page.wait_for_selector('#board .bm-thumb[data-id="108"]')
    assert card(page, 0).count() == 1
    page.locator("#board .bm-icon").first.click()
    items_are(app, page, [0], [], [])


def test_two_windows_show_each_others_changes(app, page):
    other = page.context.new_page()
    other.goto(app.address)
    other.wait_for_selector("#board .bm-card")
    drag(page, card(page, 0), box(page, 0))
    other.wait_for_selector('#board .bm-thumb[data-id="0"]')
    drag(other, card(other, 1), box(other, 1))
    page.wait_for_selector('#board .bm-thumb[data-id="1"]')
    items_are(app, page, [0], [1], [])
    for each in (page, other):
        each.wait_for_selector('#board .bm-board[data-answered="2"]')
    assert card(page, 4).get_attribute("data-sure") == card(other, 4).get_attribute("data-sure") == "2"
    other.evaluate(DROP, [2, [["q.png", "image/png", png()]]])
    page.wait_for_selector(f'#board .bm-box:nth-child(3) .bm-thumb[data-id="{N}"]')
    assert thumb(page, N).get_attribute("title") == "q.png"
    thumb(page, 1).focus()
    page.keyboard.press("m")
    other.wait_for_selector('#board .bm-muted[data-id="1"]')
    other.locator("#board .bm-icon").first.click()  # undo reaches what was done in the first
    page.wait_for_selector("#board .bm-muted", state="detached")
    page.reload()
    page.wait_for_selector("#board .bm-thumb")
    items_are(app, page, [0], [1], [N])


# ---- files from the desktop


def png():
    data = io.BytesIO()
    Image.new("RGB", (40, 30), "purple").save(data, "PNG")
    return list(data.getvalue())


DROP = """([box, files]) => {
  const data = new DataTransfer();
  for (const [name, type, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name, { type }));
  const boxes = document.querySelectorAll("#board .bm-box");
  const target = boxes[box] ?? document.querySelector("#board .bm-frame");
  const area = target.getBoundingClientRect();
  for (const type of ["dragenter", "dragover", "drop"]) {
    target.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: data,
      clientX: area.x + area.width / 2, clientY: area.y + area.height / 2 }));
  }
}"""


def test_files_from_the_desktop(app, page):
    picture = png()
    hostile = "<b>${alert(1)}.png"
    page.evaluate(DROP, [1, [[hostile, "image/png", picture], ["note.txt", "text/plain", [1, 2]]]])
    until(lambda: (page.evaluate("0"), len(app.files) == 1)[1], "the file has come")
    assert app.files[0]["name"] == hostile and app.files[0]["box"] == "b2"
    page.wait_for_selector(f'#board .bm-box:nth-child(2) .bm-thumb[data-id="{N}"]')
    assert thumb(page, N).get_attribute("title") == hostile
    page.evaluate(DROP, [None, [["q.png", "image/png", picture]]])
    until(lambda: (page.evaluate("0"), len(app.files) == 2)[1], "the second file has come")
    assert app.files[1]["box"] is None
    page.evaluate(DROP, [0, [["note.txt", "text/plain", [1, 2]]]])
    assert "Only pictures" in page.locator("#board .bm-hint").text_content()


def test_a_benchmark_can_read_how_long_an_answer_takes(app, page):
    times = (
        "() => { const b = document.querySelector('#board .bm-board').__board; return [b.lastDrop(), b.lastAnswer()]; }"
    )
    assert page.evaluate(times) == [None, None]
    drag(page, card(page, 0), box(page, 0))
    drag(page, card(page, 1), box(page, 1))
    page.wait_for_selector('#board .bm-board[data-answered="2"]')
    drop, answer = until(lambda: page.evaluate(times)[1] and page.evaluate(times), "the answer is on the screen")
    assert drop["rev"] == answer["rev"] == 2 and 0 < drop["at"] < answer["at"]
    page.evaluate(DROP, [1, [["q.png", "image/png", png()]]])
    new = until(lambda: page.evaluate(times)[1]["rev"] > 2 and page.evaluate(times), "the file's answer is there")
    assert new[0]["rev"] == new[1]["rev"] == 3 and answer["at"] < new[0]["at"] < new[1]["at"]


# ---- many pictures, small page


def test_thousands_of_pictures_scroll_with_few_nodes(app, page):
    assert page.locator("#board .bm-count").text_content() == "5,000"
    worst = page.evaluate(
        """async () => {
          const tray = document.querySelector("#board .bm-scroll");
          let most = 0;
          for (let i = 1; i <= 20; i += 1) {
            tray.scrollTop = tray.scrollHeight * i / 20;
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            most = Math.max(most, tray.querySelectorAll(".bm-card").length);
          }
          return most;
        }"""
    )
    assert worst < 250
    assert card(page, N - 1).is_visible()


def test_a_drop_redraws_only_the_boxes_it_changes(app, browser):
    app.reset()
    app.boxes = empty_boxes([""] * 20) | {"rev": 1}
    for at, each in enumerate(app.boxes["boxes"]):
        each["items"] = list(range(100 + 50 * at, 150 + 50 * at))
    page = open_board(browser, app)
    page.wait_for_selector('#board .bm-thumb[data-id="1099"]', state="attached")
    assert page.locator("#board .bm-thumb").count() == 1000
    page.wait_for_selector('#board .bm-thumb[title="green_1097.png"]', state="attached")  # the names have come
    page.evaluate(
        """() => {
          window.touched = new Set();
          const boxOf = (node) => node.closest(".bm-box")?.dataset.box; // a picture that has left has none
          const note = (all) => all.forEach(({ target }) => boxOf(target) && touched.add(boxOf(target)));
          const options = { subtree: true, childList: true, attributes: true };
          for (const items of document.querySelectorAll("#board .bm-items")) new MutationObserver(note).observe(items, options);
        }"""
    )
    drag(page, card(page, 0), box(page, 1))
    drag(page, thumb(page, 100), box(page, 2))
    saw(app, page, lambda: app.items()[2][-1] == 100, "the second drop has come")
    page.wait_for_selector('#board .bm-board[data-answered="3"]')
    assert app.items()[1][-1] == 0 and sum(map(len, app.items())) == 1001
    assert page.evaluate("[...touched].sort()") == ["b1", "b2", "b3"]
    page.context.close()
    assert page.problems == []


def test_phone_taps_and_does_not_overflow(app, phone):
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert phone.evaluate(wide) <= 0
    card(phone, 0).tap()
    card(phone, 3).tap()
    assert phone.locator("#board .bm-picked-count").text_content() == "2 selected"
    box(phone, 0).locator(".bm-box-empty").tap(force=True)
    items_are(app, phone, [0, 3], [], [])
    card(phone, 1).tap()
    box(phone, 1).locator(".bm-name").tap()
    items_are(app, phone, [0, 3], [1], [])
    thumb(phone, 3).tap()
    box(phone, 1).locator(".bm-items").tap(position={"x": 120, "y": 20})
    items_are(app, phone, [0], [1, 3], [])
    phone.wait_for_selector('#board .bm-board[data-answered="3"]')
    assert phone.evaluate(wide) <= 0
    phone.locator("#board .bm-chip", has_text="Unsure").tap()
    assert phone.evaluate(wide) <= 0


def test_phone_asks_mutes_and_colours(app, phone):
    for i, at in [(0, 0), (1, 1)]:
        card(phone, i).tap()
        box(phone, at).locator(".bm-box-empty").tap(force=True)
    items_are(app, phone, [0], [1], [])
    phone.wait_for_selector('#board .bm-board[data-answered="2"]')
    card(phone, 3).locator(".bm-tag").tap()
    saw(app, phone, lambda: app.asked == [3], "the corner asks")
    card(phone, 4).tap()
    card(phone, 6).locator(".bm-tag").tap()  # with a picture picked, the corner is as good a place as any
    assert phone.locator("#board .bm-picked-count").text_content() == "2 selected"
    card(phone, 4).tap()
    card(phone, 6).tap()
    thumb(phone, 0).tap()
    phone.locator("#board .bm-primary").tap()
    in_menu(phone, WORDS["mute"]).tap()
    saw(app, phone, lambda: app.said(0, "muted") == [0], "the example is muted")
    menu_button(phone, 1).tap()
    menu = phone.locator("#board .bm-menu").bounding_box()
    assert menu["x"] >= 0 and menu["x"] + menu["width"] <= 390
    phone.get_by_role("menuitemradio", name=WORDS["colour_pink"]).tap()
    saw(app, phone, lambda: app.said(1, "colour") == 3, "the colour has come")
    menu_button(phone, 1).tap()
    in_menu(phone, WORDS["box_remove"]).tap()
    saw(app, phone, lambda: app.items() == [[0], []], "the box is deleted")
    assert phone.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_a_finger_that_rests_drags_and_one_that_moves_scrolls(app, phone):
    cdp = phone.context.new_cdp_session(phone)

    def touch(kind, *point):
        points = [{"x": point[0], "y": point[1]}] if point else []
        cdp.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    x, y = centre(card(phone, 5))
    end = centre(box(phone, 0))
    touch("Start", x, y)
    phone.wait_for_timeout(330)
    assert phone.locator("#board .bm-ghost").count() == 1
    for k in range(1, 6):
        touch("Move", x + (end[0] - x) * k / 5, y + (end[1] - y) * k / 5)
    touch("End")
    items_are(app, phone, [5], [], [])
    x, y = centre(card(phone, 8))
    touch("Start", x, y)
    for k in range(1, 8):
        touch("Move", x, y - 16 * k)
    touch("End")
    until(
        lambda: phone.evaluate("document.querySelector('#board .bm-scroll').scrollTop + scrollY") > 20,
        "it scrolls",
    )
    assert app.items() == [[5], [], []]
    phone.evaluate("scrollTo(0, 320)")
    until(lambda: abs(box(phone, 0).bounding_box()["y"]) < 12, "the boxes stick to the top")


def test_every_word_is_used():
    text = "".join(file.read_text(encoding="utf-8") for file in Path(package.__file__).parent.glob("*.js"))
    assert [key for key in WORDS if f'"{key}"' not in text] == []
