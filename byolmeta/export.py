"""ONNX files: an encoder (picture in, vector out), or a classifier (picture of any size in, chances out)."""

import contextlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from byolmeta.encoder import Encoder, Vectors
from byolmeta.errors import InputError
from byolmeta.files import replace_file

TOLERANCE = 1e-4


LOADER = """\
import numpy, onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(FILE)
picture = Image.open(PICTURE)
picture.draft("RGB", (SIDE, SIDE))  # of a large JPEG, no more is read than is needed
scores, none = session.run(None, {"pictures": numpy.asarray(ImageOps.exif_transpose(picture).convert("RGBA"))[None]})
print("none of these" if none[0] else LABELS[scores[0].argmax()], scores[0].max())
"""


def loader(file: str, names: Sequence[str], size: int, picture: str = "PICTURE.jpg") -> str:
    """Python that asks a file of export_classifier about a picture; it needs onnxruntime, numpy and Pillow only."""
    values = {"FILE": file, "PICTURE": picture, "SIDE": 2 * size, "LABELS": list(names)}
    return re.sub(r"\b(FILE|PICTURE|SIDE|LABELS)\b", lambda found: json.dumps(values[found[0]]), LOADER)


def export_onnx(encoder: Encoder, path: Path) -> dict:
    """Writes a file with input `images`, float (B, 3, S, S) in 0..1, and output `vectors`, (B, V); any B.

    Returns {path, bytes, max_difference}: how far onnxruntime's answers are from ours on random pictures. Raises
    InputError where a package is missing, or when the answers differ by more than TOLERANCE of their size.
    """
    size = encoder.image_size
    images = torch.rand(5, 3, size, size, generator=torch.Generator().manual_seed(0))
    worst = _export(Vectors(encoder), path, images, ["vectors"], {0: "batch"}, {})
    return {"path": str(path), "bytes": path.stat().st_size, "max_difference": worst}


def export_classifier(encoder: Encoder, head, names: Sequence[str], pictures: np.ndarray, path: Path) -> dict:
    """Writes a file with input `pictures`, uint8 (B, H, W, 4), RGBA of any size, and with two outputs for any B: `scores`,
    float (B, way), and `none_of_these`, bool (B,). `loader` uses it.

    `head` gives both of vectors (B, V); `pictures`, uint8 (n, 3, S, S), are what the answers are checked on. The names of
    the classes are in the file's metadata (`labels`, JSON) and, with the rest, in FILE.onnx.json beside it.
    Returns as export_onnx, and `labels`.
    """
    shown = torch.from_numpy(np.concatenate([pictures, np.full_like(pictures[:, :1], 255)], 1)).permute(0, 2, 3, 1)
    about = {"labels": json.dumps(list(names)), "image_size": str(encoder.image_size)}
    axes = {0: "batch", 1: "height", 2: "width"}
    wide = nn.functional.pad(shown, (0, 0, 7, 4), value=255)  # of two sizes, so that both are known to work
    worst = _export(
        PictureAnswers(encoder, head), path, shown.contiguous(), ["scores", "none_of_these"], axes, about, wide
    )
    beside = {"labels": list(names), "image_size": encoder.image_size, "input": "pictures: uint8 (B, H, W, 4), RGBA"}
    beside |= {
        "outputs": "scores: float (B, classes), the chance of each; none_of_these: bool (B)",
        "loader": loader(path.name, names, encoder.image_size),
    }
    text = json.dumps(beside, indent=1, ensure_ascii=False)
    replace_file(path.with_name(f"{path.name}.json"), lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return {"path": str(path), "bytes": path.stat().st_size, "max_difference": worst, "labels": list(names)}


def _export(
    network: nn.Module,
    path: Path,
    inputs: Tensor,
    outputs: list[str],
    axes: dict[int, str],
    about: dict[str, str],
    *others: Tensor,
) -> float:
    """Writes a network as an ONNX file whose inputs vary along these axes, with texts about it in its metadata.

    Returns how far onnxruntime's first output is from ours on the inputs and the others; errors as in export_onnx.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as missing:
        raise InputError(
            f"Writing ONNX needs the package '{missing.name}'. Install it: pip install onnx onnxscript onnxruntime"
        ) from None
    network, worst = network.cpu().float().eval(), 0.0
    name = "images" if inputs.is_floating_point() else "pictures"

    def write(temporary: Path) -> None:
        nonlocal worst
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            open(os.devnull, "w") as quiet,
            contextlib.redirect_stdout(quiet),
        ):
            program = torch.onnx.export(
                network, (inputs[:2],), dynamo=True, input_names=[name], output_names=outputs, verbose=False,
                dynamic_shapes=({axis: torch.export.Dim(label) for axis, label in axes.items()},),
            )  # fmt: skip
            program.model.metadata_props.update(about)
            program.save(str(temporary))
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        for part in (inputs[:1], inputs[1:], *others):
            with torch.no_grad():
                expected = network(part)
            expected = (expected if len(outputs) == 1 else expected[0]).numpy()
            found = session.run(outputs[:1], {name: part.numpy()})[0]
            worst = max(worst, float(np.abs(found - expected).max()))
            if not worst <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
                raise InputError(
                    f"The exported file answers differently (by {worst:.2g}); it was not kept. Please report this."
                )

    replace_file(path, write)
    return worst


class PictureAnswers(nn.Module):
    """Pictures uint8 (B, H, W, 4), RGBA of any size, to the chance of each class, (B, way), and none of these, bool (B,).

    The middle square is made as decode.square makes it: on white, Pillow's bicubic antialiased, rounded to whole levels.
    """

    def __init__(self, encoder: Encoder, head):
        super().__init__()
        self.encoder, self.head, self.size = encoder, head, encoder.image_size  # head: vectors -> both answers

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        pictures = pictures.float()
        alpha = pictures[..., 3:] / 255
        images = _whole(pictures[..., :3] * alpha + 255 * (1 - alpha)).permute(0, 3, 1, 2)
        rows, columns = torch.arange(images.shape[2]).double(), torch.arange(images.shape[3]).double()
        side = torch.minimum(rows[-1:], columns[-1:]) + 1
        images = _whole(images @ _weights(columns, side, self.size).T)
        images = _whole(_weights(rows, side, self.size) @ images)
        return self.head(self.encoder.vectors(images / 255))


def _whole(levels: Tensor) -> Tensor:
    return (levels + 0.5).floor().clamp(0, 255)


def _weights(places: Tensor, side: Tensor, size: int) -> Tensor:
    """What each of n pixels gives to each of `size` in the middle `side` of them, float32 (size, n); places: 0..n-1.

    As Pillow's resize with BICUBIC and reducing_gap=2: where it shrinks 4 times or more, means of blocks come first.
    """
    count, scale = places[-1:] + 1, side / size
    start, block = (count - side) / 2, (scale / 2).floor().clamp_min(1)
    low = torch.where(block > 1, (start - 1.5 * scale).floor().clamp_min(0), 0.0)
    high = torch.where(block > 1, torch.minimum((start + side + 1.5 * scale).ceil(), count), count)
    number = ((places - low) / block).floor()  # of the block that a pixel is in
    share = 1 / torch.minimum(block, high - low - number * block).clamp_min(1)
    share = torch.where((places >= low) & (places < high), share, 0.0)
    scale = scale / block
    centres = (start - low) / block + (torch.arange(size) + 0.5) * scale
    x = ((number + 0.5 - centres[:, None]) / scale.clamp_min(1)).abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2  # Keys 1981, a = -0.5
    weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0)) * share
    return (weights / weights.sum(1, keepdim=True)).float()
