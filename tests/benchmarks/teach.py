"""What Teach says of itself, against what is true: results/teach.json.

    python tests/benchmarks/teach.py DATA [--tasks 150] [--seeds 30] [--only ranges,certainty,questions,forecast,speed]

Tasks are drawn from labelled sets, and only the examples' labels are told. Constants and methods were chosen on other
classes: caltech20's first ten, tiny_imagenet_fs base and val, cifar_fs meta_train, omniglot background; what is reported
is on caltech20's last ten classes, tiny_imagenet_fs novel, cifar_fs meta_test, 200 characters of omniglot evaluation, and
scikit-learn's digits, by the shipped encoders. Intervals are 95 %, over tasks (normal; Wilson's for shares).
"""

import argparse
import json
import math
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import numpy as np
import torch
from machine import about
from torch import nn

from byolmeta.adapt import Accuracy, _folds_of, _one_by_one, hide_trace, sort_pictures, wilson
from byolmeta.advise import forecast, next_question
from byolmeta.copies import copies_group_ids
from byolmeta.features import encoder_bank
from byolmeta.fewshot import mean_and_interval, paired
from byolmeta.images import open_store
from byolmeta.learners import learner
from byolmeta.samples import sample_folder

RESULT = Path(__file__).parent / "results" / "teach.json"
SETS = {  # sources, encoder, first class, classes (of omniglot's: drawn by chance)
    "caltech20, last 10 classes": (("caltech20/train", "caltech20/test"), "photos-small", 10, 10),
    "tiny_imagenet_fs novel": (("tiny_imagenet_fs/novel.zip",), "photos-small", 0, 20),
    "cifar_fs meta_test": (("cifar_fs/meta_test.zip",), "photos-small", 0, 20),
    "omniglot evaluation": (("omniglot/evaluation.zip",), "drawings-conv4", 0, 200),
    "digits": ((), "drawings-conv4", 0, 10),
}
LEARNERS = ("anil", "ridge", "prototype")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--home", type=Path, default=Path("~/.byolmeta").expanduser())
    parser.add_argument("--tasks", type=int, default=150, help="of each set")
    parser.add_argument("--seeds", type=int, default=30, help="boards of each set for the questions")
    parser.add_argument("--only", default="ranges,certainty,questions,forecast,speed")
    parser.add_argument("--sets", default="", help="parts of their names; all")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in SETS if any(part in name for part in flags.sets.split(","))]
    sets = {name: load(name, flags.data, flags.home) for name in names}
    found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    studies = {"ranges": ranges, "certainty": certainty, "questions": questions, "forecast": forecasts, "speed": speed}
    for study in flags.only.split(","):
        start = time.perf_counter()
        count = flags.seeds if study == "questions" else flags.tasks
        rows = studies[study](sets, count)
        found[study] = about() | {"tasks": count, "seconds": round(time.perf_counter() - start, 1), "rows": rows}
        for row in rows:
            print(study, row, flush=True)
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def load(name: str, data: Path, home: Path) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Vectors (N, D), classes (N,) from 0, and groups of copies (N,) of a set."""
    sources, encoder, first, count = SETS[name]
    places = [data / source for source in sources] or [sample_folder("digits", home)]
    vectors, labels, copies = [], [], []
    for place in places:
        store = open_store(place, home / "stores", 64 if encoder.startswith("photos") else 28)
        vectors.append(encoder_bank(encoder, store, home / "banks").vectors)
        labels.append(store.labels)
        copies.append(copies_group_ids(store) + sum(map(len, copies)))
    vectors, labels, copies = map(np.concatenate, (vectors, labels, copies))
    chosen = np.arange(first, labels.max() + 1)
    chosen = np.sort(np.random.default_rng(0).permutation(chosen)[:count])
    rows = np.flatnonzero(np.isin(labels, chosen))
    return torch.from_numpy(vectors[rows]), np.searchsorted(chosen, labels[rows]), copies[rows]


def board(labels: np.ndarray, random, way: int, counts, most: int = 10**6) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Examples of `way` classes, and the other pictures of each, at most `most`."""
    kinds = random.permutation(labels.max() + 1)[:way]
    rows = [random.permutation(np.flatnonzero(labels == kind)) for kind in kinds]
    counts = [min(int(count), len(each) - 5) for count, each in zip(counts, rows, strict=True)]
    return [r[:c] for r, c in zip(rows, counts, strict=True)], [
        r[c : c + most] for r, c in zip(rows, counts, strict=True)
    ]


