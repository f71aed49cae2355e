from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from broken import SIZE, Folder, blob, of_kind, sound

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
