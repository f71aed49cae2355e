"""ImageNet weights for the encoders, as torchvision's classification networks have them: random numbers in files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v3_large, resnet50, resnet101, vgg16_bn
from torchvision.models.vgg import VGG, cfgs, make_layers

from conftest import PutInCache
from networks import photos, same_states, seeded, state_of
from pixelwise.errors import PixelwiseError
from pixelwise.models import build
from pixelwise.models.weights import load_encoder


def features_of(*, batch_norm: bool) -> nn.Sequential:
    """torchvision's features of VGG-16, every tensor unlike its fresh one."""
    torch.manual_seed(31)
    features = make_layers(cfgs["D"], batch_norm=batch_norm)
    for part in features:
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            nn.init.normal_(part.bias, std=0.1)  # type: ignore[arg-type]
    return shaken(features).eval()  # type: ignore[return-value]


def shaken(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(part.weight, 0.8, 1.2)
            nn.init.normal_(part.bias, 0, 0.1)
    return module


def pooled(features: nn.Sequential, image: Tensor) -> Iterator[Tensor]:
    """What each stage gives before it is pooled."""
    x = image
    for layer in features:
        if isinstance(layer, nn.MaxPool2d):
            yield x
        x = layer(x)


def stages_agree(model: nn.Module, features: nn.Sequential) -> None:
    x = photos(1, 64, 96)
    with torch.no_grad():
        expected = list(pooled(features, x))
        for stage, theirs in zip(model.get_submodule("encoder").children(), expected, strict=True):
            x = stage(x)
            assert torch.allclose(x, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))
            x = F.max_pool2d(x, 2, 2)


@pytest.mark.parametrize(
    ("name", "batch_norm"), [("segnet", True), ("fcn32s", False), ("fcn16s", True), ("fcn8s", False)]
)
def test_each_stage_of_vgg_answers_as_torchvisions(name: str, batch_norm: bool, put_in_cache: PutInCache):
    features = features_of(batch_norm=batch_norm)
    state = {f"features.{key}": tensor for key, tensor in features.state_dict().items()}
    put_in_cache(f"VGG16{'_BN' if batch_norm else ''}_Weights.IMAGENET1K_V1", state)
    more = {} if name == "segnet" else {"batch_norm": batch_norm, "same_padding": True}
    model = seeded(name, **more).eval()
    load_encoder(model, "imagenet")
    stages_agree(model, features)


def test_the_frame_of_a_hundred_pixels_leaves_the_tensors_as_they_are(put_in_cache: PutInCache):
    features = features_of(batch_norm=False)
    put_in_cache(
        "VGG16_Weights.IMAGENET1K_V1", {f"features.{key}": tensor for key, tensor in features.state_dict().items()}
    )
    model = seeded("fcn32s").eval()
    load_encoder(model, "imagenet")
    convs = [part for part in model.get_submodule("encoder").modules() if isinstance(part, nn.Conv2d)]
    theirs = [part for part in features if isinstance(part, nn.Conv2d)]
    for ours, their in zip(convs, theirs, strict=True):
        assert torch.equal(ours.weight, their.weight)
        assert torch.equal(ours.bias, their.bias)  # type: ignore[arg-type]
    assert convs[0].padding == (100, 100)


