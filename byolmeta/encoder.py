"""The network that turns images into vectors and feature maps, and the file it lives in.

An encoder file is a safetensors file: plain tensors and a card (JSON) in the header that says all that is
needed to rebuild the network and what it was trained on. Nothing in it can run code.
"""

import copy
import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from byolmeta.errors import InputError
from byolmeta.files import FORMAT, find_encoder, practice_in_force, read_card, replace_file

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as all recipes of the field use
KINDS = {
    "photos": (MEAN, STD),
    "drawings": ((0.1,), (0.3,)),
}  # that a network is made for: mean and std of its channels
SMALL_PICTURE = 64  # below this side the stem keeps the resolution (3x3, stride 1, no pooling), as for CIFAR
VECTOR = 512  # directions that the readout keeps
GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow and torchvision
WEIGHTS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


class Readout(NamedTuple):
    """The matrix (K, V) of a fitted readout, the number of pictures it was fitted on, and the variance added to damp it."""

    matrix: Tensor
    count: int
    damping: float = 0.0

    def covariance(self) -> Tensor:
        """The covariance (K, K) that was whitened, its damping taken off; directions left out get the least variance."""
        matrix = self.matrix.double()
        scale = matrix.norm(dim=0)
        axes, variance = matrix / scale, (scale.pow(-2) - self.damping).clamp_min(0)
        rest = torch.eye(len(matrix), dtype=matrix.dtype) - axes @ axes.T
        return axes * variance @ axes.T + variance.min() * rest


def damping_factor(width: int, count: int) -> float:
    """Damping of a readout as a multiple of the mean variance: more when pictures are few for `width` directions.

    3 suits networks of whitened targets: one-shot accuracy gains and five-shot loses nothing up to there. Those of plain
    BYOL, which differ in fewer directions, would like 0.1. By few-shot accuracy on tiny_imagenet_fs val, caltech20 train
    and five alphabets of omniglot's background.
    """
    return 3 * max(1.0, width / max(1, count))


