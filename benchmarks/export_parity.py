"""Whether the exported network computes what torch computes: equal pixels, and mean IoU, engine by engine.

Builds the bundle's architecture in torch, loads the bundle's weights into it, and lets torch (fp32), ONNX Runtime
(fp32) and OpenVINO (fp32, bf16) segment the same photos. Needs torch and a dataset; without one of them it skips.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Literal

import numpy as np

from _common import Report, parser, skip, table, verdict, versions, weights
from pixelwise.bundle import Bundle
from pixelwise.catalogue import find_model
from pixelwise.data import Dataset, open_dataset, recognise
from pixelwise.engine import Engine, load_engine
from pixelwise.errors import EngineError
from pixelwise.metrics import ConfusionMatrix, mean_iou
from pixelwise.segmenter import Segmenter

ENGINES: tuple[tuple[Literal["onnxruntime", "openvino"], Literal["fp32", "bf16"]], ...] = (
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
)
EQUAL_PIXELS = 0.9999
MEAN_IOU_MOVES = {"fp32": 0.001, "bf16": 0.002}
REFERENCE = "torch fp32"


def main() -> None:
    options = _options()
    if not options.data.is_dir():
        skip(f"there is no dataset in {options.data}; give --data.")
    if importlib.util.find_spec("torch") is None:
        skip(f"{sys.executable} has no torch.")
    report = Report(options, versions("pixelwise", "torch", "onnxruntime", "openvino") | weights(options.model))
    dataset = open_dataset(recognise(options.data), options.data, options.split)
    count = min(len(dataset), options.limit or len(dataset))
    bundle = find_model(options.model)
    segmenters = {
        name: Segmenter(engine, bundle.config.classes, bundle.config.input_spec)
        for name, engine in _engines(bundle).items()
    }
    equal, matrices = _compare(segmenters, dataset, count)
    _print(report, equal, {name: mean_iou(matrix).value for name, matrix in matrices.items()}, count)
    report.finish()


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--data", type=Path, default=Path("datasets/voc"), help="a dataset (default datasets/voc)")
    made.add_argument("--split", default="val")
    made.add_argument("--limit", type=int, help="only the first so many photos")
    made.add_argument("--model", default="default", help="a model's name or directory")
    return made.parse_args()


def _engines(bundle: Bundle) -> dict[str, Engine]:
    """All that this machine has, the reference first."""
    from pixelwise.standalone import torch_engine

    engines: dict[str, Engine] = {REFERENCE: torch_engine(bundle)}
    for name, precision in ENGINES:
        try:
            engines[f"{name} {precision}"] = load_engine(bundle.graph, name=name, precision=precision)
        except EngineError as error:
            print(f"\nskipped: {name} {precision}. {error}")
    return engines


def _compare(
    segmenters: dict[str, Segmenter], dataset: Dataset, count: int
) -> tuple[dict[str, float], dict[str, ConfusionMatrix]]:
    """Share of all pixels, at the photos' own size, on which each agrees with the reference; and its confusion."""
    classes = next(iter(segmenters.values())).classes
    matrices = {name: ConfusionMatrix(len(classes), ignore_index=classes.ignore_index) for name in segmenters}
    equal, pixels = dict.fromkeys(segmenters, 0), 0
    for index in range(count):
        sample = dataset[index]
        masks = {name: segmenter.predict(sample.image)[0] for name, segmenter in segmenters.items()}
        pixels += sample.mask.size
        for name, mask in masks.items():
            equal[name] += int(np.count_nonzero(mask == masks[REFERENCE]))
            matrices[name].update(sample.mask, mask, name=sample.id)
    return {name: number / pixels for name, number in equal.items()}, matrices


def _print(report: Report, equal: dict[str, float], means: dict[str, float], count: int) -> None:
    moves = {name: value - means[REFERENCE] for name, value in means.items()}
    report.figures = {
        name: {"equal pixels": equal[name], "mean IoU": means[name], "difference": moves[name]} for name in means
    }
    rows = [[name, f"{equal[name]:.4%}", f"{means[name]:.5f}", f"{moves[name]:+.5f}"] for name in means]
    report.show(table([f"{count} photos", "pixels equal to torch", "mean IoU", "difference"], rows))
    for name in list(means)[1:]:
        precision = name.split()[-1]
        if precision == "fp32":
            target = f"{name}, at least {EQUAL_PIXELS:.2%} equal"
            report.show(verdict(target, equal[name] >= EQUAL_PIXELS, f"{equal[name]:.4%}"))
        limit = MEAN_IOU_MOVES[precision]
        target = f"{name}, mean IoU moves by less than {limit}"
        report.show(verdict(target, abs(moves[name]) < limit, f"{moves[name]:+.5f}"))


if __name__ == "__main__":
    main()
