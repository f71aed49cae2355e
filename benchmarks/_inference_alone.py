"""A model's network alone over the photos of a folder, which are decoded, scaled and in memory: MODEL FOLDER STREAMS.

Prints the seconds that all take, with so many photos computed at once.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import pixelwise

model, folder, streams = sys.argv[1:]
segmenter = pixelwise.load(model, streams=int(streams))
inputs = [segmenter.network_input(pixelwise.read_image(path).pixels) for path in sorted(Path(folder).iterdir())]
shapes = {each.shape: each for each in inputs}  # the network is compiled for each when it is first met


def compute(images: NDArray[np.float32]) -> None:
    segmenter.engine(images)  # what it answers stays where it is


for images in shapes.values():
    compute(images)
with ThreadPoolExecutor(int(streams)) as pool:
    list(pool.map(compute, [*shapes.values()] * int(streams)))
    start = time.perf_counter()
    list(pool.map(compute, inputs))
    print(time.perf_counter() - start)
