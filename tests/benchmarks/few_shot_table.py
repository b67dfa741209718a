"""Accuracy of encoders and baselines on class folders, as rows of results/few_shot.json and a Markdown table.

    python tests/benchmarks/few_shot_table.py NAME=ENCODER ... --sets caltech20=../shared/data/caltech20/test ...
    python tests/benchmarks/few_shot_table.py NAME=ENCODER ... --evaluate cifar10=TRAIN,TEST

600 episodes of 5 classes, 15 queries (or what a class leaves), seed 0, the same episodes for every encoder. ENCODER may be
pixels, histogram or untrained:NAME; with pixels, --sklearn adds scikit-learn's logistic regression. --evaluate: k-NN (k
200) and linear probe. A row replaces the one of the same set, encoder, learner and number of examples.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from machine import about

from byolmeta import commands
from byolmeta.learners import LEARNERS, Step, Support

RESULT = Path(__file__).parent / "results" / "few_shot.json"
SKLEARN = "logistic regression (scikit-learn)"


@dataclass(frozen=True)
class SklearnLogistic:
    """scikit-learn's LogisticRegression with its default settings, as a learner."""

    def adapt(self, embed, support: Support, *, keep_graph: bool = False) -> Iterator[Step]:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(max_iter=1000).fit(embed(support.inputs).numpy(), support.labels.numpy())
        yield Step(0, torch.zeros(()), lambda inputs: torch.from_numpy(model.predict_log_proba(embed(inputs).numpy())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="+", metavar="NAME=ENCODER")
    parser.add_argument("--sets", nargs="+", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--evaluate", nargs="+", default=[], metavar="NAME=TRAIN,TEST")
    parser.add_argument("--learners", default="prototype,anil")
    parser.add_argument("--sklearn", action="store_true")
    parser.add_argument("--way", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=600)
    flags = parser.parse_args()
    LEARNERS[SKLEARN] = SklearnLogistic
    encoders = dict(pair.split("=", 1) for pair in flags.encoders)
    learners = flags.learners.split(",")
    for title, folder in (pair.split("=", 1) for pair in flags.sets):
        for name, where in encoders.items():
            for learner in [*learners, *([SKLEARN] if flags.sklearn and where == "pixels" else [])]:
                for shot in (1, 5):
                    task = {"way": flags.way, "shot": shot, "episodes": flags.episodes, "learner": learner}
                    found = commands.fewshot(where, Path(folder), **task)
                    keep({"set": title, "encoder": name, "where": where, **found}, "learner", "way", "shot")
    for title, folders in (pair.split("=", 1) for pair in flags.evaluate):
        for name, where in encoders.items():
            for features in ("readout", "encoder"):
                found = commands.evaluate(where, *map(Path, folders.split(",")), features=features)
                keep({"set": title, "encoder": name, "where": where, **found}, "features")
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    for title in (pair.split("=")[0] for pair in flags.sets):
        print(f"\n**{title}**\n\n{table([r for r in rows if r['set'] == title and 'shot' in r], learners)}")


def keep(row: dict, *key: str) -> None:
    """Writes a row into the file in place of an older one of the same set, encoder and key."""
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if RESULT.exists() else []
    key = ("set", "encoder", *key)
    rows = [r for r in rows if [r.get(k) for k in key] != [row[k] for k in key]] + [row | about()]
    RESULT.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


def table(rows: list[dict], learners: list[str]) -> str:
    """1-shot / 5-shot, per cent ± 95 % interval: a line an encoder, a column a learner."""
    lines = ["| | " + " | ".join(learners) + " |", "|---" * (len(learners) + 1) + "|"]
    for name in dict.fromkeys(r["encoder"] for r in rows):
        cells = []
        for learner in learners:
            found = sorted((r["shot"], r) for r in rows if (r["encoder"], r["learner"]) == (name, learner))
            cells.append(" / ".join(f"{100 * r['accuracy']:.1f} ± {100 * r['ci95']:.1f}" for _, r in found))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
