"""features.py: neighbours and figures against plain loops and hand cases; banks that survive damage."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from byolmeta import features
from byolmeta.encoder import Encoder, Readout, save_encoder
from byolmeta.features import (
    calibrate,
    effective_rank,
    embed,
    encoder_bank,
    knn_accuracy,
    knn_predict,
    neighbours,
    open_bank,
    prepare,
    raw_pixels,
    read_vectors,
    save_vectors,
    spread,
    top,
    twin_score,
)
from byolmeta.images import ImageStore


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def cosines(a, b):
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    return a @ b.T


@pytest.mark.parametrize("block", (1024, 7))
def test_neighbours_equal_brute_force(block):
    x = random(50, 8)
    x[17] = x[3]  # an equal vector is the nearest, but never oneself
    ids, distances = neighbours(x, 6, block=block)
    for row, cosine in enumerate(cosines(x, x)):
        cosine[row] = -9
        expected = np.sort(1 - cosine)[:6]
        np.testing.assert_allclose(distances[row], expected, atol=1e-5)
        np.testing.assert_allclose(1 - cosine[ids[row]], expected, atol=1e-5)
        assert row not in ids[row] and len(set(ids[row])) == 6
    assert ids[17, 0] == 3 and ids[3, 0] == 17 and (distances >= 0).all()


def test_neighbours_of_some_rows_are_those_of_all():
    x, rows, seen = random(300, 8), np.array([250, 3, 77]), []
    all_ids, all_distances = neighbours(x, 4, device="cpu")
    ids, distances = neighbours(x, 4, rows=rows, block=2, progress=lambda *done: seen.append(done))
    np.testing.assert_array_equal(ids, all_ids[rows])
    np.testing.assert_allclose(distances, all_distances[rows], atol=1e-6)
    assert seen == [(2, 3), (3, 3)]


@pytest.mark.parametrize("n", (5, 320, 1003))
def test_top_equals_topk_also_with_ties_and_columns_left_over(n):
    values = torch.from_numpy(random(20, n).round(1))  # many are equal
    best, columns = top(values, 5)
    torch.testing.assert_close(best, values.topk(5).values, rtol=0, atol=0)
    torch.testing.assert_close(values.gather(1, columns), best, rtol=0, atol=0)
    assert all(len(set(row)) == 5 for row in columns.tolist())


def test_neighbours_of_few_pictures():
    ids, distances = neighbours(random(3, 4), 10)
    assert ids.shape == distances.shape == (3, 2)
    assert neighbours(random(1, 4), 10)[0].shape == (1, 0)


def vote(cosine, labels, k, ways):
    votes = np.zeros(ways)
    for i in np.argsort(-cosine)[:k]:
        votes[labels[i]] += np.exp(cosine[i] / 0.1)
    return votes.argmax()


def test_knn_predict_equals_a_plain_loop():
    bank, queries, labels = random(60, 5), random(25, 5, seed=1), np.random.default_rng(2).integers(0, 4, 60)
    for k in (1, 7, 500):
        expected = [vote(c, labels, k, 4) for c in cosines(queries, bank)]
        assert knn_predict(bank, labels, queries, k).tolist() == expected
    assert knn_predict(bank, labels, 100 * bank, 1).tolist() == labels.tolist()  # length does not matter


def test_knn_accuracy_leaves_one_out_and_skips_the_unlabelled():
    x, labels = random(40, 5), np.random.default_rng(2).integers(-1, 3, 40)
    known = labels >= 0
    cosine, y = cosines(x[known], x[known]), labels[known]
    right = 0
    for row in range(len(y)):
        cosine[row, row] = -9
        right += vote(cosine[row], y, 5, 3) == y[row]
    assert knn_accuracy(x, labels, 5) == pytest.approx(right / len(y))


def test_knn_accuracy_by_hand():
    x = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    assert knn_accuracy(x, np.array([0, 0, 1, 1]), 1) == 1.0
    assert knn_accuracy(x, np.array([0, 1, 0, 1]), 1) == 0.0
    assert knn_accuracy(x, np.array([0, 0, 1, 7]), 1) == 0.5
    assert knn_accuracy(x, np.array([0, 0, 0, 0])) is None
    assert knn_accuracy(x, np.array([-1, -1, -1, 1])) is None
    assert knn_accuracy(x, np.full(4, -1)) is None


def test_spread_and_rank_on_hand_cases():
    equal = np.ones((50, 16), np.float32)
    assert spread(equal) == pytest.approx(0, abs=1e-6) and effective_rank(equal) == pytest.approx(1)
    isotropic = random(4000, 16)
    assert spread(isotropic) == pytest.approx(1, abs=0.02) and effective_rank(isotropic) == pytest.approx(16, abs=0.2)
    line = np.outer(random(100), random(16, seed=1))
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    two = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], np.float32)
    assert effective_rank(two) == pytest.approx(2) and effective_rank(two * 100) == pytest.approx(2)
    uneven = two * np.array([3, 1, 1], np.float32)  # shares 0.9 and 0.1
    assert effective_rank(uneven) == pytest.approx(np.exp(-0.9 * np.log(0.9) - 0.1 * np.log(0.1)), rel=1e-5)
    assert spread(np.zeros((4, 3), np.float32)) == 0 and effective_rank(np.zeros((4, 3))) == 1


class MeanColour(nn.Module):
    """A stand-in for an encoder: the mean colour, or something that does not depend on the picture."""

    image_size, dim, kind = 16, 3, "photos"

    def __init__(self, constant=0.0):
        super().__init__()
        self.constant = constant

    def vectors(self, images):
        x = images.mean((2, 3)) - 0.5
        return self.constant + x * 1e-9 if self.constant else x


def noise_pictures(n=30, side=16):
    """Every picture one colour of its own: easy to tell apart."""
    colours = np.random.default_rng(0).integers(0, 256, (n, 3, 1, 1), np.uint8)
    return colours.repeat(side, 2).repeat(side, 3)


def test_twins_are_found_where_it_is_easy(monkeypatch):
    monkeypatch.setattr(features, "ViewConfig", lambda **more: features_config(**more))
    assert twin_score(MeanColour(), noise_pictures()) == 1.0


def features_config(**more):
    from byolmeta.augment import ViewConfig

    return ViewConfig(**more | {"jitter": 0.0, "grey": 0.0})


def test_a_collapsed_encoder_finds_no_twin():
    pixels = noise_pictures()
    assert twin_score(MeanColour(constant=1.0), pixels) <= 1 / 30
    net = Encoder("conv4", 16).eval()
    for p in net.parameters():
        nn.init.zeros_(p)
    assert twin_score(net, pixels) == 0  # zero vectors
    nn.init.ones_(net.trunk[-3].bias)
    assert twin_score(net, pixels) <= 1 / 30  # equal vectors


def test_twins_of_a_random_code_are_found_by_chance_only():
    class Random(MeanColour):
        def vectors(self, images):
            return torch.randn(len(images), 32)

    torch.manual_seed(0)
    assert np.mean([twin_score(Random(), noise_pictures(50)) for _ in range(40)]) == pytest.approx(1 / 50, abs=0.01)


def test_twin_score_repeats_and_keeps_the_mode(store):
    net = Encoder("conv4", 16).train()
    assert twin_score(net, store.pixels) == twin_score(net, store.pixels) and net.training


def test_a_vector_does_not_depend_on_its_neighbours_in_the_batch(store):
    net = Encoder("conv4", 16).initial(0).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    whole = embed(net, store.pixels)
    assert whole.shape == (36, 64) and whole.dtype == np.float32
    np.testing.assert_allclose(embed(net, store.pixels, batch_size=5), whole, atol=1e-5)
    np.testing.assert_allclose(embed(net, store.pixels[7:8]), whole[7:8], atol=1e-5)
    assert net.training and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert np.ptp(whole, axis=0).max() > 0


def test_large_pictures_go_through_a_few_at_a_time(store, monkeypatch):
    """However large those of an encoder are that somebody else made: a batch of 256 at 1024 pixels would take 30 GB."""
    encoder, seen = Encoder("conv4", 32), []
    monkeypatch.setattr(features, "AT_ONCE", 3 * 32**2)
    monkeypatch.setattr(encoder, "vectors", lambda images: seen.append(len(images)) or images.flatten(1)[:, :5])
    assert features.embed(encoder, store.pixels[:8]).shape == (8, 5) and seen == [3, 3, 2]


def test_progress_counts_to_the_end(store):
    seen = []
    embed(Encoder("conv4", 16), store.pixels, batch_size=16, progress=lambda *p: seen.append(p))
    assert seen == [(16, 36), (32, 36), (36, 36)]


def test_prepare_scales_to_0_to_1_and_to_the_asked_size():
    pixels = noise_pictures(4, 32)
    same, small = prepare(pixels, 32), prepare(pixels, 8)
    assert same.shape == (4, 3, 32, 32) and small.shape == (4, 3, 8, 8)
    torch.testing.assert_close(same, torch.from_numpy(pixels).float() / 255)
    torch.testing.assert_close(small[:, :, :1, :1], same[:, :, :1, :1])
    chess = ((np.indices((32, 32)).sum(0) % 2) * 255).astype(np.uint8)[None, None].repeat(3, 1)
    assert (prepare(chess, 8) - 0.5).abs().max() < 0.1  # antialiased


def test_readout_whitens_and_is_kept_in_the_file(store, tmp_path):
    from byolmeta.encoder import load_encoder, save_encoder

    net = calibrate(Encoder("conv4", 16).initial(0), store.pixels)
    pooled = embed(net, store.pixels, pooled=True)
    np.testing.assert_allclose(pooled[:, 64:], embed(net, store.pixels), atol=1e-5)  # before a readout: the last stage
    net.fit_readout(torch.from_numpy(pooled))
    vectors = embed(net, store.pixels)
    assert np.abs(vectors.mean(0)).max() < 1e-3 and effective_rank(vectors) > 1.5 * effective_rank(pooled)
    covariance = np.cov(vectors.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.01  # axes are uncorrelated ...
    values = np.linalg.eigvalsh(np.cov(pooled.T))[::-1]
    damping = values.mean() * 3 * 128 / 36  # ... and damped by a share of the mean, more for few pictures
    np.testing.assert_allclose(np.diag(covariance)[:5], (values / (values + damping))[:5], rtol=0.02)
    save_encoder(net, tmp_path / "a.safetensors")
    np.testing.assert_allclose(embed(load_encoder(tmp_path / "a.safetensors"), store.pixels), vectors, atol=1e-5)


def test_a_readout_is_pooled_with_an_earlier_one_by_the_number_of_pictures():
    net = Encoder("conv4", 16)
    torch.manual_seed(0)
    many, few = torch.randn(4000, 128) * torch.linspace(1, 2, 128), torch.randn(1000, 128) * torch.linspace(3, 1, 128)
    net.fit_readout(many)
    earlier = net.readout()
    assert earlier.count == 4000
    torch.testing.assert_close(earlier.covariance(), torch.cov(many.T.double()), atol=1e-3, rtol=1e-3)
    net.fit_readout(few, earlier)
    pooled = 0.8 * torch.cov(many.T.double()) + 0.2 * torch.cov(few.T.double())
    torch.testing.assert_close(net.readout().covariance(), pooled, atol=1e-3, rtol=1e-3)
    assert net.readout_count == 5000 and torch.allclose(net.readout_mean, few.mean(0), atol=1e-5)


def test_directions_that_a_readout_leaves_out_get_its_least_variance():
    axes = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))[0]
    variance = torch.tensor([9.0, 4.0, 1.0])
    found = Readout(axes[:, :3] * (variance + 0.5).rsqrt(), 10, 0.5).covariance()
    expected = axes * torch.tensor([9.0, 4.0, 1.0, 1.0, 1.0, 1.0]) @ axes.T
    torch.testing.assert_close(found, expected.double(), atol=1e-5, rtol=1e-5)


def test_readout_of_equal_pictures_stays_finite():
    net = Encoder("conv4", 16).initial(0)
    net.fit_readout(torch.ones(5, 128))
    assert torch.isfinite(net.read(torch.rand(4, 128))).all()


def test_calibrate_sets_the_statistics_of_these_pictures(store):
    net = calibrate(Encoder("conv4", 16).initial(0), store.pixels)
    assert not net.training
    x = (prepare(store.pixels, 16) - net.mean) / net.std
    with torch.no_grad():
        first = net.trunk[0](x)
    norm = net.trunk[1]
    torch.testing.assert_close(norm.running_mean, first.mean((0, 2, 3)), atol=1e-4, rtol=1e-3)
    assert norm.momentum == 0.1
    again = calibrate(Encoder("conv4", 16).initial(0), store.pixels)
    assert torch.equal(again.trunk[1].running_var, norm.running_var)


def test_raw_pixels_are_shrunk_and_centred(store):
    raw = raw_pixels(store.pixels)
    assert raw.shape == (36, 768) and np.abs(raw).max() <= 0.5
    np.testing.assert_allclose(raw, store.pixels.reshape(36, -1) / 255 - 0.5, atol=1e-6)  # 16 px already
    assert raw_pixels(store.pixels[:0]).shape == (0, 768)


def test_a_bank_is_computed_once_and_a_damaged_one_again(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return random(4, 3)

    other, wrong = io.BytesIO(), random(4, 3)
    np.save(other, random(3, 3))  # of another number of images
    wrong[1, 1] = np.nan
    nan = io.BytesIO()
    np.save(nan, wrong)
    for damage in (None, b"", b"\x93NUMPY", b"PK\3\4 nonsense", b"nonsense", other.getvalue(), nan.getvalue(), None):
        first = open_bank(tmp_path / "banks", "name", 4, compute)
        again = open_bank(tmp_path / "banks", "name", 4, compute)
        np.testing.assert_array_equal(first.vectors, again.vectors)
        (file,) = (tmp_path / "banks").iterdir()
        if damage is not None:
            file.write_bytes(damage)
    assert len(calls) == 7 and len(first) == 4


def test_banks_by_encoder_and_pictures(store, tiny_encoder, tmp_path, monkeypatch):
    banks = {name: encoder_bank(name, store, tmp_path) for name in ("pixels", "untrained:conv4", tiny_encoder)}
    assert [bank.vectors.shape for bank in banks.values()] == [(36, 768), (36, 128), (36, 64)]
    assert len({bank.fingerprint for bank in banks.values()}) == 3
    monkeypatch.setattr(features, "embed", lambda *_, **__: pytest.fail("not from the cache"))
    for name, bank in banks.items():
        np.testing.assert_array_equal(encoder_bank(name, store, tmp_path).vectors, bank.vectors)


def test_the_untrained_network_of_an_encoder_has_its_shape(store, tmp_path):
    path = tmp_path / "drawn.safetensors"
    save_encoder(Encoder("conv4", 16, {"kind": "drawings"}).initial(1), path)
    found = encoder_bank(f"untrained:{path}", store, tmp_path / "banks")
    plain = encoder_bank("untrained:conv4", store, tmp_path / "banks")
    assert found.vectors.shape == plain.vectors.shape == (36, 128) and not np.allclose(found.vectors, plain.vectors)
    expected = calibrate(Encoder("conv4", 16, {"kind": "drawings"}).initial(0), store.pixels)
    np.testing.assert_allclose(found.vectors, embed(expected, store.pixels, pooled=True), atol=1e-5)


def test_an_untrained_network_takes_a_single_picture(store):
    one = ImageStore(store.index, store.pixels[:1])
    net = Encoder("small", 8, {"kind": "drawings"})
    assert np.isfinite(embed(calibrate(net.initial(0), one.pixels), one.pixels)).all()


def test_a_histogram_counts_the_points_of_each_colour():
    pixels = np.zeros((2, 3, 4, 4), np.uint8)
    pixels[0, 0, :2] = 255  # half red, half black
    pixels[1, 2, 0, 0] = 64  # one point of 16 in the second cell of blue
    found = features.colour_histogram(pixels)
    assert found.shape == (2, 64) and found.dtype == np.float32
    np.testing.assert_allclose(found[0, [0, 48]] ** 2, [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(found[1, [0, 1]] ** 2, [15 / 16, 1 / 16], atol=1e-6)
    np.testing.assert_allclose((found**2).sum(1), 1, atol=1e-6)


def test_two_stores_beside_each_other_share_one_untrained_network(store, tmp_path):
    """Calibrated apart, the same picture would lie elsewhere in each."""
    part = ImageStore(replace(store.index, fingerprint="part"), store.pixels[:12])
    whole = encoder_bank("untrained:conv4", store, tmp_path).vectors
    beside = encoder_bank("untrained:conv4", part, tmp_path, beside=store).vectors
    alone = encoder_bank("untrained:conv4", part, tmp_path).vectors
    np.testing.assert_allclose(beside, whole[:12], atol=1e-4)
    assert np.abs(alone - whole[:12]).max() > 0.1


def test_saved_vectors_are_read_back_and_absent_or_damaged_ones_are_none(tmp_path):
    path = tmp_path / "vectors.npz"
    assert read_vectors(path) is None
    x = random(5, 4)
    save_vectors(path, np.arange(5) * 3, x, 17)
    ids, vectors, step = read_vectors(path)
    assert ids.tolist() == [0, 3, 6, 9, 12] and step == 17 and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, x, atol=2e-3)
    for damage in (path.read_bytes()[:40], b"", b"x"):
        path.write_bytes(damage)
        assert read_vectors(path) is None
