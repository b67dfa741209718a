"""starters.py and pretrained/: which shipped encoder suits which pictures, and whether the files are what they say."""

import numpy as np
import pytest
import torch
from conftest import shared_data
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from byolmeta import files
from byolmeta.commands import fewshot
from byolmeta.encoder import KINDS, Encoder, load_encoder, save_encoder
from byolmeta.files import PRETRAINED, read_card
from byolmeta.images import open_store
from byolmeta.samples import sample_folder
from byolmeta.starters import kind_of, suggest

SHIPPED = sorted(PRETRAINED.glob("*.safetensors"))
NEED = (
    "format architecture image_size kind mean std dim trained_on images steps epochs seconds settings figures licence"
)


def scribbles(paper=255, pen=0, n=12, tint=(1, 1, 1)):
    """Lines on paper, uint8 (n, 3, 32, 32)."""
    random, found = np.random.default_rng(0), []
    for _ in range(n):
        image = Image.new("L", (32, 32), paper)
        ImageDraw.Draw(image).line([tuple(p) for p in random.integers(3, 29, (5, 2)).tolist()], fill=pen, width=2)
        found.append(np.asarray(image)[None] * np.array(tint).reshape(3, 1, 1))
    return np.stack(found).astype(np.uint8)


@pytest.mark.parametrize("pixels, kind", [
    (scribbles(), "drawings"),
    (scribbles(0, 255), "drawings"),
    (scribbles(230, 40), "drawings"),
    (scribbles(tint=(1, 0.7, 0.4)), "photos"),  # coloured
    (np.random.default_rng(0).integers(0, 256, (20, 1, 32, 32), np.uint8).repeat(3, 1), "photos"),  # grey, no paper
    (np.concatenate([scribbles(n=12), scribbles(n=4, tint=(1, 0.5, 0.2))]), "photos"),  # a quarter is coloured
    (np.stack([np.full((3, 32, 32), grey, np.uint8) for grey in range(0, 250, 20)]), "photos"),  # no two papers alike
])  # fmt: skip
def test_ink_on_plain_paper_is_told_from_photos(pixels, kind):
    assert kind_of(pixels) == kind


@pytest.mark.parametrize("name, kind", [("creatures", "photos"), ("digits", "drawings")])
def test_the_samples_are_what_they_are(name, kind, tmp_path):
    assert kind_of(open_store(sample_folder(name, tmp_path), tmp_path / "stores", 64).pixels) == kind


@pytest.mark.parametrize("name, kind", [
    ("omniglot/evaluation.zip", "drawings"), ("caltech20/test", "photos"), ("cifar_fs/meta_test.zip", "photos"),
    ("tiny_imagenet_fs/val.zip", "photos"), ("coco128/images", "photos"), ("bccd/test", "photos"),
])  # fmt: skip
def test_real_sets_are_what_they_are(name, kind, tmp_path):
    assert kind_of(open_store(shared_data(name), tmp_path, 64).pixels) == kind


def test_the_starter_is_one_made_for_the_kind_and_larger_on_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PRETRAINED", tmp_path)
    assert suggest("photos") is suggest("drawings") is None
    save_encoder(Encoder("conv4", 16).initial(0), tmp_path / "small.safetensors")
    assert suggest("photos") == suggest("drawings") == "small"
    (tmp_path / "damaged.safetensors").write_bytes(b"x" * 9)
    save_encoder(Encoder("conv4", 16, {"kind": "drawings"}).initial(0), tmp_path / "drawn.safetensors")
    save_encoder(Encoder("small", 16).initial(0), tmp_path / "large.safetensors")
    assert suggest("drawings") == "drawn"
    for device, name in (("cpu", "small"), ("cuda", "large")):
        monkeypatch.setattr("byolmeta.devices.choose_device", lambda _, device=device: device)
        assert suggest("photos") == name


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_encoders_load_and_say_what_they_are(path):
    net, card = load_encoder(path.stem), read_card(path)
    assert set(NEED.split()) <= card.keys()
    assert [tuple(card["mean"]), tuple(card["std"])] == list(KINDS[net.kind])
    x = torch.rand(4, 3, net.image_size, net.image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        vectors = net.vectors(x)
    assert vectors.isfinite().all() and net.readout_count > 1000
    assert all(t.isfinite().all() for t in load_file(path).values() if t.is_floating_point())
    assert card["figures"]["twin"] > 10 / card["figures"]["twin_of"]  # ten times chance
    assert sum(p.stat().st_size for p in SHIPPED) < 60e6


@pytest.mark.parametrize("path", [p for p in SHIPPED if "slice" in read_card(p)], ids=lambda p: p.stem)
def test_shipped_encoders_reach_what_their_card_says(path, tmp_path, monkeypatch):
    """On a sample that is always at hand, within three standard errors of both measurements."""
    monkeypatch.setenv("BYOLMETA_HOME", str(tmp_path))
    said = read_card(path)["slice"]
    tasks = {k: said[k] for k in ("way", "shot", "query")}
    found = fewshot(str(path), sample_folder(said["sample"], tmp_path), episodes=60, seed=1, **tasks)
    assert abs(found["accuracy"] - said["accuracy"]) < 1.5 * (found["ci95"] + said["ci95"])
