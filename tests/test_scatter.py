"""The map and the chart in a real browser: what one points at, selects and puts away is what Python hears."""

import base64
import json
import os
import shutil
import statistics
import time

import numpy as np
import pytest
from PIL import Image

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
gr = pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
browser_test = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync",
         "--disable-component-update", "--enable-unsafe-swiftshader", "--enable-precise-memory-info"]  # fmt: skip
N, ACROSS, TILE, MANY = 24, 6, 32, 25_000
CLASSES = ["birds", "<b>boats</b>", "${1+1}"]
NAMES = [f"picture-{i}.png" for i in range(N)]
NAMES[2:5] = ["<img src=x onerror='window.hurt=1'>", "${window.hurt=2}", "{{x}}"]
COLOURS = [(40 + 9 * i, 250 - 9 * i, (70 * i) % 256) for i in range(N)]


def url(file) -> str:
    return f"/gradio_api/file={file}"


def draw_pictures(folder) -> dict:
    """24 plain pictures in two sheets of 16 and 8."""
    sheets = []
    for first in range(0, N, 16):
        sheet = Image.new("RGB", (4 * TILE, 4 * TILE))
        for i in range(first, min(N, first + 16)):
            sheet.paste(Image.new("RGB", (TILE, TILE), COLOURS[i]), (i % 4 * TILE, (i - first) // 4 * TILE))
        sheet.save(folder / f"sheet{first}.webp", lossless=True)
        sheets.append(url(folder / f"sheet{first}.webp"))
    about = {"names": NAMES, "labels": [i % 3 for i in range(N)], "class_names": CLASSES}
    (folder / "about.json").write_text(json.dumps(about))
    pictures = {"key": "a", "n": N, "tile": TILE, "columns": 4, "per_sheet": 16, "sheets": sheets}
    return pictures | {"about": url(folder / "about.json")}


def write_points(folder, seq: int, places: np.ndarray, stage: str, **more) -> dict:
    places.astype("<f4").tofile(folder / f"{seq}.f32")
    return {
        "url": url(folder / f"{seq}.f32"),
        "seq": seq,
        "n": len(places),
        "key": "a",
        "stage": stage,
        **more,
    }


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    from byolmeta.ui.chart import Chart, chart_paths
    from byolmeta.ui.scatter import Scatter

    folder = tmp_path_factory.mktemp("served")
    pictures = draw_pictures(folder)
    grid = np.stack([np.arange(N) % ACROSS, -(np.arange(N) // ACROSS)], 1)  # picture 0 at the top left
    near = np.stack([(np.arange(N) + step) % N for step in (1, 2, 3)], 1)
    near.astype("<u4").tofile(folder / "near.u32")
    first = write_points(folder, 1, grid, "pca", neighbours=url(folder / "near.u32"), k=3)
    turned = write_points(folder, 2, -grid, "umap")
    rng = np.random.default_rng(0)
    many = write_points(folder, 3, rng.normal(size=(MANY, 2)), "umap") | {"key": "many"}
    np.array([9, 4, 20], "<u4").tofile(folder / "ids.u32")
    some = write_points(folder, 4, np.array([[0, 0], [2, 1], [4, 0]]), "learning", ids=url(folder / "ids.u32"))
    codes = base64.b64encode(bytes(255 if i < 4 else i % 2 for i in range(N))).decode()
    certainty = {"seq": 1, "codes": codes, "names": ["sure", "unsure"], "colours": ["#0072b2", "#e69f00"]}
    boxes = [{"id": "box-1", "name": "<i>one</i>", "colour": "#0072b2"}]

    def figure(seed):
        x = list(range(60))
        lines = [{"x": x, "y": [i * seed % 7 + j for j in x], "name": f"<b>{i}"} for i in range(6)]
        return {"data": lines, "layout": {"yaxis": {"title": "loss"}}}

    def stream():
        for seed in range(100):
            yield gr.update(figure=figure(seed))
            time.sleep(0.005)

    def rush():
        for points in (some, turned | {"seq": 5}, first | {"seq": 6}):
            yield gr.update(points=points)

    def heard(event: gr.EventData):
        sent = event._data["indices"]
        return json.dumps(event._data | {"indices": sent[:100], "sent": len(sent)})

    with gr.Blocks(analytics_enabled=False) as demo:
        with gr.Tabs():
            with gr.Tab("Map"):
                with gr.Column() as column:
                    scatter = Scatter(pictures, first, boxes=boxes, elem_id="map")
                selected = gr.Textbox(elem_id="selected", lines=1, max_lines=1)
                assigned = gr.Textbox(elem_id="assigned", lines=1, max_lines=1)

                def button(name, act, output):
                    gr.Button(name, elem_id=name).click(act, None, output, show_progress="hidden", queue=False)

                button("turn", lambda: gr.update(points=turned), scatter)
                gr.Button("rush", elem_id="rush").click(rush, None, scatter, show_progress="hidden")
                button("some", lambda: gr.update(points=some), scatter)
                button("many", lambda: gr.update(pictures={}, points=many), scatter)
                button("none", lambda: gr.update(points={}), scatter)
                button("certain", lambda: gr.update(colours=certainty), scatter)
                button("hide", lambda: gr.update(visible=False), column)
                button("show", lambda: gr.update(visible=True), column)
            with gr.Tab("Later"):
                Scatter(pictures, first, compact=True, elem_id="preview")
                chart = Chart(label="Loss", empty="Nothing <b>yet</b>.", elem_id="chart")
                button("draw", lambda: gr.update(figure=figure(1)), chart)
                gr.Button("stream", elem_id="stream").click(stream, None, chart, show_progress="hidden")
        scatter.select(heard, None, selected, show_progress="hidden", queue=False)
        scatter.assign(heard, None, assigned, show_progress="hidden", queue=False)
    gr.set_static_paths(chart_paths())
    demo.launch(prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, allowed_paths=[str(folder)])
    yield demo.local_url
    demo.close()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Map:
    """The map on a page, as a visitor has it."""

    def __init__(self, page, elem_id="map"):
        self.page = page
        self.at = f"document.querySelector('#{elem_id} .scatter')"
        page.wait_for_function(f"{self.at}?.__scatter?.n() > 0")
        self.rest()

    def ask(self, call: str):
        return self.page.evaluate(f"{self.at}.__scatter.{call}")

    def rest(self):
        self.page.wait_for_function(f"!{self.at}.__scatter.moving()")

    def spot(self, picture: int) -> tuple[float, float]:
        place = self.ask(f"project({picture})")
        return place["x"], place["y"]

    def hover(self, picture: int):
        self.page.mouse.move(*self.spot(picture))
        return self.ask("hovered()")

    def drag(self, corners, *keys):
        for key in keys:
            self.page.keyboard.down(key)
        self.page.mouse.move(*corners[0])
        self.page.mouse.down()
        for corner in corners[1:]:
            self.page.mouse.move(*corner, steps=3)
        self.page.mouse.up()
        for key in keys:
            self.page.keyboard.up(key)

    def press(self, name: str):
        """Presses a button of the test's page without scrolling to it."""
        self.page.evaluate(f"document.querySelector('#{name}').click()")

    def around(self, low: int, high: int) -> list:
        """Corners of a rectangle around two pictures."""
        (left, top), (right, bottom) = self.spot(low), self.spot(high)
        left, top, right, bottom = left - 30, top - 30, right + 30, bottom + 30
        return [(left, top), (right, top), (right, bottom), (left, bottom)]

    def card_colour(self) -> tuple:
        """The pixel in the middle of the picture on the card."""
        shot = self.page.locator("#map .card .picture").screenshot()
        folder = os.path.join(self.page.shots, "card.png")
        with open(folder, "wb") as file:
            file.write(shot)
        image = Image.open(folder).convert("RGB")
        return image.getpixel((image.width // 2, image.height // 2))

    def heard(self, name: str, **wanted) -> dict:
        """What Python heard last of an event, as soon as it has these values."""
        for _ in range(100):
            text = self.page.locator(f"#{name} :is(input, textarea)").input_value()
            found = json.loads(text or "{}")
            if found and all(found.get(key) == value for key, value in wanted.items()):
                return found
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{name}: {wanted} not heard, only {text}")


@pytest.fixture
def visit(app, browser, tmp_path):
    """visit(query, **context): a page that is checked for errors and foreign requests at the end."""
    contexts, wrong = [], []

    def open_page(query="", **options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options)
        contexts.append(context)
        page = context.new_page()
        page.shots = str(tmp_path)
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.on("request", lambda asked: wrong.append(asked.url) if foreign(asked.url) else None)
        page.goto(app + query)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def foreign(address: str) -> bool:
    return not address.startswith(("http://127.0.0.1:", "data:", "blob:"))


def test_props_are_no_events():
    from byolmeta.ui.chart import Chart
    from byolmeta.ui.scatter import Scatter

    for part in (Scatter(boxes=[{"id": "1", "name": "points", "colour": "#000000"}]), Chart(label="figure")):
        json.dumps(part.get_config())
        assert "{{" not in part.css_template + part.html_template and "${" not in part.html_template


@browser_test
@pytest.mark.parametrize("query", ["?gl", "?nogl"])
def test_the_card_shows_the_picture_under_the_pointer(visit, query):
    map = Map(visit(query))
    assert map.page.evaluate(f"{map.at}.dataset.painter") == ("webgl2" if query == "?gl" else "canvas")
    map.page.wait_for_function(f"{map.at}.__scatter.shown().length == {N}")

    def identity(picture):
        assert map.hover(picture) == picture
        assert map.page.locator("#map .card .name").inner_text() == NAMES[picture]
        assert np.abs(np.subtract(map.card_colour(), COLOURS[picture])).max() < 8

    identity(17)
    near = map.page.locator("#map .card .row button").evaluate_all("all => all.map(one => +one.dataset.id)")
    assert near == [18, 19, 20]
    x, y = map.spot(8)
    map.drag([(x + 40, y + 50), (x - 60, y + 10)])
    assert map.spot(8) == pytest.approx((x - 100, y - 40), abs=2)
    identity(9)
    map.page.mouse.move(*map.spot(8))
    x, y = map.spot(8)
    map.page.mouse.wheel(0, -400)
    map.page.wait_for_function(f"{map.at}.__scatter.moving()")
    map.rest()
    assert map.spot(8) == pytest.approx((x, y), abs=2)  # the zoom holds what is under the pointer
    identity(8)
    map.page.mouse.dblclick(x + 50, y + 45)
    map.page.locator("#map .groups button").nth(2).click()
    map.rest()
    identity(8)
    assert map.hover(9) is None  # of another class


@browser_test
def test_lasso_selects_exactly_what_is_inside_and_a_box_takes_it(visit):
    map = Map(visit())
    map.page.click("#map [data-tool=lasso]")
    (x0, y0), (x1, y1), y2 = map.spot(0), map.spot(3), map.spot(18)[1]
    corner = [(x1 + 5, y1 + 30), (x0 + 30, y0 + 30), (x0 + 30, y2 + 30)]  # the inner side of an L
    map.drag([(x0 - 30, y0 - 30), (x1 + 5, y1 - 30), *corner, (x0 - 30, y2 + 30)])
    wanted = [0, 1, 2, 3, 6, 12, 18]
    assert map.ask("selected()") == wanted
    assert map.heard("selected", count=len(wanted))["indices"] == wanted
    map.page.click("#map [data-tool=pan]")
    map.page.keyboard.down("Shift")
    map.page.mouse.click(*map.spot(23))
    map.page.keyboard.up("Shift")
    assert map.ask("selected()") == [*wanted, 23]
    map.drag(map.around(0, 7), "Alt")
    assert map.ask("selected()") == [2, 3, 12, 18, 23]
    chip = map.page.locator("#map .bar .boxes button").first
    assert chip.inner_text() == "<i>one</i>"
    chip.click()
    told = map.heard("assigned", box="box-1")
    assert (told["indices"], told["count"], told["key"]) == ([2, 3, 12, 18, 23], 5, "a")
    assert map.ask("selected()") == [] and map.page.locator("#map .bar").is_hidden()
    map.page.click("#map [data-tool=box]")
    map.drag([map.around(10, 23)[0], map.around(10, 23)[2]])
    map.page.click("#map .bar .new")
    assert map.heard("assigned", box=None, count=6)["indices"] == [10, 11, 16, 17, 22, 23]


@browser_test
@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_new_positions_are_moved_to(visit, motion):
    map = Map(visit(reduced_motion=motion))
    start, end = map.spot(0), map.spot(N - 1)
    map.page.mouse.click(*map.spot(7))
    watch = f"""() => new Promise((done) => {{
      const seen = [];
      const look = () => {{
        const at = {map.at}.__scatter;
        seen.push(at.project(0).x);
        if (at.stage() === "umap" && !at.moving() && seen.length > 5) done(seen);
        else requestAnimationFrame(look);
      }};
      document.querySelector("#turn").click();
      look();
    }})"""
    seen = map.page.evaluate(watch)
    between = [x for x in seen if start[0] + 5 < x < end[0] - 5]
    assert (len(between) > 3) == (motion == "no-preference")
    assert seen == sorted(seen)
    assert map.spot(0) == pytest.approx(end, abs=2)
    assert map.ask("selected()") == [7]  # it stays selected, wherever it is
    assert map.hover(5) == 5
    assert "map ready" in map.page.locator("#map .badge").inner_text()
    map.press("rush")  # three layouts at once: the newest wins
    map.page.wait_for_function(f"{map.at}.__scatter.stage() == 'pca' && !{map.at}.__scatter.moving()")
    assert map.spot(0) == pytest.approx(start, abs=2)


@browser_test
def test_a_part_of_the_pictures_and_other_colours(visit):
    map = Map(visit())
    map.press("certain")
    map.page.wait_for_function("document.querySelector('#map .groups').innerText.includes('unsure')")
    rows = map.page.locator("#map .groups button").all_inner_texts()
    assert [row.split("\n") for row in rows] == [["sure", "10"], ["unsure", "10"], ["no class", "4"]]
    map.press("some")
    map.page.wait_for_function(f"{map.at}.__scatter.n() == 3 && !{map.at}.__scatter.moving()")
    assert map.hover(4) == 4 and map.ask("project(5)") is None
    map.page.mouse.click(*map.spot(20))
    assert map.heard("selected", count=1)["indices"] == [20]


@browser_test
def test_names_are_text(visit):
    map = Map(visit())
    for picture in (2, 3, 4):
        assert map.hover(picture) == picture
        assert map.page.locator("#map .card .name").inner_text() == NAMES[picture]
    assert map.page.locator("#map .groups button").nth(1).inner_text().startswith("<b>boats</b>")
    assert map.page.evaluate("window.hurt === undefined")


@browser_test
def test_keyboard(visit):
    map = Map(visit())
    map.page.locator("#map .overlay").focus()
    gap = map.spot(1)[0] - map.spot(0)[0]
    map.page.keyboard.press("+")
    map.page.wait_for_timeout(50)
    map.rest()
    assert map.spot(1)[0] - map.spot(0)[0] == pytest.approx(1.5 * gap, rel=0.02)
    map.page.keyboard.press("0")
    map.page.wait_for_timeout(50)
    map.rest()
    map.page.keyboard.press("Enter")
    start = map.ask("hovered()")
    map.page.keyboard.press("ArrowRight")
    assert map.ask("hovered()") == start + 1
    map.page.keyboard.press("ArrowUp")
    assert map.ask("hovered()") == start + 1 - ACROSS
    map.page.keyboard.press("Space")
    assert map.heard("selected", count=1)["indices"] == [start + 1 - ACROSS]
    map.page.keyboard.press("Escape")
    assert map.ask("hovered()") is None
    map.page.keyboard.press("Escape")
    assert map.ask("selected()") == []


@browser_test
def test_touch_on_a_phone(visit):
    page = visit(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True, device_scale_factor=2)
    map = Map(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    hand = page.context.new_cdp_session(page)

    def touch(kind, *fingers):
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(fingers)]
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    page.touchscreen.tap(*map.spot(14))
    assert map.ask("hovered()") == 14 and page.locator("#map .card").is_visible()
    page.locator("#map .bar .clear").tap()
    gap = map.spot(9)[0] - map.spot(8)[0]
    x, y = np.add(map.spot(8), map.spot(9)) / 2
    touch("touchStart", (x - 20, y), (x + 20, y))
    for step in range(1, 6):
        touch("touchMove", (x - 20 - 8 * step, y), (x + 20 + 8 * step, y))
    touch("touchEnd")
    map.rest()
    assert map.spot(9)[0] - map.spot(8)[0] == pytest.approx(3 * gap, rel=0.1)
    page.locator("#map [data-zoom=reset]").tap()
    page.wait_for_timeout(50)
    map.rest()
    corners = map.around(8, 15)
    touch("touchStart", corners[0])
    page.wait_for_timeout(600)  # a long press begins a lasso
    for corner in corners[1:]:
        touch("touchMove", corner)
    touch("touchEnd")
    assert map.ask("selected()") == [8, 9, 14, 15]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@browser_test
def test_a_lost_graphics_card_comes_back(visit):
    map = Map(visit("?gl"))
    map.page.wait_for_function(f"{map.at}.__scatter.shown().length == {N}")
    map.rest()
    pixels = """() => new Promise((done) => requestAnimationFrame(() => {
      const from = document.querySelector("#map .ground"), to = document.createElement("canvas");
      document.querySelector("#map .scatter").__scatter.draw();
      [to.width, to.height] = [from.width, from.height];
      const pen = to.getContext("2d");
      pen.drawImage(from, 0, 0);
      done(pen.getImageData(0, 0, to.width, to.height).data.reduce((sum, byte) => sum + byte, 0));
    }))"""
    before = map.page.evaluate(pixels)
    assert before > 0
    map.page.evaluate(f"window.lost = {map.at}.__scatter.lose(); window.lost.loseContext()")
    map.page.wait_for_function(f"{map.at}.dataset.painter == 'lost'")
    map.page.evaluate("window.lost.restoreContext()")
    map.page.wait_for_function(f"{map.at}.dataset.painter == 'webgl2'")
    map.rest()
    assert map.page.evaluate(pixels) == pytest.approx(before, rel=0.02)
    map.page.evaluate("window.lost.loseContext()")  # and when it stays away, the other painter takes over
    map.page.wait_for_function(f"{map.at}.dataset.painter == 'canvas'")
    map.rest()
    assert map.page.evaluate(pixels) > 0 and map.hover(9) == 9


@browser_test
def test_hidden_parts_and_remounts(visit):
    page = visit()
    map = Map(page)
    page.get_by_role("tab", name="Later").click()
    later = Map(page, "preview")
    page.wait_for_function(f"{later.at}.__scatter.shown().length == {N}")
    assert page.locator("#preview .tools").is_hidden()
    page.get_by_role("tab", name="Map").click()
    page.evaluate("document.querySelector('#map .scatter').first = true")
    page.click("#hide")
    page.wait_for_selector("#map .scatter", state="detached")
    page.click("#show")
    map = Map(page)
    assert page.evaluate(f"{map.at}.first === undefined")  # really a new one
    page.wait_for_function(f"{map.at}.__scatter.shown().length == {N}")
    assert map.hover(9) == 9
    map.press("none")
    page.wait_for_function(f"{map.at}.__scatter.n() == 0")
    assert page.locator("#map .empty p").inner_text() == "The map appears here in a moment."


@browser_test
def test_many_points_stay_quick(visit):
    map = Map(visit())
    map.press("many")
    map.page.wait_for_function(f"{map.at}.__scatter.n() == {MANY} && !{map.at}.__scatter.moving()")
    draws = map.page.evaluate(f"Array.from({{ length: 15 }}, () => {map.at}.__scatter.draw())")
    assert statistics.median(draws) < 100  # ms; 10 to 20 when nothing else runs
    picks = map.page.evaluate(f"Array.from({{ length: 99 }}, (_, i) => {map.at}.__scatter.pick(8 * i, 5 * i))")
    assert statistics.median(picks) < 5
    map.page.click("#map [data-tool=box]")
    box = map.page.locator("#map .overlay").bounding_box()
    left, top = box["x"] + 12, box["y"] + 12
    map.drag([(left, top), (left + box["width"] - 24, top + box["height"] - 24)])
    told = map.heard("selected", count=MANY)
    assert (told["sent"], told["truncated"]) == (20_000, True)


@browser_test
def test_the_chart_grows_in_place(visit):
    page = visit()
    Map(page)
    page.get_by_role("tab", name="Later").click()
    page.wait_for_selector("#chart .sentence")
    assert page.locator("#chart .sentence").inner_text() == "Nothing <b>yet</b>."
    page.click("#draw")
    page.wait_for_selector("#chart .scatterlayer .trace")
    assert page.locator("#chart .legendtext").first.text_content() == "<b>0"
    assert page.locator("#chart .ytitle").text_content() == "loss"
    page.evaluate("document.querySelector('#chart .plot').first = true")
    memory = page.context.new_cdp_session(page)

    def used():
        memory.send("HeapProfiler.collectGarbage")
        return memory.send("Runtime.getHeapUsage")["usedSize"] / 1e6

    chart, updates = "document.querySelector('#chart .chart').__chart", []
    for turn in range(5):
        before = page.evaluate(f"{chart}.updates")
        page.click("#stream")
        page.wait_for_function(f"{chart}.plot.data[5].y[1] == {5 * 99 % 7 + 1} && {chart}.updates > {before + 5}")
        page.wait_for_timeout(200)
        updates.append(used())
    growth = [later - earlier for earlier, later in zip(updates, updates[1:], strict=False)]
    assert min(growth) < 1, growth  # MB, over 100 figures: what leaks grows in every turn, what warms up does not
    assert page.evaluate(f"{chart}.plot.first && {chart}.plot.querySelectorAll('.trace').length") == 6
    assert page.evaluate(f"{chart}.ms") < 200
