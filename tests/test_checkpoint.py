from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pixelwise.checkpoint import latest_checkpoint, save_checkpoint
from pixelwise.errors import OutputError, PixelwiseError


def state(step: int) -> dict[str, object]:
    return {"model": {"weight": torch.arange(6.0).view(2, 3) + step, "count": torch.tensor(step)}, "best": None}


def flip_a_byte(path: Path, where: int) -> None:
    data = bytearray(path.read_bytes())
    data[where] ^= 0x01
    path.write_bytes(data)


class TouchesAFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


def test_what_was_saved_comes_back_bit_for_bit(tmp_path: Path):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.randn(3))])
    saved = {**state(1), "optimizer": optimizer.state_dict(), "step": 1, "best": 0.1}
    path = save_checkpoint(tmp_path / "run" / "checkpoints", saved, step=1)
    found = latest_checkpoint(path.parent)
    assert found is not None
    assert found[1] == path
    assert found[0].keys() == saved.keys()
    assert torch.equal(found[0]["model"]["weight"], torch.arange(6.0).view(2, 3) + 1)
    assert (found[0]["step"], found[0]["best"]) == (1, 0.1)
    assert found[0]["optimizer"] == saved["optimizer"]


def test_there_is_none_before_the_first(tmp_path: Path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "absent") is None


def test_the_newest_two_are_kept(tmp_path: Path):
    paths = [save_checkpoint(tmp_path, state(step), step=step) for step in (9, 10, 100, 2000)]
    assert sorted(tmp_path.iterdir()) == paths[-2:]
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found[1] == paths[-1]


def test_the_name_carries_the_step_and_the_hash(tmp_path: Path):
    path = save_checkpoint(tmp_path, state(7), step=7)
    assert path.name == f"step-00000007-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.pt"


@pytest.mark.parametrize("where", [0, 400, -1])
def test_a_flipped_byte_in_the_newest_falls_back_to_the_one_before(tmp_path: Path, where: int):
    older, newest = (save_checkpoint(tmp_path, state(step), step=step) for step in (1, 2))
    flip_a_byte(newest, where)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found[1] == older
    assert found[0]["model"]["count"] == 1


def test_a_file_cut_short_falls_back_to_the_one_before(tmp_path: Path):
    older, newest = (save_checkpoint(tmp_path, state(step), step=step) for step in (1, 2))
    newest.write_bytes(newest.read_bytes()[:-100])
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found[1] == older


def test_says_so_when_all_are_damaged(tmp_path: Path):
    for step in (1, 2):
        flip_a_byte(save_checkpoint(tmp_path, state(step), step=step), 100)
    with pytest.raises(PixelwiseError, match=r"No checkpoint in .* is whole") as caught:
        latest_checkpoint(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_save_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = [save_checkpoint(tmp_path, state(step), step=step) for step in (1, 2)]

    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk_full)
        with pytest.raises(OutputError, match="No space left"):
            save_checkpoint(tmp_path, state(3), step=3)
    assert sorted(tmp_path.iterdir()) == paths
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found[1] == paths[-1]


def test_a_part_of_a_file_under_a_temporary_name_is_never_taken_for_a_checkpoint(tmp_path: Path):
    path = save_checkpoint(tmp_path, state(1), step=1)
    (tmp_path / f".{path.stem}-abc.pt").write_bytes(path.read_bytes()[:50])
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found[1] == path


def test_a_pickle_that_runs_code_is_refused_although_its_hash_is_right(tmp_path: Path):
    made = tmp_path / "made"
    buffer = io.BytesIO()
    torch.save({"model": TouchesAFile(made)}, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    path = tmp_path / f"step-00000001-{digest}.pt"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(PixelwiseError, match=r"step-00000001-.*not loaded"):
        latest_checkpoint(tmp_path)
    assert not made.exists()
    torch.load(path, weights_only=False)  # the pickle does run code where it is let
    assert made.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle at all"])
def test_a_foreign_file_with_the_right_hash_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / f"step-00000001-{hashlib.sha256(content).hexdigest()[:16]}.pt").write_bytes(content)
    with pytest.raises(PixelwiseError, match="not loaded"):
        latest_checkpoint(tmp_path)
