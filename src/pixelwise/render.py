"""Pictures from masks: the coloured mask, and the overlay on the photo.

NumPy arrays in, NumPy arrays out. `overlay` and `write_overlay` work strip by strip, so that beside the photo and the
result they need a few megabytes, whatever the size of the photo.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.errors import OutputError
from pixelwise.files import replacing
from pixelwise.labels import ClassTable, Colour
from pixelwise.rows import Rows

Background = int | Literal["auto"] | None
"""The class that leaves the photo untouched: an id, none at all, or "auto", the class that is named "background"."""

_WHITE: Colour = (255, 255, 255)
_NEAR_BLACK: Colour = (16, 18, 22)
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
JPEG_QUALITY = 95
JPEG_LONGEST_SIDE = 65500
"""What libjpeg writes; the format itself has room for 65535."""


def colourise(mask: NDArray[np.uint8], classes: ClassTable) -> NDArray[np.uint8]:
    """The mask in the colours of its classes.

    Args:
        mask: uint8 (H, W) class ids.
        classes: the colours; `ClassTable.palette` says what ignored pixels and unknown ids get.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        ValueError: the mask is not uint8 (H, W).
    """
    _check_mask(mask)
    return np.take(classes.palette(), mask, axis=0)


def overlay(
    photo: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    classes: ClassTable,
    *,
    opacity: float = 0.55,
    borders: bool = True,
    background: Background = "auto",
) -> NDArray[np.uint8]:
    """The class colours blended over the photo, with crisp lines where one region meets another.

    A blended pixel is `round(photo * (1 - opacity) + colour * opacity)`, the opacity taken to the nearest 256th. Pixels
    of the background, ignored pixels and ids that the table does not hold leave the photo as it is. Each region is
    lined in its own colour, fully opaque; a thin dark line beside it (white for a very dark colour) keeps it visible on
    any photo. The edge of the photo is no border. `border_width` says how thick lines are.

    Args:
        photo: uint8 (H, W, 3) RGB.
        mask: uint8 (H, W) class ids.
        classes: the colours of the ids.
        opacity: 0 (only the photo and the borders) to 1 (the photo is covered).
        borders: whether lines are drawn.
        background: the class id to leave untouched, None to paint every class, or "auto" for the class that is named
            "background", where there is one.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        ValueError: shapes or types do not fit, the opacity is outside 0 to 1, or the background is no class.
    """
    painter = _Painter.create(photo, mask, classes, opacity, borders, background)
    picture = np.empty(photo.shape, dtype=np.uint8)
    for start, stop in painter.strips():
        picture[start:stop] = painter.rows(photo, mask, start, stop)
    return picture


def overlay_strips(
    photo: Rows, mask: Rows, classes: ClassTable, *, opacity: float = 0.55, rows: int
) -> Iterator[NDArray[np.uint8]]:
    """What `overlay` returns by default, so many rows at a time, for a photo and a mask that are read from elsewhere.

    Args:
        photo: uint8 (H, W, 3) RGB; its rows are asked for once, from the top down.
        mask: uint8 (H, W) class ids, whose rows are asked for several times.
        classes: as for `overlay`.
        opacity: as for `overlay`.
        rows: in a strip; the last may have fewer.

    Yields:
        uint8 (rows, W, 3) RGB.

    Raises:
        ValueError: as for `overlay`.
    """
    painter = _Painter.create(photo, mask, classes, opacity, True, "auto")
    for start in range(0, painter.height, rows):
        yield painter.rows(photo, mask, start, min(start + rows, painter.height))


def write_overlay(
    path: Path,
    photo: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    classes: ClassTable,
    *,
    opacity: float = 0.55,
    borders: bool = True,
    background: Background = "auto",
) -> None:
    """Draws what `overlay` returns into an image file; its one full-size buffer is the encoder's (4 bytes a pixel).

    Args:
        path: where to; the suffix .jpg, .jpeg or .png gives the format, as for `write_picture`.
        photo: as for `overlay`.
        mask: as for `overlay`.
        classes: as for `overlay`.
        opacity: as for `overlay`.
        borders: as for `overlay`.
        background: as for `overlay`.

    Raises:
        ValueError: as for `overlay`.
        OutputError: as for `write_picture`.
    """
    painter = _Painter.create(photo, mask, classes, opacity, borders, background)
    file_format = _format_for(path, painter.height, painter.width)
    image = Image.new("RGB", (painter.width, painter.height))
    for start, stop in painter.strips():
        image.paste(Image.fromarray(painter.rows(photo, mask, start, stop)), (0, start))
    _save(image, path, file_format)


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Writes a picture whole or not at all: a reader never sees half a file, and a failure leaves none behind.

    Args:
        path: where to; .jpg and .jpeg give JPEG (quality 95, full colour resolution), .png gives PNG.
        picture: uint8 (H, W, 3) RGB.

    Raises:
        OutputError: the suffix is another one, the picture is too large for JPEG, or the file cannot be written.
    """
    file_format = _format_for(path, *picture.shape[:2])
    _save(Image.fromarray(picture), path, file_format)


