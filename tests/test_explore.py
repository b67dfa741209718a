"""The step Map: colours say what they say, a picture lands beside its neighbours, two encoders, film, files, tidying."""

import base64
import csv
import io
import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")
from browser import App, chromium, open_page, overflow, until
from conftest import draw_pictures

from byolmeta import film, image_map, tidy
from byolmeta.errors import InputError
from byolmeta.files import PIXELS
from byolmeta.runs import Run
from byolmeta.ui import explore, paint, tidying
from byolmeta.ui import map as map_step
from byolmeta.ui.board import encode_answers
from byolmeta.ui.map_page import map_page
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

WORDS = table("en")


class Layouts:
    """Makes maps in this process, as the worker does in one of its own."""

    def layout(self, vectors, start, folder, seed=0, **more):
        return image_map.umap_layout(vectors, start, seed)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("explore") / "home"


@pytest.fixture
def work(home):
    work = Workspace(home)
    work.layouts = Layouts()
    return work


@pytest.fixture
def session(work, pictures, tiny_encoder):
    """36 shapes in three class folders, with their map."""
    session = work.session("exploring")
    session.boxes["boxes"] = session.boxes["boxes"][:2]
    for box in session.boxes["boxes"]:
        box["items"] = []
    work.choose(session, pictures, "shapes")
    session.encoder = str(tiny_encoder)
    tidy.save_decisions(work.tidy_folder(session), tidy.Decisions())
    work.shown.pop(session.name, None)
    list(map_step.layouts(work, WORDS, session))
    return session


def seen(work, session) -> dict:
    return work.seen(session)


def codes_of(prop: dict) -> list[int]:
    return list(base64.b64decode(prop["codes"]))


def event(work, session, ids, **more):
    return SimpleNamespace(indices=ids, key=work.pictures(session).sheets["key"], **more)


def press(work, session, row, act, which):
    """A press on a button of a list."""
    return tidying.decided(work, WORDS, session, row, act, which, work.pictures(session).sheets["key"])


def last(updates):
    found = None
    for found in updates:
        pass
    return found


# ---- colours


def test_groups_are_those_of_the_vectors(work, session):
    slider, note, scatter = explore.repainted(work, WORDS, session, "groups", 0)
    found = paint.groups_of(work, session)
    prop = scatter["colours"]
    assert codes_of(prop) == found.labels.tolist() and slider["value"] == len(prop["names"]) == found.count
    assert prop["pictures"] == found.representatives.tolist() and slider["visible"] is True
    slider, _, scatter = explore.regrouped(work, WORDS, session, "groups", 5)
    assert slider["value"] == 5 and max(codes_of(scatter["colours"])) == 4
    again = explore.refreshed(work, WORDS, session, "groups", 0)
    assert again[1]["value"] == 5  # what was chosen stays
    for wrong in (None, "many", 99, float("nan"), -1):
        assert explore.regrouped(work, WORDS, session, "groups", wrong)[0]["value"] == found.count


def test_the_task_colours_its_answers(work, session):
    _, note, scatter = explore.repainted(work, WORDS, session, "task", 0)
    assert "two boxes" in note["value"] and scatter["colours"] == {"none": True}
    first, second = session.boxes["boxes"]
    first["items"], second["items"] = [0], [35]
    label, sure = np.arange(36) % 2, np.arange(36) % 4
    seen(work, session)["answers"] = encode_answers(label, sure, rev=1, box_ids=[first["id"], second["id"]])
    prop = explore.repainted(work, WORDS, session, "task", 0)[2]["colours"]
    expected = np.where(sure == 0, paint.GREY, label)
    expected[[0, 35]] = 0, 1  # examples are in their box, whatever is guessed
    assert codes_of(prop) == expected.tolist() and prop["names"] == [first["name"], second["name"]]
    assert prop["colours"] == [*paint.BOX_COLOURS[:2]]
    prop = explore.repainted(work, WORDS, session, "sure", 0)[2]["colours"]
    assert codes_of(prop) == sure.tolist() and prop["names"][3] == "sure" and prop["names"][0] == "none of these"


