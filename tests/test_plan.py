"""From the command line's words to a recipe, its reasons beside it, on a small folder of real photos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from helpers import small_photo
from pixelwise.errors import DataError, PixelwiseError, RecipeError
from pixelwise.run_directory import RunDirectory

pytest.importorskip("torch")

from pixelwise.plan import Plan, Request, make, plan_from_file
from pixelwise.watcher import Watcher
from small_runs import Listener

RECIPE = """
name: tiny
data:
  train: [{layout: voc, root: voc, split: train}]
  val: [{layout: voc, root: voc, split: val}]
"""
SMALL = ("--model", "unet2015")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight photos and masks of two classes."""
    root = tmp_path / "photos"
    for index in range(8):
        left = 10 * index
        small_photo(root / "images" / f"{index}.png", box=(left, 40, left + 96, 104))
        mask = np.zeros((64, 96), np.uint8)
        mask[10:50, 20:70] = 1
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / "masks" / f"{index}.png")
    return root


def planned(folder: Path, *overrides: str, epochs: float | None = None) -> Plan:
    request = Request(None, folder, "unet2015", overrides=("model.arguments={width: 4}", *overrides), epochs=epochs)
    return make(request, processes=1, watcher=Listener())[0]


def reasons(plan: Plan) -> dict[str, str]:
    return {choice.key: choice.reason for choice in plan.choices}


def recipe_value(plan: Plan, key: str) -> object:
    value: object = plan.recipe.model_dump(mode="json")
    for part in key.split("."):
        assert isinstance(value, dict)
        value = value[part]
    return value


def test_every_reason_is_for_what_the_recipe_says(folder: Path):
    plan = planned(folder, "batch_size=2", "optimizer.lr=0.01", "loss.focal=0.5")
    for choice in plan.choices:
        assert recipe_value(plan, choice.key) == choice.value, choice
    why = reasons(plan)
    for key in ("batch_size", "optimizer.lr", "loss.focal", "model.arguments"):
        assert why[key] == "as given"
    assert why["input.long_side"] != "as given"
    assert (plan.recipe.batch_size, plan.recipe.optimizer.lr) == (2, 0.01)


def test_an_override_of_a_whole_part_takes_the_reasons_inside_it_away(folder: Path):
    plan = planned(folder, "augment={crop_size: 32}")
    assert [key for key in reasons(plan) if key.startswith("augment")] == ["augment"]
    assert plan.recipe.augment.crop_size == 32


@pytest.mark.parametrize("override", ["model.arguments={encoder: resnet18}", "model.arguments.encoder=resnet18"])
@pytest.mark.usefixtures("checkpoints")
def test_an_argument_of_the_network_counts_in_the_choice_however_it_is_written(folder: Path, override: str):
    plan, _ = make(Request(None, folder, overrides=[override]), processes=1, watcher=Listener())
    assert plan.recipe.model.arguments == {"encoder": "resnet18"}
    assert plan.recipe.model.transfer is None  # the shipped model has another encoder
    assert [key for key in reasons(plan) if key.startswith("model.arguments")] == [override.partition("=")[0]]


@pytest.mark.parametrize("override", ["model.name=unet2015", "model={name: unet2015}"])
def test_an_architecture_that_is_set_is_chosen_for(folder: Path, override: str):
    plan, run = make(Request(None, folder, overrides=[override]), processes=1, watcher=Listener())
    assert run == Path("runs/photos-unet2015")
    assert (plan.recipe.name, plan.recipe.model.name) == ("photos-unet2015", "unet2015")
    assert (plan.recipe.model.transfer, plan.recipe.model.arguments) == (None, {})
    assert recipe_value(plan, "input.mean") != [0.498, 0.498, 0.498]  # of pixelwise's own model, which is a unet
    same = Request(None, folder, "unet2015", overrides=[override])
    assert make(same, processes=1, watcher=Listener()) == (plan, run)


def test_two_architectures_are_refused(folder: Path, tmp_path: Path):
    for run in (None, tmp_path / "run"):
        request = Request(None, folder, "unet2015", overrides=["model.name=segnet"], run=run)
        with pytest.raises(RecipeError, match="--model asks for unet2015, and --set for segnet"):
            make(request, processes=1, watcher=Listener())


def test_a_name_that_is_set_is_that_of_the_runs_directory(folder: Path):
    request = Request(None, folder, "unet2015", overrides=["name=mine", "model.arguments={width: 4}"])
    plan, run = make(request, processes=1, watcher=Listener())
    assert (plan.recipe.name, run) == ("mine", Path("runs/mine"))


