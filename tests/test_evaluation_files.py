from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import COLOURS, Page, colourful_photo
from pixelwise.bootstrap import Interval
from pixelwise.data import Sample
from pixelwise.evaluate import Counter, Evaluation
from pixelwise.evaluation_charts import confusion_chart, reliability_chart
from pixelwise.evaluation_files import chosen_photos, write_csv, write_json, write_page
from pixelwise.figures import OVERALL, PER_CLASS, figures
from pixelwise.labels import ClassTable

ABOUT = {"model": "<b>mine</b>", "data": "photos & masks, split val"}
SIZE = (24, 36)


def photo(number: int, wrong: float) -> tuple[Sample, np.ndarray]:
    """A photo of three classes of four, and an answer of which a share is wrong."""
    generator = np.random.default_rng(number)
    mask = np.zeros(SIZE, np.uint8)
    mask[4:20, 4:20], mask[8:16, 20:30], mask[:2] = 1, 2, 255
    answer = np.where(generator.random(SIZE) < wrong, (mask + 1) % 3, np.minimum(mask, 2)).astype(np.uint8)
    return Sample(colourful_photo(*SIZE, seed=number), mask, f"photo-{number}"), answer


def evaluation(photos: int = 10, *, classes: ClassTable = COLOURS) -> tuple[Evaluation, dict[str, Any]]:
    """The more its number, the better the answer."""
    shown = {f"photo-{i}": photo(i, wrong=0.5 - 0.04 * i) for i in range(photos)}
    counter = Counter(classes)
    for sample, answer in shown.values():
        counter.add(sample.mask, answer, np.full(SIZE, 0.9, np.float16), name=sample.id)
    failed = (("bad", "bad.png is <empty>."),)
    return Evaluation(counter.matrix, counter.counts(), tuple(shown), classes, failed), shown


def test_json_is_strict_and_has_every_figure(tmp_path: Path) -> None:
    measured, _ = evaluation()
    found = figures(measured.counts)
    write_json(tmp_path / "figures.json", measured, found, ABOUT, subset={"mean of two": found.overall["mean_iou"]})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    saved = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert saved["about"] == ABOUT
    assert saved["classes"] == list(COLOURS.names)
    assert saved["mean_iou"] == saved["figures"]["mean_iou"]["value"] == saved["subset"]["mean of two"]["value"]
    assert saved["iou"][3] is None
    assert saved["figures_per_class"]["iou"][3] == {"value": None, "low": None, "high": None}
    for value in (*saved["figures"].values(), *(each[0] for each in saved["figures_per_class"].values())):
        assert value["low"] <= value["value"] <= value["high"]
    assert saved["confusion"]["counts"] == measured.matrix.counts.tolist()
    assert [entry["id"] for entry in saved["photos"]] == list(measured.ids)
    assert saved["photos"][9]["mean_iou"] > saved["photos"][0]["mean_iou"]
    labelled = measured.per_image[2].sum()
    assert saved["photos"][2]["pixel_accuracy"] == pytest.approx(np.trace(measured.per_image[2]) / labelled)
    assert saved["failed"] == [{"id": "bad", "reason": "bad.png is <empty>."}]
    assert saved["conventions"][0]["mean_iou"] == saved["mean_iou"]
    assert saved["remarks"] == list(measured.scores.remarks(COLOURS))
    assert "blue" in saved["remarks"][0]


