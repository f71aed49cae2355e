"""Every architecture of the registry as an ONNX graph: free sizes, and torch's answer in each engine."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

from networks import CLASSES, scenes, seeded, settled
from pixelwise.engine import TorchEngine, load_engine
from pixelwise.export import export_module, exported_part
from pixelwise.models import names

pytestmark = pytest.mark.slow

SHAPES = [(1, 1, 1), (1, 65, 71), (2, 96, 160), (3, 40, 33), (1, 256, 64)]


@dataclass(frozen=True)
class Exported:
    module: nn.Module
    graph: Path
    expected: dict[tuple[int, int, int], np.ndarray]


@pytest.fixture(scope="module", params=names())
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    module = settled(seeded(request.param))
    graph, weights = export_module(module)
    folder = tmp_path_factory.mktemp("export")
    (folder / "model.onnx").write_bytes(graph)
    (folder / "model.safetensors").write_bytes(weights)
    engine = TorchEngine(exported_part(module))
    multiple = module.size_multiple if hasattr(module, "output_stride") else 1  # others take photos of any size
    shapes = [(batch, *(side + -side % multiple for side in sides)) for batch, *sides in SHAPES]
    answers = {shape: engine(scenes(*shape).numpy()) for shape in shapes}
    yield Exported(module, folder / "model.onnx", answers)
    for path in folder.iterdir():
        path.unlink()
    gc.collect()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_choose_torchs_class_for_every_size(exported: Exported, engine: str):
    run = load_engine(exported.graph, name=engine, precision="fp32", threads=1)
    same = pixels = 0
    for shape, expected in exported.expected.items():
        answer = run(scenes(*shape).numpy())
        stride = getattr(exported.module, "output_stride", 1)
        assert answer.shape == expected.shape == (shape[0], CLASSES, *(-(-side // stride) for side in shape[1:]))
        # The mean, as SegNet puts a value elsewhere where rounding decides which of two is the larger.
        assert np.abs(answer - expected).mean() < 1e-4 * np.abs(expected).max(), shape
        same += int((answer.argmax(1) == expected.argmax(1)).sum())
        pixels += expected[:, 0].size
    assert same >= 0.9999 * pixels


def test_the_answers_compared_are_of_several_classes(exported: Exported):
    chosen = exported.expected[2, 96, 160].argmax(1)
    assert np.bincount(chosen.ravel(), minlength=CLASSES).max() < 0.9 * chosen.size


def test_the_graph_is_small_and_takes_its_weights_from_the_file_beside_it(exported: Exported):
    graph = onnx.load(exported.graph, load_external_data=False).graph
    outside = {t.name for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL}
    given = {key for key in exported.module.state_dict() if "num_batches_tracked" not in key}
    unused = {key for key in given if key.startswith("aux_classifier.")}  # it answers in training only
    assert outside == given - unused
    assert exported.graph.stat().st_size < 500_000  # of which no part is weights
