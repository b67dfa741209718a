"""Step 5, Locate: things are marked on a few pictures, and found on the others, best first."""

import contextlib
import itertools
import re
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from byolmeta.errors import InputError
from byolmeta.ui import paint, thumbs
from byolmeta.ui.explore import SAVE, export_path, fetched
from byolmeta.ui.locator import MAX_CLASSES, MAX_MARKS, Locator, check_marks, no_marks
from byolmeta.ui.map import box_chips, sent
from byolmeta.ui.sentences import renamed, said
from byolmeta.ui.teach import counted, learner_of
from byolmeta.ui.workspace import Session, Workspace

AT_ONCE = 60  # pictures that are looked through before more are asked for
USUAL = 12  # pictures, evenly from all, that tell how pictures differ
OFFERED = 200  # pictures in the strip
SMALL = 320  # pixels of the longer side of a found picture in the list
SIGHTS = 80  # pictures whose maps are kept in memory, some 10 MB each
SHARED_SIGHTS = 40  # the same on a shared machine, of all visitors
DRAWN = 1600  # pixels of the longer side of a picture with its boxes drawn on it
FILES = {"coco": "found.json", "yolo": "yolo.zip", "masks": "masks.zip", "csv": "found.csv", "overlays": "pictures.zip"}
MASK = 200  # pixels of the longer side of the masks that the page draws
FAINT = 0.02  # chances below this are not shown
EVERY = 0.35  # seconds between two updates of the page
numbers = itertools.count(1)  # of states that count whatever the page has
visited: set[str] = set()  # visitors who have opened the step
latest: dict[str, int] = {}  # the newest search of each visitor; older ones see it and end
writers: dict[str, str] = {}  # the window that changed each visitor's marks last; "" for the server itself


def forget(name: str) -> None:
    """A visitor has left."""
    visited.discard(name)
    latest.pop(name, None)
    writers.pop(name, None)


def layout(words: dict[str, str]) -> SimpleNamespace:
    """Lays the step out."""
    locator = Locator(words=words.get("of_locator"), elem_id="locator", padding=False)
    return SimpleNamespace(locator=locator, file=gr.Textbox(visible="hidden"))


def connect(work: Workspace, words: dict[str, str], parts: SimpleNamespace, tab, who, sentences) -> None:
    """Connects the step's events."""
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    often = quiet | {"concurrency_limit": 8}
    locator = parts.locator

    def of(function):
        def handler(who: str, event: gr.EventData):
            return function(work, words, work.session(who), event)

        return sentences(handler)

    def running(function):
        def handler(who: str, event: gr.EventData):
            yield from function(work, words, work.session(who), event)

        return sentences(handler)

    locator.mark(running(marked), who, locator, **often)
    locator.open(of(opened), who, locator, **often)
    locator.more(running(more), who, locator, **often)
    locator.tags(running(tagged), who, locator, **often)
    locator.stop(of(stopped), who, None, **often)
    locator.ready(of(again), who, locator, **quiet)
    tab.select(sentences(lambda who: arrive(work, words, work.session(who))), who, locator, **often)
    saving = locator.keep(running(kept), who, [locator, parts.file], **quiet)
    saving.then(None, parts.file, None, js=SAVE, **quiet)


# What the page shows


def whole(work: Workspace, words: dict[str, str], session: Session, event=None) -> dict:
    """All that the locator shows, in one update; a picture to begin with where none is on the stage."""
    found, seen = work.pictures(session), work.seen(session)
    state_of(work, words, session)
    order = offered(work, session)
    row = seen.get("staged")
    shown = shown_of(work, session, order[0] if row is None and order else row)
    answer = seen.get("located") or {"state": "", "rows": []}
    return gr.update(pictures=found.sheets, marked=told(session), order=order, shown=shown, found=answer)


