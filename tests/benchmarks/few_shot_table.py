"""Few-shot accuracy of encoders and baselines on class folders, as a JSON file and a Markdown table.

    python tests/benchmarks/few_shot_table.py NAME=ENCODER ... --sets caltech20=../shared/data/caltech20/test ...

600 episodes of 5 classes, 15 queries (or what a class leaves), seed 0, the same episodes for every encoder.
"""

import argparse
import importlib.metadata
import json
import platform
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from byolmeta.commands import fewshot  # noqa: E402, the project is no installed package

RESULT = Path(__file__).parent / "results" / "few_shot.json"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("encoders", nargs="+", help="NAME=ENCODER, also pixels and untrained")
    parser.add_argument("--sets", nargs="+", required=True, help="NAME=FOLDER")
    parser.add_argument("--learners", default="prototype,anil")
    flags = parser.parse_args()
    encoders = dict(pair.split("=", 1) for pair in flags.encoders)
    sets = dict(pair.split("=", 1) for pair in flags.sets)
    rows = [
        fewshot(where, Path(folder), shot=shot, learner=learner) | {"encoder": name, "set": title}
        for title, folder in sets.items()
        for name, where in encoders.items()
        for learner in flags.learners.split(",")
        for shot in (1, 5)
    ]
    packages = ("torch", "torchvision", "numpy")
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {platform.system()}",
        "versions": {name: importlib.metadata.version(name) for name in packages}
        | {"python": platform.python_version()},
    }
    RESULT.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n", encoding="utf-8")
    for title in sets:
        print(f"\n**{title}**, 5-way 1-shot / 5-shot, per cent ± 95 % interval, 600 episodes\n")
        learners = flags.learners.split(",")
        print("| | " + " | ".join(learners) + " |\n|---" + "|---" * len(learners) + "|")
        for name in encoders:
            cells = []
            for learner in flags.learners.split(","):
                found = [r for r in rows if (r["set"], r["encoder"], r["learner"]) == (title, name, learner)]
                cells.append(" / ".join(f"{100 * r['accuracy']:.1f} ± {100 * r['ci95']:.1f}" for r in found))
            print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
