"""A repaired copy of a dataset: what can be mended is, what cannot is left out, the original is not touched."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.discover import canonical_split
from pixelwise.data.pairs import Pairs
from pixelwise.decoding import SUPPORTED_SUFFIXES, turn_upright
from pixelwise.doctor.duplicate_checks import Sighting, leaks
from pixelwise.doctor.examination import Diagnosis
from pixelwise.doctor.facts import Fault, PairFacts
from pixelwise.doctor.findings import Advance, Place
from pixelwise.doctor.survey import SplitFacts, rank
from pixelwise.errors import OutputError, PixelwiseError
from pixelwise.files import is_there, making_directory, write_atomically, write_text
from pixelwise.images import read_image
from pixelwise.masks import write_mask
from pixelwise.render import write_picture

CHANGES = "CHANGES.txt"


@dataclass(frozen=True, slots=True)
class Repair:
    """What became of a dataset: how many pairs are in the copy, and a sentence for each thing that was changed."""

    kept: int
    changes: tuple[str, ...]


def check_copy(out: Path, root: Path) -> None:
    """See that a copy can be made, before the work is done.

    Raises:
        OutputError: `out` is inside of the dataset or around it, is there already and not empty, or has no directory to
            be in.
    """
    if is_there(out) and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} exists already and is not an empty directory; choose another place.")
    if not out.parent.is_dir():
        raise OutputError(f"There is no directory {out.parent} to write {out.name} to.")
    if out.resolve().is_relative_to(root.resolve()):
        raise OutputError(f"{out} is inside of {root}; the repaired copy has to be elsewhere.")


def repair(
    diagnosis: Diagnosis, datasets: Sequence[Pairs], *, root: Path, out: Path, advance: Advance = lambda share: None
) -> Repair:
    """Write a repaired copy: `images/SPLIT`, `masks/SPLIT`, `dataset.yaml`, and `CHANGES.txt`, which tells the changes.

    Sound photos are copied byte by byte, turned ones are stored upright; masks become indexed PNGs, in which values
    that are no class are ignored. A mask that was drawn on a turned photo as it is stored is turned, too. Pairs that
    cannot be read, or whose sizes differ for no known reason, are left out; so are photos that are in another split,
    to the pixel (`duplicate_checks.leaks`). What several splits share rightly is stored in the smallest of them.

    Args:
        diagnosis: of `examination.examine`.
        datasets: those that were examined.
        root: where they are; nothing there is changed.
        out: the directory to make.
        advance: called with 1 after each pair.

    Raises:
        OutputError: as for `check_copy`, or it cannot be written; `out` is then as it was.
    """
    check_copy(out, root)
    leaving = {dropped.pair.place: kept for dropped, kept in leaks(diagnosis.splits)}
    homes = _homes(diagnosis.splits, leaving)
    changes: list[str] = []
    kept = 0
    with making_directory(out) as fresh:
        for dataset, split in zip(datasets, diagnosis.splits, strict=True):
            taken: set[str] = set()
            elsewhere = 0
            for pair in split.pairs:
                if twin := leaving.get(pair.place):
                    changes.append(_left_out(pair, split, twin))
                elif homes[pair.photo_path] != pair.place:
                    elsewhere += 1
                else:
                    name = _name(dataset.ids[pair.place.index], taken)
                    told, written = _copy(dataset, split, pair, fresh, name)
                    changes += told
                    kept += written
                advance(1)
            if elsewhere:
                changes.append(f"{split.name}: {elsewhere} photos that another split has, too, are stored there.")
        _finish(fresh, diagnosis, changes)
    return Repair(kept, tuple(changes))


def _homes(splits: Sequence[SplitFacts], leaving: Mapping[Place, Sighting]) -> dict[Path, Place]:
    """Where each photo goes: of the splits that have it, VOC's train and train_aug perhaps, to the smallest."""
    homes: dict[Path, Place] = {}
    for split in sorted(splits, key=lambda split: len(split.pairs)):
        for pair in split.pairs:
            if pair.place not in leaving:
                homes.setdefault(pair.photo_path, pair.place)
    return homes


