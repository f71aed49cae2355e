"""Findings about classes: those that are absent, or too rare to be learnt or measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pixelwise.doctor.findings import (
    CLASS_ABSENT,
    CLASS_RARE,
    CLASS_UNLEARNT,
    CLASS_UNMEASURED,
    IGNORED,
    Finding,
    Severity,
)
from pixelwise.doctor.survey import SplitFacts, rank

_RARE_SHARE = 0.001
_FEW_PHOTOS = 3


def absent_classes(splits: Sequence[SplitFacts]) -> list[Finding]:
    """Classes that occur nowhere, or only where they are not learnt, or only where they are not measured."""
    learnt = _photos_with([split for split in splits if split.learns])
    measured = _photos_with([split for split in splits if not split.learns])
    names = _names(splits, learns=False)
    findings = []
    for name in sorted({*learnt, *measured}):
        seen, asked = learnt.get(name), measured.get(name)
        if not seen and not asked:
            sentence = f"No photo shows the class {name}."
            findings.append(Finding(CLASS_ABSENT, "warning", "", (), sentence))
        elif seen == 0:
            where = _names(splits, learns=True)
            sentence = f"No photo of {where} shows the class {name}, but {asked} of {names} do."
            findings.append(Finding(CLASS_UNLEARNT, "warning", where, (), sentence))
        elif asked == 0:
            sentence = f"No photo of {names} shows the class {name}; its IoU there will be undefined."
            findings.append(Finding(CLASS_UNMEASURED, "note", "", (), sentence))
    return findings


def unlabelled_splits(splits: Sequence[SplitFacts]) -> list[Finding]:
    """Splits to learn from, or to choose the best weights on, in which every pixel is ignored."""
    return [
        Finding(IGNORED, "error", split.name, (), f"No pixel of any mask of {split.name} is labelled.")
        for split in splits
        if rank(split.name) < 2 and split.masks and not split.pixels.any()
    ]


def rare_classes(splits: Sequence[SplitFacts]) -> list[Finding]:
    """Classes with less than 0.1 % of a split's labelled pixels, or in fewer than three of its photos."""
    findings = []
    for split in splits:
        # A split of three photos has no rare classes, only few photos.
        few = min(_FEW_PHOTOS, len(split.masks) // 2)
        for index in np.flatnonzero(split.photos_with).tolist():
            share, photos = float(split.shares[index]), int(split.photos_with[index])
            if share >= _RARE_SHARE and photos >= few:
                continue
            sentence = (
                f"{split.classes.names[index]} is in {photos} of the {len(split.masks)} photos of {split.name}, "
                f"{share:.2%} of the labelled pixels."
            )
            places = [pair.place for (pair, _), row in zip(split.masks, split.counts, strict=True) if row[index]]
            severity: Severity = "warning" if split.learns else "note"
            findings.append(Finding(CLASS_RARE, severity, split.name, (), sentence, tuple(places[:1])))
    return findings


def _photos_with(splits: Sequence[SplitFacts]) -> dict[str, int]:
    """In how many photos of some splits each class occurs, by name: several datasets may have the same classes."""
    found: dict[str, int] = {}
    for split in splits:
        for name, photos in zip(split.classes.names, split.photos_with.tolist(), strict=True):
            found[name] = found.get(name, 0) + photos
    return found


def _names(splits: Sequence[SplitFacts], *, learns: bool) -> str:
    return ", ".join(dict.fromkeys(split.name for split in splits if split.learns == learns))
