"""What the command line prints of results: the classes found in photos, the figures of an evaluation."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pixelwise.batch import Outcome
from pixelwise.bootstrap import Interval, bootstrap_mean_iou
from pixelwise.errors import OutputError, PixelwiseError
from pixelwise.files import write_atomically
from pixelwise.labels import ClassShare, ClassTable
from pixelwise.metrics import mean_iou
from pixelwise.terminal import console

if TYPE_CHECKING:
    from pixelwise.evaluate import Evaluation

_ONE_BY_ONE = 12  # up to so many photos, each gets its own table of classes


def print_outcomes(outcomes: Sequence[Outcome], *, quiet: bool) -> int:
    """Print the classes found in each photo, and what failed.

    Returns:
        the exit status: 0 all done, 1 some failed, 2 nothing done.
    """
    out, err = console(), console(stderr=True)
    done = [outcome for outcome in outcomes if outcome.error is None]
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if not quiet and done:
        if len(done) <= _ONE_BY_ONE:
            for outcome in done:
                _print_outcome(out, outcome)
        else:
            out.print(_summary_table(done))
    for outcome in failed:
        err.print(f"pixelwise: {outcome.error}", soft_wrap=True)
    if failed and done:
        err.print(f"{len(failed)} of {len(outcomes)} inputs failed; the other {len(done)} are done.", soft_wrap=True)
    if not done:
        return 2
    return 1 if failed else 0


def _print_outcome(out: Console, outcome: Outcome) -> None:
    out.print(Text(outcome.job.source, style="bold"), soft_wrap=True)
    table = Table()
    table.add_column("class")
    table.add_column("share", justify="right")
    table.add_column("confidence", justify="right")
    for found in outcome.classes:
        table.add_row(_swatch(found), _percent(found.share), _percent(found.confidence or 0.0))
    out.print(table)
    for line in (*(f"note: {note}" for note in outcome.notes), *(f"-> {path}" for path in outcome.files)):
        out.print(line, soft_wrap=True)


def _summary_table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title=f"{len(outcomes)} photos", title_justify="left", title_style="bold")
    table.add_column("photo", overflow="fold")
    table.add_column("classes found", overflow="fold")
    for outcome in outcomes:
        found = ", ".join(f"{entry.name} {_percent(entry.share)}" for entry in outcome.classes)
        table.add_row(Text(outcome.job.source), Text(found))
    return table


def _swatch(found: ClassShare) -> Text:
    return Text.assemble(("██ ", "rgb({},{},{})".format(*found.colour)), found.name)


def check_request(classes: ClassTable, *, over: Sequence[str], save: Path | None) -> None:
    """See that an evaluation can be printed and saved as it is wanted, before it is made.

    Raises:
        PixelwiseError: `over` names a class that the model lacks.
        OutputError: the file to save is there already, or its directory is not.
    """
    unknown = [name for name in over if name not in classes.names]
    if unknown:
        raise PixelwiseError(f"There is no class {', '.join(unknown)}; there are: {', '.join(classes.names)}.")
    if save is not None and save.exists():
        raise OutputError(f"{save} exists already; choose another file.")
    if save is not None and not save.parent.is_dir():
        raise OutputError(f"There is no directory {save.parent} to write {save.name} to.")


def print_evaluation(evaluation: Evaluation, *, over: Sequence[str], save: Path | None) -> None:
    """Print the figures of an evaluation, and write all of them as JSON where asked.

    Raises:
        PixelwiseError: as for `check_request`.
        OutputError: as for `check_request`, or the file cannot be written.
    """
    check_request(evaluation.classes, over=over, save=save)
    names, figures = evaluation.classes.names, evaluation.scores
    out = console()
    table = Table(title=f"{figures.images} photos", title_justify="left", title_style="bold")
    for heading in ("class", "IoU", "Dice", "accuracy"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name, *values in zip(names, figures.iou, figures.dice, figures.class_accuracy, strict=True):
        table.add_row(name, *(_share(value) for value in values))
    out.print(table)
    interval = bootstrap_mean_iou(evaluation.per_image)
    lines = [f"mean IoU over the defined classes   {_share(figures.mean_iou)}   {_interval(interval)}"]
    subset: dict[str, Any] = {}
    if over:
        ids = [names.index(name) for name in over]
        value = mean_iou(evaluation.matrix, over=ids).value
        subset_interval = bootstrap_mean_iou(evaluation.per_image, over=ids)
        subset = {"classes": list(over), "mean_iou": _json_number(value), "interval": _json_interval(subset_interval)}
        lines.append(f"mean IoU over {', '.join(over)}   {_share(value)}   {_interval(subset_interval)}")
    lines += [
        f"pixel accuracy                      {_share(figures.pixel_accuracy)}",
        f"mean class accuracy                 {_share(figures.mean_class_accuracy)}",
        f"frequency-weighted IoU              {_share(figures.frequency_weighted_iou)}",
        *figures.remarks(evaluation.classes),
    ]
    out.print("\n".join(lines), soft_wrap=True)
    if save is not None:
        report = {
            **figures.to_json(),
            "classes": list(names),
            "interval": _json_interval(interval),
            "subset": subset,
        }
        write_atomically(save, (json.dumps(report, indent=2) + "\n").encode())


def _percent(share: float) -> str:
    return "<0.1 %" if 0 < share < 0.0005 else f"{share:.1%}".replace("%", " %")


def _share(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else value  # JSON has no number for nan


def _json_interval(interval: Interval) -> list[float | None]:
    return [_json_number(interval.low), _json_number(interval.high)]


def _interval(interval: Interval) -> str:
    return f"(95 % interval {_share(interval.low)} to {_share(interval.high)}, bootstrap over photos)"
