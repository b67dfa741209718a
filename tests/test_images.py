"""scan.py, decode.py and images.py: what is found, how it is decoded, and what survives bad files, kills and races."""

import io
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from byolmeta import decode, images
from byolmeta.errors import InputError
from byolmeta.images import Limits, open_store, read_image, trim_stores
from byolmeta.scan import classes, index_images

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT / "../shared/data"


def photo(seed: int = 0, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """Smooth random colours: a stand-in for a photo."""
    noise = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def put(path: Path, data: bytes | None = None, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(photo(seed)) if data is None else data)
    return path


def make_zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def reasons(store_or_index) -> dict[str, str]:
    return {s.name: s.reason for s in getattr(store_or_index, "index", store_or_index).skipped}


# Decoding one picture


def marked() -> Image.Image:
    """White, the upper left quarter red and the upper right blue."""
    image = Image.new("RGB", (64, 64), "white")
    image.paste((255, 0, 0), (0, 0, 32, 32))
    image.paste((0, 0, 255), (32, 0, 64, 32))
    return image


@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation_is_turned(value):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the inverse turn, written by hand
    stored = marked().transpose(Image.Transpose(undo[value])) if value > 1 else marked()
    exif = Image.Exif()
    exif[0x0112] = value
    pixels = read_image(encoded(stored, "JPEG", exif=exif, quality=95), 16)
    assert np.allclose(pixels[:, 3, 3], (255, 0, 0), atol=12)
    assert np.allclose(pixels[:, 3, 12], (0, 0, 255), atol=12)
    assert np.allclose(pixels[:, 12, 8], 255, atol=12)


def test_the_middle_of_the_longer_side_is_kept():
    image = Image.new("RGB", (90, 30), "red")
    image.paste((0, 255, 0), (30, 0, 60, 30))
    assert np.array_equal(read_image(image, 30), np.tile(np.array([0, 255, 0], np.uint8)[:, None, None], (1, 30, 30)))


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB", "La", "LA", "PA", "RGBa", "RGBA"]
)
def test_every_mode_becomes_rgb(mode):
    grey = Image.new("RGB", (20, 20), (255, 255, 255))
    steps = {"La": ["LA", "La"], "RGBa": ["RGBA", "RGBa"], "PA": ["P", "PA"]}.get(mode, [mode])
    if mode == "LAB":
        image = Image.new("LAB", (20, 20), (255, 128, 128))
    else:
        image = grey
        for step in steps:
            image = image.convert(step)
    assert image.mode == mode
    assert read_image(image, 8).min() > 250


@pytest.mark.parametrize(
    "form,mode",
    [
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("PNG", "1"),
        ("PNG", "P"),
        ("PNG", "LA"),
        ("WEBP", "RGBA"),
        ("BMP", "P"),
        ("GIF", "P"),
        ("TIFF", "CMYK"),
        ("TIFF", "LAB"),
        ("JPEG", "YCbCr"),
        ("PPM", "RGB"),
    ],
)
def test_every_format_is_read(form, mode):
    if form == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    image = Image.new("LAB", (40, 40), (120, 128, 128)) if mode == "LAB" else photo(1, (40, 40)).convert(mode)
    options = {"quality": 95, "subsampling": 0} if form == "JPEG" else {}
    pixels = read_image(encoded(image, form, **options), 20)
    assert pixels.shape == (3, 20, 20) and pixels.dtype == np.uint8
    if mode not in ("1", "P", "LAB"):
        expected = image.convert("RGB").resize((20, 20), Image.Resampling.BICUBIC)
        assert np.abs(pixels - np.asarray(expected, float).transpose(2, 0, 1)).mean() < 6


@pytest.mark.parametrize("kind", ["<u2", ">u2", "<i4", "<f4"])
def test_deep_pictures_are_scaled_by_their_own_range(kind):
    values = np.linspace(1000, 5000, 64).reshape(8, 8)
    data = io.BytesIO()
    image = (
        Image.fromarray(values.astype(kind))
        if kind != ">u2"
        else Image.frombytes("I;16B", (8, 8), values.astype(">u2").tobytes())
    )
    image.save(data, "TIFF")
    pixels = read_image(data.getvalue(), 8)
    assert pixels.min() == 0 and pixels.max() == 255
    assert np.abs(pixels[0].ravel() - np.linspace(0, 255, 64)).max() <= 2


