"""Beside the board of Teach: why a picture got its answer, and examples that shall not count."""

import base64
import io

import gradio as gr
import numpy as np

from byolmeta.errors import InputError
from byolmeta.ui import paint, teach, thumbs
from byolmeta.ui.html import safe, tile
from byolmeta.ui.map import box_chips, sent
from byolmeta.ui.workspace import Session, Workspace

SIDE = 104  # pixels of a drawn picture
SHOWN = 60  # pictures of a cell
PRESS = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  trigger("click", { act: button.dataset.act, id: Number(button.dataset.id ?? -1) });
  if (button.dataset.act !== "close") return;
  document.querySelector("#board")?.scrollIntoView({ block: "nearest" });
  document.querySelector("#board .bm-card[tabindex='0']")?.focus({ preventScroll: true }); // where it was asked for
});
element.addEventListener("keydown", (event) => {
  if (event.key === "Escape") element.querySelector("[data-act=close]")?.click();
});
let inside = false; // a card that comes in the place of another one takes its focus
element.addEventListener("focusin", () => { inside = true; });
element.addEventListener("focusout", ({ relatedTarget }) => { if (relatedTarget) inside = false; });
new MutationObserver(() => {
  if (inside && document.activeElement === document.body) element.querySelector(".because")?.focus({ preventScroll: true });
}).observe(element, { childList: true, subtree: true });"""
# On a phone the card is far below the board, and for keys far behind it.
SHOW = """() => {
  const card = document.querySelector("#why .because"), area = card?.getBoundingClientRect();
  if (area && (area.top > innerHeight - 160 || area.bottom < 160)) card.scrollIntoView({ block: "start" });
  if (card && document.activeElement.matches("#board .bm-card:focus-visible")) card.focus({ preventScroll: true });
}"""


def layout() -> gr.HTML:
    """The card, in the column beside the board; empty until a picture is asked for."""
    return gr.HTML(elem_id="why", padding=False, js_on_load=PRESS)


def cell_layout() -> gr.HTML:
    """The pictures of one cell of the confusion matrix, below it; empty until one is pressed."""
    return gr.HTML(elem_id="cell", padding=False, js_on_load=PRESS)


def cell(work: Workspace, words: dict[str, str], session: Session, answer, truth) -> str:
    """The checked pictures that belong to one box and were answered with another, by the boxes' places in the task."""
    import torch

    from byolmeta.adapt import sort_pictures

    filled, support, labels = teach.task_of(session)
    found = work.pictures(session)
    checks = teach.checks_of(found, support, labels, work.copies(session)) if len(filled) > 1 else None
    if checks is None or not all(type(place) is int and 0 <= place < len(filled) for place in (answer, truth)):
        raise InputError(words["because_gone"])
    ids, boxes = checks
    method, vectors = teach.learner_of(work, session, work.encoder(session)), torch.from_numpy(work.bank(session))
    said = sort_pictures(method, vectors, support, labels, len(filled)).label[ids]
    rows = ids[(said == answer) & (boxes == truth)].tolist()
    key = "cell_right" if answer == truth else "cell_wrong"
    line = words[key].format(n=f"{len(rows):,}", truth=filled[truth]["name"], answer=filled[answer]["name"])
    line += words["next_sentence"] + words["cell_press"] if rows else ""
    if len(rows) > SHOWN:
        line += words["next_sentence"] + words["cell_first"].format(n=SHOWN)
    tiles = "".join(
        f"<button type='button' data-act='why' data-id='{row}' title='{safe(_name(found, row))}'>"
        f"{tile(found.sheets, row, 56)}</button>"
        for row in rows[:SHOWN]
    )
    return f"<p class='quiet'>{safe(line)}</p><div class='found'>{tiles}</div>"


def asked(work: Workspace, words: dict[str, str], session: Session, row) -> str:
    """The card for a picture of the tray. Raises InputError where there is no answer to it."""
    work.seen(session)["why"] = row
    shown = card(work, words, session)
    if not shown:
        raise InputError(words["because_none"])
    return shown


def card(work: Workspace, words: dict[str, str], session: Session) -> str:
    """The card of the picture that was asked for, as the boxes are now; "" without one, or where it has no answer."""
    import torch

    from byolmeta import classifier, features
    from byolmeta import why as core

    row = work.seen(session).get("why")
    if row is None:
        return ""
    filled, support, labels = teach.task_of(session)
    vectors = torch.from_numpy(work.bank(session))
    there = type(row) is int and 0 <= row < len(vectors) and row not in support
    if not there or len(filled) < 2 or support.max() >= len(vectors):
        work.seen(session)["why"] = None
        return ""
    found, names = work.pictures(session), [box["name"] for box in filled]
    method, copies = teach.learner_of(work, session, work.encoder(session)), work.copies(session)

    def taught(places: np.ndarray):
        return classifier.teach(method, vectors, support[places], labels[places], names, copies)

    every, eye = np.arange(len(support)), work.eye(session)
    pixels = work.pixels(session, np.concatenate([[row], support]))
    truth = _truth(found, row, support, labels)
    made = taught(every)
    why = core.explain(
        made,
        lambda pictures: torch.from_numpy(features.embed(eye, pictures)),
        pixels[0],
        pixels[1:],
        lambda place: taught(np.delete(every, place)),
        truth,
    )
    none = bool(made.answers(vectors[row : row + 1])[1][0])
    return drawn(words, session, why, row, support, pixels, filled, truth, none, _name(found, row))


