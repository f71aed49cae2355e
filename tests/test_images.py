from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import folder_that_cannot_be_listed
from pixelwise import decoding, images
from pixelwise.decoding import DEFAULT_LIMITS, SUPPORTED_SUFFIXES, Limits, header_size
from pixelwise.errors import ImageError
from pixelwise.images import find_images, read_image

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (23, 37, 3), dtype=np.uint8)
LOSSLESS = [
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("BMP", {}),
    ("PPM", {}),
]


def encode(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = image.copy() if isinstance(image, Image.Image) else Image.fromarray(image)  # saving leaves traces in it
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, *before: bytes, after: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    body = b"".join(before) + chunk(b"IDAT", zlib.compress(rows)) + after
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


def grey(photo: images.Photo) -> list[list[int]]:
    assert (photo.pixels == photo.pixels[:, :, :1]).all()
    return photo.pixels[:, :, 0].tolist()


# What comes out.


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_formats_come_back_bit_equal_and_contiguous(kind: str, options: dict[str, Any]) -> None:
    photo = read_image(encode(NOISE, kind, **options))
    np.testing.assert_array_equal(photo.pixels, NOISE)
    assert photo.pixels.flags.c_contiguous
    assert photo.notes == ()


def test_path_string_stream_and_bytes_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "noise.tif"
    path.write_bytes(encode(NOISE, "TIFF", compression="tiff_lzw"))
    with path.open("rb") as file:
        for source in (path, str(path), file, path.read_bytes()):
            np.testing.assert_array_equal(read_image(source).pixels, NOISE)
        assert not file.closed
    assert read_image(path).name == str(path)
    assert read_image(path, name="upload").name == "upload"


UPRIGHT = {  # the stored picture is ABC over DEF
    1: ["ABC", "DEF"],
    2: ["CBA", "FED"],
    3: ["FED", "CBA"],
    4: ["DEF", "ABC"],
    5: ["AD", "BE", "CF"],
    6: ["DA", "EB", "FC"],
    7: ["FC", "EB", "DA"],
    8: ["CF", "BE", "AD"],
}
COLOURS = dict(zip("ABCDEF", RNG.integers(0, 256, (6, 3), dtype=np.uint8), strict=True))


def tiles(rows: list[str]) -> np.ndarray:
    return np.array([[COLOURS[letter] for letter in row] for row in rows]).repeat(16, 0).repeat(16, 1)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("kind", "options"), [*LOSSLESS[:5], ("JPEG", {"quality": 100, "subsampling": 0})])
def test_all_eight_orientations_come_out_upright(kind: str, options: dict[str, Any], orientation: int) -> None:
    data = encode(tiles(UPRIGHT[1]), kind, exif=exif(orientation), **options)
    photo = read_image(data)
    expected = tiles(UPRIGHT[orientation])
    assert header_size(data) == expected.shape[:2]
    assert photo.pixels.shape == expected.shape
    assert photo.pixels.flags.c_contiguous
    np.testing.assert_allclose(photo.pixels.astype(int), expected, atol=4 if kind == "JPEG" else 0)


def test_orientation_behind_the_pixels_of_a_png_counts() -> None:
    late = chunk(b"eXIf", exif(3).tobytes()[6:])
    assert grey(read_image(png((3, 1), 8, 0, b"\0\1\2\3", after=late))) == [[3, 2, 1]]


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(value: int) -> None:
    np.testing.assert_array_equal(read_image(encode(NOISE, "PNG", exif=exif(value))).pixels, NOISE)


