from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import COLOURS, Page
from pixelwise.bootstrap import Interval
from pixelwise.compare import Comparison, Contender, compare
from pixelwise.comparison_charts import Point, pareto, pareto_chart
from pixelwise.comparison_files import chosen_photos, write_json, write_page
from pixelwise.cost import Cost, Latency
from pixelwise.data import Sample
from pixelwise.figures import OVERALL, PER_CLASS, percent
from test_compare import Truth, segmenter

ABOUT = {"data": "photos & <masks>, split val", "engine": "colour, fp32"}


def compared(photos: int = 12, **more: Any) -> tuple[Comparison, list[Contender]]:
    models = [Contender("<b>first</b>", segmenter(2.0)), Contender("second", segmenter(0.5))]
    return compare(models, Truth(photos, **more)), models


def costs(count: int = 2) -> list[Cost]:
    made = []
    for i in range(count):
        latency = Latency(0.01 * (i + 1), 0.009 * (i + 1), 0.012 * (i + 1), 7)
        adds = None if i else 5_000_000_000
        made.append(Cost(1_000_000, adds, (64, 96), 4_000_000, latency, "colour, fp32", 200_000_000, [None, 7200.0][i]))
    return made


def written_page(
    tmp_path: Path,
    found: Comparison,
    models: list[Contender],
    own: list[Cost] | None = None,
    about: dict[str, str] = ABOUT,
) -> tuple[str, list[str]]:
    asked: list[str] = []

    def show(name: str) -> tuple[Sample, list[np.ndarray]]:
        asked.append(name)
        sample = Truth()[int(name.rpartition("-")[2])]
        return sample, [model.segmenter.predict(sample.image)[0] for model in models]

    write_page(tmp_path / "page.html", found, own or costs(), about, show=show)
    return (tmp_path / "page.html").read_text(encoding="utf-8"), asked


def test_json_is_strict_and_has_every_figure(tmp_path: Path) -> None:
    found, _ = compared(damaged=3)
    write_json(tmp_path / "all.json", found, costs(), ABOUT)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    saved = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert saved["about"] == ABOUT
    assert saved["verdicts"] == found.verdicts()
    assert [model["name"] for model in saved["models"]] == ["<b>first</b>", "second"]
    assert saved["models"][0]["latency"] == {"median": 0.01, "lower": 0.009, "upper": 0.012, "calls": 7}
    assert saved["models"][1]["multiply_adds"] is None
    assert saved["models"][1]["confusion"]["counts"] == found.evaluations[1].matrix.counts.tolist()
    (pair,) = saved["pairs"]
    assert (pair["better"], pair["worse"], pair["told_apart"]) == ("second", "<b>first</b>", True)
    assert pair["figures"]["mean_iou"] == found.pairs[0].mean_iou.to_json()
    for part in (*saved["standings"], pair):
        assert set(part["figures"]) == set(OVERALL)
        assert set(part["figures_per_class"]) == set(PER_CLASS)
    assert saved["failed"] == [{"id": "photo-3", "reason": "photo-3.png is damaged."}]
    assert len(saved["photos"]) == 11
    assert saved["photos"][0]["disagreement"] == found.disagreement[0]


def test_the_page_has_all_in_itself(tmp_path: Path) -> None:
    found, models = compared(damaged=3)
    html, asked = written_page(tmp_path, found, models)
    page = Page(html)
    assert "<b>first</b>" in page.text
    assert "2 models on photos & <masks>, split val" in page.text
    assert f"photos: {len(found.evaluations[0].ids)}, data: " in page.text
    assert found.verdicts()[0] in page.text
    assert "photo-3.png is damaged." in page.text
    assert not [tag for tag, _ in page.elements if tag in ("link", "iframe", "masks")]
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|import\(", html)
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in images)
    assert len(images) == 5 * len(asked)
    assert [image["alt"] for image in images[:2]] == ["photo", "ground truth"]
    assert images[4]["alt"] == "where they differ"
    assert {"Mean IoU and time"} <= {str(attributes.get("aria-label")) for _, attributes in page.elements}
    for told in ("10 (9 to 12)", "200 MB", "1.0 M", "5.0 G", "unknown", "2.0 h", "told apart", *COLOURS.names):
        assert told in page.text, told
    assert f"{asked[0]}: they differ on {percent(max(found.disagreement))} of the labelled pixels." in page.text
    value = found.pairs[0].mean_iou
    assert f"+{100 * value.estimate:.1f} (+{100 * value.low:.1f} to +{100 * value.high:.1f})" in page.text


