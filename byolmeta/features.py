"""Passes over the whole store: the vectors of every image, their neighbours, and figures of what was learned."""

import contextlib
import functools
import os
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from byolmeta.augment import ViewConfig, make_view, two_views
from byolmeta.encoder import Encoder, load_encoder
from byolmeta.files import (
    ARCHITECTURES,
    HISTOGRAM,
    PIXELS,
    UNTRAINED,
    file_fingerprint,
    find_encoder,
    replace_file,
)

LIMITING = threading.RLock()
AT_ONCE = 1 << 22  # pixels of a batch: 256 pictures of 128 a side, and fewer that are larger
FORMAT = 3  # of the banks: raise it when vectors of the same encoder come out differently


@dataclass(frozen=True)
class FeatureBank:
    """Vectors of a store's images by one encoder."""

    vectors: np.ndarray  # float32 (N, D), as the encoder gives them
    fingerprint: str  # of the store and the encoder

    def __len__(self) -> int:
        return len(self.vectors)


def open_bank(banks: Path, name: str, rows: int, compute: Callable[[], np.ndarray]) -> FeatureBank:
    """The bank of `rows` images cached under `name` (encoder and store fingerprint), or computes and caches it."""
    path = Path(banks) / f"{name}-{FORMAT}.npy"
    try:
        vectors = np.load(path)
        if vectors.ndim != 2 or len(vectors) != rows or not np.isfinite(vectors).all():
            raise ValueError("the bank is of other images")
    except (
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
    ):  # absent or damaged: made anew
        vectors = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda p: _save(p, vectors))
    return FeatureBank(vectors, name)


def _save(path: Path, vectors: np.ndarray) -> None:
    with open(path, "wb") as file:  # np.save would add an ending to the name
        np.save(file, vectors)


