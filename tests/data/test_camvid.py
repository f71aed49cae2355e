from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import SavePicture
from pixelwise.data import open_dataset, recognise, splits, training_splits
from pixelwise.data.layouts.camvid import CAMVID
from pixelwise.errors import DataError, MaskError

MASK = np.array([[0, 11, 3], [10, 11, 0]], dtype=np.uint8)


@pytest.fixture(params=["png", "jpg"])
def root(request: pytest.FixtureRequest, tmp_path: Path, save_picture: SavePicture) -> Path:
    """Two frames in train, one in val; the official photos are PNG."""
    for split, names in (("train", ("0001TP_2", "0001TP_1")), ("val", ("0016E5_1",))):
        lines = []
        for name in names:
            photo, mask = f"{split}/{name}.{request.param}", f"{split}annot/{name}.png"
            save_picture(tmp_path / photo, np.full((2, 3, 3), 90, dtype=np.uint8))
            save_picture(tmp_path / mask, MASK)
            lines.append(f"/SegNet/CamVid/{photo} /SegNet/CamVid/{mask}")
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_gives_the_photos_of_the_list_with_11_as_not_labelled(root: Path):
    dataset = open_dataset("camvid", root, "train")
    assert (list(dataset.ids), dataset.classes) == (["0001TP_2", "0001TP_1"], CAMVID)
    assert dataset[0].mask.tolist() == [[0, 255, 3], [10, 255, 0]]
    assert dataset[0].mask.dtype == np.uint8
    assert dataset[0].image.shape == (2, 3, 3)


def test_the_layout_is_recognised_and_its_splits_told(root: Path):
    assert recognise(root) == "camvid"
    assert splits("camvid", root) == ["train", "val"]
    assert training_splits("camvid", root) == ("train", "val")
    with pytest.raises(DataError, match=r"no split list .*test\.txt; lists found: train, val"):
        open_dataset("camvid", root, "test")


def test_classes_that_are_stated_are_not_camvids(root: Path):
    (root / "dataset.yaml").write_text("names: [" + ", ".join(f"c{i}" for i in range(12)) + "]\n")
    assert recognise(root) == "folder"
    assert open_dataset("folder", root, "train")[0].mask.tolist() == MASK.tolist()


def test_a_value_beyond_the_classes_is_refused(root: Path, save_picture: SavePicture):
    save_picture(root / "valannot" / "0016E5_1.png", np.full((2, 3), 12, dtype=np.uint8))
    with pytest.raises(MaskError, match=r"0016E5_1\.png holds values .*: 12 \("):
        open_dataset("camvid", root, "val")[0]


@pytest.mark.parametrize("text", ["", "\n", "train/one.png\n"])
def test_a_list_without_pairs_is_refused(root: Path, text: str):
    (root / "train.txt").write_text(text)
    with pytest.raises(DataError, match=r"train\.txt has to name a photo and its mask on every line"):
        open_dataset("camvid", root, "train")


def test_real_frames(shared_data: Path):
    root = shared_data / "camvid"
    assert recognise(root) == "camvid"
    assert {name: len(open_dataset("camvid", root, name)) for name in splits("camvid", root)} == {
        "test": 233,
        "train": 367,
        "val": 101,
    }
    sample = open_dataset("camvid", root, "val")[50]
    raw = np.asarray(Image.open(root / "valannot" / f"{sample.id}.png"))
    assert sample.image.shape == (360, 480, 3)
    assert (sample.mask == np.where(raw == 11, 255, raw)).all()
