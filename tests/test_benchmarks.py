"""Benchmarks dry-run in small sizes: the unattended queue for a GPU machine, the study of settings; nothing done twice."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def data(pictures, tmp_path_factory) -> Path:
    """Drawn shapes in place of CIFAR-10 and of the photos."""
    place = tmp_path_factory.mktemp("data")
    for name in ("cifar10/train.zip", "cifar10/test.zip", "photos64/unlabelled.zip"):
        (place / name).parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(place / name, "w") as file:
            for picture in sorted(pictures.rglob("*.png")):
                file.write(picture, picture.relative_to(pictures))
    return place


def queue(out, data, **settings):
    env = os.environ | {"TINY": "1", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"} | settings
    words = ["bash", "tests/benchmarks/on_gpu.sh", str(out), str(data)]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_queue_runs_unattended_in_resumable_steps(data, tmp_path):
    out = tmp_path / "out"
    first = queue(out, data, CALL_MINUTES="0.15")  # too little for all of it
    second = queue(out, data)
    assert sorted(p.name for p in (out / "done").iterdir()) == [
        "checks",
        "cifar10",
        "cifar10_ours",
        "starter",
        "throughput",
    ], first + second
    found = json.loads((out / "cifar10" / "cifar10.json").read_text())
    assert found["epochs"] == 2 and 0 <= found["knn"] <= 1 and 0 <= found["linear"] <= 1 and found["curve"]
    assert found["machine"]["cores"] and found["versions"]["torch"] and "cifar10.py" in found["command"]
    recipes = [json.loads((out / name / "cifar10.json").read_text())["recipe"] for name in ("cifar10", "cifar10_ours")]
    assert recipes[0]["whiten"] is False and "whiten" not in recipes[1]
    rows = json.loads((out / "throughput.json").read_text())["rows"]
    assert [row["arm"] for row in rows] == ["step", "step without views"] and all(
        r["images_per_second"] > 0 for r in rows
    )
    assert (out / "starter" / "run" / "encoder.safetensors").exists()
    assert "== " not in queue(out, data)  # all done: nothing is done again


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_missing_data_and_a_failing_part_are_said(tmp_path):
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "train.zip").write_bytes(b"no zip")
    done = tmp_path / "out" / "done"
    done.mkdir(parents=True)
    for name in ("checks", "throughput"):  # the test above runs them
        (done / name).touch()
    said = queue(tmp_path / "out", tmp_path)
    assert "cifar10 failed" in said and "starter: no" in said and "done: cifar10" not in said


def test_the_study_of_settings_keeps_its_rows_and_goes_on(pictures, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))
    import quality

    monkeypatch.setattr(quality, "RESULT", tmp_path / "quality.json")
    (tmp_path / "runs").mkdir()
    words = (
        f"quality {pictures} {pictures} {tmp_path / 'runs'} --way 3 --encoder conv4 --image-size 16 --pictures-seen 72"
    )
    for arms in ("whitened", "whitened;plain"):
        monkeypatch.setattr(sys, "argv", [*words.split(), "--arms", arms])
        quality.main()
    rows = json.loads((tmp_path / "quality.json").read_text())["rows"]
    assert [row["arm"] for row in rows] == ["whitened", "plain"] and rows[0]["steps"] == 4  # 36 pictures, 32 a step
    assert all(0 <= row["5-shot"]["accuracy"] <= 1 and row["1-shot"]["ci95"] > 0 for row in rows)
    assert rows[0]["loss"] != rows[1]["loss"] and rows[1]["settings"] == {"whiten": False}


def test_the_model_card_says_what_the_results_say(monkeypatch):
    """Every figure of the shipped encoders, readable by machines, as the file of results has it."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    import model_card
    import yaml

    rows = json.loads(model_card.RESULT.read_text(encoding="utf-8"))["rows"]
    text = model_card.README.read_text(encoding="utf-8")
    index = yaml.safe_load(text.split("---\n", 2)[1])["model-index"]
    assert index == model_card.model_index(rows)
    assert [model["name"] for model in index] == model_card.starters()
    assert all(len(model["results"]) >= 8 for model in index)
    assert model_card.figures(rows) in text
    measured = [row for row in rows if "shot" in row]
    assert all(row["episodes"] >= 600 and row["ci95"] > 0 and row["date"] and row["machine"] for row in measured)


def test_the_table_keeps_one_row_of_a_kind(pictures, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))
    import few_shot_table

    monkeypatch.setattr(few_shot_table, "RESULT", tmp_path / "few.json")
    monkeypatch.setitem(few_shot_table.LEARNERS, few_shot_table.SKLEARN, None)  # taken out again at the end
    words = f"table raw=pixels hist=histogram --sklearn --way 3 --episodes 3 --sets shapes={pictures}"
    for more in ("", f" --evaluate shapes={pictures},{pictures}"):
        monkeypatch.setattr(sys, "argv", (words + more).split())
        few_shot_table.main()
    rows = json.loads((tmp_path / "few.json").read_text())["rows"]
    tasks = [(row["encoder"], row["learner"], row["shot"]) for row in rows if "shot" in row]
    assert len(tasks) == len(set(tasks)) == 10  # 2 encoders, 2 learners, 2 numbers of examples; scikit-learn on pixels
    assert [(r["encoder"], r["features"]) for r in rows if "features" in r] == [
        ("raw", "readout"), ("raw", "encoder"), ("hist", "readout"), ("hist", "encoder")
    ]  # fmt: skip
    assert all(0 <= r.get("accuracy", r.get("linear")) <= 1 for r in rows)


