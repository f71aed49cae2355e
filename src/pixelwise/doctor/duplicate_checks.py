"""Findings about photos that occur more than once: in two splits, which makes figures too good, or in one."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.splits import TRAIN_SPLITS
from pixelwise.doctor.facts import Look, MaskFacts, PairFacts
from pixelwise.doctor.findings import LEAK, NEAR_LEAK, REPEATED, Finding
from pixelwise.doctor.survey import SplitFacts, rank

MOST_BITS = 10
LEAST_CORRELATION = 0.95
"""Two photos are near twins where fingerprints differ in at most so many bits, and thumbnails correlate at least so.

Measured on 3.1 million pairs of 2500 VOC photos: 92 pass the first test alone, none of them the second (nor any a
correlation of 0.9). CamVid, between its three video sequences: 26 pass the first, none both; consecutive frames pass
both. JPEG of quality 30, half the size, or brightness times 1.3 change at most 9 bits; cutting 2 % off each side
changes 3 in the median and 10 at most, and the correlation stays at 0.95.
"""

_LEAST_CONTRAST = 4.0  # standard deviation of the thumbnail's grey levels, below which it is only noise
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Sighting:
    """A decoded photo, and where it was seen."""

    split: SplitFacts
    pair: PairFacts
    look: Look


def leaked_photos(splits: Sequence[SplitFacts]) -> list[Finding]:
    """Photos that are the same to the pixel and in two splits that should have none in common."""
    findings: dict[tuple[Path, Path], Finding] = {}
    for dropped, kept in leaks(splits):
        paths = (dropped.pair.photo_path, kept.pair.photo_path)
        sentence = f"{paths[0]} of {dropped.split.name} is the same photo as {paths[1]} of {kept.split.name}"
        if paths[0] == paths[1]:
            sentence = f"{paths[0]} is in both {dropped.split.name} and {kept.split.name}"
        sentence += f"{_masks_differ(dropped, kept)}."
        places = (dropped.pair.place, kept.pair.place)
        # The same file may be in several splits, of which one is a part of the other.
        findings.setdefault(paths, Finding(LEAK, "warning", dropped.split.name, paths, sentence, places))
    return list(findings.values())


def shared_files(splits: Sequence[SplitFacts]) -> list[Finding]:
    """What of that can be told without a look at the photos: the same files in two splits, a finding for both."""
    apart = _apart(splits)
    findings = []
    for one, other in itertools.combinations(sorted(splits, key=lambda split: rank(split.name)), 2):
        there = {pair.photo_path for pair in other.pairs}
        paths = tuple(pair.photo_path for pair in one.pairs if pair.photo_path in there)
        if paths and (id(one), id(other)) in apart:
            shared = f"{paths[0]} and {len(paths) - 1} more are" if len(paths) > 1 else f"{paths[0]} is"
            sentence = f"{shared} in both {one.name} and {other.name}; the figures will be too good."
            findings.append(Finding(LEAK, "warning", one.name, paths, sentence))
    return findings


def leaks(splits: Sequence[SplitFacts]) -> Iterator[tuple[Sighting, Sighting]]:
    """The photos that should leave a split, each with the one elsewhere that stays.

    What is measured on stays: a test photo rather than a validation photo, and either rather than one to learn from.
    """
    apart = _apart(splits)
    for group in _same_photos(splits):
        ranked = sorted(group, key=lambda sighting: rank(sighting.split.name))
        for number, dropped in enumerate(ranked):
            later = (kept for kept in ranked[:number:-1] if (id(dropped.split), id(kept.split)) in apart)
            if kept := next(later, None):
                yield dropped, kept


def repeated_photos(splits: Sequence[SplitFacts]) -> list[Finding]:
    """Photos that are in the same split more than once."""
    findings = []
    for group in _same_photos(splits):
        by_split = defaultdict(list)
        for sighting in group:
            by_split[id(sighting.split)].append(sighting)
        for first, *others in by_split.values():
            if not others:
                continue
            paths = tuple(sighting.pair.photo_path for sighting in (first, *others))
            differ = next((text for other in others if (text := _masks_differ(first, other))), "")
            sentence = f"{first.split.name} has the same photo {len(paths)} times, {paths[0]} and {paths[1]}{differ}."
            places = (first.pair.place, others[0].pair.place)
            findings.append(Finding(REPEATED, "warning", first.split.name, paths, sentence, places))
    return findings


def near_leaks(splits: Sequence[SplitFacts]) -> list[Finding]:
    """Photos that look almost like one in another split: a frame nearby, or the same photo resized or cut.

    Each photo that is measured on is told at most once, with its nearest twin.
    """
    apart = _apart(splits)
    findings: dict[Path, Finding] = {}
    for one, other in itertools.combinations(sorted(splits, key=lambda split: rank(split.name)), 2):
        if (id(one), id(other)) not in apart:
            continue
        for twin, photo in _near_twins(_sightings(one), _sightings(other)):
            paths = (photo.pair.photo_path, twin.pair.photo_path)
            sentence = f"{paths[0]} of {other.name} looks almost like {paths[1]} of {one.name}."
            places = (photo.pair.place, twin.pair.place)
            findings.setdefault(paths[0], Finding(NEAR_LEAK, "warning", other.name, paths, sentence, places))
    return list(findings.values())


def _near_twins(ones: list[Sighting], others: list[Sighting]) -> Iterator[tuple[Sighting, Sighting]]:
    """For each of `others` that has any, the nearest twin among `ones` that is not the same photo.

    Block by block: memory grows with the number of photos, not with that of the pairs.
    """
    ones, others = _with_contrast(ones), _with_contrast(others)
    if not ones or not others:
        return
    bits, thumbnails = _comparable(ones)
    for start in range(0, len(others), _BLOCK):
        block = others[start : start + _BLOCK]
        block_bits, block_thumbnails = _comparable(block)
        correlation = block_thumbnails @ thumbnails.T
        correlation[np.bitwise_count(block_bits[:, None] ^ bits) > MOST_BITS] = -1
        for row in np.flatnonzero(correlation.max(axis=1) >= LEAST_CORRELATION).tolist():
            nearest = np.argsort(-correlation[row], kind="stable")
            # A photo that is there itself, to the pixel, is no near twin: it is a leak.
            if block[row].look.digest != (twin := ones[int(nearest[0])]).look.digest:
                yield twin, block[row]


def _comparable(sightings: Sequence[Sighting]) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Fingerprints (N,), and thumbnails (N, 256) of mean 0 and norm 1: their products are correlations."""
    bits = np.array([sighting.look.fingerprint for sighting in sightings], np.uint64)
    flat = np.stack([sighting.look.thumbnail.ravel() for sighting in sightings]).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return bits, flat / np.linalg.norm(flat, axis=1, keepdims=True)


