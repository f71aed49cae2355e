"""How much a pixel should count by its class, from how many pixels the classes have; only NumPy."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

Weighting = Literal["none", "inverse", "median_frequency", "effective_number"]

Counts = np.ndarray[Any, np.dtype[np.int64]]
Weights = np.ndarray[Any, np.dtype[np.float32]]


def class_weights(
    pixels: Counts,
    *,
    scheme: Weighting,
    pixels_of_photos_with: Counts | None = None,
    beta: float = 0.999999,
) -> Weights:
    """Weights of classes that let rare ones count for more.

    The schemes, before all weights are scaled to a mean of 1:

    - "none": 1.
    - "inverse": one over the class's pixels.
    - "median_frequency": a class's frequency is its pixels over all labelled pixels of the photos that show it; the
      weight is the median of the frequencies over the class's own. Eigen and Fergus 2015, arXiv:1411.4734, and SegNet,
      Badrinarayanan et al. 2015, arXiv:1511.00561.
    - "effective_number": (1 - beta) / (1 - beta^n) for n pixels. Cui et al. 2019, arXiv:1901.05555.

    Args:
        pixels: (C,) int64, the labelled pixels of each class in all photos.
        scheme: see above.
        pixels_of_photos_with: (C,) int64, for each class the labelled pixels, of whatever class, of the photos that
            show it; for "median_frequency". See the function of that name.
        beta: of "effective_number", in [0, 1): classes of far fewer than 1 / (1 - beta) pixels weigh as "inverse" has
            it, classes of far more alike. Neighbouring pixels say nearly the same, so it is much nearer to 1 than the
            paper's, which counts photos.

    Returns:
        (C,) float32, finite; the mean is 1 over the classes that have pixels. One that has none gets 1: no pixel asks
        for it now, and should one turn up, it counts as an average class does, rather than not at all or without bound.

    Raises:
        ValueError: "median_frequency" without `pixels_of_photos_with`, or beta outside [0, 1).
    """
    present = pixels > 0
    counts = pixels[present].astype(np.float64)
    if scheme == "none":
        raw = np.ones(len(counts))
    elif scheme == "inverse":
        raw = 1 / counts
    elif scheme == "median_frequency":
        if pixels_of_photos_with is None:
            raise ValueError("median_frequency needs pixels_of_photos_with")
        frequency = counts / pixels_of_photos_with[present]
        raw = np.median(frequency) / frequency if len(counts) else counts
    else:
        if not 0 <= beta < 1:
            raise ValueError(f"beta is {beta}; expected 0 <= beta < 1")
        raw = (1 - beta) / (1 - beta**counts)
    weights = np.ones(len(pixels), dtype=np.float32)
    weights[present] = raw / raw.mean() if len(counts) else raw
    return weights


def pixels_of_photos_with(pixels: Counts) -> Counts:
    """For each class, the labelled pixels of the photos that show it.

    Args:
        pixels: (N, C) int64, the labelled pixels of each class in each photo.

    Returns:
        (C,) int64.
    """
    shown: Counts = np.where(pixels > 0, pixels.sum(axis=1, keepdims=True), 0).sum(axis=0)
    return shown
