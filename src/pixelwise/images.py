"""Photos from untrusted files: any of six formats to upright RGB uint8 (H, W, 3).

Three things are done by hand that `PIL.Image.open` would do otherwise, each for a reason:

- The format is told from the first bytes and its driver called by name. `Image.open` imports forty drivers to open a
  TIFF, and checks a limit that the whole process shares; ours is an argument, checked before a pixel is decoded.
- Pixels are copied strip by strip into one array, turned upright on the way. Pillow keeps RGB in four bytes a pixel, so
  a photo costs 4 + 3 bytes a pixel while it is read. (More inside Pillow: WebP, progressive JPEG, a turned TIFF.)
- Alpha is composited on white and 16-bit values are scaled; Pillow's `convert("RGB")` drops the one, clips the other.
"""

from __future__ import annotations

import importlib
import io
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.errors import ImageError, PixelwiseError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_DRIVERS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),  # reads the main picture of a phone's MPO, too
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
}

_FORMAT_OF_SUFFIX = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".webp": "WebP",
    ".bmp": "BMP",
    ".gif": "GIF",
}

Source = str | Path | bytes | BinaryIO
"""A path, the bytes of a file, or a file open in binary mode, read from where it stands."""

FORMATS = tuple(_DRIVERS)
"""The formats that are read; every other is refused, whatever Pillow could do with it."""

SUPPORTED_SUFFIXES = frozenset(_FORMAT_OF_SUFFIX)
"""Lower-case file name endings, with the dot, of the formats that are read."""

_STRIP_PIXELS = 1 << 20
_COUNTED_GIF_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest picture that is accepted; both are checked before a pixel is decoded.

    Attributes:
        max_bytes: size of the file, in bytes.
        max_pixels: width times height, as the header states them.
    """

    max_bytes: int = 512 << 20
    max_pixels: int = 400_000_000


DEFAULT_LIMITS = Limits()
"""512 MiB and 400 million pixels: a 20,000 by 20,000 photo."""


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photo as a viewer shows it.

    Attributes:
        pixels: uint8 (H, W, 3) RGB, 0 to 255, upright, C-contiguous.
        notes: what the user should know about how it was read, such as "first of 12 frames"; mostly empty.
        name: how messages call it: the path as it was given, unless another name was.
    """

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...]
    name: str


@dataclass(slots=True)
class Decoded:
    """A decoded file, before its pixels are interpreted; for `pixelwise.masks` and this module.

    Attributes:
        name: how messages call it.
        image: Pillow's image, loaded, in the mode and the orientation of the file.
        raw_mode: Pillow's name for the samples in the file, such as "L;4" for 4-bit grey.
        orientation: what EXIF says about `image`, 1 to 8.
        notes: as in `Photo`, still growing.
    """

    name: str
    image: ImageFile
    raw_mode: str
    orientation: int = 1
    notes: list[str] = field(default_factory=list)


