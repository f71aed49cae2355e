from __future__ import annotations

import pytest

from pixelwise.errors import RecipeError
from pixelwise.settings import parse_values, shown


def test_values_are_yaml() -> None:
    given = parse_values(["encoder=resnet50", "widths=[64, 32]", "dropout = 0.5", "model.weights=null", "url=a=b"])
    assert given == {
        "encoder": "resnet50",
        "widths": [64, 32],
        "dropout": 0.5,
        "model.weights": None,
        "url": "a=b",
    }


@pytest.mark.parametrize("text", ["encoder", "=3", "width=[", "", " =3", "a..b=1", ".a=1"])
def test_what_is_malformed_is_named(text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_values([text])
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (0.0006, "0.0006"),
        (True, "True"),
        ([0.5, 0.25], "0.5 0.25"),
        ({"rates": (1, 2), "weights": None}, "rates 1 2, weights none"),
        ({}, "none"),
    ],
)
def test_settings_are_shown_without_brackets(value: object, text: str) -> None:
    assert shown(value) == text