@pytest.mark.slow
def test_fc6_and_fc7_answer_as_vggs_classifier(put_in_cache: PutInCache):
    torch.manual_seed(32)
    theirs = VGG(features_of(batch_norm=False), init_weights=False).eval()
    path = put_in_cache("VGG16_Weights.IMAGENET1K_V1", theirs.state_dict())
    model = build("fcn32s", num_classes=3, weights="imagenet").eval()
    path.unlink()
    maps = photos(1, 7, 7).repeat(1, 171, 1, 1)[:, :512].relu()
    with torch.no_grad():
        ours = F.relu(model.get_submodule("fc7")(F.relu(model.get_submodule("fc6")(maps)))).flatten()
        expected = theirs.classifier[:6](maps.flatten(1)).flatten()
    assert expected.std() > 1e-3
    assert torch.allclose(ours, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_narrow_fc6_and_fc7_keep_their_own_weights(put_in_cache: PutInCache):
    features = features_of(batch_norm=False)
    state = {f"features.{key}": tensor for key, tensor in features.state_dict().items()}
    state |= {f"classifier.{number}.bias": torch.ones(4096) for number in "03"}
    state |= {"classifier.0.weight": torch.ones(4096, 2), "classifier.3.weight": torch.ones(4096, 3)}
    put_in_cache("VGG16_Weights.IMAGENET1K_V1", state)
    model = seeded("fcn32s")
    before = {name: state_of(model.get_submodule(name)) for name in ("fc6", "fc7")}
    load_encoder(model, "imagenet")
    assert all(same_states(model.get_submodule(name).state_dict(), state) for name, state in before.items())


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
def test_resnets_maps_are_torchvisions(name: str, put_in_cache: PutInCache):
    torch.manual_seed(33)
    theirs = shaken(resnet50(weights=None, replace_stride_with_dilation=[False, True, True])).eval()
    put_in_cache("ResNet50_Weights.IMAGENET1K_V1", theirs.state_dict())
    model = build(name, num_classes=3, weights="imagenet").eval()
    kept = []
    theirs.get_submodule("layer3").register_forward_hook(lambda _, __, out: kept.append(out))
    theirs.get_submodule("layer4").register_forward_hook(lambda _, __, out: kept.append(out))
    image = photos(1, 64, 96)
    with torch.no_grad():
        theirs(image)
        maps = model.get_submodule("backbone")(image)
    for ours, their in zip(maps, kept, strict=True):
        assert torch.allclose(ours, their, rtol=1e-4, atol=1e-5 * float(their.abs().max()))


def test_resnet101_gets_its_own(put_in_cache: PutInCache):
    torch.manual_seed(34)
    state = resnet101(weights=None).state_dict()
    put_in_cache("ResNet101_Weights.IMAGENET1K_V1", state)
    backbone = build("fcn_resnet101", num_classes=3, weights="imagenet").get_submodule("backbone")
    assert same_states(backbone.state_dict(), {k: t for k, t in state.items() if not k.startswith("fc.")})


def test_mobilenets_maps_are_torchvisions(put_in_cache: PutInCache):
    torch.manual_seed(35)
    theirs = shaken(mobilenet_v3_large(weights=None, dilated=True)).eval()
    put_in_cache("MobileNet_V3_Large_Weights.IMAGENET1K_V1", theirs.state_dict())
    model = build("deeplabv3_mobilenet_v3_large", num_classes=3, weights="imagenet").eval()
    image = photos(1, 64, 96)
    with torch.no_grad():
        middle, final = model.get_submodule("backbone")(image)
        assert torch.equal(final, theirs.features(image))  # type: ignore[operator]
        assert torch.equal(middle, theirs.features[:5](image))  # type: ignore[index, operator]


# Files of something else


@pytest.fixture(scope="module")
def others() -> dict[str, dict[str, Tensor]]:
    plain, normed = features_of(batch_norm=False), features_of(batch_norm=True)
    return {
        "vgg16": {f"features.{key}": tensor for key, tensor in plain.state_dict().items()},
        "vgg16_bn": {f"features.{key}": tensor for key, tensor in normed.state_dict().items()},
        "mobilenet": mobilenet_v3_large(weights=None).state_dict(),
        "nothing": {},
    }


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("segnet", "vgg16", r"does not fit VGG-16: it has 13 layers with weights under 'features', expected 26"),
        ("fcn32s", "vgg16_bn", r"does not fit VGG-16: it has 26 layers with weights under 'features', expected 13"),
        ("segnet", "mobilenet", r"does not fit VGG-16: it has 0 layers"),
        ("segnet", "nothing", r"does not fit VGG-16: it has 0 layers"),
        ("deeplabv3_mobilenet_v3_large", "vgg16", r"does not fit the network: it lacks '0\.0\.weight'"),
        ("fcn_resnet50", "mobilenet", r"does not fit the network: it lacks 'conv1\.weight'"),
    ],
)
def test_a_file_of_another_network_is_refused(
    name: str, file: str, message: str, others: dict[str, dict[str, Tensor]], tmp_path: Path
):
    torch.save(others[file], tmp_path / "weights.pth")
    model = seeded(name)
    before = state_of(model)
    with pytest.raises(PixelwiseError, match=rf"weights\.pth {message}"):
        load_encoder(model, str(tmp_path / "weights.pth"))
    assert same_states(model.state_dict(), before)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("features.28.weight", None, r"lacks 'conv5\.4\.weight'"),
        (
            "features.28.weight",
            (512, 512, 1, 1),
            r"conv5\.4\.weight is \(512, 512, 1, 1\) there, expected \(512, 512, 3",
        ),
        ("features.extra", (1,), "does not fit VGG-16"),
        ("features.30.0.weight", (1,), "does not fit VGG-16"),
    ],
)
def test_a_damaged_file_of_vgg_is_refused(
    key: str, change: tuple[int, ...] | None, message: str, others: dict[str, dict[str, Tensor]], tmp_path: Path
):
    state = dict(others["vgg16"])
    if change is None:
        del state[key]
    else:
        state[key] = torch.zeros(change)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(PixelwiseError, match=message):
        load_encoder(seeded("fcn32s"), tmp_path / "weights.pth")


def test_what_has_no_encoder_says_so():
    with pytest.raises(PixelwiseError, match=r"UNet2015 has no pretrained encoder; in a recipe, set"):
        build("unet2015", num_classes=3, weights="imagenet")


def test_torchvisions_whole_vgg_file_serves_segnet(put_in_cache: PutInCache):
    """The classifier's tensors, which are most of the file, are left out."""
    with torch.device("meta"):
        keys = set(vgg16_bn(weights=None).state_dict())
    features = features_of(batch_norm=True)
    state = {f"features.{key}": tensor for key, tensor in features.state_dict().items()}
    state |= {key: torch.zeros(1) for key in keys if key.startswith("classifier.")}
    assert set(state) == keys
    put_in_cache("VGG16_BN_Weights.IMAGENET1K_V1", state)
    stages_agree(build("segnet", num_classes=3, weights="imagenet").eval(), features)
