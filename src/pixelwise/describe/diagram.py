"""The picture of an architecture, in the manner of the papers' figures, drawn from its description alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelwise.describe import Description
from pixelwise.describe.layout import JOINT, Graph, on_a_line
from pixelwise.describe.shapes import (
    FONT_SIZE,
    LINE,
    NUMBER_SIZE,
    Arrow,
    Drawing,
    Flow,
    Label,
    Slab,
    lines_width,
    text_width,
)
from pixelwise.describe.stages import Kind
from pixelwise.describe.u_layout import as_a_u
from pixelwise.errors import OutputError, PixelwiseError
from pixelwise.files import is_there, replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png", ".pdf")

COLOURS: dict[Kind, str] = {
    "photo": "#c9ced6",
    "convolution": "#8fb4d9",
    "pooling": "#d9867a",
    "upsampling": "#9ecb9b",
    "scores": "#f0c36d",
    "context": "#b6a0d1",
    "concatenation": "#f4f4f4",
    "padding": "#ececec",
    "sum": "#ffffff",
    "answer": "#c9ced6",
}
FLOWS: dict[Flow, str] = {
    "features": "#5b6470",
    "pooling": "#c0503f",
    "upsampling": "#4b9a47",
    "skip": "#3a6ea5",
    "indices": "#c0503f",
}
INK, PALE = "#22272e", "#5b6470"
MARGIN = 0.2


def draw_diagram(description: Description, picture: Path) -> None:
    """Draw an architecture as SVG, PNG or PDF, by the file's suffix; the same bytes each time.

    Args:
        description: of `pixelwise.describe.describe`.
        picture: replaced atomically.

    Raises:
        PixelwiseError: another suffix.
        OutputError: there is no such directory, or the file cannot be written.
    """
    import matplotlib as mpl

    check_picture(picture, force=True)
    dates: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    # Glyphs as paths: a browser without the font would set the text wider than the layout has room for.
    settings: dict[Any, Any] = {
        "svg.hashsalt": description.entry.name,
        "svg.fonttype": "path",
        "font.family": "DejaVu Sans",
    }
    with mpl.rc_context(settings), replacing(picture) as temporary:
        figure(description).savefig(
            temporary, format=picture.suffix.lower()[1:], dpi=150, metadata=dates.get(picture.suffix.lower())
        )


def check_picture(picture: Path, *, force: bool) -> None:
    """See that a diagram can be written, before it is made.

    Raises:
        PixelwiseError: the suffix is of no kind of picture that it could be.
        OutputError: there is no such directory; or there is such a file, and not `force`.
    """
    if picture.suffix.lower() not in SUFFIXES:
        raise PixelwiseError(f"{picture} has the suffix {picture.suffix!r}; a diagram is one of {', '.join(SUFFIXES)}.")
    if is_there(picture) and not force:
        raise OutputError(f"{picture} exists already; choose another file, or --force.")
    if not picture.parent.is_dir():
        raise OutputError(f"There is no directory {picture.parent} to write {picture.name} to.")


def layout(description: Description) -> Drawing:
    """Where everything is drawn, in inches."""
    graph = Graph(description.stages, description.edges)
    return as_a_u(graph) if graph.is_u() else on_a_line(graph)


def figure(description: Description) -> Figure:
    """The drawing on a page of its own size, with a title, a legend and the figures."""
    from matplotlib.figure import Figure

    drawing = layout(description)
    left, bottom, right, top = _bounds(drawing)
    title, facts = _title(description), _facts(description)
    if drawing.left_out:
        facts += f"   ·   not drawn: {', '.join(drawing.left_out)}"
    width = max(right - left, text_width(title[1], size=8), text_width(facts, size=8)) + 2 * MARGIN
    middle = (left + right) / 2
    legend = _legend_rows(drawing, description, width - 2 * MARGIN)
    low = bottom - 0.5 - 0.2 * len(legend)
    high = top + 0.6
    page = Figure(figsize=(width, high - low + MARGIN), facecolor="white")
    axes = page.add_axes((0, 0, 1, 1))
    axes.set(xlim=(middle - width / 2, middle + width / 2), ylim=(low - MARGIN / 2, high + MARGIN / 2))
    axes.axis("off")
    _paint(axes, drawing)
    start = middle - width / 2 + MARGIN
    axes.text(start, high, title[0], size=12, weight="bold", color=INK, va="top")
    axes.text(start, high - 0.25, title[1], size=8, color=PALE, va="top")
    _paint_legend(axes, legend, start, bottom - 0.25)
    axes.text(start, low, facts, size=8, color=INK, va="bottom")
    return page


def _title(description: Description) -> tuple[str, str]:
    entry, paper = description.entry, description.entry.paper
    place = f"{paper.authors}: {paper.title}, {paper.venue}, arXiv:{paper.arxiv}, {paper.figure}"
    return f"{entry.name}: {entry.family} on {description.encoder}", place


def _facts(description: Description) -> str:
    field = f"{description.receptive_field} pixels"
    return (
        f"Photo {description.size[0]}×{description.size[1]}   ·   output stride {description.output_stride}   ·   "
        f"receptive field {field + ', and the whole photo by means' if description.whole_photo else field}   ·   "
        f"{description.parameters / 1e6:.1f} M parameters   ·   {description.multiply_adds / 1e9:.1f} G multiply-adds"
    )


def _bounds(drawing: Drawing) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of everything drawn."""
    boxes = [(slab.left, slab.bottom, slab.right, slab.crown) for slab in drawing.slabs]
    boxes += [label_box(label) for label in drawing.labels]
    boxes += [(x, y, x, y) for arrow in drawing.arrows for x, y in arrow.points]
    lows, highs = zip(*[(box[:2], box[2:]) for box in boxes], strict=True)
    return (
        min(x for x, _ in lows),
        min(y for _, y in lows),
        max(x for x, _ in highs),
        max(y for _, y in highs),
    )


