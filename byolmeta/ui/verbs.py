"""The slower verbs as programs call them: each in a process of its own, as in a terminal, within the limits of this machine.

What such a verb writes becomes a file of Gradio's cache that only its caller may fetch (see ui/guard.py).
"""

import base64
import dataclasses
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from byolmeta import jobs
from byolmeta.errors import InputError
from byolmeta.files import HISTOGRAM, PIXELS, UNTRAINED, find_encoder, starters
from byolmeta.runs import Run
from byolmeta.settings import LONGEST, TASKS, MetatrainConfig, PretrainConfig
from byolmeta.starters import suggest
from byolmeta.train import settings_of
from byolmeta.ui import measuring, running
from byolmeta.ui.drop import received_file
from byolmeta.ui.learn import PUBLIC_MINUTES
from byolmeta.ui.line import GOING
from byolmeta.ui.practise import LEARNERS
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace
from byolmeta.workplace import PUBLIC, local

WORDS = table("en")
AIMS = ("photos", "drawings")  # what a network from nothing may be made for
PUBLIC_SECONDS = 180  # for one call on a shared machine, torch's loading included
SECONDS = 3600  # for one on one's own
TOLD = ("state", "message", "step", "steps", "place", "seconds")  # of a run, while it is under way
PLACES = ("out", "encoder", "path", "run")  # of a result: names of this machine's folders, which tell a caller nothing


def ran(work: Workspace, caller: str, verb: str, inputs: list, makes: str = "", **flags) -> tuple[dict, dict | None]:
    """(what `python -m byolmeta VERB INPUTS --flags --json` prints, the file `makes` that it wrote).

    `inputs`: what `pictures_of` and `encoder_of` gave. `caller`: who may fetch the file. Raises InputError with the
    command's own sentence, or where it takes too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        named = [_put(sent, Path(folder, str(number))) for number, sent in enumerate(inputs)]
        command = [sys.executable, "-m", "byolmeta", verb, *(path for path, _ in named), "--json"]
        command += [f"--home={Path(folder, 'home') if work.public else work.home}"]
        command += [f"--{name.replace('_', '-')}={value}" for name, value in flags.items() if type(value) is not bool]
        command += [f"--{name.replace('_', '-')}" for name, value in flags.items() if value is True]
        command += [f"--out={Path(folder, makes)}"] if makes else []
        limits = {PUBLIC: "1"} if work.public else {}
        seconds = PUBLIC_SECONDS if work.public else SECONDS
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, cwd=jobs.ROOT,
                env=os.environ | limits,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise InputError(
                f"It took longer than {seconds // 60} minutes, the most for one call. Send fewer pictures."
            ) from None
        said = done.stderr.decode("utf-8", "replace").strip()
        if done.returncode == 2:
            told = said.splitlines()[-1] if said else "It could not be done."
            for path, name in named:
                told = told.replace(path, name)
            raise InputError(told)
        if done.returncode:
            raise RuntimeError(f"byolmeta {verb} ended with {done.returncode}: {said[-2000:]}")
        found = json.loads(done.stdout.decode().splitlines()[-1])
        found = {key: value for key, value in found.items() if key not in PLACES}
        return found, given(work, caller, Path(folder, makes)) if makes else None


def given(work: Workspace, caller: str, path: Path) -> dict:
    """A file as an answer that the caller, and nobody else, may fetch."""
    from gradio.utils import get_upload_folder

    place = Path(get_upload_folder()).resolve() / secrets.token_hex(20)
    place.mkdir(parents=True)
    target = shutil.copyfile(path, place / path.name)
    work.visitors.given(caller, str(target))
    return {"path": str(target), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


# What callers send


def pictures_of(work: Workspace, sent) -> tuple[str, str] | bytes:
    """(path, name) of a zip that was sent, or of a folder of one's own computer; the bytes of a data: URL."""
    if isinstance(sent, str) and not sent.startswith("data:"):
        if work.public:
            raise InputError(WORDS["public_no_paths"])
        try:
            path = Path(sent.strip()).expanduser().resolve()
            there = bool(sent.strip()) and path.exists()
        except (OSError, ValueError, RuntimeError):
            there = False
        if not there:
            raise InputError(f"There are no pictures at '{sent[:200]}'. Send a zip, or the path of a folder.")
        return str(path), str(path)
    return file_of(work, sent)


def encoder_of(work: Workspace, sent) -> tuple[str, str] | bytes:
    """As `pictures_of`, of an encoder file; or its name, twice. Nothing stands for the starter that suits photos."""
    if sent is None or sent == "":
        sent = suggest("photos") or UNTRAINED
    if not isinstance(sent, str) or sent.startswith("data:"):
        return file_of(work, sent)
    name, _, model = sent.partition(":")
    known = sent in (*starters(), PIXELS, HISTOGRAM, UNTRAINED) or (name == UNTRAINED and model in starters())
    if not known and work.public:
        raise InputError(f"The encoder {sent[:80]!r} is not one of {', '.join(starters())}. Name one, or send a file.")
    if not known and name not in ("torchvision", "timm", "hub"):
        find_encoder(model if name == UNTRAINED else sent)  # which says what is possible
    if sent.startswith("-"):
        raise InputError(f"The encoder {sent[:80]!r} looks like a setting. Give its whole path.")
    return sent, sent


