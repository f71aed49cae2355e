"""The look at the data that a training starts with: what would stop it is said now, and its classes are counted."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.data import Dataset, open_dataset
from pixelwise.data.loader import class_pixels
from pixelwise.data.pairs import Pairs
from pixelwise.doctor import quick_check
from pixelwise.errors import DataError, RecipeError
from pixelwise.labels import ClassTable
from pixelwise.recipe import Source
from pixelwise.watcher import Watcher

_WARNINGS = 4
"""So many are told before a training; the doctor tells all."""


def open_sets(sources: Sequence[Source], data_root: Path) -> list[Dataset]:
    """The datasets that a recipe names; that their files are there is for `check_data` to see.

    Raises:
        DataError: they are missing.
    """
    return [
        open_dataset(source.layout, data_root / source.root, source.split, source.options, check_files=False)
        for source in sources
    ]


def common_classes(datasets: Sequence[Dataset]) -> ClassTable:
    """The class table of all of the datasets.

    Raises:
        RecipeError: they have different ones.
    """
    classes = datasets[0].classes
    for dataset in datasets:
        if dataset.classes != classes:
            raise RecipeError(
                "The datasets, or their splits, have different classes, and cannot train one model: "
                f"{_difference(classes, dataset.classes)}."
            )
    return classes


def _difference(one: ClassTable, other: ClassTable) -> str:
    for label, (here, there) in enumerate(itertools.zip_longest(one.names, other.names)):
        if here != there:
            return f"class {label} is {here or 'none'} in one and {there or 'none'} in another"
    if one.ignore_index != other.ignore_index:
        return f"{one.ignore_index} is ignored in one and {other.ignore_index} in another"
    return "the same names have different colours"


def check_data(
    train: Sequence[Dataset], val: Sequence[Dataset], watcher: Watcher, *, root: Path
) -> list[NDArray[np.int64]]:
    """The cheap part of what the doctor does: say what makes a training vain, and refuse what would stop it.

    Every mask is read once, and the headers of the photos. Of datasets that are not pairs of files only the masks to
    learn from are.

    Args:
        train: what is to be learned from.
        val: what is to choose the best weights.
        watcher: told what is wrong but stops nothing.
        root: where the data are, for the advice to have the doctor look at them.

    Returns:
        for each photo of `train`, int64 (C,), the pixels of each class; see `class_pixels`.

    Raises:
        DataError: files are missing or damaged, sizes differ, or a mask holds a value that is no class.
    """
    pairs = [dataset for dataset in (*train, *val) if isinstance(dataset, Pairs)]
    others = [dataset for dataset in train if not isinstance(dataset, Pairs)]
    watcher.stage("checking the data", sum(map(len, [*pairs, *others])))
    diagnosis = quick_check(pairs, advance=watcher.advance)
    advice = f"`pixelwise doctor {root}` shows all, with pictures."
    errors, warnings = diagnosis.of("error"), diagnosis.of("warning")
    if errors:
        more = f" And {len(errors) - 1} more." if len(errors) > 1 else ""
        raise DataError(f"Training would fail: {errors[0].sentence}{more} {advice}")
    for warning in warnings[:_WARNINGS]:
        watcher.say(f"Warning: {warning.sentence}")
    if len(warnings) > _WARNINGS:
        watcher.say(f"And {len(warnings) - _WARNINGS} more warnings; {advice}")
    counted = {id(dataset): list(split.counts) for dataset, split in zip(pairs, diagnosis.splits, strict=True)}
    counted |= {id(dataset): class_pixels([dataset], advance=watcher.advance) for dataset in others}
    return [counts for dataset in train for counts in counted[id(dataset)]]
