from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import COLOURS, DEFAULT_BUNDLE, SPEC, digests
from pixelwise.bundle import FORMAT_VERSION, BundleConfig, InputSpec, read_bundle, write_bundle
from pixelwise.errors import BundleError, OutputError

CONFIG = BundleConfig(
    name="tiny",
    architecture="unet",
    arguments={"encoder": "resnet18", "decoder_channels": [8, 4]},
    classes=COLOURS,
    input_spec=SPEC,
    provenance={"description": "Für Tests.", "data": ["none"], "seed": 3},
    metrics={"voc/val": {"mean IoU": 0.625, "photos": 12}},
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "models" / "tiny", CONFIG, graph=b"a graph", weights=b"some weights").path


def change_config(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    raw = json.loads((path / "config.json").read_text(encoding="utf-8"))
    change(raw)
    (path / "config.json").write_text(json.dumps(raw), encoding="utf-8")


# What is written comes back.


def test_what_is_written_comes_back(bundle: Path):
    found = read_bundle(bundle)
    assert found.config == CONFIG
    assert found.path == bundle
    assert found.graph.read_bytes() == b"a graph"
    assert found.weights.read_bytes() == b"some weights"
    assert sorted(path.name for path in bundle.iterdir()) == [
        "README.md",
        "config.json",
        "model.onnx",
        "model.safetensors",
    ]


def test_config_survives_json_both_ways():
    raw = json.loads(json.dumps(CONFIG.to_json()))
    assert raw["format_version"] == 1
    assert BundleConfig.from_json(raw) == CONFIG
    assert BundleConfig.from_json(raw).to_json() == CONFIG.to_json()


def test_the_default_bundle_is_whole():
    found = read_bundle(DEFAULT_BUNDLE)
    assert len(found.config.classes) == 21
    assert BundleConfig.from_json(found.config.to_json()) == found.config


def test_the_card_lies_in_the_bundle_and_states_the_figures(bundle: Path):
    card = (bundle / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# tiny\n\nFür Tests.\n")
    assert "## Measured on voc/val\n\n- mean IoU: 0.625\n- photos: 12\n" in card


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_permissions_are_what_the_umask_leaves(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        path = write_bundle(tmp_path / "tiny", CONFIG, graph=b"g", weights=b"w").path
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o777 & ~umask
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o666 & ~umask}


# What is not whole is refused.


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "longer", "missing", "directory"])
def test_a_damaged_file_is_refused_by_name(bundle: Path, name: str, damage: str):
    path = bundle / name
    data = bytearray(path.read_bytes())
    if damage in ("missing", "directory"):
        path.unlink()
        if damage == "directory":
            path.mkdir()
    else:
        data[3] ^= 1
        path.write_bytes({"flipped": data, "truncated": data[:-1], "empty": b"", "longer": data + b" "}[damage])
    with pytest.raises(BundleError, match=rf"tiny/{name} .*damaged"):
        read_bundle(bundle)


def test_every_flipped_bit_of_the_files_is_noticed(bundle: Path):
    for name in ("model.onnx", "model.safetensors"):
        whole = (bundle / name).read_bytes()
        for position in range(len(whole)):
            (bundle / name).write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
            with pytest.raises(BundleError, match=name):
                read_bundle(bundle)
        (bundle / name).write_bytes(whole)
    read_bundle(bundle)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[1, 2]", "holds no object"),
        (b"null", "holds no object"),
        (b"{}", "states no format version"),
    ],
)
def test_a_config_that_is_none_is_refused(bundle: Path, content: bytes, message: str):
    (bundle / "config.json").write_bytes(content)
    with pytest.raises(BundleError, match=rf"config\.json {message}"):
        read_bundle(bundle)


def test_half_a_config_is_refused(bundle: Path):
    text = (bundle / "config.json").read_text(encoding="utf-8")
    (bundle / "config.json").write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(BundleError, match="damaged"):
        read_bundle(bundle)


