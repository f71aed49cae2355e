"""An audit as one HTML page to click through, which needs nothing beside itself, nor JavaScript to be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.audit import DOUBT, Audit, AuditedPhoto, Opinion, told
from pixelwise.colours import for_display
from pixelwise.data.sample import Sample
from pixelwise.figures import percent, photos, rounded
from pixelwise.files import write_text
from pixelwise.labels import ClassTable
from pixelwise.pages import about_line, data_uri, document, picture, shortened, swatch
from pixelwise.sheet import fit_mask, fit_photo, jpeg, labelled_photo, marked_photo

Show = Callable[[str], tuple[Sample, Opinion]]
"""A photo's id -> the photo with its mask, and what the model thinks of it."""

_SIDE, _THUMBNAIL = 512, 96  # longer sides, in pixels
_QUALITY = 80
_SWAPS = 3  # of a photo or a class, in words

_HOW = (
    "A score is from 0 to 1; the lower, the more probably the mask is wrong. Red: pixels whose labelled class the "
    f"model gives less than {100 * DOUBT:.0f} %. Look before you correct: it may be the model that is wrong."
)

_STYLE = """
nav { display: flex; gap: .5rem; overflow-x: auto; padding: .3rem 0 .6rem; }
nav a { flex: none; width: 6rem; padding: .3rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--card); font-size: .75rem; text-decoration: none; overflow-wrap: anywhere; }
nav a[aria-current] { outline: 2px solid var(--note); outline-offset: -1px; }
nav img { display: block; width: 100%; height: 4.5rem; object-fit: contain; }
.steps { position: sticky; top: 0; z-index: 1; display: flex; gap: .8rem; align-items: center; padding: .5rem 0;
  background: var(--paper); white-space: nowrap; }
.steps[hidden] { display: none; }
@media (max-width: 30rem) { .steps .soft { display: none; } }
section { scroll-margin-top: 4rem; }
button { font: inherit; color: inherit; padding: .4rem 1rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--card); cursor: pointer; } button:disabled { opacity: .4; cursor: default; }
h3 { font-size: 1.05rem; margin: 1.2rem 0 .2rem; overflow-wrap: anywhere; }
.four { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: .8rem;
  margin: .6rem 0; }
.four img { width: 100%; }
.one section { display: none; } .one section.now { display: block; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
"""

# The page is whole without it: it shows one photo in place of all.
_SCRIPT = """
(() => {
  const photos = [...document.querySelectorAll("section")], links = [...document.querySelectorAll("nav a")];
  const steps = document.querySelector(".steps"), [before, after] = steps.querySelectorAll("button");
  let now = 0;
  const show = (number) => {
    now = Math.max(0, Math.min(photos.length - 1, number));
    photos.forEach((photo, i) => photo.classList.toggle("now", i === now));
    links.forEach((link, i) => i === now ? link.setAttribute("aria-current", "true")
                                         : link.removeAttribute("aria-current"));
    const strip = links[now].parentElement;
    strip.scrollLeft = links[now].offsetLeft - strip.offsetLeft - (strip.clientWidth - links[now].offsetWidth) / 2;
    steps.querySelector("span").textContent = `${now + 1} of ${photos.length}`;
    before.disabled = now === 0;
    after.disabled = now === photos.length - 1;
  };
  const addressed = () => photos.findIndex((photo) => `#${photo.id}` === location.hash);
  before.onclick = () => show(now - 1);
  after.onclick = () => show(now + 1);
  links.forEach((link, i) => { link.onclick = (event) => { event.preventDefault(); show(i); }; });
  addEventListener("hashchange", () => addressed() >= 0 && show(addressed()));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (event.key === "ArrowLeft") show(now - 1);
    else if (event.key === "ArrowRight") show(now + 1);
    else return;
    event.preventDefault();
  });
  document.body.classList.add("one");
  steps.hidden = false;
  show(addressed());
})();
"""


def write_page(path: Path, audit: Audit, about: Mapping[str, str], *, show: Show, top: int) -> None:
    """Write the page; it has everything in itself and works without a network.

    Args:
        path: of the HTML file.
        audit: what was found.
        about: what was audited by what, by name; plain text.
        show: gives the photos to draw.
        top: so many photos at most, the worst.

    Raises:
        OutputError: the file cannot be written.
        PixelwiseError: what `show` raises.
    """
    classes = for_display(audit.classes)
    shown = audit.photos[:top]
    links, sections = [], []
    for rank, photo in enumerate(shown, start=1):
        sample, opinion = show(photo.id)
        links.append(_link(rank, photo, sample.image))
        sections.append(_section(rank, photo, sample, opinion, classes))
    rest = len(audit.photos) - len(shown)
    body = [
        f"<h1>{escape(about['data'])}: masks to look at</h1>",
        f'<p class="verdict note">{_verdict(audit)}</p>',
        about_line(about),
        *_left_out(audit),
        "<h2>Photos, the worst first</h2>",
        f'<p class="soft">{_HOW}</p>',
        f"<nav>{''.join(links)}</nav>",
        '<div class="steps" hidden><button type="button">← previous</button><span></span>'
        '<button type="button">next →</button><span class="soft">or the arrow keys</span></div>',
        *sections,
        f'<p class="soft">What --save and --csv write has {rest} more.</p>' if rest else "",
        _legend(classes, audit),
        *_by_class(audit, classes),
        '<p class="soft">Scores: cleanlab, after Lad and Mueller 2023, arXiv:2307.05080. Made by pixelwise audit.</p>',
        f"<script>{_SCRIPT}</script>",
    ]
    write_text(path, document(f"{about['data']}: audit", body, style=_STYLE))


