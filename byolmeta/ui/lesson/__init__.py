"""The bar of a lesson above the page: its title, what to do now, Back and Next, and the way out.

It reads the address and hides what the step does not need; ui/lessons.py sets the rest of the page.

    bar = Bar({"three": {"title": ..., "steps": [{"say": ..., "shows": ["ask"]}, ...]}}, {"ask": "#ask-one"})
    bar.go(set_page, [...], ...)        # the address says which step
"""

from pathlib import Path

from byolmeta.ui.component import Component

WORDS = {
    "lesson": "Lesson",
    "back": "Back",
    "next": "Next",
    "finish": "Finish",
    "leave": "Leave the lesson",
    "without": "Go on without a lesson",
    "at": "{number} of {of}",
    "moment": "one moment…",
    "unknown": "There is no lesson of this name. Choose one:",
}

# Static on purpose: Gradio evaluates templates, so every word arrives as text in lesson.js only.
TEMPLATE = """<section class="bm-lesson" hidden><h2></h2><p class="say" aria-live="polite"></p>
<p class="others" hidden></p><div class="walk"><button type="button" class="back"></button><span></span>
<button type="button" class="next"></button><a class="leave"></a></div></section>"""

HERE = Path(__file__).parent
STYLE = (HERE / "lesson.css").read_text(encoding="utf-8")
SCRIPT = (HERE / "lesson.js").read_text(encoding="utf-8")


class Bar(Component):
    """The bar. Event: go, after the address names another step. Without a lesson in the address it is not there.

    lessons: {name: {"title", "steps": [{"say", "shows": names of parts}]}}. parts: {name: CSS selector}; those that a
    step does not show are hidden. ready: another number when the page is set; until then the bar asks for patience.
    """

    TRIGGERS = EACH = ("go",)

    def __init__(
        self, lessons: dict, parts: dict[str, str], words: dict[str, str] | None = None, ready: int = 0, **looks
    ):
        hidden = "\n".join(
            f'html[data-lesson]:not([data-shows~="{name}"]) :is({where}) {{ display: none !important; }}'
            for name, where in parts.items()
        )
        constants = {"CSS": f"{STYLE}\n{hidden}", "LESSONS": lessons, "WORDS": WORDS | (words or {})}
        # Styles go in by script, once: a css_template is scoped to the component.
        super().__init__(TEMPLATE, "", SCRIPT, constants, ready=ready, **looks)
