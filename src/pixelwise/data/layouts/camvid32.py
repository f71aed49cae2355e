"""CamVid, driving scenes from Cambridge, as its authors published it: 32 classes, 960 x 720 pixels, masks in colours.

Two layouts. The official one: `701_StillsRaw_full/NAME.png`, `LabeledApproved_full/NAME_L.png`, `label_colors.txt`
with lines `64 128 64 Animal`. Kaggle's: `train/NAME.png`, `train_labels/NAME_L.png`, likewise `val` and `test`, and
`class_dict.csv` with the columns name, r, g, b. Where neither table is there, the official one is taken; black, Void,
is ignored.

Splits: there are none in the official layout. Where lists `train.txt`, `val.txt`, `test.txt` lie beside the photos,
such as the SegNet tutorial's, they count; of each line the stem of the first file. Else a fifth of each sequence is
held out as `val`. Beware: neighbouring frames of a film look nearly alike, so that figures on such a `val` flatter
the model; publish none of them.

Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", Pattern Recognition Letters 2009. The 11
classes are those of Sturgess et al., "Combining Appearance and Structure from Motion Features for Road Scene
Understanding", BMVC 2009, which SegNet uses, arXiv:1511.00561; which of the 32 goes where is written out in
MathWorks' example "Semantic Segmentation Using Deep Learning".
"""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.layouts.camvid import CAMVID
from pixelwise.data.mapping import read_colour_mask
from pixelwise.data.pairs import Pairs
from pixelwise.data.registry import register
from pixelwise.data.sample import check_option, check_split, read_lines, split_lists
from pixelwise.data.splits import with_validation
from pixelwise.errors import DataError
from pixelwise.images import find_images
from pixelwise.labels import ClassTable, Colour

OFFICIAL_COLOURS: dict[str, Colour] = {
    "Animal": (64, 128, 64),
    "Archway": (192, 0, 128),
    "Bicyclist": (0, 128, 192),
    "Bridge": (0, 128, 64),
    "Building": (128, 0, 0),
    "Car": (64, 0, 128),
    "CartLuggagePram": (64, 0, 192),
    "Child": (192, 128, 64),
    "Column_Pole": (192, 192, 128),
    "Fence": (64, 64, 128),
    "LaneMkgsDriv": (128, 0, 192),
    "LaneMkgsNonDriv": (192, 0, 64),
    "Misc_Text": (128, 128, 64),
    "MotorcycleScooter": (192, 0, 192),
    "OtherMoving": (128, 64, 64),
    "ParkingBlock": (64, 192, 128),
    "Pedestrian": (64, 64, 0),
    "Road": (128, 64, 128),
    "RoadShoulder": (128, 128, 192),
    "Sidewalk": (0, 0, 192),
    "SignSymbol": (192, 128, 128),
    "Sky": (128, 128, 128),
    "SUVPickupTruck": (64, 128, 192),
    "TrafficCone": (0, 0, 64),
    "TrafficLight": (0, 64, 64),
    "Train": (192, 64, 128),
    "Tree": (128, 128, 0),
    "Truck_Bus": (192, 128, 192),
    "Tunnel": (64, 0, 64),
    "VegetationMisc": (192, 192, 0),
    "Void": (0, 0, 0),
    "Wall": (64, 192, 0),
}
"""The 32 names in the order of `label_colors.txt`."""

GROUPS: dict[str, tuple[str, ...]] = {
    "sky": ("Sky",),
    "building": ("Archway", "Bridge", "Building", "Tunnel", "Wall"),
    "pole": ("Column_Pole", "TrafficCone"),
    "road": ("LaneMkgsDriv", "LaneMkgsNonDriv", "Road"),
    "pavement": ("ParkingBlock", "RoadShoulder", "Sidewalk"),
    "tree": ("Tree", "VegetationMisc"),
    "sign": ("Misc_Text", "SignSymbol", "TrafficLight"),
    "fence": ("Fence",),
    "car": ("Car", "OtherMoving", "SUVPickupTruck", "Train", "Truck_Bus"),
    "pedestrian": ("Animal", "CartLuggagePram", "Child", "Pedestrian"),
    "bicyclist": ("Bicyclist", "MotorcycleScooter"),
}
"""The 11 classes, and which of the 32 each is made of; Void is in none."""

_SPLITS = ("train", "val", "test")
_PHOTOS, _MASKS = "701_StillsRaw_full", "LabeledApproved_full"


