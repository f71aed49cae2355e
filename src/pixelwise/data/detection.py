"""What the masks of a folder mean, told from what they hold; where that leaves a doubt, the user is asked.

Nothing is guessed silently: what is found is said in `Encoding.reason`, and masks that can be read in two ways are
refused with the lines of `dataset.yaml` that settle each.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pixelwise.data.class_names import KnownClasses, colour_name, is_void
from pixelwise.data.encoding import Key, key_text
from pixelwise.data.finding import Asked, Finding, made, names_for
from pixelwise.data.peaks import Peaks, find_peaks, is_continuous, is_smeared
from pixelwise.data.survey import Survey, colour_of, unpack
from pixelwise.errors import DataError
from pixelwise.labels import Colour

_MOST_CLASSES = 64  # without a list of them
_PHOTO_COLOURS = 4096  # of all masks together
_OBJECT_COLOURS = 256  # of one mask, as objects of a colour each may have
_ENOUGH_FILES = 5  # to tell numbers of objects from classes
_VOC_VOID: Colour = (224, 224, 192)
_OBJECTS = "`mapping: {0: background, rest: object}`"


def detect(survey: Survey, *, yaml: Path, known: KnownClasses | None = None, ignore_index: int = 255) -> Finding:
    """Tell the encoding of masks.

    Args:
        survey: what they hold.
        yaml: the file in which the user can settle a doubt, named in messages.
        known: names of the classes, where a file has them.
        ignore_index: the value of "not labelled" in masks of class ids.

    Raises:
        DataError: the masks hold nothing but one value, can be read in several ways, or are no masks.
    """
    asked = Asked(survey, known, ignore_index, yaml)
    if len(survey.total.keys) < 2:
        only = _text(survey.kind, int(survey.total.keys[0]))
        raise DataError(
            f"All {len(survey.files)} masks hold nothing but {only}; there is nothing to learn from. Check that they "
            f"are the right files, or state `masks:` in {yaml}."
        )
    _check_for_photos(asked)
    finding = _by_colour(asked) if survey.kind == "colour" else _by_value(asked)
    reason = "; ".join([finding.encoding.reason, *survey.notes])
    return Finding(replace(finding.encoding, reason=reason), finding.classes)


def _by_value(asked: Asked) -> Finding:
    survey = asked.survey
    values = survey.total.keys.tolist()
    if asked.known is not None and asked.known.stated and (stated := _named_ids(asked)) is not None:
        return stated  # whatever else the values look like: thin lines, like smear; ids of neighbours, like depths
    peaks = find_peaks(survey)
    if peaks is not None:
        return _peaked(asked, peaks)
    _check_smear(asked)
    if is_continuous(survey):
        raise asked.doubt(
            f"The {len(survey.files)} masks hold {len(values)} values that pass smoothly into each other, like depths "
            "or probabilities; that is no mask of classes.",
            "if one level divides them, write such masks first and name them under `masks:`",
            "if they are class ids all the same, list the `names:`",
        )
    if (named := _named_ids(asked)) is not None:
        return named
    if len(values) == 2:
        return _two(asked, values)
    _check_one_kind_of_white(asked)
    if (ids := _ids(asked)) is not None:
        return ids
    if _numbers_objects(asked):
        return _objects(asked)
    return _sparse(asked)


def _check_for_photos(asked: Asked) -> None:
    """Refuse a few files that hold as many colours as photos do, among masks that hold few."""
    files = asked.survey.files
    if asked.survey.kind != "colour":
        return
    counts = np.array([len(file.all.keys) for file in files])
    most = max(256, 4 * int(np.median(counts)))  # masks that are smeared are so alike
    odd = [file.name for file, count in zip(files, counts, strict=True) if count > most]
    if odd and 4 * len(odd) <= len(files):
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        raise DataError(
            f"{odd[0]}{more} of {len(files)} masks holds hundreds of colours, as photos do, and the others hold few. "
            "Put the right masks there, or take them out together with their photos."
        )


def _check_smear(asked: Asked) -> None:
    if not is_smeared(asked.survey):
        return
    colour = asked.survey.kind == "colour"
    mapping = '{"0,0,0": background, "255,0,0": object}' if colour else "{0: background, 255: object}"
    raise asked.doubt(
        f"The masks hold {len(asked.survey.total.keys)} {'colours' if colour else 'values'}, most of them at edges "
        "alone, as JPEG and resampling leave them, and which are meant cannot be told.",
        f"`mapping: {mapping}` and `tolerance: 40`, for instance",
        "or save the masks anew, as PNG and without smoothing",
    )


def _two(asked: Asked, values: list[int]) -> Finding:
    names = names_for(asked, ["background", "object"])
    what = "opacities" if asked.survey.kind == "alpha" else "values"
    reason = f"masks hold the {what} {values[0]} and {values[1]}: {names[0]} and {names[1]}"
    return made(asked, [(value, at) for at, value in enumerate(values)], names, reason)


def _check_one_kind_of_white(asked: Asked) -> None:
    """Refuse a mixture of 0/1 and 0/255 masks, in which 255 would pass for "not labelled"."""
    sets = [set(file.all.keys.tolist()) for file in asked.survey.files]
    if set().union(*sets) == {0, 1, 255} and not any({1, 255} <= held for held in sets):
        raise asked.doubt(
            "Some masks hold 0 and 1, others 0 and 255, none both; 255 may be the object or mean not labelled.",
            "the object: `mapping: {0: background, 1: object, 255: object}`",
            "not labelled: `mapping: {0: background, 1: object, 255: ignore}`",
        )


def _parted(asked: Asked) -> tuple[list[int], list[tuple[int, int]], str]:
    """The values but that of "not labelled", what that maps to, and what is said of it."""
    values, void = asked.survey.total.keys.tolist(), asked.ignore_index
    if void not in values:
        return values, [], ""
    return [value for value in values if value != void], [(void, void)], f"; {void} is not labelled"


def _named_ids(asked: Asked) -> Finding | None:
    """Class ids that a list of names covers, all of it or a part."""
    ids, void, tail = _parted(asked)
    known = asked.known
    if known is None or len(ids) < 2 or ids[0] < known.first or ids[-1] >= known.first + len(known.names):
        return None
    names = [name for name in known.names if not is_void(name)]
    at = {name: names.index(name) for name in names}
    pairs = [(value, at.get(name, asked.ignore_index)) for value, name in enumerate(known.names, start=known.first)]
    reason = f"masks hold class ids from {ids[0]} to {ids[-1]}, named by {known.source}{tail}"
    for value, name in enumerate(known.names, start=known.first):
        if is_void(name):
            reason += f"; {value}, {name}, is not labelled"
    return made(asked, [*pairs, *void], names, reason, named=True)


def _ids(asked: Asked) -> Finding | None:
    """Class ids 0 to C - 1, or 1 to C, beside the value of "not labelled"; None where they are something else."""
    ids, void, tail = _parted(asked)
    first, last = ids[0], ids[-1]
    if not 2 <= len(ids) <= _MOST_CLASSES or last - first + 1 != len(ids) or first > 1 or _numbers_objects(asked):
        return None
    names = names_for(asked, [_default_name(i) for i in ids])
    if first == 0:
        return made(asked, [*((i, i) for i in ids), *void], names, f"masks hold the class ids 0 to {last}{tail}")
    reason = f"masks hold the values 1 to {last} and never 0, read as class ids 0 to {last - 1}{tail}"
    return made(asked, [*((value, value - 1) for value in ids), *void], names, reason)


def _default_name(value: int) -> str:
    return "background" if value == 0 else f"class {value}"


def _numbers_objects(asked: Asked) -> bool:
    """Whether the values number the objects of each mask, as they do where each holds exactly 0 to some k of its own.

    Raises:
        DataError: there are too few masks, or too few different k, to tell that from classes.
    """
    if asked.known is not None:
        return False
    counts = []
    for file in asked.survey.files:
        values = file.all.keys
        if values[0] != 0 or values[-1] != len(values) - 1:
            return False
        if len(values) > 1:
            counts.append(len(values) - 1)
    different, highest = set(counts), max(counts)
    if highest > 254:
        return True
    if len(different) == 1:
        return False
    if len(counts) >= _ENOUGH_FILES and len(different) >= 3:
        return True
    raise asked.doubt(
        f"Each of the {len(counts)} masks holds the values 0 to k, with k from {min(counts)} to {highest}: classes, or "
        "the numbers of objects; too few masks to tell.",
        f"objects: {_OBJECTS}",
        f"classes: `names: [{', '.join(_default_name(i) for i in range(highest + 1))}]`",
    )


def _objects(asked: Asked) -> Finding:
    counts = [len(file.all.keys) - 1 for file in asked.survey.files]
    names = ["background", "object"]
    reason = (
        f"each mask numbers its objects, from {min(counts)} to {max(counts)} of them; every number is {names[1]}, 0 is "
        f"{names[0]}"
    )
    return made(asked, [(0, 0)], names, reason, rest=1)


def _sparse(asked: Asked) -> Finding:
    """Values with gaps: each found becomes a class."""
    survey = asked.survey
    values = survey.total.keys.tolist()
    _check_count(asked, f"the values {values[0]} to {values[-1]}", len(values))
    void = [value for value in values if value == asked.ignore_index and _looks_like_ids(values)]
    kept = [value for value in values if value not in void]
    shown = ", ".join(map(str, kept[:8])) + (f" and {len(kept) - 8} more" if len(kept) > 8 else "")
    names = names_for(asked, [("background" if value == 0 else f"class {value}") for value in kept])
    tail = f"; {asked.ignore_index} is not labelled" if void else ""
    reason = f"masks hold the values {shown}, each a class{tail}"
    pairs = [(value, at) for at, value in enumerate(kept)] + [(value, asked.ignore_index) for value in void]
    return made(asked, pairs, names, reason)


def _looks_like_ids(values: list[int]) -> bool:
    """Whether values are class ids, few and low, rather than levels of grey such as 0, 128 and 255."""
    below = [value for value in values if value != 255]
    return len(below) >= 2 and below[-1] < 4 * len(below) + 32


def _check_count(asked: Asked, held: str, count: int) -> None:
    """Refuse more values or colours than classes, and ones that mostly occur in one mask alone."""
    files = asked.survey.files
    colour = asked.survey.kind == "colour"
    background = "0,0,0" if colour else "0"
    objects = f'objects: `mapping: {{"{background}": background, rest: object}}`' if colour else f"objects: {_OBJECTS}"
    classes = f"classes: {'`mapping:` with a line for each' if colour else 'their `names:` in the order of the ids'}"
    what = f"The masks hold {held}, {count} different ones."
    if count > _PHOTO_COLOURS or (colour and np.median([len(file.all.keys) for file in files]) > _OBJECT_COLOURS):
        raise asked.doubt(
            f"{what} That is what photos hold, not masks.",
            "the folder of the masks: `masks: FOLDER`",
            "or, if these are masks, their few colours: `mapping:` with a line for each, and `tolerance: 40`",
        )
    if count > _MOST_CLASSES:
        raise asked.doubt(f"{what} They may number objects, or be classes.", objects, classes)
    if len(files) >= _ENOUGH_FILES and count >= 8:
        occurrences = np.bincount(np.unique(np.concatenate([file.all.keys for file in files]), return_inverse=True)[1])
        alone = int((occurrences == 1).sum())
        if alone > count / 2:
            raise asked.doubt(
                f"{what} {alone} of them occur in one mask only: they may number objects, or be classes.",
                objects,
                classes,
            )


def _peaked(asked: Asked, peaks: Peaks) -> Finding:
    """Masks that JPEG or resampling has smeared: what stands out is a class, the rest goes to the nearest."""
    colour = asked.survey.kind == "colour"
    keys: list[Key] = [colour_of(key) for key in peaks.keys] if colour else list(peaks.keys)
    kind = asked.survey.kind
    shown = ", ".join(_text(kind, key) for key in peaks.keys[:8])
    more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
    reason = (
        f"masks are smeared as by JPEG or resampling: {'colours' if colour else 'values'} cluster at {shown}{more}; "
        f"{100 * peaks.smeared:.2g} % of the pixels differ, and are given to the nearest within {peaks.tolerance}"
    )
    if peaks.lost:
        reason += f", {100 * peaks.lost:.2g} % to none"
    void = [key for key in keys if len(keys) > 2 and _is_voc_void(key)]
    if void:
        reason += "; VOC's border colour is not labelled"
    kept = [key for key in keys if key not in void]
    pairs = [(key, at) for at, key in enumerate(kept)] + [(key, asked.ignore_index) for key in void]
    return made(asked, pairs, names_for(asked, _default_names(kept)), reason, tolerance=peaks.tolerance)


def _is_voc_void(key: Key) -> bool:
    return isinstance(key, tuple) and max(abs(a - b) for a, b in zip(key, _VOC_VOID, strict=True)) <= 8


def _by_colour(asked: Asked) -> Finding:
    survey = asked.survey
    if asked.known is not None and asked.known.colours is not None:
        found = _by_known_colours(asked, asked.known, asked.known.colours)
        if found is not None:
            return found
    peaks = find_peaks(survey)
    if peaks is not None:
        return _peaked(asked, peaks)
    _check_smear(asked)
    keys = survey.total.keys.tolist()
    _check_count(asked, "colours", len(keys))
    colours = [colour_of(key) for key in keys]
    void = [colour for colour in colours if colour == _VOC_VOID and len(colours) > 2]
    kept: list[Key] = [colour for colour in colours if colour not in void]
    names = names_for(asked, _default_names(kept))
    tail = f"; {key_text('colour', _VOC_VOID)}, VOC's border, is not labelled" if void else ""
    if len(kept) > 2 and kept[0] == (0, 0, 0) and names[0] == "background":
        tail += f"; if black means not labelled, map it to `ignore` in {asked.yaml.name}"
    reason = f"masks hold {len(kept)} colours, each a class{tail}"
    pairs: list[tuple[Key, int]] = [(key, at) for at, key in enumerate(kept)]
    return made(asked, pairs + [(colour, asked.ignore_index) for colour in void], names, reason)


def _by_known_colours(asked: Asked, known: KnownClasses, colours: tuple[Colour, ...]) -> Finding | None:
    """By the colours that a file names; None where they are not those of the masks."""
    twice = next((colour for colour in colours if colours.count(colour) > 1), None)
    if twice is not None:
        raise asked.doubt(
            f"{known.source} gives the colour {key_text('colour', twice)} to several classes, and the masks tell them "
            "by their colours.",
            "`colours:` that differ",
        )
    names = [name for name in known.names if not is_void(name)]
    ids = {name: at for at, name in enumerate(names)}
    pairs: list[tuple[Key, int]] = [
        (colour, ids.get(name, asked.ignore_index)) for name, colour in zip(known.names, colours, strict=True)
    ]
    total = asked.survey.total
    points = unpack(total.keys)
    distance = np.min([np.abs(points - np.array(colour)).max(axis=1) for colour in colours], axis=0)
    table = np.array(colours)
    between = np.abs(table[:, None] - table[None]).max(axis=2)
    nearest = int(between[between > 0].min()) if len(colours) > 1 else 255
    tolerance = 0 if distance.max() == 0 else min(48, (nearest - 1) // 2)
    within = float(total.pixels[distance <= tolerance].sum() / total.pixels.sum())
    if within < 0.9:
        return None
    reason = f"masks hold the colours of {known.source}"
    if tolerance:
        smeared = 100 * float(total.pixels[distance > 0].sum() / total.pixels.sum())
        reason += f"; {smeared:.2g} % of the pixels differ, and are given to the nearest within {tolerance}"
    ignored = [name for name in known.names if is_void(name)]
    if ignored:
        reason += f"; {', '.join(ignored)} is not labelled"
    return made(asked, pairs, names, reason, tolerance=tolerance, named=True)


def _default_names(keys: list[Key]) -> list[str]:
    black = keys[0] in (0, (0, 0, 0))
    if len(keys) == 2 and black:
        return ["background", "object"]
    names = [f"class {key}" if isinstance(key, int) else colour_name(key) for key in keys]
    return ["background", *names[1:]] if black else names


def _text(kind: str, key: int) -> str:
    return key_text("colour", colour_of(key)) if kind == "colour" else str(key)
