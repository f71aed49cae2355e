"""The registry of dataset layouts: a name, and the class that reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from pixelwise.data.sample import Dataset
from pixelwise.errors import DataError


class Reader(Protocol):
    """What reads a layout: called as `reader(root, split)`."""

    def __call__(self, root: Path, split: str, /) -> Dataset:
        """Open a split of the dataset in a directory."""
        ...

    def recognises(self, root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names."""
        ...


R = TypeVar("R", bound=Reader)
_READERS: dict[str, Reader] = {}


def register(name: str) -> Callable[[R], R]:
    """Class decorator that enters a reader, called as `reader(root, split)`, under a name.

    Raises:
        ValueError: the name is taken.
    """

    def enter(reader: R) -> R:
        if name in _READERS:
            raise ValueError(f"a dataset layout is already registered as {name!r}")
        _READERS[name] = reader
        return reader

    return enter


def layouts() -> list[str]:
    """The names of all dataset layouts, sorted."""
    return sorted(_READERS)


def recognise(root: Path) -> str:
    """The layout that a directory has.

    Raises:
        DataError: there is no such directory, or it looks like no layout that is known, or like several.
    """
    if not root.is_dir():
        raise DataError(f"There is no directory {root}.")
    fitting = [name for name, reader in sorted(_READERS.items()) if reader.recognises(root)]
    if len(fitting) != 1:
        found = (
            f"could be any of: {', '.join(fitting)}" if fitting else f"has none of the layouts: {', '.join(layouts())}"
        )
        raise DataError(f"{root} {found}; name its layout.")
    return fitting[0]


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
