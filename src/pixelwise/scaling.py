"""Photos scaled strip by strip, so that Pillow's copy of them (4 bytes a pixel) never stands beside them in full."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.rows import Rows, SequentialRows

_STRIP_PIXELS = 1 << 21  # of the photo, at a time, where it is averaged over blocks
_AT_ONCE = 1 << 24  # pixels that are interpolated in one go; more than that goes band by band
_BAND_PIXELS = 1 << 22  # about so many then at a time


def shrink(photo: Rows, height: int, width: int) -> Rows:
    """Scale a photo by an antialiased triangle filter.

    Far larger photos are averaged over whole blocks first. What is still large then is scaled when it is asked for,
    from the top down; the answer is the same whether the photo is an array or comes from a file.

    Args:
        photo: uint8 (H, W, 3).
        height: of the answer.
        width: likewise.

    Returns:
        uint8 (height, width, 3), to be read from the top down.
    """
    if photo.shape[:2] == (height, width):
        return photo
    factor = max(1, min(photo.shape[0] // (2 * height), photo.shape[1] // (2 * width)))
    full, across = photo.shape[0] / factor, photo.shape[1] / factor  # the last blocks may lie beyond the photo in part
    if factor > 1:
        photo = averaged(photo, factor)
    if max(photo.shape[0] * photo.shape[1], height * width) <= _AT_ONCE:
        box = (0, 0, across, full)
        return np.asarray(Image.fromarray(photo[:]).resize((width, height), Image.Resampling.BILINEAR, box=box))
    return SequentialRows((height, width, 3), _bands(photo, full, across, height, width))


def averaged(photo: Rows, factor: int) -> SequentialRows:
    """A photo averaged over blocks of factor x factor: uint8 (H, W, 3) -> uint8 (ceil(H / factor), ..., 3)."""
    height, width = photo.shape[:2]
    rows = max(1, _STRIP_PIXELS // (width * factor)) * factor
    strips = (photo[top : top + rows] for top in range(0, height, rows))
    reduced = (np.asarray(Image.fromarray(strip).reduce(factor)) for strip in strips)
    return SequentialRows((-(-height // factor), -(-width // factor), 3), reduced)


def _bands(photo: Rows, full: float, across: float, height: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """The first `full` rows and `across` columns scaled, some at a time, each from the rows that its filter reaches."""
    scale = full / height
    rows = max(1, int(_BAND_PIXELS * height / max(full * across, height * width)))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        reach = max(1.0, scale) + 1
        first, last = max(0, math.floor(top * scale - reach)), min(photo.shape[0], math.ceil(bottom * scale + reach))
        box = (0, top * scale - first, across, min(bottom * scale, full) - first)
        strip = Image.fromarray(photo[first:last])
        yield np.asarray(strip.resize((width, bottom - top), Image.Resampling.BILINEAR, box=box))
