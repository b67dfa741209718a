"""Step 2, Learn, its second half: practice with small puzzles (meta-training), drawn as the inner loop gets better."""

import math
import time
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np

from byolmeta import jobs
from byolmeta.errors import InputError
from byolmeta.files import UNTRAINED, find_encoder
from byolmeta.runs import Run
from byolmeta.settings import MetatrainConfig
from byolmeta.ui import figures, running, thumbs
from byolmeta.ui.chart import Chart
from byolmeta.ui.html import safe, tile
from byolmeta.ui.line import GOING
from byolmeta.ui.workspace import Session, Workspace

PUBLIC_MINUTES = 2
FOLDERS = 6  # class folders that practice on them needs: some to practise on, others to judge by
LEARNERS = ("anil", "metasgd", "ridge", "prototype")
ASKED, SIDE = 3, 56  # classes of the puzzle that is shown, and pixels of its pictures
SEEDS = 2**32 - 1  # the highest
LITTLE = 0.02  # accuracy that the steps of learning add or lose where they "change little"
OFTEN = {"check_every": 5, "patience": 40}  # as long as the usual settings, with more to see


def layout(words: dict[str, str]) -> SimpleNamespace:
    """Lays practice out; `live` are the outputs that follow a run, `choices` those that follow pictures and encoder."""
    with gr.Row(elem_id="practice"):
        with gr.Column(scale=2, min_width=320):
            gr.HTML(
                f"<h3>{safe(words['practise'])}</h3><p class='line'>{safe(words['practise_line'])}</p>", padding=False
            )
            why = gr.HTML(visible="hidden", elem_id="practise-why", padding=False)
            button = gr.Button(words["practise_start"], variant="primary", size="lg", elem_id="practise")
            example = gr.HTML(elem_id="puzzle", padding=False)
            with gr.Accordion(words["details"], open=False, elem_id="practise-details"):
                tasks = gr.Radio([(words["from_pictures"], "pseudo")], value="pseudo", label=words["puzzles_from"],
                                 elem_id="puzzles-from")  # fmt: skip
                learner = gr.Radio([(words[f"method_{name}"], name) for name in LEARNERS], value="anil",
                                   label=words["practise_learner"], elem_id="practise-learner")  # fmt: skip
                seed = gr.Number(value=0, precision=0, minimum=0, label=words["seed"], info=words["seed_note"])
                gr.Markdown(f"**{words['inner_loss']}**")
                gr.HTML(f"<p class='quiet'>{safe(words['inner_loss_note'])}</p>", padding=False)
                loss = Chart(
                    words=words.get("of_chart"),
                    label=words["inner_loss"],
                    empty=words["inner_idle"],
                    height=220,
                    elem_id="inner-loss",
                )
                gr.Markdown(words["practise_glossary"])
        with gr.Column(scale=3, min_width=320):
            progress = gr.HTML(elem_id="practice-progress", visible="hidden", padding=False)
            onward = gr.Button(words["go_teach"], visible="hidden", elem_id="practice-onward", variant="primary")
            with gr.Row(elem_id="practice-asks"):
                small = {"visible": "hidden", "size": "sm", "min_width": 120, "scale": 0}
                pause = gr.Button(words["pause"], elem_id="practice-pause", **small)
                resume = gr.Button(words["resume"], elem_id="practice-resume", **small)
                stop = gr.Button(words["stop"], elem_id="practice-stop", **small)
            with gr.Row(elem_id="practice-charts"):
                with gr.Column(min_width=300):
                    inner_line = gr.HTML(
                        _titled(words["chart_inner"], words["inner_about"]), padding=False, elem_id="inner-line"
                    )
                    inner = Chart(
                        words=words.get("of_chart"),
                        label=words["chart_inner"],
                        empty=words["inner_idle"],
                        height=260,
                        elem_id="inner",
                    )
                with gr.Column(min_width=300):
                    outer_line = gr.HTML(
                        _titled(words["chart_practice"], words["practice_about"]), padding=False, elem_id="outer-line"
                    )
                    outer = Chart(
                        words=words.get("of_chart"),
                        label=words["chart_practice"],
                        empty=words["practice_idle"],
                        height=260,
                        elem_id="outer",
                    )
    timer = gr.Timer(0.7, active=False, render=False)
    live = [progress, onward, inner_line, inner, outer, loss, outer_line, pause, resume, stop, timer]
    return SimpleNamespace(
        button=button, onward=onward, pause=pause, resume=resume, stop=stop, timer=timer, live=live, outer=outer,
        form=[tasks, learner, seed], tasks=tasks, example=example, choices=[tasks, why, example],
    )  # fmt: skip


def _titled(title: str, line: str) -> str:
    return f"<h3>{safe(title)}</h3><p class='quiet'>{safe(line)}</p>"


