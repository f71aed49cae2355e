"""Datasets of Hugging Face: saved by `datasets`, or Parquet files as they lie on the Hub.

Three forms:

- `DatasetDict.save_to_disk`: `dataset_dict.json`, and a folder a split.
- `Dataset.save_to_disk`: `state.json`, `dataset_info.json` and Arrow files; a single split.
- Parquet: `SPLIT-00000-of-00002.parquet`, ... or `SPLIT.parquet`, in the folder or in `data/`; or, as the Hub converts
  datasets, `SPLIT/0000.parquet`.

The photos are in one column, the masks in another, both as encoded pictures (`datasets.Image`). What the masks mean is
found as in any folder, and `dataset.yaml` beside may state it. Names of the classes come from there, from
`id2label.json` or a list of classes beside, or from the one list of class ids that a row has of its own, such as
`objects.category`, if it begins with the background. A `ClassLabel` for the whole photo names no pixels.

Source: https://huggingface.co/docs/datasets/repository_structure and `datasets/arrow_dataset.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.class_names import KnownClasses, is_void, read_class_file
from pixelwise.data.description import FILE_NAME, class_table, read_description, stated_encoding
from pixelwise.data.detection import detect
from pixelwise.data.finding import Finding, own_colours
from pixelwise.data.registry import register
from pixelwise.data.sample import Sample, check_size, check_split
from pixelwise.data.splits import VAL_SPLITS, find_split, with_validation
from pixelwise.data.survey import ALWAYS_READ, Survey, survey_sources
from pixelwise.data.tables import Table, open_table, read_picture
from pixelwise.errors import DataError
from pixelwise.images import read_image
from pixelwise.masks import check_labels

_IMAGE = re.compile(r"(?:input_?)?(?:image|img|photo|picture|pixel_values|rgb)s?", re.IGNORECASE)
_MASK = re.compile(
    r"(?:semantic_|segmentation_|seg_)?(?:mask|label|label_map|annotation|segmentation|seg|gt|ground_?truth)s?",
    re.IGNORECASE,
)
_BACKGROUND = ("background", "bg", "other")
_SHARD = re.compile(r"(?P<split>.+?)(?:-\d{5}-of-(?P<count>\d{5})(?:-[0-9a-f]+)?)?\.parquet")


@register("huggingface")
class HuggingFace:
    """Photos and masks in two columns of a dataset of Hugging Face; see the head of the file.

    Args:
        root: the directory that was saved to, or that holds the Parquet files or `data`.
        split: as it is called there; train and val where a train without validation is divided.
        image: the column of photos; by default the one whose name says so.
        mask: the column of masks, likewise.

    Attributes:
        ids: split and row, as `train-0012`; of a split that was divided, the rows of the whole.
        finding: how the masks were understood.

    Raises:
        DataError: a file or a column is missing, or several columns could be meant; or as for
            `pixelwise.data.detection.detect`; when a sample is read, a mask has another size than its photo.
        ImageError: when a sample is read, a photo is damaged.
        MaskError: when a sample is read, a mask is damaged or holds a value that is no class.
    """

    def __init__(self, root: Path, split: str, *, image: str | None = None, mask: str | None = None) -> None:
        check_split(split, self.splits(root), root=root)
        sources = _sources(root)
        for paths in sources.values():
            _check_shards(paths)
        tables = {name: tuple(open_table(path) for path in paths) for name, paths in sources.items()}
        everything = tuple(table for of_split in tables.values() for table in of_split)
        if not everything:
            raise DataError(f"{root} lists no file of rows; save the dataset again by `save_to_disk`.")
        self._image = _column(root, everything, image, option="image", pattern=_IMAGE)
        self._mask = _column(root, everything, mask, option="mask", pattern=_MASK)
        meaning = _meaning(root, everything, self._mask)
        self.classes, self._encoding = meaning.classes, meaning.encoding
        self.split, self.finding = split, f"photos in the column {self._image}, masks in {self._mask}; "
        self.finding += meaning.encoding.reason
        rows = {name: _rows(name, of_split) for name, of_split in tables.items()}
        self.ids = with_validation({name: list(of_split) for name, of_split in rows.items()})[split]
        if not self.ids:
            raise DataError(f"The split {split} of {root} has no rows.")
        places = {name: place for of_split in rows.values() for name, place in of_split.items()}
        self._places = [places[name] for name in self.ids]

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether a directory has this layout, by a look at its names."""
        saved = (root / "state.json").is_file() and (root / "dataset_info.json").is_file()
        return saved or (root / "dataset_dict.json").is_file() or bool(_parquet(root))

    @staticmethod
    def splits(root: Path) -> list[str]:
        """The splits that there are files of; val as well where train is divided."""
        names = list(_sources(root))
        return names if "train" not in names or find_split(names, VAL_SPLITS) else [*names, "val"]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        table, row = self._places[index]
        image = read_image(read_picture(table, row, self._image), name=_name(table, row, self._image)).pixels
        mask = self.mask(index)
        check_size(mask, image, name=_name(table, row, self._mask))
        return Sample(image=image, mask=mask, id=self.ids[index])

    def mask(self, index: int) -> NDArray[np.uint8]:
        """The mask alone, uint8 (H, W) class ids or `classes.ignore_index`; quicker than the whole sample."""
        table, row = self._places[index]
        name = _name(table, row, self._mask)
        mask = self._encoding.decode(read_picture(table, row, self._mask), name=name)
        check_labels(mask, self.classes, name=name)
        return mask


