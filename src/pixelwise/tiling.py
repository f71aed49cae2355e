"""Tiles: a large array computed piece by piece, and put together without a seam, in memory that does not grow with it.

Tiles overlap, and of the overlap each tile's outer part, where it sees least of its surroundings, is thrown away. Over
what both keep, a sixteenth in the middle, probabilities are averaged with weights that fall linearly from one tile to
the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]
"""float32 (C, h, w)."""

Block = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How large tiles are and how much they share, in pixels.

    Attributes:
        size: side of a tile; a multiple of the network's size multiple, so that tiles and the whole picture share one
            grid of feature cells.
        overlap: rows or columns that neighbouring tiles share; likewise a multiple.
    """

    size: int = 1248
    overlap: int = 672

    def __post_init__(self) -> None:
        if self.overlap < 1 or self.overlap + self.blend > self.size:  # nowhere may three tiles be blended
            raise ValueError(
                f"overlap is {self.overlap}; expected at least 1, and with the {self.blend} that are blended at most "
                f"the tile size, {self.size}"
            )

    def spans(self, length: int) -> list[tuple[int, int]]:
        """Where the tiles start and stop along an axis of `length` pixels; the last may be shorter."""
        stride = self.size - self.overlap
        count = max(1, -(-(length - self.overlap) // stride))
        return [(i * stride, min(i * stride + self.size, length)) for i in range(count)]

    @property
    def margin(self) -> int:
        """Rows or columns at its inner edges that a tile is computed for and not asked about."""
        return self.overlap * 15 // 32

    @property
    def blend(self) -> int:
        """Rows or columns over which one tile passes into the next."""
        return self.overlap - 2 * self.margin


def blend_tiles(
    height: int,
    width: int,
    infer: Callable[[Block, Block], Probabilities],
    *,
    tiling: Tiling,
    first_row: int = 0,
) -> Iterator[tuple[Block, Probabilities]]:
    """Run `infer` on every tile and give the finished blocks, which together cover each pixel exactly once.

    Args:
        height: of the picture, in pixels.
        width: likewise.
        infer: a tile, as a block of the picture, and the part of it that is kept, as a block of the tile -> float32
            (C, h, w) of that part; what it returns is changed in place.
        tiling: sizes.
        first_row: the row of tiles whose blocks are the first to be given; the one above it is run for its share in
            them, those above that are not.

    Yields:
        blocks of the picture, and the blended float32 (C, h, w) there; valid until the next is asked for. Beside the
        tile itself, memory holds what is blended with the next row of tiles: C x blend x width numbers.
    """
    blend = tiling.blend
    rising = ((np.arange(blend) + 0.5) / blend).astype(np.float32)
    falling = 1 - rising
    below: Probabilities | None = None  # what the row of tiles above has to say about the rows it shares with this one
    row_spans, column_spans = tiling.spans(height), tiling.spans(width)
    for row, row_span in enumerate(row_spans):
        if row < first_row - 1:
            continue
        top, bottom = _kept(row_span, height, tiling.margin)
        beside: Probabilities | None = None  # likewise, the tile to the left
        for column_span in column_spans:
            left, right = _kept(column_span, width, tiling.margin)
            seen = slice(*row_span), slice(*column_span)
            kept = (
                slice(top - row_span[0], bottom - row_span[0]),
                slice(left - column_span[0], right - column_span[0]),
            )
            tile = infer(seen, kept)
            if beside is not None:
                tile[:, :, :blend] *= rising
                tile[:, :, :blend] += beside
            if right < width:
                beside = tile[:, :, -blend:] * falling
                tile, right = tile[:, :, :-blend], right - blend
            columns = slice(left, right)
            if below is None:
                below = np.zeros((tile.shape[0], blend, width), np.float32) if bottom < height else None
            if top > 0 and below is not None:
                tile[:, :blend] *= rising[:, None]
                tile[:, :blend] += below[:, :, columns]
            rows = slice(top, bottom)
            if bottom < height and below is not None:
                below[:, :, columns] = tile[:, -blend:] * falling[:, None]
                tile, rows = tile[:, :-blend], slice(top, bottom - blend)
            if row >= first_row:
                yield (rows, columns), tile


def _kept(span: tuple[int, int], length: int, margin: int) -> tuple[int, int]:
    """The part of a tile's span that counts: all of it but the margins, which the picture's own edges have not."""
    start, stop = span
    return start + margin * (start > 0), stop - margin * (stop < length)
