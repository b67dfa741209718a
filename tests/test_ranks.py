"""ranks.py and the loop on several ranks: two gloo processes on the CPU do what one does."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from byolmeta.encoder import Encoder
from byolmeta.errors import InputError
from byolmeta.ranks import Ranks, SyncNorm, join, synchronise
from byolmeta.runs import Run

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = dict(encoder="conv4", image_size=16, batch_size=12, hidden=16, dim=8, base_lr=0.1, epochs=4, log_every=1,
                precision="fp32", device="cpu", check_share=0.5, checkpoint_seconds=0.01)  # fmt: skip


def torchrun(ranks, *words, timeout=240):
    """`torchrun --nproc-per-node ranks -m byolmeta ...`; returns the finished process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return subprocess.run([*command, "-m", "byolmeta", *map(str, words)], cwd=ROOT, capture_output=True, text=True,
                          timeout=timeout, env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip


def words(folder, out, home, **more):
    flags = SETTINGS | more
    flat = [part for k, v in flags.items() for part in (f"--{k.replace('_', '-')}", str(v))]
    return ["pretrain", folder, "--out", out, "--home", home, "--json", *flat]


def alone(*words):
    return subprocess.run([sys.executable, "-m", "byolmeta", *map(str, words)], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=240)  # fmt: skip


def losses(run):
    return {line["step"]: line["loss"] for line in run.metrics() if "loss" in line}


@pytest.fixture(scope="module")
def one(pictures, tmp_path_factory):
    """A run of one process: its folder, and where its home is."""
    place = tmp_path_factory.mktemp("ranks")
    done = alone(*words(pictures, place / "one", place / "home"))
    assert done.returncode == 0, done.stderr
    return place


def test_two_processes_do_what_one_does(pictures, one):
    done = torchrun(2, *words(pictures, one / "two", one / "home"))
    assert done.returncode == 0, done.stderr
    result = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(result) == 1 and result[0]["steps"] == 12  # one rank speaks
    single, double = losses(Run(one / "one")), losses(Run(one / "two"))
    assert single.keys() == double.keys() == set(range(1, 13))
    assert double == pytest.approx(single, rel=2e-3)
    a, b = (torch.load(one / name / "resume.pt", weights_only=True)["model"] for name in ("one", "two"))
    assert a.keys() == b.keys()
    for key, value in a.items():
        torch.testing.assert_close(b[key], value, atol=2e-2, rtol=2e-2, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.long
def test_a_run_of_one_goes_on_with_two_and_with_one_again(pictures, one):
    run = Run(one / "mixed")
    for ranks, until in ((1, 3), (2, 7), (1, 12)):
        asked = words(pictures, run.folder, one / "home")
        stopper = None
        if until < 12:  # the run is planned whole and stopped on the way
            stopper = subprocess.Popen([sys.executable, "-c", STOP_AT, str(run.folder), str(until)], cwd=ROOT)
        done = (alone if ranks == 1 else lambda *w: torchrun(2, *w))(*asked, *(["--resume"] if until > 3 else []))
        if stopper:
            stopper.wait(60)
        assert done.returncode == 0, done.stderr
    assert run.status()["state"] == "done" and run.status()["step"] == 12
    assert losses(run) == pytest.approx(losses(Run(one / "one")), rel=2e-3)


STOP_AT = """
import sys, time
from byolmeta.runs import Run
run, until = Run(sys.argv[1]), int(sys.argv[2])
while not any(line["step"] >= until for line in run.metrics()):
    time.sleep(0.001)
run.ask("stop")
"""


def test_a_batch_that_cannot_be_shared_is_refused(pictures, one):
    shutil.copytree(one / "one", one / "five")
    (one / "five" / "status.json").unlink()  # as if it had not come to its end
    done = torchrun(5, *words(pictures, one / "five", one / "home"), "--resume")
    assert done.returncode != 0 and "cannot be shared evenly among 5 processes" in done.stderr


def test_synchronised_norm_alone_is_batch_norm():
    """With one rank, the norm over all ranks is torch's: forward, backward, running statistics."""
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
    try:
        for shape in ((6, 5), (6, 5, 4, 3)):
            torch.manual_seed(0)
            norm = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(5)
            nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
            ours = synchronise(nn.Sequential(norm), "cpu")[0]
            theirs = type(norm)(5)
            theirs.load_state_dict(norm.state_dict())
            assert isinstance(ours, SyncNorm) and ours.state_dict().keys() == theirs.state_dict().keys()
            x, weights = torch.randn(shape), torch.randn(shape)
            inputs = [x.clone().requires_grad_() for _ in range(2)]
            for net, value in zip((ours, theirs), inputs, strict=True):
                (net(value) * weights).sum().backward()
            torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, atol=1e-4, rtol=1e-4)
            for key, value in theirs.state_dict().items():
                torch.testing.assert_close(ours.state_dict()[key], value)
            torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    finally:
        dist.destroy_process_group()


def test_names_of_the_weights_stay_when_norms_are_synchronised():
    model = Encoder("conv4", 16)
    before = set(model.state_dict())
    assert set(synchronise(model, "cpu").state_dict()) == before
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def test_one_process_shares_with_itself(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    ranks = join()
    assert ranks == Ranks() and ranks.first and ranks.share({"a": 1}) == {"a": 1} and ranks.most(3) == 3
    assert ranks.rows(8) == slice(0, 8) and Ranks(1, 4).rows(8) == slice(2, 4) and not Ranks(1, 4).first
    ranks.same("x", "pictures")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join() == Ranks()


def test_ranks_with_different_pictures_are_told(monkeypatch):
    monkeypatch.setattr(dist, "all_gather_object", lambda values, value: values.__setitem__(slice(None), ["a", "b"]))
    with pytest.raises(InputError, match="2 processes have different pictures.*same folder"):
        Ranks(0, 2).same("a", "pictures")
