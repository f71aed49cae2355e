from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import SavePicture
from pixelwise.data import open_dataset, recognise, splits, training_splits
from pixelwise.errors import DataError, MaskError

LABELS = "# label:color_rgb:parts:actions\nroof: red:250,50,83::\nbackground:0,0,0::\nignored:1,1,1::\nwall:7,8,9::\n"
BACKGROUND, ROOF, WALL, IGNORED = (0, 0, 0), (250, 50, 83), (7, 8, 9), (1, 1, 1)
MASK = np.array([[BACKGROUND, ROOF, WALL], [IGNORED, ROOF, BACKGROUND]], dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path, save_picture: SavePicture) -> Path:
    """Nine photos in one list, of which one has a blank in its name and one is a PNG in a folder."""
    (tmp_path / "labelmap.txt").write_text(LABELS)
    names = [*(f"photo{i}" for i in range(7)), "with blank", "day 2/p"]
    for name in names:
        suffix = "png" if "/" in name else "jpg"
        save_picture(tmp_path / "JPEGImages" / f"{name}.{suffix}", np.full((2, 3, 3), 90, dtype=np.uint8))
        save_picture(tmp_path / "SegmentationClass" / f"{name}.png", MASK)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "default.txt").write_text("\n".join(f'"{name}"' if " " in name else name for name in names) + "\n")
    return tmp_path


def test_colours_become_classes_in_the_order_of_the_file_after_the_background(root: Path):
    dataset = open_dataset("cvat", root, "default")
    assert dataset.classes.names == ("background", "roof: red", "wall")
    assert dataset.classes.colours == (BACKGROUND, ROOF, WALL)
    for index in range(len(dataset)):
        assert dataset[index].mask.tolist() == [[0, 1, 2], [255, 1, 0]]


def test_it_is_not_taken_for_voc(root: Path):
    assert recognise(root) == "cvat"


def test_the_only_list_is_divided(root: Path):
    assert splits("cvat", root) == ["default", "train", "val"]
    assert training_splits("cvat", root) == ("train", "val")
    train, val, whole = (set(open_dataset("cvat", root, name).ids) for name in ("train", "val", "default"))
    assert (len(train), len(val)) == (7, 2)
    assert train | val == whole


def test_lists_of_ones_own_stay_as_they_are(root: Path):
    lists = root / "ImageSets" / "Segmentation"
    (lists / "default.txt").rename(lists / "train.txt")
    (lists / "val.txt").write_text("photo0\n")
    assert splits("cvat", root) == ["train", "val"]
    assert len(open_dataset("cvat", root, "train")) == 9
    assert list(open_dataset("cvat", root, "val").ids) == ["photo0"]


def test_cvats_own_subsets_are_capitalised(root: Path):
    lists = root / "ImageSets" / "Segmentation"
    (lists / "default.txt").rename(lists / "Train.txt")
    (lists / "Validation.txt").write_text("photo0\n")
    assert splits("cvat", root) == ["Train", "Validation"]
    assert training_splits("cvat", root) == ("Train", "Validation")
    (lists / "Validation.txt").rename(lists / "Test.txt")
    assert splits("cvat", root) == ["Test", "Train", "train", "val"]
    assert training_splits("cvat", root) == ("train", "val")


def test_a_list_of_tests_alone_is_not_learned_from(root: Path):
    lists = root / "ImageSets" / "Segmentation"
    for name in ("test", "Test"):
        next(lists.iterdir()).rename(lists / f"{name}.txt")
        assert splits("cvat", root) == [name]
        with pytest.raises(DataError, match=f"has the splits {name}; training needs"):
            training_splits("cvat", root)


def test_a_colour_that_is_no_label_is_named_with_its_share(root: Path, save_picture: SavePicture):
    wrong = MASK.copy()
    wrong[0, 1:] = (9, 9, 9)
    save_picture(root / "SegmentationClass" / "photo0.png", wrong)
    with pytest.raises(MaskError, match=r"photo0\.png holds the colours \(9, 9, 9\) \(33 %\)"):
        open_dataset("cvat", root, "default").mask(0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("floor", "line 2, is 'floor'; expected label:r,g,b::"),
        ("floor:1,2::", "line 2, is"),
        ("floor:1,2,256::", "line 2, is"),
        ("wall:1,2,3::", "line 2, has the name or the colour of a line above"),
        ("floor:7,8,9::", "line 2, has the name or the colour of a line above"),
    ],
)
def test_a_bad_table_of_labels_is_named(root: Path, line: str, said: str):
    (root / "labelmap.txt").write_text(f"wall:7,8,9::\n{line}\n")
    with pytest.raises(DataError, match=said):
        open_dataset("cvat", root, "default")


def test_missing_photos_are_counted(root: Path):
    (root / "JPEGImages" / "with blank.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 9 photos are missing; the first is .*with blank\.jpg"):
        open_dataset("cvat", root, "default")
