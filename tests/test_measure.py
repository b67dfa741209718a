"""measure.py and the step Measure: figures equal the verb's, pairs, confusions, files, limits; and one visit in Chromium."""

import csv
import io
import json
import time

import numpy as np
import pytest
from conftest import draw_pictures

pytest.importorskip("gradio")
from browser import App, chromium, open_page, overflow, until

from byolmeta import commands, samples
from byolmeta.encoder import load_encoder, save_encoder
from byolmeta.errors import InputError
from byolmeta.fewshot import paired
from byolmeta.files import read_card
from byolmeta.measure import candidate, draw_tasks
from byolmeta.measure import measure as measure_all
from byolmeta.ui import measure, measured, measuring
from byolmeta.ui.html import safe
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

WORDS = table("en")


@pytest.fixture(autouse=True)
def nothing_kept():
    measuring.kept.clear()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("measure") / "home"


@pytest.fixture
def work(home):
    """The drawn creatures, with their starter."""
    return Workspace(home)


@pytest.fixture
def session(work):
    session = work.session("measuring")
    work.pictures(session)
    return session


def form(work, session, encoders=None, learners=("prototype",), way=5, shots="1", query=0, episodes=20, seed=0) -> list:
    return [encoders or [work.encoder(session)], list(learners), way, shots, query, episodes, seed]


def measure_now(work, session, **values):
    """All that is yielded, and the results."""
    updates = list(measuring.run(work, WORDS, session, *form(work, session, **values)))
    return updates, measuring.kept.get(session.name)


def told(work, session, **values) -> str:
    """What stands below the button at the end."""
    updates, _ = measure_now(work, session, **values)
    return updates[-1][0]["value"]


# ---- measure.py


def test_a_candidate_answers_parts_as_it_answers_the_whole(store, tmp_path):
    tasks, query = draw_tasks(store, 3, 1, 0, 70, 3)
    assert query == 11  # 12 a class, one of them shown
    one = candidate("pixels", "anil", store, tmp_path)
    parts = [one.answers(tasks.part(slice(start, start + 32))) for start in range(0, 70, 32)]
    whole = measure_all("pixels", "anil", store, tasks, tmp_path)
    assert np.concatenate(parts).tolist() == whole.answers.tolist() and not one.practised and not one.transductive
    assert whole.right.tolist() == (whole.answers == tasks.query_labels).mean(1).tolist()
    again, _ = draw_tasks(store, 3, 1, 0, 70, 3, np.arange(36))
    assert again.query.shape == tasks.query.shape
    assert candidate("untrained:conv4", "ridge", store, tmp_path).transductive


def test_what_an_encoder_has_seen_of_these_pictures_is_known(store, tiny_encoder, tmp_path):
    practice = {"in_force": True, "tasks": "labels", "store": store.fingerprint, "learners": {"anil": {"steps": 3}}}
    seen = tmp_path / "seen.safetensors"
    save_encoder(load_encoder(tiny_encoder), seen, {"store": store.fingerprint, "practice": practice})
    one = candidate(str(seen), "anil", store, tmp_path)
    assert one.practised and one.studied and one.saw_labels and one.learner.steps == 3
    other = candidate(str(seen), "ridge", store, tmp_path)
    assert not other.practised and other.saw_labels
    plain = candidate(str(tiny_encoder), "anil", store, tmp_path)
    assert not (plain.practised or plain.studied or plain.saw_labels)
    assert read_card(seen)["practice"]["tasks"] == "labels"


# ---- the step: what is measured


def test_figures_are_those_of_the_verb(work, session, monkeypatch):
    """Also of a baseline whose pictures have another size, and of digits."""
    monkeypatch.setenv("BYOLMETA_HOME", str(work.home))
    folder = work.source(session)
    encoders, learners = [work.encoder(session), "pixels"], ("prototype", "anil", "ridge")
    updates, results = measure_now(
        work, session, encoders=encoders, learners=learners, shots="5, 1", episodes=40, seed=7
    )
    assert [line.name for line in results.lines][:2] == ["photos-small · prototype", "photos-small · ridge"]
    for line in results.lines:
        for shot in (1, 5):
            found = commands.fewshot(line.where, folder, shot=shot, episodes=40, learner=line.learner, seed=7)
            mean, half, n = measured._figures(results, line, shot)
            assert (mean, half, n) == (found["accuracy"], found["ci95"], 40), line.name
            assert line.about["transductive"] == found["transductive"]
            assert results.queries[shot] == found["query"]
    found = commands.fewshot(encoders[0], folder, episodes=40, learner="ridge", versus="pixels,anil", seed=7)
    lines = {line.name: line for line in results.lines}
    gain, half, *_ = measured._difference(results, lines["raw pixels · anil"], lines["photos-small · ridge"], 1)
    assert (gain, half) == (found["difference"], found["difference_ci95"])
    tables = [update[3] for update in updates if isinstance(update[3], str)]
    assert [text.count("<tr>") for text in tables[1:4]] == [2, 2, 3]  # line by line, below the heads


