from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, JpegImagePlugin
from scipy import ndimage

from pixelwise.colours import VOC_DISPLAY_COLOURS, distinct_colours
from pixelwise.errors import OutputError
from pixelwise.labels import VOC, ClassTable
from pixelwise.render import (
    ClassShare,
    _resize_photo,
    border_width,
    colourise,
    legend,
    overlay,
    panel,
    write_overlay,
    write_picture,
)

RED, GREEN, NAVY = (255, 0, 10), (0, 200, 0), (0, 0, 40)
DARK, WHITE = (16, 18, 22), (255, 255, 255)
CLASSES = ClassTable(("background", "cat", "dog", "sea"), ((0, 0, 0), RED, GREEN, NAVY))
GREY_PHOTO = np.full((3, 3, 3), 100, dtype=np.uint8)
Pixels = NDArray[np.uint8]


def random_scene(height: int, width: int, *, block: int = 17, seed: int = 0) -> tuple[Pixels, Pixels]:
    """Noise, and a mask of blocks of the ids 0 to 3, ignored and unknown, with some stray pixels."""
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    coarse = rng.choice(np.array([0, 1, 2, 3, 255, 77], np.uint8), (height // block + 1, width // block + 1))
    mask = coarse.repeat(block, axis=0).repeat(block, axis=1)[:height, :width].copy()
    mask[rng.random(mask.shape) < 0.002] = 2
    return photo, mask


def octagon(steps: int, first: int) -> NDArray[np.bool_]:
    """What crosses and squares in turn reach from one pixel, with steps numbered from `first`."""
    reach = np.zeros((2 * steps + 1, 2 * steps + 1), dtype=bool)
    reach[steps, steps] = True
    for step in range(first, first + steps):
        reach = ndimage.binary_dilation(reach, ndimage.generate_binary_structure(2, 1 + step % 2))
    return reach


def naive_overlay(photo: Pixels, mask: Pixels, opacity: float) -> Pixels:
    """The whole picture at once, in floats and with SciPy's filters, for `CLASSES`."""
    line = border_width(*mask.shape)
    contrast = max(1, line // 2)
    ranks = np.where(np.isin(mask, [1, 2, 3]), mask.astype(int) + 1, 0)
    highest = ndimage.maximum_filter(ranks, footprint=octagon(contrast, 0), mode="nearest")
    beyond = ndimage.maximum_filter(ranks, footprint=octagon(contrast + line, 0), mode="nearest")
    lowest = ndimage.minimum_filter(ranks, footprint=octagon(line, 0), mode="nearest")
    colours = np.array([(0, 0, 0), (0, 0, 0), RED, GREEN, NAVY])
    contrasts = np.array([(0, 0, 0), (0, 0, 0), DARK, DARK, WHITE])
    weight = round(opacity * 256) / 256
    painted = np.floor(photo * (1 - weight) + colours[ranks] * weight + 0.5)
    out = np.where((ranks > 0)[..., None], painted, photo)
    out = np.where(((lowest < ranks) | ((beyond > ranks) & (ranks > 0)))[..., None], colours[ranks], out)
    return np.where((highest > ranks)[..., None], contrasts[highest], out).astype(np.uint8)


# Colouring and blending


def test_colourise_looks_up_each_id_and_shows_ignored_pixels_in_the_tables_own_way() -> None:
    mask = np.array([[0, 1], [3, 255]], np.uint8)
    assert colourise(mask, CLASSES).tolist() == [[[0, 0, 0], list(RED)], [list(NAVY), [224, 224, 192]]]


def test_overlay_blends_by_hand_computed_values() -> None:
    mask = np.array([[0, 0, 0], [0, 1, 2], [255, 9, 0]], np.uint8)
    picture = overlay(GREY_PHOTO, mask, CLASSES, opacity=0.5, borders=False)
    expected = GREY_PHOTO.copy()
    expected[1, 1] = (178, 50, 55)  # (100 + 255) / 2 = 177.5, (100 + 0) / 2 and (100 + 10) / 2
    expected[1, 2] = (50, 150, 50)
    np.testing.assert_array_equal(picture, expected)


def test_opacity_0_gives_the_photo_and_opacity_1_the_colours() -> None:
    photo, mask = random_scene(40, 50)
    np.testing.assert_array_equal(overlay(photo, mask, CLASSES, opacity=0, borders=False), photo)
    full = overlay(photo, mask, CLASSES, opacity=1, borders=False)
    painted = np.isin(mask, [1, 2, 3])
    np.testing.assert_array_equal(full[painted], colourise(mask, CLASSES)[painted])
    np.testing.assert_array_equal(full[~painted], photo[~painted])


def test_background_is_found_by_name_wherever_it_stands() -> None:
    classes = ClassTable(("pet", "Background"), (RED, GREEN))
    mask = np.array([[0, 1, 1]] * 3, np.uint8)
    picture = overlay(GREY_PHOTO, mask, classes, opacity=1, borders=False)
    assert picture[0].tolist() == [list(RED), [100] * 3, [100] * 3]


def test_without_a_class_named_background_every_class_is_painted() -> None:
    classes = ClassTable(("sky", "road"), (RED, GREEN))
    picture = overlay(GREY_PHOTO, np.zeros((3, 3), np.uint8), classes, opacity=1)
    assert (picture == RED).all()


@pytest.mark.parametrize(("background", "expected"), [(None, [(0, 0, 0), RED]), (1, [(0, 0, 0), (100, 100, 100)])])
def test_background_can_be_chosen(background: int | None, expected: list[tuple[int, int, int]]) -> None:
    photo = np.full((1, 2, 3), 100, np.uint8)
    mask = np.array([[0, 1]], np.uint8)
    picture = overlay(photo, mask, CLASSES, opacity=1, borders=False, background=background)
    assert picture[0].tolist() == [list(colour) for colour in expected]


def test_a_full_table_of_255_classes_is_drawn() -> None:
    classes = ClassTable(tuple(f"c{i}" for i in range(255)), distinct_colours(255))
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = overlay(np.full((16, 16, 3), 7, np.uint8), mask, classes, opacity=1, borders=False)
    assert picture.reshape(-1, 3).tolist() == [*map(list, classes.colours), [7, 7, 7]]


def test_inputs_are_left_as_they_were_and_need_not_be_contiguous() -> None:
    photo, mask = random_scene(60, 80)
    photo_before, mask_before = photo.copy(), mask.copy()
    photo.setflags(write=False)
    mask.setflags(write=False)
    picture = overlay(photo[:, ::-1], mask[:, ::-1], CLASSES)
    np.testing.assert_array_equal(picture, overlay(photo, mask, CLASSES)[:, ::-1])
    np.testing.assert_array_equal(photo, photo_before)
    np.testing.assert_array_equal(mask, mask_before)


# Borders


def test_an_object_is_lined_in_its_colour_and_the_photo_beside_it_is_darkened() -> None:
    mask = np.array([[0, 0, 0, 1, 1, 1]] * 3, np.uint8)
    picture = overlay(np.full((3, 6, 3), 100, np.uint8), mask, CLASSES, opacity=0)
    assert picture.tolist() == [[[100] * 3, [100] * 3, list(DARK), list(RED), [100] * 3, [100] * 3]] * 3


def test_two_classes_have_a_line_each_with_the_contrast_between() -> None:
    mask = np.array([[1, 1, 1, 1, 2, 2, 2]], np.uint8).T
    picture = overlay(np.full((7, 1, 3), 100, np.uint8), mask, CLASSES, opacity=0)
    assert picture[:, 0].tolist() == [[100] * 3, [100] * 3, list(RED), list(DARK), list(GREEN), [100] * 3, [100] * 3]


def test_a_very_dark_class_is_set_off_in_white() -> None:
    mask = np.array([[0, 0, 3, 3]], np.uint8)
    picture = overlay(np.full((1, 4, 3), 100, np.uint8), mask, CLASSES, opacity=0)
    assert picture[0].tolist() == [[100] * 3, list(WHITE), list(NAVY), [100] * 3]


def test_ignored_and_unknown_pixels_have_no_border_against_the_background() -> None:
    mask = np.array([[0, 0, 255, 255, 77, 77]], np.uint8)
    photo = np.full((1, 6, 3), 100, np.uint8)
    np.testing.assert_array_equal(overlay(photo, mask, CLASSES), photo)


def test_the_edge_of_the_photo_is_no_border() -> None:
    mask = np.ones((9, 9), np.uint8)
    picture = overlay(np.full((9, 9, 3), 100, np.uint8), mask, CLASSES)
    np.testing.assert_array_equal(picture, np.broadcast_to(picture[4, 4], picture.shape))


@pytest.mark.parametrize(
    ("height", "width", "line"),
    [(1, 1, 1), (64, 64, 1), (300, 300, 1), (480, 640, 1), (3000, 4000, 3), (10_000, 10_000, 6)],
)
def test_lines_grow_with_the_photo_but_slower(height: int, width: int, line: int) -> None:
    assert border_width(height, width) == line


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (250, 3), (333, 517), (1300, 700), (3, 1_200_000)])
def test_overlay_equals_a_naive_one_of_the_whole_picture(height: int, width: int) -> None:
    photo, mask = random_scene(height, width)
    np.testing.assert_array_equal(overlay(photo, mask, CLASSES, opacity=0.4), naive_overlay(photo, mask, 0.4))


def test_overlay_commutes_with_turning_and_mirroring() -> None:
    photo, mask = random_scene(200, 700)
    picture = overlay(photo, mask, CLASSES)
    np.testing.assert_array_equal(overlay(np.rot90(photo), np.rot90(mask), CLASSES), np.rot90(picture))
    np.testing.assert_array_equal(overlay(photo[::-1], mask[::-1], CLASSES), picture[::-1])


# Bad arguments


@pytest.mark.parametrize("opacity", [-0.01, 1.01, float("nan")])
def test_an_opacity_outside_0_to_1_is_refused(opacity: float) -> None:
    with pytest.raises(ValueError, match=f"opacity is {opacity}"):
        overlay(GREY_PHOTO, np.zeros((3, 3), np.uint8), CLASSES, opacity=opacity)


@pytest.mark.parametrize(
    ("photo", "mask", "message"),
    [
        (GREY_PHOTO, np.zeros((3, 4), np.uint8), r"\(3, 3, 3\).*\(3, 4\)"),
        (GREY_PHOTO, np.zeros((3, 3), np.int64), r"int64 \(3, 3\)"),
        (GREY_PHOTO, np.zeros((3, 3, 1), np.uint8), r"uint8 \(3, 3, 1\)"),
        (GREY_PHOTO[..., 0], np.zeros((3, 3), np.uint8), r"uint8 \(3, 3\); expected uint8 \(H, W, 3\)"),
        (GREY_PHOTO / 255, np.zeros((3, 3), np.uint8), r"float64 \(3, 3, 3\)"),
        (GREY_PHOTO[:0], np.zeros((0, 3), np.uint8), r"\(0, 3, 3\).*empty"),
    ],
)
def test_shapes_and_types_that_do_not_fit_are_refused(photo: Pixels, mask: Pixels, message: str) -> None:
    for draw in (lambda: overlay(photo, mask, CLASSES), lambda: panel(photo, mask, CLASSES, [])):
        with pytest.raises(ValueError, match=message):
            draw()


@pytest.mark.parametrize("background", [-1, 4])
def test_a_background_that_is_no_class_is_refused(background: int) -> None:
    with pytest.raises(ValueError, match=f"background is {background}.* 0 to 3"):
        overlay(GREY_PHOTO, np.zeros((3, 3), np.uint8), CLASSES, background=background)


# Files


def test_write_overlay_as_png_holds_the_overlay_exactly(tmp_path: Path) -> None:
    photo, mask = random_scene(700, 300)
    write_overlay(tmp_path / "o.PNG", photo, mask, CLASSES, opacity=0.3, borders=True, background=2)
    with Image.open(tmp_path / "o.PNG") as written:
        assert written.format == "PNG"
        expected = overlay(photo, mask, CLASSES, opacity=0.3, borders=True, background=2)
        np.testing.assert_array_equal(np.asarray(written), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["o.PNG"]


@pytest.mark.parametrize("name", ["o.jpg", "o.jpeg"])
def test_write_overlay_as_jpeg_keeps_full_colour_resolution(tmp_path: Path, name: str) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 33:] = 1
    photo = np.full((64, 64, 3), 90, np.uint8)
    write_overlay(tmp_path / name, photo, mask, CLASSES)
    with Image.open(tmp_path / name) as written:
        assert isinstance(written, JpegImagePlugin.JpegImageFile)
        assert JpegImagePlugin.get_sampling(written) == 0  # 4:4:4
        difference = np.asarray(written).astype(int) - overlay(photo, mask, CLASSES)
    assert np.abs(difference).mean() < 1.5


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), MemoryError()])
@pytest.mark.parametrize("existing", [None, b"yesterday's"])
def test_a_failed_write_leaves_nothing_and_spares_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, existing: bytes | None
) -> None:
    def save(self: Image.Image, file: object, *args: object, **options: object) -> None:
        file.write(b"half a picture")  # type: ignore[attr-defined]
        raise failure

    path = tmp_path / "o.png"
    if existing is not None:
        path.write_bytes(existing)
    monkeypatch.setattr(Image.Image, "save", save)
    expected = OutputError if isinstance(failure, OSError) else MemoryError
    with pytest.raises(expected, match=r"o\.png.*No space left" if expected is OutputError else None):
        write_overlay(path, GREY_PHOTO, np.zeros((3, 3), np.uint8), CLASSES)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({} if existing is None else {"o.png": existing})


