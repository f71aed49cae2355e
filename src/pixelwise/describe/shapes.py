"""What a drawing of an architecture is made of: slabs, arrows, joints and labels, with their places in inches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from textwrap import wrap
from typing import Literal

from pixelwise.describe.stages import Kind, Stage

Flow = Literal["features", "pooling", "upsampling", "skip", "indices"]

TALLEST = 1.7
"""Height of a map of the photo's resolution; others go by the 0.45th power of theirs, so that the coarsest is seen."""

SLANT = 0.13
"""How far a slab reaches back, to the right and up, as a share of its height."""

LINE = 0.13
"""From one line of text to the next."""

FONT_SIZE = 7.5

NUMBER_SIZE = 6.0
"""Of the numbers above slabs."""

LONGEST = 14
"""Characters in a line of a label."""


@dataclass(frozen=True, slots=True)
class Slab:
    """A feature map: as high as its resolution, as thick as its channels.

    Attributes:
        left, middle: the front's left edge, and the height at which its centre lies.
        width, height: of the front.
        kind: its colour.
        text: written above it.
    """

    left: float
    middle: float
    width: float
    height: float
    kind: Kind
    text: str = ""

    @property
    def reach(self) -> float:
        """How far it reaches back."""
        return SLANT * self.height

    @property
    def right(self) -> float:
        """The right end of all of it."""
        return self.left + self.width + self.reach

    @property
    def top(self) -> float:
        """The upper end of all of it, without the text."""
        return self.middle + self.height / 2 + self.reach / 2

    @property
    def crown(self) -> float:
        """The upper end with the text."""
        return self.top + (0.12 if self.text else 0.0)

    @property
    def bottom(self) -> float:
        """The lower end."""
        return self.middle - self.height / 2 - self.reach / 2

    @property
    def exit(self) -> tuple[float, float]:
        """The middle of its right side, where arrows leave."""
        return self.left + self.width + self.reach / 2, self.middle


@dataclass(frozen=True, slots=True)
class Arrow:
    """A line through points, with a head at the end, in the colour of what flows."""

    points: tuple[tuple[float, float], ...]
    flow: Flow


@dataclass(frozen=True, slots=True)
class Label:
    """Lines of text, the first one bold; `x` is their left end, middle or right end, `top` their upper end."""

    x: float
    top: float
    lines: tuple[str, ...]
    align: Literal["left", "center", "right"] = "center"


@dataclass(frozen=True, slots=True)
class Joint:
    """A circle with a sign: where maps are added."""

    x: float
    y: float
    sign: str


@dataclass
class Drawing:
    """Everything in a drawing, and the names of the stages that its layout has no place for; filled by a layout."""

    slabs: list[Slab] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    joints: list[Joint] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def map_height(stage: Stage, stages: Sequence[Stage]) -> float:
    """The height of a slab, in inches."""
    largest = max(max(other.height, other.width) for other in stages)
    return float(max(0.16, TALLEST * (max(stage.height, stage.width) / largest) ** 0.45))


def map_width(channels: int) -> float:
    """The thickness of a slab, in inches; no less than its number of channels needs above it."""
    return float(max(0.05 + 0.0125 * channels**0.5, text_width(str(channels), size=NUMBER_SIZE) + 0.02))


def short_name(name: str) -> tuple[str, ...]:
    """A module's path as it is written below its slab: from its last word on, with what a number before it counts."""
    parts = name.split(".")
    last = max((i for i, part in enumerate(parts) if not re.fullmatch(r"[\d-]+", part)), default=0)
    if last >= 2 and re.fullmatch(r"\d+", parts[last - 1]):
        return ".".join(parts[last - 2 : last]), ".".join(parts[last:])
    return (".".join(parts[last:]),)


def layer_lines(stage: Stage) -> tuple[str, ...]:
    """A stage's layers and dilation rates."""
    layers = [line for layer in stage.layers for part in layer.split(",") for line in wrap(part, LONGEST)]
    return (*layers, *stage.rate_lines)


def label_lines(stage: Stage) -> tuple[str, ...]:
    """What is written to a stage: name, layers, dilation rates, size."""
    names = short_name(stage.name)
    return (*names, *(line for line in layer_lines(stage) if line not in names), f"{stage.height}×{stage.width}")


@lru_cache(maxsize=4096)
def text_width(text: str, *, size: float = FONT_SIZE, bold: bool = False) -> float:
    """The width of a line of text, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not text.strip():
        return 0.0
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().x1) / 72


def lines_width(lines: Sequence[str]) -> float:
    """The width of a label, in inches."""
    return max((text_width(line, bold=place == 0) for place, line in enumerate(lines)), default=0.0)
