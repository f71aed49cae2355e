"""Small pictures of findings: photo and overlay side by side, or two photos."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.colours import for_display
from pixelwise.data.pairs import Pairs
from pixelwise.doctor.findings import Place
from pixelwise.errors import PixelwiseError
from pixelwise.images import read_image
from pixelwise.labels import ClassTable
from pixelwise.render import colourise, overlay

_HEIGHT, _WIDTH = 150, 260  # pixels; the largest that a part becomes
_GAP = 6
_STRANGER = (255, 0, 255)

Pixels = NDArray[np.uint8]


def picture(datasets: Sequence[Pairs], places: Sequence[Place]) -> bytes | None:
    """A JPEG of the pairs at some places, one below the other: each photo beside its overlay.

    A photo that cannot be read, or has another size than its mask, stands beside the mask alone; values that are no
    class are magenta.

    Returns:
        the file's bytes; None where nothing can be read.
    """
    rows = [_row(datasets[place.dataset], place.index) for place in places]
    rows = [row for row in rows if row]
    if not rows:
        return None
    widths = [sum(part.width for part in row) + _GAP * (len(row) - 1) for row in rows]
    heights = [max(part.height for part in row) for row in rows]
    canvas = Image.new("RGB", (max(widths), sum(heights) + _GAP * (len(rows) - 1)), (128, 128, 128))
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for part in row:
            canvas.paste(part, (left, top))
            left += part.width + _GAP
        top += height + _GAP
    buffer = io.BytesIO()
    canvas.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _row(dataset: Pairs, index: int) -> list[Image.Image]:
    photo = mask = strangers = None
    with suppress(PixelwiseError):  # the finding says what is wrong with it
        photo = _shrunk(read_image(dataset.image_paths[index]).pixels)
    with suppress(PixelwiseError):
        mask, strangers = map(_shrunk, dataset.mended_mask(index))
    parts = [] if photo is None else [photo]
    if mask is not None and strangers is not None:
        parts.append(_painted(photo, mask, strangers, dataset.classes))
    return [Image.fromarray(part) for part in parts]


def _painted(photo: Pixels | None, mask: Pixels, strangers: NDArray[np.bool_], classes: ClassTable) -> Pixels:
    display = for_display(classes)
    fits = photo is not None and photo.shape[:2] == mask.shape
    painted = overlay(photo, mask, display) if fits and photo is not None else colourise(mask, display)
    painted[strangers] = _STRANGER
    return painted


def _shrunk(pixels: NDArray[Any]) -> NDArray[Any]:
    """A photo (H, W, 3) by area, anything (H, W) by nearest pixel; what is of one size becomes of one size."""
    height, width = pixels.shape[:2]
    factor = min(1.0, _HEIGHT / height, _WIDTH / width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    how = Image.Resampling.NEAREST if pixels.ndim == 2 else Image.Resampling.BOX
    return np.array(Image.fromarray(pixels).resize(size, how))
