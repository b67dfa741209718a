"""foreign.py: files with the names of other libraries become our encoder, with the same answers, or are refused."""

import math
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet

from byolmeta.encoder import MEAN, STD, load_encoder, save_encoder
from byolmeta.errors import InputError
from byolmeta.foreign import import_tensors, read_tensors


def network(name="resnet18", cifar=False, seed=0):
    """torchvision's network with random weights and running statistics."""
    torch.manual_seed(seed)
    net = getattr(resnet, name)()
    if cifar:
        net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
    return net.eval()


def lightly_numbered(net):
    """The keys of nn.Sequential(*list(resnet.children())[:-1])."""
    return nn.Sequential(*list(net.children())[:-1]).state_dict()


def generated(net):
    """The keys of lightly's own ResNetGenerator in a Sequential: parts 0..5, shortcut for downsample."""
    places = {"conv1": 0, "bn1": 1, "layer1": 2, "layer2": 3, "layer3": 4, "layer4": 5}
    return {
        f"{places[key.split('.')[0]]}.{key.split('.', 1)[1]}".replace("downsample", "shortcut"): value
        for key, value in net.state_dict().items()
        if key.split(".")[0] in places
    }


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


def others():
    """What travels beside an encoder: heads, and a momentum network with other weights."""
    return {"projection_head.layers.0.weight": torch.randn(8, 512), "predictor.0.weight": torch.randn(8, 8)}


def checkpoints():
    net, small, follower = network(), network(cifar=True), network(seed=1)
    mine, theirs = net.state_dict(), follower.state_dict()
    return {
        "torchvision": (net, mine),
        "DDP": (net, prefixed(mine, "module.")),
        "lightly": (net, prefixed(lightly_numbered(net), "backbone.") | prefixed(lightly_numbered(follower), "backbone_momentum.") | others()),
        "lightly student": (net, prefixed(lightly_numbered(net), "student_backbone.") | prefixed(lightly_numbered(follower), "teacher_backbone.")),
        "solo-learn": (net, {"epoch": 3, "state_dict": prefixed(theirs, "momentum_backbone.") | prefixed(mine, "backbone.") | others()}),
        "solo-learn CIFAR": (small, {"state_dict": prefixed(small.state_dict(), "backbone.") | others()}),
        "byol-pytorch": (net, prefixed(mine, "online_encoder.net.") | prefixed(mine, "net.") | prefixed(theirs, "target_encoder.net.") | others()),
    }  # fmt: skip


@pytest.mark.parametrize("kind", checkpoints())
def test_a_checkpoint_of_another_library_answers_as_the_network_it_was(kind, tmp_path):
    net, state = checkpoints()[kind]
    torch.save(state, tmp_path / "checkpoint.ckpt")
    size = 32 if "CIFAR" in kind else 64
    encoder, report = import_tensors(read_tensors(tmp_path / "checkpoint.ckpt"), "checkpoint.ckpt", size)
    net.fc = nn.Identity()
    images = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), net((images - mean) / std), atol=1e-5, rtol=1e-5)
    assert encoder.architecture == "resnet18" and report["missing"] == [] and report["matched"] == 120
    assert report["library"].split()[0] == {"DDP": "torchvision"}.get(kind, kind.split()[0])
    assert any("momentum" in k or "teacher" in k or "target" in k for k in report["unused"]) == (
        kind in ("lightly", "lightly student", "solo-learn", "byol-pytorch")
    )
    save_encoder(encoder, tmp_path / "ours.safetensors")
    again = load_encoder(tmp_path / "ours.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(again(images), encoder(images))


def test_lightlys_own_resnet_in_a_row_has_no_relu_after_its_stem():
    net = network(cifar=True)
    row = nn.Sequential(net.conv1, net.bn1, net.layer1, net.layer2, net.layer3, net.layer4, nn.AdaptiveAvgPool2d(1))
    encoder, report = import_tensors(prefixed(generated(net), "backbone."), "x")
    assert (encoder.architecture, encoder.image_size, report["library"]) == ("resnet18-no-stem-relu", 32, "lightly")
    images = torch.rand(4, 3, 32, 32)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), row((images - mean) / std).flatten(1), atol=1e-5, rtol=1e-5)


def test_resnet50_and_safetensors(tmp_path):
    net = network("resnet50")
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / "net.safetensors")
    encoder, report = import_tensors(read_tensors(tmp_path / "net.safetensors"), "net")
    assert (encoder.architecture, encoder.image_size, encoder.dim) == ("resnet50", 224, 2048)
    assert report["unused"] == ["fc.bias", "fc.weight"]


