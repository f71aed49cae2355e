"""A bundle's network as TorchScript, compared with itself before it is given away."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import torch

from pixelwise.bundle import Bundle
from pixelwise.errors import PixelwiseError
from pixelwise.models import build
from pixelwise.models.weights import load_weights


def traced(bundle: Bundle, *, sides: Sequence[int], tolerance: float) -> bytes:
    """The network, float32 (B, 3, H, W) -> logits (B, C, H, W), as a TorchScript file.

    Args:
        bundle: the model.
        sides: of photos, pixels; it is traced at the first and compared at all.
        tolerance: by how much logits may differ.

    Raises:
        PixelwiseError: torch cannot trace it, or it answers otherwise.
    """
    config = bundle.config
    module = build(config.architecture, num_classes=len(config.classes), arguments_given=config.arguments).eval()
    load_weights(module, bundle.weights)
    multiple = config.input_spec.size_multiple
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