def _verdict(audit: Audit) -> str:
    pixels = percent(audit.doubted.sum() / audit.labelled.sum())
    among = sum(photo.doubted > 0 for photo in audit.photos)
    return f"The model doubts {pixels} of the labelled pixels, in {among} of {photos(len(audit.photos))}."


def _link(rank: int, photo: AuditedPhoto, pixels: NDArray[np.uint8]) -> str:
    name = escape(photo.id)
    small = data_uri(jpeg(fit_photo(pixels, side=_THUMBNAIL), quality=_QUALITY))
    text = f"{rank}. {escape(shortened(photo.id, 24))}"
    return f'<a href="#photo-{rank}" title="{name}"><img alt="" src="{small}">{text}</a>'


def _section(rank: int, photo: AuditedPhoto, sample: Sample, opinion: Opinion, classes: ClassTable) -> str:
    pixels, mask = fit_photo(sample.image, side=_SIDE), fit_mask(sample.mask, side=_SIDE)
    doubtful = fit_mask(opinion.doubtful.astype(np.uint8), side=_SIDE).astype(np.bool_)
    pictures = {
        "photo": pixels,
        "as labelled": labelled_photo(pixels, mask, classes),
        "the model's answer": labelled_photo(pixels, fit_mask(opinion.answer, side=_SIDE), classes),
        "doubtful pixels": marked_photo(pixels, mask, doubtful, classes),
    }
    words = "; ".join(told(swap, photo.labelled, classes) for swap in photo.swaps[:_SWAPS])
    figures = "".join(picture(jpeg(drawn, quality=_QUALITY), caption) for caption, drawn in pictures.items())
    told_all = f"Score {rounded(photo.score)}, {percent(photo.doubted_share)} of the labelled pixels doubted"
    sentence = f"{told_all}: {words}." if words else f"{told_all}."
    unbroken = escape(sentence.replace(" %", "\N{NO-BREAK SPACE}%"))
    return (
        f'<section id="photo-{rank}"><h3>{rank}. {escape(photo.id)}</h3><p>{unbroken}</p>'
        f'<div class="four">{figures}</div></section>'
    )


def _legend(classes: ClassTable, audit: Audit) -> str:
    """The classes that are labelled or likely anywhere."""
    there = audit.labelled + audit.doubted.sum(axis=0)
    names = zip(classes.names, classes.colours, there, strict=True)
    items = "".join(f"<span>{swatch(name, colour)}</span>" for name, colour, pixels in names if pixels)
    return f'<p class="legend">{items}<span class="soft">hatched: not labelled</span></p>'


def _by_class(audit: Audit, classes: ClassTable) -> list[str]:
    rows = []
    for row in audit.by_class():
        share = row.doubted / row.labelled
        likely = ", ".join(
            f"{escape(classes.names[swap.suggested])} {percent(swap.pixels / row.labelled)}"
            for swap in row.swaps[:_SWAPS]
        )
        rows.append(
            f"<tr><td>{swatch(classes.names[row.id], classes.colours[row.id])}</td>"
            f'<td class="number">{percent(row.labelled / audit.labelled.sum())}</td>'
            f'<td class="number">{percent(share)}</td><td>{likely}</td></tr>'
        )
    head = "<tr><th>class</th><th>of the pixels</th><th>doubted</th><th>probably</th></tr>"
    return [
        "<h2>By class</h2>",
        '<p class="soft">Doubted: of the pixels labelled so. Probably: what the model takes these for.</p>',
        f'<div class="wide"><table>{head}{"".join(rows)}</table></div>',
    ]


def _left_out(audit: Audit) -> list[str]:
    body = []
    if audit.failed:
        items = "".join(f"<li>{escape(reason)}</li>" for _, reason in audit.failed)
        body += [f'<p class="error">{photos(len(audit.failed))} could not be audited:</p>', f"<ul>{items}</ul>"]
    if audit.unscored:
        items = "".join(f"<li>{escape(name)}</li>" for name in audit.unscored)
        count = f"{photos(len(audit.unscored))} without a labelled pixel, and so without a score"
        body.append(f"<details><summary>{count}</summary><ul>{items}</ul></details>")
    return body
