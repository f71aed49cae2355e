from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

import pixelwise.interpolation
import pixelwise.scaling
from helpers import COLOURS, PHOTOS, SPEC, ColourEngine, colourful_photo
from pixelwise import load
from pixelwise.bundle import InputSpec
from pixelwise.errors import EngineError, ImageError
from pixelwise.images import Limits, read_image
from pixelwise.interpolation import _candidates
from pixelwise.labels import ClassTable
from pixelwise.segmenter import Segmenter
from pixelwise.tiling import Tiling


class Answers:
    """An engine that gives the same logits whatever it is shown: float32 (C, h, w), padded as the input is."""

    name = "answers"
    precision = "fp32"

    def __init__(self, logits: np.ndarray, stride: int = 1) -> None:
        self.logits, self.stride = logits, stride

    def __call__(self, images: np.ndarray) -> np.ndarray:
        cells = (-(-length // self.stride) for length in images.shape[2:])
        padding = [there - length for there, length in zip(cells, self.logits.shape[1:], strict=True)]
        return np.pad(self.logits, ((0, 0), (0, padding[0]), (0, padding[1])))[None]


class ShiftEngine(ColourEngine):
    """Looks one pixel to the left, so that it answers differently for a mirrored photo."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return super().__call__(images) + 3 * np.roll(super().__call__(images), 1, axis=3)


def colour_segmenter(**settings) -> Segmenter:
    return Segmenter(ColourEngine(), COLOURS, SPEC, **settings)


def table(count: int) -> ClassTable:
    return ClassTable(tuple(f"class {i}" for i in range(count)), ((0, 0, 0),) * count)


def smooth_logits(generator: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """Random fields, sometimes decided and sometimes not, with a few exact ties."""
    logits = generator.normal(0, generator.choice((0.3, 3, 12)), (count, height, width)).astype(np.float32)
    logits[generator.integers(count)] = logits[0]
    return logits


def expected_answer(logits: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Every class interpolated in one piece, and the best one taken."""
    probabilities = softmax(logits, axis=0).astype(np.float32)
    large = np.stack(
        [np.asarray(Image.fromarray(p).resize((width, height), Image.Resampling.BILINEAR)) for p in probabilities]
    )
    return large.argmax(axis=0), large


# Shapes and what the network sees.


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2000), (2000, 1), (3, 5), (65, 71)])
@pytest.mark.parametrize("size", [None, 33, "native"])
def test_mask_and_confidence_have_the_size_of_the_photo(height: int, width: int, size):
    segmenter = colour_segmenter(size=size, tiling=Tiling(64, 32))
    mask, confidence = segmenter.predict(colourful_photo(height, width))
    assert mask.shape == confidence.shape == (height, width)
    assert (mask.dtype, confidence.dtype) == (np.uint8, np.float16)
    assert mask.max() < len(COLOURS)
    assert 0 <= confidence.min() <= confidence.max() <= 1
    for batch in segmenter.engine.seen:
        assert batch.dtype == np.float32
        assert batch.shape[0] == 1
        assert batch.shape[2] % 32 == batch.shape[3] % 32 == 0
        assert max(batch.shape) <= 64


