"""The command line: parse, call, print. What is heavy to import is imported inside the command that needs it."""

from __future__ import annotations

import io
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pixelwise import __version__
from pixelwise.errors import PixelwiseError

if TYPE_CHECKING:
    from pixelwise.engine import EngineName, Precision
    from pixelwise.segmenter import Segmenter, Size

_LARGEST_SIZE = 65535

_size = click.option(
    "--size",
    default="auto",
    help="Longer side at which the network sees photos: pixels, `native`, or `auto` for the model's own.",
)
_flip = click.option("--flip", is_flag=True, help="Average with the mirrored photo; twice the time.")
_precision = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    help="auto: what the engine finds best on this processor.",
)


def _engine(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--engine",
        type=click.Choice(["auto", "onnxruntime", "openvino"]),
        default=default,
        help="What computes: auto goes by the number of photos.",
    )


def main() -> None:
    """Run the command line; every error that pixelwise raises on purpose is one sentence and exit status 2."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name, or a terminal, that knows no UTF-8 is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(app(prog_name="pixelwise", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except PixelwiseError as error:
        print(f"pixelwise: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        print("pixelwise: interrupted.", file=sys.stderr)
        sys.exit(130)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, message="%(prog)s %(version)s")
def app() -> None:
    """Every pixel of a photo labelled by a CNN."""


_SEGMENT_EXAMPLES = """\b
Examples:
  pixelwise segment photo.jpg
  pixelwise segment holiday/ --save mask,overlay,panel,json --out results
  pixelwise segment photo.jpg --model deeplabv3_resnet50
  cat photo.jpg | pixelwise segment -
"""


@app.command(epilog=_SEGMENT_EXAMPLES)
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option("--model", default="default", help="A name from `pixelwise models`, or a model's directory.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("segmented"), help="Where results go.")
@click.option("--save", default="mask,overlay", help="Some of mask,overlay,panel,json.")
@click.option("--opacity", type=click.FloatRange(0, 1), default=0.55, help="Of the colours in overlay and panel.")
@_size
@_flip
@_engine("auto")
@_precision
@click.option("--force", is_flag=True, help="Overwrite results that are there.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def segment(
    photos: tuple[str, ...],
    model: str,
    out: Path,
    save: str,
    opacity: float,
    size: str,
    flip: bool,
    engine: EngineName,
    precision: Precision,
    force: bool,
    quiet: bool,
) -> int:
    """Label every pixel of photos.

    PHOTO is a file, a folder, a glob pattern, or - for standard input. Writes STEM_mask.png (class ids with a palette),
    STEM_overlay.jpg, STEM_panel.jpg (photo, mask and overlay side by side) and STEM.json. Exit status: 0 all done, 1
    some photos failed, 2 nothing done.
    """
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
        segmenter = _load(
            model, engine=engine, precision=precision, photos=len(jobs), size=_parse_size(size), flip=flip
        )
        long = len(jobs) > 1 or size != "auto"  # a single photo in many tiles takes minutes too
        with _progress(len(jobs), "photos", shown=long and not quiet) as advance:
            results = run(segmenter, jobs, out=out, what=what, opacity=opacity, force=force, advance=advance)
            outcomes.extend(results)
    return print_outcomes(outcomes, quiet=quiet)


_EVALUATE_EXAMPLES = """\b
Examples:
  pixelwise evaluate default --data VOC2012 --split val
  pixelwise evaluate runs/mine/model --data VOC2012 --over background,person,cat --save figures.json
