"""The step for experts, Measure: any encoders with any learners on the same few-shot tasks, compared in pairs, and the
pictures they fail on."""

import json
import math
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np

import byolmeta
from byolmeta.errors import InputError
from byolmeta.files import HISTOGRAM, PIXELS, UNTRAINED, file_fingerprint, find_encoder, image_size_of
from byolmeta.settings import check_seed
from byolmeta.ui import figures
from byolmeta.ui.chart import Chart
from byolmeta.ui.html import safe, tile
from byolmeta.ui.pictures import status_line, watched
from byolmeta.ui.thumbs import text as plain
from byolmeta.ui.workspace import Session, Workspace

LEARNERS = ("prototype", "ridge", "linear", "anil", "metasgd", "auto", "maml", "finetune")
SLOW = ("maml", "finetune")  # adapt the network to every task
SLOW_TASKS = 30  # the most for those
SHOWN = 60  # pictures that fail
CLASSES_SHOWN = 20  # in the figure of confusions
QUESTIONS = 50_000_000  # whose answers are kept, two bytes each
SAVE = """(text) => {
  if (!text) return;
  const file = JSON.parse(text), link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([file.text], { type: file.type }));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}"""


@dataclass(frozen=True)
class Caps:
    """How much may be asked for."""

    tasks: int = 10_000
    lines: int = 60  # pairs of encoder and learner
    shots: int = 5  # numbers of examples
    pictures: int = 4_000  # in one task
    seconds: float = math.inf
    learners: tuple[str, ...] = LEARNERS


PUBLIC = Caps(200, 4, 2, 1_000, 60, tuple(name for name in LEARNERS if name not in SLOW))


def caps_of(work: Workspace) -> Caps:
    return PUBLIC if work.public else Caps()


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

    def right(self, line: Line, shot: int) -> np.ndarray:
        """Share of right answers in each task, (n,); fewer tasks than planned where it was stopped, or is slow."""
        answers = line.answers[shot]
        return (answers == self.tasks[shot].query_labels[: len(answers)]).mean(1)

    def measured(self, shot: int) -> list[Line]:
        return [line for line in self.lines if shot in line.answers]

    @property
    def shots(self) -> list[int]:
        return [shot for shot in self.plan.shots if self.measured(shot)]


kept: dict[str, Results] = {}  # by visitor
latest: dict[str, int] = {}  # the newest measuring of each visitor; older ones see it and end


def forget(name: str) -> None:
    """Deletes what a visitor measured."""
    latest[name] = latest.get(name, 0) + 1
    kept.pop(name, None)


# The step on the page


