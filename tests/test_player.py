"""The player: an adaptation that is sent once, played, stepped through and slowed down; and 50 that are overtaken."""

import base64
import json
import os
import pickle
import threading
from dataclasses import asdict

import numpy as np
import pytest
import torch
from conftest import draw_pictures

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
pytest.importorskip("gradio")
import gradio as gr
from browser import App, open_page, overflow, until

from byolmeta.adapt import label_trace
from byolmeta.learners import LEARNERS
from byolmeta.ui import figures, teach
from byolmeta.ui.chart import Chart, chart_paths
from byolmeta.ui.player import WORDS, Player, encode_moves
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

TABLE = table("en")
N, OF = 60, 12
BOXES = [
    {"id": "b1", "name": "<img src=x onerror=window.hurt=1>", "colour": "#0072B2"},
    {"id": "b2", "name": "${window.hurt=2}", "colour": "#E69F00"},
    {"id": "b3", "name": "{{x}}", "colour": "#009E73"},
]


def decoded(moves: dict) -> list[np.ndarray]:
    """Labels after each step, as the browser reads them."""
    labels = [np.frombuffer(base64.b64decode(moves["first"]), np.int8).copy()]
    for ids, boxes in moves["changes"]:
        labels.append(labels[-1].copy())
        labels[-1][ids] = boxes
    return labels


# ---- what is sent


def test_moves_hold_every_step_and_leave_examples_out():
    random = np.random.default_rng(0)
    steps = list(random.integers(0, 3, (5, N)))
    right = [f"{n} of 10" for n in range(5)]
    moves = encode_moves(steps, right, support=np.array([0, 7]), box_ids=["a", "b", "c"], seq=4)
    assert (moves["seq"], moves["of"], moves["box_ids"]) == (4, 4, ["a", "b", "c"])
    assert moves["right"] == right[1:]  # after the first step, the second ...
    for labels, step in zip(decoded(moves), steps[1:], strict=True):
        assert labels[[0, 7]].tolist() == [-1, -1]
        assert np.array_equal(np.delete(labels, [0, 7]), np.delete(step, [0, 7]))
    json.dumps(moves)


def test_a_learner_without_inner_steps_has_one():
    moves = encode_moves([np.zeros(4, int)], ["3 of 4"], support=np.array([1]), box_ids=["a", "b"], seq=1)
    assert moves["of"] == 1 and moves["changes"] == [] and moves["right"] == ["3 of 4"]
    assert decoded(moves)[0].tolist() == [0, -1, 0, 0]


def test_who_checked_sooner_goes_on_saying_the_last():
    moves = encode_moves([np.zeros(4)] * 5, ["a", "b", "c"], support=np.array([1]), box_ids=["x"], seq=1)
    assert moves["right"] == ["b", "c", "c", "c"]
    assert encode_moves([np.zeros(4)] * 5, support=np.array([1]), box_ids=["x"], seq=1)["right"] == []


def test_5000_pictures_in_20_boxes_stay_small():
    random = np.random.default_rng(0)
    kinds = random.integers(0, 20, 5000)
    vectors = torch.from_numpy((random.normal(size=(20, 64))[kinds] + 3 * random.normal(size=(5000, 64))).astype("f4"))
    support = np.concatenate([np.flatnonzero(kinds == kind)[:3] for kind in range(20)])
    steps = list(label_trace(LEARNERS["anil"](), vectors, support, kinds[support], 20))
    moves = encode_moves(steps, support=support, box_ids=[f"b{n}" for n in range(20)], seq=1)
    assert sum(len(ids) for ids, _ in moves["changes"]) > 100
    assert len(json.dumps(moves)) < 200_000


# ---- from the boxes


@pytest.fixture
def work(tmp_path):
    return Workspace(tmp_path / "home")


@pytest.fixture
def session(work, tmp_path):
    """Three kinds in class folders, untrained network, two examples of two kinds in boxes."""
    session = work.session("local")
    session.encoder = "untrained"
    work.choose(session, draw_pictures(tmp_path / "mine", each=12), "mine")
    work.pictures(session)
    session.boxes["boxes"][0]["items"], session.boxes["boxes"][1]["items"] = [0, 3], [12, 14]
    return session


