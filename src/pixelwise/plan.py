"""From what the command line says to the recipe of a run: read from a file, chosen from the data, or gone on with."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.configure import USUAL_MODEL, Choice, Machine, configure, steps_of
from pixelwise.data import recognise, training_splits
from pixelwise.data.folder import describe_folder, ensure_description
from pixelwise.data_check import check_data, common_classes, open_sets
from pixelwise.errors import RecipeError
from pixelwise.files import write_atomically
from pixelwise.fingerprint import SAMPLED_PHOTOS, fingerprint
from pixelwise.recipe import Recipe, Source, apply_overrides, load_recipe, parse_recipe
from pixelwise.run_directory import RunDirectory
from pixelwise.settings import parse_values, shown
from pixelwise.watcher import Watcher


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be trained.

    Attributes:
        recipe: complete.
        choices: what pixelwise chose in it, and why; empty where the recipe came from a file.
        pixels: what `check_data` gave, where the data were checked for the choices.
    """

    recipe: Recipe
    choices: tuple[Choice, ...] = ()
    pixels: Sequence[NDArray[np.int64]] | None = field(default=None, compare=False, repr=False)

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
        else:
            run.choices.unlink(missing_ok=True)  # of a run that was not begun


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
    return Plan(recipe, _with_given(choices, parse_values(overrides)))


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line: a recipe or data, and what is to be as given.

    Attributes:
        recipe: a YAML file, that of the run where it is to go on and neither this nor data are given; or
        data: a dataset's directory, and with it
        model: an architecture; None for the usual one.
        layout: how the data lie on disk; "auto", as None, recognises it.
        options: the layout's, `key=value` each.
        overrides: of the recipe, `key.subkey=value` each.
        epochs: how often each photo is seen, instead of a schedule chosen by their number.
        run: the run's directory; None for `runs/NAME`.
        resume: whether a run is to go on; its recipe is taken as it is then.
        only_look: write nothing beside the data, not even how they were understood.
    """

    recipe: Path | None
    data: Path | None
    model: str | None = None
    layout: str | None = None
    options: Sequence[str] = ()
    overrides: Sequence[str] = ()
    epochs: float | None = None
    run: Path | None = None
    resume: bool = False
    only_look: bool = False


def make(request: Request, *, processes: int, watcher: Watcher) -> tuple[Plan, Path]:
    """The plan of a run, and its directory.

    Args:
        request: what was asked for.
        processes: training processes on this machine.
        watcher: told what takes long, and what was found.

    Raises:
        RecipeError: the recipe, or an override, does not fit.
        DataError: the data are missing, damaged or not understood.
    """
    if request.epochs is not None and not 0 < request.epochs < math.inf:
        raise RecipeError(f"--epochs takes a number above 0, not {request.epochs:g}.")
    if request.recipe is None and request.data is None and request.resume and request.run is not None:
        request = replace(request, recipe=RunDirectory(request.run).recipe)
    if request.recipe is not None and request.data is None:
        _check_recipe_alone(request)
        plan = plan_from_file(request.recipe, request.overrides)
        return plan, request.run or Path("runs") / plan.recipe.name
    if request.recipe is not None or request.data is None:
        raise RecipeError("Give either a recipe or --data DIR; see `pixelwise train --help`.")
    model, name = _architecture(request), _overridden(request).get("name")
    run = request.run or Path("runs") / (name if isinstance(name, str) else f"{request.data.resolve().name}-{model}")
    if request.resume and RunDirectory(run).recipe.is_file():
        plan = plan_from_file(RunDirectory(run).recipe, request.overrides)
        _check_same(request, plan.recipe, run)
        return plan, run
    if not (request.resume or request.only_look):
        RunDirectory(run).check("", resume=False)  # now rather than after a look at all masks
    return plan_from_data(request.data, request, processes=processes, watcher=watcher), run


def _architecture(request: Request) -> str:
    """The architecture that --model or --set asks for; the usual one where neither does.

    Raises:
        RecipeError: both do, and differ.
    """
    part = _overridden(request).get("model")
    name = part.get("name") if isinstance(part, dict) else None
    if not isinstance(name, str):  # what is none, the recipe refuses
        return request.model or USUAL_MODEL
    if request.model not in (None, name):
        raise RecipeError(f"--model asks for {request.model}, and --set for {name}; leave one of them out.")
    return name


def _overridden(request: Request) -> dict[str, Any]:
    """What --set gives of a recipe, plain data."""
    raw: dict[str, Any] = {}
    apply_overrides(raw, request.overrides)
    return raw


def _check_recipe_alone(request: Request) -> None:
    """See that nothing is asked for that a recipe would not heed.

    Raises:
        RecipeError: something is.
    """
    values = {
        "--model": request.model,
        "--layout": request.layout,
        "--option": request.options or None,
        "--epochs": request.epochs,
    }
    asked = [option for option, value in values.items() if value is not None]
    if asked:
        raise RecipeError(f"{asked[0]} goes with --data; what a recipe says is changed by --set, or in the recipe.")


def _check_same(request: Request, recipe: Recipe, run: Path) -> None:
    """See that nothing else is asked for than what a run that is to go on was started with.

    Raises:
        RecipeError: something is.
    """
    assert request.data is not None
    source = recipe.data.train[0]
    steps = None
    if request.epochs is not None and "steps" not in parse_values(request.overrides):
        photos = sum(map(len, open_sets(recipe.data.train, Path())))
        steps = steps_of(request.epochs, photos, recipe.batch_size)
    pairs = {
        "--data": (str(request.data.resolve()), source.root),
        "--model": (request.model, recipe.model.name),
        "--layout": (None if request.layout == "auto" else request.layout, source.layout),
        "--option": (parse_values(request.options) or None, source.options),
        "--epochs, as steps,": (steps, recipe.steps),
    }
    for option, (now, then) in pairs.items():
        if now is not None and now != then:
            raise RecipeError(
                f"{run} was started with {option} {shown(then)}, not {shown(now)}; leave it out to go on, or "
                "give another --run."
            )


def plan_from_data(data: Path, request: Request, *, processes: int, watcher: Watcher) -> Plan:
    """Look at a dataset and choose everything that is not given.

    Args:
        data: the dataset's directory.
        request: the rest.
        processes: training processes on this machine.
        watcher: told what takes long, and what was found.

    Raises:
        DataError: the data are missing, damaged or not understood.
        RecipeError: an override does not fit, or --model and --set ask for different architectures.
    """
    model, values = _architecture(request), parse_values(request.overrides)
    layout = recognise(data) if request.layout in (None, "auto") else request.layout
    given = parse_values(request.options)
    root = data.resolve()
    if layout == "folder":
        _described(root, watcher, write=not request.only_look)
    sources = [
        Source(layout=layout, root=str(root), split=split, options=given) for split in training_splits(layout, root)
    ]
    train_sets, val_sets = (open_sets([source], root) for source in sources)
    if layout != "folder" and (finding := getattr(train_sets[0], "finding", "")):
        watcher.say(finding)
    common_classes([*train_sets, *val_sets])
    pixels = check_data(train_sets, val_sets, watcher, root=data)
    watcher.stage("looking at photos", SAMPLED_PHOTOS)
    found = fingerprint(train_sets, val_sets, pixels, advance=watcher.advance)
    chosen, choices = configure(
        found,
        name=f"{root.name}-{model}",
        data={"train": [sources[0].model_dump()], "val": [sources[1].model_dump()], "colours": "display"},
        machine=Machine.here(processes=processes),
        model=model,
        given=_overridden(request),
        epochs=request.epochs,
    )
    apply_overrides(chosen, request.overrides)
    return Plan(parse_recipe(chosen, name=f"chosen for {data}"), _with_given(choices, values), pixels)


def _with_given(choices: Sequence[Choice], values: Mapping[str, Any]) -> tuple[Choice, ...]:
    """The choices that no override touches, and the overrides."""

    def touched(key: str) -> bool:
        return any(f"{key}.".startswith(f"{given}.") or f"{given}.".startswith(f"{key}.") for given in values)

    kept = [choice for choice in choices if not touched(choice.key)]
    return (*kept, *(Choice(key, value, "as given") for key, value in values.items()))


def _described(root: Path, watcher: Watcher, *, write: bool) -> None:
    """Say how a folder was understood, and write it down where it is not yet."""
    description, written = ensure_description(root) if write else (describe_folder(root), False)
    watcher.say(description.finding)
    if written:
        watcher.say(f"Written to {root / 'dataset.yaml'}; edit it where that is wrong.")
