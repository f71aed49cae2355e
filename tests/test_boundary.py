from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from pixelwise.boundary import BoundaryIoU, band_width, boundary_band, boundary_f1, outline_matches
from pixelwise.errors import MaskError, PixelwiseError
from pixelwise.metrics import ConfusionMatrix, class_mean, mean_iou

Mask = NDArray[np.uint8]


def blobs(rng: np.random.Generator, num_classes: int, shape: tuple[int, int]) -> Mask:
    """A label map of patches with straight and ragged outlines."""
    seeds = rng.integers(0, num_classes, (shape[0] // 6 + 1, shape[1] // 6 + 1))
    labels = np.kron(seeds, np.ones((6, 6), dtype=np.int64))[: shape[0], : shape[1]]
    return np.where(rng.random(shape) < 0.02, rng.integers(0, num_classes, shape), labels).astype(np.uint8)


def eroded(inside: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """The authors' erosion, by SciPy: `distance` times by a 3 x 3 square, nothing outside of the image."""
    return ndimage.binary_erosion(inside, np.ones((3, 3)), iterations=distance, border_value=0)


def slow_areas(target: Mask, prediction: Mask, num_classes: int, distance: int) -> list[tuple[int, int]]:
    labelled = target != 255
    areas = []
    for c in range(num_classes):
        masks = [(mask == c) & labelled for mask in (target, prediction)]
        bands = [mask & ~eroded(mask, distance) for mask in masks]
        areas.append((int((bands[0] & bands[1]).sum()), int((bands[0] | bands[1]).sum())))
    return areas


def test_a_square_worked_by_hand() -> None:
    target = np.zeros((12, 12), np.uint8)
    target[2:7, 2:7] = 1
    prediction = np.zeros((12, 12), np.uint8)
    prediction[2:7, 3:8] = 1
    measure = BoundaryIoU(2)
    measure.update(target, prediction)
    # The bands are rings of 16 pixels, one column apart: they share four pixels in the top row and four in the bottom.
    assert measure.intersections[1] == 8
    assert measure.unions[1] == 16 + 16 - 8
    assert measure.per_class()[1] == pytest.approx(8 / 24)


@pytest.mark.parametrize(
    ("height", "width", "pixels"), [(375, 500, 12), (500, 375, 12), (1024, 2048, 46), (8, 8, 1), (1, 1, 1)]
)
def test_the_band_is_two_hundredths_of_the_diagonal(height: int, width: int, pixels: int) -> None:
    assert band_width(height, width) == pixels


def test_bands_equal_scipys_erosion_of_each_class() -> None:
    rng = np.random.default_rng(1)
    for _ in range(150):
        labels = blobs(rng, 4, (int(rng.integers(1, 50)), int(rng.integers(1, 50))))
        distance = int(rng.integers(1, 9))
        expected = np.zeros(labels.shape, dtype=np.bool_)
        for c in range(4):
            expected |= (labels == c) & ~eroded(labels == c, distance)
        assert np.array_equal(boundary_band(labels, distance), expected), (labels.shape, distance)


def test_sums_equal_the_authors_procedure_class_by_class() -> None:
    rng = np.random.default_rng(2)
    measure = BoundaryIoU(4, dilation_ratio=0.05)
    expected = np.zeros((4, 2), dtype=np.int64)
    for _ in range(40):
        shape = (int(rng.integers(10, 90)), int(rng.integers(10, 90)))
        target = blobs(rng, 3, shape)
        prediction = np.where(rng.random(shape) < 0.05, blobs(rng, 4, shape), target).astype(np.uint8)
        target[blobs(rng, 6, shape) == 0] = 255
        measure.update(target, prediction)
        distance = max(1, round(0.05 * math.sqrt(shape[0] ** 2 + shape[1] ** 2)))
        expected += np.array(slow_areas(target, prediction, 4, distance))
    assert measure.intersections.tolist() == expected[:, 0].tolist()
    assert measure.unions.tolist() == expected[:, 1].tolist()
    assert measure.per_class() == pytest.approx((expected[:, 0] / expected[:, 1]).tolist())


def test_a_large_interior_does_not_drown_a_bad_outline() -> None:
    target = np.zeros((300, 400), np.uint8)
    target[30:270, 30:370] = 1
    prediction = np.zeros((300, 400), np.uint8)
    prediction[36:264, 36:364] = 1
    measure, matrix = BoundaryIoU(2), ConfusionMatrix(2)
    measure.update(target, prediction)
    matrix.update(target, prediction)
    assert mean_iou(matrix, over=[1]).value > 0.9
    assert measure.per_class()[1] < 0.3


def test_a_perfect_prediction_scores_one_and_absent_classes_are_undefined() -> None:
    target = blobs(np.random.default_rng(3), 3, (40, 40))
    target[:5] = 255
    measure = BoundaryIoU(5)
    measure.update(target, np.where(target == 255, 0, target).astype(np.uint8))
    assert measure.per_class()[:3] == (1.0, 1.0, 1.0)
    assert all(map(math.isnan, measure.per_class()[3:]))
    mean = class_mean(measure.per_class())
    assert (mean.value, mean.left_out) == (1.0, (3, 4))


def test_ignored_pixels_are_inert() -> None:
    rng = np.random.default_rng(4)
    target, prediction = blobs(rng, 3, (60, 70)), blobs(rng, 3, (60, 70))
    target[blobs(rng, 3, (60, 70)) == 0] = 255
    changed = np.where(target == 255, blobs(rng, 3, (60, 70)), prediction).astype(np.uint8)
    assert not np.array_equal(changed, prediction)
    measure, other, everything = BoundaryIoU(3), BoundaryIoU(3), BoundaryIoU(3)
    measure.update(target, prediction)
    other.update(target, changed)
    everything.update(np.full((9, 9), 255, np.uint8), np.zeros((9, 9), np.uint8))
    assert measure == other
    assert all(map(math.isnan, everything.per_class()))


def test_permuting_the_classes_permutes_the_results() -> None:
    # Detectron2 erodes the map of class ids itself, so that the figure depends on how the classes are numbered.
    rng = np.random.default_rng(5)
    target, prediction = blobs(rng, 4, (50, 60)), blobs(rng, 4, (50, 60))
    order = np.array([2, 0, 3, 1], dtype=np.uint8)
    plain, permuted = BoundaryIoU(4), BoundaryIoU(4)
    plain.update(target, prediction)
    permuted.update(order[target], order[prediction])
    assert permuted.intersections[order].tolist() == plain.intersections.tolist()
    assert permuted.unions[order].tolist() == plain.unions.tolist()


def test_flips_and_the_exchange_of_the_masks_change_nothing() -> None:
    rng = np.random.default_rng(6)
    target, prediction = blobs(rng, 3, (41, 60)), blobs(rng, 3, (41, 60))
    plain = BoundaryIoU(3)
    plain.update(target, prediction)
    for change in (np.fliplr, np.flipud, np.transpose):
        changed = BoundaryIoU(3)
        changed.update(change(target), change(prediction))
        assert changed == plain
    exchanged = BoundaryIoU(3)
    exchanged.update(prediction, target)
    assert exchanged == plain


def test_shards_sum_to_the_whole() -> None:
    rng = np.random.default_rng(7)
    shards, whole = [BoundaryIoU(3), BoundaryIoU(3)], BoundaryIoU(3)
    for i in range(5):
        pair = blobs(rng, 3, (30, 20 + i)), blobs(rng, 3, (30, 20 + i))
        whole.update(*pair)
        shards[i % 2].update(*pair)
    assert shards[1] + shards[0] == whole
    assert whole.images == 5


def test_equality_looks_at_everything() -> None:
    target, prediction = np.array([[0, 1], [1, 1]], np.uint8), np.array([[0, 1], [0, 1]], np.uint8)
    measure = BoundaryIoU(2)
    measure.update(target, prediction)
    for name in ("images", "intersections", "unions"):
        other = BoundaryIoU(2)
        other.update(target, prediction)
        assert other == measure
        setattr(other, name, getattr(other, name) + 1)
        assert other != measure, name
    assert measure != BoundaryIoU(2, dilation_ratio=0.01) + BoundaryIoU(2, dilation_ratio=0.01)
    assert measure != "measure"


@pytest.mark.parametrize("other", [BoundaryIoU(4), BoundaryIoU(3, ignore_index=9), BoundaryIoU(3, dilation_ratio=0.01)])
def test_sums_of_different_kinds_do_not_merge(other: BoundaryIoU) -> None:
    with pytest.raises(PixelwiseError, match="cannot be merged"):
        BoundaryIoU(3) + other


def test_a_refused_pair_names_the_value_and_leaves_the_sums() -> None:
    measure = BoundaryIoU(3)
    with pytest.raises(MaskError, match=r"cow.png: the prediction holds 5 \(4 pixels\)"):
        measure.update(np.zeros((2, 2), np.uint8), np.full((2, 2), 5, np.uint8), name="cow.png")
    assert measure == BoundaryIoU(3)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_classes": 0},
        {"num_classes": 3, "ignore_index": 2},
        {"num_classes": 3, "ignore_index": 256},
        {"num_classes": 3, "dilation_ratio": 0},
        {"num_classes": 3, "dilation_ratio": 1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(PixelwiseError):
        BoundaryIoU(**settings)


# Boundary F1.


def slow_matches(target: Mask, prediction: Mask, num_classes: int, distance: int) -> list[list[int]]:
    """Pixel by pixel: which are outline, and whether one of the other mask's is near."""

    def outline(mask: Mask) -> set[tuple[int, int, int]]:
        found = set()
        for (y, x), label in np.ndenumerate(mask):
            around = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            inside = [p for p in around if 0 <= p[0] < mask.shape[0] and 0 <= p[1] < mask.shape[1] and target[p] != 255]
            if target[y, x] != 255 and any(mask[p] != label for p in inside):
                found.add((y, x, int(label)))
        return found

    def near(point: tuple[int, int, int], others: set[tuple[int, int, int]]) -> bool:
        y, x, label = point
        return any(max(abs(y - v), abs(x - u)) <= distance and label == other for v, u, other in others)

    def counts(point: tuple[int, int, int]) -> bool:
        y, x, _ = point
        reach = range(-distance, distance + 1)
        around = [(y + dy, x + dx) for dy in reach for dx in reach]
        return not any(target[p] == 255 for p in around if 0 <= p[0] < target.shape[0] and 0 <= p[1] < target.shape[1])

    true, predicted = outline(target), outline(prediction)
    rows = [
        [point for point in predicted if counts(point) and near(point, true)],
        [point for point in predicted if counts(point)],
        [point for point in true if counts(point) and near(point, predicted)],
        [point for point in true if counts(point)],
    ]
    return [[sum(point[2] == c for point in row) for c in range(num_classes)] for row in rows]


@pytest.mark.parametrize("seed", range(6))
def test_outlines_that_are_met_equal_a_search_pixel_by_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(length) for length in rng.integers(5, 32, 2))
    target, prediction = blobs(rng, 4, shape), blobs(rng, 4, shape)
    target[rng.random(shape) < 0.02] = 255
    for tolerance, distance in ((0.0075, 1), (2.0 / np.hypot(*shape), 2), (5.0 / np.hypot(*shape), 5)):
        found = outline_matches(target, prediction, num_classes=5, tolerance=float(tolerance))
        assert found.tolist() == slow_matches(target, prediction, 5, distance)


def test_a_square_that_is_moved_is_met_within_the_tolerance_only() -> None:
    target, prediction = np.zeros((400, 300), np.uint8), np.zeros((400, 300), np.uint8)  # 0.75 % of 500: 4 pixels
    target[100:200, 100:200], prediction[104:204, 100:200] = 1, 1
    assert boundary_f1(outline_matches(target, prediction, num_classes=3)).tolist()[:2] == [1.0, 1.0]
    prediction[:] = 0
    prediction[105:205, 100:200] = 1
    value = boundary_f1(outline_matches(target, prediction, num_classes=3))
    assert 0.5 < value[1] < 0.8  # two of four sides, and the ends of the others
    assert math.isnan(value[2])


def test_outlines_on_one_side_only_score_zero_and_the_edges_are_none() -> None:
    one, flat = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    one[10:20, 10:20] = 1
    assert boundary_f1(outline_matches(one, flat, num_classes=2)).tolist() == [0.0, 0.0]
    assert np.isnan(boundary_f1(outline_matches(flat, one, num_classes=2))).all()
    assert not outline_matches(flat, flat, num_classes=2).any()
    ignored = flat.copy()
    ignored[:, 20:] = 255
    assert not outline_matches(ignored, flat, num_classes=2).any()
    assert not outline_matches(ignored, np.where(ignored == 255, one, 0).astype(np.uint8), num_classes=2).any()


def test_outlines_beside_an_ignored_border_do_not_count() -> None:
    target = np.zeros((60, 60), np.uint8)
    target[20:40, 20:40], target[23:37, 23:37] = 255, 1  # as the border of an object in Pascal VOC
    prediction = np.zeros((60, 60), np.uint8)
    prediction[22:38, 22:38] = 1
    assert not outline_matches(target, prediction, num_classes=2).any()
    prediction[:] = 0
    prediction[22:38, 5:38] = 1  # one side far from the border
    counts = outline_matches(target, prediction, num_classes=2)
    assert counts[1].min() > 10
    assert not counts[[0, 2, 3]].any()
    assert np.isnan(boundary_f1(counts)).all()


def test_boundary_f1_of_sums_is_that_of_the_summed_pixels() -> None:
    counts = np.array([[[3], [4], [1], [2]], [[0], [4], [1], [2]]])
    precision, recall = 3 / 8, 2 / 4
    expected = 2 * precision * recall / (precision + recall)
    assert boundary_f1(counts.sum(axis=0)) == pytest.approx([expected])
    assert boundary_f1(counts)[:, 0] == pytest.approx([2 * 0.75 * 0.5 / 1.25, 0.0])
