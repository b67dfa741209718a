"""Chooses how strongly to adapt - not at all, gently or strongly - by what the examples themselves say.

Each example is hidden in turn (in folds beyond 20) and asked of a learner that saw the others: nearest class means, ridge
regression, logistic regression. The first of those with most right answers is taken, so a tie goes to less adaptation.
With single examples nothing can be hidden, and class means answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from byolmeta.learners.linear import Linear
from byolmeta.learners.protocol import Step, Support
from byolmeta.learners.prototype import Prototype
from byolmeta.learners.ridge import Ridge

FOLDS = 20


@dataclass(frozen=True)
class Auto:
    """The learners to choose from."""

    none: Prototype = Prototype()
    gentle: Ridge = Ridge()
    strong: Linear = Linear()

    def adapt(self, embed, support: Support, *, keep_graph: bool = False) -> Iterator[Step]:
        """The steps of the chosen learner."""
        chosen = self.choose(embed(support.inputs).detach(), support.labels, support.way)
        yield from chosen.adapt(embed, support, keep_graph=keep_graph)

    @torch.no_grad()
    def choose(self, vectors: Tensor, labels: Tensor, way: int):
        """The learner with most right answers on hidden examples; vectors (n, D), labels (n,)."""
        right = {"none": 0, "gentle": 0, "strong": 0}
        for first in range(min(FOLDS, len(labels))):
            kept = torch.ones_like(labels, dtype=torch.bool)
            hidden = torch.arange(first, len(labels), FOLDS, device=labels.device)  # examples often come class by class
            kept[hidden] = False
            asked = hidden[torch.isin(labels[hidden], labels[kept])]
            if not len(asked) or len(labels[kept].unique()) < 2:
                continue
            empty = labels.new_ones(way, dtype=torch.bool)
            empty[labels[kept]] = False
            for name in right:
                for step in getattr(self, name).adapt(nn.Identity(), Support(vectors[kept], labels[kept], way)):
                    pass
                scores = step.predict(vectors[asked]).masked_fill(empty, -torch.inf)
                right[name] += int((scores.argmax(1) == labels[asked]).sum())
        return getattr(self, max(right, key=right.get))
