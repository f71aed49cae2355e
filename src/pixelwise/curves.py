"""The picture of a training run: loss, pixel accuracy and mean IoU as it went on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelwise.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY, _BLUE, _ORANGE = "#9aa5b1", "#1f77b4", "#d95f02"


@dataclass(frozen=True, slots=True)
class _Panel:
    """One of the three; `train` and `val` are fields of the log, and `legend` is where no curve is to be expected."""

    title: str
    train: str
    val: str
    legend: str


_PANELS = (
    _Panel("loss", "loss", "val_loss", "upper right"),
    _Panel("pixel accuracy", "train_pixel_accuracy", "val_pixel_accuracy", "lower right"),
    _Panel("mean IoU", "train_miou", "val_miou", "lower right"),
)


def draw_curves(log: Path, picture: Path, *, steps_per_epoch: float | None = None) -> None:
    """Draw `log.jsonl` as a PNG of three panels: loss, pixel accuracy, mean IoU.

    A dotted line marks the best validation: by mean IoU, where there is none by pixel accuracy, else by loss.

    Args:
        log: one JSON object a line, with `step` and any of `loss`, `val_loss`, `train_pixel_accuracy`,
            `val_pixel_accuracy`, `train_miou`, `val_miou`; other fields are passed over, and so are lines that are
            torn, because the run was killed or is writing one. Of a step that was run twice, because the run went on
            from a checkpoint, the later entry counts.
        picture: replaced atomically.
        steps_per_epoch: for an axis in epochs; without it, it is in steps.

    Raises:
        OutputError: the picture cannot be written.
    """
    from matplotlib.figure import Figure

    entries = _read(log)
    best = _best_step(entries)
    scale = 1 / steps_per_epoch if steps_per_epoch else 1.0
    figure = Figure(figsize=(13, 4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, 3, sharex=True), _PANELS, strict=True):
        _draw(axes, panel, entries, scale)
        axes.set(xlabel="epoch" if steps_per_epoch else "step", title=panel.title)
        if best is not None and axes.lines:
            axes.axvline(best * scale, color=_ORANGE, linestyle=":", label=_best_label(entries, best, panel.val))
        if axes.lines:
            axes.legend(fontsize="small", framealpha=0.7, loc=panel.legend)
    axes.set_xlim(0, None)  # of all three; not before, as it ends the scaling to what is drawn
    with replacing(picture) as temporary:
        figure.savefig(temporary, dpi=120)


def _read(log: Path) -> list[dict[str, Any]]:
    """The entries in the order of their steps."""
    entries = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries[entry["step"]] = entry
    return [entries[step] for step in sorted(entries)]


def _points(entries: Sequence[dict[str, Any]], field: str) -> tuple[list[int], list[float]]:
    """Steps and values of a field, where it has a finite one."""
    found = [(entry["step"], entry[field]) for entry in entries if isinstance(entry.get(field), int | float)]
    finite = [(step, float(value)) for step, value in found if math.isfinite(value)]
    return [step for step, _ in finite], [value for _, value in finite]


def _best_step(entries: Sequence[dict[str, Any]]) -> int | None:
    """The first of the best, as the loop keeps its weights."""
    for field, sign in (("val_miou", 1), ("val_pixel_accuracy", 1), ("val_loss", -1)):
        steps, values = _points(entries, field)
        if steps:
            return max(zip(steps, values, strict=True), key=lambda point: sign * point[1])[0]
    return None


def _best_label(entries: Sequence[dict[str, Any]], best: int, field: str) -> str:
    value = dict(zip(*_points(entries, field), strict=True)).get(best)
    return f"best: step {best}" + (f", {value:.3f}" if value is not None else "")


def _draw(axes: Axes, panel: _Panel, entries: Sequence[dict[str, Any]], scale: float) -> None:
    for field, label, colour in ((panel.train, "training", _BLUE), (panel.val, "validation", _ORANGE)):
        steps, values = _points(entries, field)
        if not steps:
            continue
        at = [step * scale for step in steps]
        if len(values) > 100:
            axes.plot(at, values, color=_GREY, linewidth=0.5)
            values, label = _smoothed(values), f"{label}, smoothed"
        marker = "o" if len(values) <= 30 else ""
        axes.plot(at, values, color=colour, marker=marker, markersize=4, label=label)
    if not axes.lines:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=_GREY)
    axes.set_ylim(0, None if panel.train == "loss" else 1)
    axes.grid(color="#e5e8eb")


def _smoothed(values: Sequence[float]) -> list[float]:
    """The mean over the fiftieth of all entries that lies around each, fewer at the ends."""
    reach = len(values) // 100
    return [sum(near) / len(near) for near in (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))]
