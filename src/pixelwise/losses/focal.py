"""Focal loss: cross-entropy in which pixels that are right already hardly count."""

from __future__ import annotations

import torch
from torch import Tensor

from pixelwise.losses.pixels import check, log_probability_of_truth, mean_of, weights_of_pixels


def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    class_weights: Tensor | None = None,
    ignore_index: int = 255,
) -> Tensor:
    """Mean over the labelled pixels of -(1 - p)^gamma log p, where p is the probability given to the true class.

    Args:
        logits: (B, C, H, W) float, raw scores.
        target: (B, H, W) int64 in [0, C) or ignore_index.
        gamma: 0 or more; 0 is cross-entropy, and the larger, the less counts what is right already.
        class_weights: (C,) float, the paper's alpha: how much a pixel counts by its true class; the mean is over the
            sum of these weights.
        ignore_index: pixels that do not count.

    Returns:
        () float; exactly 0 when every pixel is ignored, or is of a class that has no weight.

    Raises:
        ValueError: the shapes disagree; the message gives both.

    Source: Lin et al. 2017, arXiv:1708.02002, equation 5. Departs: softmax over classes where the paper has a sigmoid
    for each, and the sum is divided by the labelled pixels rather than by those of objects.
    """
    check(logits, target, class_weights)
    log_p = log_probability_of_truth(logits, target, ignore_index=ignore_index)
    # The power's slope at 0 is infinite for gamma < 1; the loss itself is 0 there.
    missing = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).eps)
    weight = weights_of_pixels(target, class_weights, ignore_index=ignore_index)
    return mean_of(-(weight * missing**gamma * log_p).sum(), weight.sum())
