"""What is published about every registered architecture: the page, the drawings, and the table that is shipped.

`make docs`, or `python -m pixelwise.handbook` from the root of a checkout, writes all of it anew.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pixelwise.describe import CONVENTION, Description, describe
from pixelwise.files import write_atomically
from pixelwise.models import names

TABLE = Path("src/pixelwise/architectures.json")


def table(descriptions: list[Description]) -> str:
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
        for description in descriptions
    ]
    first = descriptions[0]
    whole = {
        "convention": CONVENTION,
        "num_classes": first.num_classes,
        "size": list(first.size),
        "architectures": entries,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def main(root: Path) -> None:
    """Write everything below the root of a checkout."""
    descriptions = [describe(name) for name in names()]
    write_atomically(root / TABLE, table(descriptions).encode())


if __name__ == "__main__":
    main(Path())
