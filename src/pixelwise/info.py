"""What this machine will compute with, and why: tried, not looked up."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from pixelwise.api import bundle_of, load
from pixelwise.catalogue import work_of_photo
from pixelwise.cost import measure_latencies
from pixelwise.engine import MUCH_WORK, Engine, openvino_core
from pixelwise.errors import EngineError
from pixelwise.machine import core_quota, cores, memory, processor

_PHOTO = (480, 640, 3)
_INSTRUCTIONS = {"BF16": "bf16", "FP16": "fp16", "INT8": "int8"}  # OpenVINO's names for what it has kernels for
_ENGINES = ("onnxruntime", "openvino", "torch")


@dataclass(frozen=True, slots=True)
class Choice:
    """What computes in one case.

    Attributes:
        photos: of which case, in words.
        engine: its name and precision; or why there is none.
        load_seconds: from nothing to ready; None without an engine.
        photo_seconds: median for the pixels of a photo of 640 x 480, on all cores.
        reason: why this one.
    """

    photos: str
    engine: str
    load_seconds: float | None
    photo_seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Info:
    """What there is, and what is made of it.

    Attributes:
        machine: in words, by what it is of.
        choices: the cases that `auto` tells apart.
        versions: of what is installed, by package; None of what is not.
        extras: of the package, and what each lacks.
    """

    machine: dict[str, str]
    choices: tuple[Choice, ...]
    versions: dict[str, str | None]
    extras: dict[str, tuple[str, ...]]


def info(model: str | Path) -> Info:
    """Find out what this machine computes a model with.

    Args:
        model: a name from `pixelwise models`, or a bundle's directory.

    Raises:
        BundleError: there is no such model, or it is damaged.
        PixelwiseError: it is to be converted, and that takes torch, or its weights cannot be fetched.
    """
    kinds = _instructions()
    return Info(
        machine=_machine(kinds),
        choices=tuple(_choice(model, words, photos, kinds) for words, photos in _cases(model)),
        versions={name: _version(name) for name in _ENGINES},
        extras=_extras(),
    )


def _cases(model: str | Path) -> list[tuple[str, int | None]]:
    """The numbers of photos between which `auto` tells apart, in words, and one of each."""
    config = bundle_of(model).config
    each = work_of_photo(config) if config.form == "onnx" else None
    few = math.ceil(MUCH_WORK / each) - 1 if each else 0
    return [(f"up to {few}", 1), ("more, or served", None)] if few else [("any", None)]


def _machine(kinds: tuple[str, ...]) -> dict[str, str]:
    quota = " (the container's quota)" if core_quota() else ""
    return {
        "processor": processor(),
        "cores": f"{cores()}{quota}",
        "memory": f"{memory() / 2**30:.1f} GiB",
        "instructions for": ", ".join(("fp32", *kinds)),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "models fetched to": str(user_cache_path("pixelwise") / "models"),
    }


def _instructions() -> tuple[str, ...]:
    """The short numbers that the processor computes with, as far as OpenVINO knows."""
    try:
        told = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except EngineError:
        return ()
    return tuple(name for key, name in _INSTRUCTIONS.items() if key in told)


def _choice(model: str | Path, words: str, photos: int | None, kinds: tuple[str, ...]) -> Choice:
    start = time.perf_counter()
    try:
        segmenter = load(model, photos=photos)
    except EngineError as error:
        return Choice(words, "none", None, None, str(error))
    loaded = time.perf_counter() - start
    (latency,) = measure_latencies([segmenter], [np.full(_PHOTO, 128, np.uint8)])
    engine = segmenter.engine
    return Choice(words, f"{engine.name}, {engine.precision}", loaded, latency.median, _reason(engine, kinds))


def _reason(engine: Engine, kinds: tuple[str, ...]) -> str:
    if engine.name == "onnxruntime":
        return "it starts fastest"
    if engine.precision == "int8":
        return "the model was exported so"
    if engine.precision == "bf16":
        return "it computes fastest, and the processor has bf16"
    return "it computes fastest" + ("; the model was exported so" if "bf16" in kinds else "; the processor has no bf16")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extras() -> dict[str, tuple[str, ...]]:
    """What `pip install 'pixelwise[NAME]'` would bring, by name; of `dev`, who develops knows."""
    try:
        about: Any = importlib.metadata.metadata("pixelwise")
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return {}
    wanted: dict[str, list[str]] = {name: [] for name in about.get_all("Provides-Extra", []) if name != "dev"}
    for line in about.get_all("Requires-Dist", []):
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        package = re.match(r"[\w.-]+", line)
        if extra and package and extra[1] in wanted and _version(package[0]) is None:
            wanted[extra[1]].append(package[0])
    return {name: tuple(lacking) for name, lacking in sorted(wanted.items())}
