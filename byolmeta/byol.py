"""BYOL: an online network learns to predict what a slowly following target network says of another view.

Bootstrap Your Own Latent, Grill et al. 2020 (arXiv 2006.07733); details as in DeepMind's code. The target is a
network of its own: it never gets a gradient, its parameters follow the online ones by an exponential moving
average, and its batch norm works in train mode on its own batch.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byolmeta.encoder import Encoder


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, linear: projector and predictor of the paper (nothing after the last layer)."""
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


def view_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared distance of unit vectors, 2 - 2 cos, in 0..4 (BYOL, eq. 2). Both (B, D); returns (B,), float32."""
    return 2 - 2 * F.cosine_similarity(prediction.float(), target.float(), dim=1)


class BYOL(nn.Module):
    """Online (encoder, projector, predictor) and target (encoder, projector)."""

    def __init__(self, encoder: Encoder, hidden: int = 1024, dim: int = 256):
        super().__init__()
        self.encoder = encoder
        self.projector = head(encoder.dim, hidden, dim)
        self.predictor = head(dim, hidden, dim)
        self.start_target()

    def start_target(self) -> None:
        """Makes the target a copy of the online network: at the start, and after other weights were loaded."""
        self.target = copy.deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(False)

    def online_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters that the optimiser may see: never the target's."""
        return [(name, p) for name, p in self.named_parameters() if not name.startswith("target.")]

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Symmetrised loss, mean over the batch, in 0..8; views (B, 3, S, S) in 0..1.

        Each view has its own pass, so that batch norm sees one view at a time, as in the paper.
        """
        (online_first, target_first), (online_second, target_second) = self.look(first), self.look(second)
        return (view_loss(online_first, target_second) + view_loss(online_second, target_first)).mean()

    def look(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """What the online network predicts from a view, and what the target makes of it; (B, dim) each."""
        with torch.no_grad():
            target = self.target(view)
        return self.predictor(self.projector(self.encoder(view))), target

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """target = momentum * target + (1 - momentum) * online, for every parameter (BYOL, eq. 1).

        Parameters only: batch norm's running statistics of the target are its own.
        """
        online = [*self.encoder.parameters(), *self.projector.parameters()]
        torch._foreach_lerp_(list(self.target.parameters()), online, 1 - momentum)


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up from peak / warmup to peak, then a cosine to 0 at the last step."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def target_momentum(step: int, steps: int, start: float) -> float:
    """From `start` at step 0 to 1 at the last step, by a cosine: 1 - (1 - start)(cos(pi k / K) + 1) / 2."""
    return 1 - (1 - start) * (math.cos(math.pi * step / steps) + 1) / 2


def start_momentum(steps: int) -> float:
    """Where the target's momentum starts, by the length of the run.

    1 - 375 / steps meets DeepMind's 0.97 at 40 epochs of ImageNet (12,500 steps) and 0.996 for long runs; kept
    in 0.95..0.996, so that a short run's target does not stay near its random start.
    """
    return min(0.996, max(0.95, 1 - 375 / max(1, steps)))