@pytest.mark.parametrize("version", [None, "1", 0, -1, 1.0, [1]])
def test_a_format_version_that_is_none_is_refused(bundle: Path, version: object):
    change_config(bundle, lambda raw: raw.update(format_version=version))
    with pytest.raises(BundleError, match="states no format version; this is not a pixelwise model"):
        read_bundle(bundle)


def test_a_newer_format_is_refused_before_anything_else_of_it_is_read(bundle: Path):
    (bundle / "config.json").write_text(f'{{"format_version": {FORMAT_VERSION + 1}}}', encoding="utf-8")
    with pytest.raises(
        BundleError, match=rf"bundle format {FORMAT_VERSION + 1}, this pixelwise reads up to {FORMAT_VERSION}; update"
    ):
        read_bundle(bundle)


@pytest.mark.parametrize(
    "key", ["name", "architecture", "classes", "ignore_index", "input", "provenance", "metrics", "files"]
)
def test_a_config_that_lacks_a_part_is_refused(bundle: Path, key: str):
    change_config(bundle, lambda raw: raw.pop(key))
    with pytest.raises(BundleError, match="damaged"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input", []),
        ("input", {**CONFIG.to_json()["input"], "mean": [0.5, 0.5]}),
        ("input", {**CONFIG.to_json()["input"], "mean": [0.5, 0.5, float("nan")]}),
        ("input", {**CONFIG.to_json()["input"], "std": [0.5, 0, 0.5]}),
        ("input", {**CONFIG.to_json()["input"], "long_side": 0}),
        ("input", {**CONFIG.to_json()["input"], "long_side": float("inf")}),
        ("input", {**CONFIG.to_json()["input"], "short_side": None}),
        ("input", {**CONFIG.to_json()["input"], "size_multiple": "many"}),
        ("input", {**CONFIG.to_json()["input"], "channel_order": "BGR"}),
        ("architecture", "unet"),
        ("classes", []),
        ("classes", {"name": "cat"}),
        ("classes", [{"name": "cat", "colour": [0, 0]}]),
        ("ignore_index", 2),
        ("provenance", 3),
        ("files", []),
        ("files", {"model.onnx": "0" * 64}),
    ],
)
def test_a_config_with_nonsense_in_it_is_refused(bundle: Path, key: str, value: object):
    change_config(bundle, lambda raw: raw.update({key: value}))
    with pytest.raises(BundleError, match="damaged"):
        read_bundle(bundle)


def test_what_is_no_bundle_is_refused(tmp_path: Path, bundle: Path):
    file = tmp_path / "photo.jpg"
    file.write_bytes(b"")
    for path in (tmp_path / "absent", tmp_path, file, bundle / "config.json"):
        with pytest.raises(BundleError, match=r"is not a model: there is no config\.json in it"):
            read_bundle(path)


def test_an_input_spec_says_what_is_wrong_with_it():
    with pytest.raises(BundleError, match="three finite numbers"):
        InputSpec((0, 0, 0), (1, 1, -1), 64, 32)
    with pytest.raises(BundleError, match="must be positive"):
        InputSpec((0, 0, 0), (1, 1, 1), 64, 0)
    for sides in ((None, None), (64, 64), (None, 0), (-1, None)):
        with pytest.raises(BundleError, match="One of long_side and short_side must be given"):
            InputSpec((0, 0, 0), (1, 1, 1), sides[0], 32, short_side=sides[1])


@pytest.mark.parametrize(
    ("photo", "by_longer", "by_shorter"),
    [
        ((480, 640), (390, 520), (520, 693)),
        ((640, 480), (520, 390), (693, 520)),
        ((520, 520), (520, 520), (520, 520)),
        ((100, 400), (130, 520), (520, 2080)),
        ((10, 4000), (1, 520), (5, 2080)),  # a strip does not become 200,000 pixels long
        ((1, 1), (520, 520), (520, 520)),
    ],
)
def test_photos_are_scaled_by_one_of_their_sides(
    photo: tuple[int, int], by_longer: tuple[int, int], by_shorter: tuple[int, int]
):
    assert InputSpec((0, 0, 0), (1, 1, 1), 520, 1).size_seen(*photo) == by_longer
    assert InputSpec((0, 0, 0), (1, 1, 1), None, 1, short_side=520).size_seen(*photo) == by_shorter


