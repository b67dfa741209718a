"""Encoders from the internet: torchvision's and timm's ResNets, and our own files on the Hugging Face Hub."""

import json
import os
import socket
from contextlib import contextmanager
from pathlib import Path

from byolmeta.encoder import Encoder, save_encoder
from byolmeta.errors import InputError
from byolmeta.files import read_card
from byolmeta.foreign import import_tensors

SOURCES = ("torchvision", "timm", "hub")
NAME = "encoder.safetensors"  # of our file in a repository
SECONDS = 20.0  # without an answer


def fetch(name: str, encoders: Path) -> Path:
    """The file of torchvision:resnet18, timm:NAME or hub:OWNER/NAME, from `encoders` if it was fetched before.

    A file of the Hub is asked for anew each time and downloaded when it changed. Raises InputError without internet, for
    names that do not exist and for networks that are not ours.
    """
    source, _, rest = name.partition(":")
    if source == "hub":
        return _from_hub(rest, encoders)
    path = encoders / f"{source}-{''.join(c if c.isalnum() or c in '._-' else '-' for c in rest)}.safetensors"
    if not path.exists():
        encoder = (_torchvision if source == "torchvision" else _timm)(rest)
        encoders.mkdir(parents=True, exist_ok=True)
        save_encoder(encoder, path)
    return path


