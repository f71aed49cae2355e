"""The answer for one photo: a class for every pixel, and how sure the model is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import OutputError
from pixelwise.files import check_writable, write_atomically
from pixelwise.labels import ClassShare, ClassTable
from pixelwise.masks import write_mask
from pixelwise.panel import panel
from pixelwise.render import JPEG_LONGEST_SIDE, overlay, write_overlay, write_picture

SAVEABLE = ("mask", "overlay", "panel", "json")
"""What `Segmentation.save` can write."""

SUFFIXES = {"mask": "_mask.png", "overlay": "_overlay.jpg", "panel": "_panel.jpg", "json": ".json"}
"""What each of them is called: this behind the stem."""

LONG_SUFFIXES = {"overlay": "_overlay.png"}
"""What those are called that JPEG has no room for."""

TIFF_SUFFIXES = {"mask": "_mask.tif", "overlay": "_overlay.tif"}
"""What those are called that are TIFFs; see `pixelwise.large_segmentation.suffixes`."""

_ROWS = 1024  # rows at a time where a statistic needs a float64 copy


class Tally:
    """Counts the classes of an answer that comes piece by piece.

    Attributes:
        table: names and colours of the classes.
        pixels: int64 (C,), how many pixels each has so far.
        confidence: float64 (C,), the sum of their probabilities.
    """

    def __init__(self, table: ClassTable) -> None:
        self.table = table
        self.pixels = np.zeros(len(table), dtype=np.int64)
        self.confidence = np.zeros(len(table))

    def add(self, mask: NDArray[np.uint8], confidence: NDArray[np.float16]) -> None:
        """Count class ids uint8 (h, w), and their probabilities float16 (h, w)."""
        ids = mask.ravel()
        self.pixels += np.bincount(ids, minlength=len(self.table))
        self.confidence += np.bincount(ids, confidence.ravel(), minlength=len(self.table))

    def classes(self) -> tuple[ClassShare, ...]:
        """The classes found, the largest first."""
        total = int(self.pixels.sum())
        order = sorted(np.flatnonzero(self.pixels), key=lambda i: -self.pixels[i])
        return tuple(
            ClassShare(
                id=int(i),
                name=self.table.names[i],
                colour=self.table.colours[i],
                share=float(self.pixels[i] / total),
                confidence=float(self.confidence[i] / self.pixels[i]),
            )
            for i in order
        )


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One segmented photo.

    Attributes:
        photo: uint8 (H, W, 3) RGB, upright.
        mask: uint8 (H, W) class ids.
        confidence: float16 (H, W), the probability that the model gives to the class in `mask`, 0 to 1.
        table: names and colours of all classes that the model knows.
        name: the photo's file name, for reports.
        notes: what was done to the photo while reading it.
    """

    photo: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    confidence: NDArray[np.float16]
    table: ClassTable
    name: str = "photo"
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def classes(self) -> tuple[ClassShare, ...]:
        """The classes found, the largest first: id, name, colour, share of the pixels and mean confidence, 0 to 1."""
        tally = Tally(self.table)
        for top in range(0, self.mask.shape[0], _ROWS):
            tally.add(self.mask[top : top + _ROWS], self.confidence[top : top + _ROWS])
        return tally.classes()

    def overlay(self, *, opacity: float = 0.55) -> NDArray[np.uint8]:
        """The photo with the classes laid over it in their colours: uint8 (H, W, 3)."""
        return overlay(self.photo, self.mask, self.table, opacity=opacity)

    def panel(self, *, opacity: float = 0.55) -> NDArray[np.uint8]:
        """Photo, mask and overlay beside each other, with a legend: uint8 (h, w, 3), scaled to be looked at."""
        return panel(self.photo, self.mask, self.table, self.classes, opacity=opacity)

    def to_json(self) -> dict[str, Any]:
        """Size, notes and the classes found, ready for `json.dumps`."""
        height, width = self.mask.shape
        return describe(self.name, height, width, self.notes, self.classes)

    def save(
        self,
        directory: str | Path = ".",
        *,
        stem: str | None = None,
        what: Sequence[str] = ("mask", "overlay"),
        opacity: float = 0.55,
        force: bool = False,
    ) -> list[Path]:
        """Write pictures and figures beside each other.

        Args:
            directory: made if it is missing.
            stem: what the names begin with, without directories; the photo's own stem by default.
            what: some of `SAVEABLE`.
            opacity: of the classes in overlay and panel, 0 to 1.
            force: write over files that are there.

        Returns:
            the files written: `STEM_mask.png` (palette PNG of class ids), `STEM_overlay.jpg` (`.png` where a side is
            longer than JPEG's 65,500 pixels), `STEM_panel.jpg`, `STEM.json`.

        Raises:
            OutputError: a file is there already and `force` is off (then nothing was written), or cannot be written.
            ValueError: `what` names something else, `stem` names a directory, or the opacity is outside 0 to 1; nothing
                was written.
        """
        stem = stem or stem_of(self.name) or "photo"
        if Path(stem).name != stem:
            raise ValueError(f"stem is {stem!r}; expected the beginning of a file name, without directories")
        if not 0 <= opacity <= 1:
            raise ValueError(f"opacity is {opacity}; expected 0 to 1")
        paths = output_paths(Path(directory), stem, what, suffixes=suffixes_for(*self.mask.shape))
        prepare_outputs(list(paths.values()), force=force)
        for kind, path in paths.items():
            if kind == "mask":
                write_mask(path, self.mask, self.table)
            elif kind == "overlay":
                write_overlay(path, self.photo, self.mask, self.table, opacity=opacity)
            elif kind == "panel":
                write_picture(path, self.panel(opacity=opacity))
            else:
                write_atomically(path, encode_json(self.to_json()))
        return list(paths.values())


