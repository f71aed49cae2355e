"""What the command line prints: tables, remarks and progress bars. Results go to standard output, the rest to error."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pixelwise.batch import Outcome
from pixelwise.bootstrap import Interval, bootstrap_mean_iou
from pixelwise.bundle import Bundle
from pixelwise.catalogue import ArchitectureFacts
from pixelwise.errors import OutputError, PixelwiseError
from pixelwise.files import write_atomically
from pixelwise.labels import ClassShare, ClassTable
from pixelwise.metrics import mean_iou

if TYPE_CHECKING:
    from pixelwise.describe import Description
    from pixelwise.evaluate import Evaluation
    from pixelwise.train import Progress

_ONE_BY_ONE = 12  # up to so many photos, each gets its own table of classes


def print_outcomes(outcomes: Sequence[Outcome], *, quiet: bool) -> int:
    """Print the classes found in each photo, and what failed.

    Returns:
        the exit status: 0 all done, 1 some failed, 2 nothing done.
    """
    out, err = _console(), _console(stderr=True)
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


def _console(*, stderr: bool = False) -> Console:
    """A console that prints file names as they are, whatever brackets and colons are in them."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


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
    console = _console()
    table = Table(title=f"{figures.images} photos", title_justify="left", title_style="bold")
    for heading in ("class", "IoU", "Dice", "accuracy"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name, *values in zip(names, figures.iou, figures.dice, figures.class_accuracy, strict=True):
        table.add_row(name, *(_share(value) for value in values))
    console.print(table)
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
    console.print("\n".join(lines), soft_wrap=True)
    if save is not None:
        report = {
            **figures.to_json(),
            "classes": list(names),
            "interval": _json_interval(interval),
            "subset": subset,
        }
        write_atomically(save, (json.dumps(report, indent=2) + "\n").encode())


def print_models(bundles: Sequence[Bundle]) -> None:
    """Print a table of models."""
    table = Table(title="Built-in models", title_justify="left", title_style="bold")
    for heading in ("name", "architecture", "classes", "measured", "directory"):
        table.add_column(heading, overflow="fold")
    for bundle in bundles:
        config = bundle.config
        measured = [f"{data}: mean IoU {_mean_iou(figures)}" for data, figures in config.metrics.items()]
        encoder = config.arguments.get("encoder")
        architecture = config.architecture + (f" on {encoder}" if encoder else "")
        table.add_row(bundle.path.name, architecture, str(len(config.classes)), "\n".join(measured), str(bundle.path))
    _console().print(table)


def print_description(description: Description) -> None:
    """Print an architecture: a row a stage, what it costs in all, and where it comes from."""
    entry, paper = description.entry, description.entry.paper
    console = _console()
    height, width = description.size
    title = f"{entry.name}, for a photo of {height} x {width} pixels"
    table = Table(
        title=title, title_justify="left", title_style="bold", show_footer=True, box=SIMPLE_HEAD, collapse_padding=True
    )
    table.add_column("stage", "total", no_wrap=True)
    table.add_column("layers")
    counted = _counted(description.parameters - description.training_only), _counted(description.multiply_adds)
    headings = ("output\n(C, H, W)", "stride", "parameters", "multiply-\nadds", "activations\nin memory")
    for heading, total in zip(headings, ("", "", *counted, _size(description.activation_bytes)), strict=True):
        table.add_column(heading, total, justify="right", no_wrap=True)
    for stage in description.stages:
        rates = [f"rate {', '.join(map(str, stage.rates))}"] if stage.rates else []
        table.add_row(
            stage.name,
            "\n".join([*stage.layers, *rates]),
            f"{stage.channels}, {stage.height}, {stage.width}",
            f"{stage.stride:g}",
            _counted(stage.parameters),
            _counted(stage.multiply_adds),
            _size(stage.activation_bytes),
        )
    console.print(table)
    seen = f"{description.receptive_field} x {description.receptive_field} pixels through windows"
    values = ", ".join(f"{key}: {value}" for key, value in description.arguments.items())
    own = {"imagenet": description.arguments.get("encoder")}  # where it is an argument, the weights are by its name
    weights = [f"{kind}: {there.library} {own.get(kind) or there.name}" for kind, there in entry.weights.items()]
    lines = {
        "encoder": description.encoder,
        "paper": f"{paper.authors}: {paper.title}, {paper.venue}, arXiv:{paper.arxiv}, {paper.figure}",
        "output stride": f"{description.output_stride}, of the coarsest map",
        "receptive field": f"{seen}{', and the whole photo through means' if description.whole_photo else ''}",
        "in training only": f"{_counted(description.training_only)} parameters, of an auxiliary head"
        if description.training_only
        else "no parameters",
        "arguments": f"num_classes: {description.num_classes}{', ' if values else ''}{values}",
        "weights": "; ".join(weights) or "none",
    }
    for heading, text in lines.items():
        console.print(f"{heading:18}{text}", soft_wrap=True)


def print_architectures(architectures: Sequence[ArchitectureFacts]) -> None:
    """Print what can be built, a table for each family under its paper; 80 columns are enough."""
    out = _console()
    longest = max(len(facts.name) for facts in architectures)
    for (family, paper), members in itertools.groupby(
        sorted(architectures, key=lambda facts: (facts.family, facts.paper, facts.name)),
        key=lambda facts: (facts.family, facts.paper),
    ):
        out.print(Text.assemble((family, "bold"), f": {paper}"), soft_wrap=True)
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
        table.add_column("name", min_width=longest, no_wrap=True)
        table.add_column("encoder", min_width=17, no_wrap=True)
        for heading, width in (("params", 7), ("MACs", 7), ("stride", 6)):
            table.add_column(heading, justify="right", min_width=width, no_wrap=True)
        table.add_column("pretrained", no_wrap=True)
        for facts in members:
            size, work = f"{facts.parameters / 1e6:.1f} M", f"{facts.multiply_adds / 1e9:.1f} G"
            pretrained = "\n".join(facts.weights) or "none"
            table.add_row(facts.name, facts.encoder, size, work, str(facts.output_stride), pretrained)
        out.print(table)
        out.print()
    licences = sorted({f"{w.licence} ({w.library})" for facts in architectures for w in facts.weights.values()})
    out.print(
        "params: with 21 classes. MACs: multiply-adds of the convolutions for a photo of\n"
        "512 x 512. stride: of the coarsest feature map. imagenet: weights of the encoder,\n"
        "to train from. coco_voc: of the whole network, by torchvision; it segments as it\n"
        "is: pixelwise segment PHOTO --model NAME. More of one: pixelwise describe NAME.\n"
        f"Licences: code Apache-2.0; pretrained weights {', '.join(licences)}.",
        soft_wrap=True,
    )


@contextmanager
def counting_progress(total: int, what: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error with time left; gives the function that advances it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(what), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda share: bar.advance(task, share)


@contextmanager
def training_progress(steps: int) -> Iterator[Callable[[Progress], None]]:
    """A progress bar on standard error with loss, validation score, speed and time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("reading the data", total=steps)

        def report(progress: Progress) -> None:
            best = "" if progress.best is None else f"  best mIoU {progress.best:.3f}"
            text = f"loss {progress.loss:.3f}{best}  {progress.images_per_second:.1f} images/s"
            bar.update(task, completed=progress.step, description=text)
            if progress.val is not None:
                bar.console.print(f"step {progress.step}: loss {progress.loss:.3f}, val mIoU {progress.val:.4f}")

        yield report


def _counted(number: int) -> str:
    """To four figures, with the SI prefix: 29.46 M."""
    if number == 0:
        return ""
    power = int(f"{number:.3e}".split("e")[1]) // 3  # of a thousand, after rounding
    return f"{number / 1000**power:.4g} {('', 'k', 'M', 'G', 'T', 'P')[power]}".strip()


def _size(memory: int) -> str:
    """Bytes in a binary unit."""
    if memory == 0:
        return ""
    return f"{memory / 2**20:.1f} MiB" if memory < 2**30 else f"{memory / 2**30:.1f} GiB"


def _percent(share: float) -> str:
    return "<0.1 %" if 0 < share < 0.0005 else f"{share:.1%}".replace("%", " %")


def _share(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def _mean_iou(figures: Any) -> str:
    value = figures.get("mean IoU") if isinstance(figures, dict) else None
    return "not measured" if value is None else f"{value:.3f}"


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else value  # JSON has no number for nan


def _json_interval(interval: Interval) -> list[float | None]:
    return [_json_number(interval.low), _json_number(interval.high)]


def _interval(interval: Interval) -> str:
    return f"(95 % interval {_share(interval.low)} to {_share(interval.high)}, bootstrap over photos)"