def file_of(work: Workspace, sent) -> tuple[str, str] | bytes:
    """(path, name) of a file that the caller sent to this server, or has on this very computer, if it is their own; or the
    bytes of a data: URL in the call itself."""
    if isinstance(sent, str) and sent.startswith("data:"):
        try:
            return base64.b64decode(sent.partition(";base64,")[2] or "-", validate=True)
        except ValueError:
            raise InputError("A data: URL is without base64. Send data:image/png;base64,... .") from None
    if isinstance(sent, str) and not work.public and "\0" not in sent and os.path.isfile(os.path.expanduser(sent)):
        return (os.path.abspath(os.path.expanduser(sent)),) * 2
    named = sent if isinstance(sent, dict) else {}
    return received_file({"path": named.get("path"), "name": named.get("orig_name")})


def _put(found: tuple[str, str] | bytes, place: Path) -> tuple[str, str]:
    """(path, name), of bytes once they are written to `place`."""
    if isinstance(found, bytes):
        place.write_bytes(found)
        return str(place), "the file that was sent"
    return found


def choice(value, known: tuple[str, ...], what: str) -> str:
    """A word that is one of those known. Raises InputError for any other."""
    if value not in known:
        raise InputError(f"{what} is {str(value)[:40]!r}. Choose one of: {', '.join(known)}.")
    return value


def within(value, low: int, high: int, what: str) -> int:
    """A whole number of a range. Raises InputError for anything else."""
    if type(value) is not int or not low <= value <= high:
        raise InputError(f"{what} is {repr(value)[:40]}; it must be a whole number from {low:,} to {high:,}.")
    return value


def check_tasks(work: Workspace, way, shot, query, episodes, learner) -> None:
    """Raises InputError for tasks that are larger or more than this machine gives to one caller."""
    caps = measuring.caps_of(work)
    choice(learner, caps.learners, "learner")
    within(way, 2, 1_000, "way"), within(shot, 1, 1_000, "shot"), within(query, 0, 1_000, "query")
    within(episodes, 1, caps.tasks, "episodes")
    if way * (shot + (query or 15)) > caps.pictures:
        raise InputError(WORDS["measure_big"].format(n=f"{way * (shot + (query or 15)):,}", most=f"{caps.pictures:,}"))


def seed_of(seed) -> int:
    return within(seed, 0, 2**32 - 1, "seed")


# Training


def studied(work: Workspace, caller: str, pictures, encoder, minutes, kind, seed: int) -> Iterator:
    """`trained`, of BYOL on pictures. `encoder`: to go on from, or `untrained`, as `encoder_of` gives it."""
    most = PUBLIC_MINUTES if work.public else LONGEST
    if type(minutes) not in (int, float) or not 0 < minutes <= most:
        raise InputError(f"minutes is {str(minutes)[:40]}; it must be more than 0, and at most {most:,}.")
    choice(kind, AIMS, "kind")

    def plan(path: str):
        usual = PretrainConfig(minutes=float(minutes), seed=seed)
        fresh = path == UNTRAINED
        return dataclasses.replace(usual, kind=kind) if fresh else settings_of(
            dataclasses.replace(usual, init=path)
        ), {}

    return trained(work, caller, pictures, encoder, plan, "by-program")


def practised(work: Workspace, caller: str, pictures, encoder, tasks, learner, seed: int) -> Iterator:
    """`trained`, of practice with an encoder, as `encoder_of` gives it."""
    if encoder[0] in (PIXELS, HISTOGRAM, UNTRAINED):
        raise InputError(f"'{encoder[0]}' has nothing to practise with. Use an encoder.")
    limit = {"minutes": float(PUBLIC_MINUTES)} if work.public else {}
    config = MetatrainConfig(
        tasks=choice(tasks, TASKS, "tasks"), learner=choice(learner, LEARNERS, "learner"), seed=seed, **limit
    )
    return trained(
        work, caller, pictures, encoder, lambda path: (config, {"encoder_file": path}), "by-program-practised"
    )


def trained(work: Workspace, caller: str, pictures, encoder, plan: Callable, name: str) -> Iterator[tuple]:
    """Yields (status, None) every second while a run trains, then (result, its encoder). It ends when nobody listens.

    `plan`: (settings, what config.json says beside them) for an encoder file or name. On one's own computer the run
    stays, like one that a terminal started; on a shared one it leaves with the answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, _ = _put(pictures, Path(folder, "pictures.zip"))
        path = local(_put(encoder, Path(folder, "encoder.safetensors"))[0])
        config, told = plan(path if path == UNTRAINED else str(find_encoder(path).resolve()))
        run, home = jobs.new_run(work.home / "runs", name), Path(folder, "home") if work.public else work.home
        told |= {"visitor": hashlib.sha256(caller.encode()).hexdigest()[:32]} if work.public else {}
        running.begin(work, WORDS, run, config, folder=source, home=str(home.resolve()), **told)
        try:
            while (status := running.status_of(work, run))["state"] in GOING:
                yield {key: status[key] for key in TOLD if key in status}, None
                time.sleep(1)
            if status["state"] == "failed":
                message = status.get("message") or "The run failed."
                raise InputError(message)
            result = {key: value for key, value in status.get("result", {}).items() if key not in PLACES}
            yield {"state": status["state"], "run": run.folder.name} | result, given(work, caller, run.encoder)
        finally:
            _left(work, run)


def _left(work: Workspace, run: Run) -> None:
    """Ends a run that nobody waits for; on a shared machine nothing of it stays."""
    if work.public:
        work.line.leave(run)
        jobs.end(run)
        shutil.rmtree(run.folder, ignore_errors=True)
    elif run.status()["state"] in GOING:
        run.ask("stop")