def test_answers_come_first_and_the_moves_end_at_them(work, session):
    first, last = teach.begin(work, TABLE, session)
    board, _, _, _, player = first
    assert board["answers"] and player["moves"] == {"waiting": True}
    board, verdict, curve, _, player = last
    moves, steps = player["moves"], decoded(player["moves"])
    answers = np.frombuffer(base64.b64decode(board["answers"]["label"]), np.int8)
    others = np.setdiff1d(np.arange(36), [0, 3, 12, 14])
    assert len(steps) == moves["of"] == LEARNERS["anil"]().steps == len(moves["right"])
    assert np.array_equal(steps[-1][others], answers[others]) and set(steps[-1][[0, 3, 12, 14]]) == {-1}
    assert moves["box_ids"] == board["answers"]["box_ids"] and player["rev"] == board["answers"]["rev"]
    assert f"{moves['right'][-1]} right" in verdict
    grows = [trace["name"] for trace in curve["figure"]["data"] if trace.get("meta") and "name" in trace]
    assert TABLE["line_pixels"] in grows and TABLE["chance"] not in grows
    longest = max(len(trace["x"]) for trace in curve["figure"]["data"] if trace["mode"] == "lines+markers")
    assert longest == moves["of"] + 1
    assert teach.again(work, TABLE, session)[-1]["moves"] == moves  # for a page that came up late
    (renamed,) = teach.changed(work, TABLE, session, session.boxes | {"rev": session.boxes["rev"] + 1})
    assert renamed[-1]["rev"] == session.boxes["rev"] and "moves" not in renamed[-1]


def test_one_example_each_has_steps_without_an_accuracy(work, session, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted((tmp_path / "mine").rglob("*.png"))):
        path.rename(flat / f"{number}.png")
    work.choose(session, flat, "flat")
    work.pictures(session)
    session.boxes["boxes"][0]["items"], session.boxes["boxes"][1]["items"] = [0], [12]
    *_, last = teach.begin(work, TABLE, session)
    assert last[2]["figure"] == {} and last[-1]["moves"]["of"] == 20 and last[-1]["moves"]["right"] == []
    session.boxes["boxes"][1]["items"] = []
    (none,) = teach.begin(work, TABLE, session)
    assert none[-1]["moves"] == {}


def test_a_method_that_solves_at_once_has_one_step(work, session):
    session.learner = "ridge"
    *_, last = teach.begin(work, TABLE, session)
    assert last[-1]["moves"]["of"] == 1 and len(last[-1]["moves"]["right"]) == 1


def boards(session, count: int) -> list[dict]:
    """States of the board in quick succession, each with other examples."""
    rev = session.boxes["rev"]
    rows = [([n % 12, (n + 5) % 12], [12 + n % 12, 12 + (n + 3) % 12]) for n in range(count)]
    return [
        {"rev": rev + 1 + n, "boxes": [{"id": f"b{b + 1}", "name": f"Box {b + 1}", "items": i} for b, i in enumerate(row)]}
        for n, row in enumerate(rows)
    ]  # fmt: skip


def held(work, session) -> int:
    """Bytes of what is remembered of the visitor, without the pictures' vectors, which are the same."""
    seen = {key: value for key, value in work.seen(session).items() if key not in ("whole", "vectors")}
    return len(pickle.dumps((asdict(session), seen)))


def test_of_50_that_overtake_each_other_only_the_last_goes_on(work, session):
    list(teach.begin(work, TABLE, session))
    threads, before = threading.active_count(), held(work, session)
    states = boards(session, 50)
    running = []
    for state in states:  # each has answered, and is overtaken before its curve
        running.append(teach.changed(work, TABLE, session, state))
        assert next(running[-1])[0]["answers"]["rev"] == state["rev"]
    assert [list(one) for one in running[:-1]] == [[]] * 49
    (last,) = running[-1]
    assert last[0]["answers"]["rev"] == last[-1]["rev"] == states[-1]["rev"]
    assert last[-1]["moves"]["first"] and work.seen(session)["answers"]["rev"] == states[-1]["rev"]
    assert threading.active_count() == threads
    assert held(work, session) < 1.5 * before


def test_50_at_once_end_and_the_newest_stays(work, session):
    list(teach.begin(work, TABLE, session))
    threads = threading.active_count()
    states, shown = boards(session, 50), {}

    def drop(state):
        shown[state["rev"]] = list(teach.changed(work, TABLE, session, state))

    workers = [threading.Thread(target=drop, args=(state,)) for state in states]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert threading.active_count() == threads
    newest = states[-1]["rev"]
    assert session.boxes["rev"] == work.seen(session)["answers"]["rev"] == newest
    whole = [out[-1][-1] for out in shown.values() if out and "first" in out[-1][-1].get("moves", {})]
    # An earlier run, too, can be the one that sees the newest board.
    assert newest in [player["rev"] for player in whole]


# ---- in the browser


