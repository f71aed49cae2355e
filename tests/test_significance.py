from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pixelwise import significance
from pixelwise.errors import PixelwiseError
from pixelwise.significance import holm, permutation_test

Stack = np.ndarray


def stack(photos: int, accuracy: float, *, seed: int) -> Stack:
    """Confusion matrices of three classes; the ground truth of a photo is the same for all seeds."""
    generator = np.random.default_rng(seed)
    made = np.zeros((photos, 3, 3), np.int64)
    for i in range(photos):
        for c, pixels in enumerate(np.random.default_rng(i).multinomial(300, [0.5, 0.3, 0.2])):
            right = float(np.clip(accuracy + generator.normal(0, 0.05), 0, 1))
            odds = np.full(3, (1 - right) / 2)
            odds[c] = right
            made[i, c] = generator.multinomial(pixels, odds)
    return made


def mean_iou(counts: Stack) -> float:
    values = []
    for c in range(len(counts)):
        union = counts[c].sum() + counts[:, c].sum() - counts[c, c]
        if union:
            values.append(counts[c, c] / union)
    return sum(values) / len(values) if values else math.nan


def every_exchange(first: Stack, second: Stack) -> float:
    """The share of all 2**N ways to hand the answers out whose difference is as large as the one seen."""
    seen = abs(mean_iou(first.sum(axis=0)) - mean_iou(second.sum(axis=0)))
    reached = 0
    ways = list(itertools.product((False, True), repeat=len(first)))
    for way in ways:
        swap = np.array(way)[:, None, None]
        one, other = np.where(swap, second, first).sum(axis=0), np.where(swap, first, second).sum(axis=0)
        reached += abs(mean_iou(one) - mean_iou(other)) >= seen - 1e-12
    return reached / len(ways)


@pytest.mark.parametrize("accuracy", [0.7, 0.72, 0.75])
def test_the_chance_is_that_of_all_exchanges_one_by_one(accuracy: float):
    first, second = stack(10, 0.7, seed=1), stack(10, accuracy, seed=2)
    found = permutation_test(first, second, permutations=20_000)
    assert found == pytest.approx(every_exchange(first, second), abs=0.015)


def test_a_model_does_not_differ_from_itself():
    same = stack(20, 0.8, seed=0)
    assert permutation_test(same, same) == 1


def test_a_clear_difference_is_as_improbable_as_the_number_of_permutations_can_say():
    assert permutation_test(stack(30, 0.9, seed=1), stack(30, 0.6, seed=2), permutations=999) == 1 / 1000


def test_of_two_equally_good_models_a_twentieth_is_called_different():
    """The share of false alarms is the one that the p-value promises."""
    found = [
        permutation_test(stack(12, 0.7, seed=2 * i), stack(12, 0.7, seed=2 * i + 1), permutations=400, seed=i)
        for i in range(300)
    ]
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.085
    assert 0.43 < np.mean(np.array(found) < 0.5) < 0.57


def test_blocks_and_order_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    first, second = stack(9, 0.7, seed=1), stack(9, 0.74, seed=2)
    whole = permutation_test(first, second, permutations=500, seed=3)
    monkeypatch.setattr(significance, "_BLOCK_CELLS", 50)
    assert permutation_test(first, second, permutations=500, seed=3) == whole


def test_models_that_were_measured_on_other_photos_are_refused():
    with pytest.raises(PixelwiseError, match=r"not measured alike: stacks \(9, 3, 3\) and \(8, 3, 3\)"):
        permutation_test(stack(9, 0.7, seed=1), stack(8, 0.7, seed=2))


def test_where_nothing_is_labelled_nothing_differs():
    nothing = np.zeros((4, 3, 3), np.int64)
    assert permutation_test(nothing, nothing, permutations=100) == 1


def test_what_is_no_stack_of_matrices_is_refused():
    with pytest.raises(PixelwiseError, match="one int64 confusion matrix an image"):
        permutation_test(np.zeros((3, 3)), np.zeros((3, 3)))


def test_holm_multiplies_by_the_tests_that_are_left():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
