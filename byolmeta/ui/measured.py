"""What Measure found, as the page shows it and as files keep it: table, verdict on two lines, confusions, pictures."""

import math
import platform
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr
import numpy as np

import byolmeta
from byolmeta.errors import InputError
from byolmeta.files import HISTOGRAM, PIXELS, UNTRAINED, file_fingerprint, find_encoder
from byolmeta.ui import figures
from byolmeta.ui.html import safe, tile
from byolmeta.ui.thumbs import text as plain

SLOW = ("maml", "finetune")  # adapt the network to every task
SLOW_TASKS = 30  # the most for those
SHOWN = 60  # pictures that fail
CLASSES_SHOWN = 20  # in the figure of confusions


@dataclass(frozen=True)
class Plan:
    """What is asked for, checked."""

    encoders: tuple[tuple[str, str], ...]  # (name on the page, where)
    learners: tuple[str, ...]
    way: int
    shots: tuple[int, ...]
    query: int  # 0: up to 15
    episodes: int
    seed: int


@dataclass
class Line:
    """An encoder with a learner: a line of the table."""

    encoder: str
    where: str
    learner: str
    store: str  # fingerprint of the pictures at the encoder's size
    file: str | None  # fingerprint of the encoder's file; None of a baseline
    about: dict  # settings, practised, transductive, studied, saw_labels
    answers: dict[int, np.ndarray] = field(default_factory=dict)  # by shot: uint16 (tasks, questions)

    @property
    def name(self) -> str:
        return f"{self.encoder} · {self.learner}"


@dataclass
class Results:
    """All that was measured at once, on the same tasks."""

    label: str
    store: object
    sheets: dict
    plan: Plan
    tasks: dict  # by shot
    queries: dict[int, int]  # by shot: questions of each class
    lines: list[Line] = field(default_factory=list)
    seconds: float = 0.0
    ended: bool = False  # nothing more is being measured

    def right(self, line: Line, shot: int) -> np.ndarray:
        """Share of right answers in each task, (n,); fewer tasks than planned where it was stopped, or is slow."""
        answers = line.answers[shot]
        return (answers == self.tasks[shot].query_labels[: len(answers)]).mean(1)

    def measured(self, shot: int) -> list[Line]:
        return [line for line in self.lines if shot in line.answers]

    @property
    def shots(self) -> list[int]:
        return [shot for shot in self.plan.shots if self.measured(shot)]


def shown(results: Results, words: dict[str, str], older: bool = False) -> list:
    """[table, figure]; `older`: the page looks at other pictures by now, and the table says so."""
    if not results.lines:
        return [
            f"<p class='quiet'>{safe(statement(results, words))}</p>",
            gr.update(figure={}, empty=words["measure_soon"]),
        ]
    figure = figures.measured_figure(
        [line.name for line in results.lines],
        {shot: [_figures(results, line, shot) for line in results.lines] for shot in results.shots},
        1 / results.plan.way,
        words,
    )
    return [
        (f"<h3>{safe(words['measure_older'].format(label=results.label))}</h3>" if older else "")
        + table_of(results, words),
        gr.update(figure=figure, empty=words["measure_soon"], height=90 + 44 * len(results.lines)),
    ]


def statement(results: Results, words: dict[str, str]) -> str:
    """On what was measured, how often, and with which rules."""
    plan = results.plan
    queries = sorted(set(results.queries.values()))
    wanted = len(plan.encoders) * len(plan.learners) * len(plan.shots)
    done = sum(len(line.answers) for line in results.lines)
    cut = (
        words["next_sentence"] + words["measure_cut"].format(done=done, of=wanted)
        if results.ended and done < wanted
        else ""
    )
    return words["measure_statement"].format(
        label=results.label, pictures=f"{len(results.store):,}", classes=len(results.store.class_names),
        tasks=f"{plan.episodes:,}", way=plan.way, seed=plan.seed, query=" / ".join(map(str, queries)),
    ) + cut  # fmt: skip


