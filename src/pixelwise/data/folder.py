"""Any folder of photos and masks: what lies in it, what its masks mean, and how it is divided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pixelwise.data.advice import counted
from pixelwise.data.class_names import KnownClasses, read_class_file
from pixelwise.data.description import FILE_NAME, Stated, class_table, read_description, stated_encoding, to_yaml
from pixelwise.data.detection import detect
from pixelwise.data.discover import Found, Pair, discover
from pixelwise.data.encoding import Encoding
from pixelwise.data.finding import own_colours
from pixelwise.data.splits import hold_out
from pixelwise.data.survey import Survey, survey_masks
from pixelwise.errors import DataError, OutputError
from pixelwise.files import write_atomically
from pixelwise.labels import ClassTable

_SPLITS = ("train", "val", "test")
_VAL_SHARE, _VAL_SEED = 0.2, 0


@dataclass(frozen=True, slots=True)
class FolderDescription:
    """What a folder holds.

    Attributes:
        root: the folder.
        classes: of its masks.
        encoding: how its masks are read.
        splits: the pairs of each split, in the order train, val, test.
        drawn: ids of the validation split where it was drawn for want of one, else empty.
        unpaired: photos without a mask and masks without a photo.
        finding: all that was found, in a sentence or two.
    """

    root: Path
    classes: ClassTable
    encoding: Encoding
    splits: Mapping[str, tuple[Pair, ...]]
    drawn: tuple[str, ...]
    unpaired: tuple[Path, ...]
    finding: str


def describe_folder(root: Path) -> FolderDescription:
    """Find out what a folder holds; what its dataset.yaml states is taken for granted.

    The masks are counted once in a process, as long as no file changes.

    Raises:
        DataError: there are no pairs, the masks can be read in several ways, or dataset.yaml has a mistake.
    """
    stated = read_description(root)
    found = discover(root, images=stated.images, masks=stated.masks)
    if stated.mapping:
        encoding, names = stated_encoding(stated)
        classes = class_table(stated, names, stated.colours or own_colours(encoding, names))
    else:
        masks = [(path, path.stat()) for path in sorted({pair.mask for pair in found.pairs})]
        finding = detect(
            _survey(tuple((path, status.st_size, status.st_mtime_ns) for path, status in masks)),
            yaml=stated.path,
            known=_known(stated, root),
            ignore_index=stated.ignore_index,
        )
        encoding, classes = finding.encoding, finding.classes
    splits, drawn = _divided(found, stated)
    return FolderDescription(
        root=root,
        classes=classes,
        encoding=encoding,
        splits=splits,
        drawn=drawn,
        unpaired=found.unpaired,
        finding=_sentence(found, encoding, splits, drawn),
    )


def ensure_description(root: Path) -> tuple[FolderDescription, bool]:
    """Describe a folder, and write down what was found where it has no dataset.yaml yet.

    A folder that cannot be written to is described all the same.

    Returns:
        The description, whose `finding` says what to tell the user, and whether dataset.yaml was written.

    Raises:
        DataError: as for `describe_folder`.
    """
    description = describe_folder(root)
    path = root / FILE_NAME
    if path.exists():
        return description, False
    text = to_yaml(description.classes, description.encoding, val=description.drawn, finding=description.finding)
    try:
        write_atomically(path, text.encode())
    except OutputError:
        return description, False
    return description, True


@lru_cache(maxsize=8)
def _survey(files: tuple[tuple[Path, int, int], ...]) -> Survey:
    """The masks counted; size and time of each file are there for the cache alone."""
    return survey_masks([path for path, _, _ in files])


def _known(stated: Stated, root: Path) -> KnownClasses | None:
    if stated.names is not None:
        return KnownClasses(stated.names, stated.colours, FILE_NAME, stated=True)
    return read_class_file(root)


def _divided(found: Found, stated: Stated) -> tuple[dict[str, tuple[Pair, ...]], tuple[str, ...]]:
    """The pairs by split, and the ids of the validation split if it had to be drawn."""
    listed = {name: split for split, ids in stated.splits.items() for name in ids}
    missing = sorted(listed.keys() - {pair.id for pair in found.pairs})
    if missing:
        raise DataError(
            f"{stated.path}: `splits` names {counted(len(missing), 'photo')} of which there is no pair; the first "
            f"is {missing[0]}. Bring them back, or take them out of the list."
        )
    splits: dict[str, list[Pair]] = {name: [] for name in _SPLITS}
    for pair in found.pairs:
        split = pair.split or "train"
        if split != "test":
            split = listed.get(pair.id, "" if "train" in stated.splits else split)
        if split:
            splits[split].append(pair)
    drawn: tuple[str, ...] = ()
    if not splits["val"] and len(splits["train"]) > 1:
        drawn = tuple(hold_out([pair.id for pair in splits["train"]], share=_VAL_SHARE, seed=_VAL_SEED)[1])
        held = set(drawn)
        splits["val"] = [pair for pair in splits["train"] if pair.id in held]
        splits["train"] = [pair for pair in splits["train"] if pair.id not in held]
    return {name: tuple(pairs) for name, pairs in splits.items() if pairs}, drawn


def _sentence(found: Found, encoding: Encoding, splits: Mapping[str, tuple[Pair, ...]], drawn: tuple[str, ...]) -> str:
    counts = ", ".join(f"{len(pairs)} {name}" for name, pairs in splits.items())
    how = f" (validation drawn with seed {_VAL_SEED})" if drawn else ""
    parts = [found.finding, encoding.reason, f"{counts}{how}"]
    if found.unpaired:
        alone = counted(len(found.unpaired), "file")
        parts.append(f"{alone} without a partner left out, the first: {found.unpaired[0]}")
    return "; ".join(parts)
