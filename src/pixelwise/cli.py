"""The command line: parse, call, print. What is heavy to import is imported inside the command that needs it."""

from __future__ import annotations

import io
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pixelwise.errors import PixelwiseError

if TYPE_CHECKING:
    from pixelwise.segmenter import Size

app = typer.Typer(
    help="Every pixel of a photo labelled by a CNN.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_LARGEST_SIZE = 65535


class _Engine(StrEnum):
    auto = "auto"
    onnxruntime = "onnxruntime"
    openvino = "openvino"


class _Precision(StrEnum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


ModelOption = Annotated[str, typer.Option(help="A name from `pixelwise models`, or a model's directory.")]
EngineOption = Annotated[_Engine, typer.Option(help="What computes: auto goes by the number of photos.")]
PrecisionOption = Annotated[_Precision, typer.Option(help="auto: what the engine finds best on this processor.")]
SizeOption = Annotated[
    str,
    typer.Option(help="Longer side at which the network sees photos: pixels, `native`, or `auto` for the model's own."),
]
FlipOption = Annotated[bool, typer.Option("--flip", help="Average with the mirrored photo; twice the time.")]


def main() -> None:
    """Run the command line; every error that pixelwise raises on purpose is one sentence and exit status 2."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name, or a terminal, that knows no UTF-8 is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except PixelwiseError as error:
        print(f"pixelwise: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("pixelwise: interrupted.", file=sys.stderr)
        sys.exit(130)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        from pixelwise import __version__

        print(f"pixelwise {__version__}")
        raise typer.Exit


@app.command()
def segment(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders, glob patterns, or - for standard input.")],
    model: ModelOption = "default",
    out: Annotated[Path, typer.Option(help="Where results go.")] = Path("segmented"),
    save: Annotated[str, typer.Option(help="Some of mask,overlay,panel,json.")] = "mask,overlay",
    opacity: Annotated[float, typer.Option(min=0, max=1, help="Of the colours in overlay and panel.")] = 0.55,
    size: SizeOption = "auto",
    flip: FlipOption = False,
    engine: EngineOption = _Engine.auto,
    precision: PrecisionOption = _Precision.auto,
    force: Annotated[bool, typer.Option("--force", help="Overwrite results that are there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Label every pixel of photos.

    Writes STEM_mask.png (class ids with a palette), STEM_overlay.jpg, STEM_panel.jpg (photo, mask and overlay side by
    side) and STEM.json. Exit status: 0 all done, 1 some photos failed, 2 nothing done.

    Examples:
      pixelwise segment photo.jpg

      pixelwise segment holiday/ --save mask,overlay,panel,json --out results

      cat photo.jpg | pixelwise segment -
    """
    from pixelwise.api import load
    from pixelwise.batch import plan, run
    from pixelwise.report import print_outcomes
    from pixelwise.segmentation import SAVEABLE

    what = [kind.strip() for kind in save.split(",") if kind.strip()]
    unknown = [kind for kind in what if kind not in SAVEABLE]
    if unknown or not what:
        raise PixelwiseError(f"--save takes some of {','.join(SAVEABLE)}, not {save!r}.")
    if math.isnan(opacity):
        raise PixelwiseError("--opacity takes a number from 0 to 1, not nan.")
    jobs, outcomes = plan(photos, out=out)
    if jobs:
        segmenter = load(
            model, engine=engine.value, precision=precision.value, photos=len(jobs), size=_size(size), flip=flip
        )
        long = len(jobs) > 1 or size != "auto"  # a single photo in many tiles takes minutes too
        with _progress(len(jobs), "photos", shown=long and not quiet) as advance:
            results = run(segmenter, jobs, out=out, what=what, opacity=opacity, force=force, advance=advance)
            outcomes.extend(results)
    raise typer.Exit(print_outcomes(outcomes, quiet=quiet))


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A name from `pixelwise models`, or a model's directory.")],
    data: Annotated[Path, typer.Option(help="The dataset's directory.")],
    split: Annotated[str, typer.Option(help="The split to measure on.")] = "val",
    layout: Annotated[str, typer.Option(help="How the dataset lies on disk; auto recognises it.")] = "auto",
    over: Annotated[str, typer.Option(help="Also the mean IoU over these classes, separated by commas.")] = "",
    save: Annotated[Path | None, typer.Option(help="Write every figure to this JSON file.")] = None,
    size: SizeOption = "auto",
    flip: FlipOption = False,
    engine: EngineOption = _Engine.openvino,
    precision: PrecisionOption = _Precision.auto,
) -> None:
    """Measure a model against ground truth, at the photos' own size.

    Examples:
      pixelwise evaluate default --data VOC2012 --split val

      pixelwise evaluate runs/mine/model --data VOC2012 --over background,person,cat --save figures.json
    """
    from pixelwise.api import load
    from pixelwise.data import open_dataset, recognise
    from pixelwise.evaluate import evaluate as measure
    from pixelwise.report import check_request, print_evaluation

    dataset = open_dataset(recognise(data) if layout == "auto" else layout, data, split)
    segmenter = load(model, engine=engine.value, precision=precision.value, size=_size(size), flip=flip)
    subset = list(dict.fromkeys(name.strip() for name in over.split(",") if name.strip()))
    check_request(segmenter.classes, over=subset, save=save)  # now rather than after an hour
    with _progress(len(dataset), "photos", shown=True) as advance:
        evaluation = measure(segmenter, [dataset], advance=advance)
    print_evaluation(evaluation, over=subset, save=save)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe.")],
    data_root: Annotated[Path, typer.Option(help="What the recipe's dataset directories are relative to.")] = Path(),
    run: Annotated[Path | None, typer.Option(help="The run's directory; runs/NAME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe's value; repeatable.")
    ] = None,
) -> None:
    """Train a model from a recipe; needs `pip install pixelwise[train]`.

    Examples:
      pixelwise train recipes/default.yaml --data-root datasets

      pixelwise train recipes/default.yaml --data-root datasets --resume

      pixelwise train recipes/default.yaml --set steps=200 --set batch_size=8 --run runs/try
    """
    try:
        from pixelwise.recipe import load_recipe
        from pixelwise.train import train as train_model
    except ModuleNotFoundError as error:
        raise PixelwiseError(
            f"Training needs {error.name}, which is not installed; `pip install pixelwise[train]` brings it."
        ) from error
    from pixelwise.report import training_progress

    loaded = load_recipe(recipe, set_ or [])
    target = run or Path("runs") / loaded.name
    with training_progress(loaded.steps) as report:
        bundle = train_model(loaded, data_root=data_root, run=target, resume=resume, report=report)
    print(f"The best model is in {bundle}; try: pixelwise segment PHOTO --model {bundle}")


@app.command()
def models() -> None:
    """List the built-in models, with what was measured of them."""
    from pixelwise.catalogue import find_model, model_names
    from pixelwise.report import print_models

    print_models([find_model(name) for name in model_names()])


def _size(text: str) -> Size:
    if text in ("auto", "native"):
        return None if text == "auto" else "native"
    size = int(text) if text.isdecimal() and len(text) <= 5 else 0
    if not 32 <= size <= _LARGEST_SIZE:
        raise PixelwiseError(
            f"--size takes a number of pixels from 32 to {_LARGEST_SIZE}, `native` or `auto`, not {text[:40]!r}."
        )
    return size


@contextmanager
def _progress(total: int, what: str, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error, where that is a terminal; gives the function that advances it."""
    if not shown or not sys.stderr.isatty():
        yield lambda share: None
        return
    from pixelwise.report import counting_progress

    with counting_progress(total, what) as advance:
        yield advance
