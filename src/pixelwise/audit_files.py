"""An audit as files for programs: JSON and CSV, every photo in its rank."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixelwise.audit import DOUBT, Audit, AuditedPhoto, Swap
from pixelwise.files import write_text

_COLUMNS = ("rank", "photo", "score", "labelled_pixels", "doubted_pixels", "labelled", "likely", "pixels", "note")


def write_json(path: Path, audit: Audit, about: Mapping[str, str]) -> None:
    """Write all of it as JSON.

    Args:
        path: of the file.
        audit: what was found.
        about: what was audited by what, by name.

    Raises:
        OutputError: the file cannot be written.
    """
    names = audit.classes.names
    content = {
        "about": dict(about),
        "doubtful_below": DOUBT,
        "photos": [
            {
                "rank": rank,
                "id": photo.id,
                "score": photo.score,
                "labelled_pixels": photo.labelled,
                "doubted_pixels": photo.doubted,
                "swaps": _swaps_json(photo.swaps, names),
            }
            for rank, photo in enumerate(audit.photos, start=1)
        ],
        "classes": [
            {
                "name": names[row.id],
                "labelled_pixels": row.labelled,
                "doubted_pixels": row.doubted,
                "swaps": _swaps_json(row.swaps, names),
            }
            for row in audit.by_class()
        ],
        "unscored": list(audit.unscored),
        "failed": [{"id": name, "reason": reason} for name, reason in audit.failed],
    }
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, audit: Audit) -> None:
    """Write a row a photo, worst first, with the largest of its swaps; those without a score come last, with a note.

    Raises:
        OutputError: the file cannot be written.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for rank, photo in enumerate(audit.photos, start=1):
        writer.writerow([rank, *_row(photo, audit.classes.names), ""])
    others = [*((name, "nothing labelled") for name in audit.unscored), *audit.failed]
    for name, note in others:
        writer.writerow(["", name, *[""] * (len(_COLUMNS) - 3), note])
    write_text(path, buffer.getvalue())


def _row(photo: AuditedPhoto, names: tuple[str, ...]) -> list[object]:
    swap = photo.swaps[0] if photo.swaps else None
    most = (names[swap.given], names[swap.suggested], swap.pixels) if swap else ("", "", "")
    return [photo.id, repr(photo.score), photo.labelled, photo.doubted, *most]


def _swaps_json(swaps: tuple[Swap, ...], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"labelled": names[swap.given], "likely": names[swap.suggested], "pixels": swap.pixels} for swap in swaps]
