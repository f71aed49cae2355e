"""Where in a folder the photos and their masks lie, told from the names of its folders.

A folder's name is cut into words: `trainannot`, `1st_manual`, `PedMasks`, `imagesTr`. Words for photos, for masks and
for splits may stand at any depth and in any order; what other folders there are becomes part of a photo's id.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pixelwise.data.advice import counted, no_pair
from pixelwise.data.pairing import Matched, match, match_mixed
from pixelwise.data.sample import read_entries
from pixelwise.errors import DataError
from pixelwise.images import find_images

_PHOTO_WORD = re.compile(
    r"images?|imgs?|photos?|pictures?|inputs?|rgb|frames?|originals?|sources?|src|scans?|raw|volumes?|stacks?",
)
_MASK_WORD = re.compile(
    r"masks?|labels?|lbls?|annotations?|annots?|annos?|ann|gt|groundtruth|truth|segmentations?|segs?|segm|manual|"
    r"targets?|outputs?|trimaps?|mattes?"
)
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "tr": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "ts": "test",
}
_OTHER_WORDS = frozenset({"set", "data", "dataset", "split", "prepped", ""})
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")


@dataclass(frozen=True, slots=True)
class Pair:
    """A photo and its mask.

    Attributes:
        id: the photo's path below the folder of photos, without its suffix.
        image: the photo.
        mask: the mask.
        split: "train", "val", "test" or "" where there are no splits.
    """

    id: str
    image: Path
    mask: Path
    split: str


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a folder.

    Attributes:
        pairs: sorted by split and id.
        unpaired: photos without a mask and masks without a photo; those of a test split that has no pair are not here.
        finding: what was found, in a sentence.
    """

    pairs: tuple[Pair, ...]
    unpaired: tuple[Path, ...]
    finding: str


@dataclass(frozen=True, slots=True)
class Place:
    """A file, and what the names of the folders around it say.

    Attributes:
        path: the file.
        split: as in `Pair`.
        role: "photo", "mask" or "" where nothing tells.
        folder: the words of the folder that tells the role, without those for splits; files of one folder belong
            together.
        inside: the other folders, which become part of the id.
    """

    path: Path
    split: str
    role: str
    folder: str
    inside: tuple[str, ...]


def canonical_split(name: str) -> str:
    """A split by its usual name: "train" for training, "val" for valid and validation; other names as they are."""
    return _SPLIT_WORDS.get(name.lower(), name)


def discover(root: Path, *, images: str | None = None, masks: str | None = None) -> Found:
    """Find the photos and masks in a folder and pair them.

    Args:
        root: the folder.
        images: the folder of photos below it, or a pattern such as `*/images/*.png`, where the user states it.
        masks: likewise of masks.

    Raises:
        DataError: there is no pair, a photo has several masks, or several folders could be that of the masks.
    """
    if images is not None and masks is not None:
        labels = _stated(root, masks, "masks")
        taken = {label.path for label in labels}
        photos = [photo for photo in _stated(root, images, "images") if photo.path not in taken]
        return _with_lists(root, _found(match(photos, labels), images, masks, root, "as dataset.yaml says"))
    files = find_images(root, recursive=True)
    places = [place(path, root) for path in files]
    if masks is not None:
        labels = _stated(root, masks, "masks")
        taken = {label.path for label in labels}
        candidates = {masks: labels}
        photo_groups = _photo_groups([p for p in places if p.path not in taken and p.role != "mask"])
    else:
        candidates = _groups(places, "mask")
        photo_groups = _photo_groups([p for p in places if p.role != "mask"])
    if images is not None:
        photo_groups = {images: _stated(root, images, "images")}
    return _with_lists(root, _best(root, photo_groups, candidates, places))


def place(path: Path, root: Path, role: str = "", base: Path | None = None) -> Place:
    """What the names of the folders between `root` and a file say of it.

    Args:
        path: the file.
        root: the dataset's folder.
        role: where it is known already, and `base` with it.
        base: the folder of all files of this role; what lies above it is no part of an id.
    """
    split, folder, inside = "", "", []
    above = 0 if base is None else len(base.relative_to(root).parts)
    for depth, part in enumerate(path.relative_to(root).parts[:-1]):
        words = _words(part)
        kind = _role(part, words)
        splits = [_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS]
        if splits and not split and all(w in _SPLIT_WORDS or w in _OTHER_WORDS or _is_role(w) for w in words):
            split = splits[0]
            if not kind:
                continue
        if depth < above or (base is not None and kind == role):
            continue
        if base is None and kind and not folder:
            role = kind
            folder = "_".join(word for word in words if word not in _SPLIT_WORDS) if splits else part
        elif base is None and kind == role and _is_role(part.lower()):
            folder = f"{folder}/{part}"  # such as annotations/trimaps
        else:
            inside.append(part)
    return Place(path, split, role, folder, tuple(inside))


