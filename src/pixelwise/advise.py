"""Which model for this case, from measured figures.

What is known is a table inside the package, `measured.json`, that `benchmarks/measured.py` writes: what each
architecture costs, and how good its trainings in docs/reproduction.md are. Nothing here is opinion: where nothing was
measured, it says so.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.errors import PixelwiseError

_TABLE = Path(__file__).with_name("measured.json")

AIMS = {
    "overall": ("mean IoU", "mean_iou", ()),
    "thin": ("IoU of poles and signs", "thin", ("camvid",)),
    "small": ("IoU of pedestrians, bicyclists and signs", "small", ("camvid",)),
}
"""What to rank by: in words, its key in the table, and the datasets that have it (none: all)."""

_FINDS_NONE = 0.01
"""Of an IoU: below it, a training found nothing of what is wanted to speak of."""

DATASETS = {"camvid": "CamVid", "pets": "Oxford-IIIT Pet"}


@dataclass(frozen=True, slots=True)
class Case:
    """What a model is wanted for.

    Attributes:
        images: how many labelled photos there are; None for unknown.
        size: longer side of the photos that the network is to see, in pixels.
        max_seconds: for one photo on this machine; None for any.
        max_memory: bytes, of a process that segments one photo; None for any.
        aim: a key of `AIMS`.
        pretrained: whether weights that were trained on ImageNet may be started from.
        gpu: whether it is to run on a GPU, where no time was measured.
    """

    images: int | None = None
    size: int = 512
    max_seconds: float | None = None
    max_memory: float | None = None
    aim: str = "overall"
    pretrained: bool = True
    gpu: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to train a model, and what is known of it for a case.

    Attributes:
        name: what docs/reproduction.md calls it.
        architecture: what to give to --model.
        arguments: what it was built with, other than its defaults.
        pretrained: whether its encoder started from ImageNet weights.
        after: the architecture whose trained weights it goes on from, as FCN-8s from FCN-16s; None for none.
        accuracy: by dataset, what the aim ranks by on `test`, a mean over trainings; empty where nothing was trained.
        interval: by dataset, of that figure; of a mean over trainings, or of an IoU of few classes, none is known.
        trainings: by dataset, how many there are.
        seconds: expected for a photo on this machine; None on a GPU.
        memory: bytes, of a process that segments one photo of 512 x 512 pixels.
        parameters: how many.
        refused: for what it is out of the question, "time", "memory" or "weights", or as it "finds none" of what is
            wanted; empty where it is not.
        behind: by how much the best on a dataset is better, a mean over the datasets it was trained on itself; None
            where nothing was trained.
    """

    name: str
    architecture: str
    arguments: Mapping[str, Any]
    pretrained: bool
    after: str | None
    accuracy: Mapping[str, float]
    interval: Mapping[str, tuple[float, float]]
    trainings: Mapping[str, int]
    seconds: float | None
    memory: int
    parameters: int
    refused: str = ""
    behind: float | None = None


@functools.cache
def measured() -> dict[str, Any]:
    """The table: `conditions`, `costs` by architecture, `trainings`."""
    table: dict[str, Any] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return table


def advise(case: Case, *, seconds_of_default: float | None, table: Mapping[str, Any] | None = None) -> list[Candidate]:
    """All that is known for a case: what is recommended first, the best before the others; then what is refused.

    A candidate is ranked by how far it is behind the best on each dataset that it was trained on, so that one is not
    the better for having been trained on the easier of them; those that were not trained come last, by time.

    Args:
        case: what a model is wanted for.
        seconds_of_default: what the default model takes here for a photo of the table's size; None on a GPU.
        table: another one than the package's.

    Raises:
        PixelwiseError: a size or a limit is not positive or not finite, or the aim is none.
    """
    limits = (case.images, case.size, case.max_seconds, case.max_memory)
    if any(limit is not None and not 0 < limit < math.inf for limit in limits):
        raise PixelwiseError("Numbers of images, sizes and limits must be positive, and not infinite.")
    if case.aim not in AIMS:
        raise PixelwiseError(f"There is no aim {case.aim!r}; there are: {', '.join(AIMS)}.")
    table = measured() if table is None else table
    candidates = [
        _candidate(name, rows, case, seconds_of_default, table) for name, rows in _ways(table["trainings"]).items()
    ]
    trained = {row["architecture"] for row in table["trainings"]}
    candidates += [
        _candidate(name, [], case, seconds_of_default, table) for name in table["costs"] if name not in trained
    ]
    best: dict[str, float] = {}
    for each in candidates:
        for dataset, value in each.accuracy.items():
            best[dataset] = max(value, best.get(dataset, value))
    return sorted((_placed(each, best) for each in candidates), key=_rank)


def _placed(candidate: Candidate, best: Mapping[str, float]) -> Candidate:
    behind = [best[dataset] - value for dataset, value in candidate.accuracy.items()]
    return replace(candidate, behind=float(np.mean(behind))) if behind else candidate


