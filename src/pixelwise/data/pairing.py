"""Which mask belongs to which photo, told from the names of the files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pixelwise.errors import DataError

_MASK_ENDING = (
    r"masks?|gt|labels?|lbl|l|annotations?|anno|ann|manual\d*|seg|segs|segmentation|ground[_-]?truth|groundtruth|"
    r"(?:gtfine_|gtcoarse_)?label(?:train)?ids|\d(?:st|nd)[_-]?(?:ho|manual)|trimap|matte|target|truth|predict|"
    r"ah|vk"
)
_ANNOTATOR = re.compile(r"(?i)[_.-](?:\d(?:st|nd|rd)[_-]?(?:ho|manual)|manual\d|ah|vk)")  # of CHASE, DRIVE and STARE
_PHOTO_ENDING = r"images?|img|photo|training|test|testing|train|sat|rgb|leftimg8bit|volume|input|raw|original|orig"
_MASK_START = r"masks?|gt|labels?|seg|annotation|groundtruth"
_PHOTO_START = r"images?|img|photo|input"


class Placed(Protocol):
    """A file and where it stands; see `pixelwise.data.discover.Place`."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def split(self) -> str:
        """The split whose folder it lies in, or nothing."""
        ...

    @property
    def inside(self) -> tuple[str, ...]:
        """The folders that become part of its id."""
        ...


@dataclass(frozen=True, slots=True)
class Matched:
    """Pairs, each with its id, sorted by split and id; the files without a partner; and what else is to be said."""

    pairs: list[tuple[str, Placed, Placed]]
    unpaired: list[Path]
    note: str = ""


Key = tuple[str, ...]


def match(photos: Sequence[Placed], masks: Sequence[Placed]) -> Matched:
    """Pair photos and masks of two folders.

    By equal names; of what is left by names that differ in case alone; of what is left by names without endings such as
    `_mask` and `_training`; of what is left by names without the beginning and the ending that all files of their
    folder share, which are cut at a word's border and never within a number. Files of different splits are no pair,
    unless only photos, or only masks, are divided.

    Raises:
        DataError: a photo fits several masks, or a mask several photos.
    """
    split = any(photo.split for photo in photos) and any(mask.split for mask in masks)
    shared_by_photos, shared_by_masks = _shared_parts(photos), _shared_parts(masks)
    steps: tuple[tuple[Callable[[Placed], str], Callable[[Placed], str]], ...] = (
        (_stem, _stem),
        (_folded, _folded),
        (_stem, _bare_mask),
        (_bare_photo, _bare_mask),
        (lambda photo: _cut(photo, shared_by_photos), lambda mask: _cut(mask, shared_by_masks)),
    )
    pairs: list[tuple[str, Placed, Placed]] = []
    photos, masks = list(photos), list(masks)
    for photo_name, mask_name in steps:
        photo_keys = {place.path: _key(place, photo_name(place), split=split) for place in photos}
        mask_keys = {place.path: _key(place, mask_name(place), split=split) for place in masks}
        by_photo = _unique(photos, photo_keys, mask_keys.values(), "photos")
        by_mask = _unique(masks, mask_keys, photo_keys.values(), "masks")
        both = by_photo.keys() & by_mask.keys()
        pairs += [(_id(by_photo[key]), by_photo[key], by_mask[key]) for key in both]
        used = {place.path for key in both for place in (by_photo[key], by_mask[key])}
        photos = [place for place in photos if place.path not in used]
        masks = [place for place in masks if place.path not in used]
    return _sorted(pairs, [place.path for place in (*photos, *masks)])


def match_mixed(files: Sequence[Placed]) -> Matched:
    """Pair photos and masks that lie side by side: `x.png` and `x_mask.png`, or a JPEG and another format of its name.

    Raises:
        DataError: a photo fits several masks, or nothing tells which of two files is the mask.
    """
    masks = [place for place in files if _bare_mask(place) != _stem(place)]
    photos = [place for place in files if place not in masks]
    if masks:
        masks, note = _first_annotator(masks)
        matched = match(photos, masks)
        if matched.pairs:
            return Matched(matched.pairs, matched.unpaired, note)
    groups: dict[Key, list[Placed]] = {}
    for place in files:
        groups.setdefault(_key(place, _stem(place)), []).append(place)
    pairs, alone = [], []
    for members in groups.values():
        if len(members) == 1:
            alone.append(members[0].path)
            continue
        jpegs = [place for place in members if place.path.suffix.lower() in (".jpg", ".jpeg")]
        others = [place for place in members if place not in jpegs]
        if len(jpegs) != 1 or len(others) != 1:
            names = " and ".join(place.path.name for place in members)
            raise DataError(
                f"{members[0].path.parent} holds {names}, and nothing tells which is the photo and which the mask. "
                "Name both in dataset.yaml, for instance `images: '*.tif'` and `masks: '*.png'`."
            )
        pairs.append((_id(jpegs[0]), jpegs[0], others[0]))
    return _sorted(pairs, alone)


