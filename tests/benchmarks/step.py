"""BYOL on class folders, end to end: our trainer against lightly's and byol-pytorch's loops, the same network.

    python tests/benchmarks/step.py CIFAR10/train
    python tests/benchmarks/step.py PHOTOS --encoder small --image-size 64

ResNet-18 with the CIFAR stem or our `small`, heads 1024-256, SGD, batch 64, all cores. Each round runs every arm in a process
of its own (theirs: DataLoader with 2 workers from the picture files; ours: `pretrain` from the decoded store), and counts
source pictures a second after a warm-up. Blur as the paper's at 64 px and above, none below; byol-pytorch has its own
augmentations. A call replaces the rows of its network. Neither peer is a requirement: pip install lightly byol-pytorch.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from machine import about

RESULT = Path(__file__).parent / "results" / "step.json"
ARMS = ("ours", "lightly", "byol-pytorch")
WARM_UP = 2  # steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="a folder with one folder a class")
    parser.add_argument("--encoder", choices=("resnet18", "small"), default="resnet18")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30, help="of each arm in each round")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--home", type=Path, default=Path("~/.byolmeta").expanduser())
    parser.add_argument("--arm", choices=ARMS, help="run only this one and print its rate")
    flags = parser.parse_args()
    if flags.arm:
        run = {"ours": ours, "lightly": lightly, "byol-pytorch": byol_pytorch}[flags.arm]
        print(json.dumps(run(flags)))
        return
    rates = {arm: [] for arm in ARMS}
    for _ in range(flags.rounds):
        for arm in ARMS:
            done = subprocess.run([sys.executable, *sys.argv, "--arm", arm], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{arm} failed: {done.stderr[-1000:]}")
            rates[arm].append(json.loads(done.stdout.splitlines()[-1]))
            print(arm, rates[arm][-1], flush=True)
    rows = []
    for arm, found in rates.items():
        ratios = [a / b for a, b in zip(rates["ours"], found, strict=True)]
        rows.append({"arm": arm, "images_per_second": round(statistics.median(found), 1),
                     "spread": [round(min(found), 1), round(max(found), 1)],
                     "ours_is_times": round(statistics.median(ratios), 2),
                     "ours_is_times_spread": [round(min(ratios), 2), round(max(ratios), 2)]})  # fmt: skip
    found = about(("torch", "torchvision", "lightly", "byol-pytorch"))
    found |= {"encoder": flags.encoder, "image_size": flags.image_size, "batch": flags.batch, "rows": rows}
    networks = json.loads(RESULT.read_text(encoding="utf-8"))["networks"] if RESULT.exists() else []
    same = [(n["encoder"], n["image_size"]) == (flags.encoder, flags.image_size) for n in networks]
    networks = [n for n, replaced in zip(networks, same, strict=True) if not replaced] + [found]
    RESULT.write_text(json.dumps({"networks": networks}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))


def ours(flags) -> float:
    """The trainer itself, run folder, checkpoints, metrics and all; from its own metrics after the warm-up."""
    from byolmeta.images import open_store
    from byolmeta.pretrain import pretrain
    from byolmeta.runs import Run
    from byolmeta.settings import PretrainConfig

    store = open_store(flags.pictures, flags.home / "stores", flags.image_size)
    config = PretrainConfig(encoder=flags.encoder, image_size=flags.image_size, batch_size=flags.batch, base_lr=0.12, epochs=100,
                            device=flags.device, log_every=1, check_share=1e-6)  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        run, end = Run(Path(place) / "run"), []
        run.create(config)

        def progress(step: int, steps: int, line: dict) -> None:
            if step == WARM_UP:
                end.append(time.perf_counter() + flags.seconds)
            if end and time.perf_counter() > end[0] and step >= WARM_UP + 2:
                run.ask("stop")

        pretrain(store, config, run, progress=progress)
        lines = [line for line in run.metrics() if "loss" in line and line["step"] >= WARM_UP]
    return flags.batch * (lines[-1]["step"] - lines[0]["step"]) / (lines[-1]["seconds"] - lines[0]["seconds"])


def counted(flags, loader, step) -> float:
    """Source pictures a second of a peer's loop: next batch, step."""
    import torch

    wait = torch.cuda.synchronize if _device(flags).startswith("cuda") else lambda: None
    batches, done, start = iter(loader), 0, 0.0
    while not done or time.perf_counter() < start + flags.seconds or done < WARM_UP + 2:
        step(next(batches))
        done += 1
        if done == WARM_UP:
            wait()
            start = time.perf_counter()
        start = start or time.perf_counter()
    wait()
    return flags.batch * (done - WARM_UP) / (time.perf_counter() - start)


