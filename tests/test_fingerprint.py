"""The look at the data: figures by hand, and the ceiling against a plain version of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from helpers import COLOURS, Pixels, colourful_photo, random_scene
from pixelwise.data import Sample
from pixelwise.errors import DataError
from pixelwise.fingerprint import SAMPLED_PHOTOS, ceiling, fingerprint
from pixelwise.labels import ClassTable


@dataclass
class InMemory:
    """Photos and masks as a dataset."""

    pairs: Sequence[tuple[Pixels, Pixels]]
    split: str = "train"
    classes: ClassTable = COLOURS
    read: list[int] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [str(index) for index in range(len(self))]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        return Sample(*self.pairs[index], str(index))

    def mask(self, index: int) -> Pixels:
        return self.pairs[index][1]

    def pixels(self) -> list[np.ndarray]:
        return [np.bincount(mask.ravel(), minlength=256)[:4] for _, mask in self.pairs]


def plain_weights(length: int, small: int) -> np.ndarray:
    """(length, small): how much each cell counts at each pixel, linearly between the centres of the cells."""
    weights = np.zeros((length, small))
    for pixel in range(length):
        at = min(max((pixel + 0.5) * small / length - 0.5, 0), small - 1)
        left = min(int(at), max(small - 2, 0))
        weights[pixel, left] = 1 - (at - left)
        if small > 1:
            weights[pixel, left + 1] = at - left
    return weights


def plain_ceiling(mask: Pixels, factor: int) -> float:
    """Cells of `factor` x `factor` pixels averaged, interpolated, the most probable class; mean IoU counted by sets."""
    height, width = mask.shape
    rows, columns = height // factor, width // factor
    shares = []
    for label in range(4):
        cells = np.zeros((rows, columns))
        for i, j in np.ndindex(rows, columns):
            cells[i, j] = np.mean(mask[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor] == label)
        shares.append(plain_weights(height, rows) @ cells @ plain_weights(width, columns).T)
    answer = np.argmax(shares, axis=0)
    found = []
    for label in range(4):
        truth, said = mask == label, (answer == label) & (mask != 255)
        if (truth | said).any():
            found.append((truth & said).sum() / (truth | said).sum())
    return float(np.mean(found))


def blobs(height: int, width: int, seed: int) -> Pixels:
    """A mask of smooth regions of unequal size, a few pixels of them ignored."""
    mask = (colourful_photo(height, width, seed=seed)[..., 0] // 64).astype(np.uint8)
    mask[:2] = 255
    return mask


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(24, 48), (72, 48), (48, 48)])
def test_the_ceiling_is_that_of_a_plain_version(factor: int, height: int, width: int):
    for seed in range(4):
        mask = blobs(height, width, seed)
        found = ceiling([mask], COLOURS, grid=max(height, width) / factor)
        # A pixel at which two classes are exactly as probable may go either way in other arithmetic.
        assert found == pytest.approx(plain_ceiling(mask, factor), abs=0.01)
        assert found < 1


def test_the_ceiling_of_a_case_by_hand():
    # 1 of 4 pixels of the left cell is class 1: nearly nothing of it is left where cells are of 2 x 2 pixels.
    mask = np.zeros((2, 4), np.uint8)
    mask[0, 0] = 1
    assert ceiling([mask], COLOURS, grid=2) == pytest.approx((7 / 8 + 0) / 2)
    assert ceiling([mask], COLOURS, grid=4) == 1.0


@pytest.mark.parametrize(("height", "width"), [(37, 53), (1, 9), (64, 64)])
def test_the_ceiling_at_full_resolution_is_exactly_one(height: int, width: int):
    _, mask = random_scene(height, width, block=7)
    mask[mask == 77] = 3
    assert ceiling([mask, mask[:, ::-1].copy()], COLOURS, grid=max(height, width)) == 1.0


def test_a_finer_grid_is_hardly_ever_worse_and_much_better_in_the_end():
    masks = [blobs(90, 120, seed) for seed in range(3)]
    found = [ceiling(masks, COLOURS, grid=grid) for grid in (4, 8, 15, 30, 60, 120)]
    assert all(finer > coarser - 0.02 for coarser, finer in pairwise(found))
    assert found[0] < 0.6
    assert found[-1] == 1.0


def test_the_ceiling_looks_at_labelled_pixels_only():
    mask = np.full((8, 8), 255, np.uint8)
    mask[:, :4] = 1
    assert ceiling([mask], COLOURS, grid=4) == 1.0
    assert np.isnan(ceiling([np.full((8, 8), 255, np.uint8)], COLOURS, grid=8))


def scene(height: int, width: int, label: int, *, grey: bool = False, level: int = 100) -> tuple[Pixels, Pixels]:
    photo = np.full((height, width, 3), level, np.uint8)
    if not grey:
        photo[..., 0] += 50
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2] = label
    return photo, mask


def test_the_figures_of_a_small_dataset_by_hand():
    train = InMemory([scene(40, 60, 1), scene(40, 60, 1, level=50), scene(80, 20, 2)])
    val = InMemory([scene(40, 60, 3)], "val")
    seen: list[float] = []
    found = fingerprint([train], [val], train.pixels(), advance=seen.append)
    assert (found.photos, found.val_photos) == (3, 1)
    assert found.pixels.tolist() == [3200, 2400, 800, 0]
    assert found.photos_with.tolist() == [3, 2, 1, 0]
    assert found.shares.tolist() == [0.5, 0.375, 0.125, 0]
    assert (found.height, found.width, found.long_side) == (40, 60, 60)
    assert not found.grey
    assert seen == [1, 1, 1]
    blue = np.array([100, 50, 100]) / 255
    assert found.mean[2] == pytest.approx(blue.mean(), abs=1e-3)
    assert found.mean[0] == pytest.approx(found.mean[2] + 50 / 255, abs=1e-3)
    assert found.std[2] == pytest.approx(blue.std(), abs=1e-3)
    assert sorted(mask.shape for mask in found.masks) == [(40, 60), (40, 60), (80, 20)]
    assert found.ceiling(60) == ceiling(found.masks, COLOURS, grid=60)


def test_photos_are_grey_where_all_of_them_are():
    pairs = [scene(16, 16, 1, grey=True) for _ in range(3)]
    grey, mixed = InMemory(pairs), InMemory([*pairs, scene(16, 16, 1)])
    assert fingerprint([grey], [grey], grey.pixels()).grey
    assert not fingerprint([mixed], [grey], mixed.pixels()).grey


def test_a_single_even_grey_has_a_deviation_that_can_be_divided_by():
    flat = InMemory([scene(16, 16, 1, grey=True)])
    assert min(fingerprint([flat], [flat], flat.pixels()).std) > 0


def test_of_many_photos_some_are_looked_at_always_the_same():
    sets = [InMemory([scene(8, 8, 1)] * 40), InMemory([scene(8, 8, 2)] * 40)]
    pixels = [each for dataset in sets for each in dataset.pixels()]
    for _ in range(2):
        found = fingerprint(sets, sets[:1], pixels)
        assert found.photos == 80
        assert len(found.masks) == 8
    read = [len(dataset.read) for dataset in sets]
    assert sum(read) == 2 * SAMPLED_PHOTOS
    assert min(read) > 20
    for dataset in sets:
        half = len(dataset.read) // 2
        assert dataset.read[:half] == dataset.read[half:]


def test_masks_without_a_label_are_refused():
    blank = InMemory([(colourful_photo(8, 8), np.full((8, 8), 255, np.uint8))] * 2)
    with pytest.raises(DataError, match="No pixel of the training masks is labelled"):
        fingerprint([blank], [blank], blank.pixels())
