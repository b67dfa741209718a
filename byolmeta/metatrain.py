"""Meta-training, or practice: an outer loop over puzzles (few-shot tasks) whose inner loop is a learner.

What is learned: the learner's own settings (rates, temperature, start) and, beside them, a turn of the encoder's vectors or
the encoder's weights. Puzzles held back say when to end, others, never looked at before, whether it helped; if not, the
encoder stays as it was. Draws come from the seed and the number of the step, so a run that was killed goes on as if it
had never stopped.
"""

import copy
import dataclasses
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byolmeta import fewshot, puzzles
from byolmeta.augment import make_view, two_views
from byolmeta.checkpoint import read_checkpoint, save_checkpoint
from byolmeta.devices import autocast, choose_device
from byolmeta.encoder import Encoder, Vectors, save_encoder
from byolmeta.episodes import Tasks
from byolmeta.errors import InputError
from byolmeta.features import calibrate, embed, prepare
from byolmeta.images import ImageStore
from byolmeta.learners import LEARNERS, LinearHead, Support
from byolmeta.puzzles import Puzzles
from byolmeta.runs import Run
from byolmeta.settings import MetatrainConfig

SHOTS = 1, 5  # examples of each class at which puzzles are judged when no number is asked for
LOOKED = 200  # puzzles of each number of examples that choose when to end
SLOW = 5  # so many times fewer for maml, which adapts the whole network to each
PLAIN = ("prototype", "ridge", "anil")  # learners that practice has to beat, as they are
TWINS = 1500, 300  # pictures whose views make puzzles: to practise on, and to choose or judge by
QUICK = 0.01  # outer rate of a learner's own settings
STEEP = 10.0  # length at which the outer gradient is cut


@dataclass(frozen=True)
class Judges:
    """Puzzles of each number of examples, the same at every look; their tasks count in `rows`."""

    rows: np.ndarray  # int64, sorted
    tasks: dict[int, Tasks]  # by examples of each class

    def accuracies(self, answers) -> np.ndarray:
        """Of every puzzle, those of fewer examples first; answers(tasks) are the classes said, (B, m)."""
        return np.concatenate([(answers(one) == one.query_labels).mean(1) for one in self.tasks.values()])


class Material:
    """The pictures of a store as rows: picture i, and its views i + N, i + 2 N ..., drawn by chance but always the same."""

    def __init__(self, store: ImageStore, vectors: np.ndarray, seed: int, kind: str, size: int):
        self.store, self.known, self.seed, self.size = store, vectors, seed, size
        self.views = two_views(size, kind)

    def pictures(self, rows: np.ndarray) -> Tensor:
        """Float (len(rows), 3, S, S) in 0..1."""
        numbers, ids = np.divmod(rows, len(self.store))
        found = torch.empty(len(rows), 3, self.size, self.size)
        for number in np.unique(numbers):
            at = np.flatnonzero(numbers == number)
            pixels, generator = self.store.pixels[ids[at]], self._generator(int(number))
            found[torch.from_numpy(at)] = self._view(pixels, number, generator) if number else prepare(pixels, self.size)
        return found

    def fresh(self, rows: np.ndarray, step: int) -> Tensor:
        """New views (len(rows), 3, S, S) for a step, for a network that learns from pictures."""
        return self._view(self.store.pixels[rows % len(self.store)], 1, self._generator(-1 - step))

    @torch.no_grad()
    def vectors(self, network: Vectors, rows: np.ndarray, known: bool = False) -> Tensor:
        """Of rows (sorted), (len(rows), V); `known`: those of pictures are the ones that were brought along."""
        device = next(network.parameters()).device
        network.eval()
        own = rows < len(self.store) if known else np.zeros(len(rows), bool)
        parts = [torch.from_numpy(self.known[rows[own]])] if own.any() else []
        parts += [network(self.pictures(part).to(device)).cpu() for part in _chunks(rows[~own])]
        return torch.cat(parts)

    def _view(self, pixels: np.ndarray, number: int, generator: torch.Generator) -> Tensor:
        return make_view(torch.from_numpy(np.array(pixels)), self.size, self.views[int(number) % 2], generator)

    def _generator(self, number: int) -> torch.Generator:
        seeds = np.random.SeedSequence((self.seed, number % 2**32)).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(seeds[0] >> np.uint64(1)))


