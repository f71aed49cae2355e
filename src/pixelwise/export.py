"""Export: a torch module as an ONNX graph whose weights lie in a safetensors file."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import struct
import warnings
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from pixelwise.bundle import WEIGHTS
from pixelwise.errors import PixelwiseError

if TYPE_CHECKING:
    import onnx

OPSET = 18


def export_module(module: nn.Module) -> tuple[bytes, bytes]:
    """Export a network.

    Args:
        module: float (B, 3, H, W) -> logits (B, C, H, W); exported in evaluation mode and float32. One with an
            `output_stride` is exported as far as its `scores`: who segments interpolates once, to the photo's size,
            and the logits that the network would interpolate take more time than all before them.

    Returns:
        the ONNX graph, with free batch, height and width, and the safetensors file that it takes its weights from,
        which must lie beside it as `model.safetensors`. Batch normalisation is left unfolded, so that the graph
        computes with the very numbers of the state dict; engines fold it when they load.

    Raises:
        PixelwiseError: torch cannot export the module.
    """
    state = {key: value.detach().cpu().float().contiguous() for key, value in _weights(module).items()}
    weights = save_safetensors(state)
    proto = _graph(exported_part(module))
    _refer_to(weights, proto)
    _drop_traces(proto)
    return proto.SerializeToString(), weights


def export_whole(module: nn.Module) -> onnx.ModelProto:
    """Export a network for other programs: its weights inside, logits at the size of its input, photos of any size.

    Raises:
        PixelwiseError: torch cannot export the module.
    """
    proto = _graph(module)
    _drop_traces(proto)
    return proto


def _weights(module: nn.Module) -> dict[str, Tensor]:
    """The state dict without BatchNorm's step counters, which no inference reads."""
    return {key: value for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}


def exported_part(module: nn.Module) -> nn.Module:
    """What `export_module` exports of a network: float32 (B, 3, H, W) -> logits (B, C, H / s, W / s); it shares all."""
    if not hasattr(module, "scores"):
        return module
    part = copy.copy(module)  # and not one around it, which would call the weights otherwise
    part.forward = MethodType(type(module).scores, part)  # type: ignore[attr-defined]
    return part


def input_sizes(module: nn.Module) -> tuple[int, int]:
    """`size_multiple` and `output_stride` of a bundle of what `export_module` exports of a network, as it states them.

    Of one that says nothing: 32, with which the usual encoders get by, and 1, logits at the photo's size.
    """
    return int(getattr(module, "size_multiple", 32)), int(getattr(module, "output_stride", 1))


def _graph(module: nn.Module) -> onnx.ModelProto:
    example = torch.zeros(2, 3, 64, 96)
    dynamic = torch.export.Dim.DYNAMIC
    training = module.training
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},),
                optimize=False,  # its folding would put weights into the graph that the state dict does not hold
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises whatever its passes raise
        raise PixelwiseError(f"torch cannot export this network to ONNX: {str(error).splitlines()[0]}") from error
    finally:
        quiet.setLevel(level)
        module.train(training)
    if program is None:
        raise PixelwiseError("torch did not return an ONNX program.")
    # Constants of the graph, such as ReLU6's bounds, are folded (engines fuse what has constant bounds only: it then
    # runs twice as fast). Weights go into no folded operation, and stay what the state dict holds.
    fold_constants(program.model, input_size_limit=64, output_size_limit=1024)
    remove_unused_nodes(program.model)
    return program.model_proto


def _refer_to(weights: bytes, proto: onnx.ModelProto) -> None:
    """Have each initializer point into the safetensors file instead of holding its numbers."""
    from onnx import TensorProto
    from onnx.external_data_helper import set_external_data

    (header_size,) = struct.unpack("<Q", weights[:8])
    header: dict[str, Any] = json.loads(weights[8 : 8 + header_size])
    for tensor in proto.graph.initializer:
        entry = header.get(tensor.name)
        if entry is None:
            continue  # a constant of the graph that is no weight
        if entry["dtype"] != "F32" or tensor.data_type != TensorProto.FLOAT or list(tensor.dims) != entry["shape"]:
            raise PixelwiseError(f"The exported graph holds {tensor.name} in another form than the state dict.")
        start, stop = entry["data_offsets"]
        set_external_data(tensor, WEIGHTS, offset=8 + header_size + start, length=stop - start)
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")


def _drop_traces(proto: onnx.ModelProto) -> None:
    """Drop the stack trace that the exporter writes to every node: 50 times the graph, and paths of this machine."""
    for described in (proto, proto.graph, *proto.graph.node, *proto.graph.initializer):
        described.ClearField("metadata_props")
    proto.graph.ClearField("value_info")
