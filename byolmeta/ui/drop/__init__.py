"""Where pictures come in: drop a folder, a zip or pictures, or choose them. Folder names travel along.

Gradio's own file inputs keep a file's name only; here each file comes with its path inside the dropped folder, so
that class folders survive. A browser can send anything: check each `path` with `received_files`.

    drop = Drop(elem_id="drop")
    drop.received(read, [...], ...)        # evt.files: [{"path", "name"}], evt.left_out: how many were no pictures
"""

from pathlib import Path

from byolmeta.errors import InputError
from byolmeta.ui.component import Component

WORDS = {
    "drop": "Drop a folder, a zip or pictures here",
    "let_go": "Let go to open",
    "choose_files": "Choose files",
    "choose_folder": "Choose a folder",
    "looking": "Looking for pictures…",
    "sending": "Receiving {done} of {total}",
    "cancel": "Cancel",
    "none": "No pictures in there. Needed are JPG, PNG, WebP, BMP, GIF or TIFF files, or one zip.",
    "failed": "{n} of {total} files did not arrive. Is the app still running? Try once more.",
    "left_out": "{n} other files were left out.",
    "cancelled": "Cancelled. Nothing was changed.",
}

# Static on purpose: Gradio evaluates templates, so every word and name arrives as text in drop.js only.
TEMPLATE = """
<div class="bm-in">
  <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 15V4m0 0L7.5 8.5M12 4l4.5 4.5M4 15v3.5A1.5 1.5 0 0 0 5.5
    20h13a1.5 1.5 0 0 0 1.5-1.5V15"/></svg>
  <p class="say" aria-live="polite"></p>
  <div class="track" hidden><i></i></div>
  <div class="choose"><button type="button" class="files"></button><button type="button" class="folder"></button>
    <button type="button" class="cancel" hidden></button></div>
  <p class="note" aria-live="polite" hidden></p>
  <input type="file" class="pick-files" multiple hidden><input type="file" class="pick-folder" webkitdirectory hidden>
</div>
"""

HERE = Path(__file__).parent
STYLE = (HERE / "drop.css").read_text(encoding="utf-8")
SCRIPT = (HERE / "drop.js").read_text(encoding="utf-8")
MOST = 20_000  # files taken at once


class Drop(Component):
    """The place to drop pictures. Event: received (files, left_out). small: one line, for pictures only."""

    TRIGGERS = ("received",)

    def __init__(self, words: dict[str, str] | None = None, small: bool = False, **looks):
        constants = {"WORDS": WORDS | (words or {}), "MOST": MOST, "SMALL": small}
        super().__init__(TEMPLATE, STYLE, SCRIPT, constants, **looks)


def received_file(file: dict) -> tuple[str, str]:
    """(path, name with folders) of one file that a browser says it sent. Refused unless this app received it."""
    from gradio.utils import get_upload_folder

    given = file if isinstance(file, dict) else {}
    try:
        path = Path(str(given.get("path", ""))).resolve()
        arrived = path.is_relative_to(Path(get_upload_folder()).resolve()) and path.is_file()
    except (OSError, ValueError):
        arrived = False
    if not arrived:
        raise InputError("The file did not arrive. Try once more.")
    return str(path), str(given.get("name") or path.name)


def received_files(files) -> list[tuple[str, str]]:
    """`received_file` for a whole event."""
    if not isinstance(files, (list, tuple)) or not files:
        raise InputError("No files arrived. Drop a folder, a zip or pictures.")
    if len(files) > MOST:
        raise InputError(
            f"{len(files):,} files are too many at once; {MOST:,} are possible. Make a zip, or give its path."
        )
    return [received_file(file) for file in files]