def test_digits_and_wrong_pictures_as_the_verb_lists_them(work, monkeypatch, tmp_path):
    monkeypatch.setenv("BYOLMETA_HOME", str(work.home))
    session = work.session("digits")
    folder = samples.sample_folder("digits", work.home)
    work.choose(session, folder, "digits")
    _, results = measure_now(work, session, encoders=["histogram"], episodes=30, way=4)
    (line,) = results.lines
    found = commands.fewshot("histogram", folder, way=4, episodes=30, out=tmp_path / "wrong.csv")
    assert measured._figures(results, line, 1)[0] == found["accuracy"]
    saved = json.loads(measure.saved(work, WORDS, session, "wrong", "0", "1"))
    assert saved["text"].encode() == (tmp_path / "wrong.csv").read_bytes() and saved["name"].endswith(".csv")


def test_slow_learners_get_few_tasks_and_are_compared_on_those(work, session, monkeypatch):
    monkeypatch.setattr(measuring, "SLOW_TASKS", 3)
    _, results = measure_now(work, session, encoders=["pixels"], learners=("anil", "maml"), episodes=12)
    anil, maml = results.lines
    assert len(anil.answers[1]) == 12 and len(maml.answers[1]) == 3
    gain, half, low, high, n = measured._difference(results, anil, maml, 1)
    assert n == 3 and (gain, half) == paired(results.right(anil, 1)[:3], results.right(maml, 1))
    assert WORDS["measure_few"].format(n=3) in measured.table_of(results, WORDS)


def test_stop_keeps_what_was_measured_and_says_how_many_tasks(work, session):
    running = measuring.run(work, WORDS, session, *form(work, session, learners=("prototype", "linear"), episodes=400))
    last = None
    for last in running:
        results = measuring.kept.get(session.name)
        if results and results.lines:  # the first line is there
            measuring.halt(work, WORDS, session)
    assert last[0]["value"] and WORDS["measure_stopped"] in last[0]["value"]
    assert last[1]["interactive"] and last[2]["visible"] == "hidden"
    results = measuring.kept[session.name]
    assert len(results.right(results.lines[0], 1)) == 400
    assert all(len(line.answers[1]) < 400 for line in results.lines[1:])
    assert sum(len(line.answers) for line in results.lines) <= 2
    assert measure.compare(work, WORDS, session, "0", "1" if len(results.lines) > 1 else "0", "1")


def test_a_newer_measuring_ends_the_older(work, session):
    first = measuring.run(work, WORDS, session, *form(work, session, learners=("linear",), episodes=400))
    next(first), next(first)
    updates, results = measure_now(work, session, episodes=10)
    list(first)
    assert measuring.kept[session.name] is results and results.plan.episodes == 10


# ---- the step: what is shown


@pytest.fixture
def results(work, session):
    encoders = [work.encoder(session), work.untrained(session), "pixels"]
    return measure_now(work, session, encoders=encoders, learners=("prototype", "anil"), shots="1 5", episodes=60)[1]


def test_the_table_states_its_rules(work, session, results):
    text = measured.table_of(results, WORDS)
    for part in ("350 pictures in 14 classes", "60 tasks", "5-way", "seed 0", "Inductive", "1-shot", "5-shot", "± "):
        assert part in text, part
    assert text.count(f"<small>{WORDS['measure_tag_transductive']}</small>") == 2
    assert safe(WORDS["measure_note_transductive"]) in text
    tops = [line.name for line in measured.top_lines(results, 5)]
    assert tops == ["photos-small · anil"] and text.count("class=top") >= 2
    figure = measured.shown(results, WORDS)[1]["figure"]
    assert [len(trace["x"]) for trace in figure["data"]] == [6, 6] and len(json.dumps(figure)) < 50_000


