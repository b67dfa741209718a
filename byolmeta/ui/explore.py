"""What people do with the map beyond looking: colour it, find a picture on it, compare two encoders, replay a study, and take
the map, its film or a selection along."""

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np

from byolmeta.errors import InputError
from byolmeta.files import PIXELS
from byolmeta.runs import Run
from byolmeta.ui import map as map_step
from byolmeta.ui import paint, thumbs
from byolmeta.ui.drop import Drop, received_file
from byolmeta.ui.html import safe
from byolmeta.ui.pictures import status_line, watched
from byolmeta.ui.scatter import Scatter
from byolmeta.ui.sentences import retold
from byolmeta.ui.workspace import UNPRACTISED, Session, Workspace

LANDED = 20  # pictures that can be looked for at once
SIMILAR = 24  # pictures that "more like these" adds
LARGE = 1600  # pixels of a picture shown large
NEAR = 3  # neighbours shown of each
MOST_GROUPS = 40
EXPORTS = 20  # files of a visitor that are kept for the browser to fetch
SAVE = """(text) => {
  if (!text) return;
  const file = JSON.parse(text), link = document.createElement("a");
  link.href = new URL(file.url, document.baseURI).href;
  link.download = file.name;
  link.click();
}"""


def layout(work: Workspace, words: dict[str, str]) -> SimpleNamespace:
    """Lays the step out: how to look at it, the map, and what to take along."""
    with gr.Row(elem_id="map-tools"):
        small = {"min_width": 170, "scale": 1}
        by = gr.Dropdown(
            [(words[f"colour_{way}"], way) for way in paint.WAYS], value=paint.FOLDER, label=words["colour_by"],
            elem_id="colour-by", **small,
        )  # fmt: skip
        count = gr.Slider(
            2, MOST_GROUPS, 8, step=1, label=words["group_count"], visible="hidden", elem_id="group-count", **small
        )
        other = gr.Dropdown([], label=words["compare_with"], elem_id="compare-with", **small)
        replay = gr.Button(words["replay"], visible="hidden", elem_id="replay", scale=0, min_width=150)
        find = Drop(words=words.get("of_drop", {}) | words["of_find"], small=True, elem_id="find", min_width=230)
    note = gr.HTML(visible="hidden", elem_id="map-note", padding=False)
    status = gr.HTML(visible="hidden", elem_id="map-status", padding=False)
    scatter = Scatter(words=words.get("of_scatter"), tools=["similar", "export", "aside"], elem_id="map")
    with gr.Row(elem_id="map-save"):
        tiny = {"size": "sm", "min_width": 150, "scale": 0}
        page = gr.Button(words["save_page"], elem_id="save-page", **tiny)
        film_page = gr.Button(words["save_film_page"], visible="hidden", elem_id="save-film-page", **tiny)
        gif = gr.Button(words["save_gif"], visible="hidden", elem_id="save-gif", **tiny)
    file = gr.Textbox(visible="hidden")
    return SimpleNamespace(
        by=by, count=count, other=other, replay=replay, find=find, note=note, status=status, scatter=scatter, file=file,
        saves={"page": page, "film_page": film_page, "gif": gif}, films=[replay, film_page, gif],
    )  # fmt: skip


def connect(work: Workspace, words: dict[str, str], parts: SimpleNamespace, tab, who, sentences) -> list:
    """Connects the step; `sentences` shows what goes wrong. Returns [function, inputs, outputs] that follows new points."""
    quiet = {"show_progress": "hidden", "api_visibility": "private"}

    def of(function):
        """A function of (what the page sent, ...) as one of (what it sent, ..., who)."""

        def called(*values):
            return function(work, words, work.session(values[-1]), *values[:-1])

        return sentences(called)

    def event_of(function):
        def called(event: gr.EventData, *values):
            return function(work, words, work.session(values[-1]), event, *values[:-1])

        return sentences(called)

    shown = [parts.by, parts.count, parts.other, *parts.films, parts.note, parts.scatter]
    inputs = [parts.by, parts.count, who]
    painted = [parts.count, parts.note, parts.scatter]
    tab.select(of(refreshed), inputs, shown, **quiet)
    parts.by.input(of(repainted), inputs, painted, **quiet)
    parts.count.input(of(regrouped), inputs, painted, **quiet, trigger_mode="always_last")
    parts.other.input(of(compared), [parts.other, who], [parts.status, parts.scatter], **quiet)
    parts.replay.click(of(replayed), who, [parts.status, parts.scatter], **quiet)
    parts.find.received(event_of(landed), who, [parts.status, parts.scatter], **quiet)
    parts.scatter.enlarge(event_of(large), who, parts.scatter, **quiet)
    parts.scatter.left(event_of(left), who, parts.other, **quiet)
    parts.scatter.similar(event_of(similar), who, parts.scatter, **quiet)
    fetch = {"fn": None, "inputs": parts.file, "outputs": None, "js": SAVE, **quiet}
    parts.scatter.export(event_of(exported), inputs, parts.file, **quiet).then(**fetch)
    for kind, button in parts.saves.items():
        saving = of(lambda work, words, session, k=kind: saved(work, words, session, k))
        button.click(saving, who, [parts.status, parts.file], **quiet).then(**fetch)
    return [of(refreshed), inputs, shown]


