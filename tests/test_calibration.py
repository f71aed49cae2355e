from __future__ import annotations

import math

import numpy as np
import pytest

from pixelwise.calibration import BINS, calibration_error, reliability


def a_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    target = generator.integers(0, 3, (19, 23)).astype(np.uint8)
    target[generator.random(target.shape) < 0.1] = 255
    confidence = (
        generator.choice([0.0, 1 / 3, 0.4, 0.6, 0.99, 1.0], target.shape) * generator.random(target.shape) ** 0.1
    )
    return target, generator.integers(0, 3, target.shape).astype(np.uint8), confidence.astype(np.float16)


def test_bins_equal_a_loop_over_pixels() -> None:
    target, prediction, confidence = a_case(0)
    expected = np.zeros((3, BINS))
    for true, answer, sure in zip(target.ravel(), prediction.ravel(), confidence.ravel().astype(float), strict=True):
        if true == 255:
            continue
        number = next(i for i in range(BINS) if sure <= (i + 1) / BINS)
        expected[:, number] += 1, true == answer, sure
    np.testing.assert_allclose(reliability(target, prediction, confidence), expected)


@pytest.mark.parametrize("seed", range(4))
def test_the_error_is_that_of_torchmetrics(seed: int) -> None:
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.functional.classification")
    target, prediction, confidence = a_case(seed)
    sure = np.clip(confidence, 0.4, 1.0).astype(np.float32)  # of three classes the predicted one has a third at least
    probabilities = np.repeat(((1 - sure) / 2)[None], 3, axis=0)
    np.put_along_axis(probabilities, prediction[None].astype(np.int64), sure[None], axis=0)
    theirs = classification.multiclass_calibration_error(
        torch.from_numpy(probabilities)[None], torch.from_numpy(target)[None].long(), 3, n_bins=BINS, ignore_index=255
    )
    ours = calibration_error(reliability(target, prediction, sure))
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)


def test_one_who_is_always_right_and_sure_has_no_error_and_one_who_is_always_wrong_has_all() -> None:
    target = np.zeros((4, 5), np.uint8)
    sure = np.ones(target.shape, np.float16)
    assert calibration_error(reliability(target, target, sure)) == 0
    assert calibration_error(reliability(target, target + 1, sure)) == 1
    assert calibration_error(reliability(target, target, sure / 2)) == pytest.approx(0.5)


def test_nothing_labelled_is_undefined_and_sums_are_of_pixels() -> None:
    target = np.full((4, 5), 255, np.uint8)
    nothing = reliability(target, target, np.ones(target.shape, np.float16))
    assert math.isnan(calibration_error(nothing))
    cases = [reliability(*a_case(seed)) for seed in range(3)]
    together = reliability(*(np.concatenate(parts) for parts in zip(*(a_case(seed) for seed in range(3)), strict=True)))
    np.testing.assert_allclose(np.sum([nothing, *cases], axis=0), together)
    np.testing.assert_allclose(calibration_error(np.stack(cases)), [float(calibration_error(case)) for case in cases])
