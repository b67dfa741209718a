"""ui/endpoints.py: a program asks over HTTP and gets the answers of the page and of the command."""

import ast
import asyncio
import base64
import io
import json
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio")
pytest.importorskip("gradio_client")

import gradio_client as client
import httpx
import numpy as np
from conftest import scene
from PIL import Image, ImageDraw
from starlette.datastructures import Headers
from starlette.requests import Request
from visitor import serving

from byolmeta import commands
from byolmeta.decode import SHARED, Limits
from byolmeta.errors import InputError
from byolmeta.images import open_store
from byolmeta.ui import build, carry, endpoints, guard, launch_options, teach, verbs
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

WORDS = table("en")


def taught(work, pictures, tiny_encoder, name="local"):
    session = work.session(name)
    work.choose(session, pictures, "shapes")
    session.encoder = str(tiny_encoder)
    session.boxes["boxes"][0]["items"], session.boxes["boxes"][1]["items"] = [0, 1, 2], [12, 13]
    session.boxes["boxes"][0]["name"] = "bars"
    return session


@pytest.fixture
def served(tmp_path, pictures, tiny_encoder):
    """(workspace, session, address) of a page that is served."""
    work = Workspace(tmp_path / "home")
    session = taught(work, pictures, tiny_encoder)
    demo = build(work, WORDS)
    options = launch_options(work)
    _, address, _ = demo.queue().launch(**options, prevent_thread_lock=True, quiet=True, inbrowser=False)
    yield work, session, address
    demo.close()


def project_of(work, session):
    found = json.loads(carry.saved(work, WORDS, session, "project"))
    return next((work.home / "thumbs" / "exports").glob(f"*/{found['name']}"))


def test_programs_get_the_answers_of_the_page_and_of_the_command(served, pictures, tmp_path):
    import torch

    work, session, address = served
    files = sorted(pictures.rglob("*.png"))[3:12] + sorted(pictures.rglob("*.png"))[20:26]
    asked = [client.handle_file(path) for path in files]
    caller = client.Client(address, verbose=False)
    by_boxes = caller.predict(asked, None, api_name="/classify")
    project = project_of(work, session)
    by_project = caller.predict(asked, client.handle_file(project), api_name="/classify")
    page = teach.classifier_of(work, session, work.encoder(session)).sort(torch.from_numpy(work.bank(session)))
    paths = {str(path): row for row, path in enumerate(work.pictures(session).store.index.paths)}
    command = {row["path"]: row for row in commands.classify(str(project), images=pictures)["images"]}
    assert len(by_boxes) == len(by_project) == len(files)
    for path, one, other in zip(files, by_boxes, by_project, strict=True):
        name = path.relative_to(pictures).as_posix()
        row = paths[name]
        for found in (one, other):
            assert found["name"] == path.name
            assert found["label"] == ["bars", "Box 2"][page.label[row]] == command[name]["label"]
            assert found["score"] == pytest.approx(float(page.score[row]), abs=1e-3)
            assert found["score"] == pytest.approx(float(command[name]["score"]), abs=1e-3)
            assert found["none_of_these"] == (page.sure[row] == 0) == command[name]["none_of_these"]


def test_what_cannot_be_sorted_is_told_in_a_sentence(served, tmp_path):
    work, session, address = served
    caller = client.Client(address, verbose=False)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(Exception, match="picture"):
        caller.predict([client.handle_file(text)], None, api_name="/classify")
    with pytest.raises(Exception, match="1 to 500"):
        caller.predict([], None, api_name="/classify")
    session.boxes["boxes"][1]["items"] = []
    with pytest.raises(Exception, match="second box"):
        caller.predict([client.handle_file(next(work.source(session).rglob("*.png")))], None, api_name="/classify")


def test_the_endpoint_is_documented(served):
    _, _, address = served
    with urllib.request.urlopen(f"{address}gradio_api/info") as answer:
        named = json.load(answer)["named_endpoints"]
    assert set(named) == {f"/{verb}" for verb in commands.VERBS} - {"/push"}  # which needs the owner's own account
    assert [each["parameter_name"] for each in named["/classify"]["parameters"]] == ["images", "project"]
    for name, verb in named.items():
        assert verb["description"], name
        assert all(each["parameter_name"] and each["type"] for each in verb["parameters"]), name


@pytest.mark.parametrize("path", ["/etc/passwd", "", None, 7, "/etc/../etc/passwd"])
def test_only_files_that_were_sent_are_read(tmp_path, pictures, tiny_encoder, path):
    work = Workspace(tmp_path / "home")
    taught(work, pictures, tiny_encoder)
    with pytest.raises(InputError, match="did not arrive"):
        endpoints.classified(work, [{"path": path, "meta": {"_type": "gradio.FileData"}}], None)
    for images in (None, "x", {}, [], [{}] * 501):
        with pytest.raises(InputError, match="1 to 500"):
            endpoints.classified(work, images, None)


def test_a_shared_computer_needs_a_project(tmp_path, monkeypatch):
    monkeypatch.setattr(verbs, "received_file", lambda file: ("x.png", "x.png"))
    with pytest.raises(InputError, match="project"):
        endpoints.classified(Workspace(tmp_path / "home", public=True), [{"path": "x.png"}], None)


def test_an_encoder_for_large_pictures_is_refused_on_a_shared_computer(tmp_path, pictures, monkeypatch):
    """By programs and on the page, before a picture is decoded for it."""
    work = Workspace(tmp_path / "home", public=True)
    made = SimpleNamespace(image_size=512)
    monkeypatch.setattr(verbs, "received_file", lambda file: ("x.png", "x.png"))
    monkeypatch.setattr(endpoints, "_opened", lambda work, path: (made, None))
    with pytest.raises(InputError, match="it must be 4 to 256"):
        endpoints.classified(work, [{"path": "x.png"}], {"path": "x.byolmeta"})
    for limits, size in ((SHARED, 512), (Limits(), 2048)):
        with pytest.raises(InputError, match=f"{size}; it must be 4 to {limits.side}"):
            open_store(pictures, tmp_path / "stores", size, limits=limits)
    assert not list(tmp_path.rglob("pixels.npy"))


def drawn_boxes(folder: Path) -> tuple[dict, list[Path], list[Path]]:
    """A COCO-style object, the two pictures it is drawn on, and three others."""
    files, notes = [], []
    for seed in range(5):
        image, boxes = scene(seed, "ring cross")
        files.append(folder / f"{seed}.png")
        image.save(files[-1])
        left, top, right, bottom = boxes[0]
        notes.append({"image_id": seed, "category_id": 7, "bbox": [left, top, right - left, bottom - top]})
    images = [{"id": seed, "file_name": files[seed].name} for seed in range(2)]
    return {"images": images, "annotations": notes[:2], "categories": [{"id": 7, "name": "ring"}]}, files[:2], files[2:]


def test_detect_answers_as_the_command_does(served, tmp_path):
    work, session, address = served
    asked, shown = tmp_path / "asked", tmp_path / "shown"
    asked.mkdir(), shown.mkdir()
    boxes, examples, others = drawn_boxes(shown)
    for path in others:
        path.rename(asked / path.name)
    (shown / "boxes.json").write_text(json.dumps(boxes))
    caller = client.Client(address, verbose=False)
    images = [client.handle_file(path) for path in sorted(asked.iterdir())]
    shows = [client.handle_file(path) for path in examples]
    by_program = caller.predict(images, shows, boxes, "photos-small", 0.05, api_name="/detect")
    commands.detect("photos-small", shown / "boxes.json", asked, tmp_path / "found.json", 0.05)
    by_command = json.loads((tmp_path / "found.json").read_text())
    assert by_program and by_program == by_command
    with pytest.raises(Exception, match="not among the examples"):
        caller.predict(images, shows[:1], boxes, "", 0.05, api_name="/detect")
    with pytest.raises(Exception, match="Name one of these"):
        caller.predict(images, shows, boxes, "/etc/passwd", 0.05, api_name="/detect")
    with pytest.raises(Exception, match="no boxes of things"):
        caller.predict(images, shows, boxes | {"annotations": []}, "", 0.05, api_name="/detect")


def test_segment_answers_as_the_command_does(served, tmp_path):
    work, session, address = served
    for name in ("images", "masks", "asked"):
        (tmp_path / name).mkdir()
    for seed in range(4):
        image, boxes = scene(seed, "ring cross")
        place = "images" if seed < 2 else "asked"
        image.save(tmp_path / place / f"{seed}.png")
        mask = Image.new("L", image.size)
        ImageDraw.Draw(mask).ellipse(boxes[0], fill=9)
        if seed < 2:
            mask.save(tmp_path / "masks" / f"{seed}.png")
    sent = {
        name: [client.handle_file(path) for path in sorted((tmp_path / name).iterdir())]
        for name in ("images", "masks", "asked")
    }
    caller = client.Client(address, verbose=False)
    found = caller.predict(sent["asked"], sent["images"], sent["masks"], None, "photos-small", api_name="/segment")
    commands.segment("photos-small", tmp_path, tmp_path / "asked", tmp_path / "out")
    assert [one["file_name"] for one in found] == ["2.png", "3.png"]
    for one in found:
        mask = Image.open(io.BytesIO(base64.b64decode(one["mask"])))
        assert (np.asarray(mask) == np.asarray(Image.open(tmp_path / "out" / "masks" / one["file_name"]))).all()
        assert one["shares"] == {"9": pytest.approx(float((np.asarray(mask) == 9).mean()))} and one["shares"]["9"] > 0
    tagged = caller.predict(sent["asked"], sent["images"], None, ["ring", "none"], "photos-small", api_name="/segment")
    assert [set(one["shares"]) for one in tagged] == [{"ring"}, {"ring"}]
    with pytest.raises(Exception, match="a word for each"):
        caller.predict(sent["asked"], sent["images"], None, ["ring"], "", api_name="/segment")


