"""What the command line prints of an audit."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from pixelwise.audit import Audit, told
from pixelwise.figures import percent, photos, rounded
from pixelwise.terminal import console, print_failures

_WORST = 10


def print_audit(audit: Audit) -> None:
    """Print the classes that are doubted most, the worst photos, and what could not be audited."""
    out, err = console(), console(stderr=True)
    out.print(_classes(audit))
    out.print(_photos(audit))
    if audit.unscored:
        out.print(f"{photos(len(audit.unscored))} without a labelled pixel, and so without a score.", soft_wrap=True)
    print_failures(err, audit.failed, len(audit.unscored) + len(audit.photos), "audited")


def _classes(audit: Audit) -> Table:
    table = Table(title="Classes, the most doubted first", title_justify="left", title_style="bold")
    table.add_column("class")
    table.add_column("doubted", justify="right")
    table.add_column("probably", overflow="fold")
    for row in audit.by_class():
        likely = ", ".join(
            f"{audit.classes.names[swap.suggested]} {percent(swap.pixels / row.labelled)}" for swap in row.swaps[:2]
        )
        table.add_row(Text(audit.classes.names[row.id]), percent(row.doubted / row.labelled), Text(likely))
    return table


def _photos(audit: Audit) -> Table:
    title = f"The worst of {photos(len(audit.photos))}"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("photo", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("doubted", justify="right")
    table.add_column("most of it", overflow="fold")
    for photo in audit.photos[:_WORST]:
        most = told(photo.swaps[0], photo.labelled, audit.classes) if photo.swaps else ""
        table.add_row(Text(photo.id), rounded(photo.score), percent(photo.doubted_share), Text(most))
    return table
