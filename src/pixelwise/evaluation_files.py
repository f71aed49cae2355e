"""An evaluation as files: JSON and CSV for programs, one HTML page for people."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.bootstrap import Interval
from pixelwise.colours import for_display
from pixelwise.confusion import ratio
from pixelwise.conventions import conventions
from pixelwise.data.sample import Sample
from pixelwise.evaluate import Evaluation
from pixelwise.evaluation_charts import confusion_chart, reliability_chart
from pixelwise.figures import FEW_PHOTOS, OVERALL, PER_CLASS, Figures, overall_keys, photos, rounded
from pixelwise.files import write_text
from pixelwise.pages import about_line, document, html_table, picture, swatch, unbroken
from pixelwise.sheet import comparison_sheet, jpeg

Show = Callable[[str], tuple[Sample, NDArray[np.uint8]]]
"""A photo's id -> the photo with its mask, and the answer, uint8 (H, W), in the dataset's classes."""

_OF_A_KIND = 3  # best, typical and worst photos on the page


def write_json(
    path: Path,
    evaluation: Evaluation,
    figures: Figures,
    about: Mapping[str, str],
    *,
    subset: Mapping[str, Interval] | None = None,
) -> None:
    """Write all of it as JSON; null is undefined.

    Args:
        path: of the file.
        evaluation: what was counted.
        figures: of it.
        about: what was measured on what, by name.
        subset: further means over some of the classes, by what to call them.

    Raises:
        OutputError: the file cannot be written.
    """
    accuracy = _photo_accuracies(evaluation)
    content = {
        "about": dict(about),
        **evaluation.scores.to_json(evaluation.classes),
        "classes": list(evaluation.classes.names),
        "figures": {key: value.to_json() for key, value in figures.overall.items()},
        "figures_per_class": {key: [value.to_json() for value in values] for key, values in figures.per_class.items()},
        "confusion": evaluation.matrix.to_json(),
        "conventions": [
            {**asdict(each), "mean_iou": _number(each.mean_iou)} for each in conventions(evaluation.matrix.counts)
        ],
        "photos": [
            {"id": name, "mean_iou": _number(iou), "pixel_accuracy": _number(share)}
            for name, iou, share in zip(evaluation.ids, evaluation.counts.image_ious, accuracy, strict=True)
        ],
        "failed": [{"id": name, "reason": reason} for name, reason in evaluation.failed],
        "subset": {name: value.to_json() for name, value in (subset or {}).items()},
    }
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(
    path: Path, evaluation: Evaluation, figures: Figures, *, subset: Mapping[str, Interval] | None = None
) -> None:
    """Write a row a figure, and a class where it has one: figure, class, value, low, high; empty is undefined.

    Args:
        path: of the file.
        evaluation: what was counted.
        figures: of it.
        subset: further means over some of the classes, by what to call them.

    Raises:
        OutputError: the file cannot be written.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["figure", "class", "value", "low", "high"])
    rows = [(key, "", value) for key, value in {**figures.overall, **(subset or {})}.items()]
    for key, values in figures.per_class.items():
        rows += [(key, name, value) for name, value in zip(evaluation.classes.names, values, strict=True)]
    for key, name, value in rows:
        numbers = (value.estimate, value.low, value.high)
        writer.writerow([key, name, *("" if math.isnan(number) else repr(number) for number in numbers)])
    write_text(path, buffer.getvalue())


def write_page(
    path: Path,
    evaluation: Evaluation,
    figures: Figures,
    about: Mapping[str, str],
    *,
    show: Show,
    subset: Mapping[str, Interval] | None = None,
) -> None:
    """Write the page; it has everything in itself and works without a network.

    Args:
        path: of the HTML file.
        evaluation: what was counted.
        figures: of it.
        about: what was measured on what, by name; plain text.
        show: gives the photos to draw.
        subset: further means over some of the classes, by what to call them.

    Raises:
        OutputError: the file cannot be written.
    """
    mean, measured = figures.overall["mean_iou"], len(evaluation.ids)
    title = f"{about['model']} on {about['data']}"
    shown = f"{measured} photos, 95 % interval {mean}" if measured > 1 else "one photo"
    verdict = f"Mean IoU {rounded(mean.estimate)} on {shown}."
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict note">{verdict}</p>',
        about_line(about),
        *(f"<p>{escape(remark)}</p>" for remark in evaluation.scores.remarks(evaluation.classes)),
        *_failures(evaluation),
        *_overall(evaluation, figures, subset or {}),
        *_per_class(evaluation, figures),
        *_pictures(evaluation, show),
        "<h2>What is taken for what</h2>",
        '<p class="soft">A row a class of the ground truth, in per cent of its pixels.</p>',
        f'<div class="wide">{confusion_chart(evaluation.matrix.counts, evaluation.classes.names)}</div>',
        "<h2>Is it right as often as it is sure?</h2>",
        '<p class="soft">Pixels by the probability of their predicted class; bars below the line: too sure.</p>',
        f'<div class="wide">{reliability_chart(evaluation.counts.reliability.sum(axis=0))}</div>',
        *_conventions(evaluation),
        '<p class="soft">Intervals: bootstrap over photos, 2000 draws. They speak of the choice of photos, not of the '
        f"seed of the training{', and are too narrow as these are few' if 1 < measured < FEW_PHOTOS else ''}. Made by "
        "pixelwise evaluate.</p>",
    ]
    write_text(path, document(title, body))


