"""Files that others rely on: written whole, and encoder files found by name and known by their card. No torch here."""

import copy
import functools
import hashlib
import json
import os
import threading
import time
from pathlib import Path

from safetensors import SafetensorError, safe_open

from byolmeta.errors import InputError

FORMAT = 1  # of encoder files
ARCHITECTURES = ("small", "conv4", "resnet18", "resnet50")
SETTLED_SECONDS = 2.0  # a file written within may be written again without its time or size telling
PRETRAINED = Path(__file__).parent.parent / "pretrained"
# Names that stand for the baselines wherever an encoder is asked for. 'untrained:NAME' is an architecture or, shaped like
# it, an encoder at its random start.
PIXELS, HISTOGRAM, UNTRAINED = "pixels", "histogram", "untrained"


def replace_file(path: Path, write, keep: Path | None = None) -> None:
    """Calls write(temporary path) and renames, so that readers see the old file or the new one, whole.

    The old file stays as `keep`, where that is given.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        write(temporary)
        if keep and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_card(path: Path) -> dict:
    """The card in an encoder file's header. Raises InputError for any other file."""
    try:
        found = os.stat(path)
    except OSError:  # said below
        return _card(str(path), 0, 0)
    fresh = abs(time.time() - found.st_mtime) < SETTLED_SECONDS
    read = _card.__wrapped__ if fresh else _card
    return copy.deepcopy(read(str(path), found.st_mtime_ns, found.st_size))


@functools.lru_cache(maxsize=64)
def _card(path: str, changed: int, size: int) -> dict:
    """As `read_card`; a file that has not changed is read once, since the page asks for it at every move."""
    try:
        with safe_open(str(path), "np") as file:
            card = json.loads((file.metadata() or {})["card"])
        if card["format"] > FORMAT:
            raise InputError(f"'{Path(path).name}' was written by a newer byolmeta. Please update this one.")
        texts = card["architecture"], card.get("kind", "photos")
        if not (all(isinstance(text, str) for text in texts) and isinstance(card["image_size"], int)):
            raise ValueError("its card does not describe a network")
        return card
    except FileNotFoundError:
        raise InputError(f"There is no encoder file at '{path}'.") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as problem:
        raise InputError(
            f"'{Path(path).name}' is not an encoder file of byolmeta ({problem}). "
            "Choose an encoder.safetensors that a run wrote."
        ) from None


def practice_in_force(card: dict) -> dict:
    """What the card of an encoder says of practice (meta-training) that is in force; empty without one."""
    practice = card.get("practice")
    return practice if isinstance(practice, dict) and practice.get("in_force") is True else {}


def find_encoder(where: str | Path) -> Path:
    """The file of an encoder named by its path, its run folder, or its name in pretrained/."""
    path = Path(where)
    for candidate in (path / "encoder.safetensors", path, PRETRAINED / f"{where}.safetensors"):
        if os.path.isfile(candidate):  # unlike Path.is_file, no error for names that cannot be
            return candidate
    known = ", ".join(starters()) or "none"
    raise InputError(
        f"There is no encoder at '{where}'. Give a file, a run folder that holds encoder.safetensors, "
        f"or a shipped name ({known})."
    )


def starters() -> list[str]:
    """Names of the encoders in pretrained/."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def file_fingerprint(path: Path) -> str:
    """SHA-256 of an encoder file, 16 hex digits: the key under which its vectors are cached."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def image_size_of(where: str | Path) -> int:
    """The picture size an encoder or baseline works at; 64 for the baselines that no encoder is the model of."""
    name, _, model = str(where).partition(":")
    if str(where) in (PIXELS, HISTOGRAM) or (name == UNTRAINED and model in ("", *ARCHITECTURES)):
        return 64
    return read_card(find_encoder(model if name == UNTRAINED else where))["image_size"]
