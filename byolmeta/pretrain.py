"""The BYOL loop: pictures in, an encoder out, and everything worth watching on the way.

Nothing random is kept between steps: the order of an epoch and the draws of a step come from the seed and their
number. So a run that was killed goes on from its last checkpoint exactly as if it had never stopped, on any number of
processes.
"""

import contextlib
import math
import time
from dataclasses import asdict

import numpy as np
import torch

from byolmeta.byol import BYOL, learning_rate, target_momentum
from byolmeta.checkpoint import read_checkpoint, save_checkpoint
from byolmeta.devices import autocast, choose_device
from byolmeta.encoder import (
    Encoder,
    Readout,
    check_architecture,
    check_kind,
    check_size,
    has_heads,
    learned_plainly,
    load_encoder,
    load_heads,
)
from byolmeta.errors import InputError
from byolmeta.files import find_encoder
from byolmeta.images import ImageStore
from byolmeta.loader import Loader
from byolmeta.optimizers import make_optimizer
from byolmeta.plan import (
    Plan,
    choose_parts,
    chosen_settings,
    keep_time,
    make_plan,
    parts_message,
    plan_of,
    unchanged,
)
from byolmeta.ranks import Ranks, local_rank, synchronise
from byolmeta.runs import Run
from byolmeta.settings import PretrainConfig
from byolmeta.step import Step
from byolmeta.watch import Watch

PLAN_SECONDS = 5.0  # between two looks at whether a run with --minutes keeps its time


