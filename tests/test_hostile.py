"""Files, names and values that mean harm: each gets a sentence, costs little, writes nothing elsewhere, and the app lives on.

The files are those of hostile.py; what each costs in seconds and memory is in benchmarks/results/attacks.json. Whether
readers and endpoints stand what nobody thought of is asked by chance: BYOLMETA_FUZZ=50 asks fifty times as much.
"""

import csv
import json
import os
import random
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import NAMES, OUTSIDE, encoded, files, png, scans, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save
from visitor import API, Visitor, serving

from byolmeta import jobs
from byolmeta.classifier import teach
from byolmeta.commands import write_csv
from byolmeta.decode import Limits
from byolmeta.encoder import load_encoder
from byolmeta.errors import InputError
from byolmeta.features import embed
from byolmeta.files import read_card
from byolmeta.foreign import read_tensors
from byolmeta.images import read_image
from byolmeta.learners import LEARNERS
from byolmeta.locate import read_boxes
from byolmeta.project import BYTES, PICTURE_BYTES, open_project, save_project
from byolmeta.runs import Run
from byolmeta.scan import scan
from byolmeta.tidy import load_decisions
from byolmeta.ui import pictures as step
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Session, Workspace

WORDS = table("en")
TIMES = int(os.environ.get("BYOLMETA_FUZZ", "1"))
FUZZ = settings(
    max_examples=40 * TIMES, deadline=None, database=None, derandomize=TIMES == 1,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
LIMITS = Limits(100, 5_000_000, 1_000_000, 20_000_000, 5)
BAD = {name: found for name, found in files().items()}
ZIPS = {
    "zip slip": ("4 pictures ready", "points outside of the zip"),
    "links in a zip": ("4 pictures ready", "It is a link"),
    "zip bomb": ("unpacks to more than 1.0 GB",),
    "zip bomb that lies": ("4 pictures ready", "damaged or packed in an unknown way"),
    "zip that overlaps": ("unpacks to more than 1.0 GB",),
    "zip in a zip": ("4 pictures ready", "archive inside"),
    "zip of 60,000 files": ("has no pictures",),
    "cut zip": ("not a zip that can be read",),
    "not a zip": ("not a zip that can be read",),
    "twins in a zip": ("7 pictures ready", "two files of this name"),
    "names in a zip": ("pictures ready", "points outside of the zip"),
}


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("hostile") / "home", public=True) as found:
        yield found


def report(public, visitor: Visitor) -> str:
    """What the page says of a visitor's pictures."""
    work, demo, _ = public
    return step.report_card(work.pictures(work.session(visitor.name(work, demo))), WORDS)


def elsewhere(work) -> set[Path]:
    """Files where an unpacked name might have led."""
    places = [Path(OUTSIDE), work.home.parent / "out.png"]
    return {path for path in (*places, *work.home.glob("*.png"), *work.home.glob("uploads/*.png")) if path.exists()}


# Files


@pytest.mark.parametrize("name", ZIPS)
def test_a_hostile_zip_gets_a_sentence(public, name):
    visitor = Visitor(public[2])
    file, data = BAD[name]
    told = json.dumps(visitor.event("drop", "received", sent={"files": visitor.upload({file: data})}))
    if any("ready" in part for part in ZIPS[name]):
        told = report(public, visitor)
    for part in ZIPS[name]:
        assert part in told
    assert not elsewhere(public[0]) and Visitor(public[2]).status("/config") == 200


def test_hostile_pictures_cost_only_themselves(public):
    visitor = Visitor(public[2])
    bad = {file: data for name, (file, data) in BAD.items() if name not in ZIPS}
    sent = visitor.upload(bad | {f"good{n}.png": png(n) for n in range(4)})
    visitor.event("drop", "received", sent={"files": sent})
    shown = report(public, visitor)
    assert "5 pictures ready" in shown  # the wide one is within the limits
    for part in ("too many pixels", "damaged or cut off", "is empty", "not a picture that can be read", "layers"):
        assert part in shown
    assert all(file in shown for file in bad if file != "wide.png")


