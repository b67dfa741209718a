"""Writes the figures of results/few_shot.json into pretrained/README.md: the model-index that machines read, and tables.

    python tests/benchmarks/model_card.py

Everything else in that file is written by hand and stays.
"""

import json
import re
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from few_shot_table import RESULT, SKLEARN, table

from byolmeta.files import PRETRAINED, starters

README = PRETRAINED / "README.md"
LEARNERS = ["prototype", "anil"]
NAMES = {  # of the sets: what they are called in words
    "tiny_imagenet_novel": "tiny_imagenet_fs, 20 novel classes, 64 px",
    "caltech20": "caltech20, 20 classes of objects",
    "cifar_fs_meta_test": "cifar_fs, 20 classes of meta-test, 32 px",
    "omniglot_evaluation": "omniglot, 659 characters of evaluation, 28 px",
    "creatures": "drawn creatures (the app's sample)",
    "digits": "handwritten digits (the app's sample)",
}


def model_index(rows: list[dict]) -> list[dict]:
    """The shipped encoders' rows as Hugging Face's model-index."""
    return [{"name": name, "results": [_result(row) for row in rows if row["encoder"] == name]} for name in starters()]


def _result(row: dict) -> dict:
    if "shot" in row:
        task = f"{row['way']}-way {row['shot']}-shot, {row['learner']}"
        metrics = [
            _accuracy(row["accuracy"], f"mean of {row['episodes']} tasks, 95 % interval ± {100 * row['ci95']:.2f}")
        ]
    else:
        task = f"k-NN and linear probe on the {row['features']}'s vectors"
        metrics = [_accuracy(row[key], key) for key in ("knn", "linear")]
    return {
        "task": {"type": "image-classification", "name": task},
        "dataset": {"type": row["set"], "name": NAMES.get(row["set"], row["set"])},
        "metrics": metrics,
    }


def _accuracy(value: float, name: str) -> dict:
    return {"type": "accuracy", "value": round(100 * value, 2), "name": name}


def figures(rows: list[dict]) -> str:
    """A table a set, and one of the evaluation protocols."""
    parts = []
    for title, name in NAMES.items():
        of_set = [row for row in rows if row["set"] == title and "shot" in row]
        if of_set:
            columns = LEARNERS + ([SKLEARN] if any(row["learner"] == SKLEARN for row in of_set) else [])
            parts.append(f"**{name}**\n\n{table(of_set, columns)}")
    lines = [
        f"| {row['encoder']} | {row['set']} | {row['features']} | {100 * row['knn']:.1f} | {100 * row['linear']:.1f} |"
        for row in rows
        if "features" in row
    ]
    if lines:
        head = "| | set | vectors | k-NN | linear probe |\n|---|---|---|---|---|\n"
        parts.append("**Evaluation protocols**\n\n" + head + "\n".join(lines))
    return "\n\n".join(parts)


def main() -> None:
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    _, front, text = README.read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(front) | {"model-index": model_index(rows)}
    text = re.sub(
        r"(?s)(<!-- figures -->\n).*(<!-- end of figures -->)", lambda m: f"{m[1]}\n{figures(rows)}\n\n{m[2]}", text
    )
    front = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=120)
    README.write_text(f"---\n{front}---\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
