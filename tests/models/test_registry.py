from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import pixelwise.models
from pixelwise.errors import PixelwiseError
from pixelwise.models import Architecture, Paper, architecture, arguments, build, names, registry, start_from

PAPER = Paper("Someone", "Something", "Somewhere 2020", "2001.00001", "Figure 1")


def enter(name: str, factory: Any) -> Any:
    return registry.register(name, family="made", encoder="none", paper=PAPER)(factory)


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another architecture for the time of a test."""
    monkeypatch.setattr(registry, "_ARCHITECTURES", dict(registry._ARCHITECTURES))

    def factory(*, num_classes: int, width: int = 4, deep: bool = False) -> nn.Module:
        return nn.Conv2d(3, num_classes + 100 * width + 10000 * deep, 1)

    enter("made", factory)


def test_names_are_sorted_and_hold_what_was_registered():
    assert names() == sorted(names())
    assert {"made", "unet"} <= set(names())


def test_the_architectures_of_the_four_families_are_there():
    assert set(names()) - {"made"} >= {
        "deeplabv3_mobilenet_v3_large",
        "deeplabv3_resnet101",
        "deeplabv3_resnet50",
        "fcn16s",
        "fcn32s",
        "fcn8s",
        "fcn_resnet101",
        "fcn_resnet50",
        "segnet",
        "unet",
        "unet2015",
    }


def test_a_name_cannot_be_taken_twice():
    with pytest.raises(ValueError, match="'made'"):
        enter("made", nn.Identity)


def test_the_decorator_gives_the_factory_back():
    assert enter("identity", nn.Identity) is nn.Identity


def test_the_entry_holds_what_the_decorator_was_given():
    given = {"imagenet": "somebody's"}
    told = {"summary": "It is.", "strengths": "It can.", "limits": "It cannot."}
    registry.register("told", family="F", encoder="E", paper=PAPER, weights=given, **told)(nn.Identity)
    given.clear()
    expected = Architecture("told", nn.Identity, "F", "E", PAPER, {"imagenet": "somebody's"}, *told.values())
    assert architecture("told") == expected
    assert architecture("made").weights == {}


@pytest.mark.parametrize("name", names())
def test_every_architecture_says_where_it_is_from_and_when_to_take_it(name: str):
    entry = architecture(name)
    for each in fields(entry):
        assert getattr(entry, each.name) or each.name == "weights", each.name
    assert all(getattr(entry.paper, each.name) for each in fields(Paper))
    year, dot, number = entry.paper.arxiv.partition(".")
    assert (len(year), dot) == (4, ".")
    assert number.isdigit()
    assert set(entry.weights) <= {"imagenet", "coco_voc"}
    for sentence in (entry.summary, entry.strengths, entry.limits):
        assert sentence.endswith(".")


def test_every_file_of_the_package_is_imported():
    files = {path.stem for path in Path(pixelwise.models.__file__).parent.glob("*.py")} - {"__init__"}
    assert {name for name in files if f"pixelwise.models.{name}" in sys.modules} == files


NEW_FILE = """
from torch import nn
from pixelwise.models.registry import Paper, register

@register("brand_new", family="N", encoder="none", paper=Paper("A", "B", "C 2020", "2001.00001", "Figure 1"))
def brand_new(*, num_classes: int) -> nn.Module:
    return nn.Conv2d(3, num_classes, 1)
