"""Masks whose values are not exact: what stands out of the smear that JPEG and resampling leave, if anything does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.survey import Survey, Tally, unpack

_RADIUS = 24  # of what is looked at around a peak, in levels of the channel that differs most
_CORE = 4  # where most of it has to lie
_CONCENTRATED = 0.6
_SMALLEST = 0.0002  # of the inner pixels: a class this rare cannot be told from smear
_SOLID = 0.1  # share of inner pixels in what is no peak: measured up to 0.015 in smeared masks, 0.8 in exact ones
_BETWEEN = 0.1
_WIDEST = 48
_FEWEST = 5  # different keys, below which masks are taken as exact
_MOST = 64


@dataclass(frozen=True, slots=True)
class Peaks:
    """What stands out.

    Attributes:
        keys: values or packed colours, sorted by their levels in steps of 16.
        tolerance: what differs from one of them by at most this much belongs to the nearest.
        smeared: share of the pixels that are not exactly a peak.
        lost: share of the pixels beyond the tolerance of all.
    """

    keys: tuple[int, ...]
    tolerance: int
    smeared: float
    lost: float


def find_peaks(survey: Survey) -> Peaks | None:
    """The peaks of masks that are smeared; None where masks are exact, or nothing stands out.

    A peak is looked for among inner pixels, whose neighbours are all alike; smear lies at edges. In exact masks most
    values are peaks, or have inner pixels of their own; in a map of probabilities too much lies between the peaks.
    """
    distinct = len(survey.total.keys)
    if distinct < _FEWEST or not survey.inner.pixels.sum():
        return None
    colour = survey.kind == "colour"
    centres = _centres(survey.inner, colour)
    if centres is None or not 2 <= len(centres) <= min(_MOST, distinct // 2):
        return None
    coarse = (_points(centres, colour) + 8) // 16  # so that the order does not hang on what smear adds to zero
    keys = centres[np.lexsort((centres, *coarse.T[::-1]))]
    points = _points(keys, colour)
    between = np.abs(points[:, None] - points[None]).max(axis=2)
    nearest = int(between[between > 0].min())
    tolerance = nearest // 2 if len(keys) == 2 else min(_WIDEST, (nearest - 1) // 2)
    total = survey.total
    everywhere = _points(total.keys, colour)
    distance = np.min([np.abs(everywhere - point).max(axis=1) for point in points], axis=0)
    pixels = int(total.pixels.sum())
    aside = ~np.isin(total.keys, keys)
    solid = survey.inner.get(total.keys[aside]).sum() > _SOLID * total.pixels[aside].sum()
    if solid or total.pixels[distance > _RADIUS].sum() > _BETWEEN * pixels:
        return None
    lost = float(total.pixels[distance > tolerance].sum() / pixels)
    smeared = float(total.pixels[distance > 0].sum() / pixels)
    return Peaks(tuple(keys.tolist()), tolerance, smeared, lost)


def _centres(inner: Tally, colour: bool) -> NDArray[np.uint32] | None:
    """Keys that stand out, the commonest first; None where something common does not."""
    points, weights = _points(inner.keys, colour), inner.pixels.astype(np.float64)
    least = _SMALLEST * weights.sum()
    centres: list[np.uint32] = []
    while weights.max() >= _CONCENTRATED * least / (2 * _CORE + 1):
        at = int(weights.argmax())
        distance = np.abs(points - points[at]).max(axis=1)
        ball = distance <= _RADIUS
        mass = weights[ball].sum()
        if mass >= least:
            if weights[distance <= _CORE].sum() < _CONCENTRATED * mass or len(centres) == _MOST:
                return None
            centres.append(inner.keys[at])
        weights[ball] = 0
    return np.array(centres, np.uint32)


def is_smeared(survey: Survey) -> bool:
    """Whether most values occur at edges alone, in masks that are flat elsewhere."""
    total, inner = survey.total, survey.inner
    flat = inner.pixels.sum() > 0.3 * total.pixels.sum()
    return bool(flat and len(total.keys) >= 16 and len(inner.keys) < 0.25 * len(total.keys))


def is_continuous(survey: Survey) -> bool:
    """Whether many values pass into each other in small steps, as depths and probabilities do, and ids do not."""
    if len(survey.total.keys) <= 32:
        return False
    changes, small = np.sum([file.steps for file in survey.files], axis=0)
    return bool(small > 0.5 * changes)


def _points(keys: NDArray[np.uint32], colour: bool) -> NDArray[np.int64]:
    return unpack(keys) if colour else keys.astype(np.int64)[:, None]
