"""Cross-entropy with online hard example mining (OHEM): over the hard pixels only."""

from __future__ import annotations

import math

from torch import Tensor

from pixelwise.losses.pixels import check, log_probability_of_truth, mean_of, weights_of_pixels


def ohem_cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    *,
    threshold: float = 0.7,
    min_share: float = 1 / 16,
    class_weights: Tensor | None = None,
    ignore_index: int = 255,
) -> Tensor:
    """Cross-entropy over the labelled pixels whose true class has a probability below a threshold.

    Args:
        logits: (B, C, H, W) float, raw scores.
        target: (B, H, W) int64 in [0, C) or ignore_index.
        threshold: 0 to 1; pixels below it are hard.
        min_share: 0 to 1, share of the labelled pixels of the batch that are taken in any case, the hardest first, and
            all that are as hard as the last of them.
        class_weights: (C,) float, how much a pixel counts by its true class; the mean is over the sum of these weights.
            Which pixels are hard does not depend on them.
        ignore_index: pixels that do not count.

    Returns:
        () float; exactly 0 when every pixel is ignored, or is of a class that has no weight.

    Raises:
        ValueError: the shapes disagree; the message gives both.

    Source: Shrivastava, Gupta, Girshick 2016, arXiv:1604.03540. Departs: pixels where the paper has regions, and a
    threshold with a least share where it has a fixed number, as is usual in segmentation.
    """
    check(logits, target, class_weights)
    log_p = log_probability_of_truth(logits, target, ignore_index=ignore_index)
    probability = log_p.detach().exp()
    hard = probability < threshold
    of_labelled = probability[target != ignore_index]
    if count := math.ceil(min_share * len(of_labelled)):
        hard |= probability <= of_labelled.kthvalue(count).values
    weight = weights_of_pixels(target, class_weights, ignore_index=ignore_index) * hard
    return mean_of(-(weight * log_p).sum(), weight.sum())
