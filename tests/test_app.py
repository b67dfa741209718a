"""The newcomer's path through the real app, in Chromium: every step as a person does it."""

import io
import json
import os
import signal
import zipfile

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")
from browser import drag, open_page, overflow, until

HOSTILE = ("<img src=x onerror=window.hacked=1>.png", "${window.hacked=1}.png", "{{window.hacked}}.png", "`x`\\n.png")
TRANSFER = """files => {
  const transfer = new DataTransfer();
  for (const [name, bytes] of files) transfer.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/png'}));
  return transfer;
}"""
PHONE = {"width": 390, "height": 800}


# ---- pictures


def picture(kind: str, number: int) -> bytes:
    """A red or a blue pattern; each picture another."""
    noise = np.random.default_rng(number + 1000 * (kind == "blue")).integers(0, 90, (6, 6, 3), np.uint8)
    noise[..., 0 if kind == "red" else 2] += 160
    data = io.BytesIO()
    Image.fromarray(noise).resize((72, 72), Image.Resampling.NEAREST).save(data, "PNG")
    return data.getvalue()


def folder_of(path, each: int = 12, kinds=("red", "blue")):
    for kind in kinds:
        (path / kind).mkdir(parents=True)
        for number in range(each):
            (path / kind / f"{kind}-{number}.png").write_bytes(picture(kind, number))
    return path


@pytest.fixture(scope="module")
def one_page(browser, app):
    page = open_page(browser, app.address)
    page.wait_for_selector("#report .tile")
    yield page
    page.context.close()


@pytest.fixture
def page(one_page):
    """The one page of all tests, as a person keeps one open; each test checks that nothing went wrong in it."""
    yield one_page
    problems, one_page.problems[:] = one_page.problems[:], []
    assert problems == []


def reload(page) -> None:
    page.reload()
    page.wait_for_selector("#report .tile")
    # Gradio's words for what was under way
    cut = ("AbortError", "Unexpected error Connection errored out", "Unexpected error 404")
    page.problems[:] = [text for text in page.problems if not text.startswith(cut)]


# ---- parts of the page


