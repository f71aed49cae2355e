"""A bundle's network in PyTorch: as an engine, and as one file for other programs, ONNX or TorchScript."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Sequence

import onnx
import torch
from torch import nn

from pixelwise.bundle import Bundle
from pixelwise.engine import Precision, TorchEngine
from pixelwise.errors import PixelwiseError
from pixelwise.export import export_whole, exported_part
from pixelwise.models import build


def torch_engine(bundle: Bundle, *, precision: Precision = "auto") -> TorchEngine:
    """The network on the graphics card, where PyTorch finds one, else on the processor; "auto" is float32 on both.

    Raises:
        PixelwiseError: there is no such architecture, or the weights are not those of it.
    """
    module = _module(bundle)
    if bundle.config.input_spec.output_stride > 1:  # else it was exported whole, as older versions did
        module = exported_part(module)
    if torch.accelerator.is_available():
        module.to(torch.accelerator.current_accelerator())
    return TorchEngine(module, precision=precision)


def onnx_file(bundle: Bundle) -> bytes:
    """The network with its weights inside; name, classes and input, as JSON, in its metadata.

    It answers at the size of its input, float32 (B, 3, H, W) -> logits (B, C, H, W).

    Raises:
        PixelwiseError: torch cannot export it.
    """
    proto = export_whole(_module(bundle))
    config = bundle.config.to_json()
    config["input"].pop("output_stride", None)
    told = {key: json.dumps(config[key]) for key in ("classes", "input")}
    onnx.helper.set_model_props(proto, {"name": bundle.config.name, **told})
    data: bytes = proto.SerializeToString()
    return data


def torchscript_file(bundle: Bundle, *, sides: Sequence[int] = (96, 160), tolerance: float = 1e-3) -> bytes:
    """The network, float32 (B, 3, H, W) -> logits (B, C, H, W), compared with itself before it is given away.

    Args:
        bundle: the model.
        sides: of photos, pixels; it is traced at the first and compared at all.
        tolerance: by how much logits may differ.

    Raises:
        PixelwiseError: torch cannot trace it, or it answers otherwise.
    """
    module = _module(bundle)
    multiple = bundle.config.input_spec.size_multiple
    generator = torch.Generator().manual_seed(0)
    photos = [
        torch.randn(number + 1, 3, side + -side % multiple, side + multiple + -side % multiple, generator=generator)
        for number, side in enumerate(sides)
    ]
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and tracing tells of every shape it looks at
        try:
            script = torch.jit.trace(module, photos[0], check_trace=False)  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever the module raises under tracing
            raise PixelwiseError(f"torch cannot trace this network: {str(error).splitlines()[0]}") from error
        for photo in photos:
            apart = (script(photo) - module(photo)).abs().max().item()
            if not apart <= tolerance:
                raise PixelwiseError(f"As TorchScript the network answers otherwise, by {apart:.3g}; use --to onnx.")
        buffer = io.BytesIO()
        torch.jit.save(script, buffer)
    return buffer.getvalue()


def _module(bundle: Bundle) -> nn.Module:
    config, classes = bundle.config, len(bundle.config.classes)
    return build(
        config.architecture, num_classes=classes, arguments_given=config.arguments, weights=bundle.weights
    ).eval()
