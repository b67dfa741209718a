"""commands.py: every verb with the keys that DESIGN.md promises, and one sentence for what the user can mend."""

import csv
import dataclasses
import errno
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import typing
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_pictures

from byolmeta import cli, commands
from byolmeta.commands import pretrain
from byolmeta.errors import InputError
from byolmeta.files import read_card
from byolmeta.learners import LEARNERS
from byolmeta.runs import Run
from byolmeta.settings import PRACTISED, PretrainConfig

ROOT = Path(__file__).resolve().parents[1]
TINY = "--encoder conv4 --image-size 16 --hidden 16 --dim 8 --batch-size 16 --device cpu --check-share 0.5".split()


@pytest.fixture
def verb(tmp_path, monkeypatch, capsys):
    """Runs a verb in this process: verb("embed", ...) -> its JSON; fails on any exit but 0."""
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "unused"))

    def call(*words, home=tmp_path / "home"):
        monkeypatch.setattr(sys, "argv", ["byolmeta", *map(str, words), "--json", "--home", str(home)])
        cli.main()
        return json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=pytest.fail)

    return call


@pytest.fixture
def refused(verb, capsys):
    """Runs a verb that has to end with status 2; returns the sentence."""

    def call(*words):
        with pytest.raises(SystemExit) as end:
            verb(*words)
        assert end.value.code == 2
        out, err = capsys.readouterr()
        assert "Traceback" not in err and not out.strip()
        return err.strip()

    return call


def python(*words, **more):
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=120, **more
    )


def test_pretrain_and_resume_and_home(verb, pictures, tmp_path):
    found = verb("pretrain", pictures, "--out", tmp_path / "run", "--epochs", 2, *TINY)
    keys = "run encoder images skipped epochs steps seconds images_per_second loss twin spread effective_rank knn"
    assert set(keys.split()) <= found.keys()
    assert found["images"] == 36 and found["epochs"] == 2 and 0 <= found["knn"] <= 1
    assert Path(found["encoder"]).is_file() and Path(found["run"]) == tmp_path / "run"
    assert (tmp_path / "home" / "stores").is_dir() and not (tmp_path / "unused").exists()
    Run(tmp_path / "run").ask("stop")  # left over from a kill
    moved = tmp_path / "moved" / pictures.name
    shutil.copytree(pictures, moved)
    run = Run(tmp_path / "run")
    before = run.metrics()
    again = verb("pretrain", moved, "--out", run.folder, "--resume")
    assert again.pop("message").startswith("This run had come to its end") and found.pop("message") == ""
    assert again == found and run.metrics() == before and not run.asked("stop")


def test_the_card_has_what_was_left_to_us(verb, pictures, tmp_path):
    verb("pretrain", pictures, "--out", tmp_path / "run", "--epochs", 1, "--encoder", "conv4", "--image-size", 16)
    card = read_card(Run(tmp_path / "run").encoder)
    chosen = card["settings"]
    assert chosen["device"] in ("cpu", "cuda", "mps") and chosen["precision"] in ("bf16", "fp32")
    assert chosen["base_lr"] > 0 and chosen["weight_decay"] > 0 and chosen["momentum"] > 0 and chosen["parts"] == 1
    assert chosen["batch_size"] == card["plan"]["batch_size"]
    assert dataclasses.asdict(PretrainConfig(**chosen)) == chosen


def test_pretrain_without_labels_has_no_knn_and_starts_from_an_encoder(verb, pictures, tiny_encoder, tmp_path):
    flat = tmp_path / "flat"
    shutil.copytree(pictures / "disc", flat)
    found = verb("pretrain", flat, "--out", tmp_path / "run", "--epochs", 1, "--init", tiny_encoder, *TINY)
    assert found["knn"] is None and found["images"] == 12