# Colours


def refreshed(work: Workspace, words: dict[str, str], session: Session, by: str, count: int) -> list:
    """[colour by, groups, compare with, replay, save film as page, as GIF, note, map] for the pictures and encoder of now."""
    by = by if by in paint.WAYS else paint.FOLDER
    if by == paint.FOLDER and not work.pictures(session).store.class_names:
        by = paint.GROUPS  # there are no folders to colour by
    others = [(words["compare_none"], ""), *others_of(work, words, session)]
    there = gr.update(visible=True if len(frames_of(work, session)) > 1 else "hidden")
    seen = work.seen(session)
    slider, note, scatter = _painted(work, words, session, by, seen.get("count", 0))
    compared = gr.update(choices=others, value=seen.get("other", ""))
    return [gr.update(value=by), slider, compared, there, there, there, note, scatter]


def repainted(work: Workspace, words: dict[str, str], session: Session, by: str, count: int) -> list:
    """[groups, note, map] in other colours; groups are as many as seem right."""
    return _painted(work, words, session, by, 0)


def regrouped(work: Workspace, words: dict[str, str], session: Session, by: str, count: int) -> list:
    """[groups, note, map] with as many groups as the slider says."""
    return _painted(work, words, session, by, count if type(count) in (int, float) and 2 <= count <= MOST_GROUPS else 0)


def _painted(work: Workspace, words: dict[str, str], session: Session, by: str, count: float) -> list:
    slider, seen = gr.update(visible="hidden"), work.seen(session)
    by = by if by in paint.WAYS else paint.FOLDER
    seen["count"] = int(count)
    if not map_step.has_points(work, session):
        return [slider, gr.skip(), gr.skip()]
    if by == paint.GROUPS:
        made = paint.groups_of(work, session, int(count)).count
        slider = gr.update(value=made, visible=True) if made > 1 else slider
    found = paint.colours(work, words, session, by, int(count))
    if work.seen(session) is not seen:  # other pictures meanwhile
        return [gr.skip()] * 3
    seen["colours"] = found
    late = "" if "codes" in found or by == paint.FOLDER else words[f"colour_not_{by}"]
    note = late or words.get(f"colour_note_{by}", "")
    shown = gr.update(value=f"<p class='quiet'>{safe(note)}</p>", visible=True) if note else gr.update(visible="hidden")
    return [slider, shown, gr.update(colours=found)]


# Find


def landed(work: Workspace, words: dict[str, str], session: Session, event) -> Iterator[list]:
    """Yields [status, map] with pictures from outside, each at the place of its true neighbours."""
    files = map_step.sent(event, "files")
    if not isinstance(files, (list, tuple)) or not files:
        raise InputError(words["find_none"])
    if len(files) > LANDED:
        raise InputError(words["find_many"].format(n=len(files), most=LANDED))
    if not map_step.has_points(work, session):
        raise InputError(words["find_early"])
    yield [status_line(words["finding"], 0.3), gr.skip()]
    try:
        seen = work.seen(session)
        found = _landed(work, session, seen, [received_file(file) for file in files])
    except InputError:
        yield [gr.update(value="", visible="hidden"), gr.skip()]
        raise
    if work.seen(session) is not seen:
        yield [gr.update(value="", visible="hidden"), gr.skip()]
        return
    seen["landed"] = found
    yield [gr.update(value="", visible="hidden"), gr.update(landed=found)]


