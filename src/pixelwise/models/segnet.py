"""SegNet: a decoder that mirrors VGG-16 and puts each value back where max pooling took it from.

Source: Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
Segmentation", TPAMI 2017, arXiv:1511.00561.

As there: the thirteen convolutions of VGG-16, each followed by batch normalisation and ReLU; a decoder with as many, in
mirrored order; unpooling by the stored positions of the maxima, and nothing else goes from encoder to decoder;
upsampling has no weights; the last convolution gives the scores.

Departs: the position of a maximum is stored as four booleans, one for each place in its 2x2 window, not as an index
into the map. `torch.nn.functional.max_unpool2d` does not export to ONNX; comparisons and a pixel shuffle do, to the
same numbers. Weights start as He et al. 2015 (arXiv:1502.01852) in decoder and encoder alike.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelwise.models.registry import Paper, Weights, register
from pixelwise.models.vgg import STAGES, conv3x3, load_vgg16, vgg16_stages


def max_pool_with_positions(x: Tensor) -> tuple[Tensor, Tensor]:
    """2x2 max pooling that says where each maximum was; the first of equal ones, row by row.

    Args:
        x: (B, C, H, W), H and W even.

    Returns:
        maxima (B, C, H / 2, W / 2); positions bool (B, C, 4, H / 2, W / 2), one of the four true: upper left, upper
        right, lower left, lower right.
    """
    maxima = F.max_pool2d(x, 2, 2)
    corner, right, lower = (x[..., row::2, column::2] == maxima for row, column in ((0, 0), (0, 1), (1, 0)))
    right = right & ~corner
    lower = lower & ~(corner | right)
    return maxima, torch.stack([corner, right, lower, ~(corner | right | lower)], dim=2)


def max_unpool(x: Tensor, positions: Tensor) -> Tensor:
    """Each value at the position of its maximum, zeros elsewhere; what `max_unpool2d` gives.

    Args:
        x: (B, C, h, w).
        positions: bool (B, C, 4, h, w) of `max_pool_with_positions`.

    Returns:
        (B, C, 2 h, 2 w).
    """
    return F.pixel_shuffle((positions * x[:, :, None]).flatten(1, 2), 2)


EXPLANATION = (
    "The encoder shrinks the photo five times; each time it keeps the largest of four neighbouring values and "
    "notes which of the four it was. The decoder goes back step by step: it puts each value where the note says, "
    "zeros around it, and convolutions fill the gaps. Only these notes, the pooling indices, cross from encoder "
    "to decoder, no feature maps."
)


@register(
    "segnet",
    family="SegNet",
    encoder="VGG-16",
    paper=Paper(
        "Badrinarayanan, Kendall, Cipolla",
        "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
        "TPAMI 2017",
        "1511.00561",
        "Figure 2",
    ),
    weights={"imagenet": Weights("VGG16_BN_Weights.IMAGENET1K_V1")},
    summary="VGG-16 and its mirror image; the decoder learns from where the encoder's maxima were.",
    strengths="Answers at the photo's own resolution, with a quarter of FCN's weights and little memory for skips.",
    limits="Positions say where, not what: features lost by pooling stay lost; the decoder is as slow as VGG-16.",
    explanation=EXPLANATION,
)
class SegNet(nn.Module):
    """SegNet; see the head of the file.

    Args:
        num_classes: number of output channels, the background included.
    """

    size_multiple = 32

    def __init__(self, *, num_classes: int) -> None:
        super().__init__()
        self.encoder = vgg16_stages(batch_norm=True)
        self.decoder = nn.ModuleDict()
        for number in range(len(STAGES), 0, -1):
            widths = STAGES[number - 1]
            after = STAGES[number - 2][-1] if number > 1 else num_classes
            outputs = (*widths[:-1], after)
            layers = [
                layer
                for width, out in zip(widths, outputs, strict=True)
                for layer in conv3x3(width, out, batch_norm=True)
            ]
            if number == 1:
                layers = layers[:-2]  # the scores have neither normalisation nor ReLU
            self.decoder[f"deconv{number}"] = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_classes, H, W) logits, for any H, W >= 1."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.size_multiple, 0, -height % self.size_multiple))
        positions = []
        for stage in self.encoder.values():
            x, position = max_pool_with_positions(stage(x))  # (B, C, H / 2, W / 2)
            positions.append(position)
        for stage in self.decoder.values():
            x = stage(max_unpool(x, positions.pop()))  # (B, C, 2 h, 2 w)
        return x[..., :height, :width]

    def load_encoder(self, weights: str | Path) -> None:
        """Load torchvision's ImageNet weights of VGG-16 with batch normalisation, "imagenet" or a file of them.

        Raises:
            PixelwiseError: the weights cannot be had, or do not fit.
        """
        load_vgg16(self.encoder, weights, batch_norm=True)
