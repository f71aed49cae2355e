"""Cityscapes, driving scenes from 50 cities: the 19 classes that its benchmark counts.

The layout: `leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png`, `gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png`. Masks are index
PNGs of 34 label ids, 15 of which the benchmark ignores. Splits are train and val: the masks of `test` are not public,
what lies in their place is empty.

Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016, arXiv:1604.01685;
ids and colours: https://github.com/mcordts/cityscapesScripts, cityscapesscripts/helpers/labels.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.mapping import map_ids
from pixelwise.data.pairs import Pairs
from pixelwise.data.registry import register
from pixelwise.data.sample import check_split
from pixelwise.errors import DataError
from pixelwise.labels import ClassTable
from pixelwise.masks import read_index_mask

# The id in the masks, the name, the colour; in the order of the ids that the benchmark trains with.
_OFFICIAL = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
_LABEL_IDS = 34

CITYSCAPES = ClassTable(tuple(name for _, name, _ in _OFFICIAL), tuple(colour for _, _, colour in _OFFICIAL))
"""The benchmark's 19 classes in its order and colours."""

_MAPPING = dict.fromkeys((*range(_LABEL_IDS), 255), CITYSCAPES.ignore_index) | {
    value: label for label, (value, _, _) in enumerate(_OFFICIAL)
}


@register("cityscapes")
class Cityscapes(Pairs):
    """Cityscapes with its fine masks; see the head of the file.

    Args:
        root: the directory that holds `leftImg8bit` and `gtFine`.
        split: train or val.
    """

    def __init__(self, root: Path, split: str) -> None:
        check_split(split, self.splits(root), root=root)
        photos = sorted((root / "leftImg8bit" / split).glob("*/[!.]*_leftImg8bit.png"))
        if not photos:
            raise DataError(f"{root / 'leftImg8bit' / split} holds no CITY/NAME_leftImg8bit.png.")
        names = [photo.name.removesuffix("_leftImg8bit.png") for photo in photos]
        masks = root / "gtFine" / split
        super().__init__(
            classes=CITYSCAPES,
            split=split,
            ids=names,
            image_paths=photos,
            mask_paths=[masks / p.parent.name / f"{n}_gtFine_labelIds.png" for p, n in zip(photos, names, strict=True)],
        )

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names; without its splits it is any folder."""
        return bool(Cityscapes.splits(root))

    @staticmethod
    def splits(root: Path) -> list[str]:
        """Those of train and val that there are photos and masks of."""
        folders = [[root / kind / name for kind in ("leftImg8bit", "gtFine")] for name in ("train", "val")]
        return [pair[0].name for pair in folders if all(folder.is_dir() for folder in pair)]

    def _decode(self, index: int) -> NDArray[np.uint8]:
        path = self.mask_paths[index]
        return map_ids(read_index_mask(path), _MAPPING, name=str(path))
