"""What the tests of the architectures share: seeded networks, photos, and the loss of what a network gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import Bottleneck

from pixelwise.losses import cross_entropy_loss
from pixelwise.models import WithAuxiliary, build

CLASSES = 5

# fc6 and fc7 of FCN hold 120 of its 134 million weights; what is tested does not depend on how wide they are.
SMALL: dict[str, dict[str, Any]] = {
    "fcn32s": {"width": 64},
    "fcn16s": {"width": 64},
    "fcn8s": {"width": 64},
    "unet2015": {"width": 16},
}


def photos(batch: int, height: int, width: int, *, seed: int = 1) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def scenes(batch: int, height: int, width: int, *, seed: int = 1) -> Tensor:
    """Blobs and a little noise: deep networks answer pure noise with nearly the same everywhere."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 2 * torch.randn(batch, 3, height // 12 + 2, width // 12 + 2, generator=generator)
    blobs = F.interpolate(coarse, size=(height, width), mode="bilinear")
    return blobs + 0.2 * torch.randn(batch, 3, height, width, generator=generator)


def seeded(name: str, seed: int = 0, *, num_classes: int = CLASSES, **more: Any) -> nn.Module:
    """A small form of an architecture, in training mode."""
    torch.manual_seed(seed)
    return build(name, num_classes=num_classes, arguments_given=SMALL.get(name, {}) | more)


def settled(model: nn.Module) -> nn.Module:
    """In evaluation mode, as if it had been trained.

    With batch statistics of some photos, no layer left at zero, no class that is chosen everywhere, and residual
    branches that change little, as fresh ones, dozens of them, make much of a rounding error.
    """
    torch.manual_seed(11)
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for part in model.modules():
        if isinstance(part, nn.Conv2d) and not part.weight.any():  # FCN's scores, which would all be equal
            nn.init.normal_(part.weight, std=0.05)
        if isinstance(part, Bottleneck):
            nn.init.constant_(part.bn3.weight, 0.2)
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = None  # the mean over all that is seen
        with torch.no_grad():
            model.train()(scenes(4, 64, 64, seed=9))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    with torch.no_grad():
        mean = model.eval()(scenes(2, 64, 64, seed=10)).mean(dim=(0, 2, 3))
        for bias in _biases_of_scores(model, len(mean))[-1:]:
            bias -= mean
    return model


def _biases_of_scores(model: nn.Module, classes: int) -> list[Tensor]:
    """Of the convolutions that give the classes; FCN's coarsest only, as interpolation has no bias."""
    return [
        part.bias
        for name, part in model.named_modules()
        if isinstance(part, nn.Conv2d) and part.out_channels == classes and part.bias is not None
        if not name.startswith(("aux_classifier.", "score_pool"))
    ]


def loss_of(answer: Tensor | WithAuxiliary, target: Tensor) -> Tensor:
    if isinstance(answer, WithAuxiliary):
        return cross_entropy_loss(answer.logits, target) + 0.4 * cross_entropy_loss(answer.auxiliary, target)
    return cross_entropy_loss(answer, target)


def logits_of(answer: Tensor | WithAuxiliary) -> Tensor:
    return answer.logits if isinstance(answer, WithAuxiliary) else answer


def parameters_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy that does not follow the module."""
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def same_states(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
