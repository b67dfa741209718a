"""ui/verbs.py: programs call the slower verbs over HTTP and get what the commands of those names give, on both kinds of machine."""

import json
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("gradio_client")

import gradio_client as client
from browser import until

from byolmeta import commands, jobs
from byolmeta.encoder import load_encoder
from byolmeta.errors import InputError
from byolmeta.ui import build, endpoints, launch_options, verbs
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module", params=["local", "shared"])
def served(request, tmp_path_factory):
    """(workspace, address) of a page that is served, on one's own and on a shared computer."""
    work = Workspace(tmp_path_factory.mktemp("home"), public=request.param == "shared")
    demo = build(work, table("en"))
    _, address, _ = demo.queue().launch(**launch_options(work), prevent_thread_lock=True, quiet=True, inbrowser=False)
    over = threading.Event()

    def tend():  # in place of the thread that the app has
        while work.public and not over.wait(0.5):
            work.line.step()

    threading.Thread(target=tend, daemon=True).start()
    yield work, address
    over.set()
    demo.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("local"))


@pytest.fixture
def zipped(pictures, tmp_path):
    """The pictures as a zip."""
    with zipfile.ZipFile(tmp_path / "shapes.zip", "w") as file:
        for path in sorted(pictures.rglob("*.png")):
            file.write(path, path.relative_to(pictures))
    return tmp_path / "shapes.zip"


@pytest.mark.parametrize("served", ["local"], indirect=True)
def test_embed_and_map_give_what_the_commands_do(served, zipped, pictures, tiny_encoder, tmp_path):
    _, address = served
    caller = client.Client(address, verbose=False)
    sent, encoder = client.handle_file(zipped), client.handle_file(tiny_encoder)
    about, bank = caller.predict(sent, encoder, api_name="/embed")
    commands.embed(str(tiny_encoder), pictures, tmp_path / "bank.npz")
    with np.load(bank) as found, np.load(tmp_path / "bank.npz") as expected:
        assert about["images"] == len(found["vectors"]) > 0 and about["dim"] == found["vectors"].shape[1]
        assert (found["paths"] == expected["paths"]).all() and (found["labels"] == expected["labels"]).all()
        assert np.allclose(found["vectors"], expected["vectors"], atol=1e-5)
    about, page = caller.predict(sent, encoder, True, 3, api_name="/map")
    commands.map(str(tiny_encoder), pictures, tmp_path / "map.html", seed=3, dots=True)
    assert 0 < about["trustworthiness"] <= 1
    assert len(Path(page).read_text()) == pytest.approx(len((tmp_path / "map.html").read_text()), rel=0.05)


@pytest.mark.parametrize("served", ["local"], indirect=True)
def test_fewshot_and_evaluate_give_what_the_commands_do(served, zipped, pictures, tiny_encoder):
    _, address = served
    caller = client.Client(address, verbose=False)
    sent, encoder = client.handle_file(zipped), client.handle_file(tiny_encoder)
    found = caller.predict(sent, encoder, 2, 1, 3, 40, "ridge", 5, api_name="/fewshot")
    asked = commands.fewshot(str(tiny_encoder), pictures, 2, 1, 3, 40, "ridge", seed=5)
    assert {k: found[k] for k in ("accuracy", "ci95", "episodes")} == {
        k: pytest.approx(asked[k], abs=1e-6) for k in ("accuracy", "ci95", "episodes")
    }
    found = caller.predict(sent, sent, encoder, "knn," * 40_000 + "knn", api_name="/evaluate")  # once
    assert found["knn"] == pytest.approx(commands.evaluate(str(tiny_encoder), pictures, pictures, "knn")["knn"])


def test_a_study_is_followed_and_its_encoder_fetched(served, zipped):
    """Every second how far it is; at the end the figures and a file that is an encoder."""
    work, address = served
    caller = client.Client(address, verbose=False)
    job = caller.submit(client.handle_file(zipped), "untrained", 0.05, "photos", 0, api_name="/pretrain")
    about, file = job.result()
    assert about["state"] == "done" and about["images"] > 0 and about["steps"] > 0
    assert len(job.outputs()) > 1 and job.outputs()[0][0]["state"] in ("starting", "running", "waiting")
    assert load_encoder(file).image_size == 64
    assert [run.name for run in (work.home / "runs").glob("by-program*")] == [] if work.public else [about["run"]]
    if work.public:
        return
    practised, file = caller.predict(
        client.handle_file(zipped), "photos-small", "clusters", "ridge", api_name="/metatrain"
    )
    assert practised["gain"] in (True, False) and load_encoder(file).image_size == 64


@pytest.mark.parametrize("served", ["shared"], indirect=True)
def test_a_study_that_nobody_waits_for_ends(served, zipped):
    work, address = served
    caller = client.Client(address, verbose=False)
    job = caller.submit(client.handle_file(zipped), "untrained", 2, "photos", 0, api_name="/pretrain")
    runs = work.home / "runs"
    until(lambda: (run := jobs.active_run(runs)) and run.status()["state"] == "running", "it runs", 60)
    job.cancel()
    until(lambda: not jobs.active_run(runs) and not work.line.waiting, "it has ended", 60)


