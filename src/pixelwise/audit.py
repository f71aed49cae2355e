"""Which masks of a dataset are probably wrong, by what a model thinks of each of their pixels.

The scores are cleanlab's, after Lad and Mueller 2023, arXiv:2307.05080; cleanlab is the extra `audit` and imported only
inside the functions. A photo's score depends on that photo alone, so that one at a time is in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixelwise.confusion import check_labels
from pixelwise.data.sample import Dataset, Sample, for_each
from pixelwise.errors import DataError, needs_extra
from pixelwise.figures import percent
from pixelwise.labels import ClassTable
from pixelwise.matching import match_classes
from pixelwise.segmenter import Advance, Segmenter
from pixelwise.tiling import Probabilities

DOUBT = 0.1
"""A pixel is doubtful where the model gives its labelled class a probability below this; cleanlab's own default."""

MOST_BYTES = 1 << 30
"""Of the probabilities of one photo; a larger one is refused."""

_SWAPS = 5  # how many of a photo's are kept


@dataclass(frozen=True, slots=True)
class Swap:
    """Doubtful pixels of one kind: the class they are labelled as, the one they probably are, and how many."""

    given: int
    suggested: int
    pixels: int


@dataclass(frozen=True, slots=True)
class AuditedPhoto:
    """What a model thinks of one mask.

    Attributes:
        id: of the photo.
        score: 0 to 1, cleanlab's softmin; the lower, the more probably the mask is wrong.
        labelled: pixels that have a class.
        doubted: how many of those are doubtful.
        swaps: what is doubted, the most pixels first; five at most.
    """

    id: str
    score: float
    labelled: int
    doubted: int
    swaps: tuple[Swap, ...]

    @property
    def doubted_share(self) -> float:
        """Of the labelled pixels, 0 to 1."""
        return self.doubted / self.labelled


@dataclass(frozen=True, slots=True)
class ClassDoubt:
    """What is doubted of a class in the whole dataset: its id, its labelled pixels, and what they probably are."""

    id: int
    labelled: int
    swaps: tuple[Swap, ...]

    @property
    def doubted(self) -> int:
        """Its doubtful pixels."""
        return sum(swap.pixels for swap in self.swaps)


@dataclass(frozen=True, slots=True)
class Audit:
    """What came of a dataset.

    Attributes:
        photos: the worst first.
        unscored: the photos without a labelled pixel, by id.
        failed: the photos that could not be audited, by id, with the reason; they are in nothing else.
        classes: of the dataset.
        labelled: (C,) int64, labelled pixels by class.
        doubted: (C, C) int64, doubtful pixels; row = class labelled, column = class that is probable.
    """

    photos: tuple[AuditedPhoto, ...]
    unscored: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    classes: ClassTable
    labelled: NDArray[np.int64]
    doubted: NDArray[np.int64]

    def by_class(self) -> tuple[ClassDoubt, ...]:
        """The classes that are labelled anywhere, the one of which the greatest share is doubted first."""
        swaps = swaps_of(self.doubted)
        rows = [
            ClassDoubt(i, pixels, tuple(swap for swap in swaps if swap.given == i))
            for i, pixels in enumerate(self.labelled.tolist())
            if pixels
        ]
        return tuple(sorted(rows, key=lambda row: -row.doubted / row.labelled))


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a model thinks of the pixels of one mask.

    Attributes:
        score: of the photo, nan where nothing is labelled.
        answer: uint8 (H, W), the most probable class of each pixel.
        doubtful: bool (H, W), labelled pixels whose class is improbable and not the answer.
    """

    score: float
    answer: NDArray[np.uint8]
    doubtful: NDArray[np.bool_]


class Auditor:
    """A model, and what its classes count as in a dataset.

    Args:
        segmenter: the model, with its resize policy.
        classes: of the dataset.
        mapping: what classes of the model count as, see `pixelwise.matching.match_classes`. The probabilities of
            those that count as the same are added up; a class of the dataset that none counts as has probability 0.

    Raises:
        DataError: as `match_classes` says.
        PixelwiseError: cleanlab is not installed.
    """

    def __init__(self, segmenter: Segmenter, classes: ClassTable, mapping: Mapping[str, str] | None = None) -> None:
        need_cleanlab()
        self.segmenter, self.classes = segmenter, classes
        self._targets = match_classes(segmenter.classes, classes, mapping)

    def opinion(self, sample: Sample) -> Opinion:
        """What the model thinks of a photo's mask.

        Raises:
            DataError: the photo is so large that the probabilities of all its pixels would not fit `MOST_BYTES`.
            MaskError: as `pixelwise.confusion.check_labels` says.
            EngineError: the model cannot be run.
        """
        probabilities = self._probabilities(sample)
        answer = probabilities.argmax(axis=0).astype(np.uint8)
        classes = self.classes
        check_labels(sample.mask, answer, num_classes=len(classes), ignore_index=classes.ignore_index, name=sample.id)
        labelled = sample.mask != classes.ignore_index
        doubtful = np.zeros(labelled.shape, np.bool_)
        if not labelled.any():
            return Opinion(float("nan"), answer, doubtful)
        # Where all is labelled, without a copy of what may be a gigabyte.
        chosen = probabilities.reshape(len(probabilities), -1) if labelled.all() else probabilities[:, labelled]
        score, pixel_scores = quality(sample.mask[labelled], chosen)
        doubtful[labelled] = pixel_scores < DOUBT
        doubtful &= sample.mask != answer  # of many classes, even the most probable may be below it
        return Opinion(score, answer, doubtful)

    def _probabilities(self, sample: Sample) -> Probabilities:
        """Of the dataset's classes: float32 (C, H, W)."""
        height, width = sample.image.shape[:2]
        count = max(len(self.classes), len(self.segmenter.classes))
        if 4 * count * height * width > MOST_BYTES:
            megapixels = MOST_BYTES / (4 * count * 1e6)
            raise DataError(
                f"{sample.id} is {width}x{height} pixels; with {count} classes an audit takes photos of up to "
                f"{megapixels:.1f} megapixels. Scale the photo and its mask down, or cut them into pieces."
            )
        probabilities = self.segmenter.probabilities(sample.image)
        if self._targets is None:
            return probabilities
        summed = np.zeros((len(self.classes), height, width), np.float32)
        for target, values in zip(self._targets, probabilities, strict=True):
            summed[target] += values
        return summed


