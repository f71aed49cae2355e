"""What the tests of the training loop share: a tiny dataset of real photos, and a recipe that takes seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from helpers import PHOTOS, ROOT
from pixelwise.labels import VOC
from pixelwise.masks import write_mask
from pixelwise.recipe import load_recipe
from pixelwise.watcher import Watcher

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from pixelwise.run_state import RunState

RECIPE = """
name: small
model: {name: unet2015, arguments: {width: 4, dropout: 0.2}, encoder_weights: null}
input: {long_side: 64}
data:
  train: [{layout: voc, root: voc, split: train}]
  val: [{layout: voc, root: voc, split: val}]
augment: {crop_size: 32}
loss: {dice: 0.5, pixel_stride: 2}
optimizer: {warmup_steps: 2, ema_decay: 0.5}
batch_size: 4
steps: 6
validate_every: 2
checkpoint_every: 1
precision: 32-true
workers: 0
"""


class Listener(Watcher):
    """Keeps what it is told of a run."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.totals: list[int] = []
        self.done = 0.0

    def stage(self, what: str, total: int) -> None:
        self.totals.append(total)

    def advance(self, share: float) -> None:
        self.done += share

    def say(self, text: str) -> None:
        self.said.append(text)


def differences(whole: Path, other: Path, *, names: Sequence[str] = ("log.jsonl", "best.safetensors")) -> list[str]:
    """What differs between two runs, as the benchmark of kills compares them: files by bytes, checkpoints by values."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from kills import differences as compared
    finally:
        sys.path.pop(0)
    found: Callable[..., list[str]] = compared
    return found(whole, other, names=names)


def small_dataset(root: Path, recipe: str = RECIPE) -> Path:
    """Write `voc`, eight cut-outs with a labelled rectangle each, and `recipe.yaml` for it; gives the recipe's file."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / "voc" / folder).mkdir(parents=True)
    ids = []
    for name, label in (("chelsea", "cat"), ("coffee", "bottle")):
        photo = Image.open(PHOTOS / f"{name}.png").convert("RGB")
        for index in range(4):
            left = 40 * index
            photo.crop((left, 20, left + 120, 110)).save(root / "voc" / "JPEGImages" / f"{name}{index}.jpg")
            mask = np.zeros((90, 120), np.uint8)
            mask[20:70, 30:90] = VOC.names.index(label)
            mask[:3] = 255
            write_mask(root / "voc" / "SegmentationClass" / f"{name}{index}.png", mask, VOC)
            ids.append(f"{name}{index}")
    lists = root / "voc" / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text("\n".join(ids[1:-1]))
    (lists / "val.txt").write_text("\n".join([ids[0], ids[-1]]))
    (root / "recipe.yaml").write_text(recipe)
    return root / "recipe.yaml"


def fresh_state(workplace: Path, *overrides: str, fabric: Fabric | None = None) -> RunState:
    """The state before the first step of the recipe in a directory that `small_dataset` filled."""
    from lightning.fabric import Fabric

    from pixelwise.data.loader import class_pixels
    from pixelwise.data_check import open_sets
    from pixelwise.run_state import RunState

    recipe = load_recipe(workplace / "recipe.yaml", overrides)
    train_sets, val_sets = open_sets(recipe.data.train, workplace), open_sets(recipe.data.val, workplace)
    fabric = fabric or Fabric(accelerator="cpu", precision=recipe.precision)
    return RunState.fresh(recipe, train_sets, val_sets, class_pixels(train_sets), fabric)