def layout(work: Workspace, words: dict[str, str]) -> SimpleNamespace:
    """Lays the step out: what to measure, then the table and its figure, then a closer look."""
    caps = caps_of(work)
    gr.HTML(f"<p class='line'>{safe(words['measure_line'])}</p>", padding=False)
    with gr.Row(elem_id="measure"):
        with gr.Column(scale=2, min_width=300, elem_id="measure-form"):
            encoders = gr.Dropdown([], multiselect=True, label=words["measure_encoders"], elem_id="measure-encoders")
            learners = gr.CheckboxGroup(
                [(words["measure_slow"].format(name=n) if n in SLOW else n, n) for n in caps.learners],
                value=["prototype", "anil"],
                label=words["measure_learners"],
                info=None if work.public else words["measure_slow_note"].format(n=SLOW_TASKS),
                elem_id="measure-learners",
            )
            with gr.Row(elem_id="measure-numbers"):
                size = {"min_width": 120, "precision": 0}
                way = gr.Number(5, label=words["measure_way"], elem_id="measure-way", **size)
                shots = gr.Textbox("1, 5", label=words["measure_shots"], max_lines=1, min_width=120, elem_id="measure-shots")
                episodes = gr.Number(min(600, caps.tasks), label=words["measure_tasks"], elem_id="measure-tasks", **size)
                query = gr.Number(0, label=words["measure_query"], elem_id="measure-query", **size)
                seed = gr.Number(0, label=words["measure_seed"], elem_id="measure-seed", **size)
            with gr.Row():
                start = gr.Button(words["measure_start"], variant="primary", elem_id="measure-start", min_width=140)
                stop = gr.Button(words["measure_stop"], visible="hidden", elem_id="measure-stop", min_width=100, scale=0)
            status = gr.HTML(visible="hidden", elem_id="measure-status", padding=False)
        with gr.Column(scale=5, min_width=320, elem_id="measured"):
            table = gr.HTML(f"<p class='quiet'>{safe(words['measure_empty'])}</p>", elem_id="measure-table", padding=False)
            figure = Chart(label=words["measure_figure"], empty=words["measure_empty"], height=200, elem_id="measure-figure")
            with gr.Row(elem_id="measure-save"):
                small = {"size": "sm", "min_width": 130, "scale": 0}
                save_csv = gr.Button(words["measure_csv"], elem_id="measure-csv", **small)
                save_json = gr.Button(words["measure_json"], elem_id="measure-json", **small)
    with gr.Column(elem_id="measure-closer"):
        shot = gr.Radio([], label=words["measure_shot"], elem_id="measure-shot")
        gr.HTML(f"<h3>{safe(words['measure_compare'])}</h3>", padding=False)
        with gr.Row(elem_id="measure-pair"):
            first = gr.Dropdown([], label=words["measure_first"], elem_id="measure-first", min_width=260)
            second = gr.Dropdown([], label=words["measure_second"], elem_id="measure-second", min_width=260)
        verdict = gr.HTML(elem_id="measure-verdict", padding=False)
        gr.HTML(f"<h3>{safe(words['measure_wrong'])}</h3>", padding=False)
        chosen = gr.Dropdown([], label=words["measure_of"], elem_id="measure-of")
        with gr.Row(elem_id="measure-failures"):
            with gr.Column(scale=1, min_width=320):
                gr.HTML(f"<p class='quiet'>{safe(words['measure_confusion_line'])}</p>", padding=False)
                confusion = Chart(
                    label=words["measure_confusion"], empty=words["measure_none_wrong"], height=430, elem_id="measure-confusion"
                )
            with gr.Column(scale=1, min_width=320):
                with gr.Row(elem_id="measure-cell"):
                    truth = gr.Dropdown([], label=words["measure_truth"], elem_id="measure-truth", min_width=140)
                    taken = gr.Dropdown([], label=words["measure_taken"], elem_id="measure-taken", min_width=140)
                pictures = gr.HTML(elem_id="measure-pictures", padding=False)
                save_wrong = gr.Button(words["measure_wrong_csv"], elem_id="measure-wrong-csv", size="sm", scale=0)
    with gr.Accordion(words["details"], open=False, elem_id="measure-details"):
        gr.Markdown(words["measure_glossary"])
    file = gr.Textbox(visible="hidden")
    return SimpleNamespace(
        form=[encoders, learners, way, shots, query, episodes, seed], encoders=encoders, way=way, start=start, stop=stop,
        status=status, figure=figure, running=[status, start, stop, table, figure], shot=shot, pair=[first, second],
        verdict=verdict, chosen=chosen, confusion=confusion, cell=[truth, taken], pictures=pictures, file=file,
        saves={"csv": save_csv, "json": save_json, "wrong": save_wrong}, known=gr.State(""),
    )  # fmt: skip


