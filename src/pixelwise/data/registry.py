"""The registry of dataset layouts: a name, and the class that reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pixelwise.data.sample import Dataset
from pixelwise.errors import DataError

Reader = Callable[[Path, str], Dataset]
_READERS: dict[str, Reader] = {}


def register(name: str) -> Callable[[type], type]:
    """Class decorator that enters a reader, called as `reader(root, split)`, under a name.

    Raises:
        ValueError: the name is taken.
    """

    def enter(reader: type) -> type:
        if name in _READERS:
            raise ValueError(f"a dataset layout is already registered as {name!r}")
        _READERS[name] = reader
        return reader

    return enter


def layouts() -> list[str]:
    """The names of all dataset layouts, sorted."""
    return sorted(_READERS)


def open_dataset(layout: str, root: Path, split: str) -> Dataset:
    """A split of a dataset on disk.

    Raises:
        DataError: there is no such layout or directory, or the dataset's files are missing.
    """
    if layout not in _READERS:
        raise DataError(f"There is no dataset layout {layout!r}; there are: {', '.join(layouts())}.")
    if not root.is_dir():
        raise DataError(f"There is no directory {root} to read a {layout} dataset from.")
    return _READERS[layout](root, split)
