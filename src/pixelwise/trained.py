"""From a finished run to a bundle: the best weights, exported, measured as they will be used, and described."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from pixelwise.bundle import RECIPE, SEED, Bundle, BundleConfig, InputSpec, write_bundle
from pixelwise.colours import for_display
from pixelwise.data import Dataset
from pixelwise.engine import Engine, TorchEngine, load_engine
from pixelwise.errors import EngineError, PixelwiseError
from pixelwise.evaluate import summary
from pixelwise.export import export_module, exported_part, input_sizes
from pixelwise.labels import ClassTable
from pixelwise.models import arguments, build
from pixelwise.recipe import Recipe, Source
from pixelwise.run_directory import RunDirectory
from pixelwise.segmenter import Segmenter


def input_spec_of(recipe: Recipe, module: nn.Module) -> InputSpec:
    """What the trained network expects of a photo."""
    given, (multiple, stride) = recipe.input, input_sizes(module)
    return InputSpec(given.mean, given.std, given.long_side, multiple, output_stride=stride)


def model_classes(recipe: Recipe, classes: ClassTable) -> ClassTable:
    """The classes of the data in the colours that the model is to have."""
    return for_display(classes) if recipe.data.colours == "display" else classes


def bundle_of_run(recipe: Recipe, run: RunDirectory, val_sets: Sequence[Dataset]) -> Bundle:
    """Write the run's `model`, the bundle of the run's best weights, with its figures on the validation data.

    The figures are those of the exported network in float32, each dataset by itself, at the photos' own size.

    Raises:
        PixelwiseError: the run has no weights yet, or cannot be exported.
    """
    weights = run.best
    if not weights.is_file():
        raise PixelwiseError(f"{run.root} has not been validated yet, so there are no best weights to write.")
    classes = model_classes(recipe, val_sets[0].classes)
    module = build(recipe.model.name, num_classes=len(classes), arguments_given=recipe.model.arguments)
    module.load_state_dict(load_file(weights))
    graph, tensors = export_module(module)
    complete = arguments(recipe.model.name, recipe.model.arguments)
    spec = input_spec_of(recipe, module)
    config = BundleConfig(recipe.name, recipe.model.name, complete, classes, spec, _provenance(recipe, weights))
    bundle = write_bundle(run.model, config, graph=graph, weights=tensors, force=True)
    segmenter = Segmenter(_engine(bundle.graph, module), classes, spec)
    figures = (summary(segmenter, dataset) for dataset in val_sets)
    metrics = dict(zip(_names(recipe.data.val), figures, strict=True))
    return write_bundle(run.model, replace(config, metrics=metrics), graph=graph, weights=tensors, force=True)


def _names(sources: Sequence[Source]) -> list[str]:
    """What to call datasets: by layout and split, and where those are alike by their directories, too."""
    names = [f"{source.layout}/{source.split}" for source in sources]
    return [
        f"{name} of {source.root}" if names.count(name) > 1 else name
        for name, source in zip(names, sources, strict=True)
    ]


def _engine(graph: Path, module: nn.Module) -> Engine:
    """ONNX Runtime on the exported graph; what was exported on a machine that trains without the runtime engines."""
    try:
        return load_engine(graph, name="onnxruntime")
    except EngineError:
        return TorchEngine(exported_part(module))


def _sha256(recipe: Recipe) -> str:
    return hashlib.sha256(recipe.to_yaml().encode()).hexdigest()


def _provenance(recipe: Recipe, weights: Path) -> dict[str, Any]:
    with safe_open(weights, framework="pt") as file:
        chosen = file.metadata() or {}
    packages = ("torch", "torchvision", "timm", "lightning", "onnx")
    return {
        "description": recipe.description,
        **recipe.card.model_dump(),
        "recipe": recipe.name,
        "recipe sha256": _sha256(recipe),
        RECIPE: _sha256(recipe.but_for_chance()),
        SEED: recipe.seed,
        "steps": recipe.steps,
        "chosen at step": int(chosen.get("step", -1)),
        "trained with": ", ".join(f"{name} {metadata.version(name)}" for name in packages),
        "python": platform.python_version(),
    }
