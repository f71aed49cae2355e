"""Oxford-IIIT Pet: 37 breeds of cats and dogs, each photo with a trimap of the animal.

The layout: `images/NAME.jpg`; `annotations/trimaps/NAME.png`, an index PNG in which 1 is the pet, 2 the background and
3 the border between them; `annotations/trainval.txt` and `test.txt` with lines `Abyssinian_100 1 1 1`: name, breed (1
to 37), species (1 cat, 2 dog), breed within the species. Torchvision puts all that into `oxford-iiit-pet/`, which is
looked into as well. The lists alone say what belongs to the dataset: the `._NAME.png` among the official trimaps are no
masks.

Splits: `trainval` and `test` are the official ones. `train` and `val` are ours, the same on every machine: a fifth of
each breed's part of `trainval` is held out as `val`. The test list is never touched.

Source: Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012, https://www.robots.ox.ac.uk/~vgg/data/pets/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.colours import distinct_colours
from pixelwise.data.mapping import map_ids
from pixelwise.data.pairs import Pairs
from pixelwise.data.registry import register
from pixelwise.data.sample import check_option, check_split, read_lines
from pixelwise.data.splits import hold_out
from pixelwise.errors import DataError
from pixelwise.labels import ClassTable
from pixelwise.masks import read_index_mask

LABELS = ("trimap", "binary", "species", "breeds")
"""What the pixels may be labelled as; see `OxfordPets`."""

_PET, _BACKGROUND, _BORDER = 1, 2, 3
_OFFICIAL = ("trainval", "test")


@dataclass(frozen=True, slots=True)
class _Pet:
    """A line of a list: the photo's name, its breed from 1, its species (1 cat, 2 dog)."""

    name: str
    breed: int
    species: int

    @property
    def breed_name(self) -> str:
        return self.name.rpartition("_")[0].replace("_", " ")


@register("oxford_pets")
class OxfordPets(Pairs):
    """Oxford-IIIT Pet; see the head of the file.

    Args:
        root: the directory that holds `images` and `annotations`, or the one above `oxford-iiit-pet`.
        split: trainval, test, train or val.
        labels: "trimap": background, pet and border, as drawn. "binary": background and pet. "species": background, cat
            and dog. "breeds": background and the breeds in the lists, in the order of their numbers. In all but the
            first the border is ignored.

    Raises:
        DataError: a list or a file is missing, or a line of a list is not as above.
        MaskError: when a sample is read, a trimap holds another value than 1, 2 and 3.
    """

    def __init__(self, root: Path, split: str, *, labels: str = "trimap") -> None:
        check_option("labels", labels, LABELS)
        check_split(split, self.splits(root), root=root)
        home = _home(root)
        lists = {name: _read_list(_list_path(home, name)) for name in _OFFICIAL if _list_path(home, name).is_file()}
        pets = _of_split(lists, split)
        self._breeds = sorted({pet.breed: pet.breed_name for pets in lists.values() for pet in pets}.items())
        self._pets, self._labels = pets, labels
        super().__init__(
            classes=_class_table(labels, [name for _, name in self._breeds]),
            split=split,
            ids=[pet.name for pet in pets],
            image_paths=[home / "images" / f"{pet.name}.jpg" for pet in pets],
            mask_paths=[home / "annotations" / "trimaps" / f"{pet.name}.png" for pet in pets],
        )

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names; without its lists it is any folder."""
        home = _home(root)
        named = (home / "images").is_dir() and (home / "annotations" / "trimaps").is_dir()
        return named and bool(OxfordPets.splits(root))

    @staticmethod
    def splits(root: Path) -> list[str]:
        """The official splits that there are lists of, and the two made of `trainval`."""
        there = [name for name in _OFFICIAL if _list_path(_home(root), name).is_file()]
        return sorted([*there, "train", "val"] if "trainval" in there else there)

    def _decode(self, index: int) -> NDArray[np.uint8]:
        path, pet = self.mask_paths[index], self._pets[index]
        ids = {
            "trimap": 1,
            "binary": 1,
            "species": pet.species,
            "breeds": 1 + [breed for breed, _ in self._breeds].index(pet.breed),
        }
        border = 2 if self._labels == "trimap" else self.classes.ignore_index
        mapping = {_BACKGROUND: 0, _PET: ids[self._labels], _BORDER: border}
        return map_ids(read_index_mask(path), mapping, name=str(path))


def _home(root: Path) -> Path:
    inside = root / "oxford-iiit-pet"
    return inside if inside.is_dir() else root


def _list_path(home: Path, split: str) -> Path:
    return home / "annotations" / f"{split}.txt"


def _read_list(path: Path) -> list[_Pet]:
    pets = []
    for number, line in enumerate(read_lines(path), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 3 or not words[1].isdecimal() or words[2] not in ("1", "2"):
            raise DataError(f"{path}, line {number}, is {line!r}; expected NAME BREED SPECIES, such as Bengal_1 6 1.")
        pets.append(_Pet(words[0], int(words[1]), int(words[2])))
    if not pets:
        raise DataError(f"The split list {path} is empty.")
    return pets


def _of_split(lists: dict[str, list[_Pet]], split: str) -> list[_Pet]:
    if split in _OFFICIAL:
        return lists[split]
    pets = {pet.name: pet for pet in lists["trainval"]}
    if len(pets) < 2:
        raise DataError("trainval.txt names one photo, which cannot be divided into train and val; name more.")
    train, val = hold_out(list(pets), group=lambda name: str(pets[name].breed))
    return [pets[name] for name in (train if split == "train" else val)]


def _class_table(labels: str, breeds: Sequence[str]) -> ClassTable:
    names = {
        "trimap": ("pet", "border"),
        "binary": ("pet",),
        "species": ("cat", "dog"),
        "breeds": tuple(breeds),
    }[labels]
    return ClassTable(("background", *names), ((0, 0, 0), *distinct_colours(len(names))))
