from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pixelwise.errors import PixelwiseError
from pixelwise.models import build
from pixelwise.models.encoders import create_encoder, load_imagenet_weights

NAME = "test_efficientnet"  # timm's network for tests, 82,000 parameters
PORTED = "tf_efficientnet_lite0"  # with TensorFlow's padding

State = dict[str, Tensor]


@pytest.fixture
def encoder() -> nn.Module:
    return create_encoder(NAME)


@pytest.fixture
def classifier() -> State:
    """The state of the whole network, other than that of `encoder`."""
    torch.manual_seed(5)
    return {key: torch.rand_like(t.float()).to(t.dtype) for key, t in timm.create_model(NAME).state_dict().items()}


def saved(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path


def has(encoder: nn.Module, state: State) -> bool:
    return all(torch.equal(tensor, state[key]) for key, tensor in encoder.state_dict().items())


def renamed(state: State) -> State:
    return {f"layer{i:03}": tensor for i, tensor in enumerate(state.values())}


def test_gives_a_pyramid_of_features():
    encoder = create_encoder(PORTED).eval()
    info = encoder.feature_info
    assert info.reduction() == [2, 4, 8, 16, 32]  # type: ignore[operator, union-attr]
    with torch.no_grad():
        shapes = [tuple(feature.shape) for feature in encoder(torch.zeros(2, 3, 64, 96))]
    channels = info.channels()  # type: ignore[operator, union-attr]
    assert shapes == [(2, c, 64 // s, 96 // s) for c, s in zip(channels, [2, 4, 8, 16, 32], strict=True)]


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)])
def test_tensorflows_padding_gives_the_answer_that_timm_gives(size: tuple[int, int]):
    torch.manual_seed(0)
    original = timm.create_model(PORTED, features_only=True).eval()
    encoder = create_encoder(PORTED).eval()
    assert list(encoder.state_dict()) == list(original.state_dict())
    encoder.load_state_dict(original.state_dict())
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        for ours, theirs in zip(encoder(image), original(image), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["resnot18", "", "someone/resnet18", "ftp:resnet18", "local-dir:resnet18", "hf-hub:timm/resnet18.a1_in1k"]
)
def test_an_unknown_encoder_is_named(name: str):
    with pytest.raises(PixelwiseError, match=f"timm has no encoder '{name}'"):
        create_encoder(name)


def test_an_unknown_encoder_is_answered_with_close_names():
    with pytest.raises(
        PixelwiseError, match=r"did you mean .*resnet50.*\? `timm\.list_models\(\)` lists what it has"
    ) as caught:
        create_encoder("resnet5O")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_tiny_patch16_224", r"the strides of its feature maps are \[16, 16, "),
        ("swin_tiny_patch4_window7_224", "it does not take photos of any size|its feature maps are"),
        ("halonet26t", r"it does not take photos of any size\.$"),
        ("crossvit_tiny_240", r"the strides of its feature maps are \[12, 17\], and each has to be twice"),
    ],
)
def test_what_has_no_pyramid_of_maps_is_refused_with_the_reason(name: str, reason: str):
    with pytest.raises(PixelwiseError, match=f"{name} cannot be an encoder: .*({reason})") as caught:
        create_encoder(name)
    assert "\n" not in str(caught.value)


def test_an_encoder_that_begins_at_stride_4_will_do():
    name = "test_convnext"
    model = build("unet", num_classes=3, arguments_given={"encoder": name, "decoder_channels": (8, 8)}).eval()
    assert create_encoder(name).feature_info.reduction()[0] == 4  # type: ignore[operator, union-attr]
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 65, 71)).shape == (1, 3, 65, 71)


def test_loads_weights_by_name(encoder: nn.Module, classifier: State, tmp_path: Path):
    shuffled = dict(reversed(classifier.items()))
    load_imagenet_weights(encoder, NAME, saved(shuffled, tmp_path / "weights.pth"))
    assert has(encoder, classifier)


def test_loads_weights_by_name_without_a_classifier(encoder: nn.Module, classifier: State, tmp_path: Path):
    body = {key: classifier[key] for key in encoder.state_dict()}
    load_imagenet_weights(encoder, NAME, saved(body, tmp_path / "weights.pth"))
    assert has(encoder, classifier)


def test_loads_weights_by_name_from_safetensors(encoder: nn.Module, classifier: State, tmp_path: Path):
    save_file(classifier, tmp_path / "weights.safetensors")
    load_imagenet_weights(encoder, NAME, str(tmp_path / "weights.safetensors"))
    assert has(encoder, classifier)


