"""Findings about masks that look wrong, though nothing in the file is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pixelwise.doctor.facts import MaskFacts, PairFacts, PhotoFacts
from pixelwise.doctor.findings import IGNORED, ONLY_BACKGROUND, SAME_MASK, SINGLE_CLASS, UNLIKE, Finding, Severity
from pixelwise.doctor.survey import SplitFacts

_UNLIKE_FROM = 6.0  # tells nobody in CamVid or VOC; 3.5, the source's, tells one in six
_LITTLE = 0.01  # a share that might as well be none: logarithms blow up the difference
_ENOUGH = 20  # masks, for a median and a spread that mean something


def plain_masks(splits: Sequence[SplitFacts]) -> list[Finding]:
    """Masks that are ignored entirely, or of a single class, the background or another."""
    findings = []
    for split in splits:
        for (pair, mask), counts in zip(split.masks, split.counts, strict=True):
            classes = np.flatnonzero(counts)
            severity: Severity = "note"
            if mask.counts[split.classes.ignore_index] == mask.counts.sum():
                kind, what, severity = IGNORED, "is ignored entirely", "warning"
            elif len(classes) != 1:
                continue
            elif (name := split.classes.names[int(classes[0])]).lower() == "background":
                kind, what = ONLY_BACKGROUND, "holds nothing but background"
            else:
                kind, what = SINGLE_CLASS, f"holds no class but {name}"
            findings.append(
                Finding(kind, severity, split.name, (pair.mask_path,), f"{mask.name} {what}.", (pair.place,))
            )
    return findings


def shared_masks(splits: Sequence[SplitFacts]) -> list[Finding]:
    """Masks that are the same to the pixel, though their photos differ and the masks are not of one value only."""
    owners: dict[bytes, list[tuple[SplitFacts, PairFacts, MaskFacts]]] = defaultdict(list)
    for split in splits:
        for pair, mask in split.masks:
            if np.count_nonzero(mask.counts) > 1 and isinstance(pair.photo, PhotoFacts):
                owners[mask.digest].append((split, pair, mask))
    findings = []
    for group in owners.values():
        by_photo = {_photo_of(pair): (split, pair, mask) for split, pair, mask in reversed(group)}
        if len(by_photo) < 2:
            continue
        different = [*by_photo.values()][::-1]
        paths = tuple(pair.mask_path for _, pair, _ in different)
        (split, _, mask), (_, _, other) = different[:2]
        sentence = f"{mask.name} is the same as {other.name}, but their photos differ"
        sentence += f"; {len(paths)} photos share it." if len(paths) > 2 else "."
        places = tuple(pair.place for _, pair, _ in different[:2])
        findings.append(Finding(SAME_MASK, "warning", split.name, paths, sentence, places))
    return findings


def unlike_masks(splits: Sequence[SplitFacts]) -> list[Finding]:
    """Masks of several classes whose borders or class shares are far from those of all others of the dataset.

    How far: the modified z-score, 0.6745 (x - median) / MAD, of the logarithm of the borders' length, and of the
    log-odds of each class that most masks have more than a little of.

    Source: Iglewicz and Hoaglin, "How to detect and handle outliers", ASQC Quality Press 1993.
    """
    masks = [(split, pair, mask) for split in splits for pair, mask in split.masks if _has_regions(split, mask)]
    if len(masks) < _ENOUGH:
        return []
    borders = np.log(np.maximum([mask.border for *_, mask in masks], 1e-4))
    scores = {"the length of its borders": _modified_z(borders)}
    shares = np.stack([mask.counts[: len(split.classes)] for split, _, mask in masks])
    shares = shares / shares.sum(axis=1, keepdims=True)
    for index, name in enumerate(masks[0][0].classes.names):
        if np.median(shares[:, index]) > 2 * _LITTLE:
            share = np.clip(shares[:, index], _LITTLE, 1 - _LITTLE)
            scores[f"the share of {name}"] = _modified_z(np.log(share / (1 - share)))
    findings = []
    for number, (split, pair, mask) in enumerate(masks):
        what = max(scores, key=lambda name: abs(float(scores[name][number])))
        score = float(scores[what][number])
        if abs(score) >= _UNLIKE_FROM:
            sentence = f"{mask.name}: {what} is far {'above' if score > 0 else 'below'} the others'."
            findings.append(Finding(UNLIKE, "note", split.name, (pair.mask_path,), sentence, (pair.place,)))
    return findings


def _photo_of(pair: PairFacts) -> object:
    """Equal for photos that are equal to the pixel, as far as is known."""
    if isinstance(pair.photo, PhotoFacts) and pair.photo.look is not None:
        return pair.photo.look.digest
    return pair.photo_path


def _has_regions(split: SplitFacts, mask: MaskFacts) -> bool:
    return bool(np.count_nonzero(mask.counts[: len(split.classes)]) > 1)


def _modified_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    deviation = values - np.median(values)
    spread = float(np.median(np.abs(deviation)))
    return np.zeros_like(values) if spread == 0 else 0.6745 * deviation / spread