def describe(name: str, height: int, width: int, notes: Sequence[str], classes: Sequence[ClassShare]) -> dict[str, Any]:
    """What `Segmentation.to_json` says."""
    return {
        "name": name,
        "width": width,
        "height": height,
        "notes": list(notes),
        "classes": [
            {
                "id": found.id,
                "name": found.name,
                "colour": list(found.colour),
                "share": round(found.share, 6),
                "confidence": round(found.confidence or 0.0, 4),
            }
            for found in classes
        ],
    }


def encode_json(described: Mapping[str, Any]) -> bytes:
    """The file of what `describe` says."""
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    # What a file name holds beside UTF-8 is a lone surrogate, and its escape is JSON's own.
    return text.encode(errors="backslashreplace")


def suffixes_for(height: int, width: int) -> Mapping[str, str]:
    """What the results of a photo of that size are called."""
    return SUFFIXES | LONG_SUFFIXES if max(height, width) > JPEG_LONGEST_SIDE else SUFFIXES


def stem_of(photo: str | Path) -> str:
    """What the names of a photo's results begin with: its stem, but for that of `..jpg`, which is a directory."""
    path = Path(photo)
    return Path(path.stem).name or path.name


def output_paths(
    directory: Path, stem: str, what: Sequence[str], *, suffixes: Mapping[str, str] = SUFFIXES
) -> dict[str, Path]:
    """Where each of `what` goes.

    Raises:
        ValueError: something in `what` is not one of `SAVEABLE`, or it is a single string.
    """
    if isinstance(what, str):
        raise ValueError(f"what is {what!r}; expected a sequence such as {tuple(what.split(','))!r}")
    what = tuple(what)  # a generator can be gone through only once
    unknown = [kind for kind in what if kind not in SAVEABLE]
    if unknown:
        raise ValueError(f"cannot save {', '.join(map(repr, unknown))}; expected some of {', '.join(SAVEABLE)}")
    return {kind: directory / f"{stem}{suffixes[kind]}" for kind in SAVEABLE if kind in what}


def prepare_outputs(
    paths: Sequence[Path], *, force: bool, remedy: str = "force it, or choose another directory"
) -> None:
    """See that nothing stands in the way of files to come, and make their directories.

    Args:
        paths: of the files.
        force: whether they may be there.
        remedy: what to do where they are, for the message.

    Raises:
        OutputError: a file is there already and `force` is off, or a directory cannot be made or written to.
    """
    there = [path for path in paths if _exists(path)]
    if there and not force:
        others = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise OutputError(f"{there[0]}{others} would be overwritten; {remedy}.")
    for directory in sorted({path.parent for path in paths}):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The directory {directory} cannot be made: {error.strerror or error}.") from error
        check_writable(directory)


def _exists(path: Path) -> bool:
    """Whether there is anything of that name, be it a link to nowhere; not if the system cannot even look."""
    try:
        path.lstat()
    except (OSError, ValueError):  # a name that is too long, say: for the writer to complain about
        return False
    return True
