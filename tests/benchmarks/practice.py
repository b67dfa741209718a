"""What practice (meta-training) brings: before and after on tasks of a test set that it never saw, as rows of results/practice.json.

    python tests/benchmarks/practice.py NAME ENCODER FOLDER TEST_FOLDER OUT [--seeds 0,1,2] [--tasks labels] [--learner anil] ...

Every flag of `metatrain` that is given goes to it. 600 tasks of 5 classes, 15 queries (or what a class leaves), seed 0, the
same before and after, so the difference is paired. Before: the plain learner that did best on puzzles held back from
practice; so nothing is chosen on the test set. A row replaces the one of the same name, encoder, settings and seed.
"""

import argparse
import json
import shutil
import sys
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from machine import about

from byolmeta import commands
from byolmeta.settings import MetatrainConfig

RESULT = Path(__file__).parent / "results" / "practice.json"
WAY = 5
KEPT = (
    "episodes",
    "steps",
    "best_step",
    "seconds",
    "gain",
    "judged_by",
    "plain_learner",
    "before",
    "after",
    "difference",
    "ci95",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("name", "encoder"):
        parser.add_argument(name)
    for name in ("folder", "test_folder", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--tested", type=int, default=600, help="tasks of the test set")
    asked = [field for field in fields(MetatrainConfig) if field.name != "seed" and field.type is not bool]
    for field in asked:
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=field.type)
    flags = parser.parse_args()
    settings = {f.name: getattr(flags, f.name) for f in asked if getattr(flags, f.name) is not None}
    for seed in map(int, flags.seeds.split(",")):
        run = flags.out / f"{flags.name}-{seed}"
        shutil.rmtree(run, ignore_errors=True)
        found = commands.metatrain(flags.encoder, flags.folder, run, MetatrainConfig(seed=seed, **settings))
        row = {"name": flags.name, "encoder": flags.encoder, "settings": settings, "seed": seed}
        row |= {"held_back": {k: found[k] for k in KEPT}, "shots": []}
        for shot in (1, 5):
            task = {"way": WAY, "shot": shot, "episodes": flags.tested, "learner": found["learner"]}
            test = commands.fewshot(
                str(run), flags.test_folder, **task, versus=f"{flags.encoder},{found['plain_learner']}"
            )
            row["shots"].append(test)
            print(
                flags.name, seed, f"{shot}-shot: {100 * test['versus_accuracy']:.1f} to {100 * test['accuracy']:.1f} "
                f"({100 * test['difference']:+.2f} ± {100 * test['difference_ci95']:.2f})", flush=True,
            )  # fmt: skip
        keep(row | about())


def keep(row: dict) -> None:
    """Writes a row into the file in place of an older one of the same name, encoder, settings and seed."""
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if RESULT.exists() else []
    key = ("name", "encoder", "settings", "seed")
    rows = [r for r in rows if [r[k] for k in key] != [row[k] for k in key]] + [row]
    RESULT.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