def read_image(
    source: Source | NDArray[np.uint8], *, limits: Limits = DEFAULT_LIMITS, name: str | None = None
) -> Photo:
    """Read a photo, whoever made it.

    JPEG, PNG, WebP, TIFF, BMP and GIF are told by their content, not by their name. Of an animation or a document the
    first frame or page is read. White is 65535 in 16-bit files; in 32-bit ones the first of 1 (floats only), 255 and
    65535 that no value exceeds, or else the largest value. Colour profiles are ignored.

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
    return Photo(pixels, tuple(picture.notes), picture.name)


def find_images(folder: str | Path, *, recursive: bool = False) -> list[Path]:
    """The files of a folder that have a supported suffix, in the order of their paths; hidden ones are left out.

    Raises:
        ImageError: the folder is missing or may not be listed.
    """
    root = Path(folder)
    try:
        next(root.iterdir(), None)  # glob would answer a missing folder with an empty list
        found = root.rglob("*") if recursive else root.glob("*")
        return sorted(
            path
            for path in found
            if path.suffix.lower() in SUPPORTED_SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(root).parts)
            and path.is_file()
        )
    except OSError as error:
        raise ImageError(f"The folder {folder} cannot be listed ({_reason(error)}).") from error


@contextmanager
def decoded(
    source: Source, *, limits: Limits, name: str | None, formats: tuple[str, ...] = FORMATS
) -> Iterator[Decoded]:
    """Open and decode a file; for `pixelwise.masks` and this module.

    Raises:
        ImageError: as for `read_image`, also in place of anything but our own errors that is raised inside the `with`.
    """
    name = name or _name_of(source)
    try:
        with _opened(source, limits, name) as stream:
            kind = _format_of(stream, name, formats)
            picture = _decode(stream, kind, limits, name)
            claimed = _FORMAT_OF_SUFFIX.get(Path(name).suffix.lower(), kind)
            if claimed != kind:
                picture.notes.insert(0, f"named {Path(name).suffix} but is a {kind}")
            yield picture
    except PixelwiseError:
        raise
    except MemoryError as error:
        raise ImageError(f"{name} needs more memory than there is; scale it down first.") from error
    except Exception as error:  # hostile bytes make Pillow raise nearly anything: struct.error, KeyError, TypeError...
        raise ImageError(
            f"{name} cannot be decoded ({_reason(error)}): it is damaged, cut short or of a rare kind; export it again."
        ) from error


def copy_upright(
    picture: Decoded, convert: Callable[[Image.Image], NDArray[np.uint8]], *, channels: int
) -> NDArray[np.uint8]:
    """Convert a picture strip by strip into one upright array; for `pixelwise.masks` and this module.

    Args:
        picture: what to copy.
        convert: a strip of the image to uint8 (h, w, channels), or (h, w, 1) for the same value in each channel.
        channels: the last axis of the result.

    Returns:
        uint8 (H, W, channels), C-contiguous, H and W as a viewer shows them.
    """
    width, height = picture.image.size
    shape = (width, height) if picture.orientation >= 5 else (height, width)
    upright = np.empty((*shape, channels), dtype=np.uint8)
    as_stored = _stored_view(upright, picture.orientation)
    for top, strip in _strips(picture.image):
        as_stored[top : top + strip.height] = convert(strip)
    return upright


def _stored_view(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The upright array seen as the file stores it: the inverse of what EXIF 2.32, table 6, asks of a viewer."""
    views: dict[int, Callable[[], NDArray[np.uint8]]] = {
        2: lambda: upright[:, ::-1],
        3: lambda: upright[::-1, ::-1],
        4: lambda: upright[::-1],
        5: lambda: upright.swapaxes(0, 1),
        6: lambda: np.rot90(upright),
        7: lambda: upright.swapaxes(0, 1)[::-1, ::-1],
        8: lambda: np.rot90(upright, -1),
    }
    return views.get(orientation, lambda: upright)()


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Full-width pieces of about a million pixels, each with the row where it begins."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


# From a source to a decoded image.


def _name_of(source: object) -> str:
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else "The picture"


@contextmanager
def _opened(source: object, limits: Limits, name: str) -> Iterator[BinaryIO]:
    """A seekable stream that holds at most `limits.max_bytes`."""
    if isinstance(source, str | Path):
        with _open_file(Path(source), name) as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode):
                _check_bytes(status.st_size, limits, name)
                yield file
            else:  # a pipe or a device has no size, and may have no end
                yield _bounded_copy(file, limits, name)
    elif isinstance(source, bytes | bytearray | memoryview):
        stream = io.BytesIO(source)
        _check_bytes(stream.getbuffer().nbytes, limits, name)
        yield stream
    elif hasattr(source, "read"):
        yield _bounded_copy(cast(BinaryIO, source), limits, name)
    else:
        kind = type(source).__name__
        raise ImageError(
            f"{name} was given as {kind}; expected a path, bytes, a file open in binary mode, or an array."
        )


def _open_file(path: Path, name: str) -> BinaryIO:
    try:
        if path.is_dir():  # asked first: Windows answers the opening of a folder with "permission denied"
            raise ImageError(f"{name} is a folder; expected a picture file.")
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist; check the path.") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read: permission denied.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError(f"{name} cannot be opened ({_reason(error)}).") from error


