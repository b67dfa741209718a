"""The part of the map that tidies: near copies, odd ones, pictures among another class, and what was decided about them.

The user's files stay as they are: decisions make a list, which can be saved, and copies of the pictures sorted by it.
"""

from types import SimpleNamespace

import gradio as gr

from byolmeta.errors import InputError
from byolmeta.ui import map as map_step
from byolmeta.ui import paint, thumbs
from byolmeta.ui.explore import SAVE, export_path, fetched
from byolmeta.ui.html import safe, tile
from byolmeta.ui.workspace import Session, Workspace

COPIES, ODD, MISPLACED, DECIDED = LISTS = ("copy", "odd", "misplaced", "decided")
SHOWN = 40  # of a list at once
# What a button of a picture does; `swap` sets aside the one beside it. With "-all" for all that are shown.
KEEP, MOVE, ASIDE, SWAP, UNDO, SHOW = ACTS = ("keep", "move", "aside", "swap", "undo", "show")
ALL = "-all"
PRESS = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const { key } = button.closest("[data-key]").dataset;
  trigger("click", { row: Number(button.dataset.row), act: button.dataset.do, key });
});
let at = -1; // the line that has the focus: the one that comes in its place gets it
element.addEventListener("focusin", ({ target }) => { at = [...element.querySelectorAll("li")].indexOf(target.closest("li")); });
element.addEventListener("focusout", ({ relatedTarget }) => { if (relatedTarget) at = -1; });
new MutationObserver(() => {
  if (at < 0 || document.activeElement !== document.body) return;
  const lines = element.querySelectorAll("li");
  lines[Math.min(at, lines.length - 1)]?.querySelector("button")?.focus();
}).observe(element, { childList: true, subtree: true });"""


def layout(words: dict[str, str]) -> SimpleNamespace:
    """Lays the part out below the map."""
    with gr.Accordion(words["tidy"], open=False, elem_id="tidy") as fold:
        gr.HTML(f"<p class='quiet'>{safe(words['tidy_line'])}</p>", padding=False)
        which = gr.Radio(
            [(words[f"tidy_{name}"].format(n="…"), name) for name in LISTS], value=COPIES, label=words["tidy_lists"], show_label=False,
            container=False, elem_id="tidy-which",
        )  # fmt: skip
        found = gr.HTML(elem_id="tidy-list", padding=False, js_on_load=PRESS)
        with gr.Row(elem_id="tidy-save"):
            small = {"size": "sm", "min_width": 170, "scale": 0}
            listed = gr.Button(words["tidy_csv"], elem_id="tidy-csv", **small)
            copied = gr.Button(words["tidy_zip"], elem_id="tidy-zip", **small)
    file = gr.Textbox(visible="hidden")
    return SimpleNamespace(
        fold=fold, opened=gr.State(False), which=which, found=found, saves={"csv": listed, "zip": copied}, file=file
    )


def connect(work: Workspace, words: dict[str, str], parts: SimpleNamespace, scatter, who, sentences) -> list:
    """Connects the part with the map. Returns [function, inputs, outputs] that follows other pictures or another encoder."""
    quiet = {"show_progress": "hidden", "api_visibility": "private"}

    def of(function):
        def called(*values):
            return function(work, words, work.session(values[-1]), *values[:-1])

        return sentences(called)

    def pressed(event: gr.EventData, which: str, who: str):
        row, act, key = (map_step.sent(event, name) for name in ("row", "act", "key"))
        return decided(work, words, work.session(who), row, act, which, key)

    def aside(event: gr.EventData, which: str, who: str):
        session = work.session(who)
        return set_aside(work, words, session, map_step.chosen_ids(work, session, event), which)

    def back(event: gr.EventData, which: str, who: str):
        return undone(work, words, work.session(who), event, which)

    shown, inputs = [parts.which, parts.found], [parts.which, who]
    parts.fold.expand(lambda: True, None, parts.opened, **quiet).then(of(listed), inputs, shown, **quiet)
    parts.fold.collapse(lambda: False, None, parts.opened, **quiet)
    parts.which.input(of(listed), inputs, shown, **quiet)
    parts.found.click(sentences(pressed), inputs, [*shown, scatter], **quiet)
    scatter.aside(sentences(aside), inputs, [*shown, scatter], **quiet)
    scatter.undone(sentences(back), inputs, [*shown, scatter], **quiet)
    for kind, button in parts.saves.items():
        saving = of(lambda work, words, session, k=kind: saved(work, words, session, k))
        button.click(saving, who, parts.file, **quiet).then(None, parts.file, None, js=SAVE, **quiet)
    return [of(followed), [parts.opened, *inputs], shown]


def followed(work: Workspace, words: dict[str, str], session: Session, opened: bool, which: str) -> list:
    """[lists, pictures of one] of other pictures or by another encoder; looked for only while the part is open."""
    if opened:
        return listed(work, words, session, which)
    return [gr.update(choices=[(words[f"tidy_{name}"].format(n="…"), name) for name in LISTS]), ""]


def findings(work: Workspace, session: Session) -> dict[str, list]:
    """All that was found, by list; made once for the pictures, the encoder and what was moved."""
    from byolmeta import tidy

    found, vectors = work.pictures(session), paint.vectors_of(work, session)
    kept = work.seen(session).setdefault("tidy", {})
    if kept.get("of") is not vectors:
        kept.clear()
        kept |= {"of": vectors, COPIES: tidy.copies(found.thumbnails), ODD: tidy.odd_list(vectors)}
    decisions = tidy.load_decisions(work.tidy_folder(session))
    told = decisions.moved, decisions.aside
    if kept.get("told") != told:
        kept |= {"told": told, MISPLACED: tidy.misplaced(vectors, tidy.labels_after(found.store.index, decisions))}
    return kept


def listed(work: Workspace, words: dict[str, str], session: Session, which: str) -> list:
    """[lists with their numbers, the pictures of one]."""
    from byolmeta import tidy

    index = work.pictures(session).store.index
    all_found = findings(work, session)
    decisions = tidy.load_decisions(work.tidy_folder(session))
    left = {name: tidy.undecided(all_found[name], index.paths, decisions) for name in LISTS[:3]}
    rows = tidy.decision_rows(index, decisions)
    which = which if which in LISTS else COPIES
    counts = {name: len(left[name]) for name in left} | {DECIDED: len(rows)}
    choices = [(words[f"tidy_{name}"].format(n=f"{counts[name]:,}"), name) for name in LISTS]
    items = _decided(work, words, session, rows) if which == DECIDED else _found(work, words, session, left[which])
    more = f"<p class='quiet'>{safe(words['tidy_first'].format(n=SHOWN))}</p>" if counts[which] > SHOWN else ""
    none = words["tidy_no_classes" if which == MISPLACED and not index.class_names else f"tidy_none_{which}"]
    every = {COPIES: [ASIDE, KEEP], ODD: [KEEP, ASIDE], MISPLACED: [KEEP, ASIDE], DECIDED: [UNDO]}[which]
    acts = "".join(_button(-1, act + ALL, words[f"tidy_{act}_all"]) for act in every)
    head = f"<div class='acts'>{acts}</div>" if len(items) > 1 else ""
    content = (
        f"{head}<ul class='findings'>{''.join(items)}</ul>{more}" if items else f"<p class='quiet'>{safe(none)}</p>"
    )
    key = safe(work.pictures(session).sheets["key"])
    about = safe(words[f"tidy_about_{which}"])
    return [gr.update(choices=choices, value=which), f"<div data-key='{key}'><p>{about}</p>{content}</div>"]


def _found(work: Workspace, words: dict[str, str], session: Session, found: list) -> list[str]:
    """Items of a list of findings."""
    pictures = work.pictures(session)
    sheets, store, items = pictures.sheets, pictures.store, []
    for one in found[:SHOWN]:
        suggested = thumbs.text(store.class_names[one.label]) if one.label >= 0 else ""
        own = thumbs.text(store.class_names[store.labels[one.row]]) if store.labels[one.row] >= 0 else ""
        said = words[f"tidy_said_{one.reason}"].format(
            share=min(99, round(100 * one.score)) if one.reason == ODD else round(100 * one.score),
            own=own,
            other=suggested,
        )
        buttons = [(SHOW, words["tidy_show"]), (KEEP, words[f"tidy_keep_{one.reason}"]), (ASIDE, words["tidy_aside"])]
        if one.reason == COPIES:
            buttons.append((SWAP, words["tidy_swap"]))
        if one.reason == MISPLACED:
            buttons.insert(1, (MOVE, words["tidy_move"].format(name=suggested)))
        beside = "".join(tile(sheets, other, 48) for other in one.others[:3])
        items.append(_item(sheets, one.row, beside, thumbs.text(store.index.paths[one.row]), said, buttons))
    return items


def _decided(work: Workspace, words: dict[str, str], session: Session, rows: list[dict]) -> list[str]:
    """Items of the list of decisions."""
    pictures = work.pictures(session)
    row_of = {path: row for row, path in enumerate(pictures.store.index.paths)}
    items = []
    for one in rows[:SHOWN]:
        said = words[f"tidy_was_{one['decision']}"].format(name=thumbs.text(one["new_class"]))
        row, path = row_of[one["path"]], thumbs.text(one["path"])
        items.append(_item(pictures.sheets, row, "", path, said, [(UNDO, words["tidy_undo"])]))
    return items


def _item(sheets: dict, row: int, beside: str, path: str, said: str, buttons: list[tuple[str, str]]) -> str:
    acts = "".join(_button(row, act, text) for act, text in buttons)
    beside = f"<span class='beside'>{beside}</span>" if beside else ""
    return f"<li>{tile(sheets, row, 72)}{beside}<div><b>{safe(path)}</b><span>{safe(said)}</span></div><div class='acts'>{acts}</div></li>"


def _button(row: int, act: str, text: str) -> str:
    return f"<button type='button' data-row='{row}' data-do='{act}'>{safe(text)}</button>"


def decided(work: Workspace, words: dict[str, str], session: Session, row, act, which: str, key) -> list:
    """[lists, pictures of one, map] after a press on a picture's button, or on one for all that are shown."""
    from byolmeta import tidy

    store = work.pictures(session).store
    if key != work.pictures(session).sheets["key"]:
        raise InputError(words["tidy_gone"])
    act, every, _ = str(act).partition(ALL)
    rows = shown_rows(work, session, which) if every else [row]
    if act not in ACTS or any(type(each) is not int or not 0 <= each < len(store) for each in rows):
        raise InputError(words["tidy_gone"])
    if act == SHOW:
        ids = [row, *_others(findings(work, session), which, row)]
        lit = {"ids": ids, "name": thumbs.text(store.index.paths[row]), "seq": next(paint.numbers)}
        return [gr.skip(), gr.skip(), gr.update(lit=lit)]
    folder = work.tidy_folder(session)
    with work.alone("tidy", str(folder)):
        decisions = tidy.load_decisions(folder)
        for each in rows:
            decisions = _after(work, words, session, decisions, each, act, which)
        if len(decisions.aside) >= len(store):
            raise InputError(words["tidy_all"])
        tidy.save_decisions(folder, decisions)
    changed = gr.skip() if act in (KEEP, MOVE) else gr.update(**_points(work, session))
    return [*listed(work, words, session, which), changed]