def _name(table: Table, row: int, column: str) -> str:
    """What messages call a picture."""
    return f"{column} in row {row} of {table.path}"


def _rows(split: str, tables: Sequence[Table]) -> dict[str, tuple[Table, int]]:
    """The id of each row of a split, and where it is."""
    places = [(table, row) for table in tables for row in range(len(table))]
    digits = len(str(len(places)))
    return {f"{split}-{at:0{digits}}": place for at, place in enumerate(places)}


def _sources(root: Path) -> dict[str, tuple[Path, ...]]:
    """Split -> the files of its rows, in their order."""
    path = root / "dataset_dict.json"
    if path.is_file():
        listed = _read_json(path).get("splits")
        if not isinstance(listed, list):
            raise DataError(f"{path} lists no `splits`; save the dataset again by `save_to_disk`.")
        return {name: _saved(root / name) for name in (Path(str(name)).name for name in listed)}
    if (root / "state.json").is_file():
        split = re.match(r"\w+", str(_read_json(root / "state.json").get("_split") or "train"))
        return {split[0] if split else "train": _saved(root)}
    return _parquet(root)


def _saved(folder: Path) -> tuple[Path, ...]:
    """The Arrow files of a split that was saved, as its state lists them."""
    path = folder / "state.json"
    try:
        # The name alone counts: a state that points elsewhere would have other files of this machine read.
        return tuple(folder / Path(entry["filename"]).name for entry in _read_json(path)["_data_files"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} lists no `_data_files`; save the dataset again by `save_to_disk`.") from error


def _parquet(root: Path) -> dict[str, tuple[Path, ...]]:
    """The Parquet files by split; none where a directory has another layout."""
    flat = sorted(root.glob("[!.]*.parquet")) or sorted((root / "data").glob("[!.]*.parquet"))
    if not flat:
        converted = sorted(root.glob("*/[0-9]*.parquet"))
        names = dict.fromkeys(path.parent.name for path in converted)
        return {name: tuple(path for path in converted if path.parent.name == name) for name in names}
    shards: dict[str, list[Path]] = {}
    for path in flat:
        match = _SHARD.fullmatch(path.name)
        if match is not None:
            shards.setdefault(match["split"], []).append(path)
    return {name: tuple(paths) for name, paths in shards.items()}


def _check_shards(paths: Sequence[Path]) -> None:
    """Refuse a split of which a file is missing, as an interrupted download leaves it."""
    for path in paths:
        match = _SHARD.fullmatch(path.name)
        count = int(match["count"]) if match is not None and match["count"] else len(paths)
        if count != len(paths):
            raise DataError(
                f"{path} is one of {count} files, of which {len(paths)} are there; download the others too."
            )


def _column(root: Path, tables: Sequence[Table], asked: str | None, *, option: str, pattern: re.Pattern[str]) -> str:
    """The column of photos or of masks: what the user asks for, or the one whose name fits.

    Raises:
        DataError: there is no such column, it holds no pictures, or several could be meant.
    """
    there = [name for name in tables[0].pictures if name == asked or (asked is None and pattern.fullmatch(name))]
    if len(there) != 1:
        kind = "photos" if option == "image" else "masks"
        wanted = f"the column {asked} of pictures" if asked is not None else f"one column that is clearly of {kind}"
        held = ", ".join(f"{name} ({_short(kind)})" for name, kind in tables[0].columns)
        raise DataError(
            f"{root} has not {wanted}; its columns are {held}. Name one of pictures by the option `{option}`: "
            f"{', '.join(tables[0].pictures) or 'there is none, and numbers or paths are not read'}."
        )
    for table in tables:
        if there[0] not in table.pictures:
            raise DataError(f"{table.path} has no pictures under {there[0]}, which {tables[0].path} has.")
    return there[0]


def _short(kind: str) -> str:
    return "picture" if kind.startswith("struct<bytes") else kind if len(kind) < 40 else f"{kind[:36]}..."


def _meaning(root: Path, tables: tuple[Table, ...], mask: str) -> Finding:
    """What the masks mean, as `dataset.yaml` states it or as they tell."""
    stated = read_description(root)
    if stated.images or stated.masks or stated.splits:
        raise DataError(
            f"{stated.path}: `images`, `masks` and `splits` are about folders; here columns are named by the options "
            "`image` and `mask`, and splits are as they were saved."
        )
    if stated.mapping:
        encoding, names = stated_encoding(stated)
        return Finding(encoding, class_table(stated, names, stated.colours or own_colours(encoding, names)))
    known = _known(root, tables)
    if stated.names is not None:
        known = KnownClasses(stated.names, stated.colours, FILE_NAME, stated=True)
    return detect(_survey(tables, mask), yaml=stated.path, known=known, ignore_index=stated.ignore_index)


@lru_cache(maxsize=8)
def _survey(tables: tuple[Table, ...], mask: str) -> Survey:
    """The masks counted, of very many a seeded sample; a table that changes has another stamp."""
    places = [(table, row) for table in tables for row in range(len(table))]
    if not places:
        raise DataError(f"{tables[0].path} and what lies beside it have no rows.")
    order = np.random.default_rng(0).permutation(len(places))
    chosen = [places[i] for i in sorted(order[:ALWAYS_READ].tolist())]

    def masks() -> Iterator[tuple[str, bytes]]:
        for table, row in chosen:
            yield _name(table, row, mask), read_picture(table, row, mask)

    return survey_sources(masks(), among=len(places))


def _known(root: Path, tables: Sequence[Table]) -> KnownClasses | None:
    """Names of the classes, where they are beside the dataset or in what it says of its columns."""
    path = root / "id2label.json"
    if path.is_file():
        return KnownClasses(_labels(path), None, path.name)
    listed = read_class_file(root)
    if listed is not None or not tables[0].features:
        return listed
    try:
        features = json.loads(tables[0].features)["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None  # only names are lost
    found = dict(_nested(features, ""))
    if len(found) != 1:
        return None
    column, names = found.popitem()
    if names[0].lower() not in _BACKGROUND:
        return None  # the masks most likely count the background, so that each name would be one off
    return KnownClasses(names, None, f"the column {column}")


def _labels(path: Path) -> tuple[str, ...]:
    """The names in an `id2label.json`, whose ids have no gaps."""
    raw = {key: str(name).strip() for key, name in _read_json(path).items()}
    names = {key: name for key, name in raw.items() if not (key == "255" and is_void(name))}
    ordered = tuple(names.get(str(i), "") for i in range(len(names)))
    if not all(ordered) or len(set(ordered)) < len(ordered):
        raise DataError(
            f"{path} does not give each of the ids 0 to {len(names) - 1} a name of its own; correct it, or state the "
            f"classes under `mapping` in {path.with_name(FILE_NAME)}."
        )
    return ordered


def _nested(feature: Any, at: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Where a list holds ids of classes, and their names: a row that has several is about parts of its photo."""
    if isinstance(feature, list) and len(feature) == 1:
        feature = {"_type": "Sequence", "feature": feature[0]}
    if not isinstance(feature, Mapping):
        return
    inside = feature.get("feature")
    if str(feature.get("_type")) in ("List", "LargeList", "Sequence") and isinstance(inside, Mapping):
        held = {at: inside} if "_type" in inside else {f"{at}.{key}": value for key, value in inside.items()}
        for name, value in held.items():
            if isinstance(value, Mapping) and value.get("_type") == "ClassLabel" and value.get("names"):
                yield name, tuple(map(str, value["names"]))
    elif "_type" not in feature:
        for key, value in feature.items():
            yield from _nested(value, f"{at}.{key}" if at else str(key))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); save or download the dataset again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no object of names and values; save or download the dataset again.")
    return content
