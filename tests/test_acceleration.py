from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pixelwise.acceleration import channels_last, keep_freed_memory, run_depthwise_in_float32


class Shifted(nn.Conv2d):
    """A convolution with a forward of its own, as timm's with TensorFlow's padding."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


def network() -> nn.Sequential:
    """Dense, depthwise, depthwise with a forward of its own, grouped."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        Shifted(8, 8, 3, padding=1, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, groups=2),
    )


@pytest.fixture
def pair() -> tuple[nn.Sequential, nn.Sequential]:
    """The same network without and with the change."""
    plain, changed = network(), network()
    run_depthwise_in_float32(changed)
    return plain, changed


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(1))


def bf16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def types_of_outputs(module: nn.Sequential, x: Tensor) -> list[torch.dtype]:
    """The type of what each part gives; hooks rather than calls, as training goes through them."""
    types: list[torch.dtype] = []
    hooks = [part.register_forward_hook(lambda _, __, out: types.append(out.dtype)) for part in module]
    with bf16():
        module(x)
    for hook in hooks:
        hook.remove()
    return types


def test_the_answer_and_the_gradients_are_the_same_in_float32(pair: tuple[nn.Sequential, nn.Sequential], x: Tensor):
    for module in pair:
        module(x).square().sum().backward()
    assert torch.equal(pair[0](x), pair[1](x))
    for a, b in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


def test_only_depthwise_convolutions_run_in_float32_under_autocast(
    pair: tuple[nn.Sequential, nn.Sequential], x: Tensor
):
    dense, wide = torch.bfloat16, torch.float32
    assert types_of_outputs(pair[0], x) == [dense] * 4
    assert types_of_outputs(pair[1], x) == [dense, wide, wide, dense]


def test_a_depthwise_convolution_is_exact_under_autocast(x: Tensor):
    part = nn.Conv2d(3, 3, 3, groups=3)
    expected = part(x)
    with bf16():
        assert not torch.equal(part(x).float(), expected)
        run_depthwise_in_float32(nn.Sequential(part))
        assert torch.equal(part(x), expected)


def test_weights_keep_their_names_and_values(pair: tuple[nn.Sequential, nn.Sequential]):
    plain, changed = (module.state_dict() for module in pair)
    assert list(plain) == list(changed)
    assert all(torch.equal(plain[key], changed[key]) for key in plain)
    pair[1].load_state_dict(plain)


def zero(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)


def test_a_deep_copy_computes_with_its_own_weights(pair: tuple[nn.Sequential, nn.Sequential], x: Tensor):
    plain, original = pair
    twin = copy.deepcopy(original)
    assert torch.equal(twin(x), plain(x))
    zero(original)
    assert torch.equal(twin(x), plain(x))
    zero(plain)
    zero(twin)
    assert torch.equal(twin(x), plain(x))
    assert types_of_outputs(twin, x)[1:3] == [torch.float32] * 2


def test_a_deep_copy_sends_gradients_to_its_own_weights(pair: tuple[nn.Sequential, nn.Sequential], x: Tensor):
    _, original = pair
    twin = copy.deepcopy(original)
    twin(x).sum().backward()
    assert all(parameter.grad is None for parameter in original.parameters())
    assert all(parameter.grad is not None for parameter in twin.parameters())


def test_an_averaged_model_computes_with_the_average(pair: tuple[nn.Sequential, nn.Sequential], x: Tensor):
    plain, changed = pair
    averaged = AveragedModel(changed)
    averaged.update_parameters(changed)
    zero(changed)
    averaged.update_parameters(changed)  # now the mean of the weights and of nothing
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter /= 2
    assert torch.allclose(averaged(x), plain(x), atol=1e-6)


def test_doing_it_twice_is_the_same_as_once(pair: tuple[nn.Sequential, nn.Sequential], x: Tensor):
    run_depthwise_in_float32(pair[1])
    assert torch.equal(pair[1](x), pair[0](x))


def test_channels_last_changes_the_layout_and_not_the_answer(x: Tensor):
    plain, laid_out = network(), channels_last(network())
    weight = laid_out.get_parameter("0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(laid_out(x), plain(x), atol=1e-6)


def test_keeping_freed_memory_can_be_asked_for_anywhere(monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    monkeypatch.setattr("ctypes.CDLL", opened.append)
    monkeypatch.setattr("sys.platform", "win32")
    keep_freed_memory()
    assert opened == []