def label_box(label: Label) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of a label."""
    width = lines_width(label.lines)
    left = label.x - {"left": 0.0, "center": width / 2, "right": width}[label.align]
    return left, label.top - LINE * len(label.lines), left + width, label.top


def _paint(axes: Axes, drawing: Drawing) -> None:
    for arrow in drawing.arrows:
        _paint_arrow(axes, arrow)
    for slab in sorted(drawing.slabs, key=lambda slab: slab.left):
        _paint_slab(axes, slab)
    for joint in drawing.joints:
        from matplotlib.patches import Circle

        axes.add_patch(Circle((joint.x, joint.y), JOINT, facecolor="white", edgecolor=INK, linewidth=0.9, zorder=6))
        axes.text(joint.x, joint.y, joint.sign, size=10, ha="center", va="center_baseline", color=INK, zorder=7)
    for label in drawing.labels:
        for number, line in enumerate(label.lines):
            axes.text(
                label.x,
                label.top - number * LINE,
                line,
                size=FONT_SIZE,
                weight="bold" if number == 0 else "normal",
                color=INK if number == 0 else PALE,
                ha=label.align,
                va="top",
                zorder=8,
            )


def _paint_slab(axes: Axes, slab: Slab) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Polygon

    colour = to_rgb(COLOURS[slab.kind])
    x, y, reach = slab.left, slab.bottom, slab.reach
    w, h = slab.width, slab.height
    faces = (
        ([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], 1.0),
        ([(x, y + h), (x + w, y + h), (x + w + reach, y + h + reach), (x + reach, y + h + reach)], 1.08),
        ([(x + w, y), (x + w + reach, y + reach), (x + w + reach, y + h + reach), (x + w, y + h)], 0.85),
    )
    edge = tuple(0.55 * part for part in colour)
    for points, light in faces:
        fill = tuple(min(1.0, light * part) for part in colour)
        axes.add_patch(Polygon(points, facecolor=fill, edgecolor=edge, linewidth=0.5, joinstyle="round", zorder=4))
    if slab.text:
        axes.text(
            x + (w + reach) / 2 + reach / 2,
            slab.top + 0.02,
            slab.text,
            size=NUMBER_SIZE,
            ha="center",
            va="bottom",
            color=INK,
            zorder=8,
        )


def _paint_arrow(axes: Axes, arrow: Arrow) -> None:
    colour = FLOWS[arrow.flow]
    xs, ys = [x for x, _ in arrow.points], [y for _, y in arrow.points]
    width = 0.9 if arrow.flow == "features" else 1.2
    axes.plot(xs[:-1], ys[:-1], color=colour, linewidth=width, solid_joinstyle="round", zorder=5)
    axes.annotate(
        "",
        xy=arrow.points[-1],
        xytext=arrow.points[-2],
        arrowprops={
            "arrowstyle": "-|>,head_length=0.32,head_width=0.14",
            "color": colour,
            "linewidth": width,
            "shrinkA": 0,
            "shrinkB": 0,
        },
        zorder=5,
    )


def _legend_rows(drawing: Drawing, description: Description, width: float) -> list[list[tuple[str, str, bool]]]:
    """Rows of (text, colour, whether it is an arrow) that fit into the width."""
    items = [(text, COLOURS[kind], False) for kind, text in _kinds(drawing, description)]
    items += [(text, FLOWS[flow], True) for flow, text in _flows(drawing, description)]
    rows: list[list[tuple[str, str, bool]]] = [[]]
    used = 0.0
    for item in items:
        wide = text_width(item[0]) + 0.55
        if rows[-1] and used + wide > width:
            rows.append([])
            used = 0.0
        rows[-1].append(item)
        used += wide
    return rows


def _paint_legend(axes: Axes, rows: Sequence[Sequence[tuple[str, str, bool]]], left: float, top: float) -> None:
    from matplotlib.patches import Rectangle

    for number, row in enumerate(rows):
        x, y = left, top - 0.2 * number
        for text, colour, arrow in row:
            if arrow:
                _paint_arrow(axes, Arrow(((x, y), (x + 0.22, y)), next(f for f, c in FLOWS.items() if c == colour)))
            else:
                axes.add_patch(
                    Rectangle((x + 0.04, y - 0.05), 0.16, 0.1, facecolor=colour, edgecolor=PALE, linewidth=0.5)
                )
            axes.text(x + 0.28, y, text, size=FONT_SIZE, color=INK, va="center_baseline")
            x += text_width(text) + 0.55


def _layers_of(description: Description, kind: Kind) -> str:
    words = [", ".join(stage.layers) for stage in description.stages if stage.kind == kind]
    return ", ".join(dict.fromkeys(word for word in words if word))


def _kinds(drawing: Drawing, description: Description) -> list[tuple[Kind, str]]:
    texts: dict[Kind, str] = {
        "convolution": "convolutions (number: channels)",
        "pooling": _layers_of(description, "pooling"),
        "upsampling": _layers_of(description, "upsampling"),
        "scores": "scores, a channel for each class",
        "context": "mean over the photo, spread over the map again",
        "concatenation": "concatenated maps",
        "padding": "padding",
    }
    if any(arrow.flow == "upsampling" for arrow in drawing.arrows):
        texts["upsampling"] = "upsampled map"
    there = {slab.kind for slab in drawing.slabs}
    return [(kind, text) for kind, text in texts.items() if kind in there]


def _flows(drawing: Drawing, description: Description) -> list[tuple[Flow, str]]:
    cropped = any(edge.cropped for edge in description.edges[:-1])
    joins = any(stage.kind == "concatenation" for stage in description.stages)
    texts: dict[Flow, str] = {
        "pooling": _layers_of(description, "pooling"),
        "upsampling": _layers_of(description, "upsampling"),
        "skip": f"skip: copy{', crop' if cropped else ''} and {'concatenate' if joins else 'add'}",
        "indices": "pooling indices: where the maxima were",
    }
    there = {arrow.flow for arrow in drawing.arrows}
    return [(flow, text) for flow, text in texts.items() if flow in there]