def test_odd_and_doubtful_places(work, session):
    prop = explore.repainted(work, WORDS, session, "odd", 0)[2]["colours"]
    share = tidy.oddness(tidy.odd_ones(paint.vectors_of(work, session)))
    codes = np.array(codes_of(prop))
    assert (codes == 0).tolist() == (share >= 0.98).tolist() and (codes == 3).tolist() == (share < 0.5).tolist()
    prop = explore.repainted(work, WORDS, session, "doubt", 0)[2]["colours"]
    doubt = image_map.doubtful(paint.vectors_of(work, session), work.places[session.name][1])
    codes = np.array(codes_of(prop))
    assert (codes == 0).tolist() == (doubt >= 0.8).tolist() and (codes == 3).tolist() == (doubt < 0.2).tolist()
    assert explore.repainted(work, WORDS, session, "folder", 0)[2]["colours"] == {}
    assert explore.repainted(work, WORDS, session, "<no way>", 0)[2]["colours"] == {}


# ---- find


def received(monkeypatch, path):
    monkeypatch.setattr(explore, "received_file", lambda file: (str(path), file["name"]))
    return SimpleNamespace(files=[{"path": str(path), "name": "<b>new.png"}])


def test_a_picture_lands_beside_its_neighbours(work, session, pictures, monkeypatch):
    path = pictures / "disc" / "3.png"
    row = work.pictures(session).store.index.paths.index("disc/3.png")
    _, update = last(explore.landed(work, WORDS, session, received(monkeypatch, path)))
    one = update["landed"][0]
    assert one["near"][0] == row and [one["x"], one["y"]] == pytest.approx(seen(work, session)["places"][row].tolist())
    assert one["name"] == "<b>new.png" and len(one["near"]) == 3  # text, which the map shows as such


def test_what_is_no_picture_says_so(work, session, tmp_path, monkeypatch):
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(InputError):
        list(explore.landed(work, WORDS, session, received(monkeypatch, tmp_path / "no.png")))
    for files in ([], None, "x"):
        with pytest.raises(InputError, match="No picture"):
            list(explore.landed(work, WORDS, session, SimpleNamespace(files=files)))
    work.shown.pop(session.name, None)
    with pytest.raises(InputError, match="not ready"):
        list(explore.landed(work, WORDS, session, SimpleNamespace(files=[{}])))


def test_more_like_these_are_the_nearest_of_all(work, session, monkeypatch):
    monkeypatch.setattr(explore, "SIMILAR", 4)
    found = explore.similar(work, WORDS, session, event(work, session, [0, 20]))["selection"]["ids"]
    x = paint.vectors_of(work, session)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    likeness = np.maximum(x @ x[0], x @ x[20])
    likeness[[0, 20]] = -9
    assert found == [0, 20, *np.argsort(-likeness, kind="stable")[:4].tolist()]


@pytest.mark.parametrize("ids", [[], ["1"], [99], None, [True], [-1], [1.5]])
def test_a_selection_of_nothing_is_refused(work, session, ids):
    with pytest.raises(InputError, match="No pictures"):
        explore.similar(work, WORDS, session, event(work, session, ids))
    with pytest.raises(InputError, match="other pictures"):
        explore.similar(work, WORDS, session, SimpleNamespace(indices=[1], key="another"))


# ---- compare


