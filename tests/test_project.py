"""project.py: one file that gives the same answers elsewhere, and is refused where it is not what we wrote."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_pictures
from PIL import Image
from safetensors.torch import load, save

from byolmeta import commands
from byolmeta.classifier import teach
from byolmeta.encoder import Encoder, load_encoder, save_encoder
from byolmeta.errors import InputError
from byolmeta.features import embed
from byolmeta.images import open_store
from byolmeta.learners import LEARNERS
from byolmeta.learners.metasgd import MetaSGD
from byolmeta.project import is_project, open_project, save_project

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("disc", "square", "bar")
PARTS = ("project.json", "encoder.safetensors", "task.safetensors")


@pytest.fixture(scope="module")
def taught(store, tiny_encoder):
    """What save_project takes: encoder, classifier, paths, pixels; and the vectors of the folder."""
    vectors = torch.from_numpy(embed(load_encoder(tiny_encoder), store.pixels))
    support = np.array([0, 1, 12, 13, 24, 25])
    labels = store.labels[support]
    names = store.class_names
    classifier = teach(MetaSGD(rate=(0.1, 0.2)), vectors, support, labels, names)
    return tiny_encoder, classifier, [store.index.paths[i] for i in support], np.array(store.pixels[support]), vectors


@pytest.fixture
def saved(taught, tmp_path):
    places = np.arange(72, dtype=np.float32).reshape(36, 2)
    thumbs = np.repeat(np.repeat(taught[3], 2, 2), 2, 3)
    more = {"colours": ["#E69F00", "", "#009e73"], "thumbs": thumbs, "places": places}
    path = tmp_path / "shapes.byolmeta"
    found = save_project(path, *taught[:4], **more, place_paths=[f"{n}.png" for n in range(36)])
    assert found == {"path": str(path), "bytes": path.stat().st_size, "examples": 6}
    return path


def test_all_of_it_comes_back(saved, taught, tmp_path):
    encoder, classifier, paths, pixels, vectors = taught
    found = open_project(saved, tmp_path / "encoders")
    assert found.encoder.parent == tmp_path / "encoders" and found.encoder.read_bytes() == encoder.read_bytes()
    assert found.paths == tuple(paths) and found.colours == ("#E69F00", "", "#009e73")
    assert found.classifier.learner == classifier.learner and found.classifier.names == classifier.names
    np.testing.assert_array_equal(found.pixels, pixels)
    np.testing.assert_allclose(found.thumbs[:, :, ::2, ::2].mean(), pixels.mean(), atol=2)
    np.testing.assert_array_equal(found.places, np.arange(72).reshape(36, 2))
    assert found.place_paths[35] == "35.png" and found.about["byolmeta"]
    mine, theirs = classifier.sort(vectors), found.classifier.sort(vectors)
    assert all(np.array_equal(getattr(mine, name), getattr(theirs, name)) for name in ("label", "score", "sure"))
    assert open_project(saved, tmp_path / "encoders").encoder == found.encoder  # not a second one
    assert os.listdir(tmp_path / "encoders") == [found.encoder.name]


def test_its_pictures_give_its_vectors_again(saved, tmp_path):
    found = open_project(saved, tmp_path)
    np.testing.assert_allclose(embed(load_encoder(found.encoder), found.pixels), found.classifier.vectors, atol=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_and_nothing_but_the_examples(name, taught, tmp_path):
    encoder, classifier, paths, pixels, vectors = taught
    own = teach(LEARNERS[name](), vectors, np.array([0, 13, 25]), np.array([0, 1, 2]), classifier.names)
    path = tmp_path / "a.BYOLMETA"
    assert is_project(path) and not is_project(tmp_path / "a.zip")
    save_project(path, encoder, own, paths[:3], pixels[:3])
    found = open_project(path, tmp_path)
    assert found.classifier.learner == own.learner and found.thumbs is found.places is None
    np.testing.assert_allclose(found.classifier.sort(vectors).score, own.sort(vectors).score, atol=1e-6)


ELSEWHERE = """
import json, sys
from pathlib import Path
import torch
from byolmeta import commands
from byolmeta.project import open_project
from byolmeta.workplace import home, vectors_of
project, images = sys.argv[1:]
found = commands.classify(project, images=Path(images))
opened = open_project(project, home() / "encoders")
store, vectors = vectors_of(str(opened.encoder), Path(images))
found["exact"] = opened.classifier.sort(torch.from_numpy(vectors)).score.tolist()
print(json.dumps(found))
"""


def test_another_machine_gives_the_same_answers(tmp_path, monkeypatch):
    """Fifty pictures, sorted here and, from the project file alone, in a fresh process with a home of its own."""
    examples, asked = draw_pictures(tmp_path / "examples", 3, seed=5), draw_pictures(tmp_path / "asked", 17, seed=6)
    (asked / "bar" / "16.png").unlink()
    save_encoder(Encoder("small", 32).initial(seed=2), tmp_path / "own.safetensors")
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "here"))
    project = tmp_path / "shapes.byolmeta"
    here = commands.classify(str(tmp_path / "own.safetensors"), examples, asked, project=project)
    opened = open_project(project, tmp_path)
    vectors = embed(load_encoder(opened.encoder), open_store(asked, tmp_path / "stores", 32, workers=1).pixels)
    exact = opened.classifier.sort(torch.from_numpy(vectors)).score
    for gone in (opened.encoder, tmp_path / "own.safetensors", *examples.rglob("*.png")):
        gone.unlink()
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(project), str(asked)],
        env=os.environ | {"BYOLMETA_HOME": str(tmp_path / "there"), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout.splitlines()[-1])
    assert len(there["images"]) == 50 and len({row["label"] for row in there["images"]}) > 1
    np.testing.assert_allclose(there["exact"], exact, atol=1e-5)
    for mine, theirs, score in zip(here["images"], there["images"], exact, strict=True):
        assert {**mine, "score": 0} == {**theirs, "score": 0}
        assert abs(mine["score"] - score) < 6e-5  # rows are rounded to four places
    assert there["loo"] == here["loo"] and here["loo"]["of"] == 9


# What is not ours


def changed(source: Path, target: Path, changes: dict, more: dict | None = None) -> Path:
    """A copy of a project file with other content of some parts (None: left out), and with more parts."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = changes.get(name, lambda data: data)
            if data is not None:
                new.writestr(name, data(old.read(name)))
        for name, data in (more or {}).items():
            new.writestr(name, data)
    return target


