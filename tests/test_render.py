from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from scipy import ndimage

from helpers import GREEN, NAVY, RED, SCENE_CLASSES, Pixels, random_scene
from pixelwise.colours import VOC_DISPLAY_COLOURS, distinct_colours
from pixelwise.errors import OutputError
from pixelwise.labels import VOC, ClassTable
from pixelwise.panel import panel
from pixelwise.render import (
    border_width,
    colourise,
    overlay,
    write_overlay,
    write_picture,
)

DARK, WHITE = (16, 18, 22), (255, 255, 255)
GREY_PHOTO = np.full((3, 3, 3), 100, dtype=np.uint8)


def octagon(steps: int, first: int) -> NDArray[np.bool_]:
    """What crosses and squares in turn reach from one pixel, with steps numbered from `first`."""
    reach = np.zeros((2 * steps + 1, 2 * steps + 1), dtype=bool)
    reach[steps, steps] = True
    for step in range(first, first + steps):
        reach = ndimage.binary_dilation(reach, ndimage.generate_binary_structure(2, 1 + step % 2))
    return reach


def naive_overlay(photo: Pixels, mask: Pixels, opacity: float) -> Pixels:
    """The whole picture at once, in floats and with SciPy's filters, for `SCENE_CLASSES`."""
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
    assert colourise(mask, SCENE_CLASSES).tolist() == [[[0, 0, 0], list(RED)], [list(NAVY), [224, 224, 192]]]


def test_overlay_blends_by_hand_computed_values() -> None:
    mask = np.array([[0, 0, 0], [0, 1, 2], [255, 9, 0]], np.uint8)
    picture = overlay(GREY_PHOTO, mask, SCENE_CLASSES, opacity=0.5, borders=False)
    expected = GREY_PHOTO.copy()
    expected[1, 1] = (178, 50, 55)  # (100 + 255) / 2 = 177.5, (100 + 0) / 2 and (100 + 10) / 2
    expected[1, 2] = (50, 150, 50)
    np.testing.assert_array_equal(picture, expected)


def test_opacity_0_gives_the_photo_and_opacity_1_the_colours() -> None:
    photo, mask = random_scene(40, 50)
    np.testing.assert_array_equal(overlay(photo, mask, SCENE_CLASSES, opacity=0, borders=False), photo)
    full = overlay(photo, mask, SCENE_CLASSES, opacity=1, borders=False)
    painted = np.isin(mask, [1, 2, 3])
    np.testing.assert_array_equal(full[painted], colourise(mask, SCENE_CLASSES)[painted])
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
    picture = overlay(photo, mask, SCENE_CLASSES, opacity=1, borders=False, background=background)
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
    picture = overlay(photo[:, ::-1], mask[:, ::-1], SCENE_CLASSES)
    np.testing.assert_array_equal(picture, overlay(photo, mask, SCENE_CLASSES)[:, ::-1])
    np.testing.assert_array_equal(photo, photo_before)
    np.testing.assert_array_equal(mask, mask_before)


# Borders


def test_an_object_is_lined_in_its_colour_and_the_photo_beside_it_is_darkened() -> None:
    mask = np.array([[0, 0, 0, 1, 1, 1]] * 3, np.uint8)
    picture = overlay(np.full((3, 6, 3), 100, np.uint8), mask, SCENE_CLASSES, opacity=0)
    assert picture.tolist() == [[[100] * 3, [100] * 3, list(DARK), list(RED), [100] * 3, [100] * 3]] * 3


def test_two_classes_have_a_line_each_with_the_contrast_between() -> None:
    mask = np.array([[1, 1, 1, 1, 2, 2, 2]], np.uint8).T
    picture = overlay(np.full((7, 1, 3), 100, np.uint8), mask, SCENE_CLASSES, opacity=0)
    assert picture[:, 0].tolist() == [[100] * 3, [100] * 3, list(RED), list(DARK), list(GREEN), [100] * 3, [100] * 3]


def test_a_very_dark_class_is_set_off_in_white() -> None:
    mask = np.array([[0, 0, 3, 3]], np.uint8)
    picture = overlay(np.full((1, 4, 3), 100, np.uint8), mask, SCENE_CLASSES, opacity=0)
    assert picture[0].tolist() == [[100] * 3, list(WHITE), list(NAVY), [100] * 3]


def test_ignored_and_unknown_pixels_have_no_border_against_the_background() -> None:
    mask = np.array([[0, 0, 255, 255, 77, 77]], np.uint8)
    photo = np.full((1, 6, 3), 100, np.uint8)
    np.testing.assert_array_equal(overlay(photo, mask, SCENE_CLASSES), photo)


