from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor

from pixelwise.data.sample import Sample
from pixelwise.data.transforms import TrainTransform

GREY = np.array([20, 90, 160, 230], dtype=np.uint8)
"""What a class is painted in: one grey a class, which neither hue nor saturation changes."""
PADDING = 128


@pytest.fixture
def sample() -> Sample:
    """Four classes in large patches without any symmetry, 60 by 90 pixels; the photo is painted from the mask."""
    mask = np.zeros((60, 90), dtype=np.uint8)
    mask[:35, 20:50] = 1
    mask[25:, 60:] = 2
    mask[45:, :30] = 3
    mask[:12, :9] = 2
    return Sample(image=GREY[mask][:, :, None].repeat(3, axis=2), mask=mask, id="painted")


def transform(**changes: object) -> TrainTransform:
    options = {"crop_size": 48, "fit_size": 90, "scale": (0.4, 2.0), "colour": 0.0, "grey": 0.0, **changes}
    return TrainTransform(**options)  # type: ignore[arg-type]


def drawn(seed: int, sample: Sample, transformed: TrainTransform) -> tuple[Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformed(sample)


def inside(mask: np.ndarray) -> np.ndarray:
    """Pixels whose neighbours up to three away are there and of their class; the others may be blends of colours."""
    least, greatest = (extreme(mask, 7, mode="constant", cval=-1) for extreme in (minimum_filter, maximum_filter))
    result: np.ndarray = least == greatest
    return result


@pytest.mark.parametrize("crop_size", [48, 100])
def test_photo_and_mask_move_together(sample: Sample, crop_size: int):
    sides, padded, covered = set(), 0, 0.0
    for seed in range(40):
        image, mask = drawn(seed, sample, transform(crop_size=crop_size, ignore_index=254))
        classes = mask.numpy()
        expected = np.where(classes == 254, PADDING, GREY[classes % 254])
        where = inside(classes)
        covered += where.mean()
        assert np.abs(image.numpy().astype(int) - expected)[:, where].max() <= 2
        padded += bool((classes == 254).any())
        ones, twos = (np.flatnonzero((classes == c).any(axis=0)) for c in (1, 2))
        if ones.size and twos.size:
            sides.add(bool(ones.mean() < twos.mean()))
    assert sides == {True, False}  # flipped and not
    assert padded
    assert covered / 40 > 0.3


def test_no_class_appears_that_was_not_there(sample: Sample):
    values = np.array([0, 20, 255, 0], dtype=np.uint8)[sample.mask]  # blends of these would be other classes
    far_apart = Sample(image=sample.image, mask=values, id="far apart")
    for seed in range(20):
        _, mask = drawn(seed, far_apart, transform())
        assert set(mask.unique().tolist()) <= {0, 20, 255}


def test_what_lies_outside_of_the_photo_is_ignored_and_grey(sample: Sample):
    whole = Sample(image=np.zeros_like(sample.image), mask=np.full_like(sample.mask, 7), id="whole")
    image, mask = drawn(0, whole, transform(crop_size=100, scale=(0.5, 0.5)))
    outside = mask == 255
    assert (~outside).sum() == 30 * 45  # the photo at half its size is all there
    assert set(mask[~outside].tolist()) == {7}
    assert set(image[:, outside].unique().tolist()) == {PADDING}
    assert set(image[:, ~outside].unique().tolist()) == {0}


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (90, 13), (1, 3000)])
def test_shapes_and_types_for_photos_of_any_size(size: tuple[int, int]):
    anything = Sample(image=np.zeros((*size, 3), np.uint8), mask=np.zeros(size, np.uint8), id="any")
    image, mask = drawn(0, anything, transform(crop_size=32, colour=0.4, grey=0.5))
    assert (type(image), image.shape, image.dtype) == (Tensor, (3, 32, 32), torch.uint8)
    assert (type(mask), mask.shape, mask.dtype) == (Tensor, (32, 32), torch.int64)


