"""The map in a browser: first draw, frames and what is under the pointer, with many pictures. Headless Chromium, 1440 x 900.

    python tests/benchmarks/map_page.py [--sizes 50000,100000] [--rounds 5]

Dots of a drawn map in the page that `byolmeta map` writes, with canvas and with WebGL2 (here its software renderer, unless the machine
has a graphics card). First draw: from the positions to the first picture of them; frame: the time of one redraw while the map is
moved, and from one frame to the next; under the pointer: 200 places.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]
import numpy as np
from browser import chromium
from machine import about

from byolmeta.ui.map_page import map_page

RESULT = HERE / "results" / "map_page.json"
FRAMES = """async () => {
  const scatter = document.querySelector(".scatter").__scatter, canvas = document.querySelector(".overlay");
  const box = canvas.getBoundingClientRect(), gaps = [];
  let last = 0;
  for (let at = 0; at < 40; at++) {
    canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: at % 2 ? 40 : -40, clientX: box.left + 500, clientY: box.top + 300,
      bubbles: true, cancelable: true }));
    const now = await new Promise(requestAnimationFrame);
    if (at > 5) gaps.push(now - last);
    last = now;
  }
  const draws = Array.from({ length: 25 }, () => scatter.draw());
  const under = Array.from({ length: 200 }, (_, at) => scatter.pick(20 + (at * 37) % (box.width - 40), 20 + (at * 53) % (box.height - 40)));
  return { first: scatter.firstDraw(), gaps, draws, under };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="50000,100000")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    rows = []
    for count in map(int, flags.sizes.split(",")):
        found = {painter: [] for painter in ("nogl", "gl")}
        with tempfile.TemporaryDirectory() as folder, chromium() as browser:
            page = Path(folder) / "map.html"
            page.write_text(drawn(count), encoding="utf-8")
            for _ in range(flags.rounds):
                for painter, each in found.items():  # in turns
                    each.append(visit(browser, f"{page.as_uri()}?{painter}"))
        for painter, each in found.items():
            name = {"nogl": "canvas", "gl": "webgl2"}[painter]
            rows.append({"pictures": count, "painter": name, "rounds": flags.rounds} | figures(each))
            print(rows[-1], flush=True)
    RESULT.write_text(json.dumps(about(("playwright",)) | {"rows": rows}, indent=1) + "\n", encoding="utf-8")


def drawn(count: int) -> str:
    """A page of a map of 20 clouds."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 20, count)
    places = (random.normal(size=(20, 2))[labels] * 8 + random.normal(size=(count, 2))).astype(np.float32)
    index = SimpleNamespace(paths=[f"{label}/{row:06}.png" for row, label in enumerate(labels)])
    names = tuple(f"class {label}" for label in range(20))
    store = type("Store", (), {"__len__": lambda self: count})()
    store.index, store.labels, store.class_names, store.size = index, labels, names, 64
    return map_page(places, store, dots=True)


def visit(browser, address: str) -> dict:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(address)
    page.wait_for_function("document.querySelector('.scatter')?.__scatter?.firstDraw() > 0")
    page.wait_for_timeout(1500)
    found = page.evaluate(FRAMES)
    page.close()
    return found


def figures(visits: list[dict]) -> dict:
    """Medians over visits, in milliseconds, with the least and the most; the most of all for what is under the pointer."""
    found = {}
    for name, key in (("first_draw", "first"), ("draw", "draws"), ("frame_to_frame", "gaps")):
        each = [v[key] if key == "first" else statistics.median(v[key]) for v in visits]
        found[f"{name}_ms"] = round(statistics.median(each), 1)
        found[f"{name}_ms_spread"] = [round(min(each), 1), round(max(each), 1)]
    under = [value for v in visits for value in v["under"]]
    found |= {
        "under_pointer_ms_p95": round(float(np.quantile(under, 0.95)), 2),
        "under_pointer_ms_most": round(max(under), 2),
    }
    return found


if __name__ == "__main__":
    main()
