"""The drawings: what is in them, that nothing overlaps, and that the published ones are up to date."""

from __future__ import annotations

import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from helpers import ROOT
from pixelwise.describe import Description, describe, handbook
from pixelwise.describe.diagram import draw_diagram, figure, label_box, layout
from pixelwise.describe.layout import Graph
from pixelwise.describe.receptive import views
from pixelwise.describe.shapes import LINE, NUMBER_SIZE, Slab, text_width
from pixelwise.describe.stages import stages_of
from pixelwise.describe.trace import trace
from pixelwise.describe.u_layout import as_a_u
from pixelwise.errors import OutputError, PixelwiseError
from pixelwise.models import names, registry

Box = tuple[float, float, float, float]


@pytest.fixture(scope="module")
def described() -> dict[str, Description]:
    return {description.entry.name: description for description in handbook.descriptions()}


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def crosses(start: tuple[float, float], stop: tuple[float, float], box: Box) -> bool:
    """Whether a line goes through a box; by points on it, a hundredth of an inch apart."""
    steps = max(2, round(100 * max(abs(stop[0] - start[0]), abs(stop[1] - start[1]))))
    points = (
        (start[0] + (stop[0] - start[0]) * i / steps, start[1] + (stop[1] - start[1]) * i / steps)
        for i in range(steps + 1)
    )
    return any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in points)


def numbers(slabs: list[Slab]) -> list[Box]:
    """The boxes of what is written above slabs."""
    boxes = []
    for slab in slabs:
        middle, half = slab.left + slab.width / 2 + slab.reach, text_width(slab.text, size=NUMBER_SIZE) / 2
        boxes.append((middle - half, slab.top + 0.02, middle + half, slab.top + 0.1))
    return boxes


MORE = [
    ("unet", {"encoder": "resnet50", "decoder_channels": [256, 128, 64, 32]}),
    ("unet", {"encoder": "mobilenetv3_large_100"}),
    ("unet", {"decoder_channels": [64]}),
    ("unet2015", {"padding": False, "width": 16, "batch_norm": True}),
    ("unet2015", {"width": 2}),
    ("fcn8s", {"same_padding": True, "width": 512}),
    ("deeplabv3_resnet50", {"output_stride": 16}),
]


@pytest.mark.parametrize(("name", "given"), [*((name, {}) for name in names()), *MORE])
@pytest.mark.parametrize("size", [(512, 512), (97, 330)])
def test_nothing_is_written_over_anything(name: str, given: dict[str, object], size: tuple[int, int]):
    drawing = layout(describe(name, arguments_given=given, size=size, num_classes=150))
    texts = [label_box(label) for label in drawing.labels]
    texts += numbers([slab for slab in drawing.slabs if slab.text])
    for one, other in itertools.combinations(texts, 2):
        assert not overlap(one, other), (one, other)
    fronts = [(slab.left, slab.bottom, slab.left + slab.width, slab.bottom + slab.height) for slab in drawing.slabs]
    for text, front in itertools.product(texts, fronts):
        assert not overlap(text, front), (text, front)
    for one, other in itertools.combinations(fronts, 2):
        assert not overlap(one, other), (one, other)
    lines = [pair for arrow in drawing.arrows for pair in itertools.pairwise(arrow.points)]
    blank = [
        (
            label_box(label)[0],
            label.top - LINE * len(label.lines),
            label_box(label)[2],
            label.top - LINE * label.lines.count(""),
        )
        for label in drawing.labels
    ]
    blank += numbers([slab for slab in drawing.slabs if slab.text])
    blank += [(left + 0.01, bottom, right - 0.01, top - 0.01) for left, bottom, right, top in fronts]
    for (start, stop), text in itertools.product(lines, blank):
        assert not crosses(start, stop, text), (start, stop, text)


