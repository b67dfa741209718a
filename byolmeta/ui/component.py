"""What our own components share: a static template, a script that knows its first props, and events by name."""

import json
from functools import partial
from pathlib import Path

import gradio as gr

KIT = (Path(__file__).parent / "kit.js").read_text(encoding="utf-8")  # what several scripts begin with


class Component(gr.HTML):
    """gr.HTML with a template that never changes: user text reaches the page through the script only.

    `constants` become the script's own (`const NAME = ...`): an update that comes before the page has drawn the
    component replaces all props, and those it does not name are gone. `looks` are Gradio's own arguments (elem_id,
    visible, scale, ...).
    """

    TRIGGERS: tuple[str, ...] = ()  # the names that the script may trigger
    EACH: tuple[str, ...] = ()  # those of which none may be held back or dropped while another one runs

    def __init__(self, template: str, style: str, script: str, constants: dict, value="", **looks):
        named = "".join(f"const {name} = {json.dumps(constant)};\n" for name, constant in constants.items())
        looks |= {
            "html_template": template,
            "css_template": style,
            "js_on_load": named + script,
            "apply_default_css": False,
        }
        super().__init__(value, **looks)

    def get_block_name(self) -> str:
        return "html"

    def __getattr__(self, name: str):
        # Gradio takes every name that stands quoted in the script for an event; most are props or words.
        if name not in self.TRIGGERS:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        event = super().__getattr__(name)
        return partial(event, trigger_mode="multiple") if name in self.EACH else event
