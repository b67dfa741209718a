"""runs.py and jobs.py: what a run folder says, also after crashes and while others write."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from byolmeta import jobs
from byolmeta.errors import InputError
from byolmeta.runs import WRITTEN, Run, is_alive, process_start


@dataclass(frozen=True)
class Config:
    epochs: int = 3


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "runs" / "one")
    run.create(Config(), folder="pictures")
    return run


@pytest.fixture
def other():
    """Another process that is alive."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def write_status(run, pid, state="running", **more):
    status = {"state": state, "message": "", "pid": pid, "started": process_start(pid), "time": time.time()}
    (run.folder / "status.json").write_text(json.dumps(status | more))


def test_create_writes_the_settings_and_says_starting(run):
    assert run.config() == {"epochs": 3, "folder": "pictures"}
    assert run.status()["state"] == "starting" and run.status()["step"] == 0
    assert sorted(p.name for p in run.folder.iterdir()) == [".spare", "config.json", "status.json"]


def test_a_folder_that_holds_a_run_is_refused(run):
    run.set_status("done", step=3)
    run.encoder.write_bytes(b"weights")
    with pytest.raises(InputError, match="already holds a run.*--resume"):
        run.create(Config(epochs=9))
    assert run.config()["epochs"] == 3


def test_a_run_that_failed_before_it_learned_anything_may_be_begun_again(run):
    with pytest.raises(InputError, match="already holds"):
        run.create(Config(epochs=9))  # still starting
    run.set_status("failed", message="There is no such folder.")
    run.create(Config(epochs=9))
    assert run.config()["epochs"] == 9


@pytest.mark.parametrize("content", ('{"state": "failed", "model": "other"}', '["other"]'))
@pytest.mark.parametrize("name", WRITTEN)
def test_files_that_no_run_wrote_are_never_replaced(name, content, tmp_path):
    """An imported encoder, or the config.json of another program."""
    run = Run(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"'{name}', which no run.*Choose another folder"):
        run.create(Config())
    assert [p.name for p in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == content


@pytest.mark.parametrize("place", ("/proc/nowhere/run", "/proc", "x" * 300))
def test_a_folder_that_cannot_be_written_is_refused_with_a_sentence(place):
    if not os.path.isdir("/proc"):
        pytest.skip("needs /proc")
    with pytest.raises(InputError, match="cannot be written"):
        Run(place).create(Config())


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match="cannot be written"):
            Run(place).create(Config())


def test_config_of_no_run_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="not a run folder"):
            Run(folder).config()
    (tmp_path / "config.json").write_text('{"epo')
    with pytest.raises(InputError, match="not a run folder"):
        Run(tmp_path).config()
    (tmp_path / "status.json").write_bytes(b"\xff\xfe\x00")
    assert Run(tmp_path).status()["state"] == "failed"


def test_what_a_killed_process_was_writing_is_swept_by_the_next(run):
    left, others = run.folder / ".resume.pt.4863-1", run.folder / ".status.json.4863-1"
    for path in (left, others):
        path.write_bytes(b"half")
    run.claim()
    assert not left.exists() and others.exists()  # the page may be writing the status


def test_a_half_written_last_line_is_left_out(run):
    assert run.metrics() == []
    run.append({"step": 1, "loss": 2.0})
    run.append({"step": 2, "loss": 1.0})
    with open(run.folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "lo')
    assert [line["step"] for line in run.metrics()] == [1, 2]
    run.forget_after(1)
    run.append({"step": 2, "loss": 0.5})
    assert run.metrics() == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 0.5}]


def test_forget_after_without_metrics_is_harmless(run):
    run.forget_after(-1)
    assert run.metrics() == []


def test_readers_always_see_a_whole_status(run):
    stop, seen = threading.Event(), []

    def read():
        while not stop.is_set():
            seen.append(json.loads((run.folder / "status.json").read_text())["state"])

    reader = threading.Thread(target=read)
    reader.start()
    for step in range(200):
        run.set_status("running", step=step, message="x" * 5000)
    stop.set()
    reader.join()
    assert len(seen) > 10 and set(seen) <= {"starting", "running"}
    assert sorted(p.name for p in run.folder.iterdir()) == [".spare", "config.json", "status.json"]


def test_notes_are_left_seen_and_withdrawn(run):
    assert not run.asked("stop")
    run.ask("stop")
    assert run.asked("stop") and not run.asked("pause")
    run.withdraw("stop")
    run.withdraw("stop")
    assert not run.asked("stop")


