"""A model in the form that another program wants, or that computes faster: OpenVINO's, one ONNX file, TorchScript."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pixelwise.bundle import Bundle, check_place, write_bundle
from pixelwise.cost import Latency, count_parameters, measure_latencies
from pixelwise.data.sample import Dataset
from pixelwise.decoding import reason
from pixelwise.engine import OpenVINOEngine, load_exported, openvino_core
from pixelwise.errors import OutputError, PixelwiseError, needs_train_extra
from pixelwise.evaluate import summary
from pixelwise.files import check_writable, is_there, write_atomically
from pixelwise.machine import processor
from pixelwise.quantization import CALIBRATION, integer_layers, quantize
from pixelwise.segmenter import Segmenter
from pixelwise.watcher import Watcher

Form = Literal["openvino", "onnx", "torchscript"]
Numbers = Literal["fp32", "bf16", "fp16", "int8"]

FORMS: dict[Form, tuple[Numbers, ...]] = {
    "openvino": ("fp32", "bf16", "fp16", "int8"),
    "onnx": ("fp32",),
    "torchscript": ("fp32",),
}
"""What a model can be exported to, and in which numbers."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A model as it was, or as it is now.

    Attributes:
        precision: in which it computed.
        bytes_on_disk: of its network.
        latency: for the first photos of the data, or a grey one.
        figures: see `pixelwise.evaluate.summary`; None without data.
    """

    precision: str
    bytes_on_disk: int
    latency: Latency
    figures: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types, to read."""
        found: dict[str, Any] = {
            "computed in": self.precision,
            "megabytes": round(self.bytes_on_disk / 1e6, 2),
            "milliseconds a photo": round(1000 * self.latency.median, 2),
        }
        return found if self.figures is None else {**found, "mean IoU": self.figures["mean IoU"]}


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of an export to OpenVINO.

    Attributes:
        bundle: the new model.
        before: as it was, in float32.
        after: as it is now.
        integer: layers whose weights are 8-bit integers, and all that have weights.
    """

    bundle: Bundle
    before: Measured
    after: Measured
    integer: tuple[int, int]


def to_openvino(
    bundle: Bundle,
    path: Path,
    *,
    precision: Numbers,
    validation: Dataset | None = None,
    calibration: Dataset | None = None,
    data: str = "",
    mapping: Mapping[str, str] | None = None,
    max_drop: float = 0.003,
    force: bool = False,
    watcher: Watcher | None = None,
) -> Exported:
    """Write a model anew as one for OpenVINO, which has its own figures beside those of the original.

    Args:
        bundle: the original.
        path: where to.
        precision: "fp16" stores half of it; "bf16" computes in it where the processor can; "int8" needs both datasets.
        validation: what both are measured on; without, how good they are is not.
        calibration: what the ranges of 8-bit values come from; not the photos of `validation`.
        data: what the data are called, as `camvid`.
        mapping: what classes of the model count as, see `pixelwise.matching.match_classes`.
        max_drop: mean IoU that may be lost, 0 to 1.
        force: replace a model that is there.
        watcher: told how it goes.

    Raises:
        PixelwiseError: it loses more than `max_drop`, or the data do not tell (nothing is written then), or int8 has no
            data, or the model was exported already.
        OutputError: it cannot be written.
    """
    watcher = watcher or Watcher()
    _see_that_free(bundle, path, force=force)
    check_place(path, force=force)
    _see_that_original(bundle)
    config = bundle.config
    model = openvino_core().read_model(str(bundle.graph))
    before_engine = OpenVINOEngine(bundle.graph, precision="fp32")
    before_shown = Segmenter(before_engine, config.classes, config.input_spec)
    if precision == "int8":
        if validation is None or calibration is None or not len(calibration) or not len(validation):
            raise PixelwiseError("int8 needs photos with masks to keep to its bound; give --data.")
        model = quantize(
            model, before_shown, calibration, validation, mapping=mapping, max_drop=max_drop, watcher=watcher
        )
    with _saved(model, precision) as (graph, weights):
        after_engine = load_exported(graph, stored=precision)
        after_shown = Segmenter(after_engine, config.classes, config.input_spec)
        before, after = _measured(
            [before_shown, after_shown],
            [bundle.bytes_on_disk, graph.stat().st_size + weights.stat().st_size],
            validation,
            mapping=mapping,
            watcher=watcher,
        )
        _see_that_good(before, after, max_drop)
        integer = integer_layers(model)
        about = {"of": config.name, "precision": precision, "parameters": count_parameters(bundle)}
        if calibration is not None and precision == "int8":
            about["layers in 8-bit integers"] = "{} of {}".format(*integer)
            about["ranges from"] = f"{min(CALIBRATION, len(calibration))} photos of {data}/{calibration.split}"
        about |= {"machine": processor(), "before": before.to_json(), "after": after.to_json()}
        metrics = {} if validation is None else {f"{data}/{validation.split}": after.figures}
        told = replace(
            config,
            name=f"{config.name}-{precision}",
            provenance={**config.provenance, "export": about},
            metrics=metrics,
            form="openvino",
            precision=precision,
        )
        made = write_bundle(path, told, graph=graph.read_bytes(), weights=weights.read_bytes(), force=force)
    return Exported(made, before, after, integer)


def to_file(bundle: Bundle, path: Path, form: Literal["onnx", "torchscript"], *, force: bool = False) -> Path:
    """Write a model as one file for other programs, float32: ONNX with its weights inside, or TorchScript.

    What a program has to do with a photo beforehand, and the classes, stand in the ONNX file's metadata.

    Raises:
        PixelwiseError: ONNX or torch is not installed, the model was exported already, or the script answers otherwise
            than the model.
        OutputError: there is something at `path` and `force` is off, or it cannot be written.
    """
    _see_that_free(bundle, path, force=force)
    if path.is_dir():
        raise OutputError(f"{path} is a directory, so it is not replaced; choose another place.")
    _see_that_original(bundle)
    with needs_train_extra("Writing ONNX files" if form == "onnx" else "Writing TorchScript"):
        from pixelwise import standalone

    make = standalone.onnx_file if form == "onnx" else standalone.torchscript_file
    write_atomically(path, make(bundle))
    return path


def _see_that_free(bundle: Bundle, path: Path, *, force: bool) -> None:
    """Before minutes of work rather than after; and that the original stays, which no export replaces."""
    if os.path.realpath(path) in map(os.path.realpath, (bundle.path, *bundle.path.iterdir())):
        raise OutputError(f"{path} is the model that is to be exported, so it is not replaced; choose another place.")
    if is_there(path) and not force:
        raise OutputError(f"{path} exists already; choose another place with --out, or give --force.")
    if not path.parent.is_dir():
        raise OutputError(f"There is no directory {path.parent} to write {path.name} to.")
    check_writable(path.parent)


def _see_that_original(bundle: Bundle) -> None:
    if bundle.config.form != "onnx":
        raise PixelwiseError(f"{bundle.path} was exported already; export the model that it was made of.")


@contextmanager
def _saved(model: Any, precision: Numbers) -> Iterator[tuple[Path, Path]]:
    """OpenVINO's two files, without what they would tell of this machine, for as long as the block takes."""
    import openvino

    for key in list(model.get_rt_info()):
        if key != "nncf":
            model.get_rt_info().pop(key, None)
    with ExitStack() as stack:
        try:
            graph = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pixelwise-")), "model.xml")
            openvino.save_model(model, str(graph), compress_to_fp16=precision == "fp16")
        except (OSError, RuntimeError) as error:  # RuntimeError: OpenVINO's, which says no more than "iostream error"
            raise OutputError(f"No temporary files can be written ({reason(error)}); is the disk full?") from error
        yield graph, graph.with_suffix(".bin")


