"""Pascal VOC's layout: `JPEGImages/`, `SegmentationClass/`, `ImageSets/Segmentation/SPLIT.txt`.

Source: Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015. The split
`train_aug` adds the masks of Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011 (SBD), in the same
layout.
"""

from __future__ import annotations

from pathlib import Path

from pixelwise.data.registry import register
from pixelwise.data.sample import Sample, check_pairs, check_size, read_split
from pixelwise.images import read_image
from pixelwise.labels import VOC
from pixelwise.masks import check_labels, read_index_mask


@register("voc")
class VOCSegmentation:
    """Pascal VOC 2012 segmentation, or any dataset in its layout and classes.

    Args:
        root: the directory that holds `JPEGImages`.
        split: the name of a list in `ImageSets/Segmentation`: train, val, train_aug, ...

    Raises:
        DataError: a list or a file is missing, or (when the sample is read) a mask has another size than its photo.
        MaskError: when the sample is read, a mask holds a value that is no class.
    """

    classes = VOC

    def __init__(self, root: Path, split: str) -> None:
        self.split = split
        self.ids = read_split(root / "ImageSets" / "Segmentation" / f"{split}.txt")
        self._images = [root / "JPEGImages" / f"{name}.jpg" for name in self.ids]
        self._masks = [root / "SegmentationClass" / f"{name}.png" for name in self.ids]
        check_pairs(self.ids, {"photo": self._images, "mask": self._masks})

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names."""
        return (root / "JPEGImages").is_dir() and (root / "ImageSets" / "Segmentation").is_dir()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image = read_image(self._images[index]).pixels
        mask = read_index_mask(self._masks[index])
        check_size(mask, image, name=str(self._masks[index]))
        check_labels(mask, self.classes, name=str(self._masks[index]))
        return Sample(image=image, mask=mask, id=self.ids[index])