def test_the_network_sees_normalised_rgb_padded_with_the_mean_colour():
    photo = colourful_photo(33, 40)
    segmenter = colour_segmenter(size="native")
    segmenter.predict(photo)
    (batch,) = segmenter.engine.seen
    assert batch.shape == (1, 3, 64, 64)
    expected = (photo / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    np.testing.assert_allclose(batch[0, :, :33, :40].transpose(1, 2, 0), expected, atol=1e-5)
    assert (batch[0, :, 33:] == 0).all()
    assert (batch[0, :, :, 40:] == 0).all()


@pytest.mark.parametrize(("size", "longer"), [(None, 64), (100, 100), (640, 640), ("native", 226)])
def test_the_longer_side_is_scaled_to_the_size(size, longer: int):
    segmenter = colour_segmenter(size=size)
    segmenter.predict(read_image(PHOTOS / "chelsea.png").pixels[::2, ::2])  # 150 x 226
    height = round(150 * longer / 226)
    assert segmenter.engine.seen[0].shape[2:] == (height + -height % 32, longer + -longer % 32)


def test_a_photo_far_larger_than_the_size_is_shrunk_as_well_as_in_one_go(monkeypatch: pytest.MonkeyPatch):
    photo = read_image(PHOTOS / "chelsea.png").pixels
    seen = []
    for strip_pixels in (1 << 21, 4000):
        monkeypatch.setattr(pixelwise.scaling, "_STRIP_PIXELS", strip_pixels)
        segmenter = colour_segmenter()
        segmenter.predict(photo)
        seen.append(segmenter.engine.seen[0][0, :, :43, :64].transpose(1, 2, 0))
    np.testing.assert_array_equal(*seen)
    small = (seen[0] * np.array(SPEC.std) + np.array(SPEC.mean)) * 255
    ideal = np.asarray(Image.fromarray(photo).resize((64, 43), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(small - ideal).mean() < 3


# From logits to the answer.


def test_at_its_own_size_each_pixel_gets_its_most_probable_class():
    photo = colourful_photo(33, 40)
    mask, confidence = colour_segmenter(size="native").predict(photo)
    normalised = (photo / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    probabilities = softmax(normalised @ ColourEngine.weights.T.astype(float) + ColourEngine.bias, axis=2)
    assert len(np.unique(mask)) == 4
    assert (mask == probabilities.argmax(axis=2)).mean() > 0.999
    chosen = np.take_along_axis(probabilities, mask[:, :, None].astype(int), axis=2)[:, :, 0]
    np.testing.assert_allclose(confidence, chosen, atol=1e-3)


@pytest.mark.parametrize(
    ("seen", "photo"),
    [((5, 7), (40, 56)), ((6, 6), (6, 6)), ((1, 8), (9, 72)), ((8, 1), (16, 2)), ((6, 9), (6, 9)), ((30, 40), (9, 12))],
)
def test_the_answer_is_that_of_all_classes_interpolated_in_full(seen: tuple[int, int], photo: tuple[int, int]):
    generator = np.random.default_rng(seen)
    for _ in range(40):
        logits = smooth_logits(generator, 12, *seen)
        segmenter = Segmenter(Answers(logits), table(12), SPEC, size=max(seen))
        mask, confidence = segmenter.predict(np.zeros((*photo, 3), np.uint8))
        best, probabilities = expected_answer(logits, *photo)
        np.testing.assert_array_equal(mask, best)
        np.testing.assert_array_equal(confidence, probabilities.max(axis=0).astype(np.float16))


def test_strips_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pixelwise.interpolation, "_STRIP_PIXELS", 500)
    monkeypatch.setattr(pixelwise.interpolation, "_BLOCK", 17)
    generator = np.random.default_rng(1)
    for photo, seen in (((103, 49), (64, 30)), ((97, 131), (24, 32)), ((40, 700), (4, 64))):
        logits = smooth_logits(generator, 6, *seen)
        segmenter = Segmenter(Answers(logits), table(6), SPEC, size=max(seen))
        mask, confidence = segmenter.predict(np.zeros((*photo, 3), np.uint8))
        _, probabilities = expected_answer(logits, *photo)
        chosen = np.take_along_axis(probabilities, mask[None].astype(int), axis=0)[0]
        # Pillow takes the place of a strip in float32, so that near ties may go either way.
        np.testing.assert_allclose(chosen, probabilities.max(axis=0), atol=1e-4)
        np.testing.assert_allclose(confidence, chosen, atol=1e-3)


def test_classes_that_cannot_win_are_not_interpolated():
    logits = np.zeros((20, 8, 8), np.float32)
    logits[3] = np.linspace(9, 0, 8)
    logits[11] = np.linspace(0, 9, 8)
    assert _candidates(softmax(logits, axis=0), magnified=True) == [3, 11]


def test_where_the_answer_is_smaller_a_class_may_win_that_is_nowhere_the_first():
    probabilities = np.full((8, 8, 40), 0.1, np.float32)  # class 4 is second everywhere, behind four that take turns
    probabilities[:4] = 1e-4
    probabilities[4] = 0.3
    for column in range(40):
        turn = column // 2 % 4
        if column % 2:
            probabilities[turn, :, column] = 0.4
        else:
            probabilities[[(turn - 1) % 4, turn], :, column] = 0.34
            probabilities[5:, :, column] = 0.02 / 3
    mask, confidence = Segmenter(Answers(np.log(probabilities)), table(8), SPEC, size=40).predict(
        np.zeros((1, 5, 3), np.uint8)
    )
    assert (mask == 4).all()
    np.testing.assert_allclose(confidence, 0.3, atol=1e-3)


# Flips and tiles.


def test_flip_makes_the_answer_for_the_mirrored_photo_the_mirrored_answer():
    photo = colourful_photo(50, 70)
    for flip in (True, False):
        segmenter = Segmenter(ShiftEngine(), COLOURS, SPEC, size="native", flip=flip)
        mask, confidence = segmenter.predict(photo)
        mirrored_mask, mirrored_confidence = segmenter.predict(np.ascontiguousarray(photo[:, ::-1]))
        same = np.array_equal(mask, mirrored_mask[:, ::-1])
        assert same == flip
        assert np.array_equal(confidence, mirrored_confidence[:, ::-1]) == flip


def test_flip_averages_the_probabilities_of_both():
    photo = colourful_photo(32, 64)
    _, confidence = Segmenter(ShiftEngine(), COLOURS, SPEC, size="native", flip=True).predict(photo)
    x = ((photo / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)).transpose(2, 0, 1)[None]
    straight = softmax(ShiftEngine()(x)[0], axis=0)
    mirrored = softmax(ShiftEngine()(x[..., ::-1])[0], axis=0)[:, :, ::-1]
    np.testing.assert_allclose(confidence, ((straight + mirrored) / 2).max(axis=0), atol=1e-3)


@pytest.mark.parametrize("shape", [(200, 333), (65, 64), (33, 500), (64, 65)])
def test_tiles_of_a_pixelwise_network_equal_the_whole(shape: tuple[int, int]):
    photo = colourful_photo(*shape)
    tiled = colour_segmenter(size="native", tiling=Tiling(64, 32))
    mask, confidence = tiled.predict(photo)
    whole_mask, whole_confidence = colour_segmenter(size="native").predict(photo)
    assert len(tiled.engine.seen) > 1
    assert tiled.engine.released
    np.testing.assert_allclose(confidence, whole_confidence, atol=1e-3)
    assert (mask == whole_mask).mean() > 0.9999


def test_a_tiled_answer_is_fitted_to_a_photo_of_another_size():
    photo = np.full((40, 50, 3), (127, 102, 76), np.uint8)  # the mean colour: background
    photo[:, 25:] = (255, 0, 0)
    mask, _ = colour_segmenter(size=200, tiling=Tiling(64, 32)).predict(photo)
    assert (mask[:, :24] == 0).all()
    assert (mask[:, 26:] == 1).all()


@pytest.mark.parametrize("size", [97, 150, 331, 700])
def test_tiles_are_interpolated_to_the_photo_as_the_whole_is(size: int):
    photo = colourful_photo(170, 230)
    tiled, confidence = colour_segmenter(size=size, tiling=Tiling(64, 32)).predict(photo)
    whole, whole_confidence = colour_segmenter(size=size, tiling=Tiling(1024, 512)).predict(photo)
    assert (tiled == whole).mean() > 0.997
    difference = np.abs(confidence.astype(np.float32) - whole_confidence)
    assert difference.mean() < 0.001
    assert difference.max() < 0.1  # where tiles meet, neither sees the other


def test_a_photo_of_less_pixels_than_tiles_is_answered():
    photo = np.full((1, 2, 3), (255, 0, 0), np.uint8)
    mask, confidence = colour_segmenter(size=700, tiling=Tiling(64, 32)).predict(photo)
    assert mask.tolist() == [[1, 1]]
    assert (confidence > 0.5).all()


def test_tiles_of_the_default_model_equal_the_whole_on_a_real_photo():
    photo = Image.open(PHOTOS / "chelsea.png").resize((1536, 1022), Image.Resampling.BICUBIC)
    pixels = np.asarray(photo)
    tiled = load(engine="onnxruntime", size=1536, tiling=Tiling())
    whole = Segmenter(tiled.engine, tiled.classes, tiled.input_spec, size=1536, tiling=Tiling(2048, 256))
    assert (tiled.predict(pixels)[0] == whole.predict(pixels)[0]).mean() >= 0.995


# Networks that answer at a stride.


class CoarseEngine(ColourEngine):
    """Answers for the mean of 4 x 4 pixels, or of a little less where it is given a size that 4 does not divide."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        height, width = (-(-length // 4) for length in images.shape[2:])
        return np.stack([[resized(each, height, width) for each in answer] for answer in super().__call__(images)])


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BOX))


def coarse_segmenter(multiple: int = 32, **settings: Any) -> Segmenter:
    spec = replace(SPEC, size_multiple=multiple, output_stride=4)
    return Segmenter(CoarseEngine(), COLOURS, spec, size="native", **settings)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("tiling", [Tiling(1024, 512), Tiling(128, 64)])
@pytest.mark.parametrize("shape", [(200, 333), (129, 128), (33, 501), (50, 70), (203, 131)])
@pytest.mark.parametrize("multiple", [32, 1])
def test_an_answer_at_a_stride_lies_where_the_whole_one_does(
    shape: tuple[int, int], tiling: Tiling, multiple: int, flip: bool
):
    photo = colourful_photo(*shape)
    whole, _ = colour_segmenter(size="native").predict(photo)
    mask, confidence = coarse_segmenter(multiple, tiling=tiling, flip=flip).predict(photo)
    assert mask.shape == confidence.shape == shape
    inner = np.s_[4:-4, 4:-4]
    same = {
        (y, x): float((np.roll(mask, (y, x), (0, 1))[inner] == whole[inner]).mean())
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    }
    assert max(same, key=lambda shift: same[shift]) == (0, 0), same
    assert same[0, 0] > (0.97 if multiple % 4 == 0 else 0.96)  # else cells may be smaller than 4 pixels
    answers = coarse_segmenter(multiple, tiling=tiling, flip=flip).probabilities(photo)
    assert (answers.argmax(axis=0) == mask).mean() > 0.9999
    np.testing.assert_allclose(answers.sum(axis=0), 1, atol=1e-5)


def test_the_answer_of_a_network_that_takes_any_size_stands_for_the_whole_photo():
    logits = smooth_logits(np.random.default_rng(3), 5, 13, 17)
    spec = replace(SPEC, size_multiple=1, output_stride=4)
    segmenter = Segmenter(Answers(logits, 4), table(5), spec, size="native")
    _, expected = expected_answer(logits, 50, 66)
    np.testing.assert_allclose(segmenter.probabilities(colourful_photo(50, 66)), expected, atol=1e-5)


def test_tiles_at_a_stride_equal_the_whole():
    photo = colourful_photo(203, 331)
    tiled, whole = (coarse_segmenter(tiling=tiling).predict(photo) for tiling in (Tiling(64, 32), Tiling(1024, 512)))
    assert (tiled[0] == whole[0]).mean() > 0.9999
    np.testing.assert_allclose(tiled[1], whole[1], atol=2e-3)


def test_an_answer_at_another_stride_than_said_is_refused():
    for engine, stride in ((ColourEngine(), 4), (CoarseEngine(), 1), (CoarseEngine(), 2)):
        segmenter = Segmenter(engine, COLOURS, replace(SPEC, output_stride=stride))
        with pytest.raises(EngineError, match=f"at another size than 1 in {stride}, as its configuration"):
            segmenter.predict(colourful_photo(40, 50))


# Probabilities of all classes.


@pytest.mark.parametrize("size", [None, 97, 150, "native", 700])
@pytest.mark.parametrize("shape", [(170, 230), (1, 300), (65, 64)])
def test_the_most_probable_class_of_a_pixel_is_what_predict_answers(shape: tuple[int, int], size):
    photo = colourful_photo(*shape)
    for tiling in (Tiling(64, 32), Tiling(1024, 512)):
        segmenter = colour_segmenter(size=size, flip=True, tiling=tiling)
        probabilities = segmenter.probabilities(photo)
        mask, confidence = segmenter.predict(photo)
        assert (probabilities.shape, probabilities.dtype) == ((len(COLOURS), *shape), np.float32)
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-4)
        np.testing.assert_array_equal(probabilities.argmax(axis=0), mask)
        np.testing.assert_array_equal(probabilities.max(axis=0).astype(np.float16), confidence)


def test_probabilities_are_each_class_interpolated_in_full():
    logits = smooth_logits(np.random.default_rng(3), 5, 20, 32)
    segmenter = Segmenter(Answers(logits), table(5), SPEC, size=32)
    _, expected = expected_answer(logits, 50, 80)
    np.testing.assert_allclose(segmenter.probabilities(colourful_photo(50, 80)), expected, atol=1e-5)


# The default model, and what callers see.


@pytest.fixture(scope="module")
def default() -> Segmenter:
    return load(engine="onnxruntime")


def test_the_default_model_finds_the_cat(default: Segmenter):
    found = [entry.name for entry in default(PHOTOS / "chelsea.png").classes if entry.name != "background"]
    assert found[0] == "cat"


def test_the_default_model_finds_the_astronaut(default: Segmenter):
    shares = {entry.name: entry.share for entry in default(PHOTOS / "astronaut.png").classes}
    assert shares["person"] > 0.25


def test_the_same_photo_gives_the_same_answer_whatever_it_comes_as(default: Segmenter):
    path = PHOTOS / "chelsea.png"
    pixels = read_image(path).pixels
    results = [default(source) for source in (path, str(path), path.read_bytes(), pixels, read_image(path))]
    for result in results[1:]:
        np.testing.assert_array_equal(result.mask, results[0].mask)
        np.testing.assert_array_equal(result.confidence, results[0].confidence)
    assert results[0].mask.shape == pixels.shape[:2]
    assert results[0].name == results[4].name == "chelsea.png"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2000), (3, 5), (65, 71)])
def test_the_default_model_takes_any_size(default: Segmenter, height: int, width: int):
    mask, confidence = default.predict(colourful_photo(height, width))
    assert mask.shape == confidence.shape == (height, width)
    assert 0 <= confidence.min() <= confidence.max() <= 1
    assert mask.max() < 21


def test_a_given_name_and_the_notes_of_reading_are_kept(tmp_path: Path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(colourful_photo(8, 8)).save(path, "PNG")
    assert colour_segmenter()(path).notes == ("named .jpg but is a PNG",)
    assert colour_segmenter()(path, name="mine").name == "mine"


def test_limits_are_those_of_the_caller():
    with pytest.raises(ImageError, match="above the limit of 100"):
        colour_segmenter()(PHOTOS / "chelsea.png", limits=Limits(max_pixels=100))


# Refusals.


@pytest.mark.parametrize("size", [0, -5, "large"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="size is"):
        colour_segmenter(size=size)


def test_a_size_that_is_none_is_refused_as_such_where_a_model_is_loaded_for_few_photos():
    with pytest.raises(ValueError, match="size is 0; expected a positive number"):
        load(size=0, photos=1)


@pytest.mark.parametrize(
    "array",
    [
        np.full((32, 32, 3), 0.5, np.float32),
        np.full((32, 32, 3), 1000, np.uint16),
        np.full((32, 32), 1, np.uint8),
        np.full((32, 32, 4), 1, np.uint8),
        np.full((3, 32, 32), 1, np.uint8),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_an_array_that_is_no_rgb_of_bytes_is_refused_not_answered(array: np.ndarray):
    segmenter = colour_segmenter(size="native")  # nothing is scaled, so that nothing else would complain
    for answer in (segmenter.predict, segmenter.probabilities, segmenter.network_input):
        with pytest.raises(ImageError, match=rf"is {array.dtype} of shape .*; expected uint8 \(H, W, 3\)"):
            answer(array)


@pytest.mark.parametrize("tiling", [Tiling(100, 32), Tiling(64, 20)])
def test_a_tiling_off_the_grid_of_the_network_is_refused(tiling: Tiling):
    with pytest.raises(ValueError, match="multiples of 32"):
        colour_segmenter(tiling=tiling)


@pytest.mark.parametrize("multiple", [1, 7, 48, 300, 2048])
def test_the_default_tiling_fits_any_network(multiple: int):
    spec = InputSpec(SPEC.mean, SPEC.std, long_side=64, size_multiple=multiple)
    tiling = Segmenter(ColourEngine(), COLOURS, spec).tiling
    assert tiling.size % multiple == tiling.overlap % multiple == 0
    assert tiling.size >= 1024


def test_a_network_with_another_number_of_classes_is_refused():
    with pytest.raises(EngineError, match="tells 4 classes apart, its class table names 7"):
        Segmenter(ColourEngine(), table(7), SPEC).predict(colourful_photo(8, 8))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_no_number_is_refused(value: float):
    logits = np.zeros((3, 64, 64), np.float32)
    logits[1, 5, 5] = value
    with pytest.raises(EngineError, match="no numbers"):
        Segmenter(Answers(logits), table(3), SPEC).predict(colourful_photo(8, 8))
