"""Step 3, Map, and what every arrival brings: pictures first, then their PCA, then UMAP."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import gradio as gr
import numpy as np

from byolmeta.errors import InputError
from byolmeta.files import PIXELS, replace_file, starters
from byolmeta.ui import pictures
from byolmeta.ui.html import safe
from byolmeta.ui.paint import colours_of, vectors_of
from byolmeta.ui.sentences import renamed, retold
from byolmeta.ui.workspace import UNPRACTISED, Session, Workspace

NEAREST = 3  # true neighbours shown under the pointer


def arrive(work: Workspace, words: dict[str, str], session: Session) -> Iterator[list]:
    """Yields [status, header, encoder, report, button, preview, map, moving map, board] when they are read."""
    work.leave_gone(session)
    if session.gone:
        gr.Warning(safe(words["source_gone"].format(source=session.gone)), title=words["error_what"], duration=12)
        session.gone = ""
    found = yield from lines(pictures.watched(lambda progress: work.pictures(session, progress), words["reading"]))
    report = pictures.report_card(found, words, pictures.why(work, words, session))
    work.arrived(session)
    speak(work, words, session)
    board, scatter, great = whole_board(work, session), whole_map(work, session), great_map(work, session)
    choice = encoder_choice(work, words, session)
    button = gr.update(value=words["sort_these" if session.source else "try_these"])
    yield [gr.skip(), header(work, words, session), choice, report, button, scatter, great, scatter, board]


def speak(work: Workspace, words: Mapping, session: Session) -> None:
    """Names that the page gave to boxes, and what it still shows, in the page's language, where the visitor changed that."""
    seen = work.seen(session)
    with work.board(session):
        boxes = session.boxes["boxes"]
        names = renamed(words, [box["name"] for box in boxes], "box_name")
        if names != [box["name"] for box in boxes]:
            boxes = [box | {"name": name} for box, name in zip(boxes, names, strict=True)]
            session.boxes = {"rev": session.boxes["rev"] + 1, "boxes": boxes}
            work.save(session)
    if seen.setdefault("language", words["language"]) != words["language"]:
        for name in ("colours", "film", "compare", "other"):
            seen.pop(name, None)
        seen["language"] = words["language"]


def lines(updates: Iterator[dict]):
    """The updates of the status line as outputs of `arrive`."""
    while True:
        try:
            yield [next(updates), *[gr.skip()] * 8]
        except StopIteration as end:
            return end.value


def look(work: Workspace, words: dict[str, str], session: Session) -> Iterator[list]:
    """Yields [status, status of the map, preview, map, moving map]: vectors, PCA, then UMAP.

    It ends where the visitor looks at other pictures, or with another encoder, meanwhile.
    """
    for update in pictures.watched(lambda progress: work.bank(session, progress=progress), words["looking_at"]):
        yield [update, update, *[gr.skip()] * 3]
    over = gr.update(value="", visible="hidden")  # once more: of two updates at once the page may see the older one
    for points in layouts(work, words, session):
        yield [over, over, *[gr.update(points=points)] * 3]


def whole_board(work: Workspace, session: Session) -> dict:
    """All that the board shows, in one update."""
    answers = work.seen(session).get("answers") or {}  # None would not be delivered
    boxes = session.boxes | {"force": True}
    return gr.update(pictures=work.pictures(session).sheets, boxes=boxes, extras=work.extras(session), answers=answers)


def whole_map(work: Workspace, session: Session) -> dict:
    """All that a map beside another step shows, in one update."""
    points = work.seen(session).get("points")
    return gr.update(pictures=work.pictures(session).sheets, points=points, boxes=box_chips(session))


def great_map(work: Workspace, session: Session) -> dict:
    """All that the map of its own step shows, in one update."""
    seen = work.seen(session)
    props = {
        name: seen.get(name) or {} for name in ("colours", "film", "compare", "lit")
    }  # None would not be delivered
    return whole_map(work, session) | props | {"landed": seen.get("landed") or []}


