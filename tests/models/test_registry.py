from __future__ import annotations

import json

import pytest
from torch import nn

from pixelwise.errors import PixelwiseError
from pixelwise.models import arguments, build, names, registry


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another architecture for the time of a test."""
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))

    @registry.register("made")
    def factory(*, num_classes: int, width: int = 4, deep: bool = False) -> nn.Module:
        return nn.Conv2d(3, num_classes + 100 * width + 10000 * deep, 1)


def test_names_are_sorted_and_hold_what_was_registered():
    assert names() == sorted(names())
    assert {"made", "unet"} <= set(names())


def test_a_name_cannot_be_taken_twice():
    with pytest.raises(ValueError, match="'made'"):
        registry.register("made")(nn.Identity)


def test_the_decorator_gives_the_factory_back():
    assert registry.register("identity")(nn.Identity) is nn.Identity


def test_arguments_are_the_defaults_overridden_by_what_is_given():
    assert arguments("made") == {"width": 4, "deep": False}
    assert arguments("made", {"width": 5}) == {"width": 5, "deep": False}


def test_build_passes_them_on():
    assert build("made", num_classes=7).get_parameter("bias").shape == (407,)
    given = {"deep": True, "width": 1}
    assert build("made", num_classes=7, arguments_given=given).get_parameter("bias").shape == (10107,)


def test_an_unknown_name_is_answered_with_the_names():
    with pytest.raises(PixelwiseError, match=r"no architecture 'unnet'; there are: .*made.*unet"):
        build("unnet", num_classes=2)


@pytest.mark.parametrize("key", ["widht", "num_classes"])
def test_an_unknown_argument_is_answered_with_the_arguments(key: str):
    with pytest.raises(PixelwiseError, match=f"made takes no argument '{key}'; it takes: deep, width"):
        build("made", num_classes=2, arguments_given={key: 3})


def test_an_argument_of_the_wrong_kind_is_one_sentence():
    with pytest.raises(PixelwiseError, match=r"made cannot be built with \{'width': 'wide'\}: "):
        build("made", num_classes=2, arguments_given={"width": "wide"})


@pytest.mark.parametrize("name", names())
def test_the_arguments_of_every_architecture_survive_json(name: str):
    complete = arguments(name)
    again = json.loads(json.dumps(complete))
    assert arguments(name, again).keys() == complete.keys()
