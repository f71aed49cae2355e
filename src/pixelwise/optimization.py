"""What is trained, at which rate: frozen parts, groups of parameters, running statistics, the rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pixelwise.errors import RecipeError, did_you_mean
from pixelwise.recipe import Optimizer, Schedule

ENCODERS = ("encoder", "backbone")
"""What networks call the part of them that starts from pretrained weights."""

RISE, FIRST_RATE, LAST_RATE = 0.3, 1 / 25, 1 / 25 / 1e4
"""Of "one_cycle": share of the steps that the rate rises, and shares of the peak at the start and the end."""

BATCH_NORM_MOMENTUM = 0.1
"""How much of a batch goes into the running statistics of batch normalisation, at least; torch's own default."""


def freeze(module: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Keep submodules as they are: no gradients, and batch statistics that are used and not updated.

    Args:
        module: changed in place.
        names: of submodules, such as "encoder.conv_stem".

    Returns:
        the submodules, in `eval` mode. Whoever calls `train` on the module calls `eval` on them again after that.

    Raises:
        RecipeError: the module has no such submodule; the message names those it has.
    """
    frozen = [_submodule(module, name) for name in names]
    for part in frozen:
        part.requires_grad_(False).eval()
    return frozen


def follow_batch_statistics(module: nn.Module) -> None:
    """Have the running statistics of batch normalisation follow within tens of steps, in place.

    torchvision's MobileNetV3 takes 0.01 of each batch, which suits its 600 epochs of ImageNet. After the 384 steps that
    48 photos get, each of its layers would still hold 2 % of the variance of 1 that it began with, many times that of
    the photos, and evaluation would be of another network than the one that learned: on examples/nuclei,
    deeplabv3_mobilenet_v3_large from random weights ends at a mean IoU of 0.46 (background alone) with 0.01, and of
    0.69 with 0.1; in training both reach 0.73.
    """
    for part in module.modules():
        if isinstance(part, _BatchNorm) and part.momentum is not None:
            part.momentum = max(part.momentum, BATCH_NORM_MOMENTUM)


def build_optimizer(module: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """The optimizer over all parameters that are not frozen.

    Matrices and kernels have weight decay, vectors (biases, normalisation) have none. What lies in `encoder` or
    `backbone` has a peak rate of its own, and with a layer decay d below 1, layer i of n of it has d^(n - 1 - i) of
    that: what early layers know serves any task and hardly changes. Layers are counted by `layers_of`.

    Args:
        module: the network, frozen parts frozen already.
        settings: of the recipe.

    Returns:
        AdamW or SGD. Each parameter group has its peak rate under "peak_lr"; its "lr" is 0 until the loop sets it to
        that times `learning_rate_factor`.

    Raises:
        RecipeError: every parameter is frozen.

    Source of the decay by layer: Howard and Ruder 2018, arXiv:1801.06146, section 3.2 (discriminative fine-tuning).
    """
    groups = _parameter_groups(module, settings)
    if not groups:
        raise RecipeError(
            "model.freeze names the whole network, so that nothing is left to train; take some of it out."
        )
    if settings.name == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum, nesterov=settings.nesterov)
    return torch.optim.AdamW(groups, betas=(0.9, 0.999))


def learning_rate_factor(step: int, *, steps: int, warmup_steps: int, schedule: Schedule, power: float = 0.9) -> float:
    """Share of the peak learning rate at a step: a linear rise over the warm-up, then the schedule.

    - "cosine": half a cosine down to zero. Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts.
    - "poly": (1 - share of the steps)^power. Chen et al. 2016, arXiv:1606.00915.
    - "one_cycle": half a cosine up from 1/25, over the first 30 % of the steps, then half a cosine down to 1/10000 of
      where it began; the warm-up does not apply. Smith and Topin 2017, arXiv:1708.07120, with the numbers and cosines
      that torch's `OneCycleLR` has by default. Departs: the momentum stays.
    - "constant": the peak.

    Args:
        step: from 0.
        steps: in all.
        warmup_steps: the last of them has the peak rate.
        schedule: see above.
        power: of "poly".

    Returns:
        0 to 1, a pure function of the arguments.
    """
    if schedule == "one_cycle":
        return _one_cycle(step, steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    if schedule == "poly":
        return float((1 - (step - warmup_steps) / max(1, steps - warmup_steps)) ** power)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def _one_cycle(step: int, steps: int) -> float:
    peak, last = RISE * steps - 1, steps - 1
    if step <= peak:
        return _half_cosine(FIRST_RATE, 1.0, step / peak)
    return _half_cosine(1.0, LAST_RATE, (step - peak) / (last - peak))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _parameter_groups(module: nn.Module, settings: Optimizer) -> list[dict[str, Any]]:
    """Parameters by distance of the encoder's layer from its end (None: not of the encoder), and by weight decay."""
    distances = _distances_from_the_end(module, settings)
    groups: dict[tuple[int | None, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((distances.get(name), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak_lr": settings.lr if distance is None else settings.encoder_lr * settings.layer_decay**distance,
            "lr": 0.0,
            "weight_decay": settings.weight_decay if decay else 0.0,
        }
        for (distance, decay), parameters in groups.items()
    ]


def _distances_from_the_end(module: nn.Module, settings: Optimizer) -> dict[str, int]:
    """For the name of each parameter of the encoder, how many layers come after its own; 0 where all learn alike."""
    distances = {}
    for encoder_name in ENCODERS:
        encoder = getattr(module, encoder_name, None)
        if not isinstance(encoder, nn.Module):
            continue
        layers = layers_of(encoder) if settings.layer_decay < 1 else []
        of_layer = {name: len(layers) - 1 - i for i, layer in enumerate(layers) for name in layer}
        first = max(0, len(layers) - 1)  # also for what stands in no layer, such as an embedding of positions
        for name, _ in encoder.named_parameters():
            distances[f"{encoder_name}.{name}"] = of_layer.get(name, first)
    return distances


def layers_of(encoder: nn.Module) -> list[list[str]]:
    """The layers of an encoder from the photo to the end, as far as the order of its submodules tells.

    A layer is a submodule, or each block where a submodule is a sequence of blocks; single operations that follow each
    other, such as the first convolution and its normalisation, are one layer together.

    Args:
        encoder: whose submodules stand in the order in which they are computed, as those of timm's and torchvision's
            networks do.

    Returns:
        the names of the parameters of each layer; none is empty.
    """
    layers: list[list[str]] = []
    single_before = False
    for name, part in _blocks(encoder):
        parameters = [f"{name}.{own}" for own, _ in part.named_parameters()]
        if not parameters:
            continue
        single = _is_single_operation(part)
        if single and single_before:
            layers[-1] += parameters
        else:
            layers.append(parameters)
        single_before = single
    return layers


def _blocks(encoder: nn.Module) -> list[tuple[str, nn.Module]]:
    """The submodules by name, with the blocks of numbered sequences of blocks in their place."""
    blocks: list[tuple[str, nn.Module]] = []
    for name, part in encoder.named_children():
        inner = list(part.named_children())
        numbered = all(key.isdecimal() for key, _ in inner)
        if inner and numbered and not all(_is_single_operation(block) for _, block in inner):
            blocks += [(f"{name}.{key}", block) for key, block in inner]
        else:
            blocks.append((name, part))
    return blocks


def _is_single_operation(part: nn.Module) -> bool:
    """Whether all parameters, if any, are the module's own: a convolution, a normalisation with its activation."""
    return all("." not in name for name, _ in part.named_parameters())


def _submodule(module: nn.Module, name: str) -> nn.Module:
    names = [part for part, _ in module.named_modules(remove_duplicate=False) if part]
    if name not in names:
        there = ", ".join(part for part in names if part.count(".") < 2)
        raise RecipeError(
            f"model.freeze names {name!r}, which the network lacks; {did_you_mean(name, names, f'it has: {there}.')}"
        )
    return module.get_submodule(name)
