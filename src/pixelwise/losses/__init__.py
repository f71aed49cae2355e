"""Losses: (logits, target) -> scalar, finite also when every pixel is ignored; and weights for rare classes.

Logits are (B, C, H, W), targets (B, H, W). Whatever the precision of the logits, losses count in float32 at least.
"""

from pixelwise.losses.combined import CombinedLoss
from pixelwise.losses.cross_entropy import cross_entropy_loss
from pixelwise.losses.dice import soft_dice_loss
from pixelwise.losses.focal import focal_loss
from pixelwise.losses.lovasz import lovasz_softmax_loss
from pixelwise.losses.ohem import ohem_cross_entropy_loss
from pixelwise.losses.weighting import Weighting, class_weights, pixels_of_photos_with

__all__ = [
    "CombinedLoss",
    "Weighting",
    "class_weights",
    "cross_entropy_loss",
    "focal_loss",
    "lovasz_softmax_loss",
    "ohem_cross_entropy_loss",
    "pixels_of_photos_with",
    "soft_dice_loss",
]
