from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from pixelwise import bootstrap
from pixelwise.bootstrap import Interval, bootstrap_mean_iou, bootstrap_mean_iou_difference
from pixelwise.errors import PixelwiseError

Stack = NDArray[np.int64]


def random_stack(rng: np.random.Generator, images: int, accuracy: float, num_classes: int = 3) -> Stack:
    """Images of 100 pixels with differing hardness; the ground truth of an image depends on its number only."""
    stack = np.zeros((images, num_classes, num_classes), dtype=np.int64)
    for i in range(images):
        truth = np.random.default_rng(i).multinomial(100, np.full(num_classes, 1 / num_classes))
        hit = np.clip(accuracy + 0.2 * math.sin(i), 0, 1)
        for c, pixels in enumerate(truth):
            odds = np.full(num_classes, (1 - hit) / (num_classes - 1))
            odds[c] = hit
            stack[i, c] = rng.multinomial(pixels, odds)
    return stack


def mean_iou_of(counts: Stack, over: list[int]) -> float:
    values = []
    for c in over:
        union = int(counts[c].sum() + counts[:, c].sum() - counts[c, c])
        if union:
            values.append(int(counts[c, c]) / union)
    return sum(values) / len(values) if values else math.nan


def slow_resamples(stack: Stack, resamples: int, seed: int, over: list[int]) -> list[float]:
    """One resample at a time, whole matrices summed image by image."""
    generator = np.random.default_rng(seed)
    images = len(stack)
    means = []
    for _ in range(resamples):
        drawn = np.repeat(np.arange(images), generator.multinomial(images, np.full(images, 1 / images)))
        means.append(mean_iou_of(sum((stack[i] for i in drawn), start=np.zeros_like(stack[0])), over))
    return means


@pytest.mark.parametrize("over", [None, [0, 2]])
def test_the_interval_equals_a_resample_by_resample_loop(over: list[int] | None) -> None:
    stack = random_stack(np.random.default_rng(1), 12, 0.7)
    stack[:, 1, :] = stack[:, :, 1] = 0
    stack[3, 1, 1] = 9  # class 1 lives in one image only, so that it is undefined in many resamples
    means = slow_resamples(stack, 150, 4, over or [0, 1, 2])
    got = bootstrap_mean_iou(stack, resamples=150, seed=4, over=over)
    assert got.estimate == pytest.approx(mean_iou_of(stack.sum(axis=0), over or [0, 1, 2]), rel=1e-12)
    assert (got.low, got.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), rel=1e-12)


def test_the_difference_equals_a_loop_that_draws_the_same_images_for_both() -> None:
    rng = np.random.default_rng(2)
    first, second = random_stack(rng, 12, 0.6), random_stack(rng, 12, 0.7)
    pairs = zip(slow_resamples(second, 150, 9, [0, 1, 2]), slow_resamples(first, 150, 9, [0, 1, 2]), strict=True)
    expected = np.percentile([b - a for b, a in pairs], [2.5, 97.5])
    got = bootstrap_mean_iou_difference(first, second, resamples=150, seed=9)
    assert (got.low, got.high) == pytest.approx(tuple(expected), rel=1e-9)
    apart = [bootstrap_mean_iou(stack, resamples=100).estimate for stack in (first, second)]
    assert got.estimate == pytest.approx(apart[1] - apart[0])


def test_pairing_takes_out_what_is_hard_for_both() -> None:
    rng = np.random.default_rng(3)
    first, second = random_stack(rng, 60, 0.65), random_stack(rng, 60, 0.70)
    difference = bootstrap_mean_iou_difference(first, second)
    alone = [bootstrap_mean_iou(stack) for stack in (first, second)]
    assert difference.high - difference.low < 0.6 * min(each.high - each.low for each in alone)
    assert alone[0].high > alone[1].low  # the separate intervals overlap
    assert difference.low > 0  # and yet the models differ