def test_a_written_picture_has_the_permissions_of_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_picture(tmp_path / "p.png", GREY_PHOTO)
    assert (tmp_path / "p.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_write_picture_replaces_an_older_file_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(b"older")
    with path.open("rb") as reader:
        write_picture(path, GREY_PHOTO)
        assert reader.read() == b"older"  # who has it open is not disturbed
    np.testing.assert_array_equal(np.asarray(Image.open(path)), GREY_PHOTO)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "missing" / "o.png", tmp_path / "file" / "o.png", tmp_path / "folder.png"):
        with pytest.raises(OutputError, match=path.name):
            write_picture(path, GREY_PHOTO)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.parametrize("name", ["o.gif", "o"])
def test_a_suffix_that_is_no_picture_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"\.jpg or \.png"):
        write_overlay(tmp_path / name, GREY_PHOTO, np.zeros((3, 3), np.uint8), CLASSES)
    assert not list(tmp_path.iterdir())


def test_a_photo_too_long_for_jpeg_is_refused_with_the_way_out(tmp_path: Path) -> None:
    picture = np.zeros((1, 65_536, 3), np.uint8)
    with pytest.raises(OutputError, match=r"65536x1 .*\.png"):
        write_picture(tmp_path / "o.jpg", picture)
    write_picture(tmp_path / "o.png", picture)


