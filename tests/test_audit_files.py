from __future__ import annotations

import base64
import csv
import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import Page, colourful_photo
from pixelwise.audit import Audit, AuditedPhoto, Opinion, Swap
from pixelwise.audit_files import write_csv, write_json
from pixelwise.audit_page import write_page
from pixelwise.audit_report import print_audit
from pixelwise.data import Sample
from pixelwise.labels import ClassTable

HOSTILE = '<script>alert("1")</script>'
CLASSES = ClassTable(("background", 'a, "<b>"', "c"), ((0, 0, 0), (255, 0, 0), (0, 255, 0)))
ABOUT = {"model": "<b>mine</b>", "data": "photos & masks, split train"}
PIXELS = 24 * 36


def audit_of(ids: list[str]) -> Audit:
    """The first is the worst; half of the last has nothing doubtful."""
    photos = tuple(
        AuditedPhoto(
            name, 0.001 + 0.1 * i, PIXELS, 40 if i < 2 else 0, (Swap(0, 1, 30), Swap(2, 0, 10)) if i < 2 else ()
        )
        for i, name in enumerate(ids)
    )
    doubted = np.zeros((3, 3), np.int64)
    doubted[0, 1], doubted[2, 0] = 60, 20
    return Audit(photos, ("empty",), (("bad", "bad.png is <empty>."),), CLASSES, np.array([600, 0, 100]), doubted)


def show(name: str) -> tuple[Sample, Opinion]:
    mask = np.zeros((24, 36), np.uint8)
    mask[4:20, 4:20], mask[:2] = 1, 255
    doubtful = np.zeros((24, 36), np.bool_)
    doubtful[10:20, 24:30] = True
    return Sample(colourful_photo(24, 36), mask, name), Opinion(0.1, np.full((24, 36), 2, np.uint8), doubtful)


def page_of(path: Path, ids: list[str], *, top: int = 48) -> tuple[Page, str]:
    write_page(path, audit_of(ids), ABOUT, show=show, top=top)
    html = path.read_text(encoding="utf-8")
    return Page(html), html


def test_json_has_every_photo_in_its_rank(tmp_path: Path):
    write_json(tmp_path / "a.json", audit_of([HOSTILE, "two", "bad \udcff name"]), ABOUT)
    saved = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert saved["about"] == ABOUT
    assert [(photo["rank"], photo["id"]) for photo in saved["photos"]] == [
        (1, HOSTILE),
        (2, "two"),
        (3, "bad \udcff name"),
    ]
    assert saved["photos"][0]["score"] == 0.001
    assert saved["photos"][0]["doubted_pixels"] == 40
    assert saved["photos"][0]["swaps"][0] == {"labelled": "background", "likely": 'a, "<b>"', "pixels": 30}
    assert saved["photos"][2]["swaps"] == []
    assert [row["name"] for row in saved["classes"]] == ["c", "background"]
    assert [row["doubted_pixels"] for row in saved["classes"]] == [20, 60]
    assert saved["unscored"] == ["empty"]
    assert saved["failed"] == [{"id": "bad", "reason": "bad.png is <empty>."}]


def test_csv_has_a_row_a_photo_and_says_why_one_has_no_rank(tmp_path: Path):
    write_csv(tmp_path / "a.csv", audit_of([HOSTILE, "a, b", "bad \udcff name"]))
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows] == [HOSTILE, "a, b", r"bad \udcff name", "empty", "bad"]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "", ""]
    assert (rows[0]["labelled"], rows[0]["likely"], rows[0]["pixels"]) == ("background", 'a, "<b>"', "30")
    assert (rows[0]["labelled_pixels"], rows[0]["doubted_pixels"]) == (str(PIXELS), "40")
    assert float(rows[1]["score"]) == 0.101
    assert rows[2]["labelled"] == ""
    assert [row["note"] for row in rows] == ["", "", "", "nothing labelled", "bad.png is <empty>."]