def pretrain(
    store: ImageStore, config: PretrainConfig, run: Run, *, resume: bool = False, progress=None, ranks: Ranks = Ranks()
) -> dict:
    """Trains until the plan is done or the run is asked to stop; returns what the command prints as JSON.

    When the time of `run.until` comes before, it saves, and returns {"unfinished": True}: the run stands as going on, and
    has to be resumed. `store` must be the one the run began with when it is resumed. Calls progress(step, steps, metrics) if given. On
    several ranks, each gets its share of every batch, and rank 0 alone touches the run folder.
    """
    check_pictures(store)
    device = choose_device(config.device)
    if device == "cuda" and ranks.world > 1:
        device = f"cuda:{local_rank()}"
        torch.cuda.set_device(device)
    ranks.same(store.fingerprint, "pictures")
    torch.manual_seed(config.seed)
    if done := ranks.share(_ended(run) if resume and ranks.first else None):
        return done | {"message": "This run had come to its end, so nothing was done. Go on in a new one with --init."}
    if ranks.first:
        run.claim()
    state = ranks.share(read_checkpoint(run, store.fingerprint) if resume and ranks.first else None)
    if state:
        whiten = "whitening.mean" in state["model"]
    else:
        whiten = config.whiten and not ranks.share(
            bool(config.init) and ranks.first and learned_plainly(config.init, config.hidden, config.dim)
        )
    note = ""
    model = BYOL(_first_encoder(config, run, bool(state), ranks), config.hidden, config.dim, whiten)
    if config.init and not state and ranks.first:
        if not load_heads(config.init, model.heads()) and has_heads(config.init):
            note = "The heads of BYOL beside that encoder have another size or aim, so new ones were begun. "
        model.start_target()
    model.to(device, memory_format=torch.channels_last)
    cast = autocast(device, config.precision)
    train_ids, held_ids = split(len(store), config.seed)
    parts = (
        state.get("parts", 1)
        if state
        else ranks.most(config.parts or choose_parts(model, cast, device, config, train_ids, ranks))
    )
    if ranks.world > 1:
        synchronise(model, device)
    if config.compile:
        model.compile()
    plan = plan_of(state, ranks) if state else make_plan(model, store, train_ids, config, device, cast, ranks, parts)
    optimizer = make_optimizer(model.online_parameters(), config.optimizer, plan.peak_lr, config.weight_decay, device)
    chosen = chosen_settings(config, plan, parts, device, model)
    step, seconds = 0, 0.0
    watch = Watch(run, store, held_ids, device, config)
    watch.earlier = _earlier(model.encoder, store, len(watch.ids))
    if state:
        unchanged(state.get("settings", {}), config)
        try:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as problem:
            raise InputError(
                f"The checkpoint does not fit the run's config.json ({problem}). Was it changed?"
            ) from None
        step, seconds, watch.best = state["step"], state["seconds"], state["best"]
        watch.earlier = Readout(*state["earlier"]) if state["earlier"] else None
    learn = Step(model, optimizer, cast, device, ranks)
    learn.parts = min(parts, max(1, plan.batch_size // ranks.world // 2))  # the ranks may be more than before
    if ranks.first:
        run.forget_after(step if state else -1)
    share = ranks.rows(plan.batch_size)
    loader = Loader(store.pixels, train_ids, plan.batch_size, config.seed, device, share)
    saved = logged = planned = time.monotonic()
    began, message, since, loss, order = time.monotonic() - seconds, "", step, None, "go"

    def elapsed() -> float:
        """Seconds of learning so far, without pauses."""
        return time.monotonic() - began - run.waited

    def fail(value: float | None) -> None:
        """Ends a run whose numbers grew without bound."""
        message = f"The loss became {value} at step {step}. The last good encoder is kept. Try half the learning rate."
        if value is None or math.isfinite(value):
            message = message.replace(f"loss became {value}", "weights grew without bound")
        run.set_status("failed", step=step, steps=plan.steps, message=message)
        raise InputError(message)

    def finite() -> float | None:
        """The loss. Fails, before anything is saved, when it or a weight is no finite number."""
        value = loss.item() if loss is not None else None
        weights = [v for v in model.state_dict().values() if v.is_floating_point()]
        if value is not None and not (
            math.isfinite(value) and torch.stack(torch._foreach_norm(weights)).isfinite().all()
        ):
            fail(value)
        return value

    def check() -> None:
        value = finite()
        try:
            watch.check(model, step)
        except FloatingPointError:
            fail(value)
        watch.keep(model, card(store, chosen, plan, step, elapsed()))

    def save() -> None:
        finite()
        values = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "plan": asdict(plan)}
        values |= {
            "settings": asdict(config),
            "step": step,
            "seconds": elapsed(),
            "best": watch.best,
            "store": store.fingerprint,
        }
        values |= {"earlier": tuple(watch.earlier) if watch.earlier else None, "parts": learn.parts}
        save_checkpoint(run, values)

    def log(speed: float) -> None:
        seconds, message = elapsed(), parts_message(plan, learn.parts, config)
        line = {"step": step, "epoch": step / plan.steps_per_epoch, "loss": finite(), "seconds": seconds}
        line["images_per_second"] = speed
        run.write(run.append, line)
        now = {"step": step, "steps": plan.steps, "seconds": seconds, "images_per_second": speed, "message": message}
        run.write(lambda: run.set_status("running", **now))
        if progress:
            progress(step, plan.steps, line)

    if not state and ranks.first:
        check()
    model.train()
    while step < plan.steps:
        rate = learning_rate(step, plan.steps, plan.warmup, plan.peak_lr)
        momentum = target_momentum(step + 1, plan.steps, plan.momentum)
        loss = learn(loader.batch(step), seed_of(config.seed, step), rate, momentum)
        step += 1
        order = "go"
        if ranks.first:
            now = time.monotonic()
            due = step % config.log_every == 0 if config.log_every else now - logged >= config.log_seconds
            if due or step == plan.steps:
                speed = (step - since) * plan.batch_size / max(now - logged, 1e-9)
                log(speed)
                logged, since = now, step
            if step < plan.steps and watch.due():
                check()
                if watch.collapsed:
                    order, message = (
                        "end",
                        (
                            "The pictures' vectors became almost equal (collapse), so studying stopped; the best encoder "
                            "before that is kept. A lower learning rate or a larger batch helps."
                        ),
                    )
            if step < plan.steps and now - planned >= PLAN_SECONDS:
                plan, planned = keep_time(plan, config, step, elapsed()), now
            if order == "go" and now - saved >= config.checkpoint_seconds:
                save()
                saved = time.monotonic()
            if order == "go":
                order = "pause" if run.asked("pause") else "end" if run.asked("stop") else "go"
            if order == "go" and step < plan.steps and time.monotonic() >= run.until:
                order = "rest"
        order, plan = ranks.share((order, plan))
        if order == "pause":
            if ranks.first:
                save()
            loader.close()
            learn.forget()
            _move(model, optimizer, "cpu")  # others may have the GPU meanwhile
            if ranks.first:
                began += run.wait(step, plan.steps)
            order = ranks.share("end" if run.asked("stop") else "go")
            _move(model, optimizer, device)
            loader = Loader(store.pixels, train_ids, plan.batch_size, config.seed, device, share)
            logged, since = time.monotonic(), step
        if order == "end":
            message = message or "Stopped when asked; what was learned is kept."
        if order in ("end", "rest"):
            break
    loader.close()
    if not ranks.first:
        return ranks.share(None)
    if order == "rest":
        save()
        now = {"step": step, "steps": plan.steps, "seconds": elapsed()}  # the last line may be of an earlier step
        now["images_per_second"] = step * plan.batch_size / max(elapsed(), 1e-9)
        run.write(lambda: run.set_status("running", **now))
        return ranks.share({"unfinished": True})
    if watch.step != step:
        check()
    if not watch.collapsed:
        save()
        if watch.kept != step:
            message += " The encoder of an earlier step is kept: since then, fewer pictures find their twin."
    run.withdraw("stop")
    state_name = "done" if step == plan.steps else "stopped"
    result = _result(run, store, plan, step, elapsed(), loss, watch) | {"message": (note + message).strip()}
    last = {"step": step, "steps": plan.steps, "message": result["message"], "result": result}
    run.write(lambda: run.set_status(state_name, **last))
    return ranks.share(result)


def check_pictures(store: ImageStore) -> None:
    """Raises InputError for too few pictures."""
    if len(store) < 4:
        raise InputError(
            f"Pictures that can be read: {len(store)}. Studying needs at least 4, and gets useful from about 100."
        )


def check_settings(config: PretrainConfig) -> None:
    """Raises InputError for what this machine lacks or no network has, before anything is made."""
    check_architecture(config.encoder)
    check_size(config.image_size)
    check_kind(config.kind)
    autocast(choose_device(config.device), config.precision)


def split(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids to train on and ids held back for the twin-finding figure: a tenth, at most 100, at least 2."""
    order = np.random.default_rng((seed, 2**31)).permutation(n)
    held = max(2, min(100, n // 10))
    return np.sort(order[held:]), np.sort(order[:held])


def _first_encoder(config: PretrainConfig, run: Run, resumed: bool, ranks: Ranks) -> Encoder:
    """The network before training; when resumed, only its shape and parent matter, and the first file may be gone.

    Only rank 0 needs the file: the others get its weights over the network.
    """
    if not config.init:
        return Encoder(config.encoder, config.image_size, {"kind": config.kind})
    encoder = None
    if ranks.first and resumed:
        with contextlib.suppress(InputError):  # absent or damaged: then the first one
            encoder = load_encoder(run.encoder)
            encoder.card = {"parent": encoder.card.get("parent")}
    if ranks.first and not encoder:
        encoder = load_encoder(config.init)
        encoder.card = {"parent": encoder.card | {"file": find_encoder(config.init).name}}
    shape = ranks.share((encoder.architecture, encoder.image_size, {"kind": encoder.kind}) if encoder else None)
    return encoder or Encoder(*shape)


def _earlier(encoder: Encoder, store: ImageStore, count: int) -> Readout | None:
    """The readout that an encoder brings, without the `count` pictures of this store that it may have been fitted on."""
    readout = encoder.readout()
    if readout is None or (encoder.card.get("parent") or {}).get("store") != store.fingerprint:
        return readout
    return readout._replace(count=readout.count - count) if readout.count > count else None


def _ended(run: Run) -> dict | None:
    """The result of a run that has done all its steps, else None."""
    status = run.status()
    return status.get("result") if status["state"] == "done" else None


def _move(model: BYOL, optimizer: torch.optim.Optimizer, device: str) -> None:
    """Takes a model and its optimiser's state to another device."""
    model.to(device)
    for state in optimizer.state.values():
        for key, value in state.items():
            if torch.is_tensor(value) and value.ndim:  # a step count may stay where it is
                state[key] = value.to(device)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def seed_of(seed: int, step: int) -> int:
    """The seed of a step's draws."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def card(store: ImageStore, chosen: PretrainConfig, plan: Plan, step: int, seconds: float) -> dict:
    """What the encoder file says about its making; `chosen` are the settings with what was left to us filled in."""
    return {
        "trained_on": store.index.source.name,
        "store": store.fingerprint,
        "images": len(store),
        "steps": step,
        "epochs": round(step / plan.steps_per_epoch, 2),
        "seconds": round(seconds),
        "settings": asdict(chosen),
        "plan": asdict(plan),
        "licence": "that of the pictures it was trained on, and of its parent if it has one",
    }


def _result(run: Run, store: ImageStore, plan: Plan, step: int, seconds: float, loss, watch: Watch) -> dict:
    figures = {k: watch.last[k] for k in ("twin", "spread", "effective_rank", "knn")}
    return {
        "run": str(run.folder),
        "encoder": str(run.encoder),
        "images": len(store),
        "skipped": len(store.index.skipped),
        "epochs": round(step / plan.steps_per_epoch, 3),
        "steps": step,
        "seconds": round(seconds, 2),
        "images_per_second": round(step * plan.batch_size / max(seconds, 1e-9), 1),
        "loss": loss.item() if loss is not None else None,
        "twin_before": watch.twin_before,
        **figures,
    }
