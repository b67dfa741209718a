"""What a run will do, settled before its first step: how many steps of how many pictures, at which rates."""

import math
import time
from dataclasses import asdict, dataclass, replace

import numpy as np

from byolmeta.byol import BYOL, start_momentum
from byolmeta.devices import choose_precision, free_memory
from byolmeta.errors import InputError
from byolmeta.images import ImageStore
from byolmeta.loader import Loader
from byolmeta.optimizers import make_optimizer
from byolmeta.ranks import Ranks
from byolmeta.settings import OPTIMIZERS, PretrainConfig
from byolmeta.step import Step, activation_bytes

TRIAL_SECONDS = 1.0  # after which a trial has seen enough
CHANGEABLE = {"minutes", "parts", "device", "precision", "compile"}  # of a run that is resumed
CHANGEABLE |= {"checkpoint_seconds", "check_share", "log_seconds", "log_every", "init", "init_lr", "preset"}
ROOM = 0.4  # of the free memory that a step's activations may take


@dataclass(frozen=True)
class Plan:
    """What a run will do, settled before its first step and kept in its checkpoint; --minutes may mend `steps`."""

    steps: int
    batch_size: int
    steps_per_epoch: int
    peak_lr: float
    warmup: int
    momentum: float


def make_plan(
    model: BYOL,
    store: ImageStore,
    ids: np.ndarray,
    config: PretrainConfig,
    device: str,
    cast,
    ranks: Ranks = Ranks(),
    parts: int = 1,
) -> Plan:
    """Settles batch size, number of steps and rates. With --minutes, from the speed of a few steps that are thrown away."""
    batch = min(config.batch_size or choose_batch(len(ids)), len(ids))
    batch = max(2, batch // ranks.world) * ranks.world
    if batch > len(ids):
        raise InputError(f"{len(ids)} pictures to train on are too few for {ranks.world} processes. Start fewer.")
    per_epoch = math.ceil(len(ids) / batch)
    steps = math.ceil((config.epochs or 100) * per_epoch)
    if config.minutes:
        seconds = ranks.share(trial(model, store, ids, batch, config, device, cast, ranks, parts))
        steps = max(1, int(config.minutes * 60 * (1 - config.check_share) / seconds))
        if config.epochs:
            steps = min(steps, math.ceil(config.epochs * per_epoch))
    if parts > max(1, batch // ranks.world // 2):
        raise InputError(
            f"{parts} parts of {batch // ranks.world} pictures would have fewer than two each, which batch norm needs. "
            f"Set parts to at most {max(1, batch // ranks.world // 2)}."
        )
    peak = (config.base_lr or OPTIMIZERS[config.optimizer][0]) * batch / 256 * (config.init_lr if config.init else 1)
    return Plan(
        steps, batch, per_epoch, peak, math.ceil(config.warmup * steps), config.momentum or start_momentum(steps)
    )


def plan_of(state: dict, ranks: Ranks) -> Plan:
    """The plan of a checkpoint. Raises InputError when its batch cannot be shared among these ranks."""
    try:
        plan = Plan(**state["plan"])
    except TypeError:
        raise InputError("The checkpoint was written by another version of byolmeta. Start anew with --init.") from None
    if plan.batch_size % ranks.world or plan.batch_size < 2 * ranks.world:
        raise InputError(
            f"The run's batch of {plan.batch_size} cannot be shared evenly among {ranks.world} processes. "
            "Resume with a number that divides it."
        )
    return plan


def unchanged(begun: dict, config: PretrainConfig) -> None:
    """Raises InputError when config.json was changed, since the run began, in what its plan and weights stand on."""
    for name, value in asdict(config).items():
        if name not in CHANGEABLE and begun.get(name, value) != value:
            raise InputError(
                f"{name} is {value} in config.json, but the run began with {begun[name]}. Put it back, or start a new run "
                "from the encoder with --init."
            )


def choose_parts(
    model: BYOL, cast, device: str, config: PretrainConfig, ids: np.ndarray, ranks: Ranks = Ranks()
) -> int:
    """1, 2, 4 ...: in how many parts a batch must be computed so that its activations fit into the free memory."""
    batch = min(config.batch_size or choose_batch(len(ids)), len(ids))
    if device.startswith("cuda"):  # the processes on a CPU share its memory
        batch = max(2, batch // ranks.world)
    needed, parts = batch * activation_bytes(model, cast, device), 1
    while needed / parts > ROOM * free_memory(device) and batch // (2 * parts) >= 2:
        parts *= 2
    return parts


def parts_message(plan: Plan, parts: int, config: PretrainConfig) -> str:
    if parts == 1 or parts == config.parts:
        return ""
    return (
        f"{plan.batch_size} pictures at once do not fit in memory: each step computes them in {parts} parts of "
        f"{plan.batch_size // parts}."
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
    model: BYOL,
    store: ImageStore,
    ids: np.ndarray,
    batch: int,
    config: PretrainConfig,
    device: str,
    cast,
    ranks: Ranks = Ranks(),
    parts: int = 1,
    count: int = 8,
) -> float:
    """Seconds a step on this machine: the median of a few steps at rate 0, after which the model is as before.

    At most `count` steps, and of long ones only two: keep_time mends the plan soon enough.
    """
    before = {k: v.clone() for k, v in model.train().state_dict().items()}
    optimizer = make_optimizer(model.online_parameters(), config.optimizer, 0.0, config.weight_decay, device)
    learn, loader = (
        Step(model, optimizer, cast, device, ranks),
        Loader(store.pixels, ids, batch, 0, device, ranks.rows(batch)),
    )
    learn.parts = parts
    times = []
    for step in range(count + 1):
        start = time.monotonic()
        learn(loader.batch(step), step, 0.0, 1.0).item()
        times.append(time.monotonic() - start)
        if step >= 2 and sum(times) > TRIAL_SECONDS and ranks.world == 1:  # several ranks have to agree
            break
    loader.close()
    learn.forget()
    model.load_state_dict(before)
    return float(np.median(times[1:]))


def chosen_settings(config: PretrainConfig, plan: Plan, parts: int, device: str, model: BYOL) -> PretrainConfig:
    """The settings with what was left to us, or came with an encoder, filled in, as the encoder's card has them."""
    rate, decay = OPTIMIZERS[config.optimizer]
    return replace(
        config,
        encoder=model.encoder.architecture,
        image_size=model.encoder.image_size,
        kind=model.encoder.kind,
        whiten=model.whitening is not None,
        batch_size=plan.batch_size,
        parts=parts,
        base_lr=config.base_lr or rate,
        weight_decay=decay if config.weight_decay < 0 else config.weight_decay,
        momentum=plan.momentum,
        device=device,
        precision=choose_precision(device, config.precision),
    )


def choose_batch(n: int) -> int:
    """32 to 256: small folders get small batches, since the number of steps counts for more than the batch."""
    return int(min(256, max(32, 2 ** round(math.log2(max(1, n) / 10)))))