def test_the_page_has_all_in_itself_and_asks_for_nothing(tmp_path: Path):
    page, html = page_of(tmp_path / "page.html", ["one", "two", "three"])
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", html)
    assert not [tag for tag, _ in page.elements if tag in ("link", "iframe", "object", "base", "form")]
    images = [attributes["src"] or "" for attributes in page.of("img")]
    assert len(images) == 3 * 5
    assert all(source.startswith("data:image/jpeg;base64,") for source in images)
    assert [attributes for attributes in page.of("script") if "src" in attributes] == []
    targets = [attributes["href"] for attributes in page.of("a")]
    assert (
        targets == [f"#{attributes['id']}" for attributes in page.of("section")] == ["#photo-1", "#photo-2", "#photo-3"]
    )


def test_without_javascript_everything_is_there_to_scroll_through(tmp_path: Path):
    page, _ = page_of(tmp_path / "page.html", ["one", "two", "three"])
    assert all(set(attributes) == {"id"} for attributes in page.of("section"))  # the script hides, the page does not
    steps = [attributes for tag, attributes in page.elements if attributes.get("class") == "steps"]
    assert len(steps) == 1
    assert "hidden" in steps[0]
    assert {attributes.get("class") for attributes in page.of("body")} == {None}
    for words in (
        "1. one", "3. three", "as labelled", "the model's answer", "doubtful pixels",
        'Score 0.001, 4.6 % of the labelled pixels doubted: background labelled, a, "<b>" likely: 3.5 %; c labelled, ',
        "Score 0.201, 0.0 % of the labelled pixels doubted.",
        "The model doubts 11.4 % of the labelled pixels, in 2 of 3 photos.",
        "1 photo without a labelled pixel, and so without a score",
        "bad.png is <empty>.",
    ):  # fmt: skip
        assert words in page.text.replace("\N{NO-BREAK SPACE}", " ")


def test_hostile_names_are_text(tmp_path: Path):
    hostile = [HOSTILE, '"onmouseover="alert(1)', "bad \udcff name"]
    page, html = page_of(tmp_path / "page.html", hostile)
    assert len(page.of("script")) == 1
    assert page.of("b") == []
    assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
    assert html.count("alert(") == html.count("alert(1)") + html.count("alert(&quot;1&quot;)")
    assert f"1. {HOSTILE}" in page.text
    assert [attributes["title"] for attributes in page.of("a")] == [*hostile[:2], r"bad \udcff name"]
    assert "<b>mine</b>" in page.text


def test_the_page_has_the_worst_and_says_how_many_more_there_are(tmp_path: Path):
    page, _ = page_of(tmp_path / "page.html", [f"{i}" for i in range(5)], top=2)
    assert len(page.of("section")) == 2
    assert "What --save and --csv write has 3 more." in page.text


def test_doubtful_pixels_are_red_where_they_are(tmp_path: Path):
    page, _ = page_of(tmp_path / "page.html", ["one"])
    drawn = [base64.b64decode((attributes["src"] or "").partition(",")[2]) for attributes in page.of("img")]
    pixels = np.asarray(Image.open(BytesIO(drawn[4])).convert("RGB")).astype(int)
    red = pixels[..., 0] - pixels[..., 1] > 80
    scale = red.shape[0] / 24
    assert red.shape == (341, 512)
    rows, columns = np.nonzero(red)
    edges = np.array([rows.min(), rows.max(), columns.min(), columns.max()]) / scale
    np.testing.assert_allclose(edges, [10, 20, 24, 30], atol=0.2)
    assert red.mean() == pytest.approx(60 / PIXELS, rel=0.1)


def test_the_terminal_has_the_worst_ten_and_what_was_left_out(capsys: pytest.CaptureFixture[str]):
    print_audit(audit_of([f"photo [red]{i}" for i in range(12)]))
    out, err = capsys.readouterr()
    assert "The worst of 12 photos" in out
    assert "photo [red]9" in out
    assert "photo [red]10" not in out
    assert "1 photo without a labelled pixel, and so without a score." in out
    assert err == "pixelwise: bad.png is <empty>.\n1 of 14 photos could not be audited.\n"
