from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers import COLOURS, DEFAULT_BUNDLE, SPEC
from pixelwise.bundle import BundleConfig, write_bundle
from pixelwise.catalogue import (
    DEFAULT_MODEL,
    architectures,
    cached_path,
    find_model,
    model_names,
    pretrained_names,
)
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
    there = "did you mean .*\\? Built in" if name in ("resnet", "defaul") else "of that name; built in"
    with pytest.raises(BundleError, match=rf"There is no model .*{there}: .*\bdefault\b.*pretrained: .*fcn_resnet50"):
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


def test_an_architecture_that_nobody_has_trained_is_said_to_be_one():
    with pytest.raises(
        BundleError, match=r"segnet is an architecture that has to be trained first.*ready to use are: def"
    ):
        find_model("segnet")


def test_close_names_are_offered():
    with pytest.raises(BundleError, match="did you mean deeplabv3_resnet50 or deeplabv3_resnet101"):
        find_model("deeplab_resnet50")


def test_what_torchvision_has_weights_for_is_pretrained():
    assert pretrained_names() == [
        "deeplabv3_mobilenet_v3_large",
        "deeplabv3_resnet101",
        "deeplabv3_resnet50",
        "fcn_resnet101",
        "fcn_resnet50",
    ]
    assert {facts.name for facts in architectures()} > set(pretrained_names())


def test_a_pretrained_model_is_looked_for_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = cached_path("fcn_resnet50")
    assert path.is_relative_to(tmp_path)
    assert path.name == "fcn_resnet50-coco_with_voc_labels_v1"
    with pytest.raises(BundleError, match="is not a model"):
        find_model("fcn_resnet50")
    small_bundle(path)
    assert find_model("fcn_resnet50").config.name == "small"