def _landed(work: Workspace, session: Session, seen: dict, files: list[tuple[str, str]]) -> list[dict]:
    """The `landed` prop of some files (path, name)."""
    from byolmeta import features, image_map

    pictures, where, rows = work.pictures(session), work.encoder(session), seen.get("rows")
    vectors = paint.vectors_of(work, session)
    vectors = vectors if rows is None else vectors[rows]
    small = [work.read(path, thumbs.TILE) for path, _ in files]
    pixels = np.stack([work.read(path, pictures.store.size) for path, _ in files])
    places, near = image_map.place(features.encode(where, pictures.store, pixels), vectors, seen["places"])
    near = near[:, :NEAR] if rows is None else rows[near[:, :NEAR]]
    return [
        {"url": thumbs.one(picture, work.home / "thumbs", session.name), "x": float(x), "y": float(y),
         "near": [int(i) for i in ids], "seq": next(paint.numbers), "name": thumbs.text(Path(name.encode("utf-8", "replace").decode()).name)}
        for picture, (x, y), ids, (_, name) in zip(small, places, near, files, strict=True)
    ]  # fmt: skip


def similar(work: Workspace, words: dict[str, str], session: Session, event) -> dict:
    """The map with the pictures most like the selected ones selected too, by the nearest of those."""
    ids = map_step.chosen_ids(work, session, event)
    vectors = paint.vectors_of(work, session)
    x = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    likeness = np.full(len(x), -2.0, np.float32)
    for start in range(0, len(ids), 512):  # so that many selected pictures take little memory
        likeness = np.maximum(likeness, (x @ x[ids[start : start + 512]].T).max(1))
    likeness[ids] = -3
    rows = work.seen(session).get("rows")
    order = np.argsort(-likeness, kind="stable")
    order = order[likeness[order] > -3]
    order = order if rows is None else order[np.isin(order, rows)]
    more = order[: max(SIMILAR, len(ids) // 4)]
    return gr.update(selection={"ids": [*ids, *more.tolist()], "seq": next(paint.numbers)})


def large(work: Workspace, words: dict[str, str], session: Session, event) -> dict:
    """The map with a picture shown large, from its own file, and what is known of it."""
    from byolmeta import tidy
    from byolmeta.decode import whole

    index = work.pictures(session).store.index
    number = map_step.sent(event, "id")
    if type(number) is not int or not 0 <= number < len(index.paths):
        raise InputError(words["tidy_gone"])
    path = index.paths[number]
    with tidy.originals(index) as read:
        content = read(path)
    image, own = whole(content, LARGE, work.limits)
    url = thumbs.large(image, f"{session.name}-{work.token}-{number % 8}", work.home / "thumbs")
    facts = [
        thumbs.text(path),
        f"{own[0]:,} × {own[1]:,}",
        words["large_size"].format(kb=f"{len(content) / 1000:,.0f}"),
    ]
    found = {"id": number, "url": url, "name": thumbs.text(Path(path).name), "facts": facts}
    return gr.update(large=found | {"seq": next(paint.numbers)})


# Compare


def others_of(work: Workspace, words: dict[str, str], session: Session) -> list[tuple[str, str]]:
    """(name, where) of what the session's encoder can be compared with."""
    yours = work.encoder(session)
    found = [(name, where) for name, where in work.encoders(session) if where != yours]
    if work.practised(yours):
        found.insert(0, (words["compare_unpractised"], f"{UNPRACTISED}:{yours}"))
    untrained = [(words["untrained_name"], work.untrained(session))] if work.untrained(session) != yours else []
    return [*found, *untrained, (words["measure_pixels"], PIXELS)]


def compared(work: Workspace, words: dict[str, str], session: Session, other: str) -> Iterator[list]:
    """Yields [status, map]: the same pictures as another encoder sees them, to slide to and fro."""
    seen = work.seen(session)
    offered = {where: name for name, where in others_of(work, words, session)}
    if not other:
        seen |= {"compare": {}, "other": ""}
        yield [gr.skip(), gr.update(compare={})]
        return
    if other not in offered:
        raise InputError(words["measure_gone"])
    if not work.layouts or seen.get("stage") != "umap":
        raise InputError(words["find_early"])
    number = seen["comparing"] = seen.get("comparing", 0) + 1
    hide = [gr.update(value="", visible="hidden"), gr.skip()]
    yield [status_line(words["comparing"].format(name=offered[other]), 0.1), gr.skip()]
    try:
        yield from beside(watched(lambda progress: work.bank(session, other, progress), words["looking_at"]))
        yield [status_line(words["comparing"].format(name=offered[other]), 0.5), gr.skip()]
        if work.seen(session) is not seen:
            yield hide
            return
        found = _comparison(work, words, session, seen, other, offered[other])
    except Exception:  # a bug too goes on to who shows it; the line of progress has to go before
        yield hide
        raise
    yield hide
    if seen.get("comparing") == number and work.seen(session) is seen:
        seen |= {"compare": found, "other": other}
        yield [gr.skip(), gr.update(compare=found)]


def left(work: Workspace, words: dict[str, str], session: Session, event) -> dict:
    """The choice of the encoder to compare with, after the visitor left the comparison; a film that was left stays closed."""
    kind, seen = map_step.sent(event, "kind"), work.seen(session)
    if kind == "film":
        seen["film"] = {}
        return gr.skip()
    seen |= {"compare": {}, "other": ""}
    return gr.update(value="")


def _comparison(work: Workspace, words: dict[str, str], session: Session, seen: dict, other: str, name: str) -> dict:
    """The `compare` prop: the second layout, and what each keeps of its own neighbours and knows of the folders."""
    from byolmeta import features, image_map

    pictures = work.pictures(session)
    rows = slice(None) if seen.get("rows") is None else seen["rows"]
    vectors = [paint.vectors_of(work, session)[rows], work.bank(session, other)[: len(pictures.store)][rows]]
    second = map_step.second_layout(work, session, other, vectors[1], seen["places"])
    labels, facts = pictures.store.labels[rows], []
    for each, places in zip(vectors, (seen["places"], second), strict=True):
        knn = features.knn_accuracy(each, labels)
        kept = image_map.trustworthiness(each, places)
        known = words["compare_knn"].format(knn=round(100 * knn)) if knn is not None else ""
        facts.append(known + words["compare_kept"].format(kept=f"{kept:.2f}"))
    near = features.neighbours(vectors[1], NEAR)[0]
    near = near if seen.get("rows") is None else seen["rows"][near]
    url = work.file(session, second.astype(np.float32), "xy2")
    return {
        "url": url,
        "names": [work.encoder_name(session), name],
        "facts": facts,
        "neighbours": work.file(session, near.astype(np.uint32), "near2"),
        "k": near.shape[1],
        "middle": words["compare_shared"].format(share=round(100 * image_map.agreement(*vectors))),
        "seq": next(paint.numbers),
        "key": pictures.sheets["key"],
    }


def beside(updates: Iterator):
    """Updates of the status line as outputs [status, what is made]; returns what they return."""
    while True:
        try:
            yield [next(updates), gr.skip()]
        except StopIteration as made:
            return made.value


# The film of a study


def frames_of(work: Workspace, session: Session) -> list:
    """The frames that the session's study left, if it was of these pictures."""
    from byolmeta import film

    run = Run(session.run) if session.run else None
    if run is None or run.config().get("folder") != str(work.source(session)):
        return []
    frames = film.frames(run.film)
    store = work.pictures(session).store
    count, mark = len(store), film.mark_of(store)
    return frames if all(frame.ids.max() < count and frame.mark in ("", mark) for frame in frames) else []


def film_places(work: Workspace, words: dict[str, str], session: Session) -> Iterator:
    """Yields updates of the status line while frames are laid out; returns the frames and their places (F, n, 2)."""
    from byolmeta import film

    frames, folder = frames_of(work, session), work.home / "projects" / f"{session.name}-exchange"
    if len(frames) < 2 or not work.layouts:
        raise InputError(words["film_none"])

    def make(progress) -> np.ndarray:
        def laid(vectors: np.ndarray, start: np.ndarray | None) -> np.ndarray:
            return work.layouts.layout(vectors, start, folder)

        try:
            return film.layouts(frames, laid, folder=Run(session.run).film, progress=progress)
        except RuntimeError:
            raise InputError(words["map_failed"]) from None

    return frames, (yield from watched(make, words["film_making"]))


def replayed(work: Workspace, words: dict[str, str], session: Session) -> Iterator[list]:
    """Yields [status, map]: the film of the study, from its first look to its last."""
    seen, key = work.seen(session), work.pictures(session).sheets["key"]
    frames, places = yield from beside(film_places(work, words, session))
    if work.seen(session) is not seen:
        return
    places = turned(work, session, frames[0].ids, places)
    found = {
        "url": work.file(session, places.astype(np.float32), "film"),
        "ids": work.file(session, frames[0].ids.astype(np.uint32), "film-ids"),
        "frames": len(places),
        "n": places.shape[1],
        "labels": [words["film_step"].format(step=f"{frame.step:,}") for frame in frames],
        "key": key,
        "seq": next(paint.numbers),
    }
    seen["film"] = found
    yield [gr.skip(), gr.update(film=found)]


def turned(work: Workspace, session: Session, ids: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The film's places (F, n, 2), turned and mirrored so that its last frame lies as the map of now does."""
    from byolmeta import image_map

    key, now = work.places.get(session.name, ("", None))
    if key != work.pictures(session).sheets["key"]:
        return places
    after = image_map.align(places[-1], now[ids])
    middle, moved = places[-1].mean(0), after.mean(0)
    turn = np.linalg.lstsq(places[-1] - middle, after - moved, rcond=None)[0]
    return ((places - middle) @ turn + moved).astype(np.float32)


# Take along


def exported(work: Workspace, words: dict[str, str], session: Session, event, by: str, count: float) -> str:
    """The selected pictures as a list or as a zip of copies; returns what the browser fetches."""
    from byolmeta import tidy
    from byolmeta.workplace import write_csv

    ids = map_step.chosen_ids(work, session, event)
    store = work.pictures(session).store
    if map_step.sent(event, "kind") == "zip":
        path = export_path(work, session, f"{paint.file_name(session.label or 'pictures')}-{len(ids)}.zip")
        tidy.zip_of(store.index, ids, path)
        return fetched(path)
    label, seen = store.labels, work.seen(session)
    shown = range(len(store)) if seen.get("rows") is None else seen["rows"].tolist()
    place = dict(zip(shown, seen.get("places", ()), strict=False))
    groups = paint.groups_of(work, session, int(count) if by == paint.GROUPS else 0).labels
    rows = [
        {"path": thumbs.text(store.index.paths[i]), "class": thumbs.text(store.class_names[label[i]]) if label[i] >= 0 else "",
         "group": int(groups[i]) + 1}
        | ({"x": round(float(place[i][0]), 4), "y": round(float(place[i][1]), 4)} if i in place else {"x": "", "y": ""})
        for i in ids
    ]  # fmt: skip
    path = export_path(work, session, f"{paint.file_name(session.label or 'pictures')}-{len(ids)}.csv")
    write_csv(path, rows)
    return fetched(path)


def export_path(work: Workspace, session: Session, name: str) -> Path:
    """A new place that only this visitor knows, for a file that the browser fetches; the oldest makes room."""
    folder = work.home / "thumbs" / "exports"
    folder.mkdir(parents=True, exist_ok=True)
    with work.alone("exports", session.name):
        mine = sorted(folder.glob(f"{session.name}-*"), key=lambda path: path.name)
        for old in mine[: max(0, len(mine) - EXPORTS + 1)]:
            shutil.rmtree(old, ignore_errors=True)
    place = folder / f"{session.name}-{time.time_ns()}-{secrets.token_hex(8)}"
    place.mkdir()
    return place / name


def fetched(path: Path) -> str:
    return json.dumps({"url": thumbs.url_of(path), "name": path.name})


def saved(work: Workspace, words: dict[str, str], session: Session, kind: str) -> Iterator[list]:
    """Yields [status, file]: the map as one page, or the film as one page or as a GIF."""
    from byolmeta.ui.map_page import map_page

    if not map_step.has_points(work, session):
        raise InputError(words["find_early"])
    pictures, seen = work.pictures(session), work.seen(session)
    name = paint.file_name(session.label or "pictures")
    frames, places = [], None
    if kind != "page":
        frames, places = yield from beside(film_places(work, words, session))
        places = turned(work, session, frames[0].ids, places)
    yield [status_line(words["saving"], 0.7), gr.skip()]
    try:
        if kind == "gif":
            from byolmeta import film

            path = export_path(work, session, f"{name}-film.gif")
            rows = frames[0].ids
            film.gif(path, places, pictures.store.labels[rows], pictures.thumbnails.pixels[np.sort(rows)])
        else:
            path = export_path(work, session, f"{name}-{'film' if kind == 'film_page' else 'map'}.html")
            labels = [words["film_step"].format(step=f"{frame.step:,}") for frame in frames]
            shown = (places, frames[0].ids, labels) if frames else None
            text = map_page(
                seen["places"], pictures.thumbnails, seen.get("rows"), near=seen.get("near"), colours=seen.get("colours"),
                film=shown, title=retold(words, session.label), words=words,
            )  # fmt: skip
            path.write_text(text, encoding="utf-8")
    except Exception:  # as in `compared`
        yield [gr.update(value="", visible="hidden"), gr.skip()]
        raise
    yield [gr.update(value="", visible="hidden"), fetched(path)]
