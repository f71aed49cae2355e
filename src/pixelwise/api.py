"""The two calls that most programs need: `load` a model, `segment` a photo."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.bundle import CONFIG, Bundle, BundleConfig
from pixelwise.catalogue import DEFAULT_MODEL, cached_path, find_model, is_named, pretrained_names, work_of_photo
from pixelwise.decoding import Source
from pixelwise.engine import Engine, EngineName, Precision, check_choice, load_engine, load_exported
from pixelwise.errors import BundleError, EngineError, PixelwiseError, needs_train_extra
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
    streams: int = 1,
) -> Segmenter:
    """Load a model, ready to segment any number of photos.

    Args:
        model: a name from `pixelwise models`, or a bundle's directory. A pretrained one is fetched and converted when
            it is first used, which takes torch, and lies in the user's cache from then on.
        engine: "onnxruntime" starts fastest, "openvino" computes fastest; "auto" goes by how much
            there is to compute. "torch" computes on a graphics card where there is one.
        precision: "fp32", "bf16", or "auto": what the engine finds best on this processor.
        photos: how many will be segmented, None for many.
        size: longer side at which photos are shown to the network, in pixels, or "native"; None for the model's own.
        flip: average with the answer for the mirrored photo.
        tiling: how photos larger than one tile are cut; `pixelwise.tiling.Tiling` has the usual sizes.
        streams: how many calls are computed at once; threads may be more; see `pixelwise.engine.load_engine`.

    Raises:
        BundleError: there is no such model, or it is damaged.
        PixelwiseError: it is to be converted, or computed by torch, which is not installed, or its weights cannot be
            fetched.
        EngineError: there is no such engine or precision, it is not installed, or cannot run the model.
        ValueError: the size or the tiling is none.
    """
    check_choice(engine, precision)
    bundle = bundle_of(model)
    config = bundle.config
    if config.form == "openvino":
        loaded = _load_exported(bundle, engine=engine, precision=precision, streams=streams)
    elif engine == "torch":
        loaded = _load_torch(bundle, precision)
    else:
        work = _work(config, photos, size)
        loaded = load_engine(bundle.graph, name=engine, precision=precision, work=work, streams=streams)
    return Segmenter(loaded, config.classes, config.input_spec, size=size, flip=flip, tiling=tiling)


def _work(config: BundleConfig, photos: int | None, size: Size) -> float | None:
    """Multiply-adds of so many photos; None where that is not known, or depends on how large they are."""
    if photos is None or isinstance(size, str) or (size is not None and size < 1):  # the segmenter refuses the last
        return None
    each = work_of_photo(config, side=size)
    return None if each is None else photos * each


def _load_exported(bundle: Bundle, *, engine: EngineName, precision: Precision, streams: int) -> Engine:
    """An exported model on the one engine that reads it."""
    if engine not in ("auto", "openvino"):
        raise EngineError(f"{bundle.path} was exported for OpenVINO; leave --engine out, or give openvino.")
    return load_exported(bundle.graph, stored=bundle.config.precision, precision=precision, streams=streams)


def _load_torch(bundle: Bundle, precision: Precision) -> Engine:
    with needs_train_extra("The engine torch"):
        from pixelwise.standalone import torch_engine
    return torch_engine(bundle, precision=precision)


def segment(photo: Source | NDArray[np.uint8] | Photo, *, model: str | Path = DEFAULT_MODEL) -> Segmentation:
    """Segment one photo.

    Args:
        photo: a path, bytes, an open file, or an array uint8 (H, W, 3) RGB, (H, W) grey or (H, W, 4) RGBA.
        model: as for `load`. Loading takes longer than segmenting: for several photos, `load` once and call the result.

    Returns:
        mask, confidence and the classes found, at the photo's own size.

    Raises:
        ImageError: the photo cannot be read.
        PixelwiseError: the model cannot be loaded; see `load`.
    """
    return load(model, photos=1)(photo)


def takes_a_while(model: str | Path) -> bool:
    """Whether a model is a pretrained one that is not in the cache yet, and torch is there to convert it."""
    missing = _is_pretrained(model) and not (cached_path(str(model)) / CONFIG).is_file()
    return missing and importlib.util.find_spec("torchvision") is not None


def _is_pretrained(model: str | Path) -> bool:
    return is_named(model) and str(model) in pretrained_names()


def bundle_of(model: str | Path) -> Bundle:
    """A model's bundle; a pretrained one is fetched and converted first, as for `load`.

    Raises:
        BundleError: as for `load`.
        PixelwiseError: likewise.
    """
    if not _is_pretrained(model):
        return find_model(model)
    try:
        return find_model(model)
    except BundleError:  # not there yet, damaged, or of a newer format: made anew
        return _convert(str(model))


def _convert(name: str) -> Bundle:
    try:
        from pixelwise.pretrained import convert_pretrained
    except ModuleNotFoundError as error:
        raise PixelwiseError(
            f"{name} has to be converted once, which needs {error.name}; `pip install 'pixelwise[train]'` brings it, "
            "and afterwards the model runs without."
        ) from error
    return convert_pretrained(name, cached_path(name))
