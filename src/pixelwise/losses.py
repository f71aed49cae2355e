"""Losses: (logits, target) -> scalar, finite also when every pixel is ignored."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def _check(logits: Tensor, target: Tensor) -> None:
    if logits.ndim != 4 or target.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"logits are {tuple(logits.shape)}, target is {tuple(target.shape)}; expected (B, C, H, W), (B, H, W)"
        )


def cross_entropy_loss(logits: Tensor, target: Tensor, *, ignore_index: int = 255) -> Tensor:
    """Mean over the labelled pixels of minus the log of the probability given to the true class.

    Args:
        logits: (B, C, H, W) float, raw scores.
        target: (B, H, W) int64 in [0, C) or ignore_index.
        ignore_index: pixels that do not count.

    Returns:
        () float; exactly 0 when every pixel is ignored.

    Raises:
        ValueError: the shapes disagree; the message gives both.
    """
    _check(logits, target)
    total = F.cross_entropy(logits.float(), target, ignore_index=ignore_index, reduction="sum")
    return total / (target != ignore_index).sum().clamp(min=1)


def soft_dice_loss(logits: Tensor, target: Tensor, *, ignore_index: int = 255, smooth: float = 1.0) -> Tensor:
    """One minus the mean soft Dice coefficient over the classes present in the batch.

    Args:
        logits: (B, C, H, W) float, raw scores.
        target: (B, H, W) int64 in [0, C) or ignore_index.
        ignore_index: pixels that do not count.
        smooth: added to numerator and denominator, in pixels; keeps a tiny class finite.

    Returns:
        () float in [0, 1]; exactly 0 when every pixel is ignored.

    Raises:
        ValueError: the shapes disagree; the message gives both.

    Source: Milletari et al. 2016, arXiv:1606.04797. Departs: softmax over classes, ignored pixels masked, and the plain
    sum of probabilities in the denominator rather than of their squares.
    """
    _check(logits, target)
    labelled = target != ignore_index
    probabilities = logits.float().softmax(dim=1) * labelled.unsqueeze(1)
    num_classes = logits.shape[1]
    safe = torch.where(labelled, target, 0).unsqueeze(1)
    # dice_c = (2 * sum p_c [y = c] + s) / (sum p_c + sum [y = c] + s)
    hit = probabilities.gather(1, safe).flatten()
    overlap = torch.zeros(num_classes, device=logits.device).index_add(0, safe.flatten(), hit)
    count = torch.zeros(num_classes, device=logits.device).index_add(0, safe.flatten(), labelled.flatten().float())
    dice = (2 * overlap + smooth) / (probabilities.sum(dim=(0, 2, 3)) + count + smooth)
    present = count > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)
