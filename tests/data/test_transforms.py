from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter
from torch import Tensor

from pixelwise.data.sample import Sample
from pixelwise.data.transforms import TrainTransform
from pixelwise.recipe import Augment

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


def transform(*, fit_size: int = 90, ignore_index: int = 255, **changes: object) -> TrainTransform:
    """Crops of 48 pixels at 0.4 to 2 times the size, no colour changed; `changes` are options of `Augment`."""
    options = {"crop_size": 48, "scale": (0.4, 2.0), "colour": 0.0, "hue": 0.0, "grey": 0.0, **changes}
    return TrainTransform(Augment.model_validate(options), fit_size=fit_size, ignore_index=ignore_index)


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


# Options that are off unless asked for.

GEOMETRIC: list[dict[str, object]] = [
    {"rotation": 30},
    {"rotation": 180},
    {"vertical_flip": True},
    {"quarter_turns": True},
    {"crop_size": (40, 70)},
    {"crop_size": (70, 40), "rotation": 90, "quarter_turns": True, "vertical_flip": True, "focus": 1.0},
]
ALONE: list[dict[str, object]] = [
    *GEOMETRIC[:5],
    {"colour": 0.4},
    {"hue": 0.5},
    {"grey": 1.0},
    {"blur": 1.0},
    {"noise": 1.0},
    {"cutout": 1.0},
    {"focus": 1.0},
    {"max_class_share": 0.5},
]
EVERYTHING: dict[str, object] = {
    "crop_size": (30, 50),
    "rotation": 45,
    "vertical_flip": True,
    "quarter_turns": True,
    "colour": 0.4,
    "hue": 0.1,
    "grey": 0.2,
    "blur": 0.5,
    "noise": 0.5,
    "cutout": 0.5,
    "focus": 0.5,
    "max_class_share": 0.75,
}


def name_of(options: dict[str, object]) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items())


def crop_of(width: int, height: int, colour: int = 200) -> Sample:
    """A photo without any structure; the mask is one class."""
    return Sample(np.full((height, width, 3), colour, np.uint8), np.full((height, width), 3, np.uint8), "plain")


@pytest.mark.parametrize("options", GEOMETRIC, ids=name_of)
def test_a_photo_painted_from_its_mask_stays_painted(sample: Sample, options: dict[str, object]):
    covered = 0.0
    for seed in range(40):
        image, mask = drawn(seed, sample, transform(ignore_index=254, **options))
        classes = mask.numpy()
        assert set(np.unique(classes)) <= {0, 1, 2, 3, 254}
        expected = np.where(classes == 254, PADDING, GREY[classes % 254])
        where = inside(classes)
        covered += where.mean()
        assert np.abs(image.numpy().astype(int) - expected)[:, where].max(initial=0) <= 2
    assert covered / 40 > 0.2


@pytest.mark.parametrize("options", ALONE, ids=name_of)
def test_every_option_alone_changes_something(sample: Sample, options: dict[str, object]):
    coloured = Sample(sample.image // np.array([1, 2, 4], np.uint8), sample.mask, "coloured")
    changed = 0
    for seed in range(12):
        with_it, without = (drawn(seed, coloured, transform(**given)) for given in (options, {}))
        same = with_it[0].shape == without[0].shape and all(map(torch.equal, with_it, without))
        changed += not same
    assert changed >= 3


def test_with_everything_on_shapes_hold_and_no_class_appears_that_was_not_there(sample: Sample):
    values = np.array([0, 20, 255, 0], dtype=np.uint8)[sample.mask]
    far_apart = Sample(image=sample.image, mask=values, id="far apart")
    for seed in range(30):
        image, mask = drawn(seed, far_apart, transform(**EVERYTHING))
        assert (image.shape, image.dtype) == ((3, 30, 50), torch.uint8)
        assert (mask.shape, mask.dtype) == ((30, 50), torch.int64)
        assert set(mask.unique().tolist()) <= {0, 20, 255}


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (1, 3000)])
def test_everything_on_takes_photos_of_any_size(size: tuple[int, int]):
    anything = Sample(image=np.zeros((*size, 3), np.uint8), mask=np.zeros(size, np.uint8), id="any")
    for seed in range(5):
        for crop_size in (1, 5, (32, 2)):
            image, mask = drawn(seed, anything, transform(**{**EVERYTHING, "crop_size": crop_size}))
            height, width = crop_size if isinstance(crop_size, tuple) else (crop_size, crop_size)
            assert (image.shape, mask.shape) == ((3, height, width), (height, width))


