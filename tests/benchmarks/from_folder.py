"""From a folder of many pictures to learning: decode rate, memory, steps a second, and a store that streams from disk.

    python tests/benchmarks/from_folder.py PICTURES --count 100000

Makes `count` JPEG files of about 80 pixels out of PICTURES (cut, mirrored, shifted) in a temporary folder, decodes them at 64
pixels on all cores, opens the store again, trains `small` on it for a while, and once more with the store's pages dropped
from memory before and during the run. Memory is the peak of resident pages of the process with its children, without those
that map the store. Start-up: a command on 10,000 decoded pictures until its first step is in the metrics.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import numpy as np
from machine import about
from PIL import Image

from byolmeta.images import open_store
from byolmeta.pretrain import pretrain
from byolmeta.runs import Run
from byolmeta.settings import PretrainConfig

RESULT = Path(__file__).parent / "results" / "from_folder.json"
ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=40, help="of training")
    flags = parser.parse_args()
    result = about() | {"pictures": flags.count}
    with tempfile.TemporaryDirectory(prefix="from-folder-") as place:
        place = Path(place)
        draw(flags.pictures, place, flags.count)
        with Memory() as memory:
            start = time.perf_counter()
            store = open_store(place / "many", place / "home" / "stores", 64)
            result["first time"] = {"pictures_per_second": round(len(store) / (time.perf_counter() - start)),
                                    "peak_mib": memory.peak()}  # fmt: skip
        start = time.perf_counter()
        store = open_store(place / "many", place / "home" / "stores", 64)
        result["opened again"] = {"seconds": round(time.perf_counter() - start, 2)}
        result["store_mib"] = round(store.pixels.nbytes / 2**20)
        for name, cold in (("training", False), ("training, store dropped from memory", True)):
            with Memory() as memory:
                found = train(store, place / name, flags.seconds, cold)
                result[name] = found | {"peak_mib": memory.peak()}
            print(name, result[name], flush=True)
        few = place / "few"
        few.mkdir()
        for file in sorted((place / "many").iterdir())[:10_000]:
            os.link(file, few / file.name)
        open_store(few, place / "home" / "stores", 64)
        result["first step with 10,000 decoded pictures"] = {"seconds": [start_up(few, place, n) for n in range(3)]}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def draw(source: Path, place: Path, count: int) -> None:
    """`count` JPEG files of different content."""
    pixels = open_store(source, place / "source", 96).pixels
    random, folder = np.random.default_rng(0), place / "many"
    folder.mkdir()
    for number in range(count):
        picture = pixels[number % len(pixels)].transpose(1, 2, 0)
        top, left = random.integers(0, 17, 2)
        cut = picture[top : top + 80, left : left + 80, :: random.choice([-1, 1])]
        if random.random() < 0.5:
            cut = cut[:, ::-1]
        data = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(cut)).save(data, "JPEG", quality=88)
        (folder / f"{number:06d}.jpg").write_bytes(data.getvalue())
    shutil.rmtree(place / "source")


def train(store, folder: Path, seconds: float, cold: bool) -> dict:
    """Rates of the steps after the first five; `cold`: the store's pages are dropped from memory again and again."""
    config = PretrainConfig(encoder="small", image_size=64, batch_size=128, epochs=100, log_every=1, check_share=1e-6)
    run, began = Run(folder), time.perf_counter()
    run.create(config)
    file = os.open(store.pixels.filename, os.O_RDONLY)

    def progress(step: int, steps: int, line: dict) -> None:
        if cold:
            store.pixels._mmap.madvise(4)  # MADV_DONTNEED: this process's pages ...
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # ... and the system's copy of them
        if time.perf_counter() - began > seconds and step > 10:
            run.ask("stop")

    pretrain(store, config, run, progress=progress)
    os.close(file)
    lines = [line for line in run.metrics() if "loss" in line and line["step"] >= 5]
    steps = (lines[-1]["step"] - lines[0]["step"]) / (lines[-1]["seconds"] - lines[0]["seconds"])
    return {
        "steps_per_second": round(steps, 3),
        "pictures_per_second": round(128 * steps, 1),
        "steps": lines[-1]["step"],
    }


def start_up(folder: Path, place: Path, number: int) -> float:
    """Seconds from the command until the first step is in the metrics."""
    run, start = Run(place / f"start-{number}"), time.perf_counter()
    words = ["pretrain", folder, "--out", run.folder, "--home", place / "home", "--log-every", 1, "--epochs", 1]
    process = subprocess.Popen([sys.executable, "-m", "byolmeta", *map(str, words)], cwd=ROOT, stderr=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)  # fmt: skip
    while not any("loss" in line for line in run.metrics()) and process.poll() is None:
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    process.kill()
    process.wait()
    return round(seconds, 2)


class Memory(threading.Thread):
    """Watches the resident memory of this process and its children, without pages that are files'."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.ended = 0, False

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.join()

    def peak(self) -> int:
        return round(self.most / 2**20)

    def run(self) -> None:
        while not self.ended:
            self.most = max(self.most, sum(anonymous(pid) for pid in [os.getpid(), *children(os.getpid())]))
            time.sleep(0.1)


def anonymous(pid: int) -> int:
    """Bytes of resident memory that are no file's."""
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return 1024 * int(lines["RssAnon"].split()[0])
    except (OSError, KeyError, ValueError):
        return 0


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except (OSError, ValueError, IndexError):
            pass
    return found


if __name__ == "__main__":
    main()
