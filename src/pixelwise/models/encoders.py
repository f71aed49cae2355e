"""Encoders: timm's classification networks as pyramids of features, with their pretrained weights.

Source of the networks and of the weights: Wightman, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from pixelwise.errors import PixelwiseError, did_you_mean
from pixelwise.models.weights import read_state


def create_encoder(name: str) -> nn.Module:
    """A timm network that returns its feature maps, finest first, with random weights.

    Networks ported from TensorFlow pad by a rule that depends on the size of the input; their convolutions are replaced
    by ones that pad for even sizes, which is the same for inputs whose sides are multiples of the coarsest stride, and
    which exporters with free sizes understand.

    Returns:
        module: float (B, 3, H, W) -> list of (B, C_i, H / s_i, W / s_i); `feature_info.channels()` and
        `feature_info.reduction()` give C_i and the strides s_i.

    Raises:
        PixelwiseError: timm knows no such network (the message lists close names), or its features are no pyramid of
            maps that a decoder could climb (the message says why).
    """
    _check_pyramid(name)
    encoder: nn.Module = timm.create_model(name, features_only=True, pretrained=False)
    for path, part in list(encoder.named_modules()):
        if isinstance(part, Conv2dSame):
            parent, _, own_name = path.rpartition(".")
            setattr(encoder.get_submodule(parent), own_name, _EvenSizeConv2d(part))
    return encoder


def _check_pyramid(name: str) -> None:
    """See that a network gives maps (B, C, H / s, W / s), each s twice the one before, for any size of photo."""
    if not timm.is_model(name):  # nor is an address: timm would fetch or read what a recipe or a model names there
        there = did_you_mean(name, timm.list_models(), "`timm.list_models()` lists what it has.")
        raise PixelwiseError(f"timm has no encoder {name!r}; {there}")
    try:
        with torch.device("meta"):  # shapes only
            probe = timm.create_model(name, features_only=True, pretrained=False).eval()
    except (RuntimeError, ValueError) as error:
        raise PixelwiseError(f"{name} cannot be an encoder: timm has no feature maps of it ({error}).") from error
    info: Any = probe.feature_info
    strides, channels = info.reduction(), info.channels()
    if any(coarse != 2 * fine for fine, coarse in itertools.pairwise(strides)):
        raise PixelwiseError(
            f"{name} cannot be an encoder: the strides of its feature maps are {strides}, and each has to be twice the "
            "one before; networks with convolutions all the way, such as resnet50, have such a pyramid."
        )
    height, width = 2 * strides[-1], 3 * strides[-1]
    try:
        with torch.no_grad():
            shapes = [tuple(feature.shape) for feature in probe(torch.zeros(1, 3, height, width, device="meta"))]
    except (AssertionError, RuntimeError) as error:
        said = str(error).partition("\n")[0]  # halo attention asserts without a word
        because = f" ({said})" if said else ""
        raise PixelwiseError(f"{name} cannot be an encoder: it does not take photos of any size{because}.") from error
    wanted = [(1, c, height // s, width // s) for c, s in zip(channels, strides, strict=True)]
    if shapes != wanted:
        raise PixelwiseError(
            f"{name} cannot be an encoder: for a photo of {height} x {width} pixels its feature maps are {shapes}, "
            f"expected {wanted}."
        )


class _EvenSizeConv2d(nn.Conv2d):
    """A strided convolution with TensorFlow's "SAME" padding for even sizes: k - s in all, the odd one at the end."""

    def __init__(self, original: Conv2dSame) -> None:
        (kernel_h, kernel_w), (stride_h, stride_w) = original.kernel_size, original.stride
        dilation_h, dilation_w = original.dilation
        super().__init__(
            original.in_channels,
            original.out_channels,
            (kernel_h, kernel_w),
            (stride_h, stride_w),
            dilation=(dilation_h, dilation_w),
            groups=original.groups,
            bias=original.bias is not None,
        )
        self.load_state_dict(original.state_dict())
        height = max(0, dilation_h * (kernel_h - 1) + 1 - stride_h)
        width = max(0, dilation_w * (kernel_w - 1) + 1 - stride_w)
        self._pad = (width // 2, width - width // 2, height // 2, height - height // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride), H and W even."""
        return super().forward(F.pad(x, self._pad))


def load_imagenet_weights(encoder: nn.Module, name: str, weights: str | Path) -> None:
    """Load ImageNet weights into an encoder made by `create_encoder`.

    Args:
        encoder: changed in place.
        name: the encoder's name in timm.
        weights: "imagenet" for timm's own, fetched once and cached; or a file: safetensors, or a state dict that
            `torch.load(weights_only=True)` reads, with timm's keys or, failing that, the same tensors in timm's order
            (a safetensors file keeps no order).

    Raises:
        PixelwiseError: the weights cannot be had, or do not fit.
    """
    wanted = encoder.state_dict()
    if str(weights) == "imagenet":
        try:
            state = timm.create_model(name, features_only=True, pretrained=True).state_dict()
        except Exception as error:  # whatever the hub client raises: offline, refused, not found
            raise PixelwiseError(
                f"The ImageNet weights of {name} could not be fetched ({type(error).__name__}); "
                "go online once, or give a file with `model.encoder_weights`."
            ) from error
    else:
        state = read_state(Path(weights))
        if not wanted.keys() <= state.keys():
            state = _rename_by_order(state, timm.create_model(name, pretrained=False), Path(weights))
    missing = sorted(wanted.keys() - state.keys())
    if missing:
        raise PixelwiseError(f"{weights} lacks {len(missing)} tensors of {name}, the first is {missing[0]}.")
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            shapes = tuple(state[key].shape), tuple(tensor.shape)
            raise PixelwiseError(f"{weights} does not fit {name}: {key} is {shapes[0]} there, expected {shapes[1]}.")
    encoder.load_state_dict({key: state[key] for key in wanted})


def _rename_by_order(state: dict[str, Tensor], reference: nn.Module, path: Path) -> dict[str, Tensor]:
    """The state under timm's keys, matched by position if every shape agrees."""
    wanted = reference.state_dict()
    shapes, wanted_shapes = ([tuple(v.shape) for v in tensors.values()] for tensors in (state, wanted))
    if path.suffix == ".safetensors" or shapes != wanted_shapes:
        raise PixelwiseError(f"{path} fits the encoder neither by names nor by the order and shapes of its tensors.")
    return dict(zip(wanted, state.values(), strict=True))
