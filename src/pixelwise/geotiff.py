"""Tiled TIFFs written from strips, which lie where a photo lies; through rasterio.

GDAL says nothing where the last of a file cannot be written, as the disk is full, so all of it is read again.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.decoding import reason
from pixelwise.errors import OutputError
from pixelwise.labels import ClassTable
from pixelwise.large_photo import LargePhoto, environment, open_dataset

TILE = 512
"""Side of a tile, and the height of the strips."""

_JPEG_QUALITY = 90
_JPEG_SHIFT = 16  # of a tile's mean: more than JPEG does to it; a tile that is missing is black

_Window = tuple[tuple[int, int], tuple[int, int]]  # rows and columns, each from and to
_Mark = Callable[[NDArray[np.uint8]], float]  # what a tile is known by


def write_geotiff(
    path: Path, photo: LargePhoto, strips: Iterable[NDArray[np.uint8]], *, classes: ClassTable | None = None
) -> None:
    """Write a tiled TIFF of a photo's size, with the georeference of its file, where that has one.

    Args:
        path: the file.
        photo: gives height, width and georeference.
        strips: uint8 (TILE, W, 3) RGB, written in JPEG; or with `classes` class ids (TILE, W), deflated, exact. The
            last may have fewer rows.
        classes: whose colours are the palette.

    Raises:
        OutputError: it cannot be written, or cannot be read again as it was written.
    """
    kind: dict[str, Any] = {"count": 3, "compress": "jpeg", "photometric": "ycbcr", "jpeg_quality": _JPEG_QUALITY}
    if classes is not None:
        kind = {"count": 1, "compress": "deflate", "photometric": "palette"}
    mark, shift = (_mean, _JPEG_SHIFT) if classes is None else (_checksum, 0)
    marks: list[float] = []
    with _written(path, photo, kind | _georeference(photo)) as target:
        if classes is not None:
            target.write_colormap(1, dict(enumerate(map(tuple, classes.palette().tolist()))))
        for row, strip in zip(_windows(photo), strips, strict=True):
            for window in row:  # more at once than the cache holds would be encoded many times
                tile = np.atleast_3d(strip[:, slice(*window[1])]).transpose(2, 0, 1)
                with environment():
                    target.write(tile, window=window)
                marks.append(mark(tile))
    found = _marks_in_file(path, photo, mark)
    if found is None or any(abs(now - then) > shift for now, then in zip(found, marks, strict=True)):
        raise OutputError(f"{path} cannot be written: it cannot be read again as it was; is the disk full?")


def _windows(photo: LargePhoto) -> Iterator[list[_Window]]:
    """The tiles of a photo, row by row."""
    for top in range(0, photo.height, TILE):
        rows = (top, min(top + TILE, photo.height))
        yield [(rows, (left, min(left + TILE, photo.width))) for left in range(0, photo.width, TILE)]


def _checksum(tile: NDArray[np.uint8]) -> float:
    return zlib.crc32(tile.tobytes())


def _mean(tile: NDArray[np.uint8]) -> float:
    return float(tile.mean())


def _marks_in_file(path: Path, photo: LargePhoto, mark: _Mark) -> list[float] | None:
    """What the tiles of a file are known by; None where one of them cannot be read."""
    from rasterio.errors import RasterioError

    try:
        with environment(), open_dataset(path, "TIFF") as dataset:
            return [mark(dataset.read(window=window)) for row in _windows(photo) for window in row]
    except RasterioError:
        return None


@contextmanager
def _written(path: Path, photo: LargePhoto, options: dict[str, Any]) -> Iterator[Any]:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with environment(), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            target = rasterio.open(
                path,
                "w",
                driver="GTiff",
                dtype="uint8",
                height=photo.height,
                width=photo.width,
                tiled=True,
                blockxsize=TILE,
                blockysize=TILE,
                bigtiff="if_safer",
                **options,
            )
        with target:
            yield target
    except (RasterioError, UnicodeEncodeError) as error:  # GDAL takes names in UTF-8 only
        why = reason(error.__cause__ or error).rstrip(".")
        raise OutputError(f"{path} cannot be written: {why}.") from error


def _georeference(photo: LargePhoto) -> dict[str, Any]:
    """What `rasterio.open` takes to lay a new file where a photo's lies."""
    if not photo.is_tiff:
        return {}
    from rasterio.crs import CRS

    with environment(), open_dataset(photo.path, "TIFF") as dataset:
        points, of_points = dataset.gcps
        # Points may lie in no named system, which rasterio writes only where it is given an empty one.
        reference: dict[str, Any] = {"gcps": points, "crs": of_points or CRS()} if points else {"crs": dataset.crs}
        if not points and not dataset.transform.is_identity:
            reference["transform"] = dataset.transform
        return reference | {"rpcs": dataset.rpcs}
