"""A training run as validated data: read from YAML, overridden by flags, saved resolved beside the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pixelwise.errors import RecipeError, did_you_mean
from pixelwise.settings import parse_values

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Schedule = Literal["cosine", "poly", "one_cycle", "constant"]
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
        transfer: a model for other classes to start from, a name from `pixelwise models` or a bundle's directory: what
            fits by name and shape is taken over, the encoder has to. Then `encoder_weights` is not looked at.
        freeze: submodules that stay as they are, batch statistics included; early layers of a pretrained encoder hardly
            change, and not training them saves a third of the time.
    """

    name: str = "unet"
    arguments: dict[str, Any] = {}
    encoder_weights: str | None = "imagenet"
    weights: str | None = None
    transfer: str | None = None
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
    """Weights of the summed losses, and the share of pixels they look at; see `pixelwise.losses`.

    Attributes:
        cross_entropy: weight.
        dice: weight.
        focal: weight.
        lovasz: weight.
        ohem: weight of the cross-entropy over hard pixels only.
        class_weights: how much a pixel counts by its class in cross-entropy, focal and OHEM, from how many pixels the
            classes have in the training masks; see `pixelwise.losses.class_weights`.
        beta: of "effective_number".
        label_smoothing: of the cross-entropy, the share of the truth that is spread over all classes.
        focal_gamma: exponent of the focal loss; the larger, the less counts what is right already.
        ohem_threshold: a pixel is hard when its true class has a probability below it.
        ohem_min_share: least share of the pixels that are taken for hard.
        auxiliary: weight of the same sum over an auxiliary head, where the network has one; 0.4 as Zhao et al. 2017,
            arXiv:1612.01105.
        pixel_stride: the losses see every n-th row and column, from an offset drawn anew each step; neighbouring
            pixels say nearly the same, and the softmax over all of them is a fifth of a step's time on a processor.
    """

    cross_entropy: NotNegative = 1.0
    dice: NotNegative = 0.0
    focal: NotNegative = 0.0
    lovasz: NotNegative = 0.0
    ohem: NotNegative = 0.0
    class_weights: Literal["none", "inverse", "median_frequency", "effective_number"] = "none"
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.999999
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    focal_gamma: NotNegative = 2.0
    ohem_threshold: Fraction = 0.7
    ohem_min_share: Fraction = 1 / 16
    auxiliary: NotNegative = 0.4
    pixel_stride: Positive = 1

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if max(self.cross_entropy, self.dice, self.focal, self.lovasz, self.ohem) == 0:
            raise ValueError(
                "every loss has weight 0; give one of cross_entropy, dice, focal, lovasz, ohem a positive weight"
            )
        return self


class Optimizer(_Part):
    """The optimizer, and its learning rate over the steps; see `pixelwise.optimization`.

    Attributes:
        name: AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), or stochastic gradient descent with momentum, which
            wants rates about ten times as large.
        lr: peak learning rate of what starts from random weights.
        encoder_lr: peak learning rate of the pretrained encoder, or of its last layer where `layer_decay` is below 1.
        layer_decay: by how much each earlier layer of the encoder learns more slowly than the one after it.
        weight_decay: for weights; biases and normalisation have none.
        momentum: of SGD.
        nesterov: whether SGD looks ahead by its momentum.
        schedule: how the rate goes on from the peak; "one_cycle" rises by itself and has no warm-up.
        power: of the schedule "poly".
        warmup_steps: steps from zero to the peak.
        clip: largest norm of the gradient.
        ema_decay: of the moving average of weights that is validated and kept; 0 for none.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: PositiveFloat = 1e-3
    encoder_lr: PositiveFloat = 3e-4
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    weight_decay: NotNegative = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    schedule: Schedule = "cosine"
    power: PositiveFloat = 0.9
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    clip: PositiveFloat = 5.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Card(_Part):
    """What people should know about the model; goes into the model card as it is."""

    data: list[str] = []
    limits: list[str] = []
    licences: list[str] = []


class Recipe(_Part):
    """Everything that a run depends on but the data itself.

    Attributes:
        name: of the run, and of its directory below `runs/`.
        batch_size: photos a step, over all processes.
        steps: of the optimizer; validate_every, checkpoint_every: likewise.
        patience: the run stops after so many validations in a row without a better mean IoU; null for never.
        accumulate: a batch is worked through in so many parts, for large batches in little memory.
        precision: "bf16-mixed" and "16-mixed" compute in half precision where it is safe; the latter on GPUs only.
        compile: by `torch.compile`; pays for long runs.
        deterministic: refuse operations whose results differ from run to run, which some are on GPUs,
            cross-entropy among them.
        sync_batch_norm: statistics of batch normalisation over all processes; on CUDA devices only.
        workers: processes that read and augment photos, for each training process.
        log_to: services beside TensorBoard and `log.jsonl`, by the names of their packages.
    """

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
    patience: Positive | None = None
    accumulate: Positive = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    compile: bool = False
    deterministic: bool = False
    sync_batch_norm: bool = False
    workers: Annotated[int, Field(ge=0)] = 1
    log_to: list[Literal["mlflow", "wandb"]] = []
    card: Card = Card()

    @field_validator("name")
    @classmethod
    def _a_directory_below_runs(cls, value: str) -> str:
        path = Path(value)
        if not value.strip() or path == Path() or path.is_absolute() or ".." in path.parts:
            raise ValueError(
                f"{value!r} cannot be a run's directory below runs/; give a plain name, and --run for others"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model.weights and self.model.transfer:
            raise ValueError("model.weights and model.transfer are both given; a network starts from one of them")
        low, high = self.augment.scale
        if not 0 < low <= high:
            raise ValueError(f"augment.scale is {self.augment.scale}; expected two positive factors, the smaller first")
        return self

    def to_yaml(self) -> str:
        """The resolved recipe, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def but_for_chance(self) -> Self:
        """What trainings have in common that differ in chance alone; `compare` takes those for one model.

        Beside the seed, that leaves out what teaches nothing: the number of workers, and where the log goes.
        """
        return self.model_copy(update={"seed": 0, "workers": 1, "log_to": []})


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
    apply_overrides(raw, overrides)
    return parse_recipe(raw, name=str(path))


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set values in a recipe given as plain data, in place.

    Args:
        raw: the recipe.
        overrides: `key.subkey=value` each, the value in YAML.

    Raises:
        RecipeError: an override is malformed.
    """
    for keys, value in parse_values(overrides).items():
        *parents, last = keys.split(".")
        inner = raw
        for key in parents:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise RecipeError(
                    f"The override {f'{keys}={value}'!r} goes through {key!r}, which has no keys of its own."
                )
        inner[last] = value


def parse_recipe(raw: Mapping[str, Any], *, name: str) -> Recipe:
    """Validate a recipe given as plain data; `name` stands in the error message.

    Raises:
        RecipeError: a value does not validate; the message names every offending key.
    """
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {_said(e)}" for e in error.errors())
        raise RecipeError(f"The recipe {name} does not validate: {found}.") from error


def _said(error: ErrorDetails) -> str:
    """What is wrong with a value; of a key that there is none of, which there are."""
    if error["type"] != "extra_forbidden":
        return error["msg"]
    part: Any = Recipe
    for key in error["loc"][:-1]:
        if isinstance(key, str):  # a number is a place in a list
            kind = part.model_fields[key].annotation
            part = next(iter(get_args(kind)), kind)
    return "there is no such key; " + did_you_mean(
        str(error["loc"][-1]), list(part.model_fields), f"there are: {', '.join(part.model_fields)}"
    )
