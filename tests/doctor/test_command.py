from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from broken import CLASSES, blob, crop, examined_voc, of_kind, save, sound, voc

from helpers import digests, pixelwise
from pixelwise.data import open_dataset
from pixelwise.data.pairs import Pairs
from pixelwise.doctor import KINDS, examine, open_all, quick_check, survey
from pixelwise.doctor.findings import MISSING, SPLIT
from pixelwise.doctor.summary import check_outputs, print_diagnosis
from pixelwise.errors import DataError, OutputError

DOCS = Path(__file__).resolve().parents[2] / "docs" / "doctor.md"


def test_a_dataset_that_is_fit_to_train_on_ends_with_0_and_is_not_written_to(tmp_path: Path):
    root = voc(tmp_path / "VOC")
    before = digests(root)
    out, err = pixelwise("doctor", "VOC", cwd=tmp_path)
    assert out.splitlines()[0] == "VOC, layout voc"
    assert out.splitlines()[-1] == "Training may start."
    assert err == ""
    assert digests(root) == before
    assert [path.name for path in tmp_path.iterdir()] == ["VOC"]
    # No photo shows VOC's other 18 classes, which is a warning.
    out, _ = pixelwise("doctor", "VOC", "--strict", cwd=tmp_path, status=1)
    assert out.splitlines()[-1] == "Training may start."


def test_a_broken_dataset_ends_with_1_a_page_a_list_and_a_repaired_copy(tmp_path: Path):
    root = voc(tmp_path / "VOC")
    (root / "JPEGImages" / "1.jpg").unlink()
    (root / "SegmentationClass" / "7.png").write_bytes(b"")
    save(root / "SegmentationClass" / "2.png", np.full((96, 128), 99, np.uint8))
    before = digests(root)
    options = ("--html", "page.html", "--json", "all.json", "--fix", "copy")
    out, _ = pixelwise("doctor", "VOC", *options, cwd=tmp_path, status=1)
    verdict = "Training would fail: missing files (1), unreadable files (1), masks with values that are no class (1)."
    assert verdict in out
    assert digests(root) == before
    stated = json.loads((tmp_path / "all.json").read_text())
    assert stated["verdict"] == verdict
    errors = [finding for finding in stated["findings"] if finding["severity"] == "error"]
    assert [(finding["kind"], finding["files"][0]) for finding in errors] == [
        ("missing", "VOC/JPEGImages/1.jpg"),
        ("unreadable", "VOC/SegmentationClass/7.png"),
        ("labels", "VOC/SegmentationClass/2.png"),
    ]
    assert stated["splits"][0]["classes"][1] == {"name": "aeroplane", "pixels": stated_pixels(1), "photos": 5}
    assert 'id="error-missing"' in (tmp_path / "page.html").read_text()
    assert len(list((tmp_path / "copy").rglob("*.jpg"))) == 7
    assert "7 pairs, 3 changes -> copy" in out
    again, err = pixelwise("doctor", "VOC", "--html", "page.html", cwd=tmp_path, status=2)
    assert "page.html exists already" in err
    assert again == ""


def stated_pixels(label: int) -> int:
    """Pixels of a class in the masks of the photos to learn from that are whole."""
    return sum(int(np.count_nonzero(blob(number) == label)) for number in (0, 1, 3, 4, 5))


def test_nothing_examined_is_2(tmp_path: Path):
    for arguments in (("absent",), (".",), (".", "--layout", "vcc")):
        out, err = pixelwise("doctor", *arguments, cwd=tmp_path, status=2)
        assert out == ""
        assert err.startswith("pixelwise: ")
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_is_one_sentence(tmp_path: Path):
    root = voc(tmp_path / "data")
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("x" * 300 + "\n")
    _, err = pixelwise("doctor", root, cwd=tmp_path, status=2)
    assert err.startswith(f"pixelwise: The system refuses {root}")
    assert err.endswith(": File name too long.\n")


def test_the_summary_is_at_most_80_columns_wide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    root = voc(tmp_path / "VOC")
    save(root / "SegmentationClass" / "2.png", np.full((96, 128), 99, np.uint8))
    print_diagnosis(examined_voc(root), root=root, layout="voc")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[1:])) <= 80
    text = " ".join(" ".join(lines).split())
    assert "masks with values that are no class (1) SegmentationClass/2.png holds 99 (100.00%)" in text
    assert "train: 6 pairs, 128x96 pixels" in text


def test_a_split_that_cannot_be_opened_is_a_finding_and_the_others_are_examined(tmp_path: Path):
    root = voc(tmp_path / "VOC")
    (root / "ImageSets" / "Segmentation" / "test.txt").write_text("\n")
    diagnosis = examined_voc(root)
    (finding,) = of_kind(diagnosis, SPLIT)
    assert (finding.severity, finding.split) == ("error", "test")
    assert "test.txt is empty" in finding.sentence
    assert [split.name for split in diagnosis.splits] == ["train", "val"]


def test_a_split_of_other_classes_is_a_finding_and_no_part_of_the_copy(tmp_path: Path):
    for split, categories in (("train", {1: "cat", 3: "cow"}), ("val", {3: "cow"})):
        images = [{"id": i, "file_name": f"{split}{i}.jpg", "height": 96, "width": 128} for i in range(2)]
        outline = {"category_id": 3, "segmentation": [[9, 9, 60, 9, 60, 60]]}
        content = {
            "images": images,
            "annotations": [outline | {"id": i, "image_id": i} for i in range(2)],
            "categories": [{"id": i, "name": name} for i, name in categories.items()],
        }
        for number, image in enumerate(images):
            save(tmp_path / "data" / split / str(image["file_name"]), crop(number + 2 * len(categories)))
        (tmp_path / "data" / split / "_annotations.coco.json").write_text(json.dumps(content))
    out, _ = pixelwise("doctor", "data", "--fix", "copy", cwd=tmp_path, status=1)
    assert "val has other classes than train (it lacks cat), so that an id does" in out
    assert [path.name for path in (tmp_path / "copy" / "masks").iterdir()] == ["train"]


