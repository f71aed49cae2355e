from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import SavePicture
from pixelwise.data import open_dataset, recognise, splits
from pixelwise.data.layouts.cityscapes import CITYSCAPES
from pixelwise.errors import DataError, MaskError

ALL_IDS = np.arange(34, dtype=np.uint8).reshape(2, 17)
# trainId of the ids 0 to 33, copied from cityscapesscripts/helpers/labels.py, line by line.
TRAIN_IDS = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
TRAIN_IDS += [255, 255, 16, 17, 18]


@pytest.fixture
def root(tmp_path: Path, save_picture: SavePicture) -> Path:
    for split, city in (("train", "ulm"), ("train", "aachen"), ("val", "lindau"), ("test", "bonn")):
        name = f"{city}_000000_000019"
        save_picture(
            tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", np.zeros((2, 17, 3), np.uint8)
        )
        save_picture(tmp_path / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", ALL_IDS)
        save_picture(tmp_path / "gtFine" / split / city / f"{name}_gtFine_instanceIds.png", ALL_IDS)
    return tmp_path


def test_every_label_id_becomes_its_official_train_id(root: Path):
    dataset = open_dataset("cityscapes", root, "val")
    assert dataset[0].mask.ravel().tolist() == TRAIN_IDS
    assert dataset.classes == CITYSCAPES
    assert len(CITYSCAPES) == 19


def test_the_cities_come_in_order(root: Path):
    assert list(open_dataset("cityscapes", root, "train").ids) == ["aachen_000000_000019", "ulm_000000_000019"]


def test_the_layout_is_recognised_and_test_is_no_split(root: Path):
    assert recognise(root) == "cityscapes"
    assert splits("cityscapes", root) == ["train", "val"]
    with pytest.raises(DataError, match="has no split 'test'; it has: train, val"):
        open_dataset("cityscapes", root, "test")


def test_a_missing_mask_an_empty_folder_and_a_strange_value_are_named(root: Path, save_picture: SavePicture):
    mask = root / "gtFine" / "val" / "lindau" / "lindau_000000_000019_gtFine_labelIds.png"
    save_picture(mask, np.full((2, 17), 34, dtype=np.uint8))
    with pytest.raises(MaskError, match=r"labelIds\.png holds the values 34"):
        open_dataset("cityscapes", root, "val")[0]
    mask.unlink()
    with pytest.raises(DataError, match="1 of 1 masks are missing"):
        open_dataset("cityscapes", root, "val")
    next((root / "leftImg8bit" / "val" / "lindau").iterdir()).unlink()
    with pytest.raises(DataError, match="val holds no CITY/NAME_leftImg8bit"):
        open_dataset("cityscapes", root, "val")
