"""A training run as validated data: read from YAML, overridden by flags, saved resolved beside the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pixelwise.errors import RecipeError

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Model(_Part):
    """The network.

    Attributes:
        name: a registered architecture.
        arguments: what departs from its defaults.
        encoder_weights: "imagenet" for timm's or torchvision's own, a file of them, or nothing for random weights.
        weights: what the whole network starts from: a file such as a run's `best.safetensors` or a bundle's
            `model.safetensors`, for FCN-16s and FCN-8s also that of the coarser one; or "coco_voc", torchvision's
            weights for FCN-ResNet and DeepLabV3. Then `encoder_weights` is not looked at.
        freeze: submodules that stay as they are, batch statistics included; early layers of a pretrained encoder hardly
            change, and not training them saves a third of the time.
    """

    name: str = "unet"
    arguments: dict[str, Any] = {}
    encoder_weights: str | None = "imagenet"
    weights: str | None = None
    freeze: list[str] = []


class Input(_Part):
    """What the network expects; travels in the bundle.

    Attributes:
        mean: subtracted from the RGB values scaled to 0-1.
        std: divides them after that.
        long_side: a photo is scaled so that its longer side has this many pixels.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    long_side: Positive = 512


class Source(_Part):
    """One split of one dataset: layout, directory (relative to the data root), split, and the layout's options."""

    layout: str
    root: str
    split: str
    options: dict[str, Any] = {}


class Data(_Part):
    """What is learned from, and what the best checkpoint is chosen on.

    Attributes:
        train: taken together.
        val: likewise.
        class_balance: share of the photos that are drawn by a class first, all classes alike; see
            `pixelwise.data.loader.sampling_factors`.
        colours: the model's class colours: the dataset's own, or ones that can be told apart on a photo.
    """

    train: Annotated[list[Source], Field(min_length=1)]
    val: Annotated[list[Source], Field(min_length=1)]
    class_balance: Fraction = 0.0
    colours: Literal["dataset", "display"] = "dataset"


class Augment(_Part):
    """Random changes to a training photo; `pixelwise.data.transforms.TrainTransform` makes them.

    The defaults leave out what not every material allows: a street has an up and a down, cells on a slide have none.

    Attributes:
        crop_size: what the network sees of a photo, in pixels: the side of a square, or height and width.
        scale: smallest and largest factor on top of fitting the photo into `input.long_side`, drawn evenly.
        rotation: the crop is turned by up to this many degrees either way, drawn evenly.
        vertical_flip: turn half of the photos upside down, as half of them are mirrored anyway; for photos from above.
        quarter_turns: turn the photos by 0, 90, 180 or 270 degrees; likewise.
        colour: strength of the change in brightness, contrast and saturation, 0 to 1.
        hue: largest change of the hue in turns of the colour circle, 0 to 0.5.
        grey: share of the photos that lose their colours.
        blur: share of the photos that are blurred, by a Gaussian of 0.1 to 2 pixels.
        noise: share of the photos that get Gaussian noise.
        noise_sigma: its standard deviation, in levels of 0-255.
        cutout: share of the crops that lose a rectangle: grey in the photo, ignored in the mask.
        cutout_size: its height and width, as a share of the crop's.
        focus: share of the crops that are laid so as to show one of the photo's classes, drawn evenly from them; the
            others are laid anywhere. With `rotation`, they are laid before they are turned.
        max_class_share: a crop of whose labelled pixels one class has a larger share is laid again, up to ten times;
            1 for never.
    """

    crop_size: Positive | tuple[Positive, Positive] = 320
    scale: tuple[float, float] = (0.5, 2.0)
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    vertical_flip: bool = False
    quarter_turns: bool = False
    colour: Fraction = 0.4
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    grey: Fraction = 0.05
    blur: Fraction = 0.0
    noise: Fraction = 0.0
    noise_sigma: PositiveFloat = 10.0
    cutout: Fraction = 0.0
    cutout_size: PositiveFraction = 0.25
    focus: Fraction = 0.0
    max_class_share: PositiveFraction = 1.0

    @field_validator("crop_size", mode="before")
    @classmethod
    def _one_side_or_two(cls, value: Any) -> Any:
        sides = value if isinstance(value, list | tuple) else [value]
        if len(sides) not in (1, 2) or not all(type(side) is int and side > 0 for side in sides):
            raise ValueError(
                f"{value!r} is no size of a crop; give a side in pixels, or height and width as [360, 480]"
            )
        return sides[0] if len(sides) == 1 else tuple(sides)