def joined(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and the number of the part that each is from."""
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def said(method, vectors, support, labels, way: int, rows) -> np.ndarray:
    return (
        method.answer(vectors[support][None], torch.from_numpy(labels)[None], vectors[rows][None], way)[0]
        .argmax(1)
        .numpy()
    )


def share(hits) -> list[float]:
    """[share, low, high]."""
    hits = np.asarray(hits, float)
    return [round(float(each), 3) for each in (hits.mean(), *wilson(hits.mean(), len(hits)))] if len(hits) else []


def mean(values) -> list[float]:
    """[mean, half the 95 % interval]."""
    return [round(each, 4) for each in mean_and_interval(values)]


# Does the range hold the truth?


def ranges(sets: dict, tasks: int) -> list[dict]:
    """How often the range shown, in whole percent, holds the accuracy on all other pictures, classes alike.

    2 to 10 boxes of 1 to 10 examples, half of them uneven; `checks`: 8 to 200 drawn from the other pictures, with
    replacement, so that the truth is known.
    """
    rows = []
    for name, (vectors, labels, copies) in sets.items():
        held = {"hidden": [], "hidden, plain Wilson": [], "checks": []}
        widths = {key: [] for key in held}
        for seed in range(tasks):
            random = np.random.default_rng(seed)
            way, even = int(random.integers(2, min(10, labels.max() + 1) + 1)), random.random() < 0.5
            counts = np.full(way, random.integers(1, 11)) if even else random.integers(1, 11, way)
            examples, others = board(labels, random, way, counts)
            (support, own), (rest, truth) = joined(examples), joined(others)
            kept = ~np.isin(copies[rest], copies[support])
            rest, truth, method = rest[kept], truth[kept], learner(LEARNERS[seed % 3])
            right = said(method, vectors, support, own, way, rest) == truth
            hidden = next(reversed(list(hide_trace(method, vectors, support, own, way, copies))), None)
            asked = random.integers(len(rest), size=random.integers(8, 201))
            alike = _alike(right, truth)
            judged = [("checks", Accuracy(int(right[asked].sum()), len(asked)).range, right.mean())]
            if hidden:
                judged.append(("hidden", hidden.range, alike))
                judged.append(("hidden, plain Wilson", Accuracy(hidden.right, hidden.of).range, alike))
            for key, (low, high), true in judged:
                held[key].append(round(100 * low) <= round(100 * true) <= round(100 * high))
                widths[key].append(high - low)
        rows += [
            {"set": name, "range": key, "tasks": len(each), "holds": share(each), "width": mean(widths[key])}
            for key, each in held.items()
        ]
    return rows + _pooled(rows)


def _alike(right: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([right[truth == kind].mean() for kind in np.unique(truth)]))


def _pooled(rows: list[dict]) -> list[dict]:
    """The shares over all sets."""
    found = []
    for key in dict.fromkeys(row["range"] for row in rows):
        mine = [row for row in rows if row["range"] == key]
        of = sum(row["tasks"] for row in mine)
        held = sum(row["holds"][0] * row["tasks"] for row in mine) / of
        found.append(
            {"set": "all", "range": key, "tasks": of, "holds": [round(x, 3) for x in (held, *wilson(held, of))]}
        )
    return found


# Do "sure" and "none of these" mean something?


def certainty(sets: dict, tasks: int) -> list[dict]:
    """AUROC of none of these on classes without a box, calibration error (10 bins) of the score, and accuracy by level.

    2 to 8 boxes of 1, 2, 3, 5 or 10 examples; 30 % of the folders hold no strangers, the others up to three times as many
    classes as there are boxes; 40 pictures a class. A stranger is answered rightly only by none of these. Before: the
    softmax of the learner as the score, and strangers by the cosine to the class's nearest example, as until 2026-11.
    """
    rows = []
    for name, (vectors, labels, copies) in sets.items():
        areas, old_areas, all_new, all_old = [], [], [], []
        for seed in range(tasks):
            random = np.random.default_rng(1000 + seed)
            way = int(random.integers(2, min(8, labels.max() + 1) + 1))
            extra = min(int(random.integers(1, 3 * way + 1)), labels.max() + 1 - way) if random.random() > 0.3 else 0
            shot = int(random.choice([1, 2, 3, 5, 10]))
            examples, others = board(labels, random, way + extra, [shot] * way + [0] * extra, 40)
            rows_of, kind = joined([np.concatenate(each) for each in zip(examples, others, strict=True)])
            own = np.concatenate([np.flatnonzero(kind == box)[: len(examples[box])] for box in range(way)])
            folder, method = vectors[rows_of], learner(LEARNERS[seed % 3])
            found = sort_pictures(method, folder, own, kind[own], way, copies[rows_of])
            asked = np.setdiff1d(np.arange(len(folder)), own)
            member, right = kind[asked] < way, (found.label == kind)[asked]
            score, near, strange = before(method, folder, own, kind[own], way)
            all_new.append((found.score[asked], right, found.sure[asked], member))
            all_old.append((score[asked], right, np.where(strange, 0, level_before(score, way))[asked], member))
            if extra:
                areas.append(area(found.member[asked], member))
                old_areas.append(area(near[asked], member))
        gain, half = paired(old_areas, areas) if areas else (math.nan, math.nan)
        for when, each, of in (("before", all_old, old_areas), ("after", all_new, areas)):
            score, right, sure, member = (np.concatenate(parts) for parts in zip(*each, strict=True))
            clean = [(s == 0).mean() for _, _, s, m in each if m.all()]
            rows.append({
                "set": name, "when": when, "tasks": tasks, "auroc": mean(of) if of else None,
                "auroc_gain": [round(gain, 4), round(half, 4)] if of and when == "after" else None,
                "ece": round(calibration_error(score, right), 4),
                "strangers_found": share(sure[~member] == 0), "members_called_strangers": share(sure[member] == 0),
                "in_folders_without_strangers": mean(clean) if clean else None,
                "levels": {
                    key: {"share": round(float((sure == level).mean()), 3), "right": share(right[sure == level])}
                    for level, key in ((3, "sure"), (2, "fairly sure"), (1, "unsure"))
                },
            })  # fmt: skip
    return rows


def before(method, vectors, support, labels, way: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, nearness and strangers as they were: softmax, cosine to the class's nearest example, its 35 % quantile."""
    scores = method.answer(vectors[support][None], torch.from_numpy(labels)[None], vectors[None], way)[0]
    score, label = scores.softmax(1).max(1)
    x = nn.functional.normalize(vectors - vectors.mean(0), dim=1)
    cosine = x @ x[support].T
    near = torch.stack([cosine[:, labels == box].amax(1) for box in range(way)], 1)
    mine = near.gather(1, label[:, None])[:, 0] - near.quantile(0.35, dim=0)[label]
    return score.numpy(), mine.numpy(), (mine < 0).numpy()


def level_before(score: np.ndarray, way: int) -> np.ndarray:
    margin = (score - 1 / way) / (1 - 1 / way)
    return 1 + (margin > 0.35) + (margin > 0.7)


def area(score: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, score))


