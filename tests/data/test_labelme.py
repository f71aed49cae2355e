from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import SavePicture
from pixelwise.data import open_dataset, recognise, splits, training_splits
from pixelwise.errors import DataError, MaskError


def shape(label: str, points: list[list[float]], kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind} | more


def png(inside: list[list[bool]]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.array(inside)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def write(tmp_path: Path, save_picture: SavePicture):
    """Writes a JSON file and its photo of 6 by 4 pixels."""

    def write(*shapes: dict[str, Any], name: str = "a", **more: Any) -> Path:
        save_picture(tmp_path / f"{name}.jpg", np.full((4, 6, 3), 90, dtype=np.uint8))
        content = {"shapes": list(shapes), "imagePath": f"{Path(name).name}.jpg", "imageHeight": 4, "imageWidth": 6}
        (tmp_path / f"{name}.json").write_text(json.dumps(content | more))
        return tmp_path

    return write


SQUARE = [[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]]


def mask_of(root: Path) -> list[list[int]]:
    return open_dataset("labelme", root, "train")[0].mask.tolist()


def test_classes_are_all_labels_sorted_and_shapes_lie_in_the_order_of_the_file(write: Any):
    root = write(shape("tree", SQUARE), shape("car", [[2, 2], [6, 4]], "rectangle"))
    dataset = open_dataset("labelme", root, "train")
    assert dataset.classes.names == ("background", "car", "tree")
    assert dataset[0].mask.tolist() == [[0] * 6, [0, 2, 2, 0, 0, 0], [0, 2, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]


def test_a_rectangle_may_be_turned(write: Any):
    turned = [[3.0, 0.0], [5.0, 2.0], [3.0, 4.0], [1.0, 2.0]]
    drawn = mask_of(write(shape("car", turned, "oriented_rectangle")))
    assert drawn == mask_of(write(shape("car", turned)))
    assert drawn[1][2] == drawn[2][3] == 1
    with pytest.raises(DataError, match="the oriented_rectangle 'car' has 2 points"):
        mask_of(write(shape("car", turned[:2], "oriented_rectangle")))


def test_a_circle_is_a_centre_and_a_point_on_it(write: Any):
    mask = mask_of(write(shape("ball", [[3, 2], [3, 3.2]], "circle")))
    assert mask == [[0] * 6, [0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0], [0] * 6]


def test_a_mask_lies_at_its_box(write: Any):
    inside = shape("leaf", [[4, 1], [5, 2]], "mask", mask=png([[True, False], [True, True]]))
    assert mask_of(write(inside)) == [[0] * 6, [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1], [0] * 6]
    outside = shape("leaf", [[5, 3], [7, 5]], "mask", mask=png([[True, True], [True, True]]))
    assert np.argwhere(mask_of(write(outside))).tolist() == [[3, 5]]
    before = shape("leaf", [[-1, -1], [0, 0]], "mask", mask=png([[True, True], [True, False]]))
    assert not np.any(mask_of(write(before)))  # the corner that is not set alone lies in the photo


def test_labelmes_own_labels_mean_what_they_say(write: Any):
    root = write(
        shape("car", [[0, 0], [6, 4]], "rectangle"),
        shape("_background_", [[0, 0], [1, 1]], "rectangle"),
        shape("__ignore__", [[5, 0], [6, 1]], "rectangle"),
    )
    assert open_dataset("labelme", root, "train").classes.names == ("background", "car")
    assert mask_of(root)[0] == [0, 1, 1, 1, 1, 255]


def test_the_background_may_be_labelled_by_its_plain_name_and_no_label_may_be_empty(write: Any):
    root = write(shape("car", [[0, 0], [6, 4]], "rectangle"), shape("background", [[0, 0], [1, 1]], "rectangle"))
    assert open_dataset("labelme", root, "train").classes.names == ("background", "car")
    assert mask_of(root)[0] == [0, 1, 1, 1, 1, 1]
    with pytest.raises(DataError, match=r"a\.json .*\(a polygon has no label\)"):
        mask_of(write(shape(" ", SQUARE)))


@pytest.mark.parametrize("kind", ["line", "linestrip", "point", "points"])
def test_what_covers_no_pixels_is_refused(write: Any, kind: str):
    root = write(shape("crack", [[0, 0], [5, 3]], kind))
    with pytest.raises(DataError, match=rf"a\.json .*the {kind} 'crack' covers no pixels: draw it as a polygon"):
        open_dataset("labelme", root, "train")


def test_a_photo_is_found_by_imagepath_or_by_the_name_of_the_json(write: Any, save_picture: SavePicture):
    root = write(shape("car", SQUARE), imagePath="..\\elsewhere\\b.jpg")
    assert open_dataset("labelme", root, "train").image_paths == [root / "a.jpg"]
    root = write(shape("car", SQUARE), imagePath="photos\\b.png")
    save_picture(root / "photos" / "b.png", np.zeros((4, 6, 3), dtype=np.uint8))
    assert open_dataset("labelme", root, "train").image_paths == [root / "photos" / "b.png"]


def test_two_files_about_one_photo_are_refused(write: Any):
    """One was copied, or renamed together with its photo, and `imagePath` stayed as it was."""
    write(shape("car", SQUARE), name="a")
    root = write(shape("car", SQUARE), name="b", imagePath="a.jpg")
    for split in ("train", "val"):
        with pytest.raises(DataError, match=r"a\.json and .*b\.json are both about the photo .*a\.jpg; .*`imagePath`"):
            open_dataset("labelme", root, split)


def test_a_photo_inside_the_json_alone_is_not_enough(write: Any):
    root = write(shape("car", SQUARE), imageData="iVBORw0KGgo=")
    (root / "a.jpg").unlink()
    with pytest.raises(
        DataError, match=r"photo of .*a\.json is missing; put a\.jpg beside it \(its copy in `imageData`"
    ):
        open_dataset("labelme", root, "train")


def test_the_size_may_be_missing_but_not_wrong(write: Any):
    assert mask_of(write(shape("car", SQUARE), imageHeight=None, imageWidth=None))[1] == [0, 1, 1, 0, 0, 0]
    with pytest.raises(DataError, match=r"a\.json is 6x5 pixels, but its photo is 6x4"):
        mask_of(write(shape("car", SQUARE), imageHeight=5))
    with pytest.raises(MaskError, match="above the limit"):
        mask_of(write(shape("car", SQUARE), imageHeight=10**6, imageWidth=10**6))


def test_a_flat_folder_is_divided_and_folders_are_splits(write: Any):
    for i in range(10):
        root = write(shape("car", SQUARE), name=f"p{i}")
    assert recognise(root) == "labelme"
    assert splits("labelme", root) == ["train", "val"]
    assert [len(open_dataset("labelme", root, name)) for name in ("train", "val")] == [8, 2]
    write(shape("car", SQUARE), name="train/a")
    write(shape("bus", SQUARE), name="val/b")
    assert recognise(root) == "labelme"
    for name, only in (("train", "a"), ("val", "b")):
        dataset = open_dataset("labelme", root, name)
        assert (list(dataset.ids), dataset.classes.names) == ([only], ("background", "bus", "car"))


@pytest.mark.parametrize("folder", ["val", "valid", "validation"])
def test_a_folder_for_validation_is_one_whatever_it_is_called(write: Any, folder: str):
    for i in range(3):
        root = write(shape("car", SQUARE), name=f"train/a{i}")
    write(shape("car", SQUARE), name=f"{folder}/b")
    assert training_splits("labelme", root) == ("train", folder)
    assert [len(open_dataset("labelme", root, name)) for name in ("train", folder)] == [3, 1]


def test_photos_without_a_json_file_are_told(write: Any, save_picture: SavePicture):
    for i in range(5):
        root = write(shape("car", SQUARE), name=f"p{i}")
    write(shape("car", SQUARE), name="renamed", imagePath="gone.jpg")
    dataset = open_dataset("labelme", root, "train")
    assert (list(dataset.unpaired), dataset.finding) == ([], "")  # type: ignore[attr-defined]
    save_picture(root / "forgotten.jpg", np.full((4, 6, 3), 90, dtype=np.uint8))
    for split in ("train", "val"):
        dataset = open_dataset("labelme", root, split)
        assert dataset.unpaired == [root / "forgotten.jpg"]  # type: ignore[attr-defined]
        assert dataset.finding.startswith("1 photo without a JSON file left out: ")  # type: ignore[attr-defined]


def test_labels_for_each_object_are_too_many_classes(write: Any):
    root = write(*(shape(f"car {i}", SQUARE) for i in range(255)))
    with pytest.raises(DataError, match="has 255 labels, such as 'car 0'; at most 254 can be classes"):
        open_dataset("labelme", root, "train")
    assert len(open_dataset("labelme", write(*(shape(f"car {i}", SQUARE) for i in range(254))), "train").classes) == 255


def test_blanks_around_a_label_make_no_class(write: Any):
    root = write(shape("car ", SQUARE), shape(" car", SQUARE))
    assert open_dataset("labelme", root, "train").classes.names == ("background", "car")


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"shapes": [{}]}', '{"shapes": [{"label": "a", "points": [[1, 2]]}]}', '{"shapes": 3}'],
)
def test_a_damaged_file_is_named(write: Any, content: str):
    root = write()
    (root / "a.json").write_text(content)
    with pytest.raises(DataError, match=r"a\.json is no file of Labelme's that can be read"):
        open_dataset("labelme", root, "train")


def test_a_cameras_photo_is_found_wherever_it_lay_when_it_was_labelled(tmp_path: Path, save_picture: SavePicture):
    for name in ("IMG_1", "IMG_2"):
        Image.fromarray(np.full((4, 6, 3), 90, np.uint8)).save(tmp_path / f"{name}.JPG", "JPEG")
        content = {"shapes": [shape("car", SQUARE)], "imagePath": f"..\\DCIM\\{name}.JPG"}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "._IMG_1.json").write_bytes(b"\0\5\x16\7\xff")  # a Mac's
    assert recognise(tmp_path) == "labelme"
    assert mask_of(tmp_path)[1] == [0, 1, 1, 0, 0, 0]
    (tmp_path / "IMG_1.json").write_text(json.dumps(content | {"imagePath": "..\\renamed.png"}))
    assert mask_of(tmp_path)[1] == [0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("mask", ["", "AAAA", "?"])
def test_a_damaged_mask_is_named(write: Any, mask: str):
    with pytest.raises(MaskError, match=r"mask 'leaf' in .*a\.json"):
        mask_of(write(shape("leaf", [[0, 0], [1, 1]], "mask", mask=mask)))
