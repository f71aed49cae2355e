"""From probabilities at one size to the most probable class of each pixel at another, by bilinear interpolation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.tiling import Probabilities

Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge, as Pillow orders them."""

_STRIP_PIXELS = 1 << 18  # of the answer, at a time: what a core's own cache holds


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
    step = (lower - upper) / height
    candidates = _candidates(probabilities, magnified=step < 1 and right - left <= width)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = (left, upper + top * step, right, upper + bottom * step)
        best = _interpolate(probabilities[candidates[0]], bottom - top, width, strip).copy()
        ids, better = np.full(best.shape, candidates[0], np.uint8), np.empty(best.shape, np.bool_)
        for candidate in candidates[1:]:
            rival = _interpolate(probabilities[candidate], bottom - top, width, strip)
            np.greater(rival, best, out=better)
            np.copyto(ids, np.uint8(candidate), where=better)
            np.maximum(best, rival, out=best)
        yield top, ids, best.astype(np.float16)


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


def _candidates(probabilities: Probabilities, *, magnified: bool) -> list[int]:
    """The classes that can win somewhere under interpolation, in the order of their ids; most photos have a handful.

    The answer is the same as with all classes. Who wins has the mean of all classes at the least. Where the values are
    magnified there is more to tell: between four neighbours an interpolated class lies between its least and its
    greatest of the four, so one whose greatest is below another's least cannot win there. The most probable are looked
    at first: below what they nowhere fall short of, most others stay everywhere, which their greatest value alone
    tells.
    """
    highest = probabilities.max(axis=(1, 2))
    least = 0.999 / len(probabilities)  # of a sum that is one but for rounding
    if not magnified:
        return [int(i) for i in np.flatnonzero(highest >= least)]
    can_win: list[int] = []
    floor = _of_neighbours(np.minimum, probabilities[highest.argmax()])  # what a winner has at the least
    for i in np.argsort(-highest):
        if highest[i] < max(least, floor.min()):
            break
        if (_of_neighbours(np.maximum, probabilities[i]) >= floor).any():
            can_win.append(int(i))
            np.maximum(floor, _of_neighbours(np.minimum, probabilities[i]), out=floor)
    return sorted(can_win)


def _of_neighbours(choose: np.ufunc, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The least or the greatest of each four neighbours: (h, w) -> (h - 1, w - 1), an axis of length 1 as it is."""
    rows = choose(values[:-1], values[1:]) if len(values) > 1 else values
    found: NDArray[np.float32] = choose(rows[:, :-1], rows[:, 1:]) if rows.shape[1] > 1 else rows.copy()
    return found


def _interpolate(values: NDArray[np.float32], height: int, width: int, box: Box) -> NDArray[np.float32]:
    """The part of float32 (h, w) that lies in `box`, scaled to (height, width); not to be written to."""
    left, upper, right, lower = box
    if (right - left, lower - upper) == (width, height) and left == int(left) and upper == int(upper):
        return values[int(upper) : int(lower), int(left) : int(right)]
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR, box=box))