def test_a_jpeg_of_many_layers_is_not_begun():
    with pytest.raises(InputError, match="layers; the limit is 64"):
        read_image(scans(100, 64), 16)
    assert read_image(encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True), 16).shape == (3, 16, 16)


def test_pictures_that_take_too_long_together_are_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(step, "PUBLIC_SECONDS", -1)
    work = Workspace(tmp_path / "home", public=True)
    monkeypatch.setattr(step, "received_files", lambda files: files)
    (tmp_path / "a.png").write_bytes(png())
    with pytest.raises(InputError, match="After -1 seconds"):
        step.choose_upload(work, WORDS, Session("a" * 32), [(str(tmp_path / "a.png"), "a.png")], lambda *_: None)
    assert not list((work.home / "uploads").rglob("*.png")) and not list(work.home.rglob("pixels.npy"))


def test_odd_names_are_text_everywhere(public):
    """A folder of pictures whose names are not nice: on the page, on disk, in the lists to take along."""
    visitor, work = Visitor(public[2]), public[0]
    sent = visitor.upload({f"{n}.png": png(n) for n in range(len(NAMES))})
    for part, name in zip(sent, NAMES.values(), strict=True):
        part["name"] = f"mine/{name}"
    visitor.event("drop", "received", sent={"files": sent})
    session = work.session(visitor.name(work, public[1]))
    found = work.pictures(session)
    assert len(found.store) + len(found.store.index.skipped) >= len(NAMES) - 2  # but for the hidden ones
    base = Path(session.source).resolve()
    assert all(path.resolve().is_relative_to(base) for path in base.rglob("*")) and not elsewhere(work)
    about = visitor.web.get(found.sheets["about"])
    assert about.headers["content-type"] == "application/json" and len(about.json()["names"]) == len(found.store)
    shown = report(public, visitor)
    assert "<img src=x" not in shown and "${" not in shown and "{{" not in shown and "<script>" not in shown


@pytest.mark.parametrize("name", NAMES)
def test_lists_are_safe_in_a_spreadsheet(tmp_path, name):
    text = NAMES[name].encode("utf-8", "replace").decode()
    for value in (text, "\t" + text, "\n=1", "@SUM(1)", "-1+1", "+1", "=1"):
        write_csv(tmp_path / "list.csv", [{"path": value, "score": 0.5, "none": True}])
        with open(tmp_path / "list.csv", encoding="utf-8-sig", newline="") as file:
            raw = file.read()
        row = list(csv.DictReader(raw.splitlines(keepends=True)))[0]
        assert row["path"].lstrip("'") == value.lstrip("'") and not row["path"].startswith(tuple("=+-@\t\r\n＝＋－＠"))
        assert raw.splitlines()[0] == '"path","score","none"' and '"' + row["path"].replace('"', '""') + '"' in raw


def test_pictures_that_arrive_one_by_one_are_bounded_too(public):
    """On a box, on the map, from the camera, from a program: decoded in the page's own process."""
    visitor, work = Visitor(public[2]), public[0]
    bad = {file: data for name, (file, data) in BAD.items() if name not in ZIPS and file != "wide.png"}
    sent = visitor.upload(bad)
    told = visitor.event("board", "dropfiles", sent={"box": None, "files": sent})[-1]
    assert not told["success"] and work.session(visitor.name(work, public[1])).extras == 0
    for part in sent:
        asked = {"path": part["path"], "meta": {"_type": "gradio.FileData"}}
        event = visitor.web.post(f"{API}/call/classify", json={"data": [[asked], None]}).json()["event_id"]
        answer = visitor.web.get(f"{API}/call/classify/{event}").text
        assert "event: error" in answer and "project" in answer


# Encoders and projects


def safetensors(header: bytes, size: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header) if size is None else size) + header + data


