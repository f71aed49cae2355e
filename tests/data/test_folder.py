from __future__ import annotations

import shutil
import sys
import unicodedata
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import PHOTOS
from pixelwise.data import open_dataset, recognise, splits, training_splits
from pixelwise.data.discover import discover
from pixelwise.data.folder import describe_folder, ensure_description
from pixelwise.errors import DataError

SIZE = (60, 40)  # width, height


@cache
def cat() -> Image.Image:
    with Image.open(PHOTOS / "chelsea.png") as image:
        return image.convert("RGB")


def photo(path: Path, number: int = 0) -> None:
    """A piece of a real photo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left, top = 7 * number % 300, 5 * number % 200
    cat().crop((left, top, left + SIZE[0], top + SIZE[1])).save(path)


def mask(path: Path, number: int = 0, high: int = 255) -> None:
    """A rectangle of `high` on 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.zeros(SIZE[::-1], np.uint8)
    ids[5 : 20 + number % 10, 8:30] = high
    Image.fromarray(ids).save(path)


def pairs(root: Path, image: str, label: str, names: list[str] | None = None, high: int = 255) -> Path:
    """Photos and masks at the paths that two patterns give for each name."""
    for number, name in enumerate(names or [f"{n:02d}" for n in range(6)]):
        photo(root / image.format(name), number)
        mask(root / label.format(name), number, high)
    return root


def opened(root: Path) -> dict[str, list[str]]:
    """The ids of each split, after a look at every sample."""
    ids = {}
    for split in splits("folder", root):
        dataset = open_dataset("folder", root, split)
        ids[split] = list(dataset.ids)
        for index in range(len(dataset)):
            sample = dataset[index]
            assert sample.image.shape == (*SIZE[::-1], 3)
            assert np.unique(sample.mask).tolist() == [0, 1]
            assert sample.mask[6, 9] == 1
    return ids


# The forms that a folder may have.


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/{}/{}.jpg", "masks/{}/{}.png"),
        ("{}/images/{}.jpg", "{}/masks/{}.png"),
        ("{}/Images/{}.JPG", "{}/Labels/{}.png"),
        ("{}/{}.jpg", "{}annot/{}.png"),
        ("{}/{}.jpg", "{}_labels/{}.png"),
        ("{}_images/{}.jpg", "{}_masks/{}.png"),
        ("images_prepped_{}/{}.jpg", "annotations_prepped_{}/{}.png"),
        ("data/{}/img/{}.jpg", "data/{}/gt/{}.png"),
        ("x/{}/{}.jpg", "y/{}/{}.png"),
    ],
)
@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "validation", "testing"), ("Train", "Valid", "Test")]
)
def test_splits_in_folders(tmp_path: Path, image: str, label: str, names: tuple[str, str, str]) -> None:
    for at, split in enumerate(names):
        for number in range(3):
            photo(tmp_path / image.format(split, f"{at}{number}"), number)
            mask(tmp_path / label.format(split, f"{at}{number}"), number)
    found = opened(tmp_path)
    assert {split: [name[-2:] for name in ids] for split, ids in found.items()} == {
        "train": ["00", "01", "02"],
        "val": ["10", "11", "12"],
        "test": ["20", "21", "22"],
    }
    assert training_splits("folder", tmp_path) == ("train", "val")
    assert list(open_dataset("folder", tmp_path, "validation").ids) == found["val"]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/{}.jpg", "masks/{}.png"),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        ("PNGImages/FudanPed000{}.png", "PedMasks/FudanPed000{}_mask.png"),
        ("imgs/car_{}.jpg", "ground_truth/car_{}_gt.png"),
        ("images/08_etrims-ds/b{}.jpg", "annotations/08_etrims-ds/b{}.png"),
        ("base/cmp_b00{}.jpg", "base/cmp_b00{}.png"),
        ("{}.png", "{}_mask.png"),
        ("all/{}_sat.jpg", "all/{}_mask.png"),
        ("train/image/{}.png", "train/label/{}.png"),
        ("photos/holiday-{}.jpg", "labels/label-{}.png"),
        ("images/{}_before.jpg", "masks/{}_by_anna.png"),
        ("images/oxford_{}.jpg", "annotations/trimaps/oxford_{}.png"),
        ("frames/0001TP_0{}.png", "labels/0001TP_0{}_L.png"),
        ("leftImg8bit/ulm/ulm_{}_leftImg8bit.png", "gtFine/ulm/ulm_{}_gtFine_labelIds.png"),
    ],
)
def test_folders_without_splits(tmp_path: Path, image: str, label: str) -> None:
    root = pairs(tmp_path, image, label)
    (root / "notes.xml").write_text("<annotation/>")
    found = opened(root)
    assert {split: len(ids) for split, ids in found.items()} == {"train": 5, "val": 1}
    assert recognise(root) == "folder"
    assert describe_folder(root).unpaired == ()


