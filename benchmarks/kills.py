"""Whether a training run that was killed ends as if it had not been: SIGKILL at random moments, then `--resume`.

A small run on `examples/nuclei` goes through once. Then it is started again and again, with none to two loader workers,
killed at a random moment (while starting, in a step, in a validation, while a checkpoint, the curves or the bundle are
written), every second time before the last step, and gone on with. Its weights, averaged weights, optimizer, log and
bundle have to equal those of the run that was left alone, bit for bit.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from _common import ROOT, Report, parser, verdict, versions

SETTINGS = (
    "model.transfer=null",
    "model.encoder_weights=null",
    "model.arguments={decoder_channels: [16, 16, 16], context_channels: 16}",
    "augment.crop_size=64",
    "input.long_side=128",
    "batch_size=4",
    "steps=18",
    "validate_every=6",
    "checkpoint_every=2",
    "optimizer.warmup_steps=2",
    "precision=32-true",
)
FILES = ("log.jsonl", "best.safetensors", "model/model.onnx", "model/model.safetensors", "model/config.json")
"""Of a finished run; the last names the recipe by its hash, so that other settings make another file."""


def main() -> None:
    options = _parse()
    report = Report(options, versions("torch", "lightning"))
    draw = random.Random(options.seed)
    different, moments = [], []
    with tempfile.TemporaryDirectory(prefix="kills-") as directory:
        work = Path(directory)
        durations, learning = [], []
        for workers in range(3):
            run, start = work / f"whole-{workers}", time.time()
            _train(run, workers=workers)
            durations.append(time.time() - start)
            learning.append(max(path.stat().st_mtime for path in (run / "checkpoints").iterdir()) - start)
        seconds = min(durations)
        for workers in (1, 2):
            found = differences(work / "whole-0", work / f"whole-{workers}", names=FILES[:-1])
            print(f"{workers} loader workers against none: {found or 'identical'}", flush=True)
            different += found
        for number in range(options.kills):
            run, workers = work / f"killed-{number}", number % 3
            moment = draw.uniform(0, min(learning) if number % 2 else seconds)
            finished = _train(run, workers=workers, kill_after=moment)
            state = "done already" if finished else _last_step(run)
            if not finished:
                _train(run, workers=workers, resume=True)
            found = differences(work / f"whole-{workers}", run)
            moments.append({"seconds": moment, "workers": workers, "found": state, "differences": found})
            told = f"{number + 1}: killed after {moment:.1f} of {seconds:.1f} s, {state}"
            print(f"{told}: {', '.join(found) or 'identical'}", flush=True)
            different += found
            shutil.rmtree(run)
    report.figures = {"seconds": seconds, "kills": moments}
    equal = sum(not moment["differences"] for moment in moments)
    report.show(verdict("every end bit-identical", not different, f"{equal} of {options.kills}"))
    report.finish()
    sys.exit(1 if different else 0)


def _parse() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--kills", type=int, default=50)
    made.add_argument("--seed", type=int, default=0)
    return made.parse_args()


def _train(run: Path, *, workers: int, kill_after: float | None = None, resume: bool = False) -> bool:
    """Run the command line; whether it came to its end before it was to be killed."""
    command = [sys.executable, "-m", "pixelwise", "train", "--data", ROOT / "examples" / "nuclei", "--run", run]
    command += ["--resume"] if resume else []
    # With --resume the recipe is the run's own; a run that was killed before it had one is started anew.
    command += [word for setting in (*SETTINGS, f"workers={workers}") for word in ("--set", setting)]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, errors = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return False
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with status {process.returncode}:\n{errors.strip()}")
    return True


def _last_step(run: Path) -> str:
    checkpoints = sorted((run / "checkpoints").glob("step-*.pt"))
    return f"{checkpoints[-1].stem.rpartition('-')[0]}" if checkpoints else "no checkpoint yet"


def differences(whole: Path, other: Path, *, names: Sequence[str] = FILES) -> list[str]:
    """What differs between two finished runs, by name; empty where all is the same to the last bit."""
    import torch

    found = [name for name in names if (whole / name).read_bytes() != (other / name).read_bytes()]
    states = [torch.load(max((run / "checkpoints").glob("step-*.pt")), weights_only=True) for run in (whole, other)]
    return found + [key for key in states[0] if not _equal(states[0][key], states[1][key])]


def _equal(first: object, second: object) -> bool:
    import torch

    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    return first == second


if __name__ == "__main__":
    main()