def test_damaged_exif_costs_the_orientation_and_not_the_photo() -> None:
    photo = read_image(encode(NOISE, "PNG", exif=b"Exif\0\0II*\0\xff\xff"))
    np.testing.assert_array_equal(photo.pixels, NOISE)
    assert photo.notes == ("its EXIF data are damaged, so it is shown as stored",)


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_the_strips_leave_no_trace(monkeypatch: pytest.MonkeyPatch, orientation: int) -> None:
    rgba = np.dstack([NOISE, NOISE[:, :, :1]])
    data = encode(rgba, "PNG", exif=exif(orientation))
    whole = read_image(data).pixels
    monkeypatch.setattr(decoding, "STRIP_PIXELS", 90)
    np.testing.assert_array_equal(read_image(data).pixels, whole)
    np.testing.assert_array_equal(read_image(rgba).pixels, read_image(encode(rgba, "PNG")).pixels)


def test_16_bit_grey_is_divided_by_257_in_either_byte_order() -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    big = Image.frombytes("I;16B", (4, 1), values.astype(">u2").tobytes())
    for data in (encode(values, "PNG"), encode(values, "TIFF"), encode(big, "TIFF")):
        photo = read_image(data)
        assert grey(photo) == [[0, 1, 128, 255]]
        assert photo.notes == ("16-bit scaled to 8-bit",)


def test_16_bit_grey_that_stores_white_as_0_is_inverted() -> None:
    entry = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    data = encode(np.array([[0, 257, 65535]], dtype=np.uint16), "TIFF")
    assert data.count(entry) == 1
    assert grey(read_image(data.replace(entry, struct.pack("<HHIHH", 262, 3, 1, 0, 0)))) == [[255, 254, 0]]


@pytest.mark.parametrize("white", [65535, 4095, 1000])
def test_a_dark_pgm_of_more_than_8_bits_stays_dark(white: int) -> None:
    """Its header says what is white, which Pillow then calls 65535."""
    values = np.array([0, white // 100, white // 5], ">u2")
    photo = read_image(b"P5 3 1 %d\n" % white + values.tobytes())
    assert grey(photo) == [[round(255 * value / white) for value in values.tolist()]]
    assert photo.notes == ("16-bit scaled to 8-bit",)


@pytest.mark.parametrize(
    ("values", "expected", "white"),
    [
        (np.array([[0, 0.5, 1, np.nan, -3]], np.float32), [0, 128, 255, 0, 0], "1"),
        (np.array([[0, 0.6, 2, 254, 255]], np.float32), [0, 1, 2, 254, 255], "255"),
        (np.array([[0, 257, 300, 65535, np.inf]], np.float32), [0, 1, 1, 255, 255], "65535"),
        (np.array([[0, 1, 2, 200, -7]], np.int32), [0, 1, 2, 200, 0], "255"),
        (np.array([[0, 65535, 32896, 257, 1]], np.int32), [0, 255, 128, 1, 0], "65535"),
        (np.array([[0, 100_000, 50_000, -1, 1]], np.int32), [0, 255, 128, 0, 0], "100000"),
    ],
)
def test_32_bit_values_are_scaled_by_the_nearest_usual_white(
    values: np.ndarray, expected: list[int], white: str
) -> None:
    photo = read_image(encode(values, "TIFF"))
    assert grey(photo) == [expected]
    assert photo.notes == (f"32-bit values from 0 to {white} scaled to 8-bit",)


def test_16_bit_colour_says_so() -> None:
    photo = read_image(png((1, 1), 16, 2, b"\0" + bytes([200, 7, 100, 8, 50, 9])))
    assert photo.pixels.tolist() == [[[200, 100, 50]]]
    assert photo.notes == ("16-bit scaled to 8-bit",)


def test_1_bit_is_black_and_white() -> None:
    for kind in ("PNG", "TIFF", "BMP"):
        assert grey(read_image(encode(Image.fromarray(np.array([[0, 255, 255]], np.uint8)).convert("1"), kind))) == [
            [0, 255, 255]
        ]


def test_12_bit_grey_is_scaled_by_4095() -> None:
    tags = [(256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 6)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    rows = bytes([0xFF, 0xF0, 0x00, 0x80, 0x00, 0x10])  # 4095, 0, 2048, 16
    data = b"II*\0" + struct.pack("<I", 14) + rows + struct.pack("<H", len(tags)) + directory + bytes(4)
    photo = read_image(data)
    assert grey(photo) == [[255, 0, 128, 1]]
    assert photo.notes == ("12-bit scaled to 8-bit",)


def test_a_bmp_of_5_6_and_5_bits_is_not_called_16_bit() -> None:
    header = struct.pack("<2sIHHI", b"BM", 74, 0, 0, 70) + struct.pack(
        "<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0
    )
    photo = read_image(header + struct.pack("<4I", 0xF800, 0x7E0, 0x1F, 0) + struct.pack("<2H", 0xF800, 0x1F))
    assert photo.pixels.tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert photo.notes == ()


def test_premultiplied_grey_is_not_darkened_twice() -> None:
    data = encode(Image.fromarray(np.array([[[64, 128]]], np.uint8), "LA"), "TIFF")
    entry, premultiplied = (struct.pack("<HHIHH", 338, 3, 1, value, 0) for value in (2, 1))
    assert data.count(entry) == 1
    assert grey(read_image(data.replace(entry, premultiplied))) == [[191]]  # 64 + (255 - 128)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_composited_on_white(kind: str) -> None:
    rgba = np.array([[[0, 100, 200, 255], [0, 100, 200, 128], [0, 100, 200, 0]]], np.uint8)
    photo = read_image(encode(rgba, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})))
    # 100 × 128/255 + 255 × 127/255 = 177.2; 200 × 128/255 + 127 = 227.4
    assert photo.pixels.tolist() == [[[0, 100, 200], [127, 177, 227], [255, 255, 255]]]
    assert photo.notes == ("transparent areas shown on white",)


def test_compositing_is_the_rounded_exact_value_for_every_colour_and_alpha() -> None:
    colour, alpha = (axis.astype(np.uint8) for axis in np.mgrid[:256, :256])
    exact = (colour * (alpha / 255)) + 255 * (1 - alpha / 255)
    pixels = read_image(np.dstack([colour, colour, colour, alpha])).pixels
    np.testing.assert_array_equal(pixels[:, :, 0], np.rint(exact))


def test_transparency_above_opaque_strips_is_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "STRIP_PIXELS", 8)
    rgba = np.full((6, 4, 4), 255, np.uint8)
    rgba[0, 0, 3] = 254
    assert read_image(rgba).notes == read_image(encode(rgba, "PNG")).notes == ("transparent areas shown on white",)


