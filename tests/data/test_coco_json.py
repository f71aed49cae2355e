from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import SavePicture
from pixelwise.data import open_dataset, recognise, splits, training_splits
from pixelwise.data.polygons import fill_circle, fill_polygon, polygon_area
from pixelwise.data.runs import decode_runs, read_runs
from pixelwise.errors import DataError, MaskError

CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}]
CAR, BRUSH, IGNORE = 1, 2, 255


def box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def annotated(*annotations: dict[str, Any], photos: int = 1) -> dict[str, Any]:
    """A file for photos of 6 by 4 pixels; annotations go to the first unless they say otherwise."""
    return {
        "images": [{"id": 7 + i, "file_name": f"p{i}.png", "height": 4, "width": 6} for i in range(photos)],
        "categories": CATEGORIES,
        "annotations": [{"id": i, "image_id": 7, "iscrowd": 0} | one for i, one in enumerate(annotations)],
    }


@pytest.fixture
def write(tmp_path: Path, save_picture: SavePicture):
    def write(content: dict[str, Any], *, at: str = "coco.json", photos: str = "images") -> Path:
        (tmp_path / at).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / at).write_text(json.dumps(content))
        for image in content.get("images", []):
            save_picture(tmp_path / photos / image["file_name"], np.full((4, 6, 3), 90, dtype=np.uint8))
        return tmp_path

    return write


def mask_of(write: Any, *annotations: dict[str, Any]) -> list[list[int]]:
    root = write(annotated(*annotations), at="annotations/instances_val2017.json", photos="val2017")
    return open_dataset("coco_json", root, "val")[0].mask.tolist()


def test_categories_become_classes_in_the_order_of_their_ids(write: Any):
    root = write(annotated(photos=2))
    assert open_dataset("coco_json", root, "train").classes.names == ("background", "car", "toothbrush")


def test_polygons_fill_the_pixels_whose_centres_they_hold(write: Any):
    mask = mask_of(write, {"category_id": 3, "segmentation": box(1, 1, 4, 3)})
    assert mask == [[0] * 6, [0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0], [0] * 6]


def test_the_smaller_object_lies_over_the_larger_and_the_later_over_its_equal(write: Any):
    small = {"category_id": 90, "segmentation": box(1, 1, 2, 2)}
    large = {"category_id": 3, "segmentation": box(0, 0, 6, 4)}
    for order in ((small, large), (large, small)):
        assert mask_of(write, *order)[1] == [CAR, BRUSH, CAR, CAR, CAR, CAR]
    assert mask_of(write, large, large | {"category_id": 90})[0] == [BRUSH] * 6


def test_crowds_are_ignored_where_no_object_lies_over_them(write: Any):
    crowd = {"category_id": 3, "iscrowd": 1, "segmentation": {"size": [4, 6], "counts": [4, 8, 12]}}
    mask = mask_of(write, {"category_id": 90, "segmentation": box(2, 0, 4, 1)}, crowd)
    assert mask == [[0, IGNORE, BRUSH, BRUSH, 0, 0]] + [[0, IGNORE, IGNORE, 0, 0, 0]] * 3


def test_an_object_of_several_parts_and_compressed_runs(write: Any):
    from pycocotools import mask as reference

    parts = {"category_id": 3, "segmentation": box(0, 0, 1, 1) + box(5, 3, 6, 4)}
    inside = np.zeros((4, 6), dtype=np.uint8, order="F")
    inside[1, 2:5] = 1
    runs = reference.encode(inside)
    brush = {"category_id": 90, "segmentation": {"size": [4, 6], "counts": runs["counts"].decode()}}
    assert mask_of(write, brush, parts) == [[1, 0, 0, 0, 0, 0], [0, 0, 2, 2, 2, 0], [0] * 6, [0, 0, 0, 0, 0, 1]]


@pytest.mark.parametrize("seed", range(20))
def test_runs_are_decoded_as_by_pycocotools(seed: int):
    from pycocotools import mask as reference

    generator = np.random.default_rng(seed)
    height, width = (int(n) for n in generator.integers(1, 90, 2))
    inside = np.asfortranarray(generator.random((height, width)) < generator.random() ** 3, dtype=np.uint8)
    compressed = reference.encode(inside)["counts"].decode()
    runs = read_runs(compressed)
    assert decode_runs(runs, height, width).astype(np.uint8).tolist() == inside.tolist()
    assert read_runs(runs) == runs


