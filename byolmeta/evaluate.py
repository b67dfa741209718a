"""Evaluation protocols: k-nearest neighbours and a linear probe on cached vectors, and fine-tuning."""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byolmeta.augment import ViewConfig, make_view
from byolmeta.encoder import Encoder
from byolmeta.errors import InputError
from byolmeta.features import knn_predict, prepare

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # few pictures want much
RATES = (0.003, 0.01, 0.03)  # of fine-tuning, per step of BATCH pictures
BATCH = 64
FEWEST_STEPS = 200  # of fine-tuning: few pictures are seen more often
FINETUNE_VIEW = ViewConfig(crop=(0.25, 1.0), jitter=0.0, grey=0.0)


def shared_classes(
    train_names: tuple, train: np.ndarray, test_names: tuple, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Test labels in the numbering of the training classes, and which test rows have one. Matched by name."""
    number = {name: i for i, name in enumerate(train_names)}
    table = np.array([number.get(name, -1) for name in test_names] + [-1])
    labels = table[test]  # -1 picks the last entry, -1
    if (train >= 0).sum() == 0 or (labels >= 0).sum() == 0:
        raise InputError(
            f"The two folders share no class folder (training: {', '.join(train_names[:5]) or 'none'}; "
            f"test: {', '.join(test_names[:5]) or 'none'}). Put the pictures of each class in a folder of the same name."
        )
    return labels, labels >= 0


def knn(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray, k: int = 200) -> float:
    """Top-1 of weighted k-NN, temperature 0.1 (Wu et al. 2018), 0..1; k is at most the number of training vectors."""
    return float((knn_predict(train, labels, test, k) == truth).mean())


def linear_probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray, seed: int = 0) -> float:
    """Top-1 of logistic regression on vectors that are centred and brought to unit variance on average, 0..1.

    One scale for all directions: with few pictures, a scale for each would blow up those that are mostly noise. The
    penalty is chosen on a fifth of the training vectors; the test vectors are looked at once.
    """
    mean = train.mean(0)
    scale = np.sqrt(np.square(train - mean).mean()) + 1e-12
    x, q = (torch.from_numpy(((v - mean) / scale).astype(np.float32)) for v in (train, test))
    y = torch.from_numpy(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    held, kept = order[: len(x) // 5], order[len(x) // 5 :]
    ways = int(y.max()) + 1
    scores = {p: _right(*_regression(x[kept], y[kept], ways, p), x[held], y[held]) for p in PENALTIES}
    best = max(PENALTIES, key=scores.get)
    return _right(*_regression(x, y, ways, best), q, torch.from_numpy(truth))


def _right(weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> float:
    return float(((x @ weight.T + bias).argmax(1) == y).float().mean()) if len(x) else 0.0


def _regression(x: torch.Tensor, y: torch.Tensor, ways: int, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (ways, D) and bias of mean cross entropy + penalty * |W|^2 / 2, by L-BFGS."""
    weight = torch.zeros(ways, x.shape[1], requires_grad=True)
    bias = torch.zeros(ways, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        solver.zero_grad()
        loss = F.cross_entropy(x @ weight.T + bias, y) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    return weight.detach(), bias.detach()


def finetune(
    encoder: Encoder,
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    truth: np.ndarray,
    *,
    epochs: int = 15,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Top-1 of the whole network trained on labelled pictures, 0..1; pixels uint8 (N, 3, S, S). `encoder` stays as it is.

    SGD with momentum 0.9 and a cosine over `epochs` passes (more for few pictures), random crops and flips. The rate is the one of RATES that
    does best on a fifth of the training pictures; the test pictures are looked at once.
    """
    ways, per_epoch = int(labels.max()) + 1, math.ceil(len(labels) / BATCH)
    epochs = max(epochs, math.ceil(FEWEST_STEPS / per_epoch))
    order = np.random.default_rng(seed).permutation(len(labels))
    held, kept = order[: len(order) // 5], order[len(order) // 5 :]
    total, done = (len(RATES) * math.ceil(len(kept) / BATCH) + per_epoch) * epochs, [0]

    def stepped() -> None:
        done[0] += 1
        if progress:
            progress(done[0], total)

    def accuracy(rate: float, rows: np.ndarray, asked: np.ndarray, answers: np.ndarray) -> float:
        network = _tuned(encoder, ways, train, labels, rows, rate, epochs, seed, device, stepped)
        return float((_answers(network, encoder.image_size, asked, device) == answers).mean()) if len(asked) else 0.0

    scores = {rate: accuracy(rate, kept, train[np.sort(held)], labels[np.sort(held)]) for rate in RATES}
    return accuracy(max(RATES, key=scores.get), order, test, truth)


def _tuned(
    encoder: Encoder,
    ways: int,
    pixels: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    rate: float,
    epochs: int,
    seed: int,
    device: str,
    stepped: Callable[[], None],
) -> nn.Module:
    """A copy of the encoder with a linear layer, trained on some rows."""
    head = nn.Linear(encoder.dim, ways)
    nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
    network = nn.Sequential(copy.deepcopy(encoder), head).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
    generator, random = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    batches = [
        part for _ in range(epochs) for part in np.array_split(random.permutation(rows), math.ceil(len(rows) / BATCH))
    ]
    for step, part in enumerate(batches):
        stepped()
        if len(part) < 2:
            continue  # batch norm needs two
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / len(batches)))
        images = torch.from_numpy(pixels[np.sort(part)]).to(device)
        view = make_view(images, encoder.image_size, FINETUNE_VIEW, generator)
        loss = F.cross_entropy(
            network(view.contiguous(memory_format=torch.channels_last)), _numbers(labels, part).to(device)
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return network.eval()


def _numbers(labels: np.ndarray, part: np.ndarray) -> Tensor:
    return torch.from_numpy(labels[np.sort(part)]).long()


@torch.inference_mode()
def _answers(network: nn.Module, size: int, pixels: np.ndarray, device: str) -> np.ndarray:
    """Classes int64 (N,) that a network says."""
    parts = [network(prepare(pixels[i : i + 256], size, device)).argmax(1).cpu() for i in range(0, len(pixels), 256)]
    return torch.cat(parts).numpy()