def test_two_encoders_are_compared(work, session):
    offered = dict((where, name) for name, where in explore.others_of(work, WORDS, session))
    assert PIXELS in offered and f"untrained:{session.encoder}" in offered and session.encoder not in offered
    status, scatter = last(explore.compared(work, WORDS, session, PIXELS))
    prop = scatter["compare"]
    assert prop["names"] == [work.encoder_name(session), "raw pixels"] and prop["key"] == event(work, session, []).key
    yours, other = paint.vectors_of(work, session), work.bank(session, PIXELS)
    assert prop["middle"].startswith(f"{round(100 * image_map.agreement(yours, other))} %")
    assert (
        all("k-NN" in fact and "trustworthiness" in fact for fact in prop["facts"])
        and prop["facts"][0] != prop["facts"][1]
    )
    assert explore.refreshed(work, WORDS, session, "folder", 0)[2]["value"] == PIXELS
    assert last(explore.compared(work, WORDS, session, ""))[1]["compare"] == {}
    with pytest.raises(InputError):
        list(explore.compared(work, WORDS, session, "/etc/passwd"))
    seen(work, session)["stage"] = "pca"
    with pytest.raises(InputError, match="not ready"):
        list(explore.compared(work, WORDS, session, PIXELS))


# ---- film and files


@pytest.fixture
def studied(work, session, tmp_path):
    """A run of these pictures with three frames."""
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    (run.folder / "config.json").write_text(json.dumps({"folder": str(work.source(session))}))
    vectors = paint.vectors_of(work, session)
    for step in (0, 10, 20):
        noise = np.random.default_rng(step).normal(size=vectors.shape) * (20 - step) / 20
        film.add_frame(run.film, step, np.arange(36), (vectors + noise).astype(np.float32))
    session.run = str(run.folder)
    yield session
    session.run = ""


def test_the_film_of_a_study(work, studied):
    updates = list(explore.replayed(work, WORDS, studied))
    prop = updates[-1][1]["film"]
    assert prop["labels"] == ["step 0", "step 10", "step 20"] and (prop["frames"], prop["n"]) == (3, 36)
    assert explore.refreshed(work, WORDS, studied, "folder", 0)[3]["visible"] is True
    studied.run = ""
    assert explore.refreshed(work, WORDS, studied, "folder", 0)[3]["visible"] == "hidden"
    with pytest.raises(InputError, match="no film"):
        list(explore.replayed(work, WORDS, studied))


def test_a_film_of_other_pictures_is_not_shown(work, studied, tmp_path):
    (Run(studied.run).folder / "config.json").write_text(json.dumps({"folder": "/elsewhere"}))
    assert explore.frames_of(work, studied) == []


def exported_file(work, text) -> tuple[str, bytes]:
    found = json.loads(text)
    path = next((work.home / "thumbs" / "exports").glob(f"*/{found['name']}"))
    assert path.parent.name in found["url"]
    return found["name"], path.read_bytes()


@pytest.mark.parametrize("kind, ending", [("page", "map.html"), ("film_page", "film.html"), ("gif", "film.gif")])
def test_what_is_taken_along(work, studied, kind, ending):
    name, content = exported_file(work, last(explore.saved(work, WORDS, studied, kind))[1])
    assert name == f"shapes-{ending}"
    if kind == "gif":
        assert Image.open(io.BytesIO(content)).n_frames > 10
    else:
        assert b"disc/0.png" in base64.b64decode(content.split(b"application/json;base64,")[1].split(b'"')[0])
        assert (b'"frames": 3' in content) == (kind == "film_page")


def test_a_selection_as_list_and_as_copies(work, session, pictures):
    name, content = exported_file(
        work, explore.exported(work, WORDS, session, event(work, session, [0, 35], kind="csv"), "folder", 0)
    )
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    paths = work.pictures(session).store.index.paths
    assert (
        [row["path"] for row in rows] == [paths[0], paths[35]] and rows[0]["class"] == "bar" and name == "shapes-2.csv"
    )
    x, y = work.places[session.name][1][35]
    assert (float(rows[1]["x"]), float(rows[1]["y"])) == pytest.approx((x, y), abs=1e-4)
    _, content = exported_file(
        work, explore.exported(work, WORDS, session, event(work, session, [3, 20], kind="zip"), "folder", 0)
    )
    with zipfile.ZipFile(io.BytesIO(content)) as made:
        assert sorted(made.namelist()) == sorted([paths[3], paths[20]])
        assert made.read(paths[3]) == (pictures / paths[3]).read_bytes()


