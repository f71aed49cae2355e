"""Self-configuration: from a look at the data to a complete recipe, with the reason for each choice.

The rules are few and read from top to bottom in `configure`; docs/training.md says how they were arrived at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pixelwise.bundle import InputSpec, is_bundle, read_bundle
from pixelwise.catalogue import DEFAULT_MODEL, find_model
from pixelwise.describe import describe
from pixelwise.errors import PixelwiseError
from pixelwise.fingerprint import Fingerprint
from pixelwise.machine import cores, memory
from pixelwise.models import architecture, arguments, build
from pixelwise.models.weights import load_encoder
from pixelwise.recipe import Input, load_recipe
from pixelwise.run_directory import RunDirectory

USUAL_MODEL = "unet"
"""What is trained where no architecture is asked for."""

_FINE, _ENOUGH = 0.97, 0.95
"""The mean IoU that a perfect network has to reach on the grid of the answer: with the finer decoder if need be, which
costs little, and with larger photos, which cost much. On the nuclei, where the coarser decoder could reach 0.96, the
finer one raised the IoU of the nuclei from 0.79 to 0.83."""

_FEW_PHOTOS = 500
"""Fewer have to show what more would: a photo of several crops counts as several photos, up to so many in all."""

_STARTS = ("weights", "transfer", "encoder_weights")
"""Of the recipe's part `model`, what a network may start from; of several given, the first one counts."""

