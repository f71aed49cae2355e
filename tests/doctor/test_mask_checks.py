from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from broken import SIZE, Folder, blob, crop, of_kind, save, sound

from pixelwise.doctor import examine, open_all
from pixelwise.doctor.findings import IGNORED, ONLY_BACKGROUND, SAME_MASK, SINGLE_CLASS, UNLIKE, Kind


@pytest.mark.parametrize(
    ("value", "kind", "severity"),
    [(255, IGNORED, "warning"), (0, ONLY_BACKGROUND, "note"), (1, SINGLE_CLASS, "note")],
)
def test_a_mask_of_one_value_is_told(tmp_path: Path, value: int, kind: Kind, severity: str):
    folder = sound(tmp_path)
    _, path = folder.add("train", 20, mask=np.full(SIZE, value, np.uint8))
    (finding,) = folder.examined().findings
    assert (finding.kind, finding.severity, finding.files) == (kind, severity, (path,))


def test_ignored_pixels_make_no_class(tmp_path: Path):
    folder = sound(tmp_path)
    mask = np.zeros(SIZE, np.uint8)
    mask[:9] = 255
    folder.add("train", 20, mask=mask)
    (finding,) = folder.examined().findings
    assert finding.kind is ONLY_BACKGROUND


def test_a_mask_that_different_photos_share_is_told_once(tmp_path: Path):
    folder = sound(tmp_path)
    paths = [
        folder.add(split, number, mask=blob(20))[1] for split, number in (("train", 20), ("train", 21), ("val", 22))
    ]
    (finding,) = of_kind(folder.examined(), SAME_MASK)
    assert finding.files == tuple(paths)
    assert finding.sentence.endswith("3 photos share it.")


def test_masks_out_of_one_file_are_told_by_their_photos(tmp_path: Path):
    for number in range(4):
        save(tmp_path / "images" / f"{number}.png", crop(number))
    box = [[10, 10, 40, 10, 40, 40, 10, 40]]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in range(4)],
        "annotations": [{"image_id": i, "category_id": 1, "segmentation": box} for i in (2, 3)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    diagnosis = examine(open_all("coco_json", tmp_path).datasets)
    empty = [finding.sentence_in(tmp_path) for finding in of_kind(diagnosis, ONLY_BACKGROUND)]
    assert sorted(empty) == [f"annotation of {i}.png in coco.json holds nothing but background." for i in (0, 1)]
    (same,) = of_kind(diagnosis, SAME_MASK)
    first, second = (f"annotation of {i}.png in coco.json" for i in (3, 2))  # 2 is drawn for val
    assert same.sentence_in(tmp_path) == f"{first} is the same as {second}, but their photos differ."


def test_the_same_photo_with_the_same_mask_shares_it_rightly(tmp_path: Path):
    folder = sound(tmp_path)
    folder.add("train", 20)
    folder.add("train", 20, name="again")
    assert of_kind(folder.examined(), SAME_MASK) == []


def test_a_mask_unlike_the_others_is_told(tmp_path: Path):
    folder = Folder(tmp_path)
    folder.fill("train", range(25))
    assert of_kind(folder.examined(), UNLIKE) == []
    noise = np.random.default_rng(0).integers(0, 3, SIZE).astype(np.uint8)
    _, noisy = folder.add("train", 30, mask=noise)
    swapped = np.where(blob(31) == 0, np.uint8(1), np.uint8(0))
    _, inverted = folder.add("train", 31, mask=swapped)
    findings = of_kind(folder.examined(), UNLIKE)
    assert [finding.files[0] for finding in findings] == [noisy, inverted]
    assert "borders is far above" in findings[0].sentence
    assert "share of" in findings[1].sentence


def test_a_photo_that_cannot_be_read_shares_no_mask(tmp_path: Path):
    folder = sound(tmp_path)
    path, _ = folder.add("train", 20, mask=blob(20))
    folder.add("train", 21, mask=blob(20))
    path.write_text("no photo")
    assert of_kind(folder.examined(), SAME_MASK) == []
