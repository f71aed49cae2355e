"""Large photos in files, read by rows; through rasterio, where it is installed.

Pillow, which reads the header, decodes a picture whole. GDAL, which rasterio brings, decodes TIFF, PNG and JPEG row by
row. It is held to those three drivers, to the file itself (no sidecar, nothing that points elsewhere) and to a small
cache. What is done to the samples then is `pixelwise.images`' own, so that a photo looks the same to both.
"""

from __future__ import annotations

import importlib.util
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.decoding import DEFAULT_LIMITS, Decoded, Limits, decoded, reason
from pixelwise.errors import ImageError
from pixelwise.images import RgbConverter
from pixelwise.rows import SequentialRows

LARGE = 50_000_000
"""From so many pixels on a photo is read by rows."""

LIMITS = Limits(max_bytes=1 << 40, max_pixels=1 << 30)
"""The largest photo that is read by rows: 32,768 by 32,768 pixels."""

_DRIVERS = {"JPEG": "JPEG", "PNG": "PNG", "TIFF": "GTiff"}
_BANDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "P": 1, "I;16": 1}  # by Pillow's mode
_RAW_MODES = {  # of the samples in the file: as they are, or of 16 bits; "R" is the first plane of three
    "L": {"L"},
    "LA": {"LA", "LA;16B"},
    "RGB": {"RGB", "RGBX", "R", "RGB;16B", "RGB;16L", "RGB;16N"},
    "RGBA": {"RGBA", "RGBA;16B", "RGBA;16L", "RGBA;16N"},
    "P": {"P"},
    "I;16": {"I;16", "I;16B", "I;16L", "I;16N"},
}
_GEO_TAGS = {33550, 33922, 34264, 34735}  # pixel scale, tie points, transformation, and the directory of GeoKeys
_CACHE_BYTES = 32 << 20
_STRIP_PIXELS = 1 << 20
_LARGEST_BLOCK = 1 << 26  # bytes: what has to be decoded at once
_TEXT_CHUNKS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True, slots=True, eq=False)
class LargePhoto:
    """A photo in a file that can be read by rows.

    Attributes:
        path: the file.
        name: how messages call it.
        height: in pixels.
        width: likewise.
        notes: what the user should know about how it is read, as in `pixelwise.images.Photo`.
        is_tiff: whether it is one.
        picture: its header.
    """

    path: Path
    name: str
    height: int
    width: int
    notes: tuple[str, ...]
    is_tiff: bool
    picture: Decoded

    def open(self, advance: Callable[[float], None] = lambda share: None) -> PhotoRows:
        """Begin to read, anew; `advance` is called with shares of the photo, which add up to one."""
        return PhotoRows(self, advance)


class PhotoRows(SequentialRows):
    """The rows of a large photo: uint8 (H, W, 3) RGB; asking for them raises ImageError where the file is damaged."""

    def __init__(self, photo: LargePhoto, advance: Callable[[float], None]) -> None:
        self._convert = RgbConverter(Decoded(photo.name, photo.picture.image, photo.picture.raw_mode))
        strips = _counted(_strips(photo, self._convert), photo.height, advance)
        super().__init__((photo.height, photo.width, 3), strips)

    @property
    def transparent(self) -> bool:
        """Whether a row so far was transparent somewhere, and is shown on white."""
        return self._convert.transparent


def is_installed() -> bool:
    """Whether rasterio is there."""
    return importlib.util.find_spec("rasterio") is not None


def find_large(source: str, *, note: Callable[[str], None] = lambda text: None) -> LargePhoto | None:
    """The photo that a path stands for, where it is to be read by rows: a large one, or a TIFF with a georeference.

    Args:
        source: the path.
        note: told what is lost where such a TIFF cannot be read by rows.

    Returns:
        None where it is better read whole, or where that has to complain about it.

    Raises:
        ImageError: it is too large to be read whole, and cannot be read by rows; the message says why.
    """
    path = Path(source)
    try:
        if not path.is_file():  # a pipe can be read only once
            return None
        with decoded(path, limits=LIMITS, name=source, pixels=False) as picture:
            width, height = picture.image.size
            georeferenced = _is_georeferenced(picture)
            if width * height < LARGE and not georeferenced:
                return None
            obstacle = _obstacle(picture, path)
    except (ImageError, OSError):
        return None
    if obstacle is None:
        kind = str(picture.image.format)
        notes = tuple(note for note in (*picture.notes, _depth_note(picture)) if note)
        return LargePhoto(path, source, height, width, notes, kind == "TIFF", picture)
    if width * height > DEFAULT_LIMITS.max_pixels or path.stat().st_size > DEFAULT_LIMITS.max_bytes:
        raise ImageError(f"{source} has {width:,} × {height:,} pixels, too many to be read whole, and {obstacle}.")
    if georeferenced:
        note(f"no georeference is kept, as {obstacle}")
    return None


def _obstacle(picture: Decoded, path: Path) -> str | None:
    """Why a photo cannot be read by rows, as the end of a sentence."""
    image, save = picture.image, "save it as an ordinary TIFF, JPEG or PNG"
    mode = _mode(picture)
    if image.format not in _DRIVERS:
        return f"a {image.format} cannot be read by rows; {save}"
    if not is_installed():
        return "reading it by rows needs rasterio, which is not installed; `pip install 'pixelwise[large]'` brings it"
    if picture.raw_mode not in _RAW_MODES.get(mode, ()) and not (image.format == "TIFF" and _is_jpeg_tiff(picture)):
        return f"one of the kind {picture.raw_mode or image.mode} cannot be read by rows; {save}"
    if picture.orientation != 1 or (image.format == "PNG" and _png_orientation(picture, path) != 1):
        return "one that EXIF turns cannot be read by rows; turn it first"
    if image.info.get("progressive") or image.info.get("interlace"):
        return "a progressive one cannot be read by rows; save it as one that is not"
    return _layout_obstacle(picture, path, _BANDS[mode])


