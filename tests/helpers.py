"""What several test files share: where photos and the shipped model lie, a small engine, and the command line."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pixelwise.bundle import InputSpec
from pixelwise.labels import ClassTable

Pixels = NDArray[np.uint8]
ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "examples" / "photos"
DEFAULT_BUNDLE = ROOT / "src" / "pixelwise" / "bundles" / "default"

COLOURS = ClassTable(
    ("background", "red", "green", "blue"), ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)), ignore_index=255
)
RED, GREEN, NAVY = (255, 0, 10), (0, 200, 0), (0, 0, 40)
SCENE_CLASSES = ClassTable(("background", "cat", "dog", "sea"), ((0, 0, 0), RED, GREEN, NAVY))
SPEC = InputSpec(mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.5), long_side=64, size_multiple=32)


class ColourEngine:
    """A 1x1 convolution: what is red enough is class 1, and so on; it keeps what it was shown."""

    name = "colour"
    precision = "fp32"
    weights = np.array([[0, 0, 0], [1.0, -0.5, -0.5], [-0.5, 1.0, -0.5], [-0.5, -0.5, 1.0]], np.float32)
    bias = np.array([0.4, 0, 0, 0], np.float32)

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []
        self.released = False

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.seen.append(images.copy())
        logits = np.einsum("kc,bchw->bkhw", self.weights, images) + self.bias[:, None, None]
        return logits.astype(np.float32)

    def release(self) -> None:
        self.released = True


def colourful_photo(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Smooth blobs of strong colours, uint8 (height, width, 3)."""
    phases = np.random.default_rng(seed).uniform(0, 6, (3, 2))
    y, x = np.mgrid[0:height, 0:width] / 9
    waves = [127.5 + 127.5 * np.sin(x + a) * np.cos(y + b) for a, b in phases]
    return np.stack(waves, axis=-1).astype(np.uint8)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, hidden ones too."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT / "src"),
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "100",
    "PYTHONWARNINGS": "default",
}


def pixelwise(
    *arguments: str | Path,
    cwd: Path,
    stdin: bytes = b"",
    status: int = 0,
    environment: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> tuple[str, str]:
    """Run the command line as a user would; its output and its errors. A traceback is never among them.

    What is `before` it runs it.
    """
    done = subprocess.run(
        [*before, sys.executable, "-m", "pixelwise", *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        env=ENVIRONMENT | dict(environment or {}),
        timeout=600,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in out + err, err
    assert done.returncode == status, f"{done.returncode}\n{out}\n{err}"
    return out, err


def folder_that_cannot_be_listed(root: Path) -> None:
    """Make one far below another: whose path is too long for the system cannot be listed by the superuser either."""
    folder = os.open(root, os.O_RDONLY)
    for _ in range(17):  # of 250 letters each, where a path may have 4096
        os.mkdir(name := "x" * 250, dir_fd=folder)
        above, folder = folder, os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(above)
    os.close(folder)


def bound_by_permissions() -> list[str]:
    """What runs a command so that permissions bind it, the superuser's too; skips the test where that cannot be had."""
    if os.geteuid() != 0:
        return []
    powers = "-dac_override,-dac_read_search"
    command = ["setpriv", "--bounding-set", powers, "--inh-caps", powers]
    if shutil.which("setpriv") is None or subprocess.run([*command, "true"], check=False).returncode != 0:
        pytest.skip("the superuser may do anything, and setpriv cannot take it away")
    return command


def small_photo(path: Path, *, box: tuple[int, int, int, int] = (100, 50, 220, 140)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(PHOTOS / "chelsea.png") as image:
        image.convert("RGB").crop(box).save(path, "PNG" if path.suffix == ".png" else "JPEG")


def random_scene(height: int, width: int, *, block: int = 17, seed: int = 0) -> tuple[Pixels, Pixels]:
    """Noise, and a mask of blocks of the ids 0 to 3, ignored and unknown, with some stray pixels."""
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    coarse = rng.choice(np.array([0, 1, 2, 3, 255, 77], np.uint8), (height // block + 1, width // block + 1))
    mask = coarse.repeat(block, axis=0).repeat(block, axis=1)[:height, :width].copy()
    mask[rng.random(mask.shape) < 0.002] = 2
    return photo, mask


class Page(HTMLParser):
    """Every element of a page with its attributes, and the text, its spaces all of one kind."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.text = self.text.replace("\N{NO-BREAK SPACE}", " ")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]
