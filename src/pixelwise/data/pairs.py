"""Photos and masks that lie in files of their own: what most layouts come down to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.sample import Sample, check_pairs, check_size
from pixelwise.images import read_image
from pixelwise.labels import ClassTable
from pixelwise.masks import check_labels, read_index_mask


class Pairs:
    """A dataset of pairs of files; a layout whose masks are not index PNGs overrides `_decode`.

    Args:
        classes: what the ids in the masks stand for.
        split: the name of the split.
        ids: one name a pair, in the order of the dataset.
        image_paths: one photo an id.
        mask_paths: one file an id that the mask is read from.

    Attributes:
        unpaired: the files that lie where photos and masks do, but lack a partner; they are in no pair.
        finding: how the files were understood, in a sentence or two; empty where the layout leaves no doubt.

    Raises:
        DataError: when a sample is read, a mask has another size than its photo.
        MaskError: when a sample is read, a mask is damaged.
        LabelError: when a sample is read, a mask holds a value that is no class.
    """

    unpaired: Sequence[Path] = ()
    finding: str = ""

    def __init__(
        self,
        *,
        classes: ClassTable,
        split: str,
        ids: Sequence[str],
        image_paths: Sequence[Path],
        mask_paths: Sequence[Path],
    ) -> None:
        self.classes, self.split, self.ids = classes, split, list(ids)
        self.image_paths, self.mask_paths = list(image_paths), list(mask_paths)

    def check_files(self) -> None:
        """Check that every photo and every mask is there, before a night of training finds out.

        Raises:
            DataError: files are missing; the message counts them and names the first.
        """
        check_pairs(self.ids, {"photo": self.image_paths, "mask": self.mask_paths})

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image = read_image(self.image_paths[index]).pixels
        mask = self.mask(index)
        check_size(mask, image, name=self.mask_name(index))
        return Sample(image=image, mask=mask, id=self.ids[index])

    def mask(self, index: int) -> NDArray[np.uint8]:
        """The mask alone, uint8 (H, W) class ids or `classes.ignore_index`; quicker than the whole sample."""
        mask = self.unchecked_mask(index)
        check_labels(mask, self.classes, name=self.mask_name(index))
        return mask

    def unchecked_mask(self, index: int) -> NDArray[np.uint8]:
        """The mask alone, uint8 (H, W), whatever values it holds; for what looks for the wrong ones.

        Raises:
            LabelError: it holds what has no value of its own among the ids, such as a strange colour.
        """
        return self._decode(index)

    def mended_mask(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The mask alone, uint8 (H, W), its pixels of no class ignored; and which they are, bool (H, W)."""
        mask, ignored = self.unchecked_mask(index), self.classes.ignore_index
        strangers = (mask >= len(self.classes)) & (mask != ignored)
        return np.where(strangers, np.uint8(ignored), mask), strangers

    def mask_name(self, index: int) -> str:
        """What messages call the mask: its file, or what of a file of many it is."""
        return str(self.mask_paths[index])

    def _decode(self, index: int) -> NDArray[np.uint8]:
        """The mask as class ids, uint8 (H, W), not yet checked."""
        return read_index_mask(self.mask_paths[index])
