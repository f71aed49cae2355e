"""The registry of architectures: a name, the factory behind it, the paper, and the arguments it takes."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from pixelwise.errors import PixelwiseError, did_you_mean
from pixelwise.models.weights import load_coco_voc, load_encoder, load_weights

Factory = Callable[..., nn.Module]


@dataclass(frozen=True, slots=True)
class Paper:
    """Where an architecture was published.

    Attributes:
        authors: last names.
        title: of the paper.
        venue: conference or journal, and year.
        arxiv: its number there.
        figure: the figure that shows the architecture.
    """

    authors: str
    title: str
    venue: str
    arxiv: str
    figure: str


@dataclass(frozen=True, slots=True)
class Weights:
    """Pretrained weights.

    Attributes:
        name: what their library calls them; for torchvision a member of a weights enum.
        library: that has them.
        licence: under which it publishes them.
    """

    name: str
    library: str = "torchvision"
    licence: str = "BSD-3-Clause"


@dataclass(frozen=True, slots=True)
class Architecture:
    """An entry of the registry.

    Attributes:
        name: what it is built by.
        factory: called with `num_classes` and the architecture's own arguments.
        family: "FCN", "U-Net", ...
        encoder: the classification network inside, in words.
        paper: where it was published.
        weights: the pretrained weights there are: "imagenet" for the encoder, "coco_voc" for the whole network.
        summary: one sentence on how it works; strengths and limits: when to take it, when not.
        explanation: how it works in a few sentences, for readers who know no networks.
    """

    name: str
    factory: Factory
    family: str
    encoder: str
    paper: Paper
    weights: Mapping[str, Weights] = field(default_factory=dict)
    summary: str = ""
    strengths: str = ""
    limits: str = ""
    explanation: str = ""


_ARCHITECTURES: dict[str, Architecture] = {}

_UNFIT = (TypeError, ValueError, AttributeError, ArithmeticError, LookupError, AssertionError, RuntimeError)
"""What torch, timm and Python say to arguments that make no network: a word for a number, a negative width."""


def register(
    name: str,
    *,
    family: str,
    encoder: str,
    paper: Paper,
    weights: Mapping[str, Weights] | None = None,
    summary: str = "",
    strengths: str = "",
    limits: str = "",
    explanation: str = "",
) -> Callable[[Factory], Factory]:
    """Class or function decorator that enters a factory under a name; the arguments are those of `Architecture`.

    The factory takes `num_classes` and keyword-only arguments of plain JSON types, and returns a module that maps float
    (B, 3, H, W) to logits (B, num_classes, H, W) for any H, W >= 1; one with an auxiliary head gives `WithAuxiliary` in
    training mode.

    Raises:
        ValueError: the name is taken.
    """

    def enter(factory: Factory) -> Factory:
        if name in _ARCHITECTURES:
            raise ValueError(f"a model is already registered as {name!r}")
        _ARCHITECTURES[name] = Architecture(
            name, factory, family, encoder, paper, dict(weights or {}), summary, strengths, limits, explanation
        )
        return factory

    return enter


def names() -> list[str]:
    """The names of all architectures, sorted."""
    return sorted(_ARCHITECTURES)


def architecture(name: str) -> Architecture:
    """The registry's entry of a name.

    Raises:
        PixelwiseError: there is no such architecture; the message lists close names, and all of them.
    """
    if name not in _ARCHITECTURES:
        there = did_you_mean(name, names(), f"there are: {', '.join(names())}.")
        raise PixelwiseError(f"There is no architecture {name!r}; {there}")
    return _ARCHITECTURES[name]


def arguments(name: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The complete arguments of an architecture: its defaults, overridden by what is given; without `num_classes`.

    Raises:
        PixelwiseError: there is no such architecture or no such argument; the message lists the valid ones.
    """
    parameters = inspect.signature(architecture(name).factory).parameters
    complete = {key: parameter.default for key, parameter in parameters.items() if key != "num_classes"}
    for key, value in (given or {}).items():
        if key not in complete:
            takes = ", ".join(sorted(complete)) or "none but num_classes"
            raise PixelwiseError(f"{name} takes no argument {key!r}; it takes: {takes}.")
        complete[key] = value
    return complete


def build(
    name: str,
    *,
    num_classes: int,
    arguments_given: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
) -> nn.Module:
    """A network.

    Args:
        name: as registered.
        num_classes: number of output channels, the background included.
        arguments_given: what departs from the architecture's defaults.
        weights: None for freshly drawn ones; "imagenet" for those of the encoder; "coco_voc" for torchvision's
            `COCO_WITH_VOC_LABELS_V1`, without the last layer of each head where `num_classes` is not 21; or a file of
            the whole network's weights.

    Raises:
        PixelwiseError: as for `arguments`; an argument is not of the kind that the architecture takes; there are fewer
            than two classes; or the weights cannot be had, or do not fit.
    """
    complete = arguments(name, arguments_given)
    try:
        classes = operator.index(num_classes)  # NumPy's whole numbers, too
    except TypeError:
        classes = 0
    if classes < 2:
        raise PixelwiseError(
            f"num_classes is {num_classes!r}; expected 2 or more, a whole number, as the background counts as one."
        )
    try:
        module = architecture(name).factory(num_classes=classes, **complete)
    except _UNFIT as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise PixelwiseError(f"{name} cannot be built with {dict(arguments_given or {})}: {reason}.") from error
    if weights is not None:
        start_from(module, name, weights)
    return module


def start_from(module: nn.Module, name: str, weights: str | Path) -> None:
    """Load weights into a network that `build` made, as its argument `weights` says.

    Raises:
        PixelwiseError: as for `build`.
    """
    there = architecture(name).weights
    if weights == "imagenet":
        load_encoder(module, weights)
    elif weights == "coco_voc":
        if "coco_voc" not in there:
            having = ", ".join(n for n in names() if "coco_voc" in architecture(n).weights)
            raise PixelwiseError(f"There are no coco_voc weights for {name}; there are for: {having}.")
        load_coco_voc(module, there["coco_voc"].name)
    else:
        load_weights(module, Path(weights))
