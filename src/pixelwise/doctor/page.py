"""The doctor's findings as one HTML page with pictures, which needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from pixelwise.data.pairs import Pairs
from pixelwise.doctor.charts import class_chart, size_chart
from pixelwise.doctor.examination import Diagnosis
from pixelwise.doctor.findings import SEVERITIES, Finding
from pixelwise.doctor.pictures import picture
from pixelwise.files import write_text
from pixelwise.pages import data_uri, document

_PICTURES = 12
_LISTED = 200


def write_page(path: Path, diagnosis: Diagnosis, datasets: Sequence[Pairs], *, root: Path) -> None:
    """Write the page.

    Args:
        path: where to.
        diagnosis: what was found.
        datasets: those that were examined, to take pictures from.
        root: of the dataset, for the title and to shorten paths.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, page(diagnosis, datasets, root=root))


def page(diagnosis: Diagnosis, datasets: Sequence[Pairs], *, root: Path) -> str:
    """The page as text; see `write_page`."""
    groups = diagnosis.groups()
    style = "error" if diagnosis.of("error") else "note"
    counts = ", ".join(f"{split.name} {len(split.pairs)}" for split in diagnosis.splits)
    summary = ", ".join(_counted(len(diagnosis.of(severity)), severity) for severity in SEVERITIES)
    body = [
        f"<h1>{escape(str(root))}</h1>",
        f'<p class="verdict {style}">{escape(diagnosis.verdict)}</p>',
        f'<p class="soft">Pairs: {escape(counts)}. {summary}.</p>',
        *(f'<p class="soft">{escape(sentence)}</p>' for sentence in diagnosis.understood),
        "<ul>",
        *(
            f'<li><a href="#{first.severity}-{first.kind.name}">{_heading(first)} ({1 + len(others)})</a></li>'
            for first, *others in groups
        ),
        "</ul>",
        *(_section(findings, datasets, root) for findings in groups),
        '<h2 id="classes">Classes</h2>',
        '<p class="soft">Share of the labelled pixels; the length of a bar is its square root.</p>',
        f'<div class="wide">{class_chart(diagnosis.splits)}</div>',
        '<h2 id="sizes">Sizes of the photos</h2>',
        f'<div class="wide">{size_chart(diagnosis.splits)}</div>',
        '<p class="soft">Made by pixelwise doctor.</p>',
    ]
    return document(str(root), body)


def _section(findings: Sequence[Finding], datasets: Sequence[Pairs], root: Path) -> str:
    """Findings of one kind and severity: pictures of the first, a list of the rest."""
    first = findings[0]
    cards: list[str] = []
    rest: list[str] = []
    for finding in findings:
        shown = picture(datasets, finding.places[:2]) if len(cards) < _PICTURES else None
        if shown is None:
            rest.append(f"<li>{escape(finding.sentence_in(root))}</li>")
            continue
        alt = escape(finding.kind.title, quote=True)
        image = f'<img alt="{alt}" src="{data_uri(shown)}">'
        cards.append(f"<figure>{image}<figcaption>{escape(finding.sentence_in(root))}</figcaption></figure>")
    more = f"<p>and {len(rest) - _LISTED} more.</p>" if len(rest) > _LISTED else ""
    listed = f"<details{'' if cards else ' open'}><summary>{len(rest)} {'more' if cards else 'in all'}</summary>"
    return "\n".join(
        [
            f'<h2 id="{first.severity}-{first.kind.name}">{_heading(first)} ({len(findings)})</h2>',
            f'<p class="soft">{escape(first.kind.cost)}</p>',
            f'<div class="cards">{"".join(cards)}</div>' if cards else "",
            f"{listed}<ul>{''.join(rest[:_LISTED])}</ul>{more}</details>" if rest else "",
        ]
    )


def _heading(finding: Finding) -> str:
    return f'<span class="{finding.severity}">{finding.severity}</span>: {escape(finding.kind.title)}'


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
