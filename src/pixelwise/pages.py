"""What the HTML pages share: one file each, nothing fetched, readable in light and dark."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2027; --soft: #5c6570; --paper: #fff; --line: #d5dae0; --card: #f5f7f9;
  --error: #c0262d; --warning: #a35c00; --note: #2f6db3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --soft: #9aa4b0; --paper: #14171b; --line: #363d46;
  --card: #1d2228; --error: #ff7b7f; --warning: #f0ae4d; --note: #7db4f0; } }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .3rem; }
p { margin: .3rem 0; overflow-wrap: anywhere; } .soft { color: var(--soft); }
.verdict { font-size: 1.15rem; font-weight: 600; }
.error { color: var(--error); } .warning { color: var(--warning); } .note { color: var(--note); }
ul { padding-left: 1.2rem; } li { overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; margin: .8rem 0; }
figure { margin: 0; padding: .7rem; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
figure img { max-width: 100%; display: block; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; margin-top: .5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .25rem .9rem .25rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); } td.number { text-align: right; font-variant-numeric: tabular-nums; }
td.bar { min-width: 12rem; } td.bar div { height: .8rem; background: var(--note); border-radius: 2px; }
td.bar i { display: block; height: 2px; margin-top: -.45rem; margin-bottom: .35rem; background: var(--ink); }
.swatch { display: inline-block; width: .8rem; height: .8rem; border-radius: 3px; margin-right: .5rem; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .7rem; overflow-x: auto; }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
svg .soft { fill: var(--soft); }
svg .strong { font-weight: 600; } svg .bar { stroke: var(--soft); stroke-width: .5; }
svg .frame { fill: none; stroke: var(--line); }
svg .whisker { stroke: var(--soft); stroke-width: 1.5; }
svg .front { fill: none; stroke: var(--note); stroke-width: 1.5; stroke-dasharray: 5 4; }
svg .heat { fill: var(--note); stroke: var(--line); stroke-width: .5; } svg .on { fill: var(--paper); }
a { color: inherit; }
.layers { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(14rem, 46%), 1fr)); gap: .6rem; }
.viewer { margin: .6rem 0; max-width: 45rem; } .viewer .stage { position: relative; }
.viewer img { display: block; width: 100%; } .viewer .over { position: absolute; inset: 0; }
.viewer input { width: 100%; margin: .5rem 0; }
.viewer label { margin-right: 1rem; font-size: .9rem; white-space: nowrap; } .viewer select { max-width: 70vw; }
"""


def document(title: str, body: Sequence[str], *, style: str = "") -> str:
    """A whole page.

    Args:
        title: plain text.
        body: pieces of HTML, what came from outside escaped in them.
        style: further rules of CSS, for what only this page has.
    """
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    start = f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}{style}</style></head>\n<body>'
    return "\n".join([start, *body, "</body></html>\n"])


def data_uri(data: bytes, *, kind: str = "jpeg") -> str:
    """A picture as the source of an `img`, so that the page needs no file beside itself."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; its cells are plain text and get escaped."""
    head = "".join(f"<th>{escape(each)}</th>" for each in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def about_line(about: Mapping[str, str]) -> str:
    """What was measured on what, by name, plain text, as the line below a page's verdict."""
    return f'<p class="soft">{escape(", ".join(f"{key}: {value}" for key, value in about.items()))}</p>'


def swatch(name: str, colour: tuple[int, int, int]) -> str:
    """A class's colour beside its name, plain text."""
    return f'<span class="swatch" style="background:rgb{colour}"></span>{escape(name)}'


def unbroken(text: object) -> str:
    """As text that stays on one line."""
    return str(text).replace(" ", "\N{NO-BREAK SPACE}")


def shortened(name: str, most: int) -> str:
    """A name of at most so many letters; what is cut off is an ellipsis."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def picture(data: bytes, caption: str, *, kind: str = "jpeg") -> str:
    """A picture with its caption, plain text, below it."""
    source, text = data_uri(data, kind=kind), escape(caption)
    return f'<figure><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'


def svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    """A drawing of so many pixels; its parts are SVG, what came from outside escaped in them."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{title}">'
        f"{''.join(parts)}</svg>"
    )


def svg_text(x: float, y: float, text: str, style: str, anchor: str = "start", title: str = "") -> str:
    """A line of plain text in a drawing: its place, a class of the page's style, and what to show under the pointer."""
    full = f"<title>{escape(title)}</title>" if title else ""
    return f'<text x="{x:.1f}" y="{y}" class="{style}" text-anchor="{anchor}">{full}{escape(text)}</text>'