def test_csv_has_a_row_a_figure_and_class(tmp_path: Path) -> None:
    measured, _ = evaluation(classes=ClassTable(("background", 'a, "b"', "c", "d"), COLOURS.colours))
    found = figures(measured.counts)
    some = Interval(0.5, 0.25, 0.75)
    write_csv(tmp_path / "figures.csv", measured, found, subset={"mean of a, b": some})
    with (tmp_path / "figures.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(OVERALL) + 1 + 4 * len(PER_CLASS)
    table = {(row["figure"], row["class"]): row for row in rows}
    assert float(table["mean_iou", ""]["value"]) == found.overall["mean_iou"].estimate
    assert [table["mean of a, b", ""][key] for key in ("value", "low", "high")] == ["0.5", "0.25", "0.75"]
    assert float(table["dice", 'a, "b"']["high"]) == found.per_class["dice"][1].high
    assert table["iou", "d"]["value"] == table["iou", "d"]["low"] == ""


def test_the_page_has_all_in_itself(tmp_path: Path) -> None:
    measured, shown = evaluation()
    found = figures(measured.counts)
    asked: list[str] = []

    def show(name: str) -> tuple[Sample, np.ndarray]:
        asked.append(name)
        return shown[name]

    some = {"mean IoU over <c>": Interval(0.5, 0.25, 0.75)}
    write_page(tmp_path / "page.html", measured, found, ABOUT, show=show, subset=some)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(html)
    mean = found.overall["mean_iou"]
    assert f"Mean IoU {mean.estimate:.3f} on 10 photos, 95 % interval {mean.low:.3f} to {mean.high:.3f}." in page.text
    assert "<b>mine</b> on photos & masks, split val" in page.text
    assert "not of the seed of the training, and are too narrow as these are few." in page.text
    assert "bad.png is <empty>." in page.text
    assert "mean IoU over <c>\n0.500\n0.250 to 0.750\n" in page.text
    assert not [tag for tag, _ in page.elements if tag in ("b", "script", "link", "iframe")]
    sources = [attributes["src"] or "" for tag, attributes in page.elements if tag == "img"]
    assert len(sources) == 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"https?://|@import|url\(", html)
    for name, _ in (*OVERALL.values(), *PER_CLASS.values()):
        assert name in page.text
    assert {"Best", "Typical", "Worst", "Confusion matrix", "Reliability diagram"} <= {
        *page.text.split("\n"),
        *(str(attributes.get("aria-label")) for _, attributes in page.elements),
    }
    ious = dict(zip(measured.ids, measured.counts.image_ious, strict=True))
    ranked = sorted(ious, key=ious.__getitem__)
    assert asked[:3] == ranked[:-4:-1]
    assert asked[6:] == ranked[:3]
    assert not set(asked[3:6]) & {*asked[:3], *asked[6:]}


@pytest.mark.parametrize(("photos", "sizes"), [(1, [1]), (2, [2]), (3, [1, 1, 1]), (8, [2, 2, 2]), (20, [3, 3, 3])])
def test_no_photo_is_shown_twice(photos: int, sizes: list[int]) -> None:
    chosen = list(chosen_photos(evaluation(photos)[0]).values())
    assert [len(positions) for positions in chosen] == sizes
    together = [position for positions in chosen for position in positions]
    assert len(set(together)) == len(together)


def test_the_confusion_matrix_says_each_cell_and_leaves_rows_without_truth_empty() -> None:
    chart = confusion_chart(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 5]]), ["a", "<b>", "c"])
    page = Page(chart)
    heat = [attributes["fill-opacity"] for _, attributes in page.elements if attributes.get("class") == "heat"]
    assert heat == ["0.750", "0.250", "0.000", "0.000", "0.000", "1.000"]
    assert "a taken for <b>: 25.00% of its pixels (1)" in page.text
    assert page.text.count("no pixel of this class") == 3
    big = confusion_chart(np.eye(60, dtype=np.int64), [f"class {i}" for i in range(60)])
    assert len(Page(big).elements) > 3600


def test_the_reliability_diagram_has_a_bar_a_bin_that_is_not_empty() -> None:
    bins = np.zeros((3, 15))
    bins[:, 14], bins[:, 7] = (90, 81, 88.2), (10, 5, 5.0)
    page = Page(reliability_chart(bins))
    bars = [attributes for _, attributes in page.elements if attributes.get("class") == "heat"]
    assert [float(bar["height"] or math.nan) for bar in bars] == [150, 6, 270, 54]
    assert "90 pixels, 90.0%: 98.0% sure on average, 90.0% right" in page.text