def test_epochs_make_the_steps(folder: Path):
    train = 8 - planned_val(folder)
    plan = planned(folder, "batch_size=2", epochs=10)
    assert plan.recipe.steps == round(10 * train / 2)
    assert plan.recipe.validate_every == round(plan.recipe.steps / 6)
    assert plan.recipe.optimizer.warmup_steps <= plan.recipe.steps // 15
    assert planned(folder, "steps=7", epochs=10).recipe.steps == 7
    assert planned(folder, epochs=0.001).recipe.steps == 1


def test_what_follows_from_the_steps_and_the_batch_goes_by_those_that_are_given(folder: Path):
    plan = planned(folder, "steps=60")
    assert (plan.recipe.validate_every, plan.recipe.optimizer.warmup_steps) == (10, 4)
    assert plan.recipe.optimizer.ema_decay == pytest.approx(0.9)  # over ten steps, not over more than there are
    assert planned(folder, epochs=1).recipe.optimizer.ema_decay == pytest.approx(0.9)
    why = reasons(planned(folder, "batch_size=1"))["steps"]
    steps = planned(folder, "batch_size=1").recipe.steps
    assert why.startswith(f"{steps / (8 - planned_val(folder)):.0f} times each of ")
    assert reasons(planned(folder, epochs=3))["steps"] == "3 epochs, as given"


def planned_val(folder: Path) -> int:
    """How many of the photos are held back."""
    from pixelwise.data_check import open_sets

    return sum(map(len, open_sets(planned(folder).recipe.data.val, folder)))


@pytest.mark.parametrize(
    ("epochs", "override", "message"),
    [
        (0, "seed=0", "--epochs takes a number above 0"),
        (-1, "seed=0", "--epochs takes a number above 0"),
        (float("nan"), "seed=0", "--epochs takes a number above 0"),
        (float("inf"), "seed=0", "--epochs takes a number above 0"),
        (3, "batch_size=0", "batch_size"),
        (3, "batch_size=many", "batch_size"),
        (None, "batch_size=many", "batch_size"),
        (None, "batchsize=2", "batchsize"),
        (None, "optimizer=2", "optimizer"),
        (None, "nothing", "key=value"),
    ],
)
def test_what_does_not_fit_is_one_sentence(folder: Path, epochs: float | None, override: str, message: str):
    with pytest.raises(RecipeError) as caught:
        planned(folder, override, epochs=epochs)
    assert message in str(caught.value)


