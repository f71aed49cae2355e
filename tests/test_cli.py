from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np

from helpers import DEFAULT_BUNDLE, PHOTOS, bound_by_permissions, digests, pixelwise, small_photo
from pixelwise import load
from pixelwise.bundle import FORMAT_VERSION
from pixelwise.masks import read_index_mask


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be large and ends after a few bytes of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))


# Photos that are fine.


def test_two_photos_are_segmented_and_nothing_is_overwritten(tmp_path: Path):
    cat, astronaut = PHOTOS / "chelsea.png", PHOTOS / "astronaut.png"
    arguments = ("segment", cat, astronaut, "--out", "results", "--save", "mask,overlay,panel,json")
    out, err = pixelwise(*arguments, "--engine", "onnxruntime", cwd=tmp_path)
    assert err == ""
    assert str(cat) in out
    assert "cat" in out.split("astronaut.png")[0]
    assert "person" in out.split("astronaut.png")[1]
    results = tmp_path / "results"
    assert {path.name for path in results.glob("[!.]*")} == {
        f"{stem}{suffix}"
        for stem in ("chelsea", "astronaut")
        for suffix in ("_mask.png", "_overlay.jpg", "_panel.jpg", ".json")
    }
    expected = load(engine="onnxruntime")(cat)
    np.testing.assert_array_equal(read_index_mask(results / "chelsea_mask.png"), expected.mask)
    assert json.loads((results / "chelsea.json").read_text(encoding="utf-8")) == expected.to_json()

    before = digests(tmp_path)
    out, err = pixelwise(*arguments, cwd=tmp_path, status=2)
    assert out == ""
    assert "chelsea_mask.png and 7 more would be overwritten; give --resume to go on with" in err
    _, err = pixelwise(*arguments, "--precision", "fp32", "--resume", cwd=tmp_path, status=2)
    assert "chelsea_mask.png and 7 more would be overwritten; give --force to overwrite, or another --out." in err
    assert digests(tmp_path) == before
    out, _ = pixelwise(*arguments[:2], "--out", "results", "--save", "json", "--force", "--quiet", cwd=tmp_path)
    assert out == ""


def test_one_bad_photo_in_a_folder_of_ten_costs_that_photo(tmp_path: Path):
    for i in range(9):
        small_photo(tmp_path / "in" / ("deep" if i % 2 else ".") / f"{i}.png", box=(10 * i, 0, 10 * i + 90, 90))
    (tmp_path / "in" / "deep" / "bad.jpg").write_bytes(b"\xff\xd8\xff but then no picture")
    out, err = pixelwise("segment", "in", "--out", "in/out", "--save", "mask", cwd=tmp_path, status=1)
    assert "in/deep/bad.jpg" in err
    assert "1 of 10 inputs failed; the other 9 are done." in err
    assert "bad.jpg" not in out
    written = sorted(path.relative_to(tmp_path / "in" / "out") for path in (tmp_path / "in" / "out").rglob("*.png"))
    assert written == sorted(Path("deep" if i % 2 else ".", f"{i}_mask.png") for i in range(9))
    # The output folder lies inside the input folder, and is not read again.
    out, err = pixelwise("segment", "in", "--out", "in/out", "--save", "mask", "--force", cwd=tmp_path, status=1)
    assert "1 of 10 inputs failed" in err
    assert len([path for path in (tmp_path / "in" / "out").rglob("[!.]*") if path.is_file()]) == 9


def test_standard_input_patterns_and_colliding_names(tmp_path: Path):
    for name in ("a.jpg", "a.png", "b.png"):
        small_photo(tmp_path / name)
    photo = (tmp_path / "b.png").read_bytes()
    _, err = pixelwise("segment", "-", "a.*", "--save", "mask", cwd=tmp_path, stdin=photo)
    assert err == ""
    assert {path.name for path in (tmp_path / "segmented").glob("[!.]*")} == {
        "stdin_mask.png",
        "a_mask.png",
        "a_png_mask.png",
    }
    # Both come from the same PNG, so that the numbers say that standard input was read right.
    assert read_index_mask(tmp_path / "segmented" / "stdin_mask.png").shape == (90, 120)
    np.testing.assert_array_equal(
        read_index_mask(tmp_path / "segmented" / "stdin_mask.png"),
        read_index_mask(tmp_path / "segmented" / "a_png_mask.png"),
    )


