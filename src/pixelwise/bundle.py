"""A model on disk: a directory, the only thing that passes from training to use.

    config.json         format version, architecture, classes, input, provenance, metrics, and the hashes of the files
    model.onnx          the network as a graph; in: float32 (B, 3, H, W), out: logits (B, C, H, W); B, H, W are free
    model.safetensors   the weights, once: the graph refers to them here as ONNX external data
    README.md           the model card, generated from config.json

One that was exported for OpenVINO (`pixelwise export`) has model.xml and model.bin in the place of graph and weights.

Weights stand in one place, so the two halves cannot disagree about them, and a bundle is half the size. It is written
beside its target and renamed, so a reader never sees half of one. Nothing in it can execute anything.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixelwise.errors import BundleError, OutputError, PixelwiseError
from pixelwise.files import is_there
from pixelwise.labels import ClassTable

FORMAT_VERSION = 4
"""The newest format: with `output_stride`; 3 is for OpenVINO, 2 with `short_side`. A model is written in the oldest one
that has all that it needs."""

LARGEST_RATIO = 4
"""Photos longer than so many times their shorter side are scaled by their longer one, lest a strip become endless."""

RECIPE, SEED = "recipe sha256 but for the seed", "seed"
"""What two trainings of one recipe have in common in their provenance, and what they do not."""

CONFIG, GRAPH, WEIGHTS, CARD = "config.json", "model.onnx", "model.safetensors", "README.md"
_FILES = {"onnx": (GRAPH, WEIGHTS), "openvino": ("model.xml", "model.bin")}


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a network expects of a photo.

    Attributes:
        mean: RGB, subtracted from values scaled to 0-1.
        std: RGB, divides them after that.
        long_side: longer side that photos are scaled to, in pixels; None where `short_side` is given.
        size_multiple: height and width are padded to a multiple of this, in pixels, with the mean colour.
        channel_order: always "RGB"; written down so that other readers need not guess.
        short_side: shorter side that photos are scaled to, in pixels, as torchvision's weights want it.
        output_stride: the network answers with logits for so many pixels each way, rounded up, which stand for the
            whole of what it was given. It divides `size_multiple`, unless that is 1: then the network takes any size.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    long_side: int | None
    size_multiple: int
    channel_order: str = "RGB"
    short_side: int | None = None
    output_stride: int = 1

    def __post_init__(self) -> None:
        finite = all(map(math.isfinite, (*self.mean, *self.std)))
        if len(self.mean) != 3 or len(self.std) != 3 or not finite or min(self.std) <= 0:
            raise BundleError(f"mean {self.mean} and std {self.std} must be three finite numbers each, std positive.")
        sides = [side for side in (self.long_side, self.short_side) if side is not None]
        if len(sides) != 1 or sides[0] < 1 or self.size_multiple < 1 or self.channel_order != "RGB":
            raise BundleError(
                "One of long_side and short_side must be given, it and size_multiple must be positive, and "
                "channel_order must be RGB."
            )
        if self.output_stride < 1 or (self.size_multiple > 1 and self.size_multiple % self.output_stride):
            raise BundleError(f"output_stride {self.output_stride} must divide size_multiple, {self.size_multiple}.")

    def size_seen(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a photo is scaled to, before padding."""
        shorter, longer = sorted((height, width))
        if self.long_side is not None:
            scale = self.long_side / longer
        else:
            target = self.short_side or 0
            scale = min(target / shorter, LARGEST_RATIO * target / longer)
        return max(1, round(height * scale)), max(1, round(width * scale))


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """What `config.json` says.

    Attributes:
        name: of the model.
        architecture: registered name of the network.
        arguments: what it was built with, beside the number of classes.
        classes: names and colours, in the order of the output channels.
        input_spec: what it expects.
        provenance: where it comes from: data, recipe, seed, versions, licence. Plain JSON.
        metrics: figures as measured, each under the name of the data and split. Plain JSON.
        form: what the network is written down as: "onnx", or "openvino" for that engine alone.
        precision: which its numbers are in: "fp32"; for OpenVINO also "bf16", "fp16" or "int8".
    """

    name: str
    architecture: str
    arguments: Mapping[str, Any]
    classes: ClassTable
    input_spec: InputSpec
    provenance: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    form: str = "onnx"
    precision: str = "fp32"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types, without the files' hashes."""
        spec = self.input_spec
        needed = {1, 2 * (spec.short_side is not None), 3 * (self.form != "onnx"), 4 * (spec.output_stride > 1)}
        return {
            "format_version": max(needed),
            "name": self.name,
            "architecture": {"name": self.architecture, "arguments": dict(self.arguments)},
            "classes": self.classes.to_json(),
            "ignore_index": self.classes.ignore_index,
            "input": {
                "mean": list(spec.mean),
                "std": list(spec.std),
                "channel_order": spec.channel_order,
                **({"long_side": spec.long_side} if spec.short_side is None else {"short_side": spec.short_side}),
                "size_multiple": spec.size_multiple,
                **({"output_stride": spec.output_stride} if spec.output_stride > 1 else {}),
            },
            **({} if self.form == "onnx" else {"graph": {"form": self.form, "precision": self.precision}}),
            "provenance": dict(self.provenance),
            "metrics": dict(self.metrics),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> BundleConfig:
        """The inverse of `to_json`.

        Raises:
            BundleError: something is missing or of the wrong type.
        """
        try:
            given, graph = raw["input"], raw.get("graph", {"form": "onnx", "precision": "fp32"})
            if graph["form"] not in _FILES:
                raise BundleError(f"its graph is of the unknown form {graph['form']!r}; update pixelwise.")
            spec = InputSpec(
                mean=_triple(given["mean"]),
                std=_triple(given["std"]),
                long_side=None if "short_side" in given else int(given["long_side"]),
                size_multiple=int(given["size_multiple"]),
                channel_order=str(given["channel_order"]),
                short_side=int(given["short_side"]) if "short_side" in given else None,
                output_stride=int(given.get("output_stride", 1)),
            )
            return cls(
                name=str(raw["name"]),
                architecture=str(raw["architecture"]["name"]),
                arguments=dict(raw["architecture"]["arguments"]),
                classes=ClassTable.from_json(raw["classes"], ignore_index=int(raw["ignore_index"])),
                input_spec=spec,
                provenance=dict(raw["provenance"]),
                metrics=dict(raw["metrics"]),
                form=str(graph["form"]),
                precision=str(graph["precision"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BundleError(f"{CONFIG} lacks or garbles {error}.") from error


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose files were found to be whole."""

    path: Path
    config: BundleConfig

    @property
    def graph(self) -> Path:
        """The network's file."""
        return self.path / _FILES[self.config.form][0]

    @property
    def weights(self) -> Path:
        """The file of its weights."""
        return self.path / _FILES[self.config.form][1]

    @property
    def bytes_on_disk(self) -> int:
        """Of graph and weights."""
        return self.graph.stat().st_size + self.weights.stat().st_size


def read_bundle(path: str | Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        BundleError: it is missing, truncated, altered, or from a newer format; the message says which file.
    """
    path = Path(path)
    raw = _read_config(path)
    version = raw.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise BundleError(f"{path / CONFIG} states no format version; this is not a pixelwise model.")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{path} has bundle format {version}, this pixelwise reads up to {FORMAT_VERSION}; update pixelwise."
        )
    try:
        config = BundleConfig.from_json(raw)
    except PixelwiseError as error:
        raise BundleError(f"The model {path} is damaged: {error}") from error
    hashes = raw.get("files")
    for name in _FILES[config.form]:
        expected = hashes.get(name) if isinstance(hashes, dict) else None
        if _sha256(path / name) != expected:
            raise BundleError(f"{path / name} is not what {CONFIG} says it is; the model is damaged, fetch it again.")
    return Bundle(path, config)


def write_bundle(
    path: str | Path, config: BundleConfig, *, graph: bytes, weights: bytes, force: bool = False
) -> Bundle:
    """Write a bundle, whole or not at all.

    Args:
        path: the directory to make.
        config: what to say about the model; the model card is generated from it.
        graph: the ONNX model; external data must lie at `model.safetensors`. Or the XML of OpenVINO's form.
        weights: the safetensors file, or the binary one beside that XML.
        force: replace a bundle that is there, with all that is in its directory; never anything but a bundle.

    Raises:
        OutputError: something is there already and `force` is off, or it cannot be written; what was there is unharmed.
    """
    from pixelwise.card import model_card

    path = Path(path)
    check_place(path, force=force)
    raw = config.to_json()
    files = dict(zip(_FILES[config.form], (graph, weights), strict=True))
    raw["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    contents = {
        CONFIG: (json.dumps(raw, indent=2, ensure_ascii=False) + "\n").encode(),
        **files,
        CARD: model_card(config).encode(),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
            fresh = Path(temporary) / "new"
            fresh.mkdir()
            for name, data in contents.items():
                (fresh / name).write_bytes(data)
            _replace(path, fresh, aside=Path(temporary) / "old")
    except OSError as error:
        raise OutputError(f"The model {path} cannot be written: {error.strerror or error}.") from error
    return Bundle(path, config)


def check_place(path: Path, *, force: bool) -> None:
    """See that a bundle may be written, before it is made.

    Raises:
        OutputError: something is there already and `force` is off, or it is not a bundle.
    """
    if is_there(path) and not (force and is_bundle(path)):
        if force:
            raise OutputError(f"{path} is not a model, so it is not replaced; choose another place.")
        raise OutputError(f"{path} exists already; choose another place, or force the replacement of a model.")


def _replace(path: Path, fresh: Path, *, aside: Path) -> None:
    """Put `fresh` in the place of `path`; a directory cannot be renamed over one that is not empty."""
    if not path.exists():
        fresh.rename(path)
        return
    path.rename(aside)
    try:
        fresh.rename(path)
    except BaseException:
        aside.rename(path)
        raise


def is_bundle(path: Path) -> bool:
    """Whether a directory is a model of any format version; others have a file called `config.json`, too."""
    try:
        return isinstance(_read_config(path).get("format_version"), int)
    except BundleError:
        return False


def _read_config(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(f"{path} is not a model: there is no {CONFIG} in it.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path / CONFIG} cannot be read as JSON ({error}); the model is damaged.") from error
    if not isinstance(raw, dict):
        raise BundleError(f"{path / CONFIG} holds no object; the model is damaged.")
    return raw


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); the model is damaged.") from error


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
