"""A comparison as files: JSON for programs, one HTML page for people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.bootstrap import Interval
from pixelwise.colours import for_display
from pixelwise.compare import CHANCE, Comparison, disputed
from pixelwise.comparison_charts import Point, pareto, pareto_chart
from pixelwise.cost import Cost
from pixelwise.data.sample import Sample
from pixelwise.figures import OVERALL, PER_CLASS, Figures, in_points, overall_keys, percent, rounded
from pixelwise.files import write_text
from pixelwise.labels import ClassTable
from pixelwise.pages import about_line, document, html_table, picture, swatch, unbroken
from pixelwise.sheet import fit_mask, fit_photo, jpeg, labelled_photo, marked_photo

Show = Callable[[str], tuple[Sample, Sequence[NDArray[np.uint8]]]]
"""A photo's id -> the photo with its mask, and each contender's answer, uint8 (H, W), in the dataset's classes."""

_SIDE = 480
_MOST_DISPUTED, _TYPICAL = 6, 3

# Makes of each photo's pictures a viewer with a slider between any two of them; without it they stand side by side.
_SCRIPT = """
for (const layers of document.querySelectorAll(".layers")) {
  const images = [...layers.querySelectorAll("img")], names = images.map(image => image.alt);
  const viewer = document.createElement("div"), stage = document.createElement("div");
  const slider = Object.assign(document.createElement("input"), {type: "range", min: 0, max: 100, value: 50});
  slider.setAttribute("aria-label", "left picture up to here, right one beyond");
  const pictures = ["", "over"].map(kind => Object.assign(document.createElement("img"), {className: kind}));
  const choices = ["left", "right"].map((side, number) => {
    const label = document.createElement("label"), choice = document.createElement("select");
    names.forEach((name, i) => choice.add(new Option(name, i)));
    choice.value = number ? Math.min(2, names.length - 1) : 1;
    label.append(side + ": ", choice);
    return [label, choice];
  });
  const draw = () => {
    pictures.forEach((picture, number) => {
      const image = images[choices[number ? 0 : 1][1].value];
      picture.src = image.src;
      picture.alt = image.alt;
    });
    pictures[1].style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`;
  };
  viewer.className = "viewer";
  stage.className = "stage";
  stage.append(...pictures);
  viewer.append(...choices.map(([label]) => label), slider, stage);
  layers.before(viewer);
  slider.addEventListener("input", draw);
  choices.forEach(([, choice]) => choice.addEventListener("change", draw));
  draw();
}
"""


def write_json(path: Path, comparison: Comparison, costs: Sequence[Cost], about: Mapping[str, str]) -> None:
    """Write all of it as JSON; null is undefined.

    Args:
        path: of the file.
        comparison: what came of it.
        costs: of each contender.
        about: what was compared on what, by name.

    Raises:
        OutputError: the file cannot be written.
    """
    first = comparison.evaluations[0]
    content = {
        "about": dict(about),
        "classes": list(first.classes.names),
        "verdicts": comparison.verdicts(),
        "models": [
            {"name": name, **asdict(cost), "confusion": evaluation.matrix.to_json()}
            for name, cost, evaluation in zip(comparison.names, costs, comparison.evaluations, strict=True)
        ],
        "standings": [
            {
                "name": standing.name,
                "models": [comparison.names[i] for i in standing.members],
                **_figures_json(standing.figures),
            }
            for standing in comparison.standings
        ],
        "pairs": [
            {
                "better": comparison.standings[pair.better].name,
                "worse": comparison.standings[pair.worse].name,
                "told_apart": pair.told_apart,
                "p": pair.chance,
                "p_corrected": pair.corrected,
                "alike": pair.alike,
                **_figures_json(pair.difference),
            }
            for pair in comparison.pairs
        ],
        "photos": [
            {"id": name, "disagreement": None if math.isnan(share) else float(share)}
            for name, share in zip(first.ids, comparison.disagreement, strict=True)
        ],
        "failed": [{"id": name, "reason": reason} for name, reason in first.failed],
    }
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_page(
    path: Path, comparison: Comparison, costs: Sequence[Cost], about: Mapping[str, str], *, show: Show
) -> None:
    """Write the page; it has everything in itself and works without a network, and without scripts.

    Args:
        path: of the HTML file.
        comparison: what came of it.
        costs: of each contender.
        about: what was compared on what, by name; plain text.
        show: gives the photos to draw.

    Raises:
        OutputError: the file cannot be written.
    """
    evaluation = comparison.evaluations[0]
    title = f"{len(comparison.standings)} models on {about['data']}"
    body = [
        f"<h1>{escape(title)}</h1>",
        *_verdicts(comparison),
        about_line({"photos": str(len(evaluation.ids)), **about}),
        *(f'<p class="error">{escape(reason)}</p>' for _, reason in evaluation.failed),
        "<h2>Accuracy and cost</h2>",
        html_table(*_standings(comparison, costs)),
        f'<p class="soft">{escape(_explanation(comparison))}</p>',
        *_speed(comparison, costs),
        "<h2>Every two of them</h2>",
        html_table(*_pairs_table(comparison)),
        '<p class="soft">p: chance of as large a difference in mean IoU, were the answers dealt out at random, photo '
        "by photo; where there are several trainings of a recipe, of as large a one by the draw of photos and "
        "trainings, if that is more. Corrected by Holm for all pairs here. Two models are called different where it is "
        f"below {CHANCE} and the interval excludes 0.</p>",
        *_by_class(comparison),
        *_photos(comparison, show),
        '<p class="soft">Made by pixelwise compare.</p>',
        f"<script>{_SCRIPT}</script>",
    ]
    write_text(path, document(title, body))


