"""Datasets: labelled photos as they lie on disk. What has a place in `layouts/` is read."""

from pixelwise.data import layouts as _layouts  # noqa: F401  (its modules register themselves)
from pixelwise.data.registry import layout_names, open_dataset, recognise, splits, training_splits
from pixelwise.data.sample import Dataset, Sample

__all__ = ["Dataset", "Sample", "layout_names", "open_dataset", "recognise", "splits", "training_splits"]
