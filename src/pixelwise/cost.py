"""What a model costs: parameters, arithmetic, disk, time and memory on this machine, and the time of its training."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.bundle import Bundle
from pixelwise.engine import graph_operations
from pixelwise.errors import EngineError
from pixelwise.figures import milliseconds
from pixelwise.run_directory import RunDirectory
from pixelwise.segmenter import Segmenter

MOST_ROUNDS, _FEWEST_ROUNDS = 30, 7
_SECONDS = 3.0  # of computing a model, after which the fewest rounds are enough
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")

# The new process reports the most memory it ever had: of its own, not of the one that started it.
_CHILD = """
import json, resource, sys
import numpy as np
from pixelwise.api import load
model, how, shape = map(json.loads, sys.argv[1:])
load(model, **how).predict(np.zeros(shape, np.uint8))
try:
    with open("/proc/self/status") as file:
        print(next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM")))
except OSError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from a photo's pixels to its mask: median and quartiles over so many calls."""

    median: float
    lower: float
    upper: float
    calls: int

    def __str__(self) -> str:
        """In milliseconds, to read."""
        median, lower, upper = map(milliseconds, (self.median, self.lower, self.upper))
        return f"{median} ({lower} to {upper})"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model costs.

    Attributes:
        parameters: what was learned; the statistics of batch normalisation are not among it.
        multiply_adds: of the convolutions and matrix products for one photo of the size below; None where unknown.
        size_seen: height and width at which the network sees that photo, padding included.
        bytes_on_disk: graph and weights.
        latency: on this machine.
        engine: what computed, and in which precision.
        peak_memory: bytes, the most that a process has which loads the model and segments that photo; None where there
            was too little for it.
        training_seconds: None where the model does not lie in the directory of its run.
    """

    parameters: int
    multiply_adds: int | None
    size_seen: tuple[int, int]
    bytes_on_disk: int
    latency: Latency
    engine: str
    peak_memory: int | None
    training_seconds: float | None


def measure_latencies(
    segmenters: Sequence[Segmenter],
    photos: Sequence[NDArray[np.uint8]],
    *,
    advance: Callable[[float], None] = lambda share: None,
) -> list[Latency]:
    """Time models in turn, A B C A B C, so that a machine that slows down slows all of them.

    Args:
        segmenters: the models.
        photos: uint8 (H, W, 3), taken in turn; one at least.
        advance: called with 1 after each round, of which there are `MOST_ROUNDS` at most.
    """
    for segmenter in segmenters:
        segmenter.predict(photos[0])
    seconds: list[list[float]] = [[] for _ in segmenters]
    for number in range(MOST_ROUNDS):
        if number >= _FEWEST_ROUNDS and min(map(sum, seconds)) > _SECONDS:
            break
        for segmenter, own in zip(segmenters, seconds, strict=True):
            start = time.perf_counter()
            segmenter.predict(photos[number % len(photos)])
            own.append(time.perf_counter() - start)
        advance(1)
    return [_latency(own) for own in seconds]


def _latency(seconds: Sequence[float]) -> Latency:
    lower, median, upper = np.percentile(seconds, (25, 50, 75)).tolist()
    return Latency(median, lower, upper, len(seconds))


def cost(bundle: Bundle, segmenter: Segmenter, latency: Latency, *, height: int, width: int) -> Cost:
    """All of it, for a photo of that size.

    Args:
        bundle: the model.
        segmenter: the same, ready to run.
        latency: what was measured of it.
        height: of a photo.
        width: likewise.

    Raises:
        EngineError: the model cannot be run in a process of its own.
    """
    seen = segmenter.size_seen(height, width)
    run = RunDirectory(bundle.path.resolve().parent)
    trained = run.seconds() if run.model.name == bundle.path.resolve().name else 0.0
    return Cost(
        parameters=count_parameters(bundle),
        multiply_adds=count_multiply_adds(bundle.graph, *seen),
        size_seen=seen,
        bytes_on_disk=bundle.bytes_on_disk,
        latency=latency,
        engine=f"{segmenter.engine.name}, {segmenter.engine.precision}",
        peak_memory=_peak_memory(bundle, segmenter, height, width),
        training_seconds=trained or None,
    )


def count_parameters(bundle: Bundle) -> int:
    """Learned values, from the header of the safetensors file; of an exported model, those that it was made of."""
    if bundle.config.form != "onnx":
        return int(bundle.config.provenance["export"]["parameters"])
    with bundle.weights.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(
        math.prod(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and not name.endswith(_BUFFERS)
    )


def count_multiply_adds(graph: Path, height: int, width: int) -> int | None:
    """Multiply-adds of convolutions and matrix products for one photo of that size, None if the graph does not tell."""
    try:
        operations = graph_operations(graph, height, width)
    except EngineError:
        return None
    # Each weight of a convolution meets each position of its output once; of a transposed one, of its input.
    return sum(math.prod(weights) * math.prod(positions[2:]) for weights, positions in operations)


def engines(names: Sequence[str], costs: Sequence[Cost]) -> str:
    """What computed, and in which precision; where that is not the same for all models, with their names."""
    found: dict[str, list[str]] = {}
    for name, cost in zip(names, costs, strict=True):
        found.setdefault(cost.engine, []).append(name)
    return "; ".join(f"{engine} ({', '.join(own)})" if len(found) > 1 else engine for engine, own in found.items())


def _peak_memory(bundle: Bundle, segmenter: Segmenter, height: int, width: int) -> int | None:
    engine = segmenter.engine
    precision = "auto" if engine.precision == "int8" else engine.precision  # the model's own, which none can ask for
    how = {"engine": engine.name, "precision": precision, "size": segmenter.size, "flip": segmenter.flip}
    command = [sys.executable, "-c", _CHILD, *map(json.dumps, (str(bundle.path), how, (height, width, 3)))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode < 0:  # killed, as where there is too little memory for one more; the other figures remain
        return None
    if done.returncode:
        raise EngineError(f"{bundle.path} cannot be run in a process of its own: {done.stderr.strip()[-300:]}")
    return int(done.stdout.split()[-1])  # the last line: a library may have said something before