_USUAL_SIDE, _LARGEST_SIDE = 512, 1024
_BYTES_HELD = 3.0
"""What training holds, over the feature maps of one forward pass: they are kept, and have gradients and work space."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting, and why it is what it is.

    Attributes:
        key: in the recipe, `part.name`.
        value: plain JSON.
        reason: half a sentence.
    """

    key: str
    value: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What the run will have to work with.

    Attributes:
        gpu: whether there is one.
        memory: bytes, of the GPU or of the machine, for each training process.
        cores: of the processor, for each training process.
        fast_bf16: whether it computes in bf16 faster than in float32.
    """

    gpu: bool
    memory: int
    cores: int
    fast_bf16: bool

    @classmethod
    def here(cls, *, processes: int = 1) -> Machine:
        """This machine, shared by so many training processes."""
        share = max(1, cores() // processes)
        if torch.cuda.is_available():
            fast_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            return cls(True, torch.cuda.get_device_properties(0).total_memory, share, fast_bf16)
        return cls(False, memory() // processes, share, _processor_has_bf16())


def configure(
    found: Fingerprint,
    *,
    name: str,
    data: Mapping[str, Any],
    machine: Machine,
    model: str = USUAL_MODEL,
    given: Mapping[str, Any] | None = None,
    epochs: float | None = None,
) -> tuple[dict[str, Any], list[Choice]]:
    """A recipe for some data.

    Args:
        found: the data in figures.
        name: of the run.
        data: the recipe's part `data`: train and val.
        machine: what to fit it to.
        model: an architecture.
        given: of the recipe, plain data, what is not to be chosen. The choices go by what it says of `steps`,
            `batch_size`, the network's arguments and what its weights start from.
        epochs: how often each photo is seen, instead of a number chosen by how many there are.

    Returns:
        the recipe as plain data, for `pixelwise.recipe.parse_recipe`; and what was chosen, why.

    Raises:
        PixelwiseError: there is no such architecture or argument, or what the weights are to start from is missing.
    """
    given = given or {}
    choices = [*_start(model, part if isinstance(part := given.get("model"), dict) else {}, found)]
    settings = {choice.key: choice.value for choice in choices}
    choices += _sizes(found, machine, model, settings)
    settings = {choice.key: choice.value for choice in choices}
    choices += _batch(found, machine, model, settings, _number(given.get("batch_size")))
    settings = {choice.key: choice.value for choice in choices}
    choices += _schedule(found, settings, _number(given.get("steps")), epochs)
    choices += [*_imbalance(found), *_hardware(machine), *_augmentation(found)]
    recipe: dict[str, Any] = {"name": name, "model": {"name": model}, "data": dict(data)}
    recipe["description"] = f"Trained by pixelwise on data of one's own, {len(found.classes)} classes."
    recipe["card"] = {
        "data": [f"{found.photos} photos to learn from, {found.val_photos} to choose the best weights on."]
    }
    for choice in choices:
        part, _, key = choice.key.rpartition(".")
        (recipe.setdefault(part, {}) if part else recipe)[key] = choice.value
    return recipe, choices


def steps_of(epochs: float, photos: int, batch: int) -> int:
    """The steps in which each photo is seen so often."""
    return max(1, round(epochs * photos / batch))


def _start(model: str, given: Mapping[str, Any], found: Fingerprint) -> list[Choice]:
    """What the weights start from, and the normalisation that belongs to it."""
    own = value if isinstance(value := given.get("arguments"), dict) else {}
    chosen, spec = _weights(model, own, given)
    choices = [*([Choice("model.arguments", own, "as given")] if own else []), chosen]
    if spec is None:
        return [*choices, *_normalisation(found.mean, found.std, "mean of the photos", "their standard deviation")]
    return [*choices, *_normalisation(spec.mean, spec.std, "as those weights were trained", "likewise")]


def _weights(model: str, own: dict[str, Any], given: Mapping[str, Any]) -> tuple[Choice, InputSpec | Input | None]:
    """What the weights start from, and how photos were normalised for it; None for random ones."""
    shares = model == "unet" and arguments(model, own)["encoder"] == "tf_efficientnet_lite0"
    usual = find_model(DEFAULT_MODEL).config.input_spec if shares else Input()
    for key in _STARTS:
        if isinstance(start := given.get(key), str):
            return Choice(f"model.{key}", start, "as given"), _spec_of(key, start) or usual
    if "encoder_weights" in given:
        return Choice("model.encoder_weights", None, "as given"), None
    if shares and "transfer" not in given:
        reason = "pixelwise's own model of 21 classes shares this network; no download"
        return Choice("model.transfer", DEFAULT_MODEL, reason), usual
    if "imagenet" not in architecture(model).weights:
        return Choice("model.encoder_weights", None, f"{model} has no pretrained part"), None
    try:
        load_encoder(build(model, num_classes=2, arguments_given=own), "imagenet")
    except PixelwiseError as error:
        reason = f"random weights, as there is no way to better ones: {error}"
        return Choice("model.encoder_weights", None, reason), None
    return Choice("model.encoder_weights", "imagenet", "weights that know photographs need fewer of them"), usual


def _spec_of(key: str, start: str) -> InputSpec | Input | None:
    """What is known of how a start was normalised when it was trained."""
    if key == "transfer":
        return find_model(start).config.input_spec
    if key != "weights" or not Path(start).is_file():  # "coco_voc" is no file and has no neighbours
        return None
    beside = Path(start).parent
    if is_bundle(beside):
        return read_bundle(beside).config.input_spec
    recipe = RunDirectory(beside).recipe
    return load_recipe(recipe).input if recipe.is_file() else None


def _normalisation(mean: Sequence[float], std: Sequence[float], why_mean: str, why_std: str) -> list[Choice]:
    return [Choice("input.mean", list(mean), why_mean), Choice("input.std", list(std), why_std)]


def _sizes(found: Fingerprint, machine: Machine, model: str, settings: Mapping[str, Any]) -> list[Choice]:
    """The size at which photos are seen, how fine the answer is, and the size of crops."""
    native = found.long_side
    side = max(32, min(native, _USUAL_SIDE))
    stride, choices = 1, []
    reason = f"the photos' own (median {found.width} x {found.height})"
    if side < native:
        reason = f"smaller than the photos (median {found.width} x {found.height}), to be quick"
    if model == "unet" and "model.arguments" not in settings:
        stride = 4
        if found.ceiling(side / 4) < _FINE:
            stride = 2
            choices.append(
                Choice(
                    "model.arguments",
                    {"decoder_channels": [112, 80, 64, 48]},
                    f"fine masks: an answer at every fourth pixel could reach a mean IoU of "
                    f"{found.ceiling(side / 4):.2f} at most, at every second {found.ceiling(side / 2):.2f}",
                )
            )
    grown = side
    while found.ceiling(grown / stride) < _ENOUGH and grown < min(_LARGEST_SIDE, _most(native)):
        grown = min(math.ceil(grown * 1.25 / 32) * 32, _LARGEST_SIDE, _most(native))
    if grown > side:
        before, after = found.ceiling(side / stride), found.ceiling(grown / stride)
        reason = f"fine masks: at {side} pixels a mean IoU of {before:.2f} could be reached at most, here {after:.2f}"
    crop = min(_multiple(grown), 512 if machine.gpu else 320 if grown > 320 else 288)
    crop_reason = "all of a photo" if crop >= grown else "a part of each photo at a time, so that steps are quick"
    return [
        *choices,
        Choice("input.long_side", grown, reason),
        Choice("augment.crop_size", crop, crop_reason),
    ]


def _number(value: Any) -> int | None:
    """A number of photos or steps that was given; what is none, the recipe refuses."""
    return value if type(value) is int and value > 0 else None


def _batch(
    found: Fingerprint, machine: Machine, model: str, settings: Mapping[str, Any], given: int | None
) -> list[Choice]:
    """As many photos a step as are useful and fit the memory; so many as are given, in parts if need be."""
    wanted = given or (16 if machine.gpu else 8)
    reason = "usual on a GPU" if machine.gpu else "usual on a processor"
    if given is None and found.photos < 4 * wanted:
        wanted, reason = 4, f"small, so that {found.photos} photos make many steps"
    crop = settings["augment.crop_size"]
    described = describe(
        model,
        num_classes=len(found.classes),
        size=(crop, crop),
        arguments_given=settings.get("model.arguments", {}),
    )
    one = _BYTES_HELD * described.activation_bytes
    fixed = 4 * 4 * described.parameters  # weights, gradients, and two moments
    fitting = int((0.6 * machine.memory - fixed) / one)
    if fitting >= wanted:
        return [Choice("batch_size", wanted, reason)]
    memory = f"{machine.memory / 2**30:.0f} GiB of memory hold {max(fitting, 1)} crops of {crop} pixels"
    if given is not None:
        parts = math.ceil(given / max(fitting, 1))
        return [Choice("batch_size", given, "as given"), Choice("accumulate", parts, memory)]
    if fitting >= 4:
        return [Choice("batch_size", fitting, memory)]
    parts = 2 if fitting >= 2 else 4
    return [
        Choice("batch_size", 4, f"{memory}; worked through in parts"),
        Choice("accumulate", parts, "what fits the memory at once"),
    ]


def _schedule(found: Fingerprint, settings: Mapping[str, Any], given: int | None, epochs: float | None) -> list[Choice]:
    """How long to train, and how fast to learn; for so many steps as are given, or so many epochs."""
    photos, batch = found.photos, settings["batch_size"]
    pretrained = any(settings.get(f"model.{key}") for key in _STARTS)
    if given is None and epochs is not None:
        given = steps_of(epochs, photos, batch)
    if given is None:
        steps, each, why = _length(found, settings, pretrained=pretrained)
    else:
        steps, each = given, max(1, round(given / 6))
        why = "as given" if epochs is None else f"{epochs:g} epochs, as given"
    fewest, warmup = (10, max(5, steps // 15)) if given is None else (1, steps // 15)
    if settings.get("model.transfer"):
        lr, encoder_lr = 2e-3, 6e-4
    else:
        lr, encoder_lr = 5e-4, 1.5e-4 if pretrained else 5e-4
    why_encoder = "slower, as these weights know something already" if pretrained else "as the rest: all is learnt anew"
    decay = round(1 - min(0.1, max(0.002, 15 / steps)), 4)
    return [
        Choice("steps", steps, why),
        Choice("validate_every", each, f"{math.ceil(steps / each)} times in all"),
        Choice("checkpoint_every", max(fewest, min(100, each // 2)), "what a kill can cost"),
        Choice("optimizer.lr", lr, "for AdamW, tried on several data sets"),
        Choice("optimizer.encoder_lr", encoder_lr, why_encoder),
        Choice("optimizer.weight_decay", 0.02, "usual"),
        Choice("optimizer.warmup_steps", min(100, warmup), "a fifteenth of the steps, 100 at most"),
        Choice("optimizer.ema_decay", decay, "an average over the last few hundredths of the run"),
    ]


def _length(found: Fingerprint, settings: Mapping[str, Any], *, pretrained: bool) -> tuple[int, int, str]:
    """Steps, after how many of them to validate, and why so many."""
    photos, batch = found.photos, settings["batch_size"]
    parts = _crops_in_a_photo(found, settings)
    shown = max(photos, min(_FEW_PHOTOS, photos * parts))
    classes = int((found.pixels > 0).sum())
    samples = 250 * max(1, classes - 1) + 16 * min(shown, 1000) + 8 * max(0, shown - 1000)
    why = f"{photos} photos"
    if shown > photos:
        why = f"{photos} photos, few but with room for {parts} crops each"
    if classes > 2:
        why = f"{why}; {classes} classes take their time"
    if not pretrained:
        samples, why = 3 * samples, f"{why}; three times as long as with pretrained weights"
    steps = math.ceil(samples / batch)
    each = max(10, math.ceil(steps / 6))
    steps = each * max(1, round(steps / each))
    return steps, each, f"{steps * batch / photos:.0f} times each of {why}"


def _crops_in_a_photo(found: Fingerprint, settings: Mapping[str, Any]) -> int:
    """How many whole crops' worth of pixels the median photo has, at the size seen, without what enlarging makes up."""
    scale = min(1.0, settings["input.long_side"] / found.long_side)
    return int(found.height * found.width * scale**2 / settings["augment.crop_size"] ** 2)


def _imbalance(found: Fingerprint) -> list[Choice]:
    """What is done about rare classes."""
    present = found.shares[found.pixels > 0]
    rarest, in_photos = float(present.min()), int(found.photos_with[found.pixels > 0].min())
    choices = [Choice("loss.dice", 0.5, "beside cross-entropy, counts each class alike")]
    if rarest < 0.05:
        choices = [
            Choice("loss.dice", 1.0, f"the rarest class has {100 * rarest:.2g} % of the pixels; Dice counts all alike"),
            Choice("augment.focus", 0.5, "half of the crops are laid on one of the photo's classes, all alike"),
        ]
    if len(present) > 2 and in_photos < 0.1 * found.photos:
        reason = f"the rarest class is in {in_photos} of {found.photos} photos; half of the draws go by class"
        choices.append(Choice("data.class_balance", 0.5, reason))
    return choices


def _hardware(machine: Machine) -> list[Choice]:
    """What the device is quick at; on a processor, what saves time and costs next to nothing."""
    bf16 = "bf16-mixed" if machine.fast_bf16 else "32-true"
    why = "this device computes it about twice as fast" if machine.fast_bf16 else "no fast bf16 here"
    workers = max(1, min(8 if machine.gpu else 4, machine.cores // 2))
    choices = [Choice("precision", bf16, why), Choice("workers", workers, f"{machine.cores} cores")]
    if machine.gpu:
        return choices
    return [
        *choices,
        Choice("loss.pixel_stride", 2, "neighbouring pixels say nearly the same; a fifth of the time saved"),
    ]


def _augmentation(found: Fingerprint) -> list[Choice]:
    scale = Choice("augment.scale", [0.65, 1.6], "of the size seen")
    if found.grey:
        return [scale, Choice("augment.grey", 0.0, "the photos are grey already")]
    return [scale, Choice("augment.grey", 0.05, "a photo in twenty loses its colours")]


def _most(native: int) -> int:
    """The largest side that helps: small photos may be enlarged by half, which helps an answer on a coarse grid."""
    return _multiple(int(1.5 * native)) if native <= 640 else native


def _multiple(side: int) -> int:
    return max(64, math.ceil(side / 32) * 32)


def _processor_has_bf16() -> bool:
    """Whether the processor has instructions for bf16, without which it is emulated, slowly."""
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)
