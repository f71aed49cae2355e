"""The rules by which a recipe is chosen, each at its boundary, on fingerprints and machines given by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import SPEC, Pixels, colourful_photo
from pixelwise.bundle import BundleConfig, write_bundle
from pixelwise.errors import PixelwiseError
from pixelwise.fingerprint import Fingerprint
from pixelwise.labels import ClassTable

pytest.importorskip("torch")

from pixelwise.configure import Machine, configure
from pixelwise.recipe import Recipe, parse_recipe

LAPTOP = Machine(gpu=False, memory=16 * 2**30, cores=8, fast_bf16=False)
GPU = Machine(gpu=True, memory=80 * 2**30, cores=32, fast_bf16=True)
DATA = {
    "train": [{"layout": "voc", "root": "voc", "split": "train"}],
    "val": [{"layout": "voc", "root": "voc", "split": "val"}],
}


def classes(number: int) -> ClassTable:
    return ClassTable(
        ("background", *(f"class {i}" for i in range(1, number))), tuple((i, i, i) for i in range(number))
    )


def halves(height: int, width: int) -> Pixels:
    """A mask that any grid can tell."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2] = 1
    return mask


def wires(height: int, width: int, *, thickness: int, gap: int = 40) -> Pixels:
    """A mask of thin lines."""
    mask = np.zeros((height, width), np.uint8)
    for start in range(0, width, gap):
        mask[:, start : start + thickness] = 1
    return mask


def data(height: int = 300, width: int = 400, *, photos: int = 200, number: int = 2, **changes: Any) -> Fingerprint:
    """Photos of classes alike in size, all of them in every photo."""
    plain = Fingerprint(
        classes=classes(number),
        photos=photos,
        val_photos=max(1, photos // 5),
        pixels=np.full(number, 10_000),
        photos_with=np.full(number, photos),
        height=height,
        width=width,
        grey=False,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.2, 0.2),
        masks=(halves(height, width),),
    )
    return replace(plain, **changes)


def chosen(found: Fingerprint, machine: Machine = LAPTOP, **more: Any) -> tuple[Recipe, dict[str, str]]:
    """The recipe, and the reasons by key."""
    raw, choices = configure(found, name="chosen", data=DATA, machine=machine, **more)
    return parse_recipe(raw, name="chosen"), {choice.key: choice.reason for choice in choices}


def test_the_usual_photos():
    recipe, why = chosen(data())
    assert recipe.model.name == "unet"
    assert (recipe.model.transfer, recipe.model.encoder_weights) == ("default", "imagenet")
    assert recipe.model.arguments == {}
    assert recipe.input.mean == (0.498, 0.498, 0.498)
    assert recipe.input.long_side == 400
    assert "median 400 x 300" in why["input.long_side"]
    assert recipe.augment.crop_size == 320
    assert (recipe.batch_size, recipe.accumulate) == (8, 1)
    assert recipe.steps * recipe.batch_size == pytest.approx(250 + 16 * 200, rel=0.05)
    assert recipe.steps == 6 * recipe.validate_every
    assert recipe.loss.dice == 0.5
    assert recipe.augment.focus == 0.0
    assert recipe.data.class_balance == 0.0
    assert (recipe.precision, recipe.workers) == ("32-true", 4)
    assert recipe.augment.grey == 0.05


def test_every_choice_has_a_reason_and_is_in_the_recipe_as_said():
    raw, choices = configure(data(), name="chosen", data=DATA, machine=LAPTOP)
    assert len({choice.key for choice in choices}) == len(choices)
    for choice in choices:
        part, _, key = choice.key.rpartition(".")
        assert (raw[part] if part else raw)[key] == choice.value
        assert choice.reason


def test_what_a_gpu_changes():
    recipe, _ = chosen(data(700, 900), GPU)
    assert (recipe.batch_size, recipe.accumulate) == (16, 1)
    assert recipe.augment.crop_size == 512
    assert (recipe.precision, recipe.workers) == ("bf16-mixed", 8)
    assert chosen(data(), replace(GPU, fast_bf16=False))[0].precision == "32-true"
    assert [chosen(data(photos=photos), GPU)[0].batch_size for photos in (63, 64)] == [4, 16]


