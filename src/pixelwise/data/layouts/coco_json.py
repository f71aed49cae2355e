"""Annotations in COCO's JSON: polygons and runs, as drawn by most tools that label objects.

Three layouts:

- COCO's own: `annotations/instances_SPLIT.json` (a year behind the split's name is left out; of two years the later
  counts), photos in `SPLIT2017/`, `SPLIT/`, `images/SPLIT2017/`, `images/SPLIT/` or `images/`.
- Roboflow's: `train/_annotations.coco.json` beside its photos, likewise `valid`, `test`.
- A single JSON file beside `images/`.

Classes: the background, then the categories in the order of their ids, which may have gaps. A category that only groups
others, as Roboflow writes it (its own `supercategory` is "none"), is no class; one called background is class 0. Pixels
that no object covers are background. Where objects overlap, the smaller lies over the larger; of two equal ones the
later in the file lies above. Crowds (`iscrowd`) are ignored where no object lies over them.

Where there is no split for validation, a fifth of the photos of `train`, or of the single file, such as CVAT's
`instances_default.json`, is held out.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, arXiv:1405.0312; the format:
https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.colours import distinct_colours
from pixelwise.data.advice import counted
from pixelwise.data.pairs import Pairs
from pixelwise.data.polygons import fill_polygon, polygon_area
from pixelwise.data.registry import register
from pixelwise.data.runs import decode_runs, read_runs
from pixelwise.data.sample import check_split
from pixelwise.data.splits import VAL_SPLITS, find_split, whole_split, with_validation
from pixelwise.decoding import DEFAULT_LIMITS, check_pixels
from pixelwise.errors import DataError, ImageError, MaskError, PixelwiseError
from pixelwise.labels import ClassTable

_ROBOFLOW = "_annotations.coco.json"


@dataclass(frozen=True, slots=True)
class _Source:
    """A file of annotations, and where its photos may lie, the first choice first."""

    annotations: Path
    folders: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photo as the JSON has it: its file, its size in pixels, its annotations."""

    file: str
    height: int
    width: int
    annotations: list[dict[str, Any]]


