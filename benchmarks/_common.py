"""What the benchmarks share: whole processes measured from outside, example photos, and the report.

Times are wall-clock medians over repetitions. What is compared alternates, A B A B, so that a machine that slows down
slows both. MB is 10^6 bytes; peak memory is the largest resident set that the kernel saw of the process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

from pixelwise.machine import load, processor

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "examples" / "photos"

# Between us and what is measured stands a small process: on Linux a child's ru_maxrss starts from the memory of the
# process that started it, and a benchmark that has just painted a large photo is not small.
_LAUNCHER = """
import json, os, signal, sys, time
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=quiet)
signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
signal.alarm(int(sys.argv[1]))
_, status, usage = os.wait4(child, 0)
wall = time.perf_counter() - start
print(json.dumps([os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024

_VERSIONS = """
import importlib.metadata as m, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One process, from its start to its end: wall and CPU time in seconds (all cores), peak memory in MB."""

    wall: float
    cpu: float
    peak: float


@dataclass(frozen=True, slots=True)
class Task:
    """Something to measure as a whole process.

    Attributes:
        command: given an empty directory for its results, what to run.
        files: how many results must lie there afterwards.
        longest: seconds after which it is killed; 0 for never.
    """

    command: Callable[[Path], Sequence[str | Path]]
    files: int
    longest: int = 0


def run(task: Task) -> Run:
    """Run a task once; one that fails, or leaves too few files, ends the benchmark with exit status 1."""
    # Byte code may be written, as it is for every user: the warm-up compiles, what is measured does not.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        command = [str(part) for part in task.command(Path(directory))]
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(task.longest), *command]
        done = subprocess.run(launcher, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            sys.exit(f"{command[0]} cannot be started: {done.stderr.strip()}")
        status, wall, cpu, maxrss = json.loads(done.stdout)
        if status:
            sys.exit(f"{' '.join(command)} ended with status {status}:\n{done.stderr.strip()}")
        files = sum(path.is_file() for path in Path(directory).rglob("*"))
        if files < task.files:
            sys.exit(f"{' '.join(command)} wrote {files} files instead of {task.files}.")
    return Run(wall, cpu, maxrss * _MAXRSS_UNIT / 1e6)


def alternate(tasks: Mapping[str, Task], repetitions: int) -> dict[str, list[Run]]:
    """Run each task once unmeasured, then all of them in turn, `repetitions` times."""
    for task in tasks.values():
        run(task)
    runs: dict[str, list[Run]] = {name: [] for name in tasks}
    for repetition in range(repetitions):
        print(f"round {repetition + 1} of {repetitions}", file=sys.stderr)
        for name, task in tasks.items():
            runs[name].append(run(task))
    return runs


def medians(runs: Sequence[Run]) -> Run:
    return Run(median(r.wall for r in runs), median(r.cpu for r in runs), median(r.peak for r in runs))


def segment_command(photo: Path, out: Path, *options: str, python: str = sys.executable) -> list[str | Path]:
    return [python, "-m", "pixelwise", "segment", photo, "--out", out, *options]


def example_photos() -> list[Path]:
    return sorted(path for path in PHOTOS.glob("*") if path.suffix in (".jpg", ".png"))


def make_photo(target: Path, *, source: str = "chelsea.png", turn: int = 0) -> Path:
    """An example photo cut to 4:3 and scaled to 640x480, as JPEG; odd turns mirror it."""
    from PIL import Image, ImageOps

    with Image.open(PHOTOS / source) as image:
        photo = ImageOps.fit(image.convert("RGB"), (640, 480), bleed=0.02 * (turn // 2 % 10))
    (ImageOps.mirror(photo) if turn % 2 else photo).save(target, quality=90)
    return target


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the module's docstring, with `--save`."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--save", type=Path, metavar="FILE.json", help="also write every figure, and the machine")
    return made


def skip(reason: str) -> NoReturn:
    print(f"skipped: {reason}")
    sys.exit(0)


def versions(*packages: str, python: str = sys.executable) -> dict[str, str]:
    """Versions as an interpreter's environment has them; what it lacks is left out."""
    command = [python, "-c", _VERSIONS, *packages]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def weights(model: str = "default") -> dict[str, str]:
    """Which weights the figures are of: the start of the SHA-256 of the bundle's safetensors file."""
    from pixelwise.catalogue import find_model

    with find_model(model).weights.open("rb") as file:
        return {"weights": hashlib.file_digest(file, "sha256").hexdigest()[:12]}


def machine() -> dict[str, Any]:
    """The processor, the cores that this process may use, the load before we add to it, and limits on threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = {key: os.environ[key] for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if key in os.environ}
    return {"cpu": processor(), "cores": cores, "load": round(load(), 2), "nice": os.nice(0), **limits}


def put_between_marks(document: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- end of NAME -->` in a document."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = document.read_text(encoding="utf-8").partition(start)
    _, _, after = rest.partition(end)
    document.write_text(f"{before}{start}\n{text}\n\n{end}{after}", encoding="utf-8")


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown: the first column left, the others right."""
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def verdict(target: str, holds: bool, measured: str) -> str:
    return f"Target {target}: {'holds' if holds else 'MISSED'} ({measured})."


class Report:
    """Prints as it goes, and keeps the figures for `--save`. Made first, so that the load is that of before."""

    def __init__(self, options: argparse.Namespace, found: Mapping[str, str]) -> None:
        self._save: Path | None = options.save
        arguments = {key: value for key, value in vars(options).items() if key != "save"}
        self.figures: dict[str, Any] = {}
        self._head: dict[str, Any] = {
            "benchmark": Path(sys.argv[0]).stem,
            "date": time.strftime("%Y-%m-%d %H:%M"),
            "machine": machine(),
            "versions": dict(found),
            "arguments": arguments,
        }

    def show(self, *paragraphs: str) -> None:
        for paragraph in paragraphs:
            print(f"\n{paragraph}", flush=True)

    def finish(self) -> None:
        """Print machine, versions and date, and write the file."""
        for key in ("machine", "versions"):
            print(f"\n{key}: " + ", ".join(f"{name} {value}" for name, value in self._head[key].items()), end="")
        print(f"\ndate: {self._head['date']}")
        if self._save:
            self._save.parent.mkdir(parents=True, exist_ok=True)
            plain = _plain({**self._head, "figures": self.figures})
            self._save.write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """As JSON can hold it: null for nan and infinity, text for paths."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
