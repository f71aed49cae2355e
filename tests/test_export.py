from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import SPEC
from pixelwise.bundle import Bundle, BundleConfig, write_bundle
from pixelwise.engine import TorchEngine, load_engine
from pixelwise.errors import EngineError, PixelwiseError
from pixelwise.labels import ClassTable

torch = pytest.importorskip("torch", reason="exporting needs torch")
onnx = pytest.importorskip("onnx", reason="exporting needs onnx")

pytestmark = pytest.mark.slow

CLASSES = ClassTable(tuple("abcde"), ((0, 0, 0),) * 5)


@dataclass(frozen=True)
class Exported:
    """A network with random weights, and the bundle that was made of it."""

    module: Any
    bundle: Bundle

    def graph(self) -> Any:
        return onnx.load(self.bundle.graph, load_external_data=False).graph


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    from pixelwise.export import export_module
    from pixelwise.models import build

    torch.manual_seed(0)
    module = build("unet", num_classes=5, arguments_given={"context_channels": 16, "decoder_channels": (16, 12, 8)})
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, torch.nn.BatchNorm2d):  # fresh ones do nothing, and would hide a mistake
                part.running_mean.normal_(0, 0.1)
                part.running_var.uniform_(0.5, 1.5)
                part.weight.uniform_(0.8, 1.2)
                part.bias.normal_(0, 0.1)
    graph, weights = export_module(module)
    assert module.training
    config = BundleConfig("random", "unet", {}, CLASSES, SPEC)
    path = tmp_path_factory.mktemp("export") / "random"
    return Exported(module.eval(), write_bundle(path, config, graph=graph, weights=weights))


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 64, 96), (1, 32, 160), (3, 96, 32), (1, 224, 32)])
def test_engines_agree_with_torch(exported: Exported, name: str, shape: tuple[int, int, int]):
    from pixelwise.export import exported_part

    batch, height, width = shape
    images = np.random.default_rng(shape).normal(size=(batch, 3, height, width)).astype(np.float32)
    expected = TorchEngine(exported_part(exported.module))(images)
    answer = load_engine(exported.bundle.graph, name=name, precision="fp32", threads=1)(images)
    assert answer.shape == expected.shape == (batch, 5, height // 4, width // 4)
    assert expected.std() > 0.01
    assert np.abs(answer - expected).max() < 1e-4 * max(1, np.abs(expected).max())


def test_each_weight_of_the_state_dict_is_in_the_safetensors_file_as_it_is(exported: Exported):
    from safetensors.torch import load_file

    state = {k: v for k, v in exported.module.state_dict().items() if not k.endswith("num_batches_tracked")}
    saved = load_file(exported.bundle.weights)
    assert saved.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(saved[key], value), key


def test_the_graph_takes_every_weight_from_that_file_and_holds_none_itself(exported: Exported):
    weights = exported.bundle.weights.read_bytes()
    (header_size,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + header_size])
    state = exported.module.state_dict()
    outside = {}
    for tensor in exported.graph().initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            outside[tensor.name] = {entry.key: entry.value for entry in tensor.external_data}
            assert not tensor.raw_data
            assert not tensor.float_data
        else:
            assert tensor.name not in state
            values = onnx.numpy_helper.to_array(tensor)
            assert np.unique(values).size == 1 or values.dtype == np.int64, f"{tensor.name} looks like a weight"
    assert outside.keys() == {key for key in state if not key.endswith("num_batches_tracked")}
    for name, place in outside.items():
        start, stop = header[name]["data_offsets"]
        assert place == {
            "location": "model.safetensors",
            "offset": str(8 + header_size + start),
            "length": str(stop - start),
        }
    assert exported.bundle.graph.stat().st_size < 200_000


def test_batch_height_and_width_are_free(exported: Exported):
    graph = exported.graph()
    (images,), (logits,) = graph.input, graph.output
    assert (images.name, logits.name) == ("images", "logits")
    for value, channels in ((images, 3), (logits, 5)):
        batch, depth, height, width = value.type.tensor_type.shape.dim
        assert depth.dim_value == channels
        assert all(free.dim_value == 0 for free in (batch, height, width))


def test_the_graph_names_nothing_of_the_machine_that_exported_it(exported: Exported):
    data = exported.bundle.graph.read_bytes()
    for trace in (str(Path.home()), str(Path(__file__).parents[1]), str(Path(torch.__file__).parent), ".py"):
        assert trace.encode() not in data, trace
    assert not re.search(rb"/(home|usr|opt|root|tmp|work)/", data)


def test_a_network_that_cannot_be_exported_is_said():
    from pixelwise.export import export_module

    class Odd(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(PixelwiseError, match=r"torch cannot export this network to ONNX: .") as caught:
        export_module(Odd())
    assert "\n" not in str(caught.value)


# The torch engine, here because it takes importing torch.


def test_the_torch_engine_runs_in_evaluation_mode_and_puts_the_mode_back():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.Dropout(0.9))
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    engine = TorchEngine(module)
    for training in (True, False):
        module.train(training)
        answer = engine(images)
        assert module.training == training
        with torch.no_grad():
            np.testing.assert_allclose(answer, module[0](torch.from_numpy(images)).numpy(), atol=1e-6)
    assert (engine.name, engine.precision, answer.dtype) == ("torch", "fp32", np.float32)


def test_the_torch_engine_computes_in_bf16_when_told():
    module = torch.nn.Conv2d(3, 2, 1)
    images = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    exact, rough = TorchEngine(module)(images), TorchEngine(module, precision="bf16")(images)
    assert rough.dtype == np.float32
    assert 0 < np.abs(exact - rough).max() < 0.05


def test_onnx_engines_do_not_pretend_to_be_torch(exported: Exported):
    with pytest.raises(EngineError, match="no engine 'torch' for ONNX models"):
        load_engine(exported.bundle.graph, name="torch")