def test_an_opaque_alpha_channel_is_not_mentioned() -> None:
    rgba = np.dstack([NOISE, np.full(NOISE.shape[:2], 255, np.uint8)])
    photo = read_image(encode(rgba, "PNG"))
    np.testing.assert_array_equal(photo.pixels, NOISE)
    assert photo.notes == ()


def test_grey_with_alpha() -> None:
    image = Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8), "LA")
    assert grey(read_image(encode(image, "PNG"))) == [[10, 255]]


def palette_image() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60, 0, 0, 0])
    return image


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_palette_colours(kind: str) -> None:
    assert read_image(encode(palette_image(), kind)).pixels.tolist() == [[[10, 20, 30], [40, 50, 60], [0, 0, 0]]]


@pytest.mark.parametrize(
    ("kind", "transparency", "last"),
    [("PNG", 2, 255), ("GIF", 2, 255), ("PNG", bytes([255, 255, 51]), 204)],  # 255 × (1 - 51/255) = 204
)
def test_palette_transparency(kind: str, transparency: int | bytes, last: int) -> None:
    photo = read_image(encode(palette_image(), kind, transparency=transparency))
    assert photo.pixels.tolist() == [[[10, 20, 30], [40, 50, 60], [last] * 3]]
    assert photo.notes == ("transparent areas shown on white",)


def test_palette_with_an_alpha_channel() -> None:
    image = palette_image().convert("PA")
    image.putalpha(Image.fromarray(np.array([[255, 255, 51]], np.uint8)))
    assert read_image(encode(image, "TIFF")).pixels.tolist() == [[[10, 20, 30], [40, 50, 60], [204] * 3]]


