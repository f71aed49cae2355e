"""The picture of a training run: loss and validation score over the steps."""

from __future__ import annotations

import json
from pathlib import Path

from pixelwise.files import replacing


def draw_curves(log: Path, picture: Path) -> None:
    """Draw `log.jsonl` as a PNG.

    Args:
        log: one JSON object a line, with `step`, `loss` and sometimes `val_miou`; of a step that was run twice, because
            the run was killed and went on from a checkpoint, the later entry counts.
        picture: replaced atomically.
    """
    from matplotlib.figure import Figure

    entries = {entry["step"]: entry for entry in map(json.loads, log.read_text().splitlines())}
    steps = sorted(entries)
    validated = [step for step in steps if "val_miou" in entries[step]]
    figure = Figure(figsize=(8, 4), layout="constrained")
    loss_axes = figure.subplots()
    loss_axes.plot(steps, [entries[step]["loss"] for step in steps], color="#9aa5b1", label="training loss")
    loss_axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    score_axes = loss_axes.twinx()
    scores = [entries[step]["val_miou"] for step in validated]
    score_axes.plot(validated, scores, "o-", color="#d95f02", label="validation mean IoU")
    score_axes.set(ylabel="mean IoU", ylim=(0, 1))
    figure.legend(loc="outside upper center", ncols=2)
    with replacing(picture) as temporary:
        figure.savefig(temporary, dpi=120)
