"""Nearest class mean by cosine: nothing is trained, so it answers at once and is hard to beat with few examples.

Prototypical Networks, Snell et al. 2017 (arXiv 1703.05175), with centred unit vectors (SimpleShot, Wang et al. 2019).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from byolmeta.learners.protocol import Step, Support, balanced_weights, centred, class_means


@dataclass(frozen=True)
class Prototype:
    """Settings of the nearest class mean."""

    scale: float = 10.0  # inverse temperature of the cosine in the scores

    @torch.enable_grad()
    def adapt(self, embed, support: Support, *, keep_graph: bool = False) -> Iterator[Step]:
        """Yields one step. Differentiable through `embed` when keep_graph is set."""
        vectors = embed(support.inputs)
        vectors = vectors if keep_graph else vectors.detach()
        x, place = centred(vectors, support.labels, support.way)
        means = F.normalize(class_means(x, support.labels, support.way), dim=1)

        def predict(inputs):
            with torch.set_grad_enabled(keep_graph):
                return self.scale * place(embed(inputs)) @ means.T

        losses = F.cross_entropy(self.scale * x @ means.T, support.labels, reduction="none")
        yield Step(0, (losses * balanced_weights(support.labels, support.way)).sum(), predict)