@pytest.mark.parametrize("served", ["shared"], indirect=True)
def test_answers_are_the_callers_alone(served, zipped, tiny_encoder):
    work, address = served
    caller = client.Client(address, verbose=False, download_files=False)
    _, bank = caller.predict(client.handle_file(zipped), client.handle_file(tiny_encoder), api_name="/embed")
    url = f"{address}gradio_api/file={bank['path']}"

    def fetched(agent: str):
        with urllib.request.urlopen(urllib.request.Request(url, headers={"User-Agent": agent})) as answer:
            return answer.headers

    own = caller.headers["user-agent"]
    headers = fetched(own)
    assert headers["Content-Disposition"] == "attachment" and "sandbox" in headers["Content-Security-Policy"]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetched("somebody else")


def test_what_cannot_be_done_is_told_in_a_sentence(served, zipped, pictures, tiny_encoder, tmp_path):
    work, address = served
    caller = client.Client(address, verbose=False)
    sent = client.handle_file(zipped)
    for arguments, name, said in (
        ((sent, "/etc/passwd"), "/embed", "encoder"),
        ((sent, "", 2, 1, 3, 40, "nobody", 5), "/fewshot", "Choose one of"),
        ((sent, "", 2, 1, 3, 10**9, "ridge", 5), "/fewshot", "episodes is"),
        ((sent, sent, "", "magic"), "/evaluate", "Choose one of"),
        ((sent, "untrained", -1), "/pretrain", "minutes is"),
        ((sent, "untrained", 1, "songs"), "/pretrain", "Choose one of"),
        ((sent, "pixels"), "/metatrain", "nothing to practise with"),
    ):
        with pytest.raises(Exception, match=said) as raised:
            caller.predict(*arguments, api_name=name)
        assert str(tmp_path) not in str(raised.value) and "gradio/" not in str(raised.value), raised.value
    if work.public:
        for path in (str(pictures), "/etc", "~"):
            with pytest.raises(Exception, match="your own computer"):
                caller.predict(path, "", api_name="/embed")
        with pytest.raises(Exception, match="minutes is"):
            caller.predict(sent, "untrained", 10, api_name="/pretrain")
    else:
        about, _ = caller.predict(str(pictures), client.handle_file(tiny_encoder), api_name="/embed")
        assert about["images"] > 0
        with pytest.raises(Exception, match="no pictures at"):
            caller.predict("/nowhere", "", api_name="/embed")
        with pytest.raises(Exception, match="state_dict") as raised:  # a sentence of the command
            caller.predict(sent, api_name="/import")
        assert "gradio/" not in str(raised.value)


@pytest.mark.parametrize("sent", [None, 7, [], {"path": "/etc/passwd"}, "data:x", "\0", "a" * 100_000])
def test_anything_may_be_sent(local, sent):
    for read in (verbs.pictures_of, verbs.encoder_of, verbs.file_of):
        if read is verbs.encoder_of and sent is None:
            continue  # stands for the starter
        with pytest.raises(InputError):
            read(local, sent)


def test_a_call_that_takes_too_long_is_ended(local, zipped, tiny_encoder, monkeypatch):
    monkeypatch.setattr(verbs, "SECONDS", 0.1)
    with pytest.raises(InputError, match="longer than"):
        verbs.ran(local, "", "embed", [(str(tiny_encoder), ""), (str(zipped), "")], "bank.npz")


@pytest.mark.parametrize("served", ["shared"], indirect=True)
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_lines_for_curl_in_the_readme_work(served, zipped):
    _, address = served
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.search(r"```sh\n(PAGE=.*?)```", text, re.DOTALL).group(1)
    lines = lines.replace("http://127.0.0.1:7860/", address).replace("photos.zip", str(zipped))
    done = subprocess.run(["bash", "-euc", lines], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    about, bank = json.loads(done.stdout.split("data: ")[-1].strip())
    assert about["images"] > 0 and bank["path"].endswith("bank.npz")


def test_every_verb_can_be_called(local):
    demo = build(local, table("en"))
    assert {event.api_name for event in demo.fns.values() if event.api_visibility == "public"} == set(
        commands.VERBS
    ) - {"push"}
    endpoints.only_reading(demo)
    hidden = {event.api_name for event in demo.fns.values() if getattr(event.fn, "_mcp_type", "tool") != "tool"}
    assert hidden == set(endpoints.MAKING)


def test_a_path_names_a_file_on_ones_own_computer_alone(local, zipped, tmp_path):
    assert verbs.file_of(local, str(zipped)) == (str(zipped), str(zipped))
    for work in (Workspace(tmp_path / "shared", public=True), local):
        with pytest.raises(InputError):
            verbs.file_of(work, str(zipped) if work.public else str(tmp_path))
