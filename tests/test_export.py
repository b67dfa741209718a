"""export.py: the ONNX file gives our vectors, for any number of pictures."""

import builtins

import numpy as np
import pytest
import torch

from byolmeta.encoder import Encoder
from byolmeta.errors import InputError
from byolmeta.export import export_onnx

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")


@pytest.mark.parametrize("readout", (True, False))
def test_the_file_gives_our_vectors_for_any_number_of_pictures(tmp_path, readout):
    torch.manual_seed(0)
    encoder = Encoder("small", 32).eval()
    if readout:
        encoder.fit_readout(torch.randn(600, encoder.pooled(torch.zeros(1, 3, 32, 32)).shape[1]))
    found = export_onnx(encoder, tmp_path / "net.onnx")
    assert found["bytes"] == (tmp_path / "net.onnx").stat().st_size and found["max_difference"] < 1e-4
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 7):
        images = torch.rand(count, 3, 32, 32)
        with torch.no_grad():
            np.testing.assert_allclose(
                session.run(["vectors"], {"images": images.numpy()})[0], encoder.vectors(images), atol=1e-4
            )


def test_missing_packages_are_told(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name == "onnxscript":
            raise ImportError("none", name="onnxscript")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InputError, match="pip install onnx onnxscript onnxruntime"):
        export_onnx(Encoder("conv4", 16), tmp_path / "net.onnx")
