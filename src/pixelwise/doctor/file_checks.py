"""Findings about files: those that are not there, cannot be read, or do not fit their partner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pixelwise.decoding import EXIF_DAMAGED
from pixelwise.doctor.facts import Fault, PairFacts, PhotoFacts
from pixelwise.doctor.findings import (
    EXIF,
    GREY,
    LABELS,
    LARGE,
    LONG,
    MISSING,
    SIZE,
    SMALL,
    STORAGE,
    TURNED,
    UNPAIRED,
    UNREADABLE,
    Finding,
    Kind,
    Severity,
)
from pixelwise.doctor.survey import SplitFacts

Splits = Sequence[SplitFacts]

_SMALL_SIDE = 64  # pixels: two of the coarsest feature map, whose stride is 32
_LARGE_PIXELS = 24_000_000
_LONG_ASPECT = 4.0
_MOST_VALUES = 5


def unreadable_files(splits: Splits) -> list[Finding]:
    """Photos and masks that are missing, damaged, or of a format that is not read."""
    findings = []
    for split in splits:
        for pair in split.pairs:
            for path, facts in ((pair.photo_path, pair.photo), (pair.mask_path, pair.mask)):
                if isinstance(facts, Fault):
                    kind = MISSING if facts.missing else UNREADABLE
                    places = () if isinstance(pair.photo, Fault) and isinstance(pair.mask, Fault) else (pair.place,)
                    findings.append(Finding(kind, "error", split.name, (path,), facts.sentence, places))
    return findings


def unpaired_files(splits: Splits) -> list[Finding]:
    """Files that lie where photos and masks do, but lack a partner."""
    by_path = {path: split.name for split in reversed(splits) for path in split.unpaired}
    return [
        Finding(UNPAIRED, "warning", name, (path,), f"{path} has no partner, and is in no pair.")
        for path, name in sorted(by_path.items())
    ]


def wrong_sizes(splits: Splits) -> list[Finding]:
    """Masks that have not a pixel for each of their photo's."""
    findings = []
    for split in splits:
        for pair, photo in split.photos:
            if isinstance(pair.mask, Fault) or pair.mask.size == photo.size:
                continue
            sizes = f"{pair.mask.name} is {_size(pair.mask.size)} pixels, but its photo is {_size(photo.size)}"
            sentence = f"{sizes}{_why_swapped(pair, photo)}."
            findings.append(_about(pair, SIZE, "error", split, sentence, mask_first=True))
    return findings


def unknown_labels(splits: Splits) -> list[Finding]:
    """Masks with values that are neither a class nor ignored: each value, and its share of the pixels."""
    findings = []
    for split in splits:
        for pair, mask in split.masks:
            if mask.strangers:
                findings.append(_about(pair, LABELS, "error", split, mask.strangers, mask_first=True))
                continue
            strangers = mask.counts.copy()
            strangers[: len(split.classes)] = 0
            strangers[split.classes.ignore_index] = 0
            values = sorted(np.flatnonzero(strangers).tolist(), key=lambda value: -strangers[value])
            if not values:
                continue
            total = int(mask.counts.sum())
            shown = [f"{value} ({strangers[value] / total:.2%})" for value in values[:_MOST_VALUES]]
            more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
            sentence = (
                f"{mask.name} holds {', '.join(shown)}{more}, which is neither a class id "
                f"(0 to {len(split.classes) - 1}) nor {split.classes.ignore_index} for ignore."
            )
            findings.append(_about(pair, LABELS, "error", split, sentence, mask_first=True))
    return findings


def turned_photos(splits: Splits) -> list[Finding]:
    """Photos that a viewer has to turn."""
    return [
        _about(
            pair,
            TURNED,
            "note",
            split,
            f"{pair.photo_path} is stored turned (EXIF orientation {photo.look.orientation}); it is read upright.",
        )
        for split in splits
        for pair, photo in split.photos
        if photo.look is not None and photo.look.orientation != 1
    ]


def photo_notes(splits: Splits) -> list[Finding]:
    """Photos of which the reader has something to say; damaged EXIF data are a warning."""
    findings = []
    for split in splits:
        for pair, photo in split.photos:
            for note in photo.look.notes if photo.look else ():
                kind, severity = (EXIF, _WARNING) if note == EXIF_DAMAGED else (STORAGE, _NOTE)
                findings.append(_about(pair, kind, severity, split, f"{pair.photo_path}: {note}."))
    return findings


def odd_sizes(splits: Splits) -> list[Finding]:
    """Photos that are very small, very large, or very long."""
    findings = []
    for split in splits:
        for pair, photo in split.photos:
            short, long = sorted(photo.size)
            for kind, severity, odd in (
                (SMALL, _WARNING, short < _SMALL_SIDE),
                (LARGE, _NOTE, short * long > _LARGE_PIXELS),
                (LONG, _NOTE, long > _LONG_ASPECT * short),
            ):
                if odd:
                    sentence = f"{pair.photo_path} is {_size(photo.size)} pixels."
                    findings.append(_about(pair, kind, severity, split, sentence))
    return findings


def grey_among_colour(splits: Splits) -> list[Finding]:
    """Grey photos, where most have colours."""
    looks = [(split, pair, photo.look) for split in splits for pair, photo in split.photos if photo.look]
    grey = [(split, pair) for split, pair, look in looks if look.grey]
    if 2 * len(grey) >= len(looks):
        return []
    return [_about(pair, GREY, "note", split, f"{pair.photo_path} has no colours.") for split, pair in grey]


_WARNING: Severity = "warning"
_NOTE: Severity = "note"


def _about(
    pair: PairFacts, kind: Kind, severity: Severity, split: SplitFacts, sentence: str, *, mask_first: bool = False
) -> Finding:
    files = (pair.mask_path, pair.photo_path) if mask_first else (pair.photo_path,)
    return Finding(kind, severity, split.name, files, sentence, (pair.place,))


def _size(size: tuple[int, int]) -> str:
    """Width x height, as people say it."""
    return f"{size[1]}x{size[0]}"


def _why_swapped(pair: PairFacts, photo: PhotoFacts) -> str:
    if isinstance(pair.mask, Fault) or pair.mask.size != photo.size[::-1]:
        return ""
    if photo.look is not None and photo.look.orientation >= 5:
        return "; its EXIF orientation turns the photo, and the mask was drawn on the photo as it is stored"
    return "; the sides are swapped, as if one of the two had been turned"
