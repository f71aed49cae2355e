from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import SavePicture
from pixelwise.data import open_dataset, recognise
from pixelwise.data.layouts.coco_voc import THINGS
from pixelwise.errors import DataError
from pixelwise.labels import VOC

THING_IDS = {name: 3 + 2 * i for i, name in enumerate([*THINGS, "truck"])}
STUFF_IDS = {**THING_IDS, "unlabeled": 0, "table-merged": 189, "flower": 119, "grass-merged": 193}
PERSON, CAT = VOC.names.index("person"), VOC.names.index("cat")
NONE, IGNORE = 0, 255


def categories() -> dict[str, dict[str, str]]:
    kinds = {"instances": THING_IDS, "panoptic": STUFF_IDS}
    return {kind: {str(number): name for name, number in ids.items()} for kind, ids in kinds.items()}


@pytest.fixture
def root(tmp_path: Path, save_picture: SavePicture) -> Path:
    """One photo of 1 by 4 pixels without a mask, the only one of the split `train`."""
    (tmp_path / "categories.json").write_text(json.dumps(categories()))
    (tmp_path / "train.txt").write_text("000000000001\n")
    save_picture(tmp_path / "images" / "000000000001.jpg", np.full((1, 4, 3), 90, dtype=np.uint8))
    return tmp_path


def labels(
    root: Path, save: SavePicture, *, instances: list[str | int] | None = None, panoptic: list[str | int] | None = None
) -> list[int]:
    """The VOC ids that the dataset gives for COCO labels by name, 0 where there is none."""
    for kind, names, ids in (("instances", instances, THING_IDS), ("panoptic", panoptic, STUFF_IDS)):
        if names is not None:
            row = [ids[name] if isinstance(name, str) else name for name in names]
            save(root / kind / "000000000001.png", np.array([row], dtype=np.uint8))
    dataset = open_dataset("coco_voc", root, "train")
    mask = dataset[0].mask
    assert mask.dtype == np.uint8
    return [int(value) for value in mask[0]]


def test_the_layout_is_recognised_by_its_names(root: Path):
    assert recognise(root) == "coco_voc"


def test_every_voc_class_but_the_background_has_one_coco_category():
    assert sorted(THINGS.values()) == sorted(VOC.names[1:])


def test_rule_1_a_thing_is_its_voc_class_and_another_thing_is_background(root: Path, save_picture: SavePicture):
    assert labels(root, save_picture, instances=["person", "truck", "cat", 0]) == [PERSON, 0, CAT, 0]


def test_rule_1_holds_for_each_of_the_twenty(root: Path, save_picture: SavePicture):
    for coco, voc in THINGS.items():
        assert labels(root, save_picture, instances=[coco] * 4) == [VOC.names.index(voc)] * 4


def test_rule_1_comes_before_what_panoptic_says(root: Path, save_picture: SavePicture):
    panoptic: list[str | int] = ["table-merged", 0, "cat", "person"]
    assert labels(root, save_picture, instances=["person", "person", "person", "truck"], panoptic=panoptic) == [
        PERSON,
        PERSON,
        PERSON,
        0,
    ]


def test_rule_2_a_thing_that_instances_lacks_counts_and_stuff_is_background(root: Path, save_picture: SavePicture):
    panoptic: list[str | int] = ["person", "truck", "grass-merged", "cat"]
    assert labels(root, save_picture, instances=[0, 0, 0, 0], panoptic=panoptic) == [PERSON, 0, 0, CAT]


def test_rule_2_doubtful_stuff_is_ignored(root: Path, save_picture: SavePicture):
    panoptic: list[str | int] = ["table-merged", "flower", "grass-merged", "table-merged"]
    assert labels(root, save_picture, instances=[0, 0, 0, 0], panoptic=panoptic) == [IGNORE, IGNORE, 0, IGNORE]


def test_rule_3_what_panoptic_leaves_unlabelled_is_ignored(root: Path, save_picture: SavePicture):
    panoptic: list[str | int] = [0, 0, "grass-merged", 0]
    assert labels(root, save_picture, instances=[0, "cat", 0, 0], panoptic=panoptic) == [IGNORE, CAT, 0, IGNORE]


def test_rule_3_an_id_without_a_name_is_ignored_too(root: Path, save_picture: SavePicture):
    assert labels(root, save_picture, panoptic=[250, 0, "cat", 251]) == [IGNORE, IGNORE, CAT, IGNORE]


