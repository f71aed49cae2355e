from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from networks import CLASSES, parameters_of, photos, seeded, settled, state_of
from pixelwise.errors import PixelwiseError
from pixelwise.models import build, start_from
from pixelwise.models.fcn import CROP_PHOTO, CROP_POOL3, CROP_POOL4, Score, Upsampling

# The authors' voc-fcn8s/train.prototxt: weight (outputs, inputs, k, k), or (inputs, outputs, k, k) of a Deconvolution;
# stride; pad. Pooling is 2x2 with stride 2 after each convN_2 or convN_3. Those of voc-fcn16s and voc-fcn32s differ in
# what is left out, and in the last row. Source: https://github.com/shelhamer/fcn.berkeleyvision.org
PROTOTXT = [
    ("conv1_1", (64, 3, 3, 3), 1, 100),
    ("conv1_2", (64, 64, 3, 3), 1, 1),
    ("conv2_1", (128, 64, 3, 3), 1, 1),
    ("conv2_2", (128, 128, 3, 3), 1, 1),
    ("conv3_1", (256, 128, 3, 3), 1, 1),
    ("conv3_2", (256, 256, 3, 3), 1, 1),
    ("conv3_3", (256, 256, 3, 3), 1, 1),
    ("conv4_1", (512, 256, 3, 3), 1, 1),
    ("conv4_2", (512, 512, 3, 3), 1, 1),
    ("conv4_3", (512, 512, 3, 3), 1, 1),
    ("conv5_1", (512, 512, 3, 3), 1, 1),
    ("conv5_2", (512, 512, 3, 3), 1, 1),
    ("conv5_3", (512, 512, 3, 3), 1, 1),
    ("fc6", (4096, 512, 7, 7), 1, 0),
    ("fc7", (4096, 4096, 1, 1), 1, 0),
    ("score_fr", (21, 4096, 1, 1), 1, 0),
    ("score_pool4", (21, 512, 1, 1), 1, 0),
    ("upscore2", (21, 21, 4, 4), 2, 0),
    ("score_pool3", (21, 256, 1, 1), 1, 0),
    ("upscore_pool4", (21, 21, 4, 4), 2, 0),
]
LAST = {
    "fcn32s": ("upscore", (21, 21, 64, 64), 32, 0),
    "fcn16s": ("upscore16", (21, 21, 32, 32), 16, 0),
    "fcn8s": ("upscore8", (21, 21, 16, 16), 8, 0),
}
ABSENT = {
    "fcn32s": ("score_pool4", "upscore2", "score_pool3", "upscore_pool4"),
    "fcn16s": ("score_pool3", "upscore_pool4"),
    "fcn8s": (),
}
WITHOUT_BIAS = ("upscore2", "upscore_pool4", "upscore")

Layer = tuple[str, tuple[int, ...], int, int]


def prototxt(name: str) -> list[Layer]:
    kept = [layer for layer in PROTOTXT if layer[0] not in ABSENT[name]]
    return [*kept, ("upscore", *LAST[name][1:])]


def layers_of(module: nn.Module) -> list[Layer]:
    """In the order of the prototxt: convolutions of a stage are numbered, whatever lies between them."""
    layers: list[Layer] = []
    for path, part in module.named_modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            _, _, stage = path.rpartition("encoder.")
            name = path
            if path.startswith("encoder."):
                stage = stage.partition(".")[0]
                name = f"{stage}_{1 + sum(layer[0].startswith(stage) for layer in layers)}"
            assert part.kernel_size[0] == part.kernel_size[1] == part.weight.shape[-1]
            layers.append((name, tuple(part.weight.shape), part.stride[0], int(part.padding[0])))
    return layers


def on_meta(name: str, **more: Any) -> nn.Module:
    """A network of the full width that takes no memory, as only shapes are looked at."""
    with torch.device("meta"):
        return build(name, num_classes=21, arguments_given=more)


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s"])
def test_the_layers_are_those_of_the_authors_prototxt(name: str):
    module = on_meta(name)
    assert sorted(layers_of(module)) == sorted(prototxt(name))
    for path, part in module.named_modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            assert (part.bias is None) == (path in WITHOUT_BIAS), path


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s"])
def test_the_published_number_of_parameters(name: str):
    """134 million (table 1 of the paper), which leaves upsampling out: interpolation has no weights until it learns.

    Exactly: VGG-16's published 138,357,544 without the last layer, and what the prototxt adds.
    """
    vgg16, last_layer = 138_357_544, 4096 * 1000 + 1000
    added = 0
    for layer, shape, _, _ in prototxt(name):
        if "score" in layer:
            added += torch.Size(shape).numel() + (0 if layer in WITHOUT_BIAS else 21)
    count = parameters_of(on_meta(name))
    assert count == vgg16 - last_layer + added
    upsampling = sum(torch.Size(shape).numel() for layer, shape, _, _ in prototxt(name) if layer in WITHOUT_BIAS)
    assert (count - upsampling) // 1_000_000 == 134


