from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import COLOURS, colourful_photo, digests
from pixelwise.errors import OutputError
from pixelwise.images import read_image
from pixelwise.masks import read_index_mask
from pixelwise.render import overlay
from pixelwise.segmentation import SAVEABLE, Segmentation, output_paths, prepare_outputs


def small(name: str = "cat.png") -> Segmentation:
    """Three pixels of class 2, two of 0, one of 3; confidences that are exact in float16."""
    mask = np.array([[2, 2, 0], [2, 3, 0]], np.uint8)
    confidence = np.array([[1, 0.5, 0.25], [0.75, 0.5, 0.75]], np.float16)
    return Segmentation(colourful_photo(2, 3), mask, confidence, COLOURS, name, ("first of 3 frames",))


def test_classes_by_hand_are_the_largest_first():
    found = small().classes
    assert [(entry.id, entry.name, entry.colour) for entry in found] == [
        (2, "green", (0, 255, 0)),
        (0, "background", (0, 0, 0)),
        (3, "blue", (0, 0, 255)),
    ]
    assert [entry.share for entry in found] == [3 / 6, 2 / 6, 1 / 6]
    assert [entry.confidence for entry in found] == [0.75, 0.5, 0.5]


def test_classes_of_a_photo_taller_than_a_strip_are_those_of_a_plain_count():
    generator = np.random.default_rng(0)
    mask = generator.integers(0, 4, (2500, 7), np.uint8)
    confidence = generator.random((2500, 7)).astype(np.float16)
    for entry in Segmentation(np.zeros((2500, 7, 3), np.uint8), mask, confidence, COLOURS).classes:
        assert entry.share == (mask == entry.id).mean()
        assert entry.confidence == pytest.approx(confidence[mask == entry.id].astype(float).mean())


def test_to_json_by_hand():
    assert small().to_json() == {
        "name": "cat.png",
        "width": 3,
        "height": 2,
        "notes": ["first of 3 frames"],
        "classes": [
            {"id": 2, "name": "green", "colour": [0, 255, 0], "share": 0.5, "confidence": 0.75},
            {"id": 0, "name": "background", "colour": [0, 0, 0], "share": 0.333333, "confidence": 0.5},
            {"id": 3, "name": "blue", "colour": [0, 0, 255], "share": 0.166667, "confidence": 0.5},
        ],
    }


def test_overlay_and_panel_are_pictures_of_it():
    result = small()
    for opacity in (0.0, 0.7):
        expected = overlay(result.photo, result.mask, COLOURS, opacity=opacity)
        np.testing.assert_array_equal(result.overlay(opacity=opacity), expected)
    assert result.panel().dtype == np.uint8
    assert result.panel().ndim == 3


def test_two_results_can_be_compared_and_kept_in_a_set():
    one, other = small(), small()
    assert one != other
    assert len({one, other}) == 2


# Saving.


def test_everything_is_saved_under_the_stem_of_the_photo(tmp_path: Path):
    result = small()
    files = result.save(tmp_path / "new" / "folder", what=SAVEABLE)
    assert [path.name for path in files] == ["cat_mask.png", "cat_overlay.jpg", "cat_panel.jpg", "cat.json"]
    assert sorted(files) == sorted((tmp_path / "new" / "folder").iterdir())
    np.testing.assert_array_equal(read_index_mask(files[0]), result.mask)
    assert read_image(files[1]).pixels.shape == (2, 3, 3)
    assert read_image(files[2]).pixels.shape == result.panel().shape
    assert json.loads(files[3].read_text(encoding="utf-8")) == result.to_json()


def test_what_to_write_may_come_one_by_one(tmp_path: Path):
    assert len(small().save(tmp_path, what=iter(SAVEABLE))) == len(SAVEABLE)  # type: ignore[arg-type]


def test_the_mask_is_a_palette_png_in_the_colours_of_the_classes(tmp_path: Path):
    (path,) = small().save(tmp_path, what=["mask"])
    with Image.open(path) as image:
        assert image.mode == "P"
        colours = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(colours, COLOURS.palette()[small().mask])


def test_mask_and_overlay_are_saved_unless_told_otherwise(tmp_path: Path):
    assert [path.name for path in small().save(tmp_path, stem="other.name")] == [
        "other.name_mask.png",
        "other.name_overlay.jpg",
    ]


def test_one_file_in_the_way_and_nothing_is_written(tmp_path: Path):
    (tmp_path / "cat_panel.jpg").write_bytes(b"precious")
    before = digests(tmp_path)
    with pytest.raises(OutputError, match=r"cat_panel\.jpg would be overwritten; force it"):
        small().save(tmp_path, what=SAVEABLE)
    assert digests(tmp_path) == before
    small().save(tmp_path, what=SAVEABLE, force=True)
    assert len(digests(tmp_path)) == 4
    with pytest.raises(OutputError, match=r"cat_mask\.png and 3 more would be"):
        small().save(tmp_path, what=SAVEABLE)


def test_a_link_to_nowhere_is_in_the_way_too(tmp_path: Path):
    (tmp_path / "cat_mask.png").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="would be overwritten"):
        small().save(tmp_path)


@pytest.mark.parametrize("stem", ["../cat", "a/b", "/cat", "."])
def test_a_stem_that_leaves_the_directory_is_refused(tmp_path: Path, stem: str):
    with pytest.raises(ValueError, match="without directories"):
        small().save(tmp_path / "out", stem=stem)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_leaves_the_directory_gives_a_stem_that_does_not(tmp_path: Path):
    (path,) = small("../../etc/passwd.jpg").save(tmp_path, what=["json"])
    assert path == tmp_path / "passwd.json"
    (path,) = small("..jpg").save(tmp_path, what=["json"])
    assert path == tmp_path / "..jpg.json"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"what": ["mask", "sound"]}, "cannot save 'sound'; expected some of mask, overlay, panel, json"),
        ({"what": "mask,panel"}, r"expected a sequence such as \('mask', 'panel'\)"),
        ({"opacity": 1.5}, "opacity is 1.5; expected 0 to 1"),
        ({"opacity": float("nan")}, "opacity is nan"),
    ],
)
def test_a_wrong_wish_is_refused_before_anything_is_written(tmp_path: Path, settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        small().save(tmp_path / "out", **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_directory_is_said(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"The directory .* cannot be made"):
            small().save(directory)


def test_a_name_too_long_for_the_file_system_is_said(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot be written"):
        small().save(tmp_path, stem="x" * 250)
    assert list(tmp_path.iterdir()) == []


def test_a_file_name_that_is_no_utf8_comes_back_from_the_json(tmp_path: Path):
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    (path,) = small(name).save(tmp_path, stem="plain", what=["json"])
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == name


def test_output_paths_keep_the_order_of_saveable():
    assert list(output_paths(Path("out"), "a.b", ["json", "mask"])) == ["mask", "json"]
    assert output_paths(Path("out"), "a.b", ["json"]) == {"json": Path("out/a.b.json")}


def test_prepare_outputs_makes_every_directory(tmp_path: Path):
    prepare_outputs([tmp_path / "a" / "x.png", tmp_path / "b" / "c" / "y.png"], force=False)
    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "b" / "c").is_dir()
