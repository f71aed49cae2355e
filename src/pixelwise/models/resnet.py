"""Dilated ResNet, the encoder of FCN-ResNet and DeepLabV3: torchvision's ResNet without its classifier.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385; the last stages keep
their resolution by dilation in place of stride, after Yu, Koltun, Funkhouser, "Dilated Residual Networks", CVPR 2017,
arXiv:1705.09914, and Chen et al. 2017, arXiv:1706.05587.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from torchvision.models import resnet50, resnet101
from torchvision.models.resnet import ResNet

from pixelwise.models.weights import encoder_state, fit

_RESNETS: dict[int, Callable[..., ResNet]] = {50: resnet50, 101: resnet101}

MIDDLE_CHANNELS, FINAL_CHANNELS = 1024, 2048


class DilatedResNet(nn.Module):
    """ResNet-50 or -101 at an output stride of 8 or 16, under torchvision's keys.

    Args:
        depth: 50 or 101.
        output_stride: at 8, layer3 and layer4 are dilated by 2 and 4; at 16, layer4 by 2.

    Raises:
        ValueError: another output stride.
    """

    def __init__(self, depth: int, *, output_stride: int = 8) -> None:
        super().__init__()
        if output_stride not in (8, 16):
            raise ValueError(f"output_stride is {output_stride!r}, expected 8 or 16")
        self.depth = depth
        parts = _RESNETS[depth](weights=None, replace_stride_with_dilation=[False, output_stride == 8, True])
        self.conv1, self.bn1, self.relu, self.maxpool = parts.conv1, parts.bn1, parts.relu, parts.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = parts.layer1, parts.layer2, parts.layer3, parts.layer4

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> layer3's (B, 1024, h, w) and layer4's (B, 2048, h', w')."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        middle = self.layer3(self.layer2(self.layer1(x)))
        return middle, self.layer4(middle)

    def load_encoder(self, weights: str | Path) -> None:
        """Load "imagenet", torchvision's `IMAGENET1K_V1`, or a file of its `resnet50` or `resnet101`.

        Raises:
            PixelwiseError: the weights cannot be had, or do not fit.
        """
        state, source = encoder_state(weights, imagenet=f"ResNet{self.depth}_Weights.IMAGENET1K_V1")
        fit(self, {k: v for k, v in state.items() if not k.startswith("fc.")}, source=source)
