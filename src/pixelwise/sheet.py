"""Contact sheets: photos beside their masks and a model's answers, in rows with captions, the classes below.

NumPy arrays in, NumPy arrays or files out.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pixelwise.labels import ClassShare, ClassTable, Colour
from pixelwise.panel import legend, printable, shorten
from pixelwise.render import check_pair, overlay, write_picture

MOST_PHOTOS = 6
"""How many photos a snapshot shows."""

_SIDE = 256
_NARROWEST = 120  # what a legend needs
_GAP, _CAPTION, _FONT_SIZE = 12, 22, 14
_WHITE: Colour = (255, 255, 255)
_GREY: Colour = (104, 110, 120)
_WRONG: Colour = (214, 39, 40)


def draw_snapshot(
    photos: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.uint8]],
    predictions: Sequence[NDArray[np.uint8]],
    classes: ClassTable,
    path: Path,
    *,
    ids: Sequence[str],
) -> None:
    """Draw how far a model is: a row a photo, with its true mask, the predicted one, and in red where they differ.

    Args:
        photos: uint8 (H, W, 3) RGB each; the first six are drawn.
        masks: uint8 (H, W) class ids each; ignored pixels are hatched.
        predictions: likewise.
        classes: names and colours of the ids; the legend has the shares of the true masks.
        path: where to; .jpg or .png. The directory is made, and a file that is there replaced.
        ids: of the photos.

    Raises:
        OutputError: the picture cannot be written.
        ValueError: there is no photo, or the shapes do not fit.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, comparison_sheet(photos, masks, predictions, classes, ids=ids))


def comparison_sheet(
    photos: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.uint8]],
    predictions: Sequence[NDArray[np.uint8]],
    classes: ClassTable,
    *,
    ids: Sequence[str],
) -> NDArray[np.uint8]:
    """What `draw_snapshot` draws: uint8 (h, w, 3).

    Raises:
        ValueError: there is no photo, or the shapes do not fit.
    """
    if not photos:
        raise ValueError("There is no photo to draw.")
    rows = []
    for photo, mask, prediction, name in list(zip(photos, masks, predictions, ids, strict=True))[:MOST_PHOTOS]:
        check_pair(photo, mask)
        check_pair(photo, prediction)
        rows.append(_compared(photo, mask, prediction, classes, name))
    return draw_sheet(rows, shares_of(masks[:MOST_PHOTOS], predictions[:MOST_PHOTOS], classes))


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture, uint8 (h, w, 3), and what is written above it."""

    picture: NDArray[np.uint8]
    caption: str


def _compared(
    photo: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    classes: ClassTable,
    name: str,
) -> list[Cell]:
    labelled = mask != classes.ignore_index
    right = f"{(mask == prediction)[labelled].mean():.1%} right" if labelled.any() else "nothing labelled"
    small, truth, answer = fit_photo(photo), fit_mask(mask), fit_mask(prediction)
    wrong = (truth != answer) & (truth != classes.ignore_index)
    return [
        Cell(small, name),
        Cell(labelled_photo(small, truth, classes), "truth"),
        Cell(labelled_photo(small, answer, classes), "prediction"),
        Cell(marked_photo(small, truth, wrong, classes), right),
    ]


def labelled_photo(photo: NDArray[np.uint8], mask: NDArray[np.uint8], classes: ClassTable) -> NDArray[np.uint8]:
    """The mask over its photo, what is ignored hatched: uint8 (H, W, 3)."""
    return _hatched(overlay(photo, mask, classes, opacity=0.45), mask, classes)


def marked_photo(
    photo: NDArray[np.uint8], mask: NDArray[np.uint8], marked: NDArray[np.bool_], classes: ClassTable
) -> NDArray[np.uint8]:
    """The photo pale and grey, what is marked, bool (H, W), in red, what the mask ignores hatched: uint8 (H, W, 3)."""
    faint = (photo.mean(axis=2, keepdims=True) / 2 + 112).astype(np.uint8).repeat(3, axis=2)
    faint[marked] = _WRONG
    return _hatched(faint, mask, classes)


def _hatched(picture: NDArray[np.uint8], mask: NDArray[np.uint8], classes: ClassTable) -> NDArray[np.uint8]:
    """The picture with lines over what is ignored, in the colour that the class table has for it."""
    rows, columns = np.indices(mask.shape)
    lines = (mask == classes.ignore_index) & ((rows + columns) % 6 < 2)
    picture[lines] = classes.palette()[classes.ignore_index]
    return picture


def _size(height: int, width: int, side: int) -> tuple[int, int]:
    """Width and height, in Pillow's order, with the longer side so long."""
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def fit_photo(photo: NDArray[np.uint8], side: int = _SIDE) -> NDArray[np.uint8]:
    """A photo (H, W, 3) with its longer side so long, by default as a cell's."""
    height, width = photo.shape[:2]
    size = _size(height, width, side)
    return np.array(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))


def fit_mask(mask: NDArray[np.uint8], side: int = _SIDE) -> NDArray[np.uint8]:
    """A mask (H, W) likewise, by nearest pixel."""
    height, width = mask.shape
    return np.array(Image.fromarray(mask).resize(_size(height, width, side), Image.Resampling.NEAREST))


def jpeg(picture: NDArray[np.uint8], *, quality: int = 85) -> bytes:
    """A picture, uint8 (H, W, 3), as a JPEG file for a page."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def shares_of(
    masks: Sequence[NDArray[np.uint8]], predictions: Sequence[NDArray[np.uint8]], classes: ClassTable
) -> list[ClassShare]:
    """The classes that occur in masks or predictions, and what is ignored, with their shares of the masks' pixels."""
    pixels = np.sum([np.bincount(mask.ravel(), minlength=256) for mask in masks], axis=0)
    there = pixels + np.sum([np.bincount(mask.ravel(), minlength=256) for mask in predictions], axis=0)
    named = [*zip(range(len(classes)), classes.names, classes.colours, strict=True)]
    red, green, blue = classes.palette()[classes.ignore_index].tolist()
    named.append((classes.ignore_index, "ignored", (red, green, blue)))
    total = pixels.sum()
    return [ClassShare(i, name, colour, pixels[i] / total) for i, name, colour in named if there[i]]


def draw_sheet(rows: Sequence[Sequence[Cell]], shares: Sequence[ClassShare]) -> NDArray[np.uint8]:
    """The cells in rows, all slots of the same width, and the legend below: uint8 (h, w, 3) on white."""
    slot = max(_NARROWEST, *(cell.picture.shape[1] for row in rows for cell in row))
    heights = [_CAPTION + max(cell.picture.shape[0] for cell in row) + _GAP for row in rows]
    across = max(len(row) for row in rows)
    width = across * (slot + _GAP) - _GAP
    below = legend(shares, width=width)
    sheet = Image.new("RGB", (width + 2 * _GAP, sum(heights) + below.shape[0] + _GAP), _WHITE)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for number, cell in enumerate(row):
            left = _GAP + number * (slot + _GAP)
            caption = shorten(printable(cell.caption, "no name"), font, slot)
            draw.text((left, top + _CAPTION - 6), caption, _GREY, font, anchor="ls")
            sheet.paste(Image.fromarray(cell.picture), (left, top + _CAPTION))
        top += height
    sheet.paste(Image.fromarray(below), (_GAP, top))
    return np.asarray(sheet)
