"""The plain script from a folder of photos to masks on disk, batches of 8: NETWORK HEIGHT WIDTH WORKERS FOLDER OUT.

One line departs from what one would write: the network has random weights, see `_performance_models.py`.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from _performance_models import CLASSES, MEAN, STD, build_module

name, height, width, workers, folder, out = sys.argv[1:]
colours = (np.arange(CLASSES)[:, None] * [2**25 - 1, 2**15 - 1, 2**21 - 1] % 255).astype(np.uint8)


class Photos(Dataset[tuple[Tensor, int]]):
    """The photos of the folder, all scaled to one size, so that they make batches."""

    def __init__(self) -> None:
        self.paths = sorted(Path(folder).iterdir())
        steps = [transforms.Resize((int(height), int(width))), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[index]) as photo:
            return self.transform(photo.convert("RGB")), index


photos = Photos()
network = build_module(name)
with torch.inference_mode():
    for images, indices in DataLoader(photos, batch_size=8, num_workers=int(workers)):
        answers = network(images).max(1).indices.byte().numpy()
        for answer, index in zip(answers, indices, strict=True):
            path = photos.paths[int(index)]
            with Image.open(path) as photo:
                mask = Image.fromarray(answer).resize(photo.size, Image.Resampling.NEAREST)
            mask.putpalette(colours.tobytes())
            mask.save(Path(out) / f"{path.stem}.png")
