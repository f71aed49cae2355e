"""Splits of datasets that come without one: drawn from a seed, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


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
