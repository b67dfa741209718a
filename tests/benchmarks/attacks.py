"""Sends every hostile file to a page of a shared machine, and measures what each costs: `python tests/benchmarks/attacks.py`.

One line for each: what the page said, seconds, and megabytes of memory above those before, of the page's process and of
those that decode. Written to results/attacks.json.
"""

import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from hostile import files, png
from visitor import Visitor, serving

from byolmeta.ui import warm


def used() -> float:
    """Megabytes of this process and of those below it (Linux)."""
    pages, parents = {}, {}
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            pages[process] = int(Path(f"/proc/{process}/statm").read_text().split()[1])
            parents[process] = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            pass  # it has ended
    mine = {str(os.getpid())}
    while more := {process for process, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(pages.get(process, 0) for process in mine) * os.sysconf("SC_PAGE_SIZE") / 1e6


def watched(action: Callable) -> tuple[object, float, float]:
    """(result, seconds, megabytes at most above those before)."""
    ended, most = threading.Event(), [0.0]
    before = used()

    def watch() -> None:
        while not ended.wait(0.03):
            most[0] = max(most[0], used() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.monotonic()
    try:
        result = action()
    finally:
        seconds = time.monotonic() - start
        ended.set()
        thread.join()
    return result, seconds, most[0]


def said(messages: list[dict]) -> str:
    """The sentence that the page showed, or how many pictures it took."""
    text = json.dumps(messages)
    found = re.search(r"role='alert'>(.*?)</p>", text) or re.search(r'"error": "(.*?)"', text)
    return found.group(1) if found else "taken"


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "home", public=True) as (work, demo, address):
        warm(work)
        for name, (file, data) in files().items():
            visitor = Visitor(address)
            beside = [] if file.endswith(".zip") else list(visitor.upload({f"{n}.png": png(n) for n in range(4)}))
            sent = visitor.upload({file: data}) + beside
            told, seconds, megabytes = watched(lambda v=visitor, s=sent: v.event("drop", "received", sent={"files": s}))
            session = work.session(visitor.name(work, demo))
            answer = said(told)
            if session.source:
                index = work.pictures(session).store.index
                answer = f"{len(index)} pictures; " + "; ".join(f"{s.name}: {s.reason}" for s in index.skipped[:3])
            rows.append(
                {
                    "attack": name,
                    "bytes": len(data),
                    "answer": answer[:300],
                    "seconds": round(seconds, 2),
                    "megabytes": round(megabytes),
                }
            )
            print(
                f"{name:36} {len(data) / 1e6:6.1f} MB  {seconds:6.2f} s {megabytes:6.0f} MB  {answer[:110]}", flush=True
            )
            assert Visitor(address).status("/config") == 200
    (HERE / "results" / "attacks.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
