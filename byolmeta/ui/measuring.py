"""What Measure is asked for, checked against what may be asked, and the measuring itself."""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np

from byolmeta.errors import InputError
from byolmeta.files import HISTOGRAM, PIXELS, UNTRAINED, image_size_of
from byolmeta.settings import check_seed
from byolmeta.ui import sentences
from byolmeta.ui.html import safe
from byolmeta.ui.measured import SLOW, SLOW_TASKS, Line, Plan, Results, file_of, shown
from byolmeta.ui.pictures import status_line, watched
from byolmeta.ui.thumbs import text as plain
from byolmeta.ui.workspace import Session, Workspace

LEARNERS = ("prototype", "ridge", "linear", "anil", "metasgd", "auto", "maml", "finetune")
QUESTIONS = 20_000_000  # whose answers are kept, two bytes each


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


kept: dict[str, Results] = {}  # by visitor
latest: dict[str, int] = {}  # the newest measuring of each visitor; older ones see it and end


def forget(name: str) -> None:
    """Deletes what a visitor measured."""
    latest[name] = latest.get(name, 0) + 1
    kept.pop(name, None)


# What is asked for


def encoders_of(work: Workspace, words: dict[str, str], session: Session) -> list[tuple[str, str]]:
    """(name, where) of all that a visitor can measure: encoders, then the baselines."""
    untrained = work.untrained(session)
    baselines = [
        (_untrained_name(untrained, words), untrained),
        (words["measure_pixels"], PIXELS),
        (words["measure_histogram"], HISTOGRAM),
    ]
    return [*work.encoders(session), *baselines]


def _untrained_name(where: str, words: dict[str, str]) -> str:
    shape = Path(where.partition(":")[2]).name
    return words["measure_untrained"].format(name=shape) if shape else words["untrained_name"]


def retold(results: Results, words: Mapping) -> Results:
    """Results whose baselines and pictures are named in the language of the words."""
    for line in results.lines:
        kind = line.where.partition(":")[0]
        if kind == UNTRAINED:
            line.encoder = _untrained_name(line.where, words)
        elif kind in (PIXELS, HISTOGRAM):
            line.encoder = words["measure_pixels" if kind == PIXELS else "measure_histogram"]
    results.label = sentences.retold(words, results.label)
    return results


def plan_of(
    work: Workspace, words: dict[str, str], session: Session, encoders, learners, way, shots, query, episodes, seed
) -> Plan:
    """The form as a plan. Raises InputError for what cannot be measured."""
    caps = caps_of(work)
    offered = {where: name for name, where in encoders_of(work, words, session)}
    for _, where in work.encoders(session):  # the page may look with another encoder since the form was filled
        twin = f"{UNTRAINED}:{where}"
        offered.setdefault(twin, _untrained_name(twin, words))
    encoders, learners = (
        list(dict.fromkeys(map(str, chosen))) if isinstance(chosen, (list, tuple)) else []
        for chosen in (encoders, learners)
    )
    if not encoders or not learners:
        raise InputError(words["measure_nothing"])
    if any(where not in offered for where in encoders):
        raise InputError(words["measure_gone"])
    if wrong := [name for name in learners if name not in caps.learners]:
        here = words["measure_not_here"] if wrong[0] in LEARNERS else words["measure_no_learner"]
        raise InputError(here.format(name=wrong[0][:40], names=words["comma"].join(caps.learners)))
    if len(encoders) * len(learners) > caps.lines:
        raise InputError(words["measure_lines"].format(n=len(encoders) * len(learners), most=caps.lines))
    shots = shots_of(shots, words, caps)
    way = _whole(way, 2, 1_000, words["measure_way"], words)
    query = _whole(query, 0, 1_000, words["measure_query"], words)
    episodes = _whole(episodes, 2, caps.tasks, words["measure_tasks"], words)
    seed = _whole(seed, 0, 2**32 - 1, words["measure_seed"], words)
    check_seed(seed)
    if way * (max(shots) + (query or 15)) > caps.pictures:
        raise InputError(
            words["measure_big"].format(n=f"{way * (max(shots) + (query or 15)):,}", most=f"{caps.pictures:,}")
        )
    if (asked := episodes * way * (query or 15) * len(shots) * len(encoders) * len(learners)) > QUESTIONS:
        raise InputError(words["measure_many"].format(n=f"{asked:,}", most=f"{QUESTIONS:,}"))
    ordered = tuple(name for name in caps.learners if name in learners)
    return Plan(tuple((offered[w], w) for w in encoders), ordered, way, shots, query, episodes, seed)


