"""Whether everybody can use the page, in both languages: axe finds nothing serious on any step, with what people make there; it
fits a phone and twice the size, asks no other host, is calm where that is wished, is not heavy, and can be installed."""

import json
import re
import zipfile

import pytest
from PIL import Image

pytest.importorskip("gradio")
from browser import ROOT, App, open_page, overflow, until

from byolmeta import jobs
from byolmeta.files import find_encoder
from byolmeta.settings import MetatrainConfig, PretrainConfig
from byolmeta.train import train
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

axe = pytest.importorskip("axe_playwright_python.sync_playwright")

WIDE, PHONE, TWICE = ({"width": width, "height": height} for width, height in ((1440, 900), (390, 800), (720, 450)))
KINDS = ("bird", "car", "fish", "flower", "robot", "snail")
HEAVY = 2_000_000  # bytes of a page before its pictures
STUDY = PretrainConfig(encoder="conv4", image_size=16, epochs=1, batch_size=128)
PRACTICE = MetatrainConfig(tasks="labels", steps=16, check_every=8, judge=50)
THING = {"rev": 1, "classes": [{"id": "c1", "name": "bird", "colour": 0}]}
SERIOUS = """async (rules) => {
  const found = await axe.run(document, { resultTypes: ["violations"], ...rules });
  const bad = found.violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  return bad.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html.slice(0, 160))].join("\\n  "));
}"""


# ---- a page with everything on it


def some_creatures(folder):
    """A few of the drawn creatures, made small: six of each of six kinds."""
    with zipfile.ZipFile(ROOT / "assets" / "creatures.zip") as pack:
        for kind in KINDS:
            (folder / kind).mkdir(parents=True)
            for name in [f"{kind}/{number:02d}.webp" for number in range(6)]:
                Image.open(pack.open(name)).resize((32, 32)).save(folder / name, lossless=True)
    return folder


def prepare(home) -> None:
    """A home as a visit leaves it: a study, a practice, examples in three boxes, and a thing to be located."""
    work = Workspace(home)
    session = work.session("local")
    work.choose(session, some_creatures(home.parent / "creatures"), "creatures")
    store, about = work.pictures(session).store, {"home": str(work.own(session).resolve())}
    ended = []
    for config, more in ((STUDY, {}), (PRACTICE, {"encoder_file": str(find_encoder("photos-small").resolve())})):
        run = jobs.new_run(home / "runs", "creatures")
        run.create(config, folder=str(work.source(session)), **about, **more)
        train(run)
        ended.append(str(run.folder))
    session.run, session.practice = session.judged, session.practice_judged = ended
    session.encoder = session.run  # small, so that things are located soon
    rows = [[int(row) for row in (store.labels == label).nonzero()[0][:3]] for label in range(3)]
    names = [*store.class_names[:3]]
    boxes = [{"id": f"b{n}", "name": names[n], "items": items} for n, items in enumerate(rows)]
    session.boxes = {"rev": 3, "boxes": boxes}
    mark = {"id": "m1", "row": rows[0][0], "cls": "c1", "kind": "box", "at": [0.2, 0.2, 0.8, 0.8]}
    session.marks = THING | {"marks": [mark]}
    work.save(session)


@pytest.fixture(scope="module")
def app(tmp_path_factory, browser):
    home = tmp_path_factory.mktemp("page") / "home"
    prepare(home)
    app = App(home)
    yield app
    output = app.output()
    app.end()
    assert "Traceback" not in output, output[-4000:]


# ---- what people see, one after the other


def step(page, name: str) -> None:
    tab = page.get_by_role("tab", name=page.words[f"step_{name}"])
    tab.first.click()
    until(lambda: tab.first.get_attribute("aria-selected") == "true", f"{name} is open")


def guide(page) -> None:
    page.wait_for_selector("#report .tile")
    page.locator(".bm-guide:visible").wait_for()


def problem(page) -> None:
    page.keyboard.press("Escape")
    page.locator("#path textarea, #path input").fill("/nowhere/at/all")
    page.wait_for_timeout(200)
    page.locator("#open").click()
    page.locator("#problem p").wait_for()


def ended(page) -> None:
    """Study and practice, with all that is folded."""
    step(page, "learn")
    page.locator("#progress .verdict").wait_for()
    page.locator("#practice-progress .verdict").wait_for()
    unfold(page)
    for chart in ("quality", "loss", "inner", "outer"):
        page.locator(f"#{chart} .js-plotly-plot").wait_for()


