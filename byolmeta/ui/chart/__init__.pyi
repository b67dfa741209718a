"""A Plotly chart as a Gradio component that is updated in place, so that curves grow while one looks."""

from pathlib import Path

import gradio as gr

_HERE = Path(__file__).parent
_CSS = """
.bm-chart { width: 100%; height: 320px; }
.bm-chart[hidden], .bm-chart-note[hidden] { display: none; }
.bm-chart-note { min-height: 90px; display: flex; align-items: center; justify-content: center; text-align: center;
  color: var(--body-text-color-subdued); border: 1px dashed var(--border-color-primary); border-radius: 8px; padding: 12px; }
"""


def chart_paths() -> list[str]:
    """Folders that must be static paths of the app: that of Plotly's own script, nothing else in it is private."""
    import importlib.util

    return [str(Path(importlib.util.find_spec("plotly").origin).parent / "package_data")]


def plotly_url() -> str:
    """Where the page loads Plotly from: this machine."""
    return f"/gradio_api/file={chart_paths()[0]}/plotly.min.js"

from gradio.events import Dependency

class Chart(gr.HTML):
    """figure: {"data", "layout"} of Plotly, under 50 kB, or None, which shows `empty`."""

    def __init__(
        self,
        figure: dict | None = None,
        label: str = "",
        empty: str = "",
        *,
        elem_id: str | None = None,
        visible: bool | str = True,
        render: bool = True,
        key: int | str | None = None,
    ):
        # In the script, not props: an update that arrives before the page has drawn the chart replaces all props.
        fixed = {"label": label, "empty": empty, "source": plotly_url()}
        super().__init__(
            value="",
            html_template='<div class="bm-chart" role="img" hidden></div><div class="bm-chart-note"></div>',
            css_template=_CSS,
            js_on_load=f"const FIXED = {json.dumps(fixed)};\n" + (_HERE / "chart.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            elem_id=elem_id,
            visible=visible,
            render=render,
            key=key,
            figure=figure,
        )
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component