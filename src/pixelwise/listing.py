"""What the command line prints of models and architectures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pixelwise.bundle import Bundle
from pixelwise.catalogue import ArchitectureFacts
from pixelwise.settings import shown
from pixelwise.terminal import console

if TYPE_CHECKING:
    from pixelwise.advise import Candidate, Case
    from pixelwise.configure import Choice
    from pixelwise.describe import Description
    from pixelwise.info import Info


def print_choices(choices: Sequence[Choice]) -> None:
    """A table of what was chosen for a training run: setting, value, why; to standard error, as it is no result."""
    table = Table(title="Chosen from the data", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value")
    table.add_column("because")
    for choice in choices:
        table.add_row(choice.key, shown(choice.value), choice.reason)
    console(stderr=True).print(table)


def print_info(info: Info) -> None:
    """Print what this machine computes with."""
    out = console()
    widest = max(map(len, info.machine))
    out.print("\n".join(f"{name:{widest}}  {value}" for name, value in info.machine.items()), soft_wrap=True)
    table = Table(title="\nWhat `auto` takes", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("photos", "engine", "ready after", "a photo"):
        table.add_column(heading, justify="right" if heading in ("ready after", "a photo") else "left", no_wrap=True)
    table.add_column("because", overflow="fold")
    for choice in info.choices:
        timed = [
            "" if seconds is None else f"{1000 * seconds:.0f} ms"
            for seconds in (choice.load_seconds, choice.photo_seconds)
        ]
        table.add_row(choice.photos, choice.engine, *timed, choice.reason)
    out.print(table)
    out.print("A photo: 640 x 480 pixels to their classes, median, on all cores.")
    there = ", ".join(f"{name} {version or 'is not installed'}" for name, version in info.versions.items())
    out.print(f"Engines: {there}.", soft_wrap=True)
    for name, lacking in info.extras.items():
        said = f"lacks {', '.join(lacking)}; `pip install 'pixelwise[{name}]'`" if lacking else "there"
        out.print(f"pixelwise[{name}]: {said}.", soft_wrap=True)


def print_advice(case: Case, candidates: Sequence[Candidate], remarks: Sequence[str]) -> None:
    """Print what is recommended for a case, with its reasons, what else there is, and how far all that reaches."""
    from pixelwise.advise import AIMS, DATASETS, command, largest_size, reasons

    out = console()
    fit = [each for each in candidates if not each.refused]
    known = [each for each in fit if each.accuracy]
    if known:
        best = known[0]
        out.print(Text.assemble("Take ", (best.name, "bold"), f" ({_way(best)})."))
        out.print("\n".join(f"- {reason}" for reason in reasons(best, candidates, case)))
        out.print(f"Start with: {command(best)}", soft_wrap=True)
    else:
        out.print(Text("Nothing that was measured will do within these limits.", style="bold"))
        slow = [each for each in candidates if each.refused == "time"]
        if slow:
            fastest = min(each.seconds for each in slow if each.seconds is not None)
            out.print(
                f"The fastest takes about {1000 * fastest:.0f} ms for photos of {case.size} x {case.size} pixels."
            )
        sizes = [(each.name, largest_size(each, case) or 0) for each in slow if each.accuracy]
        large = [(name, size) for name, size in sizes if 2 * size >= case.size]  # below that it is another task
        name, size = large[0] if large else max(sizes, key=lambda each: each[1], default=("", 0))
        if size:
            which = "the best" if large else "the nearest to it"
            out.print(f"{name}, {which} that was measured of those, keeps to it with --size {size}.")
    title = f"\nBy {AIMS[case.aim][0]}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    datasets = list(dict.fromkeys(dataset for each in candidates for dataset in each.accuracy))
    times = [] if case.gpu else ["ms here"]
    for heading in (*(DATASETS[dataset].split()[-1] for dataset in datasets), *times, "MB", "params"):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = [each for each in candidates if each.accuracy]
    table.add_column("refused" if any(each.refused for each in shown) else "", overflow="fold")
    for each in shown:
        table.add_row(
            each.name + ("" if each.pretrained else "*"),
            *(f"{each.accuracy[dataset]:.3f}" if dataset in each.accuracy else "" for dataset in datasets),
            *("" if each.seconds is None else f"{1000 * each.seconds:.0f}" for _ in times),
            f"{each.memory / 1e6:.0f}",
            f"{each.parameters / 1e6:.1f} M",
            each.refused,
        )
    out.print(table)
    untrained = [each.name for each in candidates if not each.accuracy]
    notes = ["* from random weights", *remarks]
    if untrained:
        notes.append(
            f"Nothing is known of the {AIMS[case.aim][0]} of: {', '.join(untrained)}; --save has what they cost."
        )
    out.print("\n".join(notes), soft_wrap=True)


def _way(candidate: Candidate) -> str:
    weights = "from ImageNet weights" if candidate.pretrained else "from random weights"
    return f"{candidate.architecture}, {weights}"


def print_models(bundles: Sequence[Bundle]) -> None:
    """Print a table of models."""
    table = Table(title="Built-in models", title_justify="left", title_style="bold")
    for heading in ("name", "architecture", "classes", "measured"):
        table.add_column(heading, overflow="fold")
    for bundle in bundles:
        config = bundle.config
        measured = [f"{data}: mean IoU {_mean_iou(figures)}" for data, figures in config.metrics.items()]
        encoder = config.arguments.get("encoder")
        architecture = config.architecture + (f" on {encoder}" if encoder else "")
        table.add_row(bundle.path.name, architecture, str(len(config.classes)), "\n".join(measured))
    console().print(table)


def print_architectures(architectures: Sequence[ArchitectureFacts]) -> None:
    """Print what can be built, a table for each family under its paper; 80 columns are enough."""
    out = console()
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


def print_description(description: Description) -> None:
    """Print an architecture: a row a stage, what it costs in all, and where it comes from."""
    height, width = description.size
    out = console()
    out.print(Text(f"{description.entry.name}, for a photo of {height} x {width} pixels", style="bold"))
    out.print(_stages(description))
    for heading, text in _facts(description).items():
        out.print(f"{heading:18}{text}", soft_wrap=True)


def _stages(description: Description) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, show_footer=True, pad_edge=False, padding=(0, 1, 0, 0))
    counted = _counted(description.parameters - description.training_only), _counted(description.multiply_adds)
    table.add_column("stage", "total", no_wrap=True)
    table.add_column("layers")
    totals = ("", "", *counted, _size(description.activation_bytes))
    for heading, total in zip(("CxHxW", "stride", "params", "MACs", "MiB"), totals, strict=True):
        table.add_column(heading, total, justify="right", no_wrap=True)
    for stage in description.stages:
        table.add_row(
            stage.name,
            "\n".join([*stage.layers, *stage.rate_lines]),
            f"{stage.channels}x{stage.height}x{stage.width}",
            f"{stage.stride:g}",
            _counted(stage.parameters),
            _counted(stage.multiply_adds),
            _size(stage.activation_bytes),
        )
    return table


def _facts(description: Description) -> dict[str, str]:
    """What is said below the table, under a heading each."""
    entry, paper = description.entry, description.entry.paper
    seen = f"{description.receptive_field} x {description.receptive_field} pixels through windows"
    values = "".join(f", {key}: {value}" for key, value in description.arguments.items())
    own = {"imagenet": description.arguments.get("encoder")}  # where it is an argument, the weights are by its name
    weights = [f"{kind}: {there.library} {own.get(kind) or there.name}" for kind, there in entry.weights.items()]
    auxiliary = {"in training only": f"{_counted(description.training_only)} parameters, of an auxiliary head"}
    return {
        "encoder": description.encoder,
        "paper": f"{paper.authors}: {paper.title}, {paper.venue}, arXiv:{paper.arxiv}, {paper.figure}",
        "output stride": f"{description.output_stride}, of the coarsest map",
        "receptive field": f"{seen}{', and the whole photo through means' if description.whole_photo else ''}",
        **(auxiliary if description.training_only else {}),
        "arguments": f"num_classes: {description.num_classes}{values}",
        "weights": "; ".join(weights) or "none",
        "counted": "MACs: multiply-adds of convolutions; MiB: of feature maps in float32 that convolutions, poolings, "
        "upsamplings and concatenations put out",
    }


def _counted(number: int) -> str:
    """To three figures, with the SI prefix: 29.5 M."""
    if number == 0:
        return ""
    power = int(f"{number:.2e}".split("e")[1]) // 3  # of a thousand, after rounding
    return f"{number / 1000**power:.3g} {('', 'k', 'M', 'G', 'T', 'P')[power]}".strip()


def _size(memory: int) -> str:
    """Bytes in MiB."""
    return f"{memory / 2**20:.1f}" if memory else ""


def _mean_iou(figures: Any) -> str:
    value = figures.get("mean IoU") if isinstance(figures, dict) else None
    return "not measured" if value is None else f"{value:.3f}"
