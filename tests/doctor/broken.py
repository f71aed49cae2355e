"""Datasets to be examined: made from the example photos in VOC's layout, sound or broken on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from helpers import PHOTOS, Pixels
from pixelwise.data.pairs import Pairs
from pixelwise.doctor import Diagnosis, examine, open_all
from pixelwise.doctor.findings import Finding, Kind
from pixelwise.labels import ClassTable
from pixelwise.masks import write_mask

CLASSES = ClassTable(("background", "cat", "dog"), ((0, 0, 0), (255, 0, 0), (0, 0, 255)))
SIZE = (96, 128)


def crop(number: int, size: tuple[int, int] = SIZE) -> Pixels:
    """A piece of an example photo, another one for each number, (H, W, 3)."""
    names = ("chelsea.png", "astronaut.png", "coffee.png")
    with Image.open(PHOTOS / names[number % 3]) as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width = size
    top = (number * 61) % (pixels.shape[0] - height)
    left = (number * 97) % (pixels.shape[1] - width)
    return pixels[top : top + height, left : left + width].copy()


def blob(number: int, size: tuple[int, int] = SIZE) -> Pixels:
    """A mask (H, W) with an ellipse of class 1 and a box of class 2 that differ with the number."""
    y, x = np.mgrid[: size[0], : size[1]]
    mask = np.zeros(size, np.uint8)
    mask[((y - 45) / 30) ** 2 + ((x - 40 - number) / 25) ** 2 < 1] = 1
    mask[10:40, 90 : 100 + number] = 2
    return mask


def save(path: Path, pixels: Pixels, *, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    return path


class Folder:
    """A dataset that is written pair by pair, and opened as splits of `Pairs`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.splits: dict[str, list[tuple[str, Path, Path]]] = {}

    def add(
        self,
        split: str,
        number: int,
        *,
        photo: Pixels | None = None,
        mask: Pixels | None = None,
        name: str = "",
        suffix: str = ".png",
        orientation: int = 1,
    ) -> tuple[Path, Path]:
        name = name or f"{split}{number}"
        paths = self.root / "photos" / split / f"{name}{suffix}", self.root / "labels" / split / f"{name}.png"
        save(paths[0], crop(number) if photo is None else photo, orientation=orientation)
        paths[1].parent.mkdir(parents=True, exist_ok=True)
        write_mask(paths[1], blob(number) if mask is None else mask, CLASSES)
        self.splits.setdefault(split, []).append((name, *paths))
        return paths

    def fill(self, split: str, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.add(split, number)

    def datasets(self) -> list[Pairs]:
        return [
            Pairs(
                classes=CLASSES,
                split=split,
                ids=[name for name, _, _ in pairs],
                image_paths=[photo for _, photo, _ in pairs],
                mask_paths=[mask for _, _, mask in pairs],
            )
            for split, pairs in self.splits.items()
        ]

    def examined(self) -> Diagnosis:
        return examine(self.datasets())


def sound(root: Path) -> Folder:
    """Six photos to learn from and three to be measured on, with nothing wrong."""
    folder = Folder(root)
    folder.fill("train", range(6))
    folder.fill("val", range(6, 9))
    return folder


def of_kind(diagnosis: Diagnosis, kind: Kind) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.kind is kind]


def voc(root: Path) -> Path:
    """The sound dataset's photos in VOC's layout, with nothing wrong, to be given to the command line."""
    for split, numbers in (("train", range(6)), ("val", range(6, 9))):
        for number in numbers:
            save(root / "JPEGImages" / f"{number}.jpg", crop(number))
            save(root / "SegmentationClass" / f"{number}.png", blob(number))
        lists = root / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text("".join(f"{number}\n" for number in numbers))
    return root


def examined_voc(root: Path) -> Diagnosis:
    opened = open_all("voc", root)
    return examine(opened.datasets, found=opened.findings)
