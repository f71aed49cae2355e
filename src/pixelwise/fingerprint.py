"""What a training run should know of its data before it starts: sizes, colours, classes, and how fine the masks are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.confusion import ConfusionMatrix, intersection_and_union, mean_of_defined, ratio
from pixelwise.data import Dataset
from pixelwise.errors import DataError
from pixelwise.labels import ClassTable

SAMPLED_PHOTOS = 48
"""Photos that are decoded for sizes, colours and detail; all masks are counted elsewhere."""

_SAMPLED_MASKS = 8


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The data in figures.

    Attributes:
        classes: of the masks.
        photos: to learn from; val_photos: to choose the best weights on.
        pixels: int64 (C,), labelled pixels of each class in the photos to learn from.
        photos_with: int64 (C,), photos that show each class.
        height: median, in pixels; width: likewise.
        grey: whether no photo looked at has colour.
        mean: of red, green and blue, 0 to 1; std: standard deviation.
        masks: a few of them, uint8 (H, W).
    """

    classes: ClassTable
    photos: int
    val_photos: int
    pixels: NDArray[np.int64]
    photos_with: NDArray[np.int64]
    height: int
    width: int
    grey: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    masks: tuple[NDArray[np.uint8], ...]

    @property
    def shares(self) -> NDArray[np.float64]:
        """float64 (C,): the share of each class in the labelled pixels."""
        shares: NDArray[np.float64] = self.pixels / max(1, int(self.pixels.sum()))
        return shares

    @property
    def long_side(self) -> int:
        """Of the median photo, in pixels."""
        return max(self.height, self.width)

    def ceiling(self, grid: float) -> float:
        """What a perfect network could reach that answers at `grid` points along the longer side; see `ceiling`."""
        return ceiling(self.masks, self.classes, grid=grid)


def fingerprint(
    train: Sequence[Dataset],
    val: Sequence[Dataset],
    pixels: Sequence[NDArray[np.int64]],
    *,
    advance: Callable[[float], None] = lambda share: None,
) -> Fingerprint:
    """Look at the data.

    Args:
        train: what is learned from.
        val: what the best weights are chosen on.
        pixels: for each photo of `train`, int64 (C,), the pixels of each class.
        advance: called with 1 for each photo looked at, of up to `SAMPLED_PHOTOS`.

    Raises:
        DataError: no pixel is labelled.
    """
    table = np.stack(pixels)
    if not table.any():
        raise DataError("No pixel of the training masks is labelled, so that there is nothing to learn.")
    places = [(dataset, index) for dataset in train for index in range(len(dataset))]
    chosen = np.random.default_rng(0).permutation(len(places))[:SAMPLED_PHOTOS]
    sizes, means, squares, masks, grey = [], [], [], [], True
    for number, position in enumerate(chosen):
        dataset, index = places[position]
        sample = dataset[index]
        small = np.asarray(Image.fromarray(sample.image).resize((64, 64), Image.Resampling.BOX), np.float64) / 255
        thin = sample.image[::4, ::4].astype(np.float64) / 255
        sizes.append(sample.mask.shape)
        means.append(thin.mean(axis=(0, 1)))
        squares.append((thin**2).mean(axis=(0, 1)))
        grey = grey and bool(np.ptp(small, axis=2).max() < 0.02)
        if number < _SAMPLED_MASKS:
            masks.append(sample.mask)
        advance(1)
    height, width = (int(side) for side in np.median(sizes, axis=0))
    mean = np.mean(means, axis=0)
    std = np.sqrt(np.maximum(np.mean(squares, axis=0) - mean**2, 1e-4))
    classes = train[0].classes
    return Fingerprint(
        classes=classes,
        photos=len(places),
        val_photos=sum(len(dataset) for dataset in val),
        pixels=table.sum(axis=0),
        photos_with=(table > 0).sum(axis=0),
        height=height,
        width=width,
        grey=grey,
        mean=_triple(mean),
        std=_triple(std),
        masks=tuple(masks),
    )


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue


def ceiling(masks: Sequence[NDArray[np.uint8]], classes: ClassTable, *, grid: float) -> float:
    """Mean IoU of masks with themselves after a way over a coarse grid.

    Args:
        masks: uint8 (H, W) each.
        classes: of the masks.
        grid: points along the longer side of the coarse grid.

    Returns:
        0 to 1: classes are averaged over the cells of the grid and interpolated back, the most probable one counts.
    """
    matrix = ConfusionMatrix(len(classes), ignore_index=classes.ignore_index)
    for mask in masks:
        matrix.update(mask, _through_grid(mask, classes, grid))
    return float(mean_of_defined(ratio(*intersection_and_union(matrix.counts))))


def _through_grid(mask: NDArray[np.uint8], classes: ClassTable, grid: float) -> NDArray[np.uint8]:
    height, width = mask.shape
    factor = grid / max(height, width)
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    best = np.zeros(mask.shape, np.float32)
    answer = np.zeros(mask.shape, np.uint8)
    for label in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[: len(classes)]):
        share = Image.fromarray((mask == label).astype(np.float32))
        share = share.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BILINEAR)
        values = np.asarray(share)
        answer[values > best] = label
        best = np.maximum(best, values)
    return answer
