"""Engines: what computes a network, behind one small protocol.

Three of them: ONNX Runtime, which starts fastest; OpenVINO, which computes fastest once it is warm; and torch, where it
is installed, for models in training and for graphics cards. `docs/engines.md` has the measurements behind `auto`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import EngineError
from pixelwise.machine import core_quota, cores

if TYPE_CHECKING:
    from torch import Tensor, nn

EngineName = Literal["auto", "onnxruntime", "openvino", "torch"]
Precision = Literal["auto", "fp32", "bf16"]

MUCH_WORK = 100e9
"""From so many multiply-adds on `auto` takes OpenVINO: its slower start has paid by then; see `docs/engines.md`."""


class Engine(Protocol):
    """A network that is ready to run.

    Attributes:
        name: "onnxruntime", "openvino" or "torch".
        precision: "fp32" or "bf16", in which it computes.
    """

    name: str
    precision: str

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalised images float32 (B, 3, H, W) -> logits float32 (B, C, H, W); H and W multiples of the network's.

        The logits hold until the next call.
        """
        ...

    def release(self) -> None:
        """Give working memory back to the system; the next call takes it again."""
        ...


def check_choice(name: str, precision: str) -> None:
    """See that an engine and a precision are among those that can be asked for.

    Raises:
        EngineError: they are not; the message lists those that are.
    """
    for what, given, there in (("engine", name, EngineName), ("precision", precision, Precision)):
        if given not in get_args(there):
            raise EngineError(f"There is no {what} {given!r} to compute with; there are: {', '.join(get_args(there))}.")


def choose_engine(name: EngineName, precision: Precision, *, work: float | None) -> tuple[EngineName, Precision]:
    """Resolve `auto`.

    Args:
        name: what was asked for.
        precision: likewise. bf16 needs OpenVINO.
        work: multiply-adds of all photos that are to be segmented; None for "unknown, probably much".

    Returns:
        an engine and a precision; the precision stays "auto" where the engine decides by the processor.
    """
    if name == "auto":
        much = work is None or work >= MUCH_WORK
        name = "openvino" if much or precision == "bf16" else "onnxruntime"
    return name, precision


