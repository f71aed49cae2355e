"""Whether two models really differ: a permutation test, and what many such tests at once are worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pixelwise.confusion import image_areas, mean_of_defined, ratio
from pixelwise.errors import PixelwiseError

_BLOCK_CELLS = 1 << 22


def permutation_test(
    first: NDArray[np.int64], second: NDArray[np.int64], *, permutations: int = 10_000, seed: int = 0
) -> float:
    """How often chance alone makes two models differ as much in mean IoU, were neither better than the other.

    If neither is, then of each photo's two answers it is chance which came from which. So photo by photo the answers
    change hands at random, and the difference of the dataset's mean IoU is taken anew. That speaks of these two models
    on other photos: another training of either is another model.

    Args:
        first: (N, C, C) int64, a confusion matrix a photo.
        second: likewise; the same photos in the same order.
        permutations: how often.
        seed: equal seeds give equal results.

    Returns:
        The two-sided p-value, (1 + as large differences) / (1 + permutations).

    Raises:
        PixelwiseError: a stack is not of that form, or they are not alike in it.

    Source: Noreen 1989, Computer-Intensive Methods for Testing Hypotheses, chapter 2 (approximate randomization).
    """
    # (N, 2C): sums over photos of intersections and unions are all that a mean IoU needs.
    one, other = (np.concatenate(image_areas(each, None), axis=1).astype(np.float64) for each in (first, second))
    if one.shape != other.shape:
        raise PixelwiseError(f"The two models were not measured alike: stacks {first.shape} and {second.shape}.")
    total = one.sum(axis=0) + other.sum(axis=0)
    observed = _difference(one.sum(axis=0), total)
    generator = np.random.default_rng(seed)
    step = max(1, _BLOCK_CELLS // len(one))
    reached = 0
    for start in range(0, permutations, step):
        kept = generator.integers(2, size=(min(step, permutations - start), len(one))).astype(np.float64)
        sums = kept @ one + (1 - kept) @ other
        reached += int((~(_difference(sums, total) < observed - 1e-12)).sum())  # an undefined one, too
    return (1 + reached) / (1 + permutations)


def _difference(sums: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 2C) of one model and (2C,) of both -> (...,), how far their mean IoU lies apart."""
    means = [mean_of_defined(ratio(*np.split(each, 2, axis=-1))) for each in (sums, total - sums)]
    apart: NDArray[np.float64] = np.abs(means[0] - means[1])
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
