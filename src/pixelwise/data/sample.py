"""What a dataset gives: a photo, its mask and its id, untouched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import DataError, EngineError, PixelwiseError
from pixelwise.labels import ClassTable


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled photo.

    Attributes:
        image: uint8 (H, W, 3) RGB, upright.
        mask: uint8 (H, W) class ids, or the class table's ignore_index.
        id: unique within its dataset, usually the file's stem.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    id: str


class Dataset(Protocol):
    """Labelled photos of one split, in a fixed order; no normalisation, no augmentation."""

    classes: ClassTable
    split: str

    @property
    def ids(self) -> Sequence[str]:
        """One name a sample, in their order."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def mask(self, index: int) -> NDArray[np.uint8]:
        """The mask of a sample alone, for what looks at no photo."""
        ...


def for_each(
    dataset: Dataset,
    work: Callable[[Sample], None],
    *,
    skip_failures: bool = True,
    advance: Callable[[float], None] = lambda share: None,
) -> list[tuple[str, str]]:
    """Read each sample and do something with it.

    Args:
        dataset: whose samples.
        work: what to do with one; it leaves no trace of a sample that it refuses.
        skip_failures: go on after one that cannot be read, or that the work refuses.
        advance: called with 1 after each, for a progress bar.

    Returns:
        the ids of those that failed, each with the reason.

    Raises:
        PixelwiseError: one failed, and `skip_failures` is off.
        EngineError: a model cannot be run, which is no fault of a sample.
    """
    failed = []
    for index, name in enumerate(dataset.ids):
        try:
            work(dataset[index])
        except PixelwiseError as error:
            if isinstance(error, EngineError) or not skip_failures:
                raise
            failed.append((name, str(error)))
        advance(1)
    return failed


def read_split(path: Path) -> list[str]:
    """The ids that a split list names: the first word of every line that is not blank.

    Raises:
        DataError: the list is missing or empty, or cannot be read as text.
    """
    return [entry.split()[0] for entry in read_entries(path)]


def read_entries(path: Path) -> list[str]:
    """The lines of a split list that are not blank, without the blanks around them.

    Raises:
        DataError: as for `read_split`.
    """
    entries = [line.strip() for line in read_lines(path) if line.strip()]
    if not entries:
        raise DataError(f"The split list {path} is empty.")
    return entries


def read_lines(path: Path) -> list[str]:
    """All lines of a split list.

    Raises:
        DataError: it is missing, or cannot be read as text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors put a byte order mark before the first id
    except FileNotFoundError as error:
        there = ", ".join(split_lists(path.parent)) or "none"
        raise DataError(f"There is no split list {path}; lists found beside it: {there}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The split list {path} cannot be read ({error}); save it as text in UTF-8.") from error
    return text.splitlines()


def split_lists(directory: Path) -> list[str]:
    """The names of the split lists `NAME.txt` in a directory, sorted; hidden ones, such as a Mac's, are none."""
    return sorted(path.stem for path in directory.glob("[!.]*.txt"))


def check_pairs(ids: Sequence[str], candidates: Mapping[str, Sequence[Path]]) -> None:
    """Check that each id has at least one of its candidate files, before a night of training finds out.

    Args:
        ids: the ids of the split.
        candidates: for each kind of file ("photo", "mask"), one path an id, in the order of `ids`.

    Raises:
        DataError: files are missing; the message counts them and names the first.
    """
    for kind, paths in candidates.items():
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise DataError(f"{len(missing)} of {len(ids)} {kind}s are missing; the first is {missing[0]}.")


def check_size(mask: NDArray[np.uint8], image: NDArray[np.uint8], *, name: str) -> None:
    """Check that a mask (H, W) has a pixel for each of its photo's (H, W, 3).

    Raises:
        DataError: it has not; the message starts with `name`, the mask's file, and gives both sizes.
    """
    if mask.shape != image.shape[:2]:
        sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (mask, image)]
        raise DataError(f"{name} is {sizes[0]} pixels, but its photo is {sizes[1]}; they must have the same size.")


def check_option(name: str, value: str, choices: Sequence[str]) -> None:
    """Check that an option of a layout has one of the values it may have.

    Raises:
        DataError: it has not; the message gives the choices.
    """
    if value not in choices:
        raise DataError(f"The option {name} is one of {', '.join(choices)}, not {value!r}.")


def check_split(split: str, there: Sequence[str], *, root: Path) -> None:
    """Check that a dataset has a split.

    Raises:
        DataError: it has not; the message gives those there are.
    """
    if split not in there:
        raise DataError(f"{root} has no split {split!r}; it has: {', '.join(there) or 'none'}.")
