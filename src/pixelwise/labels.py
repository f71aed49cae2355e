"""Class tables: which class id stands for what, and in which colour it is drawn.

A leaf module: it imports nothing of pixelwise but the errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import PixelwiseError

Colour = tuple[int, int, int]
"""Red, green, blue, each 0 to 255."""


@dataclass(frozen=True, slots=True)
class ClassTable:
    """Names and colours of the classes, in the order of their ids.

    Attributes:
        names: one name a class; the position is the class id. The background counts as a class.
        colours: one RGB colour a class, 0 to 255.
        ignore_index: the id in a mask that stands for "not labelled"; never the id of a class.

    Raises:
        PixelwiseError: lengths differ, a name is empty or given twice, a colour is out of range, or there are more
            than 255 classes.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    ignore_index: int = 255

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= 255:
            raise PixelwiseError(f"A class table holds 1 to 255 classes, not {len(self.names)}.")
        if len(self.names) != len(self.colours):
            raise PixelwiseError(
                f"The class table has {len(self.names)} names but {len(self.colours)} colours; give one colour a name."
            )
        if any(not name.strip() for name in self.names):
            raise PixelwiseError("The class table has an empty name; every class needs one.")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise PixelwiseError(f"The class table names {', '.join(twice)} more than once; names must differ.")
        for name, colour in zip(self.names, self.colours, strict=True):
            if len(colour) != 3 or any(not 0 <= value <= 255 for value in colour):
                raise PixelwiseError(f"The colour of {name!r} is {colour}; expected three numbers from 0 to 255.")
        if not 0 <= self.ignore_index <= 255 or self.ignore_index < len(self.names):
            raise PixelwiseError(
                f"ignore_index is {self.ignore_index}; expected a number up to 255 that is not a class id "
                f"(the table has {len(self.names)} classes)."
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def has_background(self) -> bool:
        """Whether class 0 stands for whatever is none of the other classes."""
        return self.names[0].lower() in ("background", "bg", "other", "unlabelled", "unlabeled", "_background_")

    def palette(self) -> NDArray[np.uint8]:
        """The colours as a lookup table for masks.

        Returns:
            uint8 (256, 3) RGB: row i is the colour of class id i; ids beyond the table are mid grey, and
            `ignore_index` is the near-white (224, 224, 192) that Pascal VOC gives its void pixels.
        """
        table = np.full((256, 3), 128, dtype=np.uint8)
        table[: len(self.colours)] = self.colours
        table[self.ignore_index] = (224, 224, 192)
        return table

    def to_json(self) -> list[dict[str, Any]]:
        """The classes as JSON-ready objects with `name` and `colour`, in the order of their ids."""
        return [{"name": n, "colour": list(c)} for n, c in zip(self.names, self.colours, strict=True)]

    @classmethod
    def from_json(cls, classes: Sequence[Mapping[str, Any]], *, ignore_index: int = 255) -> ClassTable:
        """The inverse of `to_json`.

        Raises:
            PixelwiseError: an entry lacks `name` or `colour`, or the table does not hold together.
        """
        try:
            names = tuple(str(entry["name"]) for entry in classes)
            colours = tuple((int(r), int(g), int(b)) for r, g, b in (entry["colour"] for entry in classes))
        except (KeyError, TypeError, ValueError) as error:
            raise PixelwiseError(f"A class needs a name and a colour of three numbers ({error}).") from error
        return cls(names, colours, ignore_index)


@dataclass(frozen=True, slots=True)
class ClassShare:
    """How much of a photo one class takes up.

    Attributes:
        id: the class id in the mask.
        name: the class's name.
        colour: RGB, 0 to 255.
        share: fraction of the photo's pixels, 0 to 1.
        confidence: mean probability of the class over its pixels, 0 to 1; None where it is not known.
    """

    id: int
    name: str
    colour: Colour
    share: float
    confidence: float | None = None


def voc_colour(index: int) -> Colour:
    """The colour that the Pascal VOC development kit gives to a class id.

    The bits of the id are dealt out to red, green and blue in turn, from the highest bit of each down.

    >>> voc_colour(1), voc_colour(15)
    ((128, 0, 0), (192, 128, 128))
    """
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]


_VOC_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "dining table",
    "dog",
    "horse",
    "motorbike",
    "person",
    "potted plant",
    "sheep",
    "sofa",
    "train",
    "tv monitor",
)

VOC = ClassTable(_VOC_NAMES, tuple(voc_colour(i) for i in range(len(_VOC_NAMES))))
"""Pascal VOC's background and 20 classes in the colours of its development kit."""
