from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pixelwise.errors import RecipeError
from pixelwise.recipe import Recipe, load_recipe, parse_recipe

RECIPES = sorted((Path(__file__).resolve().parents[1] / "recipes").glob("*.yaml"))
SOURCE = {"layout": "voc", "root": "voc", "split": "train"}
SMALLEST = {"name": "small", "data": {"train": [SOURCE], "val": [SOURCE]}}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALLEST), encoding="utf-8")
    return path


def parse(**changes: Any) -> Recipe:
    return parse_recipe({**SMALLEST, **changes}, name="small.yaml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_committed_recipe_loads_and_bears_the_name_of_its_file(path: Path):
    assert load_recipe(path).name == path.stem


def test_there_are_committed_recipes():
    assert RECIPES


def test_the_smallest_recipe_gets_the_defaults():
    recipe = parse()
    assert recipe.model.name == "unet"
    assert recipe.optimizer.lr == 1e-3
    assert recipe.data.train[0].split == "train"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_what_to_yaml_writes_reads_back_as_the_same_recipe(path: Path, tmp_path: Path):
    recipe = load_recipe(path, ["description='Räder, 车: 50 %'", "optimizer.lr=1e-5", "model.encoder_weights=null"])
    copy = tmp_path / "copy.yaml"
    copy.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(copy) == recipe
    assert load_recipe(copy).to_yaml() == recipe.to_yaml()


def test_to_yaml_writes_every_default_out():
    written = yaml.safe_load(parse().to_yaml())
    assert written.keys() == Recipe.model_fields.keys()
    assert written["optimizer"]["ema_decay"] == 0.998


def test_but_for_chance_are_trainings_alike_that_another_machine_does_with_more_workers():
    assert parse(seed=3, workers=8, log_to=["wandb"]).but_for_chance() == parse().but_for_chance()
    assert parse(steps=70).but_for_chance() != parse().but_for_chance()


def test_a_recipe_cannot_be_changed():
    recipe = parse()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"stepz": 5}, "stepz"),
        ({"optimizer": {"learning_rate": 1}}, "optimizer.learning_rate"),
        ({"data": {"train": [{**SOURCE, "spilt": "x"}], "val": [SOURCE]}}, "data.train.0.spilt"),
        ({"steps": "many"}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"steps": 0}, "steps"),
        ({"batch_size": -1}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"workers": -1}, "workers"),
        ({"optimizer": None}, "optimizer"),
        ({"optimizer": {"lr": 0}}, "optimizer.lr"),
        ({"optimizer": {"lr": float("inf")}}, "optimizer.lr"),
        ({"optimizer": {"ema_decay": 1}}, "optimizer.ema_decay"),
        ({"loss": {"dice": -0.5}}, "loss.dice"),
        ({"loss": {"pixel_stride": 0}}, "loss.pixel_stride"),
        ({"input": {"std": [0.5, 0, 0.5]}}, "input.std.1"),
        ({"input": {"mean": [0.5, 0.5]}}, "input.mean.2"),
        ({"input": {"mean": [0.5, float("nan"), 0.5]}}, "input.mean.1"),
        ({"augment": {"grey": 1.1}}, "augment.grey"),
        ({"augment": {"scale": [2, 1]}}, "augment.scale"),
        ({"augment": {"scale": [0, 1]}}, "augment.scale"),
        ({"augment": {"crop_size": 0}}, "augment.crop_size"),
        ({"augment": {"crop_size": [320, 0]}}, "augment.crop_size"),
        ({"augment": {"crop_size": [1, 2, 3]}}, "augment.crop_size"),
        ({"augment": {"crop_size": []}}, "augment.crop_size"),
        ({"augment": {"crop_size": "320x240"}}, "augment.crop_size"),
        ({"augment": {"crop_size": True}}, "augment.crop_size"),
        ({"augment": {"rotation": 200}}, "augment.rotation"),
        ({"augment": {"rotation": -1}}, "augment.rotation"),
        ({"augment": {"hue": 0.6}}, "augment.hue"),
        ({"augment": {"blur": 2}}, "augment.blur"),
        ({"augment": {"noise_sigma": 0}}, "augment.noise_sigma"),
        ({"augment": {"cutout_size": 0}}, "augment.cutout_size"),
        ({"augment": {"max_class_share": 0}}, "augment.max_class_share"),
        ({"loss": {"cross_entropy": 0, "dice": 0}}, "cross_entropy"),
        ({"loss": {"lovasz": -1}}, "loss.lovasz"),
        ({"loss": {"class_weights": "inversely"}}, "loss.class_weights"),
        ({"loss": {"beta": 1}}, "loss.beta"),
        ({"loss": {"label_smoothing": 1}}, "loss.label_smoothing"),
        ({"loss": {"focal_gamma": -0.5}}, "loss.focal_gamma"),
        ({"loss": {"ohem_threshold": 1.1}}, "loss.ohem_threshold"),
        ({"loss": {"ohem_min_share": -0.1}}, "loss.ohem_min_share"),
        ({"optimizer": {"name": "adam"}}, "optimizer.name"),
        ({"optimizer": {"schedule": "step"}}, "optimizer.schedule"),
        ({"optimizer": {"power": 0}}, "optimizer.power"),
        ({"optimizer": {"momentum": 1}}, "optimizer.momentum"),
        ({"optimizer": {"nesterov": True, "momentum": 0}}, "momentum"),
        ({"optimizer": {"layer_decay": 0}}, "optimizer.layer_decay"),
        ({"optimizer": {"layer_decay": 1.01}}, "optimizer.layer_decay"),
        ({"model": {"freeze": "encoder"}}, "model.freeze"),
        ({"precision": "fp8"}, "precision"),
        ({"data": {"train": [], "val": [SOURCE]}}, "data.train"),
        ({"data": {"train": [SOURCE]}}, "data.val"),
        ({3: 4}, "3"),
    ],
)
def test_an_error_names_the_file_and_the_offending_key(changes: dict[Any, Any], key: str):
    with pytest.raises(RecipeError) as caught:
        parse_recipe({**SMALLEST, **changes}, name="small.yaml")
    assert "small.yaml" in str(caught.value)
    assert f": {key}: " in str(caught.value) or f" {key} " in str(caught.value) or f" {key}," in str(caught.value)