def has_points(work: Workspace, session: Session) -> bool:
    """Whether the map of the session's pictures is there, a sketch at least."""
    return "places" in work.seen(session)


def sent(event, name: str):
    """A field of what the page sent; None where it is missing."""
    found = getattr(event, "_data", None)
    if isinstance(found, dict):
        return found.get(name)
    return (
        None if isinstance(event, gr.EventData) else getattr(event, name, None)
    )  # Gradio's raises where it has no names


def chosen_ids(work: Workspace, session: Session, event) -> list[int]:
    """The pictures that the map says are selected. Raises InputError where it showed others, or none are."""
    found, ids = work.pictures(session), sent(event, "indices")
    if sent(event, "key") != found.sheets["key"]:
        raise InputError("The map showed other pictures. Reload the page, then select once more.")
    ids = ids if isinstance(ids, (list, tuple)) else []
    ids = list(dict.fromkeys(i for i in ids if type(i) is int and 0 <= i < len(found.store)))
    if not ids:
        raise InputError("No pictures are selected. Draw a lasso around some, or press them with Shift.")
    if sent(event, "truncated"):
        raise InputError(f"More than {len(ids):,} pictures are selected, the most at once. Select fewer.")
    return ids


def layouts(work: Workspace, words: dict[str, str], session: Session) -> Iterator[dict]:
    """Yields `points`: the cached map, or PCA at once and UMAP when it is made; then prepares the baselines.

    Where the page already shows a map of these pictures, the next one starts from it instead of PCA. Nothing is yielded,
    and nothing kept, for other pictures or another encoder than those of the beginning.
    """
    from byolmeta import features, image_map

    seen, found, where = work.seen(session), work.pictures(session), work.encoder(session)
    vectors, key = vectors_of(work, session), work.pictures(session).sheets["key"]

    def stale() -> bool:
        return work.seen(session) is not seen

    banks = work.own(session, where) / "banks"
    bank = features.encoder_bank(where, found.store, banks).fingerprint
    if stale() or len(vectors) != len(found.store):
        return
    cached = banks / f"{bank}-map.npy"
    places, earlier = _read(cached, len(vectors)), earlier_places(work, session)
    sketch = image_map.pca_layout(vectors) if places is earlier is None else None
    if sketch is not None:
        yield shown_points(work, session, seen, sketch, "pca", None)
    near = nearest_of(seen, vectors)
    if stale():
        return
    if places is not None:
        places = places if earlier is None else image_map.align(places, earlier)
        work.places[session.name] = (key, places)
        yield shown_points(work, session, seen, places, "umap", near[0])
    unpractised = [f"{UNPRACTISED}:{where}"] if work.practised(where) else []
    for baseline in (PIXELS, work.untrained(session), *unpractised):
        work.bank(session, baseline)  # so that the first curve need not wait for them
    if places is None and work.layouts:
        folder = work.home / "projects" / f"{session.name}-exchange"
        for attempt in (1, 2):  # its process may have been ended
            try:
                places = work.layouts.layout(vectors, earlier, folder, near=near)
                break
            except RuntimeError:
                if attempt == 2:
                    gr.Warning(safe(words["map_failed"]))
        if stale():
            return
        if places is None:
            if sketch is not None:  # it stays, and says that it is one
                yield shown_points(work, session, seen, sketch, "pca", near[0])
            return
        replace_file(cached, lambda path: path.write_bytes(_npy(places)))
        work.places[session.name] = (key, places)
        yield shown_points(work, session, seen, places, "umap", near[0])