@pytest.mark.browser
def test_however_long_the_names_the_page_is_no_wider_than_a_phone(browser: Any, tmp_path: Path) -> None:
    names = ("a" * 120, "a name of several words, as people like to call their runs")
    models = [Contender(name, segmenter(noise)) for name, noise in zip(names, (2.0, 0.5), strict=True)]
    written_page(tmp_path, compare(models, Truth(2)), models, about={"data": "d" * 120, "engine": "e" * 120})
    opened = browser.new_page(viewport={"width": 390, "height": 844})
    opened.goto((tmp_path / "page.html").as_uri())
    assert opened.locator(".viewer select").count() == 4
    assert opened.evaluate("document.documentElement.scrollWidth") == 390
    opened.close()


def test_of_several_trainings_it_is_said_whose_costs_those_are(tmp_path: Path) -> None:
    told = [("a", "A"), ("b", "B"), ("b too", "B")]
    models = [Contender(name, segmenter(1.0, seed=i), recipe, i) for i, (name, recipe) in enumerate(told)]
    html, _ = written_page(tmp_path, compare(models, Truth(2)), models, [*costs(), costs()[0]])
    page = Page(html)
    assert "with the mean of their figures and the costs of the first. " in page.text
    assert page.text.count("2.0 h") == 1  # of `b`; that of `b too`, which is unknown, is not asked for


def test_what_is_not_known_is_said_to_be_unknown(tmp_path: Path) -> None:
    """A single photo gives no intervals, and a process that was killed no memory."""
    found, models = compared(photos=1)
    unknown = [replace(each, peak_memory=None) for each in costs()]
    write_json(tmp_path / "all.json", found, unknown, ABOUT)
    saved = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert [model["peak_memory"] for model in saved["models"]] == [None, None]
    value = saved["pairs"][0]["figures"]["mean_iou"]
    assert value["value"] > 0
    assert value["low"] is value["high"] is None
    page, _ = written_page(tmp_path, found, models, unknown)
    assert "nan" not in re.sub(r'src="data:[^"]*"', "", page)
    assert page.count("<td>unknown</td>") == 2 + 2  # memory of both; multiply-adds of one, training time of the other


def test_photos_with_most_disagreement_come_first_and_none_twice(tmp_path: Path) -> None:
    found, models = compared()
    _, asked = written_page(tmp_path, found, models)
    shares = dict(zip(found.evaluations[0].ids, found.disagreement, strict=True))
    assert asked[:6] == sorted(shares, key=lambda name: -shares[name])[:6]
    assert len(set(asked)) == len(asked) == 9


@pytest.mark.parametrize(("photos", "sizes"), [(1, [1, 0]), (6, [6, 0]), (7, [6, 1]), (11, [6, 3])])
def test_few_photos_are_enough_for_a_page(photos: int, sizes: list[int]) -> None:
    assert [len(positions) for positions in chosen_photos(compared(photos)[0]).values()] == sizes


def point(name: str, seconds: float, accuracy: float) -> Point:
    return Point(name, seconds, 0.9 * seconds, 1.2 * seconds, Interval(accuracy, accuracy - 0.02, accuracy + 0.02))


def test_the_front_is_what_no_other_beats_in_both() -> None:
    points = [point("slow", 1, 0.8), point("beaten", 0.9, 0.6), point("fast", 0.1, 0.7), point("twin", 0.1, 0.65)]
    assert [points[i].name for i in pareto(points)] == ["fast", "slow"]
    assert pareto([point("one", 1, 0.5)]) == [0]
    assert [points[i].name for i in pareto([*points, point("same", 1, 0.8)])] == ["fast", "slow"]


def test_the_chart_places_points_by_time_and_accuracy() -> None:
    points = [point("a", 0.01, 0.5), point("b", 0.1, 0.6), point("<c>", 1.0, 0.6)]
    page = Page(pareto_chart(points))
    dots = [attributes for tag, attributes in page.elements if tag == "circle"]
    x, y = ([float(str(dot[key])) for dot in dots] for key in ("cx", "cy"))
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)  # ten times as long each
    assert y[0] > y[1] == y[2]
    assert [dot["fill-opacity"] for dot in dots] == ["1", "1", "0.35"]
    assert "<c>: mean IoU 0.600 (0.580 to 0.620), 1000.0 ms" in page.text
    frame = next(attributes for tag, attributes in page.elements if tag == "rect")
    for dot in dots:
        assert float(str(frame["x"])) <= float(str(dot["cx"])) <= float(str(frame["x"])) + float(str(frame["width"]))
        assert float(str(frame["y"])) <= float(str(dot["cy"])) <= float(str(frame["y"])) + float(str(frame["height"]))


def test_names_in_the_chart_do_not_lie_on_each_other() -> None:
    page = Page(pareto_chart([point(f"model {i}", 0.1 + i / 1e4, 0.6 + i / 1e4) for i in range(5)]))
    places = [
        (float(str(attributes["x"])), float(str(attributes["y"])))
        for tag, attributes in page.elements
        if tag == "text" and attributes["class"] == ""
    ]
    assert len(places) == 5
    for i, (_, one) in enumerate(places):
        for _, other in places[i + 1 :]:
            assert math.fabs(one - other) >= 15
