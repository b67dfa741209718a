"""The table of learners: a new method is one file and one line."""

from byolmeta.errors import InputError
from byolmeta.learners.anil import Anil
from byolmeta.learners.linear import Linear
from byolmeta.learners.protocol import Step, Support
from byolmeta.learners.prototype import Prototype

LEARNERS = {"prototype": Prototype, "anil": Anil, "linear": Linear}

__all__ = ["LEARNERS", "Step", "Support", "learner"]


def learner(name: str):
    """A learner with its default settings. Raises InputError for a name that is not in the table."""
    if name not in LEARNERS:
        raise InputError(f"There is no learner called '{name}'. Choose one of: {', '.join(LEARNERS)}.")
    return LEARNERS[name]()