def state_of(work: Workspace, words: dict[str, str], session: Session) -> dict:
    """The session's marks; at first one class and none."""
    with work.alone("marks", session.name):
        if not session.marks.get("classes"):
            session.marks = no_marks(words["locate_thing"].format(n=1))
        classes = session.marks["classes"]
        names = renamed(words, [one["name"] for one in classes], "locate_thing")
        if names != [one["name"] for one in classes]:
            session.marks["classes"] = [one | {"name": name} for one, name in zip(classes, names, strict=True)]
        return session.marks


def told(session: Session) -> dict:
    """The prop `marked`: it counts, whatever the page has."""
    return session.marks | {"seq": next(numbers)}


def again(work: Workspace, words: dict[str, str], session: Session, event=None) -> dict:
    """The whole once more, for a page whose script came up late or whose pictures changed; not before the step was opened."""
    return whole(work, words, session) if session.name in visited else gr.skip()


def arrive(work: Workspace, words: dict[str, str], session: Session) -> Iterator[dict]:
    """The step is opened: what it shows, and a search where the marks have had none with these pictures and this encoder."""
    visited.add(session.name)
    yield from anew(work, words, session)


def anew(work: Workspace, words: dict[str, str], session: Session) -> Iterator[dict]:
    """As `arrive`, after other pictures or another encoder; nothing before the step was opened."""
    if session.name in visited:
        yield whole(work, words, session)
        before = work.seen(session).get("located") or {}
        known = before.get("rev") == session.marks["rev"] and before["state"] != "left"
        if before.get("state") == "looking" and known:
            yield from followed(work, session)
        elif session.marks["marks"] and not known:
            yield from look(work, words, session)


def followed(work: Workspace, session: Session) -> Iterator[dict]:
    """What a search that another window began finds, until it is over."""
    seen, last = work.seen(session), None
    while (found := seen.get("located") or {}).get("state") == "looking" and work.seen(session) is seen:
        if found is not last:
            yield gr.update(found=found)
        last = found
        time.sleep(EVERY)
    if work.seen(session) is seen:
        yield gr.update(marked=told(session), found=found)


def offered(work: Workspace, session: Session) -> list[int]:
    """Pictures to choose from: marked ones, the examples of Teach, then some from all over."""
    count = len(work.pictures(session).store)
    marks = [mark["row"] for mark in session.marks.get("marks", ())]
    boxes = [i for box in session.boxes["boxes"] for i in counted(box) if i < count]
    return list(dict.fromkeys([*marks, *boxes, *spread(count, OFFERED)]))[: OFFERED + len(marks)]


def spread(count: int, most: int) -> list[int]:
    """At most so many rows, evenly from all of `count`."""
    return sorted({int(row) for row in np.linspace(0, count - 1, min(count, most))}) if count else []


def opened(work: Workspace, words: dict[str, str], session: Session, event) -> dict:
    """The page asks for a picture on the stage."""
    row = sent(event, "row")
    if type(row) is not int or not 0 <= row < len(work.pictures(session).store):
        raise InputError(words["locate_gone"])
    return gr.update(shown=shown_of(work, session, row))


def shown_of(work: Workspace, session: Session, row: int | None) -> dict:
    """The prop `shown` of a picture; {} where it cannot be read any more."""
    if row is None:
        return {}
    sight, seen = sight_of(work, session, row), work.seen(session)
    seen["staged"] = row
    name = f"{session.name}-{_mark_of(work, session)}-stage-{row}"
    url = thumbs.large(_image(sight), name, work.home / "thumbs")
    return {"row": row, "url": url, "w": sight.width, "h": sight.height}


def _image(sight):
    from PIL import Image

    return Image.fromarray(sight.image.permute(1, 2, 0).numpy())


def _mark_of(work: Workspace, session: Session) -> str:
    return work.pictures(session).store.fingerprint[:12]


def sight_of(work: Workspace, session: Session, row: int):
    """A picture of a session with what its encoder sees on it; the last ones asked for stay in memory."""
    from byolmeta import tidy
    from byolmeta.locate import larger, upright
    from byolmeta.search import Sight

    store, where = work.pictures(session).store, work.encoder(session)
    key = str(work.source(session)), store.fingerprint, where, work._encoder_stamp(where), row
    with work.lock:
        sight = work.sights.pop(key, None)
    if sight is None:

        def data() -> bytes:
            with tidy.originals(store.index) as read:
                return read(store.index.paths[row])

        pixels, scale = upright(data())
        sight = Sight(*maps_of(work, session), pixels, larger(data, pixels, scale))
    most = SHARED_SIGHTS if work.public else SIGHTS
    with work.lock:
        work.sights[key] = sight
        if not work.public:  # one person: what belongs to other pictures or encoders is over
            work.sights = {one: kept for one, kept in work.sights.items() if one[:-1] == key[:-1]}
        while len(work.sights) > most:
            work.sights.pop(next(iter(work.sights)))
    return sight


def maps_of(work: Workspace, session: Session) -> tuple:
    """How the session's encoder sees parts of pictures, for boxes and for outlines."""
    from byolmeta import detect, segment

    encoder = work.eye(session)
    return detect.maps_of(encoder), segment.maps_of(encoder)


# What people do


def marked(work: Workspace, words: dict[str, str], session: Session, event) -> Iterator[dict]:
    """The page sent other marks: they are checked, kept, and learned from. Yields updates of the locator.

    They count where they go on from what counts: the last change is of the same window, or `base`, the newest state that the
    window was told of, is that of now. Else the window is shown what counts.
    """
    state = event._data
    if not isinstance(state, dict):
        return
    window, base = (state.get(key) for key in ("window", "base"))
    window = window if isinstance(window, str) and len(window) < 100 else ""
    found = work.pictures(session)
    if state.get("key") not in (None, found.sheets["key"]):
        yield whole(work, words, session)
        return
    state = check_marks(state, len(found.store))
    with work.alone("marks", session.name):
        before = state_of(work, words, session)["rev"]
        own = bool(window) and writers.get(session.name, window) == window
        late = state["rev"] <= before or not (own or base == before)
        if late and own:
            return  # an older state of the same window, overtaken on its way
        if not late:
            old, session.marks, writers[session.name] = session.marks, state, window
            work.save(session)
    if late:  # it shows what counts
        gr.Warning(words["locate_late"])
        yield gr.update(
            marked=told(session) | {"over": True}, found=work.seen(session).get("located") or {"state": "", "rows": []}
        )
        return
    seen = work.seen(session)
    answer, ids = seen.get("located") or {}, [[one["id"] for one in each["classes"]] for each in (old, state)]
    same = old["marks"] == state["marks"] and ids[0] == ids[1] and answer.get("rev") == old["rev"]
    if same and answer["state"] == "done":  # only names are new: what was found stays
        seen["located"] = answer | {"rev": state["rev"]}
        if "taught" in seen:
            seen["taught"] = seen["taught"]._replace(names=[one["name"] for one in state["classes"]])
        yield gr.update(found=seen["located"])
        return
    yield from look(work, words, session)


def more(work: Workspace, words: dict[str, str], session: Session, event) -> Iterator[dict]:
    """Looks through more pictures."""
    seen = work.seen(session)
    seen["looked"] = seen.get("looked", AT_ONCE) + AT_ONCE
    yield from look(work, words, session)


def stopped(work: Workspace, words: dict[str, str], session: Session, event) -> None:
    """Ends what is looked for."""
    work.seen(session)["stopped"] = latest.get(session.name)


