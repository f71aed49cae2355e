from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from broken import CLASSES, Folder, blob, crop, save, sound
from PIL import Image

from helpers import digests
from pixelwise.data import open_dataset
from pixelwise.data.pairs import Pairs
from pixelwise.doctor import examine, open_all
from pixelwise.doctor.examination import quick_check
from pixelwise.doctor.findings import LABELS, LEAK
from pixelwise.doctor.pictures import picture
from pixelwise.doctor.repair import Repair, check_copy, repair
from pixelwise.errors import OutputError
from pixelwise.images import read_image
from pixelwise.labels import ClassTable
from pixelwise.masks import read_index_mask


def repaired(folder: Folder, out: Path) -> Repair:
    return repair(folder.examined(), folder.datasets(), root=folder.root, out=out)


def opened(out: Path) -> list[Pairs]:
    """The copy, read as the documents say that it lies, photos and masks of the same stem."""
    datasets = []
    for photos in sorted((out / "images").iterdir()):
        masks = sorted((out / "masks" / photos.name).iterdir())
        paths = sorted(photos.iterdir())
        assert [path.stem for path in paths] == [path.stem for path in masks]
        ids = [path.stem for path in paths]
        datasets.append(Pairs(classes=CLASSES, split=photos.name, ids=ids, image_paths=paths, mask_paths=masks))
    return datasets


def test_a_sound_dataset_is_copied_byte_by_byte(tmp_path: Path):
    folder = sound(tmp_path / "data")
    before = digests(folder.root)
    done = repaired(folder, tmp_path / "copy")
    assert done == Repair(9, ())
    assert digests(folder.root) == before
    for split, pairs in folder.splits.items():
        for name, photo, mask in pairs:
            copy = tmp_path / "copy" / "images" / split / f"{name}.png"
            assert copy.read_bytes() == photo.read_bytes()
            np.testing.assert_array_equal(
                read_index_mask(tmp_path / "copy" / "masks" / split / f"{name}.png"), read_index_mask(mask)
            )
    lines = (tmp_path / "copy" / "dataset.yaml").read_text().splitlines()
    stated = {key: json.loads(value) for key, _, value in (line.partition(": ") for line in lines)}
    assert stated == {
        "names": list(CLASSES.names),
        "colours": [list(colour) for colour in CLASSES.colours],
        "ignore_index": 255,
        "mapping": {"0": 0, "1": 1, "2": 2, "255": 255},
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "data"]


def test_what_is_broken_is_mended_or_left_out_and_the_copy_has_no_error(tmp_path: Path):
    folder = sound(tmp_path / "data")
    folder.add("train", 20)[0].unlink()
    folder.add("train", 21)[1].write_text("no mask")
    cut, _ = folder.add("val", 22)
    cut.write_bytes(cut.read_bytes()[:-2000])
    folder.add("train", 23, mask=blob(23)[:-1])
    folder.add("train", 24, mask=blob(24).T.copy())
    strange = blob(25)
    strange[:3] = 77
    folder.add("train", 25, mask=strange)
    stored = crop(26)
    turned, _ = folder.add("train", 26, suffix=".jpg", orientation=6)  # its mask is drawn on the photo as it is stored
    upright, _ = folder.add("val", 27, mask=blob(27).T.copy(), suffix=".webp", orientation=8)
    folder.add("train", 7, name="copy")
    before = digests(folder.root)
    bad = folder.examined()
    assert len(bad.of("error")) == 7
    assert any(finding.kind is LEAK for finding in bad.findings)

    done = repaired(folder, tmp_path / "copy")
    assert digests(folder.root) == before
    good = examine(opened(tmp_path / "copy"))
    assert good.findings == ()
    assert {split.name: len(split.pairs) for split in good.splits} == {"train": 8, "val": 4}
    assert done.kept == 12
    told = "\n".join(done.changes)
    for name in ("train20", "train21", "val22", "train23", "train24", "copy"):
        assert any(f"{name}." in line and "left out" in line for line in done.changes), name
    assert "train25.png: 384 pixels of no class are now ignored." in told
    assert (tmp_path / "copy" / "CHANGES.txt").read_text().splitlines() == list(done.changes)

    masks, images = tmp_path / "copy" / "masks", tmp_path / "copy" / "images"
    np.testing.assert_array_equal(
        read_index_mask(masks / "train" / "train25.png"), np.where(strange == 77, 255, strange)
    )
    with Image.open(images / "train" / "train26.jpg") as copy:
        assert copy.getexif().get(0x0112, 1) == 1
        assert np.abs(np.asarray(copy).astype(int) - read_image(turned).pixels).mean() < 3
        assert np.abs(np.rot90(np.asarray(copy)).astype(int) - stored).mean() < 6
    np.testing.assert_array_equal(np.rot90(read_index_mask(masks / "train" / "train26.png")), blob(26))
    np.testing.assert_array_equal(read_image(images / "val" / "val27.png").pixels, read_image(upright).pixels)
    np.testing.assert_array_equal(read_index_mask(masks / "val" / "val27.png"), blob(27).T)


