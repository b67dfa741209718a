"""Practice of a linear head, and scores over many tasks: ours against learn2learn, higher, torch.func and easyfsl, one thread.

    python tests/benchmarks/meta_speed.py

Practice, meta-training steps a second: 5-way tasks of 512-d vectors, 15 queries a class, 5 inner steps of a head that starts
at zero, second order; a step is the whole meta-batch, outer loss, backward, Adam. Every arm begins with the same vectors,
centres them, brings them to one length and scales them (for the peers by a few tensor operations on the whole batch). Two
kinds: `settings` learns scale and a rate for each inner step; `vectors` learns a factor for each direction, so that gradients
reach all vectors, as they must on their way into an encoder. Each arm's gradients are compared with those of plain autograd
in float64 before anything is timed.

Scores, tasks a second: nearest class mean by Euclidean distance on saved vectors, with tasks that were drawn before and with
their drawing; accuracy must be equal on equal tasks.

Arms take turns in every round. Seconds are those of the processor, of which one thread has one a second where it is alone:
others on the machine disturb them little. No peer is a requirement, one that is missing is left out: pip install higher easyfsl.
learn2learn 0.2 does not build on Python 3.11 and later as it is: delete the .c files of its source, then
`python setup.py build_ext bdist_wheel` with Cython below 3, and install the wheel, requests and gym below 0.27.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import numpy as np
import torch
import torch.nn.functional as F
from machine import about
from torch import Tensor, nn

from byolmeta.episodes import Tasks, draw_episodes, stack
from byolmeta.fewshot import episode_accuracies
from byolmeta.learners.anil import Anil
from byolmeta.learners.prototype import Prototype

RESULT = Path(__file__).parent / "results" / "meta_speed.json"
WAY, QUERY, STEPS, DIM = 5, 15, 5, 512
PEERS = {
    "learn2learn": "built from its source without its .c files, by Cython below 3; its own MAML, a rate set before each step",
    "higher": "innerloop_ctx, a rate given to each step",
    "torch.func": "grad of the loss in vmap over tasks, written here",
    "easyfsl": "evaluate() with FeaturesDataset, and torch's Sampler made to take the argument it no longer takes",
}
CLOSE = 1e-4  # gradients of two arms are the same up to this share of the largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each arm in each round")
    parser.add_argument("--shots", default="1,5")
    parser.add_argument("--batches", default="4,16", help="tasks a step")
    parser.add_argument("--episodes", type=int, default=1000, help="tasks that are scored at a time")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    shots = [int(shot) for shot in flags.shots.split(",")]
    practice, scores = [], []
    for kind in ("settings", "vectors"):
        for shot in shots:
            for batch in map(int, flags.batches.split(",")):
                practice += practised(kind, shot, batch, flags)
    for shot in shots:
        scores += scored(shot, flags)
    found = about(("torch", "numpy", "learn2learn", "higher", "easyfsl"))
    found |= {"threads": 1, "way": WAY, "queries": QUERY, "inner_steps": STEPS, "dim": DIM, "rounds": flags.rounds}
    found |= {"seconds": "of the processor", "peers": PEERS, "practice": practice, "scores": scores}
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def rates(arms: dict[str, Callable[[], int]], flags) -> dict[str, list[float]]:
    """{arm: what it did a second in each round}; an arm says how many it did in a call."""
    found = {name: [] for name in arms}
    for _ in range(flags.rounds):
        for name, work in arms.items():
            work()  # the arm before left its own data in the caches
            start, done = time.process_time(), 0
            while time.process_time() < start + flags.seconds or not done:
                done += work()
            found[name].append(done / (time.process_time() - start))
    return found


def rows_of(found: dict[str, list[float]], unit: str, abouts: dict[str, dict]) -> list[dict]:
    """A row for each arm: median and spread of its rate, and how many times as fast ours is in the same round."""
    rows = []
    for name, each in found.items():
        ratios = [ours / theirs for ours, theirs in zip(found["ours"], each, strict=True)]
        rows.append(abouts[name] | {"arm": name, unit: round(statistics.median(each), 1),
                    "spread": [round(min(each), 1), round(max(each), 1)],
                    "ours_is_times": round(statistics.median(ratios), 2),
                    "ours_is_times_spread": [round(min(ratios), 2), round(max(ratios), 2)]})  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def installed(arms: dict[str, Callable]) -> dict[str, Callable]:
    """What the makers of arms make; one whose package cannot be imported is named and left out."""
    found = {}
    for name, make in arms.items():
        try:
            found[name] = make()
        except ImportError as problem:
            print(f"{name} is left out, it is not installed ({problem}).", flush=True)
    return found


# Practice


def practised(kind: str, shot: int, batch: int, flags) -> list[dict]:
    """Rows of every arm for one kind of practice and size of task."""
    data, truth = drawn(shot, batch), gradients(autograd(), kind, drawn(shot, batch, torch.float64))
    arms = installed({"ours": ours, "learn2learn": learn2learn, "higher": higher, "torch.func": func})
    gaps = {name: gap(gradients(loss_of, kind, data), truth) for name, loss_of in arms.items()}
    if max(gaps.values()) > CLOSE:
        sys.exit(f"The arms do not compute the same: gradients differ by {gaps}.")
    found = rates({name: stepper(loss_of, kind, data) for name, loss_of in arms.items()}, flags)
    shared = {"kind": kind, "shot": shot, "meta_batch": batch}
    abouts = {name: shared | {"gradient_gap": float(f"{gap:.1e}")} for name, gap in gaps.items()}
    return rows_of(found, "steps_per_second", abouts)


def drawn(shot: int, batch: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tasks that are neither hopeless nor easy: support (B, n, D), labels (B, n), query (B, m, D), truth (B, m)."""
    random = torch.Generator().manual_seed(shot)
    centres = 0.2 * torch.randn(batch, WAY, 1, DIM, generator=random)
    each = centres + torch.randn(batch, WAY, shot + QUERY, DIM, generator=random)
    labels, truth = (torch.arange(WAY).repeat_interleave(n).repeat(batch, 1) for n in (shot, QUERY))
    each = each.to(dtype)
    return each[:, :, :shot].flatten(1, 2).contiguous(), labels, each[:, :, shot:].flatten(1, 2).contiguous(), truth


