"""One training run on several processes (torchrun): who this one is, what it shares, batch norm over all of them."""

import gc
import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from byolmeta.errors import InputError

PATIENCE = timedelta(days=7)  # a paused run keeps the others waiting


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run. Only rank 0 writes."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, value):
        """Rank 0's value, on every rank (any picklable object, by way of the CPU)."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def same(self, value, what: str) -> None:
        """Raises InputError, on every rank, unless all have the same value."""
        if self.world == 1:
            return
        values = [None] * self.world
        dist.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise InputError(f"The {self.world} processes have different {what}. Give every machine the same folder.")

    def most(self, number: int) -> int:
        """The largest of all ranks' numbers."""
        if self.world == 1:
            return number
        found = torch.tensor(number)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def sum(self, value: Tensor) -> Tensor:
        """Sum over the ranks, in place, without waiting for it."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the ranks, in place, without waiting for it."""
        return self.sum(value).div_(self.world)

    def rows(self, count: int) -> slice:
        """This rank's rows of a batch; `count` is a multiple of the number of ranks."""
        each = count // self.world
        return slice(self.rank * each, (self.rank + 1) * each)


def launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def local_rank() -> int:
    """Number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def join() -> Ranks:
    """Meets the other ranks that torchrun started; alone without it."""
    if not launched() or int(os.environ["WORLD_SIZE"]) == 1:
        return Ranks()
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """Parts from the other ranks, when all are done."""
    if dist.is_available() and dist.is_initialized():
        gc.collect()  # what still holds the group would end with the interpreter, which its threads do not survive
        dist.barrier()
        dist.destroy_process_group()


def synchronise(model: nn.Module, device: str) -> nn.Module:
    """The model with batch norm statistics taken over the batches of all ranks; weights and their names stay."""
    if device.startswith("cuda"):
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name, child in model.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            norm = SyncNorm(child.num_features, child.eps, child.momentum)
            norm.load_state_dict(child.state_dict())
            norm.requires_grad_(child.weight.requires_grad)
            setattr(model, name, norm)
        else:
            synchronise(child, device)
    return model


class SyncNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over all ranks on a CPU, where torch has none. Every rank's batch has the same size."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass  # (B, C) and (B, C, H, W) alike

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        axes, shape = [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = _Sum.apply(x.float().sum(axes)) / count
        centred = x.float() - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / max(1, count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


class _Sum(torch.autograd.Function):
    """Sum over the ranks; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient
