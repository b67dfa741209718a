"""Step 4, Teach: boxes of examples, adaptation that is played step by step, and an honest accuracy."""

import itertools
from collections.abc import Iterator
from types import SimpleNamespace

import gradio as gr
import numpy as np

from byolmeta.errors import InputError
from byolmeta.files import PIXELS, UNTRAINED, find_encoder, starters
from byolmeta.ui import figures, sentences, thumbs
from byolmeta.ui.board import Board, check_boxes, encode_answers
from byolmeta.ui.camera import Camera
from byolmeta.ui.chart import Chart
from byolmeta.ui.drop import received_file
from byolmeta.ui.filling import fresh_id
from byolmeta.ui.html import safe
from byolmeta.ui.map import box_chips, whole_board
from byolmeta.ui.player import Player, encode_moves
from byolmeta.ui.workspace import UNPRACTISED, Pictures, Session, Workspace

FEW = 30  # below this many checks an accuracy is a count, never a percentage
LEAP = 1_000_000  # changes that a board can be ahead of what is saved; more would lock the saved one for good
CELLS_HEIGHT = 260  # pixels of the confusion matrix of a few boxes
NAMED = 6  # class folders that are told by name
numbers = itertools.count(1)  # of adaptations, so that the player knows a new one
writers: dict[str, tuple] = {}  # by visitor: the window that made the newest change, and its rev
latest: dict[str, int] = {}  # the newest board of each visitor; older runs see it and end


def layout(words: dict[str, str], others: SimpleNamespace, shared: bool) -> SimpleNamespace:
    """Lays the step out: the board, and the growing curve beside it; `outputs` are what an adaptation changes.

    `others` lay out what stands between: `fill` below the board, `advice` and `why` below the verdict, `cell` below the
    confusion matrix, `carry` below the curve. `shared`: all windows of a browser show one and the same board.
    """
    with gr.Row(elem_id="teach"):
        with gr.Column(scale=3, min_width=320, elem_id="teach-board"):
            board = Board(words=words.get("of_board"), shared=shared, elem_id="board")
            fill = others.fill()
            camera = Camera(words=words.get("of_camera"), elem_id="camera")
        with gr.Column(scale=2, min_width=320, elem_id="worth"):
            gr.HTML(f"<h3>{safe(words['curve_title'])}</h3>", padding=False)
            verdict = gr.HTML(said(words["teach_line"]), elem_id="verdict", padding=False)
            advice, why = others.advice(), others.why()
            curve = Chart(
                words=words.get("of_chart"),
                label=words["curve_title"],
                empty=words["curve_empty"],
                height=290,
                elem_id="curve",
            )
            player = Player(words=words.get("of_player"), chart="curve", elem_id="player")
            carry = others.carry()
            with gr.Accordion(words["details"], open=False, elem_id="details"):
                names = ("anil", "metasgd", "ridge", "linear", "prototype")
                method = gr.Radio(
                    [(words[f"method_{n}"], n) for n in names], value="anil", label=words["method"], elem_id="method"
                )
                gr.Markdown(f"**{words['confusion']}**")
                confusion = Chart(
                    words=words.get("of_chart"),
                    label=words["confusion"],
                    empty=words["confusion_empty"],
                    height=CELLS_HEIGHT,
                    elem_id="confusion",
                )
                cell = others.cell()
                gr.Markdown(words["glossary"])
    return SimpleNamespace(
        fill=fill,
        why=why,
        cell=cell,
        confusion=confusion,
        board=board,
        camera=camera,
        advice=advice,
        carry=carry,
        method=method,
        curve=curve,
        player=player,
        outputs=[board, verdict, curve, confusion, player],
    )


def said(sentence: str, number: int | None = None) -> str:
    """A sentence in the place of the verdict; with the number of an adaptation read aloud."""
    return f"<p{_aloud(number)}>{safe(sentence)}</p>"


def _aloud(number: int | None) -> str:
    return "" if number is None else f" data-aloud='{number}'"


def changed(work: Workspace, words: dict[str, str], session: Session, state: dict) -> Iterator[list]:
    """The board sent a new state: it is checked, saved, and adapted to. Yields what `begin` does.

    A window that did not know the newest change when it made its own, or shows other pictures, is told instead; its change
    can be taken back there. `state`: {rev, boxes}, and of a browser page, known, key (see state.js of the board).
    """
    key, page, known = (state.get(name) for name in ("key", "page", "known"))
    if key is not None and key != work.pictures(session).sheets["key"]:
        yield [whole_board(work, session), *[gr.skip()] * 4]
        return
    newer = check_boxes(state, len(work.pictures(session).store) + session.extras)
    with work.board(session):
        before = session.boxes
        if newer["rev"] > before["rev"] + LEAP:
            raise InputError("The board counts changes that nobody made. Reload the page.")
        own = page is None or writers.get(session.name) == (page, before["rev"])  # the newest change came from there
        informed = own or (type(known) is int and known >= before["rev"])
        lost = not informed or (newer["rev"] == before["rev"] and newer["boxes"] != before["boxes"])
        late = lost or newer["rev"] < before["rev"]
        same = _filled(newer) == _filled(before)
        if not late:
            session.boxes = newer
            writers[session.name] = page, newer["rev"]
            work.save(session)
    if late:  # news for another window; for the same one, overtaken on the way, an echo
        overtaken = own and newer["rev"] < before["rev"]
        yield [gr.update(boxes=before | ({} if overtaken else {"force": True})), *[gr.skip()] * 4]
        return
    seen = work.seen(session)
    if same and seen.get("answers") and seen.get("answered") == _filled(newer):  # a name, or an empty box
        seen["answers"] = seen["answers"] | {"rev": newer["rev"]}
        player = gr.update(rev=newer["rev"], boxes=box_chips(session))
        yield [gr.update(answers=seen["answers"]), *[gr.skip()] * 3, player]
    else:
        yield from begin(work, words, session)


def _filled(boxes: dict) -> list:
    return [(box["id"], sorted(examples)) for box in boxes["boxes"] if (examples := counted(box))]


def begin(work: Workspace, words: dict[str, str], session: Session) -> Iterator[list]:
    """Adapts to the boxes as they are: answers first, then all steps of all lines at once, which the browser plays.

    Yields [board, verdict, curve, confusion, player]. A newer call for the same visitor, or a change of pictures, ends this
    one.
    """
    import torch

    from byolmeta.adapt import label_trace

    number = latest[session.name] = latest.get(session.name, 0) + 1
    rev, task, (filled, support, labels) = session.boxes["rev"], _filled(session.boxes), task_of(session)
    found, extras, way = work.pictures(session), session.extras, len(filled)
    method, wheres = learner_of(work, session, work.encoder(session)), compared_with(work, session)
    seen = work.seen(session)

    def show(verdict: str, curve: dict, confusion: dict, moves: dict, empty: str = words["curve_more"]) -> list:
        player = {"moves": moves, "rev": rev, "boxes": box_chips(session)}
        player |= {"pictures": found.sheets, "extras": work.extras(session)}
        seen["curve"] = curve, verdict, confusion, empty, player
        return [gr.skip(), *_shown(*seen["curve"])]

    def outdated(*vectors) -> bool:
        """Whether the boxes or the pictures changed meanwhile."""
        other = session.fingerprint != found.store.fingerprint or session.extras != extras
        return other or latest[session.name] != number or any(len(v) != len(found.store) + extras for v in vectors)

    if way < 2:
        seen["answers"] = None
        yield [gr.update(answers={}), *show(said(words["teach_line"]), {}, {}, {}, words["curve_empty"])[1:]]
        return
    torch.set_num_threads(1)  # small tensors: two threads that wait for each other beside a training process are slower
    vectors = work.bank(session)
    if outdated(vectors):
        return
    vectors, copies = torch.from_numpy(vectors), work.copies(session)
    if outdated(copies):
        return
    answers = answer(method, vectors, support, labels, filled, rev, copies)
    if outdated():
        return
    seen["answers"], seen["answered"] = answers, task
    waiting = gr.update(moves={"waiting": True})  # what it showed is over
    yield [gr.update(answers=answers), said(words["checking"]), gr.skip(), gr.skip(), waiting]
    steps = []
    for classes in label_trace(method, vectors, support, labels, way):
        if outdated():
            return
        steps.append(classes)
    moves = {"support": support, "box_ids": [box["id"] for box in filled], "seq": next(numbers)}
    checks = checks_of(found, support, labels, copies)
    if checks is None and np.bincount(labels).max() < 2:
        yield show(said(words["curve_more"], number), {}, {}, encode_moves(steps, **moves))
        return
    banks = {key: work.bank(session, where) for key, where in wheres.items()}
    if outdated(*banks.values()):
        return
    methods = {key: learner_of(work, session, where) for key, where in wheres.items()}
    traces = traces_of(methods, banks, support, labels, way, checks, copies)
    names = {key: words[f"line_{key}"].format(name=work.encoder_name(session)) for key in traces}
    shown = {key: [] for key in traces}
    for key, trace in traces.items():
        for accuracy in trace:
            if outdated():
                return
            shown[key].append(accuracy)
    if not any(shown.values()):  # not one example could be hidden
        yield show(said(words["curve_more"], number), {}, {}, encode_moves(steps, **moves))
        return
    asked = labels if checks is None else checks[1]
    chance = np.bincount(asked).max() / len(asked)  # always the box that most of the asked pictures belong to
    flattered = has_seen_classes(work, session, found)
    about = "" if checks is None else checked_on(found, sorted(classes_of(found, support, labels)), words)
    circular = checks is None and np.isin(support, session.grouped).mean() > 0.5
    text = verdict_of(shown, names, words, checks is None, chance, flattered, about, circular, number)
    picture = {}
    if checks is not None:
        matrix = confusion_of(steps[-1], way, *checks)
        picture = figures.confusion_figure(matrix, [box["name"] for box in filled], words)
    right = [shown_accuracy(accuracy, words)[0] for accuracy in shown["yours"]]
    curve = figures.accuracy_figure(shown, names, chance, words)
    last = show(text, curve, picture, encode_moves(steps, right, **moves))
    if outdated():
        return
    yield [gr.update(answers=answers), *last[1:]]  # once more: of two updates at once the page may see the older one


def task_of(session: Session) -> tuple[list[dict], np.ndarray, np.ndarray]:
    """The boxes whose examples count; ids of those examples, and which of these boxes each is in."""
    filled = [(box, examples) for box in session.boxes["boxes"] if (examples := counted(box))]
    support = np.array([i for _, examples in filled for i in examples], np.int64)
    labels = np.array([place for place, (_, examples) in enumerate(filled) for _ in examples], np.int64)
    return [box for box, _ in filled], support, labels


def counted(box: dict) -> list[int]:
    """The examples of a box that count: none where it is left out, and not those that are muted."""
    muted = set(box.get("muted", ()))
    return [] if box.get("off") else [i for i in box["items"] if i not in muted]


def classifier_of(work: Workspace, session: Session, where: str):
    """What the boxes teach, as an object that answers as the board does. Raises InputError below two boxes with examples."""
    import torch

    from byolmeta import classifier

    filled, support, labels = task_of(session)
    vectors, copies = torch.from_numpy(work.bank(session, where)), work.copies(session)
    names = [box["name"] for box in filled]
    return classifier.teach(learner_of(work, session, where), vectors, support, labels, names, copies)


def again(work: Workspace, words: dict[str, str], session: Session) -> list:
    """The last outputs of `begin`, for a page whose parts came up after they were sent."""
    first = {}, said(words["teach_line"]), {}, words["curve_empty"], {"moves": {}}
    return [gr.skip(), *_shown(*work.seen(session).get("curve") or first)]


