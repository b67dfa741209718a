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

import numpy as np
import torch
from torch import Tensor

from byolmeta import fewshot
from byolmeta.checkpoint import read_checkpoint, save_checkpoint
from byolmeta.devices import choose_device
from byolmeta.encoder import Encoder, Vectors, save_encoder
from byolmeta.errors import InputError
from byolmeta.features import calibrate
from byolmeta.images import ImageStore
from byolmeta.learners import LEARNERS, LinearHead
from byolmeta.practice import Material, Practice, learn_from
from byolmeta.puzzles import Judges, parts_of
from byolmeta.runs import Run
from byolmeta.settings import MetatrainConfig

PLAIN = ("prototype", "ridge", "anil")  # learners that practice has to beat, as they are
STEEP = 10.0  # length at which the outer gradient is cut


def metatrain(
    store: ImageStore,
    encoder: Encoder,
    vectors: np.ndarray,
    copies: np.ndarray,
    config: MetatrainConfig,
    run: Run,
    *,
    untrained: bool = False,
    resume: bool = False,
    progress=None,
) -> dict:
    """Practises until puzzles held back get no better; returns what the command prints as JSON.

    `vectors` (N, V) are the encoder's, without earlier practice, of the store's pictures; `copies` (N,) as in copies.py;
    `untrained`: its network begins from nothing, so batch norm learns too. Raises InputError for too few pictures.
    """
    device = choose_device(config.device) if config.through != "vectors" else "cpu"
    torch.manual_seed(config.seed)
    if resume and run.status()["state"] == "done":
        return run.status()["result"] | {"message": "This run had come to its end, so nothing was done."}
    encoder.practice = None
    original = copy.deepcopy(encoder)
    network = Vectors(encoder).to(device, memory_format=torch.channels_last)
    material = Material(store, vectors, config.seed, encoder.kind, encoder.image_size)
    run.claim()
    state = read_checkpoint(run, store.fingerprint) if resume else None
    pupils, looks, judges, judged_by = parts_of(store, vectors, copies, config)
    method = _method(config, untrained)
    practice = Practice(method, config, network, vectors.shape[1])
    optimizer = practice.optimizer(config.lr or (5e-4 if config.through == "vectors" else 1e-3 if untrained else 1e-4))
    plain_looks, plain_judges = (material.vectors(network, each.rows, known=True) for each in (looks, judges))
    plain, plain_right = _best_plain(config, looks, plain_looks)
    bank = material.vectors(network, pupils.rows, known=True) if config.through == "vectors" else None
    step, seconds, best, best_step, kept, stale = 0, 0.0, -1.0, 0, None, 0
    if state:
        step, seconds, best, best_step, stale = state["step"], state["seconds"], *state["best"]
        practice.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        kept = state["earlier"]
    else:
        run.write(save_encoder, original, run.encoder, {"practice": {"in_force": False, "steps": 0}})
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
    result["message"] = (message + " " + _verdict(figures)).strip()
    details = {"settings": asdict(config), "trained_on": store.index.source.name, "store": store.fingerprint}
    details |= {k: v for k, v in result.items() if k not in ("run", "encoder", "message")}
    details["in_force"] = figures["gain"]
    if figures["gain"]:
        details["learners"] = {config.learner: _plain_values(practice.settled())}
        if config.through == "vectors":
            original.practice = torch.eye(len(practice.turn)) + practice.turn.detach()
        else:
            original = _whole(practice, store, untrained)
    run.write(save_encoder, original, run.encoder, {"practice": details})
    state_name = "stopped" if message.startswith("Stopped") else "done"
    last = {"step": step, "steps": config.steps, "message": result["message"], "result": result}
    run.write(lambda: run.set_status(state_name, **last))
    return result


def _method(config: MetatrainConfig, untrained: bool):
    """The learner as practice finds it."""
    more = {"steps": config.inner_steps} if config.inner_steps else {}
    if config.learner == "maml":
        stages = "last" if config.through == "last" else "all"
        more |= {"first_order": config.first_order, "norm": "support" if untrained else "running", "stages": stages}
    elif config.learner in ("prototype", "ridge"):
        more = {}
    return LEARNERS[config.learner](**more)


def _best_plain(config: MetatrainConfig, looks: Judges, bank: Tensor) -> tuple[tuple, np.ndarray]:
    """(name, learner) that does best without practice on the puzzles held back, and its accuracies there."""
    found = {name: LEARNERS[name]() for name in PLAIN}
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
    """Before and after on the same puzzles, which nothing was chosen by: means, the paired difference, its interval."""
    before = judges.accuracies(_answering(plain[1], plain_bank))
    after = judges.accuracies(_practised(practice, material, judges, plain_bank)[0])
    gain, half = fewshot.paired(before, after)
    figures = {"before": float(before.mean()), "after": float(after.mean()), "difference": gain, "ci95": half}
    figures |= {"gain": bool(gain - half > 0), "puzzles": len(after), "by_shot": []}
    start = 0
    for shot, tasks in judges.tasks.items():
        rows = slice(start, start := start + len(tasks.query))
        gain, half = fewshot.paired(before[rows], after[rows])
        means = {"before": float(before[rows].mean()), "after": float(after[rows].mean())}
        figures["by_shot"].append({"way": tasks.way, "shot": shot, **means, "difference": gain, "ci95": half})
    return figures


def _verdict(figures: dict) -> str:
    """Whether practice helped, in a sentence."""
    points = f"{100 * figures['before']:.1f} to {100 * figures['after']:.1f} %"
    change = f"{100 * figures['difference']:+.1f} ± {100 * figures['ci95']:.1f} points"
    if figures["gain"]:
        return f"Practice helped: from {points} on puzzles it had never seen ({change})."
    return (
        f"Practice brought no gain on puzzles it had never seen ({points}, {change}), so the encoder stays as it was."
    )


def _plain_values(learner) -> dict:
    """A learner's settings as JSON has them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(learner).items()}


def _whole(practice: Practice, store: ImageStore, untrained: bool) -> Encoder:
    """The practised network; one that began from nothing and adapts as a whole has no batch norm statistics yet."""
    encoder = practice.network.encoder.cpu().eval().requires_grad_(True)
    if untrained and not isinstance(practice.method, LinearHead):
        calibrate(encoder, store.pixels)
    return encoder
