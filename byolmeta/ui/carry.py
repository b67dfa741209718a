"""Take it with you: what was taught as a sorted list, as copies in class folders, as a project file, as an ONNX file.

And back again: a project file that is opened brings its encoder, its boxes and its examples.
"""

from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
from PIL import Image

from byolmeta.errors import InputError
from byolmeta.files import UNTRAINED, file_fingerprint, find_encoder, starters
from byolmeta.ui import paint, teach
from byolmeta.ui.board import check_boxes
from byolmeta.ui.explore import SAVE, export_path, fetched
from byolmeta.ui.html import safe
from byolmeta.ui.map import box_chips
from byolmeta.ui.workspace import Session, Workspace

KINDS = {"csv": "sorted.csv", "zip": "sorted.zip", "project": "project.byolmeta", "onnx": "classifier.onnx"}


def layout(work: Workspace, words: dict[str, str]) -> SimpleNamespace:
    """Lays the buttons out."""
    if work.public:
        gr.HTML(f"<p class='quiet'>{safe(words['carry_keep'])}</p>", elem_id="carry-keep", padding=False)
    with gr.Accordion(words["carry"], open=work.public, elem_id="carry"):
        with gr.Row():
            small = {"size": "sm", "min_width": 150}
            saves = {kind: gr.Button(words[f"carry_{kind}"], elem_id=f"carry-{kind}", **small) for kind in KINDS}
        with gr.Row(visible=not work.public, elem_id="carry-into"):
            folder = gr.Textbox(label=words["carry_folder"], placeholder=words["carry_folder_hint"], scale=4,
                                min_width=200, max_lines=1, elem_id="carry-folder")  # fmt: skip
            into = gr.Button(words["carry_copy"], scale=1, min_width=110, size="sm", elem_id="carry-copy")
        note = gr.HTML(visible="hidden", elem_id="carry-note", padding=False)
        project = gr.UploadButton(
            words["carry_open"], file_types=[".byolmeta"], type="filepath", size="sm", elem_id="carry-open"
        )
        gr.Markdown(words["carry_line"])
    return SimpleNamespace(
        saves=saves, file=gr.Textbox(visible="hidden"), folder=folder, into=into, note=note, project=project
    )


def connect(work: Workspace, words: dict[str, str], parts: SimpleNamespace, who, sentences) -> None:
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    for kind, button in parts.saves.items():
        saving = sentences(lambda who, k=kind: saved(work, words, work.session(who), k))
        button.click(saving, who, parts.file, **quiet).then(None, parts.file, None, js=SAVE, **quiet)
    copying = sentences(lambda folder, who: copied(work, words, work.session(who), folder))
    for event in (parts.into.click, parts.folder.submit):
        event(copying, [parts.folder, who], parts.note, **quiet)


def _early(words: dict[str, str], session: Session) -> tuple[list[dict], np.ndarray, np.ndarray]:
    """The session's task. Raises InputError before two boxes have a picture."""
    task = teach.task_of(session)
    if len(task[0]) < 2:
        raise InputError(words["carry_early"])
    return task


def _sorted(work: Workspace, session: Session, made, support: np.ndarray, labels: np.ndarray) -> tuple:
    """Where the folder's pictures go, and {row: box} of the examples among them."""
    import torch

    count = len(work.pictures(session).store)
    given = {int(i): int(b) for i, b in zip(support, labels, strict=True) if i < count}
    return made.sort(torch.from_numpy(work.bank(session)[:count])), given


def saved(work: Workspace, words: dict[str, str], session: Session, kind: str) -> str:
    """What the browser fetches."""
    from byolmeta import classifier
    from byolmeta.workplace import write_csv

    boxes, support, labels = _early(words, session)
    found, where = work.pictures(session), work.encoder(session)
    if where == UNTRAINED and kind in ("project", "onnx"):
        raise InputError(words["carry_untrained"])
    made = teach.classifier_of(work, session, where)
    names = made.names
    index, count = found.store.index, len(found.store)
    path = export_path(work, session, f"{paint.file_name(session.label or 'pictures')}-{KINDS[kind]}")
    if kind in ("csv", "zip"):
        answer, given = _sorted(work, session, made, support, labels)
        if kind == "csv":
            write_csv(path, classifier.rows_of(index.paths, answer, names, given))
        else:
            classifier.sorted_zip(index, answer, names, path, given)
        return fetched(path)
    pixels = work.pixels(session, support)
    if kind == "project":
        from byolmeta.project import save_project

        of = {box["id"]: box["colour"] for box in box_chips(session)}
        paths = [str(index.paths[i]) if i < count else f"+{i - count + 1}" for i in support]
        texts = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in paths]
        save_project(path, where, made, texts, pixels, colours=[of[box["id"]] for box in boxes])
    else:
        from byolmeta.encoder import load_encoder

        classifier.to_onnx(made, load_encoder(where), pixels, path)
    return fetched(path)


