"""Meta-training, or practice: an outer loop over puzzles (few-shot tasks) whose inner loop is a learner.

What is learned: the learner's own settings (rates, temperature, start) and, beside them, a turn of the encoder's vectors or
the encoder's weights. Puzzles held back say when to end, others, never looked at before, whether it helped; if not, the
encoder stays as it was. Draws come from the seed and the number of the step, so a run that was killed goes on as if it
had never stopped.
"""

import copy
import dataclasses
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from byolmeta import fewshot
from byolmeta.checkpoint import read_checkpoint, save_checkpoint
from byolmeta.devices import choose_device
from byolmeta.encoder import Encoder, Vectors, copy_encoder, save_encoder
from byolmeta.errors import InputError
from byolmeta.features import calibrate
from byolmeta.files import practice_in_force
from byolmeta.images import ImageStore
from byolmeta.learners import LEARNERS, LinearHead
from byolmeta.learners import learner as make
from byolmeta.practice import Material, Practice, learn_from
from byolmeta.puzzles import Judges, parts_of
from byolmeta.runs import Run
from byolmeta.settings import MetatrainConfig

PLAIN = ("prototype", "ridge", "anil")  # learners that practice has to beat, as they are
JUDGING = 20  # pictures that puzzles ask about, below which no gain is claimed
STEEP = 10.0  # length at which the outer gradient is cut