def _bounded_copy(stream: BinaryIO, limits: Limits, name: str) -> io.BytesIO:
    copy = io.BytesIO()
    while (size := copy.tell()) <= limits.max_bytes:
        piece = stream.read(min(1 << 20, limits.max_bytes + 1 - size))
        if not isinstance(piece, bytes):
            raise ImageError(f"{name} gives no bytes; open it in binary, blocking mode.")
        if not piece:
            break
        copy.write(piece)
    _check_bytes(size, limits, name)
    copy.seek(0)
    return copy


def _check_bytes(size: int, limits: Limits, name: str) -> None:
    if size == 0:
        raise ImageError(f"{name} is empty (0 bytes).")
    if size > limits.max_bytes:
        raise ImageError(f"{name} is larger than the limit of {limits.max_bytes / 2**20:.4g} MiB.")


def _check_pixels(width: int, height: int, limits: Limits, name: str) -> None:
    if width * height > limits.max_pixels:
        raise ImageError(
            f"{name} has {width:,} × {height:,} pixels, which is above the limit of {limits.max_pixels:,}; "
            "scale it down, or raise the limit if you trust it."
        )


def _format_of(stream: BinaryIO, name: str, formats: tuple[str, ...]) -> str:
    head = stream.read(16)
    starts = {
        "JPEG": (b"\xff\xd8\xff",),
        "PNG": (b"\x89PNG\r\n\x1a\n",),
        "WebP": (b"RIFF",) if head[8:12] == b"WEBP" else (),
        "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        "BMP": (b"BM",),
        "GIF": (b"GIF87a", b"GIF89a"),
    }
    kind = next((kind for kind, magic in starts.items() if head.startswith(magic)), None)
    if kind in formats:
        return kind
    if kind is None and head[4:8] == b"ftyp":
        kind = "HEIC or AVIF file, or a video"
    found = f"a {kind}" if kind else "not a picture that can be read"
    raise ImageError(f"{name} is {found}; expected {', '.join(formats)}.")


def _decode(stream: BinaryIO, kind: str, limits: Limits, name: str) -> Decoded:
    width, height = _early_size(stream, kind)
    _check_pixels(width, height, limits, name)
    module, driver = _DRIVERS[kind]
    stream.seek(0)
    with _pillow_limit.at_least(width * height):
        image: ImageFile = getattr(importlib.import_module(module), driver)(stream)
    _check_pixels(*image.size, limits, name)
    args = image.tile[0].args if image.tile else None
    picture = Decoded(name, image, str(args[0] if isinstance(args, tuple) else args))
    if frames := _frames_note(image, kind, stream):
        picture.notes.append(frames)
    with _pillow_limit.at_least(image.width * image.height):
        image.load()
    # Asked after loading: a PNG may state it behind the pixels, and Pillow has turned a TIFF upright by now.
    picture.orientation = _orientation(picture)
    return picture


def _early_size(stream: BinaryIO, kind: str) -> tuple[int, int]:
    """Width and height for the two formats whose drivers allocate memory when they are opened, else 0, 0.

    Source: the GIF89a specification, section 18; RFC 9649 (WebP), sections 2.5 to 2.7 and 3.4; RFC 6386, section 9.1.
    """
    stream.seek(0)
    head = stream.read(30)
    if kind == "GIF" and len(head) >= 10:
        return cast("tuple[int, int]", struct.unpack_from("<HH", head, 6))
    if kind == "WebP" and len(head) == 30:
        bits = int.from_bytes(head[20:30], "little")
        if head[12:16] == b"VP8X":
            return (bits >> 32 & 0xFFFFFF) + 1, (bits >> 56) + 1
        if head[12:16] == b"VP8L":
            return (bits >> 8 & 0x3FFF) + 1, (bits >> 22 & 0x3FFF) + 1
        return bits >> 48 & 0x3FFF, bits >> 64 & 0x3FFF
    return 0, 0