def shown_rows(work: Workspace, session: Session, which: str) -> list[int]:
    """The pictures of a list that are shown; of the decisions, all."""
    from byolmeta import tidy

    index, decisions = work.pictures(session).store.index, tidy.load_decisions(work.tidy_folder(session))
    if which == DECIDED:
        row_of = {path: row for row, path in enumerate(index.paths)}
        return [row_of[one["path"]] for one in tidy.decision_rows(index, decisions)]
    return [one.row for one in tidy.undecided(findings(work, session).get(which, []), index.paths, decisions)][:SHOWN]


def _after(work: Workspace, words: dict[str, str], session: Session, decisions, row: int, act: str, which: str):
    """The decisions after one more."""
    store = work.pictures(session).store
    path = store.index.paths[row]
    if act == MOVE:
        one = next((one for one in findings(work, session)[MISPLACED] if one.row == row), None)
        if one is None:
            raise InputError(words["tidy_gone"])
        return decisions.move(path, store.class_names[one.label])
    if act == SWAP:
        others = _others(findings(work, session), which, row)
        return decisions.set_aside(store.index.paths[others[0]]) if others else decisions
    if act == KEEP:
        return decisions.keep(path, which)
    return decisions.set_aside(path) if act == ASIDE else decisions.forget(path)