def _measured(
    segmenters: Sequence[Segmenter],
    sizes: Sequence[int],
    validation: Dataset | None,
    *,
    mapping: Mapping[str, str] | None,
    watcher: Watcher,
) -> list[Measured]:
    photos = [np.full((480, 640, 3), 128, np.uint8)]
    figures: list[dict[str, Any] | None] = [None] * len(segmenters)
    if validation is not None:
        photos = [validation[index].image for index in range(min(5, len(validation)))]
        watcher.stage("photos measured before and after", len(segmenters) * len(validation))
        figures = [summary(each, validation, mapping=mapping, advance=watcher.advance) for each in segmenters]
    latencies = measure_latencies(segmenters, photos)
    return [
        Measured(each.engine.precision, size, latency, own)
        for each, size, latency, own in zip(segmenters, sizes, latencies, figures, strict=True)
    ]


def _see_that_good(before: Measured, after: Measured, max_drop: float) -> None:
    if before.figures is None or after.figures is None:
        return
    was, now = before.figures["mean IoU"], after.figures["mean IoU"]
    if math.isnan(was):
        raise PixelwiseError(
            "No pixel of the masks is labelled, so that nothing can be measured, and nothing was written; give another "
            "--split, or leave --data out."
        )
    if was - now > max_drop:
        raise PixelwiseError(
            f"In this precision mean IoU falls from {was:.4f} to {now:.4f}, by {100 * (was - now):.2f} points where "
            f"{100 * max_drop:g} are allowed, so nothing was written; give a larger --max-drop or another --precision."
        )
