from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers import PHOTOS
from pixelwise.data.class_names import KnownClasses, colour_name, read_class_file
from pixelwise.data.detection import Finding, detect
from pixelwise.data.survey import survey_masks
from pixelwise.errors import DataError, MaskError
from pixelwise.labels import VOC

Pixels = np.ndarray
YAML = Path("dataset.yaml")


def scenes(classes: int, *, count: int = 6, seed: int = 0, size: int = 48) -> list[Pixels]:
    """Class maps of rectangles, uint8 (size, size + 8); every class is in each."""
    rng = np.random.default_rng(seed)
    maps = []
    for _ in range(count):
        ids = np.zeros((size, size + 8), np.uint8)
        for at in range(1, classes):
            top, left = rng.integers(0, size - 14, 2)
            ids[top : top + 12, left : left + 12] = at
        for at in range(classes):  # none is hidden, whatever was drawn over it
            ids[-1, 3 * at : 3 * at + 3] = at
        maps.append(ids)
    return maps


def save(folder: Path, pictures: list[Pixels | Image.Image], suffix: str = ".png", **options: object) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, picture in enumerate(pictures):
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        paths.append(folder / f"{len(list(folder.iterdir())):03d}{suffix}")
        image.save(paths[number], **options)
    return paths


def found(paths: list[Path], known: KnownClasses | None = None, ignore_index: int = 255) -> Finding:
    return detect(survey_masks(paths), yaml=YAML, known=known, ignore_index=ignore_index)


def comes_back(paths: list[Path], maps: list[Pixels], finding: Finding | None = None) -> Finding:
    finding = finding or found(paths)
    for path, ids in zip(paths, maps, strict=True):
        np.testing.assert_array_equal(finding.encoding.decode(path), ids)
    return finding


