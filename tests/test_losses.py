from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pixelwise.losses import cross_entropy_loss, soft_dice_loss

Loss = Callable[..., Tensor]
both = pytest.mark.parametrize("loss", [cross_entropy_loss, soft_dice_loss])


@pytest.fixture
def case() -> tuple[Tensor, Tensor]:
    """Random logits (2, 5, 6, 7) and targets in which a third of the pixels is ignored and class 4 does not come."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 5, 6, 7, generator=generator)
    target = torch.randint(0, 4, (2, 6, 7), generator=generator)
    target[torch.rand(2, 6, 7, generator=generator) < 1 / 3] = 255
    return logits, target


def two_by_two() -> tuple[Tensor, Tensor]:
    """Class 1 has the probability 3/4 everywhere; one pixel is ignored."""
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 1] = math.log(3)
    return logits, torch.tensor([[[1, 1], [0, 255]]])


def softmax(scores: list[float]) -> list[float]:
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def labelled_pixels(logits: Tensor, target: Tensor, ignore_index: int) -> list[tuple[list[float], int]]:
    """(probabilities, class) of every pixel that counts."""
    scores = logits.permute(0, 2, 3, 1).reshape(-1, logits.shape[1]).tolist()
    pairs = zip(scores, target.flatten().tolist(), strict=True)
    return [(softmax(score), label) for score, label in pairs if label != ignore_index]


def naive_cross_entropy(logits: Tensor, target: Tensor, ignore_index: int = 255) -> float:
    pixels = labelled_pixels(logits, target, ignore_index)
    return sum(-math.log(p[label]) for p, label in pixels) / len(pixels)


def naive_dice(logits: Tensor, target: Tensor, ignore_index: int = 255, smooth: float = 1.0) -> float:
    pixels = labelled_pixels(logits, target, ignore_index)
    losses = []
    for c in sorted({label for _, label in pixels}):
        overlap = sum(p[c] for p, label in pixels if label == c)
        predicted, true = sum(p[c] for p, _ in pixels), sum(label == c for _, label in pixels)
        losses.append(1 - (2 * overlap + smooth) / (predicted + true + smooth))
    return sum(losses) / len(losses)


def test_cross_entropy_of_a_case_by_hand():
    assert cross_entropy_loss(*two_by_two()).item() == pytest.approx((2 * math.log(4 / 3) + math.log(4)) / 3)


def test_dice_of_a_case_by_hand():
    of_class_0 = (2 * 0.25 + 1) / (0.75 + 1 + 1)
    of_class_1 = (2 * 1.5 + 1) / (2.25 + 2 + 1)
    assert soft_dice_loss(*two_by_two()).item() == pytest.approx(1 - (of_class_0 + of_class_1) / 2)


@pytest.mark.parametrize(("loss", "naive"), [(cross_entropy_loss, naive_cross_entropy), (soft_dice_loss, naive_dice)])
def test_agrees_with_a_formula_over_single_pixels(loss: Loss, naive: Callable[..., float], case: tuple[Tensor, Tensor]):
    assert loss(*case).item() == pytest.approx(naive(*case), rel=1e-5)
    logits, target = case
    other = torch.where(target == 255, 4, target)
    assert loss(logits, other, ignore_index=4).item() == pytest.approx(naive(logits, other, 4), rel=1e-5)


def test_dice_agrees_with_a_formula_for_another_smoothing(case: tuple[Tensor, Tensor]):
    assert soft_dice_loss(*case, smooth=0.1).item() == pytest.approx(naive_dice(*case, smooth=0.1), rel=1e-5)


@both
def test_a_sure_right_answer_costs_nothing_and_a_sure_wrong_one_much(loss: Loss):
    target = torch.tensor([[[0, 1], [2, 255]]])
    right = 100 * torch.nn.functional.one_hot(target % 255, 3).permute(0, 3, 1, 2).float()
    assert loss(right, target).item() == pytest.approx(0, abs=1e-6)
    assert loss(-right, target).item() > 0.3


@both
def test_ignored_pixels_are_inert(loss: Loss, case: tuple[Tensor, Tensor]):
    logits, target = case
    ignored = (target == 255).unsqueeze(1).expand_as(logits)
    changed = torch.where(ignored, -7 * logits + 2, logits).requires_grad_()
    value = loss(changed, target)
    assert value.item() == loss(logits, target).item()
    value.backward()
    assert changed.grad is not None
    assert changed.grad[ignored].abs().max() == 0
    assert (changed.grad[~ignored] != 0).all()


@both
def test_is_exactly_zero_with_a_zero_gradient_when_every_pixel_is_ignored(loss: Loss):
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    value = loss(logits, torch.full((2, 4, 4), 255))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@both
def test_does_not_depend_on_where_the_pixels_are(loss: Loss, case: tuple[Tensor, Tensor]):
    logits, target = case
    assert loss(logits.flip(3), target.flip(2)).item() == pytest.approx(loss(logits, target).item(), rel=1e-5)


@both
def test_counts_in_float32_whatever_the_logits_are(loss: Loss, case: tuple[Tensor, Tensor]):
    logits, target = case
    value = loss(logits.bfloat16(), target)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(logits.bfloat16().float(), target).item(), rel=1e-6)


@both
@pytest.mark.parametrize(
    ("logits", "target"),
    [((2, 3, 4, 5), (2, 5, 4)), ((2, 3, 4, 5), (1, 4, 5)), ((3, 4, 5), (4, 5)), ((2, 3, 4, 5), (2, 1, 4, 5))],
)
def test_names_both_shapes_when_they_disagree(loss: Loss, logits: tuple[int, ...], target: tuple[int, ...]):
    with pytest.raises(ValueError, match="logits are") as caught:
        loss(torch.zeros(logits), torch.zeros(target, dtype=torch.long))
    assert str(logits) in str(caught.value)
    assert str(target) in str(caught.value)
