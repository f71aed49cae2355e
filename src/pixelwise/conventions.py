"""The mean IoU that other tools would print for the same confusion matrix.

They differ in what they make of a class that is in neither mask, and of one that is predicted but not in the ground
truth. As read in their sources, November 2026; docs/metrics.md says more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixelwise.confusion import intersection_and_union, mean_of_defined, ratio


@dataclass(frozen=True, slots=True)
class Convention:
    """A tool's mean IoU.

    Attributes:
        tool: and the name of the figure there.
        mean_iou: fraction 0 to 1; nan is undefined.
        how: what it does with classes that are missing on one side or on both.
    """

    tool: str
    mean_iou: float
    how: str


def conventions(counts: NDArray[np.int64]) -> tuple[Convention, ...]:
    """One a tool, pixelwise first.

    Args:
        counts: (C, C) pixels, row = class in the ground truth, column = class predicted; no ignored pixels.
    """
    iou = ratio(*intersection_and_union(counts))
    usual = float(mean_of_defined(iou))
    in_truth = iou[counts.sum(axis=1) > 0]
    return (
        Convention("pixelwise", usual, "in neither mask: left out, named; predicted only: 0"),
        Convention("mmsegmentation IoUMetric mIoU", usual, "in neither mask: left out; predicted only: 0"),
        Convention("torchmetrics MulticlassJaccardIndex macro", usual, "in neither mask: left out; predicted only: 0"),
        Convention("PaddleSeg mIoU", float(np.nan_to_num(iou).mean()), "in neither mask: 0; predicted only: 0"),
        Convention(
            "segmentation_models.pytorch iou_score macro",
            float(np.where(np.isnan(iou), 1.0, iou).mean()),
            "in neither mask: 1; predicted only: 0",
        ),
        Convention(
            "Detectron2 SemSegEvaluator mIoU",
            float(in_truth.mean()) if in_truth.size else float("nan"),
            "in neither mask: left out; predicted only: left out",
        ),
    )
