"""Masks on disk to (H, W) class ids and back.

Ids are read as the file stores them, never by way of colours, and written as an indexed PNG whose palette shows the
class colours in any viewer. What else a mask may hold is read by `read_raw_mask`, for `pixelwise.data.encoding`.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.decoding import DEFAULT_LIMITS, Decoded, Limits, Source, copy_upright, decoded
from pixelwise.errors import ImageError, LabelError, MaskError
from pixelwise.files import write_atomically
from pixelwise.labels import ClassTable

_STEP = {"L;2": 85, "L;4": 17}  # what Pillow multiplies 2- and 4-bit grey by, so that white becomes 255
_FOUND = {"RGB": "RGB colour", "RGBA": "RGB colour with alpha", "LA": "grey with alpha", "I;16": "16-bit grey"}
_COUNTED_AT_ONCE = 1 << 20
_SHOWN_VALUES = 5


@dataclass(frozen=True, slots=True, eq=False)
class RawMask:
    """A mask as its file stores it, whatever that means.

    Attributes:
        samples: (H, W) uint8 or uint16 palette indices or grey values, or (H, W, 3) uint8 RGB; upright.
        palette: uint8 (N, 3) RGB, the colours of the indices, where the file has such.
        alpha: uint8 (H, W) opacity, where the file has such.
        pages: whether the file holds further pages, which are not read.
    """

    samples: NDArray[np.uint8] | NDArray[np.uint16]
    palette: NDArray[np.uint8] | None = None
    alpha: NDArray[np.uint8] | None = None
    pages: bool = False


def encode_mask(mask: NDArray[np.uint8], classes: ClassTable) -> bytes:
    """The mask as the bytes of an indexed PNG: the ids unchanged, the colours of `classes` as its palette.

    Args:
        mask: uint8 (H, W) class ids; a value that `classes` does not know is kept, and shown in mid grey.
        classes: whose colours to use.

    Raises:
        MaskError: the mask is not uint8 (H, W), or is empty.
    """
    _check_array(mask, "The mask")
    image = Image.fromarray(mask)
    image.putpalette(classes.palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_type=zlib.Z_RLE)  # smaller than by default, in half of the time
    return buffer.getvalue()


def write_mask(path: str | Path, mask: NDArray[np.uint8], classes: ClassTable) -> None:
    """Write a mask as `encode_mask` encodes it; a reader of `path` sees the old file or the new one, never a part.

    Raises:
        MaskError: the mask is not uint8 (H, W), or is empty.
        OutputError: the file cannot be written; whatever was there before is unharmed.
    """
    write_atomically(Path(path), encode_mask(mask, classes))


def read_index_mask(source: Source, *, limits: Limits = DEFAULT_LIMITS, name: str | None = None) -> NDArray[np.uint8]:
    """Read a PNG mask whose samples are class ids: indexed, or grey of up to 8 bits.

    Grey of 1, 2 and 4 bits is read as stored, too: the ids of a 1-bit mask are 0 and 1, not 0 and 255.

    Args:
        source: see `pixelwise.decoding.Source`.
        limits: the largest mask accepted.
        name: what to call it in messages; by default the path, or the name of the open file.

    Returns:
        uint8 (H, W) ids, upright if the file has an EXIF orientation; which classes they are is for `check_labels`.

    Raises:
        MaskError: it is not there, not a PNG, damaged, above the limits, in colour, or has 16 bits.
    """
    try:
        with decoded(source, limits=limits, name=name, formats=("PNG",)) as picture:
            mode = picture.image.mode
            if mode not in ("1", "L", "P"):
                raise MaskError(
                    f"{picture.name} is {_FOUND.get(mode, mode)}; expected one class id a pixel, "
                    "as an indexed PNG or a grey one of up to 8 bits."
                )
            step = _STEP.get(picture.raw_mode, 1)
            ids = copy_upright(picture, lambda strip: _samples(strip, step), channels=1)
    except ImageError as error:
        raise MaskError(str(error)) from error
    return ids[:, :, 0]


def read_raw_mask(source: Source, *, limits: Limits = DEFAULT_LIMITS, name: str | None = None) -> RawMask:
    """Read a mask of any kind: what its samples stand for is for the caller to know.

    Args:
        source: see `pixelwise.decoding.Source`; any of `pixelwise.decoding.FORMATS`.
        limits: the largest mask accepted.
        name: what to call it in messages; by default the path, or the name of the open file.

    Raises:
        MaskError: it is not there, not a picture, damaged, above the limits, or holds fractions, negative numbers or
            numbers above 65535.
    """
    try:
        with decoded(source, limits=limits, name=name) as picture:
            pages = any("pages" in note for note in picture.notes)
            mode = picture.image.mode
            if mode in ("I", "F") or mode.startswith("I;16"):
                return RawMask(_wide_samples(picture), pages=pages)
            if mode in ("1", "L", "P"):
                step = _STEP.get(picture.raw_mode, 1)
                ids = copy_upright(picture, lambda strip: _samples(strip, step), channels=1)
                return RawMask(ids[:, :, 0], palette=_palette(picture.image), pages=pages)
            target = "RGBA" if picture.image.has_transparency_data else "RGB"
            channels = copy_upright(picture, lambda strip: np.asarray(strip.convert(target)), channels=len(target))
    except ImageError as error:
        raise MaskError(str(error)) from error
    alpha = channels[:, :, 3] if target == "RGBA" else None
    return RawMask(channels[:, :, :3], alpha=alpha, pages=pages)


def check_labels(mask: NDArray[np.uint8], classes: ClassTable, *, name: str) -> None:
    """Refuse a mask with a value that is neither a class id nor `classes.ignore_index`.

    Args:
        mask: uint8 (H, W).
        classes: what the values may be: 0 to `len(classes) - 1`, and `classes.ignore_index`.
        name: what to call the mask in the message: its file.

    Raises:
        LabelError: there is such a value; the message gives each (up to five, the commonest first) and its share of the
            pixels.
        MaskError: the mask is not uint8 (H, W), or is empty.
    """
    _check_array(mask, name)
    counts = _histogram(mask)
    counts[: len(classes)] = 0
    counts[classes.ignore_index] = 0
    strangers = sorted(np.flatnonzero(counts).tolist(), key=lambda value: -counts[value])
    if not strangers:
        return
    shown = [f"{value} ({_percent(int(counts[value]), mask.size)})" for value in strangers[:_SHOWN_VALUES]]
    if len(strangers) > _SHOWN_VALUES:
        rest = int(counts[strangers[_SHOWN_VALUES:]].sum())
        shown.append(f"{len(strangers) - _SHOWN_VALUES} more ({_percent(rest, mask.size)})")
    raise LabelError(
        f"{name} holds values that are neither a class id (0 to {len(classes) - 1}) nor {classes.ignore_index} for "
        f"ignore: {', '.join(shown)} of its pixels; correct the mask, or use the class table it was drawn with."
    )


def _samples(strip: Image.Image, step: int) -> NDArray[np.uint8]:
    values = np.asarray(strip)  # bool for a 1-bit strip: 0 and 1 once copied
    return (values // step if step > 1 else values)[:, :, None]


def _wide_samples(picture: Decoded) -> NDArray[np.uint16]:
    """The samples of a file of more than 8 bits, which has to hold whole numbers from 0 to 65535."""

    def two_bytes(strip: Image.Image) -> NDArray[np.uint8]:
        values = np.asarray(strip)
        with np.errstate(invalid="ignore"):  # the comparison tells what does not fit
            exact = values.astype("<u2")
        if (exact != values).any():
            raise MaskError(
                f"{picture.name} holds fractions, negative numbers or numbers above 65535; expected one whole number a "
                "pixel, the class."
            )
        return exact[:, :, None].view(np.uint8)

    return copy_upright(picture, two_bytes, channels=2).view("<u2")[:, :, 0].astype(np.uint16, copy=False)


def _palette(image: Image.Image) -> NDArray[np.uint8] | None:
    if image.mode != "P":
        return None
    return np.asarray(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)


def _check_array(mask: NDArray[np.uint8], name: str) -> None:
    if mask.dtype != np.uint8 or mask.ndim != 2 or mask.size == 0:
        raise MaskError(f"{name} is {mask.dtype} of shape {mask.shape}; expected uint8 class ids of shape (H, W).")


def _histogram(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each value occurs: int64 (256,). By strips, because bincount turns its input into int64."""
    counts = np.zeros(256, dtype=np.int64)
    rows = max(1, _COUNTED_AT_ONCE // mask.shape[1])
    for top in range(0, mask.shape[0], rows):
        counts += np.bincount(mask[top : top + rows].ravel(), minlength=256)
    return counts


def _percent(count: int, total: int) -> str:
    share = 100 * count / total
    return f"{share:.2g} %" if share >= 0.01 else "under 0.01 %"
