"""From probabilities at one size to the most probable class of each pixel at another, by bilinear interpolation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.tiling import Probabilities

Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge, as Pillow orders them."""

_BLOCK = 384  # rows and columns of the answer that are decided at a time, among the classes that can win there
_STRIP_PIXELS = 1 << 18  # likewise, where nothing is magnified: what a core's own cache holds


def decide(
    probabilities: Probabilities, height: int, width: int, *, box: Box | None = None
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.float16]]]:
    """The most probable class of each pixel after bilinear interpolation, strip by strip.

    Args:
        probabilities: float32 (C, h, w).
        height: of the answer.
        width: likewise.
        box: the part of h x w that the answer shows, by default all of it; beyond the edge, values go on as they end.

    Yields:
        the strip's first row; class ids uint8 (rows, width), their probabilities float16 (rows, width).
    """
    if not height * width:  # a tile that lies between the middles of two pixels
        return
    probabilities, (left, upper, right, lower) = _with_all_of(probabilities, box)
    down, across = (lower - upper) / height, (right - left) / width
    magnified = down < 1 and across <= 1
    rows, columns = (_BLOCK, _BLOCK) if magnified else (max(1, _STRIP_PIXELS // width), width)
    seen, candidates = probabilities, [] if magnified else _candidates(probabilities, magnified=False)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        ids, highest = np.empty((bottom - top, width), np.uint8), np.empty((bottom - top, width), np.float16)
        for start in range(0, width, columns):
            stop = min(start + columns, width)
            part = left + start * across, upper + top * down, left + stop * across, upper + bottom * down
            if magnified:
                seen, part = _reached(probabilities, part)
                candidates = _candidates(seen, magnified=True)
            ids[:, start:stop], highest[:, start:stop] = _best(seen, candidates, bottom - top, stop - start, part)
        yield top, ids, highest


def _best(
    probabilities: Probabilities, candidates: Sequence[int], height: int, width: int, box: Box
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The most probable of some classes at each pixel, uint8 (height, width), and its probability, float32."""
    best = _interpolate(probabilities[candidates[0]], height, width, box).copy()
    ids, better = np.full(best.shape, candidates[0], np.uint8), np.empty(best.shape, np.bool_)
    for candidate in candidates[1:]:
        rival = _interpolate(probabilities[candidate], height, width, box)
        np.greater(rival, best, out=better)
        np.copyto(ids, np.uint8(candidate), where=better)
        np.maximum(best, rival, out=best)
    return ids, best


def magnify(probabilities: Probabilities, height: int, width: int, *, box: Box | None = None) -> Probabilities:
    """All classes after bilinear interpolation: (C, h, w) -> (C, height, width); as for `decide`."""
    answer = np.empty((len(probabilities), height, width), np.float32)
    if answer.size:
        probabilities, box = _with_all_of(probabilities, box)
        for values, out in zip(probabilities, answer, strict=True):
            out[:] = _interpolate(values, height, width, box)
    return answer


def _with_all_of(probabilities: Probabilities, box: Box | None) -> tuple[Probabilities, Box]:
    """The values, going on as they end where the box lies beyond them, and the box in them; None is all of them."""
    left, upper, right, lower = box or (0, 0, probabilities.shape[2], probabilities.shape[1])
    beyond = max(-left, -upper, right - probabilities.shape[2], lower - probabilities.shape[1])
    if beyond <= 0:
        return probabilities, (left, upper, right, lower)
    pad = math.ceil(beyond)
    probabilities = np.pad(probabilities, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
    return probabilities, (left + pad, upper + pad, right + pad, lower + pad)


def around(start: float, stop: float) -> tuple[slice, float, float]:
    """The values that decide within a span where they are magnified, one beyond each of its ends; the span in them."""
    values = slice(max(0, math.floor(start) - 1), math.ceil(stop) + 1)
    return values, start - values.start, stop - values.start


def _reached(probabilities: Probabilities, box: Box) -> tuple[Probabilities, Box]:
    """The values that decide within a box, and the box in them; see `around`."""
    left, upper, right, lower = box
    rows, upper, lower = around(upper, lower)
    columns, left, right = around(left, right)
    return probabilities[:, rows, columns], (left, upper, right, lower)


def _candidates(probabilities: Probabilities, *, magnified: bool) -> list[int]:
    """The classes that can win somewhere under interpolation, in the order of their ids; mostly one or two of a block.

    The answer is the same as with all classes. Who wins has the mean of all classes at the least. Where the values are
    magnified there is more to tell: between four neighbours an interpolated class lies between its least and its
    greatest of the four, so one whose greatest is below another's least cannot win there.
    """
    can_win = np.flatnonzero(probabilities.max(axis=(1, 2)) >= 0.999 / len(probabilities))  # of one, but for rounding
    if magnified and len(can_win) > 1:
        floor = _of_neighbours(np.minimum, probabilities[can_win]).max(axis=0)  # what a winner has at the least
        reached = _of_neighbours(np.maximum, probabilities[can_win]) >= floor
        can_win = can_win[reached.any(axis=(1, 2))]
    return [int(i) for i in can_win]


def _of_neighbours(choose: np.ufunc, values: Probabilities) -> Probabilities:
    """The least or greatest of each four neighbours: (C, h, w) -> (C, h - 1, w - 1), but for axes of length 1."""
    if values.shape[1] > 1:
        values = choose(values[:, :-1], values[:, 1:])
    if values.shape[2] > 1:
        values = choose(values[:, :, :-1], values[:, :, 1:])
    return values


def _interpolate(values: NDArray[np.float32], height: int, width: int, box: Box) -> NDArray[np.float32]:
    """The part of float32 (h, w) that lies in `box`, scaled to (height, width); not to be written to."""
    left, upper, right, lower = box
    if (right - left, lower - upper) == (width, height) and left == int(left) and upper == int(upper):
        return values[int(upper) : int(lower), int(left) : int(right)]
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR, box=box))
