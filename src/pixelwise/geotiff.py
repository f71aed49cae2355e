"""Tiled TIFFs written from strips, which lie where a photo lies; through rasterio."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
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
        OutputError: it cannot be written.
    """
    kind: dict[str, Any] = {"count": 3, "compress": "jpeg", "photometric": "ycbcr", "jpeg_quality": _JPEG_QUALITY}
    if classes is not None:
        kind = {"count": 1, "compress": "deflate", "photometric": "palette"}
    with _written(path, photo, kind | _georeference(photo)) as target:
        if classes is not None:
            target.write_colormap(1, dict(enumerate(map(tuple, classes.palette().tolist()))))
        for number, strip in enumerate(strips):
            for left in range(0, photo.width, TILE):  # more at once than the cache holds would be encoded many times
                tile = np.atleast_3d(strip[:, left : left + TILE]).transpose(2, 0, 1)
                top, right = number * TILE, left + tile.shape[2]
                with environment():
                    target.write(tile, window=((top, top + tile.shape[1]), (left, right)))


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
    except RasterioError as error:
        why = reason(error.__cause__ or error).rstrip(".")
        raise OutputError(f"{path.name} cannot be written: {why}.") from error


def _georeference(photo: LargePhoto) -> dict[str, Any]:
    """What `rasterio.open` takes to lay a new file where a photo's lies."""
    if not photo.is_tiff:
        return {}
    with environment(), open_dataset(photo.path, "TIFF") as dataset:
        points, of_points = dataset.gcps
        reference: dict[str, Any] = {"gcps": points, "crs": of_points} if points else {"crs": dataset.crs}
        if not points and not dataset.transform.is_identity:
            reference["transform"] = dataset.transform
        return reference | {"rpcs": dataset.rpcs}