class Spindly(nn.Module):
    """A U of many channels on the left and few below."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in ((3, 512), (512, 512), (512, 512), (512, 8))
        )
        self.up = nn.ModuleList(nn.Conv2d(a, 8, 3, padding=1) for a in (520, 520, 520))

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.down[0](x)]
        for layer in self.down[1:]:
            maps.append(layer(F.max_pool2d(maps[-1], 2)))
        y = maps[-1]
        for skip, layer in zip(maps[-2::-1], self.up, strict=True):
            y = layer(torch.cat([skip, F.interpolate(y, scale_factor=2.0)], 1))
        return y


def test_an_arrow_down_keeps_clear_of_the_other_side_of_the_u():
    traced = trace(Spindly().eval().to("meta"), size=(64, 64))
    drawing = as_a_u(Graph(*stages_of(traced, views(traced.operations), num_classes=8)))
    fronts = [(slab.left, slab.bottom, slab.left + slab.width, slab.bottom + slab.height) for slab in drawing.slabs]
    down = [arrow.points for arrow in drawing.arrows if arrow.flow == "pooling"]
    assert len(down) == 3
    for points, front in itertools.product(down, fronts):
        assert not any(crosses(start, stop, front) for start, stop in itertools.pairwise(points))


@pytest.mark.parametrize("name", names())
def test_every_stage_is_drawn(name: str, described: dict[str, Description]):
    assert layout(described[name]).left_out == []


class Pyramid(nn.Module):
    """Three lateral convolutions, added on the way up; and a branch of two stages, which a line has no place for."""

    def __init__(self, *, num_classes: int, branch: bool = False) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 8), (8, 16), (16, 32)))
        self.side = nn.ModuleList(nn.Conv2d(channels, 16, 1) for channels in (8, 16, 32))
        self.branch = nn.ModuleList([nn.Conv2d(3, 8, 5, 4, 2), nn.ConvTranspose2d(8, 16, 2, 2)]) if branch else None
        self.score = nn.Conv2d(16, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        y = self.side[2](maps[3])
        for level in (1, 0):
            y = F.interpolate(y, scale_factor=2.0) + self.side[level](maps[level + 1])
        if self.branch is not None:
            y = y + self.branch[1](self.branch[0](x))
        return F.interpolate(self.score(y), scale_factor=2.0)


@pytest.fixture
def pyramid(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more architecture, for the time of a test."""
    monkeypatch.setattr(registry, "_ARCHITECTURES", dict(registry._ARCHITECTURES))
    paper = registry.Paper("Lin et al.", "Feature Pyramid Networks", "CVPR 2017", "1612.03144", "Figure 3")
    register = registry.register("pyramid", family="FPN", encoder="its own", paper=paper, explanation="It climbs.")
    register(Pyramid)


@pytest.mark.usefixtures("pyramid")
def test_a_new_architecture_is_drawn_and_described_without_further_edits(tmp_path: Path):
    drawing = layout(describe("pyramid", size=(64, 64)))
    assert [joint.sign for joint in drawing.joints] == ["+", "+"]
    assert sum(arrow.flow == "skip" for arrow in drawing.arrows) == 4  # to a side convolution, and from it to the sum
    described = handbook.descriptions()
    assert "## pyramid\n" in handbook.page(described)
    assert "It climbs." in handbook.page(described)
    assert '"name": "pyramid"' in handbook.table(described)


@pytest.mark.usefixtures("pyramid")
def test_a_drawing_says_what_it_leaves_out(tmp_path: Path):
    description = describe("pyramid", size=(64, 64), arguments_given={"branch": True})
    assert layout(description).left_out == ["branch.0", "branch.1"]
    draw_diagram(description, tmp_path / "pyramid.svg")
    assert any("not drawn: branch.0, branch.1" in text for text in texts(tmp_path / "pyramid.svg"))


def test_the_check_for_overlaps_sees_them():
    assert overlap((0, 0, 2, 2), (1, 1, 3, 3))
    assert not overlap((0, 0, 1, 1), (1, 0, 2, 1))
    assert crosses((0, 0), (2, 2), (0.9, 0.9, 1.1, 1.1))
    assert not crosses((0, 0), (2, 0), (0.9, 0.9, 1.1, 1.1))


def test_everything_lies_on_the_page(described: dict[str, Description]):
    for description in described.values():
        page = figure(description)
        page.draw_without_rendering()
        (axes,) = page.axes
        width, height = page.get_size_inches() * page.dpi
        for text in axes.texts:
            if text.get_text():
                box = text.get_window_extent()
                assert 0 < box.x0 < box.x1 < width, text
                assert 0 < box.y0 < box.y1 < height, text


def test_the_u_nets_are_drawn_as_a_u_and_no_others(described: dict[str, Description]):
    for name, description in described.items():
        assert Graph(description.stages, description.edges).is_u() == name.startswith("unet")


def test_a_u_goes_down_and_up_again(described: dict[str, Description]):
    drawing = layout(described["unet2015"])
    middles = [slab.middle for slab in sorted(drawing.slabs, key=lambda slab: slab.left)]
    lowest = middles.index(min(middles))
    assert middles[:lowest] == sorted(middles[:lowest], reverse=True)
    assert middles[lowest:] == sorted(middles[lowest:])
    flows = [arrow.flow for arrow in drawing.arrows]
    assert (flows.count("pooling"), flows.count("upsampling"), flows.count("skip")) == (4, 4, 4)
    assert all(arrow.points[0][1] == arrow.points[1][1] for arrow in drawing.arrows if arrow.flow == "skip")


