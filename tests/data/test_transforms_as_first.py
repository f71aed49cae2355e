"""A recipe that switches nothing new on sees what it always saw, bit for bit: the published runs rest on it.

`FirstTransform` is the transform as it was when they were made, word for word; it is not to be changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from pixelwise.data.sample import Sample
from pixelwise.data.transforms import TrainTransform
from pixelwise.recipe import Augment, load_recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"

GREY = 128


class FirstTransform:
    """Random scale, crop, flip and colour.

    Args:
        crop_size: side of the square crop, in pixels.
        fit_size: the photo is first thought of as scaled to fit a square of this side, in pixels, so that the scales
            mean the same for small and large photos; make it the size at which the model will be used.
        scale: smallest and largest factor on top of that, drawn evenly.
        colour: strength of the change in brightness, contrast and saturation, 0 to 1.
        grey: share of the photos that lose their colours.
        focus: share of the crops that are laid so as to show one of the photo's classes, drawn evenly from them; the
            others are laid anywhere.
        ignore_index: what the mask holds outside of the photo.
    """

    def __init__(
        self,
        *,
        crop_size: int,
        fit_size: int,
        scale: Sequence[float],
        colour: float,
        grey: float,
        focus: float = 0.0,
        ignore_index: int = 255,
    ) -> None:
        self.crop_size, self.fit_size, self.scale = crop_size, fit_size, scale
        self.focus, self.ignore_index = focus, ignore_index
        jitter = v2.ColorJitter(colour, colour, colour, hue=0.03)
        self._colour = v2.Compose([v2.RandomApply([jitter], p=0.7), v2.RandomGrayscale(grey)])

    def __call__(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """A sample -> image uint8 (3, crop_size, crop_size), mask int64 (crop_size, crop_size)."""
        image = torch.from_numpy(sample.image).permute(2, 0, 1)
        mask = torch.from_numpy(sample.mask).unsqueeze(0)
        image, mask = self._scaled(image, mask)
        image, mask = self._cropped(image, mask)
        if torch.rand(()) < 0.5:
            image, mask = image.flip(-1), mask.flip(-1)
        return self._colour(image), mask[0].long()

    def _scaled(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        height, width = mask.shape[-2:]
        factor = self.fit_size / max(height, width) * _uniform(*self.scale)
        size = [max(1, round(side * factor)) for side in (height, width)]
        # Not through tv_tensors.Mask, whose plain nearest neighbour lies up to half a pixel off the photo.
        return F.resize(image, size, antialias=True), F.resize(mask, size, InterpolationMode.NEAREST_EXACT)

    def _cropped(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """A window of (crop_size, crop_size); a photo that is smaller lies anywhere in it."""
        height, width = mask.shape[-2:]
        lows = [min(0, side - self.crop_size) for side in (height, width)]
        highs = [max(0, side - self.crop_size) for side in (height, width)]
        if torch.rand(()) < self.focus and (pixel := self._pixel_of_a_class(mask[0])) is not None:
            lows = [max(low, at - self.crop_size + 1) for low, at in zip(lows, pixel, strict=True)]
            highs = [min(high, at) for high, at in zip(highs, pixel, strict=True)]
        top, left = (_integer(low, high) for low, high in zip(lows, highs, strict=True))
        bottom, right = top + self.crop_size, left + self.crop_size
        padding = [max(0, -left), max(0, -top), max(0, right - width), max(0, bottom - height)]
        rows, columns = slice(max(0, top), bottom), slice(max(0, left), right)
        return (
            F.pad(image[:, rows, columns], padding, fill=GREY),
            F.pad(mask[:, rows, columns], padding, fill=self.ignore_index),
        )

    def _pixel_of_a_class(self, mask: Tensor) -> tuple[int, int] | None:
        """Row and column of a pixel (H, W) of one of its classes; none where all are ignored."""
        there = torch.bincount(mask.flatten(), minlength=256)
        there[self.ignore_index] = 0
        classes = there.nonzero()
        if not len(classes):
            return None
        pixels = (mask == classes[_integer(0, len(classes) - 1)]).nonzero()
        row, column = pixels[_integer(0, len(pixels) - 1)].tolist()
        return row, column


def _uniform(low: float, high: float) -> float:
    return float(low + (high - low) * torch.rand(()))


def _integer(low: int, high: int) -> int:
    """One of low, ..., high."""
    return int(torch.randint(low, high + 1, ()))


def photo(seed: int) -> Sample:
    """Noise with a mask of blocks of four classes and ignored pixels, 20 to 119 pixels a side."""
    chance = np.random.default_rng(seed)
    height, width = chance.integers(20, 120, 2).tolist()
    image = chance.integers(0, 256, (height, width, 3), dtype=np.uint8)
    values = np.array([0, 1, 5, 20, 255], np.uint8)
    blocks = values[chance.integers(0, len(values), (height // 8 + 1, width // 8 + 1))]
    return Sample(image=image, mask=blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].copy(), id=str(seed))


def same_draws(augment: Augment, *, fit_size: int, seeds: range) -> None:
    assert isinstance(augment.crop_size, int)
    now = TrainTransform(augment, fit_size=fit_size)
    first = FirstTransform(
        crop_size=augment.crop_size,
        fit_size=fit_size,
        scale=augment.scale,
        colour=augment.colour,
        grey=augment.grey,
        focus=augment.focus,
    )
    for seed in seeds:
        found = []
        for transform in (now, first):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                found.append((*transform(photo(seed)), torch.rand(8)))  # the next draws are the same, too
        for a, b in zip(*found, strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b), seed


@pytest.mark.parametrize(
    "options",
    [
        {"crop_size": 64},
        {"crop_size": 150, "scale": (1.0, 1.0), "focus": 1.0, "grey": 1.0},
        {"crop_size": 33, "scale": (0.2, 3.0), "focus": 0.5, "colour": 0.0, "grey": 0.0},
        {"crop_size": 48, "focus": 0.5, "grey": 0.5, "colour": 1.0},
    ],
)
def test_with_the_new_options_off_every_seed_gives_what_it_gave(options: dict[str, object]):
    same_draws(Augment.model_validate(options), fit_size=96, seeds=range(60))


@pytest.mark.parametrize("name", ["camvid-unet", "default", "default_first", "pets-unet"])
def test_a_shipped_recipe_sees_what_it_saw(name: str):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    same_draws(recipe.augment, fit_size=recipe.input.long_side, seeds=range(8))