def test_a_paired_verdict_says_which_is_better(work, session, results):
    names = [line.name for line in results.lines]
    best, worst = names.index("photos-small · prototype"), names.index("raw pixels · prototype")
    better = measure.compare(work, WORDS, session, str(best), str(worst), "1")
    worse = measure.compare(work, WORDS, session, str(worst), str(best), "1")
    assert "Clearly better: photos-small" in better and "+" in better and "60 tasks" in better
    assert "Clearly worse: raw pixels" in worse and "−" in worse
    gain, half = paired(results.right(results.lines[worst], 1), results.right(results.lines[best], 1))
    assert f"{100 * gain:+.1f} points" in better and f"{100 * (gain - half):+.1f} to" in better
    untrained, pixels = names.index("untrained photos-small · prototype"), worst
    close = measure.compare(work, WORDS, session, str(untrained), str(pixels), "1")
    low, high = measured._difference(results, results.lines[pixels], results.lines[untrained], 1)[2:4]
    assert ("No clear difference" in close) == (low <= 0 <= high)
    assert "Choose two different" in measure.compare(work, WORDS, session, "0", "0", "1")


@pytest.mark.parametrize(
    "tag, said", [("saw_labels", "practised with these very class names"), ("studied", "studied these")]
)
def test_a_verdict_says_what_the_better_one_knew(work, session, results, tag, said):
    names = [line.name for line in results.lines]
    best, worst = names.index("photos-small · prototype"), names.index("raw pixels · prototype")
    results.lines[best].about[tag] = True
    better = measure.compare(work, WORDS, session, str(best), str(worst), "1")
    worse = measure.compare(work, WORDS, session, str(worst), str(best), "1")
    for verdict in (better, worse):
        assert f", but photos-small {said}" in verdict
    assert "verdict flattered" in better and "verdict worse" in worse
    results.lines[worst].about[tag] = True
    assert "but" not in measure.compare(work, WORDS, session, str(best), str(worst), "1")


def test_a_result_of_other_pictures_is_called_older(work, session, results, tmp_path):
    assert "Older result" not in measure.again(work, WORDS, session)[0]
    other = work.session("elsewhere")
    work.choose(other, draw_pictures(tmp_path / "shapes", each=4), "shapes")
    measuring.kept["elsewhere"] = results
    assert f"Older result, of {results.label}" in measure.again(work, WORDS, other)[0]


def test_files_tell_whether_all_got_the_same_tasks(work, session, results):
    assert measured.json_of(results)["same_episodes_for_all"] is True
    line = results.lines[0]
    line.answers[1] = line.answers[1][:7]  # as of one that is slow, or was stopped
    assert measured.json_of(results)["same_episodes_for_all"] is False
    del line.answers[1]
    assert measured.json_of(results)["same_episodes_for_all"] is False


def test_very_long_numbers_get_a_sentence(work, session, results):
    long = "9" * 5000
    for asked in ((long, "1"), ("0", long)):
        with pytest.raises(InputError):
            measure.wrongly(work, WORDS, session, *asked)
    for asked in ((long, "any"), ("any", long)):
        with pytest.raises(InputError):
            measure.cell(work, WORDS, session, *asked, "0", "1")
    for way in (10**5000, long, float("nan")):
        with pytest.raises(InputError, match="whole number"):
            measuring.plan_of(work, WORDS, session, *form(work, session, way=way))


def test_confusions_count_every_question(work, session, results):
    line = results.lines[0]
    counts = measured.confusion_counts(results, line, 1)
    assert counts.sum() == 60 * 75 and np.trace(counts) == round(results.right(line, 1).sum() * 75)
    figure, truth, taken, text, why = measure.wrongly(work, WORDS, session, "0", "1")
    assert why == ""
    assert np.array(figure["figure"]["data"][0]["customdata"]).sum() == counts.sum()
    assert len(json.dumps(figure["figure"])) < 50_000 and truth["value"] == taken["value"] == "any"
    assert text.count("data-row=") == measured.SHOWN and "wrong" in text and "→" in text


def test_a_cell_opens_its_pictures(work, session, results):
    counts = measured.confusion_counts(results, results.lines[0], 1)
    off = counts - np.diag(np.diag(counts))
    y, x = np.unravel_index(off.argmax(), off.shape)
    truth, taken, text, why = measure.picked_cell(work, WORDS, session, int(x), int(y), "0", "1")
    assert (truth["value"], taken["value"]) == (str(y), str(x))
    names = results.store.class_names
    assert f"<b>{names[y]}</b><i>→ {names[x]}</i>" in text
    rows, classes, said = measured._questions(results, results.lines[0], 1)
    assert text.count("data-row=") == min(measured.SHOWN, len(set(rows[(classes == y) & (said == x)])))
    same, _ = measure.cell(work, WORDS, session, str(y), str(y), "0", "1")
    assert "right" in same and "→" not in same
    only, _ = measure.cell(work, WORDS, session, "any", str(x), "0", "1")
    assert f"<b>{names[x]}</b>" not in only and f"→ {names[x]}" in only


