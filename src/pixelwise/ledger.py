"""Which photos of a directory of results are done, from what, and by which model: so that an ended run may go on."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from pixelwise.errors import OutputError
from pixelwise.labels import ClassShare

LEDGER = ".pixelwise.jsonl"
"""Its file, in the directory of the results."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of the results of a photo.

    Attributes:
        settings: of the model and of all else that they depend on beside the photo.
        photo: SHA-256 of its file; None while they are being written.
        classes: found in it.
        notes: what was done to it while reading it.
        source: the absolute path of its file; None in an older ledger.
    """

    settings: str
    photo: str | None = None
    classes: tuple[ClassShare, ...] = ()
    notes: tuple[str, ...] = ()
    source: str | None = None


class Ledger:
    """The ledger of a directory; several threads, and several runs at once, may write to it.

    Results are entered twice, before their first file is written and after the last: what a kill leaves behind is known
    to be ours. Of several entries for the same results the last one counts.

    Args:
        directory: of the results; made by whoever writes them.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LEDGER
        self._lock = threading.Lock()
        self._file: FileIO | None = None
        self._entries = dict(filter(None, map(_parsed, self._lines())))

    def get(self, output: str) -> Entry | None:
        """What is known of the results of that name."""
        return self._entries.get(output)

    def enter(self, output: str, entry: Entry) -> None:
        """Replace what is known of the results of that name.

        Raises:
            OutputError: it cannot be written.
        """
        with self._lock:
            self._entries[output] = entry
            line = _line(output, entry)
            try:
                if self._file is None:
                    self._file = self._path.open("ab", buffering=0)
                if self._file.write(line) != len(line):  # one call, so that lines of two runs do not mix
                    raise OSError("the disk is full")
            except OSError as error:
                raise OutputError(f"{self._path} cannot be written: {error.strerror or error}.") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _lines(self) -> list[str]:
        try:
            return self._path.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:  # there is none, or it is not ours to read: nothing is known
            return []


def digest(path: Path) -> str | None:
    """SHA-256 of a file; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # ValueError: a null character in the path
        return None


def _line(output: str, entry: Entry) -> bytes:
    """As JSON in ASCII, as a name may hold what is no UTF-8; on a line of its own even after one that was torn off."""
    return f"\n{json.dumps({'output': output, **asdict(entry)})}\n".encode("ascii")


def _parsed(line: str) -> tuple[str, Entry] | None:
    """Output and entry of a line; None of a damaged one, as if it had never been written."""
    try:
        raw: dict[str, Any] = json.loads(line)
        classes = tuple(ClassShare(**{**each, "colour": tuple(each["colour"])}) for each in raw.pop("classes"))
        return str(raw.pop("output")), Entry(classes=classes, notes=tuple(raw.pop("notes")), **raw)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