def first_pixels(module: nn.Module) -> dict[str, tuple[float, float]]:
    """Where the middle of each map's first pixel lies in the photo, and how far apart its pixels are, in pixels."""
    found, offset, jump = {}, 0.0, 1.0

    def convolve(layer: nn.Module) -> None:
        nonlocal offset, jump
        assert isinstance(layer, nn.Conv2d)
        offset += jump * ((layer.kernel_size[0] - 1) / 2 - int(layer.padding[0]))

    def upsample(layer: nn.Module) -> None:
        nonlocal offset, jump
        assert isinstance(layer, nn.ConvTranspose2d)
        jump /= layer.stride[0]
        offset -= jump * ((layer.kernel_size[0] - 1) / 2 - int(layer.padding[0]))

    for number, stage in enumerate(module.get_submodule("encoder").children(), start=1):
        for layer in stage.children():
            if isinstance(layer, nn.Conv2d):
                convolve(layer)
        offset, jump = offset + jump / 2, 2 * jump  # the middle of a 2x2 window
        found[f"pool{number}"] = offset, jump
    convolve(module.get_submodule("fc6"))
    for name in ("upscore2", "upscore_pool4", "upscore"):
        if hasattr(module, name):
            if name == "upscore_pool4":  # the sum's first pixel is that of the upsampled scores
                assert jump == 16
            upsample(module.get_submodule(name))
            found[name] = offset, jump
    return found


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_maps_are_cropped_to_where_they_lie_on_the_photo(stride: int):
    places = first_pixels(on_meta(f"fcn{stride}s"))

    def crop(cropped: str, onto: str) -> float:
        assert places[cropped][1] == places[onto][1]
        return (places[onto][0] - places[cropped][0]) / places[cropped][1]

    if stride <= 16:
        assert crop("pool4", "upscore2") == CROP_POOL4
    if stride <= 8:
        assert crop("pool3", "upscore_pool4") == CROP_POOL3
    assert places["upscore"][1] == 1
    assert -places["upscore"][0] == CROP_PHOTO[stride]


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_with_same_padding_all_maps_begin_at_the_photos_corner(stride: int):
    places = first_pixels(on_meta(f"fcn{stride}s", same_padding=True))
    assert all(offset == (jump - 1) / 2 for offset, jump in places.values())