def _words(part: str) -> list[str]:
    """The words of a folder's name, lower case: "PedMasks" -> ped, masks; "trainannot" -> train, annot."""
    words: list[str] = []
    for word in map(str.lower, _WORD.findall(part)):
        split = next((s for s in _SPLIT_WORDS if word.startswith(s) and _is_role(word[len(s) :])), "")
        words += [split, word[len(split) :]] if split else [word]
    return words


def _is_role(word: str) -> bool:
    return bool(_PHOTO_WORD.fullmatch(word) or _MASK_WORD.fullmatch(word))


def _role(part: str, words: list[str]) -> str:
    if part.lower() in ("x", "y"):
        return "photo" if part.lower() == "x" else "mask"
    if any(_MASK_WORD.fullmatch(word) for word in words):
        return "mask"
    return "photo" if any(_PHOTO_WORD.fullmatch(word) for word in words) else ""


def _groups(places: Iterable[Place], role: str) -> dict[str, list[Place]]:
    groups: dict[str, list[Place]] = {}
    for there in places:
        if there.role == role:
            groups.setdefault(there.folder, []).append(there)
    return groups


def _photo_groups(places: list[Place]) -> dict[str, list[Place]]:
    """Folders of photos by name; where none has a telling name, whatever else there is."""
    return _groups(places, "photo") or ({"": places} if places else {})


def _best(root: Path, photos: dict[str, list[Place]], masks: dict[str, list[Place]], places: list[Place]) -> Found:
    """The one folder of photos and the one of masks that fit each other, or photos and masks side by side.

    Raises:
        DataError: there is none, or more than one.
    """
    fitting: dict[tuple[str, str], Matched] = {}
    clashes: list[DataError] = []
    for image_name, images in photos.items():
        for mask_name, labels in masks.items():
            try:
                matched = match(images, labels)
            except DataError as error:
                clashes.append(error)
                continue
            if matched.pairs:
                fitting[image_name, mask_name] = matched
    note = ""
    if len(fitting) > 1:
        fitting, note = _preferred(fitting)
    if len(fitting) > 1:
        where = [f"{images or '.'} with {labels}" for images, labels in sorted(fitting)]
        raise DataError(
            f"{root} has several folders that could be those of the photos and masks: {'; '.join(where)}. Name one of "
            f"each in {root / 'dataset.yaml'}: `images: FOLDER` and `masks: FOLDER`."
        )
    if fitting:
        ((image_name, mask_name), matched) = next(iter(fitting.items()))
        return _found(matched, image_name, mask_name, root, note)
    if clashes:
        raise clashes[0]
    mixed = match_mixed(places if not masks else [there for there in places if there.role != "mask"])
    if mixed.pairs:
        return _found(mixed, "", "", root, f"side by side{mixed.note}")
    masked = [there.path for there in places if there.role == "mask"]
    raise no_pair(root, [there.path for there in places if there.role != "mask"], masked)


def _preferred(fitting: dict[tuple[str, str], Matched]) -> tuple[dict[tuple[str, str], Matched], str]:
    """Manual labels rather than other masks, such as DRIVE's fields of view; the first annotator before the second."""
    manual = sorted(mask for _, mask in fitting if "manual" in _words(mask))
    others = sorted({mask for _, mask in fitting} - set(manual))
    if not manual or any("mask" not in _words(mask) and "masks" not in _words(mask) for mask in others):
        return fitting, ""
    chosen = {key: value for key, value in fitting.items() if key[1] == manual[0]}
    left = [*manual[1:], *others]
    return chosen, f"the manual labels in {manual[0]}/ were taken, not {', '.join(f'{name}/' for name in left)}"


