"""Accuracy against speed as inline SVG, in the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from pixelwise.bootstrap import Interval
from pixelwise.pages import shortened, svg, svg_text

_WIDTH, _HEIGHT, _LEFT, _TOP = 640, 320, 60, 16
_LONGEST, _LINE = 32, 16  # letters of a name, of which so many fit on either side; pixels of a line

Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Point:
    """A model in the chart: its seconds a photo, at the quartiles too, and its mean IoU."""

    name: str
    seconds: float
    lower: float
    upper: float
    accuracy: Interval


def pareto(points: Sequence[Point]) -> list[int]:
    """Positions of those that no other beats in both accuracy and time, from fast to slow."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i].seconds, -points[i].accuracy.estimate)):
        if not front or points[i].accuracy.estimate > points[front[-1]].accuracy.estimate:
            front.append(i)
    return front


def pareto_chart(points: Sequence[Point]) -> str:
    """Mean IoU over milliseconds a photo, logarithmic; whiskers are intervals and quartiles, a line joins the front.

    Args:
        points: one at least, with defined accuracies.
    """
    ticks = _ticks(min(p.lower for p in points), max(p.upper for p in points))
    low = math.floor(20 * min(p.accuracy.reach[0] for p in points)) / 20
    high = math.ceil(20 * max(p.accuracy.reach[1] for p in points)) / 20
    high = max(high, low + 0.05)

    def x(seconds: float) -> float:
        return _LEFT + _WIDTH * math.log(seconds / ticks[0]) / math.log(ticks[-1] / ticks[0])

    def y(accuracy: float) -> float:
        return _TOP + _HEIGHT * (high - accuracy) / (high - low)

    front = pareto(points)
    path = " ".join(f"{x(points[i].seconds):.1f},{y(points[i].accuracy.estimate):.1f}" for i in front)
    parts = [f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}"/>']
    for tick in ticks:
        parts += [
            f'<line class="frame" x1="{x(tick):.1f}" y1="{_TOP}" x2="{x(tick):.1f}" y2="{_TOP + _HEIGHT}"/>',
            svg_text(x(tick), _TOP + _HEIGHT + 18, f"{1000 * tick:g}", "soft", "middle"),
        ]
    for number in range(round(100 * low), round(100 * high) + 1, 5):
        parts += [
            f'<line class="frame" x1="{_LEFT}" y1="{y(number / 100):.1f}" x2="{_LEFT + _WIDTH}" '
            f'y2="{y(number / 100):.1f}"/>',
            svg_text(_LEFT - 8, round(y(number / 100) + 4), f"{number / 100:.2f}", "soft", "end"),
        ]
    parts.append(f'<polyline class="front" points="{path}"/>')
    rows: list[tuple[float, float]] = []
    for i, point in enumerate(points):
        place = (x(point.seconds), y(point.accuracy.estimate))
        parts += _mark(point, place, x, y, best=i in front)
        parts.append(_label(point.name, place, rows))
    parts.append(
        svg_text(_LEFT + _WIDTH / 2, _TOP + _HEIGHT + 38, "milliseconds a photo; fast is left", "soft", "middle")
    )
    return svg(_LEFT + _WIDTH + 20, _TOP + _HEIGHT + 48, parts, "Mean IoU and time")


def _mark(point: Point, place: tuple[float, float], x: Scale, y: Scale, *, best: bool) -> list[str]:
    low, high = point.accuracy.reach
    interval = f" ({point.accuracy})" if point.accuracy.is_known else ""
    told = f"{point.name}: mean IoU {point.accuracy.estimate:.3f}{interval}, {1000 * point.seconds:.1f} ms"
    across, down = f"{place[0]:.1f}", f"{place[1]:.1f}"
    return [
        f'<line class="whisker" x1="{across}" y1="{y(low):.1f}" x2="{across}" y2="{y(high):.1f}"/>',
        f'<line class="whisker" x1="{x(point.lower):.1f}" y1="{down}" x2="{x(point.upper):.1f}" y2="{down}"/>',
        f'<circle class="heat" cx="{across}" cy="{down}" r="6" fill-opacity="{1 if best else 0.35}">'
        f"<title>{escape(told)}</title></circle>",
    ]


def _label(name: str, place: tuple[float, float], rows: list[tuple[float, float]]) -> str:
    """The name beside its point, on the side that has room, a line lower where another name stands already."""
    right = place[0] < _LEFT + 0.62 * _WIDTH
    across, down = place[0] + (11 if right else -11), place[1] - 6
    while any(abs(down - other) < _LINE and abs(across - beside) < 8 * _LONGEST for beside, other in rows):
        down += _LINE
    rows.append((across, down))
    return svg_text(across, round(down), shortened(name, _LONGEST), "", "start" if right else "end", name)


def _ticks(least: float, most: float) -> list[float]:
    """Round numbers, 1, 2 or 5 times a power of ten, from below the least to above the most, in seconds."""
    steps = [digit * 10.0**power for power in range(-5, 4) for digit in (1, 2, 5)]
    first = max((i for i, step in enumerate(steps) if step <= least), default=0)
    last = min((i for i, step in enumerate(steps) if step >= most), default=len(steps) - 1)
    return steps[first : max(last, first + 1) + 1]