def _shown(curve: dict, verdict: str, confusion: dict, empty: str, player: dict) -> list:
    """[verdict, curve, confusion, player] as outputs; `empty` stands where the curve is not drawn yet."""
    rows = len(confusion["data"][0]["z"]) if confusion else 0
    cells = gr.update(figure=confusion, height=max(CELLS_HEIGHT, 110 + 24 * rows))
    return [verdict, gr.update(figure=curve, empty=empty), cells, gr.update(**player)]


def answer(method, vectors, support: np.ndarray, labels: np.ndarray, boxes: list[dict], rev: int, copies) -> dict:
    """Where every other picture goes, as the board shows it; `rev` is that of the boxes."""
    from byolmeta.adapt import sort_pictures

    found = sort_pictures(method, vectors, support, labels, len(boxes), copies)
    return encode_answers(found.label, found.sure, rev=rev, box_ids=[box["id"] for box in boxes])


def classes_of(found: Pictures, support: np.ndarray, labels: np.ndarray) -> dict[int, int]:
    """{class folder: the box that stands for it}; empty where folders do not tell.

    A box stands for the folders of more than a third of its examples, if no other box has as many from there. So a
    box may hold several classes, and a few examples that lie in a wrong box do not change what is asked.
    """
    store, boxes = found.store, np.unique(labels)
    known = np.where(support < len(store), store.labels[np.minimum(support, len(store) - 1)], -1)
    counts = {
        c: np.bincount(labels[known == c], minlength=labels.max() + 1) for c in np.unique(known[known >= 0]).tolist()
    }
    sizes, classes = np.bincount(labels), {}
    for c, count in counts.items():
        box = int(count.argmax())
        if 3 * count[box] > sizes[box] and (count == count[box]).sum() == 1:
            classes[c] = box
    return classes if set(classes.values()) == set(boxes.tolist()) else {}


def strays_of(found: Pictures, support: np.ndarray, labels: np.ndarray) -> list[tuple[int, int, int]]:
    """(picture, its box, its class folder) of examples whose folder is not among those that their box stands for."""
    store, classes = found.store, classes_of(found, support, labels)
    if not classes:
        return []
    known = [
        (i, b, int(store.labels[i])) for i, b in zip(support.tolist(), labels.tolist(), strict=True) if i < len(store)
    ]
    return [(i, b, c) for i, b, c in known if c >= 0 and classes.get(c) != b]


