"""Photos from untrusted files: any of seven formats to upright RGB uint8 (H, W, 3).

Alpha is composited on white and 16-bit values are scaled; Pillow's `convert("RGB")` would drop the one, clip the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.decoding import (
    DEFAULT_LIMITS,
    STRIP_PIXELS,
    SUPPORTED_SUFFIXES,
    Decoded,
    Limits,
    Source,
    check_pixels,
    copy_upright,
    decoded,
    reason,
    strips,
)
from pixelwise.errors import ImageError


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photo as a viewer shows it.

    Attributes:
        pixels: uint8 (H, W, 3) RGB, 0 to 255, upright, C-contiguous.
        notes: what the user should know about how it was read, such as "first of 12 frames"; mostly empty.
        name: how messages call it: the path as it was given, unless another name was.
        orientation: what its EXIF data said, 1 to 8; the pixels are upright all the same.
    """

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...]
    name: str
    orientation: int = 1


def read_image(
    source: Source | NDArray[np.uint8], *, limits: Limits = DEFAULT_LIMITS, name: str | None = None
) -> Photo:
    """Read a photo, whoever made it.

    JPEG, PNG, WebP, TIFF, BMP, GIF and PPM are told by their content, not by their name. Of an animation or a document
    the first frame or page is read. White is 65535 in 16-bit files; in 32-bit ones the first of 1 (floats only), 255,
    and 65535 that no value exceeds, or else the largest value. Colour profiles are ignored.

    Args:
        source: see `Source`; or an array, uint8 (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, which is not copied when
            it is C-contiguous RGB.
        limits: the largest picture accepted.
        name: what to call it in messages; by default the path, or the name of the open file.

    Raises:
        ImageError: it is not there, not a picture, damaged, cut short, or above the limits. Nothing else is raised for
            any content of the file.
    """
    if isinstance(source, np.ndarray):
        return _photo_of_array(source, limits, name or "The array")
    with decoded(source, limits=limits, name=name) as picture:
        pixels = _rgb_pixels(picture)
    return Photo(pixels, tuple(picture.notes), picture.name, picture.orientation)


def find_images(
    folder: str | Path, *, recursive: bool = False, refuse: Callable[[ImageError], None] | None = None
) -> list[Path]:
    """The files of a folder that have a supported suffix, in the order of their paths; hidden ones are left out.

    Links to files and folders are followed, each folder once. `__MACOSX`, which zipping on a Mac adds, is left out.

    Args:
        folder: where to look.
        recursive: look in the folders below it, too.
        refuse: told of each of those that may not be listed, and goes without; by default that is raised.

    Raises:
        ImageError: the folder is missing or may not be listed.
    """
    root = Path(folder)

    def unlisted(error: OSError) -> None:
        refused = ImageError(f"The folder {error.filename} cannot be listed ({reason(error)}).")
        if refuse is None:
            raise refused from error
        refuse(refused)

    try:
        next(root.iterdir(), None)  # walk would answer a missing folder with an empty list
        found: list[Path] = []
        seen: set[str] = set()
        for directory, folders, files in os.walk(root, onerror=unlisted, followlinks=True):
            real = os.path.realpath(directory)
            paths = [Path(directory, name) for name in files if not name.startswith(".")]
            if real not in seen:
                found += [path for path in paths if path.suffix.lower() in SUPPORTED_SUFFIXES and path.is_file()]
            again = real in seen or not recursive
            seen.add(real)  # a link may lead back to a folder above it
            folders[:] = [] if again else sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        return sorted(found)
    except OSError as error:
        raise ImageError(f"The folder {folder} cannot be listed ({reason(error)}).") from error


