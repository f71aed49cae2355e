"""pixelwise and its peers side by side in one run: latency, throughput, cold start, memory. Writes docs/performance.md.

Each cell, a network on a runtime, is measured in a process of its own (`_performance_cell.py`), from the pixels of a
512 x 512 photo to its class ids, and the cells of a network take turns in rounds. Folders are whole processes, from
photos on disk to masks on disk. A run that was stopped goes on: each figure lies in DIR/cells.json when it is there;
delete that file to measure anew.

  .venv/bin/python benchmarks/performance.py --peers-python PEERS/bin/python
  .venv/bin/python benchmarks/performance.py --quick --document out/performance/quick.md   # a trial

Peers that are no dependency, nor ever imported by pixelwise, live in an environment of their own; without it the page
says that they were left out:

  python -m venv PEERS && PEERS/bin/pip install torch==2.15.0 torchvision==0.29.2 transformers ultralytics
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from _common import ROOT, Report, Task, machine, make_photo, parser, run, segment_command, versions
from _performance_models import DEFAULT, NETWORKS, SIZE, prepare, prepare_int8
from _performance_page import RUNTIMES, Figures, targets, write
from pixelwise.cost import count_multiply_adds
from pixelwise.files import write_atomically

HERE = Path(__file__).parent
DOCUMENT = ROOT / "docs" / "performance.md"
PARTS = (*(network.name for network in NETWORKS), "folder", "peers")
CALIBRATION = 20
LONGEST = 300  # seconds that a cell may take; torch compiles within two minutes
SCRIPT_NETWORK = "smp-unet-lite0"
DEFAULT_SIDE = 384  # of the photos that the default model sees, in pixels
STREAMS, WORKERS = (1, 2, 4), (0, 2)
PACKAGES = ("pixelwise", "torch", "torchvision", "timm", "segmentation-models-pytorch", "onnxruntime", "openvino")
PEERS = {"Hugging Face pipeline": "_peer_huggingface.py", "Ultralytics YOLO26n-sem": "_peer_ultralytics.py"}

_MATRIX_MULTIPLY = """
import json, time, numpy, torch
best = {"fp32": 0.0, "bf16": 0.0, "int8": 0.0}
for side in (2048, 3072, 4096):
    a = torch.randn(side, side)
    whole = torch.randint(-128, 128, (side, side), dtype=torch.int8)
    products = (
        ("fp32", torch.mm, a), ("fp32", numpy.matmul, a.numpy()), ("bf16", torch.mm, a.bfloat16()),
        ("int8", torch._int_mm, whole),  # its only one of integers on a processor
    )
    for kind, multiply, operand in products:
        for _ in range(4):
            start = time.perf_counter()
            multiply(operand, operand)
            best[kind] = max(best[kind], 2 * side**3 / (time.perf_counter() - start) / 1e9)
print(json.dumps(best))
"""

Measure = Callable[[], dict[str, Any]]
Command = Callable[[Path], Sequence[str | Path]]


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is measured: calls of a cell and seconds of a round at the least, rounds, and photos of the folders.

    `few` is for the folder of a large network, `some` for that of a small one and of a peer, of which the time of a
    folder of one is taken off; `many` for the default model's.
    """

    rounds: int
    calls: int
    seconds: float
    few: int
    some: int
    many: int


FULL, QUICK = Amounts(2, 3, 1.5, 9, 65, 500), Amounts(1, 1, 0.0, 3, 9, 16)
LARGE = 50e9  # multiply-adds


class Cells:
    """What is measured already, by name, in a file that is written after each."""

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self._path = path
        known = json.loads(path.read_text()) if path.is_file() else {"head": head, "cells": {}}
        if known["head"] != head:
            sys.exit(f"{path} is of another machine, or of other versions or amounts; delete it to measure anew.")
        self._head, self.found = head, dict[str, dict[str, Any]](known["cells"])

    def keep(self, key: str, figures: dict[str, Any]) -> None:
        """Write down the figures of one."""
        self.found[key] = figures
        write_atomically(self._path, json.dumps({"head": self._head, "cells": self.found}, indent=1).encode())


