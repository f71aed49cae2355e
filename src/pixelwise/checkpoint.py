"""Checkpoints of a training run: atomic, checked by hash when read, never an executable pickle."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pixelwise.errors import PixelwiseError
from pixelwise.files import write_atomically

_KEEP = 2


def save_checkpoint(directory: Path, state: Mapping[str, Any], *, step: int) -> Path:
    """Write the state of a run after `step` steps; the one before it is kept, all others are removed.

    Another of the same step, or of a later one, was damaged, or the run would not be here again.

    Args:
        directory: made if it is missing.
        state: tensors, numbers, strings and containers of them.
        step: how many steps have been taken.

    Returns:
        `directory/step-STEP-HASH.pt`; the name carries the first 16 digits of the SHA-256 of the file, so that the file
        and its hash appear together or not at all.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    data = buffer.getbuffer()  # no copy: of a network of 134 million weights this is 2 GB
    path = directory / f"step-{step:08d}-{hashlib.sha256(data).hexdigest()[:16]}.pt"
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    there = checkpoints_in(directory)
    kept = [other for other in there if other == path or other.name < f"step-{step:08d}"][-_KEEP:]
    for other in there:
        if other not in kept:
            other.unlink()
    return path


def latest_checkpoint(
    directory: Path, *, say: Callable[[str], None] = lambda text: None
) -> tuple[dict[str, Any], Path] | None:
    """The newest checkpoint that is whole, or nothing when there is none at all.

    Args:
        directory: where they lie.
        say: told of each damaged one that is passed over.

    Raises:
        PixelwiseError: there are checkpoints, but none of them is whole; or the newest whole one holds what no
            checkpoint may, such as code.
    """
    paths = checkpoints_in(directory)
    for path in reversed(paths):
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest()[:16] == path.stem.rsplit("-", 1)[1]:
            return _load(data, path), path
        say(f"The checkpoint {path} is damaged: its hash differs from its name; it is passed over.")
    if paths:
        raise PixelwiseError(f"No checkpoint in {directory} is whole: the hash of each differs from its name.")
    return None


def _load(data: bytes, path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise PixelwiseError(f"{path} holds something other than the state of a run; it was not loaded.") from error
    return state


def checkpoints_in(directory: Path) -> list[Path]:
    """Their files, whole or not, the newest last."""
    return sorted(directory.glob("step-*-*.pt"))
