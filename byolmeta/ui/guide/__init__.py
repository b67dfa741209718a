"""Four hints for a first visit: a small card beside the control that each is about, and a button that calls them again.

They come by themselves once (the browser remembers it), never block the page, and stay away in a lesson.

    guide = Guide([("#drop", "right", "Begin with this sample..."), ...], elem_id="guide")
"""

from pathlib import Path

from byolmeta.ui.component import Component

WORDS = {
    "again": "Show me around",
    "title": "First steps",
    "next": "Next",
    "done": "Got it",
    "skip": "Skip",
    "at": "Hint {number} of {of}",
}

# Static on purpose: Gradio evaluates templates, so every word arrives as text in guide.js only.
TEMPLATE = """<button type="button" class="bm-again">?</button>"""

HERE = Path(__file__).parent
STYLE = (HERE / "guide.css").read_text(encoding="utf-8")
SCRIPT = (HERE / "guide.js").read_text(encoding="utf-8")


class Guide(Component):
    """The button and the hints: (CSS selector of what it points at, side where it stands if there is room, sentence)."""

    def __init__(self, hints: list[tuple[str, str, str]], words: dict[str, str] | None = None, **looks):
        constants = {"CSS": STYLE, "HINTS": hints, "WORDS": WORDS | (words or {})}
        # Styles go in by script, once: the card lies outside of the component, where a css_template does not reach.
        super().__init__(TEMPLATE, "", SCRIPT, constants, **looks)
