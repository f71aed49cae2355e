"""Where each stage of an architecture is drawn: on a line, or as a U where several skips join maps of one size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pixelwise.describe.shapes import (
    LINE,
    Arrow,
    Drawing,
    Flow,
    Joint,
    Label,
    Slab,
    label_lines,
    layer_lines,
    lines_width,
    map_height,
    map_width,
)
from pixelwise.describe.stages import Edge, Kind, Stage

GAP = 0.16
"""Between columns."""

FAN = 0.25
"""For arrows that fan out to parallel branches, and in again."""

JOINT = 0.09
"""Radius of a joint."""


@dataclass
class Graph:
    """The stages, and what goes where.

    Attributes:
        stages, edges: of a description.
        main: the longest way from photo to answer, by places in `stages`.
    """

    stages: Sequence[Stage]
    edges: Sequence[Edge]
    main: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find the longest way; of ways of the same length, the one through the earlier stages."""
        length, before = [0] * len(self.stages), [-1] * len(self.stages)
        for edge in sorted(self.edges, key=lambda edge: (edge.target, edge.source)):
            if edge.kind == "features" and length[edge.source] + 1 > length[edge.target]:
                length[edge.target], before[edge.target] = length[edge.source] + 1, edge.source
        place = len(self.stages) - 1
        while place >= 0:
            self.main.insert(0, place)
            place = before[place]

    def sources(self, place: int) -> list[Edge]:
        """The edges that end in a stage."""
        return [edge for edge in self.edges if edge.target == place]

    def targets(self, place: int) -> list[Edge]:
        """The edges that begin in a stage."""
        return [edge for edge in self.edges if edge.source == place]

    def skips(self) -> list[Edge]:
        """The edges from the main line to itself that leave stages out, or bring positions."""
        step = {place: number for number, place in enumerate(self.main)}
        return [
            edge
            for edge in self.edges
            if edge.source in step
            and edge.target in step
            and (step[edge.target] > step[edge.source] + 1 or edge.kind == "indices")
        ]

    def is_u(self) -> bool:
        """Whether three or more skips bring a map to the concatenation with one of the same size."""
        joining = [
            edge
            for edge in self.skips()
            if edge.kind == "features"
            and self.stages[edge.target].kind == "concatenation"
            and (self.stages[edge.target].height, self.stages[edge.target].width) == (edge.height, edge.width)
        ]
        return len(joining) >= 3

    def beside(self, place: int) -> list[int]:
        """The stages parallel to one of the main line: from the same source to the same target, as in ASPP."""
        if len(self.sources(place)) != 1 or len(self.targets(place)) != 1:
            return []
        ends = self.sources(place)[0].source, self.targets(place)[0].target
        return [
            other
            for other in range(len(self.stages))
            if other not in self.main
            and [edge.source for edge in self.sources(other)] == [ends[0]]
            and [edge.target for edge in self.targets(other)] == [ends[1]]
        ]


def groups(graph: Graph) -> list[list[int]]:
    """The main line in columns: a pooling stands with what it pools, an unpooling with what comes after."""
    columns: list[list[int]] = []
    for place in graph.main:
        kind = graph.stages[place].kind
        previous = graph.stages[columns[-1][-1]] if columns else None
        follows = previous is not None and (
            (kind == "pooling" and previous.kind == "convolution")
            or (kind == "convolution" and previous.name == "max unpooling")
        )
        if follows:
            columns[-1].append(place)
        else:
            columns.append([place])
    return columns


def slabs_of(graph: Graph, place: int, *, left: float, middle: float) -> list[Slab]:
    """A stage's slabs: one for each convolution of a row, one for each map of a concatenation."""
    stage = graph.stages[place]
    height = map_height(stage, graph.stages)
    if stage.kind in ("photo", "answer"):
        return [Slab(left, middle, 0.04, height, stage.kind, str(stage.channels))]
    if stage.kind == "concatenation":
        return _joined(graph, place, left=left, middle=middle)
    slabs: list[Slab] = []
    for channels in stage.widths:
        text = str(channels) if stage.kind in ("convolution", "scores", "context") else ""
        width = 0.09 if stage.kind == "pooling" or stage.name == "max unpooling" else map_width(channels)
        slabs.append(Slab(left, middle, width, height, stage.kind, text))
        left += width + 0.035
    return slabs


