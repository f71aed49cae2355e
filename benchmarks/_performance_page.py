"""docs/performance.md: what `performance.py` measured, as figures, targets, tables and a chart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from _common import put_between_marks, table, verdict
from _performance_chart import draw
from _performance_models import NETWORKS

RUNTIMES = {
    "torch eager": "fp32",
    "torch channels_last": "fp32",
    "torch bf16": "bf16",
    "torch.compile": "fp32",
    "ONNX Runtime": "fp32",
    "OpenVINO fp32": "fp32",
    "OpenVINO bf16": "bf16",
    "OpenVINO int8": "int8",
    "pixelwise": "bf16",
    "pixelwise int8": "int8",
}
"""Columns, and in what they compute."""

BF16, INT8, SMALLER, SCRIPT, ALONE = 3.3, 6.5, 6.0, 5.0, 0.85
NONE = "–"


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured, and what follows from it.

    Attributes:
        cells: by name, as `performance.py` keeps them; what could not be measured has an "error".
        multiply_adds: by network, for one photo.
        many: photos in the large folder.
    """

    cells: Mapping[str, Mapping[str, Any]]
    multiply_adds: Mapping[str, int]
    many: int

    def rounds(self, prefix: str, key: str) -> list[Any]:
        """A figure of every round of a cell."""
        return [cell[key] for name, cell in self.cells.items() if name.startswith(f"{prefix}/") and key in cell]

    def calls(self, name: str, runtime: str) -> list[float]:
        """Milliseconds of every call."""
        return [each for times in self.rounds(f"latency/{name}/{runtime}", "ms") for each in times]

    def latency(self, name: str, runtime: str) -> float | None:
        """Median milliseconds of a call."""
        return _median(self.calls(name, runtime))

    def ratio(self, name: str, runtime: str, reference: str = "torch eager") -> float | None:
        """How many times as fast as the reference."""
        own, other = self.latency(name, runtime), self.latency(name, reference)
        return other / own if own and other else None

    def cold(self, name: str, runtime: str) -> float | None:
        """Seconds to the first answer, in the best round: what is compiled is in its cache after the first."""
        return min(self.rounds(f"latency/{name}/{runtime}", "cold"), default=None)

    def peak(self, name: str, runtime: str) -> float | None:
        """Median MB."""
        return _median(self.rounds(f"latency/{name}/{runtime}", "MB"))

    def gigaflops(self, name: str, runtime: str) -> float | None:
        """Two operations a multiply-add, over the latency."""
        latency = self.latency(name, runtime)
        return 2 * self.multiply_adds[name] / latency / 1e6 if latency else None

    def most_gigaflops(self) -> dict[str, float]:
        """Of this machine's matrix products, by the numbers that they are of."""
        return {kind: max(known) for kind in ("fp32", "bf16", "int8") if (known := self.rounds("peak", kind))}

    def errors(self) -> dict[str, str]:
        """Why a cell has no figure."""
        return {name: cell["error"] for name, cell in self.cells.items() if "error" in cell}

    def walls(self, who: str) -> float | None:
        """Median seconds for the many photos."""
        return _median(self.rounds(f"many/{who}", "wall"))

    def best_of_many(self, kind: str) -> tuple[float, str] | None:
        """The least seconds of the ways to do it, and which."""
        ways = {name.split("/")[1] for name in self.cells if name.startswith("many/") and kind in name}
        found = [(wall, way) for way in sorted(ways) if (wall := self.walls(way))]
        return min(found, default=None)

    def folder(self, who: str) -> tuple[float, float, float] | None:
        """Photos a second without the start, seconds for one photo, and peak MB for several; whole processes."""
        found = {
            int(name.rpartition("/")[2]): cell
            for name, cell in self.cells.items()
            if name.startswith(f"some/{who}/") and "wall" in cell
        }
        if len(found) < 2:
            return None
        (one, first), (several, last) = min(found.items()), max(found.items())
        took = last["wall"] - first["wall"]
        return ((several - one) / took, first["wall"], last["peak"]) if took > 0 else None


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def targets(figures: Figures) -> list[str]:
    """A verdict on each target that can be judged."""
    lines = [
        _faster(figures, "deeplabv3_resnet50", "pixelwise", BF16, "torchvision eager, bf16"),
        _faster(figures, "deeplabv3_resnet50", "pixelwise int8", INT8, "torchvision eager, int8"),
        _faster(figures, "smp-unet-resnet34", "pixelwise int8", SMALLER, "smp eager, int8"),
        _never_slower(figures),
    ]
    own, script, alone = figures.walls("pixelwise"), figures.best_of_many("script"), figures.best_of_many("alone")
    if own and script:
        faster = script[0] / own
        told = f"{faster:.1f}; {own:.1f} s and {script[0]:.1f} s"
        lines.append(verdict(f"{figures.many} photos {SCRIPT:g} times as fast as smp's script", faster >= SCRIPT, told))
    if own and alone:
        share, what = alone[0] / own, f"{ALONE:.0%} of what inference alone allows"
        start = _median(figures.rounds("start/pixelwise", "wall")) or 0.0
        told = f"{share:.0%}; inference alone {alone[0]:.1f} s, {alone[1]}; {start:.1f} s of ours is the start"
        lines.append(verdict(what, share >= ALONE, told))
    return [line for line in lines if line]