@torch.inference_mode()
def embed(
    encoder: Encoder,
    pixels: np.ndarray,
    *,
    batch_size: int = 256,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    pooled: bool = False,
) -> np.ndarray:
    """Vectors (N, V), float32, of images uint8 (N, 3, S, S), resized to the encoder's size where they differ.

    With `pooled`, the pooled maps (N, K) that a readout is fitted on. The encoder is put in eval mode: a picture's
    vector does not depend on its neighbours in the batch.
    """
    was_training = encoder.training
    encoder.eval().to(device)
    batch_size = max(1, min(batch_size, AT_ONCE // encoder.image_size**2))
    parts = []
    for start in range(0, len(pixels), batch_size):
        images = prepare(pixels[start : start + batch_size], encoder.image_size, device)
        parts.append((encoder.pooled(images) if pooled else encoder.vectors(images)).float().cpu().numpy())
        if progress:
            progress(min(start + batch_size, len(pixels)), len(pixels))
    encoder.train(was_training)
    return np.concatenate(parts)


def prepare(pixels: np.ndarray, size: int, device: str = "cpu") -> Tensor:
    """uint8 (B, 3, S, S) to float (B, 3, size, size) in 0..1, antialiased where it has to shrink."""
    images = torch.from_numpy(np.array(pixels)).to(device).float().div_(255)
    if images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False).clamp_(
            0, 1
        )
    return images.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def calibrate(encoder: Encoder, pixels: np.ndarray, batches: int = 8, batch_size: int = 128) -> Encoder:
    """Gives an untrained encoder the batch norm statistics of these images, so that the comparison is fair."""
    norms = [m for m in encoder.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain mean over the batches
    encoder.train()
    rows = np.linspace(0, len(pixels) - 1, min(len(pixels), batches * batch_size)).astype(int)
    rows = np.repeat(rows, 2) if len(rows) == 1 else rows  # of a single value there is no variance
    for part in np.array_split(rows, max(1, round(len(rows) / batch_size))):
        encoder(prepare(pixels[part], encoder.image_size))
    for norm in norms:
        norm.momentum = 0.1
    return encoder.eval()


def raw_pixels(pixels: np.ndarray, side: int = 16) -> np.ndarray:
    """The baseline that knows nothing: images shrunk to 16 x 16 and centred, (N, 768) float32."""
    parts = [prepare(pixels[i : i + 1024], side).flatten(1).numpy() - 0.5 for i in range(0, len(pixels), 1024)]
    return np.concatenate(parts) if parts else np.empty((0, 3 * side * side), np.float32)


def colour_histogram(pixels: np.ndarray, bins: int = 4) -> np.ndarray:
    """The baseline that knows colours alone: root of the share of points in each cell of colour space, (N, bins^3).

    Euclidean distances of the roots are Hellinger distances of the histograms.
    """
    found = np.empty((len(pixels), bins**3), np.float32)
    for row, picture in enumerate(pixels):
        red, green, blue = np.asarray(picture).reshape(3, -1).astype(np.int64) * bins // 256
        found[row] = np.bincount((red * bins + green) * bins + blue, minlength=bins**3) / red.size
    return np.sqrt(found)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows at length 1 (a zero row stays zero)."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def neighbours(
    vectors: np.ndarray,
    k: int,
    *,
    rows: np.ndarray | None = None,
    block: int = 256,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other rows by cosine: ids int64 (N, k) and distances 1 - cos, float32. Exact, by matrix product.

    With `rows`, those of these rows only. `block` of them at a time, so that 100,000 pictures take 100 MB.
    """
    x = torch.from_numpy(unit(vectors.astype(np.float32))).to(device)
    k = min(k, len(x) - 1)
    rows = torch.arange(len(x)) if rows is None else torch.from_numpy(rows)
    ids, distances = np.empty((len(rows), k), np.int64), np.empty((len(rows), k), np.float32)
    for start in range(0, len(rows), block):
        part = rows[start : start + block].to(device)
        cosine = x[part] @ x.T
        cosine[torch.arange(len(part), device=part.device), part] = -2  # not its own neighbour
        best, where = top(cosine, k)
        done = start + len(part)
        ids[start:done], distances[start:done] = where.cpu().numpy(), (1 - best).clamp_(0).cpu().numpy()
        if progress:
            progress(done, len(rows))
    return ids, distances


def top(values: Tensor, k: int, group: int = 16) -> tuple[Tensor, Tensor]:
    """torch.topk of each row of (B, N), several times faster on long rows: values and columns, both (B, k).

    Columns are dealt into groups. The k largest lie in the k groups whose own largest are the largest, so that only
    those groups, and the columns left over, have to be sorted.
    """
    groups = values.shape[1] // group
    if groups <= 4 * k:
        return values.topk(k)
    dealt = values[:, : groups * group].view(len(values), group, groups)
    chosen = dealt.amax(1).topk(k).indices
    columns = chosen[:, :, None] + groups * torch.arange(group, device=values.device)
    rest = torch.arange(groups * group, values.shape[1], device=values.device).expand(len(values), -1)
    columns = torch.cat([columns.flatten(1), rest], 1)
    best, where = values.gather(1, columns).topk(k)
    return best, columns.gather(1, where)


def knn_predict(
    bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int = 200, temperature: float = 0.1
) -> np.ndarray:
    """Weighted k-nearest-neighbour classes (Wu et al. 2018): votes exp(cos / t) of the k nearest. Returns (Q,) int64."""
    x, q = torch.from_numpy(unit(bank)), torch.from_numpy(unit(queries))
    y = torch.from_numpy(labels)
    found = []
    for part in q.split(2048):
        cosine, where = (part @ x.T).topk(min(k, len(x)))
        votes = torch.zeros(len(part), int(y.max()) + 1).scatter_add_(1, y[where], (cosine / temperature).exp())
        found.append(votes.argmax(1))
    return torch.cat(found).numpy()


def knn_accuracy(vectors: np.ndarray, labels: np.ndarray, k: int = 20) -> float | None:
    """Leave-one-out k-NN accuracy on the labelled rows, 0..1; None when fewer than two classes have pictures."""
    known = labels >= 0
    vectors, labels = vectors[known], labels[known]
    if len(np.unique(labels)) < 2:
        return None
    ids, distances = neighbours(vectors, min(k, len(vectors) - 1))
    votes = np.zeros((len(labels), labels.max() + 1), np.float32)
    np.add.at(votes, (np.arange(len(labels))[:, None], labels[ids]), np.exp((1 - distances) / 0.1))
    return float((votes.argmax(1) == labels).mean())


def twin_score(encoder: Encoder, pixels: np.ndarray, seed: int = 0, device: str = "cpu") -> float:
    """Share of pictures, cropped twice, whose nearest other crop is their own second half; 0..1.

    A quality figure that needs no labels. Chance is 1 / N; a tie is not found, so equal vectors score 0. Crops and
    colours, or of drawings the views they are studied in, are drawn from the seed, so that checks of one run compare.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(np.array(pixels))
    config = ViewConfig(crop=(0.2, 0.6)) if encoder.kind == "photos" else two_views(encoder.image_size, encoder.kind)[0]
    views = [make_view(images, encoder.image_size, config, generator) for _ in range(2)]
    a, b = (F.normalize(_vectors(encoder, view.to(device)), dim=1) for view in views)
    cosine = a @ b.T
    own = cosine.diagonal().clone()
    others = cosine.fill_diagonal_(-2)
    margin = 1e-6  # rounding of equal vectors
    return float(sum((own > others.amax(side) + margin).float().mean() for side in (0, 1)) / 2)


@torch.inference_mode()
def _vectors(encoder: Encoder, images: Tensor) -> Tensor:
    was_training = encoder.training
    encoder.eval()
    vectors = encoder.vectors(images).float()
    encoder.train(was_training)
    return vectors


def spread(vectors: np.ndarray) -> float:
    """Standard deviation of the unit vectors over the images, as a share of 1 / sqrt(D): 1 is healthy, 0 collapsed."""
    return float(unit(vectors).std(axis=0).mean() * vectors.shape[1] ** 0.5)


def effective_rank(vectors: np.ndarray) -> float:
    """exp of the entropy of the covariance's spectrum (Roy and Vetterli 2007): in how many directions vectors differ."""
    centred = vectors - vectors.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    if values.sum() <= 0:
        return 1.0
    share = values / values.sum()
    return float(np.exp(-(share * np.log(np.maximum(share, 1e-30))).sum()))


def save_vectors(path: Path, ids: np.ndarray, vectors: np.ndarray, step: int) -> None:
    """Vectors of some pictures at a step of a run, for whoever draws the map meanwhile."""

    def write(target: Path) -> None:
        with open(target, "wb") as file:
            np.savez(file, ids=ids.astype(np.int32), vectors=vectors.astype(np.float16), step=step)

    replace_file(path, write)


def read_vectors(path: Path) -> tuple[np.ndarray, np.ndarray, int] | None:
    """ids, vectors (float32) and step as last saved, or None when there are none yet."""
    try:
        with np.load(path) as file:
            return file["ids"].astype(np.int64), file["vectors"].astype(np.float32), int(file["step"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


@contextlib.contextmanager
def one_blas_thread():
    """One thread for BLAS: small products beside a training take 100 times as long with threads that wait for each other.

    One caller at a time, so that the number of before is the one that comes back.
    """
    from threadpoolctl import threadpool_limits

    with LIMITING, threadpool_limits(1, user_api="blas"):
        yield


def threads() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def encoder_bank(
    where: str | Path,
    store,
    banks: Path,
    progress: Callable[[int, int], None] | None = None,
    beside=None,
    plain: bool = False,
    practised: bool = True,
) -> FeatureBank:
    """The vectors of a store by an encoder file, run folder or shipped name; or by a baseline.

    'pixels' are the raw pixels and 'histogram' those of their colours; 'untrained' (or 'untrained:resnet18', or
    'untrained:' and an encoder of the same shape) is a network at its random start, its batch norm calibrated on these
    pictures, or on those of the store `beside`, whose vectors they are to be compared with. `plain`: the pooled maps of
    the last stage instead, as the literature measures them. Not `practised`: without what practice turned the vectors
    by. Cached in `banks`.
    """
    name = str(where)
    if name == PIXELS:
        return open_bank(banks, f"{PIXELS}-{store.fingerprint}", len(store), lambda: raw_pixels(store.pixels))
    if name == HISTOGRAM:
        return open_bank(banks, f"{HISTOGRAM}-{store.fingerprint}", len(store), lambda: colour_histogram(store.pixels))
    untrained = name.split(":")[0] == UNTRAINED
    parts = [
        _shape(name, store.size, _changed(name)) if untrained else file_fingerprint(find_encoder(where)),
        store.size,
        store.fingerprint,
    ]
    if untrained and beside is not None:
        parts.append(beside.fingerprint)
    if plain:
        parts.append("plain")
    if not practised and not untrained and _has_practice(find_encoder(where)):
        parts.append("unpractised")

    def compute() -> np.ndarray:
        encoder = open_encoder(name, store if beside is None else beside)
        if plain:
            encoder.readout_mean = encoder.readout_matrix = None
        if plain or not practised:
            encoder.practice = None
        return embed(encoder, store.pixels, progress=progress)

    return open_bank(banks, "-".join(map(str, parts)), len(store), compute)


def encode(where: str, store, pixels: np.ndarray, practised: bool = True) -> np.ndarray:
    """Vectors of pictures, uint8 (N, 3, S, S), that belong beside a store's, as `encoder_bank` has those."""
    if where in (PIXELS, HISTOGRAM):
        return raw_pixels(pixels) if where == PIXELS else colour_histogram(pixels)
    encoder = open_encoder(where, store)
    encoder.practice = encoder.practice if practised else None
    return embed(encoder, pixels)


def _has_practice(path: Path) -> bool:
    """Whether an encoder file turns its vectors by what practice found."""
    with safe_open(str(path), "np") as file:
        return "practice.projection" in file.keys()


def open_encoder(name: str, store) -> Encoder:
    """The encoder of a file, run folder or shipped name, or an untrained one, calibrated on a store's pictures."""
    return untrained_for(name, store) if name.split(":")[0] == UNTRAINED else load_encoder(name)


def initial_of(name: str, size: int) -> Encoder:
    """The network at its random start that an 'untrained...' names; where that is an architecture, at a size."""
    model = name.partition(":")[2] or "small"
    return (Encoder(model, size) if model in ARCHITECTURES else load_encoder(model)).initial(seed=0)


def _changed(name: str) -> int:
    """Another number once the file was written anew whose shape an 'untrained...' has; 0 for none."""
    model = name.partition(":")[2]
    return 0 if model in ("", *ARCHITECTURES) else os.stat(find_encoder(model)).st_mtime_ns


@functools.lru_cache(maxsize=64)
def _shape(name: str, size: int, changed: int) -> str:
    """What tells untrained networks apart, as a part of a file's name."""
    encoder = initial_of(name, size)
    colours = torch.cat([encoder.mean, encoder.std]).flatten().tolist()
    return "-".join(map(str, (UNTRAINED, encoder.architecture, encoder.image_size, encoder.kind, *colours)))


def untrained_for(name: str, store) -> Encoder:
    """The untrained network that a name stands for, calibrated on a store's pictures.

    It answers with the pooled maps as they are: whitening, which helps trained networks, costs this one 3 to 9 points
    of few-shot accuracy, and a baseline deserves its best.
    """
    encoder = calibrate(initial_of(name, store.size), store.pixels)
    with torch.no_grad():
        width = encoder.pooled(torch.zeros(1, 3, encoder.image_size, encoder.image_size)).shape[1]
    encoder.readout_mean, encoder.readout_matrix = torch.zeros(width), torch.eye(width)
    return encoder