CARD = json.dumps({"card": json.dumps({"format": 1, "architecture": "conv4", "image_size": 16})})
HEADERS = {
    "longer than the file": safetensors(b"{}", 2**40),
    "of all memory": safetensors(b"{}", 2**64 - 1),
    "of blanks": safetensors(b" " * 20_000_000),
    "deep": safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "of many tensors": safetensors(
        json.dumps({f"t{n}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)}).encode()
    ),
    "of a tensor without end": safetensors(
        f'{{"__metadata__":{CARD},"encoder.x":{{"dtype":"F32","shape":[99999999,99999999],"data_offsets":[0,4]}}}}'.encode(), None, b"1234"
    ),
    "of a tensor below zero": safetensors(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[4,0]}}', None, b"1234"),
    "with foreign keys": safetensors(f'{{"__metadata__":{CARD},"../../a":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}'.encode(), None, b"1"),
    "that is a list": safetensors(b"[]"),
    "that is no text": safetensors(b"\xff\xfe\xfd"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_lies_is_refused(tmp_path, name):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(HEADERS[name])
    with pytest.raises(InputError):
        load_encoder(path)
    if name not in ("of many tensors", "with foreign keys"):  # whole files, of other things
        with pytest.raises(InputError):
            read_tensors(path)


def test_a_readout_wider_than_its_network_is_refused(tiny_encoder, tmp_path):
    """It would make vectors of as many numbers for every picture of a visitor."""
    tensors, card = load_file(tiny_encoder), read_card(tiny_encoder)
    width = load_encoder(tiny_encoder).pooled(torch.zeros(1, 3, 16, 16)).shape[1]
    path = tmp_path / "wide.safetensors"
    for directions in (width, width + 1):
        tensors |= {"readout.mean": torch.zeros(width), "readout.matrix": torch.ones(width, directions)}
        path.write_bytes(save(tensors, metadata={"card": json.dumps(card)}))
        if directions == width:
            load_encoder(path)
            continue
        with pytest.raises(InputError, match="readout"):
            load_encoder(path)


@pytest.fixture(scope="module")
def project(store, tiny_encoder, tmp_path_factory) -> bytes:
    """A project file as this version writes it."""
    vectors, support = torch.from_numpy(embed(load_encoder(tiny_encoder), store.pixels)), np.array([0, 1, 12, 13])
    made = teach(LEARNERS["prototype"](), vectors, support, store.labels[support], store.class_names[:2])
    path = tmp_path_factory.mktemp("project") / "a.byolmeta"
    save_project(path, tiny_encoder, made, ["a"] * 4, np.array(store.pixels[support]))
    return path.read_bytes()


@pytest.mark.parametrize("part", ["project.json", "encoder.safetensors", "task.safetensors", "pictures/0.png"])
def test_a_project_whose_part_is_a_bomb_is_refused_before_it_is_unpacked(project, tmp_path, part):
    path, made = tmp_path / "a.byolmeta", tmp_path / "b.byolmeta"
    path.write_bytes(project)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, bytes(BYTES.get(part, PICTURE_BYTES) + 1) if name == part else source.read(name))
    with pytest.raises(InputError, match="larger than"):
        open_project(made, tmp_path / "encoders")
    assert not list(tmp_path.glob("encoders/*"))


# By chance


@st.composite
def damaged(draw, sound: list[bytes]) -> bytes:
    """A sound file with some bytes changed, cut out, doubled, or its end lost."""
    data = bytearray(draw(st.sampled_from(sound)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["byte", "bytes", "cut", "double", "end", "number"]))
        if kind == "byte":
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "bytes":
            data[at : at + 4] = draw(st.binary(min_size=0, max_size=12))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "double":
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
        elif kind == "number":
            data[at : at + 4] = struct.pack(
                draw(st.sampled_from("<>")) + "I", draw(st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1]))
            )
        else:
            del data[at:]
    return bytes(data)


