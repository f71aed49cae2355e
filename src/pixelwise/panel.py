"""The panel that shows photo, mask and overlay together, and its legend.

NumPy arrays in, NumPy arrays out.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pixelwise.labels import ClassShare, ClassTable, Colour
from pixelwise.render import Background, check_pair, colourise, overlay
from pixelwise.rows import Rows
from pixelwise.scaling import averaged

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_WHITE: Colour = (255, 255, 255)
_INK: Colour = (32, 36, 42)
_GREY: Colour = (104, 110, 120)
_SMALLEST_FONT = 14
_STACK_FROM_ASPECT = 2.4


def legend(entries: Sequence[ClassShare], *, width: int, confidence: bool = False) -> NDArray[np.uint8]:
    """Swatch, name and percentage of each class, in as many columns as fit, in the order given, down the columns.

    The font grows with the width, from 14 pixels up. A name too long for its column ends in an ellipsis; letters that
    the built-in font lacks lose their accents, and a name with no letter left is written as "class 7".

    Args:
        entries: what to list; any number.
        width: of the picture, in pixels; 120 is always enough, 210 with confidences.
        confidence: whether to write how sure the model is, for the entries that know.

    Returns:
        uint8 (h, width, 3) RGB, dark on white, with no margin; h is 0 without entries.

    Raises:
        ValueError: the width leaves no room for names.
    """
    em = _font_size(width)
    font = ImageFont.load_default(em)
    columns = _columns(_cells(entries, width, font, em, confidence), width, gap=2 * em)
    line = round(1.7 * em)
    image = Image.new("RGB", (width, line * len(columns[0])), _WHITE)
    left = 0
    for column in columns:
        right = left + max((cell.width for cell in column), default=0)
        for row, cell in enumerate(column):
            _draw_cell(image, cell, font, left, row * line + line // 2, right)
        left = right + 2 * em
    return np.asarray(image)


def panel(
    photo: Rows,
    mask: Rows,
    classes: ClassTable,
    shares: Sequence[ClassShare],
    *,
    opacity: float = 0.55,
    borders: bool = True,
    background: Background = "auto",
    confidence: bool = False,
    max_width: int = 1920,
) -> NDArray[np.uint8]:
    """Photo, mask and overlay with captions, and the legend below them.

    Side by side, or one above the other where the photo is much wider than high. A large photo is scaled down first
    (the mask by nearest pixel) and a tiny one up, by a whole factor; borders are drawn afterwards, so they are crisp.

    Args:
        photo: uint8 (H, W, 3) RGB; its rows are asked for once, from the top down.
        mask: uint8 (H, W) class ids.
        classes: the colours of the ids.
        shares: the legend's entries, in the order in which to list them.
        opacity: as for `overlay`.
        borders: as for `overlay`.
        background: as for `overlay`.
        confidence: as for `legend`.
        max_width: of the panel, in pixels, 480 or more; its height is kept in proportion.

    Returns:
        uint8 (h, w, 3) RGB on white, w <= max_width.

    Raises:
        ValueError: as for `overlay`, or max_width is below 480.
    """
    check_pair(photo, mask)
    if max_width < 480:
        raise ValueError(f"max_width is {max_width}; expected 480 pixels or more.")
    plan = _PanelPlan.create(mask.shape[0], mask.shape[1], max_width)
    small, ids = _resize_photo(photo, plan.height, plan.width), _resize_mask(mask, plan.height, plan.width)
    blended = overlay(small, ids, classes, opacity=opacity, borders=borders, background=background)
    return plan.draw(
        (small, colourise(ids, classes), blended), legend(shares, width=plan.content, confidence=confidence)
    )


@dataclass(frozen=True, slots=True)
class _Cell:
    """One line of a legend. Text as it is drawn; width in pixels, from the swatch to the end of the value."""

    colour: Colour
    name: str
    value: str
    width: int


def _cells(entries: Sequence[ClassShare], width: int, font: Font, em: int, confidence: bool) -> list[_Cell]:
    values = [_value(entry, confidence) for entry in entries]
    beside = 2.5 * em  # the swatch, half an em, the name, one em, the value
    room = min(14 * em, width - beside - max(map(font.getlength, values), default=0))
    if room < 2 * em:
        raise ValueError(f"The legend is to be {width} pixels wide, but needs {math.ceil(width + 2 * em - room)}.")
    names = [shorten(printable(entry.name, f"class {entry.id}"), font, room) for entry in entries]
    return [
        _Cell(entry.colour, name, value, math.floor(beside + font.getlength(name) + font.getlength(value)))
        for entry, name, value in zip(entries, names, values, strict=True)
    ]


def _columns(cells: list[_Cell], width: int, gap: int) -> list[list[_Cell]]:
    """The cells in as many columns as fit side by side; a cell is never wider than the legend, so one always does."""
    columns = [cells]
    for rows in range(len(cells), 0, -1):
        tried = [cells[i : i + rows] for i in range(0, len(cells), rows)]
        if sum(max(cell.width for cell in column) + gap for column in tried) - gap <= width:
            columns = tried
    return columns


def _draw_cell(image: Image.Image, cell: _Cell, font: Font, left: int, middle: int, right: int) -> None:
    em = _font_size(image.width)
    _draw_swatch(image, left, middle - em // 2, em, cell.colour)
    draw = ImageDraw.Draw(image)
    baseline = middle + round(0.36 * em)  # centres the capitals
    draw.text((left + 1.5 * em, baseline), cell.name, _INK, font, anchor="ls")
    draw.text((right, baseline), cell.value, _GREY, font, anchor="rs")


def _font_size(width: int) -> int:
    return max(_SMALLEST_FONT, round(width / 80))


def _value(entry: ClassShare, confidence: bool) -> str:
    percent = "<0.1%" if 0 < entry.share < 0.0005 else f"{entry.share:.1%}"
    sure = f"   {entry.confidence:.0%} sure" if confidence and entry.confidence is not None else ""
    return percent + sure


def printable(name: str, otherwise: str) -> str:
    """The name in the letters of Pillow's built-in font, which are ASCII's; `otherwise` if it has none."""
    letters = (c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    written = "".join(letters).encode("ascii", "replace").decode()
    return written if any(c.isalnum() for c in written) else otherwise


def shorten(name: str, font: Font, room: float) -> str:
    """The name, or as much of it as fits into `room` pixels, and an ellipsis."""
    if font.getlength(name) <= room:
        return name
    kept = next((n for n in range(len(name), 0, -1) if font.getlength(name[:n].rstrip() + "…") <= room), 0)
    return name[:kept].rstrip() + "…"


def _draw_swatch(image: Image.Image, left: int, top: int, side: int, colour: Colour) -> None:
    """A rounded square with a slightly darker rim, so that a pale one stands out on white; smooth by oversampling."""
    for inset, shade in ((0, 0.78), (max(1, side // 14), 1.0)):
        size = side - 2 * inset
        shape = Image.new("L", (4 * size, 4 * size))
        ImageDraw.Draw(shape).rounded_rectangle((0, 0, 4 * size - 1, 4 * size - 1), size - inset, fill=255)
        red, green, blue = (round(value * shade) for value in colour)
        image.paste((red, green, blue), (left + inset, top + inset), shape.reduce(4))


@dataclass(frozen=True, slots=True)
class _PanelPlan:
    """Where everything in a panel goes. Lengths in pixels; `height` and `width` are those of one part."""

    height: int
    width: int
    slot: int
    content: int
    em: int
    stacked: bool

    @classmethod
    def create(cls, height: int, width: int, max_width: int) -> _PanelPlan:
        stacked = width > _STACK_FROM_ASPECT * height
        across, down = (1, 3) if stacked else (3, 1)
        em = _font_size(max_width)
        room_across = (max_width - 2 * (2 * em) - (across - 1) * em) / across
        room_down = 0.75 * max_width / down
        scale = min(room_across / width, room_down / height)
        if scale >= 1:
            scale = max(1, min(int(scale), (960 if stacked else 400) // max(height, width)))
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
        em = _font_size(across * width)
        slot = max(width, math.ceil(ImageFont.load_default(em).getlength("Overlay")))
        return cls(height, width, slot, max(240, across * slot + (across - 1) * em), em, stacked)

    def draw(self, parts: Sequence[NDArray[np.uint8]], below: NDArray[np.uint8]) -> NDArray[np.uint8]:
        em, margin = self.em, 2 * self.em
        caption = round(1.5 * em)
        pitch = caption + self.height + em if self.stacked else 0
        bottom = margin + caption + self.height + 2 * pitch
        legend_top = bottom + em if below.size else bottom
        # A line of the legend has some white of its own below the letters.
        height = legend_top + below.shape[0] + margin - (round(0.35 * em) if below.size else 0)
        canvas = np.full((height, self.content + 2 * margin, 3), 255, dtype=np.uint8)
        canvas[legend_top : legend_top + below.shape[0], margin : margin + self.content] = below
        corners = []
        for index, part in enumerate(parts):
            left = margin if self.stacked else margin + index * (self.slot + em)
            top = margin + caption + index * pitch
            canvas[top : top + self.height, left : left + self.width] = part
            corners.append((left, top))
        image = Image.fromarray(canvas)
        draw = ImageDraw.Draw(image)
        font = ImageFont.load_default(em)
        for (left, top), text in zip(corners, ("Photo", "Mask", "Overlay"), strict=True):
            draw.text((left, top - round(0.5 * em)), text, _GREY, font, anchor="ls")
        return np.asarray(image)


def _resize_mask(mask: Rows, height: int, width: int) -> NDArray[np.uint8]:
    rows = (np.arange(height) * 2 + 1) * mask.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * mask.shape[1] // (2 * width)
    return np.concatenate([mask[row : row + 1][:, columns] for row in rows.tolist()])


def _resize_photo(photo: Rows, height: int, width: int) -> NDArray[np.uint8]:
    """Up by a whole factor, pixel by pixel; down with antialiasing, first by area, in strips so as to need no copy."""
    if height % photo.shape[0] == 0 and width % photo.shape[1] == 0:
        return photo[:].repeat(height // photo.shape[0], axis=0).repeat(width // photo.shape[1], axis=1)
    factor = max(1, min(photo.shape[0] // height, photo.shape[1] // width) // 2)
    box = (0, 0, photo.shape[1] / factor, photo.shape[0] / factor)
    reduced = Image.fromarray(averaged(photo, factor)[:])
    return np.asarray(reduced.resize((width, height), Image.Resampling.LANCZOS, box))
