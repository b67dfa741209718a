"""Evaluation protocols on cached vectors: k-nearest neighbours and a linear probe."""

import numpy as np
import torch
import torch.nn.functional as F

from byolmeta.errors import InputError
from byolmeta.features import knn_predict

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)


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
    """Top-1 of logistic regression on standardised vectors, 0..1.

    The penalty is chosen on a fifth of the training vectors; the test vectors are looked at once.
    """
    mean, std = train.mean(0), train.std(0) + 1e-6
    x, q = (torch.from_numpy(((v - mean) / std).astype(np.float32)) for v in (train, test))
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
