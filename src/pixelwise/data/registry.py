"""The registry of dataset layouts: a name, and the class that reads it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pixelwise.data.pairs import Pairs
from pixelwise.data.sample import Dataset
from pixelwise.data.splits import TRAIN_SPLITS, VAL_SPLITS, find_split
from pixelwise.errors import DataError, did_you_mean


class Reader(Protocol):
    """What reads a layout: called as `reader(root, split, **options)`, its options keyword-only."""

    def __call__(self, root: Path, split: str, /) -> Dataset:
        """Open a split of the dataset in a directory."""
        ...

    def recognises(self, root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names."""
        ...

    def splits(self, root: Path) -> list[str]:
        """The splits that a directory of this layout has."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    reader: Reader
    generic: bool


R = TypeVar("R", bound=Reader)
_ENTRIES: dict[str, _Entry] = {}


def register(name: str, *, generic: bool = False) -> Callable[[R], R]:
    """Class decorator that enters a reader under a name.

    Args:
        name: what recipes and `--layout` call it.
        generic: directories are taken for this layout only where no other recognises them.

    Raises:
        ValueError: the name is taken.
    """

    def enter(reader: R) -> R:
        if name in _ENTRIES:
            raise ValueError(f"a dataset layout is already registered as {name!r}")
        _ENTRIES[name] = _Entry(reader, generic)
        return reader

    return enter


def layout_names() -> list[str]:
    """The names of all dataset layouts, sorted."""
    return sorted(_ENTRIES)


def recognise(root: Path) -> str:
    """The layout that a directory has.

    Raises:
        DataError: there is no such directory, or it looks like no layout that is known, or like several.
    """
    _check_directory(root)
    fitting = [name for name, entry in sorted(_ENTRIES.items()) if entry.reader.recognises(root)]
    fitting = [name for name in fitting if not _ENTRIES[name].generic] or fitting
    if len(fitting) != 1:
        found = (
            f"could be any of: {', '.join(fitting)}"
            if fitting
            else f"has none of the layouts: {', '.join(layout_names())}"
        )
        raise DataError(f"{root} {found}; name its layout.")
    return fitting[0]


def splits(layout: str, root: Path) -> list[str]:
    """The splits that a dataset on disk has.

    Raises:
        DataError: there is no such layout or directory.
    """
    reader = _reader(layout)
    _check_directory(root)
    return reader.splits(root)


def training_splits(layout: str, root: Path) -> tuple[str, str]:
    """The split to learn from, and the one to choose the best weights on.

    Raises:
        DataError: there is no such layout or directory, or it lacks one of the two.
    """
    there = splits(layout, root)
    train, val = (find_split(there, names) for names in (TRAIN_SPLITS, VAL_SPLITS))
    if train is None or val is None:
        raise DataError(
            f"{root} has the splits {', '.join(there) or 'none'}; training needs `train` and `val`. Name those to use "
            "in a recipe (data.train, data.val)."
        )
    return train, val


def open_dataset(
    layout: str, root: Path, split: str, options: Mapping[str, Any] | None = None, *, check_files: bool = True
) -> Dataset:
    """A split of a dataset on disk.

    Args:
        layout: as registered.
        root: its directory.
        split: one of `splits(layout, root)`.
        options: what the layout takes beside, such as which of several class tables.
        check_files: refuse a dataset of which a photo or a mask is missing.

    Raises:
        DataError: there is no such layout, directory or option, or the dataset's files are missing.
    """
    reader = _reader(layout)
    _check_directory(root)
    taken = [p.name for p in inspect.signature(reader).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = [key for key in options or {} if key not in taken]
    if unknown:
        raise DataError(f"The layout {layout} takes no option {unknown[0]!r}; it takes: {', '.join(taken) or 'none'}.")
    dataset = reader(root, split, **(options or {}))
    if check_files and isinstance(dataset, Pairs):
        dataset.check_files()
    return dataset


def _reader(layout: str) -> Reader:
    if layout not in _ENTRIES:
        there = did_you_mean(layout, layout_names(), f"there are: {', '.join(layout_names())}.")
        raise DataError(f"There is no dataset layout {layout!r}; {there}")
    return _ENTRIES[layout].reader


def _check_directory(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"There is no directory {root}.")
