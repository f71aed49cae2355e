"""A stage in words: its name, its layers, what it does."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

from torch import nn

from pixelwise.describe.trace import (
    CONCATENATE,
    CONVOLUTION,
    GLOBAL_POOL,
    MAX_POOL,
    MEAN_POOL,
    PAD,
    RESIZE,
    TRANSPOSED,
    Operation,
    Trace,
)

_ROWS = (nn.Sequential, nn.ModuleList)
"""Modules that are nothing but what is in them."""


def stage_name(modules: Sequence[str]) -> str:
    """`encoder.blocks.3`, `encoder.blocks.4` -> "encoder.blocks.3-4"."""
    if len(modules) < 2:
        return "".join(modules)
    return f"{modules[0]}-{re.sub(r'.*[^0-9]', '', modules[-1])}"


def deed(trace: Trace, operations: Sequence[Operation]) -> str:
    """What a stage does that is no module: "sum", "concatenate", "max unpooling"; by its first operation."""
    first = operations[0]
    if first.name == "photo":
        return "photo"
    if any(trace.operations[i].indices for i in first.inputs):
        return "max unpooling"
    if len(first.inputs) > 1 and first.kind != CONCATENATE:
        return "sum" if first.name.startswith("add") else first.name.strip("_")
    return {RESIZE: "bilinear", PAD: "mirror" if first.name == "index_select" else "pad"}.get(first.kind, first.kind)


def layers(trace: Trace, modules: Sequence[str], operations: Sequence[Operation]) -> tuple[str, ...]:
    """What is in it, in words: its blocks where it is made of many, else its layers."""
    blocks = _blocks(trace, modules)
    if blocks:
        return blocks
    words = [word for op in operations if (word := _word(trace, op))]
    if not words and operations[0].name != "photo":
        words = [deed(trace, operations)]
    runs = [(word, len(list(group))) for word, group in itertools.groupby(words)]
    return tuple(word if count == 1 else f"{count} × {word}" for word, count in runs)


def _blocks(trace: Trace, paths: Sequence[str]) -> tuple[str, ...]:
    """Its blocks by their types, where it has more than one and they are more than single layers."""
    modules = [trace.called[path] for path in paths]
    if len(modules) == 1 or (len(modules) > 1 and not any(True for _ in modules[0].children())):
        modules = [child for path in paths for child in trace.called[path].children()]
    modules = [child for module in modules for child in (module.children() if type(module) in _ROWS else [module])]
    types = [type(module).__name__ for module in modules if sum(1 for _ in module.modules()) > 6]
    words = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower() for name in types]
    return tuple(f"{count} × {word}" if count > 1 else word for word, count in Counter(words).items())


def _word(trace: Trace, operation: Operation) -> str:
    if operation.kind in (CONVOLUTION, TRANSPOSED):
        kernel = f"{operation.kernel}×{operation.kernel}"
        if operation.kind == TRANSPOSED:
            return f"transposed conv ×{operation.stride}, {kernel}"
        source = trace.operations[operation.inputs[0]]
        depthwise = "depthwise " if 1 < operation.groups == source.shape[1] else ""
        stride = f", stride {operation.stride}" if operation.stride > 1 else ""
        return f"{kernel} {depthwise}conv{stride}"
    if operation.kind in (MAX_POOL, MEAN_POOL):
        stride = f", stride {operation.stride}" if operation.stride != operation.kernel else ""
        return f"{operation.kernel}×{operation.kernel} {operation.kind}{stride}"
    if operation.kind == GLOBAL_POOL:
        return "mean over the photo"
    if operation.kind == RESIZE:
        factor = operation.shape[-1] / trace.operations[operation.inputs[0]].shape[-1]
        return f"bilinear ×{factor:.4g}"
    return ""


def widths(trace: Trace, modules: Sequence[str], operations: Sequence[Operation]) -> tuple[int, ...]:
    """Channels after each convolution where these are alike but for that; else none."""
    convolutions = [op for op in operations if op.kind == CONVOLUTION]
    alike = len({(op.kernel, op.stride, op.dilation) for op in convolutions}) == 1
    return tuple(op.shape[1] for op in convolutions) if alike and not _blocks(trace, modules) else ()