def test_with_everything_on_the_answer_is_a_function_of_the_seed_and_the_sample_stays_as_it_was(sample: Sample):
    before = sample.image.copy(), sample.mask.copy()
    for seed in range(10):
        first, again = (drawn(seed, sample, transform(**EVERYTHING)) for _ in range(2))
        assert all(map(torch.equal, first, again))
    assert np.array_equal(sample.image, before[0])
    assert np.array_equal(sample.mask, before[1])


def test_a_crop_inside_of_a_large_photo_has_no_empty_corners_however_it_is_turned():
    for seed in range(20):
        # Of 400 x 400 pixels a crop of 40 seldom touches the margin that its own turning needs, 10 pixels.
        image, mask = drawn(seed, crop_of(400, 400), transform(fit_size=400, scale=(1, 1), rotation=180))
        ignored = float((mask == 255).float().mean())
        assert ignored < 0.15
        assert bool((image[:, mask == 3] >= 128).all())
    whole = [
        drawn(seed, crop_of(400, 400), transform(fit_size=400, scale=(1, 1), rotation=180))[1] for seed in range(40)
    ]
    assert sum(bool((mask == 3).all()) for mask in whole) > 25


def test_a_turned_photo_leaves_corners_that_are_grey_and_ignored():
    seen = 0
    for seed in range(10):
        image, mask = drawn(seed, crop_of(80, 80), transform(fit_size=80, scale=(1, 1), crop_size=80, rotation=45))
        outside = mask == 255
        seen += bool(outside.any())
        away = torch.from_numpy(inside(mask.numpy())) & outside
        assert set(image[:, away].unique().tolist()) <= {PADDING}
        assert bool(outside[0, 0]) == bool(outside[-1, -1])  # turned about the centre
    assert seen >= 8


def test_a_rotation_turns_by_the_angle_and_no_further():
    steep = []
    line = np.zeros((201, 201), np.uint8)
    line[100, :] = 1
    sample = Sample(np.zeros((201, 201, 3), np.uint8), line, "line")
    for seed in range(40):
        _, mask = drawn(seed, sample, transform(fit_size=201, scale=(1, 1), crop_size=201, rotation=20))
        rows, columns = (mask == 1).nonzero().T.double().numpy()
        steep.append(np.degrees(np.arctan(np.polyfit(columns, rows, 1)[0])))
    assert np.abs(steep).max() < 20.5
    assert min(steep) < -10
    assert max(steep) > 10


def test_quarter_turns_and_flips_reach_all_eight_positions():
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4)
    sample = Sample(np.zeros((4, 4, 3), np.uint8), mask, "numbered")
    all_positions = {np.rot90(m, k).tobytes() for m in (mask, mask.T) for k in range(4)}
    for options, expected in (({"quarter_turns": True}, 8), ({"vertical_flip": True}, 4), ({}, 2)):
        plain = transform(crop_size=4, fit_size=4, scale=(1, 1), **options)
        reached = {drawn(seed, sample, plain)[1].byte().numpy().tobytes() for seed in range(80)}
        assert len(reached) == expected
        assert reached <= all_positions


def test_a_crop_of_height_and_width_keeps_what_a_square_of_each_would_show(sample: Sample):
    image, mask = drawn(0, sample, transform(crop_size=(60, 90), scale=(1, 1)))
    flipped = mask.flip(-1)
    assert np.array_equal(mask, sample.mask) or np.array_equal(flipped, sample.mask)
    assert image.shape == (3, 60, 90)


