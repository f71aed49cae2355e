"""What every architecture of the registry promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pixelwise.acceleration import run_depthwise_in_float32
from pixelwise.losses import cross_entropy_loss
from pixelwise.models import build, names

CLASSES = 5


def seeded(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build(name, num_classes=CLASSES)


@pytest.fixture(scope="module", params=names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> nn.Module:
    """In eval mode, with batch statistics of a few photos rather than those of none; not to be changed."""
    model = seeded(name)
    with torch.no_grad():
        for seed in range(3):
            model.train()(photos(4, 64, 64, seed=seed))
    return model.eval()


def photos(batch: int, height: int, width: int, *, seed: int = 1) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (33, 64), (65, 71)])
def test_logits_have_the_size_of_the_photo(model: nn.Module, height: int, width: int):
    with torch.no_grad():
        logits = model(photos(1, height, width))
    assert logits.shape == (1, CLASSES, height, width)
    assert logits.isfinite().all()


def test_padding_to_the_size_multiple_is_what_the_network_does_itself(model: nn.Module):
    multiple = model.size_multiple
    assert isinstance(multiple, int)
    image = photos(1, multiple + 1, 2 * multiple)
    with torch.no_grad():
        whole = model(F.pad(image, (0, 0, 0, multiple - 1)))
        assert torch.equal(model(image), whole[:, :, : multiple + 1])


def test_every_parameter_gets_a_gradient(name: str):
    model = seeded(name).train()
    target = torch.randint(0, CLASSES, (2, 64, 64), generator=torch.Generator().manual_seed(2))
    cross_entropy_loss(model(photos(2, 64, 64)), target).backward()
    without = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_weights_and_answers_are_functions_of_the_seed(name: str):
    first, again, other = seeded(name), seeded(name), seeded(name, 1)
    states = [model.state_dict() for model in (first, again, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])
    answers = []
    for model in (first, again):
        torch.manual_seed(7)  # dropout
        answers.append(model.train()(photos(2, 64, 64)))
    assert torch.equal(answers[0], answers[1])


def test_the_answer_for_a_batch_is_the_answers_one_by_one(model: nn.Module):
    images = photos(3, 40, 52)
    with torch.no_grad():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-4 * float(together.abs().max()))


def test_saved_weights_give_the_same_answer_bit_for_bit(name: str, model: nn.Module, tmp_path: Path):
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other = seeded(name, 1).eval()
    image = photos(1, 65, 71)
    with torch.no_grad():
        assert not torch.equal(other(image), model(image))
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        assert torch.equal(other(image), model(image))


def test_runs_in_bf16_autocast_forward_and_backward(name: str):
    model = seeded(name).train()
    run_depthwise_in_float32(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(photos(2, 64, 64))
    assert logits.dtype == torch.bfloat16
    cross_entropy_loss(logits, torch.zeros(2, 64, 64, dtype=torch.long)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_bf16_autocast_hardly_changes_the_answer(model: nn.Module):
    image = photos(1, 64, 64)
    with torch.no_grad():
        exact = model(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(image).float()
    assert (rough - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.slow
def test_learns_one_batch_by_heart(name: str):
    model = seeded(name).train()
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(0, CLASSES, (4, 2, 2), generator=generator).repeat_interleave(32, 1).repeat_interleave(32, 2)
    colours = torch.randn(CLASSES, 3, generator=generator)
    images = colours[target].permute(0, 3, 1, 2) + 0.3 * photos(4, 64, 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(40):
        loss = cross_entropy_loss(model(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = (model(images).argmax(1) == target).float().mean()
    assert right > 0.95
