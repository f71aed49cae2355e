"""One network on one runtime, from pixels to class ids, in a process of its own: what `performance.py` runs.

    NETWORK RUNTIME FOLDER START CALLS SECONDS

START is what `time.monotonic` said before this process began. Prints as JSON the seconds until the first answer, the
milliseconds of each call after that, the process's peak memory and what computed; or why it cannot be done.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _common import PHOTOS
from _performance_models import MEAN, SIZE, STD, build_module, prepare, prepare_int8
from pixelwise.engine import OpenVINOEngine, load_exported
from pixelwise.images import read_image

Pixels = NDArray[np.uint8]
Segment = Callable[[Pixels], Pixels]
"""uint8 (H, W, 3) -> class ids uint8 (H, W)."""

WARM_UP, MOST = 1, 60


def main() -> None:
    name, runtime, folder, start, calls, seconds = sys.argv[1:]
    try:
        print(json.dumps(_measure(name, runtime, Path(folder), float(start), int(calls), float(seconds))))
    except Exception as error:  # whatever a runtime raises: it is the result
        print(json.dumps({"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"}))


def _measure(name: str, runtime: str, folder: Path, start: float, calls: int, seconds: float) -> dict[str, Any]:
    segment, computes = _runtime(name, runtime, folder)
    photo = read_image(PHOTOS / "astronaut.png").pixels
    ids = segment(photo)
    cold = time.monotonic() - start
    if ids.shape != (SIZE, SIZE) or ids.dtype != np.uint8:
        raise ValueError(f"the answer is {ids.dtype} {ids.shape}")
    for _ in range(WARM_UP):
        segment(photo)
    times: list[float] = []
    while len(times) < calls or (sum(times) < 1e3 * seconds and len(times) < MOST):
        before = time.perf_counter()
        segment(photo)
        times.append(1e3 * (time.perf_counter() - before))
    return {"cold": cold, "ms": times, "MB": _peak(), "engine": computes}


def _runtime(name: str, runtime: str, folder: Path) -> tuple[Segment, str]:
    """What answers, and what it says that it computes in."""
    if runtime.startswith("torch"):
        return _torch(name, runtime)
    prepared = partial(prepare_int8, photos=()) if "int8" in runtime else prepare  # they lie there already
    if runtime.startswith("pixelwise"):
        import pixelwise

        segmenter = pixelwise.load(prepared(name, folder).path, size=SIZE)
        return lambda pixels: segmenter.predict(pixels)[0], f"{segmenter.engine.name} {segmenter.engine.precision}"
    return _bare(prepared(name, folder, whole=True).graph, runtime)


def _torch(name: str, runtime: str) -> tuple[Segment, str]:
    """What a script of torch does. `max` gives what `argmax` gives, in half of its time on a processor."""
    import torch

    number = torch.bfloat16 if runtime == "torch bf16" else torch.float32
    plain = runtime in ("torch eager", "torch.compile")
    layout = torch.contiguous_format if plain else torch.channels_last
    module: Any = build_module(name).to(number).to(memory_format=layout)
    if runtime == "torch.compile":
        module = torch.compile(module)
    mean, scale = (torch.from_numpy(each) for each in _normalisation())

    def segment(pixels: Pixels) -> Pixels:
        with torch.inference_mode():
            photo = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
            images = ((photo - mean) * scale).to(dtype=number, memory_format=layout)
            return module(images).max(1).indices[0].byte().numpy()  # type: ignore[no-any-return]

    return segment, runtime


def _bare(graph: Path, runtime: str) -> tuple[Segment, str]:
    """An engine by itself, with the shortest way in and out in NumPy."""
    logits = _logits(graph, runtime)
    mean, scale = _normalisation()

    def segment(pixels: Pixels) -> Pixels:
        images = np.empty((1, 3, *pixels.shape[:2]), np.float32)
        np.subtract(pixels.transpose(2, 0, 1), mean[0], out=images[0])
        images *= scale
        return _class_ids(logits(images)[0])

    return segment, runtime


def _logits(graph: Path, runtime: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    if runtime == "OpenVINO int8":
        return load_exported(graph, stored="int8")
    if runtime != "ONNX Runtime":
        return OpenVINOEngine(graph, precision="bf16" if runtime == "OpenVINO bf16" else "fp32")
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when it is imported
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def _normalisation() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What is subtracted from values of 0 to 255, and what multiplies them then: (1, 3, 1, 1) each."""
    mean, std = (255 * np.asarray(each, np.float32).reshape(1, 3, 1, 1) for each in (MEAN, STD))
    return mean, (1 / std).astype(np.float32)


def _class_ids(logits: NDArray[np.float32]) -> Pixels:
    """(C, H, W) -> (H, W), in three quarters of the time of `argmax` over the first axis."""
    ids, best = np.zeros(logits.shape[1:], np.uint8), logits[0].copy()
    for index in range(1, len(logits)):
        np.copyto(ids, np.uint8(index), where=logits[index] > best)
        np.maximum(best, logits[index], out=best)
    return ids


def _peak() -> float:
    """The most memory that this process ever had, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


if __name__ == "__main__":
    main()
