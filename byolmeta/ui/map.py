"""Step 3, Map, and what every arrival brings: pictures first, then their PCA, then UMAP."""

from collections.abc import Iterator

import gradio as gr
import numpy as np

from byolmeta.encoder import starters
from byolmeta.errors import InputError
from byolmeta.ui import learn, pictures
from byolmeta.ui.html import safe
from byolmeta.ui.workspace import Session, Workspace

NEAREST = 3  # true neighbours shown under the pointer


def arrive(work: Workspace, words: dict[str, str], session: Session) -> Iterator[list]:
    """Yields [header, encoder, report, preview, views, map, board] as the pictures are read, embedded and mapped."""
    try:
        found = work.pictures(session)
        sheets = found.sheets
        choice = encoder_choice(work, words, session)
        report = pictures.report_card(found, words)
        work.shown[session.name] = {}
        board, scatter = whole_board(work, session), whole_map(work, session)
        yield [header(work, words, session), choice, report, scatter, gr.skip(), scatter, board]
        for points in layouts(work, session):
            yield [gr.skip(), gr.skip(), gr.skip(), gr.update(points=points), gr.skip(), gr.update(points=points), gr.skip()]
        yield [gr.skip()] * 4 + [learn.views(work, session)] + [gr.skip()] * 2
        for baseline in ("pixels", "untrained"):
            work.bank(session, baseline)  # so that the first curve need not wait for them
    except InputError as problem:
        raise gr.Error(str(problem), title=words["error_what"], duration=12) from None


def whole_board(work: Workspace, session: Session) -> dict:
    """All that the board shows, in one update."""
    answers = work.shown.get(session.name, {}).get("answers")
    boxes = session.boxes | {"force": True}
    return gr.update(pictures=work.pictures(session).sheets, boxes=boxes, extras=work.extras(session), answers=answers)


def whole_map(work: Workspace, session: Session) -> dict:
    """All that a map shows, in one update."""
    points = work.shown.get(session.name, {}).get("points")
    return gr.update(pictures=work.pictures(session).sheets, points=points, boxes=box_chips(session))


def layouts(work: Workspace, session: Session) -> Iterator[dict]:
    """Yields `points`: the cached map, or PCA at once and UMAP when it is made."""
    from byolmeta import features, image_map

    vectors = work.bank(session)[: len(work.pictures(session).store)]
    near = features.neighbours(vectors, NEAREST)[0]
    bank = features.encoder_bank(work.encoder(session), work.pictures(session).store, work.home / "banks")
    cached = work.home / "banks" / f"{bank.fingerprint}-map.npy"
    if cached.exists():
        yield work.points(session, np.load(cached), "umap", near)
        return
    first = image_map.pca_layout(vectors)
    yield work.points(session, first, "pca", near)
    if work.layouts is None:
        return
    places = work.layouts.layout(vectors, first, work.home / "projects" / f"{session.name}-exchange")
    np.save(cached, places)
    yield work.points(session, places, "umap", near)


def header(work: Workspace, words: dict[str, str], session: Session) -> str:
    """The first noun of the header: which pictures are on the page."""
    label = session.label or words["sample_creatures"]
    count = len(work.pictures(session).store)
    return f"<span class='noun'>{safe(words['pictures'])}: <b>{safe(label)}</b> ({count:,})</span>"


def encoder_choice(work: Workspace, words: dict[str, str], session: Session):
    """The second noun: the encoder, to be chosen among starters, runs and the untrained network."""
    shipped = starters()
    choices = [(f"{name} ({words['starter']})" if name in shipped else name, where) for name, where in work.encoders()]
    return gr.update(choices=[*choices, (words["untrained_name"], "untrained")], value=work.encoder(session))


def choose_encoder(work: Workspace, session: Session, where: str) -> None:
    """Looks at the pictures with another encoder; only those in the list can be chosen."""
    if where != "untrained" and where not in [place for _, place in work.encoders()]:
        raise InputError("That encoder is no longer there. Choose another one from the list.")
    session.encoder = where
    work.save(session)


def box_chips(session: Session) -> list[dict]:
    """The class boxes as the map offers them for a selection."""
    from byolmeta.ui.figures import COLOURS

    return [
        {"id": box["id"], "name": box["name"], "colour": COLOURS[i % len(COLOURS)]}
        for i, box in enumerate(session.boxes["boxes"])
    ]