def distance_from_outline(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Of each pixel's centre, in pixels: float (height, width)."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    centres = np.stack([x, y], axis=-1)
    distances = []
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        along = np.clip((centres - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
        distances.append(np.linalg.norm(centres - start - along[..., None] * (end - start), axis=-1))
    return np.min(distances, axis=0)


def test_polygons_agree_with_pycocotools_but_for_pixels_on_the_border():
    from pycocotools import mask as reference

    generator = np.random.default_rng(0)
    ours = theirs = differing = 0
    for _ in range(60):
        corners = int(generator.integers(3, 15))
        angles, radii = np.sort(generator.uniform(0, 2 * np.pi, corners)), generator.uniform(5, 70, corners)
        points = np.stack([50 + radii * np.cos(angles), 40 + radii * np.sin(angles)], axis=1)
        mask = np.zeros((80, 100), dtype=np.uint8)
        fill_polygon(mask, points, 1)
        (encoded,) = reference.frPyObjects([points.ravel().tolist()], 80, 100)
        other = decode_runs(read_runs(encoded["counts"].decode()), 80, 100).astype(np.uint8)
        assert (mask == other)[distance_from_outline(points, 80, 100) > 1].all()
        ours, theirs, differing = ours + mask.sum(), theirs + other.sum(), differing + (mask != other).sum()
    assert differing < 0.02 * theirs
    assert abs(int(ours) - int(theirs)) < 0.01 * theirs


def test_polygons_by_hand():
    mask = np.zeros((4, 4), dtype=np.uint8)
    corner = np.array([[-2, -2], [2.0, -2], [2, 2], [-2, 2]])
    fill_polygon(mask, corner, 9)
    assert mask.tolist() == [[9, 9, 0, 0], [9, 9, 0, 0], [0] * 4, [0] * 4]
    assert polygon_area(corner) == 16
    before = mask.copy()
    for away in ([[9, 9], [12, 9], [9, 12]], [[1, 1], [1, 1], [1, 1]], [[-9, -9], [-5, -9], [-5, -5]]):
        fill_polygon(mask, np.array(away, dtype=float), 5)
    assert (mask == before).all()
    fill_circle(mask, (3, 3), 0.8, 7)
    assert (mask == 7).sum() == 4


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ({"category_id": 4, "segmentation": box(0, 0, 1, 1)}, "category 4 is none"),
        ({"category_id": 3, "segmentation": [[1, 2, 3, 4]]}, "three or more x, y"),
        ({"category_id": 3, "segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "three or more x, y"),
        ({"category_id": 3, "segmentation": {"size": [4, 6], "counts": [4, 8]}}, "runs of 12 pixels for a photo of 24"),
        ({"category_id": 3, "segmentation": {"size": [4, 6], "counts": [-4, 28]}}, "negative length"),
        ({"category_id": 3, "segmentation": {"size": [4, 6], "counts": "~~"}}, "in compressed runs"),
        ({"category_id": 3, "segmentation": {"size": [4, 6], "counts": "P"}}, "end inside a number"),
        ({"category_id": 3, "segmentation": {"size": [6, 4], "counts": [24]}}, r"of the size \[6, 4\]"),
        ({"category_id": 3, "segmentation": []}, "a box but no outline"),
        ({"category_id": 3}, "a box but no outline under `segmentation`"),
        ({"category_id": 3, "segmentation": None}, "a box but no outline"),
    ],
)
def test_what_cannot_be_drawn_is_said_with_the_photos_name(write: Any, annotation: dict[str, Any], said: str):
    with pytest.raises(MaskError, match=rf"annotation of p0\.png in .*instances_val2017\.json cannot be .*{said}"):
        mask_of(write, annotation)


def test_a_photo_of_another_size_is_named(write: Any, save_picture: SavePicture):
    root = write(annotated(photos=2))
    for name in ("p0", "p1"):
        save_picture(root / "images" / f"{name}.png", np.zeros((6, 4, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"annotation of p\d\.png in .*coco\.json is 6x4 pixels, but its photo is 4x6"):
        open_dataset("coco_json", root, "train")[0]


@pytest.mark.parametrize("photos", ["train2017", "images/train2017", "images/train", "train", "images"])
def test_cocos_own_folders(write: Any, photos: str):
    write(annotated(photos=3), at="annotations/instances_train2017.json", photos=photos)
    root = write(annotated(), at="annotations/instances_val2017.json", photos=photos.replace("train", "val"))
    assert recognise(root) == "coco_json"
    assert splits("coco_json", root) == ["train", "val"]
    assert len(open_dataset("coco_json", root, "train")) == 3


def test_two_photos_of_one_name_are_refused(write: Any):
    content = annotated(photos=2)
    content["images"][1]["file_name"] = "p0.jpg"
    with pytest.raises(DataError, match=r"coco\.json .*two photos of the same name"):
        open_dataset("coco_json", write(content), "train")


@pytest.mark.parametrize(("part", "what"), [("images", "photos"), ("categories", "categories")])
def test_ids_that_come_twice_are_refused(write: Any, part: str, what: str):
    """As where two exports, each numbered from 1, were put into one file."""
    content = annotated({"category_id": 3, "segmentation": box(1, 1, 4, 3)}, photos=2)
    first, second = content[part][:2]
    content[part] = [first, second | {"id": first["id"]}]
    with pytest.raises(DataError, match=rf"coco\.json .*two {what} of the id {first['id']}"):
        open_dataset("coco_json", write(content), "train")


def test_gaps_are_told(write: Any):
    """As a tool leaves them that lists photos nobody has labelled yet, or a script that took photos out."""
    whole = {"category_id": 3, "segmentation": box(1, 1, 4, 3)}
    root = write(annotated(whole, whole | {"image_id": 99}, photos=3), at="annotations/instances_train.json")
    write(annotated(whole), at="annotations/instances_val.json")
    train, val = (open_dataset("coco_json", root, split) for split in ("train", "val"))
    told = "2 photos of train without annotations, read as background throughout; 1 annotation of photos that are not"
    assert train.finding == f"{told} listed left out"  # type: ignore[attr-defined]
    assert val.finding == ""  # type: ignore[attr-defined]


def test_roboflows_folders_and_its_grouping_category(write: Any):
    content = annotated({"category_id": 1, "segmentation": box(0, 0, 6, 4)})
    content["categories"] = [
        {"id": 0, "name": "fruits", "supercategory": "none"},
        {"id": 1, "name": "apple", "supercategory": "fruits"},
    ]
    for split in ("train", "valid"):
        root = write(content, at=f"{split}/_annotations.coco.json", photos=split)
    assert recognise(root) == "coco_json"
    assert training_splits("coco_json", root) == ("train", "valid")
    dataset = open_dataset("coco_json", root, "valid")
    assert dataset.classes.names == ("background", "apple")
    assert (dataset[0].mask == 1).all()


def test_a_category_called_background_is_the_background(write: Any):
    content = annotated(
        {"category_id": 5, "segmentation": box(0, 0, 6, 4)},
        {"category_id": 0, "segmentation": box(0, 0, 1, 4)},
        photos=2,
    )
    content["categories"] = [{"id": 5, "name": "leaf"}, {"id": 0, "name": "Background"}]
    dataset = open_dataset("coco_json", write(content), "train")
    assert dataset.classes.names == ("background", "leaf")
    assert dataset[0].mask.tolist() == [[0, 1, 1, 1, 1, 1]] * 4


def test_names_that_make_no_classes_are_told_with_their_file(write: Any):
    content = annotated(photos=2)
    content["categories"] = [{"id": 5, "name": "leaf"}, {"id": 6, "name": "leaf"}]
    with pytest.raises(DataError, match=r"coco\.json: The class table names leaf more than once"):
        open_dataset("coco_json", write(content), "train")


def test_a_single_file_is_divided(write: Any):
    root = write(annotated(photos=10))
    assert recognise(root) == "coco_json"
    train, val = (open_dataset("coco_json", root, name).ids for name in ("train", "val"))
    assert (len(train), len(val)) == (8, 2)
    assert len({*train, *val}) == 10
    with pytest.raises(DataError, match="has no split 'test'; it has: train, val"):
        open_dataset("coco_json", root, "test")


@pytest.mark.parametrize("content", ["{", "[]", '{"images": []}', '{"categories": [{"id": 1}], "images": []}'])
def test_a_file_that_is_none_of_cocos_is_named(tmp_path: Path, content: str):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(DataError, match=r"labels\.json"):
        open_dataset("coco_json", tmp_path, "train")


def test_the_only_file_is_divided_whatever_it_is_called(write: Any):
    """As CVAT calls it: `annotations/instances_default.json`."""
    root = write(annotated(photos=10), at="annotations/instances_default.json")
    assert recognise(root) == "coco_json"
    assert splits("coco_json", root) == ["default", "train", "val"]
    assert training_splits("coco_json", root) == ("train", "val")
    train, val, whole = (open_dataset("coco_json", root, split).ids for split in ("train", "val", "default"))
    assert (len(train), len(val), sorted([*train, *val])) == (8, 2, sorted(whole))


def test_cvats_own_subsets_are_capitalised(write: Any):
    root = write(annotated(photos=10), at="annotations/instances_Train.json")
    assert splits("coco_json", root) == ["Train", "train", "val"]
    write(annotated(photos=2), at="annotations/instances_Validation.json")
    assert training_splits("coco_json", root) == ("Train", "Validation")
    assert len(open_dataset("coco_json", root, "Train")) == 10


def test_tests_are_not_learned_from_and_a_macs_hidden_files_are_none(write: Any):
    root = write(annotated(photos=10), at="annotations/instances_test2017.json", photos="test2017")
    assert splits("coco_json", root) == ["test"]
    (root / "annotations" / "instances_test2017.json").unlink()
    write(annotated(photos=10))
    (root / "._coco.json").write_bytes(b"\0\5\x16\7\xff")
    assert splits("coco_json", root) == ["train", "val"]


def test_paths_may_be_those_of_windows(write: Any):
    root = write(annotated(photos=2))
    content = json.loads((root / "coco.json").read_text())
    for image in content["images"]:
        image["file_name"] = f"images\\{image['file_name']}"
    (root / "coco.json").write_text(json.dumps(content))
    assert open_dataset("coco_json", root, "train").image_paths == [root / "images" / "p0.png"]