def _truth(found, row: int, support: np.ndarray, labels: np.ndarray) -> int | None:
    """The box that stands for the picture's class folder; None where there is none."""
    own = int(found.store.labels[row]) if row < len(found.store) else -1
    return teach.classes_of(found, support, labels).get(own)


def _name(found, row: int) -> str:
    return thumbs.text(str(found.store.index.paths[row])) if row < len(found.store) else ""


def drawn(words, session, why, row, support, pixels, filled, truth, none: bool, name: str) -> str:
    """The card as HTML. `pixels` uint8 (1 + n, 3, S, S): the picture, then the examples."""
    from byolmeta.occlusion import under_heat

    answer, names = why.answer, [box["name"] for box in filled]
    said, against = names[answer.said], names[answer.against]
    key = "because_unknown" if truth is None else "because_right" if truth == answer.said else "because_wrong"
    share = 100 * float(answer.scores[answer.said])
    lines = [words[key].format(said=said, against=against, share=f"{share:.0f}")]
    if none:
        lines.append(words["because_strange"])
    turned = words["why_turned" if answer.turned else "why_never"]
    turned = safe(turned.format(n=answer.turned, of=answer.covers, against=against))
    colours = {box["id"]: box["colour"] for box in box_chips(session)}
    shades = [_shade(colours[box["id"]]) for box in filled]
    heat = under_heat(pixels[0], answer.heat, SIDE, shades[answer.said], shades[answer.against])
    first = _picture(pixels[0]), _image(heat)
    chips = [f"<i style='background:{colours[box['id']]}'></i>{safe(box['name'])}" for box in filled]
    parts = safe(words["because_parts"].format(said="\1", against="\2"))  # places for what is HTML already
    parts = parts.replace("\1", chips[answer.said]).replace("\2", chips[answer.against])
    rows = []
    for match in why.matches:
        other = match.label != answer.said
        shade = shades[match.label]
        there = _image(under_heat(pixels[1 + match.place], np.maximum(match.there, 0), SIDE, shade))
        here = _image(under_heat(pixels[0], np.maximum(match.here, 0), SIDE, shade))
        text = words["because_like"].format(near=f"{match.near:.2f}")
        if match.without is None:
            text += words["next_sentence"] + words["because_only"].format(name=names[match.label])
        else:
            text += words["next_sentence"] + words["because_without"].format(
                said=said, share=f"{100 * match.without:.0f}"
            )
        mute = (
            f"<button type='button' data-act='mute' data-id='{int(support[match.place])}'>{safe(words['mute'])}</button>"
            if match.without is not None
            else ""
        )
        chip = chips[match.label]
        rows.append(
            f"<li{' class=other' if other else ''}>{_tag(here, words['because_here'])}{_tag(there, words['because_there'])}"
            f"<div><b>{chip}</b><span>{safe(text)}</span>{mute}</div></li>"
        )
    alts = words["picture_itself"].format(name=name), words["because_heat"].format(said=said)
    return (
        f"<div class='because' data-id='{row}' tabindex='-1'><div class='top'><b>{safe(words['because_title'])}</b>"
        f"<button type='button' data-act='close' aria-label='{safe(words['close'])}'>×</button></div>"
        f"<div class='pair'>{_tag(first[0], alts[0])}{_tag(first[1], alts[1])}<div>"
        f"{''.join(f'<p>{safe(line)}</p>' for line in lines)}</div></div><p class='quiet'>{parts}{words['next_sentence']}{turned}</p>"
        f"<p class='quiet'>{safe(words['because_matches'])}</p><ul>{''.join(rows)}</ul></div>"
    )


def _shade(colour: str) -> tuple[int, int, int]:
    """A box's colour as numbers; for the grey one, which would not show on a grey picture, dark."""
    return (40, 40, 40) if colour == paint.BOX_COLOURS[-1] else tuple(bytes.fromhex(colour[1:]))


def _picture(pixels: np.ndarray) -> str:
    from PIL import Image

    whole = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return _image(whole.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _image(image) -> str:
    """A data address of a drawn picture."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _tag(address: str, alt: str) -> str:
    return f"<img src='{address}' width='{SIDE}' height='{SIDE}' alt='{safe(alt)}' title='{safe(alt)}'>"


def pressed(work: Workspace, words: dict[str, str], session: Session, event) -> list:
    """[board, card] after a press: closed, or an example that does not count any more."""
    if sent(event, "act") == "close":
        work.seen(session)["why"] = None
        return [gr.skip(), ""]
    row = sent(event, "id")
    with work.board(session):
        box = next((box for box in session.boxes["boxes"] if type(row) is int and row in box["items"]), None)
        if sent(event, "act") != "mute" or box is None:
            raise InputError(words["because_gone"])
        box["muted"] = sorted({*box.get("muted", ()), row})
        session.boxes["rev"] += 1
        work.save(session)
    return [gr.update(boxes=session.boxes | {"force": True}), gr.skip()]
