"""Decoding what strangers send, in a process of its own that may die without anyone else noticing.

Imported by that process, so it brings in little.
"""

from __future__ import annotations

import sys
from typing import Any

from pixelwise.decoding import Limits
from pixelwise.images import read_image

_MEMORY = 2 << 30  # bytes of address space; a photo of the most pixels allowed takes a quarter


def decode(data: bytes, max_pixels: int) -> tuple[tuple[int, int], bytes, tuple[str, ...]]:
    """A file's bytes -> height and width, RGB pixels uint8, and notes on how it was read.

    Raises:
        ImageError: it is no picture, damaged, or too large.
    """
    _limit_memory()
    photo = read_image(data, limits=Limits(max_pixels=max_pixels), name="The photo")
    height, width = photo.pixels.shape[:2]
    return (height, width), photo.pixels.tobytes(), photo.notes


def _limit_memory() -> None:
    if sys.platform == "linux":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit: Any = _MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard)
        if soft != limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
