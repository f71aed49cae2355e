"""The shortest torchvision script from a photo to a mask and an overlay on disk: PHOTO OUT. See cold_start.py.

One line departs from what one would write: the weights are not downloaded, `weights=None` stands for `weights=WEIGHTS`.
What is measured is so a little too good for this script, which would also have to read 44 MB of weights.
"""

import sys
from pathlib import Path

import torch
from PIL import Image
from torchvision.models.segmentation import DeepLabV3_MobileNet_V3_Large_Weights, deeplabv3_mobilenet_v3_large

WEIGHTS = DeepLabV3_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1

photo_path, out = Path(sys.argv[1]), Path(sys.argv[2])
photo = Image.open(photo_path).convert("RGB")
network = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()
with torch.inference_mode():
    logits = network(WEIGHTS.transforms()(photo).unsqueeze(0))["out"][0]

mask = Image.fromarray(logits.argmax(0).byte().numpy()).resize(photo.size, Image.Resampling.NEAREST)
colours = torch.arange(21)[:, None] * torch.tensor([2**25 - 1, 2**15 - 1, 2**21 - 1]) % 255
mask.putpalette(colours.byte().flatten().tolist())
mask.save(out / f"{photo_path.stem}_mask.png")
Image.blend(photo, mask.convert("RGB"), 0.55).save(out / f"{photo_path.stem}_overlay.jpg")
