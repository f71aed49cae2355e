"""The command line: parse, call, print. What is heavy to import is imported inside the command that needs it."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelwise import __version__, cli_advise, cli_audit, cli_data, cli_evaluate, cli_export, cli_options, cli_serve
from pixelwise.cli_options import NumberRange, load_segmenter, parse_size
from pixelwise.errors import PixelwiseError, needs_train_extra
from pixelwise.terminal import progress_bar

if TYPE_CHECKING:
    from pixelwise.engine import EngineName, Precision


def main() -> None:
    """Run the command line; every error that pixelwise raises on purpose is one sentence and exit status 2."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name, or a terminal, that knows no UTF-8 is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = app(prog_name="pixelwise", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # where it fails, here rather than when Python ends
        sys.exit(status)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except PixelwiseError as error:
        print(f"pixelwise: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        print("pixelwise: interrupted.", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if not _is_output_lost():
            if error.filename is None:
                raise
            # Whatever the system says of a file that nobody thought of: a name too long, a folder that is closed.
            print(f"pixelwise: The system refuses {error.filename}: {error.strerror}.", file=sys.stderr)
            sys.exit(2)
        if isinstance(error, BrokenPipeError):  # whoever read it has seen enough
            sys.exit(1)
        print(f"pixelwise: standard output cannot be written to: {error.strerror or error}.", file=sys.stderr)
        sys.exit(2)


def _is_output_lost() -> bool:
    """Whether it was standard output that failed: it does so again. What is left for it is let go of then."""
    try:
        print(flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, message="%(prog)s %(version)s")
def app() -> None:
    """Every pixel of a photo labelled by a CNN."""
    try:
        Path.cwd()
    except FileNotFoundError as error:  # in which libraries die, PyTorch's too
        raise PixelwiseError("The working directory was removed; change to one that is there.") from error


_SEGMENT_EXAMPLES = """\b
Examples:
  pixelwise segment photo.jpg
  pixelwise segment holiday/ --save mask,overlay,panel,json --out results
  pixelwise segment holiday/ --out results --resume
  pixelwise segment photo.jpg --model deeplabv3_resnet50
  cat photo.jpg | pixelwise segment -
"""


@app.command(epilog=_SEGMENT_EXAMPLES)
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option("--model", default="default", help="A name from `pixelwise models`, or a model's directory.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("segmented"), help="Where results go.")
@click.option("--save", default="mask,overlay", help="Some of mask,overlay,panel,json.")
@click.option("--opacity", type=NumberRange(0, 1), default=0.55, help="Of the colours in overlay and panel.")
@cli_options.model("auto")
@click.option("--force", is_flag=True, help="Overwrite results that are there.")
@click.option("--resume", is_flag=True, help="Go on with an ended run: leave out what it has done.")
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
    resume: bool,
    quiet: bool,
) -> int:
    """Label every pixel of photos.

    PHOTO is a file, a folder, a glob pattern, or - for standard input. Writes what --save names: STEM_mask.png (class
    ids with a palette), STEM_overlay.jpg, STEM_panel.jpg (photo, mask and overlay side by side), STEM.json. Exit
    status: 0 all done, 1 some photos failed, 2 nothing done.

    With `pip install 'pixelwise[large]'`, TIFF, PNG and JPEG of 50 megapixels and more, up to a gigapixel, are read and
    written by rows in little memory; of such a TIFF, and of one with a georeference, mask and overlay are tiled TIFFs
    (STEM_mask.tif, STEM_overlay.tif) in the same place on earth. Where a georeference cannot be kept, a note says why.
    """
    from pixelwise.batch import at_once, plan, run
    from pixelwise.bundle import CONFIG
    from pixelwise.catalogue import model_path
    from pixelwise.ledger import digest
    from pixelwise.report import print_outcomes
    from pixelwise.segmentation import SAVEABLE

    what = [kind.strip() for kind in save.split(",") if kind.strip()]
    unknown = [kind for kind in what if kind not in SAVEABLE]
    if unknown or not what:
        raise PixelwiseError(f"--save takes some of {','.join(SAVEABLE)}, not {save!r}.")
    jobs, outcomes = plan(photos, out=out)
    if jobs:
        streams = at_once(jobs)
        segmenter = load_segmenter(
            model,
            engine=engine,
            precision=precision,
            photos=len(jobs),
            size=parse_size(size),
            flip=flip,
            streams=streams,
        )
        # The configuration has the hash of the weights. Which engine computes is no setting: auto goes by the photos.
        identity = f"{digest(model_path(model) / CONFIG)} {__version__} {precision}"
        long = len(jobs) > 1 or size != "auto" or jobs[0].large  # a single photo in many tiles takes minutes too
        with progress_bar(len(jobs), "photos", shown=bool(long) and not quiet) as advance:
            results = run(
                segmenter,
                jobs,
                out=out,
                what=what,
                opacity=opacity,
                force=force,
                resume=resume,
                model=identity,
                streams=streams,
                advance=advance,
            )
            outcomes.extend(results)
    return print_outcomes(outcomes, quiet=quiet)


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
    and what it costs. No weights are made or fetched. Describing needs `pip install 'pixelwise[train]'`.
    """
    with needs_train_extra("Describing"):
        from pixelwise.describe import describe as trace
        from pixelwise.describe.diagram import check_picture, draw_diagram
    from pixelwise.listing import print_description
    from pixelwise.settings import parse_values

    if diagram is not None:
        check_picture(diagram, force=force)
    given = parse_values(overrides)
    description = trace(name, num_classes=num_classes, size=_parse_height_width(size), arguments_given=given)
    print_description(description)
    if diagram is not None:
        draw_diagram(description, diagram)
        print(f"-> {diagram}")


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


_INFO_EXAMPLES = """\b
Examples:
  pixelwise info
  pixelwise info --model runs/mine/model --json
"""


@app.command(epilog=_INFO_EXAMPLES)
@click.option("--model", default="default", help="A name from `pixelwise models`, or a model's directory.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def info(model: str, as_json: bool) -> None:
    """Say what this machine computes with, and why.

    Loads the model as `segment` would, for a few photos and for many, and times it.
    """
    from pixelwise.info import info as find_out
    from pixelwise.listing import print_info

    found = find_out(model)
    if as_json:
        print(json.dumps({"pixelwise": __version__, **asdict(found)}, indent=2))
    else:
        print_info(found)


def _parse_height_width(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and len(side) <= 5 for side in sides):
        raise PixelwiseError(f"--size takes a number of pixels, or HEIGHTxWIDTH such as 512x768, not {text[:40]!r}.")
    return int(sides[0]), int(sides[-1])


for _command in (
    cli_evaluate.evaluate,
    cli_evaluate.compare,
    cli_export.export,
    cli_audit.audit,
    cli_advise.advise,
    cli_serve.serve,
    cli_data.doctor,
    cli_data.fetch,
    cli_data.train,
):
    app.add_command(_command)