def chosen_photos(evaluation: Evaluation) -> dict[str, list[int]]:
    """Positions of the photos that are worth a look, by kind; none twice, and none without a labelled pixel."""
    ious = evaluation.counts.image_ious
    order = [int(i) for i in np.argsort(ious, kind="stable") if not math.isnan(ious[i])]
    count = min(_OF_A_KIND, len(order) // 3)
    if not count:
        return {"All photos": order}
    first = (len(order) - count) // 2
    return {"Best": order[: -count - 1 : -1], "Typical": order[first : first + count], "Worst": order[:count]}


def _overall(evaluation: Evaluation, figures: Figures, subset: Mapping[str, Interval]) -> list[str]:
    shown = [(*OVERALL[key], figures.overall[key]) for key in overall_keys(evaluation.classes)]
    shown += [(name, "mean of these classes' IoU", value) for name, value in subset.items()]
    rows = [[name, rounded(value.estimate), unbroken(value), told] for name, told, value in shown]
    return ["<h2>Over all classes</h2>", html_table(["figure", "value", "95 % interval", "what it is"], rows)]


def _per_class(evaluation: Evaluation, figures: Figures) -> list[str]:
    classes = for_display(evaluation.classes)
    truth = evaluation.matrix.counts.sum(axis=1)
    shares = ratio(truth, np.full(len(truth), truth.sum()))
    head = "".join(f'<th title="{escape(told)}">{escape(name)}</th>' for name, told in PER_CLASS.values())
    rows = []
    for i, (name, colour) in enumerate(zip(classes.names, classes.colours, strict=True)):
        values = {key: intervals[i] for key, intervals in figures.per_class.items()}
        cells = "".join(
            f'<td class="number" title="{value}">{rounded(value.estimate)}</td>' for value in values.values()
        )
        rows.append(
            f"<tr><td>{swatch(name, colour)}</td>"
            f'<td class="number">{"" if math.isnan(shares[i]) else f"{shares[i]:.2%}"}</td>{cells}'
            f'<td class="bar">{_bar(values["iou"])}</td></tr>'
        )
    what = "; ".join(f"{name}: {told}" for name, told in PER_CLASS.values())
    head = f"<tr><th>class</th><th>of the pixels</th>{head}<th>IoU with its interval</th></tr>"
    table = f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'
    return ["<h2>By class</h2>", table, f'<p class="soft">{escape(what)}.</p>']


def _bar(value: Interval) -> str:
    """The value as a bar, its interval as a line through the end."""
    if math.isnan(value.estimate):
        return ""
    bar = f'<div style="width:{100 * value.estimate:.1f}%"></div>'
    if not value.is_known:
        return bar
    low, high = 100 * value.low, 100 * value.high
    return f'{bar}<i style="margin-left:{low:.1f}%;width:{max(0.5, high - low):.1f}%"></i>'


def _pictures(evaluation: Evaluation, show: Show) -> list[str]:
    classes = for_display(evaluation.classes)
    body = []
    for kind, positions in chosen_photos(evaluation).items():
        shown = [show(evaluation.ids[i]) for i in positions]
        if not shown:
            continue
        captions = [f"{evaluation.ids[i]}: {evaluation.counts.image_ious[i]:.3f}" for i in positions]
        samples = [sample for sample, _ in shown]
        sheet = comparison_sheet(
            [sample.image for sample in samples],
            [sample.mask for sample in samples],
            [answer for _, answer in shown],
            classes,
            ids=captions,
        )
        text = f"{kind}: photo, ground truth, prediction, errors in red; the number is the photo's own mean IoU."
        body += [f"<h2>{kind}</h2>", picture(jpeg(sheet), text)]
    return body


def _conventions(evaluation: Evaluation) -> list[str]:
    rows = [[each.tool, rounded(each.mean_iou), each.how] for each in conventions(evaluation.matrix.counts)]
    return [
        "<h2>What other tools would print</h2>",
        '<p class="soft">The mean IoU of the same confusion matrix, by what they do with a class that is in neither '
        "mask, or predicted only.</p>",
        html_table(["tool", "mean IoU", "classes that are missing"], rows),
    ]


def _failures(evaluation: Evaluation) -> list[str]:
    if not evaluation.failed:
        return []
    items = "".join(f"<li>{escape(reason)}</li>" for _, reason in evaluation.failed)
    return [f'<p class="error">{photos(len(evaluation.failed))} could not be measured:</p>', f"<ul>{items}</ul>"]


def _photo_accuracies(evaluation: Evaluation) -> NDArray[np.float64]:
    counts = evaluation.counts.confusion
    return ratio(np.trace(counts, axis1=1, axis2=2), counts.sum(axis=(1, 2)))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
