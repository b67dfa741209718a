"""Twenty visitors of a shared machine at once, by raw HTTP: `python tests/benchmarks/visitors.py [20]`.

Each opens the page, sends pictures, puts two into boxes and moves others to and fro. Written to results/visitors.json: how
long a move takes until its answer (of the whole event, as the browser sees it), memory of the app's processes, errors.
"""

import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent), str(HERE)]

from attacks import used
from hostile import png
from visitor import Visitor, serving

from byolmeta.ui import warm

PICTURES, MOVES = 30, 6


def visit(address: str, number: int, moves: list[float], errors: list[str], visitors: list[Visitor]) -> None:
    """One visitor from the first page to the last move."""
    try:
        visitor = Visitor(address)
        visitors.append(visitor)
        visitor.first()
        files = visitor.upload({f"{n}.png": png(100 * number + n) for n in range(PICTURES)})
        told = visitor.event("drop", "received", sent={"files": files})[-1]
        assert told["success"], told
        for rev in range(1, MOVES + 1):
            items = [[0, rev + 1], [1]]
            boxes = [{"id": f"b{n + 1}", "name": f"Box {n + 1}", "items": ids} for n, ids in enumerate(items)]
            start = time.monotonic()
            told = visitor.event("board", "change", sent={"rev": 10 + rev, "boxes": boxes})[-1]
            moves.append(time.monotonic() - start)
            assert told["success"], told
    except Exception as problem:  # counted: that there is none is what is measured
        errors.append(f"visitor {number}: {problem!r}"[:500])


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "home", public=True) as (work, _, address):
        warm(work)
        before, moves, errors, visitors = used(), [], [], []
        threads = [threading.Thread(target=visit, args=(address, n, moves, errors, visitors)) for n in range(count)]
        start, most = time.monotonic(), 0.0
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most = max(most, used())
            time.sleep(0.2)
        found = {
            "visitors": count,
            "pictures": PICTURES,
            "moves": len(moves),
            "errors": errors,
            "seconds": round(time.monotonic() - start, 1),
            "move_median": round(float(np.median(moves)), 2) if moves else None,
            "move_95": round(float(np.quantile(moves, 0.95)), 2) if moves else None,
            "megabytes_before": round(before),
            "megabytes_most": round(most),
        }
    print(json.dumps(found, indent=1))
    (HERE / "results" / "visitors.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