def audit(auditor: Auditor, dataset: Dataset, *, advance: Advance = lambda share: None) -> Audit:
    """Rank the photos of a dataset by how probably their masks are wrong.

    A pair that cannot be read or does not fit is listed, and the rest done.

    Args:
        auditor: the model, for the dataset's classes.
        dataset: photos and masks.
        advance: called with 1 after each photo, for a progress bar.

    Raises:
        DataError: there is no photo, or none that can be scored.
        EngineError: the model cannot be run.
    """
    if not len(dataset):
        raise DataError("There is no photo to audit.")
    classes = auditor.classes
    labelled, doubted = np.zeros(len(classes), np.int64), np.zeros((len(classes), len(classes)), np.int64)
    photos: list[AuditedPhoto] = []
    unscored: list[str] = []

    def score(sample: Sample) -> None:
        nonlocal labelled, doubted
        opinion = auditor.opinion(sample)
        if np.isnan(opinion.score):
            unscored.append(sample.id)
            return
        pixels, swapped = _counts(sample.mask, opinion, len(classes))
        swaps = swaps_of(swapped)[:_SWAPS]
        photos.append(AuditedPhoto(sample.id, opinion.score, int(pixels.sum()), int(swapped.sum()), swaps))
        labelled += pixels
        doubted += swapped

    failed = for_each(dataset, score, advance=advance)
    if not photos:
        why = f"the first that cannot be audited: {failed[0][1]}" if failed else "no pixel has a label."
        raise DataError(f"No photo of {len(dataset)} can be scored; {why}")
    photos.sort(key=lambda photo: photo.score)
    return Audit(tuple(photos), tuple(unscored), tuple(failed), classes, labelled, doubted)


def quality(labels: NDArray[np.uint8], probabilities: Probabilities) -> tuple[float, NDArray[np.float64]]:
    """The score of one photo, and of each of its pixels, as cleanlab has them.

    Args:
        labels: uint8 (n,), the classes of its labelled pixels, of which there is one at least.
        probabilities: float32 (C, n), of each class.

    Returns:
        the photo's score, 0 to 1, which is the mean of its pixels' with weights that grow as those fall (softmin, at
        cleanlab's temperature of 0.1); float64 (n,), the probability of each pixel's own label.

    Raises:
        PixelwiseError: cleanlab is not installed.
    """
    with needs_extra("An audit", "audit"):
        from cleanlab.segmentation.rank import get_label_quality_scores
    # As a photo of one row: the order of the pixels does not matter to it.
    photo, pixels = get_label_quality_scores(labels[None, None], probabilities[None, :, None], verbose=False)
    return float(photo[0]), pixels[0, 0]


def need_cleanlab() -> None:
    """See that cleanlab is there, before an hour of work.

    Raises:
        PixelwiseError: it is not installed.
    """
    with needs_extra("An audit", "audit"):
        import cleanlab.segmentation.rank  # noqa: F401


def _counts(mask: NDArray[np.uint8], opinion: Opinion, num_classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(C,) int64, labelled pixels by class; (C, C) int64, the doubtful ones: row = class labelled, column = answer."""
    pixels = np.bincount(mask.ravel(), minlength=256)[:num_classes]
    pairs = mask[opinion.doubtful].astype(np.int64) * num_classes + opinion.answer[opinion.doubtful]
    return pixels, np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def swaps_of(counts: NDArray[np.int64]) -> tuple[Swap, ...]:
    """The pairs of classes in a table (C, C) of doubtful pixels, the most pixels first."""
    given, suggested = np.nonzero(counts)
    found = [Swap(int(i), int(j), int(counts[i, j])) for i, j in zip(given, suggested, strict=True)]
    return tuple(sorted(found, key=lambda swap: -swap.pixels))


def told(swap: Swap, labelled: int, classes: ClassTable) -> str:
    """A swap in words, as a share of the labelled pixels of its photo or its class."""
    given, suggested = classes.names[swap.given], classes.names[swap.suggested]
    return f"{given} labelled, {suggested} likely: {percent(swap.pixels / labelled)}"
