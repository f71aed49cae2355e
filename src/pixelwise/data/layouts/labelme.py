"""Labelme: a JSON file of shapes beside each photo.

The layout: `NAME.json` and its photo in one folder, or in folders `train/`, `val/` (or `valid/`, `validation/`),
`test/`. The photo is what `imagePath` names, or else has the JSON's name; a copy in `imageData` is not read. Photos
without a JSON file are left out, which is said.

Classes: the background, then all labels below the directory, sorted. Labelme's own `_background_` and `__ignore__` mean
what they say, and so does `background`. Pixels that no shape covers are background; of two shapes that overlap, the
later in the file lies above, as in Labelme's own export to VOC. Polygons, rectangles, turned or not, circles and masks
are drawn. A line or a point covers no pixels: such a file is refused rather than read without it.

Where there are no folders, or none for validation, a fifth of the photos is held out.

Source: https://github.com/wkentaro/labelme, labelme/utils/shape.py.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.colours import distinct_colours
from pixelwise.data.advice import counted
from pixelwise.data.pairs import Pairs
from pixelwise.data.polygons import fill_circle, fill_polygon
from pixelwise.data.registry import register
from pixelwise.data.sample import check_split
from pixelwise.data.splits import VAL_SPLITS, with_validation
from pixelwise.decoding import DEFAULT_LIMITS, SUPPORTED_SUFFIXES, check_pixels
from pixelwise.errors import DataError, ImageError, MaskError
from pixelwise.images import find_images, read_image
from pixelwise.labels import ClassTable
from pixelwise.masks import read_index_mask

_FOLDERS = ("train", *VAL_SPLITS, "test")
_BACKGROUND, _IGNORE = ("_background_", "background"), "__ignore__"
_MOST_LABELS = 254  # beside the background and what is ignored
_PHOTO_SUFFIXES = tuple(written for suffix in sorted(SUPPORTED_SUFFIXES) for written in (suffix, suffix.upper()))
_POINTS = {"polygon": 3, "rectangle": 2, "oriented_rectangle": 4, "circle": 2, "mask": 2}


@dataclass(frozen=True, slots=True)
class _Shape:
    """A labelled shape: (N, 2) x and y in pixels, and for a mask the PNG of what is inside its box, in base64."""

    label: str
    kind: str
    points: tuple[tuple[float, float], ...]
    mask: str | None


@dataclass(frozen=True, slots=True)
class _File:
    """A JSON file without the copy of its photo; a size of 0 is not stated."""

    photo: str
    has_copy: bool
    height: int
    width: int
    shapes: tuple[_Shape, ...]


@register("labelme")
class Labelme(Pairs):
    """Photos labelled with Labelme; see the head of the file.

    Args:
        root: the directory that holds the JSON files, or the folders train, val and test.
        split: train, val or test.

    Raises:
        DataError: a JSON file is damaged, holds a line or a point, or its photo is missing or another file's, too.
    """

    def __init__(self, root: Path, split: str) -> None:
        paths = _paths(root)
        check_split(split, sorted(paths), root=root)
        files = {path: _read(path) for path in sorted({path for group in paths.values() for path in group})}
        photos = {path: _find_photo(path, file) for path, file in files.items()}
        _check_one_file_a_photo(photos)
        labels = {shape.label for file in files.values() for shape in file.shapes} - {*_BACKGROUND, _IGNORE}
        if len(labels) > _MOST_LABELS:
            raise DataError(
                f"{root} has {len(labels)} labels, such as {min(labels)!r}; at most {_MOST_LABELS} can be classes. "
                "Give all objects of a class the same label."
            )
        table = ClassTable(("background", *sorted(labels)), ((0, 0, 0), *distinct_colours(len(labels))))
        self._files = [files[path] for path in paths[split]]
        self._label_ids = {name: index for index, name in enumerate(table.names)}
        self._label_ids |= {**dict.fromkeys(_BACKGROUND, 0), _IGNORE: table.ignore_index}
        super().__init__(
            classes=table,
            split=split,
            ids=[path.stem for path in paths[split]],
            image_paths=[photos[path] or _missing(path, files[path]) for path in paths[split]],
            mask_paths=paths[split],
        )
        self.unpaired = _unlabelled(files)
        if self.unpaired:
            self.finding = f"{counted(len(self.unpaired), 'photo')} without a JSON file left out: {self.unpaired[0]}"
            self.finding += ", ..." if len(self.unpaired) > 1 else ""

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names."""
        return any(_is_beside_photo(path) for group in _found(root).values() for path in group[:1])

    @staticmethod
    def splits(root: Path) -> list[str]:
        """The folders of train, val and test there are, and train and val where one has to be divided."""
        return sorted(_paths(root))

    def _decode(self, index: int) -> NDArray[np.uint8]:
        file, path = self._files[index], self.mask_paths[index]
        size = (file.height, file.width)
        if not all(size):
            size = read_image(self.image_paths[index]).pixels.shape[:2]
        try:
            check_pixels(size[1], size[0], DEFAULT_LIMITS, str(path))
        except ImageError as error:
            raise MaskError(str(error)) from error
        mask = np.zeros(size, dtype=np.uint8)
        for shape in file.shapes:
            _draw(mask, shape, self._label_ids[shape.label], str(path))
        return mask


