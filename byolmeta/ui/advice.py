"""Beside the board of Teach: what looks wrong in the boxes, what more examples would bring, and *Ask me this one*."""

from types import SimpleNamespace

import gradio as gr
import numpy as np

from byolmeta.errors import InputError
from byolmeta.ui import teach, thumbs
from byolmeta.ui.html import safe, tile
from byolmeta.ui.map import box_chips, sent
from byolmeta.ui.workspace import Session, Workspace

SHOWN = 4  # concerns at once
TILES = 3  # pictures shown beside each
# An answer changes the boxes; the rest, another event, only the question.
PRESS = """const send = (button) => trigger(button.dataset.act === "put" ? "click" : "submit", { act: button.dataset.act, box: button.dataset.box ?? null,
  id: Number(element.querySelector("[data-id]")?.dataset.id ?? -1) });
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (button) send(button);
});
element.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = { s: "[data-act=skip]", Escape: "[data-act=close]" }[event.key];
  const found = /^[1-9]$/.test(event.key) ? element.querySelectorAll("[data-act=put]")[event.key - 1]
    : key && element.querySelector(key);
  if (!found) return;
  event.preventDefault();
  event.stopPropagation();
  send(found);
});
let inside = false; // a question takes the focus of the button that asked for it, or of the one that was answered
element.addEventListener("focusin", () => { inside = true; });
document.addEventListener("pointerdown", (event) => { if (!element.contains(event.target)) inside = false; });
new MutationObserver(() => {
  if (inside && document.activeElement === document.body) element.querySelector(".question")?.focus();
}).observe(element, { childList: true, subtree: true });"""


def layout(words: dict[str, str]) -> SimpleNamespace:
    """Lays it out, in the column beside the board."""
    advice = gr.HTML(elem_id="advice", padding=False)
    question = gr.HTML(elem_id="question", padding=False, js_on_load=PRESS)
    return SimpleNamespace(advice=advice, question=question, outputs=[advice, question])


def advise(work: Workspace, words: dict[str, str], session: Session) -> list:
    """[advice, question] for the boxes as they are; the button that asks for a question stands in its place."""
    import torch

    from byolmeta import advise as core

    seen = work.seen(session)
    filled, support, labels = teach.task_of(session)
    bank = work.bank(session)
    if len(filled) < 2 or support.max() >= len(bank):
        seen["question"] = None
        return ["", ""]
    found, vectors = work.pictures(session), torch.from_numpy(bank)
    method, copies = teach.learner_of(work, session, work.encoder(session)), work.copies(session)
    checks = teach.checks_of(found, support, labels, work.copies(session))
    names = [box["name"] for box in filled]
    worries = core.concerns(method, vectors, support, labels, len(filled), copies)
    found_strays, classes = teach.strays_of(found, support, labels), teach.classes_of(found, support, labels)
    pairs = [{box, classes.get(folder)} for _, box, folder in found_strays]  # in which nothing else is told before
    worries = [one for one in worries if not (one.kind == "misplaced" and set(one.boxes) in pairs)]
    lines = [
        (words["stray"].format(box=names[box], folder=thumbs.text(found.store.class_names[folder])), [row])
        for row, box, folder in found_strays
    ]
    lines += [(concern_line(one, names, words), one.rows) for one in worries]
    more = len(lines) - SHOWN
    lines = lines[:SHOWN] + ([(words["concerns_more"].format(n=more), [])] if more > 0 else [])
    coming = core.forecast(method, vectors, support, labels, len(filled), copies, *(checks or (None, None)))
    if coming:
        lines.append((forecast_line(coming, words), []))
    own = len(found.store)
    items = [
        f"<li>{safe(line)} {''.join(tile(found.sheets, row, 30) for row in rows[:TILES] if row < own)}</li>"
        for line, rows in lines
    ]
    text = f"<ul>{''.join(items)}</ul>" if items else ""
    if seen.get("asking"):
        return [text, question_of(work, words, session, method, vectors, support, labels, copies, filled)]
    return [text, f"<button type='button' id='ask-one' data-act='ask'>{safe(words['ask_one'])}</button>"]


