"""Augmentation: a photo and its mask moved together, colours changed on the photo alone.

Every draw comes from torch's global generator, which the loader seeds from (seed, position) before each sample; see
`pixelwise.data.loader`. What is switched off draws nothing, so a recipe goes on meaning the same when options come.
Masks are resized and turned by nearest neighbour only, so no class appears that was not there.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from pixelwise.data.sample import Sample
from pixelwise.recipe import Augment

GREY = 128
"""What the photo holds outside of itself, and where it is cut out."""

_BLUR_SIGMA = (0.1, 2.0)
_CROPS_TRIED = 10


class TrainTransform:
    """Random scale, turn, crop, flip, colour, blur, noise and cutout, in this order.

    Args:
        augment: what is drawn, and how strongly.
        fit_size: the photo is first thought of as scaled to fit a square of this side, in pixels, so that the scales
            mean the same for small and large photos; make it the size at which the model will be used.
        ignore_index: what the mask holds outside of the photo, and where the photo is cut out.
    """

    def __init__(self, augment: Augment, *, fit_size: int, ignore_index: int = 255) -> None:
        self.augment, self.fit_size, self.ignore_index = augment, fit_size, ignore_index
        side = augment.crop_size
        self._size = (side, side) if isinstance(side, int) else side
        jitter = v2.ColorJitter(augment.colour, augment.colour, augment.colour, hue=augment.hue)
        self._colour = v2.Compose([v2.RandomApply([jitter], p=0.7), v2.RandomGrayscale(augment.grey)])

    def __call__(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """A sample -> image uint8 (3, crop height, crop width), mask int64 (crop height, crop width)."""
        image = torch.from_numpy(sample.image).permute(2, 0, 1)
        mask = torch.from_numpy(sample.mask).unsqueeze(0)
        image, mask = self._scaled(image, mask)
        if self.augment.quarter_turns:
            turns = _integer(0, 3)
            image, mask = image.rot90(turns, (-2, -1)), mask.rot90(turns, (-2, -1))
        image, mask = self._cropped(image, mask)
        if torch.rand(()) < 0.5:
            image, mask = image.flip(-1), mask.flip(-1)
        if self.augment.vertical_flip and torch.rand(()) < 0.5:
            image, mask = image.flip(-2), mask.flip(-2)
        image = self._noisy(self._blurred(self._colour(image)))
        image, mask = self._cut_out(image, mask)
        return image, mask[0].long()

    def _scaled(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        height, width = mask.shape[-2:]
        factor = self.fit_size / max(height, width) * _uniform(*self.augment.scale)
        size = [max(1, round(side * factor)) for side in (height, width)]
        # Not through tv_tensors.Mask, whose plain nearest neighbour lies up to half a pixel off the photo.
        return F.resize(image, size, antialias=True), F.resize(mask, size, InterpolationMode.NEAREST_EXACT)

    def _cropped(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The crop, turned about its centre; what is turned into it is photo wherever there is some."""
        top, left = self._corner(mask[0])
        height, width = self._size
        if not self.augment.rotation:
            return self._window(image, mask, top, left, height, width)
        angle = _uniform(-self.augment.rotation, self.augment.rotation)
        cosine, sine = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
        above = 1 + max(0, math.ceil((height * cosine + width * sine - height) / 2))
        beside = 1 + max(0, math.ceil((width * cosine + height * sine - width) / 2))
        image, mask = self._window(image, mask, top - above, left - beside, height + 2 * above, width + 2 * beside)
        image = F.rotate(image, angle, InterpolationMode.BILINEAR, fill=GREY)
        mask = F.rotate(mask, angle, InterpolationMode.NEAREST, fill=self.ignore_index)
        crop = (..., slice(above, above + height), slice(beside, beside + width))
        return image[crop], mask[crop]

    def _corner(self, mask: Tensor) -> tuple[int, int]:
        """Row and column in the mask (H, W) at which the crop begins; one class too large there, and it is drawn again.

        Source: `cat_max_ratio` of OpenMMLab's mmsegmentation, which also tries ten times.
        """
        height, width = self._size
        for _ in range(_CROPS_TRIED):
            top, left = self._drawn_corner(mask)
            if self.augment.max_class_share == 1:
                break
            shown = mask[max(0, top) : top + height, max(0, left) : left + width]
            counts = self._counts(shown)
            if counts.max() <= self.augment.max_class_share * counts.sum():
                break
        return top, left

    def _drawn_corner(self, mask: Tensor) -> tuple[int, int]:
        """A corner for any crop that lies in the photo; a photo that is smaller lies anywhere in the crop."""
        lows = [min(0, side - crop) for side, crop in zip(mask.shape, self._size, strict=True)]
        highs = [max(0, side - crop) for side, crop in zip(mask.shape, self._size, strict=True)]
        if torch.rand(()) < self.augment.focus and (pixel := self._pixel_of_a_class(mask)) is not None:
            lows = [max(low, at - crop + 1) for low, at, crop in zip(lows, pixel, self._size, strict=True)]
            highs = [min(high, at) for high, at in zip(highs, pixel, strict=True)]
        top, left = (_integer(low, high) for low, high in zip(lows, highs, strict=True))
        return top, left

    def _window(
        self, image: Tensor, mask: Tensor, top: int, left: int, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """The part of a photo and its mask that begins at (top, left); what lies outside is grey, and ignored."""
        bottom, right = top + height, left + width
        padding = [max(0, -left), max(0, -top), max(0, right - mask.shape[-1]), max(0, bottom - mask.shape[-2])]
        rows, columns = slice(max(0, top), bottom), slice(max(0, left), right)
        return (
            F.pad(image[:, rows, columns], padding, fill=GREY),
            F.pad(mask[:, rows, columns], padding, fill=self.ignore_index),
        )

    def _pixel_of_a_class(self, mask: Tensor) -> tuple[int, int] | None:
        """Row and column of a pixel (H, W) of one of its classes; none where all are ignored."""
        classes = self._counts(mask).nonzero()
        if not len(classes):
            return None
        pixels = (mask == classes[_integer(0, len(classes) - 1)]).nonzero()
        row, column = pixels[_integer(0, len(pixels) - 1)].tolist()
        return row, column

    def _counts(self, mask: Tensor) -> Tensor:
        """Pixels of each class in a mask (H, W): int64 (256,), the ignored ones not counted."""
        counts = torch.bincount(mask.flatten(), minlength=256)
        counts[self.ignore_index] = 0
        return counts

    def _blurred(self, image: Tensor) -> Tensor:
        """Pillow's Gaussian, which is three box filters; its range is that of Chen et al. 2020, arXiv:2002.05709."""
        if not _happens(self.augment.blur):
            return image
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        softened = picture.filter(ImageFilter.GaussianBlur(_uniform(*_BLUR_SIGMA)))
        return torch.from_numpy(np.array(softened)).permute(2, 0, 1)

    def _noisy(self, image: Tensor) -> Tensor:
        if not _happens(self.augment.noise):
            return image
        noise = torch.randn(image.shape).mul_(self.augment.noise_sigma)
        return noise.add_(image).round_().clamp_(0, 255).byte()

    def _cut_out(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """A rectangle of the photo is lost, and what it showed is not asked for.

        Source: DeVries and Taylor 2017, arXiv:1708.04552: the centre lies anywhere, so the rectangle may stick out.
        Departs: it has the proportions of the crop and is grey, the mask is ignored there, and not each crop has one.
        """
        if not _happens(self.augment.cutout):
            return image, mask
        height, width = self._size
        rows, columns = (max(1, round(side * self.augment.cutout_size)) for side in self._size)
        top, left = _integer(0, height - 1) - rows // 2, _integer(0, width - 1) - columns // 2
        hole = (..., slice(max(0, top), top + rows), slice(max(0, left), left + columns))
        image, mask = image.clone(), mask.clone()
        image[hole], mask[hole] = GREY, self.ignore_index
        return image, mask


def _happens(share: float) -> bool:
    """True in a share of the draws; where it is 0, nothing is drawn."""
    return share > 0 and bool(torch.rand(()) < share)


def _uniform(low: float, high: float) -> float:
    return float(low + (high - low) * torch.rand(()))


def _integer(low: int, high: int) -> int:
    """One of low, ..., high."""
    return int(torch.randint(low, high + 1, ()))
