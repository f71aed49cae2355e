from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import SavePicture
from pixelwise.data import open_dataset, recognise, splits
from pixelwise.data.sample import read_split
from pixelwise.errors import DataError, MaskError
from pixelwise.labels import VOC

MASK = np.array([[0, 15, 15], [0, 255, 20]], dtype=np.uint8)
COLOURS = {"one": (200, 30, 60), "two": (20, 180, 90)}


@pytest.fixture
def root(tmp_path: Path, save_picture: SavePicture) -> Path:
    """Two photos of one colour each, 2 by 3 pixels; the second mask is the first mirrored."""
    for (name, colour), mask in zip(COLOURS.items(), (MASK, MASK[:, ::-1]), strict=True):
        save_picture(tmp_path / "JPEGImages" / f"{name}.jpg", np.full((2, 3, 3), colour, dtype=np.uint8))
        save_picture(tmp_path / "SegmentationClass" / f"{name}.png", mask)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("two\none\n")
    (lists / "val.txt").write_text("\n  one  1\r\n\n")
    return tmp_path


def test_gives_the_photos_of_the_list_in_its_order(root: Path):
    dataset = open_dataset("voc", root, "train")
    assert (len(dataset), dataset.split, dataset.classes) == (2, "train", VOC)
    two, one = dataset[0], dataset[1]
    assert (two.id, one.id) == ("two", "one")
    assert one.mask.tolist() == MASK.tolist()
    assert two.mask.tolist() == MASK[:, ::-1].tolist()
    for sample in (one, two):
        assert (sample.image.shape, sample.image.dtype, sample.mask.dtype) == ((2, 3, 3), np.uint8, np.uint8)
        assert np.abs(sample.image.astype(int) - COLOURS[sample.id]).max() <= 6  # JPEG


def test_a_list_may_have_blank_lines_and_further_columns(root: Path):
    assert read_split(root / "ImageSets" / "Segmentation" / "val.txt") == ["one"]
    assert len(open_dataset("voc", root, "val")) == 1


def test_a_list_may_begin_with_a_byte_order_mark_and_hidden_files_are_none(root: Path):
    lists = root / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_bytes("\ufefftwo\r\none".encode())
    (lists / "._train.txt").write_bytes(b"\0\5\x16\7\xff")  # a Mac's
    assert splits("voc", root) == ["train", "val"]
    assert list(open_dataset("voc", root, "train").ids) == ["two", "one"]


def test_a_list_that_is_no_text_is_refused(root: Path):
    (root / "ImageSets" / "Segmentation" / "train.txt").write_bytes("caf\xe9".encode("latin-1"))
    with pytest.raises(DataError, match=r"The split list .*train\.txt cannot be read .*; save it as text in UTF-8"):
        open_dataset("voc", root, "train")


def test_a_missing_list_names_those_that_are_there(root: Path):
    with pytest.raises(DataError, match=r"no split list .*test\.txt; .* train, val\."):
        open_dataset("voc", root, "test")


def test_an_empty_list_is_refused(root: Path):
    (root / "ImageSets" / "Segmentation" / "test.txt").write_text("\n \n")
    with pytest.raises(DataError, match=r"test\.txt is empty"):
        open_dataset("voc", root, "test")


@pytest.mark.parametrize(("folder", "kind"), [("JPEGImages", "photo"), ("SegmentationClass", "mask")])
def test_missing_files_are_counted_and_the_first_is_named_before_training_starts(root: Path, folder: str, kind: str):
    next((root / folder).glob("one.*")).unlink()
    with pytest.raises(DataError, match=rf"1 of 2 {kind}s are missing; the first is .*one\."):
        open_dataset("voc", root, "train")


def test_a_mask_of_another_size_than_its_photo_is_refused(root: Path, save_picture: SavePicture):
    save_picture(root / "SegmentationClass" / "one.png", MASK.T)
    with pytest.raises(DataError, match=r"one\.png is 2x3 pixels, but its photo is 3x2"):
        open_dataset("voc", root, "val")[0]