def test_odd_file_names_are_printed_and_used(tmp_path: Path):
    names = [b"[bold]x[", b":cat:", b"new\nline", b"caf\xe9"]
    if sys.platform == "darwin":
        names.pop()  # its file system takes UTF-8 only
    folder = os.fsencode(tmp_path / "in")
    for name in (*names, b"[", b"-"):
        small_photo(Path(os.fsdecode(folder + b"/" + name + b".png")))
    Path(os.fsdecode(folder + b"/caf\xe9_bad.jpg")).write_bytes(b"")
    (tmp_path / "in" / "[").mkdir()
    small_photo(tmp_path / "in" / "[" / "x].png")
    out, err = pixelwise("segment", "in", "--save", "mask,json", cwd=tmp_path, status=1)
    assert "in/[bold]x[.png" in out
    assert "in/:cat:.png" in out
    assert "in/[/x].png" in out
    assert "is empty" in err
    assert len(list((tmp_path / "segmented").rglob("*_mask.png"))) == len(names) + 3
    for path in (tmp_path / "segmented").rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))


# Photos that are not.


def test_photos_that_cannot_be_read_are_each_named_with_the_reason(tmp_path: Path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("Dear photo,\n")
    whole = (PHOTOS / "chelsea.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bomb.png").write_bytes(png_header(65000, 65000))
    (tmp_path / "folder").mkdir()
    names = ("empty.png", "text.jpg", "half.png", "bomb.png", "absent.png", "folder", "*.gif", "", "x" * 300)
    out, err = pixelwise("segment", *names, cwd=tmp_path, status=2)
    assert out == ""
    lines = err.splitlines()
    assert all(line.startswith("pixelwise: ") for line in lines)
    assert len(lines) == len(names)
    for message in (
        "empty.png is empty (0 bytes)",
        "text.jpg is not a picture that can be read",
        "half.png cannot be decoded",
        "bomb.png has 65,000 × 65,000 pixels, which is above the limit",
        "absent.png does not exist; check the path",
        "folder: there is no photo in this folder",
        "*.gif: no file matches this pattern",
        "An input is empty",
    ):
        assert message in err
    assert not list(tmp_path.rglob("*_mask.png"))


def test_places_that_cannot_be_written_to_are_named(tmp_path: Path):
    small_photo(tmp_path / "a.png")
    (tmp_path / "file").write_bytes(b"precious")
    _, err = pixelwise("segment", "a.png", "--out", "file/below", cwd=tmp_path, status=2)
    assert err == "pixelwise: The directory file/below cannot be made: Not a directory.\n"
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_a_directory_without_permission_is_named(tmp_path: Path):
    small_photo(tmp_path / "a.png")
    (tmp_path / "locked").mkdir(mode=0o500)
    bound = bound_by_permissions()
    _, err = pixelwise("segment", "a.png", "--out", "locked", cwd=tmp_path, status=2, before=bound)
    assert err == "pixelwise: The directory locked cannot be written to.\n"
    _, err = pixelwise("segment", "a.png", "--out", "locked/below", cwd=tmp_path, status=2, before=bound)
    assert "cannot be made" in err


def test_a_folder_without_permission_costs_what_is_in_it(tmp_path: Path):
    small_photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "locked").mkdir(mode=0o000)
    out, err = pixelwise("segment", "in", cwd=tmp_path, status=1, before=bound_by_permissions())
    assert "The folder in/locked cannot be listed (Permission denied)." in err
    assert "in/a.png" in out


# Models that are not.


def test_models_that_cannot_be_used_are_named(tmp_path: Path):
    small_photo(tmp_path / "a.png")
    _, err = pixelwise("segment", "a.png", "--model", "resnet", cwd=tmp_path, status=2)
    assert err.startswith("pixelwise: There is no model 'resnet'")
    assert "default" in err

    shutil.copytree(DEFAULT_BUNDLE, tmp_path / "mine")
    with (tmp_path / "mine" / "model.safetensors").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"damage")
    _, err = pixelwise("segment", "a.png", "--model", "mine", cwd=tmp_path, status=2)
    assert "mine/model.safetensors is not what config.json says it is; the model is damaged" in err

    (tmp_path / "mine" / "config.json").write_text('{"format_version": 99}')
    _, err = pixelwise("segment", "a.png", "--model", "mine", cwd=tmp_path, status=2)
    reads = f"this pixelwise reads up to {FORMAT_VERSION}"
    assert err == f"pixelwise: mine has bundle format 99, {reads}; update pixelwise.\n"
    assert not (tmp_path / "segmented").exists()


def test_a_working_directory_that_was_removed_is_said(tmp_path: Path):
    before = ("sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh")
    for words in (("segment", "photo.jpg"), ("train", "--data", "photos")):
        _, err = pixelwise(*words, cwd=tmp_path, before=before, status=2)
        assert err == "pixelwise: The working directory was removed; change to one that is there.\n"