def _faster(figures: Figures, name: str, runtime: str, least: float, reference: str) -> str:
    ratio = figures.ratio(name, runtime)
    target = f"{_title(name)} {least} times as fast as {reference}"
    return verdict(target, ratio >= least, f"{ratio:.2f}") if ratio else ""


def _never_slower(figures: Figures) -> str:
    ratios = {name: figures.ratio(name, "pixelwise", "ONNX Runtime") for name in figures.multiply_adds}
    known = {name: ratio for name, ratio in ratios.items() if ratio}
    slower = ", ".join(f"{_title(name)} {ratio:.2f}" for name, ratio in known.items() if ratio < 1)
    told = f"slower: {slower}" if slower else f"{min(known.values(), default=0):.2f} times or more"
    return verdict("no network slower than in ONNX Runtime fp32", not slower, told) if known else ""


def write(figures: Figures, document: Path, conditions: Mapping[str, Any]) -> None:
    """Fill in the page, which is made where there is none, and draw its chart beside it."""
    picture = document.parent / "images" / "performance.svg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw(figures, picture)
    if not document.exists():
        document.write_text("\n".join(f"<!-- {part} -->\n<!-- end of {part} -->\n" for part in _SECTIONS))
    for part, section in _SECTIONS.items():
        put_between_marks(document, part, section(figures) if part != "conditions" else _conditions(conditions))


