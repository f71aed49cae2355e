"""Pictures written from strips, so that none is ever in memory whole: PNG masks and JPEG.

Pillow's encoders want the whole picture. A PNG is a stream of deflated rows, and a JPEG whose every row of blocks ends
with a restart marker can be put together from the JPEGs of its strips: nothing in one row of blocks depends on another.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.labels import ClassTable
from pixelwise.render import JPEG_QUALITY
from pixelwise.rows import Rows

JPEG_STRIP = 64
"""Rows of a JPEG's strips: a multiple of this, as blocks have 8 rows and there are 8 restart markers."""

_MASK_ROWS = 256


def write_mask_png(path: Path, mask: Rows, classes: ClassTable) -> None:
    """Write the indexed PNG whose pixels and palette are those of `pixelwise.masks.write_mask`.

    Args:
        path: the file.
        mask: uint8 (H, W) class ids.
        classes: whose colours to use.

    Raises:
        OSError: it cannot be written.
    """
    height, width = mask.shape[:2]
    deflate = zlib.compressobj(6)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        _write_chunk(file, b"PLTE", classes.palette().tobytes())
        for top in range(0, height, _MASK_ROWS):
            rows = mask[top : top + _MASK_ROWS]
            unfiltered = np.zeros((len(rows), width + 1), np.uint8)  # a row begins with the number of its filter, none
            unfiltered[:, 1:] = rows
            if data := deflate.compress(unfiltered.tobytes()):
                _write_chunk(file, b"IDAT", data)
        _write_chunk(file, b"IDAT", deflate.flush())
        _write_chunk(file, b"IEND", b"")


def write_jpeg(path: Path, height: int, strips: Iterable[NDArray[np.uint8]]) -> None:
    """Write a JPEG whose pixels are those that `pixelwise.render.write_picture` writes.

    Args:
        path: the file.
        height: of the picture; at most `pixelwise.render.JPEG_LONGEST_SIDE`, as its width.
        strips: uint8 (h, W, 3) RGB, which together are the picture; h is the same multiple of `JPEG_STRIP` in all, but
            for the last, which may be lower.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("wb") as file:
        for number, strip in enumerate(strips):
            head, scan = _encode_strip(strip, height)
            file.write(b"\xff\xd7" if number else head)  # RST7, the marker that follows eight rows of blocks
            file.write(scan)
        file.write(b"\xff\xd9")  # end of image


def _encode_strip(strip: NDArray[np.uint8], height: int) -> tuple[bytes, bytes]:
    """The segments before the scan of a picture that begins with this strip, and the strip's part of the scan."""
    buffer = io.BytesIO()
    Image.fromarray(strip).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0, restart_marker_rows=1)
    data = bytearray(buffer.getvalue())
    place = 2  # behind the start of image: segments of a marker, a length, and so many bytes with the length's own two
    while True:
        marker, length = struct.unpack_from(">HH", data, place)
        if marker == 0xFFC0:  # the frame: precision, then the height
            struct.pack_into(">H", data, place + 5, height)
        place += 2 + length
        if marker == 0xFFDA:  # the scan
            return bytes(data[:place]), bytes(data[place:-2])


def _write_chunk(file: io.BufferedWriter, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
