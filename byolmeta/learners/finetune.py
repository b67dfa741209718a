"""Trains a copy of the network and a new head on the examples, each seen in many random views.

The strong baseline of Chen et al. 2019, "A closer look at few-shot classification" (arXiv 1904.04232), with the network's last
stage or all of it; batch norm keeps the statistics the network brings. On saved vectors only the head is left to train.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byolmeta.augment import ViewConfig, make_view
from byolmeta.errors import InputError
from byolmeta.learners.protocol import Step, Support, balanced_weights, centred, class_means, task_losses

GENTLE = ViewConfig(crop=(0.5, 1.0), brightness=0.2, contrast=0.2, saturation=0.1, hue=0.0, grey=0.0)
INK = ViewConfig(crop=(0.7, 1.2), flip=0, jitter=0, grey=0, turn=10, shear=0.1, shift=0.1)
STAGES = ("last", "all")


@dataclass(frozen=True)
class Finetune:
    """Settings of the training."""

    steps: int = 30  # of AdamW
    rate: float = 3e-4  # of the network
    head_rate: float = 0.05  # of the head
    scale: float = 4.0  # length of the vectors the head sees
    stages: str = "last"  # of the network: last or all
    views: bool = True  # examples are cropped and coloured by chance in each step
    seed: int = 0

    def __post_init__(self):
        if self.stages not in STAGES:
            raise InputError(f"There are no stages '{self.stages}'. Choose one of: {', '.join(STAGES)}.")

    @torch.enable_grad()
    def adapt(self, embed, support: Support, *, keep_graph: bool = False) -> Iterator[Step]:
        """Yields network and head before the first step and after each. Raises InputError for keep_graph."""
        if keep_graph:
            raise InputError("Fine-tuning cannot be meta-trained. Use 'maml', which adapts the network too.")
        network = copy.deepcopy(embed).eval().requires_grad_(False)
        part = network.last_stage() if self.stages == "last" and hasattr(network, "last_stage") else network
        weights = [*part.requires_grad_().parameters()]
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            x, place = centred(network(support.inputs), support.labels, support.way)
        means = F.normalize(class_means(x, support.labels, support.way), dim=1)
        head = torch.cat([self.scale * means, x.new_zeros(support.way, 1)], 1).requires_grad_()
        goal = F.one_hot(support.labels, support.way).to(x.dtype)
        shares = balanced_weights(support.labels, support.way).to(x.dtype)
        groups = [{"params": [head], "lr": self.head_rate}]
        groups += [{"params": weights, "lr": self.rate}] if weights else []
        optimizer = torch.optim.AdamW(groups, weight_decay=1e-3)

        def loss_of(inputs: Tensor) -> Tensor:
            scores = self.scale * place(network(inputs)) @ head[:, :-1].T + head[:, -1]
            return task_losses(scores[None], goal[None], shares[None])[0]

        for number in range(self.steps + 1):
            with torch.no_grad():
                loss = loss_of(support.inputs)
            now = copy.deepcopy(network) if weights else network

            def predict(inputs, now=now, head=head.detach().clone()):
                with torch.no_grad():
                    return self.scale * place(now(inputs)) @ head[:, :-1].T + head[:, -1]

            yield Step(number, loss, predict)
            if number < self.steps:
                optimizer.zero_grad()
                loss_of(self._view(network, support.inputs, generator)).backward()
                optimizer.step()

    def _view(self, network: nn.Module, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures (n, 3, S, S) in a random view; vectors as they are."""
        if not (self.views and inputs.ndim == 4):
            return inputs
        drawn = getattr(getattr(network, "encoder", network), "kind", "photos") == "drawings"
        pixels = (inputs.detach().cpu() * 255).round().to(torch.uint8)
        return make_view(pixels, inputs.shape[-1], INK if drawn else GENTLE, generator).to(inputs.device)