def test_a_mask_may_differ_from_its_photo_in_case_and_in_how_accents_are_written(tmp_path: Path) -> None:
    names = ["Caf\u00e9", "NA\u00cfVE", "\u00fcber", "plain", "Plain"]
    for number, name in enumerate(names):
        photo(tmp_path / "images" / f"{name}.JPG", number)
        other = name if name in ("plain", "Plain") else unicodedata.normalize("NFD", name.lower())  # as a Mac has it
        mask(tmp_path / "masks" / f"{other}.png", number)
    found = describe_folder(tmp_path)
    assert found.unpaired == ()
    pairs = [pair for group in found.splits.values() for pair in group]
    assert sorted(pair.id for pair in pairs) == sorted(names)
    assert {(pair.image.stem, pair.mask.stem) for pair in pairs} > {("plain", "plain"), ("Plain", "Plain")}


def test_drive_is_read_by_its_manual_labels_and_not_by_its_fields_of_view(tmp_path: Path) -> None:
    for number in range(21, 27):
        photo(tmp_path / f"training/images/{number}_training.tif", number)
        mask(tmp_path / f"training/1st_manual/{number}_manual1.gif", number)
        mask(tmp_path / f"training/mask/{number}_training_mask.gif", 5, high=1)
    for number in (1, 2):
        photo(tmp_path / f"test/images/{number:02d}_test.tif", number)
        mask(tmp_path / f"test/1st_manual/{number:02d}_manual1.gif", number)
        mask(tmp_path / f"test/2nd_manual/{number:02d}_manual2.gif", number)
        mask(tmp_path / f"test/mask/{number:02d}_test_mask.gif", 5, high=1)
    found = opened(tmp_path)
    assert found["test"] == ["01_test", "02_test"]
    assert len(found["train"]) == 5
    (tmp_path / "dataset.yaml").write_text("images: '*/images'\nmasks: '*/1st_manual'\n")
    assert opened(tmp_path) == found
    (tmp_path / "dataset.yaml").unlink()
    finding = describe_folder(tmp_path).finding
    assert "manual labels in 1st_manual/ were taken, not 2nd_manual/, mask/" in finding


@pytest.mark.parametrize(
    ("image", "endings", "suffix"),
    [("Image_{}L.jpg", ("_1stHO", "_2ndHO"), ".png"), ("im{}.ppm", (".ah", ".vk"), ".ppm")],
)
def test_of_two_annotators_in_one_folder_the_first_is_taken_and_that_is_said(
    tmp_path: Path, image: str, endings: tuple[str, str], suffix: str
) -> None:
    for ending in endings:
        pairs(tmp_path, image, f"{Path(image).stem}{ending}{suffix}")
    assert {split: len(ids) for split, ids in opened(tmp_path).items()} == {"train": 5, "val": 1}
    description = describe_folder(tmp_path)
    assert f"the masks ending in {endings[0]} were taken, not {endings[1]}" in description.finding
    assert all(endings[0] in pair.mask.name for pair in description.splits["train"])
    assert description.unpaired == ()


