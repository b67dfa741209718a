"""What several test files share: drawn pictures, their store, and how real data is asked for."""

import os
import sys
from pathlib import Path

# Before numpy and torch are imported, which read this once; also for the processes that tests start.
for library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

DATA = Path(__file__).resolve().parents[1] / "../shared/data"

torch.set_num_threads(1)  # tests share the machine, and one thread repeats a run exactly


def shape(kind: int, random: np.random.Generator, side: int = 32) -> Image.Image:
    """A filled shape on a plain ground: discs (0), squares (1), bars (2), in colours and places of their own."""
    ground, colour = (tuple(int(v) for v in random.integers(low, low + 90, 3)) for low in (20, 160))
    image = Image.new("RGB", (side, side), ground)
    draw, size = ImageDraw.Draw(image), int(random.integers(side // 3, side // 2))
    x, y = (int(v) for v in random.integers(1, side - size, 2))
    box = [x, y, x + size, y + size // 4 if kind == 2 else y + size]
    (draw.ellipse if kind == 0 else draw.rectangle)(box, fill=colour)
    return image


def scene(seed: int, things: str = "ring", width: int = 160, height: int = 120) -> tuple[Image.Image, list[tuple]]:
    """A picture of grey noise with things on it, and their boxes in the order of the letters: rings and crosses."""
    random = np.random.default_rng(seed)
    noise = random.integers(90, 150, (height // 4, width // 4, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    draw, boxes = ImageDraw.Draw(image), []
    for number, thing in enumerate(things.split()):
        side, room = int(random.integers(36, 48)), width // len(things.split())
        x, y = number * room + int(random.integers(2, room - side - 1)), int(random.integers(2, height - side - 1))
        box = (x, y, x + side, y + side)
        if thing == "ring":
            draw.ellipse(box, outline=(250, 240, 40), width=8)
        else:
            draw.line((x, y, x + side, y + side), fill=(40, 60, 230), width=8)
            draw.line((x, y + side, x + side, y), fill=(40, 60, 230), width=8)
        boxes.append(box)
    return image, boxes


def draw_pictures(folder: Path, each: int = 12, seed: int = 0) -> Path:
    """Class folders disc, square and bar with `each` different pictures."""
    random = np.random.default_rng(seed)
    for kind, name in enumerate(("disc", "square", "bar")):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            shape(kind, random).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder of 36 drawn shapes in three class folders. Read only."""
    return draw_pictures(tmp_path_factory.mktemp("drawn") / "shapes")


@pytest.fixture(scope="session")
def store(pictures, tmp_path_factory):
    """The same pictures decoded at 16 px."""
    from byolmeta.images import open_store

    return open_store(pictures, tmp_path_factory.mktemp("stores"), 16, workers=1)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    """An untrained conv4 for 16 px with a card, as a file."""
    from byolmeta.encoder import Encoder, save_encoder

    path = tmp_path_factory.mktemp("encoder") / "tiny.safetensors"
    save_encoder(Encoder("conv4", 16).initial(seed=1), path, {"trained_on": "nothing"})
    return path


def shared_data(name: str) -> Path:
    """A folder or file of the shared data; skips the test where it is absent."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    return path


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes long, and is run with BYOLMETA_LONG=1 alone")


def pytest_collection_modifyitems(items):
    if not os.environ.get("BYOLMETA_LONG"):  # with them, two cores need more than the 25 minutes that a check may take
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes long: run it with BYOLMETA_LONG=1"))


@pytest.fixture(scope="session", autouse=True)
def _prepared_in_this_run(tmp_path_factory):
    """Where the tests' apps find what the first of them prepared; the processes of one run share it."""
    import browser

    own = tmp_path_factory.getbasetemp()
    browser.PREPARED = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _patient():
    """Gradio looks whether the server that it has begun answers, and on a busy machine gives up too early."""
    networking = sys.modules.get("gradio.networking")
    if networking:
        networking.url_ok = lambda url: True


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    from browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def app(tmp_path_factory, browser):
    """The app as a process of its own with a home of its own; nothing in it may fail unseen."""
    from browser import App

    app = App(tmp_path_factory.mktemp("page") / "home")
    yield app
    output = app.output()  # before the end, which may cut work that is under way
    app.end()
    assert "Traceback" not in output, output[-4000:]