# Legend


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
    picture = panel(photo, mask, CLASSES, some_shares(5), max_width=max_width)
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
    picture = panel(photo, mask, CLASSES, [], opacity=0.5)
    large, ids = (a.repeat(factor, axis=0).repeat(factor, axis=1) for a in (photo, mask))
    shown = parts_of(picture, height * factor, width * factor, stacked=stacked)
    for part, expected in zip(
        shown, (large, colourise(ids, CLASSES), overlay(large, ids, CLASSES, opacity=0.5)), strict=True
    ):
        np.testing.assert_array_equal(part, expected)


def test_a_large_photo_is_averaged_and_its_mask_picked() -> None:
    photo = np.zeros((2400, 3200, 3), np.uint8)
    photo[:, :, 0] = 255
    photo[::2, ::2, 1] = 200  # one pixel in four: the average is 50
    mask = np.ones((2400, 3200), np.uint8)
    mask[1200:] = 2
    first, second, _ = parts_of(panel(photo, mask, CLASSES, []), 400, 500)
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
        panel(GREY_PHOTO, np.zeros((3, 3), np.uint8), CLASSES, [], max_width=479)


def test_a_panel_of_a_real_photo_with_its_ground_truth() -> None:
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "voc"
    if not folder.is_dir():
        pytest.skip("shared/data/voc is not here")
    photo = np.asarray(Image.open(folder / "JPEGImages" / "2007_000129.jpg").convert("RGB"))
    mask = np.asarray(Image.open(folder / "SegmentationClass" / "2007_000129.png"))
    classes = ClassTable(VOC.names, VOC_DISPLAY_COLOURS)
    picture = overlay(photo, mask, classes)
    untouched = ndimage.minimum_filter(np.isin(mask, [0, 255]), size=5)
    assert untouched.any()
    np.testing.assert_array_equal(picture[untouched], photo[untouched])
    assert (picture != photo)[~np.isin(mask, [0, 255])].any(axis=-1).mean() > 0.99


