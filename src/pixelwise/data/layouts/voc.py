"""Pascal VOC's layout: `JPEGImages/`, `SegmentationClass/`, `ImageSets/Segmentation/SPLIT.txt`.

Source: Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015. The split
`train_aug` adds the masks of Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011 (SBD), in the same
layout.
"""

from __future__ import annotations

from pathlib import Path

from pixelwise.data.pairs import Pairs
from pixelwise.data.registry import register
from pixelwise.data.sample import read_split, split_lists
from pixelwise.labels import VOC


@register("voc")
class VOCSegmentation(Pairs):
    """Pascal VOC 2012 segmentation, or any dataset in its layout and classes.

    Args:
        root: the directory that holds `JPEGImages`.
        split: the name of a list in `ImageSets/Segmentation`: train, val, train_aug, ...
    """

    def __init__(self, root: Path, split: str) -> None:
        ids = read_split(root / "ImageSets" / "Segmentation" / f"{split}.txt")
        super().__init__(
            classes=VOC,
            split=split,
            ids=ids,
            image_paths=[root / "JPEGImages" / f"{name}.jpg" for name in ids],
            mask_paths=[root / "SegmentationClass" / f"{name}.png" for name in ids],
        )

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names."""
        return (root / "JPEGImages").is_dir() and (root / "ImageSets" / "Segmentation").is_dir()

    @staticmethod
    def splits(root: Path) -> list[str]:
        """The splits that there are lists of."""
        return split_lists(root / "ImageSets" / "Segmentation")
