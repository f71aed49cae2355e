"""Every figure of an evaluation with its 95 % interval, from what was counted in each photo.

Definitions and sources: docs/metrics.md. Each figure is a function of sums over photos; the same function is applied to
the sums over the photos themselves and to those over each of the bootstrap's draws of them. Of several trainings of one
recipe the figures' mean counts, and how far they lie apart widens its interval: docs/comparing.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.bootstrap import Interval, interval, resampled_sums
from pixelwise.boundary import boundary_f1
from pixelwise.calibration import calibration_error
from pixelwise.confusion import image_areas, mean_of_defined, ratio
from pixelwise.labels import ClassTable
from pixelwise.metrics import figures_of_areas

OVERALL = {
    "mean_iou": ("mean IoU", "mean of the classes' IoU, background included"),
    "foreground_mean_iou": ("foreground mean IoU", "the same without the first class"),
    "mean_image_iou": ("mean of the photos' mean IoU", "mean IoU over the classes in each photo, then over the photos"),
    "mean_dice": ("mean Dice", "mean of the classes' Dice"),
    "pixel_accuracy": ("pixel accuracy", "share of the labelled pixels that are right"),
    "mean_class_accuracy": ("mean class accuracy", "mean of the classes' accuracy"),
    "frequency_weighted_iou": ("frequency-weighted IoU", "IoU weighted by the class's share of the labelled pixels"),
    "mean_boundary_iou": ("mean boundary IoU", "mean of the classes' boundary IoU"),
    "mean_boundary_f1": ("mean boundary F1", "mean of the classes' boundary F1"),
    "calibration_error": (
        "expected calibration error",
        "how far the share of right pixels lies from the model's confidence, in 15 bins of confidence; 0 is best",
    ),
}
"""By the names in JSON: what to call a figure, and what it is."""

PER_CLASS = {
    "iou": ("IoU", "pixels that both masks have in the class, of those that either has"),
    "dice": ("Dice", "twice the pixels that both masks have in the class, of the sum of those that each has"),
    "class_accuracy": ("accuracy", "of the class's pixels, the share that was found"),
    "boundary_iou": ("boundary IoU", "IoU of the bands along the outlines, 2 % of the diagonal wide"),
    "boundary_f1": ("boundary F1", "share of the outlines that is met within 0.75 % of the diagonal, from both sides"),
}
"""Likewise."""


FEW_PHOTOS = 50
"""Intervals over fewer are too narrow by so much that it is said; docs/metrics.md has by how much."""

_DEVIATIONS = 10  # of trainings, that each draw of the photos meets: Student's t has long tails


def overall_keys(classes: ClassTable) -> list[str]:
    """The figures of `OVERALL` that say something of these classes: without a background there is no foreground."""
    return [key for key in OVERALL if classes.has_background or key != "foreground_mean_iou"]


def rounded(value: float) -> str:
    """A figure to read."""
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def milliseconds(seconds: float) -> str:
    """Seconds to read as milliseconds: three digits, and all of those before the point."""
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 999.5 else f"{value:.3g}"


def percent(share: float) -> str:
    """A share to read, 0 to 1."""
    return "<0.1 %" if 0 < share < 0.0005 else f"{share:.1%}".replace("%", " %")


def in_points(difference: float) -> str:
    """A difference of fractions to read, in points: to a tenth, and one below that to its first digit."""
    value = round(100 * difference, 3) + 0.0  # which takes the sign from a zero
    return f"{value:{'.1f' if abs(value) >= 0.05 or not value else '.1g'}}".replace("-", "\N{MINUS SIGN}")


def photos(count: int) -> str:
    """How many photos, to read."""
    return f"{count} photo" if count == 1 else f"{count} photos"


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted in each of N photos.

    Attributes:
        confusion: int64 (N, C, C), as `ConfusionMatrix.update` returns it.
        boundary_iou: int64 (N, 2, C), as `BoundaryIoU.update` returns it.
        boundary_f1: int64 (N, 4, C), as `outline_matches` returns it.
        reliability: float64 (N, 3, 15), as `reliability` in calibration.py returns it.
    """

    confusion: NDArray[np.int64]
    boundary_iou: NDArray[np.int64]
    boundary_f1: NDArray[np.int64]
    reliability: NDArray[np.float64]

    @property
    def image_ious(self) -> NDArray[np.float64]:
        """(N,), the mean IoU of each photo over the classes in either of its masks; nan without a labelled pixel."""
        return mean_of_defined(ratio(*image_areas(self.confusion, None)))