def _conditions(conditions: Mapping[str, Any]) -> str:
    """The machine, the day, the photos and the versions."""
    machine = conditions["machine"]
    found = ", ".join(f"{name} {version}" for name, version in conditions["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']} before it began, {date.today()}.\n"
        f"Photos of the folders: {conditions['photos']}. Versions: {found}."
    )


def _targets(figures: Figures) -> str:
    return "\n".join(f"- {line}" for line in targets(figures))


def _latency(figures: Figures) -> str:
    def cell(name: str, runtime: str) -> str:
        latency, ratio = figures.latency(name, runtime), figures.ratio(name, runtime)
        if latency is None:
            return NONE
        number = f"{latency:.0f}" if latency >= 100 else f"{latency:.1f}"
        return number if runtime == "torch eager" or ratio is None else f"{number} ({ratio:.1f})"

    return f"{_by_runtime(figures, cell)}\n\n{_spread(figures)}"


def _spread(figures: Figures) -> str:
    """How far calls and rounds differ."""
    widths, drifts = [], []
    for name in figures.multiply_adds:
        for runtime in RUNTIMES:
            calls = figures.calls(name, runtime)
            if len(calls) > 3:
                lower, middle, upper = quantiles(calls)
                widths.append((upper - lower) / middle)
            medians = [median(times) for times in figures.rounds(f"latency/{name}/{runtime}", "ms")]
            if len(medians) > 1:
                drifts.append(max(medians) / min(medians) - 1)
    if not widths or not drifts:
        return ""
    return (
        f"The middle half of a cell's calls spans {median(widths):.0%} of its median (at most {max(widths):.0%}), its "
        f"rounds differ by {median(drifts):.0%} (at most {max(drifts):.0%})."
    )


def _gigaflops(figures: Figures) -> str:
    peak = figures.most_gigaflops()

    def cell(name: str, runtime: str) -> str:
        reached, most = figures.gigaflops(name, runtime), peak.get(RUNTIMES[runtime])
        if reached is None:
            return NONE
        return f"{reached:.0f} ({reached / most:.0%})" if most else f"{reached:.0f}"

    known = ", ".join(f"{gigaflops:.0f} GFLOP/s in {kind}" for kind, gigaflops in peak.items())
    return f"{_by_runtime(figures, cell)}\n\nMatrix products reach {known} here, at most."


def _cold(figures: Figures) -> str:
    return _by_runtime(figures, lambda name, runtime: _number(figures.cold(name, runtime), ".1f"))


def _memory(figures: Figures) -> str:
    return _by_runtime(figures, lambda name, runtime: _number(figures.peak(name, runtime), ".0f"))


def _by_runtime(figures: Figures, cell: Callable[[str, str], str]) -> str:
    rows = [[_title(name), *(cell(name, runtime) for runtime in RUNTIMES)] for name in figures.multiply_adds]
    return table(["", *RUNTIMES], rows)


def _folder(figures: Figures) -> str:
    rows = []
    for name in figures.multiply_adds:
        own, script = figures.folder(f"{name} pixelwise"), figures.folder(f"{name} script")
        times = own[0] / script[0] if own and script else None
        rates = [_number(each and each[0], ".1f") for each in (script, own)]
        rows.append([_title(name), *rates, _number(times, ".1f")])
    return table(["photos a second", "plain script", "pixelwise", "times"], rows)


def _many(figures: Figures) -> str:
    rows = [
        [way, f"{wall:.1f}", f"{figures.many / wall:.1f}"]
        for way in dict.fromkeys(name.split("/")[1] for name in figures.cells if name.startswith("many/"))
        if (wall := figures.walls(way))
    ]
    return table([f"{figures.many} photos", "seconds", "photos a second"], rows)


def _peers(figures: Figures) -> str:
    named = {
        "pixelwise, default model": "default pixelwise",
        "plain script, torchvision's DeepLabV3-MobileNetV3": "deeplabv3_mobilenet_v3_large script",
        "plain script, smp's U-Net EfficientNet-Lite0": "smp-unet-lite0 script",
        "Hugging Face pipeline, SegFormer-B0": "Hugging Face pipeline",
        "Ultralytics, YOLO26n-sem": "Ultralytics YOLO26n-sem",
    }
    rows = []
    for title, who in named.items():
        if found := figures.folder(who):
            rows.append([title, f"{found[1]:.1f}", f"{found[0]:.1f}", f"{found[2]:.0f}"])
    return table(["whole process", "one photo, s", "photos a second after it", "peak MB"], rows)


def _errors(figures: Figures) -> str:
    failed = "\n".join(f"- `{name}`: {why}" for name, why in figures.errors().items())
    if not any(name.startswith("some/Hugging") for name in figures.cells):
        failed += "\n- Hugging Face and Ultralytics: no `--peers-python` was given."
    compiled = [
        (times[0], _title(name))
        for name in figures.multiply_adds
        if len(times := figures.rounds(f"latency/{name}/torch.compile", "cold")) > 1
    ]
    told = (
        f"`torch.compile` took {min(compiled)[0]:.0f} to {max(compiled)[0]:.0f} s the first time." if compiled else ""
    )
    return f"{told}\n\n{failed.strip() or 'Nothing failed.'}".strip()


def _title(name: str) -> str:
    return next(network.title for network in NETWORKS if network.name == name)


def _number(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)


_SECTIONS: dict[str, Callable[[Any], str]] = {
    "conditions": str,
    "targets": _targets,
    "latency": _latency,
    "folder": _folder,
    "many": _many,
    "peers": _peers,
    "cold start": _cold,
    "memory": _memory,
    "gigaflops": _gigaflops,
    "errors": _errors,
}