def test_a_16_bit_png_is_not_clipped():
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    pixels = read_image(encoded(Image.fromarray(values)), 8)
    assert np.abs(pixels[0].ravel() - np.linspace(0, 255, 64)).max() <= 2


def test_float_pictures_with_nan_and_inf():
    values = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    values[0, 0], values[3, 3], values[4, 4] = np.nan, np.inf, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = read_image(Image.fromarray(values), 8)[0]
        assert (pixels[0, 0], pixels[3, 3], pixels[4, 4], pixels[7, 7]) == (0, 255, 0, 255)
        assert len(np.unique(read_image(Image.fromarray(np.full((8, 8), np.nan, np.float32)), 8))) == 1
        assert len(np.unique(read_image(Image.fromarray(np.full((8, 8), 3e38, np.float32)), 8))) == 1


def test_alpha_is_composed_on_white():
    half = Image.new("RGBA", (10, 10), (0, 0, 0, 128))
    assert np.abs(read_image(half, 8).astype(int) - 127).max() <= 1
    palette = Image.new("P", (10, 10), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert read_image(encoded(palette, transparency=0), 8).min() == 255
    hidden = Image.new("RGBA", (10, 10), (0, 255, 0, 0))  # green that nobody may see
    hidden.paste((255, 0, 0, 255), (0, 0, 5, 10))
    assert not (read_image(hidden, 9)[1] > read_image(hidden, 9)[0]).any()


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animated_pictures_show_their_first_frame(form):
    frames = [Image.new("RGB", (16, 16), name) for name in ("red", "blue", "lime")]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    red, green, blue = read_image(data, 8).reshape(3, -1).mean(1)
    assert red > 200 and green < 60 and blue < 60


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_cut_off_files_are_unreadable(form):
    data = encoded(photo(3, (300, 300)), form)
    with pytest.raises(InputError):
        read_image(data[: len(data) // 2], 32)


def test_read_image_takes_paths_bytes_and_pictures_and_refuses_the_rest(tmp_path):
    file = put(tmp_path / "a.png")
    assert np.array_equal(read_image(file, 16), read_image(str(file), 16))
    assert np.array_equal(read_image(file, 16), read_image(file.read_bytes(), 16))
    assert np.array_equal(read_image(file, 16), read_image(photo(), 16))
    assert read_image(Image.new("RGB", (1, 1), (9, 8, 7)), 64)[:, 5, 5].tolist() == [9, 8, 7]
    for bad in (tmp_path / "no.png", b"", b"<html>", tmp_path):
        with pytest.raises(InputError):
            read_image(bad, 16)
    with pytest.raises(InputError, match="million pixels"):
        read_image(photo(), 16, Limits(pixels=4799))


def test_too_many_pixels_are_seen_before_decoding():
    data = bytearray(encoded(Image.new("L", (8, 8))))
    for side, match in ((11_000, "121.0 million pixels"), (30_000, "pixels")):  # the second is Pillow's own limit
        data[16:24] = side.to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        with warnings.catch_warnings(), pytest.raises(InputError, match=match):
            warnings.simplefilter("ignore")
            read_image(bytes(data), 16)


# Finding pictures


@pytest.mark.parametrize(
    "paths,names,labels",
    [
        (["a.png", "b.png"], [], [-1, -1]),
        (["cat/1.png", "dog/1.png", "dog/2.png"], ["cat", "dog"], [0, 1, 1]),
        (["my/cat/1.png", "my/dog/1.png"], ["cat", "dog"], [0, 1]),
        (["cat/2020/1.png", "cat/2021/1.png", "dog/1.png"], ["cat", "dog"], [0, 0, 1]),
        (["0.png", "cat/1.png", "dog/1.png"], ["cat", "dog"], [-1, 0, 1]),
        (["cat/1.png", "cat/2.png"], [], [-1, -1]),
        (["train/cat/1.png", "train/dog/1.png", "test/cat/1.png"], ["cat", "dog"], [0, 1, 0]),
        (["data/train/cat/1.png", "data/val/dog/1.png"], ["cat", "dog"], [0, 1]),
        (["train/1.png", "test/1.png"], [], [-1, -1]),
        (["class10/1.png", "class2/1.png"], ["class2", "class10"], [1, 0]),
    ],
)
def test_class_folders(paths, names, labels):
    found, class_names = classes(paths)
    assert list(class_names) == names and found.tolist() == labels and found.dtype == np.int64


def test_a_folder_in_natural_order_without_hidden_things(tmp_path):
    for name in (
        "cat/10.png",
        "cat/2.PNG",
        "dog/1.jpeg",
        ".hidden/1.png",
        "__MACOSX/cat/1.png",
        "cat/.x.png",
        "cat/Thumbs.db",
        "desktop.ini",
    ):
        put(tmp_path / "in" / name)
    put(tmp_path / "secret/1.png")
    os.symlink(tmp_path / "secret/1.png", tmp_path / "in/cat/link.png")
    os.symlink(tmp_path / "secret", tmp_path / "in/linked")
    index = index_images(tmp_path / "in")
    assert index.paths == ("cat/2.PNG", "cat/10.png", "dog/1.jpeg")
    assert index.class_names == ("cat", "dog") and index.skipped == ()


def test_files_that_are_no_pictures_are_listed_up_to_a_point(tmp_path):
    put(tmp_path / "a.png")
    put(tmp_path / "empty.png", b"")
    put(tmp_path / "phone.heic", b"x")
    for number in range(50):
        put(tmp_path / f"{number}.txt", b"x")
    listed = reasons(index_images(tmp_path))
    assert "empty" in listed["empty.png"] and "JPG" in listed["phone.heic"]
    assert listed["30 more files"] and len(listed) == 23


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_never_opened(tmp_path):
    put(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert reasons(index_images(tmp_path)) == {"b.png": "Not an ordinary file."}
    with pytest.raises(InputError):
        read_image(tmp_path / "b.png", 16)
    with pytest.raises(InputError):
        index_images(tmp_path / "b.png")


@pytest.mark.parametrize(
    "make",
    [
        lambda d: "",
        lambda d: [],
        lambda d: d / "missing",
        lambda d: d,
        lambda d: put(d / "notes.txt", b"hello"),
        lambda d: put(d / "bad.zip", b"PK\3\4 nonsense"),
        lambda d: make_zip(d / "none.zip", {"readme.txt": b"x"}),
        lambda d: [d / "gone.png"],
        lambda d: "a\0b",
        lambda d: "x" * 5000,
        lambda d: put(d / "empty.zip", b""),
    ],
)
def test_bad_sources_get_a_sentence(tmp_path, make):
    with pytest.raises(InputError) as caught:
        open_store(make(tmp_path), tmp_path / "stores")
    assert len(str(caught.value)) > 30


def test_caps_on_count_bytes_and_unpacked_size(tmp_path):
    for number in range(4):
        put(tmp_path / f"in/{number}.png", seed=number)
    with pytest.raises(InputError, match="more than 3 pictures"):
        index_images(tmp_path / "in", Limits(images=3))
    with pytest.raises(InputError, match="limit is 0.0 MB"):
        index_images(tmp_path / "in", Limits(file_bytes=100))
    archive = make_zip(tmp_path / "a.zip", {f"{n}.png": bytes(1000) for n in range(4)})
    with pytest.raises(InputError, match="unpacks to more"):
        index_images(archive, Limits(total_bytes=3999))


def test_a_list_of_files(tmp_path):
    files = [put(tmp_path / f"{folder}/{n}.png", seed=n) for folder in ("x", "y") for n in range(2)]
    index = index_images([*files, files[0], tmp_path / "gone.png"])
    assert index.paths == ("x/0.png", "x/1.png", "y/0.png", "y/1.png") and index.class_names == ("x", "y")
    assert reasons(index) == {"gone.png": "The file is not there."}
    assert index_images([files[0], files[2]]).class_names == ()  # uploads: a folder for each file
    assert index_images(str(files[0])).paths == ("0.png",)
    assert index_images([tmp_path]).paths == index.paths


def test_zips_with_bad_entries(tmp_path):
    good = encoded(photo())
    path = make_zip(
        tmp_path / "a.zip",
        {
            "top/cat/1.png": good,
            "top/dog\\2.png": good,
            "./top/dog/3.png": good,
            "../evil.png": good,
            "/abs.png": good,
            "C:/win.png": good,
            "top/inner.zip": good,
            "__MACOSX/top/1.png": good,
            "top/locked.png": good,
            "top/wrong.png": good * 3,
        },
    )
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("top/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr("top/cat/1.png", encoded(photo(5)))
    data = bytearray(path.read_bytes())
    locked = data.rfind(b"top/locked.png") - 46  # in the central directory
    data[locked + 8] |= 1
    wrong = data.rfind(b"top/wrong.png") - 46
    data[wrong + 24 : wrong + 28] = (50).to_bytes(4, "little")  # declares fewer bytes than it has
    path.write_bytes(data)
    store = open_store(path, tmp_path / "stores", 16)
    assert store.index.paths == ("top/cat/1.png", "top/dog/2.png", "top/dog/3.png")
    assert store.class_names == ("cat", "dog") and store.labels.tolist() == [0, 1, 1]
    listed = reasons(store)
    assert set(listed) == {
        "../evil.png",
        "/abs.png",
        "C:/win.png",
        "top/inner.zip",
        "top/locked.png",
        "top/wrong.png",
        "top/link.png",
        "top/cat/1.png",
    }
    assert "password" in listed["top/locked.png"] and "outside" in listed["../evil.png"]
    assert not (tmp_path / "evil.png").exists()


def test_a_zip_bomb_is_read_no_further_than_the_limit(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"bomb.png": bytes(50_000_000), "ok.png": encoded(photo())})
    with zipfile.ZipFile(path) as archive, pytest.raises(InputError, match="larger than the limit"):
        decode.read_entry(archive, 0, 1000)
    store = open_store(path, tmp_path / "stores", 16, limits=Limits(file_bytes=1_000_000))
    assert store.index.paths == ("ok.png",) and "limit" in reasons(store)["bomb.png"]


# Stores


def names() -> list[str]:
    strange = ["ü 猫 🐈.png", "<img src=x onerror=alert(1)>.png", "{{ 7*7 }}.png", "a" * 251 + ".png"]
    if os.name != "nt":
        strange += ["line\nbreak.png", os.fsdecode(b"latin-\xe9.png")]
    return [name for name in strange if os.name != "nt" or "<" not in name]


def test_strange_names_survive_the_store(tmp_path):
    for seed, name in enumerate(names()):
        if sys.platform == "darwin" and "\udce9" in name:
            continue  # its file system takes UTF-8 only
        put(tmp_path / "in" / name, seed=seed)
    first = open_store(tmp_path / "in", tmp_path / "stores", 16)
    again = open_store(tmp_path / "in", tmp_path / "stores", 16)
    assert not first.index.skipped
    assert set(again.index.paths) == set(os.listdir(tmp_path / "in"))
    for path, pixels in zip(again.index.paths, again.pixels, strict=True):
        assert np.array_equal(pixels, read_image(tmp_path / "in" / path, 16))


def test_a_store_is_dense_read_only_and_remembered(tmp_path, monkeypatch):
    for number in range(12):
        put(tmp_path / f"in/{'ab'[number % 2]}/{number}.png", seed=number)
    put(tmp_path / "in/a/3 broken.png", encoded(photo())[:100])
    put(tmp_path / "in/a/text.jpg", b"hello")
    calls = []
    store = open_store(tmp_path / "in", tmp_path / "stores", 24, also=[32], progress=lambda *done: calls.append(done))
    assert store.pixels.shape == (12, 3, 24, 24) and store.size == 24 and len(store) == 12
    assert calls[-1] == (14, 14) and set(reasons(store)) == {"a/3 broken.png", "a/text.jpg"}
    assert store.index.paths[:2] == ("a/0.png", "a/2.png") and store.labels.tolist() == [0] * 6 + [1] * 6
    for path, pixels in zip(store.index.paths, store.pixels, strict=True):
        assert np.array_equal(pixels, read_image(tmp_path / "in" / path, 24))
    with pytest.raises(ValueError):
        store.pixels[0] = 0
    monkeypatch.setattr(decode, "decode_into", None)  # nothing may be decoded again
    again = open_store(tmp_path / "in", tmp_path / "stores", 24)
    assert again.fingerprint == store.fingerprint and again.index.skipped == store.index.skipped
    assert open_store(tmp_path / "in", tmp_path / "stores", 32).pixels.shape == (12, 3, 32, 32)
    monkeypatch.undo()
    put(tmp_path / "in/a/0.png", seed=99)
    changed = open_store(tmp_path / "in", tmp_path / "stores", 24)
    assert changed.fingerprint != store.fingerprint
    assert not list((tmp_path / "stores").glob(".building-*"))


def test_a_damaged_store_is_built_again(tmp_path):
    put(tmp_path / "in/a.png")
    store = open_store(tmp_path / "in", tmp_path / "stores", 16)
    pixels = np.array(store.pixels)
    del store
    for file, data in (("pixels.npy", b"short"), ("index.json", b"{")):
        next((tmp_path / "stores").glob(f"*/{file}")).write_bytes(data)
        assert np.array_equal(open_store(tmp_path / "in", tmp_path / "stores", 16).pixels, pixels)


def test_folders_that_agree_in_names_sizes_and_times_keep_their_own_pictures(tmp_path):
    for name, shade in (("a", 10), ("b", 200)):
        file = put(tmp_path / name / "1.bmp", encoded(Image.new("RGB", (16, 16), (shade,) * 3), "BMP"))
        os.utime(file, (10**9, 10**9))
    first, second = (open_store(tmp_path / name, tmp_path / "stores", 16).pixels for name in "ab")
    assert first.max() == 10 and second.min() == 200
    put(tmp_path / "a/1.bmp", encoded(Image.new("RGB", (16, 16), (90,) * 3), "BMP"))
    os.utime(tmp_path / "a/1.bmp", (10**9, 10**9))  # replaced, with the old time
    assert open_store(tmp_path / "a", tmp_path / "stores", 16).pixels.max() == 90


@pytest.mark.parametrize("harm", ["no index", "empty pixels", "a file"])
def test_what_stands_in_place_of_a_store_is_replaced(tmp_path, harm):
    put(tmp_path / "pictures/1.png")
    (folder,) = open_store(tmp_path / "pictures", tmp_path / "stores", 16) and (tmp_path / "stores").iterdir()
    if harm == "no index":
        (folder / "index.json").unlink()
    elif harm == "empty pixels":
        (folder / "pixels.npy").write_bytes(b"")
    else:
        shutil.rmtree(folder)
        folder.write_text("in the way")
    assert open_store(tmp_path / "pictures", tmp_path / "stores", 16).pixels.max() > 0


def test_only_unreadable_pictures(tmp_path):
    put(tmp_path / "in/a.png", b"no")
    with pytest.raises(InputError, match="None of the 1 pictures"):
        open_store(tmp_path / "in", tmp_path / "stores")
    assert not list((tmp_path / "stores").iterdir())


def test_raising_in_progress_stops_and_leaves_nothing(tmp_path):
    for number in range(30):
        put(tmp_path / f"in/{number}.png", seed=number)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(tmp_path / "in", tmp_path / "stores", progress=stop)
    assert not list((tmp_path / "stores").iterdir())
    assert not [t for t in threading.enumerate() if isinstance(t, decode.Feeder)]


def test_ten_thousand_pictures_open_again_within_a_second(tmp_path):
    small = encoded(Image.new("L", (4, 4)), "BMP")
    for number in range(10_000):
        put(tmp_path / f"in/{number % 20}/{number}.bmp", small)
    open_store(tmp_path / "in", tmp_path / "stores", 4, workers=2)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        store = open_store(tmp_path / "in", tmp_path / "stores", 4)
        times.append(time.perf_counter() - start)
    assert len(store) == 10_000 and min(times) < 1


OPEN = "import sys; from byolmeta.images import open_store; s = open_store(*sys.argv[1:3], 16); print(s.fingerprint)"


def test_two_processes_build_the_same_store(tmp_path):
    for number in range(60):
        put(tmp_path / f"in/{number}.png", seed=number)
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, tmp_path / "in", tmp_path / "stores"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    prints = {run.communicate(timeout=60)[0].strip() for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    assert prints == {open_store(tmp_path / "in", tmp_path / "stores", 16).fingerprint}
    assert len(list((tmp_path / "stores").iterdir())) == 1


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_a_killed_build_leaves_no_store_and_no_worker(tmp_path):
    for number in range(1500):
        put(tmp_path / f"in/{number}.png", seed=number % 7)
    run = subprocess.Popen([sys.executable, "-c", OPEN, tmp_path / "in", tmp_path / "stores"], cwd=ROOT)

    def children() -> list[str]:
        path = Path(f"/proc/{run.pid}/task")
        return [child for task in path.iterdir() for child in (task / "children").read_text().split()]

    deadline = time.monotonic() + 30
    while not (workers := children()) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    run.kill()
    run.wait()
    assert workers and not list((tmp_path / "stores").glob("*-16"))
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)
    assert len(open_store(tmp_path / "in", tmp_path / "stores", 16)) == 1500
    left = next((tmp_path / "stores").glob(".building-*"))
    os.utime(left, (0, 0))
    trim_stores(tmp_path / "stores", 1 << 40)
    assert not left.exists()


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_trim_removes_the_store_that_was_not_used_for_longest(tmp_path):
    stores = tmp_path / "stores"
    for number in range(3):
        put(tmp_path / f"{number}/a.png", seed=number)
        open_store(tmp_path / str(number), stores, 64)
    for age, file in enumerate(sorted(stores.glob("*/index.json"))):
        os.utime(file, (1e9 + age, 1e9 + age))
    kept = sorted(stores.iterdir())[-1]
    open_store(tmp_path / "0", stores, 64)  # is used now
    trim_stores(stores, 30_000)
    assert len(list(stores.iterdir())) == 2
    trim_stores(stores, 0)
    assert kept and not list(stores.iterdir())


WORKER = """
import sys, os, time
from byolmeta import decode
real = decode.squares
def squares(data, sizes, limits):
    if data == b"hang": time.sleep(60)
    if data == b"crash": os._exit(3)
    if data == b"greedy": bytearray(8 << 30)
    return real(data, sizes, limits)
decode.squares = squares
decode.main()
"""


def test_a_hang_a_crash_and_a_glutton_cost_one_picture_each(tmp_path, monkeypatch):
    for number in range(20):
        put(tmp_path / f"in/{number}.png", seed=number)
    for name in ("hang", "crash", "greedy"):
        put(tmp_path / f"in/5 {name}.png", name.encode())
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **more: start([sys.executable, "-c", WORKER], **more))
    monkeypatch.chdir(tmp_path)
    begun = time.monotonic()
    store = open_store(tmp_path / "in", tmp_path / "stores", 16, limits=Limits(seconds=1.5), workers=1)
    assert time.monotonic() - begun < 20
    assert len(store) == 20  # the greedy one is no picture either way
    listed = reasons(store)
    assert "longer than 1.5 seconds" in listed["5 hang.png"] and "crashed" in listed["5 crash.png"]
    if sys.platform == "linux":
        assert "memory" in listed["5 greedy.png"]


def test_workers_start_in_any_folder(tmp_path, monkeypatch):
    put(tmp_path / "in/a.png")
    put(tmp_path / "in/PIL.py", b"raise SystemExit")
    put(tmp_path / "in/json.py", b"raise SystemExit")
    monkeypatch.chdir(tmp_path / "in")
    assert len(open_store(".", tmp_path / "stores", 16)) == 1
    assert index_images(".").source == tmp_path / "in"


def test_a_worker_that_cannot_start_is_a_bug_not_a_hang(tmp_path, monkeypatch):
    put(tmp_path / "in/a.png")
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **more: start([sys.executable, "-c", "exit(1)"], **more))
    with pytest.raises(RuntimeError, match="did not start"):
        open_store(tmp_path / "in", tmp_path / "stores")


def test_no_room_on_the_disk(tmp_path, monkeypatch):
    put(tmp_path / "in/a.png")
    monkeypatch.setattr(images.shutil, "disk_usage", lambda path: type("U", (), {"free": 1000}))
    with pytest.raises(InputError, match="Make room"):
        open_store(tmp_path / "in", tmp_path / "stores")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_ends_with_a_sentence(tmp_path):
    put(tmp_path / "a.png")
    with pytest.raises(InputError, match="Make room"):
        decode.decode_into({16: Path("/dev/full")}, 0, tmp_path, False, ["a.png"], Limits())


def test_importing_is_fast_and_free_of_torch():
    code = "import sys, byolmeta.images; print('torch' in sys.modules, 'sklearn' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split() == ["False", "False"]