@pytest.mark.parametrize("more", [{"same_padding": True}, {"batch_norm": True}])
def test_the_variants_answer_at_the_photos_size(more: dict[str, Any]):
    model = settled(seeded("fcn8s", **more))
    with torch.no_grad():
        for height, width in ((1, 1), (65, 71)):
            assert model(photos(1, height, width)).shape == (1, CLASSES, height, width)


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
@pytest.mark.parametrize("crop", [False, True])
def test_upsampling_starts_as_bilinear_interpolation(factor: int, crop: bool):
    maps = photos(2, 6, 7)
    with torch.no_grad():
        ours = Upsampling(3, factor, crop=crop)(maps)
    if not crop:
        assert ours.shape[-2:] == (7 * factor, 8 * factor)
        ours = ours[..., factor // 2 : -(factor // 2), factor // 2 : -(factor // 2)]
    theirs = F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)
    assert ours.shape == theirs.shape
    inside = (..., slice(factor // 2, -(factor // 2)), slice(factor // 2, -(factor // 2)))
    assert torch.allclose(ours[inside], theirs[inside], atol=1e-6)
    assert not torch.allclose(ours, theirs, atol=1e-3)  # beyond the border there is nothing, not the last value again


def test_scores_start_at_zero_and_dropout_acts_in_training_only():
    model, image = seeded("fcn8s", same_padding=True).eval(), photos(1, 33, 40)
    with torch.no_grad():
        assert not model(image).any()
        settled(model)
        assert torch.equal(model(image), model(image))
        assert not torch.equal(model.train()(image), model(image))


# Trained in stages


def trained(name: str, **more: Any) -> nn.Module:
    return settled(seeded(name, **more))


@pytest.mark.parametrize(
    ("coarse", "fine"), [("fcn32s", "fcn16s"), ("fcn16s", "fcn8s"), ("fcn32s", "fcn8s"), ("fcn8s", "fcn8s")]
)
def test_a_finer_network_starts_nearly_as_the_coarser_one_answers(coarse: str, fine: str, tmp_path: Path):
    given = trained(coarse)
    save_file(given.state_dict(), tmp_path / "best.safetensors")
    other = seeded(fine, 3)
    start_from(other, fine, tmp_path / "best.safetensors")
    image = photos(1, 96, 128)
    with torch.no_grad():
        before, after = given(image), other.eval()(image)
    if coarse == fine:
        assert torch.equal(before, after)
        return
    change, size = (after - before).abs().mean(), before.abs().mean()
    assert 0 < change < 0.1 * size
    for key, tensor in given.state_dict().items():
        if key != "upscore.weight":
            assert torch.equal(other.state_dict()[key], tensor), key


def test_a_bundles_file_without_counters_starts_a_finer_network(tmp_path: Path):
    state = {k: v for k, v in trained("fcn32s", batch_norm=True).state_dict().items() if "num_batches" not in k}
    save_file(state, tmp_path / "model.safetensors")
    other = seeded("fcn16s", 3, batch_norm=True)
    start_from(other, "fcn16s", tmp_path / "model.safetensors")
    assert torch.equal(other.state_dict()["score_fr.weight"], state["score_fr.weight"])


@pytest.mark.parametrize(
    ("name", "left_out", "message"),
    [
        ("fcn8s", ["score_fr.weight", "score_fr.bias"], "lacks 'score_fr.weight'"),
        ("fcn8s", ["score_pool3.bias"], "lacks 'score_pool3.bias'"),
        ("fcn8s", ["score_pool4.weight", "score_pool4.bias", "upscore2.weight"], "lacks 'score_pool4.weight'"),
        ("fcn8s", ["fc6.bias"], "lacks 'fc6.bias'"),
        ("fcn16s", ["upscore.weight"], "lacks 'upscore.weight'"),
        ("fcn32s", ["score_fr.weight", "score_fr.bias"], "lacks 'score_fr.weight'"),
    ],
)
def test_a_damaged_file_is_no_coarser_network(name: str, left_out: list[str], message: str, tmp_path: Path):
    state = {key: tensor for key, tensor in seeded(name).state_dict().items() if key not in left_out}
    save_file(state, tmp_path / "best.safetensors")
    model = seeded(name, 3)
    with pytest.raises(PixelwiseError, match=message):
        start_from(model, name, tmp_path / "best.safetensors")


@pytest.mark.parametrize(
    ("source", "more", "message"),
    [
        ("fcn8s", {}, "the network has not, 'score_pool3"),  # a finer one
        ("fcn32s", {"num_classes": 7}, r"score_fr\.weight is \(7, 64, 1, 1\) there, expected \(5, 64, 1, 1\)"),
        ("fcn32s", {"width": 32}, r"fc6\.weight is \(32, 512, 7, 7\) there, expected \(64, 512, 7, 7\)"),
        ("fcn32s", {"batch_norm": True}, r"lacks 'encoder\.conv1\.2\.weight'"),
        ("segnet", {}, "does not fit the network"),
    ],
)
def test_another_networks_file_is_refused(source: str, more: dict[str, Any], message: str, tmp_path: Path):
    save_file(seeded(source, **more).state_dict(), tmp_path / "best.safetensors")
    model = seeded("fcn16s", 3)
    before = state_of(model)
    with pytest.raises(PixelwiseError, match=message):
        start_from(model, "fcn16s", tmp_path / "best.safetensors")
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


class Convolutions(TorchDispatchMode):
    """Keeps what each convolution was given as its bias."""

    def __init__(self) -> None:
        super().__init__()
        self.biases: list[object] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.biases.append(args[2])
        return func(*args, **(kwargs or {}))


def test_no_bias_goes_into_the_convolution_that_scores_in_training():
    """Torch 2.15 writes past the end of a short bias's gradient in bf16, but dies of it not every time."""
    score, x = Score(4096, 5), torch.ones(2, 4096, 3, 3)
    with Convolutions() as seen, torch.autocast("cpu", dtype=torch.bfloat16):
        scores = score(x)
    assert seen.biases == [None]
    scores.float().sum().backward()
    assert scores.dtype == torch.bfloat16
    assert torch.equal(score.bias.grad, torch.full((5,), 18.0))  # type: ignore[arg-type, union-attr]
    with Convolutions() as seen:
        score.eval()(x)
    assert seen.biases == [score.bias]  # one operation, as exporters and engines want it


def test_scores_are_those_of_a_plain_convolution():
    torch.manual_seed(0)
    score, plain, x = Score(64, 5), nn.Conv2d(64, 5, 1), torch.randn(2, 64, 3, 4)
    score.load_state_dict(plain.state_dict())
    for training in (True, False):
        assert torch.allclose(score.train(training)(x), plain(x), atol=1e-6)
