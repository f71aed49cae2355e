"""Which of a dataset's classes each class of a model counts as."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import DataError, did_you_mean
from pixelwise.labels import ClassTable

REST = "rest"
"""In the place of a model's class: all that are neither given nor called as one of the dataset's."""

_SHOWN = 5


def match_classes(
    model: ClassTable, dataset: ClassTable, given: Mapping[str, str] | None = None
) -> NDArray[np.uint8] | None:
    """What to replace a model's answers by, so that they mean what the dataset's masks do.

    Classes of the same name are the same, in whatever order the two have them. Where they have not the same names, it
    has to be said what the others count as.

    Args:
        model: its classes.
        dataset: its classes; colours and ignore_index may differ.
        given: a class of the model, or "rest", and the class of the dataset that it counts as.

    Returns:
        (C,) uint8, for each of the model's classes the id in the dataset; None where nothing has to be replaced.

    Raises:
        DataError: the names differ and nothing is given, a name given is no class, or a class of the model is left.
    """
    given = dict(given or {})
    if model.names == dataset.names and not given:
        return None
    for name, known, whose in [
        *((name, (*model.names, REST), "the model's") for name in given),
        *((name, dataset.names, "the dataset's") for name in given.values()),
    ]:
        if name not in known:
            there = did_you_mean(name, known, f"there are: {', '.join(known)}.")
            raise DataError(f"{name!r} is none of {whose} classes; {there}")
    rest = given.pop(REST, None)
    targets = {name: given.get(name, name if name in dataset.names else rest) for name in model.names}
    left = [name for name, target in targets.items() if target is None]
    unknown = [name for name in dataset.names if name not in targets.values()]
    if left or (unknown and not given and rest is None):
        raise DataError(_difference(left, unknown, dataset))
    return np.array([dataset.names.index(str(target)) for target in targets.values()], np.uint8)


def _difference(left: list[str], unknown: list[str], dataset: ClassTable) -> str:
    """What a model has that a dataset lacks, or the other way round, and how to measure all the same."""
    first = dataset.names[0]
    if not left:
        return (
            f"The model has no class {_listed(unknown)}, which the dataset has; to measure it all the same, with an "
            f"IoU of 0 for what it lacks, give --map {REST}={first}."
        )
    return (
        f"The dataset has no class {_listed(left)}, which the model has; its own are: {', '.join(dataset.names)}. Say "
        f"what they count as, one by one as in --map {left[0]}={(unknown or [first])[0]}, or all at once as in "
        f"--map {REST}={first}."
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