def data_url(image: Image.Image) -> str:
    packed = io.BytesIO()
    image.save(packed, "PNG")
    return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()


def test_agents_get_the_same_answers_by_mcp(tmp_path):
    """The MCP Python client over HTTP: the tools there are, and boxes as the command finds them."""
    mcp = pytest.importorskip("mcp", reason="the library mcp is not installed")
    from mcp.client.streamable_http import streamablehttp_client

    work = Workspace(tmp_path / "home")
    demo = build(work, WORDS)
    endpoints.only_reading(demo)
    _, address, _ = demo.queue().launch(
        **launch_options(work), mcp_server=True, prevent_thread_lock=True, quiet=True, inbrowser=False
    )
    shown, asked = scene(0, "ring cross"), scene(1, "ring cross")
    left, top, right, bottom = shown[1][0]
    boxes = {"images": [{"id": 1, "file_name": "0"}], "categories": [{"id": 1, "name": "ring"}],
             "annotations": [{"image_id": 1, "category_id": 1, "bbox": [left, top, right - left, bottom - top]}]}  # fmt: skip
    call = {"images": [data_url(asked[0])], "examples": [data_url(shown[0])], "boxes": boxes, "threshold": 0.1}

    async def asking():
        async with streamablehttp_client(f"{address}gradio_api/mcp/") as (read, write, _):
            async with mcp.ClientSession(read, write) as session:
                await session.initialize()
                tools = {tool.name for tool in (await session.list_tools()).tools}
                answers = [
                    await session.call_tool("detect", call | more)
                    for more in ({}, {"boxes": {}}, {"images": ["data:x"]})
                ]
                return tools, answers

    def called(verb: str) -> int:
        """The status of a bare call of a tool by its name, whether it is listed or not."""
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": verb, "arguments": {}}}
        kinds = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        return httpx.post(f"{address}gradio_api/mcp/", json=asked, headers=kinds, timeout=60).status_code

    try:
        tools, (found, *refused) = asyncio.run(asking())
        statuses = {verb: called(verb) for verb in ("pretrain", "metatrain", "export", "import_encoder", "map")}
    finally:
        demo.close()
    assert statuses == {"pretrain": 404, "metatrain": 404, "export": 404, "import_encoder": 404, "map": 200}
    assert tools == {"classify", "detect", "segment", "embed", "map", "fewshot", "evaluate"}
    shown[0].save(tmp_path / "0.png")
    (tmp_path / "asked").mkdir()
    asked[0].save(tmp_path / "asked" / "0.png")
    boxes["images"][0]["file_name"] = "0.png"
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    commands.detect("photos-small", tmp_path / "boxes.json", tmp_path / "asked", tmp_path / "found.json", 0.1)
    expected = [one | {"file_name": "0"} for one in json.loads((tmp_path / "found.json").read_text())]
    assert expected and ast.literal_eval(found.content[0].text) == expected
    assert all(answer.isError for answer in refused)
    assert "no list of images" in refused[0].content[0].text and "without base64" in refused[1].content[0].text


def test_agents_behind_a_proxy_are_answered_by_a_shared_computer(tmp_path, monkeypatch):
    """Each agent's calls are its own: what was made for one, and nobody else, may be fetched by it."""
    mcp = pytest.importorskip("mcp", reason="the library mcp is not installed")
    from mcp.client.streamable_http import streamablehttp_client

    asked = []
    monkeypatch.setattr(endpoints, "ran", lambda work, caller, *_: asked.append(caller) or ({}, None))
    with serving(tmp_path / "home", public=True, mcp_server=True) as (_, _, address):

        async def asking(headers: dict):
            async with streamablehttp_client(f"{address}/gradio_api/mcp/", headers=headers) as (read, write, _):
                async with mcp.ClientSession(read, write) as session:
                    await session.initialize()
                    return await session.call_tool("embed", {"pictures": "data:;base64,AAAA"})

        agents = [{"X-Forwarded-For": f"1.2.3.{n}", "User-Agent": "agent"} for n in range(2)]
        answers = [asyncio.run(asking(headers)) for headers in [*agents, {"Cookie": f"byolmeta={'ab' * 16}"}]]
    assert not any(answer.isError for answer in answers), answers
    owners = [guard.owner_of(Request({"type": "http", "headers": Headers(each).raw})) for each in agents]
    assert asked == [*owners, "ab" * 16]
