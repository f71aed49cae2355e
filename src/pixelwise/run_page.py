"""A finished training run as one HTML page: how good it is, how it went, what it makes of photos, why it was so set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pixelwise.bundle import Bundle
from pixelwise.files import write_atomically
from pixelwise.pages import document, html_table, picture
from pixelwise.run_directory import RunDirectory, read_log
from pixelwise.settings import shown

_PICTURES = 3


def write_run_page(run: RunDirectory, bundle: Bundle) -> Path:
    """Write the run's `report.html`.

    Args:
        run: finished.
        bundle: its model.

    Raises:
        OutputError: the page cannot be written.
    """
    config = bundle.config
    entries = read_log(run.log)
    validated = [entry for entry in entries if "val_miou" in entry]
    best = max(validated, key=lambda entry: float(entry["val_miou"]))
    # Of one validation set the bundle's own figure: the log's is of bf16, and may differ in the last digit.
    figures = list(config.metrics.values())
    score = figures[0]["mean IoU"] if len(figures) == 1 else best["val_miou"]
    body = [
        f"<h1>{escape(config.name)}</h1>",
        f'<p class="verdict note">Mean IoU {score:.3f} on the validation photos, at step {best["step"]} of '
        f"{entries[-1]['step']}.</p>",
        f'<p class="soft">{escape(config.architecture)}, {escape(shown(dict(config.arguments)))}</p>',
        f"<pre>pixelwise segment PHOTO --model {escape(str(run.model))}</pre>",
        *(_metrics(name, figures) for name, figures in config.metrics.items()),
        "<h2>How it went</h2>",
        picture(run.curves.read_bytes(), "Loss, pixel accuracy and mean IoU over the run.", kind="png"),
        *_validation_pictures(run, best["step"]),
        *_choices(run),
        "<h2>The recipe</h2>",
        "<details><summary>every setting</summary>",
        f"<pre>{escape(run.recipe.read_text(encoding='utf-8'))}</pre></details>",
        '<p class="soft">Made by pixelwise train.</p>',
    ]
    write_atomically(run.report, document(config.name, body).encode())
    return run.report


def _metrics(name: str, figures: Mapping[str, Any]) -> str:
    """The figures of one validation set, and IoU by class as bars."""
    plain = ", ".join(
        f"{key} {value:.3f}" if isinstance(value, float) else f"{value} {key}"
        for key, value in figures.items()
        if not isinstance(value, Mapping)
    )
    rows = []
    for label, value in figures.get("IoU", {}).items():
        width = 0 if value is None else round(100 * value, 1)
        number = "undefined" if value is None else f"{value:.3f}"
        rows.append(
            f'<tr><td>{escape(label)}</td><td class="number">{number}</td>'
            f'<td class="bar"><div style="width:{width}%"></div></td></tr>'
        )
    table = f"<table><tr><th>class</th><th>IoU</th><th></th></tr>{''.join(rows)}</table>"
    return f'<h2>On {escape(name)}</h2><p class="soft">{escape(plain)}</p><div class="wide">{table}</div>'


def _validation_pictures(run: RunDirectory, best_step: int) -> list[str]:
    """The first, the best and the last."""
    steps = run.pictures
    wanted = [step for step in dict.fromkeys([*list(steps)[:1], best_step, *list(steps)[-1:]]) if step in steps]
    return [
        picture(steps[step].read_bytes(), f"After {step} steps: photo, truth, answer.")
        for step in sorted(wanted)[:_PICTURES]
    ]


def _choices(run: RunDirectory) -> list[str]:
    """What pixelwise chose, and why, where it did."""
    if not run.choices.is_file():
        return []
    chosen: Sequence[Mapping[str, Any]] = json.loads(run.choices.read_text(encoding="utf-8"))
    rows = [[str(each["key"]), shown(each["value"]), str(each["reason"])] for each in chosen]
    return ["<h2>Why it was set so</h2>", html_table(["setting", "value", "because"], rows)]
