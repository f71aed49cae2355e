from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelwise import masks
from pixelwise.decoding import Limits
from pixelwise.errors import MaskError, OutputError
from pixelwise.labels import VOC, ClassTable
from pixelwise.masks import check_labels, encode_mask, read_index_mask, write_mask

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
THREE = ClassTable(("ground", "cat", "dog"), ((0, 0, 0), (10, 20, 30), (200, 100, 50)))
EVERY_ID = np.arange(256, dtype=np.uint8).reshape(8, 32)
NOISE = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)


def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def grey_png(width: int, depth: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# Writing.


def test_a_written_mask_shows_the_class_colours_and_holds_the_ids(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    mask = np.array([[0, 1, 2], [255, 2, 77]], dtype=np.uint8)
    write_mask(path, mask, THREE)
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), mask)
        assert np.asarray(image.convert("RGB")).tolist() == [
            [[0, 0, 0], [10, 20, 30], [200, 100, 50]],
            [[224, 224, 192], [200, 100, 50], [128, 128, 128]],
        ]
    np.testing.assert_array_equal(read_index_mask(path), mask)


def test_every_id_survives_the_round_trip() -> None:
    for mask in (EVERY_ID, EVERY_ID.T, EVERY_ID[::2, ::-3], np.zeros((1, 1), np.uint8)):
        before = mask.copy()
        again = read_index_mask(encode_mask(mask, VOC))
        np.testing.assert_array_equal(again, before)
        np.testing.assert_array_equal(mask, before)
        assert again.dtype == np.uint8
        assert again.flags.c_contiguous


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 2), np.int64), np.zeros((2, 2), bool), np.zeros((2, 2, 3), np.uint8), np.zeros((0, 2), np.uint8)],
)
def test_what_is_no_mask_is_not_written(array: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"expected uint8 class ids of shape \(H, W\)"):
        write_mask(tmp_path / "mask.png", array, THREE)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(b"old")

    def full(self: Path, target: Path) -> None:
        assert self.stat().st_size > 0
        assert target.read_bytes() == b"old"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"mask\.png cannot be written: No space left on device"):
        write_mask(path, EVERY_ID, THREE)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"absent.mask\.png cannot be written: No such file"):
        write_mask(tmp_path / "absent" / "mask.png", EVERY_ID, THREE)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_written_mask_is_as_readable_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_mask(tmp_path / "mask.png", EVERY_ID, THREE)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


# Reading.


def test_a_palette_is_not_looked_at() -> None:
    image = Image.fromarray(np.array([[3, 0, 1]], np.uint8))
    for bits in (2, 4, 8):
        image.putpalette([9, 9, 9] * 2**bits)
        data = encode(image, transparency=0)
        assert data[24] == bits
        assert read_index_mask(data).tolist() == [[3, 0, 1]]


def test_grey_is_read_as_stored_at_every_depth() -> None:
    assert read_index_mask(encode(np.array([[0, 7, 255]], np.uint8))).tolist() == [[0, 7, 255]]
    assert read_index_mask(grey_png(4, 1, bytes([0, 0b01100000]))).tolist() == [[0, 1, 1, 0]]
    assert read_index_mask(grey_png(4, 2, bytes([0, 0b00011011]))).tolist() == [[0, 1, 2, 3]]
    assert read_index_mask(grey_png(4, 4, bytes([0, 0x01, 0x9F]))).tolist() == [[0, 1, 9, 15]]