def choices(work: Workspace, words: dict[str, str], session: Session) -> list:
    """Updates of [where puzzles come from, why not]: folders are offered, and chosen, where they name enough classes; but
    what was last practised on stays chosen."""
    offered = [(words["from_pictures"], "pseudo")]
    if folders := class_folders(work, session):
        offered.append((words["from_folders"].format(n=folders), "labels"))
    chosen = offered[-1][1]
    if session.practice and (config := _config(session.practice)).get("folder") == str(work.source(session)):
        chosen = config["tasks"] if config.get("tasks") in [name for _, name in offered] else chosen
    why = words["practise_untrained"] if work.encoder(session) == UNTRAINED else ""
    why = f"<p class='quiet'>{safe(why)}</p>" if why else ""
    return [
        gr.update(choices=offered, value=chosen),
        gr.update(visible=True if why else "hidden", value=why),
        puzzle(work, words, session, chosen),
    ]


def puzzle(work: Workspace, words: dict[str, str], session: Session, tasks: str) -> str:
    """A puzzle as practice draws them, of three classes with an example each, and a question: a picture of the first."""
    import torch

    from byolmeta.augment import make_view, two_views

    store, sheets = work.pictures(session).store, work.pictures(session).sheets
    if len(store) < ASKED:
        return ""
    if tasks == "labels":
        labels = np.unique(store.labels[store.labels >= 0])
        members = [np.flatnonzero(store.labels == label) for label in labels]
        members = [rows for rows in members if len(rows) > 1]
        members = [members[i] for i in np.linspace(0, len(members) - 1, ASKED + 2).astype(int)[1:-1]]
        examples, asked = [int(rows[0]) for rows in members], tile(sheets, int(members[0][len(members[0]) // 2]), SIDE)
    else:
        examples = np.linspace(0, len(store) - 1, ASKED + 2).astype(int)[1:-1].tolist()
        picture = torch.from_numpy(np.array(store.pixels[examples[:1]]))
        view = two_views(store.size, work.encoder_kind(session))[1]
        pixels = make_view(picture, store.size, view, torch.Generator().manual_seed(1))[0]
        address = safe(thumbs.one((pixels * 255).byte().numpy(), work.home / "thumbs", session.name))
        asked = f"<img alt='' src='{address}' width='{SIDE}' height='{SIDE}'>"
    boxes = "".join(
        f"<span class='box'>{tile(sheets, row, SIDE)}<b>{'ABC'[at]}</b></span>" for at, row in enumerate(examples)
    )
    title = f"<p class='quiet'>{safe(words['puzzle_title'])}</p>"
    if tasks == "labels":
        title = f"<p class='quiet'>{safe(words['names_used'])}</p>" + title
    return f"{title}<div class='puzzle'>{boxes}<i>→</i><span class='box asked'>{asked}<b>?</b></span></div>"


def _config(where: str) -> dict:
    """The settings of a run; empty where its folder is gone."""
    try:
        return Run(where).config()
    except InputError:
        return {}


def class_folders(work: Workspace, session: Session) -> int:
    """How many classes the folders name, 0 where they are too few to practise on."""
    labels = work.pictures(session).store.labels
    count = int((np.bincount(labels[labels >= 0]) > 1).sum()) if (labels >= 0).any() else 0
    return count if count >= FOLDERS else 0


def begin(
    work: Workspace, words: dict[str, str], session: Session, tasks: str, learner: str, seed: float | None
) -> list:
    """Starts practice with the session's encoder in a process of its own; returns the outputs of `attach`."""
    encoder = work.encoder(session)
    if encoder == UNTRAINED:
        raise InputError(words["practise_untrained"])
    if learner not in LEARNERS or (tasks == "labels" and not class_folders(work, session)):
        raise InputError(words["practise_choice"])
    limit = {"minutes": PUBLIC_MINUTES} if work.public else {}
    config = MetatrainConfig(tasks=tasks, learner=learner, seed=_seed(seed, words), **OFTEN, **limit)
    run = jobs.new_run(work.home / "runs", f"{Path(session.label or 'creatures').stem[:30]}-practised")
    told = {"folder": str(work.source(session)), "home": str(work.own(session, encoder).resolve())}
    told |= {"encoder_file": _file(encoder)} | running.begun_by(work, session)
    running.begin(work, words, run, config, **told)
    session.practice, session.practice_judged = str(run.folder), ""
    work.save(session)
    return attach(work, words, session)


def _seed(value, words: dict[str, str]) -> int:
    """A seed as the page sends it; none is 0. InputError for anything but a whole number."""
    if value is None:
        return 0
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (0 <= value <= SEEDS) or not math.isfinite(value) or value % 1:
        shown = (
            value
            if number and abs(value) <= 1e15
            else str(value)[:20]
            if isinstance(value, str)
            else words["seed_none"]
        )
        raise InputError(words["seed_wrong"].format(value=shown, high=f"{SEEDS:,}"))
    return int(value)


def _file(encoder: str) -> str:
    return str(find_encoder(encoder).resolve())


def attach(work: Workspace, words: dict[str, str], session: Session) -> list:
    """What the page shows of the session's practice, or of one that a terminal started in the same home: `live`, and what
    studying and practice share."""
    run = running.follow(work, session, "practice")
    both = running.shared(words, session, work.encoder(session) != UNTRAINED)
    config = _config(session.practice)
    status = running.status_of(work, run) if run else {}
    if run is None or (status["state"] not in GOING and config.get("folder") != str(work.source(session))):
        return [*_idle(words), *running.buttons("idle"), gr.Timer(active=False), *both]  # none, or of other pictures
    checks = [(m["step"], m["check"]) for m in run.metrics() if "check" in m]
    result = status.get("result") or {}
    other = "" if session.encoder == session.practice else work.encoder_name(session)
    kept, rejected = result.get("best_step"), bool(result) and not result.get("gain")
    if work.practised(config.get("encoder_file", "")):  # what it practised with had practised before
        words = words | {"without_practice": words["before_practice"]}
    drawn = words | {"kept": words["best_here"]} if rejected else words
    last = (status.get("step") if status["state"] not in GOING else 0) or _window(checks, status)
    inner, idle = figures.inner_figures(checks, kept, words), words["inner_idle"]
    if status["state"] in GOING:
        idle = words["inner_at_once" if checks else "inner_soon"]
    elif checks:
        idle = words["inner_at_once"]
    pause, resume, stop = running.buttons(status["state"], work.public)
    if status["state"] == "failed" and not run.resume.exists():  # nothing to go on from
        resume = gr.update(visible="hidden")
    return [
        gr.update(visible=True, value=progress_line(status, words, other, config.get("batch", 1))),
        gr.update(visible=True if result.get("gain") and not other else "hidden"),
        _titled(words["chart_inner"], inner_line(checks, kept, words, rejected) or words["inner_about"]),
        gr.update(figure=inner.get("accuracy", {}), empty=idle),
        gr.update(
            figure=figures.practice_figure(checks, kept, last, drawn) if checks else {},
            empty=words["inner_soon" if status["state"] in GOING else "practice_idle"],
        ),
        gr.update(figure=inner.get("loss", {}), empty=idle),
        _titled(words["chart_practice"], outer_line(checks, kept, words, rejected)),
        pause, resume, stop,
        running.timer(session, "practice", status["state"]),
        *both,
    ]  # fmt: skip


def _idle(words: dict[str, str]) -> list:
    """The outputs above the buttons where there is nothing to show."""
    hidden, empty = gr.update(visible="hidden"), gr.update(figure={}, empty=words["inner_idle"])
    outer = gr.update(figure={}, empty=words["practice_idle"])
    titles = (
        _titled(words["chart_inner"], words["inner_about"]),
        _titled(words["chart_practice"], words["practice_about"]),
    )
    return [hidden, hidden, titles[0], empty, outer, empty, titles[1]]


def _window(checks: list, status: dict) -> int:
    """Steps that the chart spans while practice goes on: it may end long before all are done, so they come in parts."""
    done = checks[-1][0] if checks else 0
    return min(status.get("steps") or 200, (done // 200 + 1) * 200)


def poll(work: Workspace, words: dict[str, str], session: Session) -> list:
    """`attach`, and the name of a practice that has just ended (which makes the page look with it)."""
    ended = gr.skip()
    if session.practice and Run(session.practice).status()["state"] not in GOING:
        judge(work, session)
        ended = f"{session.practice} {time.time()}"
    return [*attach(work, words, session), ended]


def judge(work: Workspace, session: Session) -> None:
    """Once after practice has ended: with a gain the page takes its encoder over, and the learner that practised.

    Not if the page looks at other pictures by now, or with another encoder than the one that practised.
    """
    if session.practice_judged == session.practice:
        return
    run = Run(session.practice)
    status, config = run.status(), _config(session.practice)
    result = status.get("result") or {}
    same = config.get("folder") == str(work.source(session)) and work.encoder(session) != UNTRAINED
    same = same and config.get("encoder_file") == _file(work.encoder(session))
    if status["state"] != "failed" and result.get("gain") and run.encoder.exists() and same:
        session.encoder, session.learner = session.practice, result["learner"]
    session.practice_judged = session.practice
    work.save(session)


def ask(work: Workspace, words: dict[str, str], session: Session, what: str) -> list:
    """Pauses, resumes or stops the session's practice; returns the outputs of `attach`."""
    running.ask(work, words, session, "practice", what)
    return attach(work, words, session)


def progress_line(status: dict, words: dict[str, str], looks_with: str = "", batch: int = 1) -> str:
    """State, bar, puzzles done (`batch` a step) and time left; at the end the verdict, and what the page `looks_with` ("":
    its encoder)."""
    state, left, ended = status["state"], running.time_left(status, words), status.get("result")
    values = {
        "episodes": f"{batch * status.get('step', 0):,}",
        "share": running.share_of(status),
        "left": words["at_most_left"].format(left=left) if left else "",
    }
    share = 100 if state == "done" else values["share"]  # it may end before all its steps
    parts = [
        running.bar(
            running.waits(status, words) or words.get(f"practice_{state}", state).format(**values),
            share,
            state == "paused" or state not in GOING,
        ),
        running.page_note(status, words),
    ]
    if ended:
        parts.append(verdict(ended, words, looks_with))
    elif status.get("message"):
        parts.append(f"<p class='quiet'>{safe(status['message'])}</p>")
    return "".join(parts)


def verdict(result: dict, words: dict[str, str], looks_with: str) -> str:
    """What practice brought on puzzles that it had never seen: by the paired difference and its interval, no more."""
    change, half = 100 * result["difference"], 100 * result["ci95"]
    kind = "helped" if result["gain"] else "worse" if change + half < 0 else "few" if change - half > 0 else "same"
    line = words[f"practice_{kind}"].format(
        a=round(100 * result["before"]), b=round(100 * result["after"]), change=f"{change:+.1f}", half=f"{half:.1f}",
        n=result.get("pictures", 0),
    )  # fmt: skip
    if result.get("steps") == 0:  # of practice: the time was up before
        line = result.get("message", line)
    told = words["now_practised" if not looks_with else "practised_choice" if result["gain"] else "plain_stays"]
    judged_by = "names" if result["judged_by"] == "classes" and result.get("tasks") != "labels" else result["judged_by"]
    judged = words[f"judged_{judged_by}"].format(n=f"{result['puzzles']:,}")
    if result.get("pictures"):
        judged += words["next_sentence"] + words["judged_pictures"].format(n=f"{result['pictures']:,}")
    return (
        f"<p class='verdict' data-aloud>{safe(line)}{words['next_sentence']}{safe(told.format(name=looks_with))}</p>"
        f"<p class='quiet'>{safe(by_shot(result, words))}<br>{safe(judged)}</p>"
    )


def by_shot(result: dict, words: dict[str, str]) -> str:
    """Before and after for each number of examples, with the number of boxes and what guessing gives."""
    ways: dict[int, list[str]] = {}
    for row in result.get("by_shot", []):
        one = words["practice_shot" if row["shot"] > 1 else "practice_one"]
        one = one.format(shot=row["shot"], a=round(100 * row["before"]), b=round(100 * row["after"]))
        ways.setdefault(row["way"], []).append(one)
    return words["next_sentence"].join(
        words["practice_way"].format(way=way, chance=round(100 / way), rows=" · ".join(rows))
        for way, rows in ways.items()
    )


def inner_line(checks: list, kept: int | None, words: dict[str, str], rejected: bool = False) -> str:
    """What the picture of the inner loop says, in words; "" where there is none. `rejected`: the verdict was no gain, so
    no figures are told that speak against it."""
    found = [(step, check["inner"]) for step, check in checks if check.get("inner")]
    if not found:
        return ""
    step, inner = next((each for each in found if each[0] == kept), found[-1])
    ours, theirs = ([each["accuracy"] for each in inner[key]] for key in ("practised", "scratch"))
    values = {"a": ours[1], "b": theirs[1], "c": ours[-1], "d": theirs[-1]}
    values = {key: f"{100 * value:.0f} %" for key, value in values.items()}
    without = words["without_practice"]
    values |= {"n": len(ours) - 1, "without": without, "Without": without.capitalize()}
    if not step:
        return words["inner_first"].format(**values)
    flat, ahead = max(ours) - min(ours) <= LITTLE, ours[0] > theirs[0] + 0.05  # theirs begins by guessing
    if rejected:
        said = ["inner_middle"] * ahead + ["inner_rejected"]
    else:
        said = ["inner_flat"] if flat and ahead else ["inner_soon_right"] * ahead + ["inner_says"]
        said += ["inner_faint"]
    return words["next_sentence"].join(words[key].format(**values) for key in said)


def outer_line(checks: list, kept: int | None, words: dict[str, str], rejected: bool) -> str:
    """What the puzzles of the curve are for; of a practice that was rejected, why it is not kept in spite of them."""
    about = words["practice_about"]
    best = next((check for step, check in checks if step == kept), None)
    if not rejected or best is None:
        return about
    better = kept and best["accuracy"] > best["plain"]
    return f"{words['practice_rejected' if better else 'practice_never_better']} {about}"