def _mode(picture: Decoded) -> str:
    """Pillow's mode, whatever the order of 16-bit bytes."""
    mode = picture.image.mode
    return "I;16" if mode.startswith("I;16") else mode


def _layout_obstacle(picture: Decoded, path: Path, bands: int) -> str | None:
    """What GDAL has to say: whether it agrees with the header as Pillow reads it, and finds blocks of a fair size."""
    image, save = picture.image, "save it as a tiled TIFF"
    try:
        with environment(), open_dataset(path, str(image.format)) as dataset:
            kinds = set(dataset.dtypes[:bands])
            agrees = (dataset.width, dataset.height) == image.size and dataset.count >= bands
            rows, columns = dataset.block_shapes[0]
    except Exception as error:  # of GDAL's many kinds
        return f"GDAL cannot read it ({reason(error)}); {save}"
    wide = ";16" in picture.raw_mode
    if not agrees or kinds != {"uint16" if wide else "uint8"}:
        return f"GDAL takes it for another kind of picture; {save}"
    if rows * columns * bands * (1 + wide) > _LARGEST_BLOCK:
        return f"its blocks of {columns:,} × {rows:,} pixels are too large to be read one by one; {save}"
    return None


def _counted(
    strips: Iterator[NDArray[np.uint8]], height: int, advance: Callable[[float], None]
) -> Iterator[NDArray[np.uint8]]:
    for strip in strips:
        advance(len(strip) / height)
        yield strip


def _strips(photo: LargePhoto, convert: Callable[[Image.Image], NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """A photo's rows from the top down: uint8 (h, W, 3), each block of the file decoded once."""
    bands = list(range(1, _BANDS[_mode(photo.picture)] + 1))
    try:
        with environment():
            dataset = open_dataset(photo.path, str(photo.picture.image.format))
        # Its own `with` would hold GDAL's settings until this generator is closed, which may be at any time.
        with closing(dataset):
            block_rows, block_columns = dataset.block_shapes[0]
            rows = block_rows * max(1, _STRIP_PIXELS // (photo.width * block_rows))
            columns = block_columns * max(1, _STRIP_PIXELS // (rows * block_columns))
            for top in range(0, photo.height, rows):
                bottom = min(top + rows, photo.height)
                strip = np.empty((bottom - top, photo.width, 3), np.uint8)
                for left in range(0, photo.width, columns):
                    right = min(left + columns, photo.width)
                    with environment():  # for each read: nested generators would leave environments out of turn
                        samples = dataset.read(bands, window=((top, bottom), (left, right)))
                    strip[:, left:right] = convert(_as_image(samples, photo.picture))
                yield strip
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # GDAL's classes are many
        cause = error.__cause__ or error
        raise ImageError(
            f"{photo.name} cannot be decoded ({reason(cause)}): it is damaged or cut short; export it again."
        ) from error


def _as_image(samples: NDArray[Any], picture: Decoded) -> Image.Image:
    """A strip as Pillow would have decoded it: (bands, h, w) -> its image of the picture's mode."""
    mode = picture.image.mode
    if samples.dtype == np.uint16 and not mode.startswith("I;16"):
        samples = (samples >> 8).astype(np.uint8)  # of 16-bit colour Pillow keeps the high byte
    if len(samples) > 1:
        return Image.fromarray(np.ascontiguousarray(samples.transpose(1, 2, 0)))
    strip = Image.fromarray(samples[0])
    if mode == "P":
        palette = picture.image.palette
        if palette is not None:
            raw_mode, colours = palette.getdata()
            strip.putpalette(colours, raw_mode)
        strip.info = dict(picture.image.info)
    return strip


def environment() -> Any:
    """GDAL's settings, for the `with` statement around each of its calls."""
    import rasterio

    return rasterio.Env(
        GDAL_CACHEMAX=_CACHE_BYTES,
        GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
        GDAL_PAM_ENABLED="NO",
        GDAL_GEOREF_SOURCES="INTERNAL",
        GDAL_NUM_THREADS="1",
        GDAL_PNG_WHOLE_IMAGE_OPTIM="NO",  # it would read a PNG whole, and say nothing where that is cut short
    )


def open_dataset(path: Path, kind: str) -> Any:
    """A file as rasterio's dataset, whose `kind` Pillow has told."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path.resolve(), driver=_DRIVERS[kind])


def _is_georeferenced(picture: Decoded) -> bool:
    return bool(_GEO_TAGS & set(getattr(picture.image, "tag_v2", ())))


def _is_jpeg_tiff(picture: Decoded) -> bool:
    """Whether it is a TIFF of JPEG, whose samples both libraries turn to RGB, whatever they are in the file."""
    return picture.image.info.get("compression") == "jpeg" and picture.image.mode in ("L", "RGB")


def _depth_note(picture: Decoded) -> str | None:
    """As `pixelwise.images` has it, which says so by itself only where it converts."""
    counted = Decoded(picture.name, picture.image, picture.raw_mode)
    RgbConverter(counted)
    return counted.notes[0] if counted.notes else None


def _png_orientation(picture: Decoded, path: Path) -> int:
    """What EXIF says, 1 to 8; 0 where a chunk behind the pixels may say it, which nobody knows before they are read."""
    with path.open("rb") as file:
        file.seek(8)
        seen_pixels = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if seen_pixels and kind in _TEXT_CHUNKS:
                return 0
            seen_pixels = seen_pixels or kind == b"IDAT"
            file.seek(length + 4, 1)
    # The method of all images: that of a PNG would decode it.
    return int(Image.Image.getexif(picture.image).get(0x0112, 1))
