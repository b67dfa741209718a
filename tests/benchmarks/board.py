"""From a picture dropped on the board to the new answer on the screen, in the real page: headless Chromium, 1440 x 900.

    python tests/benchmarks/board.py [--pictures 5000] [--encoder photos-small] [--drops 40] [--files 20]

Drawn creatures of 14 kinds in class folders; three boxes, each for one kind. At rest: a person who looks at the curve before the
next drop; in a row: the next drop as soon as the answer is there, so that it ends what still runs. Files: new pictures dropped from
the desktop. The clock is the page's own (`__board` in ui/board/board.js): from the moment the mouse lets go to the end of the frame
that first shows an answer to that state of the boxes.
"""

import argparse
import io
import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]
import numpy as np
from browser import App, chromium, drag, open_page, until
from machine import about

from byolmeta.samples import draw_creatures

RESULT = HERE / "results" / "board.json"
KINDS = ("bird", "boat", "butterfly")
TIMES = """() => {
  const board = document.querySelector("#board .bm-board").__board, drop = board.lastDrop(), answer = board.lastAnswer();
  return drop && answer && answer.rev >= drop.rev ? answer.at - drop.at : null;
}"""
DROP = """([box, bytes, name]) => {
  const data = new DataTransfer(), target = document.querySelectorAll("#board .bm-box")[box];
  data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
  const area = target.getBoundingClientRect();
  for (const type of ["dragenter", "dragover", "drop"]) {
    target.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: data,
      clientX: area.x + area.width / 2, clientY: area.y + area.height / 2 }));
  }
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--encoder", default="photos-small")
    parser.add_argument("--drops", type=int, default=40)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULT)
    flags = parser.parse_args()
    found = about(("torch", "numpy", "gradio", "playwright"))
    found |= {"pictures": flags.pictures, "encoder": flags.encoder, "boxes": len(KINDS)}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        draw(Path(folder) / "pictures", flags.pictures)
        app = App(Path(folder) / "home")
        try:
            page = open_page(browser, app.address)
            prepare(page, Path(folder) / "pictures", flags.pictures, flags.encoder)
            found["rows"] = [
                row("card, at rest", cards(page, flags.drops, 2.5)),
                row("card, in a row", cards(page, flags.drops, 0)),
                row("file from the desktop", files(page, flags.files)),
            ]
            assert not page.problems, page.problems
        finally:
            app.end()
    found["load_after"] = round(os.getloadavg()[0], 2)
    flags.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def draw(folder: Path, count: int) -> None:
    for path, picture in itertools.islice(draw_creatures(seed=1, each=-(-count // 14)), count):
        file = folder / f"{path}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file, quality=85)


def prepare(page, folder: Path, count: int, encoder: str) -> None:
    """Opens the pictures, chooses the encoder, and puts one picture into each box."""
    page.wait_for_selector("#report .tile", timeout=90_000)
    page.locator("#path textarea, #path input").fill(str(folder))
    page.wait_for_timeout(300)
    page.locator("#open").click()
    report = page.locator("#report")
    until(lambda: f"{count:,} pictures ready" in report.inner_text(), "the pictures are ready", 180)
    page.locator("#encoder input").click()
    page.get_by_role("option", name=encoder).click()
    page.get_by_role("tab", name="Teach").click()
    page.locator("#board .bm-add").click()
    page.keyboard.press("Escape")
    for box, kind in enumerate(KINDS):
        drop_card(page, kind, box)
    answer(page, 300)  # all pictures are looked at first
    page.wait_for_timeout(20_000)  # and by the encoders it is compared with


def drop_card(page, kind: str, box: int) -> None:
    page.locator("#board .bm-search").fill(kind)
    first = page.locator("#board .bm-card").first
    until(lambda: (first.get_attribute("title") or "").startswith(kind), f"a {kind} is in sight")
    drag(page, first, page.locator("#board .bm-box").nth(box))


def answer(page, seconds: float = 30) -> float:
    """Milliseconds from the newest drop to its answer."""
    return until(lambda: page.evaluate(TIMES), "the answer is on the screen", seconds, pause=0.02)


def cards(page, drops: int, pause: float) -> list[float]:
    """Drops of cards, `pause` seconds after each answer; the last ones are taken back, so that boxes stay small."""
    found = []
    for number in range(drops):
        drop_card(page, KINDS[number % len(KINDS)], number % len(KINDS))
        found.append(answer(page))
        time.sleep(pause)
    for _ in range(drops):
        page.locator("#board .bm-icon").first.click()
    page.wait_for_timeout(5_000)
    return found


def files(page, count: int) -> list[float]:
    found = []
    for number, (path, picture) in enumerate(itertools.islice(draw_creatures(seed=2, each=count), count)):
        data = io.BytesIO()
        picture.resize((640, 640)).save(data, "JPEG", quality=90)
        page.evaluate(DROP, [number % len(KINDS), list(data.getvalue()), f"{path.replace('/', '-')}.jpg"])
        found.append(answer(page))
        time.sleep(2.5)
    return found


def row(what: str, milliseconds: list[float]) -> dict:
    median, high = np.quantile(milliseconds, [0.5, 0.95])
    found = {"what": what, "drops": len(milliseconds), "median_ms": round(float(median)), "p95_ms": round(float(high))}
    found["most_ms"] = round(max(milliseconds))
    print(found, flush=True)
    return found


if __name__ == "__main__":
    main()
