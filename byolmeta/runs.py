"""A run folder: the whole interface between a training process and everything that watches it.

config.json           written before the process starts
metrics.jsonl         one complete line per logged step
status.json           starting, running, paused, done, stopped or failed; step, pid, message
encoder.safetensors   usable at any time
vectors.npz           vectors of some pictures as last seen, for the moving map
film/                 the same at every check, for the film
resume.pt             what is needed to continue
resume-before.pt      the one before, should that be damaged
log.txt               what the process printed
.lock                 taken for a moment by who claims the run
.spare                room for a word when the disk is full
stop, pause           empty files: finish this step, save, and end; or wait until the file is gone
"""

import contextlib
import dataclasses
import errno
import json
import math
import os
import time
from pathlib import Path

from byolmeta.errors import InputError
from byolmeta.files import replace_file

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # no room, or not for this user
SPARE = 16_384  # bytes
SPACE_SECONDS = 2.0  # between two tries while the disk is full
WRITTEN = ("config.json", "metrics.jsonl", "status.json", "encoder.safetensors", "resume.pt", "resume-before.pt")
ACTIVE = ("starting", "running", "paused")
COLLAPSED = 0.05, 0.2  # spread of the unit vectors below which nothing is told apart: at most, and as a share of
# the untrained one's, which alone can lie at 0.02 to 0.2 (plain pictures look alike to a random network)


