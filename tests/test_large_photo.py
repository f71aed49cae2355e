"""Large photos: read by rows, segmented, and continued after a kill."""

from __future__ import annotations

import gc
import json
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.env
from PIL import Image

import pixelwise.large_photo
import pixelwise.large_segmentation
from helpers import COLOURS, ENVIRONMENT, SPEC, ColourEngine, colourful_photo, digests
from pixelwise.batch import Outcome, plan, run
from pixelwise.images import read_image
from pixelwise.large_photo import environment, find_large
from pixelwise.segmenter import Segmenter, Size
from pixelwise.tiling import Tiling

HEIGHT, WIDTH = 410, 333
OUT = Path("segmented")
EVERYTHING = ("mask", "overlay", "panel", "json")
PLACE = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)}


@pytest.fixture(autouse=True)
def _small_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pixelwise.large_photo, "LARGE", 10_000)
    monkeypatch.setattr(pixelwise.large_photo, "_STRIP_PIXELS", 20_000)


def photo() -> np.ndarray:
    return colourful_photo(HEIGHT, WIDTH)


def write_tiff(path: str, pixels: np.ndarray, **options: object) -> None:
    """(H, W) or (H, W, bands), of any type."""
    bands = np.atleast_3d(pixels).transpose(2, 0, 1)
    shape = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **shape, **options) as dataset:
            dataset.write(bands)


def segmented(
    *sources: str, engine: ColourEngine | None = None, size: Size = "native", **options: object
) -> list[Outcome]:
    jobs, failures = plan(sources, out=OUT)
    segmenter = Segmenter(engine or ColourEngine(), COLOURS, SPEC, size=size, tiling=Tiling(64, 32))
    given = {"out": OUT, "what": EVERYTHING, "opacity": 0.5, "force": False}
    return failures + list(run(segmenter, jobs, **(given | options)))


# Reading.

GREY = colourful_photo(HEIGHT, WIDTH)[:, :, 0]
ALPHA = np.dstack([colourful_photo(HEIGHT, WIDTH), colourful_photo(HEIGHT, WIDTH, seed=1)[:, :, 0]])
DEEP = colourful_photo(HEIGHT, WIDTH).astype(np.uint16) * 256 + colourful_photo(HEIGHT, WIDTH, seed=1)
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 48}


def save_as(mode: str, **options: object) -> Callable[[str], None]:
    return lambda path: Image.fromarray(photo()).convert(mode).save(path, **options)


def save_array(array: np.ndarray, **options: object) -> Callable[[str], None]:
    return lambda path: Image.fromarray(array).save(path, **options)


def save_tiff(pixels: np.ndarray, **options: object) -> Callable[[str], None]:
    return lambda path: write_tiff(path, pixels, **options)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("tiled.tif", save_tiff(photo(), **TILED, compress="deflate")),
        ("planes.tif", save_tiff(photo(), **TILED, interleave="band")),
        ("striped.tif", save_tiff(photo(), compress="lzw")),
        ("bigtiff.tif", save_tiff(photo(), BIGTIFF="YES")),
        ("grey.tif", save_tiff(GREY)),
        ("alpha.tif", save_tiff(ALPHA, photometric="rgb", alpha="yes")),
        ("deep.tif", save_tiff(DEEP, **TILED, photometric="rgb")),
        ("deep_grey.tif", save_tiff(DEEP[:, :, 0])),
        ("palette.tif", save_as("P")),
        ("colour.png", save_as("RGB")),
        ("palette.png", save_as("P")),
        ("alpha.png", save_array(ALPHA)),
        ("grey_alpha.png", save_as("LA")),
        ("deep_grey.png", save_array(DEEP[:, :, 0])),
        ("colour_key.png", save_as("RGB", transparency=tuple(photo()[0, 0].tolist()))),
        ("transparent_index.png", save_as("P", transparency=3)),
        ("grey.jpg", save_as("L")),
    ],
)
def test_rows_are_those_of_the_whole_photo(name: str, save: Callable[[str], None]):
    save(name)
    large = find_large(name)
    assert large is not None
    whole = read_image(name)
    rows = large.open()
    read = np.concatenate([rows[top : top + 37] for top in range(0, HEIGHT, 37)])
    np.testing.assert_array_equal(read, whole.pixels)
    shown_on_white = any("white" in note for note in whole.notes)
    assert rows.transparent == shown_on_white
    assert large.notes == tuple(note for note in whole.notes if "white" not in note)