def test_evaluate(verb, pictures, tiny_encoder, tmp_path):
    test = draw_pictures(tmp_path / "test", each=4, seed=9)
    found = verb("evaluate", tiny_encoder, pictures, test)
    assert 0 <= found["knn"] <= 1 and 0 <= found["linear"] <= 1 and found["test_images"] == 12
    assert found["left_out"] == 0
    (test / "bar").rename(test / "cube")
    some = verb("evaluate", tiny_encoder, pictures, test)
    assert some["test_images"] == 8 and some["left_out"] == 4
    plain = verb("evaluate", tiny_encoder, pictures, test, "--features", "encoder")
    assert plain["features"] == "encoder" and found["features"] == "readout" and plain["finetune"] is None
    tuned = verb("evaluate", tiny_encoder, pictures, test, "--protocol", "finetune")
    assert 0 <= tuned["finetune"] <= 1 and tuned["knn"] is None
    assert verb("evaluate", tiny_encoder, pictures, test, "--protocol", "knn", "--seed", 1)["linear"] is None
    assert (
        verb("evaluate", tiny_encoder, pictures, pictures, "--protocol", "linear")["linear"] > 0.8
    )  # held in by the penalty
    assert (
        verb("evaluate", tiny_encoder, pictures, pictures)["also_in_training"] == 36 and found["also_in_training"] == 0
    )


def test_embed(verb, pictures, tiny_encoder, tmp_path):
    for name in ("bank.npz", "bank"):
        found = verb("embed", tiny_encoder, pictures, "--out", tmp_path / "new" / name)
        assert found["images"] == 36 and found["dim"] == 64 and found["images_per_second"] > 0
        assert found["out"] == str(tmp_path / "new" / name)
        with np.load(found["out"]) as bank:
            assert bank["vectors"].shape == (36, 64) and bank["class_names"].tolist() == ["bar", "disc", "square"]
            assert bank["paths"][0] == "bar/0.png" and bank["labels"].tolist() == sorted(bank["labels"])


def test_fewshot(verb, pictures, tiny_encoder):
    found = verb("fewshot", tiny_encoder, pictures, "--way", 3, "--shot", 1, "--query", 2, "--episodes", 20)
    assert set("accuracy ci95 episodes way shot seconds transductive".split()) <= found.keys()
    assert 0 <= found["accuracy"] <= 1 and found["episodes"] == 20 and found["transductive"] is False
    same, other = (verb("fewshot", "pixels", pictures, "--way", 3, "--episodes", 20, "--seed", s) for s in (0, 1))
    assert same["query"] >= 1 and same["accuracy"] != other["accuracy"]
    assert verb("fewshot", tiny_encoder, pictures, "--way", 3, "--episodes", 1)["ci95"] is None


def test_classify_and_its_csv(verb, tiny_encoder, pictures, tmp_path):
    examples = draw_pictures(tmp_path / "examples", each=2, seed=3)
    (tmp_path / "asked").mkdir()
    names = ["=cmd|' C calc'!A0.png", "+1.png", "-x.png", "@SUM(A1).png", 'a,b"c.png', "\ttab.png", "plain.png"]
    for number, name in enumerate(names):
        shutil.copy(pictures / "disc" / f"{number}.png", tmp_path / "asked" / name)
    found = verb(
        "classify", tiny_encoder, "--examples", examples, "--images", tmp_path / "asked", "--out", tmp_path / "r.csv"
    )
    assert sorted(row["path"] for row in found["images"]) == sorted(names)
    for row in found["images"]:
        assert row.keys() == {"path", "label", "score", "none_of_these"} and row["label"] in ("bar", "disc", "square")
        assert 0 <= row["score"] <= 1 and isinstance(row["none_of_these"], bool)
    assert found["loo"]["of"] == 6 and 0 <= found["loo"]["right"] <= 6
    with open(tmp_path / "r.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"].removeprefix("'") for row in rows] == [row["path"] for row in found["images"]]
    assert not any(value.startswith(tuple("=+-@\t\r")) for row in rows for value in row.values())