def _found(matched: Matched, images: str, masks: str, root: Path, note: str) -> Found:
    pairs = tuple(
        Pair(id=name, image=photo.path, mask=label.path, split=photo.split or label.split)
        for name, photo, label in matched.pairs
    )
    if not pairs:
        raise DataError(
            f"No photo in {root / images} has a mask in {root / masks}: no two of "
            f"{counted(len(matched.unpaired), 'picture')} have one name. A mask is named as its photo, or with an "
            "ending such as _mask."
        )
    tested = (
        []
        if any(pair.split == "test" for pair in pairs)
        else [path for path in matched.unpaired if place(path, root).split == "test"]
    )
    if tested:
        note = "; ".join(filter(None, (note, f"{counted(len(tested), 'picture')} of test without a mask left aside")))
    unpaired = [path for path in matched.unpaired if path not in set(tested)]
    folders = [_folders(root, [pair.image for pair in pairs]), _folders(root, [pair.mask for pair in pairs])]
    where = f"in {folders[0]}" if folders[0] == folders[1] else f"in {folders[0]}, masks in {folders[1]}"
    held = "1 photo with a mask" if len(pairs) == 1 else f"{len(pairs)} photos with masks"
    finding = f"{held}, photos {where}{f'; {note}' if note else ''}"
    return Found(pairs, tuple(unpaired), finding)


def _folders(root: Path, paths: list[Path]) -> str:
    folders = sorted({f"{path.parent.relative_to(root).as_posix()}/" for path in paths})
    return " and ".join(folders) if len(folders) <= 3 else f"{len(folders)} folders from {folders[0]} to {folders[-1]}"


def _stated(root: Path, where: str, key: str) -> list[Place]:
    """The pictures in a folder, or that fit a pattern, as dataset.yaml states it."""
    yaml = root / "dataset.yaml"
    parts = Path(where).parts
    if Path(where).is_absolute() or ".." in parts:
        raise DataError(f"{yaml} names {where} under `{key}`; expected a folder below {root}.")
    fixed = list(itertools.takewhile(lambda part: not set("*?[") & set(part), parts))
    base, role = root.joinpath(*fixed), "photo" if key == "images" else "mask"
    if not base.is_dir():
        raise DataError(f"There is no folder {base}, which {yaml} names under `{key}`.")
    found = find_images(base, recursive=True)
    if len(fixed) < len(parts):
        try:
            fitting = set(root.glob(where))  # files, or folders of them
        except ValueError as error:
            raise DataError(f"{yaml} names {where} under `{key}`, which is no pattern ({error}).") from error
        found = [path for path in found if not fitting.isdisjoint((path, *path.parents))]
    if not found:
        raise DataError(f"No picture lies in {root / where}, which {yaml} names under `{key}`.")
    return [place(path, root, role, base) for path in found]


def _with_lists(root: Path, found: Found) -> Found:
    """The same, divided by lists `train.txt`, `val.txt`, `test.txt` where folders do not divide it."""
    if any(pair.split for pair in found.pairs):
        return found
    lists = {
        canonical_split(path.stem): path
        for directory in (root, root / "splits", root / "ImageSets" / "Segmentation")
        for path in sorted(directory.glob("*.txt"))
        if path.stem.lower() in _SPLIT_WORDS
    }
    if not lists:
        return found
    by_name: dict[str, Pair] = {}
    for pair in found.pairs:
        by_name |= {pair.id: pair, pair.image.relative_to(root).as_posix(): pair}
        by_name |= {pair.image.name: pair, pair.image.stem: pair} if "/" not in pair.id else {}
    pairs, unlisted = [], {pair.id for pair in found.pairs}
    for split, path in lists.items():
        entries = read_entries(path)
        named = [_listed(entry, by_name) or _listed(entry.split()[0], by_name) for entry in entries]
        missing = [entry for entry, pair in zip(entries, named, strict=True) if pair is None]
        if missing:
            raise DataError(
                f"{path} names {counted(len(missing), 'photo')} of which there is no pair; the first is {missing[0]}."
            )
        pairs += [Pair(p.id, p.image, p.mask, split) for p in dict.fromkeys(named) if p is not None]
        unlisted -= {pair.id for pair in named if pair is not None}
    text = f"{found.finding}; divided by {', '.join(path.name for path in lists.values())}"
    if unlisted:
        text += f", which leave out {counted(len(unlisted), 'photo')}"
    return Found(tuple(pairs), found.unpaired, text)


def _listed(entry: str, by_name: dict[str, Pair]) -> Pair | None:
    """The pair that an entry of a list names: an id, a file, or a path of which only the end counts."""
    parts = entry.replace("\\", "/").strip("/").split("/")  # Windows' paths, too
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        for name in (tail, tail.rpartition(".")[0]):
            if name in by_name:
                return by_name[name]
    return None