def test_a_shorter_side_is_written_as_the_newer_format():
    spec = InputSpec((0, 0, 0), (1, 1, 1), None, 1, short_side=520)
    raw = json.loads(json.dumps(replace(CONFIG, input_spec=spec).to_json()))
    assert raw["format_version"] == 2
    assert "long_side" not in raw["input"]
    assert BundleConfig.from_json(raw).input_spec == spec


def test_an_output_stride_is_written_as_the_newest_format():
    spec = replace(CONFIG.input_spec, size_multiple=32, output_stride=4)
    raw = json.loads(json.dumps(replace(CONFIG, input_spec=spec).to_json()))
    assert raw["format_version"] == FORMAT_VERSION == 4
    assert BundleConfig.from_json(raw).input_spec == spec
    for stride in (0, -4, 5, 64):
        raw["input"]["output_stride"] = stride
        with pytest.raises(BundleError, match=f"output_stride {stride} must divide size_multiple, 32"):
            BundleConfig.from_json(raw)


# Writing is whole or not at all, and never over anything else.


def test_a_bundle_is_replaced_only_by_force(bundle: Path):
    before = digests(bundle.parent)
    with pytest.raises(OutputError, match="exists already; choose another place, or force the replacement"):
        write_bundle(bundle, CONFIG, graph=b"other", weights=b"other")
    assert digests(bundle.parent) == before
    write_bundle(bundle, replace(CONFIG, name="second"), graph=b"other", weights=b"other", force=True)
    assert read_bundle(bundle).config.name == "second"
    assert list(bundle.parent.iterdir()) == [bundle]


@pytest.mark.parametrize("contents", ["{}", "not json", '{"format_version": "1"}', "[]", None])
def test_a_directory_that_is_no_bundle_is_not_replaced_even_by_force(tmp_path: Path, contents: str | None):
    path = tmp_path / "project"
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")
    if contents is not None:
        (path / "config.json").write_text(contents)
    before = digests(tmp_path)
    with pytest.raises(OutputError, match="is not a model, so it is not replaced"):
        write_bundle(path, CONFIG, graph=b"g", weights=b"w", force=True)
    assert digests(tmp_path) == before


def test_a_file_is_not_replaced_even_by_force(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="is not a model"):
        write_bundle(path, CONFIG, graph=b"g", weights=b"w", force=True)
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("failing", ["model.onnx", "model.safetensors", "README.md", "rename"])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_bundle_and_nothing_else(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, failing: str, there: bool, error: BaseException
):
    if not there:
        shutil.rmtree(bundle)
    before = digests(bundle.parent)
    write_bytes, rename = Path.write_bytes, Path.rename

    def failing_write(path: Path, data: bytes) -> int:
        if path.name == failing:
            write_bytes(path, data[: len(data) // 2])
            raise error
        return write_bytes(path, data)

    def failing_rename(path: Path, target: Path) -> Path:
        if failing == "rename" and path.name == "new":
            raise error
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", failing_write)
        patch.setattr(Path, "rename", failing_rename)
        expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
        with pytest.raises(expected) as caught:
            write_bundle(bundle, CONFIG, graph=b"other", weights=b"other", force=True)
    if isinstance(error, OSError):
        assert str(caught.value) == f"The model {bundle} cannot be written: No space left on device."
    assert digests(bundle.parent) == before
    assert list(bundle.parent.iterdir()) == ([bundle] if there else [])


def test_a_place_below_a_file_is_said(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        write_bundle(tmp_path / "file" / "model", CONFIG, graph=b"g", weights=b"w")
