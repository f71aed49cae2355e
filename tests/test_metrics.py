from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pixelwise.errors import PixelwiseError
from pixelwise.labels import VOC, ClassTable
from pixelwise.metrics import ConfusionMatrix, Scores, class_mean, mean_image_iou, mean_iou, scores

Counts = NDArray[np.int64]


def matrix_of(counts: Any, *, images: int = 1, ignored_pixels: int = 0) -> ConfusionMatrix:
    rows = np.asarray(counts, dtype=np.int64).tolist()
    stored = {"num_classes": len(rows), "ignore_index": 255, "images": images, "ignored_pixels": ignored_pixels}
    return ConfusionMatrix.from_json({**stored, "counts": rows})


def random_counts(rng: np.random.Generator) -> Counts:
    """Small numbers, many zeros, and now and then a class that is absent from one side or both."""
    num_classes = int(rng.integers(1, 6))
    counts = rng.integers(0, 4, (num_classes, num_classes)) * (rng.random((num_classes, num_classes)) < 0.6)
    if rng.random() < 0.5:
        counts[rng.integers(num_classes)] = 0
    if rng.random() < 0.5:
        counts[:, rng.integers(num_classes)] = 0
    return counts.astype(np.int64)


def quotient(top: int, bottom: int) -> Fraction | None:
    return Fraction(top, bottom) if bottom else None


def average(values: list[Fraction | None]) -> Fraction | None:
    defined = [v for v in values if v is not None]
    return sum(defined, Fraction()) / len(defined) if defined else None


def same(measured: float, exact: Fraction | None) -> bool:
    return math.isnan(measured) if exact is None else measured == pytest.approx(float(exact), rel=1e-12)


def slow_scores(counts: Counts) -> dict[str, Any]:
    """Every figure in exact fractions, straight from its definition; None is undefined."""
    rows, classes = counts.tolist(), range(len(counts))
    tp = [rows[c][c] for c in classes]
    fn = [sum(rows[c][k] for k in classes if k != c) for c in classes]
    fp = [sum(rows[k][c] for k in classes if k != c) for c in classes]
    total = sum(map(sum, rows))
    iou = [quotient(tp[c], tp[c] + fp[c] + fn[c]) for c in classes]
    dice = [quotient(2 * tp[c], 2 * tp[c] + fp[c] + fn[c]) for c in classes]
    recall = [quotient(tp[c], tp[c] + fn[c]) for c in classes]
    weighted = [(tp[c] + fn[c]) * value for c, value in enumerate(iou) if value is not None]
    return {
        "iou": iou,
        "dice": dice,
        "class_accuracy": recall,
        "mean_iou": average(iou),
        "foreground_mean_iou": average(iou[1:]),
        "mean_dice": average(dice),
        "mean_class_accuracy": average(recall),
        "pixel_accuracy": quotient(sum(tp), total),
        "frequency_weighted_iou": sum(weighted, Fraction()) / total if total else None,
    }


def test_a_matrix_worked_by_hand() -> None:
    got = scores(matrix_of([[4, 1, 0], [2, 3, 0], [0, 1, 9]], images=2, ignored_pixels=5))
    assert got.iou == pytest.approx((4 / 7, 3 / 7, 9 / 10))
    assert got.dice == pytest.approx((8 / 11, 6 / 10, 18 / 19))
    assert got.class_accuracy == pytest.approx((4 / 5, 3 / 5, 9 / 10))
    assert got.mean_iou == pytest.approx((4 / 7 + 3 / 7 + 9 / 10) / 3)
    assert got.foreground_mean_iou == pytest.approx((3 / 7 + 9 / 10) / 2)
    assert got.mean_dice == pytest.approx((8 / 11 + 6 / 10 + 18 / 19) / 3)
    assert got.pixel_accuracy == 16 / 20
    assert got.mean_class_accuracy == pytest.approx((0.8 + 0.6 + 0.9) / 3)
    assert got.frequency_weighted_iou == pytest.approx((5 * 4 / 7 + 5 * 3 / 7 + 10 * 9 / 10) / 20)
    assert (got.images, got.scored_pixels, got.ignored_pixels) == (2, 20, 5)
    assert got.left_out == got.predicted_without_truth == got.remarks() == ()


def test_every_figure_equals_exact_fractions() -> None:
    rng = np.random.default_rng(1)
    for _ in range(2000):
        counts = random_counts(rng)
        got = scores(matrix_of(counts))
        for name, exact in slow_scores(counts).items():
            value = getattr(got, name)
            if isinstance(exact, list):
                assert len(value) == len(exact)
                assert all(map(same, value, exact)), (name, counts)
            else:
                assert same(value, exact), (name, counts)


def test_a_perfect_prediction_scores_one_and_a_wrong_one_zero() -> None:
    names = ("mean_iou", "mean_dice", "pixel_accuracy", "mean_class_accuracy", "frequency_weighted_iou")
    assert all(getattr(scores(matrix_of(np.diag([3, 1, 4]))), name) == 1 for name in names)
    assert all(getattr(scores(matrix_of([[0, 2], [3, 0]])), name) == 0 for name in names)


