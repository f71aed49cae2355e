from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pixelwise.losses import (
    CombinedLoss,
    cross_entropy_loss,
    focal_loss,
    lovasz_softmax_loss,
    ohem_cross_entropy_loss,
    soft_dice_loss,
)

Loss = Callable[..., Tensor]
WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 1.25, 1.0])
LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy_loss,
    "dice": soft_dice_loss,
    "focal": focal_loss,
    "focal, gamma 0.5": partial(focal_loss, gamma=0.5),
    "lovasz": lovasz_softmax_loss,
    "ohem": partial(ohem_cross_entropy_loss, threshold=1.0),  # the threshold has tests of its own
}
WEIGHTED: dict[str, Loss] = {
    "cross-entropy": cross_entropy_loss,
    "smoothed cross-entropy": partial(cross_entropy_loss, label_smoothing=0.1),
    "focal": focal_loss,
    "ohem": ohem_cross_entropy_loss,
}
every = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
every_weighted = pytest.mark.parametrize("loss", WEIGHTED.values(), ids=WEIGHTED.keys())


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


def naive_cross_entropy(
    logits: Tensor, target: Tensor, ignore_index: int = 255, weights: Tensor | None = None, smoothing: float = 0.0
) -> float:
    pixels = labelled_pixels(logits, target, ignore_index)
    w = [1.0] * logits.shape[1] if weights is None else weights.tolist()
    total = 0.0
    for p, label in pixels:
        total += (1 - smoothing) * w[label] * -math.log(p[label])
        total += smoothing / len(p) * sum(w[c] * -math.log(p[c]) for c in range(len(p)))
    return total / sum(w[label] for _, label in pixels)


def naive_focal(
    logits: Tensor, target: Tensor, ignore_index: int = 255, gamma: float = 2.0, weights: Tensor | None = None
) -> float:
    pixels = labelled_pixels(logits, target, ignore_index)
    w = [1.0] * logits.shape[1] if weights is None else weights.tolist()
    total = sum(-w[label] * (1 - p[label]) ** gamma * math.log(p[label]) for p, label in pixels)
    return total / sum(w[label] for _, label in pixels)


def naive_lovasz(logits: Tensor, target: Tensor, ignore_index: int = 255) -> float:
    """By the definition: the Lovász extension of the set function |M| / |Y u M| of the pixels M that are wrong."""
    pixels = labelled_pixels(logits, target, ignore_index)
    losses = []
    for c in sorted({label for _, label in pixels}):
        truth = {i for i, (_, label) in enumerate(pixels) if label == c}
        errors = [1 - p[c] if label == c else p[c] for p, label in pixels]
        wrong: set[int] = set()
        loss = before = 0.0
        for i in sorted(range(len(pixels)), key=lambda i: -errors[i]):
            wrong = wrong | {i}
            after = len(wrong) / len(wrong | truth)
            loss += errors[i] * (after - before)
            before = after
        losses.append(loss)
    return sum(losses) / len(losses)


def naive_ohem(
    logits: Tensor,
    target: Tensor,
    ignore_index: int = 255,
    threshold: float = 0.7,
    min_share: float = 1 / 16,
    weights: Tensor | None = None,
) -> float:
    w = [1.0] * logits.shape[1] if weights is None else weights.tolist()
    pixels = sorted((p[label], w[label]) for p, label in labelled_pixels(logits, target, ignore_index))
    kept = [(p, weight) for i, (p, weight) in enumerate(pixels) if p < threshold or i < min_share * len(pixels)]
    return sum(-weight * math.log(p) for p, weight in kept) / sum(weight for _, weight in kept)


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


@pytest.mark.parametrize(
    ("loss", "naive"),
    [
        (cross_entropy_loss, naive_cross_entropy),
        (soft_dice_loss, naive_dice),
        (focal_loss, naive_focal),
        (lovasz_softmax_loss, naive_lovasz),
        (ohem_cross_entropy_loss, naive_ohem),
    ],
)
def test_agrees_with_a_formula_over_single_pixels(loss: Loss, naive: Callable[..., float], case: tuple[Tensor, Tensor]):
    assert loss(*case).item() == pytest.approx(naive(*case), rel=1e-5)
    logits, target = case
    other = torch.where(target == 255, 4, target)
    assert loss(logits, other, ignore_index=4).item() == pytest.approx(naive(logits, other, 4), rel=1e-5)