def unfold(page) -> None:
    page.evaluate(
        "document.querySelectorAll('button.label-wrap:not(.open)').forEach((fold) => fold.getClientRects().length && fold.click())"
    )


def drawn(page) -> None:
    """The map, a search on it, what was found selected, and the menu of what to save."""
    step(page, "map")
    until(lambda: page.locator("#map .badge[data-stage=umap]").count(), "the map is drawn", 60)
    page.locator("#map [data-act=search]").click()
    page.locator("#map .search input").fill("bird")
    page.keyboard.press("Enter")
    page.locator("#map .card").wait_for()
    page.locator("#map .overlay").focus()
    page.keyboard.press("Enter")
    page.locator("#map .bar").wait_for()
    page.locator("#map .bar .save").click()
    page.locator("#map [data-act=view]").click()
    page.locator("#map [data-act=list]").click()
    page.locator("#map .legend .groups button").first.click()


def enlarged(page) -> None:
    page.locator("#map .overlay").focus()
    page.keyboard.press("v")
    page.locator("#map dialog .name").wait_for()


def tidied(page) -> None:
    page.keyboard.press("Escape")
    unfold(page)
    page.locator("#tidy-list :is(p, li)").first.wait_for()


def answered(page) -> None:
    """Answers and how good they are, a question, and why a picture got its answer."""
    step(page, "teach")
    page.locator("#verdict .score").wait_for()
    unfold(page)
    page.locator("#confusion .js-plotly-plot").wait_for()
    if not page.locator(".question").count():  # it stays open from visit to visit
        page.locator("#ask-one").click()
    page.locator(".question").wait_for()
    page.locator("#board .bm-card").first.focus()
    page.keyboard.press("w")
    page.locator("#why .because").wait_for()


def menu(page) -> None:
    page.locator("#board .bm-menu-button").first.click()
    page.locator("#board .bm-menu").wait_for()


def refused(page) -> None:
    page.keyboard.press("Escape")
    unfold(page)
    page.locator("#fill-names").click()
    page.locator(".toast-header:not([role])").wait_for()


def found(page) -> None:
    """Boxes on other pictures, and the question about one."""
    page.locator(".toast-close").click()
    step(page, "locate")
    page.locator("#locator .bm-loc-grid li").first.wait_for(timeout=120_000)
    stop = page.locator("#locator .bm-loc-answers .bm-loc-words").first
    if stop.is_visible():  # all of them would take long
        stop.click()
    page.locator("#locator [data-aloud]").wait_for(timeout=60_000)
    until(lambda: page.evaluate("document.querySelector('.bm-locator').__locator.state().drawn"), "a picture is there")
    page.locator("#locator .bm-loc-canvas").focus()
    page.keyboard.press("Enter")
    page.locator("#locator .bm-loc-ask").wait_for()


def measured(page) -> None:
    step(page, "measure")
    page.get_by_label(page.words["measure_tasks"]).fill("20")
    told = "document.querySelector('#measure-table [data-aloud]')?.dataset.aloud"  # another one for each measuring that is over
    before = page.evaluate(told)
    page.locator("#measure-start").click()
    until(lambda: page.evaluate(told) not in (None, before), "it has measured", 120)

    def explained() -> bool:
        """What was measured comes part by part, and takes away what was pressed before."""
        page.locator("#measure-pictures [data-row]").first.click()
        page.wait_for_timeout(1500)
        return page.locator("#measure-why img").first.is_visible()

    until(explained, "it says why a picture failed", 60)
    unfold(page)


def lesson(page) -> None:
    page.goto(page.url.split("?")[0] + "?lesson=labels&step=2")
    page.locator(".bm-lesson .next").wait_for()
    page.locator("#report .tile").first.wait_for(state="attached")
    until(lambda: not page.locator("html[data-setting]").count(), "the lesson has set the page")