def test_a_test_split_that_came_without_masks_is_said_and_is_no_mistake(tmp_path: Path) -> None:
    pairs(tmp_path, "training/images/{}_training.tif", "training/1st_manual/{}_manual1.gif")
    for number in (1, 2):
        photo(tmp_path / "test" / "images" / f"{number:02d}_test.tif", number)
    photo(tmp_path / "training" / "images" / "77_training.tif")
    description = describe_folder(tmp_path)
    assert [path.name for path in description.unpaired] == ["77_training.tif"]
    assert "2 pictures of test without a mask left aside" in description.finding
    mask(tmp_path / "test" / "1st_manual" / "01_manual1.gif")
    assert [path.name for path in describe_folder(tmp_path).unpaired] == ["02_test.tif", "77_training.tif"]


def test_a_single_photo_beside_its_mask_is_paired_whatever_its_name_begins_with(tmp_path: Path) -> None:
    found = discover(pairs(tmp_path, "image_{}.png", "image_{}_mask.png", ["01"]))
    assert [pair.id for pair in found.pairs] == ["image_01"]


def test_membrane_photos_without_labels_are_left_out_and_listed(tmp_path: Path) -> None:
    pairs(tmp_path, "train/image/{}.png", "train/label/{}.png")
    photo(tmp_path / "test" / "0.png")
    photo(tmp_path / "train" / "image" / "77.png")
    assert [path.name for path in describe_folder(tmp_path).unpaired] == ["77.png"]
    dataset = open_dataset("folder", tmp_path, "train")
    assert [path.name for path in dataset.unpaired] == ["77.png"]  # type: ignore[attr-defined]
    assert "1 file without a partner left out" in dataset.finding  # type: ignore[attr-defined]


def test_stacks_of_pages_are_refused_with_what_to_do(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 255, 9)]
    for name in ("train-volume.tif", "train-labels.tif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"train-labels\.tif holds several pages.*doctor DIR --fix COPY"):
        describe_folder(tmp_path)


def test_lists_divide_a_flat_folder(tmp_path: Path) -> None:
    pairs(tmp_path, "images/{}.jpg", "masks/{}.png")
    (tmp_path / "train.txt").write_text("00\nimages/01.jpg masks/01.png\n/data/me/images/02.jpg\n")
    (tmp_path / "val.txt").write_text("D:\\me\\images\\03.jpg\n")
    (tmp_path / "test.txt").write_text("04\n\n")
    assert opened(tmp_path) == {"train": ["00", "01", "02"], "val": ["03"], "test": ["04"]}
    assert "train.txt" in describe_folder(tmp_path).finding
    assert "leave out 1 photo" in describe_folder(tmp_path).finding
    (tmp_path / "val.txt").write_text("03\nnobody\n")
    with pytest.raises(DataError, match=r"val\.txt names 1 photo of which there is no pair; the first is nobody"):
        describe_folder(tmp_path)


def test_lists_may_name_photos_with_blanks_in_their_names(tmp_path: Path) -> None:
    names = ["cat", "cat (2)", "cat (3)", "my cat"]
    root = pairs(tmp_path, "images/{}.jpg", "masks/{}.png", names)
    (root / "train.txt").write_text("cat\ncat (2)\n")
    (root / "val.txt").write_text("images/cat (3).jpg\nimages/my cat.jpg masks/my cat.png\n")
    assert opened(root) == {"train": ["cat", "cat (2)"], "val": ["cat (3)", "my cat"]}


def test_lists_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    pairs(tmp_path, "images/{}.jpg", "masks/{}.png")
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "training.txt").write_text("00\n01\n02\n03\n")
    (tmp_path / "splits" / "test.txt").write_text("04\n05\n")
    found = opened(tmp_path)
    assert found["test"] == ["04", "05"]
    assert len(found["train"]) == 3
    assert len(found["val"]) == 1


# What is refused.


def test_a_mask_for_each_object_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for name in ("ab", "cd"):
        photo(tmp_path / "stage1_train" / name / "images" / f"{name}.png")
        for number in range(3):
            mask(tmp_path / "stage1_train" / name / "masks" / f"x{number}.png", number)
    with pytest.raises(DataError, match=r"each object.*stage1_train/ab/masks/ has 3 for the photo .*ab\.png\. Unite"):
        describe_folder(tmp_path)