def refusal(source: Path, tmp_path: Path, changes: dict, more: dict | None = None) -> str:
    encoders = tmp_path / "encoders"
    with pytest.raises(InputError) as said:
        open_project(changed(source, tmp_path / "evil.byolmeta", changes, more), encoders)
    assert not any(path.name.startswith(".") for path in tmp_path.rglob("*"))  # nothing half done
    return str(said.value)


def json_with(**values):
    return {"project.json": lambda data: json.dumps(json.loads(data) | values)}


def tensors_with(**values):
    return {"task.safetensors": lambda data: save(load(data) | values)}


def png(side: int, mode: str = "RGB") -> bytes:
    data = io.BytesIO()
    Image.new(mode, (side, side)).save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize("part", (*PARTS, "pictures/3.png", "thumbs/0.jpg"))
def test_every_part_is_needed(saved, tmp_path, part):
    assert f"lacks its part '{part}'" in refusal(saved, tmp_path, {part: None})


@pytest.mark.parametrize(
    "name", ("../out.png", "/abs.png", "pictures/../../x.png", "pictures/00.png", "more.json", "pictures\\0.png", "a/")
)
def test_parts_that_no_project_has_are_refused(saved, tmp_path, name):
    assert "a part that no project has" in refusal(saved, tmp_path, {}, {name: b"x"})
    assert not (tmp_path.parent / "out.png").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_parts_of_one_name_are_refused(saved, tmp_path):
    assert "a part that no project has" in refusal(saved, tmp_path, {}, {"project.json": b"{}"})


def test_a_picture_bomb_is_refused_before_it_is_unpacked(saved, tmp_path):
    assert "larger than 4 MB" in refusal(saved, tmp_path, {"pictures/0.png": lambda data: bytes(5 << 20)})
    assert "does not fit" in refusal(saved, tmp_path, {"pictures/0.png": lambda data: png(9000, "L")})


def test_more_parts_than_pictures_are_refused(saved, tmp_path):
    parts = {f"p{n}": b"" for n in range(4100)}
    assert "which is too many" in refusal(saved, tmp_path, {}, parts)


