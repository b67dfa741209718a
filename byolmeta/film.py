"""The film of a study: what the encoder saw at each check, the maps of it one from the other, and a moving picture.

film/frame-000001200.npz    ids and vectors of the pictures at step 1,200
film/film.npz               places of the frames that are laid out already
"""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from byolmeta.errors import InputError
from byolmeta.features import unit
from byolmeta.files import replace_file

MOST = 120  # frames kept: one check each, of a long study every second, fourth ... one
DIRECTIONS = 32  # of the vectors of a frame: 128 kB for 2,000 pictures
PLACES = "film.npz"

# As in ui/scatter/map.js: Okabe and Ito, with a violet where theirs has black; the next rounds lighter, then darker.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#e3d32b", "#7f5bab")
GREY = (150, 150, 150)
PAPER, DARK = (255, 255, 255), (17, 17, 19)
MOST_PICTURES = 400  # up to here pictures are drawn, beyond dots
FINE = 2  # drawn this much larger, then shrunk: smooth edges
HOLD = 1.2  # seconds that the last picture stays
FPS = {"dots": 20, "pictures": 12.5}  # a GIF counts hundredths of a second


@dataclass(frozen=True, eq=False)
class Frame:
    """What the encoder saw at one check."""

    step: int
    ids: np.ndarray  # int64 (n,), rows of the store
    vectors: np.ndarray  # float32 (n, at most 32)
    mark: str = ""  # of the pictures of the store, where it is known

    @property
    def key(self) -> int:
        """Tells frames apart, also two of the same step."""
        return zlib.crc32(self.vectors.tobytes(), zlib.crc32(self.ids.tobytes(), self.step))


# Frames


