"""An encoder as an ONNX file: picture in, vector out, with normalisation and readout inside."""

import contextlib
import os
from pathlib import Path

import numpy as np
import torch

from byolmeta.encoder import Encoder, Vectors
from byolmeta.errors import InputError
from byolmeta.files import replace_file

TOLERANCE = 1e-4


def export_onnx(encoder: Encoder, path: Path) -> dict:
    """Writes a file with input `images`, float (B, 3, S, S) in 0..1, and output `vectors`, (B, V); any B.

    Returns {path, bytes, max_difference}: how far onnxruntime's answers are from ours on random pictures. Raises
    InputError where a package is missing, or when the answers differ by more than TOLERANCE of their size.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as missing:
        raise InputError(
            f"Writing ONNX needs the package '{missing.name}'. Install it: pip install onnx onnxscript onnxruntime"
        ) from None
    network, size = Vectors(encoder).cpu().float().eval(), encoder.image_size
    images = torch.rand(5, 3, size, size, generator=torch.Generator().manual_seed(0))
    worst = 0.0

    def write(temporary: Path) -> None:
        nonlocal worst
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            open(os.devnull, "w") as quiet,
            contextlib.redirect_stdout(quiet),
        ):
            program = torch.onnx.export(
                network, (images[:2],), dynamo=True, input_names=["images"], output_names=["vectors"], verbose=False,
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            )  # fmt: skip
            program.save(str(temporary))
            expected = network(images).numpy()
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        found = np.concatenate([session.run(["vectors"], {"images": part.numpy()})[0] for part in images.split([1, 4])])
        worst = float(np.abs(found - expected).max())
        if not worst <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise InputError(
                f"The exported file answers differently (by {worst:.2g}); it was not kept. Please report this."
            )

    replace_file(path, write)
    return {"path": str(path), "bytes": path.stat().st_size, "max_difference": worst}