def test_an_orientation_turns_the_mask_as_it_turns_the_photo() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    assert read_index_mask(encode(np.array([[1, 2, 3], [4, 5, 6]], np.uint8), exif=tags)).tolist() == [
        [4, 1],
        [5, 2],
        [6, 3],
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encode(np.zeros((2, 2, 3), np.uint8)), "m.png is RGB colour; expected one class id a pixel"),
        (encode(np.zeros((2, 2, 4), np.uint8)), "m.png is RGB colour with alpha; expected"),
        (encode(Image.new("LA", (2, 2))), "m.png is grey with alpha; expected"),
        (encode(np.zeros((2, 2), np.uint16)), "m.png is 16-bit grey; expected"),
        (encode(np.zeros((2, 2), np.uint8), "JPEG"), "m.png is a JPEG; expected PNG"),
        (encode(NOISE)[:400], "m.png cannot be decoded"),
        (b"", "m.png is empty"),
    ],
)
def test_what_is_no_index_mask_is_refused_by_name(data: bytes, words: str) -> None:
    with pytest.raises(MaskError) as caught:
        read_index_mask(data, name="m.png")
    assert str(caught.value).startswith(words)


def test_a_missing_mask_and_one_above_the_limits_are_mask_errors(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"absent\.png does not exist"):
        read_index_mask(tmp_path / "absent.png")
    path = tmp_path / "mask.png"
    write_mask(path, EVERY_ID, VOC)
    with pytest.raises(MaskError, match=r"mask\.png has 32 × 8 pixels"):
        read_index_mask(path, limits=Limits(max_pixels=255))
    with pytest.raises(MaskError, match=r"mask\.png is larger than the limit"):
        read_index_mask(path, limits=Limits(max_bytes=100))


def test_real_masks_are_read_as_pillow_holds_them() -> None:
    paths = [path for name in ("voc", "camvid", "oxford_pets") for path in sorted((DATA / name).rglob("*.png"))[::400]]
    if not paths:
        pytest.skip("the shared data are not here")
    for path in paths:
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_index_mask(path), np.asarray(image))


# Labels.


def test_class_ids_and_the_ignore_index_pass() -> None:
    check_labels(np.array([[0, 1, 2, 255]], np.uint8), THREE, name="m.png")
    check_labels(np.array([[0, 1, 11]], np.uint8), ClassTable(THREE.names, THREE.colours, 11), name="m.png")


def test_a_stranger_is_named_with_its_share_and_its_file() -> None:
    mask = np.zeros((10, 100), np.uint8)
    mask[0, :12] = 38
    mask[1, :3] = 7
    mask[2, :50] = 255
    with pytest.raises(MaskError) as caught:
        check_labels(mask, THREE, name="train/m.png")
    assert str(caught.value) == (
        "train/m.png holds values that are neither a class id (0 to 2) nor 255 for ignore: 38 (1.2 %), 7 (0.3 %) "
        "of its pixels; correct the mask, or use the class table it was drawn with."
    )


def test_255_is_a_stranger_where_another_value_means_ignore() -> None:
    with pytest.raises(MaskError, match=r"nor 11 for ignore: 255 \(50 %\)"):
        check_labels(np.array([[0, 255]], np.uint8), ClassTable(THREE.names, THREE.colours, 11), name="m.png")


def test_many_strangers_are_summed_up_and_a_rare_one_is_not_rounded_to_nothing() -> None:
    with pytest.raises(MaskError, match=r": 3 \(0\.39 %\), .*, 247 more \(96 %\) of its pixels"):
        check_labels(EVERY_ID, THREE, name="m.png")
    rare = np.zeros((200, 200), np.uint8)
    rare[-1, -1] = 9
    with pytest.raises(MaskError, match=r"9 \(under 0\.01 %\)"):
        check_labels(rare, THREE, name="m.png")


def test_counting_by_strips_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (31, 17), dtype=np.uint8)
    monkeypatch.setattr(masks, "_COUNTED_AT_ONCE", 40)
    np.testing.assert_array_equal(masks._histogram(mask), np.bincount(mask.ravel(), minlength=256))


def test_labels_of_the_wrong_type_are_refused() -> None:
    with pytest.raises(MaskError, match=r"m\.png is int64"):
        check_labels(np.zeros((2, 2), np.int64), THREE, name="m.png")  # type: ignore[arg-type]
