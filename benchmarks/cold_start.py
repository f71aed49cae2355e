"""One photo to mask and overlay on disk, as a whole cold process: pixelwise against a torchvision script.

`python -m pixelwise segment PHOTO` and _torchvision_script.py (DeepLabV3-MobileNetV3-Large) alternate on the same
640x480 JPEG. Cold means a fresh process; its files are in the operating system's cache after the warm-up.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from _common import Report, Run, Task, alternate, make_photo, medians, parser, segment_command, table, verdict, versions

SCRIPT = Path(__file__).with_name("_torchvision_script.py")
FASTER, MEMORY = 8, 1 / 3


def main() -> None:
    options = _options()
    ours = versions("pixelwise", "numpy", "pillow", "onnxruntime", "openvino", python=options.runtime_python)
    theirs = versions("torch", "torchvision", "pillow", python=options.torch_python)
    has_torch = "torchvision" in theirs
    report = Report(options, ours | {f"{name} (script)": value for name, value in theirs.items() if has_torch})
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        photo = make_photo(Path(directory) / "photo.jpg")
        tasks = {"pixelwise": Task(lambda out: segment_command(photo, out, python=options.runtime_python), 2)}
        if has_torch:
            tasks["torchvision"] = Task(lambda out: [options.torch_python, SCRIPT, photo, out], 2)
        runs = alternate(tasks, options.repetitions)
    report.figures = {name: [asdict(run) for run in measured] for name, measured in runs.items()}
    heading = f"median of {options.repetitions}"
    rows = [_row(name, measured) for name, measured in runs.items()]
    report.show(table(["640x480 photo to files", f"wall s, {heading}", "fastest to slowest", "CPU s", "peak MB"], rows))
    if has_torch:
        report.show(
            *_comparison(runs["pixelwise"], runs["torchvision"]),
            "The script's network has the right shape and random weights, which saves it reading 44 MB of them.",
        )
    else:
        report.show(f"skipped: the comparison, as {options.torch_python} has no torchvision; give --torch-python.")
    report.finish()


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--runtime-python", default=sys.executable, help="the Python that has pixelwise")
    made.add_argument("--torch-python", default=sys.executable, help="the Python that has torchvision")
    made.add_argument("--repetitions", type=int, default=7, help="measured runs of each (default 7)")
    return made.parse_args()


def _row(name: str, runs: list[Run]) -> list[str]:
    middle, walls = medians(runs), sorted(run.wall for run in runs)
    spread = f"{walls[0]:.3f} to {walls[-1]:.3f}"
    return [name, f"{middle.wall:.3f}", spread, f"{middle.cpu:.2f}", f"{middle.peak:.0f}"]


def _comparison(ours: list[Run], theirs: list[Run]) -> list[str]:
    """Two verdicts: on time, with the ratio of every pair of neighbouring runs, and on memory."""
    faster = medians(theirs).wall / medians(ours).wall
    pairs = ", ".join(f"{b.wall / a.wall:.1f}" for a, b in zip(ours, theirs, strict=True))
    memory = medians(ours).peak / medians(theirs).peak
    return [
        verdict(f"at least {FASTER} times as fast", faster >= FASTER, f"{faster:.1f} times; pair by pair {pairs}"),
        verdict("at most a third of the memory", memory <= MEMORY, f"{memory:.2f} of it"),
    ]


if __name__ == "__main__":
    main()
