"""What each preset brings: a run from scratch, or from an encoder, on unlabelled photos, judged on other photos.

    python tests/benchmarks/presets.py TRAIN TEST OUT [--presets quick,balanced,thorough] [--init photos-small]

TRAIN and TEST are class folders; pretraining sees no class name. Each run is left in OUT, and its row replaces the one of
the same preset and start in results/presets.json. Nothing is chosen on TEST: the presets were set before. kNN (the 20
nearest) and the linear probe learn from TRAIN's labels; few-shot draws its tasks from TEST alone.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from machine import about

from byolmeta import commands
from byolmeta.settings import PRESETS, PretrainConfig

RESULT = Path(__file__).parent / "results" / "presets.json"
FIGURES = ("steps", "seconds", "images_per_second", "loss", "twin", "spread", "effective_rank", "message")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--init", default="")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if RESULT.exists() else []
    for preset in flags.presets.split(","):
        settings = PretrainConfig(preset=preset, init=flags.init, seed=flags.seed)
        run = Path(tempfile.mkdtemp(prefix=f"{preset}-", dir=flags.out)) / "run"
        row = about() | {"preset": preset, "minutes": settings.minutes, "init": flags.init, "seed": flags.seed}
        ran = commands.pretrain(flags.train, run, settings)
        row |= {key: ran[key] for key in FIGURES} | judge(str(run), flags.train, flags.test)
        rows = [r for r in rows if (r["preset"], r["init"]) != (preset, flags.init)] + [row]
        RESULT.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(row), flush=True)


def judge(encoder: str, train: Path, test: Path) -> dict:
    """kNN and linear probe, 0..1, and 5-way accuracy of 600 tasks with its interval at 1 and 5 examples."""
    found = commands.evaluate(encoder, train, test)
    tasks = {f"{shot}-shot": commands.fewshot(encoder, test, shot=shot) for shot in (1, 5)}
    return {k: found[k] for k in ("knn", "linear")} | {
        name: {k: task[k] for k in ("accuracy", "ci95", "episodes", "way")} for name, task in tasks.items()
    }


if __name__ == "__main__":
    main()
