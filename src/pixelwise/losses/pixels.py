"""What the losses share: the check of shapes, precision, and means over the pixels that count."""

from __future__ import annotations

import torch
from torch import Tensor


def check(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> None:
    """See that logits are (B, C, H, W), the target is (B, H, W) and class weights are (C,).

    Raises:
        ValueError: they are not; the message gives the shapes.
    """
    if logits.ndim != 4 or target.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"logits are {tuple(logits.shape)}, target is {tuple(target.shape)}; expected (B, C, H, W), (B, H, W)"
        )
    if class_weights is not None and class_weights.shape != logits.shape[1:2]:
        raise ValueError(
            f"class weights are {tuple(class_weights.shape)}, logits are {tuple(logits.shape)}; expected (C,), "
            "(B, C, H, W)"
        )


def at_least_float32(logits: Tensor) -> Tensor:
    """Half precision as float32; float64 stays what it is, for checks of gradients."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def log_probability_of_truth(logits: Tensor, target: Tensor, *, ignore_index: int) -> Tensor:
    """(B, H, W): log of the probability given to the true class; of class 0 where the pixel is ignored."""
    safe = torch.where(target != ignore_index, target, 0).unsqueeze(1)
    return at_least_float32(logits).log_softmax(dim=1).gather(1, safe).squeeze(1)


def weights_of_pixels(target: Tensor, class_weights: Tensor | None, *, ignore_index: int) -> Tensor:
    """(B, H, W): each pixel's weight, that of its class or 1; 0 where it is ignored."""
    labelled = target != ignore_index
    if class_weights is None:
        return labelled
    return class_weights.to(target.device)[torch.where(labelled, target, 0)] * labelled


def mean_of(total: Tensor, weight: Tensor) -> Tensor:
    """A weighted sum over its weight, and exactly 0 where there is no weight; all of them ()."""
    return torch.where(weight > 0, total / torch.where(weight > 0, weight, 1), 0)
