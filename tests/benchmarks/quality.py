"""What helps a short pretraining: one setting changed at a time, the same number of pictures seen, judged by few-shot tasks.

    python tests/benchmarks/quality.py PICTURES VAL OUT [--pictures-seen 120000] [--seeds 0,1,2] [--arms "whitened;plain"]

PICTURES are unlabelled; VAL are class folders of the validation split, on which settings may be chosen (never the novel
one). 120,000 pictures are five minutes of the `small` encoder on two cores. Rows already in
results/quality_per_minute.json (same arm, seed and pictures seen) are not run again, so that it can be stopped and called anew.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from machine import about

from byolmeta import commands
from byolmeta.images import open_store
from byolmeta.settings import PretrainConfig
from byolmeta.workplace import home

RESULT = Path(__file__).parent / "results" / "quality_per_minute.json"
ARMS = {  # what differs from the usual settings
    "whitened": {},
    "plain": {"whiten": False},
    "plain, sgd": {"whiten": False, "optimizer": "sgd"},
    "plain, sgd, a quarter of the rate": {"whiten": False, "optimizer": "sgd", "base_lr": 0.125},
    "sgd": {"optimizer": "sgd"},
    "adamw": {"optimizer": "adamw"},
    "half the rate": {"base_lr": 1.0},
    "twice the rate": {"base_lr": 4.0},
    "target from 0.95": {"momentum": 0.95},
    "target from 0.98": {"momentum": 0.98},
    "target from 0.996": {"momentum": 0.996},
    "batch 64": {"batch_size": 64},
    "batch 128": {"batch_size": 128},
    "projection of 64": {"dim": 64},
    "heads of 2048": {"hidden": 2048},
}
FIGURES = ("steps", "seconds", "images_per_second", "loss", "twin", "spread", "effective_rank")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures-seen", type=int, default=120_000)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--arms", default="", help="names of ARMS, with semicolons; left out: all")
    parser.add_argument("--way", type=int, default=5)
    parser.add_argument("--encoder", default="small")
    parser.add_argument("--image-size", type=int, default=64)
    flags = parser.parse_args()
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if RESULT.exists() else []
    count = len(open_store(flags.pictures, home() / "stores", flags.image_size))
    for seed in map(int, flags.seeds.split(",")):
        for arm in flags.arms.split(";") if flags.arms else ARMS:
            key = {"arm": arm, "seed": seed, "pictures_seen": flags.pictures_seen, "encoder": flags.encoder}
            if any(key.items() <= row.items() for row in rows):
                continue
            network = {"encoder": flags.encoder, "image_size": flags.image_size, "seed": seed}
            settings = PretrainConfig(epochs=flags.pictures_seen / count, **network, **ARMS[arm])
            run = flags.out / f"{arm.replace(' ', '-')}-{seed}"
            shutil.rmtree(run, ignore_errors=True)
            ran = commands.pretrain(flags.pictures, run, settings)
            row = about() | key | {"settings": ARMS[arm], "of": count} | {name: ran[name] for name in FIGURES}
            for shot in (1, 5):
                task = commands.fewshot(str(run), flags.val, way=flags.way, shot=shot)
                row[f"{shot}-shot"] = {k: task[k] for k in ("accuracy", "ci95", "episodes", "way", "learner")}
            rows.append(row)
            RESULT.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
            print(arm, seed, *(f"{100 * row[f'{shot}-shot']['accuracy']:.1f}" for shot in (1, 5)), flush=True)


if __name__ == "__main__":
    main()
