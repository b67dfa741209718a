"""Take it with you: what was taught as a sorted list, as copies in class folders, as a project file, as an ONNX file."""

from types import SimpleNamespace

import gradio as gr

from byolmeta.errors import InputError
from byolmeta.files import UNTRAINED
from byolmeta.ui import paint, teach
from byolmeta.ui.explore import SAVE, export_path, fetched
from byolmeta.ui.workspace import Session, Workspace

KINDS = {"csv": "sorted.csv", "zip": "sorted.zip", "project": "project.byolmeta", "onnx": "classifier.onnx"}


def layout(words: dict[str, str]) -> SimpleNamespace:
    """Lays the buttons out."""
    with gr.Accordion(words["carry"], open=False, elem_id="carry"):
        with gr.Row():
            small = {"size": "sm", "min_width": 150}
            saves = {kind: gr.Button(words[f"carry_{kind}"], elem_id=f"carry-{kind}", **small) for kind in KINDS}
        gr.Markdown(words["carry_line"])
    return SimpleNamespace(saves=saves, file=gr.Textbox(visible="hidden"))


def connect(work: Workspace, words: dict[str, str], parts: SimpleNamespace, who, sentences) -> None:
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    for kind, button in parts.saves.items():
        saving = sentences(lambda who, k=kind: saved(work, words, work.session(who), k))
        button.click(saving, who, parts.file, **quiet).then(None, parts.file, None, js=SAVE, **quiet)


def saved(work: Workspace, words: dict[str, str], session: Session, kind: str) -> str:
    """What the browser fetches. Raises InputError before two boxes have a picture."""
    import torch

    from byolmeta import classifier
    from byolmeta.commands import write_csv

    boxes, support, labels = teach.task_of(session)
    if len(boxes) < 2:
        raise InputError(words["carry_early"])
    found, where = work.pictures(session), work.encoder(session)
    if where == UNTRAINED and kind in ("project", "onnx"):
        raise InputError(words["carry_untrained"])
    made = teach.classifier_of(work, session, where)
    names = made.names
    index, count = found.store.index, len(found.store)
    path = export_path(work, session, f"{paint.file_name(session.label or 'pictures')}-{KINDS[kind]}")
    if kind in ("csv", "zip"):
        answer, given = (
            made.sort(torch.from_numpy(work.bank(session)[:count])),
            {int(i): int(b) for i, b in zip(support, labels, strict=True) if i < count},
        )
        if kind == "csv":
            write_csv(path, classifier.rows_of(index.paths, answer, names, given))
        else:
            classifier.sorted_zip(index, answer, names, path, given)
        return fetched(path)
    pixels = work.pixels(session, support)
    if kind == "project":
        from byolmeta.project import save_project

        of = {box["id"]: paint.colour_of(place) for place, box in enumerate(session.boxes["boxes"])}
        paths = [str(index.paths[i]) if i < count else f"+{i - count + 1}" for i in support]
        texts = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in paths]
        save_project(path, where, made, texts, pixels, colours=[of[box["id"]] for box in boxes])
    else:
        from byolmeta.encoder import load_encoder

        classifier.to_onnx(made, load_encoder(where), pixels, path)
    return fetched(path)
