"""DeepLabV3: atrous spatial pyramid pooling (ASPP) on a dilated encoder.

Source: Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017,
arXiv:1706.05587; the networks are those of `torchvision.models.segmentation.deeplabv3_resnet50` and its siblings. The
MobileNetV3 inside the small one: Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244.

Departs from the paper, as torchvision does:

- one 3x3 convolution stands between ASPP and the scores;
- the ResNet's last two stages are dilated by 2 and 4, the first block of each as the stage before, without the paper's
  multi-grid;
- an auxiliary head in training;
- the MobileNetV3 form keeps the rates of output stride 8 although it ends at stride 16.

Departs from torchvision: where a batch holds a single photo, the pooled branch has one value a channel, which has no
variance to normalise by; it then uses its running statistics, where torchvision raises an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v3_large

from pixelwise.models.heads import BackboneWithHeads, FCNHead
from pixelwise.models.registry import Paper, Weights, register
from pixelwise.models.resnet import FINAL_CHANNELS, MIDDLE_CHANNELS, DilatedResNet
from pixelwise.models.weights import encoder_state, fit

PAPER = Paper(
    "Chen, Papandreou, Schroff, Adam",
    "Rethinking Atrous Convolution for Semantic Image Segmentation",
    "2017",
    "1706.05587",
    "Figure 5",
)

RATES = {8: (12, 24, 36), 16: (6, 12, 18)}
"""Dilation rates of ASPP by output stride: the same distances on the photo (section 3.3 of the paper)."""


def _conv_norm_relu(in_channels: int, out_channels: int, *, rate: int | None = None) -> list[nn.Module]:
    """1x1 convolution, or 3x3 of a dilation rate; batch normalisation; ReLU."""
    if rate is None:
        conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    else:
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=rate, dilation=rate, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU()]


class _PooledBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that uses its running statistics where there is one value a channel; see the head."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 1, 1) -> the same."""
        if self.training and len(x) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class ImagePooling(nn.Sequential):
    """The mean over the photo, a 1x1 convolution, and the result everywhere."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            _PooledBatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        pooled: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return pooled.expand(-1, -1, *x.shape[-2:])


class ASPP(nn.Module):
    """A 1x1 convolution, dilated 3x3 convolutions and image pooling side by side, concatenated and mixed."""

    def __init__(self, in_channels: int, rates: Sequence[int], out_channels: int = 256) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Sequential(*_conv_norm_relu(in_channels, out_channels)),
                *(nn.Sequential(*_conv_norm_relu(in_channels, out_channels, rate=rate)) for rate in rates),
                ImagePooling(in_channels, out_channels),
            ]
        )
        width = len(self.convs) * out_channels
        self.project = nn.Sequential(*_conv_norm_relu(width, out_channels), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        mixed: Tensor = self.project(torch.cat([branch(x) for branch in self.convs], dim=1))
        return mixed


class DeepLabHead(nn.Sequential):
    """ASPP, a 3x3 convolution, scores."""

    def __init__(self, in_channels: int, num_classes: int, rates: Sequence[int]) -> None:
        super().__init__(ASPP(in_channels, rates), *_conv_norm_relu(256, 256, rate=1), nn.Conv2d(256, num_classes, 1))


class MobileNetV3(nn.Sequential):
    """The features of torchvision's MobileNetV3-Large, its last stage dilated: output stride 16."""

    MIDDLE, MIDDLE_CHANNELS, FINAL_CHANNELS = 4, 40, 960

    def __init__(self) -> None:
        super().__init__(*mobilenet_v3_large(weights=None, dilated=True).features)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> (B, 40, h, w) at stride 8, (B, 960, h', w') at stride 16."""
        for index, block in enumerate(self):
            x = block(x)
            if index == self.MIDDLE:
                middle = x
        return middle, x

    def load_encoder(self, weights: str | Path) -> None:
        """Load "imagenet", torchvision's `IMAGENET1K_V1`, or a file of its `mobilenet_v3_large`.

        Raises:
            PixelwiseError: the weights cannot be had, or do not fit.
        """
        state, source = encoder_state(weights, imagenet="MobileNet_V3_Large_Weights.IMAGENET1K_V1")
        features = {k.removeprefix("features."): v for k, v in state.items() if not k.startswith("classifier.")}
        fit(self, features, source=source)


def _deeplabv3(depth: int, *, num_classes: int, output_stride: int, auxiliary: bool) -> BackboneWithHeads:
    backbone = DilatedResNet(depth, output_stride=output_stride)
    aux_classifier = FCNHead(MIDDLE_CHANNELS, num_classes) if auxiliary else None
    head = DeepLabHead(FINAL_CHANNELS, num_classes, RATES[output_stride])
    return BackboneWithHeads(backbone, head, aux_classifier, output_stride=output_stride)


EXPLANATION = (
    "Things are near or far, so no single distance to look at is right for all. On top of an encoder whose map is "
    "kept at an eighth of the photo's sides (a sixteenth for MobileNetV3), branches stand side by side: one looks "
    "at each point alone, three at neighbours 12, 24 and 36 units of the map away, and one takes the mean of the "
    "whole photo, since a harbour makes a boat more likely anywhere in it. Their maps are stacked and mixed, each "
    "class gets a score, and the scores are enlarged to the photo's size."
)


@register(
    "deeplabv3_resnet50",
    family="DeepLabV3",
    encoder="ResNet-50",
    paper=PAPER,
    weights={
        "imagenet": Weights("ResNet50_Weights.IMAGENET1K_V1"),
        "coco_voc": Weights("DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1"),
    },
    summary="A dilated ResNet-50, then convolutions of four reaches and the mean of the whole photo side by side.",
    strengths="Sees objects of any size in their surroundings; the usual choice where accuracy counts.",
    limits="Borders are interpolated from stride 8; the pooled branch sees a tile as if it were the photo.",
    explanation=EXPLANATION,
)
def deeplabv3_resnet50(*, num_classes: int, output_stride: int = 8, auxiliary: bool = True) -> BackboneWithHeads:
    """DeepLabV3 on ResNet-50 at an output stride of 8 or 16, with an auxiliary head in training if wanted."""
    return _deeplabv3(50, num_classes=num_classes, output_stride=output_stride, auxiliary=auxiliary)


@register(
    "deeplabv3_resnet101",
    family="DeepLabV3",
    encoder="ResNet-101",
    paper=PAPER,
    weights={
        "imagenet": Weights("ResNet101_Weights.IMAGENET1K_V1"),
        "coco_voc": Weights("DeepLabV3_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1"),
    },
    summary="DeepLabV3-ResNet50 with twice the depth.",
    strengths="The most accurate weights that torchvision has.",
    limits="One point above ResNet-50 in torchvision's figures, for half as many multiply-adds again.",
    explanation=EXPLANATION,
)
def deeplabv3_resnet101(*, num_classes: int, output_stride: int = 8, auxiliary: bool = True) -> BackboneWithHeads:
    """DeepLabV3 on ResNet-101 at an output stride of 8 or 16, with an auxiliary head in training if wanted."""
    return _deeplabv3(101, num_classes=num_classes, output_stride=output_stride, auxiliary=auxiliary)


@register(
    "deeplabv3_mobilenet_v3_large",
    family="DeepLabV3",
    encoder="MobileNetV3-Large",
    paper=PAPER,
    weights={
        "imagenet": Weights("MobileNet_V3_Large_Weights.IMAGENET1K_V1"),
        "coco_voc": Weights("DeepLabV3_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1"),
    },
    summary="DeepLabV3's head on a MobileNetV3 at output stride 16.",
    strengths="As accurate as FCN-ResNet50 in torchvision's figures, for a fourteenth of its multiply-adds.",
    limits="Coarser borders than at stride 8.",
    explanation=EXPLANATION,
)
def deeplabv3_mobilenet_v3_large(*, num_classes: int, auxiliary: bool = True) -> BackboneWithHeads:
    """DeepLabV3 on MobileNetV3-Large, with an auxiliary head in training if wanted."""
    aux_classifier = FCNHead(MobileNetV3.MIDDLE_CHANNELS, num_classes) if auxiliary else None
    head = DeepLabHead(MobileNetV3.FINAL_CHANNELS, num_classes, RATES[8])
    return BackboneWithHeads(MobileNetV3(), head, aux_classifier, output_stride=16)
