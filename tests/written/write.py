"""Writes the files of this version for test_written.py: `python tests/written/write.py`, once for each release.

Weights are rounded, so that the archive is small; everything else is as the commands and the page write it.
"""

import io
import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from conftest import draw_pictures

from byolmeta import __version__, commands, metatrain
from byolmeta.runs import Run
from byolmeta.settings import MetatrainConfig, PretrainConfig
from byolmeta.ui.workspace import Workspace

SMALL = {"encoder": "conv4", "image_size": 16, "hidden": 8, "dim": 8, "batch_size": 8, "log_every": 1}


def rounded(tensors):
    """All floating tensors of a nested value in steps of 1/32, so that a zip makes them small."""
    if isinstance(tensors, torch.Tensor):
        return (tensors * 32).round() / 32 if tensors.is_floating_point() and tensors.ndim > 1 else tensors
    if isinstance(tensors, dict):
        return {key: rounded(value) for key, value in tensors.items()}
    return type(tensors)(map(rounded, tensors)) if isinstance(tensors, (list, tuple)) else tensors


def round_encoder(path: Path) -> None:
    with safe_open(path, "pt") as file:
        card, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    kept = {key: value if key.startswith(("readout", "practice")) else rounded(value) for key, value in tensors.items()}
    save_file(kept, path, card)


def round_run(run: Run) -> None:
    round_encoder(run.encoder)
    state = torch.load(run.resume, weights_only=True)
    torch.save(state | {key: rounded(state[key]) for key in ("model", "optimizer")}, run.resume)
    run.resume_before.unlink(missing_ok=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home, files = Path(folder, "home"), Path(folder, "files")
        os.environ["BYOLMETA_HOME"] = str(home)
        pictures = draw_pictures(files / "pictures", each=12)
        for path in pictures.rglob("*.png"):
            Image.open(path).resize((16, 16)).save(path)
        study = Run(files / "study")

        class Stops(Run):
            def asked(self, what: str) -> bool:
                return what == "stop" and self.status().get("step", 0) >= 3

        commands.Run = Stops
        commands.pretrain(pictures, study.folder, PretrainConfig(epochs=5, **SMALL))
        commands.Run = Run
        round_run(study)
        judge = metatrain._judge
        metatrain._judge = lambda *values: judge(*values) | {"gain": True}  # so that what was practised is kept
        commands.metatrain(
            str(study.encoder), pictures, files / "practice", MetatrainConfig(steps=2, way=3, judge=2, check_every=1)
        )
        round_encoder(files / "practice" / "encoder.safetensors")
        Path(files / "practice" / "resume.pt").unlink()
        answer = commands.classify(
            str(study.encoder), pictures, pictures, learner="ridge", project=files / "shapes.byolmeta"
        )
        commands.embed(str(study.encoder), pictures, files / "bank.npz")
        work = Workspace(home)
        session = work.session("local")
        work.choose(session, pictures, "shapes")
        session.encoder = str(study.encoder)
        session.boxes["boxes"][0]["items"], session.boxes["boxes"][1]["items"] = [0, 1], [7]
        session.boxes["boxes"][0]["name"] = "bars"
        work.save(session)
        (files / "session.json").write_text((home / "projects" / "local.json").read_text())
        labels = {row["path"]: row["label"] for row in answer["images"]}
        with np.load(files / "bank.npz") as bank:
            first = bank["vectors"][0].round(3).tolist()
        (files / "expected.json").write_text(json.dumps({"labels": labels, "vector": first}))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(files.rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    archive.write(path, path.relative_to(files))
        (HERE / f"{__version__}.zip").write_bytes(packed.getvalue())
        print(f"{HERE / __version__}.zip: {len(packed.getvalue()) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
