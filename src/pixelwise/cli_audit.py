"""The command that looks for masks that are probably wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelwise import cli_options
from pixelwise.cli_options import describe, load_dataset, load_segmenter, parse_map, parse_size
from pixelwise.terminal import progress_bar

if TYPE_CHECKING:
    from pixelwise.audit import Opinion
    from pixelwise.data.sample import Sample
    from pixelwise.engine import EngineName, Precision

_AUDIT_EXAMPLES = """\b
Examples:
  pixelwise audit runs/mine/model --data photos/ --html audit.html
  pixelwise audit default --data VOC2012 --split train --csv ranking.csv
  pixelwise audit default --data oxford-pets --option labels=species --map rest=background --html audit.html
"""


@click.command(epilog=_AUDIT_EXAMPLES)
@click.argument("model")
@cli_options.dataset("train")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page to click through the worst photos.")
@click.option("--top", type=click.IntRange(1), default=48, help="How many photos are on the page.")
@click.option("--save", type=click.Path(path_type=Path), help="Write all photos, ranked, to this JSON file.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write all photos, ranked, to this CSV file.")
@cli_options.model("openvino")
def audit(
    model: str,
    data: Path,
    split: str,
    layout: str,
    options: tuple[str, ...],
    maps: tuple[str, ...],
    html: Path | None,
    top: int,
    save: Path | None,
    csv: Path | None,
    size: str,
    flip: bool,
    engine: EngineName,
    precision: Precision,
) -> int:
    """Find the masks of a dataset that are probably wrong.

    MODEL is a name from `pixelwise models`, or a model's directory; best one that was not trained on these masks.
    Photos are ranked by cleanlab's scores, the worst first; nothing in the dataset is changed. Photos that cannot be
    read are listed and left out; the exit status is 1 then. An audit needs `pip install 'pixelwise[audit]'`.
    """
    from pixelwise.audit import Auditor, need_cleanlab
    from pixelwise.audit import audit as audit_dataset
    from pixelwise.audit_files import write_csv, write_json
    from pixelwise.audit_page import write_page
    from pixelwise.audit_report import print_audit
    from pixelwise.report import check_request

    need_cleanlab()
    dataset = load_dataset(data, split, layout, options)
    mapping = parse_map(maps)
    files = [file for file in (save, csv, html) if file is not None]
    check_request(dataset.classes, over=(), files=files)  # now rather than after an hour
    segmenter = load_segmenter(model, engine=engine, precision=precision, photos=None, size=parse_size(size), flip=flip)
    auditor = Auditor(segmenter, dataset.classes, mapping)
    with progress_bar(len(dataset), "photos", shown=True) as advance:
        found = audit_dataset(auditor, dataset, advance=advance)
    print_audit(found)
    told = describe(segmenter, data=data, split=split, layout=layout, options=options, size=size, flip=flip, maps=maps)
    about = {"model": model, **told}
    if save is not None:
        write_json(save, found, about)
    if csv is not None:
        write_csv(csv, found)
    if html is not None:

        def show(name: str) -> tuple[Sample, Opinion]:
            sample = dataset[dataset.ids.index(name)]
            return sample, auditor.opinion(sample)

        write_page(html, found, about, show=show, top=top)
    for file in files:
        print(f"-> {file}")
    return 1 if found.failed else 0