def test_old_files_make_room(work, session):
    for _ in range(explore.EXPORTS + 3):
        explore.export_path(work, session, "a.txt").write_text("x")
    assert len(list((work.home / "thumbs" / "exports").glob(f"{session.name}-*"))) == explore.EXPORTS


# ---- tidying


def test_what_is_set_aside_leaves_the_map_and_comes_back(work, session):
    lists, content, scatter = tidying.set_aside(work, WORDS, session, [1, 2], "decided")
    assert scatter["points"]["n"] == 34 and 1 not in seen(work, session)["rows"] and "set aside" in content
    assert explore.repainted(work, WORDS, session, "groups", 0)[2]["colours"]["codes"]
    assert len(codes_of(seen(work, session)["colours"])) == 36  # by picture, whatever the map shows
    found = explore.similar(work, WORDS, session, event(work, session, [0]))["selection"]["ids"]
    assert not {1, 2} & set(found)
    _, content, scatter = press(work, session, 1, "undo", "decided")
    assert scatter["points"]["n"] == 35
    with pytest.raises(InputError, match="every picture"):
        tidying.set_aside(work, WORDS, session, list(range(36)), "copy")


def test_mistakes_are_moved_in_the_list_alone(work, tmp_path, tiny_encoder):
    folder = draw_pictures(tmp_path / "mixed", each=10)
    (folder / "disc" / "0.png").rename(folder / "bar" / "wrong<b>.png")
    before = sorted(str(path) for path in folder.rglob("*"))
    session = work.session("mixed")
    work.choose(session, folder, "mixed")
    session.encoder = str(tiny_encoder)
    work.shown.pop(session.name, None)
    list(map_step.layouts(work, WORDS, session))
    paths = work.pictures(session).store.index.paths
    row = paths.index("bar/wrong<b>.png")
    one = tidy.Finding(row, 0.9, tidy.MISPLACED, (15,), 1)
    found = tidying.findings(work, session)
    found["misplaced"] = [one]
    lists, content = tidying.listed(work, WORDS, session, "misplaced")
    assert "wrong&lt;b&gt;.png" in content and "in bar, but among disc" in content and "<b>.png" not in content
    assert ("Among another class · 1", "misplaced") in lists["choices"]
    lit = press(work, session, row, "show", "misplaced")[2]["lit"]
    assert lit["ids"] == [row, 15]
    press(work, session, row, "move", "misplaced")
    decisions = tidy.load_decisions(work.tidy_folder(session))
    assert decisions.moved == {"bar/wrong<b>.png": "disc"} and sorted(str(p) for p in folder.rglob("*")) == before
    _, content = exported_file(work, tidying.saved(work, WORDS, session, "csv"))
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert rows == [{"path": "bar/wrong<b>.png", "class": "bar", "decision": "moved", "new_class": "disc"}]
    _, content = exported_file(work, tidying.saved(work, WORDS, session, "zip"))
    with zipfile.ZipFile(io.BytesIO(content)) as made:
        assert len(made.namelist()) == 30 and "disc/wrong_b_.png" in made.namelist()
    for wrong in ((99, "move"), ("0", "keep"), (0, "delete"), (None, None), (5, "move")):
        with pytest.raises(InputError):
            press(work, session, *wrong, "misplaced")