def test_a_folder_of_masks_for_each_class_is_refused_with_what_to_do(tmp_path: Path) -> None:
    pairs(tmp_path, "images/{}.jpg", "masks/car/{}.png")
    pairs(tmp_path, "images/{}.jpg", "masks/tree/{}.png")
    with pytest.raises(
        DataError, match=r"masks/car, masks/tree: one a class, .* `masks: masks/car` in .*dataset\.yaml"
    ):
        describe_folder(tmp_path)
    (tmp_path / "dataset.yaml").write_text("masks: masks/car\n")
    assert len(opened(tmp_path)["train"]) == 5


def test_a_single_pair_is_counted_as_one(tmp_path: Path) -> None:
    pairs(tmp_path, "images/{}.jpg", "masks/{}.png", ["a"])
    assert describe_folder(tmp_path).finding.startswith("1 photo with a mask, ")


def test_arrays_are_refused_with_what_to_do(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.jpg")
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks" / "a.npy", np.zeros((4, 4)))
    with pytest.raises(DataError, match=r"1 picture, but its masks seem to be 1 file such as masks/a\.npy, .* PNG"):
        describe_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "json/a.json",
            r"1 picture and no masks, but 1 file such as json/a\.json, .* Labelme's NAME\.json belongs beside",
        ),
        ("annotations/train.json", r"COCO's is annotations/instances_SPLIT\.json"),
        ("labels/a.txt", r"labels/a\.txt; outlines are read from Labelme's and COCO's JSON alone"),
        ("annotations.xml", r"annotations\.xml; outlines .* or masks as PNG"),
    ],
)
def test_outlines_that_are_not_read_are_refused_with_what_to_do(tmp_path: Path, name: str, told: str) -> None:
    photo(tmp_path / "photos" / "a.jpg")
    (tmp_path / "notes.txt").write_text("no outlines")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    assert recognise(tmp_path) == "folder"
    with pytest.raises(DataError, match=told):
        describe_folder(tmp_path)


def test_photo_and_mask_in_one_picture_are_refused_with_what_to_do(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "train").mkdir(exist_ok=True)
        cat().crop((0, 0, 80, 40)).save(tmp_path / "train" / f"{number}.jpg")
    with pytest.raises(DataError, match=r"twice as wide as high: .* Cut each in two"):
        describe_folder(tmp_path)
    photo(tmp_path / "train" / "9.jpg")
    with pytest.raises(DataError, match="no folder or file is named as one of masks"):
        describe_folder(tmp_path)


def test_several_folders_of_masks_are_refused_with_the_keys_that_settle_it(tmp_path: Path) -> None:
    pairs(tmp_path, "images/{}.jpg", "masks/{}.png")
    pairs(tmp_path, "images/{}.jpg", "labels/{}.png", high=1)
    with pytest.raises(DataError, match=r"images with labels; images with masks.*dataset\.yaml.*`masks: FOLDER`"):
        describe_folder(tmp_path)
    (tmp_path / "dataset.yaml").write_text("masks: labels\n")
    assert opened(tmp_path)["train"]
    assert describe_folder(tmp_path).encoding.mapping[1] == (1, 1)


def test_several_masks_of_a_photo_are_refused_and_a_pattern_settles_it(tmp_path: Path) -> None:
    pairs(tmp_path, "leftImg8bit/a_{}_leftImg8bit.png", "gtFine/a_{}_gtFine_labelIds.png")
    pairs(tmp_path, "leftImg8bit/a_{}_leftImg8bit.png", "gtFine/a_{}_gtFine_labelTrainIds.png")
    with pytest.raises(DataError, match="are two masks of the same photo"):
        describe_folder(tmp_path)
    (tmp_path / "dataset.yaml").write_text("masks: gtFine/*_labelIds.png\n")
    assert len(opened(tmp_path)["train"]) == 5


