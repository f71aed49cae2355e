"""What a network does, operation by operation; shapes only, so that any size of photo costs nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

CONVOLUTION, TRANSPOSED = "convolution", "transposed convolution"
MAX_POOL, MEAN_POOL, GLOBAL_POOL = "max pool", "mean pool", "global pool"
RESIZE, CONCATENATE, PAD, SLICE, BATCH_NORM, OTHER = "resize", "concatenate", "pad", "slice", "batch norm", "other"

_KINDS = {
    "max_pool2d_with_indices": MAX_POOL,
    "max_pool2d": MAX_POOL,
    "avg_pool2d": MEAN_POOL,
    "mean": GLOBAL_POOL,
    "_adaptive_avg_pool2d": GLOBAL_POOL,
    "adaptive_avg_pool2d": GLOBAL_POOL,
    "upsample_bilinear2d": RESIZE,
    "upsample_nearest2d": RESIZE,
    "upsample_bicubic2d": RESIZE,
    "cat": CONCATENATE,
    "constant_pad_nd": PAD,
    "reflection_pad2d": PAD,
    "replication_pad2d": PAD,
    "index_select": PAD,  # in a network of convolutions: the photo continued by mirroring
    "slice": SLICE,
    "native_batch_norm": BATCH_NORM,
    "_native_batch_norm_legit_no_training": BATCH_NORM,
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on feature maps.

    Attributes:
        name: torch's, such as "relu_"; "photo" for the first one, which stands for the input.
        kind: one of the constants of this file.
        modules: paths of the modules that were running, outermost first; the first is "", the network.
        inputs: which operations made what goes in; weights and constants are none.
        shape: of what comes out, (1, C, H, W) for a feature map.
        indices: what comes out are booleans or integers: positions, not features.
        kernel, stride, dilation: of a convolution or a pooling, in pixels of its input, along the height.
        groups: of a convolution; as many as channels where each is filtered by itself.
        multiply_adds: of a convolution or a matrix product; 0 for anything else.
    """

    name: str
    kind: str
    modules: tuple[str, ...]
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    indices: bool = False
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    multiply_adds: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """What a network did with one photo.

    Attributes:
        operations: in the order in which they ran; the first is the photo.
        called: the modules that ran, by path, in the order in which they first did.
        many: of these, the ones that gave several feature maps, as an encoder does.
        answer: the operation that gave the logits.
    """

    operations: tuple[Operation, ...]
    called: Mapping[str, nn.Module]
    many: frozenset[str]
    answer: int


def trace(network: nn.Module, *, size: tuple[int, int]) -> Trace:
    """Run a network on a photo that has a shape but no pixels.

    Args:
        network: float (B, 3, H, W) -> logits (B, C, H, W); in evaluation mode and on torch's "meta" device, where
            tensors have no memory.
        size: height and width of the photo in pixels.
    """
    photo = torch.empty(1, 3, *size, device="meta")
    recorder = _Recorder(photo)
    with torch.no_grad(), _watched(network, recorder), recorder:
        logits = network(photo)
    return Trace(
        tuple(recorder.operations), dict(recorder.called), frozenset(recorder.many), recorder.maker[id(logits)]
    )


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation on its way to the device."""

    def __init__(self, photo: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = [Operation("photo", OTHER, ("",), (), tuple(photo.shape))]
        self.maker = {id(photo): 0}  # the operation that made a tensor, by the tensor's identity ...
        self.alive: list[Tensor] = [photo]  # ... which nothing else may take while the network runs
        self.running: list[str] = []
        self.called: dict[str, nn.Module] = {}
        self.many: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and write it down."""
        given = kwargs or {}
        result = function(*args, **given)
        inputs = [self.maker[id(value)] for value in _tensors((*args, *given.values())) if id(value) in self.maker]
        if inputs:
            self._record(function.overloadpacket.__name__, args, tuple(dict.fromkeys(inputs)), result)
        return result

    def _record(self, name: str, args: tuple[Any, ...], inputs: tuple[int, ...], result: Any) -> None:
        kind = _KINDS.get(name.removesuffix("_"), OTHER)
        first = len(self.operations)
        for place, tensor in enumerate(_tensors([result])):
            indices, shape = not tensor.is_floating_point(), tuple(tensor.shape)
            if kind == BATCH_NORM and place > 0:
                continue  # its statistics
            if kind in (PAD, RESIZE) and shape == self.operations[inputs[0]].shape:
                kind = OTHER  # to the size that it has
            if place > 0:  # what a pooling says of where its maxima were
                operation = Operation(name, OTHER, tuple(self.running), (first,), shape, indices)
            else:
                operation = _with_geometry(Operation(name, kind, tuple(self.running), inputs, shape, indices), args)
            self.maker[id(tensor)] = len(self.operations)
            self.alive.append(tensor)
            self.operations.append(operation)


def _with_geometry(operation: Operation, args: tuple[Any, ...]) -> Operation:
    """The operation with its kernel and its cost, if it has any."""
    name, modules, inputs, shape = operation.name, operation.modules, operation.inputs, operation.shape
    if name == "convolution":
        image, weight, _, stride, _, dilation, transposed, _, groups = args
        kind = TRANSPOSED if transposed else CONVOLUTION
        # Each output of a convolution, or each input of a transposed one, meets all of a kernel's numbers for it.
        cost = math.prod(image.shape if transposed else shape) * math.prod(weight.shape[1:])
        return Operation(
            name, kind, modules, inputs, shape, False, weight.shape[2], stride[0], dilation[0], groups, cost
        )
    if operation.kind in (MAX_POOL, MEAN_POOL):
        kernel = _first(args[1])
        stride = _first(args[2]) if len(args) > 2 and args[2] else kernel
        return Operation(name, operation.kind, modules, inputs, shape, False, kernel, stride)
    if operation.kind == GLOBAL_POOL and shape[-2:] != (1, 1):
        if name == "mean":  # over channels
            return Operation(name, OTHER, modules, inputs, shape)
        side, cells = args[0].shape[2], shape[2]
        return Operation(name, MEAN_POOL, modules, inputs, shape, False, math.ceil(side / cells), max(1, side // cells))
    if name in ("addmm", "mm"):
        matrix = args[-1]
        return Operation(name, OTHER, modules, inputs, shape, multiply_adds=shape[0] * math.prod(matrix.shape))
    return operation


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, list | tuple) else value)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


@contextmanager
def _watched(network: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Tell the recorder which modules are running."""

    def watch(path: str, module: nn.Module) -> list[Any]:
        def enter(module: nn.Module, args: Any) -> None:
            recorder.called.setdefault(path, module)
            recorder.running.append(path)

        def leave(module: nn.Module, args: Any, result: Any) -> None:
            recorder.running.pop()
            if len({id(tensor) for tensor in _tensors([result])}) > 1:
                recorder.many.add(path)

        return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]

    handles = [handle for path, module in network.named_modules() for handle in watch(path, module)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
