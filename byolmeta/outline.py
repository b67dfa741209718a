"""Pictures with masks or tags in, masks of other pictures out: what the verb `segment` does."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from byolmeta.decode import FORMATS, Limits, read_file
from byolmeta.encoder import load_encoder
from byolmeta.errors import InputError
from byolmeta.files import replace_file
from byolmeta.locate import OTHERS, Scale, readable, upright
from byolmeta.located import Located, painted, png_of
from byolmeta.scan import index_images
from byolmeta.segment import Mark, Outline, Picture, Settings, learn_basis, maps_of, teach_segmenter
from byolmeta.tidy import originals, safe_name, unique
from byolmeta.workplace import TOLD, bar, local, text, writable, write_csv

WITHOUT = ("none", "background")  # names of the folder of pictures that have none of the things
CLASSES = 100  # different values of masks, at most
VOID = 255  # in masks that have other values too: no class
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Taught:
    """Pictures and what was marked on them."""

    pictures: tuple[Tensor, ...]  # uint8 (3, H, W), upright
    marks: tuple[Mark, ...]  # rows of `pictures`, labels of `names`
    names: tuple[str, ...]
    values: tuple[int, ...]  # of the classes in masks


class Outlined(NamedTuple):
    """A picture and what was outlined in it."""

    path: str
    picture: Tensor  # uint8 (3, h, w), upright, shrunk
    outline: Outline  # of the shrunk picture
    mask: np.ndarray  # uint8 (H, W) of the picture's own size: 0, or the class's value


def read_masks(folder: Path) -> Taught:
    """The pictures of FOLDER/images and the masks of the same names in FOLDER/masks. InputError where something is wrong.

    A mask has the size of its upright picture. 0 (of a mask with colours: black) is background, every other value (or colour) a
    class. 255 beside other values, the rim in some sets, counts as background.
    """
    folder = Path(folder)
    for name in ("images", "masks"):
        if not (folder / name).is_dir():
            raise InputError(
                f"'{folder.name}' has no folder '{name}'. Put pictures into images/, and masks of the same names into masks/."
            )
    masks = {path.stem: path for path in sorted((folder / "masks").iterdir()) if not path.name.startswith(".")}
    pictures, drawn, coloured = [], [], False
    for path in index_images(folder / "images").paths:
        path = folder / "images" / path
        if path.stem in masks:
            pixels, scale = _upright(path)
            found, in_colour = _read_mask(masks[path.stem])
            size = own_size(pixels, scale)
            if any(abs(a - b) > max(scale) for a, b in zip(found.shape, size, strict=True)):
                raise InputError(
                    f"The mask '{masks[path.stem].name}' has {found.shape[1]} x {found.shape[0]} pixels and its upright picture "
                    f"{size[1]} x {size[0]}. Give a mask of the picture's size."
                )
            pictures.append(pixels)
            drawn.append(
                F.interpolate(torch.from_numpy(found)[None, None].double(), size=pixels.shape[1:])[0, 0].long()
            )
            coloured |= in_colour
    if not pictures:
        raise InputError(f"No picture in '{folder.name}' has a mask: none in masks/ has the name of one in images/.")
    values = sorted(set(torch.cat([mask.unique() for mask in drawn]).tolist()) - {0})
    if len(values) > 1 and VOID in values and not coloured:
        values.remove(VOID)
    if not values:
        raise InputError("The masks are all background. Mark the thing in at least one, by a value other than 0.")
    if len(values) > CLASSES:
        raise InputError(
            f"The masks have {len(values)} values besides 0, at most {CLASSES} classes are possible. Save them as PNG, without "
            "smoothing, with one value for each class."
        )
    marks = [
        Mark(row, label, mask=mask == value) for row, mask in enumerate(drawn) for label, value in enumerate(values)
    ]
    names = [f"#{value:06x}" for value in values] if coloured else [str(value) for value in values]
    own = tuple(range(1, len(values) + 1)) if coloured else tuple(values)
    return Taught(tuple(pictures), tuple(marks), tuple(names), own)


def _upright(path: Path) -> tuple[Tensor, Scale]:
    try:
        return upright(read_file(path, Limits().file_bytes, follow=True))
    except InputError as problem:
        raise InputError(f"The picture '{path.name}' of an example could not be read. {problem}") from None


def _read_mask(path: Path) -> tuple[np.ndarray, bool]:
    """The values of a mask, int64 (H, W), and whether they are colours, 0xRRGGBB."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.size[0] * image.size[1] > Limits().pixels:
                raise InputError(
                    f"The mask '{path.name}' has {image.size[0]} x {image.size[1]} pixels, which is too many."
                )
            if image.mode in ("1", "L", "P", "I", "I;16"):
                values = np.array(image).astype(np.int64)
                if values.min() < 0 or values.max() > 255:
                    raise InputError(f"The mask '{path.name}' has values up to {values.max()}; they must be 0 to 255.")
                return values, False
            red, green, blue = np.moveaxis(np.array(image.convert("RGB")).astype(np.int64), 2, 0)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InputError(f"The mask '{path.name}' could not be read. Save it as PNG.") from None
    return red * 65536 + green * 256 + blue, True


