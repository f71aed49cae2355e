from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from broken import SIZE, Folder, blob, crop, of_kind, sound
from PIL import Image

from pixelwise.doctor import quick_check
from pixelwise.doctor.duplicate_checks import leaks, near_leaks
from pixelwise.doctor.facts import Look, PairFacts, PhotoFacts, fingerprint
from pixelwise.doctor.findings import LEAK, NEAR_LEAK, REPEATED, Place
from pixelwise.doctor.survey import SplitFacts
from pixelwise.labels import VOC


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def test_the_fingerprint_by_hand():
    photo = np.zeros((8, 9, 3), np.uint8)
    photo[0] = (np.arange(9) * 10)[:, None]  # rises: eight ones
    photo[7, 8] = 200  # the last bit
    bits, thumbnail = fingerprint(photo)
    assert bits == 0xFF00_0000_0000_0001
    assert (thumbnail.shape, thumbnail.dtype) == ((16, 16), np.uint8)


def test_the_same_photo_in_two_splits_is_a_leak_though_the_files_differ(tmp_path: Path):
    folder = sound(tmp_path)
    learnt, _ = folder.add("train", 7, name="copy")
    measured, _ = folder.splits["val"][1][1:]
    Image.open(learnt).save(learnt.with_suffix(".tiff"))
    folder.splits["train"][-1] = ("copy", learnt.with_suffix(".tiff"), folder.splits["train"][-1][2])
    diagnosis = folder.examined()
    (finding,) = diagnosis.findings
    assert (finding.kind, finding.severity, finding.split) == (LEAK, "warning", "train")
    assert finding.files == (learnt.with_suffix(".tiff"), measured)
    assert "masks differ" not in finding.sentence


def test_masks_that_differ_are_told_with_the_leak(tmp_path: Path):
    folder = sound(tmp_path)
    folder.add("train", 7, name="copy", mask=blob(3))
    (finding,) = of_kind(folder.examined(), LEAK)
    assert finding.sentence.endswith(", but their masks differ.")


def test_of_a_leak_what_is_measured_on_stays_the_test_rather_than_the_validation_photo(tmp_path: Path):
    folder = Folder(tmp_path)
    for split in ("test", "val", "train"):
        folder.add(split, 1)
    pairs = [(dropped.split.name, kept.split.name) for dropped, kept in leaks(folder.examined().splits)]
    assert sorted(pairs) == [("train", "test"), ("val", "test")]


def test_splits_that_contain_each_other_and_several_to_learn_from_leak_nothing(tmp_path: Path):
    folder = sound(tmp_path)
    folder.splits["train_aug"] = [*folder.splits["train"], *folder.splits["train"][:0]]
    folder.splits["trainval"] = [*folder.splits["train"], *folder.splits["val"]]
    assert folder.examined().findings == ()
    folder.splits["val"] = [*folder.splits["val"], folder.splits["train"][0]]
    findings = of_kind(folder.examined(), LEAK)
    assert "is in both train and val" in findings[0].sentence
    assert len({finding.files for finding in findings}) == len(findings) == 1


def test_a_file_in_two_lists_is_told_by_the_quick_check_too(tmp_path: Path):
    folder = sound(tmp_path)
    shared = folder.splits["val"][:2]
    folder.splits["train"] += shared
    (finding,) = quick_check(folder.datasets()).findings
    assert (finding.kind, finding.severity, finding.files) == (LEAK, "warning", tuple(pair[1] for pair in shared))
    assert finding.sentence == f"{shared[0][1]} and 1 more are in both train and val; the figures will be too good."
    assert len(of_kind(folder.examined(), LEAK)) == 2


def test_a_validation_list_that_is_a_part_of_the_list_to_learn_from_leaks(tmp_path: Path):
    folder = sound(tmp_path)
    folder.splits["train"] += folder.splits["val"]
    assert [finding.kind for finding in quick_check(folder.datasets()).findings] == [LEAK]
    assert len(of_kind(folder.examined(), LEAK)) == len(folder.splits["val"])
    folder.splits["trainval"] = folder.splits.pop("train")
    assert quick_check(folder.datasets()).findings == ()


