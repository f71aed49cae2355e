"""Counting pixels against torchmetrics: the confusion matrix of 360 x 480 masks of 11 classes, image by image.

`ConfusionMatrix.update` and torchmetrics' `MulticlassConfusionMatrix` go through the same masks in turn, three times,
and have to end with the same whole numbers. Both compute with as many threads as they choose.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from _common import Report, parser, skip, table, verdict, versions
from pixelwise.metrics import ConfusionMatrix

HEIGHT, WIDTH, CLASSES, IGNORED = 360, 480, 11, 255
FASTER = 10
ROUNDS = 3


def main() -> None:
    options = _options()
    try:
        import torch
        from torchmetrics.classification import MulticlassConfusionMatrix
    except ModuleNotFoundError as error:
        skip(f"there is no {error.name}.")
    report = Report(options, versions("pixelwise", "numpy", "torch", "torchmetrics"))
    generator = np.random.default_rng(0)
    ours = ConfusionMatrix(CLASSES, ignore_index=IGNORED)
    theirs = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORED, validate_args=not options.unchecked)
    pairs = [_masks(generator) for _ in range(options.images)]
    tensors = [tuple(torch.from_numpy(mask)[None] for mask in pair) for pair in pairs]
    times: dict[str, list[float]] = {"pixelwise": [], "torchmetrics": []}
    for _ in range(ROUNDS):  # one after the other, as torch's threads go on spinning for a while
        times["pixelwise"] += _timed(ours.update, pairs)
        times["torchmetrics"] += _timed(lambda target, answer: theirs.update(answer, target), tensors)
    equal = bool(np.array_equal(ours.counts, theirs.compute().numpy()))
    report.figures = {"seconds": times, "equal": equal}
    rows = [[name, f"{1000 * median(each):.2f}", f"{1000 * min(each):.2f}"] for name, each in times.items()]
    ratio = median(times["torchmetrics"]) / median(times["pixelwise"])
    report.show(
        table(
            [f"{HEIGHT} x {WIDTH}, {CLASSES} classes", f"ms an image, median of {len(times['pixelwise'])}", "fastest"],
            rows,
        ),
        verdict(f"at least {FASTER} times as fast as torchmetrics", ratio >= FASTER, f"{ratio:.1f} times"),
        verdict("the same whole numbers", equal, "equal" if equal else "they differ"),
    )
    report.finish()


def _timed(update: Callable[[Any, Any], object], pairs: Sequence[Sequence[Any]]) -> list[float]:
    """Seconds for each pair but the first three, which warm up."""
    seconds = []
    for target, prediction in pairs:
        start = time.perf_counter()
        update(target, prediction)
        seconds.append(time.perf_counter() - start)
    return seconds[3:]


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--images", type=int, default=101, help="measured images (default 101)")
    made.add_argument("--unchecked", action="store_true", help="let torchmetrics skip its check of the values")
    return made.parse_args()


def _masks(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A mask of patches with some ignored, and an answer of which a tenth is wrong."""
    patches = generator.integers(0, CLASSES, (HEIGHT // 24, WIDTH // 24))
    target = np.kron(patches, np.ones((24, 24))).astype(np.uint8)
    wrong = generator.random(target.shape) < 0.1
    prediction = np.where(wrong, generator.integers(0, CLASSES, target.shape), target).astype(np.uint8)
    target[generator.random(target.shape) < 0.05] = IGNORED
    return target, prediction


if __name__ == "__main__":
    main()
