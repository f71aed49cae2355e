"""The command that measures a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelwise import cli_options
from pixelwise.cli_options import describe_model, load_segmenter, parse_map, parse_size
from pixelwise.terminal import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pixelwise.data.sample import Sample
    from pixelwise.engine import EngineName, Precision

_EVALUATE_EXAMPLES = """\b
Examples:
  pixelwise evaluate default --data VOC2012 --split val
  pixelwise evaluate runs/mine/model --data photos/ --html report.html --csv figures.csv
  pixelwise evaluate default --data oxford-pets --option labels=species --map rest=background
  pixelwise evaluate default --data VOC2012 --over background,person,cat --save figures.json
"""


@click.command(epilog=_EVALUATE_EXAMPLES)
@click.argument("model")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The dataset's directory.")
@click.option("--split", default="val", help="The split to measure on.")
@click.option("--layout", default="auto", help="How the dataset lies on disk; auto recognises it.")
@click.option("--option", "options", metavar="KEY=VALUE", multiple=True, help="Of the layout; repeatable.")
@click.option(
    "--map", "maps", metavar="CLASS=CLASS", multiple=True, help="What a class of the model counts as; repeatable."
)
@click.option("--over", default="", help="Also the mean IoU over these classes, separated by commas.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with figures, charts and photos.")
@click.option("--save", type=click.Path(path_type=Path), help="Write every figure to this JSON file.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write every figure to this CSV file.")
@cli_options.size
@cli_options.flip
@cli_options.engine("openvino")
@cli_options.precision
def evaluate(
    model: str,
    data: Path,
    split: str,
    layout: str,
    options: tuple[str, ...],
    maps: tuple[str, ...],
    over: str,
    html: Path | None,
    save: Path | None,
    csv: Path | None,
    size: str,
    flip: bool,
    engine: EngineName,
    precision: Precision,
) -> int:
    """Measure a model against ground truth, at the photos' own size.

    MODEL is a name from `pixelwise models`, or a model's directory. Every figure comes with its 95 % interval. Photos
    that cannot be read are listed and left out; the exit status is 1 then.
    """
    from pixelwise.bootstrap import bootstrap_mean_iou
    from pixelwise.data import open_dataset, recognise
    from pixelwise.evaluate import evaluate as measure
    from pixelwise.evaluate import predictor
    from pixelwise.evaluation_files import write_csv, write_json, write_page
    from pixelwise.figures import figures as figures_of
    from pixelwise.report import check_request, print_evaluation
    from pixelwise.settings import parse_values

    layout = recognise(data) if layout == "auto" else layout
    dataset = open_dataset(layout, data, split, parse_values(options))
    segmenter = load_segmenter(model, engine=engine, precision=precision, photos=None, size=parse_size(size), flip=flip)
    mapping = parse_map(maps)
    subset = list(dict.fromkeys(name.strip() for name in over.split(",") if name.strip()))
    names = dataset.classes.names
    files = [file for file in (save, csv, html) if file is not None]
    check_request(dataset.classes, over=subset, files=files)  # now rather than after an hour
    with progress_bar(len(dataset), "photos", shown=True) as advance:
        evaluation = measure(segmenter, [dataset], mapping=mapping, skip_failures=True, advance=advance)
    figures = figures_of(evaluation.counts)
    ids = [names.index(name) for name in subset]
    further = {f"mean IoU over {', '.join(subset)}": bootstrap_mean_iou(evaluation.per_image, over=ids)} if ids else {}
    print_evaluation(evaluation, figures, subset=further)
    about = {
        "model": model,
        "data": f"{data.name or data.resolve().name}, split {split}",
        **describe_model(segmenter, size=size, flip=flip, maps=maps),
    }
    if save is not None:
        write_json(save, evaluation, figures, about, subset=further)
    if csv is not None:
        write_csv(csv, evaluation, figures)
    if html is not None:
        predict = predictor(segmenter, dataset.classes, mapping)

        def show(name: str) -> tuple[Sample, NDArray[np.uint8]]:
            sample = dataset[dataset.ids.index(name)]
            return sample, predict(sample.image)[0]

        write_page(html, evaluation, figures, about, show=show)
    for file in files:
        print(f"-> {file}")
    return 1 if evaluation.failed else 0
