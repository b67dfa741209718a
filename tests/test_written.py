"""Files that earlier releases wrote (tests/written/VERSION.zip, by write.py beside them) are opened by this one."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from byolmeta import commands
from byolmeta.encoder import load_encoder
from byolmeta.film import frames
from byolmeta.runs import Run
from byolmeta.settings import PretrainConfig

WRITTEN = sorted((Path(__file__).parent / "written").glob("*.zip"))


@pytest.fixture(scope="module", params=WRITTEN, ids=lambda path: path.stem)
def files(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def expected(files):
    return json.loads((files / "expected.json").read_text())


def test_the_first_release_is_there():
    assert "0.1.0" in [path.stem for path in WRITTEN]


def test_an_encoder_gives_the_same_vectors(files, expected, tmp_path):
    encoder = load_encoder(files / "study" / "encoder.safetensors")
    assert encoder.architecture == "conv4" and encoder.image_size == 16
    commands.embed(str(files / "study"), files / "pictures", tmp_path / "bank.npz")
    with np.load(tmp_path / "bank.npz") as now, np.load(files / "bank.npz") as then:
        assert (now["paths"] == then["paths"]).all() and (now["class_names"] == then["class_names"]).all()
        assert np.allclose(now["vectors"], then["vectors"], atol=1e-4)
        assert np.allclose(now["vectors"][0], expected["vector"], atol=2e-3) and now["vectors"].std() > 0


def test_a_practised_encoder_keeps_its_practice(files):
    encoder = load_encoder(files / "practice" / "encoder.safetensors")
    assert encoder.practice is not None and encoder.card["practice"]["in_force"]
    assert encoder.card["practice"]["learners"]["anil"]


def test_a_project_sorts_as_it_did(files, expected):
    answer = commands.classify(str(files / "shapes.byolmeta"), images=files / "pictures")
    assert {row["path"]: row["label"] for row in answer["images"]} == expected["labels"]
    assert set(expected["labels"].values()) == {"bar", "disc", "square"}


def test_a_run_that_was_stopped_goes_on(files, tmp_path):
    run = Run(files / "study")
    assert run.status()["state"] == "stopped"
    before = run.metrics()[-1]["step"]
    found = commands.pretrain(files / "pictures", run.folder, PretrainConfig(), resume=True)
    assert run.status()["state"] == "done" and found["steps"] > before and np.isfinite(found["loss"])
    assert len(frames(run.film)) >= 2


def test_the_pages_session_has_its_boxes(files, tmp_path):
    pytest.importorskip("gradio")
    from byolmeta.ui.workspace import Workspace

    saved = json.loads((files / "session.json").read_text())
    saved |= {"source": str(files / "pictures"), "encoder": str(files / "study")}
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "local.json").write_text(json.dumps(saved))
    session = Workspace(tmp_path).session("local")
    assert session.label == "shapes" and session.encoder == saved["encoder"]
    assert [(box["name"], box["items"]) for box in session.boxes["boxes"]] == [("bars", [0, 1]), ("Box 2", [7])]
    assert not list((tmp_path / "projects").glob("*.damaged"))
