from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pixelwise import confusion
from pixelwise.confusion import ConfusionMatrix, pair_counts
from pixelwise.errors import MaskError, PixelwiseError

Mask = NDArray[np.uint8]


def mask(*rows: list[int]) -> Mask:
    return np.array(rows, dtype=np.uint8)


def random_pair(rng: np.random.Generator, num_classes: int, shape: tuple[int, int], ignore: float) -> tuple[Mask, Mask]:
    target = rng.integers(0, num_classes, shape).astype(np.uint8)
    target[rng.random(shape) < ignore] = 255
    return target, rng.integers(0, num_classes, shape).astype(np.uint8)


def counted_by_hand(target: Mask, prediction: Mask, num_classes: int) -> list[list[int]]:
    counts = [[0] * num_classes for _ in range(num_classes)]
    for truth, guess in zip(target.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if truth != 255:
            counts[truth][guess] += 1
    return counts


def test_rows_are_ground_truth_and_columns_prediction() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(mask([0, 0, 1], [0, 1, 1], [2, 255, 255]), mask([0, 1, 1], [0, 1, 0], [2, 2, 0]))
    assert matrix.counts.tolist() == [[2, 1, 0], [1, 2, 0], [0, 0, 1]]
    assert matrix.counts.dtype == np.int64
    assert (matrix.images, matrix.ignored_pixels) == (1, 2)


def test_counts_equal_a_pixel_by_pixel_loop() -> None:
    rng = np.random.default_rng(1)
    for _ in range(2000):
        num_classes = int(rng.integers(1, 20))
        shape = (int(rng.integers(1, 7)), int(rng.integers(1, 9)))
        target, prediction = random_pair(rng, num_classes, shape, float(rng.choice([0, 0.3, 1])))
        matrix = ConfusionMatrix(num_classes)
        alone = matrix.update(target, prediction)
        assert matrix.counts.tolist() == alone.tolist() == counted_by_hand(target, prediction, num_classes)
        assert matrix.ignored_pixels == (target == 255).sum()


@pytest.mark.parametrize("num_classes", [1, 2, 11, 15, 16])
def test_the_table_has_every_ignored_pixel_too(num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    for ignore_index in (num_classes, 200, 255):
        for shape in ((1, 1), (3, 5), (8, 9), (64, 33)):
            target, prediction = random_pair(rng, num_classes, shape, 0.3)
            target[target == 255] = ignore_index
            table = pair_counts(target, prediction, num_classes=num_classes, ignore_index=ignore_index)
            expected = np.zeros((256, num_classes), np.int64)
            np.add.at(expected, (target.ravel(), prediction.ravel()), 1)
            assert np.array_equal(table, expected[[*range(num_classes), ignore_index]])


def test_all_255_classes_and_an_ignore_index_other_than_255() -> None:
    everything = np.arange(255, dtype=np.uint8).reshape(15, 17)
    full = ConfusionMatrix(255)
    full.update(everything, everything)
    assert np.array_equal(full.counts, np.eye(255, dtype=np.int64))

    low = ConfusionMatrix(2, ignore_index=2)
    low.update(mask([0, 1, 2]), mask([0, 0, 1]))
    assert low.counts.tolist() == [[1, 0], [1, 0]]
    assert low.ignored_pixels == 1


def test_blocks_of_rows_do_not_change_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    target, prediction = random_pair(np.random.default_rng(2), 5, (23, 7), 0.1)
    whole = pair_counts(target, prediction, num_classes=5)
    for pixels in (1, 7, 15, 10_000):
        monkeypatch.setattr(confusion, "_BLOCK_PIXELS", pixels)
        assert np.array_equal(pair_counts(target, prediction, num_classes=5), whole)


def test_a_large_photo_needs_bounded_memory() -> None:
    target = np.zeros((3000, 4000), dtype=np.uint8)
    matrix = ConfusionMatrix(2)
    tracemalloc.start()
    try:
        matrix.update(target, target)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert matrix.counts[0, 0] == 12_000_000
    assert peak < 24 << 20


def test_views_and_flips_are_counted_like_copies() -> None:
    target, prediction = random_pair(np.random.default_rng(3), 4, (9, 13), 0.2)
    expected = ConfusionMatrix(4).update(target, prediction)
    for change in (np.fliplr, np.flipud, np.transpose):
        assert np.array_equal(ConfusionMatrix(4).update(change(target), change(prediction)), expected)


def test_order_batches_and_processes_are_irrelevant() -> None:
    # torchvision #7644: the same network 63.8 on four GPUs and 66.4 on one.
    rng = np.random.default_rng(4)
    pairs = [random_pair(rng, 3, (5, 6), 0.2) for _ in range(6)]
    whole, backwards, shards = ConfusionMatrix(3), ConfusionMatrix(3), [ConfusionMatrix(3), ConfusionMatrix(3)]
    for i, pair in enumerate(pairs):
        whole.update(*pair)
        shards[i % 2].update(*pair)
    for pair in reversed(pairs):
        backwards.update(*pair)
    stacked = ConfusionMatrix(3)
    stacked.update(np.vstack([t for t, _ in pairs]), np.vstack([p for _, p in pairs]))
    assert whole == backwards == shards[0] + shards[1] == sum(shards, start=ConfusionMatrix(3))
    assert np.array_equal(stacked.counts, whole.counts)


def test_ignored_pixels_are_inert() -> None:
    target, prediction = random_pair(np.random.default_rng(5), 4, (20, 20), 0.4)
    changed = np.where(target == 255, (prediction + 1) % 4, prediction).astype(np.uint8)
    assert not np.array_equal(changed, prediction)
    matrix, other = ConfusionMatrix(4), ConfusionMatrix(4)
    matrix.update(target, prediction)
    other.update(target, changed)
    assert matrix == other


def test_a_sample_counted_twice_shows_in_the_number_of_images() -> None:
    # torchvision #7916: a distributed sampler pads the last batch, and the sum over ranks holds the sample twice.
    pairs = [random_pair(np.random.default_rng(i), 2, (4, 4), 0) for i in range(3)]
    ranks = [ConfusionMatrix(2), ConfusionMatrix(2)]
    for rank, i in ((0, 0), (1, 1), (0, 2), (1, 0)):
        ranks[rank].update(*pairs[i])
    assert (ranks[0] + ranks[1]).images == 4 != len(pairs)


def test_counts_are_a_copy() -> None:
    matrix = ConfusionMatrix(2)
    alone = matrix.update(mask([0, 1]), mask([0, 1]))
    for leaked in (matrix.counts, alone):
        leaked[:] = 7
    assert matrix.counts.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("target", "prediction", "words"),
    [
        (mask([0, 7, 7]), mask([0, 0, 0]), "the target holds 7 (2 pixels) among 3 pixels; allowed are 0 to 2 and 255"),
        (mask([0, 1, 2]), mask([0, 255, 0]), "the prediction holds 255 (1 pixels) among 3 pixels; allowed are 0 to 2."),
        (mask([0, 1, 2]), mask([3, 9, 9]), "the prediction holds 3 (1 pixels), 9 (2 pixels)"),
        (mask([255, 255]), mask([0, 255]), "the prediction holds 255 (1 pixels)"),
        (mask(list(range(10, 20))), mask([0] * 10), "14 (1 pixels) and 5 more values among 10"),
        (mask([0, 1], [1, 1]), mask([0, 1]), "shape (2, 2) but the prediction (1, 2)"),
        (mask([0, 1]).astype(np.int64), mask([0, 1]), "the target is int64 of shape (1, 2)"),
        (mask([0, 1]), mask([0, 1]).astype(np.float32), "the prediction is float32 of shape (1, 2)"),
        (mask([0, 1])[None], mask([0, 1])[None], "the target is uint8 of shape (1, 1, 2)"),
    ],
)
def test_a_pair_that_cannot_be_measured_is_refused_with_values_and_counts(
    target: Any, prediction: Any, words: str
) -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(mask([0, 1]), mask([1, 1]))
    before = matrix.to_json()
    with pytest.raises(MaskError) as caught:
        matrix.update(target, prediction, name="dog.png")
    assert str(caught.value).startswith("dog.png: ")
    assert words in str(caught.value)
    assert matrix.to_json() == before


def test_masks_of_0_and_255_are_refused_unless_255_is_declared_ignored() -> None:
    # mmsegmentation #1609: with 255 = ignore, the foreground of a 0/255 mask vanishes without a word.
    stored = mask([0, 255], [255, 255])
    with pytest.raises(MaskError, match=r"holds 255 \(3 pixels\)"):
        ConfusionMatrix(2, ignore_index=254).update(stored, mask([0, 1], [1, 1]))
    matrix = ConfusionMatrix(2)
    matrix.update(stored, mask([0, 1], [1, 1]))
    assert matrix.ignored_pixels == 3


@pytest.mark.parametrize("ignore_index", [-1, 0, 2, 256])
def test_a_real_class_cannot_be_ignored(ignore_index: int) -> None:
    # evaluate #421, mmsegmentation #2655: ignoring a class removes its false positives and turns IoU into recall.
    with pytest.raises(PixelwiseError, match=f"ignore_index is {ignore_index}"):
        ConfusionMatrix(3, ignore_index=ignore_index)


@pytest.mark.parametrize("num_classes", [0, -1, 256])
def test_the_number_of_classes_is_checked(num_classes: int) -> None:
    with pytest.raises(PixelwiseError, match=f"not {num_classes}"):
        ConfusionMatrix(num_classes)


def test_matrices_of_different_kinds_do_not_merge() -> None:
    with pytest.raises(PixelwiseError, match="cannot take in one of 4 classes"):
        ConfusionMatrix(3).merge(ConfusionMatrix(4))
    with pytest.raises(PixelwiseError, match="ignore_index 254"):
        ConfusionMatrix(3) + ConfusionMatrix(3, ignore_index=254)


def test_equality_looks_at_everything() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(mask([0, 1]), mask([0, 1]))
    assert matrix == ConfusionMatrix.from_json(matrix.to_json())
    for key, value in (("ignore_index", 254), ("images", 2), ("ignored_pixels", 1), ("counts", [[1, 0], [1, 0]])):
        assert matrix != ConfusionMatrix.from_json({**matrix.to_json(), key: value}), key
    assert matrix != "matrix"


def test_json_returns_the_same_matrix() -> None:
    matrix = ConfusionMatrix(3, ignore_index=200)
    matrix.update(mask([0, 1, 2, 200]), mask([0, 2, 2, 1]))
    assert ConfusionMatrix.from_json(json.loads(json.dumps(matrix.to_json()))) == matrix


@pytest.mark.parametrize(
    "damage",
    [
        {"counts": [[1, 0]]},
        {"counts": [[1, 0], [0]]},
        {"counts": [[1, 0], [0, -1]]},
        {"counts": [[1.5, 0], [0, 1]]},
        {"counts": None},
        {"images": -1},
        {"images": "2"},
        {"num_classes": 2.0},
        {"ignore_index": 1},
    ],
)
def test_damaged_json_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(PixelwiseError):
        ConfusionMatrix.from_json({**ConfusionMatrix(2).to_json(), **damage})


def test_json_without_a_key_is_refused() -> None:
    for key in (whole := ConfusionMatrix(2).to_json()):
        with pytest.raises(PixelwiseError, match="damaged"):
            ConfusionMatrix.from_json({k: v for k, v in whole.items() if k != key})