@register("camvid32")
class CamVid32(Pairs):
    """CamVid with masks in colours; see the head of the file.

    Args:
        root: the directory that holds `701_StillsRaw_full`, or `train` and `train_labels`.
        split: train, val or test.
        classes: "32": all but Void, which is ignored. "11": grouped as `GROUPS` has it.

    Raises:
        DataError: a file is missing, or the table of colours cannot be read.
        MaskError: when a sample is read, a mask holds a colour that the table lacks.
    """

    def __init__(self, root: Path, split: str, *, classes: str = "32") -> None:
        check_option("classes", classes, ("32", "11"))
        check_split(split, self.splits(root), root=root)
        photos = _photos(root, split)
        colours = _colours(root)
        table = CAMVID if classes == "11" else _table(colours)
        self._mapping = _mapping(colours, table)
        super().__init__(
            classes=table,
            split=split,
            ids=[photo.stem for photo in photos],
            image_paths=photos,
            mask_paths=[_mask_path(root, split, photo.stem) for photo in photos],
        )

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names."""
        kaggle = (root / "train_labels").is_dir() and (root / "class_dict.csv").is_file()
        return kaggle or ((root / _PHOTOS).is_dir() and (root / _MASKS).is_dir())

    @staticmethod
    def splits(root: Path) -> list[str]:
        """The splits that there are folders or lists of; else train and val."""
        if not (root / _PHOTOS).is_dir():
            return [name for name in _SPLITS if (root / f"{name}_labels").is_dir()]
        return [name for name in _SPLITS if name in split_lists(root)] or ["train", "val"]

    def _decode(self, index: int) -> NDArray[np.uint8]:
        return read_colour_mask(self.mask_paths[index], self._mapping)


def _photos(root: Path, split: str) -> list[Path]:
    folder = root / _PHOTOS
    if not folder.is_dir():
        photos = find_images(root / split)
        if not photos:
            raise DataError(f"{root / split} holds no photos.")
        return photos
    path = root / f"{split}.txt"
    if path.is_file():
        names = [PurePosixPath(line.split()[0]).stem for line in read_lines(path) if line.strip()]
    else:
        everything = [photo.stem for photo in find_images(folder)]
        names = with_validation({"train": everything}, group=lambda name: name.partition("_")[0]).get(split, [])
    if not names:
        raise DataError(f"{path if path.is_file() else folder} has no photos for the split {split}.")
    return [folder / f"{name}.png" for name in names]


def _mask_path(root: Path, split: str, name: str) -> Path:
    folder = root / _MASKS if (root / _PHOTOS).is_dir() else root / f"{split}_labels"
    plain = folder / f"{name}.png"
    return plain if plain.is_file() else folder / f"{name}_L.png"


def _colours(root: Path) -> dict[str, Colour]:
    """Name -> colour, from the dataset's own table where it has one."""
    table, official = root / "class_dict.csv", root / "label_colors.txt"
    path = table if table.is_file() else official
    if not path.is_file():
        return OFFICIAL_COLOURS
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path == table:
            rows = [
                (row["name"], row["r"], row["g"], row["b"])
                for row in csv.DictReader(text.splitlines(), skipinitialspace=True)
            ]
        else:
            rows = [(name, r, g, b) for r, g, b, name in (line.split() for line in text.splitlines() if line.strip())]
        return {name.strip(): (int(r), int(g), int(b)) for name, r, g, b in rows}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} gives no name and three numbers for each class ({error}).") from error


def _is_void(name: str) -> bool:
    return name.lower() == "void"


def _table(colours: dict[str, Colour]) -> ClassTable:
    named = {name: colour for name, colour in colours.items() if not _is_void(name)}
    return ClassTable(tuple(named), tuple(named.values()))


def _mapping(colours: dict[str, Colour], table: ClassTable) -> dict[Colour, int]:
    """Colour -> class id."""
    group_of = {name: group for group, names in GROUPS.items() for name in names} if table is CAMVID else {}
    ids = {}
    for name, colour in colours.items():
        label = group_of.get(name, name)
        if _is_void(name):
            ids[colour] = table.ignore_index
        elif label in table.names:
            ids[colour] = table.names.index(label)
        else:
            raise DataError(f'The class {name!r} is in none of the 11 groups; choose the option classes: "32".')
    return ids
