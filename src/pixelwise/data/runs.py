"""COCO's run-length encoding of masks: down the columns, first the pixels outside, then inside, and so on.

Written here rather than taken from pycocotools, so that the runtime half needs no further package, and because what a
file may hold has to be checked before it is believed. Tested against pycocotools.

Source: https://github.com/cocodataset/cocoapi, common/maskApi.c, rleFrString and rleDecode.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def read_runs(counts: str | Sequence[int]) -> list[int]:
    """The lengths of the runs, compressed into a string or not.

    Raises:
        ValueError: a run has no whole, positive length, or the string ends inside a number.
    """
    runs = _decompress(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if any(run < 0 for run in runs):
        raise ValueError("a run of negative length")
    return runs


def decode_runs(runs: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """The pixels inside, bool (height, width).

    Raises:
        ValueError: the runs do not add up to the number of pixels.
    """
    if sum(runs) != height * width:
        raise ValueError(f"runs of {sum(runs)} pixels for a photo of {height * width}")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def _decompress(text: str) -> list[int]:
    """Five bits a character, the lowest first, the sixth says that more follow; from the fourth run on, differences."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{character!r} in compressed runs")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed runs that end inside a number")
    return runs
