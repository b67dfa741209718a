"""Files and names that mean harm or are merely odd, for tests/test_hostile.py and tests/benchmarks/attacks.py."""

import io
import os
import stat
import struct
import tempfile
import zipfile
import zlib

import numpy as np
from PIL import Image

OUTSIDE = f"{tempfile.gettempdir()}/byolmeta-was-here.png"  # where a name that is believed would lead
NAMES = {
    "html": "<img src=x onerror=alert(1)>.png",
    "script": "</script><script>alert(1)</script>.png",
    "template": "${alert(1)}{{7*7}}`x`.png",
    "formula": "=cmd|' /C calc'!A0.png",
    "formula after a semicolon": "a;=1+1;.png",
    "formula in wide letters": "＝1+1.png",
    "right to left": "\u202egnp.exe.png",
    "new lines": "a\r\n\tSet-Cookie: x=y\n.png",
    "not UTF-8": b"\xff\xfe\xe4.png".decode("utf-8", "surrogateescape"),
    "half a letter": "\ud83d.png",
    "255 letters": "n" * 251 + ".png",
    "4000 letters": "n" * 3996 + ".png",
    "upwards": f"../../../../../..{OUTSIDE}",
    "absolute": OUTSIDE,
    "of Windows": "C:\\..\\..\\CON.png",
    "a NUL": "a\0b.png",
    "only dots": "...png",
    "hidden": ".png",
    "case": "TWIN.PNG",
    "case twin": "twin.png",
    "combining": "e\u0301\u0301\u0301\u0301.png",
}


def png(seed: int = 0, side: int = 24) -> bytes:
    """A small picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


def encoded(picture: Image.Image, form: str, **settings) -> bytes:
    data = io.BytesIO()
    picture.save(data, form, **settings)
    return data.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, data: bytes, depth: int = 8, colour: int = 0, more: bytes = b"") -> bytes:
    """A PNG whose header says what it likes."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zipped(entries: dict, how: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of {name or ZipInfo: bytes}."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", how) as archive:
        for name, content in entries.items():
            archive.writestr(name, content, how)
    return data.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return entry


def lying(data: bytes, size: int) -> bytes:
    """The same zip; the first entry of its directory says that it unpacks to `size` bytes."""
    place = data.index(b"PK\x01\x02")
    return data[: place + 24] + struct.pack("<I", size) + data[place + 28 :]


def overlapping(count: int) -> bytes:
    """A zip whose directory names the same packed megabytes again and again."""
    data = zipped({"0.png": bytes(10_000_000)})
    start = data.index(b"PK\x01\x02")
    body, entry = data[:start], data[start : start + 46 + 5]
    entries = b"".join(entry[:46] + f"{n:05d}"[:5].encode() for n in range(count))
    entries = b"".join(entry[:28] + struct.pack("<H", 9) + entry[30:46] + f"{n:05d}.png".encode() for n in range(count))
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(entries), len(body), 0)
    return body + entries + end


def many_entries(count: int) -> bytes:
    """A zip of very many files without content."""
    local = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 5, 0) + b"0.png"
    entry = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0)
    entries = b"".join(entry + f"{n:05x}.png".encode() for n in range(count))
    return local + entries + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, len(entries), len(local), 0)


def scans(count: int, side: int = 4000) -> bytes:
    """A progressive JPEG that says the same again and again: each scan costs a walk over all of its pixels."""
    data = encoded(Image.new("L", (side, side), 100), "JPEG", progressive=True, quality=10)
    first = data.index(b"\xff\xda")
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:] if last > first else data


def tiff_loop() -> bytes:
    """A TIFF whose directory points to itself."""
    return b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 256, 4, 1, 9) + struct.pack("<I", 8)


# name: (file's name, what makes it). Good pictures beside the bad one show that the rest goes on.
def files() -> dict[str, tuple[str, bytes]]:
    zeros = zlib.compress(bytes(50_000_000), 9)
    good = {f"good/{n}.png": png(n) for n in range(4)}
    found = {
        "zip slip": ("slip.zip", zipped(good | {n: png(9) for n in ("../out.png", OUTSIDE, "a/../../out.png", "C:\\out.png")})),
        "links in a zip": ("links.zip", zipped(good | {link("a.png"): b"/etc/passwd", link("b"): b"/"})),
        "zip bomb": ("bomb.zip", zipped({f"{n}.png": bytes(20_000_000) for n in range(60)})),
        "zip bomb that lies": ("liar.zip", lying(zipped({"a.png": bytes(300_000_000)} | good), 1000)),
        "zip that overlaps": ("overlap.zip", overlapping(3000)),
        "zip in a zip": ("nested.zip", zipped(good | {"inner.zip": zipped({"inner.zip": zipped(good)})})),
        "zip of 60,000 files": ("many.zip", many_entries(60_000)),
        "cut zip": ("cut.zip", zipped(good)[:-40]),
        "not a zip": ("text.zip", b"PK\x05\x06" + b"x" * 1000),
        "twins in a zip": ("twins.zip", zipped(good | {"A.png": png(5), "a.png": png(6), "a/./b.png": png(7), "a//b.png": png(8)})),
        "names in a zip": ("names.zip", zipped(good | {name.encode("utf-8", "replace").decode(): png(n) for n, name in enumerate(NAMES.values())})),
        "picture bomb": ("bomb.png", png_of(60_000, 60_000, zeros, 1)),
        "picture under the limit of pixels": ("wide.png", png_of(39_000_000, 1, zeros)),
        "header that lies": ("liar.png", png_of(6_000, 6_000, zlib.compress(b"abc"))),
        "text bomb in a PNG": ("text.png", png_of(8, 8, zlib.compress(bytes(72)), more=chunk(b"zTXt", b"a\0\0" + zeros))),
        "profile bomb in a PNG": ("icc.png", png_of(8, 8, zlib.compress(bytes(72)), more=chunk(b"iCCP", b"a\0\0" + zeros))),
        "JPEG of 2,000 scans": ("scans.jpg", scans(2000)),
        "TIFF that turns in a circle": ("loop.tif", tiff_loop()),
        "GIF of 65535 pixels a side": ("huge.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;"),
        "BMP below zero": ("below.bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, -2**31, -2**31, 1, 24, 0, 0, 0, 0, 0, 0)),
        "PPM of letters": ("letters.ppm", b"P3 99999999 99999999 255 " + b"1 " * 1000),
        "web page": ("page.png", b"<html><script>alert(1)</script></html>"),
        "drawing that runs": ("run.png", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        "program": ("run.jpg", b"MZ" + os.urandom(2000)),
        "nothing": ("empty.png", b""),
    }  # fmt: skip
    return found
