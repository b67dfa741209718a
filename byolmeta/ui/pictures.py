"""Step 1, Pictures: choose a sample, drop pictures or a zip, or name a folder; and the report card."""

from pathlib import Path
from types import SimpleNamespace

import gradio as gr

from byolmeta import samples
from byolmeta.errors import InputError
from byolmeta.ui.html import safe, tile
from byolmeta.ui.scatter import Scatter
from byolmeta.ui.workspace import Pictures, Session, Workspace

SHOWN = 24  # thumbnails on the report card
LISTED = 50  # unreadable files that are named


def layout(work: Workspace, words: dict[str, str]) -> SimpleNamespace:
    """Lays the step out; `sources` are (event, callback) pairs that change the pictures."""
    with gr.Row(elem_id="arrive"):
        with gr.Column(scale=2, min_width=320):
            report = gr.HTML(f"<p class='quiet'>{safe(words['making_map'])}</p>", elem_id="report")
            try_these = gr.Button(words["try_these"], variant="primary", size="lg", elem_id="try")
            status = gr.HTML(elem_id="pictures-status", visible="hidden")
            gr.Markdown(f"### {words['use_mine']}")
            drop = gr.File(label=words["drop_here"], file_count="multiple", type="filepath", height=130, elem_id="drop")
            with gr.Row():
                folder = gr.UploadButton(words["choose_folder"], file_count="directory", type="filepath", size="sm")
                creatures = gr.Button(words["sample_creatures"], size="sm", elem_id="sample-creatures")
                digits = gr.Button(words["sample_digits"], size="sm", elem_id="sample-digits")
            with gr.Row(visible=not work.public):
                path = gr.Textbox(label=words["folder_path"], placeholder=words["folder_hint"], scale=4, elem_id="path", max_lines=1)
                go = gr.Button(words["open"], scale=1, min_width=80, elem_id="open")
        with gr.Column(scale=3, min_width=320):
            preview = Scatter(compact=True, elem_id="preview")
    none = gr.State(None)
    inputs = {choose_files: drop, choose_upload: folder, choose_path: path, choose_creatures: none, choose_digits: none}
    sources = [
        (drop.upload, choose_files),
        (folder.upload, choose_upload),
        (path.submit, choose_path),
        (go.click, choose_path),
        (creatures.click, choose_creatures),
        (digits.click, choose_digits),
    ]
    return SimpleNamespace(report=report, preview=preview, try_these=try_these, status=status, sources=sources, inputs=inputs)


def choose_files(work: Workspace, session: Session, files: list[str] | None) -> str:
    """Pictures or a zip that were uploaded become the session's pictures."""
    if not files:
        raise InputError("No files arrived. Drop pictures (JPG, PNG, WebP, BMP, GIF, TIFF) or one zip.")
    return _received(work, session, [(file, Path(file).name) for file in files])


def choose_upload(work: Workspace, session: Session, files: list[str] | None) -> str:
    """An uploaded folder; folder names inside it become classes where the browser told them."""
    if not files:
        raise InputError("The folder was empty. Choose one that holds pictures.")
    return _received(work, session, [(file, getattr(file, "orig_name", None) or Path(file).name) for file in files])


def _received(work: Workspace, session: Session, files: list[tuple[str, str]]) -> str:
    folder = work.receive(session, files)
    label = folder.name if folder.suffix else f"{len(files)} uploaded pictures"
    work.choose(session, folder, label)
    return ""


def choose_path(work: Workspace, session: Session, path: str) -> str:
    """A folder or zip on this computer (local mode only); it is only read."""
    if work.public:
        raise InputError("Folder paths work only on your own computer. Upload the pictures instead.")
    if not (path or "").strip():
        raise InputError("The path is empty. Type the path of a folder or a zip with pictures.")
    source = Path(path.strip().strip("\"'")).expanduser()
    work.choose(session, source.resolve(), source.name)
    return ""


def choose_creatures(work: Workspace, session: Session, _) -> str:
    work.choose(session, "", "")
    return ""


def choose_digits(work: Workspace, session: Session, _) -> str:
    work.choose(session, samples.sample_folder("digits", work.home), "digits")
    return ""


def report_card(pictures: Pictures, words: dict[str, str]) -> str:
    """What was found: counts, unreadable files with reasons, copies, classes, and some of the pictures."""
    index, count = pictures.store.index, len(pictures.store)
    step = max(1, count // SHOWN)
    tiles = "".join(tile(pictures.sheets, i) for i in list(range(0, count, step))[:SHOWN])
    groups = pictures.copies
    copies = count - len(set(groups.tolist()))
    facts = [f"<b>{safe(words['ready'].format(n=f'{count:,}'))}</b>"]
    if index.skipped:
        rows = "".join(f"<li>{safe(s.name)}: {safe(s.reason)}</li>" for s in index.skipped[:LISTED])
        title = safe(words["unreadable"].format(n=f"{len(index.skipped):,}"))
        facts.append(f"<details><summary>{title} ({safe(words['show'])})</summary><ul>{rows}</ul></details>")
    facts.append(safe(words["copies"].format(n=copies) if copies else words["no_copies"]))
    names = ", ".join(index.class_names[:12]) + (" …" if len(index.class_names) > 12 else "")
    classes = safe(words["classes"].format(names=names) if names else words["no_classes"])
    return f'<div class="tiles">{tiles}</div><div class="facts">{" · ".join(facts)}</div><p class="quiet">{classes}</p>'
