from __future__ import annotations

import math

import numpy as np
import pytest

from pixelwise.conventions import conventions
from pixelwise.metrics import ConfusionMatrix, mean_iou


def values(target: np.ndarray, prediction: np.ndarray, classes: int) -> dict[str, float]:
    matrix = ConfusionMatrix(classes)
    matrix.update(target, prediction)
    found = {each.tool.split()[0]: each.mean_iou for each in conventions(matrix.counts)}
    assert found["pixelwise"] == pytest.approx(mean_iou(matrix).value, nan_ok=True)
    return found


def a_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Six classes: 3 is never predicted, 4 predicted only, 5 in neither mask."""
    generator = np.random.default_rng(seed)
    target = generator.integers(0, 4, (20, 30)).astype(np.uint8)
    prediction = np.where(generator.random(target.shape) < 0.6, target, generator.integers(0, 5, target.shape))
    return target, np.where(prediction == 3, 0, prediction).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_torchmetrics_and_smp_print_what_is_said_of_them(seed: int) -> None:
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.functional.classification")
    smp = pytest.importorskip("segmentation_models_pytorch")
    target, prediction = a_case(seed)
    found = values(target, prediction, 6)
    true, answer = torch.from_numpy(target).long()[None], torch.from_numpy(prediction).long()[None]
    jaccard = classification.multiclass_jaccard_index(answer, true, num_classes=6, average="macro")
    assert found["torchmetrics"] == pytest.approx(float(jaccard), abs=1e-6)
    stats = smp.metrics.get_stats(answer, true, mode="multiclass", num_classes=6)
    assert found["segmentation_models.pytorch"] == pytest.approx(
        float(smp.metrics.iou_score(*stats, reduction="macro")), abs=1e-6
    )


def test_the_others_by_hand() -> None:
    # Class 0: 2 of 4, class 1: 1 of 2, class 2: predicted only, class 3: in neither mask.
    target, prediction = np.array([[0, 0, 0, 1, 1]], np.uint8), np.array([[0, 0, 2, 1, 0]], np.uint8)
    found = values(target, prediction, 4)
    assert found["pixelwise"] == found["mmsegmentation"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert found["PaddleSeg"] == pytest.approx(1.0 / 4)
    assert found["Detectron2"] == pytest.approx(1.0 / 2)


def test_nothing_labelled_is_undefined_where_the_tool_leaves_classes_out() -> None:
    nothing = np.full((2, 2), 255, np.uint8)
    found = values(nothing, np.zeros((2, 2), np.uint8), 3)
    assert math.isnan(found["pixelwise"])
    assert math.isnan(found["Detectron2"])
    assert (found["PaddleSeg"], found["segmentation_models.pytorch"]) == (0.0, 1.0)