def check_picture_suffix(path: Path) -> None:
    """See that `write_picture` knows the format that a name asks for.

    Raises:
        OutputError: it does not.
    """
    if path.suffix.lower() not in _FORMATS:
        raise OutputError(f"{path}: pictures are written as .jpg or .png, not as {path.suffix or 'a bare name'!r}.")


def border_width(height: int, width: int) -> int:
    """How thick `overlay` draws the line of a region, in pixels: 1 up to some 0.4 megapixels, 3 at 12, 6 at 100."""
    return max(1, round(math.sqrt(math.sqrt(height * width) / 300)))


@dataclass(frozen=True, slots=True)
class _Painter:
    """What every strip of one overlay has in common.

    A pixel's *rank* is 0 where the photo is left untouched, otherwise its class id plus one. Where two regions meet,
    the contrast line runs in the one of lower rank, so that it never eats into an object on a background. The tables
    are indexed by rank, plus 256 on a region's line, plus 512 (with the rank of the neighbour) on a contrast line.

    Attributes:
        height, width: of the photo, in pixels.
        ranks: uint8 (256,) class id -> rank.
        kept: uint16 (768, 3) weight of the photo in 256ths.
        added: uint16 (768, 3) what is added to it, in 256ths of a level; half a level for rounding is included.
        line, contrast: widths in pixels; 0 without borders.
    """

    height: int
    width: int
    ranks: NDArray[np.uint8]
    kept: NDArray[np.uint16]
    added: NDArray[np.uint16]
    line: int
    contrast: int

    @classmethod
    def create(
        cls,
        photo: Rows,
        mask: Rows,
        classes: ClassTable,
        opacity: float,
        borders: bool,
        background: Background,
    ) -> _Painter:
        check_pair(photo, mask)
        if not 0 <= opacity <= 1:
            raise ValueError(f"opacity is {opacity}; expected a number from 0 to 1.")
        ranks = np.zeros(256, dtype=np.uint8)
        ranks[: len(classes)] = np.arange(1, len(classes) + 1)
        untouched = _background_id(classes, background)
        if untouched is not None:
            ranks[untouched] = 0
        height, width = mask.shape[:2]
        line = border_width(height, width) if borders else 0
        weight = round(opacity * 256)
        colours = np.zeros((256, 3), dtype=np.uint16)
        colours[1 : len(classes) + 1] = classes.colours
        kept = np.zeros((768, 3), dtype=np.uint16)
        kept[:256] = 256 - weight
        added = np.concatenate([colours * weight, colours * 256, _contrast_to(colours) * 256]) + np.uint16(128)
        kept[0], added[0] = 256, 128
        return cls(height, width, ranks, kept, added, line, max(1, line // 2) if borders else 0)

    def strips(self) -> Iterator[tuple[int, int]]:
        """Row ranges that cover the photo, small enough for a strip's tables to stay in the processor's cache."""
        rows = max(2**16 // self.width, 8 * (self.line + self.contrast), 1)
        for start in range(0, self.height, rows):
            yield start, min(start + rows, self.height)

    def rows(self, photo: Rows, mask: Rows, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop) of the overlay, uint8 (stop - start, W, 3): the same whatever the strip they are in."""
        halo = self.line + self.contrast
        first = max(0, start - halo)
        ranks = np.take(self.ranks, mask[first : stop + halo])
        inner = slice(start - first, stop - first)
        codes = self._codes(ranks, inner) if self.line else ranks[inner]
        pixels = np.take(self.kept, codes, axis=0, mode="clip")
        pixels *= photo[start:stop]
        pixels += np.take(self.added, codes, axis=0, mode="clip")
        pixels >>= 8
        return pixels.astype(np.uint8)

    def _codes(self, ranks: NDArray[np.uint8], inner: slice) -> NDArray[np.uint16]:
        """Table indices of the rows `inner`; the rows around them are the halo that borders are found in."""
        codes = ranks[inner].astype(np.uint16)
        if ranks.min() == ranks.max():
            return codes
        highest = _spread(ranks, self.contrast, np.maximum)
        beyond = _spread(highest, self.line, np.maximum, first=self.contrast)
        lowest = _spread(ranks, self.line, np.minimum)
        on_line = (lowest < ranks) | ((beyond > ranks) & (ranks > 0))
        on_contrast = (highest > ranks)[inner]
        codes += on_line[inner] * np.uint16(256)
        np.copyto(codes, highest[inner] + np.uint16(512), where=on_contrast)
        return codes


def _spread(ranks: NDArray[np.uint8], steps: int, extreme: np.ufunc, *, first: int = 0) -> NDArray[np.uint8]:
    """The extreme within `steps` pixels, in an octagon: crosses and squares in turn, as if `first` steps were done."""
    for step in range(first, first + steps):
        across = ranks.copy()
        extreme(across[:, 1:], ranks[:, :-1], out=across[:, 1:])
        extreme(across[:, :-1], ranks[:, 1:], out=across[:, :-1])
        source = across if step % 2 else ranks
        out = across.copy()
        extreme(out[1:], source[:-1], out=out[1:])
        extreme(out[:-1], source[1:], out=out[:-1])
        ranks = out
    return ranks


def _contrast_to(colours: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """White beside very dark colours, nearly black beside all others; uint16 (N, 3) for (N, 3)."""
    light = colours @ np.array([0.299, 0.587, 0.114]) > 60
    return np.where(light[:, None], np.array(_NEAR_BLACK, np.uint16), np.array(_WHITE, np.uint16))


def _background_id(classes: ClassTable, background: Background) -> int | None:
    if background == "auto":
        return next((i for i, name in enumerate(classes.names) if name.lower() == "background"), None)
    if background is not None and not 0 <= background < len(classes):
        raise ValueError(f"background is {background}; expected a class id from 0 to {len(classes) - 1}.")
    return background


def _check_mask(mask: Rows) -> None:
    if len(mask.shape) != 2 or mask.dtype != np.uint8:
        raise ValueError(f"The mask is {mask.dtype} {mask.shape}; expected uint8 (H, W).")


def check_pair(photo: Rows, mask: Rows) -> None:
    """Raise ValueError unless the photo is uint8 (H, W, 3) and the mask uint8 (H, W) of the same size, not empty."""
    _check_mask(mask)
    if photo.dtype != np.uint8 or len(photo.shape) != 3 or photo.shape[2] != 3:
        raise ValueError(f"The photo is {photo.dtype} {photo.shape}; expected uint8 (H, W, 3).")
    if photo.shape[:2] != mask.shape or 0 in mask.shape:
        raise ValueError(f"The photo {photo.shape} and the mask {mask.shape} differ in size, or are empty.")


def _format_for(path: Path, height: int, width: int) -> str:
    check_picture_suffix(path)
    file_format = _FORMATS[path.suffix.lower()]
    if file_format == "JPEG" and max(height, width) > JPEG_LONGEST_SIDE:
        raise OutputError(f"{path}: {width}x{height} pixels are more than JPEG can hold; write a .png instead.")
    return file_format


def _save(image: Image.Image, path: Path, file_format: str) -> None:
    with replacing(path) as temporary:
        if file_format == "JPEG":
            image.save(temporary, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        else:
            image.save(temporary, "PNG", compress_level=3)