def read_tags(folder: Path) -> Taught:
    """Class folders of pictures that have the thing, and one named `none` or `background` of pictures that have none.

    A picture of one class counts as having none of the others.
    """
    index = index_images(folder)
    if not index.class_names:
        raise InputError(
            f"'{Path(folder).name}' has no class folders. Put pictures that have the thing into a folder of its name, and others "
            f"into a folder '{WITHOUT[0]}'."
        )
    names = [name for name in index.class_names if name.lower() not in WITHOUT]
    if not names or len(index.class_names) < 2:
        raise InputError(
            f"'{Path(folder).name}' has the folder{'s' * (len(index.class_names) > 1)} {', '.join(index.class_names)} alone. Tags "
            f"need pictures that have the thing, in a folder of its name, and others, in a folder '{WITHOUT[0]}'."
        )
    pictures, marks = [], []
    with originals(index) as read:
        for path, label in zip(index.paths, index.labels.tolist(), strict=True):
            if label >= 0:
                own = index.class_names[label]
                marks += [Mark(len(pictures), number, has=own == name) for number, name in enumerate(names)]
                pictures.append(upright(read(path))[0])
    return Taught(tuple(pictures), tuple(marks), tuple(names), tuple(range(1, len(names) + 1)))


def segment_folder(
    encoder: str,
    taught: Taught,
    images: Path,
    skipped: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> Iterator[Outlined]:
    """What is outlined in the pictures of a folder or zip, one after the other.

    Those that cannot be read go to `skipped`, with the reason. Masks get the pictures' own sizes by bilinear resizing of chances.
    """
    skipped = {} if skipped is None else skipped
    network, index = load_encoder(encoder), index_images(images)
    skipped |= {one.name: one.reason for one in index.skipped}
    maps, settings = maps_of(network), Settings()
    values = np.array([0, *taught.values], np.uint8)
    with originals(index) as read:
        usual = [picture for _, picture, _ in itertools.islice(readable(index.paths, read, {}), OTHERS)]
        pictures = [Picture(maps, picture) for picture in taught.pictures]
        basis = learn_basis([*pictures, *(Picture(maps, picture) for picture in usual)], settings)
        segmenter = teach_segmenter(maps, pictures, taught.marks, basis=basis, settings=settings)
        for done, (path, picture, scale) in enumerate(readable(index.paths, read, skipped), 1):
            outline = segmenter(picture)
            mask = values[resized(outline, own_size(picture, scale)).numpy()]
            yield Outlined(path, picture, outline, mask)
            if progress:
                progress(done, len(index.paths))


def own_size(picture: Tensor, scale: Scale) -> tuple[int, int]:
    """Height and width of the file of a picture (3, H, W) that `upright` read."""
    return round(picture.shape[1] * scale[1]), round(picture.shape[2] * scale[0])


def resized(outline: Outline, size: Sequence[int]) -> Tensor:
    """The labels of an outline at another size, int64 (H, W), where its chances, made larger, say so."""
    if tuple(size) == tuple(outline.labels.shape):
        return outline.labels
    best = torch.full(size, 0.5)
    labels = torch.zeros(size, dtype=torch.long)
    for number, chance in enumerate(outline.probability, 1):  # one by one: pictures may be large
        chance = F.interpolate(chance[None, None], size=size, mode="bilinear")[0, 0]
        labels[chance > best] = number
        best = torch.maximum(best, chance)
    return labels


def segment(
    encoder: str,
    examples: Path,
    images: Path,
    out: Path,
    tags: bool = False,
    overlays: bool = False,
) -> dict:
    """The verb `segment`, as commands.py describes it: OUT gets masks/ and outlines.csv, and with `overlays` pictures/."""
    start = time.perf_counter()
    out = Path(out)
    writable(out / "outlines.csv")
    taught = read_tags(examples) if tags else read_masks(examples)
    skipped, rows, taken = {}, [], set()
    with closing(segment_folder(local(encoder), taught, images, skipped, bar("Pictures"))) as found:
        for one in found:
            name = unique(f"{Path(safe_name(one.path)).with_suffix('')}.png", taken)
            _write(out / "masks" / name, png_of(one.mask))
            if overlays:
                picture = painted(_located(one, taught), taught.names)
                (out / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
                replace_file(out / "pictures" / name, lambda path, picture=picture: picture.save(path, "PNG"))
            rows += [
                {"path": text(one.path), "mask": f"masks/{name}", "class": text(said), "value": value,
                 "share": round(float((one.mask == value).mean()), 6)}
                for said, value in zip(taught.names, taught.values, strict=True)
            ]  # fmt: skip
    replace_file(out / "outlines.csv", lambda path: write_csv(path, rows))
    for name, reason in itertools.islice(skipped.items(), TOLD):
        print(f"  {text(name)!r} was left out: {reason}", file=sys.stderr)
    if not any(row["share"] for row in rows):
        print("Nothing was outlined. Mark one more example, of pictures more like these.", file=sys.stderr)
    return {
        "images": len(rows) // len(taught.names),
        "classes": {text(name): value for name, value in zip(taught.names, taught.values, strict=True)},
        "skipped": len(skipped),
        "seconds": round(time.perf_counter() - start, 2),
        "out": str(out),
    }


def _located(one: Outlined, taught: Taught) -> Located:
    """As located.py draws it: without boxes."""
    image = Image.fromarray(one.picture.permute(1, 2, 0).numpy())
    order = np.zeros(256, np.uint8)
    order[list(taught.values)] = np.arange(1, len(taught.values) + 1)
    nothing = np.zeros(0)
    return Located(
        one.path, image, one.mask.shape[1], one.mask.shape[0], np.zeros((0, 4)), nothing, nothing, order[one.mask]
    )


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda temporary: temporary.write_bytes(data))