def test_segnets_indices_are_nested_bows(described: dict[str, Description]):
    bows = [arrow.points for arrow in layout(described["segnet"]).arrows if arrow.flow == "indices"]
    assert len(bows) == 5
    for outer, inner in itertools.combinations(sorted(bows, key=lambda points: points[0]), 2):
        assert outer[0][0] < inner[0][0] < inner[-1][0] < outer[-1][0]
        assert inner[1][1] < outer[1][1]


def test_aspp_is_a_stack_of_five_and_fcn8s_has_two_joints(described: dict[str, Description]):
    slabs = layout(described["deeplabv3_resnet50"]).slabs
    columns = [[slab.middle for slab in slabs if slab.left == left] for left in {slab.left for slab in slabs}]
    assert sorted(map(len, columns))[-2:] == [1, 5]
    joints = layout(described["fcn8s"]).joints
    assert [joint.sign for joint in joints] == ["+", "+"]


def test_slabs_are_higher_where_maps_are_finer_and_thicker_where_they_have_more_channels(
    described: dict[str, Description],
):
    slabs = [slab for slab in layout(described["unet2015"]).slabs if slab.kind == "convolution"][:10]
    assert [slab.text for slab in slabs] == [str(64 * 2**level) for level in range(5) for _ in range(2)]
    assert [slab.height for slab in slabs] == sorted((slab.height for slab in slabs), reverse=True)
    assert [slab.width for slab in slabs] == sorted(slab.width for slab in slabs)


# Files.


def test_each_kind_of_file_is_what_its_name_says_and_the_same_each_time(
    tmp_path: Path, described: dict[str, Description]
):
    for suffix, start in ((".svg", b"<?xml"), (".png", b"\x89PNG"), (".PDF", b"%PDF")):
        one, other = tmp_path / f"one{suffix}", tmp_path / f"other{suffix}"
        draw_diagram(described["fcn_resnet50"], one)
        draw_diagram(described["fcn_resnet50"], other)
        assert one.read_bytes().startswith(start)
        assert one.read_bytes() == other.read_bytes()
    with Image.open(tmp_path / "one.png") as image:
        assert image.width > 800
    assert ElementTree.parse(tmp_path / "one.svg").getroot().tag.endswith("svg")


def test_files_that_cannot_be_are_refused(tmp_path: Path, described: dict[str, Description]):
    with pytest.raises(PixelwiseError, match=r"'\.gif'; a diagram is one of \.svg, \.png, \.pdf"):
        draw_diagram(described["unet"], tmp_path / "a.gif")
    with pytest.raises(OutputError, match="There is no directory"):
        draw_diagram(described["unet"], tmp_path / "b" / "a.svg")
    assert list(tmp_path.iterdir()) == []


# What is published; `make docs` writes it anew.


def texts(picture: Path) -> list[str]:
    """What an SVG says; matplotlib writes each text as a comment before its outlines."""
    return re.findall(r"<!-- (.*?) -->", picture.read_text(encoding="utf-8"))


def test_page_and_table_are_up_to_date(described: dict[str, Description]):
    everything = list(described.values())
    assert (ROOT / handbook.PAGE).read_text(encoding="utf-8") == handbook.page(everything), "run `make docs`"
    assert (ROOT / handbook.TABLE).read_text(encoding="utf-8") == handbook.table(everything), "run `make docs`"
    assert [entry["name"] for entry in json.loads(handbook.table(everything))["architectures"]] == names()


@pytest.mark.parametrize("name", names())
def test_drawings_are_up_to_date(name: str, tmp_path: Path, described: dict[str, Description]):
    published, fresh = ROOT / handbook.PICTURES / f"{name}.svg", tmp_path / f"{name}.svg"
    draw_diagram(described[name], fresh)
    assert texts(published) == texts(fresh), "run `make docs`"
    version = r"Matplotlib v[\d.]+"
    if re.findall(version, published.read_text()) == re.findall(version, fresh.read_text()):
        assert published.read_bytes() == fresh.read_bytes(), "run `make docs`"


def test_no_drawing_is_left_of_what_is_no_longer_there():
    assert sorted(path.stem for path in (ROOT / handbook.PICTURES).iterdir()) == names()


def test_each_architecture_is_explained(described: dict[str, Description]):
    for description in described.values():
        entry = description.entry
        for text in (entry.summary, entry.strengths, entry.limits, entry.explanation):
            assert text.endswith("."), entry.name
        assert re.fullmatch(r"\d{4}\.\d{4,5}", entry.paper.arxiv)
        assert re.fullmatch(r"Figure \d+", entry.paper.figure)