"""
ASKS_FOR_IT = """
import sys
import pixelwise
folder = sys.argv[1]
import importlib.util, types
from pathlib import Path
package = Path(pixelwise.__file__).parent / "models"
spec = importlib.util.spec_from_file_location(
    "pixelwise.models", package / "__init__.py", submodule_search_locations=[str(package), folder]
)
module = importlib.util.module_from_spec(spec)
sys.modules["pixelwise.models"] = module
spec.loader.exec_module(module)
print(module.build("brand_new", num_classes=4).weight.shape[0], "unet" in module.names())
"""


def test_a_new_file_registers_itself(tmp_path: Path):
    """As if `brand_new.py` lay in `models/`: the package is told to look in another folder as well."""
    (tmp_path / "brand_new.py").write_text(NEW_FILE)
    command = [sys.executable, "-c", ASKS_FOR_IT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["4", "True"], done.stderr


def test_arguments_are_the_defaults_overridden_by_what_is_given():
    assert arguments("made") == {"width": 4, "deep": False}
    assert arguments("made", {"width": 5}) == {"width": 5, "deep": False}


def test_build_passes_them_on():
    assert build("made", num_classes=7).get_parameter("bias").shape == (407,)
    given = {"deep": True, "width": 1}
    assert build("made", num_classes=7, arguments_given=given).get_parameter("bias").shape == (10107,)


def test_an_unknown_name_is_answered_with_the_names():
    with pytest.raises(PixelwiseError, match=r"no architecture 'unnet'; did you mean unet.*\? There are: .*made.*unet"):
        build("unnet", num_classes=2)


def test_a_name_like_none_is_answered_with_the_names_only():
    with pytest.raises(PixelwiseError, match=r"no architecture 'qqq'; there are: .*made"):
        build("qqq", num_classes=2)


@pytest.mark.parametrize("num_classes", [0, 1, -3, True, "3", 2.0, None])
def test_fewer_than_two_classes_or_what_is_no_number_is_refused(num_classes: object):
    with pytest.raises(PixelwiseError, match=f"num_classes is {num_classes!r}; expected 2 or more"):
        build("made", num_classes=num_classes)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_classes", [np.int64(3), np.uint8(3)])
def test_a_number_of_classes_may_be_numpys_as_that_of_a_mask_is(num_classes: np.integer):
    assert build("made", num_classes=num_classes).get_parameter("bias").shape == (403,)  # type: ignore[arg-type]


def test_two_classes_will_do():
    assert build("made", num_classes=2, arguments_given={"width": 0}).get_parameter("bias").shape == (2,)


def test_build_starts_from_a_file_of_the_whole_network(tmp_path: Path):
    given = build("made", num_classes=3)
    save_file(given.state_dict(), tmp_path / "weights.safetensors")
    for weights in (tmp_path / "weights.safetensors", str(tmp_path / "weights.safetensors")):
        other = build("made", num_classes=3, weights=weights)
        assert torch.equal(other.get_parameter("weight"), given.get_parameter("weight"))


def test_weights_that_are_not_there_are_named(tmp_path: Path):
    module = build("made", num_classes=3)
    with pytest.raises(PixelwiseError, match=r"no weights file .*imagenett"):
        start_from(module, "made", "imagenett")
    with pytest.raises(PixelwiseError, match="Conv2d has no pretrained encoder"):
        start_from(module, "made", "imagenet")
    with pytest.raises(PixelwiseError, match="There are no coco_voc weights for made; there are for: deeplabv3_mob"):
        start_from(module, "made", "coco_voc")


@pytest.mark.parametrize("key", ["widht", "num_classes"])
def test_an_unknown_argument_is_answered_with_the_arguments(key: str):
    with pytest.raises(PixelwiseError, match=f"made takes no argument '{key}'; it takes: deep, width"):
        build("made", num_classes=2, arguments_given={key: 3})


def test_an_argument_of_the_wrong_kind_is_one_sentence():
    with pytest.raises(PixelwiseError, match=r"made cannot be built with \{'width': 'wide'\}: "):
        build("made", num_classes=2, arguments_given={"width": "wide"})


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("unet", {"encoder": 5}),
        ("unet", {"encoder": "test_efficientnet", "decoder_channels": 5}),
        ("unet", {"encoder": "test_efficientnet", "decoder_channels": [8, 8, "x"]}),
        ("unet2015", {"width": 0}),
        ("unet2015", {"width": "a"}),
        ("unet2015", {"dropout": 2}),
        ("fcn8s", {"width": -3}),
        ("fcn8s", {"width": 0}),
        ("deeplabv3_resnet50", {"output_stride": "8"}),
    ],
)
def test_arguments_that_make_no_network_are_named(name: str, given: dict[str, object]):
    with pytest.raises(
        PixelwiseError, match=f"^{name} cannot be built with {re.escape(str(given))}: .*[^.]\\.$"
    ) as caught:
        build(name, num_classes=2, arguments_given=given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", names())
def test_the_arguments_of_every_architecture_survive_json(name: str):
    complete = arguments(name)
    again = json.loads(json.dumps(complete))
    assert arguments(name, again).keys() == complete.keys()
