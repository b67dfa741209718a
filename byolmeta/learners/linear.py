"""Logistic regression with a quadratic penalty, solved by L-BFGS: the usual last layer on frozen vectors.

The linear classifier of Tian et al. 2020, "Rethinking few-shot image classification" (arXiv 2003.11539).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from byolmeta.errors import InputError
from byolmeta.learners.protocol import Step, Support, balanced_weights, centred


@dataclass(frozen=True)
class Linear:
    """Settings of the regression. Its gradient is written out: autograd, once asked, looks for a GPU even for the CPU's tensors,
    and no process that is forked later could use one (see ui/zero.py)."""

    steps: int = 15  # iterations of L-BFGS
    penalty: float = 0.01  # half of it times the squared weights is added to the mean loss
    scale: float = 4.0  # length of the vectors the head sees

    def adapt(self, embed, support: Support, *, keep_graph: bool = False) -> Iterator[Step]:
        """Yields the head before the first iteration and after each. Raises InputError for keep_graph."""
        if keep_graph:
            raise InputError("Logistic regression by L-BFGS cannot be meta-trained. Use 'anil' or 'prototype'.")
        x, place = centred(embed(support.inputs).detach(), support.labels, support.way)
        x, weights = self.scale * x, balanced_weights(support.labels, support.way).to(x.dtype)
        goal = F.one_hot(support.labels, support.way).to(x.dtype)
        weight, bias = x.new_zeros(support.way, x.shape[1]), x.new_zeros(support.way)
        solver = torch.optim.LBFGS([weight, bias], max_iter=1, line_search_fn="strong_wolfe")

        def loss():
            losses = F.cross_entropy(x @ weight.T + bias, support.labels, reduction="none")
            return (weights * losses).sum() + self.penalty / 2 * weight.square().sum()

        def closure():
            slope = weights[:, None] * ((x @ weight.T + bias).softmax(1) - goal)
            weight.grad, bias.grad = slope.T @ x + self.penalty * weight, slope.sum(0)
            return loss()

        for number in range(self.steps + 1):
            w, b = weight.detach().clone(), bias.detach().clone()

            def predict(inputs, w=w, b=b):
                with torch.no_grad():
                    return self.scale * place(embed(inputs)) @ w.T + b

            yield Step(number, loss(), predict)
            if number < self.steps:
                solver.step(closure)
