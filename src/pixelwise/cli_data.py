"""The commands about data and training: parse, call, print."""

from __future__ import annotations

from pathlib import Path

import click

from pixelwise.errors import needs_train_extra
from pixelwise.terminal import progress_bar

_DOCTOR_EXAMPLES = """\b
Examples:
  pixelwise doctor VOC2012
  pixelwise doctor photos-and-masks --html findings.html --strict
  pixelwise doctor photos-and-masks --fix photos-and-masks-repaired
"""


@click.command(epilog=_DOCTOR_EXAMPLES)
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
    """Say what is wrong with a dataset, before it is trained on.

    Every photo and every mask of every split is read; nothing in DIR is changed. --fix makes files of the pages of
    multi-page TIFFs, if there are any, and leaves the rest to a second call. Exit status: 0 training may start, 1
    it may not, 2 nothing was examined.
    """
    from pixelwise.data import recognise
    from pixelwise.data.stacks import find_stacks, unpack_stacks
    from pixelwise.doctor import examine, open_all
    from pixelwise.doctor.summary import check_outputs, print_diagnosis, print_repair, save_diagnosis

    check_outputs(html, json_file, fix, root=data, force=force)  # now rather than after an hour
    if fix is not None and data.is_dir() and (stacks := find_stacks(data)):
        with progress_bar(len(stacks), "stacks", shown=True) as advance:
            pages = unpack_stacks(stacks, data, fix, advance=advance)
        print(f"{pages} pages of {len(stacks)} files -> {fix}, otherwise as it was. What follows is of that copy.")
        data, fix = fix, None
    layout = recognise(data) if layout == "auto" else layout
    opened = open_all(layout, data)
    pairs = sum(map(len, opened.datasets))
    with progress_bar(pairs, "pairs", shown=True) as advance:
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

        with progress_bar(pairs, "pairs", shown=True) as advance:
            print_repair(repair(diagnosis, opened.datasets, root=data, out=fix, advance=advance), out=fix)
    return int(bool(diagnosis.of("error") or (strict and diagnosis.of("warning"))))


_FETCH_EXAMPLES = """\b
Examples:
  pixelwise fetch oxford-pets datasets/pets
  pixelwise fetch voc2012 datasets/voc && pixelwise fetch sbd datasets/voc
  pixelwise fetch voc2012 datasets/voc --mirror http://files.example.org/datasets
"""


@click.command(epilog=_FETCH_EXAMPLES)
@click.argument("name", metavar="NAME")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--mirror", metavar="URL", help="A directory on a server that holds files of the same names.")
def fetch(name: str, directory: Path, mirror: str | None) -> None:
    """Fetch a public dataset into DIR and unpack it.

    NAME is oxford-pets, voc2012 or sbd. An interrupted download goes on where it stopped; a file that is there is only
    checked. sbd adds its masks to the voc2012 in the same DIR, as the split train_aug. Mind the owners' terms of use.
    """
    from pixelwise.data import recognise, splits
    from pixelwise.fetch import fetch as fetch_dataset
    from pixelwise.terminal import download_progress

    with download_progress() as report:
        fetch_dataset(name, directory, mirror=mirror, report=report)
    layout = recognise(directory)
    print(f"{name} is in {directory}: layout {layout}, splits {', '.join(splits(layout, directory))}.")


_TRAIN_EXAMPLES = """\b
Examples:
  pixelwise train --data examples/nuclei
  pixelwise train --data photos/ --model deeplabv3_resnet50 --epochs 20 --set batch_size=4
  pixelwise train --data photos/ --dry-run                           # what would be done, and why
  pixelwise train --data photos/ --preview sheet.jpg                 # what the network would see
  pixelwise train --data photos/ --resume                            # after a stop of any kind
  pixelwise train recipes/camvid-unet.yaml --data-root datasets --devices 2
  pixelwise train --run runs/camvid-unet --data-root datasets --resume
"""


@click.command(epilog=_TRAIN_EXAMPLES)
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@click.option("--data", type=click.Path(path_type=Path), help="A dataset's directory, instead of a recipe.")
@click.option("--model", help="With --data: an architecture from `pixelwise models`.  [default: unet]")
@click.option("--layout", help="With --data: how it lies on disk; auto recognises it.  [default: auto]")
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
@click.option("--preview", type=click.Path(path_type=Path), help="Draw augmented samples to this picture and stop.")
@click.option("--preview-count", type=click.IntRange(1), default=24, help="How many.")
@click.option("--force", is_flag=True, help="Overwrite a preview that is there.")
def train(
    recipe: Path | None,
    data: Path | None,
    model: str | None,
    layout: str | None,
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
    preview: Path | None,
    preview_count: int,
    force: bool,
) -> None:
    """Train a model, from a recipe or from a look at the data.

    RECIPE is a YAML file. With --data instead, everything is chosen from the data, and the choices are printed with
    their reasons; --set overrides any of them. Training needs `pip install 'pixelwise[train]'`.
    """
    with needs_train_extra("Training"):
        from pixelwise import plan, processes
        from pixelwise.train import train as train_model
    from pixelwise.listing import print_choices
    from pixelwise.terminal import training_progress

    if preview is not None:
        from pixelwise.preview import check_preview, draw_preview

        check_preview(preview, force=force)
    only_look = dry_run or preview is not None
    request = plan.Request(recipe, data, model, layout, options, overrides, epochs, run, resume, only_look)
    first = processes.rank() == 0
    with training_progress(shown=first) as watcher:
        here = processes.local_processes(devices)
        planned, target = plan.make(request, processes=here, watcher=watcher)
    if first and planned.choices and not (recipe is not None and processes.is_worker()):  # who launched it has
        print_choices(planned.choices)
    if dry_run:
        print(planned.recipe.to_yaml(), end="")
        return
    if preview is not None:
        from pixelwise.data_check import open_sets

        sets = open_sets(planned.recipe.data.train, data_root)
        draw_preview(planned.recipe, sets, preview, count=preview_count, force=force, pixels=planned.pixels)
        print(f"-> {preview}")
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
        processes.leave()
    if first:
        print(f"The best model is in {bundle}; try: pixelwise segment PHOTO --model {bundle}")
        print(f"How it went: {target / 'report.html'}, {target / 'curves.png'}")