def test_classify_answers_as_python_and_the_page_do(verb, tiny_encoder, pictures, tmp_path):
    """On the same folder: examples first, then the pictures that are asked, by the function that the page calls."""
    from byolmeta.adapt import sort_pictures
    from byolmeta.copies import copies_group_ids
    from byolmeta.learners import learner
    from byolmeta.workplace import vectors_of

    examples = draw_pictures(tmp_path / "examples", each=3, seed=3)
    shutil.copy(examples / "disc" / "0.png", examples / "disc" / "copy.png")
    told = verb("classify", tiny_encoder, "--examples", examples, "--images", pictures)["images"]
    (shown, first), (asked, others) = (vectors_of(tiny_encoder, folder) for folder in (examples, pictures))
    rows = np.arange(len(shown))
    copies = np.concatenate([copies_group_ids(shown), len(shown) + np.arange(len(asked))])
    vectors = torch.from_numpy(np.concatenate([first, others]))
    answer = sort_pictures(learner("anil"), vectors, rows, shown.labels, 3, copies)
    assert len(set(copies.tolist())) == len(copies) - 1  # the copy was found
    for number, row in enumerate(told, start=len(shown)):
        assert row["label"] == shown.class_names[answer.label[number]]
        assert row["score"] == pytest.approx(answer.score[number], abs=1e-4)
        assert row["none_of_these"] == (answer.sure[number] == 0)
    assert commands.classify(str(tiny_encoder), examples, pictures)["images"] == told


def test_classify_keeps_a_project_that_answers_alike_and_copies_the_pictures(verb, tiny_encoder, pictures, tmp_path):
    examples = draw_pictures(tmp_path / "examples", each=2, seed=3)
    project, words = tmp_path / "shapes.byolmeta", ["--images", pictures]
    first = verb("classify", tiny_encoder, "--examples", examples, *words, "--project", project, "--learner", "ridge")
    again = verb("classify", project, *words, "--copies", tmp_path / "sorted", "--out", tmp_path / "r.csv")
    assert again["images"] == first["images"] and again["loo"] == first["loo"]
    zipped = verb("classify", project, *words, "--copies", tmp_path / "sorted.zip", home=tmp_path / "another")
    assert zipped["images"] == first["images"]
    copies = [p.relative_to(tmp_path / "sorted").as_posix() for p in (tmp_path / "sorted").rglob("*") if p.is_file()]
    with zipfile.ZipFile(tmp_path / "sorted.zip") as made:
        assert sorted(made.namelist()) == sorted(copies) and len(copies) == len(first["images"])
    for row in again["images"]:
        if row["none_of_these"]:
            assert f"none of these/{Path(row['path']).name}" in copies