def test_a_picture_says_which_parts_misled(work, session, results):
    line = results.lines[0]
    rows, classes, said = measured._questions(results, line, 1)
    at = int(np.flatnonzero(classes != said)[0])
    row, y, x = int(rows[at]), str(classes[at]), str(said[at])
    names = results.store.class_names
    why = measure.explained(work, WORDS, session, row, y, x, "0", "1")
    assert f"{names[int(y)]}, taken for {names[int(x)]}" in why and "/thumbs/single/" in why
    assert why.count("<tr") == 6 and f"<tr class='said'><th scope='row'>{names[int(x)]}" in why
    number = measured.task_with(results, line, 1, row, int(y), int(x))
    assert number == at // 75  # the first failure of all is the first task with one
    assert f"(task {number + 1})" in why
    mostly = np.bincount(said[(rows == row) & (said != classes)]).argmax()
    assert f"taken for {names[mostly]}" in measure.explained(work, WORDS, session, row, "any", "any", "0", "1")
    right = int(rows[np.flatnonzero(classes == said)[0]])
    own = str(results.store.labels[right])
    assert "answered right" in measure.explained(work, WORDS, session, right, own, own, "0", "1")
    never = str((int(own) + 1) % 14)
    for asked in (
        (right, never, own),
        (-1, "any", "any"),
        (10**6, "any", "any"),
        ("1", "any", "any"),
        (None, "any", "any"),
    ):
        with pytest.raises(InputError):
            measure.explained(work, WORDS, session, *asked, "0", "1")


def test_many_classes_are_cut_to_those_that_are_confused():
    counts = np.diag(np.full(50, 10))
    counts[40, 3] = counts[7, 49] = 5
    classes = measured.shown_classes(counts)
    assert len(classes) == measured.CLASSES_SHOWN and {3, 7, 40, 49} <= set(classes) and classes == sorted(classes)
    assert measured.shown_classes(np.zeros((3, 3), int)) == []


def test_files_hold_what_the_page_shows(work, session, results):
    saved = json.loads(measure.saved(work, WORDS, session, "csv", None, None))
    rows = list(csv.DictReader(io.StringIO(saved["text"].lstrip("\ufeff"))))
    assert len(rows) == 12 and saved["text"].startswith("\ufeff")
    line = results.lines[0]
    assert float(rows[0]["accuracy"]) == pytest.approx(results.right(line, 1).mean(), abs=1e-6)
    assert rows[2]["transductive"] in ("True", "False") and rows[0]["tasks"] == "60" and rows[0]["seed"] == "0"
    found = json.loads(json.loads(measure.saved(work, WORDS, session, "json", None, None))["text"])
    expected = {
        "episodes": 60,
        "way": 5,
        "shots": [1, 5],
        "query": 15,
        "seed": 0,
        "pictures": WORDS["sample_creatures"],
    }
    assert expected.items() <= found.items() and len(found["classes"]) == 14 and found["versions"]["byolmeta"]
    kinds = {(one["encoder"], one["transductive"], one["inductive"]) for one in found["results"]}
    assert kinds == {
        ("photos-small", False, True),
        ("untrained photos-small", True, False),
        ("raw pixels", False, True),
    }
    first = found["results"][0]
    assert first["settings"]["scale"] > 0 and first["practised"] is False and len(first["encoder_file"]) == 16
    assert np.mean(first["accuracy_of_each_episode"]) == pytest.approx(first["accuracy"], abs=1e-4)
    assert not any(str(work.home) in str(one) for one in found["results"])