class Loss(_Part):
    """Weights of the summed losses, and the share of pixels they look at.

    Attributes:
        cross_entropy: weight.
        dice: weight.
        auxiliary: weight of the same sum over an auxiliary head, where the network has one; 0.4 as Zhao et al. 2017,
            arXiv:1612.01105.
        pixel_stride: the losses see every n-th row and column, from an offset drawn anew each step; neighbouring
            pixels say nearly the same, and the softmax over all of them is a fifth of a step's time on a processor.
    """

    cross_entropy: Annotated[float, Field(ge=0)] = 1.0
    dice: Annotated[float, Field(ge=0)] = 0.0
    auxiliary: Annotated[float, Field(ge=0)] = 0.4
    pixel_stride: Positive = 1


class Optimizer(_Part):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with cosine decay after a linear warm-up.

    Attributes:
        lr: peak learning rate of what starts from random weights.
        encoder_lr: peak learning rate of the pretrained encoder.
        weight_decay: for weights; biases and normalisation have none.
        warmup_steps: steps from zero to the peak.
        clip: largest norm of the gradient.
        ema_decay: of the moving average of weights that is validated and kept; 0 for none.
    """

    lr: PositiveFloat = 1e-3
    encoder_lr: PositiveFloat = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    clip: PositiveFloat = 5.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998


class Card(_Part):
    """What people should know about the model; goes into the model card as it is."""

    data: list[str] = []
    limits: list[str] = []
    licences: list[str] = []


class Recipe(_Part):
    """Everything that a run depends on but the data itself."""

    name: str
    description: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    model: Model = Model()
    input: Input = Input()
    data: Data
    augment: Augment = Augment()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    batch_size: Positive = 16
    steps: Positive = 1000
    validate_every: Positive = 500
    checkpoint_every: Positive = 100
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    workers: Annotated[int, Field(ge=0)] = 1
    card: Card = Card()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.augment.scale
        if not 0 < low <= high:
            raise ValueError(f"augment.scale is {self.augment.scale}; expected two positive factors, the smaller first")
        if self.loss.cross_entropy + self.loss.dice == 0:
            raise ValueError("every loss has weight 0; give one of cross_entropy, dice a positive weight")
        return self

    def to_yaml(self) -> str:
        """The resolved recipe, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: a YAML file.
        overrides: `key.subkey=value` each, the value in YAML.

    Raises:
        RecipeError: the file cannot be read, an override is malformed, or a value does not validate; the message names
            every offending key.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"The recipe {path} cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"The recipe {path} is not a mapping of keys to values.")
    for override in overrides:
        _apply(raw, override)
    return parse_recipe(raw, name=str(path))


def parse_recipe(raw: Mapping[str, Any], *, name: str) -> Recipe:
    """Validate a recipe given as plain data; `name` stands in the error message.

    Raises:
        RecipeError: a value does not validate; the message names every offending key.
    """
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"The recipe {name} does not validate: {found}.") from error


def _apply(raw: dict[str, Any], override: str) -> None:
    keys, equals, value = override.partition("=")
    if not equals or not all(key.strip() for key in keys.split(".")):
        raise RecipeError(f"The override {override!r} is not of the form key.subkey=value.")
    *parents, last = keys.strip().split(".")
    for key in parents:
        inner = raw.setdefault(key, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"The override {override!r} goes through {key!r}, which has no keys of its own.")
        raw = inner
    try:
        raw[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"The value of the override {override!r} is not valid YAML.") from error
