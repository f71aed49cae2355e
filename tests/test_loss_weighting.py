from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from pixelwise.losses import Weighting, class_weights, pixels_of_photos_with
from pixelwise.recipe import Loss

# Three photos, four classes; the last one is in none.
PHOTOS = np.array([[60, 40, 0, 0], [90, 0, 10, 0], [200, 0, 0, 0]])
PIXELS = PHOTOS.sum(axis=0)
WITH = np.array([400, 100, 100, 0])


def scaled(*raw: float) -> list[float]:
    """To a mean of 1, and 1 for the class that has no pixel."""
    return [*(np.array(raw) / np.mean(raw)), 1.0]


def test_the_pixels_of_the_photos_that_show_a_class():
    found = pixels_of_photos_with(PHOTOS)
    assert found.tolist() == WITH.tolist()
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("none", [1, 1, 1, 1]),
        ("inverse", scaled(1 / 350, 1 / 40, 1 / 10)),
        # frequencies 350/400, 40/100, 10/100; their median is 0.4
        ("median_frequency", scaled(0.4 / 0.875, 1.0, 4.0)),
        ("effective_number", scaled(*(0.01 / (1 - 0.99**n) for n in (350, 40, 10)))),
    ],
)
def test_weights_of_a_case_by_hand(scheme: Weighting, expected: list[float]):
    weights = class_weights(PIXELS, scheme=scheme, pixels_of_photos_with=WITH, beta=0.99)
    assert weights.dtype == np.float32
    assert weights.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scheme", get_args(Weighting))
@pytest.mark.parametrize(
    "pixels", [[3 * 10**12, 1, 5000], [0, 7, 0], [0, 0, 0], [2, 2, 2]], ids=["far apart", "one", "no", "alike"]
)
def test_weights_are_finite_and_positive_and_one_on_average(scheme: Weighting, pixels: list[int]):
    counts = np.array(pixels)
    weights = class_weights(counts, scheme=scheme, pixels_of_photos_with=np.full(3, counts.sum()))
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    assert np.mean(weights[counts > 0] if counts.any() else weights) == pytest.approx(1)
    assert (weights[counts == 0] == 1).all()


@pytest.mark.parametrize("scheme", ["inverse", "median_frequency", "effective_number"])
def test_a_rarer_class_weighs_more(scheme: Weighting):
    weights = class_weights(PIXELS, scheme=scheme, pixels_of_photos_with=np.full(4, 400))
    assert weights[0] < weights[1] < weights[2]


def test_an_effective_number_is_between_all_alike_and_the_inverse():
    def weights(beta: float) -> list[float]:
        return class_weights(PIXELS, scheme="effective_number", beta=beta).tolist()

    assert weights(0.0) == pytest.approx([1, 1, 1, 1])
    assert weights(1 - 1e-9) == pytest.approx(class_weights(PIXELS, scheme="inverse").tolist(), rel=1e-4)


def test_what_is_missing_or_out_of_range_is_said():
    with pytest.raises(ValueError, match="needs pixels_of_photos_with"):
        class_weights(PIXELS, scheme="median_frequency")
    for beta in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"expected 0 <= beta < 1"):
            class_weights(PIXELS, scheme="effective_number", beta=beta)


def test_a_recipe_takes_the_same_schemes():
    assert get_args(Loss.model_fields["class_weights"].annotation) == get_args(Weighting)
