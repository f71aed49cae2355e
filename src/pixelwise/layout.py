"""Where each stage of an architecture is drawn: on a line, or as a U where several skips join maps of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pixelwise.shapes import (
    LINE,
    Arrow,
    Drawing,
    Joint,
    Label,
    Slab,
    label_lines,
    layer_lines,
    lines_width,
    map_height,
    map_width,
)
from pixelwise.stages import Edge, Kind, Stage

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


def on_a_line(graph: Graph) -> Drawing:
    """From left to right; parallel branches below one another, skips in bows above."""
    drawing, at = Drawing(), dict[int, list[Slab] | Joint]()
    left = 0.0
    for column in groups(graph):
        beside = graph.beside(column[0]) if len(column) == 1 else []
        if beside:
            left = _stack(graph, drawing, at, [*column, *beside], left) + GAP
        elif graph.stages[column[0]].kind == "sum":
            at[column[0]] = Joint(left + JOINT, 0.0, "+")
            left += 2 * JOINT + GAP
        else:
            left = _column(graph, drawing, at, column, left) + GAP
    _flows(graph, drawing, at)
    _bows(graph, drawing, at)
    drawing.joints += [joint for joint in at.values() if isinstance(joint, Joint)]
    return drawing


def _column(graph: Graph, drawing: Drawing, at: dict[int, list[Slab] | Joint], column: list[int], left: float) -> float:
    """Slabs side by side with a label below; gives the right end."""
    slabs: list[Slab] = []
    for place in column:
        start = slabs[-1].right + 0.03 if slabs else 0.0
        at[place] = slabs_of(graph, place, left=start, middle=0.0)
        slabs += at[place]
    named = next((p for p in column if graph.stages[p].kind == "convolution"), column[0])
    stage = graph.stages[named]
    lines = ("concatenate", f"{stage.channels} channels") if stage.kind == "concatenation" else label_lines(stage)
    label_width, width = lines_width(lines), slabs[-1].right
    shift = left + max(0.0, (label_width - width) / 2)
    for place in column:
        at[place] = [_moved(slab, shift) for slab in at[place]]  # type: ignore[union-attr]
        drawing.slabs += at[place]
    bottom = min(slab.bottom for slab in slabs)
    drawing.labels.append(Label(shift + width / 2, bottom - 0.06, lines))
    return left + max(width, label_width)


def _moved(slab: Slab, shift: float) -> Slab:
    return replace(slab, left=slab.left + shift)


def _stack(
    graph: Graph, drawing: Drawing, at: dict[int, list[Slab] | Joint], branches: list[int], left: float
) -> float:
    """Branches below one another, in their order in the network, each with its label above its arrow."""
    left += FAN
    pitch = max(map_height(graph.stages[place], graph.stages) for place in branches) * 1.13 + 0.16
    ends = []
    for number, place in enumerate(sorted(branches)):
        middle = ((len(branches) - 1) / 2 - number) * pitch
        at[place] = slabs_of(graph, place, left=left, middle=middle)
        drawing.slabs += at[place]
        right = at[place][-1].right + 0.05
        lines = layer_lines(graph.stages[place])
        drawing.labels.append(Label(right, middle + 0.05 + (1 + len(lines)) * LINE, ("", *lines), "left"))
        ends.append(right + lines_width(("", *lines)))
    return max(ends) + FAN


def _flows(graph: Graph, drawing: Drawing, at: dict[int, list[Slab] | Joint]) -> None:
    """The arrows between neighbours, and those that fan out to branches and in again."""
    columns = {place: number for number, column in enumerate(groups(graph)) for place in column}
    for place in graph.main:
        for branch in graph.beside(place):
            columns[branch] = columns[place]
    stacked = {b for place in graph.main if graph.beside(place) for b in (place, *graph.beside(place))}
    for edge in graph.edges:
        ends = columns.get(edge.source), columns.get(edge.target)
        if edge.kind == "indices" or None in ends or ends[1] - ends[0] != 1:  # type: ignore[operator]
            continue
        start, stop = _exit(at[edge.source]), _entry(at[edge.target])
        points = [start, stop]
        if edge.target in stacked:
            points = [start, (stop[0] - FAN, start[1]), stop]
        if edge.source in stacked:
            before = max(label.x + lines_width(label.lines) for label in drawing.labels if label.align == "left")
            points = [start, (before + 0.03, start[1]), (stop[0], stop[1] + start[1] * 0.12)]
        drawing.arrows.append(Arrow(tuple(points), "features"))


def _exit(thing: list[Slab] | Joint) -> tuple[float, float]:
    return (thing.x + JOINT, thing.y) if isinstance(thing, Joint) else thing[-1].exit


def _entry(thing: list[Slab] | Joint) -> tuple[float, float]:
    return (thing.x - JOINT, thing.y) if isinstance(thing, Joint) else (thing[0].left, thing[0].middle)


def _top(thing: list[Slab] | Joint) -> tuple[float, float]:
    if isinstance(thing, Joint):
        return thing.x, thing.y + JOINT
    slab = thing[-1]
    return slab.left + slab.width / 2 + slab.reach / 2, slab.top


def _bows(graph: Graph, drawing: Drawing, at: dict[int, list[Slab] | Joint]) -> None:
    """The skips, shorter ones below longer ones; on the way a stage that only the skip goes through."""
    bows: list[tuple[Edge, int | None]] = [(edge, None) for edge in graph.skips()]
    for place in range(len(graph.stages)):
        if place not in graph.main and place not in at:
            bows.append((replace(graph.sources(place)[0], target=graph.targets(place)[0].target), place))
    taken: list[tuple[float, float, float]] = [(slab.left, slab.right, slab.top + 0.12) for slab in drawing.slabs]
    for edge, through in sorted(bows, key=lambda bow: bow[0].target - bow[0].source):
        start, stop = _top(at[edge.source]), _top(at[edge.target])
        if edge.kind == "indices" and not isinstance(at[edge.target], Joint):
            stop = _top(at[edge.target][:1])  # type: ignore[index]
        stage = None if through is None else graph.stages[through]
        right = stop[0] + (0.1 if stage is None else 0.3 + lines_width(label_lines(stage)))
        level = max(top for low, high, top in taken if high > start[0] and low < right) + 0.14
        if stage is None or through is None:
            drawing.arrows.append(
                Arrow(
                    (start, (start[0], level), (stop[0], level), stop), "indices" if edge.kind == "indices" else "skip"
                )
            )
            taken.append((start[0], right, level))
            continue
        height, width = map_height(stage, graph.stages), map_width(stage.channels)
        middle = level + height / 2
        slab = Slab(stop[0] - width / 2, middle, width, height, stage.kind, str(stage.channels))
        at[through] = [slab]
        drawing.slabs.append(slab)
        lines = label_lines(stage)
        drawing.labels.append(Label(slab.right + 0.06, middle + len(lines) * LINE / 2, lines, "left"))
        drawing.arrows.append(Arrow((start, (start[0], middle), (slab.left, middle)), "skip"))
        drawing.arrows.append(Arrow(((stop[0], slab.bottom), stop), "skip"))
        taken.append((start[0], right, max(slab.top + 0.12, middle + len(lines) * LINE / 2)))
