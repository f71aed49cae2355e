"""What is worth knowing of one pair: gathered in one pass over the files, a few kilobytes a pair."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.data.pairs import Pairs
from pixelwise.decoding import header_size
from pixelwise.doctor.findings import Place
from pixelwise.errors import LabelError, PixelwiseError
from pixelwise.images import Photo, read_image

THUMBNAIL = 16
"""The side of the thumbnails, in pixels, by which two photos are compared."""

_GREY_TOLERANCE = 6  # levels between the channels of a grey photo that went through JPEG's colour space


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that cannot be read, and why."""

    missing: bool
    sentence: str


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What only a decoded photo tells.

    Attributes:
        orientation: EXIF's, 1 to 8.
        notes: of `images.Photo`.
        grey: whether it has no colours.
        digest: of its pixels and size.
        thumbnail: uint8 (16, 16), grey.
        fingerprint: see `fingerprint`.
    """

    orientation: int
    notes: tuple[str, ...]
    grey: bool
    digest: bytes
    thumbnail: NDArray[np.uint8]
    fingerprint: int


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """A photo: height and width in pixels, upright, and what it looks like, unless only the header was read."""

    size: tuple[int, int]
    look: Look | None


@dataclass(frozen=True, slots=True, eq=False)
class MaskFacts:
    """A mask.

    Attributes:
        name: what messages call it.
        size: height and width, in pixels.
        counts: int64 (256,), pixels of each value.
        digest: of its pixels and size.
        border: share of the pairs of neighbouring pixels that are of different classes, 0 to 1.
        strangers: what it holds that has no value among the ids, in a sentence; mostly empty. `counts` has such pixels
            among those that are ignored.
    """

    name: str
    size: tuple[int, int]
    counts: NDArray[np.int64]
    digest: bytes
    border: float
    strangers: str = ""


@dataclass(frozen=True, slots=True)
class PairFacts:
    """A photo and its mask; a `Fault` where one cannot be read."""

    place: Place
    photo_path: Path
    mask_path: Path
    photo: PhotoFacts | Fault
    mask: MaskFacts | Fault


def pair_facts(dataset: Pairs, place: Place, *, deep: bool) -> PairFacts:
    """Look at a pair of files; never raises for what is in them.

    Args:
        dataset: where it is.
        place: which it is.
        deep: decode the photo; otherwise its header is enough where it agrees with the mask.
    """
    photo_path, mask_path = dataset.image_paths[place.index], dataset.mask_paths[place.index]
    mask = _mask_facts(dataset, place.index)
    photo = _photo_facts(photo_path) if deep else _header_facts(photo_path, mask)
    return PairFacts(place, photo_path, mask_path, photo, mask)


def fingerprint(photo: NDArray[np.uint8]) -> tuple[int, NDArray[np.uint8]]:
    """A difference hash of 64 bits, and the grey thumbnail uint8 (16, 16) that confirms what it finds.

    A bit is whether a pixel of the photo, shrunk to 9 x 8, is darker than its right neighbour. Resizing and JPEG change
    few bits of it.

    Args:
        photo: uint8 (H, W, 3).

    Source: Neal Krawetz, "Kind of Like That", 2013, https://www.hackerfactor.com/blog/index.php?/archives/529-.
    """
    grey = Image.fromarray(photo).convert("L")
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX)).astype(np.int16)
    bits = np.packbits(np.diff(small, axis=1) > 0)
    return int.from_bytes(bits.tobytes(), "big"), np.asarray(grey.resize((THUMBNAIL,) * 2, Image.Resampling.BOX))


def _photo_facts(path: Path) -> PhotoFacts | Fault:
    try:
        photo = read_image(path)
    except PixelwiseError as error:
        return Fault(not path.is_file(), str(error))
    return PhotoFacts(photo.pixels.shape[:2], _look(photo))


def _look(photo: Photo) -> Look:
    bits, thumbnail = fingerprint(photo.pixels)
    return Look(photo.orientation, photo.notes, _is_grey(photo.pixels), _digest(photo.pixels), thumbnail, bits)


def _header_facts(path: Path, mask: MaskFacts | Fault) -> PhotoFacts | Fault:
    try:
        size = header_size(path)
    except PixelwiseError:
        return _photo_facts(path)
    if isinstance(mask, MaskFacts) and mask.size != size:
        return _photo_facts(path)
    return PhotoFacts(size, None)


def _mask_facts(dataset: Pairs, index: int) -> MaskFacts | Fault:
    strangers = ""
    try:
        try:
            mask = dataset.unchecked_mask(index)
        except LabelError as error:
            mask, strangers = dataset.mended_mask(index)[0], str(error)
    except PixelwiseError as error:
        return Fault(not dataset.mask_paths[index].is_file(), str(error))
    # bincount makes 64-bit numbers of what it counts, so not of a large mask as a whole.
    counts = sum((np.bincount(rows.ravel(), minlength=256) for rows in _strips(mask)), np.zeros(256, np.int64))
    return MaskFacts(dataset.mask_name(index), mask.shape, counts, _digest(mask), _border(mask), strangers)


def _strips(mask: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    rows = max(1, (1 << 20) // mask.shape[1])
    return [mask[top : top + rows] for top in range(0, mask.shape[0], rows)]


def _border(mask: NDArray[np.uint8]) -> float:
    changes = np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    return float(changes / max(1, 2 * mask.size - sum(mask.shape)))


def _is_grey(photo: NDArray[np.uint8]) -> bool:
    step = max(1, min(photo.shape[:2]) // 128)
    few = photo[::step, ::step].astype(np.int16)
    spread = few.max(axis=2) - few.min(axis=2)
    return bool(np.count_nonzero(spread > _GREY_TOLERANCE) <= 0.001 * spread.size)


def _digest(pixels: NDArray[np.uint8]) -> bytes:
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()
