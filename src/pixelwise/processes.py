"""Training in several processes: started here, by torchrun or by SLURM; PyTorch's elastic launcher does the work."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

import torch
from lightning.fabric import Fabric

from pixelwise.errors import PixelwiseError, RecipeError
from pixelwise.machine import cores

_REFUSED = 2
"""The exit status of a command that could not be done, and has said why."""


def is_worker() -> bool:
    """Whether this process was started by torchrun, by SLURM's srun, or by `launch`, as one of several."""
    return _torchrun() or int(os.environ.get("SLURM_NTASKS", "1")) > 1


def rank() -> int:
    """This process among all of them; 0 where there is one."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))


def local_processes(devices: int) -> int:
    """How many training processes share this machine: what torchrun or srun started, or what is asked for."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("SLURM_NTASKS_PER_NODE", devices)))


def make_fabric(precision: str, *, devices: int, nodes: int) -> Fabric:
    """The Fabric of this process, launched.

    Args:
        precision: as Fabric takes it.
        devices: processes on this machine; those that torchrun started count more.
        nodes: machines; likewise.

    Raises:
        PixelwiseError: there are fewer graphics cards than processes, or none for the precision.
    """
    if _torchrun():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    _check_devices(devices)
    several = nodes > 1 or devices > 1
    for part in ("fabric", "pytorch"):  # either says, by whichever was imported last, what the recipe says
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    accelerator = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if precision == "16-mixed" and accelerator == "cpu":  # of which Fabric would make bf16-mixed
        raise RecipeError("precision 16-mixed works on graphics cards only; set it to bf16-mixed or 32-true.")
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if several else "auto",
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def leave() -> None:
    """End what `make_fabric` began; gloo's threads, left to the end of Python, may abort a process that is done."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def launch(command: Sequence[str], *, devices: int, nodes: int = 1, rendezvous: str | None = None) -> None:
    """Run `python -m pixelwise COMMAND` in several processes, and wait for all of them.

    Where one ends badly the others are ended too.

    Args:
        command: the command line after `pixelwise`.
        devices: processes on this machine.
        nodes: machines; each of them runs this command.
        rendezvous: HOST:PORT of the first machine, where the others find it; needed for several machines.

    Raises:
        PixelwiseError: one of the processes ended badly, a signal stopped them all, there are fewer graphics cards than
            processes, or there is no rendezvous for several machines.
        KeyboardInterrupt: that signal was Ctrl-C's.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if nodes > 1 and rendezvous is None:
        raise PixelwiseError("Several machines have to find each other: give --rendezvous HOST:PORT of the first one.")
    _check_devices(devices)
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=devices,
        run_id="pixelwise",
        rdzv_backend="c10d",
        rdzv_endpoint=rendezvous or "localhost:0",
        max_restarts=0,
        monitor_interval=0.5,
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // devices)))
    try:
        elastic_launch(config, sys.executable)("-m", "pixelwise", *command)
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from error
        raise PixelwiseError(
            f"The training was stopped ({error.sigval.name}); go on from the last checkpoint with --resume."
        ) from error
    except ChildFailedError as error:
        number, failure = error.get_first_failure()
        told = f"Process {number} of {devices * nodes} {_ending(failure.exitcode)}, so the others were stopped"
        if failure.exitcode == _REFUSED:
            raise PixelwiseError(f"{told}; what it said is above.") from error
        raise PixelwiseError(f"{told}; go on from the last checkpoint with --resume.") from error


def _check_devices(devices: int) -> None:
    """See that each process of this machine has a graphics card of its own; a processor takes any number of them."""
    if torch.cuda.is_available():
        cards = torch.cuda.device_count()
    else:
        cards = 1 if torch.backends.mps.is_available() else devices
    if devices > cards:
        raise PixelwiseError(
            f"{devices} training processes need as many graphics cards, and this machine has {cards}; lower --devices "
            "(for torchrun, --nproc-per-node)."
        )


def _ending(status: int) -> str:
    if status < 0:
        return f"was killed ({signal.Signals(-status).name})"
    return f"ended with status {status}"


def _torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ and "LOCAL_WORLD_SIZE" in os.environ