def test_files_are_named_as_they_lie_in_the_dataset_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A directory `a` is no part of `a/photo_data/`."""
    monkeypatch.chdir(tmp_path)
    photo = save(Path("a/photo_data/1.png"), crop(1))
    mask = save(Path("a/mask_data/1.png"), blob(1)[:50])
    pairs = Pairs(classes=CLASSES, split="train", ids=["1"], image_paths=[photo], mask_paths=[mask])
    (finding,) = examine([pairs]).of("error")
    assert finding.sentence_in(Path("a")).startswith("mask_data/1.png is 128x50 pixels")


def test_a_dataset_without_a_split_to_choose_weights_on_is_a_warning(tmp_path: Path):
    root = voc(tmp_path / "VOC")
    lists = root / "ImageSets" / "Segmentation"
    (lists / "val.txt").rename(lists / "test.txt")
    (finding,) = of_kind(examined_voc(root), SPLIT)
    assert (finding.severity, "training needs `train` and `val`" in finding.sentence) == ("warning", True)
    for path in lists.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="has no split in the layout voc"):
        open_all("voc", root)


def test_training_still_refuses_missing_files_when_it_opens_the_dataset(tmp_path: Path):
    root = voc(tmp_path / "VOC")
    (root / "JPEGImages" / "1.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 6 photos are missing; the first is .*1\.jpg"):
        open_dataset("voc", root, "train")
    assert len(of_kind(examined_voc(root), MISSING)) == 1


def test_many_pairs_are_looked_at_by_several_processes_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = sound(tmp_path)
    folder.add("train", 20, mask=np.full((96, 128), 9, np.uint8))
    folder.add("val", 21)[0].unlink()
    alone = folder.examined()
    monkeypatch.setattr(survey, "_WORTH_PROCESSES", 1)
    monkeypatch.setattr(survey, "cores", lambda: 2)
    done: list[float] = []
    together = examine(folder.datasets(), advance=done.append)
    assert together.findings == alone.findings
    assert together.to_json() == alone.to_json()
    assert done == [1] * 11


class Deadly(Pairs):
    """Masks that end whoever reads them."""

    def _decode(self, index: int) -> np.ndarray:
        os._exit(1)


def test_a_process_that_is_ended_from_outside_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (sane,) = sound(tmp_path).datasets()[:1]
    deadly = Deadly(
        classes=sane.classes, split="train", ids=sane.ids, image_paths=sane.image_paths, mask_paths=sane.mask_paths
    )
    monkeypatch.setattr(survey, "_WORTH_PROCESSES", 1)
    monkeypatch.setattr(survey, "cores", lambda: 2)
    with pytest.raises(DataError, match="ended from outside, perhaps for want of memory"):
        examine([deadly])


def test_what_cannot_be_written_is_said_before_the_work(tmp_path: Path):
    (tmp_path / "page.html").touch()
    with pytest.raises(OutputError, match="exists already"):
        check_outputs(tmp_path / "page.html", None, None, root=tmp_path, force=False)
    check_outputs(tmp_path / "page.html", None, None, root=tmp_path, force=True)
    with pytest.raises(OutputError, match="exists already"):
        check_outputs(None, tmp_path, None, root=tmp_path, force=True)
    with pytest.raises(OutputError, match="no directory"):
        check_outputs(None, tmp_path / "absent" / "all.json", None, root=tmp_path, force=True)
    with pytest.raises(OutputError, match="is inside of"):
        check_outputs(None, None, tmp_path / "copy", root=tmp_path, force=True)


def test_no_file_is_written_over_another_nor_into_the_copy(tmp_path: Path):
    page, copy = tmp_path / "page", tmp_path / "copy"
    copy.mkdir()
    with pytest.raises(OutputError, match=r"page is to be written twice; give each its own name\."):
        check_outputs(page, page, None, root=tmp_path / "data", force=False)
    with pytest.raises(OutputError, match=r"page\.html is inside of .*copy, which the repaired copy is to fill"):
        check_outputs(copy / "page.html", None, copy, root=tmp_path / "data", force=False)


def test_the_document_explains_every_kind_of_finding():
    text = DOCS.read_text(encoding="utf-8")
    assert [kind.name for kind in KINDS if f"| `{kind.name}` |" not in text] == []
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_real_data_is_fit_to_train_on(shared_data: Path):
    for layout, options in (("camvid", "val"), ("voc", "val"), ("coco_voc", "val")):
        root = shared_data / {"coco_voc": "coco"}.get(layout, layout)
        findings = quick_check([open_dataset(layout, root, options, check_files=False)]).findings  # type: ignore[list-item]
        assert [finding for finding in findings if finding.severity == "error"] == []


def test_one_photo_in_many_splits_of_voc_is_no_leak(tmp_path: Path):
    root = voc(tmp_path / "VOC")
    lists = root / "ImageSets" / "Segmentation"
    (lists / "trainval.txt").write_text((lists / "train.txt").read_text() + (lists / "val.txt").read_text())
    assert {finding.kind.name for finding in examined_voc(root).findings} == {"class-absent"}
    save(root / "JPEGImages" / "8.jpg", crop(0))
    leaks = [finding for finding in examined_voc(root).findings if finding.kind.name == "leak"]
    assert [finding.files[0].stem for finding in leaks] == ["0"]
