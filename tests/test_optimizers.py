"""optimizers.py: who is decayed and adapted, LARS by hand, and each optimiser's own rate."""

import pytest
import torch
from torch import nn

from byolmeta.optimizers import LARS, make_optimizer, parameter_groups
from byolmeta.settings import OPTIMIZERS


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_biases_and_norms_are_neither_decayed_nor_adapted():
    module = network()
    decayed, free = parameter_groups(list(module.named_parameters()), 0.03)
    assert decayed["weight_decay"] == 0.03 and decayed["adapt"] and free["weight_decay"] == 0 and not free["adapt"]
    assert [id(p) for p in decayed["params"]] == [id(module[0].weight), id(module[3].weight)]
    assert {id(p) for p in free["params"]} == {id(p) for p in (module[0].bias, *module[1].parameters(), module[3].bias)}


def test_lars_by_hand():
    """Three steps of one weight and one bias against plain float64 arithmetic."""
    weight, bias = nn.Parameter(torch.tensor([[3.0, 4.0]])), nn.Parameter(torch.tensor([1.0]))
    groups = parameter_groups([("w", weight), ("b", bias)], 0.1)
    optimizer = LARS(groups, lr=2.0, momentum=0.9, trust=0.01)
    w, b = weight.detach().double().clone(), bias.detach().double().clone()
    mw, mb = torch.zeros_like(w), torch.zeros_like(b)
    for step in range(3):
        gw, gb = torch.tensor([[0.5, -1.0 - step]]), torch.tensor([0.2 * (step + 1)])
        weight.grad, bias.grad = gw.clone(), gb.clone()
        optimizer.step()
        u = gw.double() + 0.1 * w
        mw = 0.9 * mw + 0.01 * w.norm() / u.norm() * u
        mb = 0.9 * mb + gb.double()
        w, b = w - 2.0 * mw, b - 2.0 * mb
        assert torch.equal(weight.grad, gw) and torch.equal(bias.grad, gb)  # read, not changed
    torch.testing.assert_close(weight.detach().double(), w, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(bias.detach().double(), b, atol=1e-5, rtol=1e-5)


def test_lars_without_a_gradient_or_with_a_zero_weight_moves_as_sgd():
    zero, still = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = LARS(parameter_groups([("zero", zero), ("still", still)], 0.0), lr=0.5)
    zero.grad = torch.ones(2, 2)
    optimizer.step()
    torch.testing.assert_close(zero.detach(), torch.full((2, 2), -0.5))
    assert torch.equal(still.detach(), torch.ones(2, 2))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimiser_takes_the_rate_and_the_decay_it_is_given(name):
    module = network()
    optimizer = make_optimizer(list(module.named_parameters()), name, 0.25, -1, "cpu")
    assert type(optimizer).__name__ == {"sgd": "SGD", "adamw": "AdamW", "lars": "LARS"}[name]
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [OPTIMIZERS[name][1], 0]
    other = make_optimizer(list(module.named_parameters()), name, 0.25, 0.0, "cpu")
    assert [group["weight_decay"] for group in other.param_groups] == [0, 0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_descends_and_resumes(name):
    def train(steps, module, optimizer):
        for step in range(steps):
            x = torch.randn(16, 3, 3, 3, generator=torch.Generator().manual_seed(len(losses)))
            loss = (module(x) - x.mean((1, 2, 3)).view(-1, 1)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    rate = {"sgd": 0.05, "adamw": 0.01, "lars": 0.3}[name]
    losses, whole = [], network()
    train(40, whole, make_optimizer(list(whole.named_parameters()), name, rate, -1, "cpu"))
    first = losses
    assert sum(first[-5:]) < 0.8 * sum(first[:5])
    losses, module = [], network()
    optimizer = make_optimizer(list(module.named_parameters()), name, rate, -1, "cpu")
    train(17, module, optimizer)
    other = network()
    other.load_state_dict(module.state_dict())
    again = make_optimizer(list(other.named_parameters()), name, rate, -1, "cpu")
    again.load_state_dict(optimizer.state_dict())
    train(23, other, again)
    assert losses == first