def test_dice_follows_from_iou() -> None:
    got = scores(matrix_of(np.random.default_rng(2).integers(0, 50, (6, 6))))
    assert got.dice == pytest.approx([2 * value / (1 + value) for value in got.iou])


def test_permuting_the_classes_permutes_the_results() -> None:
    rng = np.random.default_rng(3)
    counts, order = rng.integers(0, 50, (6, 6)), rng.permutation(6)
    counts[2] = counts[:, 2] = 0
    plain, permuted = scores(matrix_of(counts)), scores(matrix_of(counts[np.ix_(order, order)]))
    assert permuted.iou == pytest.approx([plain.iou[i] for i in order], nan_ok=True)
    assert permuted.mean_iou == pytest.approx(plain.mean_iou)
    assert permuted.frequency_weighted_iou == pytest.approx(plain.frequency_weighted_iou)
    assert [order[i] for i in permuted.left_out] == [2]


def test_an_absent_class_is_left_out_and_said_so() -> None:
    # torchmetrics #2558, #2866: scored 0, nan that poisons the mean, or -1 that enters it.
    got = scores(matrix_of([[3, 1, 0], [1, 3, 0], [0, 0, 0]]))
    assert math.isnan(got.iou[2])
    assert math.isnan(got.dice[2])
    assert got.mean_iou == pytest.approx(3 / 5)
    assert got.mean_dice == pytest.approx(3 / 4)
    assert got.left_out == (2,)
    assert got.remarks() == (
        "Left out of mean IoU and mean Dice, as neither in the ground truth nor predicted: class 2.",
    )


def test_a_class_predicted_without_ground_truth_counts_as_zero() -> None:
    # Detectron2 drops such a class, and with it the false positives.
    got = scores(matrix_of([[3, 0, 1], [0, 4, 0], [0, 0, 0]]))
    assert got.iou[2] == 0
    assert got.mean_iou == pytest.approx((3 / 4 + 1 + 0) / 3)
    assert math.isnan(got.class_accuracy[2])
    assert got.mean_class_accuracy == pytest.approx((3 / 4 + 1) / 2)
    assert got.predicted_without_truth == (2,)
    assert got.remarks() == ("Predicted but not in the ground truth, so counted with an IoU of 0: class 2.",)


def test_ignored_pixels_leave_the_union_too() -> None:
    # torchmetrics #312: ignore_index taken out of the intersection but not out of the union.
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([[0, 1, 255, 255]], np.uint8), np.array([[0, 1, 1, 0]], np.uint8))
    assert scores(matrix).iou == (1.0, 1.0)


def test_an_ignore_index_of_255_is_no_class_of_its_own() -> None:
    # torchmetrics #2747 crashes on a label of 255; others count VOC's void as one more class.
    matrix = ConfusionMatrix(len(VOC), ignore_index=VOC.ignore_index)
    matrix.update(np.array([[0, 15, 255]], np.uint8), np.array([[0, 15, 12]], np.uint8))
    got = scores(matrix)
    assert len(got.iou) == 21
    assert got.mean_iou == 1
    assert len(got.left_out) == 19
    assert (got.scored_pixels, got.ignored_pixels) == (2, 1)


def test_a_foreground_that_vanished_into_ignore_shows() -> None:
    # mmsegmentation #1609: masks of 0 and 255 with 255 = ignore.
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([[0, 255, 255, 255]], np.uint8), np.array([[0, 1, 1, 1]], np.uint8))
    got = scores(matrix)
    assert math.isnan(got.foreground_mean_iou)
    assert got.left_out == (1,)
    assert got.ignored_pixels == 3


@pytest.mark.parametrize("num_classes", [1, 3])
def test_all_pixels_ignored_makes_every_figure_undefined_and_says_so(num_classes: int) -> None:
    matrix = ConfusionMatrix(num_classes)
    matrix.update(np.full((2, 3), 255, np.uint8), np.zeros((2, 3), np.uint8))
    got = scores(matrix)
    figures = [value for value in got.to_json().values() if value is None]
    assert len(figures) == 6
    assert all(map(math.isnan, got.iou + got.dice + got.class_accuracy))
    assert got.remarks() == ("Every figure is undefined: all 6 pixels are ignored.",)
    assert math.isnan(mean_iou(matrix).value)
    assert mean_iou(matrix).left_out == tuple(range(num_classes))


def test_one_class_has_no_foreground() -> None:
    assert math.isnan(scores(matrix_of([[5]])).foreground_mean_iou)


def test_json_is_strict_and_has_null_for_nan() -> None:
    got = scores(matrix_of([[3, 0], [0, 0]]))
    stored = json.loads(json.dumps(got.to_json(), allow_nan=False))
    assert stored["iou"] == [1.0, None]
    assert stored["left_out"] == [1]
    assert stored["remarks"] == list(got.remarks())
    assert set(stored) == {*Scores.__dataclass_fields__, "remarks"}