@dataclass(frozen=True, slots=True)
class Figures:
    """Fractions 0 to 1 with their intervals; nan is undefined.

    Attributes:
        overall: by the keys of `OVERALL`.
        per_class: by the keys of `PER_CLASS`, one a class.
    """

    overall: Mapping[str, Interval]
    per_class: Mapping[str, tuple[Interval, ...]]


@dataclass(frozen=True, slots=True)
class Draws:
    """Figures of the photos themselves, and of each of the bootstrap's draws of them.

    Attributes:
        estimates: by the keys of `OVERALL` and `PER_CLASS`: () or (C,).
        samples: likewise: (resamples,) or (resamples, C); all nan where a figure rests on a single photo, of which no
            other draw can be made.
        variances: as `estimates`; how far the mean of several trainings may lie from that of all trainings of the
            recipe, squared. 0 of one training, which stands for itself alone.
        doubts: likewise, that squared over its degrees of freedom: the sum in Satterthwaite's denominator.
        least: what no figure is below: 0, of differences -1. None is above 1.
    """

    estimates: Mapping[str, NDArray[np.float64]]
    samples: Mapping[str, NDArray[np.float64]]
    variances: Mapping[str, NDArray[np.float64]]
    doubts: Mapping[str, NDArray[np.float64]]
    least: float = 0.0

    def figures(self) -> Figures:
        """Each with its percentile interval."""
        pairs = {key: (self.estimates[key], self.spread(key)) for key in self.estimates}
        return Figures(
            {key: interval(float(pairs[key][0]), pairs[key][1]) for key in OVERALL},
            {key: tuple(map(interval, pairs[key][0].tolist(), pairs[key][1].T)) for key in PER_CLASS},
        )

    def spread(self, key: str) -> NDArray[np.float64]:
        """Where a figure may lie, were the photos drawn anew and the recipes trained again: (draws,) or (draws, C).

        Two or three trainings say little of how far others would lie apart, so Student's t is drawn from, with the
        degrees of freedom of Satterthwaite 1946 where two recipes' doubts meet (Welch 1947).
        """
        samples, variance, doubt = self.samples[key], self.variances[key], self.doubts[key]
        if not variance.any():
            return samples
        freedom = np.where(doubt > 0, variance**2 / np.where(doubt > 0, doubt, 1), 1)
        samples = np.tile(samples, (_DEVIATIONS, *[1] * variance.ndim))
        moved = samples + np.sqrt(variance) * np.random.default_rng(0).standard_t(freedom, size=samples.shape)
        return np.clip(moved, self.least, 1.0)

    def chance(self, key: str) -> float:
        """How often a figure (not one a class) lies as far from where it is as it does from 0; of a difference, p."""
        size, moved = np.abs(self.estimates[key]), np.abs(self.spread(key) - self.estimates[key])
        reached = ~(moved < size - 1e-12)  # an undefined one, too
        return float(1 + reached.sum()) / (1 + len(moved))

    def __sub__(self, other: Draws) -> Draws:
        """By how much these figures lie above others of the same draws of the same photos, of other trainings."""
        return Draws(
            {key: self.estimates[key] - other.estimates[key] for key in self.estimates},
            {key: self.samples[key] - other.samples[key] for key in self.samples},
            {key: self.variances[key] + other.variances[key] for key in self.variances},
            {key: self.doubts[key] + other.doubts[key] for key in self.doubts},
            least=-1.0,
        )