def _device(flags) -> str:
    from byolmeta.devices import choose_device

    return choose_device(flags.device)


def lightly(flags) -> float:
    """lightly's documented loop with the network and transform of its CIFAR benchmark."""
    import torch
    from lightly.data import LightlyDataset
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models import ResNetGenerator
    from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
    from torch import nn

    device, size = _device(flags), flags.image_size
    blur = (1.0, 0.1) if size >= 64 else (0.0, 0.0)
    views = BYOLTransform(
        view_1_transform=BYOLView1Transform(input_size=size, gaussian_blur=blur[0]),
        view_2_transform=BYOLView2Transform(input_size=size, gaussian_blur=blur[1]),
    )
    if flags.encoder == "resnet18":
        trunk, dim = nn.Sequential(*list(ResNetGenerator("resnet-18").children())[:-1]), 512
    else:
        trunk, dim = our_trunk(flags)
    backbone = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    online = nn.Sequential(backbone, BYOLProjectionHead(dim, 1024, 256)).to(device)
    predictor, target = BYOLPredictionHead(256, 1024, 256).to(device), copy.deepcopy(online)
    deactivate_requires_grad(target)
    optimizer = torch.optim.SGD(
        [*online.parameters(), *predictor.parameters()], lr=0.06, momentum=0.9, weight_decay=5e-4
    )
    loss_of = NegativeCosineSimilarity()

    def step(batch) -> None:
        first, second = (view.to(device) for view in batch[0])
        update_momentum(online, target, m=0.99)
        with torch.no_grad():
            answers = target(first), target(second)
        loss = 0.5 * (loss_of(predictor(online(first)), answers[1]) + loss_of(predictor(online(second)), answers[0]))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    data = LightlyDataset(str(flags.pictures), transform=views)
    return counted(
        flags, torch.utils.data.DataLoader(data, flags.batch, shuffle=True, drop_last=True, num_workers=2), step
    )


def our_trunk(flags):
    """The convolutions of one of our networks, as plain modules, and the size of its vectors."""
    from byolmeta.encoder import Encoder

    encoder = Encoder(flags.encoder, flags.image_size)
    return encoder.trunk, encoder.dim


def byol_pytorch(flags) -> float:
    """byol-pytorch around the same network, with its own augmentation of the whole batch."""
    import torch
    import torchvision
    from byol_pytorch import BYOL
    from torch import nn

    device, size = _device(flags), flags.image_size
    net = nn.Sequential(our_trunk(flags)[0], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    learner = BYOL(net, image_size=size, hidden_layer=-1, projection_hidden_size=1024, use_simplicial_embeddings=False)
    learner.to(device)
    optimizer = torch.optim.Adam(learner.parameters(), lr=3e-4)

    def step(batch) -> None:
        loss = learner(batch[0].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        learner.update_moving_average()

    data = torchvision.datasets.ImageFolder(str(flags.pictures), transform=torchvision.transforms.ToTensor())
    return counted(
        flags, torch.utils.data.DataLoader(data, flags.batch, shuffle=True, drop_last=True, num_workers=2), step
    )


if __name__ == "__main__":
    main()