@pytest.mark.filterwarnings("ignore:precomputed_knn")
def test_map_is_one_page_that_works_offline(verb, pictures, tiny_encoder, tmp_path):
    found = verb("map", tiny_encoder, pictures, "--out", tmp_path / "map.html", "--seed", 0)
    assert found["images"] == 36 and 0 <= found["trustworthiness"] <= 1 and found["seconds"] >= 0
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//|@import|url\([\"']?http", page)
    assert "data:image/webp" in page
    verb("map", tiny_encoder, pictures, "--out", tmp_path / "dots.html", "--dots")
    assert "data:image/webp" not in (tmp_path / "dots.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["pretrain", "NOWHERE", "--out", "RUN"], "could not be opened"),
        (["pretrain", "EMPTY", "--out", "RUN"], "has no pictures"),
        (["pretrain", "PICTURES", "--out", "RUN", "--encoder", "vit"], "no encoder called 'vit'"),
        (["pretrain", "PICTURES", "--out", "RUN", "--batch-size", "1"], "batch norm needs 2"),
        (["pretrain", "PICTURES", "--out", "RUN", "--optimizer", "rmsprop"], "no optimiser 'rmsprop'"),
        (["pretrain", "PICTURES", "--out", "RUN", "--device", "tpu"], "device 'tpu' is not there"),
        (["pretrain", "PICTURES", "--out", "RUN", "--image-size", "2000"], "2000"),
        (["pretrain", "PICTURES", "--out", "RUN", "--seed", "-1"], "seed is -1"),
        (["pretrain", "PICTURES", "--out", "RUN", "--init", "nothing"], "no encoder at 'nothing'"),
        (["pretrain", "PICTURES", "--out", "EMPTY", "--resume"], "not a run folder"),
        (["pretrain", "PICTURES", "--out", "/proc/run"], "cannot be written"),
        (["embed", "nothing", "PICTURES", "--out", "RUN/a.npz"], "no encoder at 'nothing'"),
        (["embed", "ENCODER", "EMPTY", "--out", "RUN/a.npz"], "has no pictures"),
        (["embed", "ENCODER", "PICTURES", "--out", "EMPTY"], "cannot be written"),
        (["embed", "PICTURES/disc/0.png", "PICTURES", "--out", "RUN/a.npz"], "not an encoder file"),
        (["map", "ENCODER", "PICTURES", "--out", "/proc/map.html"], "cannot be written"),
        (["fewshot", "ENCODER", "PICTURES", "--way", "9"], "9-way tasks"),
        (["fewshot", "ENCODER", "PICTURES", "--way", "3", "--shot", "0"], "shot is 0; it must be 1 or more"),
        (["fewshot", "ENCODER", "PICTURES", "--learner", "magic"], "no learner called 'magic'"),
        (["evaluate", "ENCODER", "PICTURES", "PICTURES/disc"], "share no class folder"),
        (["evaluate", "ENCODER", "PICTURES", "PICTURES", "--protocol", "guess"], "no protocol 'guess'"),
        (["evaluate", "ENCODER", "PICTURES", "PICTURES", "--features", "guess"], "no features 'guess'"),
        (["evaluate", "pixels", "PICTURES", "PICTURES", "--protocol", "finetune"], "no network to fine-tune"),
        (["classify", "ENCODER", "--examples", "PICTURES/disc", "--images", "PICTURES"], "at least 2 are needed"),
        (["classify", "ENCODER", "--images", "PICTURES"], "No examples are given"),
        (["classify", "ENCODER", "--examples", "PICTURES"], "No pictures to sort are given"),
        (
            ["classify", "pixels", "--examples", "PICTURES", "--images", "PICTURES", "--project", "EMPTY/a"],
            "no encoder file",
        ),
        (["classify", "NOWHERE.byolmeta", "--images", "PICTURES"], "There is no project file"),
        (["classify", "a.byolmeta", "--images", "PICTURES", "--learner", "anil"], "Leave out --examples"),
        (
            ["classify", "ENCODER", "--examples", "PICTURES", "--images", "PICTURES", "--copies", "PICTURES/new"],
            "only read",
        ),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_status_2(
    refused, pictures, tiny_encoder, tmp_path, words, sentence
):
    (tmp_path / "empty").mkdir()
    places = {"PICTURES": pictures, "ENCODER": tiny_encoder, "EMPTY": tmp_path / "empty", "RUN": tmp_path / "run"}
    places["NOWHERE"] = tmp_path / "nowhere"
    words = [re.sub("^(PICTURES|ENCODER|EMPTY|RUN|NOWHERE)", lambda m: str(places[m[0]]), word) for word in words]
    said = refused(*words)
    assert sentence in said.replace("\n", " ")


def test_a_mistake_while_resuming_leaves_the_status(refused, verb, pictures, tmp_path):
    verb("pretrain", pictures, "--out", tmp_path / "run", "--epochs", 1, *TINY)
    run = Run(tmp_path / "run")
    status = run.status() | {"pid": os.getppid()}
    (run.folder / "status.json").write_text(json.dumps(status))
    refused("pretrain", tmp_path / "nowhere", "--out", run.folder, "--resume")
    assert run.status() == status


def test_a_mistake_leaves_no_run_folder_in_the_way(refused, verb, pictures, tmp_path):
    refused("pretrain", pictures, "--out", tmp_path / "run", "--encoder", "vit")
    assert verb("pretrain", pictures, "--out", tmp_path / "run", "--epochs", 1, *TINY)["epochs"] == 1
    assert "already holds a run" in refused("pretrain", pictures, "--out", tmp_path / "run", *TINY)


@pytest.mark.parametrize("words", (["fly"], ["embed"], ["pretrain", "x", "--out", "y", "--epoch-count", "3"], []))
def test_unknown_words_end_with_status_2(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["byolmeta", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2 and "Traceback" not in capsys.readouterr().err


def test_a_result_is_printed_for_people(tiny_encoder, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))
    words = ["classify", str(tiny_encoder), "--examples", str(pictures), "--images", str(pictures / "disc")]
    monkeypatch.setattr(sys, "argv", ["byolmeta", *words])
    cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.count("\t") == 3]) == 12 and lines[-1].startswith("loo: ")
    monkeypatch.setattr(sys, "argv", ["byolmeta", *words, "--out", str(tmp_path / "sorted.csv")])
    cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert f"out: {tmp_path / 'sorted.csv'}" in lines and not any("\t" in line for line in lines)


