"""Cross-entropy: what nearly every network here was first trained with."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pixelwise.losses.pixels import at_least_float32, check, mean_of, weights_of_pixels


def cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int = 255,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean over the labelled pixels of minus the log of the probability given to the true class.

    Args:
        logits: (B, C, H, W) float, raw scores.
        target: (B, H, W) int64 in [0, C) or ignore_index.
        ignore_index: pixels that do not count.
        class_weights: (C,) float, how much a pixel counts by its true class; the mean is over the sum of these weights.
        label_smoothing: share of the truth, 0 to 1, that is spread evenly over all classes (Szegedy et al. 2016,
            arXiv:1512.00567, section 7); with class weights, each class's part of it by that class's weight, as torch
            has it.

    Returns:
        () float; exactly 0 when every pixel is ignored, or is of a class that has no weight.

    Raises:
        ValueError: the shapes disagree; the message gives both.
    """
    check(logits, target, class_weights)
    scores = at_least_float32(logits)
    total = F.cross_entropy(
        scores,
        target,
        weight=None if class_weights is None else class_weights.to(scores),
        ignore_index=ignore_index,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    return mean_of(total, weights_of_pixels(target, class_weights, ignore_index=ignore_index).sum())
