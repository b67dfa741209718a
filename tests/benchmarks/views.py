"""Two BYOL views of each picture on one core: ours against lightly's transform on PIL and torchvision v2 a picture at a time.

    python tests/benchmarks/views.py PICTURES [--sizes 32,96,224]

Source pictures a second, both views made; decoding is not counted. No blur at 32 px; at 96 and 224 px with the paper's 1.0
and 0.1. lightly is no requirement of the project: pip install lightly.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import torch
from machine import about
from PIL import Image
from torchvision.transforms import v2

from byolmeta.augment import make_view, two_views
from byolmeta.images import open_store

RESULT = Path(__file__).parent / "results" / "views.json"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--sizes", default="32,96,224")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--home", type=Path, default=Path("~/.byolmeta").expanduser())
    flags = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for size in map(int, flags.sizes.split(",")):
        pixels = open_store(flags.pictures, flags.home / "stores", size).pixels[: flags.batch]
        arms, times = made(torch.from_numpy(pixels.copy()), size), {}
        for work, _ in arms.values():
            work()
        for _ in range(flags.rounds):
            for name, (work, count) in arms.items():
                start, calls = time.perf_counter(), 0
                while time.perf_counter() < start + flags.seconds or not calls:
                    work()
                    calls += 1
                times.setdefault(name, []).append(calls * count / (time.perf_counter() - start))
        for name, rates in times.items():
            ratios = [ours / theirs for ours, theirs in zip(times["ours"], rates, strict=True)]
            rows.append({"size": size, "arm": name, "images_per_second": round(statistics.median(rates), 1),
                         "spread": [round(min(rates), 1), round(max(rates), 1)],
                         "ours_is_times": round(statistics.median(ratios), 2),
                         "ours_is_times_spread": [round(min(ratios), 2), round(max(ratios), 2)]})  # fmt: skip
            print(rows[-1], flush=True)
    versions = about(("torch", "torchvision", "numpy", "pillow", "lightly"))
    RESULT.write_text(json.dumps(versions | {"batch": flags.batch, "threads": 1, "rows": rows}, indent=1) + "\n")


def made(images: torch.Tensor, size: int) -> dict:
    """{arm: (function, pictures a call)}."""
    try:
        from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
    except ImportError:
        sys.exit("This comparison needs lightly: pip install lightly")
    views, generator = two_views(size), torch.Generator().manual_seed(0)
    few = images[: max(8, 2048 // size)]
    pil = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in few]
    lightly = BYOLTransform(
        view_1_transform=BYOLView1Transform(input_size=size, gaussian_blur=views[0].blur),
        view_2_transform=BYOLView2Transform(input_size=size, gaussian_blur=views[1].blur),
    )
    single = [torchvision_view(size, view.blur, view.solarise) for view in views]
    return {
        "ours": (lambda: [make_view(images, size, view, generator) for view in views], len(images)),
        "lightly": (lambda: [lightly(picture) for picture in pil], len(pil)),
        "torchvision v2": (lambda: [[view(picture) for view in single] for picture in few], len(few)),
    }


def torchvision_view(size: int, blur: float, solarise: float) -> v2.Compose:
    steps = [
        v2.RandomResizedCrop(size, scale=(0.08, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
        v2.RandomGrayscale(0.2),
    ]
    if blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(max(3, size // 10 | 1), (0.1, 2.0))], blur))
    if solarise:
        steps.append(v2.RandomSolarize(128, solarise))
    return v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])


if __name__ == "__main__":
    main()
