"""Splits of datasets that come without one: drawn from a seed, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

TRAIN_SPLITS = ("train", "training")
VAL_SPLITS = ("val", "valid", "validation")
"""What splits to learn from, and to choose the best weights on, are called, in the order of preference;
some tools capitalise them."""


def find_split(there: Collection[str], wanted: Sequence[str]) -> str | None:
    """The first of the wanted splits that there is, be it capitalised; a plain `train` goes before `Train`."""
    by_name = {name.lower(): name for name in sorted(there)}
    return next((by_name[name] for name in wanted if name in by_name), None)


def whole_split(there: Collection[str]) -> str:
    """The split that is divided where there is none for validation: the one to learn from, or the only one.

    One that is there for tests is none; it is `train` then, whether that is there or not.
    """
    only = next(iter(there)) if len(there) == 1 else "train"
    return find_split(there, TRAIN_SPLITS) or ("train" if only.lower() == "test" else only)


def hold_out(
    ids: Sequence[str], *, share: float = 0.2, seed: int = 0, group: Callable[[str], str] = lambda name: ""
) -> tuple[list[str], list[str]]:
    """Divide photos into those to learn from and those to choose the best weights on.

    Args:
        ids: of the photos; their order does not matter.
        share: of the photos of each group that are held out, rounded; at least one photo is on either side.
        seed: another one draws another split.
        group: photos of the same group, such as a breed, are divided in the same proportion.

    Returns:
        (train, val), each sorted.

    Raises:
        ValueError: there are fewer than two photos.
    """
    if len(ids) < 2:
        raise ValueError(f"{len(ids)} photos cannot be divided into two splits")
    generator = np.random.default_rng(seed)
    groups: dict[str, list[str]] = {}
    for name in sorted(ids):
        groups.setdefault(group(name), []).append(name)
    held: list[str] = []
    for _, members in sorted(groups.items()):
        order = generator.permutation(len(members))
        held += [members[i] for i in order[: round(share * len(members))]]
    if not held:
        held = [sorted(ids)[int(generator.integers(len(ids)))]]
    if len(held) == len(ids):
        held = held[1:]
    return sorted(set(ids) - set(held)), sorted(held)


def with_validation(
    lists: Mapping[str, Sequence[str]], *, whole: str = "train", group: Callable[[str], str] = lambda name: ""
) -> dict[str, list[str]]:
    """The splits of a dataset that may have come without a validation split.

    Args:
        lists: split -> the ids that are in it, as they came.
        whole: the split that is divided into `train` and `val` by `hold_out` where there is no val, valid or
            validation; one of another name than `train` stays as well. A single photo is not divided.
        group: as for `hold_out`.
    """
    complete = {name: list(ids) for name, ids in lists.items()}
    if len(complete.get(whole, ())) > 1 and find_split(complete, VAL_SPLITS) is None:
        complete["train"], complete["val"] = hold_out(complete[whole], group=group)
    return complete