def draws(counts: Counts, *, resamples: int = 2000, seed: int = 0) -> Draws:
    """All figures by a bootstrap over photos.

    Args:
        counts: of one model on one dataset, at least one photo.
        resamples: at least 100.
        seed: with equal seeds, models that were measured on the same photos see the same draws of them.

    Raises:
        PixelwiseError: resamples is below 100.
    """
    table, num_classes = _table(counts), counts.confusion.shape[1]
    estimates = _figures_of_sums(table.sum(axis=0), num_classes)
    samples = _figures_of_sums(resampled_sums(table, resamples=resamples, seed=seed), num_classes)
    alone = {key: (~np.isnan(values)).sum(axis=0) < 2 for key, values in _figures_of_sums(table, num_classes).items()}
    nothing = {key: np.zeros_like(values) for key, values in estimates.items()}
    samples = {key: np.where(alone[key], np.nan, values) for key, values in samples.items()}
    return Draws(estimates, samples, nothing, nothing)


def mean_of_trainings(trainings: Sequence[Draws]) -> Draws:
    """The mean over several trainings of one recipe, and how sure it is.

    Args:
        trainings: one at least, of the same draws of the same photos. Of one alone, its own figures.
    """
    first = trainings[0]
    if len(trainings) == 1:
        return first
    values = {key: np.stack([each.estimates[key] for each in trainings], axis=-1) for key in first.estimates}
    samples = {key: np.stack([each.samples[key] for each in trainings], axis=-1) for key in first.samples}
    means = {key: mean_of_defined(each) for key, each in values.items()}
    variances, doubts = {}, {}
    for key, each in values.items():
        defined = (~np.isnan(each)).sum(axis=-1)
        squares = np.nansum((each - means[key][..., None]) ** 2, axis=-1)
        several = np.maximum(defined, 2)  # of a class that only one of them has to do with, the squares are 0
        variances[key] = squares / (several - 1) / several
        doubts[key] = variances[key] ** 2 / (several - 1)
    return Draws(means, {key: mean_of_defined(each) for key, each in samples.items()}, variances, doubts)


def figures(counts: Counts, *, resamples: int = 2000, seed: int = 0) -> Figures:
    """All figures, each with its percentile interval; the arguments are those of `draws`.

    Raises:
        PixelwiseError: resamples is below 100.
    """
    return draws(counts, resamples=resamples, seed=seed).figures()


def _table(counts: Counts) -> NDArray[np.float64]:
    """A row a photo of what the figures are made of, in the order that `_figures_of_sums` takes apart."""
    confusion, ious = counts.confusion, counts.image_ious
    parts: list[NDArray[Any]] = [
        np.diagonal(confusion, axis1=1, axis2=2),
        confusion.sum(axis=2),
        confusion.sum(axis=1),
        counts.boundary_iou,
        counts.boundary_f1,
        counts.reliability,
        np.stack([np.nan_to_num(ious), ~np.isnan(ious)], axis=1),
    ]
    return np.concatenate([part.reshape(len(confusion), -1) for part in parts], axis=1).astype(np.float64)


def _figures_of_sums(sums: NDArray[np.float64], num_classes: int) -> dict[str, NDArray[np.float64]]:
    """(..., K) of sums of rows of `_table` -> figures, (...) or (..., C)."""
    classes, rest = np.split(sums, [9 * num_classes], axis=-1)
    rows = classes.reshape(*sums.shape[:-1], 9, num_classes)
    bins, of_images = rest[..., :-2].reshape(*sums.shape[:-1], 3, -1), rest[..., -2:]
    of_boundary_iou, of_boundary_f1 = ratio(rows[..., 3, :], rows[..., 4, :]), boundary_f1(rows[..., 5:, :])
    return {
        **figures_of_areas(rows[..., 0, :], rows[..., 1, :], rows[..., 2, :]),
        "mean_image_iou": ratio(of_images[..., 0], of_images[..., 1]),
        "boundary_iou": of_boundary_iou,
        "boundary_f1": of_boundary_f1,
        "mean_boundary_iou": mean_of_defined(of_boundary_iou),
        "mean_boundary_f1": mean_of_defined(of_boundary_f1),
        "calibration_error": calibration_error(bins),
    }