def calibration_error(score: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017)."""
    place = np.minimum((score * bins).astype(int), bins - 1)
    inside = [place == each for each in range(bins)]
    return float(sum(abs(score[each].mean() - right[each].mean()) * each.mean() for each in inside if each.any()))


# Does the question help?


def questions(sets: dict, seeds: int) -> list[dict]:
    """From one example in each of 5 boxes, 10 clicks: accuracy on held-out pictures, asking by chance and as we do.

    `strangers`: classes in the folder that have no box; a click on one of them brings no example. 36 pictures a class to ask
    about, at most 24 to be judged on. The gain is the mean over the 10 clicks, and that after the last.
    """
    rows = []
    for name, (vectors, labels, _) in sets.items():
        for strangers in (0, 2):
            curves = {"chance": [], "asked": []}
            for seed in range(seeds):
                for way_of_asking, each in curves.items():
                    random = np.random.default_rng(5000 + seed)
                    _, parts = board(labels, random, 5 + strangers, [0] * (5 + strangers), 60)
                    cut = [int(0.6 * len(part)) for part in parts]
                    folder, kind = joined([part[:c] for part, c in zip(parts, cut, strict=True)])
                    tested, truth = joined([part[c:] for part, c in zip(parts[:5], cut, strict=False)])
                    each.append(_clicks(vectors, folder, kind, tested, truth, way_of_asking == "asked", random))
            curves = {key: np.array(each) for key, each in curves.items()}
            means = [curve[:, 1:].mean(1) for curve in curves.values()]
            rows.append({
                "set": name, "strangers": strangers, "seeds": seeds,
                **{key: [round(float(x), 4) for x in curve.mean(0)] for key, curve in curves.items()},
                "gain": [round(x, 4) for x in paired(*means)],
                "gain_at_10": [round(x, 4) for x in paired(*(curve[:, 10] for curve in curves.values()))],
            })  # fmt: skip
    return rows


def _clicks(vectors, folder, kind, tested, truth, ask: bool, random) -> list[float]:
    """Accuracy before the first click and after each."""
    method, x, support, skip, found = learner("anil"), vectors[folder], [], [], []
    support = [int(np.flatnonzero(kind == box)[0]) for box in range(5)]
    for click in range(11):
        own = np.array(support)
        found.append(float((said(method, vectors, folder[own], kind[own], 5, tested) == truth).mean()))
        if ask:
            row = next_question(sort_pictures(method, x, own, kind[own], 5), x, own, skip=skip).row
        else:
            row = int(random.choice(np.setdiff1d(np.arange(len(folder)), support + skip)))
        (support if kind[row] < 5 else skip).append(row)
    return found


# Does the forecast come true?


def forecasts(sets: dict, tasks: int) -> list[dict]:
    """What twice the examples were said to bring, and what they brought on at least 10 other pictures a class.

    2 to 7 boxes of 3 to 9 examples. From hidden examples, and from half of the other pictures as checks.
    """
    rows = []
    for name, (vectors, labels, _) in sets.items():
        for known in (False, True):
            told, came, held, asked = [], [], [], 0
            for seed in range(tasks):
                random = np.random.default_rng(300 + seed)
                way, shot = int(random.integers(2, 8)), int(random.integers(3, 10))
                examples, others = board(labels, random, way, [2 * shot] * way, 100)
                if min(map(len, others)) < 10 or min(map(len, examples)) < 2 * shot:
                    continue
                asked += 1
                method, (rest, truth) = learner(LEARNERS[seed % 3]), joined(others)
                half = random.permutation(len(rest))[: len(rest) // 2] if known else np.zeros(0, int)
                left = np.setdiff1d(np.arange(len(rest)), half)
                (few, own), (many, all_own) = joined([each[:shot] for each in examples]), joined(examples)
                checks = {"checks": rest[half], "truth": truth[half]} if known else {}
                found = forecast(method, vectors, few, own, way, **checks)
                if found is None:
                    continue
                right = [
                    _alike(said(method, vectors, s, y, way, rest[left]) == truth[left], truth[left])
                    for s, y in ((few, own), (many, all_own))
                ]
                told.append(found.gain)
                came.append(right[1] - right[0])
                held.append(found.low <= came[-1] <= found.high)
            row = {"set": name, "from": "checks" if known else "hidden examples", "tasks": asked, "told": len(told)}
            if told:
                error, factor = np.subtract(told, came), np.divide(told, np.maximum(came, 1e-9))
                row |= {"bias": mean(error), "gain": mean(came), "within_5_points": share(np.abs(error) <= 0.05),
                        "within_factor_2": share((factor > 0.5) & (factor < 2)), "range_holds": share(held)}  # fmt: skip
            rows.append(row)
    return rows


# How fast?


def speed(sets: dict, tasks: int) -> list[dict]:
    """Milliseconds of the processor (median of 7) to hide all examples of a board in turn, all at once and one task after another."""
    rows, vectors, labels, copies = [], *sets["tiny_imagenet_fs novel"]
    for way, shot in ((2, 3), (5, 5), (20, 10), (20, 50)):
        examples, _ = board(labels, np.random.default_rng(0), way, [shot] * way)
        support, own = joined(examples)
        for name in LEARNERS:
            method = learner(name)
            folds = _folds_of(method, support, own, way, copies)
            arms = {
                "at_once_ms": partial(hide_trace, method, vectors, support, own, way, copies),
                "one_by_one_ms": partial(_one_by_one, method, vectors[support], own, way, folds),
            }
            row = {"boxes": way, "examples": shot, "learner": name, "folds": len(folds)}
            for arm, work in arms.items():
                times = []
                for _ in range(7):
                    start = time.process_time()
                    list(work())
                    times.append(1000 * (time.process_time() - start))
                row |= {arm: round(float(np.median(times)), 1)}
            rows.append(row)
    return rows


if __name__ == "__main__":
    main()