def nearest_of(seen: dict, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids and distances of the true neighbours of all pictures, for the map and for what is said of it; found once."""
    from byolmeta import image_map

    kept = seen.get("nearest")
    if kept is None or kept[0] is not vectors:
        kept = seen["nearest"] = vectors, image_map.nearest(vectors)
    return kept[1]


def shown_points(
    work: Workspace, session: Session, seen: dict, places: np.ndarray, stage: str, near: np.ndarray | None
) -> dict:
    """The `points` of a map of all pictures, without those set aside; `near` (N, k): their true neighbours, nearest first.

    `seen`: what the page showed when the map was begun; it learns of it.
    """
    from byolmeta import tidy

    found = work.pictures(session)
    aside = tidy.load_decisions(work.tidy_folder(session)).aside
    paths = found.store.index.paths
    rows = np.array([row for row, path in enumerate(paths) if path not in aside], np.int64) if aside else None
    rows = None if rows is None or len(rows) in (0, len(places)) else rows
    near = None if near is None else near[:, :NEAREST] if rows is None else near[rows, :NEAREST]
    shown = places if rows is None else places[rows]
    points = work.points(session, found.sheets["key"], shown, stage, near, rows)
    seen |= {"points": points, "places": shown, "rows": rows, "near": near, "stage": stage}
    return points


def second_layout(work: Workspace, session: Session, other: str, vectors: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Where another encoder puts the pictures of the map: made from it, so that what stays alike stays in place; once."""
    kept = work.seen(session).setdefault("seconds", {})
    if kept.get("onto") is not onto:
        kept.clear()
        kept["onto"] = onto
    if other not in kept:
        try:
            kept[other] = work.layouts.layout(vectors, onto, work.home / "projects" / f"{session.name}-exchange")
        except RuntimeError:
            raise InputError(
                "The second map could not be made: its process ended. Choose the encoder once more."
            ) from None
    return kept[other]


def earlier_places(work: Workspace, session: Session) -> np.ndarray | None:
    """Where the same pictures lie on the map that the visitor sees now: later maps start there, so nothing jumps."""
    key, places = work.places.get(session.name, ("", None))
    return places if key == work.pictures(session).sheets["key"] else None


def _read(cached: Path, count: int) -> np.ndarray | None:
    """The places of a map, (count, 2), or None where the file is absent or damaged."""
    try:
        places = np.load(cached)
        return places if places.shape == (count, 2) and np.isfinite(places).all() else None
    except (OSError, ValueError, TypeError, AttributeError, EOFError):
        return None


def _npy(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def header(work: Workspace, words: dict[str, str], session: Session) -> str:
    """The two nouns of the header: which pictures are on the page, and a label for the encoder beside it."""
    label = retold(words, session.label) or words["sample_creatures"]
    count = len(work.pictures(session).store)
    noun = f"<span>{safe(words['pictures'])} <b title='{safe(label)}'>{safe(label)}</b> <i>{count:,}</i></span>"
    return f"{noun}<span>{safe(words['encoder'])}</span>"


def encoder_choice(work: Workspace, words: dict[str, str], session: Session):
    """The second noun: the encoder, to be chosen among starters, runs and the untrained network."""
    shipped = starters()

    def kind(name: str, where: str) -> str:
        if parent := work.parent(where):
            file = Path(parent)
            return words["practised"].format(name=file.parent.name if file.name == "encoder.safetensors" else file.stem)
        imported = Path(where).parent == work.imported(session)
        return words["starter" if name in shipped else "from_project" if imported else "studied"]

    choices = [(f"{name} ({kind(name, where)})", where) for name, where in work.encoders(session)]
    return gr.update(choices=[*choices, (words["untrained_name"], "untrained")], value=work.encoder(session))


def choose_encoder(work: Workspace, session: Session, where: str) -> None:
    """Looks at the pictures with another encoder; only those in the list can be chosen."""
    if where != "untrained" and where not in [place for _, place in work.encoders(session)]:
        raise InputError("That encoder is no longer there. Choose another one from the list.")
    session.encoder = where
    work.save(session)


def box_chips(session: Session) -> list[dict]:
    """The class boxes as the map offers them for a selection."""
    return chips_of(session.boxes["boxes"])


def chips_of(boxes: list[dict]) -> list[dict]:
    """Id, name and colour of each box."""
    return [
        {"id": box["id"], "name": box["name"], "colour": colour}
        for box, colour in zip(boxes, colours_of(boxes), strict=True)
    ]
