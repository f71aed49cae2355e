"""An architecture drawn as a U: a row for each resolution, skips straight across."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log2

from pixelwise.describe.layout import Graph, slabs_of
from pixelwise.describe.shapes import LINE, Arrow, Drawing, Flow, Label, Slab, label_lines, lines_width, map_height

GAP = 0.24
"""Between blocks of a row."""


@dataclass
class _Walk:
    """How far the drawing has come along the main line; `ends` is how far to the right each row is taken."""

    drawing: Drawing
    rows: dict[int, float]
    at: dict[int, list[Slab]] = field(default_factory=dict)
    last: int | None = None
    label_right: float = 0.0
    ends: dict[int, float] = field(default_factory=dict)
    flow: Flow = "features"


def as_a_u(graph: Graph) -> Drawing:
    """Down on the left, up on the right; changes of resolution are arrows, not slabs."""
    walk = _Walk(Drawing(), _rows(graph))
    for place in graph.main:
        stage = graph.stages[place]
        if stage.kind == "pooling":
            walk.flow = "pooling"
        elif stage.kind == "upsampling":
            walk.flow = "upsampling"
        else:
            _place(graph, walk, place)
    for edge in graph.skips():
        source, target = walk.at[edge.source][-1], walk.at[edge.target][0]
        level = source.middle + 0.2 * target.height
        start = (source.exit[0], level)
        walk.drawing.arrows.append(Arrow((start, (target.left, level)), "skip"))
    walk.drawing.left_out += [stage.name for place, stage in enumerate(graph.stages) if place not in graph.main]
    return walk.drawing


def _row(graph: Graph, place: int) -> int:
    return round(log2(graph.stages[place].stride))


def _rows(graph: Graph) -> dict[int, float]:
    """The height of each row's middle: below the row above, its labels, and the numbers on top of this one."""
    shown = [p for p in graph.main if graph.stages[p].kind not in ("pooling", "upsampling")]
    middles: dict[int, float] = {}
    below = 0.0
    for row in sorted({_row(graph, place) for place in shown}):
        members = [graph.stages[place] for place in shown if _row(graph, place) == row]
        height = max(map_height(stage, graph.stages) for stage in members) * 1.13
        lines = max(len(label_lines(stage)) for stage in members if stage.kind != "concatenation")
        middles[row] = below - 0.3 - height / 2
        below = middles[row] - height / 2 - lines * LINE - 0.06
    return middles


def _place(graph: Graph, walk: _Walk, place: int) -> None:
    """Put a stage after the last one, and draw the arrow that leads to it."""
    stage, row = graph.stages[place], _row(graph, place)
    lines = () if stage.kind == "concatenation" else label_lines(stage)
    probe = slabs_of(graph, place, left=0.0, middle=walk.rows[row])
    overhang = max(0.0, (lines_width(lines) - probe[-1].right) / 2)
    previous = walk.at[walk.last][-1] if walk.last is not None else None
    rise = 0 if walk.last is None else _row(graph, walk.last) - row
    aim = (
        probe[-1].left + probe[-1].width / 2 if rise > 0 else probe[0].width / 2
    )  # where an arrow from below or above ends
    if previous is None:
        left = overhang
    elif rise == 0:
        left = max(previous.right + GAP, walk.label_right + 0.1 + overhang)
    elif rise < 0:
        left = max(previous.right, walk.label_right) + 0.12 - aim
    else:
        left = previous.right + 0.15 - aim if stage.kind == "concatenation" else previous.right + 0.3
    if rise > 0:
        left = max(left, walk.ends.get(row, left) + 0.2)
    slabs = slabs_of(graph, place, left=left, middle=walk.rows[row])
    walk.at[place] = slabs
    walk.drawing.slabs += slabs
    if previous is not None:
        walk.drawing.arrows.append(_arrow(previous, slabs, left + aim, rise, walk.flow, below=not lines))
    center = (slabs[0].left + slabs[-1].right) / 2
    if lines:
        walk.drawing.labels.append(Label(center, slabs[0].bottom - 0.06, lines))
        walk.label_right = center + lines_width(lines) / 2
    else:
        walk.label_right = left + aim  # the next label keeps clear of the arrow that comes up here
    walk.ends[row] = max(slabs[-1].right, walk.label_right)
    if rise < 0 and walk.last is not None:  # the arrow down starts in the row above
        above = _row(graph, walk.last)
        walk.ends[above] = max(walk.ends[above], left + aim)
    walk.last, walk.flow = place, "features"


def _arrow(previous: Slab, slabs: list[Slab], aim: float, rise: int, flow: Flow, *, below: bool) -> Arrow:
    """To the right, down, or up: to the bottom if nothing is written below, else to the left side."""
    x, y = previous.exit
    if rise == 0:
        return Arrow(((x, y), (slabs[0].left, y)), flow)
    if rise < 0:
        start = (x, y - 0.2 * previous.height)
        return Arrow((start, (aim, start[1]), (aim, slabs[0].crown)), flow)
    if below:
        return Arrow(((x, y), (aim, y), (aim, slabs[0].bottom)), flow)
    bend = slabs[0].left - 0.2
    return Arrow(((x, y), (bend, y), (bend, slabs[0].middle), (slabs[0].left, slabs[0].middle)), flow)