def test_the_edge_of_the_photo_is_no_border() -> None:
    mask = np.ones((9, 9), np.uint8)
    picture = overlay(np.full((9, 9, 3), 100, np.uint8), mask, SCENE_CLASSES)
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
    np.testing.assert_array_equal(overlay(photo, mask, SCENE_CLASSES, opacity=0.4), naive_overlay(photo, mask, 0.4))


def test_overlay_commutes_with_turning_and_mirroring() -> None:
    photo, mask = random_scene(200, 700)
    picture = overlay(photo, mask, SCENE_CLASSES)
    np.testing.assert_array_equal(overlay(np.rot90(photo), np.rot90(mask), SCENE_CLASSES), np.rot90(picture))
    np.testing.assert_array_equal(overlay(photo[::-1], mask[::-1], SCENE_CLASSES), picture[::-1])


# Bad arguments


@pytest.mark.parametrize("opacity", [-0.01, 1.01, float("nan")])
def test_an_opacity_outside_0_to_1_is_refused(opacity: float) -> None:
    with pytest.raises(ValueError, match=f"opacity is {opacity}"):
        overlay(GREY_PHOTO, np.zeros((3, 3), np.uint8), SCENE_CLASSES, opacity=opacity)


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
    for draw in (lambda: overlay(photo, mask, SCENE_CLASSES), lambda: panel(photo, mask, SCENE_CLASSES, [])):
        with pytest.raises(ValueError, match=message):
            draw()


@pytest.mark.parametrize("background", [-1, 4])
def test_a_background_that_is_no_class_is_refused(background: int) -> None:
    with pytest.raises(ValueError, match=f"background is {background}.* 0 to 3"):
        overlay(GREY_PHOTO, np.zeros((3, 3), np.uint8), SCENE_CLASSES, background=background)


# Files


def test_write_overlay_as_png_holds_the_overlay_exactly(tmp_path: Path) -> None:
    photo, mask = random_scene(700, 300)
    write_overlay(tmp_path / "o.PNG", photo, mask, SCENE_CLASSES, opacity=0.3, borders=True, background=2)
    with Image.open(tmp_path / "o.PNG") as written:
        assert written.format == "PNG"
        expected = overlay(photo, mask, SCENE_CLASSES, opacity=0.3, borders=True, background=2)
        np.testing.assert_array_equal(np.asarray(written), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["o.PNG"]


@pytest.mark.parametrize("name", ["o.jpg", "o.jpeg"])
def test_write_overlay_as_jpeg_keeps_full_colour_resolution(tmp_path: Path, name: str) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 33:] = 1
    photo = np.full((64, 64, 3), 90, np.uint8)
    write_overlay(tmp_path / name, photo, mask, SCENE_CLASSES)
    with Image.open(tmp_path / name) as written:
        assert isinstance(written, JpegImagePlugin.JpegImageFile)
        assert JpegImagePlugin.get_sampling(written) == 0  # 4:4:4
        difference = np.asarray(written).astype(int) - overlay(photo, mask, SCENE_CLASSES)
    assert np.abs(difference).mean() < 1.5


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), MemoryError()])
@pytest.mark.parametrize("existing", [None, b"yesterday's"])
def test_a_failed_write_leaves_nothing_and_spares_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, existing: bytes | None
) -> None:
    def save(self: Image.Image, path: Path, *args: object, **options: object) -> None:
        path.write_bytes(b"half a picture")
        raise failure

    path = tmp_path / "o.png"
    if existing is not None:
        path.write_bytes(existing)
    monkeypatch.setattr(Image.Image, "save", save)
    expected = OutputError if isinstance(failure, OSError) else MemoryError
    with pytest.raises(expected, match=r"o\.png.*No space left" if expected is OutputError else None):
        write_overlay(path, GREY_PHOTO, np.zeros((3, 3), np.uint8), SCENE_CLASSES)
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
        write_overlay(tmp_path / name, GREY_PHOTO, np.zeros((3, 3), np.uint8), SCENE_CLASSES)
    assert not list(tmp_path.iterdir())


def test_a_photo_too_long_for_jpeg_is_refused_with_the_way_out(tmp_path: Path) -> None:
    picture = np.zeros((1, 65_536, 3), np.uint8)
    with pytest.raises(OutputError, match=r"65536x1 .*\.png"):
        write_picture(tmp_path / "o.jpg", picture)
    write_picture(tmp_path / "o.png", picture)


def test_the_overlay_of_a_real_photo_with_its_ground_truth() -> None:
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