def test_names_from_files_are_text(work, tmp_path):
    folder = draw_pictures(tmp_path / "=1+1", each=6)
    (folder / "disc").rename(folder / "=cmd()<img src=x>${a}")
    session = work.session("hostile")
    work.choose(session, folder, "=1+1<b>")
    _, results = measure_now(work, session, encoders=["pixels"], way=3, episodes=20)
    figure, _, _, text, _ = measure.wrongly(work, WORDS, session, "0", "1")
    rows, classes, said = measured._questions(results, results.lines[0], 1)
    row = int(rows[np.flatnonzero((classes != said) & (results.store.labels[rows] >= 0))[0]])
    why = measure.explained(work, WORDS, session, row, "any", "any", "0", "1")
    assert why.count("<img") == 1
    everything = measured.table_of(results, WORDS) + text + why.replace("<img alt=", "")
    assert "<img" not in everything and "${a}" not in everything and "<b>=1" not in everything
    assert "<img" not in json.dumps(figure["figure"])
    table_csv, wrong = (json.loads(measure.saved(work, WORDS, session, k, "0", "1"))["text"] for k in ("csv", "wrong"))
    assert "'=1+1<b>" in table_csv and "\n=" not in wrong and ",=" not in wrong


# ---- what cannot be


@pytest.mark.parametrize(
    "values, said",
    [
        ({"way": 15}, "15-way tasks"),
        ({"shots": "25"}, "25 examples"),
        ({"shots": ""}, "whole numbers from 1"),
        ({"shots": "one"}, "whole numbers from 1"),
        ({"shots": "0, 1"}, "whole numbers from 1"),
        ({"shots": "1 2 3 4 5 6"}, "6 numbers of examples"),
        ({"shots": None}, "whole numbers from 1"),
        ({"way": None}, "whole number from 2"),
        ({"way": 1}, "whole number from 2"),
        ({"way": float("nan")}, "whole number from 2"),
        ({"episodes": 2.5}, "whole number from 2"),
        ({"episodes": 10**9}, "whole number from 2 to 10,000"),
        ({"query": -1}, "whole number from 0"),
        ({"query": 25}, "5-way tasks"),
        ({"seed": -1}, "whole number from 0"),
        ({"seed": "x"}, "whole number from 0"),
        ({"learners": []}, "Nothing is chosen"),
        ({"learners": ["guess"]}, "no learner called"),
        ({"learners": [["x"]]}, "no learner called"),
        ({"encoders": ["/etc/passwd"]}, "no longer there"),
        ({"encoders": [["x"]]}, "no longer there"),
        ({"encoders": "photos-small"}, "Nothing is chosen"),
        ({"way": 500, "shots": "50"}, "the most here"),
    ],
)
def test_what_cannot_be_measured_gets_a_sentence(work, session, values, said):
    updates, results = measure_now(work, session, **values)
    assert said in updates[-1][0]["value"] and "role='alert'" in updates[-1][0]["value"]
    assert updates[-1][1]["interactive"] and updates[-1][2]["visible"] == "hidden" and results is None


def test_pictures_without_class_folders_are_told_what_to_do(work, tmp_path):
    folder = draw_pictures(tmp_path / "mine", each=4)
    for number, file in enumerate(sorted(folder.rglob("*.png"))):
        file.rename(folder / f"{number}.png")
    session = work.session("flat")
    work.choose(session, folder, "mine")
    known, encoders, way, start, status = measure.opened(work, WORDS, session, "")
    assert start["interactive"] is False and safe(WORDS["measure_no_classes"]) in status["value"]
    assert safe(WORDS["measure_no_classes"]) in told(work, session, encoders=["pixels"])


def test_the_form_begins_anew_for_other_pictures_only(work, session, tmp_path):
    known, encoders, way, start, status = measure.opened(work, WORDS, session, "")
    assert encoders["value"] == ["photos-small", "untrained:photos-small", "pixels"] and way["value"] == 5
    assert start["interactive"] and [name for name, _ in encoders["choices"]][-2:] == ["raw pixels", "colour histogram"]
    again = measure.opened(work, WORDS, session, known)
    assert "value" not in again[1] and "value" not in again[2]
    session.encoder = "drawings-conv4"
    moved = measure.opened(work, WORDS, session, known)
    assert moved[1]["value"][1] == "untrained:drawings-conv4" and "value" not in moved[2]
    _, results = measure_now(work, session, encoders=["untrained:photos-small"], episodes=4)  # from the older form
    assert results.lines[0].encoder == "untrained photos-small"
    session.encoder = ""
    other = work.session("three")
    work.choose(other, draw_pictures(tmp_path / "mine", each=4), "mine")
    assert measure.opened(work, WORDS, other, known)[2]["value"] == 3


