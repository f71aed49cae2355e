"""What a network with an auxiliary head gives in training."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class WithAuxiliary(NamedTuple):
    """The answers of a network and of its auxiliary head; in evaluation mode a network gives its logits alone.

    Attributes:
        logits: (B, num_classes, H, W).
        auxiliary: likewise, from a layer further in; its loss helps the early layers to learn.
    """

    logits: Tensor
    auxiliary: Tensor