def test_pixels_that_the_mapping_does_not_know_are_told_as_labels_and_ignored_in_the_copy(tmp_path: Path):
    root = tmp_path / "data"
    for number in range(4):
        save(root / "images" / f"{number}.png", crop(number))
        save(root / "masks" / f"{number}.png", np.where(blob(number) == 1, np.uint8(255), np.uint8(0)))
    strange = np.where(blob(1) == 1, np.uint8(255), np.uint8(0))
    strange[:4, :5] = 7
    save(root / "masks" / "1.png", strange)
    (root / "dataset.yaml").write_text("mapping: {0: background, 255: cell}\n")
    datasets = open_all("folder", root).datasets
    (error,) = examine(datasets).of("error")
    assert error.kind is LABELS
    assert "7 (0.16 %)" in error.sentence
    assert picture(datasets, error.places) is not None
    (error,) = quick_check(datasets).findings
    assert error.kind is LABELS

    done = repair(examine(datasets), datasets, root=root, out=tmp_path / "copy")
    assert done.kept == 4
    assert "1.png: 20 pixels of no class are now ignored." in "\n".join(done.changes)
    (copy,) = (tmp_path / "copy" / "masks").rglob("1.png")
    np.testing.assert_array_equal(read_index_mask(copy), np.where(strange == 7, 255, strange == 255))


def test_what_splits_share_rightly_is_stored_once_in_the_smallest(tmp_path: Path):
    folder = sound(tmp_path / "data")
    train, val = folder.splits["train"], folder.splits["val"]
    folder.splits = {"train": train[:2], "train_aug": train, "trainval": [*train[:2], *val], "val": val}
    folder.splits["train_aug"] = [*train, val[0]]  # a leak, of one file: it stays in val
    done = repaired(folder, tmp_path / "copy")
    written = {path.name: len(list(path.iterdir())) for path in (tmp_path / "copy" / "images").iterdir()}
    assert written == {"train": 2, "train_aug": 4, "val": 3}
    assert done.kept == 9
    assert done.changes[-1] == "trainval: 5 photos that another split has, too, are stored there."


@pytest.mark.parametrize("names", [("void", "road", "car"), ("cat \U0001f431", "no", "\u85ae")])
def test_the_copy_is_read_as_the_dataset_whatever_its_classes_and_splits_are_called(
    tmp_path: Path, names: tuple[str, ...]
):
    folder = Folder(tmp_path / "data")
    for number, split in enumerate(("train", "val-small", "holdout")):
        folder.fill(split, range(2 * number, 2 * number + 2))
    void = ClassTable(names, CLASSES.colours)  # not to be taken for "not labelled"
    datasets = folder.datasets()
    for dataset in datasets:
        dataset.classes = void
    repair(examine(datasets), datasets, root=folder.root, out=tmp_path / "copy")
    again = [open_dataset("folder", tmp_path / "copy", split) for split in ("train", "val", "test")]
    for dataset, copy in zip(datasets, again, strict=True):
        assert copy.classes == void
        for index in range(2):
            np.testing.assert_array_equal(copy.mask(index), dataset.mask(index))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_is_turned_exactly_as_its_photo(tmp_path: Path, orientation: int):
    folder = Folder(tmp_path / "data")
    mask = blob(3)
    photo = np.repeat(mask[..., None] * 100, 3, axis=2)
    folder.add("train", 1, photo=photo, mask=mask, orientation=orientation)
    repaired(folder, tmp_path / "copy")
    shown = read_image(tmp_path / "copy" / "images" / "train" / "train1.png").pixels[..., 0]
    np.testing.assert_array_equal(read_index_mask(tmp_path / "copy" / "masks" / "train" / "train1.png"), shown // 100)


def test_ids_of_any_kind_become_names_inside_the_copy(tmp_path: Path):
    folder = sound(tmp_path / "data")
    pairs = folder.splits["train"]
    hostile = ["../../out", "/etc/x", "a/b", "a_b", "A/B", ".."]
    folder.splits["train"] = [(name, *pair[1:]) for name, pair in zip(hostile, pairs, strict=True)]
    done = repaired(folder, tmp_path / "copy")
    assert done.kept == 9
    written = sorted(path.stem for path in (tmp_path / "copy" / "images" / "train").iterdir())
    assert written == ["A_B-3", "a_b", "a_b-2", "etc_x", "out", "photo"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "data"]


def test_a_photo_whose_name_says_no_format_is_found_in_the_copy(tmp_path: Path):
    folder = sound(tmp_path / "data")
    name, photo, mask = folder.splits["train"][0]
    folder.splits["train"][0] = name, photo.rename(photo.with_suffix("")), mask
    done = repaired(folder, tmp_path / "copy")
    assert done == Repair(9, (f"{photo.with_suffix('')} stored as a PNG, upright.",))
    assert len(open_dataset("folder", tmp_path / "copy", "train")) == 6


def test_the_copy_is_never_made_in_place_nor_over_something(tmp_path: Path):
    folder = sound(tmp_path / "data")
    before = digests(tmp_path)
    (tmp_path / "empty").mkdir()
    for out, message in (
        (folder.root, "exists already"),
        (folder.root / "copy", "is inside of"),
        (folder.root / ".." / "data" / "copy", "is inside of"),
        (tmp_path, "exists already"),
        (tmp_path / "absent" / "copy", "no directory"),
        (folder.splits["train"][0][1], "exists already"),
    ):
        with pytest.raises(OutputError, match=message):
            check_copy(out, folder.root)
        with pytest.raises(OutputError, match=message):
            repaired(folder, out)
    assert digests(tmp_path) == before
    assert repaired(folder, tmp_path / "empty").kept == 9


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = sound(tmp_path / "data")
    diagnosis = folder.examined()

    def full(share: float) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="copy cannot be written: No space left"):
        repair(diagnosis, folder.datasets(), root=folder.root, out=tmp_path / "copy", advance=full)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