def test_a_second_process_is_refused_while_the_first_one_lives(run, other):
    for state in ("running", "paused"):
        write_status(run, other.pid, state)
        with pytest.raises(InputError, match=f"Another process \\({other.pid}\\)"):
            run.claim()
        assert run.status()["pid"] == other.pid
    write_status(run, other.pid, "starting", claimed=True)
    with pytest.raises(InputError, match="Another process"):
        run.claim()
    write_status(run, other.pid, "done")
    run.claim()
    assert run.status()["pid"] == os.getpid()


def test_a_run_that_another_process_announced_can_be_claimed(run, other):
    """As when the app makes the folder and starts the training process."""
    write_status(run, other.pid, "starting", step=7)
    run.claim()
    assert run.status()["pid"] == os.getpid() and run.status()["step"] == 7


def test_a_dead_process_is_seen_and_its_run_can_be_claimed(run, other):
    write_status(run, other.pid, "running", step=5)
    assert run.status()["state"] == "running"
    other.kill()
    time.sleep(0.3)  # not waited for: a zombie, which counts as ended
    assert run.status()["state"] == "failed" and "unexpectedly" in run.status()["message"]
    assert run.status()["step"] == 5
    run.claim()
    assert run.status()["state"] == "starting"


def test_a_later_process_of_the_same_number_is_another_one(other):
    assert is_alive({"pid": other.pid, "started": process_start(other.pid), "time": 0})
    if process_start(os.getpid()):
        assert not is_alive({"pid": other.pid, "started": "1", "time": 0})


def test_new_run_finds_a_free_and_harmless_name(tmp_path):
    assert jobs.new_run(tmp_path, "my cats").folder == tmp_path / "my-cats"
    assert jobs.new_run(tmp_path, "my cats").folder == tmp_path / "my-cats-2"
    for name in ("../../etc", "/", "", "..", "a/b", "x" * 300):
        folder = jobs.new_run(tmp_path, name).folder
        assert folder.parent == tmp_path and folder.name not in ("", ".", "..") and len(folder.name) <= 43


def test_who_asks_at_the_same_time_gets_another_run_folder(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: jobs.new_run(tmp_path / "runs", "a").folder, range(40)))
    assert len(set(found)) == 40


def test_runs_are_listed_newest_first(tmp_path):
    assert jobs.list_runs(tmp_path / "nowhere") == [] and jobs.active_run(tmp_path) is None
    for age, name in enumerate(("new", "old")):
        Run(tmp_path / name).create(Config())
        os.utime(tmp_path / name / "config.json", (10**9 - age, 10**9 - age))
    (tmp_path / "no-run").mkdir()
    assert [run.folder.name for run in jobs.list_runs(tmp_path)] == ["new", "old"]
    Run(tmp_path / "new").set_status("done")
    assert jobs.active_run(tmp_path).folder.name == "old"


@pytest.mark.parametrize("pid", (-1, 0, 2**31, 10**20))
def test_a_status_of_an_impossible_process_is_damaged(run, pid):
    """-1 and 0 stand for groups of processes: such a run would never end, and ending it would end others."""
    (run.folder / "status.json").write_text(json.dumps({"state": "running", "pid": pid, "time": 0}))
    assert run.status()["state"] == "failed" and run.status().get("pid") != pid
    run.claim()
    assert run.status()["pid"] == os.getpid()


def test_damaged_metrics_are_passed_over(run):
    run.append({"step": 1, "loss": 1.0})
    with open(run.folder / "metrics.jsonl", "ab") as file:
        file.write(b'\xff\xfe\x00\n{"step": "x"}\n{"step": 2, "loss": 0.5}\n')
    assert [line["step"] for line in run.metrics()] == [1, 2]
    run.forget_after(1)
    assert [line["step"] for line in run.metrics()] == [1]


def test_a_folder_called_stop_is_told(run):
    (run.folder / "stop").mkdir()
    with pytest.raises(InputError, match="stop.*cannot be removed"):
        run.withdraw("stop")


def test_places_in_the_settings_are_texts(run):
    assert run.place("home", {}) is None and run.place("home", {"home": "/x"}) == Path("/x")
    with pytest.raises(InputError, match="damaged.*'home' is 5"):
        run.place("home", {"home": 5})
