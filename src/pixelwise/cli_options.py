"""What several commands share: the options that say how a model is run, and loading it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pixelwise import __version__
from pixelwise.errors import PixelwiseError

if TYPE_CHECKING:
    from pixelwise.bundle import Bundle
    from pixelwise.data import Dataset
    from pixelwise.engine import EngineName, Precision
    from pixelwise.segmenter import Segmenter, Size

_LARGEST_SIZE = 65535

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class NumberRange(click.FloatRange):
    """A range of numbers; that of click lets nan pass, which is below no bound and above none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click has it."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail("nan is not a number.", param, ctx)
        return number


def model(engine: str) -> Decorator:
    """The options that say how a model is run, with a command's own default engine."""
    return _all_of(
        click.option(
            "--size",
            default="auto",
            help="Longer side at which the network sees photos: pixels, `native`, or `auto` for the model's own.",
        ),
        click.option("--flip", is_flag=True, help="Average with the mirrored photo; twice the time."),
        click.option(
            "--engine",
            type=click.Choice(["auto", "onnxruntime", "openvino", "torch"]),
            default=engine,
            help="What computes: auto goes by how much there is to do; torch uses a graphics card.",
        ),
        click.option(
            "--precision",
            type=click.Choice(["auto", "fp32", "bf16"]),
            default="auto",
            help="auto: what the engine finds best on this processor.",
        ),
    )


def dataset(split: str) -> Decorator:
    """The options that say on which photos, with a command's own default split, and what classes count as."""
    return _all_of(
        click.option("--data", type=click.Path(path_type=Path), required=True, help="The dataset's directory."),
        click.option("--split", default=split, help="The split to take."),
        click.option("--layout", default="auto", help="How the dataset lies on disk; auto recognises it."),
        click.option("--option", "options", metavar="KEY=VALUE", multiple=True, help="Of the layout; repeatable."),
        click.option(
            "--map",
            "maps",
            metavar="CLASS=CLASS",
            multiple=True,
            help="What a class of the model counts as; repeatable.",
        ),
    )


def _all_of(*options: Decorator) -> Decorator:
    """Several options as one decorator, in their order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def load_dataset(data: Path, split: str, layout: str, options: Sequence[str]) -> Dataset:
    """What the options of `dataset` say; raises what `pixelwise.data.open_dataset` does."""
    from pixelwise.data import open_dataset, recognise
    from pixelwise.settings import parse_values

    return open_dataset(recognise(data) if layout == "auto" else layout, data, split, parse_values(options))


def load_segmenter(
    model: str,
    *,
    engine: EngineName,
    precision: Precision,
    photos: int | None,
    size: Size,
    flip: bool,
    streams: int = 1,
) -> Segmenter:
    """Load a model, and say so where that takes a while; see `pixelwise.load`."""
    from pixelwise.api import load

    _announce(model)
    loaded = load(model, engine=engine, precision=precision, photos=photos, size=size, flip=flip, streams=streams)
    on_openvino_in_fp32 = (loaded.engine.name, loaded.engine.precision) == ("openvino", "fp32")
    if precision == "auto" and on_openvino_in_fp32 and _stored_precision(model) in ("bf16", "fp16"):
        print(f"{model} is computed in fp32, as this processor has no bf16 instructions.", file=sys.stderr)
    return loaded


def load_bundle(model: str) -> Bundle:
    """A model's bundle, and say so where that takes a while; see `pixelwise.api.bundle_of`."""
    from pixelwise.api import bundle_of

    _announce(model)
    return bundle_of(model)


def _announce(model: str) -> None:
    from pixelwise.api import takes_a_while

    if takes_a_while(model):
        print(f"{model} is fetched and converted once; that takes a minute or two.", file=sys.stderr)


def _stored_precision(model: str) -> str:
    from pixelwise.catalogue import find_model

    return find_model(model).config.precision


def parse_size(text: str) -> Size:
    """What --size was given, as `pixelwise.load` takes it.

    Raises:
        PixelwiseError: it is neither a number of pixels nor one of the words.
    """
    if text in ("auto", "native"):
        return None if text == "auto" else "native"
    size = int(text) if text.isdecimal() and len(text) <= 5 else 0
    if not 32 <= size <= _LARGEST_SIZE:
        raise PixelwiseError(
            f"--size takes a number of pixels from 32 to {_LARGEST_SIZE}, `native` or `auto`, not {text[:40]!r}."
        )
    return size


def parse_map(pairs: tuple[str, ...]) -> dict[str, str]:
    """What --map was given, as `pixelwise.matching.match_classes` takes it.

    Raises:
        PixelwiseError: one is not of the form CLASS=CLASS.
    """
    mapping = {}
    for pair in pairs:
        name, equals, target = (part.strip() for part in pair.partition("="))
        if not (name and equals and target):
            raise PixelwiseError(f"--map takes a class of the model and one of the data, as in cat=pet, not {pair!r}.")
        mapping[name] = target
    return mapping


def describe(
    segmenter: Segmenter,
    *,
    data: Path,
    split: str,
    layout: str,
    options: tuple[str, ...],
    size: str,
    flip: bool,
    maps: tuple[str, ...],
) -> dict[str, str]:
    """What a model is run on, and how, by name, for pages and files; all but the model's own name."""
    return {
        "data": f"{data.name or data.resolve().name}, split {split}",
        **({} if layout == "auto" else {"layout": layout}),
        **({"options of the layout": ", ".join(options)} if options else {}),
        "photos seen at": {"auto": "the model's size", "native": "their own size"}.get(size, f"{size} pixels"),
        "mirrored too": "yes" if flip else "no",
        "classes counted as": ", ".join(maps) or "their own names",
        "engine": f"{segmenter.engine.name}, {segmenter.engine.precision}",
        "pixelwise": __version__,
    }


def short_name(model: str) -> str:
    """What to call a model: the run that its directory belongs to, or its own name."""
    path = Path(model)
    return path.resolve().parent.name if path.name == "model" else path.name or model
