"""`pixelwise audit` as a user runs it, on pictures of examples/nuclei and the default model."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import ENVIRONMENT, PHOTOS, pixelwise
from pixelwise import load

pytest.importorskip("cleanlab")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six parts of photos with the default model's own answers for masks; in the last, the cat is missing."""
    root = tmp_path_factory.mktemp("audit") / "voc"
    (root / "SegmentationClass").mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    segmenter = load(engine="onnxruntime")
    with Image.open(PHOTOS / "chelsea.png") as image:
        photo = image.convert("RGB")
    for i in range(6):
        photo.crop((20 * i, 5 * i, 20 * i + 300, 5 * i + 240)).save(root / "JPEGImages" / f"p{i}.jpg")
        segmenter(root / "JPEGImages" / f"p{i}.jpg").save(root / "SegmentationClass", what=["mask"])
        (root / "SegmentationClass" / f"p{i}_mask.png").rename(root / "SegmentationClass" / f"p{i}.png")
    mask = Image.open(root / "SegmentationClass" / "p5.png")
    empty = Image.fromarray(np.zeros_like(np.asarray(mask)))
    empty.putpalette(mask.getpalette() or [])
    empty.save(root / "SegmentationClass" / "p5.png")
    (lists / "train.txt").write_text("".join(f"p{i}\n" for i in range(6)))
    return root


@pytest.fixture
def data(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "voc"))


RUN = ("audit", "default", "--data", "voc", "--engine", "onnxruntime")


def test_the_mask_without_its_cat_is_found(data: Path, tmp_path: Path):
    out, err = pixelwise(*RUN, "--html", "a.html", "--save", "a.json", "--csv", "a.csv", "--top", "2", cwd=tmp_path)
    assert err == ""
    assert "The worst of 6 photos" in out
    assert "background labelled, cat likely: " in " ".join(out.split())
    assert out.endswith("-> a.json\n-> a.csv\n-> a.html\n")
    saved = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert saved["photos"][0]["id"] == "p5"
    assert saved["photos"][0]["score"] < 0.05 < saved["photos"][1]["score"]
    assert saved["photos"][0]["doubted_pixels"] > 0.2 * 300 * 240
    assert [photo["doubted_pixels"] for photo in saved["photos"][1:]] == [0] * 5
    assert saved["about"]["data"] == "voc, split train"
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert [row["photo"] for row in csv.DictReader(file)] == [photo["id"] for photo in saved["photos"]]
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count("<section ") == 2
    assert "1. p5" in page


def test_files_that_are_there_are_refused_before_the_work(data: Path, tmp_path: Path):
    (tmp_path / "a.html").write_text("mine")
    out, err = pixelwise(*RUN, "--html", "a.html", "--csv", "a.csv", cwd=tmp_path, status=2)
    assert (out, err) == ("", "pixelwise: a.html exists already; choose another file.\n")
    assert (tmp_path / "a.html").read_text() == "mine"
    assert not (tmp_path / "a.csv").exists()


def test_a_pair_that_cannot_be_read_costs_that_pair(data: Path, tmp_path: Path):
    (data / "SegmentationClass" / "p1.png").write_bytes(b"no picture")
    Image.fromarray(np.full((240, 300), 255, np.uint8)).save(data / "SegmentationClass" / "p2.png")
    out, err = pixelwise(*RUN, "--csv", "a.csv", cwd=tmp_path, status=1)
    assert "The worst of 4 photos" in out
    assert "1 photo without a labelled pixel, and so without a score." in out
    assert "p1.png" in err
    assert err.endswith("1 of 6 photos could not be audited.\n")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows[4:]] == ["p2", "p1"]


def test_what_cannot_be_audited_is_explained(data: Path, tmp_path: Path):
    (data / "ImageSets" / "Segmentation" / "none.txt").write_text("")
    (data / "ImageSets" / "Segmentation" / "blank.txt").write_text("\n")
    (tmp_path / "pair" / "images").mkdir(parents=True)
    (tmp_path / "pair" / "masks").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "pair" / "images" / "a.png")
    Image.fromarray(np.eye(30, 40, dtype=np.uint8) * 255).save(tmp_path / "pair" / "masks" / "a.png")
    cases = {
        (*RUN, "--split", "none"): "none.txt is empty",
        (*RUN, "--split", "absent"): "absent",
        (*RUN, "--map", "cat"): "--map takes a class of the model and one of the data",
        (*RUN, "--top", "0"): "--top",
        (*RUN, "--html", "nowhere/a.html"): "There is no directory nowhere to write a.html to.",
        ("audit", "default", "--data", "pair"): "The dataset has no class",
        ("audit", "no-such-model", "--data", "voc"): "no-such-model",
        ("audit", "default"): "--data",
    }
    code = (
        "import sys\nsys.stderr = sys.stdout\nfrom pixelwise.cli import main\n"
        f"for arguments in {list(cases)!r}:\n"
        "    sys.argv = ['pixelwise', *arguments]\n"
        "    try:\n        main()\n    except SystemExit as stop:\n        print('status', stop.code)\n"
        "    print('=====')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT, timeout=300,
        check=True,
    )  # fmt: skip
    for (arguments, message), answer in zip(cases.items(), done.stdout.split("=====\n"), strict=False):
        assert message in " ".join(answer.split()), (arguments, answer)
        assert answer.endswith("status 2\n"), (arguments, answer)


def test_without_cleanlab_one_sentence_says_what_to_install(data: Path, tmp_path: Path):
    code = (
        "import sys\nsys.modules['cleanlab'] = None\nfrom pixelwise.cli import main\n"
        f"sys.argv = ['pixelwise', *{RUN!r}]\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "pixelwise: An audit needs cleanlab, which is not installed; `pip install 'pixelwise[audit]'` brings it.\n"
    )