def test_numbers_are_never_cut_from_names(tmp_path: Path) -> None:
    names = ["img_101", "img_201", "img_301"]
    for name in names:
        photo(tmp_path / "images" / f"{name}.png")
        mask(tmp_path / "masks" / f"{name.replace('01', '02')}.png")
    with pytest.raises(DataError, match="no photo has a mask of its name"):
        describe_folder(tmp_path)


def test_without_masks_it_says_what_was_found_and_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures"):
        describe_folder(tmp_path)
    photo(tmp_path / "holiday" / "one.jpg")
    assert recognise(tmp_path) == "folder"
    with pytest.raises(DataError, match=r"1 picture, but no folder.*holiday/ \(1\).*Expected: images/ and masks/"):
        describe_folder(tmp_path)
    with pytest.raises(DataError, match="no split 'holiday'; it has: train, val"):
        open_dataset("folder", pairs(tmp_path / "other", "images/{}.jpg", "masks/{}.png"), "holiday")


def test_two_pictures_of_a_name_without_a_jpeg_are_refused(tmp_path: Path) -> None:
    pairs(tmp_path, "{}.tif", "{}.png")
    with pytest.raises(DataError, match="nothing tells which is the photo"):
        describe_folder(tmp_path)
    (tmp_path / "dataset.yaml").write_text("images: '*.tif'\nmasks: '*.png'\n")
    assert len(opened(tmp_path)["train"]) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [("masks: nowhere", "no folder .*nowhere, which .*`masks`"), ("images: ../x", "expected a folder below")],
)
def test_a_stated_folder_has_to_be_there(tmp_path: Path, text: str, message: str) -> None:
    pairs(tmp_path, "images/{}.jpg", "masks/{}.png")
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        describe_folder(tmp_path)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="any pattern is one since Python 3.13")
def test_a_stated_pattern_has_to_be_one(tmp_path: Path) -> None:
    pairs(tmp_path, "images/{}.jpg", "masks/{}.png")
    (tmp_path / "dataset.yaml").write_text("images: '**images/*'\nmasks: masks\n")
    with pytest.raises(DataError, match=r"names \*\*images/\* under `images`, which is no pattern"):
        describe_folder(tmp_path)


def test_stated_folders_may_have_any_name(tmp_path: Path) -> None:
    pairs(tmp_path, "a/one/{}.jpg", "b/one/{}.png")
    (tmp_path / "dataset.yaml").write_text("images: a\nmasks: b\n")
    assert opened(tmp_path)["val"][0].startswith("one/")


# Writing down what was found.


def test_what_was_found_is_written_once_and_read_back_the_same(tmp_path: Path) -> None:
    pairs(tmp_path, "images/{}.jpg", "masks/{}.png", [f"{n:03d}" for n in range(20)])
    before = describe_folder(tmp_path)
    assert not (tmp_path / "dataset.yaml").exists(), "a look changes nothing"
    description, written = ensure_description(tmp_path)
    text = (tmp_path / "dataset.yaml").read_text()
    assert written
    assert "masks hold the values 0 and 255: background and object" in text
    after = describe_folder(tmp_path)
    assert (after.classes, after.encoding.mapping, after.splits) == (
        before.classes,
        before.encoding.mapping,
        before.splits,
    )
    assert ensure_description(tmp_path)[1] is False
    assert (tmp_path / "dataset.yaml").read_text() == text
    assert len(description.splits["val"]) == 4


@pytest.mark.parametrize("name", ["caf\udce9", "line\nbreak: [", "bell\a"])
def test_what_was_found_is_written_whatever_a_files_name_holds(tmp_path: Path, name: str) -> None:
    """Of which `caf\udce9` is how Python gives bytes that are no UTF-8."""
    root = pairs(tmp_path, "images/{}.jpg", "masks/{}.png")
    photo(root / "images" / "alone.jpg")
    (root / "images" / "alone.jpg").rename(root / "images" / f"{name}.jpg")
    description, written = ensure_description(root)
    assert written
    assert name in str(description.unpaired[0])
    assert describe_folder(root).splits == description.splits


