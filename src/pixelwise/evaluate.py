"""Evaluation: a model's answers against ground truth, at the ground truth's own size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.boundary import BoundaryIoU, outline_matches
from pixelwise.calibration import reliability
from pixelwise.data.sample import Dataset, Sample, for_each
from pixelwise.errors import DataError
from pixelwise.figures import Counts
from pixelwise.labels import ClassTable
from pixelwise.matching import match_classes
from pixelwise.metrics import ConfusionMatrix, Scores, scores
from pixelwise.segmenter import Advance, Segmenter

Predictor = Callable[[NDArray[np.uint8]], tuple[NDArray[np.uint8], NDArray[np.float16]]]
"""Photo uint8 (H, W, 3) RGB -> class ids uint8 (H, W), their probabilities float16 (H, W)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of a dataset.

    Attributes:
        matrix: summed over all photos.
        counts: of each photo, for every figure with its interval: see `pixelwise.figures.figures`.
        ids: of the photos, in the same order.
        classes: of the dataset.
        failed: the photos that could not be measured, by id, with the reason; they are in nothing else.
    """

    matrix: ConfusionMatrix
    counts: Counts
    ids: tuple[str, ...]
    classes: ClassTable
    failed: tuple[tuple[str, str], ...] = ()

    @property
    def per_image(self) -> NDArray[np.int64]:
        """int64 (N, C, C), the confusion matrix of each photo."""
        return self.counts.confusion

    @property
    def scores(self) -> Scores:
        """Every figure that follows from the summed matrix."""
        return scores(self.matrix)


def evaluate(
    segmenter: Segmenter,
    datasets: Sequence[Dataset],
    *,
    mapping: Mapping[str, str] | None = None,
    skip_failures: bool = False,
    advance: Advance = lambda share: None,
) -> Evaluation:
    """Segment every photo of the datasets and count.

    Args:
        segmenter: the model, with its resize policy.
        datasets: taken together, as if they were one; they have one class table.
        mapping: what classes of the model count as, see `pixelwise.matching.match_classes`.
        skip_failures: go on after a pair that cannot be read or does not fit, and list it.
        advance: called with 1 after each photo, for a progress bar.

    Raises:
        DataError: the datasets' classes differ, or are not the model's and no mapping says what counts as what; or
            there is no photo at all, or none that can be measured.
        PixelwiseError: a pair cannot be read or does not fit, and `skip_failures` was not asked for.
        EngineError: the model cannot be run.
    """
    if not any(len(dataset) for dataset in datasets):
        raise DataError("There is no photo to measure the model on.")
    classes = datasets[0].classes
    for dataset in datasets[1:]:
        if (dataset.classes.names, dataset.classes.ignore_index) != (classes.names, classes.ignore_index):
            raise DataError("The datasets' classes differ from each other; measure each by itself.")
    predict = predictor(segmenter, classes, mapping)
    counter = Counter(classes)
    ids: list[str] = []
    failed: list[tuple[str, str]] = []

    def count(sample: Sample) -> None:
        prediction, confidence = predict(sample.image)
        counter.add(sample.mask, prediction, confidence, name=sample.id)
        ids.append(sample.id)

    for dataset in datasets:
        failed += for_each(dataset, count, skip_failures=skip_failures, advance=advance)
    if not ids:
        raise DataError(f"No photo of {len(failed)} can be measured; the first: {failed[0][1]}")
    return Evaluation(counter.matrix, counter.counts(), tuple(ids), classes, tuple(failed))


def summary(
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    mapping: Mapping[str, str] | None = None,
    advance: Advance = lambda share: None,
) -> dict[str, Any]:
    """The figures that a model card shows, plain JSON; an undefined IoU is None.

    Counted without the outlines and the calibration of `evaluate`, which the card does not have. Raises what
    `evaluate` does.
    """
    classes = dataset.classes
    predict = predictor(segmenter, classes, mapping)
    matrix = ConfusionMatrix(len(classes), ignore_index=classes.ignore_index)
    for index in range(len(dataset)):
        sample = dataset[index]
        matrix.update(sample.mask, predict(sample.image)[0], name=sample.id)
        advance(1)
    figures = scores(matrix)
    return {
        "photos": figures.images,
        "mean IoU": figures.mean_iou,
        "pixel accuracy": figures.pixel_accuracy,
        "mean class accuracy": figures.mean_class_accuracy,
        "IoU": {
            name: None if np.isnan(value) else float(value)
            for name, value in zip(classes.names, figures.iou, strict=True)
        },
    }


def predictor(segmenter: Segmenter, classes: ClassTable, mapping: Mapping[str, str] | None = None) -> Predictor:
    """A model's answers in the classes of a dataset.

    The probability of an answer is that of the model's own class, also where several count as the same.

    Raises:
        DataError: as `pixelwise.matching.match_classes` says.
    """
    replaced = match_classes(segmenter.classes, classes, mapping)

    def predict(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        mask, confidence = segmenter.predict(pixels)
        return mask if replaced is None else replaced[mask], confidence

    return predict


class Counter:
    """Counts photo by photo; one that is refused leaves no trace."""

    def __init__(self, classes: ClassTable) -> None:
        self.matrix = ConfusionMatrix(len(classes), ignore_index=classes.ignore_index)
        self._bands = BoundaryIoU(len(classes), ignore_index=classes.ignore_index)
        self._classes = classes
        self._rows: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []

    def add(
        self, target: NDArray[np.uint8], answer: NDArray[np.uint8], sure: NDArray[np.float16], *, name: str
    ) -> None:
        """Count a photo.

        Args:
            target: uint8 (H, W), class ids or ignore_index.
            answer: uint8 (H, W), class ids.
            sure: (H, W), the probability of the answer.
            name: the photo, for messages.

        Raises:
            MaskError: as `pixelwise.confusion.check_labels` says.
        """
        ignored = self._classes.ignore_index
        self._rows.append(
            (
                self.matrix.update(target, answer, name=name),
                self._bands.update(target, answer, name=name),
                outline_matches(target, answer, num_classes=len(self._classes), ignore_index=ignored),
                reliability(target, answer, sure, ignore_index=ignored),
            )
        )

    def counts(self) -> Counts:
        """Of all photos that were added, of which there is one at least."""
        return Counts(*(np.stack(column) for column in zip(*self._rows, strict=True)))