def tagged(work: Workspace, words: dict[str, str], session: Session, event) -> Iterator[dict]:
    """The examples of Teach become tags: each picture has what its box is named for, and has not what the others are."""
    count = len(work.pictures(session).store)
    boxes = [box for box in session.boxes["boxes"] if any(i < count for i in counted(box))]
    if not boxes:
        raise InputError(words["locate_no_examples"])
    colours = {chip["id"]: chip for chip in box_chips(session)}
    with work.alone("marks", session.name):
        state = state_of(work, words, session)
        known = {one["name"]: one for one in state["classes"]}
        unused = not state["marks"]
        classes = [] if unused else list(state["classes"])
        of = {}
        for box in boxes[: MAX_CLASSES - len(classes)]:
            of[box["id"]] = known[box["name"]] if not unused and box["name"] in known else None
            if of[box["id"]] is None:
                number = 1 + max([int(one["id"][1:]) for one in classes if one["id"][1:].isdigit()] or [0])
                colour = _colour(colours[box["id"]]["colour"])
                of[box["id"]] = {"id": f"c{number}", "name": box["name"], "colour": colour}
                classes.append(of[box["id"]])
        said = {(mark["row"], mark["cls"]) for mark in state["marks"]}
        free = itertools.count(
            1 + max([int(mark["id"][1:]) for mark in state["marks"] if mark["id"][1:].isdigit()] or [0])
        )
        marks = list(state["marks"])
        for box in boxes:
            for row in counted(box):
                for other, one in of.items():
                    if row < count and (row, one["id"]) not in said and len(marks) < MAX_MARKS:
                        tag = {"id": f"m{next(free)}", "row": row, "cls": one["id"], "kind": "tag"}
                        marks.append(tag | ({} if other == box["id"] else {"no": True}))
        session.marks = {"rev": state["rev"] + 1, "classes": classes, "marks": marks}
        writers[session.name] = ""
        work.save(session)
    yield gr.update(marked=told(session))
    yield from look(work, words, session)


def _colour(shade: str) -> int:
    from byolmeta.ui.paint import BOX_COLOURS

    return BOX_COLOURS.index(shade) if shade in BOX_COLOURS else 0


# Looking


def look(work: Workspace, words: dict[str, str], session: Session) -> Iterator[dict]:
    """Learns from the marks and looks through pictures, the one on the stage first. Yields updates of `found`.

    A newer search of the same visitor, a stop, or a change of pictures or encoder ends it.
    """
    import torch

    from byolmeta import features

    number = latest[session.name] = latest.get(session.name, 0) + 1
    seen, state = work.seen(session), state_of(work, words, session)
    ids = [one["id"] for one in state["classes"]]
    if not any(not mark.get("no") for mark in state["marks"]):
        seen["located"] = {"rev": state["rev"], "ids": ids, "state": "", "rows": []}
        yield gr.update(found=seen["located"])
        return
    torch.set_num_threads(features.threads())

    def newest() -> bool:
        return latest[session.name] == number and work.seen(session) is seen

    def halted() -> bool:
        return not newest() or seen.get("stopped") == number

    def shown(**news) -> dict:
        before = seen.get("located") or {"rows": []}
        seen["located"] = {**before, "rev": state["rev"], "ids": ids, "note": "", **news}
        return gr.update(found=seen["located"])

    old = seen.get("located") or {}
    if old.get("ids") not in (None, ids):
        seen["located"] = {"rows": []}
    try:
        for done, total in usual_of(work, session):
            if halted():
                break
            yield shown(state="looking", done=done, total=total)
        answers = {}
        if not halted():
            search = learned(work, session, state)
            tagged = tag_chances(work, session, state, search)
            problems = [
                f"{state['classes'][label]['name']}{words['colon']}{said(words, str(problem))}"
                for label, problem in search.problems.items()
            ]
            count = len(work.pictures(session).store)
            rows = ranked(work, session, state)[: seen.get("looked", AT_ONCE)]
            skipped, last = 0, 0.0
        if not halted():
            seen["taught"] = Taught(search, tagged, [one["name"] for one in state["classes"]])
            for done, row in enumerate(rows, 1):
                if halted():
                    break
                try:
                    answers[row] = answer_of(work, session, seen["taught"], row)
                    seen.setdefault("taught_of", {})[row] = seen["taught"]
                except InputError:  # it is gone, or damaged
                    skipped += 1
                if time.monotonic() - last > EVERY:
                    last = time.monotonic()
                    yield shown(state="looking", done=done, total=len(rows), left=0, rows=_merged(seen, answers, rows))
        if not newest():
            return
        if not answers:  # stopped before the first one
            yield shown(state="stopped", left=0, done=0, total=0)
            return
        found = _merged(seen, answers, rows)
        after = {"done": len(answers), "total": len(rows), "left": count - skipped - len(found), "rows": found}
        after |= {"state": "stopped" if halted() else "done", "note": words["next_sentence"].join(problems)}
        yield shown(sure=suggested(found), **after)
    except InputError as problem:
        if newest():
            yield shown(state="done", rows=[], left=0, note=said(words, str(problem)))
    except Exception:  # a bug: the page must not go on waiting; it is told as every bug is
        yield shown(state="stopped", note=words["locate_failed"], done=0, total=0)
        raise
    finally:  # a page that was left in the middle ends the run too
        if newest() and (seen.get("located") or {}).get("state") == "looking":
            seen["located"] = seen["located"] | {"state": "left"}