def with_palette(ids: Pixels, colours: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(ids)
    image.putpalette([channel for colour in colours for channel in colour])
    return image


PLAIN = [(0, 0, 0), (200, 0, 0), (0, 180, 20), (20, 40, 230), (240, 230, 30)]


# What comes back must be what was encoded.


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_class_ids_are_taken_as_they_are(tmp_path: Path, classes: int) -> None:
    maps = scenes(classes)
    finding = comes_back(save(tmp_path, maps), maps)
    assert finding.classes.names == (
        "background",
        *("object" if classes == 2 else f"class {i}" for i in range(1, classes)),
    )
    assert finding.classes.colours[0] == (0, 0, 0)


@pytest.mark.parametrize("pair", [(0, 255), (0, 1), (0, 128), (29, 76), (1, 2)])
def test_two_values_are_background_and_object(tmp_path: Path, pair: tuple[int, int]) -> None:
    maps = scenes(2)
    finding = comes_back(save(tmp_path, [np.where(ids, pair[1], pair[0]).astype(np.uint8) for ids in maps]), maps)
    assert finding.classes.names == ("background", "object")
    assert sum(finding.classes.colours[1]) > 200, "an object has to be seen"
    assert f"{pair[0]} and {pair[1]}" in finding.encoding.reason


def test_255_is_the_object_where_it_is_alone_and_not_labelled_beside_ids(tmp_path: Path) -> None:
    maps = scenes(4)
    bordered = [ids.copy() for ids in maps]
    for ids in bordered:
        ids[20, :] = 255
    finding = comes_back(save(tmp_path, bordered), bordered)
    assert len(finding.classes) == 4
    assert "255 is not labelled" in finding.encoding.reason


def test_values_from_one_are_shifted_and_that_is_said(tmp_path: Path) -> None:
    maps = scenes(3)
    lined = [ids + 1 for ids in maps]
    lined[0][5, 5] = 255
    expected = [ids.copy() for ids in maps]
    expected[0][5, 5] = 255
    finding = comes_back(save(tmp_path, lined), expected)
    assert finding.classes.names == ("class 1", "class 2", "class 3")
    assert "1 to 3 and never 0, read as class ids 0 to 2" in finding.encoding.reason


def test_values_with_gaps_become_a_class_each(tmp_path: Path) -> None:
    maps = scenes(3)
    for values, names in (([0, 128, 255], "class 255"), ([0, 8, 15], "class 15")):
        finding = comes_back(save(tmp_path / names, [np.array(values, np.uint8)[ids] for ids in maps]), maps)
        assert finding.classes.names[::2] == ("background", names)
    sparse = np.array([0, 8, 15, 255], np.uint8)
    maps = scenes(4)
    finding = found(save(tmp_path / "void", [sparse[ids] for ids in maps]))
    assert len(finding.classes) == 3, "255 beside ids is not labelled, also where ids have gaps"


def test_wide_samples_hold_ids_too(tmp_path: Path) -> None:
    maps = scenes(3)
    comes_back(save(tmp_path / "ids", [ids.astype(np.uint16) for ids in maps]), maps)
    comes_back(save(tmp_path / "far", [np.array([0, 1000, 2000], np.uint16)[ids] for ids in maps]), maps)
    comes_back(save(tmp_path / "tiff", [ids.astype(np.float32) for ids in maps], ".tif"), maps)


def test_a_palette_gives_the_colours_and_the_index_the_class(tmp_path: Path) -> None:
    maps = scenes(5)
    finding = comes_back(save(tmp_path, [with_palette(ids, PLAIN) for ids in maps]), maps)
    assert finding.classes.colours == tuple(PLAIN)
    assert finding.encoding.kind == "value"


def test_a_palette_that_shows_nothing_is_replaced_by_distinct_colours(tmp_path: Path) -> None:
    maps = scenes(3)
    dark = [(0, 0, 0), (1, 1, 1), (2, 2, 2)]
    finding = comes_back(save(tmp_path, [with_palette(ids, dark) for ids in maps]), maps)
    assert finding.classes.colours[0] == (0, 0, 0)
    assert min(max(colour) for colour in finding.classes.colours[1:]) > 100


def test_where_palettes_differ_the_colour_counts(tmp_path: Path) -> None:
    maps = scenes(5)
    turned = [with_palette((ids + at) % 5, PLAIN[-at % 5 :] + PLAIN[: -at % 5]) for at, ids in enumerate(maps)]
    order = np.argsort([r << 16 | g << 8 | b for r, g, b in PLAIN]).argsort().astype(np.uint8)
    finding = comes_back(save(tmp_path, turned, ".gif"), [order[ids] for ids in maps])
    assert finding.encoding.kind == "colour"
    assert sorted(finding.classes.colours) == sorted(PLAIN)


def test_grey_ids_beside_ids_with_a_palette_are_refused(tmp_path: Path) -> None:
    maps = scenes(3)
    grey = save(tmp_path / "masks", list(maps[:3]))
    indexed = save(tmp_path / "masks", [with_palette(ids, PLAIN) for ids in maps[3:]])
    with pytest.raises(DataError, match=r"000\.png is grey and .*003\.png has a palette"):
        found(grey + indexed)
    black_and_white = [(0, 0, 0), (255, 255, 255)]
    maps = scenes(2)
    grey = save(tmp_path / "others", [ids * 255 for ids in maps[:3]])
    indexed = save(tmp_path / "others", [with_palette(ids, black_and_white) for ids in maps[3:]])
    comes_back(paths := grey + indexed, maps, found(paths))


def test_grey_ids_beside_colours_are_refused(tmp_path: Path) -> None:
    maps = scenes(3)
    coloured = [np.array(PLAIN, np.uint8)[ids] for ids in maps[1:]]
    with pytest.raises(
        DataError, match=r"005\.png is grey and .*000\.png in colour; the grey values 0 to 2 seem to be"
    ):
        found(save(tmp_path / "ids", [*coloured, maps[0]]))
    black = np.zeros_like(maps[0])
    by_colour = [np.array([0, 2, 1], np.uint8)[ids] for ids in maps[1:]]
    comes_back(save(tmp_path / "black", [*coloured, black]), [*by_colour, black])


def test_what_is_ignored_is_no_class(tmp_path: Path) -> None:
    known = KnownClasses(("road", "car", "tree"), None, "dataset.yaml", stated=True)
    with pytest.raises(DataError, match=r"`ignore_index` is 0, which is the id of road\. .*`\{0: ignore, 1: tree\}`"):
        found(save(tmp_path, scenes(4)), known, ignore_index=0)


def test_colours_are_classes_black_first(tmp_path: Path) -> None:
    maps = scenes(5)
    order = np.argsort([r << 16 | g << 8 | b for r, g, b in PLAIN]).argsort().astype(np.uint8)
    finding = comes_back(save(tmp_path, [np.array(PLAIN, np.uint8)[ids] for ids in maps]), [order[ids] for ids in maps])
    assert finding.classes.names == (
        "background",
        "green 0,180,20",
        "blue 20,40,230",
        "red 200,0,0",
        "yellow 240,230,30",
    )


def test_grey_stored_three_times_is_a_value(tmp_path: Path) -> None:
    maps = scenes(2)
    finding = comes_back(save(tmp_path, [np.stack([ids * 255] * 3, axis=-1) for ids in maps]), maps)
    assert finding.encoding.kind == "value"


def test_the_opacity_counts_where_the_colour_is_constant(tmp_path: Path) -> None:
    maps = scenes(2)
    red = [np.dstack([np.full_like(ids, 200), ids * 0, ids * 0, ids * 255]) for ids in maps]
    finding = comes_back(save(tmp_path, red), maps)
    assert finding.encoding.kind == "alpha"
    assert (
        "the opacity of 5 of them was left aside" in found(save(tmp_path / "some", [*red[1:], maps[0]])).encoding.reason
    )
    with pytest.raises(MaskError, match="no opacity"):
        finding.encoding.decode(save(tmp_path, [maps[0]])[0])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(2, 12),
    st.integers(0, 1000),
    st.sampled_from(["ids", "colour", "palette", "wide", "shifted", "spread", "rgb grey"]),
)
def test_any_class_map_comes_back_from_any_exact_encoding(tmp_path: Path, classes: int, seed: int, how: str) -> None:
    maps = scenes(classes, count=3, seed=seed)
    rng = np.random.default_rng(seed)
    colours = np.sort(rng.choice(1 << 24, classes, replace=False))
    table = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=-1).astype(np.uint8)
    levels = np.linspace(0, 255, classes).round().astype(np.uint8)
    encoded = {
        "ids": lambda ids: ids,
        "colour": lambda ids: table[ids],
        "palette": lambda ids: with_palette(ids, [tuple(map(int, row)) for row in table]),
        "wide": lambda ids: ids.astype(np.uint16),
        "shifted": lambda ids: ids + 1,
        "spread": lambda ids: levels[ids],
        "rgb grey": lambda ids: np.stack([ids] * 3, axis=-1),
    }[how]
    folder = tmp_path / f"{classes}-{seed}-{how}"
    for path in folder.glob("*"):
        path.unlink()
    comes_back(save(folder, [encoded(ids) for ids in maps]), maps)