def test_all_that_are_shown_at_once_and_the_other_of_two(work, session):
    store = work.pictures(session).store
    found = tidying.findings(work, session)
    found["copy"] = [tidy.Finding(5, 1.0, tidy.COPY, (4,)), tidy.Finding(9, 0.99, tidy.COPY, (8,))]
    press(work, session, 5, "swap", "copy")
    assert tidy.load_decisions(work.tidy_folder(session)).aside == {store.index.paths[4]}
    press(work, session, -1, "aside-all", "copy")
    aside = tidy.load_decisions(work.tidy_folder(session)).aside
    assert aside == {store.index.paths[row] for row in (4, 9)}  # without its original, 5 is no copy
    assert seen(work, session)["points"]["n"] == 34
    _, content, scatter = press(work, session, -1, "undo-all", "decided")
    assert tidy.load_decisions(work.tidy_folder(session)) == tidy.Decisions() and scatter["points"]["n"] == 36
    found["odd"] = [tidy.Finding(row, 1.0, tidy.ODD, ()) for row in (1, 2)]
    lists, content = press(work, session, -1, "keep-all", "odd")[:2]
    assert ("Odd ones out · 0", "odd") in lists["choices"] and "odder than 100" not in content


def test_the_lists_follow_other_pictures(work, session, tmp_path):
    found = tidying.findings(work, session)
    work.choose(session, draw_pictures(tmp_path / "others", each=5), "others")
    session.encoder = ""
    work.shown.pop(session.name, None)
    list(map_step.layouts(work, WORDS, session))
    assert tidying.findings(work, session) is not found
    lists, content = tidying.followed(work, WORDS, session, False, "odd")
    assert content == "" and all("…" in name for name, _ in lists["choices"])
    lists, content = tidying.followed(work, WORDS, session, True, "odd")
    assert content and not any("…" in name for name, _ in lists["choices"])


def test_no_list_to_save_says_so(work, session):
    with pytest.raises(InputError, match="Nothing is decided"):
        tidying.saved(work, WORDS, session, "csv")


# ---- what comes too late, twice, or of other pictures


def test_a_look_of_other_pictures_or_another_encoder_leaves_no_trace(work, session, tmp_path):
    first = paint.vectors_of(work, session)
    work.places.pop(session.name)
    work.shown.pop(session.name)
    slow = map_step.layouts(work, WORDS, session)
    assert next(slow)["stage"] == "umap"  # kept on disk; the rest of it comes later
    work.choose(session, draw_pictures(tmp_path / "others", each=4), "others")
    done = list(map_step.layouts(work, WORDS, session))[-1]
    assert list(slow) == [] and seen(work, session)["points"] == done and done["n"] == 12
    assert len(paint.vectors_of(work, session)) == 12 != len(first)
    assert len(seen(work, session)["places"]) == 12 == len(work.places[session.name][1])


def test_a_map_that_is_made_too_late_is_not_kept(work, session, tmp_path):
    other = draw_pictures(tmp_path / "others", each=4)

    class Late(Layouts):
        def layout(self, vectors, start, folder, seed=0, **more):
            if len(vectors) == 36:
                work.choose(session, other, "others")
            return super().layout(vectors, start, folder, seed)

    for file in (work.home / "banks").glob("*-map.npy"):
        file.unlink()
    work.places.pop(session.name)
    work.shown.pop(session.name)
    work.layouts = Late()
    stages = [points["stage"] for points in map_step.layouts(work, WORDS, session)]
    assert stages == ["pca"] and session.name not in work.places and "places" not in seen(work, session)


def test_a_worker_that_dies_once_is_asked_again(work, session):
    calls = []

    class Dying(Layouts):
        def layout(self, vectors, start, folder, seed=0, **more):
            calls.append(len(vectors))
            if len(calls) == 1:
                raise RuntimeError("it ended")
            return super().layout(vectors, start, folder, seed)

    for file in (work.home / "banks").glob("*-map.npy"):
        file.unlink()
    work.places.pop(session.name)
    work.shown.pop(session.name)
    work.layouts = Dying()
    assert [points["stage"] for points in map_step.layouts(work, WORDS, session)] == ["pca", "umap"] and len(calls) == 2


