"""What a model costs, on the shipped one: counts that are known from elsewhere, and real processes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import COLOURS, DEFAULT_BUNDLE, SPEC, ColourEngine, colourful_photo
from pixelwise.api import load
from pixelwise.bundle import read_bundle
from pixelwise.catalogue import architectures
from pixelwise.cost import Latency, cost, count_multiply_adds, count_parameters, engines, measure_latencies
from pixelwise.errors import EngineError
from pixelwise.run_directory import RunDirectory
from pixelwise.segmenter import Segmenter

FACTS = next(facts for facts in architectures() if facts.name == "unet")
LATENCY = Latency(0.0123, 0.0119, 0.0145, 9)


def test_parameters_and_multiply_adds_are_those_of_the_architecture():
    bundle = read_bundle(DEFAULT_BUNDLE)
    assert count_parameters(bundle) == FACTS.parameters
    assert count_multiply_adds(bundle.graph, 512, 512) == FACTS.multiply_adds
    assert count_multiply_adds(bundle.graph, 256, 512) == pytest.approx(FACTS.multiply_adds / 2, rel=1e-3)


def test_what_cannot_be_read_has_no_multiply_adds(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    assert count_multiply_adds(tmp_path / "model.onnx", 64, 64) is None


def test_a_trained_model_costs_what_its_run_says(tmp_path: Path):
    shutil.copytree(DEFAULT_BUNDLE, tmp_path / "run" / "model")
    RunDirectory(tmp_path / "run").note_seconds(90)
    bundle = read_bundle(tmp_path / "run" / "model")
    segmenter = load(bundle.path, engine="onnxruntime")
    found = cost(bundle, segmenter, LATENCY, height=300, width=451)
    assert found.size_seen == (256, 384)
    assert found.multiply_adds == count_multiply_adds(bundle.graph, 256, 384)
    assert found.bytes_on_disk == sum(
        (bundle.path / name).stat().st_size for name in ("model.onnx", "model.safetensors")
    )
    assert found.engine == "onnxruntime, fp32"
    assert 40e6 < found.peak_memory < 1e9
    assert found.training_seconds == 90
    assert str(found.latency) == "12.3 (11.9 to 14.5)"

    shutil.copytree(bundle.path, tmp_path / "alone")
    assert cost(read_bundle(tmp_path / "alone"), segmenter, LATENCY, height=64, width=64).training_seconds is None


def test_memory_is_that_of_a_new_process_not_of_this_one():
    """More memory here, less there: a photo of four times the sides takes more, a large array here does not."""
    bundle = read_bundle(DEFAULT_BUNDLE)
    segmenter = load(bundle.path, engine="onnxruntime")
    ballast = np.ones(600_000_000 // 8)
    small = cost(bundle, segmenter, LATENCY, height=96, width=128)
    large = cost(bundle, segmenter, LATENCY, height=3000, width=4000)
    assert ballast.sum() > 0
    assert small.peak_memory < 500e6
    assert large.peak_memory > small.peak_memory + 30e6  # the photo alone has 36 MB


def test_a_model_that_cannot_run_by_itself_says_so(tmp_path: Path):
    shutil.copytree(DEFAULT_BUNDLE, tmp_path / "model")
    bundle = read_bundle(tmp_path / "model")
    segmenter = load(bundle.path, engine="onnxruntime")
    (bundle.path / "model.onnx").write_bytes(b"damaged since")
    with pytest.raises(EngineError, match="in a process of its own"):
        cost(bundle, segmenter, LATENCY, height=64, width=64)


def test_where_the_process_is_killed_the_other_costs_remain(monkeypatch: pytest.MonkeyPatch):
    """As the system does where there is no memory for one more."""
    monkeypatch.setattr("pixelwise.cost._CHILD", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    bundle = read_bundle(DEFAULT_BUNDLE)
    found = cost(bundle, load(bundle.path, engine="onnxruntime"), LATENCY, height=64, width=64)
    assert found.peak_memory is None
    assert found.parameters == FACTS.parameters


def test_what_computed_is_named_once_or_with_the_models():
    bundle = read_bundle(DEFAULT_BUNDLE)
    one = cost(bundle, load(bundle.path, engine="onnxruntime"), LATENCY, height=64, width=64)
    other = replace(one, engine="openvino, int8")
    assert engines(["a", "b"], [one, one]) == "onnxruntime, fp32"
    assert engines(["a", "b", "c"], [one, other, one]) == "onnxruntime, fp32 (a, c); openvino, int8 (b)"


def test_models_are_timed_in_turn_and_none_too_seldom(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pixelwise.cost._SECONDS", 0.0)
    calls: list[str] = []

    class Told(ColourEngine):
        def __init__(self, name: str) -> None:
            super().__init__()
            self._told = name

        def __call__(self, images: np.ndarray) -> np.ndarray:
            calls.append(self._told)
            return super().__call__(images)

    segmenters = [Segmenter(Told(name), COLOURS, SPEC) for name in "AB"]
    found = measure_latencies(segmenters, [colourful_photo(30, 40), colourful_photo(40, 30)])
    assert "".join(calls) == "AB" + 7 * "AB"
    assert [each.calls for each in found] == [7, 7]
    for each in found:
        assert 0 < each.lower <= each.median <= each.upper