def test_rule_4_without_panoptic_labels_the_rest_is_background(root: Path, save_picture: SavePicture):
    assert labels(root, save_picture, instances=[0, 0, "cat", 0]) == [0, 0, CAT, 0]


def test_a_photo_with_panoptic_labels_alone_will_do(root: Path, save_picture: SavePicture):
    assert labels(root, save_picture, panoptic=["cat", 0, "flower", "grass-merged"]) == [CAT, IGNORE, IGNORE, 0]


def test_a_photo_with_neither_mask_is_named(root: Path):
    with pytest.raises(DataError, match=r"1 of 1 masks are missing; the first is .*000000000001\.png"):
        open_dataset("coco_voc", root, "train")


def test_a_missing_photo_and_a_missing_list_are_named(root: Path, save_picture: SavePicture):
    save_picture(root / "instances" / "000000000001.png", np.zeros((1, 4), dtype=np.uint8))
    with pytest.raises(DataError, match=r"no split list .*val\.txt; lists found beside it: train\."):
        open_dataset("coco_voc", root, "val")
    (root / "images" / "000000000001.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 1 photos are missing; the first is .*000000000001\.jpg"):
        open_dataset("coco_voc", root, "train")


@pytest.mark.parametrize("kind", ["instances", "panoptic"])
@pytest.mark.parametrize("shape", [(4, 1), (1, 1), (1, 5)])
def test_a_mask_of_another_size_than_its_photo_is_refused(
    root: Path, save_picture: SavePicture, kind: str, shape: tuple[int, int]
):
    save_picture(root / kind / "000000000001.png", np.zeros(shape, dtype=np.uint8))
    with pytest.raises(DataError, match=rf"{kind}.000000000001\.png is {shape[1]}x{shape[0]} pixels, .* is 4x1;"):
        open_dataset("coco_voc", root, "train")[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "does not name the categories"),
        ("[]", "does not name the categories"),
        ('{"instances": {}}', "does not name the categories"),
        ('{"instances": {"one": "person"}, "panoptic": {}}', "does not name the categories"),
        ('{"instances": {"300": "person"}, "panoptic": {}}', "does not name the categories"),
        ('{"instances": {"-1": "person"}, "panoptic": {}}', "does not name the categories"),
        ('{"instances": {"1": "person"}, "panoptic": {}}', "lacks the categories airplane, bicycle, "),
        (None, "does not name the categories"),
    ],
)
def test_a_bad_table_of_categories_is_named(root: Path, save_picture: SavePicture, content: str | None, said: str):
    save_picture(root / "instances" / "000000000001.png", np.zeros((1, 4), dtype=np.uint8))
    path = root / "categories.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataError, match=said) as caught:
        open_dataset("coco_voc", root, "train")
    assert str(path) in str(caught.value)


def by_the_rules(names: dict[str, Any], instance: int, panoptic: int | None) -> int:
    """One pixel, straight from the head of `pixelwise.data.layouts.coco_voc`."""
    if instance:
        name = names["instances"][str(instance)]
        return VOC.names.index(THINGS[name]) if name in THINGS else 0
    if panoptic:
        name = names["panoptic"][str(panoptic)]
        if name in ("table-merged", "flower"):
            return IGNORE
        return VOC.names.index(THINGS[name]) if name in THINGS else 0
    return 0 if panoptic is None else IGNORE


def test_real_masks_follow_the_rules_pixel_by_pixel(shared_data: Path):
    root = shared_data / "coco"
    names = json.loads((root / "categories.json").read_text())
    dataset = open_dataset("coco_voc", root, "val")
    with_panoptic = 0
    for index in range(0, len(dataset), len(dataset) // 6):
        sample = dataset[index]
        instances, panoptic = (root / kind / f"{sample.id}.png" for kind in ("instances", "panoptic"))
        a = np.asarray(Image.open(instances)) if instances.is_file() else np.zeros_like(sample.mask)
        b = np.asarray(Image.open(panoptic)).astype(int) if panoptic.is_file() else np.full(a.shape, -1)
        with_panoptic += panoptic.is_file()
        for one, other in {*zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)}:
            expected = by_the_rules(names, one, None if other < 0 else other)
            assert (sample.mask[(a == one) & (b == other)] == expected).all()
    assert with_panoptic
