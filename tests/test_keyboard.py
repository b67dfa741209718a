"""Every step by the keyboard alone, in one visit: what has the focus is seen, and each news is told once to those who listen."""

import json

import pytest

pytest.importorskip("gradio")
from browser import App, open_page, until

from byolmeta import jobs
from byolmeta.settings import PretrainConfig
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

WORDS = table("en")
# Whether what has the focus is in the window, and what had it before looked another way then.
STOP = """(what) => {
  const node = document.activeElement, before = window.stopped, { top, bottom, left, right } = node.getBoundingClientRect();
  const near = (one) => [one, one.parentElement, one.parentElement.parentElement];
  const look = (one) => JSON.stringify(near(one).map((each) => {
    const { outlineStyle, outlineWidth, outlineColor, boxShadow } = getComputedStyle(each);
    return [outlineStyle === "none" || [outlineStyle, outlineWidth, outlineColor], boxShadow];
  }));
  const name = `${node.tagName} ${node.id || node.className} ${(node.ariaLabel ?? node.textContent).slice(0, 30)}`;
  const wrong = [];
  if (node === document.body) return [wrong, false];
  if (right - left < 2 || bottom - top < 2 || bottom < 1 || top > innerHeight - 1 || right < 1 || left > innerWidth - 1) {
    wrong.push(`not in the window: ${name}`);
  }
  if (before?.node.isConnected && before.node !== node && look(before.node) === before.look) wrong.push(`no ring: ${before.name}`);
  window.stopped = { node, look: look(node), name };
  return [wrong, Boolean(what) && node.matches(what)];
}"""
# What live regions and alerts said: [ms, text], one for each change that the page shows at once.
LISTEN = """(() => {
  window.heard = [];
  const live = "[role=status], [role=alert], [aria-live]:not([aria-live=off])";
  new MutationObserver((changes) => {
    const said = new Set();
    for (const { target, addedNodes } of changes) {
      const around = (target.nodeType === 1 ? target : target.parentElement)?.closest(live);
      if (around) said.add(around);
      else for (const node of addedNodes) if (node.matches) for (const one of [node, ...node.querySelectorAll("*")]) if (one.matches(live)) said.add(one);
    }
    for (const node of said) if (node.textContent.trim()) heard.push([performance.now(), node.textContent.trim()]);
  }).observe(document, { subtree: true, childList: true, characterData: true });
})()"""


class Hands:
    """A person who has a keyboard only."""

    def __init__(self, page):
        self.page, self.wrong = page, []

    def press(self, *keys: str, what: str = "") -> bool:
        """Whether the focus is on what matches in the end."""
        for key in keys:
            self.page.keyboard.press(key)
            wrong, there = self.page.evaluate(STOP, what)
            self.wrong += wrong
        return there

    def reach(self, what: str, back: bool = False) -> None:
        """Tabs on to the next part that matches."""
        for _ in range(90):
            if self.press("Shift+Tab" if back else "Tab", what=what):
                return
        raise AssertionError(f"{what} cannot be reached")

    def open(self, step: str) -> None:
        self.page.evaluate("window.stopped = null")  # what is gone with its step looks like anything
        self.reach(f"#{step}-tab-button", back=True)
        self.press("Enter")

    def heard(self) -> list[str]:
        """What was said since this was asked last."""
        return [text for _, text in self.page.evaluate("window.heard.splice(0)")]


@pytest.fixture(scope="module")
def app(tmp_path_factory, browser, tiny_encoder):
    """The app, which looks with an encoder that takes no time."""
    home = tmp_path_factory.mktemp("page") / "home"
    run = jobs.new_run(home / "runs", "tiny")
    run.create(PretrainConfig(encoder="conv4", image_size=16))
    run.encoder.write_bytes(tiny_encoder.read_bytes())
    run.set_status("done")
    work = Workspace(home)
    session = work.session("local")
    session.encoder = str(run.folder)
    work.save(session)
    app = App(home)
    yield app
    output = app.output()
    app.end()
    assert "Traceback" not in output, output[-4000:]


@pytest.fixture
def page(app, browser):
    page = open_page(browser, "about:blank", reduced_motion="reduce")
    page.context.add_init_script(LISTEN)
    page.goto(app.address)
    page.wait_for_selector("#report .tile")
    yield page
    page.context.close()
    assert page.problems == []


def boxes(page) -> list[int]:
    return page.evaluate(
        "[...document.querySelectorAll('#board .bm-box')].map((box) => box.querySelectorAll('.bm-thumb').length)"
    )


def judged(page) -> None:
    """Waits until the boxes as they are were answered, checked, and told."""
    until(
        lambda: page.evaluate("(({ rev, answered }) => rev === answered)(document.querySelector('.bm-board').dataset)"),
        "answers",
        60,
    )
    page.locator("#verdict .score").wait_for(timeout=60_000)
    page.wait_for_timeout(1800)  # longer than it takes until a text is read


def told(hands: Hands, text: str, seconds: float = 30) -> list[str]:
    """Waits until it was said; returns all that was."""
    all_said = []

    def said() -> bool:
        all_said.extend(hands.heard())
        return any(text in each for each in all_said)

    until(said, f"'{text}' is said; it said {all_said}", seconds)
    hands.page.wait_for_timeout(1200)  # longer than it takes until a text is read
    return all_said + hands.heard()