class Practice(nn.Module):
    """What practice learns, as one module: `values` of the learner, and a `turn` of the vectors or a `network`."""

    def __init__(self, method, config: MetatrainConfig, network: Vectors, width: int):
        super().__init__()
        self.method, self.config, self.values = method, config, nn.ParameterDict()
        for name in method.LEARNED:
            usual = getattr(method, name)
            if name == "directions":
                usual = torch.ones(width)
            elif name == "rate" and isinstance(method, LinearHead):
                usual = torch.full((method.steps,), float(usual))
            usual = torch.as_tensor(usual, dtype=torch.float32)
            self.values[name] = nn.Parameter(usual.clone() if name == "start" else usual.log())
        if config.through == "vectors":
            self.turn = nn.Parameter(torch.zeros(width, width))
        else:
            self.network = network.requires_grad_(False)
            (network.last_stage() if config.through == "last" else network.encoder.trunk).requires_grad_(True)

    def learner(self):
        """The learner with its values as they are now; gradients reach them."""
        values = {name: value if name == "start" else value.exp() for name, value in self.values.items()}
        return dataclasses.replace(self.method, **values)

    def settled(self):
        """The learner with plain numbers, as a card holds them."""
        values = {k: v.tolist() for k, v in vars(self.learner()).items() if torch.is_tensor(v)}
        return dataclasses.replace(self.method, **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def turned(self, vectors: Tensor) -> Tensor:
        """Vectors (..., V) as practice sees them."""
        return vectors + vectors @ self.turn

    def optimizer(self, rate: float) -> torch.optim.Optimizer:
        rest = [p for name, p in self.named_parameters() if p.requires_grad and not name.startswith("values.")]
        decay = self.config.weight_decay if self.config.through == "vectors" else 0.0
        groups = [{"params": [*self.values.values()], "lr": QUICK, "weight_decay": 0.0}]
        return torch.optim.AdamW([*groups, {"params": rest, "lr": rate, "weight_decay": decay}])


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
    pupils, looks, judges, judged_by = _parts(store, vectors, copies, config)
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
        check |= {"plain": float(plain_right.mean()), "difference": gain, "difference_ci95": half, "puzzles": len(right)}
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
        loss = _learn(practice, tasks, bank, material, pupils.rows, step, untrained)
        if not torch.isfinite(loss):
            run.set_status("failed", step=step, message=f"The loss became {float(loss)} at step {step}. Try a lower lr.")
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
    result = {"run": str(run.folder), "encoder": str(run.encoder), "images": len(store), "skipped": len(store.index.skipped)}
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


class _Pupils:
    """Puzzles to practise on."""

    def __init__(self, source: Puzzles, config: MetatrainConfig):
        way = config.train_way or config.way
        shots = [config.shot] if config.shot else range(SHOTS[0], SHOTS[1] + 1)
        self.source = source
        self.sizes = [s for s in (_size(source, way, shot, config.query) for shot in shots) if s]
        if not self.sizes:
            source.draw(np.random.default_rng(0), 1, 2, shots[0], 1)  # says what is missing

        self.rows = np.unique(np.concatenate([rows for p in source.partitions for rows in p]))

    def draw(self, random: np.random.Generator, config: MetatrainConfig) -> Tasks:
        """Tasks of one size, which count in `rows`."""
        return self.source.draw(random, config.batch, *self.sizes[random.integers(len(self.sizes))]).among(self.rows)


def _size(source: Puzzles, way: int, shot: int, query: int) -> tuple[int, int, int] | None:
    """(way, shot, query) that these pictures allow: fewer questions first, then fewer classes. None: not even two of one."""
    for asked in range(query, 0, -1):
        if source.classes(shot + asked) >= way:
            return way, shot, asked
    few = source.classes(shot + 1)
    return (few, shot, 1) if few >= 2 else None


def _parts(
    store: ImageStore, vectors: np.ndarray, copies: np.ndarray, config: MetatrainConfig
) -> tuple[_Pupils, Judges, Judges, str]:
    """Puzzles to practise on, to choose by and to judge by, of different classes or pictures; and what judges.

    Without labels the judges are the folders' classes all the same where there are any: practice has not seen them.
    """
    most = config.shot or SHOTS[1]
    if config.tasks == "labels":
        sources = [
            Puzzles([puzzles.of_labels(store.labels, part)], copies)
            for part in puzzles.split_classes(store.labels, config.seed)
        ]
        judged_by = "classes"
    else:
        views, sources = most + config.query, []
        everything = np.tile(copies, 1 + views)  # a view is no copy of another, nor of its picture
        everything[len(copies) :] = len(copies) + np.arange(len(everything) - len(copies))
        for number, ids in enumerate(puzzles.split_pictures(vectors, copies, config.seed)):
            partitions = []
            if config.tasks != "twins":
                partitions += puzzles.of_clusters(vectors, ids, config.seed + number)
            if config.tasks != "clusters":
                chosen = np.random.default_rng((config.seed, number)).permutation(ids)[: TWINS[min(number, 1)]]
                twins = puzzles.of_twins(np.sort(chosen), copies, len(store), views)
                partitions += [twins] * max(1, len(partitions) // 4)  # a fifth of the puzzles
            sources.append(Puzzles(partitions, everything))
        judged_by = "puzzles"
        classes = Puzzles([puzzles.of_labels(store.labels, np.unique(store.labels[store.labels >= 0]))], copies)
        if _size(classes, 2, 1, 1):
            sources[2], judged_by = classes, "classes"
    seeds, looked = [(config.seed, number) for number in (1, 2)], LOOKED // (SLOW if config.learner == "maml" else 1)
    looks, judges = (
        _judges(source, config, count, seed)
        for source, count, seed in zip(sources[1:], (looked, config.judge), seeds, strict=True)
    )
    return _Pupils(sources[0], config), looks, judges, judged_by


def _judges(source: Puzzles, config: MetatrainConfig, count: int, seed: tuple) -> Judges:
    shots = [config.shot] if config.shot else SHOTS
    sizes = [s for s in (_size(source, config.way, shot, max(config.query, 10)) for shot in shots) if s]
    random = np.random.default_rng(seed)
    if not sizes:
        source.draw(random, 1, 2, shots[0], 1)  # says what is missing
    tasks = {size[1]: source.draw(random, count, *size) for size in sizes}
    rows = np.unique(np.concatenate([x.ravel() for one in tasks.values() for x in (one.support, one.query)]))
    return Judges(rows, {shot: one.among(rows) for shot, one in tasks.items()})


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


def _learn(
    practice: Practice, tasks: Tasks, bank: Tensor | None, material: Material, rows: np.ndarray, step: int, untrained: bool
) -> Tensor:
    """One step of the outer loop: leaves the gradients, and returns the loss, a scalar."""
    learner, way, device = practice.learner(), tasks.way, next(practice.parameters()).device
    labels, truth = (torch.from_numpy(x).to(device) for x in (tasks.support_labels, tasks.query_labels))
    if bank is None:
        practice.network.train(untrained and isinstance(learner, LinearHead))
        asked = rows[np.concatenate([tasks.support, tasks.query], 1)]
        pictures = material.fresh(asked.ravel(), step).to(device, memory_format=torch.channels_last)
    if not isinstance(learner, LinearHead):
        return _learn_apart(practice, pictures.unflatten(0, asked.shape), labels, truth, way)
    if bank is not None:
        support, query = (practice.turned(bank[torch.from_numpy(x)]) for x in (tasks.support, tasks.query))
    else:
        with autocast(device.type, "auto")():
            found = practice.network(pictures)
        found = found.float().unflatten(0, asked.shape)
        support, query = found[:, : labels.shape[1]], found[:, labels.shape[1] :]
    loss = F.cross_entropy(learner.answer(support, labels, query, way).mT, truth)
    loss.backward()
    return loss.detach()


def _learn_apart(practice: Practice, pictures: Tensor, labels: Tensor, truth: Tensor, way: int) -> Tensor:
    """`_learn` for learners that change the network: one task after another, so that one graph is held at a time."""
    total = torch.zeros((), device=pictures.device)
    for number, (one, known) in enumerate(zip(pictures, labels, strict=True)):
        learner = practice.learner()  # each task's graph begins at the values
        for found in learner.adapt(practice.network, Support(one[: len(known)], known, way), keep_graph=True):
            pass
        loss = F.cross_entropy(found.predict(one[len(known) :]), truth[number]) / len(labels)
        loss.backward()
        total += loss.detach()
    return total


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
    return f"Practice brought no gain on puzzles it had never seen ({points}, {change}), so the encoder stays as it was."


def _plain_values(learner) -> dict:
    """A learner's settings as JSON has them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(learner).items()}


def _whole(practice: Practice, store: ImageStore, untrained: bool) -> Encoder:
    """The practised network; one that began from nothing and adapts as a whole has no batch norm statistics yet."""
    encoder = practice.network.encoder.cpu().eval().requires_grad_(True)
    if untrained and not isinstance(practice.method, LinearHead):
        calibrate(encoder, store.pixels)
    return encoder


def _chunks(ids: np.ndarray, size: int = 256) -> list[np.ndarray]:
    return np.array_split(ids, max(1, -(-len(ids) // size)))