def _with_contrast(sightings: list[Sighting]) -> list[Sighting]:
    """Without flat and empty photos, which would all look alike."""
    return [sighting for sighting in sightings if sighting.look.thumbnail.std() >= _LEAST_CONTRAST]


def _sightings(split: SplitFacts) -> list[Sighting]:
    return [Sighting(split, pair, photo.look) for pair, photo in split.photos if photo.look is not None]


def _same_photos(splits: Sequence[SplitFacts]) -> list[list[Sighting]]:
    groups = defaultdict(list)
    for split in splits:
        for sighting in _sightings(split):
            groups[sighting.look.digest].append(sighting)
    return [group for group in groups.values() if len(group) > 1]


def _apart(splits: Sequence[SplitFacts]) -> set[tuple[int, int]]:
    """The pairs of splits (by `id`) that should have no photo in common.

    Not two that are both to be learnt from (VOC's train and train_aug), nor one that is a part of the other (val of
    trainval), but for a plain `train`, of which nothing else is a part.
    """
    files = {id(split): {pair.photo_path for pair in split.pairs} for split in splits}

    def is_part(one: SplitFacts, whole: SplitFacts) -> bool:
        return files[id(one)] <= files[id(whole)] and whole.name.lower() not in TRAIN_SPLITS

    return {
        (id(one), id(other))
        for one, other in itertools.permutations(splits, 2)
        if not (one.learns and other.learns) and not is_part(one, other) and not is_part(other, one)
    }


def _masks_differ(one: Sighting, other: Sighting) -> str:
    masks = [sighting.pair.mask for sighting in (one, other)]
    known = [mask.digest for mask in masks if isinstance(mask, MaskFacts)]
    return ", but their masks differ" if len(set(known)) == 2 else ""
