"""Checkpoints of other libraries -> our encoder: plain tensors only, every key of the network matched by name and shape.

The names of lightly, solo-learn, byol-pytorch, timm and torchvision differ in prefixes and in how the parts of a ResNet
are called or numbered. Only the online network is taken, never the momentum one.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from byolmeta.encoder import ARCHITECTURES, MEAN, STD, Encoder, check_size, check_weights
from byolmeta.errors import InputError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "student")  # where files keep their tensors
FOLLOWER = re.compile(r"(^|[._])(momentum|teacher|target|ema|key|t|m|k)([._]|$)")  # names of networks that only follow
PARTS = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")  # of torchvision's ResNet
OURS = dict(zip(PARTS, (0, 1, 4, 5, 6, 7), strict=True))  # their places in Encoder.trunk
NUMBERED = {  # place of layer1 in a Sequential of a ResNet's children -> names of the places
    4: {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"},
    2: {str(place): part for place, part in enumerate(PARTS)},  # lightly's ResNetGenerator: no ReLU after the stem
}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a .safetensors or PyTorch file; nothing in it can run code. InputError for anything else."""
    name = path.name
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise InputError(f"There is no file at '{path}'.") from None
    except Exception as problem:  # torch, pickle and zipfile raise nearly anything
        reason = "holds more than tensors" if "weights_only" in str(problem).lower() else "cannot be read"
        raise InputError(
            f"'{name}' {reason} ({type(problem).__name__}). Nothing in it was run. Save its state_dict alone "
            "(torch.save(model.state_dict(), FILE)) and import that."
        ) from None
    for _ in WRAPPERS:  # a file may hold itself
        if isinstance(state, dict):
            state = next((state[k] for k in WRAPPERS if isinstance(state.get(k), dict)), state)
    tensors = {str(k): v for k, v in state.items() if torch.is_tensor(v)} if isinstance(state, dict) else {}
    if not tensors:
        raise InputError(f"'{name}' holds no named tensors. Give a checkpoint or a state_dict.")
    return tensors


def import_tensors(
    tensors: dict[str, Tensor], source: str, image_size: int = 0, mean: tuple = MEAN, std: tuple = STD
) -> tuple[Encoder, dict]:
    """The encoder that a checkpoint of some ResNet-18 or ResNet-50 holds, and a report {library, matched, missing, unused}.

    image_size 0: 224 for the 7x7 stem, 32 for the 3x3 one of CIFAR. mean and std: the normalisation it was trained with.
    Raises InputError when the network is another one, or when tensors are missing, of other shapes or not finite.
    """
    prefix = _online_prefix(tensors, source)
    found = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
    numbers = _numbering(found)
    names = {
        f"{_part(key, numbers)}.{key.partition('.')[2]}".replace(".shortcut.", ".downsample."): value
        for key, value in found.items()
    }
    kernel = names["conv1.weight"].shape[-1]
    architecture = "resnet50" if "layer1.0.conv3.weight" in names else "resnet18"
    if numbers == 2:
        architecture += "-no-stem-relu"
    size = image_size or (224 if kernel == 7 else 32)
    if kernel not in (3, 7):
        raise _other_network(source, f"its first convolution is {kernel} x {kernel}, not 7 x 7 or 3 x 3")
    check_size(size)
    if (size < 64) != (kernel == 3):
        raise InputError(
            f"The first convolution of '{source}' is {kernel} x {kernel}, which goes with pictures of "
            f"{'64 pixels and more' if kernel == 7 else 'less than 64 pixels'}. Choose --image-size accordingly."
        )
    card = {
        "trained_on": f"unknown (imported from {source})",
        "library": _library(prefix, numbers, names),
        "licence": "that of the source",
        "mean": list(mean),
        "std": list(std),
    }
    if architecture not in ARCHITECTURES:
        raise _other_network(source, f"it is no ResNet-18 ({architecture})")
    encoder = Encoder(architecture, size, card)
    wanted = encoder.trunk.state_dict()
    values = {_ours(key): value for key, value in names.items() if key.split(".")[0] in PARTS}
    for key in wanted.keys() - values.keys():
        if key.endswith("num_batches_tracked"):  # absent from old files, and of no use
            values[key] = torch.zeros_like(wanted[key])
    missing = sorted(wanted.keys() - values.keys())
    wrong = [k for k in wanted.keys() & values.keys() if wanted[k].shape != values[k].shape]
    beyond = sorted(values.keys() - wanted.keys())
    if missing or wrong or beyond:
        first = (missing or wrong or beyond)[0]
        raise _other_network(
            source,
            f"{len(missing)} tensors are missing, {len(wrong)} have another shape and {len(beyond)} are too many, "
            f"the first is '{first}'",
        )
    check_weights(values, source)
    encoder.trunk.load_state_dict(values)
    unused = sorted(
        key for key in tensors if not (key.startswith(prefix) and _part(key[len(prefix) :], numbers) in PARTS)
    )
    report = {"library": card["library"], "matched": len(wanted), "missing": missing, "unused": unused}
    return encoder.eval(), report


def _online_prefix(tensors: dict[str, Tensor], source: str) -> str:
    """What stands before the stem of the online network."""
    stems = [
        key[: -len(tail)]
        for key, value in tensors.items()
        for tail in ("conv1.weight", "0.weight")
        if (key == tail or key.endswith("." + tail)) and value.ndim == 4 and value.shape[1] == 3
    ]
    online = [prefix for prefix in stems if not FOLLOWER.search(prefix)]
    if not online:
        held = "only a momentum network" if stems else "no convolution of three colours"
        raise _other_network(source, f"it holds {held}")
    return min(online, key=lambda prefix: (prefix.count("."), prefix))


def _numbering(found: dict[str, Tensor]) -> int:
    """0 for parts with names; else the place of layer1 among numbered ones."""
    if "conv1.weight" in found:
        return 0
    return 2 if any(key.startswith("2.") for key in found) else 4


def _part(key: str, numbers: int) -> str:
    first = key.partition(".")[0]
    return NUMBERED[numbers].get(first, first) if numbers else first


def _ours(key: str) -> str:
    part, _, rest = key.partition(".")
    return f"{OURS[part]}.{rest}"


def _library(prefix: str, numbers: int, names: dict[str, Tensor]) -> str:
    if prefix.startswith(("online_encoder.", "net.")):
        return "byol-pytorch"
    if numbers:
        return "lightly"
    return "solo-learn" if prefix.startswith("backbone.") else "torchvision or timm"


def _other_network(source: str, why: str) -> InputError:
    return InputError(
        f"The network in '{source}' is not a ResNet-18 or ResNet-50 as we know it: {why}. It cannot be imported."
    )
