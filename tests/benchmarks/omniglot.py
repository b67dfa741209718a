"""The correctness bar of the meta-learners: Conv-4 trained with labels, from nothing, on Omniglot; rows of results/omniglot.json.

    python tests/benchmarks/omniglot.py BACKGROUND EVALUATION OUT [--learners prototype,anil,maml] [--minutes 20]

BACKGROUND and EVALUATION are the class folders of the two halves of Omniglot: 964 characters of 30 alphabets to learn from (200
of them are held back to choose when to end and to judge) and 659 of 20 other alphabets to test on; no turned copies as new
classes. 600 tasks of 5 classes, 15 queries, seed 0, inductive: batch norm takes running statistics, or MAML's those of the
examples. A run in OUT that ended or was stopped is taken as it is, one that was killed goes on. A row replaces that of the
same learner.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from machine import about

from byolmeta import commands
from byolmeta.runs import Run
from byolmeta.settings import MetatrainConfig

RESULT = Path(__file__).parent / "results" / "omniglot.json"
START = "untrained:drawings-conv4"  # Conv-4 for 28 px and one channel, at its random start
SHARED = {"tasks": "labels", "through": "all", "steps": 3000, "check_every": 100, "patience": 30, "judge": 300}
ARMS = {
    "prototype": {"train_way": 20, "batch": 4, "shot": 1},
    "anil": {"batch": 16, "shot": 1, "inner_steps": 5},
    "maml": {"batch": 4, "shot": 1, "inner_steps": 3, "judge": 100},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("background", "evaluation", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--learners", default="prototype,anil,maml")
    parser.add_argument("--minutes", type=float, default=0.0, help="for each run, at most; 0: no limit")
    parser.add_argument("--steps", type=int, default=SHARED["steps"])
    parser.add_argument("--tested", type=int, default=600)
    flags = parser.parse_args()
    for name in flags.learners.split(","):
        settings = MetatrainConfig(
            learner=name, **SHARED | ARMS[name] | {"minutes": flags.minutes, "steps": flags.steps}
        )
        run = flags.out / name
        there, status = (run / "config.json").exists(), Run(run).status()
        if status["state"] == "stopped":
            found = status["result"]
        else:
            found = commands.metatrain(
                START, flags.background, run, MetatrainConfig() if there else settings, resume=there
            )
        result = {key: value for key, value in found.items() if key not in ("run", "encoder")}
        row = {"learner": name, "settings": Run(run).config(), "result": result, "test": []}
        for key in ("folder", "home", "encoder_file"):
            row["settings"].pop(key, None)
        looks = [line for line in Run(run).metrics() if "check" in line]
        row["curve"] = [
            [line["step"], round(line["check"]["accuracy"], 4)] for line in looks
        ]  # on characters held back
        for shot in (1, 5):
            row["test"].append(
                commands.fewshot(str(run), flags.evaluation, shot=shot, episodes=flags.tested, learner=name)
            )
            print(
                f"{name} {shot}-shot: {100 * row['test'][-1]['accuracy']:.2f} ± {100 * row['test'][-1]['ci95']:.2f}",
                flush=True,
            )
        keep(row | about())


def keep(row: dict) -> None:
    """Writes a row into the file in place of an older one of the same learner."""
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if RESULT.exists() else []
    rows = [r for r in rows if r["learner"] != row["learner"]] + [row]
    RESULT.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