def connect(work: Workspace, words: dict[str, str], parts: SimpleNamespace, tab, who, sentences) -> None:
    """Connects the step; `sentences` shows what goes wrong."""
    quiet = {"show_progress": "hidden", "api_visibility": "private"}

    def of(function):
        """A function of (results, ...) as one of (what the page sent, ..., who)."""

        def called(*values):
            return function(work, words, work.session(values[-1]), *values[:-1])

        return sentences(called)

    pair, wrong = [*parts.pair, parts.shot, who], [parts.chosen, parts.shot, who]
    closer = [parts.shot, *parts.pair, parts.chosen]
    fails = [parts.confusion, *parts.cell, parts.pictures]
    tab.select(of(opened), [parts.known, who], [parts.known, parts.encoders, parts.way, parts.start, parts.status], **quiet).then(
        of(again), who, parts.running[3:], **quiet
    ).then(of(choices), who, closer, **quiet)  # fmt: skip
    begun = parts.start.click(
        of(run), [*parts.form, who], parts.running, **quiet, concurrency_limit=2, concurrency_id="measure"
    )
    begun.then(of(choices), who, closer, **quiet)
    parts.stop.click(of(halt), who, None, **quiet)
    parts.figure.ready(of(again), who, parts.running[3:], **quiet)
    for part in (parts.shot, *parts.pair):
        part.change(of(compare), pair, parts.verdict, **quiet)
    for part in (parts.shot, parts.chosen):
        part.change(of(wrongly), wrong, fails, **quiet)
    parts.confusion.ready(of(wrongly), wrong, fails, **quiet)
    for part in parts.cell:
        part.input(of(cell), [*parts.cell, *wrong], parts.pictures, **quiet)

    def picked(event: gr.EventData, chosen, shot, who: str):
        return picked_cell(work, words, work.session(who), event.x, event.y, chosen, shot)

    parts.confusion.pick(sentences(picked), wrong, [*parts.cell, parts.pictures], **quiet)
    for kind, button in parts.saves.items():
        button.click(
            sentences(lambda chosen, shot, who, k=kind: saved(work, words, work.session(who), k, chosen, shot)),
            wrong,
            parts.file,
            **quiet,
        ).then(None, parts.file, None, js=SAVE, **quiet)


def opened(work: Workspace, words: dict[str, str], session: Session, known: str) -> list:
    """What the form offers, each time the step is opened: [known, encoders, way, start, status].

    `known`: the pictures that it was last filled for; for others it begins anew.
    """
    found = work.pictures(session)
    names = found.store.class_names
    offered = encoders_of(work, words, session)
    new = known != found.store.fingerprint
    first = [work.encoder(session), work.untrained(session)] + [PIXELS] * (not work.public)
    values = {"value": list(dict.fromkeys(first))} if new else {}
    way = gr.update(value=max(2, min(5, len(names)))) if new else gr.skip()
    able = len(names) > 1
    status = gr.skip() if able else gr.update(value=_alert(words["measure_no_classes"]), visible=True)
    if able and new:
        status = gr.update(value="", visible="hidden")
    return [
        found.store.fingerprint,
        gr.update(choices=[(name, where) for name, where in offered], **values),
        way,
        gr.update(interactive=able),
        status,
    ]


def encoders_of(work: Workspace, words: dict[str, str], session: Session) -> list[tuple[str, str]]:
    """(name, where) of all that a visitor can measure: encoders, then the baselines."""
    untrained = work.untrained(session)
    shape = Path(untrained.partition(":")[2]).name
    name = words["measure_untrained"].format(name=shape) if shape else words["untrained_name"]
    baselines = [(name, untrained), (words["measure_pixels"], PIXELS), (words["measure_histogram"], HISTOGRAM)]
    return [*work.encoders(session), *baselines]


def plan_of(work: Workspace, words: dict[str, str], session: Session, encoders, learners, way, shots, query, episodes, seed) -> Plan:
    """The form as a plan. Raises InputError for what cannot be measured."""
    caps = caps_of(work)
    offered = {where: name for name, where in encoders_of(work, words, session)}
    encoders = list(dict.fromkeys(encoders if isinstance(encoders, (list, tuple)) else []))
    learners = list(dict.fromkeys(learners if isinstance(learners, (list, tuple)) else []))
    if not encoders or not learners:
        raise InputError(words["measure_nothing"])
    if any(where not in offered for where in encoders):
        raise InputError(words["measure_gone"])
    if wrong := [name for name in learners if name not in caps.learners]:
        here = words["measure_not_here"] if wrong[0] in LEARNERS else words["measure_no_learner"]
        raise InputError(here.format(name=str(wrong[0])[:40], names=", ".join(caps.learners)))
    if len(encoders) * len(learners) > caps.lines:
        raise InputError(words["measure_lines"].format(n=len(encoders) * len(learners), most=caps.lines))
    shots = shots_of(shots, words, caps)
    way = _whole(way, 2, 1_000, words["measure_way"], words)
    query = _whole(query, 0, 1_000, words["measure_query"], words)
    episodes = _whole(episodes, 2, caps.tasks, words["measure_tasks"], words)
    seed = _whole(seed, 0, 2**32 - 1, words["measure_seed"], words)
    check_seed(seed)
    if way * (max(shots) + (query or 15)) > caps.pictures:
        raise InputError(words["measure_big"].format(n=f"{way * (max(shots) + (query or 15)):,}", most=f"{caps.pictures:,}"))
    if (asked := episodes * way * (query or 15) * len(shots) * len(encoders) * len(learners)) > QUESTIONS:
        raise InputError(words["measure_many"].format(n=f"{asked:,}", most=f"{QUESTIONS:,}"))
    ordered = tuple(name for name in caps.learners if name in learners)
    return Plan(tuple((offered[w], w) for w in encoders), ordered, way, shots, query, episodes, seed)


