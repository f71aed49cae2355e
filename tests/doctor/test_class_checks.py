from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from broken import SIZE, Folder, blob, of_kind, sound

from pixelwise.doctor import quick_check
from pixelwise.doctor.findings import CLASS_ABSENT, CLASS_RARE, CLASS_UNLEARNT, CLASS_UNMEASURED, IGNORED


def without(number: int, label: int) -> np.ndarray:
    mask = blob(number)
    mask[mask == label] = 0
    return mask


def folder_of(root: Path, train: int | None, val: int | None) -> Folder:
    """Splits whose masks lack a class each."""
    folder = Folder(root)
    for split, lacking, numbers in (("train", train, range(6)), ("val", val, range(6, 9))):
        for number in numbers:
            folder.add(split, number, mask=blob(number) if lacking is None else without(number, lacking))
    return folder


def test_a_class_that_is_nowhere_is_a_warning(tmp_path: Path):
    (finding,) = folder_of(tmp_path, 2, 2).examined().findings
    assert (finding.kind, finding.severity, finding.sentence) == (
        CLASS_ABSENT, "warning", "No photo shows the class dog.",
    )  # fmt: skip


def test_a_class_that_is_measured_but_not_learnt_is_a_warning_of_the_quick_check_too(tmp_path: Path):
    folder = folder_of(tmp_path, 2, None)
    for findings in (folder.examined().findings, quick_check(folder.datasets()).findings):
        (finding,) = findings
        assert (finding.kind, finding.severity, finding.split) == (CLASS_UNLEARNT, "warning", "train")
        assert finding.sentence == "No photo of train shows the class dog, but 3 of val do."


@pytest.mark.parametrize(("bare", "stops"), [("train", True), ("val", True), ("test", False)])
def test_a_split_without_a_labelled_pixel_stops_a_training_that_needs_it(tmp_path: Path, bare: str, stops: bool):
    folder = Folder(tmp_path)
    for split, numbers in (("train", range(4)), ("val", range(4, 6)), ("test", range(6, 8))):
        for number in numbers:
            folder.add(split, number, mask=np.full_like(blob(number), 255) if split == bare else blob(number))
    for findings in (folder.examined().findings, quick_check(folder.datasets()).findings):
        errors = [finding for finding in findings if finding.severity == "error"]
        assert [(error.kind, error.split) for error in errors] == [(IGNORED, bare)] * stops


def test_a_class_that_is_learnt_but_not_measured_is_noted(tmp_path: Path):
    (finding,) = folder_of(tmp_path, None, 1).examined().findings
    assert (finding.kind, finding.severity) == (CLASS_UNMEASURED, "note")
    assert "class cat" in finding.sentence


def test_a_class_in_few_photos_or_of_few_pixels_is_rare(tmp_path: Path):
    folder = folder_of(tmp_path, 2, None)
    for number in (20, 21):
        folder.add("train", number)
    finding = of_kind(folder.examined(), CLASS_RARE)[0]
    assert (finding.severity, finding.split) == ("warning", "train")
    assert finding.sentence.startswith("dog is in 2 of the 8 photos of train, 1.86%")  # 900 + 930 of 8 x 12288
    folder.add("train", 22)
    assert of_kind(folder.examined(), CLASS_RARE) == []


def test_a_class_of_few_pixels_is_rare_in_however_many_photos(tmp_path: Path):
    folder = Folder(tmp_path)
    for number in range(6):
        mask = without(number, 2)
        mask[0, : 12 - number] = 2  # 9.5 of 12288 pixels, on the mean
        folder.add("train", number, mask=mask)
    (finding,) = of_kind(folder.examined(), CLASS_RARE)
    assert finding.sentence == "dog is in 6 of the 6 photos of train, 0.08% of the labelled pixels."


def test_shares_are_of_labelled_pixels(tmp_path: Path):
    folder = sound(tmp_path)
    mask = np.full(SIZE, 255, np.uint8)
    mask[0, :3] = 1, 2, 2
    folder.splits.clear()
    folder.add("train", 0, mask=mask)
    (split,) = folder.examined().splits
    assert split.shares.tolist() == [0, 1 / 3, 2 / 3]
    assert split.photos_with.tolist() == [0, 1, 1]


def test_splits_may_be_capitalised(tmp_path: Path):
    folder = Folder(tmp_path)
    folder.fill("Train", range(6))
    folder.fill("Validation", range(6, 9))
    assert folder.examined().findings == ()
