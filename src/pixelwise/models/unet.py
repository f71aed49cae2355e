"""U-Net on a pretrained encoder, ending at stride 4; for the network of the paper see `unet2015.py`.

Source: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015,
arXiv:1505.04597.

Departs from the paper:

- the contracting path is an image classification network from timm, whose pretrained weights carry most of what a small
  dataset cannot teach;
- upsampling is bilinear rather than a transposed convolution, which leaves no checkerboard;
- convolutions are padded and followed by batch normalisation, so that the output has the size of the input;
- the expanding path stops at stride 4 by default and the logits are upsampled from there: the two finest levels would
  cost more than all the others together;
- a context block at the coarsest level: parallel depthwise convolutions of several dilation rates, after Chen et al.,
  "Rethinking Atrous Convolution", 2017, arXiv:1706.05587, without that paper's image pooling, so that the answer for
  a pixel depends on a bounded neighbourhood only and a photo may be segmented in tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelwise.errors import PixelwiseError
from pixelwise.models.encoders import create_encoder, load_imagenet_weights
from pixelwise.models.registry import Weights, register
from pixelwise.models.unet2015 import PAPER


class ConvNormAct(nn.Sequential):
    """3x3 (or 1x1) convolution, batch normalisation, ReLU; keeps height and width."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int = 3) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class ContextBlock(nn.Module):
    """Sum of depthwise 3x3 convolutions of several dilation rates over a 1x1 reduction, mixed by a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, rates: Sequence[int] = (1, 2, 4)) -> None:
        super().__init__()
        self.reduce = ConvNormAct(in_channels, out_channels, kernel_size=1)
        self.branches = nn.ModuleList(
            nn.Conv2d(out_channels, out_channels, 3, padding=rate, dilation=rate, groups=out_channels, bias=False)
            for rate in rates
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.mix = ConvNormAct(out_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        x = self.reduce(x)
        context = self.branches[0](x)
        for branch in list(self.branches)[1:]:
            context = context + branch(x)
        mixed: Tensor = self.mix(F.relu(self.norm(context) + x))
        return mixed


class DecoderBlock(nn.Module):
    """Upsample to the skip connection's size, concatenate, two 3x3 convolutions."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels + skip_channels, out_channels)
        self.conv2 = ConvNormAct(out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, in_channels, h, w), (B, skip_channels, H, W) -> (B, out_channels, H, W)."""
        x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        merged: Tensor = self.conv2(self.conv1(torch.cat([x, skip], dim=1)))
        return merged


EXPLANATION = (
    "A U-Net whose left side is a network that has already learned to tell a thousand kinds of things apart in "
    "photos, and whose right side is light: it climbs back to a quarter of the photo's sides, with a copy of the "
    "left side's map at each size, and the scores are enlarged from there. At the bottom, a context block looks "
    "at three distances at once."
)


@register(
    "unet",
    family="U-Net",
    encoder="any of timm",
    paper=PAPER,
    weights={"imagenet": Weights("tf_efficientnet_lite0", "timm", "Apache-2.0")},
    summary="A classification network that knows photographs already, and a light U-Net decoder down to stride 4.",
    strengths="The one to start with: learns from few photos, small, quick on a processor, and safe to run in tiles.",
    limits="Logits at stride 4 are interpolated: lines of a pixel or two are lost unless the decoder goes further.",
    explanation=EXPLANATION,
)
class UNet(nn.Module):
    """U-Net on a timm encoder; see the head of the file.

    Args:
        num_classes: number of output channels, the background included.
        encoder: name in timm; any network with a pyramid of features down to stride 32.
        context_channels: width of the context block.
        decoder_channels: width of each decoder level, coarsest first; three levels end at stride 4, four at stride 2.
        dropout: share of the channels before the classifier that are dropped in training.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: str = "tf_efficientnet_lite0",
        context_channels: int = 128,
        decoder_channels: Sequence[int] = (112, 80, 64),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder_name = encoder
        self.encoder = create_encoder(encoder)
        channels = self.encoder.feature_info.channels()[::-1]  # type: ignore[union-attr, operator]
        strides = self.encoder.feature_info.reduction()[::-1]  # type: ignore[union-attr, operator]
        self.size_multiple = strides[0]
        sizes = [context_channels, *decoder_channels]
        if not 1 <= len(decoder_channels) < len(channels):
            raise PixelwiseError(
                f"{encoder} has {len(channels)} levels; decoder_channels takes 1 to {len(channels) - 1}."
            )
        if min(sizes) < 1:
            raise PixelwiseError(f"The widths are {sizes}; expected 1 channel or more each.")
        self.output_stride = strides[len(decoder_channels)]
        self.context = ContextBlock(channels[0], context_channels)
        self.decoder = nn.ModuleList(
            DecoderBlock(sizes[i], channels[i + 1], sizes[i + 1]) for i in range(len(decoder_channels))
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(sizes[-1], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_classes, H, W) logits, for any H, W >= 1."""
        height, width = x.shape[-2:]
        # The encoder halves the size five times; zero is the mean colour, so padding looks like a plain border to it.
        x = F.pad(x, (0, -width % self.size_multiple, 0, -height % self.size_multiple))
        y = F.interpolate(self.scores(x), size=x.shape[-2:], mode="bilinear", align_corners=False)
        return y[..., :height, :width]

    def scores(self, x: Tensor) -> Tensor:
        """(B, 3, H, W), multiples of `size_multiple` -> logits (B, num_classes, H / s, W / s); s is `output_stride`."""
        features = self.encoder(x)[::-1]
        y = self.context(features[0])
        for block, skip in zip(self.decoder, features[1:], strict=False):
            y = block(y, skip)
        logits: Tensor = self.classifier(self.dropout(y))
        return logits

    def load_encoder(self, weights: str | Path) -> None:
        """Load ImageNet weights into the encoder: "imagenet", timm's own, or a file of them.

        Raises:
            PixelwiseError: the weights cannot be had, or do not fit.
        """
        load_imagenet_weights(self.encoder, self.encoder_name, weights)
