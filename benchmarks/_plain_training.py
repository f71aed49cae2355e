"""The plainest training script of its kind, which `training_speed.py` measures pixelwise against.

    python benchmarks/_plain_training.py unet|deeplabv3_resnet50 bf16-mixed|32-true STEPS

Trains on `examples/nuclei` and prints the photos a second of each step but the first two.
"""

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.transforms import v2

DATA = Path(__file__).resolve().parents[1] / "examples" / "nuclei"
BATCH, CROP = 8, 256
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Nuclei(Dataset[Any]):
    def __init__(self) -> None:
        self.images = sorted((DATA / "images" / "train").glob("*.png"))
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(CROP, scale=(0.4, 1), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.4, 0.4, 0.4),
                v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        path = self.images[index]
        image = tv_tensors.Image(decode_image(str(path), ImageReadMode.RGB))
        mask = tv_tensors.Mask(decode_image(str(DATA / "masks" / "train" / path.name), ImageReadMode.GRAY) > 127)
        image, mask = self.transform(image, mask)
        return image, mask[0].long()


def main(name: str, precision: str, steps: int) -> None:
    if name == "unet":
        model: nn.Module = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None, classes=2)
    else:
        model = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=2, aux_loss=True)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_function = nn.CrossEntropyLoss()
    loader = DataLoader(Nuclei(), batch_size=BATCH, shuffle=True, num_workers=1, drop_last=True)
    half = precision == "bf16-mixed"
    speeds: list[float] = []
    start = time.perf_counter()
    while len(speeds) < steps:
        for images, masks in loader:
            with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
                answer = model(images)
                loss: Tensor
                if isinstance(answer, dict):
                    loss = loss_function(answer["out"], masks) + 0.4 * loss_function(answer["aux"], masks)
                else:
                    loss = loss_function(answer, masks)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            speeds.append(BATCH / (time.perf_counter() - start))
            start = time.perf_counter()
    print(json.dumps(speeds[2:steps]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