@pytest.mark.parametrize(("major", "fast"), [(7, False), (8, True)])
def test_a_card_that_only_emulates_bf16_is_not_quick_at_it(monkeypatch: pytest.MonkeyPatch, major: int, fast: bool):
    properties = SimpleNamespace(major=major, total_memory=16 * 2**30)  # 7 is a T4, as in Colab
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: properties)
    monkeypatch.setattr("torch.cuda._check_bf16_tensor_supported", lambda device: True)
    assert Machine.here().fast_bf16 == fast


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (4, 2), (64, 4)])
def test_workers_leave_cores_to_the_network(cores: int, workers: int):
    assert chosen(data(), replace(LAPTOP, cores=cores))[0].workers == workers


@pytest.mark.parametrize(("photos", "batch"), [(10, 4), (31, 4), (32, 8), (5000, 8)])
def test_few_photos_make_small_batches(photos: int, batch: int):
    recipe, why = chosen(data(photos=photos))
    assert recipe.batch_size == batch
    assert (f"{photos} photos" in why["batch_size"]) == (photos < 32)
    assert recipe.steps * recipe.batch_size >= 250  # even of a handful of photos
    assert recipe.steps % recipe.validate_every == 0
    assert recipe.optimizer.warmup_steps < recipe.steps / 10 + 5


def test_more_photos_are_seen_more_in_all_and_less_each():
    recipes = [chosen(data(photos=photos))[0] for photos in (10, 100, 1000, 20000)]
    samples = [recipe.steps * recipe.batch_size for recipe in recipes]
    assert samples == sorted(samples)
    assert samples[-1] / 20000 < samples[0] / 10


def test_each_class_that_there_is_takes_its_time():
    def samples(number: int, absent: int = 0) -> tuple[int, str]:
        pixels = np.full(number, 10_000)
        pixels[1 : 1 + absent] = 0
        recipe, why = chosen(data(number=number, pixels=pixels))
        return recipe.steps * recipe.batch_size, why["steps"]

    seen, why = samples(11)
    assert seen == pytest.approx(250 * 10 + 16 * 200, rel=0.05)
    assert "11 classes take their time" in why
    assert samples(20, absent=9)[0] == seen
    assert "classes" not in samples(2)[1]
    assert samples(2) == samples(3, absent=1)


def test_few_photos_of_several_crops_each_are_seen_as_often_as_so_many_photos_would_be():
    def samples(height: int, width: int, photos: int, **changes: Any) -> tuple[int, str]:
        recipe, why = chosen(data(height, width, photos=photos, **changes))
        return recipe.steps * recipe.batch_size, why["steps"]

    # 512 x 512 is seen whole, in crops of 320 pixels: two and a half of them
    seen, why = samples(512, 512, 40)
    assert seen == pytest.approx(250 + 16 * 40 * 2, rel=0.05)
    assert "40 photos, few but with room for 2 crops each" in why
    assert samples(512, 512, 400)[0] == pytest.approx(250 + 16 * 500, rel=0.05)  # no more than 500 photos would be
    assert samples(512, 512, 800) == samples(250, 250, 800)
    assert samples(2048, 2048, 40)[0] == seen  # scaled down to 512 pixels first
    assert samples(128, 128, 40, masks=(wires(128, 128, thickness=1, gap=6),)) == samples(128, 128, 40)  # enlarged


def test_forty_classes_of_which_some_are_rare():
    shares = np.full(40, 10_000)
    shares[7] = 0  # in no photo: not what is rarest
    with_it = np.full(40, 200)
    with_it[7], with_it[30] = 0, 19
    recipe, why = chosen(data(number=40, pixels=shares, photos_with=with_it))
    assert recipe.data.class_balance == 0.5
    assert "19 of 200 photos" in why["data.class_balance"]
    assert recipe.loss.dice == 1.0  # 1 of 39 is below a twentieth
    with_it[30] = 20
    assert chosen(data(number=40, pixels=shares, photos_with=with_it))[0].data.class_balance == 0.0