def test_new_photos_never_move_one_from_val_to_train(tmp_path: Path) -> None:
    pairs(tmp_path, "images/{}.jpg", "masks/{}.png", [f"{n:03d}" for n in range(20)])
    ensure_description(tmp_path)
    val = opened(tmp_path)["val"]
    pairs(tmp_path, "images/{}.jpg", "masks/{}.png", [f"a{n:03d}" for n in range(30)])
    found = opened(tmp_path)
    assert found["val"] == val
    assert len(found["train"]) == 46


def test_a_test_split_is_never_drawn_from(tmp_path: Path) -> None:
    pairs(tmp_path, "train/images/{}.jpg", "train/masks/{}.png")
    pairs(tmp_path, "test/images/{}.jpg", "test/masks/{}.png")
    ensure_description(tmp_path)
    found = opened(tmp_path)
    assert len(found["test"]) == 6
    assert sorted(found["train"] + found["val"]) == found["test"]


def test_a_folder_that_cannot_be_written_to_is_described_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs(tmp_path, "images/{}.jpg", "masks/{}.png")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refused)  # the tests may run as root, whom no permission stops
    description, written = ensure_description(tmp_path)
    assert not written
    assert not list(tmp_path.glob("*.yaml"))
    assert description.finding


def test_a_mask_that_changes_is_looked_at_again(tmp_path: Path) -> None:
    pairs(tmp_path, "images/{}.jpg", "masks/{}.png")
    assert describe_folder(tmp_path).encoding.mapping == ((0, 0), (255, 1))
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    pairs(tmp_path, "images/{}.jpg", "masks/{}.png", high=128)
    assert describe_folder(tmp_path).encoding.mapping == ((0, 0), (128, 1))


# Real data.


def test_nuclei(shared_data: Path) -> None:
    description = describe_folder(shared_data / "nuclei")
    assert {name: len(pairs) for name, pairs in description.splits.items()} == {"train": 48, "val": 12}
    assert description.classes.names == ("background", "object")
    dataset = open_dataset(recognise(shared_data / "nuclei"), shared_data / "nuclei", "val")
    sample = dataset[3]
    assert 0.01 < sample.mask.mean() < 0.9
    assert sample.image[sample.mask == 1].mean() != sample.image[sample.mask == 0].mean()


def test_trimaps_of_pets(shared_data: Path, tmp_path: Path) -> None:
    for path in sorted((shared_data / "oxford_pets" / "annotations" / "trimaps").glob("*.png"))[:30]:
        for source, folder in (
            (path, "masks"),
            (shared_data / "oxford_pets" / "images" / f"{path.stem}.jpg", "images"),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            shutil.copy(source, tmp_path / folder)
    description = describe_folder(tmp_path)
    assert description.encoding.mapping == ((1, 0), (2, 1), (3, 2))
    dataset = open_dataset("folder", tmp_path, "train")
    assert set(np.unique(dataset[0].mask).tolist()) == {0, 1, 2}


@pytest.mark.parametrize("layout", ["voc", "camvid"])
def test_official_datasets_as_folders_give_what_their_own_readers_give(
    layout: str, shared_data: Path, tmp_path: Path
) -> None:
    own = open_dataset(layout, shared_data / layout, "val")
    for index in range(0, 60, 2):
        for source, folder in ((own.image_paths[index], "images"), (own.mask_paths[index], "masks")):  # type: ignore[attr-defined]
            (tmp_path / folder).mkdir(exist_ok=True)
            shutil.copy(source, tmp_path / folder)
    (tmp_path / "classes.txt").write_text("\n".join(own.classes.names) + ("\nvoid\n" if layout == "camvid" else "\n"))
    generic = open_dataset("folder", tmp_path, "train")
    assert generic.classes.names[: len(own.classes)] == own.classes.names
    for index, name in enumerate(generic.ids):
        there = own.mask(list(own.ids).index(name))
        mask = generic.mask(index)
        np.testing.assert_array_equal(np.where(mask == 11, 255, mask) if layout == "camvid" else mask, there)
