"""Whether a model is right as often as it is sure.

Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 2: the labelled pixels are put
into 15 bins of equal width by the probability of their predicted class, and the expected calibration error is the mean
over the pixels of the distance between their bin's accuracy and its mean probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pixelwise.confusion import ratio

BINS = 15


def reliability(
    target: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    confidence: NDArray[np.floating],
    *,
    ignore_index: int = 255,
) -> NDArray[np.float64]:
    """What calibration is measured from, for one image.

    Args:
        target: (H, W) uint8, class ids or ignore_index.
        prediction: (H, W) uint8, class ids.
        confidence: (H, W), the probability of the predicted class, 0 to 1.
        ignore_index: pixels of the target that do not count.

    Returns:
        (3, 15) float64, in each bin: pixels, those that are right, and the sum of their probabilities. A bin has its
        upper edge, not its lower one; probability 0 is in the first.
    """
    labelled = target != ignore_index
    sure = confidence[labelled].astype(np.float64)
    bins = np.clip(np.ceil(sure * BINS).astype(np.intp) - 1, 0, BINS - 1)
    right = (target == prediction)[labelled]
    return np.stack(
        [np.bincount(bins, weights=weights, minlength=BINS) for weights in (np.ones_like(sure), right, sure)]
    )


def calibration_error(bins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected calibration error, 0 to 1, of what `reliability` gives, or sums of it: (..., 3, 15) -> (...).

    nan without a labelled pixel.
    """
    pixels, right, sure = np.moveaxis(bins, -2, 0)
    return ratio(np.abs(right - sure).sum(axis=-1), pixels.sum(axis=-1))
