"""The commands that measure models: one by itself, or several against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelwise import cli_options
from pixelwise.cli_options import describe, load_dataset, load_segmenter, parse_map, parse_size, short_name
from pixelwise.errors import PixelwiseError
from pixelwise.machine import busy, cores, processor
from pixelwise.terminal import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pixelwise.bundle import Bundle
    from pixelwise.cost import Cost
    from pixelwise.data import Dataset
    from pixelwise.data.sample import Sample
    from pixelwise.engine import EngineName, Precision
    from pixelwise.segmenter import Segmenter

_TIMED_PHOTOS = 5

_EVALUATE_EXAMPLES = """\b
Examples:
  pixelwise evaluate default --data VOC2012 --split val
  pixelwise evaluate runs/mine/model --data photos/ --html report.html --csv figures.csv
  pixelwise evaluate default --data oxford-pets --option labels=species --map rest=background
  pixelwise evaluate default --data VOC2012 --over background,person,cat --save figures.json
"""


@click.command(epilog=_EVALUATE_EXAMPLES)
@click.argument("model")
@cli_options.dataset("val")
@click.option("--over", default="", help="Also the mean IoU over these classes, separated by commas.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with figures, charts and photos.")
@click.option("--save", type=click.Path(path_type=Path), help="Write every figure to this JSON file.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write every figure to this CSV file.")
@cli_options.model("openvino")
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
    from pixelwise.evaluate import evaluate as measure
    from pixelwise.evaluate import predictor
    from pixelwise.evaluation_files import write_csv, write_json, write_page
    from pixelwise.figures import figures as figures_of
    from pixelwise.report import check_request, print_evaluation

    dataset = load_dataset(data, split, layout, options)
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
    told = describe(segmenter, data=data, split=split, layout=layout, options=options, size=size, flip=flip, maps=maps)
    about = {"model": model, **told}
    if save is not None:
        write_json(save, evaluation, figures, about, subset=further)
    if csv is not None:
        write_csv(csv, evaluation, figures, subset=further)
    if html is not None:
        predict = predictor(segmenter, dataset.classes, mapping)

        def show(name: str) -> tuple[Sample, NDArray[np.uint8]]:
            sample = dataset[dataset.ids.index(name)]
            return sample, predict(sample.image)[0]

        write_page(html, evaluation, figures, about, show=show, subset=further)
    for file in files:
        print(f"-> {file}")
    return 1 if evaluation.failed else 0


_COMPARE_EXAMPLES = """\b
Examples:
  pixelwise compare runs/unet/model runs/segnet/model --data camvid --split test --html compare.html
  pixelwise compare default deeplabv3_resnet50 --data VOC2012
  pixelwise compare runs/a-*/model runs/b-*/model --data photos/ --save compare.json
"""


@click.command(epilog=_COMPARE_EXAMPLES)
@click.argument("models", nargs=-1, required=True, metavar="MODEL MODEL...")
@cli_options.dataset("val")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with charts and photos to slide over.")
@click.option("--save", type=click.Path(path_type=Path), help="Write every figure to this JSON file.")
@cli_options.model("openvino")
def compare(
    models: tuple[str, ...],
    data: Path,
    split: str,
    layout: str,
    options: tuple[str, ...],
    maps: tuple[str, ...],
    html: Path | None,
    save: Path | None,
    size: str,
    flip: bool,
    engine: EngineName,
    precision: Precision,
) -> int:
    """Compare models on the same photos: accuracy, time, memory.

    Also says whether the photos can tell the models apart. Each MODEL is a name from `pixelwise models`, or a model's
    directory. Several trainings of one recipe with different seeds count as one model. Photos that cannot be read are
    listed and left out; the exit status is 1 then.
    """
    from pixelwise.catalogue import find_model
    from pixelwise.compare import Contender, predictors_of, seed_of
    from pixelwise.compare import compare as measure
    from pixelwise.comparison_files import write_json, write_page
    from pixelwise.cost import engines
    from pixelwise.report import check_request, print_comparison

    if len(models) < 2:
        raise PixelwiseError("Comparing takes two models at least; for one there is `pixelwise evaluate`.")
    dataset, mapping = load_dataset(data, split, layout, options), parse_map(maps)
    files = [file for file in (save, html) if file is not None]
    check_request(dataset.classes, over=(), files=files)
    others = busy()
    contenders, bundles = [], []
    for model, name in zip(models, short_names(models), strict=True):
        segmenter = load_segmenter(
            model, engine=engine, precision=precision, photos=None, size=parse_size(size), flip=flip
        )
        bundles.append(find_model(model))
        contenders.append(Contender(name, segmenter, *seed_of(bundles[-1].config)))
    with progress_bar(len(dataset), "photos", shown=True) as advance:
        comparison = measure(contenders, dataset, mapping=mapping, advance=advance)
    costs = _costs(bundles, [contender.segmenter for contender in contenders], dataset, comparison.evaluations[0].ids)
    print_comparison(comparison, costs)
    machine = f"{processor()}, {cores()} cores"
    if others is not None:
        print(f"The processor was busy before this began ({others}); if it remained so, the times are too long.")
        machine = f"{machine}, busy before this began ({others})"
    told = describe(
        contenders[0].segmenter, data=data, split=split, layout=layout, options=options, size=size, flip=flip, maps=maps
    )
    about = {**told, "engine": engines(comparison.names, costs), "machine": machine}
    if save is not None:
        write_json(save, comparison, costs, about)
    if html is not None:
        predictors = predictors_of(contenders, dataset.classes, mapping)

        def show(name: str) -> tuple[Sample, list[NDArray[np.uint8]]]:
            sample = dataset[dataset.ids.index(name)]
            return sample, [predict(sample.image)[0] for predict in predictors]

        write_page(html, comparison, costs, about, show=show)
    for file in files:
        print(f"-> {file}")
    return 1 if comparison.evaluations[0].failed else 0


def _costs(bundles: list[Bundle], segmenters: list[Segmenter], dataset: Dataset, ids: Sequence[str]) -> list[Cost]:
    """What each model costs, for the size of the first of the photos."""
    from pixelwise.cost import MOST_ROUNDS, cost, measure_latencies

    photos = [dataset[dataset.ids.index(name)].image for name in ids[:_TIMED_PHOTOS]]
    height, width = photos[0].shape[:2]
    with progress_bar(MOST_ROUNDS, "rounds of timing", shown=True) as advance:
        latencies = measure_latencies(segmenters, photos, advance=advance)
    return [
        cost(bundle, segmenter, latency, height=height, width=width)
        for bundle, segmenter, latency in zip(bundles, segmenters, latencies, strict=True)
    ]


def short_names(models: Sequence[str]) -> list[str]:
    """What to call several models, see `short_name`; those of one name get a number."""
    names: list[str] = []
    for model in models:
        short = short_name(model)
        alike = sum(name == short or name.startswith(f"{short} #") for name in names)
        names.append(f"{short} #{alike + 1}" if alike else short)
    return names
