"""A folder of photos to masks on disk by Ultralytics: FOLDER OUT. YOLO26n-sem with random weights, as configured."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from ultralytics import YOLO

folder, out = map(Path, sys.argv[1:])
colours = (np.arange(256)[:, None] * [2**25 - 1, 2**15 - 1, 2**21 - 1] % 255).astype(np.uint8)
network = YOLO("yolo26n-sem.yaml")
for path in sorted(folder.iterdir()):
    (found,) = network.predict(path, imgsz=512, verbose=False)
    mask = Image.fromarray(found.semantic_mask.data.cpu().numpy())
    mask.putpalette(colours.tobytes())
    mask.save(out / f"{path.stem}.png")
