from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import COLOURS, colourful_photo
from pixelwise.masks import read_index_mask, write_mask
from pixelwise.picture_streams import JPEG_STRIP, write_jpeg, write_mask_png
from pixelwise.render import write_picture


@pytest.mark.parametrize("shape", [(1, 1), (256, 3), (257, 40), (700, 333)])
def test_a_mask_is_the_one_that_is_written_whole(shape: tuple[int, int], tmp_path: Path):
    mask = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_mask_png(tmp_path / "strips.png", mask, COLOURS)
    write_mask(tmp_path / "whole.png", mask, COLOURS)
    np.testing.assert_array_equal(read_index_mask(tmp_path / "strips.png"), mask)
    with Image.open(tmp_path / "strips.png") as strips, Image.open(tmp_path / "whole.png") as whole:
        strips.load()  # checks the sums of all chunks
        assert (strips.mode, strips.getpalette()) == (whole.mode, whole.getpalette())


@pytest.mark.parametrize("strip", [JPEG_STRIP, 3 * JPEG_STRIP])
@pytest.mark.parametrize("height", [1, 7, 8, 64, 65, 192, 200, 700])
def test_a_jpeg_has_the_pixels_of_the_one_that_is_written_whole(height: int, strip: int, tmp_path: Path):
    picture = colourful_photo(height, 213)
    write_jpeg(tmp_path / "strips.jpg", height, (picture[top : top + strip] for top in range(0, height, strip)))
    write_picture(tmp_path / "whole.jpg", picture)
    with Image.open(tmp_path / "strips.jpg") as strips, Image.open(tmp_path / "whole.jpg") as whole:
        np.testing.assert_array_equal(np.asarray(strips), np.asarray(whole))
