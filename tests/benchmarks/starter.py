"""Trains a starter encoder on a folder or zip of pictures, in steps that can be taken up again.

    python tests/benchmarks/starter.py PICTURES OUT --epochs 400

Exit status 3 says that it is not done: call it again with the same OUT.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from machine import about

from byolmeta.images import open_store
from byolmeta.pretrain import pretrain
from byolmeta.runs import Run
from byolmeta.settings import PretrainConfig

NOT_DONE = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder", default="small")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=float, default=400)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--minutes", type=float, default=8, help="of training in this call")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    config = PretrainConfig(encoder=flags.encoder, image_size=flags.image_size, epochs=flags.epochs,
                            batch_size=flags.batch_size, seed=flags.seed, check_share=0.02)  # fmt: skip
    sys.exit(0 if train(flags.pictures, flags.out, config, flags.minutes) else NOT_DONE)


def train(pictures: Path, out: Path, config: PretrainConfig, minutes: float, progress=None) -> bool:
    """Trains OUT/run for so many minutes at most; True once it is done, with OUT/run.json beside it."""
    end, run = time.monotonic() + 60 * minutes, Run(out / "run")
    store = open_store(pictures, out / "stores", config.image_size)
    resume = (run.folder / "config.json").exists()
    if not resume:
        run.create(config)

    def watch(step: int, steps: int, line: dict) -> None:
        if progress:
            progress(run)
        if time.monotonic() > end:
            run.ask("stop")

    if run.status()["state"] != "done":
        pretrain(store, config, run, resume=resume, progress=watch)
    status = run.status()
    if status["state"] != "done":
        print(f"Not done: {status['step']} of {status['steps']} steps.")
        return False
    checks = [{"step": m["step"], **m["check"]} for m in run.metrics() if "check" in m]
    (out / "run.json").write_text(json.dumps(about() | {"result": status["result"], "checks": checks}, indent=1) + "\n")
    return True


if __name__ == "__main__":
    main()