def shots_of(text, words: dict[str, str], caps: Caps) -> tuple[int, ...]:
    """The numbers in a text such as '1, 5', in order."""
    parts = [part for part in re.split(r"[\s,;]+", str(text if text is not None else "").strip()) if part]
    if not parts or not all(re.fullmatch(r"[0-9]{1,4}", part) and int(part) for part in parts):
        raise InputError(words["measure_shots_wrong"].format(text=str(text)[:40]))
    found = tuple(sorted({int(part) for part in parts}))
    if len(found) > caps.shots:
        raise InputError(words["measure_shots_many"].format(n=len(found), most=caps.shots))
    return found


def _whole(value, low: int, high: int, name: str, words: dict[str, str]) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or not low <= value <= high or value % 1:
        raise InputError(words["measure_number"].format(name=name, value=value, low=f"{low:,}", high=f"{high:,}"))
    return int(value)


# Measuring


def run(work: Workspace, words: dict[str, str], session: Session, *form) -> Iterator[list]:
    """Yields [status, start, stop, table, figure] while it measures; a newer call for the visitor, or `halt`, ends it."""
    number = latest[session.name] = latest.get(session.name, 0) + 1
    after = [gr.update(interactive=True), gr.update(visible="hidden")]
    nothing = [gr.skip()] * 2
    try:
        plan = plan_of(work, words, session, *form)
        yield [status_line(words["measure_drawing"], 0), gr.update(interactive=False), gr.update(visible=True), *nothing]
        results = prepare(work, words, session, plan)
        kept[session.name] = results
        yield [gr.skip()] * 3 + shown(results, words)
        said = yield from _measure(work, words, session, results, number)
        said = said and gr.update(value=f"<p class='quiet'>{safe(said)}</p>", visible=True)
        if latest.get(session.name) == number or said:
            yield [said or gr.update(value="", visible="hidden"), *after, *shown(results, words)]
    except InputError as problem:
        yield [gr.update(value=_alert(str(problem)), visible=True), *after, *nothing]
    except Exception:
        yield [gr.update(value="", visible="hidden"), *after, *nothing]
        raise


def halt(work: Workspace, words: dict[str, str], session: Session) -> None:
    """Ends the measuring after the tasks that are under way; what was measured stays."""
    latest[session.name] = latest.get(session.name, 0) + 1


def prepare(work: Workspace, words: dict[str, str], session: Session, plan: Plan) -> Results:
    """Draws the tasks. Raises InputError where the class folders do not suffice."""
    from byolmeta.copies import copies_group_ids
    from byolmeta.measure import draw_tasks

    store = store_for(work, session, plan.encoders[0][1])
    if len(store.class_names) < 2:
        raise InputError(words["measure_no_classes"])
    found, copies = work.pictures(session), copies_group_ids(store)
    _same_pictures(found.store, store, words)
    label = plain(session.label or words["sample_creatures"])
    results = Results(label, store, found.sheets, plan, {}, {})
    for shot in plan.shots:
        results.tasks[shot], results.queries[shot] = draw_tasks(
            store, plan.way, shot, plan.query, plan.episodes, plan.seed, copies
        )
    return results


def store_for(work: Workspace, session: Session, where: str):
    """A session's pictures, decoded at the size of an encoder."""
    from byolmeta.images import open_store

    source, size = work.source(session), image_size_of(where)
    with work.alone("pictures", str(source), size):
        return open_store(source, work.home / "stores", size, limits=work.limits)


