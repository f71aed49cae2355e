"""Training throughput, data loading included, against the plainest script that does the same.

Both train the same kind of network on `examples/nuclei` in batches of 8 crops of 256 pixels, AdamW, one loader worker:
pixelwise by its own loop (augmentation, clipping, averaged weights, figures of the training photos); the script,
`_plain_training.py`, by segmentation_models.pytorch or torchvision, with random crops, flips and colours. Whole
processes alternate, A B C A B C; of each the median step counts, and of these the median over the rounds. The script
runs in the same precision, and in its own default, float32.

Then data loading by itself: photos a second that two loader workers prepare, against what the smallest model trains on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from _common import ROOT, Report, parser, table, verdict, versions

DATA = ROOT / "examples" / "nuclei"
BATCH, CROP = 8, 256
NETWORKS = ("unet", "deeplabv3_resnet50")
SAME, DEFAULT = 1.0, 1.8
"""Least ratios to the script in the same precision, and in float32."""


def main() -> None:
    options = _parse()
    if options.own:
        print(json.dumps(_own_speeds(*options.own, steps=options.steps)))
        return
    report = Report(options, versions("torch", "torchvision", "timm", "segmentation-models-pytorch"))
    rows, verdicts = [], []
    for name in NETWORKS:
        speeds = _alternate(name, options)
        report.figures[name] = speeds
        own, same, default = (median(each) for each in speeds.values())
        rows.append([name, f"{own:.1f}", f"{same:.1f}", f"{default:.1f}", f"{own / same:.2f}", f"{own / default:.2f}"])
        verdicts.append(verdict(f"{name}, {SAME} times the script", own >= SAME * same, f"{own / same:.2f}"))
        verdicts.append(
            verdict(f"{name}, {DEFAULT} times it in float32", own >= DEFAULT * default, f"{own / default:.2f}")
        )
        if name == NETWORKS[0]:
            loaded = _loading_speed(options.steps)
            report.figures["loading"] = loaded
            verdicts.append(
                verdict("two workers keep ahead of the smallest model", loaded > own, f"{loaded:.0f} photos/s")
            )
    headings = [
        "photos a second",
        "pixelwise",
        f"script, {options.precision}",
        "script, float32",
        "ratio",
        "ratio to float32",
    ]
    report.show(table(headings, rows), *verdicts)
    report.finish()


def _parse() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--precision", choices=["bf16-mixed", "32-true"], default="bf16-mixed")
    made.add_argument("--steps", type=int, default=14, help="of each process; the first two do not count")
    made.add_argument("--repetitions", type=int, default=3)
    made.add_argument("--own", nargs=2, help=argparse.SUPPRESS)  # NAME PRECISION: be the measured process
    return made.parse_args()


def _alternate(name: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Photos a second of pixelwise, the script in the same precision, and the script in float32: a figure a round."""
    script = [sys.executable, Path(__file__).with_name("_plain_training.py"), name]
    own = [sys.executable, __file__, "--steps", options.steps, "--own", name, options.precision]
    commands = {
        "pixelwise": own,
        "script": [*script, options.precision, options.steps],
        "script in float32": [*script, "32-true", options.steps],
    }
    speeds: dict[str, list[float]] = {what: [] for what in commands}
    for repetition in range(options.repetitions):
        print(f"{name}: round {repetition + 1} of {options.repetitions}", file=sys.stderr)
        for what, command in commands.items():
            done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{what} failed:\n{done.stderr.strip()}")
            speeds[what].append(median(json.loads(done.stdout.splitlines()[-1])))
    return speeds


def _own_speeds(name: str, precision: str, *, steps: int) -> list[float]:
    """What `pixelwise train` does, step by step, but for validation and writing."""
    from pixelwise.acceleration import keep_freed_memory
    from pixelwise.data.loader import class_pixels
    from pixelwise.data_check import open_sets
    from pixelwise.processes import make_fabric
    from pixelwise.recipe import parse_recipe
    from pixelwise.run_state import RunState
    from pixelwise.train import take_step

    keep_freed_memory()
    source = {"layout": "folder", "root": str(DATA)}
    recipe = parse_recipe(
        {
            "name": "speed",
            "model": {"name": name, "encoder_weights": None},
            "input": {"long_side": CROP},
            "data": {"train": [{**source, "split": "train"}], "val": [{**source, "split": "val"}]},
            "augment": {"crop_size": CROP},
            "batch_size": BATCH,
            "steps": steps,
            "precision": precision,
        },
        name="speed",
    )
    train_sets, val_sets = open_sets(recipe.data.train, DATA), open_sets(recipe.data.val, DATA)
    fabric = make_fabric(precision, devices=1, nodes=1)
    state = RunState.fresh(recipe, train_sets, val_sets, class_pixels(train_sets), fabric)
    speeds, start = [], time.perf_counter()
    for images, masks in state.loader():
        take_step(state, images, masks)
        speeds.append(BATCH / (time.perf_counter() - start))
        start = time.perf_counter()
    return speeds[2:]


def _loading_speed(steps: int) -> float:
    """Photos a second from two workers, when nothing else wants the processor."""
    from pixelwise.data import open_dataset
    from pixelwise.data.loader import StepSampler, train_loader
    from pixelwise.data.transforms import TrainTransform
    from pixelwise.recipe import Augment

    dataset = open_dataset("folder", DATA, "train")
    transform = TrainTransform(Augment(crop_size=CROP), fit_size=CROP)
    import numpy as np

    sampler = StepSampler(np.ones(len(dataset)), seed=0, batch_size=BATCH, start_step=0, steps=10 * steps)
    loader = iter(train_loader([dataset], transform, sampler, workers=2))
    for _ in range(2 * steps):
        next(loader)
    start = time.perf_counter()
    for _ in range(6 * steps):
        next(loader)
    return 6 * steps * BATCH / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