def test_places_in_the_list_are_those_of_these_pictures(work, session, tmp_path):
    work.choose(session, draw_pictures(tmp_path / "others", each=4), "others")
    work.shown.pop(session.name, None)
    text = explore.exported(work, WORDS, session, event(work, session, [0], kind="csv"), "folder", 0)
    rows = list(csv.DictReader(io.StringIO(exported_file(work, text)[1].decode("utf-8-sig"))))
    assert rows[0]["x"] == rows[0]["y"] == ""  # there is no map of them yet


def test_more_than_can_be_sent_is_refused(work, session):
    with pytest.raises(InputError, match="Select fewer"):
        map_step.chosen_ids(work, session, event(work, session, [1, 2], truncated=True))
    for broken in (SimpleNamespace(), SimpleNamespace(_data=None), SimpleNamespace(_data={"key": 3})):
        with pytest.raises(InputError):
            map_step.chosen_ids(work, session, broken)


def test_a_button_of_other_pictures_does_nothing(work, session):
    with pytest.raises(InputError, match="not in the list"):
        tidying.decided(work, WORDS, session, 0, "aside", "odd", "another")
    assert tidy.load_decisions(work.tidy_folder(session)) == tidy.Decisions()


def test_decisions_at_the_same_time_are_all_kept(work, session):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: press(work, session, row, "keep", "odd"), range(8)))
    kept = tidy.load_decisions(work.tidy_folder(session)).not_a_mistake["odd"]
    assert kept == frozenset(work.pictures(session).store.index.paths[:8])


def test_a_film_of_a_folder_that_changed_is_not_shown(work, studied):
    film.add_frame(Run(studied.run).film, 30, np.arange(36), paint.vectors_of(work, studied), "0123456789abcdef")
    assert explore.frames_of(work, studied) == []
    film.add_frame(
        Run(studied.run).film,
        30,
        np.arange(36),
        paint.vectors_of(work, studied),
        film.mark_of(work.pictures(studied).store),
    )
    assert explore.frames_of(work, studied)


def test_a_picture_is_shown_large_from_its_own_file(work, session, pictures):
    found = explore.large(work, WORDS, session, SimpleNamespace(id=0))["large"]
    path = work.pictures(session).store.index.paths[0]
    width, height = Image.open(pictures / path).size
    assert found["facts"][:2] == [path, f"{width} × {height}"] and found["name"] == path.split("/")[1]
    for wrong in (-1, 36, "0", None, True):
        with pytest.raises(InputError):
            explore.large(work, WORDS, session, SimpleNamespace(id=wrong))


def test_what_was_set_aside_is_taken_back_at_once(work, session):
    tidying.set_aside(work, WORDS, session, [1, 2], "copy")
    tidying.undone(work, WORDS, session, event(work, session, [1, 2], what="aside"), "copy")
    assert tidy.load_decisions(work.tidy_folder(session)).aside == frozenset()
    assert seen(work, session)["points"]["n"] == 36


def test_what_a_visitor_left_is_swept_on_a_shared_machine(tmp_path):
    theirs, mine = "a" * 32, "local"
    for place in ("projects", "uploads", "thumbs/exports", "thumbs/maps", "thumbs/single"):
        for name in (theirs, mine):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            (tmp_path / place / f"{name}-x.bin").write_text("x")
    Workspace(tmp_path)
    assert len(list(tmp_path.rglob("*-x.bin"))) == 10
    Workspace(tmp_path, public=True)
    assert {path.name for path in tmp_path.rglob("*-x.bin")} == {f"{mine}-x.bin"}


# ---- the page of the map


def test_the_page_is_safe_and_whole(work, session):
    store = work.pictures(session).thumbnails
    page = map_page(np.zeros((36, 2), np.float32), store, title="</script><b>${x}")
    assert page.count("</script>") == 2 and "<b>$" not in page
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["points"]["n"] == 36 and len(data["pictures"]["sheets"]) == 1 and data["pictures"]["tile"] == 96
    dots = map_page(np.zeros((36, 2), np.float32), store, dots=True)
    assert "image/webp" not in dots
    part = map_page(np.zeros((3, 2), np.float32), store, np.array([4, 8, 9]))
    ids = json.loads(part.split('id="data">')[1].split("</script>")[0])["points"]["ids"]
    assert np.frombuffer(base64.b64decode(ids.split(",")[1]), "<u4").tolist() == [4, 8, 9]


