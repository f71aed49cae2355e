from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import SavePicture
from pixelwise.data import open_dataset, recognise, splits, training_splits
from pixelwise.errors import DataError, MaskError

TRIMAP = np.array([[2, 2, 3], [3, 1, 1]], dtype=np.uint8)
BREEDS = (("Abyssinian", 1, 1), ("american_bulldog", 2, 2), ("Bengal", 6, 1))
IGNORE = 255


@pytest.fixture
def root(tmp_path: Path, save_picture: SavePicture) -> Path:
    """Ten photos of each of three breeds in trainval, one in test; all have the same trimap."""
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for breed, number, species in BREEDS:
        for i in range(1, 12):
            name = f"{breed}_{i}"
            lists["trainval" if i < 11 else "test"].append(f"{name} {number} {species} 1")
            save_picture(tmp_path / "images" / f"{name}.jpg", np.full((2, 3, 3), 90, dtype=np.uint8))
            save_picture(tmp_path / "annotations" / "trimaps" / f"{name}.png", TRIMAP)
    for name, lines in lists.items():
        (tmp_path / "annotations" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "annotations" / "trimaps" / "._Bengal_1.png").write_bytes(b"\0\5\x16\7Mac OS X")
    return tmp_path


@pytest.mark.parametrize(
    ("labels", "names", "masks"),
    [
        ("trimap", ["background", "pet", "border"], [[[0, 0, 2], [2, 1, 1]]] * 3),
        ("binary", ["background", "pet"], [[[0, 0, IGNORE], [IGNORE, 1, 1]]] * 3),
        (
            "species",
            ["background", "cat", "dog"],
            [[[0, 0, IGNORE], [IGNORE, pet, pet]] for pet in (1, 2, 1)],
        ),
        (
            "breeds",
            ["background", "Abyssinian", "american bulldog", "Bengal"],
            [[[0, 0, IGNORE], [IGNORE, pet, pet]] for pet in (1, 2, 3)],
        ),
    ],
)
def test_the_trimap_becomes_what_is_asked_for(root: Path, labels: str, names: list[str], masks: list[list[list[int]]]):
    dataset = open_dataset("oxford_pets", root, "test", {"labels": labels})
    assert list(dataset.classes.names) == names
    assert [dataset[i].mask.tolist() for i in range(3)] == masks


def test_trimaps_are_the_default(root: Path):
    assert open_dataset("oxford_pets", root, "val").classes.names == ("background", "pet", "border")


def test_train_and_val_divide_each_breed_of_trainval_and_leave_test_alone(root: Path):
    train, val, whole, test = (
        set(open_dataset("oxford_pets", root, s).ids) for s in ("train", "val", "trainval", "test")
    )
    assert train | val == whole
    assert not train & val
    assert not whole & test
    for breed, _, _ in BREEDS:
        assert sum(name.startswith(breed) for name in val) == 2


def test_splits_are_told(root: Path):
    assert splits("oxford_pets", root) == ["test", "train", "trainval", "val"]
    assert training_splits("oxford_pets", root) == ("train", "val")
    (root / "annotations" / "trainval.txt").unlink()
    assert splits("oxford_pets", root) == ["test"]
    with pytest.raises(DataError, match="has no split 'train'; it has: test"):
        open_dataset("oxford_pets", root, "train")


def test_the_layout_is_recognised_in_torchvisions_folder_too(root: Path, tmp_path_factory: pytest.TempPathFactory):
    above = tmp_path_factory.mktemp("torchvision")
    (above / "oxford-iiit-pet").symlink_to(root)
    for place in (root, above):
        assert recognise(place) == "oxford_pets"
        assert len(open_dataset("oxford_pets", place, "trainval")) == 30


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_a_photo_may_be_of_another_format_than_its_name_says(root: Path, kind: str):
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (10, 200, 30)).save(buffer, kind)
    (root / "images" / "Bengal_11.jpg").write_bytes(buffer.getvalue())
    sample = open_dataset("oxford_pets", root, "test")[2]
    assert sample.id == "Bengal_11"
    assert (sample.image == (10, 200, 30)).all()


def test_a_value_that_is_none_of_a_trimap_is_named(root: Path, save_picture: SavePicture):
    save_picture(root / "annotations" / "trimaps" / "Bengal_11.png", np.array([[0, 1, 2], [7, 7, 1]], dtype=np.uint8))
    with pytest.raises(MaskError, match=r"Bengal_11\.png holds the values 7 \(33 %\), 0 \(17 %\) of .* knows 1, 2, 3"):
        open_dataset("oxford_pets", root, "test")[2]


@pytest.mark.parametrize("line", ["Bengal_1", "Bengal_1 six 1 1", "Bengal_1 6 3 1"])
def test_a_bad_line_of_a_list_is_named(root: Path, line: str):
    (root / "annotations" / "test.txt").write_text(f"Bengal_11 6 1 2\n{line}\n")
    with pytest.raises(DataError, match=rf"test\.txt, line 2, is '{line}'; expected NAME BREED SPECIES"):
        open_dataset("oxford_pets", root, "test")


def test_a_bad_option_and_an_empty_list_are_said(root: Path):
    with pytest.raises(DataError, match="labels is one of trimap, binary, species, breeds, not 'breed'"):
        open_dataset("oxford_pets", root, "test", {"labels": "breed"})
    with pytest.raises(DataError, match="takes no option 'label'; it takes: labels"):
        open_dataset("oxford_pets", root, "test", {"label": "breeds"})
    (root / "annotations" / "test.txt").write_text("#Image CLASS-ID SPECIES\n")
    with pytest.raises(DataError, match=r"test\.txt is empty"):
        open_dataset("oxford_pets", root, "test")


def test_real_pets(shared_data: Path):
    root = shared_data / "oxford_pets"
    assert recognise(root) == "oxford_pets"
    sizes = {name: len(open_dataset("oxford_pets", root, name)) for name in splits("oxford_pets", root)}
    assert sizes == {"test": 298, "train": 240, "trainval": 300, "val": 60}
    dataset = open_dataset("oxford_pets", root, "val", {"labels": "breeds"})
    for index, breed in ((0, 1), (len(dataset) - 1, 2)):
        sample = dataset[index]
        trimap = np.asarray(Image.open(root / "annotations" / "trimaps" / f"{sample.id}.png"))
        assert sample.image.shape == (*trimap.shape, 3)
        assert ((sample.mask == breed) == (trimap == 1)).all()
        assert ((sample.mask == 0) == (trimap == 2)).all()
