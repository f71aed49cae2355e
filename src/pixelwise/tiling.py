"""Tiles: a large array computed piece by piece, and put together without a seam, in memory that does not grow with it.

Tiles overlap, and where they do their probabilities are averaged with weights that fall linearly from one tile to the
next. The outer quarter of the overlap, where a tile sees least of its surroundings, has weight zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]
"""float32 (C, h, w)."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How large tiles are and how much they share, in pixels.

    Attributes:
        size: side of a tile; a multiple of the network's size multiple, so that tiles and the whole picture share one
            grid of feature cells.
        overlap: rows or columns that neighbouring tiles share; at most half of `size`, and likewise a multiple.
    """

    size: int = 1024
    overlap: int = 512

    def __post_init__(self) -> None:
        if not 0 < self.overlap <= self.size // 2:
            raise ValueError(f"overlap is {self.overlap}; expected 1 to half of the tile size, {self.size // 2}")

    def spans(self, length: int) -> list[tuple[int, int]]:
        """Where the tiles start and stop along an axis of `length` pixels; the last may be shorter."""
        stride = self.size - self.overlap
        count = max(1, -(-(length - self.overlap) // stride))
        return [(i * stride, min(i * stride + self.size, length)) for i in range(count)]

    def ramp(self) -> NDArray[np.float32]:
        """Weight of the later of two tiles over their overlap: float32 (overlap,), from 0 to 1."""
        quarter = self.overlap / 4
        position = np.arange(self.overlap) + 0.5 - quarter
        ramp: NDArray[np.float32] = np.clip(position / (self.overlap - 2 * quarter), 0, 1).astype(np.float32)
        return ramp


def blend_tiles(
    height: int, width: int, infer: Callable[[slice, slice], Probabilities], *, tiling: Tiling
) -> Iterator[tuple[slice, slice, Probabilities]]:
    """Run `infer` on every tile and give the finished blocks, which together cover each pixel exactly once.

    Args:
        height: of the picture, in pixels.
        width: likewise.
        infer: rows, columns -> float32 (C, h, w) of that part of the picture; what it returns is changed in place.
        tiling: sizes.

    Yields:
        rows, columns, and the blended float32 (C, h, w) there; valid until the next is asked for. Beside the tile
        itself, memory holds the overlap below the current row of tiles: C x overlap x width numbers.
    """
    rising = tiling.ramp()
    falling = 1 - rising
    below: Probabilities | None = None  # what the row of tiles above has to say about the rows it shares with this one
    row_spans, column_spans = tiling.spans(height), tiling.spans(width)
    for top, bottom in row_spans:
        beside: Probabilities | None = None  # likewise, the tile to the left
        for left, right in column_spans:
            tile = infer(slice(top, bottom), slice(left, right))
            if beside is not None:
                shared = tile[:, :, : tiling.overlap]
                shared *= rising
                shared += beside
            if right < width:
                beside = tile[:, :, -tiling.overlap :] * falling
                tile, right = tile[:, :, : -tiling.overlap], right - tiling.overlap
            columns = slice(left, right)
            if below is None:
                below = np.empty((tile.shape[0], tiling.overlap, width), np.float32) if bottom < height else None
            if top > 0 and below is not None:
                shared = tile[:, : tiling.overlap]
                shared *= rising[:, None]
                shared += below[:, :, columns]
            rows = slice(top, bottom)
            if bottom < height and below is not None:
                below[:, :, columns] = tile[:, -tiling.overlap :] * falling[:, None]
                tile, rows = tile[:, : -tiling.overlap], slice(top, bottom - tiling.overlap)
            yield rows, columns, tile
