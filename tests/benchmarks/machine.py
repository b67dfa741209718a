"""Where a figure was measured: machine, load, versions and date, for the JSON files of results."""

import importlib.metadata
import os
import platform
import shlex
import sys
import time
from pathlib import Path


def about(packages: tuple[str, ...] = ("torch", "torchvision", "numpy", "pillow")) -> dict:
    """{"date", "command", "machine", "versions"}."""
    versions = {"python": platform.python_version()}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    words = [word.replace(str(Path.home()), "~") for word in sys.argv[1:]]
    command = shlex.join(["python", os.path.relpath(sys.argv[0]), *words])
    return {"date": time.strftime("%Y-%m-%d"), "command": command, "machine": machine(), "versions": versions}


def machine() -> dict:
    """Processor, cores, memory in GiB, load at this moment, and the GPU if there is one."""
    found = {"system": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count()}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found["processor"] = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        found["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
        found["load"] = round(os.getloadavg()[0], 2)
    except (OSError, StopIteration, ValueError):
        pass
    try:
        import torch

        found["torch_threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name()
    except ImportError:
        pass
    return found
