"""torchvision's weights for the classes of VOC; files with random numbers where the download would lie."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_weight

from conftest import PutInCache
from networks import photos, same_states, state_of
from pixelwise.errors import PixelwiseError
from pixelwise.models import architecture, build, names, start_from

NAMES = [name for name in names() if "coco_voc" in architecture(name).weights]
MOBILE = "deeplabv3_mobilenet_v3_large"  # the smallest


def torchvisions(name: str) -> dict[str, Tensor]:
    torch.manual_seed(21)
    return get_model(name, weights=None, weights_backbone=None, num_classes=21, aux_loss=True).state_dict()


def weights_of(name: str) -> str:
    return architecture(name).weights["coco_voc"].name


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_loaded(name: str, put_in_cache: PutInCache):
    state = torchvisions(name)
    put_in_cache(weights_of(name), state)
    assert same_states(build(name, num_classes=21, weights="coco_voc").state_dict(), state)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_the_weights_for_vocs_21_classes_of_that_very_network(name: str):
    weights = get_weight(weights_of(name))
    assert type(weights).__name__.lower() == f"{name}_weights".lower()
    assert weights.name == "COCO_WITH_VOC_LABELS_V1"
    assert len(weights.meta["categories"]) == 21


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50", MOBILE])
def test_with_other_classes_the_last_layer_of_each_head_keeps_its_own_weights(name: str, put_in_cache: PutInCache):
    state = torchvisions(name)
    put_in_cache(weights_of(name), state)
    torch.manual_seed(5)
    fresh = state_of(build(name, num_classes=7))
    torch.manual_seed(5)
    loaded = build(name, num_classes=7, weights="coco_voc").state_dict()
    last = {f"{head}.4.{tensor}" for head in ("classifier", "aux_classifier") for tensor in ("weight", "bias")}
    for key, tensor in loaded.items():
        assert torch.equal(tensor, (fresh if key in last else state)[key]), key
    assert len(loaded["classifier.4.weight"]) == len(loaded["aux_classifier.4.bias"]) == 7


@pytest.mark.parametrize("classes", [21, 7])
def test_a_network_without_the_auxiliary_head_takes_the_others(classes: int, put_in_cache: PutInCache):
    state = torchvisions(MOBILE)
    put_in_cache(weights_of(MOBILE), state)
    model = build(MOBILE, num_classes=classes, arguments_given={"auxiliary": False}, weights="coco_voc")
    assert torch.equal(model.state_dict()["backbone.0.0.weight"], state["backbone.0.0.weight"])
    assert not any(key.startswith("aux") for key in model.state_dict())
    with torch.no_grad():
        assert model(photos(2, 65, 71)).shape == (2, classes, 65, 71)


def without_one(state: dict[str, Tensor]) -> None:
    del state["classifier.0.project.1.weight"]


def with_one_more(state: dict[str, Tensor]) -> None:
    state["classifier.9.weight"] = torch.zeros(3)


def with_another_shape(state: dict[str, Tensor]) -> None:
    state["classifier.1.weight"] = torch.zeros(256, 128, 3, 3)
    state["classifier.4.weight"] = torch.zeros(22, 256, 1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_one, r"it lacks 'classifier\.0\.project\.1\.weight'"),
        (with_one_more, r"it has, and the network has not, 'classifier\.9\.weight'"),
        (with_another_shape, r"classifier\.1\.weight is \(256, 128, 3, 3\) there, expected \(256, 256, 3, 3\)"),
    ],
)
def test_a_wrong_file_is_refused_and_nothing_loaded(
    change: Callable[[dict[str, Tensor]], None], message: str, put_in_cache: PutInCache
):
    state = torchvisions(MOBILE)
    change(state)
    path = put_in_cache(weights_of(MOBILE), state)
    model = build(MOBILE, num_classes=21)
    before = state_of(model)
    with pytest.raises(PixelwiseError, match=f"{weights_of(MOBILE)} does not fit the network: {message}") as caught:
        start_from(model, MOBILE, "coco_voc")
    assert str(path) in str(caught.value)
    assert same_states(model.state_dict(), before)


class MakesAFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


def test_a_pickle_that_runs_code_is_refused(put_in_cache: PutInCache, tmp_path: Path):
    put_in_cache(weights_of(MOBILE), {"x": MakesAFolder(tmp_path / "made")})  # type: ignore[dict-item]
    with pytest.raises(PixelwiseError, match="is not a state dict that can be loaded safely"):
        build(MOBILE, num_classes=21, weights="coco_voc")
    assert not (tmp_path / "made").exists()


def test_a_truncated_file_is_named(put_in_cache: PutInCache):
    path = put_in_cache(weights_of(MOBILE), torchvisions(MOBILE))
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(PixelwiseError, match=rf"{path.name} is not a state dict") as caught:
        build(MOBILE, num_classes=21, weights="coco_voc")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("weights", ["coco_voc", "imagenet"])
def test_offline_it_names_the_file_and_its_place(weights: str, checkpoints: Path):
    with pytest.raises(PixelwiseError, match=r"could not be fetched .*; go online once, or put the file") as caught:
        build(MOBILE, num_classes=21, weights=weights)
    known = get_weight(weights_of(MOBILE) if weights == "coco_voc" else "MobileNet_V3_Large_Weights.IMAGENET1K_V1")
    message = str(caught.value)
    assert known.url in message
    assert str(checkpoints / known.url.rpartition("/")[2]) in message
    assert message.count("\n") == 0
    assert message.endswith(".")
    assert list(checkpoints.rglob("*")) == []


class Response:
    """What `torch.hub.urlopen` gives: some bytes, of which the connection may lose the rest."""

    def __init__(self, content: bytes) -> None:
        self.parts = [content, b""]

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def info(self) -> Response:
        return self

    def get_all(self, _: str) -> list[str]:
        return ["1000"]

    def read(self, _: int) -> bytes:
        return self.parts.pop(0)


def test_a_download_that_is_not_what_it_should_be_is_refused_and_removed(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("torch.hub.urlopen", lambda request: Response(b"only the beginning"))
    with pytest.raises(PixelwiseError, match=r"could not be fetched \(RuntimeError\)"):
        build(MOBILE, num_classes=21, weights="coco_voc")
    assert list(checkpoints.rglob("*")) == []
    assert capsys.readouterr().out == ""  # a command's answer goes there


@pytest.mark.parametrize("name", sorted(set(names()) - set(NAMES)))
def test_where_there_are_none_it_says_for_which_there_are(name: str):
    with pytest.raises(PixelwiseError, match=f"no coco_voc weights for {name}; there are for: {', '.join(NAMES)}"):
        start_from(nn.Identity(), name, "coco_voc")
