"""How well things are found and outlined from a few examples: results/locate.json.

    python tests/benchmarks/locate.py DATA [--only detect,segment,speed] [--draws 20] [--sets raccoon,...]

Constants and methods were chosen on the training parts of the sets (coco128: none, but every second class of its masks was
looked at while tags were worked on); what is reported is on their test parts,
by the shipped encoder and by baselines of the same pipeline in the same run. Intervals are 95 %, over draws of the examples.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import torch
from machine import about

RESULT = Path(__file__).parent / "results" / "locate.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--home", type=Path, default=Path("~/.byolmeta").expanduser())
    parser.add_argument("--only", default="detect,segment,speed")
    parser.add_argument("--draws", type=int, default=20, help="of the examples, for each figure")
    parser.add_argument("--sets", default="", help="names with commas; all")
    parser.add_argument("--arms", default="", help="names with semicolons; all")
    parser.add_argument("--tasks", default="", help="of segment: names with semicolons; all")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    for part in flags.only.split(","):
        module = __import__(f"locate_{part}")
        start = time.perf_counter()
        for row in module.rows(flags):
            print(part, row, flush=True)
            row = about() | {"draws": flags.draws, **row}
            keep(part, row, module.KEYS)
        print(part, f"{time.perf_counter() - start:.0f} s", flush=True)


def keep(part: str, row: dict, keys: tuple[str, ...]) -> None:
    """Puts a row into the file of results, in place of an old one of the same keys."""
    found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    others = [old for old in found.get(part, []) if any(old[key] != row[key] for key in keys)]
    RESULT.write_text(json.dumps(found | {part: [*others, row]}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