def _verdicts(comparison: Comparison) -> list[str]:
    """What can be said of the best and each other, and below, folded away, of all others."""
    of_best, others = comparison.verdicts_of_best(), comparison.verdicts()
    rest = [verdict for verdict in others if verdict not in of_best]
    told = [f'<ul class="verdict note">{_items(of_best)}</ul>']
    if rest:
        told.append(f"<details><summary>The others among each other</summary><ul>{_items(rest)}</ul></details>")
    return told


def _items(sentences: Sequence[str]) -> str:
    return "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)


def _standings(comparison: Comparison, costs: Sequence[Cost]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, a row a standing; the costs are those of its first member."""
    headings = ["model", "mean IoU", "95 % interval", "boundary IoU", "ms", "memory", "size", "parameters"]
    headings += ["multiply-adds", "training"]
    rows = []
    for standing in comparison.standings:
        figures, cost = standing.figures.overall, costs[standing.members[0]]
        rows.append(
            [
                standing.name,
                rounded(figures["mean_iou"].estimate),
                unbroken(figures["mean_iou"]),
                rounded(figures["mean_boundary_iou"].estimate),
                unbroken(cost.latency),
                "unknown" if cost.peak_memory is None else unbroken(f"{cost.peak_memory / 1e6:.0f} MB"),
                unbroken(f"{cost.bytes_on_disk / 1e6:.1f} MB"),
                unbroken(f"{cost.parameters / 1e6:.1f} M"),
                "unknown" if cost.multiply_adds is None else unbroken(f"{cost.multiply_adds / 1e9:.1f} G"),
                unbroken(duration(cost.training_seconds)),
            ]
        )
    return headings, rows


def duration(seconds: float | None) -> str:
    """How long a training took, to read."""
    if seconds is None:
        return "unknown"
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


def _explanation(comparison: Comparison) -> str:
    several = any(len(standing.members) > 1 for standing in comparison.standings)
    means = "the mean of their figures and the costs of the first"
    seeds = f"Several trainings of one recipe count as one model, with {means}. " if several else ""
    return (
        f"{seeds}{comparison.scope()} ms: from a photo's pixels to its mask, median (quartiles), on this machine. "
        "memory: the most that a process has which loads the model and segments one photo. size: of its files. "
        "multiply-adds: for one photo, at the size at which the model sees it."
    )


def points(comparison: Comparison, costs: Sequence[Cost]) -> list[Point]:
    """The standings as the chart has them."""
    found = []
    for standing in comparison.standings:
        latency = costs[standing.members[0]].latency
        accuracy = standing.figures.overall["mean_iou"]
        found.append(Point(standing.name, latency.median, latency.lower, latency.upper, accuracy))
    return found


def _speed(comparison: Comparison, costs: Sequence[Cost]) -> list[str]:
    shown = points(comparison, costs)
    if any(math.isnan(point.accuracy.estimate) for point in shown):
        return []
    front = [shown[i].name for i in pareto(shown)]
    told = f"No other is both faster and better than: {', '.join(front)}."
    return [
        "<h2>Accuracy against speed</h2>",
        f'<div class="wide">{pareto_chart(shown)}</div>',
        f'<p class="soft">{escape(told)} The line joins them; differences that these photos cannot tell are drawn, too.'
        "</p>",
    ]


def _pairs_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    keys = [key for key in overall_keys(comparison.evaluations[0].classes) if key != "mean_iou"]
    shown = ["mean_iou", *(key for key in keys if key in ("foreground_mean_iou", "mean_boundary_iou"))]
    headings = ["better", "worse", *(OVERALL[key][0] for key in shown), "p", "p, corrected", "told apart"]
    rows = [
        [
            comparison.standings[pair.better].name,
            comparison.standings[pair.worse].name,
            *(_change(pair.difference.overall[key]) for key in shown),
            f"{pair.chance:.4f}",
            f"{pair.corrected:.4f}",
            "yes" if pair.told_apart else "no",
        ]
        for pair in comparison.pairs
    ]
    return headings, rows


def _by_class(comparison: Comparison) -> list[str]:
    evaluation = comparison.evaluations[0]
    classes = for_display(evaluation.classes)
    figures = [standing.figures.per_class["iou"] for standing in comparison.standings]
    differences = _to_first(comparison)
    head = "".join(f"<th>{escape(standing.name)}</th>" for standing in comparison.standings)
    rows = []
    for i, (name, colour) in enumerate(zip(classes.names, classes.colours, strict=True)):
        best = max((each[i].estimate for each in figures if not math.isnan(each[i].estimate)), default=math.nan)
        cells = []
        for number, each in enumerate(figures):
            value = rounded(each[i].estimate)
            value = f"<b>{value}</b>" if each[i].estimate == best else value
            change = f'<br><span class="soft">{_change(differences[number][i])}</span>' if number else ""
            cells.append(f"<td>{value}{change}</td>")
        rows.append(f"<tr><td>{swatch(name, colour)}</td>{''.join(cells)}</tr>")
    first = comparison.standings[0].name
    return [
        "<h2>IoU by class</h2>",
        f'<div class="wide"><table><tr><th>class</th>{head}</tr>{"".join(rows)}</table></div>',
        f'<p class="soft">Below each value how many points it lies above {escape(first)}, with its 95 % interval; not '
        "corrected for the number of classes. The greatest value of a class is bold.</p>",
    ]


def _to_first(comparison: Comparison) -> list[tuple[Interval, ...]]:
    """By class, how far each standing's IoU lies above that of the first."""
    first = comparison.standings[0].draws
    return [(standing.draws - first).figures().per_class["iou"] for standing in comparison.standings]


def chosen_photos(comparison: Comparison) -> dict[str, list[int]]:
    """Positions of the photos that are worth a look, by kind; none twice."""
    shares = comparison.disagreement
    order = [int(i) for i in np.argsort(-np.nan_to_num(shares), kind="stable") if not math.isnan(shares[i])]
    disputed_most, rest = order[:_MOST_DISPUTED], order[_MOST_DISPUTED:]
    first = max(0, (len(rest) - _TYPICAL) // 2)
    return {"Where they disagree most": disputed_most, "Typical photos": rest[first : first + _TYPICAL]}


def _photos(comparison: Comparison, show: Show) -> list[str]:
    evaluation = comparison.evaluations[0]
    classes = for_display(evaluation.classes)
    body = []
    for kind, positions in chosen_photos(comparison).items():
        if positions:
            body.append(f"<h2>{kind}</h2>")
        for i in positions:
            sample, answers = show(evaluation.ids[i])
            pictures = _layers(sample, answers, comparison, classes, i)
            caption = (
                f"{evaluation.ids[i]}: they differ on {percent(comparison.disagreement[i])} of the labelled pixels."
            )
            body += [f"<p>{escape(caption)}</p>", f'<div class="layers">{"".join(pictures)}</div>']
    return body


def _layers(
    sample: Sample, answers: Sequence[NDArray[np.uint8]], comparison: Comparison, classes: ClassTable, position: int
) -> list[str]:
    """The photo, the ground truth, each answer, and where the answers differ."""
    photo, truth = fit_photo(sample.image, _SIDE), fit_mask(sample.mask, _SIDE)
    small = [fit_mask(answer, _SIDE) for answer in answers]
    layers = [("photo", photo), ("ground truth", labelled_photo(photo, truth, classes))]
    for name, answer, evaluation in zip(comparison.names, small, comparison.evaluations, strict=True):
        text = f"{name}: {rounded(float(evaluation.counts.image_ious[position]))}"
        layers.append((text, labelled_photo(photo, answer, classes)))
    apart = disputed(small) & (truth != classes.ignore_index)
    layers.append(("where they differ", marked_photo(photo, truth, apart, classes)))
    return [picture(jpeg(pixels), name) for name, pixels in layers]


def _change(value: Interval) -> str:
    """A difference in points with its interval."""
    if math.isnan(value.estimate):
        return "undefined"
    texts = [in_points(each) for each in (value.estimate, *value.reach)]
    estimate, low, high = (text if text == "0.0" or text[0] == "\N{MINUS SIGN}" else f"+{text}" for text in texts)
    return unbroken(f"{estimate} ({low} to {high})" if value.is_known else estimate)


def _figures_json(figures: Figures) -> dict[str, object]:
    return {
        "figures": {key: figures.overall[key].to_json() for key in OVERALL},
        "figures_per_class": {key: [value.to_json() for value in figures.per_class[key]] for key in PER_CLASS},
    }