@pytest.mark.parametrize("data", (png(8), png(16, "L"), b"", b"no picture", png(16)[:45]))
def test_pictures_that_do_not_fit_are_refused(saved, tmp_path, data):
    assert "pictures/2.png" in refusal(saved, tmp_path, {"pictures/2.png": lambda old: data})


@pytest.mark.parametrize(
    "values, told",
    [
        ({"format": 2}, "newer byolmeta"),
        ({"format": "1"}, "newer byolmeta"),
        ({"names": ["a"]}, "'names'"),
        ({"names": ["a", 2, "c"]}, "'names'"),
        ({"names": ["a", "b"]}, "'colours'"),
        ({"colours": ["red", "", ""]}, "'colours'"),
        ({"paths": "abcdef"}, "'paths'"),
        ({"paths": ["x"] * 3000}, "'paths'"),
        ({"paths": ["x"] * 5}, "does not fit its examples"),
        ({"place_paths": ["x"]}, "'places'"),
        ({"size": 100_000}, "'size'"),
        ({"size": True}, "'size'"),
        ({"thumbs": -1}, "'thumbs'"),
        ({"sharp": float("nan")}, "'sharp'"),
        ({"sharp": 0}, "'sharp'"),
        ({"member": {}}, "'member'"),
        ({"learner": "anil"}, "'learner'"),
        ({"learner": {"name": "os.system", "settings": {}}}, "no learner called"),
        ({"learner": {"name": "anil", "settings": {"steps": 10**9}}}, "not such as it takes"),
        ({"learner": {"name": "anil", "settings": {"command": "x"}}}, "not such as it takes"),
        ({"versions": [1]}, "'versions'"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(saved, tmp_path, values, told):
    assert told in refusal(saved, tmp_path, json_with(**values))


@pytest.mark.parametrize("data", (b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff\xfe"))
def test_a_record_that_is_no_json_is_refused(saved, tmp_path, data):
    refusal(saved, tmp_path, {"project.json": lambda old: data})


@pytest.mark.parametrize(
    "values",
    (
        {"vectors": torch.zeros(5, 64)},
        {"vectors": torch.full((6, 64), torch.nan)},
        {"vectors": torch.zeros(6, 64, dtype=torch.float16)},
        {"labels": torch.tensor([0, 0, 1, 1, 2, 3])},
        {"labels": torch.tensor([0, 0, 1, 1, 2, -1])},
        {"labels": torch.zeros(6, dtype=torch.int64)},
        {"labels": torch.zeros(6)},
        {"copies": torch.arange(5)},
        {"places": torch.zeros(36, 3)},
        {"extra": torch.zeros(1)},
        {"member.spread": torch.zeros(3) / 0},
        {"member.towards": torch.zeros(7, 3)},
        {"vectors": torch.zeros(6, 32), "member.centre": torch.zeros(32), "member.towards": torch.zeros(32, 3)},
    ),
)
def test_numbers_that_do_not_fit_are_refused(saved, tmp_path, values):
    refusal(saved, tmp_path, tensors_with(**values))


def test_an_encoder_that_is_none_is_refused(saved, tmp_path):
    assert "encoder" in refusal(saved, tmp_path, {"encoder.safetensors": lambda data: data[:1000]})
    assert "encoder" in refusal(saved, tmp_path, {"encoder.safetensors": lambda data: b"\x80\x04pickle"})


def test_other_files_are_refused_in_a_sentence(tmp_path):
    (tmp_path / "text.byolmeta").write_text("hello")
    with pytest.raises(InputError, match="not a project file"):
        open_project(tmp_path / "text.byolmeta", tmp_path)
    with pytest.raises(InputError, match="There is no project file"):
        open_project(tmp_path / "nowhere.byolmeta", tmp_path)


def test_a_cut_file_is_refused_wherever_it_is_cut(saved, tmp_path):
    data = saved.read_bytes()
    for end in range(0, len(data), len(data) // 9):
        (tmp_path / "cut.byolmeta").write_bytes(data[:end])
        with pytest.raises(InputError):
            open_project(tmp_path / "cut.byolmeta", tmp_path / "encoders")


def test_a_failed_save_leaves_the_older_file(saved, taught, tmp_path):
    before = saved.read_bytes()
    with pytest.raises(InputError):
        save_project(saved, tmp_path / "no encoder", *taught[1:4])
    assert saved.read_bytes() == before and not list(tmp_path.glob(".*"))