def concern_line(one, names: list[str], words: dict[str, str]) -> str:
    """A concern as a sentence."""
    first, *more = (names[box] for box in one.boxes)
    return words[f"concern_{one.kind}"].format(first=first, second=more[0] if more else "", n=len(one.rows))


def forecast_line(coming, words: dict[str, str]) -> str:
    low, gain, high = (round(100 * each) for each in (coming.low, coming.gain, coming.high))
    key = "forecast" if low > 0 else "forecast_little"
    return words[key].format(more=coming.more, gain=gain, low=max(0, low), high=max(0, high))


def question_of(work, words, session, method, vectors, support, labels, copies, filled) -> str:
    """The picture whose answer helps most, with the reason and a button for each box."""
    from byolmeta.adapt import sort_pictures
    from byolmeta.advise import next_question

    seen, found = work.seen(session), work.pictures(session)
    own = slice(0, len(found.store))  # pictures of the folder; those from the desktop lie in a box already
    answer = sort_pictures(method, vectors, support, labels, len(filled), copies)
    skipped = np.array(sorted(seen.get("skipped", ())), np.int64)
    extra = np.arange(len(found.store), len(vectors))
    held = np.array([i for box in session.boxes["boxes"] for i in box["items"]], np.int64)  # also what does not count
    one = next_question(answer, vectors, support, copies, np.concatenate([skipped, extra, held]))
    if one is None or one.row not in range(own.stop):
        seen["question"] = None
        return f"<p class='quiet'>{safe(words['ask_none'])}</p>"
    seen["question"] = one.row
    names = [filled[c]["name"] for c in one.classes]
    key = f"ask_{one.reason}" + ("_one" if one.many == 1 and one.reason != "typical_of_many" else "")
    reason = words[key].format(first=names[0] if names else "", second=names[-1] if names else "", n=f"{one.many:,}")
    chips = [
        f"<button type='button' data-act='put' data-box='{safe(box['id'])}'><i style='background:{box['colour']}'></i>"
        f"{safe(box['name'])} <kbd>{number}</kbd></button>"
        for number, box in enumerate(box_chips(session), 1)
    ]
    path = str(found.store.index.paths[one.row])
    return (
        f"<div class='question' tabindex='-1' data-id='{one.row}'>{tile(found.sheets, one.row, 112)}"
        f"<div><b>{safe(words['ask_title'])}</b><span title='{safe(path)}'>{safe(reason)}</span>"
        f"<div class='acts'>{''.join(chips)}</div><div class='acts'>"
        f"<button type='button' data-act='skip'>{safe(words['ask_skip'])} <kbd>s</kbd></button>"
        f"<button type='button' data-act='close'>{safe(words['ask_close'])}</button></div></div></div>"
    )


def turned(work: Workspace, words: dict[str, str], session: Session, event) -> list:
    """[advice, question] after a question was asked for, skipped, or wanted no more."""
    act, row, seen = sent(event, "act"), sent(event, "id"), work.seen(session)
    if act in ("ask", "close"):
        seen["asking"] = act == "ask"
    elif act == "skip" and type(row) is int and row == seen.get("question"):
        seen.setdefault("skipped", set()).add(row)
    else:
        raise InputError(words["ask_gone"])
    return advise(work, words, session)


def answered(work: Workspace, words: dict[str, str], session: Session, event) -> dict:
    """The board after the question was answered."""
    row, box = sent(event, "id"), sent(event, "box")
    known = type(row) is int and row == work.seen(session).get("question")
    if not known or box not in {each["id"] for each in session.boxes["boxes"]}:
        raise InputError(words["ask_gone"])
    return teach.assigned(work, words, session, [row], box, work.pictures(session).sheets["key"])[0]
