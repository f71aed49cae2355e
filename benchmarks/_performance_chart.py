"""The chart of docs/performance.md: milliseconds of each network on each runtime, on a logarithmic scale."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from _performance_models import NETWORKS
from pixelwise.files import replacing

if TYPE_CHECKING:
    from _performance_page import Figures

# Colours of Okabe and Ito, which hold under colour-vision deficiency; shapes tell apart what one colour has in common.
_ORANGE, _GREEN, _BLUE, _BLACK = "#D55E00", "#009E73", "#0072B2", "#000000"
_LINES = {_BLACK: 0.24, _GREEN: 0.0, _BLUE: 0.0, _ORANGE: -0.24}  # of a row, lest marks hide each other
_MARKS = {
    "torch eager": (_ORANGE, "o"),
    "torch channels_last": (_ORANGE, "v"),
    "torch bf16": (_ORANGE, "s"),
    "torch.compile": (_ORANGE, "P"),
    "ONNX Runtime": (_GREEN, "o"),
    "OpenVINO fp32": (_BLUE, "o"),
    "OpenVINO bf16": (_BLUE, "s"),
    "OpenVINO int8": (_BLUE, "D"),
    "pixelwise": (_BLACK, "s"),
    "pixelwise int8": (_BLACK, "D"),
}


def draw(figures: Figures, picture: Path) -> None:
    """A row a network, the slowest above; a mark a runtime."""
    known = {name: each for name in figures.multiply_adds if (each := figures.latency(name, "torch eager"))}
    names = sorted(known, key=lambda name: known[name])
    titles = {network.name: network.title for network in NETWORKS}
    settings: dict[Any, Any] = {
        "svg.hashsalt": "performance",
        "svg.fonttype": "path",
        "font.family": "DejaVu Sans",
        "font.size": 10,
    }
    with mpl.rc_context(settings), replacing(picture) as temporary:
        page = Figure(figsize=(10, 1.6 + 0.55 * len(names)), facecolor="white", layout="constrained")
        axes = page.subplots()
        for runtime, (colour, shape) in _MARKS.items():
            found = [(each, row) for row, name in enumerate(names) if (each := figures.latency(name, runtime))]
            axes.scatter(
                [each for each, _ in found],
                [row + _LINES[colour] for _, row in found],
                s=48,
                marker=shape,
                color=colour,
                edgecolors="white",
                linewidths=0.6,
                label=runtime,
                zorder=3,
            )
        axes.set(xscale="log", xlabel="milliseconds from pixels to class ids, 512 x 512; fast is left")
        axes.set_yticks(range(len(names)), [titles[name] for name in names])
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="x", color="0.9")
        for row in range(1, len(names)):
            axes.axhline(row - 0.5, color="0.9", linewidth=0.8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        page.legend(loc="outside right center", frameon=False)
        page.savefig(temporary, format="svg", metadata={"Date": None})