@pytest.mark.parametrize(
    ("name", "save", "most", "mean"),
    [
        ("full.jpg", save_as("RGB", subsampling=0), 1, 0.01),
        ("half.jpg", save_as("RGB"), 32, 2),
        (
            "half.tif",
            save_tiff(photo(), tiled=True, blockxsize=64, blockysize=64, compress="jpeg", photometric="ycbcr"),
            32,
            2,
        ),
    ],
)
def test_jpeg_differs_by_how_two_decoders_interpolate_colour(
    name: str, save: Callable[[str], None], most: int, mean: float
):
    save(name)
    large = find_large(name)
    assert large is not None
    difference = np.abs(large.open()[:].astype(int) - read_image(name).pixels)
    assert difference.max() <= most
    assert difference.mean() <= mean


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("cmyk.tif", save_as("CMYK")),
        ("bits.tif", save_as("1")),
        ("white_is_zero.tif", save_tiff(GREY, photometric="miniswhite")),
        ("floats.tif", save_tiff(GREY.astype(np.float32))),
        ("progressive.jpg", save_as("RGB", progressive=True)),
        ("cmyk.jpg", save_as("CMYK")),
        ("bits.png", save_as("1")),
        ("web.webp", save_as("RGB")),
        ("old.bmp", save_as("RGB")),
        ("turned.jpg", save_as("RGB", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")),
    ],
)
def test_what_cannot_be_read_by_rows_is_read_whole_unless_it_is_too_large(
    name: str, save: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
):
    save(name)
    assert find_large(name) is None
    (done,) = segmented(name)
    assert done.error is None
    monkeypatch.setattr(pixelwise.large_photo, "DEFAULT_LIMITS", pixelwise.large_photo.Limits(1 << 30, 10_000))
    (refused,) = segmented(name, force=True)
    assert "cannot be read by rows" in str(refused.error)
    assert f"{name} has 333 × 410 pixels" in str(refused.error)


def test_a_small_photo_is_read_whole_unless_it_has_a_georeference():
    small = colourful_photo(50, 60)
    write_tiff("small.tif", small)
    write_tiff("placed.tif", small, **PLACE)
    assert find_large("small.tif") is None
    assert find_large("placed.tif") is not None


def test_without_rasterio_photos_are_read_whole_and_too_large_ones_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
):
    write_tiff("photo.tif", photo(), **PLACE)
    monkeypatch.setattr(pixelwise.large_photo, "is_installed", lambda: False)
    (done,) = segmented("photo.tif")
    assert [path.name for path in done.files] == [
        "photo_mask.png",
        "photo_overlay.jpg",
        "photo_panel.jpg",
        "photo.json",
    ]
    monkeypatch.setattr(pixelwise.large_photo, "DEFAULT_LIMITS", pixelwise.large_photo.Limits(1 << 30, 10_000))
    (refused,) = segmented("photo.tif", force=True)
    assert str(refused.error) == (
        "photo.tif has 333 × 410 pixels, too many to be read whole, and reading it by rows needs rasterio, which is "
        "not installed; `pip install 'pixelwise[large]'` brings it."
    )


# Results.


@pytest.mark.parametrize("size", ["native", 200, 64, 700])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_results_are_those_of_the_photo_in_memory(suffix: str, size: Size, monkeypatch: pytest.MonkeyPatch):
    name = f"photo.{suffix}"
    Image.fromarray(ALPHA if suffix == "png" else GREY if suffix == "jpg" else photo()).save(name)
    shares: list[float] = []
    (by_rows,) = segmented(name, size=size, advance=shares.append)
    assert by_rows.error is None
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > -1e-9
    monkeypatch.setattr(pixelwise.large_photo, "LARGE", 1 << 40)
    (whole,) = segmented(name, size=size, out=Path("whole"))
    assert (by_rows.classes, by_rows.notes) == (whole.classes, whole.notes)
    for file, expected in zip(by_rows.files, whole.files, strict=True):
        if file.suffix == ".json":
            assert file.read_text() == expected.read_text()
            continue
        with Image.open(file) as found, Image.open(expected) as right:
            assert (found.mode, found.size) == (right.mode, right.size)
            assert found.getpalette() == right.getpalette()
            if not file.name.endswith("_overlay.tif"):  # a JPEG of another kind; the test below looks at it
                np.testing.assert_array_equal(np.asarray(found), np.asarray(right))
    assert sorted(path.name for path in OUT.iterdir() if path.is_dir()) == []


