"""The command that brings a model into another form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelwise.cli_options import NumberRange, load_bundle, load_dataset, parse_map
from pixelwise.errors import PixelwiseError
from pixelwise.terminal import training_progress

if TYPE_CHECKING:
    from pixelwise.deployment import Exported, Form, Numbers

_EXAMPLES = """\b
Examples:
  pixelwise export runs/mine/model --precision int8 --data photos/
  pixelwise export default --precision int8 --data VOC2012 --out fast
  pixelwise export runs/mine/model --precision fp16
  pixelwise export runs/mine/model --to onnx --out mine.onnx
  pixelwise segment photo.jpg --model fast
"""
_SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt"}


@click.command(epilog=_EXAMPLES)
@click.argument("model")
@click.option(
    "--to",
    "form",
    type=click.Choice(["openvino", "onnx", "torchscript"]),
    default="openvino",
    help="openvino: a model for pixelwise; the others: one file for other programs.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16", "int8"]),
    default="fp32",
    help="fp16: half the size; bf16: computed so where the processor can; int8: smallest, and needs --data.",
)
@click.option("--data", type=click.Path(path_type=Path), help="A dataset's directory, to measure what is lost on.")
@click.option("--split", default="val", help="The split to measure on.")
@click.option("--calibrate-on", default="train", help="The split that the ranges of 8-bit values come from.")
@click.option("--layout", default="auto", help="How the dataset lies on disk; auto recognises it.")
@click.option("--option", "options", metavar="KEY=VALUE", multiple=True, help="Of the layout; repeatable.")
@click.option(
    "--map", "maps", metavar="CLASS=CLASS", multiple=True, help="What a class of the model counts as; repeatable."
)
@click.option("--max-drop", type=NumberRange(0, 100), default=0.3, help="Points of mean IoU that may be lost.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to; the model's name and precision by default.")
@click.option("--force", is_flag=True, help="Replace what is there.")
def export(
    model: str,
    form: Form,
    precision: Numbers,
    data: Path | None,
    split: str,
    calibrate_on: str,
    layout: str,
    options: tuple[str, ...],
    maps: tuple[str, ...],
    max_drop: float,
    out: Path | None,
    force: bool,
) -> None:
    """Make a model faster or smaller, or a file for other programs.

    MODEL is a name from `pixelwise models`, or a model's directory. What was exported to OpenVINO is a model like any
    other, with its own mean IoU, time and size beside the original's. Where more than --max-drop is lost, layers of an
    int8 go back to float until it is not; where that does not help, nothing is written. int8 needs
    `pip install 'pixelwise[export]'`.
    """
    from pixelwise.deployment import FORMS, to_file, to_openvino

    if precision not in FORMS[form]:
        raise PixelwiseError(f"--to {form} takes --precision {' or '.join(FORMS[form])}; {precision} goes to openvino.")
    bundle = load_bundle(model)
    name = Path(bundle.config.name).name  # a model may call itself anything, and is not to choose the directory
    usual = f"{name}{_SUFFIXES[form]}" if form in _SUFFIXES else f"{name}-{precision}"
    target = out or Path(usual)
    if form != "openvino":
        print(f"-> {to_file(bundle, target, form, force=force)}")
        return
    validation = calibration = None
    if data is not None:
        validation = load_dataset(data, split, layout, options)
        calibration = load_dataset(data, calibrate_on, layout, options) if precision == "int8" else None
    with training_progress() as watcher:
        done = to_openvino(
            bundle,
            target,
            precision=precision,
            validation=validation,
            calibration=calibration,
            data=data.resolve().name if data else "",
            mapping=parse_map(maps),
            max_drop=max_drop / 100,
            force=force,
            watcher=watcher,
        )
    _print(done)


def _print(done: Exported) -> None:
    from rich.table import Table

    from pixelwise.terminal import console

    out, table = console(), Table()
    table.add_column("")
    before, after = done.before.to_json(), done.after.to_json()
    for heading in before:
        table.add_column(heading, justify="right")
    for name, row in (("before", before), ("after", after)):
        table.add_row(name, *(f"{value:.4f}" if key == "mean IoU" else str(value) for key, value in row.items()))
    out.print(table)
    if done.bundle.config.precision == "int8":
        out.print("{} of {} layers are in 8-bit integers.".format(*done.integer))
    out.print(f"-> {done.bundle.path}")
