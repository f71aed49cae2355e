"""What every architecture of the registry promises."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from networks import CLASSES, logits_of, loss_of, photos, scenes, seeded, settled
from pixelwise.acceleration import channels_last, run_depthwise_in_float32
from pixelwise.models import WithAuxiliary, names

# FCN as published takes a hundred pixels around the photo and careful learning rates, both for minutes.
EASY: dict[str, dict[str, Any]] = {
    name: {"same_padding": True, "batch_norm": True} for name in ("fcn32s", "fcn16s", "fcn8s")
}


@pytest.fixture(scope="module", params=names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> Iterator[nn.Module]:
    """In eval mode, as if trained; not to be changed."""
    yield settled(seeded(name))
    gc.collect()


def targets(batch: int, height: int, width: int) -> Tensor:
    return torch.randint(0, CLASSES, (batch, height, width), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (33, 64), (65, 71), (513, 513)])
def test_logits_have_the_size_of_the_photo(model: nn.Module, height: int, width: int):
    with torch.no_grad():
        logits = model(photos(1, height, width))
    assert logits.shape == (1, CLASSES, height, width)
    assert logits.isfinite().all()


def test_the_answer_depends_on_the_photo_and_differs_between_classes(model: nn.Module):
    with torch.no_grad():
        one, other = model(scenes(1, 64, 64)), model(scenes(1, 64, 64, seed=5))
    assert not torch.allclose(one, other)
    assert one.std(dim=1).min() > 0


def test_padding_to_the_size_multiple_is_what_the_network_does_itself(model: nn.Module):
    multiple = model.size_multiple
    assert isinstance(multiple, int)
    image = photos(1, multiple + 1, 2 * multiple)
    with torch.no_grad():
        whole = model(F.pad(image, (0, 0, 0, multiple - 1)))
        assert torch.equal(model(image), whole[:, :, : multiple + 1])


def test_a_batch_of_one_trains(name: str):
    model = seeded(name).train()
    answer = model(photos(1, 65, 71))
    for logits in answer if isinstance(answer, WithAuxiliary) else (answer,):
        assert logits.shape == (1, CLASSES, 65, 71)
        assert logits.isfinite().all()
    loss_of(answer, targets(1, 65, 71)).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_every_parameter_gets_a_gradient(name: str):
    model = seeded(name).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):  # FCN's scores start at zero, and nothing before them learns in the first step
        optimizer.zero_grad()
        loss_of(model(photos(2, 64, 64)), targets(2, 64, 64)).backward()
        optimizer.step()
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
        answers.append(logits_of(model.train()(photos(2, 64, 64))))
    assert torch.equal(answers[0], answers[1])


def test_the_answer_for_a_batch_is_the_answers_one_by_one(model: nn.Module):
    images = scenes(3, 40, 52)
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
        answer = model(photos(2, 64, 64))
    assert logits_of(answer).dtype == torch.bfloat16
    loss_of(answer, targets(2, 64, 64)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_channels_last_changes_the_layout_and_not_the_answer(name: str, model: nn.Module):
    laid_out = channels_last(seeded(name, 1))
    laid_out.load_state_dict(model.state_dict())
    image = scenes(2, 40, 52)
    with torch.no_grad():
        expected = model(image)
        answer = laid_out.eval()(image.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(answer, expected, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.slow
def test_compiles_as_one_graph(model: nn.Module):
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)  # aot_eager: needs no C++ compiler
    image = photos(1, 65, 71)
    with torch.no_grad():
        expected = model(image)
        assert torch.allclose(compiled(image), expected, atol=1e-5 * float(expected.abs().max()))
    torch.compiler.reset()


@pytest.mark.slow
def test_learns_one_batch_by_heart(name: str):
    model = seeded(name, **EASY.get(name, {})).train()
    for part in model.modules():
        if isinstance(part, nn.Dropout | nn.Dropout2d):
            part.p = 0.0
    generator = torch.Generator().manual_seed(3)
    target = (torch.arange(8) % CLASSES).view(2, 2, 2).repeat_interleave(32, 1).repeat_interleave(32, 2)
    colours = torch.randn(CLASSES, 3, generator=generator)
    images = colours[target].permute(0, 3, 1, 2) + 0.3 * photos(2, 64, 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    right = 0.0
    for _ in range(80):
        answer = model(images)
        right = float((logits_of(answer).argmax(1) == target).float().mean())
        if right > 0.95:
            break
        optimizer.zero_grad()
        loss_of(answer, target).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    assert right > 0.95
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):  # and bf16 hardly changes what was learned
        roughly = float((logits_of(model(images)).argmax(1) == target).float().mean())
    assert roughly > 0.9
