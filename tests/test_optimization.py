from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, PolynomialLR

from pixelwise.errors import RecipeError
from pixelwise.models import build
from pixelwise.optimization import (
    build_optimizer,
    follow_batch_statistics,
    freeze,
    layers_of,
    learning_rate_factor,
)
from pixelwise.recipe import Optimizer, Schedule


def block(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 3), nn.BatchNorm2d(channels))


class Small(nn.Module):
    """An encoder of four layers: a stem of two operations, two blocks, a last stage that is one block."""

    def __init__(self, encoder_name: str = "encoder") -> None:
        super().__init__()
        encoder = nn.Module()
        encoder.conv_stem, encoder.bn1, encoder.act = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        encoder.blocks = nn.Sequential(block(4), block(4))
        encoder.last = block(4)
        self.head = nn.Conv2d(4, 2, 1)
        setattr(self, encoder_name, encoder)


def rates_of(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The peak rate of each parameter by name."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {names[id(p)]: group["peak_lr"] for group in optimizer.param_groups for p in group["params"]}


def earlier_groups(module: nn.Module, optimizer: Optimizer) -> list[dict[str, Any]]:
    """As the shipped model was trained: four groups in the order in which their first parameters come."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            encoder = name.startswith(("encoder.", "backbone."))
            groups.setdefault((encoder, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak_lr": optimizer.encoder_lr if encoder else optimizer.lr,
            "weight_decay": optimizer.weight_decay if decay else 0.0,
        }
        for (encoder, decay), parameters in groups.items()
    ]


@pytest.mark.parametrize("name", ["unet", "unet2015", "segnet", "deeplabv3_mobilenet_v3_large"])
@pytest.mark.parametrize("rates", [{}, {"lr": 0.01, "encoder_lr": 0.01, "weight_decay": 0.0}])
def test_the_default_groups_are_those_of_the_shipped_model(name: str, rates: dict[str, float]):
    module, settings = build(name, num_classes=3, arguments_given={}), Optimizer(**rates)
    if name == "unet":
        freeze(module, ["encoder.conv_stem", "encoder.bn1", "encoder.blocks.0"])
    optimizer = build_optimizer(module, settings)
    assert isinstance(optimizer, torch.optim.AdamW)
    expected = earlier_groups(module, settings)
    assert len(optimizer.param_groups) == len(expected)
    for group, wanted in zip(optimizer.param_groups, expected, strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in wanted["params"]]
        assert group["lr"] == 0
        assert group["betas"] == (0.9, 0.999)
        assert all(group[key] == wanted[key] for key in ("peak_lr", "weight_decay"))


def test_sgd_has_momentum_and_the_same_groups():
    module = Small()
    settings = Optimizer(name="sgd", lr=0.1, encoder_lr=0.02, momentum=0.8, nesterov=True)
    optimizer = build_optimizer(module, settings)
    assert isinstance(optimizer, torch.optim.SGD)
    assert len(optimizer.param_groups) == 4
    assert all(group["momentum"] == 0.8 and group["nesterov"] for group in optimizer.param_groups)
    assert not build_optimizer(module, Optimizer(name="sgd")).param_groups[0]["nesterov"]
    rates = rates_of(module, optimizer)
    assert all(rate == (0.02 if name.startswith("encoder.") else 0.1) for name, rate in rates.items())


def test_weights_decay_and_biases_and_normalisation_do_not():
    module = Small()
    decays = {
        id(p): group["weight_decay"]
        for group in build_optimizer(module, Optimizer(weight_decay=0.3)).param_groups
        for p in group["params"]
    }
    kernels = {"head.weight", *(f"encoder.{n}.weight" for n in ("conv_stem", "blocks.0.0", "blocks.1.0", "last.0"))}
    for name, parameter in module.named_parameters():
        assert decays[id(parameter)] == (0.3 if name in kernels else 0.0), name


@pytest.mark.parametrize("encoder_name", ["encoder", "backbone"])
def test_each_earlier_layer_of_the_encoder_learns_more_slowly(encoder_name: str):
    module = Small(encoder_name)
    rates = rates_of(module, build_optimizer(module, Optimizer(lr=1.0, encoder_lr=0.4, layer_decay=0.5)))
    expected = {"conv_stem": 0.05, "bn1": 0.05, "blocks": 0.4, "last": 0.4}
    assert len(rates) == len(list(module.parameters()))
    for name, rate in rates.items():
        wanted = next((r for part, r in expected.items() if name.startswith(f"{encoder_name}.{part}.")), 1.0)
        if f"{encoder_name}.blocks." in name:
            wanted = 0.1 if ".blocks.0." in name else 0.2
        assert rate == pytest.approx(wanted), name


def test_what_stands_in_no_layer_learns_as_the_first_one():
    module = Small()
    module.encoder.position = nn.Parameter(torch.zeros(1, 4, 1, 1))
    rates = rates_of(module, build_optimizer(module, Optimizer(encoder_lr=0.4, layer_decay=0.5)))
    assert rates["encoder.position"] == rates["encoder.bn1.weight"] == pytest.approx(0.05)


STEM = ["conv_stem", "bn1"]


@pytest.mark.parametrize(
    ("name", "arguments", "first", "layers"),
    [
        ("unet", {}, STEM, [STEM, *([f"blocks.{i}"] for i in range(7))]),
        (
            "unet",
            {"encoder": "resnet18"},
            ["conv1", "bn1"],
            [["conv1", "bn1"], *([f"layer{i}.{j}"] for i in (1, 2, 3, 4) for j in (0, 1))],
        ),
        (
            "deeplabv3_resnet50",
            {},
            ["conv1", "bn1"],
            [["conv1", "bn1"], *([f"layer{i}.{j}"] for i, n in ((1, 3), (2, 4), (3, 6), (4, 3)) for j in range(n))],
        ),
        ("deeplabv3_mobilenet_v3_large", {}, ["0"], [[str(i)] for i in range(17)]),
        ("segnet", {}, ["conv1"], [[f"conv{i}"] for i in range(1, 6)]),
    ],
)
def test_the_layers_of_encoders(name: str, arguments: dict[str, Any], first: list[str], layers: list[list[str]]):
    module = build(name, num_classes=2, arguments_given=arguments)
    encoder = getattr(module, "encoder", None) or module.backbone
    found = layers_of(encoder)
    assert len(found) == len(layers)
    for names, parts in zip(found, layers, strict=True):
        expected = [f"{part}.{own}" for part in parts for own, _ in encoder.get_submodule(part).named_parameters()]
        assert names == expected
    assert [name for layer in found for name in layer] == [name for name, _ in encoder.named_parameters()]
    assert {name.partition(".")[0] for name in found[0]} == {part.partition(".")[0] for part in first}


def test_a_frozen_network_cannot_be_trained():
    module = Small()
    freeze(module, ["encoder", "head"])
    with pytest.raises(RecipeError, match="nothing is left to train"):
        build_optimizer(module, Optimizer())


def test_what_is_frozen_does_not_change_and_the_rest_does():
    module = Small()
    frozen = freeze(module, ["encoder.conv_stem", "encoder.bn1"])
    assert frozen == [module.encoder.conv_stem, module.encoder.bn1]
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    optimizer = build_optimizer(module, Optimizer())
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"]
    module.train()
    for part in frozen:
        part.eval()
    x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    encoder = module.encoder
    module.head(encoder.last(encoder.blocks(encoder.bn1(encoder.conv_stem(x))))).square().mean().backward()
    optimizer.step()
    for name, tensor in module.state_dict().items():
        stays = name.startswith(("encoder.conv_stem.", "encoder.bn1."))
        assert torch.equal(tensor, before[name]) == stays, name


def test_freezing_nothing_changes_nothing():
    module = Small()
    assert freeze(module, []) == []
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert module.encoder.bn1.training


@pytest.mark.parametrize("name", ["encoder.conv_stm", "encoder.conv_stem.weight", "", "nothing"])
def test_a_submodule_that_is_not_there_is_named_with_those_that_are(name: str):
    module = Small()
    with pytest.raises(RecipeError) as caught:
        freeze(module, ["encoder.bn1", name])
    assert repr(name) in str(caught.value)
    there = "? It has:" if name.startswith("encoder.") else "; it has:"
    assert f"{there} head, encoder, encoder.conv_stem, encoder.bn1" in str(caught.value)
    assert ("did you mean encoder.conv_stem" in str(caught.value)) == name.startswith("encoder.")
    assert all(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize(("steps", "warmup"), [(100, 10), (7, 0), (1, 0), (5, 5), (5, 9)])
def test_the_cosine_is_that_of_the_shipped_model_to_the_last_bit(steps: int, warmup: int):
    for step in range(steps):
        if step < warmup:
            expected = (step + 1) / warmup
        else:
            expected = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
        assert learning_rate_factor(step, steps=steps, warmup_steps=warmup, schedule="cosine") == expected


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 101])
def test_one_cycle_is_that_of_torch(steps: int):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = OneCycleLR(optimizer, max_lr=1.0, total_steps=steps, cycle_momentum=False)
    for step in range(steps):
        factor = learning_rate_factor(step, steps=steps, warmup_steps=50, schedule="one_cycle")
        assert factor == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step
        optimizer.step()
        if step < steps - 1:
            reference.step()


def test_one_cycle_begins_at_a_25th_and_ends_at_a_ten_thousandth_of_that():
    def factor(step: int) -> float:
        return learning_rate_factor(step, steps=1000, warmup_steps=0, schedule="one_cycle")

    assert factor(0) == pytest.approx(0.04)
    assert factor(299) == pytest.approx(1.0)
    assert factor(999) == pytest.approx(4e-6)
    assert max(factor(step) for step in range(1000)) == factor(299)


@pytest.mark.parametrize("power", [0.9, 2.0])
def test_poly_is_that_of_torch(power: float):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = PolynomialLR(optimizer, total_iters=20, power=power)
    for step in range(20):
        factor = learning_rate_factor(step, steps=20, warmup_steps=0, schedule="poly", power=power)
        assert factor == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        reference.step()


def test_poly_by_hand_with_the_usual_power():
    assert learning_rate_factor(60, steps=110, warmup_steps=10, schedule="poly") == pytest.approx(0.5**0.9)


@pytest.mark.parametrize("schedule", ["cosine", "poly", "constant"])
def test_the_warm_up_rises_to_the_peak_and_the_schedule_goes_on_from_there(schedule: Schedule):
    factors = [learning_rate_factor(step, steps=50, warmup_steps=4, schedule=schedule) for step in range(50)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert all(later <= sooner for sooner, later in pairwise(factors[4:]))
    assert (factors[-1] == 1.0) == (schedule == "constant")


@pytest.mark.parametrize("schedule", get_args(Schedule))
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (2, 5), (30, 30), (40, 7)])
def test_a_factor_is_a_share_whatever_the_numbers_of_steps(schedule: Schedule, steps: int, warmup: int):
    for step in range(steps):
        factor = learning_rate_factor(step, steps=steps, warmup_steps=warmup, schedule=schedule)
        assert isinstance(factor, float)
        assert 0 < factor <= 1


def test_statistics_of_batches_are_those_of_the_last_tens_of_steps():
    torch.manual_seed(0)
    module = build("deeplabv3_mobilenet_v3_large", num_classes=2, arguments_given={})
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.01, 0.1}  # torchvision's of the backbone, torch's of the head
    follow_batch_statistics(module)
    first = norms[0]
    for _ in range(60):
        first(3 + 0.1 * torch.randn(4, first.num_features, 8, 8))
    assert first.running_mean is not None
    assert first.running_var is not None
    torch.testing.assert_close(first.running_mean, torch.full_like(first.running_mean, 3), atol=0.02, rtol=0)
    torch.testing.assert_close(first.running_var, torch.full_like(first.running_var, 0.01), atol=0.005, rtol=0)
    assert {norm.momentum for norm in norms} == {0.1}


def test_statistics_that_follow_faster_or_are_plain_means_stay_so():
    module = nn.Sequential(nn.BatchNorm2d(2, momentum=0.3), nn.BatchNorm2d(2, momentum=None))
    follow_batch_statistics(module)
    assert [norm.momentum for norm in module] == [0.3, None]


def test_a_stage_whose_parts_have_names_is_one_layer():
    encoder = nn.Module()
    encoder.blocks = nn.Sequential(block(4), block(4))
    encoder.stage = nn.Module()
    encoder.stage.reduce, encoder.stage.expand = block(4), block(4)
    of_stage = [name for name, _ in encoder.named_parameters() if name.startswith("stage.")]
    assert layers_of(encoder)[2:] == [of_stage]
    assert len(layers_of(encoder)) == 3