class Run:
    """Reads and writes one run folder."""

    def __init__(self, folder: Path | str, keeper: int | None = None):
        self.folder, self.keeper = Path(folder), keeper  # the process that answers for it, if that is not this one
        self.until = math.inf  # time.monotonic() at which studying hands over to who goes on
        self.told = ""  # a sentence with which every message of the status ends
        self.waited = 0.0  # seconds spent waiting for room on the disk

    @property
    def pid(self) -> int:
        """Of the process that answers for the run."""
        return self.keeper or os.getpid()

    @property
    def encoder(self) -> Path:
        return self.folder / "encoder.safetensors"

    @property
    def resume(self) -> Path:
        return self.folder / "resume.pt"

    @property
    def resume_before(self) -> Path:
        return self.folder / "resume-before.pt"

    @property
    def vectors(self) -> Path:
        return self.folder / "vectors.npz"

    @property
    def film(self) -> Path:
        return self.folder / "film"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def create(self, config, **more) -> None:
        """Makes the folder with its config.json. A folder that already holds a run, or other files of the names that a
        run writes, is refused, save for a run that failed before it learned anything."""
        try:
            there = [name for name in WRITTEN if (self.folder / name).exists()]
            fields = {field.name for field in dataclasses.fields(config)}
            found = self._read_json("config.json")
            mine = isinstance(found, dict) and fields <= found.keys()
            if mine and (self.encoder.exists() or self.resume.exists() or self.status()["state"] in ACTIVE):
                raise InputError(
                    f"'{self.folder}' already holds a run. Continue it with --resume, or choose another folder."
                )
            if there and not mine:
                raise InputError(
                    f"'{self.folder}' holds '{there[0]}', which no run of this version wrote. Choose another folder, so that "
                    "nothing of yours is replaced."
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write_json("config.json", dataclasses.asdict(config) | more)
            self.set_status("starting", step=0)
            self._spare.write_bytes(bytes(SPARE))
        except OSError as problem:
            raise InputError(
                f"The run folder '{self.folder}' cannot be written ({problem.strerror}). Choose another place."
            ) from None

    def config(self) -> dict:
        """The settings of the run. Raises InputError if the folder holds none."""
        config = self._read_json("config.json")
        if not isinstance(config, dict):
            raise InputError(
                f"'{self.folder}' is not a run folder (its config.json is absent or damaged). Give the folder a run wrote."
            )
        return config

    def place(self, name: str, config: dict) -> Path | None:
        """A folder that config.json names, None where it names none. Raises InputError for anything but a text."""
        value = config.get(name)
        if value is not None and not isinstance(value, str):
            raise InputError(f"The config.json of '{self.folder}' is damaged: its '{name}' is {value!r}, not a text.")
        return Path(value) if value else None

    def claim(self) -> None:
        """Makes this process the only one that trains here. Raises InputError while another one does."""
        with alone(self.folder):
            status = self.status()
            trains = status["state"] in ACTIVE and (status["state"] != "starting" or "claimed" in status)
            if trains and status.get("pid") not in (None, self.pid):  # "starting" alone is the app's announcement
                raise InputError(
                    f"Another process ({status['pid']}) is training in '{self.folder}'. Stop it first, or use another folder."
                )
            for file in (
                self.resume,
                self.encoder,
                self.vectors,
            ):  # what a killed process was writing, see replace_file
                for path in self.folder.glob(f".{file.name}.*-*"):
                    path.unlink(missing_ok=True)
            self.told = status["told"] if isinstance(status.get("told"), str) else self.told
            self.set_status("starting", claimed=True, **{k: v for k, v in status.items() if k in ("step", "steps")})

    def set_status(self, state: str, *, pid: int | None = None, message: str = "", **more) -> None:
        """Replaces status.json; every status carries the process that answers for it (see `pid`, or another) and the time."""
        pid = pid or self.pid
        more |= {"pid": pid, "started": process_start(pid), "time": time.time()}
        more |= {"told": self.told} if self.told else {}
        self._write_json("status.json", {"state": state, "message": f"{message} {self.told}".strip(), **more})

    def status(self) -> dict:
        """The last status; a run whose process died without a word is 'failed' and can be resumed."""
        status = self._read_json("status.json")
        named = isinstance(status, dict) and isinstance(status.get("state"), str) and type(status.get("pid")) is int
        if not (named and 0 < status["pid"] < 2**31):  # 0 and -1 would stand for whole groups of processes
            status = {"state": "failed", "message": "No status was written.", "step": 0}
        if status["state"] in ACTIVE and "pid" in status and not is_alive(status):
            status |= {
                "state": "failed",
                "message": "The training process ended unexpectedly. Nothing before the last save is lost.",
            }
        return status

    def write(self, action, *arguments) -> None:
        """Calls action(*arguments), again and again while the disk is full: the run is then paused and says why.

        Raises the OSError when it is another one, or when the run is asked to stop meanwhile.
        """
        start = None
        while True:
            try:
                action(*arguments)
                break
            except OSError as problem:
                if not is_full(problem) or self.asked("stop"):
                    raise
                start = start or time.monotonic()
                self._say_full(problem)
            time.sleep(SPACE_SECONDS)
        if start:
            self.waited += time.monotonic() - start
            with contextlib.suppress(OSError):
                self._spare.write_bytes(bytes(SPARE))

    def _say_full(self, problem: OSError) -> None:
        status = self.status()
        message = f"The disk is full ({problem.strerror}). Make room: the run goes on by itself. Nothing is lost."
        if not str(status.get("message")).startswith(message):
            self._spare.unlink(missing_ok=True)
            reached = {k: status[k] for k in ("step", "steps") if k in status}
            with contextlib.suppress(OSError):
                self.set_status("paused", message=message, full=True, **reached)

    @property
    def _spare(self) -> Path:
        return self.folder / ".spare"

    def append(self, line: dict) -> None:
        """Adds one line to metrics.jsonl, whole or not at all."""
        data = (json.dumps(line) + "\n").encode()
        with open(self.folder / "metrics.jsonl", "ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                if file.write(data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(end)
                raise

    def metrics(self) -> list[dict]:
        """All complete lines so far; a half-written last line (a crash) is left out."""
        try:
            text = (self.folder / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        lines = (_parsed(line) for line in text[: text.rfind("\n") + 1].splitlines())
        return [line for line in lines if isinstance(line, dict) and isinstance(line.get("step"), int)]

    def forget_after(self, step: int) -> None:
        """Drops the lines of steps that a resumed run will do again."""
        lines = [line for line in self.metrics() if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        replace_file(self.folder / "metrics.jsonl", lambda path: path.write_text(text, encoding="utf-8"))

    def ask(self, what: str) -> None:
        """Leaves the note 'stop' or 'pause' for the training process."""
        (self.folder / what).touch()

    def withdraw(self, what: str) -> None:
        try:
            (self.folder / what).unlink(missing_ok=True)
        except OSError as problem:
            raise InputError(
                f"'{self.folder / what}' cannot be removed ({problem.strerror}); while it is there, the run would "
                f"{what}. Remove it."
            ) from None

    def wait(self, step: int, steps: int) -> float:
        """Sleeps while the run is asked to pause; returns for how long, so that time is not counted."""
        start = time.monotonic()
        self.set_status("paused", step=step, steps=steps)
        while self.asked("pause") and not self.asked("stop"):
            time.sleep(0.2)
        return time.monotonic() - start

    def asked(self, what: str) -> bool:
        return (self.folder / what).exists()

    def _write_json(self, name: str, value: dict) -> None:
        text = json.dumps(value, indent=1, default=str)
        replace_file(self.folder / name, lambda path: path.write_text(text, encoding="utf-8"))

    def _read_json(self, name: str) -> dict | None:
        try:
            return _parsed((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # absent or damaged
            return None


def is_full(problem: Exception) -> bool:
    """Whether a file could not be written for want of room."""
    return isinstance(problem, OSError) and problem.errno in FULL


def _parsed(text: str):
    """The value of a JSON text, or None for a damaged one."""
    try:
        return json.loads(text)
    except ValueError:
        return None


@contextlib.contextmanager
def alone(folder: Path):
    """While it lasts, no other thread or process is in here for the same folder. The system lets go of a dead one's."""
    with open(Path(folder) / ".lock", "a+b") as file:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # given up when the file is closed
        else:
            import fcntl

            with contextlib.suppress(OSError):  # a file system without locks: as good as it gets there
                fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if os.name != "nt":
                with contextlib.suppress(OSError):  # closing is not enough: a process forked meanwhile has it open too
                    fcntl.flock(file, fcntl.LOCK_UN)


def is_alive(status: dict) -> bool:
    """Whether the process that wrote the status still runs; its start time tells it from a later one of equal pid."""
    pid = status["pid"]
    if os.name == "nt":  # os.kill would end the process there; a training process writes every few seconds
        return pid == os.getpid() or time.time() - status["time"] < 60
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return status.get("started") in (None, process_start(pid))


def process_start(pid: int) -> str | None:
    """The kernel's start time of a process where /proc tells it, else None. A zombie counts as ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if fields[0] == "Z" else fields[19]


def collapse_floor(untrained: float) -> float:
    """The spread below which a run counts as collapsed, from the spread at its first check."""
    return min(COLLAPSED[0], COLLAPSED[1] * untrained)
