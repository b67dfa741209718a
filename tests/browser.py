"""Chromium and the real app for tests: start both, watch what the page does, and use its parts as a person would."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLAGS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--enable-unsafe-swiftshader",
]  # fmt: skip
PREPARED = Path(tempfile.gettempdir())  # of this test run, see conftest.py
PREPARE = """import sys
from byolmeta.ui import teach
from byolmeta.ui.workspace import Session, Workspace
work = Workspace(sys.argv[1])
for where in teach.compared_with(work, Session("warm")).values():
    work.bank(Session("warm"), where)
"""
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextlib.contextmanager
def chromium():
    """A headless browser; the test is skipped where there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if not program:
        pytest.skip(f"no Chromium on this machine (looked for {', '.join(PROGRAMS)})")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def prepared(home: Path) -> None:
    """Puts what the app makes of its samples into a new home, as the first one of this test run made it."""
    usual = PREPARED / "prepared"
    if home.exists():
        return
    if not usual.is_dir():
        with tempfile.TemporaryDirectory(dir=PREPARED) as folder:
            subprocess.run([sys.executable, "-c", PREPARE, str(Path(folder, "home"))], cwd=ROOT, check=True)
            with contextlib.suppress(OSError):  # another process of this run was first
                os.rename(Path(folder, "home"), usual)
    shutil.copytree(usual, home)


class App:
    """`python app.py` as a process of its own, with its own home; `program`: what starts it instead."""

    def __init__(self, home: Path, *flags: str, seconds: float = 90, port: int = 0, program: tuple = ("app.py",)):
        self.home, self.port = Path(home), port or free_port()
        prepared(self.home)
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = self.home.parent / f"{self.home.name}-app.log"
        command = [sys.executable, *program, "--home", str(home), "--port", str(self.port), "--no-browser", *flags]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADIO_SERVER")} | {
            "BYOLMETA_HOME": str(home)
        }
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        until(self.answers, f"the app answers; its log: {self.log}", seconds)

    def answers(self) -> bool:
        assert self.process.poll() is None, f"the app ended: {self.output()[-2000:]}"
        return self.status("/") == 200

    def status(self, path: str, **headers: str) -> int:
        """The HTTP status of a request to the app; 0 when nothing answers."""
        try:
            request = urllib.request.Request(self.address + path, headers=headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as problem:
            return problem.code
        except OSError:
            return 0

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def open_page(browser, address: str, **options):
    """A page of its own; `page.problems` collects console errors and requests that leave this machine."""
    settings = {"viewport": {"width": 1440, "height": 900}, "locale": "en-US"} | options
    page = browser.new_context(**settings).new_page()
    page.set_default_timeout(20_000)
    page.problems = []
    page.on("console", lambda message: message.type == "error" and page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: _check_address(page, request.url))
    page.goto(address)
    return page


def _check_address(page, url: str) -> None:
    if not url.startswith(("http://127.0.0.1", "data:", "blob:", "ws://127.0.0.1")):
        page.problems.append(f"a request left this machine: {url}")


def centre(locator) -> tuple[float, float]:
    locator.scroll_into_view_if_needed()
    area = locator.bounding_box()
    return area["x"] + area["width"] / 2, area["y"] + area["height"] / 2


def drag(page, start, end) -> None:
    """With the mouse, as a hand does it."""
    (x0, y0), (x1, y1) = centre(start), centre(end)
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x0 + 8, y0 + 8)
    page.mouse.move(x1, y1, steps=5)
    page.mouse.up()


def until(condition, what: str, seconds: float = 20, pause: float = 0.1):
    """Waits for a condition and returns its value; `what` says in a failure what was waited for."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s until {what}"
        time.sleep(pause)
    return value


def overflow(page) -> int:
    """By how many pixels the page is wider than its window."""
    return page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
