"""Whether two models really differ: a permutation test, and what many such tests at once are worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pixelwise.confusion import image_areas, mean_of_defined, ratio

_BLOCK_CELLS = 1 << 22


def permutation_test(
    first: Sequence[NDArray[np.int64]],
    second: Sequence[NDArray[np.int64]],
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> float:
    """How often chance alone makes two models differ as much in mean IoU, were neither better than the other.

    If neither is, then of each photo's answers it is chance which came from which. So photo by photo the answers change
    hands at random, and the difference of the dataset's mean IoU is taken anew. Several trainings of one recipe are
    dealt out again over both recipes, photo by photo.

    Args:
        first: for each training of one recipe, (N, C, C) int64, a confusion matrix a photo.
        second: likewise for the other recipe; the same photos in the same order.
        permutations: how often.
        seed: equal seeds give equal results.

    Returns:
        The two-sided p-value, (1 + as large differences) / (1 + permutations).

    Raises:
        PixelwiseError: a stack is not of that form.

    Source: Noreen 1989, Computer-Intensive Methods for Testing Hypotheses, chapter 2 (approximate randomization).
    """
    # (runs, N, 2C): sums over photos of intersections and unions are all that a mean IoU needs.
    areas = np.stack([np.concatenate(image_areas(each, None), axis=1) for each in (*first, *second)]).astype(np.float64)
    runs, photos, width = areas.shape
    own = np.arange(runs)
    observed = _difference(areas.sum(axis=1), len(first))
    generator = np.random.default_rng(seed)
    step = max(1, _BLOCK_CELLS // (runs * photos))
    reached = 0
    for start in range(0, permutations, step):
        shape = (min(step, permutations - start), photos, runs)
        dealt = generator.permuted(np.broadcast_to(own, shape), axis=-1)  # whose answer each run gets, photo by photo
        sums = np.zeros((shape[0], runs, width))
        for source in range(runs):
            taken = (dealt == source).astype(np.float64).transpose(0, 2, 1)  # (block, runs, N)
            sums += taken @ areas[source]
        reached += int((~(_difference(sums, len(first)) < observed - 1e-12)).sum())  # an undefined one, too
    return (1 + reached) / (1 + permutations)


def _difference(sums: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    """(..., runs, 2C) -> (...,), how far the mean IoU of the first so many runs lies from that of the others."""
    intersections, unions = np.split(sums, 2, axis=-1)
    means = mean_of_defined(ratio(intersections, unions))
    apart: NDArray[np.float64] = np.abs(mean_of_defined(means[..., :first]) - mean_of_defined(means[..., first:]))
    return apart


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, corrected so that the chance of a single false alarm among all stays what it says.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
    """
    corrected, greatest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        greatest = max(greatest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = greatest
    return corrected