def made(seq: int, of: int = OF, right: bool = True) -> dict:
    """An adaptation in which pictures 4 n and 4 n + 1 change their box at step n + 1."""
    steps = np.zeros((of + 1, N), int)
    for step in range(2, of + 1):
        steps[step:, 4 * (step - 1) % N : 4 * (step - 1) % N + 2] = 1 + seq % 2
    words = [f"{min(n, 9)} of 10" for n in range(of + 1)] if right else []
    steps = steps if of > 1 else steps[:1]
    return encode_moves(list(steps), words, support=np.array([0, 1]), box_ids=["b1", "b2", "b3"], seq=seq)


@pytest.fixture(scope="module")
def address(tmp_path_factory, browser):
    """A page with a curve, the player, and buttons that do what Python does after a change of the board."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("served")
    Image.new("RGB", (96 * 16, 96 * 4), (200, 60, 60)).save(folder / "sheet.webp")
    sheets = {"key": "a", "n": N, "tile": 96, "columns": 16, "per_sheet": 256}
    sheets |= {"sheets": [f"/gradio_api/file={folder / 'sheet.webp'}"]}

    def figure(of: int = OF):
        from byolmeta.adapt import Accuracy

        trace = [Accuracy(min(n, 9), 10) for n in range(of + 1 if of > 1 else 1)]
        return figures.accuracy_figure({"pixels": trace, "yours": trace}, {"pixels": "p", "yours": "y"}, 0.3, TABLE)

    def sent(seq: int, **more):
        about = {"rev": 10 * seq, "boxes": BOXES, "pictures": sheets}
        return [gr.update(figure=figure(more.get("of", OF))), gr.update(moves=made(seq, **more), **about)]

    with gr.Blocks(analytics_enabled=False) as demo:
        with gr.Column(elem_id="column"):
            curve = Chart(label="curve", elem_id="curve")
            player = Player(chart="curve", elem_id="player")

        def button(name, act):
            gr.Button(name, elem_id=name).click(act, None, [curve, player], show_progress="hidden", queue=False)

        button("one", lambda: sent(1))
        button("two", lambda: sent(2))
        button("once", lambda: sent(3, of=1))
        button("unchecked", lambda: sent(4, right=False))
        button("waiting", lambda: [gr.skip(), gr.update(moves={"waiting": True})])
        button("none", lambda: [gr.update(figure={}), gr.update(moves={})])
        button("renamed", lambda: [gr.skip(), gr.update(rev=99, boxes=BOXES)])
    gr.set_static_paths(chart_paths())
    demo.launch(prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, allowed_paths=[str(folder)])
    yield demo.local_url
    demo.close()


class Played:
    """The player on a page, and the events that it sent: [step, of, rev, labels, flipped], or None."""

    def __init__(self, page):
        self.page = page
        page.wait_for_selector("#renamed")
        page.wait_for_function("document.querySelector('.bm-player')?.__player")
        page.evaluate("""() => { window.told = []; addEventListener('byolmeta-step', ({detail: d}) => told.push(
          d && [d.step, d.of, d.rev, [...d.labels], d.flipped, d.box_ids]));
          window.states = new Set();
          const look = () => { const {seq, playing} = document.querySelector('.bm-player').__player.when();
            states.add(`${seq} ${playing}`); requestAnimationFrame(look); };
          look(); }""")

    def press(self, name: str) -> None:
        self.page.evaluate(f"document.querySelector('#{name}').click()")

    def now(self) -> dict:
        return self.page.evaluate("document.querySelector('.bm-player').__player.when()")

    def when(self, condition: str) -> None:
        self.page.wait_for_function(f"(p => {condition})(document.querySelector('.bm-player').__player.when())")

    def played(self, seq: int) -> None:
        """Waits until these answers have been seen to play by themselves."""
        self.page.wait_for_function(f"states.has('{seq} first')")

    def told(self) -> list:
        return self.page.evaluate("told")

    def line(self) -> str:
        return self.page.locator(".bm-play-at").inner_text()

    def partial(self) -> bool:
        return self.page.evaluate("document.querySelector('#curve .chart').classList.contains('partial')")

    def sent(self, name: str, seq: int) -> None:
        """New answers; waits until they are shown to their end."""
        self.press(name)
        self.when(f"p.seq === {seq} && !p.playing && p.at === p.of && !p.waiting")

    def click(self, part: str) -> None:
        self.page.locator(f"#player .bm-{part}").click(force=True)  # also where it says that it is of no use now


@pytest.fixture
def visit(address, browser):
    pages = []

    def open_it(**options):
        pages.append(open_page(browser, address, **options))
        return Played(pages[-1])

    yield open_it
    for page in pages:
        assert page.problems == [] and page.evaluate("window.hurt") is None
        page.context.close()


def test_new_answers_are_played_once_and_without_a_word_to_the_page(visit):
    player = visit()
    assert player.page.locator(".bm-player").is_hidden()
    player.page.evaluate("""() => { window.widths = new Set(); const look = () => {
      const part = document.querySelector('#curve [id$=part-0] rect');
      if (part && document.querySelector('#curve .partial')) widths.add(part.getAttribute('width'));
      requestAnimationFrame(look); }; look(); }""")
    player.sent("one", 1)
    player.played(1)
    assert player.page.evaluate("widths.size") > 0  # a busy machine draws few parts
    assert player.line() == "Step 12 of 12: 9 of 10" and not player.partial()
    assert player.told() == []
    assert player.page.locator(".bm-player .bm-play-when").get_attribute("aria-valuetext") == "Step 12 of 12: 9 of 10"


def test_slow_motion_tells_every_step_and_then_the_end(visit):
    player = visit()
    player.sent("one", 1)
    for _ in range(2):
        player.click("speed")
    assert player.page.locator(".bm-speed").inner_text() == "4×"
    player.click("slow")
    player.page.wait_for_function("told.length >= 4")
    assert player.page.locator(".bm-slow").get_attribute("aria-checked") == "true" and player.partial()
    flip = player.page.locator(".bm-flips li")
    flip.first.wait_for()
    assert flip.count() == 2 and "Picture" in flip.first.get_attribute("title")
    assert f"{BOXES[0]['name']} → {BOXES[2]['name']}" in flip.first.get_attribute("title")
    assert "url(" in flip.first.evaluate("node => getComputedStyle(node).backgroundImage")
    assert flip.first.evaluate("node => node.style.getPropertyValue('--hue')") == "#009E73"
    spoken = player.page.locator(".bm-play-say").inner_text()
    assert spoken.endswith(WORDS["changed_many"].format(n=2))
    player.when("!p.playing")
    *steps, last = player.told()
    assert last is None and [step[0] for step in steps] == list(range(1, OF + 1))
    for (_, of, rev, labels, flipped, box_ids), expected in zip(steps, decoded(made(1)), strict=True):
        assert (of, rev, box_ids) == (OF, 10, ["b1", "b2", "b3"]) and labels == expected.tolist()
        assert flipped == [] or all(labels[i] == 2 for i in flipped)
    assert steps[0][4] == [] and steps[3][4] == [12, 13]
    assert not player.partial() and player.line() == "Step 12 of 12: 9 of 10"


def test_it_is_stepped_and_paused_by_keys(visit):
    player = visit()
    player.sent("one", 1)
    keys = player.page.keyboard
    player.page.locator(".bm-play-when").focus()
    keys.press("ArrowLeft")
    assert player.now()["at"] == 11 and player.told()[-1][0] == 11 and player.partial()
    assert player.line() == "Step 11 of 12: 9 of 10 · 2 pictures changed their box"
    keys.press("ArrowLeft")
    assert player.told()[-1][0] == 10
    keys.press("Home")
    assert player.now()["at"] == 1 and player.line().endswith(WORDS["first"])
    keys.press("ArrowLeft")
    assert player.now()["at"] == 1
    keys.press(" ")
    assert player.now()["playing"] == "hand" and player.told()[-1] is None  # at this speed nobody could follow
    player.when("p.at > 3")
    keys.press(" ")
    at = player.now()["at"]
    assert not player.now()["playing"] and at == int(at) and player.told()[-1][0] == at
    player.page.wait_for_timeout(400)
    assert player.now()["at"] == at
    keys.press("End")
    assert player.told()[-1][0] == OF
    player.page.wait_for_function("told.at(-1) === null")  # the last step has been looked at


def test_after_a_pause_new_answers_show_their_end(visit):
    player = visit()
    player.sent("one", 1)
    player.click("back")
    player.press("two")
    player.when("p.seq === 2")
    assert not player.now()["playing"] and player.now()["at"] == OF and not player.partial()
    assert player.told()[-1] is None
    player.click("play")  # now it plays by itself again
    player.when("p.playing === null")
    player.page.evaluate("states.clear()")
    player.press("one")
    player.played(1)


def test_new_answers_start_over_and_are_never_mixed(visit):
    player = visit()
    player.sent("one", 1)
    player.click("slow")
    player.page.wait_for_function("told.length >= 2")
    player.press("waiting")
    player.when("p.waiting")
    count = len(player.told())
    assert player.told()[-1] is None and not player.partial() and not player.now()["playing"]
    for part in ("play", "back", "forward", "slow"):
        player.click(part)
    player.page.locator(".bm-play-when").focus()
    player.page.keyboard.press("ArrowLeft")
    assert len(player.told()) == count and not player.now()["playing"]  # nothing to play yet
    player.press("two")
    player.played(2)
    player.press("one")  # while that plays
    player.when("p.seq === 1 && !p.playing && p.at === p.of")
    assert len(player.told()) == count
    player.press("two")
    player.when("p.seq === 2 && !p.playing && p.at === p.of")
    player.click("back")
    assert player.told()[-1][2] == 20 and player.told()[-1][3] == decoded(made(2))[OF - 2].tolist()
    player.press("renamed")  # the same moves of a board that counts on
    player.page.wait_for_timeout(300)
    player.click("back")
    assert player.told()[-1][:3] == [OF - 2, OF, 99]
    player.press("none")
    player.page.locator(".bm-player").wait_for(state="hidden")
    assert player.told()[-1] is None


def test_without_motion_the_end_is_shown_at_once_and_steps_still_work(visit):
    player = visit(reduced_motion="reduce")
    player.press("one")
    player.when("p.seq === 1")
    assert player.now()["at"] == OF and not player.now()["playing"] and not player.partial()
    player.click("back")
    assert player.told()[-1][0] == OF - 1
    player.click("slow")
    player.page.wait_for_function("told.at(-1) === null")
    assert player.told()[-2][0] == OF


def test_one_step_is_said_in_one_sentence(visit):
    player = visit()
    player.press("once")
    player.when("p.seq === 3")
    assert player.line() == WORDS["at_once"]
    for part in ("play", "back", "forward", "slow"):
        assert player.page.locator(f".bm-{part}").get_attribute("aria-disabled") == "true"
        player.click(part)
    assert player.told() == [] and not player.now()["playing"]


def test_without_checks_there_are_steps_and_no_accuracy(visit):
    player = visit()
    player.press("unchecked")
    player.when("p.seq === 4")
    assert player.line() == "Step 12 of 12" and not player.now()["playing"]
    player.click("back")
    assert player.told()[-1][0] == 11


@pytest.mark.parametrize("wide, touch", [(390, True), (1024, False), (1440, False)])
def test_it_fits_and_fingers_find_it(visit, wide, touch):
    player = visit(viewport={"width": wide, "height": 800}, has_touch=touch, is_mobile=touch)
    player.sent("one", 1)
    player.click("slow")
    player.page.locator(".bm-flips li").first.wait_for()
    assert overflow(player.page) <= 0
    for part in ("play", "back", "forward", "speed", "slow", "play-when"):
        area = player.page.locator(f"#player .bm-{part}").bounding_box()
        least = 40 if touch else 30
        assert area["height"] >= least and area["width"] >= least, (part, area)
        assert area["x"] >= 0 and area["x"] + area["width"] <= wide


# ---- on the page


@pytest.mark.long
def test_50_drops_in_a_row_end_with_the_last_ones_answers(browser, tmp_path):
    app = App(tmp_path / "home")
    try:
        page = open_page(browser, app.address)
        page.wait_for_selector("#report .tile")
        page.locator("#try").click()
        page.locator("#board .bm-card").first.focus()
        for number in range(50):
            page.keyboard.press("12"[number % 2])
        page.wait_for_function(
            """() => [...document.querySelectorAll('#board .bm-box')].flatMap(
              box => [...box.querySelectorAll('.bm-thumb')]).length === 50""",
            timeout=90_000,
        )
        ended = """() => { const player = document.querySelector('.bm-player').__player.when();
          return player.seq && !player.waiting && !player.playing; }"""
        page.wait_for_function(ended, timeout=90_000)
        saved = app.home / "projects" / "local.json"
        rev = until(lambda: json.loads(saved.read_text())["boxes"]["rev"] >= 50 and 50, "the last board is saved", 90)
        page.wait_for_function(
            f"document.querySelector('#board [data-answered]')?.dataset.answered === '{rev}'", timeout=90_000
        )
        page.wait_for_function(ended, timeout=90_000)
        page.evaluate("""() => addEventListener('byolmeta-step', ({detail}) => { window.last = detail; })""")
        page.locator("#player .bm-back").click()
        assert page.evaluate("last.rev") == rev
        labels = np.array(page.evaluate("[...last.labels]"))
        assert (labels == -1).sum() == 50 and len(labels) == 350
        assert page.problems == []
        page.context.close()
        assert "Traceback" not in app.output()
    finally:
        app.end()
