"""Every figure that follows from confusion matrices, and how sure it is.

Definitions, sources and the conventions of other tools: docs/metrics.md. Two rules hold throughout. A pixel whose
target is ignore_index counts nowhere, neither in a numerator nor in a denominator. A quotient 0/0 is undefined: it is
nan, never 0 or 1, it is left out of every mean, and the mean says what it left out; a mean over nothing is nan.

The counting is in confusion.py, the outlines in boundary.py, the intervals in bootstrap.py; their public names are
re-exported here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.bootstrap import Interval, bootstrap_mean_iou, bootstrap_mean_iou_difference
from pixelwise.boundary import BoundaryIoU
from pixelwise.confusion import (
    ConfusionMatrix,
    chosen_classes,
    image_areas,
    mean_of_defined,
    ratio,
)
from pixelwise.errors import PixelwiseError
from pixelwise.labels import ClassTable

__all__ = [
    "BoundaryIoU",
    "ClassMean",
    "ConfusionMatrix",
    "ImageMean",
    "Interval",
    "Scores",
    "bootstrap_mean_iou",
    "bootstrap_mean_iou_difference",
    "class_mean",
    "figures_of_areas",
    "mean_image_iou",
    "mean_iou",
    "scores",
]


@dataclass(frozen=True, slots=True)
class ClassMean:
    """The mean of a per-class figure.

    Attributes:
        value: fraction 0 to 1; nan where no class is defined.
        over: the class ids that were asked for.
        left_out: those of them that are undefined and so are not in the mean.
    """

    value: float
    over: tuple[int, ...]
    left_out: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """What follows from one dataset-level confusion matrix. Fractions 0 to 1; nan is undefined.

    Attributes:
        images: image pairs measured.
        scored_pixels: pixels with a class in the ground truth.
        ignored_pixels: pixels with ignore_index in the ground truth.
        mean_iou: mean of `iou` over its defined classes, background included.
        foreground_mean_iou: the same without class 0.
        frequency_weighted_iou: mean of `iou` weighted by the class's share of the ground truth.
        mean_dice: mean of `dice` over its defined classes.
        pixel_accuracy: share of the scored pixels that are right.
        mean_class_accuracy: mean of `class_accuracy` over its defined classes.
        iou: per class, TP / (TP + FP + FN).
        dice: per class, 2 TP / (2 TP + FP + FN).
        class_accuracy: per class, TP / (TP + FN).
        left_out: class ids neither in the ground truth nor predicted; not in mean_iou and mean_dice.
        predicted_without_truth: class ids predicted but not in the ground truth; IoU 0, not in mean_class_accuracy.
    """

    images: int
    scored_pixels: int
    ignored_pixels: int
    mean_iou: float
    foreground_mean_iou: float
    frequency_weighted_iou: float
    mean_dice: float
    pixel_accuracy: float
    mean_class_accuracy: float
    iou: tuple[float, ...]
    dice: tuple[float, ...]
    class_accuracy: tuple[float, ...]
    left_out: tuple[int, ...]
    predicted_without_truth: tuple[int, ...]

    def remarks(self, classes: ClassTable | None = None) -> tuple[str, ...]:
        """What a reader must know beside the figures, one sentence each; empty where there is nothing to say.

        Raises:
            PixelwiseError: classes does not have as many classes as were measured.
        """
        if classes is not None and len(classes) != len(self.iou):
            raise PixelwiseError(
                f"The class table names {len(classes)} classes but {len(self.iou)} were measured; use the model's own."
            )
        if self.scored_pixels == 0:
            return (f"Every figure is undefined: all {self.ignored_pixels} pixels are ignored.",)
        names = classes.names if classes else [f"class {i}" for i in range(len(self.iou))]
        sentences = (
            (self.left_out, "Left out of mean IoU and mean Dice, as neither in the ground truth nor predicted"),
            (self.predicted_without_truth, "Predicted but not in the ground truth, so counted with an IoU of 0"),
        )
        return tuple(f"{text}: {', '.join(names[i] for i in ids)}." for ids, text in sentences if ids)

    def to_json(self, classes: ClassTable | None = None) -> dict[str, Any]:
        """A JSON-ready object under the attributes' names, with null for nan, and `remarks`, which names the classes.

        Raises:
            PixelwiseError: as `remarks` says.
        """
        values = {field.name: _json_ready(getattr(self, field.name)) for field in fields(self)}
        return {**values, "remarks": list(self.remarks(classes))}


def scores(matrix: ConfusionMatrix) -> Scores:
    """Every dataset-level figure that follows from a confusion matrix.

    Source: Long et al. 2015, arXiv:1411.4038, section 5 (pixel accuracy, mean accuracy, mean IU, frequency weighted
    IU); Dice 1945. Departs: undefined classes are left out of the means instead of being counted.
    """
    counts = matrix.counts
    correct, truth, predicted = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    figures = figures_of_areas(correct, truth, predicted)
    plain: dict[str, Any] = {
        key: tuple(value.tolist()) if value.ndim else float(value) for key, value in figures.items()
    }
    return Scores(
        images=matrix.images,
        scored_pixels=int(counts.sum()),
        ignored_pixels=matrix.ignored_pixels,
        left_out=tuple(np.flatnonzero(truth + predicted == 0).tolist()),
        predicted_without_truth=tuple(np.flatnonzero((truth == 0) & (predicted > 0)).tolist()),
        **plain,
    )


def figures_of_areas(
    correct: NDArray[Any], truth: NDArray[Any], predicted: NDArray[Any]
) -> dict[str, NDArray[np.float64]]:
    """The figures of `Scores` by their names, of any number of datasets at once.

    Args:
        correct: (..., C) pixels that are right, by class.
        truth: (..., C) pixels of the ground truth.
        predicted: (..., C) pixels of the prediction.

    Returns:
        (..., C) for what is per class, (...) for the rest; nan is undefined.
    """
    iou, dice = ratio(correct, truth + predicted - correct), ratio(2 * correct, truth + predicted)
    class_accuracy, total = ratio(correct, truth), truth.sum(axis=-1)
    return {
        "mean_iou": mean_of_defined(iou),
        "foreground_mean_iou": mean_of_defined(iou[..., 1:]),
        "frequency_weighted_iou": ratio(np.nansum(truth * iou, axis=-1), total),
        "mean_dice": mean_of_defined(dice),
        "pixel_accuracy": ratio(correct.sum(axis=-1), total),
        "mean_class_accuracy": mean_of_defined(class_accuracy),
        "iou": iou,
        "dice": dice,
        "class_accuracy": class_accuracy,
    }


def class_mean(values: Sequence[float], *, over: Sequence[int] | None = None) -> ClassMean:
    """The mean of a per-class figure over some classes, undefined ones left out.

    Args:
        values: one a class, nan where undefined, for example `Scores.iou`.
        over: class ids; None is all of them.

    Raises:
        PixelwiseError: over is empty, or holds an id twice or one that is no class.
    """
    array = np.asarray(values, dtype=np.float64)
    chosen = chosen_classes(over, len(array))
    undefined = tuple(i for i in chosen if math.isnan(array[i]))
    return ClassMean(float(mean_of_defined(array[list(chosen)])), chosen, undefined)


def mean_iou(matrix: ConfusionMatrix, *, over: Sequence[int] | None = None) -> ClassMean:
    """Dataset-level mean IoU over some classes.

    A pixel of a class that is not in `over` still counts as a false positive or false negative of one that is.

    Raises:
        PixelwiseError: as `class_mean` says.
    """
    return class_mean(scores(matrix).iou, over=over)


@dataclass(frozen=True, slots=True)
class ImageMean:
    """The mean over images of each image's own mean IoU. Not the mean IoU of the dataset.

    Attributes:
        value: fraction 0 to 1; nan where no image is defined.
        images: how many images are in the mean.
        left_out: positions of the images without a defined class, which are not in it.
    """

    value: float
    images: int
    left_out: tuple[int, ...]


def mean_image_iou(matrices: NDArray[np.int64], *, over: Sequence[int] | None = None) -> ImageMean:
    """Mean over images of the mean IoU over the classes that are defined within the image.

    Args:
        matrices: (N, C, C) int64, one confusion matrix an image, as `ConfusionMatrix.update` returns them.
        over: class ids; None is all of them.

    Raises:
        PixelwiseError: matrices is no such stack, or over is no set of class ids.

    Source: Csurka et al., BMVC 2013. Departs: a class predicted in an image without ground truth there counts as 0.
    """
    intersections, unions = image_areas(matrices, over)
    per_image = mean_of_defined(ratio(intersections, unions))
    defined = ~np.isnan(per_image)
    return ImageMean(float(mean_of_defined(per_image)), int(defined.sum()), tuple(np.flatnonzero(~defined).tolist()))


def _json_ready(value: Any) -> Any:
    """Tuples as lists and nan as None, which JSON has no number for."""
    if isinstance(value, tuple):
        return [_json_ready(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
