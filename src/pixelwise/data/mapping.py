"""What a mask holds on disk -> class ids, by a table that is written down; a value that it lacks is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import ImageError, MaskError
from pixelwise.images import read_image
from pixelwise.labels import Colour

_UNKNOWN = -1
_SHOWN = 5


def map_ids(mask: NDArray[np.uint8], mapping: Mapping[int, int], *, name: str) -> NDArray[np.uint8]:
    """Replace each value of a mask.

    Args:
        mask: uint8 (H, W), as on disk.
        mapping: value on disk -> class id, or the id of what is ignored.
        name: what to call the mask in messages: its file.

    Raises:
        MaskError: the mask holds a value that the mapping lacks; the message gives its share of the pixels.
    """
    table = np.full(256, _UNKNOWN, dtype=np.int16)
    for value, label in mapping.items():
        table[value] = label
    labels = table[mask]
    strangers = mask[labels == _UNKNOWN]
    if strangers.size:
        known = ", ".join(map(str, sorted(mapping)))
        shown = _shares(strangers, mask.size, str)
        raise MaskError(
            f"{name} holds the values {shown} of its pixels; its layout knows {known}: correct the mask, or name the "
            "layout that it was made for."
        )
    return labels.astype(np.uint8)


def read_colour_mask(path: Path, mapping: Mapping[Colour, int]) -> NDArray[np.uint8]:
    """Read a mask whose colours stand for classes, in RGB or with a palette.

    Args:
        path: the mask, in a format without loss.
        mapping: colour -> class id, or the id of what is ignored.

    Returns:
        uint8 (H, W).

    Raises:
        MaskError: it cannot be read, or holds a colour that the mapping lacks; the message gives the colour and its
            share of the pixels.
    """
    try:
        pixels = read_image(path).pixels
    except ImageError as error:
        raise MaskError(str(error)) from error
    packed = _pack(pixels)
    table = np.zeros(1 << 24, dtype=np.uint16)  # 0: unknown; only the pages that are touched take memory
    for colour, label in mapping.items():
        table[_pack(np.array(colour))] = label + 1
    labels = table[packed]
    strangers = packed[labels == 0]
    if strangers.size:
        shown = _shares(strangers, packed.size, _colour_name)
        raise MaskError(
            f"{path} holds the colours {shown} of its pixels, which stand for no class; correct the mask or the table "
            "of colours. A mask that was stored as JPEG or scaled smoothly has lost them."
        )
    return (labels - 1).astype(np.uint8)


def _pack(colours: NDArray[np.integer]) -> NDArray[np.int32]:
    """Colours (..., 3) as one number of 24 bits each."""
    red, green, blue = (colours[..., i].astype(np.int32) for i in range(3))
    packed: NDArray[np.int32] = red << 16 | green << 8 | blue
    return packed


def _colour_name(packed: int) -> str:
    return f"({packed >> 16}, {packed >> 8 & 255}, {packed & 255})"


def _shares(strangers: NDArray[np.integer], total: int, name: Callable[[int], str]) -> str:
    """The commonest values, each with its share of all pixels: "7 (12 %), 9 (0.5 %)"."""
    values, counts = np.unique(strangers, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = [f"{name(int(values[i]))} ({100 * counts[i] / total:.2g} %)" for i in order[:_SHOWN]]
    if len(order) > _SHOWN:
        rest = counts[order[_SHOWN:]].sum()
        shown.append(f"{len(order) - _SHOWN} more ({100 * rest / total:.2g} %)")
    return ", ".join(shown)
