from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers import COLOURS, DEFAULT_BUNDLE, SPEC
from pixelwise.bundle import BundleConfig, write_bundle
from pixelwise.catalogue import DEFAULT_MODEL, find_model, model_names
from pixelwise.errors import BundleError


def small_bundle(path: Path) -> Path:
    config = BundleConfig("small", "unet", {}, COLOURS, SPEC)
    return write_bundle(path, config, graph=b"graph", weights=b"weights").path


def test_the_default_model_is_among_the_names():
    assert DEFAULT_MODEL in model_names()
    assert model_names() == sorted(model_names())


def test_every_name_is_found_and_whole():
    for name in model_names():
        assert find_model(name).path.name == name


def test_a_directory_is_found_by_its_path(tmp_path: Path):
    path = small_bundle(tmp_path / "mine")
    assert find_model(path).config.name == find_model(str(path)).config.name == "small"


def test_a_model_in_a_directory_called_like_a_built_in_one_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").mkdir()  # no model: the built-in one is meant
    assert find_model("default").path == DEFAULT_BUNDLE
    (tmp_path / "default").rmdir()
    small_bundle(tmp_path / "default")
    assert find_model("default").config.name == "small"


@pytest.mark.parametrize("name", ["resnet", "defaul", "x" * 5000, "a/b", "bad\0name"])
def test_an_unknown_name_is_answered_with_those_there_are(name: str):
    with pytest.raises(BundleError, match=r"There is no model .*the built-in ones are: .*\bdefault\b"):
        find_model(name)


def test_a_file_is_no_model(tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    with pytest.raises(BundleError, match="There is no model"):
        find_model(path)


def test_a_directory_without_a_model_is_said(tmp_path: Path):
    with pytest.raises(BundleError, match=r"is not a model: there is no config\.json"):
        find_model(tmp_path)


def test_a_damaged_model_is_refused(tmp_path: Path):
    path = tmp_path / "copy"
    shutil.copytree(DEFAULT_BUNDLE, path)
    weights = bytearray((path / "model.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (path / "model.safetensors").write_bytes(weights)
    with pytest.raises(BundleError, match=r"model\.safetensors is not what config\.json says it is"):
        find_model(path)
