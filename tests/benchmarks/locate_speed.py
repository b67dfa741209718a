"""The part `speed` of locate.py: seconds for one picture of 640 px, boxes and outlines together, as the page does it."""

import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from locate_detect import ENCODER, Part

from byolmeta import detect, segment
from byolmeta.encoder import load_encoder
from byolmeta.locate import upright
from byolmeta.search import Mark, Sight, learn, learn_usual

KEYS = ("what", "threads")
PICTURES = 20


def rows(flags) -> Iterator[dict]:
    """Pictures of coco128, brought to a longer side of 640: seen for the first time, asked again, and learning from one box."""
    part = Part(flags.data, "coco128", "")
    images = [enlarged(upright(data)[0]) for data in part.bytes[: PICTURES + 12]]
    encoder = load_encoder(ENCODER)
    maps = detect.maps_of(encoder), segment.maps_of(encoder)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        sights = [Sight(*maps, image) for image in images]
        usual = learn_usual(sights[:12])
        wide, high = sights[0].width, sights[0].height
        mark = Mark(0, 0, box=(0.3 * wide, 0.3 * high, 0.7 * wide, 0.7 * high))
        taught, search = timed(learn, maps, {0: sights[0]}, [mark], 1, usual)
        first = [timed(search, sight)[0] for sight in sights[12:]]
        again = [timed(search, sight)[0] for sight in sights[12:]]
        for what, seconds in (("learned from one box", [taught]), ("a new picture", first), ("asked again", again)):
            wall, processor = np.array(seconds).T
            yield {"what": what, "threads": threads, "pictures": len(seconds), "seconds": round(float(np.median(wall)), 3),
                   "seconds_p95": round(float(np.quantile(wall, 0.95)), 3),
                   "processor_seconds": round(float(np.median(processor)), 3)}  # fmt: skip


def enlarged(image: torch.Tensor, side: int = 640) -> torch.Tensor:
    size = [round(length * side / max(image.shape[1:])) for length in image.shape[1:]]
    return F.interpolate(image[None].float(), size=size, mode="bilinear")[0].round().byte()


def timed(work, *arguments) -> tuple:
    """((seconds, processor seconds of all threads), what the work returned)."""
    start, used = time.perf_counter(), time.process_time()
    found = work(*arguments)
    return (time.perf_counter() - start, time.process_time() - used), found
