"""From what the command line says to the recipe of a run: read from a file, chosen from the data, or gone on with."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pixelwise.configure import Choice, Machine, configure
from pixelwise.data import recognise, training_splits
from pixelwise.data.loader import class_pixels
from pixelwise.errors import RecipeError
from pixelwise.files import write_atomically
from pixelwise.fingerprint import fingerprint
from pixelwise.recipe import Recipe, Source, apply_overrides, load_recipe, parse_recipe, parse_values
from pixelwise.run_directory import RunDirectory
from pixelwise.run_state import common_classes, open_sets
from pixelwise.watcher import Watcher


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be trained.

    Attributes:
        recipe: complete.
        choices: what pixelwise chose in it, and why; empty where the recipe came from a file.
    """

    recipe: Recipe
    choices: tuple[Choice, ...] = ()

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """The recipe as a temporary YAML file, its reasons beside it, for other processes."""
        with tempfile.TemporaryDirectory(prefix="pixelwise-") as directory:
            self.write(RunDirectory(Path(directory)))
            yield RunDirectory(Path(directory)).recipe

    def write(self, run: RunDirectory) -> None:
        """Write the recipe, and the reasons beside it."""
        write_atomically(run.recipe, self.recipe.to_yaml().encode())
        if self.choices:
            text = json.dumps([asdict(choice) for choice in self.choices], indent=2)
            write_atomically(run.choices, text.encode())


def plan_from_file(path: Path, overrides: Sequence[str] = ()) -> Plan:
    """A recipe, with the reasons for it where they lie beside it, as in a run's directory.

    Args:
        path: the recipe, YAML.
        overrides: `key.subkey=value` each.

    Raises:
        RecipeError: it cannot be read, or does not validate.
    """
    recipe = load_recipe(path, overrides)
    reasons = RunDirectory(path.parent).choices
    if path.name != RunDirectory(path.parent).recipe.name or not reasons.is_file():
        return Plan(recipe)
    try:
        choices = [Choice(**entry) for entry in json.loads(reasons.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{reasons} is damaged ({error}); remove it.") from error
    values = parse_values(overrides)
    kept = [choice for choice in choices if choice.key not in values]
    return Plan(recipe, (*kept, *(Choice(key, value, "as given") for key, value in values.items())))


def plan_from_data(
    data: Path,
    *,
    model: str,
    layout: str = "auto",
    options: Sequence[str] = (),
    overrides: Sequence[str] = (),
    epochs: float | None = None,
    processes: int = 1,
    watcher: Watcher | None = None,
) -> Plan:
    """Look at a dataset and choose everything that is not given.

    Args:
        data: the dataset's directory.
        model: an architecture.
        layout: how it lies on disk; "auto" recognises it.
        options: the layout's, `key=value` each.
        overrides: of the recipe, `key.subkey=value` each.
        epochs: how often each photo is seen, instead of the schedule's own length.
        processes: training processes on this machine.
        watcher: told what takes long.

    Raises:
        DataError: the data are missing, damaged or not understood.
        RecipeError: an override does not fit.
    """
    watcher = watcher or Watcher()
    layout = recognise(data) if layout == "auto" else layout
    given = parse_values(options)
    root = data.resolve()
    sources = [
        Source(layout=layout, root=str(root), split=split, options=given) for split in training_splits(layout, root)
    ]
    train_sets, val_sets = (open_sets([source], root) for source in sources)
    common_classes([*train_sets, *val_sets])
    watcher.stage("reading the masks", sum(map(len, train_sets)))
    pixels = class_pixels(train_sets, advance=watcher.advance)
    watcher.stage("looking at photos", 0)
    found = fingerprint(train_sets, val_sets, pixels)
    values = parse_values(overrides)
    raw, choices = configure(
        found,
        name=f"{root.name}-{model}",
        data={"train": [sources[0].model_dump()], "val": [sources[1].model_dump()], "colours": "display"},
        machine=Machine.here(processes=processes),
        model=model,
        model_arguments=values.get("model.arguments"),
    )
    if epochs is not None:
        overrides = [*_schedule_for(epochs, found.photos, raw, values), *overrides]
        values = parse_values(overrides)
    apply_overrides(raw, overrides)
    kept = [choice for choice in choices if choice.key not in values]
    kept += [Choice(key, value, "as given") for key, value in values.items()]
    return Plan(parse_recipe(raw, name=f"chosen for {data}"), tuple(kept))


def _schedule_for(epochs: float, photos: int, raw: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """The steps that make so many epochs, validated six times."""
    if epochs <= 0:
        raise RecipeError(f"--epochs takes a number above 0, not {epochs:g}.")
    steps = max(1, round(epochs * photos / int(values.get("batch_size", raw["batch_size"]))))
    each = max(1, round(steps / 6))
    return [
        f"steps={steps}",
        f"validate_every={each}",
        f"checkpoint_every={max(1, min(100, each // 2))}",
        f"optimizer.warmup_steps={min(raw['optimizer']['warmup_steps'], steps // 15)}",
    ]