def checks_of(
    found: Pictures, support: np.ndarray, labels: np.ndarray, copies: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Ids and boxes of the other pictures of the class folders that the boxes stand for; None where folders do not tell.

    Copies of examples are no checks, and of pictures that are copies of each other one is asked. `copies` (N + extras,):
    same number for copies.
    """
    store, classes = found.store, classes_of(found, support, labels)
    rows = np.flatnonzero(np.isin(store.labels, list(classes)) & ~np.isin(copies[: len(store)], copies[support]))
    ids = rows[np.sort(np.unique(copies[rows], return_index=True)[1])]
    return (ids, np.array([classes[c] for c in store.labels[ids].tolist()])) if len(ids) else None


def checked_on(found: Pictures, asked: list[int], words: dict[str, str]) -> str:
    """The class folders that are asked about, by name, and how many are not."""
    store = found.store
    names = [thumbs.text(store.class_names[label]) for label in asked]
    others = len(np.unique(store.labels[store.labels >= 0])) - len(asked)
    listed = words["comma"].join(names[:NAMED])
    listed = words["checked_more"].format(names=listed, n=len(names) - NAMED) if len(names) > NAMED else listed
    line = words["checked_names"].format(names=listed)
    return line + words["checked_join"] + words["checked_not"].format(n=others) if others else line


def compared_with(work: Workspace, session: Session) -> dict[str, str]:
    """{line of the curve: where its vectors come from}: the baselines, and the session's encoder as "yours"."""
    yours = work.encoder(session)
    wheres = {"pixels": PIXELS}
    if yours != UNTRAINED:
        wheres["untrained"] = work.untrained(session)
    practised = work.practised(yours)
    starter = "" if yours in (*starters(), UNTRAINED) else work.starter(session)
    if starter and not (practised and work.parent(yours) == str(find_encoder(starter).resolve())):  # else the next line
        wheres["starter"] = starter
    if practised:
        wheres["unpractised"] = f"{UNPRACTISED}:{yours}"
    return wheres | {"yours": yours}


def learner_of(work: Workspace, session: Session, where: str):
    """The session's learner, with what practice found for that encoder; the usual settings for all others."""
    from byolmeta.learners import learner

    return learner(session.learner, work.card(where))


def has_seen_classes(work: Workspace, session: Session, found: Pictures) -> bool:
    """Whether the session's encoder, or one that it went on from, practised on the class folders of these very pictures."""
    from byolmeta.measure import saw_labels

    return saw_labels(work.card(work.encoder(session)), found.store)


def traces_of(
    methods: dict,
    banks: dict,
    support: np.ndarray,
    labels: np.ndarray,
    way: int,
    checks: tuple | None,
    copies: np.ndarray,
) -> dict[str, Iterator]:
    """For each bank, by the learner of the same key, a trace of accuracies: on `checks` (ids, boxes), or by hiding each example in turn."""
    import torch

    from byolmeta.adapt import check_trace, hide_trace

    def trace(method, vectors) -> Iterator:
        if checks is None:
            return hide_trace(method, vectors, support, labels, way, copies)
        return check_trace(method, vectors, support, labels, way, *checks)

    return {key: trace(methods[key], torch.from_numpy(bank)) for key, bank in banks.items()}


def shown_accuracy(accuracy, words: dict[str, str]) -> tuple[str, str]:
    """'7 of 8' under FEW checks, a percentage beyond; and its range, which always goes with it."""
    low, high = (round(100 * r) for r in accuracy.range)
    few = accuracy.of < FEW
    text = words["few_checks"].format(right=accuracy.right, of=accuracy.of) if few else f"{100 * accuracy.value:.0f} %"
    return text, words["range"].format(low=low, high=high)


def verdict_of(
    shown: dict,
    names: dict,
    words: dict[str, str],
    hidden: bool,
    chance: float,
    flattered: bool = False,
    about: str = "",
    circular: bool = False,
    number: int | None = None,
) -> str:
    """The accuracy in words and whether it beats the baselines: clearly only where the ranges do not overlap.

    `hidden`: checked by hiding each example in turn, not on other pictures. `chance`: accuracy of guessing. `flattered`:
    practice has seen the class folders. `about`: which folders were asked about. `circular`: the examples are groups that
    the computer found itself, so no other line is a comparison. `number`: of the adaptation, see `said`.
    """
    aloud = _aloud(number)
    last = {key: trace[-1] for key, trace in shown.items() if trace}
    mine = last.pop("yours")
    text, span = shown_accuracy(mine, words)
    checked = words["checked_hidden" if hidden else "checked_others"].format(of=f"{mine.of:,}") + about
    rows = []
    for key, accuracy in last.items():
        theirs = " · ".join(shown_accuracy(accuracy, words))
        rows.append(f"<li>{safe(names[key])}{words['colon']}{safe(theirs)}</li>")
    if circular:
        agrees = f"<b{aloud}>{safe(words['score_agrees'].format(text=text))}</b>"
        return f"<p class='score'>{agrees}</p><p class='worth'{aloud}>{safe(words['own_groups'])}</p>"
    if mine.range[0] <= chance:
        checked += words["checked_join"] + words["like_guessing"]
    if flattered:
        checked += words["checked_join"] + words["checked_seen"]
    compared = {"worth_yes": [], "worth_unclear": [], "worth_no": []}
    for key, accuracy in last.items():
        above, below = mine.range[0] > accuracy.range[1], mine.range[1] < accuracy.range[0]
        compared["worth_yes" if above else "worth_no" if below else "worth_unclear"].append(words[f"than_{key}"])
    if flattered:
        words = words | {"worth_yes": words["worth_flattered"]}
    found = (words[key].format(what=words["or"].join(names)) for key, names in compared.items() if names)
    worth = words["next_sentence"].join(found)
    score = f"<b{aloud}>{safe(words['score'].format(text=text))}</b> · {safe(span)}"
    line = f"<p class='score'>{score}<span class='quiet'>{safe(checked)}</span></p>"
    return f"{line}<p class='worth'{aloud}>{safe(worth)}</p><ul class='quiet'>{''.join(rows)}</ul>"


def confusion_of(classes: np.ndarray, way: int, ids: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Counts (way, way) of checked pictures: true box by answer. classes (N,): the answers for all pictures."""
    matrix = np.zeros((way, way), int)
    np.add.at(matrix, (truth, classes[ids]), 1)
    return matrix


def choose_method(work: Workspace, session: Session, name: str) -> None:
    from byolmeta.learners import LEARNERS

    session.learner = name if name in LEARNERS else "anil"
    work.save(session)


def dropped(work: Workspace, words: dict[str, str], session: Session, box: str | None, files: list[dict]):
    """Pictures dropped from the desktop onto a box; returns the board with them in it."""
    new, wrong = [], []
    for file in files[:100] if isinstance(files, (list, tuple)) else []:
        try:
            work.room_for_extras(session, 1)
            path, name = received_file(file)
            new.append(work.add_extra(session, path))
        except InputError as problem:
            wrong.append(str(problem))
    if wrong and not new:
        raise InputError(wrong[0])  # which is translated where it is shown
    if wrong:
        gr.Warning(safe(sentences.said(words, wrong[0])), title=words["some_unread"].format(n=len(wrong)))
    with work.board(session):
        _put(session, new, box, words)
        work.save(session)
    return gr.update(extras=work.extras(session), boxes=session.boxes | {"force": True})


def assigned(work: Workspace, words: dict[str, str], session: Session, indices: list, box: str | None, key: str):
    """A selection on the map goes into a box; returns [board, map]."""
    found = work.pictures(session)
    if key != found.sheets["key"]:
        raise InputError("The map showed other pictures. Select once more.")
    indices = indices if isinstance(indices, (list, tuple)) else []
    ids = list(dict.fromkeys(i for i in indices if type(i) is int and 0 <= i < len(found.store)))
    with work.board(session):
        for other in session.boxes["boxes"]:
            leave(other, ids)
        _put(session, ids, box, words)
        work.save(session)
    return gr.update(boxes=session.boxes | {"force": True}), gr.update(boxes=box_chips(session))


def taken_back(work: Workspace, session: Session, ids: list[int]) -> list:
    """Pictures leave their boxes; returns [board, map]."""
    with work.board(session):
        for box in session.boxes["boxes"]:
            leave(box, ids)
        session.boxes["rev"] += 1
        work.save(session)
    return [gr.update(boxes=session.boxes | {"force": True}), gr.update(boxes=box_chips(session))]


def leave(box: dict, ids: list[int]) -> None:
    """Takes pictures out of a box."""
    gone = set(ids)
    for key in ("items", "muted"):
        if key in box:
            box[key] = [i for i in box[key] if i not in gone]


def _put(session: Session, ids: list[int], box: str | None, words: dict[str, str]) -> None:
    """Adds pictures to a box, or to a new one."""
    boxes = session.boxes["boxes"]
    chosen = next((b for b in boxes if b["id"] == box), None)
    if chosen is None:
        if len(boxes) >= 20:
            raise InputError("A board has at most 20 boxes. Delete one first.")
        chosen = {"id": fresh_id(boxes), "name": words["box_name"].format(n=len(boxes) + 1), "items": []}
        boxes.append(chosen)
    chosen["items"] += ids
    session.boxes["rev"] += 1