class _PillowLimit:
    """Lets Pillow's drivers pass a picture that our own limit has already let pass.

    Those of WebP, GIF and TIFF check `Image.MAX_IMAGE_PIXELS` themselves, which belongs to the whole process. It is
    touched only for a picture above it, raised to that picture's size, never switched off, and put back by the last
    thread that needs it raised.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: int | None = None

    @contextmanager
    def at_least(self, pixels: int) -> Iterator[None]:
        with self._lock:
            before = self._before if self._users else Image.MAX_IMAGE_PIXELS
            raised = before is not None and pixels > before
            if raised:
                self._before = before
                self._users += 1
                Image.MAX_IMAGE_PIXELS = max(pixels, Image.MAX_IMAGE_PIXELS or 0)
        try:
            yield
        finally:
            if raised:
                with self._lock:
                    self._users -= 1
                    if not self._users:
                        Image.MAX_IMAGE_PIXELS = self._before


_pillow_limit = _PillowLimit()


def _frames_note(image: ImageFile, kind: str, stream: BinaryIO) -> str | None:
    if not getattr(image, "is_animated", False):
        return None
    if kind == "TIFF":  # counting walks all pages in quadratic time, which a hostile file can make very long
        return "first of several pages"
    if kind == "GIF" and stream.seek(0, io.SEEK_END) > _COUNTED_GIF_BYTES:
        return "first of several frames"
    return f"first of {cast(Any, image).n_frames} frames"


def _orientation(picture: Decoded) -> int:
    try:
        value = picture.image.getexif().get(0x0112, 1)
    except Exception:  # damaged metadata does not make the pixels worse
        picture.notes.append("its EXIF data are damaged, so it is shown as stored")
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _reason(error: BaseException) -> str:
    """What an exception says, on one line of bounded length."""
    text = str(error.strerror if isinstance(error, OSError) and error.strerror else error)
    return " ".join(text.split())[:120] or type(error).__name__


# From a decoded image, or an array, to RGB.


def _photo_of_array(array: NDArray[Any], limits: Limits, name: str) -> Photo:
    remedies = {"f": "(image * 255).round().astype(np.uint8)", "b": "image.astype(np.uint8) * 255"}
    if array.dtype != np.uint8:
        how = remedies.get(array.dtype.kind, "(image // 257).astype(np.uint8) if its values go up to 65535")
        raise ImageError(f"{name} is {array.dtype}; expected uint8 from 0 to 255: convert it by {how}.")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or array.size == 0:
        raise ImageError(f"{name} has the shape {array.shape}; expected (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.")
    _check_pixels(array.shape[1], array.shape[0], limits, name)
    if array.ndim == 2:
        return Photo(np.repeat(array[:, :, None], 3, axis=2), (), name)
    if array.shape[2] == 3:
        return Photo(np.ascontiguousarray(array), (), name)
    pixels = np.empty((*array.shape[:2], 3), dtype=np.uint8)
    rows = max(1, _STRIP_PIXELS // array.shape[1])
    transparent = False
    for top in range(0, array.shape[0], rows):
        part = array[top : top + rows]
        pixels[top : top + rows] = _on_white(part[:, :, :3], part[:, :, 3])
        transparent = transparent or bool(part[:, :, 3].min() < 255)
    return Photo(pixels, (_ON_WHITE,) if transparent else (), name)


_ON_WHITE = "transparent areas shown on white"


def _rgb_pixels(picture: Decoded) -> NDArray[np.uint8]:
    tones = _tones(picture)
    key = _transparent_value(picture)
    transparent = False

    def convert(strip: Image.Image) -> NDArray[np.uint8]:
        nonlocal transparent
        colour, alpha = _colour_and_alpha(strip, tones, key)
        if alpha is None or alpha.min() == 255:
            return colour
        transparent = True
        return _on_white(colour, alpha)

    pixels = copy_upright(picture, convert, channels=3)
    if transparent:
        picture.notes.append(_ON_WHITE)
    return pixels


def _tones(picture: Decoded) -> tuple[float, float]:
    """The values of `picture.image` that stand for black and for white; says so when the file has more than 8 bits."""
    mode, raw_mode, white = picture.image.mode, picture.raw_mode, 255.0
    if mode in ("I", "F"):
        pieces = (np.asarray(strip) for _, strip in _strips(picture.image))
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