@pytest.mark.parametrize("name", commands.VERBS)
def test_help_tells_of_the_flags_that_all_verbs_take(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["byolmeta", name, "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().out
    assert "--json" in said and "--home" in said
    if "--learner" in said:
        assert all(learner in said for learner in (PRACTISED if name == "metatrain" else LEARNERS))


def test_every_verb_takes_a_seed():
    import inspect

    for name, function in commands.VERBS.items():
        names = inspect.signature(function).parameters
        settings = typing.get_args(names["settings"].annotation)[0] if "settings" in names else PretrainConfig
        assert "seed" in names or "seed" in {field.name for field in dataclasses.fields(settings)}, name


def test_the_command_line_as_a_process(tiny_encoder, pictures, tmp_path):
    home = os.environ | {"BYOLMETA_HOME": str(tmp_path / "home")}
    words = ["-m", "byolmeta", "fewshot", tiny_encoder, pictures, "--way", 3, "--episodes", 5, "--json"]
    done = python(*words, env=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1 and 0 <= json.loads(done.stdout)["accuracy"] <= 1
    assert (tmp_path / "home" / "banks").is_dir()
    failed = python("-m", "byolmeta", "embed", "nothing", pictures, "--out", tmp_path / "x.npz", env=home)
    assert failed.returncode == 2 and "Traceback" not in failed.stderr and failed.stderr.strip().endswith(".")


def test_settings_that_a_run_cannot_have_are_refused(verb, pictures, tiny_encoder, tmp_path):
    verb("pretrain", pictures, "--out", tmp_path / "run", "--epochs", 1, *TINY)
    with pytest.raises(InputError, match="epochs is 30.0"):
        pretrain(pictures, tmp_path / "run", PretrainConfig(epochs=30.0), resume=True)
    for wrong in ({"encoder": "resnet18"}, {"image_size": 32}):
        with pytest.raises(InputError, match="but the encoder to go on from has"):
            pretrain(pictures, tmp_path / "new", PretrainConfig(init=str(tiny_encoder), **wrong))
    assert not (tmp_path / "new").exists()


def test_a_damaged_checkpoint_is_said(verb, pictures, tmp_path):
    verb("pretrain", pictures, "--out", tmp_path / "run", "--epochs", 1, *TINY)
    (tmp_path / "run/status.json").unlink()  # as if it had not come to its end
    whole = (tmp_path / "run/resume.pt").read_bytes()
    for damage in (b"", b"nonsense", whole[:1000]):
        (tmp_path / "run/resume.pt").write_bytes(damage)
        with pytest.raises(InputError, match="cannot be read"):
            pretrain(pictures, tmp_path / "run", resume=True)
    (tmp_path / "run/resume.pt").write_bytes(whole)
    config = (tmp_path / "run/config.json").read_text()
    for damage in (
        "[]",
        "{",
        config.replace('"hidden": 16', '"hidden": "a"'),
        config.replace('"hidden": 16', '"hidden": 8'),
    ):
        (tmp_path / "run/config.json").write_text(damage)
        with pytest.raises(InputError):
            pretrain(pictures, tmp_path / "run", resume=True)
    for file in ("status.json", "metrics.jsonl"):
        (tmp_path / "run/config.json").write_text(config)
        (tmp_path / "run" / file).write_text('{"state": "running", "pid": "x"}\n{broken\n7\n')
        pretrain(pictures, tmp_path / "run", resume=True)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**24])
def test_seeds_out_of_range_are_refused(seed, pictures, tiny_encoder, tmp_path):
    for ask in (
        lambda: commands.map(str(tiny_encoder), pictures, tmp_path / "a.html", seed),
        lambda: commands.fewshot(str(tiny_encoder), pictures, seed=seed),
        lambda: commands.evaluate(str(tiny_encoder), pictures, pictures, seed=seed),
        lambda: PretrainConfig(seed=seed),
    ):
        with pytest.raises(InputError, match="seed"):
            ask()


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--encoder", "nope"), "no encoder called 'nope'"),
        (("--image-size", 4), "picture size is 4"),
        (("--device", "tpu"), "device 'tpu'"),
        (("--precision", "half"), "precision is 'half'"),
        (("--epochs", 1e308), "at most 1,000,000"),
        (("--minutes", 1e308), "at most 1,000,000"),
        (("--weight-decay", -0.5), "weight_decay is -0.5"),
    ],
)
def test_what_is_wrong_is_said_before_a_run_folder_is_made(refused, pictures, tmp_path, flags, said):
    assert said in refused("pretrain", pictures, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ("embed", "map", "classify"))
