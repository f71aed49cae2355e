"""A training run's directory, in which one run at a time works, and what lies where in it.

- `recipe.yaml`: the resolved recipe
- `choices.json`: why it says what it says, where pixelwise chose
- `log.jsonl`: a line each ten steps; a pure function of recipe and data, so that two runs can be compared
- `tensorboard/`: the same and the speed, for TensorBoard
- `mlflow.id`, `wandb.id`: what the services that are logged to call the run
- `curves.png`: loss, pixel accuracy and mean IoU of training and validation so far
- `validation/`: what the network makes of the same photos as it learns
- `checkpoints/`: the last two
- `seconds.json`: how long the steps up to the last checkpoint took
- `best.safetensors`: the weights with the best validation so far
- `model/`: at the end: the best weights as a bundle
- `report.html`: at the end: all of it on a page
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pixelwise.errors import OutputError, RecipeError
from pixelwise.files import write_atomically

_LOCK = ".lock"
_NO_MATTER = re.compile(r"^workers: \d+\n", re.MULTILINE)  # in a recipe: who reads the photos
_PICTURE = re.compile(r"step-(\d+)\.jpg")
_ATTEMPTS = 10  # in half a second


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The places in a run's directory; see the head of the file."""

    root: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe; a directory that has it holds a run."""
        return self.root / "recipe.yaml"

    @property
    def choices(self) -> Path:
        """Why the recipe says what it says, where pixelwise chose."""
        return self.root / "choices.json"

    @property
    def log(self) -> Path:
        """One JSON object a line."""
        return self.root / "log.jsonl"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def curves(self) -> Path:
        """The log as a picture."""
        return self.root / "curves.png"

    @property
    def pictures(self) -> dict[int, Path]:
        """The validation pictures that are there, by their step."""
        found = sorted((self.root / "validation").glob("step-*.jpg"))
        return {int(match[1]): path for path in found if (match := _PICTURE.fullmatch(path.name))}

    def picture(self, step: int) -> Path:
        """Where the validation picture of a step belongs."""
        return self.root / "validation" / f"step-{step:08d}.jpg"

    @property
    def checkpoints(self) -> Path:
        """What `checkpoint.py` writes."""
        return self.root / "checkpoints"

    @property
    def clock(self) -> Path:
        """How long the run took so far; what a kill made it do twice counts once."""
        return self.root / "seconds.json"

    @property
    def best(self) -> Path:
        """The best weights so far, safetensors."""
        return self.root / "best.safetensors"

    @property
    def model(self) -> Path:
        """The bundle."""
        return self.root / "model"

    @property
    def report(self) -> Path:
        """The page."""
        return self.root / "report.html"

    def check(self, recipe: str, *, resume: bool) -> None:
        """See that the directory is free, or holds a run of this recipe (its YAML) that is to go on.

        The number of workers may be another: it changes nothing of what is learned, and a machine may have too little
        memory for it.
        A run that has not come to the first line of its log is none: whatever stopped it, nothing is lost.

        Raises:
            RecipeError: it holds a run and `resume` was not asked for, or a run of another recipe, or what is left of
                one that nobody knows the recipe of.
        """
        if not self.recipe.exists():
            if self.checkpoints.exists() or self.model.exists():
                raise RecipeError(
                    f"{self.root} holds a run without its {self.recipe.name}; bring that back, or give another "
                    "directory."
                )
            return
        if not (self.checkpoints.exists() or self.log.exists() or self.model.exists()):
            return
        if not resume:
            raise RecipeError(f"{self.root} holds a run already; give --resume to go on with it, or another directory.")
        if _NO_MATTER.sub("", self.recipe.read_text(encoding="utf-8")) != _NO_MATTER.sub("", recipe):
            raise RecipeError(f"{self.root} was started with another recipe than the one given; see {self.recipe}.")

    def in_use(self) -> bool:
        """Whether a training run works in it."""
        try:
            file = (self.root / _LOCK).open("rb")
        except OSError:
            return False
        with file:
            try:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back as the file is closed
            except OSError:
                return True
        return False

    def seconds(self) -> float:
        """What the clock says; 0 where there is none, as in runs of earlier versions."""
        try:
            return float(json.loads(self.clock.read_bytes())["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0

    def note_seconds(self, seconds: float) -> None:
        """Set the clock.

        Raises:
            OutputError: it cannot be written.
        """
        write_atomically(self.clock, json.dumps({"seconds": round(seconds, 1)}).encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory and hold it for this process; when the process ends, however it does, it is free again.

        A directory in which no recipe was written in the while is removed again.

        Raises:
            RecipeError: another process works in it.
            OutputError: it cannot be made.
        """
        path = self.root / _LOCK
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        except OSError as error:
            raise OutputError(f"The run directory {self.root} cannot be made: {error.strerror}.") from error
        with file:
            if not _lock(file):
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise RecipeError(f"{self.root} is in use by another training run (process {owner}).")
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                if [entry.name for entry in self.root.iterdir()] == [path.name]:
                    path.unlink()
                    self.root.rmdir()


def _lock(file: IO[str]) -> bool:
    """Whether it could be had, by a process that works in the run; `in_use` of another one holds it for a moment."""
    for _ in range(_ATTEMPTS):
        try:
            # A record lock, as forked loader workers do not inherit it: they may outlive a killed run by seconds.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a `log.jsonl`; a last line that is being written is left out."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries
