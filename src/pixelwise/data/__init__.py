"""Datasets: labelled photos as they lie on disk, one layout a file."""

from pixelwise.data import coco_voc as _coco_voc  # noqa: F401  (registers itself)
from pixelwise.data import voc as _voc  # noqa: F401
from pixelwise.data.registry import layouts, open_dataset, recognise
from pixelwise.data.sample import Dataset, Sample

__all__ = ["Dataset", "Sample", "layouts", "open_dataset", "recognise"]
