"""A description against the papers, torchvision's published figures, and independent computations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_weight

from pixelwise.describe import describe
from pixelwise.describe.receptive import views
from pixelwise.describe.stages import Stage, stages_of
from pixelwise.describe.trace import trace
from pixelwise.errors import PixelwiseError
from pixelwise.models import architecture, build, names
from pixelwise.settings import parse_values

AUXILIARY = {"fcn_resnet50": 1024, "fcn_resnet101": 1024, "deeplabv3_resnet50": 1024, "deeplabv3_resnet101": 1024}
AUXILIARY["deeplabv3_mobilenet_v3_large"] = 40
"""Channels that torchvision's auxiliary head takes, at stride 8."""


def stages(name: str, given: Mapping[str, Any] | None = None, **size: tuple[int, int]) -> dict[str, Stage]:
    """By name; of several by one name, the last."""
    return {stage.name: stage for stage in describe(name, arguments_given=given, **size).stages}


# Totals.


@pytest.mark.parametrize("name", names())
def test_totals_agree_with_torch(name: str):
    description = describe(name, num_classes=5, size=(96, 160))
    with torch.device("meta"):
        network = build(name, num_classes=5).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, 96, 160, device="meta"))
    assert 2 * description.multiply_adds == counter.get_total_flops()
    assert description.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert sum(stage.multiply_adds for stage in description.stages) == description.multiply_adds
    assert sum(stage.activation_bytes for stage in description.stages) == description.activation_bytes
    auxiliary = getattr(network, "aux_classifier", None)
    heads = 0 if auxiliary is None else sum(parameter.numel() for parameter in auxiliary.parameters())
    assert description.training_only == heads
    last = description.stages[-1]
    assert (last.kind, last.channels, last.height, last.width) == ("answer", 5, 96, 160)