def test_loads_weights_under_other_names_by_their_order(encoder: nn.Module, classifier: State, tmp_path: Path):
    load_imagenet_weights(encoder, NAME, saved(renamed(classifier), tmp_path / "weights.pth"))
    assert has(encoder, classifier)


def test_loads_weights_into_an_encoder_with_tensorflows_padding(tmp_path: Path):
    torch.manual_seed(8)
    state = timm.create_model(PORTED).state_dict()
    encoder = create_encoder(PORTED)
    load_imagenet_weights(encoder, PORTED, saved(renamed(state), tmp_path / "weights.pth"))
    assert has(encoder, state)


def test_a_safetensors_file_is_never_read_by_order(encoder: nn.Module, classifier: State, tmp_path: Path):
    floats = {key: tensor.float() for key, tensor in renamed(classifier).items()}  # so that the order is that of names
    save_file(floats, tmp_path / "weights.safetensors")
    with pytest.raises(PixelwiseError, match="neither by names nor by the order"):
        load_imagenet_weights(encoder, NAME, tmp_path / "weights.safetensors")


def without_the_first(state: State) -> State:
    return dict(list(state.items())[1:])


def with_two_swapped(state: State) -> State:
    first, second, *rest = renamed(state).items()
    return dict([second, first, *rest])


@pytest.mark.parametrize("change", [without_the_first, with_two_swapped, lambda state: {}])
def test_tensors_that_fit_neither_way_are_refused(
    encoder: nn.Module, classifier: State, tmp_path: Path, change: Callable[[State], State]
):
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    with pytest.raises(PixelwiseError, match=r"weights\.pth fits the encoder neither by names nor by the order"):
        load_imagenet_weights(encoder, NAME, saved(change(classifier), tmp_path / "weights.pth"))
    assert has(encoder, before)


def test_a_tensor_of_the_right_name_and_the_wrong_shape_is_named(encoder: nn.Module, classifier: State, tmp_path: Path):
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    classifier["bn1.weight"] = torch.zeros(3)
    with pytest.raises(PixelwiseError, match=r"does not fit test_efficientnet: bn1\.weight is \(3,\) there, expected"):
        load_imagenet_weights(encoder, NAME, saved(classifier, tmp_path / "weights.pth"))
    assert has(encoder, before)


def test_a_missing_file_is_named(encoder: nn.Module, tmp_path: Path):
    with pytest.raises(PixelwiseError, match=r"no weights file .*absent\.pth"):
        load_imagenet_weights(encoder, NAME, tmp_path / "absent.pth")


class MakesAFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


def test_a_pickle_that_runs_code_is_refused(encoder: nn.Module, tmp_path: Path):
    path = saved({"conv": MakesAFolder(tmp_path / "made")}, tmp_path / "evil.pth")
    with pytest.raises(PixelwiseError, match=r"evil\.pth is not a state dict that can be loaded safely"):
        load_imagenet_weights(encoder, NAME, path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_holds_no_weights_is_refused(encoder: nn.Module, tmp_path: Path, suffix: str):
    path = tmp_path / f"text{suffix}"
    path.write_text("no weights at all")
    with pytest.raises(PixelwiseError, match=rf"text\{suffix} is not a state dict"):
        load_imagenet_weights(encoder, NAME, path)


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"epoch": 3, "state_dict": {}}, {"epoch": 3, "state_dict": []}, torch.zeros(3), {0: torch.zeros(3)}],
)
def test_a_file_that_holds_something_else_is_refused(encoder: nn.Module, tmp_path: Path, content: object):
    with pytest.raises(PixelwiseError, match="no plain state dict of tensors"):
        load_imagenet_weights(encoder, NAME, saved(content, tmp_path / "weights.pth"))


def test_without_a_network_it_says_what_to_do(encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # huggingface_hub reads HF_HUB_OFFLINE and HF_HOME once, when it is imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        PixelwiseError, match=r"test_efficientnet could not be fetched .*; go online once, or give a file"
    ):
        load_imagenet_weights(encoder, NAME, "imagenet")


def test_timms_own_weights_are_asked_for_under_the_encoders_names(monkeypatch: pytest.MonkeyPatch):
    name = "test_convnext"  # timm calls "stem.0" "stem_0" in a pyramid of features
    fetched, encoder = create_encoder(name), create_encoder(name)
    create_model = timm.create_model

    def as_if_online(name: str, *, pretrained: bool, features_only: bool = False) -> nn.Module:
        model: nn.Module = create_model(name, features_only=features_only)
        if pretrained and features_only:
            model.load_state_dict(fetched.state_dict())
        return model

    monkeypatch.setattr(timm, "create_model", as_if_online)
    load_imagenet_weights(encoder, name, "imagenet")
    assert has(encoder, fetched.state_dict())
