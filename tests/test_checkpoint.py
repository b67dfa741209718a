"""checkpoint.py: whole or not at all, the one before it as a second chance, and a disk that is full."""

import errno
import os
import shutil
import subprocess
import threading
import time

import pytest
import torch

from byolmeta import runs
from byolmeta.checkpoint import read_checkpoint, save_checkpoint
from byolmeta.errors import InputError
from byolmeta.runs import Run
from byolmeta.settings import PretrainConfig


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    run.create(PretrainConfig())
    return run


def state(step, store="ours"):
    values = {"model": {"w": torch.full((5,), float(step))}, "optimizer": {}, "plan": {}, "step": step, "store": store}
    return values | {"settings": {}, "seconds": 1.0, "best": 0.5, "earlier": None}


def test_nothing_written_yet_is_none(run):
    assert read_checkpoint(run, "ours") is None


def test_the_last_is_read_and_the_one_before_is_kept(run):
    for step in (1, 2, 3):
        save_checkpoint(run, state(step))
    assert read_checkpoint(run, "ours")["step"] == 3
    assert torch.load(run.resume_before, weights_only=True)["step"] == 2


@pytest.mark.parametrize("damage", ("empty", "cut", "noise", "other", "older", "gone"))
def test_a_damaged_one_falls_back_to_the_one_before(run, damage, capsys):
    for step in (1, 2):
        save_checkpoint(run, state(step))
    data = run.resume.read_bytes()
    if damage == "gone":  # killed between the two renames
        run.resume.unlink()
    elif damage == "other":
        torch.save({"something": 1}, run.resume)
    elif damage == "older":
        torch.save({k: v for k, v in state(2).items() if k != "earlier"}, run.resume)
    else:
        run.resume.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "noise": os.urandom(len(data))}[damage])
    assert read_checkpoint(run, "ours")["step"] == 1
    assert ("cannot be read" in capsys.readouterr().err) == (damage != "gone")


def test_two_damaged_ones_are_told(run):
    for step in (1, 2):
        save_checkpoint(run, state(step))
    for path in (run.resume, run.resume_before):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read.*--init"):
        read_checkpoint(run, "ours")


def test_a_checkpoint_of_other_pictures_is_refused_and_not_passed_over(run):
    save_checkpoint(run, state(1))
    save_checkpoint(run, state(2, store="others"))
    with pytest.raises(InputError, match="not the ones this run began with"):
        read_checkpoint(run, "ours")


def test_code_in_a_checkpoint_is_never_run(run, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    torch.save(state(1) | {"model": Bomb()}, run.resume)
    with pytest.raises(InputError, match="cannot be read"):
        read_checkpoint(run, "ours")
    assert not (tmp_path / "exploded").exists()


def full(times):
    """An action that finds the disk full so many times, and then writes."""
    calls = []

    def action():
        calls.append(1)
        if len(calls) <= times:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return action, calls


def test_a_full_disk_pauses_says_so_and_goes_on(run, monkeypatch):
    monkeypatch.setattr(runs, "SPACE_SECONDS", 0.01)
    said, real = [], Run.set_status
    monkeypatch.setattr(
        Run, "set_status", lambda self, state, **m: said.append((state, m["message"])) or real(self, state, **m)
    )
    action, calls = full(4)
    run.write(action)
    assert len(calls) == 5 and len(said) == 1 and said[0][0] == "paused" and "disk is full" in said[0][1]
    assert run.waited >= 0.04 and (run.folder / ".spare").exists()


def test_a_stop_ends_the_wait_for_a_full_disk(run, monkeypatch):
    monkeypatch.setattr(runs, "SPACE_SECONDS", 0.01)
    run.ask("stop")
    with pytest.raises(OSError):
        run.write(full(10**6)[0])


def test_other_errors_are_not_waited_for(run):
    def action():
        raise OSError(errno.EACCES, "no")

    with pytest.raises(OSError, match="no"):
        run.write(action)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)],
                                                       capture_output=True).returncode:  # fmt: skip
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_run_on_a_full_disk_waits_for_room_and_loses_nothing(small_disk, store, tmp_path, monkeypatch):
    from byolmeta.pretrain import pretrain

    monkeypatch.setattr(runs, "SPACE_SECONDS", 0.05)
    settings = PretrainConfig(encoder="conv4", image_size=16, batch_size=11, hidden=16, dim=8, log_every=1, epochs=10,
                              precision="fp32", device="cpu", check_share=0.5, checkpoint_seconds=0)  # fmt: skip
    run, whole = Run(small_disk / "run"), Run(tmp_path / "whole")
    for one in (run, whole):
        one.create(settings)
    pretrain(store, settings, whole)

    def fill(step, steps, line):
        if step == 5:
            with open(small_disk / "full", "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass

    thread = threading.Thread(target=pretrain, args=(store, settings, run), kwargs={"progress": fill})
    thread.start()
    deadline, seen = time.monotonic() + 60, None
    while time.monotonic() < deadline:  # the room kept for the message may serve a line first
        status, reached = run.status(), len(run.metrics())
        if status["state"] == "paused" and reached == seen:
            break
        seen = reached
        time.sleep(0.4)
    assert status["state"] == "paused" and "disk is full" in status["message"] and "Make room" in status["message"]
    assert thread.is_alive() and reached < len(whole.metrics())
    (small_disk / "full").unlink()
    thread.join(60)
    assert run.status()["state"] == "done"
    found = [[(m["step"], m["loss"]) for m in one.metrics() if "loss" in m] for one in (run, whole)]
    assert found[0] == found[1]