@pytest.mark.parametrize(
    ("depth", "rows", "key", "expected"),
    [
        (1, bytes([0, 0b01000000]), 0, [255, 255, 255, 255]),
        (2, bytes([0, 0b00011011]), 1, [0, 255, 170, 255]),
        (4, bytes([0, 0x01, 0x2F]), 2, [0, 17, 255, 255]),
        (8, bytes([0, 5, 6, 7, 8]), 6, [5, 255, 7, 8]),
        (16, struct.pack(">B4H", 0, 257, 258, 514, 0), 258, [1, 255, 2, 0]),
    ],
)
def test_a_transparent_grey_value_is_white_at_every_depth(
    depth: int, rows: bytes, key: int, expected: list[int]
) -> None:
    assert grey(read_image(png((4, 1), depth, 0, rows, chunk(b"tRNS", struct.pack(">H", key))))) == [expected]


@pytest.mark.parametrize(("depth", "code"), [(8, "B"), (16, "H")])
def test_a_transparent_colour_is_white(depth: int, code: str) -> None:
    unit = 1 if depth == 8 else 257
    samples = [value * unit for value in (1, 2, 3, 1, 2, 4)]
    rows = b"\0" + struct.pack(f">6{code}", *samples)
    key = chunk(b"tRNS", struct.pack(">3H", *samples[:3]))
    assert read_image(png((2, 1), depth, 2, rows, key)).pixels.tolist() == [[[255, 255, 255], [1, 2, 4]]]


