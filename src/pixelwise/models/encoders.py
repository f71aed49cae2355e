"""Encoders: timm's classification networks as pyramids of features, with their pretrained weights.

Source of the networks and of the weights: Wightman, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from pixelwise.errors import PixelwiseError


def create_encoder(name: str) -> nn.Module:
    """A timm network that returns its feature maps, finest first, with random weights.

    Returns:
        module: float (B, 3, H, W) -> list of (B, C_i, H / s_i, W / s_i); `feature_info.channels()` and
        `feature_info.reduction()` give C_i and the strides s_i.

    Raises:
        PixelwiseError: timm knows no such network.
    """
    try:
        return timm.create_model(name, features_only=True, pretrained=False)  # type: ignore[no-any-return]
    except RuntimeError as error:
        raise PixelwiseError(f"timm has no encoder {name!r}; `timm.list_models()` lists what it has.") from error


def load_imagenet_weights(encoder: nn.Module, name: str, weights: str | Path) -> None:
    """Load ImageNet weights into an encoder made by `create_encoder`.

    Args:
        encoder: changed in place.
        name: the encoder's name in timm.
        weights: "imagenet" for timm's own, fetched once and cached; or a file: safetensors, or a state dict that
            `torch.load(weights_only=True)` reads, with timm's keys or, failing that, the same tensors in timm's order.

    Raises:
        PixelwiseError: the weights cannot be had, or do not fit.
    """
    if str(weights) == "imagenet":
        try:
            state = timm.create_model(name, pretrained=True).state_dict()
        except Exception as error:  # whatever the hub client raises: offline, refused, not found
            raise PixelwiseError(
                f"The ImageNet weights of {name} could not be fetched ({type(error).__name__}); "
                "go online once, or give a file with `model.encoder_weights`."
            ) from error
    else:
        state = _rename_by_order(_read_state(Path(weights)), timm.create_model(name, pretrained=False), Path(weights))
    wanted = encoder.state_dict()
    missing = sorted(wanted.keys() - state.keys())
    if missing:
        raise PixelwiseError(f"{weights} lacks {len(missing)} tensors of {name}, the first is {missing[0]}.")
    encoder.load_state_dict({key: state[key] for key in wanted})


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise PixelwiseError(f"There is no weights file {path}.")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)  # type: ignore[no-any-return]
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise PixelwiseError(f"{path} is not a state dict that can be loaded safely ({type(error).__name__}).") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise PixelwiseError(f"{path} holds no plain state dict of tensors.")
    return state


def _rename_by_order(state: dict[str, Tensor], reference: nn.Module, path: Path) -> dict[str, Tensor]:
    """The state under timm's keys; tensors under other names are matched by position if every shape agrees."""
    wanted = reference.state_dict()
    if wanted.keys() <= state.keys():
        return state
    if [tuple(v.shape) for v in state.values()] != [tuple(v.shape) for v in wanted.values()]:
        raise PixelwiseError(f"{path} fits the encoder neither by names nor by the order and shapes of its tensors.")
    return dict(zip(wanted, state.values(), strict=True))
