"""The command that says which model to take."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from pixelwise.cli_options import NumberRange
from pixelwise.machine import busy
from pixelwise.terminal import progress_bar

_EXAMPLES = """\b
Examples:
  pixelwise advise --images 300 --max-latency-ms 50 --thin-structures
  pixelwise advise --max-memory-mb 500 --small-objects
  pixelwise advise --images 100 --no-pretrained --save advice.json
"""


@click.command(epilog=_EXAMPLES)
@click.option("--images", type=click.IntRange(1), help="How many labelled photos there are.")
@click.option("--size", type=click.IntRange(32, 65535), default=512, help="Side of the photos that it is to see.")
@click.option("--max-latency-ms", type=NumberRange(min=0, min_open=True), help="For one photo on this machine.")
@click.option("--max-memory-mb", type=NumberRange(min=0, min_open=True), help="Of a process that segments one.")
@click.option("--thin-structures", "aim", flag_value="thin", help="Rank by IoU of poles and signs.")
@click.option("--small-objects", "aim", flag_value="small", help="Rank by IoU of people, bicyclists and signs.")
@click.option(
    "--no-pretrained", is_flag=True, help="Only what starts from random weights, for its licence or the like."
)
@click.option("--device", type=click.Choice(["cpu", "gpu"]), default="cpu", help="What it is to run on.")
@click.option("--save", type=click.Path(path_type=Path), help="Write all of it to this JSON file.")
def advise(
    images: int | None,
    size: int,
    max_latency_ms: float | None,
    max_memory_mb: float | None,
    aim: str | None,
    no_pretrained: bool,
    device: str,
    save: Path | None,
) -> None:
    """Say which model to train for a case, from measured figures.

    What each architecture takes is known beside the default model, which is timed here for a second or two.
    """
    from pixelwise import advise as advisor
    from pixelwise.files import write_atomically
    from pixelwise.listing import print_advice
    from pixelwise.report import check_files

    check_files([save] if save else [])
    case = advisor.Case(
        images=images,
        size=size,
        max_seconds=None if max_latency_ms is None else max_latency_ms / 1000,
        max_memory=None if max_memory_mb is None else max_memory_mb * 1e6,
        aim=aim or "overall",
        pretrained=not no_pretrained,
        gpu=device == "gpu",
    )
    remarks = advisor.remarks(case)
    if not case.gpu and (others := busy()):
        remarks.append(
            f"The processor has been busy for the last minute ({others}); if it still is, the times are too long."
        )
    candidates = advisor.advise(case, seconds_of_default=None if case.gpu else _seconds_of_default())
    print_advice(case, candidates, remarks)
    if save is not None:
        entries = [
            {
                **asdict(each),
                "command": advisor.command(each),
                "reasons": advisor.reasons(each, candidates, case),
            }
            for each in candidates
        ]
        content = {"case": asdict(case), "remarks": remarks, "candidates": entries}
        write_atomically(save, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
        print(f"-> {save}")


def _seconds_of_default() -> float:
    """What the default model takes on this machine for a photo of the table's size."""
    import numpy as np

    from pixelwise.advise import measured
    from pixelwise.api import load
    from pixelwise.cost import MOST_ROUNDS, measure_latencies

    height, width = measured()["conditions"]["photo"]
    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    with progress_bar(MOST_ROUNDS, "times the default model", shown=True) as advance:
        (latency,) = measure_latencies([load(engine="openvino", size=max(height, width))], [photo], advance=advance)
    return latency.median