# Damage.


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_masks_are_read_by_the_nearest_value_and_the_damage_is_said(tmp_path: Path, quality: int) -> None:
    maps = [ids.repeat(3, axis=0).repeat(3, axis=1) for ids in scenes(2)]
    paths = save(tmp_path, [ids * 255 for ids in maps], ".jpg", quality=quality)
    finding = comes_back(paths, maps)
    assert finding.classes.names == ("background", "object")
    assert "cluster at " in finding.encoding.reason
    assert " % of the pixels differ" in finding.encoding.reason


def test_jpeg_colours_come_back_but_at_edges(tmp_path: Path) -> None:
    table = np.array([(0, 0, 0), (0, 128, 0), (128, 0, 0), (128, 128, 0)], np.uint8)
    maps = [ids.repeat(4, axis=0).repeat(4, axis=1) for ids in scenes(4)]
    finding = found(save(tmp_path, [table[ids] for ids in maps], ".jpg", quality=85))
    assert len(finding.classes) == 4
    decoded = np.stack([finding.encoding.decode(path) for path in sorted(tmp_path.iterdir())])
    labelled = decoded != 255
    assert labelled.mean() > 0.85
    assert (decoded == np.stack(maps))[labelled].mean() > 0.97


def test_the_border_of_voc_is_not_labelled_smeared_or_not(tmp_path: Path) -> None:
    table = np.array([(0, 0, 0), (128, 0, 0), (224, 224, 192)], np.uint8)
    maps = [ids.repeat(4, axis=0).repeat(4, axis=1) for ids in scenes(3)]
    for suffix in (".png", ".jpg"):
        paths = save(tmp_path / suffix, [table[ids] for ids in maps], suffix, quality=90)
        finding = found(paths)
        assert finding.classes.names == ("background", "object"), finding.encoding.reason
        assert set(np.unique(finding.encoding.decode(paths[0])).tolist()) == {0, 1, 255}
        assert "border" in finding.encoding.reason


