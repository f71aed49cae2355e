"""A 10,000 x 10,000 photo: wall time and peak memory of the whole process, and whether tiles leave a seam.

Part one segments the photo with `python -m pixelwise segment` at the model's own size and, with --native, at the
photo's (tiled). Part two enlarges the example photos until they need tiles, and compares the tiled answer with that of
the photo seen whole: pixel by pixel at the network's size, and again at the photo's size, as a user gets it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import pixelwise
from _common import (
    PHOTOS,
    Report,
    Run,
    Task,
    alternate,
    example_photos,
    medians,
    parser,
    run,
    segment_command,
    table,
    verdict,
    versions,
    weights,
)
from pixelwise.engine import EngineName
from pixelwise.tiling import Tiling

MEMORY, AGREEMENT = 1500, 0.995
SEAM_SIZES = (1536, 2048)
WHOLE = Tiling(size=4096, overlap=1024)


def main() -> None:
    options = _options()
    report = Report(options, versions("pixelwise", "numpy", "pillow", "onnxruntime", "openvino") | weights())
    if not options.only_seams:
        _measure_large(report, options)
    _measure_seams(report, options.engine)
    report.finish()


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--side", type=int, default=10_000, help="of the large photo, in pixels (default 10000)")
    made.add_argument("--native", action="store_true", help="also segment it at its own size, once; takes minutes")
    made.add_argument("--engine", default="auto", choices=("auto", "onnxruntime", "openvino"))
    made.add_argument("--repetitions", type=int, default=3, help="measured runs at the default size (default 3)")
    made.add_argument("--only-seams", action="store_true", help="part two only")
    return made.parse_args()


def _measure_large(report: Report, options: argparse.Namespace) -> None:
    side, given = options.side, ["--save", "mask,overlay", "--engine", options.engine]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        big = _mirrored(PHOTOS / "astronaut.png", Path(directory) / "big.jpg", side)
        runs = alternate({"default": Task(lambda out: segment_command(big, out, *given), 2)}, options.repetitions)
        if options.native:
            print("native", file=sys.stderr)
            runs["native"] = [run(Task(lambda out: segment_command(big, out, *given, "--size", "native"), 2))]
    report.figures["large"] = {name: [asdict(one) for one in measured] for name, measured in runs.items()}
    rows = [_row(f"{name}, {len(measured)} runs", medians(measured)) for name, measured in runs.items()]
    report.show(table([f"{side} x {side} JPEG to mask and overlay, --size", "wall s", "CPU s", "peak MB"], rows))
    peak = max(one.peak for measured in runs.values() for one in measured)
    report.show(verdict(f"at most {MEMORY} MB in every run", peak <= MEMORY, f"{peak:.0f} MB"))


def _row(name: str, middle: Run) -> list[str]:
    return [name, f"{middle.wall:.2f}", f"{middle.cpu:.2f}", f"{middle.peak:.0f}"]


def _mirrored(source: Path, target: Path, side: int) -> Path:
    """A square JPEG that repeats a photo, mirrored at every edge so that there is no break in it."""
    with Image.open(source) as image:
        photo = np.asarray(image.convert("RGB"))
    pad = ((0, max(0, side - photo.shape[0])), (0, max(0, side - photo.shape[1])), (0, 0))
    Image.fromarray(np.pad(photo, pad, mode="symmetric")[:side, :side]).save(target, quality=90)
    return target


def _measure_seams(report: Report, engine: EngineName) -> None:
    rows, worst, found = [], 1.0, {}
    for size in SEAM_SIZES:
        tiled = pixelwise.load(engine=engine, photos=1, size=size)
        whole = pixelwise.load(engine=engine, photos=1, size=size, tiling=WHOLE)
        for path in example_photos():
            photo = pixelwise.read_image(path).pixels
            shares = []
            for pixels in (_enlarged(photo, size), photo):
                shares.append(float(np.mean(tiled.predict(pixels)[0] == whole.predict(pixels)[0])))
            worst = min(worst, *shares)
            found[f"{path.name} at {size}"] = shares
            rows.append([path.name, size, *(f"{share:.3%}" for share in shares)])
    report.figures["seams"] = found
    name = f"{tiled.engine.name} {tiled.engine.precision}"
    report.show(
        table([f"tiled equals whole ({name})", "network's size", "pixels there", "at the photo's own size"], rows),
        verdict(f"at least {AGREEMENT:.1%} of the pixels", worst >= AGREEMENT, f"{worst:.3%} at worst"),
    )


def _enlarged(photo: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    scale = size / max(photo.shape[:2])
    target = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    return np.asarray(Image.fromarray(photo).resize(target, Image.Resampling.BILINEAR))


if __name__ == "__main__":
    main()
