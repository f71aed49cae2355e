from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import get_weight

PutInCache = Callable[[str, Mapping[str, Tensor]], Path]


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torchvision's weights would be put, not there yet; what is not there cannot be fetched."""

    def offline(*_: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.urlopen", offline)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def put_in_cache(checkpoints: Path) -> PutInCache:
    """Puts a state dict where torch would put the download of weights of this name."""

    def put(name: str, state: Mapping[str, Tensor]) -> Path:
        path = checkpoints / get_weight(name).url.rpartition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(state), path)
        return path

    return put
