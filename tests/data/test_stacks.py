"""Stacks of pages, as of ISBI 2012: made files of, on pictures of examples/nuclei."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import ROOT, pixelwise
from pixelwise.data import open_dataset
from pixelwise.data.stacks import find_stacks, unpack_stacks
from pixelwise.errors import ImageError

NUCLEI = ROOT / "examples" / "nuclei"


def stack(path: Path, pages: Sequence[Image.Image]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def grey(value: int, *, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("L", size, value)


@pytest.fixture
def membranes(tmp_path: Path) -> Path:
    """The three files of the challenge, with other pictures in them."""
    root = tmp_path / "isbi"
    names = sorted(path.name for path in (NUCLEI / "images" / "train").iterdir())[:10]
    photos, masks = (
        [Image.open(NUCLEI / part / "train" / name).convert("L") for name in names] for part in ("images", "masks")
    )
    stack(root / "train-volume.tif", photos)
    stack(root / "train-labels.tif", masks)
    stack(root / "test-volume.tif", photos[:3])
    (root / "license.txt").write_text("CC0")
    return root


def test_a_repaired_copy_has_a_file_a_page_and_can_be_trained_on(membranes: Path, tmp_path: Path):
    before = {path: path.read_bytes() for path in membranes.iterdir()}
    out, _ = pixelwise("doctor", membranes, "--fix", "copy", cwd=tmp_path)
    assert "23 pages of 3 files -> copy" in out
    assert "Training may start." in out
    assert {path: path.read_bytes() for path in membranes.iterdir()} == before
    assert (tmp_path / "copy" / "license.txt").read_text() == "CC0"
    assert not list((tmp_path / "copy").glob("*.tif"))
    ids = set()
    for split in ("train", "val"):
        dataset = open_dataset("folder", tmp_path / "copy", split)
        for sample in (dataset[index] for index in range(len(dataset))):
            for name, page in (("volume", sample.image[..., 0]), ("labels", 255 * sample.mask)):
                with Image.open(membranes / f"train-{name}.tif") as pages:
                    pages.seek(int(sample.id))
                    np.testing.assert_array_equal(page, np.asarray(pages))
            ids.add(sample.id)
    assert ids == {f"{number:03}" for number in range(10)}
    _, errors = pixelwise("doctor", membranes, "--fix", "copy", cwd=tmp_path, status=2)
    assert "not an empty directory" in errors


def test_a_stack_has_pages_of_one_size(tmp_path: Path):
    pages = [grey(1), grey(2)]
    made = stack(tmp_path / "in" / "deep" / "stack.TIF", pages)
    stack(tmp_path / "in" / "preview.tif", [grey(1), grey(2, size=(10, 8))])
    stack(tmp_path / "in" / "single.tif", pages[:1])
    stack(tmp_path / "in" / "film.gif", pages)
    (tmp_path / "in" / "damaged.tif").write_bytes(made.read_bytes()[:60])
    assert find_stacks(tmp_path / "in") == [made]


def test_linked_folders_are_followed_and_what_is_hidden_is_left(tmp_path: Path):
    made = stack(tmp_path / "elsewhere" / "stack.tif", [grey(1), grey(2)])
    root = tmp_path / "in"
    (root / ".cache").mkdir(parents=True)
    (root / ".cache" / "thumbs.db").write_text("hidden")
    (root / "masks").symlink_to(made.parent)
    assert unpack_stacks(find_stacks(root), root, tmp_path / "out") == 2
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["masks/stack/000.png", "masks/stack/001.png"]


def test_sixteen_bits_and_palettes_stay_what_they_are(tmp_path: Path):
    deep = [Image.fromarray(np.full((4, 5), value, np.uint16)) for value in (300, 60000)]
    palette = [Image.fromarray(np.full((4, 5), value, np.uint8), "L").convert("P") for value in (3, 4)]
    stacks = [stack(tmp_path / "in" / "deep.tif", deep), stack(tmp_path / "in" / "palette.tif", palette)]
    assert unpack_stacks(stacks, tmp_path / "in", tmp_path / "out") == 4
    with Image.open(tmp_path / "out" / "deep" / "001.png") as page:
        assert np.asarray(page).min() == np.asarray(page).max() == 60000
    with Image.open(tmp_path / "out" / "palette" / "000.png") as page:
        assert page.mode == "P"


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (grey(3, size=(8, 8)), r"Page 3 of .*stack\.tif has another size"),
        (
            Image.fromarray(np.ones((30, 40), np.float32)),
            r"Page 3 of .*stack\.tif cannot be written as PNG.*8 or 16 bits",
        ),
    ],
)
def test_a_page_that_cannot_be_a_file_is_named_and_nothing_is_left_behind(
    tmp_path: Path, last: Image.Image, message: str
):
    root = tmp_path / "in"
    made = stack(root / "stack.tif", [grey(1), grey(2), last])
    with pytest.raises(ImageError, match=message):
        unpack_stacks([made], root, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_damaged_page_is_refused(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (2, 90, 90), np.uint8)
    made = stack(tmp_path / "in" / "stack.tif", [Image.fromarray(page) for page in noise])
    data = bytearray(made.read_bytes())
    made.write_bytes(data[:8] + data[8:].replace(noise[1, 50:].tobytes(), b""))  # the second page's pixels end early
    with pytest.raises(ImageError):
        unpack_stacks([made], tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
