"""Source pictures a second of the whole BYOL step on random pictures, and how much of the machine's rate that is.

    python tests/benchmarks/throughput.py OUT.json --encoder resnet18 --image-size 32 --batch-sizes 512

Times the trainer's own step (store, views, forward, backward, optimiser, target), with and without torch.compile, and the
same without views; on a GPU the share of a large bf16 matrix product's rate that the networks' arithmetic reaches.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import numpy as np
import torch
from machine import about
from torch.utils.flop_counter import FlopCounterMode

from byolmeta import step as step_module
from byolmeta.byol import BYOL
from byolmeta.devices import autocast, choose_device
from byolmeta.encoder import Encoder
from byolmeta.loader import Loader
from byolmeta.optimizers import make_optimizer
from byolmeta.step import Step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch-sizes", default="512")
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    flags = parser.parse_args()
    device = choose_device(flags.device)
    size = flags.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (flags.pictures, 3, size, size), dtype=np.uint8)
    rows, peak = [], matrix_rate(device)
    for batch in map(int, flags.batch_sizes.split(",")):
        flops = step_flops(flags.encoder, size) * batch
        arms = {"step": made(flags.encoder, size, pixels, batch, device)}
        arms["step without views"] = made(flags.encoder, size, pixels, batch, device, views=False)
        if flags.compile:
            arms["step, compiled"] = made(flags.encoder, size, pixels, batch, device, compiled=True)
        times = interleaved(arms, flags.rounds, flags.seconds, device)
        for name, values in times.items():
            seconds = statistics.median(values)
            rows.append({"arm": name, "batch": batch, "images_per_second": round(batch / seconds, 1),
                         "spread": [round(batch / max(values), 1), round(batch / min(values), 1)],
                         "tflops": round(flops / seconds / 1e12, 3),
                         "share_of_matrix_rate": round(flops / seconds / peak, 4)})  # fmt: skip
            print(rows[-1], flush=True)
    result = about() | {
        "encoder": flags.encoder,
        "image_size": size,
        "device": device,
        "matrix_tflops": round(peak / 1e12, 2),
    }
    flags.out.write_text(json.dumps(result | {"rows": rows}, indent=1) + "\n", encoding="utf-8")


def made(architecture: str, size: int, pixels: np.ndarray, batch: int, device: str, *, views=True, compiled=False):
    """A function that does the next step; without `views`, on the pictures as they are."""
    torch.manual_seed(0)
    model = BYOL(Encoder(architecture, size)).train().to(device, memory_format=torch.channels_last)
    if compiled:
        model.compile()
    optimizer = make_optimizer(model.online_parameters(), "sgd", 0.1, -1, device)
    step, loader, count = Step(model, optimizer, autocast(device, "auto"), device), Loader(pixels, np.arange(len(pixels)), batch, 0, device), [0]  # fmt: skip

    def plain(images, size, draw, view):
        return images.float().div_(255)

    def work():
        real, step_module.render = step_module.render, step_module.render if views else plain
        try:
            step(loader.batch(count[0]), count[0], 0.05, 0.99)
        finally:
            step_module.render = real
        count[0] += 1

    return work


def interleaved(arms: dict, rounds: int, seconds: float, device: str) -> dict[str, list[float]]:
    """Seconds a call of each arm, one mean a round, round-robin."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    for work in arms.values():
        for _ in range(3):
            work()
    found = {name: [] for name in arms}
    for _ in range(rounds):
        for name, work in arms.items():
            wait()
            start, calls = time.perf_counter(), 0
            while time.perf_counter() < start + seconds or calls < 2:
                work()
                calls += 1
                if calls % 10 == 0:
                    wait()  # launches do not run away from the clock
            wait()
            found[name].append((time.perf_counter() - start) / calls)
    return found


def step_flops(architecture: str, size: int) -> float:
    """Floating point operations of a step per source picture: forward and backward online, forward of the target."""
    model = BYOL(Encoder(architecture, size)).train()
    views = torch.rand(2, 2, 3, size, size)
    with FlopCounterMode(display=False) as counter:
        model(*views).backward()
    return counter.get_total_flops() / 2


def matrix_rate(device: str) -> float:
    """Operations a second of a large matrix product in the training's precision."""
    side = 8192 if device.startswith("cuda") else 1024
    half = torch.bfloat16 if autocast(device, "auto") is not autocast(device, "fp32") else torch.float32
    a, b = torch.randn(2, side, side, device=device, dtype=half).unbind(0)
    work = lambda: a @ b  # noqa: E731
    seconds = min(interleaved({"product": work}, 3, 1.0, device)["product"])
    return 2 * side**3 / seconds


if __name__ == "__main__":
    main()
