from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from pixelwise.bootstrap import bootstrap_mean_iou
from pixelwise.boundary import BoundaryIoU, boundary_f1, outline_matches
from pixelwise.calibration import calibration_error, reliability
from pixelwise.errors import PixelwiseError
from pixelwise.figures import OVERALL, PER_CLASS, Counts, figures, in_points, milliseconds, photos
from pixelwise.metrics import ConfusionMatrix, class_mean, mean_image_iou, scores

CLASSES = 4


def pairs(count: int, *, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Masks of three of four classes, some ignored; answers that are mostly right; how sure of them."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        target = np.kron(generator.integers(0, 3, (4, 5)), np.ones((8, 8))).astype(np.uint8)
        answer = np.where(generator.random(target.shape) < 0.9, target, generator.integers(0, 3, target.shape))
        target[:2] = 255
        made.append((target, answer.astype(np.uint8), generator.random(target.shape).astype(np.float16)))
    return made


def counted(cases: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[Counts, ConfusionMatrix, BoundaryIoU]:
    matrix, bands = ConfusionMatrix(CLASSES), BoundaryIoU(CLASSES)
    rows = [
        (
            matrix.update(target, answer),
            bands.update(target, answer),
            outline_matches(target, answer, num_classes=CLASSES),
            reliability(target, answer, sure),
        )
        for target, answer, sure in cases
    ]
    return Counts(*(np.stack(column) for column in zip(*rows, strict=True))), matrix, bands


def test_every_estimate_is_that_of_its_own_definition() -> None:
    cases = pairs(6)
    counts, matrix, bands = counted(cases)
    found, expected = figures(counts), scores(matrix)
    own = {
        "mean_image_iou": mean_image_iou(counts.confusion).value,
        "mean_boundary_iou": class_mean(bands.per_class()).value,
        "mean_boundary_f1": class_mean(boundary_f1(counts.boundary_f1.sum(axis=0)).tolist()).value,
        "calibration_error": float(calibration_error(counts.reliability.sum(axis=0))),
    }
    assert set(found.overall) == set(OVERALL)
    assert set(found.per_class) == set(PER_CLASS)
    for key, value in found.overall.items():
        assert value.estimate == pytest.approx(own[key] if key in own else getattr(expected, key)), key
    per_class = {"boundary_iou": bands.per_class(), "boundary_f1": boundary_f1(counts.boundary_f1.sum(axis=0))}
    for key, values in found.per_class.items():
        wanted = per_class[key] if key in per_class else getattr(expected, key)
        assert [value.estimate for value in values] == pytest.approx(list(wanted), nan_ok=True), key
        assert math.isnan(values[3].estimate)
        assert math.isnan(values[3].low)


def test_intervals_are_those_of_a_loop_over_draws() -> None:
    counts, _, _ = counted(pairs(5))
    found = figures(counts, resamples=100, seed=3)
    assert found.overall["mean_iou"] == bootstrap_mean_iou(counts.confusion, resamples=100, seed=3)
    generator = np.random.default_rng(3)
    drawn: dict[str, list[float]] = {key: [] for key in OVERALL}
    for weights in generator.multinomial(5, np.full(5, 0.2), size=100):
        again = Counts(*(np.repeat(getattr(counts, each.name), weights, axis=0) for each in fields(Counts)))
        once = figures(again, resamples=100)
        for key, value in once.overall.items():
            drawn[key].append(value.estimate)
    for key, value in found.overall.items():
        assert (value.low, value.high) == pytest.approx(tuple(np.percentile(drawn[key], (2.5, 97.5)))), key


def test_the_order_of_the_photos_does_not_matter_to_the_figures() -> None:
    cases = pairs(6)
    first, second = figures(counted(cases)[0]), figures(counted(cases[::-1])[0])
    for key, value in first.overall.items():
        assert value.estimate == pytest.approx(second.overall[key].estimate, abs=1e-12)


def test_a_photo_without_a_labelled_pixel_changes_nothing_and_alone_is_undefined() -> None:
    cases = pairs(3)
    blank = (np.full_like(cases[0][0], 255), *cases[0][1:])
    usual, more = figures(counted(cases)[0]), figures(counted([*cases, blank])[0])
    for key, value in usual.overall.items():
        assert more.overall[key].estimate == pytest.approx(value.estimate), key
    alone = figures(counted([blank])[0])
    assert all(math.isnan(value.estimate) and math.isnan(value.low) for value in alone.overall.values())


def test_what_rests_on_a_single_photo_has_no_interval() -> None:
    """Drawn anew it would be the same photo again, and the interval as wide as a point."""
    cases = pairs(8)
    target, answer, _ = cases[3]
    target[9:20, 10:30] = answer[12:22, 10:30] = 3  # in no other photo
    found = figures(counted(cases)[0])
    for key in PER_CLASS:
        *others, last = found.per_class[key]
        assert all(each.low < each.estimate < each.high for each in others)
        assert not math.isnan(last.estimate)
        assert math.isnan(last.low)
        assert math.isnan(last.high)
    assert found.overall["mean_iou"].low < found.overall["mean_iou"].high
    for value in figures(counted(cases[3:4])[0]).overall.values():
        assert not math.isnan(value.estimate)
        assert not value.is_known


def test_too_few_draws_are_refused() -> None:
    with pytest.raises(PixelwiseError, match="at least 100"):
        figures(counted(pairs(2))[0], resamples=99)


@pytest.mark.parametrize(
    ("seconds", "read"), [(0.0061234, "6.12"), (0.0347, "34.7"), (0.18349, "183"), (0.9996, "1000"), (2.3872, "2387")]
)
def test_milliseconds_have_three_digits_and_no_exponent(seconds: float, read: str):
    assert milliseconds(seconds) == read


@pytest.mark.parametrize(
    ("difference", "read"),
    [
        (0.0312, "3.1"),
        (-0.0312, "\N{MINUS SIGN}3.1"),
        (0.0005, "0.1"),
        (0.0003, "0.03"),
        (-0.00004, "\N{MINUS SIGN}0.004"),
        (0.0, "0.0"),
        (-1e-17, "0.0"),
        (1.0, "100.0"),
    ],
)
def test_a_small_difference_is_not_read_as_none_nor_a_zero_with_a_sign(difference: float, read: str):
    assert in_points(difference) == read


def test_one_photo_is_not_several():
    assert [photos(count) for count in (0, 1, 2)] == ["0 photos", "1 photo", "2 photos"]