def metatrain(
    store: ImageStore,
    encoder: Encoder,
    vectors: np.ndarray,
    copies: np.ndarray,
    config: MetatrainConfig,
    run: Run,
    *,
    file: Path | None = None,
    untrained: bool = False,
    resume: bool = False,
    progress=None,
) -> dict:
    """Practises until puzzles held back get no better; returns what the command prints as JSON.

    `vectors` (N, V) are the encoder's of the store's pictures; `copies` (N,) as in copies.py; `file`: the encoder's, whose
    other contents are kept; `untrained`: its network begins from nothing, so batch norm learns too. What an earlier
    practice found stays in force, and is what the new one has to beat. Raises InputError for too few pictures.
    """
    device = choose_device(config.device) if config.through != "vectors" else "cpu"
    torch.manual_seed(config.seed)
    if resume and run.status()["state"] == "done":
        return run.status()["result"] | {"message": "This run had come to its end, so nothing was done."}
    original, earlier = copy.deepcopy(encoder), encoder.card.get("practices")
    earlier = earlier if isinstance(earlier, list) else []
    network = Vectors(encoder).to(device, memory_format=torch.channels_last)
    material = Material(store, vectors, config.seed, encoder.kind, encoder.image_size)
    run.claim()
    state = read_checkpoint(run, store.fingerprint) if resume else None
    pupils, looks, judges, judged_by = parts_of(store, vectors, copies, config)
    method = _method(encoder.card, config, untrained)
    practice = Practice(method, config, network, vectors.shape[1])
    optimizer = practice.optimizer(config.lr or (5e-4 if config.through == "vectors" else 1e-3 if untrained else 1e-4))
    plain_looks, plain_judges = (material.vectors(network, each.rows, known=True) for each in (looks, judges))
    plain, plain_right = _best_plain(encoder.card, config, looks, plain_looks)
    bank = material.vectors(network, pupils.rows, known=True) if config.through == "vectors" else None
    step, seconds, best, best_step, kept, stale = 0, 0.0, -1.0, 0, None, 0

    def keep_file(found: Encoder, card: dict, tensors: dict[str, Tensor] | None = None) -> None:
        """Writes the run's encoder: the file it began from with these changes, or a network of our own."""
        if file and found is original:
            run.write(copy_encoder, file, run.encoder, card, tensors)
        else:
            found.practice = (tensors or {}).get("practice.projection", found.practice)
            run.write(save_encoder, found, run.encoder, card)

    if state:
        step, seconds, best, best_step, stale = state["step"], state["seconds"], *state["best"]
        try:
            practice.load_state_dict(state["earlier"])
            kept = state["earlier"]
            practice.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise InputError(
                f"The checkpoint does not fit the run's config.json ({problem}). Was it changed?"
            ) from None
    else:
        keep_file(original, {})
    run.forget_after(step if state else -1)
    began = saved = logged = time.monotonic()
    began, loss, message = began - seconds, None, ""

    def elapsed() -> float:
        return time.monotonic() - began - run.waited

    def look() -> None:
        """Accuracy on puzzles held back; keeps the best."""
        nonlocal best, best_step, kept, stale
        answers, seen = _practised(practice, material, looks, plain_looks)
        right = looks.accuracies(answers)
        gain, half = fewshot.paired(plain_right, right)
        check = {"accuracy": float(right.mean()), "ci95": fewshot.mean_and_interval(right)[1]}
        check |= {
            "plain": float(plain_right.mean()),
            "difference": gain,
            "difference_ci95": half,
            "puzzles": len(right),
        }
        check["inner"] = _inner(practice.settled(), seen, plain_looks, looks)
        run.write(run.append, {"step": step, "check": check})
        if right.mean() > best:
            best, best_step, stale = float(right.mean()), step, 0
            kept = {name: value.clone() for name, value in practice.state_dict().items()}
        else:
            stale += 1

    def save() -> None:
        values = {"model": practice.state_dict(), "optimizer": optimizer.state_dict(), "plan": {}, "earlier": kept}
        values |= {"settings": asdict(config), "step": step, "seconds": elapsed(), "best": (best, best_step, stale)}
        save_checkpoint(run, values | {"store": store.fingerprint})

    def log() -> None:
        now = {"step": step, "episodes": step * config.batch, "loss": float(loss), "seconds": elapsed()}
        now["episodes_per_second"] = now["episodes"] / max(now["seconds"], 1e-9)
        run.write(run.append, now)
        run.write(lambda: run.set_status("running", steps=config.steps, **now))
        if progress:
            progress(step, config.steps, now)

    if not state:
        look()
        began = time.monotonic()  # the time that is asked for is for practice
    while step < config.steps and stale < config.patience:
        if config.minutes and elapsed() > 60 * config.minutes:
            message = "The time for it was up."
            break
        tasks = pupils.draw(np.random.default_rng((config.seed, step)), config)
        loss = learn_from(practice, tasks, bank, material, pupils.rows, step, untrained)
        if not torch.isfinite(loss):
            run.set_status(
                "failed", step=step, message=f"The loss became {float(loss)} at step {step}. Try a lower lr."
            )
            raise InputError(f"The loss became {float(loss)} at step {step}. Try half the rate (--lr).")
        torch.nn.utils.clip_grad_norm_(practice.parameters(), STEEP)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        now = time.monotonic()
        if now - logged >= 0.5 or step == config.steps:
            log()
            logged = now
        if step % config.check_every == 0 or step == config.steps:
            look()
        if now - saved >= config.checkpoint_seconds:
            save()
            saved = now
        if run.asked("pause") and not run.asked("stop"):
            save()
            began += run.wait(step, config.steps)
        if run.asked("stop"):
            message = "Stopped when asked."
            break
    if stale >= config.patience:
        message = f"It ended early: no gain in {stale} looks at puzzles held back."
    save()  # before a look that a run never stopped would not take
    if step % config.check_every and step < config.steps:
        look()
    practice.load_state_dict(kept)
    run.withdraw("stop")
    figures = _judge(practice, material, judges, plain, plain_judges) | {"judged_by": judged_by}
    result = {
        "run": str(run.folder),
        "encoder": str(run.encoder),
        "images": len(store),
        "skipped": len(store.index.skipped),
    }
    result |= {"episodes": step * config.batch, "steps": step, "best_step": best_step, "seconds": round(elapsed(), 2)}
    result["episodes_per_second"] = round(step * config.batch / max(elapsed(), 1e-9), 1)
    result |= {"learner": config.learner, "tasks": config.tasks, "through": config.through, "plain_learner": plain[0]}
    result |= figures
    result["message"] = (message + " " + _verdict(result)).strip()
    details = {"settings": asdict(config), "trained_on": store.index.source.name, "store": store.fingerprint}
    details |= {k: v for k, v in result.items() if k not in ("run", "encoder", "message")}
    details["in_force"] = figures["gain"]
    brief = {k: v for k, v in details.items() if k not in ("settings", "by_shot")}
    card = {"practice": details, "practices": [*earlier, brief]}
    if not figures["gain"]:
        keep_file(original, card | ({"practice": encoder.card["practice"]} if practice_in_force(encoder.card) else {}))
    else:
        details["learners"] = {config.learner: _plain_values(practice.settled())}
        if config.through == "vectors":
            turn = torch.eye(len(practice.turn)) + practice.turn.detach()
            turn = turn if original.practice is None else original.practice @ turn
            keep_file(original, card, {"practice.projection": turn})
        else:
            keep_file(_whole(practice, store, untrained), card)
    state_name = "stopped" if message.startswith("Stopped") else "done"
    last = {"step": step, "steps": config.steps, "message": result["message"], "result": result}
    run.write(lambda: run.set_status(state_name, **last))
    return result


def _method(card: dict, config: MetatrainConfig, untrained: bool):
    """The learner as practice finds it, with what an earlier practice found."""
    more = {"steps": config.inner_steps} if config.inner_steps else {}
    if config.learner == "maml":
        stages = "last" if config.through == "last" else "all"
        more |= {"first_order": config.first_order, "norm": "support" if untrained else "running", "stages": stages}
    elif config.learner in ("prototype", "ridge"):
        more = {}
    return dataclasses.replace(make(config.learner, card), **more)


def _best_plain(card: dict, config: MetatrainConfig, looks: Judges, bank: Tensor) -> tuple[tuple, np.ndarray]:
    """(name, learner) that does best, as the encoder brings it, on the puzzles held back, and its accuracies there."""
    practised = practice_in_force(card).get("learners")
    names = dict.fromkeys([*PLAIN, *(n for n in practised or () if issubclass(LEARNERS.get(n, dict), LinearHead))])
    found = {name: make(name, card) for name in names}
    right = {name: looks.accuracies(_answering(learner, bank)) for name, learner in found.items()}
    name = max(right, key=lambda n: (right[n].mean(), n == config.learner))
    return (name, found[name]), right[name]