def _joined(graph: Graph, place: int, *, left: float, middle: float) -> list[Slab]:
    """A concatenation: its maps side by side, those that come from afar first."""
    height, slabs = map_height(graph.stages[place], graph.stages), list[Slab]()
    for edge in sorted(graph.sources(place), key=lambda edge: edge.source):
        kind: Kind = "upsampling" if graph.stages[edge.source].kind == "upsampling" else "concatenation"
        slabs.append(Slab(left, middle, map_width(edge.channels), height, kind, str(edge.channels)))
        left += map_width(edge.channels)
    return slabs


@dataclass(frozen=True, slots=True)
class _Block:
    """What stands for a stage on the line: slabs, or a joint."""

    slabs: tuple[Slab, ...] = ()
    joint: Joint | None = None

    @property
    def entry(self) -> tuple[float, float]:
        """Where arrows arrive from the left."""
        return (self.joint.x - JOINT, self.joint.y) if self.joint else (self.slabs[0].left, self.slabs[0].middle)

    @property
    def exit(self) -> tuple[float, float]:
        """Where arrows leave to the right."""
        return (self.joint.x + JOINT, self.joint.y) if self.joint else self.slabs[-1].exit

    @property
    def top(self) -> tuple[float, float]:
        """Where bows start and end."""
        if self.joint:
            return self.joint.x, self.joint.y + JOINT
        slab = self.slabs[-1]
        return slab.left + slab.width / 2 + slab.reach / 2, slab.crown


@dataclass
class _Line:
    """The drawing so far: its blocks by their stages, and where the next column begins."""

    drawing: Drawing = field(default_factory=Drawing)
    blocks: dict[int, _Block] = field(default_factory=dict)
    columns: dict[int, int] = field(default_factory=dict)
    left: float = 0.0

    def put(self, place: int, column: int, slabs: Sequence[Slab]) -> None:
        """Slabs for a stage."""
        self.blocks[place], self.columns[place] = _Block(tuple(slabs)), column
        self.drawing.slabs += slabs


def on_a_line(graph: Graph) -> Drawing:
    """From left to right; parallel branches below one another, skips in bows above."""
    line = _Line()
    for number, column in enumerate(groups(graph)):
        beside = graph.beside(column[0]) if len(column) == 1 else []
        if beside:
            _put_branches(graph, line, number, sorted([*column, *beside]))
        elif graph.stages[column[0]].kind == "sum":
            joint = Joint(line.left + JOINT, 0.0, "+" if graph.stages[column[0]].name == "sum" else "×")
            line.blocks[column[0]], line.columns[column[0]] = _Block(joint=joint), number
            line.drawing.joints.append(joint)
            line.left += 2 * JOINT
        else:
            _put_column(graph, line, number, column)
        line.left += GAP
    _draw_flows(graph, line)
    _draw_bows(graph, line)
    line.drawing.left_out += [stage.name for place, stage in enumerate(graph.stages) if place not in line.blocks]
    return line.drawing


def _put_column(graph: Graph, line: _Line, number: int, column: list[int]) -> None:
    """Slabs side by side, with a label below."""
    found: dict[int, list[Slab]] = {}
    width = 0.0
    for place in column:
        found[place] = slabs_of(graph, place, left=width + 0.03 if found else 0.0, middle=0.0)
        width = found[place][-1].right
    stage = graph.stages[next((place for place in column if graph.stages[place].kind == "convolution"), column[0])]
    joined = stage.kind == "concatenation"
    lines = ("concatenate", f"{stage.channels} channels") if joined else label_lines(stage)
    shift = line.left + max(0.0, (lines_width(lines) - width) / 2)
    for place, slabs in found.items():
        line.put(place, number, [replace(slab, left=slab.left + shift) for slab in slabs])
    bottom = min(slab.bottom for slabs in found.values() for slab in slabs)
    line.drawing.labels.append(Label(shift + width / 2, bottom - 0.06, lines))
    line.left += max(width, lines_width(lines))


