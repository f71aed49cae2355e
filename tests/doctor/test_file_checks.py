from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from broken import SIZE, blob, crop, of_kind, save, sound
from PIL import Image

from pixelwise.doctor import examine, quick_check
from pixelwise.doctor.findings import (
    EXIF,
    GREY,
    LABELS,
    LARGE,
    LONG,
    MISSING,
    SMALL,
    STORAGE,
    TURNED,
    UNPAIRED,
    UNREADABLE,
)
from pixelwise.doctor.findings import (
    SIZE as WRONG_SIZE,
)


def test_a_sound_dataset_has_no_findings(tmp_path: Path):
    folder = sound(tmp_path)
    diagnosis = folder.examined()
    assert diagnosis.findings == ()
    assert diagnosis.verdict == "Training may start."
    assert quick_check(folder.datasets()).findings == ()


def test_every_missing_file_is_told_by_the_quick_check_too(tmp_path: Path):
    folder = sound(tmp_path)
    photo, _ = folder.add("train", 20)
    _, mask = folder.add("train", 21)
    _, other = folder.add("val", 22)
    for path in (photo, mask, other):
        path.unlink()
    for findings in (folder.examined().findings, quick_check(folder.datasets()).findings):
        assert {finding.files for finding in findings} == {(photo,), (mask,), (other,)}
        assert {finding.kind for finding in findings} == {MISSING}
        assert {finding.severity for finding in findings} == {"error"}
    verdict = folder.examined().verdict
    assert verdict == "Training would fail: missing files (3)."


@pytest.mark.parametrize("which", [0, 1])
def test_a_file_that_is_cut_short_or_no_picture_is_unreadable_and_the_rest_is_examined(tmp_path: Path, which: int):
    folder = sound(tmp_path)
    cut = folder.add("train", 20)[which]
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    text = folder.add("train", 21)[which]
    text.write_text("not a picture")
    strange = folder.add("val", 22, mask=np.full(SIZE, 7, np.uint8))[1]
    diagnosis = folder.examined()
    assert [finding.files for finding in of_kind(diagnosis, UNREADABLE)] == [(cut,), (text,)]
    assert [finding.files[0] for finding in of_kind(diagnosis, LABELS)] == [strange]


def test_the_quick_check_reads_headers_of_photos_only(tmp_path: Path):
    folder = sound(tmp_path)
    cut, _ = folder.add("train", 20)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    assert quick_check(folder.datasets()).findings == ()
    cut.write_bytes(cut.read_bytes()[:20])
    assert [finding.kind for finding in quick_check(folder.datasets()).findings] == [UNREADABLE]


def test_a_mask_of_another_size_is_told_with_both_sizes(tmp_path: Path):
    folder = sound(tmp_path)
    _, mask = folder.add("train", 20, mask=blob(0)[:-1])
    for findings in (of_kind(folder.examined(), WRONG_SIZE), quick_check(folder.datasets()).findings):
        (finding,) = findings
        assert finding.sentence == f"{mask} is 128x95 pixels, but its photo is 128x96."


def test_swapped_sides_are_told_and_why_where_exif_explains_them(tmp_path: Path):
    folder = sound(tmp_path)
    turned, _ = folder.add("train", 20, suffix=".jpg", orientation=6)
    _, plain = folder.add("train", 21, mask=blob(0).T.copy())
    first, second = of_kind(folder.examined(), WRONG_SIZE)
    assert "is 128x96 pixels, but its photo is 96x128; its EXIF orientation turns the photo" in first.sentence
    assert first.files[1] == turned
    assert second.files[0] == plain
    assert "the sides are swapped" in second.sentence


def test_a_turned_photo_whose_mask_is_upright_is_only_noted(tmp_path: Path):
    folder = sound(tmp_path)
    turned, _ = folder.add("train", 20, mask=blob(0).T.copy(), suffix=".jpg", orientation=6)
    diagnosis = folder.examined()
    (finding,) = diagnosis.findings
    assert (finding.kind, finding.severity, finding.files) == (TURNED, "note", (turned,))
    assert "orientation 6" in finding.sentence
    assert quick_check(folder.datasets()).findings == ()