def learned(kind: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """What practice changes, as it is at first."""
    if kind == "settings":
        first = {"rate": torch.full((STEPS,), 0.15), "scale": torch.tensor(4.0)}
    else:
        first = {"factor": torch.ones(DIM)}
    return {name: value.to(dtype).requires_grad_() for name, value in first.items()}


def setting(parts: dict[str, Tensor], data) -> tuple:
    """Support, query, a rate for each step, and scale."""
    support, _, query, _ = data
    if "factor" in parts:
        return support * parts["factor"], query * parts["factor"], [0.15] * STEPS, 4.0
    return support, query, parts["rate"], parts["scale"]


def gradients(loss_of, kind: str, data) -> Tensor:
    parts = learned(kind, data[0].dtype)
    found = torch.autograd.grad(loss_of(parts, data), list(parts.values()))
    return torch.cat([g.flatten() for g in found])


def gap(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth).abs().max() / truth.abs().max())


def stepper(loss_of, kind: str, data) -> Callable[[], int]:
    """One step of meta-training."""
    parts = learned(kind, torch.float32)
    optimizer = torch.optim.Adam(parts.values(), 1e-4)

    def step() -> int:
        optimizer.zero_grad()
        loss_of(parts, data).backward()
        optimizer.step()
        return 1

    return step


def ours():
    def loss_of(parts, data):
        support, query, rate, scale = setting(parts, data)
        rate = rate if torch.is_tensor(rate) else tuple(rate)
        scores = Anil(steps=STEPS, rate=rate, scale=scale).answer(support, data[1], query, WAY)
        return F.cross_entropy(scores.mT, data[3])

    return loss_of


def placed(parts, data) -> tuple:
    """For the peers, whose heads see explicit vectors: support, query (around the centre, of one length) and the rates.

    These are times the way, as those of our loss are.
    """
    support, query, rate, scale = setting(parts, data)
    centre = support.mean(1, keepdim=True)  # of class means, which count alike here
    support, query = (scale * F.normalize(each - centre, dim=2) for each in (support, query))
    return support, query, [WAY * each for each in rate]


def zero_head() -> nn.Linear:
    head = nn.Linear(DIM, WAY)
    for value in head.parameters():
        nn.init.zeros_(value)
    return head


def learn2learn():
    from learn2learn.algorithms import MAML

    maml = MAML(zero_head(), lr=0.0, first_order=False)

    def loss_of(parts, data):
        support, query, rate = placed(parts, data)
        total = 0.0
        for x, labels, q, truth in zip(support, data[1], query, data[3], strict=True):
            learner = maml.clone()
            for learner.lr in rate:
                learner.adapt(F.cross_entropy(learner(x), labels))
            total = total + F.cross_entropy(learner(q), truth)
        return total / len(support)

    return loss_of


def higher():
    from higher import innerloop_ctx

    head = zero_head()
    inner = torch.optim.SGD(head.parameters(), lr=0.1)  # every step brings a rate of its own

    def loss_of(parts, data):
        support, query, rate = placed(parts, data)
        total = 0.0
        for x, labels, q, truth in zip(support, data[1], query, data[3], strict=True):
            with innerloop_ctx(head, inner, copy_initial_weights=False) as (learner, steps):
                for lr in rate:
                    steps.step(F.cross_entropy(learner(x), labels), override={"lr": [lr]})
                total = total + F.cross_entropy(learner(q), truth)
        return total / len(support)

    return loss_of