class Taught(NamedTuple):
    """What the marks of a state taught."""

    search: Any
    tagged: dict[int, np.ndarray]  # of `tag_chances`
    names: list[str]  # of the classes


def _merged(seen: dict, answers: dict[int, dict], rows: list[int]) -> list[dict]:
    """The answers there are, and for pictures still to be looked at what was found before."""
    waiting = set(rows) - set(answers)
    before = [one for one in seen.get("located", {}).get("rows", ()) if one["row"] in waiting]
    return [*answers.values(), *before]


class Usual(threading.Thread):
    """Learns what is usual in a session's pictures; `step` is (done, of), `problem` what it ended by, if it did."""

    def __init__(self, work: Workspace, session: Session):
        super().__init__(daemon=True)
        self.work, self.session, self.seen = work, session, work.seen(session)
        self.step, self.problem = (0, min(USUAL, len(work.pictures(session).store))), None

    def run(self) -> None:
        from byolmeta.search import learn_usual

        try:
            sights = []
            for row in spread(len(self.work.pictures(self.session).store), USUAL):
                if self.work.seen(self.session) is not self.seen:
                    return  # other pictures or another encoder count now
                with contextlib.suppress(InputError):
                    sights.append(sight_of(self.work, self.session, row))
            if not sights:
                raise InputError("None of the pictures can be read any more. Open them again under Pictures.")
            self.seen["usual"] = learn_usual(sights, lambda *step: setattr(self, "step", step))
        except Exception as problem:  # goes on to who waits for it
            self.problem = problem


def usual_of(work: Workspace, session: Session) -> Iterator[tuple[int, int]]:
    """Waits until what is usual in the session's pictures is learned, which is done once; yields (done, of)."""
    seen = work.seen(session)
    with work.alone("usual", session.name):
        maker = seen.get("usual_maker")
        if maker is None or maker.problem:
            maker = seen["usual_maker"] = Usual(work, session)
            maker.start()
    while maker.is_alive():
        yield maker.step
        maker.join(EVERY)
    if maker.problem:
        raise maker.problem


def learned(work: Workspace, session: Session, state: dict):
    """What marks teach."""
    from byolmeta.search import learn

    sights = {row: sight_of(work, session, row) for row in sorted({mark["row"] for mark in state["marks"]})}
    marks = marks_of(state, sights)
    return learn(maps_of(work, session), sights, marks, len(state["classes"]), work.seen(session)["usual"])


def marks_of(state: dict, sights: dict) -> list:
    """The marks in pixels of their pictures, classes by number."""
    from byolmeta.search import Mark

    number = {one["id"]: place for place, one in enumerate(state["classes"])}
    found = []
    for mark in state["marks"]:
        wide, high = sights[mark["row"]].width, sights[mark["row"]].height
        left, top, right, bottom = mark.get("at", (0, 0, 0, 0))
        box = (left * wide, top * high, right * wide, bottom * high) if mark["kind"] == "box" else None
        points = tuple((x * wide, y * high) for x, y in mark.get("points", ()))
        radius = mark.get("radius", 0) * max(wide, high)
        found.append(Mark(mark["row"], number[mark["cls"]], bool(mark.get("no")), box, points, radius))
    return found


