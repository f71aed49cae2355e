"""The registry of architectures: a name, the factory behind it, and the arguments it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from pixelwise.errors import PixelwiseError

Factory = Callable[..., nn.Module]
_FACTORIES: dict[str, Factory] = {}


def register(name: str) -> Callable[[Factory], Factory]:
    """Class or function decorator that enters a factory under a name.

    The factory takes `num_classes` and keyword-only arguments of plain JSON types, and returns a module that maps float
    (B, 3, H, W) to logits (B, num_classes, H, W) for any H, W >= 1.

    Raises:
        ValueError: the name is taken.
    """

    def enter(factory: Factory) -> Factory:
        if name in _FACTORIES:
            raise ValueError(f"a model is already registered as {name!r}")
        _FACTORIES[name] = factory
        return factory

    return enter


def names() -> list[str]:
    """The names of all architectures, sorted."""
    return sorted(_FACTORIES)


def arguments(name: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The complete arguments of an architecture: its defaults, overridden by what is given; without `num_classes`.

    Raises:
        PixelwiseError: there is no such architecture or no such argument; the message lists the valid ones.
    """
    if name not in _FACTORIES:
        raise PixelwiseError(f"There is no architecture {name!r}; there are: {', '.join(names())}.")
    parameters = inspect.signature(_FACTORIES[name]).parameters
    complete = {key: parameter.default for key, parameter in parameters.items() if key != "num_classes"}
    for key, value in (given or {}).items():
        if key not in complete:
            raise PixelwiseError(f"{name} takes no argument {key!r}; it takes: {', '.join(sorted(complete))}.")
        complete[key] = value
    return complete


def build(name: str, *, num_classes: int, arguments_given: Mapping[str, Any] | None = None) -> nn.Module:
    """A network with freshly drawn weights.

    Args:
        name: as registered.
        num_classes: number of output channels, the background included.
        arguments_given: what departs from the architecture's defaults.

    Raises:
        PixelwiseError: as for `arguments`, or an argument is not of the kind that the architecture takes.
    """
    complete = arguments(name, arguments_given)
    try:
        return _FACTORIES[name](num_classes=num_classes, **complete)
    except (TypeError, ValueError) as error:  # what torch and Python say to a word in place of a number
        raise PixelwiseError(f"{name} cannot be built with {dict(arguments_given or {})}: {error}.") from error