def test_a_thousandth_of_foreground_gets_dice_and_focus():
    recipe, why = chosen(data(pixels=np.array([999_000, 1000])))
    assert (recipe.loss.dice, recipe.augment.focus) == (1.0, 0.5)
    assert "0.1 %" in why["loss.dice"]


@pytest.mark.parametrize(("foreground", "dice"), [(499, 1.0), (500, 0.5)])
def test_rare_is_below_a_twentieth(foreground: int, dice: float):
    recipe, _ = chosen(data(pixels=np.array([10_000 - foreground, foreground])))
    assert recipe.loss.dice == dice
    assert recipe.augment.focus == (0.5 if dice == 1 else 0.0)


def test_two_classes_are_not_balanced_by_drawing():
    assert chosen(data(photos_with=np.array([200, 3])))[0].data.class_balance == 0.0


def test_grey_photos_are_not_made_grey():
    recipe, why = chosen(data(grey=True))
    assert recipe.augment.grey == 0.0
    assert "grey already" in why["augment.grey"]


def test_thin_masks_get_a_finer_answer_and_then_a_larger_photo():
    coarse, fine, finest = (
        chosen(data(300, 400, masks=(wires(300, 400, thickness=thickness, gap=gap),)))
        for thickness, gap in ((20, 80), (3, 41), (2, 9))
    )
    assert (coarse[0].model.arguments, coarse[0].input.long_side) == ({}, 400)
    for recipe, why in (fine, finest):
        assert recipe.model.arguments == {"decoder_channels": [112, 80, 64, 48]}
        assert "fine masks" in why["model.arguments"]
    assert 400 < finest[0].input.long_side <= 608  # half as large again at most
    assert finest[0].input.long_side % 32 == 0
    assert "fine masks: at 400 pixels" in finest[1]["input.long_side"]