def test_blur_is_gaussian_and_leaves_the_mask(sample: Sample):
    smooth = gaussian_filter(np.random.default_rng(0).uniform(0, 255, (60, 90)), 2)
    smooth = (smooth - smooth.min()) / np.ptp(smooth) * 255
    photo = Sample(smooth.astype(np.uint8)[..., None].repeat(3, 2), sample.mask, "smooth")
    for seed in range(10):
        options = {"crop_size": (60, 90), "scale": (1, 1)}
        plain, blurred = (drawn(seed, photo, transform(blur=share, **options)) for share in (0.0, 1.0))
        assert torch.equal(plain[1], blurred[1])
        grey = plain[0][0].double().numpy()
        off = [
            np.abs(gaussian_filter(grey, sigma, mode="nearest") - blurred[0][0].numpy())[8:-8, 8:-8].max()
            for sigma in np.arange(0.1, 2.2, 0.1)
        ]
        assert min(off) < 4


def test_noise_has_the_deviation_that_was_asked_for():
    for sigma in (5.0, 20.0):
        image, _ = drawn(1, crop_of(200, 200, 128), transform(crop_size=200, noise=1.0, noise_sigma=sigma))
        difference = image.double() - 128
        assert abs(float(difference.mean())) < 0.5
        assert float(difference.std()) == pytest.approx(sigma, rel=0.03)
    image, _ = drawn(1, crop_of(200, 200, 250), transform(crop_size=100, fit_size=200, scale=(1, 1), noise=1.0))
    assert int(image.max()) == 255  # cut off, not wrapped round
    assert int(image.min()) > 190


def test_what_is_cut_out_is_grey_in_the_photo_and_ignored_in_the_mask():
    sizes = []
    for seed in range(60):
        options = {"crop_size": (50, 100), "fit_size": 200, "scale": (1, 1), "cutout_size": 0.4}
        image, mask = drawn(seed, crop_of(200, 200), transform(cutout=1.0, **options))
        hole = mask == 255
        rows, columns = hole.any(1).nonzero(), hole.any(0).nonzero()
        height, width = (int(at.max() - at.min()) + 1 for at in (rows, columns))
        assert int(hole.sum()) == height * width  # a rectangle
        assert height <= 20
        assert width <= 40
        assert set(image[:, hole].unique().tolist()) == {PADDING}
        assert set(image[:, ~hole].unique().tolist()) == {200}
        sizes.append((height, width))
    assert (20, 40) in sizes
    assert len(set(sizes)) > 5  # some stick out


def test_shares_are_shares():
    for option in ("blur", "noise", "cutout"):
        striped = crop_of(60, 60)
        striped.image[::2] = 20
        plain = transform(crop_size=60, fit_size=60, scale=(1, 1))
        sometimes = transform(crop_size=60, fit_size=60, scale=(1, 1), **{option: 0.3})
        changed = sum(
            not torch.equal(drawn(seed, striped, plain)[0], drawn(seed, striped, sometimes)[0]) for seed in range(80)
        )
        assert 11 < changed < 38, option


def test_hue_turns_the_colours_as_far_as_was_asked_for():
    red = Sample(np.full((40, 40, 3), (200, 20, 20), np.uint8), np.zeros((40, 40), np.uint8), "red")
    plain = [drawn(seed, red, transform(crop_size=40, fit_size=40, scale=(1, 1), hue=0.5))[0] for seed in range(30)]
    assert any(image[0].float().mean() < image[2].float().mean() for image in plain)
    little = [drawn(seed, red, transform(crop_size=40, fit_size=40, scale=(1, 1), hue=0.03))[0] for seed in range(30)]
    assert all(image[0].float().mean() > 190 for image in little)


def test_a_crop_that_one_class_fills_is_laid_again():
    mask = np.zeros((200, 200), np.uint8)
    mask[:, 150:] = 1
    half = Sample(np.zeros((200, 200, 3), np.uint8), mask, "half")
    filled = {}
    for share in (1.0, 0.75):
        crops = [
            drawn(seed, half, transform(fit_size=200, scale=(1, 1), max_class_share=share))[1] for seed in range(100)
        ]
        filled[share] = sum(max((crop == 0).float().mean(), (crop == 1).float().mean()) > 0.75 for crop in crops)
    assert filled[1.0] > 60
    assert filled[0.75] < 25
    one, ignored = crop_of(100, 100), crop_of(100, 100)
    ignored.mask[:] = 255
    for hopeless in (one, ignored):  # neither raises nor goes on for ever
        assert drawn(0, hopeless, transform(max_class_share=0.5))[1].shape == (48, 48)
