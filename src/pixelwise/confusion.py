"""The confusion matrix of a dataset: which class was taken for which, in pixels.

Everything that is measured goes through `check_labels`, the one place where a mask and a prediction are checked
against each other. Below the matrix stands the little arithmetic that metrics.py and bootstrap.py share.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pixelwise.errors import MaskError, PixelwiseError

_BLOCK_PIXELS = 1 << 20
_BYTE = 256


def pair_counts(
    target: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    *,
    num_classes: int,
    ignore_index: int = 255,
    name: str | None = None,
) -> NDArray[np.int64]:
    """How often each class of the target meets each class of the prediction, after a check of both.

    Args:
        target: (H, W) uint8, class ids or ignore_index.
        prediction: (H, W) uint8, class ids, at ignored pixels too.
        num_classes: C, background included.
        ignore_index: the value of target that stands for "not labelled"; no class id.
        name: the file that an error message should name.

    Returns:
        (C + 1, C) int64 pixel counts; row = class in target, the last row what is ignored there; column = class in
        prediction. Works through blocks of rows, so that a large photo needs about 10 MiB beside its masks.

    Raises:
        MaskError: as `check_labels` says.
    """
    check_labels(target, prediction, num_classes=num_classes, ignore_index=ignore_index, name=name)
    pairs = (num_classes + 1) * num_classes
    counts = np.zeros(pairs, dtype=np.int64)
    for labels, answer in zip(_blocks(target), _blocks(prediction), strict=True):
        ignored = (labels >= num_classes).view(np.uint8)
        fused = labels - ignored * np.uint8(ignore_index - num_classes)  # what is ignored becomes class C
        if pairs > _BYTE:
            fused = fused.astype(np.uint16)
        fused *= fused.dtype.type(num_classes)
        fused += answer
        counts += _tally(fused, pairs)
    return counts.reshape(num_classes + 1, num_classes)


def _blocks(mask: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """The mask in runs of whole rows, none of them empty."""
    height, width = mask.shape
    rows = max(1, _BLOCK_PIXELS // max(1, width))
    return (mask[top : top + rows] for top in range(0, height if width else 0, rows))


def _tally(values: NDArray[np.uint8] | NDArray[np.uint16], bins: int) -> NDArray[np.int64]:
    """How often each value occurs, (bins,)."""
    if values.dtype == np.uint8:  # np.bincount makes eight bytes of each first, and takes twice as long
        return np.array(Image.fromarray(values).histogram()[:bins], dtype=np.int64)
    return np.bincount(values.ravel(), minlength=bins)


def check_labels(
    target: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    *,
    num_classes: int,
    ignore_index: int = 255,
    name: str | None = None,
) -> None:
    """See that a mask and a prediction can be compared; the arguments are those of `pair_counts`.

    Raises:
        MaskError: a mask is not uint8 (H, W), the shapes differ, target holds a value that is neither a class id nor
            ignore_index, or prediction holds a value that is no class id; the message gives values and counts.
    """
    where = f"{name}: " if name else ""
    for role, mask in (("target", target), ("prediction", prediction)):
        if mask.ndim != 2 or mask.dtype != np.uint8:
            raise MaskError(f"{where}the {role} is {mask.dtype} of shape {mask.shape}; expected uint8 (height, width).")
    if target.shape != prediction.shape:
        raise MaskError(
            f"{where}the target has shape {target.shape} but the prediction {prediction.shape}; "
            "bring the prediction back to the size of the photo before it is measured."
        )
    if any(((block >= num_classes) != (block == ignore_index)).any() for block in _blocks(target)):
        _refuse_strays(target, {*range(num_classes), ignore_index}, f"{where}the target")
    if prediction.max(initial=0) >= num_classes:
        _refuse_strays(prediction, set(range(num_classes)), f"{where}the prediction")


def _refuse_strays(mask: NDArray[np.uint8], allowed: set[int], what: str) -> None:
    """Name the values of a mask that are not allowed, of which there is one at least."""
    tally = np.bincount(mask.ravel(), minlength=_BYTE)
    strays = [value for value in np.flatnonzero(tally).tolist() if value not in allowed]
    listed = ", ".join(f"{value} ({tally[value]} pixels)" for value in strays[:5])
    more = f" and {len(strays) - 5} more values" if len(strays) > 5 else ""
    raise MaskError(
        f"{what} holds {listed}{more} among {tally.sum()} pixels; allowed are {_spans(sorted(allowed))}. "
        "Correct the mask, or the number of classes and ignore_index."
    )


def _spans(ids: Sequence[int]) -> str:
    """[0, 1, 2, 255] as "0 to 2 and 255": the class ids run from 0, and at most ignore_index stands apart."""
    last = next((i for i, value in enumerate(ids) if value != i), len(ids)) - 1
    return f"0 to {last}" + "".join(f" and {value}" for value in ids[last + 1 :])


class ConfusionMatrix:
    """Pixel counts of a dataset: row = class in the ground truth, column = class predicted.

    Args:
        num_classes: C, 1 to 255, background included.
        ignore_index: the value of the ground truth that stands for "not labelled"; 0 to 255 and no class id, because
            ignoring a class would hide its false positives and turn IoU into recall.

    Attributes:
        images: how many pairs went in. Where it exceeds the length of the dataset, samples were counted twice.
        ignored_pixels: how many pixels carried ignore_index.

    Raises:
        PixelwiseError: num_classes or ignore_index is out of range.
    """

    def __init__(self, num_classes: int, *, ignore_index: int = 255) -> None:
        if not 1 <= num_classes <= 255:
            raise PixelwiseError(f"A confusion matrix holds 1 to 255 classes, not {num_classes}.")
        if not num_classes <= ignore_index <= 255:
            raise PixelwiseError(
                f"ignore_index is {ignore_index}; expected a number up to 255 that is not a class id "
                f"(there are {num_classes} classes)."
            )
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.images = 0
        self.ignored_pixels = 0
        self._counts = np.zeros((num_classes, num_classes), dtype=np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(C, C) int64 pixel counts, a copy; row = ground truth, column = prediction."""
        return self._counts.copy()

    def update(
        self, target: NDArray[np.uint8], prediction: NDArray[np.uint8], *, name: str | None = None
    ) -> NDArray[np.int64]:
        """Add one image; a pair that is refused leaves the matrix as it was.

        Args:
            target: (H, W) uint8, class ids or ignore_index.
            prediction: (H, W) uint8, class ids, at ignored pixels too.
            name: the file that an error message should name.

        Returns:
            (C, C) int64 counts of this pair alone; stacked, they are what `mean_image_iou` and the bootstrap take.

        Raises:
            MaskError: as `check_labels` says.
        """
        table = pair_counts(target, prediction, num_classes=self.num_classes, ignore_index=self.ignore_index, name=name)
        counts, ignored = table[:-1], table[-1]
        self._counts += counts
        self.images += 1
        self.ignored_pixels += int(ignored.sum())
        return counts

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of another matrix, say of another process, to this one.

        Raises:
            PixelwiseError: the two differ in num_classes or ignore_index.
        """
        if (self.num_classes, self.ignore_index) != (other.num_classes, other.ignore_index):
            raise PixelwiseError(
                f"A confusion matrix of {self.num_classes} classes with ignore_index {self.ignore_index} cannot "
                f"take in one of {other.num_classes} classes with ignore_index {other.ignore_index}."
            )
        self._counts += other._counts
        self.images += other.images
        self.ignored_pixels += other.ignored_pixels

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        total = ConfusionMatrix(self.num_classes, ignore_index=self.ignore_index)
        total.merge(self)
        total.merge(other)
        return total

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ConfusionMatrix)
            and self.ignore_index == other.ignore_index
            and self.images == other.images
            and self.ignored_pixels == other.ignored_pixels
            and np.array_equal(self._counts, other._counts)
        )

    __hash__ = None  # type: ignore[assignment]  # it changes with every update

    def __repr__(self) -> str:
        return (
            f"ConfusionMatrix(num_classes={self.num_classes}, ignore_index={self.ignore_index}, images={self.images}, "
            f"scored_pixels={self._counts.sum()}, ignored_pixels={self.ignored_pixels})"
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready object; `counts` is a list of rows."""
        return {
            "num_classes": self.num_classes,
            "ignore_index": self.ignore_index,
            "images": self.images,
            "ignored_pixels": self.ignored_pixels,
            "counts": self._counts.tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ConfusionMatrix:
        """The inverse of `to_json`.

        Raises:
            PixelwiseError: a key is missing, or the counts are not C rows of C whole numbers from 0 up.
        """
        try:
            matrix = cls(operator.index(data["num_classes"]), ignore_index=operator.index(data["ignore_index"]))
            matrix.images = operator.index(data["images"])
            matrix.ignored_pixels = operator.index(data["ignored_pixels"])
            counts = np.array(data["counts"])
        except (KeyError, TypeError, ValueError) as error:
            raise PixelwiseError(f"The stored confusion matrix is damaged ({error!r}); measure again.") from error
        shape = (matrix.num_classes, matrix.num_classes)
        if counts.shape != shape or counts.dtype != np.int64 or min(matrix.images, matrix.ignored_pixels) < 0:
            raise PixelwiseError(f"The stored confusion matrix does not hold whole numbers {shape}; measure again.")
        if counts.min() < 0:
            raise PixelwiseError("The stored confusion matrix holds a negative count; measure again.")
        matrix._counts = counts
        return matrix


def image_areas(matrices: NDArray[np.int64], over: Sequence[int] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Intersections and unions of each class in each image, after a check of the stack.

    Args:
        matrices: (N, C, C) int64, one confusion matrix an image.
        over: K class ids; None is all of them.

    Returns:
        Two (N, K) int64: TP and TP + FP + FN, in pixels.

    Raises:
        PixelwiseError: matrices is no such stack, or over is no set of class ids.
    """
    shape = matrices.shape
    if matrices.dtype != np.int64 or len(shape) != 3 or shape[1] != shape[2] or 0 in shape:
        raise PixelwiseError(
            f"Expected one int64 confusion matrix an image, (images, classes, classes); got {matrices.dtype} {shape}."
        )
    chosen = list(chosen_classes(over, shape[1]))
    intersections, unions = intersection_and_union(matrices)
    return intersections[:, chosen], unions[:, chosen]


def intersection_and_union(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """TP and TP + FP + FN per class, (..., C) each, of matrices (..., C, C)."""
    intersections = np.diagonal(counts, axis1=-2, axis2=-1)
    return intersections, counts.sum(axis=-1) + counts.sum(axis=-2) - intersections


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """Elementwise quotient, nan where the denominator is 0."""
    bottom = np.asarray(denominator, dtype=np.float64)
    quotient: NDArray[np.float64] = np.full(bottom.shape, np.nan)
    np.divide(numerator, bottom, out=quotient, where=bottom != 0)
    return quotient


def mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis without its nans; nan where nothing is left (np.nanmean would warn)."""
    return ratio(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1))


def chosen_classes(over: Sequence[int] | None, num_classes: int) -> tuple[int, ...]:
    """The class ids to average over, in the order given; all where over is None.

    Raises:
        PixelwiseError: over is empty, or holds an id twice or one that is no class.
    """
    if over is None:
        return tuple(range(num_classes))
    chosen = tuple(operator.index(i) for i in over)
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= i < num_classes for i in chosen):
        raise PixelwiseError(f"Expected different class ids from 0 to {num_classes - 1} to average over, not {chosen}.")
    return chosen
