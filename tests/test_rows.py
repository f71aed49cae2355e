from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pixelwise.rows import FileRows, SequentialRows


def strips(array: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
    top = 0
    while top < len(array):
        height = int(generator.integers(1, 12))
        yield array[top : top + height]
        top += height


@pytest.mark.parametrize("shape", [(60, 5), (60, 5, 3)])
def test_slices_that_go_down_are_those_of_the_array(shape: tuple[int, ...]):
    """Overlapping, repeated, shorter than the one before, with gaps between them, and beyond the end."""
    for seed in range(300):
        generator = np.random.default_rng(seed)
        array = generator.integers(0, 256, shape, dtype=np.uint8)
        rows = SequentialRows(shape, strips(array, generator))
        start = 0
        while start < len(array):
            for stop in generator.integers(start, len(array) + 5, 2):
                np.testing.assert_array_equal(rows[start:stop], array[start:stop])
            start += int(generator.integers(0, 15))


def test_all_rows_at_once():
    array = np.arange(40, dtype=np.uint8).reshape(8, 5)
    np.testing.assert_array_equal(SequentialRows(array.shape, iter([array[:3], array[3:]]))[:], array)


def test_rows_that_have_gone_by_are_refused():
    array = np.zeros((8, 5), np.uint8)
    rows = SequentialRows(array.shape, iter([array]))
    assert len(rows[4:6]) == 2
    with pytest.raises(ValueError, match="row 3 was asked for after row 4"):
        rows[3:6]


def test_no_more_strips_are_asked_for_than_a_slice_needs():
    asked = []

    def counted() -> Iterator[np.ndarray]:
        for number in range(4):
            asked.append(number)
            yield np.full((2, 3), number, np.uint8)

    rows = SequentialRows((8, 3), counted())
    assert rows[1:4].tolist() == [[0] * 3, [1] * 3, [1] * 3]
    assert asked == [0, 1]


def test_rows_of_a_file(tmp_path: Path):
    array = np.arange(40, dtype=np.uint8).reshape(8, 5)
    (tmp_path / "mask").write_bytes(array.tobytes())
    rows = FileRows(tmp_path / "mask", 8, 5)
    assert (rows.shape, rows.dtype) == (array.shape, array.dtype)
    for part in (slice(None), slice(2, 5), slice(6, 20), slice(3, 3)):
        np.testing.assert_array_equal(rows[part], array[part])
