from __future__ import annotations

import numpy as np
import pytest

import pixelwise.scaling
from helpers import colourful_photo
from pixelwise.rows import SequentialRows
from pixelwise.scaling import averaged, shrink


def in_strips(photo: np.ndarray) -> SequentialRows:
    return SequentialRows(photo.shape, (photo[top : top + 7] for top in range(0, len(photo), 7)))


@pytest.mark.parametrize("size", [(20, 31), (100, 155), (199, 310), (200, 310), (260, 400)])
@pytest.mark.parametrize("banded", [False, True])
def test_a_photo_from_a_file_is_scaled_as_an_array(
    size: tuple[int, int], banded: bool, monkeypatch: pytest.MonkeyPatch
):
    photo = colourful_photo(200, 310)
    whole = shrink(photo, *size)[:]
    if banded:
        monkeypatch.setattr(pixelwise.scaling, "_AT_ONCE", 1)
        monkeypatch.setattr(pixelwise.scaling, "_BAND_PIXELS", 5000)
    by_rows = shrink(in_strips(photo), *size)
    assert by_rows.shape == (*size, 3)
    parts = [by_rows[top : top + 11] for top in range(0, size[0], 11)]
    difference = np.abs(np.concatenate(parts).astype(int) - whole)
    assert difference.max() <= (1 if banded else 0)  # the weights of a band are rounded from another origin


@pytest.mark.parametrize("banded", [False, True])
def test_blocks_that_the_photo_fills_in_part_only_do_not_shift_it(banded: bool, monkeypatch: pytest.MonkeyPatch):
    """An edge stays where it is: the white behind it has the share of the rows, and of the columns, that it had."""
    if banded:
        monkeypatch.setattr(pixelwise.scaling, "_AT_ONCE", 1)
    for length in (799, 800, 801):
        photo = np.zeros((length, length, 3), np.uint8)
        photo[700:] = 255
        for turned in (photo, photo.swapaxes(0, 1).copy()):
            assert shrink(turned, 40, 40)[:].mean() / 255 == pytest.approx(1 - 700 / length, abs=1e-3)


def test_blocks_are_averaged(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pixelwise.scaling, "_STRIP_PIXELS", 900)
    photo = colourful_photo(32, 45)
    expected = photo[:30].reshape(10, 3, 15, 3, 3).mean(axis=(1, 3))
    found = averaged(photo, 3)[:]
    assert found.shape == (11, 15, 3)
    assert np.abs(found[:10] - expected).max() < 0.6  # Pillow rounds in fixed point
