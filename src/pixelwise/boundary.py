"""How well outlines are met, which a large object's interior cannot drown: boundary IoU and boundary F1.

Boundary IoU is the IoU of the bands along the outlines. Cheng et al. 2021, "Boundary IoU: Improving Object-Centric
Image Segmentation Evaluation", arXiv:2103.16562. As in the authors' code, distance is measured in squares (Chebyshev)
and the edge of the image is an outline. Departs: the paper scores one object at a time; here intersections and unions
of the bands are summed per class over the dataset, as for IoU. An ignored region is treated like the outside of the
image, in the ground truth and in the prediction alike.

Boundary F1 asks which share of the outlines themselves is met within a tolerance, from both sides. Csurka et al. 2013,
"What is a good evaluation measure for semantic segmentation?", BMVC, section 3.2: for each class, precision is the
share of the predicted outline that lies within the tolerance of the true one, recall the share of the true outline
that lies within it of the predicted one, F1 their harmonic mean. Departs: they average over images, here pixels are
summed over the dataset, as for IoU; distance is measured in squares. The edge of the image and the rim of an ignored
region are no outlines here, and no outline counts that lies within the tolerance of an ignored pixel, as what it should
be compared with may lie there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.confusion import check_labels, ratio
from pixelwise.errors import PixelwiseError

F1_TOLERANCE = 0.0075
"""Of boundary F1, as a fraction of the image diagonal: what Csurka et al. take."""


def band_width(height: int, width: int, *, dilation_ratio: float = 0.02) -> int:
    """Width of the boundary band in pixels: dilation_ratio of the image diagonal, rounded, at least 1.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        dilation_ratio: fraction of the diagonal; the authors take 0.02 for COCO and 0.005 for Cityscapes.
    """
    return max(1, round(dilation_ratio * math.hypot(height, width)))


def boundary_band(labels: NDArray[np.uint8], distance: int) -> NDArray[np.bool_]:
    """Pixels that have another label, or the outside of the image, within `distance` rows and columns.

    For one class it is the class minus its erosion by a square of side 2 * distance + 1; all classes are had at once,
    because a square lies inside one class exactly where its smallest and largest label agree.

    Args:
        labels: (H, W) uint8.
        distance: in pixels, at least 1.

    Returns:
        (H, W) bool.
    """
    height, width = labels.shape
    side = 2 * distance + 1
    band = np.ones((height, width), dtype=np.bool_)
    inner = band[distance : height - distance, distance : width - distance]  # empty where no square fits
    inner[:] = _over_squares(np.minimum, labels, side) != _over_squares(np.maximum, labels, side)
    return band


def outline_matches(
    target: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    *,
    num_classes: int,
    ignore_index: int = 255,
    tolerance: float = F1_TOLERANCE,
) -> NDArray[np.int64]:
    """What boundary F1 is made of, for one image.

    Args:
        target: (H, W) uint8, class ids or ignore_index.
        prediction: (H, W) uint8, class ids.
        num_classes: C.
        ignore_index: no class id.
        tolerance: a fraction of the image diagonal; in pixels it is rounded, and at least 1.

    Returns:
        (4, C) int64 pixels: of the predicted outline, those within the tolerance of the true one, and all; of the true
        outline, those within the tolerance of the predicted one, and all.
    """
    distance = band_width(*target.shape, dilation_ratio=tolerance)
    labelled = target != ignore_index
    counted = labelled if labelled.all() else ~_grown(~labelled, distance)
    true, predicted = (_outlines(labels, labelled, ignore_index) for labels in (target, prediction))
    counts = np.zeros((4, num_classes), np.int64)
    for row, labels in ((1, predicted), (3, true)):
        counts[row] = np.bincount(labels[counted], minlength=256)[:num_classes]
    for label in np.flatnonzero(counts[1] + counts[3]):
        of_truth, of_answer = true == label, predicted == label
        counts[0, label] = (_grown(of_truth, distance) & of_answer & counted).sum()
        counts[2, label] = (_grown(of_answer, distance) & of_truth & counted).sum()
    return counts


def boundary_f1(counts: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Boundary F1 per class, of counts as `outline_matches` gives them, or sums of them: (..., 4, C) -> (..., C).

    nan where the ground truth has no outline of the class that counts, 0 where the prediction meets none of it.
    """
    near_truth, predicted, near_answer, true = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    precision, recall = np.nan_to_num(ratio(near_truth, predicted)), np.nan_to_num(ratio(near_answer, true))
    value = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where(true > 0, value, np.nan)


def _outlines(labels: NDArray[np.uint8], labelled: NDArray[np.bool_], ignore_index: int) -> NDArray[np.uint8]:
    """The labels of the labelled pixels that have a labelled neighbour, of eight, of another label; else ignored."""
    least = np.pad(np.where(labelled, labels, np.uint8(255)), 1, constant_values=255)
    greatest = np.pad(np.where(labelled, labels, np.uint8(0)), 1)
    outline = _over_squares(np.minimum, least, 3) != _over_squares(np.maximum, greatest, 3)
    return np.where(outline & labelled, labels, np.uint8(ignore_index))