def test_a_photo_that_is_in_a_split_twice_is_told(tmp_path: Path):
    folder = sound(tmp_path)
    first = folder.splits["train"][2][1]
    second, _ = folder.add("train", 2, name="again", mask=blob(4)[:, ::-1].copy())
    (finding,) = folder.examined().findings
    assert (finding.kind, finding.files) == (REPEATED, (first, second))
    assert "2 times" in finding.sentence
    assert "their masks differ" in finding.sentence


@pytest.mark.parametrize("change", ["jpeg", "half", "brighter", "cut"])
def test_a_changed_photo_is_a_near_twin_of_the_one_in_another_split(tmp_path: Path, change: str):
    photo = crop(40, (190, 250))
    changed = {
        "jpeg": jpeg(photo, 40),
        "half": np.asarray(Image.fromarray(photo).resize((125, 95))),
        "brighter": (photo * 1.15).clip(0, 255).astype(np.uint8),
        "cut": photo[2:-2, 3:-3],
    }[change]
    folder = sound(tmp_path)
    learnt, _ = folder.add("train", 30, photo=photo, mask=np.resize(blob(0), photo.shape[:2]))
    measured, _ = folder.add("val", 31, photo=changed, mask=np.resize(blob(1), changed.shape[:2]))
    findings = folder.examined().findings
    assert [(finding.kind, finding.severity, finding.files) for finding in findings] == [
        (NEAR_LEAK, "warning", (measured, learnt))
    ]


def test_flat_photos_are_no_twins_of_each_other(tmp_path: Path):
    folder = sound(tmp_path)
    shading = np.repeat(np.linspace(0, 8, SIZE[1])[None, :, None], SIZE[0], axis=0)
    for split, number in (("train", 20), ("val", 21)):
        folder.add(split, number, photo=np.full((*SIZE, 3), (100 + number, 60, 30), np.uint8))
        folder.add(split, number + 10, photo=(shading + np.array([100 + number, 60, 30])).astype(np.uint8))
    assert folder.examined().findings == ()


def split_of(name: str, looks: list[Look]) -> SplitFacts:
    pairs = [
        PairFacts(Place(0, i), Path(f"{name}{i}"), Path(f"m{name}{i}"), PhotoFacts((8, 8), look), PhotoFacts)  # type: ignore[arg-type]
        for i, look in enumerate(looks)
    ]
    return SplitFacts(name, VOC, tuple(pairs), ())


def random_looks(count: int, seed: int) -> list[Look]:
    rng = np.random.default_rng(seed)
    return [
        Look(
            orientation=1,
            notes=(),
            grey=False,
            digest=rng.bytes(16),
            thumbnail=rng.integers(0, 256, (16, 16)).astype(np.uint8),
            fingerprint=int(rng.integers(0, 2**63)),
        )
        for _ in range(count)
    ]


def test_near_twins_are_those_of_a_plain_double_loop():
    ones, others = random_looks(60, 0), random_looks(40, 1)
    rng = np.random.default_rng(2)
    for i in range(0, 40, 3):  # some close, some not quite
        source = ones[i]
        flipped = int(sum(1 << int(b) for b in rng.choice(60, rng.integers(6, 14), replace=False)))
        noise = rng.normal(0, rng.uniform(5, 45), (16, 16))
        others[i] = Look(1, (), False, rng.bytes(16), (source.thumbnail + noise).clip(0, 255).astype(np.uint8),
                         source.fingerprint ^ flipped)  # fmt: skip
    expected = set()
    for i, other in enumerate(others):
        for j, one in enumerate(ones):
            bits = bin(other.fingerprint ^ one.fingerprint).count("1")
            correlation = np.corrcoef(other.thumbnail.ravel(), one.thumbnail.ravel())[0, 1]
            if bits <= 10 and correlation >= 0.95:
                expected.add((f"val{i}", f"train{j}"))
    found = {tuple(map(str, f.files)) for f in near_leaks([split_of("train", ones), split_of("val", others)])}
    assert found == expected
    assert 3 <= len(expected) < 14


def test_thousands_of_photos_are_compared_in_seconds():
    start = time.process_time()
    near_leaks([split_of("train", random_looks(8000, 0)), split_of("val", random_looks(2000, 1))])
    assert time.process_time() - start < 8