def _ways(trainings: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    ways: dict[str, list[Mapping[str, Any]]] = {}
    for row in trainings:
        ways.setdefault(row["name"], []).append(row)
    return ways


def _candidate(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    case: Case,
    seconds_of_default: float | None,
    table: Mapping[str, Any],
) -> Candidate:
    architecture = rows[0]["architecture"] if rows else name
    cost = table["costs"][architecture]
    _, key, only = AIMS[case.aim]
    datasets = dict.fromkeys(row["dataset"] for row in rows if not only or row["dataset"] in only)
    of = {dataset: [row for row in rows if row["dataset"] == dataset] for dataset in datasets}
    values = {dataset: [_number(row[key]) for row in own] for dataset, own in of.items()}
    seconds = None
    if seconds_of_default is not None:
        # Convolutions take time with the pixels that they see.
        scale = case.size**2 / (table["conditions"]["photo"][0] * table["conditions"]["photo"][1])
        seconds = cost["seconds"] / cost["seconds_of_default"] * seconds_of_default * scale
    found = Candidate(
        name=name,
        architecture=architecture,
        arguments=cost["arguments"],
        pretrained=any(row["pretrained"] for row in rows),
        after=next((row["after"] for row in rows if row["after"]), None),
        accuracy={dataset: float(np.mean(each)) for dataset, each in values.items()},
        interval={
            dataset: (own[0][key]["low"], own[0][key]["high"])
            for dataset, own in of.items()
            if len(own) == 1 and isinstance(own[0][key], Mapping)
        },
        trainings={dataset: len(own) for dataset, own in of.items()},
        seconds=seconds,
        memory=cost["peak_memory"],
        parameters=cost["parameters"],
    )
    return _judged(found, case)


def _number(value: Any) -> float:
    """A figure, with or without its interval."""
    return float(value["value"] if isinstance(value, Mapping) else value)


def _judged(candidate: Candidate, case: Case) -> Candidate:
    if candidate.pretrained and not case.pretrained:
        return replace(candidate, refused="weights")
    if case.max_memory is not None and candidate.memory > case.max_memory:
        return replace(candidate, refused="memory")
    if candidate.accuracy and max(candidate.accuracy.values()) < _FINDS_NONE:
        return replace(candidate, refused="finds none")
    if case.max_seconds is not None and candidate.seconds is not None and candidate.seconds > case.max_seconds:
        return replace(candidate, refused="time")
    return candidate


def _rank(candidate: Candidate) -> tuple[bool, bool, float, float]:
    """Recommended before refused, trained before not trained, then the better, then the faster."""
    return bool(candidate.refused), candidate.behind is None, candidate.behind or 0.0, candidate.seconds or 0.0


def reasons(candidate: Candidate, others: Sequence[Candidate], case: Case) -> list[str]:
    """Why a candidate is where it is, each with its figure."""
    aim = AIMS[case.aim][0]
    told = [
        f"{aim} {value:.3f} on {DATASETS[dataset]}'s test photos"
        + (f", the mean of {candidate.trainings[dataset]} trainings" if candidate.trainings[dataset] > 1 else "")
        for dataset, value in candidate.accuracy.items()
    ]
    twin = next((o for o in others if _made_alike(o, candidate) and not o.pretrained), None)
    if candidate.pretrained and twin is not None:
        both = [dataset for dataset in candidate.accuracy if dataset in twin.accuracy]
        ends = [f"{twin.accuracy[dataset]:.3f} on {DATASETS[dataset]}" for dataset in both]
        if ends:
            told.append(f"ImageNet weights in its encoder: from random ones it came to {' and '.join(ends)}")
    if candidate.after is not None:
        told.append(f"goes on from {candidate.after}, which is trained first")
    if candidate.pretrained and candidate.architecture == "unet":
        told.append(
            "the command starts from pixelwise's own model, which shares the network: that was not measured here"
        )
    if candidate.seconds is not None:
        told.append(f"about {1000 * candidate.seconds:.0f} ms for a photo of {case.size} x {case.size} pixels here")
    told.append(f"{candidate.memory / 1e6:.0f} MB for a process that segments a photo of 512 x 512")
    return told


def _made_alike(one: Candidate, other: Candidate) -> bool:
    """Whether they are the same network, trained in as many stages."""
    return (one.architecture, one.after) == (other.architecture, other.after)


def remarks(case: Case, table: Mapping[str, Any] | None = None) -> list[str]:
    """How far the figures reach for a case."""
    table = measured() if table is None else table
    photos = {row["dataset"]: row["photos"]["train"] for row in table["trainings"]}
    told = [f"{count} of {DATASETS[dataset]}" for dataset, count in sorted(photos.items())]
    found = [f"The accuracies come from short trainings on few photos ({', '.join(told)})."] if told else []
    if case.images is not None and photos and not min(photos.values()) / 4 <= case.images <= 4 * max(photos.values()):
        fewer = case.images < min(photos.values())
        found.append(
            f"You have {case.images}, far {'fewer' if fewer else 'more'}: nothing was measured there, and the order "
            "may be another."
        )
    side = max(table["conditions"]["photo"])
    if case.max_memory is not None and case.size > side:
        found.append(
            f"Memory was measured at {side} pixels, and it is that which is held against the limit; at {case.size} all "
            "take more."
        )
    if case.gpu:
        found.append("No time was measured on a GPU; limits of time were not looked at.")
    return found


def largest_size(candidate: Candidate, case: Case) -> int | None:
    """The side of photos, a multiple of 32, up to which a candidate keeps to the time; None where none is known."""
    if case.max_seconds is None or not candidate.seconds:
        return None
    return int(case.size * math.sqrt(case.max_seconds / candidate.seconds) / 32) * 32


def command(candidate: Candidate) -> str:
    """What to type to train it."""
    words = f"pixelwise train --data YOUR_FOLDER --model {candidate.architecture}"
    for key, value in candidate.arguments.items():
        words += f" --set model.arguments.{key}={json.dumps(value)}"
    if candidate.after is not None:  # where a run of that architecture lies unless it is told otherwise
        return f"{words} --set model.weights=runs/YOUR_FOLDER-{candidate.after}/best.safetensors"
    return words if candidate.pretrained else f"{words} --set model.encoder_weights=null"
