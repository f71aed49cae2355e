"""The models that pixelwise knows by name: those inside the package, torchvision's pretrained ones, and directories."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from pixelwise.bundle import CONFIG, Bundle, BundleConfig, read_bundle
from pixelwise.errors import BundleError, did_you_mean

DEFAULT_MODEL = "default"
_SHIPPED = Path(__file__).parent / "bundles"
_ARCHITECTURES = Path(__file__).with_name("architectures.json")


@dataclass(frozen=True, slots=True)
class WeightsFacts:
    """Pretrained weights: what they are called, in which library, and under which licence."""

    name: str
    library: str
    licence: str


@dataclass(frozen=True, slots=True)
class ArchitectureFacts:
    """What is known of an architecture without building it.

    Attributes:
        name: what `pixelwise.models.build` and recipes call it.
        family: "FCN", "U-Net", ...
        encoder: the classification network inside, in words.
        paper: where it was published, in a line.
        parameters: with 21 classes.
        multiply_adds: of one photo of 512 x 512 pixels, with 21 classes; convolutions only.
        output_stride: of its coarsest feature map.
        weights: the pretrained weights there are: "imagenet" for the encoder, "coco_voc" for the whole network.
    """

    name: str
    family: str
    encoder: str
    paper: str
    parameters: int
    multiply_adds: int
    output_stride: int
    weights: Mapping[str, WeightsFacts]


@functools.cache
def architectures() -> tuple[ArchitectureFacts, ...]:
    """All architectures, sorted by name; from a table inside the package, so that nobody needs torch to read it."""
    entries: list[dict[str, Any]] = json.loads(_ARCHITECTURES.read_text(encoding="utf-8"))["architectures"]
    return tuple(
        ArchitectureFacts(
            name=entry["name"],
            family=entry["family"],
            encoder=entry["encoder"],
            paper="{authors}, {venue}, arXiv:{arxiv}".format(**entry["paper"]),
            parameters=entry["parameters"],
            multiply_adds=entry["multiply_adds"],
            output_stride=entry["output_stride"],
            weights={kind: WeightsFacts(**facts) for kind, facts in entry["weights"].items()},
        )
        for entry in entries
    )


def work_of_photo(config: BundleConfig, *, side: int | None = None) -> float | None:
    """About how many multiply-adds a photo of 4:3 takes, going by what its architecture takes as it is by default.

    Args:
        config: of the model.
        side: longer side at which the network sees the photo, in pixels; None for the model's own.

    Returns:
        None where the architecture is none of `architectures`.
    """
    facts = next((facts for facts in architectures() if facts.name == config.architecture), None)
    if facts is None:
        return None
    spec = config.input_spec if side is None else replace(config.input_spec, long_side=side, short_side=None)
    height, width = spec.size_seen(480, 640)
    return facts.multiply_adds * height * width / 512**2


def model_names() -> list[str]:
    """The names of the models inside the package, sorted."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{CONFIG}"))


def pretrained_names() -> list[str]:
    """The names of the models that are fetched and converted when they are first used, sorted."""
    return [facts.name for facts in architectures() if "coco_voc" in facts.weights]


def cached_path(name: str) -> Path:
    """Where the bundle of a pretrained model lies once it is converted: in the user's cache.

    The name of the weights is part of it, so that newer ones do not meet an old bundle.
    """
    (facts,) = (facts for facts in architectures() if facts.name == name)
    weights = facts.weights["coco_voc"].name.rpartition(".")[2].lower()
    return user_cache_path("pixelwise") / "models" / f"{name}-{weights}"


def find_model(model: str | Path) -> Bundle:
    """A bundle by its directory, or by its name: inside the package, or pretrained and in the cache.

    Raises:
        BundleError: there is no such model (the message lists what there is), it is damaged, or it is pretrained and
            was not converted yet.
    """
    return read_bundle(model_path(model))


def model_path(model: str | Path) -> Path:
    """Where a model lies, by its directory or its name.

    Raises:
        BundleError: there is no such model.
    """
    path, name = Path(model), str(model)
    if is_named(model):
        return _SHIPPED / name if name in model_names() else cached_path(name)
    if _is_directory(path):
        return path
    known = [*model_names(), *pretrained_names()]
    if name in {facts.name for facts in architectures()}:
        raise BundleError(
            f"{name} is an architecture that has to be trained first, with `pixelwise train`; ready to use are: "
            f"{', '.join(known)}."
        )
    there = f"built in: {', '.join(model_names()) or 'none'}; pretrained: {', '.join(pretrained_names()) or 'none'}."
    raise BundleError(
        f"There is no model {name!r}: no directory of that name; {did_you_mean(name, known, there, most=2)}"
    )


def is_named(model: str | Path) -> bool:
    """Whether this is a name of the catalogue; a model in a directory of that name comes first."""
    return str(model) in (*model_names(), *pretrained_names()) and not (Path(model) / CONFIG).is_file()


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, say
        return False
