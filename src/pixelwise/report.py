"""What the command line prints of results: the classes found in photos, the figures of an evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pixelwise.batch import Outcome
from pixelwise.bootstrap import Interval
from pixelwise.errors import OutputError, PixelwiseError
from pixelwise.figures import (
    FEW_PHOTOS,
    OVERALL,
    PER_CLASS,
    Figures,
    milliseconds,
    overall_keys,
    percent,
    photos,
    rounded,
)
from pixelwise.files import check_writable, is_there
from pixelwise.labels import ClassShare, ClassTable
from pixelwise.terminal import console, print_failures

if TYPE_CHECKING:
    from pixelwise.compare import Comparison
    from pixelwise.cost import Cost
    from pixelwise.evaluate import Evaluation

_PAIRS_SHOWN = 6  # up to so many, every two models get a sentence
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
            for note, count in Counter(note for outcome in done for note in outcome.notes).items():
                out.print(f"note: {note} ({count} of {len(done)} photos)", soft_wrap=True)
        if before := sum(outcome.before for outcome in done):
            out.print(f"{before} of {len(outcomes)} had been done before.")
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
        table.add_row(_swatch(found), percent(found.share), percent(found.confidence or 0.0))
    out.print(table)
    for line in (*(f"note: {note}" for note in outcome.notes), *(f"-> {path}" for path in outcome.files)):
        out.print(line, soft_wrap=True)


def _summary_table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title=f"{len(outcomes)} photos", title_justify="left", title_style="bold")
    table.add_column("photo", overflow="fold")
    table.add_column("classes found", overflow="fold")
    for outcome in outcomes:
        found = ", ".join(f"{entry.name} {percent(entry.share)}" for entry in outcome.classes)
        table.add_row(Text(outcome.job.source), Text(found))
    return table


def _swatch(found: ClassShare) -> Text:
    return Text.assemble(("██ ", "rgb({},{},{})".format(*found.colour)), found.name)


def check_request(classes: ClassTable, *, over: Sequence[str], files: Sequence[Path]) -> None:
    """See that an evaluation can be printed and saved as it is wanted, before it is made.

    Args:
        classes: of the dataset.
        over: names of some of them.
        files: what is to be written.

    Raises:
        PixelwiseError: `over` names a class that the dataset lacks.
        OutputError: as `check_files` says.
    """
    unknown = [name for name in over if name not in classes.names]
    if unknown:
        raise PixelwiseError(f"There is no class {', '.join(unknown)}; there are: {', '.join(classes.names)}.")
    check_files(files)


def check_files(files: Sequence[Path]) -> None:
    """See that files can be written before the work begins.

    Raises:
        OutputError: one is there already, its directory is not or cannot be written to, or two of them are the same.
    """
    for file in files:
        if is_there(file):
            raise OutputError(f"{file} exists already; choose another file.")
        if not file.parent.is_dir():
            raise OutputError(f"There is no directory {file.parent} to write {file.name} to.")
        check_writable(file.parent)
        if files.count(file) > 1:
            raise OutputError(f"{file} is to be written twice; give each its own name.")


def print_evaluation(evaluation: Evaluation, figures: Figures, *, subset: Mapping[str, Interval]) -> None:
    """Print the figures of an evaluation, each with its interval.

    Args:
        evaluation: what was counted.
        figures: of it.
        subset: further means over some of the classes, by what to call them.
    """
    out, err = console(), console(stderr=True)
    table = Table(title=photos(len(evaluation.ids)), title_justify="left", title_style="bold")
    for heading in ("class", *(name for name, _ in PER_CLASS.values())):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for i, name in enumerate(evaluation.classes.names):
        table.add_row(name, *(rounded(values[i].estimate) for values in figures.per_class.values()))
    out.print(table)
    shown = overall_keys(evaluation.classes)
    means = {OVERALL[key][0]: figures.overall[key] for key in shown} | dict(subset)
    widest = max(map(len, means))
    lines = [f"{name:{widest}}   {rounded(value.estimate)}   {_interval(value)}" for name, value in means.items()]
    several, few = len(evaluation.ids) > 1, len(evaluation.ids) < FEW_PHOTOS
    lines.append(
        f"Intervals: 95 %, bootstrap over photos{', too narrow as these are few' if few else ''}."
        if several
        else "One photo says nothing of others: no intervals."
    )
    lines += evaluation.scores.remarks(evaluation.classes)
    out.print("\n".join(lines), soft_wrap=True)
    print_failures(err, evaluation.failed, len(evaluation.ids), "measured and are in no figure")


def print_comparison(comparison: Comparison, costs: Sequence[Cost]) -> None:
    """Print how models stand, and what can be said of every two of them.

    Args:
        comparison: what came of it.
        costs: of each contender.
    """
    from pixelwise.cost import engines

    out, err = console(), console(stderr=True)
    failed, measured = comparison.evaluations[0].failed, len(comparison.evaluations[0].ids)
    # Without lines between the columns there is room for a model's name, which may be long.
    table = Table(
        title=photos(measured),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("model", overflow="fold")
    for heading in ("mean IoU", "95 % interval", "ms", "memory", "params", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for standing in comparison.standings:
        accuracy, cost = standing.figures.overall["mean_iou"], costs[standing.members[0]]
        table.add_row(
            Text(standing.name),
            rounded(accuracy.estimate),
            str(accuracy),
            milliseconds(cost.latency.median),
            "" if cost.peak_memory is None else f"{cost.peak_memory / 1e6:.0f} MB",
            f"{cost.parameters / 1e6:.1f} M",
            "" if cost.multiply_adds is None else f"{cost.multiply_adds / 1e9:.1f} G",
        )
    out.print(table)
    computed = engines(comparison.names, costs)
    out.print(
        f"ms: a photo's pixels to its mask, median, {computed}. memory: of a process that does it.", soft_wrap=True
    )
    shown = comparison.verdicts() if len(comparison.pairs) <= _PAIRS_SHOWN else comparison.verdicts_of_best()
    out.print("\n".join(shown), soft_wrap=True)
    if len(shown) < len(comparison.pairs):
        out.print(f"The other {len(comparison.pairs) - len(shown)} pairs: --html or --save.")
    out.print(comparison.scope(), soft_wrap=True)
    print_failures(err, failed, measured, "measured and are in no figure")


def _interval(interval: Interval) -> str:
    return f"({interval})" if interval.is_known else ""