def test_smooth_edges_of_a_scaled_mask_go_to_the_nearest(tmp_path: Path) -> None:
    maps = scenes(2, size=96)
    scaled = [Image.fromarray(ids * 255).resize((70, 64), Image.Resampling.BILINEAR) for ids in maps]
    finding = comes_back(save(tmp_path, scaled), [(np.asarray(image) > 127).astype(np.uint8) for image in scaled])
    assert len(finding.classes) == 2


def test_stated_names_settle_what_ids_look_like(tmp_path: Path) -> None:
    lines = [np.zeros((128, 128), np.uint8) for _ in range(6)]  # of a pixel's width, like smear
    for number, ids in enumerate(lines):
        for at in range(1, 8):
            ids[14 * at + number], ids[:, 14 * at + number] = at, at
        ids[:10] = 255
    steps = [np.repeat(np.arange(40, dtype=np.uint8), 4)[None].repeat(20, axis=0) for _ in range(6)]  # like depths
    for folder, maps, count in (("lines", lines, 8), ("steps", steps, 40)):
        known = KnownClasses(tuple(f"class {i}" for i in range(count)), None, "dataset.yaml", stated=True)
        paths = save(tmp_path / folder, maps)
        assert comes_back(paths, maps, found(paths, known)).classes.names == known.names


def test_smear_from_which_nothing_stands_out_is_refused(tmp_path: Path) -> None:
    maps = scenes(4, size=96)
    table = np.array(PLAIN, np.uint8)
    with pytest.raises(DataError, match=r"most of them at edges alone.*`tolerance: 40`"):
        found(save(tmp_path, [table[ids] for ids in maps], ".jpg", quality=75))


# Doubts are refused, with the lines that settle them.


def numbered(counts: list[int]) -> list[Pixels]:
    pictures = []
    for count in counts:
        ids = np.zeros((20, 80), np.uint8)
        for at in range(count):
            ids[4:12, 8 * at : 8 * at + 6] = at + 1
        pictures.append(ids)
    return pictures


def test_numbers_of_objects_are_told_from_classes(tmp_path: Path) -> None:
    maps = numbered([1, 2, 5, 3, 1, 7])
    finding = comes_back(save(tmp_path, maps), [(ids > 0).astype(np.uint8) for ids in maps])
    assert finding.classes.names == ("background", "object")
    assert "numbers its objects, from 1 to 7" in finding.encoding.reason


def test_more_objects_than_a_byte_holds_are_numbers_of_objects(tmp_path: Path) -> None:
    ids = np.zeros((60, 60), np.uint16)
    ids[::2, ::2] = np.arange(1, 901).reshape(30, 30)
    finding = comes_back(save(tmp_path, [ids]), [(ids > 0).astype(np.uint8)])
    assert finding.encoding.rest == 1


@pytest.mark.parametrize("counts", [[1, 2, 3], [1, 2, 2, 1, 2, 1, 1]])
def test_numbers_that_may_be_classes_are_refused(tmp_path: Path, counts: list[int]) -> None:
    with pytest.raises(
        DataError, match=r"objects: `mapping: \{0: background, rest: object\}`; classes: `names: \[back"
    ):
        found(save(tmp_path, numbered(counts)))


def test_many_values_each_in_one_mask_are_refused(tmp_path: Path) -> None:
    maps = [np.where(ids > 0, ids * 3 + 12 * at, 0).astype(np.uint8) for at, ids in enumerate(numbered([3] * 6))]
    with pytest.raises(DataError, match="occur in one mask only"):
        found(save(tmp_path, maps))


def test_masks_of_0_and_1_beside_ones_of_0_and_255_are_refused(tmp_path: Path) -> None:
    maps = scenes(2)
    with pytest.raises(DataError, match="others 0 and 255, none both"):
        found(save(tmp_path, [ids * (1 if at % 2 else 255) for at, ids in enumerate(maps)]))


def test_depths_and_photos_are_no_masks(tmp_path: Path) -> None:
    depth = [np.add.outer(np.arange(100), np.arange(120) + at).astype(np.uint8) for at in range(3)]
    with pytest.raises(DataError, match="pass smoothly into each other"):
        found(save(tmp_path / "depth", depth))
    noise = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    with pytest.raises(DataError, match=r"hold colours, \d+ different ones"):
        found(save(tmp_path / "noise", list(noise)))


def test_masks_of_one_value_teach_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"All 2 masks hold nothing but 0; .*`masks:`"):
        found(save(tmp_path, [np.zeros((4, 4), np.uint8)] * 2))


def test_pages_are_refused_with_what_to_do(tmp_path: Path) -> None:
    pages = [Image.fromarray(ids) for ids in scenes(2)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"stack\.tif holds several pages.*--fix"):
        survey_masks([tmp_path / "stack.tif"])


def test_a_broken_mask_among_others_is_counted_not_fatal(tmp_path: Path) -> None:
    paths = save(tmp_path, scenes(3))
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    assert "1 of them could not be read; the first: " in found(paths).encoding.reason
    for path in paths:
        path.write_bytes(b"no")
    with pytest.raises(DataError, match="None of the 6 masks can be read"):
        found(paths)


# Decoding.


def test_a_value_that_stands_for_no_class_is_refused_with_its_share(tmp_path: Path) -> None:
    paths = save(tmp_path, scenes(3))
    finding = found(paths)
    stranger = np.zeros((10, 10), np.uint8)
    stranger[0, :5] = 77
    with pytest.raises(MaskError, match=r"006\.png holds values that stand for no class: 77 \(5 %\).*mapping"):
        finding.encoding.decode(save(tmp_path, [stranger])[0])
    red = np.zeros((4, 4, 3), np.uint8)
    red[0, 0] = 200, 0, 0
    with pytest.raises(MaskError, match="is in colour"):
        finding.encoding.decode(save(tmp_path, [red])[0])


def test_a_strange_colour_is_refused_with_its_share(tmp_path: Path) -> None:
    paths = save(tmp_path, [np.array(PLAIN, np.uint8)[ids] for ids in scenes(5)])
    stranger = np.zeros((10, 10, 3), np.uint8)
    stranger[:2, :, 1] = 9
    with pytest.raises(MaskError, match=r"colours that stand for no class: 0,9,0 \(20 %\)"):
        found(paths).encoding.decode(save(tmp_path, [stranger])[0])


def test_many_masks_are_sampled_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelwise.data.survey.ALWAYS_READ", 4)
    monkeypatch.setattr("pixelwise.data.survey.READ_BYTES", 0)
    paths = save(tmp_path, scenes(3))
    assert "4 of 6 masks were looked at" in found(paths).encoding.reason
    assert [file.name for file in survey_masks(paths).files] == [file.name for file in survey_masks(paths).files]