def _found(root: Path) -> dict[str, list[Path]]:
    """Split -> its JSON files; `train` alone where they lie in no folders."""
    folders = {name: sorted((root / name).glob("[!.]*.json")) for name in _FOLDERS}
    there = {name: paths for name, paths in folders.items() if paths}
    flat = sorted(root.glob("[!.]*.json"))
    return there or ({"train": flat} if flat else {})


def _paths(root: Path) -> dict[str, list[Path]]:
    found = _found(root)
    divided = with_validation({name: [str(path) for path in paths] for name, paths in found.items()})
    return {name: [Path(path) for path in paths] for name, paths in divided.items()}


def _is_beside_photo(path: Path) -> bool:
    return any(path.with_suffix(suffix).is_file() for suffix in _PHOTO_SUFFIXES)


def _find_photo(path: Path, file: _File) -> Path | None:
    named = path.parent / file.photo
    candidates = [named, path.parent / named.name, *(path.with_suffix(suffix) for suffix in _PHOTO_SUFFIXES)]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _missing(path: Path, file: _File) -> Path:
    copy = " (its copy in `imageData` is not read)" if file.has_copy else ""
    raise DataError(f"The photo of {path} is missing; put {Path(file.photo).name} beside it{copy}.")


def _check_one_file_a_photo(photos: Mapping[Path, Path | None]) -> None:
    """Refuse two JSON files about one photo, as where one was copied, or renamed without the `imagePath` in it."""
    about: dict[Path, Path] = {}
    for path, photo in photos.items():
        if photo is not None and (other := about.setdefault(photo.resolve(), path)) != path:
            raise DataError(
                f"{other} and {path} are both about the photo {photo}; remove one, or correct the `imagePath` in it."
            )


def _unlabelled(files: Mapping[Path, _File]) -> list[Path]:
    """The photos beside the JSON files that none of them is about."""
    about = {(path.parent, name) for path, file in files.items() for name in (path.stem, Path(file.photo).name)}
    photos = [photo for folder in sorted({path.parent for path in files}) for photo in find_images(folder)]
    return [photo for photo in photos if about.isdisjoint({(photo.parent, photo.stem), (photo.parent, photo.name)})]


def _read(path: Path) -> _File:
    try:
        content = json.loads(path.read_bytes())
        shapes = tuple(_read_shape(entry) for entry in content["shapes"])
        height, width = (int(content.get(key) or 0) for key in ("imageHeight", "imageWidth"))
        if min(height, width) < 0:
            raise ValueError(f"a size of {width}x{height}")
        photo = str(content.get("imagePath") or path.name).replace("\\", "/")  # Windows' way of writing it
        return _File(photo, bool(content.get("imageData")), height, width, shapes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is no file of Labelme's that can be read ({error}).") from error


def _read_shape(entry: Mapping[str, Any]) -> _Shape:
    label, kind = str(entry["label"]).strip(), str(entry.get("shape_type") or "polygon")
    if not label:
        raise ValueError(f"a {kind} has no label")
    if kind not in _POINTS:
        raise ValueError(f"the {kind} {label!r} covers no pixels: draw it as a polygon, or delete it")
    points = tuple((float(x), float(y)) for x, y in entry["points"])
    if len(points) < _POINTS[kind] or not all(map(math.isfinite, (value for point in points for value in point))):
        raise ValueError(f"the {kind} {label!r} has {len(points)} points")
    return _Shape(label, kind, points, entry.get("mask"))


def _draw(mask: NDArray[np.uint8], shape: _Shape, label: int, name: str) -> None:
    points = np.array(shape.points)
    if shape.kind == "circle":
        fill_circle(mask, shape.points[0], math.dist(*shape.points[:2]), label)
    elif shape.kind == "mask":
        _draw_mask(mask, shape, label, name)
    elif shape.kind == "rectangle":
        (left, top), (right, bottom) = points[:2]
        fill_polygon(mask, np.array([[left, top], [right, top], [right, bottom], [left, bottom]]), label)
    else:
        fill_polygon(mask, points, label)


def _draw_mask(mask: NDArray[np.uint8], shape: _Shape, label: int, name: str) -> None:
    try:
        inside = read_index_mask(base64.b64decode(shape.mask or ""), name=f"The mask {shape.label!r} in {name}") > 0
    except ValueError as error:
        raise MaskError(f"The mask {shape.label!r} in {name} is no picture in base64 ({error}).") from error
    left, top = (int(value) for value in shape.points[0])
    inside = inside[max(-top, 0) :, max(-left, 0) :]  # what lies left of the photo, or above it
    target = mask[max(top, 0) : max(top, 0) + inside.shape[0], max(left, 0) : max(left, 0) + inside.shape[1]]
    target[inside[: target.shape[0], : target.shape[1]]] = label
