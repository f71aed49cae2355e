"""The weighted sum of losses that a run is trained with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pixelwise.losses.cross_entropy import cross_entropy_loss
from pixelwise.losses.dice import soft_dice_loss
from pixelwise.losses.focal import focal_loss
from pixelwise.losses.lovasz import lovasz_softmax_loss
from pixelwise.losses.ohem import ohem_cross_entropy_loss


@dataclass(frozen=True, slots=True, eq=False)
class CombinedLoss:
    """A weighted sum of losses; those of weight 0 are not computed.

    Attributes:
        cross_entropy: weight of `cross_entropy_loss`.
        dice: weight of `soft_dice_loss`.
        focal: weight of `focal_loss`.
        lovasz: weight of `lovasz_softmax_loss`.
        ohem: weight of `ohem_cross_entropy_loss`.
        class_weights: (C,) float or none, for the three that are means over pixels: cross-entropy, focal, OHEM. Dice
            and Lovász take all classes alike already.
        label_smoothing: of the cross-entropy.
        focal_gamma: exponent of the focal loss.
        ohem_threshold: probability below which a pixel is hard.
        ohem_min_share: least share of the pixels that count as hard.
        ignore_index: pixels that do not count.

    Raises:
        ValueError: no weight is positive.
    """

    cross_entropy: float = 1.0
    dice: float = 0.0
    focal: float = 0.0
    lovasz: float = 0.0
    ohem: float = 0.0
    class_weights: Tensor | None = None
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    ohem_threshold: float = 0.7
    ohem_min_share: float = 1 / 16
    ignore_index: int = 255

    def __post_init__(self) -> None:
        if max(self.cross_entropy, self.dice, self.focal, self.lovasz, self.ohem) <= 0:
            raise ValueError("every loss has weight 0; give one of them a positive weight")

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum, ().

        Args:
            logits: (B, C, H, W) float, raw scores.
            target: (B, H, W) int64 in [0, C) or ignore_index.

        Returns:
            () float; exactly 0 when every pixel is ignored.

        Raises:
            ValueError: the shapes disagree; the message gives both.
        """
        ignore_index, class_weights = self.ignore_index, self.class_weights
        terms: list[Tensor] = []
        if self.cross_entropy > 0:
            cross_entropy = cross_entropy_loss(
                logits,
                target,
                ignore_index=ignore_index,
                class_weights=class_weights,
                label_smoothing=self.label_smoothing,
            )
            terms.append(self.cross_entropy * cross_entropy)
        if self.dice > 0:
            terms.append(self.dice * soft_dice_loss(logits, target, ignore_index=ignore_index))
        if self.focal > 0:
            focal = focal_loss(
                logits, target, gamma=self.focal_gamma, class_weights=class_weights, ignore_index=ignore_index
            )
            terms.append(self.focal * focal)
        if self.lovasz > 0:
            terms.append(self.lovasz * lovasz_softmax_loss(logits, target, ignore_index=ignore_index))
        if self.ohem > 0:
            ohem = ohem_cross_entropy_loss(
                logits,
                target,
                threshold=self.ohem_threshold,
                min_share=self.ohem_min_share,
                class_weights=class_weights,
                ignore_index=ignore_index,
            )
            terms.append(self.ohem * ohem)
        total, *others = terms
        for term in others:
            total = total + term
        return total