"""


@app.command(epilog=_EVALUATE_EXAMPLES)
@click.argument("model")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The dataset's directory.")
@click.option("--split", default="val", help="The split to measure on.")
@click.option("--layout", default="auto", help="How the dataset lies on disk; auto recognises it.")
@click.option("--over", default="", help="Also the mean IoU over these classes, separated by commas.")
@click.option("--save", type=click.Path(path_type=Path), help="Write every figure to this JSON file.")
@_size
@_flip
@_engine("openvino")
@_precision
def evaluate(
    model: str,
    data: Path,
    split: str,
    layout: str,
    over: str,
    save: Path | None,
    size: str,
    flip: bool,
    engine: EngineName,
    precision: Precision,
) -> None:
    """Measure a model against ground truth, at the photos' own size.

    MODEL is a name from `pixelwise models`, or a model's directory.
    """
    from pixelwise.data import open_dataset, recognise
    from pixelwise.evaluate import evaluate as measure
    from pixelwise.report import check_request, print_evaluation

    dataset = open_dataset(recognise(data) if layout == "auto" else layout, data, split)
    segmenter = _load(model, engine=engine, precision=precision, photos=None, size=_parse_size(size), flip=flip)
    subset = list(dict.fromkeys(name.strip() for name in over.split(",") if name.strip()))
    check_request(segmenter.classes, over=subset, save=save)  # now rather than after an hour
    with _progress(len(dataset), "photos", shown=True) as advance:
        evaluation = measure(segmenter, [dataset], advance=advance)
    print_evaluation(evaluation, over=subset, save=save)


_TRAIN_EXAMPLES = """\b
Examples:
  pixelwise train --data examples/nuclei
  pixelwise train --data photos/ --model deeplabv3_resnet50 --epochs 20 --set batch_size=4
  pixelwise train --data photos/ --dry-run                           # what would be done, and why
  pixelwise train --data photos/ --resume                            # after a stop of any kind
  pixelwise train recipes/camvid-unet.yaml --data-root datasets --devices 2
"""


@app.command(epilog=_TRAIN_EXAMPLES)
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@click.option("--data", type=click.Path(path_type=Path), help="A dataset's directory, instead of a recipe.")
@click.option("--model", default="unet", help="With --data: an architecture from `pixelwise models`.")
@click.option("--layout", default="auto", help="With --data: how it lies on disk; auto recognises it.")
@click.option("--option", "options", metavar="KEY=VALUE", multiple=True, help="With --data: of the layout; repeatable.")
@click.option("--epochs", type=float, help="With --data: how often each photo is seen.  [default: by their number]")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    default=Path(),
    help="What the recipe's dataset directories are relative to.",
)
@click.option("--run", type=click.Path(path_type=Path), help="The run's directory; runs/NAME by default.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a recipe's value; repeatable.")
@click.option("--devices", type=click.IntRange(1), default=1, help="Training processes on this machine.")
@click.option("--nodes", type=click.IntRange(1), default=1, help="Machines; each runs this command.")
@click.option("--rendezvous", metavar="HOST:PORT", help="With --nodes: where the first machine is found.")
@click.option("--dry-run", is_flag=True, help="Print the recipe and stop.")
def train(
    recipe: Path | None,
    data: Path | None,
    model: str,
    layout: str,
    options: tuple[str, ...],
    epochs: float | None,
    data_root: Path,
    run: Path | None,
    resume: bool,
    overrides: tuple[str, ...],
    devices: int,
    nodes: int,
    rendezvous: str | None,
    dry_run: bool,
) -> None:
    """Train a model, from a recipe or from a look at the data.

    RECIPE is a YAML file. With --data instead, everything is chosen from the data, and the choices are printed with
    their reasons; --set overrides any of them. Training needs `pip install pixelwise[train]`.
    """
    if (recipe is None) == (data is None):  # both or neither
        raise PixelwiseError("Give either a recipe or --data DIR; see `pixelwise train --help`.")
    with _train_extra("Training"):
        from pixelwise import processes
        from pixelwise.plan import plan_from_data, plan_from_file
        from pixelwise.run_directory import RunDirectory
        from pixelwise.train import train as train_model
    from pixelwise.listing import print_choices
    from pixelwise.terminal import training_progress

    first = processes.rank() == 0
    if data is not None:
        target = run or Path("runs") / f"{data.resolve().name}-{model}"
        if resume and RunDirectory(target).recipe.is_file():
            planned = plan_from_file(RunDirectory(target).recipe, overrides)
        else:
            with training_progress(shown=first) as watcher:
                planned = plan_from_data(
                    data,
                    model=model,
                    layout=layout,
                    options=options,
                    overrides=overrides,
                    epochs=epochs,
                    processes=processes.local_processes(devices),
                    watcher=watcher,
                )
            if first:
                print_choices(planned.choices)
    elif recipe is not None:
        planned = plan_from_file(recipe, overrides)
        target = run or Path("runs") / planned.recipe.name
    if dry_run:
        print(planned.recipe.to_yaml(), end="")
        return
    if devices * nodes > 1 and not processes.is_worker():
        with planned.as_file() as file:
            words = ["train", str(file), "--data-root", str(data_root), "--run", str(target)]
            words += ["--resume"] if resume else []
            processes.launch(words, devices=devices, nodes=nodes, rendezvous=rendezvous)
        return
    with training_progress(shown=first) as watcher:
        fabric = processes.make_fabric(planned.recipe.precision, devices=devices, nodes=nodes)
        bundle = train_model(planned, data_root=data_root, run=target, fabric=fabric, resume=resume, watcher=watcher)
    if first:
        print(f"The best model is in {bundle}; try: pixelwise segment PHOTO --model {bundle}")


_DOCTOR_EXAMPLES = """\b
Examples:
  pixelwise doctor VOC2012
  pixelwise doctor photos-and-masks --html findings.html --strict
  pixelwise doctor photos-and-masks --fix photos-and-masks-repaired
