"""Step 1, Pictures: drop or choose pictures, name a folder, or take a sample; and the report card."""

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np

from byolmeta import samples
from byolmeta.errors import InputError
from byolmeta.ui.drop import Drop, received_files
from byolmeta.ui.html import safe, tile
from byolmeta.ui.scatter import Scatter
from byolmeta.ui.sentences import said
from byolmeta.ui.workspace import Pictures, Session, Workspace

SHOWN = 21  # thumbnails on the report card
LISTED = 50  # unreadable files that are named
PUBLIC_BYTES = 1_000_000_000  # of one upload on a shared machine
PUBLIC_SECONDS = 120  # that reading an upload may take
PUBLIC_FILE_BYTES = 200_000_000  # of one file of it, which may be a zip


def layout(work: Workspace, words: dict[str, str]) -> SimpleNamespace:
    """Lays the step out; `sources` are (event, input, callback) that change the pictures."""
    with gr.Row(elem_id="arrive"):
        with gr.Column(scale=2, min_width=320):
            report = gr.HTML(f"<p class='quiet'>{safe(words['making_map'])}</p>", elem_id="report", padding=False)
            try_these = gr.Button(words["try_these"], variant="primary", size="lg", elem_id="try")
            status = gr.HTML(visible="hidden", elem_id="pictures-status", padding=False)
            gr.HTML(f"<h3>{safe(words['use_mine'])}</h3>", elem_id="use-mine", padding=False)
            drop = Drop(words=words.get("of_drop"), elem_id="drop")
            if work.public:
                gr.HTML(f"<p class='quiet'>{safe(limits_line(work, words))}</p>", elem_id="limits", padding=False)
            with gr.Row(visible=not work.public, elem_id="by-path"):
                path = gr.Textbox(label=words["folder_path"], placeholder=words["folder_hint"], scale=4, min_width=200,
                                  elem_id="path", max_lines=1)  # fmt: skip
                go = gr.Button(words["open"], scale=0, min_width=90, elem_id="open")
            problem = gr.HTML(visible="hidden", elem_id="problem", padding=False)
            with gr.Row(elem_id="samples"):
                gr.HTML(f"<p class='quiet'>{safe(words['samples'])}</p>", min_width=70, padding=False)
                creatures = gr.Button(words["sample_creatures"], size="sm", min_width=120, elem_id="sample-creatures")
                digits = gr.Button(words["sample_digits"], size="sm", min_width=120, elem_id="sample-digits")
        with gr.Column(scale=3, min_width=320):
            preview = Scatter(compact=True, words=words.get("of_scatter"), elem_id="preview")
    none = gr.State(None)
    sources = [
        (path.submit, path, choose_path),
        (go.click, path, choose_path),
        (creatures.click, none, choose_creatures),
        (digits.click, none, choose_digits),
    ]
    return SimpleNamespace(
        report=report,
        preview=preview,
        try_these=try_these,
        status=status,
        drop=drop,
        sources=sources,
        chosen=[status, problem],
    )


# Each of these changes the session's pictures, or raises InputError and changes nothing. `progress`: done, total.


