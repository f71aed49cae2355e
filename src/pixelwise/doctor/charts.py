"""Charts of a dataset as inline SVG, in the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from pixelwise.colours import distinct_colours, for_display
from pixelwise.doctor.survey import SplitFacts
from pixelwise.pages import shortened, svg, svg_text

_ROW, _NAME, _BAR = 26, 150, 150  # pixels
_LONGEST = 20  # letters of a name
_SIDE = 320


def class_chart(splits: Sequence[SplitFacts]) -> str:
    """A bar for each class and split: the share of the labelled pixels; beside it the photos that show it.

    Shares of classes lie decades apart, so the length is the square root of the share.
    """
    names, colours = splits[0].classes.names, for_display(splits[0].classes).colours
    column = _BAR + 170
    width, height = _NAME + column * len(splits), _ROW * (len(names) + 1) + 6
    highest = max((float(split.shares.max()) for split in splits), default=0.0) or 1.0
    parts = [
        svg_text(_NAME + column * i, 16, f"{s.name}, {len(s.masks)} photos", "strong") for i, s in enumerate(splits)
    ]
    for row, (name, colour) in enumerate(zip(names, colours, strict=True)):
        top = _ROW * (row + 1)
        parts.append(svg_text(_NAME - 10, top + 17, shortened(name, _LONGEST), "", "end", name))
        for number, split in enumerate(splits):
            share, photos = float(split.shares[row]), int(split.photos_with[row])
            left, length = _NAME + column * number, max(_BAR * math.sqrt(share / highest), float(share > 0))
            parts.append(
                f'<rect class="bar" x="{left}" y="{top + 4}" width="{length:.1f}" height="{_ROW - 9}" '
                f'fill="rgb{colour}"><title>{escape(name)}: {share:.3%} of the pixels</title></rect>'
            )
            parts.append(svg_text(left + length + 6, top + 17, f"{percent(share)}, {photos} photos", "soft"))
    return svg(width, height, parts, "Class frequencies")


def size_chart(splits: Sequence[SplitFacts]) -> str:
    """A dot for each size that photos have: width across, height up; its area is the number of photos."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for number, split in enumerate(splits):
        for _, photo in split.photos:
            sizes.setdefault(photo.size, [0] * len(splits))[number] += 1
    if not sizes:
        return ""
    longest = max(max(size) for size in sizes)
    scale = _SIDE / longest
    most = max(sum(counts) for counts in sizes.values())
    parts = [
        f'<rect class="frame" x="50" y="10" width="{_SIDE}" height="{_SIDE}"/>',
        f'<line class="frame" x1="50" y1="{_SIDE + 10}" x2="{_SIDE + 50}" y2="10"/>',
        svg_text(_SIDE + 50, _SIDE + 26, f"{longest} pixels wide", "soft", "end"),
        svg_text(44, 20, f"{longest}", "soft", "end"),
        svg_text(44, _SIDE + 10, "0", "soft", "end"),
    ]
    colours = distinct_colours(len(splits))
    for (height, width), counts in sorted(sizes.items(), key=lambda entry: -sum(entry[1])):
        number = max(range(len(counts)), key=counts.__getitem__)
        radius = 3 + 9 * math.sqrt(sum(counts) / most)
        told = ", ".join(f"{n} in {split.name}" for n, split in zip(counts, splits, strict=True) if n)
        parts.append(
            f'<circle cx="{50 + width * scale:.1f}" cy="{10 + _SIDE - height * scale:.1f}" r="{radius:.1f}" '
            f'fill="rgb{colours[number]}" fill-opacity="0.5"><title>{width}x{height}: {escape(told)}</title></circle>'
        )
    for number, (split, colour) in enumerate(zip(splits, colours, strict=True)):
        parts.append(f'<circle cx="{_SIDE + 80}" cy="{24 + 22 * number}" r="6" fill="rgb{colour}"/>')
        parts.append(svg_text(_SIDE + 92, 29 + 22 * number, split.name, ""))
    return svg(_SIDE + 240, _SIDE + 36, parts, "Sizes of the photos")


def percent(share: float) -> str:
    """A share to read: what is there is never told as nothing."""
    return "<0.01 %" if 0 < share < 0.00005 else f"{share:.2%}".replace("%", " %")
