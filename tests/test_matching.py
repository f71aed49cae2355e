from __future__ import annotations

import pytest

from pixelwise.errors import DataError
from pixelwise.labels import ClassTable
from pixelwise.matching import match_classes


def table(*names: str, ignore_index: int = 255) -> ClassTable:
    return ClassTable(names, tuple((i, i, i) for i in range(len(names))), ignore_index)


VOC = table("background", "cat", "dog", "car")


def test_the_same_classes_need_nothing() -> None:
    assert match_classes(VOC, VOC) is None
    assert match_classes(VOC, table(*VOC.names, ignore_index=100)) is None  # what is not labelled is the data's matter


def test_the_same_names_in_another_order_go_by_name() -> None:
    replaced = match_classes(VOC, table("car", "dog", "background", "cat"))
    assert replaced is not None
    assert replaced.tolist() == [2, 3, 1, 0]


def test_several_classes_may_count_as_one_and_the_rest_as_another() -> None:
    pets = table("pet", "background")
    replaced = match_classes(VOC, pets, {"cat": "pet", "dog": "pet", "rest": "background"})
    assert replaced is not None
    assert replaced.tolist() == [1, 0, 0, 1]
    assert replaced.dtype == "uint8"


def test_a_given_class_goes_before_its_name() -> None:
    replaced = match_classes(VOC, VOC, {"cat": "dog"})
    assert replaced is not None
    assert replaced.tolist() == [0, 2, 2, 3]


@pytest.mark.parametrize(
    ("dataset", "given", "message"),
    [
        (table("background", "pet"), {}, "no class cat, dog, car, which the model has; its own are: background, pet"),
        (table("background", "pet"), {}, "--map cat=pet, or all at once as in --map rest=background"),
        (table("background", "pet"), {"cat": "pet"}, "no class dog, car, which the model has"),
        (table(*VOC.names, "bus"), {}, "The model has no class bus, which the dataset has; .* --map rest=background"),
        (table("background", "pet"), {"cats": "pet"}, "'cats' is none of the model's classes; did you mean cat"),
        (table("background", "pet"), {"cat": "pets"}, "'pets' is none of the dataset's classes; did you mean pet"),
        (table(*(f"c{i}" for i in range(9))), {}, "background, cat, dog, car, which the model has"),
    ],
)
def test_what_is_not_said_is_asked_for(dataset: ClassTable, given: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        match_classes(VOC, dataset, given)


def test_a_class_that_the_model_lacks_can_be_measured_all_the_same() -> None:
    replaced = match_classes(VOC, table(*VOC.names, "bus"), {"rest": "background"})
    assert replaced is not None
    assert replaced.tolist() == [0, 1, 2, 3]
