from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SavePicture = Callable[[Path, np.ndarray], None]
PutInCache = Callable[[str, Mapping[str, Any]], Path]

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"there is no real data in {folder}")
    return folder


@pytest.fixture
def save_picture() -> SavePicture:
    """Writes a uint8 array in the format that the name asks for, and the folders above it."""

    def save(path: Path, pixels: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    return save


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
    """Puts a state dict where torch would put the download of the weights that torchvision calls so."""
    import torch
    from torchvision.models import get_weight

    def put(name: str, state: Mapping[str, Any]) -> Path:
        path = checkpoints / get_weight(name).url.rpartition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(state), path)
        return path

    return put


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A real browser, for the tests of pages."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as started:
        camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]  # a moving test picture
        launched = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", *camera])
        yield launched
        launched.close()
