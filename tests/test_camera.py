"""The camera: a live guess that equals the board's answer, examples recorded while a button is held, and nothing else kept."""

import base64
import io
import os
import threading
from types import SimpleNamespace

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import numpy as np
import pytest
from conftest import draw_pictures

from byolmeta.adapt import sort_pictures
from byolmeta.errors import InputError
from byolmeta.images import read_image

pytest.importorskip("gradio")
import gradio as gr
from browser import FLAGS, centre, chromium, open_page, overflow, until
from PIL import Image

from byolmeta.ui import live
from byolmeta.ui.camera import WORDS, Camera
from byolmeta.ui.teach import learner_of
from byolmeta.ui.workspace import MOST_EXTRAS, Workspace

HOSTILE = "<img src=x onerror=window.hacked=1>${1+1}{{x}}"


def frame_of(picture, kind="PNG", seq=1):
    """A frame as the page sends it, of pixels uint8 (3, S, S) or of an image."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    file = io.BytesIO()
    picture.save(file, kind)
    return {"data": base64.b64encode(file.getvalue()).decode(), "seq": seq}


# ---- the side in Python


@pytest.fixture
def work(tmp_path):
    return Workspace(tmp_path / "home")


@pytest.fixture
def session(work, tmp_path):
    """Three kinds, untrained network, two examples of two kinds in boxes."""
    session = work.session("local")
    session.encoder = "untrained"
    work.choose(session, draw_pictures(tmp_path / "mine", each=6), "mine")
    work.pictures(session)
    session.boxes["boxes"][0]["items"], session.boxes["boxes"][1]["items"] = [0, 3], [6, 8]
    work.save(session)
    return session


def files_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_frame_gets_the_answer_that_the_board_gives_for_the_same_picture(work, session):
    import torch

    vectors = torch.from_numpy(work.bank(session))
    support, labels = np.array([0, 3, 6, 8]), np.array([0, 0, 1, 1])
    answers = sort_pictures(learner_of(work, session, "untrained"), vectors, support, labels, 2)
    pixels = work.pictures(session).store.pixels
    for row in range(len(pixels)):
        found = live.guess(work, session, frame_of(pixels[row], seq=row))
        best = int(np.argmax(found["scores"]))
        assert found["seq"] == row and found["boxes"] == ["b1", "b2"]
        assert best == answers.label[row] and found["none"] == (answers.sure[row] == 0)
        assert found["scores"][best] == pytest.approx(answers.score[row], abs=1e-3)
        assert sum(found["scores"]) + found["other"] == pytest.approx(1, abs=1e-3)


def test_boxes_are_adapted_to_once_until_they_change(work, session, monkeypatch):
    made, adapted = [], live.classifier_of

    def filled():
        return [(box["id"], list(box["items"])) for box in session.boxes["boxes"] if box["items"]]

    monkeypatch.setattr(live, "classifier_of", lambda *state: made.append(filled()) or adapted(*state))
    frame = frame_of(work.pictures(session).store.pixels[4])
    for _ in range(3):
        live.guess(work, session, frame)
    session.boxes = session.boxes | {"rev": 9}  # a box was renamed
    live.guess(work, session, frame)
    assert len(made) == 1
    session.boxes["boxes"][0]["items"] = [0, 3, 5]
    live.guess(work, session, frame)
    assert len(made) == 2 and made[1] == [("b1", [0, 3, 5]), ("b2", [6, 8])]
    session.learner = "prototype"
    live.guess(work, session, frame)
    assert len(made) == 3
    session.boxes["boxes"][1]["items"] = []
    assert live.guess(work, session, frame) == {"seq": 1, "few": True}


def test_frames_do_not_queue_up_behind_a_slow_one(work, session):
    frame, answers = frame_of(work.pictures(session).store.pixels[4], seq=8), []
    with work.alone("camera", session.name):
        other = threading.Thread(target=lambda: answers.append(live.guess(work, session, frame)))
        other.start()
        other.join(20)
    assert answers == [{"seq": 8, "busy": True}]
    assert "scores" in live.guess(work, session, frame)


def test_nothing_of_a_guess_is_kept(work, session, tmp_path):
    frame = frame_of(work.pictures(session).store.pixels[4])
    work.bank(session)
    before = files_of(tmp_path)
    assert live.guess(work, session, frame)["scores"]
    assert files_of(tmp_path) == before and session.extras == 0
    assert work.seen(session)["camera"]
    live.stopped(work, session)
    assert "camera" not in work.seen(session)


def test_a_recorded_frame_is_an_example_of_its_box(work, session):
    rev = session.boxes["rev"]
    colour = np.zeros((3, 40, 40), np.uint8) + np.array([200, 40, 90], np.uint8)[:, None, None]
    board, camera = live.record(work, session, frame_of(colour, seq=5) | {"box": "b2"})
    assert camera["recorded"] == {"seq": 5}
    assert session.boxes["boxes"][1]["items"] == [6, 8, 18] and session.boxes["rev"] == rev + 1
    assert [extra["id"] for extra in board["extras"]] == [18] and board["boxes"]["force"]
    assert Workspace(work.home).session("local").boxes == session.boxes
    assert (work._extra(session, 0, 16).mean((1, 2)) == [200, 40, 90]).all()
    assert live.guess(work, session, frame_of(colour))["boxes"] == ["b1", "b2"]


def test_a_frame_for_a_box_that_is_gone_is_not_kept(work, session):
    frame = frame_of(work.pictures(session).store.pixels[4], seq=3)
    for box in ("b9", None, ["b1"], {}):
        _, camera = live.record(work, session, frame | {"box": box})
        assert camera["recorded"]["seq"] == 3 and "box" in camera["recorded"]["problem"]
    assert session.extras == 0


def tiff_bomb():
    """A small file that says it holds 40,000 x 40,000 points."""
    picture = io.BytesIO()
    Image.new("L", (8, 8)).save(picture, "BMP")
    data = bytearray(picture.getvalue())
    data[18:26] = (40_000).to_bytes(4, "little") * 2
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "data",
    [
        None, 5, "", [], {}, "not base64!", "é" * 8, "AAAA", "A" * 4_000_000, tiff_bomb(), "/etc/passwd",
        base64.b64encode(b"<svg onload=alert(1)>").decode(), "data:image/jpeg;base64,AAAA",
        frame_of(Image.new("RGB", (live.SIDE + 8, live.SIDE)), "JPEG")["data"],
        frame_of(Image.new("RGB", (64, 64)), "JPEG")["data"][:200],
    ],
    ids=range(15),
)  # fmt: skip
def test_a_hostile_frame_gets_a_sentence(work, session, data):
    answer = live.guess(work, session, {"data": data, "seq": 7})
    assert answer["seq"] == 7 and answer["problem"].endswith(".")
    _, camera = live.record(work, session, {"data": data, "seq": 7, "box": "b1"})
    assert camera["recorded"]["problem"] == answer["problem"]
    assert session.extras == 0 and session.boxes["boxes"][0]["items"] == [0, 3]
    for seq in (None, "7", -1, 2**60, True, 1.5):
        assert live.guess(work, session, {"data": data, "seq": seq})["seq"] == 0


def test_a_visitor_of_a_shared_machine_cannot_flood_it(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(live, "clock", lambda: now[0])
    work = Workspace(tmp_path / "home", public=True)
    session, other = work.session("visitor"), work.session("other")
    frame = frame_of(Image.new("RGB", (16, 16)))
    answers = [live.guess(work, session, frame) for _ in range(live.AT_ONCE + 1)]
    assert [answer for answer in answers if "problem" in answer] == answers[-1:]
    assert "problem" not in live.guess(work, other, frame)
    now[0] += 1
    assert "problem" not in live.guess(work, session, frame)
    session.extras = MOST_EXTRAS
    now[0] += 1
    _, camera = live.record(work, session, frame | {"box": "b1"})
    assert str(MOST_EXTRAS) in camera["recorded"]["problem"]


def test_what_the_camera_is_told(work, session):
    told = live.whole(work, session)
    assert [(box["id"], box["colour"]) for box in told["boxes"]] == [("b1", "#0072B2"), ("b2", "#E69F00")]
    assert told["side"] == 2 * work.image_size(session)
    assert live.chips(work, session, session.boxes)["boxes"] == told["boxes"]
    sent = {"rev": 5, "boxes": [{"id": "b7", "name": HOSTILE, "items": [1]}]}
    assert live.chips(work, session, sent) == gr.update(boxes=[{"id": "b7", "name": HOSTILE, "colour": "#0072B2"}])
    with pytest.raises(InputError):
        live.chips(work, session, {"rev": 5, "boxes": "none"})


# ---- the page: a small app whose computer looks at the brightness of a frame


class App:
    """What the server saw."""

    def __init__(self):
        self.reset()
        colours = ["#0072B2", "#E69F00", "#009E73"]
        names = ["Cats", HOSTILE, "Green ones"]
        self.boxes = [
            {"id": f"b{i}", "name": name, "colour": colour}
            for i, (name, colour) in enumerate(zip(names, colours, strict=True))
        ]
        with gr.Blocks(title="camera") as self.demo:
            with gr.Tabs():
                with gr.Tab("Here", render_children=True):
                    camera = Camera(self.boxes, side=96, elem_id="camera")
                with gr.Tab("Other step"):
                    gr.Markdown("nothing")
            rename = gr.Button("Rename", elem_id="rename")
            options = {"queue": False, "show_progress": "hidden"}
            camera.frame(self.look, None, camera, **options)
            camera.record(self.keep, None, camera, **options)
            camera.started(lambda: self.events.append("started"), None, None, **options)
            camera.stopped(lambda: self.events.append("stopped"), None, None, **options)
            fewer = [self.boxes[0] | {"name": "Dogs"}, self.boxes[1]]
            rename.click(lambda: gr.update(boxes=fewer), None, camera, **options)
        _, self.address, _ = self.demo.launch(
            prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, footer_links=[], run_history=False
        )

    def reset(self):
        self.frames, self.kept, self.events, self.say, self.hang = [], [], [], {}, False

    def look(self, event: gr.EventData):
        self.frames.append(event.seq)
        pixels = live.picture_of(SimpleNamespace(read=read_image), event.data, 96)
        assert pixels.std() > 0
        answer = {"boxes": ["b0", "b1"], "scores": [0.7, 0.2], "other": 0.1, "none": False} | self.say
        return gr.skip() if self.hang else gr.update(answers={"seq": event.seq} | answer)

    def keep(self, event: gr.EventData):
        try:
            if self.say.get("refuse"):
                raise InputError("No more room.")
            self.kept.append((event.box, live.picture_of(SimpleNamespace(read=read_image), event.data, 96).shape))
            return gr.update(recorded={"seq": event.seq})
        except InputError as problem:
            return gr.update(recorded={"seq": event.seq, "problem": str(problem)})


@pytest.fixture(scope="module")
def app():
    app = App()
    yield app
    app.demo.close()


@pytest.fixture(scope="module")
def browser():
    """With a camera of its own that shows moving colours, and another one."""
    fake = ["--use-fake-device-for-media-stream=device-count=2", "--use-fake-ui-for-media-stream"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("browser.FLAGS", [*FLAGS, *fake])
        with chromium() as browser:
            yield browser


@pytest.fixture
def page(browser, app):
    app.reset()
    page = open_page(browser, app.address, viewport={"width": 900, "height": 800})
    page.wait_for_selector("#camera .bm-cam-on")
    yield page
    turn_off(app, page)
    page.context.close()
    assert page.problems == []


@pytest.fixture
def phone(browser, app):
    app.reset()
    page = open_page(browser, app.address, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page.wait_for_selector("#camera .bm-cam-on")
    yield page
    turn_off(app, page)
    page.context.close()
    assert page.problems == []


def turn_on(page):
    page.locator("#camera .bm-cam-on").click()
    page.wait_for_selector("#camera .bm-best")


def turn_off(app, page):
    """Before the page is closed, so that what it tells at its end does not reach the next test."""
    if page.locator("#camera .bm-cam-off").is_visible():
        page.locator("#camera .bm-cam-off").click()
    wait_for(page, lambda: app.events.count("stopped") == app.events.count("started"), "the end is told")


def row(page, at):
    return page.locator("#camera .bm-cam-box").nth(at)


def wait_for(page, condition, what):
    until(lambda: (page.evaluate("0"), condition())[1], what)


TRACKS = "document.querySelector('#camera video').srcObject?.getTracks().map((track) => track.readyState) ?? []"


def test_the_camera_is_off_until_it_is_asked_for(app, page):
    page.wait_for_timeout(300)
    assert app.frames == [] and page.locator("#camera video").is_hidden()
    assert page.locator("#camera .bm-cam-note").text_content() == WORDS["about"]
    turn_on(page)
    assert page.evaluate(TRACKS) == ["live"] and page.locator("#camera video").is_visible()
    wait_for(page, lambda: app.events == ["started"], "the start is told")


def test_guesses_become_bars_in_the_colours_of_the_boxes(app, page):
    turn_on(page)
    assert row(page, 0).locator(".bm-cam-share").text_content() == "70 %"
    assert row(page, 1).locator(".bm-cam-name").text_content() == HOSTILE and page.evaluate("window.hacked") is None
    assert row(page, 2).locator(".bm-cam-share").text_content() == WORDS["no_examples"]
    bar = row(page, 0).locator("i")
    assert bar.evaluate("bar => [bar.style.transform, getComputedStyle(bar).backgroundColor]") == [
        "scaleX(0.7)",
        "rgb(0, 114, 178)",
    ]
    assert "bm-best" in row(page, 0).get_attribute("class")
    wait_for(page, lambda: "Cats, 70 %." in page.locator("#camera [role=status]").text_content(), "it is said")
    app.say = {"scores": [0.1, 0.1], "other": 0.8, "none": True}
    page.wait_for_selector("#camera .bm-none.bm-best")
    assert page.locator("#camera .bm-none .bm-cam-share").text_content() == "80 %"
    app.say = {"boxes": [], "few": True}
    page.wait_for_function(f"document.querySelector('#camera .bm-cam-hint').textContent === '{WORDS['few']}'")
    app.say = {"busy": True}
    page.wait_for_function(f"document.querySelector('#camera .bm-cam-hint').textContent === '{WORDS['waiting']}'")
    app.say = {"boxes": [], "problem": HOSTILE}
    page.wait_for_function("document.querySelector('#camera .bm-cam-hint').textContent.includes('onerror')")
    assert page.evaluate("window.hacked") is None


def test_the_next_frame_waits_for_the_answer(app, page):
    turn_on(page)
    wait_for(page, lambda: len(app.frames) > 3, "frames come")
    app.hang = True
    page.wait_for_timeout(500)
    stuck = len(app.frames)
    page.wait_for_timeout(800)
    assert len(app.frames) == stuck
    assert app.frames == sorted(set(app.frames))


def test_a_button_that_is_held_records(app, page):
    turn_on(page)
    button = row(page, 1).locator(".bm-cam-hold")
    page.mouse.move(*centre(button))
    page.mouse.down()
    wait_for(page, lambda: len(app.kept) >= 3, "three are recorded")
    assert button.text_content().startswith("Recording")
    page.mouse.up()
    page.wait_for_timeout(700)
    kept = list(app.kept)
    assert {box for box, _ in kept} == {"b1"} and kept[0][1] == (3, 96, 96)
    assert button.text_content() == f"{len(kept)} recorded"
    page.wait_for_timeout(700)
    assert app.kept == kept


@pytest.mark.parametrize("key", ["Space", "Enter"])
def test_keys_record_too(app, page, key):
    turn_on(page)
    row(page, 0).locator(".bm-cam-hold").focus()
    page.keyboard.press(key)
    wait_for(page, lambda: len(app.kept) == 1, "one is recorded")
    page.keyboard.down(key)
    page.keyboard.down(key)  # as a key that is held repeats
    wait_for(page, lambda: len(app.kept) == 3, "two more while it is held")
    page.keyboard.up(key)
    page.wait_for_timeout(700)
    assert len(app.kept) == 3


def test_a_press_of_a_screen_reader_records_one(app, page):
    turn_on(page)
    row(page, 2).locator(".bm-cam-hold").evaluate("button => button.click()")
    wait_for(page, lambda: len(app.kept) == 1, "one is recorded")
    page.wait_for_timeout(700)
    assert app.kept == [("b2", (3, 96, 96))]
    assert row(page, 2).locator(".bm-cam-hold").get_attribute("aria-label").endswith("Green ones")


def test_at_most_thirty_are_recorded_at_once(app, page):
    page.clock.install()
    page.locator("#camera .bm-cam-on").click()
    page.clock.run_for(500)
    page.wait_for_selector("#camera .bm-cam-hold", state="visible")
    page.mouse.move(*centre(row(page, 0).locator(".bm-cam-hold")))
    page.mouse.down()
    page.clock.run_for(25_000)
    assert row(page, 0).locator(".bm-cam-hold").text_content() == "Recording 30"
    page.mouse.up()
    wait_for(page, lambda: (page.clock.run_for(100), len(app.kept) == 30)[1], "all have come")


def test_a_refused_example_is_said_and_ends_the_hold(app, page):
    turn_on(page)
    app.say = {"refuse": True}
    page.mouse.move(*centre(row(page, 0).locator(".bm-cam-hold")))
    page.mouse.down()
    status = page.locator("#camera [role=status]")
    wait_for(page, lambda: status.text_content() == "No more room.", "the sentence is said")
    page.wait_for_timeout(700)
    assert "bm-on" not in row(page, 0).locator(".bm-cam-hold").get_attribute("class") and app.kept == []
    page.mouse.up()


@pytest.mark.parametrize("how", ["button", "tab", "hidden"])
def test_the_camera_ends_when_it_is_left(app, page, how):
    turn_on(page)
    page.evaluate("window.tracks = document.querySelector('#camera video').srcObject.getTracks()")
    if how == "button":
        page.locator("#camera .bm-cam-off").click()
    elif how == "tab":
        page.get_by_role("tab", name="Other step").click()
    else:
        page.evaluate(
            """Object.defineProperty(document, "hidden", { value: true, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"))"""
        )
    page.wait_for_function("window.tracks.every((track) => track.readyState === 'ended')")
    wait_for(page, lambda: app.events == ["started", "stopped"], "the end is told")
    seen = len(app.frames)
    page.wait_for_timeout(500)
    assert len(app.frames) == seen
    if how == "tab":
        page.get_by_role("tab", name="Here").click()
        assert page.locator("#camera .bm-cam-note").text_content() == WORDS["left"]
        turn_on(page)


def test_another_camera(app, page):
    turn_on(page)
    which = "document.querySelector('#camera video').srcObject.getTracks()[0].getSettings().deviceId"
    first = page.evaluate(which)
    page.locator("#camera .bm-cam-switch").click()
    page.wait_for_function(f"document.querySelector('#camera video').srcObject && {which} !== '{first}'")
    seen = len(app.frames)
    wait_for(page, lambda: len(app.frames) > seen, "frames of the other one come")
    assert app.events == ["started"]


def test_boxes_that_change_keep_the_camera_on(app, page):
    turn_on(page)
    row(page, 1).locator(".bm-cam-hold").focus()
    page.evaluate("document.querySelector('#rename').click()")
    page.wait_for_function("document.querySelectorAll('#camera .bm-cam-box').length === 3")
    assert row(page, 0).locator(".bm-cam-name").text_content() == "Dogs"
    assert row(page, 2).get_attribute("class").split()[1] == "bm-none"
    assert page.evaluate("document.activeElement.closest('li') === document.querySelectorAll('#camera li')[1]")
    assert page.evaluate(TRACKS) == ["live"]


@pytest.mark.parametrize(
    "problem, word",
    [
        ("NotAllowedError", "refused"),
        ("NotFoundError", "missing"),
        ("NotReadableError", "busy"),
        ("TypeError", "failed"),
    ],
)
def test_a_camera_that_does_not_come_gets_a_sentence(app, page, problem, word):
    page.evaluate(
        f"() => {{ navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('x', '{problem}') }} }}"
    )
    page.locator("#camera .bm-cam-on").click()
    page.wait_for_selector("#camera .bm-wrong")
    assert page.locator("#camera .bm-cam-note").text_content() == WORDS[word]
    assert page.locator("#camera .bm-cam-on").is_enabled() and app.events == []


@pytest.mark.parametrize("secure, word", [("true", "unsupported"), ("false", "insecure")])
def test_a_page_without_cameras_says_why(app, page, secure, word):
    page.evaluate(
        f"""Object.defineProperty(navigator, "mediaDevices", {{ value: undefined }});
        Object.defineProperty(window, "isSecureContext", {{ value: {secure} }})"""
    )
    page.locator("#camera .bm-cam-on").click()
    page.wait_for_selector("#camera .bm-wrong")
    assert page.locator("#camera .bm-cam-note").text_content() == WORDS[word]


def test_a_finger_records_on_a_phone(app, phone):
    turn_on(phone)
    assert overflow(phone) <= 0
    x, y = centre(row(phone, 0).locator(".bm-cam-hold"))
    cdp = phone.context.new_cdp_session(phone)
    cdp.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    wait_for(phone, lambda: len(app.kept) >= 2, "two are recorded")
    cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    phone.wait_for_timeout(700)
    kept = len(app.kept)
    phone.wait_for_timeout(700)
    assert len(app.kept) == kept
    heights = phone.locator("#camera button:visible").evaluate_all("all => all.map(b => b.offsetHeight)")
    assert min(heights) >= 44