def table_of(results: Results, words: dict[str, str]) -> str:
    """Lines of encoder and learner, columns of shots. Bold: the best, and what is not clearly worse on the same tasks."""
    heads = "".join(f"<th scope='col'>{safe(words['measure_column'].format(shot=shot))}</th>" for shot in results.shots)
    tops = {shot: top_lines(results, shot) for shot in results.shots}
    rows, tags = [], set()
    for line in results.lines:
        marks = [k for k in ("practised", "transductive", "studied", "saw_labels") if line.about[k]]
        tags.update(marks)
        small = "".join(f" <small>{safe(words[f'measure_tag_{k}'])}</small>" for k in marks)
        cells = []
        for shot in results.shots:
            found = _figures(results, line, shot)
            if found is None:
                cells.append("<td></td>")
                continue
            mean, half, n = found
            few = f" <small>{safe(words['measure_few'].format(n=n))}</small>" if n < results.plan.episodes else ""
            said = (
                f"<span>{100 * mean:.1f}</span> <i>± {100 * half:.1f} %</i>"
                if n > 1
                else f"<span>{100 * mean:.1f} %</span>"
            )
            cells.append(f"<td{' class=top' if any(line is t for t in tops[shot]) else ''}>{said}{few}</td>")
        name = f"{safe(line.encoder)} <span class='by'>· {safe(line.learner)}</span>{small}"
        rows.append(f"<tr><th scope='row'>{name}</th>{''.join(cells)}</tr>")
    notes = [words["measure_bold"]] * (len(results.lines) > 1) + [words[f"measure_note_{tag}"] for tag in sorted(tags)]
    if any(line.learner in SLOW for line in results.lines) and results.plan.episodes > SLOW_TASKS:
        notes.append(words["measure_note_slow"].format(n=SLOW_TASKS))
    aloud = f" data-aloud='{results.seconds:.3f}'" if results.ended else ""
    head = f"<p{aloud}>{safe(statement(results, words))}</p>"
    table = (
        f"<div class='wide'><table><thead><tr><th scope='col'>{safe(words['measure_pairing'])}</th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
    return head + table + f"<p class='quiet'>{words['next_sentence'].join(map(safe, notes))}</p>"


def _figures(results: Results, line: Line, shot: int) -> tuple[float, float, int] | None:
    """Accuracy, half its interval, and the number of tasks."""
    from byolmeta.fewshot import mean_and_interval

    if shot not in line.answers:
        return None
    right = results.right(line, shot)
    return *mean_and_interval(right), len(right)


def top_lines(results: Results, shot: int) -> list[Line]:
    """The line with the highest accuracy, and all that are not clearly worse than it in pairs of tasks."""
    lines = results.measured(shot)
    best = max(lines, key=lambda line: results.right(line, shot).mean())
    return [line for line in lines if line is best or not _difference(results, line, best, shot)[2] > 0]


def _difference(results: Results, first: Line, second: Line, shot: int) -> tuple[float, float, float, float, int]:
    """How much higher the second is on the tasks that both were given: mean, half interval, low, high, tasks."""
    from byolmeta.fewshot import paired

    a, b = results.right(first, shot), results.right(second, shot)
    n = min(len(a), len(b))
    gain, half = paired(a[:n], b[:n])
    return gain, half, gain - half, gain + half, n


def verdict_of(results: Results, first: Line, second: Line, shot: int, words: dict[str, str]) -> str:
    """Whether the first is better than the second: clearly only where the interval leaves out 0."""
    back, half, low, high, n = _difference(results, second, first, shot)
    key = "better" if low > 0 else "worse" if high < 0 else "unclear"
    if math.isnan(half):
        return f"<p class='quiet'>{safe(words['measure_one_task'])}</p>"
    best, other = (first, second) if key == "better" else (second, first)
    flattered = [tag for tag in ("saw_labels", "studied") if best.about[tag] and not other.about[tag]]
    but = words[f"measure_but_{flattered[0]}"].format(name=best.encoder) if flattered else ""
    line = words[f"measure_{key}"].format(first=first.name, second=second.name, but=but)
    key = "flattered" if flattered and key == "better" else key
    numbers = words["measure_difference"].format(
        gain=_points(back), low=_points(low), high=_points(high), n=f"{n:,}", shot=shot
    )
    return f"<p class='verdict {key}'><b>{safe(line)}</b></p><p class='quiet'>{safe(numbers)}</p>"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")


def confusion_counts(results: Results, line: Line, shot: int) -> np.ndarray:
    """Questions (classes, classes): true class by answer."""
    count = len(results.store.class_names)
    _, truth, said = _questions(results, line, shot)
    return np.bincount(truth * count + said, minlength=count * count).reshape(count, count)


def _questions(results: Results, line: Line, shot: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, class, and class that was answered, of every question."""
    from byolmeta.fewshot import said_classes

    answers = line.answers[shot].astype(np.int64)
    tasks = results.tasks[shot].part(slice(0, len(answers)))
    rows = tasks.query.ravel()
    return rows, results.store.labels[rows], said_classes(answers, tasks, results.store.labels).ravel()


def shown_classes(counts: np.ndarray) -> list[int]:
    """Those that were asked, in their order; of many, the ones with most wrong answers from or to them."""
    wrong = counts - np.diag(np.diag(counts))
    involved = wrong.sum(0) + wrong.sum(1)
    asked = np.flatnonzero(counts.sum(1))
    order = sorted(asked.tolist(), key=lambda c: -involved[c])[:CLASSES_SHOWN]
    return sorted(order)


def failing(
    results: Results, line: Line, shot: int, truth: int | None, taken: int | None, words: dict[str, str]
) -> str:
    """Tiles of the pictures that fail most, or of those of one class that were taken for another."""
    rows, classes, said = _questions(results, line, shot)
    asked = np.bincount(rows, minlength=len(results.store))
    hits = said == taken if taken is not None else said != classes
    hits &= classes == truth if truth is not None else True
    if truth is None and taken is not None:
        hits &= classes != taken
    wrong = np.bincount(rows[hits], minlength=len(results.store))
    order = sorted(np.flatnonzero(wrong).tolist(), key=lambda row: (-wrong[row] / asked[row], -asked[row], row))
    key = "measure_failed" if truth is taken is None else "measure_found"
    total = words[key].format(n=f"{len(order):,}", of=f"{np.count_nonzero(asked):,}")
    if len(order) > SHOWN:
        total += words["next_sentence"] + words["measure_first_shown"].format(shown=SHOWN)
    if not order:
        return f"<p class='quiet'>{safe(words['measure_none_here'])}</p>"
    most = _mostly(rows[hits], said[hits], len(results.store.class_names)) if taken is None else {}
    tiles = []
    for row in order[:SHOWN]:
        name, other = class_name(results, results.store.labels[row]), class_name(results, most.get(row, taken))
        same = results.store.labels[row] == taken
        path = str(results.store.index.paths[row])
        key = "measure_tile_right" if same else "measure_tile"
        line_2 = words[key].format(wrong=wrong[row], asked=asked[row])
        to = "" if same else f"<i>→ {safe(other)}</i>"
        tiles.append(
            f"<button type='button' data-row='{row}' title='{safe(path)}'>{tile(results.sheets, row, 72)}"
            f"<b>{safe(name)}</b>{to}<span>{safe(line_2)}</span></button>"
        )
    total += words["next_sentence"] + words["measure_press"]
    return f"<p class='quiet'>{safe(total)}</p><div class='fails'>{''.join(tiles)}</div>"


def task_with(results: Results, line: Line, shot: int, row: int, truth: int | None, taken: int | None) -> int | None:
    """The first task in which a picture was taken for `taken`, None: the class it was mostly taken for; None without one."""
    from byolmeta.fewshot import first_failure

    answers = line.answers[shot].astype(np.int64)
    tasks, labels = results.tasks[shot].part(slice(0, len(answers))), results.store.labels
    if truth not in (None, labels[row]):
        return None
    if taken is None:
        rows, classes, said = _questions(results, line, shot)
        wrong = (rows == row) & (said != classes)
        taken = _mostly(rows[wrong], said[wrong], len(results.store.class_names)).get(row)
    return None if taken is None else first_failure(answers, tasks, labels, row, taken)


def reason(results: Results, shot: int, number: int, row: int, found, panels: str, words: dict[str, str]) -> str:
    """Why a picture was answered so in a task: its parts (the picture at the address `panels`), the scores, the examples."""
    task, labels = results.tasks[shot].part(slice(number, number + 1)), results.store.labels
    classes = [int(labels[task.support[0][task.support_labels[0] == c][0]]) for c in range(task.way)]
    names = [class_name(results, c) for c in classes]
    said, against = names[found.said], names[found.against]
    right = classes[found.said] == labels[row]
    lines = [
        words["why_right" if right else "why_wrong"].format(
            said=said, against=against, task=f"{number + 1:,}", shot=shot
        ),
        words["why_parts"].format(said=said, against=against),
        words["why_turned" if found.turned else "why_never"].format(n=found.turned, of=found.covers, against=against),
    ]
    rows = []
    for c in np.argsort(-found.scores, kind="stable").tolist():
        share = 100 * float(found.scores[c])
        shown = task.support[0][task.support_labels[0] == c][:5]
        kind = " class='said'" if c == found.said else " class='against'" if c == found.against else ""
        rows.append(
            f"<tr{kind}><th scope='row'>{safe(names[c])}</th><td>{share:.0f} %<i style='width:{share:.0f}%'></i></td>"
            f"<td>{''.join(tile(results.sheets, int(r), 36) for r in shown)}</td></tr>"
        )
    head = "".join(f"<th scope='col'>{safe(words[key])}</th>" for key in ("why_class", "why_share", "why_examples"))
    alt = safe(words["why_alt"].format(name=plain(str(results.store.index.paths[row]))))
    return (
        f"<h4>{safe(lines[0])}</h4><img alt='{alt}' src='{safe(panels)}'>"
        f"<p>{safe(lines[1])}</p><p class='quiet'>{safe(lines[2])}</p>"
        f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _mostly(rows: np.ndarray, said: np.ndarray, count: int) -> dict[int, int]:
    """{row: the class it was mostly taken for}."""
    keys, times = np.unique(rows * count + said, return_counts=True)
    found: dict[int, tuple[int, int]] = {}
    for key, n in zip(keys.tolist(), times.tolist(), strict=True):
        if n > found.get(key // count, (0, 0))[0]:
            found[key // count] = n, key % count
    return {row: name for row, (_, name) in found.items()}


def class_name(results: Results, number: int) -> str:
    return plain(results.store.class_names[number])


# Files


def csv_text(rows: list[dict]) -> str:
    """A CSV that is safe to open in a spreadsheet."""
    from byolmeta.workplace import write_csv

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        write_csv(path, rows)
        return path.read_bytes().decode("utf-8")


def csv_rows(results: Results) -> list[dict]:
    """One row for each line and shot."""
    plan = results.plan
    return [
        {
            "pictures": results.label, "encoder": line.encoder, "learner": line.learner, "way": plan.way, "shot": shot,
            "query": results.queries[shot], "tasks": n, "seed": plan.seed, "accuracy": round(mean, 6),
            "ci95": round(half, 6) if n > 1 else "", "inductive": not line.about["transductive"],
        }
        | {k: line.about[k] for k in ("transductive", "practised", "studied", "saw_labels")}
        for line in results.lines
        for shot in results.shots
        if (found := _figures(results, line, shot))
        for mean, half, n in [found]
    ]  # fmt: skip


def wrong_rows(results: Results, line: Line, shot: int) -> list[dict]:
    """The pictures that were answered wrongly, as the verb `fewshot` writes them."""
    from byolmeta.fewshot import failures

    answers = line.answers[shot].astype(np.int64)
    tasks, store = results.tasks[shot].part(slice(0, len(answers))), results.store
    return [
        {"path": plain(str(store.index.paths[f["row"]])), "class": class_name(results, store.labels[f["row"]]),
         "taken_for": class_name(results, f["taken_for"]), "asked": f["asked"], "wrong": f["wrong"]}
        for f in failures(answers, tasks, store.labels)
    ]  # fmt: skip


def json_of(results: Results) -> dict:
    """All that another person needs to repeat the measuring or to compare with it."""
    import torch

    plan, found = results.plan, []
    size = sum(len(answers) for line in results.lines for answers in line.answers.values())
    for line in results.lines:
        for shot in results.shots:
            if not (figure := _figures(results, line, shot)):
                continue
            mean, half, n = figure
            one = {"encoder": line.encoder, "learner": line.learner, "shot": shot, "query": results.queries[shot]}
            one |= {
                "episodes": n,
                "accuracy": mean,
                "ci95": half if n > 1 else None,
                "inductive": not line.about["transductive"],
            }
            one |= line.about | {"encoder_file": line.file}
            if size <= 200_000:
                one["accuracy_of_each_episode"] = np.round(results.right(line, shot), 5).tolist()
            found.append(one)
    return {
        "pictures": results.label,
        "images": len(results.store),
        "classes": [class_name(results, c) for c in range(len(results.store.class_names))],
        "episodes": plan.episodes,
        "way": plan.way,
        "shots": list(plan.shots),
        "query": plan.query or max(results.queries.values()),
        "seed": plan.seed,
        "interval": "95 % of the mean over episodes, normal",
        "same_episodes_for_all": all(
            len({len(line.answers.get(shot, ())) for line in results.lines}) == 1 for shot in results.shots
        ),
        "seconds": round(results.seconds, 2),
        "versions": {
            "byolmeta": byolmeta.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "results": found,
    }


def file_of(where: str) -> str | None:
    """The fingerprint of an encoder's file; None for baselines, and where it is gone."""
    if where.split(":")[0] in (PIXELS, HISTOGRAM, UNTRAINED):
        return None
    try:
        return file_fingerprint(find_encoder(where))
    except InputError:
        return None
