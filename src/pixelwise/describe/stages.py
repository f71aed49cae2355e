"""From a trace to the stages that a paper's figure would show, by rules on the modules and on what flows between them.

- A module is one stage, unless it is opened, and what is in it looked at instead. Opened are: the network itself; a
  module that gives several feature maps, as an encoder does; one that pools, resizes, pads or concatenates among its
  parts; one that ends in the 1x1 convolution that gives the scores.
- Normalisation, activation and the like belong to the stage before them.
- What an opened module computes by itself is a stage where it pools, resizes, pads, concatenates, or brings two stages
  together; else it belongs to the stage before.
- Stages in a row are one where their modules are numbered siblings of one type, at one resolution and with the same
  dilation: `decoder.0.conv1` and `decoder.0.conv2`, or the blocks of a MobileNet between two resolutions. So are
  paddings in a row.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import nn

from pixelwise.describe.receptive import View
from pixelwise.describe.trace import (
    CONCATENATE,
    CONVOLUTION,
    GLOBAL_POOL,
    MAX_POOL,
    MEAN_POOL,
    PAD,
    RESIZE,
    SLICE,
    TRANSPOSED,
    Operation,
    Trace,
)
from pixelwise.describe.wording import deed, layers, stage_name, widths

Kind = Literal[
    "photo", "convolution", "pooling", "upsampling", "scores", "context", "concatenation", "sum", "padding", "answer"
]

_JOINTS = {MAX_POOL, MEAN_POOL, RESIZE, CONCATENATE, PAD}
_WEIGHTY = {CONVOLUTION, TRANSPOSED, GLOBAL_POOL, *_JOINTS}
_UNPOOLING = ("pixel_shuffle", "max_unpool2d")


@dataclass(frozen=True, slots=True)
class Stage:
    """A block of the drawing and a row of the table.

    Attributes:
        name: paths of its modules, or what it does where it is no module.
        kind: what colour it gets; "context" is a mean over the whole photo.
        layers: such as "2 × 3×3 conv"; a line each.
        channels, height, width: of the feature map that leaves it.
        stride: distance of neighbouring units of that map in pixels of the photo; a fraction where it is finer.
        widths: channels after each of its convolutions, where these are alike but for that; else `(channels,)`.
        rates: dilation rates above 1, ascending.
        parameters: of its modules.
        multiply_adds: of its convolutions.
        activation_bytes: of every feature map that its convolutions, poolings, upsamplings and concatenations put out,
            for one photo in float32; normalisation and activation are taken to work in place.
    """

    name: str
    kind: Kind
    layers: tuple[str, ...]
    channels: int
    height: int
    width: int
    stride: float
    widths: tuple[int, ...]
    rates: tuple[int, ...]
    parameters: int
    multiply_adds: int
    activation_bytes: int

    @property
    def rate_lines(self) -> tuple[str, ...]:
        """The dilation rates in words, a line; none where there are none."""
        return (f"rate {', '.join(map(str, self.rates))}",) if self.rates else ()


@dataclass(frozen=True, slots=True)
class Edge:
    """What goes from one stage to another.

    Attributes:
        source, target: places in the sequence of stages.
        kind: feature maps, or positions of maxima ("indices").
        channels, height, width: of what goes.
        cropped: cut out of a larger map.
    """

    source: int
    target: int
    kind: Literal["features", "indices"]
    channels: int
    height: int
    width: int
    cropped: bool


@dataclass
class _Draft:
    """A stage in the making: its modules, the normalisations and activations that follow them, and all operations."""

    modules: list[str] = field(default_factory=list)
    followers: list[str] = field(default_factory=list)
    operations: list[int] = field(default_factory=list)


def stages_of(trace: Trace, seen: list[View], *, num_classes: int) -> tuple[tuple[Stage, ...], tuple[Edge, ...]]:
    """The stages of a trace, photo first and answer last, and what goes between them.

    Args:
        trace: of a network in evaluation mode.
        seen: the views of its operations.
        num_classes: channels of the scores.
    """
    drafts, home = _drafted(trace)
    drafts, home = _merged(trace, drafts, home)
    scoring = 1 + max(  # after the last convolution that is no score layer for sure
        (
            i
            for i, op in enumerate(trace.operations)
            if op.kind == CONVOLUTION and (op.shape[1] != num_classes or op.kernel > 1)
        ),
        default=0,
    )
    stages = [_stage(trace, seen, draft, num_classes, scoring) for draft in drafts]
    edges = _edges(trace, home)
    last = home[trace.answer]
    _, channels, height, width = trace.operations[trace.answer].shape
    cropped = (height, width) != (stages[last].height, stages[last].width)
    answer = replace(
        stages[last],
        name="answer",
        kind="answer",
        layers=("crop",) if cropped else (),
        channels=channels,
        height=height,
        width=width,
        widths=(channels,),
        rates=(),
        parameters=0,
        multiply_adds=0,
        activation_bytes=0,
    )
    stages.append(answer)
    edges.append(Edge(last, len(stages) - 1, "features", channels, height, width, cropped))
    return tuple(stages), tuple(edges)


def _opened(trace: Trace) -> set[str]:
    last = max((i for i, op in enumerate(trace.operations) if op.kind == CONVOLUTION), default=0)
    opened = {""} | trace.many
    for index, operation in enumerate(trace.operations):
        if operation.kind in _JOINTS or (index == last and operation.kernel == 1):
            inside = itertools.takewhile(lambda path: path not in trace.many, operation.modules)
            opened.update(path for path in inside if any(True for _ in trace.called[path].children()))
    return opened


def _drafted(trace: Trace) -> tuple[list[_Draft], list[int]]:
    """Stages by the first three rules; and the stage of each operation."""
    opened = _opened(trace)
    unit = [next((path for path in operation.modules if path not in opened), "") for operation in trace.operations]
    weighty = {unit[i] for i, operation in enumerate(trace.operations) if operation.kind in _WEIGHTY}
    drafts, home, place = [_Draft(operations=[0])], [0], dict[str, int]()
    for index, operation in enumerate(trace.operations[1:], start=1):
        path = unit[index]
        features = [i for i in operation.inputs if not trace.operations[i].indices]
        before = max((home[i] for i in features), default=max(home[i] for i in operation.inputs))
        if path not in place and (path in weighty if path else _stands_alone(trace, operation, home)):
            drafts.append(_Draft())
            before = len(drafts) - 1
        if path:
            if path not in place:
                place[path] = before
                (drafts[before].modules if path in weighty else drafts[before].followers).append(path)
            before = place[path]
        if operation.indices:  # positions belong to the pooling that they were found by
            before = max(home[i] for i in operation.inputs)
        drafts[before].operations.append(index)
        home.append(before)
    return drafts, home


def _stands_alone(trace: Trace, operation: Operation, home: list[int]) -> bool:
    if operation.indices:
        return False
    if operation.kind in _JOINTS | {GLOBAL_POOL}:
        return True
    if len({trace.operations[i].indices for i in operation.inputs}) > 1:
        return True  # unpooling
    return len({home[i] for i in operation.inputs}) > 1 and operation.name != "slice"


def _merged(trace: Trace, drafts: list[_Draft], home: list[int]) -> tuple[list[_Draft], list[int]]:
    """Numbered siblings in a row made one, by the last rule."""
    sources: list[set[int]] = [set() for _ in drafts]
    targets: list[set[int]] = [set() for _ in drafts]
    for index, operation in enumerate(trace.operations):
        for source in operation.inputs:
            if home[source] != home[index]:
                sources[home[index]].add(home[source])
                targets[home[source]].add(home[index])
    merged: list[_Draft] = []
    new_place: list[int] = []
    for place, draft in enumerate(drafts):
        (before,) = sources[place] if len(sources[place]) == 1 else (None,)
        if before == place - 1 and targets[before] == {place} and _alike(trace, drafts[before], draft):
            merged[-1].modules.extend(draft.modules)
            merged[-1].followers.extend(draft.followers)
            merged[-1].operations.extend(draft.operations)
        else:
            merged.append(_Draft([*draft.modules], [*draft.followers], [*draft.operations]))
        new_place.append(len(merged) - 1)
    return merged, [new_place[place] for place in home]


def _alike(trace: Trace, first: _Draft, second: _Draft) -> bool:
    if not (first.modules and second.modules):
        kinds = {trace.operations[i].kind for draft in (first, second) for i in draft.operations}
        return kinds == {PAD}  # a side at a time
    one, other = first.modules[0], second.modules[0]
    modules = trace.called[one], trace.called[other]
    siblings = re.sub(r"\d+$", "", one) == re.sub(r"\d+$", "", other) and type(modules[0]) is type(modules[1])
    if not siblings or not other[-1:].isdigit():
        return False
    convolutions = [[trace.operations[i] for i in draft.operations] for draft in (first, second)]
    rates = [{op.dilation for op in ops} for ops in convolutions]
    shapes = [trace.operations[draft.operations[-1]].shape for draft in (first, second)]
    same_map = shapes[0][-2:] == shapes[1][-2:] and rates[0] == rates[1]
    if isinstance(modules[0], nn.Conv2d | nn.ConvTranspose2d):
        return same_map and shapes[0] == shapes[1] and modules[0].kernel_size == modules[1].kernel_size
    return same_map


def _stage(trace: Trace, seen: list[View], draft: _Draft, num_classes: int, scoring: int) -> Stage:
    operations = [trace.operations[i] for i in draft.operations]
    maps = [i for i in draft.operations if len(trace.operations[i].shape) == 4 and not trace.operations[i].indices]
    # What leaves it is its last map, before any crop, which belongs to what goes on.
    leaving = max(i for i in maps if trace.operations[i].kind != SLICE)
    _, channels, height, width = trace.operations[leaving].shape
    stride = seen[leaving].stride
    stored = [op for op in operations if op.kind in _WEIGHTY or op.name in _UNPOOLING]
    return Stage(
        name=stage_name(draft.modules) or deed(trace, operations),
        kind=_kind(trace, draft, operations, num_classes, scoring),
        layers=layers(trace, draft.modules, operations),
        channels=channels,
        height=height,
        width=width,
        stride=float(stride),
        widths=widths(trace, draft.modules, operations) or (channels,),
        rates=tuple(sorted({op.dilation for op in operations} - {1})),
        parameters=sum(
            parameter.numel()
            for path in (*draft.modules, *draft.followers)
            for parameter in trace.called[path].parameters()
        ),
        multiply_adds=sum(op.multiply_adds for op in operations),
        activation_bytes=sum(4 * math.prod(op.shape) for op in stored),
    )


def _kind(trace: Trace, draft: _Draft, operations: list[Operation], num_classes: int, scoring: int) -> Kind:
    kinds = [op.kind for op in operations]
    first = next((kind for kind in kinds if kind in _WEIGHTY), None)
    convolutions = [op for op in operations if op.kind == CONVOLUTION]
    if first == GLOBAL_POOL:
        return "context"
    if len(convolutions) == 1 and convolutions[0].shape[1] == num_classes and draft.operations[0] >= scoring:
        return "scores"
    if convolutions:
        return "convolution"
    if TRANSPOSED in kinds or RESIZE in kinds:
        return "upsampling"
    by_kind: dict[str | None, Kind] = {MAX_POOL: "pooling", MEAN_POOL: "pooling", CONCATENATE: "concatenation"}
    if first == PAD:
        return "padding"
    by_deed: dict[str, Kind] = {"photo": "photo", "max unpooling": "upsampling"}
    return by_kind.get(first) or by_deed.get(deed(trace, operations), "sum")


def _edges(trace: Trace, home: list[int]) -> list[Edge]:
    found: dict[tuple[int, int, bool], Edge] = {}
    cropped = [False] * len(trace.operations)
    for index, operation in enumerate(trace.operations):
        sources = [trace.operations[i] for i in operation.inputs]
        if operation.kind == SLICE and not operation.indices:
            before, after = sources[0].shape[-2:], operation.shape[-2:]
            cropped[index] = cropped[operation.inputs[0]] or (before != after and max(after) * 2 > max(before))
        elif operation.kind not in _WEIGHTY:
            cropped[index] = any(cropped[i] and home[i] == home[index] for i in operation.inputs)
        for i, source in zip(operation.inputs, sources, strict=True):
            key = (home[i], home[index], source.indices)
            if home[i] != home[index] and (key not in found or cropped[i]):
                channels, (height, width) = source.shape[1], source.shape[-2:]
                kind: Literal["features", "indices"] = "indices" if source.indices else "features"
                found[key] = Edge(home[i], home[index], kind, channels, height, width, cropped[i])
    return list(found.values())
