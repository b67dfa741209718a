"""hub.py against a small stand-in of the Hub's endpoints: what is pushed is what is fetched, and refusals are sentences."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
import torch
from torchvision.models import resnet

from byolmeta import hub
from byolmeta.encoder import load_encoder
from byolmeta.errors import InputError
from byolmeta.files import read_card


class Hub(BaseHTTPRequestHandler):
    """Repositories in memory: {name: {file: bytes}}. Names of 'other' may not be written."""

    repositories: dict[str, dict[str, bytes]] = {}

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.partition("?")[0]
        if self.headers.get("Authorization") != "Bearer secret":
            return self.answer(401, {"error": "no"})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            wanted = json.loads(data)
            name = f"{wanted.get('organization') or 'ada'}/{wanted['name']}"
            if name.startswith("other/"):
                return self.answer(403, {"error": "not yours"})
            self.repositories.setdefault(name, {})
            return self.answer(200, {"url": f"http://{self.headers['Host']}/{name}", "name": name})
        _, _, _, owner, name, what, *_ = path.split("/")
        files = self.repositories[f"{owner}/{name}"]
        if what == "preupload":
            asked = json.loads(data)["files"]
            return self.answer(
                200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]}
            )
        for line in map(json.loads, data.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        self.answer(
            200,
            {
                "commitUrl": f"http://{self.headers['Host']}/{owner}/{name}/commit/1",
                "commitOid": "1" * 40,
                "success": True,
            },
        )

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts = self.path.partition("?")[0].strip("/").split("/")
        repository, name = "/".join(parts[:2]), "/".join(parts[4:])
        if repository not in self.repositories:
            return self.answer(404, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})
        if name not in self.repositories[repository]:
            return self.answer(404, {"error": "no"}, {"X-Error-Code": "EntryNotFound"})
        data = self.repositories[repository][name]
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": "1" * 40}
        self.answer(200, data, headers)

    def answer(self, status, body, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    """The address of a stand-in with no repositories."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr(Hub, "repositories", {})
    yield address
    server.shutdown()
    server.server_close()


def test_what_is_pushed_is_what_is_fetched(endpoint, tiny_encoder, tmp_path):
    found = hub.push(tiny_encoder, "ada/tiny")
    assert found["repository"] == "ada/tiny" and found["bytes"] == tiny_encoder.stat().st_size
    assert Hub.repositories["ada/tiny"]["encoder.safetensors"] == tiny_encoder.read_bytes()
    readme = Hub.repositories["ada/tiny"]["README.md"].decode()
    assert readme.startswith("---\nlibrary_name: byolmeta") and "conv4, pictures of 16 pixels" in readme
    assert "hub:ada/tiny" in readme
    path = hub.fetch("hub:ada/tiny", tmp_path / "encoders")
    assert path.read_bytes() == tiny_encoder.read_bytes() and load_encoder(path).architecture == "conv4"


def test_a_command_takes_an_encoder_of_the_hub(endpoint, tiny_encoder, pictures, tmp_path, monkeypatch):
    from byolmeta import commands

    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path))
    commands.push(str(tiny_encoder), "ada/tiny")
    found = commands.embed("hub:ada/tiny", pictures, tmp_path / "bank.npz")
    assert found["images"] == 36 and (tmp_path / "encoders" / "hub").exists()


def test_a_card_cannot_break_out_of_its_table(tiny_encoder):
    card = read_card(tiny_encoder) | {"trained_on": "a|b\n<script>x</script>", "licence": "[x](y)"}
    text = hub.model_card(card, "ada/tiny")
    assert "<script>" not in text and "\\<script\\>" in text and "a\\|b \\<" in text and "\\[x\\]" in text


@pytest.mark.parametrize(
    "name, said",
    [
        ("hub:ada/none", "no repository 'ada/none'"),
        ("hub:ada/empty", "has no encoder.safetensors"),
        ("hub:ada/wrong", "not an encoder file"),
        ("hub:ada", "not of the form"),
        ("hub:ada/a b", "cannot be a name"),
        ("torchvision:vit", "torchvision:resnet18 or torchvision:resnet50"),
    ],
)
def test_what_cannot_be_fetched_is_told(endpoint, name, said, tmp_path):
    Hub.repositories |= {"ada/empty": {}, "ada/wrong": {"encoder.safetensors": b"something else"}}
    with pytest.raises(InputError, match=said):
        hub.fetch(name, tmp_path / "encoders")


def test_what_cannot_be_pushed_is_told(endpoint, tiny_encoder, monkeypatch):
    with pytest.raises(InputError, match="does not let you write"):
        hub.push(tiny_encoder, "other/tiny")
    with pytest.raises(InputError, match="OWNER/NAME"):
        hub.push(tiny_encoder, "tiny")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(InputError, match="no token"):
        hub.push(tiny_encoder, "ada/tiny")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "wrong")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(InputError, match="401"):
        hub.push(tiny_encoder, "ada/tiny")
    assert Hub.repositories == {}


def test_without_internet_there_is_a_sentence(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "secret")
    with pytest.raises(InputError, match="cannot reach the Hub"):
        hub.fetch("hub:ada/tiny", tmp_path / "encoders")
    with pytest.raises(InputError, match="cannot reach the Hub"):
        hub.push(tiny_encoder, "ada/tiny")

    def no_internet(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_internet)
    with pytest.raises(InputError, match="cannot reach torchvision's weights"):
        hub.fetch("torchvision:resnet18", tmp_path / "encoders")


def test_torchvisions_weights_are_fetched_once_and_kept(tmp_path, monkeypatch):
    asked = []
    state = resnet.resnet18().state_dict()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **_: asked.append(url) or state)
    for _ in range(2):
        path = hub.fetch("torchvision:resnet18", tmp_path / "encoders")
    encoder = load_encoder(path)
    assert (
        len(asked) == 1 and "resnet18" in asked[0] and (encoder.architecture, encoder.image_size) == ("resnet18", 224)
    )


def test_timm_is_an_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="pip install timm"):
        hub.fetch("timm:resnet18", tmp_path / "encoders")