# Names.


def test_a_colour_table_maps_and_names_and_its_void_is_not_labelled(tmp_path: Path) -> None:
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nRoad,200,0,0\nSky,0,180,20\nCar,20,40,230\nVoid,0,0,0\n")
    known = read_class_file(tmp_path)
    maps = [ids.clip(max=3) for ids in scenes(4)]
    paths = save(tmp_path / "masks", [np.array(PLAIN, np.uint8)[ids] for ids in maps])
    finding = comes_back(paths, [(ids.astype(int) - 1) % 256 for ids in maps], found(paths, known))
    assert finding.classes.names == ("Road", "Sky", "Car")
    assert "colours of class_dict.csv; Void is not labelled" in finding.encoding.reason


def test_classes_that_share_a_colour_are_not_told_by_it(tmp_path: Path) -> None:
    paths = save(tmp_path, [np.array(PLAIN, np.uint8)[ids] for ids in scenes(2)])
    for colours in ((PLAIN[0], PLAIN[0]), (PLAIN[0], PLAIN[1], PLAIN[1])):
        names = ("a", "b", "c")[: len(colours)]
        with pytest.raises(DataError, match=r"gives the colour .* to several classes"):
            found(paths, KnownClasses(names, colours, "dataset.yaml", stated=True))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "sky\nroad\ncar\n"),
        ("classes.txt", "__ignore__\nsky\nroad\ncar\n"),  # Labelme's, which counts from -1
        ("codes.txt", "0 sky\n1 road\n2: car\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nsky:0,0,0::\nroad:1,2,3::\ncar:9,9,9::\n"),
        ("label_colors.txt", "64 128 64\tsky\n192 0 128\t\troad\n0 128 192 car\n"),
        ("_classes.csv", "Pixel Value, Class\n0, sky\n1, road\n2, car\n"),
    ],
)
def test_lists_of_classes_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    known = read_class_file(tmp_path)
    assert known is not None
    assert known.names == ("sky", "road", "car")
    assert (known.colours is not None) == name.startswith("label")
    maps = scenes(3)
    finding = comes_back(paths := save(tmp_path / "masks", maps), maps, found(save(tmp_path / "masks", maps), known))
    assert finding.classes.names == ("sky", "road", "car")
    assert paths


def test_names_may_end_in_a_digit(tmp_path: Path) -> None:
    (tmp_path / "CLASS_DICT.CSV").write_text("name,r,g,b\nbackground,0,0,0\ngrade1,0,255,0\nclass 2,255,0,9\n")
    known = read_class_file(tmp_path)
    assert known is not None
    assert known.names == ("background", "grade1", "class 2")
    assert known.colours == ((0, 0, 0), (0, 255, 0), (255, 0, 9))


