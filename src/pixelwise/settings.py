"""Settings as text: given as `key=value`, and shown in tables that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pixelwise.errors import RecipeError


def parse_values(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` each, the value in YAML, as a mapping.

    Raises:
        RecipeError: one is malformed.
    """
    import yaml  # not at the head: what only shows settings starts faster without

    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            raise RecipeError(f"{pair!r} is not of the form key=value.")
        try:
            values[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"The value of {pair!r} is not valid YAML.") from error
    return values


def shown(value: Any) -> str:
    """A setting of plain JSON without brackets and quotes.

    >>> shown({"rates": [1, 2], "size": 0.5, "weights": None})
    'rates 1 2, size 0.5, weights none'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return " ".join(shown(item) for item in value)
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