def _same_pictures(first, second, words: dict[str, str]) -> None:
    if first.index.paths != second.index.paths or not np.array_equal(first.labels, second.labels):
        raise InputError(words["measure_changed"])


def _measure(work: Workspace, words: dict[str, str], session: Session, results: Results, number: int):
    """Fills the results, line by line. Yields as `run` does; returns what is to be said at the end."""
    import torch

    from byolmeta.features import threads
    from byolmeta.fewshot import CHUNK
    from byolmeta.measure import candidate

    plan, began, limit = results.plan, time.monotonic(), caps_of(work).seconds
    total, done, drawn = len(plan.encoders) * len(plan.learners) * len(plan.shots), 0, 0.0
    still = [gr.skip()] * 4
    for name, where in plan.encoders:
        store = store_for(work, session, where)
        _same_pictures(results.store, store, words)
        for learner in plan.learners:
            slow = learner in SLOW
            making = watched(
                lambda progress, w=where, n=learner, s=store: candidate(w, n, s, work.home, progress), words["looking_at"]
            )
            while True:
                try:
                    update = next(making)
                except StopIteration as made:
                    one = made.value
                    break
                if latest.get(session.name) != number:
                    return words["measure_stopped"]
                if update.get("visible") is True:
                    yield [update, *still]
            torch.set_num_threads(threads() if slow else 1)  # the tensors of a chunk are small
            about = {"settings": _settings(one.learner)}
            about |= {k: getattr(one, k) for k in ("practised", "transductive", "studied", "saw_labels")}
            line = Line(plain(name), where, learner, about)
            for shot in plan.shots:
                tasks, size = results.tasks[shot], 1 if slow else CHUNK
                count, parts, ended = min(plan.episodes, SLOW_TASKS) if slow else plan.episodes, [], ""
                for start in range(0, count, size):
                    parts.append(one.answers(tasks.part(slice(start, min(start + size, count)))).astype(np.uint16))
                    results.seconds = time.monotonic() - began
                    if latest.get(session.name) != number:
                        ended = words["measure_stopped"]
                    elif results.seconds > limit:
                        ended = words["measure_time"].format(seconds=round(limit))
                    if ended:
                        break
                    if time.monotonic() - drawn > 0.15:
                        drawn = time.monotonic()
                        share = (done + (start + size) / count) / total
                        now = words["measure_running"].format(
                            line=line.name, shot=shot, done=f"{min(start + size, count):,}", of=f"{count:,}"
                        )
                        yield [status_line(now, min(1.0, share)), *still]
                line.answers[shot] = np.concatenate(parts)
                if line not in results.lines:
                    results.lines.append(line)
                done += 1
                if ended:
                    return ended
                yield [gr.skip()] * 3 + shown(results, words)
    return ""


def _settings(learner) -> dict:
    """A learner's settings as JSON takes them."""
    from dataclasses import asdict

    return json.loads(json.dumps(asdict(learner), default=str))


# What is shown


def again(work: Workspace, words: dict[str, str], session: Session) -> list:
    """[table, figure] of what was measured last."""
    results = kept.get(session.name)
    return shown(results, words) if results else [gr.skip(), gr.skip()]


def shown(results: Results, words: dict[str, str]) -> list:
    """[table, figure]."""
    if not results.lines:
        return [f"<p class='quiet'>{safe(statement(results, words))}</p>", gr.update(figure={})]
    figure = figures.measured_figure(
        [line.name for line in results.lines],
        {shot: [_figures(results, line, shot) for line in results.lines] for shot in results.shots},
        1 / results.plan.way,
        words,
    )
    return [table_of(results, words), gr.update(figure=figure, height=90 + 44 * len(results.lines))]


def _figures(results: Results, line: Line, shot: int) -> tuple[float, float, int] | None:
    """Accuracy, half its interval, and the number of tasks."""
    from byolmeta.fewshot import mean_and_interval

    if shot not in line.answers:
        return None
    right = results.right(line, shot)
    return *mean_and_interval(right), len(right)


