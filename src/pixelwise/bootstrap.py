"""Paired bootstrap over images: how sure a figure is, and whether two models really differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixelwise.confusion import image_areas, mean_of_defined, ratio
from pixelwise.errors import PixelwiseError

_BLOCK_WEIGHTS = 1 << 22


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % percentile interval.

    All are nan where the figure is undefined; low and high where it rests on a single photo, which says nothing of
    others.

    Attributes:
        estimate: the figure on the images themselves.
        low: 2.5th percentile over the resamples.
        high: 97.5th percentile over the resamples.
    """

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        """The interval to read, without the figure."""
        return f"{self.low:.3f} to {self.high:.3f}" if self.is_known else "undefined"

    @property
    def is_known(self) -> bool:
        """Whether it has ends."""
        return not math.isnan(self.low)

    @property
    def reach(self) -> tuple[float, float]:
        """Its ends, to draw; the figure itself where it has none."""
        return (self.low, self.high) if self.is_known else (self.estimate, self.estimate)

    def to_json(self) -> dict[str, float | None]:
        """The figure as `value`, and the interval; null is undefined."""
        numbers = {"value": self.estimate, "low": self.low, "high": self.high}
        return {key: None if math.isnan(number) else float(number) for key, number in numbers.items()}


def bootstrap_mean_iou(
    matrices: NDArray[np.int64], *, resamples: int = 2000, seed: int = 0, over: Sequence[int] | None = None
) -> Interval:
    """95 % interval of the dataset-level mean IoU, were the images drawn anew.

    Each resample draws N images with replacement, sums their matrices, and takes the mean IoU over the classes that are
    defined in that sum. The interval speaks of the choice of images, not of the training seed; where a single image has
    these classes, there is none.

    Args:
        matrices: (N, C, C) int64, one confusion matrix an image, as `ConfusionMatrix.update` returns them.
        resamples: at least 100.
        seed: equal seeds give equal intervals.
        over: class ids; None is all of them.

    Raises:
        PixelwiseError: matrices is no such stack, over is no set of class ids, or resamples is below 100.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
    """
    areas = image_areas(matrices, over)
    return interval(_total_mean(areas), _resampled_means(areas, resamples, seed))


def bootstrap_mean_iou_difference(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    resamples: int = 2000,
    seed: int = 0,
    over: Sequence[int] | None = None,
) -> Interval:
    """95 % interval of the mean IoU of the second model minus that of the first, on the same images.

    Both models are measured on the same resampled images, so that what makes an image hard for both cancels out. An
    interval that excludes 0 says that these images tell the models apart.

    Args:
        first: (N, C, C) int64, one confusion matrix an image.
        second: (N, C, C) int64, the same images in the same order.
        resamples: at least 100.
        seed: equal seeds give equal intervals.
        over: class ids; None is all of them.

    Raises:
        PixelwiseError: as `bootstrap_mean_iou` says, or the ground truth of the two stacks differs.
    """
    first_areas, second_areas = image_areas(first, over), image_areas(second, over)
    if first.shape != second.shape:
        raise PixelwiseError(f"The two models were not measured alike: stacks {first.shape} and {second.shape}.")
    strangers = np.flatnonzero((first.sum(axis=2) != second.sum(axis=2)).any(axis=1))
    if strangers.size:
        raise PixelwiseError(
            f"The ground truth of the two models differs at image {strangers[0]} (counted from 0) and {strangers.size} "
            "in all; measure both on the same images in the same order."
        )
    # The weights are a function of seed, resamples and N alone: equal in both calls, and that is the pairing.
    differences = _resampled_means(second_areas, resamples, seed) - _resampled_means(first_areas, resamples, seed)
    return interval(_total_mean(second_areas) - _total_mean(first_areas), differences)


def resampled_sums(
    columns: NDArray[np.int64] | NDArray[np.float64], *, resamples: int = 2000, seed: int = 0
) -> NDArray[np.float64]:
    """What the columns of a table with a row an image would add up to, were the images drawn anew.

    Args:
        columns: (N, K), whatever is counted in each image.
        resamples: at least 100; each draws N images with replacement.
        seed: with equal seeds and equal N the same images are drawn, and that is what pairs two models.

    Returns:
        (resamples, K) float64; of whole numbers below 2**53 whole and exact.

    Raises:
        PixelwiseError: resamples is below 100.
    """
    if resamples < 100:
        raise PixelwiseError(f"{resamples} resamples are too few for a 95 % interval; take at least 100.")
    images, width = columns.shape
    table = columns.astype(np.float64)
    generator = np.random.default_rng(seed)
    sums = np.empty((resamples, width))
    step = max(1, _BLOCK_WEIGHTS // images)
    for start in range(0, resamples, step):
        block = sums[start : start + step]
        weights = generator.multinomial(images, np.full(images, 1 / images), size=len(block))  # (block, N)
        np.matmul(weights.astype(np.float64), table, out=block)
    return sums


def interval(estimate: float, samples: NDArray[np.float64]) -> Interval:
    """The percentile interval of a figure.

    Args:
        estimate: the figure on the images themselves.
        samples: (resamples,), the figure of each resample; those where it is undefined, nan, are left out.
    """
    defined = samples[~np.isnan(samples)]
    if math.isnan(estimate) or not defined.size:
        return Interval(float(estimate), math.nan, math.nan)
    low, high = np.percentile(defined, (2.5, 97.5))
    return Interval(float(estimate), float(low), float(high))


def _resampled_means(
    areas: tuple[NDArray[np.int64], NDArray[np.int64]], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Mean IoU of each resample, (resamples,); areas as `image_areas` gives them."""
    if areas[1].any(axis=1).sum() < 2:  # drawn anew, a single image with these classes would be the same again
        return np.full(resamples, np.nan)
    # Sums are linear in the weights, so C intersections and C unions do for the (C, C) matrices.
    sums = resampled_sums(np.concatenate(areas, axis=1), resamples=resamples, seed=seed)
    intersections, unions = np.split(sums, 2, axis=1)
    return mean_of_defined(ratio(intersections, unions))


def _total_mean(areas: tuple[NDArray[np.int64], NDArray[np.int64]]) -> float:
    return float(mean_of_defined(ratio(areas[0].sum(axis=0), areas[1].sum(axis=0))))
