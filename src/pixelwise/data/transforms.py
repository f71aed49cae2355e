"""Augmentation: a photo and its mask moved together, colours changed on the photo alone.

Every draw comes from torch's global generator, which the loader seeds from (seed, position) before each sample; see
`pixelwise.data.loader`. Masks are resized by nearest neighbour only, so no class appears that was not there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from pixelwise.data.sample import Sample


class TrainTransform:
    """Random scale, crop, flip and colour.

    Args:
        crop_size: side of the square crop, in pixels.
        fit_size: the photo is first thought of as scaled to fit a square of this side, in pixels, so that the scales
            mean the same for small and large photos; make it the size at which the model will be used.
        scale: smallest and largest factor on top of that, drawn evenly.
        colour: strength of the change in brightness, contrast and saturation, 0 to 1.
        grey: share of the photos that lose their colours.
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
        ignore_index: int = 255,
    ) -> None:
        fill = {tv_tensors.Image: 128, tv_tensors.Mask: ignore_index}
        self._transform = v2.Compose(
            [
                v2.ScaleJitter((fit_size, fit_size), scale_range=tuple(scale), antialias=True),
                v2.RandomCrop(crop_size, pad_if_needed=True, fill=fill),
                v2.RandomHorizontalFlip(),
                v2.RandomApply([v2.ColorJitter(colour, colour, colour, hue=0.03)], p=0.7),
                v2.RandomGrayscale(grey),
            ]
        )

    def __call__(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """A sample -> image uint8 (3, crop_size, crop_size), mask int64 (crop_size, crop_size)."""
        image = tv_tensors.Image(torch.from_numpy(sample.image).permute(2, 0, 1))
        mask = tv_tensors.Mask(torch.from_numpy(sample.mask))
        image, mask = self._transform(image, mask)
        return image.as_subclass(Tensor), mask.as_subclass(Tensor).long()
