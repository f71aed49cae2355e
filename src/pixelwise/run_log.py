"""What a training run writes down as it goes: `log.jsonl`, TensorBoard, and by name MLflow or Weights & Biases.

`log.jsonl` holds nothing that depends on the clock, so that the log of a run which was killed and went on equals that
of one which was not, byte for byte. The speed goes to TensorBoard.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from torch.utils.tensorboard import SummaryWriter

from pixelwise.errors import OutputError, PixelwiseError
from pixelwise.files import write_atomically
from pixelwise.run_directory import RunDirectory, read_log

Scalars = Mapping[str, float]


class _Sink(Protocol):
    def write(self, scalars: Scalars, *, step: int) -> None: ...

    def close(self) -> None: ...


class RunLog:
    """The log of a run, from a step on.

    Args:
        run: where it is written.
        start_step: what an earlier life of the run wrote about later steps is taken back.
        settings: the resolved recipe, for the services.
        services: of `mlflow` and `wandb`; a run that goes on is there the run that it was.

    Raises:
        PixelwiseError: a service's package is not installed, or does not know the run any more.
    """

    def __init__(self, run: RunDirectory, *, start_step: int, settings: Mapping[str, Any], services: Sequence[str]):
        self._file = run.log
        _truncate(run.log, start_step)
        self._sinks: list[_Sink] = [_TensorBoard(run.tensorboard, start_step)]
        self._sinks += [_SERVICES[name](run.root, settings) for name in services]

    def write(self, step: int, scalars: Scalars, *, speed: float) -> None:
        """Add a step.

        Args:
            step: steps taken.
            scalars: figures by name; an undefined one, nan or infinite, is left out.
            speed: photos a second, for TensorBoard and the services.

        Raises:
            OutputError: it cannot be written.
        """
        defined = {key: value for key, value in scalars.items() if math.isfinite(value)}
        entry = {"step": step, **{key: float(f"{value:.6g}") for key, value in defined.items()}}
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            for sink in self._sinks:
                sink.write({**defined, "images_per_second": speed}, step=step)
        except OSError as error:
            raise self._lost(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write out what is held back; that it cannot be is said where nothing else went wrong before.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            for sink in self._sinks:
                sink.close()
        except OSError as error:
            if kind is None:
                raise self._lost(error) from error

    def _lost(self, error: OSError) -> OutputError:
        return OutputError(f"The log in {self._file.parent} cannot be written: {error.strerror or error}.")


class _TensorBoard:
    def __init__(self, directory: Path, start_step: int) -> None:
        self._writer = SummaryWriter(str(directory), purge_step=start_step + 1)

    def write(self, scalars: Scalars, *, step: int) -> None:
        for key, value in scalars.items():
            part, _, name = key.partition("_")
            tag = f"{part}/{name}" if part in ("train", "val") and name else key
            self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        self._mlflow = _import("mlflow")
        self._mlflow.set_experiment(str(settings["name"]))
        known = run / "mlflow.id"
        if known.is_file():
            self._go_on(known)
            return
        started = self._mlflow.start_run(run_name=run.name)
        write_atomically(known, started.info.run_id.encode())
        self._mlflow.log_dict(dict(settings), "recipe.json")

    def _go_on(self, known: Path) -> None:
        try:
            self._mlflow.start_run(run_id=known.read_text(encoding="utf-8"))
        except self._mlflow.exceptions.MlflowException as error:
            reason = str(error).splitlines()[0]
            raise PixelwiseError(f"MLflow does not know the run in {known} ({reason}); remove that file.") from error

    def write(self, scalars: Scalars, *, step: int) -> None:
        self._mlflow.log_metrics(dict(scalars), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class _WandB:
    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        wandb = _import("wandb")
        known = run / "wandb.id"
        if not known.is_file():
            write_atomically(known, uuid.uuid4().hex.encode())
        self._run = wandb.init(
            project=str(settings["name"]),
            name=run.name,
            id=known.read_text(encoding="utf-8"),
            resume="allow",
            dir=str(run),
            config=dict(settings),
        )

    def write(self, scalars: Scalars, *, step: int) -> None:
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        self._run.finish()


_SERVICES: dict[str, Callable[[Path, Mapping[str, Any]], _Sink]] = {"mlflow": _MLflow, "wandb": _WandB}


def check_services(services: Sequence[str]) -> None:
    """See that the services can be used, before a run is begun.

    Raises:
        PixelwiseError: a service's package is not installed.
    """
    for name in services:
        _import(name)


def _import(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise PixelwiseError(
            f"`log_to` asks for {package}, which is not installed; `pip install {package}`."
        ) from error


def _truncate(path: Path, step: int) -> None:
    """Take back what was written about steps after `step`, and a line that a kill tore."""
    if path.is_file():
        kept = [json.dumps(entry) + "\n" for entry in read_log(path) if entry["step"] <= step]
        write_atomically(path, "".join(kept).encode())
