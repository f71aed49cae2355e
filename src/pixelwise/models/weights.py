"""Pretrained weights: from files, read without running anything in them, and from torchvision; loaded where all fit."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_weight

from pixelwise.errors import PixelwiseError

State = dict[str, Tensor]

_CHECKPOINT_KEYS = ("state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.")


@runtime_checkable
class HasEncoder(Protocol):
    """A network part of which is a classification network with ImageNet weights."""

    def load_encoder(self, weights: str | Path) -> None:
        """Load "imagenet", the library's own, or a file of that classification network's weights."""
        ...


@runtime_checkable
class GrowsFrom(Protocol):
    """A network that may start from a simpler one's weights."""

    def grown(self, state: State) -> State:
        """The state of a simpler network completed to this one's; any other comes back as it is."""
        ...


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a network's weights, for example `best.safetensors` of a run or `model.safetensors` of a bundle.

    Args:
        module: changed in place.
        path: a file that `read_state` reads, with the module's own keys, or with those of a network that it grows from;
            counters of batches may be missing, as a bundle has none.

    Raises:
        PixelwiseError: the file cannot be read, or does not fit.
    """
    state = read_state(path)
    if isinstance(module, GrowsFrom):
        state = module.grown(state)
    fit(module, state, source=str(path))


def load_encoder(module: nn.Module, weights: str | Path) -> None:
    """Load ImageNet weights into the encoder of a network.

    Raises:
        PixelwiseError: it has none, or the weights cannot be had or do not fit.
    """
    if not isinstance(module, HasEncoder):
        raise PixelwiseError(
            f"{type(module).__name__} has no pretrained encoder; in a recipe, set model.encoder_weights to null."
        )
    module.load_encoder(weights)


def load_coco_voc(module: nn.Module, name: str) -> None:
    """Load torchvision's weights for the 21 classes of VOC into a network with torchvision's keys.

    Args:
        module: changed in place. The last layer of each head keeps its own weights where it has another number of
            classes, for fine-tuning; an auxiliary head that the module lacks is left out.
        name: of the weights in torchvision, such as "FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1".

    Raises:
        PixelwiseError: the weights cannot be had, or do not fit.
    """
    state, wanted = torchvision_state(name), module.state_dict()
    if not any(key.startswith("aux_classifier.") for key in wanted):
        state = {key: value for key, value in state.items() if not key.startswith("aux_classifier.")}
    for key, tensor in wanted.items():
        if key in state and state[key].shape[:1] == (21,) != tensor.shape[:1]:
            state[key] = tensor
    fit(module, state, source=f"{torchvision_file(name)}, torchvision's {name}")


def fit(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load a state dict if every tensor of the module is in it, in its shape, and nothing else.

    Args:
        module: changed in place, or not at all.
        state: under the module's own keys; counters of batches may be missing.
        source: where it comes from, for messages.

    Raises:
        PixelwiseError: it does not fit; the message names the first mismatched tensor and both shapes.
    """
    state, wanted = dict(state), module.state_dict()
    for key, tensor in wanted.items():
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, tensor)
    differing = [key for key in (*wanted, *state) if key not in state or key not in wanted]
    if differing:
        there = "lacks" if differing[0] in wanted else "has, and the network has not,"
        raise PixelwiseError(f"{source} does not fit the network: it {there} {differing[0]!r}.")
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            shapes = tuple(state[key].shape), tuple(tensor.shape)
            raise PixelwiseError(
                f"{source} does not fit the network: {key} is {shapes[0]} there, expected {shapes[1]}."
            )
    module.load_state_dict(state)


def transfer(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Take over what fits by name and shape from a network for other classes; the rest keeps the weights it has.

    Args:
        module: changed in place, or not at all.
        state: under the module's keys.
        source: where it comes from, for messages.

    Raises:
        PixelwiseError: the encoders differ, so that it is another kind of network.
    """
    wanted = module.state_dict()
    fitting = {key: value for key, value in state.items() if key in wanted and value.shape == wanted[key].shape}
    ours = [key for key in wanted if key.startswith(("encoder.", "backbone.", "features."))]
    lacking = [key for key in ours if key not in fitting and not key.endswith("num_batches_tracked")]
    if lacking or not ours:
        first = f": {lacking[0]} is not in it, or has another shape" if lacking else ", which has no encoder"
        raise PixelwiseError(f"{source} is a model of another kind than the network that is to start from it{first}.")
    module.load_state_dict({**wanted, **fitting})


def encoder_state(weights: str | Path, *, imagenet: str) -> tuple[State, str]:
    """The state dict of a classification network, and what to call its source in messages.

    Args:
        weights: "imagenet" for torchvision's, or a file.
        imagenet: what torchvision's are called, such as "ResNet50_Weights.IMAGENET1K_V1".

    Raises:
        PixelwiseError: the weights cannot be had.
    """
    if str(weights) == "imagenet":
        return torchvision_state(imagenet), f"{torchvision_file(imagenet)}, torchvision's {imagenet}"
    return read_state(Path(weights)), str(weights)


def torchvision_file(name: str) -> Path:
    """Where torch puts the download of weights that torchvision has."""
    url: str = get_weight(name).url
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def torchvision_state(name: str) -> State:
    """The state dict of weights that torchvision has, fetched once with a progress bar and cached by torch.

    What is fetched is checked by its hash. A file that lies in the cache already is taken as it is.

    Args:
        name: such as "ResNet50_Weights.IMAGENET1K_V1".

    Raises:
        PixelwiseError: they cannot be fetched, or the cached file is damaged; the message names the file and its place.
    """
    weights, place = get_weight(name), torchvision_file(name)
    if place.is_file():
        return read_state(place)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where torch announces the download
            state: State = weights.get_state_dict(
                progress=sys.stderr.isatty(), check_hash=True, map_location="cpu", weights_only=True
            )
    except Exception as error:  # offline, refused, not found, a wrong hash: each library raises its own
        raise PixelwiseError(
            f"The weights {name} could not be fetched ({type(error).__name__}); go online once, or put the file "
            f"{weights.url} at {place}."
        ) from error
    return state


def read_state(path: Path) -> State:
    """The tensors of a safetensors file, or of a state dict that `torch.load(weights_only=True)` reads.

    What training code wraps around a network is taken off: a checkpoint's `state_dict` or `model`, and what
    DataParallel and `torch.compile` put before each name.

    Raises:
        PixelwiseError: there is no such file, or it holds anything else.
    """
    if not path.is_file():
        raise PixelwiseError(f"There is no weights file {path}.")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise PixelwiseError(
            f"{path} is not a state dict that can be loaded safely ({type(error).__name__})."
        ) from error
    if isinstance(content, dict):
        held = (content.get(key) for key in _CHECKPOINT_KEYS)
        content = next((each for each in held if isinstance(each, dict) and each), content)
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise PixelwiseError(f"{path} holds no plain state dict of tensors.")
    state: State = dict(content)
    while wrapper := next((each for each in _WRAPPERS if state and all(key.startswith(each) for key in state)), ""):
        state = {key.removeprefix(wrapper): value for key, value in state.items()}
    return state