def test_every_step_by_keys_alone(page, pictures):
    hands = Hands(page)
    # Pictures: the hints end, a mistake, and pictures of one's own
    hands.reach(".bm-guide .skip")
    hands.press("Enter")
    hands.reach("#path :is(input, textarea)")
    page.keyboard.type("/nowhere/at/all")
    page.keyboard.press("Enter")
    assert sum("/nowhere/at/all" in each for each in told(hands, "/nowhere/at/all")) == 1
    page.keyboard.press("Control+a")
    page.keyboard.type(str(pictures))
    page.keyboard.press("Enter")
    ready = WORDS["ready"].format(n=36)
    assert told(hands, ready).count(ready) == 1
    # Teach: two pictures into each box, one back, and why
    hands.open("teach")
    hands.reach("#board .bm-card")
    for key in "1212":
        hands.press(key, "ArrowRight")
    until(lambda: boxes(page) == [2, 2], "the boxes hold what was put there")
    judged(page)
    hands.heard()
    hands.press("1")
    until(lambda: boxes(page) == [3, 2], "the box holds what was put there")
    judged(page)
    said = hands.heard()
    assert len(said) == 2 and "3 examples" in said[0], said
    hands.press("Control+z")
    until(lambda: boxes(page) == [2, 2], "the last one is back")
    judged(page)
    hands.press("w")
    page.locator("#why .because").wait_for()
    until(lambda: page.evaluate("document.activeElement.matches('.because')"), "the card has the focus")
    hands.press("Escape")
    page.locator("#why .because").wait_for(state="detached")
    assert page.evaluate("document.activeElement.matches('#board .bm-card')")
    # the adaptation once more, in slow motion: it is said step by step, and not for every frame
    hands.heard()
    hands.reach(".bm-slow")
    hands.press("Enter")
    page.wait_for_timeout(3500)
    steps = hands.heard()
    assert 2 <= len(steps) <= 5 and len(set(steps)) == len(steps), steps
    hands.press("Enter")
    # Map: a picture is reached, opened, chosen and put into a box
    hands.open("map")
    page.locator("#map .badge[data-stage=umap]").wait_for(timeout=60_000)
    hands.reach("#map .overlay")
    hands.press("Enter", "ArrowRight")
    page.locator("#map .card .name").wait_for()
    hands.press("v")
    page.locator("#map dialog[open] .name").wait_for()
    hands.press("Escape", "Enter")
    page.locator("#map .bar").wait_for()
    hands.reach("#map .bar .boxes button")
    hands.press("Enter")
    until(lambda: sum(boxes(page)) == 5, "the board has the picture")
    # Locate: a box is drawn, things are found, and one of them is none
    hands.open("locate")
    state = "document.querySelector('.bm-locator').__locator.state()"
    until(lambda: page.evaluate(state + ".drawn"), "a picture is there")
    hands.heard()
    hands.reach("#locator canvas")
    hands.press("Shift+ArrowLeft", "Shift+ArrowUp", "Enter", *["Shift+ArrowRight", "Shift+ArrowDown"] * 3, "Enter")
    assert len(page.evaluate(state + ".marks")) == 1
    said = told(hands, "On ", 60)
    assert sum(each.startswith("On ") for each in said) == 1, said
    hands.reach("#locator .bm-loc-grid button")
    hands.press("ArrowRight", "Enter")
    until(lambda: page.evaluate(state + ".drawn && " + state + ".answers.length"), "the found one is there")
    left, top, right, bottom, *_ = page.evaluate(state + ".answers[0]")
    hands.reach("#locator canvas", back=True)
    for ends, keys in (((left, right), ("ArrowLeft", "ArrowRight")), ((top, bottom), ("ArrowUp", "ArrowDown"))):
        far = round(100 * (sum(ends) / 2 - 0.5))
        hands.press(*[keys[far > 0]] * max(1, abs(far)))
    hands.press("Enter")
    page.locator("#locator .bm-loc-ask").wait_for()
    hands.press("Tab", "Enter")
    assert [mark.get("no") for mark in page.evaluate(state + ".marks")] == [None, True]
    # Measure: fewer tasks, a result, and why one failed
    hands.open("measure")
    hands.reach("#measure-way input")
    page.keyboard.press("Control+a")
    page.keyboard.type("3")
    hands.reach("#measure-tasks input")
    page.keyboard.press("Control+a")
    page.keyboard.type("10")
    hands.heard()
    hands.reach("#measure-start")
    hands.press("Enter")
    said = told(hands, "10 tasks", 60)
    assert sum("10 tasks" in each for each in said) == 1, said
    # Learn: a study begins and is ended
    hands.open("learn")
    hands.reach("#study")
    hands.heard()
    hands.press("Enter")
    page.locator("#stop").wait_for(timeout=60_000)
    hands.reach("#stop")
    hands.press("Enter")
    over = WORDS["state_stopped"].split("{")[0]
    said = told(hands, over, 60)
    assert sum(over in each for each in said) == 1, said
    # the other language, with everything that was done
    hands.reach("#language a", back=True)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=table("zh")["title"]).wait_for()
    hands.reach("#teach-tab-button")
    hands.press("Enter")
    until(lambda: sum(boxes(page)) == 5, "the boxes are as they were")
    assert hands.wrong == [], json.dumps(sorted(set(hands.wrong)), indent=1)
