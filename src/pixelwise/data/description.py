"""`dataset.yaml`: what a folder of photos and masks holds, as its user states it or as it was found.

Nothing of it has to be there. What it states counts; what it leaves open is found in the folder. The file is written by
`ensure_description` alone, and never over one that is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixelwise.data.class_names import is_void, read_class_file
from pixelwise.data.encoding import Encoding, Key, Kind, key_text
from pixelwise.errors import DataError, PixelwiseError, did_you_mean
from pixelwise.labels import ClassTable, Colour

FILE_NAME = "dataset.yaml"
KEYS = ("names", "colours", "ignore_index", "mapping", "tolerance", "images", "masks", "splits")
_SPLITS = ("train", "val", "test")
_IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Stated:
    """What a `dataset.yaml` states; what it leaves open is None or empty.

    Attributes:
        path: the file, there or not.
        names: of the classes, in the order of their ids.
        colours: one a name.
        ignore_index: the id, and in masks of class ids the value, of "not labelled".
        kind: what the keys of `mapping` are.
        mapping: stored value or colour, and the class's name, its id, or "ignore".
        rest: the name or id of what `mapping` does not hold.
        tolerance: see `Encoding`.
        images: the folder of photos, or a pattern.
        masks: likewise of masks.
        splits: ids by split.
    """

    path: Path
    names: tuple[str, ...] | None = None
    colours: tuple[Colour, ...] | None = None
    ignore_index: int = 255
    kind: Kind | None = None
    mapping: tuple[tuple[Key, str | int], ...] = ()
    rest: str | int | None = None
    tolerance: int = 0
    images: str | None = None
    masks: str | None = None
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def states_own_classes(root: Path, usual: ClassTable) -> bool:
    """Whether classes are stated in a folder that need not be those which its layout is known for.

    Args:
        root: with a `dataset.yaml`, whatever that states, or a list of classes with others than the usual.
        usual: those of the layout.
    """
    if (root / FILE_NAME).is_file():
        return True
    listed = read_class_file(root)
    names = () if listed is None else (name for name in listed.names if not is_void(name))
    return not {_letters(name) for name in names} <= {_letters(name) for name in usual.names}


def _letters(name: str) -> str:
    """A name by its letters alone: lists write "tvmonitor", "tv/monitor" and "_background_"."""
    return "".join(filter(str.isalpha, name.lower()))


def read_description(root: Path) -> Stated:
    """Read the `dataset.yaml` of a folder; nothing is stated where there is none.

    Raises:
        DataError: it is no YAML, has an unknown key, or a value that cannot be meant; the message names file and key.
    """
    import yaml

    path = root / FILE_NAME
    try:
        raw = _load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Stated(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if raw is None:
        return Stated(path)
    if not isinstance(raw, dict):
        raise DataError(f"{path} is not a mapping of keys to values; it may have: {', '.join(KEYS)}.")
    return _Reader(path).read(raw)


def _load(text: str) -> Any:
    """YAML in which whole numbers, true, false and null are such, and all else is as written.

    PyYAML's 1.1 would read the id 010 as 8, and 1.10 as 1.1, and classes called no and yes as False and True.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {}  # its own, and not those of 1.1
    for kind, pattern, first in (
        ("int", r"-?(?:0|[1-9][0-9]*)$", "-0123456789"),
        ("bool", r"(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
        ("null", r"(?:~|null|Null|NULL|)$", ("~", "n", "N", "")),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(pattern), list(first))
    return yaml.load(text, Loader)


@dataclass(frozen=True, slots=True)
class _Reader:
    path: Path

    def wrong(self, key: str, what: str) -> DataError:
        return DataError(f"{self.path}: `{key}` {what}.")

    def read(self, raw: Mapping[Any, Any]) -> Stated:
        for key in raw:
            if key not in KEYS:
                allowed = did_you_mean(str(key), KEYS, f"it may have: {', '.join(KEYS)}.")
                raise DataError(f"{self.path} has an unknown key `{key}`; {allowed}")
        given = {key: value for key, value in raw.items() if value is not None}
        names = self.names(given)
        kind, mapping, rest = self.mapping(given)
        return Stated(
            path=self.path,
            names=names,
            colours=self.colours(given, names),
            ignore_index=self.number(given, "ignore_index", 255),
            kind=kind,
            mapping=mapping,
            rest=rest,
            tolerance=self.number(given, "tolerance", 0),
            images=self.folder(given, "images"),
            masks=self.folder(given, "masks"),
            splits=self.splits(given),
        )

    def names(self, raw: Mapping[str, Any]) -> tuple[str, ...] | None:
        value = raw.get("names")
        if isinstance(value, dict) and list(value) == list(range(len(value))):  # as in YOLO's files: 0: cat, 1: dog
            value = list(value.values())
        if value is None:
            return None
        if not isinstance(value, list) or not value or any(isinstance(name, list | dict) for name in value):
            raise self.wrong("names", "has to be a list of class names in the order of their ids")
        names = tuple(str(name).strip() for name in value)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not all(names):
            raise self.wrong("names", f"has {twice[0]!r} twice" if twice else "has an empty name")
        return names

    def colours(self, raw: Mapping[str, Any], names: tuple[str, ...] | None) -> tuple[Colour, ...] | None:
        value = raw.get("colours")
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.wrong("colours", "has to be a list of one [red, green, blue] a name")
        colours = tuple(self.colour(entry) for entry in value)
        if names is None or len(colours) != len(names):
            raise self.wrong("colours", f"has {len(colours)} entries, but `names` has {len(names or ())}")
        return colours

    def colour(self, value: Any) -> Colour:
        if isinstance(value, str):
            value = _numbers(value)
        if isinstance(value, list | tuple) and len(value) == 3 and all(_is_byte(part) for part in value):
            return value[0], value[1], value[2]
        raise self.wrong("colours", f"holds {value!r}; a colour is [128, 0, 0] or '#800000'")

    def number(self, raw: Mapping[str, Any], key: str, default: int) -> int:
        value = raw.get(key, default)
        if not _is_byte(value):
            raise self.wrong(key, f"is {value!r}; expected a whole number from 0 to 255")
        return int(value)

    def folder(self, raw: Mapping[str, Any], key: str) -> str | None:
        value = raw.get(key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise self.wrong(key, "has to be a folder below this one, or a pattern such as 'a/*_mask.png'")
        return value

    def mapping(
        self, raw: Mapping[str, Any]
    ) -> tuple[Kind | None, tuple[tuple[Key, str | int], ...], str | int | None]:
        value = raw.get("mapping")
        if value is None:
            return None, (), None
        if not isinstance(value, dict) or not value:
            raise self.wrong("mapping", "has to give a class to each value or colour, such as `255: object`")
        kinds: set[Kind] = set()
        entries: dict[Key, str | int] = {}
        rest: str | int | None = None
        for raw_key, target in value.items():
            if isinstance(target, bool) or not isinstance(target, str | int):
                raise self.wrong("mapping", f"gives {target!r} to {raw_key}; expected a class's name, its id or ignore")
            if raw_key == "rest":
                rest = target
                continue
            kind, key = self.key(raw_key)
            if key in entries:
                raise self.wrong("mapping", f"has {key_text(kind, key)} twice")
            kinds.add(kind)
            entries[key] = target
        if len(kinds) != 1:
            raise self.wrong("mapping", f"mixes {' and '.join(sorted(kinds))}s" if kinds else "has `rest` alone")
        return kinds.pop(), tuple(entries.items()), rest

    def key(self, value: Any) -> tuple[Kind, Key]:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535:
            return "value", value
        if isinstance(value, str):
            if (alpha := re.fullmatch(r"alpha (\d+)", value)) and int(alpha[1]) <= 255:
                return "alpha", int(alpha[1])
            if value.isdecimal() and int(value) <= 65535:
                return "value", int(value)
            numbers = _numbers(value)
            if len(numbers) == 3 and all(map(_is_byte, numbers)):
                return "colour", (numbers[0], numbers[1], numbers[2])
        raise self.wrong(
            "mapping",
            f"holds {value!r}; expected a value such as 255, a colour such as '128,0,0' or '#800000', or rest",
        )

    def splits(self, raw: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        value = raw.get("splits", {})
        if not isinstance(value, dict):
            raise self.wrong("splits", "has to give a list of ids to train, val or test")
        splits: dict[str, tuple[str, ...]] = {}
        for name, ids in value.items():
            if name not in _SPLITS:
                allowed = did_you_mean(str(name), _SPLITS, "it may have train, val, test")
                raise self.wrong("splits", f"has {name!r}; {allowed}")
            if not isinstance(ids, list) or not ids or any(isinstance(entry, list | dict) for entry in ids):
                raise self.wrong(f"splits.{name}", "has to be a list of ids")
            splits[name] = tuple(map(str, ids))
        everywhere = [name for ids in splits.values() for name in ids]
        twice = (
            sorted({name for name in everywhere if everywhere.count(name) > 1})
            if len(set(everywhere)) < len(everywhere)
            else []
        )
        if twice:
            raise self.wrong("splits", f"names {twice[0]!r} twice")
        return splits


def _numbers(text: str) -> list[int]:
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return list(bytes.fromhex(text[1:]))
    parts = [part.strip() for part in text.strip("()[]").split(",")]
    return [int(part) for part in parts] if all(part.isdecimal() for part in parts) else []


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def stated_encoding(stated: Stated) -> tuple[Encoding, tuple[str, ...]]:
    """The encoding and the class names of a `mapping` that dataset.yaml states.

    Raises:
        DataError: it gives a value to a class that is not among the names.
    """
    targets = [target for _, target in stated.mapping] + ([] if stated.rest is None else [stated.rest])
    named = [target for target in targets if isinstance(target, str) and target != _IGNORE]
    names = stated.names or tuple(dict.fromkeys(named))
    numbers = [target for target in targets if isinstance(target, int) and target != stated.ignore_index]
    if stated.names is None and numbers:
        if named:
            raise DataError(f"{stated.path}: `mapping` gives both ids and names; state `names`, or use one of them.")
        names = tuple("background" if i == 0 else f"class {i}" for i in range(max(numbers) + 1))

    if not names:
        raise DataError(f"{stated.path}: `mapping` gives no value to a class, only to ignore; name the classes.")

    def number(target: str | int) -> int:
        if target in (_IGNORE, stated.ignore_index):
            return stated.ignore_index
        if isinstance(target, str) and target in names:
            return names.index(target)
        if isinstance(target, int) and 0 <= target < len(names):
            return target
        there = did_you_mean(str(target), names, f"there are: {', '.join(names)}, and ignore.")
        raise DataError(f"{stated.path}: `mapping` gives a value to {target!r}, which is no class; {there}")

    encoding = Encoding(
        kind=stated.kind or "value",
        mapping=tuple((key, number(target)) for key, target in stated.mapping),
        rest=None if stated.rest is None else number(stated.rest),
        tolerance=stated.tolerance,
        ignore_index=stated.ignore_index,
        reason=f"as {FILE_NAME} says",
    )
    return encoding, names


def class_table(stated: Stated, names: Sequence[str], colours: Sequence[Colour]) -> ClassTable:
    """A class table, whose mistakes are those of dataset.yaml.

    Raises:
        DataError: `ignore_index` is a class id, or there are too many classes.
    """
    try:
        return ClassTable(tuple(names), tuple(colours), stated.ignore_index)
    except PixelwiseError as error:
        raise DataError(f"{stated.path}: {error}") from error


def to_yaml(
    classes: ClassTable,
    encoding: Encoding,
    *,
    val: Sequence[str],
    finding: str,
) -> str:
    """The text of a `dataset.yaml` that states what was found, with comments on how."""
    lines = [
        "# Written by pixelwise from what this folder holds. Edit it where that is wrong; it is not written again."
    ]
    lines += [f"# Found: {_plain(finding)}.", "", "# The classes, in the order of their ids, and how they are drawn."]
    lines += ["names:", *(f"  - {_scalar(name)}" for name in classes.names)]
    lines += [
        "colours:",
        *(f"  - {list(colour)}  # {_plain(name)}" for name, colour in zip(classes.names, classes.colours, strict=True)),
    ]
    lines += [f"ignore_index: {classes.ignore_index}  # the id of what is not labelled", ""]
    lines += [f"# What the masks hold: {_plain(encoding.reason)}."]
    lines += ["mapping:"]
    for key, target in encoding.mapping:
        name = _IGNORE if target == encoding.ignore_index else classes.names[target]
        text = key_text(encoding.kind, key)
        lines.append(f"  {text if encoding.kind == 'value' else repr(text)}: {_scalar(name)}")
    if encoding.rest is not None:
        lines.append(f"  rest: {_scalar(classes.names[encoding.rest])}")
    if encoding.tolerance:
        lines.append(f"tolerance: {encoding.tolerance}  # what differs by more from every key is not labelled")
    if val:
        lines += ["", "# Drawn once to choose the best weights on; every other photo is learned from, new ones too."]
        lines += ["splits:", "  val:", *(f"    - {_scalar(name)}" for name in val)]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """As one line of a comment: a file's name may hold line breaks, and bytes that are no UTF-8."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def _scalar(text: str) -> str:
    """A text as YAML reads it back: quoted where it would be a number, a truth value or worse."""
    import yaml

    written: str = yaml.safe_dump(text, allow_unicode=True, width=10_000, default_flow_style=True)
    return written.removesuffix("\n").removesuffix("...").rstrip()