# Colours, measured anew: Machado, Oliveira and Fernandes 2009 at severity 1.0, on linear RGB

VISION = {
    "normal": np.eye(3),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}


def lab(colours: tuple[tuple[int, int, int], ...], vision: str) -> NDArray[np.float64]:
    """CIELAB (N, 3), D65, of sRGB colours as someone with this vision sees them."""
    srgb = np.array(colours) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ VISION[vision].T, 0, 1)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
    )
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def ciede2000(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colour difference of CIELAB colours (..., 3). Source: Sharma, Wu and Dalal 2005, doi:10.1002/col.20070."""
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(one, -1, 0), np.moveaxis(other, -1, 0)
    mean7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(mean7 / (mean7 + 25.0**7)))
    c1, c2 = np.hypot((1 + g) * a1, b1), np.hypot((1 + g) * a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, (1 + g) * a1)) % 360, np.degrees(np.arctan2(b2, (1 + g) * a2)) % 360
    turn = (h2 - h1 + 180) % 360 - 180
    hue = (h1 + turn / 2) % 360
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    t = 1 - 0.17 * np.cos(np.radians(hue - 30)) + 0.24 * np.cos(np.radians(2 * hue))
    t += 0.32 * np.cos(np.radians(3 * hue + 6)) - 0.20 * np.cos(np.radians(4 * hue - 63))
    delta_l = (l2 - l1) / (1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2))
    delta_c = (c2 - c1) / (1 + 0.045 * chroma)
    delta_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * chroma * t)
    rotation = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    rotation = rotation * np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    return np.sqrt(delta_l**2 + delta_c**2 + delta_h**2 + rotation * delta_c * delta_h)


def smallest_difference(colours: tuple[tuple[int, int, int], ...], vision: str) -> float:
    seen = lab(colours, vision)
    first, second = np.triu_indices(len(colours), 1)
    return float(ciede2000(seen[first], seen[second]).min())


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ],
)
def test_the_colour_difference_agrees_with_the_published_test_data(
    one: tuple[float, ...], other: tuple[float, ...], difference: float
) -> None:
    assert ciede2000(np.array(one), np.array(other)) == pytest.approx(difference, abs=5e-5)


FREQUENT = ("person", "cat", "dog", "horse", "sheep", "cow", "car", "bird", "chair", "bottle")


@pytest.mark.parametrize(
    ("names", "normal", "deutan", "protan"),
    [(FREQUENT[:6], 32, 20, 20), (FREQUENT, 21, 12, 13), (VOC.names, 16, 6, 7)],
)
def test_the_models_classes_can_be_told_apart(
    names: tuple[str, ...], normal: float, deutan: float, protan: float
) -> None:
    colours = tuple(VOC_DISPLAY_COLOURS[VOC.names.index(name)] for name in names)
    assert smallest_difference(colours, "normal") >= normal
    assert smallest_difference(colours, "deutan") >= deutan
    assert smallest_difference(colours, "protan") >= protan


def test_the_models_table_is_complete_and_bright() -> None:
    assert len(VOC_DISPLAY_COLOURS) == len(VOC)
    assert VOC_DISPLAY_COLOURS[0] == (0, 0, 0)
    lightness, a, b = lab(VOC_DISPLAY_COLOURS[1:], "normal").T
    assert lightness.min() >= 46
    assert np.hypot(a, b).min() >= 38


@pytest.mark.parametrize(
    ("count", "normal", "deficient"), [(2, 50, 50), (3, 50, 34), (8, 28, 17), (28, 17, 5.5), (64, 11, 0), (255, 6, 0)]
)
def test_distinct_colours_keep_their_distance(count: int, normal: float, deficient: float) -> None:
    colours = distinct_colours(count)
    assert len(set(colours)) == count
    assert smallest_difference(colours, "normal") >= normal
    assert min(smallest_difference(colours, "deutan"), smallest_difference(colours, "protan")) >= deficient
    lightness, a, b = lab(colours, "normal").T
    assert lightness.min() >= 40
    assert np.hypot(a, b).min() >= 25


def test_more_distinct_colours_begin_with_fewer() -> None:
    assert distinct_colours(0) == ()
    for count in (1, 8, 100):
        assert distinct_colours(255)[:count] == distinct_colours(count)


@pytest.mark.parametrize("count", [-1, 256])
def test_a_count_of_colours_that_no_table_has_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} colours"):
        distinct_colours(count)


def test_distinct_colours_make_a_class_table() -> None:
    assert len(ClassTable(tuple(map(str, range(255))), distinct_colours(255))) == 255
