"""Which processor trains, in which precision, and how much memory it has to spare."""

import contextlib
import os
from pathlib import Path

import torch

from byolmeta.errors import InputError


def has_cuda() -> bool:
    """Whether CUDA is there. On a Space with ZeroGPU the page's process has none, though torch says so: the package `spaces`
    answers in its place, but for the processes to which it lends a GPU."""
    return torch.cuda.is_available.__module__.partition(".")[0] != "spaces" and torch.cuda.is_available()


def choose_device(name: str) -> str:
    """cuda, mps or cpu for 'auto'; otherwise the one asked for, if it is there."""
    there = {"cpu": True, "cuda": has_cuda(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(d for d in ("cuda", "mps", "cpu") if there[d])
    kind, _, number = name.partition(":")
    few = kind == "cuda" and number and not (number.isdigit() and int(number) < torch.cuda.device_count())
    if not there.get(kind, False) or few or (number and kind != "cuda"):
        raise InputError(
            f"The device '{name}' is not there. Use one of: auto, {', '.join(d for d in there if there[d])}."
        )
    return name


def choose_precision(device: str, precision: str) -> str:
    """bf16 or fp32: for 'auto', bf16 where the processor is quick at it."""
    if precision not in ("auto", "bf16", "fp32"):
        raise InputError(f"The precision is '{precision}'. Choose auto, bf16 or fp32.")
    if precision != "auto":
        return precision
    fast = {"cpu": _cpu_has_bf16, "cuda": torch.cuda.is_bf16_supported, "mps": lambda: False}
    return "bf16" if fast[device.partition(":")[0]]() else "fp32"


def autocast(device: str, precision: str):
    """A context for the forward pass, bf16 or not. Loss, EMA and optimiser stay float32."""
    if choose_precision(device, precision) == "fp32":
        return contextlib.nullcontext
    return lambda: torch.autocast(device.partition(":")[0], torch.bfloat16)


def _cpu_has_bf16() -> bool:
    check = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    capability = torch.backends.cpu.get_cpu_capability()
    return bool(check and check()) and capability in ("AVX512", "AMX") and _flag("avx512_bf16")


def _flag(name: str) -> bool:
    """Whether /proc/cpuinfo names a feature: emulated bf16 would be slower than float32."""
    try:
        return name in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def free_memory(device: str) -> float:
    """Bytes that could be taken now without hurting others; infinity where the system does not tell."""
    if device.startswith("cuda"):
        return (
            torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
        )
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2 if hasattr(os, "sysconf") else float("inf")
    with contextlib.suppress(OSError, ValueError):  # a container's own limit; "max" where there is none
        group = Path("/sys/fs/cgroup")
        free = min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return free


def out_of_memory(problem: RuntimeError) -> bool:
    """Whether an operation failed for want of memory, on whichever device."""
    return isinstance(problem, torch.OutOfMemoryError) or "can't allocate memory" in str(problem)
