"""The BYOL loop: pictures in, an encoder out, and everything worth watching on the way.

Nothing random is kept between steps: the order of an epoch and the draws of a step come from the seed and their
number. So a run that was killed goes on from its last checkpoint exactly as if it had never stopped.
"""

import contextlib
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from byolmeta.augment import make_view, two_views
from byolmeta.byol import BYOL, learning_rate, parameter_groups, start_momentum, target_momentum
from byolmeta.encoder import Encoder, Readout, load_encoder, load_heads
from byolmeta.errors import InputError
from byolmeta.files import find_encoder, replace_file
from byolmeta.images import ImageStore
from byolmeta.runs import Run
from byolmeta.settings import OPTIMIZERS, PretrainConfig
from byolmeta.watch import Watch

PLAN_SECONDS = 5.0  # between two looks at whether a run with --minutes keeps its time


@dataclass(frozen=True)
class Plan:
    """What a run will do, settled before its first step and kept in its checkpoint; --minutes may mend `steps`."""

    steps: int
    batch_size: int
    steps_per_epoch: int
    peak_lr: float
    warmup: int
    momentum: float


def pretrain(store: ImageStore, config: PretrainConfig, run: Run, *, resume: bool = False, progress=None) -> dict:
    """Trains until the plan is done or the run is asked to stop; returns what the command prints as JSON.

    `store` must be the one the run began with when it is resumed. Calls progress(step, steps, metrics) if given.
    """
    if len(store) < 4:
        raise InputError(
            f"There are {len(store)} readable pictures. Studying needs at least 4, and gets useful from about 100."
        )
    device = choose_device(config.device)
    torch.manual_seed(config.seed)
    run.claim()
    state = _read_checkpoint(run, store) if resume else None
    model = BYOL(_first_encoder(config, run, resumed=bool(state)), config.hidden, config.dim)
    if config.init and not state:
        load_heads(config.init, {"projector": model.projector, "predictor": model.predictor})
        model.start_target()
    model.to(device, memory_format=torch.channels_last)
    cast = _autocast(device, config.precision)
    train_ids, held_ids = split(len(store), config.seed)
    plan = Plan(**state["plan"]) if state else make_plan(model, store, train_ids, config, device, cast)
    optimizer = _optimizer(model, config, plan)
    watch = Watch(run, store, held_ids, device, config)
    watch.earlier = model.encoder.readout()
    step, seconds = 0, 0.0
    if state:
        try:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as problem:
            raise InputError(
                f"The checkpoint does not fit the run's config.json ({problem}). Was it changed?"
            ) from None
        step, seconds, watch.best = state["step"], state["seconds"], state["best"]
        watch.earlier = Readout(*state["earlier"]) if state["earlier"] else None
    run.forget_after(step if state else -1)
    loader = Loader(store.pixels, train_ids, plan, config.seed)
    views = two_views(model.encoder.image_size)
    saved = logged = planned = time.monotonic()
    began, message, since, loss = time.monotonic() - seconds, "", step, None

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
        if value is not None and not (
            math.isfinite(value) and all(v.isfinite().all() for v in model.state_dict().values())
        ):
            fail(value)
        return value

    def check() -> None:
        value = finite()
        try:
            watch.check(model, step)
        except FloatingPointError:
            fail(value)
        watch.keep(model, card(store, config, plan, step, time.monotonic() - began))

    def save() -> None:
        finite()
        values = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "plan": asdict(plan)}
        values |= {"step": step, "seconds": time.monotonic() - began, "best": watch.best, "store": store.fingerprint}
        values["earlier"] = tuple(watch.earlier) if watch.earlier else None
        replace_file(run.resume, lambda path: torch.save(values, path))

    if not state:
        check()
    model.train()
    while step < plan.steps:
        generator = torch.Generator().manual_seed(_seed_of(config.seed, step))
        images = loader.batch(step).to(device, non_blocking=True)
        first, second = (make_view(images, model.encoder.image_size, view, generator) for view in views)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, plan.steps, plan.warmup, plan.peak_lr)
        with cast():
            loss = model(
                first.contiguous(memory_format=torch.channels_last),
                second.contiguous(memory_format=torch.channels_last),
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        model.update_target(target_momentum(step, plan.steps, plan.momentum))

        now = time.monotonic()
        due = step % config.log_every == 0 if config.log_every else now - logged >= config.log_seconds
        if due or step == plan.steps:
            rate = (step - since) * plan.batch_size / max(now - logged, 1e-9)
            line = {"step": step, "epoch": step / plan.steps_per_epoch, "loss": finite(), "seconds": now - began}
            run.append(line | {"images_per_second": rate})
            run.set_status("running", step=step, steps=plan.steps, seconds=now - began, images_per_second=rate)
            if progress:
                progress(step, plan.steps, line)
            logged, since = now, step
        if step < plan.steps and watch.due():
            check()
            if watch.collapsed:
                message = (
                    "The pictures' vectors became almost equal (collapse), so studying stopped; the best encoder "
                    "before that is kept. A lower learning rate or a larger batch helps."
                )
                break
        if step < plan.steps and now - planned >= PLAN_SECONDS:
            plan, planned = keep_time(plan, config, step, now - began), now
        if now - saved >= config.checkpoint_seconds:
            save()
            saved = time.monotonic()
        if run.asked("pause"):
            save()
            began += _wait(run, step, plan.steps)
            logged, since = time.monotonic(), step
        if run.asked("stop"):
            message = "Stopped when asked; what was learned is kept."
            break
    if watch.step != step:
        check()
    if not watch.collapsed:
        save()
        if watch.kept != step:
            message += " The encoder of an earlier step is kept: since then, fewer pictures find their twin."
    run.withdraw("stop")
    state_name = "done" if step == plan.steps else "stopped"
    result = _result(run, store, plan, step, time.monotonic() - began, loss, watch) | {"message": message.strip()}
    run.set_status(state_name, step=step, steps=plan.steps, message=result["message"], result=result)
    return result


class Loader:
    """The pictures of each step: a new order every epoch, and none left over (the last batch wraps around)."""

    def __init__(self, pixels: np.ndarray, ids: np.ndarray, plan: Plan, seed: int):
        self.pixels, self.ids, self.plan, self.seed, self.epoch = pixels, ids, plan, seed, -1

    def batch(self, step: int) -> torch.Tensor:
        """uint8 (B, 3, S, S)."""
        epoch, place = divmod(step, self.plan.steps_per_epoch)
        if epoch != self.epoch:
            self.order = self.ids[np.random.default_rng((self.seed, epoch)).permutation(len(self.ids))]
            self.epoch = epoch
        start = place * self.plan.batch_size
        rows = np.take(self.order, range(start, start + self.plan.batch_size), mode="wrap")
        return torch.from_numpy(self.pixels[np.sort(rows)])


def split(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids to train on and ids held back for the twin-finding figure: a tenth, at most 100, at least 2."""
    order = np.random.default_rng((seed, 2**31)).permutation(n)
    held = max(2, min(100, n // 10))
    return np.sort(order[held:]), np.sort(order[:held])


def make_plan(model: BYOL, store: ImageStore, ids: np.ndarray, config: PretrainConfig, device: str, cast) -> Plan:
    """Settles batch size, number of steps and rates. With --minutes, from the speed of a few steps that are thrown away."""
    batch = min(config.batch_size or choose_batch(len(ids)), len(ids))
    per_epoch = math.ceil(len(ids) / batch)
    steps = math.ceil((config.epochs or 100) * per_epoch)
    if config.minutes:
        plan = Plan(10**9, batch, per_epoch, 0.0, 1, 0.99)
        steps = max(
            1,
            int(config.minutes * 60 * (1 - config.check_share) / trial(model, store, ids, plan, config, device, cast)),
        )
        if config.epochs:
            steps = min(steps, math.ceil(config.epochs * per_epoch))
    peak = (config.base_lr or OPTIMIZERS[config.optimizer][0]) * batch / 256 * (config.init_lr if config.init else 1)
    return Plan(
        steps, batch, per_epoch, peak, math.ceil(config.warmup * steps), config.momentum or start_momentum(steps)
    )


def keep_time(plan: Plan, config: PretrainConfig, step: int, seconds: float) -> Plan:
    """The plan with the number of steps that fits into --minutes at the speed so far; others stay as they are.

    `seconds` is what the first `step` steps took, checks included. Rate and momentum follow the share of the way, so
    both still end where they should.
    """
    if not config.minutes or not step:
        return plan
    left = max(0.0, config.minutes * 60 - seconds)
    steps = step + max(1, round(left * step / seconds))
    if config.epochs:
        steps = min(steps, max(step + 1, math.ceil(config.epochs * plan.steps_per_epoch)))
    return replace(plan, steps=steps, warmup=min(plan.warmup, math.ceil(config.warmup * steps)))


def trial(
    model: BYOL, store: ImageStore, ids: np.ndarray, plan: Plan, config: PretrainConfig, device: str, cast, count=8
) -> float:
    """Seconds a step on this machine: the median of a few steps at rate 0, after which the model is as before."""
    before = {k: v.clone() for k, v in model.train().state_dict().items()}
    optimizer, loader, views = (
        _optimizer(model, config, plan),
        Loader(store.pixels, ids, plan, 0),
        two_views(model.encoder.image_size),
    )
    times = []
    for step in range(count + 2):
        start = time.monotonic()
        generator = torch.Generator().manual_seed(step)
        images = loader.batch(step).to(device)
        first, second = (
            make_view(images, model.encoder.image_size, v, generator).contiguous(memory_format=torch.channels_last)
            for v in views
        )
        with cast():
            loss = model(first, second)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        model.update_target(1.0)
        loss.item()
        times.append(time.monotonic() - start)
    model.load_state_dict(before)
    return float(np.median(times[2:]))


def choose_batch(n: int) -> int:
    """32 to 256: small folders get small batches, since the number of steps counts for more than the batch."""
    return int(min(256, max(32, 2 ** round(math.log2(max(1, n) / 10)))))


def choose_device(name: str) -> str:
    """cuda, mps or cpu for 'auto'; otherwise the one asked for, if it is there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(d for d in ("cuda", "mps", "cpu") if there[d])
    if not there.get(name.partition(":")[0], False) or (":" in name and not name.startswith("cuda:")):
        raise InputError(
            f"The device '{name}' is not there. Use one of: auto, {', '.join(d for d in there if there[d])}."
        )
    return name


def _autocast(device: str, precision: str):
    """A context for the forward pass: bf16 where the processor is quick at it. Loss, EMA and optimiser stay float32."""
    kind = device.partition(":")[0]
    if precision not in ("auto", "bf16", "fp32"):
        raise InputError(f"The precision is '{precision}'. Choose auto, bf16 or fp32.")
    fast = {"cpu": _cpu_has_bf16, "cuda": torch.cuda.is_bf16_supported, "mps": lambda: False}[kind]
    if precision == "bf16" or (precision == "auto" and fast()):
        return lambda: torch.autocast(kind, torch.bfloat16)
    return contextlib.nullcontext


def _cpu_has_bf16() -> bool:
    check = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    capability = torch.backends.cpu.get_cpu_capability()
    return bool(check and check()) and capability in ("AVX512", "AMX") and _flag("avx512_bf16")


def _flag(name: str) -> bool:
    """Whether /proc/cpuinfo names a feature: emulated bf16 would be slower than float32."""
    try:
        return name in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _first_encoder(config: PretrainConfig, run: Run, resumed: bool) -> Encoder:
    """The network before training; when resumed, only its shape and parent matter, and the first file may be gone."""
    if not config.init:
        return Encoder(config.encoder, config.image_size)
    if resumed and run.encoder.exists():
        encoder = load_encoder(run.encoder)
        encoder.card = {"parent": encoder.card.get("parent")}
        return encoder
    encoder = load_encoder(config.init)
    encoder.card = {"parent": encoder.card | {"file": find_encoder(config.init).name}}
    return encoder


def _optimizer(model: BYOL, config: PretrainConfig, plan: Plan) -> torch.optim.Optimizer:
    decay = OPTIMIZERS[config.optimizer][1] if config.weight_decay < 0 else config.weight_decay
    groups = parameter_groups(model.online_parameters(), decay)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=plan.peak_lr, momentum=0.9, foreach=True)
    return torch.optim.AdamW(groups, lr=plan.peak_lr, foreach=True)


def _seed_of(seed: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _read_checkpoint(run: Run, store: ImageStore) -> dict | None:
    if not run.resume.exists():
        return None  # stopped before its first checkpoint: begins again, with the same seed
    try:
        state = torch.load(run.resume, weights_only=True, map_location="cpu")
        Plan(**state["plan"])
    except Exception as problem:  # torch and pickle raise nearly anything on a damaged file
        raise InputError(
            f"The checkpoint '{run.resume}' cannot be read ({type(problem).__name__}). The encoder beside it is whole: "
            "start a new run from it with --init."
        ) from None
    if state["store"] != store.fingerprint:
        raise InputError(
            "The pictures are not the ones this run began with (some were added, removed or changed). "
            "Start a new run from this encoder with --init instead of --resume."
        )
    return state


def _wait(run: Run, step: int, steps: int) -> float:
    """Sleeps while the run is asked to pause; returns for how long, so that time is not counted."""
    start = time.monotonic()
    run.set_status("paused", step=step, steps=steps)
    while run.asked("pause") and not run.asked("stop"):
        time.sleep(0.2)
    return time.monotonic() - start


def card(store: ImageStore, config: PretrainConfig, plan: Plan, step: int, seconds: float) -> dict:
    """What the encoder file says about its making."""
    return {
        "trained_on": store.index.source.name,
        "images": len(store),
        "steps": step,
        "epochs": round(step / plan.steps_per_epoch, 2),
        "seconds": round(seconds),
        "settings": asdict(replace(config, batch_size=plan.batch_size)),
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
        **figures,
    }
