"""Soft Dice: the overlap of each class, however few its pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from pixelwise.losses.pixels import at_least_float32, check

_BLOCK = 1 << 19
"""Pixels that are added one after another; beside a sum of millions, float32 has no room for a probability."""


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
    check(logits, target)
    labelled = target != ignore_index
    probabilities = at_least_float32(logits).softmax(dim=1) * labelled.unsqueeze(1)
    safe = torch.where(labelled, target, 0)
    # dice_c = (2 * sum p_c [y = c] + s) / (sum p_c + sum [y = c] + s)
    hit = probabilities.gather(1, safe.unsqueeze(1))
    overlap, count = (_sums(each.flatten(), safe.flatten(), logits.shape[1]) for each in (hit, labelled.to(hit.dtype)))
    dice = (2 * overlap + smooth) / (probabilities.sum(dim=(0, 2, 3)) + count + smooth)
    present = count > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def _sums(values: Tensor, ids: Tensor, classes: int) -> Tensor:
    """Of values (N) and class ids (N), the sum of each class's, (classes)."""
    zeros = values.new_zeros(classes)
    blocks = zip(torch.split(ids, _BLOCK), torch.split(values, _BLOCK), strict=True)
    return torch.stack([zeros.index_add(0, *block) for block in blocks]).sum(dim=0)
