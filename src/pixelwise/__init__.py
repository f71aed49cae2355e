"""Every pixel of a photo labelled by a convolutional network.

>>> import pixelwise
>>> result = pixelwise.segment("photo.jpg")  # doctest: +SKIP
>>> [(found.name, found.share) for found in result.classes]  # doctest: +SKIP
[('background', 0.61), ('cat', 0.39)]

Importing this package does not import torch; neither does segmenting.
"""

from pixelwise.api import load, segment
from pixelwise.bundle import Bundle, InputSpec, read_bundle
from pixelwise.decoding import Limits
from pixelwise.errors import (
    BundleError,
    DataError,
    EngineError,
    ImageError,
    MaskError,
    OutputError,
    PixelwiseError,
    RecipeError,
)
from pixelwise.images import Photo, read_image
from pixelwise.labels import VOC, ClassShare, ClassTable
from pixelwise.segmentation import Segmentation
from pixelwise.segmenter import Segmenter

__version__ = "0.1.0"

__all__ = [
    "VOC",
    "Bundle",
    "BundleError",
    "ClassShare",
    "ClassTable",
    "DataError",
    "EngineError",
    "ImageError",
    "InputSpec",
    "Limits",
    "MaskError",
    "OutputError",
    "Photo",
    "PixelwiseError",
    "RecipeError",
    "Segmentation",
    "Segmenter",
    "load",
    "read_bundle",
    "read_image",
    "segment",
]
