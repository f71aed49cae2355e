"""A 10,000 x 10,000 photo: wall time and peak memory of the whole process, and whether tiles leave a seam.

Part one segments the photo with `python -m pixelwise segment` at the model's own size and, with --native, at the
photo's (tiled). Part two enlarges the example photos until they need tiles, and compares the tiled answer with that of
the photo seen whole: pixel by pixel at the network's size, and again at the photo's size, as a user gets it.

With --streamed instead: a tiled GeoTIFF of 20,000 x 20,000 pixels to mask and overlay at `--size`, and its mask
compared with that of tiles of another size. Takes `pip install 'pixelwise[large]'`, and a quarter of an hour.
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
from pixelwise.cli_options import parse_size
from pixelwise.engine import EngineName
from pixelwise.large_photo import find_large
from pixelwise.segmenter import Segmenter
from pixelwise.tiling import Tiling

MEMORY, AGREEMENT = 1500, 0.995
STREAMED_MEMORY, STREAMED_AGREEMENT = 1200, 0.999
OTHER_TILES = Tiling(size=1760, overlap=672)
SEAM_SIZES = (1536, 2048)
WHOLE = Tiling(size=4096, overlap=1024)


def main() -> None:
    options = _options()
    report = Report(options, versions("pixelwise", "numpy", "pillow", "onnxruntime", "openvino") | weights())
    if options.streamed:
        _measure_streamed(report, options)
    else:
        if not options.only_seams:
            _measure_large(report, options)
        _measure_seams(report, options.engine)
    report.finish()


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--side", type=int, help="of the large photo, in pixels (default 10000, or 20000 streamed)")
    made.add_argument("--streamed", action="store_true", help="a photo that is read and written by rows, instead")
    made.add_argument("--size", default="native", help="at which the network sees the streamed photo (default native)")
    made.add_argument("--compared", type=int, metavar="ROWS", help="of the streamed photo, from the top (default all)")
    made.add_argument("--native", action="store_true", help="also segment it at its own size, once; takes minutes")
    made.add_argument("--engine", default="auto", choices=("auto", "onnxruntime", "openvino"))
    made.add_argument("--repetitions", type=int, default=3, help="measured runs at the default size (default 3)")
    made.add_argument("--only-seams", action="store_true", help="part two only")
    options = made.parse_args()
    options.side = options.side or (20_000 if options.streamed else 10_000)
    return options


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


def _measure_streamed(report: Report, options: argparse.Namespace) -> None:
    side, given = options.side, ["--size", options.size, "--engine", options.engine]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        big, out = _mirrored_tiff(PHOTOS / "astronaut.png", Path(directory) / "big.tif", side), Path(directory) / "out"
        measured = run(Task(lambda _: segment_command(big, out, *given), 0))
        report.figures["streamed"] = asdict(measured)
        heading = [f"{side} x {side} TIFF to mask and overlay, --size", "wall s", "CPU s", "peak MB"]
        report.show(table(heading, [_row(f"{options.size}, one run", measured)]))
        segmenter = pixelwise.load(engine=options.engine, photos=1, size=parse_size(options.size), tiling=OTHER_TILES)
        equal = _equal_in_other_tiles(big, out / "big_mask.tif", segmenter, options.compared or side)
    report.figures["equal"] = equal
    within = measured.peak <= STREAMED_MEMORY
    report.show(
        verdict(f"at most {STREAMED_MEMORY} MB", within, f"{measured.peak:.0f} MB"),
        verdict(
            f"at least {STREAMED_AGREEMENT:.1%} of the pixels as in tiles of {OTHER_TILES.size}",
            equal >= STREAMED_AGREEMENT,
            f"{equal:.3%}",
        ),
    )


def _equal_in_other_tiles(photo: Path, mask: Path, segmenter: Segmenter, rows: int) -> float:
    """The share of a photo's first rows in which another segmenter gives the same mask."""
    import rasterio

    large = find_large(str(photo))
    if large is None:
        sys.exit(f"{photo} is not read by rows; is rasterio installed?")
    equal = pixels = 0
    with rasterio.open(mask) as dataset:
        for piece in segmenter.pieces(large.open()):
            down, across = piece.block
            if down.start >= rows:
                break
            first = dataset.read(1, window=((down.start, down.stop), (across.start, across.stop)))
            equal += int(np.count_nonzero(first == piece.mask))
            pixels += piece.mask.size
    return equal / pixels


def _mirrored_tiff(source: Path, target: Path, side: int) -> Path:
    """As `_mirrored`, a GeoTIFF, made by rows."""
    import rasterio

    with Image.open(source) as image:
        photo = np.asarray(image.convert("RGB"))
    columns, rows = (np.pad(np.arange(length), (0, side - length), mode="symmetric") for length in photo.shape[1::-1])
    options = {"compress": "jpeg", "photometric": "ycbcr", "tiled": True, "blockxsize": 512, "blockysize": 512}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.1, 0, 500_000, 0, -0.1, 5_000_000)}
    shape = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8"}
    with rasterio.open(target, "w", **shape, **options, **place) as dataset:
        for top in range(0, side, 512):
            strip = photo[rows[top : top + 512]][:, columns]
            dataset.write(strip.transpose(2, 0, 1), window=((top, top + len(strip)), (0, side)))
    return target


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
