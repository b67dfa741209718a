"""files.py: files written whole, encoder files found by name and known by their card."""

import pytest

from byolmeta import files as module
from byolmeta.encoder import Encoder, save_encoder
from byolmeta.errors import InputError
from byolmeta.files import file_fingerprint, find_encoder, image_size_of, read_card, replace_file, starters


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "some.safetensors"
    save_encoder(Encoder("conv4", 16).initial(seed=3), path, {"trained_on": "drawn shapes"})
    return path


def test_replace_file_writes_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    replace_file(path, lambda p: p.write_text("old"))

    def broken(part):
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_file(path, broken)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_find_encoder_by_file_run_folder_and_name(saved, tmp_path, monkeypatch):
    path = saved
    assert find_encoder(path) == path and find_encoder(str(path)) == path
    run = tmp_path / "run"
    run.mkdir()
    (run / "encoder.safetensors").write_bytes(path.read_bytes())
    assert find_encoder(run) == run / "encoder.safetensors"
    monkeypatch.setattr(module, "PRETRAINED", tmp_path)
    assert find_encoder("some") == path and starters() == ["some"]
    for wrong in ("other", tmp_path / "nothing", tmp_path, "", "a" * 5000, "a\0b"):
        with pytest.raises(InputError, match="There is no encoder"):
            find_encoder(wrong)


def test_fingerprint_changes_with_the_file(saved):
    path = saved
    before = file_fingerprint(path)
    assert len(before) == 16 and file_fingerprint(path) == before
    save_encoder(Encoder("conv4", 16).initial(seed=4), path)
    assert file_fingerprint(path) != before


def test_the_picture_size_is_read_from_the_card_without_torch(saved):
    assert read_card(saved)["architecture"] == "conv4"
    assert image_size_of(saved) == 16
    assert {image_size_of(n) for n in ("pixels", "histogram", "untrained", "untrained:resnet18")} == {64}
    assert image_size_of(f"untrained:{saved}") == 16
    with pytest.raises(InputError, match="There is no encoder"):
        image_size_of("untrained:nothing")