@pytest.mark.parametrize(
    ("mode", "kind", "value", "expected"),
    [
        ("CMYK", "JPEG", (0, 255, 255, 0), (255, 0, 0)),  # Pillow writes the inverted values of Adobe, with its marker
        ("CMYK", "TIFF", (255, 0, 255, 0), (0, 255, 0)),
        ("YCbCr", "TIFF", (76, 85, 255), (255, 0, 0)),
        ("YCbCr", "JPEG", (29, 255, 107), (0, 0, 255)),
        ("LAB", "TIFF", (255, 128, 128), (255, 255, 255)),
        ("LAB", "TIFF", (138, 209, 198), (255, 0, 0)),  # sRGB red under D50 is L* 54.3, a* 80.8, b* 69.9
    ],
)
def test_other_colour_spaces_become_rgb(
    mode: str, kind: str, value: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    pixels = read_image(encode(Image.new(mode, (8, 8), value), kind)).pixels
    np.testing.assert_allclose(pixels.astype(int), np.broadcast_to(expected, (8, 8, 3)), atol=8)


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("GIF", "first of 3 frames"),
        ("WEBP", "first of 3 frames"),
        ("PNG", "first of 3 frames"),
        ("TIFF", "first of several pages"),
    ],
)
def test_the_first_frame_is_read_and_said_so(kind: str, note: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    photo = read_image(encode(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert (photo.pixels == (255, 0, 0)).all()
    assert photo.notes == (note,)


def test_the_frames_of_a_large_gif_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_COUNTED_GIF_BYTES", 10)
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    photo = read_image(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert photo.notes == ("first of several frames",)
    assert (photo.pixels == 10).all()


def test_the_main_picture_of_a_phone_mpo_is_read() -> None:
    red, blue = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    data = encode(red, "MPO", save_all=True, append_images=[blue])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    photo = read_image(data)
    np.testing.assert_allclose(photo.pixels.astype(int), np.broadcast_to((255, 0, 0), (16, 16, 3)), atol=4)
    assert photo.notes == ()


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.JPG"
    path.write_bytes(encode(NOISE, "PNG"))
    photo = read_image(path)
    np.testing.assert_array_equal(photo.pixels, NOISE)
    assert photo.notes == ("named .JPG but is a PNG",)
    assert read_image(encode(NOISE, "PNG"), name="photo.png").notes == ()


# Arrays.


def test_arrays_of_grey_rgb_and_rgba() -> None:
    np.testing.assert_array_equal(read_image(NOISE[:, :, 0]).pixels, np.dstack([NOISE[:, :, 0]] * 3))
    np.testing.assert_array_equal(read_image(NOISE).pixels, NOISE)
    turned = read_image(NOISE[:, ::-1]).pixels
    np.testing.assert_array_equal(turned, NOISE[:, ::-1])
    assert turned.flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 2), bool), "bool.*astype"),
        (np.zeros((2, 2, 3), np.float32), "float32.*255"),
        (np.zeros((2, 2, 3), np.uint16), "uint16.*257"),
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\).*\(H, W, 3\)"),
        (np.zeros((4,), np.uint8), "shape"),
        (np.zeros((0, 2, 3), np.uint8), "shape"),
        (np.zeros((2, 2, 1), np.uint8), "shape"),
    ],
)
def test_any_other_array_is_refused_with_the_remedy(array: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        read_image(array)


# Limits.


def test_a_bomb_is_refused_from_its_header() -> None:
    with pytest.raises(ImageError, match=r"bomb.png has 65,000 × 65,000 pixels.*400,000,000"):
        read_image(png((65_000, 65_000), 8, 2, b"\0"), name="bomb.png")
    assert DEFAULT_LIMITS.max_pixels > 10_000 * 10_000


@pytest.mark.parametrize(("kind", "options"), [*LOSSLESS, ("JPEG", {}), ("GIF", {})])
def test_the_pixel_limit_is_exact_in_every_format(kind: str, options: dict[str, Any]) -> None:
    data = encode(NOISE, kind, **options)
    assert read_image(data, limits=Limits(max_pixels=23 * 37)).pixels.shape == NOISE.shape
    with pytest.raises(ImageError, match="37 × 23 pixels"):
        read_image(data, limits=Limits(max_pixels=23 * 37 - 1))
    with pytest.raises(ImageError, match="37 × 23 pixels"):
        read_image(NOISE, limits=Limits(max_pixels=23 * 37 - 1))


@pytest.mark.parametrize("options", [{"lossless": True}, {}, {"exif": exif(1)}])
def test_the_size_of_a_webp_is_known_before_its_driver_allocates(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    data = encode(NOISE, "WEBP", **options)
    monkeypatch.setattr(decoding, "_DRIVERS", {**decoding._DRIVERS, "WebP": ("pixelwise.not_there", "Driver")})
    with pytest.raises(ImageError, match="37 × 23 pixels"):
        read_image(data, limits=Limits(max_pixels=100))


@pytest.mark.parametrize(("kind", "options"), [*LOSSLESS, ("GIF", {}), ("JPEG", {})])
@pytest.mark.parametrize(
    "pillow_limit", [300, 500, 850]
)  # of 851 pixels; Pillow refuses the first and warns at the rest
def test_above_the_limit_of_pillow_ours_decides(
    monkeypatch: pytest.MonkeyPatch, kind: str, options: dict[str, Any], pillow_limit: int
) -> None:
    data = encode(NOISE, kind, **options)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    assert read_image(data).pixels.shape == NOISE.shape
    assert pillow_limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError):
        read_image(data[: len(data) // 2])
    assert pillow_limit == Image.MAX_IMAGE_PIXELS


def test_threads_that_raise_the_limit_of_pillow_put_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    limit = decoding._PillowLimit()
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with limit.at_least(400):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(10)
    with limit.at_least(300):  # below what the other has raised, yet it must outlast the other
        leave.set()
        thread.join(10)
        assert Image.MAX_IMAGE_PIXELS >= 300
    assert Image.MAX_IMAGE_PIXELS == 100


def test_the_byte_limit_is_exact(tmp_path: Path) -> None:
    data = encode(NOISE, "PNG")
    path = tmp_path / "noise.png"
    path.write_bytes(data)
    for source in (path, data, io.BytesIO(data)):
        assert read_image(source, limits=Limits(max_bytes=len(data))).pixels.shape == NOISE.shape
    for source in (path, data, io.BytesIO(data)):
        with pytest.raises(ImageError, match=r"larger than the limit of .* MiB"):
            read_image(source, limits=Limits(max_bytes=len(data) - 1))


class Endless(io.RawIOBase):
    given = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = min(size, 700)
        self.given += size
        return b"\xff" * size


def test_a_stream_without_end_is_read_to_the_limit_only() -> None:
    stream = Endless()
    with pytest.raises(ImageError, match="larger than the limit"):
        read_image(stream, limits=Limits(max_bytes=10_000))
    assert stream.given == 10_001


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="the system has no /dev/zero")
def test_a_device_without_end_is_read_to_the_limit_only() -> None:
    with pytest.raises(ImageError, match="larger than the limit"):
        read_image("/dev/zero", limits=Limits(max_bytes=10_000))


def test_one_copy_of_the_pixels_is_made() -> None:
    data = encode(np.zeros((2000, 3000, 3), np.uint8), "PNG", compress_level=1, exif=exif(6))
    tracemalloc.start()
    photo = read_image(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * photo.pixels.nbytes  # what Pillow holds is not traced; converting it whole would double this


def test_importing_costs_no_format_driver() -> None:
    code = "import sys, pixelwise.images; print([name for name in sys.modules if 'ImagePlugin' in name])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What cannot be read.


@pytest.mark.parametrize(("kind", "options"), [*LOSSLESS, ("JPEG", {}), ("JPEG", {"progressive": True}), ("GIF", {})])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_refused_by_name(kind: str, options: dict[str, Any], part: float, tmp_path: Path) -> None:
    data = encode(NOISE, kind, **options)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: int(len(data) * part)])
    for source in (path, path.read_bytes()):
        with pytest.raises(ImageError, match=r"cut\.img cannot be decoded"):
            read_image(source, name="cut.img")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", r"^x\.jpg is empty"),
        (b"This is no picture at all.", r"^x\.jpg is not a picture.*JPEG, PNG, WebP, TIFF, BMP, GIF, PPM"),
        (b"\0\0\0\x18ftypheic" + bytes(20), r"x\.jpg is a HEIC.*expected JPEG"),
        (b"\x89PNG\r\n\x1a\n", r"x\.jpg cannot be decoded"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        read_image(data, name="x.jpg")


def test_what_pillow_says_is_quoted_on_one_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("one\ntwo " + "x" * 1000)

    monkeypatch.setattr(decoding, "_decode", fail)
    with pytest.raises(ImageError) as caught:
        read_image(encode(NOISE, "PNG"), name="x.png")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_paths_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match=r"absent\.png does not exist"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be opened"):
        read_image("a\0b.png")

    def forbidden(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "secret.png").write_bytes(encode(NOISE, "PNG"))
    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(ImageError, match=r"secret\.png may not be read: permission denied"):
        read_image(tmp_path / "secret.png")


def test_sources_of_the_wrong_kind() -> None:
    with pytest.raises(ImageError, match="binary"):
        read_image(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="was given as int; expected a path"):
        read_image(7)  # type: ignore[arg-type]


def test_memory_that_runs_out_is_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(images, "copy_upright", full)
    with pytest.raises(ImageError, match="needs more memory"):
        read_image(encode(NOISE, "PNG"))


# Hostile bytes.


def samples() -> dict[str, bytes]:
    small = Image.fromarray(NOISE[:12, :17])

    def pair() -> dict[str, Any]:
        return {"save_all": True, "append_images": [small.rotate(90)]}

    indexed = small.quantize(8)
    return {
        "jpeg": encode(small, "JPEG", exif=exif(6)),
        "jpeg-progressive": encode(small, "JPEG", progressive=True),
        "jpeg-cmyk": encode(small.convert("CMYK"), "JPEG"),
        "mpo": encode(small, "MPO", **pair()),
        "png": encode(small, "PNG", exif=exif(6)),
        "png-palette": encode(indexed, "PNG", transparency=bytes(range(8))),
        "png-animated": encode(small, "PNG", **pair()),
        "webp": encode(small, "WEBP", exif=exif(6)),
        "webp-lossless": encode(small.convert("RGBA"), "WEBP", lossless=True),
        "webp-animated": encode(small, "WEBP", **pair()),
        "tiff": encode(small, "TIFF", exif=exif(6)),
        "tiff-pages": encode(small, "TIFF", **pair()),
        "tiff-lzw": encode(small, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": encode(small, "TIFF", compression="jpeg"),
        "tiff-float": encode(NOISE[:12, :17, 0].astype(np.float32), "TIFF"),
        "bmp": encode(small, "BMP"),
        "bmp-palette": encode(indexed, "BMP"),
        "gif": encode(indexed, "GIF", disposal=2, transparency=0, **pair()),
    }


def spoil(data: bytes, dice: random.Random) -> bytes:
    spoiled = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 10))):
        place = dice.randrange(min(len(spoiled), dice.choice((64, 1 << 30))))
        match dice.randrange(10):
            case 0:
                del spoiled[place : place + dice.randrange(1, 5)]
            case 1:
                spoiled[place:place] = dice.randbytes(dice.randrange(1, 5))
            case 2:
                spoiled[place : place + 4] = dice.choice((b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"))
            case 3:
                del spoiled[place + 1 :]
            case _:
                spoiled[place] = dice.choice((0, 1, 127, 128, 255, dice.randrange(256)))
        spoiled = spoiled or bytearray(1)
    return bytes(spoiled)


@pytest.mark.parametrize("sample", list(samples()))
def test_spoiled_bytes_give_a_photo_or_an_image_error(sample: str) -> None:
    data, dice = samples()[sample], random.Random(sample)
    assert read_image(data).pixels.shape in ((12, 17, 3), (17, 12, 3))
    messages = []
    for _ in range(300):
        try:
            photo = read_image(spoil(data, dice), limits=Limits(max_pixels=1_000_000), name=sample)
        except ImageError as error:
            messages.append(str(error))
        else:
            assert photo.pixels.dtype == np.uint8
            assert photo.pixels.ndim == 3
            assert photo.pixels.size <= 3_000_000
    assert 0 < len(messages) < 300
    assert all(text.startswith(sample) and "\n" not in text and len(text) < 300 for text in messages)


# Folders.


def test_find_images_lists_pictures_in_order_and_leaves_hidden_ones_out(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", ".c.jpg", "notes.txt", "sub/d.webp", ".git/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert find_images(tmp_path) == [tmp_path / "a.jpg", tmp_path / "b.PNG"]
    assert find_images(str(tmp_path), recursive=True) == [tmp_path / n for n in ("a.jpg", "b.PNG", "sub/d.webp")]
    with pytest.raises(ImageError, match="cannot be listed"):
        find_images(tmp_path / "absent")
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm"} <= SUPPORTED_SUFFIXES


def test_find_images_passes_over_no_folder_in_silence(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    folder_that_cannot_be_listed(tmp_path)
    assert find_images(tmp_path) == [tmp_path / "a.jpg"]
    with pytest.raises(ImageError, match=r"/x+ cannot be listed \(File name too long\)"):
        find_images(tmp_path, recursive=True)


def test_find_images_follows_links_to_folders_each_once_and_passes_by_what_a_mac_zips(tmp_path: Path) -> None:
    for name in ("far/a.jpg", "data/__MACOSX/b.jpg", "data/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    data = tmp_path / "data"
    (data / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(data)
    assert find_images(data, recursive=True) == [data / "c.jpg", data / "linked" / "a.jpg"]
    assert find_images(data / "linked") == [data / "linked" / "a.jpg"]