def main() -> None:
    options = _options()
    amounts = QUICK if options.quick else FULL
    found = versions(*PACKAGES, "nncf")
    peers = versions("transformers", "ultralytics", python=options.peers_python) if options.peers_python else {}
    peers.pop("python", None)
    report = Report(options, found | peers)
    conditions: dict[str, Any] = {"machine": machine(), "versions": found | peers}
    options.work.mkdir(parents=True, exist_ok=True)
    same = {"cpu": conditions["machine"]["cpu"], **conditions["versions"], **asdict(amounts)}
    cells = Cells(options.work / ("quick.json" if options.quick else "cells.json"), same)
    photos = _photos(options.photos, options.work / "photos", amounts.many)
    conditions["photos"] = _told(photos)
    wanted = options.only or PARTS
    names = [network.name for network in NETWORKS if network.name in wanted]
    for name in names:
        for whole in (False, True):
            prepare_int8(name, options.work, photos[:CALIBRATION], whole=whole)
    multiply_adds = {name: count_multiply_adds(prepare(name, options.work).graph, SIZE, SIZE) or 0 for name in names}
    plan: dict[str, Measure] = {"peak/0": _matrix_multiply}
    if "folder" in wanted:
        one, many = (_linked(photos[:count], options.work / f"photos-{count}") for count in (1, len(photos)))
        plan |= _many_photos(one, many, amounts)
    for name in names:
        plan |= _latency_cells(name, amounts, options.work) | {f"peak/{name}": _matrix_multiply}
    plan |= _some_photos(photos, multiply_adds, amounts, options, peers="peers" in wanted)
    _measure_all(plan, cells)
    figures = Figures(cells.found, multiply_adds, amounts.many)
    report.figures = {"cells": cells.found, "multiply-adds": multiply_adds}
    report.show(*targets(figures))
    write(figures, options.document, conditions)
    report.finish()


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--photos", type=Path, metavar="DIR", help="500 photos (default: variants of examples/photos)")
    made.add_argument("--peers-python", metavar="PYTHON", help="the Python that has transformers and ultralytics")
    made.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of {', '.join(PARTS)}")
    made.add_argument("--quick", action="store_true", help="one call of each and few photos, to see that all runs")
    made.add_argument("--work", type=Path, default=ROOT / "out" / "performance", metavar="DIR", help="for what is kept")
    made.add_argument("--document", type=Path, default=DOCUMENT, metavar="FILE.md", help="what to write")
    options = made.parse_args()
    if options.quick and options.document == DOCUMENT:
        made.error("--quick measures too little for docs/performance.md; give --document FILE.md")
    return options


