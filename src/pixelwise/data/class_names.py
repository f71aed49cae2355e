"""Names of classes: from the lists that people put beside their masks, and for colours and values that come without."""

from __future__ import annotations

import colorsys
import re
from dataclasses import dataclass
from pathlib import Path

from pixelwise.labels import Colour

_FILES = (
    "class_dict.csv",
    "labelmap.txt",
    "label_class_dict.csv",
    "label_colors.txt",
    "_classes.csv",
    "classes.txt",
    "class_names.txt",
    "names.txt",
    "codes.txt",
    "labels.txt",
    "label_names.txt",
)
_VOID = {"void", "unlabelled", "unlabeled", "ignore", "ignored", "don't care", "dontcare"}
_LABELME_VOID = "__ignore__"
_HEADER = {"name", "names", "class", "classes", "label", "class name", "class_name"}


@dataclass(frozen=True, slots=True)
class KnownClasses:
    """Classes that a file names.

    Attributes:
        names: in the order of their ids.
        colours: one a name where the file has them, else None.
        source: the file, as messages call it.
        stated: whether the user states it in dataset.yaml, so that masks it does not fit are an error.
        first: the id of the first of them, 0 or 1.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...] | None
    source: str
    stated: bool = False
    first: int = 0


def is_void(name: str) -> bool:
    """Whether a name says that its pixels belong to no class."""
    return name.strip().lower() in _VOID


def read_class_file(directory: Path) -> KnownClasses | None:
    """The first list of classes in a directory that can be read without doubt; None where there is none.

    Known are `class_dict.csv` and `label_class_dict.csv` (name,r,g,b), CVAT's `labelmap.txt` (name:r,g,b::), CamVid's
    `label_colors.txt` (r g b name), `_classes.csv` (value, name) and plain lists of a name a line, numbered from 0 or 1
    or not at all: `classes.txt`, `class_names.txt`, `names.txt`, `codes.txt`, `labels.txt`, `label_names.txt`.
    """
    by_name = {
        path.name.lower(): path for path in sorted(directory.glob("*")) if path.suffix.lower() in (".csv", ".txt")
    }
    for name in _FILES:
        if name in by_name and (found := _parse(by_name[name])) is not None:
            return found
    return None


def _parse(path: Path) -> KnownClasses | None:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError):
        return None
    lines = [line for line in lines if line and not line.startswith("#")]
    entries = [_entry(line) for line in lines]
    if entries and entries[0][1] == () and entries[0][0].split(",")[0].strip().lower() in _HEADER | {"pixel value"}:
        entries = entries[1:]
    if entries and entries[0] == (_LABELME_VOID, ()):  # its id is -1
        entries = entries[1:]
    names = tuple(name for name, _ in entries)
    numbers = [numbers for _, numbers in entries]
    if not names or len(set(names)) != len(names) or not all(names):
        return None
    if all(len(n) == 3 and max(n) <= 255 for n in numbers):
        colours = tuple((r, g, b) for r, g, b in numbers)
        return KnownClasses(names, colours, path.name) if len(set(colours)) == len(colours) else None
    if all(n == (i,) for i, n in enumerate(numbers)) or not any(numbers):
        return KnownClasses(names, None, path.name)
    if all(n == (i,) for i, n in enumerate(numbers, start=1)) and all(any(map(str.isalpha, name)) for name in names):
        return KnownClasses(names, None, path.name, first=1)
    return None


def _entry(line: str) -> tuple[str, tuple[int, ...]]:
    """A line's name and its numbers, which stand together before or after the name."""
    number = r"\d{1,3}"
    several = rf"{number}(?:[\s,;]+{number}){{2}}"
    for pattern in (
        rf"(?![\d\s,;:]+$)(?P<name>.*?[^\s,;:])[\s,;:]+(?P<numbers>{several})[\s,;:]*",
        rf"(?P<numbers>{several})[\s,;:]+(?P<name>.*\D.*)",
        rf"(?P<numbers>{number})[\s,;:]+(?P<name>.*\D.*)",
    ):
        if match := re.fullmatch(pattern, line):
            return match["name"].strip(" \t,;:\"'"), tuple(map(int, re.findall(r"\d+", match["numbers"])))
    return line.strip(" \t,;:\"'"), ()


_HUES = ((15, "red"), (45, "orange"), (70, "yellow"), (165, "green"), (195, "cyan"), (255, "blue"), (290, "purple"))


def colour_name(colour: Colour) -> str:
    """What people would call a colour, and its numbers: "red 128,0,0"."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    if value < 0.12:
        word = "black"
    elif saturation < 0.15:
        word = "white" if value > 0.93 else "grey"
    else:
        word = next((name for limit, name in _HUES if hue * 360 < limit), "pink" if hue * 360 < 345 else "red")
    return f"{word} {','.join(map(str, colour))}"