def _grown(pixels: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """All pixels within so many rows and columns of these."""
    return _over_squares(np.logical_or, np.pad(pixels, distance), 2 * distance + 1)


def _over_squares(extreme: np.ufunc, labels: NDArray[Any], side: int) -> NDArray[Any]:
    """Extreme over every side x side square that lies inside: (H, W) -> (H - side + 1, W - side + 1)."""
    return _over_rows(extreme, _over_rows(extreme, labels, side).T, side).T


def _over_rows(extreme: np.ufunc, labels: NDArray[Any], side: int) -> NDArray[Any]:
    """Extreme over every `side` successive rows; spans double, so that it takes log2(side) passes."""
    span = 1
    while span < side:
        step = min(span, side - span)
        labels = extreme(labels[:-step], labels[step:])
        span += step
    return labels


class BoundaryIoU:
    """Boundary IoU per class, with the bands' intersections and unions summed over a dataset.

    Args:
        num_classes: C, background included.
        ignore_index: the value of the ground truth that stands for "not labelled"; no class id.
        dilation_ratio: band width as a fraction of the image diagonal.

    Attributes:
        images: how many pairs went in.
        intersections: (C,) int64 pixels in the class's band of both.
        unions: (C,) int64 pixels in the class's band of either.

    Raises:
        PixelwiseError: num_classes, ignore_index or dilation_ratio is out of range.
    """

    def __init__(self, num_classes: int, *, ignore_index: int = 255, dilation_ratio: float = 0.02) -> None:
        if not 1 <= num_classes <= ignore_index <= 255:
            raise PixelwiseError(
                f"Boundary IoU needs 1 to 255 classes and an ignore_index up to 255 that is not a class id; "
                f"got {num_classes} classes and ignore_index {ignore_index}."
            )
        if not 0 < dilation_ratio < 1:
            raise PixelwiseError(f"dilation_ratio is {dilation_ratio}; expected a fraction between 0 and 1.")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.dilation_ratio = dilation_ratio
        self.images = 0
        self.intersections = np.zeros(num_classes, dtype=np.int64)
        self.unions = np.zeros(num_classes, dtype=np.int64)

    def update(
        self, target: NDArray[np.uint8], prediction: NDArray[np.uint8], *, name: str | None = None
    ) -> NDArray[np.int64]:
        """Add one image; a pair that is refused leaves the sums as they were.

        Args:
            target: (H, W) uint8, class ids or ignore_index.
            prediction: (H, W) uint8, class ids, at ignored pixels too.
            name: the file that an error message should name.

        Returns:
            (2, C) int64, intersections and unions of this pair alone.

        Raises:
            MaskError: as `pixelwise.confusion.check_labels` says.
        """
        check_labels(target, prediction, num_classes=self.num_classes, ignore_index=self.ignore_index, name=name)
        labelled = target != self.ignore_index
        # What is predicted where nothing is labelled must not draw outlines of its own.
        prediction = np.where(labelled, prediction, target)
        distance = band_width(*target.shape, dilation_ratio=self.dilation_ratio)
        in_target = boundary_band(target, distance) & labelled
        in_prediction = boundary_band(prediction, distance) & labelled
        common = self._tally(target[in_target & in_prediction & (target == prediction)])
        either = self._tally(target[in_target]) + self._tally(prediction[in_prediction]) - common
        self.intersections += common
        self.unions += either
        self.images += 1
        return np.stack([common, either])

    def _tally(self, labels: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.bincount(labels, minlength=self.num_classes)

    def merge(self, other: BoundaryIoU) -> None:
        """Add the sums of another instance, say of another process, to this one.

        Raises:
            PixelwiseError: the two differ in num_classes, ignore_index or dilation_ratio.
        """
        if self._settings() != other._settings():
            raise PixelwiseError(
                "Boundary IoU sums with different settings (classes, ignore_index, dilation_ratio) cannot be merged: "
                f"{self._settings()} and {other._settings()}."
            )
        self.intersections += other.intersections
        self.unions += other.unions
        self.images += other.images

    def __add__(self, other: BoundaryIoU) -> BoundaryIoU:
        total = BoundaryIoU(self.num_classes, ignore_index=self.ignore_index, dilation_ratio=self.dilation_ratio)
        total.merge(self)
        total.merge(other)
        return total

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BoundaryIoU)
            and self._settings() == other._settings()
            and self.images == other.images
            and np.array_equal(self.intersections, other.intersections)
            and np.array_equal(self.unions, other.unions)
        )

    __hash__ = None  # type: ignore[assignment]  # it changes with every update

    def _settings(self) -> tuple[int, int, float]:
        return self.num_classes, self.ignore_index, self.dilation_ratio

    def per_class(self) -> tuple[float, ...]:
        """Boundary IoU a class, 0 to 1; nan where neither mask had a band. `class_mean` in metrics.py averages it."""
        return tuple(
            common / union if union else math.nan
            for common, union in zip(self.intersections.tolist(), self.unions.tolist(), strict=True)
        )