def test_swapping_the_models_turns_the_sign() -> None:
    rng = np.random.default_rng(4)
    first, second = random_stack(rng, 20, 0.6), random_stack(rng, 20, 0.8)
    there, back = (bootstrap_mean_iou_difference(a, b, over=[1]) for a, b in ((first, second), (second, first)))
    assert (there.estimate, there.low, there.high) == pytest.approx((-back.estimate, -back.high, -back.low))


def test_a_model_does_not_differ_from_itself() -> None:
    stack = random_stack(np.random.default_rng(5), 20, 0.6)
    assert bootstrap_mean_iou_difference(stack, stack) == Interval(0.0, 0.0, 0.0)


def test_images_that_are_all_alike_leave_no_doubt() -> None:
    got = bootstrap_mean_iou(np.tile(np.array([[[3, 1], [1, 3]]]), (7, 1, 1)))
    assert (got.estimate, got.low, got.high) == pytest.approx((0.6, 0.6, 0.6))


def test_blocks_of_resamples_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = random_stack(np.random.default_rng(6), 10, 0.6)
    whole = bootstrap_mean_iou(stack, resamples=101, seed=3)
    for weights in (5, 70):
        monkeypatch.setattr(bootstrap, "_BLOCK_WEIGHTS", weights)
        assert bootstrap_mean_iou(stack, resamples=101, seed=3) == whole
    assert bootstrap_mean_iou(stack, resamples=101, seed=4) != whole


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    population = random_stack(rng, 4000, 0.6)
    truth = mean_iou_of(population.sum(axis=0), [0, 1, 2])
    covered = 0
    for trial in range(300):
        got = bootstrap_mean_iou(population[rng.integers(0, 4000, 60)], resamples=300, seed=trial)
        covered += got.low <= truth <= got.high
    assert 0.90 <= covered / 300 <= 0.98


def test_all_pixels_ignored_gives_no_interval() -> None:
    got = bootstrap_mean_iou(np.zeros((4, 2, 2), np.int64))
    assert math.isnan(got.estimate)
    assert math.isnan(got.low)
    assert math.isnan(got.high)


def test_resamples_without_a_defined_class_are_left_out() -> None:
    stack = np.zeros((5, 1, 1), np.int64)
    stack[:2] = 5
    assert bootstrap_mean_iou(stack) == Interval(1.0, 1.0, 1.0)


def test_classes_that_a_single_image_has_give_no_interval() -> None:
    """In each draw it would be the same image again; a class beside it that others have changes that."""
    stack = random_stack(np.random.default_rng(1), 6, 0.7)
    stack[:, 1, :] = stack[:, :, 1] = 0
    stack[3, 1] = (2, 9, 3)
    got = bootstrap_mean_iou(stack, over=[1])
    assert got.estimate == 9 / 14
    assert not got.is_known
    assert bootstrap_mean_iou(stack, over=[1, 2]).is_known
    assert not bootstrap_mean_iou_difference(stack, stack, over=[1]).is_known


def test_models_measured_on_other_images_are_not_compared() -> None:
    rng = np.random.default_rng(8)
    first, second = random_stack(rng, 9, 0.6), random_stack(rng, 9, 0.6)
    with pytest.raises(PixelwiseError, match=r"differs at image 2 .* and 2 in all"):
        bootstrap_mean_iou_difference(first, second[[0, 1, 3, 2, 4, 5, 6, 7, 8]])
    with pytest.raises(PixelwiseError, match="not measured alike"):
        bootstrap_mean_iou_difference(first, second[:8])


def test_arguments_out_of_range_are_refused() -> None:
    stack = random_stack(np.random.default_rng(9), 3, 0.6)
    with pytest.raises(PixelwiseError, match="99 resamples are too few"):
        bootstrap_mean_iou(stack, resamples=99)
    with pytest.raises(PixelwiseError, match="class ids from 0 to 2"):
        bootstrap_mean_iou(stack, over=[3])
    with pytest.raises(PixelwiseError, match="one int64 confusion matrix an image"):
        bootstrap_mean_iou(stack[0])
