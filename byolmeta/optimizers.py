"""The optimisers of pretraining, each with the rate and decay that suit it (settings.OPTIMIZERS)."""

import torch
from torch import Tensor, nn

from byolmeta.settings import OPTIMIZERS


def make_optimizer(
    named: list[tuple[str, nn.Parameter]], name: str, rate: float, weight_decay: float, device: str
) -> torch.optim.Optimizer:
    """sgd, adamw or lars at a `rate` per step; a negative weight decay stands for the usual one of the optimiser."""
    decay = OPTIMIZERS[name][1] if weight_decay < 0 else weight_decay
    groups = parameter_groups(named, decay)
    fast = {"foreach": True} if device == "mps" else {"fused": True}
    if name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, **fast)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=rate, **fast)
    return LARS(groups, lr=rate)


def parameter_groups(named: list[tuple[str, nn.Parameter]], weight_decay: float) -> list[dict]:
    """Weights are decayed (and adapted by LARS); biases and norms (everything with one axis) are not."""
    matrices = [p for _, p in named if p.ndim > 1]
    vectors = [p for _, p in named if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay, "adapt": True},
        {"params": vectors, "weight_decay": 0.0, "adapt": False},
    ]


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rates (You et al. 2017, arXiv 1708.03888) as in BYOL's own code.

    Each weight w with gradient g moves by lr * m, where m = momentum * m + trust * |w| / |u| * u and u = g + decay * w.
    Groups with `adapt` false move by plain SGD with momentum.
    """

    def __init__(self, groups: list[dict], lr: float, momentum: float = 0.9, trust: float = 1e-3):
        super().__init__(groups, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0, "adapt": True})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            updates = [p.grad for p in weights]
            if group["weight_decay"]:
                updates = torch._foreach_add(updates, weights, alpha=group["weight_decay"])
            if group["adapt"]:
                updates = torch._foreach_mul(updates, self._trust(weights, updates, group["trust"]))
            for p in weights:
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            buffers = [self.state[p]["momentum_buffer"] for p in weights]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, updates)
            torch._foreach_add_(weights, buffers, alpha=-group["lr"])

    @staticmethod
    def _trust(weights: list[Tensor], updates: list[Tensor], trust: float) -> list[Tensor]:
        """trust * |w| / |u| for each layer; 1 where either is zero."""
        w, u = (torch.stack(torch._foreach_norm(each)) for each in (weights, updates))
        return list(torch.where((w > 0) & (u > 0), trust * w / u.clamp_min(1e-30), 1.0))