# Counts frames that our own parts ask for, and notes what glides, from the start of a page; Gradio's messages slide in.
MOVES = """(() => {
  window.frames_asked = 0;
  window.glided = [];
  const ask = window.requestAnimationFrame, animate = Element.prototype.animate, seek = Element.prototype.scrollIntoView;
  window.requestAnimationFrame = (act) => {
    if (!/statustracker/.test(new Error().stack)) window.frames_asked += 1; // which counts for Gradio
    return ask(act);
  };
  Element.prototype.animate = function (...all) {
    if (!this.closest(".toast-wrap")) glided.push(`animate ${this.className}`);
    return animate.apply(this, all);
  };
  Element.prototype.scrollIntoView = function (how) {
    if (how?.behavior === "smooth") glided.push(`scroll to ${this.className}`);
    return seek.call(this, how);
  };
})()"""
MOVING = """async () => {
  const before = window.frames_asked, wait = (ms) => new Promise((done) => setTimeout(done, ms));
  await wait(400);
  const ours = document.getAnimations().filter(({ effect }) => !effect.target.closest(".toast-wrap"));
  const running = ours.map((each) => each.animationName ?? each.transitionProperty ?? "animation");
  return [window.frames_asked - before > 6 ? `${window.frames_asked - before} frames` : null, ...running, ...glided].filter(Boolean);
}"""

STATES = (guide, problem, ended, drawn, enlarged, tidied, answered, menu, refused, found, measured, lesson)


# ---- what is looked for


def serious(page, scheme: str) -> list[str]:
    """What axe finds, in the colours of a light or a dark page."""
    rules = {} if scheme == "light" else {"runOnly": ["color-contrast"]}
    page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", scheme == "dark")
    page.wait_for_timeout(250)
    return page.evaluate(SERIOUS, rules)


@pytest.mark.parametrize("language", [pytest.param("en", marks=pytest.mark.long), "zh"])
def test_everybody_can_use_what_they_see(app, browser, language):
    page = open_page(browser, "about:blank", locale=dict(en="en-US", zh="zh-CN")[language], reduced_motion="reduce")
    page.words = table(language)
    strangers, sockets = [], []
    page.context.route(
        re.compile(rf"^(?!{re.escape(app.address)}/|data:|blob:)"),
        lambda route: (strangers.append(route.request.url), route.abort()),
    )
    page.on("websocket", lambda socket: sockets.append(socket.url))
    for script in (axe.Axe().axe_script, MOVES):
        page.context.add_init_script(script)
    page.goto(app.address)
    wrong = {}
    for state in STATES:
        state(page)
        for scheme in ("light", "dark"):
            if bad := serious(page, scheme):
                wrong[f"{state.__name__}, {scheme}"] = bad
        for name, size in (("phone", PHONE), ("twice", TWICE)):
            page.set_viewport_size(size)
            page.wait_for_timeout(250)
            if overflow(page) > 0:
                wrong[f"{state.__name__}, {name}"] = [f"{overflow(page)} px too wide"]
        page.set_viewport_size(WIDE)
        for _ in range(10):  # pictures that arrive are drawn
            if not (moving := page.evaluate(MOVING)):
                break
        if moving:
            wrong[f"{state.__name__}, calm"] = moving
    page.context.close()
    assert wrong == {}, json.dumps(wrong, indent=1, ensure_ascii=False)
    assert strangers == sockets == []


# ---- the page as a whole


def test_the_page_weighs_less_than_two_megabytes_before_its_pictures(app, browser):
    page = open_page(browser, "about:blank")
    watch = page.context.new_cdp_session(page)
    watch.send("Network.enable")
    sent, names = {}, {}
    watch.on("Network.responseReceived", lambda e: names.update({e["requestId"]: e["response"]["url"]}))
    watch.on("Network.loadingFinished", lambda e: sent.update({e["requestId"]: e["encodedDataLength"]}))
    page.goto(app.address)
    page.wait_for_selector("#report .tile")
    page.wait_for_timeout(1000)
    weights = {names.get(key, key): bytes for key, bytes in sent.items()}
    own = {
        url: bytes for url, bytes in weights.items() if "/thumbs/" not in url and not url.startswith(("data:", "blob:"))
    }
    assert 100_000 < sum(own.values()) < HEAVY, sorted(own.items(), key=lambda each: -each[1])[:8]
    page.context.close()


def test_it_can_be_installed(app, browser):
    page = open_page(browser, app.address)
    manifest = page.locator("link[rel=manifest]")
    until(manifest.count, "the page has a manifest")
    told = page.request.get(app.address + "/manifest.json").json()
    assert told["name"] and told["display"] == "standalone" and told["icons"]
    for icon in told["icons"]:
        answer = page.request.get(app.address + "/" + icon["src"].lstrip("/"))
        assert answer.ok and answer.headers["content-type"].startswith("image/")
    page.context.close()
