"""How good the default model is: mean IoU with 95 % intervals, and IoU by class, on VOC and COCO validation photos.

Mean IoU twice: over the seven classes that the data has plenty of, and over every defined class. Intervals are from a
bootstrap over photos. Photos are shown at the sizes given and measured at their own. Without data it skips.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

import pixelwise
from _common import Report, parser, skip, table, versions, weights
from pixelwise.data import Dataset, open_dataset
from pixelwise.evaluate import Evaluation, evaluate
from pixelwise.metrics import bootstrap_mean_iou
from pixelwise.segmenter import Size

COMMON = ("background", "person", "cat", "dog", "horse", "sheep", "cow")


def main() -> None:
    options = _options()
    roots = {"voc": options.voc, "coco_voc": options.coco}
    datasets = {name: open_dataset(name, root, options.split) for name, root in roots.items() if root.is_dir()}
    if not datasets:
        skip(f"there is no dataset in {options.voc} or {options.coco}; give --voc and --coco.")
    report = Report(
        options, versions("pixelwise", "numpy", "pillow", "onnxruntime", "openvino") | weights(options.model)
    )
    evaluations: dict[str, Evaluation] = {}
    for name, dataset in datasets.items():
        for size in options.sizes:
            for flip in (False, True) if options.flip else (False,):
                label = f"{name}/{options.split}, size {size or 'auto'}{', flip' if flip else ''}"
                evaluations[label] = _evaluate(options, dataset, size=size, flip=flip)
    report.figures = {label: _figures(evaluation) for label, evaluation in evaluations.items()}
    report.show(_means(report.figures), _by_class(evaluations))
    report.finish()


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--voc", type=Path, default=Path("datasets/voc"), help="VOC layout (default datasets/voc)")
    made.add_argument(
        "--coco", type=Path, default=Path("datasets/coco"), help="coco_voc layout (default datasets/coco)"
    )
    made.add_argument("--split", default="val")
    made.add_argument("--sizes", type=_size, nargs="+", default=[None], help="auto, native or pixels (default auto)")
    made.add_argument("--flip", action="store_true", help="measure with the mirrored photo averaged in, too")
    made.add_argument("--model", default="default", help="a model's name or directory")
    made.add_argument("--engine", default="openvino", choices=("onnxruntime", "openvino"))
    made.add_argument("--precision", default="fp32", choices=("auto", "fp32", "bf16"), help="(default fp32)")
    return made.parse_args()


def _size(text: str) -> Size:
    if text in ("auto", "native"):
        return None if text == "auto" else "native"
    return int(text)


def _evaluate(options: argparse.Namespace, dataset: Dataset, *, size: Size, flip: bool) -> Evaluation:
    given = {"engine": options.engine, "precision": options.precision}
    return evaluate(pixelwise.load(options.model, **given, size=size, flip=flip), [dataset])


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    names, matrices = evaluation.classes.names, evaluation.per_image
    common, every = (bootstrap_mean_iou(matrices, over=over) for over in ([names.index(name) for name in COMMON], None))
    return {
        **evaluation.scores.to_json(),
        "common": [common.estimate, common.low, common.high],
        "every": [every.estimate, every.low, every.high],
        "defined": sum(not math.isnan(value) for value in evaluation.scores.iou),
    }


def _means(figures: dict[str, Any]) -> str:
    headings = ["data, size", "photos", "mean IoU of 7 classes", "of all defined", "how many", "pixel accuracy"]
    rows = []
    for label, found in figures.items():
        means = (_interval(found[key]) for key in ("common", "every"))
        rows.append([label, found["images"], *means, found["defined"], f"{found['pixel_accuracy']:.4f}"])
    return table(headings, rows) + f"\n\nThe 7 classes: {', '.join(COMMON)}. In brackets 95 % intervals over photos."


def _interval(values: list[float]) -> str:
    return "{:.4f} ({:.4f} to {:.4f})".format(*values)


def _by_class(evaluations: dict[str, Evaluation]) -> str:
    """IoU by class, and in how many photos the ground truth has it; a dash where the class is undefined."""
    names = next(iter(evaluations.values())).classes.names
    rows = [[name] for name in names]
    for evaluation in evaluations.values():
        photos = np.count_nonzero(evaluation.per_image.sum(axis=2), axis=0)
        for row, value, count in zip(rows, evaluation.scores.iou, photos, strict=True):
            row += ["–" if math.isnan(value) else f"{value:.4f}", str(count)]
    headings = [heading for label in evaluations for heading in (f"IoU, {label}", "photos")]
    return table(["class", *headings], rows)


if __name__ == "__main__":
    main()
