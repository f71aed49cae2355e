from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import SavePicture
from pixelwise.data import open_dataset, recognise, splits
from pixelwise.data.layouts.camvid import CAMVID
from pixelwise.data.layouts.camvid32 import GROUPS, OFFICIAL_COLOURS
from pixelwise.errors import DataError, MaskError

FRAMES = [f"{sequence}_{i:05d}" for sequence in ("0001TP", "0006R0", "Seq05VD") for i in range(10)]
MASK = [["Sky", "Void", "Truck_Bus"], ["Wall", "Child", "Road"]]


def painted(names: list[list[str]]) -> np.ndarray:
    return np.array([[OFFICIAL_COLOURS[name] for name in row] for row in names], dtype=np.uint8)


@pytest.fixture
def official(tmp_path: Path, save_picture: SavePicture) -> Path:
    for name in FRAMES:
        save_picture(tmp_path / "701_StillsRaw_full" / f"{name}.png", np.full((2, 3, 3), 90, dtype=np.uint8))
        save_picture(tmp_path / "LabeledApproved_full" / f"{name}_L.png", painted(MASK))
    lines = [f"{r} {g} {b}\t{name}" for name, (r, g, b) in OFFICIAL_COLOURS.items()]
    (tmp_path / "label_colors.txt").write_text("\r\n".join(lines))
    return tmp_path


@pytest.fixture
def kaggle(tmp_path: Path, save_picture: SavePicture) -> Path:
    for split in ("train", "val", "test"):
        save_picture(tmp_path / split / f"{split}_1.png", np.full((2, 3, 3), 90, dtype=np.uint8))
        save_picture(tmp_path / f"{split}_labels" / f"{split}_1_L.png", painted(MASK))
    lines = [f"{name}, {r}, {g}, {b}" for name, (r, g, b) in OFFICIAL_COLOURS.items()]
    (tmp_path / "class_dict.csv").write_text("\n".join(["name,r,g,b", *lines]))
    return tmp_path


def test_the_official_table_holds_32_colours_and_all_but_void_are_grouped():
    assert len(OFFICIAL_COLOURS) == len(set(OFFICIAL_COLOURS.values())) == 32
    assert tuple(GROUPS) == CAMVID.names
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted([*grouped, "Void"]) == sorted(OFFICIAL_COLOURS)


def test_colours_become_ids_and_void_is_ignored(official: Path):
    dataset = open_dataset("camvid32", official, "train")
    names = dataset.classes.names
    assert len(names) == 31
    ids = [[255 if name == "Void" else names.index(name) for name in row] for row in MASK]
    assert dataset[0].mask.tolist() == ids


def test_32_classes_are_grouped_into_11(official: Path):
    dataset = open_dataset("camvid32", official, "train", {"classes": "11"})
    assert dataset.classes == CAMVID
    named = [["" if i == 255 else CAMVID.names[i] for i in row] for row in dataset[0].mask.tolist()]
    assert named == [["sky", "", "car"], ["building", "pedestrian", "road"]]


def test_without_lists_a_fifth_of_each_sequence_is_held_out(official: Path):
    assert splits("camvid32", official) == ["train", "val"]
    train, val = (open_dataset("camvid32", official, name).ids for name in ("train", "val"))
    assert sorted([*train, *val]) == sorted(FRAMES)
    assert [sum(name.startswith(s) for name in val) for s in ("0001TP", "0006R0", "Seq05VD")] == [2, 2, 2]


def test_lists_such_as_the_segnet_tutorials_count(official: Path):
    for split, name in zip(("train", "val", "test"), FRAMES, strict=False):
        line = f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png"
        (official / f"{split}.txt").write_text(line + "\n")
    assert splits("camvid32", official) == ["train", "val", "test"]
    assert list(open_dataset("camvid32", official, "test").ids) == [FRAMES[2]]


def test_kaggles_folders_are_read(kaggle: Path, tmp_path: Path):
    assert recognise(kaggle) == "camvid32"
    assert splits("camvid32", kaggle) == ["train", "val", "test"]
    dataset = open_dataset("camvid32", kaggle, "val", {"classes": "11"})
    assert list(dataset.ids) == ["val_1"]
    assert dataset[0].mask[0].tolist() == [0, 255, CAMVID.names.index("car")]


def test_the_table_may_be_missing_from_the_official_layout(official: Path):
    (official / "label_colors.txt").unlink()
    assert recognise(official) == "camvid32"
    assert len(open_dataset("camvid32", official, "val").classes) == 31


def test_a_palette_stands_for_its_colours(official: Path):
    path = official / "LabeledApproved_full" / f"{FRAMES[0]}_L.png"
    with Image.open(path) as image:
        indexed = image.quantize(8)
    indexed.save(path)
    dataset = open_dataset("camvid32", official, "train", {"classes": "11"})
    assert dataset[list(dataset.ids).index(FRAMES[0])].mask[0].tolist() == [0, 255, 8]


def test_a_colour_that_the_table_lacks_is_named(official: Path, save_picture: SavePicture):
    name = open_dataset("camvid32", official, "val").ids[0]
    wrong = painted(MASK)
    wrong[0, 0] = (1, 2, 3)
    save_picture(official / "LabeledApproved_full" / f"{name}_L.png", wrong)
    with pytest.raises(MaskError, match=rf"{name}_L\.png holds the colours \(1, 2, 3\) \(17 %\) of its pixels"):
        open_dataset("camvid32", official, "val")[0]


@pytest.mark.parametrize("text", ["a,b\n1,2", "name,r,g,b\nSky,1,2", "name,r,g,b\nSky,x,2,3"])
def test_a_bad_table_is_named(kaggle: Path, text: str):
    (kaggle / "class_dict.csv").write_text(text)
    with pytest.raises(DataError, match=r"class_dict\.csv gives no name and three numbers"):
        open_dataset("camvid32", kaggle, "train")


def test_a_class_of_another_dataset_cannot_be_grouped(kaggle: Path):
    (kaggle / "class_dict.csv").write_text("name,r,g,b\nroof,1,2,3\n")
    assert open_dataset("camvid32", kaggle, "train").classes.names == ("roof",)
    with pytest.raises(DataError, match="'roof' is in none of the 11 groups"):
        open_dataset("camvid32", kaggle, "train", {"classes": "11"})


def test_a_folder_without_photos_is_named(kaggle: Path):
    (kaggle / "val" / "val_1.png").unlink()
    with pytest.raises(DataError, match="val holds no photos"):
        open_dataset("camvid32", kaggle, "val")