@pytest.mark.parametrize("factor", [0.4, 0.73, 1.0, 1.6])
def test_the_mask_lies_where_the_photo_lies(factor: float):
    left = np.zeros((100, 100), np.uint8)
    left[:, :37] = 1
    split = Sample(image=(left * 200)[:, :, None].repeat(3, axis=2), mask=left, id="split")
    image, mask = drawn(0, split, transform(crop_size=200, fit_size=100, scale=(factor, factor)))
    inner = mask != 255
    width = int(inner.any(0).sum())
    edge_of_mask = (mask[inner] == 1).float().mean() * width
    edge_of_photo = (image[0][inner] / 200).mean() * width
    assert edge_of_mask == pytest.approx(float(edge_of_photo), abs=0.51)


def test_a_mask_that_is_scaled_down_is_not_shifted():
    # Symmetric in, symmetric out; plain nearest neighbour would take the first of every three pixels, not the middle.
    mask = np.zeros((18, 18), np.uint8)
    mask[4:14, 5:13] = 3
    symmetric = Sample(image=np.zeros((18, 18, 3), np.uint8), mask=mask, id="symmetric")
    _, scaled = drawn(0, symmetric, transform(crop_size=6, fit_size=18, scale=(1 / 3, 1 / 3)))
    assert scaled.unique().tolist() == [0, 3]
    assert torch.equal(scaled, scaled.flip(-1))
    assert torch.equal(scaled, scaled.flip(-2))


def test_a_focused_crop_shows_each_class_of_the_photo_often():
    mask = np.zeros((200, 200), np.uint8)
    mask[3:9, 190:196] = 7
    mask[100:140, 20:60] = 255
    rare = Sample(image=np.zeros((200, 200, 3), np.uint8), mask=mask, id="rare")
    shown = {
        focus: sum(
            bool((drawn(seed, rare, transform(fit_size=200, scale=(1, 1), focus=focus))[1] == 7).any())
            for seed in range(200)
        )
        for focus in (0.0, 0.5, 1.0)
    }
    assert shown[0.0] < 30
    assert 30 < shown[0.5] < 90
    assert 80 < shown[1.0] < 140  # the other half is laid to show the background


def test_a_focused_crop_of_a_photo_without_labels_is_laid_anywhere():
    ignored = Sample(image=np.zeros((80, 60, 3), np.uint8), mask=np.full((80, 60), 255, np.uint8), id="ignored")
    _, mask = drawn(0, ignored, transform(focus=1.0))
    assert set(mask.unique().tolist()) == {255}


def test_the_scale_is_on_top_of_fitting_the_photo_into_a_square(sample: Sample):
    for factor in (0.5, 1.5):
        _, mask = drawn(0, sample, transform(crop_size=200, fit_size=120, scale=(factor, factor)))
        rows, columns = (mask != 255).any(1).sum(), (mask != 255).any(0).sum()
        assert (rows, columns) == (80 * factor, 120 * factor)


def test_colour_changes_the_photo_alone(sample: Sample):
    changed = 0
    for seed in range(10):
        plain, coloured = (drawn(seed, sample, transform(colour=strength)) for strength in (0.0, 0.4))
        assert torch.equal(plain[1], coloured[1])
        changed += not torch.equal(plain[0], coloured[0])
    assert changed >= 5


def test_grey_takes_the_colours_of_the_share_that_was_asked_for():
    red = Sample(np.full((40, 40, 3), (250, 10, 40), np.uint8), np.zeros((40, 40), np.uint8), "red")
    for share in (0.0, 1.0):
        image, mask = drawn(3, red, transform(grey=share))
        pixels = image[:, mask == 0]
        assert bool((pixels[0] == pixels[1]).all()) == bool(share)


def test_the_answer_is_a_function_of_the_seed_and_the_sample_stays_as_it_was(sample: Sample):
    before = sample.image.copy(), sample.mask.copy()
    first, again, other = (drawn(seed, sample, transform(colour=0.4, grey=0.2)) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert np.array_equal(sample.image, before[0])
    assert np.array_equal(sample.mask, before[1])