def push(path: Path, repository: str) -> dict:
    """Uploads an encoder file and a model card to OWNER/NAME, made if it is not there. Returns {repository, url, bytes}.

    Raises InputError without a token, without leave to write, without internet.
    """
    import huggingface_hub as hub

    card, data = read_card(path), path.read_bytes()
    if not repository.count("/") == 1:
        raise InputError(f"'{repository}' is not of the form OWNER/NAME, for instance ada/my-encoder.")
    api = hub.HfApi(endpoint=_endpoint())
    if not hub.get_token():
        raise InputError(
            "There is no token for the Hub. Make one there with leave to write, then: hf auth login (or HF_TOKEN)."
        )
    files = {NAME: data, "README.md": model_card(card, repository).encode()}
    with _reachable(repository):
        api.create_repo(repository, exist_ok=True)
        commit = api.create_commit(
            repository,
            [hub.CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message="Encoder of byolmeta",
        )
    return {"repository": repository, "url": str(commit.commit_url), "bytes": len(data)}


def model_card(card: dict, repository: str) -> str:
    """README.md of a repository: YAML header, what the encoder is, how it was made, how to use it."""
    rows = {
        "network": f"{card['architecture']}, pictures of {card['image_size']} pixels",
        "trained on": f"{card.get('trained_on', 'unknown')} ({card.get('images', '?')} pictures)",
        "steps": card.get("steps"),
        "epochs": card.get("epochs"),
        "figures": card.get("figures"),
        "licence": card.get("licence"),
        "practised on": _practised(card),
        "went on from": parent.get("file") if isinstance(parent := card.get("parent"), dict) else None,
    }
    lines = [f"| {key} | {_cell(value)} |" for key, value in rows.items() if value is not None]
    settings = json.dumps(card.get("settings") or {}, indent=1)
    return "\n".join(
        [
            "---\nlibrary_name: byolmeta\nlicense: other\ntags: [byol, self-supervised, few-shot]\n---\n",
            f"# {repository.split('/')[1]}\n",
            f"An image encoder pretrained {'' if _labels(card) else 'without labels '}(BYOL) by byolmeta"
            f"{', then practised with labels' if _labels(card) else ''}.\n",
            "| | |\n|---|---|",
            *lines,
            f"\nUse it: `python -m byolmeta embed hub:{repository} FOLDER --out bank.npz`, or wherever an encoder is asked for.",
            f"\nSettings:\n\n```json\n{settings}\n```\n",
        ]
    )


def _practised(card: dict) -> list | None:
    """What the card says of practice, in short."""
    kept = ("trained_on", "tasks", "learner", "through", "before", "after", "difference", "ci95", "in_force")
    practices = card.get("practices")
    found = [one for one in practices if isinstance(one, dict)] if isinstance(practices, list) else []
    return [{k: one[k] for k in kept if k in one} for one in found] or None


def _labels(card: dict) -> bool:
    return any(one.get("tasks") == "labels" and one.get("in_force") for one in _practised(card) or [])


def _cell(value) -> str:
    """A value as a cell of a Markdown table: names of files are text, never markup."""
    text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
    return "".join("\\" + c if c in "\\|<>[]*_`#" else " " if c in "\r\n" else c for c in text)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def _from_hub(repository: str, encoders: Path) -> Path:
    import huggingface_hub as hub

    if repository.count("/") != 1:
        raise InputError(f"'hub:{repository}' is not of the form hub:OWNER/NAME.")
    with _reachable(repository):
        path = hub.hf_hub_download(
            repository, NAME, cache_dir=encoders / "hub", endpoint=_endpoint(), etag_timeout=SECONDS
        )
    read_card(path)
    return Path(path)


@contextmanager
def _reachable(repository: str):
    """Turns the Hub's refusals into sentences."""
    import huggingface_hub as hub

    try:
        hub.get_session().head(_endpoint() or "https://huggingface.co", timeout=SECONDS)  # or the Hub's own many tries
        yield
    except hub.errors.EntryNotFoundError as problem:
        if isinstance(problem, hub.errors.LocalEntryNotFoundError):
            raise _offline(f"the Hub for '{repository}'") from None
        raise InputError(f"'{repository}' on the Hub has no {NAME}: it is no encoder of byolmeta.") from None
    except (hub.errors.RepositoryNotFoundError, hub.errors.GatedRepoError):
        raise InputError(
            f"There is no repository '{repository}' on the Hub that you may see. Check the name; a private one needs a token."
        ) from None
    except hub.errors.HFValidationError as problem:
        raise InputError(f"'{repository}' cannot be a name on the Hub ({str(problem).splitlines()[0]}).") from None
    except hub.errors.HfHubHTTPError as problem:
        status = getattr(problem.response, "status_code", None)
        if status in (401, 403):
            raise InputError(
                f"The Hub does not let you write '{repository}' ({status}). Use your own name, and a token with leave to write."
            ) from None
        raise InputError(f"The Hub answered {status} for '{repository}'. Try again later.") from None
    except Exception as problem:
        if isinstance(problem, OSError) or type(problem).__module__.startswith(("http", "requests", "urllib3")):
            raise _offline(f"the Hub for '{repository}'") from None
        raise


def _offline(what: str) -> InputError:
    return InputError(
        f"This computer cannot reach {what}. Check the connection, or use a starter (a name in pretrained/)."
    )


def _torchvision(name: str) -> Encoder:
    from torch.hub import load_state_dict_from_url
    from torchvision.models import get_model_weights

    if name not in ("resnet18", "resnet50"):
        raise InputError(f"torchvision:{name} is not known here. Choose torchvision:resnet18 or torchvision:resnet50.")
    weights, before = get_model_weights(name).DEFAULT, socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(SECONDS)
        tensors = load_state_dict_from_url(weights.url, progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError):
        raise _offline(f"torchvision's weights ({weights.url})") from None
    finally:
        socket.setdefaulttimeout(before)
    return import_tensors(tensors, f"torchvision:{name}")[0]


def _timm(name: str) -> Encoder:
    try:
        import timm
    except ImportError:
        raise InputError(f"timm:{name} needs the package timm. Install it: pip install timm") from None
    try:
        with _reachable(f"timm/{name}"):
            network = timm.create_model(name, pretrained=True)
    except (RuntimeError, ValueError) as problem:
        raise InputError(f"timm has no pretrained '{name}' ({str(problem).splitlines()[0]}).") from None
    usual = network.pretrained_cfg
    return import_tensors(network.state_dict(), f"timm:{name}", mean=usual["mean"], std=usual["std"])[0]
