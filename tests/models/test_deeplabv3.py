from __future__ import annotations

import pytest
import torch
from torch import nn

from networks import photos
from pixelwise.errors import PixelwiseError
from pixelwise.models import WithAuxiliary, build
from pixelwise.models.deeplabv3 import ASPP, ImagePooling
from pixelwise.models.resnet import DilatedResNet


def rates_of(model: nn.Module) -> list[int]:
    (aspp,) = (part for part in model.modules() if isinstance(part, ASPP))
    convs = [part for branch in aspp.convs for part in branch.children() if isinstance(part, nn.Conv2d)]  # type: ignore[union-attr]
    assert all(conv.padding == conv.dilation for conv in convs if conv.kernel_size == (3, 3))
    return [conv.dilation[0] for conv in convs if conv.kernel_size == (3, 3)]


def on_meta(name: str, **more: object) -> nn.Module:
    with torch.device("meta"):
        return build(name, num_classes=21, arguments_given=more).eval()


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "deeplabv3_resnet101"])
@pytest.mark.parametrize(("stride", "rates", "middle"), [(8, [12, 24, 36], 8), (16, [6, 12, 18], 16)])
def test_the_rates_follow_the_output_stride(name: str, stride: int, rates: list[int], middle: int):
    model = on_meta(name, output_stride=stride)
    assert rates_of(model) == rates
    maps = model.get_submodule("backbone")(torch.zeros(1, 3, 128, 192, device="meta"))
    assert [tuple(each.shape) for each in maps] == [
        (1, 1024, 128 // middle, 192 // middle),
        (1, 2048, 128 // stride, 192 // stride),
    ]


def test_the_mobile_form_ends_at_stride_16_with_the_rates_of_8_as_torchvisions():
    model = on_meta("deeplabv3_mobilenet_v3_large")
    assert rates_of(model) == [12, 24, 36]
    maps = model.get_submodule("backbone")(torch.zeros(1, 3, 128, 192, device="meta"))
    assert [tuple(each.shape) for each in maps] == [(1, 40, 16, 24), (1, 960, 8, 12)]


@pytest.mark.parametrize(("stride", "dilations"), [(8, [1, 1, 2, 4]), (16, [1, 1, 1, 2])])
def test_a_stage_keeps_its_resolution_by_dilation(stride: int, dilations: list[int]):
    with torch.device("meta"):
        encoder = DilatedResNet(50, output_stride=stride)
    last = [encoder.get_submodule(f"layer{number}.1.conv2") for number in range(1, 5)]
    assert [conv.dilation[0] for conv in last] == dilations  # type: ignore[index, union-attr]


@pytest.mark.parametrize("stride", [4, 32, "8"])
def test_another_output_stride_is_refused(stride: object):
    with pytest.raises(PixelwiseError, match=r"deeplabv3_resnet50 cannot be built with .*output_stride"):
        build("deeplabv3_resnet50", num_classes=2, arguments_given={"output_stride": stride})


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large"])
def test_the_auxiliary_head_answers_in_training_only_and_may_be_left_out(name: str):
    model, without = on_meta(name), on_meta(name, auxiliary=False)
    images = torch.zeros(2, 3, 65, 71, device="meta")
    answer = model.train()(images)
    assert isinstance(answer, WithAuxiliary)
    assert answer.logits.shape == answer.auxiliary.shape == (2, 21, 65, 71)
    for each in (model.eval(), without.eval(), without.train()):
        assert each(images).shape == (2, 21, 65, 71)
    assert {k for k in model.state_dict() if not k.startswith("aux_classifier.")} == set(without.state_dict())


def test_image_pooling_is_the_mean_everywhere():
    torch.manual_seed(0)
    pooling, image = ImagePooling(3, 4).eval(), photos(2, 5, 7)
    conv = pooling[1]
    assert isinstance(conv, nn.Conv2d)
    with torch.no_grad():
        pooled = pooling(image)
        mean = image.mean(dim=(2, 3))
        expected = torch.relu(mean @ conv.weight[:, :, 0, 0].T / (1 + 1e-5) ** 0.5)
    assert pooled.shape == (2, 4, 5, 7)
    assert torch.allclose(pooled, expected[:, :, None, None].expand(2, 4, 5, 7), atol=1e-6)


def test_image_pooling_of_one_photo_in_training_uses_the_running_statistics():
    torch.manual_seed(0)
    pooling, image = ImagePooling(3, 4), photos(1, 5, 7)
    norm = pooling[2]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
    nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    kept = [buffer.clone() for buffer in norm.buffers()]
    alone = pooling.train()(image)
    assert all(torch.equal(buffer, before) for buffer, before in zip(norm.buffers(), kept, strict=True))
    assert torch.allclose(alone, pooling.eval()(image), atol=1e-6)
    alone.sum().backward()
    assert norm.weight.grad is not None
    assert norm.weight.grad.any()
    pooling.train()(photos(2, 5, 7))
    assert not torch.equal(next(norm.buffers()), kept[0])  # two photos do have a variance
