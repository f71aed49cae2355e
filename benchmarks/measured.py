"""What `pixelwise advise` knows: what each architecture costs, measured now, and how good it was in docs/reproduction.

Writes src/pixelwise/measured.json, and the table of costs in docs/which-model.md. The costs are those of random weights
for 21 classes and a photo of 512 x 512 pixels on OpenVINO: the time of each call stands beside that of the default
model, called in turn with it, so that another machine's times can be told from the default model's there. The
accuracies are those of `benchmarks/reproduction.py`.

  python benchmarks/measured.py             # all
  python benchmarks/measured.py --accuracy  # read the accuracies anew, keep the costs
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from _common import ROOT, machine, put_between_marks, table, versions
from pixelwise import load
from pixelwise.bundle import BundleConfig, InputSpec, write_bundle
from pixelwise.cost import cost, measure_latencies
from pixelwise.labels import VOC
from reproduction import RESULTS, arguments_of

TABLE = ROOT / "src" / "pixelwise" / "measured.json"
DOCUMENT = ROOT / "docs" / "which-model.md"
SIDE = 512
THIN, SMALL = ("pole", "sign"), ("pedestrian", "bicyclist", "sign")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracy", action="store_true", help="keep the costs that are there")
    options = parser.parse_args()
    known = json.loads(TABLE.read_text()) if options.accuracy else _costs()
    known["trainings"] = _trainings()
    TABLE.write_text(json.dumps(known, indent=1) + "\n")
    put_between_marks(DOCUMENT, "costs", _cost_table(known["costs"]))
    print(f"-> {TABLE}, {DOCUMENT}")


def _cost_table(costs: dict[str, Any]) -> str:
    """A row an architecture, the fastest first."""
    headings = ["network", "times the default model", "memory", "files", "parameters", "multiply-adds"]
    rows = [
        (
            entry["seconds"] / entry["seconds_of_default"],
            name,
            f"{entry['peak_memory'] / 1e6:.0f} MB",
            f"{entry['bytes_on_disk'] / 1e6:.0f} MB",
            f"{entry['parameters'] / 1e6:.1f} M",
            f"{entry['multiply_adds'] / 1e9:.0f} G",
        )
        for name, entry in costs.items()
    ]
    return table(headings, [(name, f"{ratio:.1f}", *rest) for ratio, name, *rest in sorted(rows)])


def _costs() -> dict[str, Any]:
    from pixelwise.models import names

    costs = {}
    for name in names():
        costs[name] = _cost(name)
        print(name, costs[name], flush=True)
    conditions = {
        "photo": [SIDE, SIDE],
        "classes": len(VOC),
        "machine": machine(),
        "versions": versions("pixelwise", "openvino", "torch"),
        "date": date.today().isoformat(),
        "command": "python benchmarks/measured.py",
    }
    return {"conditions": conditions, "costs": costs}


def _cost(name: str) -> dict[str, Any]:
    from pixelwise.export import export_module, input_sizes
    from pixelwise.models import arguments, build

    given = arguments_of(name)
    module = build(name, num_classes=len(VOC), arguments_given=given)
    graph, weights = export_module(module)
    multiple, stride = input_sizes(module)
    spec = InputSpec((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), SIDE, multiple, output_stride=stride)
    config = BundleConfig(name, name, arguments(name, given), VOC, spec)
    photo = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as directory:
        bundle = write_bundle(Path(directory) / "model", config, graph=graph, weights=weights)
        del graph, weights, module
        models = [load(bundle.path, engine="openvino"), load(engine="openvino", size=SIDE)]
        own, default = measure_latencies(models, [photo])
        found = cost(bundle, models[0], own, height=SIDE, width=SIDE)
    return {
        "arguments": given,
        "parameters": found.parameters,
        "multiply_adds": found.multiply_adds,
        "bytes_on_disk": found.bytes_on_disk,
        "peak_memory": found.peak_memory,
        "engine": found.engine,
        "seconds": round(own.median, 4),
        "seconds_of_default": round(default.median, 4),
    }


def _trainings() -> list[dict[str, Any]]:
    """A row for each training in docs/reproduction: what was trained on what, and how good it is on `test`."""
    rows = []
    for path in sorted(RESULTS.glob("*/*/metrics.json")):
        metrics = json.loads(path.read_text())
        test = metrics["test"]
        iou = dict(zip(test["classes"], test["figures_per_class"]["iou"], strict=True))
        rows.append(
            {
                "dataset": path.parts[-3],
                "name": path.parts[-2].rpartition("-")[0],
                "seed": metrics["provenance"]["seed"],
                "architecture": metrics["architecture"]["name"],
                "pretrained": metrics["pretrained"],
                "after": _after(path.with_name("recipe.yaml")),
                "photos": metrics["photos"],
                "seconds": metrics["training_seconds"],
                "mean_iou": test["figures"]["mean_iou"],
                "boundary_iou": test["figures"]["mean_boundary_iou"],
                **{
                    key: round(float(np.mean([iou[name]["value"] for name in names])), 4)
                    for key, names in (("thin", THIN), ("small", SMALL))
                    if set(names) <= set(iou)
                },
            }
        )
    return rows


def _after(recipe: Path) -> str | None:
    """The architecture that a training went on from."""
    weights = yaml.safe_load(recipe.read_text())["model"]["weights"]
    if weights is None:
        return None
    coarser = RESULTS / Path(weights).parent.relative_to("RUNS") / "metrics.json"
    return str(json.loads(coarser.read_text())["architecture"]["name"])


if __name__ == "__main__":
    main()
