"""A run folder's training in this process, for the command line and for the processes that the page starts."""

import contextlib
import dataclasses
import os
import signal
import sys
import threading
from pathlib import Path

from safetensors import SafetensorError

from byolmeta.errors import InputError
from byolmeta.files import UNTRAINED, find_encoder, image_size_of, read_card
from byolmeta.runs import Run, is_full
from byolmeta.settings import MetatrainConfig, PretrainConfig
from byolmeta.workplace import bar, home, rank, store_of

GPU_FAILED = "CUDA error"  # with which PyTorch begins the messages of a GPU that failed
LOST = (
    "The GPU stopped answering ({problem}). Nothing before the last save is lost: go on when it is back, or without it "
    "(CUDA_VISIBLE_DEVICES= in the environment)."
)


def same_settings(run: Run, settings: PretrainConfig | MetatrainConfig) -> None:
    """Raises InputError for settings, other than the usual ones, that a run to be resumed does not have."""
    kept = run.config()
    for field in dataclasses.fields(settings):
        asked = getattr(settings, field.name)
        if asked != field.default and asked != kept.get(field.name, field.default):
            raise InputError(
                f"{field.name} is {asked}, but this run has {kept.get(field.name, field.default)}; --resume changes no setting. Leave it "
                "out, or start a new run from this one's encoder with --init."
            )


def settings_of(settings: PretrainConfig) -> PretrainConfig:
    """The settings with the network and picture size that an --init encoder brings. Raises InputError for others."""
    card, usual = read_card(find_encoder(settings.init)), PretrainConfig()
    brought = {"encoder": card["architecture"], "image_size": card["image_size"], "kind": card.get("kind", "photos")}
    for name, found in brought.items():
        asked = getattr(settings, name)
        if asked not in (found, getattr(usual, name)):
            raise InputError(f"{name} is {asked}, but the encoder to go on from has {found}. Leave it out.")
    return dataclasses.replace(settings, **brought)


def train(run: Run, *, resume: bool = False, folder: Path | None = None) -> dict:
    """Does what the config.json of a run folder says, studying or practice; `folder`: where its pictures lie now."""
    if not rank() and run.config().get("encoder_file"):
        with _said_in_status(run, mine=True):
            return _practise(run, resume, folder)
    from byolmeta.pretrain import pretrain as loop
    from byolmeta.ranks import join, leave, local_rank

    ranks = join()
    values = ranks.share(run.config() if ranks.first else None)
    config = _config(PretrainConfig, values)
    with _said_in_status(run, ranks.first):
        size = ranks.share(_picture_size(run, config, resume) if ranks.first else None)
        for turn in (True, False):  # one process of each machine decodes, the others find the store made
            if turn == (local_rank() == 0):
                where = run.place("home", values) or home()
                store = store_of(folder or run.place("folder", values), size, where, "visitor" in values)
            ranks.most(0)
        with _keyboard_stops(run) if ranks.world == 1 else contextlib.nullcontext():
            result = loop(store, config, run, resume=resume, progress=bar("Studying"), ranks=ranks)
        leave()
        return result


def _practise(run: Run, resume: bool, folder: Path | None) -> dict:
    """Meta-training as config.json says, from the encoder that it names."""
    import torch

    from byolmeta.copies import copies_group_ids
    from byolmeta.features import encoder_bank, open_encoder
    from byolmeta.metatrain import metatrain

    values = run.config()
    name, where = values["encoder_file"], run.place("home", values) or home()
    untrained = name.split(":")[0] == UNTRAINED
    if resume and not untrained and not os.path.isfile(name):
        name = str(run.encoder)  # which holds all of it until the run has ended
    store = store_of(folder or run.place("folder", values), name, where, "visitor" in values)
    bank = encoder_bank(name, store, where / "banks", bar("Vectors")).vectors
    config, threads = _config(MetatrainConfig, values), torch.get_num_threads()
    torch.set_num_threads(
        1 if config.through == "vectors" else threads
    )  # small tensors: threads would wait for each other
    try:
        with _keyboard_stops(run):
            return metatrain(
                store, open_encoder(name, store), bank, copies_group_ids(store), config, run,
                file=None if untrained else find_encoder(name), untrained=untrained, resume=resume,
                progress=bar("Practising"),
            )  # fmt: skip
    finally:
        torch.set_num_threads(threads)


def _config(record, values: dict):
    """The settings among what config.json holds."""
    names = {field.name for field in dataclasses.fields(record)}
    return record(**{k: v for k, v in values.items() if k in names})


@contextlib.contextmanager
def _said_in_status(run: Run, mine: bool):
    """What ends a run before its loop can say so stands in its status.json too, if it is this process's (`mine`)."""
    try:
        yield
    except (InputError, OSError, SafetensorError, RuntimeError) as problem:  # the second and third: a full disk
        lost = isinstance(problem, RuntimeError) and GPU_FAILED in str(problem)
        if isinstance(problem, RuntimeError) and not lost:
            raise
        told = LOST.format(problem=str(problem).splitlines()[0]) if lost else str(problem)
        status = run.status()
        announced = status["state"] == "starting" and "claimed" not in status
        if mine and (announced or status.get("pid") == run.pid):  # not another process's run, nor one that ended
            reached = {k: status[k] for k in ("step", "steps") if k in status}
            with contextlib.suppress(OSError):
                run.set_status("failed", message=told, **reached)
        if isinstance(problem, InputError):
            raise
        if lost:
            raise InputError(told) from None
        raise InputError(
            f"The run folder '{run.folder}' could not be written ({problem}). "
            f"{'Make room' if is_full(problem) else 'See that it is there and can be written'}, then go on with --resume."
        ) from None


@contextlib.contextmanager
def _keyboard_stops(run: Run):
    """Ctrl-C finishes the step and saves, as the file `stop` does; a second one ends the process at once."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # a shell's background job, or somebody else's handler
        return

    def stop(*_) -> None:
        signal.signal(signal.SIGINT, before)
        run.ask("stop")
        print("\nThis step is finished and saved ... (Ctrl-C again ends at once)", file=sys.stderr)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _picture_size(run: Run, config: PretrainConfig, resume: bool) -> int:
    """The side of a run's pictures: its first encoder's, which may be gone when the run is resumed, or its own."""
    if not config.init:
        return config.image_size
    with contextlib.suppress(InputError):  # absent or damaged
        if resume:
            return image_size_of(run.encoder)
    return image_size_of(config.init)