@pytest.mark.parametrize("text", ["a\na\n", "0 a\n5 b\n", "", "1,2,3\n", "cat 1 2 3\ndog\n"])
def test_a_list_in_doubt_is_left_aside(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    assert read_class_file(tmp_path) is None


def test_a_list_that_does_not_fit_is_left_aside_or_refused_where_the_user_states_it(tmp_path: Path) -> None:
    paths = save(tmp_path, scenes(4))
    finding = found(paths, KnownClasses(("a", "b"), None, "classes.txt"))
    assert finding.classes.names[1] == "class 1"
    assert "classes.txt names 2 classes and was left aside" in finding.encoding.reason
    with pytest.raises(DataError, match=r"dataset\.yaml names 2 classes, but masks hold the class ids 0 to 3"):
        found(paths, KnownClasses(("a", "b"), None, "dataset.yaml", stated=True))


def test_names_reach_further_than_what_these_masks_hold(tmp_path: Path) -> None:
    maps = [np.array([0, 8, 15], np.uint8)[ids] for ids in scenes(3)]
    finding = comes_back(
        save(tmp_path, maps), maps, found(sorted(tmp_path.iterdir()), KnownClasses(VOC.names, None, "x"))
    )
    assert finding.classes.names == VOC.names


def test_names_of_colours_are_not_given_by_their_order(tmp_path: Path) -> None:
    paths = save(tmp_path, [np.array(PLAIN, np.uint8)[ids] for ids in scenes(5)])
    with pytest.raises(DataError, match="`mapping:`, with a line for each"):
        found(paths, KnownClasses(("a", "b", "c", "d", "e"), None, "dataset.yaml", stated=True))


@pytest.mark.parametrize("stated", [False, True])
def test_a_class_called_void_in_a_plain_list_is_not_labelled_wherever_it_stands(tmp_path: Path, stated: bool) -> None:
    paths = save(tmp_path, scenes(3))
    for names in (("sky", "road", "Unlabelled"), ("void", "sky", "road")):
        finding = found(paths, KnownClasses(names, None, "classes.txt", stated))
        void = [name in ("void", "Unlabelled") for name in names].index(True)
        assert finding.classes.names == ("sky", "road")
        assert f"; {void}, {names[void]}, is not labelled" in finding.encoding.reason
        ids = [at - (void == 0) if at != void else 255 for at in range(3)]
        comes_back(paths, [np.array(ids, np.int16).astype(np.uint8)[scene] for scene in scenes(3)], finding)


def test_a_list_that_counts_from_one_names_values_from_one_only(tmp_path: Path) -> None:
    (tmp_path / "label_names.txt").write_text("1 facade\n2 window\n3 door\n")
    known = read_class_file(tmp_path)
    assert known == KnownClasses(("facade", "window", "door"), None, "label_names.txt", first=1)
    from_one = save(tmp_path / "one", [ids + 1 for ids in scenes(3)])
    assert comes_back(from_one, scenes(3), found(from_one, known)).classes.names == known.names
    finding = found(save(tmp_path / "zero", scenes(3)), known)
    assert finding.classes.names == ("background", "class 1", "class 2")
    assert "label_names.txt names 3 classes and was left aside" in finding.encoding.reason


def test_a_photo_among_the_masks_is_named(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (48, 56, 3), dtype=np.uint8)
    paths = save(tmp_path, [*scenes(3, count=7), colours])
    with pytest.raises(DataError, match=r"007\.png of 8 masks holds hundreds of colours"):
        found(paths)


def test_photos_in_place_of_masks_are_called_so_however_few_they_are(tmp_path: Path) -> None:
    with Image.open(PHOTOS / "chelsea.png") as image:
        cat = image.convert("RGB")
    paths = save(tmp_path, [cat.crop((9 * at, 9 * at, 9 * at + 80, 9 * at + 60)) for at in range(2)])
    assert len(survey_masks(paths).total.keys) < 4096
    with pytest.raises(DataError, match="what photos hold"):
        found(paths)


def test_black_that_may_mean_not_labelled_is_told(tmp_path: Path) -> None:
    table = np.array([(0, 0, 0), (200, 0, 0), (0, 180, 20)], np.uint8)
    reason = found(save(tmp_path / "a", [table[ids] for ids in scenes(3)])).encoding.reason
    assert "if black means not labelled, map it to `ignore` in dataset.yaml" in reason
    reason = found(save(tmp_path / "b", [table[ids] for ids in scenes(2)])).encoding.reason
    assert "black" not in reason


def test_colours_have_names() -> None:
    named = {
        (128, 0, 0): "red",
        (0, 0, 0): "black",
        (250, 250, 250): "white",
        (128, 128, 128): "grey",
        (255, 140, 0): "orange",
        (0, 128, 128): "cyan",
        (128, 0, 128): "pink",
        (64, 0, 128): "purple",
    }
    for colour, name in named.items():
        assert colour_name(colour).split()[0] == name, colour