def test_a_full_disk_is_told_and_the_older_file_kept(
    name, refused, verb, pictures, tiny_encoder, tmp_path, monkeypatch
):
    words = [name, tiny_encoder, pictures]
    if name == "classify":
        words = [name, tiny_encoder, "--examples", pictures, "--images", pictures]
    verb(*words, "--out", tmp_path / "old")
    before, real = (tmp_path / "old").read_bytes(), os.replace

    def full(source, target):
        if Path(target).name == "old":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    assert "disk is full" in refused(*words, "--out", tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == before and sorted(tmp_path.glob(".old*")) == []


def test_waiting_threads_leave_the_cores_to_others():
    """Two trainings beside each other each fell to less than half of their share while idle threads kept spinning."""
    env = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = python("-c", "import os, byolmeta.commands; print(os.environ['OMP_WAIT_POLICY'])", env=env)
    assert done.stdout.strip() == "PASSIVE"


def test_ctrl_c_finishes_the_step_and_saves(pictures, tmp_path):
    """Long before the first checkpoint; nothing of what was learned is lost, and the run can go on."""
    run = Run(tmp_path / "run")
    words = [
        "pretrain",
        pictures,
        "--out",
        run.folder,
        "--epochs",
        100_000,
        "--log-every",
        1,
        *TINY,
        "--home",
        tmp_path,
    ]
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from byolmeta.cli import main; main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, words)], cwd=ROOT, stderr=subprocess.PIPE, text=True)  # fmt: skip
    while not any(line["step"] > 3 for line in run.metrics()) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0 and "saved" in said and "Traceback" not in said
    assert run.status()["state"] == "stopped" and not run.asked("stop")
    state = torch.load(run.resume, weights_only=True)
    assert state["step"] == run.status()["step"] >= run.metrics()[-1]["step"] > 3


def test_baselines_are_told_from_encoders(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path))
    for name in ("pixels", "histogram"):
        with pytest.raises(InputError, match=f"'{name}' has no network to fine-tune"):
            commands.evaluate(name, pictures, pictures, protocol="finetune")
    found = commands.evaluate("histogram", pictures, pictures)
    assert 0 <= found["knn"] <= 1 and found["also_in_training"] == 36
    monkeypatch.setattr("byolmeta.hub.fetch", lambda name, folder: tmp_path / name.replace(":", "-"))
    assert commands.local("untrained:torchvision:resnet18") == f"untrained:{tmp_path / 'torchvision-resnet18'}"
    assert commands.local("untrained:conv4") == "untrained:conv4"


def test_too_few_pictures_are_told_before_a_run_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))
    few = draw_pictures(tmp_path / "few", each=1)
    with pytest.raises(InputError, match="can be read: 3"):
        pretrain(few, tmp_path / "run", PretrainConfig(encoder="conv4", image_size=16, epochs=1))
    assert not (tmp_path / "run").exists()


def test_the_python_of_the_readme_works(tmp_path, monkeypatch):
    """With less time and fewer tasks; and every function that it names is there."""
    root = Path(__file__).parent.parent
    text = (root / "README.md").read_text(encoding="utf-8").partition("## From Python")[2]
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:2]
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "assets").symlink_to(root / "assets")
    for old, new in (("minutes=2", "minutes=0.01"), ("steps=100", "steps=2, judge=4"), ("episodes=600", "episodes=4")):
        assert old in blocks[0]
        blocks[0] = blocks[0].replace(old, new)
    for block in blocks:
        exec(block, {})
    assert Run(tmp_path / "RUN").status()["state"] == Run(tmp_path / "PRACTISED").status()["state"] == "done"
    table = text.partition("| function | gives |")[2].partition("Their docstrings")[0]
    named = re.findall(r"`(\w+)\.(\w+)\(", table)
    assert len(named) > 10
    for module, function in named:
        assert getattr(importlib.import_module(f"byolmeta.{module}"), function).__doc__, function