def test_the_overlay_of_a_tiff_is_drawn_as_in_memory(monkeypatch: pytest.MonkeyPatch):
    """The strips, before JPEG; with the size of a tile that is no divisor of the height."""
    drawn: list[np.ndarray] = []
    monkeypatch.setattr(
        "pixelwise.large_segmentation.write_geotiff",
        lambda path, photo, strips, **_: drawn.extend(strips) or path.touch(),
    )
    write_tiff("photo.tif", photo())
    segmented("photo.tif", what=["overlay"])
    expected = Segmenter(ColourEngine(), COLOURS, SPEC, size="native", tiling=Tiling(64, 32))(photo())
    np.testing.assert_array_equal(np.concatenate(drawn), expected.overlay(opacity=0.5))


def test_results_lie_where_the_photo_lies():
    write_tiff("photo.tif", photo(), **PLACE)
    (done,) = segmented("photo.tif")
    mask, overlay = done.files[:2]
    assert [mask.name, overlay.name] == ["photo_mask.tif", "photo_overlay.tif"]
    for path in (mask, overlay):
        with rasterio.open(path) as dataset:
            assert (dataset.crs, dataset.transform) == (PLACE["crs"], PLACE["transform"])
            assert dataset.block_shapes[0] == (512, 512)


def test_a_georeference_that_is_lost_is_said():
    write_tiff("heights.tif", GREY.astype(np.float32), **PLACE)
    write_tiff("plain.tif", GREY.astype(np.float32))
    placed, plain = segmented("heights.tif", "plain.tif", what=["mask", "json"])
    assert [path.name for path in placed.files] == ["heights_mask.png", "heights.json"]
    lost = (
        "no georeference is kept, as one of the kind F;32F cannot be read by rows; save it as an ordinary TIFF, JPEG "
        "or PNG"
    )
    assert placed.notes == (*plain.notes, lost)
    assert json.loads(placed.files[1].read_text())["notes"] == list(placed.notes)


@pytest.mark.parametrize("system", ["EPSG:4326", None])
def test_tie_points_are_kept(system: str | None):
    corners = [(0, 0, 7.0, 50.0), (0, WIDTH, 7.1, 50.0), (HEIGHT, 0, 7.0, 49.9), (HEIGHT, WIDTH, 7.1, 49.9)]
    points = [rasterio.control.GroundControlPoint(row, column, x, y) for row, column, x, y in corners]
    write_tiff("photo.tif", photo(), gcps=points, crs=system or rasterio.crs.CRS())
    (done,) = segmented("photo.tif", what=["mask", "overlay"])
    with rasterio.open(done.files[0]) as dataset:
        found, crs = dataset.gcps
    assert crs == system
    assert [(p.row, p.col, p.x, p.y) for p in found] == corners


def test_an_overlay_too_long_for_jpeg_is_a_tiff():
    Image.fromarray(colourful_photo(2, 66_000)).save("long.png")
    (done,) = segmented("long.png", size=640, what=["mask", "overlay"])
    assert done.error is None
    assert [path.name for path in done.files] == ["long_mask.png", "long_overlay.tif"]


def test_results_of_an_earlier_run_are_no_photos():
    write_tiff("photo.tif", photo())
    segmented("photo.tif")
    Path("segmented/photo.tif").write_bytes(Path("photo.tif").read_bytes())
    jobs, _ = plan(["segmented"], out=OUT)
    assert [job.source for job in jobs] == ["segmented/photo.tif"]


def test_nothing_is_overwritten_without_force():
    write_tiff("photo.tif", photo())
    OUT.mkdir()
    (OUT / "photo_mask.tif").write_text("mine")
    with pytest.raises(pixelwise.errors.OutputError, match=r"photo_mask\.tif would be overwritten"):
        segmented("photo.tif")
    assert digests(OUT).keys() == {"photo_mask.tif"}


# What goes wrong.


@pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
def test_a_photo_cut_short_is_a_sentence_and_leaves_nothing(suffix: str):
    name = f"photo.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    if suffix == "tif":
        write_tiff(name, noise, **TILED, compress="deflate")
    else:
        Image.fromarray(noise).save(name)
    whole = Path(name).read_bytes()
    Path(name).write_bytes(whole[: len(whole) * 2 // 3])
    Image.fromarray(photo()).save("good.png")
    failed, done = segmented(name, "good.png")
    assert done.error is None
    assert re.fullmatch(
        rf"{name} cannot be decoded \(.+\): it is damaged or cut short; export it again\.", str(failed.error)
    )
    assert {path.name for path in OUT.iterdir()} == {
        "good_mask.png", "good_overlay.jpg", "good_panel.jpg", "good.json", ".pixelwise.jsonl",
    }  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_directory_that_gdal_cannot_name_costs_that_photo():
    write_tiff("photo.tif", photo())
    Image.fromarray(photo()).save("good.png")
    failed, done = segmented("photo.tif", "good.png", what=["mask"], out=Path("out\udcff"))
    assert done.error is None
    assert re.search(r"photo_mask\.tif cannot be written: 'utf-8' codec can't encode ", str(failed.error))


def test_a_network_that_fails_leaves_nothing():
    class Failing(ColourEngine):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            if len(self.seen) == 20:
                raise pixelwise.errors.EngineError("It failed.")
            return super().__call__(images)

    write_tiff("photo.tif", photo())
    (failed,) = segmented("photo.tif", engine=Failing())
    assert str(failed.error) == "It failed."
    assert list(OUT.iterdir()) == []


# Going on.


class Interrupted(ColourEngine):
    """Stopped from outside after so many tiles."""

    def __init__(self, tiles: int) -> None:
        super().__init__()
        self.tiles = tiles

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if len(self.seen) == self.tiles:
            raise KeyboardInterrupt
        return super().__call__(images)


def interrupt(tiles: int, **options: object) -> None:
    with pytest.raises(KeyboardInterrupt):
        segmented("photo.png", engine=Interrupted(tiles), **options)


ACROSS, DOWN = 10, 12  # tiles of the photo


@pytest.mark.parametrize(("stopped", "computed"), [(5, 120), (ACROSS + 1, 120), (75, 60), (119, 20)])
def test_a_stopped_photo_goes_on_at_its_row_of_tiles(stopped: int, computed: int):
    """The row that was left in the middle is computed anew, and the one above it for its share in it."""
    Image.fromarray(ALPHA).save("photo.png")
    segmented("photo.png", out=Path("whole"))
    interrupt(stopped)
    assert [path.name for path in OUT.iterdir()] == [".photo.pixelwise-part"]
    engine, shares = ColourEngine(), list[float]()
    (done,) = segmented("photo.png", engine=engine, resume=True, advance=shares.append)
    assert done.error is None
    assert len(engine.seen) == computed
    assert sum(shares) == pytest.approx(1)
    results = digests(OUT)
    assert results.pop(".pixelwise.jsonl")
    assert results == {name: digest for name, digest in digests(Path("whole")).items() if name != ".pixelwise.jsonl"}


def test_a_photo_that_is_let_go_of_leaves_gdal_as_it_is():
    """What an interrupted run was reading is collected when Python gets to it: maybe while GDAL opens another photo."""
    save_as("RGB")("photo.png")
    large = find_large("photo.png")
    assert large is not None
    rows = large.open()
    rows[0:10]
    with environment():
        del rows
        gc.collect()
        assert rasterio.env.getenv()["GDAL_PAM_ENABLED"] == "NO"
    assert not rasterio.env.hasenv()


def test_without_resume_it_begins_anew():
    Image.fromarray(photo()).save("photo.png")
    interrupt(75)
    engine = ColourEngine()
    (done,) = segmented("photo.png", engine=engine)
    assert done.error is None
    assert len(engine.seen) == ACROSS * DOWN
    assert not [path for path in OUT.iterdir() if path.is_dir()]


@pytest.mark.parametrize("change", ["photo", "settings", "state", "mask"])
def test_what_another_photo_or_another_run_left_is_not_gone_on_with(change: str):
    Image.fromarray(photo()).save("photo.png")
    interrupt(75)
    part = OUT / ".photo.pixelwise-part"
    options: dict[str, object] = {}
    if change == "photo":
        Image.fromarray(photo()[::-1]).save("photo.png")
    elif change == "settings":
        options = {"model": "another"}
    elif change == "state":
        (part / "state").write_bytes((part / "state").read_bytes()[:-5])
    else:
        (part / "mask").write_bytes(b"short")
    engine = ColourEngine()
    (done,) = segmented("photo.png", engine=engine, resume=True, **options)
    assert done.error is None
    assert len(engine.seen) == ACROSS * DOWN


def test_a_photo_stopped_while_it_is_drawn_is_not_computed_again(monkeypatch: pytest.MonkeyPatch):
    Image.fromarray(ALPHA).save("photo.png")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pixelwise.large_segmentation.panel", stop)
        with pytest.raises(KeyboardInterrupt):
            segmented("photo.png")
    assert not [path for path in OUT.iterdir() if path.suffix in (".jpg", ".png", ".json")]
    engine = ColourEngine()
    (done,) = segmented("photo.png", engine=engine, resume=True)
    assert engine.seen == []
    assert done.notes == ("transparent areas shown on white",)
    assert all(path.is_file() for path in done.files)
    (again,) = segmented("photo.png", resume=True)
    assert again.before


@pytest.mark.parametrize("drawing", [False, True])
def test_who_begins_anew_meanwhile_takes_over(drawing: bool, monkeypatch: pytest.MonkeyPatch):
    """The mask of the one that was first is gone then, and what is in its place is not whole."""
    Image.fromarray(photo()).save("photo.png")
    segmented("photo.png", out=Path("whole"))
    draw = pixelwise.large_segmentation.panel

    class Overtaken(ColourEngine):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            if len(self.seen) == 30 and not drawing:
                interrupt(15)
            return super().__call__(images)

    def overtaken(*args: object, **options: object) -> np.ndarray:
        interrupt(15)
        return draw(*args, **options)

    with monkeypatch.context() as patched:
        if drawing:
            patched.setattr("pixelwise.large_segmentation.panel", overtaken)
        (first,) = segmented("photo.png", engine=Overtaken())
    part = OUT / ".photo.pixelwise-part"
    assert str(first.error) == f"{part} was removed by another run of the same photo; run one at a time."
    assert not list(OUT.glob("photo*"))
    assert json.loads((part / "state").read_bytes())["rows"] == 1
    (done,) = segmented("photo.png", resume=True)
    assert done.error is None
    assert all(path.read_bytes() == Path("whole", path.name).read_bytes() for path in done.files)


def test_a_full_disk_is_a_sentence_and_room_lets_it_go_on():
    """A limit on the size of files, as nothing else fills a disk for one process alone.

    GDAL's errors for the overlay, whose tiles are not whole, come when it is closed, where rasterio passes over them.
    """
    write_tiff("photo.tif", np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), **PLACE)
    code = f"""
import resource, sys
sys.path[:0] = {[str(Path(__file__).parent)]!r}
import pixelwise.large_photo
from test_large_photo import segmented
pixelwise.large_photo.LARGE = 10_000
resource.setrlimit(resource.RLIMIT_FSIZE, (HEIGHT_LIMIT, HEIGHT_LIMIT))
(outcome,) = segmented("photo.tif", what=["mask", "overlay"], resume=True)
print(outcome.error)
"""
    for limit in (100_000, 150_000):  # the mask has 136,530 bytes, the overlay more than 150,000
        limited = code.replace("HEIGHT_LIMIT", str(limit))
        done = subprocess.run(
            [sys.executable, "-c", limited], env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=60
        )
        assert re.fullmatch(r"segmented/\S+ cannot be written: .+[.?]\n", done.stdout), done.stdout + done.stderr
        assert not list(OUT.glob("photo*"))
        assert (OUT / ".photo.pixelwise-part").is_dir()
    engine = ColourEngine()
    (outcome,) = segmented("photo.tif", what=["mask", "overlay"], engine=engine, resume=True)
    assert engine.seen == []
    assert outcome.error is None


COMMAND = """
import pixelwise.cli, pixelwise.large_photo, pixelwise.segmenter
from pixelwise.tiling import Tiling
pixelwise.large_photo.LARGE = 10_000
pixelwise.segmenter._default_tiling = lambda multiple: Tiling(128, 64)
pixelwise.cli.main()
"""


@pytest.mark.slow
def test_a_killed_command_goes_on(tmp_path: Path):
    """A real one, killed as soon as it has noted three rows of tiles, of twelve."""
    write_tiff("photo.tif", photo().repeat(2, axis=0).repeat(2, axis=1), **PLACE, **TILED, compress="deflate")
    command = [
        sys.executable,
        "-c",
        COMMAND,
        "segment",
        "photo.tif",
        "--size",
        "native",
        "--save",
        ",".join(EVERYTHING),
    ]
    process = subprocess.Popen([*command, "--out", "killed"], env=ENVIRONMENT)
    part = tmp_path / "killed" / ".photo.pixelwise-part"
    while not ((part / "state").is_file() and json.loads((part / "state").read_bytes())["rows"] >= 3):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert list((tmp_path / "killed").iterdir()) == [part]
    shutil.copytree("killed", "marked")
    with Path("marked/.photo.pixelwise-part/mask").open("r+b") as mask:
        mask.write(b"\x14")
    subprocess.run([*command, "--out", "whole", "--quiet"], env=ENVIRONMENT, check=True)
    for out in ("killed", "marked"):
        subprocess.run([*command, "--out", out, "--resume", "--quiet"], env=ENVIRONMENT, check=True)
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    with rasterio.open("marked/photo_mask.tif") as marked, rasterio.open("whole/photo_mask.tif") as whole:
        difference = np.argwhere(marked.read(1) != whole.read(1))
    assert difference.tolist() == [[0, 0]]  # what was done before the kill was not done again
