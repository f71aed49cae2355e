"""Pascal VOC's layout: `JPEGImages/`, `SegmentationClass/`, `ImageSets/Segmentation/SPLIT.txt`.

All that may also lie in `VOCdevkit/VOC2012/`, as the official archive has it.

The split `train_aug` adds the masks of SBD, which are drawn more coarsely and have no borders. Where they have a
folder of their own, `SegmentationClassAug/`, it is looked into for what `SegmentationClass/` lacks: a photo that has
both kinds of mask gets VOC's.

Source: Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015; SBD: Hariharan et
al., "Semantic Contours from Inverse Detectors", ICCV 2011.
"""

from __future__ import annotations

from pathlib import Path

from pixelwise.data.description import states_own_classes
from pixelwise.data.pairs import Pairs
from pixelwise.data.registry import register
from pixelwise.data.sample import read_split, split_lists
from pixelwise.labels import VOC


@register("voc")
class VOCSegmentation(Pairs):
    """Pascal VOC 2012 segmentation, or any dataset in its layout and classes.

    Args:
        root: the directory that holds `JPEGImages`, or the one above `VOCdevkit`.
        split: the name of a list in `ImageSets/Segmentation`: train, val, train_aug, ...
    """

    def __init__(self, root: Path, split: str) -> None:
        home = _home(root)
        ids = read_split(home / "ImageSets" / "Segmentation" / f"{split}.txt")
        super().__init__(
            classes=VOC,
            split=split,
            ids=ids,
            image_paths=[home / "JPEGImages" / f"{name}.jpg" for name in ids],
            mask_paths=[_mask_path(home, name) for name in ids],
        )

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names."""
        home = _home(root)
        if not ((home / "JPEGImages").is_dir() and (home / "ImageSets" / "Segmentation").is_dir()):
            return False
        # A table of labels says that it is CVAT's export; other classes, that it is somebody's own folder.
        return not (home / "labelmap.txt").is_file() and not states_own_classes(root, VOC)

    @staticmethod
    def splits(root: Path) -> list[str]:
        """The splits that there are lists of."""
        return split_lists(_home(root) / "ImageSets" / "Segmentation")


def _home(root: Path) -> Path:
    inside = root / "VOCdevkit" / "VOC2012"
    return inside if inside.is_dir() else root


def _mask_path(home: Path, name: str) -> Path:
    own, added = (home / folder / f"{name}.png" for folder in ("SegmentationClass", "SegmentationClassAug"))
    return added if not own.is_file() and added.is_file() else own