def test_a_mask_with_a_value_that_is_no_class_is_refused(root: Path, save_picture: SavePicture):
    save_picture(root / "SegmentationClass" / "one.png", np.full((2, 3), 21, dtype=np.uint8))
    with pytest.raises(MaskError, match=r"one\.png holds values .* 21 "):
        open_dataset("voc", root, "val")[0]


def test_an_unknown_layout_and_a_missing_directory_are_said(root: Path):
    with pytest.raises(DataError, match=r"no dataset layout 'vcc'; did you mean voc.* There are: .*voc"):
        open_dataset("vcc", root, "train")
    with pytest.raises(DataError, match=r"no directory .*absent"):
        open_dataset("voc", root / "absent", "train")


def test_the_layout_is_recognised_by_its_folders(root: Path):
    assert recognise(root) == "voc"
    (root / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has none of the layouts: .*voc"):
        recognise(root / "empty")
    with pytest.raises(DataError, match=r"no directory .*absent"):
        recognise(root / "absent")
    (root / "images").mkdir()
    (root / "categories.json").touch()
    with pytest.raises(DataError, match="could be any of: coco_voc, voc; name its layout"):
        recognise(root)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dataset.yaml", "names: [background, crack, rust]\n"),
        ("class_names.txt", "_background_\ncrack\nrust\n"),
    ],
)
def test_ones_own_classes_in_vocs_folders_are_not_vocs(root: Path, save_picture: SavePicture, name: str, text: str):
    for photo in COLOURS:
        save_picture(root / "SegmentationClass" / f"{photo}.png", np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8))
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("two\n")
    (root / name).write_text(text)
    assert recognise(root) == "folder"
    dataset = open_dataset("folder", root, "train")
    assert dataset.classes.names[1:] == ("crack", "rust")
    assert [list(open_dataset("folder", root, split).ids) for split in ("train", "val")] == [["two"], ["one"]]


def test_a_list_of_vocs_own_classes_makes_no_difference(root: Path):
    names = [name.replace(" ", "") for name in VOC.names[1:]]
    (root / "classes.txt").write_text("\n".join(["_background_", *names, "void"]) + "\n")
    assert recognise(root) == "voc"


def test_masks_of_sbd_are_read_where_voc_has_none(root: Path, save_picture: SavePicture):
    for name in COLOURS:
        save_picture(root / "SegmentationClassAug" / f"{name}.png", np.full((2, 3), 7, dtype=np.uint8))
    (root / "SegmentationClass" / "two.png").unlink()
    (root / "ImageSets" / "Segmentation" / "train_aug.txt").write_text("one\ntwo\n")
    dataset = open_dataset("voc", root, "train_aug")
    assert dataset[0].mask.tolist() == MASK.tolist()
    assert dataset[1].mask.tolist() == [[7] * 3] * 2


def test_the_archives_own_folders_are_looked_into(root: Path, tmp_path_factory: pytest.TempPathFactory):
    above = tmp_path_factory.mktemp("archive")
    (above / "VOCdevkit").mkdir()
    (above / "VOCdevkit" / "VOC2012").symlink_to(root)
    assert recognise(above) == "voc"
    assert splits("voc", above) == ["train", "val"]
    assert open_dataset("voc", above, "val")[0].mask.tolist() == MASK.tolist()


def test_real_photos_have_masks_of_their_size_with_borders_left_out(shared_data: Path):
    dataset = open_dataset("voc", shared_data / "voc", "val")
    found = set()
    for index in range(0, len(dataset), len(dataset) // 4):
        sample = dataset[index]
        assert sample.image.shape == (*sample.mask.shape, 3)
        found |= set(np.unique(sample.mask).tolist())
    assert {0, VOC.ignore_index} < found <= {*range(21), VOC.ignore_index}