def func():
    def task_loss(x, labels, q, truth, rate):
        def support_loss(head):
            return F.cross_entropy(x @ head[0] + head[1], labels)

        head = x.new_zeros(DIM, WAY), x.new_zeros(WAY)
        for lr in rate:
            slopes = torch.func.grad(support_loss)(head)
            head = tuple(part - lr * slope for part, slope in zip(head, slopes, strict=True))
        return F.cross_entropy(q @ head[0] + head[1], truth)

    def loss_of(parts, data):
        support, query, rate = placed(parts, data)
        return torch.vmap(task_loss, (0, 0, 0, 0, None))(support, data[1], query, data[3], rate).mean()

    return loss_of


def autograd():
    """What all arms are compared with: a task after another, with autograd's slopes of the slopes."""

    def loss_of(parts, data):
        support, query, rate = placed(parts, data)
        losses = []
        for x, labels, q, truth in zip(support, data[1], query, data[3], strict=True):
            head, bias = (x.new_zeros(*shape, requires_grad=True) for shape in ((DIM, WAY), (WAY,)))
            for lr in rate:
                loss = F.cross_entropy(x @ head + bias, labels)
                slopes = torch.autograd.grad(loss, (head, bias), create_graph=True)
                head, bias = head - lr * slopes[0], bias - lr * slopes[1]
            losses.append(F.cross_entropy(q @ head + bias, truth))
        return torch.stack(losses).mean()

    return loss_of


# Scores


def scored(shot: int, flags) -> list[dict]:
    """Rows of every arm for scores on tasks of one size: drawn before, and with their drawing."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(20).repeat_interleave(600)
    vectors = 0.27 * torch.randn(20, DIM, generator=random)[labels] + torch.randn(len(labels), DIM, generator=random)
    labels = labels.numpy()
    tasks = stack(draw_episodes(labels, WAY, shot, QUERY, flags.episodes, seed=1))
    rows = []
    for drawing in (False, True):
        given = vectors, labels, tasks, drawing, shot
        arms = installed({"ours": partial(our_scores, *given), "easyfsl": partial(easyfsl_scores, *given)})
        accuracy = {name: round(work(), 6) for name, work in arms.items()}
        if not drawing and len(set(accuracy.values())) > 1:
            sys.exit(f"The arms do not compute the same: accuracy is {accuracy}.")
        found = rates({name: lambda work=work: bool(work()) * flags.episodes for name, work in arms.items()}, flags)
        shared = {"shot": shot, "episodes": flags.episodes, "drawing": drawing}
        abouts = {name: shared | {"accuracy": accuracy[name]} for name in arms}
        rows += rows_of(found, "tasks_per_second", abouts)
    return rows


def our_scores(vectors: Tensor, labels: np.ndarray, tasks: Tasks, drawing: bool, shot: int):
    def work() -> float:
        given = stack(draw_episodes(labels, WAY, shot, QUERY, len(tasks.query), seed=1)) if drawing else tasks
        return float(episode_accuracies(Prototype(metric="euclidean"), vectors, given).mean())

    return work


def easyfsl_scores(vectors: Tensor, labels: np.ndarray, tasks: Tasks, drawing: bool, shot: int):
    """easyfsl's evaluate, as its examples call it."""
    from easyfsl.datasets import FeaturesDataset
    from easyfsl.methods import PrototypicalNetworks
    from easyfsl.samplers import TaskSampler
    from easyfsl.utils import evaluate
    from torch.utils.data import DataLoader, Sampler

    try:
        Sampler(data_source=None)
    except TypeError:  # easyfsl 1.5 passes an argument that newer versions of torch no longer take
        Sampler.__init__ = lambda self, data_source=None: None
    data = FeaturesDataset(labels.tolist(), vectors, [str(i) for i in range(20)])
    sampler = TaskSampler(data, WAY, shot, QUERY, len(tasks.query))
    by_class = [each.reshape(len(each), WAY, -1) for each in (tasks.support, tasks.query)]
    given = np.concatenate(by_class, 2).reshape(len(tasks.query), -1).tolist()
    model = PrototypicalNetworks(nn.Identity())

    def work() -> float:
        loader = DataLoader(data, batch_sampler=sampler if drawing else given, collate_fn=sampler.episodic_collate_fn)
        return float(evaluate(model, loader, device="cpu", use_tqdm=False))

    return work


if __name__ == "__main__":
    main()