@pytest.mark.parametrize("name", AUXILIARY)
def test_multiply_adds_are_those_that_torchvision_publishes(name: str):
    """At 520x520, and with the auxiliary head, which torchvision runs in evaluation too."""
    meta = get_weight(architecture(name).weights["coco_voc"].name).meta
    channels = AUXILIARY[name]
    head = 65 * 65 * (channels * channels // 4 * 9 + channels // 4 * 21)
    description = describe(name, size=(520, 520))
    assert (description.multiply_adds + head) / 1e9 == pytest.approx(meta["_ops"], abs=6e-4)
    assert description.parameters == meta["num_params"]


def test_weights_and_photo_cost_no_memory_whatever_their_size():
    description = describe("deeplabv3_resnet101", size=(20_000, 30_000))
    assert description.activation_bytes > 2**40
    assert description.multiply_adds > 500e12


# Output stride and receptive field.


def field_of(layers: list[tuple[int, int]]) -> tuple[int, int]:
    """Receptive field and stride after layers of (kernel, stride), written out: the field grows by (k - 1) strides."""
    field, stride = 1, 1
    for kernel, step in layers:
        field, stride = field + (kernel - 1) * stride, stride * step
    return field, stride


VGG = [layer for convs in (2, 2, 3, 3, 3) for layer in [(3, 1)] * convs + [(2, 2)]]


@pytest.mark.parametrize(
    ("name", "given", "field", "stride"),
    [
        ("fcn32s", {}, 404, 32),  # Table 1 of the paper
        ("fcn32s", {"same_padding": True}, 404, 32),
        ("fcn8s", {}, field_of([*VGG, (7, 1)])[0], 32),
        ("segnet", {}, field_of(VGG)[0], 32),
        ("unet2015", {}, 140, 16),
        ("unet2015", {"padding": False}, field_of(([(3, 1)] * 2 + [(2, 2)]) * 4 + [(3, 1)] * 2)[0], 16),
        # conv1, max pool, then the 3x3 convolutions of 3, 4, 6 and 3 blocks: layer2 begins with a stride; layer3 and 4
        # are dilated by 2 and 4, their first blocks by what the stage before has; a 3x3 convolution before the scores.
        ("fcn_resnet50", {}, 1 + 6 + 2 * 2 + 3 * 8 + 8 + 3 * 16 + 16 + 5 * 32 + 32 + 2 * 64 + 16, 8),
    ],
)
def test_receptive_fields_are_those_worked_out_by_hand(name: str, given: dict[str, Any], field: int, stride: int):
    description = describe(name, arguments_given=given)
    assert (description.receptive_field, description.output_stride) == (field, stride)
    assert not description.whole_photo


def test_means_over_the_photo_are_seen():
    for name in names():
        assert describe(name).whole_photo == name.startswith("deeplabv3"), name
    assert describe("unet", arguments_given={"encoder": "mobilenetv3_large_100"}).whole_photo  # squeeze and excitation


@pytest.mark.parametrize(("stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18])])
def test_deeplab_has_the_rates_of_its_output_stride(stride: int, rates: list[int]):
    description = describe("deeplabv3_resnet50", arguments_given={"output_stride": stride})
    assert description.output_stride == stride
    branches = [stage for stage in description.stages if stage.name.startswith("classifier.0.convs")]
    assert [stage.rates for stage in branches] == [(), *((rate,) for rate in rates), ()]
    assert [stage.kind for stage in branches] == ["convolution"] * 4 + ["context"]
    assert {stage.stride for stage in branches} == {stride}


class Small(nn.Module):
    """Strides, dilation, pooling of overlapping windows, and upsampling at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 5, stride=2, padding=2)
        self.second = nn.Conv2d(4, 4, 3, padding=3, dilation=3)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.score = nn.Conv2d(4, 2, 3, padding=1)

    def coarse(self, x: Tensor) -> Tensor:
        return self.score(self.pool(self.second(self.first(x))))

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.coarse(x), size=x.shape[-2:], mode="bilinear")


def test_a_gradient_reaches_just_as_far_as_the_receptive_field():
    network = Small().eval()
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    traced = trace(network.to("meta"), size=(256, 256))
    (coarse,) = (i for i, op in enumerate(traced.operations) if op.modules[-1] == "score")
    view = views(traced.operations)[coarse]
    network = network.to_empty(device="cpu")
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    network.pool = nn.AvgPool2d(3, 2, 1)  # the same windows, and a gradient for every pixel in them
    photo = torch.ones(1, 3, 256, 256, requires_grad=True)
    network.coarse(photo)[0, 0, 32, 32].backward()
    rows = photo.grad.abs().sum((0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == view.field
    assert view.stride == 256 / 64


@pytest.mark.parametrize("encoder", ["hrnet_w18_small", "ghostnetv2_100", "pvt_v2_b0"])
def test_maps_that_are_made_finer_again_on_the_way_do_not_change_the_output_stride(encoder: str):
    description = describe("unet", arguments_given={"encoder": encoder})
    assert description.output_stride == 32
    assert description.receptive_field < 4000


# Stages and what goes between them.


def test_segnet_sends_positions_and_nothing_else_to_its_decoder():
    description = describe("segnet")
    found = description.stages
    indices = [(found[edge.source], found[edge.target]) for edge in description.edges if edge.kind == "indices"]
    assert [(source.stride, target.stride) for source, target in indices] == [(32, 16), (16, 8), (8, 4), (4, 2), (2, 1)]
    assert {(source.kind, target.kind) for source, target in indices} == {("pooling", "upsampling")}
    features = [edge for edge in description.edges if edge.kind == "features"]
    assert all(edge.target == edge.source + 1 for edge in features)
    assert [stage.widths for stage in found if stage.kind == "convolution"] == [
        (64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3,
        (512,) * 3, (512, 512, 256), (256, 256, 128), (128, 64), (64, 21),
    ]  # fmt: skip


def test_torchs_own_unpooling_is_recognised_too():
    class Unpooling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x, positions = F.max_pool2d(self.down(x), 2, return_indices=True)
            return self.up(F.max_unpool2d(x, positions, 2))

    traced = trace(Unpooling().eval().to("meta"), size=(32, 32))
    found, edges = stages_of(traced, views(traced.operations), num_classes=2)
    assert [stage.name for stage in found] == ["photo", "down", "max pool", "max unpooling", "up", "answer"]
    assert [(found[e.source].name, found[e.target].name) for e in edges if e.kind == "indices"] == [
        ("max pool", "max unpooling")
    ]
    assert [stage.stride for stage in found] == [1, 1, 2, 1, 1, 1]


@pytest.mark.parametrize(("padding", "cropped"), [(True, False), (False, True)])
def test_unet_concatenates_each_level_and_crops_where_it_does_not_pad(padding: bool, cropped: bool):
    description = describe("unet2015", arguments_given={"padding": padding})
    found = description.stages
    joints = [place for place, stage in enumerate(found) if stage.kind == "concatenation"]
    assert [found[place].channels for place in joints] == [1024, 512, 256, 128]
    for joint in joints:
        skip, up = sorted((edge for edge in description.edges if edge.target == joint), key=lambda edge: edge.source)
        assert found[skip.source].kind == "convolution"
        assert found[up.source].kind == "upsampling"
        assert (skip.height, skip.width, skip.cropped) == (found[joint].height, found[joint].width, cropped)
    if not padding:  # figure 1 at its own size: the photo is mirrored by 92 pixels on each side
        at = stages("unet2015", {"padding": False}, size=(388, 388))
        assert (at["mirror"].height, at["mirror"].width) == (572, 572)
        assert at["down.0"].widths == (64, 64)
        assert at["down.4"].height == 28
        assert at["up.3"].height == 388


def test_fcn8s_adds_the_scores_of_two_poolings():
    description = describe("fcn8s")
    found = description.stages
    sums = [place for place, stage in enumerate(found) if stage.kind == "sum"]
    into = [{found[edge.source].name for edge in description.edges if edge.target == place} for place in sums]
    assert into == [{"upscore2", "score_pool4"}, {"upscore_pool4", "score_pool3"}]
    assert [found[place].stride for place in sums] == [16, 8]
    scores = [stage for stage in found if stage.kind == "scores"]
    assert {stage.channels for stage in scores} == {21}
    assert len(scores) == 3


def test_each_block_of_one_resolution_is_one_stage():
    found = stages("deeplabv3_mobilenet_v3_large")
    assert found["backbone.4-6"].layers == ("3 × inverted residual",)
    assert found["backbone.13-15"].rates == (2,)
    assert found["backbone.7-12"].height == found["backbone.13-15"].height == 32
    assert stages("fcn_resnet101")["backbone.layer3"].layers == ("23 × bottleneck",)


def test_blocks_are_called_by_their_own_names():
    found = stages("unet", {"encoder": "convnext_atto"})
    assert found["encoder.stages_0"].layers == ("2 × conv ne xt block",)
    assert found["encoder.stages_0"].layers == found["encoder.stages_1"].layers


@pytest.mark.parametrize("name", names())
def test_every_way_leads_from_the_photo_to_the_answer(name: str):
    description = describe(name, size=(65, 71))
    last = len(description.stages) - 1
    assert {edge.source for edge in description.edges} == set(range(last))
    assert {edge.target for edge in description.edges} == set(range(1, last + 1))
    assert all(edge.source < edge.target for edge in description.edges)


# Arguments.


def test_arguments_may_be_given_on_the_command_line():
    given = parse_values(["encoder=resnet50", "decoder_channels=[64, 32]", "dropout = 0.5"])
    assert given == {"encoder": "resnet50", "decoder_channels": [64, 32], "dropout": 0.5}
    description = describe("unet", arguments_given=given)
    assert description.arguments == {**given, "context_channels": 128}
    assert description.stages[-3].stride == 8


def test_impossible_sizes_are_refused():
    for size in ((0, 5), (5, 70_000)):
        with pytest.raises(PixelwiseError, match="The size is"):
            describe("unet", size=size)