def copied(work: Workspace, words: dict[str, str], session: Session, folder) -> dict:
    """Copies of all pictures in class folders in a new folder of this computer (local mode only); returns what to say."""
    from byolmeta import classifier

    if work.public:
        raise InputError(words["public_no_paths"])
    _, support, labels = _early(words, session)
    if not isinstance(folder, str) or not folder.strip():
        raise InputError(words["carry_no_folder"])
    try:
        target = Path(folder.strip().strip("\"'")).expanduser().resolve()
    except (OSError, ValueError, RuntimeError):
        raise InputError(f"'{folder.strip()}' is not a path on this computer. Check it.") from None
    made, index = teach.classifier_of(work, session, work.encoder(session)), work.pictures(session).store.index
    answer, given = _sorted(work, session, made, support, labels)
    try:
        count = classifier.sorted_folder(index, answer, made.names, target, given)
    except OSError as problem:
        raise InputError(
            f"The copies cannot be written ({problem.strerror}). Nothing was kept; name another folder."
        ) from None
    said = words["carry_copied"].format(n=f"{count:,}", folder=paint.plain(str(target)))
    return gr.update(value=f"<p>{safe(said)}</p>", visible=True)


def opened(work: Workspace, words: dict[str, str], session: Session, path) -> None:
    """Opens a project file: its encoder sees the pictures, its boxes and examples replace those of the board.

    Examples that are among the pictures are found there; the others are added. Raises InputError and changes nothing
    where it cannot be opened.
    """
    from byolmeta.project import name_of, open_project

    if not isinstance(path, str) or not path:
        raise InputError(words["carry_nothing"])
    place = work.imported(session)
    there = set(place.glob("*"))
    project = open_project(path, place)
    labels, names = project.classifier.labels, project.classifier.names
    boxes = [
        {"id": f"b{n}", "name": name, "items": []} | _colour(colour)
        for n, (name, colour) in enumerate(zip(names, project.colours, strict=True), 1)
    ]
    before = session.encoder
    session.encoder = _shipped(project.encoder) or str(project.encoder)
    try:
        check_boxes({"rev": 0, "boxes": boxes}, 0)
        store = work.pictures(session).store
        rows = {}  # by content: names depend on how a folder was opened
        for row in reversed(range(len(store) + session.extras)):
            rows.setdefault(work.pixels(session, [row])[0].tobytes(), []).append(row)
        found = [left.pop() if (left := rows.get(picture.tobytes())) else None for picture in project.pixels]
        same = [row is not None for row in found]
        work.room_for_extras(session, same.count(False))
    except InputError:
        session.encoder = before
        if project.encoder not in there:
            project.encoder.unlink(missing_ok=True)
        raise
    for box, picture, row, there in zip(labels.tolist(), project.pixels, found, same, strict=True):
        if not there:
            row = work.add_extra(session, Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))), store.size)
        boxes[box]["items"].append(row)
    session.learner = name_of(project.classifier.learner)
    with work.board(session):
        session.boxes = {"rev": session.boxes["rev"] + 1, "boxes": boxes}
        work.save(session)
    among = sum(row is not None and row < len(store) for row in found)
    gr.Info(safe(words["carry_opened"].format(there=among, more=len(found) - among)), duration=12)


def _colour(colour: str) -> dict:
    known = {shade.upper(): number for number, shade in enumerate(paint.BOX_COLOURS)}
    return {"colour": known[colour.upper()]} if colour.upper() in known else {}


def _shipped(encoder: Path) -> str:
    """The starter that an encoder's file is a copy of."""
    mark = file_fingerprint(encoder)
    return next((name for name in starters() if file_fingerprint(find_encoder(name)) == mark), "")
