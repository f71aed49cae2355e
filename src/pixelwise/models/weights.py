"""Weights from files: read without running anything in them, loaded where every tensor fits."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pixelwise.errors import PixelwiseError


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a network's weights, for example `best.safetensors` of a run or `model.safetensors` of a bundle.

    Args:
        module: changed in place.
        path: a file that `read_state` reads, with the module's own keys; counters of batches may be missing, as a
            bundle has none.

    Raises:
        PixelwiseError: the file cannot be read, or does not fit.
    """
    state, wanted = read_state(path), module.state_dict()
    for key, tensor in wanted.items():
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, tensor)
    differing = sorted(wanted.keys() ^ state.keys())
    if differing:
        there = "lacks" if differing[0] in wanted else "has, and the network has not,"
        raise PixelwiseError(f"{path} does not fit the network: it {there} {differing[0]!r}.")
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            shapes = tuple(state[key].shape), tuple(tensor.shape)
            raise PixelwiseError(f"{path} does not fit the network: {key} is {shapes[0]} there, expected {shapes[1]}.")
    module.load_state_dict(state)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a state dict that `torch.load(weights_only=True)` reads.

    Raises:
        PixelwiseError: there is no such file, or it holds anything else.
    """
    if not path.is_file():
        raise PixelwiseError(f"There is no weights file {path}.")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise PixelwiseError(
            f"{path} is not a state dict that can be loaded safely ({type(error).__name__})."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise PixelwiseError(f"{path} holds no plain state dict of tensors.")
    return state
