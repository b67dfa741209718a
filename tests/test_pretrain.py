"""pretrain.py: tiny runs from end to end; stopped, paused, killed, resumed; and runs that go wrong."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_pictures
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from byolmeta import features, jobs
from byolmeta import plan as plan_module
from byolmeta import pretrain as module
from byolmeta import step as step_module
from byolmeta.byol import BYOL
from byolmeta.devices import choose_device
from byolmeta.encoder import Encoder, load_encoder
from byolmeta.errors import InputError
from byolmeta.files import read_card
from byolmeta.images import open_store
from byolmeta.loader import Loader
from byolmeta.plan import choose_batch, make_plan, trial
from byolmeta.pretrain import pretrain, split
from byolmeta.ranks import Ranks
from byolmeta.runs import Run
from byolmeta.settings import OPTIMIZERS, PRESETS, PretrainConfig

ROOT = Path(__file__).resolve().parents[1]
TINY = dict(encoder="conv4", image_size=16, batch_size=11, hidden=16, dim=8, optimizer="sgd", base_lr=1.0, log_every=1, precision="fp32",
            device="cpu", check_share=0.5)  # fmt: skip


def config(**more):
    return PretrainConfig(**TINY | more)


def new(tmp_path, settings, name="run"):
    run = Run(tmp_path / name)
    run.create(settings)
    return run


def losses(run):
    return [(line["step"], line["loss"]) for line in run.metrics() if "loss" in line]


def weights(run):
    return load_encoder(run.folder).state_dict()


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """A run of 30 steps that was never stopped: (run, result)."""
    run = new(tmp_path_factory.mktemp("whole"), config(epochs=10))
    return run, pretrain(store, config(epochs=10), run)


def test_a_run_leaves_everything_that_is_promised(whole, store):
    run, result = whole
    names = {
        "config.json",
        "metrics.jsonl",
        "status.json",
        "encoder.safetensors",
        "vectors.npz",
        "film",
        "resume.pt",
        ".lock",
        ".spare",
    }
    assert {p.name for p in run.folder.iterdir()} == names
    status = run.status()
    assert status["state"] == "done" and status["step"] == status["steps"] == 30 and status["result"] == result
    assert result["steps"] == 30 and result["epochs"] == 10 and result["images"] == 36 and result["skipped"] == 0
    assert set("run encoder seconds images_per_second loss twin spread effective_rank knn".split()) <= result.keys()
    json.dumps(result, allow_nan=False)
    assert [step for step, _ in losses(run)] == list(range(1, 31))
    checks = [line for line in run.metrics() if "check" in line]
    assert checks[0]["step"] == 0 and checks[-1]["step"] == 30
    assert checks[-1]["check"]["twin_of"] == 3 and 0 <= checks[-1]["check"]["twin"] <= 1


def test_a_run_learns_without_collapse(whole, store):
    run, result = whole
    values = [loss for _, loss in losses(run)]
    assert all(0 <= v <= 8 for v in values)
    assert np.mean(values[-5:]) < 0.9 * np.mean(values[:5])
    encoder = load_encoder(run.folder)
    vectors, pooled = (features.embed(encoder, store.pixels, pooled=p) for p in (False, True))
    trained = pooled[:, -encoder.dim :]  # the last stage, without the readout that spreads everything
    assert result["spread"] == pytest.approx(features.spread(trained), rel=1e-3) and result["spread"] > 0.1
    assert result["effective_rank"] == pytest.approx(features.effective_rank(trained), rel=1e-3)
    assert result["knn"] == pytest.approx(features.knn_accuracy(vectors, store.labels))
    checks = [line["check"] for line in run.metrics() if "check" in line]
    assert (result["twin_before"], result["twin"]) == (checks[0]["twin"], checks[-1]["twin"])


def test_vectors_and_card_are_those_of_the_last_step(whole, store):
    run, _ = whole
    ids, vectors, step = features.read_vectors(run.vectors)
    assert step == 30 and ids.tolist() == list(range(36))
    np.testing.assert_allclose(vectors, features.embed(load_encoder(run.folder), store.pixels), rtol=2e-3, atol=1e-3)
    card = read_card(run.encoder)
    assert (card["images"], card["steps"], card["epochs"], card["trained_on"]) == (36, 30, 10, "shapes")
    assert card["settings"]["encoder"] == "conv4" and card["settings"]["batch_size"] == 11
    assert card["figures"]["twin_of"] == 3 and card["plan"]["steps"] == 30


def test_one_seed_repeats_a_run_and_another_does_not(whole, store, tmp_path):
    for name, seed in (("same", 0), ("other", 1)):
        run = new(tmp_path, config(epochs=1, seed=seed), name)
        pretrain(store, config(epochs=1, seed=seed), run)
        first = [loss for _, loss in losses(run)][0]
        assert (first == losses(whole[0])[0][1]) == (seed == 0)


class StopAt:
    """A progress callback that leaves a note after some step."""

    def __init__(self, run, step, note="stop"):
        self.run, self.step, self.note = run, step, note

    def __call__(self, step, steps, line):
        if step == self.step:
            self.run.ask(self.note)


def test_a_stopped_run_goes_on_as_if_never_stopped(whole, store, tmp_path):
    settings = config(epochs=10)
    run = new(tmp_path, settings)
    for at in (7, 19):
        result = pretrain(store, settings, run, resume=at > 7, progress=StopAt(run, at))
        assert result["steps"] == at and run.status()["state"] == "stopped" and not run.asked("stop")
        assert load_encoder(run.folder).card["steps"] == at
    pretrain(store, settings, run, resume=True)
    assert losses(run) == losses(whole[0])
    assert run.status()["state"] == "done"
    assert same(weights(run), weights(whole[0]))
    a, b = (torch.load(r.resume, weights_only=True)["model"] for r in (run, whole[0]))
    assert same(a, b)  # the target and the heads too


def test_a_run_that_hands_over_goes_on_as_if_never_interrupted(whole, store, tmp_path):
    """Another process answers for it all the while; each that goes on has its own time."""
    settings, keeper = config(epochs=10), os.getppid()
    folder = new(tmp_path, settings).folder

    def part(until, resume=True):
        run = Run(folder, keeper)

        def over(step, steps, line):
            run.until = 0.0 if step >= until else math.inf

        result = pretrain(store, settings, run, resume=resume, progress=over)
        return run, result

    for until in (7, 8, 19):
        run, result = part(until, until > 7)
        status = run.status()
        assert result == {"unfinished": True} and torch.load(run.resume, weights_only=True)["step"] == until
        assert (status["state"], status["step"], status["pid"]) == ("running", until, keeper)
        with pytest.raises(InputError, match="Another process"):
            Run(folder).claim()
    run, result = part(30)  # the last step is no reason to hand over
    assert run.status()["state"] == "done" and result["steps"] == 30
    assert losses(run) == losses(whole[0]) and same(weights(run), weights(whole[0]))
    assert result["twin_before"] == whole[1]["twin_before"] and result["seconds"] >= 0


def test_a_run_whose_time_is_over_before_the_first_step_does_one(store, tmp_path):
    settings = config(epochs=10, log_every=1000)
    run = new(tmp_path, settings)
    run.until = 0.0
    assert pretrain(store, settings, run) == {"unfinished": True}
    assert (run.status()["state"], run.status()["step"], run.status()["steps"]) == ("running", 1, 30)
    run.ask("stop")  # counts for more
    assert pretrain(store, settings, run, resume=True)["steps"] == 2 and run.status()["state"] == "stopped"


@pytest.mark.parametrize("optimizer, rate", [("adamw", 0.01), ("lars", 1.0)])
def test_other_optimisers_resume_as_well(store, tmp_path, optimizer, rate):
    settings = config(epochs=4, optimizer=optimizer, base_lr=rate, warmup=0.3)
    runs = [new(tmp_path, settings, name) for name in "ab"]
    pretrain(store, settings, runs[0])
    pretrain(store, settings, runs[1], progress=StopAt(runs[1], 5))
    pretrain(store, settings, runs[1], resume=True)
    assert losses(runs[0]) == losses(runs[1])


def test_resuming_a_finished_run_changes_no_weight(whole, store):
    run, result = whole
    before, lines = weights(run), losses(run)
    again = pretrain(store, config(epochs=10), run, resume=True)
    assert again["steps"] == 30 and run.status()["state"] == "done"
    assert same(before, weights(run)) and losses(run) == lines
    run.set_status("done", step=30, steps=30, result=result)


def test_resume_without_a_checkpoint_begins_again(whole, store, tmp_path):
    run = new(tmp_path, config(epochs=10))
    run.append({"step": 0, "check": {"spread": 1.0}})
    run.append({"step": 1, "loss": 9.0})
    pretrain(store, config(epochs=10), run, resume=True, progress=StopAt(run, 3))
    assert losses(run) == losses(whole[0])[:3]
    assert [line["step"] for line in run.metrics() if "check" in line].count(0) == 1


def test_a_pause_waits_saves_and_changes_nothing(whole, store, tmp_path):
    settings = config(epochs=10)
    run = new(tmp_path, settings)
    thread = threading.Thread(
        target=pretrain, args=(store, settings, run), kwargs={"progress": StopAt(run, 4, "pause")}
    )
    thread.start()
    deadline = time.monotonic() + 20
    while run.status()["state"] != "paused" and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    assert run.status()["state"] == "paused" and run.status()["step"] == 4 and len(losses(run)) == 4
    assert torch.load(run.resume, weights_only=True)["step"] == 4
    run.withdraw("pause")
    thread.join(20)
    assert run.status()["state"] == "done" and losses(run) == losses(whole[0])
    seconds = [line["seconds"] for line in run.metrics() if "loss" in line]
    assert all(a <= b for a, b in zip(seconds, seconds[1:], strict=False))


def test_a_stop_during_a_pause_stops_at_once(store, tmp_path):
    settings = config(epochs=10)
    run = new(tmp_path, settings)
    run.ask("pause")
    run.ask("stop")
    assert pretrain(store, settings, run)["steps"] == 1


def command(folder, out, home, *more):
    flags = {"epochs": 20} | {k: v for k, v in TINY.items() if k != "check_share"} | {"checkpoint_seconds": 0.01}
    flat = [part for k, v in flags.items() for part in (f"--{k.replace('_', '-')}", str(v))]
    words = [
        sys.executable,
        "-m",
        "byolmeta",
        "pretrain",
        str(folder),
        "--out",
        str(out),
        "--home",
        str(home),
        "--json",
    ]
    return subprocess.Popen([*words, *flat, *more], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_killed_process_resumes_with_the_same_losses(pictures, store, tmp_path):
    run = Run(tmp_path / "killed")
    process = command(pictures, run.folder, tmp_path / "home")
    deadline = time.monotonic() + 120
    while len(losses(run)) < 15 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert 15 <= len(losses(run)) < 60 and run.status()["state"] == "failed"
    with open(run.folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 1')
    process = command(pictures, run.folder, tmp_path / "home", "--resume")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    result = json.loads(out.splitlines()[-1])
    assert result["steps"] == 60 and run.status()["state"] == "done"
    settings = config(epochs=20)
    other = new(tmp_path, settings, "whole")
    pretrain(store, settings, other)
    assert losses(run) == losses(other)
    assert same(weights(run), weights(other))


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
sys.path[:0] = ["tests"]
from test_pretrain import config
import torch
torch.set_num_threads(1)
from byolmeta.images import open_store
from byolmeta.pretrain import pretrain
from byolmeta.runs import Run

folder, stores, seed = sys.argv[1:]
settings, run, chance = config(epochs=20, checkpoint_seconds=0.02), Run(folder), random.Random(int(seed))
store = open_store(Path(folder).parent / "pictures", Path(stores), 16, workers=1)
run.create(settings)
kills = 0
while run.status()["state"] != "done":
    child = os.fork()
    if not child:
        try:
            pretrain(store, settings, run, resume=True)
        finally:
            os._exit(0)
    if kills < 20:
        time.sleep(chance.uniform(0.0, 0.25))
        os.kill(child, signal.SIGKILL)
        kills += os.waitpid(child, 0)[1] == signal.SIGKILL
    else:
        os.waitpid(child, 0)
print(kills, "killed")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")
def test_a_run_killed_twenty_times_has_the_losses_of_one_never_killed(store, tmp_path):
    """kill -9 at random moments, also while it starts or saves, as often as it takes; the steps are those of one run."""
    import shutil

    shutil.copytree(store.index.source, tmp_path / "pictures")
    script = [sys.executable, "-c", KILLER, str(tmp_path / "run"), str(tmp_path / "stores"), "7"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) >= 10  # the run may end before the twentieth
    run, settings = Run(tmp_path / "run"), config(epochs=20)
    assert run.status()["state"] == "done" and run.status()["step"] == 60
    whole = new(tmp_path, settings, "whole")
    pretrain(open_store(tmp_path / "pictures", tmp_path / "stores", 16), settings, whole)
    assert losses(run) == losses(whole)
    assert same(weights(run), weights(whole))


def test_a_clock_set_back_does_no_harm(whole, store, tmp_path, monkeypatch):
    """The time of day jumps back an hour at each look; steps, pauses, saves and the status go by another clock."""
    day = [time.time()]

    def jump():
        day[0] -= 3600
        return day[0]

    monkeypatch.setattr(time, "time", jump)
    settings = config(epochs=10, checkpoint_seconds=0.01)
    run = new(tmp_path, settings)
    pretrain(store, settings, run, progress=StopAt(run, 12))
    assert run.status()["state"] == "stopped"
    pretrain(store, settings, run, resume=True)
    assert run.status()["state"] == "done" and losses(run) == losses(whole[0])


def test_a_lost_gpu_ends_the_run_and_it_goes_on_elsewhere(whole, store, tmp_path, monkeypatch):
    """Simulated: what PyTorch raises when a GPU falls off the bus, in the middle of a step."""
    from byolmeta.step import Step
    from byolmeta.train import train

    settings, steps, gradients = config(epochs=10, checkpoint_seconds=0), [], Step._gradients
    run = Run(tmp_path / "lost")
    run.create(settings, folder=str(store.index.source), home=str(tmp_path / "home"))

    def failing(self, *values):
        steps.append(1)
        if len(steps) > 12:
            raise RuntimeError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA")
        return gradients(self, *values)

    monkeypatch.setattr(Step, "_gradients", failing)
    with pytest.raises(InputError, match="stopped answering"):
        train(run)
    status = run.status()
    assert (
        status["state"] == "failed" and "unspecified launch failure" in status["message"] and 0 < status["step"] <= 12
    )
    monkeypatch.setattr(Step, "_gradients", gradients)
    train(run, resume=True)
    assert run.status()["state"] == "done" and losses(run) == losses(whole[0]) and same(weights(run), weights(whole[0]))


def test_a_damaged_checkpoint_goes_on_from_the_one_before(whole, store, tmp_path):
    settings = config(epochs=10, checkpoint_seconds=0)
    run = new(tmp_path, settings)
    pretrain(store, settings, run, progress=StopAt(run, 9))
    run.resume.write_bytes(run.resume.read_bytes()[:-200])
    pretrain(store, settings, run, resume=True)
    assert losses(run) == losses(whole[0]) and same(weights(run), weights(whole[0]))


def test_memory_that_runs_out_is_said_and_the_run_goes_on(store, tmp_path, monkeypatch):
    real, messages = BYOL.look, set()

    def scarce(self, view):
        if len(view) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, view)

    monkeypatch.setattr(BYOL, "look", scarce)
    monkeypatch.setattr(module, "choose_parts", lambda *_: 1)
    settings = config(epochs=2)
    run = new(tmp_path, settings)
    result = pretrain(store, settings, run, progress=lambda *_: messages.add(run.status()["message"]))
    assert result["steps"] == 6 and len(losses(run)) == 6
    assert messages == {"11 pictures at once do not fit in memory: each step computes them in 2 parts of 5."}
    assert torch.load(run.resume, weights_only=True)["parts"] == 2


def test_parts_are_chosen_by_memory(store, monkeypatch):
    torch.manual_seed(0)
    model, train = BYOL(Encoder("conv4", 16), 16, 8).train(), split(36, 0)[0]
    need = step_module.activation_bytes(model, nullcontext, "cpu") * 11
    for room, parts in ((10, 1), (1.01, 1), (0.99, 2), (0.4, 4), (1e-6, 4)):
        monkeypatch.setattr(plan_module, "free_memory", lambda device, room=room: need * room / plan_module.ROOM)
        assert plan_module.choose_parts(model, nullcontext, "cpu", config(), train) == parts


def test_a_preset_fills_in_what_was_left_out():
    assert [PretrainConfig(preset=p).minutes for p in PRESETS] == [2, 10, 45]
    assert PretrainConfig(preset="quick", minutes=7).minutes == 7
    assert PretrainConfig(preset="quick", epochs=3).minutes == 0 and PretrainConfig().minutes == 0
    again = PretrainConfig(**asdict(PretrainConfig(preset="balanced", batch_size=9)))  # as read from config.json
    assert (again.minutes, again.batch_size) == (10, 9)
    with pytest.raises(InputError, match="no preset 'best'"):
        PretrainConfig(preset="best")


def test_an_optimiser_never_runs_at_another_ones_rate(store):
    train = split(36, 0)[0]
    rates = {
        o: make_plan(None, store, train, config(base_lr=0, optimizer=o), "cpu", nullcontext).peak_lr for o in OPTIMIZERS
    }
    assert (
        rates == {o: pytest.approx(OPTIMIZERS[o][0] * 11 / 256) for o in OPTIMIZERS} and len(set(rates.values())) == 3
    )


def test_a_second_process_on_the_same_folder_is_refused(pictures, store, tmp_path):
    run = Run(tmp_path / "run")
    process = command(pictures, run.folder, tmp_path / "home")
    deadline = time.monotonic() + 120
    while not losses(run) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    run.ask("pause")
    try:
        for resume in (True, False):
            with pytest.raises(InputError, match="Another process"):
                pretrain(store, config(epochs=20), run, resume=resume)
        assert run.status()["pid"] == process.pid
    finally:
        run.ask("stop")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["steps"] < 60 and run.status()["state"] == "stopped"


def test_the_app_starts_a_run_in_a_process_of_its_own(pictures, tmp_path):
    run = new(tmp_path, config())  # the app's process makes the folder and lives on
    settings = asdict(config(epochs=2)) | {"folder": str(pictures), "home": str(tmp_path / "home")}
    (run.folder / "config.json").write_text(json.dumps(settings))
    jobs.start(run)
    assert run.status()["state"] in ("starting", "running") and run.status()["pid"] != os.getpid()
    deadline = time.monotonic() + 120
    while run.status()["state"] not in ("done", "failed", "stopped") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run.status()["state"] == "done", run.log.read_text()
    assert run.status()["step"] == 6 and load_encoder(run.folder).card["steps"] == 6


def test_a_process_that_dies_while_it_loads_is_seen(tmp_path, monkeypatch):
    run = new(tmp_path, config())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    jobs.start(run)
    time.sleep(0.3)
    assert run.status()["state"] == "failed"


def test_changed_pictures_are_refused_on_resume(store, tmp_path):
    run = new(tmp_path, config(epochs=10))
    pretrain(store, config(epochs=10), run, progress=StopAt(run, 2))
    before = run.resume.read_bytes()
    draw_pictures(tmp_path / "shapes", each=12, seed=5)
    changed = open_store(tmp_path / "shapes", tmp_path / "stores", 16, workers=1)
    with pytest.raises(InputError, match="not the ones this run began with.*--init"):
        pretrain(changed, config(epochs=10), run, resume=True)
    assert run.resume.read_bytes() == before


def test_held_pictures_are_never_trained_on(store):
    for n in (4, 36, 250, 5000):
        train, held = split(n, 0)
        assert len(held) == max(2, min(100, n // 10)) and not set(train) & set(held)
        assert sorted([*train, *held]) == list(range(n))
    assert split(36, 0)[1].tolist() == split(36, 0)[1].tolist() != split(36, 1)[1].tolist()
    train, held = split(36, 0)
    marked = np.zeros((36, 3, 16, 16), np.uint8)
    marked[held] = 255
    plan = make_plan(None, store, train, config(epochs=5), "cpu", nullcontext)
    loader = Loader(marked, train, plan.batch_size, 0)
    assert sum(int(loader.batch(step).sum()) for step in range(plan.steps)) == 0


def test_the_loop_trains_on_the_split_and_checks_on_the_rest(store, tmp_path, monkeypatch):
    seen, real = [], Loader.__init__

    def record(self, pixels, ids, *more):
        seen.append(ids)
        real(self, pixels, ids, *more)

    monkeypatch.setattr(Loader, "__init__", record)
    pretrain(store, config(epochs=1), new(tmp_path, config()))
    assert seen[0].tolist() == split(36, 0)[0].tolist()


def test_every_step_draws_its_own_views(store, tmp_path, monkeypatch):
    seen, real = [], step_module.draw_view

    def record(n, size, view, generator):
        seen.append((n, size, generator.initial_seed(), view.solarise))
        return real(n, size, view, generator)

    monkeypatch.setattr(step_module, "draw_view", record)
    pretrain(store, config(epochs=2), new(tmp_path, config()))
    assert len(seen) == 12 and [share for *_, share in seen] == [0, 0.2] * 6
    assert len({seed for _, _, seed, _ in seen}) == 6 and {(n, size) for n, size, *_ in seen} == {(11, 16)}


def test_batch_size_follows_the_number_of_pictures():
    assert [choose_batch(n) for n in (1, 100, 500, 2000, 10**6)] == [32, 32, 64, 256, 256]
    assert all(
        a <= b for a, b in zip(map(choose_batch, range(1, 3000)), map(choose_batch, range(2, 3001)), strict=False)
    )


def test_plan_by_epochs_and_rates_by_optimiser(store):
    train = split(36, 0)[0]
    plan = make_plan(None, store, train, config(epochs=2.5, warmup=0.1), "cpu", nullcontext)
    assert (plan.steps, plan.batch_size, plan.steps_per_epoch, plan.warmup) == (8, 11, 3, 1)
    assert plan.peak_lr == pytest.approx(1.0 * 11 / 256) and plan.momentum == 0.99
    plan = make_plan(None, store, train, config(base_lr=0, batch_size=0, momentum=0.5, init="x"), "cpu", nullcontext)
    assert plan.steps == 200 and plan.batch_size == 32 and plan.momentum == 0.5
    assert plan.peak_lr == pytest.approx(0.5 * 32 / 256 * 0.3)
    assert make_plan(None, store, train, config(batch_size=1000), "cpu", nullcontext).batch_size == 33
    assert make_plan(None, store, train, config(base_lr=0, optimizer="adamw"), "cpu", nullcontext).peak_lr < 0.01


def test_minutes_are_planned_from_a_trial(store, monkeypatch):
    train = split(36, 0)[0]
    monkeypatch.setattr(plan_module, "trial", lambda *_: 0.1)
    plan = make_plan(None, store, train, config(minutes=1, check_share=0.25), "cpu", nullcontext)
    assert plan.steps == 450
    assert make_plan(None, store, train, config(minutes=1, epochs=2), "cpu", nullcontext).steps == 6
    assert make_plan(None, store, train, config(minutes=1e-9), "cpu", nullcontext).steps == 1


def test_a_run_with_minutes_keeps_its_time_when_the_machine_gets_slower_or_faster():
    plan = plan_module.Plan(steps=1000, batch_size=11, steps_per_epoch=3, peak_lr=1.0, warmup=50, momentum=0.9)
    slower = plan_module.keep_time(plan, config(minutes=2), 100, 60)  # planned 0.12 s a step, took 0.6
    assert (slower.steps, slower.warmup, slower.peak_lr) == (200, 10, 1.0)
    assert plan_module.keep_time(plan, config(minutes=2), 500, 30) == replace(plan, steps=2000)
    assert plan_module.keep_time(plan, config(minutes=2), 300, 150).steps == 301  # over time: this step is the last
    assert plan_module.keep_time(plan, config(minutes=2, epochs=100), 500, 30).steps == 501
    assert plan_module.keep_time(plan, config(epochs=5), 100, 60) is plan
    assert plan_module.keep_time(plan, config(minutes=2), 0, 0.0) is plan


def test_a_slowed_run_ends_in_time(store, tmp_path, monkeypatch):
    """Planned for a machine a thousand times faster, the run still ends near its time, its rate at 0."""
    monkeypatch.setattr(plan_module, "trial", lambda *_: 1e-5)
    monkeypatch.setattr(module, "PLAN_SECONDS", 0.05)
    run = Run(tmp_path / "run")
    run.create(config(minutes=0.03))
    result = pretrain(store, config(minutes=0.03), run)
    assert run.status()["state"] == "done" and 1 <= result["steps"] < 100_000


@pytest.mark.parametrize("optimizer", ("sgd", "adamw", "lars"))
def test_the_trial_leaves_the_weights_as_they_were(store, optimizer):
    torch.manual_seed(0)
    model, train = BYOL(Encoder("conv4", 16), 16, 8), split(36, 0)[0]
    model.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.random.get_rng_state()
    seconds = trial(model, store, train, 11, config(optimizer=optimizer), "cpu", nullcontext)
    assert 0 < seconds < 5 and same(before, model.state_dict()) and model.training
    assert torch.equal(state, torch.random.get_rng_state())


def test_minutes_take_about_the_time_asked_for(store, tmp_path):
    settings = config(minutes=0.03, check_share=0.1)
    run = new(tmp_path, settings)
    start = time.monotonic()
    result = pretrain(store, settings, run)
    assert result["steps"] > 5 and 0.3 < time.monotonic() - start < 8


def test_collapse_is_recognised_said_and_the_best_encoder_kept(store, tmp_path, monkeypatch):
    real, calls = features.embed, []

    def collapse(encoder, pixels, **more):
        calls.append(1)
        vectors = real(encoder, pixels, **more)
        return vectors if len(calls) < 3 else vectors[:1] + 1e-4 * vectors

    monkeypatch.setattr(features, "embed", collapse)
    monkeypatch.setattr(module.Watch, "due", lambda self: True)
    settings = config(epochs=10)
    run = new(tmp_path, settings)
    result = pretrain(store, settings, run)
    assert result["steps"] == 2 and run.status()["state"] == "stopped" and result["spread"] < 0.01
    assert "collapse" in result["message"] and result["message"] == run.status()["message"]
    assert read_card(run.encoder)["steps"] == 1 and read_card(run.encoder)["figures"]["spread"] > 0.05


def test_a_network_that_tells_little_apart_from_the_start_is_not_called_collapsed(tmp_path):
    """Plain pictures look alike to a random network; only what falls far below that has collapsed."""
    random = np.random.default_rng(0)
    from PIL import Image

    base = random.integers(80, 170, (4, 4, 3))
    (tmp_path / "plain").mkdir()
    for number in range(20):
        pixels = (base + random.normal(0, 3, base.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR).save(tmp_path / "plain" / f"{number}.png")
    plain = open_store(tmp_path / "plain", tmp_path / "stores", 16, workers=1)
    settings = config(epochs=3, check_share=0.99)
    run = new(tmp_path, settings)
    result = pretrain(plain, settings, run)
    first = next(line["check"] for line in run.metrics() if "check" in line)
    assert first["spread"] < 0.05 and result["epochs"] == 3 and result["message"] == ""
    assert run.encoder.exists() and result["knn"] is None


def test_a_collapse_between_two_checks_does_not_reach_the_file(store, tmp_path, monkeypatch):
    """The encoder is written with the figures of its own weights, never with those of an earlier check."""

    def forget(self, momentum):
        real(self, momentum)
        with torch.no_grad():
            for p in self.encoder.parameters():
                p.zero_()

    real = BYOL.update_target
    settings = config(epochs=10, checkpoint_seconds=0)
    run = new(tmp_path, settings)
    monkeypatch.setattr(module.Watch, "due", lambda self: False)
    monkeypatch.setattr(BYOL, "update_target", forget)
    result = pretrain(store, settings, run, progress=StopAt(run, 5))
    assert result["spread"] < 0.01
    assert read_card(run.encoder)["steps"] == 0 and load_encoder(run.folder).trunk[0].weight.abs().max() > 0


@pytest.mark.parametrize("log_every", (1, 1000))
def test_a_loss_that_is_no_number_stops_with_the_last_good_weights(store, tmp_path, monkeypatch, log_every):
    real, calls = BYOL.look, []

    def broken(self, view):
        calls.append(1)
        online, target = real(self, view)
        return online * (math.nan if len(calls) > 2 * 3 else 1), target

    monkeypatch.setattr(BYOL, "look", broken)
    settings = config(epochs=10, log_every=log_every, checkpoint_seconds=0, parts=1)
    run = new(tmp_path, settings)
    with pytest.raises(InputError, match="nan.*learning rate"):
        pretrain(store, settings, run)
    assert run.status()["state"] == "failed" and "learning rate" in run.status()["message"]
    assert run.status()["step"] == 4
    assert all(v.isfinite().all() for v in weights(run).values())
    state = torch.load(run.resume, weights_only=True)
    assert state["step"] == 3 and all(v.isfinite().all() for v in state["model"].values())
    for line in (run.folder / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


@pytest.mark.parametrize("always", (True, False))
@pytest.mark.parametrize("rate", (1e10, 1e20, 1e30))
def test_a_huge_rate_ends_with_a_sentence_and_a_usable_encoder(store, tmp_path, monkeypatch, rate, always):
    monkeypatch.setattr(module.Watch, "due", lambda self: always)
    settings = config(epochs=10, base_lr=rate, warmup=0)
    run = new(tmp_path, settings)
    try:
        result = pretrain(store, settings, run)  # batch norm hides some of it
        assert "collapse" in result["message"] or result["spread"] > 0
    except InputError as problem:
        assert "learning rate" in str(problem) and run.status()["state"] == "failed"
    for line in (run.folder / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    assert all(v.isfinite().all() for v in weights(run).values())


def test_going_on_from_an_encoder_keeps_its_network(whole, store, tmp_path):
    old, _ = whole
    settings = config(epochs=10, init=str(old.folder), encoder="small", image_size=64)
    run = new(tmp_path, settings)
    pretrain(store, settings, run, progress=StopAt(run, 1))
    assert load_encoder(run.folder).architecture == "conv4"
    card = read_card(run.encoder)
    assert card["parent"]["steps"] == 30 and card["parent"]["file"] == "encoder.safetensors" and card["steps"] == 1
    fresh = config(epochs=10, init=str(old.folder), hidden=17)  # heads of another size start anew
    run = new(tmp_path, fresh, "fresh")
    assert pretrain(store, fresh, run, progress=StopAt(run, 1))["steps"] == 1


def test_init_starts_target_and_online_at_the_given_weights(whole, store, tmp_path, monkeypatch):
    seen, real = [], BYOL.look
    monkeypatch.setattr(BYOL, "look", lambda self, *v: seen.append({k: p.clone() for k, p in self.state_dict().items()}) or real(self, *v))  # fmt: skip
    settings = config(init=str(whole[0].folder))
    run = new(tmp_path, settings)
    pretrain(store, settings, run, progress=StopAt(run, 1))
    for key, value in weights(whole[0]).items():
        assert torch.equal(seen[0][f"encoder.{key}"], value) and torch.equal(seen[0][f"target.0.{key}"], value)
    with safe_open(whole[0].encoder, "pt") as file:
        heads = [key for key in file.keys() if key.split(".")[0] in ("projector", "predictor", "whitening")]
        assert "whitening.covariance" in heads and "predictor.0.weight" in heads
        for key in heads:
            assert torch.equal(seen[0][key], file.get_tensor(key)), key


def test_an_encoder_that_learned_plainly_goes_on_plainly(store, tmp_path):
    """Its heads expect plain targets; the card says so, and a resumed run keeps to it."""
    plain = config(epochs=2, whiten=False)
    old = new(tmp_path, plain, "plain")
    pretrain(store, plain, old)
    settings = config(epochs=3, init=str(old.folder))
    run = new(tmp_path, settings)
    pretrain(store, settings, run, progress=StopAt(run, 4))
    run.withdraw("stop")
    assert pretrain(store, settings, run, resume=True)["epochs"] == 3
    assert read_card(run.encoder)["settings"]["whiten"] is False
    assert not any("whitening" in key for key in torch.load(run.resume, weights_only=True)["model"])


def test_heads_that_do_not_fit_are_begun_anew_with_whitening_and_a_word(store, tmp_path):
    plain = config(epochs=1, whiten=False)
    old = new(tmp_path, plain, "plain")
    pretrain(store, plain, old)
    wider = config(epochs=1, hidden=24, init=str(old.folder))
    run = new(tmp_path, wider)
    assert "new ones were begun" in pretrain(store, wider, run)["message"]
    assert read_card(run.encoder)["settings"]["whiten"] is True
    tensors = load_file(old.encoder)
    tensors["projector.0.weight"][0, 0] = float("inf")
    save_file(tensors, old.encoder, metadata={"card": json.dumps(read_card(old.encoder))})
    same = config(epochs=1, init=str(old.folder))
    with pytest.raises(InputError, match="finite|number"):
        pretrain(store, same, new(tmp_path, same, "damaged"))


def test_pictures_seen_before_count_once_in_the_readout(store, tmp_path):
    counts, init = [], ""
    for name in ("first", "second", "third"):
        settings = config(epochs=1, init=init)
        run = new(tmp_path, settings, name)
        pretrain(store, settings, run)
        counts.append(read_card(run.encoder)["readout_images"])
        init = str(run.folder)
    assert counts == [36, 36, 36]


def test_drawings_are_studied_in_one_channel_and_gone_on_from(store, tmp_path):
    settings = config(epochs=3, kind="drawings")
    run = new(tmp_path, settings, "drawn")
    pretrain(store, settings, run, progress=StopAt(run, 4))
    run.withdraw("stop")
    pretrain(store, settings, run, resume=True)
    card = read_card(run.encoder)
    assert card["kind"] == card["settings"]["kind"] == "drawings" and len(card["mean"]) == 1
    later = config(init=str(run.folder))  # says photos, as whoever does not know
    pretrain(store, later, new(tmp_path, later, "later"))
    card = read_card(tmp_path / "later" / "encoder.safetensors")
    assert card["kind"] == card["settings"]["kind"] == "drawings"


def test_a_run_resumes_when_the_encoder_it_began_from_is_gone(store, tiny_encoder, tmp_path):
    start = tmp_path / "start.safetensors"
    start.write_bytes(tiny_encoder.read_bytes())
    settings = config(epochs=3, init=str(start))
    runs = [new(tmp_path, settings, name) for name in "ab"]
    pretrain(store, settings, runs[0])
    pretrain(store, settings, runs[1], progress=StopAt(runs[1], 2))
    start.unlink()
    pretrain(store, settings, runs[1], resume=True)
    assert losses(runs[0]) == losses(runs[1])
    assert read_card(runs[1].encoder)["parent"]["file"] == "start.safetensors"


def test_too_few_pictures_are_refused(tmp_path, store):
    few = replace(store, pixels=store.pixels[:3])
    with pytest.raises(InputError, match="can be read: 3.*at least 4"):
        pretrain(few, config(), new(tmp_path, config()))


def test_four_pictures_are_enough(tmp_path):
    folder = draw_pictures(tmp_path / "shapes", each=2)
    (folder / "bar" / "0.png").unlink()
    (folder / "disc" / "0.png").unlink()
    small = open_store(folder, tmp_path / "stores", 16, workers=1)
    assert len(small) == 4
    result = pretrain(small, config(epochs=2, batch_size=0), new(tmp_path, config()))
    assert result["steps"] == 2 and math.isfinite(result["loss"])


@pytest.mark.parametrize(
    "wrong",
    [dict(batch_size=1), dict(batch_size=-4), dict(optimizer="rmsprop"), dict(epochs=-1), dict(minutes=math.nan)]
    + [dict(epochs=math.inf), dict(warmup=1), dict(momentum=1), dict(seed=-1), dict(check_share=0), dict(dim=1)]
    + [dict(hidden=0), dict(weight_decay=-2), dict(log_every=-1), dict(checkpoint_seconds=math.nan)],
)
def test_impossible_settings_are_refused_with_a_sentence(wrong):
    with pytest.raises(InputError) as found:
        PretrainConfig(**wrong)
    assert str(found.value).endswith(".") and len(str(found.value)) > 20


@pytest.mark.parametrize(
    "wrong", [dict(device="tpu"), dict(device="cuda:99"), dict(precision="fp8"), dict(encoder="vit")]
)
def test_what_this_machine_lacks_is_refused_with_a_sentence(wrong, store, tmp_path):
    if wrong.get("device", "").startswith("cuda") and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match="one of|Choose"):
        pretrain(store, config(**wrong), new(tmp_path, config()))


def test_device_auto_is_one_that_is_there():
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else choose_device("auto"))


def test_bf16_trains_too(store, tmp_path):
    settings = config(epochs=2, precision="bf16")
    result = pretrain(store, settings, new(tmp_path, settings))
    assert 0 <= result["loss"] <= 8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_a_run_on_the_gpu(store, tmp_path):
    settings = config(epochs=10, device="cuda", precision="auto")
    result = pretrain(store, settings, new(tmp_path, settings))
    assert result["steps"] == 30 and 0 <= result["loss"] <= 8


def test_parts_of_fewer_than_two_pictures_are_refused_before_anything_is_written(store, tmp_path):
    settings = config(epochs=2, parts=6)
    run = new(tmp_path, settings)
    with pytest.raises(InputError, match="6 parts of 11.*at most 5"):
        pretrain(store, settings, run)
    assert not run.encoder.exists() and not run.resume.exists()


@pytest.mark.parametrize("changed", [{"optimizer": "lars"}, {"epochs": 9.0}, {"batch_size": 6}, {"whiten": False}])
def test_a_config_that_was_changed_by_hand_is_told(store, tmp_path, changed):
    settings = config(epochs=4, base_lr=0.01)
    run = new(tmp_path, settings)
    pretrain(store, settings, run, progress=StopAt(run, 4))
    run.withdraw("stop")
    ((name, value),) = changed.items()
    with pytest.raises(InputError, match=f"{name} is {value} in config.json, but the run began with"):
        pretrain(store, replace(settings, **changed), run, resume=True)
    assert pretrain(store, replace(settings, log_every=2, parts=3), run, resume=True)["epochs"] == 4


def test_a_run_from_an_encoder_resumes_when_its_own_file_is_damaged(whole, store, tmp_path):
    settings = config(epochs=4, init=str(whole[0].folder))
    run = new(tmp_path, settings)
    pretrain(store, settings, run, progress=StopAt(run, 4))
    run.withdraw("stop")
    run.encoder.write_bytes(run.encoder.read_bytes()[:1000])
    assert pretrain(store, settings, run, resume=True)["steps"] == 12
    assert read_card(run.encoder)["parent"]


@pytest.mark.parametrize("check", ({}, 5, {"spread": "x"}))
def test_a_damaged_check_in_the_metrics_does_no_harm(store, tmp_path, check):
    settings = config(epochs=4)
    run = new(tmp_path, settings)
    pretrain(store, settings, run, progress=StopAt(run, 4))
    run.withdraw("stop")
    run.append({"step": 0, "check": check})
    assert pretrain(store, settings, run, resume=True)["steps"] == 12


def test_memory_is_shared_among_gpus_and_not_among_processes_on_a_cpu(monkeypatch):
    monkeypatch.setattr(plan_module, "free_memory", lambda device: 1000.0)
    monkeypatch.setattr(plan_module, "activation_bytes", lambda *_: 100)
    ids, settings = np.arange(100), config(batch_size=16)
    found = [plan_module.choose_parts(None, None, d, settings, ids, Ranks(0, 4)) for d in ("cpu", "cuda:0")]
    assert found == [4, 1]
