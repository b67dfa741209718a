"""Inputs for a settings record: one per field, with the field's own comment as its explanation."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import fields

import gradio as gr

from byolmeta.errors import InputError
from byolmeta.files import ARCHITECTURES
from byolmeta.settings import OPTIMIZERS, PretrainConfig
from byolmeta.ui.words import ENGLISH

CHOICES = {
    "encoder": list(ARCHITECTURES),
    "optimizer": list(OPTIMIZERS),
    "device": ["auto", "cpu", "cuda", "mps"],
    "precision": ["auto", "bf16", "fp32"],
}
NOTES = {  # what differs from the command line
    "epochs": "passes over the pictures; 0: by the length chosen above",
    "minutes": "0: the length chosen above",
    "encoder": "the network, when it starts from nothing",
    "image_size": "side of the pictures it sees in pixels, when it starts from nothing",
}
ELSEWHERE = ("init", "preset", "kind")  # chosen by 'Start from', by the length and by the pictures


def pretrain_fields(words: Mapping = ENGLISH) -> dict[str, gr.components.Component]:
    """{field: input} in the record's order."""
    notes = comments(PretrainConfig) | NOTES
    made = {}
    for field in _asked():
        told = words.get("of_settings", {}).get(field.name) or (field.name.replace("_", " "), notes.get(field.name))
        common = {"label": told[0], "info": told[1]}
        if field.name in CHOICES:
            made[field.name] = gr.Dropdown(CHOICES[field.name], value=field.default, **common)
        elif field.type is bool:
            made[field.name] = gr.Checkbox(value=field.default, **common)
        else:
            made[field.name] = gr.Number(value=field.default, precision=0 if field.type is int else None, **common)
    return made


def pretrain_values(form) -> dict:
    """The values of the form that differ from the defaults. Raises InputError for an empty one."""
    values = {}
    for field, value in zip(_asked(), form, strict=True):
        if value is None:
            raise InputError(
                f"'{field.name.replace('_', ' ')}' is empty. Give a value; {field.default} is the default."
            )
        value = field.type(value)
        if value != field.default:
            values[field.name] = value
    return values


def comments(record) -> dict[str, str]:
    """What stands behind # on each field's line."""
    found = re.findall(r"^\s+(\w+): [^#\n]*#\s*(.+)$", inspect.getsource(record), re.M)
    return dict(found)


def _asked() -> list:
    return [field for field in fields(PretrainConfig) if field.name not in ELSEWHERE]