def _others(found: dict[str, list], which: str, row: int) -> tuple[int, ...]:
    return next((one.others for one in found.get(which, []) if one.row == row), ())


def set_aside(work: Workspace, words: dict[str, str], session: Session, ids: list[int], which: str) -> list:
    """[lists, pictures of one, map] after a selection on the map was set aside: it leaves the map, nothing is deleted."""
    from byolmeta import tidy

    index, folder = work.pictures(session).store.index, work.tidy_folder(session)
    with work.alone("tidy", str(folder)):
        decisions = tidy.load_decisions(folder).set_aside(*(index.paths[i] for i in ids))
        if len(decisions.aside) >= len(index.paths):
            raise InputError(words["tidy_all"])
        tidy.save_decisions(folder, decisions)
    return [*listed(work, words, session, which), gr.update(**_points(work, session))]


def _points(work: Workspace, session: Session) -> dict:
    """The map without what is set aside, as props: what lies on it is the same, its points are others."""
    key, places = work.places.get(session.name, ("", None))
    seen = work.seen(session)
    if places is None or key != work.pictures(session).sheets["key"]:
        return {}  # a sketch: the whole map comes without them
    near = map_step.nearest_of(seen, paint.vectors_of(work, session))
    points = map_step.shown_points(work, session, seen, places, seen.get("stage", "umap"), near[0])
    seen |= {"compare": {}, "other": ""}  # it is of the points of before
    return {"points": points, "compare": {}}


