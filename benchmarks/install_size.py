"""How long an install takes and how large it is: a fresh environment with only what segmenting photos needs.

Makes a virtual environment in a temporary directory, installs requirements/runtime.txt into it with --require-hashes
and then the project with --no-deps, and weighs the files. By default pip may not use its cache, so that the time has
the download in it; it is the network's as much as ours. Needs the package index.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import ROOT, Report, parser, skip, table, verdict, versions

REQUIREMENTS = ROOT / "requirements" / "runtime.txt"
LIMIT = 450
LARGEST = 6


def main() -> None:
    options = _options()
    if not REQUIREMENTS.is_file():
        skip(f"there is no {REQUIREMENTS.relative_to(ROOT)}.")
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        environment = Path(directory) / "environment"
        seconds = _install(environment, cache=options.cache)
        python = str(environment / "bin" / "python")
        found = versions("pixelwise", "numpy", "pillow", "onnxruntime", "openvino", "pip", python=python)
        report = Report(options, found)
        packages = next((environment / "lib").glob("python*/site-packages"))
        sizes = {entry.name: _megabytes(entry) for entry in packages.iterdir()}
        report.figures = {"seconds": seconds, "whole": _megabytes(environment), "site-packages": sizes}
    _print(report, options)
    report.finish()


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--cache", action="store_true", help="let pip take what it downloaded before from its cache")
    return made.parse_args()


def _install(environment: Path, *, cache: bool) -> dict[str, float]:
    """Make the environment; seconds of each step."""
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    pip += [] if cache else ["--no-cache-dir"]
    steps = {
        "environment": [sys.executable, "-m", "venv", str(environment)],
        "requirements": [*pip, "install", "--require-hashes", "--only-binary", ":all:", "-r", str(REQUIREMENTS)],
        "pixelwise": [*pip, "install", "--no-deps", str(ROOT)],
    }
    seconds = {}
    for name, command in steps.items():
        print(name, file=sys.stderr)
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr.strip()}")
        seconds[name] = time.perf_counter() - start
    return seconds


def _megabytes(path: Path) -> float:
    """Sizes of the files in or below a path, links not followed, in MB of 10^6 bytes."""
    files = [path] if path.is_file() else [entry for entry in path.rglob("*") if entry.is_file()]
    return sum(file.lstat().st_size for file in files) / 1e6


def _print(report: Report, options: argparse.Namespace) -> None:
    seconds, sizes, whole = (report.figures[key] for key in ("seconds", "site-packages", "whole"))
    packages = sum(sizes.values())
    largest = sorted(sizes, key=lambda name: -sizes[name])[:LARGEST]
    cache = "with pip's cache" if options.cache else "download in it"
    report.show(
        table([f"install, {cache}", "seconds"], [[name, f"{value:.1f}"] for name, value in seconds.items()]),
        table(
            ["on disk", "MB"],
            [["whole environment", f"{whole:.0f}"], ["site-packages", f"{packages:.0f}"]]
            + [[f"of it {name}", f"{sizes[name]:.0f}"] for name in largest],
        ),
        verdict(f"at most {LIMIT} MB", whole <= LIMIT, f"{whole:.0f} MB"),
    )


if __name__ == "__main__":
    main()