def statement(results: Results, words: dict[str, str]) -> str:
    """On what was measured, how often, and with which rules."""
    plan = results.plan
    queries = sorted(set(results.queries.values()))
    return words["measure_statement"].format(
        label=results.label, pictures=f"{len(results.store):,}", classes=len(results.store.class_names),
        tasks=f"{plan.episodes:,}", way=plan.way, seed=plan.seed, query=" / ".join(map(str, queries)),
    )  # fmt: skip


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
            said = f"<span>{100 * mean:.1f}</span> <i>± {100 * half:.1f} %</i>" if n > 1 else f"<span>{100 * mean:.1f} %</span>"
            cells.append(f"<td{' class=top' if any(line is t for t in tops[shot]) else ''}>{said}{few}</td>")
        name = f"{safe(line.encoder)} <span class='by'>· {safe(line.learner)}</span>{small}"
        rows.append(f"<tr><th scope='row'>{name}</th>{''.join(cells)}</tr>")
    notes = [words["measure_bold"]] * (len(results.lines) > 1) + [words[f"measure_note_{tag}"] for tag in sorted(tags)]
    if any(line.learner in SLOW for line in results.lines) and results.plan.episodes > SLOW_TASKS:
        notes.append(words["measure_note_slow"].format(n=SLOW_TASKS))
    head = f"<p>{safe(statement(results, words))}</p>"
    table = (
        f"<div class='wide'><table><thead><tr><th scope='col'>{safe(words['measure_pairing'])}</th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
    return head + table + f"<p class='quiet'>{' '.join(map(safe, notes))}</p>"


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


def choices(work: Workspace, words: dict[str, str], session: Session) -> list:
    """[shot, first, second, chosen] of what was measured last."""
    results = kept.get(session.name)
    if not results or not results.lines:
        return [gr.update(choices=[], value=None)] * 4
    lines = [(line.name, str(number)) for number, line in enumerate(results.lines)]
    shots = [(words["measure_column"].format(shot=shot), str(shot)) for shot in results.shots]
    other = lines[min(1, len(lines) - 1)][1]
    return [
        gr.update(choices=shots, value=shots[0][1], visible=True if len(shots) > 1 else "hidden"),
        gr.update(choices=lines, value="0"),
        gr.update(choices=lines, value=other),
        gr.update(choices=lines, value="0"),
    ]


def _line(results: Results | None, value, shot, words: dict[str, str]) -> tuple[Line, int]:
    """The line and the shot that the page means. Raises InputError where they are not there."""
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else -1
    wanted = int(shot) if isinstance(shot, str) and shot.isascii() and shot.isdigit() else -1
    if not results or not 0 <= number < len(results.lines) or wanted not in results.lines[number].answers:
        raise InputError(words["measure_not_measured"])
    return results.lines[number], wanted


def compare(work: Workspace, words: dict[str, str], session: Session, first, second, shot) -> str:
    """The paired verdict on two lines, as HTML; nothing before there are two."""
    results = kept.get(session.name)
    if not results or first is None or second is None or shot is None:
        return ""
    if len(results.lines) < 2:
        return f"<p class='quiet'>{safe(words['measure_one_line'])}</p>"
    if first == second:
        return f"<p class='quiet'>{safe(words['measure_same_line'])}</p>"
    (a, number), (b, _) = _line(results, first, shot, words), _line(results, second, shot, words)
    return verdict_of(results, a, b, number, words)


def verdict_of(results: Results, first: Line, second: Line, shot: int, words: dict[str, str]) -> str:
    """Whether the first is better than the second: clearly only where the interval leaves out 0."""
    back, half, low, high, n = _difference(results, second, first, shot)
    key = "better" if low > 0 else "worse" if high < 0 else "unclear"
    if math.isnan(half):
        return f"<p class='quiet'>{safe(words['measure_one_task'])}</p>"
    line = words[f"measure_{key}"].format(first=first.name, second=second.name)
    numbers = words["measure_difference"].format(
        gain=f"{100 * back:+.1f}", low=f"{100 * low:+.1f}", high=f"{100 * high:+.1f}", n=f"{n:,}", shot=shot
    )
    return f"<p class='verdict {key}'><b>{safe(line)}</b></p><p class='quiet'>{safe(numbers)}</p>"


def wrongly(work: Workspace, words: dict[str, str], session: Session, chosen, shot) -> list:
    """[figure of confusions, belongs to, taken for, pictures] of one line."""
    results = kept.get(session.name)
    if not results or chosen is None or shot is None:
        return [gr.update(figure={}), gr.update(choices=[], value=None), gr.update(choices=[], value=None), ""]
    line, shot = _line(results, chosen, shot, words)
    counts = confusion_counts(results, line, shot)
    classes = shown_classes(counts)
    names = [_class(results, c) for c in classes]
    figure = figures.confusions_figure(counts[np.ix_(classes, classes)], counts.sum(1)[classes], names, words)
    any_class = [(words["measure_any"], "any")]
    every = any_class + [(_class(results, c), str(c)) for c in np.flatnonzero(counts.sum(1)).tolist()]
    select = gr.update(choices=every, value="any")
    return [gr.update(figure=figure), select, select, failing(results, line, shot, None, None, words)]


def cell(work: Workspace, words: dict[str, str], session: Session, truth, taken, chosen, shot) -> str:
    """The pictures of one cell."""
    results = kept.get(session.name)
    line, shot = _line(results, chosen, shot, words)
    ids = [None if value in (None, "any") else value for value in (truth, taken)]
    for value in ids:
        if value is not None and not (
            isinstance(value, str) and value.isascii() and value.isdigit() and int(value) < len(results.store.class_names)
        ):
            raise InputError(words["measure_not_measured"])
    return failing(results, line, shot, *(value if value is None else int(value) for value in ids), words)


def picked_cell(work: Workspace, words: dict[str, str], session: Session, x, y, chosen, shot) -> list:
    """[belongs to, taken for, pictures] after a press on a cell, counted in the classes shown."""
    results = kept.get(session.name)
    line, number = _line(results, chosen, shot, words)
    classes = shown_classes(confusion_counts(results, line, number))
    if not all(type(place) is int and 0 <= place < len(classes) for place in (x, y)):
        raise InputError(words["measure_not_measured"])
    truth, taken = str(classes[y]), str(classes[x])
    return [gr.update(value=truth), gr.update(value=taken), cell(work, words, session, truth, taken, chosen, shot)]


def _questions(results: Results, line: Line, shot: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, class, and class that was answered, of every question."""
    from byolmeta.fewshot import said_classes

    answers = line.answers[shot].astype(np.int64)
    tasks = results.tasks[shot].part(slice(0, len(answers)))
    rows = tasks.query.ravel()
    return rows, results.store.labels[rows], said_classes(answers, tasks, results.store.labels).ravel()


def confusion_counts(results: Results, line: Line, shot: int) -> np.ndarray:
    """Questions (classes, classes): true class by answer."""
    count = len(results.store.class_names)
    _, truth, said = _questions(results, line, shot)
    return np.bincount(truth * count + said, minlength=count * count).reshape(count, count)


def shown_classes(counts: np.ndarray) -> list[int]:
    """Those that were asked, in their order; of many, the ones with most wrong answers from or to them."""
    wrong = counts - np.diag(np.diag(counts))
    involved = wrong.sum(0) + wrong.sum(1)
    asked = np.flatnonzero(counts.sum(1))
    order = sorted(asked.tolist(), key=lambda c: -involved[c])[:CLASSES_SHOWN]
    return sorted(order)


def failing(results: Results, line: Line, shot: int, truth: int | None, taken: int | None, words: dict[str, str]) -> str:
    """Tiles of the pictures that fail most, or of those of one class that were taken for another."""
    rows, classes, said = _questions(results, line, shot)
    asked = np.bincount(rows, minlength=len(results.store))
    hits = said == taken if taken is not None else said != classes
    hits &= classes == truth if truth is not None else True
    if truth is None and taken is not None:
        hits &= classes != taken
    wrong = np.bincount(rows[hits], minlength=len(results.store))
    order = sorted(np.flatnonzero(wrong).tolist(), key=lambda row: (-wrong[row] / asked[row], -asked[row], row))
    total = words["measure_found"].format(
        n=f"{len(order):,}", of=f"{np.count_nonzero(asked):,}", shown=f"{min(SHOWN, len(order)):,}"
    )
    if not order:
        return f"<p class='quiet'>{safe(words['measure_none_here'])}</p>"
    most = _mostly(rows[hits], said[hits], len(results.store.class_names)) if taken is None else {}
    tiles = []
    for row in order[:SHOWN]:
        name, other = _class(results, results.store.labels[row]), _class(results, most.get(row, taken))
        same = results.store.labels[row] == taken
        path = str(results.store.index.paths[row])
        key = "measure_tile_right" if same else "measure_tile"
        line_2 = words[key].format(wrong=wrong[row], asked=asked[row])
        to = "" if same else f"<i>→ {safe(other)}</i>"
        tiles.append(
            f"<figure title='{safe(path)}'>{tile(results.sheets, row, 72)}"
            f"<figcaption><b>{safe(name)}</b>{to}<span>{safe(line_2)}</span></figcaption></figure>"
        )
    return f"<p class='quiet'>{safe(total)}</p><div class='fails' tabindex='0'>{''.join(tiles)}</div>"


def _mostly(rows: np.ndarray, said: np.ndarray, count: int) -> dict[int, int]:
    """{row: the class it was mostly taken for}."""
    keys, times = np.unique(rows * count + said, return_counts=True)
    found: dict[int, tuple[int, int]] = {}
    for key, n in zip(keys.tolist(), times.tolist(), strict=True):
        if n > found.get(key // count, (0, 0))[0]:
            found[key // count] = n, key % count
    return {row: name for row, (_, name) in found.items()}


def _class(results: Results, number: int) -> str:
    return plain(results.store.class_names[number])


def _alert(sentence: str) -> str:
    return f"<p role='alert'>{safe(sentence)}</p>"


# Files


def saved(work: Workspace, words: dict[str, str], session: Session, kind: str, chosen, shot) -> str:
    """A file for the browser to keep, as JSON of its name, type and text: nothing is left on the server."""
    results = kept.get(session.name)
    if not results or not results.lines:
        raise InputError(words["measure_not_measured"])
    if kind == "json":
        text = json.dumps(json_of(results, work.public), indent=1, ensure_ascii=False)
        return json.dumps({"name": "byolmeta-fewshot.json", "type": "application/json", "text": text})
    if kind == "csv":
        name, rows = "byolmeta-fewshot.csv", csv_rows(results)
    else:
        line, number = _line(results, chosen, shot, words)
        name, rows = "byolmeta-wrong.csv", wrong_rows(results, line, number)
    return json.dumps({"name": name, "type": "text/csv", "text": csv_text(rows)})


def csv_text(rows: list[dict]) -> str:
    """A CSV that is safe to open in a spreadsheet."""
    from byolmeta.commands import write_csv

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
        {"path": plain(str(store.index.paths[f["row"]])), "class": _class(results, store.labels[f["row"]]),
         "taken_for": _class(results, f["taken_for"]), "asked": f["asked"], "wrong": f["wrong"]}
        for f in failures(answers, tasks, store.labels)
    ]  # fmt: skip


def json_of(results: Results, public: bool = False) -> dict:
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
            one |= {"episodes": n, "accuracy": mean, "ci95": half if n > 1 else None, "inductive": not line.about["transductive"]}
            one |= line.about | {"encoder_file": _file_of(line.where)}
            if size <= 200_000:
                one["accuracy_of_each_episode"] = np.round(results.right(line, shot), 5).tolist()
            found.append(one)
    return {
        "pictures": results.label,
        "images": len(results.store),
        "classes": [_class(results, c) for c in range(len(results.store.class_names))],
        "episodes": plan.episodes,
        "way": plan.way,
        "shots": list(plan.shots),
        "query": plan.query or max(results.queries.values()),
        "seed": plan.seed,
        "interval": "95 % of the mean over episodes, normal",
        "same_episodes_for_all": True,
        "seconds": round(results.seconds, 2),
        "versions": {
            "byolmeta": byolmeta.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "results": found,
    }


def _file_of(where: str) -> str | None:
    """The fingerprint of an encoder's file; None for baselines, and where it is gone."""
    if where.split(":")[0] in (PIXELS, HISTOGRAM, UNTRAINED):
        return None
    try:
        return file_fingerprint(find_encoder(where))
    except InputError:
        return None
