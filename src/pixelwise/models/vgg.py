"""VGG-16, the encoder of FCN and SegNet: thirteen 3x3 convolutions in five stages.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
arXiv:1409.1556, configuration D. Batch normalisation, which the paper has not, as in torchvision's `vgg16_bn`.
"""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor, nn

from pixelwise.errors import PixelwiseError
from pixelwise.models.weights import State, encoder_state, fit

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the convolutions, stage by stage; a 2x2 max pooling follows each stage."""


def conv3x3(in_channels: int, out_channels: int, *, batch_norm: bool, padding: int = 1) -> list[nn.Module]:
    """3x3 convolution, batch normalisation if wanted, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=padding)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    norm = [nn.BatchNorm2d(out_channels)] if batch_norm else []
    return [conv, *norm, nn.ReLU(inplace=True)]


def vgg16_stages(*, batch_norm: bool, first_padding: int = 1) -> nn.ModuleDict:
    """The stages "conv1" to "conv5", each (B, C, H, W) -> (B, C', H, W), without the pooling between them.

    Args:
        batch_norm: normalise after each convolution.
        first_padding: of the very first convolution, in pixels.
    """
    stages, channels = nn.ModuleDict(), 3
    for number, widths in enumerate(STAGES, start=1):
        layers: list[nn.Module] = []
        for width in widths:
            layers += conv3x3(
                channels, width, batch_norm=batch_norm, padding=1 if layers or number > 1 else first_padding
            )
            channels = width
        stages[f"conv{number}"] = nn.Sequential(*layers)
    return stages


def load_vgg16(stages: nn.ModuleDict, weights: str | Path, *, batch_norm: bool) -> State:
    """Load ImageNet weights into the stages.

    Args:
        stages: changed in place.
        weights: "imagenet" for torchvision's, or a file of its `vgg16` or `vgg16_bn`.
        batch_norm: as for `vgg16_stages`.

    Returns:
        the whole state dict under torchvision's keys, for layers beyond the stages.

    Raises:
        PixelwiseError: the weights cannot be had, or do not fit.
    """
    state, source = encoder_state(weights, imagenet=f"VGG16{'_BN' if batch_norm else ''}_Weights.IMAGENET1K_V1")
    fit(stages, _renamed(stages, state, source), source=source)
    return state


def _renamed(stages: nn.ModuleDict, state: State, source: str) -> dict[str, Tensor]:
    """The convolutions' tensors under the stages' keys: torchvision counts the layers through, pooling included."""
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in stages.state_dict()))
    found = {key: re.fullmatch(r"features\.(\d+)\.(\w+)", key) for key in state if key.startswith("features.")}
    theirs = sorted({int(match[1]) for match in found.values() if match})
    if len(theirs) != len(layers) or None in found.values():
        raise PixelwiseError(
            f"{source} does not fit VGG-16: it has {len(theirs)} layers with weights under 'features', "
            f"expected {len(layers)} and nothing else."
        )
    names = dict(zip(theirs, layers, strict=True))
    return {f"{names[int(match[1])]}.{match[2]}": state[key] for key, match in found.items() if match}
