from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from pixelwise.tiling import Tiling, blend_tiles


def combinations(count: int) -> Iterator[tuple[int, int, Tiling]]:
    """Heights, widths and tilings of every proportion; the first ones are smaller than a tile, or just larger."""
    for height, width in ((1, 1), (1, 30), (16, 16), (17, 16), (16, 17), (20, 21), (28, 28), (29, 40)):
        yield height, width, Tiling(16, 4)
    generator = np.random.default_rng(0)
    for _ in range(count):
        size = int(generator.integers(2, 25))
        overlap = int(generator.choice([o for o in range(1, size) if o + (o - o * 15 // 32 * 2) <= size]))
        height, width = (int(length) for length in generator.integers(1, 70, 2))
        yield height, width, Tiling(size, overlap)


def noise_of_tile(rows: slice, columns: slice) -> np.ndarray:
    """Two channels that differ from tile to tile, so that a wrong weight shows."""
    generator = np.random.default_rng((rows.start, columns.start))
    return generator.random((2, rows.stop - rows.start, columns.stop - columns.start), np.float32)


def part_of(infer):
    """What `blend_tiles` asks for, from a function that computes whole tiles."""
    return lambda tile, kept: infer(*tile)[:, *kept]


def assembled(height: int, width: int, infer, tiling: Tiling) -> np.ndarray:
    whole = np.full((2, height, width), np.nan, np.float32)
    for block, values in blend_tiles(height, width, part_of(infer), tiling=tiling):
        whole[:, *block] = values
    return whole


def naive_weights(start: int, stop: int, length: int, tiling: Tiling) -> np.ndarray:
    """Weight of each pixel of a tile along one axis: 1, but over the overlap 0, then a straight line, then 1."""
    weights = np.ones(stop - start)
    margin = tiling.overlap * 15 // 32
    rising = np.interp(np.arange(tiling.overlap) + 0.5, (margin, tiling.overlap - margin), (0, 1))
    if start > 0:
        weights[: tiling.overlap] *= rising
    if stop < length:
        weights[-tiling.overlap :] *= rising[::-1]
    return weights


def naive_blend(height: int, width: int, infer, tiling: Tiling) -> np.ndarray:
    """The textbook way: two accumulators of the full size, in float64."""
    total, weight = np.zeros((2, height, width)), np.zeros((height, width))
    stride = tiling.size - tiling.overlap
    starts = [[0, *range(stride, length - tiling.overlap, stride)] for length in (height, width)]
    for top in starts[0]:
        for left in starts[1]:
            bottom, right = min(top + tiling.size, height), min(left + tiling.size, width)
            window = np.outer(naive_weights(top, bottom, height, tiling), naive_weights(left, right, width, tiling))
            total[:, top:bottom, left:right] += infer(slice(top, bottom), slice(left, right)) * window
            weight[top:bottom, left:right] += window
    return total / weight


@pytest.mark.parametrize(
    ("length", "spans"),
    [
        (1, [(0, 1)]),
        (2, [(0, 2)]),
        (8, [(0, 8)]),
        (9, [(0, 8), (6, 9)]),
        (14, [(0, 8), (6, 14)]),
        (15, [(0, 8), (6, 14), (12, 15)]),
    ],
)
def test_spans_by_hand(length: int, spans: list[tuple[int, int]]):
    assert Tiling(8, 2).spans(length) == spans


@pytest.mark.parametrize(("overlap", "margin", "blend"), [(512, 240, 32), (16, 7, 2), (5, 2, 1), (1, 0, 1)])
def test_a_sixteenth_of_the_overlap_is_blended(overlap: int, margin: int, blend: int):
    tiling = Tiling(1024, overlap)
    assert (tiling.margin, tiling.blend) == (margin, blend)


@pytest.mark.parametrize(("size", "overlap"), [(8, 0), (8, -1), (8, 8), (1, 1), (3, 2)])
def test_an_overlap_in_which_three_tiles_would_be_blended_is_refused(size: int, overlap: int):
    with pytest.raises(ValueError, match=rf"overlap is {overlap}; expected at least 1"):
        Tiling(size, overlap)


def test_blocks_cover_each_pixel_exactly_once():
    for height, width, tiling in combinations(150):
        times = np.zeros((height, width), int)
        for (rows, columns), values in blend_tiles(height, width, part_of(noise_of_tile), tiling=tiling):
            assert values.shape == (2, rows.stop - rows.start, columns.stop - columns.start)
            assert values.dtype == np.float32
            times[rows, columns] += 1
        assert (times == 1).all(), (height, width, tiling)


def test_tiles_lie_inside_the_picture_are_no_larger_than_asked_for_and_on_one_grid():
    for height, width, tiling in combinations(150):
        asked = []

        def infer(rows: slice, columns: slice, asked: list[tuple[slice, slice]] = asked) -> np.ndarray:
            asked.append((rows, columns))
            return noise_of_tile(rows, columns)

        assembled(height, width, infer, tiling)
        for rows, columns in asked:
            assert 0 <= rows.start < rows.stop <= height
            assert 0 <= columns.start < columns.stop <= width
            assert rows.stop - rows.start <= tiling.size
            assert columns.stop - columns.start <= tiling.size
            assert rows.start % (tiling.size - tiling.overlap) == columns.start % (tiling.size - tiling.overlap) == 0


def test_equals_the_naive_blend_with_full_accumulators():
    for height, width, tiling in combinations(150):
        blended = assembled(height, width, noise_of_tile, tiling)
        expected = naive_blend(height, width, noise_of_tile, tiling)
        np.testing.assert_allclose(blended, expected, atol=2e-6, err_msg=f"{height} x {width}, {tiling}")


def test_weights_sum_to_one():
    def ones(rows: slice, columns: slice) -> np.ndarray:
        return np.ones((2, rows.stop - rows.start, columns.stop - columns.start), np.float32)

    for height, width, tiling in combinations(150):
        np.testing.assert_allclose(assembled(height, width, ones, tiling), 1, atol=3e-7)


def test_tiles_that_agree_are_reproduced():
    for height, width, tiling in combinations(50):
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        picture = np.stack([y / 70, x / 70])
        whole = assembled(height, width, lambda r, c, picture=picture: picture[:, r, c].copy(), tiling)
        np.testing.assert_allclose(whole, picture, atol=5e-7)


def test_what_a_tile_says_at_its_inner_edges_does_not_count():
    height, width, tiling = 100, 130, Tiling(32, 16)

    def infer(rows: slice, columns: slice) -> np.ndarray:
        tile = np.ones((2, rows.stop - rows.start, columns.stop - columns.start), np.float32)
        for axis, span, length in ((1, rows, height), (2, columns, width)):
            along = np.moveaxis(tile, axis, 0)
            if span.start > 0:
                along[: tiling.margin] = 1e9
            if span.stop < length:
                along[-tiling.margin :] = 1e9
        return tile

    np.testing.assert_allclose(assembled(height, width, infer, tiling), 1, atol=3e-7)


def test_memory_does_not_grow_with_the_height():
    def peak(height: int) -> int:
        tracemalloc.start()
        for _ in blend_tiles(height, 100, part_of(noise_of_tile), tiling=Tiling(32, 8)):
            pass
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(100)  # what is made on first use does not count
    assert peak(1600) < 1.2 * peak(200)