def _photos(given: Path | None, folder: Path, count: int) -> list[Path]:
    """The first so many photos of a folder, or variants of the examples."""
    if given is not None:
        found = sorted(given.glob("*.jpg"))
        if len(found) < count:
            sys.exit(f"{given} holds {len(found)} JPEGs, {count} are wanted.")
        return found[:count]
    folder.mkdir(exist_ok=True)
    sources = ("chelsea.png", "coffee.png", "astronaut.png", "rocket.jpg")
    made = [folder / f"{index:03}.jpg" for index in range(count)]
    for index, path in enumerate(made):
        if not path.is_file():
            make_photo(path, source=sources[index % 4], turn=index // 4)
    return made


def _told(photos: Sequence[Path]) -> str:
    """How many, and how large."""
    from PIL import Image

    sizes = []
    for photo in photos:
        with Image.open(photo) as image:
            sizes.append(image.size)
    width, height = (median(sides) for sides in zip(*sizes, strict=True))
    return f"{len(photos)} JPEGs, in the median {width:.0f} x {height:.0f}"


def _measure_all(plan: dict[str, Measure], cells: Cells) -> None:
    missing = [key for key in plan if "error" in cells.found.get(key, {"error": "not measured"})]
    start = time.monotonic()
    for done, key in enumerate(missing):
        left = (time.monotonic() - start) / done * (len(missing) - done) / 60 if done else float("nan")
        print(f"{done + 1} of {len(missing)}, about {left:.0f} min left: {key}", file=sys.stderr, flush=True)
        cells.keep(key, plan[key]())


def _latency_cells(name: str, amounts: Amounts, work: Path) -> dict[str, Measure]:
    return {
        f"latency/{name}/{runtime}/{number}": partial(_latency, name, runtime, number, amounts, work)
        for number in range(amounts.rounds)
        for runtime in RUNTIMES
    }


def _latency(name: str, runtime: str, number: int, amounts: Amounts, work: Path) -> dict[str, Any]:
    compiled = work / "inductor" / name  # what torch.compile made: nothing in the first round, all in the others
    if number == 0:
        shutil.rmtree(compiled, ignore_errors=True)
    script = str(HERE / "_performance_cell.py")
    amount = [str(amounts.calls), str(amounts.seconds)]
    command = ["env", f"TORCHINDUCTOR_CACHE_DIR={compiled}", sys.executable, script, name, runtime, str(work)]
    try:
        command.append(str(time.monotonic()))
        done = subprocess.run([*command, *amount], capture_output=True, text=True, check=False, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {LONGEST} s"}
    if done.returncode:
        return {"error": f"ended with status {done.returncode}: {done.stderr.strip()[-200:]}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _matrix_multiply() -> dict[str, Any]:
    """The most GFLOP/s of matrix products on all cores; in float32 NumPy's or torch's, whichever is faster."""
    done = subprocess.run([sys.executable, "-c", _MATRIX_MULTIPLY], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _many_photos(one: Path, folder: Path, amounts: Amounts) -> dict[str, Measure]:
    """The default model, and what it is held against; and what starting takes of its time."""
    plan: dict[str, Measure] = {}
    for number in range(amounts.rounds):
        plan[f"start/pixelwise/{number}"] = partial(_process, _pixelwise(("--engine", "openvino"), one), 1)
        plan[f"many/pixelwise/{number}"] = partial(_process, _pixelwise((), folder), amounts.many)
        for workers in WORKERS:
            script = _plain(SCRIPT_NETWORK, DEFAULT_SIDE, folder, workers=workers)
            plan[f"many/script, {workers} workers/{number}"] = partial(_process, script, amounts.many)
        for streams in STREAMS:
            plan[f"many/{streams} streams alone/{number}"] = partial(_alone, folder, streams)
    return plan


def _some_photos(
    photos: Sequence[Path],
    multiply_adds: dict[str, int],
    amounts: Amounts,
    options: argparse.Namespace,
    *,
    peers: bool,
) -> dict[str, Measure]:
    """Each network, as pixelwise's and in the plain script; the peers. A folder of one photo, and one of several."""
    folders = {
        count: _linked(photos[:count], options.work / f"photos-{count}") for count in (1, amounts.few, amounts.some)
    }
    commands: dict[str, tuple[int, Callable[[Path], Command]]] = {}
    for name, cost in multiply_adds.items():
        count = amounts.few if cost > LARGE else amounts.some
        given = ("--model", str(prepare(name, options.work).path), "--engine", "openvino", "--size", str(SIZE))
        commands[f"{name} script"] = count, partial(_plain, name, SIZE)
        commands[f"{name} pixelwise"] = count, partial(_pixelwise, given)
    if peers and options.peers_python:
        commands |= {peer: (amounts.some, partial(_peer, options, file)) for peer, file in PEERS.items()}
    return {
        f"some/{who}/{photos_in}": partial(_process, command(folders[photos_in]), photos_in)
        for who, (count, command) in commands.items()
        for photos_in in (1, count)
    }


def _linked(photos: Sequence[Path], folder: Path) -> Path:
    """A folder that has those photos alone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for photo in photos:
        (folder / photo.name).symlink_to(photo.absolute())
    return folder


def _process(command: Command, files: int) -> dict[str, Any]:
    try:
        return asdict(run(Task(command, files, LONGEST)))
    except SystemExit as error:  # it says why it cannot be measured
        return {"error": str(error)[-300:]}


def _pixelwise(given: Sequence[str], folder: Path) -> Command:
    return lambda out: segment_command(folder, out, *given, "--save", "mask", "--quiet")


def _plain(name: str, width: int, folder: Path, *, workers: int = 0) -> Command:
    """Photos of 4:3 are given to the network as large as by pixelwise."""
    size = (str(width * 3 // 4), str(width))
    return lambda out: [sys.executable, HERE / "_plain_folder.py", name, *size, str(workers), folder, out]


def _peer(options: argparse.Namespace, file: str, folder: Path) -> Command:
    settings = ("HF_HUB_OFFLINE=1", "YOLO_OFFLINE=true", f"YOLO_CONFIG_DIR={options.work.absolute()}")
    return lambda out: ["env", *settings, options.peers_python, HERE / file, folder, out]


def _alone(folder: Path, streams: int) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "_inference_alone.py"), DEFAULT, str(folder), str(streams)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LONGEST)
    except subprocess.SubprocessError as error:
        return {"error": str(error)}
    return {"wall": float(done.stdout)}


if __name__ == "__main__":
    main()