def ranked(work: Workspace, session: Session, state: dict) -> list[int]:
    """All rows in the order in which they are looked at: the stage, marked ones, then those most like pictures with the thing."""
    marks, stage = state["marks"], work.seen(session).get("staged")
    count = len(work.pictures(session).store)
    has = sorted({mark["row"] for mark in marks if not mark.get("no")})
    vectors = work.bank(session)[:count]
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    alike = (vectors @ vectors[has].T).max(1)
    first = [*([] if stage is None else [stage]), *sorted({mark["row"] for mark in marks})]
    return list(dict.fromkeys([*first, *np.argsort(-alike, kind="stable").tolist()]))


def tag_chances(work: Workspace, session: Session, state: dict, search) -> dict[int, np.ndarray]:
    """{class: the chance (N,) that each picture has it}, of the classes that only tags were given for, as Teach sorts pictures.

    Outlines alone do not tell: they lie on what is most like the thing, in every picture.
    """
    import torch

    from byolmeta.adapt import sort_pictures

    chances, count = {}, len(work.pictures(session).store)
    for label, one in enumerate(state["classes"]):
        tags = {
            m["row"]: not m.get("no", False) for m in state["marks"] if m["cls"] == one["id"] and m["kind"] == "tag"
        }
        if label in search.boxed or len(set(tags.values())) < 2:
            continue
        rows, has = np.array(list(tags)), np.array([int(tags[row]) for row in tags])
        vectors, copies = torch.from_numpy(work.bank(session)), work.copies(session)
        answer = sort_pictures(learner_of(work, session, work.encoder(session)), vectors, rows, has, 2, copies)
        chances[label] = np.where(answer.label == 1, answer.score, answer.member - answer.score)[:count]
    return chances


def found_on(work: Workspace, session: Session, taught: Taught, row: int):
    """What is found on a picture; of what was only tagged, no surer than that the picture has it at all."""
    answer = taught.search(sight_of(work, session, row), row)
    for label, chances in taught.tagged.items():
        of = answer.found.labels == label
        answer.found.scores[of] *= float(chances[row])
    answer.found.scores.copy_((1000 * answer.found.scores).round() / 1000)  # as the page compares them
    return answer


def answer_of(work: Workspace, session: Session, taught: Taught, row: int) -> dict:
    """What is found on a picture, as the page shows it."""
    sight = sight_of(work, session, row)
    answer = found_on(work, session, taught, row)
    sides = answer.found.boxes.new_tensor([sight.width, sight.height]).repeat(2)
    boxes = [
        [*(round(v, 4) for v in at), round(score, 3), label]
        for at, score, label in zip(
            *(part.tolist() for part in (answer.found.boxes / sides, *answer.found[1:])), strict=True
        )
        if round(score, 3) >= FAINT
    ]
    masks, (high, wide) = masks_of(work, session, row, answer.outlines)
    return {"row": row, "url": small_of(work, session, row, sight), "w": sight.width, "h": sight.height,
            "boxes": boxes, "masks": masks, "mw": wide, "mh": high}  # fmt: skip


def masks_of(work: Workspace, session: Session, row: int, outlines) -> tuple[str | None, tuple[int, int]]:
    """URL of outlines (classes, H, W) as bytes, and their height and width there; None where nothing is likely."""
    import torch.nn.functional as F

    if outlines.max() < FAINT:
        return None, (0, 0)
    high, wide = outlines.shape[1:]
    scale = min(1.0, MASK / max(high, wide))
    size = max(1, round(high * scale)), max(1, round(wide * scale))
    small = F.interpolate(outlines[None], size=size, mode="bilinear", antialias=True)[0]
    name = f"{session.name}-{_mark_of(work, session)}-masks-{row}"
    return thumbs.binary((255 * small.clamp(0, 1)).round().byte().numpy(), work.home / "thumbs", name), size