def test_another_normalisation_is_kept_with_the_encoder(tmp_path):
    net = network(cifar=True)
    mean, std = (0.49, 0.48, 0.44), (0.25, 0.24, 0.26)
    encoder, _ = import_tensors(net.state_dict(), "x", mean=mean, std=std)
    save_encoder(encoder, tmp_path / "ours.safetensors")
    net.fc, images = nn.Identity(), torch.rand(3, 3, 32, 32)
    normal = (images - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(
            load_encoder(tmp_path / "ours.safetensors")(images), net(normal), atol=1e-5, rtol=1e-5
        )


def test_old_files_without_batch_counts_are_whole():
    state = {k: v for k, v in network().state_dict().items() if "num_batches" not in k}
    assert import_tensors(state, "x")[1]["missing"] == []


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda s: s.pop("layer3.1.conv2.weight"), "1 tensors are missing"),
        (lambda s: s.update({"layer2.0.conv1.weight": torch.zeros(128, 64, 1, 1)}), "1 have another shape"),
        (lambda s: s.update({"layer1.2.conv1.weight": torch.zeros(64, 64, 3, 3)}), "1 are too many"),
        (lambda s: s.update({"bn1.weight": torch.full((64,), torch.nan)}), "not finite"),
        (lambda s: s.pop("conv1.weight"), "no convolution of three colours"),
    ],
)
def test_what_does_not_match_is_refused(spoil, said):
    state = network().state_dict()
    spoil(state)
    with pytest.raises(InputError, match=said):
        import_tensors(state, "file.pt")


def test_other_networks_are_refused():
    with pytest.raises(InputError, match="not a ResNet-18 or ResNet-50"):
        import_tensors(resnet.resnet34().state_dict(), "file.pt")
    with pytest.raises(InputError, match="only a momentum network"):
        import_tensors(prefixed(network().state_dict(), "momentum_backbone."), "file.pt")
    with pytest.raises(InputError, match="7 x 7.*--image-size"):
        import_tensors(network().state_dict(), "file.pt", 32)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("content", ("code", "cut", "noise", "empty", "numbers"))
def test_damaged_and_dangerous_files_are_refused_and_not_run(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.pt"
    torch.save(
        {"state_dict": Bomb()} if content == "code" else {"a": 1} if content == "numbers" else network().state_dict(),
        path,
    )
    data = path.read_bytes()
    path.write_bytes({"cut": data[:1000], "noise": os.urandom(5000), "empty": b""}.get(content, data))
    with pytest.raises(InputError, match="cannot be read|holds more than tensors|no named tensors"):
        read_tensors(path)
    assert not (tmp_path / "exploded").exists()


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="no file"):
        read_tensors(tmp_path / "none.pt")


@pytest.mark.parametrize(
    "value, said",
    [
        (torch.full((64,), 1e300, dtype=torch.float64), "not finite"),
        (torch.ones(64, dtype=torch.complex64), "complex64 numbers"),
        (torch.ones(64, dtype=torch.int8), "int8 numbers"),
        (torch.ones(64, dtype=torch.float8_e4m3fn), "float8_e4m3fn numbers"),
        (torch.ones(64, device="meta"), "float32 numbers"),
        (torch.ones(64).to_sparse(), "float32 numbers"),
        (-torch.ones(64), "not finite or cannot be"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(value, said):
    with pytest.raises(InputError, match=said):
        import_tensors(network().state_dict() | {"bn1.running_var": value}, "file.pt")


def test_a_file_that_holds_itself_ends(tmp_path):
    state = {}
    state["model"] = state
    torch.save(state, tmp_path / "cycle.pt")
    with pytest.raises(InputError, match="no named tensors"):
        read_tensors(tmp_path / "cycle.pt")


@pytest.mark.parametrize(
    "flags, said",
    [
        ({"mean": (math.nan, 0, 0)}, "mean of the colours"),
        ({"std": (0, 0, 0)}, "std of the colours"),
        ({"image_size": 1_000_000}, "picture size is 1000000"),
        ({"image_size": -5}, "picture size is -5"),
    ],
)
def test_wrong_flags_are_not_blamed_on_the_network(flags, said):
    with pytest.raises(InputError, match=said):
        import_tensors(network().state_dict(), "file.pt", **flags)


def test_another_stem_is_told():
    state = network().state_dict() | {"conv1.weight": torch.zeros(64, 3, 5, 5)}
    with pytest.raises(InputError, match="5 x 5, not 7 x 7 or 3 x 3"):
        import_tensors(state, "file.pt")
