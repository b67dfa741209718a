"""A Plotly chart as a Gradio component that updates in place: lines grow, nothing is remounted."""

from importlib.util import find_spec
from pathlib import Path

import gradio as gr

from byolmeta.ui.component import Component

WORDS = {
    "waiting": "The chart appears here in a moment.",
    "load_failed": "The chart could not be drawn: its drawing program did not load. Reload the page.",
}

# Static on purpose: Gradio evaluates templates, so words and names arrive as text in chart.js only.
TEMPLATE = """
<div class="chart"><div class="plot" role="img"></div><p class="sentence"></p></div>
"""

HERE = Path(__file__).parent
STYLE = (HERE / "chart.css").read_text(encoding="utf-8")
SCRIPT = (HERE / "chart.js").read_text(encoding="utf-8")


def chart_paths() -> list[str]:
    """What must be a static path of the app: Plotly's own script, from the installed plotly package."""
    found = find_spec("plotly")  # located, not imported: the import takes a second
    if found is None or found.origin is None:
        return []
    script = Path(found.origin).resolve().parent / "package_data" / "plotly.min.js"
    return [str(script)] if script.is_file() else []


def plotly_url() -> str:
    """Where this server serves Plotly's script; empty without the plotly package."""
    paths = chart_paths()
    gr.set_static_paths(paths)
    return f"/gradio_api/file={Path(paths[0]).as_posix()}" if paths else ""


class Chart(Component):
    """A chart.

    figure: {"data": [...], "layout": {...}} as Plotly has it, below 50 kB, or None (in an update {},
        as Gradio does not deliver None) for the sentence `empty`.
    label: what the chart shows, for screen readers. height: pixels.
    Colours, fonts and grid come from the page's theme unless the figure says otherwise. Names of traces are
    shown as plain text. Event `pick`: a point or cell was pressed (`x`, `y`).
    In the browser, `until(x)` of the element's __chart shows the traces that say `"meta": {"grows": True}` up to a place
    on the x axis only, cheaply enough for every frame; null shows all.
    """

    TRIGGERS = ("ready", "pick")

    def __init__(
        self,
        figure: dict | None = None,
        label: str = "",
        empty: str = "",
        height: int = 300,
        words: dict[str, str] | None = None,
        **looks,
    ):
        words = WORDS | (words or {})
        empty, failed = empty or words["waiting"], words["load_failed"]
        first = {"label": label, "empty": empty, "height": height, "failed": failed, "plotly": plotly_url()}
        props = {"label": label, "figure": figure, "empty": empty, "height": height, "failed": failed}
        super().__init__(TEMPLATE, STYLE, SCRIPT, {"FIRST": first}, **props, **looks)