def _first_annotator(masks: list[Placed]) -> tuple[list[Placed], str]:
    """Of masks that several people drew, those of the first; and that it is so."""
    endings = {place.path: _stem(place)[len(_bare(_stem(place), "$^", _MASK_ENDING)) :] for place in masks}
    first, *others = sorted(set(endings.values()))
    if not others or not all(_ANNOTATOR.fullmatch(ending) for ending in (first, *others)):
        return masks, ""
    note = f"; the masks ending in {first} were taken, not {', '.join(others)}"
    return [place for place in masks if endings[place.path] == first], note


def _sorted(pairs: list[tuple[str, Placed, Placed]], unpaired: list[Path]) -> Matched:
    return Matched(sorted(pairs, key=lambda pair: (pair[1].split, pair[0])), sorted(unpaired))


def _stem(place: Placed) -> str:
    return unicodedata.normalize("NFC", place.path.stem)  # a Mac may have written the accents as letters of their own


def _folded(place: Placed) -> str:
    return _stem(place).casefold()


def _id(place: Placed) -> str:
    return "/".join((*place.inside, place.path.stem))


def _key(place: Placed, name: str, *, split: bool = True) -> Key:
    return (place.split if split else "", *place.inside, name)


def _unique(places: Iterable[Placed], keys: Mapping[Path, Key], wanted: Iterable[Key], kind: str) -> dict[Key, Placed]:
    """The files by their keys, of which no two that are wanted may have the same."""
    wanted = set(wanted)
    found: dict[Key, Placed] = {}
    for place in places:
        this = keys[place.path]
        if this in wanted and this in found:
            other = "mask" if kind == "photos" else "photo"
            where = "images" if kind == "photos" else "masks"
            raise DataError(
                f"{found[this].path} and {place.path} are two {kind} of the same {other}; move one away, or state in "
                f"dataset.yaml which are meant, for instance `{where}: '**/*{place.path.suffix}'`."
            )
        found[this] = place
    return found


def _bare_mask(place: Placed) -> str:
    return _bare(_stem(place), _MASK_START, _MASK_ENDING)


def _bare_photo(place: Placed) -> str:
    return _bare(_stem(place), _PHOTO_START, _PHOTO_ENDING)


def _bare(stem: str, start: str, ending: str) -> str:
    """A name without known beginnings and endings, which a separator divides from the rest."""
    shorter = re.sub(rf"(?i)(?<=.)[_\-. ](?:{ending})$", "", stem)
    return re.sub(rf"(?i)^(?:{start})[_\-. ](?=.)", "", shorter)


def _cut(place: Placed, shared: Mapping[Path, tuple[int, int]]) -> str:
    """A name without what the names of all files in its folder begin and end with."""
    start, end = shared[place.path.parent]
    return place.path.stem[start : len(place.path.stem) - end]


def _shared_parts(places: Sequence[Placed]) -> dict[Path, tuple[int, int]]:
    """For each folder, how many characters the names of its files share at the beginning and at the end."""
    folders: dict[Path, list[str]] = {}
    for place in places:
        folders.setdefault(place.path.parent, []).append(place.path.stem)
    return {folder: _shared(stems) for folder, stems in folders.items()}


def _shared(stems: list[str]) -> tuple[int, int]:
    if len(stems) < 2:
        return 0, 0
    start = re.sub(r"\d+$", "", _common_start(stems))
    if any(stem[len(start) :][:1].isalpha() for stem in stems):
        start = re.sub(r"[^_\-. ]+$", "", start)  # not within a word
    end = _common_start([stem[::-1] for stem in stems])[::-1]
    found = re.search(r"[_\-. ][^_\-. ]*[A-Za-z].*$", end)
    shortest, cut = min(map(len, stems)), len(found.group()) if found else 0
    return (len(start), cut) if len(start) + cut < shortest else (0, cut)


def _common_start(names: list[str]) -> str:
    first, last = min(names), max(names)
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((at for at, (a, b) in pairs if a != b), len(first))]