def _photo_of_array(array: NDArray[Any], limits: Limits, name: str) -> Photo:
    remedies = {"f": "(image * 255).round().astype(np.uint8)", "b": "image.astype(np.uint8) * 255"}
    if array.dtype != np.uint8:
        how = remedies.get(array.dtype.kind, "(image // 257).astype(np.uint8) if its values go up to 65535")
        raise ImageError(f"{name} is {array.dtype}; expected uint8 from 0 to 255: convert it by {how}.")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or array.size == 0:
        raise ImageError(f"{name} has the shape {array.shape}; expected (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.")
    check_pixels(array.shape[1], array.shape[0], limits, name)
    if array.ndim == 2:
        return Photo(np.repeat(array[:, :, None], 3, axis=2), (), name)
    if array.shape[2] == 3:
        return Photo(np.ascontiguousarray(array), (), name)
    pixels = np.empty((*array.shape[:2], 3), dtype=np.uint8)
    rows = max(1, STRIP_PIXELS // array.shape[1])
    transparent = False
    for top in range(0, array.shape[0], rows):
        part = array[top : top + rows]
        pixels[top : top + rows] = _on_white(part[:, :, :3], part[:, :, 3])
        transparent = transparent or bool(part[:, :, 3].min() < 255)
    return Photo(pixels, (ON_WHITE,) if transparent else (), name)


ON_WHITE = "transparent areas shown on white"
"""The note on such a photo."""


def _rgb_pixels(picture: Decoded) -> NDArray[np.uint8]:
    convert = RgbConverter(picture)
    pixels = copy_upright(picture, convert, channels=3)
    if convert.transparent:
        picture.notes.append(ON_WHITE)
    return pixels


class RgbConverter:
    """Turns strips of a picture to RGB; for `pixelwise.large_photo` and this module.

    Args:
        picture: whose strips they are; one of 32-bit values has to be loaded, as all of them say what is white.

    Attributes:
        transparent: whether a strip so far was transparent somewhere.
    """

    def __init__(self, picture: Decoded) -> None:
        self.transparent = False
        self._tones = _tones(picture)
        self._key = _transparent_value(picture)

    def __call__(self, strip: Image.Image) -> NDArray[np.uint8]:
        """A strip in the picture's mode -> uint8 (h, w, 3), or (h, w, 1) for grey."""
        colour, alpha = _colour_and_alpha(strip, self._tones, self._key)
        if alpha is None or alpha.min() == 255:
            return colour
        self.transparent = True
        return _on_white(colour, alpha)


def _tones(picture: Decoded) -> tuple[float, float]:
    """The values of `picture.image` that stand for black and for white; says so when the file has more than 8 bits."""
    mode, raw_mode, white = picture.image.mode, picture.raw_mode, 255.0
    if mode == "I" and picture.image.format == "PPM":  # Pillow stretches what has more than 8 bits to 16
        white = 65535.0
        picture.notes.append("16-bit scaled to 8-bit")
    elif mode in ("I", "F"):
        pieces = (np.asarray(strip) for _, strip in strips(picture.image))
        highest = max(float(np.max(values, where=np.isfinite(values), initial=0)) for values in pieces)
        whites = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
        white = next((level for level in whites if highest <= level), highest)
        picture.notes.append(f"32-bit values from 0 to {white:g} scaled to 8-bit")
    elif mode.startswith("I;16"):
        bits = 12 if raw_mode == "I;12" else 16
        white = 2.0**bits - 1
        picture.notes.append(f"{bits}-bit scaled to 8-bit")
    elif ";16" in raw_mode and not raw_mode.startswith("BGR"):  # BGR;16 is BMP's 5 + 6 + 5 bits
        picture.notes.append("16-bit scaled to 8-bit")
    # A TIFF may have 0 for white (PhotometricInterpretation 0); Pillow inverts it in 8 bits, but not in more.
    negative = mode.startswith(("I;16", "F")) and getattr(picture.image, "tag_v2", {}).get(262) == 0
    return (white, 0.0) if negative else (0.0, white)


def _transparent_value(picture: Decoded) -> NDArray[np.int64] | None:
    """The grey value or the colour that a PNG or a grey GIF declares transparent, as it stands in `picture.image`."""
    value = picture.image.info.get("transparency")
    if value is None or picture.image.mode not in ("1", "L", "RGB", "I;16"):
        return None
    key = np.atleast_1d(np.asarray(value, dtype=np.int64))
    if picture.raw_mode == "RGB;16B":  # Pillow keeps the high byte of the pixels, but the whole of the key
        return key >> 8
    return key * {"L;2": 85, "L;4": 17}.get(picture.raw_mode, 1)  # likewise stretched to 0 to 255, but not the key


def _colour_and_alpha(
    strip: Image.Image, tones: tuple[float, float], key: NDArray[np.int64] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """uint8 (h, w, 1) grey or (h, w, 3) RGB, and uint8 (h, w) alpha where the file has one."""
    if strip.mode in ("P", "PA"):
        strip = strip.convert("RGBA" if strip.has_transparency_data else "RGB")
    elif strip.mode in ("1", "La"):
        strip = strip.convert("L" if strip.mode == "1" else "LA")
    elif strip.mode not in ("L", "LA", "RGB", "RGBA", "I", "F") and not strip.mode.startswith("I;16"):
        strip = strip.convert("RGB")  # CMYK, YCbCr, LAB
    values = np.asarray(strip)
    values = values.reshape(strip.height, strip.width, -1)
    if strip.mode in ("LA", "RGBA"):
        return values[:, :, :-1], values[:, :, -1]
    alpha = None if key is None else np.where((values == key).all(axis=2), 0, 255).astype(np.uint8)
    if values.dtype != np.uint8:
        black, white = tones
        values = np.nan_to_num(values.astype(np.float64), nan=black, posinf=max(tones), neginf=0.0)
        values = np.clip((values - black) * (255 / (white - black)) + 0.5, 0, 255).astype(np.uint8)
    return values, alpha


def _on_white(colour: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`colour` (h, w, C) over white, rounded to the nearest; alpha (h, w) from 0 to 255 is its opacity."""
    opacity = alpha[:, :, None].astype(np.uint16)
    blend = colour * opacity + 255 * (255 - opacity)  # at most 255 × 255, which uint16 holds with the rounding term
    return cast("NDArray[np.uint8]", ((blend + 127) // 255).astype(np.uint8))