def step(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def cards(page):
    return page.locator("#board .bm-card")


def card(page, i: int):
    return page.locator(f'#board .bm-card[data-id="{i}"]')


def box(page, at: int):
    return page.locator("#board .bm-box").nth(at)


def boxes(page) -> list[list[int]]:
    """Ids of the pictures in each box, as drawn."""
    return page.evaluate(
        """() => [...document.querySelectorAll('#board .bm-box')].map(
          box => [...box.querySelectorAll('.bm-thumb')].map(thumb => +thumb.dataset.id))"""
    )


def boxes_are(page, *wanted) -> None:
    until(lambda: boxes(page) == [list(ids) for ids in wanted], f"the boxes hold {wanted}, they hold {boxes(page)}", 10)


def curve_steps(page) -> int:
    """Points on the curve of the page's own encoder; 0 without a curve."""
    return page.evaluate(
        """() => (document.querySelector('#curve .js-plotly-plot')?.data ?? [])
          .find(trace => trace.mode === 'lines+markers')?.x.length ?? 0"""
    )


def guessed(page) -> None:
    """Waits for guesses: data-sure is 0 before they come."""
    page.locator("#board .bm-card:is([data-sure='1'], [data-sure='2'], [data-sure='3'])").first.wait_for()


def verdict(page) -> str:
    return page.locator("#verdict").inner_text()


def points(page, where: str = "#map") -> int:
    text = page.locator(f"{where} .badge .count").text_content() or "0"
    return int("".join(c for c in text if c.isdigit()) or 0)


def open_path(page, path) -> None:
    step(page, "Pictures")
    page.locator("#path textarea, #path input").fill(str(path))
    page.wait_for_timeout(200)  # nobody clicks in the same moment as the last letter is typed
    page.locator("#open").click()


def report_says(page, *texts: str) -> None:
    report = page.locator("#report")
    until(
        lambda: all(text in report.inner_text() for text in texts),
        f"the report says {texts}: {report.inner_text()}",
        30,
    )


# ---- 1, 2, 3: arrival, teaching, reload


def test_the_page_is_alive_on_arrival(app, page):
    assert "350 pictures ready" in page.locator("#report").inner_text()
    assert page.locator("#report .tile").count() > 12
    assert "Drawn creatures" in page.locator("#header").inner_text()
    until(lambda: page.locator("#encoder input").input_value(), "an encoder is chosen")
    until(lambda: points(page, "#preview") == 350, "the preview has its points", 60)


def find(page, name: str, i: int):
    """A card of the tray by its file's name."""
    page.locator("#board .bm-search").fill(name)
    card(page, i).wait_for()
    return card(page, i)


def test_two_boxes_are_enough_to_see_it_learn(app, page):
    page.locator("#try").click()
    cards(page).first.wait_for()
    for item in boxes(page):
        assert item == []
    drag(page, find(page, "bird", 0), box(page, 0))
    boxes_are(page, [0], [])
    assert "Drag a picture" in verdict(page)
    page.evaluate(
        """() => {
          window.parts = new Set(); // of the curve that were seen
          const look = () => {
            if (document.querySelector('#curve .chart.partial .scatterlayer .trace')) {
              window.parts.add(document.querySelector('#curve [id$=part-0] rect').getAttribute('width'));
            }
            if (window.parts.size < 21) requestAnimationFrame(look);
          };
          look();
        }"""
    )
    drag(page, find(page, "boat", 25), box(page, 1))
    boxes_are(page, [0], [25])
    guessed(page)
    until(lambda: curve_steps(page) == 21, "the curve has all its steps")
    until(lambda: "Step 20 of 20" in page.locator("#player").inner_text(), "the curve was played to its end")
    assert page.evaluate("window.parts.size") > 0, "the curve drew itself"  # a busy machine draws few parts
    until(
        lambda: "probably between" in verdict(page) and "checked on 48 other pictures" in verdict(page),
        "the verdict has its range",
    )
    assert "Raw pixels only" in verdict(page)


def test_a_reload_finds_everything_again(app, page):
    reload(page)
    step(page, "Teach")
    boxes_are(page, [0], [25])
    until(lambda: curve_steps(page) == 21, "the curve is drawn again", 30)
    assert "probably between" in verdict(page)
    guessed(page)


def test_keys_and_undo(app, page):
    step(page, "Teach")
    find(page, "bird", 3).focus()
    page.keyboard.press("2")
    boxes_are(page, [0], [25, 3])
    page.locator('#board .bm-thumb[data-id="3"]').focus()
    page.keyboard.press("0")
    boxes_are(page, [0], [25])
    page.keyboard.press("ControlOrMeta+z")
    boxes_are(page, [0], [25, 3])
    page.keyboard.press("ControlOrMeta+z")
    boxes_are(page, [0], [25])


# ---- 4: the map


def test_a_selection_on_the_map_goes_into_a_box(app, page):
    step(page, "Map")
    until(lambda: points(page) == 350, "the map has its points", 60)
    stage = page.locator("#map .stage").bounding_box()
    spot = page.evaluate(
        """() => new Promise(done => {
          const canvas = document.querySelector('#map .overlay'), area = canvas.getBoundingClientRect();
          const card = document.querySelector('#map .card');
          let n = 0;
          const look = () => {
            const x = area.left + area.width * (0.2 + 0.6 * ((n * 0.618) % 1));
            const y = area.top + area.height * (0.15 + 0.7 * ((n * 0.414) % 1));
            const where = {clientX: x, clientY: y, pointerType: 'mouse', bubbles: true};
            canvas.dispatchEvent(new PointerEvent('pointermove', where));
            requestAnimationFrame(() => requestAnimationFrame(() => {
              if (!card.hidden) return done([x, y]);
              n++ < 200 ? look() : done(null);
            }));
          };
          look();
        })"""
    )
    assert spot, "no picture lies under the pointer anywhere"
    page.mouse.move(*spot)
    name = page.locator("#map .card .name").text_content()
    about = page.evaluate("() => document.querySelector('#map .groups').textContent")
    assert name.split("/")[0].split("-")[0] in about and name.endswith(".webp")
    x, y, w, h = stage["x"], stage["y"], stage["width"], stage["height"]
    page.keyboard.down("Shift")
    page.mouse.move(x + 0.06 * w, y + 0.08 * h)
    page.mouse.down()
    for at in ((0.8, 0.08), (0.8, 0.95), (0.06, 0.95), (0.06, 0.1)):
        page.mouse.move(x + at[0] * w, y + at[1] * h, steps=6)
    page.mouse.up()
    page.keyboard.up("Shift")
    count = page.locator("#map .bar .count")
    until(lambda: count.is_visible() and "selected" in count.text_content(), "pictures are selected")
    chosen = int(count.text_content().split()[0].replace(",", ""))
    assert chosen > 10
    page.locator("#map .bar .boxes button").last.click()  # a new box
    step(page, "Teach")
    until(lambda: page.locator("#board .bm-box").count() == 3, "the board has a third box")
    until(lambda: page.locator("#board .bm-box-count").nth(2).text_content() == str(chosen), f"it holds the {chosen}")


# ---- 5: own pictures


def test_a_folder_on_this_computer(app, page, tmp_path):
    folder = folder_of(tmp_path / "mine")
    (folder / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    (folder / "notes.txt").write_text("hello")
    for number, name in enumerate(HOSTILE):
        (folder / "red" / name).write_bytes(picture("red", 50 + number))
    open_path(page, folder)
    report_says(page, "28 pictures ready", "could not be read", "blue, red")
    page.locator("#report summary").click()
    report_says(page, "broken.png", "notes.txt")
    assert "mine" in page.locator("#header").inner_text()
    step(page, "Teach")
    boxes_are(page, [], [])
    page.locator("#board .bm-search").fill("onerror")
    until(lambda: cards(page).count() == 1, "the search finds the hostile name")
    assert "<img src=x" in (cards(page).first.get_attribute("aria-label") or "")
    assert page.evaluate("window.hacked") is None
    open_path(page, tmp_path / "nowhere")
    page.locator("#problem p").wait_for()
    assert "nowhere" in page.locator("#problem p").inner_text()
    assert (
        "28 pictures ready" in page.locator("#report").inner_text() and "mine" in page.locator("#header").inner_text()
    )


def test_files_a_zip_and_a_folder_from_the_browser(app, page, tmp_path):
    folder = folder_of(tmp_path / "animals", each=6)
    step(page, "Pictures")
    page.locator("#drop .pick-files").set_input_files([str(file) for file in sorted((folder / "red").iterdir())])
    report_says(page, "6 pictures ready", "none are needed")
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.png"))[:10]:
            file.write(path, path.relative_to(folder))
    page.locator("#drop .pick-files").set_input_files(str(archive))
    report_says(page, "10 pictures ready", "blue, red")
    assert "packed.zip" in page.locator("#header").inner_text()
    (folder / "about.txt").write_text("no picture")
    page.locator("#drop .pick-folder").set_input_files(str(folder))
    report_says(page, "12 pictures ready", "blue, red")
    assert "animals" in page.locator("#header").inner_text()
    assert "1 other files were left out" in page.locator("#drop .note").inner_text()


def test_pictures_dropped_on_the_page(app, page):
    """Drops with the browser's own event, as from a file manager: on the page, and on a box."""
    files = [[f"{kind}-{n}.png", list(picture(kind, n))] for kind in ("red", "blue") for n in range(4)]
    transfer = page.evaluate_handle(
        TRANSFER,
        files,
    )
    step(page, "Pictures")
    page.dispatch_event("#drop .bm-in", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("#drop .bm-in", "drop", {"dataTransfer": transfer})
    report_says(page, "8 pictures ready")
    step(page, "Teach")
    until(lambda: cards(page).count() == 8, "the tray holds them")
    one = page.evaluate_handle(
        TRANSFER,
        [["new.png", list(picture("red", 77))]],
    )
    for kind in ("dragenter", "dragover", "drop"):
        box(page, 1).dispatch_event(kind, {"dataTransfer": one})
    boxes_are(page, [], [8])
    drag(page, find(page, "red-0", 4), box(page, 0))
    boxes_are(page, [4], [8])
    page.locator("#board .bm-search").fill("")
    guessed(page)
    reload(page)
    step(page, "Teach")
    boxes_are(page, [4], [8])


def test_the_digits(app, page):
    step(page, "Pictures")
    page.locator("#sample-digits").click()
    report_says(page, "1,797 pictures ready")
    assert "Handwritten digits" in page.locator("#header").inner_text()


# ---- 6: studying


def settings(page, **values) -> None:
    for label, value in values.items():
        field = page.locator("#more").get_by_label(label.replace("_", " "), exact=True).first
        field.click()
        if isinstance(value, str):
            page.get_by_role("option", name=value, exact=True).click()
            until(lambda field=field, value=value: field.input_value() == value, f"{label} is {value}")
        else:
            field.fill(str(value))
            field.press("Tab")


def run_of(app):
    folders = sorted((app.home / "runs").glob("*/"), key=lambda folder: folder.stat().st_mtime)
    return folders[-1]


def status_of(app) -> dict:
    return json.loads((run_of(app) / "status.json").read_text())


def state_says(page, text: str, seconds: float = 60) -> None:
    state = page.locator("#progress .state")
    until(lambda: state.count() and text in state.inner_text(), f"the progress line says '{text}'", seconds)


def test_studying_pause_reload_kill_go_on(app, page, tmp_path):
    open_path(page, folder_of(tmp_path / "study", each=40))
    report_says(page, "80 pictures ready")
    step(page, "Learn")
    page.locator("#views img").first.wait_for()
    page.get_by_label("nothing (from scratch)").check()
    page.locator("#more button").first.click()
    settings(page, encoder="conv4", image_size=32, epochs=150, batch_size=32, checkpoint_seconds=1)
    page.locator("#study").click()
    state_says(page, "Studying")
    assert page.locator("#study").is_disabled()
    assert page.locator("#pause").is_visible() and not page.locator("#resume").is_visible()
    config = json.loads((run_of(app) / "config.json").read_text())
    assert (config["encoder"], config["image_size"], config["epochs"]) == ("conv4", 32, 150)
    page.locator("#quality .js-plotly-plot").wait_for()
    page.locator("#alike .tile").first.wait_for()
    until(
        lambda: points(page, "#moving") == 80 and "study" in page.locator("#moving .badge").inner_text(),
        "the map moves",
        60,
    )
    page.locator("#pause").click()
    state_says(page, "Paused")
    reload(page)
    step(page, "Learn")
    state_says(page, "Paused")
    page.locator("#resume").click()
    state_says(page, "Studying")
    before = until(lambda: (run_of(app) / "resume.pt").exists() and status_of(app), "a checkpoint")
    os.kill(before["pid"], signal.SIGKILL)
    state_says(page, "stopped unexpectedly", 15)
    page.locator("#resume").click()
    state_says(page, "Studying")
    assert status_of(app)["step"] >= 1 and status_of(app)["pid"] != before["pid"]
    page.locator("#stop").click()
    state_says(page, "Stopped", 30)
    page.locator("#progress .verdict").wait_for()
    until(lambda: page.locator("#study").is_enabled(), "another study can begin")
    if "now looks with it" in page.locator("#progress .verdict").inner_text():
        until(lambda: run_of(app).name in page.locator("#encoder input").input_value(), "the page looks with the run")
    page.locator("#encoder input").click()
    page.get_by_role("option", name=run_of(app).name).wait_for()
    page.keyboard.press("Escape")
    assert app.process.poll() is None


# ---- 7: practice


def test_practice_draws_both_its_charts_and_says_what_it_brought(app, page):
    step(page, "Pictures")
    page.locator("#sample-creatures").click()
    report_says(page, "350 pictures ready")
    step(page, "Learn")
    page.locator("#puzzle .box.asked").wait_for()
    until(lambda: page.locator("#practise").is_enabled(), "practice can begin")
    page.locator("#practise").click()
    page.locator("#practice-progress .state").wait_for()
    until(lambda: page.locator("#study").is_disabled(), "no study can begin beside it")
    page.locator("#inner .js-plotly-plot").wait_for(timeout=60_000)
    page.locator("#outer .js-plotly-plot").wait_for()
    until(lambda: "by guessing" in page.locator("#inner-line").inner_text(), "the sentence says what the lines show")
    if page.locator("#practice-stop").is_visible():
        page.locator("#practice-stop").click()
    outcome = page.locator("#practice-progress .verdict")
    outcome.wait_for(timeout=60_000)
    until(lambda: page.locator("#study").is_enabled(), "a study can begin")
    if "Practice helped" in outcome.inner_text():
        until(lambda: "practised" in page.locator("#encoder input").input_value(), "the page looks with it")
    reload(page)
    step(page, "Learn")
    page.locator("#inner .js-plotly-plot").wait_for()
    outcome.wait_for()


# ---- 8: a phone


def test_a_phone(app, browser):
    page = open_page(browser, app.address, viewport=PHONE, has_touch=True, is_mobile=True)
    page.wait_for_selector("#report .tile")
    page.locator("#sample-creatures").tap()
    report_says(page, "350 pictures ready")
    for name in ("Learn", "Map", "Teach", "Pictures"):
        step(page, name)
        page.wait_for_timeout(300)
        assert overflow(page) <= 0, f"{name} is too wide"
    step(page, "Teach")
    first = int(cards(page).first.get_attribute("data-id"))
    cards(page).first.tap()
    box(page, 0).tap()
    until(lambda: first in boxes(page)[0], f"picture {first} is in the first box")  # with those of earlier visits
    page.context.close()
    assert page.problems == []


# ---- 9: safety


def test_strangers_are_refused(app, page, tmp_path):
    assert app.status("/", Host="evil.example") == 400
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    for path in (
        secret,
        app.home / "projects" / "local.json",
        "/etc/passwd",
        app.home / "thumbs" / ".." / "projects" / "local.json",
    ):
        assert app.status(f"/gradio_api/file={path}") in (403, 404), path


def test_a_space_can_be_copied(monkeypatch):
    from byolmeta.ui import _headline

    monkeypatch.delenv("SPACE_ID", raising=False)
    words = {"line_public": "shared", "line_local": "own", "title": "title", "copy_space": "copy"}
    assert "href" not in _headline(words, True)
    monkeypatch.setenv("SPACE_ID", 'me/"><b>')
    assert 'href="https://huggingface.co/spaces/me/%22%3E%3Cb%3E?duplicate=true"' in _headline(words, True)