def choose_upload(work: Workspace, words: dict[str, str], session: Session, files, progress) -> None:
    """What the browser sent: pictures with the names of their folders, or one zip."""
    arrived = received_files(files)
    if work.public and sum(Path(path).stat().st_size for path, _ in arrived) > PUBLIC_BYTES:
        raise InputError(words["public_bytes"].format(gb=PUBLIC_BYTES // 10**9))
    if work.public and len(arrived) > work.limits.images:
        raise InputError(words["public_count"].format(n=f"{work.limits.images:,}"))
    tops = {name.replace("\\", "/").strip("/").split("/")[0] for _, name in arrived}
    label = next(iter(tops)) if len(tops) == 1 else words["uploaded"]
    with work.received(session, arrived) as folder:
        work.choose(session, folder, label, bounded(progress, words) if work.public else progress)


def bounded(progress: Callable, words: dict[str, str]) -> Callable:
    """`progress` that ends the work, by InputError, after PUBLIC_SECONDS."""
    end = time.monotonic() + PUBLIC_SECONDS

    def told(done: int, total: int) -> None:
        if time.monotonic() > end:
            raise InputError(words["public_slow"].format(seconds=PUBLIC_SECONDS, done=f"{done:,}", total=f"{total:,}"))
        progress(done, total)

    return told


def limits_line(work: Workspace, words: dict[str, str]) -> str:
    """What may be sent to a shared machine."""
    return words["public_limits"].format(
        n=f"{work.limits.images:,}",
        mb=work.limits.file_bytes // 10**6,
        pixels=work.limits.pixels // 10**6,
        zip=PUBLIC_FILE_BYTES // 10**6,
        gb=PUBLIC_BYTES // 10**9,
        unpacked=work.limits.total_bytes // 10**9,
        seconds=PUBLIC_SECONDS,
    )


def choose_path(work: Workspace, words: dict[str, str], session: Session, path: str, progress) -> None:
    """A folder or zip on this computer (local mode only); it is only read."""
    if work.public:
        raise InputError(words["public_no_paths"])
    if not (path or "").strip():
        raise InputError(words["path_empty"])
    try:
        source = Path(path.strip().strip("\"'")).expanduser().resolve()
    except (OSError, ValueError, RuntimeError):
        raise InputError(f"'{path.strip()}' is not a path on this computer. Check it.") from None
    work.choose(session, source, source.name, progress)


def choose_creatures(work: Workspace, words: dict[str, str], session: Session, _, progress) -> None:
    work.choose(session, "", "", progress)


def choose_digits(work: Workspace, words: dict[str, str], session: Session, _, progress) -> None:
    work.choose(session, samples.sample_folder("digits", work.home), words["sample_digits"], progress)


def chosen(work: Workspace, words: dict[str, str], session: Session, choose: Callable, value) -> Iterator[list]:
    """Yields [status, problem] while one of the above works; what is wrong stays beside the place it was asked at."""
    try:
        yield [gr.skip(), gr.update(value="", visible="hidden")]
        for update in watched(lambda progress: choose(work, words, session, value, progress), words["reading"]):
            yield [update, gr.skip()]
    except InputError as problem:
        yield [gr.skip(), gr.update(value=f"<p role='alert'>{safe(said(words, str(problem)))}</p>", visible=True)]


# Slow work that the page watches


def watched(task: Callable, text: str) -> Iterator[dict]:
    """Runs task(progress) in a thread and yields updates of the status line; raises what the task raised.

    `text` has the places {done} and {total}. The last update hides the line. Returns what the task returned.
    """
    news, result = queue.SimpleQueue(), {}

    def run() -> None:
        try:
            result["value"] = task(lambda done, total: news.put((done, total)))
        except BaseException as problem:
            result["problem"] = problem
        news.put(None)

    threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()  # as whose event it is
    open_end = True
    while open_end:
        latest = news.get()
        while open_end and not news.empty():
            following = news.get()
            latest, open_end = following or latest, following is not None
        open_end = open_end and latest is not None
        if latest:
            done, total = latest
            yield status_line(text.format(done=f"{done:,}", total=f"{total:,}"), done / max(1, total))
            if open_end:
                threading.Event().wait(0.15)
    yield gr.update(value="", visible="hidden")
    if "problem" in result:
        raise result["problem"]
    return result["value"]


def status_line(text: str, share: float) -> dict:
    return gr.update(
        visible=True, value=f"<p>{safe(text)}</p><div class='bar'><i style='width:{100 * share:.0f}%'></i></div>"
    )


def why(work: Workspace, words: dict[str, str], session: Session) -> str:
    """Which starter the page chose for these pictures, and why; nothing where the visitor chose."""
    starter = "" if session.encoder else work.starter(session)
    return words[f"suits_{work.kind(session)}"].format(name=starter) if starter else ""


def report_card(pictures: Pictures, words: dict[str, str], starter: str = "") -> str:
    """What was found: counts, unreadable files with reasons, copies, classes, the `starter`, and some of the pictures."""
    index, count = pictures.store.index, len(pictures.store)
    rows = [int((i + 0.5) * count / SHOWN) for i in range(SHOWN)] if count > SHOWN else range(count)
    tiles = "".join(tile(pictures.sheets, i) for i in rows)
    groups = pictures.copies
    copies = count - len(set(groups.tolist()))
    facts = [f"<b data-aloud='{safe(pictures.sheets['key'])}'>{safe(words['ready'].format(n=f'{count:,}'))}</b>"]
    if index.skipped:
        rows = "".join(f"<li>{safe(s.name)}: {safe(said(words, s.reason))}</li>" for s in index.skipped[:LISTED])
        title = safe(words["unreadable"].format(n=f"{len(index.skipped):,}"))
        facts.append(f"<details><summary>{title} ({safe(words['show'])})</summary><ul>{rows}</ul></details>")
    if copies:
        rows = "".join(
            f"<li>{''.join(tile(pictures.sheets, int(i), 48) for i in np.flatnonzero(groups == group)[:6])}</li>"
            for group in np.flatnonzero(np.bincount(groups) > 1)[:LISTED]
        )
        title = safe(words["copies"].format(n=copies))
        facts.append(f"<details><summary>{title} ({safe(words['show'])})</summary><ul>{rows}</ul></details>")
    else:
        facts.append(safe(words["no_copies"]))
    names = words["comma"].join(index.class_names[:12]) + (" …" if len(index.class_names) > 12 else "")
    classes = safe(words["classes"].format(names=names) if names else words["no_classes"])
    lines = f'<p class="quiet">{classes}{"<br>" * bool(starter)}{safe(starter)}</p>'
    return f'<div class="tiles">{tiles}</div><div class="facts">{" · ".join(facts)}</div>{lines}'
