"""What detection puts together: an encoding, a class table, and what is said where there is a doubt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pixelwise.colours import distinct_colours
from pixelwise.data.class_names import KnownClasses
from pixelwise.data.encoding import Encoding, Key, Kind
from pixelwise.data.survey import Survey
from pixelwise.errors import DataError
from pixelwise.labels import ClassTable, Colour


@dataclass(frozen=True, slots=True)
class Finding:
    """What the masks mean."""

    encoding: Encoding
    classes: ClassTable


@dataclass(frozen=True, slots=True)
class Asked:
    """What detection is to know beside the masks.

    Attributes:
        survey: what the masks hold.
        known: names of the classes, where a file has them.
        ignore_index: the value of "not labelled".
        yaml: where a doubt is to be settled.
    """

    survey: Survey
    known: KnownClasses | None
    ignore_index: int
    yaml: Path

    def doubt(self, what: str, *remedies: str) -> DataError:
        """The error for masks that can be read in several ways: what was found, and a line for each way."""
        return DataError(f"{what} Say which in {self.yaml}: {'; '.join(remedies)}.")


def names_for(asked: Asked, defaults: list[str]) -> list[str]:
    """The names that a file gives, where it has as many as there are classes; else the defaults.

    Args:
        asked: what is known beside the masks.
        defaults: a name a class, in the order of the ids.
    """
    known = asked.known
    told = asked.survey.kind != "colour" or defaults == ["background", "object"]  # colours have no order
    if not told or known is None or known.first != 0 or len(known.names) != len(defaults):
        return defaults
    return list(known.names)


def made(
    asked: Asked,
    pairs: list[tuple[Key, int]] | list[tuple[int, int]],
    names: list[str],
    reason: str,
    *,
    rest: int | None = None,
    tolerance: int = 0,
    named: bool = False,
) -> Finding:
    """Put a finding together.

    Args:
        asked: what it answers.
        pairs: stored value or colour, and the class id or `ignore_index` it stands for.
        names: of the classes.
        reason: how it was found.
        rest: see `Encoding`.
        tolerance: see `Encoding`.
        named: whether `names` are already those of `asked.known`.

    Raises:
        DataError: the user states other names than the masks have classes, or there is a single class.
    """
    kind: Kind = "colour" if asked.survey.kind == "colour" else "alpha" if asked.survey.kind == "alpha" else "value"
    known = asked.known
    if known is not None and not named and list(known.names) != names:
        misfit = f"{known.source} names {len(known.names)} classes, but {reason}"
        if known.stated:
            raise asked.doubt(f"{misfit}.", "`mapping:`, with a line for each value or colour", "or other `names:`")
        reason = f"{reason}; {known.source} names {len(known.names)} classes and was left aside"
    elif known is not None and known.source not in reason:
        reason = f"{reason}; named by {known.source}"
    mapping: dict[Key, int] = dict(pairs)
    ids = {target for target in mapping.values() if target != asked.ignore_index}
    if kind == "value" and tolerance == 0 and rest is None and all(key == target for key, target in mapping.items()):
        mapping.setdefault(asked.ignore_index, asked.ignore_index)
    if len(ids) + (rest is not None) < 2:
        raise DataError(f"The masks hold a single class beside what is not labelled: {reason}.")
    encoding = Encoding(kind, tuple(mapping.items()), rest, tolerance, asked.ignore_index, reason)
    colours = known.colours if known is not None and known.colours is not None and list(known.names) == names else None
    if asked.ignore_index < len(names):
        void = asked.ignore_index
        example = f"`{{{void}: ignore, {void + 1}: {names[-1]}}}`"
        raise DataError(
            f"{asked.yaml}: `ignore_index` is {void}, which is the id of {names[void]}. If {void} in the masks "
            f"means not labelled, leave it out and state `mapping:`, such as {example}, with a line for each value."
        )
    return Finding(encoding, ClassTable(tuple(names), colours or _colours(asked, mapping, names), asked.ignore_index))


def _colours(asked: Asked, mapping: dict[Key, int], names: list[str]) -> tuple[Colour, ...]:
    """The masks' own colours where they can be told apart, else distinct ones, the background's black."""
    own: dict[int, Colour] = {}
    for key, target in mapping.items():
        colour = key if isinstance(key, tuple) else asked.survey.palette.get(key)
        if colour is not None and target not in own:
            own[target] = colour
    colours = tuple(own[i] for i in range(len(names))) if own.keys() >= set(range(len(names))) else ()
    return colours if colours and tellable(colours) else display_colours(names)


def own_colours(encoding: Encoding, names: tuple[str, ...]) -> tuple[Colour, ...]:
    """The colours by which the masks tell classes, where they can be told apart; else distinct ones."""
    own: dict[int, Colour] = {}
    for key, target in encoding.mapping:
        if isinstance(key, tuple):
            own.setdefault(target, key)
    colours = tuple(own[i] for i in range(len(names)) if i in own)
    return colours if len(colours) == len(names) and tellable(colours) else display_colours(list(names))


def tellable(colours: tuple[Colour, ...]) -> bool:
    """Whether no two of the colours are nearly alike, and at most one is nearly black."""
    table = np.array(colours)
    apart = np.abs(table[:, None] - table[None]).max(axis=2)
    np.fill_diagonal(apart, 255)
    return bool(apart.min() >= 16 and (table.max(axis=1) < 48).sum() <= 1)


def display_colours(names: list[str]) -> tuple[Colour, ...]:
    """Colours for classes that come without any; "background" is black."""
    distinct = iter(distinct_colours(len(names)))
    return tuple((0, 0, 0) if name == "background" else next(distinct) for name in names)
