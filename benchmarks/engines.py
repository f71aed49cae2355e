"""The figures behind the engine `auto`: cold processes on 1 to 32 photos, and latency once warm.

A folder of n photos of 640x480 goes through `python -m pixelwise segment`, a whole process each time, for every engine
and precision. Start and seconds a photo are a line fitted to the medians; where ONNX Runtime's line and OpenVINO's
cross is the break-even that `engine.MUCH_WORK` stands for. Warm latency is array to mask within one process.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import pixelwise
from _common import (
    Report,
    Run,
    Task,
    alternate,
    example_photos,
    make_photo,
    medians,
    parser,
    segment_command,
    table,
    versions,
    weights,
)
from pixelwise.catalogue import find_model, work_of_photo
from pixelwise.engine import MUCH_WORK
from pixelwise.errors import EngineError

Configuration = tuple[Literal["onnxruntime", "openvino"], Literal["fp32", "bf16"]]
CONFIGURATIONS: tuple[Configuration, ...] = (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
BLOCKS, BLOCK = 4, 5


def main() -> None:
    options = _options()
    found = versions("pixelwise", "numpy", "onnxruntime", "openvino") | weights(options.model)
    report = Report(options, found)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        folders = {count: _folder(Path(directory) / str(count), count) for count in sorted(set(options.counts))}
        photo = pixelwise.read_image(next(folders[min(folders)].glob("*.jpg"))).pixels
        warm = _warm(photo, options.model)
        cold = {
            count: _cold(folder, count, options.model, list(warm), options.repetitions)
            for count, folder in folders.items()
        }
    _print(report, options.model, warm, cold)
    report.finish()


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--counts", type=int, nargs="+", default=[1, 4, 12, 32], help="photos (default 1 4 12 32)")
    made.add_argument("--repetitions", type=int, default=5, help="measured runs of each (default 5)")
    made.add_argument("--model", default="default", help="a model's name or directory")
    options = made.parse_args()
    if len(set(options.counts)) < 2 or min(options.counts) < 1:
        made.error("--counts takes two or more different numbers from 1 up: a line is fitted to them")
    return options


def _folder(folder: Path, count: int) -> Path:
    folder.mkdir()
    sources = example_photos()
    for index in range(count):
        turn, source = divmod(index, len(sources))
        make_photo(folder / f"{index:03}.jpg", source=sources[source].name, turn=turn)
    return folder


def _warm(photo: NDArray[np.uint8], model: str) -> dict[Configuration, float]:
    """Median seconds from array to mask of each engine that this machine has.

    The engines take turns in blocks, after a pause and an unmeasured call: the threads of the one before spin for a
    while after its last call.
    """
    segmenters, seconds = {}, {}
    for engine, precision in CONFIGURATIONS:
        try:
            segmenters[engine, precision] = pixelwise.load(model, engine=engine, precision=precision)
        except EngineError as error:
            print(f"\nskipped: {engine} {precision}. {error}")
            continue
        seconds[engine, precision] = list[float]()
    for _ in range(BLOCKS):
        for key, segmenter in segmenters.items():
            time.sleep(0.3)
            segmenter.predict(photo)
            for _ in range(BLOCK):
                start = time.perf_counter()
                segmenter.predict(photo)
                seconds[key].append(time.perf_counter() - start)
    return {key: median(values) for key, values in seconds.items()}


def _cold(
    folder: Path, count: int, model: str, configurations: list[Configuration], repetitions: int
) -> dict[str, list[Run]]:
    return alternate({_name(key): _task(folder, count, model, key) for key in configurations}, repetitions)


def _task(folder: Path, count: int, model: str, configuration: Configuration) -> Task:
    engine, precision = configuration
    given = ("--model", model, "--engine", engine, "--precision", precision)
    return Task(lambda out: segment_command(folder, out, *given), 2 * count)


def _name(configuration: Configuration) -> str:
    return " ".join(configuration)


def _print(report: Report, model: str, warm: dict[Configuration, float], cold: dict[int, dict[str, list[Run]]]) -> None:
    rows, lines = [], {}
    for key, latency in warm.items():
        name = _name(key)
        walls = {count: medians(runs[name]).wall for count, runs in cold.items()}
        peak = max(medians(runs[name]).peak for runs in cold.values())
        slope, start = np.polyfit(list(walls), list(walls.values()), 1)
        lines[key] = (float(start), float(slope))
        seconds = [f"{value:.2f}" for value in (*walls.values(), start)]
        rows.append([name, *seconds, f"{slope * 1000:.1f}", f"{latency * 1000:.1f}", f"{peak:.0f}"])
        report.figures[name] = {"warm s": latency, "start s": float(start), "s a photo": float(slope)}
        report.figures[name]["runs"] = {count: [asdict(run) for run in runs[name]] for count, runs in cold.items()}
    counts = [f"{count} photos, s" if count > 1 else "1 photo, s" for count in cold]
    report.show(table(["whole process", *counts, "start s", "ms a photo", "warm ms", "peak MB"], rows))
    first = CONFIGURATIONS[0]
    for key in [key for key in warm if key != first]:
        crossing = _break_even(lines[first], lines[key])
        report.figures[_name(key)]["break-even photos"] = crossing
        where = f"at {crossing:.1f} photos" if math.isfinite(crossing) else "nowhere on these figures"
        report.show(f"{_name(key)} overtakes {_name(first)} {where}.")
    if each := work_of_photo(find_model(model).config):
        report.show(f"`auto` takes OpenVINO from {math.ceil(MUCH_WORK / each)} photos on.")


def _break_even(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Where the second line (start, slope) comes to lie below the first; inf where it never does."""
    saved = first[1] - second[1]
    return max(0.0, (second[0] - first[0]) / saved) if saved > 0 else math.inf


if __name__ == "__main__":
    main()