def mark_of(store) -> str:
    """What tells the pictures of a store, by their paths, from others."""
    return hashlib.sha256("\0".join(store.index.paths).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def add_frame(folder: Path, step: int, ids: np.ndarray, vectors: np.ndarray, mark: str = "") -> None:
    """Adds the vectors (n, D) of the pictures `ids` (n,) at a step to the film in `folder`.

    Frames of this step or later go: a resumed run does them again. Those of other pictures go too. Beyond 120 frames
    every second one goes, never the first nor the last.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)  # not its parents: a run folder that was deleted stays so
    before = _files(folder)
    earlier = [path for path in before if _step(path) < step]
    last = _read(earlier[-1]) if earlier else None
    if last is not None and not np.array_equal(last.ids, ids):
        earlier = []
    for path in before:
        if path not in earlier:
            path.unlink(missing_ok=True)
    arrays = {"step": step, "ids": ids.astype(np.int32), "vectors": shortened(vectors).astype(np.float16), "mark": mark}
    replace_file(folder / f"frame-{step:09d}.npz", lambda path: _save(path, arrays))
    if len(earlier) + 1 > MOST:
        for path in _files(folder)[1:-1:2]:
            path.unlink(missing_ok=True)


def frames(folder: Path) -> list[Frame]:
    """The frames in order of their steps; damaged ones, and those of other pictures than the last one's, are left out."""
    found = [frame for path in _files(Path(folder)) if (frame := _read(path)) is not None]
    return [frame for frame in found if np.array_equal(frame.ids, found[-1].ids)]


def shortened(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors in their 32 main directions, (n, at most 32): the smallest change of all cosines together.

    The directions go through the origin, not the mean, as the map is made of cosines.
    """
    x = unit(np.asarray(vectors, np.float32))
    if x.shape[1] <= DIRECTIONS:
        return x
    _, axes = np.linalg.eigh(x.T @ x)
    return x @ axes[:, ::-1][:, :DIRECTIONS]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("frame-*.npz") if path.stem[6:].isdigit())


def _step(path: Path) -> int:
    return int(path.stem[6:])


def _read(path: Path) -> Frame | None:
    try:
        with np.load(path) as file:
            mark = str(file["mark"]) if "mark" in file else ""
            frame = Frame(int(file["step"]), file["ids"].astype(np.int64), file["vectors"].astype(np.float32), mark)
    except Exception:  # a damaged file makes numpy raise nearly anything
        return None
    ids, vectors = frame.ids, frame.vectors
    whole = ids.ndim == 1 and len(ids) and ids.min() >= 0 and vectors.ndim == 2 and len(vectors) == len(ids)
    return frame if whole and np.isfinite(vectors).all() else None


def _save(path: Path, arrays: dict) -> None:
    with open(path, "wb") as file:  # np.savez would add an ending to the name
        np.savez(file, **arrays)


# Places


def layouts(
    found: list[Frame],
    layout: Callable[[np.ndarray, np.ndarray | None], np.ndarray],
    start: np.ndarray | None = None,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Places (F, n, 2), float32, of the pictures in each frame, every map made from the one before.

    `layout(vectors, places before or None)` makes one, as `image_map.umap_layout`; the first begins at `start`. Each
    is turned and moved onto the one before, so that the film does not spin. With `folder` (that of the frames), what
    is laid out is kept there, and only new frames are made; also what was made before `progress(done, total)` raised.
    """
    from byolmeta.image_map import align  # loads numba, which a run that only adds frames need not wait for

    known = {} if folder is None else _known(folder / PLACES)
    known = {key: places for key, places in known.items() if found and places.shape == (len(found[0].ids), 2)}
    made, places = len(known), start
    result = []
    try:
        for number, frame in enumerate(found):
            if frame.key not in known:
                after = np.asarray(layout(frame.vectors, places), np.float32)
                known[frame.key] = after if places is None else align(after, places)
            places = known[frame.key]
            result.append(places)
            if progress:
                progress(number + 1, len(found))
    finally:
        if folder is not None and len(known) > made and result:
            keys = [frame.key for frame in found[: len(result)]]
            arrays = {"keys": np.array(keys, np.int64), "places": np.stack(result)}
            replace_file(folder / PLACES, lambda path: _save(path, arrays))
    return np.stack(result) if result else np.empty((0, 0, 2), np.float32)


def jumps(places: np.ndarray) -> np.ndarray:
    """How far pictures move from frame to frame on average, as a share of the map's radius, (F - 1,).

    The radius is the mean distance from the middle.
    """
    radius = np.linalg.norm(places - places.mean(1, keepdims=True), axis=2).mean(1)
    return np.linalg.norm(np.diff(places, axis=0), axis=2).mean(1) / np.maximum(radius[:-1], 1e-12)


def _known(path: Path) -> dict[int, np.ndarray]:
    """Places by the key of their frame; none if the file is absent or damaged."""
    try:
        with np.load(path) as file:
            keys, places = file["keys"], file["places"]
        whole = keys.ndim == 1 and places.ndim == 3 and len(keys) == len(places) and np.isfinite(places).all()
    except Exception:  # as in `_read`
        return {}
    return dict(zip(keys.tolist(), places.astype(np.float32), strict=True)) if whole else {}


# The moving picture


def gif(
    path: Path,
    places: np.ndarray,
    labels: np.ndarray | None = None,
    pixels: np.ndarray | None = None,
    *,
    size: int = 480,
    seconds: float = 6,
    dark: bool = False,
) -> None:
    """Writes an animated GIF of places (F, n, 2), `size` pixels wide and high; the last map stays for a moment.

    Dots in the colours of `labels` (n,), grey for -1; or the pictures, `pixels` uint8 (n, 3, S, S), up to 400 of them.
    A thin line below tells how far the film is.
    """
    if not places.size:
        raise InputError("There is no film yet: it is made while the pictures are studied. Study them first.")
    few = pixels is not None and len(pixels) <= MOST_PICTURES
    ground = DARK if dark else PAPER
    colours = [GREY] * places.shape[1] if labels is None else [colour_of(int(label)) for label in labels]
    tiles = _tiles(pixels, colours if labels is not None else None, size) if few else None
    spots = _spots(places, size, margin=tiles[0].width / FINE / 2 + 4 if few else 8)

    def draw(at: float) -> Image.Image:
        image = Image.new("RGB", (size * FINE, size * FINE), ground)
        if few:
            _draw_pictures(image, between(spots, at), tiles)
        else:
            _draw_dots(image, between(spots, at), colours)
        line = ImageDraw.Draw(image)
        done = size * FINE * (at / (len(places) - 1) if len(places) > 1 else 1)
        line.rectangle((0, (size - 2) * FINE, done, size * FINE), fill=GREY)
        return image.resize((size, size), Image.Resampling.BOX)

    fps = FPS["pictures" if few else "dots"]
    times = _times(len(places), round(seconds * fps))
    palette = _palette_of(tiles, ground) if few else _palette_for(set(colours), ground)
    images = (draw(at).quantize(palette=palette, dither=Image.Dither.NONE) for at in times)
    durations = [round(1000 / fps)] * (len(times) - 1) + [round(1000 * HOLD)]
    replace_file(
        Path(path),
        lambda target: next(images).save(
            target, "GIF", save_all=True, append_images=images, duration=durations, loop=0, optimize=False
        ),
    )


def colour_of(label: int) -> tuple[int, int, int]:
    """The colour of a class as the map on the page shows it; grey without one."""
    if label < 0:
        return GREY
    text, turn = PALETTE[label % 8], label // 8 % 3
    towards, amount = ((0, 0), (255, 0.45), (0, 0.35))[turn]
    red, green, blue = (int(text[at : at + 2], 16) for at in (1, 3, 5))
    return tuple(round(part + (towards - part) * amount) for part in (red, green, blue))


def between(places: np.ndarray, at: float) -> np.ndarray:
    """Places (n, 2) at a moment 0..F-1 of (F, n, 2), on a smooth curve through all frames (Catmull and Rom 1974)."""
    number = min(int(at), len(places) - 2) if len(places) > 1 else 0
    t = at - number
    p0, p1, p2, p3 = (places[np.clip(number + shift, 0, len(places) - 1)] for shift in (-1, 0, 1, 2))
    return p1 + t / 2 * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))


