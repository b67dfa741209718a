"""export.py: the ONNX files give our vectors and our answers, for any number of pictures."""

import builtins
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import draw_pictures
from PIL import Image

from byolmeta import commands
from byolmeta.classifier import teach, to_onnx
from byolmeta.decode import Limits, opened, squares
from byolmeta.encoder import Encoder, load_encoder, save_encoder
from byolmeta.errors import InputError
from byolmeta.export import LOADER, PictureAnswers, export_onnx, loader
from byolmeta.features import embed
from byolmeta.learners import learner

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


class Seen(torch.nn.Module):
    """Stands for an encoder whose vectors are the pictures that it sees."""

    def __init__(self, size: int):
        super().__init__()
        self.image_size = size

    def vectors(self, images):
        return images


def picture(width: int, height: int, mode: str) -> Image.Image:
    """Spots of colour, smooth and to both ends of the scale."""
    random = np.random.default_rng(width)
    spots = Image.fromarray(random.integers(0, 256, (height // 6 + 2, width // 6 + 2, 4), dtype=np.uint8))
    return spots.resize((width, height)).convert(mode)


@pytest.mark.parametrize("mode", ("RGB", "L", "RGBA"))
@pytest.mark.parametrize("width, height, size", [(300, 200, 64), (199, 301, 64), (20, 31, 64), (64, 64, 64), (900, 731, 48)])  # fmt: skip
def test_pictures_are_made_square_as_the_app_makes_them(width, height, size, mode):
    image, data = picture(width, height, mode), io.BytesIO()
    image.save(data, "PNG")
    wanted = squares(data.getvalue(), [size], Limits())[0].astype(int)
    network = PictureAnswers(Seen(size), lambda vectors: vectors)
    found = network(torch.from_numpy(np.array(image.convert("RGBA")))[None])[0].mul(255).round().int().numpy()
    away = np.abs(found - wanted)
    if mode == "RGBA":  # Pillow mixes with the ground last, and rounds in between
        assert away.mean() < 2
    elif min(width, height) < 4 * size:
        assert away.max() <= 1 and away.mean() < 0.001
    else:  # means of blocks are not rounded here
        assert away.max() <= 3 and away.mean() < 0.5


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A project file of drawn shapes at 32 px and a folder of forty others and ten of noise, of 50 x 40 to 130 x 120 pixels."""
    folder = tmp_path_factory.mktemp("task")
    examples, asked = draw_pictures(folder / "examples", 3, seed=5), draw_pictures(folder / "asked", 17, seed=6)
    (asked / "bar" / "16.png").unlink()
    random = np.random.default_rng(0)
    for number, path in enumerate(sorted(asked.rglob("*.png"))):
        with Image.open(path) as image:
            side = 50 + number, 40 + number % 7 * 11
            larger = (
                image.resize(side) if number % 5 else Image.fromarray(random.integers(0, 256, (*side, 3), np.uint8))
            )
        larger.save(path)
    encoder = Encoder("small", 32).initial(seed=2).eval()
    encoder.fit_readout(torch.randn(600, encoder.pooled(torch.zeros(1, 3, 32, 32)).shape[1]))
    save_encoder(encoder, folder / "own.safetensors")
    before = os.environ.get("BYOLMETA_HOME")
    os.environ["BYOLMETA_HOME"] = str(folder / "home")
    project = folder / "shapes.byolmeta"
    found = commands.classify(str(folder / "own.safetensors"), examples, asked, project=project)
    exported = commands.export(str(project), folder / "shapes.onnx")
    os.environ.pop("BYOLMETA_HOME") if before is None else os.environ.update(BYOLMETA_HOME=before)
    return project, asked, found["images"], exported


def test_the_classifier_file_gives_the_answers_of_classify(task):
    project, asked, rows, exported = task
    assert exported["labels"] == ["bar", "disc", "square"] and exported["max_difference"] < 1e-4
    session = onnxruntime.InferenceSession(exported["path"], providers=["CPUExecutionProvider"])
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    beside = json.loads(project.with_name("shapes.onnx.json").read_text(encoding="utf-8"))
    assert labels == beside["labels"] == exported["labels"] and beside["loader"] == loader("shapes.onnx", labels, 32)
    for row in rows:
        image = Image.open(asked / row["path"]).convert("RGBA")
        scores, none = session.run(None, {"pictures": np.array(image)[None]})
        assert labels[scores[0].argmax()] == row["label"] and bool(none[0]) == row["none_of_these"]
        assert abs(scores[0].max() - row["score"]) < 2e-3  # a level of a pixel may differ
    assert len(rows) == 50 and len({row["none_of_these"] for row in rows}) == 2 and len({r["label"] for r in rows}) > 1


def test_many_pictures_at_once_have_the_answers_of_each(task):
    session = onnxruntime.InferenceSession(task[3]["path"], providers=["CPUExecutionProvider"])
    images = np.stack([np.array(picture(90, 70, mode).convert("RGBA")) for mode in ("RGB", "L", "RGBA")])
    together = session.run(None, {"pictures": images})
    for number in range(3):
        alone = session.run(None, {"pictures": images[number : number + 1]})
        np.testing.assert_allclose(together[0][number], alone[0][0], atol=1e-5)
    assert together[0].shape == (3, 3) and together[1].shape == (3,) and together[1].dtype == bool


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("torch", "byolmeta", "torchvision", "safetensors"):
            raise ImportError(f"{name} is not on this machine")
sys.meta_path.insert(0, Absent())
exec(sys.stdin.read())
"""


def test_the_loader_runs_where_there_is_neither_torch_nor_byolmeta(task, tmp_path):
    project, asked, rows, exported = task
    chosen = [next(row for row in rows if row["none_of_these"] == none) for none in (False, True)]
    for row in chosen:
        script = loader(exported["path"], exported["labels"], 32, str(asked / row["path"]))
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT], input=script, capture_output=True, text=True, cwd=tmp_path,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        label, _, score = done.stdout.strip().rpartition(" ")
        assert label == ("none of these" if row["none_of_these"] else row["label"])
        assert abs(float(score) - row["score"]) < 2e-3
    done = subprocess.run([sys.executable, "-c", WITHOUT], input="import torch", capture_output=True, text=True)
    assert "not on this machine" in done.stderr  # else the test would show nothing


def test_the_loader_has_five_lines():
    assert len(LOADER.partition("\n\n")[2].splitlines()) == 5


def test_names_in_the_loader_are_text_whatever_they_hold():
    script = loader('a"b.onnx', ['"); LABELS', "FILE"], 32, "C:\\x.jpg")
    compile(script, "loader", "exec")
    assert script.count('InferenceSession("a\\"b.onnx")') == 1 and '["\\"); LABELS", "FILE"][scores' in script


def test_a_large_jpeg_has_the_answer_of_classify(task, tmp_path, monkeypatch):
    """Where the app reads such a file at a part of its size, so does the loader."""
    project, _, _, exported = task
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))
    (tmp_path / "large").mkdir()
    fine = Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 700, 3), np.uint8)).resize((1400, 1200))
    fine.save(tmp_path / "large" / "0.jpg", quality=40)
    row = commands.classify(str(project), images=tmp_path / "large")["images"][0]
    script = loader(exported["path"], exported["labels"], 32, str(tmp_path / "large" / "0.jpg"))
    script = script.replace(
        "print(", "print(scores[0].max(), none[0], labels[scores[0].argmax()], *picture.size, sep='\\t') #"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"labels = {exported['labels']}\n{script}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    score, none, label, *side = done.stdout.strip().split("\t")
    read = opened((tmp_path / "large" / "0.jpg").read_bytes(), 32, Limits())[0].size
    assert tuple(map(int, side)) == read and max(read) < 1400
    assert (label, none) == (row["label"], str(row["none_of_these"])) and abs(float(score) - row["score"]) < 2e-4


@pytest.mark.filterwarnings("ignore:A model attribute")
@pytest.mark.parametrize("name", ("prototype", "linear", "maml", "finetune"))
def test_every_kind_of_learner_can_be_written(name, tiny_encoder, store, tmp_path):
    encoder, rows = load_encoder(tiny_encoder), np.array([0, 1, 12, 13, 24, 25])
    vectors = torch.from_numpy(embed(encoder, store.pixels))
    classifier = teach(learner(name), vectors, rows, store.labels[rows], (*store.class_names, "empty"))
    to_onnx(classifier, encoder, store.pixels[rows], tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    shown = np.concatenate([store.pixels, np.full_like(store.pixels[:, :1], 255)], 1).transpose(0, 2, 3, 1)
    scores, none = session.run(None, {"pictures": np.ascontiguousarray(shown)})
    answer = classifier.sort(vectors)
    np.testing.assert_allclose(scores.max(1), answer.score, atol=1e-4)
    assert (scores.argmax(1) == answer.label).all() and (none == (answer.sure == 0)).all()
    assert (scores[:, 3] == 0).all()  # a box without examples
