"""Any folder of photos and masks, for which no other layout is known; see `docs/data-formats.md`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.discover import canonical_split
from pixelwise.data.folder import describe_folder
from pixelwise.data.pairs import Pairs
from pixelwise.data.registry import register
from pixelwise.errors import DataError


@register("folder", generic=True)
class Folder(Pairs):
    """A folder of photos and masks, described by what it holds and by its dataset.yaml, if it has one.

    Args:
        root: the folder.
        split: train, val or test; also training, valid, validation.

    Attributes:
        unpaired: photos without a mask and masks without a photo, of the whole folder.
        finding: how the folder was read, in a sentence or two.

    Raises:
        DataError: there is no such split; or as for `pixelwise.data.folder.describe_folder`.
    """

    def __init__(self, root: Path, split: str) -> None:
        description = describe_folder(root)
        name = canonical_split(split)
        if name not in description.splits:
            raise DataError(f"{root} has no split {split!r}; it has: {', '.join(description.splits)}.")
        pairs = description.splits[name]
        self._encoding = description.encoding
        self.unpaired = list(description.unpaired)
        self.finding = description.finding
        super().__init__(
            classes=description.classes,
            split=name,
            ids=[pair.id for pair in pairs],
            image_paths=[pair.image for pair in pairs],
            mask_paths=[pair.mask for pair in pairs],
        )

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether there is anything in a folder; whether it can be read, and if not why, opening it tells."""
        return any(root.iterdir())

    @staticmethod
    def splits(root: Path) -> list[str]:
        """The splits that there are, or that were drawn."""
        return list(describe_folder(root).splits)

    def mended_mask(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """As in `Pairs`; what the mapping does not know is of no class."""
        return self._encoding.decode_known(self.mask_paths[index])

    def _decode(self, index: int) -> NDArray[np.uint8]:
        return self._encoding.decode(self.mask_paths[index])
