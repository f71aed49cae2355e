"""Evaluation: a model's answers against ground truth, at the ground truth's own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.sample import Dataset
from pixelwise.errors import DataError
from pixelwise.labels import ClassTable
from pixelwise.metrics import ConfusionMatrix, Scores, scores
from pixelwise.segmenter import Advance, Segmenter


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of a dataset.

    Attributes:
        matrix: summed over all photos.
        per_image: int64 (N, C, C), the counts of each photo in the order of the dataset, for intervals.
        ids: of the photos, in the same order.
        classes: of both model and dataset.
    """

    matrix: ConfusionMatrix
    per_image: NDArray[np.int64]
    ids: tuple[str, ...]
    classes: ClassTable

    @property
    def scores(self) -> Scores:
        """Every figure that follows from the summed matrix."""
        return scores(self.matrix)


def evaluate(segmenter: Segmenter, datasets: Sequence[Dataset], *, advance: Advance = lambda share: None) -> Evaluation:
    """Segment every photo of the datasets and count.

    Args:
        segmenter: the model, with its resize policy.
        datasets: taken together, as if they were one.
        advance: called with 1 after each photo, for a progress bar.

    Raises:
        DataError: a dataset's classes are not the model's, in number, order and name; or there is no photo at all.
    """
    for dataset in datasets:
        check_classes(segmenter.classes, dataset.classes)
    classes = segmenter.classes
    matrix = ConfusionMatrix(len(classes), ignore_index=classes.ignore_index)
    per_image, ids = [], []
    for dataset in datasets:
        for index in range(len(dataset)):
            sample = dataset[index]
            prediction, _ = segmenter.predict(sample.image)
            per_image.append(matrix.update(sample.mask, prediction, name=sample.id))
            ids.append(sample.id)
            advance(1)
    if not per_image:
        raise DataError("There is no photo to measure the model on.")
    return Evaluation(matrix, np.stack(per_image), tuple(ids), classes)


def check_classes(model: ClassTable, dataset: ClassTable) -> None:
    """Refuse to compare answers with ground truth that means something else by the same number.

    Raises:
        DataError: names or ignore_index differ; colours may.
    """
    if model.names != dataset.names:
        differing = [
            f"{i}: {a!r}, {b!r}" for i, (a, b) in enumerate(zip(model.names, dataset.names, strict=False)) if a != b
        ]
        detail = f"first at {differing[0]}" if differing else f"{len(model)} and {len(dataset)} of them"
        raise DataError(f"The model's classes and the dataset's differ ({detail}); the figures would mean nothing.")
    if model.ignore_index != dataset.ignore_index:
        raise DataError(f"The model ignores {model.ignore_index}, the dataset {dataset.ignore_index}.")
