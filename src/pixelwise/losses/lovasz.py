"""Lovász-Softmax: a smooth stand-in for the mean IoU itself."""

from __future__ import annotations

import torch
from torch import Tensor

from pixelwise.losses.pixels import at_least_float32, check


def lovasz_softmax_loss(logits: Tensor, target: Tensor, *, ignore_index: int = 255) -> Tensor:
    """Mean over the classes present in the batch of the Lovász extension of one minus the IoU.

    Args:
        logits: (B, C, H, W) float, raw scores.
        target: (B, H, W) int64 in [0, C) or ignore_index.
        ignore_index: pixels that do not count.

    Returns:
        () float in [0, 1]; exactly 0 when every pixel is ignored.

    Raises:
        ValueError: the shapes disagree; the message gives both.

    Source: Berman, Triki, Blaschko 2018, arXiv:1705.08790: the multiclass form, over the classes present and over the
    pixels of the whole batch.
    """
    check(logits, target)
    labelled = (target != ignore_index).flatten()
    scores = at_least_float32(logits).transpose(0, 1).flatten(1)[:, labelled]
    probabilities, labels = scores.softmax(dim=0), target.flatten()[labelled]  # (C, N), (N,)
    present = labels.bincount(minlength=logits.shape[1]).nonzero().flatten().tolist()
    total = probabilities[:, :0].sum()  # 0, with a gradient also where no class is present
    for c in present:
        truth = labels == c
        errors = torch.where(truth, 1 - probabilities[c], probabilities[c])
        largest_first, order = errors.sort(descending=True)
        total = total + largest_first @ _rise_of_jaccard(truth[order], dtype=errors.dtype)
    return total / max(1, len(present))


def _rise_of_jaccard(truth: Tensor, *, dtype: torch.dtype) -> Tensor:
    """How much the Jaccard loss of a class rises with each further pixel that is wrong.

    Args:
        truth: (N,) bool, whether the pixels are of the class, which some are, in the order in which they become wrong.
        dtype: of the answer.

    Returns:
        (N,): with I of the class's pixels still right, and U of them and the others that are wrong, the loss is
        1 - I / U. A pixel of the class takes 1 from I, and the loss rises by 1 / U; any other one adds 1 to U, and it
        rises by I / (U - 1) - I / U = I / (U (U - 1)). Written so, nothing is lost by taking a difference of two
        numbers near 1, as it would be with millions of pixels.
    """
    right = truth.sum() - truth.cumsum(0)
    union = (truth.sum() + (~truth).cumsum(0)).to(dtype)
    return torch.where(truth, 1 / union, right / (union * (union - 1).clamp(min=1)))