def _left_out(pair: PairFacts, split: SplitFacts, twin: Sighting) -> str:
    kept = f"the same photo is in {twin.split.name}, as {twin.pair.photo_path}"
    return f"{pair.photo_path} left out of {split.name}: {kept}."


def _copy(dataset: Pairs, split: SplitFacts, pair: PairFacts, out: Path, name: str) -> tuple[list[str], bool]:
    """Write one pair; what was changed, and whether there is one."""
    for facts in (pair.photo, pair.mask):
        if isinstance(facts, Fault):
            return [f"{pair.photo_path} left out of {split.name}: {facts.sentence}"], False
    try:
        photo = read_image(pair.photo_path)
        mask, strangers = dataset.mended_mask(pair.place.index)
    except PixelwiseError as error:  # it could be read a minute ago
        return [f"{pair.photo_path} left out of {split.name}: {error}"], False
    changes, mask_name = [], dataset.mask_name(pair.place.index)
    photos, masks = (out / kind / _folder(split.name) for kind in ("images", "masks"))
    if mask.shape != photo.pixels.shape[:2] and photo.orientation >= 5:
        mask = turn_upright(mask, photo.orientation)
        changes.append(f"{mask_name} turned like its photo.")
    if mask.shape != photo.pixels.shape[:2]:
        return [f"{pair.photo_path} left out of {split.name}: its mask has another size, for no known reason."], False
    if strangers.any():
        changes.append(f"{mask_name}: {np.count_nonzero(strangers)} pixels of no class are now ignored.")
    photos.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    told_by_name = pair.photo_path.suffix.lower() in SUPPORTED_SUFFIXES  # else nothing would find the copy
    if photo.orientation == 1 and told_by_name:
        shutil.copyfile(pair.photo_path, photos / f"{name}{pair.photo_path.suffix}")
    else:
        _write_upright(photos, name, pair.photo_path.suffix, photo.pixels)
        changes.append(f"{pair.photo_path} stored {'upright' if told_by_name else 'as a PNG, upright'}.")
    write_mask(masks / f"{name}.png", mask, split.classes)
    return changes, True


def _folder(split: str) -> Path:
    """Where a split goes, so that the copy is read as it: a folder of photos knows no others than train, val, test."""
    known = rank(split) == 0 or canonical_split(split) in ("val", "test")
    return Path(split) if known else Path("val" if rank(split) == 1 else "test", split)


def _write_upright(folder: Path, name: str, suffix: str, pixels: NDArray[np.uint8]) -> None:
    lossy = suffix.lower() in (".jpg", ".jpeg")
    write_picture(folder / f"{name}{suffix if lossy else '.png'}", pixels)


def _finish(out: Path, diagnosis: Diagnosis, changes: Sequence[str]) -> None:
    classes = diagnosis.splits[0].classes
    # JSON is YAML, but for the two escapes that it makes of one emoji.
    lines = [
        f"names: {json.dumps(classes.names, ensure_ascii=False)}",
        f"colours: {json.dumps(classes.colours)}",
        f"ignore_index: {classes.ignore_index}",
        # Said rather than left to be found: names and a few values can be read in other ways.
        f"mapping: {json.dumps({value: value for value in (*range(len(classes)), classes.ignore_index)})}",
    ]
    write_text(out / "dataset.yaml", "\n".join(lines) + "\n")
    write_atomically(out / CHANGES, ("\n".join(changes or ["Nothing was changed."]) + "\n").encode("utf-8", "replace"))


def _name(identifier: str, taken: set[str]) -> str:
    """A file's stem for an id, which comes from a list that anybody may have written: no way out of the folder."""
    parts = [part for part in PurePosixPath(identifier).parts if part not in ("/", "..")]
    stem = re.sub(r'[\x00-\x1f\\:*?"<>|]', "_", "_".join(parts)).lstrip(".") or "photo"
    name, number = stem, 2
    while name.lower() in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name.lower())
    return name
