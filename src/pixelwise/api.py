"""The two calls that most programs need: `load` a model, `segment` a photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.catalogue import DEFAULT_MODEL, find_model
from pixelwise.decoding import Source
from pixelwise.engine import EngineName, Precision, load_engine
from pixelwise.images import Photo
from pixelwise.segmentation import Segmentation
from pixelwise.segmenter import Segmenter, Size
from pixelwise.tiling import Tiling


def load(
    model: str | Path = DEFAULT_MODEL,
    *,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    photos: int | None = None,
    size: Size = None,
    flip: bool = False,
    tiling: Tiling | None = None,
) -> Segmenter:
    """Load a model, ready to segment any number of photos.

    Args:
        model: a name from `pixelwise models`, or a bundle's directory.
        engine: "onnxruntime" starts fastest, "openvino" computes fastest; "auto" goes by `photos`.
        precision: "fp32", "bf16", or "auto": what the engine finds best on this processor.
        photos: how many will be segmented, None for many.
        size: longer side at which photos are shown to the network, in pixels, or "native"; None for the model's own.
        flip: average with the answer for the mirrored photo.
        tiling: how photos larger than one tile are cut.

    Raises:
        BundleError: there is no such model, or it is damaged.
        EngineError: the engine is not installed, or cannot run it.
    """
    bundle = find_model(model)
    loaded = load_engine(bundle.graph, name=engine, precision=precision, photos=photos)
    config = bundle.config
    return Segmenter(loaded, config.classes, config.input_spec, size=size, flip=flip, tiling=tiling)


def segment(photo: Source | NDArray[np.uint8] | Photo, *, model: str | Path = DEFAULT_MODEL) -> Segmentation:
    """Segment one photo.

    Args:
        photo: a path, bytes, an open file, or an array uint8 (H, W, 3) RGB.
        model: as for `load`. Loading takes longer than segmenting: for several photos, `load` once and call the result.

    Returns:
        mask, confidence and the classes found, at the photo's own size.

    Raises:
        ImageError: the photo cannot be read.
        BundleError: there is no such model, or it is damaged.
    """
    return load(model, photos=1)(photo)