def test_dice_agrees_with_a_formula_for_another_smoothing(case: tuple[Tensor, Tensor]):
    assert soft_dice_loss(*case, smooth=0.1).item() == pytest.approx(naive_dice(*case, smooth=0.1), rel=1e-5)


def test_dice_of_millions_of_pixels_loses_none_of_them():
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(4, 1024, 1024, generator=generator) < 0.05).long()
    logits = 0.3 * torch.randn(4, 2, 1024, 1024, generator=generator)
    logits[:, 0] += 1.5  # the background, of which there is most, is mostly right
    exact = soft_dice_loss(logits.double(), target).item()
    assert soft_dice_loss(logits, target).item() == pytest.approx(exact, rel=1e-4)


@every
def test_a_sure_right_answer_costs_nothing_and_a_sure_wrong_one_much(loss: Loss):
    target = torch.tensor([[[0, 1], [2, 255]]])
    right = 100 * torch.nn.functional.one_hot(target % 255, 3).permute(0, 3, 1, 2).float()
    assert loss(right, target).item() == pytest.approx(0, abs=1e-6)
    assert loss(-right, target).item() > 0.3


@every
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


@every
def test_is_exactly_zero_with_a_zero_gradient_when_every_pixel_is_ignored(loss: Loss):
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    value = loss(logits, torch.full((2, 4, 4), 255))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@every
def test_does_not_depend_on_where_the_pixels_are(loss: Loss, case: tuple[Tensor, Tensor]):
    logits, target = case
    value = loss(logits, target).item()
    assert loss(logits.flip(3), target.flip(2)).item() == pytest.approx(value, rel=1e-5)
    assert loss(logits.flip(0), target.flip(0)).item() == pytest.approx(value, rel=1e-5)


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_counts_in_float32_whatever_the_logits_are(loss: Loss, dtype: torch.dtype, case: tuple[Tensor, Tensor]):
    logits, target = case
    value = loss(logits.to(dtype), target)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(logits.to(dtype).float(), target).item(), rel=1e-6)


@every
def test_is_finite_with_finite_gradients_for_extreme_logits(loss: Loss, case: tuple[Tensor, Tensor]):
    logits, target = case
    for extreme in (1e4 * logits.sign(), 1e4 * logits.sign().half(), torch.zeros_like(logits)):
        extreme.requires_grad_()
        value = loss(extreme, target)
        value.backward()
        assert torch.isfinite(value)
        assert value.item() >= 0
        assert extreme.grad is not None
        assert torch.isfinite(extreme.grad).all()


@every
def test_the_gradient_is_that_of_the_value(loss: Loss, case: tuple[Tensor, Tensor]):
    logits, target = (part[:1, ..., :2, :4] for part in case)
    assert 0 < (target == 255).sum() < target.numel()
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits.double().requires_grad_())


@every
@pytest.mark.parametrize(
    ("logits", "target"),
    [((2, 3, 4, 5), (2, 5, 4)), ((2, 3, 4, 5), (1, 4, 5)), ((3, 4, 5), (4, 5)), ((2, 3, 4, 5), (2, 1, 4, 5))],
)
def test_names_both_shapes_when_they_disagree(loss: Loss, logits: tuple[int, ...], target: tuple[int, ...]):
    with pytest.raises(ValueError, match="logits are") as caught:
        loss(torch.zeros(logits), torch.zeros(target, dtype=torch.long))
    assert str(logits) in str(caught.value)
    assert str(target) in str(caught.value)


