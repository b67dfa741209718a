"""apart.py: pictures that come one by one, decoded in a process of their own that stays."""

import base64
import os
import signal
import threading
import time

import numpy as np
import pytest
from conftest import draw_pictures
from hostile import png
from PIL import Image

from byolmeta import apart, images
from byolmeta.decode import Limits
from byolmeta.errors import InputError

LIMITS = Limits(pixels=2_000_000, seconds=20)


def test_a_picture_is_the_same_as_in_this_process(tmp_path):
    files = sorted(draw_pictures(tmp_path / "drawn").rglob("*.png"))[:6]
    turned = Image.fromarray(np.arange(40 * 30 * 3, dtype=np.uint8).reshape(30, 40, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    for path in [*files, tmp_path / "turned.jpg"]:
        assert (apart.square(path, 24, LIMITS) == images.read_image(path, 24, LIMITS)).all()
        assert (apart.square(path.read_bytes(), 24, LIMITS) == images.read_image(path, 24, LIMITS)).all()


def test_the_process_stays_and_what_cannot_be_read_is_told():
    for data, said in ((b"", "empty"), (b"no picture", "not a picture"), (png(1)[:60], "damaged")):
        with pytest.raises(InputError, match=said):
            apart.square(data, 24, LIMITS)
    one = apart._process(24, LIMITS).feeder.process
    apart.square(png(2), 24, LIMITS)
    assert apart._process(24, LIMITS).feeder.process is one and one.poll() is None


def test_a_process_that_dies_or_hangs_costs_that_picture(monkeypatch):
    limits = Limits(pixels=2_000_001, seconds=3)
    whole = apart.square(png(3), 24, limits)
    process = apart._process(24, limits).feeder.process
    os.kill(process.pid, signal.SIGSTOP)  # as one that never ends
    with pytest.raises(InputError, match="longer than 3 seconds"):
        apart.square(png(3), 24, limits)
    assert (apart.square(png(3), 24, limits) == whole).all()
    feeder = apart._process(24, limits).feeder
    decode = feeder.decode

    def dies(batch):
        feeder.process and feeder.process.kill()
        return decode(batch)

    monkeypatch.setattr(feeder, "launch", lambda launch=feeder.launch: _dying(launch()))
    monkeypatch.setattr(feeder, "decode", dies)
    with pytest.raises(InputError, match="crashed"):
        apart.square(png(3), 24, limits)
    monkeypatch.undo()
    feeder.stop()
    assert (apart.square(png(3), 24, limits) == whole).all()


def test_a_process_that_hangs_with_its_first_picture_is_ended_too(monkeypatch):
    limits = Limits(pixels=2_000_002, seconds=1)
    feeder = apart._process(24, limits).feeder
    monkeypatch.setattr(feeder, "launch", lambda launch=feeder.launch: _stopped(launch()))
    told = []

    def read() -> None:
        with pytest.raises(InputError) as raised:
            apart.square(png(3), 24, limits)
        told.append(str(raised.value))

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    reading.join(30)
    feeder.stop()
    assert told and "longer than 1 seconds" in told[0]


def _dying(process):
    process.kill()
    return process


def _stopped(process):
    """As one that never ends; it was slow to start."""
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGSTOP)
    return process


def test_a_shared_machine_reads_no_picture_in_its_own_process(tmp_path, pictures, tiny_encoder, monkeypatch):
    """On a box, on the map, from the camera, by a program."""
    from byolmeta import decode
    from byolmeta.ui import endpoints, live, verbs
    from byolmeta.ui.workspace import Workspace

    def own(*_):
        raise AssertionError("decoded in the page's process")

    work = Workspace(tmp_path / "home", public=True)
    session = work.session("a" * 32)
    work.choose(session, pictures, "shapes")
    session.encoder = str(tiny_encoder)
    file = tmp_path / "one.png"
    file.write_bytes(png(7))
    monkeypatch.setattr(verbs, "received_file", lambda sent: (sent["path"], "one.png"))
    monkeypatch.setattr(decode, "squares", own)
    with pytest.raises(AssertionError):
        images.read_image(file, 24)
    assert work.read(file, 24).shape == (3, 24, 24)
    assert live.picture_of(work, base64.b64encode(png(8)).decode(), 24).shape == (3, 24, 24)
    monkeypatch.setattr(decode, "whole", own)
    names = endpoints._numbered(work, [{"path": str(file)}], tmp_path / "asked")
    assert (tmp_path / "asked" / next(iter(names))).read_bytes() == png(7)
    file.write_bytes(png(7)[:50])
    names = endpoints._numbered(work, [{"path": str(file)}], tmp_path / "again")
    assert (tmp_path / "again" / next(iter(names))).read_bytes() == b""


def test_many_at_once_get_each_their_own():
    expected = [images.read_image(png(n), 24, LIMITS) for n in range(12)]
    found = [None] * 12

    def read(n: int) -> None:
        found[n] = apart.square(png(n), 24, LIMITS)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((one == other).all() for one, other in zip(found, expected, strict=True))
