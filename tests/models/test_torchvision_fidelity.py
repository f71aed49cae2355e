"""The networks that torchvision has as well give its answers for its weights."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torchvision.models import get_model, get_model_weights

from networks import parameters_of, photos
from pixelwise.models import WithAuxiliary, architecture, build, names

BOTH = [name for name in names() if "coco_voc" in architecture(name).weights]


@dataclass(frozen=True)
class Pair:
    name: str
    ours: nn.Module
    theirs: nn.Module


@pytest.fixture(scope="module", params=BOTH)
def pair(request: pytest.FixtureRequest) -> Pair:
    """With the same random weights, and batch statistics that are not those of fresh ones."""
    name = request.param
    torch.manual_seed(0)
    theirs = get_model(name, weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    for part in theirs.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(part.weight, 0.8, 1.2)
            nn.init.normal_(part.bias, 0, 0.1)
    ours = build(name, num_classes=21)
    ours.load_state_dict(theirs.state_dict())
    return Pair(name, ours, theirs)


def test_all_that_torchvision_has_are_compared():
    assert set(BOTH) == {
        "deeplabv3_mobilenet_v3_large",
        "deeplabv3_resnet50",
        "deeplabv3_resnet101",
        "fcn_resnet50",
        "fcn_resnet101",
    }


def test_state_dicts_have_the_same_keys_and_shapes_in_the_same_order(pair: Pair):
    ours, theirs = ({k: t.shape for k, t in model.state_dict().items()} for model in (pair.ours, pair.theirs))
    assert list(ours.items()) == list(theirs.items())
    pair.theirs.load_state_dict(pair.ours.state_dict())


@pytest.mark.parametrize(("height", "width"), [(65, 71), (128, 96)])
def test_the_answers_are_torchvisions(pair: Pair, height: int, width: int):
    image = photos(2, height, width)
    with torch.no_grad():
        ours, theirs = pair.ours.eval()(image), pair.theirs.eval()(image)["out"]
    assert ours.shape == theirs.shape == (2, 21, height, width)
    assert theirs.std() > 1e-3
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_training_gives_torchvisions_two_answers_and_gradients(pair: Pair):
    image, gradients = photos(2, 65, 71), []
    before = {key: tensor.clone() for key, tensor in pair.theirs.state_dict().items()}
    answers = []
    for model in (pair.ours, pair.theirs):
        torch.manual_seed(3)  # dropout
        model.zero_grad()
        answer = model.train()(image)
        out, aux = answer if isinstance(answer, WithAuxiliary) else (answer["out"], answer["aux"])
        (out.square().mean() + 0.4 * aux.square().mean()).backward()
        gradients.append({key: parameter.grad for key, parameter in model.named_parameters()})
        answers.append((out.detach(), aux.detach()))
    for ours, theirs in zip(*answers, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))
    scale = max(float(gradient.abs().max()) for gradient in gradients[1].values())
    for key, gradient in gradients[1].items():
        assert torch.allclose(gradients[0][key], gradient, rtol=1e-2, atol=1e-5 * scale), key
    for key, tensor in pair.theirs.state_dict().items():  # and keeps the same statistics
        assert torch.allclose(pair.ours.state_dict()[key].float(), tensor.float(), rtol=1e-4, atol=1e-5), key
    for model in (pair.ours, pair.theirs):
        model.zero_grad()
        model.load_state_dict(before)


def test_the_number_of_parameters_is_the_one_that_torchvision_publishes(pair: Pair):
    """In the metadata of its weights: 35,322,218 of fcn_resnet50, 42,004,074 of deeplabv3_resnet50, and so on."""
    published = get_model_weights(pair.name)["COCO_WITH_VOC_LABELS_V1"].meta["num_params"]
    assert parameters_of(pair.ours) == published
