from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from helpers import COLOURS, SPEC, ColourEngine, colourful_photo
from pixelwise.data import Sample
from pixelwise.errors import DataError, MaskError
from pixelwise.evaluate import check_classes, evaluate
from pixelwise.labels import ClassTable
from pixelwise.segmenter import Segmenter


@dataclass
class Listed:
    """A dataset of given samples."""

    samples: list[Sample]
    classes: ClassTable = COLOURS
    split: str = "val"
    opened: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        self.opened.append(index)
        return self.samples[index]


def samples(count: int, *, seed: int) -> list[Sample]:
    generator = np.random.default_rng(seed)
    made = []
    for i in range(count):
        height, width = (int(length) for length in generator.integers(5, 40, 2))
        mask = generator.choice(np.array([0, 1, 2, 3, 255], np.uint8), (height, width))
        made.append(Sample(colourful_photo(height, width, seed=i), mask, f"{seed}-{i}"))
    return made


def segmenter() -> Segmenter:
    return Segmenter(ColourEngine(), COLOURS, SPEC)


def test_counts_are_those_of_a_plain_loop_over_pixels():
    first, second = Listed(samples(3, seed=0)), Listed(samples(2, seed=1))
    found = evaluate(segmenter(), [first, second])
    counts = np.zeros((5, 4, 4), np.int64)
    for index, sample in enumerate(first.samples + second.samples):
        answer, _ = segmenter().predict(sample.image)
        for truth, predicted in zip(sample.mask.ravel(), answer.ravel(), strict=True):
            if truth != 255:
                counts[index, truth, predicted] += 1
    np.testing.assert_array_equal(found.per_image, counts)
    np.testing.assert_array_equal(found.matrix.counts, counts.sum(axis=0))
    assert found.ids == ("0-0", "0-1", "0-2", "1-0", "1-1")
    assert found.scores.images == 5
    assert found.scores.pixel_accuracy == pytest.approx(np.trace(counts.sum(axis=0)) / counts.sum())
    assert found.classes == COLOURS


def test_each_sample_is_opened_once_and_reported_once():
    dataset, calls = Listed(samples(4, seed=0)), []
    evaluate(segmenter(), [dataset], advance=calls.append)
    assert dataset.opened == [0, 1, 2, 3]
    assert len(calls) == 4


def test_ground_truth_made_from_the_answers_is_met_in_full():
    made = [Sample(s.image, segmenter().predict(s.image)[0], s.id) for s in samples(3, seed=0)]
    assert evaluate(segmenter(), [Listed(made)]).scores.pixel_accuracy == 1


def test_no_photo_is_said():
    with pytest.raises(DataError, match="no photo"):
        evaluate(segmenter(), [Listed([])])
    with pytest.raises(DataError, match="no photo"):
        evaluate(segmenter(), [])


def test_a_mask_with_a_stray_value_is_named():
    made = samples(2, seed=0)
    made[1].mask[0, 0] = 77
    with pytest.raises(MaskError, match="0-1"):
        evaluate(segmenter(), [Listed(made)])


def test_classes_may_differ_in_colour_only():
    grey = ((9, 9, 9),) * 4
    check_classes(COLOURS, ClassTable(COLOURS.names, grey))
    with pytest.raises(DataError, match="first at 2: 'green', 'cat'"):
        check_classes(COLOURS, ClassTable(("background", "red", "cat", "dog"), grey))
    with pytest.raises(DataError, match="4 and 3 of them"):
        check_classes(COLOURS, ClassTable(COLOURS.names[:3], grey[:3]))
    with pytest.raises(DataError, match="ignores 255, the dataset 100"):
        check_classes(COLOURS, ClassTable(COLOURS.names, grey, ignore_index=100))


def test_a_dataset_of_other_classes_is_refused_before_the_first_photo():
    good = Listed(samples(2, seed=0))
    other = Listed(samples(2, seed=1), ClassTable(("a", "b", "c", "d"), COLOURS.colours))
    with pytest.raises(DataError, match="mean nothing"):
        evaluate(segmenter(), [good, other])
    assert good.opened == []
