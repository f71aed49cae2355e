"""What an evaluation looks like as inline SVG, in the page's own colours: the confusion matrix, the reliability."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from pixelwise.calibration import BINS
from pixelwise.confusion import ratio
from pixelwise.pages import shortened, svg, svg_text

_NAMES, _LONGEST = 150, 18  # room for the names of the classes in pixels; letters of them
_SIDE = 300


def confusion_chart(counts: NDArray[np.int64], names: Sequence[str]) -> str:
    """The confusion matrix: a row a true class, a column a predicted one, each cell as dark as its share of the row.

    Args:
        counts: (C, C) pixels.
        names: of the classes.
    """
    shares = ratio(counts, counts.sum(axis=1, keepdims=True).repeat(len(names), axis=1))
    cell = max(14, min(44, 640 // len(names)))
    side = cell * len(names)
    parts = [
        svg_text(_NAMES + side / 2, 16, "predicted", "soft", "middle"),
        svg_text(_NAMES - 8, _NAMES - 8, "true", "soft", "end"),
    ]
    for row, name in enumerate(names):
        middle = cell * row + cell / 2
        parts.append(svg_text(_NAMES - 8, round(_NAMES + middle + 4), shortened(name, _LONGEST), "", "end", name))
        place = f"translate({_NAMES + middle + 4:.1f} {_NAMES - 8}) rotate(-45)"
        parts.append(f'<g transform="{place}">{svg_text(0, 0, shortened(name, _LONGEST), "", "start", name)}</g>')
        for column, answer in enumerate(names):
            parts += _cell(row, column, cell, float(shares[row, column]), f"{name} taken for {answer}", counts)
    width, height = _NAMES + side + 100, _NAMES + side + 4
    return svg(width, height, parts, "Confusion matrix")


def _cell(row: int, column: int, cell: int, share: float, what: str, counts: NDArray[np.int64]) -> list[str]:
    left, top = _NAMES + cell * column, _NAMES + cell * row
    place = f'x="{left}" y="{top}" width="{cell}" height="{cell}"'
    if np.isnan(share):
        return [f'<rect class="frame" {place}><title>no pixel of this class in the ground truth</title></rect>']
    told = f"{what}: {share:.2%} of its pixels ({counts[row, column]})"
    shape = f'<rect class="heat" {place} fill-opacity="{share:.3f}"><title>{escape(told)}</title></rect>'
    if cell < 26 or round(100 * share) == 0:
        return [shape]
    style = "on" if share > 0.5 else "soft"
    return [shape, svg_text(left + cell / 2, round(top + cell / 2 + 4), f"{100 * share:.0f}", style, "middle")]


def reliability_chart(bins: NDArray[np.float64]) -> str:
    """How often the model is right by how sure it is: a bar a bin, the diagonal where both agree.

    Args:
        bins: (3, 15), as `reliability` in calibration.py counts, summed over photos.
    """
    pixels, right, sure = bins
    accuracy, shares = ratio(right, pixels), ratio(pixels, np.full(BINS, pixels.sum()))
    step, left, top, low = _SIDE / BINS, 50, 10, 60
    parts = [
        f'<rect class="frame" x="{left}" y="{top}" width="{_SIDE}" height="{_SIDE}"/>',
        f'<line class="frame" x1="{left}" y1="{_SIDE + top}" x2="{_SIDE + left}" y2="{top}"/>',
    ]
    for number in range(BINS):
        if not pixels[number]:
            continue
        height, x = _SIDE * accuracy[number], left + step * number
        told = (
            f"{pixels[number]:.0f} pixels, {shares[number]:.1%}: "
            f"{sure[number] / pixels[number]:.1%} sure on average, {accuracy[number]:.1%} right"
        )
        title = f"<title>{escape(told)}</title>"
        parts += [
            f'<rect class="heat" x="{x + 1:.1f}" y="{top + _SIDE - height:.1f}" width="{step - 2:.1f}" '
            f'height="{height:.1f}" fill-opacity="0.75">{title}</rect>',
            f'<rect class="heat" x="{x + 1:.1f}" y="{top + _SIDE + 40:.1f}" width="{step - 2:.1f}" '
            f'height="{low * shares[number]:.1f}" fill-opacity="0.4">{title}</rect>',
        ]
    bottom = top + _SIDE
    parts += [
        svg_text(left - 6, top + 10, "100 %", "soft", "end"),
        svg_text(left - 6, bottom, "0", "soft", "end"),
        svg_text(left, bottom + 18, "0", "soft"),
        svg_text(left + _SIDE, bottom + 18, "100 % sure", "soft", "end"),
        svg_text(left + 6, top + 16, "right", "soft"),
        svg_text(left, bottom + 36, "share of the pixels", "soft"),
    ]
    return svg(left + _SIDE + 20, bottom + 48 + low, parts, "Reliability diagram")
