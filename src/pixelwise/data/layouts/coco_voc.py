"""COCO photos with the classes of Pascal VOC.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, arXiv:1405.0312; panoptic labels: Kirillov
et al., "Panoptic Segmentation", CVPR 2019, arXiv:1801.00868.

The layout: `images/ID.jpg`; `instances/ID.png`, an index PNG of COCO category ids in which 0 is none of the 80 things;
`panoptic/ID.png`, things and stuff, 0 not labelled; `categories.json` with the names of both; `SPLIT.txt`. A photo has
one of the two masks or both.

How a pixel gets its VOC class, from the strongest evidence to the weakest:

1. Labelled as a thing by `instances`: the VOC class of `THINGS`, or background for the other sixty things (a truck is
   no VOC car, a bench no chair, a laptop no monitor: the VOC guidelines exclude them by name).
2. Else labelled by `panoptic`: a VOC thing that `instances` lacks is that class (crowds, mostly); `DOUBTFUL` stuff is
   ignored, for VOC's annotators would have called some of it an object; other things and stuff are background.
3. Else, in a photo with panoptic labels: ignored. COCO leaves crowds and whatever nobody could name unlabelled, a tenth
   of all pixels, and teaching that as background teaches objects as background.
4. Else, in a photo without: background, the one assumption that cannot be checked.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.pairs import Pairs
from pixelwise.data.registry import register
from pixelwise.data.sample import check_size, read_split, split_lists
from pixelwise.errors import DataError
from pixelwise.labels import VOC
from pixelwise.masks import read_index_mask

THINGS = {
    "airplane": "aeroplane",
    "bicycle": "bicycle",
    "bird": "bird",
    "boat": "boat",
    "bottle": "bottle",
    "bus": "bus",
    "car": "car",
    "cat": "cat",
    "chair": "chair",
    "cow": "cow",
    "dining table": "dining table",
    "dog": "dog",
    "horse": "horse",
    "motorcycle": "motorbike",
    "person": "person",
    "potted plant": "potted plant",
    "sheep": "sheep",
    "couch": "sofa",
    "train": "train",
    "tv": "tv monitor",
}
"""COCO category -> VOC class; every VOC class but the background has one."""

DOUBTFUL = ("table-merged", "flower")
"""COCO stuff that may be a VOC object: a table that no thing-annotator took for a dining table, a plant in its pot."""


@register("coco_voc")
class COCOWithVOCLabels(Pairs):
    """COCO photos labelled with VOC classes; see the head of the file.

    Args:
        root: the directory that holds `images`.
        split: the name of a list in `root`: train, val.

    Raises:
        DataError: a list or a file is missing, `categories.json` lacks a category, or (when the sample is read) a mask
            has another size than its photo.
    """

    def __init__(self, root: Path, split: str) -> None:
        ids = read_split(root / f"{split}.txt")
        self._instances = [root / "instances" / f"{name}.png" for name in ids]
        self._panoptic = [root / "panoptic" / f"{name}.png" for name in ids]
        super().__init__(
            classes=VOC,
            split=split,
            ids=ids,
            image_paths=[root / "images" / f"{name}.jpg" for name in ids],
            mask_paths=[a if a.is_file() else b for a, b in zip(self._instances, self._panoptic, strict=True)],
        )
        self._thing_table, self._stuff_table = _tables(root / "categories.json")

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names."""
        return (root / "images").is_dir() and (root / "categories.json").is_file()

    @staticmethod
    def splits(root: Path) -> list[str]:
        """The splits that there are lists of."""
        return split_lists(root)

    def _decode(self, index: int) -> NDArray[np.uint8]:
        panoptic, instances = self._panoptic[index], self._instances[index]
        if not instances.is_file():
            return self._stuff_table[read_index_mask(panoptic)]
        things = read_index_mask(instances)
        rest = np.zeros(things.shape, dtype=np.uint8)
        if panoptic.is_file():
            stuff = read_index_mask(panoptic)
            check_size(stuff, things, name=str(panoptic))
            rest = self._stuff_table[stuff]
        return np.where(things == 0, rest, self._thing_table[things])


def _tables(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Lookup tables uint8 (256,) from COCO ids to VOC ids, for `instances` and for `panoptic`."""
    try:
        categories = json.loads(path.read_text(encoding="utf-8"))
        things, stuff = (
            {int(key): str(name) for key, name in categories[kind].items()} for kind in ("instances", "panoptic")
        )
        if not all(0 <= key <= 255 for key in (*things, *stuff)):
            raise ValueError("an id is not between 0 and 255")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} does not name the categories of `instances` and `panoptic` ({error}).") from error
    lacking = sorted(THINGS.keys() - set(things.values()))
    if lacking:
        raise DataError(f"{path} lacks the categories {', '.join(lacking)}.")
    ids = {coco: VOC.names.index(voc) for coco, voc in THINGS.items()}
    thing_table, stuff_table = np.zeros(256, np.uint8), np.full(256, VOC.ignore_index, np.uint8)
    for key, name in things.items():
        thing_table[key] = ids.get(name, 0)
    for key, name in stuff.items():
        if key != 0:
            stuff_table[key] = VOC.ignore_index if name in DOUBTFUL else ids.get(name, 0)
    return thing_table, stuff_table
