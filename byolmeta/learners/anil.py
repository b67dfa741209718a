"""MAML's inner loop on the head alone: a few gradient steps on the support set from a start made for them.

ANIL, Raghu et al. 2020 (arXiv 1909.09157); MAML, Finn et al. 2017. The head starts at zero, so it does not depend on
the number of classes. Its softmax gradient is written out, so every step is plain tensor arithmetic: with keep_graph
the outer gradient passes through all inner steps (second order).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from byolmeta.learners.protocol import Step, Support, balanced_weights, centred


@dataclass(frozen=True)
class Anil:
    """Settings of the inner loop."""

    steps: int = 20  # gradient steps
    rate: float = 0.15  # of the inner loop
    scale: float = 4.0  # length of the vectors the head sees

    @torch.enable_grad()
    def adapt(self, embed, support: Support, *, keep_graph: bool = False) -> Iterator[Step]:
        """Yields the head before the first step (number 0: it knows nothing) and after each."""
        vectors = embed(support.inputs)
        vectors = vectors if keep_graph else vectors.detach()
        x, place = centred(vectors, support.labels, support.way)
        x = torch.cat([self.scale * x, x.new_ones(len(x), 1)], 1)
        goal = F.one_hot(support.labels, support.way).to(x.dtype)
        weights = balanced_weights(support.labels, support.way).to(x.dtype)[:, None]
        head = x.new_zeros(support.way, x.shape[1])
        for number in range(self.steps + 1):
            logits = x @ head.T
            loss = -(weights * goal * logits.log_softmax(1)).sum()

            def predict(inputs, head=head):
                with torch.set_grad_enabled(keep_graph):
                    return self.scale * place(embed(inputs)) @ head[:, :-1].T + head[:, -1]

            yield Step(number, loss, predict)
            head = head - self.rate * support.way * (weights * (logits.softmax(1) - goal)).T @ x