def _answering(learner, bank: Tensor):
    """What a learner says to tasks whose vectors are in a bank."""
    return lambda tasks: fewshot.episode_answers(learner, bank, tasks)


def _practised(practice: Practice, material: Material, judges: Judges, plain: Tensor):
    """(answers, vectors at the rows of `judges`) of practice as it is now; `plain`: the vectors without it."""
    learner, device = practice.settled(), next(practice.parameters()).device
    if practice.config.through == "vectors":
        with torch.no_grad():
            seen = practice.turned(plain)
    elif isinstance(learner, LinearHead):
        seen = material.vectors(practice.network, judges.rows)
    else:
        network, pictures = practice.network.eval(), material.pictures(judges.rows)
        return lambda tasks: fewshot.picture_answers(learner, network, lambda at: pictures[at].to(device), tasks), None
    return _answering(learner, seen), seen


def _inner(learner, seen: Tensor | None, plain: Tensor, looks: Judges) -> dict | None:
    """The inner loop on new puzzles, from the practised start and from none: loss and accuracy after 0, 1, 2 ... steps."""
    if seen is None or not hasattr(learner, "steps"):
        return None
    tasks = next(iter(looks.tasks.values())).part(slice(0, 100))
    usual = dataclasses.replace(LEARNERS["anil"](), steps=learner.steps)
    return {"practised": fewshot.inner_curve(learner, seen, tasks), "scratch": fewshot.inner_curve(usual, plain, tasks)}


def _judge(practice: Practice, material: Material, judges: Judges, plain: tuple, plain_bank: Tensor) -> dict:
    """Before and after on the same puzzles, which nothing was chosen by: means, the paired difference, its interval.

    `ci95` is the wider of two: over puzzles, and over the pictures that they ask. A gain has to lie above it, and to be
    judged by JUDGING pictures or more.
    """
    first, second = _answering(plain[1], plain_bank), _practised(practice, material, judges, plain_bank)[0]
    shots, rows, gains = [], [], []
    for shot, tasks in judges.tasks.items():
        before, after = (answers(tasks) == tasks.query_labels for answers in (first, second))
        shots.append({"way": tasks.way, "shot": shot, **_compared(before.mean(1), after.mean(1))})
        shots[-1]["right"] = before.mean(1), after.mean(1)
        rows.append(judges.rows[tasks.query].ravel() % len(material.store))
        gains.append(after.astype(float).ravel() - before.ravel())
    before, after = (np.concatenate([one["right"][side] for one in shots]) for side in (0, 1))
    figures = _compared(before, after) | {"puzzles": len(after), "pictures": len(np.unique(np.concatenate(rows)))}
    figures["ci95_puzzles"] = figures["ci95"]
    figures["ci95"] = max(figures["ci95"], fewshot.by_picture(np.concatenate(rows), np.concatenate(gains)))
    figures["gain"] = bool(figures["difference"] > figures["ci95"] and figures["pictures"] >= JUDGING)
    return figures | {"by_shot": [{k: v for k, v in one.items() if k != "right"} for one in shots]}


def _compared(before: np.ndarray, after: np.ndarray) -> dict:
    """Means of puzzles before and after, and the paired difference with its interval over puzzles."""
    gain, half = fewshot.paired(before, after)
    return {"before": float(before.mean()), "after": float(after.mean()), "difference": gain, "ci95": half}


def _verdict(figures: dict) -> str:
    """Whether practice helped, in a sentence."""
    where = "puzzles it had never seen"
    if figures["judged_by"] == "classes" and figures["tasks"] != "labels":
        where = "puzzles of the classes that folders name, which it had not been told"
    points = f"{100 * figures['before']:.1f} to {100 * figures['after']:.1f} %"
    change = f"{100 * figures['difference']:+.1f} ± {100 * figures['ci95']:.1f} points"
    if not figures["steps"]:
        return "There was no time for a single puzzle, so the encoder stays as it was. Give more minutes."
    if figures["plain_learner"] != figures["learner"]:
        where += f", beside plain {figures['plain_learner']}, the best without practice"
    if figures["gain"]:
        return f"Practice helped: from {points} on {where} ({change})."
    few = f" {figures['pictures']} pictures are too few to tell." if figures["pictures"] < JUDGING else ""
    return f"Practice brought no gain on {where} ({points}, {change}), so the encoder stays as it was.{few}"


def _plain_values(learner) -> dict:
    """A learner's settings as JSON has them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(learner).items()}


def _whole(practice: Practice, store: ImageStore, untrained: bool) -> Encoder:
    """The practised network; one that began from nothing and adapts as a whole has no batch norm statistics yet."""
    encoder = practice.network.encoder.cpu().eval().requires_grad_(True)
    if untrained and not isinstance(practice.method, LinearHead):
        calibrate(encoder, store.pixels)
    return encoder