def picture_files() -> list[bytes]:
    image = Image.open(__import__("io").BytesIO(png(3)))
    forms = [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("PPM", {}),
    ]
    forms += [("TIFF", {"compression": kind}) for kind in (None, "tiff_lzw", "tiff_deflate", "jpeg")]
    return [encoded(image.convert("P") if form == "GIF" else image, form, **more) for form, more in forms]


@FUZZ
@given(data=damaged(picture_files()))
def test_any_picture_is_read_or_refused(data):
    try:
        found = read_image(data, 16, LIMITS)
    except InputError as problem:
        assert str(problem).endswith(".")
    else:
        assert found.shape == (3, 16, 16) and found.dtype == np.uint8


def read_or_refused(read, data: bytes, name: str) -> None:
    """The reader gives something, or a sentence; and writes nothing beside its own folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        try:
            read(path)
        except InputError as problem:
            assert str(problem)
        assert {each.name for each in Path(folder).iterdir()} <= {name, "out"}


@FUZZ
@given(
    data=damaged(
        [
            zipped({"a/1.png": png(1), "b/2.png": png(2)}),
            zipped({"a.png": png()}, zipfile.ZIP_STORED),
            BAD["twins in a zip"][1],
        ]
    )
)
def test_any_zip_is_read_or_refused(data):
    read_or_refused(lambda path: scan(path, LIMITS).index(), data, "a.zip")


@FUZZ
@given(data=st.data())
def test_any_project_is_opened_or_refused(project, data):
    read_or_refused(lambda path: open_project(path, path.parent / "out"), data.draw(damaged([project])), "a.byolmeta")


@FUZZ
@given(data=st.data())
def test_any_encoder_is_loaded_or_refused(tiny_encoder, data):
    found = data.draw(damaged([tiny_encoder.read_bytes()[:4000], tiny_encoder.read_bytes()]))
    read_or_refused(load_encoder, found, "a.safetensors")
    read_or_refused(read_tensors, found, "a.safetensors")
    read_or_refused(read_tensors, found, "a.pt")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([2**70, "../..", "nan"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
COCO = {"images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9}], "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}]}  # fmt: skip


@st.composite
def altered(draw, sound) -> object:
    """A JSON value with one or two of its parts replaced by any other."""
    found = json.loads(json.dumps(sound))
    for _ in range(draw(st.integers(1, 2))):
        place = found
        while isinstance(place, (dict, list)) and place:
            key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
            if not isinstance(place[key], (dict, list)) or draw(st.booleans()):
                place[key] = draw(VALUES)
                break
            place = place[key]
    return found


@FUZZ
@given(value=altered(COCO))
def test_any_boxes_are_read_or_refused(value):
    def read(path: Path) -> None:
        (path.parent / "out").write_bytes(b"")
        read_boxes(path)

    read_or_refused(read, json.dumps(value).encode(), "boxes.json")


@FUZZ
@given(value=VALUES, name=st.sampled_from(["status.json", "config.json", "metrics.jsonl"]))
def test_any_run_folder_is_read(value, name):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_text(json.dumps(value) + "\n")
        run = Run(folder)
        assert isinstance(run.status()["state"], str) and isinstance(run.metrics(), list)
        try:
            assert isinstance(run.config(), dict)
        except InputError:
            pass


@FUZZ
@given(value=VALUES)
def test_any_saved_session_and_decisions_are_read(value):
    with tempfile.TemporaryDirectory() as folder:
        work = Workspace(Path(folder))
        for kept in (value, {"boxes": value}, {"names": value, "count": value}, {"kept": value, "source": value}):
            (work.home / "projects" / "local.json").write_text(json.dumps(kept))
            work.sessions.clear()
            assert len(work.session("local").boxes["boxes"]) >= 0
            work.save(work.session("local"))
        (work.home / "decisions.json").write_text(json.dumps(value))
        load_decisions(work.home)


ODD = [None, True, -1, 0, 1.5, 1e308, 2**70, "", "x" * 3000, "../../etc/passwd", "${1}", "\ud800", [], {}, [[[]]], [None] * 2000,
       {"path": "/etc/passwd"}, {"path": 7}, {"boxes": [{}], "rev": 1}, {"boxes": [{"id": "a", "name": [], "items": ["x"]}], "rev": 0},
       {"__type__": "update"}, "local", "untrained:/etc", "nan"]  # fmt: skip
FIELDS = [
    "files",
    "box",
    "indices",
    "key",
    "id",
    "rev",
    "boxes",
    "data",
    "seq",
    "kind",
    "x",
    "y",
    "what",
    "row",
    "act",
    "target",
]


@pytest.mark.parametrize("turn", range(TIMES))
def test_every_event_of_the_page_stands_any_value(public, monkeypatch, capfd, turn):
    """Of the page's own and of the named endpoints: wrong types, sizes and shapes end in a sentence, never in a fault."""
    monkeypatch.setattr(jobs, "start", lambda run, resume=False: run.set_status("done", step=0))
    chance, visitor = random.Random(turn), Visitor(public[2])
    visitor.first()
    faults = []
    for found in visitor.web.get("/config").json()["dependencies"]:
        follows = all(target[1] == "then" for target in found["targets"]) and len(found["inputs"]) < 2
        if not found["backend_fn"] or follows:  # what follows another event is given the visitor's name alone
            continue
        data = [chance.choice(ODD) for _ in found["inputs"]]
        sent = chance.choice([chance.choice(ODD), {name: chance.choice(ODD) for name in FIELDS}])
        last = visitor.join({"data": data, "fn_index": found["id"], "event_data": sent})[-1]
        if last["msg"] == "refused" and last["status"] < 500:
            continue
        if last["msg"] != "process_completed" or WORDS["bug"] in json.dumps(last):
            faults.append((found["id"], found["targets"], data, sent, last))
    assert not faults
    assert "Exception in ASGI" not in capfd.readouterr().err and Visitor(public[2]).status("/config") == 200