def earlier_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy plus half of Dice as the shipped model was trained with, operation by operation."""
    labelled = target != 255
    cross_entropy = F.cross_entropy(logits.float(), target, ignore_index=255, reduction="sum")
    probabilities = logits.float().softmax(dim=1) * labelled.unsqueeze(1)
    safe = torch.where(labelled, target, 0).unsqueeze(1)
    hit = probabilities.gather(1, safe).flatten()
    overlap = torch.zeros(logits.shape[1]).index_add(0, safe.flatten(), hit)
    count = torch.zeros(logits.shape[1]).index_add(0, safe.flatten(), labelled.flatten().float())
    dice = (2 * overlap + 1.0) / (probabilities.sum(dim=(0, 2, 3)) + count + 1.0)
    present = count > 0
    dice_loss = ((1 - dice) * present).sum() / present.sum().clamp(min=1)
    return 1.0 * (cross_entropy / labelled.sum().clamp(min=1)) + 0.5 * dice_loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_shipped_recipes_loss_and_gradient_are_the_same_to_the_last_bit(dtype: torch.dtype):
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(0, 7, (3, 31, 29), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.2] = 255
    logits = (4 * torch.randn(3, 7, 31, 29, generator=generator)).to(dtype)
    old, new = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    expected, value = earlier_loss(old, target), CombinedLoss(cross_entropy=1.0, dice=0.5)(new, target)
    assert value.item() == expected.item()
    expected.backward()
    value.backward()
    assert old.grad is not None
    assert new.grad is not None
    assert torch.equal(old.grad, new.grad)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_weighted_and_smoothed_cross_entropy(weights: Tensor | None, smoothing: float, case: tuple[Tensor, Tensor]):
    value = cross_entropy_loss(*case, class_weights=weights, label_smoothing=smoothing).item()
    assert value == pytest.approx(naive_cross_entropy(*case, weights=weights, smoothing=smoothing), rel=1e-5)
    of_torch = F.cross_entropy(*case, weight=weights, ignore_index=255, label_smoothing=smoothing)
    assert value == pytest.approx(of_torch.item(), rel=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.5])
def test_weighted_focal_loss(weights: Tensor | None, gamma: float, case: tuple[Tensor, Tensor]):
    value = focal_loss(*case, gamma=gamma, class_weights=weights).item()
    assert value == pytest.approx(naive_focal(*case, gamma=gamma, weights=weights), rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("threshold", "share"), [(0.7, 1 / 16), (0.2, 0.5), (0.0, 0.1), (1.0, 0.0), (0.3, 1.0)])
def test_weighted_ohem(weights: Tensor | None, threshold: float, share: float, case: tuple[Tensor, Tensor]):
    value = ohem_cross_entropy_loss(*case, threshold=threshold, min_share=share, class_weights=weights).item()
    assert value == pytest.approx(naive_ohem(*case, 255, threshold, share, weights), rel=1e-5)


def test_focal_loss_of_a_case_by_hand():
    expected = (2 * (1 / 4) ** 2 * math.log(4 / 3) + (3 / 4) ** 2 * math.log(4)) / 3
    assert focal_loss(*two_by_two()).item() == pytest.approx(expected)


def test_ohem_of_a_case_by_hand():
    """The truth has probabilities 3/4, 3/4, 1/4: by the threshold the last is hard; by the share the others too."""
    loss = partial(ohem_cross_entropy_loss, *two_by_two())
    assert loss().item() == pytest.approx(math.log(4))
    mean = (2 * math.log(4 / 3) + math.log(4)) / 3
    assert loss(threshold=0.8).item() == pytest.approx(mean)
    assert loss(min_share=1 / 3).item() == pytest.approx(math.log(4))
    assert loss(min_share=0.4).item() == pytest.approx(mean)  # two of three, and what is as hard as the second
    assert loss(threshold=0.2, min_share=0.0).item() == 0


def test_ohem_has_no_gradient_where_it_is_easy(case: tuple[Tensor, Tensor]):
    logits, target = case[0].clone().requires_grad_(), case[1]
    ohem_cross_entropy_loss(logits, target, threshold=0.5, min_share=0.0).backward()
    easy = logits.softmax(1).gather(1, (target % 255).unsqueeze(1)).squeeze(1) >= 0.5
    assert logits.grad is not None
    touched = logits.grad.abs().sum(1) > 0
    assert torch.equal(touched, ~easy & (target != 255))
    assert touched.any()


def test_lovasz_of_sure_answers_is_one_minus_the_mean_iou(case: tuple[Tensor, Tensor]):
    answer, target = case[0].argmax(1), case[1]
    labelled = target != 255
    ious = []
    for c in target[labelled].unique():
        ours, truth = (answer == c) & labelled, target == c
        ious.append(((ours & truth).sum() / (ours | truth).sum()).item())
    sure = 1e3 * F.one_hot(answer, 5).permute(0, 3, 1, 2).float()
    assert lovasz_softmax_loss(sure, target).item() == pytest.approx(1 - sum(ious) / len(ious), rel=1e-5)


def test_a_binary_focal_loss_and_lovasz_agree_with_segmentation_models_pytorch(case: tuple[Tensor, Tensor]):
    """Its focal loss of several classes is another: a sigmoid for each class, and the mean over classes."""
    peers = pytest.importorskip("segmentation_models_pytorch").losses
    logits, target = case
    of_peer = peers.LovaszLoss("multiclass", ignore_index=255)(logits, target)
    assert lovasz_softmax_loss(logits, target).item() == pytest.approx(of_peer.item(), rel=1e-5)
    binary = torch.where(target == 255, 255, target % 2)
    of_peer = peers.FocalLoss("binary", gamma=1.5, ignore_index=255)(logits[:, 1] - logits[:, 0], binary)
    assert focal_loss(logits[:, :2], binary, gamma=1.5).item() == pytest.approx(of_peer.item(), rel=1e-5)


@every_weighted
def test_only_the_ratios_of_class_weights_count(loss: Loss, case: tuple[Tensor, Tensor]):
    plain = loss(*case).item()
    assert loss(*case, class_weights=torch.full((5,), 3.0)).item() == pytest.approx(plain, rel=1e-5)
    weighted = loss(*case, class_weights=WEIGHTS).item()
    assert loss(*case, class_weights=7 * WEIGHTS).item() == pytest.approx(weighted, rel=1e-5)
    assert weighted != pytest.approx(plain, rel=1e-3)


@every_weighted
def test_is_exactly_zero_when_no_class_that_is_there_has_a_weight(loss: Loss, case: tuple[Tensor, Tensor]):
    logits = case[0].clone().requires_grad_()
    value = loss(logits, case[1], class_weights=torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@every_weighted
def test_names_both_shapes_when_the_class_weights_are_not_one_a_class(loss: Loss, case: tuple[Tensor, Tensor]):
    with pytest.raises(ValueError, match=r"class weights are \(4,\), logits are \(2, 5, 6, 7\)"):
        loss(*case, class_weights=torch.ones(4))


def test_the_sum_of_all_losses(case: tuple[Tensor, Tensor]):
    combined = CombinedLoss(
        cross_entropy=0.5,
        dice=2.0,
        focal=3.0,
        lovasz=5.0,
        ohem=7.0,
        class_weights=WEIGHTS,
        label_smoothing=0.1,
        focal_gamma=1.0,
        ohem_threshold=0.4,
        ohem_min_share=0.3,
    )
    expected = (
        0.5 * naive_cross_entropy(*case, weights=WEIGHTS, smoothing=0.1)
        + 2 * naive_dice(*case)
        + 3 * naive_focal(*case, gamma=1.0, weights=WEIGHTS)
        + 5 * naive_lovasz(*case)
        + 7 * naive_ohem(*case, threshold=0.4, min_share=0.3, weights=WEIGHTS)
    )
    assert combined(*case).item() == pytest.approx(expected, rel=1e-5)


def test_the_sum_honours_its_ignore_index(case: tuple[Tensor, Tensor]):
    logits, target = case
    weights = dict.fromkeys(("dice", "focal", "lovasz", "ohem"), 1.0)
    other = CombinedLoss(**weights, ignore_index=4)(logits, torch.where(target == 255, 4, target))
    assert other.item() == CombinedLoss(**weights)(logits, target).item()


@pytest.mark.parametrize("name", ["cross_entropy", "dice", "focal", "lovasz", "ohem"])
def test_a_loss_of_weight_zero_is_not_computed(name: str, case: tuple[Tensor, Tensor]):
    """Wrong class weights are an error where they are looked at, and only there."""
    weights = {"cross_entropy": 0.0, name: 1.0}
    combined = CombinedLoss(**weights, class_weights=torch.ones(4))
    if name in ("dice", "lovasz"):
        assert combined(*case).item() > 0
    else:
        with pytest.raises(ValueError, match="class weights"):
            combined(*case)


def test_a_sum_without_any_weight_is_refused():
    with pytest.raises(ValueError, match="every loss has weight 0"):
        CombinedLoss(cross_entropy=0.0)
