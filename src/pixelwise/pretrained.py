"""Torchvision's pretrained networks as bundles: fetched and converted once, run without torch ever after."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from torchvision.models import get_weight

from pixelwise.bundle import Bundle, BundleConfig, InputSpec, write_bundle
from pixelwise.colours import for_display
from pixelwise.export import export_module, input_sizes
from pixelwise.labels import VOC
from pixelwise.models import architecture, arguments, build


def convert_pretrained(name: str, path: Path) -> Bundle:
    """Write the bundle of an architecture with its "coco_voc" weights, which are fetched where torch has them not yet.

    Args:
        name: of an architecture that has such weights.
        path: the bundle's directory; a model that is there is replaced.

    Raises:
        PixelwiseError: there are no such weights, they cannot be fetched, or they do not fit.
        OutputError: the bundle cannot be written.
    """
    given = {"auxiliary": False}  # it serves training only, and trains from torchvision's file
    module = build(name, num_classes=len(VOC), arguments_given=given, weights="coco_voc")
    weights = get_weight(architecture(name).weights["coco_voc"].name)
    preset = weights.transforms()
    multiple, stride = input_sizes(module)
    spec = InputSpec(
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        long_side=None,
        size_multiple=multiple,
        short_side=preset.resize_size[0],
        output_stride=stride,
    )
    graph, tensors = export_module(module)
    config = BundleConfig(
        name, name, arguments(name, given), for_display(VOC), spec, _provenance(name, str(weights), weights.meta)
    )
    return write_bundle(path, config, graph=graph, weights=tensors, force=True)


def _provenance(name: str, weights: str, meta: dict[str, object]) -> dict[str, object]:
    (data, figures), *_ = meta["_metrics"].items()  # type: ignore[attr-defined]
    entry = architecture(name)
    return {
        "description": f"{entry.summary} Pretrained by torchvision; the 21 classes of Pascal VOC.",
        "data": ["COCO train2017, the photos with any of VOC's 20 classes, labelled with those."],
        "limits": [
            f"torchvision states a mean IoU of {figures['miou']} and a pixel accuracy of {figures['pixel_acc']} on "
            f"{data}, in per cent; pixelwise has not measured them."
        ],
        "licences": [
            "Weights: torchvision's, BSD-3-Clause.",
            "COCO: annotations CC BY 4.0; the photos belong to those who took them.",
        ],
        "weights": weights,
        "source": str(meta["recipe"]),
        "converted with": ", ".join(f"{package} {metadata.version(package)}" for package in ("torch", "torchvision")),
    }