"""


@app.command(epilog=_DOCTOR_EXAMPLES)
@click.argument("data", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--layout", default="auto", help="How the dataset lies on disk; auto recognises it.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the findings, with pictures, to this page.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write every finding to this JSON file.")
@click.option("--fix", type=click.Path(path_type=Path), help="Write a repaired copy to this directory.")
@click.option("--strict", is_flag=True, help="Warnings count as errors do.")
@click.option("--force", is_flag=True, help="Overwrite a page or a JSON file that is there.")
def doctor(
    data: Path, layout: str, html: Path | None, json_file: Path | None, fix: Path | None, strict: bool, force: bool
) -> int:
    """Say what is wrong with a dataset, before it costs a night of training.

    Every photo and every mask of every split is read; nothing in DIR is changed. Exit status: 0 training may start, 1
    it may not, 2 nothing was examined.
    """
    from pixelwise.data import recognise
    from pixelwise.doctor import examine, open_all
    from pixelwise.doctor.summary import check_outputs, print_diagnosis, print_repair, save_diagnosis

    check_outputs(html, json_file, fix, root=data, force=force)  # now rather than after an hour
    layout = recognise(data) if layout == "auto" else layout
    opened = open_all(layout, data)
    pairs = sum(map(len, opened.datasets))
    with _progress(pairs, "pairs", shown=True) as advance:
        diagnosis = examine(opened.datasets, found=opened.findings, advance=advance)
    print_diagnosis(diagnosis, root=data, layout=layout)
    if html is not None:
        from pixelwise.doctor.page import write_page

        write_page(html, diagnosis, opened.datasets, root=data)
        print(f"-> {html}")
    if json_file is not None:
        save_diagnosis(json_file, diagnosis)
        print(f"-> {json_file}")
    if fix is not None:
        from pixelwise.doctor.repair import repair

        with _progress(pairs, "pairs", shown=True) as advance:
            print_repair(repair(diagnosis, opened.datasets, root=data, out=fix, advance=advance), out=fix)
    return int(bool(diagnosis.of("error") or (strict and diagnosis.of("warning"))))


_DESCRIBE_EXAMPLES = """\b
Examples:
  pixelwise describe segnet --diagram segnet.svg
  pixelwise describe deeplabv3_resnet50 --set output_stride=16 --size 1024x2048
  pixelwise describe unet --set encoder=resnet50 --num-classes 2
