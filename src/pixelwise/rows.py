"""Pictures that are read by rows: an array has them all, a file gives them from the top down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Rows(Protocol):
    """What gives rows by slicing, `picture[start:stop]`: an array, or something that reads them from elsewhere."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, 3)."""
        ...

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Of the samples."""
        ...

    def __getitem__(self, rows: slice, /) -> NDArray[np.uint8]: ...


class SequentialRows:
    """Rows that come once, from the top down: slices may overlap, but none may begin above the one before.

    Memory holds the slice that was asked for last, and what the strips have brought beyond it.

    Args:
        shape: of the whole picture.
        strips: uint8 (any height, *shape[1:]), which together are the picture.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, shape: tuple[int, ...], strips: Iterator[NDArray[np.uint8]]) -> None:
        self.shape = shape
        self._strips = strips
        self._start, self._rows = 0, np.empty((0, *shape[1:]), np.uint8)
        self._rest = self._rows  # brought by a strip and not asked for yet; begins where `_rows` ends

    def __getitem__(self, rows: slice, /) -> NDArray[np.uint8]:
        start, stop, _ = rows.indices(self.shape[0])
        if (start, stop) == (self._start, self._start + len(self._rows)):
            return self._rows
        if start < self._start:
            raise ValueError(f"row {start} was asked for after row {self._start}")
        end = self._start + len(self._rows)
        kept = self._rows[start - self._start : stop - self._start].copy()
        if stop < end:  # a shorter slice: what lies behind it may be asked for next
            self._rest = np.concatenate([self._rows[stop - self._start :], self._rest])
            end = stop
        self._rows = kept  # before the new one is made, so that there are never two whole ones
        fresh = np.empty((stop - start, *self.shape[1:]), np.uint8)
        fresh[: len(kept)] = kept
        while end < stop:
            strip = self._rest if len(self._rest) else next(self._strips)
            taken = strip[: stop - end]
            fresh[max(0, end - start) : max(0, end + len(taken) - start)] = taken[max(0, start - end) :]
            self._rest = strip[len(taken) :]
            end += len(taken)
        self._start, self._rows = start, fresh
        return fresh


class FileRows:
    """A mask in a file of its bytes, row by row: uint8 (H, W)."""

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, height: int, width: int) -> None:
        self.shape = (height, width)
        self._path = path

    def __getitem__(self, rows: slice, /) -> NDArray[np.uint8]:
        start, stop, _ = rows.indices(self.shape[0])
        width = self.shape[1]
        return np.fromfile(self._path, np.uint8, (stop - start) * width, offset=start * width).reshape(-1, width)
