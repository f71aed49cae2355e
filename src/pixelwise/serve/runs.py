"""Training runs and reports below a directory, as the page shows them."""

from __future__ import annotations

import functools
import html
import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import yaml

from pixelwise.bundle import CONFIG
from pixelwise.run_directory import RunDirectory, read_log

_DEPTH = 4  # folders below the directory that are looked through
_POINTS = 500  # of a curve, about
_TITLE = re.compile(rb"<title>(.*?)</title>", re.DOTALL)

State = Literal["training", "stopped", "finished"]


class Runs:
    """What lies below a directory; nothing is kept, so that what is asked for is what is there.

    Runs and files are named by their paths below it, with slashes; the directory may be a run itself, called `.`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def runs(self) -> list[dict[str, Any]]:
        """Every training run in short: `name`, `state`, `step` of `steps`, best `val_miou`, `changed`.

        `changed` is when it last wrote, in seconds since 1970; the latest comes first.
        """
        told = []
        for run in self._runs():
            with suppress(OSError):  # it was removed meanwhile, or is not for us to read
                if read := _read(run):
                    told.append(self._in_short(run, *read))
        return sorted(told, key=lambda each: -float(each["changed"]))

    def reports(self) -> list[dict[str, Any]]:
        """Every HTML page: `path` below the directory, `title`, `changed`; the latest comes first."""
        told = []
        for folder, files in self._folders():
            for path in (self._name(folder / name) for name in files if name.endswith(".html")):
                with suppress(OSError):  # likewise
                    if page := self.file(path):
                        told.append({"path": path, "title": _title(page), "changed": page.stat().st_mtime})
        return sorted(told, key=lambda each: -float(each["changed"]))

    def run(self, name: str) -> dict[str, Any] | None:
        """A run: what `runs` says, `architecture`, the log's `entries`, and the paths of its `pictures` and `report`.

        Of a long log every so manieth entry is given, and all with a validation. None where there is no such run.
        """
        folder = self._below(name)
        run = RunDirectory(folder) if folder else None
        read = _read(run) if run and run.recipe.is_file() else None
        if run is None or read is None:
            return None
        recipe, entries = read
        return {
            **self._in_short(run, recipe, entries),
            "architecture": str((recipe.get("model") or {}).get("name", "")),
            "entries": _thinned(entries),
            "pictures": [{"step": step, "path": self._name(path)} for step, path in run.pictures.items()],
            "report": self._name(run.report) if run.report.is_file() else None,
        }

    def models(self) -> dict[str, str]:
        """The bundles of finished runs, by the runs' names."""
        return {self._name(run.root): str(run.model) for run in self._runs() if (run.model / CONFIG).is_file()}

    def file(self, path: str) -> Path | None:
        """A page or a picture by its path below the directory; None for all else, and for links that lead out of it."""
        found = self._below(path)
        return found if found and found.suffix in (".html", ".jpg") and found.is_file() else None

    def _below(self, path: str) -> Path | None:
        """A path below the directory, without links; hidden files are not there."""
        try:
            found = (self.root / path).resolve()
        except (OSError, ValueError):  # too long, or with a zero byte
            return None
        if not found.is_relative_to(self.root):
            return None
        return None if any(part.startswith(".") for part in found.relative_to(self.root).parts) else found

    def _folders(self) -> Iterator[tuple[Path, list[str]]]:
        """The folders that are looked through, with their files; not those within a run."""
        for folder, inner, files in os.walk(self.root):
            path = Path(folder)
            is_run = RunDirectory(path).recipe.name in files
            deep = len(path.relative_to(self.root).parts) >= _DEPTH
            shown = sorted(each for each in inner if not each.startswith(".") and _is_utf8(each))
            inner[:] = [] if is_run or deep else shown
            yield path, list(filter(_is_utf8, files))

    def _runs(self) -> Iterator[RunDirectory]:
        for folder, files in self._folders():
            run = RunDirectory(folder)
            if run.recipe.name in files:
                yield run

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _in_short(self, run: RunDirectory, recipe: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any]:
        scores = [entry["val_miou"] for entry in entries if isinstance(entry.get("val_miou"), float)]
        written = [path for path in (run.log, run.recipe) if path.is_file()]
        return {
            "name": self._name(run.root),
            "state": _state(run),
            "step": entries[-1]["step"] if entries else 0,
            "steps": recipe.get("steps"),
            "val_miou": max(scores, default=None),
            "changed": max(path.stat().st_mtime for path in written),
        }


def _is_utf8(name: str) -> bool:
    """Whether a name can stand in an address and in JSON; one that is no UTF-8 holds lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _state(run: RunDirectory) -> State:
    if run.in_use():
        return "training"
    return "finished" if (run.model / CONFIG).is_file() else "stopped"


def _read(run: RunDirectory) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """A run's recipe and log; None where they are not such as `pixelwise train` writes: other programs have theirs."""
    recipe, entries = _recipe(run.recipe, run.recipe.stat().st_mtime_ns), read_log(run.log)
    ours = isinstance(recipe.get("model") or {}, dict) and isinstance(recipe.get("steps") or 0, int)
    return (recipe, entries) if ours and all(map(_is_entry, entries)) else None


def _is_entry(line: Any) -> bool:
    """Whether a line of a log is a step with its figures; nan and infinity cannot be sent on."""
    if not isinstance(line, dict) or not isinstance(line.get("step"), int):
        return False
    return all(isinstance(value, int | float) and -math.inf < value < math.inf for value in line.values())


@functools.lru_cache(maxsize=256)
def _recipe(path: Path, changed: int) -> dict[str, Any]:
    """A recipe as it stands, empty where it cannot be read; `changed` is its time, so that another is read anew."""
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return read if isinstance(read, dict) else {}


def _thinned(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    every = max(1, len(entries) // _POINTS)
    return [entry for i, entry in enumerate(entries) if i % every == 0 or "val_miou" in entry]


def _title(path: Path) -> str:
    with path.open("rb") as file:
        found = _TITLE.search(file.read(4096))
    return html.unescape(found[1].decode("utf-8", "replace")) if found else path.name
