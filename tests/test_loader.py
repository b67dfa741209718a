"""loader.py: every picture once an epoch, each rank its share, and reading ahead changes nothing."""

import numpy as np
import pytest
import torch

from byolmeta import loader as module
from byolmeta.loader import Loader


def numbered(n):
    """n pictures whose pixels are their number."""
    return np.arange(n, dtype=np.uint8)[:, None, None, None].repeat(3, 1)


def ids_of(batch):
    return batch[:, 0, 0, 0].tolist()


def test_every_picture_comes_once_an_epoch_and_the_last_batch_wraps():
    ids = np.arange(1, 10)
    loader = Loader(numbered(10), ids, 4, 0)
    orders = []
    for epoch in range(3):
        batches = [ids_of(loader.batch(3 * epoch + i)) for i in range(3)]
        assert all(len(set(batch)) == 4 for batch in batches)
        assert set(sum(batches, [])) == set(range(1, 10))
        orders.append(batches)
    assert orders[0] != orders[1] != orders[2]
    assert ids_of(Loader(numbered(10), ids, 4, 0).batch(7)) == ids_of(loader.batch(7))  # by number alone


def test_reading_ahead_changes_nothing():
    loader, other = Loader(numbered(40), np.arange(40), 8, 3), Loader(numbered(40), np.arange(40), 8, 3)
    steps = [0, 1, 2, 5, 6, 3, 4, 5, 11, 12]
    assert [ids_of(loader.batch(s)) for s in steps] == [other.rows(s).tolist() for s in steps]
    loader.close()


def test_an_error_while_reading_ahead_is_raised_where_the_batch_is_asked_for():
    class Broken:
        nbytes = 0

        def __getitem__(self, rows):
            raise OSError("the disk is gone")

    loader = Loader(Broken(), np.arange(8), 4, 0)
    with pytest.raises(OSError, match="disk is gone"):
        loader.batch(0)


def test_ranks_share_a_batch_without_overlap():
    whole = Loader(numbered(50), np.arange(50), 12, 1)
    parts = [Loader(numbered(50), np.arange(50), 12, 1, share=slice(4 * r, 4 * r + 4)) for r in range(3)]
    for step in range(8):
        assert sum((ids_of(part.batch(step)) for part in parts), []) == ids_of(whole.batch(step))


def test_a_store_larger_than_memory_is_streamed(tmp_path, monkeypatch):
    """With little memory free, the mapped file is told that its rows come in random order; batches stay the same."""
    np.save(tmp_path / "pixels.npy", numbered(64))
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    expected = [ids_of(Loader(mapped, np.arange(64), 16, 0).batch(s)) for s in range(5)]
    advice = []

    class Advised:
        def madvise(self, how):
            advice.append(how)

    monkeypatch.setattr(module, "free_memory", lambda device: 100)
    mapped._mmap = Advised()
    loader = Loader(mapped, np.arange(64), 16, 0)
    assert [ids_of(loader.batch(s)) for s in range(5)] == expected and len(advice) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("fits", (True, False))
def test_on_a_gpu_the_batches_are_the_same(fits, monkeypatch):
    expected = [ids_of(Loader(numbered(64), np.arange(64), 16, 0).batch(s)) for s in range(5)]
    monkeypatch.setattr(module, "free_memory", lambda device: 1e12 if fits else 0)
    loader = Loader(numbered(64), np.arange(64), 16, 0, "cuda")
    assert (loader.held is not None) == fits
    batches = [loader.batch(s) for s in range(5)]
    assert [ids_of(b.cpu()) for b in batches] == expected and batches[0].is_cuda
