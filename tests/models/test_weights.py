from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pixelwise.errors import PixelwiseError
from pixelwise.models.weights import load_weights

# What `read_state` refuses is tried in test_encoders.py.


def network(seed: int, channels: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels))


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def test_loads_every_tensor(tmp_path: Path):
    given, module = state_of(network(1)), network(2)
    save_file(given, tmp_path / "weights.safetensors")
    load_weights(module, tmp_path / "weights.safetensors")
    assert all(torch.equal(tensor, given[key]) for key, tensor in module.state_dict().items())


def test_counters_of_batches_may_be_missing(tmp_path: Path):
    given, module = state_of(network(1)), network(2)
    del given["1.num_batches_tracked"]
    save_file(given, tmp_path / "weights.safetensors")
    load_weights(module, tmp_path / "weights.safetensors")
    assert torch.equal(module.state_dict()["0.weight"], given["0.weight"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda module: nn.DataParallel(module).state_dict(),
        lambda module: torch.compile(module).state_dict(),
        lambda module: torch.compile(nn.DataParallel(module)).state_dict(),
        lambda module: {"epoch": 3, "state_dict": module.state_dict()},
        lambda module: {"epoch": 3, "model": nn.DataParallel(module).state_dict(), "optimizer": {"state": {}}},
    ],
    ids=["DataParallel", "compile", "both", "checkpoint", "checkpoint of DataParallel"],
)
def test_what_training_code_wraps_around_a_network_is_taken_off(wrap, tmp_path: Path):
    given, module = network(1), network(2)
    torch.save(wrap(given), tmp_path / "weights.pth")
    load_weights(module, tmp_path / "weights.pth")
    assert all(torch.equal(tensor, given.state_dict()[key]) for key, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("1.bias"), "lacks '1.bias'"),
        (lambda state: state.update(extra=torch.zeros(1)), "the network has not, 'extra'"),
        (lambda state: state.update({"0.bias": torch.zeros(7)}), r"0\.bias is \(7,\) there, expected \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_loaded(change, message: str, tmp_path: Path):
    given, module = state_of(network(1)), network(2)
    change(given)
    save_file(given, tmp_path / "weights.safetensors")
    before = state_of(module)
    with pytest.raises(PixelwiseError, match=message):
        load_weights(module, tmp_path / "weights.safetensors")
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
