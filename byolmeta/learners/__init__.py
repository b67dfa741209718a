"""The table of learners: a new method is one file and one line."""

import dataclasses
import types
import typing

from byolmeta.errors import InputError
from byolmeta.files import practice_in_force
from byolmeta.learners.anil import Anil
from byolmeta.learners.auto import Auto
from byolmeta.learners.finetune import Finetune
from byolmeta.learners.linear import Linear
from byolmeta.learners.maml import Maml
from byolmeta.learners.metasgd import MetaSGD
from byolmeta.learners.protocol import LinearHead, Step, Support
from byolmeta.learners.prototype import Prototype
from byolmeta.learners.ridge import Ridge

LEARNERS = {
    "prototype": Prototype,
    "ridge": Ridge,
    "linear": Linear,
    "anil": Anil,
    "metasgd": MetaSGD,
    "maml": Maml,
    "finetune": Finetune,
    "auto": Auto,
}
ON_PICTURES = ("maml", "finetune")  # change the network, so they take pictures where they can

__all__ = ["LEARNERS", "ON_PICTURES", "LinearHead", "Step", "Support", "learner"]


def learner(name: str, card: dict | None = None):
    """A learner with its default settings, or those that practice found, where an encoder's card has them.

    Raises InputError for a name that is not in the table, and for settings that are none of the learner's.
    """
    if name not in LEARNERS:
        raise InputError(f"There is no learner called '{name}'. Choose one of: {', '.join(LEARNERS)}.")
    known = practice_in_force(card or {}).get("learners", {})
    found = known.get(name, {}) if isinstance(known, dict) else None
    kinds = {field.name: field.type for field in dataclasses.fields(LEARNERS[name])}
    if not (isinstance(found, dict) and all(_fits(value, kinds.get(key)) for key, value in found.items())):
        raise InputError(f"The card of this encoder has settings for '{name}' that it does not take. Use another copy.")
    return LEARNERS[name](**{key: tuple(value) if isinstance(value, list) else value for key, value in found.items()})


def _fits(value, kind) -> bool:
    """Whether a value from a file is one that a field of this type takes."""
    if isinstance(kind, types.UnionType):
        return any(_fits(value, each) for each in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list) and all(_fits(each, float) for each in value)
    if kind is float:
        return type(value) in (int, float) and abs(value) < 1e6  # not so for NaN
    if kind is int:
        return type(value) is int and 0 <= value <= 1000
    return kind in (bool, str) and type(value) is kind and len(str(value)) <= 40
