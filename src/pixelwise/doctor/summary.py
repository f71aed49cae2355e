"""What the command line prints of a diagnosis; 80 columns are enough."""

from __future__ import annotations

import json
from pathlib import Path

from rich.table import Table
from rich.text import Text

from pixelwise.colours import for_display
from pixelwise.data.advice import counted
from pixelwise.doctor.charts import percent
from pixelwise.doctor.examination import Diagnosis
from pixelwise.doctor.repair import CHANGES, Repair, check_copy
from pixelwise.doctor.survey import SplitFacts
from pixelwise.errors import OutputError
from pixelwise.files import is_there, write_atomically
from pixelwise.terminal import console

_STYLES = {"error": "bold red", "warning": "yellow", "note": "blue"}
_BAR = 12
_SPLITS_SHOWN = 3
_CHANGES_SHOWN = 20


def print_diagnosis(diagnosis: Diagnosis, *, root: Path, layout: str) -> None:
    """Print what a dataset holds, what is wrong with it, a kind of finding a line, and whether training may start."""
    out = console()
    out.print(Text(f"{root}, layout {layout}", style="bold"), soft_wrap=True)
    for split in diagnosis.splits:
        out.print(f"  {split.name}: {len(split.pairs)} pairs{_sizes(split)}", soft_wrap=True)
    for sentence in diagnosis.understood:
        out.print(f"  {sentence}", soft_wrap=True)
    out.print(_classes(diagnosis.splits))
    if diagnosis.findings:
        out.print(_findings(diagnosis, root))
    out.print(Text(diagnosis.verdict, style="bold red" if diagnosis.of("error") else "bold green"), soft_wrap=True)


def save_diagnosis(path: Path, diagnosis: Diagnosis) -> None:
    """Write every finding as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomically(path, (json.dumps(diagnosis.to_json(), indent=2) + "\n").encode())


def check_outputs(html: Path | None, json_file: Path | None, fix: Path | None, *, root: Path, force: bool) -> None:
    """See that what is asked for can be written, before an hour of work.

    Raises:
        OutputError: a file is there already and `force` is off, its directory is not, two are the same, one is inside
            of the copy, or the copy cannot be made there.
    """
    for path in filter(None, (html, json_file)):
        if is_there(path) and (path.is_dir() or not force):
            raise OutputError(f"{path} exists already; choose another file, or give --force.")
        if not path.parent.is_dir():
            raise OutputError(f"There is no directory {path.parent} to write {path.name} to.")
        if fix is not None and path.resolve().is_relative_to(fix.resolve()):
            raise OutputError(f"{path} is inside of {fix}, which the repaired copy is to fill; write it elsewhere.")
    if html is not None and html == json_file:
        raise OutputError(f"{html} is to be written twice; give each its own name.")
    if fix is not None:
        check_copy(fix, root)


def print_repair(repaired: Repair, *, out: Path) -> None:
    """Print what was changed in a copy: every line where there are few, else the first, and where the rest is."""
    to = console()
    for change in repaired.changes[:_CHANGES_SHOWN]:
        to.print(f"  {change}", soft_wrap=True)
    if len(repaired.changes) > _CHANGES_SHOWN:
        to.print(f"  and {len(repaired.changes) - _CHANGES_SHOWN} more: {out / CHANGES}", soft_wrap=True)
    to.print(f"{counted(repaired.kept, 'pair')}, {counted(len(repaired.changes), 'change')} -> {out}", soft_wrap=True)


def _sizes(split: SplitFacts) -> str:
    sizes = sorted((photo.size for _, photo in split.photos), key=lambda size: size[0] * size[1])
    if not sizes:
        return ""
    small, large = ("{1}x{0}".format(*size) for size in (sizes[0], sizes[-1]))
    return f", {small} pixels" if small == large else f", {small} to {large} pixels"


def _classes(splits: tuple[SplitFacts, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=22)
    shown = splits[:_SPLITS_SHOWN]
    table.add_column("", no_wrap=True, min_width=_BAR)
    for split in shown:
        table.add_column(f"{split.name}\npixels", justify="right", no_wrap=True)
        table.add_column("\nphotos", justify="right", no_wrap=True)
    highest = float(shown[0].shares.max()) or 1.0
    for index, (name, colour) in enumerate(
        zip(splits[0].classes.names, for_display(splits[0].classes).colours, strict=True)
    ):
        length = (float(shown[0].shares[index]) / highest) ** 0.5 * _BAR
        cells = [
            cell
            for split in shown
            for cell in (percent(float(split.shares[index])), str(int(split.photos_with[index])))
        ]
        swatch = Text.assemble(("██ ", "rgb({},{},{})".format(*colour)), name)
        table.add_row(swatch, "▇" * max(round(length), int(length > 0)), *cells)
    return table


def _findings(diagnosis: Diagnosis, root: Path) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 1, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for first, *others in diagnosis.groups():
        more = f" ({len(others)} more)" if others else ""
        count = f" ({1 + len(others)})\n"
        text = Text.assemble((first.kind.title, "bold"), count, f"{first.sentence_in(root)}{more}")
        table.add_row(Text(first.severity, style=_STYLES[first.severity]), text)
    return table
