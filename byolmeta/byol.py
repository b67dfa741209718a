"""BYOL: an online network learns to predict what a slowly following target network says of another view.

Bootstrap Your Own Latent, Grill et al. 2020 (arXiv 2006.07733); details as in DeepMind's code. The target is a
network of its own: it never gets a gradient, its parameters follow the online ones by an exponential moving
average, and its batch norm works in train mode on its own batch.
"""

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byolmeta.encoder import Encoder

WHITENING_MOMENTUM = 0.98  # of a step
WHITENING_DAMPING = 1e-3  # of the mean variance


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, linear: projector and predictor of the paper (nothing after the last layer)."""
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


def view_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared distance of unit vectors, 2 - 2 cos, in 0..4 (BYOL, eq. 2). Both (B, D); returns (B,), float32."""
    return 2 - 2 * F.cosine_similarity(prediction.float(), target.float(), dim=1)


class Whitening(nn.Module):
    """Brings what the target says of pictures to mean 0 and unit covariance, by running estimates of both.

    BYOL's loss sees little but the few directions in which projections vary most, and early in training the network
    gives up the others: colour and brightness are left. Whitened targets (as in Ermolov et al. 2021,
    arXiv 2007.06346, by Cholesky's factor) ask for every direction alike. Nothing here has a gradient.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("covariance", torch.eye(dim))
        self.register_buffer("matrix", torch.eye(dim))  # inverse of the damped covariance's lower Cholesky factor
        self.register_buffer("seen", torch.zeros(()))  # views so far
        self.register_buffer(
            "moments", torch.zeros(dim + 1, dim + 1), persistent=False
        )  # of this step: sum of [z - mean, 1] [z - mean, 1]^T

    def start(self) -> None:
        """Forgets the views of the step before, or of one that was given up."""
        self.moments.zero_()

    @torch.no_grad()
    def forward(self, *views: Tensor) -> list[Tensor]:
        """Projections (B, D) of each view, whitened by the estimates before this step; they count for the next ones."""
        found = []
        for z in views:
            with torch.autocast(z.device.type, enabled=False):
                centred = z.float() - self.mean
                if self.training:
                    ones = torch.cat([centred, torch.ones_like(z[:, :1], dtype=torch.float32)], 1)
                    self.moments += ones.T @ ones
                found.append(centred @ self.matrix.T)
        return found

    @torch.no_grad()
    def update(self) -> None:
        """Takes this step's views into the estimates. The covariance is damped, at first more, when few were seen."""
        count, dim = self.moments[-1, -1], len(self.mean)
        shift = self.moments[-1, :-1] / count
        covariance = self.moments[:-1, :-1] / count - torch.outer(shift, shift)
        self.seen += count
        weight = (count / self.seen).clamp_min(1 - WHITENING_MOMENTUM)
        self.mean += weight * shift
        self.covariance.lerp_(covariance, weight)
        damping = (WHITENING_DAMPING + dim / self.seen) * self.covariance.diagonal().mean()
        eye = torch.eye(dim, device=self.mean.device)
        factor, failed = torch.linalg.cholesky_ex(self.covariance + (damping + 1e-12) * eye)
        matrix = torch.linalg.solve_triangular(factor, eye, upper=False)
        self.matrix.copy_(torch.where(failed == 0, matrix, self.matrix))  # without asking the host


class BYOL(nn.Module):
    """Online (encoder, projector, predictor) and target (encoder, projector), whose projections may be whitened."""

    def __init__(self, encoder: Encoder, hidden: int = 1024, dim: int = 256, whiten: bool = False):
        super().__init__()
        self.encoder = encoder
        self.projector = head(encoder.dim, hidden, dim)
        self.predictor = head(dim, hidden, dim)
        self.whitening = Whitening(dim) if whiten else None
        self.start_target()

    def heads(self) -> dict[str, nn.Module]:
        """What travels beside the encoder, so that BYOL can go on from its file."""
        whitening = {} if self.whitening is None else {"whitening": self.whitening}
        return {"projector": self.projector, "predictor": self.predictor} | whitening

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
        target_first, target_second = self.whiten(target_first, target_second)
        return (view_loss(online_first, target_second) + view_loss(online_second, target_first)).mean()

    def look(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """What the online network predicts from a view, and what the target makes of it; (B, dim) each."""
        with torch.no_grad():
            target = self.target(view)
        return self.predictor(self.projector(self.encoder(view))), target

    def whiten(self, *targets: Tensor) -> Sequence[Tensor]:
        """What the target says of each view, whitened if this model does that."""
        return targets if self.whitening is None else self.whitening(*targets)

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """target = momentum * target + (1 - momentum) * online, for every parameter (BYOL, eq. 1).

        Parameters only: batch norm's running statistics of the target are its own.
        """
        online = [*self.encoder.parameters(), *self.projector.parameters()]
        torch._foreach_lerp_(list(self.target.parameters()), online, 1 - momentum)
        if self.whitening is not None:
            self.whitening.update()


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

    0.99 as in most recipes, and up to DeepMind's 0.996 for long runs (1 - 375 / steps). A quicker target, which would leave
    its random start behind sooner, was worse in runs of 300 steps: the projections came to lie along one direction.
    """
    return min(0.996, max(0.99, 1 - 375 / max(1, steps)))