def undone(work: Workspace, words: dict[str, str], session: Session, event, which: str) -> list:
    """[lists, pictures of one, map] after what was just set aside was taken back."""
    from byolmeta import tidy

    index, folder = work.pictures(session).store.index, work.tidy_folder(session)
    ids = map_step.chosen_ids(work, session, event)
    if map_step.sent(event, "what") != "aside":
        return [gr.skip()] * 3
    with work.alone("tidy", str(folder)):
        decisions = tidy.load_decisions(folder)
        for i in ids:
            decisions = decisions.forget(index.paths[i])
        tidy.save_decisions(folder, decisions)
    return [*listed(work, words, session, which), gr.update(**_points(work, session))]


def saved(work: Workspace, words: dict[str, str], session: Session, kind: str) -> str:
    """The list of decisions, or copies of all pictures that stay, in folders as the list has them."""
    from byolmeta import tidy
    from byolmeta.workplace import write_csv

    index = work.pictures(session).store.index
    decisions = tidy.load_decisions(work.tidy_folder(session))
    name = paint.file_name(session.label or "pictures")
    if kind == "csv":
        rows = [{k: thumbs.text(v) for k, v in row.items()} for row in tidy.decision_rows(index, decisions)]
        if not rows:
            raise InputError(words["tidy_nothing"])
        path = export_path(work, session, f"{name}-list.csv")
        write_csv(path, rows)
    else:
        rows = [row for row, path in enumerate(index.paths) if path not in decisions.aside]
        path = export_path(work, session, f"{name}-tidied.zip")
        tidy.zip_of(index, rows, path, tidy.folders_after(index, decisions))
    return fetched(path)