def test_the_speed_of_practice_is_measured_with_the_peers_at_hand(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    import meta_speed

    monkeypatch.setattr(meta_speed, "RESULT", tmp_path / "meta_speed.json")
    monkeypatch.setitem(sys.modules, "higher", None)  # as if it were not installed
    words = "meta_speed --rounds 2 --seconds 0.01 --shots 1 --batches 2 --episodes 4"
    monkeypatch.setattr(sys, "argv", words.split())
    meta_speed.main()
    found = json.loads((tmp_path / "meta_speed.json").read_text())
    assert found["machine"]["cores"] and found["versions"]["torch"] and found["threads"] == 1
    assert {(row["kind"], row["arm"]) for row in found["practice"]} >= {
        (kind, arm) for kind in ("settings", "vectors") for arm in ("ours", "torch.func")
    }
    assert all(0 < row["steps_per_second"] and row["gradient_gap"] < 1e-4 for row in found["practice"])
    assert all(0 < row["tasks_per_second"] and 0 < row["accuracy"] <= 1 for row in found["scores"])
    assert "higher is left out" in capsys.readouterr().out


def test_arms_that_compute_something_else_are_not_measured(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    import meta_speed

    monkeypatch.setattr(meta_speed, "RESULT", tmp_path / "meta_speed.json")
    monkeypatch.setattr(meta_speed, "STEPS", 2)
    right = meta_speed.func()
    monkeypatch.setattr(meta_speed, "func", lambda: lambda parts, data: 1.01 * right(parts, data))
    monkeypatch.setattr(sys, "argv", "meta_speed --rounds 1 --seconds 0.01 --shots 1 --batches 2".split())
    with pytest.raises(SystemExit, match="do not compute the same"):
        meta_speed.main()
    assert not (tmp_path / "meta_speed.json").exists()


def test_practice_keeps_a_row_of_each_seed(tiny_encoder, tmp_path, monkeypatch):
    from conftest import draw_pictures

    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))
    import practice

    monkeypatch.setattr(practice, "RESULT", tmp_path / "practice.json")
    folder = draw_pictures(tmp_path / "shapes", each=20)
    words = f"practice shapes {tiny_encoder} {folder} {folder} {tmp_path / 'runs'} --seeds 0,1 --tasks clusters --steps 2 --way 2"
    monkeypatch.setattr(sys, "argv", [*words.split(), "--judge", "4", "--query", "1", "--shot", "1", "--tested", "4"])
    monkeypatch.setattr(practice, "WAY", 3)
    for _ in range(2):  # the second time in place of the first
        practice.main()
    rows = json.loads((tmp_path / "practice.json").read_text())["rows"]
    assert [row["seed"] for row in rows] == [0, 1] and rows[0]["settings"]["tasks"] == "clusters"
    for row in rows:
        assert [test["shot"] for test in row["shots"]] == [1, 5] and row["machine"]
        for test in row["shots"]:
            assert test["difference"] == pytest.approx(test["accuracy"] - test["versus_accuracy"])
            assert test["practised"] == row["held_back"]["gain"]


def test_omniglot_goes_on_with_a_run_and_keeps_its_curve(tmp_path, monkeypatch):
    from conftest import draw_pictures

    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))
    import omniglot

    draw_pictures(tmp_path / "a", each=12)
    draw_pictures(tmp_path / "b", each=12, seed=1)
    folder = tmp_path / "many"
    folder.mkdir()
    for number, path in enumerate(sorted((tmp_path / "a").iterdir()) + sorted((tmp_path / "b").iterdir())):
        path.rename(folder / f"{number}-{path.name}")
    monkeypatch.setattr(omniglot, "RESULT", tmp_path / "omniglot.json")
    monkeypatch.setattr(omniglot, "START", "untrained:conv4")
    monkeypatch.setattr(omniglot, "SHARED", omniglot.SHARED | {"way": 2, "query": 2, "judge": 2, "check_every": 2})
    monkeypatch.setattr(
        omniglot, "ARMS", {name: arm | {"batch": 1, "train_way": 2, "judge": 2} for name, arm in omniglot.ARMS.items()}
    )
    monkeypatch.setattr("byolmeta.puzzles.LOOKED", 5)
    words = f"omniglot {folder} {folder} {tmp_path / 'runs'} --learners prototype --steps 2 --tested 2"
    monkeypatch.setattr(sys, "argv", words.split())
    for _ in range(2):
        omniglot.main()
    (row,) = json.loads((tmp_path / "omniglot.json").read_text())["rows"]
    assert row["learner"] == "prototype" and [step for step, _ in row["curve"]] == [0, 2]
    assert [test["shot"] for test in row["test"]] == [1, 5] and not row["test"][0]["transductive"]