@register("coco_json")
class COCOAnnotations(Pairs):
    """Photos with annotations in COCO's JSON; see the head of the file.

    Args:
        root: the directory that holds `annotations`, or Roboflow's `train`, or the single file.
        split: train, val, ...

    Raises:
        DataError: a file is missing, or the JSON is not as COCO has it.
        MaskError: when a sample is read, an annotation cannot be drawn; the message names the photo.
    """

    def __init__(self, root: Path, split: str) -> None:
        check_split(split, self.splits(root), root=root)
        sources = _sources(root)
        whole = whole_split(sources)
        source = sources[split if split in sources else whole]
        content = _read_json(source.annotations)
        try:
            self._ids, table = _categories(content["categories"])
            photos = _photos(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{source.annotations} is not as COCO's annotations are ({error!r}).") from error
        except PixelwiseError as error:  # of the class table
            raise DataError(f"{source.annotations}: {error}") from error
        lost = len(content.get("annotations", [])) - sum(len(photo.annotations) for photo in photos.values())
        if split in ("train", "val") and find_split(sources, VAL_SPLITS) is None:
            ids = with_validation({whole: list(photos)}, whole=whole).get(split, [])
            photos = {name: photos[name] for name in ids}
        if not photos:
            raise DataError(f"{source.annotations} has no photos for the split {split}.")
        self._photos = list(photos.values())
        super().__init__(
            classes=table,
            split=split,
            ids=list(photos),
            image_paths=[_find(source.folders, photo.file) for photo in self._photos],
            mask_paths=[source.annotations] * len(photos),
        )
        self.finding = _told(sum(not photo.annotations for photo in self._photos), lost, split)

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names."""
        return bool(_sources(root))

    @staticmethod
    def splits(root: Path) -> list[str]:
        """The splits that there are files of; train and val as well where one of them is divided."""
        names = set(_sources(root))
        divided = whole_split(names) in names and find_split(names, VAL_SPLITS) is None
        return sorted({*names, "train", "val"} if divided else names)

    def mask_name(self, index: int) -> str:
        """As in `Pairs`; many lie in one file."""
        return f"annotation of {self._photos[index].file} in {self.mask_paths[index]}"

    def _decode(self, index: int) -> NDArray[np.uint8]:
        try:
            return _draw(self._photos[index], self._ids, self.classes.ignore_index)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise MaskError(f"{self.mask_name(index)} cannot be drawn ({error}); correct it.") from error


def _sources(root: Path) -> dict[str, _Source]:
    """Split -> where it lies; none where a directory has another layout."""
    official = sorted((root / "annotations").glob("instances_*.json"))
    if official:
        names = [path.stem.removeprefix("instances_") for path in official]
        return {
            re.sub(r"(?<=\D)\d{4}$", "", name): _Source(path, _photo_folders(root, name))
            for name, path in zip(names, official, strict=True)
        }
    roboflow = sorted(root.glob(f"*/{_ROBOFLOW}"))
    if roboflow:
        return {path.parent.name: _Source(path, (path.parent,)) for path in roboflow}
    single = [path for path in root.glob("[!.]*.json") if path.name != "categories.json"]
    if len(single) == 1 and (root / "images").is_dir() and not (root / "masks").is_dir():
        return {"train": _Source(single[0], (root / "images", root))}
    return {}


def _photo_folders(root: Path, name: str) -> tuple[Path, ...]:
    short = re.sub(r"(?<=\D)\d{4}$", "", name)
    return (root / name, root / short, root / "images" / name, root / "images" / short, root / "images", root)


def _find(folders: tuple[Path, ...], file: str) -> Path:
    """Where a photo lies, be it with the folders in its name or without."""
    candidates = [folder / name for folder in folders for name in (file, Path(file).name)]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no object; COCO's annotations have images, annotations and categories.")
    return content


def _categories(categories: list[dict[str, Any]]) -> tuple[dict[int, int], ClassTable]:
    """Category id -> class id, and the classes."""
    _check_told_apart([int(entry["id"]) for entry in categories], "categories")
    groups = {str(entry.get("supercategory")) for entry in categories}
    named = {
        int(entry["id"]): str(entry["name"])
        for entry in categories
        if not (entry.get("supercategory") == "none" and entry["name"] in groups)
    }
    own = [category for category in sorted(named) if named[category].lower() != "background"]
    names = tuple(named[category] for category in own)
    table = ClassTable(("background", *names), ((0, 0, 0), *distinct_colours(len(names))))
    return dict.fromkeys(named, 0) | {category: label for label, category in enumerate(own, start=1)}, table


def _photos(content: Mapping[str, Any]) -> dict[str, _Photo]:
    """Photos by the name of their file without its ending, in the order of the file."""
    _check_told_apart([int(image["id"]) for image in content["images"]], "photos")
    annotations: dict[int, list[dict[str, Any]]] = {}
    for annotation in content.get("annotations", []):
        annotations.setdefault(int(annotation["image_id"]), []).append(annotation)
    named = ((image["file_name"].replace("\\", "/"), image) for image in content["images"])  # Windows' paths, too
    photos = {
        str(Path(file).with_suffix("")): _Photo(
            file, int(image["height"]), int(image["width"]), annotations.get(int(image["id"]), [])
        )
        for file, image in named
    }
    if len(photos) < len(content["images"]):
        raise ValueError("two photos of the same name")
    return photos


def _told(bare: int, lost: int, split: str) -> str:
    """What gaps in an export come to: of a tool that lists photos nobody has labelled yet, or of files put together."""
    parts = [f"{counted(bare, 'photo')} of {split} without annotations, read as background throughout"] if bare else []
    parts += [f"{counted(lost, 'annotation')} of photos that are not listed left out"] if lost else []
    return "; ".join(parts)


def _check_told_apart(ids: list[int], what: str) -> None:
    """See that no id comes twice, as where files were put together: objects would go to photos of another one."""
    if len(set(ids)) < len(ids):
        twice = next(number for number in ids if ids.count(number) > 1)
        raise ValueError(f"two {what} of the id {twice}")


def _draw(photo: _Photo, ids: Mapping[int, int], ignore_index: int) -> NDArray[np.uint8]:
    """The mask uint8 (H, W): crowds below, then objects from the largest to the smallest."""
    try:
        check_pixels(photo.width, photo.height, DEFAULT_LIMITS, photo.file)
    except ImageError as error:
        raise MaskError(str(error)) from error
    mask = np.zeros((photo.height, photo.width), dtype=np.uint8)
    crowds = [annotation for annotation in photo.annotations if annotation.get("iscrowd")]
    objects = [annotation for annotation in photo.annotations if not annotation.get("iscrowd")]
    for annotation in crowds:
        _draw_one(mask, annotation, ignore_index)
    for annotation in sorted(objects, key=_area, reverse=True):  # a stable sort: the later of two equal ones is above
        category = int(annotation["category_id"])
        if category not in ids:
            raise ValueError(f"category {category} is none of `categories`")
        _draw_one(mask, annotation, ids[category])
    return mask


def _draw_one(mask: NDArray[np.uint8], annotation: Mapping[str, Any], label: int) -> None:
    shape = _outline(annotation)
    if isinstance(shape, list):
        for points in _polygons(shape):
            fill_polygon(mask, points, label)
        return
    if [int(side) for side in shape["size"]] != list(mask.shape):
        raise ValueError(f"runs for a photo of the size {shape['size']}, height first")
    mask[decode_runs(read_runs(shape["counts"]), mask.shape[0], mask.shape[1])] = label


def _area(annotation: Mapping[str, Any]) -> float:
    """In pixels, from what is drawn; the file's own `area` is missing or wrong in what some tools write."""
    shape = _outline(annotation)
    if isinstance(shape, list):
        return sum(polygon_area(points) for points in _polygons(shape))
    return float(sum(read_runs(shape["counts"])[1::2]))


def _outline(annotation: Mapping[str, Any]) -> Any:
    """Polygons or runs, as the file has them."""
    shape = annotation.get("segmentation")
    if not shape:
        raise ValueError("an object has a box but no outline under `segmentation`")
    return shape


def _polygons(shape: list[Any]) -> Iterator[NDArray[np.float64]]:
    """The parts of an object, each (N, 2) x and y."""
    for part in shape:
        points = np.asarray(part, dtype=np.float64)
        if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
            raise ValueError("a polygon is no list of three or more x, y")
        yield points.reshape(-1, 2)