def load_engine(
    model: Path,
    *,
    name: EngineName = "auto",
    precision: Precision = "auto",
    work: float | None = None,
    threads: int = 0,
    streams: int = 1,
) -> Engine:
    """Load an ONNX model.

    Args:
        model: the ONNX file; weights that it keeps outside lie beside it.
        name: the engine; "auto" chooses by the work. "torch" cannot run ONNX files: see `pixelwise.standalone`.
        precision: "auto" is fp32 on ONNX Runtime and, on OpenVINO, bf16 where the processor has instructions for it.
        work: as for `choose_engine`.
        threads: of computation; 0 for one a core, or as many as a container's quota is worth.
        streams: calls that are computed at once, each on its own thread of the caller's. They share the threads of
            computation: less for one photo alone, more for many together.

    Raises:
        EngineError: the engine is not installed, refuses the model, or cannot compute in that precision.
    """
    name, precision = choose_engine(name, precision, work=work)
    if name == "onnxruntime":
        each = max(1, cores() // streams) if streams > 1 else 0
        return OnnxRuntimeEngine(model, precision=precision, threads=threads or each)
    if name == "openvino":
        return OpenVINOEngine(model, precision=precision, threads=threads, streams=streams)
    raise EngineError(f"There is no engine {name!r} for ONNX models; there are: auto, onnxruntime, openvino.")


def load_exported(model: Path, *, stored: str, precision: Precision = "auto", streams: int = 1) -> Engine:
    """Load a model of OpenVINO's own form.

    Args:
        model: its XML.
        stored: the precision that it was exported in; what is left in float of an int8 one is computed in fp32, as bf16
            there costs more accuracy than all the integers do (docs/exporting.md).
        precision: other than that one's own.
        streams: as for `load_engine`.

    Raises:
        EngineError: as for `load_engine`.
    """
    if precision == "auto" and stored in ("fp32", "int8"):
        precision = "fp32"
    engine = OpenVINOEngine(model, precision=precision, streams=streams)
    if stored == "int8":
        engine.precision = "int8"
    return engine


class OnnxRuntimeEngine:
    """ONNX Runtime on the processor, in float32."""

    name = "onnxruntime"
    precision = "fp32"

    def __init__(self, model: Path, *, precision: Precision = "auto", threads: int = 0) -> None:
        if precision == "bf16":
            raise EngineError("ONNX Runtime computes this model in fp32 only; choose the engine openvino for bf16.")
        # Official builds from 1.29 on report sessions to Microsoft, unless told not to before they are imported.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        self._ort = _import("onnxruntime")
        self._options = self._ort.SessionOptions()
        self._options.log_severity_level = 3  # errors only
        self._options.intra_op_num_threads = threads or core_quota() or 0
        self._options.enable_mem_pattern = False  # it serves one size of input only, and takes a sixth more memory
        self._model = model
        self._session = self._open()
        self._input = self._session.get_inputs()[0].name

    def _open(self) -> Any:
        try:
            return self._ort.InferenceSession(str(self._model), self._options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own classes, some of them RuntimeError, some not
            raise EngineError(f"ONNX Runtime refuses {self._model}: {_complaint(error)}") from error

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine`."""
        session = self._session = self._session or self._open()  # another thread may release it meanwhile
        try:
            return session.run(None, {self._input: images})[0]  # type: ignore[no-any-return]
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot run this model: {_complaint(error)}") from error

    def release(self) -> None:
        """See `Engine`. The arena goes only with its session; a new one opens in a third of the time of a tile."""
        self._session = None


class OpenVINOEngine:
    """OpenVINO on the processor, in bf16 where it has instructions for it, unless fp32 is asked for.

    Args:
        model: an ONNX file, or the XML of OpenVINO's own form.
        precision: see `load_engine`.
        threads: likewise.
        streams: likewise.

    Raises:
        EngineError: see `load_engine`.
    """

    name = "openvino"

    def __init__(self, model: Path, *, precision: Precision = "auto", threads: int = 0, streams: int = 1) -> None:
        core = openvino_core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineError("This processor has no bf16 instructions; use --precision fp32.")
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if streams > 1:
            settings = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": streams}
        if precision != "auto":
            settings["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[precision]
        if threads := threads or core_quota() or 0:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            compiled = core.compile_model(str(model), "CPU", settings)
        except Exception as error:  # OpenVINO raises plain RuntimeError and its own classes
            raise EngineError(f"OpenVINO refuses {model}: {_complaint(error)}") from error
        self._begin(compiled, streams)

    @classmethod
    def of_compiled(cls, compiled: Any) -> OpenVINOEngine:
        """Around a model that is compiled already, an `openvino.CompiledModel`."""
        engine = cls.__new__(cls)
        engine._begin(compiled, 1)
        return engine

    def _begin(self, compiled: Any, streams: int) -> None:
        self._compiled, self._streams, self._own = compiled, streams, threading.local()
        in_bf16 = "bf" in str(compiled.get_property("INFERENCE_PRECISION_HINT"))
        self.precision = "bf16" if in_bf16 else "fp32"

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine`."""
        try:
            request = self._request()
            request.infer({0: images}, share_inputs=True)
        except Exception as error:
            raise EngineError(f"OpenVINO cannot run this model: {_complaint(error)}") from error
        return request.get_output_tensor().data  # type: ignore[no-any-return]

    def _request(self) -> Any:
        """This thread's own, which holds its input and output."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        return self._own.request

    def release(self) -> None:
        """See `Engine`. With several streams nothing is given back, as others may be computing."""
        if self._streams == 1:
            with contextlib.suppress(RuntimeError):  # another thread computes; it gives back both, at its end
                self._compiled.release_memory()


def graph_operations(model: Path, height: int, width: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The convolutions and matrix products of an ONNX model, for one photo of that size.

    Returns:
        for each, the shape of its weights, and of the map whose every position meets all of them: its output, or of a
        transposed convolution its input.

    Raises:
        EngineError: OpenVINO is not installed, or refuses the model.
    """
    core = openvino_core()
    try:
        graph = core.read_model(str(model))
        graph.reshape([1, 3, height, width])
        found = []
        for operation in graph.get_ordered_ops():
            kind = operation.get_type_name()
            if "Convolution" in kind or kind == "MatMul":
                positions = operation.input(0) if "Backprop" in kind else operation.output(0)
                found.append((tuple(operation.input(1).get_shape()), tuple(positions.get_shape())))
    except Exception as error:  # see OpenVINOEngine
        raise EngineError(f"OpenVINO refuses {model}: {_complaint(error)}") from error
    return found


class TorchEngine:
    """A torch module as it is.

    Args:
        module: float (B, 3, H, W) -> logits (B, C, H, W); used in evaluation mode, on the device that it is on.
        precision: "bf16" runs it under autocast.
    """

    name = "torch"

    def __init__(self, module: nn.Module, *, precision: Precision = "fp32") -> None:
        self._torch = _import("torch")
        self._module = module
        self.precision = "bf16" if precision == "bf16" else "fp32"

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine`."""
        return self.run(images).float().cpu().numpy()

    def run(self, images: NDArray[np.float32]) -> Tensor:
        """As a call, but the logits stay what the module made of them, where it made them."""
        torch = self._torch
        device = next(self._module.parameters()).device
        was_training = self._module.training
        self._module.eval()
        try:
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
                return self._module(batch)  # type: ignore[no-any-return]
        finally:
            self._module.train(was_training)

    def release(self) -> None:
        """See `Engine`. PyTorch keeps nothing that could be given back."""


def openvino_core() -> Any:
    """The one `openvino.Core` of this process.

    Raises:
        EngineError: OpenVINO is not installed.
    """
    return _core_of(_import_openvino())


@functools.cache
def _core_of(openvino: ModuleType) -> Any:
    """The one Core of this process, which is never given back.

    Each Core gives its thread another stack for signals and takes it away when it goes (OpenVINO 2026.4). Where two go
    in the order they came, or one goes on another thread than it came on, the thread is left with a stack that is no
    longer there, and the next signal that Python handles, Ctrl-C say, is a segmentation fault.

    Its tables of numpy's types are filled when they are first asked for, behind a lock of C++ that is held while
    Python's is taken: two threads that ask at once may wait for each other for ever. So they are asked for here.
    """
    openvino.Tensor(np.zeros(1, np.float32), shared_memory=True)
    openvino.Type.f32.to_dtype()
    return openvino.Core()


def _import_openvino() -> Any:
    """OpenVINO without its telemetry, which reports every import to Google Analytics unless the user has opted out.

    Where the package `openvino_telemetry` cannot be imported, OpenVINO does without.
    """
    ours = not {"openvino", "openvino_telemetry"} & sys.modules.keys()
    if ours:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return _import("openvino")
    finally:
        if ours:
            del sys.modules["openvino_telemetry"]


def _import(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EngineError(f"The engine {package} is not installed; `pip install {package}` brings it.") from error


def _complaint(error: Exception) -> str:
    """What an engine complains of; OpenVINO says it last, after the places in its sources that it came through."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return lines[-1 if lines[0].startswith("Exception from ") else 0]
