from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers import GREEN, NAVY, RED, SCENE_CLASSES, Pixels
from pixelwise.colours import distinct_colours
from pixelwise.labels import ClassShare
from pixelwise.panel import _resize_photo, legend, panel
from pixelwise.render import colourise, overlay


class Ink:
    """Records every text that is drawn: what, and its box (left, top, right, bottom) in pixels."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts: list[str] = []
        self.boxes: list[tuple[float, float, float, float]] = []
        self.sizes: set[float] = set()
        draw = ImageDraw.ImageDraw.text

        def text(canvas: ImageDraw.ImageDraw, xy, text, fill, font, anchor):  # type: ignore[no-untyped-def]
            self.texts.append(text)
            self.boxes.append(canvas.textbbox(xy, text, font, anchor))
            self.sizes.add(font.size)
            draw(canvas, xy, text, fill, font, anchor)

        monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)

    def assert_inside(self, height: int, width: int) -> None:
        for left, top, right, bottom in self.boxes:
            assert 0 <= left <= right <= width
            assert 0 <= top <= bottom <= height

    def assert_apart(self) -> None:
        for i, (left, top, right, bottom) in enumerate(self.boxes):
            for other in self.boxes[i + 1 :]:
                assert right < other[0] or other[2] < left or bottom <= other[1] or other[3] <= top


@pytest.fixture
def ink(monkeypatch: pytest.MonkeyPatch) -> Ink:
    return Ink(monkeypatch)


def some_shares(count: int) -> list[ClassShare]:
    names = ["cat", "a grand piano with a very long name", "W" * 40, "tv monitor"]
    colours = distinct_colours(255)
    shares = [1.0, 0.1234, 0.0001, 0.05]
    return [ClassShare(i, names[i % 4], colours[i], shares[i % 4], (1.0, None)[i % 2]) for i in range(count)]


@pytest.mark.parametrize("width", [120, 150, 384, 1000, 6000])
@pytest.mark.parametrize("count", [1, 2, 7, 60])
def test_a_legend_fits_its_width_and_its_words_do_not_touch(ink: Ink, width: int, count: int) -> None:
    picture = legend(some_shares(count), width=width)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (width, 3)
    assert len(ink.texts) == 2 * count
    ink.assert_inside(*picture.shape[:2])
    ink.assert_apart()
    assert min(ink.sizes) >= 14


@pytest.mark.parametrize("width", [210, 1000])
def test_a_legend_with_confidences_fits_too(ink: Ink, width: int) -> None:
    picture = legend(some_shares(6), width=width, confidence=True)
    ink.assert_inside(*picture.shape[:2])
    ink.assert_apart()
    assert "100.0%   100% sure" in ink.texts
    assert "12.3%" in ink.texts


def test_a_legend_gives_names_percentages_and_swatches(ink: Ink) -> None:
    entries = [ClassShare(1, "cat", RED, 0.755), ClassShare(2, "dog", GREEN, 0.0004), ClassShare(3, "sea", NAVY, 0.0)]
    picture = legend(entries, width=400)
    assert ink.texts == ["cat", "75.5%", "dog", "<0.1%", "sea", "0.0%"]
    for colour in (RED, GREEN, NAVY):
        assert (picture == colour).all(axis=2).sum() >= 80


def test_long_names_end_in_an_ellipsis_and_short_ones_do_not(ink: Ink) -> None:
    legend(some_shares(2), width=240)
    assert ink.texts[0] == "cat"
    assert ink.texts[2].startswith("a grand")
    assert ink.texts[2].endswith("…")


def test_names_are_written_in_letters_the_font_has(ink: Ink) -> None:
    legend([ClassShare(4, "café", RED, 0.5), ClassShare(7, "椅子", GREEN, 0.5)], width=400)
    assert ink.texts[::2] == ["cafe", "class 7"]


def test_many_classes_wrap_into_columns() -> None:
    entries = [ClassShare(i, f"class {i}", RED, 0.1) for i in range(12)]
    heights = [legend(entries, width=width).shape[0] for width in (200, 400, 1000)]
    assert heights[0] == 2 * heights[1]
    assert heights[2] < heights[1]


def test_a_legend_of_nothing_is_empty() -> None:
    assert legend([], width=300).shape == (0, 300, 3)


def test_a_legend_without_room_for_names_is_refused_with_the_width_it_needs(ink: Ink) -> None:
    with pytest.raises(ValueError, match=r"40 pixels wide, but needs (\d+)") as caught:
        legend(some_shares(3), width=40)
    needed = int(str(caught.value).split()[-1].rstrip("."))
    legend(some_shares(3), width=needed)
    with pytest.raises(ValueError, match="needs"):
        legend(some_shares(3), width=needed - 2)


# Panel


@pytest.mark.parametrize(
    ("height", "width"),
    [(64, 64), (375, 500), (500, 333), (3000, 4000), (100, 2000), (2000, 100), (1, 1), (3, 2000), (2000, 1), (1, 5000)],
)
@pytest.mark.parametrize("max_width", [480, 1920])
def test_a_panel_of_any_shape_fits_with_white_margins(ink: Ink, height: int, width: int, max_width: int) -> None:
    photo = np.full((height, width, 3), 50, np.uint8)
    mask = np.ones((height, width), np.uint8)
    picture = panel(photo, mask, SCENE_CLASSES, some_shares(5), max_width=max_width)
    assert picture.dtype == np.uint8
    assert picture.shape[1] <= max_width
    assert picture.shape[0] <= 1.5 * max_width
    inner = picture.copy()
    inner[20:-20, 20:-20] = 255
    assert (inner == 255).all()
    assert ink.texts[-3:] == ["Photo", "Mask", "Overlay"]
    ink.boxes = ink.boxes[-3:]  # those of the legend count from its own corner
    ink.assert_inside(*picture.shape[:2])
    ink.assert_apart()
    assert min(ink.sizes) >= 14


def parts_of(picture: Pixels, height: int, width: int, *, stacked: bool = False) -> list[Pixels]:
    """The three parts of a panel whose photo and mask are saturated all along the top row and the left column."""
    solid = (picture.max(axis=2).astype(int) - picture.min(axis=2)) > 60
    top, left = map(int, np.argwhere(solid)[0])
    corners = np.argwhere(solid[:, left])[:, 0] if stacked else np.argwhere(solid[top])[:, 0]
    starts = [int(c) for i, c in enumerate(corners) if i == 0 or c - corners[i - 1] > 1]
    assert len(starts) == 3
    places = [(start, left) for start in starts] if stacked else [(top, start) for start in starts]
    return [picture[y : y + height, x : x + width] for y, x in places]


@pytest.mark.parametrize(
    ("height", "width", "factor", "stacked"), [(375, 500, 1, False), (64, 64, 6, False), (10, 200, 4, True)]
)
def test_a_panel_shows_photo_mask_and_an_overlay_drawn_at_its_own_size(
    height: int, width: int, factor: int, stacked: bool
) -> None:
    photo = np.zeros((height, width, 3), np.uint8)
    photo[:] = (200, 40, 10)
    photo[height // 2 :] = (10, 90, 180)
    mask = np.ones((height, width), np.uint8)
    mask[height // 3 : height // 2, width // 3 : width // 2] = 2
    picture = panel(photo, mask, SCENE_CLASSES, [], opacity=0.5)
    large, ids = (a.repeat(factor, axis=0).repeat(factor, axis=1) for a in (photo, mask))
    shown = parts_of(picture, height * factor, width * factor, stacked=stacked)
    for part, expected in zip(
        shown, (large, colourise(ids, SCENE_CLASSES), overlay(large, ids, SCENE_CLASSES, opacity=0.5)), strict=True
    ):
        np.testing.assert_array_equal(part, expected)


def test_a_large_photo_is_averaged_and_its_mask_picked() -> None:
    photo = np.zeros((2400, 3200, 3), np.uint8)
    photo[:, :, 0] = 255
    photo[::2, ::2, 1] = 200  # one pixel in four: the average is 50
    mask = np.ones((2400, 3200), np.uint8)
    mask[1200:] = 2
    first, second, _ = parts_of(panel(photo, mask, SCENE_CLASSES, []), 400, 500)
    assert np.abs(first.astype(int) - (255, 50, 0)).max() <= 2
    assert {tuple(c) for c in second.reshape(-1, 3).tolist()} == {RED, GREEN}


@pytest.mark.parametrize(
    ("height", "width", "small"), [(1537, 2049, (150, 200)), (61, 3001, (4, 197)), (900, 5, (300, 2))]
)
def test_scaling_down_in_strips_agrees_with_pillow_on_the_whole(
    height: int, width: int, small: tuple[int, int]
) -> None:
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(7 * x / width + phase) * np.cos(5 * y / height) for phase in (0, 1, 2)]
    photo = np.stack(waves, axis=-1).astype(np.uint8)
    photo[:, width * 3 // 4 :] = 30
    whole = np.asarray(Image.fromarray(photo).resize(small[::-1], Image.Resampling.LANCZOS))
    difference = np.abs(_resize_photo(photo, *small).astype(int) - whole)
    assert difference.max() <= 6


def test_a_panel_narrower_than_480_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="max_width is 479"):
        panel(np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3), np.uint8), SCENE_CLASSES, [], max_width=479)