def _times(count: int, drawn: int) -> np.ndarray:
    """Moments 0..count-1 of the pictures drawn, slow at both ends; one for a film of one frame."""
    if count < 2:
        return np.zeros(1)
    t = np.linspace(0, 1, max(2, drawn))
    return (count - 1) * t * t * (3 - 2 * t)


def _spots(places: np.ndarray, size: int, margin: float) -> np.ndarray:
    """Places as points of the fine picture, all frames at one scale, y down."""
    low, high = places.min((0, 1)), places.max((0, 1))
    scale = (size - 2 * margin) / max((high - low).max(), 1e-12)
    return ((places - (low + high) / 2) * scale * (1, -1) + size / 2) * FINE


def _draw_dots(image: Image.Image, spots: np.ndarray, colours: list) -> None:
    pen = ImageDraw.Draw(image)
    radius = np.clip(130 / np.sqrt(len(spots) + 1) + 2.2, 3, 9) / 2 * FINE  # as on the page
    for row in _mixed(len(spots)):
        x, y = spots[row]
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colours[row])


def _draw_pictures(image: Image.Image, spots: np.ndarray, tiles: list[Image.Image]) -> None:
    for row in _mixed(len(spots)):
        x, y = np.rint(spots[row] - tiles[row].width / 2).astype(int)
        image.paste(tiles[row], (int(x), int(y)))


def _tiles(pixels: np.ndarray, colours: list | None, size: int) -> list[Image.Image]:
    """Pictures at the size they are drawn at, with a border in the colour of their class if there are classes."""
    side = round(float(np.clip(0.8 * size / np.sqrt(len(pixels)), 18, 64)) * FINE)
    border = FINE if colours else 0
    tiles = []
    for row, picture in enumerate(pixels):
        tile = Image.new("RGB", (side, side), colours[row] if colours else 0)
        inner = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
        tile.paste(inner.resize((side - 2 * border,) * 2, Image.Resampling.LANCZOS), (border, border))
        tiles.append(tile)
    return tiles


def _mixed(n: int) -> np.ndarray:
    """The order in which pictures are drawn: always the same, no class on top of the others."""
    return np.random.default_rng(0).permutation(n)


def _palette_for(colours: set, ground: tuple) -> Image.Image:
    """The colours and their smooth edges on the ground: nothing flickers when all pictures share these."""
    edges = [
        tuple(round(g + (c - g) * share / 4) for c, g in zip(colour, ground, strict=True))
        for colour in sorted(colours | {GREY})
        for share in (1, 2, 3, 4)
    ]
    return _palette([part for colour in [ground, *edges] for part in colour])


def _palette_of(tiles: list[Image.Image], ground: tuple) -> Image.Image:
    """192 colours that fit the pictures, the ground and the grey of the line among them."""
    side = tiles[0].width
    strip = Image.new("RGB", (side * len(tiles), side))
    for number, tile in enumerate(tiles):
        strip.paste(tile, (number * side, 0))
    found = np.array(strip.quantize(190).getpalette()).reshape(-1, 3)
    far = np.abs(found - ground).max(1) > 12  # Pillow looks colours up in coarse cells: the ground keeps its own
    return _palette([*ground, *GREY, *found[far].ravel().tolist()])


def _palette(parts: list[int]) -> Image.Image:
    palette = Image.new("P", (1, 1))
    palette.putpalette(parts)
    return palette
