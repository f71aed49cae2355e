"""CVAT's export "Segmentation mask 1.1": VOC's folders with classes of one's own, masks in their colours.

The layout: `labelmap.txt` with lines `label:r,g,b:parts:actions`, such as `background:0,0,0::`; `JPEGImages/NAME.jpg`
(or another format), `SegmentationClass/NAME.png`, `ImageSets/Segmentation/default.txt`, or a list for each of CVAT's
subsets.

Classes stand in the order of `labelmap.txt`, `background` first; a label `ignored` or `void` is ignored. Splits are the
lists; where none is called val or validation, a fifth of `train`, or of the only list, is held out, but never of
`test`.

Source: https://docs.cvat.ai/docs/manual/advanced/formats/format-smask/.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.mapping import read_colour_mask
from pixelwise.data.pairs import Pairs
from pixelwise.data.registry import register
from pixelwise.data.sample import check_split, read_entries, split_lists
from pixelwise.data.splits import whole_split, with_validation
from pixelwise.errors import DataError
from pixelwise.images import find_images
from pixelwise.labels import ClassTable, Colour

_IGNORED = ("ignored", "void")


@register("cvat")
class CVAT(Pairs):
    """CVAT's segmentation masks; see the head of the file.

    Args:
        root: the directory that holds `labelmap.txt`.
        split: the name of a list in `ImageSets/Segmentation`, or train or val.

    Raises:
        DataError: a file is missing, or `labelmap.txt` does not hold together.
        MaskError: when a sample is read, its mask holds a colour that `labelmap.txt` lacks.
    """

    def __init__(self, root: Path, split: str) -> None:
        lists = _lists(root)
        check_split(split, sorted(lists), root=root)
        ids = lists[split]
        colours = _read_labels(root / "labelmap.txt")
        classes = {name: colour for name, colour in colours.items() if name.lower() not in _IGNORED}
        table = ClassTable(tuple(classes), tuple(classes.values()))
        self._mapping = {
            colour: table.names.index(name) if name in classes else table.ignore_index
            for name, colour in colours.items()
        }
        folder = root / "JPEGImages"
        photos = {p.relative_to(folder).with_suffix("").as_posix(): p for p in find_images(folder, recursive=True)}
        super().__init__(
            classes=table,
            split=split,
            ids=ids,
            image_paths=[photos.get(name, folder / f"{name}.jpg") for name in ids],
            mask_paths=[root / "SegmentationClass" / f"{name}.png" for name in ids],
        )

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names."""
        return (root / "labelmap.txt").is_file() and (root / "SegmentationClass").is_dir()

    @staticmethod
    def splits(root: Path) -> list[str]:
        """The splits that there are lists of, and train and val where one of them can be divided."""
        return sorted(_lists(root))

    def _decode(self, index: int) -> NDArray[np.uint8]:
        return read_colour_mask(self.mask_paths[index], self._mapping)


def _lists(root: Path) -> dict[str, list[str]]:
    folder = root / "ImageSets" / "Segmentation"
    lists = {name: _read_list(folder / f"{name}.txt") for name in split_lists(folder)}
    return with_validation(lists, whole=whole_split(lists))


def _read_list(path: Path) -> list[str]:
    """One name a line; a name with blanks in it stands in quotes."""
    return [line.strip('"') for line in read_entries(path)]


def _read_labels(path: Path) -> dict[str, Colour]:
    """Label -> colour, background first."""
    colours: dict[str, Colour] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); it says which colour is which class.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colour = _read_label(line, f"{path}, line {number},")
        if name in colours or colour in colours.values():
            raise DataError(f"{path}, line {number}, has the name or the colour of a line above; they must differ.")
        colours[name] = colour
    return dict(sorted(colours.items(), key=lambda entry: entry[0] != "background"))


def _read_label(line: str, where: str) -> tuple[str, Colour]:
    parts = line.rsplit(":", 3)  # from the right, as a label may have a colon in it
    try:
        red, green, blue = (int(value) for value in parts[1].split(","))
        if not all(0 <= value <= 255 for value in (red, green, blue)):
            raise ValueError
    except (IndexError, ValueError) as error:
        raise DataError(f"{where} is {line!r}; expected label:r,g,b:: such as background:0,0,0::.") from error
    return parts[0].strip(), (red, green, blue)