class Encoder(nn.Module):
    """Images (B, 3, H, W), float in 0..1, to vectors (B, dim); `dense` gives maps (B, dim, h, w)."""

    def __init__(self, architecture: str = "small", image_size: int = 64, card: dict | None = None):
        super().__init__()
        check_architecture(architecture)
        check_size(image_size)
        self.architecture, self.image_size, self.card = architecture, image_size, card or {}
        self.kind = check_kind(self.card.get("kind", "photos"))
        self.trunk, self.dim = ARCHITECTURES[architecture](image_size)
        if self.kind == "drawings":
            self.trunk[0] = _one_channel(self.trunk[0])
        self.last = 4 if architecture == "conv4" else 1  # modules that make up the last stage
        self.stride = 16 if architecture == "conv4" else 8 if image_size < SMALL_PICTURE else 32  # pixels a patch
        for name, usual in zip(("mean", "std"), KINDS[self.kind], strict=True):  # an imported network may have its own
            self.register_buffer(name, _colours(self.card.get(name, usual), name, len(usual)), persistent=False)
        self.register_buffer("readout_mean", None, persistent=False)  # (K,), see fit_readout
        self.register_buffer("readout_matrix", None, persistent=False)  # (K, V)
        self.register_buffer(
            "practice", None, persistent=False
        )  # (V, V), what practice turns vectors by; see metatrain
        self.readout_count, self.readout_damping = 0, 0.0  # pictures that it was fitted on; variance added to damp it

    def dense(self, images: Tensor) -> Tensor:
        """Feature maps of the last stage, (B, dim, h, w), one vector per patch of `stride` pixels."""
        return self.trunk(self.normalised(images))

    def normalised(self, images: Tensor) -> Tensor:
        """What the network sees of images (B, 3, H, W): colours, or of drawings the ink, (B, 1, H, W)."""
        return ((ink(images) if self.kind == "drawings" else images) - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        return self.dense(images).mean(dim=(2, 3))

    def pooled(self, images: Tensor) -> Tensor:
        """Mean-pooled maps of the last two stages side by side, (B, K): what the readout works on."""
        maps = self.trunk[: -self.last](self.normalised(images))
        return torch.cat([maps.mean(dim=(2, 3)), self.trunk[-self.last :](maps).mean(dim=(2, 3))], 1)

    def vectors(self, images: Tensor) -> Tensor:
        """What everything after pretraining works with, (B, V): whitened pooled maps, or `forward` without a readout;
        turned by what practice found, if it did."""
        found = self(images) if self.readout_mean is None else self.read(self.pooled(images))
        return found if self.practice is None else found @ self.practice

    def read(self, pooled: Tensor) -> Tensor:
        """(B, K) to (B, V) by the readout."""
        return (pooled - self.readout_mean) @ self.readout_matrix

    @torch.no_grad()
    def fit_readout(self, pooled: Tensor, earlier: "Readout | None" = None) -> None:
        """Whitens the pooled maps by the covariance of some unlabelled pictures' ones, (N, K).

        A short pretraining leaves most of the variance in a few directions (colour, brightness), which then decide
        every distance. Whitening gives the others their say (Su et al. 2021, arXiv 2103.15316); directions of little
        variance are damped, more so when there are few pictures to tell them from noise. The covariance behind an `earlier`
        readout, of many other pictures, is pooled with theirs by the number of pictures.
        """
        x = (pooled.cpu() if pooled.device.type == "mps" else pooled).double()  # mps has no float64
        mean, count = x.mean(0), len(x)
        covariance = (x - mean).T @ (x - mean) / max(1, count - 1)
        if earlier:
            count += earlier.count
            covariance += (earlier.covariance().to(x.device) - covariance) * earlier.count / count
        values, axes = torch.linalg.eigh(covariance)
        damping = values.mean().clamp_min(1e-12) * damping_factor(x.shape[1], count)
        values, axes = values.flip(0)[:VECTOR].clamp_min(0), axes.flip(1)[:, :VECTOR]
        scale = (values + damping).rsqrt()
        found = mean, axes * scale
        self.readout_mean, self.readout_matrix = (value.float().to(pooled.device) for value in found)
        self.readout_count, self.readout_damping = count, float(damping)
        self.practice = None  # it was for the readout of before

    def readout(self) -> "Readout | None":
        """What the whitening stands for, for a later fit."""
        if self.readout_mean is None:
            return None
        return Readout(self.readout_matrix.cpu(), self.readout_count, self.readout_damping)

    def initial(self, seed: int = 0) -> "Encoder":
        """An untrained network of the same shape: the baseline that shows what training bought."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Encoder(
                self.architecture, self.image_size, {k: v for k, v in self.card.items() if k in ("kind", "mean", "std")}
            )


class Vectors(nn.Module):
    """An encoder as learners take it: images (B, 3, S, S) to the vectors that everything works with, (B, V)."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder.vectors(images)

    def last_stage(self) -> nn.Module:
        """The part that learns last and most specially."""
        return self.encoder.trunk[-self.encoder.last :]


def check_architecture(architecture: str) -> None:
    """Raises InputError for a network that is not known."""
    if architecture not in ARCHITECTURES:
        raise InputError(f"There is no encoder called '{architecture}'. Choose one of: {', '.join(ARCHITECTURES)}.")


def check_size(image_size: int) -> None:
    """Raises InputError for a side of pictures that no network here takes."""
    if not 8 <= image_size <= 1024:
        raise InputError(f"The picture size is {image_size}; it must lie between 8 and 1024 pixels.")


def check_kind(kind: str) -> str:
    """The kind of pictures, as given. Raises InputError for one that is not known."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"There is no kind of pictures '{str(kind)[:40]}'. Choose one of: {', '.join(KINDS)}.")
    return kind


def ink(images: Tensor) -> Tensor:
    """The ink of drawings (B, 3, H, W) as (B, 1, H, W): grey, and bright on dark whichever way they are drawn."""
    grey = (images * images.new_tensor(GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return torch.where(grey.mean((1, 2, 3), keepdim=True) > 0.5, 1 - grey, grey)


def _colours(values, name: str, count: int) -> Tensor:
    """Mean or std of the channels as (1, count, 1, 1). Raises InputError for anything else."""
    fits = isinstance(values, (list, tuple)) and len(values) == count
    fits = fits and all(isinstance(v, (int, float)) and -10 < v < 10 for v in values)
    if not (fits and (name != "std" or all(v > 1e-6 for v in values))):
        numbers = "three numbers" if count == 3 else "one number"
        raise InputError(f"The {name} of the colours is {values!r}; it must be {numbers}, above 0 for std.")
    return torch.tensor(values, dtype=torch.float32).view(1, count, 1, 1)


def _one_channel(first: nn.Conv2d) -> nn.Conv2d:
    """The first layer of a network of colours, made for one channel."""
    shape = (first.kernel_size, first.stride, first.padding)
    layer = nn.Conv2d(1, first.out_channels, *shape, bias=first.bias is not None)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def _resnet(blocks: str, image_size: int) -> tuple[nn.Module, int]:
    from torchvision.models import resnet

    net = getattr(resnet, blocks)()
    if image_size < SMALL_PICTURE:
        net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        net.maxpool = nn.Identity()
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    return _stages(net), net.fc.in_features


def _without_stem_relu(trunk: nn.Sequential, dim: int) -> tuple[nn.Module, int]:
    """As lightly's CIFAR benchmark, which puts the parts of its ResNet in a row, builds it: for imported weights."""
    trunk[2] = nn.Identity()
    return trunk, dim


def _small(image_size: int) -> tuple[nn.Module, int]:
    """ResNet-18 at half width (2.8 M parameters) with a 3x3 stem."""
    from torchvision.models.resnet import BasicBlock, ResNet

    net = ResNet(BasicBlock, [2, 2, 2, 2])
    net.inplanes = 32
    stride = 1 if image_size < SMALL_PICTURE else 2
    net.conv1, net.bn1 = nn.Conv2d(3, 32, 3, stride, 1, bias=False), nn.BatchNorm2d(32)
    if stride == 1:
        net.maxpool = nn.Identity()
    for stage in range(4):
        layer = net._make_layer(BasicBlock, 32 << stage, 2, stride=1 if stage == 0 else 2)
        setattr(net, f"layer{stage + 1}", layer)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return _stages(net), 256


def _stages(net: nn.Module) -> nn.Sequential:
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    return nn.Sequential(*(getattr(net, name) for name in names))


def _conv4(image_size: int) -> tuple[nn.Module, int]:
    """Four blocks of 64 filters, the few-shot literature's network (Vinyals et al. 2016), mean-pooled."""
    blocks = []
    for channels in (3, 64, 64, 64):
        blocks += [
            nn.Conv2d(channels, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
        ]
    return nn.Sequential(*blocks), 64


ARCHITECTURES = {
    "small": _small,
    "conv4": _conv4,
    "resnet18": lambda size: _resnet("resnet18", size),
    "resnet50": lambda size: _resnet("resnet50", size),
    "resnet18-no-stem-relu": lambda size: _without_stem_relu(*_resnet("resnet18", size)),
}


def save_encoder(
    encoder: Encoder, path: Path, card: dict | None = None, heads: dict[str, nn.Module] | None = None
) -> None:
    """Writes the weights, the heads of BYOL if given, and the card, in one step that cannot be seen half done."""
    parts = {"encoder": encoder, **(heads or {})}
    tensors = {
        f"{part}.{key}": value.detach().cpu().contiguous()
        for part, module in parts.items()
        for key, value in module.state_dict().items()
    }
    if encoder.readout_mean is not None:
        readout = {"mean": encoder.readout_mean, "matrix": encoder.readout_matrix}
        tensors |= {f"readout.{key}": value.cpu().contiguous() for key, value in readout.items()}
    if encoder.practice is not None:
        tensors["practice.projection"] = encoder.practice.detach().cpu().contiguous()
    card = encoder.card | (card or {})
    card |= {
        "format": FORMAT,
        "architecture": encoder.architecture,
        "image_size": encoder.image_size,
        "kind": encoder.kind,
        "mean": [round(v, 6) for v in encoder.mean.flatten().tolist()],
        "std": [round(v, 6) for v in encoder.std.flatten().tolist()],
        "width": encoder.trunk[0].out_channels,
        "dim": encoder.dim,
        "stride": encoder.stride,
        "readout_images": encoder.readout_count,
        "readout_damping": encoder.readout_damping,
    }
    data = save(tensors, metadata={"card": json.dumps(card)})  # save_file would make a file that only its owner reads
    replace_file(Path(path), lambda p: p.write_bytes(data))


def copy_encoder(source: Path, target: Path, card: dict, tensors: dict[str, Tensor] | None = None) -> None:
    """Writes a file with everything of another, BYOL's heads too, but for these entries of the card and these tensors."""
    with safe_open(str(source), "pt") as file:
        values = {key: file.get_tensor(key) for key in file.keys()}
    values |= {key: value.detach().cpu().contiguous() for key, value in (tensors or {}).items()}
    data = save(values, metadata={"card": json.dumps(read_card(source) | card)})
    replace_file(Path(target), lambda path: path.write_bytes(data))


def load_encoder(where: str | Path) -> Encoder:
    """The encoder of a file, a run folder or a name in pretrained/, in eval mode. Every key must match."""
    path = find_encoder(where)
    card = read_card(path)
    encoder = Encoder(card["architecture"], card["image_size"], card)
    _load_part(encoder, path, "encoder")
    _load_readout(encoder.eval(), path)
    _load_practice(encoder, path)
    return encoder


@torch.no_grad()
def _load_practice(encoder: Encoder, path: Path) -> None:
    """Reads what practice turns vectors by, if the file holds it. Raises InputError where it does not fit."""
    with safe_open(str(path), "pt") as file:
        if "practice.projection" not in file.keys():
            return
        found = file.get_tensor("practice.projection")
    width = encoder.vectors(torch.zeros(1, 3, encoder.image_size, encoder.image_size)).shape[1]
    fits = found.dtype == torch.float32 and found.ndim == 2 and found.shape[0] == width >= found.shape[1] > 0
    if not (fits and found.isfinite().all() and practice_in_force(encoder.card)):
        raise InputError(f"The practice in '{path.name}' does not fit its network; use another copy of the file.")
    encoder.practice = found


@torch.no_grad()
def _load_readout(encoder: Encoder, path: Path) -> None:
    """Reads the whitening if the file holds one. Raises InputError where it does not fit the network."""
    with safe_open(str(path), "pt") as file:
        if not {"readout.mean", "readout.matrix"} <= set(file.keys()):
            return
        mean, matrix = file.get_tensor("readout.mean"), file.get_tensor("readout.matrix")
    width = encoder.pooled(torch.zeros(1, 3, encoder.image_size, encoder.image_size)).shape[1]
    fits = mean.shape == (width,) and matrix.ndim == 2 and len(matrix) == width >= matrix.shape[1] > 0
    fits = fits and bool((matrix.norm(dim=0) > 1e-15).all())  # else a direction that nothing could vary in
    if not (fits and mean.dtype == matrix.dtype == torch.float32 and mean.isfinite().all() and matrix.isfinite().all()):
        raise InputError(f"The readout in '{path.name}' does not fit its network; use another copy of the file.")
    encoder.readout_mean, encoder.readout_matrix = mean, matrix
    count = encoder.card.get("readout_images", 0)
    if type(count) is not int or not 0 <= count < 2**53:
        raise InputError(
            f"The card of '{path.name}' says that its readout saw {str(count)[:20]} pictures; use another copy."
        )
    damping = encoder.card.get("readout_damping", 0.0)  # older files do not say: theirs is taken for variance
    if type(damping) not in (int, float) or not 0 <= damping < 1e30:
        raise InputError(f"The card of '{path.name}' has a readout_damping of {str(damping)[:20]}; use another copy.")
    encoder.readout_count, encoder.readout_damping = count, float(damping)


class Mismatch(InputError):
    """Weights that are whole, but of another network."""


def has_heads(where: str | Path) -> bool:
    """Whether an encoder file brings BYOL's heads."""
    with safe_open(str(find_encoder(where)), "pt") as file:
        return any(key.startswith("predictor.") for key in file.keys())


def learned_plainly(where: str | Path, hidden: int, dim: int) -> bool:
    """Whether an encoder file brings heads of these sizes that learned without whitened targets, and so expect plain ones."""
    with safe_open(str(find_encoder(where)), "pt") as file:
        keys = set(file.keys())
        if "predictor.0.weight" not in keys or any(key.startswith("whitening.") for key in keys):
            return False
        return file.get_slice("predictor.0.weight").get_shape() == [hidden, dim]


def load_heads(where: str | Path, heads: dict[str, nn.Module]) -> bool:
    """Fills BYOL's heads from an encoder file if it holds matching ones; says whether it did. InputError for damaged ones."""
    path = find_encoder(where)
    try:
        for part, head in heads.items():
            _load_part(copy.deepcopy(head), path, part)  # all or nothing: a half-loaded head is worse than none
        for part, head in heads.items():
            _load_part(head, path, part)
    except Mismatch:
        return False
    return True


def _load_part(module: nn.Module, path: Path, part: str) -> None:
    with safe_open(str(path), "pt") as file:
        found = {key[len(part) + 1 :]: key for key in file.keys() if key.startswith(part + ".")}
        wanted = module.state_dict()
        wrong = sorted(found.keys() ^ wanted.keys())
        wrong += [
            k for k in found.keys() & wanted.keys() if file.get_slice(found[k]).get_shape() != list(wanted[k].shape)
        ]
        if wrong:
            raise Mismatch(
                f"The weights in '{path.name}' do not fit the network its card describes "
                f"({len(wrong)} tensors differ, the first is '{wrong[0]}'). The file may be damaged; use another copy."
            )
        values = {k: file.get_tensor(key) for k, key in found.items()}
        check_weights(values, path.name)
        module.load_state_dict(values)


def check_weights(values: dict[str, Tensor], source: str) -> None:
    """Raises InputError unless all tensors are plain finite numbers that float32 holds, and variances are not negative."""
    for key, value in values.items():
        plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not plain or value.dtype not in WEIGHTS | ({torch.int64} if key.endswith("num_batches_tracked") else set()):
            raise InputError(f"'{key}' in '{source}' holds {value.dtype} numbers; floating point ones are needed.")
        if not value.float().isfinite().all() or (key.endswith("running_var") and (value < 0).any()):
            raise InputError(f"'{source}' holds numbers that are not finite or cannot be ('{key}'); use another copy.")
