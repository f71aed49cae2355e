"""The model card: what a bundle's `config.json` says, for people.

Source of the form: Mitchell et al., "Model Cards for Model Reporting", FAT* 2019, arXiv:1810.03993.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixelwise.bundle import BundleConfig, InputSpec


def model_card(config: BundleConfig) -> str:
    """The card as Markdown."""
    spec = config.input_spec
    lines = [
        f"# {config.name}",
        "",
        *_paragraph(config.provenance.get("description")),
        f"Architecture: `{config.architecture}`, {_arguments(config.arguments)}. "
        f"Photos are scaled to a {_side(spec)} pixels; {len(config.classes)} classes.",
        "",
        "## Use",
        "",
        "```",
        "pixelwise segment photo.jpg --model THIS_DIRECTORY",
        "```",
    ]
    for data, figures in config.metrics.items():
        lines += ["", f"## Measured on {data}", "", *_figures(figures)]
    if export := config.provenance.get("export"):
        lines += ["", "## Exported", "", *_export(export)]
    for title in ("data", "limits", "licences"):
        entries = config.provenance.get(title, [])
        if isinstance(entries, list) and entries:
            lines += ["", f"## {title.capitalize()}", "", *(f"- {entry}" for entry in entries)]
    rest = {key: value for key, value in config.provenance.items() if not isinstance(value, list | dict)}
    rest.pop("description", None)
    if rest:
        lines += ["", "## Provenance", "", *(f"- {key}: {value}" for key, value in rest.items())]
    return "\n".join(lines) + "\n"


def _export(told: Mapping[str, Any]) -> list[str]:
    """What became of the model that this was made of, side by side."""
    before, after = told["before"], told["after"]
    plain = {key: value for key, value in told.items() if not isinstance(value, Mapping)}
    lines = [*(f"- {key}: {value}" for key, value in plain.items()), "", "| | before | after |", "|---|---|---|"]
    return [*lines, *(f"| {key} | {_text(value)} | {_text(after.get(key))} |" for key, value in before.items())]


def _paragraph(text: Any) -> list[str]:
    return [str(text), ""] if text else []


def _side(spec: InputSpec) -> str:
    return f"shorter side of {spec.short_side}" if spec.short_side else f"longer side of {spec.long_side}"


def _arguments(arguments: Mapping[str, Any]) -> str:
    # A tuple becomes a list on its way through config.json, and the card must not tell before from after.
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}
    return ", ".join(f"{key} {value}" for key, value in plain.items()) or "with its defaults"


def _figures(figures: Mapping[str, Any]) -> list[str]:
    """Single figures as a list, figures by class as a table."""
    lines = [f"- {key}: {_text(value)}" for key, value in figures.items() if not isinstance(value, Mapping)]
    for key, values in figures.items():
        if isinstance(values, Mapping):
            lines += ["", f"| class | {key} |", "|---|---|"]
            lines += [f"| {_plain(name)} | {_text(value)} |" for name, value in values.items()]
    return lines


def _plain(name: str) -> str:
    """A name in Markdown's table: no cell's end, and no HTML."""
    return html.escape(name, quote=False).replace("|", r"\|")


def _text(value: Any) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
