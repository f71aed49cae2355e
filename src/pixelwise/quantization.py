"""A network in 8-bit integers, as far as it stays as good: post-training quantization with accuracy control.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, arXiv:1712.05877; done by NNCF (Apache-2.0), which measures the network, quantizes it by what its layers give
for real photos, and, where too much is lost, puts the layers that lose most back to float, one by one.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.sample import Dataset
from pixelwise.engine import OpenVINOEngine, openvino_core
from pixelwise.errors import needs_extra
from pixelwise.evaluate import predictor
from pixelwise.metrics import ConfusionMatrix, scores
from pixelwise.segmenter import Segmenter
from pixelwise.watcher import Watcher

CALIBRATION = 300
"""Photos that are looked at for the ranges of values, at most."""

_RANKED_BY = 50  # photos that tell which layers lose most, at most
_CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul")
_WRAPPING = ("Convert", "Subtract", "Multiply", "Reshape", "FakeQuantize")  # what may stand between int8 and its layer


def quantize(
    model: Any,
    segmenter: Segmenter,
    calibration: Dataset,
    validation: Dataset,
    *,
    mapping: Mapping[str, str] | None = None,
    max_drop: float,
    watcher: Watcher,
) -> Any:
    """Quantize a network.

    Args:
        model: an `openvino.Model`; it is changed.
        segmenter: how photos are shown to it, and what its classes are.
        calibration: photos for the ranges of values.
        validation: photos that the loss is measured on, at their own size.
        mapping: what classes of the model count as, see `pixelwise.matching.match_classes`.
        max_drop: mean IoU that may be lost, 0 to 1.
        watcher: told what is being done.

    Returns:
        an `openvino.Model`; it may lose more than `max_drop`, where no choice of layers keeps to it.

    Raises:
        PixelwiseError: NNCF is not installed, the classes do not match, or a photo cannot be read.
    """
    predictor(segmenter, validation.classes, mapping)  # now rather than after minutes, if they do not match
    nncf = _import_nncf()

    def network_input(index: int) -> NDArray[np.float32]:
        watcher.advance(1)
        return segmenter.network_input(calibration[index].image)

    def validate(compiled: Any, indices: Iterable[int]) -> tuple[float, list[float]]:
        wanted = list(indices)
        watcher.stage("photos measured", len(wanted))
        engine = OpenVINOEngine.of_compiled(compiled)
        shown = Segmenter(engine, segmenter.classes, segmenter.input_spec, tiling=segmenter.tiling)
        return _mean_iou(shown, validation, wanted, mapping, watcher)

    count = min(CALIBRATION, len(calibration))
    chosen = np.linspace(0, len(calibration) - 1, count).round().astype(int).tolist()
    watcher.stage("photos looked at for the ranges of values", count)
    with _quiet(), _one_core():
        return nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset(chosen, network_input),
            nncf.Dataset(range(len(validation))),
            validate,
            max_drop=max_drop,
            drop_type=nncf.DropType.ABSOLUTE,
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=count,
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                ranking_subset_size=min(_RANKED_BY, len(validation))
            ),
        )


def quantize_without_control(model: Any, inputs: Sequence[NDArray[np.float32]]) -> Any:
    """Quantize all of a network, whatever it loses: for measuring how fast it could be.

    Args:
        model: an `openvino.Model`; it is changed.
        inputs: what the network is given of some photos, for the ranges of values; float32 (1, 3, H, W) each.

    Returns:
        an `openvino.Model`.

    Raises:
        PixelwiseError: NNCF is not installed.
    """
    nncf = _import_nncf()
    with _quiet(), _one_core():
        return nncf.quantize(
            model,
            nncf.Dataset(inputs),
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(inputs),
        )


def integer_layers(model: Any) -> tuple[int, int]:
    """Of an `openvino.Model` the layers whose weights are 8-bit integers, and all that have weights."""
    layers = [each for each in model.get_ordered_ops() if each.get_type_name() in _CONVOLUTIONS]
    return sum(_is_integer(each.input_value(1).get_node()) for each in layers), len(layers)


def _is_integer(node: Any) -> bool:
    while node.get_type_name() in _WRAPPING:
        node = node.input_value(0).get_node()
    return node.get_type_name() == "Constant" and str(node.get_element_type().get_type_name()) in ("i8", "u8")


def _mean_iou(
    segmenter: Segmenter,
    dataset: Dataset,
    indices: Iterable[int],
    mapping: Mapping[str, str] | None,
    watcher: Watcher,
) -> tuple[float, list[float]]:
    """Of photos taken together, and of each by itself; 0 where nothing is labelled."""
    predict = predictor(segmenter, dataset.classes, mapping)
    total = ConfusionMatrix(len(dataset.classes), ignore_index=dataset.classes.ignore_index)
    single = []
    for index in indices:
        sample = dataset[index]
        own = ConfusionMatrix(len(dataset.classes), ignore_index=dataset.classes.ignore_index)
        own.update(sample.mask, predict(sample.image)[0], name=sample.id)
        total.merge(own)
        watcher.advance(1)
        single.append(float(np.nan_to_num(scores(own).mean_iou)))
    return float(np.nan_to_num(scores(total).mean_iou)), single


def _import_nncf() -> Any:
    """NNCF without its telemetry, which reports every use to Google Analytics; as with OpenVINO's, see engine.py."""
    ours = "openvino_telemetry" not in sys.modules
    if ours:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        with needs_extra("Quantizing", "export"), _quiet():
            import nncf
    finally:
        if ours:
            del sys.modules["openvino_telemetry"]
    return nncf


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """Have NNCF use this process's one Core; of its own it makes a dozen, and lets them go: see `engine._core_of`."""
    import openvino
    from openvino import _ov_api

    core, original = openvino_core(), openvino.Core
    openvino.Core = _ov_api.Core = lambda: core
    try:
        yield
    finally:
        openvino.Core = _ov_api.Core = original


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what NNCF prints: logs, also of what it imports of torch, and bars for its own steps."""
    loggers = [logging.getLogger(name) for name in ("nncf", "torch.utils.cpp_extension")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