@pytest.mark.parametrize("name", ["", " ", ".", "../other", "runs/../..", "/elsewhere"])
def test_a_name_that_would_lead_out_of_runs_is_refused(name: str):
    with pytest.raises(RecipeError, match="cannot be a run's directory"):
        parse(name=name)


@pytest.mark.parametrize("name", ["dice", "focal", "lovasz", "ohem"])
def test_any_loss_may_stand_alone(name: str):
    assert parse(loss={"cross_entropy": 0, name: 0.5}).loss.cross_entropy == 0


def test_what_a_recipe_leaves_out_is_as_it_was_before_there_was_a_choice():
    loss, optimizer = parse().loss, parse().optimizer
    assert (loss.focal, loss.lovasz, loss.ohem, loss.label_smoothing, loss.class_weights) == (0, 0, 0, 0, "none")
    assert (optimizer.name, optimizer.schedule, optimizer.layer_decay) == ("adamw", "cosine", 1.0)


def test_a_crop_has_one_side_or_two():
    for given, kept in ((256, 256), ([360, 480], (360, 480)), ([64], 64)):
        recipe = parse(augment={"crop_size": given})
        assert recipe.augment.crop_size == kept
        assert parse_recipe(yaml.safe_load(recipe.to_yaml()), name="again") == recipe
    with pytest.raises(
        RecipeError, match=r"'320x240' is no size of a crop; give a side in pixels, or height and width"
    ):
        parse(augment={"crop_size": "320x240"})


def test_an_error_names_every_offending_key():
    with pytest.raises(RecipeError, match=r"steps: .*; .*loss\.dice: |loss\.dice: .*; .*steps: "):
        parse(steps=0, loss={"dice": -1})


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "optimizer.learning_rate=1",
            "optimizer.learning_rate: there is no such key; there are: name, lr, encoder_lr,",
        ),
        (
            "optimizer.encoder_rl=1",
            "optimizer.encoder_rl: there is no such key; did you mean encoder_lr? There are: name",
        ),
        ("epochs=3", "epochs: there is no such key; there are: name, description, seed,"),
        ("data.train=[{layout: voc, root: voc, spilt: train}]", "data.train.0.spilt: there is no such key; did you"),
    ],
)
def test_an_unknown_key_is_answered_with_those_that_there_are(small: Path, override: str, said: str):
    with pytest.raises(RecipeError) as caught:
        load_recipe(small, [override])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("override", "keys", "value"),
    [
        ("steps=20", ("steps",), 20),
        ("optimizer.lr=3e-4", ("optimizer", "lr"), 3e-4),
        ("model.encoder_weights=null", ("model", "encoder_weights"), None),
        ("model.encoder_weights=some/file=1.pth", ("model", "encoder_weights"), "some/file=1.pth"),
        ("model.arguments.decoder_channels=[8, 4]", ("model", "arguments"), {"decoder_channels": [8, 4]}),
        ("augment.scale=[1, 2]", ("augment", "scale"), (1.0, 2.0)),
        ("precision=32-true", ("precision",), "32-true"),
    ],
)
def test_an_override_sets_a_value_read_as_yaml(small: Path, override: str, keys: tuple[str, ...], value: object):
    found: Any = load_recipe(small, [override])
    for key in keys:
        found = getattr(found, key)
    assert found == value


def test_a_later_override_wins_and_leaves_its_neighbours_alone(small: Path):
    recipe = load_recipe(small, ["optimizer.lr=0.1", "optimizer.clip=2", "optimizer.lr=0.2"])
    assert (recipe.optimizer.lr, recipe.optimizer.clip) == (0.2, 2.0)


@pytest.mark.parametrize(
    "override",
    ["steps", "=3", " =3", "optimizer.=3", ".lr=3", "optimizer..lr=3", "name.first=x", "steps=[1", "stepz=3"],
)
def test_a_bad_override_is_named(small: Path, override: str):
    with pytest.raises(RecipeError) as caught:
        load_recipe(small, [override])
    assert (repr(override) if override != "stepz=3" else "stepz") in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"), [(b"a: [1", "not valid YAML"), (b"\xff\xfe\x00", "not valid YAML"), (b"- 1", "not a mapping")]
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=said) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"absent\.yaml cannot be read"):
        load_recipe(tmp_path / "absent.yaml")


def test_yaml_that_would_build_objects_is_refused(tmp_path: Path):
    path = tmp_path / "evil.yaml"
    path.write_text(f"name: !!python/object/apply:pathlib.Path.mkdir [{tmp_path / 'made'}]\n")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(path)
    assert not (tmp_path / "made").exists()