def _put_branches(graph: Graph, line: _Line, number: int, branches: list[int]) -> None:
    """Branches below one another, in their order in the network, each with its label above its arrow."""
    left, right = line.left + FAN, 0.0
    pitch = max(map_height(graph.stages[place], graph.stages) for place in branches) * 1.13 + 0.16
    for row, place in enumerate(branches):
        middle = ((len(branches) - 1) / 2 - row) * pitch
        slabs = slabs_of(graph, place, left=left, middle=middle)
        line.put(place, number, slabs)
        lines = ("", *layer_lines(graph.stages[place]))  # no name, which the first line is for
        label = Label(slabs[-1].right + 0.05, middle + 0.05 + len(lines) * LINE, lines, "left")
        line.drawing.labels.append(label)
        right = max(right, label.x + lines_width(lines))
    for place in branches:  # arrows in again, from where the labels end
        x, y = line.blocks[place].exit
        line.drawing.arrows.append(Arrow(((x, y), (right, y), (right + FAN + GAP, 0.12 * y)), "features"))
    line.left = right + FAN


def _draw_flows(graph: Graph, line: _Line) -> None:
    """The arrows between neighbours, and those that fan out to branches."""
    rows = Counter(line.columns.values())
    branches = {place for place in line.blocks if graph.beside(place) or place not in graph.main}
    for edge in graph.edges:
        ends = line.columns.get(edge.source), line.columns.get(edge.target)
        if edge.kind == "indices" or None in ends or ends[1] != (ends[0] or 0) + 1 or edge.source in branches:
            continue
        start, stop = line.blocks[edge.source].exit, line.blocks[edge.target].entry
        bend = [(stop[0] - FAN, start[1])] if edge.target in branches and rows[ends[1]] > 1 else []
        line.drawing.arrows.append(Arrow((start, *bend, stop), "features"))


def _draw_bows(graph: Graph, line: _Line) -> None:
    """The skips, shorter ones below longer ones; on the way a stage that only the skip goes through."""
    bows: list[tuple[Edge, int | None]] = [(edge, None) for edge in graph.skips()]
    for place in range(len(graph.stages)):
        if place not in line.blocks and graph.sources(place) and graph.targets(place):
            bows.append((replace(graph.sources(place)[0], target=graph.targets(place)[0].target), place))
    taken = [(slab.left, slab.right, slab.crown) for slab in line.drawing.slabs]
    for edge, through_stage in sorted(bows, key=lambda bow: bow[0].target - bow[0].source):
        if edge.source in line.blocks and edge.target in line.blocks:
            taken.append(_draw_bow(graph, line, edge, through_stage, taken))


def _draw_bow(
    graph: Graph, line: _Line, edge: Edge, place: int | None, taken: Sequence[tuple[float, float, float]]
) -> tuple[float, float, float]:
    """A skip above all that it passes; gives its left and right end, and how high it reaches."""
    start, target = line.blocks[edge.source].top, line.blocks[edge.target]
    stop = target.top if target.joint else _Block(target.slabs[:1]).top
    lines = () if place is None else label_lines(graph.stages[place])
    right = stop[0] + 0.1 + (lines_width(lines) + 0.2 if lines else 0.0)
    level = max(top for low, high, top in taken if high > start[0] and low < right) + 0.14
    if place is None:
        flow: Flow = "indices" if edge.kind == "indices" else "skip"
        line.drawing.arrows.append(Arrow((start, (start[0], level), (stop[0], level), stop), flow))
        return start[0], right, level
    stage = graph.stages[place]
    height, width = map_height(stage, graph.stages), map_width(stage.channels)
    slab = Slab(stop[0] - width / 2, level + height / 2, width, height, stage.kind, str(stage.channels))
    line.blocks[place] = _Block((slab,))
    line.drawing.slabs.append(slab)
    line.drawing.labels.append(Label(slab.right + 0.06, slab.middle + len(lines) * LINE / 2, lines, "left"))
    line.drawing.arrows.append(Arrow((start, (start[0], slab.middle), (slab.left, slab.middle)), "skip"))
    line.drawing.arrows.append(Arrow(((stop[0], slab.bottom), stop), "skip"))
    return start[0], right, max(slab.crown, slab.middle + len(lines) * LINE / 2)
