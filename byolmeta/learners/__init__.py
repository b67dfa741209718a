"""The table of learners: a new method is one file and one line."""

from byolmeta.errors import InputError
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
    practice = (card or {}).get("practice")
    found = practice.get("learners", {}).get(name, {}) if isinstance(practice, dict) and practice.get("in_force") else {}
    try:
        return LEARNERS[name](**{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()})
    except (TypeError, AttributeError):
        raise InputError(f"The card of this encoder has settings for '{name}' that it does not take.") from None
