from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from broken import CLASSES, SIZE, Folder, blob, crop, sound
from PIL import Image

from pixelwise.colours import for_display
from pixelwise.doctor import examine
from pixelwise.doctor.charts import class_chart, percent, size_chart
from pixelwise.doctor.findings import Place
from pixelwise.doctor.page import page, write_page
from pixelwise.doctor.pictures import picture
from pixelwise.errors import OutputError


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def tags_of(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    return parser.tags


def decoded(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg))).astype(int)


def test_a_picture_shows_the_photo_beside_its_overlay_and_magenta_where_no_class_is(tmp_path: Path):
    folder = Folder(tmp_path)
    mask = np.zeros(SIZE, np.uint8)
    mask[:48] = 1
    mask[72:] = 77
    folder.add("train", 1, mask=mask)
    jpeg = picture(folder.datasets(), (Place(0, 0),))
    assert jpeg is not None
    shown = decoded(jpeg)
    assert shown.shape == (96, 2 * 128 + 6, 3)
    assert np.abs(shown[:, :128] - crop(1)).mean() < 8
    overlaid = shown[:, 134:]
    assert np.abs(overlaid[76:92, 4:-4].mean(axis=(0, 1)) - (255, 0, 255)).max() < 12
    blended = 0.45 * crop(1)[4:40, 4:-4] + 0.55 * np.array(for_display(CLASSES).colours[1])
    assert np.abs(overlaid[4:40, 4:-4] - blended).mean() < 12
    assert np.abs(overlaid[54:66] - crop(1)[54:66]).mean() < 10


def test_photo_and_mask_of_different_sizes_are_shown_side_by_side_and_what_cannot_be_read_is_left_out(tmp_path: Path):
    folder = Folder(tmp_path)
    folder.add("train", 0, mask=blob(0, (100, 60)))
    photo, _ = folder.add("train", 1)
    both = [path.unlink() for path in folder.add("train", 2)]
    photo.write_text("no picture")
    datasets = folder.datasets()
    assert decoded(picture(datasets, (Place(0, 0),)) or b"").shape == (100, 128 + 6 + 60, 3)
    assert decoded(picture(datasets, (Place(0, 1),)) or b"").shape == (96, 128, 3)
    assert picture(datasets, (Place(0, 2),)) is None
    assert len(both) == 2


def test_the_page_needs_nothing_beside_itself_and_escapes_names(tmp_path: Path):
    folder = sound(tmp_path / "a&b")
    name = "<b>x"
    folder.add("train", 20, name=name, mask=np.full(SIZE, 9, np.uint8))
    photo, _ = folder.add("train", 21, name="<script>alert(1)")
    photo.unlink()
    text = page(folder.examined(), folder.datasets(), root=tmp_path / "a&b")
    tags = tags_of(text)
    assert not [tag for tag, _ in tags if tag in ("b", "script", "link", "iframe")]
    assert "&lt;b&gt;x.png" in text
    assert f"<h1>{tmp_path}/a&amp;b</h1>" in text
    addresses = [attrs[key] or "" for _, attrs in tags for key in ("src", "href") if key in attrs]
    assert addresses
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in addresses)
    assert not re.search(r"https?://|url\(", text)
    anchors = {attrs["id"] for _, attrs in tags if "id" in attrs}
    assert {address[1:] for address in addresses if address.startswith("#")} <= anchors
    assert {"error-labels", "error-missing", "classes", "sizes"} <= anchors
    for address in addresses:
        if address.startswith("data:"):
            Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).load()


def test_of_many_findings_twelve_are_pictured_and_the_rest_listed(tmp_path: Path):
    folder = sound(tmp_path)
    for number in range(20, 35):
        folder.add("train", number, mask=np.full(SIZE, 9, np.uint8))
    text = page(folder.examined(), folder.datasets(), root=tmp_path)
    section = text.partition('<h2 id="error-labels">')[2].partition("<h2")[0]
    assert section.count("<figure>") == 12
    assert "3 more" in section
    assert re.findall(r"<li>labels/train/(train\d+)\.png", section) == [
        "train32",
        "train33",
        "train34",
    ]
    assert str(tmp_path) not in section


def test_the_page_of_a_sound_dataset_says_so_and_how_it_was_understood(tmp_path: Path):
    folder = sound(tmp_path)
    datasets = folder.datasets()
    for dataset in datasets:
        dataset.finding = "0 is <sky>."
    text = page(examine(datasets), datasets, root=tmp_path)
    assert text.count("0 is &lt;sky&gt;.") == 1
    assert "Training may start." in text
    assert "no errors, no warnings, no notes" in text
    assert "<figure>" not in text


def test_charts_are_wellformed_and_true(tmp_path: Path):
    folder = sound(tmp_path)
    splits = folder.examined().splits
    chart = ElementTree.fromstring(class_chart(splits))
    widths = [float(bar.get("width", "")) for bar in chart.iter("rect")]
    assert len(widths) == 3 * 2
    shares = [float(split.shares[index]) for index in range(3) for split in splits]
    highest = max(shares)
    assert widths == pytest.approx([150 * (share / highest) ** 0.5 for share in shares], abs=0.1)
    texts = "".join(chart.itertext())
    assert f"{percent(float(splits[0].shares[1]))}, 6 photos" in texts
    sizes = ElementTree.fromstring(size_chart(splits))
    assert "128x96: 6 in train, 3 in val" in "".join(sizes.itertext())
    assert len(list(sizes.iter("circle"))) == 1 + 2  # a size, and a legend of two splits


def test_what_is_there_is_never_told_as_nothing():
    assert [percent(share) for share in (0, 1e-7, 0.00005, 0.123456)] == ["0.00 %", "<0.01 %", "0.01 %", "12.35 %"]


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path):
    folder = sound(tmp_path / "data")
    with pytest.raises(OutputError, match=r"page\.html cannot be written"):
        write_page(tmp_path / "absent" / "page.html", folder.examined(), folder.datasets(), root=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