@pytest.fixture(scope="module")
def program(public):
    return Visitor(public[2], cookies=False).web


ALONE = {"Content-Type": "application/json", "Connection": "close"}  # one refused unread ends its connection
BODIES = {
    "nothing": b"", "no JSON": b"{", "a list": b"[]", "a number": b"1" * 5000, "deep": b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "too long": b'{"data": "' + b"x" * (9 << 20) + b'"}', "other letters": '{"data": []}'.encode("utf-32"), "no letters": b"\xff\xfe\x00",
    "not a number": b'{"data": [NaN, Infinity], "fn_index": 0}', "hash of another type": b'{"data": [], "session_hash": {"a": 1}}',
    "long hash": b'{"data": [], "session_hash": "' + b"x" * 5000 + b'"}',
    "number below zero": b'{"data": [], "fn_index": -5, "session_hash": "q"}',
    "no such event": b'{"data": [], "fn_index": 99999, "session_hash": "q"}',
    "batched": b'{"data": [[1]], "fn_index": 0, "batched": true, "session_hash": "q"}',
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("path", ["queue/join", "call/v2/classify", "cancel"])
def test_a_body_that_is_no_request_is_refused(public, program, path, body):
    answer = program.post(f"{API}/{path}", content=BODIES[body], headers=ALONE)
    assert answer.status_code in (200, 400, 404, 413, 422, 500)
    assert len(answer.content) < 20_000 and "Traceback" not in answer.text and "site-packages" not in answer.text


def test_a_slow_body_is_given_up(public, monkeypatch):
    import socket

    from byolmeta.ui import guard

    monkeypatch.setattr(guard, "READ_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", int(public[2].rpartition(":")[2]))) as line:
        line.sendall(f"POST {API}/queue/join HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
        line.settimeout(30)
        assert line.recv(100).startswith(b"HTTP/1.1 408")
