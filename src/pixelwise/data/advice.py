"""What to say, and to do, where no photo of a folder has a mask."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pixelwise.decoding import header_size
from pixelwise.errors import DataError, ImageError

LAYOUTS = (
    "images/ and masks/ (with train/, val/, test/ inside, or lists train.txt, val.txt, test.txt beside them); train/, "
    "val/, test/ with images/ and masks/ inside; or photos and masks side by side as x.jpg and x.png, or x.png and "
    "x_mask.png"
)
"""What is understood, for messages."""

_ARRAYS = (".npy", ".npz", ".mat", ".h5", ".hdf5", ".nii", ".nii.gz", ".nrrd", ".dcm")
_OUTLINES = (".json", ".xml", ".txt")
_LOOKED_AT = 20
_SHOWN = 6


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 file", "2 files"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def no_pair(root: Path, photos: Sequence[Path], masks: Sequence[Path]) -> DataError:
    """The error for a folder in which no photo has a mask: why, as far as it can be told, and what to do.

    Args:
        root: the folder.
        photos: its pictures that are named as photos, or as nothing.
        masks: those that are named as masks.
    """
    arrays = _files(root, _ARRAYS)
    if arrays and not masks:
        some = arrays[0].relative_to(root)
        return DataError(
            f"{root} holds {counted(len(photos), 'picture')}, but its masks seem to be {counted(len(arrays), 'file')} "
            f"such as {some}, which are not read. Save each as a PNG of its photo's name, for an array of class ids "
            "with `PIL.Image.fromarray(ids.astype('uint8')).save(...)`."
        )
    if photos and not masks and (told := _outlines(root, photos)):
        return DataError(told)
    if not photos and not masks:
        return DataError(f"{root} holds no pictures that can be read. Expected: {LAYOUTS}.")
    if masks and (told := _one_mask_an_object(root, photos, masks) or _one_folder_a_class(root, photos, masks)):
        return DataError(told)
    if not masks and _twice_as_wide(photos):
        return DataError(
            f"{root} holds {counted(len(photos), 'picture')} and no masks, and each is twice as wide as high: photo "
            "and mask seem to stand side by side in one file. Cut each in two, into images/ and masks/, under the same "
            "names and the masks as PNG: `magick IN.jpg -crop 50%x100% +repage OUT-%d.png`."
        )
    counts = Counter(path.parent.relative_to(root).as_posix() for path in (*photos, *masks))
    shown = [f"{folder}/ ({count})" for folder, count in sorted(counts.items())[:_SHOWN]]
    if len(counts) > _SHOWN:
        shown.append(counted(len(counts) - _SHOWN, "more folder"))
    reason = "no photo has a mask of its name" if masks else "no folder or file is named as one of masks"
    return DataError(
        f"{root} holds {counted(counts.total(), 'picture')}, but {reason}; found: {', '.join(shown)}. Expected: "
        f"{LAYOUTS}. Or name the folders in {root / 'dataset.yaml'}: `images: FOLDER` and `masks: FOLDER`."
    )


def _files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    found = (Path(folder, name) for folder, _, names in os.walk(root) for name in names if not name.startswith("."))
    return sorted(path for path in found if path.name.lower().endswith(suffixes))


def _outlines(root: Path, photos: Sequence[Path]) -> str:
    """What is said of objects drawn as outlines: Labelme's or COCO's JSON in another place, YOLO's .txt, an .xml."""
    stems = {path.stem for path in photos}
    found = [path for path in _files(root, _OUTLINES) if path.suffix.lower() != ".txt" or path.stem in stems]
    if not found:
        return ""
    held = f"{root} holds {counted(len(photos), 'picture')} and no masks, but {counted(len(found), 'file')} such as "
    if found[0].suffix.lower() != ".json":
        return (
            f"{held}{found[0].relative_to(root)}; outlines are read from Labelme's and COCO's JSON alone. Have the "
            "tool that drew them export that, or masks as PNG."
        )
    return (
        f"{held}{found[0].relative_to(root)}, which is not read where it lies. Labelme's NAME.json belongs beside its "
        "photo, all in one folder or in train/, val/, test/; COCO's is annotations/instances_SPLIT.json, "
        "SPLIT/_annotations.coco.json, or the only .json file beside images/."
    )


def _one_mask_an_object(root: Path, photos: Sequence[Path], masks: Sequence[Path]) -> str:
    """What is said of `ID/images/ID.png` beside many `ID/masks/*.png`, as in the Data Science Bowl 2018."""
    alone = {path.parent.parent: path for path in photos}
    several = Counter(path.parent for path in masks if path.parent.parent in alone)
    if not several or several.most_common(1)[0][1] < 2 or len(alone) < len(photos):
        return ""
    folder, count = several.most_common(1)[0]
    photo = alone[folder.parent].relative_to(root)
    return (
        f"{root} holds a mask for each object rather than for each photo: {folder.relative_to(root)}/ has {count} for "
        f"the photo {photo}. Unite each photo's masks in one PNG of the photo's name, with "
        "`numpy.maximum.reduce(masks)`; docs/data-formats.md has the lines for it."
    )


def _one_folder_a_class(root: Path, photos: Sequence[Path], masks: Sequence[Path]) -> str:
    """What is said of `masks/car/a.png` and `masks/tree/a.png` beside `images/a.png`."""
    stems = {path.stem for path in photos}
    folders = sorted({path.parent for path in masks if path.stem in stems})
    if len(folders) < 2 or len({folder.parent for folder in folders}) > 1:
        return ""
    shown = [folder.relative_to(root).as_posix() for folder in folders]
    return (
        f"{root} has several folders with masks of the same photos, {', '.join(shown[:_SHOWN])}: one a "
        "class, it seems. Draw each photo's masks into one PNG, 1 where the first is set, 2 where the second is, "
        f"and so on; or learn one of them alone: `masks: {shown[0]}` in {root / 'dataset.yaml'}."
    )


def _twice_as_wide(photos: Sequence[Path]) -> bool:
    try:
        sizes = [header_size(path) for path in photos[:_LOOKED_AT]]
    except ImageError:
        return False
    return all(width == 2 * height for height, width in sizes)
