"""What FCN-ResNet and DeepLabV3 share in torchvision: a backbone, a head on its end, an auxiliary head on its middle.

The keys of the state dict are torchvision's (`backbone`, `classifier`, `aux_classifier`), so that its weights load.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from pixelwise.models.outputs import WithAuxiliary
from pixelwise.models.weights import load_encoder


class FCNHead(nn.Sequential):
    """3x3 convolution to a quarter of the channels, batch normalisation, ReLU, dropout, 1x1 convolution to scores."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        channels = in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(channels, num_classes, 1),
        )


class BackboneWithHeads(nn.Module):
    """Scores at the backbone's stride, interpolated bilinearly to the photo's size.

    Args:
        backbone: (B, 3, H, W) -> a map from its middle and its last one.
        classifier: scores the last map.
        aux_classifier: scores the one from the middle, in training only; None for none.
        output_stride: of the last map.
    """

    size_multiple = 1  # convolutions and pooling take any size, and the answer is interpolated to the photo's

    def __init__(
        self, backbone: nn.Module, classifier: nn.Module, aux_classifier: nn.Module | None, *, output_stride: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier
        self.output_stride = output_stride

    def forward(self, x: Tensor) -> Tensor | WithAuxiliary:
        """(B, 3, H, W) -> (B, num_classes, H, W) logits, for any H, W >= 1; in training with the auxiliary ones."""
        size = x.shape[-2:]
        middle, final = self.backbone(x)
        logits = _resize(self.classifier(final), size)
        if self.training and self.aux_classifier is not None:
            return WithAuxiliary(logits, _resize(self.aux_classifier(middle), size))
        return logits

    def scores(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_classes, ceil(H / s), ceil(W / s)) logits; s is `output_stride`."""
        _, final = self.backbone(x)
        logits: Tensor = self.classifier(final)
        return logits

    def load_encoder(self, weights: str | Path) -> None:
        """Load ImageNet weights into the backbone: "imagenet", torchvision's `IMAGENET1K_V1`, or a file of them.

        Raises:
            PixelwiseError: the weights cannot be had, or do not fit.
        """
        load_encoder(self.backbone, weights)


def _resize(scores: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