"""


@app.command(epilog=_DESCRIBE_EXAMPLES)
@click.argument("name")
@click.option("--num-classes", type=int, default=21, help="The background included.")
@click.option("--size", default="512", help="Of the photo in pixels: a side, or HEIGHTxWIDTH.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="An argument; repeatable.")
@click.option("--diagram", type=click.Path(path_type=Path), help="Draw it to this .svg, .png or .pdf file.")
@click.option("--force", is_flag=True, help="Overwrite a diagram that is there.")
def describe(
    name: str, num_classes: int, size: str, overrides: tuple[str, ...], diagram: Path | None, force: bool
) -> None:
    """Show an architecture as a table and a picture.

    NAME is an architecture, such as segnet. The table has a row a stage: what is in it, the feature map that leaves it,
    and what it costs. No weights are made or fetched. Describing needs `pip install pixelwise[train]`.
    """
    with _train_extra("Describing"):
        from pixelwise.describe import describe as trace
        from pixelwise.describe import parse_arguments
        from pixelwise.describe.diagram import check_picture, draw_diagram
    from pixelwise.listing import print_description

    if diagram is not None:
        check_picture(diagram, force=force)
    given = parse_arguments(overrides)
    description = trace(name, num_classes=num_classes, size=_parse_height_width(size), arguments_given=given)
    print_description(description)
    if diagram is not None:
        draw_diagram(description, diagram)
        print(f"-> {diagram}")


_FETCH_EXAMPLES = """\b
Examples:
  pixelwise fetch oxford-pets datasets/pets
  pixelwise fetch voc2012 datasets/voc && pixelwise fetch sbd datasets/voc
  pixelwise fetch voc2012 datasets/voc --mirror http://files.example.org/datasets
"""


@app.command(epilog=_FETCH_EXAMPLES)
@click.argument("name", metavar="NAME")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--mirror", metavar="URL", help="A directory on a server that holds files of the same names.")
def fetch(name: str, directory: Path, mirror: str | None) -> None:
    """Fetch a public dataset into DIR and unpack it.

    NAME is oxford-pets (0.8 GB), voc2012 (2 GB) or sbd (1.4 GB). An interrupted download goes on where it stopped; a
    file that is there is only checked. sbd adds its masks to the voc2012 in the same DIR, as the split train_aug. Mind
    the owners' terms of use.
    """
    from pixelwise.data import recognise, splits
    from pixelwise.fetch import fetch as fetch_dataset
    from pixelwise.terminal import download_progress

    with download_progress() as report:
        fetch_dataset(name, directory, mirror=mirror, report=report)
    layout = recognise(directory)
    print(f"{name} is in {directory}: layout {layout}, splits {', '.join(splits(layout, directory))}.")


@app.command()
def models() -> None:
    """List the models that are ready, and the architectures there are.

    A pretrained architecture can be given to `segment` by its name; it is fetched and converted once. All others can be
    trained.
    """
    from pixelwise.catalogue import architectures, find_model, model_names
    from pixelwise.listing import print_architectures, print_models

    print_models([find_model(name) for name in model_names()])
    print_architectures(architectures())


@contextmanager
def _train_extra(what: str) -> Iterator[None]:
    """For imports that the extra `train` brings: where a package is missing, one sentence says so."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise PixelwiseError(
            f"{what} needs {error.name}, which is not installed; `pip install pixelwise[train]` brings it."
        ) from error


def _load(
    model: str, *, engine: EngineName, precision: Precision, photos: int | None, size: Size, flip: bool
) -> Segmenter:
    from pixelwise.api import load, takes_a_while

    if takes_a_while(model):
        print(f"{model} is fetched and converted once; that takes a minute or two.", file=sys.stderr)
    return load(model, engine=engine, precision=precision, photos=photos, size=size, flip=flip)


def _parse_size(text: str) -> Size:
    if text in ("auto", "native"):
        return None if text == "auto" else "native"
    size = int(text) if text.isdecimal() and len(text) <= 5 else 0
    if not 32 <= size <= _LARGEST_SIZE:
        raise PixelwiseError(
            f"--size takes a number of pixels from 32 to {_LARGEST_SIZE}, `native` or `auto`, not {text[:40]!r}."
        )
    return size


def _parse_height_width(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and len(side) <= 5 for side in sides):
        raise PixelwiseError(f"--size takes a number of pixels, or HEIGHTxWIDTH such as 512x768, not {text[:40]!r}.")
    return int(sides[0]), int(sides[-1])


@contextmanager
def _progress(total: int, what: str, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error, where that is a terminal; gives the function that advances it."""
    if not shown or not sys.stderr.isatty():
        yield lambda share: None
        return
    from pixelwise.terminal import counting_progress

    with counting_progress(total, what) as advance:
        yield advance
