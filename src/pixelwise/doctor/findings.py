"""What can be wrong with a dataset: the kinds of findings, and what each costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
"""An error stops the training; a warning makes the model or its figures worse; a note is only worth a look."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From the worst to the mildest."""

Advance = Callable[[float], None]
"""Called with 1 after each pair, for a progress bar."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding.

    Attributes:
        name: in JSON, in anchors and in `docs/doctor.md`.
        title: what a list of them is called.
        cost: what comes of it if nothing is done.
    """

    name: str
    title: str
    cost: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pair is: the number of its dataset among those examined, and its index in there."""

    dataset: int
    index: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or odd.

    Attributes:
        kind: what it is.
        severity: how bad.
        split: where; empty where it concerns no single split.
        files: the files it is about, the one to look at first in front; empty where it is about a class.
        sentence: what was found, in full.
        places: the pairs to show.
    """

    kind: Kind
    severity: Severity
    split: str
    files: tuple[Path, ...]
    sentence: str
    places: tuple[Place, ...] = ()

    def sentence_in(self, root: Path) -> str:
        """The sentence, with files named as they lie in a directory."""
        sentence = self.sentence
        for path in self.files:  # not wherever the directory's name stands, which may end a folder's name below it
            if path.is_relative_to(root):
                sentence = sentence.replace(str(path), str(path.relative_to(root)))
        return sentence

    def to_json(self) -> dict[str, Any]:
        """As a JSON-ready object."""
        return {
            "kind": self.kind.name,
            "severity": self.severity,
            "split": self.split,
            "files": [str(path) for path in self.files],
            "sentence": self.sentence,
        }


SPLIT = Kind("split", "splits", "Training finds no photos to learn from, or none to choose the best weights on.")
MISSING = Kind("missing", "missing files", "Training stops before its first step.")
UNREADABLE = Kind("unreadable", "unreadable files", "Training stops when it comes to one.")
SIZE = Kind("size", "masks of another size than their photo", "Training stops when it comes to one.")
LABELS = Kind("labels", "masks with values that are no class", "Training stops when it comes to one.")
UNPAIRED = Kind("unpaired", "files without a partner", "They are left out: labels, or photos, that were paid for.")
TURNED = Kind(
    "turned",
    "photos that are stored turned, with an EXIF orientation",
    "None in pixelwise, which turns them, if their masks are upright: of square photos, and of those upside down, no "
    "size tells. A tool that does not turn them will see the mask at right angles to the photo.",
)
EXIF = Kind("exif", "photos with damaged EXIF data", "If the photo was to be turned, it no longer is.")
STORAGE = Kind("storage", "photos that are stored oddly", "None, if you know of it.")
CLASS_ABSENT = Kind("class-absent", "classes that never occur", "The model has an output that it never learns to use.")
CLASS_UNLEARNT = Kind(
    "class-unlearnt",
    "classes to be measured that are not there to be learnt",
    "Their IoU will be zero, and pull the mean down.",
)
CLASS_UNMEASURED = Kind(
    "class-unmeasured", "classes to be learnt that are not measured", "Nobody will know how well they are found."
)
CLASS_RARE = Kind("class-rare", "rare classes", "They are learnt badly, and their IoU hangs on a few photos.")
LEAK = Kind(
    "leak",
    "photos that are in two splits",
    "The figures measured on them are too good: the model has learnt the answer by heart.",
)
NEAR_LEAK = Kind(
    "near-leak",
    "photos that have a near twin in another split",
    "The figures measured on them are too good, by how much nobody knows.",
)
REPEATED = Kind("repeated", "photos that occur more than once in a split", "They count more often than the others.")
SMALL = Kind("small", "very small photos", "There is little to see once the network has halved it five times.")
LARGE = Kind("large", "very large photos", "Reading them takes longer than learning from them; scale them down once.")
LONG = Kind("long", "photos that are much longer than wide", "Crops show little of them, and resizing makes them thin.")
GREY = Kind("grey", "grey photos among colour ones", "None, if photos of this kind will be segmented later, too.")
IGNORED = Kind("ignored", "masks that are ignored entirely", "Nothing is learnt from them.")
ONLY_BACKGROUND = Kind("only-background", "masks of nothing but background", "None, if there really is nothing.")
SINGLE_CLASS = Kind("single-class", "masks of a single class", "None, if the photo shows nothing else.")
SAME_MASK = Kind("same-mask", "masks that several different photos share", "All of the photos but one are mislabelled.")
UNLIKE = Kind("unlike", "masks unlike the others", "None, if they are right; look at them.")

KINDS: tuple[Kind, ...] = (
    SPLIT,
    MISSING,
    UNREADABLE,
    SIZE,
    LABELS,
    CLASS_UNLEARNT,
    LEAK,
    NEAR_LEAK,
    REPEATED,
    SAME_MASK,
    IGNORED,
    UNPAIRED,
    CLASS_ABSENT,
    CLASS_RARE,
    CLASS_UNMEASURED,
    EXIF,
    SMALL,
    UNLIKE,
    ONLY_BACKGROUND,
    SINGLE_CLASS,
    TURNED,
    GREY,
    STORAGE,
    LARGE,
    LONG,
)
"""All of them, in the order in which they are told."""