# ---- in the browser


def test_a_visit_in_the_browser(tmp_path):
    with chromium() as browser:
        app = App(tmp_path / "home")
        try:
            visit(browser, app, tmp_path)
            assert "Traceback" not in app.output(), app.output()[-3000:]
        finally:
            app.end()


MAP = "document.querySelector('#map .scatter').__scatter"


def visit(browser, app, tmp_path):
    page = open_page(browser, app.address)
    page.wait_for_selector("#report .tile")
    page.get_by_role("tab", name="Map").click()
    until(lambda: page.evaluate(f"{MAP}.stage()") == "umap", "the map is made", 60)

    page.locator("#colour-by input").click()
    page.get_by_role("option", name="groups it found").click()
    until(lambda: page.locator("#map .legend .example").count() >= 2, "groups have their pictures", 20)
    count = page.locator("#map .legend .example").count()
    assert page.locator("#group-count input[type=number]").input_value() == str(count)

    asked = tmp_path / "asked.png"
    folder = tmp_path / "creatures"
    with zipfile.ZipFile(explore.Path(explore.__file__).parents[2] / "assets" / "creatures.zip") as packed:
        packed.extractall(folder)
    path = sorted(folder.rglob("*/*.*"))[7]
    asked.write_bytes(path.read_bytes())
    page.locator("#find .pick-files").set_input_files(asked)
    until(lambda: page.locator("#map .card .name").inner_text() == "asked.png", "the new picture has its card", 20)

    page.locator("#compare-with input").click()
    page.get_by_role("option", name="raw pixels").click()
    until(lambda: page.locator("#map .compare:visible").count() == 1, "two maps are compared", 60)
    assert "in common" in page.locator("#map .compare .middle").inner_text()
    page.locator("#map .compare .leave").click()
    until(lambda: page.evaluate(f"{MAP}.stage()") == "umap", "back to one map")

    with page.expect_download() as download:
        page.locator("#save-page").click()
    other = browser.new_page()
    shown = tmp_path / "map.html"
    download.value.save_as(shown)
    other.goto(shown.as_uri())
    until(lambda: other.evaluate(f"{MAP}.n()") == 350, "the page shows the map offline")
    assert download.value.suggested_filename.endswith("-map.html")
    other.close()

    page.locator("#map canvas.overlay").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    until(lambda: len(page.evaluate(f"{MAP}.selected()")) == 1, "one is selected")
    first = page.evaluate(f"{MAP}.selected()")[0]
    page.locator("#map .bar .similar").click()
    until(lambda: len(page.evaluate(f"{MAP}.selected()")) == 25, "more like it are selected", 10)
    with page.expect_download() as download:
        page.locator("#map .bar .save").click()
        page.locator("#map .bar [data-kind=csv]").click()
    assert len(download.value.path().read_text("utf-8-sig").splitlines()) == 26
    page.locator("#map .bar .aside").click()
    until(lambda: page.evaluate(f"{MAP}.n()") == 325, "they leave the map", 10)

    page.locator("#tidy button").first.click()
    page.get_by_label("Decided · 25").click()
    page.locator("#tidy-list [data-do=undo]").first.click()
    until(lambda: page.evaluate(f"{MAP}.n()") == 326, "one comes back", 10)
    page.get_by_label("Odd ones out").click()
    page.locator("#tidy-list [data-do=show]").first.click()
    page.locator("#map .lit:visible").wait_for()
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(300)
    assert overflow(page) <= 0 and first is not None
    assert page.problems == []
