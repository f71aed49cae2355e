from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from pixelwise.errors import PixelwiseError
from pixelwise.labels import VOC, ClassTable, voc_colour

TWO = ClassTable(("ground", "cat"), ((0, 0, 0), (10, 20, 30)))


def test_voc_has_its_classes_in_the_published_order_and_colours():
    published = {0: (0, 0, 0), 1: (128, 0, 0), 8: (64, 0, 0), 15: (192, 128, 128), 16: (0, 64, 0), 20: (0, 64, 128)}
    assert len(VOC) == 21
    assert {i: VOC.colours[i] for i in published} == published
    assert [VOC.names[i] for i in (0, 8, 12, 15, 20)] == ["background", "cat", "dog", "person", "tv monitor"]
    assert VOC.ignore_index == 255


def test_voc_gives_every_id_its_own_colour_and_void_the_near_white():
    assert len({voc_colour(i) for i in range(256)}) == 256
    assert voc_colour(255) == (224, 224, 192)


def test_the_palette_looks_masks_up():
    palette = ClassTable(TWO.names, TWO.colours, ignore_index=9).palette()
    assert (palette.shape, palette.dtype) == ((256, 3), np.uint8)
    assert palette[np.array([[1, 0], [9, 2]])].tolist() == [
        [[10, 20, 30], [0, 0, 0]],
        [[224, 224, 192], [128, 128, 128]],
    ]


@pytest.mark.parametrize("table", [VOC, TWO, ClassTable(("only",), ((255, 0, 1),), ignore_index=1)])
def test_a_table_survives_json(table: ClassTable):
    classes = json.loads(json.dumps(table.to_json()))
    assert ClassTable.from_json(classes, ignore_index=table.ignore_index) == table


def test_a_table_cannot_be_changed_and_can_be_a_key():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TWO.names = ("a", "b")  # type: ignore[misc]
    assert {TWO: 1}[ClassTable(TWO.names, TWO.colours)] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": (), "colours": ()}, "1 to 255 classes, not 0"),
        ({"names": tuple(map(str, range(256))), "colours": ((0, 0, 0),) * 256}, "1 to 255 classes, not 256"),
        ({"names": ("ground",)}, "1 names but 2 colours"),
        ({"names": ("ground", " ")}, "empty name"),
        ({"names": ("cat", "cat")}, "names cat more than once"),
        ({"colours": ((0, 0, 0), (0, 0, 256))}, r"'cat' is \(0, 0, 256\)"),
        ({"colours": ((0, 0, 0), (0, -1, 0))}, r"'cat' is \(0, -1, 0\)"),
        ({"colours": ((0, 0), (0, 0, 0))}, r"'ground' is \(0, 0\)"),
        ({"ignore_index": 1}, "ignore_index is 1"),
        ({"ignore_index": 256}, "ignore_index is 256"),
        ({"ignore_index": -1}, "ignore_index is -1"),
    ],
)
def test_a_table_that_does_not_hold_together_says_why(change: dict[str, Any], said: str):
    with pytest.raises(PixelwiseError, match=said):
        dataclasses.replace(TWO, **change)


def test_a_forgotten_comma_does_not_shift_the_names_against_the_colours():
    """Python joins "pole" "road" into one name; elsewhere all names after it then stand beside the wrong colour."""
    colours = ((0, 0, 0), (1, 1, 1), (2, 2, 2))
    with pytest.raises(PixelwiseError, match="has 2 names but 3 colours"):
        ClassTable(("sky", "poleroad"), colours)


def test_the_most_classes_still_leave_room_for_ignore():
    table = ClassTable(tuple(map(str, range(255))), ((1, 2, 3),) * 255)
    assert len(table) == table.ignore_index == 255


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "cat"},
        {"colour": [0, 0, 0]},
        {"name": "cat", "colour": [0, 0]},
        {"name": "cat", "colour": 7},
        "cat",
        None,
    ],
)
def test_an_entry_of_a_json_table_that_lacks_something_is_refused(entry: Any):
    with pytest.raises(PixelwiseError, match="needs a name and a colour"):
        ClassTable.from_json([entry])