def test_every_value_that_is_no_class_is_told_with_its_share_in_every_mask(tmp_path: Path):
    folder = sound(tmp_path)
    mask = blob(0)
    mask[:24] = 3
    mask[24] = 200
    _, first = folder.add("train", 20, mask=mask)
    _, second = folder.add("val", 21, mask=np.where(blob(1) == 1, np.uint8(9), blob(1)))
    _, ignored = folder.add("val", 22, mask=np.where(blob(2) == 1, np.uint8(255), blob(2)))
    for findings in (of_kind(folder.examined(), LABELS), quick_check(folder.datasets()).findings):
        assert [finding.files[0] for finding in findings] == [first, second]
        assert "holds 3 (25.00%), 200 (1.04%), which" in findings[0].sentence
        assert "9 (" in findings[1].sentence
    assert ignored not in {path for finding in folder.examined().findings for path in finding.files}


def test_damaged_exif_data_are_a_warning(tmp_path: Path):
    folder = sound(tmp_path)
    path, _ = folder.add("train", 20)
    Image.fromarray(crop(20)).save(path, exif=b"Exif\0\0II*\0\xff\xff")
    (finding,) = of_kind(folder.examined(), EXIF)
    assert (finding.severity, finding.files) == ("warning", (path,))


def test_a_photo_with_another_name_than_format_is_noted(tmp_path: Path):
    folder = sound(tmp_path)
    path, _ = folder.add("train", 20, suffix=".png")
    save(path.with_suffix(".jpg"), crop(20)).replace(path)
    (finding,) = of_kind(folder.examined(), STORAGE)
    assert finding.sentence == f"{path}: named .png but is a JPEG."


def test_files_without_a_partner_are_told_once(tmp_path: Path):
    folder = sound(tmp_path)
    datasets = folder.datasets()
    lonely = tmp_path / "photos" / "lonely.png"
    for dataset in datasets:
        dataset.unpaired = [lonely]
    (finding,) = examine(datasets).findings
    assert (finding.kind, finding.severity, finding.files, finding.split) == (UNPAIRED, "warning", (lonely,), "train")


def test_very_small_large_and_long_photos_are_told(tmp_path: Path):
    folder = sound(tmp_path)
    for number, size in ((20, (63, 64)), (21, (64, 64)), (22, (70, 281)), (23, (70, 280))):
        folder.add("train", number, photo=crop(number, size), mask=np.resize(blob(number), size))
    noise = np.zeros((4001, 6000, 3), np.uint8)
    noise[::7, ::11] = 90, 60, 30
    folder.add("val", 24, photo=noise, mask=np.resize(blob(24), noise.shape[:2]))
    diagnosis = folder.examined()
    for kind, name in ((SMALL, "train20"), (LONG, "train22"), (LARGE, "val24")):
        (finding,) = of_kind(diagnosis, kind)
        assert finding.files[0].stem == name


def test_grey_photos_are_told_where_most_have_colours(tmp_path: Path):
    folder = sound(tmp_path)
    grey = np.repeat(crop(20).mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    path, _ = folder.add("train", 20, photo=grey, suffix=".jpg")
    (finding,) = of_kind(folder.examined(), GREY)
    assert finding.files == (path,)
    for number in range(21, 40):
        shifted = np.roll(grey, number * 5, axis=1)
        folder.add("train", number, photo=shifted)
    assert of_kind(folder.examined(), GREY) == []


def test_the_quick_check_decodes_a_photo_whose_header_disagrees_with_its_mask(tmp_path: Path):
    """A PNG may state its orientation behind the pixels, where its header's size says nothing."""
    folder = sound(tmp_path)
    path, _ = folder.add("train", 20, mask=blob(0).T.copy(), orientation=6)
    data, chunks = path.read_bytes(), []
    at = 8
    while at < len(data):
        length = 12 + int.from_bytes(data[at : at + 4], "big")
        chunks.append(data[at : at + length])
        at += length
    chunks.sort(key=lambda chunk: (chunk[4:8] == b"IEND", chunk[4:8] == b"eXIf"))
    assert [chunk[4:8] for chunk in chunks][-2:] == [b"eXIf", b"IEND"]
    path.write_bytes(data[:8] + b"".join(chunks))
    assert quick_check(folder.datasets()).findings == ()
