"""Settings in words, for tables that people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