@pytest.mark.parametrize(
    "chosen, shot", [(None, "1"), ("9", "1"), ("0", "7"), ("-1", "1"), ("x", "1"), (["0"], "1"), ("²", "1")]
)
def test_what_was_not_measured_is_not_shown(work, session, results, chosen, shot):
    with pytest.raises(InputError, match="not measured"):
        measure.picked_cell(work, WORDS, session, 0, 0, chosen, shot)
    for x, y in ((99, 0), (-1, 0), ("a", 0), (None, None)):
        with pytest.raises(InputError, match="not measured"):
            measure.picked_cell(work, WORDS, session, x, y, "0", "1")
    for truth in ("99", "x", [1]):
        with pytest.raises(InputError, match="not measured"):
            measure.cell(work, WORDS, session, truth, "any", "0", "1")
    with pytest.raises(InputError, match="not measured"):
        measure.saved(work, WORDS, work.session("nobody"), "csv", None, None)


def test_a_shared_machine_bounds_what_is_asked(tmp_path, home, monkeypatch):
    work = Workspace(tmp_path / "home", public=True)
    one, other = work.session("one"), work.session("other")
    many = [work.encoder(one), work.untrained(one), "pixels"]
    for values, said in (
        ({"episodes": 201}, "2 to 200"),
        ({"learners": ["maml"]}, "takes too long"),
        ({"learners": ["finetune", "anil"]}, "takes too long"),
        ({"encoders": many, "learners": ["anil", "ridge"]}, "6 pairs"),
        ({"shots": "1,2,3"}, "2 is the most"),
    ):
        assert said in told(work, one, **values)
    monkeypatch.setattr(measuring, "PUBLIC", measuring.Caps(200, 4, 2, 1_000, 0.0, measuring.PUBLIC.learners))
    assert "limit of this shared page" in told(work, one, encoders=["pixels"], episodes=200)
    assert other.name not in measuring.kept and "choices" not in measure.choices(work, WORDS, other)[0]
    measuring.forget("one")
    assert "one" not in measuring.kept


# ---- the page


def test_a_visit_in_the_browser(home, tmp_path):
    with chromium() as browser:
        app = App(home)
        try:
            visit(browser, app, tmp_path)
            assert "Traceback" not in app.output(), app.output()[-3000:]
        finally:
            app.end()


def visit(browser, app, tmp_path):
    page = open_page(browser, app.address)
    page.wait_for_selector("#report .tile")
    page.get_by_role("tab", name="Measure").click()
    until(lambda: page.locator("#measure-encoders .token").count() == 3, "the form is filled")
    assert "Choose encoders" in page.locator("#measure-figure").inner_text()
    page.locator("#measure-tasks input").fill("0")
    page.locator("#measure-start").click()
    page.locator("#measure-status [role=alert]").wait_for()
    page.locator("#measure-tasks input").fill("60")
    page.locator("#measure-start").click()
    until(lambda: page.locator("#measure-table td").count() == 12, "the table is full", 30)
    until(lambda: "Clearly better" in page.locator("#measure-verdict").inner_text(), "two lines are compared", 10)
    page.locator("#measure-figure .js-plotly-plot").wait_for()
    page.locator("#measure-pictures [data-row]").first.click()
    page.locator("#measure-why img").wait_for()
    until(lambda: page.locator("#measure-why img").evaluate("i => i.naturalWidth") == 512, "its parts are painted", 10)
    assert "taken for" in page.locator("#measure-why h4").inner_text()
    heat = page.locator("#measure-confusion .js-plotly-plot .nsewdrag")
    heat.wait_for()
    heat.scroll_into_view_if_needed()
    area = heat.bounding_box()
    page.mouse.move(area["x"] + 5, area["y"] + area["height"] - 5, steps=3)  # the last class taken for the first
    page.mouse.click(area["x"] + 5, area["y"] + area["height"] - 5)
    truth, taken = page.locator("#measure-truth input"), page.locator("#measure-taken input")
    until(lambda: (truth.input_value(), taken.input_value()) == ("turtle", "bird"), "the cell's classes are chosen", 10)
    with page.expect_download() as download:
        page.locator("#measure-csv").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8-sig"))))
    assert download.value.suggested_filename == "byolmeta-fewshot.csv" and len(rows) == 12
    page.locator("#measure-tasks input").fill("10000")
    page.locator("#measure-start").click()
    page.locator("#measure-stop").click()
    until(lambda: "Stopped" in page.locator("#measure-status").inner_text(), "it stopped", 20)
    page.set_viewport_size({"width": 390, "height": 800})
    time.sleep(0.3)
    assert overflow(page) <= 0
    assert page.problems == []
