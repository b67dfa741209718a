"""encoder.py: the networks, the file they live in, and files that are none."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from byolmeta import encoder as module
from byolmeta.byol import BYOL
from byolmeta.encoder import ARCHITECTURES, Encoder, load_encoder, load_heads, save_encoder
from byolmeta.errors import InputError
from byolmeta.files import read_card

CARD = {"trained_on": "drawn shapes", "images": 36, "steps": 5, "seconds": 1}
DIMS = {"resnet18-no-stem-relu": 512, "small": 256, "conv4": 64, "resnet18": 512, "resnet50": 2048}


@pytest.fixture
def saved(tmp_path):
    net = Encoder("conv4", 16).initial(seed=3).eval()
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean += torch.rand(64, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "some.safetensors"
    save_encoder(net, path, CARD)
    return net, path


def changed(path, tensors=None, **card):
    """Rewrites an encoder file with other tensors or card entries (None: entry removed)."""
    new = {k: v for k, v in (read_card(path) | card).items() if v is not None}
    save_file(load_file(path) if tensors is None else tensors, path, metadata={"card": json.dumps(new)})


def test_small_has_fewer_than_3_million_parameters():
    for size in (32, 64):
        assert sum(p.numel() for p in Encoder("small", size).parameters()) < 3e6


@pytest.mark.parametrize("size", (32, 64))
@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_vectors_are_the_mean_of_the_dense_map(name, size):
    net = Encoder(name, size).eval()
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        dense, vectors = net.dense(x), net(x)
    assert net.dim == DIMS[name] and vectors.shape == (2, net.dim) and dense.shape[:2] == (2, net.dim)
    assert dense.shape[2] == dense.shape[3] == -(-size // net.stride) > 1
    torch.testing.assert_close(vectors, dense.mean((2, 3)))
    assert vectors.std() > 0 and not torch.allclose(vectors[0], vectors[1])


def test_pictures_are_normalised_inside():
    net = Encoder("conv4", 16).eval()
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(net.dense(x), net.trunk((x - torch.tensor(module.MEAN).view(3, 1, 1)) / torch.tensor(module.STD).view(3, 1, 1)))  # fmt: skip


@pytest.mark.parametrize("name", ("conv4", "small", "resnet18"))
def test_drawings_are_seen_as_ink_whichever_way_they_are_drawn(name, tmp_path):
    net = Encoder(name, 28, {"kind": "drawings"}).eval()
    assert net.trunk[0].in_channels == 1 and net.normalised(torch.rand(2, 3, 28, 28)).shape == (2, 1, 28, 28)
    x = torch.ones(2, 3, 28, 28)
    x[:, :, 5:9, 3:20] = 0.1
    torch.testing.assert_close(net(x), net(1 - x), atol=1e-5, rtol=1e-5)
    coloured = x.clone()
    coloured[:, 0] = coloured[:, 0] * 0.9  # another tint, another grey
    assert not torch.allclose(net(coloured), net(x), atol=1e-5)
    save_encoder(net, tmp_path / "drawn.safetensors", CARD)
    again = load_encoder(tmp_path / "drawn.safetensors")
    assert (again.kind, again.initial().kind, again.card["kind"]) == ("drawings",) * 3
    assert torch.equal(again(x), net(x))


@pytest.mark.parametrize("card", [{"kind": "films"}, {"kind": ["photos"]}, {"kind": "drawings"}, {"mean": [0.5]}])
def test_a_card_of_another_kind_than_its_weights_is_refused(saved, card):
    _, path = saved
    changed(path, **card)
    with pytest.raises(InputError, match="kind of pictures|of the colours|do not fit|does not describe"):
        load_encoder(path)


def test_initial_repeats_and_leaves_the_random_state():
    state = torch.random.get_rng_state()
    one, same, other = (Encoder("conv4", 16).initial(seed).state_dict()["trunk.0.weight"] for seed in (0, 0, 1))
    net = Encoder("conv4", 16)
    torch.random.set_rng_state(state)
    net.initial(5)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("name, size", [("huge", 32), ("", 32), ("small", 7), ("small", 4096)])
def test_impossible_networks_are_refused_with_a_sentence(name, size):
    with pytest.raises(InputError, match="Choose|between"):
        Encoder(name, size)


@pytest.mark.parametrize("name", ("conv4", "small"))
def test_round_trip_keeps_every_bit(name, tmp_path):
    net = Encoder(name, 24).to(memory_format=torch.channels_last).eval()
    save_encoder(net, tmp_path / "a.safetensors", CARD)
    again = load_encoder(tmp_path / "a.safetensors")
    assert not again.training and (again.architecture, again.image_size) == (name, 24)
    assert net.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    assert again.card["trained_on"] == "drawn shapes"
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]  # no temporary file stays


def test_card_is_complete_and_travels_on(saved, tmp_path):
    net, path = saved
    expected = CARD | {"format": 1, "architecture": "conv4", "image_size": 16, "dim": 64}
    assert expected.items() <= read_card(path).items()
    assert tuple(read_card(path)["mean"]) == module.MEAN and tuple(read_card(path)["std"]) == module.STD
    save_encoder(load_encoder(path), tmp_path / "copy.safetensors")
    assert read_card(tmp_path / "copy.safetensors") == read_card(path)


def test_heads_travel_and_only_matching_ones_are_taken(tmp_path):
    torch.manual_seed(0)
    model = BYOL(Encoder("conv4", 16), hidden=12, dim=6)
    heads = {"projector": model.projector, "predictor": model.predictor}
    save_encoder(model.encoder, tmp_path / "a.safetensors", heads=heads)
    other = BYOL(Encoder("conv4", 16), hidden=12, dim=6)
    assert load_heads(tmp_path / "a.safetensors", {"projector": other.projector, "predictor": other.predictor})
    for a, b in ((model.projector, other.projector), (model.predictor, other.predictor)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    third = BYOL(Encoder("conv4", 16), hidden=12, dim=5)
    before = [p.clone() for p in third.parameters()]
    assert not load_heads(tmp_path / "a.safetensors", {"projector": third.projector, "predictor": third.predictor})
    assert all(torch.equal(a, b) for a, b in zip(before, third.parameters(), strict=True))
    load_encoder(tmp_path / "a.safetensors")  # heads do not disturb


def test_a_readout_of_another_width_is_refused(saved):
    _, path = saved
    for mean, matrix in ((64, (64, 8)), (128, (64, 8)), (128, (128,))):
        tensors = load_file(path) | {"readout.mean": torch.zeros(mean), "readout.matrix": torch.zeros(matrix)}
        changed(path, tensors)
        with pytest.raises(InputError, match="readout"):
            load_encoder(path)


def damage(path, how):
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "random":
        path.write_bytes(b"\x13\x37" * 5000)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "foreign":
        save_file({"weight": torch.zeros(3)}, path)
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"encoder": 1}))
    elif how == "torch":
        torch.save({"encoder": torch.zeros(2)}, path)
    elif how == "not json":
        save_file(load_file(path), path, metadata={"card": "{"})
    elif how == "list":
        save_file(load_file(path), path, metadata={"card": "[1]"})
    elif how == "missing key":
        changed(path, {k: v for k, v in load_file(path).items() if k != "encoder.trunk.0.weight"})
    elif how == "extra key":
        changed(path, load_file(path) | {"encoder.more": torch.zeros(2)})
    elif how == "other shape":
        changed(path, load_file(path) | {"encoder.trunk.0.weight": torch.zeros(2)})
    elif how == "no architecture":
        changed(path, architecture=None)
    elif how == "no size":
        changed(path, image_size=None)
    elif how == "odd size":
        changed(path, image_size="large")
    elif how == "huge size":
        changed(path, image_size=10**6)
    elif how == "unknown network":
        changed(path, architecture="vit")
    elif how == "negative variance":
        changed(path, load_file(path) | {"encoder.trunk.1.running_var": -torch.ones(64)})
    elif how == "tiny numbers":
        changed(path, load_file(path) | {"encoder.trunk.1.bias": torch.zeros(64, dtype=torch.float8_e4m3fn)})
    elif how == "deep card":
        save_file(load_file(path), path, metadata={"card": "[" * 100_000})
    elif how == "newer":
        changed(path, format=2)
    elif how == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    "how",
    "truncated random empty foreign pickle torch list folder newer".split()
    + ["negative variance", "tiny numbers", "deep card"]
    + ["not json", "missing key", "extra key", "other shape"]
    + ["no architecture", "no size", "odd size", "huge size", "unknown network"],
)
def test_files_that_are_no_encoder_are_refused_with_a_sentence(saved, how):
    _, path = saved
    damage(path, how)
    with pytest.raises(InputError) as found:
        load_encoder(path)
    assert str(found.value).endswith(".") and len(str(found.value)) > 30


def test_no_pickle_is_ever_read(saved, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    _, path = saved
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError):
        load_encoder(path)
    torch.save(Bomb(), path)
    with pytest.raises(InputError):
        load_encoder(path)


def test_failed_write_leaves_the_old_file_and_no_other(saved, monkeypatch):
    net, path = saved
    before = path.read_bytes()

    def broken(target, data):
        with open(target, "wb") as file:
            file.write(data[:100])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(OSError, match="disk full"):
        save_encoder(net, path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_readout_comes_back_with_what_it_damped(saved):
    _, path = saved
    encoder = load_encoder(path)
    encoder.fit_readout(torch.rand(40, 128))
    save_encoder(encoder, path)
    kept, again = encoder.readout(), load_encoder(path).readout()
    assert (again.count, again.damping) == (40, kept.damping) and kept.damping > 0
    torch.testing.assert_close(again.covariance(), kept.covariance())
    changed(path, readout_damping="much")
    with pytest.raises(InputError, match="readout_damping"):
        load_encoder(path)


def test_a_readout_with_an_empty_direction_is_refused(saved):
    _, path = saved
    encoder = load_encoder(path)
    encoder.fit_readout(torch.rand(40, 128))
    encoder.readout_matrix[:, 0] = 0
    save_encoder(encoder, path)
    with pytest.raises(InputError, match="readout"):
        load_encoder(path)


@pytest.mark.parametrize("count", ("x", -40, 10**400, 1.5, True))
def test_an_impossible_number_of_pictures_behind_a_readout_is_refused(saved, count):
    _, path = saved
    encoder = load_encoder(path)
    encoder.fit_readout(torch.rand(40, 128))
    save_encoder(encoder, path)
    changed(path, readout_images=count)
    with pytest.raises(InputError, match="readout saw"):
        load_encoder(path)
