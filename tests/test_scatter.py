"""The map and the chart in a real browser: what one points at, selects and puts away is what Python hears."""

import base64
import itertools
import json
import os
import shutil
import time
from typing import NamedTuple

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
NAMES[2:6] = ["<img src=x onerror='window.hurt=1'>", "${window.hurt=2}", "{{x}}", "Ångström É.png"]
FILMED = [0, 2, 3, 5, 8, 9, 14, 17, 20, 23]
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


class Served(NamedTuple):
    address: str
    served: str  # the folder of its files


def write_scenes(folder, grid: np.ndarray) -> dict[str, dict]:
    """A film of ten pictures in three frames, and a second layout with other neighbours: the pictures in reverse."""
    rng = np.random.default_rng(1)
    frames = np.stack([rng.permutation(grid)[: len(FILMED)] for _ in range(3)])
    frames = frames + rng.normal(0, 0.2, frames.shape)  # so that no two pictures meet on their way
    frames.astype("<f4").tofile(folder / "film.f32")
    np.array(FILMED, "<u4").tofile(folder / "filmed.u32")
    grid[::-1].astype("<f4").tofile(folder / "second.f32")
    near = np.stack([(np.arange(N) + step) % N for step in (7, 11, 13)], 1)
    near.astype("<u4").tofile(folder / "second.u32")
    labels = ["step 0", "<i>step 10</i>", "step 20"]
    film = {"url": url(folder / "film.f32"), "ids": url(folder / "filmed.u32"), "frames": 3, "n": len(FILMED)}
    compare = {"url": url(folder / "second.f32"), "neighbours": url(folder / "second.u32"), "k": 3}
    texts = {"names": ["starter", "<b>yours</b>"], "facts": ["k-NN 61 %", "k-NN 74 %"], "middle": "31 % alike"}
    return {
        "film": film | {"labels": labels, "key": "a", "seq": 1},
        "compare": compare | texts | {"key": "a", "seq": 1},
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
    layouts = [write_points(folder, 5 + i, rng.normal(size=(10_000, 2)), "umap") | {"key": "many"} for i in (0, 1)]
    np.array([9, 4, 20], "<u4").tofile(folder / "ids.u32")
    some = write_points(folder, 4, np.array([[0, 0], [2, 1], [4, 0]]), "learning", ids=url(folder / "ids.u32"))
    clumps = rng.normal(size=(3, 2))[np.arange(N) // 8] + rng.normal(0, 0.01, size=(N, 2))
    Image.new("RGB", (300, 150), (200, 30, 30)).save(folder / "large.webp")
    codes = base64.b64encode(bytes(255 if i < 4 else i % 2 for i in range(N))).decode()
    certainty = {"seq": 1, "codes": codes, "names": ["sure", "unsure"], "colours": ["#0072b2", "#e69f00"], "boxes": []}
    boxes = [{"id": "box-1", "name": "<i>one</i>", "colour": "#0072b2"}]
    tools = ["similar", "export", "aside"]
    fresh = {"url": pictures["sheets"][0], "x": 2.5, "y": -1.5, "near": [8, 9, 14], "name": "<b>new</b>.jpg"}
    asked = write_scenes(folder, grid) | {
        "lit": {"ids": [1, 4, 9], "name": "<i>odd</i> ones", "seq": 1},
        "landed": [fresh],
        "colours-none": {"none": True},
        "colours-many": certainty
        | {"codes": base64.b64encode(bytes(i % 20 for i in range(N))).decode()}
        | {"names": [f"{i} is a class with a rather long name" for i in range(20)], "colours": ["#101010"] * 20},
        "points-clumps": write_points(folder, 9, clumps, "umap", neighbours=url(folder / "near.u32"), k=3),
        "landed-more": [fresh, fresh | {"name": "other.jpg"}],
        "selection": {"ids": [3, 8], "seq": 1},
        "colours-task": certainty | {"names": ["cats", "dogs"], "boxes": ["b1", "b2"]},
    }

    def figure(seed):
        x = list(range(60))
        lines = [{"x": x, "y": [i * seed % 7 + j for j in x], "name": f"<b>{i}"} for i in range(6)]
        return {"data": lines, "layout": {"yaxis": {"title": "loss"}}}

    def growing():
        """A band, a line with markers and a level line, of which the first two grow."""
        band = {"x": [0, 4, 4, 0], "y": [2, 2, 0, 0], "fill": "toself", "fillcolor": "#ffff00", "mode": "lines"}
        line = {"x": [0, 2, 4], "y": [1, 1, 1], "mode": "lines+markers", "line": {"color": "#ff0000", "width": 8}}
        level = {"x": [0, 4], "y": [3, 3], "mode": "lines", "line": {"color": "#00ff00", "width": 8}}
        data = [band | {"line": {"width": 0}, "meta": {"grows": True}}, line | {"meta": {"grows": True}}, level]
        return {"data": data, "layout": {"xaxis": {"range": [-1, 5]}, "yaxis": {"range": [-1, 4]}}}

    def stream():
        for seed in range(100):
            yield gr.update(figure=figure(seed))
            time.sleep(0.005)

    def rush():
        for points in (some, turned | {"seq": 5}, first | {"seq": 6}):
            yield gr.update(points=points)

    thousands = itertools.count(1000, 1000)

    def updates():
        start = next(thousands)
        for seq in range(start, start + 50):
            yield gr.update(points=layouts[seq % 2] | {"seq": seq})
            time.sleep(0.05)

    def heard(event: gr.EventData):
        sent = event._data["indices"]
        return json.dumps(event._data | {"indices": sent[:100], "sent": len(sent)})

    def large(event: gr.EventData):
        facts = ["<b>in</b> a folder", "300 × 150"] if event.id != 7 else []
        shown = {"id": event.id, "url": url(folder / "large.webp"), "name": f"whole <i>{event.id}", "facts": facts}
        return gr.update(large=shown | {"seq": next(thousands)})

    def left(event: gr.EventData):
        return json.dumps(event._data)

    with gr.Blocks(analytics_enabled=False) as demo:
        with gr.Tabs():
            with gr.Tab("Map"):
                with gr.Column() as column:
                    scatter = Scatter(pictures, first, boxes=boxes, tools=tools, elem_id="map")
                selected = gr.Textbox(elem_id="selected", lines=1, max_lines=1)
                assigned = gr.Textbox(elem_id="assigned", lines=1, max_lines=1)
                gone = gr.Textbox(elem_id="gone", lines=1, max_lines=1)
                wished = gr.Textbox(elem_id="wished", lines=1, max_lines=1)

                def button(name, act, output):
                    gr.Button(name, elem_id=name).click(act, None, output, show_progress="hidden", queue=False)

                button("turn", lambda: gr.update(points=turned), scatter)
                gr.Button("rush", elem_id="rush").click(rush, None, scatter, show_progress="hidden")
                button("some", lambda: gr.update(points=some), scatter)
                button("many", lambda: gr.update(pictures={}, points=many), scatter)
                button("none", lambda: gr.update(points={}), scatter)
                button("certain", lambda: gr.update(colours=certainty), scatter)
                for name, value in asked.items():
                    button(
                        f"ask-{name}", lambda name=name, value=value: gr.update(**{name.split("-")[0]: value}), scatter
                    )
                    button(f"end-{name}", lambda name=name: gr.update(**{name.split("-")[0]: {}}), scatter)
                gr.Button("updates", elem_id="updates").click(updates, None, scatter, show_progress="hidden")
                button("hide", lambda: gr.update(visible=False), column)
                button("show", lambda: gr.update(visible=True), column)
            with gr.Tab("Later"):
                Scatter(pictures, first, compact=True, elem_id="preview")
                chart = Chart(label="Loss", empty="Nothing <b>yet</b>.", elem_id="chart")
                button("draw", lambda: gr.update(figure=figure(1)), chart)
                button("grow", lambda: gr.update(figure=growing()), chart)
                gr.Button("stream", elem_id="stream").click(stream, None, chart, show_progress="hidden")
        scatter.select(heard, None, selected, show_progress="hidden", queue=False)
        scatter.assign(heard, None, assigned, show_progress="hidden", queue=False)
        scatter.left(left, None, gone, show_progress="hidden", queue=False)
        scatter.enlarge(large, None, scatter, show_progress="hidden", queue=False)
        for event in (scatter.similar, scatter.export, scatter.aside, scatter.undone):
            event(heard, None, wished, show_progress="hidden", queue=False)
    gr.set_static_paths(chart_paths())
    demo.launch(prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, allowed_paths=[str(folder)])
    yield Served(demo.local_url, str(folder))
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

    def when(self, condition: str):
        """Waits until something holds of the map (m), and it is at rest."""
        self.page.wait_for_function(f"(m => ({condition}) && !m.moving())({self.at}.__scatter)")

    def slide(self, part: str, value: float):
        """Moves a slider by hand."""
        move = "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }"
        self.page.locator(f"#map {part} input").evaluate(move, value)
        self.rest()

    def line_is_drawn(self, start, end, part: float) -> bool:
        """Whether something is drawn over the map at a part of the way between two spots."""
        x, y = np.add(start, np.multiply(np.subtract(end, start), part))
        return self.page.evaluate(
            """([x, y]) => {
              const canvas = document.querySelector("#map .overlay"), area = canvas.getBoundingClientRect();
              return canvas.getContext("2d").getImageData(x - area.left, y - area.top, 1, 1).data[3] > 100;
            }""",
            [float(x), float(y)],
        )

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
        page.served = app.served
        page.set_default_timeout(40_000)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.on("request", lambda asked: wrong.append(asked.url) if foreign(asked.url) else None)
        page.goto(app.address + query)
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


TOLD = """([map, labels, flipped]) => {
  const detail = labels && {step: 2, of: 9, rev: 1, labels: new Int8Array(labels), box_ids: ["b2", "b1"], flipped};
  window.dispatchEvent(new CustomEvent("byolmeta-step", {detail}));
  return document.querySelector(map + " .scatter").__scatter.ringed();
}"""


@browser_test
def test_an_adaptation_colours_the_map_step_by_step(visit):
    map = Map(visit())
    map.press("ask-colours-task")
    map.page.wait_for_function("document.querySelector('#map .groups').innerText.includes('dogs')")
    map.rest()

    def colours():
        return [map.ask(f"coloured({i})") for i in (0, 4, 5, 6)]

    cats, dogs, none = "#0072b2", "#e69f00", "#9a9a9a"
    assert colours() == [none, cats, dogs, cats]
    labels = [0] * N  # dogs, all of them
    labels[4] = -1  # an example keeps its box
    assert map.page.evaluate(TOLD, ["#map", labels, [5, 6, 99]]) == [5, 6]
    assert colours() == [dogs, cats, dogs, dogs]
    map.when("m.ringed().length === 0")  # for a moment only
    assert map.page.evaluate(TOLD, ["#map", [1] * N, []]) == [] and colours() == [cats] * 4
    map.press("certain")  # another colouring: rings only
    map.page.wait_for_function("document.querySelector('#map .groups').innerText.includes('unsure')")
    assert map.page.evaluate(TOLD, ["#map", labels, [7]]) == [7] and colours() == [none, cats, dogs, cats]
    map.press("ask-colours-task")
    map.page.wait_for_function("document.querySelector('#map .groups').innerText.includes('dogs')")
    assert colours() == [dogs, cats, dogs, dogs]
    assert map.page.evaluate(TOLD, ["#map", None, []]) == [] and colours() == [none, cats, dogs, cats]


@browser_test
def test_without_motion_rings_stay_until_the_next_step(visit):
    map = Map(visit(reduced_motion="reduce"))
    assert map.page.evaluate(TOLD, ["#map", [0] * N, [3]]) == [3]
    map.page.wait_for_timeout(1500)  # longer than they would be seen
    assert map.ask("ringed()") == [3] and not map.ask("moving()")
    assert map.page.evaluate(TOLD, ["#map", [0] * N, [4]]) == [4]


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
    page.locator("#map [data-zoom=in]").tap()
    page.locator("#map [data-act=search]").tap()
    page.locator("#map .search .close").tap()
    page.locator("#map [data-act=list]").tap()
    assert page.locator("#map .mini").is_hidden() and page.locator("#map .list table").is_visible()
    for kind, part in (("film", ".player"), ("compare", ".compare")):
        map.press(f"ask-{kind}")
        map.when(f"m.kind() == '{kind}' && !m.when().playing")
        assert page.locator(f"#map {part}").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#map .swap").tap()
    map.when("m.kind() == 'sides'")
    upper, lower = map.ask("spots(9)")
    assert upper["y"] < lower["y"] - 50  # one above the other


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
    map.press("hide")
    page.wait_for_selector("#map .scatter", state="detached")
    map.press("show")
    map = Map(page)
    assert page.evaluate(f"{map.at}.first === undefined")  # really a new one
    page.wait_for_function(f"{map.at}.__scatter.shown().length == {N}")
    assert map.hover(9) == 9
    map.press("none")
    page.wait_for_function(f"{map.at}.__scatter.n() == 0")
    assert page.locator("#map .empty p").inner_text() == "The map appears here in a moment."


@browser_test
def test_lines_run_to_the_three_nearest(visit):
    map = Map(visit())
    ends = [map.spot(near) for near in (6, 7, 8)]
    map.page.mouse.move(5, 5)
    assert not any(map.line_is_drawn(map.spot(5), end, 0.4) for end in ends)
    assert map.hover(5) == 5 and map.ask("near()") == [6, 7, 8]
    map.rest()
    assert all(map.line_is_drawn(map.spot(5), end, 0.4) for end in ends)
    map.page.mouse.dblclick(*map.spot(5))
    map.when("!m.moving()")
    map.page.mouse.move(*map.spot(5))
    map.page.mouse.wheel(0, -1500)
    map.page.wait_for_timeout(100)
    map.rest()
    assert map.hover(5) == 5
    map.rest()
    start, far = map.spot(5), map.spot(8)
    box = map.page.locator("#map .overlay").bounding_box()
    assert not box["x"] < far[0] < box["x"] + box["width"]  # the neighbour is out of the view
    assert map.line_is_drawn(start, far, 120 / np.hypot(*np.subtract(far, start)))


@browser_test
def test_the_mini_map_tells_where_one_is(visit):
    map = Map(visit())
    mini = map.page.locator("#map .mini")
    assert mini.is_hidden()
    for _ in range(3):
        map.page.click("#map [data-zoom=in]")
    map.page.wait_for_timeout(50)
    map.rest()
    box = mini.bounding_box()
    assert abs(map.ask("view()")["x"]) < 0.1
    map.page.mouse.click(box["x"] + 20, box["y"] + box["height"] / 2)
    map.page.wait_for_timeout(50)
    map.rest()
    assert map.ask("view()")["x"] < -0.5
    map.drag([(box["x"] + 20, box["y"] + 60), (box["x"] + 90, box["y"] + 30)])
    map.rest()
    view = map.ask("view()")
    assert view["x"] > 0.4 and view["y"] > 0.2
    assert map.hover(4) == 4
    map.page.click("#map [data-zoom=reset]")
    map.page.wait_for_timeout(50)
    map.rest()
    assert mini.is_hidden()


@browser_test
def test_search_by_name(visit):
    map = Map(visit())
    page, live = map.page, map.page.locator("#map .live")
    page.locator("#map .overlay").focus()
    page.keyboard.press("/")
    page.keyboard.type("angstrom e")
    assert map.ask("lit()") == [5] and live.inner_text() == "1 found"
    page.keyboard.press("Enter")
    map.rest()
    assert map.ask("hovered()") == 5
    page.keyboard.press("Control+a")
    page.keyboard.type("<b>BOATS")  # the folder
    boats = [i for i in range(N) if i % 3 == 1]
    assert map.ask("lit()") == boats and live.inner_text() == "8 found"
    reached = []
    for keys in ("Enter", "Enter", "Shift+Enter", "Shift+Enter"):
        page.keyboard.press(keys)
        reached.append(map.ask("hovered()"))
    assert reached == [1, 4, 1, 22]
    map.rest()
    page.keyboard.press("Control+a")
    page.keyboard.type("nowhere")
    assert map.ask("lit()") == [] and live.inner_text() == "no picture has that name"
    page.keyboard.press("Escape")
    assert map.ask("lit()") is None and page.locator("#map .search").is_hidden()
    page.click("#map [data-zoom=reset]")
    page.wait_for_timeout(50)
    map.rest()
    page.locator("#map .groups button").nth(2).click()
    page.click("#map [data-act=search]")
    page.keyboard.type("picture-1")
    assert map.ask("lit()") == [11, 14, 17]  # of the class that is not hidden
    assert map.hover(14) == 14 and map.hover(13) is None


@browser_test
def test_python_lights_and_selects_pictures(visit):
    map = Map(visit())
    map.press("ask-lit")
    map.when("m.lit() !== null")
    assert map.ask("lit()") == [1, 4, 9]
    chip = map.page.locator("#map .lit")
    assert chip.inner_text() == "<i>odd</i> ones"
    box = map.page.locator("#map .overlay").bounding_box()
    for picture in (1, 4, 9):  # they were flown to, and the view is around them
        x, y = map.spot(picture)
        assert box["x"] < x < box["x"] + box["width"] - 52 and box["y"] < y < box["y"] + box["height"]
    assert map.ask("view()")["y"] > 0.2
    assert map.hover(9) == 9 and map.hover(10) == 10
    chip.click()
    assert map.ask("lit()") is None and chip.is_hidden()
    map.press("turn")
    map.when("m.stage() == 'umap'")
    assert map.ask("lit()") is None  # what was closed stays closed
    map.press("ask-selection")
    map.when("m.selected().length == 2")
    assert map.ask("selected()") == [3, 8]
    assert map.page.locator("#map .bar .count").inner_text() == "2 selected"
    map.page.locator("#map .overlay").focus()
    map.page.keyboard.press("Control+z")
    assert map.ask("selected()") == []
    map.page.keyboard.press("Control+Shift+Z")
    assert map.ask("selected()") == [3, 8]


@browser_test
def test_what_lights_up_comes_into_view_and_ends_with_its_pictures(visit):
    page = visit(viewport={"width": 1200, "height": 460})
    map = Map(page)
    page.evaluate("document.body.style.paddingBottom = '900px'")
    page.evaluate("window.scrollTo(0, 700)")
    assert page.locator("#map .stage").bounding_box()["y"] < -200
    map.press("ask-lit")
    page.wait_for_function("Math.abs(document.querySelector('#map .stage').getBoundingClientRect().top) < 100")
    map.when("m.lit() !== null")
    map.press("some")  # other points: of these pictures only 4 and 9 are there
    map.when("m.n() == 3")
    assert map.ask("lit()") is None and page.locator("#map .lit").is_hidden()


@browser_test
@pytest.mark.parametrize("size", [(1440, 900), (1366, 640), (1024, 768), (390, 844)])
def test_the_map_fits_the_window_with_its_bars(visit, size):
    wide, high = size
    page = visit(viewport={"width": wide, "height": high})
    map = Map(page)
    stage, tools = page.locator("#map .stage"), page.locator("#map .tools")
    page.evaluate("document.body.style.paddingTop = '130px'")  # as below a header
    page.wait_for_timeout(100)

    def fits(*parts):
        area = stage.bounding_box()
        assert area["height"] >= 340
        for part in ("#map .stage", *parts):
            box = page.locator(part).bounding_box()
            assert box["y"] + box["height"] <= high, part
        inner = tools.bounding_box()
        assert inner["y"] + inner["height"] <= area["y"] + area["height"] and inner["x"] >= area["x"]

    def apart(one, other):
        one, other = (page.locator(f"#map {part}").bounding_box() for part in (one, other))
        return any(
            min(a[side] + a[length] for a in (one, other)) <= max(a[side] for a in (one, other)) + 0.5
            for side, length in (("x", "width"), ("y", "height"))
        )

    page.mouse.click(*map.spot(20))  # of the last row
    fits("#map .bar")
    assert apart(".card", ".bar") and apart(".card", ".tools") and apart(".bar", ".tools")
    for kind, part in (("film", "#map .player"), ("compare", "#map .compare")):
        map.press(f"ask-{kind}")
        map.when(f"m.kind() == '{kind}' && !m.when().playing")
        fits(part)
    page.set_viewport_size({"width": wide, "height": high + 60})
    page.wait_for_timeout(100)
    high += 60
    fits("#map .compare")
    assert map.hover(8) == 8


@browser_test
def test_the_map_fills_the_screen(visit):
    map = Map(visit(viewport={"width": 1200, "height": 700}))
    page, button = map.page, map.page.locator("#map [data-act=full]")
    before = page.locator("#map .stage").bounding_box()["height"]
    button.click()
    page.wait_for_function("document.fullscreenElement?.matches('.scatter')")
    map.press("ask-compare")
    map.when("m.kind() == 'compare'")
    assert page.locator("#map .stage").bounding_box()["height"] > before + 100
    bar = page.locator("#map .compare").bounding_box()
    assert bar["y"] + bar["height"] <= page.evaluate("innerHeight")
    assert button.get_attribute("aria-pressed") == "true" and map.hover(8) == 8
    button.click()
    page.wait_for_function("!document.fullscreenElement")
    map.when("true")
    assert page.locator("#map .stage").bounding_box()["height"] < before + 1
    assert button.get_attribute("aria-pressed") == "false"


@browser_test
def test_the_wheel_zooms_the_map_and_leaves_it_at_the_end(visit):
    map = Map(visit(viewport={"width": 1200, "height": 500}))
    page = map.page
    page.evaluate("document.body.style.paddingBottom = '1500px'")
    page.mouse.move(*map.spot(8))
    page.wait_for_timeout(300)
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(400)
    near = map.ask("view()")["scale"]
    assert page.evaluate("scrollY") == 0
    for _ in range(12):
        page.mouse.wheel(0, 200)
        page.wait_for_timeout(60)
    map.rest()
    assert map.ask("view()")["scale"] < near / 1.5 and page.evaluate("scrollY") > 100


@browser_test
def test_new_pictures_land_on_the_map(visit):
    map = Map(visit())
    map.press("ask-landed")
    map.when("m.landed().length == 1")
    assert map.page.locator("#map .card .name").inner_text() == "<b>new</b>.jpg"  # at once
    box = map.page.locator("#map .overlay").bounding_box()
    map.page.mouse.click(box["x"] + 8, box["y"] + box["height"] - 8)  # beside all pictures: the card closes
    (fresh,) = map.ask("landed()")
    here = (box["x"] + fresh["x"], box["y"] + fresh["y"])
    spots = [map.spot(i) for i in (8, 9, 14, 15)]
    assert here == pytest.approx(np.mean(spots, 0), abs=2)  # x, y = 2.5, -1.5: in the middle of these
    assert all(map.line_is_drawn(here, spot, 0.75) for spot in spots[:3])
    assert box["x"] < map.spot(8)[0] and map.spot(14)[1] < box["y"] + box["height"]  # and all in view
    map.page.mouse.move(*here)
    assert map.page.locator("#map .card .name").inner_text() == "<b>new</b>.jpg"
    assert map.ask("hovered()") is None
    assert map.hover(15) == 15
    map.page.mouse.click(*here)
    map.page.mouse.move(5, 5)
    map.page.locator("#map .card .row button").nth(1).click()
    assert map.ask("hovered()") == 9
    map.press("end-landed")
    map.when("m.landed().length == 0")


@browser_test
@pytest.mark.parametrize("way", ["button", "Delete", "Escape", "chip"])
def test_new_pictures_can_be_taken_off_again(visit, way):
    map = Map(visit())
    page, chip = map.page, map.page.locator("#map .new-here")
    assert chip.is_hidden()
    map.press("ask-landed")
    map.when("m.landed().length == 1")
    assert chip.inner_text() == "1 new picture"
    if way == "button":
        page.click("#map .card .gone")
    elif way == "chip":
        chip.click()
    else:
        page.locator("#map .overlay").focus()
        page.keyboard.press(way)
    assert map.ask("landed()") == [] and chip.is_hidden() and page.locator("#map .card").is_hidden()
    map.press("ask-landed")  # the same again
    map.press("turn")  # and other positions
    map.when("m.stage() == 'umap'")
    assert map.ask("landed()") == []
    map.press("ask-landed-more")
    map.when("m.landed().length == 1")
    assert map.ask("landed()")[0]["name"] == "other.jpg"


@browser_test
def test_a_pinned_card_stays_with_its_picture(visit):
    map = Map(visit())
    page, card = map.page, map.page.locator("#map .card")
    page.mouse.click(*map.spot(5))  # the last of the first row: its card stands beside the tools
    page.mouse.move(5, 5)
    card_box, tools = card.bounding_box(), page.locator("#map .tools").bounding_box()
    assert card_box["x"] + card_box["width"] <= tools["x"]
    assert page.locator("#map .card .group").inner_text() == CLASSES[2]
    map.press("certain")
    page.wait_for_function("document.querySelector('#map .card .group').innerText == 'unsure'")
    for _ in range(4):
        page.click("#map [data-zoom=in]")
    page.wait_for_timeout(50)
    map.rest()
    assert card.is_hidden() and map.ask("hovered()") == 5  # its picture is outside the view
    page.click("#map [data-zoom=reset]")
    page.wait_for_timeout(50)
    map.rest()
    assert card.is_visible()


@browser_test
def test_what_the_bar_of_a_selection_offers(visit):
    map = Map(visit())
    page = map.page
    page.click("#map [data-tool=lasso]")
    map.drag(map.around(7, 14))
    wanted = {"indices": [7, 8, 13, 14], "count": 4, "truncated": False, "key": "a", "sent": 4}
    page.click("#map .bar .similar")
    assert map.heard("wished", count=4) == wanted
    for kind in ("csv", "zip"):
        page.click("#map .bar .save")
        page.click(f"#map .saving [data-kind={kind}]")
        assert map.heard("wished", kind=kind) == wanted | {"kind": kind}
    page.click("#map .bar .save")
    page.keyboard.press("Escape")
    assert page.locator("#map .saving").is_hidden() and map.ask("selected()") == [7, 8, 13, 14]
    page.click("#map .bar .boxes button >> nth=0")
    assert 0 < page.locator("#map .flight > i").count() <= 12
    page.wait_for_function("!document.querySelector('#map .flight')")
    assert map.ask("selected()") == []
    page.click("#map [data-act=undo]")
    assert map.ask("selected()") == [7, 8, 13, 14]
    page.click("#map [data-act=undo]")
    assert map.ask("selected()") == [] and page.locator("#map [data-act=undo]").is_disabled()
    page.locator("#map .overlay").focus()
    page.keyboard.press("Control+Shift+Z")
    page.click("#map .bar .aside")
    assert map.heard("wished", indices=[7, 8, 13, 14])["count"] == 4
    assert map.ask("selected()") == [] and map.heard("selected", count=0)


@browser_test
@pytest.mark.parametrize("what", ["assign", "aside"])
@pytest.mark.parametrize("way", ["button", "keys"])
def test_what_was_done_with_a_selection_can_be_undone(visit, what, way):
    map = Map(visit())
    page, undo = map.page, map.page.locator("#map .hint button")
    page.click("#map [data-tool=lasso]")
    map.drag(map.around(7, 14))
    assert undo.is_hidden()
    page.click("#map .bar .aside" if what == "aside" else "#map .bar .boxes button >> nth=0")
    assert map.ask("selected()") == [] and undo.inner_text() == "Undo"
    if way == "button":
        page.keyboard.press("Tab")  # from the map, which has the focus
        page.keyboard.press("Enter")
    else:
        page.keyboard.press("Control+z")
    told = map.heard("wished", what=what)
    assert (told["indices"], told["key"]) == ([7, 8, 13, 14], "a")
    assert told.get("box") == ("box-1" if what == "assign" else None)
    assert map.ask("selected()") == [7, 8, 13, 14] and undo.is_hidden()
    page.keyboard.press("Control+z")  # now the selection itself
    assert map.ask("selected()") == []


@browser_test
def test_nothing_flies_with_reduced_motion(visit):
    map = Map(visit(reduced_motion="reduce"))
    map.page.mouse.click(*map.spot(7))
    map.page.click("#map .bar .boxes button >> nth=0")
    assert map.page.locator("#map .flight").count() == 0 and map.heard("assigned", box="box-1")["indices"] == [7]


@browser_test
def test_a_picture_can_be_seen_large(visit):
    map = Map(visit())
    page, dialog = map.page, map.page.locator("#map .large")
    page.mouse.click(*map.spot(5))
    page.mouse.move(5, 5)
    page.click("#map .card .enlarge")
    shown = dialog.locator("img")
    shown.wait_for()
    assert shown.evaluate("one => [one.naturalWidth, one.naturalHeight]") == [300, 150]
    assert dialog.locator(".name").inner_text() == "whole <i>5"
    assert dialog.locator("li").all_inner_texts() == ["<b>in</b> a folder", "300 × 150"]
    assert dialog.locator(".before").get_attribute("aria-disabled") == "true"
    came = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
        came.append(map.ask("hovered()"))
        page.wait_for_function(f"document.querySelector('#map .large .name').textContent == 'whole <i>{came[-1]}'")
    assert came == [6, 7, 6]  # on to the picture most alike, and back
    page.keyboard.press("Escape")
    assert dialog.is_hidden() and map.ask("hovered()") == 6
    page.keyboard.press("v")
    assert dialog.is_visible()
    dialog.locator(".close").click()
    page.locator("#map .card .picture").dblclick()
    page.wait_for_function("document.querySelector('#map .large .name').textContent == 'whole <i>6'")
    assert dialog.is_visible()


@browser_test
def test_how_large_pictures_are_is_remembered(visit):
    map = Map(visit())
    page = map.page
    page.wait_for_function(f"{map.at}.__scatter.shown().length == {N}")
    map.rest()
    fitting = map.ask("size()")
    page.click("#map [data-act=view]")
    for size in (28, 90):
        map.slide(".view .size", size)
        assert map.ask("size()") == size != fitting
    page.reload()
    map = Map(page)
    page.wait_for_function(f"{map.at}.__scatter.shown().length == {N}")
    map.rest()
    assert map.ask("size()") == 90 and map.hover(9) == 9
    page.click("#map [data-act=view]")
    page.click("#map .view button")
    map.rest()
    assert map.ask("size()") == pytest.approx(fitting, abs=0.5)
    page.click("#map .view .dots")
    map.when("m.shown().length == 0")
    assert map.hover(9) == 9 and page.locator("#map .card .picture").is_visible()
    page.keyboard.press("Escape")


@browser_test
def test_pictures_spread_out_until_none_covers_another(visit):
    map = Map(visit())
    page = map.page
    map.press("ask-points-clumps")
    map.when("m.seq() == 9")
    clumped = [map.spot(picture) for picture in range(N)]
    page.click("#map [data-act=view]")
    page.click("#map .view .spread")
    map.when("m.kind() == 'spread'")
    spots = np.array([map.spot(picture) for picture in range(N)])
    far = np.linalg.norm(spots[:, None] - spots, axis=2)
    np.fill_diagonal(far, np.inf)
    assert map.ask("size()") > 40 and far.min() >= map.ask("size()")
    nearest = far.argsort(1)[:, :3] // 8 == np.arange(N)[:, None] // 8
    assert nearest.mean() > 0.7  # most stay beside those of their clump
    assert "means nothing now" in page.locator("#map .caution").inner_text()
    assert map.hover(20) == 20 and map.ask("near()") == [21, 22, 23]
    map.press("ask-landed")  # it has no cell, so the map comes back
    map.when("m.kind() == 'plain' && m.landed().length == 1")
    page.click("#map [data-zoom=reset]")
    page.wait_for_timeout(50)
    map.rest()
    assert np.abs(np.subtract([map.spot(picture) for picture in range(N)], clumped)).max() < 2
    map.press("many")
    map.when(f"m.n() == {MANY}")
    assert page.locator("#map .view .spread input").is_disabled()


@browser_test
@pytest.mark.parametrize("high", [500, 1000])
def test_the_legend_uses_the_room_there_is(visit, high):
    map = Map(visit(viewport={"width": 1200, "height": high}, color_scheme="dark"))
    page, names = map.page, map.page.locator("#map .groups")
    map.press("ask-colours-many")
    page.wait_for_function("document.querySelectorAll('#map .groups button').length == 20")
    area, stage = names.bounding_box(), page.locator("#map .stage").bounding_box()
    caution = page.locator("#map .caution").bounding_box()
    assert caution["y"] + caution["height"] <= stage["y"] + stage["height"] + 1
    assert caution["y"] - (area["y"] + area["height"]) < 25  # no room is left empty while entries are cut
    assert names.evaluate("one => one.scrollHeight > one.clientHeight && one.classList.contains('more')")
    names.evaluate("one => one.scrollTo(0, 9999)")
    page.wait_for_function("!document.querySelector('#map .groups').classList.contains('more')")
    row = names.locator("button").last
    assert row.bounding_box()["height"] > 34  # its name has two lines
    swatch = row.locator("i").evaluate("one => getComputedStyle(one).backgroundColor")
    assert swatch != "rgb(16, 16, 16)"  # lighter, as the ground is dark
    page.emulate_media(color_scheme="light")
    page.evaluate("document.body.classList.remove('dark')")
    page.wait_for_function(
        "getComputedStyle(document.querySelector('#map .groups i')).backgroundColor == 'rgb(16, 16, 16)'"
    )
    map.press("ask-colours-none")
    page.wait_for_selector("#map .legend", state="hidden")
    assert map.hover(9) == 9 and page.locator("#map .card .group").is_hidden()
    map.press("end-colours-none")
    page.wait_for_selector("#map .legend", state="visible")


@browser_test
def test_a_film_plays_and_every_moment_can_be_looked_at(visit):
    map = Map(visit())
    page = map.page
    before = map.spot(8)
    page.click("#map [data-tool=box]")
    map.drag([map.around(7, 9)[0], map.around(7, 9)[2]])
    page.click("#map [data-tool=pan]")
    map.press("certain")
    map.press("ask-film")
    page.wait_for_function(f"{map.at}.__scatter.when()?.playing")
    assert map.ask("n()") == len(FILMED) and map.ask("project(1)") is None
    map.when("m.when() && !m.when().playing")  # it plays to its end
    assert map.ask("when()")["at"] == 2 and page.locator("#map .player output").inner_text() == "step 20"
    for moment in (0, 0.5, 1.3, 2):
        map.slide(".player", moment)
        for picture in FILMED:
            assert map.hover(picture) == picture
            assert page.locator("#map .card .name").inner_text() == NAMES[picture]
    map.slide(".player", 1)
    assert page.locator("#map .player output").inner_text() == "<i>step 10</i>"
    places = np.fromfile(os.path.join(page.served, "film.f32"), "<f4").reshape(3, len(FILMED), 2)
    spots = np.array([map.spot(picture) for picture in FILMED])
    scale = np.ptp(spots[:, 0]) / np.ptp(places[1, :, 0])
    there = (places[1] - places[1].mean(0)) * [scale, -scale]
    assert np.abs(spots - spots.mean(0) - there).max() < 2  # the second frame, as it was sent
    assert map.ask("selected()") == [8, 9]
    assert map.page.locator("#map .groups button").first.inner_text().split() == ["sure", "3"]  # 8, 14, 20
    page.locator("#map .player input").focus()
    page.keyboard.press("ArrowRight")
    assert map.ask("when()")["at"] == 2
    page.click("#map .player .play")
    assert map.ask("when()")["playing"] and map.ask("when()")["at"] < 1  # again from the start
    assert map.ask("lasts()") == 4000  # ms: three frames would be over too soon
    page.click("#map .player .speed")
    assert page.locator("#map .player .speed").inner_text() == "2×" and map.ask("lasts()") == 2000
    page.click("#map .player .speed")
    assert map.ask("lasts()") == 8000
    page.click("#map .player .leave")
    assert map.heard("gone") == {"kind": "film"}
    map.when(f"m.n() == {N}")
    assert map.spot(8) == pytest.approx(before, abs=2) and map.ask("kind()") == "plain"
    assert map.ask("selected()") == [7, 8, 9]  # also the one that the film did not have


@browser_test
def test_a_film_stands_still_with_reduced_motion(visit):
    map = Map(visit(reduced_motion="reduce"))
    map.press("ask-film")
    map.when("m.when()")
    assert map.ask("when()") == {"at": 0, "playing": False}
    for moment in (1, 2, 0):
        map.page.click("#map .player .play")
        assert map.ask("when()") == {"at": moment, "playing": False}
    map.slide(".player", 1.4)
    assert map.ask("when()")["at"] == 1
    map.press("end-film")
    map.when(f"m.n() == {N}")


@browser_test
def test_two_layouts_are_compared(visit):
    map = Map(visit())
    page = map.page
    start, end = map.spot(0), map.spot(N - 1)
    map.press("ask-compare")
    map.when("m.kind() == 'compare'")
    part = page.locator("#map .compare")
    for text in ("starter", "<b>yours</b>", "k-NN 61 %", "k-NN 74 %", "31 % alike"):
        assert text in part.inner_text()
    assert map.spot(0) == pytest.approx(start, abs=2)
    assert map.hover(3) == 3 and map.ask("near()") == [4, 5, 6]
    map.slide(".compare", 0.25)
    quarter = np.add(start, np.multiply(np.subtract(end, start), 0.25))
    assert map.spot(0) == pytest.approx(tuple(quarter), abs=2)
    for mix in (0.25, 0.7):
        map.slide(".compare", mix)
        for picture in (0, 3, 23):
            assert map.hover(picture) == picture
    assert map.hover(3) == 3 and map.ask("near()") == [10, 14, 16]  # those of the nearer end
    page.locator("#map .compare .second button").click()
    map.when("m.when().at == 1")
    assert map.spot(0) == pytest.approx(end, abs=2)
    page.click("#map .swap")
    map.when("m.kind() == 'sides'")
    box = page.locator("#map .overlay").bounding_box()
    middle = box["x"] + box["width"] / 2 - 26  # the tools take 52 on the right
    for picture in (0, 3, 17):
        left, right = map.ask(f"spots({picture})")
        assert left["x"] < middle < right["x"]
        for spot, near in ((left, 1), (right, 7)):
            page.mouse.move(spot["x"], spot["y"])
            assert map.ask("hovered()") == picture and map.ask("near()")[0] == (picture + near) % N
    map.rest()
    page.mouse.click(right["x"], right["y"])
    assert map.ask("selected()") == [17] and page.locator("#map .bar .count").inner_text() == "1 selected"
    assert page.locator("#map .badge .count").inner_text() == "24 pictures"
    page.click("#map .compare .leave")
    assert map.heard("gone") == {"kind": "compare"}
    map.when("m.kind() == 'plain'")
    assert map.spot(0) == pytest.approx(start, abs=2) and map.ask("selected()") == [17]
    map.press("ask-compare")  # the same again: only a new seq opens it
    page.wait_for_timeout(300)
    assert map.ask("kind()") == "plain"


@browser_test
def test_the_map_can_be_read_as_a_list(visit):
    map = Map(visit())
    page = map.page
    page.click("#map [data-act=list]")
    rows = page.locator("#map .list tbody tr")
    assert page.locator("#map .list thead th").all_inner_texts() == [
        "Name",
        "Class or folder",
        "Most alike to the model",
    ]
    cells = rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")
    assert [name for name, _, _ in cells] == NAMES
    assert cells[1] == [NAMES[1], "<b>boats</b>", ", ".join(NAMES[2:5])]
    pictures = rows.locator("th i").evaluate_all("all => all.map(one => getComputedStyle(one).backgroundImage)")
    assert ["sheet0" in one for one in pictures] == [i < 16 for i in range(N)]
    rows.nth(9).click()
    assert map.ask("hovered()") == 9 and rows.nth(9).get_attribute("aria-current") == "true"
    page.locator("#map .list tbody button").nth(5).press("Enter")
    assert map.ask("hovered()") == 5
    page.click("#map [data-act=search]")
    page.keyboard.type("picture-2")
    assert rows.count() == 4 and page.locator("#map .list .range").inner_text() == "1–4 of 4"
    page.keyboard.press("Escape")
    page.locator("#map .groups button").first.click()
    assert rows.count() == 8
    page.click("#map .list .close")
    assert page.locator("#map .list").is_hidden()
    map.press("many")
    map.when(f"m.n() == {MANY}")
    page.click("#map [data-act=list]")
    page.click("#map .list .after")
    assert rows.count() == 100 and page.locator("#map .list .range").inner_text() == "101–200 of 25,000"
    assert page.evaluate("window.hurt === undefined")


@browser_test
@pytest.mark.parametrize("query", [pytest.param("?gl", marks=pytest.mark.long), "?nogl"])
def test_updates_leave_nothing_behind(visit, query):
    map = Map(visit(query, reduced_motion="reduce"))
    map.press("many")
    map.when(f"m.n() == {MANY}")
    memory = map.page.context.new_cdp_session(map.page)

    def used():
        memory.send("HeapProfiler.collectGarbage")
        found = memory.send("Runtime.getHeapUsage")
        return (found["usedSize"] + found.get("backingStorageSize", 0)) / 1e6

    map.page.evaluate(f"""window.laid = new Set();
      window.made = 0;
      for (const kind of ["Buffer", "Texture"]) {{
        const gl = WebGL2RenderingContext.prototype, make = gl["create" + kind];
        gl["create" + kind] = function () {{ made += 1; return make.call(this); }};
      }}
      const look = () => {{ laid.add({map.at}.__scatter.seq()); requestAnimationFrame(look); }};
      look();""")
    after = []
    for _ in range(4):
        map.page.evaluate("laid.clear()")
        while map.page.evaluate("laid.size") <= 8:  # a slow machine leaves many out for newer ones
            before = map.page.evaluate(f"{map.at}.__scatter.seq()")
            map.press("updates")
            map.page.wait_for_function(
                f"Math.max(...laid) >= {before // 1000 * 1000 + 1000} && Math.max(...laid) % 1000 == 49"
            )
        map.rest()
        map.page.wait_for_timeout(200)
        after.append(used())
    growth = [later - earlier for earlier, later in zip(after, after[1:], strict=False)]
    print("MB after each 50 layouts:", after)
    assert min(growth) < 1, growth  # MB over 50 layouts: what leaks grows in every turn, what warms up does not
    assert map.page.evaluate("made") == 0  # buffers of the graphics card: filled again, not made again


@browser_test
def test_a_box_around_many_points_sends_the_first_of_them(visit):
    map = Map(visit())
    map.press("many")
    map.page.wait_for_function(f"{map.at}.__scatter.n() == {MANY} && !{map.at}.__scatter.moving()")
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


@browser_test
def test_growing_lines_are_shown_up_to_a_place(visit):
    page = visit()
    Map(page)
    page.get_by_role("tab", name="Later").click()
    page.click("#grow")
    page.wait_for_selector("#chart .scatterlayer .trace")
    chart = "document.querySelector('#chart .chart').__chart"
    page.wait_for_function(f"{chart}.drawn()")

    def seen() -> dict[str, float]:
        """Where each colour ends, on the x axis."""
        path = os.path.join(page.shots, "chart.png")
        page.locator("#chart .plot").screenshot(path=path)
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        left, scale = page.evaluate(
            f"[{chart}.plot._fullLayout._size.l + {chart}.plot._fullLayout.xaxis.d2p(0),"
            f" {chart}.plot._fullLayout.xaxis.d2p(1) - {chart}.plot._fullLayout.xaxis.d2p(0)]"
        )
        ends = {}
        for name, colour in (("band", (255, 255, 0)), ("line", (255, 0, 0)), ("level", (0, 255, 0))):
            columns = np.flatnonzero((abs(pixels - colour).sum(2) < 60)[60:].any(0))  # below the legend
            ends[name] = (columns.max() - left) / scale if len(columns) else -1
        return ends

    whole = {"band": 4, "line": 4, "level": 4}
    assert seen() == pytest.approx(whole, abs=0.06)
    for place in (1.5, 3, 0.5):
        page.evaluate(f"{chart}.until({place})")
        assert seen() == pytest.approx({"band": place, "line": place, "level": 4}, abs=0.06)
    page.set_viewport_size({"width": 900, "height": 900})
    page.wait_for_timeout(300)
    assert seen() == pytest.approx({"band": 0.5, "line": 0.5, "level": 4}, abs=0.06)
    page.click("#grow")  # the same figure again, still in part
    page.wait_for_timeout(300)
    assert seen()["line"] == pytest.approx(0.5, abs=0.06)
    page.evaluate(f"{chart}.until(null)")
    assert seen() == pytest.approx(whole, abs=0.06)
    page.click("#draw")  # other lines, none of which grows
    page.wait_for_function(f"{chart}.plot.data.length === 6 && {chart}.drawn()")
    page.evaluate(f"{chart}.until(1)")
    assert page.locator("#chart .trace [clip-path*=part]").count() == 0