def test_remarks_name_the_classes_of_the_table_and_refuse_another_table() -> None:
    # A list of names that is one short shifts every name after it.
    got = scores(matrix_of([[3, 0, 1], [0, 0, 0], [0, 0, 0]]))
    table = ClassTable(("background", "cat", "dog"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    assert got.remarks(table)[0].endswith("predicted: cat.")
    assert got.remarks(table)[1].endswith("IoU of 0: dog.")
    with pytest.raises(PixelwiseError, match="names 21 classes but 3 were measured"):
        got.remarks(VOC)


def test_a_mean_over_some_classes_counts_confusions_with_the_others() -> None:
    matrix = matrix_of([[4, 1, 0, 0], [2, 3, 0, 0], [0, 1, 9, 0], [0, 0, 0, 0]])
    got = mean_iou(matrix, over=[3, 1, 2])
    assert got.value == pytest.approx((3 / 7 + 9 / 10) / 2)
    assert got.over == (3, 1, 2)
    assert got.left_out == (3,)
    assert mean_iou(matrix).value == pytest.approx(scores(matrix).mean_iou)
    assert mean_iou(matrix, over=[1, 2, 3]).value == pytest.approx(scores(matrix).foreground_mean_iou)
    assert class_mean(scores(matrix).dice, over=[2]).value == pytest.approx(18 / 19)


@pytest.mark.parametrize("over", [[], [0, 0], [2], [-1]])
def test_a_mean_over_what_are_no_classes_is_refused(over: list[int]) -> None:
    matrix = matrix_of([[1, 0], [0, 1]])
    for measure in (lambda: mean_iou(matrix, over=over), lambda: mean_image_iou(matrix.counts[None], over=over)):
        with pytest.raises(PixelwiseError, match="class ids from 0 to 1"):
            measure()


def test_the_mean_of_image_ious_is_another_figure_than_the_mean_iou() -> None:
    stack = np.array([[[90, 10], [0, 0]], [[1, 0], [0, 1]]])
    got = mean_image_iou(stack)
    assert got.value == pytest.approx(((90 / 100 + 0) / 2 + 1) / 2)
    assert (got.images, got.left_out) == (2, ())
    assert mean_iou(matrix_of(stack.sum(axis=0))).value == pytest.approx((91 / 101 + 1 / 11) / 2)


def test_the_mean_of_image_ious_equals_exact_fractions() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        stack = rng.integers(0, 3, (4, 3, 3)) * (rng.random((4, 3, 3)) < 0.3)
        each = [average([slow_scores(counts)["iou"][c] for c in (0, 2)]) for counts in stack]
        got = mean_image_iou(stack, over=[0, 2])
        assert same(got.value, average(each))
        assert got.left_out == tuple(i for i, value in enumerate(each) if value is None)
        assert got.images == 4 - len(got.left_out)


@pytest.mark.parametrize(
    "stack", [np.zeros((2, 2), int), np.zeros((0, 2, 2), int), np.zeros((1, 2, 3), int), np.ones((1, 2, 2))]
)
def test_what_is_no_stack_of_matrices_is_refused(stack: Any) -> None:
    with pytest.raises(PixelwiseError, match="one int64 confusion matrix an image"):
        mean_image_iou(stack)


@pytest.mark.slow
def test_torchmetrics_agrees_where_its_conventions_do() -> None:
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("torchmetrics.functional.classification")
    rng = np.random.default_rng(7)
    for absent in (False, True):
        prediction = rng.integers(0, 5 - absent, (40, 50)).astype(np.uint8)
        target = np.where(rng.random((40, 50)) < 0.5, prediction, rng.integers(0, 5 - absent, (40, 50))).astype(
            np.uint8
        )
        target[rng.random((40, 50)) < 0.1] = 255
        matrix = ConfusionMatrix(5)
        matrix.update(target, prediction)
        got = scores(matrix)
        pair = torch.from_numpy(prediction).long(), torch.from_numpy(target).long()
        settings = {"num_classes": 5, "ignore_index": 255}

        counts = reference.multiclass_confusion_matrix(*pair, **settings)
        assert counts.tolist() == matrix.counts.tolist()
        each = reference.multiclass_jaccard_index(*pair, **settings, average="none").tolist()
        assert each == pytest.approx(np.nan_to_num(got.iou).tolist(), rel=1e-5)
        for figure, average_name, value in (
            (reference.multiclass_jaccard_index, "macro", got.mean_iou),
            (reference.multiclass_jaccard_index, "weighted", got.frequency_weighted_iou),
            (reference.multiclass_f1_score, "macro", got.mean_dice),
            (reference.multiclass_accuracy, "macro", got.mean_class_accuracy),
            (reference.multiclass_accuracy, "micro", got.pixel_accuracy),
        ):
            assert figure(*pair, **settings, average=average_name).item() == pytest.approx(value, rel=1e-5)
