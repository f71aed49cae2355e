"""What is published about every registered architecture: the page, the drawings, and the table that is shipped.

`make docs`, or `python -m pixelwise.describe.handbook` from the root of a checkout, writes all of it anew.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill

from pixelwise.describe import CONVENTION, Description, describe
from pixelwise.describe.diagram import draw_diagram
from pixelwise.files import write_atomically
from pixelwise.models import names

TABLE = Path("src/pixelwise/architectures.json")
PAGE = Path("docs/architectures.md")
PICTURES = Path("docs/images/architectures")

_HEAD = """# Architectures

<!-- Written by `make docs` from the registry and from the networks themselves; edit src/pixelwise/models instead. -->

A network turns a photo, three numbers a pixel (red, green, blue), into scores, a number for each class and pixel; the
class with the highest score is the answer. On the way it makes *feature maps*: pictures with fewer pixels but many
*channels*, each of which stands for something that the network learned to look for. A *convolution* computes each place
of a map from its neighbourhood in the map before; *pooling* makes a map smaller, *upsampling* larger.

In the drawings a slab is a feature map: the higher, the finer, and the thicker, the more channels (written above it).
Neither is to scale, or the coarse maps could not be seen. *Output stride* says how coarse the coarsest map is: at 32,
one of its places stands for 32 x 32 pixels. The *receptive field* is the square of pixels that such a place sees
through the windows of convolutions and pooling; what is computed from means over the whole photo sees that as well.

`pixelwise describe NAME --diagram NAME.svg` makes any of these drawings, for any arguments and size of photo.

{table}

{conditions}
"""

_CONDITIONS = (
    "All for a photo of {height} x {width} pixels and {num_classes} classes. {convention} Activations are the bytes of "
    "every feature map that convolutions, poolings, upsamplings and concatenations put out, in 32-bit numbers."
)


def descriptions() -> list[Description]:
    """All architectures as they are by default."""
    return [describe(name) for name in names()]


def table(described: list[Description]) -> str:
    """The text of `architectures.json`: what `pixelwise models` prints without torch."""
    entries = [
        {
            "name": description.entry.name,
            "family": description.entry.family,
            "encoder": description.entry.encoder,
            "summary": description.entry.summary,
            "strengths": description.entry.strengths,
            "limits": description.entry.limits,
            "paper": asdict(description.entry.paper),
            "weights": {kind: asdict(weights) for kind, weights in description.entry.weights.items()},
            "parameters": description.parameters,
            "multiply_adds": description.multiply_adds,
            "output_stride": description.output_stride,
            "receptive_field": description.receptive_field,
            "whole_photo": description.whole_photo,
        }
        for description in described
    ]
    first = described[0]
    whole = {
        "convention": CONVENTION,
        "num_classes": first.num_classes,
        "size": list(first.size),
        "architectures": entries,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def page(described: list[Description]) -> str:
    """The text of `docs/architectures.md`."""
    headings = "name", "encoder", "parameters", "multiply-adds", "activations", "output stride", "receptive field"
    rows = [
        (
            f"[{description.entry.name}](#{description.entry.name})",
            description.encoder,
            _millions(description.parameters),
            f"{description.multiply_adds / 1e9:.1f} G",
            f"{description.activation_bytes / 2**20:.0f} MiB",
            str(description.output_stride),
            _field(description),
        )
        for description in described
    ]
    first = described[0]
    height, width = first.size
    conditions = _CONDITIONS.format(height=height, width=width, num_classes=first.num_classes, convention=CONVENTION)
    head = _HEAD.format(table=_markdown(headings, rows, left=2), conditions=fill(conditions, 120))
    return "\n".join([head, *(_section(description) for description in described)])


def _section(description: Description) -> str:
    entry, paper = description.entry, description.entry.paper
    weights = [f"`{kind}`, {there.library}'s {there.name} ({there.licence})" for kind, there in entry.weights.items()]
    parts = [
        f"## {entry.name}",
        entry.summary,
        f"![{entry.name}: {entry.summary}]({PICTURES.relative_to('docs')}/{entry.name}.svg)",
        fill(entry.explanation, 120),
        f"- **Strengths**: {entry.strengths}\n- **Limits**: {entry.limits}\n"
        f"- **Paper**: {paper.authors}, *{paper.title}*, {paper.venue}, "
        f"[arXiv:{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv}), {paper.figure}\n"
        f"- **Pretrained weights**: {'; '.join(weights) or 'none'}",
        _departures(description),
        f"<details><summary>Stage by stage</summary>\n\n{_stages(description)}\n\n</details>",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _departures(description: Description) -> str:
    """What the head of the model's file says of where it departs, from its first paragraph that starts so."""
    module = inspect.getmodule(description.entry.factory)
    head = inspect.cleandoc((module.__doc__ if module else None) or "")
    _, found, rest = head.partition("\n\nDeparts")
    if not found:
        return ""
    return f"<details><summary>Where it departs from the paper</summary>\n\nDeparts{rest}\n\n</details>"


def _stages(description: Description) -> str:
    headings = "stage", "layers", "output (C, H, W)", "stride", "parameters", "multiply-adds", "activations"
    rows = []
    for stage in description.stages:
        rows.append(
            (
                stage.name,
                "; ".join([*stage.layers, *stage.rate_lines]),
                f"{stage.channels}, {stage.height}, {stage.width}",
                f"{stage.stride:g}",
                f"{stage.parameters:,}" if stage.parameters else "",
                f"{stage.multiply_adds / 1e6:,.1f} M" if stage.multiply_adds else "",
                f"{stage.activation_bytes / 2**20:.1f} MiB" if stage.activation_bytes else "",
            )
        )
    return _markdown(headings, rows, left=2)


def _millions(number: int) -> str:
    return f"{number / 1e6:.1f} M"


def _field(description: Description) -> str:
    return f"{description.receptive_field}{' and the whole photo' if description.whole_photo else ''}"


def _markdown(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, left: int) -> str:
    """A table whose first columns are aligned to the left, the others to the right."""
    rule = ["---" if place < left else "---:" for place in range(len(headings))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rule, *rows))


def main(root: Path) -> None:
    """Write everything below the root of a checkout."""
    described = descriptions()
    write_atomically(root / TABLE, table(described).encode())
    write_atomically(root / PAGE, page(described).encode())
    (root / PICTURES).mkdir(parents=True, exist_ok=True)
    for description in described:
        draw_diagram(description, root / PICTURES / f"{description.entry.name}.svg")


if __name__ == "__main__":
    main(Path())
