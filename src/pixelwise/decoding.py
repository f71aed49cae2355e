"""From an untrusted file to a decoded picture, whatever its bytes are; for `pixelwise.images` and `pixelwise.masks`.

Two things are done by hand that `PIL.Image.open` would do otherwise, each for a reason:

- The format is told from the first bytes and its driver called by name. `Image.open` imports forty drivers to open a
  TIFF, and checks a limit that the whole process shares; ours is an argument, checked before a pixel is decoded.
- Pixels are copied strip by strip into one array, turned upright on the way. Pillow keeps RGB in four bytes a pixel, so
  a photo costs 4 + 3 bytes a pixel while it is read. (More inside Pillow: WebP, progressive JPEG, a turned TIFF.)
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
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
}

_FORMAT_OF_SUFFIX = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".webp": "WebP",
    ".bmp": "BMP",
    ".gif": "GIF",
    **dict.fromkeys((".ppm", ".pgm"), "PPM"),
}

Source = str | Path | bytes | BinaryIO
"""A path, the bytes of a file, or a file open in binary mode, read from where it stands."""

FORMATS = tuple(_DRIVERS)
"""The formats that are read; every other is refused, whatever Pillow could do with it."""

SUPPORTED_SUFFIXES = frozenset(_FORMAT_OF_SUFFIX)
"""Lower-case file name endings, with the dot, of the formats that are read."""

EXIF_DAMAGED = "its EXIF data are damaged, so it is shown as stored"
"""The note on such a photo."""

STRIP_PIXELS = 1 << 20
"""About how many pixels are converted at a time."""
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


@contextmanager
def decoded(
    source: Source, *, limits: Limits, name: str | None, formats: tuple[str, ...] = FORMATS, pixels: bool = True
) -> Iterator[Decoded]:
    """Open and decode a file; for `pixelwise.masks` and this module.

    Args:
        source: see `Source`.
        limits: the largest picture accepted.
        name: what to call it in messages; by default the path, or the name of the open file.
        formats: those accepted.
        pixels: False to read the header only.

    Raises:
        ImageError: as for `read_image`, also in place of anything but our own errors that is raised inside the `with`.
    """
    name = name or _name_of(source)
    try:
        with _opened(source, limits, name) as stream:
            kind = _format_of(stream, name, formats)
            picture = _decode(stream, kind, limits, name, pixels)
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
            f"{name} cannot be decoded ({reason(error)}): it is damaged, cut short or of a rare kind; export it again."
        ) from error


def header_size(source: Source, *, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int]:
    """Height and width of a picture as a viewer shows it, by its header alone.

    A hint: whether the pixels are there is not asked, and a PNG may state its orientation behind them.

    Raises:
        ImageError: it is not there, not a picture, its header is damaged, or it is above the limits.
    """
    with decoded(source, limits=limits, name=None, pixels=False) as picture:
        width, height = picture.image.size
        turned = picture.orientation >= 5 and picture.image.format != "TIFF"  # whose size Pillow has turned already
        return (width, height) if turned else (height, width)


def turn_upright(stored: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A mask (H, W) turned as EXIF's `orientation`, 1 to 8, asks for; a copy."""
    upright = np.empty(stored.shape[::-1] if orientation >= 5 else stored.shape, dtype=np.uint8)
    _stored_view(upright, orientation)[...] = stored
    return upright


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
    for top, strip in strips(picture.image):
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


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Full-width pieces of about a million pixels, each with the row where it begins."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


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
        raise ImageError(f"{name} cannot be opened ({reason(error)}).") from error


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


def check_pixels(width: int, height: int, limits: Limits, name: str) -> None:
    """Raise ImageError where a picture has more pixels than the limits allow."""
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
        "PPM": tuple(kind + space for kind in (b"P5", b"P6") for space in (b"\n", b"\r", b"\t", b" ")),
    }
    kind = next((kind for kind, magic in starts.items() if head.startswith(magic)), None)
    if kind in formats:
        return kind
    if kind is None and head[4:8] == b"ftyp":
        kind = "HEIC or AVIF file, or a video"
    found = f"a {kind}" if kind else "not a picture that can be read"
    raise ImageError(f"{name} is {found}; expected {', '.join(formats)}.")


def _decode(stream: BinaryIO, kind: str, limits: Limits, name: str, pixels: bool) -> Decoded:
    width, height = _early_size(stream, kind)
    check_pixels(width, height, limits, name)
    module, driver = _DRIVERS[kind]
    stream.seek(0)
    with _pillow_limit.at_least(width * height):
        image: ImageFile = getattr(importlib.import_module(module), driver)(stream)
    check_pixels(*image.size, limits, name)
    args = image.tile[0].args if image.tile else None
    picture = Decoded(name, image, str(args[0] if isinstance(args, tuple) else args))
    if frames := _frames_note(image, kind, stream):
        picture.notes.append(frames)
    if pixels:
        with _pillow_limit.at_least(image.width * image.height):
            image.load()
    # Asked after loading: a PNG may state it behind the pixels, and Pillow has turned a TIFF upright by now.
    if pixels or kind != "PNG" or "exif" in image.info:  # Pillow would decode a PNG to look behind its pixels
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
        picture.notes.append(EXIF_DAMAGED)
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def reason(error: BaseException) -> str:
    """What an exception says, on one line of bounded length."""
    text = str(error.strerror if isinstance(error, OSError) and error.strerror else error)
    return " ".join(text.split())[:120] or type(error).__name__
