"""FCN on a dilated ResNet, as torchvision has it.

Source: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, arXiv:1411.4038;
the network is that of `torchvision.models.segmentation.fcn_resnet50`.

Departs from the paper, as torchvision does:

- the encoder is a ResNet whose last two stages are dilated, so that it ends at stride 8; there are no skip connections;
- a 3x3 convolution stands before the scores, and these are interpolated bilinearly, without learning;
- an auxiliary head on layer3 in training, after Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017,
  arXiv:1612.01105.
"""

from __future__ import annotations

from dataclasses import replace

from pixelwise.models import fcn
from pixelwise.models.heads import BackboneWithHeads, FCNHead
from pixelwise.models.registry import Weights, register
from pixelwise.models.resnet import FINAL_CHANNELS, MIDDLE_CHANNELS, DilatedResNet

PAPER = replace(fcn.PAPER, figure="Figure 1")


def _fcn(depth: int, *, num_classes: int, auxiliary: bool) -> BackboneWithHeads:
    aux_classifier = FCNHead(MIDDLE_CHANNELS, num_classes) if auxiliary else None
    classifier = FCNHead(FINAL_CHANNELS, num_classes)
    return BackboneWithHeads(DilatedResNet(depth), classifier, aux_classifier, output_stride=8)


EXPLANATION = (
    "A ResNet that has learned to name what is in photos is changed in its last two stages: they no longer halve "
    "the map, which stays at an eighth of the photo's sides, and spread their filters instead (a dilation rate of "
    "2 looks at every second neighbour), so that they still see as far. A convolution and a layer of scores "
    "follow; the scores are enlarged to the photo's size."
)


@register(
    "fcn_resnet50",
    family="FCN",
    encoder="ResNet-50",
    paper=PAPER,
    weights={
        "imagenet": Weights("ResNet50_Weights.IMAGENET1K_V1"),
        "coco_voc": Weights("FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1"),
    },
    summary="A ResNet-50 that is dilated to stride 8, one convolution, scores, interpolation.",
    strengths="Plain and dependable, with a quarter of the weights of the FCNs on VGG-16.",
    limits="Sees at one scale only; the dilated stages cost much time and memory.",
    explanation=EXPLANATION,
)
def fcn_resnet50(*, num_classes: int, auxiliary: bool = True) -> BackboneWithHeads:
    """FCN-ResNet50, with an auxiliary head in training if wanted."""
    return _fcn(50, num_classes=num_classes, auxiliary=auxiliary)


@register(
    "fcn_resnet101",
    family="FCN",
    encoder="ResNet-101",
    paper=PAPER,
    weights={
        "imagenet": Weights("ResNet101_Weights.IMAGENET1K_V1"),
        "coco_voc": Weights("FCN_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1"),
    },
    summary="FCN-ResNet50 with twice the depth.",
    strengths="Three points of mean IoU above FCN-ResNet50 in torchvision's figures.",
    limits="Half as many multiply-adds again; DeepLabV3-ResNet50 has a higher mean IoU in those figures for fewer.",
    explanation=EXPLANATION,
)
def fcn_resnet101(*, num_classes: int, auxiliary: bool = True) -> BackboneWithHeads:
    """FCN-ResNet101, with an auxiliary head in training if wanted."""
    return _fcn(101, num_classes=num_classes, auxiliary=auxiliary)