def shots_of(text, words: dict[str, str], caps: Caps) -> tuple[int, ...]:
    """The numbers in a text such as '1, 5', in order."""
    parts = [part for part in re.split(r"[\s,;，、；]+", str(text if text is not None else "").strip()) if part]
    if not parts or not all(re.fullmatch(r"[0-9]{1,4}", part) and int(part) for part in parts):
        raise InputError(words["measure_shots_wrong"].format(text=str(text)[:40]))
    found = tuple(sorted({int(part) for part in parts}))
    if len(found) > caps.shots:
        raise InputError(words["measure_shots_many"].format(n=len(found), most=caps.shots))
    return found


def _whole(value, low: int, high: int, name: str, words: dict[str, str]) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or value != value
        or not low <= value <= high
        or value % 1
    ):
        value = (
            value
            if isinstance(value, float) or isinstance(value, int) and abs(value) < 1e15
            else words["measure_no_number"]
        )
        raise InputError(words["measure_number"].format(name=name, value=value, low=f"{low:,}", high=f"{high:,}"))
    return int(value)


# Measuring


def run(work: Workspace, words: dict[str, str], session: Session, *form) -> Iterator[list]:
    """Yields [status, start, stop, table, figure] while it measures; a newer call for the visitor, or `halt`, ends it."""
    number = latest[session.name] = latest.get(session.name, 0) + 1
    after = [gr.update(interactive=True), gr.update(visible="hidden")]
    nothing, results = [gr.skip()] * 2, None
    try:
        plan = plan_of(work, words, session, *form)
        yield [
            status_line(words["measure_drawing"], 0),
            gr.update(interactive=False),
            gr.update(visible=True),
            *nothing,
        ]
        results = prepare(work, words, session, plan)
        kept[session.name] = results
        yield [gr.skip()] * 3 + shown(results, words)
        said = yield from _measure(work, words, session, results, number)
        results.ended = True
        said = said and gr.update(value=f"<p class='quiet' data-aloud>{safe(said)}</p>", visible=True)
        if latest.get(session.name) == number or said:
            yield [said or gr.update(value="", visible="hidden"), *after, *shown(results, words)]
    except InputError as problem:
        yield [gr.update(value=alert(sentences.said(words, str(problem))), visible=True), *after, *nothing]
    except Exception:  # a bug, which goes on to who shows it; the button has to be usable again before
        yield [gr.update(value="", visible="hidden"), *after, *nothing]
        raise
    finally:  # also when the page was closed meanwhile
        if results:
            results.ended = True


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
    same_pictures(found.store, store, words)
    label = plain(sentences.retold(words, session.label) or words["sample_creatures"])
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
        return open_store(source, work.own(session) / "stores", size, limits=work.limits)


def same_pictures(first, second, words: dict[str, str]) -> None:
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
        same_pictures(results.store, store, words)
        for learner in plan.learners:
            slow = learner in SLOW
            making = watched(
                lambda progress, w=where, n=learner, s=store: candidate(w, n, s, work.own(session, w), progress),
                words["looking_at"],
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
            line = Line(plain(name), where, learner, store.fingerprint, file_of(where), about)
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


def alert(sentence: str) -> str:
    return f"<p role='alert'>{safe(sentence)}</p>"
