"""The step for experts, Measure: any encoders with any learners on the same few-shot tasks, compared in pairs, and the
pictures they fail on."""

import json
from types import SimpleNamespace

import gradio as gr
import numpy as np

from byolmeta.errors import InputError
from byolmeta.files import PIXELS
from byolmeta.ui import figures, thumbs
from byolmeta.ui.chart import Chart
from byolmeta.ui.html import safe
from byolmeta.ui.map import sent
from byolmeta.ui.measured import (
    SLOW,
    SLOW_TASKS,
    Line,
    Results,
    class_name,
    confusion_counts,
    csv_rows,
    csv_text,
    failing,
    file_of,
    json_of,
    reason,
    shown,
    shown_classes,
    task_with,
    verdict_of,
    wrong_rows,
)
from byolmeta.ui.measuring import alert, caps_of, encoders_of, halt, kept, retold, run, same_pictures, store_for
from byolmeta.ui.workspace import Session, Workspace

PRESS = """element.addEventListener("click", (event) => {
  const picture = event.target.closest("[data-row]");
  if (!picture) return;
  for (const other of element.querySelectorAll("[aria-pressed]")) other.removeAttribute("aria-pressed");
  picture.setAttribute("aria-pressed", "true");
  const why = document.querySelector("#measure-why");
  const come = new MutationObserver(() => {
    if (!why.querySelector("img")) return;
    come.disconnect();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    why.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "nearest" });
  });
  come.observe(why, { childList: true, subtree: true });
  setTimeout(() => come.disconnect(), 20000);
  trigger("click", { row: Number(picture.dataset.row) });
});"""
SAVE = """(text) => {
  if (!text) return;
  const file = JSON.parse(text), link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([file.text], { type: file.type }));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}"""


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
                shots = gr.Textbox(
                    "1, 5", label=words["measure_shots"], max_lines=1, min_width=120, elem_id="measure-shots"
                )
                episodes = gr.Number(
                    min(600, caps.tasks), label=words["measure_tasks"], elem_id="measure-tasks", **size
                )
                query = gr.Number(0, label=words["measure_query"], elem_id="measure-query", **size)
                seed = gr.Number(0, label=words["measure_seed"], elem_id="measure-seed", **size)
            with gr.Row():
                start = gr.Button(words["measure_start"], variant="primary", elem_id="measure-start", min_width=140)
                stop = gr.Button(
                    words["measure_stop"], visible="hidden", elem_id="measure-stop", min_width=100, scale=0
                )
        with gr.Column(scale=5, min_width=320, elem_id="measured"):
            status = gr.HTML(visible="hidden", elem_id="measure-status", padding=False)
            table = gr.HTML(elem_id="measure-table", padding=False)
            figure = Chart(
                words=words.get("of_chart"),
                label=words["measure_figure"],
                empty=words["measure_empty"],
                height=200,
                elem_id="measure-figure",
            )
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
                    words=words.get("of_chart"),
                    label=words["measure_confusion"],
                    empty=words["measure_none_wrong"],
                    height=430,
                    elem_id="measure-confusion",
                )
            with gr.Column(scale=1, min_width=320):
                with gr.Row(elem_id="measure-cell"):
                    truth = gr.Dropdown([], label=words["measure_truth"], elem_id="measure-truth", min_width=140)
                    taken = gr.Dropdown([], label=words["measure_taken"], elem_id="measure-taken", min_width=140)
                pictures = gr.HTML(elem_id="measure-pictures", padding=False, js_on_load=PRESS)
                save_wrong = gr.Button(words["measure_wrong_csv"], elem_id="measure-wrong-csv", size="sm", scale=0)
                why = gr.HTML(elem_id="measure-why", padding=False)
    with gr.Accordion(words["details"], open=False, elem_id="measure-details"):
        gr.Markdown(words["measure_glossary"])
    file = gr.Textbox(visible="hidden")
    return SimpleNamespace(
        form=[encoders, learners, way, shots, query, episodes, seed], encoders=encoders, way=way, start=start, stop=stop,
        status=status, figure=figure, running=[status, start, stop, table, figure], shot=shot, pair=[first, second],
        verdict=verdict, chosen=chosen, confusion=confusion, cell=[truth, taken], pictures=pictures, why=why, file=file,
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
    fails = [parts.confusion, *parts.cell, parts.pictures, parts.why]

    def refresh(event):
        """What is chosen, then what it shows: one after the other, as a choice is checked against those on offer."""
        shown = event.then(of(choices), who, closer, **quiet)
        shown.then(of(compare), pair, parts.verdict, **quiet).then(of(wrongly), wrong, fails, **quiet)

    form = [parts.known, parts.encoders, parts.way, parts.start, parts.status]
    begun = tab.select(of(opened), [parts.known, who], form, **quiet)
    refresh(begun.then(of(again), who, parts.running[3:], **quiet))
    started = parts.start.click(
        of(run), [*parts.form, who], parts.running, **quiet, concurrency_limit=2, concurrency_id="measure"
    )
    refresh(started)
    parts.stop.click(of(halt), who, None, **quiet)
    parts.figure.ready(of(again), who, parts.running[3:], **quiet)
    for part in (parts.shot, *parts.pair):
        part.input(of(compare), pair, parts.verdict, **quiet)
    for part in (parts.shot, parts.chosen):
        part.input(of(wrongly), wrong, fails, **quiet)
    parts.confusion.ready(of(wrongly), wrong, fails, **quiet)
    for part in parts.cell:
        part.input(of(cell), [*parts.cell, *wrong], [parts.pictures, parts.why], **quiet)

    def picked(event: gr.EventData, chosen, shot, who: str):
        return picked_cell(work, words, work.session(who), sent(event, "x"), sent(event, "y"), chosen, shot)

    def pressed(event: gr.EventData, truth, taken, chosen, shot, who: str):
        return explained(work, words, work.session(who), sent(event, "row"), truth, taken, chosen, shot)

    parts.confusion.pick(sentences(picked), wrong, [*parts.cell, parts.pictures, parts.why], **quiet)
    parts.pictures.click(sentences(pressed), [*parts.cell, *wrong], parts.why, **quiet)
    for kind, button in parts.saves.items():
        button.click(
            sentences(lambda chosen, shot, who, k=kind: saved(work, words, work.session(who), k, chosen, shot)),
            wrong,
            parts.file,
            **quiet,
        ).then(None, parts.file, None, js=SAVE, **quiet)


def opened(work: Workspace, words: dict[str, str], session: Session, known: str) -> list:
    """What the form offers, each time the step is opened: [known, encoders, way, start, status].

    `known`: the pictures and encoders that it was last filled for; for others it begins anew.
    """
    found = work.pictures(session)
    names = found.store.class_names
    offered = encoders_of(work, words, session)
    now = "|".join([found.sheets["key"], *(where for _, where in offered)])
    new, moved = known != now, str(known).split("|")[0] != found.sheets["key"]
    first = [work.encoder(session), work.untrained(session)] + [PIXELS] * (not work.public)
    values = {"value": list(dict.fromkeys(first))} if new else {}
    way = gr.update(value=max(2, min(5, len(names)))) if moved else gr.skip()
    able, busy = len(names) > 1, session.name in kept and not kept[session.name].ended
    status = gr.skip() if able else gr.update(value=alert(words["measure_no_classes"]), visible=True)
    if able and new:
        status = gr.update(value="", visible="hidden")
    return [
        now,
        gr.update(choices=[(name, where) for name, where in offered], **values),
        way,
        gr.update(interactive=able and not busy),
        status,
    ]


# What is shown


def again(work: Workspace, words: dict[str, str], session: Session) -> list:
    """[table, figure] of what was measured last."""
    results = kept.get(session.name)
    if not results:
        return [gr.skip(), gr.skip()]
    return shown(retold(results, words), words, results.sheets["key"] != work.pictures(session).sheets["key"])


def choices(work: Workspace, words: dict[str, str], session: Session) -> list:
    """[shot, first, second, chosen] of what was measured last."""
    results = kept.get(session.name)
    if not results or not results.lines:
        return [gr.skip()] * 4  # nothing to look at, and the page hides it
    lines = [(line.name, str(number)) for number, line in enumerate(results.lines)]
    shots = [(words["measure_column"].format(shot=shot), str(shot)) for shot in results.shots]
    first = results.lines[0]
    alike = [n for n, line in enumerate(results.lines) if line.learner == first.learner and line.where != first.where]
    other = str(alike[0] if alike else min(1, len(lines) - 1))
    return [
        gr.update(choices=shots, value=shots[0][1], visible=True if len(shots) > 1 else "hidden"),
        gr.update(choices=lines, value="0"),
        gr.update(choices=lines, value=other),
        gr.update(choices=lines, value="0"),
    ]


def _line(results: Results | None, value, shot, words: dict[str, str]) -> tuple[Line, int]:
    """The line and the shot that the page means. Raises InputError where they are not there."""
    number, wanted = _index(value), _index(shot)
    if not results or not 0 <= number < len(results.lines) or wanted not in results.lines[number].answers:
        raise InputError(words["measure_not_measured"])
    return results.lines[number], wanted


def _index(value) -> int:
    """The number in a short text of digits, else -1."""
    return int(value) if isinstance(value, str) and len(value) < 10 and value.isascii() and value.isdigit() else -1


def compare(work: Workspace, words: dict[str, str], session: Session, first, second, shot) -> str:
    """The paired verdict on two lines, as HTML; nothing before there are two."""
    results = kept.get(session.name)
    if not results or not results.lines or first is None or second is None or shot is None:
        return ""
    if len(results.lines) < 2:
        return f"<p class='quiet'>{safe(words['measure_one_line'])}</p>"
    if first == second:
        return f"<p class='quiet'>{safe(words['measure_same_line'])}</p>"
    (a, number), (b, _) = _line(results, first, shot, words), _line(results, second, shot, words)
    return verdict_of(results, a, b, number, words)


def wrongly(work: Workspace, words: dict[str, str], session: Session, chosen, shot) -> list:
    """[figure of confusions, belongs to, taken for, pictures, why] of one line."""
    results = kept.get(session.name)
    if not results or not results.lines or chosen is None or shot is None:
        return [gr.update(figure={}), gr.update(choices=[], value=None), gr.update(choices=[], value=None), "", ""]
    line, shot = _line(results, chosen, shot, words)
    counts = confusion_counts(results, line, shot)
    classes = shown_classes(counts)
    names = [class_name(results, c) for c in classes]
    figure = figures.confusions_figure(counts[np.ix_(classes, classes)], counts.sum(1)[classes], names, words)
    any_class = [(words["measure_any"], "any")]
    every = any_class + [(class_name(results, c), str(c)) for c in np.flatnonzero(counts.sum(1)).tolist()]
    selects = [gr.update(choices=every, value="any") for _ in range(2)]  # Gradio changes what it is given
    return [gr.update(figure=figure), *selects, failing(results, line, shot, None, None, words), ""]


def cell(work: Workspace, words: dict[str, str], session: Session, truth, taken, chosen, shot) -> list:
    """[pictures, why] of one cell."""
    results = kept.get(session.name)
    line, shot = _line(results, chosen, shot, words)
    return [failing(results, line, shot, *_cell(results, truth, taken, words), words), ""]


def _cell(results: Results, truth, taken, words: dict[str, str]) -> list[int | None]:
    """The two classes that the page means, None for any. Raises InputError for others."""
    ids = [None if value in (None, "any") else _index(value) for value in (truth, taken)]
    if any(number is not None and not 0 <= number < len(results.store.class_names) for number in ids):
        raise InputError(words["measure_not_measured"])
    return ids


def explained(work: Workspace, words: dict[str, str], session: Session, row, truth, taken, chosen, shot) -> str:
    """Which parts of a picture spoke for the answer it got, in the first task where it was answered as the page shows it."""
    from byolmeta.measure import candidate
    from byolmeta.occlusion import occlusion, panels

    results = kept.get(session.name)
    line, shot = _line(results, chosen, shot, words)
    ids = _cell(results, truth, taken, words)
    number = task_with(results, line, shot, row, *ids) if type(row) is int and 0 <= row < len(results.store) else None
    if number is None:
        raise InputError(words["measure_not_measured"])
    store = store_for(work, session, line.where)
    same_pictures(results.store, store, words)
    if file_of(line.where) != line.file or store.fingerprint != line.store:
        raise InputError(words["measure_changed"])
    one = candidate(line.where, line.learner, store, work.own(session, line.where))
    found = occlusion(one, store, results.tasks[shot], number, row)
    drawn = np.asarray(panels(store.pixels[row], found.heat)).transpose(2, 0, 1)
    return reason(results, shot, number, row, found, thumbs.one(drawn, work.home / "thumbs", session.name), words)


def picked_cell(work: Workspace, words: dict[str, str], session: Session, x, y, chosen, shot) -> list:
    """[belongs to, taken for, pictures, why] after a press on a cell, counted in the classes shown."""
    results = kept.get(session.name)
    line, number = _line(results, chosen, shot, words)
    classes = shown_classes(confusion_counts(results, line, number))
    if not all(type(place) is int and 0 <= place < len(classes) for place in (x, y)):
        raise InputError(words["measure_not_measured"])
    truth, taken = str(classes[y]), str(classes[x])
    return [gr.update(value=truth), gr.update(value=taken), *cell(work, words, session, truth, taken, chosen, shot)]


# Files


def saved(work: Workspace, words: dict[str, str], session: Session, kind: str, chosen, shot) -> str:
    """A file for the browser to keep, as JSON of its name, type and text: nothing is left on the server."""
    results = kept.get(session.name)
    if not results or not results.lines:
        raise InputError(words["measure_not_measured"])
    if kind == "json":
        text = json.dumps(json_of(results), indent=1, ensure_ascii=False)
        return json.dumps({"name": "byolmeta-fewshot.json", "type": "application/json", "text": text})
    if kind == "csv":
        name, rows = "byolmeta-fewshot.csv", csv_rows(results)
    else:
        line, number = _line(results, chosen, shot, words)
        name, rows = "byolmeta-wrong.csv", wrong_rows(results, line, number)
    return json.dumps({"name": name, "type": "text/csv", "text": csv_text(rows)})
