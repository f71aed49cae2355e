from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from helpers import COLOURS, SPEC, ColourEngine, colourful_photo
from pixelwise.data import Sample
from pixelwise.errors import DataError, EngineError, MaskError
from pixelwise.evaluate import evaluate, predictor
from pixelwise.figures import figures
from pixelwise.labels import ClassTable
from pixelwise.segmenter import Segmenter


@dataclass
class Listed:
    """A dataset of given samples."""

    samples: list[Sample]
    classes: ClassTable = COLOURS
    split: str = "val"
    opened: list[int] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [sample.id for sample in self.samples]

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


def test_a_pair_that_does_not_fit_is_listed_and_in_no_figure_where_that_is_asked_for():
    made, calls = samples(3, seed=0), []
    made[1].mask[0, 0] = 77
    found = evaluate(segmenter(), [Listed(made)], skip_failures=True, advance=calls.append)
    assert [name for name, _ in found.failed] == ["0-1"]
    assert "77 (1 pixels)" in found.failed[0][1]
    assert found.ids == ("0-0", "0-2")
    assert len(calls) == 3
    without = evaluate(segmenter(), [Listed([made[0], made[2]])])
    assert found.matrix == without.matrix
    assert figures(found.counts) == figures(without.counts)
    with pytest.raises(DataError, match=r"No photo of 1 can be measured; the first: .*77"):
        evaluate(segmenter(), [Listed([made[1]])], skip_failures=True)


def test_a_model_that_cannot_be_run_is_no_matter_of_a_photo():
    class Broken(ColourEngine):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            raise EngineError("out of order")

    with pytest.raises(EngineError, match="out of order"):
        evaluate(Segmenter(Broken(), COLOURS, SPEC), [Listed(samples(2, seed=0))], skip_failures=True)


def test_counts_of_photos_are_those_of_each_alone():
    made = samples(3, seed=0)
    together = evaluate(segmenter(), [Listed(made)]).counts
    alone = [evaluate(segmenter(), [Listed([sample])]).counts for sample in made]
    for name in ("confusion", "boundary_iou", "boundary_f1", "reliability"):
        np.testing.assert_array_equal(getattr(together, name), np.concatenate([getattr(one, name) for one in alone]))
    assert together.confusion.sum() == together.reliability[:, 0].sum()


def test_answers_count_as_the_classes_that_they_are_mapped_to():
    two = ClassTable(("nothing", "something"), ((0, 0, 0), (9, 9, 9)))
    mapping = {"background": "nothing", "rest": "something"}
    made = [Sample(s.image, np.minimum(segmenter().predict(s.image)[0], 1), s.id) for s in samples(3, seed=0)]
    found = evaluate(segmenter(), [Listed(made, two)], mapping=mapping)
    assert found.classes == two
    assert found.scores.pixel_accuracy == 1
    mask, confidence = predictor(segmenter(), two, mapping)(made[0].image)
    np.testing.assert_array_equal(mask, made[0].mask)
    np.testing.assert_array_equal(confidence, segmenter().predict(made[0].image)[1])


def test_classes_may_differ_in_colour_and_order():
    made = samples(3, seed=0)
    grey = ClassTable(COLOURS.names, ((9, 9, 9),) * 4)
    usual = evaluate(segmenter(), [Listed(made)])
    assert evaluate(segmenter(), [Listed(made, grey)]).matrix == usual.matrix
    turned = ClassTable(COLOURS.names[::-1], COLOURS.colours)
    mirrored = [Sample(s.image, np.where(s.mask < 4, 3 - s.mask, s.mask).astype(np.uint8), s.id) for s in made]
    found = evaluate(segmenter(), [Listed(mirrored, turned)])
    np.testing.assert_array_equal(found.matrix.counts, usual.matrix.counts[::-1, ::-1])


def test_a_dataset_of_other_classes_is_refused_before_the_first_photo():
    good = Listed(samples(2, seed=0))
    other = Listed(samples(2, seed=1), ClassTable(("a", "b", "c", "d"), COLOURS.colours))
    with pytest.raises(DataError, match="differ from each other"):
        evaluate(segmenter(), [good, other])
    with pytest.raises(DataError, match="--map background=a"):
        evaluate(segmenter(), [other])
    assert good.opened == other.opened == []
