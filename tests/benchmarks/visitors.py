"""Visitors of a shared machine at once, by raw HTTP: `python tests/benchmarks/visitors.py [20]`.

All open the page and send pictures in the same moment; when all have theirs on the board, each puts pictures into boxes and moves
them to and fro, with a few seconds between two moves as a person has, and all that the page asks for after each. Written to
results/visitors.json: how long pictures take until they are on the board, and a move until its answer; memory; errors.
"""

import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent), str(HERE)]

from attacks import used
from browser import App
from hostile import png
from machine import about
from visitor import Visitor

PICTURES, MOVES = 30, 10
PAUSE = 3.0, 7.0  # seconds between two moves of one visitor


class Visit(threading.Thread):
    """One visitor, from the first page to the last move."""

    def __init__(self, address: str, number: int, together: threading.Barrier):
        super().__init__()
        self.address, self.number, self.together = address, number, together
        self.opened, self.arrived, self.moves, self.problem = 0.0, 0.0, [], ""

    def run(self) -> None:
        try:
            self.arrive()
            self.together.wait()
            self.move()
        except Exception as problem:  # counted: that there is none is what is measured
            self.problem = f"visitor {self.number}: {problem!r}"[:500]
            self.together.abort()

    def arrive(self) -> None:
        self.together.wait()
        start = time.monotonic()
        self.visitor = Visitor(self.address)
        self.visitor.web.timeout = 300
        self.visitor.first()
        self.opened = time.monotonic() - start
        start = time.monotonic()
        files = self.visitor.upload({f"{n}.png": png(100 * self.number + n) for n in range(PICTURES)})
        told = self.visitor.event("drop", "received", sent={"files": files})[-1]
        assert told["success"], told
        self.arrived = time.monotonic() - start
        self.visitor.follow(self.visitor.dependency("drop", "received"))

    def move(self) -> None:
        chance = random.Random(self.number)
        for rev in range(1, MOVES + 1):
            time.sleep(chance.uniform(*PAUSE))
            boxes = [
                {"id": f"b{n + 1}", "name": f"Box {n + 1}", "items": ids} for n, ids in enumerate([[0, rev + 1], [1]])
            ]
            start = time.monotonic()
            told = self.visitor.event("board", "change", sent={"rev": 10 + rev, "boxes": boxes})[-1]
            self.moves.append(time.monotonic() - start)
            assert told["success"], told
            self.visitor.follow(self.visitor.dependency("board", "change"))


def spread(seconds: list[float]) -> dict:
    found = {"median": np.median(seconds), "95": np.quantile(seconds, 0.95), "most": max(seconds)} if seconds else {}
    return {key: round(float(value), 2) for key, value in found.items()}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        app = App(Path(folder) / "home", "--public")
        try:
            time.sleep(20)  # torch and the map's process load behind the page
            before, most, start = used(), 0.0, time.monotonic()
            together = threading.Barrier(count)
            visits = [Visit(app.address, number, together) for number in range(count)]
            for visit in visits:
                visit.start()
            while any(visit.is_alive() for visit in visits):
                most = max(most, used())
                time.sleep(0.5)
            faults = app.output().count("Traceback")
        finally:
            app.end()
    found = {
        "visitors": count,
        "pictures": PICTURES,
        "errors": [visit.problem for visit in visits if visit.problem] + ["a fault in the terminal"] * faults,
        "seconds": round(time.monotonic() - start, 1),
        "page_opened": spread([visit.opened for visit in visits]),
        "pictures_ready": spread([visit.arrived for visit in visits]),
        "move_answered": spread([move for visit in visits for move in visit.moves]),
        "moves": sum(len(visit.moves) for visit in visits),
        "megabytes_before": round(before),
        "megabytes_most": round(most),
    } | about()
    print(json.dumps(found, indent=1))
    (HERE / "results" / "visitors.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