def test_masks_without_a_label_are_one_sentence(folder: Path):
    for path in (folder / "masks").iterdir():
        Image.fromarray(np.full((64, 96), 255, np.uint8)).save(path)
    with pytest.raises(PixelwiseError) as caught:
        planned(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("both", [True, False])
def test_either_a_recipe_or_data(folder: Path, both: bool):
    request = Request(folder / "recipe.yaml" if both else None, folder if both else None)
    with pytest.raises(RecipeError, match="either a recipe or --data"):
        make(request, processes=1, watcher=Watcher())


@pytest.mark.parametrize("only_look", [True, False])
def test_how_a_folder_was_understood_is_said_and_written_beside_it_unless_only_a_look_was_asked_for(
    folder: Path, only_look: bool
):
    watcher = Listener()
    request = Request(None, folder, "unet2015", overrides=["model.arguments={width: 4}"], only_look=only_look)
    make(request, processes=1, watcher=watcher)
    assert "masks hold the values 0 and 1" in watcher.said[0]
    assert (folder / "dataset.yaml").exists() is not only_look


def test_data_that_are_not_there(tmp_path: Path):
    with pytest.raises(DataError, match="nowhere"):
        make(Request(None, tmp_path / "nowhere"), processes=1, watcher=Watcher())


def test_a_run_that_goes_on_keeps_its_recipe_and_its_reasons(folder: Path, tmp_path: Path):
    plan = planned(folder, "batch_size=2")
    run = tmp_path / "run"
    run.mkdir()
    plan.write(RunDirectory(run))
    small_photo(folder / "images" / "new.png")  # would change what is chosen
    again, place = make(Request(None, folder, run=run, resume=True), processes=1, watcher=Watcher())
    assert place == run
    assert again.recipe == plan.recipe
    assert reasons(again) == reasons(plan)


def test_a_directory_that_is_taken_is_told_before_the_data_are_looked_at(tmp_path: Path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "recipe.yaml").write_text("name: other\n")
    with pytest.raises(RecipeError, match="run holds a run already; give --resume"):
        make(Request(None, tmp_path / "not looked for", run=run), processes=1, watcher=Watcher())
    with pytest.raises(DataError, match=r"no directory .*not looked for"):
        make(Request(None, tmp_path / "not looked for", run=run, only_look=True), processes=1, watcher=Watcher())


def test_a_run_goes_on_by_its_directory_alone(folder: Path, tmp_path: Path):
    plan = planned(folder, "batch_size=2")
    (tmp_path / "run").mkdir()
    plan.write(RunDirectory(tmp_path / "run"))
    assert make(Request(None, None, run=tmp_path / "run", resume=True), processes=1, watcher=Watcher()) == (
        plan,
        tmp_path / "run",
    )
    with pytest.raises(RecipeError, match=r"none/recipe\.yaml"):
        make(Request(None, None, run=tmp_path / "none", resume=True), processes=1, watcher=Watcher())
    with pytest.raises(RecipeError, match="either a recipe or --data"):
        make(Request(None, None, run=tmp_path / "run"), processes=1, watcher=Watcher())


def test_a_plan_as_a_file_is_the_same_plan(folder: Path):
    plan = planned(folder, "optimizer.lr=0.01")
    with plan.as_file() as path:
        assert yaml.safe_load(path.read_text()) == plan.recipe.model_dump(mode="json")
        again = plan_from_file(path)
        assert again == plan
        changed = plan_from_file(path, ["optimizer.lr=0.5", "augment={crop_size: 32}"])
    assert not path.exists()
    assert changed.recipe.optimizer.lr == 0.5
    why = reasons(changed)
    assert why["optimizer.lr"] == why["augment"] == "as given"
    assert "augment.crop_size" not in why
    assert why["input.long_side"] == reasons(plan)["input.long_side"]


def write(path: Path, *, choices: object = None) -> Path:
    path.write_text(RECIPE)
    if choices is not None:
        (path.parent / "choices.json").write_text(json.dumps(choices))
    return path


def test_a_recipe_file_has_no_reasons_but_those_of_its_own_run(tmp_path: Path):
    entry = {"key": "steps", "value": 10, "reason": "few"}
    assert plan_from_file(write(tmp_path / "recipe.yaml")).choices == ()
    assert reasons(plan_from_file(write(tmp_path / "recipe.yaml", choices=[entry]))) == {"steps": "few"}
    assert plan_from_file(write(tmp_path / "other.yaml")).choices == ()


@pytest.mark.parametrize("choices", ["text", 3, ["key"], [{"key": "steps"}], [{"colour": 1}]])
def test_damaged_reasons_are_named(tmp_path: Path, choices: Sequence[object]):
    with pytest.raises(RecipeError, match=r"choices\.json is damaged"):
        plan_from_file(write(tmp_path / "recipe.yaml", choices=choices))


@pytest.mark.parametrize(
    "asked", [{"model": "segnet"}, {"layout": "voc"}, {"options": ["labels=binary"]}, {"epochs": 5.0}]
)
def test_what_a_recipe_would_not_heed_is_refused(tmp_path: Path, asked: dict[str, Any]):
    (option,) = asked
    with pytest.raises(
        RecipeError, match=f"--{option.rstrip('s') if option == 'options' else option} goes with --data"
    ):
        make(Request(tmp_path / "recipe.yaml", None, **asked), processes=1, watcher=Watcher())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"model": "segnet"}, "was started with --model unet2015, not segnet"),
        ({"layout": "voc"}, "was started with --layout folder, not voc"),
        ({"options": ["labels=binary"]}, "was started with --option none, not labels binary"),
        ({"epochs": 5.0}, "was started with --epochs, as steps, "),
    ],
)
def test_a_run_that_goes_on_refuses_what_it_was_not_started_with(
    folder: Path, tmp_path: Path, asked: dict[str, Any], message: str
):
    run = tmp_path / "run"
    run.mkdir()
    planned(folder, epochs=4).write(RunDirectory(run))
    same = {"model": "unet2015", "layout": "auto", "epochs": 4.0, "run": run, "resume": True}
    make(Request(None, folder, **same), processes=1, watcher=Watcher())
    with pytest.raises(RecipeError, match=message):
        make(Request(None, folder, **{**same, **asked}), processes=1, watcher=Watcher())
    with pytest.raises(RecipeError, match="was started with --data "):
        make(Request(None, tmp_path, **same), processes=1, watcher=Watcher())
