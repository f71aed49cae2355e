"""Decoding what strangers send, in a process of its own that may die without anyone else noticing.

Imported by that process, so it brings in little.
"""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pixelwise.decoding import Limits
from pixelwise.images import read_image

_MEMORY = 2 << 30  # bytes of address space; a photo of the most pixels allowed takes a quarter
_STATM = Path("/proc/self/statm")


def decode(data: bytes, max_pixels: int, seconds: float) -> tuple[tuple[int, int], bytes, tuple[str, ...]]:
    """A file's bytes -> height and width, RGB pixels uint8, and notes on how it was read.

    What takes longer than `seconds` ends this process (but on Windows, which has no such timer).

    Raises:
        ImageError: it is no picture, damaged, or too large.
    """
    _limit_memory()
    _leave_signals_to_the_server()
    with _limited_time(seconds):
        photo = read_image(data, limits=Limits(max_pixels=max_pixels), name="The photo")
    height, width = photo.pixels.shape[:2]
    return (height, width), photo.pixels.tobytes(), photo.notes


@contextmanager
def _limited_time(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process even where a decoder in C does not return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@functools.cache  # once a process: what one photo leaves behind is not added to what the next may take
def _limit_memory() -> None:
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = _in_use() + _MEMORY
        limit: Any = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


@functools.cache
def _leave_signals_to_the_server() -> None:
    # A terminal's Ctrl-C and systemd's stop reach every process, and the server still has photos to be decoded; it
    # ends this process itself, and where it is no more, there is nothing to read any more.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)


def _in_use() -> int:
    """Bytes of address space before the first photo: on many cores NumPy's OpenBLAS alone reserves gigabytes."""
    import resource

    return int(_STATM.read_text().split()[0]) * resource.getpagesize() if _STATM.is_file() else 0