@pytest.mark.parametrize(("height", "width"), [(3000, 4000), (513, 200), (6000, 300)])
def test_large_photos_are_seen_smaller(height: int, width: int):
    recipe, why = chosen(data(height, width, masks=(halves(height // 8, width // 8),)))
    assert recipe.input.long_side == 512
    assert "to be quick" in why["input.long_side"]


def test_large_photos_with_fine_masks_stay_within_limits():
    recipe, _ = chosen(data(1500, 2000, masks=(wires(1500, 2000, thickness=3),)))
    assert 512 < recipe.input.long_side <= 1024


@pytest.mark.parametrize("side", [1, 20, 33, 64])
def test_tiny_photos_make_a_recipe(side: int):
    recipe, _ = chosen(data(side, side, masks=(np.zeros((side, side), np.uint8),)))
    assert recipe.input.long_side >= max(32, side)
    assert recipe.augment.crop_size == 64


def test_little_memory_makes_batches_smaller_and_then_works_through_them_in_parts():
    sizes = {}
    for gigabytes in (16, 4, 2, 1, 0.25):
        recipe, why = chosen(data(700, 900), replace(LAPTOP, memory=int(gigabytes * 2**30)))
        sizes[gigabytes] = (recipe.batch_size, recipe.accumulate)
        if sizes[gigabytes] != (8, 1):
            assert "of memory hold" in why["batch_size"]
    assert sizes[16] == (8, 1)
    assert sizes[0.25] == (4, 4)
    parts = [accumulate for _, accumulate in sizes.values()]
    assert parts == sorted(parts)
    assert all(batch == 4 for batch, accumulate in sizes.values() if accumulate > 1)


def test_a_batch_that_is_given_is_worked_through_in_parts_where_it_does_not_fit():
    small = replace(LAPTOP, memory=2**30)
    fitting = chosen(data(700, 900), small)[0].batch_size
    recipe, why = chosen(data(700, 900), small, given={"batch_size": 64})
    assert recipe.batch_size == 64
    assert 64 / recipe.accumulate <= fitting
    assert "of memory hold" in why["accumulate"]
    assert chosen(data(), given={"batch_size": 2})[0].accumulate == 1


def test_processes_share_cores_and_memory():
    alone, four = Machine.here(), Machine.here(processes=4)
    assert alone.cores >= 1
    assert four.cores == max(1, alone.cores // 4)
    if not alone.gpu:
        assert four.memory == alone.memory // 4


def test_a_network_without_pretrained_part_trains_longer_on_the_photos_own_normalisation():
    recipe, why = chosen(data(), model="unet2015", given={"model": {"arguments": {"width": 8}}})
    assert recipe.model.arguments == {"width": 8}
    assert why["model.arguments"] == "as given"
    assert (recipe.model.transfer, recipe.model.encoder_weights) == (None, None)
    assert recipe.input.mean == (0.5, 0.4, 0.3)
    assert recipe.input.std == (0.2, 0.2, 0.2)
    assert "no pretrained part" in why["model.encoder_weights"]
    assert recipe.steps * recipe.batch_size == pytest.approx(3 * (250 + 16 * 200), rel=0.05)
    assert recipe.optimizer.lr == recipe.optimizer.encoder_lr  # there is nothing in it that a high rate could spoil
    assert "learnt anew" in why["optimizer.encoder_lr"]
    usual, reasons = chosen(data())
    assert usual.optimizer.encoder_lr < usual.optimizer.lr
    assert "know something already" in reasons["optimizer.encoder_lr"]


@pytest.mark.usefixtures("checkpoints")  # none there, and no network
def test_weights_that_cannot_be_had_leave_random_ones_with_the_reason():
    recipe, why = chosen(data(), model="deeplabv3_mobilenet_v3_large")
    assert recipe.model.encoder_weights is None
    assert why["model.encoder_weights"].startswith("random weights, as there is no way to better ones: ")
    assert recipe.input.mean == (0.5, 0.4, 0.3)


@pytest.mark.parametrize(
    ("model", "start"),
    [
        ("unet", {"encoder_weights": None}),
        ("segnet", {"encoder_weights": None}),
        ("unet", {"weights": None, "encoder_weights": None, "transfer": None}),
    ],
)
def test_random_weights_that_are_asked_for_are_what_it_starts_from(model: str, start: dict[str, None]):
    recipe, why = chosen(data(), model=model, given={"model": start})
    assert (recipe.model.weights, recipe.model.transfer, recipe.model.encoder_weights) == (None, None, None)
    assert recipe.input.mean == (0.5, 0.4, 0.3)
    assert "learnt anew" in why["optimizer.encoder_lr"]


@pytest.mark.parametrize(
    ("model", "start", "mean"),
    [
        ("segnet", {"encoder_weights": "imagenet"}, (0.485, 0.456, 0.406)),
        ("segnet", {"encoder_weights": "vgg16_bn.pth"}, (0.485, 0.456, 0.406)),
        ("unet", {"encoder_weights": "imagenet"}, (0.498, 0.498, 0.498)),
        ("deeplabv3_resnet50", {"weights": "coco_voc"}, (0.485, 0.456, 0.406)),
        ("unet", {"transfer": "default"}, (0.498, 0.498, 0.498)),
    ],
)
def test_weights_that_are_asked_for_come_with_their_normalisation_and_rate(
    model: str, start: dict[str, str], mean: tuple[float, float, float]
):
    recipe, why = chosen(data(), model=model, given={"model": start})
    ((key, value),) = start.items()
    assert getattr(recipe.model, key) == value
    assert recipe.model.transfer == start.get("transfer")
    assert recipe.input.mean == pytest.approx(mean, abs=1e-3)
    assert "know something already" in why["optimizer.encoder_lr"]


def test_going_on_from_a_run_keeps_its_normalisation(tmp_path: Path):
    coarser, _ = chosen(data(), model="fcn32s", given={"model": {"encoder_weights": None}})
    (tmp_path / "recipe.yaml").write_text(coarser.to_yaml())
    best = str(tmp_path / "best.safetensors")
    Path(best).write_bytes(b"")
    recipe, _ = chosen(data(mean=(0.1, 0.1, 0.1)), model="fcn16s", given={"model": {"weights": best}})
    assert (recipe.model.weights, recipe.input) == (best, coarser.input)


def test_the_weights_of_a_bundle_come_with_its_normalisation(tmp_path: Path):
    write_bundle(tmp_path / "model", BundleConfig("m", "fcn32s", {}, classes(2), SPEC), graph=b"g", weights=b"w")
    weights = tmp_path / "model" / "model.safetensors"
    recipe, why = chosen(data(), model="fcn16s", given={"model": {"weights": str(weights)}})
    assert (recipe.input.mean, recipe.input.std) == (SPEC.mean, SPEC.std)
    assert why["input.mean"] == "as those weights were trained"
    (weights.parent / "config.json").write_text('{"model_type": "of another library"}')
    recipe, _ = chosen(data(), model="fcn16s", given={"model": {"weights": str(weights)}})
    assert recipe.input.mean == (0.485, 0.456, 0.406)


def test_weights_by_name_do_not_go_by_what_lies_in_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    other, _ = chosen(data(mean=(0.1, 0.1, 0.1)), model="unet2015")
    (tmp_path / "recipe.yaml").write_text(other.to_yaml())
    monkeypatch.chdir(tmp_path)
    recipe, _ = chosen(data(), model="deeplabv3_resnet50", given={"model": {"weights": "coco_voc"}})
    assert recipe.input.mean == (0.485, 0.456, 0.406)


def test_a_start_that_is_missing_is_refused():
    with pytest.raises(PixelwiseError, match="no_such_model"):
        chosen(data(), given={"model": {"transfer": "no_such_model"}})


def test_an_unknown_architecture_or_argument_is_refused():
    with pytest.raises(PixelwiseError, match="unett"):
        chosen(data(), model="unett")
    with pytest.raises(PixelwiseError, match="decoder_chanels"):
        chosen(data(), given={"model": {"arguments": {"decoder_chanels": [8]}}})


@st.composite
def fingerprints(draw: st.DrawFn) -> Fingerprint:
    """Anything that `fingerprint` could find: at least one photo, and one labelled pixel."""
    number, photos = draw(st.integers(2, 40)), draw(st.integers(1, 10**6))
    pixels = draw(st.lists(st.integers(0, 10**12), min_size=number, max_size=number).filter(any))
    with_it = [draw(st.integers(1, photos)) if count else 0 for count in pixels]
    height, width = draw(st.integers(1, 9000)), draw(st.integers(1, 9000))
    shape = min(height, 60), min(width, 60)
    kind = draw(st.sampled_from(["flat", "ignored", "fine", "smooth"]))
    mask = np.full(shape, 255 if kind == "ignored" else 0, np.uint8)
    if kind == "fine":
        mask = np.random.default_rng(0).integers(0, number, shape, dtype=np.uint8)
    if kind == "smooth":
        mask = (colourful_photo(*shape)[..., 0] // 64 % number).astype(np.uint8)
    return data(
        height,
        width,
        photos=photos,
        number=number,
        pixels=np.array(pixels),
        photos_with=np.array(with_it),
        masks=(mask,),
        grey=draw(st.booleans()),
    )


@settings(max_examples=25, deadline=None)
@given(
    found=fingerprints(),
    machine=st.builds(
        Machine,
        gpu=st.booleans(),
        memory=st.integers(2**20, 2**40),
        cores=st.integers(1, 256),
        fast_bf16=st.booleans(),
    ),
)
def test_whatever_the_data_and_the_machine_the_recipe_is_valid(found: Fingerprint, machine: Machine):
    recipe, _ = chosen(found, machine, model="unet2015", given={"model": {"arguments": {"width": 4}}})
    assert parse_recipe(recipe.model_dump(), name="again") == recipe
    assert 32 <= recipe.input.long_side <= 1024
    assert 64 <= int(str(recipe.augment.crop_size)) <= 512
    assert 1 <= recipe.batch_size <= 16
    assert recipe.batch_size >= recipe.accumulate
    assert recipe.steps % recipe.validate_every == 0
    assert recipe.checkpoint_every <= recipe.validate_every
    assert recipe.optimizer.warmup_steps < recipe.steps
    assert 0 <= recipe.optimizer.ema_decay < 1