def suggested(answers: list[dict]) -> float:
    """How sure a box must be for the best F1 that the chances promise, over all boxes but drawn ones; 0.5 without any.

    F1 of the boxes above a bound is 2 * (sum of their chances) / (their number + sum of all chances).
    """
    scores = np.array(sorted((box[4] for one in answers for box in one["boxes"] if box[4] < 1), reverse=True))
    if not len(scores):
        return 0.5
    quality = 2 * scores.cumsum() / (np.arange(1, len(scores) + 1) + scores.sum())
    return float(np.clip(np.floor(50 * scores[quality.argmax()]) / 50, 0.02, 0.98))


def small_of(work: Workspace, session: Session, row: int, sight) -> str:
    """URL of a picture at the size of the list; drawn once."""
    kept = work.seen(session).setdefault("small", {})
    if not kept:
        _sweep(work, session)
    if row not in kept:
        image = _image(sight)
        image.thumbnail((SMALL, SMALL))
        name = f"{session.name}-{_mark_of(work, session)}-found-{row}"
        kept[row] = thumbs.large(image, name, work.home / "thumbs")
    return kept[row]


def _sweep(work: Workspace, session: Session) -> None:
    """Deletes what was drawn of other pictures, or of these in another state of their folder."""
    for part in ("large", "maps"):
        for file in (work.home / "thumbs" / part).glob(f"{session.name}-*-*-*"):
            if re.search(r"-(stage|found|masks)-\d+\.", file.name) and _mark_of(work, session) not in file.name:
                file.unlink(missing_ok=True)


def kept(work: Workspace, words: dict[str, str], session: Session, event) -> Iterator[list]:
    """Saves what was found on the pictures that were looked through. Yields [locator, file]."""
    from byolmeta import located
    from byolmeta.workplace import write_csv

    kind, sure, seen = sent(event, "kind"), sent(event, "sure"), work.seen(session)
    if not isinstance(kind, str) or kind not in FILES or type(sure) not in (int, float) or not 0 <= sure <= 1:
        raise InputError(words["locate_early"])
    answers, taught = (seen.get("located") or {}).get("rows"), dict(seen.get("taught_of") or {})
    if not answers or not taught:
        raise InputError(words["locate_early"])
    names = seen["taught"].names
    yield [gr.update(found=seen["located"] | {"state": "writing", "note": words["locate_writing"]}), gr.skip()]

    def each():
        for row in sorted(one["row"] for one in answers):
            with contextlib.suppress(InputError):  # it is gone meanwhile
                yield located_on(work, session, taught[row], row, sure)  # as the page shows it, by older marks too

    path = export_path(work, session, f"{paint.file_name(session.label or 'pictures')}-{FILES[kind]}")
    if kind == "csv":
        write_csv(path, located.rows_of(each(), names))
    else:
        write = {"coco": located.write_coco, "yolo": located.write_yolo}
        write |= {"masks": located.write_masks, "overlays": located.write_pictures}
        write[kind](each(), names, path)
    yield [gr.update(found=seen["located"]), fetched(path)]


def located_on(work: Workspace, session: Session, taught: Taught, row: int, sure: float):
    """What is found on a picture with at least this chance, in its own pixels."""
    import torch.nn.functional as F

    from byolmeta import tidy
    from byolmeta.decode import Limits, whole
    from byolmeta.located import Located
    from byolmeta.search import within_boxes

    index = work.pictures(session).store.index
    with tidy.originals(index) as read:
        image, (wide, high) = whole(read(index.paths[row]), DRAWN, Limits())
    sight = sight_of(work, session, row)
    answer = found_on(work, session, taught, row)
    kept = answer.found.scores >= sure
    scale = answer.found.boxes.new_tensor([wide / sight.width, high / sight.height]).repeat(2)
    outlines = within_boxes(answer, kept)
    chance, label = F.interpolate(outlines[None], size=(high, wide), mode="bilinear")[0].max(0)
    mask = ((label + 1) * (chance > 0.5)).byte()
    boxes, scores, labels = answer.found
    return Located(thumbs.text(index.paths[row]), image, wide, high, (boxes[kept] * scale).numpy(), scores[kept].numpy(),
                   labels[kept].numpy(), mask.numpy())  # fmt: skip
