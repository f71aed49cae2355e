"""Outlines -> pixels. A pixel belongs to a shape where its centre lies inside.

Coordinates are (x, y) in pixels from the photo's upper left corner, so that the centre of the first pixel is at 0.5,
0.5. Pillow's `ImageDraw.polygon` would draw the pixels of the outline as well, half a pixel too much all around: on
random stars of 10 to 120 pixels it covered 4 % more than pycocotools.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fill_polygon(mask: NDArray[np.uint8], points: NDArray[np.float64], label: int) -> None:
    """Set the pixels inside a polygon, by the even-odd rule.

    Args:
        mask: uint8 (H, W), changed in place.
        points: (N, 2) x and y of the corners, at least three; those outside of the mask are cut off.
        label: what to set.
    """
    height, width = mask.shape
    top, bottom = (int(y) for y in np.clip(np.round([points[:, 1].min(), points[:, 1].max()]), 0, height))
    crossings = np.zeros((bottom - top, width + 1), dtype=np.int32)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        first, last = (int(y) for y in np.clip(np.ceil([min(y0, y1) - 0.5, max(y0, y1) - 0.5]), top, bottom))
        rows = np.arange(first, last)
        if rows.size:
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            crossings[rows - top, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)] += 1
    inside = np.cumsum(crossings, axis=1)[:, :width] % 2 == 1
    mask[top:bottom][inside] = label


def polygon_area(points: NDArray[np.float64]) -> float:
    """The area in square pixels, by the shoelace formula; of a polygon that crosses itself, what is left of it."""
    x, y = points.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def fill_circle(mask: NDArray[np.uint8], centre: tuple[float, float], radius: float, label: int) -> None:
    """Set the pixels of a mask uint8 (H, W) inside a circle around (x, y)."""
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    mask[(columns + 0.5 - centre[0]) ** 2 + (rows + 0.5 - centre[1]) ** 2 <= radius**2] = label
